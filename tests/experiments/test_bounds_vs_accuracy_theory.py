"""Norms, linearised steps and bounds of real layers, against matrices written out."""

import sys
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from edited_models import by_hand

from experiments.bounds_vs_accuracy import predictors, trajectories
from experiments.bounds_vs_accuracy.trajectories import LayerNorms
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import variants
from jaxsvd.engine.attention_trace import attention_layers, read_rows
from jaxsvd.engine.prompts import Prompts
from jaxsvd.model import Model
from theory import bounds
from theory.implicit import Factors

sys.path.append(str(Path(__file__).parents[1] / "engine"))
from attention_reference import Read, forward, log_norms, norm, turn, weights_of

PREFIX, OWN, N = 14, 4, 3


def prompts_of(rows: int = 2) -> Prompts:
    """Demonstrations of 5, 4 and 4 tokens after a special one; then the query."""
    rng = np.random.default_rng(3)
    prefix, tokens = np.zeros(16, np.int32), np.zeros((rows, 16), np.int32)
    prefix[:PREFIX] = rng.integers(0, 97, PREFIX)
    tokens[:, :OWN] = rng.integers(0, 97, (rows, OWN))
    numbers = np.full((rows, 32), -1)
    numbers[:, :PREFIX] = np.repeat([-1, 0, 1, 2], [1, 5, 4, 4])
    return Prompts(prefix, PREFIX, tokens, np.full(rows, OWN), numbers)


def context(prompts: Prompts, row: int) -> np.ndarray:
    return np.concatenate([prompts.prefix[:PREFIX], prompts.tokens[row, :OWN]])


def shares(model: Model, block, read: Read, x: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Each demonstration's part of the Jacobian of attention in the stream, ``[N, D, D]``."""
    config, width = model.config, model.config.head_width
    each = config.heads // config.key_value_heads
    step, parts = 1e-6, np.zeros((N, config.width, config.width))
    normed = np.stack(
        [
            (norm(config, block["norm_attn"], x + off) - norm(config, block["norm_attn"], x - off))
            / (2 * step)
            for off in step * np.eye(config.width)
        ],
        axis=1,
    )
    last = np.full(config.width, len(read.keys) - 1)
    for n in range(config.heads):
        requested = block["attn"]["q_proj"]["weight"][n * width : (n + 1) * width]
        out = block["attn"]["out_proj"]["weight"][:, n * width : (n + 1) * width]
        turned = turn(config.rotary, requested.T[:, None, :], last)[:, 0].T @ normed
        a, k, v = read.attention[n], read.keys[:, n // each], read.values[:, n // each]
        for j, number in enumerate(numbers):
            if number >= 0:
                row = (k[j] - a @ k) @ turned / np.sqrt(width)
                parts[number] += a[j] * np.outer(out @ v[j], row)
    return parts


@pytest.mark.parametrize("family", ["gptj", "llama"])
@pytest.mark.brief(family=("llama",))
def test_against_matrices_written_out(family: str, tiny: Callable[..., Model]) -> None:
    model, prompts = tiny(family), prompts_of()
    engine = model.engine
    layers, _ = trajectories.walk(engine, [prompts], N)
    reads = list(attention_layers(engine, prompts))
    for row in range(2):
        plain = forward(model, context(prompts, row))
        numbers = prompts.demonstrations[row][: PREFIX + OWN].copy()
        numbers[PREFIX:] = -1
        state = np.eye(32)
        for t, (layer, read) in enumerate(zip(layers, plain, strict=True)):
            block = weights_of(model, t)
            update, _, jacobian = log_norms(model.config, block, read, numbers >= 0)
            assert layer.update[row] == pytest.approx(_total(update), abs=1e-4)
            assert layer.jacobian[row] == pytest.approx(jacobian, abs=1e-4)
            x = np.asarray(reads[t].stream[row], np.float64)
            parts = shares(model, block, read, x, numbers)
            linear, each = parts.sum(0), N * parts @ state
            gradient = each.mean(0)
            off = (each - gradient).reshape(N, -1)
            spectrum = np.linalg.eigvalsh(off @ off.T / N)[::-1]
            actual = {name: np.asarray(getattr(layer, name)[row]) for name in LayerNorms._fields}
            assert actual["linear"] == pytest.approx((linear**2).sum(), rel=1e-3)
            assert actual["gradient"] == pytest.approx((gradient**2).sum(), rel=1e-3)
            assert actual["state"] == pytest.approx((state**2).sum(), rel=1e-3)
            np.testing.assert_allclose(actual["spectrum"], spectrum, atol=1e-3 * spectrum[0])
            state = state + gradient


def _total(logs: np.ndarray) -> float:
    return float(np.log(np.exp(2 * logs).sum()) / 2)


@pytest.mark.long
def test_a_variant_is_a_walk_from_its_layer(tiny: Callable[..., Model]) -> None:
    """Going on from the untouched model's layer gives what a truncated model gives throughout."""
    model, prompts = tiny("llama"), [prompts_of(1), prompts_of(2)]
    engine = model.engine
    base, at = trajectories.walk(engine, prompts, N, stop=2)
    edits = (Edit(1, "attn", 0.9),)
    [variant] = variants(engine, [edits]).make([0])
    above, _ = trajectories.walk(engine, prompts, N, first=1, at=at, variant=variant)
    whole, _ = trajectories.walk(by_hand(model, edits).engine, prompts, N)
    assert len(base) == 2
    for actual, wanted in zip([base[0], *above], whole, strict=True):
        for ours, theirs in zip(actual, wanted, strict=True):
            assert ours.shape[0] == 3
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-3)


def test_one_token_a_demonstration_is_the_theorys_own_case(tiny: Callable[..., Model]) -> None:
    """One head and one token each: gradients of rank 1, as theory.bounds takes them by itself."""
    model = tiny("gptj", n_head=1, rotary_dim=2)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(6, 9, 32)), jnp.float32)
    numbers = np.broadcast_to(np.append(np.repeat(np.arange(8), 1), -1), (6, 9))
    state = jnp.broadcast_to(jnp.eye(32), (6, 32, 32))
    engine, layers, factors = model.engine, [], []
    for t in range(2):
        read = read_rows(model.config, t, engine.blocks[t], x + t)
        before = np.asarray(state, np.float64)
        layer, state = trajectories.of_layer(model.config, read, jnp.asarray(numbers), state, 8)
        layers.append(layer)
        factors.append(_rank_one(model, t, read, before))
    stacked = Factors(*(np.stack(parts, axis=1) for parts in zip(*factors, strict=True)))
    theirs = bounds.measure(stacked, 3, spectral=False)
    level = predictors.fixed_level(tuple(layers), 3, 32)
    assert level == pytest.approx(0.01 * theirs.trace.mean() / 32**2, rel=1e-3)
    actual = predictors.bounds_of(tuple(layers), 3, 32, level)
    assert len(actual) == 6
    assert actual["theorem 2, as printed"].value == actual["lemma 6, as printed"].value == np.inf
    for kind, ridge in (("relative", 0.01 / 32**2), ("absolute", level)):
        name = {"relative": "relative ridge", "absolute": "fixed noise"}[kind]
        for bound, ours in ((bounds.theorem2, "theorem 2"), (bounds.lemma6, "lemma 6")):
            wanted = bound(theirs, ridge=(kind, ridge))
            assert actual[f"{ours}, {name}"].value == pytest.approx(wanted.value, rel=1e-3)
            assert actual[f"{ours}, {name}"].status == "regularised"


