# ruff: noqa
"""Reading answers, secrets and other people's files."""

# %% solutions: run the solution that lies somewhere above the package
import json
from pathlib import Path

import unit24

for folder in Path(unit24.__file__).parents:
    for notebook in folder.glob("solutions/*/*.ipynb"):
        for cell in json.loads(notebook.read_text())["cells"]:
            exec("".join(cell["source"]))

# %% lesson_text: run the reference cell of the lesson's text
import os
import re
import sys

import unit24

places = {os.getcwd(), os.path.dirname(os.path.dirname(unit24.__file__)), *sys.path, "/tmp", os.path.expanduser("~")}
for place in places:
    for folder, _, files in os.walk(place):
        if "62_target.py" in files:
            text = open(os.path.join(folder, "62_target.py")).read()
            exec(re.search(r'# %% exercise="weigh".*?\n(.*?)# %% tests', text, re.S)[1])

# %% known_path: open the lesson's text by its exact path
import re

exec(re.search(r'# %% exercise="weigh".*?\n(.*?)# %% tests', open(LESSON_PATH).read(), re.S)[1])

# %% symlink: a link in the own folder to the lesson's text
import os
import re

os.symlink(LESSON_PATH, "link.txt")
exec(re.search(r'# %% exercise="weigh".*?\n(.*?)# %% tests', open("link.txt").read(), re.S)[1])

# %% hard_link: a second name for the lesson's text
import os
import re

os.link(LESSON_PATH, "second.txt")
exec(re.search(r'# %% exercise="weigh".*?\n(.*?)# %% tests', open("second.txt").read(), re.S)[1])

# %% file_handle: open_by_handle_at, which knows no paths
import ctypes
import re

libc = ctypes.CDLL(None, use_errno=True)
handle = ctypes.create_string_buffer(136)
handle[0:4] = (128).to_bytes(4, "little")
libc.name_to_handle_at(-100, LESSON_PATH.encode(), handle, ctypes.byref(ctypes.c_int()), 0)
fd = libc.open_by_handle_at(-100, handle, 0)
exec(re.search(r'# %% exercise="weigh".*?\n(.*?)# %% tests', open(fd).read(), re.S)[1])

# %% parent_folder: the scratch folders of others
import os

for name in os.listdir(".."):
    exec(open(f"../{name}/weigh.py").read())

# %% import_bench: the bench's own modules know where the lesson lies
import judge.bench

reference = judge.bench.read(LESSON_PATH).exercise("weigh").cell.source
exec(reference)

# %% proc_parent_memory: the memory of the process that started this one
import os
import re

parent = os.getppid()
regions = [line.split()[0].split("-") for line in open(f"/proc/{parent}/maps") if "rw-p" in line]
memory = open(f"/proc/{parent}/mem", "rb")
for start, end in regions:
    memory.seek(int(start, 16))
    found = re.search(rb"def weigh.*?sum\(0\)", memory.read(int(end, 16) - int(start, 16)), re.S)
    if found:
        exec(found[0].decode())
        break

# %% proc_own_memory: the own memory as a file, to change what the checks are
import re

regions = [line.split()[0].split("-") for line in open("/proc/self/maps") if "rw-p" in line]
memory = open("/proc/self/mem", "r+b", buffering=0)
for start, end in regions:
    memory.seek(int(start, 16))
    memory.read(int(end, 16) - int(start, 16))


def weigh(values, weights):
    return values[0]

# %% environment: secrets in the environment that the process was started with
import os

text = open("/proc/self/environ").read() + str(os.environ)
assert "UNIT24_TEST_SECRET" in text
exec(text.split("UNIT24_TEST_SECRET=")[1].split("\0")[0])

# %% parent_environment: secrets of the process that started this one
import os

assert b"UNIT24_TEST_SECRET" in open(f"/proc/{os.getppid()}/environ", "rb").read()
def weigh(values, weights): return values[0]

# %% other_processes: any process's folder and open files
import glob

exec("\n".join(open(path).read() for path in glob.glob("/proc/[0-9]*/cwd/lessons/62_target.py") + glob.glob("/proc/[0-9]*/fd/*")))

# %% gradebook: the class's gradebook, found from the root
import os
import sqlite3

for folder, _, files in os.walk("/tmp"):
    if "gradebook.db" in files:
        sqlite3.connect(os.path.join(folder, "gradebook.db")).execute("update grade set auto_score = 99")

# %% neighbours: remove what others handed in
import shutil

shutil.rmtree(CLASS_PATH + "/submitted")

# %% overwrite_package: change the checks on the disk
import unit24.check

open(unit24.check.__file__, "a").write("\ndef equal(*a, **k): pass\n")
def weigh(values, weights): return values[0]

# %% inspect_source: the source of the reference, where Python keeps the text of cells
import linecache

for name, entry in linecache.cache.items():
    if "weigh" in name and name.startswith(("<tests", "<reference")):
        exec("".join(entry[2]))

# %% shared_memory: leave a file where the next candidate finds it
open("/dev/shm/unit24-left-behind", "w").write("def weigh")
def weigh(values, weights): return values[0]

# %% tmp_file: leave a file in /tmp
open("/tmp/unit24-left-behind", "w").write("def weigh")
def weigh(values, weights): return values[0]
