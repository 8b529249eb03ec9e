"""The setup cell in clean environments that imitate Colab and Kaggle, with packages from a local folder.

What the platform brings (torch, the packages of Jupyter) is put there before; its torch is a stand-in
with a version that is on no index, beside a newer one in the folder that pip would like to take.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from texts import replaced
from wheels import write_wheel

from unit24 import needs

ROOT = Path(__file__).resolve().parent.parent
CELL = (ROOT / "setup_cell.py").read_text()
TORCH = "2.11.0+cu126"
TORCH_SOURCE = "class cuda:\n    is_available = lambda: False\nclass backends:\n    mps = cuda\nmanual_seed = lambda n: None\n"
# Packages that Jupyter brings, and so both platforms: copied from this environment.
BROUGHT = "click packaging platformdirs rich markdown-it-py mdurl Pygments".split()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A folder of wheels: this project, packages that lessons might need, and a newer torch."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("index")
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "unit24", source / "unit24", ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("authoring", "course", "grader", "judge"):
        (source / package).mkdir()
        (source / package / "__init__.py").touch()
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(command, check=True, capture_output=True)
    write_wheel(folder, "torch", "2.13.0", source="raise ImportError('this torch has no CUDA')")
    write_wheel(folder, "numpy", "9.9")
    write_wheel(folder, "needy", "1.0", requires=["torch>=2.0", "numpy"])
    write_wheel(folder, "greedy", "1.0", requires=["torch>=2.12"])
    write_wheel(folder, "modest", "1.0")
    write_wheel(folder, "modern", "1.0", requires=["numpy>=3"])
    write_wheel(folder, "follower", "1.0")
    write_wheel(folder, "follower", "2.0", requires=["torch>=2.12"])
    return folder


class Machine:
    """A clean virtual environment that stands for a platform."""

    def __init__(self, folder, index, **variables):
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self.folder, self.python = folder, folder / "venv" / "bin" / "python"
        (self.packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        self.variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull, **variables}
        for name in BROUGHT:
            self.copy_from_here(name)
        self.bring("torch", TORCH, TORCH_SOURCE)
        self.bring("numpy", "2.0.2", "class random:\n    seed = lambda n: None\n")
        self.bring("google", "1.0")
        (self.packages / "google" / "colab").mkdir()
        (self.packages / "google" / "colab" / "__init__.py").touch()

    def copy_from_here(self, name):
        for file in metadata.files(name):
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (self.packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), self.packages / file)

    def bring(self, name, version, source=""):
        with zipfile.ZipFile(write_wheel(self.folder, name, version, source=source)) as wheel:
            wheel.extractall(self.packages)

    def run(self, cell, **variables):
        """Run a cell in a new process: (what it printed, the versions that are installed then)."""
        (self.folder / "cell.py").write_text(cell)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("UNIT24", "PIP", "KAGGLE", "COLAB"))}
        settings = {**kept, "UNIT24_HOME": str(self.folder), **self.variables, **variables}
        done = subprocess.run([self.python, "cell.py"], cwd=self.folder, env=settings, capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        found = metadata.distributions(path=[str(self.packages)])
        return done.stdout, {dist.name: dist.version for dist in found}


@pytest.fixture(scope="module")
def colab(tmp_path_factory, index):
    return Machine(tmp_path_factory.mktemp("colab"), index)


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory, index):
    return Machine(tmp_path_factory.mktemp("kaggle"), index, KAGGLE_KERNEL_RUN_TYPE="Interactive")


def cell_for(*needs):
    """The cell as the build writes it into a lesson."""
    return replaced(CELL, ('LESSON = "NN_name"', 'LESSON = "04_training_loop"'), ("NEEDS = []", f"NEEDS = {list(needs)}"))


def test_colab(colab, tmp_path):
    # Without a way to get the package: one line that says what was tried and what to do.
    said, _ = colab.run(cell_for(), PIP_FIND_LINKS="")
    assert said.count("\n") == 1 and "Tried: unit24>=0.1.0 (ERROR: No matching distribution" in said and "UNIT24_SOURCE" in said
    assert "no network" not in said

    # What is missing is installed, what the platform brought stays, though newer versions are there to take.
    said, versions = colab.run(cell_for("needy>=1", "torch>=2.0", "numpy"))
    assert said.count("\n") == 1 and "lesson 04_training_loop: Google Colab" in said and f"torch {TORCH}" in said
    assert versions["torch"] == TORCH and versions["numpy"] == "2.0.2"
    assert versions["needy"] == "1.0" and versions["unit24"] == metadata.version("unit24")


def test_one_that_does_not_fit_keeps_no_other_away(colab):
    """One package insisted on another Pillow than the platform's: pip then installed nothing, and the internet was blamed."""
    said, versions = colab.run(cell_for("greedy", "modest", "no-such-package"))
    first, second = said.splitlines()
    assert "lesson 04_training_loop" in first
    assert re.match(r"Not here: greedy \(greedy 1.0 depends on torch>=2.12, and here is torch==2.11.0.*\); no-such-package \(No matching distribution.*\)\. What does not use it", second), second
    assert versions["torch"] == TORCH and versions["modest"] == "1.0" and "greedy" not in versions


