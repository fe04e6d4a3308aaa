"""``jaxsvd compare``: two models on the same examples."""

import argparse
from typing import TYPE_CHECKING

from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, progress

if TYPE_CHECKING:
    from rich.table import Table

    from jaxsvd.results.comparison import Comparison

FLIPS = 5
"""Examples that are printed of each task and direction."""


class CompareArguments(argparse.Namespace):
    """What the options give."""

    first: str
    second: str
    margin: float
    metric: str | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which two, and what counts as no difference."""
    text = (
        "a run of search or evaluate, a samples_*.jsonl of lm-evaluation-harness, or a folder of "
        "such"
    )
    parser.add_argument("first", metavar="A", help=text)
    parser.add_argument("second", metavar="B", help="likewise; differences are B less A")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.01,
        metavar="X",
        help="a difference in accuracy that would not matter, for the test of equivalence "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="of the harness, 0 or 1 for each example (default: acc, exact_match, acc_norm or em)",
    )


def run(arguments: CompareArguments) -> None:
    """Compare, and print a table and some of the examples that changed sides."""
    from jaxsvd.commands.compare import compare

    compared = compare(
        arguments.first,
        arguments.second,
        margin=arguments.margin,
        metric=arguments.metric,
        progress=progress(),
    )
    console = output()
    console.print(comparison_table(compared))
    for line in flip_lines(compared):
        console.print(line, markup=False, highlight=False)


def comparison_table(compared: "list[Comparison]") -> "Table":
    """A row a task: accuracies, difference, exact test and equivalence."""
    from rich.table import Table

    margin = compared[0].margin
    columns = ("task", "n", "A", "B", "B - A", "95 % interval", "gained", "lost", "exact p")
    table = Table(*columns, f"equal within {margin:g}")
    for c in compared:
        low, high = c.paired.interval
        star = " *" if c.significant else ""
        table.add_row(
            c.task,
            f"{c.first.total:,}",
            f"{c.first.value:.4f}",
            f"{c.second.value:.4f}",
            f"{c.paired.difference:+.4f}",
            f"[{low:+.4f}, {high:+.4f}]",
            str(c.paired.gained),
            str(c.paired.lost),
            f"{c.paired.p_value:.3g}{star}",
            "yes" if c.equivalent else "not shown",
        )
    table.caption = (
        "* below 5 % by McNemar's exact test, with Holm's correction over tasks; equal: two "
        "one-sided tests at 5 %"
    )
    return table


def flip_lines(compared: "list[Comparison]") -> list[str]:
    """Some examples that only one of the two has right."""
    lines = []
    for c in compared:
        if c.task == "all tasks":
            continue
        for gained, what in ((True, "only B has right"), (False, "only A has right")):
            flips = [flip for flip in c.flips if flip.gained == gained]
            if flips:
                lines.append(f"{c.task}: {len(flips)} that {what}" + _some(len(flips)))
            lines += [
                f"  {flip.key[0]} {flip.key[1]}  {' '.join(flip.text.split())[:120]}"
                for flip in flips[:FLIPS]
            ]
        alone = [(c.only_first, "A"), (c.only_second, "B")]
        lines += [f"{c.task}: {n} examples are in {side} alone" for n, side in alone if n]
    return lines


def _some(count: int) -> str:
    return f"; the first {FLIPS}:" if count > FLIPS else ":"


COMPARE = Command(
    "compare",
    "two runs, or two logs of lm-evaluation-harness, on the same examples",
    CompareArguments,
    add_options,
    run,
)
