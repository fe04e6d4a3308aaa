"""Clip each matrix of each layer at each rate: norms, bounds, gap and risk, and the paper's claims.

``python -m experiments.pruned_trajectories [--quick] [--seed N] [--out RUN] [--resume]``. Three
stacks of linear attention on noisy linear regression (d = 7, N = 20, |w| = 1, label noise .3, loss
clipped to [0, 1]): random weights, gradient descent, and weights trained to regress in context.
What the paper says of pruning is stated as claims, each with the share of paths on which it holds;
a path is one matrix of one layer of one stack, clipped at rising rates.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict

import jax
import numpy as np

from experiments.common.records import Record
from experiments.common.scaffold import Experiment, Study
from experiments.pruned_trajectories.report import draw, draw_errors, report
from experiments.pruned_trajectories.subspace import subspace_study
from jaxsvd.runtime.errors import UserError
from theory import bounds, implicit, noise, pruning, regression
from theory.implicit import Weights
from theory.pruning import NoisyAlgorithm
from theory.regression import Recipe, Task

TASK = Task(7, noise=0.3, weight_norm=1.0)
N = 20
RATES = (0.0, 0.25, 0.5, 0.75, 0.875)
"""Ranks 8, 6, 4, 2, 1 of 8."""

MATRICES: tuple[pruning.Matrix, ...] = ("value", "key", "query")
KINDS = ("random", "gradient descent", "trained")
ATTEMPTS = 5
"""Starts that are tried: some explode through the layers, and never learn to regress."""

ZERO_LOSS = 1 + TASK.noise**2
"""Of predicting 0, which what was trained is below."""

NOTHING_TO_CLIP = ("gradient descent", "value")
"""That W_V has rank 1."""

SETTINGS: Mapping[str, NoisyAlgorithm] = {
    "relative ridge": NoisyAlgorithm("full", ("relative", 0.01 / TASK.d)),
    "absolute ridge": NoisyAlgorithm("full", ("absolute", 1e-4)),
}


def make_weights(kind: str, seed: int, layers: int, study: Study) -> Weights:
    """A stack of one kind, in float64."""
    if kind == "gradient descent":
        eta = 1 / (1 + np.sqrt(TASK.d / N)) ** 2
        return implicit.gd_weights(TASK.d, float(eta), N, layers=layers)
    if kind == "random":
        rng = np.random.default_rng([seed, layers])
        matrices = rng.normal(size=(3, layers, TASK.d + 1, TASK.d + 1)) / np.sqrt(TASK.d + 1)
        # The N products of keys with a query are of size sqrt(D) and of either sign.
        matrices[0] /= layers * np.sqrt(N * (TASK.d + 1))
        return Weights(*matrices)
    return train(seed, layers, study)


def train(seed: int, layers: int, study: Study) -> Weights:
    """Every weight free, Adam, fresh prompts; kept in the run directory."""
    path = study.path / f"trained-{seed}.npz"
    if path.exists():
        with np.load(path) as arrays:
            return Weights(*(arrays[name] for name in Weights._fields))
    steps, batch = (300, 128) if study.quick else (6000, 512)
    recipe = Recipe(layers=layers, steps=steps, batch=batch, rate=1e-2 if study.quick else 3e-3)
    for attempt in range(ATTEMPTS):
        key = jax.random.key(seed + 100 * attempt)
        with study.progress.bar("training", steps, "steps") as advance:
            trained = regression.train(key, TASK, N, recipe, advance, 100)
        if np.mean(trained.losses[-50:]) < ZERO_LOSS:
            break
    else:
        raise UserError(f"no start of {ATTEMPTS} from seed {seed} could be trained")
    weights = Weights(*(np.asarray(matrix, np.float64) for matrix in trained.weights))
    np.savez(path, **weights._asdict())
    return weights


def clip(weights: Weights, layer: int, matrix: pruning.Matrix, samples: int) -> Record:
    """One path, with the claims' verdicts on it."""
    prompts = bounds.regression_prompts(jax.random.key(0), samples, N, TASK.d, TASK.noise)

    def judge(states: np.ndarray) -> bounds.Risks:
        w = np.asarray(bounds.predictors(states))
        return bounds.regression_risks(w, prompts, TASK.noise)

    path = pruning.path_report(
        jax.random.key(1),
        prompts,
        weights,
        layer,
        matrix,
        RATES,
        N // 2,
        settings=SETTINGS,
        judge=judge,
    )
    return {**asdict(path), "verdicts": verdicts(path)}


def verdicts(report: pruning.PathReport) -> Record:
    """Each claim on one path: true or false; missing where it says nothing of the path."""
    own = report.norms[report.layer]
    later = report.norms[report.layer + 1 :]
    record: Record = {
        f"norm falls, {report.matrix}": own.share == 1,
        f"gradient falls, {report.matrix}": report.gradient_norms[report.layer].share == 1,
        "upper bound as printed": all(printed == 1 for printed, _ in report.holds),
        "upper bound times N": all(right == 1 for _, right in report.holds),
        "upper bound falls": report.paper_ub[report.layer].share == 1,
        "earlier layers unchanged": all(
            max(path.values) - min(path.values) <= 1e-12 * max(path.values)
            for path in report.norms[: report.layer]
        ),
    }
    if later:
        record["later norms fall"] = all(path.share == 1 for path in later)
    for name, path in report.bounds.items():
        record[f"bound falls: {name}"] = path.falls
    assert report.gap is not None  # there is a judge
    assert report.risk is not None
    record["gap falls"] = report.gap.falls
    record["risk falls somewhere"] = min(report.risk.values) < report.risk.values[0]
    return record


