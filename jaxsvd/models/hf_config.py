"""Reading a Hugging Face ``config.json`` strictly: every attribute is understood or refused."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.layout import Stored

T = TypeVar("T")

# fmt: off
HARMLESS = frozenset({
    "_name_or_path", "architectures", "attention_dropout", "attn_pdrop", "bos_token_id", "dtype",
    "embd_pdrop", "eos_token_id", "finetuning_task", "gradient_checkpointing", "id2label",
    "initializer_range", "label2id", "max_length", "model_type", "name_or_path",
    "output_attentions", "output_hidden_states", "output_scores", "pad_token_id",
    "pretraining_tp", "problem_type", "resid_pdrop", "return_dict", "return_dict_in_generate",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
    "summary_use_proj", "task_specific_params", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers_version", "unk_token_id", "use_cache", "do_sample", "early_stopping",
    "length_penalty", "min_length", "no_repeat_ngram_size", "num_beams", "num_return_sequences",
    "repetition_penalty", "temperature", "top_k", "top_p", "typical_p",
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal",
    "_commit_hash", "_flash_attn_2_enabled", "attn_implementation",
    "bad_words_ids", "badwordsids", "begin_suppress_tokens", "chunk_size_feed_forward",
    "classifier_dropout", "decoder_start_token_id", "diversity_penalty",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id",
    "forced_eos_token_id", "hidden_dropout", "hidden_dropout_prob", "internal_version",
    "is_decoder", "is_llama_config", "keys_to_ignore_at_inference", "license",
    "max_sequence_length", "model_max_length", "neftune_noise_alpha", "newlinemode",
    "num_beam_groups", "prefix", "remove_invalid_values", "sep_token_id", "suppress_tokens",
    "tf_legacy_loss", "unsloth_fixed", "unsloth_version", "use_bfloat16",
})
# fmt: on
"""Attributes that cannot change the logits of a forward pass (training, generation, names)."""

_HARMLESS_NAME = re.compile(
    r"_(?!remove_final_layer_norm).+"  # what transformers keeps to itself, but for OPT's
    r"|(.+_)?(version|hash|commit|url|author|license|date|comment|description)"
    r"|.+_(token|tokens|token_id|token_ids)"
    r"|.*(dropout|pdrop|layerdrop).*"
    r"|(.+_)?(init|initializer|initialization)(_.+)?"
    r"|(unsloth|finetun|train|training|optim|optimizer|summary|loss|label|dataset|generation)"
    r"(ing|ed)?(_.+)?"
    r"|.+_(loss|loss_coef|loss_weight|learning_rate|weight_decay)|learning_rate|weight_decay"
    r"|gradient_.+|.*noise_alpha"
    r"|(max_)?(seq|sequence)_(len|length)"
)
"""Names that tell of training, generation or the file itself, whatever else they say."""

_ON_BY_DEFAULT = frozenset(
    {
        "causal",
        "do_layer_norm_before",
        "elementwise_affine",
        "enable_bias",
        "is_causal",
        "layer_norm_elementwise_affine",
        "multi_query",
        "new_decoder_architecture",
        "parallel_attn",
        "parallel_residual",
        "rotary",
        "scale_attention",
        "scale_attn_weights",
        "scale_attn",
        "use_parallel_residual",
        "use_rotary",
        "use_qk_norm",
        "qk_layernorm",
        "norm_topk_prob",
    }
)
"""Attributes that are true unless config.json says otherwise: false changes the model."""

_EXPERTS = (
    *("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "n_experts"),
    *("num_experts_per_tok", "num_experts_per_token", "moe_intermediate_size", "moe_layer_freq"),
)
_DENSE_INSTEAD = (
    "a mixture of experts is not read: its MLPs are many, chosen by the token; use a dense model "
    "of the same makers"
)
_TEXT_INSTEAD = (
    "a multimodal model is not read; use its language model alone: transformers saves it "
    "(save_pretrained of its language_model, or of the text class such as Gemma3ForCausalLM), and "
    "a GGUF file holds nothing else"
)
_OTHER_SENSES = ("vision_config", "audio_config", "vision_tower", "mm_vision_tower", "visual")

_ADVICE = {
    "quantization_config": "weights quantised in Hugging Face's formats are not read; use the "
    "model's unquantised checkpoint, or a GGUF file of it",
    **dict.fromkeys(_EXPERTS, _DENSE_INSTEAD),
    "sliding_window": "this family's forward pass has no window; if the checkpoint's has none "
    "either, remove it from config.json",
    "auto_map": "a checkpoint's own Python code never runs; remove it from config.json if "
    "transformers has this model_type",
    "rope_interleaved": "rotary pairs of neighbours are not what this family's weights have; "
    "convert q_proj and k_proj to halves",
}
_ADVICE |= dict.fromkeys(_OTHER_SENSES, _TEXT_INSTEAD)
_GO_ON = "it may change the model; if it does not, remove it from config.json or set it to null"


MOST_LAYERS, MOST_FEATURES = 1_000, 2**20
"""Beyond any model: a damaged number must not fill the memory before it is reported."""

SMALLEST, LARGEST = 2.0**-126, 2.0**127
"""Positive numbers that float32 holds at full precision."""


class ConfigReader:
    """Takes typed attributes out of a ``config.json`` and collects what is wrong with it."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        """``raw``: the parsed object."""
        self.raw = raw
        self.problems: list[str] = []
        self._read: set[str] = set()

    def _take(self, name: str, default: T, valid: Callable[[Any], bool], meaning: str) -> T:
        self._read.add(name)
        value = self.raw.get(name)
        if value is None:
            if default is None:
                self.problems.append(f"{name} is missing ({meaning})")
            return default
        if not valid(value):
            self.problems.append(f"{name} = {value!r} should be {meaning}")
            return default
        return value

    def integer(
        self,
        name: str,
        default: int | None = None,
        *,
        least: int = 1,
        largest: int = 2**31 - 1,
    ) -> int:
        """A positive integer; without ``default`` it is required."""

        def valid(v: Any) -> bool:
            return isinstance(v, int) and not isinstance(v, bool) and least <= v <= largest

        value = self._take(name, default, valid, f"an integer from {least} to {largest}")
        return 1 if value is None else value

    def number(self, name: str, default: float) -> float:
        """A positive, finite number."""

        def valid(v: Any) -> bool:
            return _is_positive(v)

        return float(self._take(name, default, valid, "a positive number"))

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        return self._take(name, default, lambda v: isinstance(v, bool), "true or false")

    def choice(self, name: str, options: Mapping[str, T], default: str) -> T:
        """One of ``options`` by its name."""
        meaning = "one of " + ", ".join(options)
        return options[
            self._take(name, default, lambda v: isinstance(v, str) and v in options, meaning)
        ]

    def table(self, name: str) -> dict[str, Any]:
        """An object; empty when left out."""
        return dict(self._take(name, {}, lambda v: isinstance(v, dict), "an object"))

    def texts(self, name: str, options: Sequence[str]) -> list[str] | None:
        """A list of some of ``options``; None when left out."""

        def valid(v: Any) -> bool:
            return isinstance(v, list) and all(isinstance(x, str) and x in options for x in v)

        value = self._take(name, [], valid, f"a list of {' or '.join(options)}")
        return value or None

    def fixed(self, name: str, value: Any) -> None:
        """An attribute that we understand only at this value."""
        self._take(name, value, lambda v: v == value, f"{value!r}, the only value supported")

    def unset(self, name: str) -> None:
        """An attribute that we understand only where it is null or left out."""
        self._read.add(name)
        value = self.raw.get(name)
        self.check(value is None, f"{name} = {value!r} should be null, the only value supported")

    def optional_integer(self, name: str, default: int | None = None) -> int | None:
        """A positive integer; null, as far as it is written, means none."""
        self._read.add(name)
        value = self.raw.get(name, default)
        return None if value is None else self.integer(name, 1 if default is None else default)

    def integers(self, name: str, options: Sequence[int]) -> list[int] | None:
        """A list of some of ``options``; None when left out."""

        def valid(v: Any) -> bool:
            return isinstance(v, list) and all(type(x) is int and x in options for x in v)

        value = self._take(name, [], valid, f"a list of {' or '.join(map(str, options))}")
        return value or None

    def optional(self, name: str, default: float | None = None) -> float | None:
        """A positive number; null, as far as it is written, means none."""
        self._read.add(name)
        value = self.raw.get(name, default)
        return None if value is None else self.number(name, 1.0 if default is None else default)

    def unused(self, *names: str) -> None:
        """Attributes of training that this family writes and no forward pass reads."""
        self._read.update(names)

    def check(self, holds: bool, problem: str) -> None:
        """Note ``problem`` unless ``holds``."""
        if not holds:
            self.problems.append(problem)

    def unread(self) -> list[str]:
        """A problem for every attribute that was not read and could change the forward pass."""
        return [
            f"unknown attribute {name} = {_shown(value)} ({_ADVICE.get(name, _GO_ON)})"
            for name, value in self._unknown()
            if _could_matter(name, value)
        ]

    def notices(self) -> list[str]:
        """A line for every attribute whose name is unknown and that is ignored all the same."""
        return [
            f"unknown attribute {name} = {_shown(value)} is ignored: it is off, or tells of "
            "training, generation or the file"
            for name, value in self._unknown()
            if not _could_matter(name, value)
        ]

    def _unknown(self) -> list[tuple[str, Any]]:
        return [
            (name, value)
            for name, value in self.raw.items()
            if name not in self._read and name not in HARMLESS and value is not None
        ]


def kind_of_unsupported(raw: Mapping[str, Any]) -> str:
    """What would do in place of a model of no family here; empty where nothing is known of it.

    Args:
        raw: a config.json.
    """
    name = str(raw.get("model_type"))
    if any(raw.get(key) for key in _OTHER_SENSES):
        return _TEXT_INSTEAD
    if any(raw.get(key) for key in _EXPERTS) or "moe" in name or "mixtral" in name:
        return _DENSE_INSTEAD
    return _ADVICE["quantization_config"] if raw.get("quantization_config") else ""


def _could_matter(name: str, value: Any) -> bool:
    """Whether an attribute that nothing here reads may enter a forward pass.

    Values that switch nothing on cannot (no, zero, nothing), unless the attribute is one that is
    on by default; of others the name decides.
    """
    if name in _ADVICE:
        return bool(value)
    if value is False:
        return name in _ON_BY_DEFAULT
    neutral = value in (0, "", [], {}) and value is not True
    return not neutral and _HARMLESS_NAME.fullmatch(name) is None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def rope_numbers(
    reader: ConfigReader, table: Mapping[str, Any], known: Mapping[str, bool]
) -> dict[str, float]:
    """The numeric parameters of a rotary rule; ``known`` maps each to whether it is required."""
    numbers: dict[str, float] = {}
    for name, value in table.items():
        if (
            name == "finetuned"
        ):  # whether there was a second training; the paper's own code reads it
            continue
        if name not in known:
            reader.check(value is None, f"unknown rotary parameter {name} = {value!r}")
        elif value is not None:
            good = isinstance(value, bool) if name == "truncate" else _is_positive(value)
            reader.check(good, f"rotary parameter {name} = {value!r} should be a positive number")
            numbers[name] = float(value) if good else 1.0
    for name, required in known.items():
        if required and name not in numbers:
            reader.problems.append(f"rotary parameter {name} is missing")
    return numbers


def _is_positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and SMALLEST <= value <= LARGEST


@dataclass(frozen=True)
class Family:
    """What is particular to the checkpoints of a model family.

    Attributes:
        name: ``model_type`` in config.json.
        read: config.json to a :class:`DecoderConfig`; problems go to the reader.
        layout: where each parameter stands in a checkpoint (:mod:`jaxsvd.models.layout`), by
            path; ``{layer}`` stands for the index of a block.
        description: in a few words, for users.
        example: a hub id, for users.
        architecture: transformers' class, which config.json names for programs that serve models.
        buffers: regular expressions of tensors that old checkpoints carry and no model reads.
        safetensors_revision: hub id to a revision that has safetensors where main has none.
        aliases: other names of tensors that some files have.
        body: what the names of all tensors but the head's begin with; checkpoints of the body
            alone leave it out.
    """

    name: str
    read: Callable[[ConfigReader], DecoderConfig]
    layout: Mapping[str, Stored | str]
    description: str
    example: str
    architecture: str = ""
    buffers: tuple[str, ...] = ()
    safetensors_revision: Mapping[str, str] = dataclasses.field(default_factory=dict)
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: str = ""
