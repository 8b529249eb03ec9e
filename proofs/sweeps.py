"""The proof that long sweeps pass: the tests that draw a sample (``tests/support/drawn.py``), or try a part, with all that they have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from course.parts import ROOT
from judge.fingerprint import code_from, file_hash, hash_of, tree_hash

NAME = "sweeps"  # of their record
_DRAWS = re.compile(r"^from drawn import .*\b(drawn|ALL)\b", re.MULTILINE)


def sweeps(root: Path = ROOT) -> list[str]:
    """Files of tests, relative to the repository."""
    files = (path for path in sorted((root / "tests").rglob("test_*.py")) if _DRAWS.search(path.read_text(encoding="utf-8")))
    return [path.relative_to(root).as_posix() for path in files]


def sweep_hash(file: str, root: Path = ROOT) -> str:
    """Hash of everything that decides: the tests, what they import, and what lies beside them and in the tests' own library."""
    text = (root / file).read_text(encoding="utf-8")
    code = code_from([], [text])
    for folder in ((root / file).parent, root / "tests" / "support", root / "tests" / "fixtures"):
        for path in folder.rglob("*.py"):
            if not path.name.startswith("test_"):
                code[path.relative_to(root).as_posix()] = file_hash(path)
    return hash_of(tree_hash(text), *(part for item in sorted(code.items()) for part in item))


def run_sweep(file: str, root: Path = ROOT) -> tuple[int, list[str]]:
    """How many tests passed, and what went wrong, a line each."""
    call = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", file]
    done = subprocess.run(call, cwd=root, env={**os.environ, "UNIT24_ALL": "1"}, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1:] or done.stderr.strip().splitlines()[-1:] or ["no message"]
    found = re.search(r"(\d+) passed", last[0])
    passed = int(found[1]) if found else 0
    if done.returncode == 0 and passed:
        return passed, []
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return passed, failed or [f"{file}: {last[0]}"]
