"""The experiment on implicit trajectories."""

import json
from pathlib import Path

import pytest

from experiments.common.scaffold import main
from experiments.trajectories import experiment as trajectories


@pytest.mark.long
def test_what_is_exact_and_what_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trajectories, "sizes", lambda quick: [(6, 4, 3)])
    out = tmp_path / "run"
    assert main(trajectories.EXPERIMENT, ["--quick", "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert len(result["prompts"]) == 2
    for row in result["prompts"]:
        assert max(row["float64"].values()) < 1e-12
        assert row["float32"]["test token"] < 1e-5
        assert row["gradient descent"] < 1e-14
        assert min(row["broken"].values()) > 1e-3
    assert (out / "trajectories.png").stat().st_size > 10_000
    reported = capsys.readouterr().out
    for text in (*trajectories.EXACT.values(), *trajectories.BROKEN.values()):
        assert text in reported


def test_sizes_reach_the_full_study() -> None:
    assert set(trajectories.sizes(True)) <= set(trajectories.sizes(False))
