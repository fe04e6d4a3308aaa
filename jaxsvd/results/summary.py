"""What a run measured, in a sentence or two that claim no more than the numbers carry."""

import itertools
from collections.abc import Iterable, Sequence
from statistics import fmean

from jaxsvd.results.conditions import ConditionResult
from jaxsvd.results.evaluation import Evaluation
from jaxsvd.results.header import TaskHeader
from jaxsvd.results.other import OtherResult
from jaxsvd.results.points import Point
from jaxsvd.results.read import AnyResult
from jaxsvd.results.search import SearchResult
from jaxsvd.results.search_summary import constant_answers, search_answer


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


def _evaluate_answer(result: Evaluation) -> str:
    accuracy, chance, counts = result.accuracy, result.task.chance, result.label_counts
    low, high = accuracy.interval
    majority = counts.majority if counts else chance
    floor, where = max(chance, majority), "chance" if majority <= chance else "the commonest label"
    if low > floor:
        verdict = f"above {where} ({floor:.3f})"
    elif high < chance:
        verdict = f"below chance ({chance:.3f})"
    elif low <= floor <= high:
        verdict = f"not distinguishable from {where} ({floor:.3f})"
    else:
        verdict = f"below {where} ({floor:.3f})"
    model, draws = "edited" if result.edits else "untouched", ""
    if len(result.draws) > 1:
        values = [draw.accuracy.value for draw in result.draws]
        draws = f" over {len(values)} draws ({min(values):.4f} to {max(values):.4f})"
    return " ".join(
        [
            f"The {model} model answers {accuracy.correct:,} of {accuracy.total:,} test questions "
            f"right{draws}: accuracy {accuracy.value:.4f}, 95 % interval [{low:.4f}, {high:.4f}], "
            f"{verdict}.",
            *constant_answers(counts, model),
        ]
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
