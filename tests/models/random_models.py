"""Tiny models of all families: config.json, random weights and token batches, without torch.

Everything follows from a seed through the raw bits of a counter-based generator, which numpy
keeps the same in every version, so that golden files need to hold no weights.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from jaxsvd.checkpoints.load import layout_of
from jaxsvd.models import read_config, read_known

from .tiny_families import NAMES, TINY

Weights = dict[str, np.ndarray]

GOLDEN = Path(__file__).parent / "golden"

JSON_OF = {name: family.json for name, family in TINY.items()}
FAMILY_NAMES = NAMES

TOLERANCE = 2e-5
"""Largest error of a logit, as a fraction of the largest logit."""


gptj_json, llama_json = TINY["gptj"].json, TINY["llama"].json


def gptj_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of a GPT-J checkpoint, as transformers names them."""
    width, vocabulary = config["n_embd"], config["vocab_size"]
    inner = config.get("n_inner") or 4 * width
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (vocabulary, width)}
    for layer in range(config["n_layer"]):
        block = f"transformer.h.{layer}"
        shapes |= {f"{block}.ln_1.{kind}": (width,) for kind in ("weight", "bias")}
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{block}.attn.{name}.weight"] = (width, width)
        shapes[f"{block}.mlp.fc_in.weight"] = (inner, width)
        shapes[f"{block}.mlp.fc_in.bias"] = (inner,)
        shapes[f"{block}.mlp.fc_out.weight"] = (width, inner)
        shapes[f"{block}.mlp.fc_out.bias"] = (width,)
    shapes |= {f"transformer.ln_f.{kind}": (width,) for kind in ("weight", "bias")}
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (vocabulary, width)
    return shapes | {"lm_head.bias": (vocabulary,)}


def llama_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Llama checkpoint, as transformers names them."""
    width, vocabulary, inner = (
        config[k] for k in ("hidden_size", "vocab_size", "intermediate_size")
    )
    heads = config["num_attention_heads"]
    head_width = config.get("head_dim") or width // heads
    queries = heads * head_width
    states = (config.get("num_key_value_heads") or heads) * head_width
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, width)}
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        shapes[f"{block}.input_layernorm.weight"] = (width,)
        shapes[f"{block}.post_attention_layernorm.weight"] = (width,)
        matrices = {
            "self_attn.q_proj": (queries, width),
            "self_attn.k_proj": (states, width),
            "self_attn.v_proj": (states, width),
            "self_attn.o_proj": (width, queries),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }
        for name, shape in matrices.items():
            shapes[f"{block}.{name}.weight"] = shape
            if config.get("attention_bias" if name.startswith("self") else "mlp_bias"):
                shapes[f"{block}.{name}.bias"] = shape[:1]
    shapes["model.norm.weight"] = (width,)
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (vocabulary, width)
    return shapes


SHAPES_OF = {"gptj": gptj_shapes, "llama": llama_shapes}
"""Written by hand for two families; parity shows that the others' are transformers' own."""


def shapes_of(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of a checkpoint, as transformers names them."""
    by_hand = SHAPES_OF.get(config["model_type"])
    if by_hand is not None:
        return by_hand(config)
    decoder, family, _ = read_known(config, "config.json")
    return dict(layout_of(decoder, family).shapes)


EMBEDDINGS = ("wte.weight", "embed_tokens.weight", "embed_in.weight")
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


class Uniform:
    """Numbers between -1 and 1 that depend on nothing but the seed."""

    def __init__(self, seed: int) -> None:
        """``seed``: any non-negative integer."""
        self._bits = np.random.Philox(key=seed)

    def floats(self, shape: tuple[int, ...]) -> np.ndarray:
        """Float64 with 53 random bits, of variance 1/3."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))))
        return ((raw >> np.uint64(11)) * 2.0**-52 - 1.0).reshape(shape)

    def integers(self, shape: tuple[int, ...], below: int) -> np.ndarray:
        """Integers from 0, as int32."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))))
        return (raw % np.uint64(below)).astype(np.int32).reshape(shape)


def weights(config: Mapping[str, Any], seed: int = 0) -> Weights:
    """Float32 weights that leave no part of the model idle.

    Far larger than an initialisation: attention is neither uniform nor saturated, biases and norm
    weights differ from zero and one, so that dropping or swapping any of them shows.
    """
    uniform = Uniform(seed)
    result = {}
    gemma = config["model_type"].startswith("gemma")
    for name, shape in shapes_of(config).items():
        values = uniform.floats(shape)
        if name.endswith("bias"):
            values = 0.5 * values
        elif len(shape) == 1:
            values = (0 if gemma else 1) + 0.5 * values
        elif name.endswith(EMBEDDINGS):
            values = 1.5 * values / (shape[1] ** 0.5 if gemma else 1)
        elif name.endswith(("wpe.weight", "embed_positions.weight")):
            values = 0.7 * values
        else:
            inputs = shape[0] if name.endswith(TRANSPOSED) else shape[1]
            values = values * np.sqrt(4 / inputs)
        result[name] = values.astype(np.float32)
    return result


def checksum(tensors: Weights) -> int:
    """A number that changes with any bit of any tensor."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(name.encode() + tensors[name].tobytes(), value)
    return value


def context_of(config: Mapping[str, Any]) -> int:
    """The most tokens that a model takes."""
    return read_config(config, "config.json")[0].context


def padded_batch(config: Mapping[str, Any], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of rows as long as the context, padded on neither, either and both sides."""
    length = context_of(config)
    spans = [(0, length), (length // 3, length), (0, length // 2), (1, length - 2)]
    spans += [(length - 1, length), (0, 1)]
    ids = Uniform(seed + 1).integers((len(spans), length), config["vocab_size"])
    mask = np.zeros(ids.shape, bool)
    for row, (start, stop) in enumerate(spans):
        mask[row, start:stop] = True
    return ids, mask


def write_checkpoint(directory: Path, config: Mapping[str, Any], tensors: Weights) -> Path:
    """A model directory with one safetensors file."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def write_sharded(
    directory: Path, config: Mapping[str, Any], tensors: Weights, shards: int = 3
) -> Path:
    """A model directory with an index and several safetensors files; tensors dealt in turn."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    where = {name: files[i % shards] for i, name in enumerate(tensors)}
    for file in files:
        part = {name: value for name, value in tensors.items() if where[name] == file}
        save_file(part, directory / file, metadata={"format": "pt"})
    write_index(directory, where)
    return directory


def write_index(
    directory: Path, weight_map: Any, name: str = "model.safetensors.index.json"
) -> None:
    """An index of shards."""
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (directory / name).write_text(json.dumps(index), "utf-8")


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest error as a fraction of the largest value; NaN counts as infinite."""
    assert ours.shape == theirs.shape
    error = float(np.abs(np.asarray(ours, np.float64) - theirs).max() / np.abs(theirs).max())
    return error if np.isfinite(error) else float("inf")
