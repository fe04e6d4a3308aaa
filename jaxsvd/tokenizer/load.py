"""The tokenizer of a model directory, from its own files and without importing transformers.

tokenizer.json is read as it is: its normaliser, pre-tokenizer, merges, added tokens and the special
tokens around a text are what the model was trained with; tokenizer_config.json may add special
tokens (its ``add_bos_token`` is for files without tokenizer.json, to transformers too).

transformers' classes are asked only where neither tokenizer.json nor SentencePiece's
tokenizer.model is there; where one of them would replace a rule of tokenizer.json by its own,
tokenizer.json wins and a notice says so.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvd.checkpoints.gguf.header import is_gguf
from jaxsvd.checkpoints.tensors import read_json, refuse_pointer
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.rust_errors import from_rust, silenced_on_error
from jaxsvd.tokenizer import sentencepiece
from jaxsvd.tokenizer.tokenizer import Tokenizer

LONGEST_TOKEN = 2**20
"""Characters. The library's automaton takes ninety bytes for each, so a damaged file fills memory.

The longest string of real files is a compiled normalisation of a third of that."""

_LARGE = 48 * 2**20  # a real tokenizer.json takes up to 35 MB
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
_SPECIAL += ("mask_token",)
_EXTRA = ("additional_special_tokens", "extra_special_tokens")

_REBUILT: dict[str, tuple[set[tuple[str, ...]], set[tuple[str, ...]]]] = {
    "GPT2Tokenizer": ({()}, {("ByteLevel",)}),
    "CodeGenTokenizer": ({()}, {("ByteLevel",)}),
    "GPTNeoXTokenizer": ({("NFC",), ()}, {("ByteLevel",)}),
    "Qwen2Tokenizer": ({("NFC",)}, {("Split", "ByteLevel")}),
    "GemmaTokenizer": ({("Replace",)}, {("Split",), ()}),
    "LlamaTokenizer": (
        {(), ("Replace",), ("Prepend", "Replace")},
        {(), ("Metaspace",)},
    ),
}
"""What transformers' classes put in place of tokenizer.json's normaliser and pre-tokenizer."""


def load(directory: Path) -> Any:
    """The tokenizer of a model directory or GGUF file: a :class:`Tokenizer`, or transformers'.

    Raises:
        UserError: none there, or damaged.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        with silenced_on_error():
            tokenizer = _read(directory)
            largest = max(tokenizer.get_vocab().values(), default=0)
            tokenizer("text: one of 2 tests\nlabel: na\u00efve")
            spaced, joined = tokenizer("one of 2 tests"), tokenizer("oneof2tests")
    except UserError as error:
        raise UserError(f"{directory}: no usable tokenizer ({error})") from None
    except BaseException as error:  # transformers and tokenizers raise what they like here
        if not isinstance(error, Exception) and not from_rust(error):
            raise
        raise UserError(f"{directory}: no usable tokenizer ({_reason(error)})") from None
    if largest > 2**31 - 1:
        raise UserError(f"{directory}: no usable tokenizer (a token has the number {largest})")
    unknown = getattr(tokenizer, "unk_token_id", None)
    if spaced["input_ids"] == joined["input_ids"] and unknown not in spaced["input_ids"]:
        raise UserError(
            f"{directory}: no usable tokenizer (it drops spaces: 'one of 2 tests' and "
            "'oneof2tests' become the same tokens)"
        )
    return tokenizer


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "its special tokens refer to each other without end"
    return f"{type(error).__name__}: {error}"


