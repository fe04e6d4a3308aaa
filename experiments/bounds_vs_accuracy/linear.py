"""Linear transformers trained to regress in context, where the population risk is exact.

L layers of linear attention on noisy linear regression (d = 7, N = 20, |w| = 1, label noise .3,
loss clipped to [0, 1]); every matrix of every layer truncated to every rank. Here the norms are of
the update itself, and the bounds' terms as the theory has them: of the noisy algorithm with
b = N / 2, a relative ridge or fixed noise. :func:`~theory.bounds.terminal_noise` alone is of the
model itself, but computed from its very risks: a bound to be checked, not a prediction. Other seeds
are other trained models, so that (seed, module, layer) are independent units.
"""

import functools
from collections.abc import Mapping

import jax
import numpy as np

from experiments.bounds_vs_accuracy import supersamples
from experiments.bounds_vs_accuracy.conclusions import conclude, with_bound_changes
from experiments.bounds_vs_accuracy.measured import removed
from experiments.bounds_vs_accuracy.predictors import RIDGE
from experiments.bounds_vs_accuracy.simulated import measure, supersample
from experiments.bounds_vs_accuracy.study import seeds_of
from experiments.bounds_vs_accuracy.trajectories import total
from experiments.bounds_vs_accuracy.truncated import changes
from experiments.common.records import Record
from experiments.common.scaffold import Study
from jaxsvd.runtime.errors import UserError
from theory import bounds, noise, pruning, regression
from theory.bounds import Risks
from theory.cmi import draw_masks, pick
from theory.implicit import Weights
from theory.noise import Noisy, Ridge
from theory.regression import Recipe, Task

TASK = Task(7, noise=0.3, weight_norm=1.0)
N, B, LAYERS = 20, 10, 4
WIDTH = TASK.d + 1
MODULES: tuple[pruning.Matrix, ...] = ("value", "key", "query")
SEEDS, QUICK_SEEDS = 5, 2
BOUNDS = (
    *(f"{name}, {kind}" for name in ("theorem 2", "lemma 6") for kind in ("as printed",)),
    *(
        f"{name}, {kind}"
        for name in ("theorem 2", "lemma 6", "lemma 6 about E G")
        for kind in ("relative ridge", "fixed noise")
    ),
    "terminal noise",
)
CAVEATS = (
    "The population risk is exact given the demonstrations, for one fixed w; standard errors are "
    "over prompts.",
    "Theorem 2 and Lemma 6 are of the noisy algorithm; terminal noise is of the model itself, but "
    "computed from its measured risks, so it is checked as a bound and not judged as a predictor.",
    "Bounds from predictions are of the loss rounded to eighths, from prompts of their own.",
)


def rates(quick: bool) -> list[float]:
    """Clipping rates of every rank below the full one; quick: of three."""
    ranks = (6, 3, 1) if quick else range(WIDTH - 1, 0, -1)
    return [1 - rank / WIDTH for rank in ranks]


def train(study: Study, seed: int) -> Weights:
    """Every weight free, Adam, fresh prompts; kept in the run directory.

    Stacks are polynomials of high degree in their weights, and some trainings diverge: they are
    tried again at a third of the learning rate, then on other batches, which the progress tells.

    Raises:
        UserError: a seed whose trainings all diverge.
    """
    path = study.path / f"trained-{seed}.npz"
    if path.exists():
        with np.load(path) as arrays:
            return Weights(*(arrays[name] for name in Weights._fields))
    steps, batch = (300, 128) if study.quick else (4000, 256)
    first, key = 1e-2 if study.quick else 3e-3, jax.random.key(seed)
    tries = [(first, key), (first / 3, key)]
    tries += [(first / 3, jax.random.fold_in(key, k)) for k in range(1, 4)]
    for rate, own in tries:
        recipe = Recipe(LAYERS, steps=steps, batch=batch, rate=rate)
        with study.progress.bar(f"training {seed}", steps, "steps") as advance:
            trained = regression.train(own, TASK, N, recipe, advance, 100)
        weights = Weights(*(np.asarray(matrix, np.float64) for matrix in trained.weights))
        if all(np.isfinite(matrix).all() for matrix in weights):
            np.savez(path, **weights._asdict())
            return weights
        study.progress.notice(f"seed {seed}: training diverged at learning rate {rate:g}")
    raise UserError(f"seed {seed}: all trainings diverge; take other --seeds")


