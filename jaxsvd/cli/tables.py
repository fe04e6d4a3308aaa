"""What commands print: tables and sentences, readable in a terminal and in a file."""

import math
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from jaxsvd.results.header import TaskHeader
from jaxsvd.results.label_counts import LabelCounts
from jaxsvd.results.points import Point
from jaxsvd.results.records import Several
from jaxsvd.results.search import SearchResult
from jaxsvd.results.search_summary import candidates_lines, explanation_lines, search_answer
from jaxsvd.results.statistics import Accuracy
from jaxsvd.results.summary import sweep_answer
from jaxsvd.results.sweep import SweepResult


def heading(result: TaskHeader) -> list[str]:
    """Which model and which task."""
    model, task = result.model, result.task
    revision = f" at {model.revision}" if model.revision else ""
    return [
        f"model  {model.source}{revision}: {model.family}, {model.layers} layers, "
        f"{model.parameters:,} parameters, {model.dtype}",
        f"task   {task.name} ({task.protocol} protocol, {task.source}): "
        f"{_several(task.shots)} shots, seed {_several(task.seed)}, "
        f"labels {' '.join(task.labels or ())}, chance {task.chance:.3f}",
        f"score  {task.scoring}",
    ]


def _several(value: Several) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def layer_line(result: SearchResult) -> str:
    """Which layer, and why."""
    choice = result.choice
    if not choice.numbers:
        return f"layer  {choice.layer} (as given), module {result.module}"
    ranked = ", ".join(f"{i} ({max(choice.numbers[i].values()):,.4g})" for i in choice.top)
    return (
        f"layer  {choice.layer}, module {result.module}: the deepest of the {len(choice.top)} "
        f"layers with the largest condition number: {ranked}"
    )


def accuracy_cells(accuracy: Accuracy) -> tuple[str, str, str]:
    """Counts, accuracy, interval."""
    low, high = accuracy.interval
    return (
        f"{accuracy.correct}/{accuracy.total}",
        f"{accuracy.value:.4f}",
        f"{low:.4f} - {high:.4f}",
    )


def validation_table(result: SearchResult) -> Table:
    """Accuracy by clipping rate; the chosen one is marked."""
    other = [] if result.score == "accuracy" else [result.score]
    table = Table(title="validation", title_justify="left", box=None, pad_edge=False)
    for name in ("rate", "rank", "correct", "accuracy", "95 % interval", *other, ""):
        table.add_column(name, justify="left" if not name else "right")
    for score in result.validation:
        table.add_row(
            f"{score.rate:g}",
            "full" if score.rank is None else str(score.rank),
            *accuracy_cells(score.accuracy),
            *(f"{score.value:.4f}" for _ in other),
            "<- best" if score.rate == result.best_rate else "",
        )
    return table


def test_table(result: SearchResult) -> Table:
    """The untouched and the truncated model on the test set."""
    table = Table(title="test", title_justify="left", box=None, pad_edge=False)
    for name in ("model", "correct", "accuracy", "95 % interval"):
        table.add_column(name, justify="left" if name == "model" else "right")
    table.add_row("untouched", *accuracy_cells(result.base))
    if result.best_rate > 0:
        table.add_row(f"at rate {result.best_rate:g}", *accuracy_cells(result.pruned))
    return table


def draws_table(result: SearchResult) -> Table:
    """Each draw: what it alone would choose, and its test at the rate chosen for all."""
    table = Table(title="draws", title_justify="left", box=None, pad_edge=False)
    at = f"at rate {result.best_rate:g}"
    for name in ("seed", "its own best", "untouched", at, "difference", "95 % interval"):
        table.add_column(name, justify="right")
    for draw in result.draws:
        chosen = draw.chosen
        low, high = chosen.paired.interval
        table.add_row(
            str(draw.seed),
            f"{draw.best_rate:g}",
            f"{chosen.base.value:.4f}",
            f"{chosen.pruned.value:.4f}",
            f"{chosen.paired.difference:+.4f}",
            f"{low:+.4f} to {high:+.4f}",
        )
    return table


