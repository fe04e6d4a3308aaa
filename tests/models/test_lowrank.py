"""Truncated matrices multiplied as factors, against the dense truncated matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tolerances import assert_close

from jaxsvd import svd
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import low_ranks
from jaxsvd.models.layers import multiply
from jaxsvd.models.lowrank import LowRankLinear, widths

SHAPES = [(1, 1), (8, 8), (24, 24), (64, 16), (16, 64), (40, 33)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.brief(shape=((1, 1), (16, 64)))
def test_equal_to_dense(shape: tuple[int, int]) -> None:
    """Every rank, by the dense truncated matrix in float64."""
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.normal(size=shape), jnp.float32)
    x = jnp.asarray(rng.normal(size=(7, shape[1])), jnp.float32)
    bias = jnp.asarray(rng.normal(size=shape[0]), jnp.float32)
    graph, _ = nnx.split(nnx.eval_shape(lambda: LowRankLinear(shape[1], shape[0], bias=True)))
    edits = [Edit(0, "fc_in", 1 - (r + 0.5) / min(shape)) for r in range(1, min(shape))]
    for edit, cut in low_ranks(w, edits).items():
        assert edit.rate is not None
        assert int(cut.rank) == svd.rank_at(edit.rate, shape)
        truncated = np.asarray(svd.truncate(w, edit.rate), np.float64)
        dense = np.asarray(x) @ truncated.T + np.asarray(bias)
        ours = nnx.merge(graph, cut._asdict() | {"bias": bias})(x)
        rank = int(cut.rank)
        assert_close(ours, dense, [rank, rank, shape[1]])  # the matrix made, two products


@pytest.mark.parametrize("shape", SHAPES)
def test_factored_only_where_it_is_fewer_operations(shape: tuple[int, int]) -> None:
    rows, columns = shape
    assert all(width * (rows + columns) < rows * columns for width in widths(rows, columns))


def test_the_widths_of_the_candidate_rates() -> None:
    """GPT-J's: at 0.5 and above the MLP's matrices, at 0.75 and above those of attention."""
    assert widths(16384, 4096) == (256, 512, 1024, 2048)
    assert widths(4096, 4096) == (256, 512, 1024)


def test_all_rates_share_their_factors() -> None:
    w = jax.random.normal(jax.random.key(0), (64, 16))
    half, most = low_ranks(w, [Edit(0, "fc_in", 0.5), Edit(0, "fc_in", 0.9)]).values()
    assert half.left is most.left
    assert half.right is most.right
    assert half.weight is w  # never read


def test_products_that_devices_add_up_are_rounded_once() -> None:
    """In bfloat16 to it, half a unit in the last place away; in float32 nothing changes."""
    x = jax.random.normal(jax.random.key(0), (5, 64))
    w = jax.random.normal(jax.random.key(1), (7, 64))
    for dtype in (jnp.float32, jnp.bfloat16):
        whole = multiply("bi,oi->bo", x, w.astype(dtype))
        rounded = multiply("bi,oi->bo", x, w.astype(dtype), rounded=True)
        assert rounded.dtype == jnp.float32
        np.testing.assert_array_equal(rounded, whole.astype(dtype).astype(jnp.float32))
