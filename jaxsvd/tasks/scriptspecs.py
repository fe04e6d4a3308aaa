"""The seven reference scripts as data: rows, templates and label words."""

import dataclasses
from typing import Literal

_SENTIMENT = "\n sentiment :"


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
    published_rows: dict[str, int]
    zero_shot: str | None = None
    stripped: bool = False
    validation: Literal["head", "rest", "split"] = "head"
    test: Literal["rest", "split"] = "split"


SCRIPTS: dict[str, ScriptSpec] = {
    "sst2": ScriptSpec(
        seed=49,
        groups=((1,), (0,)),
        held=4_000,
        drawn=5,
        shots=10,
        body="{sentence}",
        query="text: {body}" + _SENTIMENT,
        demonstration="text: {body}" + _SENTIMENT + " {word} \n",
        zero_shot=(
            "Consider the following text: {body}."
            " Is this text sentiment pos or neg. The sentiment is"
        ),
        stripped=True,
        words=("neg", "pos"),
        label_of=(0, 1),
        test="rest",
        published_rows={"train": 67_349},
    ),
    "agnews": ScriptSpec(
        seed=42,
        groups=((0,), (1,), (2,), (3,)),
        held=2_000,
        drawn=2,
        shots=8,
        body="{text}",
        query="text: {body}" + _SENTIMENT,
        demonstration="text: {body}" + _SENTIMENT + " {word} \n",
        zero_shot=(
            "Consider the following text: {body}. Is this text sentiment world or sports or"
            " business or science? The sentiment is"
        ),
        stripped=True,
        words=("world", "sports", "business", "science"),
        label_of=(0, 1, 2, 3),
        published_rows={"train": 120_000, "test": 7_600},
    ),
    "emoc": ScriptSpec(
        seed=72,
        groups=((0,), (1, 2, 3)),
        held=2_500,
        drawn=5,
        shots=10,
        body="{text}",
        query="text: {body}" + _SENTIMENT,
        demonstration="text: {body}" + _SENTIMENT + " {word} \n",
        zero_shot=(
            "Consider the following text: {body}."
            " Is this text sentiment pos or neg. The sentiment is"
        ),
        stripped=True,
        words=("pos", "neg", "neg", "neg"),
        label_of=(1, 0, 0, 0),
        published_rows={"train": 30_160, "test": 5_509},
    ),
    "mrpc": ScriptSpec(
        seed=42,
        groups=((1,), (0,)),
        held=200,
        drawn=5,
        shots=10,
        body="sentence1: {sentence1} \n sentence2: {sentence2}",
        query="{body}\n label :",
        demonstration="{body}\n label : {word} \n",
        zero_shot=(
            "Consider the following text: {body}."
            " Are these two sentences equal or unequal. The label is"
        ),
        stripped=True,
        words=("false", "true"),
        label_of=(1, 0),
        validation="split",
        published_rows={"train": 3_668, "validation": 408, "test": 1_725},
    ),
    "rte": ScriptSpec(
        seed=66,
        groups=((0,), (1,)),
        held=200,
        drawn=5,
        shots=5,
        body="{premise} Does this mean that {hypothesis} is true? select Yes or No? ",
        query="{body}",
        demonstration="{body}{word}\n",
        words=("Yes", "No"),
        label_of=(0, 1),
        published_rows={"train": 2_490, "validation": 277},
    ),
    "cb": ScriptSpec(
        seed=66,
        groups=((0,), (2,), (1,)),
        held=0,
        drawn=5,
        shots=5,
        body="Suppose {premise} Can we infer that '{hypothesis}'? ",
        query="{body}Yes, or No, or Mi? ",
        demonstration="{body}Yes, No, or Maybe? {word}\n",
        words=("Yes", "No", "Mi"),
        label_of=(0, 1, 2),
        validation="rest",
        published_rows={"train": 250, "validation": 56},
    ),
    "copa": ScriptSpec(
        seed=66,
        groups=((1,), (0,)),
        held=100,
        drawn=5,
        shots=5,
        body="{premise}\n{question}\n",
        query="{body}",
        demonstration="{body}{word}\n",
        words=("{choice1}", "{choice2}"),
        label_of=(0, 1),
        published_rows={"train": 400, "validation": 100},
    ),
}
"""The seven scripts by task."""