def answers_table(counts: LabelCounts) -> Table:
    """How often each label is right, and how often each model says it."""
    table = Table(title="answers", title_justify="left", box=None, pad_edge=False)
    for name in ("", *counts.gold, "balanced accuracy"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("right", *map(str, counts.gold.values()), "")
    models = [("untouched", counts.untouched, counts.balanced_untouched)]
    if counts.truncated is not None and counts.balanced_truncated is not None:
        models.append(("truncated", counts.truncated, counts.balanced_truncated))
    for name, said, balanced in models:
        table.add_row(name, *map(str, said.values()), f"{balanced:.4f}")
    return table


def selection_line(result: SearchResult) -> str | None:
    """The best validation score without the optimism of having chosen it."""
    chosen = result.selection
    if chosen is None or chosen.corrected is None:
        return None
    return (
        f"best on validation: {result.score} {chosen.score:.4f}; corrected for having been chosen "
        f"there: {chosen.corrected:.4f}"
    )


def say(console: Console, line: str) -> None:
    """A line as it is: no markup, no colours, no folding."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)


def print_search(result: SearchResult, console: Console) -> None:
    """All of a search."""
    for line in (*heading(result), layer_line(result)):
        say(console, line)
    tables = [validation_table(result), test_table(result)]
    if result.several:
        tables.append(draws_table(result))
    if result.label_counts is not None:
        tables.append(answers_table(result.label_counts))
    for table in tables:
        console.print()
        console.print(table)
    console.print()
    say(console, search_answer(result))
    console.print()
    lines = (*candidates_lines(result), selection_line(result), *explanation_lines(result))
    for line in lines:
        if line is not None:
            say(console, line)


def sweep_tables(result: SweepResult) -> list[tuple[str, Table]]:
    """Accuracy by layer and clipping rate, a title and a table for each module, shots and seed.

    Marked is what differs from the untouched model beyond noise.
    """
    groups: dict[tuple[str, int | None, int | None], dict[int, dict[float, Point]]] = {}
    for point in result.points:
        table = groups.setdefault((point.module, point.shots, point.seed), {})
        table.setdefault(point.layer, {})[point.rate] = point
    tables = []
    for (module, shots, seed), by_layer in groups.items():
        rates = sorted({rate for row in by_layer.values() for rate in row})
        title = f"{module}, {shots} shots, seed {seed}: accuracy by clipping rate"
        table = Table(box=None, pad_edge=False)
        for name in ("layer", *(f"{rate:g}" for rate in rates)):
            table.add_column(name, justify="right", no_wrap=True)
        for layer, row in by_layer.items():
            table.add_row(str(layer), *(_marked(row[rate]) for rate in rates))
        tables.append((title, table))
    return tables


def _marked(point: Point) -> str:
    mark = " "
    if point.beyond_noise and point.change is not None:
        mark = "+" if point.change.difference > 0 else "-"
    return f"{point.accuracy.value:.4f}{mark}"


def print_sweep(result: SweepResult, console: Console) -> None:
    """All of a sweep."""
    for line in heading(result):
        say(console, line)
    for title, table in sweep_tables(result):
        console.print()
        say(console, title)
        console.print(table)
    console.print()
    total = max(point.accuracy.total for point in result.points)
    widest = 1.96 * 0.5 / math.sqrt(total)
    say(
        console,
        f"n = {total} a cell: a 95 % interval is at most +-{widest:.3f}; + and - mark changes "
        "against rate 0 beyond noise (exact McNemar, Holm's correction at 5 % over all cells).",
    )
    say(console, sweep_answer(result.points, result.task.chance))


def condition_table(numbers: Mapping[tuple[int, str], float]) -> Table:
    """Condition numbers, a row each layer, a column each matrix."""
    names = list(dict.fromkeys(name for _, name in numbers))
    table = Table(box=None, pad_edge=False)
    for name in ("layer", *names, "largest"):
        table.add_column(name, justify="right")
    for layer in sorted({layer for layer, _ in numbers}):
        values = [numbers[layer, name] for name in names]
        cells = ("inf" if math.isinf(v) else f"{v:,.5g}" for v in (*values, max(values)))
        table.add_row(str(layer), *cells)
    return table
