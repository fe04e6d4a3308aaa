"""What a search among many truncations tried, what it spent, and what it may promise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxsvd.results.fields import COUNT, FLAG, NUMBER, TEXT, Fields
from jaxsvd.results.points import holm
from jaxsvd.results.records import without_none


@dataclass(frozen=True)
class Tried:
    """A candidate that was scored.

    Attributes:
        edits: as they are written; empty for the untouched model.
        score: mean over the examples that it was scored on.
        examples: how many these are, of all draws together.
        p_value: of its accuracy against the untouched model on validation; None of the untouched
            model, and of a candidate that was not scored on all examples.
        beyond_noise: whether that test rejects at 5 % after Holm's correction over all that were
            tried.
        predicted: change of the loss that its gradient predicts; None where none was taken.
    """

    edits: str
    score: float
    examples: int
    p_value: float | None = None
    beyond_noise: bool | None = None
    predicted: float | None = None

    def to_json(self) -> dict[str, object]:
        """One of ``tried``."""
        known = {"edits": self.edits, "score": self.score, "examples": self.examples}
        return known | without_none(
            p_value=self.p_value, beyond_noise=self.beyond_noise, predicted=self.predicted
        )

    @classmethod
    def from_json(cls, fields: Fields) -> "Tried":
        """As written."""
        return cls(
            edits=fields.read("edits", TEXT),
            score=fields.read("score", NUMBER),
            examples=fields.read("examples", COUNT),
            p_value=fields.maybe("p_value", NUMBER),
            beyond_noise=fields.maybe("beyond_noise", FLAG),
            predicted=fields.maybe("predicted", NUMBER),
        )


def corrected(tried: Sequence[Tried], p_values: Mapping[str, float]) -> tuple[Tried, ...]:
    """Candidates with their p-values, and Holm's correction over all of them."""
    beyond = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return tuple(
        Tried(
            one.edits,
            one.score,
            one.examples,
            p_values.get(one.edits),
            beyond.get(one.edits),
            one.predicted,
        )
        for one in tried
    )


@dataclass(frozen=True)
class Candidates:
    """How one truncation, or several together, were chosen among many.

    Attributes:
        select: by which method.
        chosen: the edits, as they are written; empty where the untouched model was the best.
        count: candidates, the untouched model among them.
        tried: those that were scored, in the order of the candidates.
        passes: examples times the variants that they were scored under, on validation; an example
            of a gradient counts as three, for its backward pass costs two forward passes.
        exhaustive: passes that scoring every candidate on every example takes.
        gradient_examples: of the backward pass; None where there was none.
        epsilon: of a race: with probability 1 - delta no candidate is better by more.
        delta: of a race.
        margin: of greedy search: what an addition has to bring.
    """

    select: str
    chosen: str
    count: int
    tried: tuple[Tried, ...]
    passes: int
    exhaustive: int
    gradient_examples: int | None = None
    epsilon: float | None = None
    delta: float | None = None
    margin: float | None = None

    def to_json(self) -> dict[str, object]:
        """The ``candidates`` object."""
        return {
            "select": self.select,
            "chosen": self.chosen,
            "count": self.count,
            "passes": self.passes,
            "exhaustive_passes": self.exhaustive,
        } | without_none(
            gradient_examples=self.gradient_examples,
            epsilon=self.epsilon,
            delta=self.delta,
            margin=self.margin,
            tried=[one.to_json() for one in self.tried],
        )

    @classmethod
    def from_json(cls, fields: Fields) -> "Candidates":
        """As written."""
        return cls(
            select=fields.read("select", TEXT),
            chosen=fields.read("chosen", TEXT),
            count=fields.read("count", COUNT),
            tried=tuple(map(Tried.from_json, fields.objects("tried"))),
            passes=fields.read("passes", COUNT),
            exhaustive=fields.read("exhaustive_passes", COUNT),
            gradient_examples=fields.maybe("gradient_examples", COUNT),
            epsilon=fields.maybe("epsilon", NUMBER),
            delta=fields.maybe("delta", NUMBER),
            margin=fields.maybe("margin", NUMBER),
        )
