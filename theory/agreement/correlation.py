"""Rank correlations with studentised cluster intervals, strata, baselines and a null."""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata
from scipy.stats import t as student

from theory.agreement.ranks import (
    kendall_reordered,
    kendall_weighted,
    spearman_reordered,
    spearman_weighted,
)
from theory.checks import require, require_whole

Record = Mapping[str, Any]
Statistic = Literal["spearman", "kendall"]

CLUSTER = ("seed", "module", "layer")
BASELINES = ("rate", "layer", "norm")

FEWEST = 8
"""Clusters from which on the intervals hold what they state: coverage .94 to .97 in simulations."""


class FewClusters(UserWarning):
    """An interval from so few clusters that it covers less than it states."""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation, NaN where a side is constant.

    Attributes:
        value: over all records, or the mean over strata weighted by their sizes.
        interval: 95 %, studentised: Fisher's z of the value, plus and minus the jackknife's
            standard error over clusters times Student's t with one degree of freedom less than
            clusters. Percentiles of a cluster bootstrap cover 87 to 94 % with 8 clusters, a
            studentised bootstrap 88 to 96 %, this 94 to 97 %.
        p_value: two-sided, of exchanging clusters: the share of exchanges whose correlation is as
            far from that of the null's middle. Clusters keep their rates, so what the rate alone
            explains is no evidence.
        null: 95 % of the correlations under such exchanges.
        clusters: independent units.
    """

    value: float
    interval: tuple[float, float]
    p_value: float
    null: tuple[float, float]
    clusters: int


@dataclass(frozen=True)
class _Columns:
    """Records as arrays; predictor and outcome as ranks, infinite bounds being the largest."""

    x: np.ndarray
    y: np.ndarray
    strata: np.ndarray
    clusters: np.ndarray
    statistic: Statistic

    @property
    def count(self) -> int:
        return int(self.clusters.max()) + 1

    def without_each(self) -> np.ndarray:
        """The correlation without each of the clusters."""
        weights = 1.0 - np.eye(self.count)
        return self.reweighted(weights[:, self.clusters])

    def reweighted(self, weights: np.ndarray) -> np.ndarray:
        """The correlation under each row of weights."""
        weighted = spearman_weighted if self.statistic == "spearman" else kendall_weighted
        return self._over_strata(
            lambda inside: weighted(self.x[inside], self.y[inside], weights[:, inside]), weights
        )

    def reordered(self, x: np.ndarray) -> np.ndarray:
        """The correlation with each row of x in the place of the predictor."""
        reordered = spearman_reordered if self.statistic == "spearman" else kendall_reordered
        return self._over_strata(
            lambda inside: reordered(x[:, inside], self.y[inside]), np.ones((1, self.y.size))
        )

    def _over_strata(
        self, correlation: Callable[[np.ndarray], np.ndarray], weights: np.ndarray
    ) -> np.ndarray:
        values, sizes = [], []
        for stratum in range(int(self.strata.max()) + 1):
            inside = self.strata == stratum
            values.append(correlation(inside))
            sizes.append(np.broadcast_to(weights[:, inside].sum(axis=1), values[-1].shape))
        value, size = np.array(values), np.array(sizes)
        # Two records are always in order: a stratum needs three.
        size = np.where(np.isnan(value) | (size < 3), 0.0, size)
        total = size.sum(axis=0)
        mean = (np.nan_to_num(value) * size).sum(axis=0) / np.maximum(total, 1)
        return np.where(total > 0, mean, math.nan)


def correlate(
    records: Sequence[Record],
    predictor: str,
    outcome: str,
    *,
    within: Literal["rate", "layer"] | None = None,
    statistic: Statistic = "spearman",
    cluster: Sequence[str] = CLUSTER,
    draws: int = 1_000,
    seed: int = 0,
) -> Correlation:
    """Rank correlation of two columns, with a cluster interval and a permutation null.

    With fewer than 8 clusters it warns (:class:`FewClusters`).

    Args:
        records: measurements.
        predictor: name of a column; infinite bounds count as the largest, all tied.
        outcome: name of a column.
        within: correlate within records of one rate, or of one layer, and average.
        statistic: ``spearman`` or ``kendall``.
        cluster: the columns whose values make a cluster: the units that are independent. Without
            the seed where seeds share all that the predictor is computed from.
        draws: of the null.
        seed: of the null.

    Raises:
        ValueError: fewer than 3 records, a column that is missing or NaN, fewer than 2 clusters.
    """
    require_whole("draws", draws, 2)
    columns = _columns(records, predictor, outcome, within, cluster, statistic)
    _warn_of_few(columns)
    return _correlation(records, columns, draws, seed)


def _warn_of_few(columns: "_Columns") -> None:
    if columns.count < FEWEST:
        message = f"{columns.count} clusters: below {FEWEST} the intervals cover less than 95 %"
        warnings.warn(message, FewClusters, stacklevel=3)


def _correlation(
    records: Sequence[Record], columns: "_Columns", draws: int, seed: int
) -> Correlation:
    value = float(columns.reordered(columns.x[None])[0])
    if math.isnan(value):
        return Correlation(value, (value, value), 1.0, (value, value), columns.count)
    center, spread = _jackknife(_fisher(columns.without_each()), _fisher(np.array([value])))
    low, high = np.tanh([center - spread, center + spread])
    null = columns.reordered(_exchanges(records, columns, draws, seed + 1))
    middle = float(np.nanmean(null))
    far = np.abs(null - middle) >= abs(value - middle) - 1e-12
    p_value = float((far.sum() + 1) / (draws + 1))
    interval = (float(low), float(high))
    return Correlation(value, interval, p_value, _percentiles(null), columns.count)


@dataclass(frozen=True)
class PredictorComparison:
    """A predictor beside the baselines.

    Attributes:
        correlations: of the predictor and of each baseline, by name.
        advantage: for each baseline, the 95 % interval of |predictor's| less |baseline's|
            correlation, by the jackknife over clusters.
        informative: whether the predictor's interval excludes 0, its p-value is below ``level``,
            and every advantage lies above 0.
    """

    correlations: Mapping[str, Correlation]
    advantage: Mapping[str, tuple[float, float]]
    informative: bool


def compare(
    records: Sequence[Record],
    predictor: str,
    outcome: str,
    *,
    baselines: Sequence[str] = BASELINES,
    within: Literal["rate", "layer"] | None = None,
    statistic: Statistic = "spearman",
    cluster: Sequence[str] = CLUSTER,
    level: float = 0.05,
    draws: int = 1_000,
    seed: int = 0,
) -> PredictorComparison:
    """Whether a predictor says more about an outcome than trivial baselines do.

    With several predictors divide ``level`` by their number. Baselines that are constant (the rate
    within a rate) beat nothing and are left out. Other arguments and errors as in
    :func:`correlate`.
    """
    require(0 < level < 1, "level", "in (0, 1)", level)
    names = [predictor, *(name for name in baselines if name != predictor)]
    options: dict[str, Any] = {"within": within, "statistic": statistic, "cluster": cluster}
    columns = {name: _columns(records, name, outcome, **options) for name in names}
    _warn_of_few(columns[predictor])
    correlations = {name: _correlation(records, columns[name], draws, seed) for name in names}
    strengths = {
        name: np.abs(columns[name].without_each())
        for name in names
        if not math.isnan(correlations[name].value)
    }
    mine = correlations[predictor]
    advantage = {}
    for name in names[1:]:
        if name in strengths and predictor in strengths:
            ahead_by = np.array([abs(mine.value) - abs(correlations[name].value)])
            center, spread = _jackknife(strengths[predictor] - strengths[name], ahead_by)
            advantage[name] = (center - spread, center + spread)
    excludes = mine.interval[0] > 0 or mine.interval[1] < 0
    ahead = all(low > 0 for low, _ in advantage.values())
    return PredictorComparison(
        correlations, advantage, bool(excludes and mine.p_value < level and ahead)
    )


def _columns(
    records: Sequence[Record],
    predictor: str,
    outcome: str,
    within: str | None,
    cluster: Sequence[str],
    statistic: Statistic,
) -> _Columns:
    known = ("spearman", "kendall")
    require(statistic in known, "statistic", " or ".join(known), repr(statistic))
    require(len(records) >= 3, "records", "at least 3", len(records))
    names = {predictor, outcome, *cluster} | ({within} if within else set())
    for name in sorted(names):
        missing = [i for i, record in enumerate(records) if name not in record]
        require(not missing, "records", f"all with {name!r}", f"record {missing[:1]} without")
    x, y = (np.array([float(record[n]) for record in records]) for n in (predictor, outcome))
    for name, column in ((predictor, x), (outcome, y)):
        require(not np.isnan(column).any(), "records", f"without NaN in {name!r}", "NaN")
    clusters = _numbered([tuple(record[n] for n in cluster) for record in records])
    require(int(clusters.max()) >= 1, "records", "of at least 2 clusters", "one")
    strata = _numbered([record[within] if within else 0 for record in records])
    # Ranks, so that infinities can be compared; ties stay ties.
    return _Columns(rankdata(x), rankdata(y), strata, clusters, statistic)


def _numbered(values: Sequence[Any]) -> Int[np.ndarray, " n"]:
    number = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return np.array([number[value] for value in values])


def _fisher(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Fisher's z, in which correlations have nearly the same spread everywhere."""
    return np.arctanh(np.clip(values, -1 + 1e-12, 1 - 1e-12))


