"""Work beside other work: its result, its error, and its end when nobody waits."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from jaxsvd.runtime.background import background
from jaxsvd.runtime.progress import SILENT, Advance, Progress


class Recording(Progress):
    def __init__(self) -> None:
        self.bars: list[tuple[str, int, str]] = []
        self.shown = 0

    @contextlib.contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        self.bars.append((description, total, unit))

        def advance(n: int) -> None:
            self.shown += n

        yield advance


def test_the_result_and_how_far_it_is() -> None:
    begun, progress = threading.Event(), Recording()

    def work(counting: Progress) -> str:
        with counting.bar("counting", 20, "steps") as advance:
            begun.set()
            for _ in range(20):
                time.sleep(0.02)
                advance(1)
        return threading.current_thread().name

    with background(work) as counted:
        begun.wait(10)
        assert counted.result(progress).startswith("background")
    assert progress.bars == [("counting", 20, "steps")]
    assert progress.shown == 20


def test_an_error_is_raised_where_it_is_waited_for() -> None:
    def fail(progress: Progress) -> int:
        raise ValueError("no")

    with background(fail) as work, pytest.raises(ValueError, match="no"):
        work.result(SILENT)


def test_when_the_body_fails_the_work_ends() -> None:
    steps: list[int] = []
    begun = threading.Event()

    def endless(progress: Progress) -> None:
        with progress.bar("counting", 10**9, "steps") as advance:
            for i in range(10**9):
                steps.append(i)
                begun.set()
                advance(1)

    def fail() -> None:
        with background(endless):
            begun.wait(10)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    done = len(steps)
    assert 0 < done < 10**9
    time.sleep(0.05)
    assert len(steps) == done
