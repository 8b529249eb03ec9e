"""Who may import whom: packages one way, and no circle of modules."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BELOW = {
    "unit24": set(),
    "course": {"unit24"},
    "judge": {"unit24", "course"},
    "authoring": {"unit24", "course", "judge"},
    "grader": {"unit24", "course", "judge"},
    "proofs": {"unit24", "course", "judge", "authoring", "grader"},
}
"""What each package may import beside itself."""
PACKAGES = [package for package in BELOW if (ROOT / package).is_dir()]


def modules(package):
    """{name: path} of the package's modules."""
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path):
    """Names that a file imports, inside functions too: modules, and what is taken from them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_one_way(package):
    barred = {*BELOW, "tests", "tools"} - BELOW[package] - {package}
    for path in modules(package).values():
        for name in imported(path):
            assert name.split(".")[0] not in barred, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_of_modules(package):
    """`unit24.env` and `unit24.models` imported each other, one of them late so that it went unnoticed."""
    known = modules(package)
    graph = {module: {name for name in imported(path) if name in known} - {module} for module, path in known.items()}
    for names in graph.values():
        names.discard(package)  # what stands in every module's way, and imports the parts by name alone
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
