"""Model directories in Hugging Face layout that appear whole, tensors written a shard at a time."""

import contextlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from jaxsvd.runtime.errors import UserError, path_errors

SHARD_BYTES = 2 * 2**30
"""Most bytes of a file, where the source's files give no bounds."""

_COMPANIONS = re.compile(
    r"tokenizer|special_tokens|vocab|merges|added_tokens|generation_config"
    r"|(additional_)?chat_templates?|.*\.jinja$"
    r"|LICEN[CS]E|NOTICE"
)
"""What belongs to a model beside config.json and weights; its terms travel with it."""


@dataclass(frozen=True)
class Planned:
    """A tensor that is to be written.

    Attributes:
        shape: of it.
        dtype: of its numbers in the file.
        make: gives it, on the host; called when its file is written.
        file: of the source that it stood in; empty for none.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]
    file: str = ""

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@path_errors()
def refuse_existing(directory: Path) -> None:
    """Fail before any work is done if a directory could not be made after it.

    Raises:
        UserError: it exists already.
    """
    if directory.exists():
        raise UserError(f"{directory} exists already; choose a new directory")


@contextlib.contextmanager
def whole_directory(directory: Path) -> Iterator[Path]:
    """A directory to write into that gets its name when the body ends, and is gone if it fails.

    Raises:
        UserError: the directory exists already.
    """
    refuse_existing(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, which would take the directory from the others that umask lets in.
    partial = directory.parent / f".{directory.name}-{secrets.token_hex(4)}"
    partial.mkdir()
    try:
        yield partial
        os.rename(partial, directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextlib.contextmanager
def full_disk_as_user_error(directory: Path) -> Iterator[None]:
    """What the system says of a directory that cannot be written, as one line.

    Raises:
        UserError: instead of the error of the system.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror or error})") from None


def copy_tokenizer(source: Path, directory: Path) -> None:
    """Copy what belongs to the tokenizer, chat templates, and the settings for generation."""
    for file in sorted(source.iterdir()) if source.is_dir() else ():
        if not _COMPANIONS.match(file.name):
            continue
        if file.is_dir():  # additional_chat_templates of transformers
            (directory / file.name).mkdir()
            for inner in sorted(file.iterdir()):
                shutil.copyfile(inner, directory / file.name / inner.name)
        else:
            shutil.copyfile(file, directory / file.name)  # permissions by umask


def write_tensors(
    directory: Path,
    tensors: Mapping[str, Planned],
    *,
    name: str = "model",
    most: int | None = None,
) -> None:
    """Write tensors as ``NAME.safetensors``, or as several files and an index.

    Files end where the source's ended; where it has no such bounds, by size.

    Args:
        directory: gets the files.
        tensors: by name, in this order; each is made when its turn comes, and let go.
        name: of the files, without the suffix.
        most: bytes of a file (:data:`SHARD_BYTES`); a larger tensor has one of its own.
    """
    shards = _shards(tensors, SHARD_BYTES if most is None else most)
    files = [f"{name}.safetensors"]
    if len(shards) > 1:
        count = len(shards)
        files = [f"{name}-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
        index = {
            "metadata": {"total_size": sum(tensor.size for tensor in tensors.values())},
            "weight_map": {
                key: file for file, keys in zip(files, shards, strict=True) for key in keys
            },
        }
        path = directory / f"{name}.safetensors.index.json"
        path.write_text(json.dumps(index, indent=2) + "\n", "utf-8")
    for file, keys in zip(files, shards, strict=True):
        write_safetensors(directory / file, {key: tensors[key] for key in keys})


def _shards(tensors: Mapping[str, Planned], most: int) -> Sequence[Sequence[str]]:
    """Names in order, those of a source's file together, or as many as ``most`` allows."""
    if all(tensor.file for tensor in tensors.values()):
        by_file: dict[str, list[str]] = {}
        for name, tensor in tensors.items():
            by_file.setdefault(tensor.file, []).append(name)
        return [by_file[file] for file in sorted(by_file)]
    shards: list[list[str]] = [[]]
    total = 0
    for name, tensor in tensors.items():
        if shards[-1] and total + tensor.size > most:
            shards.append([])
            total = 0
        shards[-1].append(name)
        total += tensor.size
    return shards


_DTYPES = {
    np.dtype(np.float64): "F64",
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(ml_dtypes.bfloat16): "BF16",
}


def write_safetensors(path: Path, tensors: Mapping[str, Planned]) -> None:
    """Write a safetensors file, one tensor in memory at a time.

    The format's library would hold all of the file. It is a header in JSON, its length in eight
    bytes before it, and the tensors one after the other; wide types stand first, so that each
    begins at a multiple of its own size, as readers that map the file want it.
    """
    ordered = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name in ordered:
        tensor = tensors[name]
        stop = start + tensor.size
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            tensor = tensors[name]
            array = np.asarray(tensor.make(), order="C")
            if array.shape != tensor.shape or array.dtype != tensor.dtype:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not as planned")
            file.write(array.reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
