"""Arrays in one ``.npz`` file that a kill at any moment leaves whole, old or new."""

import contextlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxsvd.runtime.errors import UserError


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays, beside their place and then renamed; the folder is made if missing.

    Raises:
        UserError: the disk is full, or the directory cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The named arrays of a file.

    Raises:
        UserError: missing, or not such a file.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file whose content is not a checkpoint's."""
    return UserError(f"{path}: not readable as a checkpoint ({error})")


def another_model(path: Path) -> UserError:
    """The error for a checkpoint whose arrays have other names or shapes than the run's."""
    return UserError(f"{path}: a checkpoint of another model; start a new run")
