"""Agreement statistics: planted cases, scipy's values, coverage of intervals, infinities."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from theory import agreement
from theory.agreement.ranks import kendall_weighted, spearman_weighted

RATES = (0.0, 0.5, 0.9, 0.99)


def make(
    seed: int, *, signal: float = 0.0, trend: float = 1.0, seeds: int = 4, layers: int = 4
) -> list[dict[str, Any]]:
    """Records whose gap has a trend in the rate, cluster effects, and perhaps a signal.

    ``informative`` carries the cell's own part of the gap; ``rate_like`` only the trend; ``blind``
    nothing; ``norm`` falls with the rate.
    """
    rng = np.random.default_rng(seed)
    records = []
    for number, module, layer in itertools.product(range(seeds), ("mlp", "attn"), range(layers)):
        effect = rng.normal()
        for rate in RATES:
            own = rng.normal()
            cell = effect + own
            records.append(
                {
                    "seed": number,
                    "module": module,
                    "layer": layer,
                    "rate": rate,
                    "gap": cell - trend * rate + 0.3 * rng.normal(),
                    "informative": signal * cell - trend * rate + 0.3 * rng.normal(),
                    "rate_like": -rate + 0.01 * rng.normal(),
                    "blind": rng.normal(),
                    "norm": 2 - rate + rng.normal(),
                }
            )
    return records


def column(records: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([record[name] for record in records])


@pytest.mark.parametrize("within", [None, "rate", "layer"])
@pytest.mark.parametrize("statistic", ["spearman", "kendall"])
def test_the_planted_predictor_is_found(within: Any, statistic: Any) -> None:
    records = make(0, signal=1.0)
    draws = 200 if statistic == "kendall" else 500
    actual = agreement.compare(
        records, "informative", "gap", within=within, statistic=statistic, draws=draws
    )
    assert actual.informative
    mine = actual.correlations["informative"]
    assert mine.interval[0] < mine.value < mine.interval[1]
    assert mine.interval[0] > 0.3
    assert mine.clusters == 32
    if within == "rate":  # the rate cannot say anything there
        assert math.isnan(actual.correlations["rate"].value)
        assert "rate" not in actual.advantage


@pytest.mark.parametrize("within", [None, "rate", "layer"])
@pytest.mark.parametrize("name", ["blind", "rate_like"])
def test_without_one_none_is_found(name: str, within: Any) -> None:
    """In ten worlds without a signal, not one predictor passes as informative."""
    for world in range(10):
        records = make(world, trend=3.0)
        assert not agreement.compare(records, name, "gap", within=within, draws=100).informative


def test_what_only_follows_the_rate_is_no_evidence() -> None:
    """A strong pooled correlation, explained by the rate: inside the null, behind the baseline."""
    records = make(1, trend=4.0)
    actual = agreement.compare(records, "rate_like", "gap", draws=500)
    mine = actual.correlations["rate_like"]
    assert mine.value > 0.5
    assert mine.interval[0] > 0
    assert mine.null[0] <= mine.value <= mine.null[1]
    assert mine.p_value > 0.05
    assert not actual.informative
    inside = agreement.correlate(records, "rate_like", "gap", within="rate", draws=500)
    assert inside.interval[0] < 0 < inside.interval[1]


def test_values_are_scipys() -> None:
    records = make(2, signal=0.5)
    x, y = column(records, "informative"), column(records, "gap")
    actual = agreement.correlate(records, "informative", "gap", draws=2)
    assert actual.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    rates = column(records, "rate")
    each = [stats.spearmanr(x[rates == r], y[rates == r]).statistic for r in RATES]
    within = agreement.correlate(records, "informative", "gap", within="rate", draws=2)
    assert within.value == pytest.approx(np.mean(each), abs=1e-12)
    tied, other = np.array([1.0, 1, 2, 3, 3]), np.array([2.0, 1, 1, 3, 4])
    assert agreement.spearman(tied, other) == pytest.approx(stats.spearmanr(tied, other).statistic)
    assert agreement.kendall(tied, other) == pytest.approx(stats.kendalltau(tied, other).statistic)
    constant = np.ones(5)
    assert math.isnan(agreement.spearman(constant, other))
    assert math.isnan(agreement.kendall(other, constant))


def test_weights_are_repetitions() -> None:
    """The weighted correlations against scipy's of records that are really repeated."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (2, 20)).astype(float)
    weights = rng.integers(0, 4, (30, 20))
    pairs = ((spearman_weighted, stats.spearmanr), (kendall_weighted, stats.kendalltau))
    for ours, theirs in pairs:
        actual = ours(x, y, weights.astype(float))
        wanted = [theirs(np.repeat(x, row), np.repeat(y, row)).statistic for row in weights]
        np.testing.assert_allclose(actual, wanted, atol=1e-12)


def test_the_same_seed_gives_the_same_result() -> None:
    records = make(3, signal=0.3)
    one, same, other = (
        agreement.correlate(records, "informative", "gap", draws=50, seed=seed)
        for seed in (5, 5, 6)
    )
    assert one == same
    assert one.null != other.null
    assert one.interval == other.interval  # nothing in it is drawn


