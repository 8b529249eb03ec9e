"""For every test: no network, one thread, no screen, and a home of its own."""

import os
import sys
from pathlib import Path

import pytest

OFFLINE = Path(__file__).parent / "offline"

os.environ.update(
    COLUMNS="120",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_OFFLINE="1",
    MPLBACKEND="Agg",
    MKL_NUM_THREADS="1",
    OMP_NUM_THREADS="1",
    PYTHONPATH=os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")])),
    TOKENIZERS_PARALLELISM="false",
)
os.environ.setdefault("UNIT24_DEVICE", "cpu")
os.environ.pop("UNIT24_TIER", None)

# Children import the module by themselves; this process has started without the folder on its path.
if not hasattr(sys.modules.get("sitecustomize"), "guard"):
    sys.modules.pop("sitecustomize", None)
    sys.path.insert(0, str(OFFLINE))
    import sitecustomize  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """What lessons store and cache goes to a temporary folder."""
    os.environ["UNIT24_HOME"] = str(tmp_path_factory.mktemp("home"))
    return Path(os.environ["UNIT24_HOME"])
