"""A student's own copies: begun, updated, an exercise reset, and nothing lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from unit24.errors import UserError
from unit24.work import Copies, merged

LESSON = "61_small"


def cell(name, source, solution=False, **more):
    about = {"nbgrader": {"solution": True}} if solution else {}
    return {"cell_type": "code", "id": name, "metadata": about, "outputs": [], "execution_count": None, "source": source, **more}


def notebook(*cells):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


GIVEN = (cell("intro", "old words"), cell("first", "stub 1", True), cell("test_first", "check 1"), cell("second", "stub 2", True), cell("end", "end"))
NEW = (cell("intro", "new words"), cell("first", "stub 1b", True), cell("test_first", "check 1b"), cell("more", "more"), cell("second", "stub 2b", True), cell("end", "end"))


@pytest.fixture
def copies(tmp_path):
    path = tmp_path / "notebooks" / LESSON / f"{LESSON}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(notebook(*GIVEN)))
    return Copies(tmp_path)


def give_out(copies, *cells):
    copies._new(LESSON).write_text(json.dumps(notebook(*cells)))


def write(copies, *cells):
    copies.path(LESSON).write_text(json.dumps(notebook(*cells)))


def sources(copies):
    return [c["source"] for c in json.loads(copies.path(LESSON).read_text())["cells"]]


def test_what_the_student_wrote_stays_and_the_rest_is_new():
    mine = notebook(
        cell("x", "at the top"),
        cell("intro", "old words"),
        cell("first", "my code", True, outputs=["mine"], execution_count=3),
        cell("y", "below the first"),
        cell("test_first", "check 1, changed by me"),
        cell("second", "stub 2", True),
        cell("end", "end, changed by me", outputs=["kept"]),
        {"cell_type": "markdown", "metadata": {}, "source": "a note without an id"},
    )
    got = merged(mine, notebook(*GIVEN), notebook(*NEW))
    assert [c["source"] for c in got["cells"]] == [
        *("at the top", "new words", "my code", "below the first", "check 1b", "check 1, changed by me", "more", "stub 2b"),
        *("end, changed by me", "a note without an id"),
    ]
    assert got["cells"][2]["outputs"] == ["mine"] and got["cells"][8]["outputs"] == ["kept"]
    assert len({c["id"] for c in got["cells"]}) == len(got["cells"])


def test_an_exercise_that_is_gone_leaves_what_was_written_for_it():
    mine = notebook(*GIVEN[:3], cell("second", "my second", True), cell("z", "below it"), GIVEN[4])
    got = merged(mine, notebook(*GIVEN), notebook(*NEW[:3], NEW[5]))
    assert [c["source"] for c in got["cells"]][-2:] == ["my second", "below it"]


def test_a_copy_is_made_once_and_a_new_version_does_not_touch_it(copies):
    assert copies.begin(LESSON) and not copies.begin(LESSON) and not copies.is_old(LESSON)
    write(copies, *GIVEN[:1], cell("first", "my code", True), *GIVEN[2:])
    give_out(copies, *NEW)
    assert not copies.begin(LESSON) and "my code" in sources(copies) and copies.is_old(LESSON)
    kept = copies.update(LESSON)
    assert sources(copies) == ["new words", "my code", "check 1b", "more", "stub 2b", "end"] and not copies.is_old(LESSON)
    assert "old words" in kept.read_text()


def test_reset_brings_a_stub_back_and_keeps_what_was_there(copies):
    copies.begin(LESSON)
    write(copies, *GIVEN[:1], cell("first", "my code", True), *GIVEN[2:])
    kept = copies.reset(LESSON, "first")
    assert copies.reset(LESSON, "first") != kept  # within the same second, too
    assert sources(copies)[1] == "stub 1" and "my code" in kept.read_text()
    with pytest.raises(UserError, match="no exercise 'third': it has first, second"):
        copies.reset(LESSON, "third")


def test_a_damaged_copy_is_left_alone(copies):
    copies.begin(LESSON)
    copies.path(LESSON).write_text("{")
    for step in (lambda: copies.update(LESSON), lambda: copies.reset(LESSON, "first")):
        with pytest.raises(UserError, match="left as it is"):
            step()
    assert copies.path(LESSON).read_text() == "{"


def test_the_commands(copies):
    def call(*arguments):
        command = [str(Path(sys.executable).with_name("unit24")), *arguments, "--root", str(copies.root)]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    assert "1 new copy" in call("work").stdout
    give_out(copies, *NEW)
    assert "`unit24 work 61 --yes`" in call("work").stdout and "old words" in sources(copies)
    assert "brought over" in call("work", "61", "--yes").stdout and "new words" in sources(copies)
    assert "is as it was given out" in call("reset", "61", "first").stdout
    assert call("reset", "99", "first").returncode == 2
