"""The persistent compilation cache: a second run of the same shapes compiles nothing."""

import contextlib
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
    """Keep what is compiled, unless the user has told JAX where to (``JAX_COMPILATION_CACHE_DIR``).

    For the command line; a library does not change its user's settings. Without a folder that
    can be written there is no cache.
    """
    import jax

    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    directory = cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(directory, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
