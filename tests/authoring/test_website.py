"""The course as a website: what stands in it, what does not, and how it looks."""

import re

import pytest
from texts import edit

from authoring import website
from authoring.build import Course, build
from authoring.website import make_site
from unit24.errors import UserError


@pytest.fixture(scope="module")
def site(built_once, tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "site"
    course = Course(built_once[0].root)
    make_site(course, folder)
    return folder, course


def test_lessons_stand_there_as_students_see_them(site):
    folder, course = site
    page = re.sub("<[^>]+>", "", (folder / "lessons" / "01_small.html").read_text())
    assert "YOUR CODE HERE" in page and "Download the notebook" in page
    download = next(folder.glob("_downloads/*/01_small.ipynb"))
    assert download.read_bytes() == course.notebook("01_small").read_bytes()
    for name in ("index", "students", "instructors", "authors", "claims", "search"):
        assert (folder / f"{name}.html").exists()


def test_a_demonstration_behind_tests_shows_its_code_and_output(built, tmp_path):
    """Its id begins with that of the tests, `test_double-1`: it was folded, and without output, as tests are."""
    demonstration = "# %%\nprint('six is', double(start))\n\n# %% [markdown]\n# Why is addition enough?"
    edit(built.lessons / "01_small.py", "# %% [markdown]\n# Why is addition enough?", demonstration)
    build(built.read(), built)
    make_site(built, tmp_path / "web")
    page = (tmp_path / "web" / "lessons" / "01_small.html").read_text()
    assert "six is 6" in re.sub("<[^>]+>", "", page)
    folded = re.findall(r'<details class="admonition hide.*?</details>', page, re.DOTALL)
    assert len(folded) == 3 and "six is" not in "".join(folded)


def test_what_would_leak_stops_the_site(built, tmp_path, monkeypatch):
    """The finished pages are searched, whatever put a text there."""
    as_it_is = website.lesson_page

    def with_solution(lesson, course):
        page = as_it_is(lesson, course)
        for exercise in lesson.exercises:
            next(cell for cell in page.cells if cell.id == exercise.id).source = exercise.cell.source
        return page

    monkeypatch.setattr(website, "lesson_page", with_solution)
    with pytest.raises(UserError, match="would leak"):
        make_site(built, tmp_path / "web")
    assert not (tmp_path / "web").exists() and not list(tmp_path.glob(".web*"))


def test_an_old_notebook_or_a_full_folder_makes_no_site(built, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UserError, match="not empty"):
        make_site(built, tmp_path / "full")
    edit(built.lessons / "01_small.py", "start = 3", "start = 4")
    with pytest.raises(UserError, match="no site: .*01_small"):
        make_site(built, tmp_path / "web")


def test_a_warning_of_sphinx_is_an_error(built, tmp_path):
    edit(built.lessons / "01_small.py", "# # Small numbers", "# # Small numbers\n#\n# {nonsense}`x`")
    build(built.read(), built)
    with pytest.raises(UserError, match="Sphinx says"):
        make_site(built, tmp_path / "web")
