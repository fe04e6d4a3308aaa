"""Theorem 1 and its variants against direct simulation: what is exact, and what breaks.

``python -m experiments.trajectories [--quick] [--seed N] [--out RUN] [--resume]``. Random stacks of
linear attention of growing depth and width: the largest error of the test token's implicit
trajectory, relative to the test token, in float64 and float32. Then the variants: a causal mask, an
MLP with and without activation, softmax. And gradient descent, built from attention layers,
against gradient descent.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from experiments.common import style
from experiments.common.records import Record
from experiments.common.scaffold import Experiment, Study, table
from theory import implicit
from theory.implicit import Mlp, Weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXACT = {
    "test token": "Theorem 1: h_t = A_t h_0 for the test token",
    "demonstrations": "the demonstrations follow the same A_t",
    "moment": "the trajectory from S = H H^T alone",
    "rotated": "the same after rotating the demonstrations among themselves",
    "causal": "causal mask: the test token still follows A_t",
    "linear MLP": "MLP without activation, dW = W_MLP W_V ...",
    "gated MLP": "ReLU MLP with the gate of this query",
}
BROKEN = {
    "causal demonstrations": "causal mask: the demonstrations do not follow A_t",
    "other gate": "ReLU MLP: another query under this query's A_t",
    "softmax": "softmax: another query under this query's normaliser D'",
    "softmax stack": "softmax stack: distance of the test token's map from an affine one",
}


def random_prompt(rng: np.random.Generator, n: int, width: int, layers: int) -> tuple:
    """Tokens with the test token last, weights that keep tokens of order 1, and an MLP."""
    tokens = rng.normal(size=(n + 1, width))
    matrices = rng.normal(size=(3, layers, width, width)) / np.sqrt(width)
    # The N products of keys with a query are of size sqrt(D) and of either sign.
    matrices[0] /= layers * np.sqrt(n * width)
    hidden = 2 * width
    inner = rng.normal(size=(layers, hidden, width)) / np.sqrt(width)
    outer = rng.normal(size=(layers, width, hidden)) / np.sqrt(hidden)
    return tokens, Weights(*matrices), Mlp(inner, outer)


def relative(computed: np.ndarray | jax.Array, exact: np.ndarray | jax.Array) -> float:
    """Largest distance over the largest norm, token by token."""
    distance = np.linalg.norm(np.asarray(computed, float) - np.asarray(exact, float), axis=-1)
    return float(distance.max() / np.linalg.norm(np.asarray(exact, float), axis=-1).max())


def errors(seed: int, n: int, width: int, layers: int) -> Record:
    """Every variant on one random prompt."""
    rng = np.random.default_rng([seed, n, width, layers])
    tokens, weights, mlp = random_prompt(rng, n, width, layers)
    test, demonstrations = tokens[-1], tokens[:-1]
    other = np.concatenate([demonstrations, rng.normal(size=(1, width))])
    run = implicit.masked_linear_stack(tokens, weights)
    state = implicit.updates(tokens, weights).state
    moment = implicit.moment_recursion(demonstrations.T @ demonstrations, weights)
    rotation = np.linalg.qr(rng.normal(size=(n, n)))[0]
    turned = np.concatenate([rotation @ demonstrations, tokens[-1:]])
    causal = implicit.masked_linear_stack(tokens, weights, causal=True)
    causal_state = implicit.updates(tokens, weights, causal=True).state
    linear = implicit.masked_linear_stack(tokens, weights, mlp=mlp)
    linear_state = implicit.updates(tokens, weights, mlp=mlp).state
    gated = implicit.masked_linear_stack(tokens, weights, mlp=mlp, activation="relu")
    gated_state = implicit.updates(tokens, weights, mlp=mlp, activation="relu").state
    others = implicit.masked_linear_stack(other, weights, mlp=mlp, activation="relu")
    return {
        "float64": {
            "test token": relative(state @ test, run[:, -1]),
            "demonstrations": relative(demonstrations @ np.swapaxes(state, 1, 2), run[:, :-1]),
            "moment": relative(moment @ test, run[:, -1]),
            "rotated": relative(implicit.updates(turned, weights).state @ test, run[:, -1]),
            "causal": relative(causal_state @ test, causal[:, -1]),
            "linear MLP": relative(linear_state @ test, linear[:, -1]),
            "gated MLP": relative(gated_state @ test, gated[:, -1]),
        },
        "float32": {"test token": single_precision(tokens, weights)},
        "broken": {
            "causal demonstrations": relative(
                demonstrations @ np.swapaxes(causal_state, 1, 2), causal[:, :-1]
            ),
            "other gate": relative(gated_state @ other[-1], others[:, -1]),
            **softmax_errors(rng, tokens, weights),
        },
        "gradient descent": descent_error(rng, n, width - 1, layers),
    }


def single_precision(tokens: np.ndarray, weights: Weights) -> float:
    """Theorem 1 in float32, on the default device."""
    tokens32, weights32 = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (tokens, weights))
    with jax.default_matmul_precision("highest"):
        run = implicit.masked_linear_stack(tokens32, weights32)
        state = implicit.updates(tokens32, weights32).state
        predicted = jnp.einsum("lde,e->ld", state, tokens32[-1])
    return relative(np.asarray(predicted), np.asarray(run[:, -1]))


def softmax_step(
    test: np.ndarray, tokens: np.ndarray, layer: Weights
) -> tuple[np.ndarray, np.ndarray]:
    """What softmax attention adds to tokens that see the demonstrations and themselves, and D'."""
    value, key, query = (np.asarray(matrix) for matrix in layer)
    keys, own = tokens @ key.T, test @ key.T
    logits = test @ query.T / np.sqrt(test.shape[-1])
    among = np.exp(logits @ keys.T)
    itself = np.exp((logits * own).sum(-1))
    normaliser = among.sum(-1) + itself
    added = among @ (tokens @ value.T) + itself[..., None] * (test @ value.T)
    return added / normaliser[..., None], normaliser


