"""One task's best rate applied to the others, on their test sets (App. B.5 of arXiv 2406.03768).

If a rate found on one task serves another as well as its own, no search is needed there. With one
task it is the rates of its draws that change places.
"""

import argparse
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from experiments.common import style
from experiments.common.scaffold import Experiment, Record, Study, table
from experiments.language import drawing, tables, units
from experiments.language.pooled import spread_of
from experiments.language.setting import Setting, TaskSetting, config_of, parents, rehearse, setting
from jaxsvd.edits.edit import Edit
from jaxsvd.encoded_task import encode_task
from jaxsvd.model import Model
from jaxsvd.models.config import DecoderConfig
from jaxsvd.results.points import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Place = tuple[str, int]
"""A module and a layer."""


def _setting(options: argparse.Namespace, config: DecoderConfig) -> Setting:
    return setting(options, config, layers=lambda layers: ())


def check(options: argparse.Namespace) -> None:
    """Refuse what the model or the data do not have."""
    rehearse(_setting(options, config_of(options)), lambda task: options.shots)


@dataclass(frozen=True)
class TaskAndSeed:
    """A draw of a task: ``number`` counts the draws of a task, which have seeds of their own."""

    task: TaskSetting
    number: int

    @property
    def seed(self) -> int:
        """Of the draw."""
        return self.task.seeds[self.number]

    def lends_to(self, other: "TaskAndSeed", *, one_task: bool) -> bool:
        """Whether its best rates are tried on another draw (or its own, for comparison)."""
        return one_task or self.number == other.number


def study(study: Study) -> Record:
    """Every draw on validation; then every draw's test set at the rates of the others."""
    model = units.load(study)
    setting = _setting(study.options, model.config)
    places = [
        (module, layer)
        for module in setting.modules
        for layer in setting.layers or (units.chosen_layer(study, model, module).layer,)
    ]
    draws = [TaskAndSeed(task, n) for task in setting.tasks for n in range(len(task.seeds))]
    every = dict.fromkeys(places, setting.rates)
    validated = [_scored(study, model, setting, draw, "validation", every) for draw in draws]
    best = {
        (draw, place): best_rate(unit["cells"], place)
        for draw, unit in zip(draws, validated, strict=True)
        for place in places
    }
    tested, transfers = [], []
    for to in draws:
        lenders = [d for d in draws if d.lends_to(to, one_task=len(setting.tasks) == 1)]
        wanted = {p: tuple(sorted({0.0, *(best[d, p] for d in lenders)})) for p in places}
        tested.append(_scored(study, model, setting, to, "test", wanted))
        transfers += [
            transfer(tested[-1]["cells"], source, to, place, best[source, place])
            for place in places
            for source in lenders
        ]
    gathered = units.gathered(model, validated)
    gathered["runs"] += [unit["run"] for unit in tested]
    for unit in tested:
        gathered["tasks"][unit["task"]]["test_size"] = unit["drawn"]["test_size"]
    return gathered | {"transfers": judged(transfers)}


def _scored(
    study: Study,
    model: Model,
    setting: Setting,
    draw: TaskAndSeed,
    split: str,
    rates: Mapping[Place, Sequence[float]],
) -> Record:
    """Cells of a split at some rates of each module and layer."""
    task = draw.task
    run = f"{units.unit_name(task, setting.shots, draw.seed)}-{split}"

    def measure() -> Record:
        encoded_task = encode_task(
            model,
            task.task,
            (split,),
            shots=setting.shots,
            seed=draw.seed,
            progress=study.progress,
            **setting.of(task),
        )
        edits = [
            Edit(layer, module, rate)
            for (module, layer), of_place in rates.items()
            for rate in of_place
        ]
        result = units.score_edits(
            study, model, encoded_task, split, edits, run, rates=[*map(list, rates.values())]
        )
        return units.cells_record(task, run, result)

    return study.once({"task": task.name, "seed": draw.seed, "split": split}, measure)


def best_rate(cells: Sequence[Mapping[str, Any]], place: Place) -> float:
    """Step 4 of Algorithm 1: the most right answers, the smallest rate of equals."""
    mine = [cell for cell in cells if (cell["module"], cell["layer"]) == place]
    return max(mine, key=lambda cell: (cell["correct"], -cell["rate"]))["rate"]


def transfer(
    cells: Sequence[Mapping[str, Any]],
    source: TaskAndSeed,
    to: TaskAndSeed,
    place: Place,
    rate: float,
) -> Record:
    """One of the ``transfers`` of result.json, from the test cells of the borrower."""
    mine = {cell["rate"]: cell for cell in cells if (cell["module"], cell["layer"]) == place}
    cut, counts = mine[rate], ("correct", "total", "accuracy", "interval")
    changed = rate > 0
    return {
        "from_task": source.task.name,
        "from_seed": source.seed,
        "to_task": to.task.name,
        "seed": to.seed,
        "module": place[0],
        "layer": place[1],
        "rate": rate,
        "base": {name: mine[0.0][name] for name in counts},
        "pruned": {name: cut[name] for name in counts},
        "difference": cut["difference"] if changed else 0.0,
        # The untouched model against itself differs by nothing, for certain.
        "interval": cut["difference_interval"] if changed else [0.0, 0.0],
        "p_value": cut["p_value"] if changed else 1.0,
    }


