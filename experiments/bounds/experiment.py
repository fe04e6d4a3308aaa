"""Every bound against the gap that it bounds, on gradient descent in context.

``python -m experiments.bounds [--quick] [--seed N] [--samples M] [--out RUN] [--resume]``. Linear
regression with |w| = 1 and label noise .3, loss clipped to [0, 1] (so R = 1/2); L layers that each
take a gradient step of size 1 / (1 + sqrt(d/N))^2; gradient noise as of b = N/2. Three algorithms
are run: the deterministic model; the paper's noisy one in the d directions where its gradients
live; and the same with a ridge in all D^2 directions. Each bound is held against the gap of the
algorithm that it bounds, which is not the model's own but for ``terminal noise``.
"""

import argparse
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from experiments.bounds.report import BOUNDS, draw, report
from experiments.common.records import Record
from experiments.common.scaffold import Experiment, Study, whole
from theory import bounds, implicit, noise
from theory.bounds import Bound, Risks
from theory.noise import Ridge, Subspace

LABEL_NOISE = 0.3
RIDGE = 0.01
"""Of the noise that the ridge adds in the block, over tr C."""


def cells(quick: bool) -> list[tuple[int, int, int]]:
    """(d, N, L): a grid over all sizes; with ``quick`` three of its corners."""
    if quick:
        return [(5, 10, 1), (5, 40, 4), (20, 10, 8)]
    return [
        (d, n, layers) for d in (5, 10, 20) for n in (10, 20, 40, 80) for layers in (1, 2, 4, 8)
    ]


def step_size(d: int, n: int) -> float:
    """1 / (1 + sqrt(d/N))^2: one over the largest eigenvalue of S / N for large sizes."""
    return 1 / (1 + math.sqrt(d / n)) ** 2


@dataclasses.dataclass(frozen=True)
class Simulated:
    """One algorithm on one cell."""

    run: noise.Noisy
    risks: Risks
    predictors: np.ndarray


@dataclasses.dataclass(frozen=True)
class CellSamples:
    """Samples of one cell, on which every algorithm is run."""

    d: int
    n: int
    layers: int
    prompts: np.ndarray
    key: jax.Array

    def simulate(self, b: int, subspace: Subspace, ridge: Ridge) -> Simulated:
        """Run an algorithm; at b = N and without a ridge the deterministic one."""
        eta = step_size(self.d, self.n)
        weights = implicit.gd_weights(self.d, eta, self.n, layers=self.layers)
        run = noise.noisy_trajectory(
            self.key, self.prompts, weights, b, subspace=subspace, ridge=ridge
        )
        w = np.asarray(bounds.predictors(run.states[:, -1]))
        return Simulated(run, bounds.regression_risks(w, self.prompts, LABEL_NOISE), w)


def make_cell(seed: int, d: int, n: int, layers: int, samples: int) -> CellSamples:
    """The samples of a cell; those of other cells are independent of them."""
    key = jax.random.key(seed)
    for number in (d, n, layers):
        key = jax.random.fold_in(key, number)
    for_prompts, for_noise = jax.random.split(key)
    prompts = bounds.regression_prompts(for_prompts, samples, n, d, LABEL_NOISE)
    return CellSamples(d, n, layers, prompts, for_noise)


def measure_cell(cell: CellSamples) -> Record:
    """Gaps of the three algorithms, and every bound with the gap that it must exceed."""
    d, n, b = cell.d, cell.n, cell.n // 2
    block, ridge = noise.regression_block(d), ("relative", RIDGE / d)
    # In the block C is singular where N - 1 < d, and needs the ridge there too.
    own: Ridge = None if n > d else ("relative", RIDGE / d)
    simulated = {
        "deterministic": cell.simulate(n, block, None),
        "block": cell.simulate(b, block, own),
        "ridge": cell.simulate(b, "full", ("relative", ridge[1])),
    }
    gaps = {
        name: {
            "gap": one.risks.gap,
            "error": one.risks.gap_error,
            "risk": float(one.risks.population.mean()),
        }
        for name, one in simulated.items()
    }
    noisy = list(_noisy_bounds(simulated, b, block, own, ("relative", ridge[1])))
    exact = simulated["deterministic"].predictors
    terminal = bounds.terminal_noise(
        exact, lambda w: bounds.regression_risks(w, cell.prompts, LABEL_NOISE), n
    )
    noisy.append(("terminal noise", "deterministic", terminal))
    return {
        "algorithms": gaps,
        "bounds": {name: _record(bound, key, gaps[key]) for name, key, bound in noisy},
    }


