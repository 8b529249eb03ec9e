"""``unit24 lessons``, ``build`` and ``new`` as typed: output and exit status."""

import json
import shutil

import pytest
from texts import edit

from course.lesson import ROOT, read
from unit24.cli import main


@pytest.fixture
def unit24(capsys):
    """A function that runs the command and returns (exit status, stdout, stderr)."""

    def run(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return run


def test_lessons_json(built, unit24):
    status, out, _ = unit24("lessons", "--json", "--root", built.root)
    small, other = json.loads(out)
    assert status == 0 and (small["lesson"], small["title"], small["quiz"]) == ("01_small", "Small numbers", 1)
    assert small["exercises"] == [
        {"id": "double", "points": 2, "minutes": 5, "difficulty": 1, "wrong": 1, "right": 1, "hints": 1}
    ]
    assert small["answers"] == [{"id": "why_sum", "points": 1.5, "minutes": 10, "difficulty": 1}]
    assert small["seconds"] > 0 and small["peak_mb"] > 0


def test_lessons_says_where_what_was_measured_was_another_text(built, unit24):
    edit(built.lessons / "01_small.py", "start = 3", "start = 4")
    _, out, _ = unit24("lessons", "--json", "--root", built.root)
    small, other = json.loads(out)
    assert small["stale"] and small["seconds"] is None and not other["stale"]
    _, out, _ = unit24("lessons", "1", "--root", built.root)
    assert next(line for line in out.splitlines() if "01_small" in line).split()[-2:] == ["stale", "stale"]


def test_lessons_table(course, unit24):
    status, out, _ = unit24("lessons", "1", "--root", course.root)
    row = next(line for line in out.splitlines() if "01_small" in line)
    assert status == 0 and row.split() == ["01_small", "2", "3.5", "15", "1", "–", "–"]


def test_build_says_what_it_did(built, unit24):
    status, out, err = unit24("build", "--root", built.root)
    assert (status, out, err) == (0, "2 lessons: 0 executed, 0 released, 2 already current.\n", "")
    assert unit24("build", "--check", "--root", built.root)[:2] == (0, "2 lessons: solutions/ and notebooks/ are current, no leak.\n")


def test_build_check_has_status_1_where_something_is_not_current(built, unit24):
    built.notebook("02_other").unlink()
    status, out, _ = unit24("build", "--check", "2", "--root", built.root)
    assert status == 1 and out == "notebooks/02_other/02_other.ipynb is missing: run `unit24 build 02_other`\n"
    assert not built.notebook("02_other").exists()


def test_a_failing_lesson_is_status_1(course, unit24):
    path = course.lessons / "02_other.py"
    path.write_text(path.read_text() + "\n# %%\nmissing_name\n")
    status, out, err = unit24("build", "02", "--root", course.root)
    assert status == 1 and out == "02_other: failed\n1 lesson: 0 executed, 0 released, 0 already current, 1 problem.\n"
    assert err == f"lessons/02_other.py:{len(path.read_text().splitlines())}: NameError: name 'missing_name' is not defined\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["build", "44"], "unit24: there is no lesson '44'; there are: 01_small, 02_other\n"),
        (["lessons", "44"], "unit24: there is no lesson '44'; there are: 01_small, 02_other\n"),
        (["build", "--check", "--force"], "--check executes nothing"),
        (["new", "Lesson"], "unit24: 'Lesson' is not a lesson's name: two digits"),
        (["new", "1_x"], "is not a lesson's name"),
        (["new", "01_small"], "unit24: lessons/01_small.py is there already; nothing was changed.\n"),
        (["new", "02_mine"], "unit24: the number 02 belongs to lessons/02_other.py: choose another.\n"),
        (["new", "03_gone"], "unit24: lessons/answers/03_gone.py is there already; nothing was changed.\n"),
    ],
)
def test_used_wrongly_is_one_line_and_status_2(course, unit24, args, message):
    (course.lessons / "answers" / "03_gone.py").write_text("")
    status, out, err = unit24(*args, "--root", course.root)
    assert status == 2 and message in err and err.count("\n") == 1


