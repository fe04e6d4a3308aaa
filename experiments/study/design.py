"""What the study measures: its tasks, cells, draws and stages, as fixed in docs/study.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxsvd import svd
from jaxsvd.edits.edit import Edit, Edits

RATES = svd.RATES
MODULES = ("mlp", "attn")
SEEDS = (0, 1, 2, 3, 4)
VALIDATION_SIZE, TEST_SIZE = 400, 1000
SHOTS = (0, 4, 10)
"""Of question d, on SST-2."""

COLLAPSE = 0.05
"""A fall of validation accuracy by more than this is a collapse (question d)."""


@dataclass(frozen=True)
class StudyTask:
    """A task of the study.

    Attributes:
        name: of its folder below ``--data``.
        task: as the library takes it: a name, or the path of a task file.
        shots: demonstrations in all.
        validation_size: examples that choose the rate.
        test_size: examples that report it; None is all.
    """

    name: str
    task: str
    shots: int
    validation_size: int = VALIDATION_SIZE
    test_size: int | None = None


TASKS = (
    StudyTask("sst2", "sst2", 10),
    StudyTask("agnews", "agnews", 8, test_size=TEST_SIZE),
    StudyTask("trec", str(Path(__file__).parent / "tasks" / "trec.toml"), 12),
    StudyTask("rte", "rte", 10),
    StudyTask("copa", "copa", 10, validation_size=200),
)


def deep_layers(layers: int) -> tuple[int, ...]:
    """The last two layers of a model."""
    return tuple(range(max(0, layers - 2), layers))


def shallow_layers(layers: int) -> tuple[int, ...]:
    """The first two, where they are not the last two as well."""
    return tuple(layer for layer in (0, 1) if layer < layers - 2)


def grid(layers: Sequence[int]) -> tuple[Edits, ...]:
    """The untouched model, then every module and rate above 0 of some layers."""
    cells = (
        (Edit(layer, module, rate),)
        for layer in layers
        for module in MODULES
        for rate in RATES
        if rate > 0
    )
    return ((), *cells)
