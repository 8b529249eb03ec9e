"""Reading what students hand in: whatever it is, the batch goes on."""

import json

import pytest
from texts import read_copy

from course.reference import is_blank
from grader.autograded import autograded_text
from grader.courses import courses
from grader.gradebook import Forms
from grader.submission import LessonCells, read_submission
from grader.syntax import plain_python, same_code

SHELL = "get_ipython()"


@pytest.fixture(scope="module")
def cells(small):
    return LessonCells(small)


@pytest.fixture(scope="module")
def released(small):
    return json.loads(json.dumps(Forms(small).student))


def handed_in(tmp_path, content) -> "Path":  # noqa: F821
    path = tmp_path / "61_small.ipynb"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[1, 2]", "not a notebook"),
        (b'{"cells": 3}', "not a notebook"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_unreadable(tmp_path, cells, content, words):
    submission = read_submission(handed_in(tmp_path, content), "eve", cells)
    assert not submission.readable and words in submission.findings[0]


def test_links_and_folders_are_not_followed(tmp_path, cells):
    (tmp_path / "secret.ipynb").write_text("{}")
    link = tmp_path / "61_small.ipynb"
    link.symlink_to(tmp_path / "secret.ipynb")
    assert "not a plain file" in read_submission(link, "eve", cells).findings[0]
    assert "not a plain file" in read_submission(tmp_path, "eve", cells).findings[0]
    assert "cannot be read" in read_submission(tmp_path / "nowhere.ipynb", "eve", cells).findings[0]


@pytest.mark.parametrize("cell", [None, 7, [], {}, {"cell_type": 3, "source": 4}, {"source": [1, None]}, {"metadata": []}, {"metadata": {"nbgrader": 1}}])
def test_odd_cells_are_passed_over(tmp_path, cells, released, cell):
    notebook = json.loads(json.dumps(released))
    notebook["cells"].insert(0, cell)
    submission = read_submission(handed_in(tmp_path, notebook), "eve", cells)
    assert submission.readable and not submission.findings
    assert all(same_code(s) == cells.stubs[n] for n, s in submission.sources.items())


def test_released_cells_are_not_the_students_own(tmp_path, cells, released):
    assert read_submission(handed_in(tmp_path, released), "eve", cells).written == []


def test_only_exercise_sources_are_taken(tmp_path, cells, released):
    """Tests, tags, points and outputs of a submission mean nothing."""
    notebook = json.loads(json.dumps(released))
    for cell in notebook["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        cell["metadata"]["tags"] = ["skip-execution"]
        if name.startswith("test_"):
            cell["source"] = "pass"
            cell["metadata"]["nbgrader"]["points"] = 100
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "✓"}]
    submission = read_submission(handed_in(tmp_path, notebook), "eve", cells)
    assert submission.written == [] and set(submission.sources) == set(cells.exercises)


def test_duplicates_and_missing_cells_are_findings(tmp_path, cells, released):
    notebook = json.loads(json.dumps(released))
    by_name = {c["metadata"].get("nbgrader", {}).get("grade_id"): c for c in notebook["cells"]}
    by_name["mean_gap"]["source"] = "def mean_gap(x, y):\n    return 1"
    again = {**by_name["mean_gap"], "source": "def mean_gap(x, y):\n    return 2"}
    notebook["cells"].append(again)
    notebook["cells"].remove(by_name["gap_plus_one"])
    submission = read_submission(handed_in(tmp_path, notebook), "eve", cells)
    assert submission.sources["mean_gap"].endswith("return 2")
    assert any("occurs 2 times (different" in f for f in submission.findings)
    assert any("gap_plus_one: missing" in f for f in submission.findings)


def test_an_own_cell_at_the_very_start_is_kept(tmp_path, small):
    """It was filed under the first prose cell, and where a lesson begins with its set-up it vanished from the graded notebook."""
    title = "# %% [markdown]\n# # Small\n#\n# A lesson for tests: plain Python, no heavy library.\n\n"
    lesson = read_copy(small.path, tmp_path / "lessons", (title, ""), ("# %% setup\n\n", f"# %% setup\n\n{title}"))
    notebook = json.loads(json.dumps(Forms(lesson).student))
    assert notebook["cells"][0]["id"] == "setup"
    notebook["cells"].insert(0, {"cell_type": "code", "metadata": {}, "source": "mine = 1"})
    submission = read_submission(handed_in(tmp_path, notebook), "eve", LessonCells(lesson))
    sources = [cell["source"] for cell in json.loads(autograded_text(Forms(lesson), submission, {}))["cells"]]
    assert sources.index("mine = 1") == 1


def test_an_id_is_enough_where_a_platform_drops_metadata(tmp_path, cells, released):
    notebook = json.loads(json.dumps(released))
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        if cell["id"] == "mean_gap":
            cell["source"] = "def mean_gap(x, y):\n    return 3"
    assert "return 3" in read_submission(handed_in(tmp_path, notebook), "eve", cells).sources["mean_gap"]


