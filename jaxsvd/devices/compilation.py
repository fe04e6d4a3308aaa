"""What is compiled: a persistent cache for it, and how much of the time it took."""

import contextlib
import functools
import hashlib
import os
import platform
from pathlib import Path


def cache_directory() -> Path:
    """In the user's cache folder, apart for each kind of processor.

    Code compiled for one processor may not run on another that shares the home directory.
    """
    described = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        described += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "jaxsvd" / hashlib.sha256(described.encode()).hexdigest()[:12]


def use_persistent_cache() -> None:
    """Keep what is compiled, small programs too: the engine's are small and many.

    For the command line; a library does not change its user's settings. The user's own folder
    (``JAX_COMPILATION_CACHE_DIR``) and threshold
    (``JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS``) stay as they are. Without a folder that can be
    written there is no cache.
    """
    import jax

    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        directory = cache_directory()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        if not os.access(directory, os.W_OK):
            return
        jax.config.update("jax_compilation_cache_dir", str(directory))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


class _Compiled:
    """Seconds of tracing, lowering and compiling in this process, and how often.

    JAX reports each of the three at its end, and compiles what it has traced: ``underway`` is True
    from the end of tracing to the end of compiling.
    """

    def __init__(self) -> None:
        self.seconds, self.underway = 0.0, False
        self.names: list[str] = []

    def __call__(self, event: str, duration_secs: float, **more: object) -> None:
        if event.startswith("/jax/core/compile/"):
            self.seconds += duration_secs
            compiled = event.endswith("backend_compile_duration")
            if compiled:
                self.names.append(str(more.get("fun_name")))
            self.underway = not compiled


@functools.cache
def _compiled() -> _Compiled:
    import jax

    counter = _Compiled()
    jax.monitoring.register_event_duration_secs_listener(counter)
    return counter


def compile_seconds() -> float:
    """Seconds that JAX has spent on compiling since this was first called, cache reads included.

    Work in several threads counts as often as it was done.
    """
    return _compiled().seconds


def compile_count() -> int:
    """Functions that JAX has compiled, or read from the cache, since this was first called."""
    return len(_compiled().names)


def compiled_since(count: int) -> list[str]:
    """Names of the functions that were compiled after the first ``count``, the latest last."""
    return _compiled().names[count:]


def activity() -> str:
    """``"compiling"`` while JAX is, for a progress bar that waits for it; else nothing."""
    # Registering here would import JAX in the thread that draws the bar.
    registered = _compiled.cache_info().currsize > 0
    return "compiling" if registered and _compiled().underway else ""
