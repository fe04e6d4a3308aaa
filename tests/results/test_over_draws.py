"""Means over draws and examples: the analysis of variance, Student's interval, and coverage."""

import numpy as np
import pytest
from scipy import stats

from jaxsvd.results.over_draws import DrawValues, OverDraws, over_draws, ratio_over_draws


def crossed(table: np.ndarray) -> list[DrawValues]:
    """All draws with the same examples."""
    return [DrawValues(row, np.arange(table.shape[1])) for row in table]


def nested(table: np.ndarray) -> list[DrawValues]:
    """Every draw with examples of its own."""
    size = table.shape[1]
    return [DrawValues(row, np.arange(size) + i * size) for i, row in enumerate(table)]


def half(actual: OverDraws) -> float:
    low, high = actual.interval
    return (high - low) / 2


def test_nested_draws_are_students_interval_of_their_means() -> None:
    table = np.random.default_rng(0).normal(0.1, 1, (5, 40))
    actual = over_draws(nested(table))
    reference = stats.ttest_1samp(table.mean(axis=1), 0)
    assert actual.interval == pytest.approx(tuple(reference.confidence_interval(0.95)), abs=1e-12)
    tail = stats.t.sf(abs(reference.statistic), 4)  # pyright: ignore[reportAttributeAccessIssue]
    assert actual.p_value == pytest.approx(2 * tail, rel=1e-10)
    assert actual.sd == pytest.approx(table.mean(axis=1).std(ddof=1))


def test_crossed_draws_are_the_analysis_of_variance() -> None:
    """(MS of draws + MS of examples - MS of the rest) / cells, from the textbook's sums."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(6, 1)) + 2 * rng.normal(size=(1, 50)) + rng.normal(size=(6, 50))
    draws, size = table.shape
    mean, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    of_draws = size * ((rows - mean) ** 2).sum() / (draws - 1)
    of_examples = draws * ((columns - mean) ** 2).sum() / (size - 1)
    rest = ((table - rows[:, None] - columns + mean) ** 2).sum() / ((draws - 1) * (size - 1))
    cells = draws * size
    variance = (of_draws + of_examples - rest) / cells
    shared = (of_examples - rest) / cells
    freedom = variance**2 / ((of_draws / cells) ** 2 / (draws - 1) + shared**2 / (size - 1))
    actual = over_draws(crossed(table))
    assert actual.mean == pytest.approx(mean, abs=1e-12)
    assert half(actual) == pytest.approx(stats.t.ppf(0.975, freedom) * variance**0.5, rel=1e-10)


def test_one_draw_is_its_examples() -> None:
    values = np.random.default_rng(2).normal(size=100)
    actual = over_draws([DrawValues(values, np.arange(100))])
    assert half(actual) == pytest.approx(1.959963984540054 * values.std(ddof=1) / 10, rel=1e-12)
    assert actual.sd is None


def test_draws_that_agree_are_no_certainty() -> None:
    """Four draws with equal means, and two with nearly equal ones: as wide as examples alone."""
    values = np.array([1.0, 0.0, -1.0, 0.0] * 10)
    for rows in (np.stack([values] * 4), np.stack([values, values + 1e-6])):
        actual = over_draws(nested(rows))
        alone = 1.959963984540054 * (values.var(ddof=1) / 40 / len(rows)) ** 0.5
        assert half(actual) == pytest.approx(alone, rel=1e-4)


def test_order_of_draws_and_examples_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    draws = [DrawValues(rng.normal(size=n), rng.permutation(60)[:n]) for n in (30, 40, 50)]
    shuffled = []
    for draw in reversed(draws):
        order = rng.permutation(len(draw.values))
        shuffled.append(DrawValues(draw.values[order], draw.examples[order]))
    one, other = over_draws(draws), over_draws(shuffled)
    assert one.mean == pytest.approx(other.mean, abs=1e-14)
    assert one.interval == pytest.approx(other.interval, abs=1e-14)


def test_a_known_ratio() -> None:
    """F = 0.3 r + noise: the interval holds 0.3; proportional values have no interval at all."""
    rng = np.random.default_rng(4)
    raw = rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.65, 0.3], size=(5, 400))
    ratio, (low, high) = ratio_over_draws(
        crossed(0.3 * raw + 0.1 * rng.normal(size=raw.shape)), crossed(raw)
    )
    assert low < 0.3 < high
    assert low < ratio < high
    assert high - low < 0.3
    same, interval = ratio_over_draws(crossed(0.3 * raw), crossed(raw))
    assert (same, *interval) == pytest.approx((0.3, 0.3, 0.3), abs=1e-9)
    with pytest.raises(ValueError, match="holds 0"):
        ratio_over_draws(crossed(raw), crossed(rng.normal(size=raw.shape)))


def test_nothing_to_average_is_refused() -> None:
    with pytest.raises(ValueError, match="two examples"):
        over_draws([])
    with pytest.raises(ValueError, match="two examples"):
        over_draws([DrawValues(np.ones(1), np.arange(1))])


CHANGE = 0.05


def turned(
    rng: np.random.Generator, draws: int, size: int, of_draws: float, of_examples: float
) -> np.ndarray:
    """Examples that become right (1) or wrong (-1): a mean change of .05, known spreads.

    Draws and examples are drawn with known standard deviations of the expected change; each answer
    then turns at random.
    """
    shift = of_draws * rng.normal(size=(draws, 1)) + of_examples * rng.normal(size=(1, size))
    gain = np.clip(0.15 + (CHANGE + shift) / 2, 0, 0.5)
    loss = np.clip(0.15 - (CHANGE + shift) / 2, 0, 0.5)
    chance = rng.random((draws, size))
    return (chance < gain) * 1.0 - (chance > 1 - loss)


def plain_bootstrap(table: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Draws and examples resampled apart from each other, percentiles of the mean."""
    draws, size = table.shape
    picks = rng.multinomial(draws, np.full(draws, 1 / draws), 500) / draws
    chosen = rng.multinomial(size, np.full(size, 1 / size), 500) / size
    means = ((chosen @ table.T) * picks).sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def coverage(
    sets: int, draws: int, size: int, of_draws: float, of_examples: float, seed: int
) -> float:
    rng, held = np.random.default_rng(seed), 0
    for _ in range(sets):
        low, high = over_draws(crossed(turned(rng, draws, size, of_draws, of_examples))).interval
        held += low <= CHANGE <= high
    return held / sets


