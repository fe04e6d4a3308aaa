"""What a template and label words must be, told for what it is."""

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.specs import field_names


def check_template(where: str, template: str, label_field: str | None) -> None:
    """A query's template: one line, its columns in pairs of braces, the label's not among them.

    Args:
        where: the task file, for messages.
        template: the text.
        label_field: the column that says the class; None where there is none.

    Raises:
        UserError: what is wrong with it, in a line.
    """
    if template != template.rstrip() or "\n" in template:
        raise UserError(
            f"{where}: template must be one line without a space at its end; the space before the"
            " label is added"
        )
    _check_braces(where, template)
    names = field_names(template)
    if not names:
        raise UserError(f"{where}: template names no column; write {{column}} where its text goes")
    if label_field in names:
        raise UserError(
            f"{where}: template names the label's own column {{{label_field}}}: every prompt would"
            " tell its answer; name the columns of the text alone"
        )


def _check_braces(where: str, template: str) -> None:
    """Every brace opened is closed before the next one opens, with a name within."""
    opened: int | None = None
    for at, character in enumerate(template):
        if character == "{":
            if opened is not None:
                raise UserError(_brace(where, template, opened, "is not closed"))
            opened = at
        elif character == "}":
            if opened is None:
                raise UserError(_brace(where, template, at, "closes nothing"))
            if not template[opened + 1 : at].strip():
                raise UserError(_brace(where, template, opened, "names no column"))
            opened = None
    if opened is not None:
        raise UserError(_brace(where, template, opened, "is not closed"))


def _brace(where: str, template: str, at: int, what: str) -> str:
    return (
        f"{where}: in template the brace at character {at + 1} {what}"
        f" ({template[max(0, at - 10) : at + 10]!r}); columns are written {{column}}"
    )


def check_labels(where: str, words: tuple[str, ...]) -> None:
    """Label words that can be told apart.

    Args:
        where: the task file, for messages.
        words: each once.

    Raises:
        UserError: two are equal but for their case, or one is the beginning of another.
    """
    for i, first in enumerate(words):
        for second in words[i + 1 :]:
            if first.casefold() == second.casefold():
                raise UserError(
                    f"{where}: the labels {first!r} and {second!r} differ in their case alone;"
                    " give each label a word of its own"
                )
            short, long = sorted((first, second), key=len)
            if long.startswith(short):
                raise UserError(
                    f"{where}: the label {short!r} is the beginning of {long!r}: a model that says"
                    f" {long!r} has said {short!r} first; choose words of which none begins another"
                )
