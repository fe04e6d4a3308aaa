"""Where a text may be cut so that its parts, encoded apart, give the tokens of the whole.

Prompts share their demonstrations, and words come again and again; what repeats should be encoded
once. With most tokenizers no token reaches over a space that follows another character, and what is
before and after it is encoded independently: either a pre-tokenizer cuts there and every piece is
encoded by itself, or byte-pair encoding (SentencePiece's) has no token that it could merge there.
Whether a tokenizer is one of these follows from its parts; with any other, texts are encoded whole.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import tokenizers

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The words of Llama 3 (``%s`` is ``{1,3}``: up to three digits together) and Qwen (nothing)."""

TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The words of Mistral's newer models."""

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_PATTERNS = (_GPT2, WORDS % "", WORDS % "{1,3}", TEKKEN)
"""None of them matches a space after another character, or looks back."""

_SPACE = "\u2581"
_LOCAL = ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Precompiled", "Strip")
_AT_SPACES = ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")
_FURTHER = ("ByteLevel", "Digits", "Punctuation")

Step = dict[str, Any]
"""A normaliser or pre-tokenizer, as tokenizer.json has it."""


@dataclass(frozen=True)
class Seams:
    """Where texts may be cut: at spaces between ASCII characters, no normalisation reaches across.

    Attributes:
        pattern: matches before such a space.
    """

    pattern: re.Pattern[str]

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer) -> "Seams | None":
        """Those of a tokenizer; None for one that may encode no piece apart.

        The pieces' tokens are those of the whole but for the beginning of a text, where some
        tokenizers put a space.

        Args:
            backend: of the tokenizers library.
        """
        joining = _joining(backend)
        if joining is None:
            return None
        before = f"(?<=[!-~])(?<![{re.escape(joining)}])" if joining else "(?<=[!-~])"
        return cls(re.compile(f"{before}(?= [!-~])"))

    def cut(self, text: str) -> list[str]:
        """A text in pieces; all but the first begin with a space."""
        return self.pattern.split(text)

    def last(self, text: str) -> int:
        """Where the last piece of a text begins."""
        at = text.rfind(" ")
        while at > 0 and not self.pattern.match(text, at):
            at = text.rfind(" ", 0, at)
        return max(at, 0)


def _joining(backend: tokenizers.Tokenizer) -> str | None:
    """Characters that some token has before a space; None where any text may be joined there."""
    added = backend.get_added_tokens_decoder().values()
    # A token that reaches over a cut, or takes the space after it along.
    if any(token.rstrip or re.search(r"\S\s", token.content) for token in added):
        return None
    model: Any = backend.model
    bpe = isinstance(model, tokenizers.models.BPE)
    if bpe and model.dropout:
        return None
    normal = _steps(backend.normalizer, "normalizers")
    pieces = _steps(backend.pre_tokenizer, "pretokenizers")
    if any(map(_cuts_at_spaces, pieces)):
        known = (_cuts_at_spaces(step) or step["type"] in _FURTHER for step in pieces)
        return "" if all(known) and all(step["type"] in _LOCAL for step in normal) else None
    if not bpe or model.ignore_merges:
        return None
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        return None
    if not all(map(_of_sentencepiece, normal)):
        return None
    hidden = any(step["type"] == "Replace" and _pattern(step) == " " for step in normal)
    if not all(_cuts_nothing(step, spaces_hidden=hidden) for step in pieces):
        return None
    vocabulary = backend.get_vocab(with_added_tokens=False)
    space = _SPACE if hidden or pieces else " "
    if space not in vocabulary:
        return None
    over = re.compile(f"([^{space}]){space}")
    return "".join(sorted({match for token in vocabulary for match in over.findall(token)}))


def _steps(step: Any, name: str) -> list[Step]:
    """A normaliser or pre-tokenizer, those of a sequence one by one."""
    if step is None:
        return []
    steps: list[Step] = []
    waiting = [json.loads(step.__getstate__())]
    while waiting:
        first = waiting.pop(0)
        if first["type"] == "Sequence":
            waiting = first[name] + waiting
        else:
            steps.append(first)
    return steps


def _pattern(step: Step) -> str:
    return next(iter(step.get("pattern", {"": ""}).values()))


def _cuts_at_spaces(step: Step) -> bool:
    """Whether a pre-tokenizer cuts before every space that follows another character."""
    match step["type"]:
        case "ByteLevel":
            return step["use_regex"]
        case "Metaspace":
            return step.get("split", True) and step["replacement"] == _SPACE
        case "Split":
            how = (step["behavior"], step["invert"])
            known = "Regex" in step["pattern"] and _pattern(step) in _PATTERNS
            return known and how in (("Isolated", False), ("Removed", True))
        case kind:
            return kind in _AT_SPACES


def _cuts_nothing(step: Step, *, spaces_hidden: bool) -> bool:
    if step["type"] == "Metaspace":
        return step["replacement"] == _SPACE  # one that splits cuts at spaces
    return spaces_hidden and step["type"] == "Split" and step["pattern"] == {"String": " "}


def _of_sentencepiece(step: Step) -> bool:
    """Whether a normaliser changes a text at its ends, or single characters and runs of spaces."""
    match step["type"]:
        case "Replace":
            spaces = step["pattern"] == {"Regex": " {2,}"} and step["content"] == " "
            return spaces or (step["pattern"] == {"String": " "} and step["content"] == _SPACE)
        case "Prepend":
            return step["prepend"] == _SPACE
        case kind:
            return kind in _LOCAL
