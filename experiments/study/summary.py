"""From the units' scores to the study's record."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax

from experiments.study import design
from experiments.study.choice import choose
from experiments.study.design import StudyTask
from experiments.study.estimates import of_answers, of_values
from experiments.study.records import (
    GridCell,
    Level,
    PredictedCell,
    StudyRecord,
    TestCell,
    TextCell,
)
from experiments.study.scores import Scores
from experiments.study.units import PREDICTIONS, SCORES, TEXTS, Unit
from jaxsvd.checkpoints.tensors import read_json
from jaxsvd.edits.edit import format_edits, parse_edits
from jaxsvd.results import calibration
from jaxsvd.results.fields import NUMBER, TEXT, WHOLE, Fields
from jaxsvd.results.statistics import Z95
from jaxsvd.runs.directory import pretty, write_whole

Table = Float[np.ndarray, "examples candidates"]
Gold = Int[np.ndarray, " examples"]


SETTING = "setting.json"
"""What is known of the model before anything is scored: its name, layers, Algorithm 1's choice."""


def units_of(run: Path) -> list[Unit]:
    """The units that a run directory holds, in the order of the design."""
    tasks = {task.name: task for task in design.TASKS}
    units = []
    for path in sorted((run / SCORES).glob("*.npz")):
        task, shots, _, _, seed, split, part = path.stem.split("-")
        units.append(Unit(tasks[task], int(shots), int(seed), split, part))
    order = {task.name: i for i, task in enumerate(design.TASKS)}
    return sorted(units, key=lambda u: (order[u.task.name], u.shots, u.seed, u.split, u.part))


def grid_cells(unit: Unit, scores: Scores) -> Iterator[GridCell]:
    """Validation accuracies of a unit."""
    for edit in scores.edits:
        parsed = parse_edits(edit)[0] if edit else None
        table = finite(scores.of(edit))
        yield GridCell(
            task=unit.task.name,
            shots=unit.shots,
            seed=unit.seed,
            edit=edit,
            layer=parsed.layer if parsed else None,
            module=parsed.module if parsed else None,
            rate=(parsed.rate or 0.0) if parsed else 0.0,
            examples=len(scores.gold),
            accuracy=accuracy(table, scores.gold),
            batch_calibrated=accuracy(calibration.batch_calibrated(table), scores.gold),
            auc=calibration.auc(table, scores.gold),
        )


def finite(table: Table) -> Float[np.ndarray, "examples candidates"]:
    """Scores in float64; a model that a truncation destroyed gives none, which is no answer."""
    return np.nan_to_num(table.astype(np.float64), nan=-1e30, neginf=-1e30, posinf=1e30)


def accuracy(table: Table, gold: Gold) -> float:
    """Of the largest scores."""
    return float((table.argmax(axis=1) == gold).mean())


def test_cell(
    tests: Sequence[tuple[Unit, Scores, str]],
    validations: Sequence[Scores],
    edit: str,
    chosen_for: str,
) -> TestCell:
    """One edit over all draws; one with random numbers over all of these too.

    Args:
        tests: test units, their scores, and the edit with its seed, one for each draw.
        validations: of the same draws; they fit the label priors.
        edit: without its seed.
        chosen_for: the task whose validation chose the rate.
    """
    parsed = parse_edits(edit)[0]
    tables: dict[str, list[tuple[Table, Table]]] = {"raw": [], "batch_calibrated": []}
    tables["fitted_prior"] = []
    areas, explanations = [], []
    for (_, test, seeded), validation in zip(tests, validations, strict=True):
        pair = finite(test.of("")), finite(test.of(seeded))
        known = finite(validation.of("")), finite(validation.of(seeded))
        explained = calibration.explain(known, validation.gold, pair, test.gold)
        explanations.append(explained)
        assert explained.auc is not None
        areas.append(explained.auc)
        batch = [calibration.batch_calibrated(table) for table in pair]
        fitted = [
            log_softmax(table, axis=1) + calibration.fitted_offsets(own, validation.gold)
            for table, own in zip(pair, known, strict=True)
        ]
        for name, (one, other) in zip(tables, (pair, batch, fitted), strict=True):
            tables[name].append((one, other))
    golds = [test.gold for _, test, _ in tests]
    shared = all(np.array_equal(test.index, tests[0][1].index) for _, test, _ in tests)
    levels, changes = {}, {}
    for name, pairs in tables.items():
        right = [
            [table.argmax(axis=1) == gold for table in pair]
            for pair, gold in zip(pairs, golds, strict=True)
        ]
        levels[name] = Level(*(float(np.mean([r[i].mean() for r in right])) for i in (0, 1)))
        turned = [after.astype(int) - before.astype(int) for before, after in right]
        changes[name] = of_answers(turned, shared=shared)
    levels["auc"] = Level(
        float(np.mean([a.untouched for a in areas])), float(np.mean([a.truncated for a in areas]))
    )
    errors = [(a.interval[1] - a.interval[0]) / 2 / Z95 for a in areas]
    changes["auc"] = of_values([a.difference for a in areas], errors)
    unit = tests[0][0]
    return TestCell(
        task=unit.task.name,
        shots=unit.shots,
        seeds=tuple(unit.seed for unit, _, _ in tests),
        edit=edit,
        layer=parsed.layer,
        module=parsed.module,
        rate=parsed.rate or 0.0,
        method=parsed.method,
        chosen_for=chosen_for,
        examples=tuple(map(len, golds)),
        majority=float(np.mean([np.bincount(gold).max() / len(gold) for gold in golds])),
        commonest=Level(*(_commonest([pair[i] for pair in tables["raw"]]) for i in (0, 1))),
        levels=levels,
        changes=changes,
    )


