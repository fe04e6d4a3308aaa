"""The prompts of some questions as tokens, each token with the demonstration that it is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from jaxsvd.engine.encoding import Encoded
from jaxsvd.engine.packing import ROW, padded_length, round_up
from jaxsvd.engine.requests import Group, common_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_DEMONSTRATION = -1
"""The number of a token that belongs to no demonstration: of the query, special, or padding."""


@dataclass(frozen=True)
class Prompts:
    """Some questions of one group, a row each: their prompts without candidates.

    Attributes:
        prefix: the group's, padded with zeros to P.
        prefix_length: how many of its tokens exist.
        tokens: after the prefix, padded with zeros to T.
        lengths: how many of them exist; the last one reads.
        demonstrations: number of the demonstration that each of the P + T tokens belongs to.
    """

    prefix: Int[np.ndarray, " P"]
    prefix_length: int
    tokens: Int[np.ndarray, "B T"]
    lengths: Int[np.ndarray, " B"]
    demonstrations: Int[np.ndarray, "B keys"]

    @classmethod
    def of(
        cls,
        tokenizer: "PreTrainedTokenizerBase",
        encoded: Encoded,
        group: Group,
        lines: Sequence[int],
        *,
        least: tuple[int, int] = (0, 0),
    ) -> "Prompts":
        """Lines of a group.

        Args:
            tokenizer: the model's; tells which characters a token stands for.
            encoded: the questions.
            group: one of its groups.
            lines: which of the group's lines.
            least: P and T at least, so that groups of many lengths compile once.
        """
        length = len(group.prefix)
        chosen = [group.lines[i] for i in lines]
        ends = [line.tokens[line.continuations == 0] for line in chosen]
        size = max(padded_length(length), least[0])
        width = max(round_up(max(map(len, ends)), ROW), least[1])
        prefix = np.zeros(size, np.int32)
        prefix[:length] = group.prefix
        tokens = np.zeros((len(ends), width), np.int32)
        numbers = np.full((len(ends), size + width), NO_DEMONSTRATION)
        for row, (line, end) in enumerate(zip(chosen, ends, strict=True)):
            tokens[row, : len(end)] = end
            context = np.concatenate([group.prefix, end])
            demonstrations = demonstration_of_tokens(
                tokenizer, encoded.questions[line.request].demonstrations, context
            )
            numbers[row, :length] = demonstrations[:length]
            numbers[row, size : size + len(end)] = demonstrations[length:]
        return cls(prefix, length, tokens, np.array([len(end) for end in ends]), numbers)


def demonstration_of_tokens(
    tokenizer: "PreTrainedTokenizerBase",
    demonstrations: Sequence[str],
    context: Int[np.ndarray, " tokens"],
) -> Int[np.ndarray, " tokens"]:
    """The number of the demonstration that each token of a prompt begins in.

    Special tokens and the query's have :data:`NO_DEMONSTRATION`. Where the tokenizer does not tell
    where its tokens begin, demonstrations end where encoding them alone agrees with the prompt.
    """
    numbers = np.full(len(context), NO_DEMONSTRATION)
    ends = np.cumsum([len(text) for text in demonstrations])
    if not len(ends):
        return numbers
    whole = "".join(demonstrations)
    if tokenizer.is_fast:
        encoded = tokenizer(whole, return_offsets_mapping=True, return_special_tokens_mask=True)
        n = common_prefix([np.asarray(encoded["input_ids"]), context])
        starts, stops = np.asarray(encoded["offset_mapping"])[:n].T
        real = np.asarray(encoded["special_tokens_mask"])[:n] == 0
        # Offsets may leave out the white space that a token begins with.
        begins = np.minimum(starts[real], np.append(0, stops[real][:-1]))
        begins = np.minimum(begins, len(whole) - 1)
        numbers[:n][real] = np.searchsorted(ends, begins, side="right")
        return numbers
    special = len(tokenizer("")["input_ids"])  # pyright: ignore[reportArgumentType]
    begin = special
    for number, stop in enumerate(ends):
        ids = np.asarray(tokenizer(whole[:stop])["input_ids"])
        end = common_prefix([ids, context])
        numbers[begin:end] = number
        begin = max(begin, end)
    return numbers
