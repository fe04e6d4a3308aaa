"""``--edit`` and ``compare`` on the command line, against the same from Python."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsvd
from jaxsvd.cli.main import main

EDIT = "0:mlp:0.95+-1:attn:0.5"


def test_prune_writes_what_edited_makes(tmp_path: Path) -> None:
    """The files hold float16, as the source's: of the rounded weights to the last bit."""
    assert main(["prune", "--edit", EDIT, "--out", str(tmp_path / "cut")]) == 0
    model = jaxsvd.load()
    edited = model.edited([jaxsvd.Edit(0, "mlp", 0.95), jaxsvd.Edit(-1, "attn", 0.5)])
    tokens = np.arange(12)[None] % model.config.vocabulary
    written = jaxsvd.load(tmp_path / "cut")
    graph, state = nnx.split(edited.decoder)
    rounded = jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), state)
    edited = dataclasses.replace(edited, decoder=nnx.merge(graph, rounded))
    np.testing.assert_array_equal(written.logits(tokens), edited.logits(tokens))
    assert np.abs(edited.logits(tokens) - model.logits(tokens)).max() > 0


def test_evaluate_says_what_was_edited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And ``compare`` pairs the two runs on the same questions."""
    sizes = ["--test-size", "60"]
    assert main(["evaluate", *sizes, "--out", str(tmp_path / "whole")]) == 0
    assert main(["evaluate", *sizes, "--edit", EDIT, "--out", str(tmp_path / "cut")]) == 0
    whole, cut = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "cut")
    )
    assert "edits" not in whole
    assert [(e["layer"], e["module"], e["rate"]) for e in cut["edits"]] == [
        (0, "mlp", 0.95),
        (3, "attn", 0.5),
    ]
    assert sum(cut["label_counts"]["untouched"].values()) == 60
    assert cut["majority"] == max(cut["label_counts"]["gold"].values()) / 60
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "whole"), str(tmp_path / "cut")]) == 0
    printed = capsys.readouterr().out
    difference = cut["test"]["accuracy"] - whole["test"]["accuracy"]
    assert f"{difference:+.4f}" in printed
    assert "bundled" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "--edit", "0:mlp"], "should be LAYER:MODULE:RATE"),
        (["prune", "--edit", EDIT, "--layer", "0", "--out", "x"], "or --edit alone"),
        (["compare", "/no/such/run", "/no/such/run"], "no such run directory"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
