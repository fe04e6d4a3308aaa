"""What a search has of one draw of demonstrations: accuracy by clipping rate, and the test."""

from dataclasses import dataclass

from jaxsvd.results.explanation import Explanation
from jaxsvd.results.fields import COUNT, NUMBER, RATE, TEXT, WHOLE, Fields
from jaxsvd.results.records import without_none
from jaxsvd.results.statistics import Accuracy, PairedDifference


@dataclass(frozen=True)
class RateScore:
    """Validation accuracy at a clipping rate.

    Attributes:
        rate, rank: how much is cut; the rank is None where nothing is.
        accuracy: on the validation set.
        score: what the rate was chosen by; None where that is accuracy.
    """

    rate: float
    rank: int | None
    accuracy: Accuracy
    score: float | None = None

    @property
    def value(self) -> float:
        """What the rate was chosen by."""
        return self.accuracy.value if self.score is None else self.score

    def to_json(self) -> dict[str, object]:
        """One of ``validation``."""
        at: dict[str, object] = {"rate": self.rate, "rank": self.rank}
        return at | self.accuracy.to_json() | without_none(score=self.score)

    @classmethod
    def from_json(cls, fields: Fields) -> "RateScore":
        """As written."""
        return cls(
            rate=fields.read("rate", RATE),
            rank=None if fields.raw("rank") is None else fields.read("rank", WHOLE),
            accuracy=Accuracy.from_json(fields),
            score=fields.maybe("score", NUMBER),
        )


@dataclass(frozen=True)
class Tested:
    """The test set under the untouched and the truncated model.

    Attributes:
        base: nothing truncated.
        pruned: at the best rate.
        paired: the two compared, example by example.
    """

    base: Accuracy
    pruned: Accuracy
    paired: PairedDifference

    def to_json(self) -> dict[str, object]:
        """The ``test`` object."""
        return {"base": self.base.to_json(), "pruned": self.pruned.to_json()} | (
            self.paired.to_json()
        )

    @classmethod
    def from_json(cls, fields: Fields) -> "Tested":
        """As written.

        Raises:
            Damaged: a field is missing or cannot be.
        """
        return cls(
            base=Accuracy.from_json(fields.nested("base")),
            pruned=Accuracy.from_json(fields.nested("pruned")),
            paired=PairedDifference.from_json(fields),
        )


@dataclass(frozen=True)
class SearchDraw:
    """One draw of a search over several: what a search of it alone would have.

    Attributes:
        seed: of the draw.
        validation: by rate, ascending.
        best_rate: the best on this draw's validation set.
        tested: the test set at that rate.
        explanation: of that change.
        chosen: the test set at the rate that the search chose, on the mean of all draws.
    """

    seed: int
    validation: tuple[RateScore, ...]
    best_rate: float
    tested: Tested
    explanation: Explanation | None
    chosen: Tested

    def to_json(self) -> dict[str, object]:
        """One of ``draws``."""
        return {
            "seed": self.seed,
            "validation": [score.to_json() for score in self.validation],
            "best_rate": self.best_rate,
            "test": self.tested.to_json(),
            "explanation": None if self.explanation is None else self.explanation.to_json(),
            "test_at_chosen_rate": self.chosen.to_json(),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "SearchDraw":
        """As written."""
        explanation = fields.nested("explanation") if fields.has("explanation") else None
        return cls(
            seed=fields.read("seed", COUNT),
            validation=tuple(map(RateScore.from_json, fields.objects("validation"))),
            best_rate=fields.read("best_rate", RATE),
            tested=Tested.from_json(fields.nested("test")),
            explanation=explanation and Explanation.from_json(explanation),
            chosen=Tested.from_json(fields.nested("test_at_chosen_rate")),
        )


@dataclass(frozen=True)
class TestedDraw:
    """One of the ``searches`` of the algorithm1 experiment.

    Attributes:
        task, module, seed, layer: what was truncated, on which draw.
        best_rate: chosen on validation.
        tested: on the test set.
    """

    task: str
    module: str
    seed: int
    layer: int
    best_rate: float
    tested: Tested

    @classmethod
    def from_json(cls, fields: Fields) -> "TestedDraw":
        """As written."""
        return cls(
            task=fields.read("task", TEXT),
            module=fields.read("module", TEXT),
            seed=fields.read("seed", COUNT),
            layer=fields.read("layer", WHOLE),
            best_rate=fields.read("best_rate", RATE),
            tested=Tested.from_json(fields.nested("test")),
        )
