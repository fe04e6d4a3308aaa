"""What a Python caller may give for a number."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxsvd
from jaxsvd.models.matrices import layer_index
from jaxsvd.runtime.errors import UserError
from jaxsvd.svd import check_rate


def test_layers_are_whole_numbers() -> None:
    """Numpy's too; 3.7 is not cut to 3."""
    config = jaxsvd.load().config
    assert layer_index(config, np.int64(-1)) == layer_index(config, 3) == 3
    for layer in (3.7, 2.0, np.float32(1), "1", None):
        with pytest.raises(UserError, match=r"^layer .* should be a whole number$"):
            layer_index(config, layer)


def test_rates_are_numbers() -> None:
    """Numpy's too."""
    assert check_rate(np.float64(0.5)) == 0.5
    with pytest.raises(UserError, match=r"clipping rate 1\.0 should be at least 0 and below 1"):
        check_rate(1.0)


def test_search_takes_numpy_numbers_and_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python's own."""
    model = jaxsvd.load()
    sizes: dict[str, int] = {"shots": 2, "validation_size": 10, "test_size": 10}
    rates = list(np.array([0.0, 0.5]))
    one = jaxsvd.search(model, layer=np.int64(-1), rates=rates, out=tmp_path / "run", **sizes)
    frame = one.to_frame()
    assert list(frame["rate"]) == [point.rate for point in one.points]
    assert list(frame["accuracy"]) == [point.accuracy.value for point in one.points]
    assert set(frame["split"]) == {"validation", "test"}
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pandas", None)
        with pytest.raises(UserError, match="a DataFrame needs pandas: pip install pandas"):
            one.to_frame()
    other = jaxsvd.search(model, layer=-1, rates=[0.0, 0.5], **sizes)
    assert one == dataclasses.replace(other, measured=one.measured)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["layer"] == -1


def test_explain_is_public() -> None:
    """Beside search, sweep, evaluate and prune."""
    names = ("search", "sweep", "evaluate", "prune", "explain")
    assert all(callable(getattr(jaxsvd, name)) for name in names)
