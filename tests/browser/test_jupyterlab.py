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


FOLDED = ".jp-InputPlaceholder"


class Notebook:
    """An open notebook, used as a person does: click a cell, type, Shift+Enter."""

    def __init__(self, page):
        self.page = page
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()

    def cell(self, text):
        return self.page.locator(".jp-CodeCell", has=self.page.locator(".jp-Cell-inputWrapper", has_text=text)).first

    def run(self, text, code=None):
        """Run the cell that contains `text` (after replacing its code); returns what it shows."""
        from playwright.sync_api import expect

        cell = self.cell(text)
        cell.scroll_into_view_if_needed()
        if code is not None:
            cell.locator(".cm-content").click()
            self.page.keyboard.press("ControlOrMeta+a")
            self.page.keyboard.insert_text(code)
        prompt, output = cell.locator(".jp-InputArea-prompt"), cell.locator(".jp-OutputArea-output")

        def shown():
            return "\n".join(output.all_inner_texts()).strip()

        folded = cell.locator(FOLDED).count() > 0  # it shows no prompt, but what it printed
        before = shown() if folded else prompt.inner_text()
        for _ in range(4):  # on a busy machine the page may not listen yet: then a person presses again
            if folded:  # a click would unfold it, arrow keys pass it by: one comes from the cell above
                above = self.page.locator(f".jp-Cell[data-windowed-list-index='{int(cell.get_attribute('data-windowed-list-index')) - 1}']")
                above.click()
                self.page.keyboard.press("Shift+Enter")
            else:
                cell.locator(".cm-content").click()
            self.page.keyboard.press("Shift+Enter")
            try:
                if folded:
                    expect(output.filter(has_not_text=before or None).filter(has_text=re.compile(r"\S")).first).to_be_visible(timeout=60_000)
                else:
                    expect(prompt).not_to_have_text(before, timeout=20_000)  # it runs
                break
            except AssertionError:
                continue
        if not folded:
            expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=60_000)  # it has run
        return shown()


def test_a_student_at_work(notebooks, tmp_path, open_page):
    page = open_page()
    with jupyter(notebooks, tmp_path / "server") as url:
        page.goto(url(f"lab/tree/{SMALL}/{SMALL}.ipynb?reset"))
        notebook = Notebook(page)
        assert "MINIMUM" not in page.inner_text(".jp-Notebook")
        assert f"lesson {SMALL}" in notebook.run("Set-up: run me first")
        assert notebook.run("import math") == ""

        tests = "Tests of exercise 1 · 2 points: run me"
        notebook.run("def mean_gap")
        said = notebook.run(tests)
        assert said.startswith("○") and "mean_gap" in said and len(said.splitlines()) <= 2, said

        notebook.run("def mean_gap", "def mean_gap(x, y):\n    return sum(a - b for a, b in zip(x, y))")
        said = notebook.run(tests)
        assert "✗ mean_gap" in said and "Is the sum divided by the count?" in said and "Traceback" not in said, said

        notebook.run("def mean_gap", "def mean_gap(x, y):\n    if len(x) != len(y):\n        raise ValueError\n    return (sum(x) - sum(y)) / len(x)")
        said = notebook.run(tests)
        assert said.startswith("✓ mean_gap"), said

        # All the while not a line of test code was to be seen; it is there for who wants it.
        assert "check.exercise" not in page.inner_text(".jp-Notebook")
        notebook.cell(tests).locator(FOLDED).get_by_title("Click to expand").click()
        page.locator(".cm-content", has_text='check.exercise("mean_gap")').first.wait_for()

        # What was typed is saved with the notebook, and grading takes it from there.
        page.keyboard.press("ControlOrMeta+s")
        path = notebooks / SMALL / f"{SMALL}.ipynb"
        page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
        saved = json.loads(path.read_text())
        (source,) = ["".join(c["source"]) for c in saved["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == "mean_gap"]
        assert "return (sum(x) - sum(y)) / len(x)" in source
