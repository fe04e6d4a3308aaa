"""The experiment that holds every bound against its gap."""

import json
import math
from pathlib import Path

import pytest

from experiments.bounds import experiment
from experiments.bounds.report import BOUNDS
from experiments.common.records import restore
from experiments.common.scaffold import main


def test_the_grid_covers_every_size() -> None:
    grid = experiment.cells(False)
    assert {d for d, _, _ in grid} == {5, 10, 20}
    assert (min(n for _, n, _ in grid), max(n for _, n, _ in grid)) == (10, 80)
    assert (min(t for *_, t in grid), max(t for *_, t in grid)) == (1, 8)
    assert len(set(grid)) >= 40
    assert set(experiment.cells(True)) <= set(grid)


def test_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiment, "cells", lambda quick: [(2, 6, 1), (6, 6, 1)])
    small = experiment.sweep_b
    monkeypatch.setattr(experiment, "sweep_b", lambda seed, m: small(seed, m, 2, 6, 1))
    out = tmp_path / "run"
    arguments = ["--quick", "--samples", "100", "--out", str(out)]
    assert main(experiment.EXPERIMENT, arguments) == 0
    result = restore(json.loads((out / "result.json").read_text()))
    for cell in result["cells"]:
        assert set(cell["bounds"]) == set(BOUNDS)
        printed = cell["bounds"]["theorem 2, as printed"]
        assert printed["value"] == math.inf
        assert printed["status"] == "infinite"
        for name, bound in cell["bounds"].items():
            if name != "theorem 2, as printed":
                assert math.isfinite(bound["value"])
                assert bound["above_gap"]
                assert bound["below_1"] == (bound["value"] < 1)
    # N - 1 >= d: the block needs no ridge; N - 1 < d: it does.
    statuses = [cell["bounds"]["lemma 6, zero"]["status"] for cell in result["cells"]]
    assert statuses == ["finite", "regularised"]
    assert result["summary"]["theorem 2, as printed"]["finite"] == 0
    assert result["summary"]["terminal noise"]["above_gap"] == 2
    assert (out / "bounds.png").stat().st_size > 10_000
    assert "Theorem 2 as printed is infinite" in capsys.readouterr().out


def test_cells_have_samples_of_their_own() -> None:
    first = experiment.make_cell(0, 2, 6, 1, 30)
    again = experiment.make_cell(0, 2, 6, 1, 30)
    other = experiment.make_cell(0, 2, 6, 2, 30)
    assert (first.prompts == again.prompts).all()
    assert not (first.prompts == other.prompts).any()
