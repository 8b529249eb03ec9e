"""``unit24 blind``: a round is begun, graded, judged and recorded; its answers are only read."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from small_course import make_course
from texts import edit

from authoring.build import Course
from course.notebook import as_text
from course.parts import ROOT
from course.records import read_record, update_record
from course.rounds import last_round
from grader.gradebook import Forms
from proofs.commands import blind

NAME = "01_small"
ANSWERS = '''\
# %% right="double" note="a product"
def double(number):
    return 2 * number

# %% right="double" note="truly right for small numbers only"
def double(number):
    return number + number if abs(number) < 10 else 0

# %% wrong="double" misunderstands="takes it for the square"
def double(number):
    return number**2
'''
MORE = '''\
# %% wrong="double" misunderstands="nobody doubles more than a thousand"
def double(number):
    return min(number + number, 2000)
'''


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A folder with a course, and a round of its first lesson that was graded once: its verdicts are known."""
    root = tmp_path_factory.mktemp("graded")
    course, folder = make_course(root / "course"), root / "round"
    assert call(course, folder) == 0
    (folder / "answers" / "first.py").write_text(ANSWERS)
    (folder / "answers" / "second.py").write_text(MORE)
    assert call(course, folder) == 1
    return root


@pytest.fixture
def course(graded, tmp_path):
    return Course(shutil.copytree(graded / "course", tmp_path / "course"))


@pytest.fixture
def folder(graded, tmp_path):
    return shutil.copytree(graded / "round", tmp_path / "round")


def call(course, folder, *options, lesson="1"):
    return blind.main([lesson, str(folder), *options, "--root", str(course.root)], standalone_mode=False)


def told(course, folder, capsys, *options):
    """Exit status, and the object that ``--json`` prints."""
    capsys.readouterr()
    status = call(course, folder, "--json", *options)
    return status, json.loads(capsys.readouterr().out)


def faults(course, folder):
    """What is wrong with the answers, by file and line."""
    with pytest.raises(ValueError) as raised:
        call(course, folder)
    prefix = f"{folder / 'answers'}{os.sep}"
    return dict(line.removeprefix(prefix).split(": ", 1) for line in raised.value.lines)


def test_what_the_reader_gets(course, tmp_path):
    """The notebook that students get, and how to write answers; no solution, no hidden test, no answer of the author's."""
    folder = tmp_path / "new" / "round"
    assert call(course, folder) == 0
    assert sorted(path.name for path in folder.iterdir()) == [f"{NAME}.ipynb", "README.md", "answers", "round.json"]
    (lesson,) = course.read((NAME,))
    assert (folder / f"{NAME}.ipynb").read_text() == as_text(Forms(lesson).student)
    instructions = (folder / "README.md").read_text()
    assert "unit24 blind 01 " in instructions and "| `double` | `double` |" in instructions
    for path in folder.glob("*.*"):
        assert not any(word in path.read_text() for word in ("secret_result", "negative number", "misunderstood", "sum([value"))


def test_the_round(course, folder, capsys):
    """One right answer is turned down, one wrong one slips through."""
    status, found = told(course, folder, capsys)
    assert status == 1
    assert (found["right"], found["wrong"], found["misleading"], found["not_counted"]) == ([2, 1], [2, 1], 0, 0)
    assert found["exercises"]["double"] == {"right": [2, 1], "wrong": [2, 1], "misleading": 0, "not_counted": 0}
    first = str(folder / "answers" / "first.py")
    places = [f"{first}:1", f"{first}:5", f"{first}:9", f"{folder / 'answers' / 'second.py'}:1"]
    assert [a["place"] for a in found["answers"]] == places
    assert [(a["kind"], a["status"], a["deviates"]) for a in found["answers"]] == [
        ("right", "passed", False),
        ("right", "failed", True),
        ("wrong", "failed", False),
        ("wrong", "passed", True),
    ]
    assert "double of a negative number" in found["answers"][1]["message"]


