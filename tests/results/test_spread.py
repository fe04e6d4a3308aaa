"""How much of a change is luck: planted spreads are found again."""

import json

import numpy as np
import pytest

from jaxsvd.results.fields import Fields
from jaxsvd.results.spread import Spread, over_draws, over_orders


def turned(rng: np.random.Generator, change: np.ndarray) -> np.ndarray:
    """Examples that turn with probability 0.3, for the better so much more often."""
    up = 0.15 + change / 2
    draw = rng.random(change.shape)
    return np.where(draw < up, 1, np.where(draw < 0.3, -1, 0))


def test_draws_alike_have_no_spread_of_their_own() -> None:
    """What is left of the variance is cut off at 0; the sd of examples is exact."""
    rng = np.random.default_rng(0)
    actual = [over_draws([turned(rng, np.zeros(400)) for _ in range(8)]) for _ in range(200)]
    # 0.3 of the examples turn: the variance of one is .3.
    expected = np.sqrt(0.3 / 400)
    assert np.mean([s.examples_sd for s in actual]) == pytest.approx(expected, rel=0.01)
    # The variance over 8 draws has a relative standard error of sqrt(2 / 7), cut off at 0.
    assert np.mean([s.sd**2 for s in actual]) < 0.35 * expected**2


def test_a_planted_spread_over_draws() -> None:
    rng = np.random.default_rng(1)
    actual = []
    for _ in range(200):
        changes = rng.normal(0.02, 0.08, 8)
        actual.append(over_draws([turned(rng, np.full(400, c)) for c in changes]).sd ** 2)
    # 200 data sets: the mean variance is known to sqrt(2 / 7 / 200) = 3.8 % of (.08^2 + .03^2).
    assert np.mean(actual) == pytest.approx(0.08**2, rel=0.16)


def test_a_planted_spread_over_orders() -> None:
    """Easy and hard examples are in all orders alike, and no spread of orders."""
    rng = np.random.default_rng(2)
    actual, none = [], []
    for _ in range(200):
        hard = rng.normal(0, 0.1, 400).clip(-0.25, 0.25)
        changes = rng.normal(0.0, 0.06, 8).clip(-0.14, 0.14)
        actual.append(
            over_orders([turned(rng, (hard + c).clip(-0.3, 0.3)) for c in changes]).sd ** 2
        )
        none.append(over_orders([turned(rng, hard) for _ in range(8)]).sd ** 2)
    assert np.mean(actual) == pytest.approx(0.06**2, rel=0.2)
    assert np.mean(none) < 0.35 * 0.3 / 400


def test_the_same_answers_in_every_order() -> None:
    one = turned(np.random.default_rng(3), np.zeros(50))
    actual = over_orders([one, one, one])
    assert actual.sd == 0
    assert actual.changes == (pytest.approx(one.mean()),) * 3
    assert Spread.from_json(Fields.of(json.loads(json.dumps(actual.to_json())))) == actual
