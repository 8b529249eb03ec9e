"""The corpus of attacks: points gained 0, the others' grades untouched, nothing left running or lying about.

Each file of ``attacks/`` holds candidates: for exercises of ``62_target`` or (``wall_*.py``) of ``63_wall``; ``innocent.py``
and ``wall_innocent.py`` hold right answers that look odd and must keep full points.  All are judged once, several at a time
as in a class, between right answers before and right answers after.  A run of the tests takes some of them, `unit24 prove
sweeps` all.
"""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from drawn import drawn
from left_running import our_processes

from course.lesson import read
from judge import isolation
from judge.bench import Bench

sys.path.insert(0, str(Path(__file__).parent))
from attacks.read import FOLDER, INNOCENT, THEMES, corpus, lesson_path  # noqa: E402

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

CORPUS = corpus(THEMES)
HOSTILE, INNOCENTS = drawn(CORPUS, 45), drawn(corpus(INNOCENT), 20)
LESSONS = {name: read(lesson_path(name)) for name in THEMES}
# What an answer may neither learn nor show: of the exercise's own reference, of hidden tests, of the grader's environment.
SECRETS = ("reference_comment_51ab", "reference_text_62bc", "hidden_constant_73cd", "hidden_answer", "swordfish")
AT_ONCE = 6  # several sleep until their time is up


class Witness:
    """A program on this machine that no candidate may reach: counts who knocks, by TCP, UDP and a Unix name."""

    def __init__(self):
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.name = f"\0unit24-test-{os.getpid()}"  # other runs of the tests on this machine have theirs
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(self.name)
        self.unix.listen()
        self.knocks: list[str] = []
        for name, call in (("tcp", self.tcp.accept), ("udp", lambda: self.udp.recv(100)), ("unix", self.unix.accept)):
            threading.Thread(target=self._wait, args=(name, call), daemon=True).start()

    def _wait(self, name, call):
        while True:
            try:
                call()
            except OSError:
                return
            self.knocks.append(name)


@pytest.fixture(scope="module")
def class_folder(tmp_path_factory):
    """A class with a neighbour's submission and a gradebook, as an attacker might know it."""
    root = tmp_path_factory.mktemp("class")
    (root / "submitted" / "neighbour" / "62_target").mkdir(parents=True)
    (root / "submitted" / "neighbour" / "62_target" / "62_target.ipynb").write_text("{}")
    with sqlite3.connect(root / "gradebook.db") as db:
        db.execute("create table grade (auto_score real)")
        db.execute("insert into grade values (1)")
    return root


