"""Our logits against golden files that transformers in torch made (``make_golden.py``)."""

import json
from pathlib import Path

import numpy as np
import pytest

import jaxsvd

from .random_models import GOLDEN, TOLERANCE, checksum, relative_error, weights, write_checkpoint

FILES = sorted(GOLDEN.glob("*.npz"))


def test_both_families_have_golden_files() -> None:
    assert {file.stem.split("-")[0] for file in FILES} == {"gptj", "llama"}
    assert sum(file.stat().st_size for file in FILES) < 300_000


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
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
