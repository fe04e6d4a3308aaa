"""Gemma 3, text (Gemma Team, 2025): four norms a layer, qk-norm, windows.

Five windowed layers, with a rotary base of their own, stand between two that see everything.
"""

import dataclasses
from collections.abc import Iterator

from jaxsvd.models.config import DecoderConfig, LayerKind, RotaryConfig
from jaxsvd.models.families.gemma import SANDWICH_NORMS, read_gemma
from jaxsvd.models.families.shared import (
    LLAMA_BUFFERS,
    LLAMA_MATRICES,
    QK_NORMS,
    biased_attention,
    kinds_of,
    llama_layout,
    read_sliding,
    rotary_of,
)
from jaxsvd.models.hf_config import ConfigReader, Family


def read(reader: ConfigReader) -> DecoderConfig:
    """Gemma 3's config.json; the defaults are those of transformers' ``Gemma3TextConfig``."""
    base = read_gemma(
        reader,
        "gemma3_text",
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=131072,
        vocab_size=262208,
    )
    reader.unset("attn_logit_softcapping")  # transformers does not apply it
    reader.fixed("use_bidirectional_attention", False)
    window = reader.integer("sliding_window", 4096)
    every = reader.integer("_sliding_window_pattern", reader.integer("sliding_window_pattern", 6))
    sliding = read_sliding(reader, base.layers, [(i + 1) % every > 0 for i in range(base.layers)])
    full, local = _rotaries(reader, base)
    kinds, pattern = kinds_of([LayerKind(local, window) if s else LayerKind(full) for s in sliding])
    return dataclasses.replace(
        base,
        residual="sandwich",
        qk_norm="head",
        query_scale=reader.number("query_pre_attn_scalar", 256.0) ** -0.5,
        logit_cap=reader.optional("final_logit_softcapping"),
        biased=biased_attention(reader),
        kinds=kinds,
        pattern=pattern,
    )


def _rotaries(reader: ConfigReader, base: DecoderConfig) -> Iterator[RotaryConfig]:
    """Of full and of windowed layers; older files scale the full ones only."""
    new, old = reader.table("rope_parameters"), reader.table("rope_scaling")
    theta, local = reader.number("rope_theta", 1e6), reader.number("rope_local_base_freq", 1e4)
    known = {"full_attention": theta, "sliding_attention": local}
    reader.check(new.keys() <= known.keys(), f"rope_parameters should have {' and '.join(known)}")
    tables = {name: new.get(name) or {} for name in known}
    tables["full_attention"] = tables["full_attention"] | old
    for name, table in tables.items():
        if not isinstance(table, dict):
            reader.problems.append(f"rope_parameters.{name} = {table!r} should be an object")
            tables[name] = {}
    return (
        rotary_of(reader, dict(tables[name]), base.head_width, base.context, base=known[name])
        for name in known
    )


GEMMA3 = Family(
    name="gemma3_text",
    architecture="Gemma3ForCausalLM",
    read=read,
    layout=llama_layout(SANDWICH_NORMS, QK_NORMS, LLAMA_MATRICES),
    description="four norms a layer, qk-norm, windows, two rotary bases (Gemma 3 text)",
    example="google/gemma-3-1b-it",
    buffers=LLAMA_BUFFERS,
)
