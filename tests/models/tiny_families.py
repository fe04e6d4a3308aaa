"""Tiny models of every family: the one list that tests are parametrised by.

A new family is added here once; then the tests of the decoder, of loading and saving, of the
engine and of parity cover it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

Json = dict[str, Any]


@dataclass(frozen=True)
class TinyFamily:
    """A family's tiny config.json, and changes of it that are worth a test.

    Attributes:
        config: 2 layers (or as many as show all kinds), D = 32, a context of 12, V = 61.
        architecture: of the class in transformers, as config.json names it.
        grid: changes for parity, by a name.
        context: attribute with the most tokens.
        layers: attribute with the number of layers.
        inner: attribute with the width of the MLP.
        buffers: tensors of old checkpoints that no model reads; ``{}`` for the layer.
        usual: whether the default tests take it; the others are relatives of one that they take,
            and wait for ``make long``.
    """

    config: Json
    architecture: str
    grid: Mapping[str, Json] = field(default_factory=dict)
    context: str = "max_position_embeddings"
    layers: str = "num_hidden_layers"
    inner: str = "intermediate_size"
    buffers: Sequence[str] = ()
    usual: bool = False

    def json(self, **changes: Any) -> Json:
        """The config.json, changed."""
        return self.config | {"architectures": [self.architecture]} | changes

    def sized(self, **changes: Any) -> Json:
        """For the engine: 3 layers, a context of 256, V = 97, F = 48."""
        sizes = {"vocab_size": 97, self.context: 256, self.layers: 3, self.inner: 48}
        return self.json(**(sizes | changes))


_COMMON = {"vocab_size": 61, "bos_token_id": 0, "eos_token_id": 0}
_LLAMA = _COMMON | {
    "max_position_embeddings": 12,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_OLD_ROTARY = ("model.layers.{}.self_attn.rotary_emb.inv_freq",)
_ODD = {"vocab_size": 53, "num_attention_heads": 2, "num_key_value_heads": 1}
_TIED = {"tie_word_embeddings": True}
_UNTIED = {"tie_word_embeddings": False}
_WINDOWS = ["sliding_attention", "full_attention", "sliding_attention"]
_GEMMA = _LLAMA | {"head_dim": 12, "pad_token_id": 0} | _TIED
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.3, 1.7],
    "long_factor": [1.0, 2.0, 3.0, 4.0],
    "original_max_position_embeddings": 12,
}

TINY: dict[str, TinyFamily] = {
    "gptj": TinyFamily(
        _COMMON
        | {
            "model_type": "gptj",
            "n_positions": 12,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "rotary_dim": 4,
            "n_inner": 40,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": False,
        },
        "GPTJForCausalLM",
        context="n_positions",
        layers="n_layer",
        inner="n_inner",
        buffers=("transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"),
        usual=True,
    ),
    "llama": TinyFamily(
        _LLAMA
        | {
            "model_type": "llama",
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
        },
        "LlamaForCausalLM",
        buffers=_OLD_ROTARY,
        usual=True,
    ),
    "gpt2": TinyFamily(
        _COMMON
        | {
            "model_type": "gpt2",
            "n_positions": 12,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_inner": 40,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": True,
        },
        "GPT2LMHeadModel",
        grid={
            "untied": _UNTIED,
            "one head, odd": {"n_head": 1, "n_embd": 15, "vocab_size": 53},
            "default inner width": {"n_inner": None, "activation_function": "gelu"},
            "upcast": {"reorder_and_upcast_attn": True, "layer_norm_epsilon": 0.1},
        },
        context="n_positions",
        layers="n_layer",
        inner="n_inner",
        buffers=("transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"),
        usual=True,
    ),
    "gpt_neox": TinyFamily(
        {
            key: value
            for key, value in _LLAMA.items()
            if key not in ("num_key_value_heads", "rms_norm_eps")
        }
        | {"model_type": "gpt_neox", "hidden_act": "gelu", "rotary_pct": 0.5},
        "GPTNeoXForCausalLM",
        grid={
            "tied": _TIED,
            "sequential": {"use_parallel_residual": False, "num_attention_heads": 2},
            "no biases, odd": {"attention_bias": False, "vocab_size": 53, "rotary_pct": 0.25},
            "base": {"rotary_emb_base": 500, "rotary_pct": 1.0},
            "parameters": {
                "rotary_pct": None,
                "rope_parameters": {
                    "rope_type": "linear",
                    "factor": 2.0,
                    "rope_theta": 300.0,
                    "partial_rotary_factor": 0.75,
                },
            },
        },
        buffers=(
            "gpt_neox.layers.{}.attention.bias",
            "gpt_neox.layers.{}.attention.masked_bias",
            "gpt_neox.layers.{}.attention.rotary_emb.inv_freq",
        ),
        usual=True,
    ),
    "opt": TinyFamily(
        _COMMON
        | {
            "model_type": "opt",
            "max_position_embeddings": 12,
            "hidden_size": 32,
            "ffn_dim": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "do_layer_norm_before": False,
            "word_embed_proj_dim": 20,
            "pad_token_id": 1,
            "tie_word_embeddings": True,
        },
        "OPTForCausalLM",
        inner="ffn_dim",
        grid={
            "pre-norm": {"do_layer_norm_before": True, "word_embed_proj_dim": 32},
            "pre-norm, no final norm": {
                "do_layer_norm_before": True,
                "_remove_final_layer_norm": True,
            },
            "untied, no biases": {"enable_bias": False, "vocab_size": 53} | _UNTIED,
            "wide": {"word_embed_proj_dim": 40, "activation_function": "gelu"},
        },
        usual=True,
    ),
    "phi": TinyFamily(
        {key: value for key, value in _LLAMA.items() if key != "rms_norm_eps"}
        | {"model_type": "phi"},
        "PhiForCausalLM",
        grid={
            "odd": _ODD,
            "quarter": {"partial_rotary_factor": 0.25, "num_key_value_heads": None},
        },
        buffers=_OLD_ROTARY,
    ),
    "phi3": TinyFamily(
        _LLAMA | {"model_type": "phi3", "sliding_window": 5, "pad_token_id": 0},
        "Phi3ForCausalLM",
        grid={
            "no window, odd": {"sliding_window": None} | _ODD,
            "tied, partial": {"partial_rotary_factor": 0.5} | _TIED,
            "longrope": {
                "max_position_embeddings": 48,
                "original_max_position_embeddings": 12,
                "rope_parameters": _LONGROPE,
            },
        },
        buffers=_OLD_ROTARY,
    ),
    "mistral": TinyFamily(
        _LLAMA | {"model_type": "mistral", "sliding_window": 5},
        "MistralForCausalLM",
        grid={
            "no window": {"sliding_window": None},
            "window of one": {"sliding_window": 1},
            "odd": {"head_dim": 6, "sliding_window": 11} | _ODD,
        },
        buffers=_OLD_ROTARY,
    ),
    "qwen2": TinyFamily(
        _LLAMA | {"model_type": "qwen2"},
        "Qwen2ForCausalLM",
        grid={
            "tied, odd": _TIED | _ODD,
            "windows above": {
                "use_sliding_window": True,
                "sliding_window": 4,
                "max_window_layers": 1,
            },
        },
        buffers=_OLD_ROTARY,
    ),
    "qwen3": TinyFamily(
        _LLAMA | {"model_type": "qwen3", "head_dim": 12},
        "Qwen3ForCausalLM",
        grid={
            "tied, odd": _TIED | _ODD,
            "biased, windows": {
                "attention_bias": True,
                "use_sliding_window": True,
                "sliding_window": 3,
                "layer_types": _WINDOWS[:2],
            },
        },
        buffers=_OLD_ROTARY,
    ),
    "gemma": TinyFamily(
        _GEMMA | {"model_type": "gemma", "hidden_act": "gelu_pytorch_tanh"},
        "GemmaForCausalLM",
        grid={
            "untied": _UNTIED,
            "odd": _ODD,
            "what older files call gelu": {"hidden_act": "gelu", "attention_bias": True},
        },
        buffers=_OLD_ROTARY,
    ),
    "gemma2": TinyFamily(
        _GEMMA
        | {
            "model_type": "gemma2",
            "sliding_window": 4,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 4.0,
        },
        "Gemma2ForCausalLM",
        grid={
            "no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
            "usual caps, odd": {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
            | _ODD,
            "untied": _UNTIED,
        },
        buffers=_OLD_ROTARY,
    ),
    "gemma3_text": TinyFamily(
        _GEMMA
        | {
            "model_type": "gemma3_text",
            "num_hidden_layers": 3,
            "sliding_window": 4,
            "sliding_window_pattern": 2,
            "query_pre_attn_scalar": 20,
            "rope_theta": 3e3,
            "rope_local_base_freq": 50.0,
        },
        "Gemma3ForCausalLM",
        grid={
            "untied, biased": _UNTIED | {"attention_bias": True},
            "odd, capped": {"final_logit_softcapping": 4.0} | _ODD,
            "scaled": {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
            "parameters": {
                "rope_theta": None,
                "rope_local_base_freq": None,
                "sliding_window_pattern": None,
                "layer_types": _WINDOWS,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e2},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
                },
            },
        },
        buffers=_OLD_ROTARY,
        usual=True,
    ),
    "smollm3": TinyFamily(
        _LLAMA | {"model_type": "smollm3", "no_rope_layer_interval": 2, "pad_token_id": 0},
        "SmolLM3ForCausalLM",
        grid={
            "tied, odd": _TIED | _ODD,
            "windows": {
                "no_rope_layers": [0, 1],
                "use_sliding_window": True,
                "sliding_window": 4,
                "attention_bias": True,
                "mlp_bias": True,
            },
        },
        buffers=_OLD_ROTARY,
    ),
    "olmo2": TinyFamily(
        _LLAMA | {"model_type": "olmo2"},
        "Olmo2ForCausalLM",
        grid={"tied, odd": _TIED | _ODD, "biased": {"attention_bias": True}},
        buffers=_OLD_ROTARY,
    ),
    "stablelm": TinyFamily(
        {key: value for key, value in _LLAMA.items() if key != "rms_norm_eps"}
        | {"model_type": "stablelm"},
        "StableLmForCausalLM",
        grid={
            "tied, odd": _TIED | _ODD,
            "parallel, biased": {
                "use_parallel_residual": True,
                "use_qkv_bias": True,
                "partial_rotary_factor": 0.5,
            },
        },
        buffers=_OLD_ROTARY,
    ),
}

NAMES = tuple(TINY)


def every_family(*, usual: bool = False, brief: Sequence[str] | None = None) -> list[Any]:
    """Parameters for pytest: all families, or only those that the default tests take.

    Args:
        usual: leave out the relatives of those, which else come along, marked long.
        brief: the names of those that the default tests take, where they are fewer.
    """
    chosen = []
    for name, family in TINY.items():
        if family.usual or not usual:
            taken = family.usual if brief is None else name in brief
            marks = () if taken else (pytest.mark.long,)
            chosen.append(pytest.param(name, marks=marks, id=name))
    return chosen
