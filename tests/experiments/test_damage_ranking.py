"""Predictors of damage against brute force, and the correlations by hand."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvd
from experiments.common.scaffold import main
from experiments.damage_ranking.experiment import EXPERIMENT, OUTCOMES, Candidate, correlations
from experiments.damage_ranking.predictors import (
    PREDICTORS,
    matrix_facts,
    places_of,
    predictions,
)
from jaxsvd.edits.edit import Edit
from jaxsvd.encoded_task import encode_task
from jaxsvd.engine.input_statistics import InputStatistics, Moments
from jaxsvd.selection.gradient import example_gradients, matrix_gradients, predicted_changes

EPSILON = float(np.finfo(np.float32).eps)


@pytest.mark.long
def test_predictors_are_their_definitions() -> None:
    """From dense matrices: W - W_r by the SVD, every example's gradient, and random inputs."""
    model = jaxsvd.load()
    few = {"shots": 2, "validation_size": 6, "test_size": 1}
    draw = encode_task(model, "bundled", ("validation",), **few)
    positions, edited = (
        draw.positions("validation"),
        [(Edit(0, "mlp", 0.9),), (Edit(3, "attn", 0.5),)],
    )
    places = places_of(model, edited)
    rng = np.random.default_rng(0)
    inputs = {p: rng.normal(size=(50, model.engine.matrix(*p).shape[1])) for p in places}
    moments = {p: Moments(x.T @ x / 50, np.abs(x).mean(axis=0)) for p, x in inputs.items()}
    statistics = InputStatistics(moments, 50, "random numbers")
    gradients = list(example_gradients(model, draw.encoded, positions, places))
    facts = matrix_facts(model, places, gradients, statistics)
    mean = matrix_gradients(model, draw.encoded, positions, places)
    for place in places:
        by_example = np.mean([g[place] for g in gradients], axis=0)
        # Sums over the tokens of six questions of a hundred tokens, in another order of float32.
        largest = np.abs(mean[place]).max()
        np.testing.assert_allclose(by_example, mean[place], atol=600 * EPSILON * largest)
    first_order = predicted_changes(model, mean, edited)
    for edits, expected in zip(edited, first_order, strict=True):
        changes, outputs, energy, cut = np.zeros(len(positions)), 0.0, 0.0, 0.0
        for edit in edits[0].by_matrix(model.config):
            place = edit.layer, edit.module
            matrix = np.asarray(jnp.asarray(model.engine.matrix(*place), jnp.float32), np.float64)
            u, s, vt = np.linalg.svd(matrix, full_matrices=False)
            rank = edit.rank_of(matrix.shape)
            removed = matrix - (u[:, :rank] * s[:rank]) @ vt[:rank]
            changes += [-np.sum(removed * g[place]) for g in gradients]
            outputs += float((np.square(inputs[place] @ removed.T).sum(axis=1)).mean())
            energy, cut = energy + float(np.sum(matrix**2)), cut + float(np.sum(removed**2))
        actual = predictions(model, edits, facts)
        assert tuple(actual) == PREDICTORS
        assert actual["gradient"] == pytest.approx(changes.mean(), rel=1e-9)
        assert actual["Fisher"] == pytest.approx((changes**2).mean() / 2, rel=1e-9)
        assert actual["removed outputs"] == pytest.approx(outputs, rel=1e-9)
        assert actual["removed energy"] == pytest.approx(cut / energy, rel=1e-9)
        assert actual["weight norm"] == pytest.approx(energy**0.5, rel=1e-9)
        # The sum of all examples' shares of every removed component, in float32 gradients.
        size = float(sum(np.abs(facts[p].shares).sum(axis=1).mean() for p in places))
        assert actual["gradient"] == pytest.approx(expected, abs=600 * EPSILON * size)


def test_correlations_by_hand() -> None:
    """Within layers the predictor is right, over all of them the layers' levels turn it round."""
    levels = {
        ("0", 0.5): (1.0, 10.0),
        ("0", 0.9): (2.0, 20.0),
        ("1", 0.5): (5.0, 1.0),
        ("1", 0.9): (6.0, 2.0),
    }
    row = [
        Candidate(f"{layer}:mlp:{rate}", {"gradient": x}, {"loss": y})
        for (layer, rate), (x, y) in levels.items()
    ]
    everything, layer, module, rate = correlations([row], "gradient", "loss")
    assert everything == module == pytest.approx(-0.6)
    assert layer == pytest.approx(1.0)
    assert rate == pytest.approx(-1.0)


DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["bundled", "smollm2-135m"])
def test_the_page_says_what_the_records_say(name: str) -> None:
    record = json.loads((DOCS / "selection" / "ranking" / f"{name}.json").read_text("utf-8"))
    rows = [[Candidate.from_json(one) for one in row["candidates"]] for row in record["rows"]]
    page = (DOCS / "selection.md").read_text("utf-8")
    for predictor in PREDICTORS:
        values = [v for outcome in OUTCOMES for v in correlations(rows, predictor, outcome)]
        cells = " | ".join("-" if np.isnan(value) else f"{value:+.2f}" for value in values)
        assert f"| {predictor} | {cells} |" in page


@pytest.mark.long
def test_a_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ["--layers", "0", "--modules", "attn", "--rates", "0,0.5,0.95", "--seeds", "0"]
    assert main(EXPERIMENT, [*small, "--validation-size", "20", "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    [row] = result["rows"]
    assert [one["edits"] for one in row["candidates"]] == ["0:attn:0.5", "0:attn:0.95"]
