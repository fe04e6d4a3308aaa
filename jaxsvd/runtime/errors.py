"""The one kind of error that a user can cause."""

import contextlib
import errno
from collections.abc import Iterator

_LONGEST = 4_000


class UserError(ValueError):
    """A mistake of the user's: what was wrong and what would be right, in one line.

    The command line prints the line and exits with status 2. Any other exception that reaches it
    is a bug, and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        """Make the message one printable line, whatever files and libraries put into it.

        Newlines become spaces, control characters are escaped, and the middle of a very long line
        is left out.
        """
        line = " ".join(str(message).split())
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST - 500]} ... {line[-400:]}"
        super().__init__(line)


_OF_PATHS = {
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EROFS,
}


def path_error(error: OSError) -> UserError:
    """What the system refuses of a path that a user gave; any other error is raised."""
    if error.errno not in _OF_PATHS or error.filename is None:
        raise error
    return UserError(f"{error.filename}: {error.strerror}")


@contextlib.contextmanager
def path_errors() -> Iterator[None]:
    """Errors of the system that are about a user's path, as one line; also as a decorator.

    Raises:
        UserError: no permission, a name that is too long, a file where a directory should be.
    """
    try:
        yield
    except OSError as error:
        raise path_error(error) from None
