"""What the paper published, for showing beside one's own runs.

Accuracies come from :mod:`jaxsvd.tasks.published`, the rest from ``published.json``. All of it is
of GPT-J-6B and Llama-2-7B, but for the linear functions, which are Garg et al.'s.
"""

import functools
import importlib.resources
import json
from dataclasses import dataclass
from typing import Any

from jaxsvd.tasks.published import PublishedResult, figure_points, published
from paper_figures.depth import Depth, depth


@functools.cache
def data() -> dict[str, Any]:
    """The contents of ``published.json``."""
    file = importlib.resources.files("paper_figures") / "published.json"
    return json.loads(file.read_text("utf-8"))


def _entries(name: str) -> dict[str, Any]:
    return {key: value for key, value in data()[name].items() if key != "source"}


RATES: tuple[float, ...] = tuple(map(float, data()["rates"]["values"]))
MODELS: dict[str, str] = {key: value["name"] for key, value in _entries("models").items()}
TASKS: dict[str, str] = {key: value["name"] for key, value in _entries("tasks").items()}
TABLES: dict[str, str] = {f"table{v['table']}": key for key, v in _entries("tasks").items()}
MODULES = ("mlp", "attn")
FIGURE_TASKS: dict[str, dict[str, list[int]]] = _entries("figure_tasks")


def task_name(task: str) -> str:
    """As the paper prints it; others as they are."""
    return TASKS.get(task, task)


@dataclass(frozen=True)
class BestPoint:
    """The highest point of a published curve; its clipping rate is not printed.

    Attributes:
        model: the published model's key.
        depth: which of the four layers.
        accuracy: on the validation set.
    """

    model: str
    depth: Depth
    accuracy: float


def best_points(task: str, shots: int | None, module: str) -> list[BestPoint]:
    """Of Figures 1 and 2; none where the paper has no such curve."""
    best = []
    for point in figure_points():
        if (point["task"], point["shots"], point["module"]) == (task, shots, module):
            place = depth(point["layer"], data()["models"][point["model"]]["layers"])
            assert place is not None
            best.append(BestPoint(point["model"], place, point["accuracy"]))
    return best


@dataclass(frozen=True)
class Range:
    """Condition numbers over the layers; ``low`` is None where only the largest is readable."""

    model: str
    module: str
    low: float | None
    high: float


def condition_ranges() -> list[Range]:
    """Of Figure 3."""
    return [Range(**entry) for entry in data()["condition_numbers"]["ranges"]]


def table_results(task: str, module: str) -> dict[str, PublishedResult]:
    """By model, the published result of a task and module group; empty for other tasks."""
    keys: Any = (("gpt-j-6b", module), ("llama-2-7b", module))
    results = {model: published(model, task, group) for model, group in keys}
    return {model: result for model, result in results.items() if result is not None}
