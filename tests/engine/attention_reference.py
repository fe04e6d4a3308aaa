"""A plain forward pass in numpy, float64: what attention reads, from its formulas alone."""

from typing import Any, NamedTuple

import numpy as np

from jaxsvd.model import Model
from jaxsvd.models.matrices import part


class Read(NamedTuple):
    """Of one layer: attention ``[N, T]``, query ``[N, H]``, keys and values ``[T, K, H]``.

    Query and keys are turned by their own positions.
    """

    attention: np.ndarray
    query: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    hidden: np.ndarray


def weights_of(model: Model, layer: int, exchanged: dict[str, np.ndarray] | None = None) -> Any:
    """A layer's arrays in float64, some matrices exchanged."""
    import jax

    block = jax.tree.map(lambda a: np.asarray(a, np.float64), model.engine.blocks[layer])
    for name, matrix in (exchanged or {}).items():
        block[part(name)][name] = block[part(name)][name] | {"weight": np.asarray(matrix, float)}
    return block


def forward(
    model: Model, tokens: np.ndarray, at: int = -1, exchanged: dict[str, np.ndarray] | None = None
) -> list[Read]:
    """What the last token reads in every layer; in layer ``at`` some matrices are exchanged."""
    config = model.config
    x = np.asarray(model.decoder.embedding.tokens[...], np.float64)[tokens]
    reads = []
    for layer in range(config.layers):
        block = weights_of(model, layer, exchanged if layer == at else None)
        h = norm(config, block["norm_attn"], x)
        q, k, v = (
            linear(block["attn"][name], h).reshape(len(tokens), -1, config.head_width)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        q, k = (turn(config.rotary, a) for a in (q, k))
        each = config.heads // config.key_value_heads
        wide_k, wide_v = (np.repeat(a, each, axis=1) for a in (k, v))
        scores = np.einsum("qnh,tnh->nqt", q, wide_k) / np.sqrt(config.head_width)
        scores = np.where(np.tril(np.ones(scores.shape[1:], bool)), scores, -np.inf)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attention = scores / scores.sum(axis=-1, keepdims=True)
        reads.append(Read(attention[:, -1], q[-1], k, v, h[-1]))
        o = np.einsum("nqt,tnh->qnh", attention, wide_v).reshape(len(tokens), -1)
        attended = x + linear(block["attn"]["out_proj"], o)
        inner = h if config.parallel else norm(config, block["norm_mlp"], attended)
        hidden = activation(config.activation, linear(block["mlp"]["fc_in"], inner))
        if config.gated:
            hidden = hidden * linear(block["mlp"]["fc_up"], inner)
        x = attended + linear(block["mlp"]["fc_out"], hidden)
    return reads


def linear(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return x @ weights["weight"].T + weights.get("bias", 0)


def norm(config: Any, weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    y = x - x.mean(-1, keepdims=True) if config.norm == "layer" else x
    y = y / np.sqrt((y**2).mean(-1, keepdims=True) + config.norm_epsilon)
    return y * weights["weight"] + weights.get("bias", 0)


def activation(name: str, x: np.ndarray) -> np.ndarray:
    if name == "silu":
        return x / (1 + np.exp(-x))
    assert name == "gelu_new"
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def turn(rotary: Any, x: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
    """Rotary positions 0, 1, ... of ``[T, heads, H]``, pair by pair."""
    places = np.arange(len(x)) if positions is None else positions
    y, width = x.copy(), rotary.width
    for i, frequency in enumerate(rotary.inverse_frequencies):
        interleaved = rotary.pairs == "interleaved"
        a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + width // 2)
        c, s = (rotary.scale * f(places * frequency)[:, None] for f in (np.cos, np.sin))
        y[..., a], y[..., b] = x[..., a] * c - x[..., b] * s, x[..., b] * c + x[..., a] * s
    return y


def log_norms(
    config: Any, block: Any, read: Read, shown: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Logs of ||dW||_F and ||J||_F of every head, and of the sum of the J; written out."""
    heads, width, each = config.heads, config.head_width, config.heads // config.key_value_heads
    last = np.array([len(read.keys) - 1])
    updates, jacobians = [], []
    for n in range(heads):
        k, v = read.keys[:, n // each], read.values[:, n // each]
        out = block["attn"]["out_proj"]["weight"][:, n * width : (n + 1) * width]
        requested = block["attn"]["q_proj"]["weight"][n * width : (n + 1) * width]
        moved = (v @ out.T)[shown]
        kernel = (k @ k.T / np.sqrt(width))[np.ix_(shown, shown)]
        square = ((moved @ moved.T) * np.exp(kernel)).sum()
        normaliser = np.log(np.exp(k @ read.query[n] / np.sqrt(width)).sum())
        updates.append(np.log(square) / 2 - normaliser)
        a = read.attention[n]
        # The query as a function of what the layer reads: R_p W_Q x.
        turned = turn(config.rotary, requested.T[:, None, :], np.repeat(last, len(requested.T)))[
            :, 0
        ].T
        j = (v @ out.T).T @ (np.diag(a) - np.outer(a, a)) @ k @ turned / np.sqrt(width)
        jacobians.append(j)
    logs = np.log(np.linalg.norm(jacobians, axis=(1, 2)))
    return np.array(updates), logs, float(np.log(np.linalg.norm(sum(jacobians))))
