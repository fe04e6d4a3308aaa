"""Python's search for cycles among objects, paused where very many without cycles are made."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """No search for cycles inside: it would go through all objects again and again.

    It took 40 % of the time of encoding 67,000 prompts. Objects without cycles are freed as ever.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
