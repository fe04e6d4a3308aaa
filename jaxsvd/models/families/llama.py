"""Llama (Touvron et al., 2023): RMS norm, gated MLP, grouped-query attention, half-split rotary."""

import numpy as np

from jaxsvd.models.config import DecoderConfig, RotaryConfig
from jaxsvd.models.families.gptj import ACTIVATION_NAMES
from jaxsvd.models.hf_config import (
    MOST_FEATURES,
    MOST_LAYERS,
    ConfigReader,
    Family,
    rope_numbers,
)
from jaxsvd.models.rotary import rotary_config

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


def read_rotary(reader: ConfigReader, head_width: int, context: int) -> RotaryConfig:
    """``rope_parameters`` of transformers 5, or ``rope_theta`` and ``rope_scaling`` before it."""
    base = reader.number("rope_theta", 10_000.0)
    old, new = reader.table("rope_scaling"), reader.table("rope_parameters")
    table = old or new
    theta, kind = table.pop("rope_theta", None), table.pop("rope_type", None)
    old_kind = table.pop("type", None)
    if theta is not None:
        base = ConfigReader({"rope_theta": theta}).number("rope_theta", base)
        reader.check(base == theta, f"rope_theta = {theta!r} should be a positive number")
    kind = old_kind if kind is None else kind
    kind = "default" if kind is None else kind
    reader.fixed("partial_rotary_factor", 1.0)
    reader.check(
        table.pop("partial_rotary_factor", 1.0) in (None, 1.0),
        "partial_rotary_factor is not 1.0, the only value supported",
    )
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
    if head_width % 2:
        reader.problems.append(f"head_dim = {head_width} should be even")
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
        rotary = rotary_config(kind, base, head_width, numbers, "halves")
    finite = np.isfinite([*rotary.inverse_frequencies, rotary.scale]).all()
    reader.check(bool(finite), "the rotary parameters give frequencies beyond float32")
    return rotary


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


def read(reader: ConfigReader) -> DecoderConfig:
    """Llama's config.json; the defaults are those of transformers' ``LlamaConfig``."""
    width = reader.integer("hidden_size", 4096, largest=MOST_FEATURES)
    heads = reader.integer("num_attention_heads", 32)
    states = reader.integer("num_key_value_heads", heads)
    head_width = reader.integer("head_dim", max(width // heads, 1), largest=MOST_FEATURES)
    context = reader.integer("max_position_embeddings", 2048)
    reader.check(
        heads % states == 0,
        f"num_attention_heads = {heads} should be a multiple of num_key_value_heads = {states}",
    )
    reader.check(
        reader.raw.get("head_dim") is not None or width % heads == 0,
        f"hidden_size = {width} should be a multiple of num_attention_heads = {heads}",
    )
    biased: set[str] = set()
    if reader.flag("attention_bias", False):
        biased |= {"q_proj", "k_proj", "v_proj", "out_proj"}
    if reader.flag("mlp_bias", False):
        biased |= {"fc_in", "fc_up", "fc_out"}
    return DecoderConfig(
        family="llama",
        vocabulary=reader.integer("vocab_size", 32000),
        layers=reader.integer("num_hidden_layers", 32, largest=MOST_LAYERS),
        width=width,
        heads=heads,
        key_value_heads=states,
        head_width=head_width,
        mlp_width=reader.integer("intermediate_size", 11008),
        context=context,
        rotary=read_rotary(reader, head_width, context),
        activation=reader.choice("hidden_act", ACTIVATION_NAMES, "silu"),
        norm="rms",
        norm_epsilon=reader.number("rms_norm_eps", 1e-6),
        gated=True,
        parallel=False,
        biased=frozenset(biased),
        tied=reader.flag("tie_word_embeddings", False),
    )


_BLOCK = {
    "norm_attn.weight": "input_layernorm.weight",
    "norm_mlp.weight": "post_attention_layernorm.weight",
} | {
    f"{ours}.{kind}": f"{theirs}.{kind}"
    for kind in ("weight", "bias")
    for ours, theirs in {
        "attn.q_proj": "self_attn.q_proj",
        "attn.k_proj": "self_attn.k_proj",
        "attn.v_proj": "self_attn.v_proj",
        "attn.out_proj": "self_attn.o_proj",
        "mlp.fc_in": "mlp.gate_proj",
        "mlp.fc_up": "mlp.up_proj",
        "mlp.fc_out": "mlp.down_proj",
    }.items()
}

LLAMA = Family(
    name="llama",
    read=read,
    names={
        "embedding": "model.embed_tokens.weight",
        **{f"blocks.{{layer}}.{o}": f"model.layers.{{layer}}.{t}" for o, t in _BLOCK.items()},
        "head.norm.weight": "model.norm.weight",
        "head.unembedding": "lm_head.weight",
    },
    buffers=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
    description="RMS norm, gated MLP, grouped-query attention (Llama 1 to 3 and kin)",
    example="meta-llama/Llama-2-7b-chat-hf",
    safetensors_revision={},
)
