"""Wrong tensors, damaged files, indices and directories: never anything but one line."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import jaxsvd

from .random_models import (
    FAMILY_NAMES,
    JSON_OF,
    llama_json,
    weights,
    write_checkpoint,
    write_index,
    write_sharded,
)
from .refusals import (
    embedding,
    families,
    refusal,
    rewrite,
    tiny_checkpoint,
    unless_refused,
)

# --- wrong tensors ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_all_problems_of_the_tensors_in_one_line(tmp_path: Path, family: str) -> None:
    """Several missing, extra, misshapen and integer tensors at once, and an unknown attribute."""
    tensors = tiny_checkpoint(tmp_path, family)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"new_feature": 3}))
    block = {"gptj": "transformer.h", "llama": "model.layers"}[family]
    attn = {"gptj": "attn", "llama": "self_attn"}[family]
    missing = [f"{block}.0.{attn}.q_proj.weight", "lm_head.weight"]
    broken = tensors | {
        "stray.weight": np.zeros(3, np.float32),
        f"{block}.2.{attn}.q_proj.weight": np.zeros((32, 32), np.float32),
        f"{block}.1.{attn}.k_proj.weight": np.zeros((5, 7), np.float32),
        f"{block}.1.{attn}.v_proj.weight": tensors[f"{block}.1.{attn}.v_proj.weight"].astype("i4"),
    }
    broken[f"{block}.0.{attn}.k_proj.weight"][0, 0] = np.nan
    rewrite(tmp_path, {name: value for name, value in broken.items() if name not in missing})
    line = refusal(tmp_path)
    assert str(tmp_path) in line
    assert "unknown attribute new_feature = 3" in line
    assert f"NaN or infinite weights in {block}.0.{attn}.k_proj.weight" in line
    for name in [*missing, "stray.weight", f"{block}.2.{attn}.q_proj.weight"]:
        assert name in line
    assert f"{block}.1.{attn}.k_proj.weight has shape [5, 7], should be [" in line
    assert f"{block}.1.{attn}.v_proj.weight is I32" in line


def test_many_layers_that_lack_a_tensor_stay_readable(tmp_path: Path) -> None:
    tensors = tiny_checkpoint(tmp_path, num_hidden_layers=12)
    kept = {name: value for name, value in tensors.items() if "up_proj" not in name}
    rewrite(tmp_path, kept)
    line = refusal(tmp_path)
    assert "missing model.layers.{0,1,2,3,4,5,6,7,8,9,10,11}.mlp.up_proj.weight" in line


@families
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_that_are_not_finite(tmp_path: Path, family: str, value: float, dtype: str) -> None:
    tensors = tiny_checkpoint(tmp_path, family)
    names = list(tensors)
    for name in (names[3], names[-1]):
        tensors[name].flat[-1] = value
    rewrite(tmp_path, tensors)
    line = refusal(tmp_path, dtype=dtype)
    assert "NaN or infinite" in line
    assert names[3] in line
    assert names[-1] in line
    assert names[4] not in line


def test_weights_too_large_for_float32(tmp_path: Path) -> None:
    tensors = {name: value.astype(np.float64) for name, value in tiny_checkpoint(tmp_path).items()}
    tensors["model.norm.weight"][0] = 1e300
    rewrite(tmp_path, tensors)
    assert "infinite weights in model.norm.weight" in refusal(tmp_path)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, np.bool_, ml_dtypes.float8_e4m3fn])
def test_tensors_that_are_no_floats(tmp_path: Path, dtype: Any) -> None:
    tensors = tiny_checkpoint(tmp_path)
    tensors["model.norm.weight"] = np.ones(32).astype(dtype)
    rewrite(tmp_path, tensors)
    assert "model.norm.weight is " in refusal(tmp_path)


@families
def test_the_other_family(tmp_path: Path, family: str) -> None:
    """The weights of one family under the config of another: everything is missing and extra."""
    other = next(name for name in FAMILY_NAMES if name != family)
    write_checkpoint(tmp_path, JSON_OF[family](), weights(JSON_OF[other]()))
    line = refusal(tmp_path)
    assert "missing" in line
    assert f"not part of a {family} model" in line


# --- damaged files ------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.floats(0, 0.999999))
def test_a_truncated_file(tmp_path: Path, keep: float) -> None:
    tiny_checkpoint(tmp_path)
    file = tmp_path / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    assert "model.safetensors: damaged or cut short" in refusal(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 1500), byte=st.integers(0, 255))
def test_a_damaged_header(tmp_path: Path, place: int, byte: int) -> None:
    """Any other byte in the header: refused in one line, or still the same weights."""
    tensors = tiny_checkpoint(tmp_path)
    file = tmp_path / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[place] = byte
    file.write_bytes(content)
    model = unless_refused(lambda: jaxsvd.load(tmp_path))
    assert model is None or embedding(model).shape == tensors["model.embed_tokens.weight"].shape


def test_a_file_with_something_at_its_end(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path)
    with (tmp_path / "model.safetensors").open("ab") as file:
        file.write(b"more")
    assert "model.safetensors: damaged" in refusal(tmp_path)


def test_all_damaged_shards_in_one_line(tmp_path: Path) -> None:
    write_sharded(tmp_path, llama_json(), weights(llama_json()), shards=4)
    first, second, third, _ = sorted(tmp_path.glob("model-*.safetensors"))
    first.write_bytes(first.read_bytes()[:-7])
    second.unlink()
    third.write_bytes(b"not safetensors")
    line = refusal(tmp_path)
    assert f"{first.name}: damaged or cut short" in line
    assert f"{second.name}: no such file, though the index lists it" in line
    assert f"{third.name}: damaged or cut short" in line


# --- indices ------------------------------------------------------------------------------------


@pytest.fixture
def sharded(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A sharded checkpoint and its index."""
    write_sharded(tmp_path, llama_json(), weights(llama_json()))
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    return tmp_path, index["weight_map"]


