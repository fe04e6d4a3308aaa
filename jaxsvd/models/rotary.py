"""Rotary position embeddings: frequencies of every scaling rule, and the rotation itself."""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from jaxsvd.models.config import RotaryConfig, RotaryPairs


def base_frequencies(base: float, width: int) -> Float32[np.ndarray, " half"]:
    """``base ** (-2 i / width)`` for i = 0 .. width / 2 - 1 (Su et al., 2021, section 3.2.2).

    In float32 step by step, as the checkpoints were trained: at position 2,000 a last-bit
    difference in a frequency already moves the angle by 1e-4.
    """
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    return np.float32(1) / np.float32(base) ** exponents


def linear_frequencies(
    base: float, width: int, parameters: Mapping[str, float]
) -> Float32[np.ndarray, " half"]:
    """Position interpolation (Chen et al., 2023): every frequency divided by ``factor``."""
    return base_frequencies(base, width) / np.float32(parameters["factor"])


def llama3_frequencies(
    base: float, width: int, parameters: Mapping[str, float]
) -> Float32[np.ndarray, " half"]:
    """Llama 3.1's rule: slow features are interpolated, fast ones kept, those between blended.

    ``parameters``: ``factor``, ``low_freq_factor``, ``high_freq_factor`` and
    ``original_max_position_embeddings``.
    """
    factor, low, high, original = (
        np.float32(parameters[name])
        for name in (
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        )
    )
    plain = base_frequencies(base, width)
    turns = original * plain / np.float32(2 * math.pi)  # rotations within the original context
    kept = np.clip((turns - low) / (high - low), 0, 1).astype(np.float32)
    return (1 - kept) * plain / factor + kept * plain


def yarn_frequencies(
    base: float, width: int, parameters: Mapping[str, float]
) -> tuple[Float32[np.ndarray, " half"], float]:
    """YaRN (Peng et al., 2023): a ramp between interpolated and kept features, and a scale.

    ``parameters``: ``factor``, ``original_max_position_embeddings``; optionally ``beta_fast``
    (32), ``beta_slow`` (1), ``truncate`` (true), ``attention_factor``, ``mscale``,
    ``mscale_all_dim``.
    """
    factor = parameters["factor"]
    original = parameters["original_max_position_embeddings"]

    def feature_of(rotations: float) -> float:
        return width * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low = feature_of(parameters.get("beta_fast") or 32.0)
    high = feature_of(parameters.get("beta_slow") or 1.0)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    if low == high:
        high += 0.001  # a step instead of a ramp of no width
    ramp = np.arange(width // 2, dtype=np.float32)
    interpolated = np.clip((ramp - np.float32(low)) / np.float32(high - low), 0, 1)
    plain = base_frequencies(base, width)
    blended = plain / np.float32(factor) * interpolated + plain * (1 - interpolated)
    return blended.astype(np.float32), _yarn_scale(factor, parameters)


def _yarn_scale(factor: float, parameters: Mapping[str, float]) -> float:
    def magnitude(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if parameters.get("attention_factor") is not None:
        return float(parameters["attention_factor"])
    mscale, mscale_all = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if mscale and mscale_all:
        return magnitude(mscale) / magnitude(mscale_all)
    return magnitude(1.0)


def longrope_frequencies(
    base: float, width: int, factors: Sequence[float]
) -> Float32[np.ndarray, " half"]:
    """LongRoPE (Ding et al., 2024): each frequency divided by a factor of its own."""
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    return np.float32(1) / (np.asarray(factors, np.float32) * np.float32(base) ** exponents)


def longrope_scale(factor: float, original: int) -> float:
    """Of cosine and sine, where the context grew by ``factor`` from ``original``."""
    grown = factor > 1 and original > 1
    return math.sqrt(1 + math.log(factor) / math.log(original)) if grown else 1.0


def rotary_config(
    kind: str, base: float, width: int, parameters: Mapping[str, float], pairs: RotaryPairs
) -> RotaryConfig:
    """The rotary embedding of a ``rope_type``.

    ``dynamic`` differs from ``default`` only beyond the context that a model is loaded with,
    which we never exceed.

    Raises:
        KeyError: a parameter that the rule needs is missing.
        ValueError: the rule is not known.
    """
    scale = 1.0
    match kind:
        case "default" | "dynamic":
            frequencies = base_frequencies(base, width)
        case "linear":
            frequencies = linear_frequencies(base, width, parameters)
        case "llama3":
            frequencies = llama3_frequencies(base, width, parameters)
        case "yarn":
            frequencies, scale = yarn_frequencies(base, width, parameters)
        case _:
            raise ValueError(kind)
    return RotaryConfig(pairs, tuple(float(f) for f in frequencies), scale)


Rotation = tuple[Float32[Array, "*batch half"], Float32[Array, "*batch half"]]
"""Cosine and sine of the angles of each token."""


def rotation(config: RotaryConfig, positions: Int[Array, "*batch"]) -> Rotation:
    """Cosine and sine of every angle at ``positions``."""
    frequencies = jnp.asarray(config.inverse_frequencies, jnp.float32)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return config.scale * jnp.cos(angles), config.scale * jnp.sin(angles)


def rotate(
    config: RotaryConfig,
    x: Float[Array, "batch length heads head_width"],
    cos_sin: tuple[Float32[Array, "batch length half"], Float32[Array, "batch length half"]],
) -> Float[Array, "batch length heads head_width"]:
    """Turn the first R features of every head by the angles of its position."""
    turned, passed = x[..., : config.width], x[..., config.width :]
    cos, sin = (a[..., None, :] for a in cos_sin)
    if config.pairs == "interleaved":
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = jnp.split(turned, 2, axis=-1)
    first, second = (
        (first * cos - second * sin).astype(x.dtype),
        (second * cos + first * sin).astype(x.dtype),
    )
    if config.pairs == "interleaved":
        turned = jnp.stack([first, second], axis=-1).reshape(turned.shape)
    else:
        turned = jnp.concatenate([first, second], axis=-1)
    return jnp.concatenate([turned, passed], axis=-1)
