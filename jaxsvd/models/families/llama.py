"""Llama (Touvron et al., 2023): RMS norm, gated MLP, grouped-query attention, half-split rotary."""

import dataclasses

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import (
    LLAMA_BUFFERS,
    LLAMA_MATRICES,
    PRE_NORMS,
    biased_attention,
    llama_layout,
    read_base,
    read_rotary,
)
from jaxsvd.models.hf_config import ConfigReader, Family
from jaxsvd.models.matrices import MLP


def read(reader: ConfigReader) -> DecoderConfig:
    """Llama's config.json; the defaults are those of transformers' ``LlamaConfig``."""
    base = read_base(reader, "llama")
    rotary = read_rotary(reader, base.head_width, base.context)
    return dataclasses.replace(base, kinds=(LayerKind(rotary),), biased=read_biases(reader))


def read_biases(reader: ConfigReader) -> frozenset[str]:
    """``attention_bias`` and ``mlp_bias``, of all matrices of a half."""
    return biased_attention(reader) | set(MLP if reader.flag("mlp_bias", False) else ())


LLAMA = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    read=read,
    layout=llama_layout(PRE_NORMS, LLAMA_MATRICES),
    description="RMS norm, gated MLP, grouped-query attention (Llama 1 to 3 and kin)",
    example="meta-llama/Llama-2-7b-chat-hf",
    buffers=LLAMA_BUFFERS,
)
