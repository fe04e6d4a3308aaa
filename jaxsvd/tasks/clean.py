"""The default protocol: Table 1's templates, every demonstration used, nothing else.

A demonstration is the filled template, a space, the label word and a newline; the query is the
filled template. A newline therefore ends a demonstration and nothing else: runs of whitespace
within a field are folded to one space (the ``scripts`` protocol leaves them alone).
"""

import dataclasses
from collections.abc import Sequence

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.base import Prepared, Question, Rule
from jaxsvd.tasks.sources import Splits
from jaxsvd.tasks.specs import Row, TaskSpec, field_names, fill
from jaxsvd.tasks.splits import Sizes, draw


def prepare(
    spec: TaskSpec,
    splits: Splits,
    source: str,
    *,
    seed: int,
    sizes: Sizes,
    zero_shot: str | None = None,
) -> Prepared:
    """Draws a task's rows and writes its questions.

    Args:
        spec: the task.
        splits: its rows by source split.
        source: where they came from.
        seed: for all draws.
        sizes: what the user asked for.
        zero_shot: template of the query where nothing is demonstrated, if it is another one.

    Returns:
        The task, ready to be scored.

    Raises:
        UserError: a size that can't be met.
    """
    drawn = draw(spec, splits, seed=seed, sizes=sizes)
    requested = spec
    if zero_shot is not None and not drawn.demonstrations:
        requested = dataclasses.replace(spec, template=zero_shot)
    demonstrations = tuple(demonstration(spec, row) for row in drawn.demonstrations)

    def questions(split: str, rows: tuple[Row, ...]) -> tuple[Question, ...]:
        return tuple(
            Question(
                split=split,
                index=row.index,
                demonstrations=demonstrations,
                query=query(requested, row),
                candidates=candidates(spec, row),
                gold=spec.label_of[row.label],
            )
            for row in rows
        )

    rule: Rule = "choice" if spec.kind == "choices" else "label"
    return Prepared(
        name=spec.name,
        source=source,
        protocol="clean",
        rule=rule,
        labels=spec.labels,
        shots=len(demonstrations),
        seed=seed,
        round_size=len(spec.demonstrated),
        validation=questions("validation", drawn.validation),
        test=questions("test", drawn.test),
        notices=drawn.notices,
        template=requested.template,
    )


def content_free(prepared: Prepared, texts: Sequence[str]) -> tuple[Question, ...]:
    """Questions of a test split whose query says nothing of its own: every field is one text.

    Args:
        prepared: gives the template, the demonstrations and the labels.
        texts: what stands in every field, for example ``N/A``.

    Raises:
        UserError: the task has no template, or candidates of their own for every question.
    """
    if prepared.template is None or prepared.rule != "label":
        raise UserError(f"{prepared.name}: only tasks with labels and a template have such queries")
    first = (*prepared.test, *prepared.validation)[0]
    names = set(field_names(prepared.template))
    return tuple(
        dataclasses.replace(
            first,
            split="test",
            index=i,
            query=fill(prepared.template, dict.fromkeys(names, fold(text))),
            gold=0,
        )
        for i, text in enumerate(texts)
    )


def fold(text: str) -> str:
    """The text without outer whitespace and with single spaces inside.

    Args:
        text: a field.

    Returns:
        The text on one line.
    """
    return " ".join(text.split())


def query(spec: TaskSpec, row: Row) -> str:
    """The filled template, which ends right before the space of the label.

    Args:
        spec: the task.
        row: an example.

    Returns:
        The text.
    """
    return fill(spec.template, {name: fold(value) for name, value in row.fields.items()})


def candidates(spec: TaskSpec, row: Row) -> tuple[str, ...]:
    """What may follow the query, each with its leading space, in label order.

    Args:
        spec: the task.
        row: an example; its fields matter for choices only.

    Returns:
        The texts.
    """
    if spec.kind == "choices":
        return tuple(" " + fold(row.fields[name]) for name in spec.choices)
    return tuple(" " + word for word in spec.labels)


def demonstration(spec: TaskSpec, row: Row) -> str:
    """A solved example, one line.

    Args:
        spec: the task.
        row: an example.

    Returns:
        The text with its newline.
    """
    return query(spec, row) + candidates(spec, row)[spec.label_of[row.label]] + "\n"
