"""Qwen 2 and 2.5 (Yang et al., 2024), with biases of q, k and v; Qwen 3 (2025), with qk-norm."""

import dataclasses

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.shared import (
    LLAMA_BUFFERS,
    LLAMA_MATRICES,
    PRE_NORMS,
    QK_NORMS,
    biased_attention,
    kinds_of,
    llama_layout,
    read_base,
    read_rotary,
    read_sliding,
)
from jaxsvd.models.hf_config import ConfigReader, Family

_DEFAULTS = {
    "intermediate_size": 22016,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
}


def _with_windows(reader: ConfigReader, base: DecoderConfig) -> DecoderConfig:
    """Layers from ``max_window_layers`` up see a window, where windows are used at all."""
    rotary = read_rotary(reader, base.head_width, base.context)
    used = reader.flag("use_sliding_window", False)
    window = reader.optional_integer("sliding_window", 4096)
    first = reader.integer("max_window_layers", 28, least=0)
    windowed = used and window is not None
    default = [windowed and layer >= first for layer in range(base.layers)]
    sliding = read_sliding(reader, base.layers, default)
    reader.check(
        windowed or not any(sliding),
        "layer_types has sliding_attention, but use_sliding_window is off",
    )
    kinds, pattern = kinds_of([LayerKind(rotary, window if s else None) for s in sliding])
    return dataclasses.replace(base, kinds=kinds, pattern=pattern)


def read_qwen2(reader: ConfigReader) -> DecoderConfig:
    """Qwen 2's config.json; the defaults are those of transformers' ``Qwen2Config``."""
    base = read_base(reader, "qwen2", **_DEFAULTS)
    return dataclasses.replace(
        _with_windows(reader, base), biased=frozenset({"q_proj", "k_proj", "v_proj"})
    )


def read_qwen3(reader: ConfigReader) -> DecoderConfig:
    """Qwen 3's config.json; the defaults are those of transformers' ``Qwen3Config``."""
    base = read_base(reader, "qwen3", num_key_value_heads=32, head_dim=128, **_DEFAULTS)
    return dataclasses.replace(
        _with_windows(reader, base), biased=biased_attention(reader), qk_norm="head"
    )


QWEN2 = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    read=read_qwen2,
    layout=llama_layout(PRE_NORMS, LLAMA_MATRICES),
    description="Llama with biases of q, k, v (Qwen 2 and 2.5)",
    example="Qwen/Qwen2.5-1.5B",
    buffers=LLAMA_BUFFERS,
)
QWEN3 = Family(
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    read=read_qwen3,
    layout=llama_layout(PRE_NORMS, QK_NORMS, LLAMA_MATRICES),
    description="Llama with qk-norm (Qwen 3)",
    example="Qwen/Qwen3-1.7B",
    buffers=LLAMA_BUFFERS,
)
