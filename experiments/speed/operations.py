"""How many operations a search or a sweep cannot do without: real tokens, minimal work."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.matrices import matrices, part
from jaxsvd.svd import rank_at


def matrix_shapes(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    """``[out, in]`` of the matrices of a layer."""
    d, f = config.width, config.mlp_width
    n, k = config.heads * config.head_width, config.key_value_heads * config.head_width
    shapes = {"q_proj": (n, d), "k_proj": (k, d), "v_proj": (k, d), "out_proj": (d, n)}
    shapes |= {"fc_in": (f, d), "fc_out": (d, f)}
    return shapes | ({"fc_up": (f, d)} if config.gated else {})


def search_operations(
    config: DecoderConfig,
    prefix: int,
    lines: Int[np.ndarray, " examples"],
    layer: int,
    module: str,
    rates: Sequence[float],
) -> float:
    """Operations (two for a multiplication and its addition) of one search's validation.

    Everything below the layer once; the layer's attention once if only its MLP is truncated; from
    there each rate on its own, truncated matrices as factors where that is fewer; in the last
    layer keys and values of all tokens, the rest only at one position a line.

    Args:
        config: of the decoder.
        prefix: tokens that all lines share.
        lines: further tokens of each.
        layer, module, rates: what is truncated.
    """
    work = _Work(config, prefix, lines)
    below = sum(work.layer(at, {}) for at in range(layer))
    above = sum(work.layer(at, {}) for at in range(layer + 1, config.layers))
    names = matrices(config, module)
    shared = all(part(name) == "mlp" for name in names)
    total = below + (work.layer(layer, {}, halves=("attn",)) if shared else 0.0)
    halves = ("mlp",) if shared else ("attn", "mlp")
    for rate in rates:
        total += work.layer(layer, {n: rate for n in names if rate}, halves=halves) + above
    return total


def sweep_operations(
    config: DecoderConfig,
    prefix: int,
    lines: Int[np.ndarray, " examples"],
    modules: Sequence[str],
    rates: Sequence[float],
) -> float:
    """Operations of a sweep of all layers: the untouched model once, and every branch off it."""
    work = _Work(config, prefix, lines)
    plain = [work.layer(at, {}) for at in range(config.layers)]
    total = sum(plain)
    for module in modules:
        names = matrices(config, module)
        halves = ("mlp",) if all(part(n) == "mlp" for n in names) else ("attn", "mlp")
        for layer in range(config.layers):
            above = sum(plain[layer + 1 :])
            for rate in rates:
                if rate:
                    total += work.layer(layer, dict.fromkeys(names, rate), halves=halves) + above
    return total


class _Work:
    """Operations of a layer over a prefix and its lines."""

    def __init__(self, config: DecoderConfig, prefix: int, lines: Int[np.ndarray, " n"]) -> None:
        self.config, self.shapes = config, matrix_shapes(config)
        tokens = float(lines.sum())
        self.all, self.reads = prefix + tokens, float(len(lines))
        within = float((lines * (lines + 1) / 2).sum())
        self.pairs = prefix * (prefix + 1) / 2 + tokens * prefix + within
        self.read_pairs = float((prefix + lines).sum())
        self.tokens = tokens

    def layer(
        self, at: int, rates: dict[str, float], halves: Sequence[str] = ("attn", "mlp")
    ) -> float:
        """One layer, some of its matrices truncated, or one half of it."""
        last = at == self.config.layers - 1
        total = 0.0
        for name, (rows, columns) in self.shapes.items():
            if part(name) in halves:
                everywhere = not last or name in ("k_proj", "v_proj")
                cost = rows * columns
                if name in rates:
                    cost = min(cost, rank_at(rates[name], (rows, columns)) * (rows + columns))
                total += 2.0 * cost * (self.all if everywhere else self.reads)
        if "attn" in halves:
            width = self.config.heads * self.config.head_width
            total += 4.0 * width * (self.read_pairs if last else self.pairs)
        return total
