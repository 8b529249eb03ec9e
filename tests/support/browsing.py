"""A headless Chromium and a Jupyter server for tests; both end with the `with` block, both stay on this machine."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

READY_SECONDS = 90
QUIET = [  # nothing that reaches for the network on its own
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]


def find_chromium():
    """Path of a Chromium or Chrome on this machine (or what CHROMIUM says); None without one."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


@contextlib.contextmanager
def chromium():
    """A playwright browser."""
    from playwright.sync_api import sync_playwright

    # As root, as in most containers, Chromium refuses its own sandbox.
    arguments = QUIET + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments, timeout=60_000)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def jupyter(folder: Path, scratch: Path, *options: str):
    """JupyterLab with `folder` as its root; gives a function from a path to its address with the token.

    Args:
        scratch: for the server's own files, so that the user's settings neither count nor change.

    Raises:
        RuntimeError: it is not ready in time; the message ends with what it logged.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, log = secrets.token_hex(16), scratch / "jupyter.log"
    scratch.mkdir(parents=True, exist_ok=True)
    own = {f"JUPYTER_{name}_DIR": str(scratch / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(scratch / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    own |= {"IPYTHONDIR": str(scratch / "ipython"), "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    call = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    call += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", "--LabApp.extension_manager=readonly", *options]
    call += ["--allow-root"] if os.geteuid() == 0 else []
    news = scratch / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True, exist_ok=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with open(log, "wb") as out:
        process = subprocess.Popen(
            call, cwd=folder, env=os.environ | own, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    base = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{base}/api/status?token={token}", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > until:
                    said = log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"JupyterLab was not ready in {READY_SECONDS} s: {said}") from None
                time.sleep(0.2)
        yield lambda path: f"{base}/{path}{'&' if '?' in path else '?'}token={token}"
    finally:
        stop(process)


def stop(process):
    """End a server and the kernels that it started (each in a session of its own)."""
    import psutil

    with contextlib.suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        for child in family:
            with contextlib.suppress(psutil.Error):
                child.kill()
    process.kill()
    process.wait()
