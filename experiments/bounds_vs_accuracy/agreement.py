"""Do predictors and measurements move together? And what to say of it, in words.

A record is one truncated cell against the untouched model of its own draw: the changes of what was
measured, with standard errors, and of what was predicted. A predictor has to beat the clipping
rate, the layer and the norm of the update; and what is computed from measured errors (bounds from
predictions) those errors themselves: else a second measurement would pass for a theory.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.common.records import Record
from theory.agreement import (
    Correlation,
    FewClusters,
    PredictorComparison,
    compare,
    correlate,
    coverage,
    sign_agreement,
)

OUTCOMES = ("test error", "gap")
STRATA = (None, "rate", "layer")
NAMES = {"rate": "xi alone", "layer": "the layer alone", "update norm": "||dW_t||"}
BASELINES = tuple(NAMES)
PLAIN = ("supersample gap", "supersample test error")
"""Plainly measured on the supersamples: what bounds estimated there have to beat too."""

UNSIGNED = ("rate", "layer", "parameters removed", "energy removed", "condition number")
"""Predictors of which the theory does not say whether more of it is worse."""

LEVEL = 0.05
DRAWS = 500
"""Enough for p-values below LEVEL divided by two dozen predictors."""

Advance = Callable[[int], None]


def records_of(cells: Sequence[Mapping[str, Any]], fixed: Sequence[str]) -> list[Record]:
    """Cells as :mod:`theory.agreement` takes them.

    Args:
        cells: of result.json, none of them untouched; ``bound_changes`` are those of bounds from
            predictions.
        fixed: predictors that are no change of anything, such as the condition number.
    """
    return [
        {
            **{name: cell[name] for name in ("seed", "module", "layer", "rate")},
            **{name: cell["changes"][name][0] for name in OUTCOMES},
            **{f"{name}, error": cell["changes"][name][1] for name in OUTCOMES},
            **{name: cell["predictors"][name] for name in fixed},
            **cell["predicted_changes"],
            **cell.get("plain_changes", {}),
            **cell.get("bound_changes", {}),
        }
        for cell in cells
    ]


def predictors_in(records: Sequence[Record]) -> list[str]:
    """Names of what is judged: every column that is a number in all records, and varies."""
    apart = {"seed", "module", *OUTCOMES, *(f"{name}, error" for name in OUTCOMES)}
    names = [name for name in records[0] if name not in apart]
    return [
        name
        for name in names
        if all(name in record and not math.isnan(record[name]) for record in records)
        and len({record[name] for record in records}) > 1
    ]


def analyse(
    records: Sequence[Record],
    predictors: Sequence[str],
    *,
    cluster: Sequence[str],
    finer: Sequence[str] | None = None,
    estimated: Sequence[str] = (),
    draws: int = DRAWS,
    seed: int = 0,
    advance: Advance = lambda steps: None,
) -> list[Record]:
    """Every predictor beside the baselines, for every outcome: pooled, within rate, within layer.

    Args:
        records: from :func:`records_of`.
        predictors: which columns.
        cluster: what makes the independent units: without the seed where all seeds share a model.
        finer: units of a second interval, shown beside: (seed, module, layer).
        estimated: predictors that have to beat :data:`PLAIN` too.
        draws: of the null.
        seed: of the null.
        advance: called with 1 for every comparison.

    Returns:
        A row for each outcome, stratum and predictor: ``value``, ``interval``, ``p_value``,
        ``null``, ``clusters``, ``finer`` (an interval), ``kendall``, ``advantage`` over each
        baseline (intervals), ``informative`` (level divided by the number of predictors).
    """
    with warnings.catch_warnings():
        # Quick runs have few clusters; the report prints how many.
        warnings.simplefilter("ignore", FewClusters)
        return _analysed(records, predictors, cluster, finer, estimated, draws, seed, advance)


def _analysed(
    records: Sequence[Record],
    predictors: Sequence[str],
    cluster: Sequence[str],
    finer: Sequence[str] | None,
    estimated: Sequence[str],
    draws: int,
    seed: int,
    advance: Advance,
) -> list[Record]:
    baselines = [name for name in BASELINES if name in predictors]
    plain = [name for name in PLAIN if name in predictors]
    rows = []
    for outcome in OUTCOMES:
        for within in STRATA:
            for predictor in predictors:
                options: dict[str, Any] = {"within": within, "draws": draws, "seed": seed}
                rivals = [*baselines, *(plain if predictor in estimated else ())]
                comparison = compare(
                    records,
                    predictor,
                    outcome,
                    baselines=rivals,
                    cluster=cluster,
                    level=LEVEL / len(predictors),
                    **options,
                )
                own = comparison.correlations[predictor]
                row = _row(comparison, own, predictor in (*baselines, *plain))
                if within is None:
                    row["kendall"] = kendall_of(records, predictor, outcome, cluster, seed)
                    if finer:
                        one = correlate(records, predictor, outcome, cluster=finer, **options)
                        row["finer"] = one.interval
                        row["finer_p_value"] = one.p_value
                rows.append({"outcome": outcome, "within": within, "predictor": predictor} | row)
                advance(1)
    return rows


def kendall_of(
    records: Sequence[Record], predictor: str, outcome: str, cluster: Sequence[str], seed: int
) -> Record:
    """Kendall's tau-b with its 95 % interval."""
    options: dict[str, Any] = {"statistic": "kendall", "cluster": cluster, "draws": 2, "seed": seed}
    one = correlate(records, predictor, outcome, **options)
    return {"value": one.value, "interval": list(one.interval)}


