# ruff: noqa
"""Using up the machine, reaching out of the process, staying behind."""

# %% endless_loop: never done
def weigh(values, weights):
    while True:
        pass

# %% uninterruptible: one instruction of Python that takes for ever
def weigh(values, weights):
    return 3 ** (10**10)

# %% backtracking: a regular expression that takes for ever
import re


def weigh(values, weights):
    return re.match(r"(a+)+$", "a" * 60 + "b")

# %% deaf: a loop that ignores the warning about the time
import signal

try:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
except OSError:
    pass
while True:
    try:
        while True:
            pass
    except BaseException:
        pass

# %% sleeper: waits and uses no time at all
import time

time.sleep(600)

# %% memory_at_once: four gigabytes
def weigh(values, weights):
    return torch.ones(1 << 30)

# %% memory_by_and_by: a list that grows
def weigh(values, weights):
    kept = []
    while True:
        kept.append(bytearray(1 << 20))

# %% big_file: a file without end
with open("big", "wb") as file:
    while True:
        file.write(bytes(1 << 24))

# %% many_big_files: the disk, file by file
import time

for number in range(1000):
    with open(f"big{number}", "wb") as file:
        file.write(bytes(100 << 20))
    time.sleep(0.05)

# %% deleted_files: the disk, by files that have no name any more
import os
import time

kept = []
for number in range(1000):
    file = open("big", "wb")
    os.unlink("big")
    file.write(bytes(100 << 20))
    file.flush()
    kept.append(file)
    time.sleep(0.05)

# %% many_files: more files than a folder should have
import os

for number in range(10**9):
    os.close(os.open(f"f{number}", os.O_CREAT))

# %% deep_folders: folders so deep that no path names them
import os

for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
open("last", "w").write("x")


def weigh(values, weights):
    return values[0]

# %% locked_folder: a folder that cannot be looked into
import os

os.mkdir("locked")
open("locked/file", "w").write("x")
os.chmod("locked", 0)
os.chmod(".", 0)


def weigh(values, weights):
    return values[0]

# %% odd_names: file names that are no text, and links to everywhere
import os

for name in (b"\xff\xfe", b"-rf", b"a\nb", b"\x1b[2J"):
    open(name, "wb").close()
os.symlink("/", "root")
os.symlink("..", "up")
os.symlink("loop", "loop")
os.mkfifo("pipe")


def weigh(values, weights):
    return values[0]

# %% output: words without end
import sys


def weigh(values, weights):
    for _ in range(200):
        print("x" * (1 << 20))
        sys.stderr.write("y" * (1 << 20))
    return values[0]

# %% thread_bomb: threads without end
import threading
import time


def weigh(values, weights):
    while True:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

# %% fork_bomb: processes without end
import os

while True:
    try:
        os.fork()
    except OSError:
        break


def weigh(values, weights):
    return values[0]

# %% fork_bomb_allowed: the same where processes are allowed [shout]
import os
import time

for _ in range(12):
    try:
        os.fork()
    except OSError:
        pass
time.sleep(30)

# %% detached: a child that outlives everything
import os

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(CLASS_PATH + "/left_behind", "w").write("here")
        while True:
            pass
    os._exit(0)


def weigh(values, weights):
    return values[0]

# %% detached_allowed: the same where processes are allowed [shout]
import subprocess
import sys

for number in range(5):
    subprocess.Popen([sys.executable, "-c", "import os, time\ntry: os.setsid()\nexcept OSError: pass\nos.fork() and os._exit(0)\nos.chdir('/')\ntime.sleep(600)"])


def shout(text):
    return "ABC"

# %% nohup_allowed: the same by the shell [shout]
import os

os.system("(nohup sh -c 'sleep 600 & sleep 601 &' >/dev/null 2>&1 &) ; setsid sleep 602 &")


def shout(text):
    return "ABC"

# %% shell: a command
import os

assert os.system("true") == 0
def weigh(values, weights): return values[0]

# %% program: another program in the place of this one
import os

os.execv("/bin/sh", ["sh", "-c", "exit 0"])

# %% clone_by_number: a process by the number of the system call
import ctypes

libc = ctypes.CDLL(None)
for number in (56, 57, 58, 220, 435):
    libc.syscall(number, 0, 0, 0, 0, 0)


def weigh(values, weights):
    return values[0]

