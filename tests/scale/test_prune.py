"""A pruned model on disk is the model that the engine scored."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from edited_models import batch_logits, by_hand, edited_sums
from flax import nnx
from safetensors.numpy import load_file
from tolerances import assert_close

import jaxsvd
from jaxsvd import svd
from jaxsvd.checkpoints import save as saving
from jaxsvd.cli.main import main
from jaxsvd.commands.prune import prune
from jaxsvd.edits.edit import Edit, Edits, matrix_edits
from jaxsvd.edits.replacement import all_replacements, edit_key, variants
from jaxsvd.engine.requests import Request
from jaxsvd.model import Model
from jaxsvd.models.lowrank import LowRank
from jaxsvd.models.matrices import matrices, part
from jaxsvd.results.records import EditRecord
from jaxsvd.runtime.errors import UserError
from jaxsvd.score import edit_records

PROMPTS = np.random.default_rng(0).integers(0, 97, (4, 17)).astype(np.int32)
LABELS = (3, 17, 41)


def label_logits(model: Model) -> np.ndarray:
    """By a plain forward pass, ``[prompts, labels]``."""
    return np.asarray(model.logits(PROMPTS))[:, -1, list(LABELS)]


def engine_logits(model: Model, edits: Edits) -> np.ndarray:
    """The same by the engine, which branches off for the edits."""
    requests = [
        Request(prompt, [[label] for label in LABELS], "label tokens") for prompt in PROMPTS
    ]
    scored = model.engine.score(requests, variants(model.engine, [edits]))
    scores = {s.request: s.scores for s in scored}
    return np.array([scores[i] for i in range(len(requests))])


def weight(model: Model, edit: Edit) -> jax.Array:
    """The matrix that an edit of one matrix is of."""
    half = getattr(model.decoder.blocks[edit.layer], part(edit.module))
    return getattr(half, edit.module).weight[...]


def exact_logits(model: Model) -> np.ndarray:
    """The label logits of a plain pass in float64."""
    return batch_logits(model.decoder, PROMPTS)[:, -1, list(LABELS)]


def assert_same(model: Model, edits: Edits, ours: np.ndarray, exact: np.ndarray) -> None:
    """Up to rounding along the sums of the model with its edits."""
    assert_close(ours, exact, edited_sums(model.config, edits, PROMPTS.shape[1]))


@pytest.mark.parametrize(
    ("family", "layer", "module", "rate"),
    [
        ("gptj", 1, "mlp", 0.9),
        ("gptj", -1, "attn", 0.5),
        ("llama", -3, "all", 0.75),
        ("llama", 2, "fc_up", 0.1),
    ],
)
@pytest.mark.brief(module=("attn",))
def test_what_is_saved_scores_as_the_engine_does(
    tiny: Callable[..., Model], tmp_path: Path, family: str, layer: int, module: str, rate: float
) -> None:
    """Both layouts, read back, against the engine's own truncated variant."""
    model = tiny(family)
    pruned = jaxsvd.prune(model, layer=layer, module=module, rate=rate)
    index = layer % 3
    assert pruned.edits == (Edit(index, module, rate),)
    expected = exact_logits(by_hand(model, pruned.edits))
    same = functools.partial(assert_same, model, pruned.edits)
    same(engine_logits(model, pruned.edits), expected)
    same(label_logits(pruned), expected)
    assert pruned.source == f"tiny, edited {index}:{module}:{rate:g}"
    pruned.save(tmp_path / "dense")
    pruned.save(tmp_path / "factored", factored=True)
    for name in ("dense", "factored"):
        same(label_logits(jaxsvd.load(tmp_path / name)), expected)
    assert np.abs(label_logits(model) - expected).max() > 1e-4, "truncation changed nothing"
    names = matrices(model.config, module)
    [record] = edit_records(pruned)
    assert (record.layer, record.module, record.rate) == (index, module, rate)
    assert tuple(record.ranks) == names
    for edit in matrix_edits(pruned.edits, model.config):
        cut, rank = weight(pruned, edit), record.ranks[edit.module]
        assert np.linalg.matrix_rank(cut, tol=1e-4) == rank
        assert rank == svd.rank_at(rate, cut.shape)


