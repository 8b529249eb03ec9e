"""Text alternatives of plots: what they say, and that a notebook shows each figure with one."""

import re

import nbformat
import numpy as np
import pytest

plt = pytest.importorskip("matplotlib.pyplot")
from nbclient import NotebookClient  # noqa: E402

from unit24.figures import LONGEST, in_words  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_lines_are_told_with_axes_scale_ends_and_turning_points():
    figure, axis = plt.subplots()
    axis.plot([3, 1.5, 1.75], label="training")
    axis.axhline(2.25, label="guessing")
    axis.set(title="Learning", xlabel="update", ylabel="loss (nats)", yscale="log")
    wanted = "Learning, loss (nats) (log scale) against update: guessing at y = 2.25; training: from 3 at 0 to 1.75 at 2, lowest 1.5 at 1."
    assert in_words(figure) == wanted


def test_bars_have_the_names_that_stand_under_them():
    figure, (left, middle, right) = plt.subplots(1, 3)
    left.bar(["before", "after"], [1, 2])
    middle.bar(range(2), [3, 4])
    middle.set_xticks(range(2), ["eager", "compiled"])
    right.barh(["int8", "int4"], [5, 6])
    said = in_words(figure)
    assert "Plot 1 of 3: bars: before 1, after 2." in said
    assert "bars: eager 3, compiled 4." in said and "bars: int8 5, int4 6." in said


def test_pictures_in_a_row_are_told_together():
    figure, axes = plt.subplots(1, 3)
    for number, axis in enumerate(axes):
        axis.imshow([[0, 1], [1, 0]])
        axis.set_title(f"label {number}")
    assert in_words(figure) == "3 pictures of 2 x 2: label 0, label 1, label 2."


@pytest.mark.parametrize(
    "draw, said",
    [
        (lambda axis: [axis.plot([n, n + 1]) for n in range(30)], "30 lines, all between 0 and 30"),
        (lambda axis: axis.plot([float("nan")] * 3), "no values"),
        (lambda axis: axis.plot([]), ""),
        (lambda axis: axis.scatter([1, 2], [3, 4], label="runs"), "runs: 2 points, x 1 to 2, y 3 to 4"),
        (lambda axis: axis.hist(range(100), bins=40), "40 bars at"),
        (lambda axis: axis.errorbar([1, 2], [1, 2], yerr=0.5), "from 1 at 1 to 2 at 2"),
        (lambda axis: axis.pcolormesh([[1.0, 2.0], [3.0, 4.0]]), "a map of 4 values, 1 to 4"),
        (lambda axis: axis.stem([1, 3, 2]), "3 points, 1 to 3"),
        (lambda axis: axis.plot(["mon", "tue"], [1, 2]), "from 1 at mon to 2 at tue"),
        (lambda axis: axis.text(0, 0, "words"), ""),
        (lambda axis: axis.plot([1, 2], ["low", "high"]), "from 0 at 1 to 1 at 2"),
        (lambda axis: axis.plot([1, 2], np.array(["2026-11-01", "2026-11-30"], "datetime64[D]")), "at 1 to"),
        (lambda axis: axis.imshow(np.ma.masked_all((2, 2))), "a picture of 2 x 2"),
        (lambda axis: axis.imshow([[float("nan")] * 2] * 2), "a picture of 2 x 2"),
        (lambda axis: axis.boxplot([[1, 2, 3], [2, 3, 4]]), "line"),
        (lambda axis: axis.pie([1, 2], labels=["a", "b"]), ""),
        (lambda axis: axis.stackplot([1, 2], [1, 2], [3, 4]), "an area"),
        (lambda axis: axis.quiver([1, 2], [1, 2]), "arrows"),
        (lambda axis: axis.twinx().plot([1, 2], label="rate"), "rate: from 1 at 0 to 2 at 1"),
        (lambda axis: axis.figure.add_subplot(projection="3d").scatter([1, 2], [1, 2], [1, 2]), ""),
        (lambda axis: axis.figure.add_subplot(projection="polar").plot([1, 2], label="turn"), "turn: from 1"),
        (lambda axis: axis.contour([[1, 2], [2, 1]]), "contour lines"),
        (lambda axis: [axis.plot([1, 2], label="a run"), axis.plot([1, 3]), axis.plot([2, 5])], "a run: from 1 at 0 to 2 at 1; 2 more lines, all between"),
        (lambda axis: [axis.plot(range(9), label=f"a very long name {n} " * 9) for n in range(30)], "…"),
    ],
)
def test_whatever_is_drawn_gets_words_that_are_not_too_many(draw, said):
    figure, axis = plt.subplots()
    draw(axis)
    words = in_words(figure)
    assert said in words and 0 < len(words) <= LONGEST


ODD = """from unit24 import figures
def fails(figure): raise ValueError('no words for this')
figures.in_words = fails
plt.plot([1, 2])
plt.show()"""

CELLS = [
    "import unit24\nenv = unit24.start('01_small')",
    "import matplotlib.pyplot as plt\nplt.plot([1, 3], label='a < b')\nplt.show()",
    "plt.plot([1, 2]);",
    "figure, axis = plt.subplots()\naxis.imshow([[1]])\nplt.close(figure)\nfigure",
    "%config InlineBackend.figure_format = 'svg'\nplt.plot([1, 2])\nplt.show()",
    "%config InlineBackend.figure_format = 'retina'\nplt.plot([1, 2])\nplt.show()",
    ODD,
]


def test_a_notebook_shows_each_figure_once_with_its_words(monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = []
    for cell in notebook.cells[1:]:
        (output,) = (output for output in cell.outputs if "data" in output)
        assert set(output.data) == {"text/html", "text/plain"}
        shown.append(output.data["text/html"])
    assert shown[0].startswith('<img alt="a &lt; b: from 1 at 0 to 3 at 1." src="data:image/png;base64,')
    assert 'alt="a picture of 1 x 1, values 1 to 1."' in shown[2]
    assert "data:image/svg+xml;base64," in shown[3]
    assert re.search(r'base64,[^"]+" width="\d+">', shown[4])
    assert 'alt="A figure."' in shown[5], "a plot is shown whatever can be said of it"
