"""Mistral (Jiang et al., 2023): Llama with a window."""

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
    """Mistral's config.json; the defaults are those of transformers' ``MistralConfig``."""
    base = read_base(
        reader,
        "mistral",
        intermediate_size=14336,
        num_key_value_heads=8,
        max_position_embeddings=131072,
    )
    rotary = read_rotary(reader, base.head_width, base.context)
    window = reader.optional_integer("sliding_window", 4096)
    return dataclasses.replace(base, kinds=(LayerKind(rotary, window),))


MISTRAL = Family(
    name="mistral",
    architecture="MistralForCausalLM",
    read=read,
    layout=llama_layout(PRE_NORMS, LLAMA_MATRICES),
    description="Llama with a window (Mistral 7B and kin)",
    example="mistralai/Mistral-7B-v0.1",
    buffers=LLAMA_BUFFERS,
)