def test_a_malformed_lesson_is_one_line_and_status_2(course, unit24):
    edit(course.lessons / "02_other.py", "points=1", "points='one'")
    for command in ("build", "lessons"):
        status, _, err = unit24(command, "--root", course.root)
        assert status == 2 and "02_other.py:" in err and "points='one'" in err and err.count("\n") == 1


def test_all_faults_of_a_lesson_are_shown_a_line_each(course, unit24):
    edit(course.lessons / "02_other.py", "points=1", "points='one'")
    edit(course.lessons / "answers" / "02_other.py", 'right="half"', 'right="halve"')
    status, _, err = unit24("lessons", "--root", course.root)
    assert status == 2
    assert [line.replace(str(course.lessons), "lessons") for line in err.splitlines()] == [
        "unit24: lessons/02_other.py:10: exercise='half' has no `wrong` and no `right` answer in answers/02_other.py",
        "lessons/02_other.py:16: points='one' must be a number above 0, without quotes",
        "lessons/answers/02_other.py:2: right='halve': there is no such exercise in 02_other.py",
    ]


def test_a_disk_that_refuses_is_one_line_and_status_1(built, unit24):
    edit(built.lessons / "02_other.py", "Another", "A third")
    (built.root / "solutions" / "02_other" / "02_other.ipynb").unlink()
    (built.root / "solutions" / "02_other").rmdir()
    (built.root / "solutions" / "02_other").write_text("a file where a folder should be")
    status, _, err = unit24("build", "02", "--root", built.root)
    assert status == 1 and "02_other" in err and err.count("\n") == 1 and "cannot write" in err


def test_a_new_lesson_is_built_and_audited_as_it_stands(course, unit24):
    from authoring.audit import audit_lesson

    shutil.copy(ROOT / "setup_cell.py", course.root)
    status, out, _ = unit24("new", "61_my_topic", "--root", course.root)
    assert status == 0 and "lessons/61_my_topic.py and lessons/answers/61_my_topic.py are written" in out and "unit24 audit 61_my_topic" in out
    lesson = read(course.lessons / "61_my_topic.py")
    assert lesson.title == "My topic" and len(lesson.questions) == 5
    (exercise,) = lesson.exercises
    assert len(exercise.wrong) == 5 and len(exercise.right) == 2 and exercise.hints == 3
    status, out, err = unit24("build", "61", "--root", course.root)
    assert (status, err) == (0, "") and "1 executed, 1 released" in out
    audit = audit_lesson(lesson)["smooth"]
    assert audit.sound and audit.reference and audit.stub, audit.notes
    assert audit.rules == {"average": 2, "corrected": 1, "dtype": 1, "unchanged": 1} and audit.reported == []
    made, killed, _ = audit.mutants
    assert made >= 20 and killed == made, audit.survivors


def test_answers_are_tried_while_they_are_written(course, unit24, tmp_path):
    status, out, _ = unit24("try", "1", "double", "--root", course.root)
    assert status == 0 and "3 tried, 0 not as they must be" in out and "✓ right 01_small.py" in out
    mine = tmp_path / "mine.py"
    texts = ['right="double"\ndef double(x):\n    return x', 'wrong="double"\ndef double(x):\n    return 2 * x']
    texts.append('wrong="double" misunderstands="ends"\nimport os\nos._exit(3)')
    mine.write_text("\n\n".join(f"# %% {text}" for text in texts))
    status, out, _ = unit24("try", "1", "double", mine, "--quick", "--seed", "5", "--root", course.root)
    assert status == 1 and "3 tried, 2 not as they must be" in out and "ended with exit status 3" in out
    assert [line[0] for line in out.splitlines() if "mine.py" in line] == ["✗", "✗", "✓"]
    for nothing_to_try in ('# %% wrong="double" sayz="x"\n1', '# %% wrong="another"\n1', ""):
        mine.write_text(nothing_to_try)
        assert unit24("try", "1", "double", mine, "--root", course.root)[:2] == (2, "")
    assert unit24("try", "1", "nothing", "--root", course.root)[0] == 2
