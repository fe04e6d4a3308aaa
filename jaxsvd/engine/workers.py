"""Several batches in flight at once."""

import contextlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Threads that call a function on items and hand the results back in order."""

    def __init__(self, pool: ThreadPoolExecutor, count: int) -> None:
        """See :func:`workers`."""
        self._pool = pool
        self._count = count
        self._begun: set[Hashable] = set()

    def start(self, function: Callable[[], Result]) -> Future[Result]:
        """Call a function in a thread. It must not wait for what is started later."""
        return self._pool.submit(function)

    def map(
        self, kind: Hashable, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """``function(item)`` for each item, in their order; only a few results wait at a time.

        Args:
            kind: what the function runs. The first item of a kind is done alone: together they
                would all compile the same.
            function: called in a thread.
            items: its arguments.
        """
        items = iter(items)
        if kind not in self._begun:
            for item in items:
                yield function(item)
                self._begun.add(kind)
                break
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) > 2 * self._count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Inline(Workers):
    """No threads: everything is done where it is asked for, in that order."""

    def __init__(self) -> None:
        """Nothing to set up."""

    def start(self, function: Callable[[], Result]) -> Future[Result]:
        """See :meth:`Workers.start`; it is done when this returns."""
        future: Future[Result] = Future()
        future.set_result(function())
        return future

    def map(
        self, kind: Hashable, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """See :meth:`Workers.map`."""
        del kind
        for item in items:
            yield function(item)


@contextlib.contextmanager
def workers(count: int) -> Iterator[Workers]:
    """Workers that are gone afterwards, whatever happens; what has begun is awaited.

    Args:
        count: threads; 0 for none.
    """
    if count == 0:
        yield Inline()
        return
    pool = ThreadPoolExecutor(count, thread_name_prefix="scoring")
    try:
        yield Workers(pool, count)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
