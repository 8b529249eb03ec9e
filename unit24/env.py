"""Where a notebook runs and with what: platform, device, tier, seed, and folders.

``unit24.start("04_training_loop")`` is the last line of every setup cell.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from platform import python_version

from unit24 import __version__, models
from unit24.errors import UserError
from unit24.needs import install, is_missing

SEED = 24
COLAB_CONTENT = Path("/content")
KAGGLE_WORKING = Path("/kaggle/working")

# Progress bars, greetings and advice of libraries.  They are noise in a notebook, and stock nbgrader
# gives a test cell that wrote anything to stderr no points.  A variable that is already set stays.
QUIET = {
    "BITSANDBYTES_NOWELCOME": "1",
    "DATASETS_VERBOSITY": "error",
    "DO_NOT_TRACK": "1",
    "GLOG_minloglevel": "2",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "KMP_WARNINGS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
# With the tiny tier nothing may reach for the network: a missing file fails at once, not after a timeout.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@dataclass(frozen=True)
class Environment:
    """What `start` found.  Folders exist and are writable.

    Attributes:
        lesson: name of the lesson, ``NN_name``.
        platform: ``"colab"``, ``"kaggle"`` or ``"local"``.
        device: a torch device string, ``"cuda"``, ``"mps"`` or ``"cpu"``.
        tier: ``"tiny"`` (models that ship with the course) or ``"hub"`` (real checkpoints).
        seed_number: what `seed` uses when it is given nothing.
        cache: folder for what can be made or fetched again.
        storage: folder for what should survive the session, as far as the platform has one.
        python, torch: versions; `torch` is None where it is not installed.
    """

    lesson: str
    platform: str
    device: str
    tier: str
    seed_number: int
    cache: Path
    storage: Path
    python: str
    torch: str | None

    def seed(self, number: int | None = None) -> int:
        """Seed Python, and NumPy and torch where they are imported.  Returns the seed used."""
        number = self.seed_number if number is None else number
        random.seed(number)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(number % 2**32)
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(number)
        return number

    def model(self, role: str) -> str:
        """What to give to ``from_pretrained`` for a role ("chat", "encoder", …): a folder, or in the hub tier a name."""
        return models.path(role, self.tier)

    def __str__(self) -> str:
        where = {"colab": "Google Colab", "kaggle": "Kaggle", "local": "this computer"}[self.platform]
        torch = f"torch {self.torch}" if self.torch else "no torch"
        device = self.device
        if device.startswith("cuda") and gpus():
            name, memory = gpus()[0]
            device += f" ({len(gpus())} x {name}, {memory:.0f} GB)"
        return (
            f"unit24 {__version__}, lesson {self.lesson}: {where}, Python {self.python}, {torch}, "
            f"device {device}, tier {self.tier}, seed {self.seed_number}"
        )


current: Environment | None = None  # what the last `start` in this process returned


def start(lesson: str, needs: Sequence[str] = (), points: Mapping[str, float] | None = None) -> Environment:
    """Prepare a notebook for `lesson`, print one line, and return what was found.

    What of `needs` (`unit24.needs`) is missing is installed; what cannot be is named in a second line, and the rest works.
    In a notebook `points` (by exercise, in order) are kept as its tests give them (`unit24.points`).
    Libraries are told to be quiet, warnings become one printed line instead of going to stderr,
    random numbers are seeded, and an exercise that is not written yet shows one line instead of a
    traceback.  Running it again changes nothing but the random numbers, which start afresh.

    Environment variables:
        UNIT24_TIER: ``tiny`` (default) or ``hub``.
        UNIT24_DEVICE: a device to use in place of the best one that is there.
        UNIT24_HOME: a folder for `cache` and `storage`.

    Raises:
        UserError: one of these variables has a value that means nothing.
    """
    global current
    tier = find_tier()
    _quieten(offline=tier == "tiny")
    _teach_ipython()
    absent = install(needs) if any(map(is_missing, needs)) else {}
    import_torch()
    platform = find_platform()
    cache, storage = find_folders(platform)
    env = Environment(
        lesson=lesson,
        platform=platform,
        device=find_device(),
        tier=tier,
        seed_number=SEED,
        cache=cache,
        storage=storage,
        python=python_version(),
        torch=version("torch"),
    )
    env.seed()
    print(env)
    if absent:
        print("Not here: " + "; ".join(f"{need} ({why})" for need, why in absent.items()) + ". What does not use it works all the same.")
    current = env
    if points and _shell():
        from unit24.points import follow

        follow(lesson, points, points_folder(storage))
    return env


def points_folder(storage: Path) -> Path:
    """Where in a storage folder the points of lessons are kept."""
    return storage / "points"


def find_tier() -> str:
    """``"tiny"``, or what ``UNIT24_TIER`` says."""
    tier = os.environ.get("UNIT24_TIER", "") or "tiny"
    if tier not in models.TIERS:
        raise UserError(f"UNIT24_TIER is {tier!r}: use {' or '.join(models.TIERS)}, or leave it unset.")
    return tier


def find_platform() -> str:
    """``"colab"``, ``"kaggle"`` or ``"local"``."""
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"  # first: Kaggle's image holds a copy of google.colab too
    if "COLAB_RELEASE_TAG" in os.environ or _importable("google.colab"):
        return "colab"
    return "local"


def find_device() -> str:
    """The device of ``UNIT24_DEVICE``, or the best one that torch sees; ``"cpu"`` without torch."""
    wanted = os.environ.get("UNIT24_DEVICE", "")
    if wanted:
        if wanted.split(":")[0] not in ("cpu", "cuda", "mps"):
            raise UserError(f"UNIT24_DEVICE is {wanted!r}: use cpu, cuda or mps, or leave it unset.")
        return wanted
    torch = sys.modules.get("torch")
    if torch is None:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@functools.cache
def gpus() -> list[tuple[str, float]]:
    """Name and memory in GiB of each NVIDIA GPU.

    Asked of the driver's own tool: asking torch would start CUDA in this process, and a process
    that was forked from it could not use the GPU.
    """
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.rsplit(",", 1) for line in answer.splitlines() if "," in line]
    return [(name.strip(), float(mib) / 1024) for name, mib in rows if mib.strip().isdigit()]


def version(distribution: str) -> str | None:
    """Installed version of a distribution, without importing it; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # the parent package is missing, or a stand-in has no spec
        return module in sys.modules


