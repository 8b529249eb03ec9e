"""Write lanes/colab.txt anew from Colab's own list of packages: ``python tools/colab.py [FILE-OR-ADDRESS]``.

Kept of the list are the packages that lessons can meet: what their `needs` name and, in this environment, what
those require.
"""

import re
import sys
import urllib.request
from datetime import date
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from course.lesson import lesson_names, read
from unit24.needs import parse

ROOT = Path(__file__).resolve().parent.parent
LIST = "https://raw.githubusercontent.com/googlecolab/backend-info/main/pip-freeze.txt"
BY_HAND = "# by hand"  # ends a line that the list does not have
# Needed by no lesson, and still met: loaded by transformers where they are there; what runs the notebook.
ALSO = "torchvision torchaudio ipykernel ipython unit24 pip setuptools".split()


def main() -> None:
    source = sys.argv[1] if len(sys.argv) > 1 else LIST
    if "://" in source:
        with urllib.request.urlopen(source, timeout=60) as answer:
            text = answer.read().decode()
    else:
        text = Path(source).read_text(encoding="utf-8")
    path = ROOT / "lanes" / "colab.txt"
    now = path.read_text(encoding="utf-8").splitlines()
    head = [f"# date: {date.today()}" if line.startswith("# date: ") else line for line in now if line.startswith("#")]
    by_hand = [line for line in now if line.endswith(BY_HAND)]
    lessons = [read(ROOT / "lessons" / f"{name}.py") for name in lesson_names()]
    here = met([need for lesson in lessons for need in lesson.needs] + ALSO)
    here |= {name.removesuffix("-cpu") for name in here}  # what a lesson needs here has there the build for both
    listed = dict(re.findall(r"^([\w.-]+)==([^+\s]+)", text, re.MULTILINE))  # without the mark of a CUDA build
    kept = [f"{name}=={version}" for name, version in listed.items() if canonical(name) in here]
    path.write_text("\n".join([*head, *by_hand, *kept]) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(kept)} of {len(listed)} packages. Python's version stands in the head: see `!python -V` there.")


def met(needs: list[str]) -> set[str]:
    """Names of the distributions that these requirements come to in this environment."""
    found: set[str] = set()
    todo = [parse(need)[0] for need in needs]
    while todo:
        requirement = todo.pop()
        name = canonical(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            todo += [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            continue
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