def covered(clusters: int, rho: float, worlds: int, naive: bool = False) -> float:
    """How often the interval holds the correlation of a large sample of the same kind."""

    def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        effect, own = rng.normal(size=(2, count)), rng.normal(size=(2, count, len(RATES)))
        y = rho * effect[0] + math.sqrt(1 - rho**2) * effect[1]
        return (effect[0][:, None] + own[0] / 2).ravel(), (y[:, None] + own[1] / 2).ravel()

    truth = stats.spearmanr(*draw(np.random.default_rng(0), 50_000)).statistic
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(worlds):
        x, y = draw(rng, clusters)
        records = [
            {"x": x[i], "y": y[i], "cell": i // len(RATES), "record": i} for i in range(x.size)
        ]
        cluster = ("record" if naive else "cell",)
        low, high = agreement.correlate(records, "x", "y", cluster=cluster, draws=2).interval
        held += low <= truth <= high
    return held / worlds


@pytest.mark.long
@pytest.mark.parametrize("clusters", [8, 16])
@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_cluster_interval_covers(clusters: int, rho: float) -> None:
    """Between .93 and .97 where .95 is stated, from 8 clusters on; three errors of the count."""
    worlds = 1500
    error = math.sqrt(0.05 * 0.95 / worlds)
    share = covered(clusters, rho, worlds)
    assert 0.93 - 3 * error < share < 0.97 + 3 * error


def test_the_cluster_interval_covers_roughly() -> None:
    worlds = 150
    assert covered(8, 0.6, worlds) > 0.93 - 3 * math.sqrt(0.05 * 0.95 / worlds)
    # One that takes every record for independent misses it much more often.
    assert covered(8, 0.6, worlds, naive=True) < 0.85


def test_few_clusters_warn() -> None:
    few = [record for record in make(0) if record["seed"] == 0 and record["module"] == "mlp"]
    with pytest.warns(agreement.FewClusters, match="4 clusters: below 8"):
        agreement.correlate(few, "blind", "gap", draws=5)
    with pytest.warns(agreement.FewClusters) as caught:
        agreement.compare(few, "blind", "gap", draws=5)
    assert len(caught) == 1


def test_infinite_bounds_are_the_largest() -> None:
    records = make(4, signal=1.0)
    largest = max(record["informative"] for record in records)
    cut = [
        record | {"informative": math.inf if record["informative"] > 1 else record["informative"]}
        for record in records
    ]
    tied = [record | {"informative": min(record["informative"], largest)} for record in cut]
    ours, theirs = (agreement.correlate(r, "informative", "gap", draws=20) for r in (cut, tied))
    assert ours == theirs


def test_a_constant_predictor() -> None:
    records = [record | {"blind": 1.0} for record in make(0)]
    actual = agreement.compare(records, "blind", "gap", draws=20)
    assert math.isnan(actual.correlations["blind"].value)
    assert not actual.informative


def test_missing_cells() -> None:
    """Clusters without some of the rates are exchanged among their like only."""
    records = [r for i, r in enumerate(make(5, signal=1.0)) if i % 7]
    assert agreement.compare(records, "informative", "gap", draws=300).informative


def test_sign_agreement() -> None:
    predicted = np.array([1.0, -1.0, 1.0, 0.0, 2.0, -3.0])
    measured = np.array([0.5, -0.5, -0.5, 0.5, 0.05, 0.0])
    actual = agreement.sign_agreement(predicted, measured, np.array([0.1] * 5 + [0.0]))
    assert (actual.agreeing, actual.compared, actual.dead, actual.unpredicted) == (2, 3, 2, 1)
    assert actual.share == pytest.approx(2 / 3)
    nothing = agreement.sign_agreement(np.ones(1), np.zeros(1), np.ones(1))
    assert math.isnan(nothing.share)


def test_coverage() -> None:
    actual = agreement.coverage(
        np.array([0.5, 2.0, math.inf, 0.1]), np.array([0.25, 0.5, 0.1, -0.2])
    )
    assert actual.covered == 1
    assert actual.median_ratio == 4
    assert actual.below_trivial == 0.5
    assert actual.infinite == 0.25
    assert actual.cells == 4
    assert agreement.coverage(np.array([0.1]), np.array([0.2])).covered == 0
    assert math.isnan(agreement.coverage(np.array([0.1]), np.array([-0.2])).median_ratio)


RECORDS = make(0, seeds=1)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: agreement.correlate(RECORDS[:2], "blind", "gap"), "records"),
        (lambda: agreement.correlate(RECORDS, "missing", "gap"), "records"),
        (lambda: agreement.correlate(RECORDS[:4], "blind", "gap"), "records"),
        (
            lambda: agreement.correlate([r | {"gap": math.nan} for r in RECORDS], "blind", "gap"),
            "records",
        ),
        (lambda: agreement.correlate(RECORDS, "blind", "gap", draws=1), "draws"),
        (lambda: agreement.compare(RECORDS, "blind", "gap", level=1.0), "level"),
        (lambda: agreement.sign_agreement(np.ones(2), np.ones(3), np.ones(3)), "predicted"),
        (lambda: agreement.sign_agreement(np.ones(3), np.ones(3), np.ones(2)), "standard_error"),
        (lambda: agreement.sign_agreement(np.ones(1), np.ones(1), -np.ones(1)), "standard_error"),
        (lambda: agreement.sign_agreement(np.ones(1), np.full(1, np.nan), np.ones(1)), "measured"),
        (lambda: agreement.coverage(np.ones(2), np.ones(3)), "bound"),
        (lambda: agreement.coverage(np.ones(0), np.ones(0)), "bound"),
        (lambda: agreement.coverage(np.full(1, np.nan), np.ones(1)), "bound"),
        (lambda: agreement.coverage(np.ones(1), np.full(1, np.nan)), "gap"),
    ],
)
def test_mistakes(call, argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must be"):
        call()