def _read(directory: Path) -> Any:
    if is_gguf(directory):
        from jaxsvd.tokenizer import gguf

        return gguf.load(directory)
    config = _settings(directory)
    if (directory / "tokenizer.json").is_file() and not config.get("fix_mistral_regex"):
        return _from_json(directory / "tokenizer.json", config, directory)
    if (directory / "tokenizer.model").is_file():
        refuse_pointer(directory / "tokenizer.model")
        try:
            return _from_pieces(sentencepiece.read(directory / "tokenizer.model"), config)
        except UserError:
            if not _is_tiktoken(directory / "tokenizer.model"):
                raise
    if not any(directory.glob("*vocab*")) and not any(directory.glob("*token*")):
        raise UserError("no tokenizer.json and no tokenizer.model there; a model directory has one")
    return _of_transformers(directory)


def _is_tiktoken(path: Path) -> bool:
    """Lines of a token in base 64 and its number."""
    with path.open("rb") as file:
        return len(file.readline(4096).split()) == 2


def _settings(directory: Path) -> dict[str, Any]:
    """tokenizer_config.json over special_tokens_map.json; empty where neither is there."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (directory / name).is_file():
            settings |= read_json(directory / name)
    return settings


def _from_json(path: Path, config: Mapping[str, Any], directory: Path) -> Tokenizer:
    import tokenizers

    refuse_pointer(path)
    _check_tokens(path)
    backend = tokenizers.Tokenizer.from_file(str(path))
    notices = _overridden(backend, config, directory)
    _set_prefix_space(backend, config)
    special = _add_special_tokens(backend, config)
    backend.encode_special_tokens = bool(config.get("split_special_tokens", False))
    return Tokenizer(backend, special, notices)


def _from_pieces(pieces: sentencepiece.Pieces, config: Mapping[str, Any]) -> Tokenizer:
    backend = sentencepiece.backend(pieces)
    ids = {"bos_token": pieces.begin, "eos_token": pieces.end, "unk_token": pieces.unknown}
    own = {name: pieces.tokens[i] for name, i in ids.items() if 0 <= i < len(pieces.tokens)}
    special = own | _add_special_tokens(backend, config)
    # Llama's own code begins every text so; its class has done so from the first.
    _begin_and_end(backend, {"add_bos_token": True} | dict(config), special)
    return Tokenizer(backend, special)


def _check_tokens(path: Path) -> None:
    """Refuse a file with a token so long that the library would take all memory for it."""
    size = path.stat().st_size
    longest = 0
    if size > LONGEST_TOKEN:
        data = np.fromfile(path, np.uint8)
        longest = int(np.diff(np.flatnonzero(data == ord('"')), prepend=0, append=size).max()) - 1
    if size > _LARGE and longest <= LONGEST_TOKEN:
        raw = read_json(path)
        added = raw.get("added_tokens") or ()
        model = raw.get("model") or {}
        texts = [token.get("content", "") for token in added if isinstance(token, dict)]
        texts += list(model.get("vocab") or ()) if isinstance(model, dict) else []
        longest = max((len(t) for t in texts if isinstance(t, str)), default=0)
    if longest > LONGEST_TOKEN:
        raise UserError(f"{path.name} has a token of {longest:,} characters; it is damaged")


def _content(value: object) -> str | None:
    """The text of a special token, which a file may give as text or as an object; None if none."""
    if isinstance(value, Mapping):
        value = value.get("content")
    if not isinstance(value, str) or not value:
        return None
    if len(value) > LONGEST_TOKEN:
        raise UserError(f"a special token of {len(value):,} characters; the file is damaged")
    return value


def _add_special_tokens(backend: Any, config: Mapping[str, Any]) -> dict[str, str]:
    """Adds the tokens that tokenizer_config.json names and tokenizer.json lacks; the named ones."""
    from tokenizers import AddedToken

    named = {name: token for name in _SPECIAL if (token := _content(config.get(name)))}
    there = {token.content for token in backend.get_added_tokens_decoder().values()}
    listed = config.get("added_tokens_decoder")
    for _, entry in sorted(
        ((int(i), e) for i, e in listed.items()) if isinstance(listed, dict) else (),
        key=lambda item: item[0],
    ):
        token = _content(entry)
        if token and token not in there and isinstance(entry, Mapping):
            there.add(token)
            rules = ("single_word", "lstrip", "rstrip", "normalized", "special")
            flags = {rule: bool(entry[rule]) for rule in rules if rule in entry}
            backend.add_tokens([AddedToken(token, **flags)])
    extra: list[object] = []
    for name in _EXTRA:
        value = config.get(name) or ()
        extra += list(value.values() if isinstance(value, dict) else value)
    wanted = [*named.values(), *(token for value in extra if (token := _content(value)))]
    new = [t for t in dict.fromkeys(wanted) if t not in there]
    backend.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in new])
    return named


def _begin_and_end(backend: Any, config: Mapping[str, Any], special: Mapping[str, str]) -> None:
    """What the settings say of the tokens around a text, in place of the post-processor."""
    from tokenizers import processors

    begin = special.get("bos_token") if config.get("add_bos_token") else None
    end = special.get("eos_token") if config.get("add_eos_token") else None
    around = [token for token in (begin, end) if token is not None]
    backend.post_processor = processors.TemplateProcessing(
        single=[*([begin] if begin else []), "$A", *([end] if end else [])],
        pair=[*([begin] if begin else []), "$A", "$B:1", *([end] if end else [])],
        special_tokens=[(token, backend.token_to_id(token)) for token in dict.fromkeys(around)],
    )


def _class_name(config: Mapping[str, Any], directory: Path) -> str:
    name = config.get("tokenizer_class")
    if name is None and (directory / "config.json").is_file():
        name = read_json(directory / "config.json").get("tokenizer_class")
    return name.removesuffix("Fast") if isinstance(name, str) else ""


def _kinds(part: Any) -> tuple[str, ...]:
    """The types of a normaliser or pre-tokenizer, those of a sequence in its order."""
    if part is None:
        return ()
    state = json.loads(part.__getstate__())
    steps = state.get("normalizers", state.get("pretokenizers"))
    return (state["type"],) if steps is None else tuple(step["type"] for step in steps)


def _overridden(backend: Any, config: Mapping[str, Any], directory: Path) -> list[str]:
    """A notice where the class that tokenizer_config.json names has rules of its own."""
    name = _class_name(config, directory)
    if name not in _REBUILT:
        return []
    normalizers, pre_tokenizers = _REBUILT[name]
    differ = []
    if (kinds := _kinds(backend.normalizer)) not in normalizers:
        differ.append(f"normaliser ({', '.join(kinds) or 'none'})")
    if (kinds := _kinds(backend.pre_tokenizer)) not in pre_tokenizers:
        differ.append(f"pre-tokenizer ({', '.join(kinds) or 'none'})")
    if not differ:
        return []
    return [
        f"text is encoded as tokenizer.json says; transformers' {name} may replace its "
        + " and ".join(differ)
    ]


def _set_prefix_space(backend: Any, config: Mapping[str, Any]) -> None:
    """``add_prefix_space`` of the classes that follow it, for byte-level tokenizers."""
    wanted = config.get("add_prefix_space")
    name = str(config.get("tokenizer_class", "")).removesuffix("Fast")
    decides_spaces = name in (
        "GPT2Tokenizer",
        "CodeGenTokenizer",
        "GPTNeoXTokenizer",
        "Qwen2Tokenizer",
    )
    if (
        not decides_spaces
        or not isinstance(wanted, bool)
        or "ByteLevel" not in _kinds(backend.pre_tokenizer)
    ):
        return
    part = backend.pre_tokenizer
    steps = _kinds(part)
    if len(steps) == 1 and hasattr(part, "add_prefix_space"):
        part.add_prefix_space = wanted
    else:
        part[steps.index("ByteLevel")].add_prefix_space = wanted
    backend.pre_tokenizer = part


def _of_transformers(directory: Path) -> Any:
    # Without torch transformers would say so on every import.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        str(directory), trust_remote_code=False, local_files_only=True
    )
