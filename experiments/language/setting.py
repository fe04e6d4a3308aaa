"""What an experiment on a language model is asked: options, and what they come to for a model."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxsvd import svd, tasks
from jaxsvd.checkpoints.hub import model_directory, read_raw_config
from jaxsvd.cli import options
from jaxsvd.commands.search import check_rates
from jaxsvd.commands.sweep import MODULES
from jaxsvd.models import read_known
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.matrices import layer_index, matrices
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import SPECS

SEEDS, QUICK_SEEDS = 3, 2
QUICK_SIZE = 100
"""Validation and test questions of ``--quick``."""
EVERY = "every"
"""Stands for each single matrix of a layer among the modules."""


@dataclass(frozen=True)
class TaskSetting:
    """A task of an experiment.

    Attributes:
        name: what it is called in results.
        task: as the library takes it: a name or the path of a task file.
        data: the folder with its files; None is the hub, or the task's own.
        seeds: of its draws of demonstrations and examples.
    """

    name: str
    task: str
    data: Path | None
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Setting:
    """An experiment's options for a model.

    Attributes:
        tasks: one or more.
        layers: indices from 0, ascending; empty where they are to be found by condition number.
        modules: what is truncated.
        rates: clipping rates, ascending.
        shots: demonstrations in all; None is the task's own number.
        draw: ``validation_size``, ``test_size`` (where there is a test set), ``protocol``,
            ``skip_long``.
    """

    tasks: tuple[TaskSetting, ...]
    layers: tuple[int, ...]
    modules: tuple[str, ...]
    rates: tuple[float, ...]
    shots: int | None
    draw: Mapping[str, Any]

    def of(self, task: TaskSetting) -> dict[str, Any]:
        """The draw of a task, as keyword arguments."""
        return {"data": task.data, **self.draw}


def parents(*grid: str, test: bool = False, **defaults: str) -> tuple[argparse.ArgumentParser, ...]:
    """Parsers of the options that most of the experiments have.

    Args:
        grid: what the experiment runs over besides seeds: layers, modules, rates, shots.
        test: whether it has a test set.
        defaults: those of the grid, for the help.
    """
    defaults = {"seeds": "0 1 2; quick: 0 1"} | defaults
    return (
        options.model_options(),
        options.task_options(several=True),
        options.grid_options(*grid, "seeds", **defaults),
        _draw_options(shots="shots" not in grid, test=test),
    )


def _draw_options(*, shots: bool, test: bool) -> argparse.ArgumentParser:
    parser = options.Parser(add_help=False)
    group = parser.add_argument_group("draw")
    if shots:
        group.add_argument("--shots", type=options.size, metavar="N", help="demonstrations in all")
    if test:
        group.add_argument("--test-size", type=options.size, metavar="N")
    group.add_argument("--save-prompts", action="store_true", help="write prompts.jsonl too")
    return parser


def config_of(options: argparse.Namespace) -> DecoderConfig:
    """The shape of the model, without its weights.

    Raises:
        UserError: no such model, or an unsupported one.
    """
    raw, path = read_raw_config(model_directory(options.model, options.revision))
    return read_known(raw, str(path))[0]


def ends(layers: int) -> tuple[int, ...]:
    """The paper's layers: the first two and the last two, each once."""
    return tuple(sorted({i for i in (0, 1, layers - 2, layers - 1) if 0 <= i < layers}))


def outermost(layers: int) -> tuple[int, ...]:
    """The first layer and the last: what ``--quick`` has time for where much is tried on each."""
    return tuple(sorted({0, layers - 1}))


