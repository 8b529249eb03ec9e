"""The error that says what the user can put right."""


class UserError(ValueError):
    """Something that the user can put right.  The command shows its one line and no traceback.

    `status` is the command's exit status: 2 used wrongly (the default), 1 something fell short.
    """

    status = 2
