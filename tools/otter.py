"""Seconds that otter-grader takes for each of the first N students: its command line, in its own environment.

python tools/otter.py CLASS_FOLDER LESSON_TEXT N: prints a JSON list as its last line.  The environment
``.venv-otter`` is made at the first call (pip, two minutes); the course's own packages are seen from there.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-otter"
VERSION = "7.0.0"
sys.path.insert(0, str(ROOT))

# All checks of one exercise, hidden ones too, run on the names that the submission left.
TEST_FILE = """from otter.test_files import test_case

OK_FORMAT = False
name = {name!r}
points = {points!r}


@test_case()
def test_all(env):
    exec({tests!r}, env)
"""


def make_environment():
    if (VENV / "bin" / "otter").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [VENV / "bin" / "python", "-m", "pip", "install", "-q", f"otter-grader=={VERSION}"]
    subprocess.run(pip, check=True, stdout=sys.stderr)
    inside = next((VENV / "lib").glob("python*/site-packages"))
    (inside / "course.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")


def main(root, text, count):
    from course.lesson import read

    make_environment()
    lesson, bin_folder, times = read(Path(text)), VENV / "bin", []
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "tests").mkdir()
        for e in lesson.exercises:
            source = TEST_FILE.format(name=e.id, points=e.points, tests=e.tests.source)
            (work / "tests" / f"{e.id}.py").write_text(source)
        generate = ["generate", "-t", "tests", "-o", "tests.zip", "--no-requirements", "--no-environment", "--no-config"]
        subprocess.run([bin_folder / "otter", *generate], cwd=work, env=environment, check=True, capture_output=True)
        for student in sorted((Path(root) / "submitted").iterdir())[: int(count) + 1]:
            notebook = student / lesson.name / f"{lesson.name}.ipynb"
            run = [bin_folder / "otter", "run", "-a", "tests.zip", "-o", ".", "--no-logo", notebook]
            start = time.perf_counter()
            subprocess.run(run, cwd=work, env=environment, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
    print(json.dumps(times[1:]))  # the same students as with tools/stock.py


if __name__ == "__main__":
    main(*sys.argv[1:])
