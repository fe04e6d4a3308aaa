"""The tokenizers library is written in Rust: what its errors are, and what its panics print."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


def from_rust(error: BaseException) -> bool:
    """Whether an error is one of the library's.

    Its errors have no class of their own, and its panics are no ``Exception``.
    """
    return type(error) is Exception or type(error).__name__ == "PanicException"


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Standard error is printed at the end, and not at all if the body fails.

    A panic prints its stack there before anybody can catch it. Only for what is short: the other
    threads of the process are held back too.
    """
    with contextlib.ExitStack() as stack:
        try:
            sys.stderr.flush()
            kept, screen = stack.enter_context(tempfile.TemporaryFile()), os.dup(2)
        except (OSError, AttributeError):  # no standard error, or no room for a file
            yield
            return
        stack.callback(os.close, screen)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(screen, 2)
            raise
        os.dup2(screen, 2)
        kept.seek(0)
        os.write(2, kept.read())
