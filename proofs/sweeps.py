"""The proof that long sweeps pass: the tests that draw a sample (``tests/support/drawn.py``), or try a part, with all that they have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

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
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"  # what pytest prints depends on the project's options
        call = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", f"--junitxml={told}", file]
        done = subprocess.run(call, cwd=root, env={**os.environ, "UNIT24_ALL": "1"}, capture_output=True, text=True, check=False)
        cases = list(ElementTree.parse(told).iter("testcase")) if told.exists() else []
    passed = sum(all(case.find(kind) is None for kind in ("failure", "error", "skipped")) for case in cases)
    if done.returncode == 0 and passed:
        return passed, []
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    last = (done.stdout.strip() or done.stderr.strip() or "no message").splitlines()[-1]
    return passed, failed or [f"{file}: {last}"]
