"""What distinguishes one decoder from another, as data.

Shape letters used throughout the package, as suffixes of array names:

    B  batch rows          T  tokens of a row        P  tokens of a shared prefix
    Q  query positions     V  vocabulary             D  width of the residual stream
    F  width of the MLP    K  key-value heads        G  query heads per key-value head
    H  width of a head     N  number of heads (K * G)
"""

import dataclasses
from typing import Literal

Activation = Literal["gelu", "gelu_new", "relu", "silu"]
Norm = Literal["layer", "rms"]
RotaryPairs = Literal["interleaved", "halves"]


@dataclasses.dataclass(frozen=True)
class RotaryConfig:
    """Rotary position embedding (Su et al., 2021).

    Attributes:
        pairs: which features rotate together: neighbours (``interleaved``) or feature ``i`` with
            ``i + R / 2`` (``halves``), R being the rotated width.
        inverse_frequencies: R / 2 angles per position, in radians.
        scale: factor on both cosine and sine (1 except for YaRN).
    """

    pairs: RotaryPairs
    inverse_frequencies: tuple[float, ...]
    scale: float = 1.0

    @property
    def width(self) -> int:
        """R, the number of features of a head that rotate; the others pass unchanged."""
        return 2 * len(self.inverse_frequencies)


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Shape and style of a decoder-only transformer.

    Attributes:
        family: name of the family that the checkpoint belongs to.
        vocabulary: V, rows of the embedding (may exceed the tokenizer's).
        layers: number of blocks.
        width: D.
        heads: N, query heads.
        key_value_heads: K, a divisor of N.
        head_width: H.
        mlp_width: F.
        context: most tokens in a sequence.
        rotary: positions.
        activation: of the MLP.
        norm: ``layer`` (mean and variance, with bias) or ``rms``.
        norm_epsilon: added to the variance.
        gated: whether the MLP multiplies two projections (``fc_in`` and ``fc_up``).
        parallel: whether attention and MLP read the same norm and are added together (GPT-J), or
            the MLP reads a second norm of the stream after attention (Llama).
        biased: names of the projections that have a bias, among the matrix names of
            :mod:`jaxsvd.models.matrices` and ``unembedding``.
        tied: whether the unembedding is the embedding.
    """

    family: str
    vocabulary: int
    layers: int
    width: int
    heads: int
    key_value_heads: int
    head_width: int
    mlp_width: int
    context: int
    rotary: RotaryConfig
    activation: Activation
    norm: Norm
    norm_epsilon: float
    gated: bool
    parallel: bool
    biased: frozenset[str]
    tied: bool
