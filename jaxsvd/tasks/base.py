"""What a task hands to scoring: questions made of text, and how to score them."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, runtime_checkable
from typing import Protocol as TypingProtocol


@runtime_checkable
class Table(TypingProtocol):
    """Columns and rows, as a pandas ``DataFrame`` has them."""

    @property
    def columns(self) -> Any:
        """Their names."""

    def to_dict(self, orient: Any) -> Any:
        """The rows, with ``orient="records"``."""


Task: TypeAlias = str | Path | Sequence[Any] | Mapping[str, Any] | Table
"""A task's name, the path of a task file, or examples (:mod:`jaxsvd.tasks.examples`)."""

Rule = Literal["label", "choice", "scripts-label", "scripts-choice"]
"""How the candidates of a question are scored.

``label``: by the candidate's token after the prompt, the two encoded jointly; by the sum of
its tokens' log-probabilities where a candidate has several tokens or shares its first.
``choice``: mean log-probability per token of the candidate.
``scripts-label``: by the logit of the label word's own token, encoded apart from the prompt,
as the reference scripts do.
``scripts-choice``: mean of the raw logits over all positions and the whole vocabulary, as the
reference scripts do for COPA (not a likelihood; for comparison only).
"""

Protocol = Literal["clean", "scripts"]


@dataclasses.dataclass(frozen=True)
class Question:
    """One example to be scored.

    Attributes:
        split: ``"validation"`` or ``"test"``.
        index: row of the example in its source split.
        demonstrations: texts shown before the query, in order.
        query: the text that ends where a candidate would begin.
        candidates: the texts compared as continuations, in label order (``(" neg", " pos")``).
        gold: position of the right candidate.
    """

    split: str
    index: int
    demonstrations: tuple[str, ...]
    query: str
    candidates: tuple[str, ...]
    gold: int

    @property
    def prompt(self) -> str:
        """The exact text before the candidates."""
        return "".join(self.demonstrations) + self.query


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A task with its data drawn: nothing random is left.

    Attributes:
        name: the task's name.
        source: where the rows came from (hub id and revision, or files).
        protocol: ``"clean"`` or ``"scripts"``.
        rule: how candidates are scored.
        labels: the label words in label order; for choices ``("1", "2")``.
        shots: demonstrations in all.
        seed: what the draw was made with.
        round_size: demonstrations that form one balanced round (the number of classes); a
            prompt too long for the model loses whole rounds from the front.
        validation: questions that choose the rate.
        test: questions that report it.
        notices: one line each, for the user to see.
        template: of the query, with the names of its fields in braces; None where there is none.
    """

    name: str
    source: str
    protocol: Protocol
    rule: Rule
    labels: tuple[str, ...]
    shots: int
    seed: int
    round_size: int
    validation: tuple[Question, ...]
    test: tuple[Question, ...]
    notices: tuple[str, ...] = ()
    template: str | None = None

    def only(self, splits: Collection[str]) -> "Prepared":
        """The same task with the questions of some of its splits."""
        return dataclasses.replace(
            self,
            validation=self.validation if "validation" in splits else (),
            test=self.test if "test" in splits else (),
        )
