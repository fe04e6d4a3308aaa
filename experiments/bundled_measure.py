"""Accuracy of a model on the bundled task, and the picture of its learning curve."""

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxsvd.model import Model
from jaxsvd.tasks.base import Question
from jaxsvd.tasks.bundled import MAX_SHOTS, permuted, prepare

BATCH = 100
MULTIPLE = 16
CURVE_SHOTS = (0, 1, 2, 4, 8, 16, MAX_SHOTS)


def wilson(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a proportion (95 %), by Wilson (1927)."""
    p = correct / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total**2))
    return centre - half, centre + half


def predict(model: Model, questions: Sequence[Question]) -> Int[np.ndarray, " questions"]:
    """The candidate with the highest logit, for questions whose candidates are single tokens.

    Args:
        model: the bundled one.
        questions: of the bundled task.

    Raises:
        ValueError: a candidate is not one token after the prompt.
    """
    prompts = model.tokenizer([q.prompt for q in questions])["input_ids"]
    chosen = {c: _token(model, questions[0].prompt, c) for c in questions[0].candidates}
    graph, state = nnx.split(model.decoder)
    longest = max(map(len, prompts))
    length = -(-longest // MULTIPLE) * MULTIPLE
    answers = []
    for begin in range(0, len(questions), BATCH):
        batch = prompts[begin : begin + BATCH]
        tokens = np.zeros((BATCH, length), np.int32)
        mask = np.zeros((BATCH, length), bool)
        for row, ids in enumerate(batch):
            tokens[row, length - len(ids) :] = ids
            mask[row, length - len(ids) :] = True
        candidates = np.array(
            [[chosen[c] for c in q.candidates] for q in questions[begin : begin + BATCH]]
        )
        logits = np.asarray(_last(graph, state, jnp.asarray(tokens), jnp.asarray(mask)))
        scores = np.take_along_axis(logits[: len(batch)], candidates, axis=1)
        answers.append(scores.argmax(axis=1))
    return np.concatenate(answers)


@functools.partial(jax.jit, static_argnums=0)
def _last(
    graph: nnx.GraphDef, state: nnx.State, tokens: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> Float[Array, "B V"]:
    return nnx.merge(graph, state)(tokens, mask)[0][:, -1]


def _token(model: Model, prompt: str, candidate: str) -> int:
    before = model.tokenizer(prompt)["input_ids"]
    joint = model.tokenizer(prompt + candidate)["input_ids"]
    if joint[:-1] != before:
        raise ValueError(f"{candidate!r} is not one token after the prompt")
    return joint[-1]


def score(model: Model, questions: Sequence[Question]) -> dict[str, Any]:
    """``correct``, ``total``, ``accuracy`` and its ``interval`` (Wilson, 95 %)."""
    gold = np.array([q.gold for q in questions])
    correct = int((predict(model, questions) == gold).sum())
    low, high = wilson(correct, len(gold))
    return {
        "correct": correct,
        "total": len(gold),
        "accuracy": correct / len(gold),
        "interval": [low, high],
    }


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
    swapped = score(model, permuted(prepared).test)
    return {
        "test": score(model, prepared.test),
        "validation": score(model, prepared.validation),
        "zero_shot": score(model, prepare(seed=seed, shots=0, test_size=size).test),
        "permuted": swapped | {"follow_rate": 1 - swapped["accuracy"]},
        "by_shots": [
            {"shots": shots}
            | score(model, prepare(seed=seed, shots=shots, test_size=curve_size).test)
            for shots in CURVE_SHOTS
        ],
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
