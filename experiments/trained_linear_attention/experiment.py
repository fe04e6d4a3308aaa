"""Linear attention trained to regress in context, held against the closed forms.

``python -m experiments.trained_linear_attention [--quick] [--seed N] [--depth L]
[--random-start] [--out RUN] [--resume]``. One layer, every weight free, in the set-ups of von
Oswald et al. (2023) and Ahn et al. (2023): is its loss that of the best (preconditioned) gradient
step, and is the layer that step? Then stacks: with only a preconditioner free in each layer,
against the best gradient descent of as many steps; and with every weight free, which can do better,
since layers may change the inputs too.
"""

import argparse
import functools
import math
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize_scalar

from experiments.common.records import Record
from experiments.common.scaffold import Experiment, Study, whole
from experiments.trained_linear_attention.report import draw_depth, draw_layers, report
from theory import reference, regression
from theory.implicit import Weights
from theory.regression import Recipe, Task

DEPTH_TASK, DEPTH_N = Task(5), 10
TOLERANCE, COSINE = 0.01, 0.99
CURVE_POINTS = 100


@dataclass(frozen=True)
class Case:
    """One layer on one task, with the optimum that is known for it.

    Attributes:
        name: for tables.
        source: who proved or measured it.
        task: what is trained on.
        n: demonstrations.
        optimum: the best preconditioner (its diagonal) and its loss, in units of ``scale``.
        scale: of the loss: 1/2 where half the squared error is reported.
    """

    name: str
    source: str
    task: Task
    n: int
    optimum: reference.Preconditioner
    scale: float = 1.0


def cases() -> tuple[Case, ...]:
    """The one-layer problems with a known optimum."""
    step, _ = reference.von_oswald_step()
    uniform = reference.Preconditioner((step.eta,) * 10, step.loss)
    all_cases = [
        Case(
            "uniform inputs",
            "von Oswald et al.",
            Task(10, inputs="uniform", half_width=0.5),
            10,
            uniform,
            scale=0.5,
        )
    ]
    for name, lam, n, noise in (
        ("skewed", (2.0, 1.0, 0.5, 0.25), 10, 0.0),
        ("skewed, noisy labels", (4.0, 1.0, 0.25), 10, 0.7),
        ("isotropic", (1.0,) * 5, 20, 0.0),
    ):
        optimum = reference.preconditioned_optimum(lam, n, noise)
        task = Task(len(lam), covariance=lam, noise=noise)
        all_cases.append(Case(name, "Ahn et al.", task, n, optimum))
    return tuple(all_cases)


@functools.partial(jax.jit, static_argnames=("task", "n", "prompts"))
def evaluate(
    weights: Weights,
    key: Array,
    task: Task,
    n: int,
    prompts: int,
    diagonal: Float[Array, " d"] | None = None,
) -> tuple[Float[Array, " prompts"], Float[Array, " prompts"], Float[Array, " prompts"]]:
    """Losses of a stack and of one step with a diagonal preconditioner, on the same fresh prompts.

    Squared errors against <w, x>, averaged over the query exactly, since predictions are linear in
    it; and the cosine between the two regressors, which are the predictions' sensitivities to x.
    """
    drawn = regression.sample(key, task, n, (prompts,))
    predicted = jax.vmap(regression.implicit_regressor, (None, 0))(weights, drawn.demonstrations)
    x, y = drawn.demonstrations[..., :-1], drawn.demonstrations[..., -1]
    scale = jnp.ones(task.d) if diagonal is None else diagonal
    best = jnp.einsum("pnd,pn,d->pd", x, y, scale / n)
    lam = jnp.asarray(task.variances)
    losses, optimal = (jnp.einsum("pd,d->p", (r - drawn.w) ** 2, lam) for r in (predicted, best))
    norms = jnp.linalg.norm(predicted, axis=1) * jnp.linalg.norm(best, axis=1)
    return losses, optimal, jnp.einsum("pd,pd->p", predicted, best) / norms


def mean_and_error(values: Array | np.ndarray) -> tuple[float, float]:
    """Mean and standard error."""
    values = np.asarray(values, float)
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size))


def measure_layer(case: Case, weights: Weights, key: Array, prompts: int) -> Record:
    """A trained layer against the optimum of its case.

    The loss is measured as the closed form plus the mean *difference* to the optimal predictor on
    the same prompts, whose error is a fraction of that of the loss itself; ``plain`` is without.
    """
    diagonal = np.asarray(case.optimum.diagonal, np.float32)
    evaluated = evaluate(weights, key, case.task, case.n, prompts, jnp.asarray(diagonal))
    losses, optimal, cosine = (np.asarray(column, float) for column in evaluated)
    excess, error = mean_and_error(case.scale * (losses - optimal))
    plain, plain_error = mean_and_error(case.scale * losses)
    step = regression.learned_step(weights, case.n)
    learned = np.asarray(step.preconditioner)
    off = np.linalg.norm(learned - np.diag(diagonal)) / np.linalg.norm(diagonal)
    return {
        "loss": case.optimum.loss + excess,
        "loss_error": error,
        "plain_loss": plain,
        "plain_loss_error": plain_error,
        "preconditioner": np.diag(learned),
        "preconditioner_error": off,
        "stray": step.stray,
        "cosine": cosine.mean(),
        "cosine_lowest_percent": np.quantile(cosine, 0.01),
    }


