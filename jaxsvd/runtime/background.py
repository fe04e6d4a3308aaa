"""Work in a thread, while the main thread waits for files or a tokenizer."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from jaxsvd.runtime.progress import Advance, Progress

Result = TypeVar("Result")

_POLL = 0.1  # seconds between updates of the bar


class _Stopped(Exception):
    """The result is no longer wanted."""


class _Counting(Progress):
    """Counts units for another thread to show, and ends the work when that thread says so."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.description, self.total, self.unit = "", 0, ""
        self.done = 0

    @contextlib.contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """See :class:`jaxsvd.runtime.progress.Progress`."""
        self.description, self.total, self.unit, self.done = description, total, unit, 0

        def advance(n: int) -> None:
            self.done += n
            if self.stop.is_set():
                raise _Stopped

        yield advance


class Work(Generic[Result]):
    """Work that has been started in a thread; see :func:`background`."""

    def __init__(self, future: Future[Result], counting: _Counting) -> None:
        self._future, self._counting = future, counting

    def result(self, progress: Progress) -> Result:
        """Wait for the result, showing the work's progress; raises what the work raised."""
        if not self._future.done() and (total := self._counting.total):
            with progress.bar(self._counting.description, total, self._counting.unit) as advance:
                shown = 0
                while not self._future.done():
                    done = self._counting.done
                    advance(done - shown)
                    shown = done
                    with contextlib.suppress(TimeoutError):
                        self._future.exception(_POLL)
                advance(total - shown)
        return self._future.result()


class Later(Work[Result]):
    """Work that is done when its result is wanted."""

    def __init__(self, work: Callable[[Progress], Result]) -> None:
        self._work = work

    def result(self, progress: Progress) -> Result:
        """Do it; see :meth:`Work.result`."""
        return self._work(progress)


@contextlib.contextmanager
def background(work: Callable[[Progress], Result], *, wait: bool = False) -> Iterator[Work[Result]]:
    """Start ``work`` in a thread. If the body fails, the work ends at its next step.

    Args:
        work: is given a progress to report its steps to.
        wait: do it only when the result is wanted, in the thread that wants it. Several devices
            or processes that compute together must all do so in one order.
    """
    if wait:
        yield Later(work)
        return
    counting = _Counting()
    with ThreadPoolExecutor(1, thread_name_prefix="background") as pool:
        try:
            yield Work(pool.submit(work, counting), counting)
        except BaseException:
            counting.stop.set()
            raise
