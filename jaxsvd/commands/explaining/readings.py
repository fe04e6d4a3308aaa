"""The answers read in every way, and controls: passes of validation and test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxsvd.commands.explaining.searched import Gold, Scored, Searched, Table, scores
from jaxsvd.edits.edit import CONTROLS, RANDOM, Edit, Edits, Method
from jaxsvd.encoded_task import EncodedTask
from jaxsvd.model import Model
from jaxsvd.results import calibration
from jaxsvd.results.calibration import Readings, context_calibrated, read_scores, with_prior
from jaxsvd.results.explanation import (
    CONTEXTUAL,
    DOMAIN,
    LENGTH,
    PMI,
    SUMMED,
    Change,
    Control,
    Explanation,
)
from jaxsvd.results.explanation_over_draws import explain_over_draws
from jaxsvd.results.over_draws import DrawValues, OverDraws, difference_over_draws, over_draws
from jaxsvd.runtime.progress import Progress
from jaxsvd.tasks.base import Prepared
from jaxsvd.tasks.clean import content_free

CONTENT_FREE = ("N/A", "[MASK]", "")
"""Zhao et al. (2021), section 5."""

DOMAIN_TEXTS = 20
"""Random texts of domain-context calibration (Fei et al., 2023, section 4)."""

NO_CONTEXT = "\n"
"""Stands before a candidate that is scored without context: the end of a line that says nothing."""

Sides = tuple[Table, Table]
"""Scores of the untouched and of the truncated model."""


@dataclass(frozen=True)
class DrawScores:
    """One draw of demonstrations under every variant: untouched, truncated, the controls."""

    task: EncodedTask
    controls: tuple[Edit, ...]
    validation: Scored
    test: Scored

    @property
    def sides(self) -> Sides:
        """The test set."""
        return self.test[0][0], self.test[0][1]


def explained(searched: Searched, control_seeds: int, progress: Progress) -> Explanation:
    """What the search knows already, further readings of the answers, and controls.

    Args:
        searched: the search.
        control_seeds: of each control that draws random numbers, in each draw of demonstrations;
            0 for no controls.
        progress: where to show it.
    """
    draws = [
        _draw_scores(searched, task, _controls(searched.edit, control_seeds, number), progress)
        for number, task in enumerate(searched.tasks)
    ]
    accuracy = {}
    for name, sides in _further_readings(searched, draws, progress):
        accuracy[name] = _change(sides, [draw.test[1] for draw in draws], searched.examples)
    explanation = _of_search(draws, searched.examples)
    controls = tuple(_control(m, draws, searched.examples) for m in CONTROLS if control_seeds)
    return replace(explanation, accuracy={**explanation.accuracy, **accuracy}, controls=controls)


def _controls(edit: Edit, seeds: int, draw: int) -> tuple[Edit, ...]:
    """Of one draw; each has random numbers of its own, so that draws are independent."""
    return tuple(
        replace(edit, method=method, seed=seed)
        for method in CONTROLS
        for seed in (
            range(draw * seeds, (draw + 1) * seeds) if method in RANDOM else range(min(1, seeds))
        )
    )


def _draw_scores(
    searched: Searched, task: EncodedTask, controls: tuple[Edit, ...], progress: Progress
) -> DrawScores:
    edited: list[Edits] = [(), (searched.edit,), *((control,) for control in controls)]
    validation, test = (
        scores(searched.model, task, split, edited, progress) for split in ("validation", "test")
    )
    return DrawScores(task, controls, validation, test)


def _of_search(
    draws: Sequence[DrawScores], examples: Sequence[Int[np.ndarray, "_"]]
) -> Explanation:
    """As :func:`jaxsvd.commands.search_draws.explanation_of` has it."""
    parts = [
        ((d.validation[0][0], d.validation[0][1]), d.validation[1], d.sides, d.test[1])
        for d in draws
    ]
    if len(parts) == 1:
        return calibration.explain(*parts[0])
    readings: list[Readings] = [read_scores(*part) for part in parts]
    return explain_over_draws(readings, examples)


def _change(
    sides: Sequence[Sides],
    gold: Sequence[Gold],
    examples: Sequence[Int[np.ndarray, "_"]],
) -> Change:
    """Of accuracy, over the draws."""
    before, after = (
        [pair[side].argmax(axis=1) == right for pair, right in zip(sides, gold, strict=True)]
        for side in (0, 1)
    )
    paired = difference_over_draws(before, after, examples)
    means = [float(np.concatenate(side).mean()) for side in (before, after)]
    return Change(means[0], means[1], paired.difference, paired.interval, paired.p_value)


def _further_readings(
    searched: Searched, draws: Sequence[DrawScores], progress: Progress
) -> Iterator[tuple[str, list[Sides]]]:
    """Those that a search does not have, with the scores of every draw."""
    names = dict.fromkeys(name for draw in draws for name in _texts(draw.task.prepared))
    for name in names:
        yield (
            name,
            [
                _context_scores(searched, draw, _texts(draw.task.prepared)[name], progress)
                for draw in draws
            ],
        )
    by_name: dict[str, list[Sides]] = {}
    for draw in draws:
        for name, sides in length_readings(
            searched.model, searched.edit, draw.task, draw.sides, progress
        ):
            by_name.setdefault(name, []).append(sides)
    yield from by_name.items()


def _texts(prepared: Prepared) -> Mapping[str, Sequence[str]]:
    """What stands in the query's fields, by reading; nothing for choices and tasks without one."""
    if prepared.template is None or prepared.rule != "label":
        return {}
    queries = [question.query.split() for question in prepared.validation]
    words = [word for query in queries for word in query]
    length = max(1, round(np.mean([len(query) for query in queries])))
    rng = np.random.default_rng(prepared.seed)
    texts = [" ".join(rng.choice(words, length)) for _ in range(DOMAIN_TEXTS)]
    return {CONTEXTUAL: CONTENT_FREE, DOMAIN: texts}


