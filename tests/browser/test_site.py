"""The course's website as a reader sees it: on a phone and a desk, light and dark, without a network."""

import contextlib
import functools
import http.server
import itertools
import threading

import pytest
from small_course import SETUP, make_course
from texts import edit

from authoring.build import build
from authoring.website import make_site

WIDE = "| " + " | ".join(f"a column {n}" for n in range(14)) + " |\n# |" + "---|" * 14
TEXT = f"# What is visible to everybody: $\\\\sum_{{i=1}}^n x_i^2$.\n#\n# {WIDE}"
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 3], label='growth')\nplt.show()\n\nstart = 3"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the small course's site, with a formula, a wide table and a plot, is served."""
    pytest.importorskip("sphinx_book_theme")
    course = make_course(tmp_path_factory.mktemp("course"))
    edit(course.lessons / "01_small.py", "# What is visible to everybody", TEXT)
    edit(course.lessons / "01_small.py", "start = 3", PLOT)
    (course.root / "setup_cell.py").write_text(SETUP + "unit24.start(LESSON)\n")
    assert not build(course.read(), course).problems
    folder = tmp_path_factory.mktemp("web") / "site"
    make_site(course, folder)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    with contextlib.closing(server.socket):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(params=itertools.product((390, 1280), ("light", "dark")), ids=lambda p: f"{p[0]}-{p[1]}")
def page(request, open_page):
    width, scheme = request.param
    return open_page(width, 844, color_scheme=scheme)


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_lesson_is_read_without_a_network(address, page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/lessons/01_small.html")
    assert page.locator("mjx-container").first.is_visible()
    assert page.get_by_role("img", name="growth: from 1 at 0 to 3 at 1").is_visible()
    assert fits(page), "the page is wider than the screen"
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]

    # Tests are one line until they are opened.
    assert not page.get_by_text("is it added once?").is_visible()
    page.locator("details.hide", has_text="is it added once?").locator("summary").click()
    assert page.get_by_text("is it added once?").first.is_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 300) == page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


def test_the_contents_lead_to_lessons_and_the_search_finds_them(address, page):
    page.goto(f"{address}/index.html")
    assert fits(page)
    page.locator("article").get_by_role("link", name="Small numbers").first.click()
    page.wait_for_url("**/lessons/01_small.html")
    page.goto(f"{address}/search.html?q=addition")
    page.locator(".search a").first.wait_for()
    assert "Small numbers" in page.locator(".search").inner_text()
    assert fits(page)
