"""A change of anything that decides makes stale what depends on it, and nothing else.

In a copy of the repository one file after the other gets a statement more, or a byte of data less.
"""

import shutil
from contextlib import ExitStack

import pytest

from course.lesson import ROOT, read
from course.records import update_record
from judge import fingerprint
from judge.fingerprint import audit_hashes
from proofs.chosen import students
from proofs.sample import sample_hash
from proofs.solved import solved_hash
from proofs.standing import PROVEN, standings, sweep_standings
from proofs.stock import stock_hash
from proofs.sweeps import sweep_hash, sweeps

# One that loads a model, one that loads data and another model, one that loads data alone.
LESSONS = ("04_training_loop", "18_executorch_edge", "19_state_space_models")
PROOFS = ("audit", "nbval", "sample_class", "stock")
NOWHERE = set()
EVERYWHERE = {(lesson, proof) for lesson in LESSONS for proof in PROOFS}


def only(*proofs):
    return {(lesson, proof) for lesson, proof in EVERYWHERE if proof in proofs}


def of(*lessons):
    return {(lesson, proof) for lesson, proof in EVERYWHERE if lesson in lessons}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository as it is, with proofs recorded for exactly this."""
    root = tmp_path_factory.mktemp("copy")
    for path in ROOT.glob("*/__init__.py"):
        shutil.copytree(path.parent, root / path.parent.name, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("tests", "lessons"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup_cell.py", "nbgrader_config.py"):
        shutil.copy(ROOT / name, root)
    for name in LESSONS:
        shutil.copytree(ROOT / "solutions" / name, root / "solutions" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "ROOT", root)
        records = root / "lessons" / "records"
        for lesson in (read(root / "lessons" / f"{name}.py") for name in LESSONS):
            whole, mutants = audit_hashes(lesson, "authoring.audit")
            counts = {"reference": True, "stub": True, "wrong": [3, 3, 3], "right": [1, 1], "perturbations": [8, 8]}
            audits = {e: counts | {"mutants": [9, 9, 0], "hash": whole[e], "mutants_hash": mutants[e]} for e in whole}
            update_record(lesson.name, "audit", audits, records)
            update_record(lesson.name, "nbval", {"hash": solved_hash(lesson, root)}, records)
            update_record(lesson.name, "sample_class", {"hash": sample_hash(lesson)}, records)
            update_record(lesson.name, "stock", {"hash": stock_hash(lesson, root), "students": students(lesson)}, records)
        for file in sweeps(root):
            update_record("sweeps", file, {"hash": sweep_hash(file, root)}, records)
        yield root


@pytest.fixture(scope="module")
def lessons(copy):
    return [read(copy / "lessons" / f"{name}.py") for name in LESSONS]


@pytest.fixture
def stale(copy, lessons):
    """A function: what is stale now, as (lesson, proof)."""

    def find(lessons=lessons):
        return {(about.subject, about.proof) for lesson in lessons for about in standings(lesson, copy) if about.state != PROVEN}

    return find


def stale_sweeps(root):
    return {about.proof for about in sweep_standings(root) if about.state != PROVEN}


class Changed:
    """A file of the copy that is another one inside the `with` block."""

    def __init__(self, path, new):
        self.path, self.old, self.new = path, path.read_bytes(), new

    def __enter__(self):
        assert self.new != self.old
        self.path.write_bytes(self.new)

    def __exit__(self, *_):
        self.path.write_bytes(self.old)


def with_a_statement(path):
    return Changed(path, path.read_bytes() + b"\n_changed = 1\n")


def with_another_byte(path):
    data = path.read_bytes()
    return Changed(path, data[:-1] + bytes([data[-1] ^ 1]))


def with_words(path):
    """Another docstring and a comment."""
    text = path.read_text()
    return Changed(path, (text.replace('"""', '"""Other words. ', 1) + "\n# the end\n").encode())


def files(root, *patterns):
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def test_as_it_is_everything_holds(copy, stale):
    assert stale() == NOWHERE and stale_sweeps(copy) == set()


def test_what_judges_decides_on_every_verdict(copy, stale):
    """All of it: a new file, or one that nobody thought of, too."""
    judging = files(copy, "judge/*.py", "unit24/check*.py", "course/lesson.py", "course/reference.py")
    judging.remove(copy / "judge" / "cost.py")  # for `make bench`
    for path in judging:
        with with_a_statement(path):
            assert only("audit", "sample_class") <= stale(), path
    assert len(judging) >= 8


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("unit24/env.py", EVERYWHERE),
        ("unit24/models/__init__.py", EVERYWHERE),
        ("course/mutants.py", only("audit", "sample_class", "stock")),  # the sample class is made with them
        ("authoring/audit.py", only("audit")),
        ("authoring/perturbations.py", only("audit")),
        ("grader/classroom.py", only("sample_class", "stock")),
        ("grader/grade.py", only("sample_class")),
        ("proofs/sample.py", only("sample_class")),
        ("proofs/solved.py", only("nbval", "stock")),
        ("proofs/stock.py", only("stock")),
        ("nbgrader_config.py", only("stock")),
        ("unit24/data/tasks.py", of("18_executorch_edge", "19_state_space_models")),
        ("authoring/build.py", NOWHERE),
        ("authoring/leaks.py", NOWHERE),
        ("authoring/commands.py", NOWHERE),
        ("grader/commands.py", NOWHERE),
        ("grader/report.py", NOWHERE),
        ("judge/cost.py", NOWHERE),
        ("unit24/models/recipes/training.py", NOWHERE),
        ("proofs/run.py", NOWHERE),
        ("unit24/cli.py", NOWHERE),
        ("unit24/doctor.py", NOWHERE),
        ("tests/conftest.py", NOWHERE),
    ],
)
def test_code_decides_where_it_is_imported(copy, stale, file, expected):
    with with_a_statement(copy / file):
        assert stale() == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("unit24/models/tiny_lm/model.safetensors", of("04_training_loop", "18_executorch_edge")),
        ("unit24/models/tiny_lm/tokenizer.json", of("04_training_loop", "18_executorch_edge")),
        ("unit24/models/digits_cnn_ten/model.safetensors", of("18_executorch_edge")),
        ("unit24/models/tiny_draft/model.safetensors", NOWHERE),
        ("unit24/models/tiny_lm/README.md", NOWHERE),
    ],
)
def test_models_decide_where_they_are_named(copy, stale, file, expected):
    with with_another_byte(copy / file):
        assert stale() == expected


def test_a_version_decides_where_it_is_needed(stale, monkeypatch):
    installed = fingerprint._version
    monkeypatch.setattr(fingerprint, "_version", lambda name: "0.0.1" if name == "executorch" else installed(name))
    assert stale() == of("18_executorch_edge")


def test_words_make_nothing_stale(copy, stale):
    with ExitStack() as stack:
        for path in files(copy, "judge/*.py", "unit24/*.py", "course/*.py", "grader/*.py", "authoring/*.py", "proofs/*.py"):
            stack.enter_context(with_words(path))
        assert stale() == NOWHERE


def test_a_lesson_decides_on_itself(copy, stale):
    """Text without code, and comments in code, do not."""
    path = copy / "lessons" / "04_training_loop.py"
    text = path.read_text()

    def stale_with(new):
        with Changed(path, new.encode()):
            return stale([read(path)])

    imports = "\nimport torch\n"
    assert stale_with(text.replace(imports, f"{imports}_changed = 1\n", 1)) == of("04_training_loop")
    # After the last exercise.
    assert stale_with(text + "\n# %%\n_changed = 1\n") == of("04_training_loop") - {("04_training_loop", "audit")}
    assert stale_with(text.replace(imports, "\nimport torch  # tensors\n", 1) + "\n# %% [markdown]\n# The end.\n") == NOWHERE


def test_a_solved_notebook_decides_on_what_runs_it(copy, stale):
    """Its code, and its outputs where they must be the same; not a picture."""
    path = copy / "solutions" / "18_executorch_edge" / "18_executorch_edge.ipynb"
    with Changed(path, path.read_bytes().replace(b"import torch", b"import torch as torch", 1)):
        assert stale() == {("18_executorch_edge", "nbval"), ("18_executorch_edge", "stock")}


def test_a_sweep_depends_on_its_tests_and_on_what_they_judge(copy):
    attacks = "tests/judge/test_attacks.py"
    assert attacks in sweeps(copy)
    for file in (attacks, "judge/isolation.py", "unit24/check.py", "tests/judge/attacks/frames.py", "tests/support/drawn.py"):
        with with_a_statement(copy / file):
            assert attacks in stale_sweeps(copy), file
    for file in ("authoring/audit.py", "grader/report.py", "tests/judge/test_bench.py", "tests/conftest.py"):
        with with_a_statement(copy / file):
            assert attacks not in stale_sweeps(copy), file
