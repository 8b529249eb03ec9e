"""The command ``unit24``: a subcommand is found by its entry point and imported only when it is called.

Exit status: 0 done, 1 something fell short, 2 used wrongly.  With ``UNIT24_DEBUG=1`` an error shows
its traceback instead of one line.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata

import click

from unit24.errors import UserError

GROUP = "unit24.commands"

# What `unit24 --help` says.  Here and not in the commands, so that help imports none of them.
HELP = {
    "lessons": "List the lessons with exercises, points, minutes and measured time.",
    "build": "Make solutions/ and notebooks/ from the lesson texts.",
    "try": "Try answers to an exercise while you write them.",
    "audit": "Show that each exercise accepts right answers and rejects wrong ones.",
    "prove": "Prove again what is recorded about lessons, where it no longer holds.",
    "blind": "Measure a lesson's fairness by answers of somebody who does not know its solutions.",
    "lane": "Run lessons where students run them: Colab, Kaggle, newest packages.",
    "new": "Begin a lesson from the template.",
    "site": "Make the course's website.",
    "release": "Make the students' repository, without solutions and hidden tests.",
    "collect": "Bring what a platform lets you download into the class folder.",
    "grade": "Grade the submissions of a class.",
    "report": "Sum up a graded class: scores, hard exercises, common mistakes.",
    "class": "Make the sample class of submissions.",
    "doctor": "Say what this machine has and what each lesson would miss.",
    "models": "Train the shipped models again from their recipes.",
    "claims": "Show the claims measured on this machine.",
    "work": "Make your own copies of the notebooks, and bring new versions over.",
    "reset": "Bring the stub of an exercise back.",
    "progress": "Show your points so far on this machine.",
}


class Commands(click.Group):
    """Subcommands from the entry points of group ``unit24.commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        found = {entry.name for entry in metadata.entry_points(group=GROUP)}
        return [name for name in HELP if name in found] + sorted(found - HELP.keys())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        for entry in metadata.entry_points(group=GROUP, name=name):
            try:
                return entry.load()
            except ModuleNotFoundError as error:
                raise UserError(_what_is_missing(entry, error.name or "")) from error
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, HELP.get(name, "")) for name in self.list_commands(ctx)])


def _what_is_missing(entry: metadata.EntryPoint, module: str) -> str:
    package = entry.module.split(".")[0]
    if entry.module == module or entry.module.startswith(module + "."):
        if package == "unit24":
            return f"`unit24 {entry.name}` is not part of this version."
        return f"`unit24 {entry.name}` needs the course repository: clone it, run `make` in it, and use its .venv/bin/unit24."
    return f"`unit24 {entry.name}` needs {module}, which is not installed: pip install 'unit24[instructor]', or run `make`."


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="unit24", message="%(prog)s %(version)s")
def cli() -> None:
    """Machine learning frameworks: notebooks with autograded exercises.

    Exit status: 0 done, 1 something fell short, 2 used wrongly.
    """


def main(args: list[str] | None = None) -> None:
    """Run the command and exit; what goes wrong comes out as one line."""
    try:
        status = cli.main(args, prog_name="unit24", standalone_mode=False)
        sys.stdout.flush()
    except Exception as error:
        if os.environ.get("UNIT24_DEBUG"):
            raise
        message, status = _explain(error)
        if message:
            print(f"unit24: {message}", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _explain(error: Exception) -> tuple[str, int]:
    """One line and an exit status for an error that the user can do something about."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            print(error.ctx.get_help())
            return "", 2
        case click.UsageError():
            call = error.ctx.command_path if error.ctx else "unit24"
            return f"{_one_line(error.format_message())} See `{call} --help`.", error.exit_code
        case click.ClickException():
            return _one_line(error.format_message()), error.exit_code
        case click.Abort():
            return "stopped.", 1
        case UserError():
            return "\n".join(map(_one_line, error.lines)), error.status
        case BrokenPipeError():  # the reader has gone, as in `unit24 lessons | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return "", 1
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{_one_line(error.strerror or str(error))}.", 1
    raise error


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
