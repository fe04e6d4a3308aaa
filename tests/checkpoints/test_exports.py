"""What an edited model leaves on disk: dtype, shards, companions, history and card."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from huggingface_hub import ModelCard
from safetensors.numpy import load_file, save_file

import jaxsvd
from jaxsvd.checkpoints.save import Planned, write_safetensors
from jaxsvd.cli.main import main
from jaxsvd.edits.edit import Edit
from jaxsvd.engine.requests import Request
from jaxsvd.runtime.errors import UserError
from jaxsvd.score import edit_records
from tests.models.random_models import (
    llama_json,
    weights,
    write_checkpoint,
    write_index,
    write_sharded,
)

EDIT = "0:mlp:0.5+1:attn:0.75"
IDS = np.arange(10, dtype=np.int32)[None] % 61


def stored(directory: Path) -> dict[str, np.ndarray]:
    """All tensors of a directory by name."""
    files = directory.glob("*.safetensors")
    return {name: x for file in files for name, x in load_file(file).items()}


def source_of(directory: Path, dtype: object = np.float32, **config: object) -> Path:
    """A tiny Llama in two shards of odd bounds, with what real directories have beside."""
    raw = llama_json(**config)
    tensors = {name: value.astype(dtype) for name, value in weights(raw).items()}
    write_sharded(directory, raw, tensors, shards=2)
    (directory / "generation_config.json").write_text('{"max_new_tokens": 5}')
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    (directory / "LICENSE").write_text("terms")
    (directory / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: [en]\n---\n# Tiny\n")
    (directory / "pytorch_notes.txt").write_text("")
    return directory


def edited_names(count: int = 2) -> set[str]:
    mlp = {f"model.layers.0.mlp.{m}_proj.weight" for m in ("gate", "up", "down")}
    attention = {f"model.layers.1.self_attn.{m}_proj.weight" for m in "qkvo"}
    return mlp | attention if count == 2 else mlp


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
@pytest.mark.brief(dtype=(np.float16,))
def test_dtype_shards_and_companions_are_the_sources(tmp_path: Path, dtype: object) -> None:
    """What no edit touches is equal to the last bit, whatever the model was computed in."""
    source = source_of(tmp_path / "source", dtype, torch_dtype=np.dtype(dtype).name)
    edited = jaxsvd.load(source).edited(EDIT)
    edited.save(tmp_path / "out")
    before, after = stored(source), stored(tmp_path / "out")
    assert before.keys() == after.keys()
    assert {x.dtype for x in after.values()} == {np.dtype(dtype)}
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == edited_names()
    index = "model.safetensors.index.json"
    read = [json.loads((d / index).read_text())["weight_map"] for d in (source, tmp_path / "out")]
    assert read[0] == read[1]
    config, built = (
        json.loads((d / "config.json").read_text()) for d in (source, tmp_path / "out")
    )
    provenance = built.pop("jaxsvd")
    assert built == config
    assert [e["ranks"] for e in provenance["edits"]] == [
        dict(r.ranks) for r in edit_records(edited)
    ]
    for name in ("generation_config.json", "chat_template.jinja", "LICENSE"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert not (tmp_path / "out" / "pytorch_notes.txt").exists()


def test_one_large_file_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = llama_json()
    source = write_checkpoint(tmp_path / "source", raw, weights(raw))
    monkeypatch.setattr("jaxsvd.checkpoints.save.SHARD_BYTES", 1000)
    jaxsvd.load(source).edited(EDIT).save(tmp_path / "out")
    assert [f.name for f in (tmp_path / "out").glob("*.safetensors*")] == ["model.safetensors"]


def test_shards_of_other_names_are_numbered(tmp_path: Path) -> None:
    """Their bounds stay; readers want the usual names."""
    raw = llama_json()
    tensors = weights(raw)
    source = write_checkpoint(tmp_path / "source", raw, tensors)
    (source / "model.safetensors").unlink()
    parts = [dict(list(tensors.items())[:5]), dict(list(tensors.items())[5:])]
    for name, part in zip("ab", parts, strict=True):
        save_file(part, source / f"{name}.safetensors")
    where = {key: f"{name}.safetensors" for name, p in zip("ab", parts, strict=True) for key in p}
    write_index(source, where)
    jaxsvd.load(source).edited(EDIT).save(tmp_path / "out")
    for i, part in enumerate(parts, start=1):
        assert (
            load_file(tmp_path / "out" / f"model-{i:05}-of-00002.safetensors").keys() == part.keys()
        )


def test_a_narrower_model_is_written_narrower(tmp_path: Path) -> None:
    """Its numbers hold no more than its dtype; config.json says which."""
    source = source_of(tmp_path / "source", torch_dtype="float32")
    jaxsvd.load(source, dtype="bfloat16").edited(EDIT).save(tmp_path / "out")
    assert {x.dtype.name for x in stored(tmp_path / "out").values()} == {"bfloat16"}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "torch_dtype" not in config


def test_beyond_float16(tmp_path: Path) -> None:
    """A truncation may enlarge an entry; infinity is not written."""
    raw = llama_json()
    tensors = {n: x.astype(np.float16) for n, x in weights(raw).items()}
    name = "model.layers.0.mlp.gate_proj.weight"
    rng = np.random.default_rng(0)
    tensors[name] = (65504 * np.sign(rng.standard_normal(tensors[name].shape))).astype(np.float16)
    source = write_checkpoint(tmp_path / "source", raw, tensors)
    with pytest.raises(UserError, match=r"gate_proj.weight holds .*, beyond float16"):
        jaxsvd.load(source).edited("0:fc_in:0.2").save(tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
@pytest.mark.brief(mask=(0o077,))
def test_permissions_are_by_umask(tmp_path: Path, mask: int) -> None:
    """Whatever those of the source are: shared folders are often read-only."""
    source = source_of(tmp_path / "source")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool.jinja").write_text("")
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o400)
    before = os.umask(mask)
    try:
        jaxsvd.load(source).edited(EDIT).save(tmp_path / "out")
    finally:
        os.umask(before)
    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        usual = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == usual & ~mask, path


@pytest.mark.parametrize("format", ["dense", "factored"])
@pytest.mark.brief(format=("factored",))
def test_history_is_kept_whole(tmp_path: Path, format: str) -> None:
    """In one session and over files; the first source stays the source."""
    source = source_of(tmp_path / "source")
    first = jaxsvd.load(source).edited("0:mlp:0.5").edited("1:attn:0.75")
    first.save(tmp_path / "first", format=format)
    again = jaxsvd.load(tmp_path / "first")
    assert again.edits == ()
    assert again.history == first.history == first.edits
    assert edit_records(again) == edit_records(first)
    noise = Edit(1, "fc_in", rank=3, method="noise", seed=4)
    second = again.edited([Edit(0, "mlp", 0.75), noise])
    second.save(tmp_path / "second")
    actual = jaxsvd.load(tmp_path / "second")
    assert actual.history == (*first.edits, *second.edits)
    assert actual.provenance.source == str(source)
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    assert [e["layer"] for e in config["jaxsvd"]["edits"]] == [0, 1, 0, 1]
    assert "noise, seed 4" in (tmp_path / "second" / "README.md").read_text()


def test_damaged_history(tmp_path: Path) -> None:
    source = source_of(tmp_path / "source")
    raw = json.loads((source / "config.json").read_text())
    for wrong in (3, {}, {"source": 1}, {"source": "x", "edits": [{"layer": 9}]}):
        (source / "config.json").write_text(json.dumps(raw | {"jaxsvd": wrong}))
        with pytest.raises(UserError, match="jaxsvd, what the model was made of, is damaged"):
            jaxsvd.load(source)


def test_the_card(tmp_path: Path) -> None:
    """Metadata of the source's card, what was cut, and how to load it."""
    source = source_of(tmp_path / "source")
    jaxsvd.load(source).edited(EDIT).save(tmp_path / "out", measured="Much was measured.")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    actual = card.data.to_dict()
    assert (actual["license"], actual["language"]) == ("apache-2.0", ["en"])
    assert (actual["library_name"], actual.get("base_model")) == ("transformers", None)
    assert "| 0 | mlp | 0.5 | fc_in 16, fc_up 16, fc_out 16 | exact |" in card.text
    assert str(source) in card.text
    assert "Much was measured." in card.text


