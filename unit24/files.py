"""Write a file whole or not at all."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`; on any error the old file stands and nothing half-written is left.

    The text goes to a temporary file in the same folder, reaches the disk, and takes the place of
    the old file in one step (`os.replace`).  Missing folders are made.

    Raises:
        OSError: no space, no permission, ...; names `path`.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            _remove_abandoned(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot write: {error.strerror or error}", str(path)) from None


def _remove_abandoned(path: Path) -> None:
    """Delete temporary files for `path` whose process was killed while it wrote."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        pid = part.name.split(".")[-2]
        if pid.isdigit() and not _is_running(int(pid)):
            part.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is, and belongs to somebody else
        return True
    return True
