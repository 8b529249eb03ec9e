"""Whatever a student's folder holds, and whatever it is called: the class is graded, and nobody else's points change."""

import base64
import copy
import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from drawn import ALL
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from grader.classroom import SampleClass
from grader.courses import Judged
from grader.grade import find_work, grade_class
from grader.outcomes import Verdict
from grader.report import make_report, write_report

EXAMPLES = 400 if ALL else 40  # of a dozen odd students each
NAME = "61_small"
FIXTURES = Path(__file__).parents[1] / "fixtures"

# --------------------------------------------------------------------------------------------------
# What may happen to a notebook

ODD_TEXTS = st.one_of(
    st.text(st.characters(), max_size=30),  # half signs among them
    st.sampled_from(
        [
            *("[/x]", "[red]x", "\x1b[2J\x1b]0;x\x07", "<script>alert(1)</script>", "{{ 7 * 7 }}", "{% raw %}", "'; drop table grade; --", "=1+1"),
            *("%%time\n" * 3, "%" + "\n%" * 5000, "!" * 4000, "?", "x = (\n" * 3000, "(" * 9000, "get_ipython()", "#" * 250_000, "\0", "\r", "\u2028"),
            *("import os; os._exit(0)", "%%writefile x.py\n1", "await x", "lambda: (yield)", "𝔵 = 1", "def mean_gap(x, y):\n    return 0.0\n" * 50),
        ]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | ODD_TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ODD_TEXTS, inner, max_size=4),
    max_leaves=6,
)
STEPS = ("replace", "delete", "repeat", "move", "put_in", "say")


@st.composite
def notebooks(draw, filled):
    """Bytes of a notebook: `filled`, changed at some places, and what an editor, a disk or a network made of it."""
    notebook = copy.deepcopy(filled)
    for _ in range(draw(st.integers(0, 4))):
        change(draw, notebook)
    text = json.dumps(notebook, ensure_ascii=draw(st.booleans()))
    data = text.encode(draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "latin-1"])), "replace")
    match draw(st.sampled_from(["whole"] * 12 + ["cut", "changed", "twice", "other"])):
        case "cut":
            data = data[: draw(st.integers(0, len(data)))]
        case "changed":
            at = draw(st.integers(0, len(data)))
            data = data[:at] + draw(st.binary(max_size=8)) + data[at + draw(st.integers(0, 8)) :]
        case "twice":
            data += data
        case "other":
            data = draw(st.binary(max_size=200)) if draw(st.booleans()) else json.dumps(draw(JSON)).encode()
    return data


def change(draw, notebook):
    """One step at a random place of the notebook's tree."""
    place, key = {"": notebook}, ""
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if isinstance(cells, list) and cells and draw(st.integers(0, 9)):  # a cell rather than the rest
        place, key = cells, draw(st.integers(0, len(cells) - 1))
    while isinstance(place[key], (dict, list)) and len(place[key]) and draw(st.integers(0, 4)):
        place = place[key]
        key = draw(st.sampled_from(sorted(place, key=str) if isinstance(place, dict) else range(len(place))))
    match draw(st.sampled_from(STEPS)):
        case "replace":
            place[key] = draw(JSON)
        case "say":
            place[key] = draw(ODD_TEXTS)
        case "delete" if key != "":
            del place[key]
        case "repeat" if isinstance(place, list):
            place.insert(draw(st.integers(0, len(place))), copy.deepcopy(place[key]))
        case "move" if isinstance(place, list):
            place.insert(draw(st.integers(0, len(place) - 1)), place.pop(key))
        case "put_in":
            cell = {"cell_type": draw(st.sampled_from(["code", "markdown", "raw", "x"])), "metadata": {}, "source": draw(ODD_TEXTS)}
            cell |= {"attachments": draw(JSON)} if draw(st.booleans()) else {}
            if isinstance(cells, list):
                cells.insert(draw(st.integers(0, len(cells))), cell)


# --------------------------------------------------------------------------------------------------
# What may happen to a folder

SIGNS = st.sampled_from(list("ab Zé#?%&'\"[]{}()*;:,~$`|<>=+-_.\\\n\t\x1b\u202e🎓") + ["%20", "[/x]", "\udcff", "../"])
NAMES = st.lists(SIGNS, min_size=1, max_size=12).map("".join).filter(lambda name: "/" not in name and name not in (".", "..", "ada", "bo"))
KINDS = st.sampled_from(["file"] * 8 + ["folder", "link", "fifo", "gone", "renamed", "closed", "stamp_fifo", "stamp_odd", "stamp_closed"])


