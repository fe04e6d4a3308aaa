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


def config(header: Header) -> Config:
    """What config.json would say.

    Raises:
        UserError: an architecture that no family here reads, or metadata that is missing or
            means something that config.json cannot say.
    """
    build = ARCHITECTURES.get(header.architecture)
    if build is None:
        known = ", ".join(sorted(ARCHITECTURES))
        architecture = header.architecture
        raise UserError(
            f"{header.path}: architecture {architecture!r} is not supported; supported: {known}"
        )
    if header.value("expert_count"):
        raise UserError(f"{header.path}: a mixture of experts is not supported; use a dense model")
    _check_keys(header)
    try:
        settings = build(header)
    except KeyError as error:
        raise UserError(f"{header.path}: {error.args[0]} is missing from its metadata") from None
    settings["vocab_size"] = _vocabulary(header)
    settings["tie_word_embeddings"] = "output.weight" not in header.tensors
    ids = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    for architecture, theirs in ids.items():
        if (number := header.metadata.get(f"tokenizer.ggml.{theirs}_token_id")) is not None:
            settings[architecture] = number
    return settings


_KNOWN = re.compile(
    r"block_count|context_length|embedding_length|feed_forward_length|vocab_size|expert_count"
    r"|attention\.(head_count|head_count_kv|key_length|value_length|layer_norm_epsilon"
    r"|layer_norm_rms_epsilon|sliding_window|sliding_window_pattern|causal)"
    r"|rope\.(freq_base|freq_base_swa|dimension_count|dimension_count_swa|scale_linear)"
    r"|rope\.scaling\.(type|factor|original_context_length|finetuned|attn_factor)"
    r"|(attn|final)_logit_softcapping|use_parallel_residual|tensor_data_layout"
)


def _check_keys(header: Header) -> None:
    """Refuse metadata of the architecture that nothing here reads and that is not off."""
    own = header.architecture + "."
    unknown = [
        f"{key} = {value!r:.60}"
        for key, value in header.metadata.items()
        if key.startswith(own)
        and value not in (0, "", [], None)
        and not _KNOWN.fullmatch(key.removeprefix(own))
    ]
    if unknown:
        raise UserError(f"{header.path}: unknown metadata {', '.join(unknown)}; it may matter")
    head, value = header.value("attention.key_length"), header.value("attention.value_length")
    if head != value and None not in (head, value):
        raise UserError(f"{header.path}: keys of {head} and values of {value} features a head")
    if not header.value("attention.causal", True):
        raise UserError(f"{header.path}: its attention is not causal; a decoder's is")


def _need(header: Header, key: str) -> Any:
    value = header.value(key)
    if value is None:
        raise KeyError(f"{header.architecture}.{key}")
    return value


def _vocabulary(header: Header) -> int:
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise UserError(f"{header.path}: token_embd.weight is missing")
    return embedding.shape[0]


