"""OLMo 2 (OLMo Team, 2025): norms of what attention and MLP give, and of whole queries and keys."""

import dataclasses

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import (
    LLAMA_BUFFERS,
    LLAMA_MATRICES,
    QK_NORMS,
    affine,
    biased_attention,
    llama_layout,
    read_base,
    read_rotary,
)
from jaxsvd.models.hf_config import ConfigReader, Family


def read(reader: ConfigReader) -> DecoderConfig:
    """OLMo 2's config.json; the defaults are those of transformers' ``Olmo2Config``."""
    base = read_base(reader, "olmo2", vocab_size=50304, rms_norm_eps=1e-5)
    rotary = read_rotary(reader, base.head_width, base.context)
    return dataclasses.replace(
        base,
        residual="output",
        qk_norm="projection",
        biased=biased_attention(reader),
        kinds=(LayerKind(rotary),),
    )


OLMO2 = Family(
    name="olmo2",
    architecture="Olmo2ForCausalLM",
    read=read,
    layout=llama_layout(
        {
            **affine("norm_attn_out", "post_attention_layernorm"),
            **affine("norm_mlp_out", "post_feedforward_layernorm"),
        },
        QK_NORMS,
        LLAMA_MATRICES,
    ),
    description="norms after attention and MLP, qk-norm (OLMo 2)",
    example="allenai/OLMo-2-0425-1B",
    buffers=LLAMA_BUFFERS,
)
