"""The error that says what the user can put right."""


class UserError(ValueError):
    """Something that the user can put right.  The command shows its line and no traceback.

    `status` is the command's exit status: 2 used wrongly (the default), 1 something fell short.
    """

    status = 2

    @property
    def lines(self) -> tuple[str, ...]:
        """What the command shows: one line, or one for each thing to put right."""
        return (str(self),)