def _noisy_bounds(
    simulated: Mapping[str, Simulated], b: int, block: noise.BlockSubspace, own: Ridge, ridge: Ridge
) -> Iterator[tuple[str, str, Bound]]:
    """Name, algorithm and value of every bound on a noisy algorithm."""
    inside = bounds.measure(simulated["block"].run.factors, b, simulated["block"].run.states)
    whole = bounds.measure(simulated["ridge"].run.factors, b, simulated["ridge"].run.states)
    yield "theorem 2, as printed", "block", bounds.theorem2(inside)
    yield "theorem 2, ridge", "ridge", bounds.theorem2(whole, ridge=ridge)
    spectral = bounds.theorem2(whole, norm="spectral", ridge=ridge)
    yield "theorem 2 spectral, ridge", "ridge", spectral
    yield "theorem 2, block", "block", bounds.theorem2(inside, subspace=block, ridge=own)
    for center in ("zero", "mean", "state"):
        bound = bounds.lemma6(inside, center=center, subspace=block, ridge=own)
        yield f"lemma 6, {center}", "block", bound
    matrix = bounds.lemma6(inside, center="state", prior="matrix", subspace=block, ridge=own)
    yield "lemma 6, matrix", "block", matrix


def _record(bound: Bound, algorithm: str, gap: Mapping[str, float]) -> Record:
    error = 0.0 if math.isnan(bound.standard_error) else bound.standard_error
    return {
        **dataclasses.asdict(bound),
        # In words: "inf" in a run's files is the number.
        "status": "infinite" if bound.status == "inf" else bound.status,
        "of": algorithm,
        "above_gap": bound.value - 2 * error > gap["gap"] + 2 * gap["error"],
        "below_1": bound.value < 1,
        "below_risk": bound.value < gap["risk"],
    }


def sweep_b(seed: int, samples: int, d: int = 5, n: int = 40, layers: int = 4) -> list[Record]:
    """The virtual subsample b, which no model fixes: what the noisy algorithm and its bound do."""
    cell, block = make_cell(seed, d, n, layers, samples), noise.regression_block(d)
    rows = []
    for b in (1, n // 4, n // 2, 3 * n // 4, n - 1):
        simulated = cell.simulate(b, block, None)
        measured = bounds.measure(simulated.run.factors, b, simulated.run.states, spectral=False)
        bound = bounds.lemma6(measured, center="state", subspace=block)
        rows.append(
            {
                "b": b,
                "gap": simulated.risks.gap,
                "error": simulated.risks.gap_error,
                "risk": float(simulated.risks.population.mean()),
                "bound": bound.value,
                "bound_error": bound.standard_error,
            }
        )
    return rows


def study(study: Study) -> Record:
    """All cells, and the sweep of b."""
    samples = study.options.samples or (200 if study.quick else 1000)
    grid = cells(study.quick)
    records = []
    with study.progress.bar("cells", len(grid) + 1, "cells") as advance:
        for d, n, layers in grid:
            unit = {"d": d, "n": n, "layers": layers}

            def measure(d: int = d, n: int = n, layers: int = layers) -> Record:
                return measure_cell(make_cell(study.seed, d, n, layers, samples))

            records.append(study.once(unit, measure))
            advance(1)
        swept = study.once({"sweep": "b"}, lambda: {"rows": sweep_b(study.seed, samples)})["rows"]
        advance(1)
    return {
        "samples": samples,
        "label_noise": LABEL_NOISE,
        "cells": records,
        "summary": {name: summarise(records, name) for name in BOUNDS},
        "sweep_b": swept,
    }


def summarise(records: list[Record], name: str) -> Record:
    """In how many cells a bound is finite, above its gap, below 1, below the population risk."""
    of = [cell["bounds"][name] for cell in records]
    finite = [bound for bound in of if bound["status"] != "infinite"]
    return {
        "cells": len(of),
        "finite": len(finite),
        "above_gap": sum(bound["above_gap"] for bound in finite),
        "below_1": sum(bound["below_1"] for bound in of),
        "below_risk": sum(bound["below_risk"] for bound in of),
    }


def add_options(parser: argparse.ArgumentParser) -> Any:
    """``--samples``."""
    parser.add_argument(
        "--samples", type=whole(30), metavar="M", help="samples a cell (1000; 200 with --quick)"
    )


EXPERIMENT = Experiment(
    "bounds",
    "Every bound of the paper, as printed and corrected, against the gap that it bounds.",
    study,
    report,
    {"bounds.png": draw},
    add_options,
)
