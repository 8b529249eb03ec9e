"""A command as an ordinary user, although the tests run as root and Python may lie in root's own folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NOBODY = "65534"


def as_ordinary_user(call: list[str], folder: Path) -> list[str] | None:
    """`call` as user ``nobody``, with `folder` as home; None where that cannot be (no root, no namespaces, no `setpriv`).

    In a mount namespace of its own, in which root's home is empty but for the Python that runs these tests.
    """
    if os.getuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, int(NOBODY), int(NOBODY))
    for path in folder.parents:  # pytest's folders are for their owner alone
        if path.stat().st_uid == 0 and "pytest-of-" in str(path):
            path.chmod(path.stat().st_mode | 0o011)
    user = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "env", f"HOME={folder}", f"TMPDIR={folder}", f"UNIT24_HOME={folder}"]
    base, home = Path(sys.base_prefix).resolve(), Path("/root")
    steps = ["exec \"$@\""]
    if home in base.parents:
        kept = home / base.relative_to(home).parts[0]
        aside = folder / "aside"
        aside.mkdir(exist_ok=True)
        steps = [f"mount --bind {kept} {aside}", f"mount -t tmpfs -o mode=755 none {home}", f"mkdir {kept}", f"mount --move {aside} {kept}", *steps]
    whole = ["unshare", "-m", "sh", "-c", " && ".join(steps), "sh", *user]
    tried = subprocess.run([*whole, sys.executable, "-c", "import course.lesson"], capture_output=True, cwd=Path(__file__).parents[2])
    return [*whole, *call] if tried.returncode == 0 else None
