"""Take a process's power away before it runs student code: Landlock, seccomp, another user, limits.

`enter` is called in the candidate's own process, just before its code.  It needs no package and no
privilege: Landlock (files, TCP, signals) and seccomp (system calls) work for every user and inside
containers.  Where the grader runs as root the process also becomes a user of its own.  `detect`
says what this machine gives, by trying it in a child.

Sources: Linux ``Documentation/userspace-api/landlock.rst`` and ``seccomp_filter.rst``; the numbers
of system calls from ``asm/unistd_64.h`` (x86-64) and ``asm-generic/unistd.h`` (aarch64).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import resource
import site
import struct
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from judge.protocol import Limits, Request
from unit24.errors import UserError

PACKAGE = Path(__file__).resolve().parent.parent / "unit24"
# User ids that systemd's list (UIDS-GIDS) leaves to nobody: (first, how many).  The first range has one for
# every process id, so that no two candidates share what the kernel counts for a user; a container may not have it.
USER_IDS = ((1_879_048_192, 1 << 22), (60_706, 478))
FILE_BYTES = 256 << 20  # of one file
OPEN_FILES = 512
TASKS = 256  # threads and processes of one candidate, where it has a user id of its own

LEVELS = ("limits", "partial", "full")


# --------------------------------------------------------------------------------------------------
# What the machine gives


@dataclass(frozen=True)
class Isolation:
    """What `detect` found. `landlock` is the ABI version, 0 where there is none."""

    landlock: int
    seccomp: bool
    own_user: bool  # another user id for each candidate
    unprivileged: bool  # no capability beyond reading (which Landlock confines)
    limits: bool

    @property
    def level(self) -> str:
        """``full``, ``partial`` or ``limits``: what student code is held by.

        Full means: it reads and writes only what it is given (Landlock), opens no socket, starts
        and signals no process (seccomp), and holds no privilege.
        """
        if self.landlock >= 3 and self.seccomp and self.unprivileged and self.limits:
            return "full"
        return "partial" if self.landlock or self.seccomp or self.own_user else "limits"

    def __str__(self) -> str:
        has = [
            f"Landlock {self.landlock}" if self.landlock else "",
            "seccomp" if self.seccomp else "",
            "a user of its own" if self.own_user else "",
            "limits" if self.limits else "",
        ]
        lacks = [
            "" if self.landlock else "Landlock (files)",
            "" if self.seccomp else "seccomp (system calls)",
            "" if self.unprivileged else "a way to give up root's rights",
        ]
        missing = f"; missing: {', '.join(filter(None, lacks))}" if any(lacks) else ""
        return f"isolation {self.level}: {', '.join(filter(None, has)) or 'nothing'}{missing}"


def prepare() -> None:
    """Look up beforehand what `enter` needs, in the process whose forks will enter."""
    if sys.platform == "linux":
        readable_paths()
        for path in (sys.prefix, sys.base_prefix, str(PACKAGE)):
            reachable(path)
        landlock_version()


@functools.cache
def detect() -> Isolation:
    """What `enter` achieves on this machine, found by doing it in a child process."""
    if not hasattr(os, "fork"):
        return Isolation(0, False, False, False, False)
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory(prefix="unit24-detect-") as scratch:
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reader)
                got = enter(Request("detect", "candidate", Limits(10, 4096), scratch, []))
                os.write(writer, repr((got.landlock, got.seccomp, got.own_user, got.unprivileged, got.limits)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read()
        os.waitpid(pid, 0)
    import ast

    return Isolation(*ast.literal_eval(said.decode())) if said else Isolation(0, False, False, False, False)


def require(level: str) -> Isolation:
    """What this machine gives, if that is at least `level`.

    Raises:
        UserError: it is less.
    """
    found = detect()
    if LEVELS.index(found.level) < LEVELS.index(level):
        error = UserError(f"isolation {level!r} is required, and this machine gives: {found}")
        error.status = 1
        raise error
    return found


# --------------------------------------------------------------------------------------------------
# Going in


def enter(request: Request, files: bool = True) -> Isolation:
    """Confine this process (all its threads) for good; returns what was achieved.

    Args:
        request: its limits, ``scratch`` (the only folder it may write) and ``readable`` (more paths to read) count.
        files: False where `confine_files` was called before (Landlock holds the calling thread
            and what it starts later, so a process with threads calls it when it has none yet).
    """
    scratch, processes = request.scratch, request.limits.processes
    set_limits(request.limits)
    if sys.platform != "linux":
        return Isolation(0, False, False, os.getuid() != 0, True)
    paths = readable_paths(request.readable)
    landlock = abi = landlock_version()
    ruleset = _ruleset(abi, paths, [scratch], processes) if abi and files else None
    own_user = _become_user(paths, scratch)
    _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if processes:
        _libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # its children's orphans stay below it: what they use is counted
    _libc().prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # a change of user hides the process's own /proc/self from it
    if ruleset is not None:
        landlock = abi if _restrict(ruleset) else 0
    seccomp = _install(program(platform.machine(), os.getpid(), processes, abi >= 6))
    return Isolation(landlock, seccomp, own_user, _harmless(), True)


def confine_files(request: Request) -> bool:
    """Only the files part of `enter`, for a process that will start threads. True if it holds."""
    abi = landlock_version()
    if not abi:
        return False
    ruleset = _ruleset(abi, readable_paths(request.readable), [request.scratch], request.limits.processes)
    return _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and _restrict(ruleset)


def set_limits(limits: Limits) -> None:
    """Limits of this process: CPU seconds and memory above what it has used until now, file size, open files."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    whole = int(spent.ru_utime + spent.ru_stime + limits.seconds) + 1
    wanted = [
        (resource.RLIMIT_CPU, whole, whole + 1),
        (resource.RLIMIT_FSIZE, FILE_BYTES, FILE_BYTES),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
    ]
    if os.getuid() == 0:
        wanted.append((resource.RLIMIT_NPROC, TASKS, TASKS))  # counts for a user: ours is about to be alone
    elif limits.processes:
        wanted.append((resource.RLIMIT_NPROC, _tasks_of_user() + TASKS, _tasks_of_user() + TASKS))
    try:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        most = now + (limits.memory_mb << 20)
        wanted.append((resource.RLIMIT_AS, most, most))
    except (OSError, ValueError):
        pass  # no /proc: macOS does not enforce RLIMIT_AS either
    for what, soft, hard in wanted:
        ceiling = resource.getrlimit(what)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(what, (soft, hard))


