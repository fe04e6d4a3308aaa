"""The tokenizer of the bundled model: its language's words whole, any other text in bytes.

A byte-level BPE without merges: with ``ignore_merges`` a piece of text that is in the vocabulary
is one token, and any other falls apart into its bytes. So every text can be encoded and comes
back unchanged, and no word of the language depends on the order of merges.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from jaxsvd.tasks.words import CATEGORIES, LABELS, NOISE

FRAME = ("text", "label", " :")


def vocabulary() -> dict[str, int]:
    """Token to id: the 256 bytes, the frame, then the words, each with the space before it."""
    words = [word for category in CATEGORIES.values() for word in category]
    pieces = [*FRAME, *(f" {word}" for word in (*words, *NOISE, *LABELS))]
    # ByteLevel writes each byte as a printable character; a space becomes "Ġ".
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens += [piece.replace(" ", "Ġ") for piece in pieces]
    return {token: number for number, token in enumerate(tokens)}


def build() -> Tokenizer:
    """The tokenizer; GPT-2's rule cuts text into pieces (`` salmon``, ``:``, a newline)."""
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary(), merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer


def save(directory: Path, context: int) -> None:
    """Write tokenizer.json and tokenizer_config.json into an existing directory.

    Args:
        directory: of the model.
        context: most tokens of the model.
    """
    build().save(str(directory / "tokenizer.json"), pretty=False)
    config = {
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (directory / "tokenizer_config.json").write_text(text, "utf-8")
