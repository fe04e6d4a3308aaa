"""What a run measured, in a sentence or two that claim no more than the numbers carry."""

import itertools
from collections.abc import Iterable, Sequence
from statistics import fmean

from jaxsvd.results.conditions import ConditionResult
from jaxsvd.results.evaluation import Evaluation
from jaxsvd.results.explanation import BATCH, FITTED, RAW, Change, Explanation
from jaxsvd.results.header import TaskHeader
from jaxsvd.results.label_counts import LabelCounts, constant_answer
from jaxsvd.results.other import OtherResult
from jaxsvd.results.points import Point
from jaxsvd.results.read import AnyResult
from jaxsvd.results.search import SearchResult


def answer(result: AnyResult, points: Sequence[Point]) -> str:
    """What was measured, in a sentence or two.

    Args:
        result: of any command.
        points: those of its curves.
    """
    if isinstance(result, SearchResult):
        return search_answer(result)
    if isinstance(result, Evaluation):
        return _evaluate_answer(result)
    if isinstance(result, ConditionResult):
        return _condition_answer(result)
    if isinstance(result, OtherResult) and result.answer is not None:
        return result.answer
    if points:
        return sweep_answer(points, chance_of(result))
    return "The numbers that this run left are in the tables below."


def chance_of(result: AnyResult) -> float | None:
    """Accuracy of a uniform guess, where the result has it."""
    if isinstance(result, OtherResult):
        return result.chance
    return result.task.chance if isinstance(result, TaskHeader) else None


def search_answer(result: SearchResult) -> str:
    """The result of a search in a few sentences that claim no more than the numbers carry."""
    where = f"{result.module} of layer {result.layer}"
    chance = result.task.chance
    if result.best_rate == 0:
        return (
            f"No rate beat the untouched model on validation: {where} is best left alone "
            f"(test accuracy {result.base.value:.4f}, chance {chance:.3f})."
        )
    paired = result.paired
    low, high = paired.interval
    beyond = (
        f"{'a gain' if paired.difference > 0 else 'a loss'} beyond noise"
        if paired.significant
        else "within noise"
    )
    sentences = [
        f"Truncating {where} at rate {result.best_rate:g} changes test accuracy by "
        f"{paired.difference:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}], "
        f"p = {paired.p_value:.3g} (exact McNemar, {paired.gained} gained, {paired.lost} lost): "
        f"{beyond}{_qualification(result.explanation)}."
    ]
    majority = (
        result.label_counts and f", of the commonest label {result.label_counts.majority:.3f}"
    )
    sentences.append(f"Chance is {chance:.3f}{majority or ''}.")
    return " ".join([*sentences, *_constant_answers(result.label_counts)])


def _qualification(explanation: Explanation | None) -> str:
    """What a change of raw accuracy is made of, where that is known."""
    if explanation is None:
        return ""
    fitted = explanation.fitted_prior
    low, high = fitted.interval
    calibrated = f"{fitted.difference:+.4f} [{low:+.4f}, {high:+.4f}]"
    if explanation.verdict == "label prior":
        return f" in raw accuracy, a shift of the label prior: calibrated, it is {calibrated}"
    if explanation.verdict == "no change":
        return f"; calibrated, it is {calibrated}"
    if explanation.verdict == "both":
        return (
            f" in raw accuracy, in part a shift of the label prior: calibrated, it is {calibrated}"
        )
    return f"; calibrated, it is {calibrated}: the model tells the labels apart differently"


def _constant_answers(counts: LabelCounts | None) -> list[str]:
    """A sentence for each model that gives one answer nearly always."""
    if counts is None:
        return []
    sentences = []
    for name, said in (("untouched", counts.untouched), ("truncated", counts.truncated)):
        if constant := said and constant_answer(said):
            label, share = constant
            sentences.append(f"The {name} model answers {label!r} {share:.0%} of the time.")
    return sentences


def explanation_lines(result: SearchResult) -> list[str]:
    """What the change of test accuracy is made of, a line for each reading of the scores."""
    found = result.explanation
    if found is None:
        return []
    names = {RAW: "raw", BATCH: "batch calibrated", FITTED: "fitted prior"}
    lines = [_change_line(names.get(name, name), c) for name, c in found.accuracy.items()]
    if found.auc is not None:
        lines.append(_change_line("AUC", found.auc))
    if found.share_explained is not None:
        low, high = found.share_explained.interval
        lines.append(
            f"share of the raw change that the label prior explains: "
            f"{found.share_explained.value:.2f} [{low:.2f}, {high:.2f}]"
        )
    alone = found.batch_calibrated.untouched
    lines.append(
        f"calibration alone, nothing truncated: {found.raw.untouched:.4f} -> {alone:.4f} (batch), "
        f"{found.fitted_prior.untouched:.4f} (fitted prior)"
    )
    return [*lines, f"what changed: {found.verdict} (on this draw of demonstrations alone)"]


