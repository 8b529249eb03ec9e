"""The leak scan finds every kind of secret, and nothing else."""

import json
import re
from pathlib import Path

import pytest

from authoring.leaks import scan


def put(course, text, cell=3, name="01_small"):
    """Append a line to a cell of a released notebook."""
    path = course.notebook(name)
    notebook = json.loads(path.read_text())
    notebook["cells"][cell]["source"] += ["\n", text]
    path.write_text(json.dumps(notebook))


def lines(course):
    return [str(leak) for leak in scan(course.notebooks, course.read())]


def test_a_clean_release_has_no_leak(built):
    assert lines(built) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("        secret_result  =  number + number", "the solution of double"),
        ("# once: secret_result = number + number;", "the solution of double"),
        ('check.equal(double(-17), -34, "double of a negative number")', "the hidden tests of double"),
        ("misunderstood = number + 1", "a wrong answer to double"),
        ("return sum([value, value, 0])", "a right answer to double"),
        ("Because twice a number is that number added to itself.", "the model answer to why_sum"),
        ("One point for naming repeated addition.", "the rubric of why_sum"),
        ("- [x] four, of course :: Exactly: two and two.", "the answers of quiz end"),
        ("That would be joining digits.", "the answers of quiz end"),
    ],
)
def test_each_kind_of_secret_is_found_with_its_line(built, text, kind):
    put(built, text)
    found = lines(built)
    assert found and all(kind in leak and "notebooks/01_small/01_small.ipynb [setup-2]" in leak for leak in found)
    file, number, secret = re.fullmatch(r".* \((\S+):(\d+)\): (.*)", found[0]).groups()
    assert secret in " ".join(Path(file).read_text().splitlines()[int(number) - 1].split())


def test_what_students_see_anyway_is_no_secret(built):
    put(built, "def double(number):")  # also the first line of a wrong answer
    put(built, "four, of course")  # an option, without saying that it is right
    put(built, "return x + 1")  # too short to tell anything
    assert lines(built) == []


def test_secrets_of_another_lesson_are_found(built):
    put(built, "return number / 2.0")
    assert "the solution of half" in lines(built)[0] and "02_other.py:" in lines(built)[0]


def test_a_line_that_one_lesson_shows_is_no_secret_of_another(built):
    path = built.lessons / "01_small.py"
    path.write_text(path.read_text() + "\n# %%\ndef shown(number):\n    return number / 2.0\n")
    put(built, "    return number / 2.0")
    assert lines(built) == []


def test_outputs_markers_metadata_and_other_files(built):
    path = built.notebook("01_small")
    notebook = json.loads(path.read_text())
    notebook["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["secret_result = number + number"]}]
    notebook["cells"][3]["metadata"]["note"] = "number + number is the answer: secret_result = number + number"
    notebook["cells"][4]["source"] += ["\n### BEGIN SOLUTION"]
    notebook["metadata"]["hidden"] = ["That would be joining digits."]
    path.write_text(json.dumps(notebook))
    (built.notebooks / "02_other" / "data.csv").write_text("1")
    (built.notebooks / "01_small.ipynb").write_text("{}")
    (built.notebooks / "03_broken").mkdir()
    (built.notebooks / "03_broken" / "03_broken.ipynb").write_text("{")
    found = "\n".join(lines(built))
    assert "[setup-1]: an output" in found and "[setup-1]: a line of the solution" in found
    assert "[setup-2]: a line of the solution" in found
    assert "[double]: a `### BEGIN SOLUTION` marker" in found
    assert "[(metadata)]: a line of the answers of quiz end" in found
    assert "notebooks/02_other/data.csv: a file that is not a lesson's notebook" in found
    assert "notebooks/01_small.ipynb: a file that is not a lesson's notebook" in found
    assert "notebooks/03_broken/03_broken.ipynb: not a readable notebook" in found


def test_declared_files_may_stand_there(built):
    (built.notebooks / "02_other" / "data.csv").write_text("1")
    assert scan(built.notebooks, built.read(), public=["02_other/data.csv"]) == []
