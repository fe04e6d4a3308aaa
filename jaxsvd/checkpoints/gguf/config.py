"""config.json of a GGUF file: its metadata under the names that Hugging Face files have.

The result is read by the family's own reader, which checks it as it checks any config.json.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxsvd.checkpoints.gguf.header import Header
from jaxsvd.runtime.errors import UserError

Config = dict[str, Any]


def config(found: Header) -> Config:
    """What config.json would say.

    Raises:
        UserError: an architecture that no family here reads, or metadata that is missing or
            means something that config.json cannot say.
    """
    build = ARCHITECTURES.get(found.architecture)
    if build is None:
        known = ", ".join(sorted(ARCHITECTURES))
        name = found.architecture
        raise UserError(f"{found.path}: architecture {name!r} is not supported; supported: {known}")
    if found.value("expert_count"):
        raise UserError(f"{found.path}: a mixture of experts is not supported; use a dense model")
    _check_keys(found)
    try:
        made = build(found)
    except KeyError as error:
        raise UserError(f"{found.path}: {error.args[0]} is missing from its metadata") from None
    made["vocab_size"] = _vocabulary(found)
    made["tie_word_embeddings"] = "output.weight" not in found.tensors
    ids = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    for name, theirs in ids.items():
        if (number := found.metadata.get(f"tokenizer.ggml.{theirs}_token_id")) is not None:
            made[name] = number
    return made


_KNOWN = re.compile(
    r"block_count|context_length|embedding_length|feed_forward_length|vocab_size|expert_count"
    r"|attention\.(head_count|head_count_kv|key_length|value_length|layer_norm_epsilon"
    r"|layer_norm_rms_epsilon|sliding_window|sliding_window_pattern|causal)"
    r"|rope\.(freq_base|freq_base_swa|dimension_count|dimension_count_swa|scale_linear)"
    r"|rope\.scaling\.(type|factor|original_context_length|finetuned|attn_factor)"
    r"|(attn|final)_logit_softcapping|use_parallel_residual|tensor_data_layout"
)


def _check_keys(found: Header) -> None:
    """Refuse metadata of the architecture that nothing here reads and that is not off."""
    own = found.architecture + "."
    unknown = [
        f"{key} = {value!r:.60}"
        for key, value in found.metadata.items()
        if key.startswith(own)
        and value not in (0, "", [], None)
        and not _KNOWN.fullmatch(key.removeprefix(own))
    ]
    if unknown:
        raise UserError(f"{found.path}: unknown metadata {', '.join(unknown)}; it may matter")
    head, value = found.value("attention.key_length"), found.value("attention.value_length")
    if head != value and None not in (head, value):
        raise UserError(f"{found.path}: keys of {head} and values of {value} features a head")
    if not found.value("attention.causal", True):
        raise UserError(f"{found.path}: its attention is not causal; a decoder's is")


def _need(found: Header, key: str) -> Any:
    value = found.value(key)
    if value is None:
        raise KeyError(f"{found.architecture}.{key}")
    return value


def _vocabulary(found: Header) -> int:
    embedding = found.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise UserError(f"{found.path}: token_embd.weight is missing")
    return embedding.shape[0]


def _modern(model_type: str, norm: str = "rms_norm_eps", **more: Any) -> Callable[[Header], Config]:
    """Architectures with Llama's names."""

    def build(found: Header) -> Config:
        heads = _need(found, "attention.head_count")
        width = _need(found, "embedding_length")
        key = "layer_norm_rms_epsilon" if norm == "rms_norm_eps" else "layer_norm_epsilon"
        made: Config = {
            "model_type": model_type,
            "hidden_size": width,
            "intermediate_size": _need(found, "feed_forward_length"),
            "num_hidden_layers": _need(found, "block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": found.value("attention.head_count_kv", heads),
            "max_position_embeddings": _need(found, "context_length"),
            norm: _need(found, f"attention.{key}"),
            "rope_theta": found.value("rope.freq_base", 10_000.0),
        }
        head = found.value("attention.key_length")
        if head is not None and (model_type in _OWN_HEADS or head * heads != width):
            made["head_dim"] = head
        rotary = found.value("rope.dimension_count")
        whole = head or width // heads
        if rotary is not None and rotary != whole:
            made["partial_rotary_factor"] = rotary / whole
        if scaling := _scaling(found):
            made["rope_scaling"] = scaling
        return made | more

    return build


_OWN_HEADS = ("gemma", "gemma2", "gemma3_text", "qwen3")


def _scaling(found: Header) -> Config | None:
    """``rope_scaling``; of Llama 3, whose file has only the factors, the parameters that give them.

    Raises:
        UserError: a rule that is not known, or factors that no known parameters give.
    """
    original = found.value("rope.scaling.original_context_length")
    if "rope_factors_long.weight" in found.tensors:
        return {
            "rope_type": "longrope",
            "long_factor": _vector(found, "rope_factors_long.weight").tolist(),
            "short_factor": _vector(found, "rope_factors_short.weight").tolist(),
            "original_max_position_embeddings": original,
        }
    if "rope_freqs.weight" in found.tensors:
        return _llama3(found)
    kind = found.value("rope.scaling.type", "none")
    factor = found.value("rope.scaling.factor", found.value("rope.scale_linear"))
    if kind in ("none", "") and factor in (None, 0, 1, 1.0):
        return None
    if kind in ("linear", "none", ""):
        return {"rope_type": "linear", "factor": float(factor)} if factor else None
    if kind == "yarn":
        made: Config = {"rope_type": "yarn", "factor": float(factor)}
        if original is not None:
            made["original_max_position_embeddings"] = original
        return made
    raise UserError(f"{found.path}: rotary scaling {kind!r} is not supported; linear and yarn are")


def _vector(found: Header, name: str) -> np.ndarray:
    placed = found.tensors.get(name)
    if placed is None or placed.kind != 0 or len(placed.shape) != 1:
        raise UserError(f"{found.path}: {name} should be a vector of float32")
    return np.fromfile(found.path, np.float32, placed.shape[0], offset=placed.start)


def _llama3(found: Header) -> Config:
    factors = _vector(found, "rope_freqs.weight")
    base, width = found.value("rope.freq_base", 10_000.0), 2 * len(factors)
    length = 2 * np.pi * base ** (np.arange(0, width, 2) / width)
    for factor in (8.0, 32.0, 16.0, 4.0, 2.0):
        low, high = 8192 / 1.0, 8192 / 4.0
        smooth = (8192 / length - 1.0) / (4.0 - 1.0)
        middle = 1 / ((1 - smooth) / factor + smooth)
        expected = np.where(length < high, 1.0, np.where(length > low, factor, middle))
        if np.allclose(factors, expected, rtol=1e-4):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }
    raise UserError(f"{found.path}: rope_freqs.weight is of no rule that is known (Llama 3's)")


