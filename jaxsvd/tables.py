"""What commands print: tables and sentences, readable in a terminal and in a file."""

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxsvd.commands.search import SearchResult
from jaxsvd.statistics import Accuracy

Record = Mapping[str, Any]


def heading(record: Record) -> list[str]:
    """Which model and which task."""
    model, task = record["model"], record["task"]
    revision = f" at {model['revision']}" if model["revision"] else ""
    return [
        f"model  {model['source']}{revision}: {model['family']}, {model['layers']} layers, "
        f"{model['parameters']:,} parameters, {model['dtype']}",
        f"task   {task['name']} ({task['protocol']} protocol, {task['source']}): "
        f"{task['shots']} shots, seed {task['seed']}, labels {' '.join(task['labels'])}, "
        f"chance {task['chance']:.3f}",
        f"score  {task['scoring']}",
    ]


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
    table = Table(title="validation", title_justify="left", box=None, pad_edge=False)
    for name in ("rate", "rank", "correct", "accuracy", "95 % interval", ""):
        table.add_column(name, justify="left" if not name else "right")
    for score in result.validation:
        table.add_row(
            f"{score.rate:g}",
            "full" if score.rank is None else str(score.rank),
            *accuracy_cells(score.accuracy),
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


def answer(result: SearchResult) -> str:
    """The finding in a sentence that claims no more than the numbers carry."""
    where = f"{result.module} of layer {result.layer}"
    chance = result.record["task"]["chance"]
    if result.best_rate == 0:
        return (
            f"No rate beat the untouched model on validation: {where} is best left alone "
            f"(test accuracy {result.base.value:.4f}, chance {chance:.3f})."
        )
    paired = result.paired
    low, high = paired.interval
    verdict = (
        ("a gain" if paired.difference > 0 else "a loss") + " beyond noise"
        if paired.significant
        else "within noise"
    )
    return (
        f"Truncating {where} at rate {result.best_rate:g} changes test accuracy by "
        f"{paired.difference:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}], "
        f"p = {paired.p_value:.3g} (exact McNemar, {paired.gained} gained, {paired.lost} lost): "
        f"{verdict}. Chance is {chance:.3f}."
    )


def say(console: Console, line: str) -> None:
    """A line as it is: no markup, no colours, no folding."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)


def print_search(result: SearchResult, console: Console) -> None:
    """All of a search."""
    for line in (*heading(result.record), layer_line(result)):
        say(console, line)
    for table in (validation_table(result), test_table(result)):
        console.print()
        console.print(table)
    console.print()
    say(console, answer(result))


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
