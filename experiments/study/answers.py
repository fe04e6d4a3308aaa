"""The study's questions, answered from its record: tables that a terminal and a page can show."""

from collections.abc import Iterator

import numpy as np

from experiments.study import design
from experiments.study.answer import Answer
from experiments.study.estimates import Estimate, holm
from experiments.study.first_order import first_order
from experiments.study.records import READINGS, GridCell, StudyRecord, TestCell


def points(value: float) -> str:
    """A change of accuracy, in points."""
    return f"{100 * value:+.1f}"


def interval(estimate: Estimate) -> str:
    """A change with its 95 % interval, in points."""
    low, high = estimate.interval
    return f"{points(estimate.mean)} [{points(low)}, {points(high)}]"


def spread(estimate: Estimate) -> str:
    """Standard deviation over draws, in points."""
    return "" if estimate.sd is None else f"{100 * estimate.sd:.1f}"


def algorithm1(record: StudyRecord) -> list[TestCell]:
    """The confirmatory cells: each task and module at the layer that Algorithm 1 chooses."""
    return [cell for cell in record.own_tests() if record.is_algorithm1(cell)]


def gain(record: StudyRecord, reading: str) -> Answer:
    """Questions a and b: the change at the cells that Algorithm 1 chooses.

    A task and module whose validation chose rate 0 is no test: nothing is truncated. It counts
    among the ten hypotheses all the same.
    """
    cells = algorithm1(record)
    hypotheses = len(design.TASKS) * len(design.MODULES)
    p_values = [cell.changes[reading].p_value for cell in cells]
    adjusted = holm([*p_values, *[1.0] * (hypotheses - len(p_values))])[: len(p_values)]
    letter, words = {
        "raw": ("a", "Does truncation raise test accuracy, on average over draws?"),
        "batch_calibrated": ("b", "Does it after batch calibration?"),
        "fitted_prior": ("b", "Does it with a fitted label prior?"),
        "auc": ("b", "Does it raise the area under the ROC curve?"),
    }[reading]
    rows = [
        (
            f"{cell.task} {cell.edit}",
            f"{cell.levels[reading].untouched:.3f}",
            f"{cell.levels[reading].edited:.3f}",
            interval(cell.changes[reading]),
            spread(cell.changes[reading]),
            f"{p:.3g}",
        )
        for cell, p in zip(cells, adjusted, strict=True)
    ]
    chosen = {(cell.task, cell.module) for cell in cells}
    missing = [
        f"{task.name} {module}"
        for task in design.TASKS
        for module in design.MODULES
        if (task.name, module) not in chosen
    ]
    notes = [f"p is corrected by Holm over {hypotheses} hypotheses."]
    if missing:
        notes.append(f"Rate 0 was best on validation, or nothing was run: {', '.join(missing)}.")
    columns = ("task and edit", "untouched", "truncated", "change, points", "sd over draws", "p")
    return Answer(f"{letter}. {words}", columns, tuple(rows), tuple(notes))


def steadiness(record: StudyRecord) -> Answer:
    """Question c: the spread of validation accuracy over the eight rates, by layer."""
    rows = []
    for layer, module in _places(record):
        spreads, worst = [], []
        for task in design.TASKS:
            means = _means(record, task.name, task.shots, layer, module)
            if means:
                spreads.append(float(np.std(list(means.values()), ddof=1)))
                worst.append(min(means.values()) - means[0.0])
        if spreads:
            rows.append(
                (
                    f"layer {layer}, {module}",
                    f"{100 * np.mean(spreads):.1f}",
                    points(float(np.mean(worst))),
                    str(len(spreads)),
                )
            )
    columns = (
        "layer and module",
        "sd over rates, points",
        "worst rate against untouched, points",
        "tasks",
    )
    return Answer("c. Are deep layers steadier than shallow ones?", columns, tuple(rows))


def _places(record: StudyRecord) -> list[design.Place]:
    places = {(c.layer, c.module) for c in record.grid if c.layer is not None and c.module}
    return sorted((layer, module) for layer, module in places if layer is not None and module)


def _means(
    record: StudyRecord, task: str, shots: int, layer: int, module: str
) -> dict[float, float]:
    """Mean validation accuracy by rate, 0 among them, over the draws that have the cell."""
    own = [
        c
        for c in record.grid
        if (c.task, c.shots, c.layer, c.module) == (task, shots, layer, module)
    ]
    seeds = {c.seed for c in own}
    base = [
        c for c in record.grid if (c.task, c.shots, c.edit) == (task, shots, "") and c.seed in seeds
    ]
    by_rate: dict[float, list[GridCell]] = {0.0: base} if own else {}
    for cell in own:
        by_rate.setdefault(cell.rate, []).append(cell)
    return {rate: float(np.mean([c.accuracy for c in cells])) for rate, cells in by_rate.items()}


