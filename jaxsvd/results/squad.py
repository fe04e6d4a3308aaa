"""Answers in free text, and how many are right by which rule."""

import math
from dataclasses import dataclass

from jaxsvd.results.statistics import Accuracy


@dataclass(frozen=True)
class WrittenAnswer:
    """What a model wrote to one question.

    Attributes:
        id: of the question.
        text: up to the first newline, without white space around it.
        exact: whether it is a gold answer after SQuAD's normalisation.
        f1: of its words, at the best gold answer.
        contains: whether a gold answer stands in it: the reference script's rule.
    """

    id: str
    text: str
    exact: bool
    f1: float
    contains: bool

    def to_json(self) -> dict[str, object]:
        """A line of a file."""
        return {
            "id": self.id,
            "text": self.text,
            "exact": self.exact,
            "f1": self.f1,
            "contains_gold": self.contains,
        }


@dataclass(frozen=True)
class SquadResult:
    """Answers to questions of SQuAD, at least one.

    Attributes:
        answers: one a question.
        shots: demonstrations before each question.
        seed: of their draw and of the questions'.
        cut: how many prompts lost demonstrations to the model's context.
    """

    answers: tuple[WrittenAnswer, ...]
    shots: int
    seed: int
    cut: int = 0

    @property
    def exact(self) -> Accuracy:
        """Exact matches."""
        return Accuracy(sum(a.exact for a in self.answers), len(self.answers))

    @property
    def contains(self) -> Accuracy:
        """Answers that contain a gold one."""
        return Accuracy(sum(a.contains for a in self.answers), len(self.answers))

    @property
    def f1(self) -> float:
        """Mean over the questions."""
        return math.fsum(a.f1 for a in self.answers) / len(self.answers)

    def to_json(self) -> dict[str, object]:
        """Everything, for a file."""
        return {
            "task": "squad",
            "shots": self.shots,
            "seed": self.seed,
            "prompts_cut": self.cut,
            "exact_match": self.exact.to_json(),
            "f1": self.f1,
            "contains_gold": self.contains.to_json(),
            "answers": [answer.to_json() for answer in self.answers],
        }
