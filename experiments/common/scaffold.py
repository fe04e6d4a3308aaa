"""The common frame of the experiments: options, run directory, tables, pictures, exit status.

An experiment is data: a name, a function that measures, one that tells the result as tables and
sentences, and some that draw it. ``python -m experiments.NAME`` then is::

    EXPERIMENT = Experiment("name", "what it shows", study, report, {"curve.png": curve})

    if __name__ == "__main__":
        sys.exit(main(EXPERIMENT))

A run directory holds ``run.json`` (its options), ``records.jsonl`` (a line for each finished
unit, where the study has units: see :meth:`Study.once`), ``result.json`` and the pictures. Reports
and pictures are made from result.json alone, so they can be made again without measuring.
"""

import argparse
import datetime
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.common.records import Records, plain, restore
from experiments.common.style import Drawing, draw
from jaxsvd.cli.options import Parser
from jaxsvd.cli.pictures import available
from jaxsvd.results.request import ExperimentRequest
from jaxsvd.runs.directory import RESULT, Run, default_path, pretty, surroundings, write_whole
from jaxsvd.runs.files import full_disk
from jaxsvd.runtime import interruption
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress, TerminalProgress

Record = dict[str, Any]

RECORDS = "records.jsonl"
EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130


@dataclass(frozen=True)
class Study:
    """What a study is given: its options, where to show progress, and the units done before.

    Attributes:
        options: of the command line; ``quick`` and ``seed`` are always there.
        path: the run directory, for what a study keeps there itself (checkpoints).
        records: the finished units.
        progress: where to show it.
        command: the experiment's, as typed.
    """

    options: argparse.Namespace
    path: Path
    records: Records
    progress: Progress = SILENT
    command: Sequence[str] = ()

    @property
    def quick(self) -> bool:
        """Whether the small size is wanted, under 30 s on two cores."""
        return self.options.quick

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.options.seed

    def once(self, unit: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> Record:
        """The record of a unit, measured only if no earlier start has: see :class:`Records`."""
        return self.records.once(unit, measure)


def _nothing(given: Any) -> None:
    del given


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        name: of its module in this package.
        description: for ``--help``, a sentence or two.
        study: measures, and returns the experiment's own part of result.json.
        report: tables and sentences to print, from result.json.
        pictures: file name -> what draws it, from result.json.
        add_options: adds the experiment's own options to the parser.
        check: refuses options (by ``UserError``) before the run directory is made.
        parents: parsers whose options the experiment has too (:mod:`jaxsvd.cli.options`).
    """

    name: str
    description: str
    study: Callable[[Study], Mapping[str, Any]]
    report: Callable[[Record], Iterable[Table | str]]
    pictures: Mapping[str, Drawing] = field(default_factory=dict)
    add_options: Callable[[argparse.ArgumentParser], Any] = _nothing
    check: Callable[[argparse.Namespace], Any] = _nothing
    parents: Sequence[argparse.ArgumentParser] = ()


def whole(minimum: int = 0) -> Callable[[str], int]:
    """For ``type=`` of an option: whole numbers from ``minimum`` on."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} should be a whole number from {minimum} on")
        return value

    return parse


def parser(experiment: Experiment) -> argparse.ArgumentParser:
    """Of an experiment's command line."""
    result = Parser(
        prog=f"python -m experiments.{experiment.name}",
        description=experiment.description,
        parents=experiment.parents,
    )
    result.add_argument("--quick", action="store_true", help="small, under 30 s on two cores")
    result.add_argument("--seed", type=whole(), default=0, metavar="N", help="of everything (0)")
    result.add_argument(
        "--out",
        type=Path,
        metavar="RUN",
        help=f"a new run directory (runs/{experiment.name}-SIZE-TIME)",
    )
    result.add_argument("--resume", action="store_true", help="go on in an interrupted --out")
    experiment.add_options(result)
    return result


def run(
    experiment: Experiment,
    options: argparse.Namespace,
    *,
    command: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Record:
    """Measure, and write result.json; its contents.

    Args:
        experiment: what to run.
        options: as the experiment's parser gives them, with ``out`` named.
        command: as typed, for the record.
        progress: where to show it.

    Raises:
        UserError: the run directory exists (without ``resume``), is of other options, or
            cannot be written.
    """
    experiment.check(options)
    recorded = {key: value for key, value in vars(options).items() if key not in ("out", "resume")}
    request = ExperimentRequest(experiment=experiment.name, options=plain(recorded)).to_json()
    with Run.open(options.out, request, resume=options.resume, progress=progress):
        command = list(command) or ["python", "-m", f"experiments.{experiment.name}"]
        study = Study(options, options.out, Records(options.out / RECORDS), progress, command)
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        began = time.perf_counter()
        measured = experiment.study(study)
        interruption.check()  # a press that got lost must not look like a finished run
        result = {
            "command": command,
            **request,
            "seed": options.seed,
            **measured,
            "started": started,
            # Of this start only: units read from an earlier one cost nothing.
            "seconds": {"total": time.perf_counter() - began},
            "units": {"done": len(study.records), "from_earlier_starts": study.records.reused},
            **surroundings(),
        }
        text = pretty(plain(result))
        write_whole(options.out / RESULT, text)
        return restore(json.loads(text))


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status (0, 2 for a user's mistake, 130 for Ctrl-C)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parser(experiment)
    out = None
    try:
        options = arguments.parse_args(argv)
        if options.resume and options.out is None:
            raise UserError("--resume needs --out, the run directory to go on in")
        size = "quick" if options.quick else "full"
        options.out = out = options.out or default_path(experiment.name, size)
        with interruption.handler():
            result = run(
                experiment,
                options,
                command=[*arguments.prog.split(), *argv],
                progress=TerminalProgress(),
            )
            _print(experiment, result, out)
    except OSError as error:
        print(f"{experiment.name}: error: {full_disk(error)}", file=sys.stderr)
        return EXIT_USER_ERROR
    except UserError as error:
        print(f"{experiment.name}: error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        where = f"; the same command with --resume --out {out} goes on" if out else ""
        print(f"{experiment.name}: interrupted{where}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _print(experiment: Experiment, result: Record, out: Path) -> None:
    # In a file or a pipe lines are as long as they need to be.
    console = Console() if sys.stdout.isatty() else Console(width=200)

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True, markup=False)

    for part in experiment.report(result):
        if isinstance(part, str):
            say(part)
        else:
            console.print(part)
            console.print()
    say(f"run     {out} ({result['seconds']['total']:.1f} s)")
    if not experiment.pictures:
        return
    if not available():
        say("picture none: install jaxsvd[figures] for one")
        return
    for path in draw(experiment.pictures, result, out):
        say(f"picture {path}")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table: the first column to the left, numbers to the right."""
    result = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        result.add_column(name, justify="right" if index else "left")
    for row in rows:
        # As Text: what stands in brackets is no markup.
        result.add_row(*(Text(cell if isinstance(cell, str) else f"{cell:.4g}") for cell in row))
    return result
