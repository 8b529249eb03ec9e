"""Instructor notebooks -> student notebooks, by stock nbgrader.

nbgrader's ``generate_assignment`` runs in a temporary course folder and without a database, so that
a build leaves a class's own files and gradebook alone.
"""

from __future__ import annotations

import io
import logging
import re
import shutil
import tempfile
from pathlib import Path

from course.lesson import ROOT

CONFIG = ROOT / "nbgrader_config.py"


class ReleaseError(RuntimeError):
    """nbgrader refused a notebook."""


def student_notebooks(solutions: dict[str, str]) -> dict[str, str]:
    """The students' notebook texts for instructor notebook texts, by lesson name.

    Raises:
        ReleaseError: names the lesson and what nbgrader said.
    """
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config, PyFileConfigLoader

    course = Path(tempfile.mkdtemp(prefix="unit24-release-"))
    said = io.StringIO()
    log = logging.Logger("unit24.release", logging.WARNING)
    log.addHandler(logging.StreamHandler(said))
    try:
        config = Config(PyFileConfigLoader(CONFIG.name, path=str(CONFIG.parent)).load_config())
        config.CourseDirectory.root = str(course)
        # As `nbgrader generate_assignment --no-db`: the notebook is the same, and no gradebook is touched.
        config.SaveCells.enabled = False
        config.GenerateAssignment.no_database = True
        released = {}
        for name, text in solutions.items():
            source = course / config.CourseDirectory.source_directory / name / f"{name}.ipynb"
            source.parent.mkdir(parents=True)
            source.write_text(text, encoding="utf-8")
            said.truncate(said.seek(0))
            try:
                folder = CourseDirectory(config=config, log=log, assignment_id=name)
                GenerateAssignment(coursedir=folder, config=config, log=log, force=True).start()
            except Exception as error:  # nbgrader logs the reason and raises only that there is one
                reason = _reason(said.getvalue(), error)
                raise ReleaseError(f"{name}: nbgrader could not make the student notebook: {reason}") from None
            result = course / config.CourseDirectory.release_directory / name / f"{name}.ipynb"
            released[name] = result.read_text(encoding="utf-8").rstrip("\n") + "\n"
        return released
    finally:
        shutil.rmtree(course, ignore_errors=True)


def _reason(log: str, error: Exception) -> str:
    """The line of nbgrader's log that names the error: the last line of the traceback in it."""
    lines = [line for line in log.splitlines() if re.match(r"[\w.]+(Error|Exception|Entry)?: ", line)]
    return " ".join((lines[-1] if lines else str(error)).split())
