"""The tokenizer that a GGUF file's metadata describes: byte-level BPE or SentencePiece's BPE.

A file names its pre-tokenizer and does not hold it: the rules by name are those of llama.cpp's
list, as the models' own tokenizer.json files have them. An unknown name is refused, for a wrong
rule would cut numbers or words otherwise than in training, and nothing would say so.
"""

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from jaxsvd.checkpoints.gguf import header
from jaxsvd.runtime.errors import UserError
from jaxsvd.tokenizer import sentencepiece
from jaxsvd.tokenizer.seams import TEKKEN, WORDS
from jaxsvd.tokenizer.sentencepiece import CONTROL, NORMAL, SPACE, USER_DEFINED
from jaxsvd.tokenizer.tokenizer import Tokenizer

_GPT2 = ("gpt-2", "gpt2", "phi-2", "olmo", "mpt")
_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell")
_LLAMA3 = ("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "midm-2.0", "lfm2")
_CUT_BY: dict[str, str] = {
    **dict.fromkeys((*_LLAMA3, "dbrx", "smaug-bpe"), WORDS % "{1,3}"),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "megrez"), WORDS % ""),
    "tekken": TEKKEN,
}
_WHOLE_WORDS = (*_LLAMA3, "tekken")
"""Vocabularies of which a whole word is one token, whatever the merges would make of it."""

_OLD = {"gpt2": "gpt-2", "gptneox": "gpt-2", "phi2": "phi-2"}
"""Architectures with one pre-tokenizer, for files older than its name."""

_NAMES = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "pad_token": "padding",
}


def load(path: Path) -> Tokenizer:
    """The tokenizer of a file.

    Raises:
        UserError: none there, or of a kind that is not known.
    """
    file = header.read(path)
    metadata = file.metadata
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise UserError(f"{path}: it holds no tokenizer (tokenizer.ggml.tokens)")
    if len(set(tokens)) < len(tokens):
        raise UserError(f"{path}: its tokenizer has one token twice")
    kind = metadata.get("tokenizer.ggml.model")
    if kind == "gpt2":
        name = metadata.get("tokenizer.ggml.pre") or _OLD.get(file.architecture, "")
        backend = _byte_level(path, metadata, tokens, name)
        begins = name in _LLAMA3
    elif kind == "llama":
        backend = _sentencepiece(path, metadata, tokens, file.architecture.startswith("gemma"))
        begins = True
    else:
        raise UserError(
            f"{path}: a tokenizer of kind {kind!r} is not read; gpt2 (byte-level BPE) and llama "
            "(SentencePiece) are"
        )
    special = {
        name: tokens[i]
        for name, theirs in _NAMES.items()
        if isinstance(i := metadata.get(f"tokenizer.ggml.{theirs}_token_id"), int)
        and 0 <= i < len(tokens)
    }
    begin = (
        special.get("bos_token") if metadata.get("tokenizer.ggml.add_bos_token", begins) else None
    )
    end = special.get("eos_token") if metadata.get("tokenizer.ggml.add_eos_token", False) else None
    named = [token for token in dict.fromkeys(special.values()) if token]
    backend.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in named])
    around = [token for token in (begin, end) if token]
    backend.post_processor = processors.TemplateProcessing(  # pyright: ignore
        single=[*([begin] if begin else []), "$A", *([end] if end else [])],
        special_tokens=[(token, backend.token_to_id(token)) for token in dict.fromkeys(around)],
    )
    return Tokenizer(backend, special)


def save(path: Path, directory: Path) -> None:
    """Write a file's tokenizer as tokenizer.json and tokenizer_config.json."""
    tokenizer = load(path)
    tokenizer.backend.save(str(directory / "tokenizer.json"))
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **tokenizer.special}
    template = header.read(path).metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        (directory / "chat_template.jinja").write_text(template, "utf-8")
    text = json.dumps(config, indent=2, sort_keys=True)
    (directory / "tokenizer_config.json").write_text(text + "\n", "utf-8")


def _types(path: Path, metadata: dict[str, Any], count: int) -> list[int]:
    types = metadata.get("tokenizer.ggml.token_type") or [NORMAL] * count
    if len(types) != count:
        raise UserError(f"{path}: {len(types)} token types for {count} tokens")
    return types


def _byte_level(
    path: Path, metadata: dict[str, Any], tokens: list[str], name: str
) -> tokenizers.Tokenizer:
    merges = metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list):
        raise UserError(f"{path}: its byte-level tokenizer has no merges")
    if name in _GPT2:
        cut: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    elif name in _DIGITS:
        cut = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    elif name in _CUT_BY:
        cut = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_CUT_BY[name]), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        known = ", ".join(sorted({*_GPT2, *_DIGITS, *_CUT_BY}))
        raise UserError(
            f"{path}: the pre-tokenizer {name or '(none named)'!r} is not known, so text could be "
            f"cut otherwise than in training; known: {known}"
        )
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    model = models.BPE(
        {token: i for i, token in enumerate(tokens)},
        pairs,  # pyright: ignore
        ignore_merges=name in _WHOLE_WORDS,
    )
    backend = tokenizers.Tokenizer(model)
    if name == "qwen2":
        backend.normalizer = normalizers.NFC()  # pyright: ignore
    backend.pre_tokenizer = cut
    backend.decoder = decoders.ByteLevel()  # pyright: ignore
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    types = _types(path, metadata, len(tokens))
    # A control token that no byte spells is mislabelled by the converter.
    right = [
        NORMAL if kind == CONTROL and not set(token) <= alphabet else kind
        for token, kind in zip(tokens, types, strict=True)
    ]
    sentencepiece.add_tokens(backend, tokens, right)
    return backend


def _sentencepiece(
    path: Path, metadata: dict[str, Any], tokens: list[str], gemma: bool
) -> tokenizers.Tokenizer:
    types = _types(path, metadata, len(tokens))
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise UserError(f"{path}: its SentencePiece tokenizer has no scores")
    if gemma:
        # The converter spells runs of spaces with spaces, and the scores of Gemma are not the
        # order of its merges; that of its tokens is.
        tokens = [SPACE * len(t) if " " in t and not t.strip() else t for t in tokens]
        scores = [float(-i) for i in range(len(tokens))]
    usable = {
        token: score
        for token, score, kind in zip(tokens, scores, types, strict=True)
        if kind in (NORMAL, USER_DEFINED, sentencepiece.UNUSED)
    }
    unknown = metadata.get("tokenizer.ggml.unknown_token_id", 0)
    merges = sentencepiece.merges_of(tokens, usable)
    backend = tokenizers.Tokenizer(sentencepiece.bpe(tokens, merges, tokens[unknown], True))
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    steps: list[normalizers.Normalizer] = [normalizers.Prepend(SPACE)] if prefix else []
    steps.append(normalizers.Replace(" ", SPACE))
    sentencepiece.set_text_rules(backend, steps, prefix=prefix)
    sentencepiece.add_tokens(backend, tokens, types)
    return backend
