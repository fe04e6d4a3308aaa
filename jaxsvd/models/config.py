"""What distinguishes one decoder from another, as data.

Shape letters used throughout the package, as suffixes of array names:

    B  batch rows          T  tokens of a row        P  tokens of a shared prefix
    Q  query positions     V  vocabulary             D  width of the residual stream
    F  width of the MLP    K  key-value heads        G  query heads per key-value head
    H  width of a head     N  number of heads (K * G)
    E  width of the embedding, where it is projected to D
"""

import dataclasses
import functools
from typing import Literal

Activation = Literal["gelu", "gelu_new", "relu", "silu"]
Norm = Literal["layer", "rms"]
RotaryPairs = Literal["interleaved", "halves"]

Residual = Literal["parallel", "parallel-two", "pre", "sandwich", "output", "post"]
"""How norms, attention and MLP make a layer of the residual stream x:

============  ==========================================================  ==================
parallel      x + attn(n1(x)) + mlp(n1(x))                                GPT-J, Phi 2
parallel-two  x + attn(n1(x)) + mlp(n2(x))                                GPT-NeoX
pre           a = x + attn(n1(x));      a + mlp(n2(a))                    GPT-2, Llama
sandwich      a = x + m1(attn(n1(x)));  a + m2(mlp(n2(a)))                Gemma 2 and 3
output        a = x + m1(attn(x));      a + m2(mlp(a))                    OLMo 2
post          a = m1(x + attn(x));      m2(a + mlp(a))                    OPT-350m
============  ==========================================================  ==================
"""

QKNorm = Literal["head", "projection"]


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

    def __hash__(self) -> int:
        """Kept: configs are static arguments of jitted functions, hashed at every call."""
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.pairs, self.inverse_frequencies, self.scale))

    @property
    def width(self) -> int:
        """R, the number of features of a head that rotate; the others pass unchanged."""
        return 2 * len(self.inverse_frequencies)


@dataclasses.dataclass(frozen=True)
class LayerKind:
    """What of a layer may differ from that of its neighbours; a program is compiled for each.

    Attributes:
        rotary: turns queries and keys; None where nothing does.
        window: a token sees itself and the ``window - 1`` before it; None for all before it.
    """

    rotary: RotaryConfig | None = None
    window: int | None = None


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
        activation: of the MLP.
        norm: ``layer`` (mean and variance, with bias) or ``rms``.
        norm_epsilon: added to the variance.
        gated: whether the MLP multiplies two projections (``fc_in`` and ``fc_up``).
        residual: where the norms stand, and whether attention and MLP read the same stream.
        biased: names of the projections that have a bias, among the matrix names of
            :mod:`jaxsvd.models.matrices` and ``unembedding``.
        tied: whether the unembedding is the embedding.
        kinds: the distinct kinds of layers.
        pattern: indices into ``kinds``, repeated from layer 0 upwards.
        norm_offset: whether norms multiply by 1 + weight (Gemma).
        qk_norm: whether queries and keys are normalised before they are rotated: each ``head`` by
            itself (weights of H features), or the whole ``projection``.
        query_scale: factor on query-key products; ``H ** -0.5`` if left out.
        attention_cap: c of ``c tanh(score / c)`` on those products; None for no cap.
        logit_cap: the same on the logits.
        embedding_scale: factor on the embedding of a token.
        embedding_width: E; D if left out, else the embedding is projected to D and the stream
            back to E.
        position_offset: rows of the table of learned positions before that of position 0; None
            if positions are not learned.
        final_norm: whether the head normalises the stream.
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
    activation: Activation
    norm: Norm
    norm_epsilon: float
    gated: bool
    residual: Residual
    biased: frozenset[str]
    tied: bool
    kinds: tuple[LayerKind, ...]
    pattern: tuple[int, ...] = (0,)
    norm_offset: bool = False
    qk_norm: QKNorm | None = None
    query_scale: float | None = None
    attention_cap: float | None = None
    logit_cap: float | None = None
    embedding_scale: float = 1.0
    embedding_width: int | None = None
    position_offset: int | None = None
    final_norm: bool = True

    def kind(self, layer: int) -> LayerKind:
        """The kind of a layer, counted from 0."""
        return self.kinds[self.pattern[layer % len(self.pattern)]]

    @property
    def rotary(self) -> RotaryConfig | None:
        """The rotary embedding of the first layer; where all layers are alike, of all."""
        return self.kind(0).rotary

    @functools.cached_property
    def rotaries(self) -> tuple[RotaryConfig, ...]:
        """The distinct rotary embeddings of all kinds."""
        return tuple(dict.fromkeys(k.rotary for k in self.kinds if k.rotary is not None))

    @property
    def parallel(self) -> bool:
        """Whether the MLP reads the stream before attention, not after it."""
        return self.residual in ("parallel", "parallel-two")
