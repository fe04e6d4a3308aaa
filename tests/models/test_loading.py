"""What is loaded arrives where it belongs, one tensor at a time."""

import json
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxsvd
from jaxsvd.checkpoints import load as checkpoints
from jaxsvd.checkpoints.load import Tensor, to_devices

from .random_models import (
    JSON_OF,
    llama_json,
    weights,
    write_checkpoint,
    write_sharded,
)
from .refusals import (
    embedding,
    families,
    refusal,
    rewrite,
    tiny_checkpoint,
)
from .tiny_families import TINY, every_family

# --- what is loaded -----------------------------------------------------------------------------


@pytest.mark.parametrize("family", every_family())
@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
def test_every_tensor_arrives_where_it_belongs(tmp_path: Path, family: str, sharded: bool) -> None:
    config = JSON_OF[family]()
    tensors = weights(config)
    (write_sharded if sharded else write_checkpoint)(tmp_path / "model", config, tensors)
    model = jaxsvd.load(tmp_path / "model")
    assert (model.source, model.revision, model.dtype) == (str(tmp_path / "model"), None, "float32")
    assert model.parameters == sum(value.size for value in tensors.values())
    model.save(tmp_path / "saved")
    files = sorted((tmp_path / "saved").glob("*.safetensors"))
    assert len(files) == (3 if sharded else 1)
    saved = {name: value for file in files for name, value in load_file(file).items()}
    assert saved.keys() == tensors.keys()
    assert all((saved[name] == tensors[name]).all() for name in tensors)
    assert json.loads((tmp_path / "saved" / "config.json").read_text()) == config | {
        "dtype": "float32"
    }


def test_a_string_names_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = tiny_checkpoint(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert (embedding(jaxsvd.load("model")) == tensors["model.embed_tokens.weight"]).all()


@pytest.mark.parametrize("stored", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_files_of_any_float_type(tmp_path: Path, stored: Any, wanted: str) -> None:
    tensors = tiny_checkpoint(tmp_path)
    rewrite(tmp_path, {name: value.astype(stored) for name, value in tensors.items()})
    loaded = embedding(jaxsvd.load(tmp_path, dtype=wanted))
    expected = tensors["model.embed_tokens.weight"].astype(stored).astype(wanted)
    assert loaded.dtype.name == wanted
    assert (loaded == expected).all()


def test_an_unknown_dtype(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path)
    line = refusal(tmp_path, dtype="float16")
    assert "'float16' should be one of float32, bfloat16" in line


@families
def test_buffers_of_old_checkpoints_are_ignored(tmp_path: Path, family: str) -> None:
    tensors = tiny_checkpoint(tmp_path, family)
    buffers = {
        name.format(layer): np.ones((1, 3), bool)
        for name in TINY[family].buffers
        for layer in range(2)
    }
    rewrite(tmp_path, tensors | buffers)
    jaxsvd.load(tmp_path)
    rewrite(tmp_path, tensors | {"model.layers.0.unheard_of": np.ones((1, 3), np.float32)})
    assert "not part of a" in refusal(tmp_path)


@families
def test_a_tied_head_may_stand_in_the_file_if_it_is_the_embedding(
    tmp_path: Path, family: str
) -> None:
    tensors = tiny_checkpoint(tmp_path, family, tie_word_embeddings=True)
    assert "lm_head.weight" not in tensors
    matrix = next(value for value in tensors.values() if value.shape == (61, 32))
    rewrite(tmp_path, tensors | {"lm_head.weight": matrix})
    jaxsvd.load(tmp_path)
    for other in (matrix + 1, matrix[:5], matrix[0], np.zeros((61, 32), np.int32)):
        rewrite(tmp_path, tensors | {"lm_head.weight": other})
        assert "lm_head.weight" in refusal(tmp_path)


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stored", "wanted"), [(np.float16, "float32"), (np.float32, "bfloat16")])
@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
def test_one_tensor_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: Any, wanted: str, sharded: bool
) -> None:
    """A tensor of the files is gone, cast, before the next is read."""
    config = llama_json(
        hidden_size=128, intermediate_size=1024, vocab_size=512, num_hidden_layers=6
    )
    tensors = {name: value.astype(stored) for name, value in weights(config).items()}
    (write_sharded if sharded else write_checkpoint)(tmp_path, config, tensors)
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0
    to_device = to_devices

    def watched(tensor: Tensor, dtype: Any) -> Any:
        def read() -> np.ndarray:
            nonlocal most
            value = tensor.read()
            alive.append(weakref.ref(value))
            most = max(most, sum(ref() is not None for ref in alive))
            return value

        return to_device(Tensor(tensor.shape, tensor.dtype, read), dtype)

    monkeypatch.setattr(checkpoints, "to_devices", watched)
    tracemalloc.start()
    try:
        jaxsvd.load(tmp_path, dtype=wanted)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(alive) == len(tensors)
    assert most == 1
    # On the CPU the device's arrays may be numpy's own memory: the model counts as well.
    model = sum(value.size for value in tensors.values()) * (4 if wanted == "float32" else 2)
    largest = max(value.size for value in tensors.values()) * 4
    assert peak < model + 2 * largest + 1_000_000
