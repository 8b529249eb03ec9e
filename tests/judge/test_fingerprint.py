"""What decides on a verdict is found and counted; what does not, is not."""

import json
import shutil
import subprocess
import sys

import pytest
from texts import read_copy

from course.lesson import write_texts
from course.parts import ROOT
from judge import fingerprint
from judge.fingerprint import audit_hashes, code_from, deciding, exercise_hashes, tree_hash

CODE = '''
"""A module."""
import os

def f(x):
    """Twice x."""
    # by adding
    return x + x

class C:
    """Empty."""
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# by adding", "# with a sum"),
        ("Twice x.", "Two times x."),
        ("x + x", "(x +\n            x)"),
        ("import os\n", "\n\nimport os  # needed\n"),
    ],
)
def test_words_and_layout_change_nothing(old, new):
    assert old in CODE
    assert tree_hash(CODE) == tree_hash(CODE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x + x", "x * x"),
        ("x + x", "x + 1"),
        ("x + x", "x + 1.0"),
        ("x + x", "x + True"),
        ("x + x", "x + None"),
        ("f(x)", "g(x)"),
        ("f(x)", "f(x, y=None)"),
        ("import os", "import os as o"),
        ("    return x + x", "    pass"),
        ('    # by adding\n', '    "by adding"\n'),
    ],
)
def test_a_change_of_code_changes_the_hash(old, new):
    assert old in CODE and tree_hash(CODE) != tree_hash(CODE.replace(old, new))


def test_what_is_not_python_counts_as_text():
    assert tree_hash("%matplotlib inline") != tree_hash("%matplotlib notebook")


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_imports_are_followed_wherever_they_stand(tmp_path, monkeypatch):
    """Late ones, relative ones, modules named in text, started as programs, or made up in a package; nothing else."""
    files = {
        "a/__init__.py": "",
        "a/one.py": "def f():\n    from b import two\n    import json",
        "b/__init__.py": "import importlib\ndef load(name):\n    return importlib.import_module(f'c.many.{name}')",
        "b/two.py": "from . import three\nfrom .four import x\nimport sys\ncall = [sys.executable, '-m', 'b.five']",
        "b/three.py": "script = '''\nimport json\nfrom b import six\n'''",
        "b/four.py": "import b\nb.seven.run()",
        "b/five.py": '"""Unlike b.nine."""\n# b.nine',
        "b/six.py": "",
        "b/seven.py": "",
        "b/eight.py": "",
        "b/nine.py": "",
        "c/__init__.py": "",
        "c/many/__init__.py": "",
        "c/many/x.py": "",
        "d/no_package.py": "",
        "b/ten.py": "",
    }
    monkeypatch.setattr(fingerprint, "ROOT", write(tmp_path, files))
    found = code_from(["a.one"], ["import d.no_package\nfrom b.ten import y"])
    unused = {"b/eight.py", "b/nine.py", "d/no_package.py"}
    assert set(found) == files.keys() - unused


def test_everything_that_runs_is_counted():
    """What Python imports for an audit and in the process that holds a lesson's state is among what is counted."""
    code = "import sys, json, authoring.audit, judge.holder, unit24; unit24.start; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    own = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    imported = {name for name in json.loads(done.stdout) if name.split(".")[0] in own}
    files = {name.replace(".", "/") for name in imported}
    counted = {path.removesuffix(".py").removesuffix("/__init__") for path in code_from(["authoring.audit"])}
    assert files <= counted and "judge/bench" in counted


LESSON = '''\
# ---
# jupyter:
#   unit24:
#     needs: ["numpy", "nothing-like-this", "torch; platform_system == 'Nowhere'"]
# ---

# %% [markdown]
# # Models

# %% setup

# %%
from unit24 import check, models as shipped

a, b = MODEL

# %% exercise="double" minutes=5 difficulty=1
def double(x):
    ### BEGIN SOLUTION
    return x + x
    ### END SOLUTION

# %% tests="double" points=2
with check.exercise("double"):
    check.equal(double(2), 4)

# %%
c = 1

# %% exercise="triple" minutes=5 difficulty=1
def triple(x):
    ### BEGIN SOLUTION
    return x + x + x
    ### END SOLUTION

# %% tests="triple" points=2
with check.exercise("triple"):
    check.equal(triple(2), 6)
