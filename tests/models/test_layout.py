"""Parameters that share a tensor, or are stored transposed: read, cut, written again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edited_models import batch_logits, edited_sums
from safetensors.numpy import load_file
from tolerances import assert_close

import jaxsvd
from jaxsvd import UserError
from jaxsvd.checkpoints.load import layout_of
from jaxsvd.models import read_config
from jaxsvd.models.layout import Stored, resolve

from .random_models import padded_batch, weights, write_checkpoint
from .refusals import refusal, rewrite
from .tiny_families import TINY

FUSED = ("gpt2", "gpt_neox", "phi3")


def parameters(family: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors of a tiny checkpoint, and the decoder's arrays after loading would give."""
    config = TINY[family].json()
    tensors = weights(config)
    layout = layout_of(*read_config(config, ""))
    arrays = {path: e.share.of(tensors[e.name]) for path, e in layout.entries.items()}
    return tensors, arrays


def test_gpt2_stores_three_matrices_side_by_side_and_transposed() -> None:
    tensors, arrays = parameters("gpt2")
    fused = tensors["transformer.h.1.attn.c_attn.weight"]
    assert fused.shape == (32, 96)
    for i, name in enumerate(("q_proj", "k_proj", "v_proj")):
        own = arrays[f"blocks.1.attn.{name}.weight"]
        np.testing.assert_array_equal(own, fused[:, 32 * i : 32 * (i + 1)].T)
    np.testing.assert_array_equal(
        arrays["blocks.0.mlp.fc_in.weight"], tensors["transformer.h.0.mlp.c_fc.weight"].T
    )


def test_gpt_neox_stores_them_head_by_head() -> None:
    tensors, arrays = parameters("gpt_neox")
    fused = tensors["gpt_neox.layers.0.attention.query_key_value.weight"]
    for i, name in enumerate(("q_proj", "k_proj", "v_proj")):
        own = arrays[f"blocks.0.attn.{name}.weight"]
        for head in range(4):
            at = (3 * head + i) * 8
            np.testing.assert_array_equal(own[8 * head : 8 * head + 8], fused[at : at + 8])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("by_heads", [False, True])
def test_joining_undoes_cutting(by_heads: bool, transposed: bool) -> None:
    """Grouped heads: a tensor of K times (G queries, a key, a value)."""
    names = ("q", "k", "v")
    table = {name: Stored("fused", by_heads, transposed) for name in names}
    layout = resolve(table, {"q": (12, 5), "k": (4, 5), "v": (4, 5)}, key_value_heads=2)
    assert layout.shapes == {"fused": (5, 20) if transposed else (20, 5)}
    tensor = np.arange(100.0).reshape(layout.shapes["fused"])
    parts = {name: layout.entries[name].share.of(tensor) for name in names}
    assert {name: part.shape for name, part in parts.items()} == {
        "q": (12, 5),
        "k": (4, 5),
        "v": (4, 5),
    }
    np.testing.assert_array_equal(layout.joined("fused", parts), tensor)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FUSED)
def test_parts_are_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, dtype: str
) -> None:
    """Pieces of a few rows each give what the whole tensor gives."""
    monkeypatch.setattr("jaxsvd.checkpoints.placement.PIECE_BYTES", 300)
    _, arrays = parameters(family)
    config = TINY[family].json()
    model = jaxsvd.load(write_checkpoint(tmp_path, config, weights(config)), dtype=dtype)
    for layer, block in enumerate(model.decoder.blocks):
        for half, name in (("attn", "q_proj"), ("attn", "v_proj"), ("mlp", "fc_out")):
            own = getattr(getattr(block, half), name).weight[...]
            expected = arrays[f"blocks.{layer}.{half}.{name}.weight"]
            np.testing.assert_array_equal(own, expected.astype(own.dtype))


@pytest.mark.brief(module=("mlp",))
@pytest.mark.parametrize("factored", [False, True], ids=["dense", "factored"])
@pytest.mark.parametrize("module", ["attn", "k_proj", "mlp"])
@pytest.mark.parametrize("family", FUSED)
def test_truncated_and_saved(tmp_path: Path, family: str, module: str, factored: bool) -> None:
    """Both ways of saving give the truncated model back; the dense one under the old names."""
    config = TINY[family].json()
    tensors = weights(config)
    model = jaxsvd.load(write_checkpoint(tmp_path / "source", config, tensors))
    pruned = jaxsvd.prune(model, layer=1, module=module, rate=0.9)
    pruned.save(tmp_path / "saved", factored=factored)
    if not factored:
        assert load_file(tmp_path / "saved" / "model.safetensors").keys() == tensors.keys()
    else:
        raw = json.loads((tmp_path / "saved" / "config.json").read_text())
        assert set(raw["jaxsvd_factors"].values()) == {
            pair.left.shape[1] for pair in pruned.factors.values()
        }
    again = jaxsvd.load(tmp_path / "saved")
    ids, mask = padded_batch(config)
    exact = batch_logits(pruned.decoder, ids, mask)[mask]
    for either in (again, pruned):
        sums = edited_sums(pruned.config, pruned.edits, ids.shape[1])
        assert_close(np.asarray(either.logits(ids, mask))[mask], exact, sums)


def test_what_is_wrong_is_said_of_the_tensor(tmp_path: Path) -> None:
    config = TINY["gpt2"].json()
    tensors = weights(config)
    write_checkpoint(tmp_path, config, tensors)
    name = "transformer.h.0.attn.c_attn.weight"
    rewrite(tmp_path, tensors | {name: tensors[name].T.copy()})
    assert f"{name} has shape [96, 32], should be [32, 96]" in refusal(tmp_path)
    rewrite(tmp_path, {key: value for key, value in tensors.items() if key != name})
    assert f"missing {name}" in refusal(tmp_path)
    tensors[name][3, 70] = np.nan
    rewrite(tmp_path, tensors)
    assert f"NaN or infinite weights in {name}" in refusal(tmp_path)


def test_a_checkpoint_of_the_body_alone(tmp_path: Path) -> None:
    """GPT-2's files on the hub lack the prefix that transformers now writes."""
    config = TINY["gpt2"].json()
    tensors = weights(config)
    whole = jaxsvd.load(write_checkpoint(tmp_path / "whole", config, tensors))
    body = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    bare = jaxsvd.load(write_checkpoint(tmp_path / "body", config, body))
    ids, _ = padded_batch(config)
    assert (bare.logits(ids) == whole.logits(ids)).all()
    with pytest.raises(UserError, match="not part of a gpt2 model"):
        jaxsvd.load(write_checkpoint(tmp_path / "odd", config, body | {"x": body["ln_f.weight"]}))
