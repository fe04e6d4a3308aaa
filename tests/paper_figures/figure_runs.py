"""Run directories with made-up but consistent results, in the formats of the experiments."""

import itertools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.language.pooled import binomial_interval, spread_of
from jaxsvd.results.statistics import Accuracy, paired_difference

Record = dict[str, Any]
RATES = (0.0, 0.1, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995)
CHANCE = {"agnews": 0.25}


def model(source: str = "models/tiny", layers: int = 6) -> Record:
    """The ``model`` object."""
    return {
        "source": source,
        "revision": None,
        "family": "llama",
        "layers": layers,
        "parameters": 1_000,
        "dtype": "float32",
    }


def write(path: Path, result: Record, *, hour: int = 0) -> Path:
    """A run directory, started at the hour given."""
    path.mkdir(parents=True)
    common = {
        "command": ["python", "-m", "experiments.made"],
        "started": f"2025-01-01T{hour:02}:00:00+00:00",
        "seconds": {"total": 1.0},
        "versions": {"python": "3.11"},
        "git": None,
        "device": {"platform": "cpu", "kind": "cpu", "count": 1},
    }
    request = {"experiment": result.get("experiment"), "options": {}}
    (path / "run.json").write_text(json.dumps(request), "utf-8")
    (path / "result.json").write_text(json.dumps(common | result), "utf-8")
    return path


def read(path: Path) -> Record:
    """result.json."""
    return json.loads((path / "result.json").read_text("utf-8"))


def change(path: Path, **changes: Any) -> Path:
    """Other fields in result.json."""
    (path / "result.json").write_text(json.dumps(read(path) | changes), "utf-8")
    return path


def _right(task: str, module: str, layer: int, rate: float, seed: int, size: int) -> np.ndarray:
    """Which examples are right: shallow layers suffer from truncation, deep ones hardly."""
    base = np.random.default_rng([len(task), seed, 1]).random(size) < 0.62 + 0.02 * len(task)
    if rate == 0:
        return base
    draw = np.random.default_rng([len(task), len(module), layer, seed, int(rate * 1000)])
    moved = draw.random(size) < rate * (0.7 if layer < 2 else 0.15)
    return np.where(moved, draw.random(size) < CHANCE.get(task, 0.5), base)


def sweep_cells(
    tasks: Sequence[str],
    layers: Sequence[int],
    shots: Sequence[int],
    seeds: Sequence[int],
    *,
    modules: Sequence[str] = ("mlp", "attn"),
    rates: Sequence[float] = RATES,
    size: int = 80,
    salt: int = 0,
) -> list[Record]:
    """The ``cells`` of a sweep or an experiment."""
    grid = itertools.product(tasks, shots, seeds, layers, modules, rates)
    cells = []
    for task, n, seed, layer, module, rate in grid:
        right = _right(task, module, layer, rate, 100 * n + seed + 10_000 * salt, size)
        cell: Record = {"task": task, "method": "svd", "module": module, "layer": layer}
        cell |= {"rate": rate, "rank": None if rate == 0 else 4, "shots": n, "seed": seed}
        cells.append(cell | Accuracy.of(right).to_json())
    return cells


def pooled(cells: Sequence[Record]) -> list[Record]:
    """The ``points`` of cells, by the plain way."""
    names = ("task", "method", "module", "layer", "rate", "rank", "shots")
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell[name] for name in names), []).append(cell)
    return [
        dict(zip(names, key, strict=True))
        | {
            "seeds": [cell["seed"] for cell in actual],
            "mean": statistics.fmean(cell["accuracy"] for cell in actual),
            "spread": spread_of([cell["accuracy"] for cell in actual]),
            "lowest": min(cell["accuracy"] for cell in actual),
            "highest": max(cell["accuracy"] for cell in actual),
            "correct": sum(cell["correct"] for cell in actual),
            "total": sum(cell["total"] for cell in actual),
            "interval": list(
                binomial_interval([c["correct"] for c in actual], [c["total"] for c in actual])
            ),
        }
        for key, actual in groups.items()
    ]


def tasks_record(tasks: Sequence[str], shots: Sequence[int], seeds: Sequence[int]) -> Record:
    """The ``tasks`` object."""
    return {
        task: {
            "name": task,
            "chance": CHANCE.get(task, 0.5),
            "shots": list(shots),
            "seed": list(seeds),
        }
        for task in tasks
    }


def sweep_experiment(
    path: Path,
    experiment: str,
    *,
    of: Record | None = None,
    tasks: Sequence[str] = ("sst2", "bundled"),
    layers: Sequence[int] = (0, 1, 4, 5),
    shots: Sequence[int] = (10,),
    seeds: Sequence[int] = (0, 1, 2),
    hour: int = 0,
    without: Sequence[tuple[str, Any]] = (),
    **grid: Any,
) -> Path:
    """A run of depth_sweep or shots_sweep; ``without`` leaves out cells by a field's value."""
    cells = sweep_cells(tasks, layers, shots, seeds, **grid)
    cells = [cell for cell in cells if not any(cell[name] == value for name, value in without)]
    result = {"experiment": experiment, "model": of or model(), "cells": cells}
    result |= {"points": pooled(cells), "tasks": tasks_record(tasks, shots, seeds)}
    return write(path, result, hour=hour)


def plain_sweep(path: Path, *, hour: int = 0, of: Record | None = None, **grid: Any) -> Path:
    """A run of ``jaxsvd sweep``."""
    requested = {"layers": (0, 5), "shots": (10,), "seeds": (0, 1)} | grid
    cells = sweep_cells(("sst2",), **requested)
    cells = [{k: v for k, v in cell.items() if k not in ("task", "method")} for cell in cells]
    task = {"name": "sst2", "chance": 0.5, "shots": 10, "seed": [0, 1]}
    result = {"command": "sweep", "model": of or model(), "task": task, "cells": cells}
    return write(path, result, hour=hour)


