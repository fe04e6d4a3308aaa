"""StableLM (Bellagente et al., 2024): layer norm, gated MLP, partial rotary."""

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
    """StableLM's config.json; the defaults are those of transformers' ``StableLmConfig``."""
    base = read_base(
        reader,
        "stablelm",
        hidden_size=2560,
        intermediate_size=6912,
        num_key_value_heads=32,
        max_position_embeddings=4096,
        vocab_size=50304,
        epsilon="layer_norm_eps",
        layer_norm_eps=1e-5,
    )
    reader.unused("hidden_dropout")
    reader.fixed("qk_layernorm", False)
    rotary = read_rotary(
        reader, base.head_width, base.context, partial=("partial_rotary_factor", 0.25)
    )
    biased = {"q_proj", "k_proj", "v_proj"} if reader.flag("use_qkv_bias", False) else ()
    return dataclasses.replace(
        base,
        norm="layer",
        residual="parallel" if reader.flag("use_parallel_residual", False) else "pre",
        biased=frozenset(biased),
        kinds=(LayerKind(rotary),),
    )


STABLELM = Family(
    name="stablelm",
    architecture="StableLmForCausalLM",
    read=read,
    layout=llama_layout(PRE_NORMS, LLAMA_MATRICES),
    description="layer norm, gated MLP, partial rotary (StableLM)",
    example="stabilityai/stablelm-2-1_6b",
    buffers=LLAMA_BUFFERS,
)