def test_coverage_briefly() -> None:
    """200 data sets: a rate of .95 has a standard error of .015; four are allowed."""
    assert abs(coverage(200, 5, 200, 0.03, 0.1, seed=0) - 0.95) < 4 * 0.0155


@pytest.mark.long
@pytest.mark.parametrize("size", [200, 600, 2000])
@pytest.mark.parametrize("draws", [5, 8])
@pytest.mark.parametrize("of_draws", [0.0, 0.03, 0.08])
def test_intervals_cover(size: int, draws: int, of_draws: float) -> None:
    """Of 1,000 data sets 93 to 97 % of the intervals hold the true change."""
    assert 0.93 <= coverage(1000, draws, size, of_draws, 0.1, seed=1) <= 0.97


@pytest.mark.long
@pytest.mark.parametrize(("draws", "least", "most"), [(2, 0.9, 0.995), (3, 0.91, 0.995)])
def test_few_draws_cover_as_said(draws: int, least: float, most: float) -> None:
    """What docs/draws.md says of two and of three draws."""
    for of_draws in (0.0, 0.02, 0.08):
        assert least <= coverage(1000, draws, 600, of_draws, 0.1, seed=2) <= most


@pytest.mark.long
def test_the_plain_bootstrap_does_not_cover() -> None:
    """Why it is not used: five draws that differ, at 95 % nominal."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(1000):
        table = turned(rng, 5, 600, 0.08, 0.1)
        low, high = plain_bootstrap(table, rng)
        held += low <= CHANGE <= high
    assert held / 1000 < 0.9