def test_an_index_that_lists_a_tensor_its_file_lacks(
    sharded: tuple[Path, dict[str, str]],
) -> None:
    directory, where = sharded
    files = sorted(set(where.values()))
    name = next(name for name, file in where.items() if file == files[0])
    write_index(directory, where | {name: files[1], "model.ghost.weight": files[2]})
    line = refusal(directory)
    assert f"{files[1]}: lacks {name}" in line
    assert f"{files[2]}: lacks model.ghost.weight" in line


def test_a_tensor_in_two_shards(sharded: tuple[Path, dict[str, str]]) -> None:
    directory, where = sharded
    first, second, _ = sorted(set(where.values()))
    name = next(name for name, file in where.items() if file == first)
    copied = load_file(directory / first)[name]
    save_file(load_file(directory / second) | {name: copied}, directory / second)
    assert f"{second}: {name} is in another file too" in refusal(directory)


@pytest.mark.parametrize(
    "file",
    [
        "../outside.safetensors",
        "/etc/passwd",
        "/outside.safetensors",
        "sub/part.safetensors",
        "..",
        "",
        "config.json",
        "model.safetensors/../../x.safetensors",
        "pytorch_model.bin",
    ],
)
def test_an_index_that_points_elsewhere(sharded: tuple[Path, dict[str, str]], file: str) -> None:
    """Only files of the index's own kind beside it: no path, no pickle, nothing else."""
    directory, where = sharded
    write_index(directory, where | {"model.norm.weight": file})
    line = refusal(directory)
    assert repr(file) in line
    assert "beside the index" in line


@pytest.mark.parametrize("content", [None, [], {}, "text", {"a": 1}, {"a": None}, {"a": ["b"]}])
def test_an_index_without_a_map(sharded: tuple[Path, dict[str, str]], content: Any) -> None:
    write_index(sharded[0], content)
    assert "weight_map should be an object" in refusal(sharded[0])


def test_an_index_that_is_no_json(sharded: tuple[Path, dict[str, str]]) -> None:
    (sharded[0] / "model.safetensors.index.json").write_text("{")
    assert "not readable as JSON" in refusal(sharded[0])


# --- directories --------------------------------------------------------------------------------


def test_a_directory_without_anything(tmp_path: Path) -> None:
    assert "no config.json there" in refusal(tmp_path)


def test_a_directory_without_weights(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    line = refusal(tmp_path)
    assert "no weights there; expected one of model.safetensors" in line


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path)
    assert "is a file" in refusal(tmp_path / "model.safetensors")
    assert "is a file" in refusal(str(tmp_path / "model.safetensors"))


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert "no such directory" in refusal(tmp_path / "nowhere")
    assert "no such directory" in refusal(str(tmp_path / "nowhere"))


def test_a_directory_has_no_revision(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path)
    assert "--revision is for hub ids" in refusal(tmp_path, revision="main")


@pytest.mark.parametrize("hub_id", ["someone/some-model", "gpt-j"])
def test_a_hub_id_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_id: str
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for revision in (None, "refs/pr/40"):
        line = refusal(hub_id, revision=revision)
        assert line.startswith(hub_id)
        assert "the hub cannot be reached" in line
        assert revision is None or revision in line


# --- pickled weights without torch --------------------------------------------------------------


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if torch were not installed, also where it is."""
    import importlib.util

    find_spec = importlib.util.find_spec

    def without(name: str, *args: Any) -> Any:
        return None if name == "torch" else find_spec(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)


@pytest.mark.usefixtures("without_torch")
@families
@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_pickles_without_torch(tmp_path: Path, family: str, name: str) -> None:
    tiny_checkpoint(tmp_path, family)
    (tmp_path / "model.safetensors").rename(tmp_path / name)
    line = refusal(tmp_path)
    assert name in line
    assert "jaxsvd[torch]" in line
    assert "safetensors" in line or "refs/pr/40" in line
    assert ("EleutherAI/gpt-j-6b" in line and "refs/pr/40" in line) == (family == "gptj")


@pytest.mark.usefixtures("without_torch")
def test_safetensors_are_preferred_to_pickles(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    jaxsvd.load(tmp_path)
