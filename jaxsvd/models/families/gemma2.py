"""Gemma 2 (Gemma Team, 2024): four norms a layer, soft caps, every other layer windowed."""

import dataclasses

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.gemma import SANDWICH_NORMS, read_gemma
from jaxsvd.models.families.shared import (
    ACTIVATION_NAMES,
    LLAMA_BUFFERS,
    LLAMA_MATRICES,
    biased_attention,
    kinds_of,
    llama_layout,
    read_rotary,
    read_sliding,
)
from jaxsvd.models.hf_config import ConfigReader, Family


def read(reader: ConfigReader) -> DecoderConfig:
    """Gemma 2's config.json; the defaults are those of transformers' ``Gemma2Config``."""
    base = read_gemma(
        reader,
        "gemma2",
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=8192,
        vocab_size=256000,
    )
    reader.fixed("use_bidirectional_attention", False)
    reader.choice("hidden_act", ACTIVATION_NAMES, "gelu_new")  # older files; not read
    rotary = read_rotary(reader, base.head_width, base.context)
    window = reader.integer("sliding_window", 4096)
    sliding = read_sliding(reader, base.layers, [i % 2 == 0 for i in range(base.layers)])
    kinds, pattern = kinds_of([LayerKind(rotary, window if s else None) for s in sliding])
    return dataclasses.replace(
        base,
        residual="sandwich",
        query_scale=reader.number("query_pre_attn_scalar", 256.0) ** -0.5,
        attention_cap=reader.optional("attn_logit_softcapping", 50.0),
        logit_cap=reader.optional("final_logit_softcapping", 30.0),
        biased=biased_attention(reader),
        kinds=kinds,
        pattern=pattern,
    )


GEMMA2 = Family(
    name="gemma2",
    architecture="Gemma2ForCausalLM",
    read=read,
    layout=llama_layout(SANDWICH_NORMS, LLAMA_MATRICES),
    description="four norms a layer, soft caps, alternating windows (Gemma 2)",
    example="google/gemma-2-2b",
    buffers=LLAMA_BUFFERS,
)
