"""One process at a time in a run directory.

The operating system locks a file of the directory for the process. The lock ends with the process,
however it ends, so no stale lock is ever left behind. The file itself stays.
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
"""The file's name. Its content, for messages only: the id of the process that locked it last."""

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class Lock:
    """A directory's lock, held from the call until :meth:`release` or the end of the process.

    ``flock`` locks the open file and not the process, so a second thread is refused as a second
    process is. It works between hosts where the file system that they share forwards locks, as NFS
    does since Linux 2.6.12.

    Attributes:
        holds: False where the file system or the operating system has no locks. Nothing keeps two
            runs apart there, and the caller should warn.
    """

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        Raises:
            UserError: another process or thread holds it, or the file cannot be created.
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
                f"{directory}: another process{holder} is writing this run; "
                "wait for it to end, or choose another --out"
            ) from None
        self.holds = True
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up; a second call does nothing."""
        self._release()


def refuse_held(directory: Path) -> None:
    """Refuse a directory that another process works in; nothing is written there.

    Raises:
        UserError: another process or thread holds its lock.
    """
    if (directory / LOCK).exists():
        Lock(directory).release()


def _holder(handle: int) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f" ({int(os.pread(handle, 20, 0))})"
    return ""
