"""What the results that are drawn must have; see :mod:`paper_figures.schema`."""

from typing import Any

from paper_figures import schema
from paper_figures.schema import (
    CELL,
    COUNT,
    COUNTS,
    NUMBER,
    RANK,
    RATE,
    TEXT,
    WHOLE,
    Check,
    Shape,
)


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_real, value))


SHARE = Check("a share in [0, 1]", lambda value: _real(value) and 0 <= value <= 1)
CHANGE = Check("a difference in [-1, 1]", lambda value: _real(value) and -1 <= value <= 1)
SPREAD = Check("a spread or null", lambda value: value is None or (_real(value) and value >= 0))
INTERVAL = Check("an interval [low, high]", lambda value: _interval(value) and value[0] <= value[1])
TASKS = Check(
    "an object of tasks with their chance levels",
    lambda value: (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(t, dict) and SHARE.holds(t.get("chance")) for t in value.values())
    ),
)
BASELINES = Check("an object", lambda value: isinstance(value, dict))
MAYBE = Check("a list", lambda value: isinstance(value, list))

REVISION = Check("text or null", lambda value: value is None or isinstance(value, str))
MODEL = schema.MODEL | {"revision": REVISION}
SWEEP: Shape = schema.SWEEP | {"model": MODEL}
CONDITION: Shape = schema.CONDITION | {"model": MODEL}

POINT = {
    "task": TEXT,
    "module": TEXT,
    "layer": WHOLE,
    "rate": RATE,
    "rank": RANK,
    "shots": COUNT,
    "seeds": [COUNT],
    "mean": SHARE,
    "spread": SPREAD,
    "interval": INTERVAL,
    **COUNTS,
}
POINTS: Shape = {
    "model": MODEL,
    "tasks": TASKS,
    "cells": [CELL | {"task": TEXT}],
    "points": [POINT],
}
TESTED = {
    "base": COUNTS,
    "pruned": COUNTS,
    "difference": CHANGE,
    "interval": INTERVAL,
    "p_value": SHARE,
}
SEARCH: Shape = schema.SEARCH | {"model": MODEL, "test": TESTED}
ALGORITHM: Shape = {
    "model": MODEL,
    "tasks": TASKS,
    "searches": [
        {
            "task": TEXT,
            "module": TEXT,
            "seed": COUNT,
            "layer": WHOLE,
            "best_rate": RATE,
            "test": TESTED,
        }
    ],
    "summary": [
        {
            "task": TEXT,
            "module": TEXT,
            "layer": WHOLE,
            "seeds": [COUNT],
            "base_mean": SHARE,
            "pruned_mean": SHARE,
            "base_spread": SPREAD,
            "pruned_spread": SPREAD,
            "difference_mean": CHANGE,
            "difference_spread": SPREAD,
        }
    ],
}
MODULES: Shape = {
    "model": MODEL,
    "numbers": [{"layer": WHOLE, "matrix": TEXT, "condition_number": NUMBER}],
    "modules": [{"layer": WHOLE, "module": TEXT, "condition_number": NUMBER}],
}
CURVE = {"examples": [COUNT], "error": [NUMBER], "standard_error": [NUMBER]}
LINEAR: Shape = {
    "curves": [CURVE | {"steps": COUNT}],
    "baselines": BASELINES,
    "truncation": MAYBE,
    "size": {"d": COUNT, "layers": COUNT, "width": COUNT},
}
TRUNCATED: Shape = CURVE | {"layer": WHOLE, "module": TEXT, "rate": RATE, "rank": RANK}
