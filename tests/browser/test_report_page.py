"""The class report and a feedback page, as a person sees them: on a phone and a desk, light and dark."""

import itertools
import json
from pathlib import Path

import pytest
from texts import replaced

from course.lesson import read
from grader.classroom import SampleClass, write_random_class
from grader.grade import find_work, grade_class
from grader.report import make_report, write_report

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALL = "61_small"
HOSTILE = "<img src=x onerror=alert(1)>"

# The least contrast between each visible text and what lies behind it (WCAG 2, relative luminance).
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255); };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
  const light = ([r, g, b]) => { const f = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const page = matchMedia("(prefers-color-scheme: dark)").matches ? [0.07, 0.07, 0.07] : [1, 1, 1];
  let worst = [99, ""];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(rgba(getComputedStyle(e).backgroundColor));
    const behind = layers.reduce((under, layer) => over(layer, under), page);
    const paint = rgba(element instanceof SVGElement ? style.fill : style.color);
    for (let e = element; e; e = e.parentElement) paint[3] *= Number(getComputedStyle(e).opacity);
    const [a, b] = [light(over(paint, behind)), light(behind)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, element.tagName + " " + element.className + ": " + element.textContent.slice(0, 60)];
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class of eight with a report; two students alike, one with a hostile name."""
    root = tmp_path_factory.mktemp("class")
    small = read(FIXTURES / f"{SMALL}.py")
    write_random_class(root, [small], 6)
    sample = SampleClass(small)
    code = "def mean_gap(x, y):\n    gaps = {}\n    for n, pair in enumerate(zip(x, y)):\n        gaps[n] = pair[0] - pair[1]\n"
    code += "    while len(gaps) > 1:\n        first, second = sorted(gaps)[:2]\n        gaps[second] += gaps.pop(first)\n"
    code += "    assert len(x) == len(y), 'a very long line that has no place to break: ' + 'x' * 400\n    return gaps.popitem()[1] / len(x)\n"
    for name, text in (("ada", code), (HOSTILE, "# mine\n" + replaced(code, ("gaps", "rest")))):
        folder = root / "submitted" / name / SMALL
        folder.mkdir(parents=True)
        (folder / f"{SMALL}.ipynb").write_text(json.dumps(sample._notebook(sample.reference | {"mean_gap": text})))
    list(grade_class(root, find_work(root, ("61",), FIXTURES), lessons=FIXTURES))
    write_report(make_report(root, lessons=FIXTURES))
    return root


@pytest.fixture(params=itertools.product((390, 1280), ("light", "dark")), ids=lambda p: f"{p[0]}-{p[1]}")
def page(request, open_page):
    width, scheme = request.param
    return open_page(width, 844, strict=True, color_scheme=scheme)


def check_layout(page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page is wider than the screen"
    ratio, where = page.evaluate(CONTRAST)
    assert ratio >= 4.5, f"contrast {ratio:.2f} at {where}"


def test_the_report(graded, page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail("a student's name ran as a script"))
    page.goto((graded / "report" / "index.html").as_uri())
    assert len(asked) == 1, asked
    page.locator("details summary").first.click()
    assert page.locator("details mark").count() > 2
    check_layout(page)

    # Sort by score, find a student, follow the link to the feedback page.
    scores = page.locator("#class tbody tr td:nth-child(2)")
    page.get_by_role("button", name=SMALL).click()
    values = [float(v) for v in scores.evaluate_all("cells => cells.map(c => c.dataset.value)")]
    assert values == sorted(values, reverse=True) and len(values) == 8
    page.get_by_label("Find a student").fill("img src")
    visible = page.locator("#class tbody tr:visible")
    assert visible.count() == 1 and HOSTILE in visible.inner_text()
    visible.get_by_role("link").click()
    page.wait_for_url("**/feedback/**")
    assert HOSTILE in page.locator(".total").inner_text()
    check_layout(page)
    assert "gap_plus_one" in page.inner_text("body") and page.locator("pre").count() == 3
