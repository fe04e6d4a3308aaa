"""Perplexity against plain forward passes, window by window; intervals against simulation."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from edited_models import logits as plain_logits
from tolerances import UNIT

import jaxsvd
from jaxsvd.commands.perplexity import _requests, perplexity
from jaxsvd.model import Model
from jaxsvd.results.fields import Fields
from jaxsvd.results.perplexity import Perplexity, perplexity_of
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.texts import read_texts

WINDOW = 20


@pytest.fixture(scope="module")
def model() -> Model:
    """The bundled one."""
    return jaxsvd.load()


@pytest.fixture(scope="module")
def text(model: Model) -> str:
    """Words that the bundled tokenizer knows, 70 tokens of them."""
    rng = np.random.default_rng(0)
    words = sorted(w for w in model.tokenizer.get_vocab() if w.isascii() and w.isalpha())
    return " ".join(rng.choice(words, 70))


def log_likelihood(model: Model, tokens: list[int], first: int) -> float:
    """Of the tokens from position ``first`` on, in float64."""
    values = plain_logits(model, tokens)
    values = values - np.logaddexp.reduce(values, axis=-1, keepdims=True)
    return float(sum(values[i - 1, tokens[i]] for i in range(first, len(tokens))))


def by_hand(model: Model, tokens: list[int], stride: int) -> tuple[float, int]:
    """Perplexity and scored tokens, as it is defined: no token twice, none left out but the first.

    With windows side by side the first of each is left out.
    """
    total, count, done = 0.0, 0, 0
    for start in range(0, len(tokens), stride):
        piece = tokens[start : start + WINDOW]
        first = max(1, done - start)
        if len(piece) > first:
            total += log_likelihood(model, piece, first)
            count += len(piece) - first
        done = start + len(piece)
        if done == len(tokens):
            break
    return math.exp(-total / count), count


@pytest.mark.long
def test_windows_by_hand(model: Model, text: str) -> None:
    tokens = model.tokenizer.encode(text, add_special_tokens=False)
    plain, strided = perplexity(model, [text], edit="1:mlp:0.9", window=WINDOW)
    edited = model.edited("1:mlp:0.9")
    for actual, stride in ((plain, WINDOW), (strided, WINDOW // 2)):
        for which, value in ((model, actual.untouched), (edited, actual.edited)):
            wanted, count = by_hand(which, tokens, stride)
            assert actual.tokens == count
            # The exponent is a mean of numbers near log V, each a sum over the vocabulary.
            size = max(1.0, math.log(wanted))
            sums = model.config.vocabulary + model.config.layers * 8 * model.config.width
            assert value == pytest.approx(wanted, rel=5 * UNIT * math.sqrt(sums) * size)
    assert strided.tokens == len(tokens) - 1
    assert plain.difference == pytest.approx(
        math.log(plain.edited or 0) - math.log(plain.untouched)
    )


@pytest.mark.parametrize("length", [2, 19, 20, 21, 30, 31, 40, 41])
def test_every_token_is_scored_once(length: int) -> None:
    tokens = list(range(100, 100 + length))
    strided = list(_requests([7], tokens, WINDOW, WINDOW // 2))
    assert [t for r in strided for t in r.continuations[0]] == tokens[1:]
    assert all(r.context[0] == 7 for r in strided)
    assert all(len(r.context) + len(r.continuations[0]) <= WINDOW + 1 for r in strided)


def test_interval_of_a_ratio() -> None:
    """Over 2,000 texts of 200 windows the interval holds the true difference 95 % of the time."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        counts = rng.integers(5, 20, 200)
        worse = 0.03 * counts + rng.normal(size=200) * np.sqrt(counts)
        actual = perplexity_of("w", 1, 1, counts, [np.zeros(200), -worse])
        assert actual.interval is not None
        held += actual.interval[0] <= 0.03 <= actual.interval[1]
    # A standard error of .0049 and five of them.
    assert abs(held / 2000 - 0.95) < 0.025


def test_no_worse_is_a_one_sided_test() -> None:
    counts = np.full(400, 10)
    same = perplexity_of("w", 1, 1, counts, [np.zeros(400), np.zeros(400)])
    assert same.no_worse(0.001)
    noise = np.random.default_rng(1).normal(size=400)
    noise -= noise.mean()
    actual = perplexity_of("w", 1, 1, counts, [np.zeros(400), noise])
    bound = 1.645 * float(noise.std(ddof=1)) / math.sqrt(400) / 10
    assert not actual.no_worse(0.99 * bound)
    assert actual.no_worse(1.01 * bound)
    assert Perplexity.from_json(Fields.of(json.loads(json.dumps(actual.to_json())))) == actual


def test_texts_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "a.jsonl").write_text('{"body": "one"}\n{"body": "two"}\n')
    assert list(read_texts(tmp_path / "a.txt")) == ["one\ntwo\n"]
    assert list(read_texts(tmp_path / "a.jsonl", "body")) == ["one", "two"]
    with pytest.raises(UserError, match=r"line 1: no text in 'text'"):
        list(read_texts(tmp_path / "a.jsonl"))
    with pytest.raises(UserError, match=r"text is read from"):
        list(read_texts(tmp_path / "a.pdf"))


def test_windows_that_do_not_fit(model: Model) -> None:
    with pytest.raises(UserError, match="a window of 1 tokens should have at least 2"):
        perplexity(model, ["x y"], window=1)
    with pytest.raises(UserError, match="no text of at least two tokens"):
        perplexity(model, [""])