def _tasks_of_user() -> int:
    """Threads that this user has now (RLIMIT_NPROC counts them all)."""
    count, me = 0, os.getuid()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == me:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count


def clean_environment(source: dict[str, str], scratch: str) -> dict[str, str]:
    """The few variables that student code gets; nothing that could be a password."""
    kept = {name: value for name, value in source.items() if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)}
    own = dict.fromkeys(("HOME", "TMPDIR", "UNIT24_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"), scratch)
    # A forgotten breakpoint has nobody to talk to; GitPython starts git as it is imported, unless told not to.
    return {**kept, **own, "USER": "student", "LOGNAME": "student", "PYTHONBREAKPOINT": "0", "GIT_PYTHON_REFRESH": "quiet"}


KEPT_VARIABLES = {
    "CUDA_VISIBLE_DEVICES",
    "HF_DATASETS_OFFLINE",
    "HF_HUB_OFFLINE",
    "JE_ARROW_MALLOC_CONF",
    "KMP_WARNINGS",
    "LANG",
    "LD_LIBRARY_PATH",
    "MKL_NUM_THREADS",
    "MPLBACKEND",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTHONHASHSEED",
    "PYTHONPATH",
    "TOKENIZERS_PARALLELISM",
    "TRITON_INTERPRET",
    "TZ",
    "UNIT24_DEVICE",
    "UNIT24_TIER",
    "VIRTUAL_ENV",
}
KEPT_PREFIXES = ("LC_", "TF_CPP_", "TF_ENABLE_", "TRANSFORMERS_VERB", "TRANSFORMERS_NO_", "HF_HUB_DISABLE_", "VLLM_")


# --------------------------------------------------------------------------------------------------
# Another user

PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER = 4, 24, 8, 38, 22, 36
CAP_DAC_READ_SEARCH = 2


def _become_user(paths: list[str], scratch: str | None) -> bool:
    """As root: become a user of this process's own, without capabilities. True if that worked.

    Where the interpreter lies in a folder that only root may enter, the capability to read any
    file stays; Landlock then decides what is read.
    """
    if os.getuid() != 0:
        return False
    needed = [*{sys.prefix, sys.base_prefix}, str(PACKAGE), *([scratch] if scratch else [])]
    keep = 0 if all(reachable(path) for path in needed) else 1 << CAP_DAC_READ_SEARCH
    libc = _libc()
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) and ctypes.get_errno() == errno.EINVAL:
            break  # beyond the last one that this kernel knows
    libc.prctl(PR_SET_KEEPCAPS, 1 if keep else 0, 0, 0, 0)
    for first, count in USER_IDS:
        user = first + os.getpid() % count
        try:
            if scratch:
                os.chown(scratch, user, user)
                os.chmod(scratch, 0o700)
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            break
        except OSError:
            continue  # an id that this container does not have, or a root without the right to become somebody else
    _capset(keep)
    libc.prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0)
    return os.getuid() != 0


def is_candidates(user: int) -> bool:
    """Whether a user id is one that `enter` gives."""
    return any(first <= user < first + count for first, count in USER_IDS)


