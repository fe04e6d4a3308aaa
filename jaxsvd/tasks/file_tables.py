"""The tables of a task file that say where the hub has the data and what the paper did with it."""

import dataclasses
from typing import Any

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.files import shown
from jaxsvd.tasks.scriptspecs import ScriptSpec
from jaxsvd.tasks.sources import FORMATS
from jaxsvd.tasks.specs import HubSource, Original, PaperSizes

_SPLITS = ("train", "validation", "test")


def table_of(where: str, name: str, value: object, known: tuple[str, ...]) -> dict[str, Any]:
    """A table of the file, without unknown keys.

    Args:
        where: the task file, for messages.
        name: of the table.
        value: what stands there.
        known: the keys that it may have.

    Raises:
        UserError: not a table, or an unknown key.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: {name} must be a table with {', '.join(known)}")
    if unknown := [key for key in value if key not in known]:
        raise UserError(
            f"{where}: unknown {', '.join(unknown)} in {name}; known are {', '.join(known)}"
        )
    return value


def hub_of(where: str, value: object) -> tuple[HubSource, str, str]:
    """``[hub]``: the source, and the splits that validation and test are taken from.

    Raises:
        UserError: not a table of texts, or without a repository.
    """
    table = table_of(where, "hub", value, ("repository", "config", "revision", *_SPLITS[1:]))
    for key, text in table.items():
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}: {key} in hub must be a text, not {shown(text)}")
    if "repository" not in table:
        raise UserError(f'{where}: hub needs a repository, as in repository = "nyu-mll/glue"')
    for split in _SPLITS[1:]:
        if table.get(split, split) not in _SPLITS:
            raise UserError(
                f"{where}: {split} in hub names the data's split: {', '.join(_SPLITS)}; not "
                f"{shown(table[split])}"
            )
    source = HubSource(table["repository"], table.get("config"), table.get("revision"))
    return source, table.get("validation", "train"), table.get("test", "test")


def paper_of(where: str, value: object) -> PaperSizes:
    """``[paper]``: the sizes of its validation and test sets.

    Raises:
        UserError: not two whole numbers.
    """
    table = table_of(where, "paper", value, ("validation_size", "test_size"))
    sizes = [table.get(key, 0) for key in ("validation_size", "test_size")]
    if any(type(size) is not int or size < 1 for size in sizes):
        raise UserError(f"{where}: paper needs validation_size and test_size, whole numbers from 1")
    return PaperSizes(validation=sizes[0], test=sizes[1])


def original_of(where: str, value: object) -> Original:
    """``[original]``: the files as the data set is distributed.

    Raises:
        UserError: an unknown format, or names that are no texts.
    """
    table = table_of(where, "original", value, ("format", *_SPLITS))
    if table.get("format") not in FORMATS:
        raise UserError(f"{where}: format in original must be one of {', '.join(FORMATS)}")
    names = {key: name for key, name in table.items() if key != "format"}
    return Original(table["format"], texts_of(where, "original", names))


def texts_of(where: str, name: str, value: object) -> dict[str, str]:
    """A table of texts.

    Raises:
        UserError: something else.
    """
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise UserError(f"{where}: {name} must be a table of texts, not {shown(value)}")
    return dict(value)


def scripts_of(where: str, value: object) -> ScriptSpec:
    """``[scripts]``: what the authors' script does.

    Raises:
        UserError: an unknown or a missing key.
    """
    fields = dataclasses.fields(ScriptSpec)
    table = table_of(where, "scripts", value, tuple(field.name for field in fields))
    values = {key: _tuples(item) for key, item in table.items()}
    try:
        return ScriptSpec(**values)
    except TypeError as error:
        raise UserError(f"{where}: scripts is not whole: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
