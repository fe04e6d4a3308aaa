"""What the study measures: its tasks, cells, draws and stages, as fixed in docs/study.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxsvd import svd
from jaxsvd.edits.edit import CONTROLS, RANDOM, Edit, Edits

RATES = svd.RATES
MODULES = ("mlp", "attn")
SEEDS = (0, 1, 2, 3, 4)
VALIDATION_SIZE, TEST_SIZE = 400, 1000
SHOTS = (0, 4, 10)
"""Of question d, on SST-2."""

CONTROL_SEEDS = (0, 1, 2)
"""Of the controls that draw random numbers."""

SHORT = ("sst2", "trec", "copa")
"""Tasks of short questions: what takes many passes is done on them first."""

TEXT_SIZE = 20_000
"""Characters of each plain text (question g)."""

GRADIENT_SEEDS = (0,)
"""Draws whose gradients are computed (questions e and h)."""

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
    StudyTask("sst2", "sst2", 10, test_size=TEST_SIZE),
    StudyTask("trec", str(Path(__file__).parent / "tasks" / "trec.toml"), 12),
    StudyTask("copa", "copa", 10, validation_size=200),
    StudyTask("agnews", "agnews", 8, test_size=TEST_SIZE),
    StudyTask("rte", "rte", 10),
)


Place = tuple[int, str]
"""A layer, counted from 0, and a module."""

PARTS = ("deep", "algorithm1", "shallow")
"""Parts of the grid: the last two layers, what Algorithm 1 chooses elsewhere, the first two."""


def places(part: str, layers: int, condition_layers: Mapping[str, int]) -> tuple[Place, ...]:
    """Layers and modules of a part of the grid; every one is in one part only.

    Args:
        part: of :data:`PARTS`.
        layers: of the model.
        condition_layers: the layer that Algorithm 1 chooses, by module.
    """
    deep = range(max(0, layers - 2), layers)
    shallow = [layer for layer in (0, 1) if layer not in deep]
    if part == "algorithm1":
        ends = (*shallow, *deep)
        return tuple((at, module) for module, at in condition_layers.items() if at not in ends)
    chosen = deep if part == "deep" else shallow
    return tuple((layer, module) for layer in chosen for module in MODULES)


def grid(places: Sequence[Place]) -> tuple[Edits, ...]:
    """The untouched model, then some layers and modules at every rate above 0."""
    cells = ((Edit(*place, rate),) for place in places for rate in RATES if rate > 0)
    return ((), *cells)


def controls(layer: int, module: str, rate: float) -> tuple[Edits, ...]:
    """Controls of a truncation, those with random numbers for several seeds."""
    return tuple(
        (Edit(layer, module, rate, method=method, seed=seed),)
        for method in CONTROLS
        for seed in (CONTROL_SEEDS if method in RANDOM else (0,))
    )