def softmax_errors(rng: np.random.Generator, tokens: np.ndarray, weights: Weights) -> Record:
    """One query's update applied to another, and how far a stack is from any affine map."""
    demonstrations, test = tokens[:-1], tokens[-1]
    first = Weights(*(matrix[0] for matrix in weights))
    queries = rng.normal(size=(16, len(test)))
    _, own = softmax_step(test[None], demonstrations, first)
    _, normalisers = softmax_step(queries, demonstrations, first)
    # dW of the test token carries its D'; another query's output comes out scaled by the ratio.
    scaled = np.abs(normalisers / own - 1)
    pairs = queries.reshape(2, 8, -1)
    batch = np.concatenate([pairs[0], pairs[1], pairs.mean(0)])
    seen = demonstrations
    for t in range(len(weights.value)):
        layer = Weights(*(matrix[t] for matrix in weights))
        after = batch + softmax_step(batch, seen, layer)[0]
        seen = seen + softmax_step_among(seen, layer)
        batch = after
    left, right, middle = np.split(batch, 3)
    moved = middle - pairs.mean(0)
    bend = np.linalg.norm(middle - (left + right) / 2, axis=-1) / np.linalg.norm(moved, axis=-1)
    return {"softmax": float(np.median(scaled)), "softmax stack": float(np.median(bend))}


def softmax_step_among(tokens: np.ndarray, layer: Weights) -> np.ndarray:
    """Softmax attention of the demonstrations among themselves."""
    value, key, query = (np.asarray(matrix) for matrix in layer)
    scores = tokens @ query.T @ key @ tokens.T / np.sqrt(tokens.shape[1])
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True) @ (tokens @ value.T)


def descent_error(rng: np.random.Generator, n: int, d: int, layers: int) -> float:
    """Largest distance of the layers' prediction from gradient descent's, over |w x|."""
    x, w, query = rng.normal(size=(n, d)), rng.normal(size=d), rng.normal(size=d)
    y, eta = x @ w, 1 / (1 + np.sqrt(d / n)) ** 2
    tokens = np.vstack([np.column_stack([x, y]), np.append(query, 0)])
    run = implicit.masked_linear_stack(tokens, implicit.gd_weights(d, eta, n, layers=layers))
    learned, worst = np.zeros(d), 0.0
    for t in range(layers):
        learned = learned - eta / n * x.T @ (x @ learned - y)
        worst = max(worst, abs(-run[t + 1, -1, d] - learned @ query))
    return float(worst / np.linalg.norm(w))


