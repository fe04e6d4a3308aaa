"""What several families read alike: heads, rotary embeddings, kinds of layers, names of tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxsvd.models.config import Activation, DecoderConfig, LayerKind, RotaryConfig
from jaxsvd.models.hf_config import MOST_FEATURES, MOST_LAYERS, ConfigReader, rope_numbers
from jaxsvd.models.layout import Stored
from jaxsvd.models.matrices import ATTENTION
from jaxsvd.models.rotary import longrope_frequencies, longrope_scale, rotary_config

ACTIVATION_NAMES: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
    "silu": "silu",
}

_ORIGINAL = "original_max_position_embeddings"

ROPE_PARAMETERS: dict[str, dict[str, bool]] = {
    "default": {},
    "linear": {"factor": True},
    "dynamic": {"factor": True, _ORIGINAL: False},
    "llama3": {"factor": True, "low_freq_factor": True, "high_freq_factor": True, _ORIGINAL: True},
    "yarn": {
        "factor": True,
        _ORIGINAL: True,
        "attention_factor": False,
        "beta_fast": False,
        "beta_slow": False,
        "mscale": False,
        "mscale_all_dim": False,
        "truncate": False,
    },
}
"""The parameters of each ``rope_type``, and whether they are required."""


def read_rotary(
    reader: ConfigReader,
    head_width: int,
    context: int,
    *,
    theta: str = "rope_theta",
    base: float = 10_000.0,
    partial: tuple[str, float] | None = None,
) -> RotaryConfig:
    """``rope_parameters`` of transformers 5, or ``rope_theta`` and ``rope_scaling`` before it.

    Args:
        reader: of the config.
        head_width: H.
        context: most tokens of a sequence.
        theta: the older attribute with the base.
        base: where it is left out.
        partial: the older attribute with the share of a head's features that rotate, and its
            default; None where a family has none.
    """
    base = reader.number(theta, base)
    share = None
    if partial is None:
        reader.fixed("partial_rotary_factor", 1.0)
    else:
        share = reader.number(*partial)
    old, new = reader.table("rope_scaling"), reader.table("rope_parameters")
    return rotary_of(reader, old or new, head_width, context, base=base, share=share)


def rotary_of(
    reader: ConfigReader,
    table: dict[str, Any],
    head_width: int,
    context: int,
    *,
    base: float,
    share: float | None = None,
) -> RotaryConfig:
    """The rotary embedding that a table such as ``rope_parameters`` describes.

    Args:
        reader: gets the problems.
        table: with ``rope_type`` and its parameters.
        head_width: H.
        context: most tokens of a sequence.
        base: where the table has no ``rope_theta``.
        share: of a head's features that rotate where the table has no ``partial_rotary_factor``;
            None where all must.
    """
    theta, kind = table.pop("rope_theta", None), table.pop("rope_type", None)
    old_kind = table.pop("type", None)
    if theta is not None:
        base = ConfigReader({"rope_theta": theta}).number("rope_theta", base)
        reader.check(base == theta, f"rope_theta = {theta!r} should be a positive number")
    kind = old_kind if kind is None else kind
    kind = "default" if kind is None else kind
    factor = table.pop("partial_rotary_factor", None)
    if share is None:
        reader.check(
            factor in (None, 1.0), "partial_rotary_factor is not 1.0, the only value supported"
        )
    elif factor is not None:
        share = ConfigReader({"factor": factor}).number("factor", 0.0)
        reader.check(share == factor, f"partial_rotary_factor = {factor!r} should be a number")
    if not isinstance(kind, str) or kind not in ROPE_PARAMETERS:
        known = ", ".join(ROPE_PARAMETERS)
        reader.problems.append(f"rope_type = {kind!r} should be one of {known}")
        kind, table = "default", {}
    known = ROPE_PARAMETERS[kind]
    original = reader.integer(_ORIGINAL, context)
    if _ORIGINAL in known and (_ORIGINAL in reader.raw or table.get(_ORIGINAL) is None):
        table[_ORIGINAL] = original
    if kind == "yarn" and table.get("factor") is None and _is_positive(table.get(_ORIGINAL)):
        table["factor"] = context / table[_ORIGINAL]
    width = head_width if share is None else int(head_width * share)
    if width % 2 or not 0 < width <= head_width:
        rotated = "head_dim" if share is None else "rotated features of a head"
        reader.problems.append(f"{rotated} = {width} should be even")
        return rotary_config("default", base, 2, {}, "halves")
    numbers = rope_numbers(reader, table, known)
    if missing := [name for name, required in known.items() if required and name not in numbers]:
        numbers |= dict.fromkeys(missing, 1.0)  # already noted as a problem
    if kind == "llama3" and numbers["high_freq_factor"] <= numbers["low_freq_factor"]:
        reader.problems.append("high_freq_factor should be greater than low_freq_factor")
        kind = "default"
    if kind == "yarn" and base == 1.0:
        reader.problems.append("rope_theta should differ from 1 for yarn")
        kind = "default"
    with np.errstate(all="ignore"):
        rotary = rotary_config(kind, base, width, numbers, "halves")
    finite = np.isfinite([*rotary.inverse_frequencies, rotary.scale]).all()
    reader.check(bool(finite), "the rotary parameters give frequencies beyond float32")
    return rotary


def read_longrope(
    reader: ConfigReader, table: dict[str, Any], base: DecoderConfig, partial: tuple[str, float]
) -> tuple[RotaryConfig, int]:
    """LongRoPE (Ding et al., 2024) for sequences within the original context, and that context."""
    original = reader.integer(
        _ORIGINAL, ConfigReader(table).integer(_ORIGINAL, base.context), largest=base.context
    )
    known = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "short_factor"}
    known |= {"long_factor", "factor", "attention_factor", _ORIGINAL}
    for name in table.keys() - known:
        reader.problems.append(f"unknown rotary parameter {name} = {table[name]!r}")
    inner = ConfigReader(table)
    theta = inner.number("rope_theta", reader.number("rope_theta", 10_000.0))
    share = inner.number("partial_rotary_factor", reader.number(*partial))
    factor = inner.number("factor", base.context / original)
    scale = inner.number("attention_factor", longrope_scale(factor, original))
    reader.problems += inner.problems
    width = int(base.head_width * share)
    short = table.get("short_factor")
    good = isinstance(short, list) and 2 * len(short) == width <= base.head_width
    if not good or not all(map(_is_positive, short or ())):
        reader.problems.append(f"short_factor should be {width // 2} positive numbers")
        return rotary_config("default", theta, 2, {}, "halves"), original
    frequencies = longrope_frequencies(theta, width, short or ())
    return RotaryConfig("halves", tuple(map(float, frequencies)), scale), original


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


def read_base(reader: ConfigReader, family: str, **defaults: Any) -> DecoderConfig:
    """What Llama and its relatives have in common; positions, biases and style are the caller's.

    Args:
        reader: of the config.
        family: its name.
        defaults: of attributes, where they are not those of Llama. ``num_key_value_heads`` is that
            of the query heads if left out, ``head_dim`` the share of a head in the width;
            ``activation`` and ``epsilon`` name the attributes that hold these.
    """
    known = _LLAMA | defaults
    width = reader.integer("hidden_size", known["hidden_size"], largest=MOST_FEATURES)
    heads = reader.integer("num_attention_heads", known["num_attention_heads"])
    states = reader.integer("num_key_value_heads", known.get("num_key_value_heads", heads))
    share = known.get("head_dim", max(width // heads, 1))
    head_width = reader.integer("head_dim", share, largest=MOST_FEATURES)
    reader.check(
        heads % states == 0,
        f"num_attention_heads = {heads} should be a multiple of num_key_value_heads = {states}",
    )
    reader.check(
        reader.raw.get("head_dim") is not None or "head_dim" in known or width % heads == 0,
        f"hidden_size = {width} should be a multiple of num_attention_heads = {heads}",
    )
    activation, epsilon = known["activation"], known["epsilon"]
    return DecoderConfig(
        family=family,
        vocabulary=reader.integer("vocab_size", known["vocab_size"]),
        layers=reader.integer("num_hidden_layers", known["num_hidden_layers"], largest=MOST_LAYERS),
        width=width,
        heads=heads,
        key_value_heads=states,
        head_width=head_width,
        mlp_width=reader.integer("intermediate_size", known["intermediate_size"]),
        context=reader.integer("max_position_embeddings", known["max_position_embeddings"]),
        activation=reader.choice(activation, ACTIVATION_NAMES, known.get(activation, "silu")),
        norm="rms",
        norm_epsilon=reader.number(epsilon, known.get(epsilon, 1e-6)),
        gated=True,
        residual="pre",
        biased=frozenset(),
        tied=reader.flag("tie_word_embeddings", known.get("tie_word_embeddings", False)),
        kinds=(LayerKind(),),
    )


_LLAMA = {
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "num_hidden_layers": 32,
    "intermediate_size": 11008,
    "max_position_embeddings": 2048,
    "activation": "hidden_act",
    "epsilon": "rms_norm_eps",
}


def biased_attention(reader: ConfigReader) -> frozenset[str]:
    """``attention_bias``: of all four projections."""
    return frozenset(ATTENTION if reader.flag("attention_bias", False) else ())


def equal_heads(reader: ConfigReader, width: int, heads: int, names: tuple[str, str]) -> int:
    """The width of a head where the heads share the width of the stream."""
    reader.check(
        width % heads == 0, f"{names[0]} = {width} should be a multiple of {names[1]} = {heads}"
    )
    return max(width // heads, 1)


def read_sliding(reader: ConfigReader, layers: int, default: Sequence[bool]) -> tuple[bool, ...]:
    """Which layers see a window only: ``layer_types``, or the rule before transformers had it."""
    types = reader.texts("layer_types", ("sliding_attention", "full_attention"))
    if types is None:
        return tuple(default)
    reader.check(len(types) == layers, f"layer_types has {len(types)} entries for {layers} layers")
    return tuple(name == "sliding_attention" for name in types)


def kinds_of(layers: Sequence[LayerKind]) -> tuple[tuple[LayerKind, ...], tuple[int, ...]]:
    """``kinds`` and ``pattern`` of a config, from the kind of every layer."""
    kinds = tuple(dict.fromkeys(layers))
    if len(kinds) == 1:
        return kinds, (0,)
    return kinds, tuple(map(kinds.index, layers))


# --- names of tensors ---------------------------------------------------------------------------


def affine(
    ours: str, theirs: str, *, by_heads: bool = False, transposed: bool = False
) -> dict[str, Stored]:
    """A matrix and its bias, or a norm's weight and bias."""
    return {
        f"{ours}.weight": Stored(f"{theirs}.weight", by_heads, transposed),
        f"{ours}.bias": Stored(f"{theirs}.bias", by_heads),
    }