def test_which_own_cells_an_exercise_needs(tmp_path, cells, released):
    notebook = json.loads(json.dumps(released))
    own = ["import statistics as st", "unrelated = 1 / 0", "def gaps(x, y):\n    return [a - b for a, b in zip(x, y)]", "def average(v):\n    return st.mean(v)"]
    notebook["cells"] += [{"cell_type": "code", "metadata": {}, "source": text} for text in own]
    for cell in notebook["cells"]:
        if cell.get("id") == "mean_gap":
            cell["source"] = "def mean_gap(x, y):\n    return average(gaps(x, y))"
    submission = read_submission(handed_in(tmp_path, notebook), "eve", cells)
    ways = courses(submission, exercise := cells.exercises["mean_gap"], plain_python(submission.sources[exercise.id]), cells)
    assert [[text for _, text in way.cells] for way in ways] == [[own[0], own[2], own[3]], []]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("%matplotlib inline\nx = 1", f"{SHELL}.run_line_magic('matplotlib', 'inline')\nx = 1"),
        ("if x:\n    !ls\n    y = 2", f"if x:\n    {SHELL}.system('ls')\n    y = 2"),
        ("files = !ls", f"files = {SHELL}.getoutput('ls')"),
        ("mean?", f"{SHELL}.run_line_magic('pinfo', 'mean')"),
        ("%%bash\nls", f"{SHELL}.run_cell_magic('bash', '', 'ls\\n')"),
        ("%%time\nfrom __future__ import annotations", "\nfrom __future__ import annotations"),
        ("\n%%capture out\n%%time\nx = 1", f"\nout = {SHELL}.run_line_magic('capture', '')\n\nx = 1"),
        ("for i in 'ä': \n    %time é = i", "for i in 'ä': \n    é = i"),
        ("x = (7\n     % 3)", "x = (7\n     % 3)"),
        ("# :(\n# 1)\n%matplotlib inline", f"# :(\n# 1)\n{SHELL}.run_line_magic('matplotlib', 'inline')"),
        ("text = '''a  \n% b'''\r\n", "text = '''a  \n% b'''"),
        ("    x = 1\n    y = 2", "x = 1\ny = 2"),
        ("def f(:\n    !ls", "def f(:\n    !ls"),
    ],
)
def test_notebook_commands_are_what_a_kernel_makes_of_them(source, expected):
    assert plain_python(source) == expected


def test_blank():
    assert is_blank("") and is_blank("\n  # nothing\n") and not is_blank("x")


# --------------------------------------------------------------------------------------------------
# Written answers

PICTURE = {"plot.png": {"image/png": "iVBORw0KGgo="}}


def markdown(source, **more):
    return {"cell_type": "markdown", "metadata": {}, "source": source, **more}


def answered(tmp_path, cells, released, change):
    """The submission with a written answer as `change(list of cells, its index)` makes it, and the graded notebook's Markdown."""
    notebook = json.loads(json.dumps(released))
    at = next(i for i, c in enumerate(notebook["cells"]) if c.get("id") == "why_mean")
    change(notebook["cells"], at)
    submission = read_submission(handed_in(tmp_path, notebook), "eve", cells)
    shown = json.loads(autograded_text(Forms(cells.lesson), submission, {}))["cells"]
    return submission, [cell["source"] for cell in shown if cell["cell_type"] == "markdown"], shown


def test_pictures_of_a_written_answer_are_kept(tmp_path, cells, released):
    """They were dropped: the person who grades saw the name of a picture.  What is no picture is left out."""
    odd = {"x.html": {"text/html": "<script>"}, "y.png": {"image/png": "<svg>"}, "z.png": [], 3: {"image/png": None}}
    submission, _, shown = answered(
        tmp_path, cells, released, lambda found, at: found[at].update(source="![a](attachment:plot.png)", attachments=PICTURE | odd)
    )
    (cell,) = [c for c in shown if c["id"] == "why_mean"]
    assert cell["attachments"] == PICTURE and not submission.findings


def test_a_long_text_with_an_inline_picture_is_kept(tmp_path, cells, released):
    """Colab writes pictures into the text: 300 kB were left out as too long."""
    text = f"![a](data:image/png;base64,{'A' * 400_000})"
    submission, texts, _ = answered(tmp_path, cells, released, lambda found, at: found[at].update(source=text))
    assert submission.answers["why_mean"].source == text and text in texts


@pytest.mark.parametrize("offset", [0, 1])
def test_an_answer_in_a_cell_of_its_own_counts(tmp_path, cells, released, offset):
    """Written above or below the answer's cell it was left out, and nobody was waited for."""
    submission, texts, _ = answered(
        tmp_path, cells, released, lambda found, at: found.insert(at + offset, markdown("Because.", attachments=PICTURE))
    )
    assert submission.answers["why_mean"].source == "Because." and submission.answers["why_mean"].pictures == PICTURE
    assert texts.count("Because.") == 1 and any("text beside it" in finding for finding in submission.findings)


def test_notes_and_other_versions_are_shown(tmp_path, cells, released):
    def change(found, at):
        found[at]["source"] = "First."
        found[at + 1 : at + 1] = [{**found[at], "source": "Second."}, {**found[at], "source": "YOUR ANSWER HERE"}]
        found.insert(0, markdown("My notes."))

    submission, texts, _ = answered(tmp_path, cells, released, change)
    assert submission.answers["why_mean"].source == "Second."
    assert texts.index("Second.") + 1 == texts.index("First.") and "My notes." in texts


def test_a_name_in_the_metadata_is_enough(tmp_path, cells, released):
    """Colab keeps a cell's id there."""

    def change(found, at):
        found[at] = markdown("Because.") | {"metadata": {"id": "why_mean"}}

    assert answered(tmp_path, cells, released, change)[0].answers["why_mean"].source == "Because."
