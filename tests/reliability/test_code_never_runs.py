"""Archives and pickles that would run code, fill the memory, or reach out of their directory."""

import contextlib
import functools
import importlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import jaxsvd
from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.model import load_tokenizer
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import sources
from jaxsvd.tasks.built_in import SPECS
from tests.models.random_models import llama_json, weights, write_checkpoint, write_index

from .trials import peak_memory, unclear

if find_spec("torch"):  # so that its own size does not count as what a file takes
    importlib.import_module("torch")


class Payload:
    """What a pickle runs when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return (open, (str(self.canary), "w"))


def pickled(canary: Path) -> bytes:
    return pickle.dumps({"model.norm.weight": Payload(canary)})


def torch_archive(canary: Path) -> bytes:
    """The zip that torch.save writes, with a payload for its pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(canary))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return buffer.getvalue()


@functools.cache
def bomb() -> bytes:
    """200 MB of zeros in 200 kB, as torch's archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(200_000_000))
    return buffer.getvalue()


def test_the_payload_would_run(tmp_path: Path) -> None:
    """Loaded by pickle itself it does; so the tests below mean something."""
    canary = tmp_path / "canary"
    pickle.loads(pickled(canary))["model.norm.weight"].close()
    assert canary.exists()


def refused(attempt: Callable[[], Any], canary: Path) -> str:
    """The one line that an attempt fails with, having run nothing and taken little memory."""
    with peak_memory() as peak, pytest.raises(UserError) as error:
        attempt()
    assert not canary.exists()
    assert peak.bytes < 100_000_000
    assert unclear(str(error.value)) is None
    return str(error.value)


MAKERS = {"pickle": pickled, "archive": torch_archive, "bomb": lambda _: bomb()}


@pytest.mark.parametrize("content", MAKERS)
@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors", "model.pt", "model.ckpt", "pytorch_model.pt"]
)
def test_weights(tmp_path: Path, name: str, content: str) -> None:
    """Under torch's name, under ours, and under names that nothing reads."""
    write_checkpoint(tmp_path, llama_json(), weights(llama_json()))
    (tmp_path / "model.safetensors").unlink()
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(MAKERS[content](canary))
    line = refused(lambda: jaxsvd.load(tmp_path), canary)
    if name == "pytorch_model.bin":
        installed = find_spec("torch") is not None
        assert ("lacks" in line or "torch checkpoint" in line or "missing" in line) or not installed
        assert "jaxsvd[torch]" in line or installed
    elif name == "model.safetensors":
        assert "damaged or cut short" in line
    else:
        assert "no weights there" in line


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize(
    "away", ["../outside", "/outside", "sub/../../outside", "sub\\..\\outside"]
)
def test_an_index_stays_in_its_directory(tmp_path: Path, suffix: str, away: str) -> None:
    """Even where the file outside would be good; also for torch's shards."""
    directory = tmp_path / "model"
    write_checkpoint(directory, llama_json(), weights(llama_json()))
    outside = tmp_path / f"outside{suffix}"
    (directory / "model.safetensors").rename(outside)
    (directory / "sub").mkdir()
    name = "pytorch_model.bin.index.json" if suffix == ".bin" else "model.safetensors.index.json"
    target = str(tmp_path / "outside") if away.startswith("/") else away
    write_index(directory, {"model.norm.weight": target + suffix}, name)
    line = refused(lambda: jaxsvd.load(directory), tmp_path / "canary")
    if suffix == ".safetensors" or find_spec("torch"):
        assert "beside the index" in line or "no such file" in line


def test_code_beside_a_model(tmp_path: Path) -> None:
    """Python that config.json and tokenizer_config.json ask for is not imported."""
    write_checkpoint(tmp_path, llama_json(), weights(llama_json()))
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w')\nclass Own: pass\n"
    for name in ("tokenization_own", "configuration_own", "modeling_own"):
        (tmp_path / f"{name}.py").write_text(code)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((BUNDLED / name).read_bytes())
    maps = {
        "AutoConfig": "configuration_own.Own",
        "AutoModelForCausalLM": "modeling_own.Own",
        "AutoTokenizer": ["tokenization_own.Own", "tokenization_own.Own"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": maps}))
    assert "auto_map" in refused(lambda: jaxsvd.load(tmp_path), canary)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Own", "auto_map": maps})
    )
    with contextlib.suppress(UserError):
        load_tokenizer(tmp_path)
    assert not canary.exists()


@pytest.mark.parametrize("content", MAKERS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_data(tmp_path: Path, content: str, suffix: str) -> None:
    canary = tmp_path / "canary"
    (tmp_path / f"train{suffix}").write_bytes(MAKERS[content](canary))
    line = refused(lambda: sources.load(SPECS["sst2"], tmp_path), canary)
    assert f"train{suffix}" in line
