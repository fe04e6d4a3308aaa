"""Gradients of the loss against finite differences, and what they predict of truncations."""

from pathlib import Path

import numpy as np
import pytest
from edited_models import logits as plain_logits

import jaxsvd
from jaxsvd.edits.edit import Edit, parse_edits
from jaxsvd.encoded_task import EncodedTask, encode_task
from jaxsvd.engine.encoding import Encoded
from jaxsvd.model import Model
from jaxsvd.models.matrices import matrices, part
from jaxsvd.runtime.errors import UserError
from jaxsvd.selection.gradient import matrix_gradients, predicted_changes

EXAMPLES = 6


@pytest.fixture(scope="module")
def model() -> Model:
    """The bundled one."""
    return jaxsvd.load()


def words(model: Model, count: int) -> list[str]:
    """Some that the bundled tokenizer knows."""
    known = sorted(w for w in model.tokenizer.get_vocab() if w.isascii() and w.isalpha())
    return known[:count]


def encoded_task(model: Model, folder: Path, labels: int) -> EncodedTask:
    """A task with labels of so many tokens each."""
    known = words(model, 40)
    rng = np.random.default_rng(0)
    label_words = [" ".join(known[i * labels : (i + 1) * labels]) for i in (0, 1)]
    for name, count in (("train.csv", 60), ("test.csv", 4)):
        rows = [(rng.choice(known[10:], 5), int(rng.integers(2))) for _ in range(count)]
        text = "".join(f"{' '.join(own)},{label}\n" for own, label in rows)
        (folder / name).write_text("body,label\n" + text)
    (folder / "task.toml").write_text(
        'name = "own"\ntemplate = "{body}"\nlabel_field = "label"\n'
        '[files]\ntrain = "train.csv"\ntest = "test.csv"\n'
        f'[labels]\n"0" = "{label_words[0]}"\n"1" = "{label_words[1]}"\n'
    )
    return encode_task(
        model, folder / "task.toml", ("validation",), shots=2, seed=0, validation_size=10
    )


def first(task: EncodedTask) -> tuple[Encoded, list[int]]:
    """The first validation questions."""
    return task.encoded, task.positions("validation")[:EXAMPLES]


def loss(model: Model, task: EncodedTask) -> float:
    """Mean negative log-probability of the right candidate, by plain passes in float64."""
    encoded, total = task.encoded, 0.0
    lines = {line.request: (group, line) for group in encoded.groups for line in group.lines}
    for i in task.positions("validation")[:EXAMPLES]:
        group, line = lines[i]
        prefix = group.prefix.tolist()
        if group.kind == "label tokens":
            scores = plain_logits(model, [*prefix, *line.tokens])[-1, list(group.labels)]
        else:
            scores = np.zeros(line.count)
            for c in range(line.count):
                tokens = [*prefix, *line.tokens[np.isin(line.continuations, [0, c + 1])]]
                targets = line.targets[line.scored == c]
                read = plain_logits(model, tokens)[-len(targets) :]
                read = read - np.logaddexp.reduce(read, axis=-1, keepdims=True)
                scores[c] = read[np.arange(len(targets)), targets].sum()
        total -= scores[encoded.questions[i].gold] - np.logaddexp.reduce(scores)
    return total / EXAMPLES


@pytest.mark.parametrize("labels", [1, 2])
def test_gradients_are_derivatives(model: Model, tmp_path: Path, labels: int) -> None:
    """Along a random direction of every matrix, by central differences in float64."""
    task = encoded_task(model, tmp_path, labels)
    names = matrices(model.config, "all")
    places = [(1, name) for name in names]
    actual = matrix_gradients(model, *first(task), places)
    rng = np.random.default_rng(1)
    for layer, name in places:
        weight = getattr(getattr(model.decoder.blocks[layer], part(name)), name).weight
        value = weight.get_value()
        direction = rng.normal(size=value.shape) * float(np.std(np.asarray(value)))
        step = 2.0**-6
        sides = []
        try:
            for sign in (1, -1):
                weight.set_value((value + sign * step * direction).astype(value.dtype))
                sides.append(loss(model, task))
        finally:
            weight.set_value(value)
        slope = (sides[0] - sides[1]) / (2 * step)
        predicted = float((actual[layer, name] * direction).sum())
        # Weights are rounded to float32 (1e-7 of a step of 1/64: 1e-5), and a central difference
        # leaves its third order, step squared: 2.4e-4 of the largest derivative.
        size = float(np.linalg.norm(actual[layer, name]) * np.linalg.norm(direction))
        assert predicted == pytest.approx(slope, abs=1e-3 * size)
        assert size > 0


def test_predictions_are_sums_over_matrices(model: Model, tmp_path: Path) -> None:
    """By hand from the removed part, and right to first order where little is removed."""
    task = encoded_task(model, tmp_path, 1)
    places = [(layer, name) for layer in (0, 1) for name in matrices(model.config, "mlp")]
    actual = matrix_gradients(model, *first(task), places)
    edits = [(), *map(parse_edits, ("1:mlp:0.5", "0:fc_in:0.9+1:fc_out:0.1"))]
    predicted = predicted_changes(model, actual, edits)
    assert predicted[0] == 0
    for edit, change in zip(edits[1:], predicted[1:], strict=True):
        wanted = 0.0
        for one in [m for e in edit for m in e.by_matrix(model.config)]:
            w = np.asarray(model.engine.matrix(one.layer, one.module), np.float64)
            u, s, vt = np.linalg.svd(w, full_matrices=False)
            rank = one.rank_of(w.shape)
            removed = (u[:, rank:] * s[rank:]) @ vt[rank:]
            wanted -= float((actual[one.layer, one.module] * removed).sum())
        assert change == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_what_cannot_be_predicted(model: Model, tmp_path: Path) -> None:
    task = encoded_task(model, tmp_path, 1)
    actual = matrix_gradients(model, *first(task), [(0, "fc_in")])
    with pytest.raises(UserError, match="only truncations"):
        predicted_changes(model, actual, [(Edit(0, "fc_in", 0.5, method="magnitude"),)])
