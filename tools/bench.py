"""The figures that README and notes quote, measured again: ``make bench`` writes bench.json.

Names of benchmarks may be given (``make bench ARGS="import audit"``); without, all run but `setup` and `tests`
(about 40 minutes).  Times on a shared machine are compared as ratios, in turn, in one run.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
UNIT24 = str(Path(sys.executable).with_name("unit24"))
LESSONS = ("02_pytorch_fundamentals", "04_training_loop")
BENCHMARKS = {}

# The lesson of the benchmark `only_import`: next to nothing but the import of torch.
ONLY_IMPORT = '''# %% [markdown]
# # Only an import

# %% setup

# %%
import torch

from unit24 import check

# %% exercise="total" minutes=1 difficulty=1
def total(x):
    ### BEGIN SOLUTION
    return x.sum()
    ### END SOLUTION

# %% tests="total" points=1
with check.exercise("total"):
    x = torch.arange(7.0)
    check.equal(total(x), torch.tensor(21.0), "the total")
'''
ONLY_IMPORT_ANSWERS = '''# %% wrong="total" says="expected"
def total(x):
    return x.mean()

# %% right="total"
def total(x):
    return torch.sum(x)
'''


def benchmark(function):
    BENCHMARKS[function.__name__.removeprefix("bench_")] = function
    return function


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(["import", "audit", "solutions", "grading", "only_import", "isolation", "ray", "scale", "setup", "tests"])))
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "bench.json", show_default=True, help="Figures of other benchmarks in it stay.")
def main(names, out):
    """Measure and write {NAME: {value, unit, command}}."""
    figures = json.loads(out.read_text()) if out.exists() else {}
    os.environ.update(OMP_NUM_THREADS="1", PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in names or [n for n in BENCHMARKS if n not in ("setup", "tests")]:
        click.echo(f"{name} ...", err=True)
        for figure, (value, unit) in BENCHMARKS[name]().items():
            figures[figure] = {"value": value, "unit": unit, "command": f'make bench ARGS="{name}"'}
            click.echo(f"{figure:60} {value:>10} {unit}")
        out.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


@benchmark
def bench_import():
    """`import unit24`, above an empty Python; and that torch stays out."""

    def seconds(code):
        times = []
        for _ in range(11):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    code = "import unit24, sys; assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    return {"import_unit24": (round(seconds(code) - seconds("import sys"), 4), "s, without torch")}


@benchmark
def bench_audit():
    """Totals of the recorded audits, as far as they hold: what is stale counts for nothing (`make prove` renews it).

    And of the lessons' last blind rounds, which say how the texts of their day fared.
    """
    from authoring.audit import totals
    from course import rounds
    from course.records import read_record
    from proofs.standing import audits_that_hold

    lessons = _lessons()
    audits = {lesson.name: audits_that_hold(lesson, read_record(lesson.name).get("audit", {})) for lesson in lessons}
    stale = {lesson.name[:2]: count for lesson in lessons if (count := len(lesson.exercises) - len(audits[lesson.name]))}
    told = totals(audits)
    wrong, right, spoilt, mutants = (told[k] for k in ("wrong", "right", "perturbations", "mutants"))
    last = list(filter(None, (rounds.last_round(lesson.name) for lesson in lessons)))
    blind = rounds.totals(last)
    return {
        "audit_wrong_rejected": (f"{wrong[1]}/{wrong[0]}", f"answers, {wrong[2]} with their words"),
        "audit_visible_rejected": (f"{told['visible'][1]}/{told['visible'][0]}", "of them already by the tests that a student sees"),
        "audit_seeds_alike": (f"{told['seeds'][1]}/{told['seeds'][0]}", "verdicts with other hidden seeds"),
        "audit_right_accepted": (f"{right[1]}/{right[0]}", "answers"),
        "audit_perturbations_rejected": (f"{spoilt[1]}/{spoilt[0]}", "spoilt results"),
        "audit_mutation_score": ("–" if told["mutation_score"] is None else told["mutation_score"], f"of {mutants[0] - mutants[2]} mutants ({mutants[2]} equivalent left out)"),
        "audit_stale": (sum(stale.values()), f"exercises not counted above{': lessons ' if stale else ''}{', '.join(stale)}"),
        "blind_wrong_rejected": (f"{blind['wrong'][1]}/{blind['wrong'][0]}", f"answers, last blind rounds of {len(last)} lessons"),
        "blind_right_accepted": (f"{blind['right'][1]}/{blind['right'][0]}", "answers"),
        "blind_misleading": (blind["misleading"], "messages"),
    }


@benchmark
def bench_solutions():
    """Computing time and peak memory of the last build of each lesson (``lessons/records``)."""
    from course.records import last_run

    figures = {}
    for lesson in _lessons():
        run = last_run(lesson)
        unknown = "stale" if run is None else "never run"
        seconds = round(run["cpu_seconds"] / run.get("slowness", 1), 1) if run else unknown
        figures[f"solution_seconds_{lesson.name}"] = (seconds, "CPU s, solution run, as the machine would take that the limits were set for")
        figures[f"solution_peak_mb_{lesson.name}"] = ((run or {}).get("peak_mb", unknown), "MB, peak of the solution run")
    return figures


def _lessons() -> list:
    from course.lesson import LESSONS, lesson_names, read

    return [read(LESSONS / f"{name}.py") for name in lesson_names()]


@benchmark
def bench_tests():
    """Where the time of the last `make test` went, by file: sums over its workers."""
    report = ROOT / ".unit24" / "tests.xml"
    if not report.exists():
        raise click.ClickException(f"there is no {report.relative_to(ROOT)} yet: `make test` writes it")
    files: dict[str, list[float]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        files.setdefault(case.get("classname", ""), []).append(float(case.get("time", 0)))
    suite = next(ElementTree.parse(report).iter("testsuite"))
    figures = {"tests_wall": (round(float(suite.get("time", 0))), f"s, {sum(map(len, files.values()))} tests")}
    for name, times in sorted(files.items(), key=lambda item: -sum(item[1])):
        figures[f"tests_{name.removeprefix('tests.')}"] = (round(sum(times), 1), f"s, {len(times)} tests, the longest {max(times):.1f}")
    return figures


@benchmark
def bench_grading():
    """Seconds a submission for lesson 04: `unit24 grade`, nbgrader in one process and otter-grader, in turn."""
    return {f"grading_04_{k}": v for k, v in _against_others(ROOT, "04_training_loop", ours=200, theirs=3, rounds=1).items()}


@benchmark
def bench_only_import():
    """The same for a notebook that only imports torch."""
    from course.lesson import write_texts

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_texts({"61_only_import.py": ONLY_IMPORT, "answers/61_only_import.py": ONLY_IMPORT_ANSWERS}, root / "lessons")
        shutil.copy(ROOT / "setup_cell.py", root)
        shutil.copy(ROOT / "nbgrader_config.py", root)
        subprocess.run([UNIT24, "build", "--root", str(root)], check=True, stdout=subprocess.DEVNULL)
        return {f"grading_import_{k}": v for k, v in _against_others(root, "61_only_import", ours=40, theirs=4, rounds=3).items()}


@benchmark
def bench_isolation():
    """What isolation adds to the CPU time of lesson 04's answers, and what judging costs beside the answer's own work."""
    from course.lesson import read
    from judge.cost import isolation_cost, own_cost

    lesson = read(ROOT / "lessons" / "04_training_loop.py")
    held, free = isolation_cost(lesson)
    own = own_cost(lesson, lesson.exercise("early_stopping"))
    return {
        "isolation_ratio": (round(held / free, 3), f"times the CPU time without ({held:.3f} against {free:.3f} s a submission)"),
        "own_cost_exercise": (round(own, 4), "CPU s for an answer that does nothing, the grader's own share included"),
        "own_cost_submission": (round(own * len(lesson.exercises), 3), f"CPU s, {len(lesson.exercises)} exercises"),
    }


@benchmark
def bench_ray():
    """A class of 100 on lesson 02 with one Ray worker and with two, in turn: submissions a second once both are ready."""
    from course.lesson import read
    from grader.classroom import write_random_class
    from grader.engines import ray
    from grader.grade import find_work, grade_class

    name, rates = LESSONS[0], {1: [], 2: []}
    for turn in range(2):
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                write_random_class(Path(folder), [read(ROOT / "lessons" / f"{name}.py")], 100, seed=turn)
                done = [time.perf_counter() for _ in grade_class(Path(folder), find_work(Path(folder)), ray(workers=workers))]
                rates[workers].append((len(done) - 10) / (done[-1] - done[9]))  # the first wait for the reference state
    one, two = (statistics.median(rates[workers]) for workers in (1, 2))
    return {"ray_two_workers": (round(two / one, 2), f"times one worker ({two:.2f} against {one:.2f} submissions a second)")}


def _against_others(course: Path, name: str, ours: int, theirs: int, rounds: int) -> dict:
    """Seconds a submission of all three, one worker each, on the same submissions, alternating."""
    from course.lesson import read
    from grader.classroom import write_random_class

    own_times, stock_times, otter_times, start_times = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            root = Path(folder) / f"class{turn}"
            write_random_class(root, [read(course / "lessons" / f"{name}.py")], ours, seed=turn)
            shutil.copytree(course / "solutions" / name, root / "solutions" / name)
            shutil.copy(course / "nbgrader_config.py", root)
            call = [UNIT24, "grade", name, "--root", str(root), "--lessons", str(course / "lessons"), "--workers", "1", "--json"]
            first = sorted((root / "submitted").iterdir())
            aside = root / "aside"
            aside.mkdir()
            for student in first[1:]:
                student.rename(aside / student.name)
            start = time.perf_counter()
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
            start_times.append(time.perf_counter() - start)  # one submission: mostly the reference state
            for student in list(aside.iterdir()):
                student.rename(root / "submitted" / student.name)
            shutil.rmtree(root / ".unit24")
            start = time.perf_counter()
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
            own_times.append((time.perf_counter() - start) / ours)
            text = course / "lessons" / f"{name}.py"
            for tool, argument, times in (("stock", name, stock_times), ("otter", text, otter_times)):
                call = [sys.executable, ROOT / "tools" / f"{tool}.py", root, argument, str(theirs)]
                done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
                times += json.loads(done.stdout.splitlines()[-1])
    mine, stock, otter = map(statistics.median, (own_times, stock_times, otter_times))
    return {
        "seconds_a_submission": (round(mine, 3), f"s, class of {ours}, start of the run included"),
        "seconds_to_start": (round(statistics.median(start_times), 2), "s, a class of one"),
        "stock_seconds_a_submission": (round(stock, 3), "s, nbgrader in one process"),
        "otter_seconds_a_submission": (round(otter, 3), "s, otter-grader's command line"),
        "ratio": (round(stock / mine, 1), "times faster than nbgrader"),
        "ratio_to_otter": (round(otter / mine, 1), "times faster than otter-grader"),
    }


@benchmark
def bench_scale():
    """Lessons 02 and 04 at 10, 100 and 1,000 students, a worker for each core: rate, CPU, memory."""
    from course.lesson import read
    from grader.classroom import write_random_class
    from grader.journal import last_verdicts
    from judge.holder import become_subreaper

    become_subreaper()  # the processes that hold reference states die as orphans: their use is counted here
    figures = {}
    for name in LESSONS:
        cost = {}
        for size in (10, 100, 1000):
            with tempfile.TemporaryDirectory() as folder:
                write_random_class(Path(folder), [read(ROOT / "lessons" / f"{name}.py")], size)
                wall, cpu, own_mb, all_mb = _watched([UNIT24, "grade", name, "--root", folder])
                verdicts = last_verdicts(Path(folder), name).values()
            cost[size] = cpu / size
            key = f"{name[:2]}_{size}"
            figures[f"scale_rate_{key}"] = (round(60 * size / wall, 1), "submissions a minute, start of the run included")
            figures[f"scale_cpu_{key}"] = (round(cost[size], 3), "CPU s a submission, everything together")
            figures[f"scale_student_cpu_{key}"] = (round(sum(verdict.seconds for verdict in verdicts) / size, 3), "CPU s, of these in candidates")
            figures[f"scale_grader_mb_{key}"] = (round(own_mb), "MB, peak of the grader's own process")
            figures[f"scale_all_mb_{key}"] = (round(all_mb), "MB, peak of grader, reference states and candidates together")
        figures[f"scale_cost_{name[:2]}"] = (round(cost[1000] / cost[100], 3), "times the CPU time a submission at 100, at 1,000 students")
    return figures


def _watched(command: list) -> tuple[float, float, float, float]:
    """Run a command: wall and CPU seconds of all its processes; peak MB of its first, and of all together (looked at every 2 s)."""
    import psutil

    start, own, together = time.perf_counter(), 0.0, 0.0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    seconds = 0.0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        kilobytes = [line.split()[1] for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
        own = max(own, *(int(k) / 1024 for k in kilobytes), 0.0)
        shared = 0
        for member in (process, *process.children(recursive=True)):
            try:
                shared += member.memory_full_info().pss
            except psutil.Error:
                continue  # ended meanwhile
        together = max(together, shared / 2**20)
        time.sleep(2)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    while usage:
        seconds += usage.ru_utime + usage.ru_stime
        try:
            _, _, usage = os.wait4(-1, 0)  # what it left behind, which the kernel gave to us
        except ChildProcessError:
            usage = None
    return wall, seconds, own, together


@benchmark
def bench_setup():
    """From a clean clone to a graded class (4 minutes and 7 GB)."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "-q", str(ROOT), folder], check=True)
        start = time.perf_counter()
        # Without what make hands on to a make below it: the ARGS of this benchmark.
        environment = {name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        subprocess.run(["make", "grade"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        return {"setup_to_graded_class": (round(time.perf_counter() - start), "s, make grade in a clean clone")}


if __name__ == "__main__":
    main()