def best_one_size(steps: int) -> float:
    """Loss of the best gradient descent whose steps all have one size."""
    d = DEPTH_TASK.d
    optimum = minimize_scalar(
        lambda eta: reference.gd_loss(steps, float(eta), DEPTH_N, d),
        bounds=(0.05, 1.0),
        method="bounded",
    )
    return d * float(optimum.fun)  # pyright: ignore[reportAttributeAccessIssue]


def _train(
    study: Study, task: Task, n: int, recipe: Recipe, label: str, number: int
) -> tuple[regression.TrainedWeights, Array]:
    key, evaluation = jax.random.split(jax.random.fold_in(jax.random.key(study.seed), number))
    with study.progress.bar(label, recipe.steps, "steps") as advance:
        return regression.train(key, task, n, recipe, advance, chunk=100), evaluation


def _layer(study: Study, case: Case, number: int) -> Record:
    aligned = not study.options.random_start
    # Small inputs make for small gradients at first: larger initial weights leave that plateau.
    recipe = Recipe(steps=5_000, batch=512, scale=0.3, aligned=aligned)
    if study.quick:
        recipe = Recipe(steps=1_000, batch=256, scale=0.3, aligned=aligned)
    trained, key = _train(study, case.task, case.n, recipe, case.name, number)
    prompts = 20_000 if study.quick else 200_000
    curve = np.asarray(trained.losses).reshape(CURVE_POINTS, -1).mean(axis=1)
    # The training loss is against noisy targets: their noise is no part of the closed form.
    ratio = case.scale * (curve - case.task.noise**2) / case.optimum.loss
    return {
        **measure_layer(case, trained.weights, key, prompts),
        "closed_form": asdict(case.optimum),
        "training": {"steps": recipe.steps, "ratio": ratio},
    }


def _stack(study: Study, form: regression.Form, layers: int) -> Record:
    recipe = Recipe(layers, form, steps=8_000, batch=512, rate=5e-3)
    if study.quick:
        recipe = Recipe(layers, form, steps=500 if form == "descent" else 1_000, batch=256)
    label, number = f"{layers} layers, {form}", 100 + 10 * layers + (form == "full")
    trained, key = _train(study, DEPTH_TASK, DEPTH_N, recipe, label, number)
    prompts = 50_000 if study.quick else 500_000
    losses, _, _ = evaluate(trained.weights, key, DEPTH_TASK, DEPTH_N, prompts)
    loss, error = mean_and_error(losses)
    # Cubic layers have heavy tails: rare prompts make up much of the mean.
    return {"loss": loss, "loss_error": error, "median": float(np.median(losses))}


def study(study: Study) -> Record:
    """Train and measure every case, then stacks of 2 to ``--depth`` layers."""
    wanted = cases()[:2] if study.quick else cases()
    layers = [
        study.once(
            {"case": case.name, "source": case.source, "n": case.n},
            functools.partial(_layer, study, case, number),
        )
        for number, case in enumerate(wanted)
    ]
    depth = study.options.depth or (2 if study.quick else 3)
    stacks = []
    for count in range(2, depth + 1):
        row: dict[str, Any] = {
            "layers": count,
            "best_descent": DEPTH_TASK.d
            * reference.best_polynomial_loss(count, DEPTH_N, DEPTH_TASK.d),
            "one_step_size": best_one_size(count),
        }
        for form in ("descent", "full"):
            unit = {"layers": count, "form": form}
            record = study.once(unit, functools.partial(_stack, study, form, count))
            row |= {form: record["loss"], f"{form}_error": record["loss_error"]}
            row[f"{form}_median"] = record["median"]
        stacks.append(row)
    setting = {"d": DEPTH_TASK.d, "n": DEPTH_N, "one_layer": best_one_size(1)}
    return {
        "layers": layers,
        "stacks": stacks,
        "setting": setting,
        "claims": claims(layers, stacks),
    }


def claims(layers: list[Record], stacks: list[Record]) -> list[Record]:
    """What is claimed, what was found, and whether it holds."""
    rows = []
    for layer in layers:
        where, closed = f"one layer, {layer['case']}", layer["closed_form"]["loss"]
        off = layer["loss"] / closed - 1
        spread = 2 * layer["loss_error"] / closed
        rows += [
            _claim(
                f"{where}: loss within {TOLERANCE:.0%} of the closed form",
                f"{off:+.2%} (2 standard errors {spread:.2%})",
                bool(abs(off) + spread < TOLERANCE),
            ),
            _claim(
                f"{where}: mean sensitivity cosine above {COSINE}",
                f"{layer['cosine']:.4f}",
                bool(layer["cosine"] > COSINE),
            ),
        ]
    for row in stacks:
        off = row["descent"] / row["best_descent"] - 1
        spread = 2 * row["descent_error"] / row["best_descent"]
        text = (
            f"{row['layers']} layers of descent: loss within {TOLERANCE:.0%} + 2 errors of the best"
        )
        rows.append(
            _claim(
                text, f"{off:+.2%} (2 standard errors {spread:.2%})", abs(off) < TOLERANCE + spread
            )
        )
    return rows


def _claim(text: str, value: str, holds: bool) -> Record:
    return {"claim": text, "found": value, "holds": holds}


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--depth`` and ``--random-start``."""
    parser.add_argument(
        "--random-start",
        action="store_true",
        help="single layers start from random entries, where some seeds end in a poor layer",
    )
    parser.add_argument(
        "--depth", type=whole(2), metavar="L", help="stacks of 2 to L layers (3; quick: 2)"
    )


EXPERIMENT = Experiment(
    "trained_linear_attention",
    "Linear attention trained to regress in context, held against the closed forms.",
    study,
    report,
    {"layers.png": draw_layers, "depth.png": draw_depth},
    add_options,
)
