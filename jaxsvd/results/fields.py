"""Objects of a JSON file, read field by field: what is not as it should be is one line of text.

Every record of a run is a frozen dataclass with ``to_json`` and ``from_json``; the latter is made
of these readers. An error names the field by its path in the file, such as ``validation[0].rate``.
Fields that nobody asks for are passed over: a newer version may add some. Whoever adds one gives
the dataclass a default, reads it with :meth:`Fields.maybe` and leaves it out where it is None, so
that files of older versions are still read and written as they are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from jaxsvd.runs.directory import JsonObject as JsonObject
from jaxsvd.runtime.errors import UserError

T = TypeVar("T")


class Damaged(UserError):
    """A record that is not as it was written. Whoever reads a file puts its path in front."""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of values.

    Attributes:
        said: what a value should be, in words.
        read: the value, or None where it is something else.
    """

    said: str
    read: Callable[[object], T | None]


def _real(value: object) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return value


def _number(value: object) -> float | int | None:
    # Numbers that JSON does not have are written in words, see jaxsvd.runs.directory.dump.
    return float(value) if value in ("inf", "-inf", "nan") else _real(value)  # type: ignore[arg-type]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _within(low: float, high: float) -> Callable[[object], float | int | None]:
    def read(value: object) -> float | int | None:
        number = _real(value)
        return number if number is not None and low <= number <= high else None

    return read


def _rate(value: object) -> float | int | None:
    number = _real(value)
    return float(number) if number is not None and 0 <= number < 1 else None


def _count(value: object) -> int | None:
    number = _whole(value)
    return number if number is not None and number >= 0 else None


def _interval(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = map(_number, value)
    return (low, high) if low is not None and high is not None and not low > high else None


WHOLE = Kind("a whole number", _whole)
COUNT = Kind("a count", _count)
RATE = Kind("a clipping rate in [0, 1)", _rate)
NUMBER = Kind("a number", _number)
SHARE = Kind("a share in [0, 1]", _within(0.0, 1.0))
CHANGE = Kind("a difference in [-1, 1]", _within(-1.0, 1.0))
SPREAD = Kind("a spread", _within(0.0, math.inf))
INTERVAL = Kind("an interval [low, high]", _interval)
TEXT = Kind("text", lambda value: value if isinstance(value, str) else None)
FLAG = Kind("true or false", lambda value: value if isinstance(value, bool) else None)


@dataclass(frozen=True)
class Fields:
    """An object, and where it stands.

    Attributes:
        values: by name; fields that nobody asks for are welcome.
        where: its path in the file; empty for the whole.
    """

    values: JsonObject
    where: str = ""

    @classmethod
    def of(cls, value: object, where: str = "") -> "Fields":
        """Of any JSON value.

        Raises:
            Damaged: it is no object.
        """
        if not isinstance(value, dict):
            raise Damaged(f"{where or 'it'} should be an object")
        return cls(value, where)

    def path(self, name: str) -> str:
        """Of a field, from the top of the file."""
        return f"{self.where}.{name}" if self.where else name

    def has(self, name: str) -> bool:
        """Whether there is such a field and it is not null."""
        return self.values.get(name) is not None

    def raw(self, name: str) -> object:
        """A field of any kind.

        Raises:
            Damaged: there is none.
        """
        if name not in self.values:
            raise Damaged(f"there is no {self.path(name)}")
        return self.values[name]

    def read(self, name: str, kind: Kind[T]) -> T:
        """A single value.

        Raises:
            Damaged: there is none, or it is of another kind.
        """
        value = kind.read(self.raw(name))
        if value is None:
            raise Damaged(f"{self.path(name)} should be {kind.said}")
        return value

    def maybe(self, name: str, kind: Kind[T]) -> T | None:
        """A single value; None where it is null or missing."""
        return self.read(name, kind) if self.has(name) else None

    def nested(self, name: str) -> "Fields":
        """An object inside."""
        return Fields.of(self.raw(name), self.path(name))

    def items(self, name: str, *, empty: bool = False) -> list[tuple[object, str]]:
        """The items of a list with their paths; a list of none only where ``empty`` allows it."""
        value, path = self.raw(name), self.path(name)
        if not isinstance(value, list) or not (value or empty):
            raise Damaged(f"{path} should be a list" + ("" if empty else ", not empty"))
        return [(item, f"{path}[{i}]") for i, item in enumerate(value)]

    def objects(self, name: str, *, empty: bool = False) -> list["Fields"]:
        """The objects of a list."""
        return [Fields.of(item, where) for item, where in self.items(name, empty=empty)]

    def several(self, name: str, kind: Kind[T], *, empty: bool = False) -> tuple[T, ...]:
        """The single values of a list."""
        value = self.raw(name)
        if isinstance(value, list):
            values = [kind.read(item) for item in value]
            if values and None not in values:
                return tuple(values)  # type: ignore[arg-type]
        # An error, or a list of none: the path is only made here, as runs have millions of lines.
        return tuple(_read(item, kind, at) for item, at in self.items(name, empty=empty))

    def one_or_more(self, name: str, kind: Kind[T]) -> T | tuple[T, ...]:
        """A single value, or a list of several."""
        if isinstance(self.raw(name), list):
            return self.several(name, kind)
        return self.read(name, kind)

    def named(self, name: str, kind: Kind[T]) -> dict[str, T]:
        """The single values of an object, by name."""
        inner = self.nested(name)
        return {str(key): inner.read(str(key), kind) for key in inner.values}

    def damaged(self, said: str) -> Damaged:
        """For raising: something about this object, in words."""
        return Damaged(f"{self.where}: {said}" if self.where else said)


def _read(value: object, kind: Kind[T], where: str) -> T:
    result = kind.read(value)
    if result is None:
        raise Damaged(f"{where} should be {kind.said}")
    return result
