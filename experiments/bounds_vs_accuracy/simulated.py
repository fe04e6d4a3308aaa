"""What the studies with a known population share: cells from risks, supersamples from losses."""

import math

import numpy as np
from jaxtyping import Float, Int

from experiments.common.records import Record
from theory.cmi import Supersample

GRID = 8
"""Losses of supersamples are rounded to multiples of 1 / GRID: estimates of information count."""


def mean_and_error(values: Float[np.ndarray, " M"]) -> list[float]:
    """Mean over independent prompts, and its standard error."""
    values = np.asarray(values, float)
    return [float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size))]


def measure(
    population: Float[np.ndarray, " M"],
    empirical: Float[np.ndarray, " M"],
    base_population: Float[np.ndarray, " M"],
    base_empirical: Float[np.ndarray, " M"],
) -> Record:
    """A cell from the risks of M independent prompts, and the untouched model's on the same.

    Returns:
        ``test_error`` (the population's), ``training_error``, ``gap`` and ``changes``, each
        ``[value, standard error]``.
    """
    gap, base_gap = population - empirical, base_population - base_empirical
    return {
        "test_error": mean_and_error(population),
        "training_error": mean_and_error(empirical),
        "gap": mean_and_error(gap),
        "changes": {
            "test error": mean_and_error(population - base_population),
            "gap": mean_and_error(gap - base_gap),
        },
    }


def supersample(
    losses: Float[np.ndarray, "Z M N 2"], masks: Int[np.ndarray, "Z M N"]
) -> Supersample:
    """From losses in [0, 1], rounded to the grid; the bounds are then of the rounded loss."""
    return Supersample(np.round(losses * GRID) / GRID, masks)
