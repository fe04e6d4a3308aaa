"""``jaxsvd explain``: is a search's gain real?"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsvd.cli import options
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, progress
from jaxsvd.runtime.errors import UserError

if TYPE_CHECKING:
    from jaxsvd.model import Model


class ExplainArguments(argparse.Namespace):
    """What the options give."""

    run: Path
    model: str | None
    draws: int
    orders: int
    control_seeds: int
    examples: int
    also: list[str]
    text: list[Path]
    margin: float
    origins: int
    directions: int
    seeds: list[list[int]] | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which run, and how much is scored."""
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a finished search")
    parser.add_argument(
        "--model", metavar="MODEL", help="the model, where it is no longer where the run says"
    )
    group = parser.add_argument_group("passes")
    for name, default, text in (
        ("draws", 8, "draws of demonstrations (1: none but the search's own)"),
        ("orders", 8, "orders of the search's demonstrations (1: none but its own)"),
        ("control-seeds", 5, "seeds of each control that draws random numbers (0: no controls)"),
        ("examples", 400, "test examples of each draw and order, at most"),
        ("origins", 100, "test examples followed through the layers, of two labels (0: none)"),
        ("directions", 5, "removed singular directions that are described (0: none)"),
    ):
        group.add_argument(
            f"--{name}",
            type=options.size,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    group.add_argument(
        "--seeds",
        type=options.sizes,
        nargs="+",
        metavar="N",
        help="of the draws, in place of --draws (default: the search's own and those that follow)",
    )
    group = parser.add_argument_group("what else broke")
    group.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="TASK",
        help="other tasks for the same edit: a name or a task file; TASK=DIR for local data",
    )
    group.add_argument(
        "--text", nargs="+", type=Path, default=[], metavar="FILE", help="plain text for perplexity"
    )
    group.add_argument(
        "--margin",
        type=float,
        default=0.01,
        metavar="X",
        help="a change of accuracy, or of nats a token, that would not matter "
        "(default: %(default)s)",
    )


def run(arguments: ExplainArguments) -> None:
    """Explain, print tables and draw the picture."""
    from jaxsvd.cli import explanation_picture, explanation_tables, pictures
    from jaxsvd.commands.explain import Passes, explain

    result = explain(
        arguments.run,
        load=_loader(arguments.model),
        passes=Passes(
            arguments.draws,
            arguments.orders,
            arguments.control_seeds,
            arguments.examples,
            arguments.origins,
            arguments.directions,
        ),
        seeds=options.joined(arguments.seeds),
        also=dict(_task(text) for text in arguments.also),
        texts=arguments.text,
        margin=arguments.margin,
        progress=progress(),
    )
    console, explanation = output(), result.explanation
    assert explanation is not None
    console.print(explanation_tables.reading_table(explanation))
    for table in explanation_tables.more_tables(explanation):
        console.print(table)
    for line in explanation_tables.closing_lines(explanation):
        console.print(line, markup=False, highlight=False)
    if pictures.available():
        path = explanation_picture.explanation_picture(result, arguments.run / "explanation.png")
        console.print(f"picture {path}", markup=False, highlight=False)


def _loader(model: str | None):
    def load(source: str, revision: str | None, dtype: str) -> "Model":
        from jaxsvd.devices.compilation import use_persistent_cache
        from jaxsvd.model import load

        use_persistent_cache()
        bundled = source == "bundled"
        named = model if model is not None else None if bundled else source
        return load(named, revision=revision, dtype=dtype, progress=progress())

    return load


def _task(text: str) -> tuple[str, str | None]:
    """``TASK`` or ``TASK=DIR``."""
    name, _, folder = text.partition("=")
    if not name:
        raise UserError(f"--also {text!r} should be TASK or TASK=DIR")
    return name, folder or None


EXPLAIN = Command(
    "explain",
    "is a search's gain real? calibration, controls, luck, and what else broke",
    ExplainArguments,
    add_options,
    run,
)
