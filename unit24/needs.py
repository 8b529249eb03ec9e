"""What a lesson needs beside this package: whether it is there, and how to get it without harm to what is.

A need is a requirement as pip writes it. ``A if B`` says: A, where B is there, so that a version can follow that of
another package (``executorch==1.3.* if torch==2.12.*``).
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

# Built for one another and for the platform's GPU, or loaded by whatever runs there: pip leaves them as they are.
KEPT = re.compile(r"(torch|torchvision|torchaudio|triton|numpy|pillow|tensorflow|jax|jaxlib|(nvidia|cuda)[-_].*)$")
# Of these only what the other packages on the platform were built with; given way where a need cannot be had otherwise.
YIELDING = ("numpy", "pillow")

NO_NETWORK = ("name resolution", "NewConnectionError", "Network is unreachable", "No route to host", "getaddrinfo", "timed out")


def parse(need: str) -> tuple[Requirement, Requirement | None]:
    """A need's requirement, and the one on which it depends.

    Raises:
        packaging.requirements.InvalidRequirement: it is neither a requirement nor ``A if B``.
    """
    wanted, _, condition = need.partition(" if ")
    return Requirement(wanted), Requirement(condition) if condition else None


def is_missing(need: str) -> bool:
    """Whether a need is not installed at a version that will do."""
    try:
        wanted, condition = parse(need)
    except InvalidRequirement:
        return True
    if condition and not _is_there(condition):
        return False
    return bool(not wanted.marker or wanted.marker.evaluate()) and not _is_there(wanted)


def _is_there(requirement: Requirement) -> bool:
    names = {requirement.name, requirement.name.removesuffix("-cpu")}  # the full build stands in for the one without GPU
    versions = [dist.version for name in names for dist in metadata.distributions(name=name)]
    return any(requirement.specifier.contains(version, prereleases=True) for version in versions)


def install(needs: Sequence[str]) -> dict[str, str]:
    """Install with pip those that are missing; returns what could not be, and why in one line.

    First all together. Where that fails each alone, so that one that does not fit keeps no other away; then once
    more with NumPy and Pillow free, unless this process has loaded them.
    """
    why: dict[str, str] = {}
    if todo := _missing(needs):
        _pip(todo, _kept())
    for free in ((), YIELDING):
        for need in _missing(needs):
            why[need] = _pip([need], _kept(free))
            if "no network" in why[need]:
                return dict.fromkeys(_missing(needs), why[need])
    return {need: why[need] or "pip has it, this process does not: restart the session" for need in _missing(needs)}


def _missing(needs: Sequence[str]) -> list[str]:
    return [need for need in needs if is_missing(need)]


def _kept(free: Sequence[str] = ()) -> list[str]:
    """Constraints for pip: these distributions at their versions."""
    found = [(dist.name, dist.version) for dist in metadata.distributions() if dist.name]
    loaded = {"pillow": "PIL"}
    free = [name for name in free if loaded.get(name, name) not in sys.modules]
    return [f"{name}=={version}\n" for name, version in found if KEPT.match(name.lower()) and name.lower() not in free]


def _pip(needs: Sequence[str], kept: list[str]) -> str:
    """Have pip install `needs`; returns why it did not, or an empty text."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "kept.txt")
        pins.write_text("".join(kept))
        wanted = [str(parse(need)[0]) for need in needs]
        call = [sys.executable, "-m", "pip", "install", "--retries", "1", "-c", str(pins), *wanted]
        done = subprocess.run(call, capture_output=True, text=True)
    importlib.invalidate_caches()
    return reason(done.stdout + done.stderr) if done.returncode else ""


def reason(said: str) -> str:
    """What pip's output comes to where it failed, in one line: what is so, and what to do."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if "No module named pip" in said:
        return f"this Python has no pip: install it into {sys.prefix} with what made that (uv pip install …)"
    if "externally-managed-environment" in said:
        return "this Python belongs to the system: make an environment (python -m venv) and start Jupyter from it"
    if any(sign in said for sign in NO_NETWORK):
        return "there is no network: switch the internet on"
    if asked := [line for line in lines if " depends on " in line]:
        here = [line.rpartition(" ")[2] for line in lines if line.startswith("The user requested (constraint)")]
        return asked[0] + (f", and here is {', '.join(here)}" if here else "")
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip failed without a word"])[-1]
