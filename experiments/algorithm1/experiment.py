"""Algorithm 1 over tasks, modules and draws (Fig. 4 and Tables 2-8 of arXiv 2406.03768).

The layer is chosen by condition number once for each module, the rate on the validation set of
each draw, and the truncated model is tested against the untouched one on the draw's test set.
"""

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from experiments.common import style
from experiments.common.scaffold import Experiment, Record, Study
from experiments.language import drawing, tables, units
from experiments.language.searches import draw_tests, searches_of, summary_of, verdict
from experiments.language.setting import Setting, config_of, parents, rehearse, setting
from jaxsvd.models.config import DecoderConfig
from jaxsvd.score import model_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _setting(options: argparse.Namespace, config: DecoderConfig) -> Setting:
    return setting(options, config, layers=lambda layers: ())


def check(options: argparse.Namespace) -> None:
    """Refuse what the model or the data do not have."""
    rehearse(_setting(options, config_of(options)), lambda task: options.shots)


def study(study: Study) -> Record:
    """A search of each task, module and draw."""
    model = units.load(study)
    setting = _setting(study.options, model.config)
    layers = {
        module: [*setting.layers] or [units.chosen_layer(study, model, module)]
        for module in setting.modules
    }
    done = [
        units.search(study, model, setting, task, seed, module, layer)
        for task in setting.tasks
        for module in setting.modules
        for layer in layers[module]
        for seed in task.seeds
    ]
    searches = searches_of(done)
    return {
        "model": model_record(model).to_json(),
        "tasks": units.tasks_record(done),
        "searches": searches,
        "summary": summary_of(searches),
        "runs": [unit["run"] for unit in done],
        "notices": list(dict.fromkeys(line for unit in done for line in unit["notices"])),
    }


def report(result: Record) -> Iterable[Table | str]:
    """The table of the paper's appendix with its spread, and what of it is beyond noise."""
    yield from tables.heading(result)
    for search in {s["module"]: s for s in result["searches"] if s["top"]}.values():
        yield (
            f"layer  {search['layer']} for {search['module']}: the deepest of layers "
            f"{tables.several(search['top'])}, which have the largest condition numbers"
        )
    yield tables.searches_table("test accuracy, mean +- spread over draws", result["summary"])
    yield verdict(result["searches"])
    if result["options"]["quick"]:
        yield "quick: few questions and draws; intervals are wide"


def draw_validation(result: Mapping[str, Any]) -> "Figure":
    """What the rates were chosen by: validation accuracy over the rate, a curve each draw."""
    searches = result["searches"]
    tasks, modules = (list(dict.fromkeys(s[key] for s in searches)) for key in ("task", "module"))
    rates = sorted({score["rate"] for search in searches for score in search["validation"]})
    width = style.COLUMN if len(modules) == 1 else style.PAGE
    figure = style.figure(width, 0.7 + 1.5 * len(tasks))
    grid = figure.subplots(len(tasks), len(modules), squeeze=False, sharex=True, sharey="row")
    for i, j in np.ndindex(grid.shape):
        axes: Any = grid[i, j]
        mine = [s for s in searches if (s["task"], s["module"]) == (tasks[i], modules[j])]
        for number, search in enumerate(mine):
            _curve(axes, search, number, rates, len(mine))
        axes.axhline(result["tasks"][tasks[i]]["chance"], **drawing.CHANCE, label="chance")
        drawing.rate_axis(axes, rates)
        if i == 0:
            axes.set_title(modules[j])
        if j == 0:
            axes.set_ylabel(f"{drawing.short(tasks[i])}\nvalidation accuracy")
    figure.supxlabel("clipping rate of the rank (marked: the one chosen)", fontsize=8)
    drawing.legend(figure, *grid[0, 0].get_legend_handles_labels())
    return figure


def _curve(axes: Any, search: Mapping[str, Any], number: int, rates: list[float], of: int) -> None:
    scores, colour = search["validation"], style.PALETTE[number % 7]
    x = [rates.index(score["rate"]) + 0.1 * (number - (of - 1) / 2) for score in scores]
    bars = np.concatenate([drawing.bars(s["accuracy"], s["interval"]) for s in scores], axis=1)
    values = [score["accuracy"] for score in scores]
    label = f"draw {search['seed']}"
    axes.errorbar(x, values, bars, color=colour, lw=0.9, elinewidth=0.5, capsize=1, label=label)
    best = [score["rate"] for score in scores].index(search["best_rate"])
    axes.plot(x[best], values[best], style.MARKERS[number % 7], color=colour, ms=5)


EXPERIMENT = Experiment(
    "algorithm1",
    "Algorithm 1 over tasks, modules and draws, tested (Fig. 4, Tables 2-8).",
    study,
    report,
    {"tests.png": draw_tests, "validation.png": draw_validation},
    check=check,
    parents=parents("layers", "modules", "rates", test=True, layers="by condition number"),
)
