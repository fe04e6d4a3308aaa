"""Algorithm 1, all candidates, a gradient, a race, greedy search: what each finds and spends.

Every method sees the same validation set of a draw, and its choice is tested once on the same test
set. A point of the picture is one search: how much test accuracy it changed, for what share of the
passes that scoring every candidate takes.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

import jaxsvd
from experiments.common import style
from experiments.common.scaffold import Experiment, Record, Study, table
from experiments.language import units
from experiments.language.setting import Setting, TaskSetting, config_of, parents, rehearse, setting
from experiments.selection.rows import SelectionRow
from jaxsvd.cli.pictures import plain
from jaxsvd.commands.search_candidates import Select
from jaxsvd.model import Model
from jaxsvd.models.config import DecoderConfig
from jaxsvd.results.fields import Fields
from jaxsvd.score import model_record
from jaxsvd.selection.candidates import candidates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS: tuple[Select, ...] = ("condition", "gradient", "race", "all", "greedy")


def _setting(options: argparse.Namespace, config: DecoderConfig) -> Setting:
    return setting(options, config, layers=lambda layers: tuple(range(layers)))


def check(options: argparse.Namespace) -> None:
    """Refuse what the model or the data do not have."""
    rehearse(_setting(options, config_of(options)), lambda task: options.shots)


def study(study: Study) -> Record:
    """A search of every task, draw and method."""
    model = units.load(study)
    setting = _setting(study.options, model.config)
    rows = [
        study.once(
            {"task": task.name, "seed": seed, "method": method},
            lambda task=task, seed=seed, method=method: _search(
                study, model, setting, task, seed, method
            ).to_json(),
        )
        for task in setting.tasks
        for seed in task.seeds
        for method in _methods(setting)
    ]
    return {"model": model_record(model).to_json(), "rows": [_without_unit(row) for row in rows]}


def _without_unit(row: Mapping[str, Any]) -> Record:
    return {name: value for name, value in row.items() if name != "unit"}


def _methods(setting: Setting) -> Iterator[str]:
    """Algorithm 1 has a module, the others have all of them."""
    yield from (f"condition, {module}" for module in setting.modules)
    yield from METHODS[1:]


def _search(
    study: Study, model: Model, setting: Setting, task: TaskSetting, seed: int, method: str
) -> SelectionRow:
    options = dict(setting.of(task)) | {"shots": setting.shots, "seed": seed}
    options |= {"rates": setting.rates, "progress": study.progress}
    name, _, module = method.partition(", ")
    select: Select = next(each for each in METHODS if each == name)
    count = len(candidates(model, setting.layers, setting.modules, setting.rates))
    if module:
        result = jaxsvd.search(model, task.task, module=module, **options)
    else:
        result = jaxsvd.search(
            model,
            task.task,
            select=select,
            layers=setting.layers,
            modules=setting.modules,
            **options,
        )
    return SelectionRow.of(result, method, count)


def rows_of(result: Mapping[str, Any]) -> list[SelectionRow]:
    """The searches of a result."""
    return [SelectionRow.from_json(Fields(row)) for row in result["rows"]]


def report(result: Record) -> Iterable[Table | str]:
    """A line for each search."""
    rows = rows_of(result)
    yield table(
        "what each method found, and what it spent",
        ("task", "seed", "method", "chosen", "passes", "of all", "s", "raw", "fitted prior"),
        [
            (
                row.task,
                row.seed,
                row.method,
                row.chosen or "nothing",
                f"{row.passes:,}",
                f"{row.passes / row.exhaustive:.2f}",
                f"{row.search_seconds:.1f}",
                _points(row.raw),
                "" if row.calibrated is None else _points(row.calibrated),
            )
            for row in rows
        ],
    )
    yield "Changes of test accuracy in points, 95 % intervals; each choice is tested once."


def _points(gain: Any) -> str:
    low, high = gain.interval
    return f"{100 * gain.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def frontier(result: Mapping[str, Any]) -> "Figure":
    """Change of test accuracy over the share of passes, raw and with a fitted prior."""
    rows = rows_of(result)
    figure = style.figure(style.PAGE, 3.0)
    panels: Any = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, calibrated in zip(panels, (False, True), strict=True):
        _panel(axes, rows, calibrated=calibrated)
        axes.set_title("with a fitted label prior" if calibrated else "as the model answers")
    panels[0].set_ylabel("change of test accuracy, points")
    for axes in panels:
        axes.set_xlabel("passes, as a share of scoring every candidate")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6)
    model, tasks = result["model"]["source"], ", ".join(dict.fromkeys(row.task for row in rows))
    seeds = ", ".join(map(str, dict.fromkeys(row.seed for row in rows)))
    figure.suptitle(plain(f"{model.rsplit('/', 1)[-1]}: {tasks}; seeds {seeds}", 90), fontsize=8)
    return figure


def _panel(axes: "Axes", rows: list[SelectionRow], *, calibrated: bool) -> None:
    methods = list(dict.fromkeys(row.method for row in rows))
    axes.axhline(0, color="0.6", lw=0.7)
    for number, method in enumerate(methods):
        colour = style.PALETTE[number % len(style.PALETTE)]
        mark, label = style.MARKERS[number % len(style.MARKERS)], method
        for row in rows:
            gain = row.calibrated if calibrated else row.raw
            if row.method != method:
                continue
            x, y = row.passes / row.exhaustive, 0.0 if gain is None else 100 * gain.difference
            low, high = (y, y) if gain is None else (100 * end for end in gain.interval)
            axes.errorbar(
                [x], [y], [[max(y - low, 0)], [max(high - y, 0)]],
                color=colour, marker=mark, ms=5, lw=0.8, capsize=2, ls="", label=label,
                mfc=colour if row.chosen else "white",
            )  # fmt: skip
            label = None
    axes.set_xlim(left=0)


EXPERIMENT = Experiment(
    "selection",
    "What Algorithm 1, a gradient, a race, exhaustive and greedy search find, and what they spend.",
    study,
    report,
    {"frontier.png": frontier},
    check=check,
    parents=parents("layers", "modules", "rates", test=True, layers="all"),
)