@functools.cache
def reachable(path: str) -> bool:
    """Whether any user may go to `path` and read it, by the mode bits of every folder on the way."""
    place = Path(path).resolve()
    try:
        return all(folder.stat().st_mode & 0o001 for folder in (place, *place.parents))
    except OSError:
        return False


def _capset(keep: int) -> None:
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    data = struct.pack("IIIIII", keep, keep, 0, 0, 0, 0)
    _libc().capset(ctypes.create_string_buffer(header, len(header)), ctypes.create_string_buffer(data, len(data)))


def _harmless() -> bool:
    """No capability is left but reading, and nothing runs as root."""
    try:
        with open("/proc/self/status") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff"))
    except (OSError, StopIteration, ValueError):
        return os.getuid() != 0
    return effective & ~(1 << CAP_DAC_READ_SEARCH) == 0


# --------------------------------------------------------------------------------------------------
# Landlock

_FILE = {"execute": 0, "write": 1, "read": 2, "truncate": 14}  # rights that a rule on a file may hold
_EXECUTE, _WRITE, _READ, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCK, _MAKE_BLOCK, _IOCTL_DEV = 1 << 6, 1 << 9, 1 << 11, 1 << 15
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture

# Of each prefix (the environment's, the interpreter's, the system's) only what programs are made of.
_PARTS = ("bin", "etc", "include", "lib", "lib32", "lib64", "libexec", "share", "local/lib", "local/share")
_SYSTEM = (
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/timezone",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
)
_OWN = ("cgroup", "cmdline", "cpuset", "limits", "maps", "smaps", "smaps_rollup", "stat", "statm", "status")  # not mem, not environ


