"""Options that commands and experiments share, and the types of their values.

Every help text names the option's default. What other packages decide (modules, rates) is spelled
out here, so that ``--help`` imports none of them; a test compares the two.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from jaxsvd.runtime.errors import UserError

Value = TypeVar("Value")

MODULES = "q_proj k_proj v_proj out_proj fc_in fc_up fc_out mlp attn all"
RATES = "0 0.1 0.5 0.75 0.9 0.95 0.99 0.995"
TOP_LAYERS = 3


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
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number, 0 or more")
    return value


def model_options() -> Parser:
    """Which model."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("model")
    group.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a directory in Hugging Face layout, a .gguf file, or a hub id (default: the bundled "
        "model)",
    )
    group.add_argument(
        "--revision", help="branch, tag or commit of a hub id (default: the hub's main branch)"
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of weights and products; norms, softmax and logits are always float32 "
        "(default: %(default)s)",
    )
    return parser


def draw_options() -> Parser:
    """One draw: a number of shots, a seed, a test set."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("draw")
    group.add_argument(
        "--shots",
        type=size,
        metavar="N",
        help="demonstrations in a prompt, all labels together (default: the task's)",
    )
    group.add_argument(
        "--test-size",
        type=size,
        metavar="N",
        help="test examples (default: the task's, at most 2,000)",
    )
    group.add_argument(
        "--seed",
        type=size,
        metavar="N",
        help="draws demonstrations and examples (default: 0; the scripts protocol: the scripts')",
    )
    group.add_argument(
        "--seeds",
        type=sizes,
        nargs="+",
        metavar="N",
        help="several draws in one run: one choice on their mean, intervals over draws and "
        "examples (default: one draw, of --seed)",
    )
    return parser


def device_options() -> Parser:
    """Which devices, of which hosts."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("devices")
    group.add_argument(
        "--mesh",
        default="auto",
        metavar="AXES",
        help="data=4,model=2 splits each batch over 4 groups of devices and the weights over the "
        "2 devices of a group; auto uses all devices, and splits the weights only as far as "
        "memory demands (default: %(default)s)",
    )
    group = parser.add_argument_group(
        "several hosts (under SLURM, Open MPI and on TPU pods these are detected)"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0")
    group.add_argument("--process-id", type=size, metavar="I", help="of this process, from 0")
    group.add_argument("--num-processes", type=size, metavar="N", help="number of processes")
    return parser


def module_option(group: argparse._ActionsContainer, default: str, what: str) -> None:
    """``--module``.

    Args:
        group: of a parser.
        default: the module.
        what: is done with it, for the help.
    """
    group.add_argument(
        "--module",
        default=default,
        metavar="M",
        help=f"{what}: one of {MODULES} (default: %(default)s)",
    )


def edit_option(group: argparse._ActionsContainer) -> None:
    """``--edit``."""
    group.add_argument(
        "--edit",
        metavar="E",
        help="edits of weights, LAYER:MODULE:RATE joined by +, such as 26:mlp:0.95+25:attn:0.9; "
        "negative layers count from the end (default: none)",
    )


def svd_option(group: argparse._ActionsContainer) -> None:
    """``--svd``."""
    group.add_argument(
        "--svd",
        choices=("exact", "randomized"),
        default="exact",
        help="randomized: an approximation, as in the authors' scripts; it changes some "
        "predictions (default: %(default)s)",
    )


def task_options(*, several: bool = False) -> Parser:
    """Which task; ``several``: or tasks."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("task")
    named = "a name that `jaxsvd tasks` lists, or the path of your own task file (TOML)"
    data = "read the task's files from this folder, not from the hub"
    if several:
        group.add_argument(
            "--tasks",
            "--task",
            type=names,
            nargs="+",
            metavar="NAME",
            help=f"one or more, each {named} (default: bundled)",
        )
        data += "; with several tasks, a folder with one subfolder for each, named as the task"
    else:
        group.add_argument(
            "--task",
            metavar="NAME",
            help=f"{named} (default: bundled, for the bundled model only)",
        )
    group.add_argument("--data", metavar="DIR", help=f"{data} (default: the hub)")
    group.add_argument(
        "--validation-size",
        type=size,
        metavar="N",
        help="validation examples (default: the task's, at most 2,000)",
    )
    group.add_argument(
        "--paper-sizes",
        action="store_true",
        help="as many validation and test examples as the paper took, where not given (default: "
        "at most 2,000 of each; the scripts protocol always takes the paper's)",
    )
    group.add_argument(
        "--protocol",
        choices=("clean", "scripts"),
        default="clean",
        help="clean: the paper's prompts and splits; scripts: those of the authors' scripts, "
        "byte for byte (default: %(default)s)",
    )
    group.add_argument(
        "--skip-long",
        action="store_true",
        help="leave out examples that do not fit into the model's context even without "
        "demonstrations (default: stop with an error)",
    )
    group.add_argument(
        "--allow-zero-shot",
        action="store_true",
        help="keep prompts that have no room for any of their demonstrations (default: stop with "
        "an error)",
    )
    return parser


def run_options() -> Parser:
    """Where results go."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("run")
    group.add_argument(
        "--out",
        type=Path,
        metavar="RUN",
        help="a new run directory (default: runs/COMMAND-TASK-TIME-SUFFIX)",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="continue the interrupted run in --out; the other options must be the same",
    )
    group.add_argument(
        "--save-prompts", action="store_true", help="also write every prompt, to prompts.jsonl"
    )
    return parser


def rates(text: str) -> list[float]:
    """Clipping rates, separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} should be numbers in [0, 1), separated by spaces or commas"
        ) from None


def rates_or_rules(text: str) -> list[float | str]:
    """Clipping rates, or names of rules for a rank, separated by commas."""
    parts = text.split(",")
    return [part if part in ("mp", "gd") else rates(part)[0] for part in parts]


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


_GRID: dict[str, tuple[Callable[[str], list[Any]], str, str, str]] = {
    "layers": (layers, "N", "indices, or all; negative indices count from the end", "all"),
    "modules": (names, "M", f"matrices or groups of matrices, of {MODULES}", "mlp attn"),
    "rates": (rates, "X", "clipping rates in [0, 1)", RATES),
    "shots": (sizes, "N", "demonstrations in a prompt, all labels together", "the task's"),
    "seeds": (sizes, "N", "of the draws of demonstrations and examples", "0"),
}


def grid_options(*wanted: str, **defaults: str) -> Parser:
    """What a grid runs over.

    Args:
        wanted: of layers, modules, rates, shots, seeds; all by default.
        defaults: for the help, where they differ from those of ``jaxsvd sweep``.
    """
    parser = Parser(add_help=False)
    group = parser.add_argument_group("grid (several values are separated by spaces or commas)")
    for name in wanted or _GRID:
        parse, metavar, text, default = _GRID[name]
        group.add_argument(
            f"--{name}",
            type=parse,
            nargs="+",
            metavar=metavar,
            help=f"{text} (default: {defaults.get(name, default)})",
        )
    return parser


def joined(values: Sequence[Sequence[Value]] | None) -> list[Value] | None:
    """The values of all words of an option; None where it was not given."""
    return None if values is None else [value for part in values for value in part]
