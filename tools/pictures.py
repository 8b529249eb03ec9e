"""Make the pictures of the README again: python tools/pictures.py (some minutes; needs a Chromium).

docs/images/notebook.png: lesson 04 in JupyterLab, a wrong answer with its message, then a right one.
docs/images/report.png: the report of a random class of 40.
"""

import ast
import json
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT), str(ROOT / "tests" / "support")]

from browsing import chromium, jupyter  # noqa: E402

from course.lesson import find_lessons, read  # noqa: E402

IMAGES = ROOT / "docs" / "images"
EXERCISE, MISTAKE = "make_schedule", "is wasted"  # of lesson 04: which exercise, and the words of the wrong answer
CLASS = 40


def main():
    IMAGES.mkdir(parents=True, exist_ok=True)
    name = find_lessons(("04",))[0]
    with tempfile.TemporaryDirectory(prefix="unit24-pictures-") as scratch, chromium() as browser:
        notebook_picture(browser, name, Path(scratch))
        report_picture(browser, name, Path(scratch) / "autumn-class")


def notebook_picture(browser, name, scratch):
    lesson = read(ROOT / "lessons" / f"{name}.py")
    exercise = lesson.exercise(EXERCISE)
    wrong = code_alone(next(cell.source for cell in exercise.wrong if MISTAKE in cell.options["says"]))
    right = code_alone(exercise.cell.source)
    notebook = json.loads((ROOT / "notebooks" / name / f"{name}.ipynb").read_text())
    ids = [cell["id"] for cell in notebook["cells"]]
    done = {e.id: e.cell.source for e in lesson.exercises[: lesson.exercises.index(exercise)]}
    at = ids.index(exercise.id)
    tests = ids.index(f"test_{exercise.id}")
    plot = next(n for n in range(tests, len(ids)) if "plt." in "".join(notebook["cells"][n]["source"]))
    for number, cell in enumerate(notebook["cells"]):
        cell["source"] = done.get(cell["id"], cell["source"])
        if number in (tests, plot):
            cell["metadata"]["jupyter"] = {"source_hidden": True}
        if tests < number < plot and "<details>" in "".join(cell["source"]):
            cell["source"] = cell["metadata"] = None
    notebook["cells"] = [cell for cell in notebook["cells"][: plot + 1] if cell["source"] is not None]
    ids = [cell["id"] for cell in notebook["cells"]]
    folder = scratch / "notebooks"
    folder.mkdir()
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook))

    page = browser.new_page(viewport={"width": 1180, "height": 900})
    page.set_default_timeout(120_000)
    with jupyter(folder, scratch / "server") as url:
        page.goto(url(f"lab/tree/{name}.ipynb?reset"))
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        page.keyboard.press("ControlOrMeta+b")  # the file browser away

        def cell(number):
            return page.locator(f".jp-Cell[data-windowed-list-index='{number}']")

        def run(number, code=None):
            cell(number).scroll_into_view_if_needed()
            if code is None:
                cell(number).locator(".jp-InputPrompt").click()
            else:
                cell(number).locator(".cm-content").click()
                page.keyboard.press("ControlOrMeta+a")
                page.keyboard.insert_text(code)
            page.keyboard.press("Shift+Enter")

        def idle():
            page.wait_for_timeout(1000)
            page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()

        for number, about in enumerate(notebook["cells"][:at]):
            if about["cell_type"] == "code" and not about["id"].startswith("test_"):
                run(number)
        idle()
        at, tests, plot = ids.index(exercise.id), ids.index(f"test_{exercise.id}"), len(ids) - 1
        pictures = []
        for code, last in ((wrong, tests), (right, plot)):
            run(at, code)
            while at < last:  # Shift+Enter goes to the next cell; a click would unfold a folded one
                page.keyboard.press("Shift+Enter")
                at += 1
            at = ids.index(exercise.id)
            idle()
            page.wait_for_timeout(1500)
            page.locator(".jp-Notebook").evaluate("(e) => { document.activeElement.blur() }")
            cell(at).evaluate("e => e.scrollIntoView({block: 'start'})")
            page.wait_for_timeout(500)
            top = 0 if not pictures else cell(at).bounding_box()["y"] - 6
            box = cell(last).bounding_box()
            height = min(870, box["y"] + box["height"] + 2) - top
            pictures.append(page.screenshot(clip={"x": 0, "y": top, "width": 1180, "height": height}))
    page.close()
    save(pictures, IMAGES / "notebook.png")


def code_alone(source):
    """Without comments and docstrings, for room."""
    return ast.unparse(ast.parse("\n".join(line for line in source.splitlines() if '"""' not in line)))


def report_picture(browser, name, folder):
    for call in (["class", folder, "--students", str(CLASS), "--lesson", name], ["grade", name, "--root", folder], ["report", "--root", folder]):
        subprocess.run([Path(sys.executable).with_name("unit24"), *call], check=True, stdout=subprocess.DEVNULL)
    page = browser.new_page(viewport={"width": 1180, "height": 1120})
    page.goto((folder / "report" / "index.html").as_uri())
    save([page.screenshot()], IMAGES / "report.png")
    page.close()


def save(pictures, path):
    """Pictures below each other, in 256 colours."""
    images = [Image.open(BytesIO(picture)).convert("RGB") for picture in pictures]
    gap = 14
    whole = Image.new("RGB", (images[0].width, sum(i.height + gap for i in images) - gap), "white")
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height + gap
    whole.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