@pytest.mark.parametrize("name", ["someone/tiny", "someone/tiny/tiny-Q4_1.gguf"])
def test_a_card_of_a_model_on_the_hub(tmp_path: Path, name: str) -> None:
    source = jaxsvd.load(source_of(tmp_path / "source"))
    replace(source, source=name).edited("0:mlp:0.5").save(tmp_path / "out")
    assert ModelCard.load(tmp_path / "out" / "README.md").data.base_model == "someone/tiny"


def test_a_model_that_nobody_edited_has_no_card(tmp_path: Path) -> None:
    source = source_of(tmp_path / "source")
    jaxsvd.load(source).save(tmp_path / "out")
    assert not (tmp_path / "out" / "README.md").exists()
    assert "jaxsvd" not in json.loads((tmp_path / "out" / "config.json").read_text())


@pytest.mark.long
def test_factors_serve_scoring(tmp_path: Path) -> None:
    """Several edits; the engine multiplies the factors, and they are kept when saved again."""
    source = source_of(tmp_path / "source")
    edited = jaxsvd.load(source).edited(EDIT)
    edited.save(tmp_path / "out", format="factored")
    actual = jaxsvd.load(tmp_path / "out")
    assert actual.factors.keys() == edited.factors.keys()
    for path, pair in actual.factors.items():
        np.testing.assert_array_equal(pair.left, edited.factors[path].left)
    fc_in = actual.engine.blocks[0]["mlp"]["fc_in"]
    width = fc_in["left"].shape[1]
    rank = int(fc_in["rank"])
    assert rank <= width
    broken = dict(actual.engine.blocks[0]["mlp"]["fc_in"])
    assert {"left", "right"} <= broken.keys()
    requests = [Request([1, 2, 3], [[5], [7]], "label tokens")]
    [one] = actual.engine.score(requests)
    plain = np.asarray(actual.logits(np.array([[1, 2, 3]])))[0, -1, [5, 7]]
    np.testing.assert_allclose(one.scores, plain, rtol=0, atol=1e-5 * np.abs(plain).max())
    # Without its factors the matrix is not what is multiplied.
    fc_in["right"] = 0 * fc_in["right"]
    [other] = actual.engine.score(requests)
    assert np.abs(other.scores - one.scores).max() > 1e-3
    actual.save(tmp_path / "again", format="factored")
    assert stored(tmp_path / "again").keys() == stored(tmp_path / "out").keys()