class LinearBench:
    """Prompts of one seed, and everything that a stack of layers makes of them."""

    def __init__(self, seed: int, prompts: int, supersets: int, masks: int) -> None:
        """``prompts`` for the risks and bounds; 2 N candidates of each of the supersamples."""
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), seed), 3)
        self.seed, self.noise = seed, keys[0]
        self.prompts = bounds.regression_prompts(keys[1], prompts, N, TASK.d, TASK.noise)
        pool = bounds.regression_prompts(keys[2], supersets, 2 * N, TASK.d, TASK.noise)
        self.members = pool.reshape(supersets, N, 2, WIDTH)
        self.masks = draw_masks(seed, supersets, masks, N)

    def run(self, weights: Weights, b: int = N, ridge: Ridge = None) -> Noisy:
        """The trajectories of all prompts; without noise at b = N."""
        return noise.noisy_trajectory(self.noise, self.prompts, weights, b, ridge=ridge)

    def risks(self, w: np.ndarray) -> Risks:
        """Of one predictor a prompt."""
        return bounds.regression_risks(w, self.prompts, TASK.noise)

    def level(self, weights: Weights) -> float:
        """The absolute ridge: RIDGE of the mean tr C of a stack, over D^2 directions."""
        measured = bounds.measure(self.run(weights).factors, B, spectral=False)
        return RIDGE * float(measured.trace.mean()) / WIDTH**2

    def supersample(self, weights: Weights) -> Record:
        """Bounds from predictions."""
        z, m, _ = self.masks.shape
        shape = (z, m, N, 2, WIDTH)
        members = np.broadcast_to(self.members[:, None], shape)
        chosen = _picked(members, self.masks).reshape(z * m, N, WIDTH)
        states = noise.noisy_trajectory(self.noise, chosen, weights, N).states[:, -1]
        w = np.asarray(bounds.predictors(states)).reshape(z, m, 1, 1, TASK.d)
        errors = (members[..., :-1] * w).sum(-1) - members[..., -1]
        sample = supersample(np.minimum(errors**2, 1.0), self.masks)
        return supersamples.bounds_of(sample, self.seed, predictions=False)

    def predictors(self, weights: Weights, layer: int, level: float) -> Record:
        """Norms of the updates and bounds."""
        exact = self.run(weights)
        squares = bounds.measure(exact.factors, B, exact.states, spectral=False).update
        logs = np.log(np.maximum(squares, np.finfo(float).tiny)) / 2
        record: Record = {
            "update norm": float(logs[layer].mean()),
            "update norms, all layers": float(total(logs.T).mean()),
            "theorem 2, as printed": float("inf"),
            "lemma 6, as printed": float("inf"),
        }
        settings: dict[str, Ridge] = {
            "relative ridge": ("relative", RIDGE / WIDTH**2),
            "fixed noise": ("absolute", level),
        }
        for kind, ridge in settings.items():
            noisy = self.run(weights, B, ridge)
            measured = bounds.measure(noisy.factors, B, noisy.states, spectral=False)
            record[f"theorem 2, {kind}"] = bounds.theorem2(measured, ridge=ridge).value
            record[f"lemma 6, {kind}"] = bounds.lemma6(measured, ridge=ridge).value
            about = bounds.lemma6(measured, center="mean", ridge=ridge).value
            record[f"lemma 6 about E G, {kind}"] = about
        w = np.asarray(bounds.predictors(exact.states[:, -1]))
        record["terminal noise"] = bounds.terminal_noise(w, self.risks, N).value
        return record

    def cell(self, weights: Weights, base: Weights, layer: int, level: float) -> Record:
        """Measurements and predictors of a stack, beside the one it came from."""
        own, before = (
            self.risks(np.asarray(bounds.predictors(self.run(w).states[:, -1])))
            for w in (weights, base)
        )
        return {
            **measure(own.population, own.empirical, before.population, before.empirical),
            "supersample": self.supersample(weights),
            "predictors": self.predictors(weights, layer, level),
        }


