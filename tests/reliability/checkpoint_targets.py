"""Files of a checkpoint that are damaged, and how what is loaded is told to be correct."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import ml_dtypes
import numpy as np
from flax import nnx

import jaxsvd
from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.checkpoints.load import tensor_names
from jaxsvd.encoded_task import EncodedTask
from jaxsvd.model import Model
from jaxsvd.models import FAMILIES
from jaxsvd.tasks.base import Prepared, Question
from tests.models.random_models import JSON_OF, weights, write_checkpoint, write_sharded

from .damage import damaged, damaged_json_text
from .trials import DamageTarget

Damage = Callable[[bytes, Random], bytes]

# --- checkpoints --------------------------------------------------------------------------------

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16}


def tensors_of(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file, read by its specification alone."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], _DTYPES[entry["dtype"]]).reshape(
            entry["shape"]
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def check_weights(model: Model, directory: Path) -> None:
    """Every parameter is what the files say."""
    actual: dict[str, np.ndarray] = {}
    for path in directory.glob("model*.safetensors"):
        actual |= tensors_of(path)
    names = tensor_names(model.config, FAMILIES[model.config.family])
    for path, parameter in nnx.to_flat_state(nnx.state(model.decoder)):
        ours = np.asarray(parameter.get_value())
        theirs = actual[names[".".join(map(str, path))]].astype(np.float32)
        assert np.isfinite(ours).all()
        np.testing.assert_array_equal(ours, theirs)


def loads(directory: Path) -> Callable[[], None]:
    """Loads a checkpoint and checks its weights, and its shape against config.json."""

    def attempt() -> None:
        model = jaxsvd.load(directory)
        check_weights(model, directory)
        raw = json.loads((directory / "config.json").read_text())
        c = model.config
        said = {
            "n_embd": c.width,
            "hidden_size": c.width,
            "n_layer": c.layers,
            "num_hidden_layers": c.layers,
            "n_head": c.heads,
            "num_attention_heads": c.heads,
            "num_key_value_heads": c.key_value_heads,
            "vocab_size": c.vocabulary,
            "n_positions": c.context,
            "max_position_embeddings": c.context,
            "rms_norm_eps": c.norm_epsilon,
            "layer_norm_epsilon": c.norm_epsilon,
            "rotary_dim": c.rotary.width,
        }
        known = set(JSON_OF[c.family]()) - {"n_inner", "intermediate_size"}
        for name in known & said.keys() & raw.keys():
            assert raw[name] is None or float(raw[name]) == said[name], name

    return attempt


def checkpoint(name: str, root: Path, file: str, damage: Damage, **changes: Any) -> DamageTarget:
    """A checkpoint of a family, one of its files damaged."""
    family = name.split()[0]
    config = JSON_OF[family](**changes)
    directory = root / name.replace(" ", "-")
    if "index" in file:
        write_sharded(directory, config, weights(config))
    else:
        write_checkpoint(directory, config, weights(config))
    files = tuple(path for path in directory.iterdir() if path.name != file)
    return DamageTarget(name, directory / file, damage, loads(directory), files)


def header(data: bytes, random: Random) -> bytes:
    """Damage to the length and the JSON of a safetensors file's header, as bytes or as JSON."""
    size = int.from_bytes(data[:8], "little")
    if random.random() < 0.5:
        return damaged(data, random, 0, 8 + size)
    built = damaged_json_text(data[8 : 8 + size], random)
    built += b" " * (-len(built) % 8)
    return len(built).to_bytes(8, "little") + built + data[8 + size :]


def body(data: bytes, random: Random) -> bytes:
    """Damage to the numbers of a safetensors file."""
    return damaged(data, random, 8 + int.from_bytes(data[:8], "little"))


def checkpoint_targets(root: Path) -> list[DamageTarget]:
    """Configuration, header, body and index, of both families."""
    scaled = {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}}
    scaled["rope_scaling"] |= {
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8,
    }
    index = "model.safetensors.index.json"
    return [
        checkpoint("gptj config", root, "config.json", damaged_json_text),
        checkpoint("llama config", root, "config.json", damaged_json_text, **scaled),
        checkpoint("gptj header", root, "model.safetensors", header),
        checkpoint("llama header", root, "model.safetensors", header),
        checkpoint("gptj body", root, "model.safetensors", body, tie_word_embeddings=True),
        checkpoint("llama body", root, "model.safetensors", body),
        checkpoint("llama index", root, index, damaged_json_text),
    ]


# --- tokenizers ---------------------------------------------------------------------------------

TEXTS = (
    "text: salmon trout rather herring\nlabel :",
    "Hello world! It's 12,345 o'clock.",
    "naïve façade 你好 \u05e9\u05dc\u05d5\u05dd 👩‍👩‍👧 <s> </s>",
    "  two  spaces\tand\ttabs ",
)


def byte_level(path: Path) -> None:
    """Writes a byte-level BPE tokenizer, as GPT-J's is, trained on a few lines."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    built.decoder = decoders.ByteLevel()  # pyright: ignore
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(  # pyright: ignore
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    built.train_from_iterator(TEXTS * 3, trainer)
    built.save(str(path))


def encodes(directory: Path, model: Model) -> Callable[[], None]:
    """Loads a tokenizer and examines questions; each encodes as the bare library has it."""
    questions = tuple(
        Question("test", i, (f"{text} A\n",), text, (" A", " B"), 0) for i, text in enumerate(TEXTS)
    )
    prepared = Prepared("x", "here", "clean", "choice", ("1", "2"), 1, 0, 2, (), questions)

    def attempt() -> None:
        from tokenizers import Tokenizer

        own = Model(model.config, model.decoder, model.hf_config, "x", None, directory, "float32")
        examined = EncodedTask.of(own, prepared)
        bare = Tokenizer.from_file(str(directory / "tokenizer.json"))
        bare.no_truncation()
        bare.no_padding()
        for group in examined.encoded.groups:
            for line in group.lines:
                question = examined.encoded.questions[line.request]
                expected = bare.encode(question.prompt + question.candidates[0]).ids
                here = np.isin(line.continuations, [0, 1])
                last = line.targets[line.scored == 0][-1:]
                got = [*group.prefix, *line.tokens[here], *last]
                assert [int(token) for token in got] == expected
                assert max(expected) < own.config.vocabulary

    return attempt


def tokenizer_targets(root: Path, model: Model) -> list[DamageTarget]:
    """The bundled tokenizer, and one at the level of bytes."""
    targets = []
    for name in ("word", "byte"):
        directory = root / f"{name}-tokenizer"
        directory.mkdir(parents=True)
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (directory / file).write_bytes((BUNDLED / file).read_bytes())
        if name == "byte":
            byte_level(directory / "tokenizer.json")
            (directory / "tokenizer_config.json").write_text(
                '{"tokenizer_class": "PreTrainedTokenizerFast"}'
            )
        file = directory / "tokenizer.json"
        targets.append(
            DamageTarget(f"{name} tokenizer", file, damaged_json_text, encodes(directory, model))
        )
    config = directory / "tokenizer_config.json"
    targets.append(
        DamageTarget(
            "tokenizer config", config, damaged_json_text, encodes(directory, model), (file,)
        )
    )
    return targets
