"""Prompts encoded in pieces: the tokens are those of whole texts, whatever the tokenizer."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors

from jaxsvd import tasks
from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.model import load_tokenizer
from jaxsvd.tokenizer import sentencepiece
from jaxsvd.tokenizer.prompts import PromptEncoder, Text
from jaxsvd.tokenizer.seams import WORDS, Seams
from jaxsvd.tokenizer.tokenizer import Tokenizer

CORPUS = ["text: lions eat cod , n't 12 345\nlabel: pos\n", "  two  spaces >  < it's", "na\u00efve"]


def trained_bytes(cut: pre_tokenizers.PreTokenizer) -> tokenizers.Tokenizer:
    """A byte-level BPE with merges that a few texts suggest."""
    built = tokenizers.Tokenizer(models.BPE())
    built.pre_tokenizer = cut  # pyright: ignore
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    built.train_from_iterator(
        CORPUS * 3,
        tokenizers.trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet),  # pyright: ignore
    )
    return built


def by_words() -> tokenizers.Tokenizer:
    """As Llama 3's, with tokens before and after a text."""
    split = pre_tokenizers.Split(Regex(WORDS % "{1,3}"), "isolated")
    built = trained_bytes(
        pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    )
    built.normalizer = normalizers.NFC()  # pyright: ignore
    built.add_special_tokens(["<s>", "</s>"])
    ids = [(token, built.token_to_id(token)) for token in ("<s>", "</s>")]
    built.post_processor = processors.TemplateProcessing(  # pyright: ignore
        single=["<s>", "$A", "</s>"], special_tokens=ids
    )
    return built


def pieces(*, prefix: bool, squeeze: bool = False, over: str = "") -> tokenizers.Tokenizer:
    """SentencePiece's BPE; ``over`` is one more token, with a space in it."""
    space = sentencepiece.SPACE
    words = ["text", "cod", "pos", "eat", f"{space}eat", f"{space}cod", f"{space}{space}", "n't"]
    starts = {word[:n] for word in words for n in range(1, len(word) + 1)}
    letters = [*"abcdefghijklmnopqrstuvwxyz:,'<>\n12345", space]
    tokens = list(dict.fromkeys(["<unk>", "<s>", "</s>", *letters, *sorted(starts)]))
    tokens += [over[:2], over] if over else []
    kinds = [sentencepiece.UNKNOWN, *[sentencepiece.CONTROL] * 2]
    kinds += [sentencepiece.NORMAL] * (len(tokens) - 3)
    scores = [-float(i) for i in range(len(tokens))]
    return sentencepiece.backend(
        sentencepiece.Pieces(tokens, scores, kinds, False, prefix=prefix, squeeze=squeeze)
    )


def unigram(*, metaspace: bool) -> tokenizers.Tokenizer:
    """SentencePiece's other algorithm; only with a pre-tokenizer may it be cut."""
    letters = "abcdefghijklmnopqrstuvwxyz:,'<>\n12345\u2581"
    scored = [("<unk>", 0.0), *((c, -5.0) for c in letters), ("\u2581cod", -2.0), ("eat", -3.0)]
    built = tokenizers.Tokenizer(models.Unigram(scored, 0, False))
    if metaspace:
        built.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore
    else:
        built.normalizer = normalizers.Replace(" ", "\u2581")  # pyright: ignore
    return built


def with_tokens(*added: AddedToken) -> tokenizers.Tokenizer:
    built = trained_bytes(pre_tokenizers.ByteLevel(False))
    built.add_tokens(list(added))
    return built


Byte, Digits = pre_tokenizers.ByteLevel, pre_tokenizers.Digits
MADE: dict[str, tuple[Callable[[], tokenizers.Tokenizer], bool]] = {
    "gpt2": (lambda: trained_bytes(Byte(add_prefix_space=False)), True),
    "gpt2 with a space before": (lambda: trained_bytes(Byte(add_prefix_space=True)), True),
    "smollm": (
        lambda: trained_bytes(pre_tokenizers.Sequence([Digits(True), Byte(False)])),
        True,
    ),
    "llama 3": (by_words, True),
    "llama 2": (lambda: pieces(prefix=True), True),
    "t5": (lambda: unigram(metaspace=True), True),
    "squeezed": (lambda: pieces(prefix=True, squeeze=True), True),
    "gemma": (lambda: pieces(prefix=False, over=">\u2581<"), True),
    "words joined": (lambda: pieces(prefix=False, over="t\u2581e"), True),
    "unigram of whole texts": (lambda: unigram(metaspace=False), False),
    "unknown rule": (lambda: trained_bytes(pre_tokenizers.Split(Regex("o .*"), "isolated")), False),
    "a token of two words": (lambda: with_tokens(AddedToken("eat cod")), False),
    "a token that takes spaces": (lambda: with_tokens(AddedToken("cod", rstrip=True)), False),
    "tokens of spaces": (lambda: with_tokens(AddedToken("  "), AddedToken("\n\n")), True),
    "a token with spaces before": (lambda: with_tokens(AddedToken("cod", lstrip=True)), True),
}


