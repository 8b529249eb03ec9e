"""The command ``unit24``: help, exit statuses, one line for what goes wrong, nothing imported too early."""

import os
import subprocess
import sys

import click
import pytest

from unit24 import cli
from unit24.errors import UserError


def unit24(*arguments, **variables):
    command = [sys.executable, "-c", "from unit24.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})


def run(monkeypatch, capsys, error):
    """Exit status, stdout and stderr of ``unit24 grade`` where the subcommand raises `error`."""

    @click.command()
    def grade():
        raise error

    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: grade)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["grade"])
    return stopped.value.code, *capsys.readouterr()


def test_help_lists_every_command_and_imports_none():
    code = """if True:
        import sys
        from unit24.cli import main
        try:
            main(["--help"])
        finally:
            print([name for name in ("authoring", "course", "grader", "judge", "unit24.doctor", "torch", "rich") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert all(f"  {name}" in done.stdout for name in cli.HELP)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_has_a_line_of_help():
    names = cli.cli.list_commands(click.Context(cli.cli))
    assert set(names) == set(cli.HELP)


def test_without_a_command_it_shows_help_and_says_used_wrongly():
    done = unit24()
    assert done.returncode == 2 and "Commands:" in done.stdout and done.stderr == ""


@pytest.mark.parametrize("arguments", [["gradee"], ["--verbos"], ["doctor", "--jsno"], ["doctor", "extra"]])
def test_used_wrongly_is_one_line_and_status_2(arguments):
    done = unit24(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("unit24: ") and done.stderr.count("\n") == 1 and "--help" in done.stderr


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UserError("no lesson is called 99:\nthere are 02, 04"), 2, "no lesson is called 99: there are 02, 04"),
        (OSError(28, "No space left on device", "gradebook.db"), 1, "gradebook.db: No space left on device."),
        (PermissionError(13, "Permission denied", "autograded"), 1, "autograded: Permission denied."),
        (KeyboardInterrupt(), 1, "stopped."),
    ],
)
def test_what_a_user_can_put_right_is_one_line(monkeypatch, capsys, error, status, words):
    code, out, err = run(monkeypatch, capsys, error)
    assert (code, out) == (status, "")
    assert err.strip() == f"unit24: {words}"


def test_an_error_chooses_its_status(monkeypatch, capsys):
    class Short(UserError):
        status = 1

    assert run(monkeypatch, capsys, Short("a mutant survived"))[0] == 1


def test_debugging_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("UNIT24_DEBUG", "1")
    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: click.Command("grade", callback=lambda: int("x")))
    with pytest.raises(ValueError, match="invalid literal"):
        cli.main(["grade"])


def test_our_own_bugs_show_a_traceback(monkeypatch):
    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: click.Command("grade", callback=lambda: {}["x"]))
    with pytest.raises(KeyError):
        cli.main(["grade"])


@pytest.mark.parametrize(("raised", "status"), [(None, 0), (SystemExit(1), 1), (click.exceptions.Exit(1), 1)])
def test_exit_statuses_pass_through(monkeypatch, capsys, raised, status):
    def callback():
        if raised:
            raise raised

    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: click.Command("grade", callback=callback))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["grade"])
    assert (stopped.value.code or 0) == status


@pytest.mark.parametrize(
    ("module", "missing", "words"),
    [
        ("grader.commands", "grader", "needs the course repository"),
        ("grader.commands", "nbgrader", "needs nbgrader, which is not installed"),
        ("unit24.claims", "unit24.claims", "not part of this version"),
    ],
)
def test_a_command_that_cannot_be_imported_says_what_it_needs(monkeypatch, capsys, module, missing, words):
    class Entry:
        name = "grade"

        def load(self):
            raise ModuleNotFoundError(name=missing)

    Entry.module = module
    monkeypatch.setattr(cli.metadata, "entry_points", lambda **_: [Entry()])
    with pytest.raises(SystemExit) as stopped:
        cli.main(["grade"])
    line = capsys.readouterr().err
    assert stopped.value.code == 2 and words in line and line.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -c 'from unit24.cli import main; main()' --help | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.startswith("Usage") and done.stderr == ""