def test_what_a_person_sees(course, folder, capsys):
    """First what deviates, then the message of what was rejected as it must be, to be looked at too."""
    capsys.readouterr()
    assert call(course, folder, "--messages") == 1
    said, answers = capsys.readouterr().out, folder / "answers"
    lines = [
        f"{answers / 'first.py'}:5: right='double': turned down, though right (failed, 0 of 2 points)",
        "    written as: truly right for small numbers only",
        f"{answers / 'second.py'}:1: wrong='double': slips through, though wrong (passed, 2 of 2 points)",
        "    misunderstands: nobody doubles more than a thousand",
        f"{answers / 'first.py'}:9: wrong='double': rejected (failed, 0 of 2 points)",
        "    misunderstands: takes it for the square",
        "    told: ✗",
        "right 1 of 2 accepted, wrong 1 of 2 rejected, misleading messages: 0, not counted: 0.",
    ]
    for line in lines:  # each after the one before it
        said = said[said.index(f"\n{line}") + 1 :]


def test_answers_that_are_not_counted_leave_the_figures(course, folder, capsys):
    """With the reason, and the status says that nothing is wrong any more."""
    edit(folder / "answers" / "first.py", 'small numbers only"', 'small numbers only" not_counted="not right, by the words of the task"')
    edit(folder / "answers" / "second.py", 'thousand"', 'thousand" not_counted="the task names no limit"')
    edit(folder / "answers" / "first.py", 'the square"', 'the square" misleads="it speaks of adding"')
    capsys.readouterr()
    assert call(course, folder) == 0
    said = capsys.readouterr().out
    assert "right 1 of 1 accepted, wrong 1 of 1 rejected, misleading messages: 1, not counted: 2." in said
    assert "not counted: the task names no limit" in said and "misleads: it speaks of adding" in said


def test_an_answer_is_graded_by_itself(course, folder, capsys):
    """Not with names from the reader's other answers, right or wrong."""
    (folder / "answers" / "first.py").write_text(
        '# %% right="double" note="imports what it needs"\nimport operator\n\ndef double(number):\n    return operator.add(number, number)\n'
        '\n# %% wrong="double" misunderstands="takes operator for built in"\ndef double(number):\n    return operator.mul(number, 2)\n'
    )
    _, found = told(course, folder, capsys)
    assert [a["status"] for a in found["answers"]] == ["passed", "failed", "passed"]
    assert "'operator' is not defined" in found["answers"][1]["message"]


def test_everything_wrong_with_the_answers_is_said_at_once(course, folder):
    (folder / "answers" / "first.py").write_text(
        '# %% right="dubble"\ndef double(number):\n    return 2 * number\n'  # line 1
        '\n# %% wrong="double"\ndef double(number):\n    return 0\n'  # 5
        '\n# %% wrong="double" misunderstands="a slip"\ndef double(number):\n    return number +\n'  # 9
        '\n# %% right="double" note="other names"\ndef twice(number):\n    return 2 * number\n'  # 13
        '\n# %% wrong="double" misunderstands="not done"\ndef double(number):\n    raise NotImplementedError()\n'  # 17
        '\n# %% [markdown]\n# A thought.\n'  # 21
        '\n# %% wrong="double" misunderstands="x" says="y"\ndef double(number):\n    return 1\n'  # 24
        '\n# %% wrong="double" misunderstands="x" not_counted=true\ndef double(number):\n    return 2\n'  # 28
    )
    (folder / "answers" / "second.py").write_text(MORE + "\n" + MORE.replace("def", "# again\ndef"))
    (folder / "answers" / "third.py").write_bytes(b"# \xe9t\xe9")
    found = faults(course, folder)
    words = {
        "first.py:1": "there is no such exercise in 01_small; it has double",
        "first.py:5": "needs misunderstands=",
        "first.py:11": "invalid syntax",
        "first.py:13": "does not define double: it replaces the whole cell",
        "first.py:17": "is empty, or still the stub",
        "first.py:21": "each cell begins with",
        "first.py:24": "unknown key 'says'",
        "first.py:28": "not_counted=True must say something",
        "second.py:5": "has the same code as second.py:1",
        "third.py:1": "UTF-8",
    }
    assert found.keys() == words.keys()
    assert all(words[place] in found[place] for place in words)


