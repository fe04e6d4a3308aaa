"""An answer of the study, a table that a terminal and a page can show."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """A question, and its answer as a table.

    Attributes:
        question: its letter and words.
        columns: names; the first is of the rows.
        rows: cells as they are shown.
        notes: what a reader must know.
    """

    question: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def markdown(title: str, answers_given: Sequence[Answer]) -> str:
    """A page of answers."""
    lines = [f"# {title}", ""]
    for answer in answers_given:
        lines += [f"## {answer.question}", ""]
        lines += ["| " + " | ".join(answer.columns) + " |"]
        lines += ["|" + "---|" * len(answer.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in answer.rows]
        lines += ["", *(f"{note}\n" for note in answer.notes)]
    return "\n".join(lines).rstrip() + "\n"
