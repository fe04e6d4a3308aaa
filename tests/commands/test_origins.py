"""By which layers and directions the logit difference changes, against plain forward passes."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

import jaxsvd
from jaxsvd.checkpoints.load import fill
from jaxsvd.commands.explaining.origins import origins
from jaxsvd.edits.edit import Edit
from jaxsvd.edits.replacement import parameter_path
from jaxsvd.encoded_task import EncodedTask, encode_task
from jaxsvd.model import Model
from jaxsvd.results.fields import Fields
from jaxsvd.results.origins import Origins

EXAMPLES = 12


@pytest.fixture(scope="module")
def model() -> Model:
    return jaxsvd.load()


@pytest.fixture(scope="module")
def task(model: Model) -> EncodedTask:
    return encode_task(model, "bundled", ("test",), test_size=EXAMPLES, seed=0)


def measured(model: Model, task: EncodedTask, edit: Edit, directions: int = 0) -> Origins:
    """All examples."""
    actual = origins(model, edit, task, examples=EXAMPLES, directions=directions)
    assert actual is not None
    return actual


def differences(model: Model, task: EncodedTask) -> np.ndarray:
    """Logit of the second label less that of the first, after each prompt."""
    first, second = task.encoded.label_ids
    prompts = [model.tokenizer(q.prompt)["input_ids"] for q in task.encoded.questions]
    lengths = np.array([len(ids) for ids in prompts])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, np.int32)
    ids[mask] = np.concatenate(prompts)
    logits = np.asarray(model.logits(ids, mask), np.float64)[np.arange(len(ids)), lengths - 1]
    return logits[:, second] - logits[:, first]


def with_matrix(model: Model, layer: int, name: str, matrix: np.ndarray) -> Model:
    """The model with another matrix."""
    arrays = {
        ".".join(map(str, path)): leaf.get_value()
        for path, leaf in nnx.to_flat_state(nnx.state(model.decoder))
    }
    arrays[parameter_path(layer, name)] = matrix.astype(np.float32)
    return dataclasses.replace(model, decoder=fill(model.config, arrays, model.decoder.dtype))


TOLERANCE = 2e-4
"""Of logit differences of about 10, each by some 30 float32 sums of numbers as large."""


@pytest.mark.long
@pytest.mark.parametrize("edit", [Edit(0, "attn", 0.9), Edit(1, "mlp", 0.75), Edit(3, "mlp", 0.9)])
def test_parts_add_up_to_the_change(model: Model, task: EncodedTask, edit: Edit) -> None:
    change = differences(model.edited(edit), task) - differences(model, task)
    actual = measured(model, task, edit)
    gold = np.array([q.gold for q in task.encoded.questions])
    apart = change[gold == 1].mean() - change[gold == 0].mean()
    assert actual.total.prior == pytest.approx(change.mean(), abs=TOLERANCE)
    assert actual.total.discrimination == pytest.approx(apart, abs=2 * TOLERANCE)
    assert actual.total.sd == pytest.approx(change.std(ddof=1), abs=2 * TOLERANCE)
    assert sum(part.shift.prior for part in actual.parts) == pytest.approx(actual.total.prior)
    assert actual.parts[0].part == "direct"
    assert len(actual.parts) == 2 + 2 * (model.config.layers - 1 - edit.layer)


def test_the_last_mlp_acts_directly_and_no_other_way(model: Model, task: EncodedTask) -> None:
    """Exact: nothing comes after it."""
    actual = measured(model, task, Edit(-1, "mlp", 0.9))
    change = differences(model.edited(Edit(-1, "mlp", 0.9)), task) - differences(model, task)
    assert actual.total.prior == pytest.approx(change.mean(), abs=TOLERANCE)
    assert actual.direct.prior == pytest.approx(actual.total.prior, abs=1e-6)
    assert actual.direct.sd == pytest.approx(actual.total.sd, abs=1e-6)
    (rest,) = actual.parts[1:]
    assert rest.shift.prior == pytest.approx(0, abs=1e-6)
    assert rest.shift.sd == pytest.approx(0, abs=1e-6)


@pytest.mark.long
def test_a_directions_effect_is_the_derivative_of_its_removal(
    model: Model, task: EncodedTask
) -> None:
    """Of the last layer's MLP every effect is direct: finite differences of whole passes.

    A step of 10 % of a direction, both ways: the error is of third order in it, and of the
    rounding of two logit differences over the step.
    """
    layer = model.config.layers - 1
    actual = measured(model, task, Edit(layer, "mlp", 0.9), directions=4)
    assert len(actual.directions) == 4
    sizes = [abs(d.shift.prior) for d in actual.directions]
    assert sizes == sorted(sizes, reverse=True)
    for direction in actual.directions:
        name, i = direction.matrix, direction.number - 1
        matrix = np.asarray(model.engine.matrix(layer, name), np.float64)
        left, s, right = np.linalg.svd(matrix, full_matrices=False)
        assert direction.singular_value == pytest.approx(s[i], rel=1e-5)
        part = 0.1 * s[i] * np.outer(left[:, i], right[i])
        less, more = (
            differences(with_matrix(model, layer, name, matrix + sign * part), task)
            for sign in (-1, 1)
        )
        slope = (less - more) / 0.2
        assert direction.shift.prior == pytest.approx(slope.mean(), rel=0.02, abs=2e-3)
        assert direction.shift.sd == pytest.approx(slope.std(ddof=1), rel=0.02, abs=2e-3)
        assert direction.words
        assert direction.in_demonstrations is not None
        assert 0 <= direction.in_demonstrations <= 1


@pytest.mark.long
def test_attention_directions(model: Model, task: EncodedTask) -> None:
    """Of a small truncation the directions' effects add up to the direct one, to first order."""
    layer = model.config.layers - 1
    actual = measured(model, task, Edit(layer, "out_proj", 0.05), directions=1)
    # The MLP of the layer answers through the stream, or in parallel blocks not at all.
    assert actual.first_order == pytest.approx(actual.direct.prior, rel=0.05, abs=2e-3)
    for name in ("q_proj", "v_proj"):
        (direction,) = measured(model, task, Edit(layer, name, 0.5), directions=1).directions
        assert direction.matrix == name


@pytest.mark.long
def test_numbers_survive_json(model: Model, task: EncodedTask) -> None:
    actual = measured(model, task, Edit(2, "mlp", 0.9), directions=2)
    assert Origins.from_json(Fields(actual.to_json())) == actual


def test_what_is_not_measured(model: Model, task: EncodedTask) -> None:
    edit = Edit(0, "mlp", 0.9, method="removed-part")
    assert origins(model, edit, task, examples=2, directions=0) is None
