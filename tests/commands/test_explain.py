"""``jaxsvd explain`` on a search of the bundled model, recomputed from the parts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import jaxsvd
from jaxsvd.commands.explain import Passes, explain
from jaxsvd.commands.explaining.readings import NO_CONTEXT, length_readings
from jaxsvd.commands.explaining.searched import scores
from jaxsvd.edits.edit import CONTROLS, RANDOM, Edit
from jaxsvd.encoded_task import EncodedTask, encode_task
from jaxsvd.model import Model
from jaxsvd.results.calibration import context_calibrated
from jaxsvd.results.explanation import Explanation
from jaxsvd.results.fields import Fields
from jaxsvd.results.search import SearchResult
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT
from jaxsvd.score import score_split

SIZES = {"validation_size": 200, "test_size": 100, "seed": 1}


def load(source: str, revision: str | None, dtype: str) -> Model:
    """The bundled model, whatever is asked for."""
    return jaxsvd.load()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    """A search that truncates something."""
    out = tmp_path_factory.mktemp("runs") / "search"
    result = jaxsvd.search(
        jaxsvd.load(), module="attn", layer=0, rates=[0.0, 0.99], out=out, **SIZES
    )
    if result.best_rate == 0:  # another processor may round another way: make it choose
        pytest.skip("the search chose rate 0 here")
    return out, result


@pytest.fixture(scope="module")
def explained(searched: tuple[Path, SearchResult]) -> Explanation:
    """With few passes of every kind."""
    text = searched[0].parent / "text.txt"
    text.write_text("A B C D E F G H I J\n")
    result = explain(
        searched[0],
        load=load,
        passes=Passes(draws=2, orders=2, control_seeds=1, examples=30, origins=10, directions=1),
        also={"bundled": None},
        texts=[text],
    )
    assert result.explanation is not None
    return result.explanation


def accuracy(model: Model, task: EncodedTask) -> float:
    """On the test set."""
    [lines] = score_split(model.engine, task, "test", [()], run=None, progress=SILENT)
    return float(np.mean([line.right for line in lines]))


@pytest.mark.long
def test_it_agrees_with_the_search(
    searched: tuple[Path, SearchResult], explained: Explanation
) -> None:
    """What needs no passes is the search's; it is written beside the rest of result.json."""
    out, result = searched
    assert result.explanation is not None
    assert explained.raw == result.explanation.raw
    assert explained.fitted_prior.difference == result.explanation.fitted_prior.difference
    written = json.loads((out / "result.json").read_text())
    assert Explanation.from_json(Fields.of(written["explanation"])) == explained
    before = result.to_json()
    assert {k: v for k, v in written.items() if k != "explanation"}.keys() == (
        before.keys() - {"explanation"}
    )


@pytest.mark.long
def test_controls_are_edits_of_the_same_weights(
    searched: tuple[Path, SearchResult], explained: Explanation
) -> None:
    model, result = jaxsvd.load(), searched[1]
    task = encode_task(model, "bundled", ("test",), **SIZES)
    assert [c.kind for c in explained.controls] == list(CONTROLS)
    for control in explained.controls:
        edit = Edit(0, "attn", result.best_rate, method=control.kind)  # type: ignore[arg-type]
        assert control.draws == 1
        # Dense and packed passes round apart: at most one question of 80 may stand on the edge.
        assert control.accuracy == pytest.approx(accuracy(model.edited(edit), task), abs=1.01 / 80)
    assert set(RANDOM) & set(CONTROLS)


@pytest.mark.long
def test_luck_and_side_effects(searched: tuple[Path, SearchResult], explained: Explanation) -> None:
    """The first draw and the first order are the search's own, on fewer examples."""
    assert {name: len(s.changes) for name, s in explained.spread.items()} == {
        "draws": 2,
        "orders": 2,
    }
    [effect] = explained.also
    assert effect.task == "bundled"
    assert effect.examples == SIZES["test_size"]
    assert list(explained.texts) == ["text.txt"]
    assert explained.texts["text.txt"].edited is not None
    assert explained.origins is not None
    assert explained.origins.examples == 10
    assert len(explained.origins.directions) == 1


def test_contextual_calibration_by_hand() -> None:
    """Zhao et al. (2021): p / p_cf, normalised; the same answers as the largest of it."""
    rng = np.random.default_rng(0)
    scores, empty = rng.normal(size=(50, 3)), rng.normal(size=(4, 3))
    p = softmax(scores, axis=1) / softmax(empty, axis=1).mean(axis=0)
    p /= p.sum(axis=1, keepdims=True)
    ours = context_calibrated(scores, empty)
    np.testing.assert_allclose(log_softmax(ours, axis=1), np.log(p), rtol=1e-12)


