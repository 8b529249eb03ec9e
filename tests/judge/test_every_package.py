"""An answer may import any package that the course installs: what it does to the process is its own affair.

Answers that imported scikit-learn, transformers or Ray, which the lesson itself had not, were once called tampering.  A run of
the tests takes a few packages, `unit24 prove sweeps` all of the lock.
"""

import dataclasses
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import drawn

from judge.bench import Bench

LOCK = Path(__file__).parents[2] / "requirements.lock"
# Packages that say of themselves that they are not for import, or that need what this machine may not have.
NOT_MEANT = {"antigravity", "this"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(7200)]


def modules_of_the_lock():
    locked = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in LOCK.read_text().splitlines() if "==" in line}
    found = importlib.metadata.packages_distributions()
    named = {module for module, owners in found.items() if {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & locked}
    return sorted(name for name in named if name.isidentifier() and not name.startswith("_") and name not in NOT_MEANT)


@pytest.fixture(scope="module")
def patient(small):
    """A bench whose first exercise may take a minute and 6 GB: some imports do."""
    exercise = dataclasses.replace(small.exercise("mean_gap"), seconds=60.0, memory_mb=6144)
    with Bench(small, ["mean_gap"]) as bench:
        yield bench, exercise


@pytest.mark.parametrize("module", drawn(modules_of_the_lock(), 6))
def test_an_answer_may_import_it(patient, module):
    bench, exercise = patient
    text = f"import {module}\n\n{exercise.right[0].source}\nname = {module}.__name__\n"
    verdict = bench.judge(exercise, text)
    if verdict.status == "passed":
        return
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"cannot be imported here at all: {done.stderr.splitlines()[-1] if done.stderr else done.returncode}")
    raise AssertionError(verdict.message)
