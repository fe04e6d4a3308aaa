"""Phi 3 and 4 (Abdin et al., 2024): Llama with q, k, v in one tensor, and the MLP's two inputs."""

import dataclasses

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import (
    LLAMA_BUFFERS,
    PRE_NORMS,
    affine,
    llama_layout,
    read_base,
    read_longrope,
    read_rotary,
)
from jaxsvd.models.hf_config import ConfigReader, Family


def read(reader: ConfigReader) -> DecoderConfig:
    """Phi 3's config.json; the defaults are those of transformers' ``Phi3Config``.

    Where positions are LongRoPE's, the context is the one that the model was trained with first:
    beyond it every rotation changes with the length of the sequence.
    """
    base = read_base(
        reader,
        "phi3",
        hidden_size=3072,
        intermediate_size=8192,
        vocab_size=32064,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
    )
    window = reader.optional_integer("sliding_window")
    partial = ("partial_rotary_factor", 1.0)
    table = reader.table("rope_scaling") or reader.table("rope_parameters")
    context = base.context
    if {"short_factor", "long_factor"} & table.keys():
        rotary, context = read_longrope(reader, table, base, partial)
    else:
        reader.integer("original_max_position_embeddings", context)
        rotary = read_rotary(reader, base.head_width, context, partial=partial)
    return dataclasses.replace(base, context=context, kinds=(LayerKind(rotary, window),))


PHI3 = Family(
    name="phi3",
    architecture="Phi3ForCausalLM",
    read=read,
    layout=llama_layout(
        PRE_NORMS,
        {
            **affine("attn.q_proj", "self_attn.qkv_proj"),
            **affine("attn.k_proj", "self_attn.qkv_proj"),
            **affine("attn.v_proj", "self_attn.qkv_proj"),
            **affine("attn.out_proj", "self_attn.o_proj"),
            **affine("mlp.fc_in", "mlp.gate_up_proj"),
            **affine("mlp.fc_up", "mlp.gate_up_proj"),
            **affine("mlp.fc_out", "mlp.down_proj"),
        },
    ),
    description="fused attention and gate (Phi 3, 3.5 and 4)",
    example="microsoft/Phi-3-mini-4k-instruct",
    buffers=LLAMA_BUFFERS,
)
