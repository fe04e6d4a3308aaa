"""One process at a time in a run directory.

A lock of the operating system on a file of the directory: it ends with the process that holds it,
however that ends, so nothing stale is ever left behind. The file itself stays.
"""

import contextlib
import errno
import os
import weakref
from pathlib import Path

from jaxsvd.runtime.errors import UserError

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None

LOCK = ".lock"
"""The file's name. Its content, for messages only: the number of the last process to lock it."""

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class Lock:
    """A directory's lock, held from the call until :meth:`release` or the end of the process.

    The lock is of the opened file (``flock``) and not of the process: a second thread is refused
    as a second process is. It holds between hosts where their common file system passes locks on,
    as NFS does since Linux 2.6.12.

    Attributes:
        holds: False where the file system (or the operating system) knows no locks: there nothing
            keeps two runs apart, and the caller should say so.
    """

    def __init__(self, directory: Path) -> None:
        """Take it.

        Raises:
            UserError: somebody else holds it, or the file cannot be made.
        """
        path = directory / LOCK
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"{path}: cannot be opened ({error.strerror})") from None
        self._release = weakref.finalize(self, os.close, handle)
        self.holds = False
        if fcntl is None:
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                return  # no locks here
            holder = _holder(handle)
            self.release()
            raise UserError(
                f"{directory}: another run is at work in it{holder}; "
                "wait for it to end, or choose another --out"
            ) from None
        self.holds = True
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others in; again and again does nothing."""
        self._release()


def refuse_held(directory: Path) -> None:
    """Fail if somebody works in a directory; one that was never locked is left as it is.

    Raises:
        UserError: somebody holds its lock.
    """
    if (directory / LOCK).exists():
        Lock(directory).release()


def _holder(handle: int) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f" (process {int(os.pread(handle, 20, 0))})"
    return ""
