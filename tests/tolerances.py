"""How far a float32 result may lie from its float64 reference, from the sums that made it."""

import math
from collections.abc import Iterable

import numpy as np

from jaxsvd.models.config import DecoderConfig

UNIT = 2.0**-24
"""The unit roundoff of float32: the largest relative error of rounding a number to it."""

DOUBLE = 2.0**-53
"""The unit roundoff of float64, for two ways to one number that are both walked in it."""

CONFIDENCE = 5.0
"""Standard deviations of a rounding walk that are allowed; beyond lies a chance of 1e-6."""


def rounding(
    n_terms: int | Iterable[int], scale: float = 1.0, steps: int = 1, unit: float = UNIT
) -> float:
    """The error that rounding to float32 may leave in results of size ``scale``.

    Every term of a sum of n products passes one rounding in its product and n - 1 in the
    additions, each of a relative size of at most u = 2^-24 and of either sign. Added up blindly
    they make at most n u; as a random walk (Higham & Mary, A new approach to probabilistic
    rounding error analysis, SIAM J. Sci. Comput. 41, 2019, theorem 2.4) at most c sqrt(n) u of the
    sum of absolute values, but for a chance of 2 exp(-c^2 / 2). Sums made of the results of sums
    pass on the roundings of those, so the lengths of a chain add up under the root:
    ``c u sqrt(n_1 + n_2 + ...) scale``, here with c = 5.

    Order and grouping of the sums (threads, vector units, blocks of a matrix product) only make
    the walk shorter, so it holds on any processor. It takes for granted that the chain is well
    conditioned: that a later step does not blow up what an earlier one rounded.

    Args:
        n_terms: terms of one sum, or those of each sum along the chain.
        scale: size of the results, usually the largest of them.
        steps: how often the chain is passed, one after the other.
        unit: the unit roundoff, where it is not that of float32.

    Returns:
        An absolute tolerance.
    """
    lengths = [n_terms] if isinstance(n_terms, int) else n_terms
    return CONFIDENCE * unit * math.sqrt(steps * sum(lengths)) * scale


def decoder_sums(config: DecoderConfig, tokens: int) -> list[int]:
    """Terms of the sums that a logit of a decoder passes through, one after the other.

    Args:
        config: its shape.
        tokens: how many there are in the longest row, prefix included.
    """
    queries = config.heads * config.head_width
    attention = [config.width, config.width, config.head_width, tokens, tokens, queries]
    mlp = [config.width, config.width, config.mlp_width]
    return (attention + mlp) * config.layers + [config.width, config.width]


def assert_close(
    actual: object, reference: object, n_terms: int | Iterable[int], unit: float = UNIT
) -> None:
    """Equal to a float64 reference up to :func:`rounding` of its largest number."""
    reference = np.asarray(reference)
    assert reference.dtype == np.float64, "a reference should be float64"
    tolerance = rounding(n_terms, float(np.abs(reference).max()), unit=unit)
    np.testing.assert_allclose(np.asarray(actual), reference, rtol=0, atol=tolerance)
