"""Finished units of a long study, a line of records.jsonl each: what --resume goes on from."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxsvd.runs.directory import dump
from jaxsvd.runs.files import append_lines, whole_lines
from jaxsvd.runtime import interruption

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
        records = [restore(record) for record in whole_lines(path)]
        self._done = {_name(record["unit"]): record for record in records if _complete(record)}

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
                raise ValueError(
                    f"a record has its own {', '.join(sorted(taken))}: name it otherwise"
                )
            record = {"unit": unit, **measured, "seconds": time.perf_counter() - began}
            line = dump(plain(record))
            append_lines(self.path, [line])
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


def _complete(record: Record) -> bool:
    """Whether a line is one that we wrote; the unit of any other is measured again."""
    return isinstance(record.get("unit"), dict) and "seconds" in record


def _name(unit: Mapping[str, Any]) -> str:
    return dump(dict(sorted(unit.items())))
