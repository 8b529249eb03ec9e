"""Killed at any moment and started again: the same grades, none twice, none missing, nothing left running."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from texts import copy_lesson

from grader.classroom import write_random_class
from grader.engines import ray, threads
from grader.grade import find_work, grade_class

FIXTURES = Path(__file__).parents[1] / "fixtures"
KILLS = 8


def stored(root):
    query = """select s.student_id, c.name, g.auto_score from grade g join base_cell c on g.cell_id = c.id
               join submitted_notebook n on g.notebook_id = n.id join submitted_assignment s on n.assignment_id = s.id"""
    with sqlite3.connect(root / "gradebook.db") as db:
        return sorted(db.execute(query).fetchall(), key=str)


def grade(root, engine=None):
    return {r.student: {e: v.points for e, v in r.exercises.items()} for r in grade_class(root, find_work(root, ("61",), FIXTURES), engine, lessons=FIXTURES)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, small):
    root = tmp_path_factory.mktemp("undisturbed")
    write_random_class(root, [small], 12, seed=3)
    points = grade(root, threads(2))
    return points, stored(root)


def test_killed_at_random_moments(tmp_path, small, undisturbed):
    """SIGKILL to the grader at random moments; its workers end with it; the last run completes the class."""
    points, rows = undisturbed
    write_random_class(tmp_path, [small], 12, seed=3)
    call = [str(Path(sys.executable).with_name("unit24")), "grade", "61", "--root", str(tmp_path), "--lessons", str(FIXTURES)]
    rng, journal = random.Random(24), tmp_path / ".unit24" / "verdicts" / "61_small.jsonl"
    progress = [0]
    for _ in range(KILLS):
        process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = progress[-1] + rng.randint(0, 6)  # somewhere in the start, the judging or the writing
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and journal.read_bytes().count(b"\n") >= wanted:
                break
            time.sleep(0.01)
        time.sleep(rng.random() * 0.05)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.wait()
        gone, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
        progress.append(journal.read_bytes().count(b"\n") if journal.exists() else 0)
    assert progress[-1] > 0 and progress == sorted(progress)
    assert grade(tmp_path) == points
    assert stored(tmp_path) == rows
    assert {p.parent.parent.name for p in tmp_path.glob("feedback/*/61_small/*.html")} == set(points)
    assert not list(tmp_path.glob("**/*.part"))


@pytest.fixture(scope="module")
def cluster():
    """Two Ray nodes on this machine, one CPU each."""
    ray_package = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20})
    try:
        cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
        ray_package.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield ray_package
    finally:
        ray_package.shutdown()
        cluster.shutdown()


@pytest.mark.timeout(600)
def test_ray_gives_the_same_grades_also_when_a_worker_is_killed(tmp_path, small, undisturbed, cluster):
    """A lesson's text of more than 100 kB Ray dropped once the workers had started, and a killed one could not start again."""
    points, rows = undisturbed
    write_random_class(tmp_path, [small], 12, seed=3)
    lessons = tmp_path / "lessons"
    path = copy_lesson(small.path, lessons)
    path.write_text(path.read_text() + "\n# %% [markdown]\n" + 3000 * f"# {60 * 'x'}\n")
    got, killed = {}, False
    for graded in grade_class(tmp_path, find_work(tmp_path, ("61",), lessons), ray(workers=2), lessons=lessons):
        got[graded.student] = {e: v.points for e, v in graded.exercises.items()}
        if not killed and len(got) == 2:
            workers = [p for p in psutil.process_iter(["cmdline"]) if "ray::_Judge" in " ".join(p.info["cmdline"] or ())]
            assert workers
            os.kill(workers[0].pid, signal.SIGKILL)
            killed = True
    assert killed and got == points
    assert stored(tmp_path) == rows
