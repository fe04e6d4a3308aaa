"""Prompts to tokens: what they share is encoded once, and the tokens are those of whole texts."""

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxsvd.tokenizer.seams import Seams
from jaxsvd.tokenizer.tokenizer import Tokenizer, appended


class Text(NamedTuple):
    """A prompt in two parts, and what may end it.

    Attributes:
        shared: that other prompts begin with too, such as demonstrations.
        own: the rest of the prompt.
        endings: each is encoded together with the prompt; the prompt alone is encoded always.
    """

    shared: str
    own: str
    endings: tuple[str, ...]


class Endings(NamedTuple):
    """Tokens at the end of a prompt, from where it was encoded together with its endings.

    Attributes:
        prompt: those of the prompt that are the same alone and with every ending.
        continuations: what follows with each ending.
    """

    prompt: list[int]
    continuations: list[list[int]]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Endings":
        """From the tokens of a prompt alone, then with each ending."""
        alone, *joined = rows
        n = _common(rows)
        return cls(list(alone[:n]), [list(row[n:]) for row in joined])


class PromptTokens(NamedTuple):
    """Tokens of a prompt: ``shared``, then ``own``, then ``endings.prompt``.

    Attributes:
        shared: an array for all prompts that begin with it.
        own: after it.
        endings: after these; the same object for prompts that end in the same way.
    """

    shared: Int[np.ndarray, " shared"]
    own: list[int]
    endings: Endings

    @property
    def rest(self) -> Int[np.ndarray, " tokens"]:
        """The tokens of the prompt after the shared ones."""
        return np.array(self.own + self.endings.prompt, np.int32)

    @property
    def length(self) -> int:
        """Tokens of the prompt with its longest ending."""
        longest = max(map(len, self.endings.continuations), default=0)
        return len(self.shared) + len(self.own) + len(self.endings.prompt) + longest


class _Shared(NamedTuple):
    """A shared part: its tokens up to the last piece, which what follows changes.

    Attributes:
        ids: the tokens.
        piece: the last piece.
        begins: whether it is the only one.
    """

    ids: Int[np.ndarray, " shared"]
    piece: str
    begins: bool


