"""Errors of the tokenizers library, which is written in Rust."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


def from_rust(error: BaseException) -> bool:
    """Whether an error comes from the library.

    Its errors are of class ``Exception`` itself, and its panics are not even that: they derive
    from ``BaseException``.
    """
    return type(error) is Exception or type(error).__name__ == "PanicException"


@contextlib.contextmanager
def silenced_on_error() -> Iterator[None]:
    """Hold standard error back: print it at the end, or drop it if the body raises.

    A panic prints its stack there before Python sees an exception. Only for short work: the output
    of the process's other threads is held back too.
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