def sizes(quick: bool) -> list[tuple[int, int, int]]:
    """(N, D, L): all depths at one width, then all widths at one depth."""
    depths = (1, 4, 8) if quick else (1, 2, 4, 8, 16, 32)
    widths = (4,) if quick else (4, 16, 64, 256)
    return [(20, 16, depth) for depth in depths] + [(2 * width, width, 4) for width in widths]


def study(study: Study) -> Record:
    """Some prompts of every size."""
    prompts = 2 if study.quick else 5
    grid, rows = sizes(study.quick), []
    with study.progress.bar("prompts", len(grid) * prompts, "prompts") as advance:
        for n, width, layers in grid:
            for prompt in range(prompts):
                unit = {"n": n, "width": width, "layers": layers, "prompt": prompt}
                at = study.seed * 1000 + prompt
                rows.append(
                    study.once(unit, lambda s=at, n=n, w=width, t=layers: errors(s, n, w, t))
                )
                advance(1)
    return {"prompts": rows, "exact": EXACT, "broken": BROKEN}


def worst(rows: list[Record], kind: str, name: str) -> float:
    """The largest error over prompts."""
    return max(row[kind][name] for row in rows)


def report(result: Record) -> Iterable[Table | str]:
    """Errors by size, then each variant's largest (or, where broken, smallest and median) error."""
    rows = result["prompts"]
    sizes = sorted({(row["n"], row["width"], row["layers"]) for row in rows}, key=lambda s: s[::-1])
    by_size = []
    for size in sizes:
        of = [row for row in rows if (row["n"], row["width"], row["layers"]) == size]
        by_size.append(
            [
                " ".join(map(str, size)),
                f"{worst(of, 'float64', 'test token'):.1e}",
                f"{worst(of, 'float32', 'test token'):.1e}",
                f"{max(row['gradient descent'] for row in of):.1e}",
            ]
        )
    yield table(
        "largest relative error of the test token",
        ["N D L", "float64", "float32", "gradient descent"],
        by_size,
    )
    yield table(
        "what is exact: largest relative error over all prompts, float64",
        ["variant", "error"],
        [[text, f"{worst(rows, 'float64', name):.1e}"] for name, text in EXACT.items()],
    )
    yield table(
        "what breaks: median and smallest relative error over all prompts",
        ["variant", "median", "smallest"],
        [
            [text, f"{np.median(broken):.2g}", f"{min(broken):.2g}"]
            for name, text in BROKEN.items()
            for broken in [[row["broken"][name] for row in rows]]
        ],
    )


def draw(result: Record) -> "Figure":
    """Errors over depth at one width: exact variants far below, broken ones of order 1."""
    rows = [row for row in result["prompts"] if (row["n"], row["width"]) == (20, 16)]
    figure = style.figure(style.PAGE, 3.0)
    left, right = figure.subplots(1, 2)
    x = sorted({row["layers"] for row in rows})

    def curve(kind: str, name: str) -> list[float]:
        return [
            float(np.median([row[kind][name] for row in rows if row["layers"] == depth]))
            for depth in x
        ]

    for place, name in enumerate(EXACT):
        mark = style.MARKERS[place] + "-"
        left.plot(x, curve("float64", name), mark, label=f"{name}, float64")
    left.plot(x, curve("float32", "test token"), "k*--", label="test token, float32")
    for place, name in enumerate(BROKEN):
        right.plot(x, curve("broken", name), style.MARKERS[place] + "-", label=name)
    for axes, title in ((left, "exact"), (right, "broken")):
        axes.set(xscale="log", yscale="log", xlabel="layers", title=title)
        axes.set_xticks(x, [str(depth) for depth in x])
        axes.minorticks_off()
    left.set_ylim(1e-17, 1e-3)
    right.set_ylim(1e-3, 1e2)
    left.legend(fontsize=6, loc="upper left", ncols=2)
    right.legend(fontsize=6, loc="upper left", ncols=2)
    left.set_ylabel("relative error, median over prompts")
    return figure


EXPERIMENT = Experiment(
    "trajectories",
    "Implicit trajectories against direct simulation, over depth and size, and where they break.",
    study,
    report,
    {"trajectories.png": draw},
)
