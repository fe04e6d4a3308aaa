"""Condition numbers that are kept: computed once, and never those of other weights."""

import shutil
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvd
from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.condition_number import condition_number
from jaxsvd.model import Model
from jaxsvd.runtime.paths import user_cache
from jaxsvd.selection import condition


@pytest.fixture
def computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The numbers that are computed, in a cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    numbers: list[float] = []

    def counted(matrix: np.ndarray) -> float:
        numbers.append(condition_number(matrix))
        return numbers[-1]

    monkeypatch.setattr(condition, "condition_number", counted)
    return numbers


def test_a_second_search_computes_none(computed: list[float]) -> None:
    """In a model that is loaded again too; other matrices are added to what is known."""
    first = condition.condition_numbers(jaxsvd.load(), "mlp")
    count = len(computed)
    assert sorted(first.values()) == sorted(computed)
    assert condition.condition_numbers(jaxsvd.load(), "mlp") == first
    assert len(computed) == count
    every = condition.condition_numbers(jaxsvd.load(), "all")
    assert first.items() <= every.items()
    assert len(computed) == len(every)


def test_other_weights_are_computed(computed: list[float], tmp_path: Path) -> None:
    """Edited ones, ones of another type, another checkpoint; in memory and in files."""
    model = jaxsvd.load()
    condition.condition_numbers(model, "fc_in")
    layers = len(computed)
    edited = model.edited("1:fc_in:0.5")
    actual = condition.condition_numbers(edited, "fc_in")
    assert len(computed) == layers + 1
    assert actual[1, "fc_in"] == computed[-1]
    condition.condition_numbers(jaxsvd.load(dtype="bfloat16"), "fc_in")
    assert len(computed) == 2 * layers + 1
    copied = tmp_path / "copied"
    shutil.copytree(BUNDLED, copied)
    (copied / "config.json").write_text((copied / "config.json").read_text() + "\n")
    condition.condition_numbers(jaxsvd.load(copied), "fc_in")
    assert len(computed) == 3 * layers + 1


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"0.fc_in": 3}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_is_as_none(computed: list[float], content: bytes) -> None:
    model = jaxsvd.load()
    right = condition.condition_numbers(model, "fc_in")
    (path,) = (user_cache() / "condition_numbers").glob("*.json")
    path.write_bytes(content)
    assert condition.condition_numbers(model, "fc_in") == right
    assert len(computed) == 2 * len(right)
    assert condition.condition_numbers(model, "fc_in") == right
    assert len(computed) == 2 * len(right)


def test_a_folder_that_cannot_be_written(
    computed: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert condition.condition_numbers(jaxsvd.load(), "fc_in")


def test_models_without_files_keep_nothing(
    computed: list[float], tiny: Callable[..., Model]
) -> None:
    """Their fingerprint would be that of any other."""
    model = tiny("gptj")
    assert not model.directory.exists()
    numbers = condition.condition_numbers(model, "fc_in")
    condition.condition_numbers(model, "fc_in")
    assert len(computed) == 2 * len(numbers)
    assert not user_cache().exists()
    assert jnp.isfinite(jnp.array(list(numbers.values()))).all()
