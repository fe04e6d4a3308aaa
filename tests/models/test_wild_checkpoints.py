"""Checkpoints as they lie around: pointers, shards without an index, old buffers, long names."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxsvd
from jaxsvd.commands import models
from jaxsvd.results.read import read_run
from jaxsvd.runtime.errors import UserError

from .random_models import JSON_OF, weights, write_checkpoint, write_sharded
from .refusals import embedding, families, refusal, rewrite, tiny_checkpoint

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{0:064}\nsize 1044992\n"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_pointer_of_git_lfs(tmp_path: Path, name: str) -> None:
    tiny_checkpoint(tmp_path)
    (tmp_path / name).write_text(POINTER)
    line = refusal(tmp_path)
    assert f"{name}: a git-lfs pointer and not the file itself; run `git lfs pull`" in line


def test_shards_without_their_index(tmp_path: Path) -> None:
    config = JSON_OF["llama"]()
    write_sharded(tmp_path, config, weights(config), 3)
    (tmp_path / "model.safetensors.index.json").unlink()
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    assert (
        "2 of 3 shards of weights are there (model-00001-of-00003.safetensors), but not their "
        "index model.safetensors.index.json"
    ) in refusal(tmp_path)


def test_weights_by_another_name(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "adapter_model.safetensors")
    assert "no weights there by a name that is read" in refusal(tmp_path)
    assert "there is adapter_model.safetensors" in refusal(tmp_path)


@families
def test_rotary_tables_and_masks_at_any_level(tmp_path: Path, family: str) -> None:
    """No model reads them, whichever code once wrote them."""
    tensors = tiny_checkpoint(tmp_path, family)
    plain = embedding(jaxsvd.load(tmp_path))
    half, mask = np.ones(4, np.float32), np.ones((1, 1, 12, 12), np.float32)
    rewrite(
        tmp_path,
        tensors
        | {
            "model.rotary_emb.inv_freq": half,
            "model.layers.0.self_attn.rotary_emb.cos_cached": half,
            "transformer.h.1.attn.masked_bias": np.ones((), np.float32),
            "transformer.h.0.attn.bias": mask,
            "gpt_neox.layers.1.attention.bias": mask,
            "model.embeddings.position_ids": half,
            "rotary_emb.sin_cached": half,
        },
    )
    np.testing.assert_array_equal(embedding(jaxsvd.load(tmp_path)), plain)
    # A vector is a bias that no model here has there, and no mask.
    rewrite(tmp_path, tensors | {"model.layers.0.self_attn.bias": half})
    assert "model.layers.0.self_attn.bias" in refusal(tmp_path)


@pytest.mark.parametrize(
    "parts",
    [
        ("qweight", "qzeros", "scales", "g_idx"),
        ("weight_packed", "weight_scale", "weight_shape"),
        ("weight", "weight.absmax", "weight.quant_map", "weight.quant_state.bitsandbytes__nf4"),
        ("weight", "SCB"),
    ],
    ids=["gptq", "compressed-tensors", "bitsandbytes 4 bits", "bitsandbytes 8 bits"],
)
def test_quantised_weights_whose_config_does_not_say_so(
    tmp_path: Path, parts: tuple[str, ...]
) -> None:
    """One thing is wrong and one is said, not every tensor that is missing or too much."""
    tensors = tiny_checkpoint(tmp_path)
    stem = "model.layers.0.mlp.gate_proj"
    del tensors[f"{stem}.weight"]
    packed = {f"{stem}.{part}": np.ones((4, 4), np.int8) for part in parts}
    rewrite(tmp_path, tensors | packed)
    line = refusal(tmp_path)
    assert "its weights are quantised" in line
    assert "use the model's unquantised checkpoint, or a GGUF file of it" in line
    assert "missing" not in line


def test_every_command_gives_one_verdict(tmp_path: Path) -> None:
    """What load refuses for its config.json, `jaxsvd models` refuses with the same words."""
    tiny_checkpoint(tmp_path, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(UserError) as error:
        models.config_of(tmp_path)
    assert str(error.value) == refusal(tmp_path)


@pytest.mark.parametrize(
    "raw",
    ['{"model_type": "resnet"}', "{", '{"model_type": "llama", "num_hidden_layers": 1000}'],
    ids=["family", "damaged", "memory"],
)
def test_the_hubs_config_is_judged_before_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: str
) -> None:
    """The hub's client is replaced: nothing but what is asked of it is looked at."""
    import huggingface_hub

    (tmp_path / "config.json").write_text(raw)
    requested: list[list[str]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        del name
        requested.append(options["allow_patterns"])
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(UserError, match=r"config\.json|GB for its weights"):
        jaxsvd.load("someone/some-7b")
    assert requested == [["config.json"]]


bundled = functools.cache(jaxsvd.load)


@pytest.mark.parametrize(
    "call",
    [
        lambda path: jaxsvd.evaluate(bundled(), out=path, test_size=4, validation_size=4),
        lambda path: jaxsvd.load(path),
        lambda path: bundled().save(path),
        lambda path: read_run(path),
        lambda path: jaxsvd.evaluate(bundled(), task="sst2", data=path),
    ],
    ids=["out", "model", "prune", "run", "data"],
)
@pytest.mark.parametrize("path", ["x" * 300, f"{__file__}/below"], ids=["long", "below a file"])
def test_paths_that_cannot_be(call: Callable[[str], object], path: str) -> None:
    """A name too long for the file system, and a directory that is a file: one line each."""
    with pytest.raises(UserError):
        call(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "m")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "m" / name).chmod(0)
        assert f"{name}: can't be read (Permission denied)" in refusal(tmp_path / "m")
        (tmp_path / "m" / name).chmod(0o644)
    (tmp_path / "m").chmod(0)
    assert "Permission denied" in refusal(tmp_path / "m")
    (tmp_path / "m").chmod(0o755)


def test_other_files_beside_it(tmp_path: Path) -> None:
    """Files of other programs in the directory do not matter."""
    config = JSON_OF["llama"]()
    write_checkpoint(tmp_path, config, weights(config))
    for name in ("consolidated.00.pth", "README.md", ".gitattributes", "original.gguf.part"):
        (tmp_path / name).write_bytes(b"x")
    jaxsvd.load(tmp_path)
