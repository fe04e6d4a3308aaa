"""Controls of a truncation: norms, spectra and ranks. (test_edits scores every method.)"""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsvd.edits import controls
from jaxsvd.edits.edit import CONTROLS, RANDOM, Edit, format_edits, parse_edits
from jaxsvd.edits.replacement import edited_matrix
from jaxsvd.runtime.errors import UserError

SHAPES = [(24, 16), (16, 24), (20, 20)]


def matrix_of(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def removed_norm(matrix: np.ndarray, rank: int) -> float:
    """Eckart and Young: the root of the sum of the squared singular values left out."""
    return float(np.sqrt((np.linalg.svd(matrix, compute_uv=False)[rank:] ** 2).sum()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 7, 15])
def test_norms_and_spectra(shape: tuple[int, int], rank: int) -> None:
    matrix, key = matrix_of(shape), jax.random.key(1)
    of = controls.Decomposed.of(matrix)
    norm, s = removed_norm(matrix, rank), np.linalg.svd(matrix, compute_uv=False)
    noise = controls.with_noise(of, rank, key) - matrix
    assert np.linalg.norm(noise) == pytest.approx(norm, rel=1e-6)
    noise = controls.with_spectrum_noise(of, rank, key) - matrix
    spectrum = np.linalg.svd(noise, compute_uv=False)
    np.testing.assert_allclose(spectrum[: len(s) - rank], s[rank:], rtol=1e-6)
    np.testing.assert_allclose(spectrum[len(s) - rank :], 0, atol=1e-6 * s[0])
    kept = controls.in_random_directions(of, rank, key)
    assert np.linalg.matrix_rank(kept) == rank
    # A projection: the kept and the lost part are orthogonal, so their squares add up.
    assert np.linalg.norm(kept) ** 2 + np.linalg.norm(matrix - kept) ** 2 == pytest.approx(
        np.linalg.norm(matrix) ** 2, rel=1e-6
    )
    part = controls.removed_part(of, rank)
    np.testing.assert_allclose(np.linalg.svd(part, compute_uv=False)[: len(s) - rank], s[rank:])


@pytest.mark.parametrize("rank", [1, 7, 15])
def test_small_entries_up_to_the_norm(rank: int) -> None:
    """No other number of smallest entries comes nearer."""
    matrix = matrix_of((24, 16))
    target = removed_norm(matrix, rank)
    pruned = controls.without_small_entries(controls.Decomposed.of(matrix), rank)
    gone = matrix[pruned == 0]
    assert np.abs(gone).max() <= np.abs(matrix[pruned != 0]).min()
    sizes = np.sqrt(np.cumsum(np.sort(matrix.ravel() ** 2)))
    assert abs(np.linalg.norm(gone) - target) == pytest.approx(np.abs(sizes - target).min())


@pytest.mark.parametrize("method", CONTROLS)
def test_seeds_and_places_decide_random_numbers(method: str) -> None:
    weight = jax.numpy.asarray(matrix_of((24, 16)), jax.numpy.float32)

    def built(layer: int = 0, module: str = "fc_in", seed: int = 0) -> np.ndarray:
        edit = Edit(layer, module, 0.5, method=method, seed=seed)  # type: ignore[arg-type]
        return np.asarray(edited_matrix(weight, edit))

    np.testing.assert_array_equal(built(), built())
    differs = method in RANDOM
    for other in (built(seed=1), built(layer=1), built(module="fc_out")):
        assert (other != built()).any() == differs


@given(
    st.integers(-3, 40),
    st.sampled_from(["mlp", "fc_in"]),
    st.sampled_from([0.5, 0.95]),
    st.sampled_from(["exact", "randomized", "magnitude", *CONTROLS]),
    st.integers(0, 9),
)
def test_written_and_read(layer: int, module: str, rate: float, method: str, seed: int) -> None:
    edit = Edit(layer, module, rate, method=method, seed=seed)  # type: ignore[arg-type]
    assert parse_edits(format_edits((edit, edit))) == (edit, edit)


@pytest.mark.parametrize(
    "text", ["1:mlp:0.5:noise@x", "1:mlp:0.5:loud", "1:a:2:3", "1:mlp:0.5:noise:3"]
)
def test_what_is_no_method(text: str) -> None:
    with pytest.raises(UserError, match="should be"):
        parse_edits(text)
