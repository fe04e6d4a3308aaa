"""Dropping layers, magnitude pruning and truncation on the same axes (App. B.6 of 2406.03768).

Three ways to take parameters away from one layer: all of it, the entries of smallest magnitude,
or the smallest singular values. Accuracy on the validation set over the share of the layer's
parameters that is gone. A truncation to rank r of an m x n matrix keeps r (m + n) of them, or all
m n where that is fewer; magnitude pruning keeps exactly as many entries. (Where they are is not
counted: sparse storage would need that too.)
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from experiments.common import style
from experiments.common.scaffold import Experiment, Record, Study
from experiments.language import drawing, tables, units
from experiments.language.removal import count, layer_size, without_layer
from experiments.language.setting import (
    Setting,
    TaskSetting,
    config_of,
    ends,
    outermost,
    parents,
    rehearse,
    setting,
)
from jaxsvd.edits.edit import Edit
from jaxsvd.encoded_task import EncodedTask, encode_task
from jaxsvd.engine.engine import Engine
from jaxsvd.model import Model
from jaxsvd.models.config import DecoderConfig
from jaxsvd.results.points import Point
from jaxsvd.results.predictions import Prediction
from jaxsvd.results.statistics import Accuracy, paired_difference
from jaxsvd.runs.directory import Run
from jaxsvd.runtime.errors import UserError
from jaxsvd.score import Cell, right_answers, score_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODULES = ("all", "mlp", "attn")
DROPPED = "drop layer"
WHOLE = ("all", 1.0)
"""Module and rate of a dropped layer."""


def _setting(options: argparse.Namespace, config: DecoderConfig) -> Setting:
    if config.layers < 2:
        raise UserError("a model of one layer cannot lose it; drop_layer needs two at least")
    layers, modules = (outermost, MODULES[:1]) if options.quick else (ends, MODULES)
    return setting(options, config, layers=layers, modules=modules)


def check(options: argparse.Namespace) -> None:
    """Refuse what the model or the data do not have."""
    rehearse(_setting(options, config_of(options)), lambda task: options.shots)


def study(study: Study) -> Record:
    """Three runs of each task and draw: truncated, pruned by magnitude, without layers."""
    model = units.load(study)
    setting = _setting(study.options, model.config)
    engine = model.engine
    done = []
    for task in setting.tasks:
        for seed in task.seeds:
            done += [
                units.sweep(study, model, setting, task, seed),
                _other(study, model, setting, task, seed, "magnitude"),
                _other(study, model, setting, task, seed, DROPPED),
            ]
    for unit in done:
        unit["cells"] = [cell | _counts(engine, cell) for cell in unit["cells"]]
    sizes = {layer: layer_size(engine, layer) for layer in setting.layers}
    return units.gathered(model, done) | {
        "layer_parameters": [{"layer": i, "parameters": n} for i, n in sizes.items()]
    }


def _counts(engine: Engine, cell: Mapping[str, Any]) -> Record:
    """Parameters that a cell's model keeps of its module, and lacks."""
    if cell["method"] == DROPPED:
        return {"kept": 0, "removed": layer_size(engine, cell["layer"])}
    removed = count(engine, cell["layer"], cell["module"], cell["rate"])
    return {"kept": removed.kept, "removed": removed.removed}


def _other(
    study: Study, model: Model, setting: Setting, task: TaskSetting, seed: int, method: str
) -> Record:
    """A draw under a method other than truncation, in a run of its own."""
    run = f"{units.unit_name(task, setting.shots, seed)}-{method.replace(' ', '-')}"

    def measure() -> Record:
        encoded_task = encode_task(
            model,
            task.task,
            ("validation",),
            shots=setting.shots,
            seed=seed,
            progress=study.progress,
            **setting.of(task),
        )
        if method == DROPPED:
            result = _dropped(study, model, encoded_task, setting.layers, run)
        else:
            result = _pruned(study, model, encoded_task, setting, run)
        return units.cells_record(task, run, result, method)

    unit = {"task": task.name, "shots": setting.shots, "seed": seed, "method": method}
    return study.once(unit, measure)


def _pruned(
    study: Study, model: Model, encoded_task: EncodedTask, setting: Setting, run: str
) -> Record:
    rates = tuple(sorted({0.0, *setting.rates}))
    edits = [
        Edit(layer, module, rate, method="magnitude")
        for layer in setting.layers
        for module in setting.modules
        for rate in rates
    ]
    options = {"method": "magnitude", "layers": list(setting.layers)}
    options |= {"modules": list(setting.modules), "rates": list(rates)}
    return units.score_edits(study, model, encoded_task, "validation", edits, run, **options)


def _dropped(
    study: Study, model: Model, encoded_task: EncodedTask, layers: Sequence[int], run: str
) -> Record:
    engine, (module, rate) = model.engine, WHOLE

    def score(opened: Run) -> tuple[list[Point], list[Prediction]]:
        def lines(engine: Engine, cell: Cell) -> list[Prediction]:
            [predictions] = score_split(
                engine,
                encoded_task,
                "validation",
                [()],
                cells=[cell],
                run=opened,
                progress=study.progress,
            )
            return predictions

        kept = lines(engine, Cell.of(()))
        [base] = right_answers([kept])
        points = []
        for layer in layers:
            predictions = lines(without_layer(engine, layer), Cell(module, layer, rate))
            [right] = right_answers([predictions])
            at = ("validation", module, layer, rate, 0)
            draw = (encoded_task.prepared.shots, encoded_task.prepared.seed)
            points.append(Point(*at, *draw, Accuracy.of(right), paired_difference(base, right)))
            kept += predictions
        return points, kept

    options = {"method": DROPPED, "layers": list(layers)}
    return units.run_of_cells(study, model, encoded_task, score, run, **options)


