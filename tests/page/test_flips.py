"""Flips: a fair share of many, prompts once, long texts clipped."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsvd.commands.report import report
from jaxsvd.page import flips
from jaxsvd.page.flips import flips_data, shares
from jaxsvd.results.predictions import read_outcomes
from jaxsvd.runtime.progress import SILENT

from . import written_runs


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 200))
def test_shares(counts: list[int], limit: int) -> None:
    """All that fits is kept, and no group is cut while another keeps two more than it."""
    kept = shares(counts, limit)
    assert all(0 <= k <= c for k, c in zip(kept, counts, strict=True))
    assert sum(kept) == min(limit, sum(counts))
    cut = [k for k, c in zip(kept, counts, strict=True) if k < c]
    assert not cut or max(kept) <= min(cut) + 1


def record_of(run: Path) -> dict[str, Any]:
    outcomes = read_outcomes(run / "predictions.jsonl", SILENT)
    record = flips_data(outcomes, run / "prompts.jsonl", written_runs.LABELS, SILENT)
    assert record is not None
    return record


@pytest.mark.long
def test_demonstrations_are_kept_once(tmp_path: Path) -> None:
    """The page has each prompt and each set of demonstrations a single time."""
    run = written_runs.sweep(tmp_path / "run", shots=(4, 10), seeds=(0, 1))
    record = record_of(run)
    assert len(record["prefixes"]) == 4
    questions = {
        (*(record["cells"][cell][name] for name in ("shots", "seed")), index)
        for cell, index, *_ in record["rows"]
    }
    assert len(record["texts"]) == len(questions)
    for cell, index, *_, text in record["rows"]:
        reported, at = record["texts"][text], record["cells"][cell]
        whole = record["prefixes"][reported["prefix"]]["head"] + reported["head"]
        assert whole == written_runs.prompt(index, at["shots"], at["seed"])
    page = report(run).read_text("utf-8")
    for seed in (0, 1):
        assert page.count(f"example 9 of seed {seed}") == 1


def test_caps_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page keeps few flips of every truncation and says how many there are."""
    run = written_runs.sweep(tmp_path / "run", size=150)
    whole = record_of(run)
    monkeypatch.setattr(flips, "MAX_FLIPS", 200)
    monkeypatch.setattr(flips, "MAX_CHARACTERS", 1_000)
    few = record_of(run)
    assert few["total"] == whole["total"] == whole["shown"] > 200
    assert few["shown"] == len(few["rows"]) == 200
    assert few["cells"] == whole["cells"]  # counts are of all
    counts = [(c["gained"], c["lost"]) for c in few["cells"]]
    directions = {(cell, after == gold) for cell, _, gold, _, after, _ in few["rows"]}
    assert len(directions) == sum(bool(n) for pair in counts for n in pair)
    assert {tuple(row[:5]) for row in few["rows"]} <= {tuple(row[:5]) for row in whole["rows"]}
    questions = {index for _, index, *_ in few["rows"]}
    assert 0 < len(few["texts"]) == len(questions) - few["texts_left_out"] < len(questions)


def test_long_prompts_keep_both_ends(tmp_path: Path) -> None:
    text = "a" * 60_000 + "\n" + "b" * 40_000 + "end"
    run = written_runs.sweep(tmp_path / "run", rates=(0.0, 0.9), text=lambda i, *_: f"{i}{text}")
    reported = record_of(run)["texts"][0]
    assert len(reported["head"]) + len(reported["tail"]) == flips.MAX_PROMPT
    assert reported["omitted"] > 0
    assert reported["tail"].endswith("bend")


def test_prompts_of_questions_that_did_not_turn_are_not_on_the_page(tmp_path: Path) -> None:
    run = written_runs.sweep(tmp_path / "run")
    record = record_of(run)
    turned = {index for _, index, *_ in record["rows"]}
    page = json.dumps(record)
    for index in range(0, 180, 3):
        assert (f"number {index}," in page) == (index in turned)


def test_several_edits_at_once_are_named(tmp_path: Path) -> None:
    """They have no module, layer and rate of their own; rate 0 is what they are held against."""
    run = written_runs.sweep(tmp_path / "run", modules=("mlp",), layers=(0,), rates=(0.0, 0.9))
    path, edits = run / "predictions.jsonl", "0:mlp:0.9+1:attn:0.5"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    none = {"module": None, "layer": None, "rate": None, "edits": edits}
    more = [line | none for line in lines if line["rate"] == 0.9]
    written_runs.write_lines(path, [*lines, *more])
    one, both = record_of(run)["cells"]
    assert both == one | none
    assert one["gained"] + one["lost"] > 0
    report(run)
