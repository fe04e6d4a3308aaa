"""How the pictures of the experiments look, in one place."""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Record = dict[str, Any]
Drawing = Callable[[Record], "Figure"]

# Okabe and Ito's colours, told apart by the colour-blind; without yellow, too pale for lines.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLUMN, PAGE = 3.4, 7.0  # widths in inches: one column, and both, of a two-column paper
STYLE: Mapping[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType: what journals accept, and text that can be searched
    "svg.hashsalt": "jaxsvd",  # the same picture is the same file
}
# Nothing that changes from one drawing to the next: no dates, no versions.
METADATA: Mapping[str, Mapping[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def figure(width: float = COLUMN, height: float = 2.6) -> "Figure":
    """An empty figure; sizes in inches. Colours come from :data:`PALETTE` in their order."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


@contextlib.contextmanager
def look() -> Iterator[None]:
    """The common style, for drawing and saving inside."""
    import matplotlib
    from cycler import cycler

    style: Any = {**STYLE, "axes.prop_cycle": cycler(color=list(PALETTE))}
    with matplotlib.rc_context(style):
        yield


def log_ticks(axis: "Axis") -> None:
    """Labels of a logarithmic axis that do not collide: at 1, 2 and 5, or at powers of ten.

    Call it when everything is drawn: the number of labels follows from the axis's ends.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    if decades < 1:  # fewer than two powers of ten: round numbers, as on a linear axis
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    else:
        steps = (1.0, 2.0, 5.0) if decades <= 3 else (1.0,)
        axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_minor_formatter(NullFormatter())
    if low >= 1e-3 and high <= 1e5:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def rendered(figure: "Figure", ending: str) -> bytes:
    """A figure as a file's contents: the same figure gives the same bytes.

    Args:
        figure: drawn in :func:`look`; render it there too.
        ending: ``"png"``, ``"pdf"`` or ``"svg"``.
    """
    file = io.BytesIO()
    figure.savefig(file, format=ending, metadata=dict(METADATA[ending]))
    return file.getvalue()


def draw(pictures: Mapping[str, Drawing], result: Record, directory: Path) -> list[Path]:
    """Draw a result's pictures in the common style; which files were written.

    Args:
        pictures: file name -> drawing; the ending decides the format.
        result: the object of result.json (through :func:`restore`, if read from the file).
        directory: where to write.
    """
    paths = []
    with look():
        for name, drawing in pictures.items():
            paths.append(directory / name)
            drawing(result).savefig(paths[-1])
    return paths
