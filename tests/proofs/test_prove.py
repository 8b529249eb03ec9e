"""``unit24 prove``: what holds is left alone, what is stale is proven again, and a run that was killed goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time

import click
import psutil
import pytest
from texts import edit

from course.parts import ROOT
from course.records import change_record, read_record, update_record
from proofs.commands import prove
from proofs.run import plan
from proofs.standing import standings

NAME = "61_small"


def call(course, *options):
    return prove.main([*options, "--root", str(course.root)], standalone_mode=False)


def states(course, capsys, *options):
    """Exit status, and the state of each proof."""
    capsys.readouterr()
    status = call(course, *options, "--json")
    return status, {proof: about["state"] for proof, about in json.loads(capsys.readouterr().out)["proofs"][NAME].items()}


def change(course, old, new):
    files = (course.lessons / f"{NAME}.py", course.lessons / "answers" / f"{NAME}.py")
    edit(next(path for path in files if old in path.read_text()), old, new)


PROVEN = dict.fromkeys(("audit", "nbval", "sample_class", "stock"), "proven")


@pytest.fixture(scope="session")
def proven(built):
    """What is recorded once everything is proven."""
    assert prove.main(["--root", str(built)], standalone_mode=False) == 0
    records = built / "lessons" / "records"
    record = read_record(NAME, records)
    for proof in PROVEN:
        change_record(NAME, lambda about, proof=proof: {key: value for key, value in about.items() if key != proof}, records)
    return record


@pytest.fixture
def proven_course(course, proven):
    for key, value in proven.items():
        update_record(NAME, key, value, course.records)
    return course


def test_what_is_recorded(proven):
    assert proven.keys() == {"solution", *PROVEN}
    assert proven["audit"]["mean_gap"]["wrong"] == [3, 3, 3] and proven["audit"]["mean_gap"]["hash"]
    assert proven["sample_class"]["students"] >= 12 and proven["stock"]["students"] == ["every_other_wrong"]


def test_what_holds_is_left_alone(proven_course, capsys):
    before = (proven_course.records / f"{NAME}.json").read_text()
    assert states(proven_course, capsys, "--check") == states(proven_course, capsys) == (0, PROVEN)
    assert (proven_course.records / f"{NAME}.json").read_text() == before


def test_without_a_proof_it_says_so_and_how_to_get_it(course, capsys):
    assert states(course, capsys, "--check") == (1, dict.fromkeys(PROVEN, "missing"))
    call(course, "--check")
    assert f"{NAME}, audit: missing: run `unit24 prove 61`" in capsys.readouterr().out


def test_a_changed_wrong_answer(proven_course, capsys):
    """The solved notebook does not hold it; the audit, the sample class and stock nbgrader's scores do."""
    change(proven_course, "sum(b - a for a, b in zip(x, y)) / len(x)", "-sum(a - b for a, b in zip(x, y)) / len(x)")
    assert states(proven_course, capsys, "--check") == (1, {**dict.fromkeys(PROVEN, "stale"), "nbval": "proven"})


def test_words_make_nothing_stale(proven_course, capsys):
    change(proven_course, "# # Small", "# # Little")
    change(proven_course, '    """Raise AssertionError', '    """Raise an AssertionError')
    change(proven_course, "    return total / len(x)", "    # the mean\n    return total / len(x)")
    assert states(proven_course, capsys, "--check") == (0, PROVEN)


def test_what_falls_short_is_no_proof(proven_course, capsys):
    """A wrong answer that fails with other words, and a solved notebook of another text: each is said, and what to do."""
    change(proven_course, 'says="sign is flipped"', 'says="something else"')
    change(proven_course, "### BEGIN SOLUTION\n    return helper", "### BEGIN SOLUTION\n    unused = 0\n    return helper")
    capsys.readouterr()
    assert call(proven_course) == 1
    said = capsys.readouterr().out
    assert "the message lacks 'something else'" in said
    assert f"solutions/{NAME}/{NAME}.ipynb is not current: run `unit24 build {NAME}` first" in said
    short = {"audit": "fell short", "nbval": "missing", "sample_class": "proven", "stock": "missing"}
    assert states(proven_course, capsys, "--check") == (1, short)
    (lesson,) = proven_course.read()
    todo = {job.proofs: job.parts for job in plan([lesson], False, 1, root=proven_course.root)}
    assert todo == {("audit",): ("mean_gap",), ("nbval",): (), ("stock",): ("every_other_wrong",)}  # what is sound is left alone


