"""What ``condition`` leaves: condition numbers by layer and matrix."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jaxsvd.results.fields import NUMBER, TEXT, WHOLE, Fields
from jaxsvd.results.header import read_model
from jaxsvd.results.records import Measured, ModelRecord

Numbers = Mapping[tuple[int, str], float]
"""Condition numbers (2-norm) by layer and matrix, or by layer and module."""


@dataclass(frozen=True, kw_only=True)
class ConditionResult:
    """Condition numbers of a model.

    Attributes:
        model: which.
        module: which matrices; None where the record does not say.
        numbers: by layer and matrix.
        measured: when and with what.
        out: the run directory, if one was written.
    """

    command: ClassVar = "condition"

    model: ModelRecord
    numbers: Numbers
    module: str | None = None
    measured: Measured = field(default_factory=Measured)
    out: Path | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, object]:
        """The object of result.json."""
        return {
            "command": self.command,
            "model": self.model.to_json(),
            "task": None,
            "module": self.module,
            "condition_numbers": [
                {"layer": layer, "matrix": name, "condition_number": value}
                for (layer, name), value in self.numbers.items()
            ],
        } | self.measured.to_json()

    @classmethod
    def from_json(cls, fields: Fields, out: Path | None = None) -> "ConditionResult":
        """As written, by this version or an earlier one.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        return cls(
            model=read_model(fields),
            numbers=read_numbers(fields, "condition_numbers"),
            module=fields.maybe("module", TEXT),
            measured=Measured.from_json(fields),
            out=out,
        )


def read_numbers(fields: Fields, name: str, of: str = "matrix") -> dict[tuple[int, str], float]:
    """A list of condition numbers, each with its layer and matrix (or ``of`` something else).

    Raises:
        Damaged: a field is missing or cannot be.
    """
    return {
        (row.read("layer", WHOLE), row.read(of, TEXT)): row.read("condition_number", NUMBER)
        for row in fields.objects(name)
    }
