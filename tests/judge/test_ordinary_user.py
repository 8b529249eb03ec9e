"""A grader that is not root: the same grades, and, in the whole sweep, the same attacks held."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import ALL
from ordinary import as_ordinary_user

from grader.classroom import write_sample_class

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"


def run(call, folder):
    command = as_ordinary_user(call, folder)
    if command is None:
        pytest.skip("this machine has no way to run something as an ordinary user")
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=2400)


def test_a_class_is_graded_by_an_ordinary_user(tmp_path, small):
    root = tmp_path / "nobody" / "class"
    expected = write_sample_class(root, [small])
    call = [str(Path(sys.executable).with_name("unit24")), "grade", "61", "--root", str(root), "--lessons", str(FIXTURES), "--json"]
    done = run(call, tmp_path / "nobody")
    assert done.returncode in (0, 1), done.stderr[-2000:]
    told = json.loads(done.stdout)
    got = {s["student"]: {name: e["points"] for name, e in s["exercises"].items()} for s in told["submissions"]}
    assert got == {student: points[small.name] for student, points in expected.items()}


@pytest.mark.skipif(not ALL, reason="in the whole sweep")
@pytest.mark.timeout(2500)
def test_attacks_are_held_by_an_ordinary_user(tmp_path):
    """Landlock alone did not stop `chmod`, extended attributes and owners of signals where all processes had one user."""
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/judge/test_attacks.py", "-k", "not naive"]
    done = run([*call, f"--basetemp={tmp_path}/nobody/pytest"], tmp_path / "nobody")
    assert done.returncode == 0, done.stdout[-3000:]
