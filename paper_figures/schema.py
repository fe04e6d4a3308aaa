"""Whether a result has the fields that its page is made of."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """What a single value should be, in words and as a test."""

    said: str
    holds: Callable[[Any], bool]


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


WHOLE = Check("a whole number", _whole)
COUNT = Check("a count", lambda value: _whole(value) and value >= 0)
RATE = Check("a clipping rate in [0, 1)", lambda value: _real(value) and 0 <= value < 1)
# Numbers that JSON does not have are told in words, see jaxsvd.runs.directory.dump.
NUMBER = Check("a number", lambda value: _real(value) or value in ("inf", "-inf", "nan"))
TEXT = Check("text", lambda value: isinstance(value, str))
RANK = Check("a rank or null", lambda value: value is None or _whole(value))

Shape = Mapping[str, Any] | list[Any] | Check
"""An object by its fields, a list by the shape of its items, or a single value."""

COUNTS = {"correct": COUNT, "total": COUNT}
MODEL = {"source": TEXT, "family": TEXT, "layers": COUNT, "parameters": COUNT, "dtype": TEXT}
TASK = {"name": TEXT, "chance": NUMBER}
SEARCH = {
    "model": MODEL,
    "task": TASK,
    "layer": WHOLE,
    "module": TEXT,
    "validation": [{"rate": RATE, "rank": RANK, **COUNTS}],
    "best_rate": RATE,
    "test": {
        "base": COUNTS,
        "pruned": COUNTS,
        "difference": NUMBER,
        "interval": [NUMBER],
        "p_value": NUMBER,
        "gained": COUNT,
        "lost": COUNT,
    },
}
CELL = {
    "module": TEXT,
    "layer": WHOLE,
    "rate": RATE,
    "rank": RANK,
    "shots": COUNT,
    "seed": COUNT,
    **COUNTS,
}
SWEEP = {"model": MODEL, "task": TASK, "cells": [CELL]}
EVALUATE = {"model": MODEL, "task": TASK, "test": COUNTS}
CONDITION = {
    "model": MODEL,
    "condition_numbers": [{"layer": WHOLE, "matrix": TEXT, "condition_number": NUMBER}],
}
RESULTS: dict[str, Shape] = {
    "search": SEARCH,
    "sweep": SWEEP,
    "evaluate": EVALUATE,
    "condition": CONDITION,
}


def flaw(value: Any, shape: Shape, where: str = "") -> str | None:
    """The first thing that is not as it should be, in words; None where all is well.

    Fields beyond those of the shape are welcome; lists should not be empty.
    """
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return f"{where or 'it'} should be an object"
        for name, inner in shape.items():
            path = f"{where}.{name}" if where else name
            if name not in value:
                return f"there is no {path}"
            if found := flaw(value[name], inner, path):
                return found
        return _impossible(value, where) if {"correct", "total"} <= shape.keys() else None
    if isinstance(shape, list):
        if not isinstance(value, list) or not value:
            return f"{where} should be a list, not empty"
        found = (flaw(item, shape[0], f"{where}[{i}]") for i, item in enumerate(value))
        return next((f for f in found if f), None)
    return None if shape.holds(value) else f"{where} should be {shape.said}"


def _impossible(value: Mapping[str, Any], where: str) -> str | None:
    if value["correct"] <= value["total"]:
        return None
    return f"{where}: {value['correct']} of {value['total']} cannot be right"