def drop_layers(weights: Weights, samples: int) -> Record:
    """Every bound with all layers, and with one of them left out."""
    layers = len(weights.value)
    kept = [list(range(layers))] + [[t for t in range(layers) if t != k] for k in range(layers)]
    rows = [drop(Weights(*(matrix[keep] for matrix in weights)), samples) for keep in kept]
    return {
        "whole": rows[0],
        "without": rows[1:],
        "falls": {
            name: float(np.mean([row[name] <= rows[0][name] for row in rows[1:]]))
            for name in rows[0]
        },
    }


def drop(weights: Weights, samples: int) -> dict[str, float]:
    """Lemma 6 (g = 0) of a stack under each setting."""
    prompts = bounds.regression_prompts(jax.random.key(0), samples, N, TASK.d, TASK.noise)
    errors = {}
    for name, (subspace, ridge) in SETTINGS.items():
        run = noise.noisy_trajectory(
            jax.random.key(1), prompts, weights, N // 2, subspace=subspace, ridge=ridge
        )
        measured = bounds.measure(run.factors, N // 2, run.states, spectral=False)
        errors[name] = bounds.lemma6(measured, subspace=subspace, ridge=ridge).value
    return errors


def study(study: Study) -> Record:
    """All paths of all stacks."""
    layers = 3 if study.quick else 4
    seeds = 1 if study.quick else 3
    samples = 30 if study.quick else 200
    # Of gradient descent there is one.
    stacks = [
        (kind, seed) for kind in KINDS for seed in range(1 if kind == "gradient descent" else seeds)
    ]
    settings = {
        (kind, seed): make_weights(kind, 1000 * study.seed + seed, layers, study)
        for kind, seed in stacks
    }
    paths, dropped = [], []
    clipped: list[tuple[str, int, int, pruning.Matrix]] = [
        (kind, seed, layer, matrix)
        for kind, seed in stacks
        for layer in range(layers)
        for matrix in MATRICES
        if (kind, matrix) != NOTHING_TO_CLIP
    ]
    with study.progress.bar("paths", len(clipped), "paths") as advance:
        for kind, seed, layer, matrix in clipped:
            unit = {"kind": kind, "stack": seed, "layer": layer, "matrix": matrix}
            measure = functools.partial(clip, settings[kind, seed], layer, matrix, samples)
            paths.append(study.once(unit, measure))
            advance(1)
    with study.progress.bar("layers dropped", len(stacks), "stacks") as advance:
        for (kind, seed), weights in settings.items():
            unit = {"kind": kind, "stack": seed, "dropped": "each layer"}
            dropped.append(study.once(unit, functools.partial(drop_layers, weights, samples)))
            advance(1)
    return {
        "rates": RATES,
        "samples": samples,
        "paths": paths,
        "dropped": dropped,
        "claims": tally(paths),
        "steadiness": steadiness(paths, layers),
        "gradients_subspace": subspace_study(study),
    }


def tally(paths: list[Record]) -> Record:
    """Of each claim: on how many paths it holds, of how many, by kind of weights."""
    names = list(dict.fromkeys(name for path in paths for name in path["verdicts"]))
    return {
        name: {
            kind: {"holds": sum(judged), "paths": len(judged)}
            for kind in KINDS
            if (judged := [p["verdicts"][name] for p in paths if _about(p, kind, name)])
        }
        for name in names
    }


def _about(path: Record, kind: str, claim: str) -> bool:
    return path["kind"] == kind and claim in path["verdicts"]


def steadiness(paths: list[Record], layers: int) -> list[Record]:
    """Spread (standard deviation) of the risk over rates by layer, and whether depth steadies."""
    rows = []
    for kind in KINDS:
        for matrix in MATRICES:
            of = [path for path in paths if path["kind"] == kind and path["matrix"] == matrix]
            if not of:
                continue
            spread = np.zeros((layers, len({path["stack"] for path in of})))
            for path in of:
                spread[path["layer"], path["stack"]] = np.std(path["risk"]["values"])
            rows.append(
                {
                    "kind": kind,
                    "matrix": matrix,
                    "spread": spread.mean(1),
                    "steadier": int((np.diff(spread, axis=0) <= 0).all(0).sum()),
                    "stacks": spread.shape[1],
                }
            )
    return rows


EXPERIMENT = Experiment(
    "pruned_trajectories",
    "Every matrix of every layer clipped at every rate: what the paper claims, and what holds.",
    study,
    report,
    {"pruned_trajectories.png": draw, "risk_over_rate.png": draw_errors},
)
