"""The differences between the request of a run and the one that should resume it, in words."""

from collections.abc import Mapping
from typing import Any

_DIGESTS = {
    "questions": "the data has changed: it gives other examples",
    "model contents": "the model's files have changed",
}
"""Hashes, and what it means if they alone differ."""


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How two requests differ, entry by entry: ``"rates was [0.0], is [0.5]"``.

    Args:
        before: the recorded request, read from JSON.
        now: the new one, through JSON as well.

    Returns:
        A phrase for each entry that differs, by its name; none where the requests are equal.
    """
    one, other = _flat(before), _flat(now)
    differing = [name for name in sorted(one.keys() | other.keys()) if _differ(one, other, name)]
    plain = [name for name in differing if name not in _DIGESTS]
    phrases = [_phrase(one, other, name) for name in plain]
    # Another task has other examples, and another model other files: no need to say so.
    return list(dict.fromkeys(phrases)) or [_DIGESTS[name] for name in differing]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        name = f"{prefix}{key}".removeprefix("asked ")
        if isinstance(entry, Mapping):
            flat |= _flat(entry, f"{name} ")
        else:
            flat[name] = entry
    return flat


def _differ(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    return name not in one or name not in other or one[name] != other[name]


def _phrase(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> str:
    words = name.replace("_", " ")
    if name not in one:
        return f"{words} was not recorded, is {_shown(other[name])}"
    if name not in other:
        return f"{words} was {_shown(one[name])}, is absent now"
    return f"{words} was {_shown(one[name])}, is {_shown(other[name])}"


def _shown(value: Any) -> str:
    """A value as Python writes it, without the middle where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:140]} ... {text[-50:]}"
