"""Ways of damaging a file, drawn from a seed: bytes, and the structure of JSON."""

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

LONGEST_PIECE = 64
"""Bytes that one damage moves, inserts or removes, unless it cuts the file off."""


def piece(data: bytes, random: Random) -> tuple[int, int]:
    """A short stretch of the data."""
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.randint(1, LONGEST_PIECE))


def flip(data: bytes, random: Random) -> bytes:
    """One to four bits, the same number of bytes."""
    built = bytearray(data)
    for _ in range(random.randint(1, 4)):
        built[random.randrange(len(built))] ^= 1 << random.randrange(8)
    return bytes(built)


def overwrite(data: bytes, random: Random) -> bytes:
    """Bytes that readers stumble over, in the place of others."""
    start, stop = piece(data, random)
    filling = random.choice([b"\0", b"\xff", b"\n", b'"', b"9", b"\x80", b"{", b"[", b"-"])
    return data[:start] + filling * (stop - start) + data[stop:]


def cut_off(data: bytes, random: Random) -> bytes:
    """The beginning only."""
    return data[: random.randrange(len(data))]


def cut_out(data: bytes, random: Random) -> bytes:
    """A stretch is missing."""
    start, stop = piece(data, random)
    return data[:start] + data[stop:]


def insert(data: bytes, random: Random) -> bytes:
    """Random bytes between others."""
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.randint(1, LONGEST_PIECE)) + data[at:]


def repeat(data: bytes, random: Random) -> bytes:
    """A stretch twice or often."""
    start, stop = piece(data, random)
    return data[:stop] + data[start:stop] * random.choice([1, 2, 50]) + data[stop:]


def swap(data: bytes, random: Random) -> bytes:
    """Two stretches in each other's place."""
    (a, b), (c, d) = sorted([piece(data, random), piece(data, random)])
    b = min(b, c)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip,
    flip,
    overwrite,
    cut_off,
    cut_out,
    insert,
    repeat,
    swap,
)


def damaged(data: bytes, random: Random, start: int = 0, stop: int | None = None) -> bytes:
    """Data with one or two damages, all within ``data[start:stop]``."""
    stop = len(data) if stop is None else stop
    part = data[start:stop]
    for _ in range(random.choice([1, 1, 2])):
        if part:
            part = random.choice(DAMAGES)(part, random)
    return data[:start] + part + data[stop:]


# --- JSON ---------------------------------------------------------------------------------------


_DEEP = ("@ 3 deep @", "@ 900 deep @", "@ 100000 deep @")
"""Stands for so many lists in each other, which Python's own recursion would not survive."""


def _strange(random: Random) -> Any:
    return random.choice(
        [
            None,
            True,
            False,
            0,
            1,
            -1,
            2,
            3,
            2**31,
            2**63,
            10**30,
            0.5,
            -0.0,
            1e308,
            5e-324,
            float("nan"),
            float("inf"),
            "",
            "0",
            "x" * 5000,
            "\0",
            "\ud800",
            "\u202e\x1b[31m",
            "../../../../etc/passwd",
            "/dev/zero",
            [],
            {},
            [0, 1],
            {"": None},
            random.choice(_DEEP),
        ]
    )


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in entries:
        yield value, key
        if isinstance(entry, dict | list):
            yield from _places(entry)


def damaged_json(value: Any, random: Random) -> Any:
    """A copy with one to three entries replaced, removed, renamed, repeated, or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            return _strange(random)
        (holder, key), (other, its) = random.choice(places), random.choice(places)
        match random.randrange(7):
            case 0 | 1:
                holder[key] = _strange(random)
            case 2:
                del holder[key]
            case 3 if isinstance(holder, dict):
                holder[random.choice([f"{key}x", "", "type", str(its)])] = holder.pop(key)
            case 4:
                holder[key], other[its] = copy.deepcopy((other[its], holder[key]))
            case 5:
                holder[key] = copy.deepcopy(random.choice(places)[0])
            case _:
                holder[key] = _nudged(holder[key], random)
    return value


def _nudged(value: Any, random: Random) -> Any:
    """A little more, less or longer than before."""
    match value:
        case bool():
            return not value
        case int() | float():
            return random.choice([value + 1, value - 1, -value, value * 2, value * 1000, value / 3])
        case str():
            return random.choice([value + "x", value[1:], value.upper(), value * 3, value[::-1]])
        case list():
            return random.choice([value * 2, value[1:], value[::-1], [value]])
        case dict():
            return list(value.items())
    return 0


def json_text(value: Any) -> bytes:
    """As JSON; what UTF-8 cannot say in escapes."""
    text = json.dumps(value)
    for name in _DEEP:
        depth = int(name.split()[1])
        text = text.replace(f'"{name}"', "[" * depth + "]" * depth)
    return text.encode()


def damaged_json_text(data: bytes, random: Random) -> bytes:
    """Damage to the structure of JSON mostly, to its bytes sometimes."""
    if random.random() < 0.4:
        return damaged(data, random)
    return json_text(damaged_json(json.loads(data), random))
