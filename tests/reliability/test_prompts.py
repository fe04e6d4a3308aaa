"""Prompts of any text: scored as the joint encoding says, or refused by name.

The reference encodes prompt and candidate as one text, plainly, and takes one plain forward pass.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxsvd
from jaxsvd.encoded_task import EncodedTask, encode_task
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.base import Prepared, Question, Rule

LONG = "lion tiger wolf " * 6250  # 100,000 characters
TEXTS = {
    "right to left": "\u05e9\u05dc\u05d5\u05dd salmon \u202e\u0645\u0631\u062d\u0628\u0627 trout",
    "emoji": "salmon 👩‍👩‍👧‍👦🏳️‍🌈 trout 🐟",
    "combining": "sa\u0301lmo\u0308n e\u0301\u0302\u0303 trout",
    "NUL": "salmon\0trout\0",
    "control": "salmon\x1b[31m\x07\x7f\u2028trout",
    "unpaired quotes": "salmon \"trout' {text} {} %s \\n",
    "the template's words": "text: carp\nlabel : A\ntext: cod label :",
    "the labels": "lion cod label : lion label : cod",
    "spaces": " \t  ",
    "astral": "\U0001d4aa\U0010fffd\ufffe",
    "one letter": "a",
}


@pytest.fixture(scope="module")
def model() -> Model:
    return jaxsvd.load()


def requested(texts: Sequence[str], candidates: tuple[str, ...]) -> tuple[Question, ...]:
    """Questions about texts, after the same demonstrations."""
    shown = ("text: salmon trout\nlabel : lion\n", "text: oak elm\nlabel : cod\n")
    return tuple(
        Question("test", i, shown, f"text: {text}\nlabel :", candidates, 0)
        for i, text in enumerate(texts)
    )


def prepared(questions: tuple[Question, ...], rule: Rule) -> Prepared:
    return Prepared("any", "here", "clean", rule, ("lion", "cod"), 2, 0, 2, (), questions)


def scores(model: Model, questions: tuple[Question, ...], rule: Rule) -> dict[int, np.ndarray]:
    """By the engine."""
    encoded = EncodedTask.of(model, prepared(questions, rule)).encoded
    return {actual.request: actual.scores for actual in model.engine.score_groups(encoded.groups)}


def reference(model: Model, questions: Sequence[Question], rule: Rule) -> list[list[float]]:
    """By the definition of the rule: every question with every candidate, padded to one length."""
    texts = [q.prompt + c for q in questions for c in q.candidates]
    joint = [model.tokenizer(text)["input_ids"] for text in texts]
    alone = [model.tokenizer(q.prompt)["input_ids"] for q in questions for _ in q.candidates]
    ids = np.zeros((len(joint), max(map(len, joint))), np.int32)
    mask = np.zeros(ids.shape, bool)
    for row, tokens in enumerate(joint):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, True
    logits = model.logits(ids, mask)
    built: list[list[float]] = [[] for _ in questions]
    for row, (tokens, prompt) in enumerate(zip(joint, alone, strict=True)):
        question, c = divmod(row, len(questions[0].candidates))
        own = [prompt, *joint[row - c : row - c + len(questions[0].candidates)]]
        at = next(i for i, four in enumerate(zip_longest(*own)) if len({*four}) > 1)
        reported = np.asarray(
            logits[row] if rule == "label" else jax.nn.log_softmax(logits[row], -1)
        )
        values = [reported[i - 1, tokens[i]] for i in range(at, len(tokens))]
        assert len(values) == 1 or rule == "choice"
        built[question].append(float(np.mean(values)))
    return built


@pytest.mark.parametrize(
    ("rule", "candidates"),
    [("label", (" lion", " cod")), ("choice", (" lion 🐟 tiger", " \u05e9\u05dc\u05d5\u05dd"))],
)
def test_any_text_is_scored_as_its_joint_encoding(
    model: Model, rule: Rule, candidates: tuple[str, ...]
) -> None:
    questions = requested([*TEXTS.values(), ""], candidates)
    actual = scores(model, questions, rule)
    assert actual.keys() == set(range(len(questions)))
    for i, expected in enumerate(reference(model, questions, rule)):
        assert actual[i] == pytest.approx(expected, abs=1e-4), questions[i].query


def test_empty_texts(model: Model) -> None:
    """An empty prompt has no position that could tell anything: refused by name."""
    [plain] = requested(["cod"], (" lion", " cod"))
    empty = dataclasses.replace(plain, index=7, demonstrations=(), query="")
    with pytest.raises(UserError, match="row 7 of test: the prompt is empty to the tokenizer"):
        EncodedTask.of(model, prepared((plain, empty), "label"))
    nothing = dataclasses.replace(plain, index=8, candidates=("", " cod"))
    with pytest.raises(UserError, match="row 8 of test: '' has no token of its own"):
        EncodedTask.of(model, prepared((nothing,), "label"))


def test_a_text_of_100_000_characters(model: Model) -> None:
    """Too long even without demonstrations: refused with its row, or left out and counted."""
    assert len(LONG) == 100_000
    questions = requested(["cod", LONG], (" lion", " cod"))
    with pytest.raises(UserError, match=r"row 1 of test with \d+; --skip-long leaves them out"):
        EncodedTask.of(model, prepared(questions, "label"))
    kept = EncodedTask.of(model, prepared(questions, "label"), skip_long=True)
    assert [q.index for q in kept.encoded.questions] == [0]
    assert kept.encoded.skipped == 1


@pytest.mark.long
def test_a_long_text_that_fits(tiny: Callable[..., Model], tmp_path: Path) -> None:
    """100,000 characters that are few tokens are scored as any others."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"?": 0, "text:": 1, "label": 2, ":": 3, "lion": 4, "cod": 5}
    built = Tokenizer(models.WordLevel(words, unk_token="?"))
    built.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore
    built.save(str(tmp_path / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(kind))
    whole = tiny("gptj")
    own = Model(whole.config, whole.decoder, whole.hf_config, "x", None, tmp_path, "float32")
    questions = requested(["x" * 100_000, "cod"], (" lion", " cod"))
    actual = scores(own, questions, "label")
    for i, expected in enumerate(reference(own, questions, "label")):
        assert actual[i] == pytest.approx(expected, abs=1e-4)


def task_file(directory: Path, texts: Sequence[str]) -> Path:
    """A user's task with these texts in its test file."""
    rows = [{"text": f"fish {i}", "label": "ab"[i % 2]} for i in range(12)]
    tests = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    for name, records in (("train", rows), ("test", tests)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (directory / f"{name}.jsonl").write_text(lines, "utf-8")
    (directory / "task.toml").write_text(
        'name = "any"\ntemplate = "text: {text} label :"\nshots = 2\nvalidation_size = 4\n'
        '[files]\ntrain = "train.jsonl"\ntest = "test.jsonl"\n[labels]\na = "lion"\nb = "cod"\n'
    )
    return directory / "task.toml"


@pytest.mark.long
def test_from_a_file(model: Model, tmp_path: Path) -> None:
    """The same texts through a task file: white space is folded, nothing else is touched."""
    texts = [text for text in TEXTS.values() if text.strip() and "\0" not in text]
    task = task_file(tmp_path, texts)
    encoded_task = encode_task(model, task, ("test",))
    by_index = {q.index: q for q in encoded_task.encoded.questions}
    assert len(by_index) == len(texts)
    for i, text in enumerate(texts):
        assert by_index[i].query == f"text: {' '.join(text.split())} label :"
    out = tmp_path / "run"
    jaxsvd.evaluate(model, task, out=out)
    lines = (out / "predictions.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    expected = reference(model, [by_index[r["index"]] for r in records], "label")
    for record, scores in zip(records, expected, strict=True):
        assert record["scores"] == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "test.jsonl, line 1: 'text' is blank"),
        (" \u2003\n", "test.jsonl, line 1: 'text' is blank"),
        ("a\0b", "test.jsonl, line 1: 'text' holds a NUL character"),
        ("\ud83d", "test.jsonl, line 1: 'text' holds half a surrogate pair"),
        (LONG, "1 of 1 queries alone are longer than the model's context"),
    ],
)
def test_refused_by_name(model: Model, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        jaxsvd.evaluate(model, task_file(tmp_path, [text]))
