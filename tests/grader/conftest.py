"""A small lesson in plain Python, on which grading is tried."""

from pathlib import Path

import pytest

from authoring.lesson import read

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def small():
    return read(FIXTURES / "61_small.py")
