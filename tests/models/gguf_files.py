"""GGUF files as llama.cpp's converter writes them, from a Hugging Face config and weights.

Written after convert_hf_to_gguf.py and apart from the reader under test: what the one does to a
tensor the other must undo.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi": "phi2",
    "phi3": "phi3",
    "gpt2": "gpt2",
    "gpt_neox": "gptneox",
    "olmo2": "olmo2",
    "smollm3": "smollm3",
    "stablelm": "stablelm",
}
"""llama.cpp's name of each ``model_type``."""


def permuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """As the converter's ``permute``: the two halves of a head's rows dealt in turn."""
    rows = weights.shape[0]
    return (
        weights.reshape(heads, 2, rows // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def changed(model_type: str, name: str, value: np.ndarray, heads: int, states: int) -> np.ndarray:
    """A tensor as the converter writes it."""
    if model_type in ("llama", "mistral", "smollm3"):
        if ".q_proj." in name:
            return permuted(value, heads)
        if ".k_proj." in name:
            return permuted(value, states)
    if model_type.startswith("gemma") and name.endswith("norm.weight"):
        return value + 1
    if model_type == "gpt2" and value.ndim == 2 and ".h." in name:
        return value.T
    if model_type == "gpt_neox" and "query_key_value" in name:
        parts = value.reshape(heads, 3, value.shape[0] // heads // 3, *value.shape[1:])
        return np.concatenate([parts[:, i].reshape(-1, *value.shape[1:]) for i in range(3)])
    return value


def write(
    path: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    *,
    quantize: Mapping[str, gguf.GGMLQuantizationType] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """A file.

    Args:
        path: of it.
        config: config.json.
        tensors: by Hugging Face name.
        quantize: types of some tensors; float32 if left out.
        metadata: more keys, and their values: numbers, texts, lists.
    """
    model_type = config["model_type"]
    name = ARCHITECTURES[model_type]
    writer = gguf.GGUFWriter(path, name)
    old = model_type == "gpt2"

    def of(theirs: str, gpt2: str = "", default: Any = None) -> Any:
        return config.get(gpt2 if old else theirs, default)

    width, heads = of("hidden_size", "n_embd"), of("num_attention_heads", "n_head")
    states = of("num_key_value_heads") or heads
    layers = of("num_hidden_layers", "n_layer")
    head = config.get("head_dim") or width // heads
    writer.add_block_count(layers)
    writer.add_context_length(of("max_position_embeddings", "n_positions"))
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(of("intermediate_size", "n_inner") or 4 * width)
    writer.add_head_count(heads)
    if states != heads:
        writer.add_head_count_kv(states)
    if (epsilon := config.get("rms_norm_eps")) is not None:
        writer.add_layer_norm_rms_eps(epsilon)
    else:
        writer.add_layer_norm_eps(config.get("layer_norm_epsilon", 1e-5))
    if "head_dim" in config:
        writer.add_key_length(head)
        writer.add_value_length(head)
    if not old:
        partial = config.get("partial_rotary_factor") or config.get("rotary_pct")
        defaults = {"phi": 0.5, "gpt_neox": 0.25, "stablelm": 0.25}
        writer.add_rope_dimension_count(int(head * (partial or defaults.get(model_type, 1))))
        writer.add_rope_freq_base(config.get("rope_theta", 10_000.0))
    if "use_parallel_residual" in config or model_type == "gpt_neox":
        writer.add_parallel_residual(config.get("use_parallel_residual", model_type == "gpt_neox"))
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    if "sliding_window_pattern" in config:
        writer.add_uint32(f"{name}.attention.sliding_window_pattern", 2)
    if "rope_local_base_freq" in config:
        writer.add_float32(f"{name}.rope.freq_base_swa", config["rope_local_base_freq"])
    for cap, add in (
        ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
        ("final_logit_softcapping", writer.add_final_logit_softcapping),
    ):
        if config.get(cap):
            add(config[cap])
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    for key, value in (metadata or {}).items():
        _add(writer, key, value)
    architecture = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == name)
    table = gguf.get_tensor_name_map(architecture, layers)
    for theirs, value in tensors.items():
        stem, _, suffix = theirs.rpartition(".")
        ours = table.get_name(stem)
        assert ours is not None, theirs
        value = np.ascontiguousarray(changed(model_type, theirs, value, heads, states))
        kind = (quantize or {}).get(theirs)
        if kind is None:
            writer.add_tensor(f"{ours}.{suffix}", value)
        else:
            data = gguf.quantize(value, kind)
            writer.add_tensor(f"{ours}.{suffix}", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case Sequence():
            writer.add_array(key, value)
