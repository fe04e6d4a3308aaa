"""Loading in pieces: what arrives, and how much memory that takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from jaxsvd.checkpoints import placement
from jaxsvd.checkpoints.tensors import Tensor, open_tensors
from jaxsvd.models.families.llama import LLAMA
from jaxsvd.runtime.errors import UserError

from .big_checkpoint import config_for, shards_of, write

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


# --- pieces -------------------------------------------------------------------------------------


def tensor_of(x: np.ndarray) -> Tensor:
    """An array as a tensor of a file that can be read in pieces."""
    flat = x.reshape(-1)

    def into(first: int, out: np.ndarray) -> None:
        out.reshape(-1)[...] = flat[first : first + out.size]

    def read() -> np.ndarray:
        raise AssertionError("read as a whole")

    name = {4: "F32", 2: "BF16", 8: "F64"}[x.dtype.itemsize]
    return Tensor(x.shape, name, read, into)


@st.composite
def cut_arrays(draw: st.DrawFn) -> tuple[np.ndarray, list[tuple[slice, ...]], int]:
    """An array, some boxes of it, and the bytes of a piece."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=9))
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    boxes = []
    for _ in range(draw(st.integers(1, 3))):
        ends = [sorted(draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape]
        boxes.append(tuple(slice(a, b) for a, b in ends))
    return x, boxes, draw(st.integers(1, 200))


@given(cut_arrays(), st.sampled_from([np.dtype(np.float32), BFLOAT16]))
def test_parts_are_what_slicing_gives(
    case: tuple[np.ndarray, list[tuple[slice, ...]], int], dtype: np.dtype
) -> None:
    """Whatever the pieces are."""
    x, boxes, piece = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "PIECE_BYTES", piece)
        parts, finite = placement.read_parts(tensor_of(x), dtype, boxes)
    assert finite
    for part, box in zip(parts, boxes, strict=True):
        assert part.dtype == dtype
        np.testing.assert_array_equal(part, x[box].astype(dtype))


def test_rounding_is_to_the_nearest_and_ties_to_even() -> None:
    """Every bfloat16, what lies halfway to the next, and a bit to both sides, as ml_dtypes."""
    bits = np.arange(2**16, dtype=np.uint32)[:, None] << 16 | np.array(
        [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32
    )
    x = bits.reshape(-1).view(np.float32)
    with np.errstate(all="ignore"):
        expected = x.astype(BFLOAT16)
    good = np.isfinite(expected.astype(np.float32))
    ours = np.empty(int(good.sum()), BFLOAT16)
    assert placement.cast_into(x[good], ours)
    np.testing.assert_array_equal(ours.view(np.uint16), expected[good].view(np.uint16))
    # Each of the others alone is noticed, whatever it is cast to.
    for value in x[~good][::97]:
        assert not placement.cast_into(np.array([1, value], np.float32), np.empty(2, BFLOAT16))
    for value in x[~np.isfinite(x)][::97]:
        assert not placement.cast_into(np.array([1, value], np.float32), np.empty(2, np.float32))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, BFLOAT16])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_noticed_wherever_it_is(
    monkeypatch: pytest.MonkeyPatch, kind: Any, wrong: float
) -> None:
    monkeypatch.setattr(placement, "PIECE_BYTES", 64)
    for position in (0, 63, 64, 511):
        x = np.ones(512, kind)
        assert placement.is_finite(x)
        x[position] = wrong
        assert not placement.is_finite(x)
        for target in (np.float32, BFLOAT16):
            assert not placement.cast_into(x, np.empty(512, target))


def test_float64_beyond_float32_is_not_finite() -> None:
    assert not placement.cast_into(np.array([1e300]), np.empty(1, np.float32))
    assert not placement.cast_into(np.array([3.4e38], np.float32), np.empty(1, BFLOAT16))


def test_a_file_cut_short_while_it_is_read(tmp_path: Path) -> None:
    save_file({"a": np.ones((64, 8), np.float32)}, tmp_path / "model.safetensors")
    with open_tensors(tmp_path, LLAMA) as tensors:
        os.truncate(tmp_path / "model.safetensors", 500)
        with pytest.raises(UserError, match="cut short while it was read"):
            placement.to_devices(tensors["a"], np.float32)


# --- memory -------------------------------------------------------------------------------------


def loaded(directory: Path, dtype: str, *mesh: str, devices: int = 1) -> dict[str, Any]:
    """What loading took, in a process of its own."""
    script = Path(__file__).with_name("loading_peak.py")
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, str(script), str(directory), dtype, *mesh],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"XLA_FLAGS": flags},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """360 MB of float32 in shards, the largest tensor 9 % of it."""
    directory = tmp_path_factory.mktemp("big")
    write(directory, 360)
    return directory


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.brief(dtype=("bfloat16",))
def test_peak_memory(checkpoint: Path, dtype: str) -> None:
    """At most 1.15 times the parameters' bytes above the start, in the dtype they are cast to."""
    actual = loaded(checkpoint, dtype)
    assert actual["bytes"] == actual["parameters"] * (4 if dtype == "float32" else 2)
    assert actual["bytes"] <= actual["peak"] <= 1.15 * actual["bytes"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_peak_memory_over_devices(checkpoint: Path) -> None:
    """The devices of a host together take no more, and each no more than its part."""
    actual = loaded(checkpoint, "bfloat16", "model=4", devices=4)
    assert actual["peak"] <= 1.15 * actual["bytes"]
    assert len(actual["shares"]) == 4
    for share in actual["shares"]:
        assert share == pytest.approx(actual["bytes"] / 4, rel=0.01)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_peak_memory_of_quantised_weights(tmp_path: Path) -> None:
    """Of a GGUF file too: each tensor is dequantised in parts, where it is to stay."""
    gguf = pytest.importorskip("gguf", reason="needs the gguf library: install jaxsvd[gguf]")
    from tests.models import gguf_files

    config = config_for(360, itemsize=4, width=1024)
    shapes = {name: shape for shard in shards_of(config) for name, shape in shard.items()}
    pool = np.random.default_rng(0).standard_normal(2**20, np.float32) * 0.02
    tensors = {name: np.resize(pool, shape) for name, shape in shapes.items()}
    kinds = {
        name: gguf.GGMLQuantizationType.Q8_0 for name, shape in shapes.items() if len(shape) == 2
    }
    config["rms_norm_eps"] = 1e-6
    path = gguf_files.write(tmp_path / "big.gguf", config, tensors, quantize=kinds)
    actual = loaded(path, "float32")
    assert actual["bytes"] == 4 * actual["parameters"]
    assert actual["bytes"] <= actual["peak"] <= 1.15 * actual["bytes"]
