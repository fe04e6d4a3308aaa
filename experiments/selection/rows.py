"""A search by one method on one draw, as the experiment's table and picture need it."""

from dataclasses import dataclass

from jaxsvd.results.explanation import Change
from jaxsvd.results.fields import COUNT, INTERVAL, NUMBER, TEXT, WHOLE, Fields
from jaxsvd.results.search import SearchResult
from jaxsvd.results.statistics import PairedDifference


@dataclass(frozen=True)
class Gain:
    """A change of test accuracy.

    Attributes:
        difference: truncated less untouched; 0 where nothing is truncated.
        interval: 95 %, paired.
    """

    difference: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, change: PairedDifference | Change) -> "Gain":
        """From a search's result."""
        return cls(change.difference, change.interval)

    def to_json(self) -> dict[str, object]:
        """As written."""
        return {"difference": self.difference, "interval": list(self.interval)}

    @classmethod
    def from_json(cls, fields: Fields) -> "Gain":
        """As written."""
        return cls(fields.read("difference", NUMBER), fields.read("interval", INTERVAL))


@dataclass(frozen=True)
class SelectionRow:
    """A search.

    Attributes:
        task, seed: of the draw.
        method: ``select``; of Algorithm 1 with its module.
        chosen: the edits, as they are written; empty where the model is left alone.
        candidates: how many there were.
        passes: examples times variants on validation, see :class:`Candidates`.
        exhaustive: passes that scoring all candidates takes.
        search_seconds: of the search, without loading and encoding.
        score: the choice's on validation.
        raw: change of test accuracy as the model answers.
        calibrated: the same with a fitted label prior; None where nothing was truncated or it
            cannot be had.
    """

    task: str
    seed: int
    method: str
    chosen: str
    candidates: int
    passes: int
    exhaustive: int
    search_seconds: float
    score: float
    raw: Gain
    calibrated: Gain | None

    @classmethod
    def of(cls, result: SearchResult, method: str, count: int) -> "SelectionRow":
        """From a search among ``count`` candidates, the untouched model among them."""
        examples = result.task.validation_size or 0
        candidates, explained = result.candidates, result.explanation
        chosen = f"{result.layer}:{result.module}:{result.best_rate:g}" if result.best_rate else ""
        seconds = result.measured.seconds or {}
        best = max(score.value for score in result.validation)
        return cls(
            task=result.task.name,
            seed=result.task.draw[1] or 0,
            method=method,
            chosen=chosen if candidates is None else candidates.chosen,
            candidates=count,
            passes=len(result.validation) * examples if candidates is None else candidates.passes,
            exhaustive=count * examples,
            search_seconds=sum(
                seconds.get(n, 0.0) for n in ("condition", "factor", "select", "score")
            ),
            score=best,
            raw=Gain.of(result.paired),
            calibrated=None if explained is None else Gain.of(explained.fitted_prior),
        )

    def to_json(self) -> dict[str, object]:
        """One of ``rows``."""
        calibrated = None if self.calibrated is None else self.calibrated.to_json()
        return vars(self) | {"raw": self.raw.to_json(), "calibrated": calibrated}

    @classmethod
    def from_json(cls, fields: Fields) -> "SelectionRow":
        """As written."""
        return cls(
            task=fields.read("task", TEXT),
            seed=fields.read("seed", COUNT),
            method=fields.read("method", TEXT),
            chosen=fields.read("chosen", TEXT),
            candidates=fields.read("candidates", WHOLE),
            passes=fields.read("passes", COUNT),
            exhaustive=fields.read("exhaustive", COUNT),
            search_seconds=fields.read("search_seconds", NUMBER),
            score=fields.read("score", NUMBER),
            raw=Gain.from_json(fields.nested("raw")),
            calibrated=Gain.from_json(fields.nested("calibrated"))
            if fields.has("calibrated")
            else None,
        )