def _context_scores(
    searched: Searched, draw: DrawScores, texts: Sequence[str], progress: Progress
) -> Sides:
    prepared = draw.task.prepared
    questions = replace(prepared, validation=(), test=content_free(prepared, texts))
    own = EncodedTask.of(searched.model, questions, allow_zero_shot=True)
    nothing, _ = scores(searched.model, own, "test", [(), (searched.edit,)], progress)
    before, after = draw.sides
    return context_calibrated(before, nothing[0]), context_calibrated(after, nothing[1])


def length_readings(
    model: Model, edit: Edit, task: EncodedTask, sides: Sides, progress: Progress
) -> Iterator[tuple[str, Sides]]:
    """Candidates of several tokens: by token, in all, and less what they get without context.

    Args:
        model: untouched.
        edit: what truncates it.
        task: whose scores are log-likelihoods; of others there is nothing to read.
        sides: scores of its test set.
        progress: where to show it.
    """
    lengths = candidate_lengths(task, "test")
    if lengths is None:
        return
    before, after = sides
    if task.encoded.scoring == "mean log-likelihood":
        sums = before * lengths, after * lengths
        yield SUMMED, sums
    else:
        sums = before, after
        yield LENGTH, (before / lengths, after / lengths)
    alone = _without_context(model, edit, task, progress)
    if alone is not None:
        yield PMI, (sums[0] - alone[0], sums[1] - alone[1])


def candidate_lengths(task: EncodedTask, split: str) -> Float[np.ndarray, "examples labels"] | None:
    """How many tokens of each candidate are scored, in the order of the questions.

    None where a score is no log-likelihood, or questions differ in their number of candidates.
    """
    if not task.encoded.scoring.endswith("log-likelihood"):
        return None
    lines = {line.request: line for group in task.encoded.groups for line in group.lines}
    rows = [
        np.bincount(lines[i].scored, minlength=lines[i].count).astype(float)
        for i in task.positions(split)
    ]
    return np.stack(rows) if len({len(row) for row in rows}) == 1 else None


def _without_context(
    model: Model, edit: Edit, task: EncodedTask, progress: Progress
) -> Sides | None:
    """Log-probabilities of the candidates after nothing; None where they are labels of one token.

    Labels are the same for every question, so they are scored once.
    """
    questions = [task.encoded.questions[i] for i in task.positions("test")]
    chosen = questions if task.prepared.rule == "choice" else questions[:1]
    bare = tuple(
        replace(question, index=i, demonstrations=(), query=NO_CONTEXT)
        for i, question in enumerate(chosen)
    )
    prepared = replace(task.prepared, validation=(), test=bare)
    own = EncodedTask.of(model, prepared, allow_zero_shot=True)
    lengths = candidate_lengths(own, "test")
    if lengths is None:
        return None
    scored, _ = scores(model, own, "test", [(), (edit,)], progress)
    sums = scored
    if own.encoded.scoring == "mean log-likelihood":
        sums = [table * lengths for table in scored]
    return sums[0], sums[1]


def _control(
    method: Method,
    draws: Sequence[DrawScores],
    examples: Sequence[Int[np.ndarray, "_"]],
) -> Control:
    """One kind of control beside the untouched model, as it answers and with a fitted prior."""
    raw, fitted, seeds = [], [], 0
    for draw in draws:
        own = [i for i, control in enumerate(draw.controls, 2) if control.method == method]
        seeds += len(own)
        raw.append((_right(draw, 0, prior=False), [_right(draw, i, prior=False) for i in own]))
        fitted.append((_right(draw, 0, prior=True), [_right(draw, i, prior=True) for i in own]))
    (accuracy, sd, change), (calibrated, calibrated_sd, calibrated_change) = (
        _over_controls(values, examples) for values in (raw, fitted)
    )
    return Control(
        kind=method,
        draws=seeds,
        accuracy=accuracy,
        sd=sd,
        calibrated=calibrated,
        calibrated_sd=calibrated_sd,
        difference=change.mean,
        interval=change.interval,
        calibrated_difference=calibrated_change.mean,
        calibrated_interval=calibrated_change.interval,
    )


Right = Bool[np.ndarray, "_"]


def _right(draw: DrawScores, variant: int, *, prior: bool) -> Right:
    (validation, validation_gold), (test, gold) = draw.validation, draw.test
    table = test[variant]
    if prior:
        table = with_prior(table, validation[variant], validation_gold)
    return table.argmax(axis=1) == gold


def _over_controls(
    draws: Sequence[tuple[Right, list[Right]]],
    examples: Sequence[Int[np.ndarray, "_"]],
) -> tuple[float, float | None, OverDraws]:
    """Accuracy, its sd over seeds, and the change against the untouched model.

    Of one draw of demonstrations the interval is over seeds and examples, of several over draws of
    demonstrations and examples: each has seeds of its own, so their spread is in it.
    """
    means = [float(right.mean()) for _, controls in draws for right in controls]
    values = [[right * 1.0 - before for right in controls] for before, controls in draws]
    if len(draws) == 1:
        measured = [DrawValues(turned, examples[0]) for turned in values[0]]
    else:
        measured = [
            DrawValues(np.mean(turned, axis=0), rows)
            for turned, rows in zip(values, examples, strict=True)
        ]
    sd = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return float(np.mean(means)), sd, over_draws(measured)
