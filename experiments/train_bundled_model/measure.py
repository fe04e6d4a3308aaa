"""Accuracy of a model on the bundled task, and the picture of its learning curve."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxsvd.engine.encoding import encode
from jaxsvd.model import Model
from jaxsvd.results.statistics import Accuracy
from jaxsvd.score import predict
from jaxsvd.tasks.base import Question
from jaxsvd.tasks.bundled import MAX_SHOTS, permuted, prepare

CURVE_SHOTS = (0, 1, 2, 4, 8, 16, MAX_SHOTS)


def answers(model: Model, questions: Sequence[Question]) -> Int[np.ndarray, " questions"]:
    """The candidate that the model prefers, for each question."""
    encoded = encode(model.tokenizer, questions, "label", context=model.config.context)
    scored = {s.request: predict(s.scores) for s in model.engine.score_groups(encoded.groups)}
    return np.array([scored[i] for i in range(len(questions))])


def accuracy(model: Model, questions: Sequence[Question]) -> Accuracy:
    """Of the model's answers."""
    return Accuracy.of(answers(model, questions) == np.array([q.gold for q in questions]))


def measure(model: Model, *, seed: int, size: int, curve_size: int) -> dict[str, Any]:
    """What the bundled model is held to, on pairs of categories it never saw together.

    Args:
        model: loaded as users load it.
        seed: of the task.
        size: test questions of the three main numbers.
        curve_size: test questions at each number of shots of the curve.

    Returns:
        ``test`` and ``validation`` (8 shots), ``zero_shot``, ``permuted`` with its
        ``follow_rate`` (how often the answer is the label that the swapped demonstrations
        call for), and ``by_shots``.
    """
    prepared = prepare(seed=seed, test_size=size, validation_size=max(1, size // 2))
    swapped = accuracy(model, permuted(prepared).test)

    def with_shots(shots: int, n: int) -> dict[str, Any]:
        test = prepare(seed=seed, shots=shots, test_size=n).test
        return {"shots": shots} | accuracy(model, test).to_json()

    return {
        "test": accuracy(model, prepared.test).to_json(),
        "validation": accuracy(model, prepared.validation).to_json(),
        "zero_shot": with_shots(0, size),
        "permuted": swapped.to_json() | {"follow_rate": 1 - swapped.value},
        "by_shots": [with_shots(shots, curve_size) for shots in CURVE_SHOTS],
    }


def draw_curve(metrics: Path, picture: Path) -> None:
    """The learning curve of a run as a PNG: losses, and accuracy by demonstrations.

    Args:
        metrics: the run's metrics.jsonl.
        picture: where to write.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    steps = [line["step"] for line in lines]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, text in (("tokens", "words and frame"), ("labels", "labels"), ("scaffold", "probe")):
        left.plot(steps, [line[name] for line in lines], label=text)
    left.set(xlabel="step", ylabel="loss (nats per token)", ylim=(0, None))
    left.legend(frameon=False)
    for shots in (0, 1, 2, 4, 8, 16):
        points = [
            (line["step"], line["accuracy"][shots])
            for line in lines
            if shots < len(line["accuracy"])
        ]
        if points:
            right.plot(*zip(*points, strict=True), label=f"{shots}")
    right.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    right.set(xlabel="step", ylabel="accuracy between the two labels", ylim=(0.4, 1.01))
    right.legend(title="shots", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=150)
