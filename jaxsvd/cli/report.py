"""``jaxsvd report``: a run as one HTML page."""

import argparse
from pathlib import Path

from jaxsvd.cli.command import Command
from jaxsvd.cli.console import progress


class ReportArguments(argparse.Namespace):
    """What the options give."""

    run: Path
    out: Path | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which run, and where the page goes."""
    parser.add_argument("run", type=Path, metavar="RUN", help="directory of a finished run")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the page (default: RUN/report.html)"
    )


def run(arguments: ReportArguments) -> None:
    """Write the page and print its path."""
    from jaxsvd.commands.report import report

    print(report(arguments.run, out=arguments.out, progress=progress()))


REPORT = Command(
    "report",
    "one self-contained HTML page of a run",
    ReportArguments,
    add_options,
    run,
)
