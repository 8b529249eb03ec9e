"""``autograded/``: the graded notebooks that nbgrader's formgrader and feedback read."""

from __future__ import annotations

import json
from pathlib import Path

from course.lesson import Lesson
from course.notebook import student_source
from grader.gradebook import Forms
from grader.outcomes import Verdict
from grader.prose import Prose
from grader.submission import Submission
from grader.syntax import same_code
from unit24.files import write_whole


def autograded_path(root: Path, student: str, lesson: str) -> Path:
    """Where the class folder `root` keeps the graded notebook."""
    return root / "autograded" / student / lesson / f"{lesson}.ipynb"


def write_autograded(root: Path, forms: Forms, submission: Submission, verdicts: dict[str, Verdict]) -> None:
    """Write the graded notebook of one submission. `verdicts` are by exercise."""
    write_whole(autograded_path(root, submission.student, submission.lesson), autograded_text(forms, submission, verdicts))


def autograded_text(forms: Forms, submission: Submission, verdicts: dict[str, Verdict]) -> str:
    """The student's code with verdicts as outputs.

    It holds the visible tests only, so that feedback made from it shows no hidden test.
    """
    cells = []
    for cell in forms.student.cells:
        cell = json.loads(json.dumps(cell))
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        if name in submission.sources:
            cell["source"] = submission.sources[name] or cell["source"]
        elif name in submission.answers:
            cell.update(_markdown(submission.answers[name]))
        elif name.startswith("test_") and name[5:] in verdicts:
            cell["outputs"] = _outputs(verdicts[name[5:]])
        cells.append(cell)
        for number, own in enumerate(submission.after.get(cell["id"], ()), 1):
            code = {"cell_type": "code", "execution_count": None, "outputs": [], "source": own}
            content = {"cell_type": "markdown"} | _markdown(own) if isinstance(own, Prose) else code
            cells.append({"id": f"own-{number}-{cell['id']}"[:64], "metadata": {}} | content)
    notebook = {"cells": cells, "metadata": json.loads(json.dumps(forms.student.metadata)), "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def _markdown(prose: Prose) -> dict:
    return {"source": prose.source} | ({"attachments": prose.pictures} if prose.pictures else {})


def _outputs(verdict: Verdict) -> list[dict]:
    """Outputs of a tests cell from which nbgrader would read the same score."""
    printed = {"output_type": "stream", "name": "stdout", "text": verdict.message + "\n"}
    if verdict.status == "passed":
        return [printed]
    if verdict.status == "partial":
        points = {"text/plain": f"{verdict.points:g}"}
        return [printed, {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": points}]
    name = "NotAttempted" if verdict.status == "not attempted" else "CheckFailed"
    return [{"output_type": "error", "ename": name, "evalue": verdict.message, "traceback": [verdict.message]}]


def read_sources(root: Path, student: str, lesson: Lesson) -> dict[str, str]:
    """Exercise -> the source that was graded; untouched exercises left out."""
    try:
        cells = json.loads(autograded_path(root, student, lesson.name).read_bytes())["cells"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    stubs = {e.id: same_code(student_source(e.cell)) for e in lesson.exercises}
    sources = {}
    for cell in cells:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        text = "".join(cell["source"])
        if name in stubs and same_code(text) not in ("", stubs[name]):
            sources[name] = text
    return sources