def _modern(model_type: str, norm: str = "rms_norm_eps", **more: Any) -> Callable[[Header], Config]:
    """Architectures with Llama's names."""

    def build(header: Header) -> Config:
        heads = _need(header, "attention.head_count")
        width = _need(header, "embedding_length")
        key = "layer_norm_rms_epsilon" if norm == "rms_norm_eps" else "layer_norm_epsilon"
        settings: Config = {
            "model_type": model_type,
            "hidden_size": width,
            "intermediate_size": _need(header, "feed_forward_length"),
            "num_hidden_layers": _need(header, "block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": header.value("attention.head_count_kv", heads),
            "max_position_embeddings": _need(header, "context_length"),
            norm: _need(header, f"attention.{key}"),
            "rope_theta": header.value("rope.freq_base", 10_000.0),
        }
        head = header.value("attention.key_length")
        if head is not None and (model_type in _OWN_HEADS or head * heads != width):
            settings["head_dim"] = head
        rotary = header.value("rope.dimension_count")
        whole = head or width // heads
        if rotary is not None and rotary != whole:
            settings["partial_rotary_factor"] = rotary / whole
        if scaling := _scaling(header):
            settings["rope_scaling"] = scaling
        return settings | more

    return build


_OWN_HEADS = ("gemma", "gemma2", "gemma3_text", "qwen3")


def _scaling(header: Header) -> Config | None:
    """``rope_scaling``; of Llama 3, whose file has only the factors, the parameters that give them.

    Raises:
        UserError: a rule that is not known, or factors that no known parameters give.
    """
    original = header.value("rope.scaling.original_context_length")
    if "rope_factors_long.weight" in header.tensors:
        return {
            "rope_type": "longrope",
            "long_factor": _vector(header, "rope_factors_long.weight").tolist(),
            "short_factor": _vector(header, "rope_factors_short.weight").tolist(),
            "original_max_position_embeddings": original,
        }
    if "rope_freqs.weight" in header.tensors:
        return _llama3(header)
    kind = header.value("rope.scaling.type", "none")
    factor = header.value("rope.scaling.factor", header.value("rope.scale_linear"))
    if kind in ("none", "") and factor in (None, 0, 1, 1.0):
        return None
    if kind in ("linear", "none", ""):
        return {"rope_type": "linear", "factor": float(factor)} if factor else None
    if kind == "yarn":
        settings: Config = {"rope_type": "yarn", "factor": float(factor)}
        if original is not None:
            settings["original_max_position_embeddings"] = original
        return settings
    raise UserError(f"{header.path}: rotary scaling {kind!r} is not supported; linear and yarn are")


def _vector(header: Header, name: str) -> np.ndarray:
    placed = header.tensors.get(name)
    if placed is None or placed.kind != 0 or len(placed.shape) != 1:
        raise UserError(f"{header.path}: {name} should be a vector of float32")
    return np.fromfile(header.path, np.float32, placed.shape[0], offset=placed.start)


def _llama3(header: Header) -> Config:
    factors = _vector(header, "rope_freqs.weight")
    base, width = header.value("rope.freq_base", 10_000.0), 2 * len(factors)
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
    raise UserError(f"{header.path}: rope_freqs.weight is of no rule that is known (Llama 3's)")


def _gemma(model_type: str) -> Callable[[Header], Config]:
    base = _modern(model_type, hidden_activation="gelu_pytorch_tanh")

    def build(header: Header) -> Config:
        settings = base(header)
        head = _need(header, "attention.key_length")
        if model_type == "gemma":
            settings["hidden_act"] = settings.pop("hidden_activation")
            return settings
        # llama.cpp, too, tells the largest models by their size: theirs is the width of a head.
        width, heads = settings["hidden_size"], settings["num_attention_heads"]
        layers = settings["num_hidden_layers"]
        largest = (model_type, layers) in (("gemma2", 46), ("gemma3_text", 62))
        settings["query_pre_attn_scalar"] = width // heads if largest else head
        settings["sliding_window"] = _need(header, "attention.sliding_window")
        if model_type == "gemma2":
            settings["attn_logit_softcapping"] = header.value("attn_logit_softcapping", 50.0)
            settings["final_logit_softcapping"] = header.value("final_logit_softcapping", 30.0)
        else:
            settings["rope_local_base_freq"] = header.value("rope.freq_base_swa", 10_000.0)
            pattern = header.value("attention.sliding_window_pattern", 6)
            if isinstance(pattern, int):
                settings["sliding_window_pattern"] = pattern
            else:
                kinds = ("full_attention", "sliding_attention")
                settings["layer_types"] = [kinds[bool(windowed)] for windowed in pattern]
            settings["rope_theta"] = header.value("rope.freq_base", 1_000_000.0)
            if (cap := header.value("final_logit_softcapping")) is not None:
                settings["final_logit_softcapping"] = cap
        return settings

    return build


def _gpt2(header: Header) -> Config:
    return {
        "model_type": "gpt2",
        "n_embd": _need(header, "embedding_length"),
        "n_inner": _need(header, "feed_forward_length"),
        "n_layer": _need(header, "block_count"),
        "n_head": _need(header, "attention.head_count"),
        "n_positions": _need(header, "context_length"),
        "layer_norm_epsilon": _need(header, "attention.layer_norm_epsilon"),
    }


def _gpt_neox(header: Header) -> Config:
    width, heads = _need(header, "embedding_length"), _need(header, "attention.head_count")
    return {
        "model_type": "gpt_neox",
        "hidden_size": width,
        "intermediate_size": _need(header, "feed_forward_length"),
        "num_hidden_layers": _need(header, "block_count"),
        "num_attention_heads": heads,
        "max_position_embeddings": _need(header, "context_length"),
        "layer_norm_eps": _need(header, "attention.layer_norm_epsilon"),
        "rotary_pct": _need(header, "rope.dimension_count") / (width // heads),
        "rotary_emb_base": header.value("rope.freq_base", 10_000.0),
        "use_parallel_residual": header.value("use_parallel_residual", True),
    }


def _llama(header: Header) -> Config:
    settings = _modern("llama")(header)
    settings["attention_bias"] = "blk.0.attn_q.bias" in header.tensors
    if window := header.value("attention.sliding_window"):
        settings |= {"model_type": "mistral", "sliding_window": window}
        settings.pop("attention_bias")
    return settings


def _windowed(model_type: str, **more: Any) -> Callable[[Header], Config]:
    build = _modern(model_type, **more)

    def with_window(header: Header) -> Config:
        settings = build(header)
        window = header.value("attention.sliding_window")
        return settings | ({"sliding_window": window} if window else {})

    return with_window


def _phi2(header: Header) -> Config:
    return _modern("phi", "layer_norm_eps")(header)


def _stablelm(header: Header) -> Config:
    settings = _modern("stablelm", "layer_norm_eps")(header)
    settings["use_qkv_bias"] = "blk.0.attn_q.bias" in header.tensors
    settings["use_parallel_residual"] = header.value("use_parallel_residual", False)
    settings.setdefault("partial_rotary_factor", 1.0)
    return settings


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
