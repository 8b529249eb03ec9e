"""A plugin of pytest for sweeps that go on where they were stopped (``-p proofs.passing``).

It leaves out the tests whose ids stand, a line each, in the file ``UNIT24_REACHED``, and adds to that file each test that passed.
"""

from __future__ import annotations

import os
from pathlib import Path

_FILE = Path(os.environ["UNIT24_REACHED"])
_called: set[str] = set()


def pytest_collection_modifyitems(config, items) -> None:
    reached = set(_FILE.read_text(encoding="utf-8").splitlines())
    known = [item for item in items if item.nodeid in reached]
    config.hook.pytest_deselected(items=known)
    items[:] = [item for item in items if item.nodeid not in reached]


def pytest_runtest_logreport(report) -> None:
    if report.when == "call" and report.passed:
        _called.add(report.nodeid)
    elif report.when == "teardown" and report.passed and report.nodeid in _called:
        with _FILE.open("a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\n")
