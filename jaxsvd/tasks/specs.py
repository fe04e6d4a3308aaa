"""The seven tasks of the paper as data: templates, labels, sizes and where the rows come from.

Templates and label words are those of the paper's Table 1, sizes those of its Appendix C.3
(arXiv 2406.03768). How a template becomes a prompt stands in ``clean.py``; what the authors'
scripts do instead, in ``scripts.py``.
"""

import dataclasses
import functools
import re
import unicodedata
from typing import Literal

Kind = Literal["labels", "choices"]

_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One raw example.

    Attributes:
        index: 0-based row in its source split.
        fields: the texts that the template uses, by field name, as they were read.
        label: position in ``TaskSpec.classes``.
    """

    index: int
    fields: dict[str, str]
    label: int


@dataclasses.dataclass(frozen=True)
class HubSource:
    """A data set on the Hugging Face hub.

    Attributes:
        repository: its id.
        config: its configuration, where it has several.
        revision: branch, tag or commit; ``None`` is the main branch.
    """

    repository: str
    config: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        """``repository/config@revision``."""
        config = f"/{self.config}" if self.config else ""
        return f"{self.repository}{config}@{self.revision or 'main'}"


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a user's own files are read.

    Attributes:
        encoding: of csv, tsv and jsonl files, as Python names it.
        skip: rows that are left out instead of refused: ``"unlisted"`` (a class that the task
            does not list, or none) and ``"blank"`` (a text that is missing or blank).
        shares: where one file holds all rows: each split's share of them; what is left is test.
        seed: of the draw that splits them.
    """

    encoding: str = "utf-8"
    skip: tuple[str, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """A task, before any data is read.

    Attributes:
        name: what users type.
        description: one line.
        kind: ``"labels"``: label words are compared after the query; ``"choices"``: every row
            brings its own candidate texts.
        template: the query, with the row's fields in braces; it ends right before the space
            that precedes the label or the choice.
        labels: the label words in label order; for choices their numbers from 1.
        classes: the data set's own classes, in its own order.
        label_of: for each class, the position of its label word in ``labels``.
        shots: default number of demonstrations.
        validation_size: default number of validation rows; ``None`` is all that there are.
        test_size: default number of test rows; ``None`` is all that there are.
        validation_split: source split of the validation rows.
        test_split: source split of the test rows.
        choices: the fields with the candidate texts, for ``kind="choices"``.
        label_field: the field with the class.
        numbered: whether rows may give the class as its number, as the hub does.
        hub: where the hub has the data.
        reading: how files are read.
    """

    name: str
    description: str
    kind: Kind
    template: str
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    label_of: tuple[int, ...]
    shots: int
    validation_size: int | None
    test_size: int | None
    validation_split: str = "train"
    test_split: str = "test"
    choices: tuple[str, ...] = ()
    label_field: str = "label"
    numbered: bool = True
    hub: HubSource | None = None
    reading: Reading = Reading()

    @functools.cached_property
    def fields(self) -> tuple[str, ...]:
        """The text fields that a row must have, in the order of their use."""
        return tuple(dict.fromkeys((*_FIELD.findall(self.template), *self.choices)))

    @functools.cached_property
    def class_of(self) -> dict[str, int]:
        """What a row may say for its class, as composed Unicode (NFC), and the class meant."""
        numbers = {str(i): i for i in range(len(self.classes))} if self.numbered else {}
        named = {unicodedata.normalize("NFC", name): i for i, name in enumerate(self.classes)}
        return numbers | named

    @property
    def splits(self) -> tuple[str, ...]:
        """The source splits that the task reads, train first."""
        return tuple(dict.fromkeys(("train", self.validation_split, self.test_split)))


def field_names(template: str) -> list[str]:
    """The names in a template's braces, as often as they stand there."""
    return _FIELD.findall(template)


def fill(template: str, values: dict[str, str]) -> str:
    """The template with every ``{name}`` replaced, once: braces within the values stay.

    Args:
        template: text with names in braces.
        values: a text for every name.

    Returns:
        The text.
    """
    return _FIELD.sub(lambda match: values[match.group(1)], template)


_SUPERGLUE = "aps/super_glue"

SPECS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec(
            name="sst2",
            description="SST-2: is a phrase of a film review positive or negative",
            kind="labels",
            template="text: {sentence} sentiment:",
            labels=("neg", "pos"),
            classes=("negative", "positive"),
            label_of=(0, 1),
            shots=10,
            validation_size=8_000,
            # What the paper's 67,349 training rows leave. The published test rows have no labels.
            test_size=59_339,
            test_split="train",
            hub=HubSource("stanfordnlp/sst2"),
        ),
        TaskSpec(
            name="agnews",
            description="AG News: the topic of a news item",
            kind="labels",
            template="text: {text} classification:",
            labels=("world", "sports", "business", "science"),
            classes=("World", "Sports", "Business", "Sci/Tech"),
            label_of=(0, 1, 2, 3),
            shots=8,
            validation_size=8_000,
            test_size=7_600,
            hub=HubSource("fancyzhx/ag_news"),
        ),
        TaskSpec(
            name="emoc",
            description="EmoContext: is the speaker of a short dialogue happy, or not",
            kind="labels",
            template="text: {text} sentiment:",
            labels=("neg", "pos"),
            classes=("others", "happy", "sad", "angry"),
            label_of=(0, 1, 0, 0),
            shots=10,
            validation_size=5_000,
            test_size=5_509,
            hub=HubSource("SemEvalWorkshop/emo", revision="refs/convert/parquet"),
        ),
        TaskSpec(
            name="mrpc",
            description="MRPC: do two sentences say the same",
            kind="labels",
            template="sentence1: {sentence1} sentence2: {sentence2} label :",
            # Table 1's order of words, which is not the order of the classes.
            labels=("true", "false"),
            classes=("not_equivalent", "equivalent"),
            label_of=(1, 0),
            shots=10,
            validation_size=408,
            test_size=1_725,
            validation_split="validation",
            hub=HubSource("nyu-mll/glue", "mrpc"),
        ),
        TaskSpec(
            name="rte",
            description="RTE (SuperGLUE): does a premise entail a hypothesis",
            kind="labels",
            template="{premise} Does this mean that {hypothesis} is true? select Yes or No?",
            labels=("Yes", "No"),
            classes=("entailment", "not_entailment"),
            label_of=(0, 1),
            shots=10,
            validation_size=2_480,
            test_size=277,
            test_split="validation",
            hub=HubSource(_SUPERGLUE, "rte"),
        ),
        TaskSpec(
            name="cb",
            description="CB (SuperGLUE): does a premise entail, contradict or leave open",
            kind="labels",
            template=("Suppose {premise} Can we infer that '{hypothesis}'? Yes, No, or Maybe?"),
            labels=("Yes", "No", "Maybe"),
            classes=("entailment", "contradiction", "neutral"),
            label_of=(0, 1, 2),
            shots=15,
            validation_size=235,
            test_size=56,
            test_split="validation",
            hub=HubSource(_SUPERGLUE, "cb"),
        ),
        TaskSpec(
            name="copa",
            description="COPA (SuperGLUE): the more plausible cause or effect of two",
            kind="choices",
            template="{premise} {question}",
            labels=("1", "2"),
            classes=("choice1", "choice2"),
            label_of=(0, 1),
            shots=10,
            validation_size=200,
            test_size=100,
            test_split="validation",
            choices=("choice1", "choice2"),
            hub=HubSource(_SUPERGLUE, "copa"),
        ),
    )
}
"""The built-in tasks by name, in the paper's order."""