def _commonest(tables: Sequence[Table]) -> float:
    """The share of the candidate that is the answer most often, mean over draws."""
    shares = [np.bincount(t.argmax(axis=1)).max() / len(t) for t in tables]
    return float(np.mean(shares))


def write_setting(run: Path, setting: StudyRecord) -> None:
    """Write a record that has no cells yet."""
    write_whole(run / SETTING, pretty(setting.to_json()))


def record_of(run: Path) -> StudyRecord:
    """Everything that a run directory knows, finished or not.

    Raises:
        UserError: it is no run of the study, or damaged.
    """
    setting = StudyRecord.from_json(read_json(run / SETTING))
    loaded = {unit: unit.scores(run) for unit in units_of(run)}
    grid = [
        cell
        for unit, scores in loaded.items()
        if unit.split == "validation" and unit.part in design.PARTS
        for cell in grid_cells(unit, scores)
    ]
    tests = [
        test_cell(draws, validations, edit, chosen_for)
        for (task, edit), draws in _by_edit(loaded).items()
        for validations in [_validations(loaded, draws)]
        if validations is not None
        for chosen_for in [_chosen_for(loaded, task, edit)]
    ]
    unique = {(c.task, c.shots, c.seed, c.edit): c for c in grid}  # untouched is in every part
    return dataclasses.replace(
        setting,
        grid=tuple(unique.values()),
        tests=tuple(tests),
        texts=tuple(
            TextCell.from_json(Fields.of(read_json(path)))
            for path in sorted((run / TEXTS).glob("*.json"))
        ),
        predicted=tuple(_predicted(run, loaded)),
    )


def _predicted(run: Path, loaded: Mapping[Unit, Scores]) -> Iterator[PredictedCell]:
    """Cells of the usual shots whose loss a gradient predicted, where they were scored."""
    for path in sorted((run / PREDICTIONS).glob("*.json")):
        known = Fields.of(read_json(path))
        name, seed, changes = (
            known.read("task", TEXT),
            known.read("seed", WHOLE),
            known.nested("changes"),
        )
        for unit, scores in loaded.items():
            own = unit.split == "validation" and unit.part in design.PARTS
            if not own or (unit.task.name, unit.shots, unit.seed) != (name, unit.task.shots, seed):
                continue
            loss, right = mean_loss(scores, ""), accuracy(finite(scores.of("")), scores.gold)
            for edit in filter(None, scores.edits):
                yield PredictedCell(
                    name,
                    seed,
                    edit,
                    float(changes.read(edit, NUMBER)),
                    mean_loss(scores, edit) - loss,
                    accuracy(finite(scores.of(edit)), scores.gold) - right,
                )


def mean_loss(scores: Scores, edit: str) -> float:
    """Mean negative log-probability of the right candidate among all candidates, in nats."""
    log_p = log_softmax(finite(scores.of(edit)), axis=1)
    return float(-np.take_along_axis(log_p, scores.gold[:, None], axis=1).mean())


Draw = tuple[Unit, Scores, str]
"""A test unit, its scores, and an edit among its variants."""


def _by_edit(loaded: Mapping[Unit, Scores]) -> dict[tuple[StudyTask, str], list[Draw]]:
    """Test units that have an edit, one for each draw and seed of the edit's random numbers."""
    by_cell: dict[tuple[StudyTask, str], dict[tuple[int, str], Draw]] = {}
    for unit, scores in loaded.items():
        if unit.split == "test":
            for edit in filter(None, scores.edits):
                key = unit.task, edit.partition("@")[0]
                by_cell.setdefault(key, {}).setdefault((unit.seed, edit), (unit, scores, edit))
    return {key: [draws[seed] for seed in sorted(draws)] for key, draws in by_cell.items()}


def _validations(loaded: Mapping[Unit, Scores], tests: Sequence[Draw]) -> list[Scores] | None:
    """Validation scores of the same draws and edits; None where a draw has none."""
    points = []
    for test, _, edit in tests:
        own = (test.task, test.shots, test.seed, "validation")
        known = [
            scores
            for unit, scores in loaded.items()
            if (unit.task, unit.shots, unit.seed, unit.split) == own and edit in scores.edits
        ]
        if not known:
            return None
        points.append(known[0])
    return points


def _chosen_for(loaded: Mapping[Unit, Scores], task: StudyTask, edit: str) -> str:
    """The task itself where its validation chose the edit; else the first that did."""
    parsed = parse_edits(edit)[0]
    truncation = format_edits((dataclasses.replace(parsed, method="exact"),))
    for other in (task, *(t for t in design.TASKS if t != task)):
        draws = [
            scores
            for unit, scores in loaded.items()
            if (unit.task, unit.shots, unit.split) == (other, other.shots, "validation")
            and truncation in scores.edits
        ]
        if draws and choose(draws, parsed.layer, parsed.module).edit == truncation:
            return other.name
    return ""
