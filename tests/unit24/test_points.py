"""A student's points so far: noted by the tests of a lesson, kept on this machine."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import unit24
from unit24 import check, points

POSSIBLE = {"first": 2.0, "second": 3.0}


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.setenv("UNIT24_HOME", str(tmp_path))
    monkeypatch.setattr(unit24.env, "current", None)
    monkeypatch.setattr(check.exercise, "on_end", None)
    return tmp_path / "points"


def run_tests(name, passes=True):
    try:
        with check.exercise(name):
            check.true(passes, "no")
    except AssertionError:
        pass


def test_points_follow_the_tests(place, capsys):
    points.follow("04_training_loop", POSSIBLE, place)
    run_tests("second")
    assert capsys.readouterr().out.splitlines() == [
        "✓ second: all checks here pass.",
        "3 of 3 points; 3 of 5 in this lesson. Grading also tries other values.",
    ]
    run_tests("unknown")
    run_tests("first", passes=False)
    (standing,) = unit24.progress().standings
    assert (standing.total, standing.most, standing.next) == (3.0, 5.0, "first")
    run_tests("first")
    run_tests("second", passes=False)  # the answer is another now
    assert points.standings(place)[0].earned == {"first": 2.0, "second": 0.0}
    assert repr(unit24.progress()).splitlines()[1].startswith("04 training loop  2 of 5") and "second" in repr(unit24.progress())
    assert "<progress max=" in unit24.progress()._repr_html_()


def test_parts_of_an_exercise_and_shares_of_points(place, capsys):
    points.follow("04_training_loop", POSSIBLE, place)
    with check.exercise("second"):
        with check.exercise("second"):
            check.true(True, "")
        check.parts({"one": lambda: None, "two": lambda: check.true(False, "no")})
    assert "1.5 of 3 points; 1.5 of 5 in this lesson." in capsys.readouterr().out


def test_two_notebooks_at_once(place):
    """Neither loses what the other wrote, whenever it is killed."""
    possible = {f"e{n}": 1.0 for n in range(40)}

    def work(names):
        for name in names:
            points._noted(place / "04_training_loop.json", "04_training_loop", possible, name, 1.0)

    names = list(possible)
    threads = [threading.Thread(target=work, args=(names[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert points.standings(place)[0].total == 40
    assert not list(place.glob("*.part"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"lesson": 1}', '{"possible": {"a": "x"}, "earned": {}, "lesson": "04", "visited": ""}'])
def test_a_file_that_cannot_be_read_is_begun_anew(place, text):
    place.mkdir()
    (place / "04_training_loop.json").write_text(text)
    assert points.standings(place) == []
    points.follow("04_training_loop", POSSIBLE, place)
    run_tests("first")
    assert points.standings(place)[0].total == 2


def test_where_nothing_can_be_kept_the_lesson_goes_on(place, capsys):
    place.write_text("a file where the folder should be")
    points.follow("04_training_loop", POSSIBLE, place)
    run_tests("first")
    assert "2 of 2 points; 2 of 5 in this lesson." in capsys.readouterr().out
    assert "No points yet" in repr(unit24.progress())


def test_the_command(place):
    points.follow("04_training_loop", POSSIBLE, place)
    run_tests("first")
    call = [str(Path(sys.executable).with_name("unit24")), "progress"]
    assert "2 of 5" in subprocess.run(call, capture_output=True, text=True, check=True).stdout
    (told,) = json.loads(subprocess.run([*call, "--json"], capture_output=True, text=True, check=True).stdout)
    assert (told["lesson"], told["points"], told["max_points"], told["next"]) == ("04_training_loop", 2.0, 5.0, "second")
