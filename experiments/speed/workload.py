"""What is timed: a random checkpoint of any size, and a fixed synthetic task.

The files are those of a real model and a user's own task (Hugging Face layout, tokenizer, TOML,
CSV), so that all arms go in through the front door.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

WORDS = 4096
"""Words of the synthetic language, each one token."""

FRAME = ("text", ":", " sentiment", " :")
LABELS = ("neg", "pos")
TEMPLATE = "text: {body} sentiment :"


@dataclass(frozen=True)
class ModelSize:
    """Shape of a random checkpoint.

    Attributes:
        family: ``gptj`` or ``llama``.
        layers, width, heads, mlp, vocabulary, context: as in config.json.
        rotary: turned features of a head (GPT-J only; Llama turns all).
    """

    family: str
    layers: int
    width: int
    heads: int
    mlp: int
    vocabulary: int
    rotary: int = 32
    context: int = 2048

    def resized(self, **changes: int | None) -> "ModelSize":
        """With the changes that are not None."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})


GPTJ = ModelSize("gptj", layers=28, width=256, heads=4, mlp=1024, vocabulary=50_400)
LLAMA = ModelSize("llama", layers=32, width=256, heads=4, mlp=688, vocabulary=32_000)
SIZES = {size.family: size for size in (GPTJ, LLAMA)}


@dataclass(frozen=True)
class SetSize:
    """The synthetic examples: how many, and words in each, fewest and most.

    Demonstrations have 24 words each and so, with their frame, 28 tokens.
    """

    examples: int = 200
    shots: int = 10
    shortest: int = 10
    longest: int = 30


def write_model(directory: Path, size: ModelSize, seed: int = 0) -> None:
    """A checkpoint with normal weights of standard deviation 0.02, and its tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tensors = {
        name: np.ones(shape, np.float32)
        if name.endswith(("norm.weight", "ln_1.weight", "ln_f.weight"))
        else 0.02 * rng.standard_normal(shape, np.float32)
        for name, shape in _shapes(size)
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(_config(size), indent=2) + "\n", "utf-8")
    _tokenizer().save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": size.context}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings) + "\n", "utf-8")


def _config(size: ModelSize) -> Mapping[str, Any]:
    common = {"vocab_size": size.vocabulary, "bos_token_id": 0, "eos_token_id": 0}
    if size.family == "gptj":
        return common | {
            "model_type": "gptj",
            "architectures": ["GPTJForCausalLM"],
            "n_positions": size.context,
            "n_embd": size.width,
            "n_layer": size.layers,
            "n_head": size.heads,
            "n_inner": size.mlp,
            "rotary_dim": size.rotary,
            "activation_function": "gelu_new",
            "tie_word_embeddings": False,
        }
    return common | {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": size.context,
        "hidden_size": size.width,
        "intermediate_size": size.mlp,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    }


def _shapes(size: ModelSize) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all tensors, as transformers has them."""
    d, f, v = size.width, size.mlp, size.vocabulary
    if size.family == "gptj":
        yield "transformer.wte.weight", (v, d)
        for layer in range(size.layers):
            block = f"transformer.h.{layer}"
            yield from ((f"{block}.ln_1.{kind}", (d,)) for kind in ("weight", "bias"))
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield f"{block}.attn.{name}.weight", (d, d)
            for name, shape in (("fc_in", (f, d)), ("fc_out", (d, f))):
                yield f"{block}.mlp.{name}.weight", shape
                yield f"{block}.mlp.{name}.bias", shape[:1]
        yield from ((f"transformer.ln_f.{kind}", (d,)) for kind in ("weight", "bias"))
        yield from (("lm_head.weight", (v, d)), ("lm_head.bias", (v,)))
        return
    yield "model.embed_tokens.weight", (v, d)
    for layer in range(size.layers):
        block = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{block}.{norm}.weight", (d,)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield f"{block}.self_attn.{name}.weight", (d, d)
        for name, shape in (("gate_proj", (f, d)), ("up_proj", (f, d)), ("down_proj", (d, f))):
            yield f"{block}.mlp.{name}.weight", shape
    yield from (("model.norm.weight", (d,)), ("lm_head.weight", (v, d)))


def _words() -> list[str]:
    """The synthetic language: consonant, vowel, consonant, vowel."""
    syllables = [c + v for c in "bdfgklmnprstvwxz" for v in "aeiou"]
    return [first + second for first in syllables for second in syllables][:WORDS]


def _tokenizer() -> Tokenizer:
    """Words whole, any other text in bytes."""
    pieces = [*FRAME, *(f" {word}" for word in (*_words(), *LABELS))]
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens += [piece.replace(" ", "Ġ") for piece in dict.fromkeys(pieces) if piece not in tokens]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer


def write_task(directory: Path, size: SetSize, seed: int = 0) -> Path:
    """The synthetic examples and the task file that describes them; returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    words = np.array(_words())

    def rows(name: str, count: int, shortest: int, longest: int) -> None:
        with (directory / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["body", "label"])
            for i in range(count):
                length = rng.integers(shortest, longest, endpoint=True)
                writer.writerow([" ".join(rng.choice(words, length)), LABELS[i % 2]])

    rows("demonstrations.csv", 80, 24, 24)
    rows("examples.csv", size.examples, size.shortest, size.longest)
    rows("test.csv", 2, size.shortest, size.longest)
    path = directory / "synthetic.toml"
    path.write_text(
        f'name = "synthetic"\ntemplate = {json.dumps(TEMPLATE)}\nshots = {size.shots}\n\n'
        '[files]\ntrain = "demonstrations.csv"\nvalidation = "examples.csv"\ntest = "test.csv"\n\n'
        '[labels]\nneg = "neg"\npos = "pos"\n',
        "utf-8",
    )
    return path


def description(model: ModelSize, examples: SetSize) -> dict[str, Any]:
    """For result.json."""
    return {"model": asdict(model), "set": asdict(examples)}
