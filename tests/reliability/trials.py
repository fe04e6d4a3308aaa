"""One damaged file after another: each ends in a correct result or in one clear line.

Watched on the way: no other exception, none of Rust's panics, no ten seconds, and no more memory
than four times what was read (beyond what the process itself moves about).
"""

import contextlib
import os
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from jaxsvd.runtime.errors import UserError

from .effort import SEED

os.environ["RUST_BACKTRACE"] = "0"  # else a panic reads 30 MB of symbols to print its stack

SECONDS = 10.0
SLACK = 24 * 2**20
"""Bytes that allocators, caches and garbage of earlier trials may add to a trial's peak."""


@dataclass(frozen=True)
class DamageTarget:
    """A file that is damaged, and what reads it.

    Attributes:
        name: for failures.
        path: the file, which is good now.
        damage: makes other content of the good one.
        attempt: reads the file; raises UserError, or asserts that what it read is correct.
        beside: files whose size counts too.
    """

    name: str
    path: Path
    damage: Callable[[bytes, Random], bytes]
    attempt: Callable[[], None]
    beside: tuple[Path, ...] = ()


@dataclass
class Tally:
    """How trials ended."""

    refused: int = 0
    correct: int = 0
    failures: list[str] = field(default_factory=list)


def try_damages(target: DamageTarget, numbers: range) -> Tally:
    """Damage a target's file again and again; number and seed decide how."""
    good, tally = target.path.read_bytes(), Tally()
    others = sum(path.stat().st_size for path in target.beside)
    try:
        for number in numbers:
            random = Random(f"{SEED}/{target.name}/{number}")
            content = target.damage(good, random)
            target.path.write_bytes(content)
            allowed = 4 * (len(content) + others) + SLACK
            reason = _outcome(target.attempt, allowed, tally)
            if reason is not None:
                kept = target.path.with_name(f"failed-{number}")
                kept.write_bytes(content)
                tally.failures.append(f"{target.name} {number} (seed {SEED}; {kept}): {reason}")
    finally:
        target.path.write_bytes(good)
    return tally


def _outcome(attempt: Callable[[], None], allowed: int, tally: Tally) -> str | None:
    """What is wrong with how an attempt ended; None if nothing is."""
    began = time.perf_counter()
    try:
        with peak_memory() as peak, _limited():
            attempt()
        tally.correct += 1
    except UserError as error:
        tally.refused += 1
        if reason := unclear(str(error)):
            return f"{reason}: {str(error)[:500]!r}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # Rust's panics are no Exception
        return traceback.format_exc()[-1500:]
    if (seconds := time.perf_counter() - began) > SECONDS:
        return f"took {seconds:.1f} s"
    if peak.bytes > allowed:
        return f"took {peak.bytes:,} bytes, {allowed:,} are allowed"
    return None


def unclear(line: str) -> str | None:
    """What keeps a message from being one clear line."""
    if not line.isprintable() or line != line.strip():
        return "not one printable line"
    if len(line) > 4000 or len(line) < 15:
        return f"{len(line)} characters"
    if re.search(r"Traceback|panicked at|Error\(\)|^'|<(class|function|built-in)", line):
        return "speaks of our insides"
    return None


class _Hanging(BaseException):
    """Longer than :data:`SECONDS`."""


def _alarm(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Hanging


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Peak:
    """Bytes of memory above the start, at most; 0 where the system does not tell."""

    bytes: int = 0


@contextlib.contextmanager
def peak_memory() -> Iterator[Peak]:
    """What the process, its native libraries included, takes at most while inside."""
    peak = Peak()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    except OSError:
        yield peak
        return
    start = _status("VmRSS")
    try:
        yield peak
    finally:
        peak.bytes = max(0, _status("VmHWM") - start)


def _status(name: str) -> int:
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(name.encode()):
                return int(line.split()[1]) * 1024
    return 0