def landlock_version() -> int:
    """The kernel's Landlock ABI, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def readable_paths(more=()) -> list[str]:
    """What student code may read: the interpreter, installed packages, `unit24`, a few system files."""
    return [*_common_paths(), *(str(path) for path in more if os.path.exists(path))]


@functools.cache  # a worker asks once, before it forks
def _common_paths() -> tuple[str, ...]:
    roots = dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, "/usr"))
    paths = [os.path.join(root, part) for root in roots for part in _PARTS]
    paths += [os.path.join(root, "pyvenv.cfg") for root in roots]
    paths += [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += site.getsitepackages() if hasattr(site, "getsitepackages") else []
    paths += [*_SYSTEM, *(f"/proc/self/{name}" for name in _OWN), str(PACKAGE)]
    return tuple(path for path in dict.fromkeys(paths) if os.path.exists(path))


def _ruleset(abi: int, read: list[str], write: list[str], processes: bool) -> int:
    """A ruleset, not yet in force, as a file descriptor."""
    every = (1 << 13) - 1 | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0) | (_IOCTL_DEV if abi >= 5 else 0)
    attribute = struct.pack("QQQ", every, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    attribute = attribute[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _libc().syscall(
        _CREATE_RULESET, ctypes.create_string_buffer(attribute, len(attribute)), ctypes.c_size_t(len(attribute)), 0
    )
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    reading = _READ | _READ_DIR | (_EXECUTE if processes else 0)
    writing = every & ~(_MAKE_CHAR | _MAKE_BLOCK | _MAKE_SOCK | _IOCTL_DEV) & ~(0 if processes else _EXECUTE)
    rules = [(path, reading) for path in read] + [(path, writing) for path in write] + [("/dev/null", _READ | _WRITE)]
    for path, rights in rules:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if not os.path.isdir(path):
                rights &= sum(1 << bit for bit in _FILE.values())
            rule = struct.pack("=Qi", rights & every, fd)
            if _libc().syscall(_ADD_RULE, ruleset, 1, ctypes.create_string_buffer(rule, len(rule)), 0):
                raise OSError(ctypes.get_errno(), "landlock_add_rule", path)
        finally:
            os.close(fd)
    return ruleset


def _restrict(ruleset: int) -> bool:
    done = _libc().syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return done


# --------------------------------------------------------------------------------------------------
# seccomp

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
X32 = 0x40000000  # system calls of the x32 ABI carry this bit: a way around every number below
LAST_KNOWN = 470  # newer ones are answered with ENOSYS, as by an older kernel
CLONE_THREAD = 0x10000

# Refused: name -> (x86-64, aarch64); None where an architecture does not have it.
NETWORK = {
    "accept": (43, 202), "accept4": (288, 242), "bind": (49, 200), "connect": (42, 203), "listen": (50, 201),
    "socket": (41, 198),
}  # fmt: skip
OTHER_PROCESSES = {
    "kcmp": (312, 272), "migrate_pages": (256, 238), "move_pages": (279, 239), "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "ptrace": (101, 117), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "setpgid": (109, 154),
    "setsid": (112, 157), "tkill": (200, 130), "ioprio_set": (251, 30), "setpriority": (141, 140),
}  # fmt: skip
SYSTEM = {
    "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171), "bpf": (321, 280), "chroot": (161, 51),
    "clock_adjtime": (305, 266), "clock_settime": (227, 112), "delete_module": (176, 106),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "finit_module": (313, 273), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433), "init_module": (175, 105),
    "io_setup": (206, 0), "io_submit": (209, 2), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425), "ioperm": (173, None), "iopl": (172, None), "kexec_file_load": (320, 294),
    "kexec_load": (246, 104), "keyctl": (250, 219), "lookup_dcookie": (212, 18), "modify_ldt": (154, None),
    "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429), "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "personality": (135, 92), "pivot_root": (155, 41), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "reboot": (169, 142), "request_key": (249, 218), "setdomainname": (171, 162),
    "sethostname": (170, 161), "setns": (308, 268), "settimeofday": (164, 170), "swapoff": (168, 225),
    "swapon": (167, 224), "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97), "uselib": (134, None),
    "userfaultfd": (323, 282), "vhangup": (153, 58),
}  # fmt: skip
SHARED_MEMORY = {  # System V and POSIX message queues: would outlive the process
    "mq_getsetattr": (245, 185), "mq_notify": (244, 184), "mq_open": (240, 180), "mq_timedreceive": (243, 183),
    "mq_timedsend": (242, 182), "mq_unlink": (241, 181), "msgctl": (71, 187), "msgget": (68, 186),
    "msgrcv": (70, 188), "msgsnd": (69, 189), "semctl": (66, 191), "semget": (64, 190), "semop": (65, 193),
    "semtimedop": (220, 192), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197), "shmget": (29, 194),
}  # fmt: skip
STARTING = {"execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None)}
PRETEND_MISSING = {"clone3": (435, 435), "memfd_create": (319, 279), "memfd_secret": (447, 447)}  # callers fall back
ONLY_SELF = {  # allowed where the first argument is 0 (this thread) or this process
    "prlimit64": (302, 261), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
}  # fmt: skip
SIGNALS = {"kill": (62, 129), "tgkill": (234, 131)}  # allowed where the first argument is this process
CLONE = {"clone": (56, 220)}  # allowed for threads


def program(machine: str, pid: int, processes: bool = False, scoped: bool = True) -> list[tuple[int, int, int, int]] | None:
    """The filter as BPF instructions (code, jump if true, jump if false, k); None for other machines.

    Args:
        pid: the process that it is for: it may signal itself.
        processes: it may start others, and signal them where `scoped` (Landlock then keeps
            signals inside).
    """
    if machine not in ARCHITECTURES:
        return None
    column = list(ARCHITECTURES).index(machine)
    LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

    def numbers(*tables: dict[str, tuple[int | None, int | None]]) -> list[int]:
        return [pair[column] for table in tables for pair in table.values() if pair[column] is not None]

    refuse = (RETURN, 0, 0, ERRNO | errno.EPERM)
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    if machine == "x86_64":
        code += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    code += [(AT_LEAST, 0, 1, LAST_KNOWN + 1), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    for number in numbers(PRETEND_MISSING):
        code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    refused = [NETWORK, OTHER_PROCESSES, SYSTEM, SHARED_MEMORY] + ([] if processes else [STARTING])
    for number in numbers(*refused):
        code += [(EQUAL, 0, 1, number), refuse]
    first_argument = (LOAD, 0, 0, 16)  # its low half: both architectures are little-endian, a pid has 32 bits
    for number in numbers(ONLY_SELF):
        code += [(EQUAL, 0, 5, number), first_argument, (EQUAL, 1, 0, 0), (EQUAL, 0, 1, pid), (RETURN, 0, 0, ALLOW), refuse]
    if not (processes and scoped):
        for number in numbers(SIGNALS):
            code += [(EQUAL, 0, 4, number), first_argument, (EQUAL, 0, 1, pid), (RETURN, 0, 0, ALLOW), refuse]
    if not processes:
        for number in numbers(CLONE):
            code += [(EQUAL, 0, 4, number), first_argument, (ANY_BIT, 0, 1, CLONE_THREAD), (RETURN, 0, 0, ALLOW), refuse]
    return [*code, (RETURN, 0, 0, ALLOW)]


def _install(code: list[tuple[int, int, int, int]] | None) -> bool:
    """Put the filter in force for every thread of this process. False where that cannot be."""
    if code is None:
        return False
    text = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(text, len(text))
    program_header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer)), 16)
    number = {"x86_64": 317, "aarch64": 277}[platform.machine()]
    mode_filter, all_threads = 1, 1  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
    return _libc().syscall(number, mode_filter, all_threads, program_header) == 0


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