def import_torch() -> None:
    """Import torch if it is there: before seeding, so that the seed reaches it."""
    # Asking NVML for GPUs leaves CUDA untouched, so that processes forked later can still use it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    if _importable("torch"):
        import torch  # noqa: F401


def find_folders(platform: str) -> tuple[Path, Path]:
    """Writable folders (cache, storage); under a temporary folder where neither can be written."""
    import platformdirs

    cache = platformdirs.user_cache_path("unit24")
    if home := os.environ.get("UNIT24_HOME"):
        cache, storage = Path(home) / "cache", Path(home)
    elif platform == "colab":
        drive = COLAB_CONTENT / "drive" / "MyDrive"
        storage = (drive if drive.is_dir() else COLAB_CONTENT) / "unit24"
    elif platform == "kaggle":
        storage = KAGGLE_WORKING / "unit24"
    else:
        storage = platformdirs.user_data_path("unit24")
    return _writable(cache), _writable(storage)


@functools.cache  # a second call must name the same temporary folder
def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="unit24-"))


def _quieten(offline: bool) -> None:
    for name, value in {**QUIET, **(OFFLINE if offline else {})}.items():
        os.environ.setdefault(name, value)
    for name in ("absl", "bitsandbytes", "matplotlib.font_manager", "torch.utils._pytree", "torchao"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    warnings.filterwarnings("ignore", message="IProgress not found")


def _shell():
    """IPython's, in a notebook; else None."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def _teach_ipython() -> None:
    """In a notebook: warnings as one line on stdout, one line for an exercise not written yet, words for every plot."""
    shell = _shell()
    if shell is None:
        return
    from unit24 import figures

    figures.follow(shell)
    warnings.showwarning = _print_warning
    shell.set_custom_exc((NotImplementedError,), _show_stub)


def _print_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"{category.__name__}: {' '.join(str(message).split())}")


def _show_stub(shell, kind, error, trace, tb_offset=None) -> None:
    """Show a stub's bare ``NotImplementedError`` as one line, any other as IPython does."""
    frame = trace
    while frame.tb_next is not None:
        frame = frame.tb_next
    code = frame.tb_frame.f_code
    if not error.args and frame.tb_frame.f_globals is shell.user_global_ns:
        name = getattr(code, "co_qualname", code.co_name)
        line = "○ This exercise is not written yet: fill in its cell and run it."
        if not name.startswith("<"):
            line = f"○ `{name}` is not written yet: fill in its cell and run it, then run this cell again."
        error._render_traceback_ = lambda: [line]
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def cores() -> int:
    """CPU cores that this process may use, within the limit of a container if there is one; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return count