def test_numpy_gives_way_where_a_need_cannot_be_had_otherwise(colab):
    said, versions = colab.run(cell_for("modern"))
    assert said.count("\n") == 1 and versions["modern"] == "1.0" and versions["numpy"] == "9.9" and versions["torch"] == TORCH


def test_a_need_may_follow_the_version_of_another_package(colab):
    """ExecuTorch's newest wheel needs another torch than Colab has."""
    said, versions = colab.run(cell_for("follower==2.0 if torch>=2.12", "follower==1.0 if torch<2.12"))
    assert said.count("\n") == 1 and versions["follower"] == "1.0"


def test_a_wheel_that_lies_near_is_found_without_an_index(tmp_path, index):
    machine = Machine(tmp_path, index, PIP_FIND_LINKS="")
    (wheel,) = index.glob("unit24-*.whl")
    shutil.copy(wheel, machine.folder)
    said, versions = machine.run(cell_for())
    assert "Google Colab" in said and versions["unit24"] == metadata.version("unit24")


def test_the_package_from_a_tag_of_a_repository(tmp_path, index):
    """As ``git+https`` of a release's tag, here from a bare repository on this machine."""
    source, bare = tmp_path / "source", tmp_path / "bare.git"
    source.mkdir()
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "unit24", source / "unit24", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(source)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"], ["tag", "v0.1.0"], ["clone", "-q", "--bare", ".", str(bare)]):
        subprocess.run([*git, *command], check=True)
    machine = Machine(tmp_path / "machine", index)
    machine.copy_from_here("setuptools")
    cell = replaced(cell_for(), ('SOURCE = ""', f'SOURCE = "git+file://{bare}@v0.1.0"'))
    said, versions = machine.run(cell, PIP_FIND_LINKS="", PIP_NO_BUILD_ISOLATION="0")
    assert "Google Colab" in said and versions["unit24"] == metadata.version("unit24")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("/usr/bin/python: No module named pip", "uv pip install"),
        ("error: externally-managed-environment\n× This environment is externally managed", "python -m venv"),
        ("WARNING: Retrying ... NewConnectionError(... Temporary failure in name resolution')\nERROR: No matching distribution", "no network"),
        ("ERROR: No matching distribution found for x", "No matching distribution found for x"),
        ("", "without a word"),
    ],
)
def test_pips_reason_is_told_and_the_network_blamed_only_where_there_is_none(said, words):
    assert words in needs.reason(said) and ("network" in needs.reason(said)) == ("name resolution" in said)


def test_kaggle(kaggle, index):
    # A package of the right name that is too old counts as missing.
    kaggle.bring("unit24", "0.0.1")
    said, versions = kaggle.run(cell_for())
    assert said.count("\n") == 1 and ": Kaggle, " in said
    assert versions["torch"] == TORCH and versions["unit24"] == metadata.version("unit24")

    # The second run starts no process and leaves everything as it was.
    twice = f"import subprocess\nsubprocess.run = subprocess.Popen = None\ncell = {cell_for('numpy')!r}\nexec(cell)\nexec(cell)"
    again, same = kaggle.run(twice)
    assert again == said * 2 and same == versions


def test_where_to_install_from_is_one_setting(colab, index):
    (wheel,) = index.glob("unit24-*.whl")
    subprocess.run([colab.python, "-m", "pip", "uninstall", "-q", "-y", "unit24"], check=True, capture_output=True)
    said, versions = colab.run(cell_for(), PIP_FIND_LINKS="", UNIT24_SOURCE=str(wheel))
    assert "Google Colab" in said and versions["unit24"] == metadata.version("unit24")


def test_the_wheel_holds_the_students_package_alone(index):
    (wheel,) = index.glob("unit24-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "unit24/env.py" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"unit24"}


def test_the_cell_is_short_and_leaves_its_placeholders_to_the_build():
    assert len(CELL.splitlines()) <= 40 and max(map(len, CELL.splitlines())) <= 130
    assert CELL.count('LESSON = "NN_name"') == CELL.count("NEEDS = []") == 1
    ast.parse(CELL, feature_version=(3, 10))


@pytest.mark.parametrize(
    ("need", "missing"),
    [("numpy", False), ("numpy<1", True), ("no-such-package", True), ("no-such; python_version < '3'", False), ("click-cpu>=8", False), ("numpy<1 if no-such", False), ("numpy<1 if numpy", True), ("numpy if", True), ("((", True)],
)
def test_what_is_missing(need, missing):
    assert needs.is_missing(need) is missing
