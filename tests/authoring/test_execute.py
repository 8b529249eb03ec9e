"""Running a notebook: outputs, what is cleaned from them, and where an error came from."""

import nbformat
import pytest

from authoring.execute import CellFailed, _clean_text, execute


def notebook(**sources):
    cells = []
    for name, source in sources.items():
        cell = nbformat.v4.new_code_cell(source)
        cell.id = name
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells)


def test_a_run_keeps_outputs_and_nothing_of_the_machine():
    ran = []
    source = notebook(
        where="import json, os, tempfile\nprint(os.getcwd(), tempfile.gettempdir(), sorted(os.listdir()))",
        empty="",
        who="print(json.__file__)\nos.path.expanduser('~/models')",
        variables="[os.environ[n] for n in ('OMP_NUM_THREADS', 'HF_HUB_OFFLINE', 'UNIT24_DEVICE')]",
        big="held = bytearray(200_000_000)\nimport time; time.sleep(0.5)",
        warned="import warnings; warnings.warn('careful')",
        plot="import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
    )
    run = execute(source, lambda done, total: ran.append((done, total)))
    cells = {c.id: c for c in run.notebook.cells}
    assert cells["where"].outputs[0].text == ". scratch/tmp []\n"
    assert cells["who"].outputs[0].text == "python/json/__init__.py\n"
    assert cells["who"].outputs[1].data["text/plain"] == "'~/models'"
    assert cells["variables"].outputs[0].data["text/plain"] == "['1', '1', 'cpu']"
    assert cells["warned"].outputs[0].text.startswith("<cell>:1: UserWarning: careful")
    assert "image/png" in cells["plot"].outputs[0].data
    assert [c.execution_count for c in run.notebook.cells] == [1, None, 2, 3, 4, 5, 6]
    assert cells["who"].outputs[1].execution_count == 2
    assert run.notebook.metadata == source.metadata and not any(c.metadata for c in run.notebook.cells)
    assert 200 < run.peak_mb < 2000 and run.seconds > 0.5
    assert ran == [(i, 7) for i in range(7)]
    assert not any(c.outputs for c in source.cells), "the notebook that was given is left alone"


def test_an_error_comes_with_the_innermost_line_of_the_notebook():
    source = notebook(
        first="def outer(x):\n    return inner(x)\n\ndef inner(x):\n    # a comment\n    return 1 / x",
        second="outer(1)",
        third="print('on the way')\nouter(0)",
        fourth="print('never')",
    )
    with pytest.raises(CellFailed, match="^ZeroDivisionError: division by zero$") as caught:
        execute(source)
    assert caught.value.cell == "third"
    assert caught.value.frames == [("third", 2), ("first", 2), ("first", 6)]


@pytest.mark.parametrize(
    ("source", "message"),
    [("import os; os._exit(3)", "DeadKernelError: the kernel died"), ("import sys; sys.exit()", "the run ended before this cell")],
)
def test_a_kernel_that_ends_is_a_failed_cell(source, message):
    with pytest.raises(CellFailed, match=message) as caught:
        execute(notebook(first="pass", last=source, after="pass"))
    assert caught.value.cell in ("last", "after")


def test_paths_inside_words_and_longer_names_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    text = "/home/ann/x /home/anna/x https://example.org/home/ann ('/home/ann')"
    assert _clean_text(text, tmp_path) == "~/x /home/anna/x https://example.org/home/ann ('~')"


def test_a_picture_in_html_is_left_alone_and_costs_nothing(tmp_path, monkeypatch):
    """One of 100 kB kept a build of seven lessons busy for minutes: each of its letters might have begun a path."""
    monkeypatch.setenv("HOME", "/home/ann")
    picture = "data:image/png;base64," + "iVBORw0KGgo/home/ann/" * 60_000
    assert _clean_text(f'<img alt="/home/ann/x" src="{picture}">', tmp_path) == f'<img alt="~/x" src="{picture}">'