@pytest.fixture(scope="module")
def battle(class_folder):
    """Verdicts on everything by (theme, name); right answers before and after; what was left behind."""
    witness = Witness()
    known = {"CLASS_PATH": str(class_folder), "LISTENING_PORT": witness.port, "LISTENING_NAME": witness.name}
    os.environ["UNIT24_TEST_SECRET"] = "swordfish"
    before, check_file = our_processes(), (Path(isolation.PACKAGE) / "check.py").read_bytes()
    try:
        with ExitStack() as stack:
            benches = {name: stack.enter_context(Bench(lesson)) for name, lesson in LESSONS.items()}

            def references():
                return [bench.judge(e, e.cell.source) for bench in benches.values() for e in bench.lesson.exercises]

            def judge(attack):
                lesson, path = LESSONS[attack.lesson], str(lesson_path(attack.lesson))
                return benches[attack.lesson].judge(lesson.exercise(attack.exercise), attack_text(attack, LESSON_PATH=path, **known))

            honest = references()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                every = sorted(HOSTILE + INNOCENTS, key=lambda attack: attack.name)  # the innocent among the others
                verdicts = dict(zip([(a.theme, a.name) for a in every], pool.map(judge, every)))
            honest += references()
    finally:
        del os.environ["UNIT24_TEST_SECRET"]
    deadline = time.monotonic() + 10
    while (running := our_processes() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    return {
        "verdicts": verdicts,
        "honest": honest,
        "running": [psutil.Process(pid).as_dict(["pid", "ppid", "cmdline", "status", "uids", "cpu_times"]) for pid in running],
        "knocks": witness.knocks,
        "check_unchanged": (Path(isolation.PACKAGE) / "check.py").read_bytes() == check_file,
    }


def attack_text(attack, **known):
    """The candidate's cell, with a right answer of the exercise where it wants one."""
    return attack.text(LESSONS[attack.lesson].exercise(attack.exercise).right[0].source, **known)


needs_full = pytest.mark.skipif(isolation.detect().level != "full", reason=f"this machine gives {isolation.detect()}")


def test_the_corpus_is_large_and_names_are_unique():
    names = [(a.theme, a.name) for a in CORPUS]
    assert len(CORPUS) >= 250 and len(corpus(INNOCENT)) >= 120 and len(set(names)) == len(names)


@needs_full
@pytest.mark.parametrize("attack", HOSTILE, ids=lambda a: f"{a.theme}-{a.name}")
def test_an_attack_gains_nothing(battle, attack):
    """No more than the honest part of it deserves. Attacks with a `known` reason are judged too: they may gain, and harm nobody."""
    verdict = battle["verdicts"][attack.theme, attack.name]
    assert len(verdict.message) < 5000
    if attack.known:
        return
    assert verdict.points <= attack.deserves, verdict.message
    shown = verdict.message + repr(verdict.report)
    leaked = [word for word in SECRETS if word in shown and word not in attack_text(attack)]
    assert not leaked, shown  # a message may quote the student's own line


@needs_full
@pytest.mark.parametrize("attack", INNOCENTS, ids=lambda a: f"{a.theme}-{a.name}")
def test_an_odd_right_answer_keeps_full_points(battle, attack):
    verdict = battle["verdicts"][attack.theme, attack.name]
    if attack.known and verdict.status != "passed":
        pytest.xfail(attack.known)
    assert (verdict.status, verdict.points) == ("passed", verdict.max_points), verdict.message


@needs_full
def test_the_memory_of_all_its_processes_is_limited():
    """The limit once held each process alone: children held 1,750 MB where 512 were allowed."""
    (attack,) = [a for a in CORPUS if a.name == "children_hold_memory"]
    lesson = LESSONS[attack.lesson]
    with Bench(lesson, [attack.exercise]) as bench:
        verdict = bench.judge(lesson.exercise(attack.exercise), attack_text(attack))
    assert verdict.status == "out of memory" and "processes that your code started" in verdict.message


@needs_full
def test_the_others_keep_their_points(battle):
    """Right answers judged before and after the attacks, by the same benches."""
    assert [(v.exercise, v.message) for v in battle["honest"] if v.status != "passed"] == []


@needs_full
def test_nothing_is_left_behind(battle, class_folder):
    assert battle["running"] == []
    assert battle["knocks"] == [], "a candidate reached another program"
    assert battle["check_unchanged"]
    assert not Path("/tmp/unit24-left-behind").exists() and not Path("/dev/shm/unit24-left-behind").exists()
    assert not (class_folder / "left_behind").exists()
    assert (class_folder / "submitted" / "neighbour" / "62_target" / "62_target.ipynb").read_text() == "{}"
    with sqlite3.connect(class_folder / "gradebook.db") as db:
        assert db.execute("select auto_score from grade").fetchall() == [(1,)]


@pytest.mark.parametrize("lesson", LESSONS)
def test_attacks_marked_so_do_beat_a_grader_without_defences(lesson):
    """An attack that would gain nothing anyway proves nothing: these get full marks from `attacks/naive.py`."""
    assert sum(a.beats_naive for a in CORPUS if a.lesson == lesson) >= 10
    marked = [a for a in HOSTILE if a.beats_naive and a.lesson == lesson]
    told = {"lesson": str(lesson_path(lesson)), "cells": [[a.exercise, attack_text(a)] for a in marked]}
    call = [sys.executable, str(FOLDER / "naive.py")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(isolation.PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(call, input=json.dumps(told), capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [a.name for a, passed in zip(marked, json.loads(done.stdout)) if not passed] == []
