"""Tables 2 to 8: Algorithm 1 on a task, one's own models beside the published ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxsvd.tasks.published import PublishedResult
from paper_figures import published
from paper_figures.reading import labels
from paper_figures.searches import Outcome, Place, Pooled

NONE = "-"
NOBODY = "your model (not run)"
NAMES = {"mlp": "MLP", "attn": "ATTN"}
ROWS = (
    "layer",
    "clipping rate",
    "demonstrations",
    "test examples",
    "before",
    "before, 95 % interval",
    "before, spread over seeds",
    "after",
    "after, 95 % interval",
    "after, spread over seeds",
    "difference",
    "difference, spread over seeds",
)
LAST = "seeds with p < 0.05"


@dataclass(frozen=True)
class Column:
    """A model and module.

    Attributes:
        model: its name.
        module: ``"mlp"`` or ``"attn"`` (or what else was run).
        published: whether the numbers are the paper's.
        cells: by the row's name; what lacks is missing.
    """

    model: str
    module: str
    published: bool
    cells: Mapping[str, str]

    def cell(self, row: str) -> str:
        """What stands in a row."""
        return self.cells.get(row, NONE)


@dataclass(frozen=True)
class ResultTable:
    """A table, as text and as records.

    Attributes:
        name: of its files.
        title: what it shows.
        rows: names of the rows.
        columns: one's own first.
        records: for CSV: a line for each search, for each mean, and for each published result.
        notes: sentences below the table.
        outcomes: what the numbers are from.
    """

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    records: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    outcomes: tuple[tuple[str, Outcome], ...]

    @property
    def missing(self) -> list[str]:
        """Modules that were not run."""
        return [
            f"{NAMES.get(c.module, c.module)}, {'any model' if c.model == NOBODY else c.model}"
            for c in self.columns
            if not c.cells
        ]


def table(name: str, task: str, outcomes: Mapping[Place, Outcome]) -> ResultTable:
    """The table of a task.

    Args:
        name: of its files.
        task: the task's name.
        outcomes: of Algorithm 1, on any tasks.
    """
    mine = {place: outcome for place, outcome in outcomes.items() if place.task == task}
    names = labels(place.model for place in outcomes)
    models = [m for m in names if any(place.model == m for place in mine)]
    others = sorted({place.module for place in mine} - set(published.MODULES))
    columns: list[Column] = []
    shown: list[tuple[str, Outcome]] = []
    for model in models:
        for module in (*published.MODULES, *others):
            rows = [
                mine[place]
                for place in sorted(mine, key=lambda place: place.layer)
                if (place.model, place.module) == (model, module)
            ]
            for outcome in rows:
                columns.append(Column(names[model], module, False, _cells(outcome)))
                shown.append((f"{NAMES.get(module, module)}, {names[model]}", outcome))
            if not rows:
                columns.append(Column(names[model], module, False, {}))
    if not models:
        columns += [Column(NOBODY, module, False, {}) for module in published.MODULES]
    for model, model_name in published.MODELS.items():
        for module in published.MODULES:
            result = published.table_results(task, module).get(model)
            if result is not None:
                columns.append(Column(model_name, module, True, _published(task, result)))
    seeds = sorted({search.seed for outcome in mine.values() for search in outcome.searches})
    return ResultTable(
        name=name,
        title=f"Algorithm 1 on {published.task_name(task)}: test accuracy before and after",
        rows=(*ROWS, *(_seed_row(seed) for seed in seeds), LAST),
        columns=tuple(columns),
        records=tuple(_records(task, mine, names)),
        notes=tuple(_notes(task)),
        outcomes=tuple(shown),
    )


def _seed_row(seed: int) -> str:
    return f"difference, seed {seed}, 95 % interval"


def share(value: float) -> str:
    """A share to four digits."""
    return f"{value:.4f}"


def _interval(ends: tuple[float, float]) -> str:
    return f"[{ends[0]:.4f}, {ends[1]:.4f}]"


def _spread(pooled: Pooled) -> str:
    return NONE if pooled.spread is None else f"{pooled.spread:.4f}"


def _each(values: Sequence[Any]) -> str:
    """One value if all are the same, else seed by seed."""
    distinct = dict.fromkeys(values)
    return ", ".join(f"{v:g}" for v in (distinct if len(distinct) == 1 else values))


def _cells(outcome: Outcome) -> dict[str, str]:
    searches = outcome.searches
    cells = {
        "layer": _each([search.layer for search in searches]),
        "clipping rate": _each([search.best_rate for search in searches]),
        "test examples": _each([search.tested.base.total for search in searches]),
        "before": share(outcome.base.mean),
        "before, 95 % interval": _interval(outcome.interval("base")),
        "before, spread over seeds": _spread(outcome.base),
        "after": share(outcome.pruned.mean),
        "after, 95 % interval": _interval(outcome.interval("pruned")),
        "after, spread over seeds": _spread(outcome.pruned),
        "difference": f"{outcome.difference.mean:+.4f}",
        "difference, spread over seeds": _spread(outcome.difference),
        LAST: f"{outcome.significant} of {len(searches)}",
    }
    if outcome.shots is not None:
        cells["demonstrations"] = str(outcome.shots)
    return cells | {_seed_row(s.seed): _interval(s.tested.paired.interval) for s in searches}


def _published(task: str, result: PublishedResult) -> dict[str, str]:
    paper = published.data()["tasks"][task]
    return {
        "layer": str(result.layer),
        "clipping rate": f"{result.rate:g}",
        "demonstrations": str(paper["shots"]),
        "test examples": paper["test"],
        # As printed: cut, not rounded, to five digits at most.
        "before": f"{result.before:.5f}",
        "after": f"{result.after:.5f}",
        "difference": f"{result.after - result.before:+.5f}",
    }


def _notes(task: str) -> Iterator[str]:
    yield (
        "Of several demonstration seeds accuracies and differences are means, a spread is their "
        "standard deviation, an interval of accuracy is Wilson's for one seed's examples at the "
        "mean; an interval of a difference is that seed's own, paired by example; p is "
        "McNemar's, exact. A dash: not run, or not published."
    )
    results = published.table_results(task, "mlp")
    if not results:
        yield "The paper has no such task."
        return
    yield (
        "GPT-J-6B and Llama-2-7B: as published (arXiv 2406.03768), from one seed and without "
        "intervals; digits are cut, not rounded."
    )
    if any(result.figure_denominator == "n-1" for result in results.values()):
        yield "The published figures of this task are over n - 1 and so a little high."


def _records(
    task: str, mine: Mapping[Place, Outcome], names: Mapping[Any, str]
) -> Iterator[dict[str, Any]]:
    for place, outcome in mine.items():
        common = {"task": task, "model": names[place.model], "module": place.module}
        common |= {"shots": outcome.shots, "run": str(outcome.source.path)}
        for search in outcome.searches:
            yield common | {
                "kind": "seed",
                "seed": search.seed,
                "layer": search.layer,
                "rate": search.best_rate,
                "before": search.tested.base.value,
                "before_low": search.tested.base.interval[0],
                "before_high": search.tested.base.interval[1],
                "after": search.tested.pruned.value,
                "after_low": search.tested.pruned.interval[0],
                "after_high": search.tested.pruned.interval[1],
                "difference": search.tested.paired.difference,
                "difference_low": search.tested.paired.interval[0],
                "difference_high": search.tested.paired.interval[1],
                "p_value": search.tested.paired.p_value,
                "before_correct": search.tested.base.correct,
                "after_correct": search.tested.pruned.correct,
                "total": search.tested.base.total,
            }
        low, high = outcome.interval("base")
        after_low, after_high = outcome.interval("pruned")
        yield common | {
            "kind": "mean",
            "before": outcome.base.mean,
            "before_low": low,
            "before_high": high,
            "before_spread": outcome.base.spread,
            "after": outcome.pruned.mean,
            "after_low": after_low,
            "after_high": after_high,
            "after_spread": outcome.pruned.spread,
            "difference": outcome.difference.mean,
            "difference_spread": outcome.difference.spread,
        }
    for module in published.MODULES:
        for model, result in published.table_results(task, module).items():
            yield {
                "kind": "published",
                "task": task,
                "model": published.MODELS[model],
                "module": module,
                "shots": published.data()["tasks"][task]["shots"],
                "layer": result.layer,
                "rate": result.rate,
                "before": result.before,
                "after": result.after,
                "run": "arXiv 2406.03768",
            }