def _picked(members: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The demonstrations of every mask, ``[Z, M, N, D]``."""
    columns = [pick(members[..., k], masks)[0] for k in range(members.shape[-1])]
    return np.stack(columns, axis=-1)


def truncated_cell(
    bench: LinearBench,
    base: Weights,
    layer: int,
    module: pruning.Matrix,
    rate: float,
    level: float,
    before: Mapping[str, float],
) -> Record:
    """One matrix of one layer at one rate; ``before`` are the untouched predictors of the layer."""
    cell = bench.cell(pruning.prune(base, layer, module, rate), base, layer, level)
    matrix = np.asarray(getattr(base, module)[layer])
    spectrum = np.linalg.svd(matrix, compute_uv=False)
    rank = pruning.kept_rank(rate, matrix.shape)
    fixed = {
        "parameters removed": removed([(WIDTH, WIDTH)], [rank]),
        "energy removed": float((spectrum[rank:] ** 2).sum() / (spectrum**2).sum()),
        "condition number": float(spectrum[0] / spectrum[-1]),
    }
    return {
        "module": module,
        "layer": layer,
        "rate": rate,
        "rank": rank,
        **cell,
        "predicted_changes": {
            name: change
            for name, change in changes(cell["predictors"], before).items()
            if name != "terminal noise"  # computed from the risks that are to be predicted
        },
        "predictors": cell["predictors"] | fixed,
    }


def layer_cells(bench: LinearBench, base: Weights, layer: int, chosen: list[float]) -> Record:
    """Every matrix of a layer at every rate."""
    level = bench.level(base)
    before = bench.predictors(base, layer, level)
    return {
        "cells": [
            truncated_cell(bench, base, layer, module, rate, level, before)
            for module in MODULES
            for rate in chosen
        ]
    }


def study(study: Study) -> Record:
    """Every trained stack: cells by layer, then what they say."""
    quick, options = study.quick, study.options
    seeds = seeds_of(options, SEEDS, QUICK_SEEDS)
    prompts = options.prompts or (60 if quick else 300)
    sizes = options.supersamples or (8 if quick else 20), options.masks or (2 if quick else 4)
    untouched, cells = [], []
    with study.progress.bar("linear", len(seeds) * (LAYERS + 1), "units") as advance:
        for seed in seeds:
            bench, weights = LinearBench(seed, prompts, *sizes), train(study, seed)
            unit = {"task": "linear", "seed": seed}
            whole = functools.partial(bench.cell, weights, weights, 0, bench.level(weights))
            base = study.once(unit | {"untouched": True}, whole)
            advance(1)
            untouched.append(base)
            own = []
            for layer in range(LAYERS):
                of_layer = functools.partial(layer_cells, bench, weights, layer, rates(quick))
                measured = study.once(unit | {"layer": layer}, of_layer)
                own += [unit | cell for cell in measured["cells"]]
                advance(1)
            cells += with_bound_changes(own, base)
    conclusions = conclude(
        cells,
        study.progress,
        one_model=False,
        bounds=BOUNDS,
        seed=study.seed,
    )
    return {
        "kind": "linear",
        "model": {"source": "trained here", "layers": LAYERS, "d": TASK.d, "shots": N},
        "setting": {
            "b": B,
            "ridge": f"{RIDGE:g} of tr C over all D^2 directions",
            "prompts": prompts,
            "supersamples": sizes[0],
            "masks": sizes[1],
        },
        "caveats": list(CAVEATS),
        "untouched": untouched,
        "cells": cells,
        "studies": {"linear": conclusions},
    }
