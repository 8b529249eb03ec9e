"""Where a notebook runs and with what: platform, device, tier, seed, and folders.

``unit24.start("04_training_loop")`` is the last line of every setup cell.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform as _platform
import random
import sys
import tempfile
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

SEED = 24
TIERS = ("tiny", "hub")
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


class UserError(ValueError):
    """Something that the user can put right.  The command shows its one line and no traceback.

    `status` is the command's exit status: 2 used wrongly (the default), 1 something fell short.
    """

    status = 2


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

    def __str__(self) -> str:
        where = {"colab": "Google Colab", "kaggle": "Kaggle", "local": "this computer"}[self.platform]
        torch = f"torch {self.torch}" if self.torch else "no torch"
        return (
            f"unit24 {metadata.version('unit24')}, lesson {self.lesson}: {where}, Python {self.python}, {torch}, "
            f"device {device_name(self.device)}, tier {self.tier}, seed {self.seed_number}"
        )


_started: Environment | None = None


def start(lesson: str) -> Environment:
    """Prepare a notebook for `lesson`, print one line, and return what was found.

    Libraries are told to be quiet, warnings are printed as one line instead of going to stderr,
    random numbers are seeded, and an exercise that is not written yet shows one line instead of a
    traceback.  Running it again changes nothing but the random numbers, which start afresh.

    Environment variables:
        UNIT24_TIER: ``tiny`` (default) or ``hub``.
        UNIT24_DEVICE: a device to use in place of the best one that is there.
        UNIT24_HOME: a folder for `cache` and `storage`.

    Raises:
        UserError: one of these variables has a value that means nothing.
    """
    global _started
    if _started is None or _started.lesson != lesson or _started.tier != _tier():
        tier = _tier()
        _quieten(offline=tier == "tiny")
        _import_torch()
        platform = find_platform()
        cache, storage = _folders(platform)
        _started = Environment(
            lesson=lesson,
            platform=platform,
            device=find_device(),
            tier=tier,
            seed_number=SEED,
            cache=cache,
            storage=storage,
            python=_platform.python_version(),
            torch=version("torch"),
        )
        _teach_ipython()
    _started.seed()
    print(_started)
    return _started


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


def device_name(device: str) -> str:
    """The device with its model and memory, for a person: ``cuda (Tesla T4, 15 GB)``."""
    if not device.startswith("cuda") or "torch" not in sys.modules:
        return device
    try:
        found = sys.modules["torch"].cuda.get_device_properties(device)
    except (RuntimeError, AssertionError, ValueError):  # a device that is named but not there
        return f"{device} (not found)"
    return f"{device} ({found.name}, {found.total_memory / 2**30:.0f} GB)"


def version(distribution: str) -> str | None:
    """Installed version of a distribution, without importing it; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _tier() -> str:
    tier = os.environ.get("UNIT24_TIER", "") or "tiny"
    if tier not in TIERS:
        raise UserError(f"UNIT24_TIER is {tier!r}: use tiny or hub, or leave it unset.")
    return tier


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # the parent package is missing, or a stand-in has no spec
        return module in sys.modules


def _import_torch() -> None:
    # Asking NVML for GPUs leaves CUDA untouched, so that processes forked later can still use it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    if _importable("torch"):
        import torch  # noqa: F401  (before seeding, so that the seed reaches it)


def _folders(platform: str) -> tuple[Path, Path]:
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
    for name in ("absl", "matplotlib.font_manager"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    warnings.filterwarnings("ignore", message="IProgress not found")


def _teach_ipython() -> None:
    """In a notebook: warnings as one line on stdout, and one line for an exercise not written yet."""
    from_ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    shell = from_ipython()
    if shell is None:
        return
    warnings.showwarning = _print_warning
    shell.set_custom_exc((NotImplementedError,), _show_stub)


def _print_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"{category.__name__}: {' '.join(str(message).split())}")


def _show_stub(shell, kind, error, trace, tb_offset=None) -> None:
    """Show a stub's bare ``NotImplementedError`` as one line and any other as IPython does."""
    frame = trace
    while frame.tb_next is not None:
        frame = frame.tb_next
    name = frame.tb_frame.f_code.co_name
    if not error.args and frame.tb_frame.f_globals is shell.user_ns:
        what = "This exercise" if name.startswith("<") else f"`{name}`"
        line = f"○ {what} is not written yet: fill in its cell and run it, then run this cell again."
        error._render_traceback_ = lambda: [line]
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
