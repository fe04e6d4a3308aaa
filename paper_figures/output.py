"""Files, written whole, all of them or those that fit before a disk is full."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jaxsvd.runtime.errors import UserError


def folder(path: Path) -> Path:
    """Make the folder.

    Raises:
        UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{path}: is a file; --out is a folder") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be created ({error.strerror})") from None
    return path


def write(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files, each renamed into its place when it is whole; those of earlier runs go.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    written = []
    for name, data in files.items():
        path = folder / name
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, 0o644)
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None
        written.append(path)
    return written
