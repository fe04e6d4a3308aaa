"""Our logits against golden files that transformers in torch made (``make_golden.py``)."""

import json
from pathlib import Path

import numpy as np
import pytest

import jaxsvd

from .random_models import GOLDEN, TOLERANCE, checksum, relative_error, weights, write_checkpoint
from .tiny_families import NAMES

FILES = sorted(GOLDEN.glob("*.npz"))


def test_every_family_has_golden_files() -> None:
    assert {file.stem.split("-")[0] for file in FILES} == set(NAMES)
    assert sum(file.stat().st_size for file in FILES) < 300_000


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(
            file,
            id=file.stem,
            marks=() if file.stem.startswith(("gptj", "llama")) else pytest.mark.long,
        )
        for file in FILES
    ],
)
def test_logits_are_those_of_transformers(file: Path, tmp_path: Path) -> None:
    golden = np.load(file)
    config = json.loads(str(golden["config"]))
    tensors = weights(config, int(golden["seed"]))
    assert checksum(tensors) == int(golden["checksum"]), "the weights are not those of the file"
    model = jaxsvd.load(write_checkpoint(tmp_path, config, tensors))
    mask = golden["mask"]
    assert mask[0].all()
    assert not mask[:, 0].all()
    assert not mask[:, -1].all()
    logits = np.asarray(model.logits(golden["ids"].astype(np.int32), mask))
    assert logits.dtype == np.float32
    assert relative_error(logits[mask], golden["logits"]) <= TOLERANCE
