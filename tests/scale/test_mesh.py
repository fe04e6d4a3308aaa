"""Eight virtual devices compute what one does, and share the weights evenly."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_tiny
from tolerances import decoder_sums, rounding

from jaxsvd.devices.sharding import Axes, axes_of, spec_of
from jaxsvd.engine.packing import Shape, pack
from jaxsvd.engine.requests import line_of
from jaxsvd.engine.workers import workers
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError

pytestmark = pytest.mark.long

DEVICES = "--xla_force_host_platform_device_count=8"

CASES = (
    "gptj data=4,model=2 label tokens",
    "llama data=2,model=4 sequence log-likelihood",
    "llama data=8 mean raw logit",
)


@pytest.fixture(scope="module")
def actual(tiny: Callable[..., Model], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``on_a_mesh.py`` finds with eight devices."""
    folder = tmp_path_factory.mktemp("mesh")
    for family in ("gptj", "llama"):
        tiny(family).save(folder / family)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("on_a_mesh.py")), str(folder)],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_scores_as_on_one_device(actual: dict[str, Any], case: str) -> None:
    """The same predictions, scores but for rounding in either; launched by one thread."""
    result = actual["cases"][case]
    assert result["same"]
    sums = decoder_sums(make_tiny("llama").config, 64)
    assert result["difference"] < 2 * rounding([*sums, *[32] * 2 * 4])  # truncated: two factors
    assert result["effect"] > 1e-2, "truncation changed nothing"
    assert result["threads"] == 1


def test_all_cases_are_looked_at(actual: dict[str, Any]) -> None:
    assert set(actual["cases"]) == {*CASES}


@pytest.mark.parametrize("case", [0, 1])
def test_shares_of_the_weights(actual: dict[str, Any], case: int) -> None:
    """Within 15 % of an even share, as computed beforehand; every matrix cut by its rule."""
    result = actual["shares"][case]
    assert len(result["held"]) == 8
    assert set(result["held"]) == {result["expected"]}
    assert result["expected"] == pytest.approx(result["total"] / result["model"], rel=0.15)
    assert result["kept"]
    assert result["equal"]


def test_condition_numbers(actual: dict[str, Any]) -> None:
    """On the host bit for bit; by the devices themselves to float64's rounding."""
    assert actual["condition"]["same keys"]
    assert actual["condition"]["host"] == 0
    assert actual["condition"]["devices"] < 1e-9


def test_logits_and_pruned_models(actual: dict[str, Any]) -> None:
    for name in ("plain", "pruned", "saved"):
        assert actual["logits"][name] < 2 * rounding(decoder_sums(make_tiny("gptj").config, 9)), (
            name
        )
    assert actual["logits"]["effect"] > 1e-2


def test_meshes_that_cannot_be(actual: dict[str, Any]) -> None:
    said = actual["refusals"]
    assert said["data=16"] == "mesh data=16,model=1 needs 16 devices; there are 8"
    assert "model=3 does not divide width 32, query heads' width 32" in said["model=3"]
    assert said["model=3"].endswith("it should be one of 1 2 4 8")
    assert "mesh 'model=x' should be like data=4,model=2, or auto" in said["model=x"]
    assert "needs 12 devices; there are 8" in said["data=3,model=4"]


def test_the_automatic_mesh(actual: dict[str, Any]) -> None:
    """Weights over as few devices as have room for them beside the work, rows over the rest."""
    assert actual["auto mesh"] == "data=8,model=1"
    assert actual["automatic"]["all"] == "data=8,model=1"
    assert actual["automatic"]["half"] == "data=4,model=2"
    assert actual["automatic"]["little"] == "data=1,model=8"
    assert actual["automatic"]["refusal"].startswith("it in float32 needs 0.1 MB for its weights")
    assert "--dtype float32 --mesh model=16 needs" in actual["automatic"]["refusal"]


# --- without devices ----------------------------------------------------------------------------


def test_axes() -> None:
    assert axes_of("data=4,model=2") == axes_of(" model=2 , data=4 ") == Axes(4, 2)
    assert axes_of("model=2") == Axes(1, 2)
    assert str(Axes(4, 2)) == "data=4,model=2"
    for wrong in ("", "4,2", "data", "data=0", "data=-1", "data=1,data=2", "rows=2", "data=1;"):
        with pytest.raises(UserError, match="should be like data=4,model=2, or auto"):
            axes_of(wrong)


def test_what_reads_the_stream_is_cut_by_rows_and_what_writes_it_by_columns() -> None:
    for name in ("q_proj", "k_proj", "v_proj"):
        assert spec_of(f"blocks.3.attn.{name}.weight") == spec_of(f"blocks.3.attn.{name}.bias")
        assert tuple(spec_of(f"blocks.3.attn.{name}.weight")) == ("model",)
    for path in ("blocks.0.mlp.fc_out.weight", "blocks.0.attn.out_proj.weight", "embedding.tokens"):
        assert tuple(spec_of(path)) == (None, "model")
    for path in ("blocks.0.mlp.fc_out.bias", "head.bias", "head.norm.weight"):
        assert tuple(spec_of(path)) == ()


def test_batches_whose_rows_divide() -> None:
    """Also those of lines too long for a row; the lines are the same as without."""
    rng = np.random.default_rng(0)
    lines = [
        line_of(i, rng.integers(0, 9, n).tolist(), [[1], [2]], "label tokens")
        for i, n in enumerate(rng.integers(1, 70, 40))
    ]
    for multiple in (1, 4, 8):
        batches = pack(lines, Shape(3, 32, 8), rows_multiple=multiple)
        assert all(len(batch.tokens) % multiple == 0 for batch in batches)
        read = np.concatenate([batch.lines[batch.lines >= 0] for batch in batches])
        assert sorted(read) == list(range(40))


def test_no_workers_means_no_threads() -> None:
    """Everything in the calling thread and in the order of asking, errors included."""
    seen: list[tuple[str, int]] = []

    def note(name: str) -> str:
        seen.append((name, threading.get_ident()))
        if name == "bad":
            raise ValueError(name)
        return name

    with workers(0) as pool:
        future = pool.start(lambda: note("first"))
        assert future.done()
        assert future.result() == "first"
        assert list(pool.map("kind", note, ["a", "b"])) == ["a", "b"]
        results = pool.map("kind", note, ["c", "bad", "d"])
        assert next(results) == "c"
        with pytest.raises(ValueError, match="bad"):
            next(results)
    assert [name for name, _ in seen] == ["first", "a", "b", "c", "bad"]
    assert {thread for _, thread in seen} == {threading.get_ident()}