def _jackknife(
    without_each: Float[np.ndarray, " clusters"], whole: Float[np.ndarray, " one"]
) -> tuple[float, float]:
    """The middle and half the length of a 95 % interval, from leaving out each cluster."""
    kept = without_each[~np.isnan(without_each)]
    if kept.size < 2:
        return float(whole[0]), math.nan
    variance = (kept.size - 1) / kept.size * ((kept - kept.mean()) ** 2).sum()
    return float(whole[0]), float(student.ppf(0.975, kept.size - 1) * math.sqrt(variance))


def _exchanges(
    records: Sequence[Record], columns: _Columns, draws: int, seed: int
) -> Float[np.ndarray, "draws n"]:
    """The predictor with its clusters exchanged, among clusters that have the same rates."""
    groups: dict[tuple[float, ...], list[np.ndarray]] = defaultdict(list)
    rates = np.array([float(record.get("rate", 0.0)) for record in records])
    for cluster in range(columns.count):
        rows = np.flatnonzero(columns.clusters == cluster)
        rows = rows[np.argsort(rates[rows], kind="stable")]
        groups[tuple(rates[rows])].append(rows)
    rng = np.random.default_rng(seed)
    exchanged = np.tile(columns.x, (draws, 1))
    for members in groups.values():
        places = np.array(members)  # [clusters, rates]
        order = rng.permuted(np.tile(np.arange(len(places)), (draws, 1)), axis=1)
        exchanged[:, places.ravel()] = columns.x[places[order].reshape(draws, -1)]
    return exchanged


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    kept = values[~np.isnan(values)]
    if kept.size == 0:
        return math.nan, math.nan
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(low), float(high)
