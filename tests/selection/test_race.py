"""A race keeps its promise, whatever the candidates are, and spends less than scoring all."""

import numpy as np
import pytest

from jaxsvd.runtime.errors import UserError
from jaxsvd.selection.race import capital, race

DELTA = 0.05


def run(means: np.ndarray, examples: int, seed: int, shared: float = 0.8, epsilon: float = 0.05):
    """A race of candidates that answer by chance, most examples alike: as truncated models do."""
    rng = np.random.default_rng(seed)
    common, own = rng.random(examples), rng.random((len(means), examples))
    alike = rng.random(examples) < shared
    table = (np.where(alike, common, own) < means[:, None]).astype(float)
    calls: list[tuple[list[int], range]] = []

    def score(left, batch: range) -> np.ndarray:
        calls.append((list(left), batch))
        return table[np.ix_(list(left), list(batch))]

    return race(score, len(means), examples, epsilon=epsilon, delta=DELTA), calls


def errors(means: np.ndarray, examples: int, races: int, **options) -> float:
    """How often another candidate is better than the winner by more than is said."""
    wrong = 0
    for seed in range(races):
        actual, _ = run(means, examples, seed, **options)
        wrong += means.max() - means[actual.winner] > actual.epsilon
    return wrong / races


PLANTED = np.array([0.6, *[0.5] * 5, 0.75, *np.linspace(0.2, 0.7, 5)])
TIES = np.full(8, 0.6)
CLOSE = np.linspace(0.55, 0.65, 8)


@pytest.mark.parametrize("means", [PLANTED, TIES, CLOSE], ids=["planted", "ties", "close"])
def test_the_promise_is_kept_in_some_races(means: np.ndarray) -> None:
    assert errors(means, 300, 40) <= DELTA


@pytest.mark.long
@pytest.mark.parametrize("shared", [0.0, 0.9])
@pytest.mark.parametrize("means", [PLANTED, TIES, CLOSE], ids=["planted", "ties", "close"])
def test_the_promise_is_kept(means: np.ndarray, shared: float) -> None:
    """In 2,000 races, with independent candidates and with ones that mostly agree."""
    assert errors(means, 300, 2000, shared=shared) <= DELTA


def test_a_planted_winner_wins_and_the_rest_is_dropped_early() -> None:
    means = np.array([*[0.5] * 60, 0.9, *[0.1] * 60])
    actual, calls = run(means, 2000, seed=0)
    assert actual.winner == 60
    assert actual.epsilon == 0.05 or actual.epsilon < 0.05
    assert actual.passes < len(means) * 2000 / 5
    assert sum(len(left) * len(batch) for left, batch in calls) == actual.passes
    assert [batch.start for _, batch in calls][1:] == [batch.stop for _, batch in calls][:-1]


def test_equal_candidates_are_told_from_each_other_no_longer_than_needed() -> None:
    """Ties end as soon as none can be better than the leader by epsilon; the first of them wins."""
    same = np.ones((5, 5000)) * 0.5
    actual = race(lambda left, batch: same[: len(left), batch.start : batch.stop], 5, 5000)
    assert actual.winner == 0
    assert max(actual.scored) < 5000
    assert actual.epsilon <= 0.02


def test_examples_run_out() -> None:
    """Then it says how far the winner may be from the best, which is more than was wanted."""
    actual, _ = run(CLOSE, 40, seed=3, epsilon=0.001)
    assert actual.scored == (40,) * 8
    assert 0.001 < actual.epsilon <= 1


def test_capital_is_a_supermartingale() -> None:
    """Exactly, by all outcomes of three examples: no chance of 1 / alpha above alpha."""
    epsilon = 0.1
    for chances in ([0.2, 0.5, 0.3], [0.55, 0.0, 0.45], [0.1, 0.9, 0.0]):
        values = np.array([-1.0, 0.0, 1.0])
        mean = float(values @ chances)
        if mean > -epsilon:
            continue
        grid = np.array(np.meshgrid(values, values, values)).reshape(3, -1).T
        weights = np.prod([np.take(chances, (column + 1).astype(int)) for column in grid.T], axis=0)
        assert weights @ np.exp(capital(grid, epsilon)) <= 1 + 1e-12


def test_one_candidate() -> None:
    actual = race(lambda left, batch: np.ones((len(left), len(batch))), 1, 10)
    assert (actual.winner, actual.epsilon, actual.passes) == (0, 0.0, 0)


@pytest.mark.parametrize("options", [{"epsilon": 0.0}, {"delta": 1.0}, {"epsilon": 1.5}])
def test_mistakes(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="should be between 0 and 1"):
        race(lambda left, batch: np.zeros((len(left), len(batch))), 3, 10, **options)