def test_safetensors_are_written_as_the_library_reads_them(tmp_path: Path) -> None:
    """Narrow and wide types in one file, each at a multiple of its size; a scalar and nothing."""
    rng = np.random.default_rng(0)
    arrays = {
        "half": rng.standard_normal((3, 5)).astype(np.float16),
        "single": rng.standard_normal((2, 3)).astype(np.float32),
        "brain": rng.standard_normal(7).astype(ml_dtypes.bfloat16),
        "scalar": np.asarray(2.0),
        "empty": np.zeros((0, 4), np.float32),
    }
    planned = {n: Planned(x.shape, x.dtype, lambda x=x: x) for n, x in arrays.items()}
    write_safetensors(tmp_path / "x.safetensors", planned)
    actual = load_file(tmp_path / "x.safetensors")
    assert actual.keys() == arrays.keys()
    for name, array in arrays.items():
        assert actual[name].dtype == array.dtype
        np.testing.assert_array_equal(actual[name], array)
    raw = (tmp_path / "x.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    assert size % 8 == 0
    header = json.loads(raw[8 : 8 + size])
    for name, array in arrays.items():
        assert header[name]["data_offsets"][0] % array.dtype.itemsize == 0


# --- the adapter --------------------------------------------------------------------------------


def test_the_adapter_is_the_removed_part(tmp_path: Path) -> None:
    """``W + B A`` is the truncated matrix, ``A`` orthonormal rows, one rank for all matrices."""
    source = source_of(tmp_path / "source", num_key_value_heads=2)
    edited = jaxsvd.load(source).edited("0:mlp:0.1").edited("0:mlp:0.2+1:attn:0.3")
    edited.save(tmp_path / "out", format="lora")
    names = {"adapter_config.json", "adapter_model.safetensors", "README.md", "jaxsvd.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    before = stored(source)
    edited.save(tmp_path / "dense")
    after = stored(tmp_path / "dense")
    actual = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert config["r"] == config["lora_alpha"]
    assert config["base_model_name_or_path"] == str(source)
    assert config["fan_in_fan_out"] is False
    assert {f"{m}.weight" for m in config["target_modules"]} == edited_names()
    assert len(actual) == 2 * len(edited_names())
    for name in edited_names():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        a, b = actual[f"{stem}.lora_A.weight"], actual[f"{stem}.lora_B.weight"]
        assert a.shape[0] == b.shape[1] == config["r"]
        used = np.abs(a).max(axis=1) > 0
        assert (b[:, ~used] == 0).all()
        np.testing.assert_allclose(a[used] @ a[used].T, np.eye(used.sum()), atol=1e-5)
        np.testing.assert_allclose(before[name] + b @ a, after[name], atol=1e-5)
    assert (
        max((np.abs(x).max(axis=1) > 0).sum() for n, x in actual.items() if "lora_A" in n)
        == config["r"]
    )


def test_a_large_adapter_is_refused_with_the_numbers(tmp_path: Path) -> None:
    source = source_of(tmp_path / "source")
    with pytest.raises(UserError) as error:
        jaxsvd.load(source).edited("0:mlp:0.9").save(tmp_path / "out", format="lora")
    rank = 32 - 3
    adapter, dense = 3 * rank * (32 + 40), 3 * 32 * 40
    assert f"rank {rank}" in str(error.value)
    assert f"{adapter:,} numbers" in str(error.value)
    assert f"hold {dense:,}" in str(error.value)
    assert sorted(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ("0:mlp:0", "a clipping rate of 0 truncates nothing"),
        ("0:mlp:0.2:noise", "none of the edits truncates a matrix"),
        ("0:mlp:0.2+1:fc_in:0.1:noise", "edited and not truncated"),
    ],
)
def test_what_is_no_adapter(tmp_path: Path, edits: str, said: str) -> None:
    source = source_of(tmp_path / "source")
    with pytest.raises(UserError, match=said):
        jaxsvd.load(source).edited(edits).save(tmp_path / "out", format="lora")
    assert sorted(tmp_path.iterdir()) == [source]


def test_no_adapter_of_a_factored_source(tmp_path: Path) -> None:
    source = source_of(tmp_path / "source")
    jaxsvd.load(source).edited("0:mlp:0.5").save(tmp_path / "factored", format="factored")
    with pytest.raises(UserError, match="which peft does not read"):
        jaxsvd.load(tmp_path / "factored").edited("1:mlp:0.1").save(tmp_path / "o", format="lora")


# --- the command --------------------------------------------------------------------------------


@pytest.mark.long
def test_the_formats_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "dense": "model.safetensors",
        "lora": "adapter_model.safetensors",
        "factored": "model.factored.safetensors",
    }
    for format, file in files.items():
        out = tmp_path / format
        assert main(["prune", "--edit", "0:mlp:0.2", "--format", format, "--out", str(out)]) == 0
        assert (out / file).is_file()
        assert f"{(out / file).stat().st_size:,} bytes" in capsys.readouterr().out
    requested = ["prune", "--edit", "0:mlp:0.9", "--format", "lora", "--out", str(tmp_path / "x")]
    assert main(requested) == 2
    assert "use the format dense or factored" in capsys.readouterr().err


