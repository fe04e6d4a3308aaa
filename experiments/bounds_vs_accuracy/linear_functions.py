"""The transformer of a run of experiments.linear_functions, whose population can be drawn at will.

A softmax transformer that learned linear functions in context (Garg et al., 2022), y = <w, x>
without noise, N = points - 1 examples. A prompt is asked fresh points (the population) and its own
examples again (training), the loss being min(1, squared error / d). Norms and bounds are those of
:mod:`~experiments.bounds_vs_accuracy.predictors`, of the last token.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from experiments.bounds_vs_accuracy import predictors, supersamples, trajectories
from experiments.bounds_vs_accuracy.conclusions import conclude, with_bound_changes
from experiments.bounds_vs_accuracy.measured import removed
from experiments.bounds_vs_accuracy.simulated import measure, supersample
from experiments.bounds_vs_accuracy.study import seeds_of
from experiments.bounds_vs_accuracy.trajectories import LayerNorms, Trajectory
from experiments.bounds_vs_accuracy.truncated import changes
from experiments.common.records import Record
from experiments.common.scaffold import Study
from experiments.linear_functions.trained import TrainedModel, load
from jaxsvd import svd
from jaxsvd.edits.edit import Edit
from jaxsvd.engine.attention_trace import read_rows
from jaxsvd.models.matrices import matrices
from theory import regression
from theory.cmi import draw_masks, pick

MODULES = ("mlp", "attn", "q_proj", "k_proj", "v_proj")
RATES, QUICK_RATES = svd.RATES[1:], (0.5, 0.9)
SEEDS, QUICK_SEEDS = 3, 2
QUERIES = 10
"""Fresh points asked of each prompt."""

BOUNDS = tuple(
    f"{name}, {kind}"
    for name in ("theorem 2", "lemma 6")
    for kind in ("as printed", "relative ridge", "fixed noise")
)
CAVEATS = (
    "The population risk is estimated on fresh points of each prompt; standard errors are over "
    "prompts, each with a w of its own. All seeds share one model: the independent units are its "
    "(module, layer) pairs.",
    "A training error of examples asked again may be copying.",
    "Theorem 2 and Lemma 6 are of the linearised trajectory (attention's Jacobian in the last "
    "token, keys and values held, no MLP); softmax stacks are not covered by the theorems, so "
    "these are predictors, not bounds.",
    "Bounds from predictions are of the loss rounded to eighths, from prompts of their own.",
)


@dataclass(frozen=True)
class RegressionBench:
    """One draw of prompts.

    Attributes:
        seed: of the draw.
        shown: examples [x, y] of B prompts, ``[B, N, d + 1]``.
        queries: fresh points of each, ``[B, Q, d + 1]``.
        members: candidates of the supersamples, ``[Z, N, 2, d + 1]``.
        masks: of these, ``[Z, M, N]``.
        watched: of how many prompts norms are taken.
    """

    seed: int
    shown: Float[np.ndarray, "B N tokens"]
    queries: Float[np.ndarray, "B Q tokens"]
    members: Float[np.ndarray, "Z N two tokens"]
    masks: np.ndarray
    watched: int

    @classmethod
    def of(cls, seed: int, d: int, n: int, prompts: int, watched: int, sizes: tuple[int, int]):
        """Draw everything; ``sizes`` are supersamples and masks."""
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), seed), 2)
        task = regression.Task(d)
        drawn = np.asarray(regression.sample(keys[0], task, n + QUERIES, (prompts,)).demonstrations)
        pool = np.asarray(regression.sample(keys[1], task, 2 * n, (sizes[0],)).demonstrations)
        members = pool.reshape(sizes[0], n, 2, d + 1)
        masks = draw_masks(seed, *sizes, n)
        return cls(seed, drawn[:, :n], drawn[:, n:], members, masks, watched)

    def risks(self, model: TrainedModel) -> tuple[np.ndarray, np.ndarray]:
        """Population and training risk of every prompt."""
        return tuple(
            losses(model, self.shown, points).mean(axis=1) for points in (self.queries, self.shown)
        )  # pyright: ignore[reportReturnType]

    def supersample(self, model: TrainedModel) -> Record:
        """Bounds from predictions."""
        z, m, n = self.masks.shape
        shape = (z, m, *self.members.shape[1:])
        members = np.broadcast_to(self.members[:, None], shape)
        columns = [pick(members[..., k], self.masks)[0] for k in range(shape[-1])]
        shown = np.stack(columns, axis=-1).reshape(z * m, n, -1)
        values = losses(model, shown, members.reshape(z * m, 2 * n, -1)).reshape(shape[:-1])
        sample = supersample(values.astype(float), self.masks)
        return supersamples.bounds_of(sample, self.seed, predictions=False)


def losses(
    model: TrainedModel,
    shown: Float[np.ndarray, "B N tokens"],
    queries_BQ: Float[np.ndarray, "B Q tokens"],
) -> Float[np.ndarray, "B Q"]:
    """min(1, squared error / d) at every point asked, each behind all examples of its prompt."""
    batch, queries, width = queries_BQ.shape
    rows = np.concatenate(
        [np.repeat(shown[:, None], queries, axis=1), queries_BQ[:, :, None]], axis=2
    ).reshape(batch * queries, -1, width)
    values = model.predict(rows[..., :-1], rows[..., -1])[:, -1]
    errors = (values - rows[:, -1, -1]) ** 2 / (width - 1)
    return np.minimum(errors, 1.0).reshape(batch, queries)


def trajectory(model: TrainedModel, bench: RegressionBench) -> Trajectory:
    """Norms and linearised steps of every layer, of the first fresh point of some prompts."""
    shown = bench.shown[: bench.watched]
    n, config = shown.shape[1], model.size.config
    rows = np.concatenate([shown, bench.queries[: bench.watched, :1]], axis=1)
    streams = model.streams(jnp.asarray(rows[..., :-1]), jnp.asarray(rows[..., -1]))
    numbers = np.append(np.repeat(np.arange(n), 2), -1)  # x and y of each example, and the query
    numbers = np.broadcast_to(numbers, (len(rows), 2 * n + 1))
    state = jnp.broadcast_to(jnp.eye(config.width), (len(rows), config.width, config.width))
    layers: list[LayerNorms] = []
    for layer, block in enumerate(model.blocks):
        read = read_rows(config, layer, nnx.to_pure_dict(nnx.state(block)), streams[layer])
        norms, state = trajectories.of_layer(config, read, jnp.asarray(numbers), state, n)
        layers.append(norms)
    return tuple(layers)


def untouched(model: TrainedModel, bench: RegressionBench) -> Record:
    """The model as it is."""
    risks = bench.risks(model)
    path = trajectory(model, bench)
    width, b = model.size.width, _half(bench)
    level = predictors.fixed_level(path, b, width)
    summary = predictors.summary(path, 0, b, width, level)
    return {
        **measure(*risks, *risks),
        "supersample": bench.supersample(model),
        "predictors": {k: v for k, v in summary.items() if not k.endswith("norm")},
        "examples": bench.shown.shape[1],
    }


def _half(bench: RegressionBench) -> int:
    return bench.shown.shape[1] // 2


def layer_cells(
    model: TrainedModel,
    bench: RegressionBench,
    layer: int,
    modules: tuple[str, ...],
    rates: tuple[float, ...],
) -> Record:
    """Every module of a layer at every rate."""
    base, base_risks = trajectory(model, bench), bench.risks(model)
    b, width = _half(bench), model.size.width
    level = predictors.fixed_level(base, b, width)
    before = predictors.summary(base, layer, b, width, level)
    cells = []
    for module in modules:
        factors = model.factors(layer, module)
        for rate in rates:
            variant = model.edited(Edit(layer, module, rate), factors)
            own = predictors.summary(trajectory(variant, bench), layer, b, width, level)
            cells.append(
                {
                    "module": module,
                    "layer": layer,
                    "rate": rate,
                    **_fixed(model, layer, module, rate, factors, own, before),
                    **measure(*bench.risks(variant), *base_risks),
                    "supersample": bench.supersample(variant),
                }
            )
    return {"cells": cells}


def _fixed(
    model: TrainedModel,
    layer: int,
    module: str,
    rate: float,
    factors: Mapping[str, svd.SvdFactors],
    own: Mapping[str, float],
    before: Mapping[str, float],
) -> Record:
    names = matrices(model.size.config, module)
    shapes = [model.matrix(layer, name).shape for name in names]
    ranks = [svd.rank_at(rate, shape) for shape in shapes]
    spectra = [np.asarray(factors[name].s, np.float64) for name in names]
    lost = sum((s[rank:] ** 2).sum() for s, rank in zip(spectra, ranks, strict=True))
    fixed = {
        "parameters removed": removed([(s[0], s[1]) for s in shapes], ranks),
        "energy removed": float(lost / sum((s**2).sum() for s in spectra)),
        "condition number": float(max(s[0] / max(s[-1], 1e-30) for s in spectra)),
    }
    return {
        "rank": min(ranks),
        "predictors": {**own, **fixed},
        "predicted_changes": changes(own, before),
    }


def study(study: Study) -> Record:
    """Every seed: cells by layer, then what they say."""
    quick, options = study.quick, study.options
    model = load(options.model)
    n = model.size.points - 1
    sizes = options.supersamples or (10 if quick else 12), options.masks or (2 if quick else 4)
    prompts, watched = (60, 8) if quick else (100, options.prompts or 16)
    modules, rates = (MODULES[:2], QUICK_RATES) if quick else (MODULES, RATES)
    seeds = seeds_of(options, SEEDS, QUICK_SEEDS)
    layers = range(model.size.layers)
    untouched_cells, cells = [], []
    with study.progress.bar("linear functions", len(seeds) * (len(layers) + 1), "units") as advance:
        for seed in seeds:
            bench = RegressionBench.of(seed, model.size.d, n, prompts, watched, sizes)
            unit = {"task": "linear functions", "seed": seed}
            whole = functools.partial(untouched, model, bench)
            base = study.once(unit | {"untouched": True}, whole)
            advance(1)
            untouched_cells.append(base)
            own = []
            for layer in layers:
                of_layer = functools.partial(layer_cells, model, bench, layer, modules, rates)
                measured = study.once(unit | {"layer": layer}, of_layer)
                own += [unit | cell for cell in measured["cells"]]
                advance(1)
            cells += with_bound_changes(own, base)
    conclusions = conclude(
        cells,
        study.progress,
        one_model=True,
        bounds=BOUNDS,
        seed=study.seed,
    )
    return {
        "kind": "linear-functions",
        "model": {"source": str(options.model), "steps": model.steps, **model.size.record()},
        "setting": {
            "b": n // 2,
            "ridge": f"{predictors.RIDGE:g} of tr C over all D^2 directions",
            "prompts": prompts,
            "supersamples": sizes[0],
            "masks": sizes[1],
        },
        "caveats": list(CAVEATS),
        "untouched": untouched_cells,
        "cells": cells,
        "studies": {"linear functions": conclusions},
    }
