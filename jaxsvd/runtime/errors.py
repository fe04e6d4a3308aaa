"""The one kind of error that is the user's to mend."""

_LONGEST = 4_000


class UserError(ValueError):
    """What was wrong and what would be right, in one line.

    The command line prints the line and exits with status 2; anything else that
    escapes is a bug of ours and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        """Message: one line. What comes into it from files and libraries cannot make it more.

        Newlines are folded, characters that a terminal would obey are escaped, and of a very
        long line the middle is left out.
        """
        line = " ".join(str(message).split())
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST - 500]} ... {line[-400:]}"
        super().__init__(line)
