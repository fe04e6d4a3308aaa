"""Made-up runs: a sweep whose every number follows from its arguments, and what else is needed."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MODEL = {
    "source": "made/up",
    "revision": None,
    "family": "gptj",
    "layers": 8,
    "parameters": 1_000,
    "dtype": "float32",
}
RATES = (0.0, 0.1, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995)
LABELS = ("neg", "pos")


def task(**changes: Any) -> dict[str, Any]:
    """The ``task`` object."""
    return {
        "name": "sst2",
        "source": "files: data/sst2/train.tsv, data/sst2/dev.tsv",
        "protocol": "clean",
        "shots": 10,
        "seed": 0,
        "validation_size": 60,
        "test_size": 0,
        "labels": list(LABELS),
        "rule": "label",
        "scoring": "label tokens",
        "chance": 0.5,
        "skipped_queries": 0,
    } | changes


def common(command: Any) -> dict[str, Any]:
    """What every result has."""
    return {
        "command": command,
        "model": MODEL,
        "task": task(),
        "versions": {"python": "3.11.7", "jaxsvd": "0.1.0", "jax": "0.10.2"},
        "git": "0123456789abcdef",
        "started": "2025-01-01T00:00:00+00:00",
        "seconds": {"total": 12.5, "validation": 10.0},
        "device": {"platform": "cpu", "kind": "cpu", "count": 1},
    }


def predictions(
    modules: Sequence[str],
    layers: Sequence[int],
    rates: Sequence[float],
    shots: Sequence[int],
    seeds: Sequence[int],
    size: int,
) -> Iterator[dict[str, Any]]:
    """Lines of predictions.jsonl: shallow layers suffer from truncation, deep ones hardly."""
    for module, layer, n, seed in itertools.product(modules, layers, shots, seeds):
        base = np.random.default_rng([n, seed]).random(size)
        for step, rate in enumerate(rates):
            draws = np.random.default_rng([len(module), layer, n, seed, step]).random(size)
            # A truncated model answers anew where its draw is small.
            moved = draws < rate * (0.6 if layer < 2 else 0.12)
            again = np.random.default_rng([layer, step, 7]).random(size)
            right = np.where(moved & (rate > 0), again < 0.5, base < 0.7 + 0.01 * n)
            for index in range(size):
                gold = (index + seed) % 2
                prediction = gold if right[index] else 1 - gold
                yield {
                    "split": "validation",
                    "module": module,
                    "layer": layer,
                    "rate": rate,
                    "shots": n,
                    "seed": seed,
                    "index": 3 * index,
                    "gold": gold,
                    "prediction": prediction,
                    "scores": [float(1 - prediction), float(prediction)],
                }


def cells(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells that predictions add up to, counted the plain way."""
    counts: dict[tuple[Any, ...], list[int]] = {}
    for line in lines:
        key = tuple(line[name] for name in ("module", "layer", "rate", "shots", "seed"))
        count = counts.setdefault(key, [0, 0])
        count[0] += line["gold"] == line["prediction"]
        count[1] += 1
    return [
        {
            "module": module,
            "layer": layer,
            "rate": rate,
            "rank": None if rate == 0 else max(1, int((1 - rate) * 128 + 1e-9)),
            "shots": shots,
            "seed": seed,
            "correct": correct,
            "total": total,
            "accuracy": correct / total,
        }
        for (module, layer, rate, shots, seed), (correct, total) in counts.items()
    ]


def prompt(index: int, shots: int, seed: int) -> str:
    """The text of a question, after its demonstrations."""
    shown = "".join(
        f"text: example {i} of seed {seed}\nsentiment: {LABELS[i % 2]}\n" for i in range(shots)
    )
    return f"{shown}text: a film about number {index}, and <b>nothing</b> else\nsentiment:"


def sweep(
    path: Path,
    *,
    modules: Sequence[str] = ("mlp", "attn"),
    layers: Sequence[int] = (0, 1, 6, 7),
    rates: Sequence[float] = RATES,
    shots: Sequence[int] = (10,),
    seeds: Sequence[int] = (0,),
    size: int = 60,
    text: Callable[[int, int, int], str] | None = prompt,
) -> Path:
    """Write a sweep's run directory; ``text`` gives the prompts, None saves none."""
    lines = list(predictions(modules, layers, rates, shots, seeds, size))
    requested = {"modules": list(modules), "layers": list(layers), "rates": list(rates)}
    path.mkdir(parents=True)
    write(path / "run.json", {"command": "sweep", "model": MODEL, "task": task()} | requested)
    write(path / "result.json", common("sweep") | {"cells": cells(lines)})
    write_lines(path / "predictions.jsonl", lines)
    if text is not None:
        write_lines(
            path / "prompts.jsonl",
            [
                {
                    "split": "validation",
                    "index": index,
                    "shots": n,
                    "seed": seed,
                    "prompt": text(index, n, seed),
                    "gold": (index // 3 + seed) % 2,
                    "labels": [f" {label}" for label in LABELS],
                }
                for n, seed in itertools.product(shots, seeds)
                for index in range(0, 3 * size, 3)
            ],
        )
    return path


def write(path: Path, value: Any) -> None:
    """JSON."""
    path.write_text(json.dumps(value), "utf-8")


def write_lines(path: Path, values: Sequence[Any]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values), "utf-8")