class PromptEncoder:
    """Encodes prompts piece by piece where that gives the tokens of the whole (:mod:`.seams`).

    The first prompt of every shared part is encoded whole too; should its tokens be others, all of
    them are.
    """

    def __init__(self, tokenizer: Any) -> None:
        """For a :class:`Tokenizer`, or one of transformers: that always encodes whole texts."""
        self.tokenizer, self.last = tokenizer, appended(tokenizer)
        self.seams = Seams.of(tokenizer.backend) if isinstance(tokenizer, Tokenizer) else None
        if self.seams is not None:
            before = self._ids([_BEFORE])[0]
            whole = tokenizer(_BEFORE)["input_ids"]
            self.begin = whole[: len(whole) - len(before) - self.last]
            self._skip = len(before)
        self._pieces: dict[str, list[int]] = {}
        self._shared: dict[str, _Shared | None] = {}
        self._endings: dict[tuple[str, tuple[str, ...]], Endings] = {}

    def __call__(self, texts: Sequence[Text]) -> list[PromptTokens]:
        """The tokens of prompts and their endings: those of the whole texts."""
        if self.seams is None:
            return self._whole(texts)
        encoded: list[PromptTokens | None] = [None] * len(texts)
        new = {text.shared: i for i, text in reversed([*enumerate(texts)])}
        new = {shared: i for shared, i in new.items() if shared not in self._shared}
        self._shared |= {shared: self._cut(shared, self.seams) for shared in new}
        self._encode(texts, self.seams, encoded)
        whole = self._whole([texts[i] for i in new.values()])
        for (shared, i), expected in zip(new.items(), whole, strict=True):
            if not _equal(encoded[i], expected):
                self._shared[shared] = None
        missing = [
            i
            for i, text in enumerate(texts)
            if encoded[i] is None or self._shared[text.shared] is None
        ]
        for i, tokens in zip(missing, self._whole([texts[i] for i in missing]), strict=True):
            encoded[i] = tokens
        return [tokens for tokens in encoded if tokens is not None]

    def _encode(
        self, texts: Sequence[Text], seams: Seams, encoded: list[PromptTokens | None]
    ) -> None:
        """Encode texts in pieces; those that cannot be cut stay None."""
        numbers, parts, middles, ends = [], [], [], []
        for i, text in enumerate(texts):
            shared = self._shared[text.shared]
            if shared is None:
                continue
            rest = shared.piece + text.own
            at = seams.last(rest)
            if shared.begins and (at == 0 or rest.startswith(" ")):
                continue  # the end of the prompt is its beginning too, or looks like a piece
            numbers.append(i)
            parts.append(shared.ids)
            middles.append(seams.cut(rest[:at]))
            ends.append((rest[at:], text.endings))
        endings = self._ends(ends)
        known = self._known([*chain.from_iterable(middles)])
        for i, ids, middle, ending in zip(numbers, parts, middles, endings, strict=True):
            own = [number for piece in middle for number in known[piece]]
            encoded[i] = PromptTokens(ids, own, ending)

    def _whole(self, texts: Sequence[Text]) -> list[PromptTokens]:
        """Encode texts whole, alone and with each ending."""
        whole = [t.shared + t.own + ending for t in texts for ending in ("", *t.endings)]
        if not whole:
            return []
        rows = self.tokenizer(whole, return_attention_mask=False)["input_ids"]
        rows = iter([row[: -self.last] for row in rows] if self.last else rows)
        counts, nothing = [1 + len(text.endings) for text in texts], np.zeros(0, np.int32)
        return [PromptTokens(nothing, [], Endings.of(list(islice(rows, n)))) for n in counts]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Tokens of texts, no special ones around them."""
        encodings = self.tokenizer.backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _after_text(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of texts that begin at a cut: without what a tokenizer puts before a text."""
        return [ids[self._skip :] for ids in self._ids([_BEFORE + text for text in texts])]

    def _known(self, pieces: Sequence[str]) -> dict[str, list[int]]:
        """Tokens of pieces, each encoded once; those without a space before them begin a text."""
        new = [piece for piece in dict.fromkeys(pieces) if piece not in self._pieces]
        inner = [piece for piece in new if piece.startswith(" ")]
        first = [piece for piece in new if not piece.startswith(" ")]
        self._pieces.update(zip(inner, self._after_text(inner), strict=True))
        self._pieces.update(zip(first, self._ids(first), strict=True))
        return self._pieces

    def _cut(self, shared: str, seams: Seams) -> _Shared:
        at = seams.last(shared)
        ids = self._ids([shared[:at]])[0]
        return _Shared(np.array([*self.begin, *ids], np.int32), shared[at:], at == 0)

    def _ends(self, wanted: Sequence[tuple[str, tuple[str, ...]]]) -> list[Endings]:
        """What prompts end in, each end encoded once."""
        missing = [key for key in dict.fromkeys(wanted) if key not in self._endings]
        rows = iter(self._after_text([end + e for end, endings in missing for e in ("", *endings)]))
        for end, endings in missing:
            of_end = list(islice(rows, 1 + len(endings)))
            self._endings[end, endings] = Endings.of(of_end)
        return [self._endings[key] for key in wanted]


_BEFORE = "x"
"""Stands before a piece that is encoded alone, as another piece would."""


def _equal(encoded: PromptTokens | None, expected: PromptTokens) -> bool:
    """Whether tokens are the same, however they are divided."""
    if encoded is None:
        return True
    whole = np.concatenate([encoded.shared, encoded.rest])
    same = encoded.endings.continuations == expected.endings.continuations
    return same and np.array_equal(whole, expected.rest)


def _common(rows: Sequence[Sequence[int]]) -> int:
    """How many first tokens all rows share."""
    n = 0
    for column in zip(*rows, strict=False):
        if any(token != column[0] for token in column):
            break
        n += 1
    return n
