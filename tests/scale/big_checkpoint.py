"""A sharded checkpoint of random weights, of any size: ``big_checkpoint.py DIR --megabytes 2000``.

Llama's layout, float32 or bfloat16, made a shard at a time so that making it takes little memory.
"""

import argparse
import json
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def config_for(megabytes: int, itemsize: int, width: int) -> dict[str, object]:
    """A config.json of about that size: as many layers as it takes."""
    inner, vocabulary = 3 * width, 8 * width
    layer, ends = 13 * width**2, 2 * vocabulary * width  # 4 of attention, 9 of the MLP
    layers = max(1, round((megabytes * 1e6 / itemsize - ends) / layer))
    return {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "max_position_embeddings": 256,
        "vocab_size": vocabulary,
    }


def shards_of(config: dict[str, object]) -> list[dict[str, tuple[int, ...]]]:
    """Shapes by tensor name, for each file: the ends, then a layer in each."""
    width, inner, vocabulary = (
        int(config[name])  # pyright: ignore[reportArgumentType]
        for name in ("hidden_size", "intermediate_size", "vocab_size")
    )
    shards: list[dict[str, tuple[int, ...]]] = [
        {
            "model.embed_tokens.weight": (vocabulary, width),
            "model.norm.weight": (width,),
            "lm_head.weight": (vocabulary, width),
        }
    ]
    for layer in range(int(config["num_hidden_layers"])):  # pyright: ignore[reportArgumentType]
        block = f"model.layers.{layer}"
        attention = {f"{block}.self_attn.{n}_proj.weight": (width, width) for n in "qkvo"}
        mlp = {f"{block}.mlp.{n}_proj.weight": (inner, width) for n in ("gate", "up")}
        norms = {f"{block}.{n}_layernorm.weight": (width,) for n in ("input", "post_attention")}
        down = {f"{block}.mlp.down_proj.weight": (width, inner)}
        shards.append(attention | mlp | down | norms)
    return shards


def write(directory: Path, megabytes: int, dtype: str = "float32", width: int = 1024) -> int:
    """Write the checkpoint; returns its number of parameters."""
    kind = DTYPES[dtype]
    config = config_for(megabytes, kind.itemsize, width)
    shards = shards_of(config)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    where, count = {}, 0
    pool = np.random.default_rng(0).standard_normal(2**20, np.float32) * 0.02
    for i, shapes in enumerate(shards, start=1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        tensors = {name: np.resize(pool, shape).astype(kind) for name, shape in shapes.items()}
        save_file(tensors, directory / file, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, file)
        count += sum(value.size for value in tensors.values())
    index = {"metadata": {"total_size": kind.itemsize * count}, "weight_map": where}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--width", type=int, default=2048)
    requested = parser.parse_args()
    built = write(requested.directory, requested.megabytes, requested.dtype, requested.width)
    print(f"{built:,} parameters, {DTYPES[requested.dtype].itemsize * built / 1e6:,.0f} MB")
