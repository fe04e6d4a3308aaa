"""How much is tried: a few minutes' worth by default, all of it with JAXSVD_RELIABILITY=full."""

import os

FULL = os.environ.get("JAXSVD_RELIABILITY") == "full"
"""Set by ``make test-all``."""

SEED = os.environ.get("JAXSVD_RELIABILITY_SEED", "0")
"""Draws other damages and other moments; a failure names the seed that repeats it."""


def times(default: int, full: int) -> int:
    """How often, by the effort asked for."""
    return full if FULL else default
