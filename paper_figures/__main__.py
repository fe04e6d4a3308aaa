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
from paper_figures.works import COMMANDS, FIGURES, FigureOrTable, Works, command

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130
RUNS, OUT = Path("runs"), Path("figures")


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    result = options.Parser(
        prog="python -m paper_figures",
        description="Figures 1 to 5 and Tables 2 to 8 of the paper from one's own runs, with the "
        "published values beside. Where two runs give the same cell the newer one is shown; seeds "
        "of different runs are not pooled. What was not run is shown as not run.",
    )
    result.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="study (from docs/study), or all (default), figures, tables, fig1 ... fig5, "
        "table2 ... table8, or table-TASK for a task that is not the paper's",
    )
    result.add_argument(
        "--runs",
        metavar="DIR",
        type=Path,
        nargs="+",
        action="extend",
        help=f"run directories, or folders of them ({RUNS})",
    )
    result.add_argument(
        "--out", metavar="DIR", type=Path, default=OUT, help=f"where to write ({OUT})"
    )
    result.add_argument(
        "--tasks",
        metavar="TASK",
        type=options.names,
        nargs="+",
        help="only these tasks (the paper's and all that were run)",
    )
    return result


def run(parsed: argparse.Namespace) -> None:
    """Read, draw, write, and say what was done.

    Raises:
        UserError: no runs, a damaged one, an unknown name, or a folder that cannot be written.
    """
    if list(parsed.names) == ["study"]:
        write_study(parsed.runs or [study.RECORDS], parsed.out)
        return
    folders = parsed.runs or [RUNS]
    missing = not parsed.runs and not RUNS.is_dir()
    runs = reading.RunFolders((), ()) if missing else reading.find(folders)
    works = Works(runs.sources, options.joined(parsed.tasks))
    names = works.names(parsed.names)
    if set(names) & set(FIGURES) and not available():
        raise UserError("figures need matplotlib: pip install 'jaxsvd[figures]'; tables do not")
    works_of = [works.make(name) for name in names]
    if not any(work.shown for work in works_of):
        raise nothing(names, folders, runs, works.tasks)
    output.folder(parsed.out)
    files = []
    with TerminalProgress().bar("drawing", len(works_of), "files") as advance:
        for work in works_of:
            files.append(work.files())
            advance(1)
    for path in runs.unfinished:
        print(f"skipped {path}: not finished")
    for work, contents in zip(works_of, files, strict=True):
        _tell(work, output.write(parsed.out, contents))


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
    runs: reading.RunFolders,
    tasks: Sequence[str] | None,
) -> UserError:
    """For raising: no run has anything to show, and which commands would make one."""
    wanted = dict.fromkeys(command(name) for name in names)
    usual = {"python -m experiments.depth_sweep": " (or jaxsvd sweep)"}
    usual["python -m experiments.algorithm1"] = " (or jaxsvd search)"
    commands = ", ".join(one + usual.get(one, "") for one in COMMANDS.values() if one in wanted)
    where = ", ".join(map(str, folders))
    unfinished = f", {len(runs.unfinished)} unfinished" if runs.unfinished else ""
    what = names[0] if len(names) == 1 else "these figures and tables"
    what += f" of {', '.join(tasks)}" if tasks else ""
    return UserError(
        f"no runs for {what} in {where} ({len(runs.sources)} others{unfinished}); "
        f"make them with {commands}, or name their folders with --runs"
    )


def _tell(work: FigureOrTable, paths: Sequence[Path]) -> None:
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
