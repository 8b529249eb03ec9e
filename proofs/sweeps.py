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


def run_sweep(file: str, reached: Path, root: Path = ROOT) -> list[str]:
    """What went wrong, a line each.

    Args:
        reached: file with the ids of tests that passed, a line each. They are left out, and those that pass now are added.
    """
    call = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", "-p", "proofs.passing", file]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    settings = {**os.environ, "UNIT24_ALL": "1", "UNIT24_REACHED": str(reached), "PYTHONPATH": path}
    done = subprocess.run(call, cwd=root, env=settings, capture_output=True, text=True, check=False)
    passed = reached.read_text(encoding="utf-8").splitlines()
    if passed and done.returncode in (0, 5):  # 5: none was left to run
        return []
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    last = (done.stdout.strip() or done.stderr.strip() or "no message").splitlines()[-1]
    return failed or [f"{file}: {last}"]
