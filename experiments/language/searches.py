"""Searches (Algorithm 1) over draws: their summary, what is beyond noise, and their picture."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.common import style
from experiments.language.drawing import CHANCE, bars, legend, rotated, short
from experiments.language.pooled import binomial_interval, spread_of
from jaxsvd.results.points import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = dict[str, Any]

FIELDS = ("task", "module", "seed", "layer", "top", "best_rate", "chance", "validation", "test")


def searches_of(units: Sequence[Mapping[str, Any]]) -> list[Record]:
    """The ``searches`` of result.json: ``beyond_noise`` after Holm's correction over all.

    A search that leaves the model alone changes nothing and is no comparison.
    """
    searches: list[Record] = [{name: unit[name] for name in FIELDS} for unit in units]
    tried = [search for search in searches if search["best_rate"] > 0]
    verdicts = holm([search["test"]["p_value"] for search in tried])
    for search, verdict in zip(tried, verdicts, strict=True):
        search["beyond_noise"] = verdict
    return searches


def summary_of(searches: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Means over the seeds of each task, module and layer, on the test set.

    ``significant`` counts the seeds whose exact test rejects at 5 %, as each search tells by
    itself; ``gains`` and ``losses`` those after the correction of :func:`searches_of`.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for search in searches:
        key = search["task"], search["module"], search["layer"]
        groups.setdefault(key, []).append(search)
    return [
        {"task": task, "module": module, "layer": layer} | _summary(rows)
        for (task, module, layer), rows in groups.items()
    ]


def _summary(rows: Sequence[Mapping[str, Any]]) -> Record:
    tests = [row["test"] for row in rows]
    base, pruned = ([test[name]["accuracy"] for test in tests] for name in ("base", "pruned"))
    differences = [test["difference"] for test in tests]
    significant = [row["test"]["difference"] for row in rows if row.get("beyond_noise")]
    return {
        "seeds": [row["seed"] for row in rows],
        "chance": statistics.fmean(row["chance"] for row in rows),
        "base_mean": statistics.fmean(base),
        "base_spread": spread_of(base),
        "base_interval": _interval(tests, "base"),
        "pruned_mean": statistics.fmean(pruned),
        "pruned_spread": spread_of(pruned),
        "pruned_interval": _interval(tests, "pruned"),
        "difference_mean": statistics.fmean(differences),
        "difference_spread": spread_of(differences),
        "best_rates": [row["best_rate"] for row in rows],
        "significant": sum(test["p_value"] < 0.05 for test in tests),
        "gains": sum(d > 0 for d in significant),
        "losses": sum(d < 0 for d in significant),
    }


def _interval(tests: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    counts = [test[name] for test in tests]
    return list(binomial_interval([c["correct"] for c in counts], [c["total"] for c in counts]))


def verdict(searches: Sequence[Mapping[str, Any]]) -> str:
    """What the searches found on their test sets, in sentences."""
    tried = [search for search in searches if search["best_rate"] > 0]
    alone = len(searches) - len(tried)
    left = f" {alone} of {len(searches)} searches chose to leave the model alone." if alone else ""
    if not tried:
        return left.strip() or "Nothing was searched."
    up = sum(bool(s["beyond_noise"]) and s["test"]["difference"] > 0 for s in tried)
    down = sum(bool(s["beyond_noise"]) and s["test"]["difference"] < 0 for s in tried)
    mean = statistics.fmean(s["test"]["difference"] for s in searches)
    return (
        f"Of {len(tried)} truncations chosen on validation, {up} gain and {down} lose on their "
        f"test sets beyond noise (exact McNemar, Holm's correction at 5 % over all).{left} The "
        f"mean change of all searches is {mean:+.4f}."
    )


def draw_tests(result: Mapping[str, Any]) -> "Figure":
    """Test accuracy untouched (hollow) and truncated (filled), a pair for each task and module."""
    summary = result["summary"]
    figure = style.figure(style.PAGE if len(summary) > 5 else style.COLUMN, 2.8)
    axes = figure.subplots()
    modules = list(dict.fromkeys(row["module"] for row in summary))
    for x, row in enumerate(summary):
        colour = style.PALETTE[modules.index(row["module"]) % len(style.PALETTE)]
        for name, shift, fill in (("base", -0.15, "white"), ("pruned", 0.15, colour)):
            axes.errorbar(
                [x + shift],
                [row[f"{name}_mean"]],
                bars(row[f"{name}_mean"], row[f"{name}_interval"]),
                color=colour,
                marker="os"[name == "pruned"],
                mfc=fill,
                ms=5,
                capsize=2,
            )
            values = [
                search["test"][name]["accuracy"]
                for search in result["searches"]
                if all(search[key] == row[key] for key in ("task", "module", "layer"))
            ]
            axes.plot([x + shift + 0.09] * len(values), values, "_", color=colour, ms=4, mew=0.7)
        axes.plot([x - 0.35, x + 0.35], [row["chance"]] * 2, **CHANCE)
    labels = [f"{short(row['task'])}\n{row['module']} {row['layer']}" for row in summary]
    axes.set_xticks(range(len(summary)), labels)
    rotated(axes, labels)
    axes.set(ylabel="test accuracy", xlim=(-0.6, len(summary) - 0.4))
    axes.plot([], [], "o", mfc="white", color="black", label="untouched")
    axes.plot([], [], "s", color="black", label="truncated")
    axes.plot([], [], "_", color="black", ms=4, mew=0.7, label="single draws")
    axes.plot([], [], **CHANCE, label="chance")
    legend(figure, *axes.get_legend_handles_labels())
    return figure
