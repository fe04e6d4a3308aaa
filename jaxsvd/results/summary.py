"""What a run found, in a sentence or two that claim no more than the numbers carry."""

import itertools
from collections.abc import Iterable, Sequence
from statistics import fmean

from jaxsvd.commands.search import SearchResult
from jaxsvd.results import schema
from jaxsvd.results.points import Point, chance_of
from jaxsvd.results.statistics import Accuracy, PairedDifference
from jaxsvd.results.verdict import verdict as search_answer
from jaxsvd.runs.directory import Record
from jaxsvd.selection.condition import LayerChoice


def answer(result: Record, points: Sequence[Point]) -> str:
    """The finding of any run.

    Args:
        result: result.json, of the shape of its command.
        points: those of its curves.
    """
    command = result["command"]
    if command == "search":
        return search_answer(_search_result(result))
    if command == "evaluate":
        return _evaluate_answer(result)
    if command == "condition":
        return _condition_answer(result)
    if isinstance(result.get("answer"), str):
        return result["answer"]
    if points:
        return sweep_answer(points, chance_of(result))
    return "The numbers that this run left are in the tables below."


def _search_result(result: Record) -> SearchResult:
    """A search as far as its verdict needs it."""
    test = result["test"]
    low, high = test["interval"]
    return SearchResult(
        layer=result["layer"],
        module=result["module"],
        choice=LayerChoice(result["layer"]),
        validation=(),
        best_rate=float(result["best_rate"]),
        base=_accuracy(test["base"]),
        pruned=_accuracy(test["pruned"]),
        paired=PairedDifference(
            difference=float(test["difference"]),
            interval=(float(low), float(high)),
            p_value=float(test["p_value"]),
            gained=test["gained"],
            lost=test["lost"],
        ),
        record=result,
        out=None,
    )


def _accuracy(counts: Record) -> Accuracy:
    return Accuracy(counts["correct"], counts["total"])


def _evaluate_answer(result: Record) -> str:
    accuracy, chance = _accuracy(result["test"]), float(result["task"]["chance"])
    low, high = accuracy.interval
    verdict = (
        "not told apart from chance"
        if low <= chance <= high
        else f"{'above' if chance < low else 'below'} chance"
    )
    return (
        f"The untouched model answers {accuracy.correct:,} of {accuracy.total:,} test questions "
        f"right: accuracy {accuracy.value:.4f}, 95 % interval [{low:.4f}, {high:.4f}], {verdict} "
        f"({chance:.3f})."
    )


def _condition_answer(result: Record) -> str:
    ranked = sorted(result["condition_numbers"], key=lambda n: float(n["condition_number"]))

    def told(number: Record) -> str:
        value = float(number["condition_number"])
        return f"{value:,.4g} ({number['matrix']} of layer {number['layer']})"

    return f"Condition numbers (2-norm) go from {told(ranked[0])} to {told(ranked[-1])}."


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
        f"{rate:g}{at_shots}: {_change(changes(best), seeds[best])}. It was picked on these very "
        f"examples and so flatters; a search tests its choice on others.{ends}"
    )


def _verdicts(cut: Sequence[Point]) -> str:
    told = [p.change for p in cut if p.change and p.beyond_noise]
    if any(p.change is None for p in cut):
        return f"{len(cut)} truncated models were scored; not all predictions are here to pair."
    up = sum(change.difference > 0 for change in told)
    return (
        f"Of {len(cut)} truncated models, {up} answer better and {len(told) - up} worse than the "
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


def subject(result: Record) -> str:
    """What the run is of, for the title: command, task, model."""
    command = result["command"]
    if isinstance(command, list):
        named = itertools.dropwhile(lambda word: word != "-m", map(str, command))
        command = next(itertools.islice(named, 1, None), str(command[0]))
    task, model = result.get("task"), result.get("model")
    parts = [str(command).removeprefix("experiments.").replace("_", " ").capitalize()]
    if isinstance(task, dict) and "name" in task:
        parts.append(f"task {task['name']}")
    if isinstance(model, dict) and not schema.flaw(model, {"source": schema.TEXT}):
        parts.append(f"model {model['source'].rstrip('/').split('/')[-1]}")
    return ", ".join(parts)
