"""Phi 1, 1.5 and 2 (Li et al., 2023): parallel with one norm, partial rotary, biases everywhere."""

import dataclasses

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import (
    LLAMA_BUFFERS,
    affine,
    in_blocks,
    read_base,
    read_rotary,
)
from jaxsvd.models.hf_config import ConfigReader, Family
from jaxsvd.models.matrices import ATTENTION


def read(reader: ConfigReader) -> DecoderConfig:
    """Phi's config.json; the defaults are those of transformers' ``PhiConfig``."""
    base = read_base(
        reader,
        "phi",
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=24,
        vocab_size=51200,
        hidden_act="gelu_new",
        epsilon="layer_norm_eps",
        layer_norm_eps=1e-5,
    )
    reader.fixed("qk_layernorm", False)
    rotary = read_rotary(
        reader, base.head_width, base.context, partial=("partial_rotary_factor", 0.5)
    )
    return dataclasses.replace(
        base,
        norm="layer",
        gated=False,
        residual="parallel",
        biased=frozenset({*ATTENTION, "fc_in", "fc_out", "unembedding"}),
        kinds=(LayerKind(rotary),),
    )


PHI = Family(
    name="phi",
    architecture="PhiForCausalLM",
    read=read,
    layout={
        "embedding.tokens": "model.embed_tokens.weight",
        **in_blocks(
            "model.layers.{layer}.",
            {
                **affine("norm_attn", "input_layernorm"),
                **affine("attn.q_proj", "self_attn.q_proj"),
                **affine("attn.k_proj", "self_attn.k_proj"),
                **affine("attn.v_proj", "self_attn.v_proj"),
                **affine("attn.out_proj", "self_attn.dense"),
                **affine("mlp.fc_in", "mlp.fc1"),
                **affine("mlp.fc_out", "mlp.fc2"),
            },
        ),
        **affine("head.norm", "model.final_layernorm"),
        "head.unembedding": "lm_head.weight",
        "head.bias": "lm_head.bias",
    },
    buffers=LLAMA_BUFFERS,
    description="parallel attention and MLP, partial rotary (Phi 1, 1.5 and 2)",
    example="microsoft/phi-2",
)
