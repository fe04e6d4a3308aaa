"""What a reference script does, as data: rows, templates and label words."""

import dataclasses
from collections.abc import Mapping
from typing import Literal


@dataclasses.dataclass(frozen=True)
class ScriptSpec:
    r"""How a script departs from the task's ``TaskSpec``.

    Attributes:
        seed: of ``Dataset.shuffle``.
        groups: the classes in the order of their interleaving; several may form one group.
        held: rows of each group before the first demonstration; they are the validation set
            where ``validation`` is ``"head"``.
        drawn: demonstrations of each group that are set aside.
        shots: demonstrations in all that the prompts show.
        body: the example as text; ``{body}`` in the other templates.
        query: template of the question.
        demonstration: template of a solved example, with ``{word}`` for label or choice.
        zero_shot: template of the question without demonstrations, where it differs.
        stripped: whether the body is stripped for the question (never for a demonstration).
        words: for each class, the word that demonstrations show.
        label_of: for each class, the position of its label in ``TaskSpec.labels``.
        validation: the ``"head"`` of each group in train, its ``"rest"``, or a ``"split"``.
        test: the ``"rest"`` of each group in train, or a ``"split"``.
        published_rows: how many rows the published splits have.
    """

    seed: int
    groups: tuple[tuple[int, ...], ...]
    held: int
    drawn: int
    shots: int
    body: str
    query: str
    demonstration: str
    words: tuple[str, ...]
    label_of: tuple[int, ...]
    published_rows: Mapping[str, int]
    zero_shot: str | None = None
    stripped: bool = False
    validation: Literal["head", "rest", "split"] = "head"
    test: Literal["rest", "split"] = "split"