def test_factors_in_the_file(tiny: Callable[..., Model], tmp_path: Path) -> None:
    """``NAME.left`` and ``NAME.right`` for each truncated matrix, nothing else changed."""
    model = tiny("gptj")
    pruned = prune(model, layer=1, module="mlp", rate=0.9)
    pruned.save(tmp_path / "factored", factored=True)
    pruned.save(tmp_path / "dense")
    tensors = load_file(tmp_path / "factored" / "model.factored.safetensors")
    dense = load_file(tmp_path / "dense" / "model.safetensors")
    config = json.loads((tmp_path / "factored" / "config.json").read_text())
    cut = {f"transformer.h.1.mlp.{name}.weight" for name in ("fc_in", "fc_out")}
    assert config.pop("jaxsvd_factors") == dict.fromkeys(cut, 3)
    assert config == json.loads((tmp_path / "dense" / "config.json").read_text())
    sides = {f"{name}.{side}" for name in cut for side in ("left", "right")}
    assert tensors.keys() == dense.keys() - cut | sides
    for name in cut:
        left, right = tensors[f"{name}.left"], tensors[f"{name}.right"]
        assert left.shape[1] == right.shape[0] == 3
        assert_close(dense[name], left.astype(np.float64) @ right, [3])
    for name in dense.keys() - cut:
        assert (tensors[name] == dense[name]).all()
    written = sum(value.size for value in tensors.values())
    assert pruned.stored_parameters(factored=True) == written
    assert pruned.stored_parameters() == model.parameters == sum(v.size for v in dense.values())
    assert written == model.parameters - 2 * 32 * 48 + 2 * 3 * (32 + 48)
    again = jaxsvd.load(tmp_path / "factored")
    again.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == config


def test_bfloat16_keeps_its_dtype(tiny: Callable[..., Model], tmp_path: Path) -> None:
    tiny("llama").save(tmp_path / "float32")
    model = jaxsvd.load(tmp_path / "float32", dtype="bfloat16")
    pruned = prune(model, layer=1, rate=0.5)
    pruned.save(tmp_path / "factored", factored=True)
    tensors = load_file(tmp_path / "factored" / "model.factored.safetensors")
    assert {value.dtype.name for value in tensors.values()} == {"bfloat16"}
    again = jaxsvd.load(tmp_path / "factored", dtype="bfloat16")
    error = np.abs(label_logits(again) - label_logits(pruned)).max()
    assert error < 0.05 * np.abs(label_logits(pruned)).max()  # bfloat16 has 8 bits


