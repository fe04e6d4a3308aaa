"""Factored checkpoints that are damaged are refused in one line, before memory is spent on them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jaxsvd
from jaxsvd.commands.prune import prune
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError


@pytest.fixture
def factored(tiny: Callable[..., Model], tmp_path: Path) -> Path:
    """A factored directory, to be damaged."""
    prune(tiny("gptj"), layer=1, module="fc_in", rate=0.9).save(tmp_path / "m", factored=True)
    return tmp_path / "m"


NAME = "transformer.h.1.mlp.fc_in.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, c: t.pop(f"{NAME}.left"), f"missing {NAME}.left"),
        (lambda t, c: t.pop(f"{NAME}.right"), f"missing {NAME}.right"),
        (lambda t, c: t.update({f"{NAME}.left": np.ones((48, 4), "f4")}), "of rank 3"),
        (lambda t, c: t.update({f"{NAME}.left": np.ones((48, 3), "i4")}), "of rank 3"),
        (lambda t, c: t.update({f"{NAME}.left": np.ones(48, "f4")}), "of rank 3"),
        (lambda t, c: t.update({NAME: np.ones((48, 32), "f4")}), "whole and as factors"),
        (lambda t, c: t.update({f"{NAME}.left": np.ones((2**18, 3), "f4")}), "shape [262144, 32]"),
        (lambda t, c: t[f"{NAME}.left"].__setitem__((0, 0), np.nan), f"infinite weights in {NAME}"),
        (lambda t, c: c.pop("jaxsvd_factors"), "not part of a gptj model"),
        (lambda t, c: c.update(jaxsvd_factors=[NAME]), "should be an object of tensor name"),
        (lambda t, c: c.update(jaxsvd_factors={NAME: True}), "should be an object of tensor name"),
        (lambda t, c: c.update(jaxsvd_factors={NAME: 3, "x": 1}), "missing x.left"),
    ],
)
def test_damaged_factors(factored: Path, change: Callable[..., object], said: str) -> None:
    path = factored / "model.factored.safetensors"
    tensors = {name: value.copy() for name, value in load_file(path).items()}
    config = json.loads((factored / "config.json").read_text())
    change(tensors, config)
    save_file(tensors, path)
    (factored / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as error:
        jaxsvd.load(factored)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
