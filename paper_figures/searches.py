"""What Algorithm 1 found, by model, task, module and layer (Figure 4, Tables 2 to 8)."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.language.pooled import binomial_interval, spread_of
from jaxsvd.results.statistics import Accuracy
from paper_figures import shapes
from paper_figures.reading import Key, Source


@dataclass(frozen=True)
class Search:
    """One search: one demonstration seed.

    Attributes:
        seed: of the draw.
        layer: the layer truncated.
        rate: the clipping rate that was best on the validation set.
        base, pruned: on the test set.
        difference, interval, p_value: pruned less base, paired by example.
    """

    seed: int
    layer: int
    rate: float
    base: Accuracy
    pruned: Accuracy
    difference: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class Pooled:
    """A quantity over the seeds; ``spread`` is its sample standard deviation, None of one seed."""

    mean: float
    spread: float | None


@dataclass(frozen=True)
class Outcome:
    """The searches of a model, task, module and layer, of one run.

    Attributes:
        searches: by seed.
        base, pruned, difference: over the seeds.
        shots: demonstrations in all; None where the run does not tell one number.
        chance: accuracy of a uniform guess.
        source: the run.
    """

    searches: tuple[Search, ...]
    base: Pooled
    pruned: Pooled
    difference: Pooled
    shots: int | None
    chance: float
    source: Source

    def interval(self, name: str) -> tuple[float, float]:
        """95 % Wilson interval of ``"base"`` or ``"pruned"``: one seed's examples, at the mean."""
        found: list[Accuracy] = [getattr(search, name) for search in self.searches]
        return binomial_interval([a.correct for a in found], [a.total for a in found])

    @property
    def significant(self) -> int:
        """For how many seeds McNemar's exact test rejects equality at 5 %."""
        return sum(search.p_value < 0.05 for search in self.searches)


@dataclass(frozen=True)
class Place:
    """What tells outcomes apart; a later run's replaces an earlier one's."""

    model: Key
    task: str
    module: str
    layer: int


def outcomes(sources: Iterable[Source]) -> dict[Place, Outcome]:
    """The outcomes of ``algorithm1`` runs and plain searches, the newest of each.

    Args:
        sources: the oldest first.

    Raises:
        UserError: a run is damaged.
    """
    found: dict[Place, Outcome] = {}
    for source in sources:
        if source.kind == "algorithm1":
            found |= _experiment(source)
        elif source.kind == "search":
            found |= _plain(source)
    return found


def _experiment(source: Source) -> dict[Place, Outcome]:
    result = source.require(shapes.ALGORITHM)
    source.check_layers(result["searches"])
    found = {}
    for entry in result["summary"]:
        task, module, layer = entry["task"], entry["module"], entry["layer"]
        searches = tuple(
            _search(s, s["seed"])
            for s in result["searches"]
            if (s["task"], s["module"], s["layer"]) == (task, module, layer)
        )
        if sorted(s.seed for s in searches) != sorted(entry["seeds"]):
            raise source.damaged(f"the searches and the summary of {task}, {module}: other seeds")
        made = _outcome(searches, result["tasks"].get(task), source, task)
        for name in ("base", "pruned", "difference"):
            told, counted = entry[f"{name}_mean"], getattr(made, name).mean
            if not math.isclose(told, counted, abs_tol=1e-9):
                raise source.damaged(
                    f"{task}, {module}: {name}_mean should be {counted:.6g}, is {told:.6g}"
                )
        found[Place(source.model, task, module, layer)] = made
    return found


def _plain(source: Source) -> dict[Place, Outcome]:
    result = source.require(shapes.SEARCH)
    source.check_layers([result])
    task, seed = result["task"], result["task"].get("seed", 0)
    search = _search(result, seed if isinstance(seed, int) else 0)
    place = Place(source.model, task["name"], result["module"], search.layer)
    return {place: _outcome((search,), task, source, task["name"])}


def _search(entry: Mapping[str, Any], seed: int) -> Search:
    test = entry["test"]
    low, high = test["interval"]
    return Search(
        seed=seed,
        layer=entry["layer"],
        rate=entry["best_rate"],
        base=Accuracy(test["base"]["correct"], test["base"]["total"]),
        pruned=Accuracy(test["pruned"]["correct"], test["pruned"]["total"]),
        difference=test["difference"],
        interval=(low, high),
        p_value=test["p_value"],
    )


def _outcome(searches: tuple[Search, ...], task: Any, source: Source, name: str) -> Outcome:
    if task is None:
        raise source.damaged(f"tasks has no {name!r}")
    for search in searches:
        change = search.pruned.value - search.base.value
        if not math.isclose(change, search.difference, abs_tol=1e-9):
            raise source.damaged(
                f"{name}, seed {search.seed}: the difference should be {change:.6g}, "
                f"is {search.difference:.6g}"
            )
    shots = task.get("shots")
    if isinstance(shots, list) and len(shots) == 1:
        shots = shots[0]
    return Outcome(
        searches=searches,
        base=_pooled([s.base.value for s in searches]),
        pruned=_pooled([s.pruned.value for s in searches]),
        difference=_pooled([s.difference for s in searches]),
        shots=shots if isinstance(shots, int) else None,
        chance=task["chance"],
        source=source,
    )


def _pooled(values: list[float]) -> Pooled:
    return Pooled(statistics.fmean(values), spread_of(values))
