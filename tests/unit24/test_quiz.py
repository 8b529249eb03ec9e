"""The quiz: what a student sees, reads in the source, and can do with mouse and keyboard."""

import subprocess
import sys
from html.parser import HTMLParser

import pytest

from unit24 import quiz

QUESTIONS = [
    ("What is `2 < 3` & why?", [("true", True, "Two is less."), ("**false**", False, "Look at the sign <.")]),
    ("And then?", [("stop", False, "Not yet."), ("go on", True, "Good."), ("turn back", False, "Why?")]),
]


class Page(HTMLParser):
    """Elements with their attributes, and the text of all."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def test_sealed_questions_come_back_and_cannot_be_read():
    sealed = quiz.seal("04_x", "end", QUESTIONS)
    assert quiz.unseal("04_x", "end", sealed) == [[text, [list(o) for o in options]] for text, options in QUESTIONS]
    assert sealed == quiz.seal("04_x", "end", QUESTIONS)
    assert '"' not in sealed and "\\" not in sealed and sealed.isascii()
    import base64

    assert b"true" not in base64.b85decode(sealed)


@pytest.mark.parametrize("change", [lambda s: s[1:], lambda s: s[:-1], lambda s: "'" + s, lambda s: "x" + s[1:], lambda s: ""])
def test_a_changed_cell_is_one_line(change):
    with pytest.raises(ValueError, match="quiz 'end' of 04_x cannot be read: its cell was changed"):
        quiz.ask("04_x", "end", change(quiz.seal("04_x", "end", QUESTIONS)))
    with pytest.raises(ValueError, match="cannot be read"):
        quiz.ask("05_y", "end", quiz.seal("04_x", "end", QUESTIONS))


def test_without_a_notebook_it_prints_questions_without_answers(capsys):
    assert quiz.ask("04_x", "end", quiz.seal("04_x", "end", QUESTIONS)) is None
    out = capsys.readouterr().out
    assert "1. What is `2 < 3` & why?" in out and "   b) **false**" in out and "   c) turn back" in out
    assert "Two is less" not in out and "Good" not in out


def test_in_a_notebook_it_displays_html_and_text(monkeypatch):
    IPython = pytest.importorskip("IPython")
    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    for _ in range(2):
        assert quiz.ask("04_x", "end", quiz.seal("04_x", "end", QUESTIONS)) is None
    assert [set(data) for data in shown] == [{"text/html", "text/plain"}] * 2
    assert "Two is less" not in shown[0]["text/plain"]
    ids = [{a["id"] for _, a in Page(data["text/html"]).elements if "id" in a} for data in shown]
    assert ids[0] and not ids[0] & ids[1], "two displays in one page must not share ids or radio groups"


def test_the_html_needs_no_script_and_every_option_has_a_label_and_feedback():
    page = Page(quiz.as_html(QUESTIONS, "u24-test"))
    assert not page.all("script") and not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    inputs, labels = page.all("input"), page.all("label")
    assert len(inputs) == 5 and {a["id"] for a in inputs} == {a["for"] for a in labels}
    assert len({a["name"] for a in inputs}) == 2 and all(a["type"] == "radio" for a in inputs)
    described = {a["id"] for a in page.all("p") if "id" in a}
    assert {a["aria-describedby"] for a in inputs} == described
    assert "2 < 3" in page.text and "Look at the sign <." in page.text and page.all("code")


def test_nothing_of_the_notebook_is_imported_by_the_quiz():
    code = "import sys; from unit24 import quiz; print([m for m in ('IPython', 'click', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
