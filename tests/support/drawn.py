"""Which of many a test run takes: drawn by the commit's hash, so that all come round and nobody chooses which."""

import functools
import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

ALL = bool(os.environ.get("UNIT24_ALL"))  # `unit24 prove` sets it


def drawn(items: Sequence, count: int) -> list:
    """For a long sweep: `count` of `items` in their order; all of them where ``UNIT24_ALL`` is set.

    `unit24 prove sweeps` runs every file of tests that imports this function, with all, and records it.
    """
    return list(items) if ALL else pick(items, count)


def pick(items: Sequence, count: int) -> list:
    """`count` of `items` (all if there are no more), in their order. The same for one commit, wherever it is."""
    chosen = random.Random(f"{commit()} {len(items)}").sample(range(len(items)), min(count, len(items)))
    return [items[index] for index in sorted(chosen)]


@functools.cache
def commit() -> str:
    """The hash of the commit that is checked out; where there is none, always the same."""
    call = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(call, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
