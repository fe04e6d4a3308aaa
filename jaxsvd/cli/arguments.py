"""What the shared options give: their types, and the values that commands make of them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from jaxsvd.cli.console import progress
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.paths import resolved
from jaxsvd.runtime.progress import Progress

if TYPE_CHECKING:
    from jaxsvd.model import Model


class ModelArguments(argparse.Namespace):
    """Of :func:`jaxsvd.cli.options.model_options`."""

    model: str | None
    revision: str | None
    dtype: Literal["float32", "bfloat16"]


class DeviceArguments(argparse.Namespace):
    """Of :func:`jaxsvd.cli.options.device_options`."""

    mesh: str
    coordinator: str | None
    process_id: int | None
    num_processes: int | None


class TaskArguments(argparse.Namespace):
    """Of :func:`jaxsvd.cli.options.task_options`."""

    task: str | None
    data: str | None
    validation_size: int | None
    protocol: Literal["clean", "scripts"]
    paper_sizes: bool
    skip_long: bool
    allow_zero_shot: bool


class DrawArguments(argparse.Namespace):
    """Of :func:`jaxsvd.cli.options.draw_options`."""

    shots: int | None
    test_size: int | None
    seed: int | None
    seeds: list[list[int]] | None


class RunArguments(argparse.Namespace):
    """Of :func:`jaxsvd.cli.options.run_options`."""

    command: str
    out: Path | None
    resume: bool
    save_prompts: bool


class RunOptions(TypedDict):
    """The keyword arguments with which search, sweep and evaluate write a run directory."""

    out: Path
    resume: bool
    save_prompts: bool
    progress: Progress


def load_model(arguments: ModelArguments, *, mesh: str = "auto") -> "Model":
    """Load the model that was named, with compiled programs kept between processes."""
    from jaxsvd.devices.compilation import use_persistent_cache
    from jaxsvd.model import load

    use_persistent_cache()
    return load(
        arguments.model,
        revision=arguments.revision,
        dtype=arguments.dtype,
        mesh=mesh,
        progress=progress(),
    )


def task_of(task: str | None, model: str | None) -> str:
    """The task that was named; the bundled one where only the bundled model could be meant.

    Args:
        task: of ``--task``.
        model: as typed.

    Raises:
        UserError: no task for a model of the user's own. The bundled task is made of the bundled
            tokenizer's few hundred words; its accuracy would say nothing about another model.
    """
    if task is not None:
        return task
    if model is None or _speaks_bundled_words(model):
        return "bundled"
    raise UserError(
        f"no task for the model {model}; name one with --task: sst2, for example (`jaxsvd tasks` "
        "lists them), or the path of your own task file"
    )


def _speaks_bundled_words(model: str) -> bool:
    """Whether a model is the bundled one, or a directory with its tokenizer (a truncated copy)."""
    from jaxsvd.checkpoints.hub import BUNDLED

    if model == "bundled":
        return True
    path = resolved(model)
    if not path.is_dir():
        # A path that is not there is the better mistake to name, and loading names it.
        return model.startswith(("/", ".", "~"))
    tokenizer = path / "tokenizer.json"
    try:
        return tokenizer.read_bytes() == (BUNDLED / "tokenizer.json").read_bytes()
    except OSError:
        return not (path / "config.json").is_file()  # no model at all: loading says so


def open_run(arguments: RunArguments, task: str) -> RunOptions:
    """Decide on the run directory, before any work is done.

    Args:
        arguments: ``out`` is filled in where it was not given.
        task: for the directory's name.

    Raises:
        UserError: ``--resume`` without ``--out``, or a directory that cannot be used.
    """
    from jaxsvd.devices.distributed import refuse_existing
    from jaxsvd.runs.directory import default_path

    named = arguments.out is not None
    if arguments.out is None:
        if arguments.resume:
            raise UserError("--resume needs --out, the run directory to continue")
        arguments.out = default_path(arguments.command, Path(task).stem)
    refuse_existing(arguments.out, resume=arguments.resume)
    return {
        "out": arguments.out,
        "resume": arguments.resume,
        "save_prompts": arguments.save_prompts,
        "progress": progress(show_run=not named),
    }