def in_blocks(prefix: str, table: Mapping[str, Stored]) -> dict[str, Stored]:
    """The entries of a block; ``prefix`` has the ``{layer}``."""
    return {
        f"blocks.{{layer}}.{path}": Stored(prefix + entry.name, entry.by_heads, entry.transposed)
        for path, entry in table.items()
    }


LLAMA_MATRICES: dict[str, Stored] = {
    **affine("attn.q_proj", "self_attn.q_proj"),
    **affine("attn.k_proj", "self_attn.k_proj"),
    **affine("attn.v_proj", "self_attn.v_proj"),
    **affine("attn.out_proj", "self_attn.o_proj"),
    **affine("mlp.fc_in", "mlp.gate_proj"),
    **affine("mlp.fc_up", "mlp.up_proj"),
    **affine("mlp.fc_out", "mlp.down_proj"),
}
PRE_NORMS: dict[str, Stored] = {
    **affine("norm_attn", "input_layernorm"),
    **affine("norm_mlp", "post_attention_layernorm"),
}
QK_NORMS: dict[str, Stored] = {
    **affine("attn.q_norm", "self_attn.q_norm"),
    **affine("attn.k_norm", "self_attn.k_norm"),
}


def llama_layout(*tables: Mapping[str, Stored]) -> dict[str, Stored]:
    """The layout of models whose tensors are named as Llama's; ``tables`` of a block."""
    block = {path: entry for table in tables for path, entry in table.items()}
    return {
        "embedding.tokens": Stored("model.embed_tokens.weight"),
        **in_blocks("model.layers.{layer}.", block),
        **affine("head.norm", "model.norm"),
        "head.unembedding": Stored("lm_head.weight"),
        "head.bias": Stored("lm_head.bias"),
    }


LLAMA_BUFFERS = (r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",)
