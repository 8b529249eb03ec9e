"""Texts of tests with something in them replaced, never without looking whether it was there."""

from pathlib import Path

from course.lesson import read, texts, write_texts


def replaced(text, *pairs):
    """`text` (or bytes) with each (old, new) put in wherever it stands; a test about a change that was not made proves nothing."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text in a file."""
    path.write_text(replaced(path.read_text(), (old, new)))


def copy_lesson(path: Path, folder: Path, *replacements: tuple[str, str]) -> Path:
    """A lesson and its answers in another folder, each (old, new) replaced in whichever file has it; the lesson's path."""
    files = texts(path)
    for old, new in replacements:
        assert any(old in text for text in files.values()), old
        files = {place: text.replace(old, new) for place, text in files.items()}
    write_texts(files, folder)
    return folder / path.name


def read_copy(path: Path, folder: Path, *replacements: tuple[str, str]):
    """What `copy_lesson` made, read."""
    return read(copy_lesson(path, folder, *replacements))
