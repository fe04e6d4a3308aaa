"""The experiment on when truncation helps."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.common.scaffold import main
from experiments.truncation_phases import experiment


@pytest.mark.long
def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(experiment.EXPERIMENT, ["--quick", "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    decays = result["decays"]
    assert len(result["cells"]) == len(decays) * sum(
        len(a.values) for a in experiment.AXES.values()
    )
    for cell in result["cells"]:
        assert cell["helps"] == (cell["best_rank"] < experiment.D)
        assert cell["saved"] >= 0
        assert cell["optimal_risk"] <= cell["risk"][cell["best_rank"]] * (1 + 1e-12)
        if cell["helps"]:
            assert cell["better_dropped"] > 0
    for row in result["simulated"]:
        assert abs(row["simulated"] - row["exact"]) < 5 * row["error"]
    for name in ("phases.png", "curves.png"):
        assert (out / name).stat().st_size > 10_000
    assert "best rank of 20" in capsys.readouterr().out


def test_cells_by_hand() -> None:
    """Where training and test agree nothing helps; at one shot nothing is best."""
    assert not experiment.cell("shots", experiment.TRAIN_N, 0.5)["helps"]
    assert experiment.cell("shots", 1, 0.5)["best_rank"] == 0
    narrow = experiment.cell("narrow tasks", 0.25, 1.0)
    assert narrow["best_rank"] == narrow["better_dropped"] - 10 == 5
    np.testing.assert_allclose(experiment.variances(1.0).mean(), 1)
