"""The header of a GGUF file: metadata and where each tensor stands.

The format is llama.cpp's (ggml's gguf.md, versions 2 and 3, little-endian). Nothing here needs the
gguf library, so a model can be described before it is installed.
"""

import functools
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvd.runtime.errors import UserError

MAGIC = b"GGUF"
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_FORMATS[12] = "d"
_STRING, _ARRAY = 8, 9
_MOST = 2**32  # of a count, before it is believed


@dataclass(frozen=True)
class Placed:
    """A tensor in a file.

    Attributes:
        shape: rows first, as numpy has it (the file has columns first).
        kind: number of its type of quantisation (``GGMLQuantizationType``).
        start: byte in the file.
    """

    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says before its weights.

    Attributes:
        path: of the file.
        metadata: values by key.
        tensors: by llama.cpp's name.
        size: of the file in bytes.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Placed]
    size: int

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the family."""
        return str(self.metadata.get("general.architecture", ""))

    def value(self, key: str, default: Any = None) -> Any:
        """A value of the architecture's own: ``value("block_count")``."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


class _Damaged(Exception):
    pass


class _Bytes:
    """A file's bytes, taken one value after another."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.size = data, 0, len(data)

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > self.size:
            raise _Damaged("it ends within its header")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def number(self, letter: str) -> Any:
        layout = _struct(letter)
        return layout.unpack(self.take(layout.size))[0]

    def count(self) -> int:
        number = self.number("Q")
        if number > _MOST:
            raise _Damaged(f"a count of {number} in its header")
        return number

    def text(self) -> str:
        return self.take(self.count()).decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == 6:  # the shortest decimal that is this float32: 1e-05, not 9.999999747e-06
            return float(str(np.float32(self.number("f"))))
        if kind in _FORMATS:
            return self.number(_FORMATS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY or depth > 4:
            raise _Damaged(f"a value of the unknown type {kind}")
        inner, count = self.number("I"), self.count()
        if inner in _FORMATS:
            letter = _FORMATS[inner]
            return list(struct.unpack(f"<{count}{letter}", self.take(count * _struct(letter).size)))
        if count > self.size:
            raise _Damaged("a list longer than the file")
        return [self.value(inner, depth + 1) for _ in range(count)]


@functools.cache
def _struct(letter: str) -> struct.Struct:
    return struct.Struct(f"<{letter}")


def is_gguf(path: Path) -> bool:
    """Whether a path is named as a GGUF file."""
    return path.suffix.lower() == ".gguf"


def read(path: Path) -> Header:
    """The header of a file.

    Raises:
        UserError: not readable, not GGUF, or damaged.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from None
    return _read(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(4)
def _read(path: Path, size: int, changed: int) -> Header:
    del changed  # only tells one state of the file from another
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                file.seek(0)
                pointer = file.read(19) == b"version https://git"
                what = "a git-lfs pointer; run `git lfs pull` there" if pointer else "no GGUF file"
                raise UserError(f"{path}: {what}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(path, _Bytes(data), size)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from None
    except (_Damaged, struct.error, MemoryError, OverflowError) as error:
        raise UserError(f"{path}: damaged or cut short ({error})") from None


def _parse(path: Path, data: _Bytes, size: int) -> Header:
    data.take(4)
    version = data.number("I")
    if version not in (2, 3):
        raise _Damaged(f"version {version}; 2 and 3 are read")
    tensors, pairs = data.count(), data.count()
    metadata = {}
    for _ in range(pairs):
        key = data.text()
        metadata[key] = data.value(data.number("I"))
    placed = {}
    for _ in range(tensors):
        name = data.text()
        dimensions = data.number("I")
        if dimensions > 4:
            raise _Damaged(f"{name} has {dimensions} dimensions")
        shape = tuple(data.number("Q") for _ in range(dimensions))[::-1]
        kind, start = data.number("I"), data.number("Q")
        placed[name] = Placed(shape, kind, start)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
        raise _Damaged(f"an alignment of {alignment}")
    base = -(-data.at // alignment) * alignment
    at_offsets = {name: Placed(p.shape, p.kind, base + p.start) for name, p in placed.items()}
    return Header(path, metadata, at_offsets, size)
