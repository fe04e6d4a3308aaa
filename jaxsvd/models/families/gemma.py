"""Gemma 1 (Gemma Team, 2024), and what Gemma 2 and 3 have in common with it."""

import dataclasses
from typing import Any

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import (
    LLAMA_BUFFERS,
    LLAMA_MATRICES,
    PRE_NORMS,
    affine,
    biased_attention,
    llama_layout,
    read_base,
    read_rotary,
)
from jaxsvd.models.hf_config import ConfigReader, Family

SANDWICH_NORMS = {
    **affine("norm_attn", "input_layernorm"),
    **affine("norm_attn_out", "post_attention_layernorm"),
    **affine("norm_mlp", "pre_feedforward_layernorm"),
    **affine("norm_mlp_out", "post_feedforward_layernorm"),
}


def read_gemma(reader: ConfigReader, family: str, **defaults: Any) -> DecoderConfig:
    """Norms that multiply by 1 + weight, and embeddings scaled by the root of their width."""
    known: dict[str, Any] = {
        "head_dim": 256,
        "tie_word_embeddings": True,
        "activation": "hidden_activation",
        "hidden_activation": "gelu_pytorch_tanh",
    }
    base = read_base(reader, family, **(known | defaults))
    return dataclasses.replace(base, norm_offset=True, embedding_scale=base.width**0.5)


def read(reader: ConfigReader) -> DecoderConfig:
    """Gemma's config.json; the defaults are those of transformers' ``GemmaConfig``."""
    base = read_gemma(
        reader,
        "gemma",
        hidden_size=3072,
        intermediate_size=24576,
        num_hidden_layers=28,
        num_attention_heads=16,
        max_position_embeddings=8192,
        vocab_size=256000,
        activation="hidden_act",
        hidden_act="gelu_pytorch_tanh",
    )
    if base.activation == "gelu":  # the files say so and mean the approximation
        base = dataclasses.replace(base, activation="gelu_new")
    reader.unset("hidden_activation")
    reader.fixed("use_bidirectional_attention", False)
    rotary = read_rotary(reader, base.head_width, base.context)
    return dataclasses.replace(base, kinds=(LayerKind(rotary),), biased=biased_attention(reader))


GEMMA = Family(
    name="gemma",
    architecture="GemmaForCausalLM",
    read=read,
    layout=llama_layout(PRE_NORMS, LLAMA_MATRICES),
    description="norms of 1 + weight, scaled embeddings (Gemma 1)",
    example="google/gemma-2b",
    buffers=LLAMA_BUFFERS,
)
