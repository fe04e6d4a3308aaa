"""What experiments.bounds_vs_accuracy tells, from its result.json."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from experiments.common.records import Record
from experiments.common.scaffold import table

STRATA = {None: "pooled", "rate": "within a rate", "layer": "within a layer"}


def report(result: Record) -> Iterable[Table | str]:
    """Untouched models, correlations, signs, what bounds are worth, and the verdict."""
    for name, study in result["studies"].items():
        own = [cell for cell in result["untouched"] if cell["task"] == name]
        yield untouched(name, own)
        for outcome in dict.fromkeys(row["outcome"] for row in study["agreement"]):
            yield correlations(name, outcome, study)
        yield signs(name, study["signs"])
        yield worth(name, study)
        if study["held_out"]:
            held = study["held_out"]
            yield (
                f"Beside them the plain interval of the validation error (Hoeffding): half width "
                f"{held['half_width']:.3f}, holds the test error in {held['covered']:.0%} of cells."
            )
        yield ""
        yield from study["verdict"]
        yield ""
    yield from (f"note: {caveat}" for caveat in result["caveats"])


def estimate(pair: Sequence[float]) -> str:
    """A value and its standard error."""
    value, error = pair
    return f"{value:.4f}" if math.isnan(error) else f"{value:.4f} +- {error:.4f}"


def untouched(name: str, cells: Sequence[Mapping[str, Any]]) -> Table:
    """What each seed measures without truncation."""
    return table(
        f"{name}: untouched (+- standard error)",
        ["seed", "test error", "training error", "gap"],
        [
            [str(c["seed"]), *(estimate(c[k]) for k in ("test_error", "training_error", "gap"))]
            for c in cells
        ],
    )


def correlations(name: str, outcome: str, study: Mapping[str, Any]) -> Table:
    """Spearman's correlation of each predictor with the change of an outcome."""
    rows = [row for row in study["agreement"] if row["outcome"] == outcome]
    sentences = []
    for predictor in study["predictors"]:
        mine = {row["within"]: row for row in rows if row["predictor"] == predictor}
        sentences.append(
            [
                predictor + (" (baseline)" if mine[None]["baseline"] else ""),
                *(_value(mine[within]) for within in STRATA),
                f"{mine[None]['p_value']:.3f}",
                _pair(mine[None]["advantage"].get("rate")),
                ", ".join(STRATA[w] for w in STRATA if mine[w]["informative"]) or "no",
            ]
        )
    clusters = f"{rows[0]['clusters']} clusters of {', '.join(study['cluster'])}"
    return table(
        f"{name}: Spearman with the change of the {outcome} [95 %], {clusters}",
        ["predictor", *STRATA.values(), "p", "advantage over xi", "beyond baselines"],
        sentences,
    )


def _value(row: Mapping[str, Any]) -> str:
    if math.isnan(row["value"]):
        return "-"
    return f"{row['value']:+.2f} {_pair(row['interval'])}"


def _pair(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:+.2f}, {interval[1]:+.2f}]"


def signs(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """How often a predicted change has the measured sign."""
    outcomes = list(dict.fromkeys(row["outcome"] for row in rows))
    predictors = list(dict.fromkeys(row["predictor"] for row in rows))
    by = {(row["outcome"], row["predictor"]): row for row in rows}
    return table(
        f"{name}: measured changes beyond one standard error whose sign was predicted",
        ["predictor", *outcomes],
        [[p, *(_share(by[outcome, p]) for outcome in outcomes)] for p in predictors],
    )


def _share(row: Mapping[str, Any]) -> str:
    if not row["compared"]:
        return "-"
    return f"{row['share']:.0%} of {row['compared']}"


def worth(name: str, study: Mapping[str, Any]) -> Table:
    """What bounds are worth as bounds on the measured gap."""
    rows = []
    for bound, row in study["worth"].items():
        floor = study["floors"].get(bound.removesuffix(" (predictions)"), {})
        alone = bool(floor) and bound.endswith("(predictions)")
        rows.append(
            [
                bound,
                "infinite" if row["infinite"] == 1 else f"{row['covered']:.0%}",
                f"{row['median_ratio']:.3g}",
                f"{row['below_trivial']:.0%}",
                f"{row['infinite']:.0%}",
                f"{floor['bound']:.3f} / {floor['floor']:.3f}" if alone else "",
            ]
        )
    return table(
        f"{name}: bounds against the measured gap, {study['cells']} truncations",
        ["bound", "holds", "median bound/gap", "below 1", "infinite", "median / floor"],
        rows,
    )
