"""Decoding with a cache against whole forward passes, and the law that tokens are drawn by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

import jaxsvd
from jaxsvd.generation.texts import cut, end_tokens
from jaxsvd.generation.tokens import continued, next_tokens
from jaxsvd.model import Model
from jaxsvd.runtime.errors import UserError
from tests.conftest import make_tiny
from tests.models.tiny_families import TINY

USUAL = [pytest.param(name, marks=() if name == "llama" else pytest.mark.long) for name in TINY]
"""One by default: each compiles programs of its own."""


def prompts_of(model: Model, lengths: tuple[int, ...]) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, model.config.vocabulary, n).tolist() for n in lengths]


def greedy(model: Model, prompt: list[int], count: int) -> list[int]:
    """By a whole forward pass for each token, over rows of one length."""
    tokens, size = list(prompt), 20  # one shape for all
    for _ in range(count):
        row = np.zeros((1, size), np.int32)
        row[0, : len(tokens)] = tokens
        logits = model.logits(row, np.arange(size)[None] < len(tokens))
        tokens.append(int(jnp.argmax(logits[0, len(tokens) - 1])))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("family", USUAL)
def test_cached_is_uncached_and_a_batch_is_one_by_one(family: str) -> None:
    """Prompts of 1 to 11 tokens, three at a time: the last batch has a spare row."""
    model = make_tiny(family)
    prompts = prompts_of(model, (3, 11, 1, 7, 5))
    actual = dict(continued(model.decoder, prompts, max_new_tokens=9, batch=3))
    assert sorted(actual) == [0, 1, 2, 3, 4]
    for i, prompt in enumerate(prompts):
        assert actual[i] == greedy(model, prompt, 9)


@pytest.mark.long
def test_a_stop_token_ends_its_row_alone() -> None:
    model = make_tiny("llama")
    prompts = prompts_of(model, (3, 11, 7))
    whole = dict(continued(model.decoder, prompts, max_new_tokens=9))
    stop = whole[1][4]
    actual = dict(continued(model.decoder, prompts, max_new_tokens=9, stop_tokens=[stop]))
    for i, row in whole.items():
        assert actual[i] == (row[: row.index(stop) + 1] if stop in row else row)
    assert len(actual[1]) <= 5


@pytest.mark.long
def test_what_ends_a_row_without_a_token() -> None:
    """Rows are looked at now and then; they stop there and differ in nothing."""
    model = make_tiny("llama")
    prompts = prompts_of(model, (3, 7))
    whole = dict(continued(model.decoder, prompts, max_new_tokens=60))
    actual = continued(
        model.decoder, prompts, max_new_tokens=60, complete=lambda ids: len(ids) > 20
    )
    for i, row in actual:
        assert 20 < len(row) < 60
        assert row == whole[i][: len(row)]


def test_tokens_are_drawn_from_the_softmax() -> None:
    """8,000 first tokens against softmax(logits / temperature): chi-square at 1 in 1,000."""
    logits = 2 * np.random.default_rng(0).standard_normal(12).astype(np.float32)
    keys = jax.random.split(jax.random.key(5), 8000)
    rows = jnp.broadcast_to(logits, (8000, 12))
    for temperature in (0.7, 1.6):
        drawn = np.asarray(next_tokens(rows, temperature, keys))
        law = np.asarray(jax.nn.softmax(logits / temperature))
        law = law.astype(np.float64) / law.sum(dtype=np.float64)
        assert chisquare(np.bincount(drawn, minlength=12), 8000 * law).pvalue > 1e-3
    assert (np.asarray(next_tokens(rows, 0.0, keys)) == logits.argmax()).all()


@pytest.mark.long
def test_draws_do_not_depend_on_the_batch() -> None:
    model = make_tiny("llama")
    prompts = prompts_of(model, (3, 11, 7))
    together, apart = (
        dict(continued(model.decoder, prompts, max_new_tokens=9, temperature=1.0, key=key, batch=b))
        for key, b in ((jax.random.key(1), 3), (jax.random.key(1), 1))
    )
    assert together == apart
    others = continued(
        model.decoder, prompts, max_new_tokens=9, temperature=1.0, key=jax.random.key(2)
    )
    assert dict(others) != together


@pytest.mark.long
def test_texts_of_the_bundled_model() -> None:
    model = jaxsvd.load()
    [whole] = model.generate(["review: good"], max_new_tokens=12)
    first = whole.strip()[:1]
    assert model.generate(["review: good"], max_new_tokens=12, stop=first) == [
        whole[: whole.index(first)]
    ]
    room = model.config.context
    with pytest.raises(UserError, match=f"more than the model's context of {room}"):
        model.generate(["review: good"], max_new_tokens=room)
    for wrong in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"stop": ""}):
        with pytest.raises(UserError):
            model.generate(["review: good"], **wrong)


def test_cuts_and_ends() -> None:
    assert cut("one\ntwo. three", [".", "\n"]) == "one"
    assert cut("one", ["."]) == "one"
    assert end_tokens({"eos_token_id": 3}, None, {"eos_token_id": [1, 2]}) == [1, 2]
    assert end_tokens({"eos_token_id": 3}, None, {}) == [3]
    assert end_tokens({}, None, {}) == []
