"""Every attribute of a config.json is understood or refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsvd.checkpoints.load import parameter_shapes
from jaxsvd.models import notices, read_config
from jaxsvd.models.hf_config import HARMLESS

from .random_models import (
    JSON_OF,
    gptj_json,
    llama_json,
)
from .refusals import (
    config_refusal,
    families,
    refusal,
    tiny_checkpoint,
    unless_refused,
)
from .tiny_families import Json

# --- config.json --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"null", b'"x"', b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5000],
    ids=["empty", "cut", "list", "number", "null", "string", "bytes", "deep", "huge"],
)
def test_a_config_that_is_no_json_object(tmp_path: Path, content: bytes) -> None:
    tiny_checkpoint(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    assert "config.json: " in refusal(tmp_path)


def test_a_config_that_is_a_directory(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    assert "config.json" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["gpt3", "", None, 3, ["gptj"], {"gptj": 1}])
def test_an_unknown_family(name: Any) -> None:
    line = config_refusal({"model_type": name})
    assert f"model_type = {name!r} is not supported; supported: gptj, llama, gpt2" in line


@families
def test_all_problems_of_a_config_in_one_line(family: str) -> None:
    config = JSON_OF[family](
        vocab_size="many",
        tie_word_embeddings="yes",
        use_parallel_residual=True,
        sliding_window=7,
        quantization_config={"bits": 4},
    )
    line = config_refusal(config)
    for part in (
        "vocab_size = 'many' should be an integer",
        "tie_word_embeddings = 'yes' should be true or false",
        "unknown attribute use_parallel_residual = True",
        "unknown attribute sliding_window = 7",
        "unknown attribute quantization_config",
    ):
        assert part in line


@families
@pytest.mark.parametrize("value", [True, 1, "x", [1], {"a": 1}, 0.5])
def test_an_unknown_attribute_that_is_set(family: str, value: Any) -> None:
    line = config_refusal(JSON_OF[family](new_feature=value))
    assert f"unknown attribute new_feature = {value!r}" in line
    assert "remove it from config.json" in line


@families
@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", [], {}])
def test_an_unknown_attribute_that_is_off(family: str, value: Any) -> None:
    config = JSON_OF[family](new_feature=value)
    assert read_config(config, "") == read_config(JSON_OF[family](), "")
    reported = [line for line in notices(config) if f"new_feature = {value!r} is ignored" in line]
    assert len(reported) == (value is not None)


@families
@pytest.mark.parametrize(
    "name",
    [
        "_new_bookkeeping",
        "quantizer_version",
        "image_token_id",
        "embedding_dropout",
        "init_std",
        "unsloth_seed",
        "training_steps",
        "router_aux_loss_coef",
        "max_seq_length",
    ],
)
def test_an_unknown_attribute_whose_name_tells_that_it_is_metadata(family: str, name: str) -> None:
    config = JSON_OF[family](**{name: 7})
    assert read_config(config, "") == read_config(JSON_OF[family](), "")
    assert notices(config) == (
        f"config.json: unknown attribute {name} = 7 is ignored: it is off, or tells of training, "
        "generation or the file",
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"is_llama_config": True, "rope_interleaved": False},
        {"max_sequence_length": 2048, "pad_token_id": -1},
        {"internal_version": "7b-x"},
        {"_attn_implementation_autoset": True},
        {"_commit_hash": "0" * 40},
        {"unsloth_fixed": True, "unsloth_version": "2024.11"},
        {"diversity_penalty": 0.0, "pruned_heads": {}, "chunk_size_feed_forward": 0},
        {"badwordsids": [[1]], "newlinemode": "s"},
        {"neftune_noise_alpha": 5, "_flash_attn_2_enabled": True},
    ],
    ids=lambda attributes: next(iter(attributes)),
)
def test_attributes_of_real_files_that_enter_no_forward_pass(attributes: Any) -> None:
    """Of SmolLM2, Vicuna, ALLaM, transformers 4.46 to 4.51, unsloth, KoboldAI and NEFTune."""
    assert read_config(JSON_OF["llama"](**attributes), "") == read_config(JSON_OF["llama"](), "")


def test_yarn_as_it_was_written_in_2023() -> None:
    scaling = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 6}
    old, new = (
        read_config(JSON_OF["llama"](rope_scaling=scaling | more), "")[0]
        for more in ({"finetuned": True}, {})
    )
    assert old == new


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rope_interleaved", True),
        ("sliding_window", 64),
        ("quantization_config", {"bits": 4}),
        ("use_parallel_residual", False),  # true where config.json does not say
        ("scale_attn_weights", False),
        ("_remove_final_layer_norm", True),
        ("output_multiplier", 2.0),
        ("num_experts", 8),
    ],
)
def test_attributes_of_other_models_that_matter(name: str, value: Any) -> None:
    assert f"{name} = {value!r}" in config_refusal(JSON_OF["llama"](**{name: value}))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "mixtral", "num_local_experts": 8}, "use a dense model"),
        ({"model_type": "qwen3_moe", "num_experts": 128}, "use a dense model"),
        ({"model_type": "deepseek_v3", "n_routed_experts": 256}, "use a dense model"),
        (JSON_OF["llama"](num_experts_per_tok=2), "use a dense model"),
        ({"model_type": "gemma3", "vision_config": {"a": 1}}, "use its language model alone"),
        ({"model_type": "llava", "vision_config": {"a": 1}}, "use its language model alone"),
        ({"model_type": "qwen2_audio", "audio_config": {"a": 1}}, "use its language model alone"),
        (JSON_OF["llama"](mm_vision_tower="clip"), "use its language model alone"),
        (
            JSON_OF["llama"](quantization_config={"quant_method": "awq"}),
            "use the model's unquantised checkpoint, or a GGUF file of it",
        ),
        (
            {"model_type": "falcon", "quantization_config": {"quant_method": "gptq"}},
            "use the model's unquantised checkpoint, or a GGUF file of it",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value["model_type"],
)
def test_what_is_not_read_and_what_would_do(config: Any, said: str) -> None:
    """A mixture of experts, several senses, weights of a few bits."""
    assert said in config_refusal(config)


def test_nothing_is_said_of_what_transformers_writes_itself() -> None:
    assert notices(JSON_OF["llama"](is_llama_config=True, rope_interleaved=None, dtype="x")) == ()


@families
def test_remote_code_is_refused(tmp_path: Path, family: str) -> None:
    """A config.json that asks for its own Python classes."""
    tiny_checkpoint(tmp_path, family, auto_map={"AutoModelForCausalLM": "evil.Model"})
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "unknown attribute auto_map" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


@families
@pytest.mark.parametrize("name", sorted(HARMLESS - {"model_type"}))
def test_attributes_of_training_and_generation_change_nothing(family: str, name: str) -> None:
    changed = JSON_OF[family](**{name: 1})
    assert read_config(changed, "") == read_config(JSON_OF[family](), "")


REAL = {
    "EleutherAI/gpt-j-6b": {
        "activation_function": "gelu_new",
        "architectures": ["GPTJForCausalLM"],
        "attn_pdrop": 0.0,
        "bos_token_id": 50256,
        "embd_pdrop": 0.0,
        "eos_token_id": 50256,
        "gradient_checkpointing": False,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gptj",
        "n_embd": 4096,
        "n_head": 16,
        "n_inner": None,
        "n_layer": 28,
        "n_positions": 2048,
        "resid_pdrop": 0.0,
        "rotary": True,
        "rotary_dim": 64,
        "scale_attn_weights": True,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "tie_word_embeddings": False,
        "tokenizer_class": "GPT2Tokenizer",
        "transformers_version": "4.18.0.dev0",
        "use_cache": True,
        "vocab_size": 50400,
    },
    "meta-llama/Llama-2-7b-hf": {
        "_name_or_path": "meta-llama/Llama-2-7b-hf",
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 11008,
        "max_position_embeddings": 4096,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.32.0.dev0",
        "use_cache": True,
        "vocab_size": 32000,
    },
    "meta-llama/Llama-3.2-1B": {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128008],
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "initializer_range": 0.02,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0.dev0",
        "use_cache": True,
        "vocab_size": 128256,
    },
}
PARAMETERS = {
    "EleutherAI/gpt-j-6b": 6_050_882_784,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
}


@pytest.mark.parametrize("name", REAL)
def test_configs_of_published_models(name: str) -> None:
    """They are read, and give the published number of parameters."""
    config, _ = read_config(REAL[name], name)
    shapes = parameter_shapes(config).values()
    assert sum(int(np.prod(shape)) for shape in shapes) == PARAMETERS[name]


@pytest.mark.parametrize("rope_type", ["longrope", "proportional", "su", "mrope", 3, ["linear"]])
@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
def test_other_rotary_types_are_refused_by_name(key: str, rope_type: Any) -> None:
    line = config_refusal(llama_json(**{key: {"rope_type": rope_type, "factor": 2.0}}))
    assert (
        f"rope_type = {rope_type!r} should be one of default, linear, dynamic, llama3, yarn" in line
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"rope_type": "linear"}, "rotary parameter factor is missing"),
        ({"rope_type": "linear", "factor": 0}, "rotary parameter factor = 0 should be a positive"),
        ({"rope_type": "linear", "factor": "2"}, "rotary parameter factor = '2' should be"),
        ({"rope_type": "linear", "factor": 2.0, "new": 1}, "unknown rotary parameter new = 1"),
        ({"rope_type": "llama3", "factor": 8.0}, "low_freq_factor is missing; rotary parameter"),
        (
            {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4},
            "high_freq_factor should be greater than low_freq_factor",
        ),
        ({"rope_type": "yarn", "factor": 2.0, "truncate": "no"}, "rotary parameter truncate"),
        ({"rope_type": "default", "rope_theta": -1}, "rope_theta = -1 should be a positive number"),
        ({"rope_type": "default", "partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ],
)
def test_rotary_parameters_are_checked(table: Json, expected: str) -> None:
    assert expected in config_refusal(llama_json(rope_parameters=table))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (gptj_json(n_head=5), "n_embd = 32 should be a multiple of n_head = 5"),
        (gptj_json(rotary_dim=3), "rotary_dim = 3 should be even"),
        (gptj_json(rotary_dim=None), "rotary_dim = None is not supported"),
        (gptj_json(rotary_dim=10), "at most n_embd / n_head = 8"),
        (gptj_json(rotary=False), "rotary = False"),
        (gptj_json(scale_attn_weights=False), "scale_attn_weights = False"),
        (gptj_json(activation_function="tanh"), "activation_function = 'tanh' should be one of"),
        (gptj_json(layer_norm_epsilon=0), "layer_norm_epsilon = 0 should be a positive number"),
        (gptj_json(n_ctx=7), "n_ctx = 7"),
        (llama_json(num_key_value_heads=3), "should be a multiple of num_key_value_heads = 3"),
        (llama_json(num_attention_heads=6), "hidden_size = 32 should be a multiple of"),
        (llama_json(num_attention_heads=6, head_dim=None), "hidden_size = 32 should be a multiple"),
        (llama_json(head_dim=7), "head_dim = 7 should be even"),
        (llama_json(attention_bias=1), "attention_bias = 1 should be true or false"),
        (llama_json(num_hidden_layers=True), "num_hidden_layers = True should be an integer"),
        (llama_json(vocab_size=-1), "vocab_size = -1 should be an integer"),
    ],
)
def test_attributes_that_do_not_fit(config: Json, expected: str) -> None:
    assert expected in config_refusal(config)


JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([0, 1, -1, 2**31 - 1, 2**31, 2**63, 10**400]),
        st.floats(),
        st.sampled_from([1e-320, 5e-324, 1e308]),
        st.text(max_size=5),
    ),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)
ROPE_KEYS = [
    *("rope_type", "type", "rope_theta", "partial_rotary_factor", "factor"),
    *("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    *("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
]
READ = {
    "gpt2": [*JSON_OF["gpt2"](), "scale_attn_weights", "reorder_and_upcast_attn", "n_ctx"],
    "gptj": [*gptj_json(), "rotary", "scale_attn_weights", "n_ctx"],
    "llama": [
        *llama_json(),
        "head_dim",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "original_max_position_embeddings",
        "partial_rotary_factor",
    ],
}


def read_or_refuse(config: Json) -> None:
    """Nothing but a UserError of one line, and a config that can be used."""
    read = unless_refused(lambda: read_config(config, "config.json"))
    if read is None:
        return
    result, _ = read
    for rotary in result.rotaries:
        assert all(np.isfinite(f) and f >= 0 for f in rotary.inverse_frequencies)
        assert np.isfinite(rotary.scale)
        assert rotary.width <= result.head_width


@families
@given(data=st.data())
def test_any_attribute_may_be_junk(family: str, data: st.DataObject) -> None:
    names = st.lists(st.sampled_from(READ[family]), min_size=1, max_size=3, unique=True)
    config = JSON_OF[family]() | {name: data.draw(JUNK) for name in data.draw(names)}
    read_or_refuse(config)


@given(
    kind=st.sampled_from(["default", "linear", "dynamic", "llama3", "yarn"]),
    key=st.sampled_from(["rope_parameters", "rope_scaling"]),
    junk=st.dictionaries(st.sampled_from(ROPE_KEYS), JUNK | st.floats(1e-9, 1e9), max_size=3),
)
def test_any_rotary_parameter_may_be_junk(kind: str, key: str, junk: Json) -> None:
    good = {
        "linear": ["factor"],
        "dynamic": ["factor"],
        "llama3": ["factor", "low_freq_factor", "high_freq_factor"],
        "yarn": ["factor", "original_max_position_embeddings"],
    }.get(kind, [])
    table = {name: float(2 + i) for i, name in enumerate(good)}
    read_or_refuse(llama_json(**{key: {"rope_type": kind} | table | junk}))


@families
def test_sizes_beyond_reason_are_refused_at_once(tmp_path: Path, family: str) -> None:
    """A damaged number must not fill the memory or hang before the error."""
    tiny_checkpoint(tmp_path, family)
    largest = 2**31 - 2
    for name, value in JSON_OF[family]().items():
        if isinstance(value, int) and not isinstance(value, bool) and not name.endswith("_id"):
            config = JSON_OF[family](**{name: largest})
            (tmp_path / "config.json").write_text(json.dumps(config))
            if name not in ("n_positions", "max_position_embeddings"):
                refusal(tmp_path)
    if family == "llama":
        assert "head_dim" in config_refusal(llama_json(head_dim=largest))
