"""What Algorithm 1 found, by model, task, module and layer (Figure 4, Tables 2 to 8)."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiments.language.pooled import binomial_interval, spread_of
from jaxsvd.results.fields import CHANGE, COUNT, SHARE, TEXT, WHOLE, Fields
from jaxsvd.results.header import read_model
from jaxsvd.results.records import Several
from jaxsvd.results.search import SearchResult
from jaxsvd.results.search_draw import Tested, TestedDraw
from jaxsvd.results.statistics import Accuracy
from paper_figures.reading import Key, Source, read_chances


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

    searches: tuple[TestedDraw, ...]
    base: Pooled
    pruned: Pooled
    difference: Pooled
    shots: int | None
    chance: float
    source: Source

    def interval(self, name: str) -> tuple[float, float]:
        """95 % Wilson interval of ``"base"`` or ``"pruned"``: one seed's examples, at the mean."""
        accuracies: list[Accuracy] = [getattr(search.tested, name) for search in self.searches]
        return binomial_interval([a.correct for a in accuracies], [a.total for a in accuracies])

    @property
    def significant(self) -> int:
        """For how many seeds McNemar's exact test rejects equality at 5 %."""
        return sum(search.tested.paired.significant for search in self.searches)


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
    by_place: dict[Place, Outcome] = {}
    for source in sources:
        if source.kind == "algorithm1":
            by_place |= _experiment(source)
        elif source.kind == "search":
            by_place |= _plain(source)
    return by_place


@dataclass(frozen=True)
class Summary:
    """One of the ``summary`` of algorithm1: means over the seeds of a task, module and layer."""

    task: str
    module: str
    layer: int
    seeds: tuple[int, ...]
    means: Mapping[str, float]

    @classmethod
    def from_json(cls, fields: Fields) -> "Summary":
        """As written."""
        means = {name: fields.read(f"{name}_mean", SHARE) for name in ("base", "pruned")}
        means["difference"] = fields.read("difference_mean", CHANGE)
        return cls(
            task=fields.read("task", TEXT),
            module=fields.read("module", TEXT),
            layer=fields.read("layer", WHOLE),
            seeds=fields.several("seeds", COUNT),
            means=means,
        )


def _experiment(source: Source) -> dict[Place, Outcome]:
    source.read(read_model)
    chances, shots = source.read(read_chances), source.read(_shots)
    every = source.read(lambda f: [TestedDraw.from_json(s) for s in f.objects("searches")])
    source.check_layers(draw.layer for draw in every)
    read = {}
    for entry in source.read(lambda f: [Summary.from_json(s) for s in f.objects("summary")]):
        task, module, layer = entry.task, entry.module, entry.layer
        searches = tuple(
            draw for draw in every if (draw.task, draw.module, draw.layer) == (task, module, layer)
        )
        if sorted(draw.seed for draw in searches) != sorted(entry.seeds):
            raise source.damaged(f"the searches and the summary of {task}, {module}: other seeds")
        if task not in chances:
            raise source.damaged(f"tasks has no {task!r}")
        outcome = _outcome(searches, shots[task], chances[task], source)
        for name, recorded in entry.means.items():
            mean = getattr(outcome, name).mean
            if not math.isclose(recorded, mean, abs_tol=1e-9):
                raise source.damaged(
                    f"{task}, {module}: {name}_mean should be {mean:.6g}, is {recorded:.6g}"
                )
        read[Place(source.model, task, module, layer)] = outcome
    return read


def _shots(fields: Fields) -> dict[str, int | None]:
    """By task; None where it was drawn with several numbers of shots."""
    tasks = fields.nested("tasks")
    read = {}
    for name in tasks.values:
        task = tasks.nested(name)
        shots = task.one_or_more("shots", COUNT) if task.has("shots") else None
        read[name] = _one(shots)
    return read


def _one(shots: Several) -> int | None:
    if isinstance(shots, tuple):
        return shots[0] if len(shots) == 1 else None
    return shots


def _plain(source: Source) -> dict[Place, Outcome]:
    result = source.read(SearchResult.from_json)
    source.check_layers([result.layer])
    task, (shots, seed) = result.task, result.task.draw
    tested = Tested(result.base, result.pruned, result.paired)
    draw = TestedDraw(
        task=task.name,
        module=result.module,
        seed=seed or 0,
        layer=result.layer,
        best_rate=result.best_rate,
        tested=tested,
    )
    place = Place(source.model, task.name, result.module, result.layer)
    return {place: _outcome((draw,), shots, task.chance, source)}


def _outcome(
    searches: tuple[TestedDraw, ...], shots: int | None, chance: float, source: Source
) -> Outcome:
    for draw in searches:
        tested = draw.tested
        change = tested.pruned.value - tested.base.value
        if not math.isclose(change, tested.paired.difference, abs_tol=1e-9):
            raise source.damaged(
                f"{draw.task}, seed {draw.seed}: the difference should be {change:.6g}, "
                f"is {tested.paired.difference:.6g}"
            )
    return Outcome(
        searches=searches,
        base=_pooled([draw.tested.base.value for draw in searches]),
        pruned=_pooled([draw.tested.pruned.value for draw in searches]),
        difference=_pooled([draw.tested.paired.difference for draw in searches]),
        shots=shots,
        chance=chance,
        source=source,
    )


def _pooled(values: list[float]) -> Pooled:
    return Pooled(statistics.fmean(values), spread_of(values))