def _rank_one(model: Model, t: int, read, before: np.ndarray) -> Factors:
    """v_i, q_i and r_i of every prompt, from what was read, ``[6, 8, D]``."""
    block = weights_of(model, t)
    out, requested = (block["attn"][name]["weight"] for name in ("out_proj", "q_proj"))
    actual = []
    for m in range(6):
        a, k, v = (np.asarray(o[m], np.float64) for o in (read.attention, read.keys, read.values))
        a, k, v = a[0], k[:, 0], v[:, 0]
        x, step = np.asarray(read.stream[m], np.float64), 1e-6
        own = block["norm_attn"]
        normed = np.stack(
            [
                (norm(model.config, own, x + off) - norm(model.config, own, x - off)) / (2 * step)
                for off in step * np.eye(32)
            ],
            axis=1,
        )
        left = (a[:, None] * v @ out.T)[:8]
        q = ((k - a @ k) @ requested @ normed / np.sqrt(32))[:8]
        actual.append(Factors(left, q, q @ before[m]))
    return Factors(*(np.stack(parts) for parts in zip(*actual, strict=True)))


def test_summaries_are_of_the_layer_and_of_all() -> None:
    rng = np.random.default_rng(0)
    layers = tuple(
        LayerNorms(
            *(rng.normal(size=4) for _ in range(2)),
            *(rng.uniform(1, 2, 4) for _ in range(3)),
            np.sort(rng.uniform(size=(4, 5)))[:, ::-1],
        )
        for _ in range(3)
    )
    actual = predictors.summary(layers, 1, 2, 8, 1e-3)
    assert actual["update norm"] == pytest.approx(layers[1].update.mean())
    logs = np.stack([layer.jacobian for layer in layers])
    wanted = (np.log(np.exp(2 * logs).sum(0)) / 2).mean()
    assert actual["jacobian norms, all layers"] == pytest.approx(wanted)
    assert actual["lemma 6, as printed"] == np.inf
