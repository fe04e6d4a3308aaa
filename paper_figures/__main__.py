"""``python -m paper_figures [NAME ...]``: the paper's figures and tables from one's own runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxsvd.cli import options
from jaxsvd.cli.pictures import available
from jaxsvd.runtime import interruption
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import TerminalProgress
from paper_figures import output, reading, study
from paper_figures.works import COMMANDS, FIGURES, Made, Works, command

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130
RUNS, OUT = Path("runs"), Path("figures")


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = options.Parser(
        prog="python -m paper_figures",
        description="Figures 1 to 5 and Tables 2 to 8 of the paper from one's own runs, with the "
        "published values beside. Where two runs give the same cell the newer one is shown; seeds "
        "of different runs are not pooled. What was not run is shown as not run.",
    )
    made.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="study (from docs/study), or all (default), figures, tables, fig1 ... fig5, "
        "table2 ... table8, or table-TASK for a task that is not the paper's",
    )
    made.add_argument(
        "--runs",
        metavar="DIR",
        type=Path,
        nargs="+",
        action="extend",
        help=f"run directories, or folders of them ({RUNS})",
    )
    made.add_argument(
        "--out", metavar="DIR", type=Path, default=OUT, help=f"where to write ({OUT})"
    )
    made.add_argument(
        "--tasks",
        metavar="TASK",
        type=options.names,
        nargs="+",
        help="only these tasks (the paper's and all that were run)",
    )
    return made


def run(asked: argparse.Namespace) -> None:
    """Read, draw, write, and say what was done.

    Raises:
        UserError: no runs, a damaged one, an unknown name, or a folder that cannot be written.
    """
    if list(asked.names) == ["study"]:
        write_study(asked.runs or [study.RECORDS], asked.out)
        return
    folders = asked.runs or [RUNS]
    missing = not asked.runs and not RUNS.is_dir()
    found = reading.Found((), ()) if missing else reading.find(folders)
    works = Works(found.sources, options.joined(asked.tasks))
    names = works.names(asked.names)
    if set(names) & set(FIGURES) and not available():
        raise UserError("figures need matplotlib: pip install 'jaxsvd[figures]'; tables do not")
    made = [works.make(name) for name in names]
    if not any(work.shown for work in made):
        raise nothing(names, folders, found, works.tasks)
    output.folder(asked.out)
    files = []
    with TerminalProgress().bar("drawing", len(made), "files") as advance:
        for work in made:
            files.append(work.files())
            advance(1)
    for path in found.unfinished:
        print(f"skipped {path}: not finished")
    for work, contents in zip(made, files, strict=True):
        _tell(work, output.write(asked.out, contents))


def write_study(folders: Sequence[Path], out: Path) -> None:
    """Tables and figures of the study on real models.

    Raises:
        UserError: no records, a damaged one, or a folder that cannot be written.
    """
    records = study.read(folders)
    files = {name: text.encode() for name, text in study.pages(records).items()}
    if not available():
        raise UserError("figures need matplotlib: pip install 'jaxsvd[figures]'")
    output.folder(out)
    for path in output.write(out, files | study.pictures(records)):
        print(path)


def nothing(
    names: Sequence[str],
    folders: Sequence[Path],
    found: reading.Found,
    tasks: Sequence[str] | None,
) -> UserError:
    """For raising: no run has anything to show, and which commands would make one."""
    wanted = dict.fromkeys(command(name) for name in names)
    usual = {"python -m experiments.depth_sweep": " (or jaxsvd sweep)"}
    usual["python -m experiments.algorithm1"] = " (or jaxsvd search)"
    commands = ", ".join(one + usual.get(one, "") for one in COMMANDS.values() if one in wanted)
    where = ", ".join(map(str, folders))
    unfinished = f", {len(found.unfinished)} unfinished" if found.unfinished else ""
    what = names[0] if len(names) == 1 else "these figures and tables"
    what += f" of {', '.join(tasks)}" if tasks else ""
    return UserError(
        f"no runs for {what} in {where} ({len(found.sources)} others{unfinished}); "
        f"make them with {commands}, or name their folders with --runs"
    )


def _tell(work: Made, paths: Sequence[Path]) -> None:
    print(f"{work.name:<7} {' '.join(map(str, paths))}")
    for what, sources in work.shown:
        print(f"        {what}: {', '.join(str(source.path) for source in sources)}")
    for what in work.missing:
        print(f"        not run: {what}")
    for note in work.notes:
        print(f"        note: {note}")
    if not work.shown:
        print(f"        published values only; {command(work.name)} makes runs for it")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    try:
        with interruption.handler():
            run(parser().parse_args(argv))
    except UserError as error:
        print(f"paper_figures: error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("paper_figures: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
