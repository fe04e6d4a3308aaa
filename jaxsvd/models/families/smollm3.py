"""SmolLM 3 (2025): Llama in which every fourth layer does not rotate queries and keys."""

import dataclasses

from jaxsvd.models.config import DecoderConfig, LayerKind
from jaxsvd.models.families.llama import read_biases
from jaxsvd.models.families.shared import (
    LLAMA_BUFFERS,
    LLAMA_MATRICES,
    PRE_NORMS,
    kinds_of,
    llama_layout,
    read_base,
    read_rotary,
    read_sliding,
)
from jaxsvd.models.hf_config import ConfigReader, Family


def read(reader: ConfigReader) -> DecoderConfig:
    """SmolLM 3's config.json; the defaults are those of transformers' ``SmolLM3Config``."""
    base = read_base(
        reader,
        "smollm3",
        hidden_size=2048,
        num_hidden_layers=36,
        num_attention_heads=16,
        num_key_value_heads=4,
        vocab_size=128256,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    )
    rotary = read_rotary(reader, base.head_width, base.context, base=2e6)
    every = reader.integer("no_rope_layer_interval", 4)
    rotates = reader.integers("no_rope_layers", (0, 1))  # 1 where a layer does rotate
    if rotates is None:
        rotates = [int((layer + 1) % every != 0) for layer in range(base.layers)]
    if len(rotates) != base.layers:
        reader.problems.append(
            f"no_rope_layers has {len(rotates)} entries for {base.layers} layers"
        )
        rotates = [1] * base.layers
    window = reader.optional_integer("sliding_window")
    windowed = reader.flag("use_sliding_window", False) and window is not None
    sliding = read_sliding(reader, base.layers, [windowed and not r for r in rotates])
    kinds, pattern = kinds_of(
        [
            LayerKind(rotary if r else None, window if s and windowed else None)
            for r, s in zip(rotates, sliding, strict=True)
        ]
    )
    return dataclasses.replace(base, biased=read_biases(reader), kinds=kinds, pattern=pattern)


SMOLLM3 = Family(
    name="smollm3",
    architecture="SmolLM3ForCausalLM",
    read=read,
    layout=llama_layout(PRE_NORMS, LLAMA_MATRICES),
    description="Llama with layers without positions (SmolLM 3)",
    example="HuggingFaceTB/SmolLM3-3B",
    buffers=LLAMA_BUFFERS,
)
