"""The house in figures: lines by package, imports between packages, circles of modules, the longest functions.

python tools/house.py [CHECKOUT]: of this checkout, or of another one (an earlier commit in a worktree).
"""

import ast
import sys
from collections import Counter
from pathlib import Path

PACKAGES = ("unit24", "course", "judge", "authoring", "grader", "proofs", "tools", "tests")


def modules(root: Path) -> dict[str, Path]:
    """The checkout's own modules: file by dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            words = path.relative_to(root).with_suffix("").parts
            found[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return found


def imported(path: Path, name: str, own: dict[str, Path]) -> set[str]:
    """Own modules that a module imports when it is loaded (not inside functions)."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {module for module in found if module in own and module != name}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, directly or not."""

    def reached(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            for other in graph[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    around = {name: reached(name) for name in graph}
    groups = {frozenset(other for other in around[name] if name in around[other]) for name in graph if name in around[name]}
    return sorted(sorted(group) for group in groups)


def functions(own: dict[str, Path]) -> list[tuple[int, str]]:
    """(lines, name) of every function outside tests, the longest first."""
    found = []
    for name, path in own.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not name.startswith("tests"):
                found.append((node.end_lineno - node.lineno + 1, f"{name}.{node.name}"))
    return sorted(found, reverse=True)


def main(root: Path) -> None:
    own = modules(root)
    graph = {name: imported(path, name, own) for name, path in own.items()}
    lines, files, arrows = Counter(), Counter(), Counter()
    for name, path in own.items():
        package = name.partition(".")[0]
        files[package] += 1
        lines[package] += len(path.read_text(encoding="utf-8").splitlines())
        arrows.update((package, other.partition(".")[0]) for other in graph[name])
    for package in PACKAGES:
        others = ", ".join(f"{to} ({count})" for (one, to), count in sorted(arrows.items()) if one == package != to)
        print(f"{package:10} {files[package]:4} files {lines[package]:6} lines   imports {others or 'none of the others'}")
    packages = {package: {to for one, to in arrows if one == package != to} for package in PACKAGES}
    for what, found in (("packages", circles(packages)), ("modules", circles(graph))):
        print(f"circles of {what}: {'; '.join(' <-> '.join(group) for group in found) or 'none'}")
    print("longest functions:", ", ".join(f"{name} {length}" for length, name in functions(own)[:5]))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