def test_after_the_lesson_was_mended(course, folder, capsys):
    """The answers that there are now are graded on what the lesson is now, in a class made anew; no round is recorded."""
    edit(course.lessons / f"{NAME}.py", 'double(-17), -34, "double of a negative number"', 'double(1700), 3400, "double of a large number"')
    edit(folder / "answers" / "first.py", '# %% right="double" note="a product"\ndef double(number):\n    return 2 * number\n\n', "")
    before = {path: path.read_bytes() for path in (folder / "answers").iterdir()}
    status, found = told(course, folder, capsys)
    assert (status, found["changed"], found["right"], found["wrong"]) == (1, True, [1, 0], [2, 2])
    students = ["double_right1", "double_wrong1", "double_wrong2"]
    for part in ("submitted", "autograded", "feedback"):
        assert sorted(path.name for path in (folder / "class" / part).iterdir()) == students
    assert before == {path: path.read_bytes() for path in (folder / "answers").iterdir()}
    with pytest.raises(ValueError, match="has changed since the reader saw it"):
        call(course, folder, "--record")
    assert last_round(NAME, course.records) is None


def test_a_round_is_recorded_once(course, folder, capsys):
    """Behind the rounds before it; again after an answer was judged otherwise, in the same place. Other proofs stay."""
    older = {"date": "2026-01-01", "right": [18, 17], "wrong": [25, 11], "misleading": 4}
    update_record(NAME, "blind", [older], course.records)
    update_record(NAME, "nbval", {"hash": "x"}, course.records)
    assert told(course, folder, capsys, "--record")[1]["recorded"]
    edit(folder / "answers" / "second.py", 'thousand"', 'thousand" not_counted="the task names no limit"')
    call(course, folder, "--record")
    record = read_record(NAME, course.records)
    assert record["nbval"] == {"hash": "x"} and record["blind"][:-1] == [older]
    last = record["blind"][-1]
    assert (last["right"], last["wrong"], last["not_counted"]) == ([2, 1], [1, 1], 1)
    assert last["exercises"]["double"]["wrong"] == [1, 1] and last == last_round(NAME, course.records)


def test_a_killed_run_goes_on_where_it_was(course, folder, capsys):
    for number in range(6):
        text = MORE.replace("2000", f"{2001 + number}").replace("return", "sum(range(3_000_000))\n    return")
        (folder / "answers" / f"slow{number}.py").write_text(text)
    journal = folder / "class" / ".unit24" / "verdicts" / f"{NAME}.jsonl"

    def known():
        return journal.read_bytes().count(b"\n")

    before = known()
    code = "import sys; from proofs.commands import blind; blind(sys.argv[1:])"
    command = [sys.executable, "-c", code, "1", str(folder), "--jobs", "1", "--root", str(course.root)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while known() < before + 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = journal.read_bytes()
    assert known() < before + 6
    assert told(course, folder, capsys)[1]["wrong"] == [8, 1]
    assert journal.read_bytes().startswith(kept) and known() == before + 6


def test_folders_that_are_something_else(course, folder, tmp_path):
    with pytest.raises(ValueError, match="a blind round of 01_small, not of 02_other"):
        call(course, folder, lesson="2")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my own")
    with pytest.raises(ValueError, match="not empty and no blind round"):
        call(course, tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no round to record yet"):
        call(course, tmp_path / "empty", "--record")
    assert call(course, tmp_path / "empty") == 0
    with pytest.raises(ValueError, match="no answers there yet"):
        call(course, tmp_path / "empty")
