"""Condition numbers kept in the user's cache folder: a second search of a model computes none."""

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float

from jaxsvd.checkpoints import fingerprint
from jaxsvd.model import Model
from jaxsvd.runs.files import write_whole
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.paths import user_cache

_VERSION = 1  # of the computation: another one forgets what was kept
_SAMPLED = 4096  # numbers of a matrix


class KeptNumbers:
    """The condition numbers of a model's matrices that are known from before.

    A file for each model: its name has the fingerprint of the model's files and the type that the
    weights were loaded in. A number also has a digest of its matrix, as it is in memory: weights
    that were trained or edited since are not those of the file. Files are replaced whole, so that
    processes may share them; one that cannot be read or written is as none.
    """

    def __init__(self, model: Model) -> None:
        """Those of a model."""
        self._path: Path | None = None
        self._known: dict[str, tuple[str, float]] = {}
        if model.directory.exists():
            name = f"{fingerprint.of_model(model.directory)}-{model.dtype}-{_VERSION}.json"
            self._path = user_cache() / "condition_numbers" / name
            self._known = _read(self._path)

    def get(self, layer: int, name: str, matrix: Float[Array, "rows columns"]) -> float | None:
        """The number of a matrix, if it is known."""
        digest, number = self._known.get(f"{layer}.{name}", ("", math.nan))
        return number if digest == _digest(matrix) else None

    def add(
        self, numbers: Mapping[tuple[int, str], tuple[Float[Array, "rows columns"], float]]
    ) -> None:
        """Keep numbers, by layer and name of the matrix; those that others kept meanwhile stay."""
        if self._path is None or not numbers:
            return
        new = {f"{layer}.{name}": (_digest(m), n) for (layer, name), (m, n) in numbers.items()}
        self._known = self._known | new
        with contextlib.suppress(OSError, UserError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(_read(self._path) | new))


def _read(path: Path) -> dict[str, tuple[str, float]]:
    """What a file holds; nothing if it is missing or damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
        return {str(key): (str(digest), float(number)) for key, (digest, number) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _digest(matrix: Float[Array, "rows columns"]) -> str:
    """Of the shape and some rows' numbers: enough to notice training or an edit."""
    rows, columns = matrix.shape
    step = max(1, rows * columns // _SAMPLED)
    down = max(1, min(rows, round(step**0.5)))
    some = np.asarray(matrix[::down, :: max(1, step // down)], np.float64)
    return hashlib.sha256(f"{matrix.shape}".encode() + some.tobytes()).hexdigest()[:16]
