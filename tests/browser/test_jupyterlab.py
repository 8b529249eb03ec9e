"""A student's notebook in JupyterLab: a wrong answer gets its message, a right one passes, a stub one friendly line."""

import json
import re
from pathlib import Path

import pytest
from browsing import jupyter

from course.lesson import read
from grader.gradebook import Forms

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALL = "61_small"


@pytest.fixture
def notebooks(tmp_path):
    folder = tmp_path / "notebooks"
    (folder / SMALL).mkdir(parents=True)
    student = Forms(read(FIXTURES / f"{SMALL}.py")).student
    (folder / SMALL / f"{SMALL}.ipynb").write_text(json.dumps(student))
    return folder


class Notebook:
    """An open notebook, used as a person does: click a cell, type, Shift+Enter."""

    def __init__(self, page):
        self.page = page
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()

    def cell(self, text):
        return self.page.locator(".jp-CodeCell", has=self.page.locator(".jp-InputArea", has_text=text)).first

    def run(self, text, code=None):
        """Run the cell that contains `text` (after replacing its code); returns what it shows."""
        from playwright.sync_api import expect

        cell = self.cell(text)
        cell.scroll_into_view_if_needed()
        cell.locator(".cm-content").click()
        if code is not None:
            self.page.keyboard.press("ControlOrMeta+a")
            self.page.keyboard.insert_text(code)
        prompt = cell.locator(".jp-InputPrompt")
        before = prompt.inner_text()
        for _ in range(4):  # on a busy machine the page may not listen yet: then a person presses again
            cell.locator(".cm-content").click()
            self.page.keyboard.press("Shift+Enter")
            try:
                expect(prompt).not_to_have_text(before, timeout=20_000)  # it runs
                break
            except AssertionError:
                continue
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=60_000)  # it has run
        output = cell.locator(".jp-OutputArea-output")
        return "\n".join(output.all_inner_texts())


def test_a_student_at_work(notebooks, tmp_path, open_page):
    page = open_page()
    with jupyter(notebooks, tmp_path / "server") as url:
        page.goto(url(f"lab/tree/{SMALL}/{SMALL}.ipynb?reset"))
        notebook = Notebook(page)
        assert f"lesson {SMALL}" in notebook.run("Set-up: run this cell first")
        assert notebook.run("import math") == ""

        tests = 'check.exercise("mean_gap")'
        notebook.run("def mean_gap")
        said = notebook.run(tests)
        assert said.startswith("○") and "mean_gap" in said and len(said.splitlines()) <= 2, said

        notebook.run("def mean_gap", "def mean_gap(x, y):\n    return sum(a - b for a, b in zip(x, y))")
        said = notebook.run(tests)
        assert "✗ mean_gap" in said and "Is the sum divided by the count?" in said and "Traceback" not in said, said

        notebook.run("def mean_gap", "def mean_gap(x, y):\n    if len(x) != len(y):\n        raise ValueError\n    return (sum(x) - sum(y)) / len(x)")
        said = notebook.run(tests)
        assert said.startswith("✓ mean_gap"), said

        # What was typed is saved with the notebook, and grading takes it from there.
        page.keyboard.press("ControlOrMeta+s")
        path = notebooks / SMALL / f"{SMALL}.ipynb"
        page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
        saved = json.loads(path.read_text())
        (source,) = ["".join(c["source"]) for c in saved["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == "mean_gap"]
        assert "return (sum(x) - sum(y)) / len(x)" in source
