"""Options that commands share, and the types of their values."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jaxsvd.errors import UserError


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


def task_options() -> argparse.ArgumentParser:
    """Which task."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("task")
    group.add_argument(
        "--task",
        metavar="NAME",
        default="bundled",
        help="see `jaxsvd tasks`, or the path of your own task file (TOML)",
    )
    group.add_argument("--data", metavar="DIR", help="the task's files, instead of the hub")
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


def joined(values: Sequence[Sequence[Any]] | None) -> list[Any] | None:
    """What several words of an option say together; None where it was not given."""
    return None if values is None else [value for part in values for value in part]
