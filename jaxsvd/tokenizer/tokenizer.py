"""A tokenizer as the rest of the package calls it, around one of the tokenizers library.

The interface is the part of transformers' that is used here, so either serves.
"""

import functools
from collections.abc import Sequence
from typing import Any

import tokenizers


class Tokenizer:
    """Encodes as transformers would, without importing it.

    Attributes:
        backend: of the tokenizers library; neither pads nor truncates.
        special: name (``bos_token``) to the special token that has it.
        notices: one line each, for the user to see.
    """

    is_fast = True

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        special: dict[str, str] | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        """See the attributes."""
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        self.special = special or {}
        self.notices = tuple(notices)

    def __call__(
        self,
        text: str | list[str],
        *,
        add_special_tokens: bool = True,
        return_attention_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
    ) -> dict[str, Any]:
        """Token ids of a text, or of each of several.

        Args:
            text: one or several.
            add_special_tokens: whether those that the post-processor adds are added.
            return_attention_mask: for ``attention_mask``: ones, as nothing is padded.
            return_offsets_mapping: for ``offset_mapping``: the characters ``(start, end)`` that
                each token stands for.
            return_special_tokens_mask: for ``special_tokens_mask``: 1 where a token was added.

        Returns:
            ``input_ids`` and what was asked for; lists, one for each text if there are several.
        """
        one = isinstance(text, str)
        texts = [text] if one else list(text)
        whole = return_offsets_mapping or return_special_tokens_mask
        encode = self.backend.encode_batch if whole else self.backend.encode_batch_fast
        encoded = encode(texts, add_special_tokens=add_special_tokens)
        batch: dict[str, list[Any]] = {"input_ids": [e.ids for e in encoded]}
        if return_attention_mask:
            batch["attention_mask"] = [[1] * len(e.ids) for e in encoded]
        if return_offsets_mapping:
            batch["offset_mapping"] = [e.offsets for e in encoded]
        if return_special_tokens_mask:
            batch["special_tokens_mask"] = [e.special_tokens_mask for e in encoded]
        return {name: values[0] for name, values in batch.items()} if one else batch

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        return self.backend.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        """The text of token ids."""
        numbers = [int(i) for i in ([ids] if isinstance(ids, int) else ids)]
        return self.backend.decode(numbers, skip_special_tokens=skip_special_tokens)

    def batch_decode(self, rows: Any, skip_special_tokens: bool = False) -> list[str]:
        """The texts of rows of token ids."""
        return [self.decode(ids, skip_special_tokens) for ids in rows]

    def get_vocab(self) -> dict[str, int]:
        """Every token and its id, added ones included."""
        return self.backend.get_vocab(with_added_tokens=True)

    def __len__(self) -> int:
        """Number of tokens, added ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def convert_ids_to_tokens(self, ids: int | Sequence[int]) -> Any:
        """The token of an id, or those of several; None for an id that no token has."""
        if isinstance(ids, Sequence):
            return [self.backend.id_to_token(int(i)) for i in ids]
        return self.backend.id_to_token(int(ids))

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """The id of a token, or those of several; None for what is no token."""
        if isinstance(tokens, str):
            return self.backend.token_to_id(tokens)
        return [self.backend.token_to_id(token) for token in tokens]

    def special_id(self, name: str) -> int | None:
        """The id of a special token by its name, ``bos_token`` for example."""
        token = self.special.get(name)
        return None if token is None else self.backend.token_to_id(token)

    @property
    def bos_token_id(self) -> int | None:
        """Begins a text."""
        return self.special_id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """Ends a text."""
        return self.special_id("eos_token")

    @property
    def pad_token_id(self) -> int | None:
        """Fills rows up."""
        return self.special_id("pad_token")

    @property
    def unk_token_id(self) -> int | None:
        """Stands for what the vocabulary has not."""
        return self.special_id("unk_token")

    @functools.cached_property
    def all_special_ids(self) -> list[int]:
        """Ids of all special tokens."""
        added = self.backend.get_added_tokens_decoder()
        return sorted(i for i, token in added.items() if token.special)


def appended(tokenizer: Any) -> int:
    """How many special tokens the post-processor appends to a text (an end of text, as a rule).

    Args:
        tokenizer: a :class:`Tokenizer` or one of transformers.
    """
    with_them = tokenizer("a")["input_ids"]
    without = tokenizer("a", add_special_tokens=False)["input_ids"]
    for n in range(len(with_them) - len(without) + 1):
        if with_them[n : n + len(without)] == without:
            return len(with_them) - len(without) - n
    return 0
