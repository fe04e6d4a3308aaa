"""What every result of a command has: the model, the task, what it was measured with."""

import abc
from dataclasses import dataclass, field

from jaxsvd.results.fields import TEXT, Fields
from jaxsvd.results.records import Measured, ModelRecord, TaskRecord


@dataclass(frozen=True, kw_only=True)
class TaskHeader(abc.ABC):
    """Of a command that scores a task.

    Attributes:
        model, task: which.
        notices: what the user should know about the data.
        measured: when and with what.
    """

    model: ModelRecord
    task: TaskRecord
    notices: tuple[str, ...] = ()
    measured: Measured = field(default_factory=Measured)

    @property
    def record(self) -> dict[str, object]:
        """As in result.json."""
        return self.to_json()

    @abc.abstractmethod
    def to_json(self) -> dict[str, object]:
        """The object of result.json."""


def read_model(fields: Fields) -> ModelRecord:
    """The ``model`` of a result."""
    return ModelRecord.from_json(fields.nested("model"))


def read_task(fields: Fields) -> TaskRecord:
    """The ``task`` of a result."""
    return TaskRecord.from_json(fields.nested("task"))


def read_notices(fields: Fields) -> tuple[str, ...]:
    """The ``notices`` of a result; none where it has no such field."""
    return fields.several("notices", TEXT, empty=True) if fields.has("notices") else ()