def condition_numbers(
    path: Path, *, of: Record | None = None, hour: int = 0, infinite: Sequence[int] = ()
) -> Path:
    """A run of condition_numbers; layers in ``infinite`` have a singular k_proj."""
    of = of or model()
    numbers = [
        {
            "layer": layer,
            "matrix": matrix,
            "condition_number": "inf"
            if matrix == "k_proj" and layer in infinite
            else 10.0 ** (1.2 + 0.3 * i) * (1 + 0.2 * layer),
        }
        for layer in range(of["layers"])
        for i, matrix in enumerate(
            ("q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_up", "fc_out")
        )
    ]
    modules = []
    for layer in range(of["layers"]):
        for module in ("attn", "mlp"):
            entries = [
                (float(n["condition_number"]), n)
                for n in numbers
                if n["layer"] == layer and n["matrix"].startswith("fc") == (module == "mlp")
            ]
            entry = max(entries, key=lambda pair: pair[0])[1]
            modules.append(entry | {"module": module})
    result = {"experiment": "condition_numbers", "model": of}
    return write(path, result | {"numbers": numbers, "modules": modules}, hour=hour)


def search_test(task: str, module: str, layer: int, rate: float, seed: int, size: int) -> Record:
    """The ``test`` of a search."""
    base, pruned = (_right(task, module, layer, r, 7 + seed, size) for r in (0.0, rate))
    paired = paired_difference(base, pruned)
    counts = {"base": Accuracy.of(base).to_json(), "pruned": Accuracy.of(pruned).to_json()}
    return counts | {
        "difference": paired.difference,
        "interval": list(paired.interval),
        "p_value": paired.p_value,
        "gained": paired.gained,
        "lost": paired.lost,
    }


def searches(
    tasks: Sequence[str], modules: Sequence[str], seeds: Sequence[int], layer: int, size: int
) -> list[Record]:
    """The ``searches`` of algorithm1."""
    actual = []
    for task, module, seed in itertools.product(tasks, modules, seeds):
        rate = RATES[1 + (seed + len(task)) % 7]
        entry: Record = {"task": task, "module": module, "seed": seed, "layer": layer}
        entry |= {"top": [layer], "best_rate": rate, "chance": CHANCE.get(task, 0.5)}
        validation = [{"rate": r, "rank": 4} | Accuracy(50, 80).to_json() for r in RATES]
        test = search_test(task, module, layer, rate, seed, size)
        actual.append(entry | {"validation": validation, "test": test})
    return actual


def algorithm1(
    path: Path,
    *,
    of: Record | None = None,
    tasks: Sequence[str] = ("sst2", "rte", "bundled"),
    modules: Sequence[str] = ("mlp", "attn"),
    seeds: Sequence[int] = (0, 1, 2),
    size: int = 120,
    hour: int = 0,
) -> Path:
    """A run of algorithm1."""
    of = of or model()
    actual = searches(tasks, modules, seeds, of["layers"] - 2, size)
    summary = []
    for task, module in itertools.product(tasks, modules):
        tests = [s["test"] for s in actual if (s["task"], s["module"]) == (task, module)]
        base, pruned = ([t[name]["accuracy"] for t in tests] for name in ("base", "pruned"))
        difference = [t["difference"] for t in tests]
        entry: Record = {"task": task, "module": module, "layer": of["layers"] - 2}
        entry["seeds"] = list(seeds)
        for name, values in (("base", base), ("pruned", pruned), ("difference", difference)):
            entry |= {f"{name}_mean": statistics.fmean(values), f"{name}_spread": spread_of(values)}
        entry["significant"] = sum(t["p_value"] < 0.05 for t in tests)
        summary.append(entry)
    result = {"experiment": "algorithm1", "model": of, "searches": actual, "summary": summary}
    return write(path, result | {"tasks": tasks_record(tasks, (10,), seeds)}, hour=hour)


def plain_search(
    path: Path, *, task: str = "copa", module: str = "mlp", seed: int = 3, hour: int = 0
) -> Path:
    """A run of ``jaxsvd search``."""
    [entry] = searches((task,), (module,), (seed,), 4, 100)
    requested = {"name": task, "chance": 0.5, "shots": 10, "seed": seed}
    return write(
        path,
        {"command": "search", "model": model(), "task": requested} | entry | {"task": requested},
        hour=hour,
    )


def linear_functions(path: Path, *, d: int = 5, layers: int = 4, hour: int = 0) -> Path:
    """A run of linear_functions."""
    examples = list(range(2 * d + 1))

    def curve(floor: float, **named: Any) -> Record:
        error = [floor + (1 - floor) * max(0.0, 1 - k / d) ** 1.5 for k in examples]
        return named | {
            "examples": examples,
            "error": error,
            "standard_error": [0.01 + 0.02 * e for e in error],
        }

    averaging = curve(0.0) | {"error": [1.0, *((d + 1) / k for k in examples[1:])]}
    truncation = [
        curve(
            min(0.95, 0.05 + rate**4 / (1 + layer)), layer=layer, module=module, rate=rate, rank=3
        )
        for layer in range(layers)
        for module in ("mlp", "attn")
        for rate in RATES
    ]
    result = {
        "experiment": "linear_functions",
        "curves": [curve(0.6 / (1 + i), steps=1000 * 2**i) for i in range(4)],
        "baselines": {
            "least squares": curve(0.0),
            "averaging": averaging,
            "zero": curve(1.0),
        },
        "truncation": truncation,
        "size": {"d": d, "points": 2 * d + 1, "layers": layers, "width": 64, "heads": 4},
    }
    return write(path, result, hour=hour)