@pytest.mark.long
def test_prune_from_a_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Model and edit are the search's, and its numbers stand on the card."""
    run, out = tmp_path / "run", tmp_path / "out"
    sizes = ["--validation-size", "10", "--test-size", "10"]
    requested = ["search", "--layer", "1", "--module", "mlp", "--rates", "0", "0.95", *sizes]
    assert main([*requested, "--out", str(run)]) == 0
    result = json.loads((run / "result.json").read_text())
    # Whatever ten examples say: the rate that is best in the record is what is pruned.
    result["best_rate"] = 0.95
    (run / "result.json").write_text(json.dumps(result))
    assert main(["prune", "--from", str(run), "--out", str(out)]) == 0
    [edit] = json.loads((out / "config.json").read_text())["jaxsvd"]["edits"]
    assert (edit["layer"], edit["module"], edit["rate"]) == (1, "mlp", 0.95)
    card = (out / "README.md").read_text()
    assert "What was measured" in card
    base = result["test"]["base"]
    assert f"| test, untouched | 0 | {base['correct']} | 10 |" in card
    assert main(["evaluate", str(out), *sizes, "--out", str(tmp_path / "after")]) == 0
    assert json.loads((tmp_path / "after" / "result.json").read_text())["model"]["edits"] == [edit]
    capsys.readouterr()
    for options, said in (
        (["--edit", "0:mlp:0.5"], "--from takes the edit of a search"),
        ([str(out)], "is not the model that"),
    ):
        again = ["prune", *options, "--from", str(run), "--out", str(tmp_path / "no")]
        assert main(again) == 2
        assert said in capsys.readouterr().err
    result["best_rate"] = 0.0
    (run / "result.json").write_text(json.dumps(result))
    assert main(["prune", "--from", str(run), "--out", str(tmp_path / "no")]) == 2
    assert "there is nothing to prune" in capsys.readouterr().err
