"""Which runs there are, and their results, the oldest first."""

import datetime
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from jaxsvd.results.fields import SHARE, Damaged, Fields
from jaxsvd.results.header import read_model
from jaxsvd.results.read import damaged, read_fields
from jaxsvd.results.records import ModelRecord
from jaxsvd.runs.directory import REQUEST, RESULT
from jaxsvd.runtime.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """A finished run.

    Attributes:
        path: the run directory.
        kind: the experiment that made it, or the command of ``jaxsvd``.
        started: when.
        fields: result.json, unread.
    """

    path: Path
    kind: str
    started: datetime.datetime
    fields: Fields = field(repr=False)

    def read(self, reader: Callable[[Fields], T]) -> T:
        """What a figure needs of the result.

        Raises:
            UserError: it is not there; the file and the field are named.
        """
        try:
            return reader(self.fields)
        except Damaged as error:
            raise self.damaged(str(error)) from None

    def damaged(self, what: str) -> UserError:
        """For raising: something in result.json is not as it should be."""
        return UserError(f"{self.path / RESULT}: damaged: {what}")

    @cached_property
    def model(self) -> "Key":
        """Source, revision and type of the weights: what tells models apart."""
        return self._model.source, self._model.revision or "", self._model.dtype

    @property
    def layers(self) -> int:
        """Of the model."""
        return self._model.layers

    @cached_property
    def _model(self) -> ModelRecord:
        return self.read(read_model)

    def check_layers(self, layers: Iterable[int]) -> None:
        """Refuse layers that the model does not have."""
        for layer in layers:
            if not 0 <= layer < self.layers:
                raise self.damaged(f"layer {layer} of a model of {self.layers} layers")


def read_chances(fields: Fields) -> dict[str, float]:
    """Accuracy of a uniform guess by task, from the ``tasks`` of an experiment.

    Raises:
        Damaged: there is none, or one without.
    """
    tasks = fields.raw("tasks")
    by_task = {}
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        by_task[name] = SHARE.read(task.get("chance")) if isinstance(task, dict) else None
    chances = {name: chance for name, chance in by_task.items() if chance is not None}
    if not by_task or len(chances) < len(by_task):
        raise fields.damaged("tasks should be an object of tasks with their chance levels")
    return chances


@dataclass(frozen=True)
class RunFolders:
    """What lies in some folders.

    Attributes:
        sources: finished runs, the oldest first, so that a later one replaces an earlier.
        unfinished: run directories without a result.
    """

    sources: tuple[Source, ...]
    unfinished: tuple[Path, ...]


def find(folders: Sequence[Path]) -> RunFolders:
    """The runs in run directories or folders of them, at any depth.

    What lies inside a run directory belongs to that run and is not read by itself.

    Raises:
        UserError: a folder does not exist, a run named itself is not finished, or a result is
            damaged.
    """
    sources: dict[Path, Source] = {}
    unfinished: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir() or (folder / REQUEST).exists() or (folder / RESULT).exists():
            sources.setdefault(folder.resolve(), _source(folder))
            continue
        for path in _runs_below(folder):
            if not (path / RESULT).exists():
                unfinished.setdefault(path.resolve(), path)
            elif path.resolve() not in sources:
                sources[path.resolve()] = _source(path)
    ordered = sorted(sources.values(), key=lambda source: (source.started, str(source.path)))
    return RunFolders(tuple(ordered), tuple(sorted(unfinished.values())))


def _runs_below(folder: Path) -> Iterator[Path]:
    for name, inner, files in os.walk(folder):
        if {RESULT, REQUEST} & set(files):
            inner.clear()
            yield Path(name)
        inner[:] = sorted(entry for entry in inner if not entry.startswith("."))


def _source(path: Path) -> Source:
    fields = read_fields(path)
    kind = fields.get("experiment") or fields["command"]
    if not isinstance(kind, str):
        kind = "unknown"  # no run of ours, but no damage either
    return Source(path, kind, _moment(path, fields.get("started")), Fields(fields))


def _moment(path: Path, text: object) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        raise damaged(path, f"started should be a time, is {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


Key = tuple[str, str, str]


def labels(models: Iterable[Key]) -> dict[Key, str]:
    """Short names of models: the last part of the path or hub id, and more where two are alike."""
    distinct = list(dict.fromkeys(models))
    by_run = {}
    for model in distinct:
        source, revision, dtype = model
        parts = [part for part in source.replace(os.sep, "/").split("/") if part not in ("", ".")]
        name = parts[-1] if parts else source
        others = [other for other in distinct if other != model and _last(other[0]) == name]
        if any(other[0] != source for other in others):
            name = "/".join(parts[-2:])
        if any(other[0] == source and other[1] != revision for other in others):
            name += f" at {revision or 'main'}"
        if any(other[:2] == model[:2] for other in others):
            name += f" {dtype}"
        by_run[model] = name
    # Alike even so: the whole source tells them apart.
    doubled = {name for name in by_run.values() if list(by_run.values()).count(name) > 1}
    return {m: " ".join(filter(None, m)) if name in doubled else name for m, name in by_run.items()}


def _last(source: str) -> str:
    parts = [part for part in source.replace(os.sep, "/").split("/") if part not in ("", ".")]
    return parts[-1] if parts else source
