"""The experiment that clips every matrix of every layer."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.common.scaffold import main
from experiments.pruned_trajectories import experiment, subspace
from experiments.pruned_trajectories.report import CLAIMS


@pytest.mark.long
def test_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiment, "KINDS", ("gradient descent", "random"))
    monkeypatch.setattr(experiment, "RATES", (0.0, 0.875))
    monkeypatch.setattr(experiment, "MATRICES", ("value", "key"))
    monkeypatch.setattr(subspace, "MATRICES", ("value",))
    monkeypatch.setattr(subspace, "LAYERS", 2)
    out = tmp_path / "run"
    assert main(experiment.EXPERIMENT, ["--quick", "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    paths = {(p["kind"], p["layer"], p["matrix"]): p for p in result["paths"]}
    assert len(paths) == 9
    for (_, _, matrix), path in paths.items():
        assert path["ranks"] == [8, 1]
        assert path["verdicts"]["upper bound times N"]
        assert path["verdicts"]["earlier layers unchanged"]
        assert path["verdicts"]["upper bound falls"]
        if matrix == "value":
            assert path["verdicts"]["norm falls, value"]
    tallied = result["claims"]["norm falls, value"]["random"]
    assert tallied == {"holds": 3, "paths": 3}
    assert "gradient descent" not in result["claims"]["norm falls, value"]
    reported = {name for name in result["claims"] if not name.endswith("query")}
    assert reported <= set(CLAIMS)
    own = result["gradients_subspace"]
    falls = own["falls"]["lemma6 zero, gradients"]["small random"]
    assert falls == {"falls": 4, "infinite": 0, "paths": 4}
    fixed = own["falls"]["lemma6 zero, symmetric"]["small random"]
    assert fixed == {"falls": 0, "infinite": 4, "paths": 4}
    first = own["paths"][0]
    assert [dimensions[0] for dimensions in first["dimensions"]] == [10, 9, 7, 4]
    for name in ("pruned_trajectories.png", "risk_over_rate.png"):
        assert (out / name).stat().st_size > 10_000
    assert "Remark 5" in capsys.readouterr().out


def test_steadiness_is_the_spread_of_the_risk_by_layer() -> None:
    paths = [
        {
            "kind": "random",
            "stack": 0,
            "matrix": "value",
            "layer": layer,
            "risk": {"values": [0.0, 2.0 / (layer + 1)]},
        }
        for layer in range(3)
    ]
    (row,) = experiment.steadiness(paths, 3)
    np.testing.assert_allclose(row["spread"], [1, 1 / 2, 1 / 3])
    assert (row["steadier"], row["stacks"]) == (1, 1)


@pytest.mark.long
def test_training_is_kept_and_repeatable(tmp_path: Path) -> None:
    from experiments.common.records import Records
    from experiments.common.scaffold import Study, parser

    options = parser(experiment.EXPERIMENT).parse_args(["--quick"])
    study = Study(options, tmp_path, Records(tmp_path / "records.jsonl"))
    first = experiment.train(3, 1, study)
    again = experiment.train(3, 1, study)  # read from the file
    (tmp_path / "trained-3.npz").unlink()
    anew = experiment.train(3, 1, study)
    for a, b, c in zip(first, again, anew, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
