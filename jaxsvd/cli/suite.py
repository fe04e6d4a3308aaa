"""``jaxsvd suite``: zero-shot tasks of lm-evaluation-harness, before and after an edit."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsvd.cli import options
from jaxsvd.cli.command import Command
from jaxsvd.cli.console import output, progress

if TYPE_CHECKING:
    from rich.table import Table

    from jaxsvd.results.suite import SuiteRow


class SuiteArguments(argparse.Namespace):
    """What the options give."""

    model: str | None
    edit: str | None
    tasks: str
    include_path: Path | None
    limit: int | None
    dtype: str
    revision: str | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The tasks, and what is edited."""
    group = parser.add_argument_group("tasks")
    group.add_argument(
        "--tasks",
        default="",
        metavar="A,B",
        help="of lm-evaluation-harness (default: PIQA, HellaSwag, ARC, WinoGrande, OpenBookQA, "
        "BoolQ and WikiText, where their data are at hand)",
    )
    group.add_argument(
        "--include-path", type=Path, metavar="FOLDER", help="with task files of your own"
    )
    group.add_argument(
        "--limit", type=options.size, metavar="N", help="most examples of a task (default: all)"
    )
    options.edit_option(parser.add_argument_group("edit"))


def run(arguments: SuiteArguments) -> None:
    """Score the tasks and print one table."""
    from jaxsvd.commands.suite import suite

    rows = suite(
        arguments.model,
        edit=arguments.edit,
        tasks=[task.strip() for task in arguments.tasks.split(",") if task.strip()],
        include_path=arguments.include_path,
        limit=arguments.limit,
        dtype=arguments.dtype,
        revision=arguments.revision,
        progress=progress(),
    )
    output().print(suite_table(rows))


def suite_table(rows: "list[SuiteRow]") -> "Table":
    """A row a metric: before, after, and the paired difference."""
    from rich.table import Table

    table = Table("task", "metric", "n", "before")
    edited = any(row.after is not None for row in rows)
    for name in ("after", "difference", "95 % interval", "exact p") if edited else ():
        table.add_column(name)
    for row in rows:
        cells = [row.task, row.metric, f"{row.examples:,}", f"{row.before:.4f}"]
        if row.after is not None:
            cells += [f"{row.after:.4f}", f"{row.after - row.before:+.4f}"]
        if row.paired is not None:
            low, high = row.paired.interval
            cells += [f"[{low:+.4f}, {high:+.4f}]", f"{row.paired.p_value:.3g}"]
        table.add_row(*cells)
    return table


SUITE = Command(
    "suite",
    "zero-shot tasks through lm-evaluation-harness, of the model as it is and with --edit",
    SuiteArguments,
    add_options,
    run,
    shared=(options.model_options,),
)
