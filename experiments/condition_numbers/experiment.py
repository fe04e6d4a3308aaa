"""Condition numbers by layer (Fig. 3 of arXiv 2406.03768), and the layers they point at.

A module's number is the largest of its matrices': the paper does not say how it makes one of
several.
"""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from experiments.common import style
from experiments.common.scaffold import Experiment, Record, Study, table, whole
from experiments.language import tables, units
from experiments.language.setting import config_of
from jaxsvd.cli import options
from jaxsvd.commands.sweep import MODULES
from jaxsvd.condition_number import condition_number
from jaxsvd.models.matrices import matrices
from jaxsvd.score import model_record
from jaxsvd.selection.condition import TOP_LAYERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check(options: argparse.Namespace) -> None:
    """Refuse a model that is none."""
    config_of(options)


def study(study: Study) -> Record:
    """A unit each matrix: those of a large model take minutes."""
    model = units.load(study)
    engine, names = model.engine, matrices(model.config, "all")
    layers = range(model.config.layers)
    numbers: list[Record] = []
    with study.progress.bar("condition numbers", len(layers) * len(names), "matrices") as advance:
        for layer in layers:
            for name in names:
                numbers.append(
                    study.once(
                        {"layer": layer, "matrix": name},
                        lambda at=(layer, name): {
                            "condition_number": condition_number(engine.matrix(*at))
                        },
                    )
                )
                numbers[-1].pop("seconds")
                advance(1)
    parts = {module: matrices(model.config, module) for module in MODULES}
    modules = [row for module, mine in parts.items() for row in by_module(numbers, module, mine)]
    return {
        "model": model_record(model).to_json(),
        "numbers": numbers,
        "modules": modules,
        "choices": {module: choice(modules, module, study.options.top) for module in MODULES},
    }


def by_module(numbers: Sequence[Record], module: str, names: Sequence[str]) -> list[Record]:
    """A module's number in each layer: the largest of its matrices', and which it is."""
    layers: dict[int, Record] = {}
    for number in numbers:
        layer, value = number["layer"], number["condition_number"]
        if number["matrix"] in names and (
            layer not in layers or value > layers[layer]["condition_number"]
        ):
            layers[layer] = {
                "layer": layer,
                "module": module,
                "condition_number": value,
                "matrix": number["matrix"],
            }
    return [layers[layer] for layer in sorted(layers)]


def choice(modules: Sequence[Record], module: str, top: int) -> Record:
    """Algorithm 1's layer: the deepest of those with the largest numbers, deeper of equals."""
    mine = [row for row in modules if row["module"] == module]
    order = sorted(mine, key=lambda row: (-row["condition_number"], -row["layer"]))[:top]
    layers = [row["layer"] for row in order]
    return {"top": layers, "layer": max(layers)}


def report(result: Record) -> Iterable[Table | str]:
    """A row each layer, a column each matrix."""
    yield from tables.heading(result)
    numbers = result["numbers"]
    names = list(dict.fromkeys(number["matrix"] for number in numbers))
    rows: dict[int, list[str]] = {}
    for number in numbers:
        value = number["condition_number"]
        text = "singular" if math.isinf(value) else f"{value:,.4g}"
        rows.setdefault(number["layer"], [str(number["layer"])]).append(text)
    yield table("condition numbers (sigma_max / sigma_min)", ["layer", *names], rows.values())
    for module, choice in result["choices"].items():
        yield (
            f"Algorithm 1 would truncate {module} of layer {choice['layer']}: the deepest of "
            f"layers {tables.several(choice['top'])}, whose numbers are the largest."
        )
    yield (
        "These are exact functions of the weights, without sampling noise. How far they guide is "
        "for depth_sweep to say: they know nothing of the task."
    )


def draw(result: Mapping[str, Any]) -> "Figure":
    """Each module's number by layer (lines), its matrices' (small), the layer chosen (ring)."""
    figure = style.figure()
    axes = figure.subplots()
    for m, module in enumerate(dict.fromkeys(row["module"] for row in result["modules"])):
        mine = [row for row in result["modules"] if row["module"] == module]
        layers = [row["layer"] for row in mine]
        values = [_finite(row["condition_number"]) for row in mine]
        colour = style.PALETTE[m]
        axes.plot(layers, values, color=colour, marker=style.MARKERS[m], label=module)
        chosen = layers.index(result["choices"][module]["layer"])
        axes.plot([layers[chosen]], [values[chosen]], "o", color=colour, mfc="none", ms=9, mew=0.9)
        names = _matrices(result, module)
        small = [n for n in result["numbers"] if n["matrix"] in names]
        axes.plot(
            [n["layer"] for n in small],
            [_finite(n["condition_number"]) for n in small],
            ".",
            color=colour,
            ms=2.5,
            alpha=0.7,
            zorder=1,
        )
    axes.plot([], [], "o", color="black", mfc="none", ms=7, mew=0.9, label="Algorithm 1's layer")
    axes.plot([], [], ".", color="black", ms=2.5, label="single matrices")
    axes.set(xlabel="layer", ylabel="condition number", yscale="log")
    axes.locator_params(axis="x", integer=True)
    style.log_ticks(axes.yaxis)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _matrices(result: Mapping[str, Any], module: str) -> set[str]:
    from jaxsvd.models.matrices import part

    return {n["matrix"] for n in result["numbers"] if part(n["matrix"]) == module}


def _finite(value: float) -> float:
    """A singular matrix has no place on the axis."""
    return value if math.isfinite(value) else np.nan


EXPERIMENT = Experiment(
    "condition_numbers",
    "Condition numbers by layer and matrix, and the layers they choose (Fig. 3).",
    study,
    report,
    {"condition.png": draw},
    lambda parser: parser.add_argument(
        "--top", type=whole(1), default=TOP_LAYERS, metavar="K", help="layers that compete (3)"
    ),
    check,
    parents=(options.model_options(),),
)
