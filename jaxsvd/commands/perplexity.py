"""Perplexity on plain text, of a model as it is and edited."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxsvd.edits.edit import Edit, Edits, as_edits
from jaxsvd.edits.replacement import variants
from jaxsvd.engine.requests import Request
from jaxsvd.model import Model
from jaxsvd.results.perplexity import Perplexity, perplexity_of
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.tasks.texts import read_texts

WINDOW = 512
"""Tokens of a window, where the model's context allows them."""


def perplexity(
    model: Model,
    data: str | Path | Sequence[str],
    *,
    edit: Edit | str | Iterable[Edit] | None = None,
    window: int | None = None,
    field: str = "text",
    progress: Progress = SILENT,
) -> tuple[Perplexity, Perplexity]:
    """Perplexity by non-overlapping windows and by windows that advance by half.

    In a window every token but the first is scored given those before it. Of a strided window
    after the first only the second half is scored, with the first half as context, so that no
    token is read without one. Special tokens that the tokenizer puts before a text stand before
    every window and are not scored.

    Args:
        model: any.
        data: a ``.txt``, ``.jsonl`` or ``.parquet`` file, or texts; each text is a document.
        edit: scored beside the untouched model.
        window: tokens of a window, at least 2; at most 512 and the model's context if left out.
        field: that holds the text, of jsonl and parquet.
        progress: where to show it.

    Returns:
        Of the non-overlapping and of the strided windows.

    Raises:
        UserError: no text, a window that does not fit, or an edit that the model does not have.
    """
    edited: list[Edits] = [(), *([] if edit is None else [as_edits(edit)])]
    texts = list(read_texts(Path(data), field)) if isinstance(data, str | Path) else data
    before = _before(model)
    size = min(WINDOW, model.config.context - len(before)) if window is None else window
    if not 2 <= size <= model.config.context - len(before):
        raise UserError(
            f"a window of {size} tokens should have at least 2 and, with the model's context of "
            f"{model.config.context}, at most {model.config.context - len(before)}"
        )
    documents = [model.tokenizer.encode(text, add_special_tokens=False) for text in texts]
    results = []
    for name, stride in (("non-overlapping", size), ("strided", size // 2)):
        requests = [r for d in documents for r in _requests(before, d, size, stride)]
        if not requests:
            raise UserError("there is no text of at least two tokens")
        sums = np.zeros((len(edited), len(requests)))
        with progress.bar(f"{name} windows", sums.size, "windows") as advance:
            for scored in model.engine.score(requests, variants(model.engine, edited)):
                sums[scored.variant, scored.request] = scored.scores[0]
                advance(1)
        counts = np.array([len(request.continuations[0]) for request in requests])
        results.append(perplexity_of(name, size, stride, counts, list(sums)))
    return results[0], results[1]


def _before(model: Model) -> list[int]:
    """Special tokens that the tokenizer puts before a text."""
    plain = model.tokenizer.encode("a", add_special_tokens=False)
    whole = model.tokenizer.encode("a", add_special_tokens=True)
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []


def _requests(
    before: Sequence[int], tokens: Sequence[int], window: int, stride: int
) -> Iterable[Request]:
    """The windows of a document; what follows its last token ends it."""
    end = 0  # of what is scored so far
    for start in range(0, len(tokens), stride):
        piece = tokens[start : start + window]
        # The first token of a text has nothing before it but special tokens, which tell nothing.
        context = max(1, end - start)
        if len(piece) > context:
            yield Request(
                np.asarray([*before, *piece[:context]], np.int32),
                [piece[context:]],
                "sequence log-likelihood",
            )
        end = start + len(piece)
        if end == len(tokens):
            return
