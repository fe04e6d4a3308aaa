"""Llama (Touvron et al., 2023): RMS norm, gated MLP, grouped-query attention, half-split rotary."""

import dataclasses

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import (
    LLAMA_BUFFERS,
    LLAMA_MATRICES,
    PRE_NORMS,
    llama_layout,
    read_base,
    read_rotary,
)
from jaxsvd.models.hf_config import ConfigReader, Family


def read(reader: ConfigReader) -> DecoderConfig:
    """Llama's config.json; the defaults are those of transformers' ``LlamaConfig``."""
    base = read_base(reader, "llama")
    biased: set[str] = set()
    if reader.flag("attention_bias", False):
        biased |= {"q_proj", "k_proj", "v_proj", "out_proj"}
    if reader.flag("mlp_bias", False):
        biased |= {"fc_in", "fc_up", "fc_out"}
    rotary = read_rotary(reader, base.head_width, base.context)
    return dataclasses.replace(base, kinds=(LayerKind(rotary),), biased=frozenset(biased))


LLAMA = Family(
    name="llama",
    read=read,
    layout=llama_layout(PRE_NORMS, LLAMA_MATRICES),
    description="RMS norm, gated MLP, grouped-query attention (Llama 1 to 3 and kin)",
    example="meta-llama/Llama-2-7b-chat-hf",
    buffers=LLAMA_BUFFERS,
)