def test_a_killed_run_goes_on_where_it_was(course):
    """With everything that it started gone."""
    code = "import sys; from proofs.commands import prove; prove(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--root", str(course.root), "--jobs", "1"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not read_record(NAME, course.records).get("audit"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert psutil.wait_procs(family, timeout=20)[1] == []
    audited = read_record(NAME, course.records)["audit"]
    assert 1 <= len(audited) < 3
    (lesson,) = course.read()
    todo = {job.proofs: job.parts for job in plan([lesson], False, 1, root=course.root)}
    assert todo["audit", "sample_class"] == tuple(e.id for e in lesson.exercises if e.id not in audited)
    # What was audited holds: the rest is missing, not stale. Committed so, it failed the tests before.
    assert standings(lesson, course.root)[0].state == "missing"


SWEEP = "from drawn import drawn\n\ndef test_all():\n    assert drawn(range(9), 2) == list(range(NUMBER))\n"


def test_sweeps(tmp_path, capsys, monkeypatch):
    """Test files that draw are run with all that they have; one that fails, or does not run, proves nothing.

    The project's own ``-q`` took pytest's last line away, and every sweep that passed was said to fall short.
    """
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q\n")
    file = tmp_path / "tests" / "test_many.py"
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "support"), prepend=os.pathsep)

    def status():
        capsys.readouterr()
        call = prove.main(["sweeps", "--json", "--root", str(tmp_path)], standalone_mode=False)
        return call, json.loads(capsys.readouterr().out)["proofs"]["sweeps"]["tests/test_many.py"]["state"]

    file.write_text(SWEEP.replace("NUMBER", "9"))
    assert status() == (0, "proven")
    assert read_record("sweeps", tmp_path / "lessons" / "records")["tests/test_many.py"]["passed"] == 1
    file.write_text(SWEEP.replace("NUMBER", "8"))
    assert status() == (1, "missing")
    file.write_text("import pytest\npytestmark = pytest.mark.skip\n" + SWEEP.replace("NUMBER", "9"))
    assert status() == (1, "missing")


def test_a_stopped_sweep_goes_on(tmp_path, capsys, monkeypatch):
    """Tests that passed are not run again, though those of one file; with an hour of notebooks in a kernel, a stop lost all."""
    (tmp_path / "tests").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "support"), prepend=os.pathsep)
    seen, ready = tmp_path / "seen.txt", tmp_path / "ready.txt"
    (tmp_path / "tests" / "test_two.py").write_text(
        "from pathlib import Path\nfrom drawn import drawn\n\n"
        f"def test_a():\n    with open({str(seen)!r}, 'a') as file:\n        file.write('a')\n\n"
        f"def test_a_second():\n    assert Path({str(ready)!r}).exists()\n"
    )

    def prove_it():
        capsys.readouterr()
        return prove.main(["sweeps", "--json", "--root", str(tmp_path)], standalone_mode=False)

    assert prove_it() == 1
    record = read_record("sweeps", tmp_path / "lessons" / "records")["tests/test_two.py"]
    assert record["reached"] == ["tests/test_two.py::test_a"] and "hash" not in record
    ready.touch()
    assert prove_it() == 0
    record = read_record("sweeps", tmp_path / "lessons" / "records")["tests/test_two.py"]
    assert record["passed"] == 2 and seen.read_text() == "a"


def test_check_and_all_do_not_go_together(course):
    with pytest.raises(click.UsageError):
        call(course, "--check", "--all")
