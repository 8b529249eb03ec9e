"""The environment object: what is found, what is set, what a notebook shows."""

import os
import random
import subprocess
import sys
import warnings

import nbformat
import pytest
from nbclient import NotebookClient

import unit24
from unit24 import env as environment


def run_python(code, **variables):
    settings = {**os.environ, **{name: value for name, value in variables.items() if value is not None}}
    for name in [name for name, value in variables.items() if value is None]:
        settings.pop(name, None)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings)


@pytest.fixture(autouse=True)
def same_process_afterwards(monkeypatch):
    """`start` changes the process's variables and warning filters; give the next test its own."""
    for name in [*environment.QUIET, *environment.OFFLINE]:
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    with warnings.catch_warnings():
        yield
    environment._writable.cache_clear()


def test_importing_unit24_imports_nothing_heavy():
    heavy = "torch numpy pandas matplotlib transformers tensorflow jax IPython rich click sqlalchemy".split()
    done = run_python(f"import sys, unit24, unit24.check; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_unit24_imports_neither_authoring_nor_grader():
    code = "import sys, unit24, unit24.cli, unit24.doctor; print({'authoring', 'course', 'grader', 'judge'} & set(sys.modules))"
    assert run_python(code).stdout.strip() == "set()"


def test_parts_of_the_package_load_by_name():
    assert unit24.check.equal and unit24.start is environment.start
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        unit24.chekc  # noqa: B018


def test_start_prints_one_line_and_says_what_it_found(capsys, home):
    env = unit24.start("04_training_loop")
    said = capsys.readouterr()
    assert said.out.count("\n") == 1 and said.err == ""
    for word in ("04_training_loop", "device cpu", "tier tiny", f"torch {env.torch}"):
        assert word in said.out
    assert (env.lesson, env.platform, env.device, env.tier) == ("04_training_loop", "local", "cpu", "tiny")
    assert env.storage == home and env.cache.is_dir()


def test_starting_again_gives_the_same_environment_and_the_same_numbers():
    import numpy as np
    import torch

    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    first, numbers = unit24.start("04_training_loop"), draw()
    draw()
    assert unit24.start("04_training_loop") == first
    assert draw() == numbers
    assert first.seed(7) == 7 and draw() != numbers
    assert first.seed() == environment.SEED and draw() == numbers


def test_tiny_tier_is_offline_and_hub_tier_is_not():
    code = "import os, unit24; unit24.start('x'); print(os.environ.get('HF_HUB_OFFLINE'))"
    nothing = dict.fromkeys(environment.OFFLINE)
    assert run_python(code, **nothing).stdout.split()[-1] == "1"
    assert run_python(code, UNIT24_TIER="hub", **nothing).stdout.split()[-1] == "None"


@pytest.mark.parametrize(("name", "value"), [("UNIT24_TIER", "huge"), ("UNIT24_DEVICE", "tpu")])
def test_a_setting_that_means_nothing_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(unit24.UserError, match=f"{name} is '{value}'"):
        unit24.start("04_training_loop")


def test_kaggle_goes_before_the_copy_of_google_colab_in_its_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", type(sys)("google.colab"))
    assert environment.find_platform() == "colab"
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert environment.find_platform() == "kaggle"


def test_storage_is_where_the_platform_keeps_files(monkeypatch, tmp_path):
    monkeypatch.delenv("UNIT24_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(environment, "COLAB_CONTENT", tmp_path / "content")
    monkeypatch.setattr(environment, "KAGGLE_WORKING", tmp_path / "working")
    assert environment.find_folders("colab")[1] == tmp_path / "content" / "unit24"
    (tmp_path / "content" / "drive" / "MyDrive").mkdir(parents=True)
    assert environment.find_folders("colab")[1] == tmp_path / "content" / "drive" / "MyDrive" / "unit24"
    assert environment.find_folders("kaggle")[1] == tmp_path / "working" / "unit24"
    cache, storage = environment.find_folders("local")
    assert cache != storage and cache.is_dir() and storage.is_relative_to(tmp_path / "person")


def test_a_home_that_cannot_be_written_gives_way_to_a_temporary_folder(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNIT24_HOME", str(tmp_path / "file"))
    cache, storage = environment.find_folders("local")
    assert storage.is_dir() and os.access(storage, os.W_OK) and not storage.is_relative_to(tmp_path / "file")
    assert environment.find_folders("local") == (cache, storage)
    cache.rmdir(), storage.rmdir()


def test_gpus_are_read_from_the_drivers_tool(monkeypatch):
    environment.gpus.cache_clear()
    answer = subprocess.CompletedProcess([], 0, stdout="Tesla T4, 15360\nTesla T4, 15360\nOdd, [N/A]\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert environment.gpus() == [("Tesla T4", 15.0)] * 2
    environment.gpus.cache_clear()


NOTEBOOK = [
    "import unit24; env = unit24.start('04_training_loop')",
    "def train_step(model):\n    # YOUR CODE HERE\n    raise NotImplementedError()",
    "class Net:\n    def forward(self):\n        raise NotImplementedError()",
    "loss = train_step(None)",
    "Net().forward()",
    "raise NotImplementedError('no kernel for half')",
    "1 / 0",
    "import warnings; warnings.warn('the rate\\nis large')",
]


@pytest.fixture(scope="module")
def outputs():
    """What a real kernel shows for each cell of `NOTEBOOK`."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in NOTEBOOK])
    NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
    return [cell.outputs for cell in notebook.cells]


def test_a_notebook_shows_one_line_for_an_exercise_that_is_not_written(outputs):
    for name, (output,) in [("train_step", outputs[3]), ("Net.forward", outputs[4])]:
        assert output.output_type == "error" and output.ename == "NotImplementedError"
        (line,) = output.traceback
        assert f"`{name}` is not written yet" in line and "\n" not in line


def test_a_notebook_shows_other_errors_whole(outputs):
    assert "no kernel for half" in "\n".join(outputs[5][0].traceback)
    assert len(outputs[6][0].traceback) > 1


def test_a_notebook_shows_a_warning_as_one_line_and_not_on_stderr(outputs):
    (output,) = outputs[7]
    assert (output.name, output.text) == ("stdout", "UserWarning: the rate is large\n")
