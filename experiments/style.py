"""How the pictures of the experiments look, in one place."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
}


def figure(width: float = COLUMN, height: float = 2.6) -> "Figure":
    """An empty figure; sizes in inches. Colours come from :data:`PALETTE` in their order."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def draw(pictures: Mapping[str, Drawing], result: Record, directory: Path) -> list[Path]:
    """Draw a result's pictures in the common style; which files were written.

    Args:
        pictures: file name -> drawing; the ending decides the format.
        result: the object of result.json (through :func:`restore`, if read from the file).
        directory: where to write.
    """
    import matplotlib
    from cycler import cycler

    paths = []
    style: Any = {**STYLE, "axes.prop_cycle": cycler(color=list(PALETTE))}
    with matplotlib.rc_context(style):
        for name, drawing in pictures.items():
            paths.append(directory / name)
            drawing(result).savefig(paths[-1])
    return paths