def _gemma(model_type: str) -> Callable[[Header], Config]:
    base = _modern(model_type, hidden_activation="gelu_pytorch_tanh")

    def build(found: Header) -> Config:
        made = base(found)
        head = _need(found, "attention.key_length")
        if model_type == "gemma":
            made["hidden_act"] = made.pop("hidden_activation")
            return made
        # llama.cpp, too, tells the largest models by their size: theirs is the width of a head.
        width, heads = made["hidden_size"], made["num_attention_heads"]
        layers = made["num_hidden_layers"]
        largest = (model_type, layers) in (("gemma2", 46), ("gemma3_text", 62))
        made["query_pre_attn_scalar"] = width // heads if largest else head
        made["sliding_window"] = _need(found, "attention.sliding_window")
        if model_type == "gemma2":
            made["attn_logit_softcapping"] = found.value("attn_logit_softcapping", 50.0)
            made["final_logit_softcapping"] = found.value("final_logit_softcapping", 30.0)
        else:
            made["rope_local_base_freq"] = found.value("rope.freq_base_swa", 10_000.0)
            pattern = found.value("attention.sliding_window_pattern", 6)
            if isinstance(pattern, int):
                made["sliding_window_pattern"] = pattern
            else:
                kinds = ("full_attention", "sliding_attention")
                made["layer_types"] = [kinds[bool(windowed)] for windowed in pattern]
            made["rope_theta"] = found.value("rope.freq_base", 1_000_000.0)
            if (cap := found.value("final_logit_softcapping")) is not None:
                made["final_logit_softcapping"] = cap
        return made

    return build


def _gpt2(found: Header) -> Config:
    return {
        "model_type": "gpt2",
        "n_embd": _need(found, "embedding_length"),
        "n_inner": _need(found, "feed_forward_length"),
        "n_layer": _need(found, "block_count"),
        "n_head": _need(found, "attention.head_count"),
        "n_positions": _need(found, "context_length"),
        "layer_norm_epsilon": _need(found, "attention.layer_norm_epsilon"),
    }


def _gpt_neox(found: Header) -> Config:
    width, heads = _need(found, "embedding_length"), _need(found, "attention.head_count")
    return {
        "model_type": "gpt_neox",
        "hidden_size": width,
        "intermediate_size": _need(found, "feed_forward_length"),
        "num_hidden_layers": _need(found, "block_count"),
        "num_attention_heads": heads,
        "max_position_embeddings": _need(found, "context_length"),
        "layer_norm_eps": _need(found, "attention.layer_norm_epsilon"),
        "rotary_pct": _need(found, "rope.dimension_count") / (width // heads),
        "rotary_emb_base": found.value("rope.freq_base", 10_000.0),
        "use_parallel_residual": found.value("use_parallel_residual", True),
    }


def _llama(found: Header) -> Config:
    made = _modern("llama")(found)
    made["attention_bias"] = "blk.0.attn_q.bias" in found.tensors
    if window := found.value("attention.sliding_window"):
        made |= {"model_type": "mistral", "sliding_window": window}
        made.pop("attention_bias")
    return made


def _windowed(model_type: str, **more: Any) -> Callable[[Header], Config]:
    build = _modern(model_type, **more)

    def with_window(found: Header) -> Config:
        made = build(found)
        window = found.value("attention.sliding_window")
        return made | ({"sliding_window": window} if window else {})

    return with_window


def _phi2(found: Header) -> Config:
    return _modern("phi", "layer_norm_eps")(found)


def _stablelm(found: Header) -> Config:
    made = _modern("stablelm", "layer_norm_eps")(found)
    made["use_qkv_bias"] = "blk.0.attn_q.bias" in found.tensors
    made["use_parallel_residual"] = found.value("use_parallel_residual", False)
    made.setdefault("partial_rotary_factor", 1.0)
    return made


ARCHITECTURES: Mapping[str, Callable[[Header], Config]] = {
    "llama": _llama,
    "qwen2": _modern("qwen2"),
    "qwen3": _modern("qwen3"),
    "gemma": _gemma("gemma"),
    "gemma2": _gemma("gemma2"),
    "gemma3": _gemma("gemma3_text"),
    "phi2": _phi2,
    "phi3": _windowed("phi3"),
    "gpt2": _gpt2,
    "gptneox": _gpt_neox,
    "olmo2": _modern("olmo2"),
    "smollm3": _modern("smollm3"),
    "stablelm": _stablelm,
}
"""By llama.cpp's name."""
