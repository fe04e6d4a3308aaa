"""How a path that a user typed becomes the path that is opened, recorded and compared."""

import os
from pathlib import Path


def resolved(path: str | Path) -> Path:
    """The absolute path, with ``~`` expanded and symbolic links followed.

    Every path of a model, a task file, a data folder or a run directory passes through here once,
    where it enters. Two spellings of one place are then one place: for resuming a run, for the
    command that repeats it, and for the lock that keeps a second process out.
    """
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, no home, a NUL: opening fails
        return Path(path)


def user_cache() -> Path:
    """Our folder among the user's caches; it may be missing."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxsvd"


def shortened(path: Path) -> Path:
    """A path for people: relative if it lies in the working directory."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):  # OSError: the working directory was removed
        return path
