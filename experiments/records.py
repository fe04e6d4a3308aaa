"""Finished units of a long study, a line of records.jsonl each: what --resume goes on from."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxsvd import interruption, runs
from jaxsvd.errors import UserError

Record = dict[str, Any]


class Records:
    """The units of a run directory.

    Attributes:
        path: of records.jsonl.
        reused: how many units were asked for that an earlier start had finished.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that a crash cut short is removed."""
        self.path, self.reused = path, 0
        self._done = {_name(record["unit"]): record for record in _read(path)}

    def __len__(self) -> int:
        """How many units are finished."""
        return len(self._done)

    def once(self, unit: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> Record:
        """The record of a unit: measured and appended, or as an earlier start left it.

        Args:
            unit: names the unit, for example ``{"model": "gptj", "seed": 3}``.
            measure: measures it; called only if the unit is not finished.

        Returns:
            The unit's own entries and the measured ones, as JSON gives them back (so that a
            resumed study sees the same as one that nothing interrupted), with ``seconds``, the
            whole measurement's.

        Raises:
            ValueError: an entry measured is called ``unit`` or ``seconds``.
        """
        interruption.check()
        name = _name(plain(unit))
        if name in self._done:
            self.reused += 1
        else:
            began = time.perf_counter()
            measured = measure()
            if taken := {"unit", "seconds"} & set(measured):
                raise ValueError(f"a record has its own {', '.join(sorted(taken))}: name it otherwise")
            record = {"unit": unit, **measured, "seconds": time.perf_counter() - began}
            line = runs.dump(plain(record)) + "\n"
            _append(self.path, line)
            self._done[name] = restore(json.loads(line))
        record = dict(self._done[name])
        return record.pop("unit") | record


def plain(value: Any) -> Any:
    """Without arrays, array scalars, tuples and paths: what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    return plain(value.tolist()) if hasattr(value, "tolist") else value


def restore(value: Any) -> Any:
    """Undo what :func:`jaxsvd.runs.dump` tells in words: ``"inf"``, ``"-inf"`` and ``"nan"``."""
    if isinstance(value, Mapping):
        return {key: restore(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [restore(entry) for entry in value]
    return float(value) if value in ("inf", "-inf", "nan") else value


def _name(unit: Mapping[str, Any]) -> str:
    return runs.dump(dict(sorted(unit.items())))


def _append(path: Path, line: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); what was finished is kept, "
            "--resume goes on from there"
        ) from None


def _read(path: Path) -> list[Record]:
    if not path.exists():
        return []
    records: list[Record] = []
    data, kept = path.read_bytes(), 0
    for line in data.splitlines(keepends=True):
        try:
            record = restore(json.loads(line)) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if record is None:
            with path.open("r+b") as file:
                file.truncate(kept)
            break
        records.append(record)
        kept += len(line)
    return records
