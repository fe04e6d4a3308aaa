"""The one kind of error that is the user's to mend."""


class UserError(ValueError):
    """What was wrong and what would be right, in one line.

    The command line prints the line and exits with status 2; anything else that
    escapes is a bug of ours and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        """Message: one line; newlines in it (from names or library errors) are folded."""
        super().__init__(" ".join(str(message).split()))
