"""Tables and sentences that the experiments on language models share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from experiments.common.scaffold import table
from experiments.language import pooled
from jaxsvd.results.statistics import wilson

Record = dict[str, Any]


def heading(result: Mapping[str, Any]) -> Iterable[str]:
    """Which model, and the tasks as they were drawn."""
    model = result["model"]
    yield (
        f"model  {model['source']}: {model['family']}, {model['layers']} layers, "
        f"{model['parameters']:,} parameters, {model['dtype']}"
    )
    for name, task in result.get("tasks", {}).items():
        sizes = [
            f"{task[f'{split}_size']:,} {split}"
            for split in ("validation", "test")
            if task[f"{split}_size"]
        ]
        yield (
            f"task   {name} ({task['protocol']} protocol, {task['source']}): "
            f"{several(task['shots'])} shots, draws {several(task['seed'])}, "
            f"{' and '.join(sizes)} questions, chance {task['chance']:.3f}, {task['scoring']}"
        )


def several(value: Any) -> str:
    """A value, or several."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def spread(value: float | None) -> str:
    """A standard deviation over draws; nothing of a single draw."""
    return "" if value is None else f" +- {value:.4f}"


def accuracy(point: Mapping[str, Any]) -> str:
    """Mean and spread of a point."""
    return f"{point['mean']:.4f}{spread(point['spread'])}"


def marked(point: Mapping[str, Any]) -> str:
    """Mean accuracy, with a sign for every draw whose change is beyond noise."""
    return f"{point['mean']:.4f}{'+' * point.get('gains', 0)}{'-' * point.get('losses', 0)}"


def rate_tables(points: Sequence[Record]) -> Iterable[Table]:
    """Mean accuracy by clipping rate: a table each task and number of shots."""
    curves: dict[tuple[str, Any], dict[tuple[Any, ...], dict[float, Record]]] = {}
    for point in points:
        rows = curves.setdefault((point["task"], point["shots"]), {})
        row = rows.setdefault((point["method"], point["module"], point["layer"]), {})
        row[point["rate"]] = point
    for (task, shots), rows in curves.items():
        rates = sorted({rate for row in rows.values() for rate in row})
        yield table(
            f"{task}, {shots} shots: mean validation accuracy by clipping rate",
            ["module, layer", *(f"{rate:g}" for rate in rates)],
            (
                (
                    f"{'' if method == 'svd' else f'{method}, '}{module} {layer}",
                    *(marked(row[rate]) if rate in row else "" for rate in rates),
                )
                for (method, module, layer), row in rows.items()
            ),
        )


def legend(result: Mapping[str, Any]) -> str:
    """How to read the tables, and how wide the noise is."""
    point = max(result["points"], key=lambda p: p["total"] / len(p["seeds"]))
    seeds = len(point["seeds"])
    each = round(point["total"] / seeds)
    low, high = wilson(each / 2, each)
    return (
        f"Means over {seeds} draws of {each} questions, whose 95 % interval is at most "
        f"+-{(high - low) / 2:.3f} each; every + or - is a draw whose change against rate 0 is "
        "beyond noise."
    )


def findings(result: Mapping[str, Any]) -> Iterable[str]:
    """What was found in cells and points, claiming no more than the numbers carry."""
    yield legend(result)
    yield pooled.counted(result["cells"])
    for line in (
        pooled.best_significant(result["points"]),
        pooled.noise_compared(result["points"]),
    ):
        if line:
            yield line
    if result["options"]["quick"]:
        yield "quick: few questions and draws; intervals are wide"


def searches_table(title: str, summary: Sequence[Record]) -> Table:
    """Means over draws of searches: untouched and truncated on the test set."""
    return table(
        title,
        ["task", "module", "layer", "rates", "untouched", "truncated", "change", "beyond noise"],
        (
            (
                row["task"],
                row["module"],
                str(row["layer"]),
                several([f"{rate:g}" for rate in row["best_rates"]]),
                f"{row['base_mean']:.4f}{spread(row['base_spread'])}",
                f"{row['pruned_mean']:.4f}{spread(row['pruned_spread'])}",
                f"{row['difference_mean']:+.4f}{spread(row['difference_spread'])}",
                f"{row['gains']} up, {row['losses']} down of {len(row['seeds'])}",
            )
            for row in summary
        ),
    )