def test_rate_0_touches_nothing(tiny: Callable[..., Model], tmp_path: Path) -> None:
    model = tiny("gptj")
    pruned = prune(model, layer=0, rate=0.0)
    assert (pruned.factors, pruned.source) == ({}, "tiny")
    assert edit_records(pruned) == (EditRecord(0, "mlp", 0.0, {}),)
    old, new = (jax.tree.leaves(nnx.state(m.decoder)) for m in (model, pruned))
    assert all(one is other for one, other in zip(old, new, strict=True))
    with pytest.raises(UserError, match="a clipping rate of 0 truncates nothing"):
        pruned.save(tmp_path / "out", factored=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rates", [(0.0, 0.1, 0.5), (0.3, 0.5, 0.7, 0.9), (0.7,)])
@pytest.mark.brief(rates=((0.7,),))
def test_randomized_is_what_a_search_tests(
    tiny: Callable[..., Model], rates: tuple[float, ...]
) -> None:
    """Whatever the other rates and modules: random numbers are of seed, layer, matrix and rank."""
    model = tiny("gptj")
    for module in ("fc_out", "mlp", "all"):
        searched = [(Edit(1, module, rate, method="randomized", seed=7),) for rate in rates]
        built = all_replacements(model.engine, searched)
        for rate in rates:
            pruned = prune(model, layer=1, module="fc_out", rate=rate, method="randomized", seed=7)
            for edit in matrix_edits(pruned.edits, model.config):
                low = built[edit]
                assert isinstance(low, LowRank)
                rank = int(low.rank)
                if rank > low.left.shape[1]:  # multiplied dense: the very matrix
                    np.testing.assert_array_equal(weight(pruned, edit), low.weight)
                    continue
                product = np.asarray(low.left, np.float64)[:, :rank] @ np.asarray(low.right)[:rank]
                assert_close(weight(pruned, edit), product, [1, rank])


def test_random_numbers_differ_by_seed_layer_matrix_and_rank() -> None:
    edit = Edit(1, "fc_in", 0.5, method="randomized", seed=7)
    others = [{"seed": 8}, {"layer": 2}, {"module": "fc_out"}]
    keys = [edit_key(edit, 3), edit_key(edit, 4)]
    keys += [edit_key(dataclasses.replace(edit, **other), 3) for other in others]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 5
    assert (jax.random.key_data(edit_key(edit, 3)) == jax.random.key_data(keys[0])).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layer": 3, "rate": 0.5}, "no layer 3"),
        ({"layer": -4, "rate": 0.5}, "no layer -4"),
        ({"layer": 0, "rate": 1.0}, "clipping rate 1.0 should be"),
        ({"layer": 0, "rate": -0.1}, "clipping rate -0.1 should be"),
        ({"layer": 0, "rate": 0.5, "module": "fc_up"}, "gptj has no module 'fc_up'"),
        ({"layer": 0, "rate": 0.5, "module": "head"}, "unknown module 'head'"),
    ],
)
def test_refusals(tiny: Callable[..., Model], arguments: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        jaxsvd.prune(tiny("gptj"), **arguments)  # pyright: ignore[reportArgumentType]


# --- the command --------------------------------------------------------------------------------


@pytest.mark.long
def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Writes a model that every command takes, and says what it kept."""
    out = tmp_path / "made" / "pruned"
    requested = ["prune", "--layer", "-1", "--rate", "0.95", "--factored", "--out", str(out)]
    assert main(requested) == 0
    printed = capsys.readouterr().out
    assert "layer 3, mlp, rate 0.95: rank 6 (fc_in, fc_out)" in printed
    model = jaxsvd.load()
    shape = model.decoder.blocks[3].mlp.fc_in.weight.shape
    stored = model.parameters - 2 * shape[0] * shape[1] + 2 * 6 * sum(shape)
    assert f"{stored:,} numbers in float16" in printed
    assert f"{1 - stored / model.parameters:.2%} fewer" in printed
    assert jaxsvd.load(out).tokenizer("good")["input_ids"] == model.tokenizer("good")["input_ids"]
    assert main(["evaluate", str(out), "--test-size", "10", "--out", str(tmp_path / "run")]) == 0
    assert main(requested) == 2
    assert "exists already; choose a new directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layer", "0", "--rate", "1"], "clipping rate 1.0 should be at least 0 and below 1"),
        (["--layer", "0", "--rate", "x"], "'x' should be a number in [0, 1)"),
        (["--layer", "auto", "--rate", "0.5"], "'auto' should be a whole number"),
        (["--layer", "9", "--rate", "0.5"], "no layer 9: the model has 4 layers"),
        (["--layer", "0", "--rate", "0.5", "--module", "fc_up"], "gptj has no module 'fc_up'"),
        (["--layer", "0", "--rate", "0", "--factored"], "there are no factors to keep"),
        (["--layer", "0"], "give --layer and --rate, or --edit alone"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    """One line, and nothing is left of what was begun."""
    assert main(["prune", *arguments, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """The system refuses files over a megabyte: one line, and nothing half-written."""
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)); "
        "from jaxsvd.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    requested = ["prune", "--layer", "0", "--rate", "0.5", "--out", str(tmp_path / "out" / "model")]
    done = subprocess.run(
        [sys.executable, "-c", limited, *requested],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"XDG_CACHE_HOME": "/dev/null"},
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "cannot be written" in line
    assert list((tmp_path / "out").iterdir()) == []


# --- large models -------------------------------------------------------------------------------


def test_tensors_in_several_files(
    tiny: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models over the size of a shard get an index; both readers of it find the same."""
    whole = tiny("llama")
    monkeypatch.setattr(saving, "SHARD_BYTES", 30_000)
    whole.save(tmp_path / "dense")
    pruned = prune(whole, layer=0, rate=0.9)
    pruned.save(tmp_path / "factored", factored=True)
    for name in ("dense", "factored"):
        files = sorted(file.name for file in (tmp_path / name).glob("*.safetensors"))
        assert len(files) > 3
        sizes = [(tmp_path / name / file).stat().st_size for file in files]
        assert max(sizes) < 30_000 + 4_000  # a header
    assert (label_logits(jaxsvd.load(tmp_path / "dense")) == label_logits(whole)).all()
    again = label_logits(jaxsvd.load(tmp_path / "factored"))
    assert_same(whole, pruned.edits, again, exact_logits(pruned))


@pytest.mark.parity
@pytest.mark.parametrize("family", ["gptj", "llama"])
def test_transformers_reads_it(tiny: Callable[..., Model], tmp_path: Path, family: str) -> None:
    """And refuses the factored layout instead of filling the gaps with noise."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import AutoModelForCausalLM

    pruned = prune(tiny(family), layer=1, rate=0.9)
    pruned.save(tmp_path / "dense")
    pruned.save(tmp_path / "factored", factored=True)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float32)
    with torch.no_grad():
        logits = theirs(torch.tensor(PROMPTS.astype(np.int64))).logits.numpy()
    sums = edited_sums(pruned.config, pruned.edits, PROMPTS.shape[1])
    for either in (np.asarray(pruned.logits(jnp.asarray(PROMPTS))), logits):
        assert_close(either, batch_logits(pruned.decoder, PROMPTS), sums)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "factored")
