"""Results that no kind is made for: of experiments, and of whoever writes a run directory."""

from dataclasses import dataclass, field
from pathlib import Path

from jaxsvd.results.conditions import Numbers, read_numbers
from jaxsvd.results.fields import NUMBER, TEXT, Damaged, Fields, JsonObject
from jaxsvd.results.points import Point, make_curves
from jaxsvd.results.records import Measured, ModelRecord


@dataclass(frozen=True)
class OtherResult:
    """As much of a result as can be shown of any.

    Attributes:
        command: a name, or the words as typed.
        points: of its ``cells``, where it has a sweep's.
        model: where it is told.
        task: the name, where there is one task.
        chance: accuracy of a uniform guess, where it is told.
        answer: in its own words.
        notices: what the user should know about the data.
        numbers: its ``condition_numbers`` by layer and matrix, where it has some.
        measured: when and with what.
        out: the run directory.
    """

    command: str | tuple[str, ...]
    points: tuple[Point, ...] = ()
    model: ModelRecord | None = None
    task: str | None = None
    chance: float | None = None
    answer: str | None = None
    notices: tuple[str, ...] = ()
    numbers: Numbers = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)
    out: Path | None = field(default=None, compare=False)

    @classmethod
    def from_json(cls, fields: Fields, out: Path | None = None) -> "OtherResult":
        """Whatever of it is there and whole; the rest is for tables."""
        command = fields.raw("command")
        words = tuple(map(str, command)) if isinstance(command, list) else str(command)
        task = fields.values.get("task")
        of_task: JsonObject = task if isinstance(task, dict) else {}
        answer, notices = fields.values.get("answer"), fields.values.get("notices")
        return cls(
            command=words,
            points=_points(fields),
            model=_model(fields),
            task=TEXT.read(of_task.get("name")),
            chance=NUMBER.read(of_task.get("chance")),
            answer=answer if isinstance(answer, str) else None,
            notices=tuple(map(str, notices)) if isinstance(notices, list) else (),
            numbers=_numbers(fields),
            measured=_measured(fields),
            out=out,
        )


def _points(fields: Fields) -> tuple[Point, ...]:
    try:
        points = tuple(map(Point.from_json, fields.objects("cells")))
    except Damaged:
        return ()
    return points if make_curves(points) else ()


def _numbers(fields: Fields) -> Numbers:
    try:
        return read_numbers(fields, "condition_numbers")
    except Damaged:
        return {}


def _model(fields: Fields) -> ModelRecord | None:
    try:
        return ModelRecord.from_json(fields.nested("model"))
    except Damaged:
        return None


def _measured(fields: Fields) -> Measured:
    try:
        return Measured.from_json(fields)
    except Damaged:
        return Measured()