def judged(transfers: Sequence[Record]) -> list[Record]:
    """With ``beyond_noise``: Holm's correction at 5 % over all borrowed and own rates."""
    family = [t for t in transfers if t["rate"] > 0]
    verdicts = iter(holm([t["p_value"] for t in family]))
    return [t | {"beyond_noise": next(verdicts) if t["rate"] > 0 else False} for t in transfers]


def own(transfer: Mapping[str, Any]) -> bool:
    """Whether a rate is tested on the draw that it was found on."""
    return (transfer["from_task"], transfer["from_seed"]) == (
        transfer["to_task"],
        transfer["seed"],
    )


def pairs(result: Mapping[str, Any]) -> list[Record]:
    """Mean changes by lender, borrower, module and layer."""
    one_task = len(result["tasks"]) == 1
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for t in result["transfers"]:
        ends = ("from_seed", "seed") if one_task else ("from_task", "to_task")
        key = (*(t[end] for end in ends), t["module"], t["layer"])
        groups.setdefault(key, []).append(t)
    return [
        {
            "from": str(lender),
            "to": str(borrower),
            "module": module,
            "layer": layer,
            "rates": [t["rate"] for t in rows],
            "difference": statistics.fmean(t["difference"] for t in rows),
            "spread": spread_of([t["difference"] for t in rows]),
            "gains": sum(t["beyond_noise"] and t["difference"] > 0 for t in rows),
            "losses": sum(t["beyond_noise"] and t["difference"] < 0 for t in rows),
            "draws": len(rows),
        }
        for (lender, borrower, module, layer), rows in groups.items()
    ]


def report(result: Record) -> Iterable[Table | str]:
    """Changes on the test sets by lender and borrower."""
    yield from tables.heading(result)
    what = "draw" if len(result["tasks"]) == 1 else "task"
    yield table(
        "test accuracy against the untouched model, at another's best rate",
        [f"{what} of the rate", f"{what} tested", "module", "rates", "change", "beyond noise"],
        (
            (
                row["from"],
                row["to"],
                f"{row['module']} {row['layer']}",
                tables.several([f"{rate:g}" for rate in row["rates"]]),
                f"{row['difference']:+.4f}{tables.spread(row['spread'])}",
                f"{row['gains']} up, {row['losses']} down of {row['draws']}",
            )
            for row in pairs(result)
        ),
    )
    yield compared(result["transfers"])
    if result["options"]["quick"]:
        yield "quick: few questions and draws; intervals are wide"


def compared(transfers: Sequence[Mapping[str, Any]]) -> str:
    """Own rates beside borrowed ones, in a sentence."""
    counts = []
    for name, mine in (
        ("own", [t for t in transfers if own(t)]),
        ("borrowed", [t for t in transfers if not own(t)]),
    ):
        if mine:
            mean = statistics.fmean(t["difference"] for t in mine)
            up, down = (
                sum(t["beyond_noise"] and s * t["difference"] > 0 for t in mine) for s in (1, -1)
            )
            counts.append(
                f"{name} rates change test accuracy by {mean:+.4f} on average ({up} gains and "
                f"{down} losses of {len(mine)} beyond noise)"
            )
    return (
        f"{'; '.join(counts).capitalize()}. Exact McNemar, Holm's correction at 5 % over all; the "
        "rows of a column share their test questions and are not independent."
    )


def draw(result: Mapping[str, Any]) -> "Figure":
    """Mean change by lender (rows) and borrower (columns), a map each module."""
    rows = pairs(result)
    places = list(dict.fromkeys((row["module"], row["layer"]) for row in rows))
    names = list(dict.fromkeys(row["to"] for row in rows))
    most = max(0.05, *(abs(row["difference"]) for row in rows))
    figure = style.figure(style.PAGE if len(places) > 1 else style.COLUMN, 2.9)
    grid = figure.subplots(1, len(places), squeeze=False, sharey=True)[0]
    image: Any = None
    for axes, (module, layer) in zip(grid, places, strict=True):
        values = np.full((len(names), len(names)), np.nan)
        mine = [row for row in rows if (row["module"], row["layer"]) == (module, layer)]
        for row in mine:
            i, j = names.index(row["from"]), names.index(row["to"])
            values[i, j] = row["difference"]
            text = f"{row['difference']:+.3f}\n{'+' * row['gains']}{'-' * row['losses']}".strip()
            dark = abs(row["difference"]) > 0.7 * most
            colour = "white" if dark else "black"
            axes.text(j, i, text, ha="center", va="center", fontsize=6, color=colour)
        image = axes.imshow(values, vmin=-most, vmax=most, cmap="PuOr", aspect="auto")
        labels = [drawing.short(name) for name in names]
        axes.set_xticks(range(len(names)), labels)
        axes.set_yticks(range(len(names)), labels)
        axes.set_title(f"{module} of layer {layer}")
    what = "draw" if len(result["tasks"]) == 1 else "task"
    grid[0].set_ylabel(f"{what} of the rate")
    figure.supxlabel(f"{what} tested", fontsize=8)
    figure.colorbar(image, ax=list(grid), label="change of test accuracy", shrink=0.8)
    return figure


EXPERIMENT = Experiment(
    "same_rate",
    "One task's best clipping rate tested on the others (App. B.5).",
    study,
    report,
    {"transfers.png": draw},
    check=check,
    parents=parents("layers", "modules", "rates", test=True, layers="by condition number"),
)
