"""Options that commands share, and the types of their values."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jaxsvd.runtime.errors import UserError


class Parser(argparse.ArgumentParser):
    """Mistakes in one line, without the usage; ``-2,-1`` is a value, as ``-2`` is."""

    def __init__(self, **options: Any) -> None:
        """See :class:`argparse.ArgumentParser`."""
        super().__init__(**options)
        self._negative_number_matcher = re.compile(r"-\d+(,-?\d+)*|-\d*\.\d+")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def layer(text: str) -> int | str:
    """``auto`` or an index."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} should be auto or a whole number") from None


def index(text: str) -> int:
    """An index; negative ones count from the end."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number") from None


def rate(text: str) -> float:
    """A clipping rate."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number in [0, 1)") from None


def size(text: str) -> int:
    """A count."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number from 0 on")
    return value


def model_options() -> argparse.ArgumentParser:
    """Which model."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("model")
    group.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a directory in Hugging Face layout, or a hub id; the bundled model if left out",
    )
    group.add_argument("--revision", help="branch, tag or commit of a hub id")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    return parser


def draw_options() -> argparse.ArgumentParser:
    """One draw: a number of shots, a seed, a test set."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("draw")
    group.add_argument("--shots", type=size, metavar="N", help="demonstrations in all")
    group.add_argument("--test-size", type=size, metavar="N")
    group.add_argument("--seed", type=size, metavar="N", help="of the draw (0)")
    return parser


def device_options() -> argparse.ArgumentParser:
    """Which devices, of which hosts."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("devices")
    group.add_argument(
        "--mesh",
        default="auto",
        metavar="AXES",
        help="data=4,model=2: rows of a batch over 4 groups, weights over the 2 devices of each "
        "(auto: all devices, the weights over as few as have room for them)",
    )
    group = parser.add_argument_group("several hosts (found by themselves under SLURM, on TPUs)")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="of the first process")
    group.add_argument("--process-id", type=size, metavar="I", help="this one, from 0")
    group.add_argument("--num-processes", type=size, metavar="N", help="how many there are")
    return parser


def add_memory_options(parser: argparse.ArgumentParser) -> None:
    """What ``jaxsvd models`` tells of a model."""
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a directory, or a hub id")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    text = "what a search needs, from config.json alone (of the bundled model if none is named)"
    parser.add_argument("--memory", action="store_true", help=text)
    text = "over several devices, such as data=4,model=2"
    parser.add_argument("--mesh", default="data=1", metavar="AXES", help=text)
    text = "memory of an accelerator, instead of this machine's devices"
    parser.add_argument("--device-memory", metavar="GB", help=text)
    text = "that is truncated (mlp)"
    parser.add_argument("--module", default="mlp", help=text)


def add_prune_options(parser: argparse.ArgumentParser) -> None:
    """What ``jaxsvd prune`` cuts, and where it writes."""
    group = parser.add_argument_group("truncation")
    text = "negative ones count from the end"
    group.add_argument("--layer", type=index, metavar="N", required=True, help=text)
    group.add_argument("--module", default="mlp", help="matrix or group of matrices (mlp)")
    text = "clipping rate in [0, 1)"
    group.add_argument("--rate", type=rate, metavar="X", required=True, help=text)
    group.add_argument("--svd", choices=("exact", "randomized"), default="exact")
    group.add_argument("--seed", type=size, default=0, metavar="N", help="of a randomized SVD (0)")
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="DIR", required=True, help="a new model directory")
    text = "keep the truncated matrices as two factors: smaller, for jaxsvd only"
    group.add_argument("--factored", action="store_true", help=text)


def task_options(*, several: bool = False) -> argparse.ArgumentParser:
    """Which task; ``several``: or tasks."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("task")
    named = "see `jaxsvd tasks`, or the path of your own task file (TOML)"
    data = "the task's files, instead of the hub"
    if several:
        group.add_argument(
            "--tasks",
            "--task",
            type=names,
            nargs="+",
            metavar="NAME",
            help=f"one or more: {named} (bundled)",
        )
        data += "; with several tasks a folder with a folder of each, called as the task is"
    else:
        group.add_argument("--task", metavar="NAME", default="bundled", help=named)
    group.add_argument("--data", metavar="DIR", help=data)
    group.add_argument("--validation-size", type=size, metavar="N")
    group.add_argument(
        "--protocol",
        choices=("clean", "scripts"),
        default="clean",
        help="the paper's prompts and splits, or those of the authors' scripts, quirks included",
    )
    group.add_argument(
        "--skip-long",
        action="store_true",
        help="leave out questions whose query alone is longer than the model's context",
    )
    return parser


def run_options() -> argparse.ArgumentParser:
    """Where results go."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("run")
    group.add_argument("--out", metavar="RUN", help="a new run directory (runs/COMMAND-TASK-TIME)")
    group.add_argument("--resume", action="store_true", help="go on in an interrupted --out")
    group.add_argument("--save-prompts", action="store_true", help="write prompts.jsonl too")
    return parser


def rates(text: str) -> list[float]:
    """Clipping rates, separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} should be numbers in [0, 1), separated by spaces or commas"
        ) from None


def names(text: str) -> list[str]:
    """Names, separated by commas."""
    return [name for name in text.split(",") if name]


def sizes(text: str) -> list[int]:
    """Counts, separated by commas."""
    return [size(part) for part in text.split(",")]


def layers(text: str) -> list[int | str]:
    """``all`` or indices, separated by commas."""

    def layer(part: str) -> int | str:
        try:
            return part if part == "all" else int(part)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r} should be all or whole numbers") from None

    return [layer(part) for part in text.split(",")]


_GRID = {
    "layers": (layers, "N", "all, or indices; negative ones count from the end"),
    "modules": (names, "M", "matrices or groups of matrices (mlp attn)"),
    "rates": (rates, "X", "clipping rates in [0, 1)"),
    "shots": (sizes, "N", "demonstrations in all"),
    "seeds": (sizes, "N", "of the draws (0)"),
}


def grid_options(*wanted: str, **defaults: str) -> argparse.ArgumentParser:
    """What a grid runs over.

    Args:
        wanted: of layers, modules, rates, shots, seeds; all by default.
        defaults: for the help, where they differ from those of ``jaxsvd sweep``.
    """
    parser = Parser(add_help=False)
    group = parser.add_argument_group("grid (several values are separated by spaces or commas)")
    for name in wanted or _GRID:
        kind, metavar, text = _GRID[name]
        if name in defaults:
            text = f"{text.split(' (')[0]} ({defaults[name]})"
        group.add_argument(f"--{name}", type=kind, nargs="+", metavar=metavar, help=text)
    return parser


def joined(values: Sequence[Sequence[Any]] | None) -> list[Any] | None:
    """What several words of an option say together; None where it was not given."""
    return None if values is None else [value for part in values for value in part]