'''
ANSWERS = '''\
# %% wrong="double" says="is 2"
def double(x):
    return x

# %% wrong="triple" says="is 3"
def triple(x):
    return x + 1
'''


@pytest.fixture
def lesson(tmp_path):
    """A function from replacements to the lesson."""

    def make(*replacements, model='env.model("chat"), shipped.path("digits-cnn")'):
        write_texts({"61_models.py": LESSON.replace("MODEL", model), "answers/61_models.py": ANSWERS}, tmp_path / "as_it_was")
        return read_copy(tmp_path / "as_it_was" / "61_models.py", tmp_path / "lessons", *replacements)

    return make


def weights(lesson):
    files = [name.split("/") for name in deciding(lesson, "judge.bench") if name.startswith("unit24/models/")]
    assert not any(file[-1] == "README.md" for file in files)
    return {file[2] for file in files if len(file) == 4}


def test_the_models_that_a_lesson_names(lesson):
    assert weights(lesson()) == {"tiny_lm", "digits_cnn"}
    assert weights(lesson(model="1, 2")) == set()
    assert weights(lesson(model="os.path.join(name), model.path(name)")) == set()  # other things of that name


@pytest.mark.parametrize(
    "model", ["env.model(role), 1", "[env.model(r) for r in roles], 1", "map(shipped.path, roles), 1", "shipped.path(*x), 1"]
)
def test_all_models_where_it_cannot_be_told(lesson, model):
    assert len(weights(lesson(model=model))) == 6


def test_versions_of_what_a_lesson_needs(lesson):
    from importlib import metadata

    found = deciding(lesson(), "judge.bench")
    assert found["numpy"] == metadata.version("numpy").partition("+")[0]
    assert found["nothing-like-this"] == "not installed" and "torch" not in found


def changed(lesson, *replacements):
    """Exercises whose answers, whose mutants, and whose audit are to be judged again."""
    before, after = lesson(), lesson(*replacements)

    def differ(old, new):
        return {name for name in new if old.get(name) != new[name]}

    (old_whole, old_mutants), (whole, mutants) = (audit_hashes(one, "authoring.audit") for one in (before, after))
    return differ(exercise_hashes(before), exercise_hashes(after)), differ(old_mutants, mutants), differ(old_whole, whole)


def test_each_exercise_has_its_own(lesson):
    both = {"double", "triple"}
    assert changed(lesson, ("c = 1", "c = 2")) == ({"triple"}, {"triple"}, {"triple"})
    assert changed(lesson, ("double(2), 4", "double(3), 6")) == ({"double"}, {"double"}, {"double"})
    assert changed(lesson, ("return x + x\n", "return 2 * x\n")) == ({"triple"}, both, both)
    assert changed(lesson, ('"is 2"', '"is 3"')) == (set(), set(), {"double"})
    assert changed(lesson, ("    return x\n", "    return -x\n")) == (set(), set(), {"double"})
    assert changed(lesson, ("needs: [", 'needs: ["scipy", ')) == (both, both, both)
    assert changed(lesson, ('"double" minutes=5', '"double" minutes=5 seconds=3')) == ({"double"}, {"double"}, {"double"})
    words = ("    return x\n", "    # twice\n    return x\n"), ("minutes=5", "minutes=6"), ("# # Models", "# # Other\n#\n# More.")
    assert changed(lesson, *words) == (set(), set(), set())


def test_what_a_student_is_given_decides_on_the_audit(lesson):
    """The untouched stub must earn nothing: the marks of the solution are comments, and where they stand counts."""
    moved = ("    ### BEGIN SOLUTION\n    return x + x\n", "    return x + x\n    ### BEGIN SOLUTION\n")
    assert changed(lesson, moved) == (set(), {"double"}, {"double"})


def test_a_data_file_counts_where_data_is_used(tmp_path, monkeypatch):
    here = code_from(["unit24.data.tasks"])
    shutil.copytree(ROOT / "unit24", tmp_path / "unit24", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    modules = ["unit24.data.tasks"], ["unit24.check"]
    data, check = map(code_from, modules)
    assert data == here
    (tmp_path / "unit24" / "data" / "words.txt").write_text("one two")
    more, same = map(code_from, modules)
    assert more.keys() - data.keys() == {"unit24/data/words.txt"} and same == check
