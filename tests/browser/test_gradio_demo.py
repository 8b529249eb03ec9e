"""Lesson 21's Gradio demo in a browser: a digit is uploaded, the page names it; without one it says what to do.

The demo is the lesson's own reference solution, in a process of its own with the shipped network behind it.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from course.lesson import LESSONS, ROOT, read

LESSON = LESSONS / "21_model_export_production.py"
READY_SECONDS = 120

BEGIN = """
import numpy as np
import torch
from unit24 import models
from unit24.models.digits_cnn import DigitsCNN
model = DigitsCNN.from_pretrained(models.path("digits-cnn-ten")).eval().requires_grad_(False)
"""
END = """
demo = make_demo(lambda images: model(torch.tensor(images)).numpy())
demo.launch(server_name="127.0.0.1", server_port={port}, quiet=True)
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The address of the running demo."""
    pytest.importorskip("gradio")
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("demo")
    lesson = read(LESSON)
    exercise = lesson.exercise("demo_and_card").cell
    before = lesson.cells[: lesson.cells.index(exercise)]
    code = [cell.source for cell in before if cell.type == "code" and cell.role == "unmarked"]
    imports = f"{code[0]}\n\n{code[-1]}"  # of the lesson, and of the exercise
    helper = next(cell.source for cell in before if "def softmax" in cell.source)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = folder / "demo.py"
    script.write_text("\n\n".join([BEGIN, helper, imports, exercise.source, END.format(port=port)]), encoding="utf-8")
    quiet = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": str(folder / "uploads")}
    address, log = f"http://127.0.0.1:{port}", folder / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=ROOT,
            env=os.environ | quiet | {"OMP_NUM_THREADS": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(address, timeout=5):
                    break
            except OSError:
                said = log.read_text(errors="replace")[-2000:]
                assert process.poll() is None and time.monotonic() < until, f"the demo was not ready: {said}"
                time.sleep(0.3)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """A PNG of a held-out digit, dark on white and large, and the digit that the network reads in it."""
    import torch
    from PIL import Image

    from unit24 import models
    from unit24.data import digits
    from unit24.models.digits_cnn import DigitsCNN

    model = DigitsCNN.from_pretrained(models.path("digits-cnn-ten")).eval()
    pictures, labels, _ = digits.tensors("test", 50, seed=5)
    pictures = pictures.clamp(0, 1)
    with torch.no_grad():
        sure = model(pictures).softmax(1)
    best = int(sure.max(1).values.argmax())
    assert int(sure[best].argmax()) == int(labels[best])
    paper = (255 - 255 * pictures[best, 0]).round().to(torch.uint8).numpy()
    path = tmp_path_factory.mktemp("drawing") / "digit.png"
    Image.fromarray(paper).resize((256, 256), Image.NEAREST).save(path)
    return path, int(labels[best])


def only_this_machine(page):
    """Fonts and the like from elsewhere are refused at once instead of waited for."""
    page.route("**/*", lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort())


def test_the_page_reads_an_uploaded_digit(open_page, demo, drawing):
    path, digit = drawing
    page = open_page()
    only_this_machine(page)
    page.goto(demo)
    page.locator("input[type=file]").first.set_input_files(path)
    page.get_by_role("button", name="Submit").click()
    winner = page.locator("[data-testid=label-output-value]")
    winner.wait_for()
    assert winner.inner_text().strip() == str(digit)


def test_without_a_picture_it_says_what_to_do(open_page, demo):
    page = open_page(width=420)
    only_this_machine(page)
    page.goto(demo)
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("Draw a digit or choose a picture first.").wait_for()
