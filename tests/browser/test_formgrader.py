"""nbgrader's formgrader on a class that unit24 graded: a written answer is graded there, and the total follows."""

import json
import re
import shutil
from pathlib import Path

import pytest
from browsing import jupyter

from course.lesson import ROOT, read
from course.notebook import as_text, instructor_notebook
from grader.classroom import SampleClass
from grader.grade import find_work, grade_class
from grader.report import make_report, write_report

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALL = "61_small"
ANSWER = "Sums grow with the number of values."
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # a PNG of one pixel
HOSTILE = """

![a plot](attachment:plot.png) ![of Colab](data:image/png;base64,DOT)

<script>window.acted = 1</script><img src=x onerror="window.acted = 2"><iframe srcdoc="<script>parent.acted = 3</script>"></iframe>

Code: `a < b`, math: $a < b$, [a link](javascript:window.acted=4) <a href="&#1;data:text/html,<script>1</script>">y</a> $\\href{javascript:window.acted=5}{x}$
""".replace("DOT", DOT)


@pytest.fixture
def course(tmp_path):
    """A course with one graded student, whose written answer waits."""
    root = tmp_path / "course"
    small = read(FIXTURES / f"{SMALL}.py")
    sample = SampleClass(small)
    notebook = sample._notebook(sample.reference | {"why_mean": ANSWER + HOSTILE})
    notebook["cells"][sample._index(notebook, "why_mean")]["attachments"] = {"plot.png": {"image/png": DOT}}
    for path, text in {
        root / "solutions" / SMALL: as_text(instructor_notebook(small)),
        root / "submitted" / "ada" / SMALL: json.dumps(notebook),
    }.items():
        path.mkdir(parents=True)
        (path / f"{SMALL}.ipynb").write_text(text)
    shutil.copy(ROOT / "nbgrader_config.py", root)
    (record,) = grade_class(root, find_work(root, ("61",), FIXTURES), lessons=FIXTURES)
    assert record.points == 8 and record.waiting == ["why_mean"]
    return root


def test_a_manual_grade_in_formgrader_counts(course, tmp_path, open_page):
    page = open_page()
    rows = page.locator("#main-table tr")
    with jupyter(course, tmp_path / "server") as url:
        page.goto(url("formgrader/gradebook"))
        page.locator("#main-table a", has_text=SMALL).click()
        page.wait_for_url(f"**/gradebook/{SMALL}")
        page.locator("#main-table a", has_text=SMALL).click()
        page.wait_for_url(f"**/{SMALL}/{SMALL}")
        rows.filter(has_text="8 / 12").wait_for()
        assert rows.first.locator(".needs-manual-grade .glyphicon-ok").count() == 1
        page.locator("#main-table a:visible", has_text="Submission #1").click()
        page.wait_for_url("**/submissions/**")
        assert "secret_answer" not in page.inner_text("body")

        # Pictures are shown, attached or written into the text as Colab does, and nothing in the text can act on the page.
        loaded = page.locator("img[src^='data:image/png']").evaluate_all("found => found.map(i => i.naturalWidth)")
        assert loaded == [1, 1]
        assert page.evaluate("window.acted") is None and page.locator("iframe, [onerror], a[href^=javascript], a[href*=data]").count() == 0
        assert page.locator("code", has_text="a < b").count() == 1

        cell = page.locator(".nbgrader_cell, .panel", has_text=ANSWER).filter(has=page.locator("input.score")).last
        # formgrader gives its inputs a placeholder when it begins to listen: what was typed before that is lost.
        cell.locator("input.extra-credit[placeholder]").wait_for()
        cell.locator("textarea.comment[placeholder]").wait_for()
        with page.expect_response(lambda r: "/api/grade/" in r.url and r.request.method == "PUT") as saved:
            cell.locator("input.score").fill("3.5")
            cell.locator("input.score").press("Tab")
        assert saved.value.ok
        with page.expect_response(lambda r: "/api/comment/" in r.url and r.request.method == "PUT") as saved:
            cell.locator("textarea.comment").fill("True, but say <why>.")
            cell.locator("textarea.comment").press("Tab")
        assert saved.value.ok
        page.get_by_text(SMALL, exact=True).nth(1).click()
        page.wait_for_url(re.compile(f"/{SMALL}/{SMALL}/?$"))
        page.locator("#main-table", has_text="11.5 / 12").wait_for()
        assert rows.first.locator(".needs-manual-grade .glyphicon-ok").count() == 0

    report = make_report(course, lessons=FIXTURES)
    write_report(report)
    assert report.results.work[SMALL]["ada"].points == 11.5 and report.lessons[0].waiting == 0
    feedback = (course / "feedback" / "ada" / SMALL / f"{SMALL}.html").read_text()
    assert "11.5 of 12 points" in feedback and "True, but say &lt;why&gt;." in feedback
    # Grading again keeps what the person gave.
    (record,) = grade_class(course, find_work(course, ("61",), FIXTURES), lessons=FIXTURES, force=True)
    assert make_report(course, lessons=FIXTURES).results.work[SMALL]["ada"].points == 11.5
