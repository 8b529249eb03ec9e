"""The corpus of attacks in the place of answers to real lessons, through the command line: no point gained, nobody harmed.

Each attack is a student of its own.  What it would do in the place of its own exercise's function, it does in the place of
the lesson's.  A run of the tests takes a few on one lesson, `unit24 prove sweeps` all of them on three.
"""

import html
import json
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from drawn import ALL, drawn
from left_running import our_processes

from course.lesson import LESSONS, find_lessons, read
from grader.classroom import SampleClass
from judge import isolation

sys.path.insert(0, str(Path(__file__).parents[1] / "judge"))
from attacks.read import THEMES, corpus, lesson_path  # noqa: E402

ROOT = Path(__file__).parents[2]
NAMES = find_lessons(("02", "04", "20") if ALL else ("02",))
NEIGHBOURS = ("a_neighbour", "z_neighbour")  # graded before and after the attacks
ATTACKS = drawn(corpus(THEMES), 12)

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(isolation.detect().level != "full", reason=f"this machine gives {isolation.detect()}"),
]


def placed():
    """For each attack: student, lesson, exercise, the cell, the points that its honest part deserves."""
    lessons = [read(LESSONS / f"{name}.py") for name in NAMES]
    made_for = {name: read(lesson_path(name)) for name in THEMES}
    for number, attack in enumerate(ATTACKS):
        lesson = lessons[number % len(lessons)]
        exercise = lesson.exercises[number // len(lessons) % len(lesson.exercises)]
        known = {"LESSON_PATH": str(lesson.path), "LISTENING_PORT": 9, "LISTENING_NAME": "\0nobody"}
        text, deserves = attack.text(exercise.cell.source, **known), exercise.points
        if not re.search("^# honest$", attack.source, re.M):
            own = made_for[attack.lesson].exercise(attack.exercise)
            text += "".join(f"\n{name} = globals().get({sorted(own.names)[0]!r})" for name in sorted(exercise.names - own.names))
            # Where functions of the lesson have the same names, the attack's honest ones stand for them, in whichever cell.
            deserves = sum(e.points for e in lesson.exercises if e.names == own.names) * attack.deserves / own.points
        yield f"m{number}_{attack.theme}_{attack.name}", lesson, exercise, text, float("inf") if attack.known else deserves


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class folder, what the command printed, and processes left by it."""
    root, before = tmp_path_factory.mktemp("class"), our_processes()
    written = {name: SampleClass(read(LESSONS / f"{name}.py")) for name in NAMES}
    texts = {(student, name): sample._text(sample.reference) for name, sample in written.items() for student in NEIGHBOURS}
    for student, lesson, exercise, text, _ in placed():
        texts[student, lesson.name] = written[lesson.name]._text({exercise.id: text.replace("CLASS_PATH", repr(str(root)))})
    for (student, name), text in texts.items():
        file = root / "submitted" / student / name / f"{name}.ipynb"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    call = [str(Path(sys.executable).with_name("unit24")), "grade", *NAMES, "--root", str(root), "--json"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=7000)
    assert done.returncode in (0, 1) and done.stdout, done.stderr[:3000]
    deadline = time.monotonic() + 10
    while (running := our_processes() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    told = {(s["student"], s["lesson"]): s for s in json.loads(done.stdout)["submissions"]}
    assert told.keys() == texts.keys()
    return root, told, [psutil.Process(pid).cmdline() for pid in running]


def test_no_attack_gains_a_point(graded):
    _, told, _ = graded
    gained = [
        f"{student}: {told[student, lesson.name]['exercises']}"
        for student, lesson, _, _, deserves in placed()
        if sum(e["points"] for e in told[student, lesson.name]["exercises"].values()) > deserves
    ]
    assert not gained, "\n".join(gained)


def test_neighbours_keep_full_points_and_pages(graded):
    root, told, _ = graded
    for name in NAMES:
        full = {e.id: e.points for e in read(LESSONS / f"{name}.py").exercises}
        for student in NEIGHBOURS:
            assert {e: v["points"] for e, v in told[student, name]["exercises"].items()} == full
            assert (root / "feedback" / student / name / f"{name}.html").exists()


def test_the_gradebook_says_what_was_printed(graded):
    root, told, _ = graded
    with sqlite3.connect(root / "gradebook.db") as db:
        rows = db.execute(
            "select a.student_id, n.name, sum(g.auto_score) from grade g join submitted_notebook s on g.notebook_id = s.id "
            "join submitted_assignment a on s.assignment_id = a.id join notebook n on s.notebook_id = n.id group by s.id"
        ).fetchall()
    assert {(student, name): score or 0.0 for student, name, score in rows} == {
        key: pytest.approx(sum(e["points"] for e in s["exercises"].values())) for key, s in told.items()
    }


def test_nothing_is_said_of_solutions_or_hidden_tests(graded):
    """Lines of a solution or of hidden tests that the student's notebook does not hold."""
    root, _, _ = graded
    for name in NAMES:
        lesson = read(LESSONS / f"{name}.py")
        notebook = json.loads((ROOT / "notebooks" / name / f"{name}.ipynb").read_text())
        known = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
        secret = {line.strip() for e in lesson.exercises for line in (e.cell.source + "\n" + e.tests.source).splitlines()}
        secret = {line for line in secret if len(line) > 40 and line not in known}
        assert len(secret) > 20
        for student, where, _, text, _ in placed():
            page = root / "feedback" / student / name / f"{name}.html"
            if where.name == name and page.exists():
                shown = html.unescape(page.read_text())
                assert [line for line in secret if line in shown and line not in text] == [], student


def test_nothing_is_left_behind(graded):
    root, _, running = graded
    assert running == []
    assert not Path("/tmp/unit24-left-behind").exists() and not Path("/dev/shm/unit24-left-behind").exists()
    assert {p.name for p in root.iterdir() if not p.name.startswith(".")} <= {"submitted", "autograded", "feedback", "gradebook.db"}