def _change_line(name: str, change: Change) -> str:
    low, high = change.interval
    p_value = "" if change.p_value is None else f"  p = {change.p_value:.3g}"
    return (
        f"{name:<17} {change.untouched:.4f} -> {change.truncated:.4f}  "
        f"{change.difference:+.4f} [{low:+.4f}, {high:+.4f}]{p_value}"
    )


def _evaluate_answer(result: Evaluation) -> str:
    accuracy, chance, counts = result.accuracy, result.task.chance, result.label_counts
    low, high = accuracy.interval
    floor = max(chance, counts.majority) if counts else chance
    where = "chance" if floor == chance else "the commonest label"
    if low > floor:
        verdict = f"above {where}"
    elif high < chance:
        verdict = "below chance"
    else:
        verdict = f"not distinguishable from {where}" if low <= floor <= high else f"below {where}"
    return (
        f"The untouched model answers {accuracy.correct:,} of {accuracy.total:,} test questions "
        f"right: accuracy {accuracy.value:.4f}, 95 % interval [{low:.4f}, {high:.4f}], {verdict} "
        f"({floor:.3f})." + "".join(f" {line}" for line in _constant_answers(counts))
    )


def _condition_answer(result: ConditionResult) -> str:
    ranked = sorted(result.numbers.items(), key=lambda entry: entry[1])

    def described(layer: int, matrix: str, value: float) -> str:
        return f"{value:,.4g} ({matrix} of layer {layer})"

    (lowest, smallest), (highest, largest) = ranked[0], ranked[-1]
    return (
        f"Condition numbers (2-norm) go from {described(*lowest, smallest)} to "
        f"{described(*highest, largest)}."
    )


def sweep_answer(points: Iterable[Point], chance: float | None) -> str:
    """How many truncations move accuracy beyond noise, and the best of them with its caveat.

    Args:
        points: of a sweep, with rate 0 of every module, layer, number of shots and seed.
        chance: accuracy of a uniform guess.
    """
    points = list(points)
    base = {p.variant: p.accuracy.value for p in points if p.rate == 0}
    cut = [p for p in points if p.rate > 0 and p.variant._replace(rate=0.0) in base]
    if not cut:
        return "Nothing was truncated, or the untouched model was not scored: nothing to compare."
    seeds: dict[tuple[str, int, float, int | None], list[Point]] = {}
    for p in cut:
        seeds.setdefault((p.module, p.layer, p.rate, p.shots), []).append(p)

    def changes(key: tuple[str, int, float, int | None]) -> list[float]:
        return [p.accuracy.value - base[p.variant._replace(rate=0.0)] for p in seeds[key]]

    # Of equals the smallest rate, as Algorithm 1 has it.
    best = max(seeds, key=lambda key: (fmean(changes(key)), -key[2]))
    module, layer, rate, shots = best
    at_shots = f", {shots} shots" if len({p.shots for p in cut}) > 1 else ""
    ends = f" Chance is {chance:.3f}." if chance is not None else ""
    return (
        f"{_verdicts(cut)} The best of {len(seeds)} is {module} of layer {layer} at rate "
        f"{rate:g}{at_shots}: {_change(changes(best), seeds[best])}. It was chosen on these same "
        f"examples, so this estimate is optimistic; a search tests its choice on others.{ends}"
    )


def _verdicts(cut: Sequence[Point]) -> str:
    significant = [p.change for p in cut if p.change and p.beyond_noise]
    if any(p.change is None for p in cut):
        return f"{len(cut)} truncated models were scored; not all predictions are here to pair."
    up = sum(change.difference > 0 for change in significant)
    return (
        f"Of {len(cut)} truncated models, {up} answer better and "
        f"{len(significant) - up} worse than the "
        "untouched one beyond noise (exact McNemar, Holm's correction at 5 %)."
    )


def _change(changes: Sequence[float], points: Sequence[Point]) -> str:
    if len(changes) > 1:
        low, high = min(changes), max(changes)
        spread = f"{low:+.4f} to {high:+.4f} over {len(changes)} seeds"
        return f"{fmean(changes):+.4f} in mean accuracy ({spread})"
    change = points[0].change
    low, high = change.interval if change else (None, None)
    interval = "" if low is None else f", 95 % interval [{low:+.4f}, {high:+.4f}]"
    return f"{changes[0]:+.4f} in accuracy{interval}"


def subject(result: AnyResult) -> str:
    """What the run is of, for the title: command, task, model."""
    command = result.command
    if not isinstance(command, str):
        named = itertools.dropwhile(lambda word: word != "-m", command)
        command = next(itertools.islice(named, 1, None), command[0])
    parts = [command.removeprefix("experiments.").replace("_", " ").capitalize()]
    if isinstance(result, TaskHeader):
        parts.append(f"task {result.task.name}")
    elif isinstance(result, OtherResult) and result.task is not None:
        parts.append(f"task {result.task}")
    if result.model is not None:
        parts.append(f"model {result.model.name}")
    return ", ".join(parts)
