"""The picture of an explanation: was the change one of the label prior?"""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxsvd.cli.pictures import BLUE, GREY, ORANGE, change_panel, heading, reference_lines
from jaxsvd.results.explanation import Explanation
from jaxsvd.results.search import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONTROL_MARKERS = ("^", "v", "D", "P", "X")


def explanation_picture(result: SearchResult, path: Path) -> Path:
    """Untouched, truncated and every control, as the model answers and with a fitted prior.

    Lines that fall together on the right were apart by the label prior alone.

    Args:
        result: a search with its explanation.
        path: where to write; the ending decides the format.
    """
    from matplotlib.figure import Figure

    explanation = result.explanation
    assert explanation is not None
    figure = Figure(figsize=(8.6, 4.2), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    interaction_panel(left, explanation)
    counts = result.label_counts
    if counts is not None:
        reference_lines(left, [("commonest label", counts.majority, ":")])
    left.set_ylabel(f"test accuracy, n = {result.base.total:,}")
    left.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=2)
    change_panel(right, explanation)
    edit = f"{result.module} of layer {result.layer} at rate {result.best_rate:g}"
    figure.suptitle(heading(result, f"{edit}: {finding(explanation)}"), fontsize=9)
    figure.savefig(path)
    return path


def finding(explanation: Explanation) -> str:
    """What the picture shows, in a few words."""
    raw = explanation.raw.difference
    change = f"a {'gain' if raw > 0 else 'loss'} of {abs(raw):.3f}"
    return {
        "label prior": f"{change} that was a shift of the label prior",
        "discrimination": f"{change} as the model answers; the labels are told apart differently",
        "both": f"{change}, in part a shift of the label prior",
        "no change": "no change beyond noise",
    }[explanation.verdict]


def interaction_panel(axes: "Axes", explanation: Explanation) -> None:
    """A line for each model, from accuracy as it answers to that with a fitted prior."""
    raw, fitted = explanation.raw, explanation.fitted_prior
    for i, control in enumerate(explanation.controls):
        if control.calibrated is None:
            continue
        sds = [control.sd or 0.0, control.calibrated_sd or 0.0]
        marker = CONTROL_MARKERS[i % len(CONTROL_MARKERS)]
        axes.errorbar(
            [0, 1], [control.accuracy, control.calibrated], yerr=sds, color=BLUE, marker=marker,
            ms=5, lw=0.8, alpha=0.7, capsize=2, label=f"control: {control.kind}",
        )  # fmt: skip
    for name, before, after, colour, marker in (
        ("untouched", raw.untouched, fitted.untouched, GREY, "o"),
        ("truncated", raw.truncated, fitted.truncated, ORANGE, "s"),
    ):
        axes.plot([0, 1], [before, after], color=colour, marker=marker, ms=6, lw=2, label=name)
    axes.set_xticks([0, 1], ["as the model answers", "with a fitted label prior"])
    axes.set_xlim(-0.15, 1.15)
    axes.spines[["top", "right"]].set_visible(False)
