"""What the processes of the bench say to one another.

A holder obeys these operations, JSON objects with a 4-byte length before them:

========  ===============================  ==================================================================
op        descriptors sent along           answer
========  ===============================  ==================================================================
confine   none                             ``{"ok"}``; files are given up before anything starts threads
run       none                             ``{"ok"}`` or ``{"ok": false, "error", "line"}``; before it, for each
                                           text that a library looks up, ``{"text": file name}``, answered with
                                           ``{"text"}``
hold      a socket                         none: a fork serves that socket from now on, with the state as it is
fork      status, then those of the role   on the status socket ``{"pid"}``, at its end a `Usage`
become    those of the role                none: this process is used up
kill      none                             none: ends a fork, with everything in its session
========  ===============================  ==================================================================

A process that was forked for a role finds its descriptors from `FIRST` on:

===========  ======================================  ============================================================
role         descriptors                             says to the bench
===========  ======================================  ============================================================
candidate    channel, line to the judge              is told ``{"cells"}``: (file name, source) of the student's cells, the
                                                     exercise's last; says ``{"ran": failure or null, "before": that of
                                                     an earlier cell, "defined"}``, once
judge        channel, line to the candidate, line    is told ``{"cells", "code", "scenarios"}``; says
             to the clean process                    ``{"status", "message", "earned", "report"}``
clean        line to the judge                       nothing
===========  ======================================  ============================================================

A closed control socket ends a holder and everything below it.  No text of a student, and nothing of the tests, is
ever in a message to a holder: what it has once read lies in its memory, and in that of all its later forks.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import asdict, dataclass, field

FIRST = 3  # after the standard descriptors
MESSAGE_LIMIT = 64 << 20  # bytes; of a process that we do not trust, TALK_LIMIT
TALK_LIMIT = 256 << 10


@dataclass(frozen=True)
class Limits:
    """What one answer, and its tests, may use."""

    seconds: float  # computing time
    memory_mb: int  # above what the process has at its start
    processes: bool = False  # may start programs


@dataclass(frozen=True)
class Request:
    """What a process is to become."""

    id: str
    role: str
    limits: Limits
    scratch: str  # the only folder that it may write
    names: list[str]  # of the exercise
    readable: list[str] = field(default_factory=list)  # more paths to read
    isolate: bool = True
    confined: bool = False  # files were given up before
    candidate: int = 0  # for the clean process: whose files

    def message(self, op: str) -> dict:
        return {"op": op, **asdict(self)}

    @staticmethod
    def of(message: dict) -> Request:
        fields = {name: value for name, value in message.items() if name != "op"}
        return Request(**{**fields, "limits": Limits(**fields["limits"])})


@dataclass(frozen=True)
class Usage:
    """How a process ended, and what it used."""

    exit: int  # status, or minus the signal
    cpu: float  # seconds, with those of its children that it waited for
    peak_mb: float  # largest resident size
    killed: bool = False  # by the bench, while it was alive


# --------------------------------------------------------------------------------------------------


def send(sock: socket.socket, message: dict, descriptors: tuple[int, ...] = ()) -> None:
    """One message, with its descriptors."""
    data = json.dumps(message).encode()
    head = struct.pack("!I", len(data))
    if descriptors:
        socket.send_fds(sock, [head], list(descriptors))
        sock.sendall(data)
    else:
        sock.sendall(head + data)


def receive(sock: socket.socket, max_descriptors: int = 0, limit: int = MESSAGE_LIMIT) -> tuple[dict | None, list[int]]:
    """Next message and its descriptors; ``(None, [])`` when the other side is gone.

    Raises:
        ValueError: what arrived is not a message of ours, or has more than `limit` bytes.
        TimeoutError: the socket has a timeout and it passed.
    """
    head, descriptors = b"", []
    if max_descriptors:
        head, descriptors, _, _ = socket.recv_fds(sock, 4, max_descriptors)
        if not head:
            return None, []
    data = receive_bytes(sock, limit, head)
    if data is None:
        return None, []
    try:
        message = json.loads(data)
    except RecursionError:
        raise ValueError("a message that is too deep") from None
    if not isinstance(message, dict):
        raise ValueError("a message that is not an object")
    return message, list(descriptors)


def receive_bytes(sock: socket.socket, limit: int = MESSAGE_LIMIT, head: bytes = b"") -> bytes | None:
    """Next message as it came; None when the other side is gone. `head` is what of it was read already.

    Raises:
        ValueError: it has more than `limit` bytes.
        TimeoutError: the socket has a timeout and it passed.
    """
    start = _read(sock, 4, head)
    if start is None:
        return None
    size = int.from_bytes(start, "big")
    if size > limit:
        raise ValueError(f"a message of {size} bytes")
    return _read(sock, size)


def _read(sock: socket.socket, size: int, start: bytes = b"") -> bytes | None:
    data = bytearray(start)
    while len(data) < size:
        more = sock.recv(min(1 << 20, size - len(data)))
        if not more:
            return None
        data += more
    return bytes(data)
