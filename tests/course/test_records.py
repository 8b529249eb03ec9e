"""What is recorded about a lesson survives other writers and damage."""

import json
import subprocess
import sys

from course.records import read_record, update_record


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