def setting(
    parsed: argparse.Namespace,
    config: DecoderConfig,
    *,
    layers: Callable[[int], Sequence[int]] = ends,
    modules: Sequence[str] = MODULES,
    quick_size: int = QUICK_SIZE,
) -> Setting:
    """What options come to for a model.

    Args:
        parsed: the options.
        config: of the model.
        layers: the default, from the number of layers.
        modules: the default.
        quick_size: validation and test questions under ``--quick``, where none are asked for.

    Raises:
        UserError: a layer or a module that the model does not have, an unknown task, a rate out
            of range, seeds where the protocol has its own.
    """
    chosen = _modules(options.joined(getattr(parsed, "modules", None)) or modules, config)
    usual = quick_size if parsed.quick else None
    sizes = {"validation_size": parsed.validation_size or usual}
    if hasattr(parsed, "test_size"):
        sizes["test_size"] = parsed.test_size or usual
    shots = getattr(parsed, "shots", None)
    return Setting(
        tasks=_tasks(parsed),
        layers=_layers(options.joined(getattr(parsed, "layers", None)), config, layers),
        modules=chosen,
        rates=check_rates(options.joined(getattr(parsed, "rates", None)) or svd.RATES),
        shots=shots if isinstance(shots, int) else None,
        draw={
            **sizes,
            "protocol": parsed.protocol,
            "paper_sizes": parsed.paper_sizes,
            "skip_long": parsed.skip_long,
        },
    )


def _modules(given: Sequence[str], config: DecoderConfig) -> tuple[str, ...]:
    """Each once; ``every`` is each single matrix."""
    chosen = [m for name in given for m in (matrices(config, "all") if name == EVERY else (name,))]
    for module in chosen:
        matrices(config, module)
    return tuple(dict.fromkeys(chosen))


def rehearse(setting: Setting, shots: Callable[[TaskSetting], int | None]) -> None:
    """Draw each task once: what is wrong with the last one should not be told after hours.

    Args:
        setting: of the experiment.
        shots: the most demonstrations of a task; fewer can be drawn where these can.

    Raises:
        UserError: data that are missing or malformed, or a size that cannot be met.
    """
    for task in setting.tasks:
        draw = setting.of(task)
        draw.pop("skip_long")
        try:
            tasks.prepare(task.task, shots=shots(task), seed=task.seeds[0], **draw)
        except UserError as error:
            message = str(error)
            raise UserError(
                message if task.name in message else f"{task.name}: {message}"
            ) from None


def _layers(
    given: Sequence[int | str] | None,
    config: DecoderConfig,
    default: Callable[[int], Sequence[int]],
) -> tuple[int, ...]:
    if given is None:
        return tuple(default(config.layers))
    if "all" in given:
        if len(given) > 1:
            raise UserError("--layers should be all, or indices, not both")
        return tuple(range(config.layers))
    return tuple(sorted({layer_index(config, int(layer)) for layer in given}))


def _tasks(parsed: argparse.Namespace) -> tuple[TaskSetting, ...]:
    given = tuple(dict.fromkeys(options.joined(parsed.tasks) or ["bundled"]))
    names = [task if task in (*SPECS, "bundled") else Path(task).stem for task in given]
    for task, name in zip(given, names, strict=True):
        if name == task and task not in (*SPECS, "bundled"):
            known = ", ".join((*SPECS, "bundled"))
            raise UserError(f"unknown task {task!r}; known are {known}, or the path of a task file")
        if names.count(name) > 1:
            raise UserError(f"two tasks are called {name!r}; a run keeps them apart by their names")
    return tuple(
        TaskSetting(name, task, _folder(parsed, task, name, len(given)), _seeds(parsed, task))
        for task, name in zip(given, names, strict=True)
    )


def _folder(options: argparse.Namespace, task: str, name: str, count: int) -> Path | None:
    """The folder of a task: ``--data`` itself, or what is called as the task is within."""
    if options.data is None or (task == "bundled" and count > 1):
        return None
    folder, inner = Path(options.data), Path(options.data) / name
    if task == "bundled" or (count == 1 and not inner.is_dir()):
        return folder
    if not inner.is_dir():
        raise UserError(
            f"--data {folder} has no folder {name}; with several tasks each has a folder there"
        )
    return inner


def _seeds(parsed: argparse.Namespace, task: str) -> tuple[int, ...]:
    given = options.joined(parsed.seeds)
    script = SPECS[task].scripts if task in SPECS else None
    if parsed.protocol == "scripts" and script is not None:
        if given is not None:
            raise UserError("the scripts protocol has seeds of its own; leave --seeds out")
        return (script.seed,)
    if given is not None:
        return tuple(dict.fromkeys(given))
    return tuple(range(parsed.seed, parsed.seed + (QUICK_SEEDS if parsed.quick else SEEDS)))