def _row(comparison: PredictorComparison, own: Correlation, baseline: bool) -> Record:
    return {
        "value": own.value,
        "interval": own.interval,
        "p_value": own.p_value,
        "null": own.null,
        "clusters": own.clusters,
        "advantage": dict(comparison.advantage),
        "informative": comparison.informative and not baseline,
        "baseline": baseline,
    }


def signs(records: Sequence[Record], predictors: Sequence[str]) -> list[Record]:
    """Does a predicted rise come with a measured rise? Dead zone: one standard error."""
    rows = []
    for outcome in OUTCOMES:
        measured = _column(records, outcome)
        error = np.nan_to_num(_column(records, f"{outcome}, error"))
        for name in predictors:
            signs = sign_agreement(_column(records, name), measured, error)
            rows.append(
                {
                    "outcome": outcome,
                    "predictor": name,
                    "share": signs.share,
                    "agreeing": signs.agreeing,
                    "compared": signs.compared,
                    "dead": signs.dead,
                    "unpredicted": signs.unpredicted,
                }
            )
    return rows


def worth(bounds: Mapping[str, Sequence[float]], gaps: Sequence[float]) -> Record:
    """Of each bound: how often it holds, median ratio to the gap, share below trivial."""
    gap = np.asarray(gaps, float)
    return {name: vars(coverage(np.asarray(values, float), gap)) for name, values in bounds.items()}


def _column(records: Sequence[Record], name: str) -> np.ndarray:
    return np.array([float(record[name]) for record in records])


def verdict(rows: Sequence[Record]) -> list[str]:
    """What the comparisons say, a sentence each."""
    sentences = []
    for outcome in OUTCOMES:
        for within in STRATA:
            mine = [r for r in rows if r["outcome"] == outcome and r["within"] == within]
            if mine:
                sentences.append(_verdict(mine, outcome, within))
        sentences += against_rate(rows, outcome)
    return sentences


def _verdict(rows: Sequence[Record], outcome: str, within: str | None) -> str:
    where = "Pooled" if within is None else f"Within one {within}"
    informative = [row for row in rows if row["informative"]]
    if informative:
        names = "; ".join(_signed(row) for row in informative)
        return f"{where}, the change of the {outcome} is told beyond the baselines by: {names}."
    ranked = [row for row in rows if not math.isnan(row["value"])]
    best = max(ranked, key=lambda row: abs(row["value"]), default=None)
    if best is None:
        return f"{where}, nothing varies that could tell the change of the {outcome}."
    low, high = best["interval"]
    label = NAMES.get(best["predictor"], best["predictor"])
    return (
        f"{where}, no predictor tells the change of the {outcome} beyond the baselines; the "
        f"strongest correlation is that of {label}: {best['value']:+.2f} [{low:+.2f}, {high:+.2f}]."
    )


def _signed(row: Record) -> str:
    """A predictor and its correlation; larger bounds and norms should come with larger errors."""
    wrong = row["value"] < 0 and row["predictor"] not in UNSIGNED
    note = ", against the theory's sign" if wrong else ""
    return f"{row['predictor']} ({row['value']:+.2f}{note})"


def against_rate(rows: Sequence[Record], outcome: str) -> list[str]:
    """Every predictor that is no baseline against xi alone, pooled."""
    better, level, worse = [], [], []
    for row in rows:
        about = row["outcome"] == outcome and row["within"] is None and not row["baseline"]
        if about and "rate" in row["advantage"]:
            low, high = row["advantage"]["rate"]
            side = better if low > 0 else worse if high < 0 else level
            side.append(row["predictor"])
    sentences, what = [], f"the changes of the {outcome}"
    if level:
        sentences.append(f"xi alone ranks {what} as well as {'; '.join(level)}.")
    if worse:
        sentences.append(f"xi alone ranks {what} better than {'; '.join(worse)}.")
    if better:
        sentences.append(
            f"Better than xi alone (but see the other baselines): {'; '.join(better)}."
        )
    return sentences
