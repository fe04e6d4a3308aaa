"""Model directories in Hugging Face layout that appear whole, tensors written a shard at a time."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxsvd.models.layout import Layout
from jaxsvd.runtime.errors import UserError, path_errors

SHARD_BYTES = 2 * 2**30
"""Most bytes of a file; the library that writes one copies it, so this is what saving takes."""

_COMPANIONS = re.compile(
    r"tokenizer|special_tokens|vocab|merges|added_tokens|generation_config|(additional_)?chat_templates?|.*\.jinja$"
)
"""What belongs to a model beside config.json and weights."""


@dataclass(frozen=True)
class Joined:
    """A tensor of a file that holds several parameters, or one transposed; made when it is written.

    Attributes:
        layout: of the model.
        name: of the tensor.
        parameters: that it holds, by path.
    """

    layout: Layout
    name: str
    parameters: Mapping[str, jax.Array]

    @property
    def dtype(self) -> np.dtype:
        """Of its numbers."""
        return next(iter(self.parameters.values())).dtype

    @property
    def size(self) -> int:
        """How many there are."""
        return sum(parameter.size for parameter in self.parameters.values())

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """The tensor."""
        del copy
        parameters = {path: np.asarray(x) for path, x in self.parameters.items()}
        return np.asarray(self.layout.joined(self.name, parameters), dtype)


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
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        yield partial
        partial.chmod(0o755)
        os.rename(partial, directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextlib.contextmanager
def full_disk_as_user_error(directory: Path) -> Iterator[None]:
    """What the system says of a directory that cannot be written, as one line.

    Raises:
        UserError: instead of the error of the system, or of the library that writes tensors.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{directory}: cannot be written ({reason})") from None


def copy_tokenizer(source: Path, directory: Path) -> None:
    """Copy what belongs to the tokenizer, chat templates, and the settings for generation."""
    for file in sorted(source.iterdir()) if source.is_dir() else ():
        if not _COMPANIONS.match(file.name):
            continue
        if file.is_dir():  # additional_chat_templates of transformers
            shutil.copytree(file, directory / file.name, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(file, directory / file.name)  # permissions by umask


def write_tensors(
    directory: Path,
    tensors: Mapping[str, ArrayLike | Joined],
    *,
    name: str = "model",
    most: int | None = None,
) -> None:
    """Write tensors as ``NAME.safetensors``, or as several files and an index.

    Args:
        directory: gets the files.
        tensors: by name, in this order; each is fetched from its device when its file is written.
        name: of the files, without the suffix.
        most: bytes of a file (:data:`SHARD_BYTES`); a larger tensor has one of its own.
    """
    from safetensors.numpy import save_file

    sizes = {key: np.dtype(x.dtype).itemsize * x.size for key, x in tensors.items()}  # pyright: ignore[reportAttributeAccessIssue]
    shards = _shards(sizes, SHARD_BYTES if most is None else most)
    files = [f"{name}.safetensors"]
    if len(shards) > 1:
        count = len(shards)
        files = [f"{name}-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
        index = {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": {
                key: file for file, keys in zip(files, shards, strict=True) for key in keys
            },
        }
        path = directory / f"{name}.safetensors.index.json"
        path.write_text(json.dumps(index, indent=2) + "\n", "utf-8")
    for file, keys in zip(files, shards, strict=True):
        arrays = {key: np.asarray(tensors[key]) for key in keys}
        save_file(arrays, directory / file, metadata={"format": "pt"})


def _shards(sizes: Mapping[str, int], most: int) -> Sequence[Sequence[str]]:
    """Names in order, as many together as ``most`` allows."""
    shards: list[list[str]] = [[]]
    total = 0
    for name, size in sizes.items():
        if shards[-1] and total + size > most:
            shards.append([])
            total = 0
        shards[-1].append(name)
        total += size
    return shards
