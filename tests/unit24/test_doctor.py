"""``unit24 doctor``: what it finds on a machine, and what it says that lessons miss."""

import json
from importlib import metadata

import pytest
from click.testing import CliRunner

from unit24 import doctor


def write_notebook(root, lesson, needs):
    path = root / "notebooks" / lesson / f"{lesson}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"metadata": {"unit24": {"lesson": lesson, "needs": needs}}, "cells": []}))
    return path


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two lessons, seen from a folder inside it."""
    write_notebook(tmp_path, "02_tensors", ["numpy>=1", "torch>=2"])
    write_notebook(tmp_path, "07_models", ["numpy>=1", "torch>=99", "no-such-package"])
    monkeypatch.chdir(tmp_path / "notebooks" / "02_tensors")
    return tmp_path


def test_json_names_what_each_lesson_misses(course):
    done = CliRunner().invoke(doctor.doctor, ["--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert {lesson["lesson"]: lesson["missing"] for lesson in found["lessons"]} == {
        "02_tensors": [],
        "07_models": ["torch>=99", "no-such-package"],
    }


def test_json_describes_the_machine(course):
    found = doctor.examine(course)
    assert found["cores"] >= 1 and found["disk_free_gb"] > 0 and found["memory_gb"] > found["memory_available_gb"] > 0
    assert found["device"] == "cpu" and found["tier"] == "tiny" and found["platform"] == "local"
    assert found["versions"]["torch"] == metadata.version("torch")
    assert found["network"]["HF_HUB_OFFLINE"] == "1"


def test_tables_show_the_same(course, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    (course / "notebooks" / "07_models" / "07_models.ipynb").unlink()
    done = CliRunner().invoke(doctor.doctor)
    assert done.exit_code == 0
    assert "02_tensors" in done.stdout and "nothing" in done.stdout and metadata.version("torch") in done.stdout


def test_a_damaged_notebook_does_not_stop_it(course):
    (course / "notebooks" / "07_models" / "07_models.ipynb").write_text('{"cells": [')
    assert list(doctor.lesson_needs(course)) == ["02_tensors"]


def test_without_a_course_it_speaks_of_the_machine_alone(tmp_path):
    found = doctor.examine(tmp_path)
    assert found["lessons"] == []
    doctor.show(found)


@pytest.mark.parametrize(
    ("need", "missing"),
    [
        ("numpy", False),
        ("numpy>=1.0", False),
        ("numpy<1.0", True),
        ("no-such-package", True),
        ("no-such-package; python_version < '3'", False),
        ("click-cpu", False),  # click, the full build, stands in for it
        ("not a requirement", True),
    ],
)
def test_is_missing(need, missing):
    assert doctor.is_missing(need) is missing