def report(result: Record) -> Iterable[Table | str]:
    """Accuracies by method and rate, what was removed, and what of it is beyond noise."""
    yield from tables.heading(result)
    sizes = {row["layer"]: row["parameters"] for row in result["layer_parameters"]}
    yield from tables.rate_tables([p for p in result["points"] if p["method"] != DROPPED])
    yield from _dropped_lines(result["points"], sizes)
    yield from _shares(result["points"], sizes)
    yield from tables.findings(result)
    yield from _compared(result["points"])


def _dropped_lines(points: Sequence[Record], sizes: Mapping[int, int]) -> Iterable[str]:
    for p in points:
        if p["method"] == DROPPED:
            yield (
                f"{p['task']} without layer {p['layer']} ({sizes[p['layer']]:,} parameters): "
                f"{tables.accuracy(p)}, change {p['difference']:+.4f}"
                f"{tables.spread(p['difference_spread'])}, beyond noise: {p['gains']} up, "
                f"{p['losses']} down of {len(p['seeds'])} draws"
            )


def _shares(points: Sequence[Record], sizes: Mapping[int, int]) -> Iterable[str]:
    """Share of a layer's parameters that each rate removes; the same for both methods."""
    first = points[0]["layer"]
    for module in dict.fromkeys(p["module"] for p in points if p["method"] == "svd"):
        mine = {
            p["rate"]: p["removed"]
            for p in points
            if (p["method"], p["module"], p["layer"]) == ("svd", module, first)
        }
        text = ", ".join(f"{rate:g} {n / sizes[first]:.1%}" for rate, n in sorted(mine.items()))
        yield f"removed of layer {first} by {module} at rate: {text}"


def _compared(points: Sequence[Record]) -> Iterable[str]:
    """Truncation against magnitude pruning at the same number of parameters."""
    scores: dict[tuple[Any, ...], dict[str, float]] = {}
    for p in points:
        if p["method"] != DROPPED and p["removed"] > 0:
            key = tuple(p[k] for k in ("task", "module", "layer", "rate"))
            scores.setdefault(key, {})[p["method"]] = p["mean"]
    both = [row for row in scores.values() if len(row) == 2]
    if both:
        lead = [row["svd"] - row["magnitude"] for row in both]
        yield (
            f"Where parameters are removed, truncation answers better than magnitude pruning in "
            f"{sum(d > 0 for d in lead)} and worse in {sum(d < 0 for d in lead)} of {len(both)} "
            f"places, {np.mean(lead):+.4f} on average. Both methods are exact about what they "
            "remove; the difference is not tested, as the places share their questions."
        )


def draw(result: Mapping[str, Any]) -> "Figure":
    """Accuracy over the share of a layer's parameters removed, a panel each layer and task."""
    points = result["points"]
    sizes = {row["layer"]: row["parameters"] for row in result["layer_parameters"]}
    tasks, layers = (list(dict.fromkeys(p[key] for p in points)) for key in ("task", "layer"))
    columns = min(len(layers), 4)
    rows = -(-len(layers) // columns) * len(tasks)
    figure = style.figure(style.PAGE, 0.9 + 1.5 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=len(tasks) == 1)
    for axes in grid.flat[len(tasks) * len(layers) :]:
        axes.remove()
    for number, axes in enumerate(grid.flat[: len(tasks) * len(layers)]):
        task, layer = tasks[number // len(layers)], layers[number % len(layers)]
        mine = [p for p in points if (p["task"], p["layer"]) == (task, layer)]
        _panel(axes, mine, sizes[layer])
        axes.axhline(result["tasks"][task]["chance"], **drawing.CHANCE)
        axes.set_title(f"{drawing.short(task)}, layer {layer}")
    figure.supxlabel("share of the layer's parameters removed", fontsize=8)
    figure.supylabel("validation accuracy", fontsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawing.legend(figure, handles, labels)
    return figure


def _panel(axes: Any, points: Sequence[Mapping[str, Any]], size: int) -> None:
    modules = list(dict.fromkeys(p["module"] for p in points if p["method"] != DROPPED))
    for m, module in enumerate(modules):
        for method, line, fill in (("svd", "-", None), ("magnitude", ":", "white")):
            mine = [p for p in points if (p["method"], p["module"]) == (method, module)]
            mine.sort(key=lambda p: p["removed"])
            axes.plot(
                [p["removed"] / size for p in mine],
                [p["mean"] for p in mine],
                line + style.MARKERS[m],
                color=style.PALETTE[m],
                mfc=fill or style.PALETTE[m],
                ms=3,
                label=f"{module}, {'truncated' if method == 'svd' else 'by magnitude'}",
            )
    for p in points:
        if p["method"] == DROPPED:
            interval = drawing.bars(p["mean"], p["interval"])
            axes.errorbar([1], [p["mean"]], interval, fmt="kX", ms=5, capsize=2, label="dropped")
    base = [p for p in points if p["rate"] == 0 and p["method"] == "svd"]
    if base:
        axes.axhspan(*base[0]["interval"], color="#cccccc", lw=0, zorder=0, alpha=0.5)


EXPERIMENT = Experiment(
    "drop_layer",
    "Dropping a layer, magnitude pruning and truncation at equal parameters (App. B.6).",
    study,
    report,
    {"removed.png": draw},
    check=check,
    parents=parents(
        "layers",
        "modules",
        "rates",
        layers="the first and last two; quick: first and last",
        modules="all mlp attn; quick: all",
    ),
)
