"""The quiz in a page without scripts: feedback by mouse and keyboard, on a phone and a desk, light and dark."""

import pytest

from unit24 import quiz

QUESTIONS = [
    ("What is `2 < 3` & why?", [("true", True, "Two is less."), ("**false**", False, "Look at the sign <.")]),
    ("And then?", [("stop", False, "Not yet."), ("go on", True, "Good."), ("turn back", False, "Why?")]),
]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1000, "light")])
def test_feedback_without_javascript(open_page, width, scheme):
    page = open_page(width=width, height=800, java_script_enabled=False, color_scheme=scheme)
    page.set_content(f'<body style="margin:8px">{quiz.as_html(QUESTIONS, "u24-test")}</body>')
    assert not page.get_by_text("Two is less.").is_visible()
    page.get_by_text("true", exact=True).click()
    assert page.get_by_text("Two is less.").is_visible() and page.get_by_text("✓ Right.").first.is_visible()
    page.get_by_text("false", exact=True).click()
    assert not page.get_by_text("Two is less.").is_visible() and page.get_by_text("Look at the sign").is_visible()
    page.keyboard.press("ArrowUp")  # the radio group by keyboard
    assert page.get_by_text("Two is less.").is_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.get_by_text("Not yet.").is_visible() and page.get_by_text("Two is less.").is_visible()
    box = page.locator("#u24-test").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width, "nothing runs out of a narrow screen"
