"""What a sweep leaves: a cell for every combination."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from jaxsvd.results.fields import COUNT, RATE, TEXT, WHOLE, Fields
from jaxsvd.results.header import TaskHeader, read_model, read_notices, read_task
from jaxsvd.results.points import Point, frame_of
from jaxsvd.results.records import Measured, without_none


@dataclass(frozen=True, kw_only=True)
class SweepResult(TaskHeader):
    """What a sweep measured.

    Attributes:
        points: by shots, seed, layer, module and rate; each truncated one with its change against
            the untouched model on the same examples, if rate 0 was among the rates.
        layers, modules, rates: that were asked for; None in a record that does not say.
        method: of the SVD.
        memory: bytes, by what they were for.
        out: the run directory, if one was written.
    """

    command: ClassVar = "sweep"

    points: tuple[Point, ...]
    layers: tuple[int, ...] | None = None
    modules: tuple[str, ...] | None = None
    rates: tuple[float, ...] | None = None
    method: str | None = None
    memory: Mapping[str, int] | None = None
    out: Path | None = field(default=None, compare=False)

    @property
    def cells(self) -> list[dict[str, object]]:
        """The ``cells`` of result.json."""
        return [point.to_json() for point in self.points]

    def to_frame(self) -> Any:
        """Its points as a pandas ``DataFrame``, a row each.

        Raises:
            UserError: pandas is not installed.
        """
        return frame_of(self.points)

    def to_json(self) -> dict[str, object]:
        """The object of result.json."""
        measured = self.measured
        return (
            {"command": self.command, "model": self.model.to_json(), "task": self.task.to_json()}
            | without_none(
                layers=self.layers and list(self.layers),
                modules=self.modules and list(self.modules),
                rates=self.rates and list(self.rates),
                svd=self.method,
            )
            | {"cells": self.cells, "notices": list(self.notices)}
            | without_none(memory=self.memory, seconds=measured.seconds, started=measured.started)
            | measured.surroundings_json()
        )

    @classmethod
    def from_json(cls, fields: Fields, out: Path | None = None) -> "SweepResult":
        """As written, by this version or an earlier one.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        return cls(
            model=read_model(fields),
            task=read_task(fields),
            notices=read_notices(fields),
            measured=Measured.from_json(fields),
            points=tuple(map(Point.from_json, fields.objects("cells"))),
            layers=fields.several("layers", WHOLE) if fields.has("layers") else None,
            modules=fields.several("modules", TEXT) if fields.has("modules") else None,
            rates=fields.several("rates", RATE) if fields.has("rates") else None,
            method=fields.maybe("svd", TEXT),
            memory=fields.named("memory", COUNT) if fields.has("memory") else None,
            out=out,
        )
