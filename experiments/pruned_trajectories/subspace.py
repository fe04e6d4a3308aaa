"""Remarks 4 and 5 where the noise lives in the subspace of the gradients, without a ridge.

That subspace shrinks with the weights (:func:`theory.noise.gradient_dimensions`); a subspace held
fixed makes C singular under truncation, and its bound infinite. Both need N - 1 shots at least as
many as directions, 10 for D = 4: hence a smaller task than the other paths'.
"""

import functools

import jax
import numpy as np

from experiments.common.records import Record
from experiments.common.scaffold import Study
from theory import bounds, noise, pruning, regression
from theory.implicit import Weights
from theory.pruning import NoisyAlgorithm
from theory.regression import Recipe, Task

TASK = Task(3, noise=0.3, weight_norm=1.0)
N = 20
RATES = (0.0, 0.25, 0.5, 0.75)
"""Ranks 4, 3, 2, 1 of 4."""

LAYERS = 3
MATRICES: tuple[pruning.Matrix, ...] = ("value", "key", "query")
STACKS = {"small random": 6, "trained": 2}
SETTINGS = {name: NoisyAlgorithm(name, None) for name in ("gradients", "symmetric")}


def random_weights(seed: int) -> Weights:
    """Entries of size 1 / sqrt D, W_V a tenth of that and over N: steps far below 1."""
    rng = np.random.default_rng([seed, 4])
    width = TASK.d + 1
    matrices = rng.normal(size=(3, LAYERS, width, width)) / np.sqrt(width)
    matrices[0] /= 10 * N
    return Weights(*matrices)


def trained_weights(seed: int, study: Study) -> Weights:
    """Every weight free, Adam, fresh prompts; kept in the run directory."""
    path = study.path / f"trained-small-{seed}.npz"
    if path.exists():
        with np.load(path) as arrays:
            return Weights(*(arrays[name] for name in Weights._fields))
    steps = 300 if study.quick else 3000
    recipe = Recipe(layers=LAYERS, steps=steps, batch=256, rate=5e-3)
    with study.progress.bar("training", steps, "steps") as advance:
        trained = regression.train(jax.random.key(seed), TASK, N, recipe, advance, 100)
    weights = Weights(*(np.asarray(matrix, np.float64) for matrix in trained.weights))
    np.savez(path, **weights._asdict())
    return weights


def clip(weights: Weights, layer: int, matrix: pruning.Matrix, samples: int) -> Record:
    """Bounds of one path in both subspaces, and the dimensions d_t at each rate."""
    prompts = bounds.regression_prompts(jax.random.key(0), samples, N, TASK.d, TASK.noise)
    report = pruning.path_report(
        jax.random.key(1), prompts, weights, layer, matrix, RATES, N // 2, settings=SETTINGS
    )
    dimensions = [
        noise.gradient_dimensions(pruning.prune(weights, layer, matrix, rate)).tolist()
        for rate in RATES
    ]
    paths = {name: {"values": p.values, "falls": p.falls} for name, p in report.bounds.items()}
    return {"bounds": paths, "dimensions": dimensions}


def subspace_study(study: Study) -> Record:
    """All paths, the share on which a bound falls, and how far it moves by layer."""
    samples = 30 if study.quick else 200
    counts = {"small random": 2, "trained": 1} if study.quick else STACKS
    units: list[tuple[str, int, int, pruning.Matrix]] = [
        (kind, seed, layer, matrix)
        for kind, count in counts.items()
        for seed in range(count)
        for layer in range(LAYERS)
        for matrix in MATRICES
    ]
    paths = []
    with study.progress.bar("paths in the gradients' subspace", len(units), "paths") as advance:
        for kind, stack, layer, matrix in units:
            seed = 1000 * study.seed + stack
            weights = random_weights(seed) if kind != "trained" else trained_weights(seed, study)
            unit = {"kind": f"{kind}, small task", "stack": stack, "layer": layer, "matrix": matrix}
            measure = functools.partial(clip, weights, layer, matrix, samples)
            paths.append({**study.once(unit, measure), **unit, "kind": kind})
            advance(1)
    return {"rates": RATES, "paths": paths, "falls": _falls(paths), "spread": _spread(paths)}


def _falls(paths: list[Record]) -> Record:
    names = list(paths[0]["bounds"])
    kinds = list(dict.fromkeys(path["kind"] for path in paths))
    return {
        name: {
            kind: {
                "falls": sum(p["bounds"][name]["falls"] for p in paths if p["kind"] == kind),
                "infinite": sum(
                    not np.isfinite(p["bounds"][name]["values"][-1])
                    for p in paths
                    if p["kind"] == kind
                ),
                "paths": sum(p["kind"] == kind for p in paths),
            }
            for kind in kinds
        }
        for name in names
    }


def _spread(paths: list[Record]) -> list[Record]:
    """Spread of Lemma 6 over the rates, relative to no clipping, by layer clipped (Remark 5)."""
    rows = []
    for kind in dict.fromkeys(path["kind"] for path in paths):
        for matrix in MATRICES:
            by_layer = []
            for layer in range(LAYERS):
                chosen = [
                    p["bounds"]["lemma6 zero, gradients"]["values"]
                    for p in paths
                    if (p["kind"], p["matrix"], p["layer"]) == (kind, matrix, layer)
                ]
                relative = [np.std(np.divide(values, values[0])) for values in chosen]
                by_layer.append(float(np.mean(relative)))
            rows.append({"kind": kind, "matrix": matrix, "spread": by_layer})
    return rows
