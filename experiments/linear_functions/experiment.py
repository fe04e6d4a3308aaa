"""Transformers trained in context on linear functions, and truncated (Fig. 5, and beyond)."""

import argparse
import dataclasses
import functools
from typing import Any

from experiments.common.records import Record
from experiments.common.scaffold import Experiment, Study, whole
from experiments.linear_functions.drawing import PICTURES
from experiments.linear_functions.measuring import (
    MODULES,
    Measurement,
    chosen,
    corrected,
    curve,
)
from experiments.linear_functions.report import report
from experiments.linear_functions.running import train
from experiments.linear_functions.sizes import DEFAULT, PAPER, QUICK, Size
from experiments.linear_functions.trained import load
from jaxsvd import svd
from jaxsvd.runtime.errors import UserError

PROMPTS, QUICK_PROMPTS = 10_000, 500
_WHOLE = ("d", "points", "layers", "width", "heads", "steps", "batch")


def size_of(options: argparse.Namespace) -> Size:
    """What the options ask for.

    Raises:
        UserError: it cannot be trained.
    """
    if options.quick and options.paper_size:
        raise UserError("--quick and --paper-size exclude each other")
    size = QUICK if options.quick else PAPER if options.paper_size else DEFAULT
    changes: dict[str, Any] = {
        name: getattr(options, name)
        for name in (*_WHOLE, "positions", "learning_rate")
        if getattr(options, name) is not None
    }
    if "d" in changes:
        # As many points for each dimension as Garg et al. have.
        changes.setdefault("points", 2 * max(1, changes["d"]) + 1)
    return dataclasses.replace(size, **changes, curriculum=options.curriculum)


def study(study: Study) -> Record:
    """Train, then measure after several lengths, then truncate layer by layer."""
    options, size = study.options, size_of(study.options)
    _, training = train(size, study.seed, study.path, progress=study.progress)
    prompts = options.prompts or (QUICK_PROMPTS if study.quick else PROMPTS)

    @functools.cache
    def measurement(steps: int) -> Measurement:
        return Measurement(load(study.path, steps), study.seed, prompts)

    curves = []
    for steps in size.lengths():
        unit = {"steps": steps}
        record = study.once(unit, lambda s=steps: {"curve": curve(measurement(s).base)})
        curves.append(unit | record["curve"])
    final = functools.partial(measurement, size.steps)
    baselines = study.once({"baselines": size.d}, lambda: {"curves": final().baselines()})["curves"]
    cells = _truncate(study, size, final)
    best = chosen(cells)
    unit = {"confirm": [best["layer"], best["module"], best["rate"]]}
    confirmed = study.once(unit, lambda: {"found": final().confirm(best)})["found"]
    return {
        "size": size.record(),
        "training": training,
        "prompts": prompts,
        "curves": curves,
        "baselines": baselines,
        "truncation": corrected(cells),
        "confirmed": confirmed,
    }


def _truncate(study: Study, size: Size, final: Any) -> list[Record]:
    units = [(layer, module) for layer in range(size.layers) for module in MODULES]
    cells = []
    with study.progress.bar("truncating", len(units), "modules") as advance:
        for layer, module in units:
            unit = {"layer": layer, "module": module}
            record = study.once(
                unit, lambda at=(layer, module): {"cells": final().cells(*at, svd.RATES)}
            )
            cells += record["cells"]
            advance(1)
    return cells


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes, all of them from a preset unless given."""
    parser.add_argument(
        "--paper-size",
        action="store_true",
        help=f"that of Garg et al.: {PAPER.layers} layers, width {PAPER.width}, d = {PAPER.d}, "
        f"{PAPER.points - 1} examples, {PAPER.steps:,} steps (for an accelerator)",
    )
    parser.add_argument(
        "--curriculum", action="store_true", help="dimensions and points grow at first"
    )
    described = {
        "d": "dimensions of x",
        "points": "of a prompt, one more than its examples (2 d + 1)",
        "layers": "of the transformer",
        "width": "of the transformer",
        "heads": "of a layer",
        "steps": "of training",
        "batch": "fresh prompts a step",
    }
    for name in _WHOLE:
        help_text = f"{described[name]} ({getattr(DEFAULT, name):,})"
        parser.add_argument(f"--{name}", type=whole(1), metavar="N", help=help_text)
    parser.add_argument(
        "--positions",
        choices=("learned", "rotary"),
        help=f"of tokens: as in GPT-2, or as in the language models ({DEFAULT.positions})",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        metavar="X",
        help=f"of Adam, after warm-up ({DEFAULT.learning_rate:g})",
    )
    parser.add_argument(
        "--prompts", type=whole(2), metavar="N", help=f"to measure on ({PROMPTS:,}; quick: 500)"
    )


EXPERIMENT = Experiment(
    "linear_functions",
    "Transformers trained in context on linear functions (Garg et al., 2022; Fig. 5), and what "
    "truncating a layer does to one.",
    study,
    report,
    PICTURES,
    add_options,
    size_of,
)
