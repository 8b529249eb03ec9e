"""Change a text for a test, and be sure that it was changed."""


def replaced(text, *pairs):
    """`text` with each (old, new) of `pairs` put in wherever it stands.

    Tests that replace in fixtures went on passing where the fixture no longer had the text: they tried nothing.
    """
    for old, new in pairs:
        assert old in text, f"not in the text: {old!r}"
        text = text.replace(old, new)
    return text
