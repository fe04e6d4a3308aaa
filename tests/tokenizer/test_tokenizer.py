"""Tokenizers from their own files: what is encoded, and what is refused."""

import contextlib
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from jaxsvd.checkpoints.hub import BUNDLED
from jaxsvd.engine.encoding import encode
from jaxsvd.model import load_tokenizer
from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.base import Question
from jaxsvd.tokenizer import sentencepiece
from jaxsvd.tokenizer.tokenizer import Tokenizer, appended

TEXTS = [
    "text: one of 2 tests\nlabel: na\u00efve",
    "",
    " ",
    "  two  spaces ",
    "<s>not special</s><pad>",
    "it's 12345 \u5317\u4eac \U0001f600",
]


def byte_level(*, prefix: bool = False, digits: bool = False) -> tokenizers.Tokenizer:
    """A byte-level BPE with a few merges, as GPT-2's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "e"), ("te", "x"), ("tex", "t"), ("\u0120", "o"), ("1", "2"), ("o", "n")]
    tokens = ["<s>", "</s>", *alphabet, *("".join(pair) for pair in merges)]
    built = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    whole = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    cut = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), whole]) if digits else whole
    built.pre_tokenizer = cut  # pyright: ignore
    built.decoder = decoders.ByteLevel()  # pyright: ignore
    built.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in tokens[:2]])
    return built


def write(directory: Path, built: tokenizers.Tokenizer, **config: Any) -> Path:
    directory.mkdir(exist_ok=True)
    built.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "config.json").write_text('{"model_type": "llama"}')
    return directory


CONFIGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "begin": {"add_bos_token": True, "bos_token": "<s>"},
    "both": {
        "add_bos_token": True,
        "add_eos_token": True,
        "bos_token": {"content": "<s>", "__type": "AddedToken"},
        "eos_token": "</s>",
    },
    "new special token": {"pad_token": "<pad>", "bos_token": "<s>"},
    "listed token": {
        "added_tokens_decoder": {"999": {"content": "label", "special": False, "lstrip": True}}
    },
    "extra": {"additional_special_tokens": ["label", "<s>"]},
    "split": {"split_special_tokens": True, "bos_token": "<s>"},
    "cut": {"model_max_length": 3},
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("end", [False, True])
def test_ids_are_those_of_transformers(tmp_path: Path, name: str, end: bool) -> None:
    """Its own reading of the same tokenizer.json, with padding and truncation in the file."""
    from transformers import PreTrainedTokenizerFast

    built = byte_level()
    built.enable_padding(length=40, pad_id=0, pad_token="<s>")
    built.enable_truncation(4)
    if end:
        built.post_processor = processors.TemplateProcessing(  # pyright: ignore
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **CONFIGS[name]}
    directory = write(tmp_path / "m", built, **config)
    ours = load_tokenizer(directory)
    theirs = PreTrainedTokenizerFast.from_pretrained(str(directory))
    assert isinstance(ours, Tokenizer)
    for special in (True, False):
        expected = [theirs(text, add_special_tokens=special)["input_ids"] for text in TEXTS]
        assert ours(TEXTS, add_special_tokens=special)["input_ids"] == expected
    actual = ours(TEXTS[0], return_offsets_mapping=True, return_special_tokens_mask=True)
    assert actual["offset_mapping"] == theirs(TEXTS[0], return_offsets_mapping=True).offset_mapping
    assert len(actual["special_tokens_mask"]) == len(actual["input_ids"])
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.decode(expected[0]) == theirs.decode(expected[0])
    for named in ("bos_token_id", "eos_token_id", "unk_token_id"):
        assert getattr(ours, named) == getattr(theirs, named)


@pytest.mark.parametrize("kind", ["LlamaTokenizerFast", "GPT2Tokenizer"])
def test_tokenizer_json_wins_over_the_class(tmp_path: Path, kind: str) -> None:
    """Digits one by one, as SmolLM2; a class of transformers may put its own rule in place."""
    built = byte_level(digits=True)
    tokenizer = load_tokenizer(write(tmp_path / "m", built, tokenizer_class=kind))
    assert tokenizer("text 12")["input_ids"] == built.encode("text 12").ids
    (notice,) = tokenizer.notices
    assert "as tokenizer.json says" in notice
    assert kind.removesuffix("Fast") in notice
    assert "pre-tokenizer (Digits, ByteLevel)" in notice


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "PreTrainedTokenizerFast"])
def test_a_space_before_the_text(tmp_path: Path, kind: str) -> None:
    """The class of GPT-2 reads ``add_prefix_space``; the general one leaves it to the file."""
    directory = write(tmp_path / "m", byte_level(), tokenizer_class=kind, add_prefix_space=True)
    expected = byte_level(prefix=kind == "GPT2Tokenizer").encode("one").ids
    assert load_tokenizer(directory)("one")["input_ids"] == expected


def test_no_import_of_transformers() -> None:
    program = (
        "import sys; from pathlib import Path; from jaxsvd.tokenizer.load import load; "
        f"load(Path({str(BUNDLED)!r}))('a'); assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- SentencePiece --------------------------------------------------------------------------------

PIECES = [
    *(("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)),
    *((f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)),
    *(("\u2581on", -1.0, 1), ("on", -2.0, 1), ("\u2581one", -3.0, 1), ("<keep>", 0.0, 4)),
    *((c, -10.0 - i, 1) for i, c in enumerate("\u2581one2tsx")),
]


def message(number: int, content: bytes | int) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    actual = b""
    while value > 127:
        actual, value = actual + bytes([value & 127 | 128]), value >> 7
    return actual + bytes([value])


def spm(unigram: bool = False, **rules: int) -> bytes:
    """A tokenizer.model, written field by field from sentencepiece_model.proto."""
    import struct

    pieces = b"".join(
        message(1, message(1, t.encode()) + b"\x15" + struct.pack("<f", s) + message(3, k))
        for t, s, k in PIECES
    )
    trainer = message(3, 1 if unigram else 2) + message(35, 1) + message(40, 0)
    normalizer = message(3, rules.get("prefix", 1)) + message(4, rules.get("squeeze", 0))
    return pieces + message(2, trainer) + message(3, normalizer)


@pytest.mark.parametrize("config", [{}, {"bos_token": "", "eos_token": "", "unk_token": ""}, None])
def test_tokenizer_model_alone(tmp_path: Path, config: dict[str, str] | None) -> None:
    """The Llama of 2023: no tokenizer.json, special tokens named "" or not at all."""
    (tmp_path / "tokenizer.model").write_bytes(spm())
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    number = {piece: i for i, (piece, _, _) in enumerate(PIECES)}
    expected = ["<s>", "\u2581one", "\u2581", "t", "o", "<0xC3>", "<0xAF>", "<keep>", "</s>"]
    assert tokenizer("one to\u00ef<keep></s>")["input_ids"] == [number[t] for t in expected]
    assert tokenizer.decode(tokenizer("one to", add_special_tokens=False)["input_ids"]) == "one to"


def test_the_best_score_merges_first(tmp_path: Path) -> None:
    """``▁on`` and ``on``: by score and not by length or by order in the text."""
    (tmp_path / "tokenizer.model").write_bytes(spm())
    pieces = sentencepiece.read(tmp_path / "tokenizer.model")
    assert sentencepiece.merges_by_score(pieces)[:2] == [("\u2581", "on"), ("o", "n")]
    assert sentencepiece.merges_by_score(pieces)[2:] == [("\u2581on", "e")]


def test_rules_for_spaces(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(spm(prefix=0))
    assert load_tokenizer(tmp_path).decode(load_tokenizer(tmp_path)("  one")["input_ids"][1:]) == (
        "  one"
    )
    (tmp_path / "tokenizer.model").write_bytes(spm(squeeze=1))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer("  one   to ")["input_ids"] == tokenizer("one to")["input_ids"]


def test_unigram(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(spm(unigram=True))
    tokens = load_tokenizer(tmp_path).backend.encode("one on").tokens
    assert tokens == ["<s>", "\u2581one", "\u2581on"]


def test_a_damaged_tokenizer_model(tmp_path: Path) -> None:
    """Cut anywhere it is still pieces, or refused in a line."""
    whole = spm()
    for size in (*range(0, 40), len(whole) // 2, len(whole) - 3):
        (tmp_path / "tokenizer.model").write_bytes(whole[:size])
        with contextlib.suppress(UserError):
            load_tokenizer(tmp_path)("one")


# --- refusals -------------------------------------------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.json and no tokenizer\.model there"):
        load_tokenizer(tmp_path)


def test_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer.model"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
        with pytest.raises(UserError, match="a git-lfs pointer and not the file itself"):
            load_tokenizer(tmp_path)
        (tmp_path / name).unlink()


def test_a_tokenizer_that_drops_spaces(tmp_path: Path) -> None:
    built = byte_level()
    built.normalizer = normalizers.Replace(" ", "")  # pyright: ignore
    with pytest.raises(UserError, match="it drops spaces"):
        load_tokenizer(write(tmp_path / "m", built))


@pytest.mark.parametrize("where", ["added", "vocabulary", "config"])
def test_a_token_of_many_megabytes(tmp_path: Path, where: str) -> None:
    """Refused before the library builds an automaton of ninety bytes for each of its characters."""
    directory = write(tmp_path / "m", byte_level())
    raw = json.loads((directory / "tokenizer.json").read_text())
    token = "x" * 5_000_000
    if where == "added":
        raw["added_tokens"][0]["content"] = token
    elif where == "vocabulary":
        raw["model"]["vocab"][token] = 9_999
    else:
        (directory / "tokenizer_config.json").write_text(json.dumps({"pad_token": token}))
    (directory / "tokenizer.json").write_text(json.dumps(raw))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"of 5,000,\d+ characters"):
        load_tokenizer(directory)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


# --- labels ---------------------------------------------------------------------------------------


def question(*candidates: str) -> Question:
    return Question("test", 0, ("text: one\n",), "text:", candidates, 0)


def test_a_token_that_ends_a_text_is_no_part_of_a_label(tmp_path: Path) -> None:
    plain = load_tokenizer(write(tmp_path / "a", byte_level()))
    built = byte_level()
    built.post_processor = processors.TemplateProcessing(  # pyright: ignore
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    ending = load_tokenizer(write(tmp_path / "b", built))
    assert (appended(plain), appended(ending)) == (0, 1)
    for candidates in ((" o", "x"), (" on", "te")):
        one = encode(plain, [question(*candidates)], "label", context=100)
        two = encode(ending, [question(*candidates)], "label", context=100)
        assert two.scoring == one.scoring
        assert two.label_ids == one.label_ids
        (line,), (other,) = one.groups[0].lines, two.groups[0].lines
        assert line.targets.tolist() == other.targets.tolist()


def test_labels_of_the_same_tokens_are_refused(tmp_path: Path) -> None:
    built = byte_level()
    built.normalizer = normalizers.Lowercase()  # pyright: ignore
    tokenizer = load_tokenizer(write(tmp_path / "m", built))
    with pytest.raises(UserError, match="labels 'Yes' and 'yes' become the same tokens"):
        encode(tokenizer, [question(" Yes", " yes")], "label", context=100)
    encoded = encode(tokenizer, [question(" Yes", " no", " yes")], "choice", context=100)
    assert encoded.equal == {0: (0, 1, 0)}
