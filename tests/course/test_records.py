"""What is recorded about a lesson survives other writers and damage."""

import json
import subprocess
import sys
from types import SimpleNamespace

from course.notebook import instructor_notebook
from course.records import last_run, read_record, record_audit, update_record


def test_a_key_is_set_and_others_stay(tmp_path):
    assert read_record("01_small", tmp_path) == {}
    update_record("01_small", "solution", {"seconds": 3}, tmp_path)
    update_record("01_small", "audit", {"killed": 9}, tmp_path)
    update_record("01_small", "solution", {"seconds": 4}, tmp_path)
    assert read_record("01_small", tmp_path) == {"solution": {"seconds": 4}, "audit": {"killed": 9}}
    assert [p.name for p in tmp_path.iterdir()] == ["01_small.json"]


def test_a_damaged_record_counts_as_none(tmp_path):
    (tmp_path / "01_small.json").write_text('{"solution": ')
    assert read_record("01_small", tmp_path) == {}
    update_record("01_small", "audit", 1, tmp_path)
    assert json.loads((tmp_path / "01_small.json").read_text()) == {"audit": 1}


def test_writers_side_by_side_lose_nothing(tmp_path):
    code = """
import sys, pathlib
from course.records import update_record
for i in range(20):
    update_record("01_small", f"{sys.argv[1]}-{i}", i, pathlib.Path(sys.argv[2]))
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, name, tmp_path]) for name in "abc"]
    assert [w.wait() for w in writers] == [0, 0, 0]
    assert len(read_record("01_small", tmp_path)) == 60


def test_a_run_of_another_text_is_not_the_last_run(lesson_from, tmp_path):
    lesson = lesson_from()
    assert last_run(lesson, folder=tmp_path) == {}
    now = instructor_notebook(lesson).metadata.unit24.source_hash
    update_record(lesson.name, "solution", {"source_hash": now, "seconds": 3}, tmp_path)
    assert last_run(lesson, folder=tmp_path)["seconds"] == 3
    assert last_run(lesson_from(("start = 3", "start = 4")), folder=tmp_path) is None


def test_an_exercise_that_is_gone_leaves_the_record(lesson_from, tmp_path):
    lesson, found = lesson_from(), SimpleNamespace(as_dict=lambda: {"reference": True})
    update_record(lesson.name, "audit", {"no_more": {}}, tmp_path)
    record_audit(lesson, tmp_path, "double", found)
    assert read_record(lesson.name, tmp_path) == {"audit": {"double": {"reference": True}}}
