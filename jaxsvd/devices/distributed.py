"""Several processes, on one host or many, as one: JAX's own runtime, and who says what.

All processes run the same command on the same data and do the same in the same order. The first
alone writes files, and what decides what is done next (what a resumed run has already, how large a
batch is) is the first's for all. A process that dies takes the others with it: JAX's coordination
service misses its heartbeats.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxsvd.runs import directory
from jaxsvd.runs.directory import JsonObject, Run
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import Progress

Tree = TypeVar("Tree")

_TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")

HEARTBEAT_SECONDS, START_SECONDS, END_SECONDS = 20, 120, 10
"""A process is dead without a heartbeat this long; how long to wait for others at both ends."""


def initialize(
    coordinator: str | None = None, process_id: int | None = None, processes: int | None = None
) -> None:
    """Join the other processes, before anything else is done with JAX.

    Args:
        coordinator: ``HOST:PORT`` of the first process, as every host can reach it.
        process_id: this process, from 0.
        processes: how many there are.

    Without any of the three the cluster is asked (SLURM, Open MPI, Cloud TPU), if there is one.

    Raises:
        UserError: only some of the three, or the others cannot be reached.
    """
    given = (coordinator, process_id, processes)
    if given == (None, None, None):
        if not _in_cluster():
            return
    elif coordinator is None or process_id is None or processes is None:
        raise UserError("--coordinator, --process-id and --num-processes belong together")
    elif not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdigit():
        raise UserError(f"--coordinator {coordinator!r} should be HOST:PORT of the first process")
    elif not 0 <= process_id < processes:
        raise UserError(
            f"--process-id {process_id} should be from 0 to {processes - 1}, as there are "
            f"--num-processes {processes}"
        )
    import jax

    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process_id,
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=END_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        if coordinator is None and isinstance(error, ValueError):
            return  # JAX knows of nobody else
        raise UserError(f"the processes of this run did not find each other ({error})") from None


def _in_cluster() -> bool:
    """Whether JAX should be asked what it knows of the processes around this one."""
    several = any(
        os.environ.get(name, "1") not in ("", "0", "1")
        for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
    )
    launched = "SLURM_STEP_NODELIST" in os.environ or "OMPI_COMM_WORLD_SIZE" in os.environ
    chips = find_spec("libtpu") is not None and any(map(os.path.exists, _TPU_DEVICES))
    return (several and launched) or chips


@contextlib.contextmanager
def fate_shared() -> Iterator[None]:
    """A computation that lost another process ends this one, in one line and at once.

    Left to itself the interpreter would wait for the lost process before it ends, and then abort.
    Where nothing notices at once (GPUs wait for each other without end), JAX's coordination
    service ends the process, with a message of its own.
    """
    try:
        yield
    except Exception as error:
        if not several() or type(error).__name__ != "JaxRuntimeError":
            raise
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        sys.stdout.flush()
        print(
            "jaxsvd: error: a computation of several processes failed, most likely because "
            f"another of them has ended ({reason}); start all of them again with --resume",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)


def several() -> bool:
    """Whether this is one of several processes."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return not several() or sys.modules["jax"].process_index() == 0


def arrays_of_first(arrays: Tree) -> Tree:
    """The first process's arrays for all; each must have some of the same shapes."""
    if not several():
        return arrays
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return broadcast_one_to_all(arrays)


def value_of_first(value: Any) -> Any:
    """The first process's value for all, as JSON knows it."""
    if not several():
        return value
    text = json.dumps(value).encode()
    size = int(arrays_of_first(np.asarray(len(text), np.int32)))
    data = np.zeros(size, np.uint8)
    own = np.frombuffer(text, np.uint8)[:size]
    data[: len(own)] = own
    return json.loads(arrays_of_first(data).tobytes())


def shared_out(count: int) -> range:
    """Which of ``count`` pieces of work are this process's."""
    if not several():
        return range(count)
    jax = sys.modules["jax"]
    return range(jax.process_index(), count, jax.process_count())


def gathered(numbers: Mapping[int, float], count: int) -> list[float]:
    """What all processes found, in order, each for its :func:`shared_out`."""
    own = np.full(count, np.nan)
    for i, number in numbers.items():
        own[i] = number
    if not several():
        return own.tolist()
    from jax.experimental.multihost_utils import process_allgather

    # Bit for bit: without float64 in JAX they would be rounded.
    every = np.asarray(process_allgather(own.view(np.uint32))).view(np.float64)
    owner = [i % len(every) for i in range(count)]
    return every[owner, range(count)].tolist()


def refuse_existing(path: str | Path | None, *, resume: bool) -> None:
    """As :func:`jaxsvd.runs.directory.refuse_existing`, looked up by the first process only.

    Raises:
        UserError: in all of them.
    """
    _said_by_first(lambda: directory.refuse_existing(path, resume=resume))


@contextlib.contextmanager
def opened(
    path: str | Path | None, request: JsonObject, *, resume: bool, progress: Progress
) -> Iterator[Run | None]:
    """As :func:`jaxsvd.runs.opened`; only the first process's writes anything.

    Raises:
        UserError: in all of them.
    """
    if path is None or not several():
        with directory.opened(path, request, resume=resume, progress=progress) as run:
            yield run
        return
    with contextlib.ExitStack() as held:
        own: list[Run] = []

        def open_run() -> None:
            own.append(
                held.enter_context(Run.open(path, dict(request), resume=resume, progress=progress))
            )

        _said_by_first(open_run)
        done = value_of_first(own[0].done if own else None)
        yield own[0] if own else Follower(Path(path), dict(request), done)


def _said_by_first(check: Any) -> None:
    refused = None
    if is_first():
        try:
            check()
        except UserError as error:
            refused = str(error)
    if refused := value_of_first(refused):
        raise UserError(refused)


class Follower(Run):
    """A run that another process writes."""

    def __init__(self, path: Path, request: JsonObject, done: Sequence[JsonObject]) -> None:
        """What the first process has opened."""
        self.path, self.request, self.done = path, request, done

    def close(self) -> None:
        """Nothing: the first process holds the lock."""

    def append(self, records: Iterable[JsonObject]) -> None:
        """Nothing."""

    def write_lines(self, name: str, records: Iterable[JsonObject]) -> None:
        """Nothing."""

    def finish(self, result: JsonObject) -> None:
        """Nothing."""