# %% kill_parent: a signal to the process that started this one
import os
import signal

os.kill(os.getppid(), signal.SIGKILL)
def weigh(values, weights): return values[0]

# %% stop_parent: the same, only stopped
import os
import signal

os.kill(os.getppid(), signal.SIGSTOP)
def weigh(values, weights): return values[0]

# %% kill_all: a signal to everybody
import os
import signal

for target in (-1, 0, -os.getppid(), 1):
    try:
        os.kill(target, signal.SIGTERM)
    except OSError:
        pass
os.killpg(0, signal.SIGTERM)
def weigh(values, weights): return values[0]

# %% kill_all_allowed: the same where processes are allowed [shout]
import os
import signal

for name in os.listdir("/proc") if os.access("/proc", os.R_OK) else map(str, range(2, 60000)):
    if name.isdigit() and int(name) != os.getpid():
        try:
            os.kill(int(name), signal.SIGKILL)
        except OSError:
            pass


def shout(text):
    return "ABC"

# %% pidfd: the same by a descriptor of the process
import os
import signal

signal.pidfd_send_signal(os.pidfd_open(os.getppid()), signal.SIGKILL)
def weigh(values, weights): return values[0]

# %% trace_parent: be the debugger of the process that started this one
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(16, os.getppid(), 0, 0) == 0
def weigh(values, weights): return values[0]

# %% limits_of_parent: take the files of the process that started this one
import os
import resource

resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))
def weigh(values, weights): return values[0]

# %% higher_limits: more time than allowed
import resource

resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))
def weigh(values, weights): return values[0]

# %% be_root: the old user again
import os

os.setresuid(0, 0, 0)
os.setuid(0)
assert os.getuid() == 0 and os.getresuid() == (0, 0, 0) and open("/etc/shadow").read()
def weigh(values, weights): return values[0]

# %% mount: a file system of one's own
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == 0 or libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0
def weigh(values, weights): return values[0]

# %% chroot: another root
import os

os.chroot(".")
def weigh(values, weights): return values[0]

# %% connect: the answer from another program on this machine
import socket

weigh = None
exec(socket.create_connection(("127.0.0.1", LISTENING_PORT), 2).makefile().read())

# %% udp: the same without a connection
import socket

socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"answers?", ("127.0.0.1", LISTENING_PORT))
def weigh(values, weights): return values[0]

# %% unix_socket: the same by a name in the file system
import socket

socket.socket(socket.AF_UNIX).connect(LISTENING_NAME)
def weigh(values, weights): return values[0]

# %% listen: wait for somebody to bring the answer
import socket

socket.create_server(("127.0.0.1", 0)).accept()

# %% connect_allowed: a socket where processes are allowed [shout]
import socket

socket.create_connection(("127.0.0.1", LISTENING_PORT), 2)


def shout(text):
    return "ABC"

# %% name_lookup: a question to the name server
import socket

socket.gethostbyname("example.org")
def weigh(values, weights): return values[0]

# %% shared_segment: System V shared memory, which stays
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
assert libc.shmget(0x24, 4096, 0o1666) >= 0
def weigh(values, weights): return values[0]

# %% memory_file: files in memory, which no limit counts
import os

kept = []
for number in range(100):
    kept.append(os.memfd_create("big"))
    os.write(kept[-1], bytes(100 << 20))
def weigh(values, weights): return values[0]

# %% io_uring: system calls that no filter sees
import ctypes

assert ctypes.CDLL(None, use_errno=True).syscall(425, 8, ctypes.create_string_buffer(120)) >= 0
def weigh(values, weights): return values[0]

# %% thirty_two_bits: the numbers of another architecture
import ctypes

ctypes.CDLL(None).syscall(0x40000000 + 57)
def weigh(values, weights): return values[0]

# %% keyring: keys that outlive the process
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(248, b"user", b"answers", b"x", 1, -3) > 0
def weigh(values, weights): return values[0]

# %% chmod_scratch_parent: the folder above the own one
import os

os.chmod("..", 0o777)
os.rename(".", "../renamed")
def weigh(values, weights): return values[0]

# %% recursion_in_parser: source that is nested too deeply
value = eval("(" * 90 + "1" + ")" * 90)
exec("x = " + "[" * 5000 + "]" * 5000)
def weigh(values, weights): return values[0]
