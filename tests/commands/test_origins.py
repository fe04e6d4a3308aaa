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
    found = origins(model, edit, task, examples=EXAMPLES, directions=directions)
    assert found is not None
    return found


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
    found = measured(model, task, edit)
    gold = np.array([q.gold for q in task.encoded.questions])
    apart = change[gold == 1].mean() - change[gold == 0].mean()
    assert found.total.prior == pytest.approx(change.mean(), abs=TOLERANCE)
    assert found.total.discrimination == pytest.approx(apart, abs=2 * TOLERANCE)
    assert found.total.sd == pytest.approx(change.std(ddof=1), abs=2 * TOLERANCE)
    assert sum(part.shift.prior for part in found.parts) == pytest.approx(found.total.prior)
    assert found.parts[0].part == "direct"
    assert len(found.parts) == 2 + 2 * (model.config.layers - 1 - edit.layer)


def test_the_last_mlp_acts_directly_and_no_other_way(model: Model, task: EncodedTask) -> None:
    """Exact: nothing comes after it."""
    found = measured(model, task, Edit(-1, "mlp", 0.9))
    change = differences(model.edited(Edit(-1, "mlp", 0.9)), task) - differences(model, task)
    assert found.total.prior == pytest.approx(change.mean(), abs=TOLERANCE)
    assert found.direct.prior == pytest.approx(found.total.prior, abs=1e-6)
    assert found.direct.sd == pytest.approx(found.total.sd, abs=1e-6)
    (rest,) = found.parts[1:]
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
    found = measured(model, task, Edit(layer, "mlp", 0.9), directions=4)
    assert len(found.directions) == 4
    sizes = [abs(d.shift.prior) for d in found.directions]
    assert sizes == sorted(sizes, reverse=True)
    for direction in found.directions:
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
    found = measured(model, task, Edit(layer, "out_proj", 0.05), directions=1)
    # The MLP of the layer answers through the stream, or in parallel blocks not at all.
    assert found.first_order == pytest.approx(found.direct.prior, rel=0.05, abs=2e-3)
    for name in ("q_proj", "v_proj"):
        (direction,) = measured(model, task, Edit(layer, name, 0.5), directions=1).directions
        assert direction.matrix == name


@pytest.mark.long
def test_numbers_survive_json(model: Model, task: EncodedTask) -> None:
    found = measured(model, task, Edit(2, "mlp", 0.9), directions=2)
    assert Origins.from_json(Fields(found.to_json())) == found


def test_what_is_not_measured(model: Model, task: EncodedTask) -> None:
    edit = Edit(0, "mlp", 0.9, method="removed-part")
    assert origins(model, edit, task, examples=2, directions=0) is None
