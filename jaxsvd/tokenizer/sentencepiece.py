"""SentencePiece's tokenizer.model without the sentencepiece library.

Kudo and Richardson (2018). The file is a protocol buffer of pieces with scores, a normaliser and
the trainer's settings; the tokenizers library has both of its algorithms.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers

from jaxsvd.runtime.errors import UserError

SPACE = "\u2581"
"""Stands for a space in pieces."""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of pieces, in tokenizer.model and in GGUF alike."""

_UNIGRAM, _BPE = 1, 2


@dataclass
class Pieces:
    """What a SentencePiece model is.

    Attributes:
        tokens: the pieces by id.
        scores: log-probabilities (unigram), or minus the order of merges (BPE).
        types: of the pieces.
        unigram: whether the model is unigram, and BPE otherwise.
        byte_fallback: whether what has no piece is spelled in bytes.
        prefix: whether a text gets a space before it.
        squeeze: whether runs of spaces become one, and outer ones go.
        charsmap: SentencePiece's compiled normalisation; empty for none.
        unknown: id of the unknown piece.
        begin: id of the piece that begins a text, or -1.
        end: id of the piece that ends it, or -1.
    """

    tokens: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    unigram: bool = True
    byte_fallback: bool = False
    prefix: bool = True
    squeeze: bool = True
    charsmap: bytes = b""
    unknown: int = 0
    begin: int = 1
    end: int = 2


def read(path: Path) -> Pieces:
    """The pieces of a tokenizer.model.

    Raises:
        UserError: not readable, or not SentencePiece's.
    """
    try:
        pieces = _parse(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from None
    except (ValueError, IndexError, struct.error):
        pieces = Pieces()
    if not pieces.tokens or not 0 <= pieces.unknown < len(pieces.tokens):
        raise UserError(f"{path}: not a SentencePiece model, or damaged")
    return pieces


def backend(pieces: Pieces) -> tokenizers.Tokenizer:
    """The tokenizer of pieces.

    Raises:
        UserError: whitespace rules that the tokenizers library has not for BPE.
    """
    unknown = pieces.tokens[pieces.unknown]
    model = (
        models.Unigram(
            list(zip(pieces.tokens, pieces.scores, strict=True)),
            pieces.unknown,
            pieces.byte_fallback,
        )
        if pieces.unigram
        else bpe(pieces.tokens, merges_by_score(pieces), unknown, pieces.byte_fallback)
    )
    tokenizer = tokenizers.Tokenizer(model)
    steps: list[normalizers.Normalizer] = []
    if pieces.charsmap:
        steps.append(normalizers.Precompiled(pieces.charsmap))
    if pieces.squeeze:
        steps += [
            normalizers.Strip(),
            normalizers.Replace(tokenizers.Regex(" {2,}"), " "),
        ]
    if pieces.prefix:
        steps.append(normalizers.Prepend(SPACE))
    steps.append(normalizers.Replace(" ", SPACE))
    set_text_rules(tokenizer, steps, prefix=pieces.prefix)
    add_tokens(tokenizer, pieces.tokens, pieces.types)
    return tokenizer


def set_text_rules(
    tokenizer: tokenizers.Tokenizer, steps: Sequence[normalizers.Normalizer], *, prefix: bool
) -> None:
    """Set a normaliser, and the decoder that undoes what it did to spaces."""
    tokenizer.normalizer = normalizers.Sequence(list(steps))  # pyright: ignore
    undo: list[decoders.Decoder] = [
        decoders.Replace(SPACE, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ]
    if prefix:
        undo.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(undo)  # pyright: ignore


def bpe(
    tokens: Sequence[str], merges: list[tuple[str, str]], unknown: str | None, byte_fallback: bool
) -> models.BPE:
    """SentencePiece's BPE: whole texts, unknown characters joined."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    return models.BPE(
        vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=byte_fallback
    )


def add_tokens(
    tokenizer: tokenizers.Tokenizer, tokens: Sequence[str], types: Sequence[int]
) -> None:
    """Control pieces as special tokens, user-defined ones as tokens that are never cut."""
    control = [t for t, kind in zip(tokens, types, strict=True) if kind in (UNKNOWN, CONTROL) and t]
    own = [t for t, kind in zip(tokens, types, strict=True) if kind == USER_DEFINED and t]
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in control])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in own])


def merges_by_score(pieces: Pieces) -> list[tuple[str, str]]:
    """The merges that a BPE vocabulary implies, best first: each way to make a piece of two.

    SentencePiece merges the pair whose result has the best score, the leftmost of equals; scores
    are minus the order in which merges were learned.
    """
    usable = {
        token: score
        for token, score, kind in zip(pieces.tokens, pieces.scores, pieces.types, strict=True)
        if kind in (NORMAL, USER_DEFINED, UNUSED)
    }
    return merges_of(pieces.tokens, usable)


def merges_of(tokens: Sequence[str], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every pair of tokens that makes a token, by the score of what it makes, best first."""
    numbers = {token: i for i, token in enumerate(tokens)}
    merges = []
    for token, score in scores.items():
        pairs = [
            (token[:cut], token[cut:])
            for cut in range(1, len(token))
            if token[:cut] in scores and token[cut:] in scores
        ]
        pairs.sort(key=lambda pair: (numbers[pair[0]], numbers[pair[1]]))
        merges += [(score, pair) for pair in pairs]
    merges.sort(key=lambda item: (-item[0], -len(item[1][0]), -len(item[1][1])))
    return [pair for _, pair in merges]


# --- the protocol buffer -------------------------------------------------------------------------


def _parse(data: bytes) -> Pieces:
    pieces = Pieces()
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            token, score, kind = "", 0.0, NORMAL
            for part, content in _fields(value):
                if part == 1 and isinstance(content, bytes):
                    token = content.decode()
                elif part == 2 and isinstance(content, bytes):
                    score = struct.unpack("<f", content)[0]
                elif part == 3 and isinstance(content, int):
                    kind = content
            pieces.tokens.append(token)
            pieces.scores.append(score)
            pieces.types.append(kind)
        elif number == 2 and isinstance(value, bytes):
            _trainer(value, pieces)
        elif number == 3 and isinstance(value, bytes):
            _normalizer(value, pieces)
    return pieces


def _trainer(data: bytes, pieces: Pieces) -> None:
    for number, value in _fields(data):
        if not isinstance(value, int):
            continue
        signed = value - 2**64 if value >= 2**63 else value
        match number:
            case 3:
                if signed not in (_UNIGRAM, _BPE):
                    raise ValueError("neither unigram nor BPE")
                pieces.unigram = signed == _UNIGRAM
            case 35:
                pieces.byte_fallback = bool(signed)
            case 40:
                pieces.unknown = signed
            case 41:
                pieces.begin = signed
            case 42:
                pieces.end = signed


def _normalizer(data: bytes, pieces: Pieces) -> None:
    for number, value in _fields(data):
        match number, value:
            case 2, bytes():
                pieces.charsmap = value
            case 3, int():
                pieces.prefix = bool(value)
            case 4, int():
                pieces.squeeze = bool(value)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field of a message; numbers of fixed width as their bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                value, at = _varint(data, at)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(data, at)
            case 5:
                size = 4
            case _:
                raise ValueError("no protocol buffer")
        if at + size > len(data):
            raise ValueError("cut short")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("no number")
