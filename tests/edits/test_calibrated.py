"""Truncations weighed by inputs: what they minimise, by brute force; dropped modules."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import jaxsvd
from jaxsvd import svd
from jaxsvd.cli.main import main
from jaxsvd.edits.calibrated import activation_scaled_factors, whitened_factors
from jaxsvd.edits.edit import Edit, format_edits, parse_edits
from jaxsvd.engine.input_statistics import Moments, input_statistics
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks import prepare
from jaxsvd.train_statistics import train_statistics, train_texts
from tests.tolerances import rounding

ROWS, COLUMNS, TOKENS, RANK = 6, 8, 40, 3


def built(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A matrix, and inputs whose directions are of very different sizes."""
    rng = np.random.default_rng(seed)
    scales = np.geomspace(3, 0.05, COLUMNS)
    return rng.normal(size=(ROWS, COLUMNS)), scales[:, None] * rng.normal(size=(COLUMNS, TOKENS))


def moments(x: np.ndarray) -> Moments:
    return Moments(x @ x.T / x.shape[1], np.abs(x).mean(axis=1))


def truncated(factors: svd.SvdFactors, rank: int = RANK) -> np.ndarray:
    return np.asarray(svd.reconstruct(factors, rank), np.float64)


def test_whitening_is_the_best_of_its_rank() -> None:
    """The error of the outputs equals its closed form, and no descent from anywhere beats it."""
    weight, x = built()
    cut = truncated(whitened_factors(jnp.asarray(weight, jnp.float32), moments(x)))
    error = float(np.linalg.norm((weight - cut) @ x))
    closed = float(np.sqrt((np.linalg.svd(weight @ x, compute_uv=False)[RANK:] ** 2).sum()))
    assert error == pytest.approx(closed, rel=10 * rounding([COLUMNS, RANK]))
    plain = truncated(svd.factor(jnp.asarray(weight, jnp.float32)))
    assert float(np.linalg.norm((weight - plain) @ x)) > 1.1 * closed

    def loss(flat: np.ndarray) -> float:
        left = flat[: ROWS * RANK].reshape(ROWS, RANK)
        right = flat[ROWS * RANK :].reshape(RANK, COLUMNS)
        return float(((weight @ x - left @ right @ x) ** 2).sum())

    rng = np.random.default_rng(1)
    for _ in range(3):
        start = rng.normal(size=ROWS * RANK + RANK * COLUMNS)
        actual = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 5000})
        assert np.sqrt(actual.fun) > closed * (1 - 1e-6)


def test_scaling_is_the_best_under_its_weights() -> None:
    weight, x = built()
    inputs = moments(x)
    cut = truncated(activation_scaled_factors(jnp.asarray(weight, jnp.float32), inputs))
    scale = np.diag(np.sqrt(inputs.magnitude))
    closed = np.sqrt((np.linalg.svd(weight @ scale, compute_uv=False)[RANK:] ** 2).sum())
    assert np.linalg.norm((weight - cut) @ scale) == pytest.approx(
        closed, rel=10 * rounding([COLUMNS, RANK])
    )


def test_inputs_of_one_size_make_it_plain() -> None:
    weight, _ = built()
    same = Moments(np.eye(COLUMNS), np.ones(COLUMNS))
    matrix = jnp.asarray(weight, jnp.float32)
    plain = truncated(svd.factor(matrix))
    for factors in (whitened_factors(matrix, same), activation_scaled_factors(matrix, same)):
        np.testing.assert_allclose(
            truncated(factors), plain, rtol=0, atol=10 * rounding([COLUMNS, RANK], 3.0)
        )


def test_a_direction_that_nothing_excites_does_no_harm() -> None:
    """Singular moments: the outputs are what they would be without that input."""
    weight, x = built()
    x[2] = 0
    cut = truncated(whitened_factors(jnp.asarray(weight, jnp.float32), moments(x)))
    closed = np.sqrt((np.linalg.svd(weight @ x, compute_uv=False)[RANK:] ** 2).sum())
    assert np.linalg.norm((weight - cut) @ x) == pytest.approx(closed, rel=1e-4)


def test_moments_are_of_what_a_matrix_reads(tiny: Callable[..., Model]) -> None:
    """Of the first matrices of layer 0: the normalised embedding, computed by itself."""
    model = tiny("llama")
    rows = [[1, 5, 9], [2, 4, 6, 8]]
    actual = input_statistics(
        model.decoder, rows, [(0, "q_proj"), (0, "v_proj"), (1, "fc_in")], source="here"
    )
    assert actual.tokens == 7
    block = model.decoder.blocks[0]
    reads = []
    for row in rows:
        ids = jnp.asarray([row])
        reads.append(
            np.asarray(
                block.norm_attn(model.decoder.embedding(ids, jnp.arange(len(row))[None]))[0],
                np.float64,
            )
        )
    x = np.concatenate(reads)
    second = x.T @ x / len(x)
    tolerance = rounding([x.shape[1]] * 3, float(np.abs(second).max()))
    for name in ("q_proj", "v_proj"):
        np.testing.assert_allclose(actual.moments[0, name].second, second, rtol=0, atol=tolerance)
    assert actual.moments[1, "fc_in"].second.shape == (model.config.width,) * 2


def test_calibration_shows_nothing_that_is_scored() -> None:
    own = prepare("bundled", seed=0, validation_size=40, test_size=40)
    others = [prepare("bundled", seed=s, validation_size=1, test_size=1) for s in range(1, 4)]
    demonstrations = others[0].validation[0].demonstrations
    assert train_texts([own], others[:1]) == ["".join(demonstrations)]
    shown = demonstrations[0].rsplit(" ", 1)[0]
    import dataclasses

    requested = dataclasses.replace(own.test[0], query=shown)
    again = dataclasses.replace(own, test=(requested, *own.test[1:]))
    assert train_texts([again], others[:1]) == ["".join(demonstrations[1:])]


def test_in_an_edited_model_and_the_engine() -> None:
    """Whitening harms the outputs of a real matrix less than plain truncation does."""
    model = jaxsvd.load()
    edits = parse_edits("0:fc_in:0.9:whitened+1:mlp:dropped")
    assert parse_edits(format_edits(edits)) == edits
    actual = train_statistics(model, "bundled", edits, prompts=4)
    edited = model.edited(edits, statistics=actual)
    second, weight = actual.moments[0, "fc_in"].second, model.engine.matrix(0, "fc_in")
    values, vectors = np.linalg.eigh(second)
    root = vectors * np.sqrt(np.maximum(values, 0))
    plain = model.edited("0:fc_in:0.9").engine.matrix(0, "fc_in")
    errors = [
        float(np.linalg.norm((np.asarray(weight, np.float64) - np.asarray(cut)) @ root))
        for cut in (edited.engine.matrix(0, "fc_in"), plain)
    ]
    assert errors[0] < errors[1]
    assert not np.asarray(edited.engine.matrix(1, "fc_in")).any()
    assert "seeds from 1" in edited.source


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = jaxsvd.load()
    with pytest.raises(UserError, match="needs statistics of what the matrix reads"):
        model.edited("0:mlp:0.5:whitened")
    with pytest.raises(UserError, match="takes no clipping rate"):
        Edit(0, "mlp", 0.5, method="dropped")
    words = ["evaluate", "--edit", "0:mlp:0.5:whitened", "--shots", "0", "--test-size", "4"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "--shots should be at least 1" in capsys.readouterr().err
    words = ["evaluate", "--edit", "0:mlp:0.5:activation-scaled", "--test-size", "4"]
    assert main([*words, "--out", str(tmp_path / "again")]) == 0