def test_what_cannot_be_explained(searched: tuple[Path, SearchResult], tmp_path: Path) -> None:
    out, _ = searched
    other = tmp_path / "changed"
    shutil.copytree(out, other)
    request = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(request | {"questions": "others"}))
    with pytest.raises(UserError, match="data or the tokenizer have changed since"):
        explain(other, load=load)
    (other / "run.json").write_text(json.dumps(request | {"asked": {}}))
    with pytest.raises(UserError, match="examples in memory, which cannot be drawn again"):
        explain(other, load=load)
    result = json.loads((other / "result.json").read_text())
    whitened = [edit | {"method": "whitened"} for edit in result["edits"]]
    (other / "result.json").write_text(json.dumps(result | {"edits": whitened}))
    with pytest.raises(UserError, match="chose whitened; explain takes a truncation"):
        explain(other, load=load)
    (other / "result.json").write_text(json.dumps(result | {"best_rate": 0.0}))
    with pytest.raises(UserError, match="nothing is truncated, nothing to explain"):
        explain(other, load=load)
    with pytest.raises(UserError, match="no such run"):
        explain(tmp_path / "none", load=load)


def test_choices_have_no_content_free_queries() -> None:
    """COPA's candidates differ from question to question."""
    from jaxsvd.tasks.clean import content_free

    model = jaxsvd.load()
    prepared = encode_task(model, "bundled", ("test",), **SIZES).prepared
    with pytest.raises(UserError, match="only tasks with labels and a template"):
        content_free(replace(prepared, template=None), ["N/A"])


WORDS = ("salmon trout", "cotton silk denim", "early")
CHOICES = """
name = "pairs"
template = "text: {text} label :"
kind = "choices"
label_field = "gold"
labels = { "0" = "one", "1" = "two" }

[files]
train = "train.jsonl"
test = "test.jsonl"
"""
LABELS = """
name = "words"
template = "text: {text} label :"
label_field = "gold"
labels = { "0" = "early inner", "1" = "late" }

[files]
train = "train.jsonl"
test = "test.jsonl"
"""


def log_likelihood(model: Model, context: str, candidate: str) -> tuple[float, int]:
    """Sum over a candidate's tokens, and how many there are, by one plain forward pass."""
    ids = model.tokenizer(context + candidate)["input_ids"]
    start = len(model.tokenizer(context)["input_ids"])
    log_p = log_softmax(np.asarray(model.logits(np.array([ids]))[0], np.float64), axis=1)
    values = [log_p[i - 1, ids[i]] for i in range(start, len(ids))]
    return float(sum(values)), len(values)


@pytest.mark.long
@pytest.mark.parametrize(("file", "other"), [(CHOICES, "summed"), (LABELS, "length_normalised")])
def test_lengths_and_scores_without_context(file: str, other: str, tmp_path: Path) -> None:
    """Every number again by plain forward passes, to float32's rounding of a sum of logits."""
    rows = [
        {"text": f"{WORDS[i % 3]} rather herring {i}", "gold": str(i % 2)}
        | {"one": WORDS[i % 3], "two": WORDS[(i + 1) % 3]}
        for i in range(12)
    ]
    for name, chosen in (("train.jsonl", rows[:8]), ("test.jsonl", rows[8:])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in chosen))
    (tmp_path / "task.toml").write_text(file)
    model, edit = jaxsvd.load(), Edit(0, "attn", 0.9)
    task = encode_task(model, tmp_path / "task.toml", ("test",), shots=2, test_size=4)
    tables, _ = scores(model, task, "test", [(), (edit,)], SILENT)
    read = dict(length_readings(model, edit, task, (tables[0], tables[1]), SILENT))
    assert set(read) == {other, "pmi"}
    for side, plain in enumerate((model, model.edited(edit))):
        for i, question in enumerate(task.encoded.questions):
            for j, candidate in enumerate(question.candidates):
                total, count = log_likelihood(plain, question.prompt, candidate)
                alone, _ = log_likelihood(plain, NO_CONTEXT, candidate)
                expected = total if other == "summed" else total / count
                assert read[other][side][i, j] == pytest.approx(expected, abs=1e-4)
                assert read["pmi"][side][i, j] == pytest.approx(total - alone, abs=1e-4)


@pytest.mark.long
def test_several_draws(tmp_path: Path) -> None:
    """What a search over draws knows is told again; controls and luck are over the draws."""
    sizes = {"validation_size": 100, "test_size": 60}
    result = jaxsvd.search(
        jaxsvd.load(), module="attn", layer=0, rates=[0.99], seeds=[1, 0], out=tmp_path / "run",
        **sizes,
    )  # fmt: skip
    if result.best_rate == 0:  # another processor may round another way: make it choose
        pytest.skip("the search chose rate 0 here")
    actual = explain(tmp_path / "run", load=load, passes=Passes(3, 0, 1, 20, origins=0)).explanation
    assert actual is not None
    assert result.explanation is not None
    assert actual.raw == result.explanation.raw
    assert actual.fitted_prior == result.explanation.fitted_prior
    assert [c.draws for c in actual.controls] == [2] * len(CONTROLS)
    for control in actual.controls:
        assert control.interval is not None
        low, high = control.interval
        assert control.difference == pytest.approx(control.accuracy - actual.raw.untouched)
        assert low <= control.accuracy - actual.raw.untouched <= high
    assert len(actual.spread["draws"].changes) == 3
    assert set(actual.spread) == {"draws"}