def collapse(record: StudyRecord) -> Answer:
    """Question d: the smallest rate at which accuracy on SST-2 falls by more than 5 points."""
    rows = []
    for layer, module in _places(record):
        row = [f"layer {layer}, {module}"]
        for shots in design.SHOTS:
            means = _means(record, "sst2", shots, layer, module)
            if not means:
                row.append("not run")
                continue
            fallen = [r for r in sorted(means) if means[r] < means[0.0] - design.COLLAPSE]
            row.append(f"{fallen[0]:g}" if fallen else "none")
            row[-1] += f" (untouched {100 * means[0.0]:.1f} %)"
        rows.append(tuple(row))
    columns = ("layer and module", *(f"{n} shots" for n in design.SHOTS))
    return Answer(
        "d. Do fewer shots collapse sooner? SST-2, smallest such rate", columns, tuple(rows)
    )


def selection(record: StudyRecord) -> Answer:
    """Question e: test accuracy of Algorithm 1's layer beside those of the grid."""
    rows = []
    for task in design.TASKS:
        for module in design.MODULES:
            tests = [c for c in record.own_tests() if (c.task, c.module) == (task.name, module)]
            layers = {c.layer for c in record.grid if (c.task, c.module) == (task.name, module)} - {
                None
            }
            if not layers:
                continue
            changes = dict.fromkeys(layers, 0.0)  # rate 0 changes nothing
            changes |= {c.layer: c.changes["raw"].mean for c in tests}
            own = record.condition_layers[module]
            best = max(changes, key=lambda layer: changes[layer])
            rows.append(
                (
                    f"{task.name} {module}",
                    f"{own}: {points(changes[own])}" if own in changes else "not run",
                    f"{best}: {points(changes[best])}",
                    points(float(np.mean(list(changes.values())))),
                    str(len(layers)),
                )
            )
    columns = ("task and module", "Algorithm 1", "best in hindsight", "mean over layers", "layers")
    notes = ("Change of raw test accuracy in points at the rate that validation chose.",)
    return Answer(
        "e. Does the condition number choose the layer well?", columns, tuple(rows), notes
    )


def controls(record: StudyRecord) -> Answer | None:
    """Question f: other edits of the same weights at the cells that Algorithm 1 chooses."""
    cells = [c for c in record.tests if c.method != "exact"]
    if not cells:
        return None
    rows = []
    for own in algorithm1(record):
        same = [
            c
            for c in cells
            if (c.task, c.layer, c.module, c.rate) == (own.task, own.layer, own.module, own.rate)
        ]
        rows += [
            (
                f"{cell.task} {cell.edit}",
                cell.method,
                *(interval(cell.changes[reading]) for reading in READINGS),
            )
            for cell in (own, *same)
        ]
    columns = ("task and edit", "method", "raw", "batch calibrated", "fitted prior", "AUC")
    return Answer("f. Do controls do the same? Change in points", columns, tuple(rows))


def other_tasks(record: StudyRecord) -> Answer:
    """Question g: an edit that one task chose, on the others."""
    cells = [
        c
        for c in record.tests
        if record.is_algorithm1(c) and c.method == "exact" and c.task != c.chosen_for
    ]
    margin = 0.01
    rows = [
        (
            f"{c.edit} (of {c.chosen_for}) on {c.task}",
            interval(c.changes["raw"]),
            interval(c.changes["fitted_prior"]),
            "yes" if c.changes["fitted_prior"].low > -margin else "no",
        )
        for c in cells
    ]
    columns = (
        "edit and task",
        "raw, points",
        "fitted prior, points",
        "a loss of 1 point is excluded",
    )
    return Answer("g. Does the same edit hurt other tasks?", columns, tuple(rows))


def answers(record: StudyRecord) -> Iterator[Answer]:
    """All that the record can answer."""
    for reading in READINGS:
        yield gain(record, reading)
    yield steadiness(record)
    yield collapse(record)
    yield selection(record)
    if (controlled := controls(record)) is not None:
        yield controlled
    yield other_tasks(record)
    if record.texts:
        yield plain_text(record)
    if record.predicted:
        yield first_order(record)


def plain_text(record: StudyRecord) -> Answer:
    """Question g: perplexity of plain texts under the edits that tasks chose."""
    rows = []
    for cell in record.texts:
        low, high = np.exp(cell.interval)
        rows.append(
            (
                f"{cell.edit} on {cell.text}",
                f"{cell.untouched:.1f}",
                f"{cell.edited:.1f}",
                f"{np.exp(cell.difference):.2f} [{low:.2f}, {high:.2f}]",
                f"{cell.tokens:,}",
            )
        )
    columns = ("edit and text", "perplexity, untouched", "truncated", "ratio", "tokens")
    return Answer("g. Does the same edit hurt plain text?", columns, tuple(rows))