@functools.cache
def built(name: str) -> Tokenizer:
    if name == "bundled":
        return load_tokenizer(BUNDLED)
    return Tokenizer(MADE[name][0]())


def whole(tokenizer: Tokenizer, text: str) -> list[int]:
    """Without what ends a text."""
    ids = tokenizer(text)["input_ids"]
    end = tokenizer.backend.token_to_id("</s>")
    return ids[:-1] if ids and ids[-1] == end and not text.endswith("</s>") else ids


words = st.sampled_from(
    [
        "text:",
        "cod",
        "eat",
        " ",
        "  ",
        "\n",
        "n't",
        "12",
        "345",
        "\u0301",
        "\u00ef",
        ">",
        "<",
        "pos",
    ]
)
texts = st.lists(st.one_of(words, st.just(" "), st.characters(codec="utf-8")), max_size=12).map(
    "".join
)


@pytest.mark.parametrize("name", [*MADE, "bundled"])
@given(
    shared=st.lists(texts, min_size=1, max_size=2),
    own=st.lists(texts, min_size=1, max_size=4),
    endings=st.lists(texts, min_size=1, max_size=3),
)
@example(["text: eat cod > < cod\n"], ["text: cod eat > < eat", " cod", ""], [" pos", "pos", " <"])
@settings(deadline=None, max_examples=25)
def test_tokens_are_those_of_the_whole_text(
    name: str, shared: list[str], own: list[str], endings: list[str]
) -> None:
    """Prompts with every ending, whatever is shared; twice with one encoder."""
    tokenizer = built(name)
    encoder = PromptEncoder(tokenizer)
    for first in shared:
        requested = [Text(first, text, tuple(endings)) for text in own]
        for text, tokens in zip(requested, encoder(requested), strict=True):
            prompt = first + text.own
            context = [*tokens.shared.tolist(), *tokens.rest.tolist()]
            rows = [whole(tokenizer, prompt), *(whole(tokenizer, prompt + e) for e in endings)]
            assert [[*context, *c] for c in tokens.endings.continuations] == rows[1:]
            shortest = min(map(len, rows))
            columns = np.array([row[:shortest] for row in rows])
            same = (columns == columns[:1]).all(0)
            assert len(context) == (shortest if same.all() else int(np.argmin(same)))


@pytest.mark.parametrize("name", MADE)
def test_which_may_be_cut(name: str) -> None:
    assert (Seams.of(built(name).backend) is not None) == MADE[name][1]


def test_pieces_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared parts are encoded once, and so is every word; one prompt of each part is whole."""
    tokenizer = built("bundled")
    encoded = []
    backend = tokenizer.backend

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(backend, name)

        def encode_batch_fast(self, texts: list[str], **options: bool) -> object:
            encoded.extend(texts)
            return backend.encode_batch_fast(texts, **options)

    encoder = PromptEncoder(tokenizer)
    monkeypatch.setattr(tokenizer, "backend", Counting())
    shared = "text: lion wolf\nlabel : A\n" * 40
    prompts = [Text(shared, f"text: {'cod ' * n}\nlabel :", (" A", " B")) for n in range(1, 60)]
    encoder(prompts)
    joint = 3 * len(prompts) * len(shared)
    assert sum(map(len, encoded)) < joint / 20


@pytest.mark.long
def test_real_prompts(shared: Path) -> None:
    """SST-2 for a real tokenizer, and for those of the files that JAXSVD_GGUF names."""
    files = [Path(name) for name in os.environ.get("JAXSVD_GGUF", "").split(":") if name]
    for path in (shared / "models" / "stories260K", *files):
        tokenizer = load_tokenizer(path)
        count = 60_000 if path in files else 300
        prepared = tasks.prepare(
            "sst2", data=shared / "data" / "sst2", validation_size=count // 2, test_size=count // 2
        )
        questions = (*prepared.validation, *prepared.test)
        requested = [Text("".join(q.demonstrations), q.query, q.candidates) for q in questions]
        encoder = PromptEncoder(tokenizer)
        assert encoder.seams is not None
        for text, tokens in zip(requested, encoder(requested), strict=True):
            prompt = text.shared + text.own
            context = [*tokens.shared.tolist(), *tokens.rest.tolist()]
            joint = [[*context, *c] for c in tokens.endings.continuations]
            assert joint == [whole(tokenizer, prompt + e) for e in text.endings]
