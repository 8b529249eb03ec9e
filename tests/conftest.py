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


@pytest.fixture(scope="session")
def small():
    """A small lesson in plain Python, on which judging and grading are tried."""
    from course.lesson import read

    return read(Path(__file__).parent / "fixtures" / "61_small.py")


@pytest.fixture
def lesson_from(tmp_path):
    """A function that reads the small course's first lesson, with replacements (old, new) in it or in its answers."""
    from small_course import ANSWERS, LESSON
    from texts import read_copy

    from course.lesson import write_texts

    def make(*replacements, text=LESSON, answers=ANSWERS):
        write_texts({"01_small.py": text, "answers/01_small.py": answers}, tmp_path / "as_it_was")
        return read_copy(tmp_path / "as_it_was" / "01_small.py", tmp_path / "lessons", *replacements)

    return make


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes a minute or more, and is begun first")


def pytest_collection_modifyitems(items):
    """Long tests first, so that no worker is alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With ``--dist loadgroup``: tests of one module on one worker, so that what they share is made once; each of lessons alone.

    xdist 3.8 writes the names of groups to an attribute that pytest 9.2 does not read: every test was a
    group of its own, and the attacks' battle and the lessons' sample classes ran once on each worker.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            module, _, _ = nodeid.partition("::")
            return nodeid if module.endswith("test_lessons.py") else module

    config.option.loadscopereorder = False  # in the order of collection: long ones first
    return ByModule(config, log)