def hand_in(root, name, kind, data):
    """Put `data` into the class folder as the work of the student `name`."""
    folder = os.path.join(os.fsencode(root), b"submitted", os.fsencode(name), NAME.encode())
    os.makedirs(folder, exist_ok=True)
    path, stamp = os.path.join(folder, f"{NAME}.ipynb".encode()), os.path.join(folder, b"timestamp.txt")
    path = os.path.join(folder, b"Copy of it (1).ipynb.txt") if kind == "renamed" else path
    match kind:
        case "folder":
            os.mkdir(path)
        case "link":
            os.symlink(b"/etc/passwd", path)
        case "fifo":
            os.mkfifo(path)
        case "gone":
            pass
        case _:
            with open(path, "wb") as file:
                file.write(data)
    match kind:
        case "closed":
            os.chmod(path, 0)
            os.chmod(folder, 0o500)
        case "stamp_fifo":
            os.mkfifo(stamp)
        case "stamp_odd" | "stamp_closed":
            with open(stamp, "wb") as file:
                file.write(data[:40])
            os.chmod(stamp, 0 if kind == "stamp_closed" else 0o600)


# --------------------------------------------------------------------------------------------------


def judged_by_nobody(lesson, jobs, on_judged):
    """An engine that finds every answer wrong: what reads and writes is tried here, not what judges."""
    for job in jobs:
        for name, _, ways in job.tasks:
            exercise = lesson.exercise(name)
            on_judged(job, Judged(Verdict(name, "failed", 0.0, exercise.points, "✗ no"), len(ways)))
        yield job


@pytest.fixture(scope="module")
def filled(small):
    sample = SampleClass(small)
    notebook = sample._notebook(sample.reference | {"why_mean": "Because."})
    dot = base64.b64encode(b"\x89PNG").decode()
    notebook["cells"][sample._index(notebook, "why_mean")]["attachments"] = {"a.png": {"image/png": dot}}
    return notebook


@pytest.fixture(scope="module")
def graded(tmp_path_factory, filled):
    """A class of two, graded; and what must be so again whoever joins it."""
    root = tmp_path_factory.mktemp("graded")
    for student in ("ada", "bo"):
        hand_in(root, student, "file", json.dumps(filled).encode())
    return root, {r.student: r.as_dict() for r in grade_class(root, find_work(root, ("61",), FIXTURES), lessons=FIXTURES)}


@pytest.fixture
def newcomers(filled):
    return st.dictionaries(NAMES, st.tuples(KINDS, notebooks(filled)), min_size=6, max_size=14)


@pytest.mark.timeout(3000)
def test_whoever_joins_the_class(graded, newcomers, tmp_path_factory):
    """Half an emoji, a FIFO for a time stamp, a name that is no UTF-8 each stopped a class once, or a page of it."""
    seen = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=not ALL, suppress_health_check=list(HealthCheck))
    @given(newcomers)
    @example({"half": ("file", b'{"cells": [{"cell_type": "markdown", "source": "\\ud83d"}]}')})
    def check(students):
        before, expected = graded
        root = tmp_path_factory.mktemp("class")
        shutil.copytree(before, root, dirs_exist_ok=True)
        for name, (kind, data) in students.items():
            hand_in(root, name, kind, data)
        work = find_work(root, ("61",), FIXTURES)
        records = {r.student: r for r in grade_class(root, work, judged_by_nobody, lessons=FIXTURES)}
        assert {name: records[name].as_dict() for name in expected} == expected
        named = " ".join(work.stray)
        for name in students:
            assert name in records or ascii(name) in named or name.startswith("."), name
        for record in records.values():
            json.dumps(record.as_dict(), allow_nan=False)
            written = root / "autograded" / record.student / NAME / f"{NAME}.ipynb"
            nbformat.validate(json.loads(written.read_text()))
            assert (root / "feedback" / record.student / NAME / f"{NAME}.html").exists()
        write_report(make_report(root, lessons=FIXTURES))
        seen.append(len(students))
        shutil.rmtree(root)

    check()
    assert sum(seen) > 6 * EXAMPLES
