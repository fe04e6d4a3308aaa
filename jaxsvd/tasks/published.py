"""The paper's published results, as data.

Tables 2 to 8 and the best points of Figures 1 and 2 of arXiv 2406.03768 stand in
``published.json``. The accuracies there are cut to the digits printed, not rounded.
"""

import dataclasses
import functools
import importlib.resources
import json
from typing import Any, Literal

PublishedModel = Literal["gpt-j-6b", "llama-2-7b"]
PublishedModule = Literal["mlp", "attn"]
Denominator = Literal["n", "n-1"]


@dataclasses.dataclass(frozen=True)
class PublishedResult:
    """One cell of Tables 2 to 8.

    Attributes:
        model: ``"gpt-j-6b"`` or ``"llama-2-7b"`` (the scripts take its chat weights).
        task: the task's name.
        module: ``"mlp"`` or ``"attn"``.
        layer: the layer truncated.
        rate: the clipping rate chosen on validation.
        before: test accuracy of the untouched model.
        after: test accuracy of the truncated model.
        denominator: what the script divides the correct count by. With ``"n-1"`` its figures
            are a little high.
        figure_denominator: what the published figures are over. For MRPC that is ``"n"``
            although the script divides by n - 1.
    """

    model: PublishedModel
    task: str
    module: PublishedModule
    layer: int
    rate: float
    before: float
    after: float
    denominator: Denominator
    figure_denominator: Denominator

    def script_figure(self, correct: int, total: int) -> float:
        """The accuracy that the script would print.

        Args:
            correct: examples answered right.
            total: examples scored.

        Returns:
            ``correct`` over n or n - 1.
        """
        return _share(correct, total, self.denominator)

    def comparable_figure(self, correct: int, total: int) -> float:
        """The accuracy as the published figures count it.

        Args:
            correct: examples answered right.
            total: examples scored.

        Returns:
            ``correct`` over n or n - 1.
        """
        return _share(correct, total, self.figure_denominator)


def published(model: PublishedModel, task: str, module: PublishedModule) -> PublishedResult | None:
    """The published result of a model, task and module group.

    Args:
        model: ``"gpt-j-6b"`` or ``"llama-2-7b"``.
        task: a task's name.
        module: ``"mlp"`` or ``"attn"``.

    Returns:
        The result, or ``None`` where the paper has none.
    """
    for cell in _data()["tables"]:
        if (cell["model"], cell["task"], cell["module"]) == (model, task, module):
            rules = _data()["denominators"][task]
            return PublishedResult(
                model=model,
                task=task,
                module=module,
                layer=cell["layer"],
                rate=cell["rate"],
                before=cell["before"],
                after=cell["after"],
                denominator=rules["script"],
                figure_denominator=rules["figures"],
            )
    return None


def figure_points() -> list[dict[str, Any]]:
    """The best point of every curve of Figures 1 and 2 (validation accuracy).

    Returns:
        Objects with ``figure``, ``task``, ``model``, ``module``, ``shots``, ``layer`` and
        ``accuracy``. Figure 2's curves with 10 shots are those of Figure 1.
    """
    return [
        {
            **{key: curve[key] for key in ("figure", "task", "model", "module", "shots")},
            "layer": layer,
            "accuracy": accuracy,
        }
        for curve in _data()["figures"]
        for layer, accuracy in zip(
            _data()["figure_layers"][curve["model"]], curve["best"], strict=True
        )
    ]


def _share(correct: int, total: int, denominator: Denominator) -> float:
    over = total if denominator == "n" else total - 1
    if not 0 <= correct <= total or over < 1:
        raise ValueError(f"no accuracy of {correct} correct among {total} over {denominator}")
    return correct / over


@functools.cache
def _data() -> dict[str, Any]:
    file = importlib.resources.files(__package__ or "jaxsvd.tasks") / "published.json"
    return json.loads(file.read_text(encoding="utf-8"))
