"""Tokenizers in GGUF files: pre-tokenizers by name, SentencePiece's BPE, the unknown refused."""

from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import pre_tokenizers

from jaxsvd.model import load_tokenizer
from jaxsvd.runtime.errors import UserError

gguf = pytest.importorskip("gguf", reason="needs the gguf library: install jaxsvd[gguf]")

TEXTS = [
    "it's 12345 I'LL we'd",
    "two  spaces,\ttabs\n\nand lines \n",
    " 7 things  31-yard x=1;",
    "na\u00efve cafe\u0301 \u5317\u4eac \U0001f600",
    "<|end|>text<think>",
]


def write(path: Path, **metadata: Any) -> Path:
    """A header with a tokenizer and nothing else."""
    writer = gguf.GGUFWriter(path, metadata.pop("architecture", "llama"))
    for key, value in metadata.items():
        name = f"tokenizer.ggml.{key}"
        match value:
            case bool():
                writer.add_bool(name, value)
            case int():
                writer.add_uint32(name, value)
            case str():
                writer.add_string(name, value)
            case _:
                writer.add_array(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


MERGES = ["t e", "\u0120 t", "1 2", "\u0120 3", "\u0120 \u0120", "3 1"]
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = [*ALPHABET, *(m.replace(" ", "") for m in MERGES), "<|end|>", "<think>"]
TYPES = [1] * (len(ALPHABET) + len(MERGES)) + [3, 4]


def byte_level(path: Path, pre: str | None, **more: Any) -> Path:
    named = {} if pre is None else {"pre": pre}
    return write(
        path, model="gpt2", tokens=TOKENS, token_type=TYPES, merges=MERGES, **named, **more
    )


def pieces(path: Path, text: str) -> list[str]:
    return load_tokenizer(path).backend.encode(text).tokens


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_rules_by_name(tmp_path: Path, pre: str) -> None:
    """Numbers are cut as each family's tokenizer.json cuts them."""
    path = byte_level(tmp_path / "m.gguf", pre)
    tokenizer = load_tokenizer(path)
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        decoded = tokenizer.decode(ids)
        assert decoded in (text, text.replace("e\u0301", "\u00e9"))  # qwen2 composes
    words = [word for word, _ in tokenizer.backend.pre_tokenizer.pre_tokenize_str("ab 1234  x")]
    assert (
        words
        == {
            "gpt-2": ["ab", "\u01201234", "\u0120", "\u0120x"],
            "smollm": ["ab", "\u0120", "1", "2", "3", "4", "\u0120", "\u0120x"],
            "llama-bpe": ["ab", "\u0120", "123", "4", "\u0120", "\u0120x"],
            "qwen2": ["ab", "\u0120", "1", "2", "3", "4", "\u0120", "\u0120x"],
        }[pre]
    )


def test_tokens_that_are_not_cut(tmp_path: Path) -> None:
    actual = pieces(byte_level(tmp_path / "m.gguf", "gpt-2"), "<|end|>te<think>")
    assert actual == ["<|end|>", "te", "<think>"]
    tokenizer = load_tokenizer(tmp_path / "m.gguf")
    assert tokenizer.all_special_ids == [len(TOKENS) - 2]
    assert len(tokenizer) == len(TOKENS)


@pytest.mark.parametrize(("pre", "more", "begins"), [
    ("gpt-2", {}, False),
    ("llama-bpe", {}, True),
    ("llama-bpe", {"add_bos_token": False}, False),
    ("gpt-2", {"add_bos_token": True}, True),
])  # fmt: skip
def test_the_token_that_begins_a_text(
    tmp_path: Path, pre: str, more: dict[str, bool], begins: bool
) -> None:
    end = len(TOKENS) - 2
    tokenizer = load_tokenizer(byte_level(tmp_path / "m.gguf", pre, bos_token_id=end, **more))
    assert tokenizer.bos_token_id == end
    assert (tokenizer("te")["input_ids"][0] == end) == begins


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"pre": "klingon"}, "the pre-tokenizer 'klingon' is not known, so text could be cut"),
        ({}, r"the pre-tokenizer '\(none named\)' is not known"),
        ({"model": "bert", "pre": "gpt-2"}, "a tokenizer of kind 'bert' is not read"),
        ({"pre": "gpt-2", "token_type": [1, 1]}, "2 token types for"),
    ],
)
def test_what_is_not_known_is_refused(
    tmp_path: Path, metadata: dict[str, Any], message: str
) -> None:
    whole = {"model": "gpt2", "tokens": TOKENS, "token_type": TYPES, "merges": MERGES} | metadata
    with pytest.raises(UserError, match=message):
        load_tokenizer(write(tmp_path / "m.gguf", **whole))


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it holds no tokenizer"):
        load_tokenizer(write(tmp_path / "m.gguf", model="gpt2"))


def test_an_old_file_of_one_rule(tmp_path: Path) -> None:
    """GPT-2 has one pre-tokenizer, so a file older than the names is read."""
    path = byte_level(tmp_path / "m.gguf", None, architecture="gpt2")
    assert pieces(path, "te te") == ["te", "\u0120", "te"]


def sentencepiece(path: Path, **more: Any) -> Path:
    normal = ["\u2581on", "on", "\u2581one", *"\u2581one2ts"]
    normal = list(dict.fromkeys(normal))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *normal]
    types = [2, 3, 3, *[6] * 256, *[1] * len(normal)]
    scores = [0.0] * 259 + [-float(i + 1) for i in range(len(normal))]
    ids = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    given = {"model": "llama", "tokens": tokens, "token_type": types, "scores": scores} | ids
    return write(path, **(given | more))


def test_sentencepiece(tmp_path: Path) -> None:
    actual = pieces(sentencepiece(tmp_path / "m.gguf"), "one to\u00ef</s>")
    assert actual == ["<s>", "\u2581one", "\u2581", "t", "o", "<0xC3>", "<0xAF>", "</s>"]
    path = sentencepiece(tmp_path / "n.gguf", add_space_prefix=False, add_bos_token=False)
    assert pieces(path, "one") == ["on", "e"]
    assert load_tokenizer(path).decode(load_tokenizer(path)(" one to")["input_ids"]) == " one to"


def test_gemmas_spaces(tmp_path: Path) -> None:
    """Runs of spaces are spelled with spaces in the file; merges go by the order of tokens."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "  ", "\u2581", "a", "b", "ab", "\u2581a"]
    types = [3, 3, 3, 2, 1, 1, 1, 1, 1, 1]
    path = write(
        tmp_path / "m.gguf",
        architecture="gemma3",
        model="llama",
        tokens=tokens,
        token_type=types,
        scores=[-1000.0] * len(tokens),
        bos_token_id=2,
        unknown_token_id=3,
        add_space_prefix=False,
    )
    assert pieces(path, "ab  ab") == ["<bos>", "ab", "\u2581\u2581", "ab"]


def test_saved_as_tokenizer_json(tmp_path: Path) -> None:
    from jaxsvd.tokenizer import gguf as tokenizer_gguf

    path = byte_level(tmp_path / "m.gguf", "smollm", bos_token_id=len(TOKENS) - 2)
    tokenizer_gguf.save(path, tmp_path)
    saved, original = load_tokenizer(tmp_path), load_tokenizer(path)
    assert isinstance(saved.backend, tokenizers.Tokenizer)
    assert saved(TEXTS)["input_ids"] == original(TEXTS)["input_ids"]
    assert saved.bos_token_id == original.bos_token_id
