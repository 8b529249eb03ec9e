"""Errors with a message for a person: what the user can put right, and what a check found."""


class UserError(ValueError):
    """Something that the user can put right.  The command shows its line and no traceback.

    `status` is the command's exit status: 2 used wrongly (the default), 1 something fell short.
    """

    status = 2

    @property
    def lines(self) -> tuple[str, ...]:
        """What the command shows: one line, or one for each thing to put right."""
        return (str(self),)


class CheckFailed(AssertionError):
    """A check that did not hold. Notebooks show its message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython's hook for exceptions that draw themselves
        return [str(self)]


class Unreadable(CheckFailed):
    """What the student's code returned cannot be read by its tests."""


class NotAttempted(CheckFailed):
    """The exercise (or one that it builds on) is still an untouched stub."""
