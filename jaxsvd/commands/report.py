"""A run as one self-contained HTML page."""

from pathlib import Path

from jaxsvd.page.content import content
from jaxsvd.page.page import GENERATOR, render
from jaxsvd.results.read import read_run
from jaxsvd.runs.directory import write_whole
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress

PAGE = "report.html"


def report(run: str | Path, *, out: str | Path | None = None, progress: Progress = SILENT) -> Path:
    """Write the page of a finished run: its answer, curves, flips, and how to repeat it.

    Args:
        run: a run directory of any command or experiment.
        out: the file to write; ``report.html`` in the run directory if left out. An earlier
            report is replaced, any other file is not.
        progress: where to show the reading of large files.

    Returns:
        The file that was written.

    Raises:
        UserError: no run, an unfinished or damaged one, or a file that cannot be written.
    """
    finished = read_run(run)
    path = Path(out) if out is not None else finished.path / PAGE
    _refuse_other_files(path)
    write_whole(path, render(content(finished, progress)))
    return path


def _refuse_other_files(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path}: is a directory; --out is the file to write")
    try:
        with path.open("rb") as file:
            ours = GENERATOR.encode() in file.read(4096)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    if not ours:
        raise UserError(f"{path} exists and is not a report; choose another --out")
