"""What judging costs beside the answers' own work, measured. For ``make bench``."""

from __future__ import annotations

import time
from statistics import median

import psutil

from course.parts import Exercise, Lesson
from judge.bench import Bench


def isolation_cost(lesson: Lesson, rounds: int = 20) -> tuple[float, float]:
    """CPU seconds of the reference answers to all exercises with isolation and without: sums of medians.

    Both are judged in turn, so that a noisy machine is noisy for both.
    """
    sums = {True: 0.0, False: 0.0}
    with Bench(lesson) as held, Bench(lesson, isolate=False) as free:
        for exercise in lesson.exercises:
            seconds: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(rounds):
                for bench in (held, free):
                    seconds[bench.isolate].append(bench.judge(exercise, exercise.cell.source).seconds)
            for isolate, measured in seconds.items():
                sums[isolate] += median(measured)
    return sums[True], sums[False]


def own_cost(lesson: Lesson, exercise: Exercise, rounds: int = 50) -> float:
    """CPU seconds that judging one answer costs beside its own work, everywhere: forks, confinement, comparing.

    Measured with an answer that does nothing: its functions are stubs.
    """
    names = sorted(exercise.names)
    stub = "\n".join(f"def {name}(*args, **kwargs):\n    raise NotImplementedError()" for name in names)

    def used(bench: Bench) -> float:
        main = psutil.Process(bench._process.pid)
        times = [process.cpu_times() for process in (main, *main.children(recursive=True))]
        return time.process_time() + sum(t.user + t.system + t.children_user + t.children_system for t in times)

    with Bench(lesson, [exercise.id]) as bench:
        bench.judge(exercise, stub)
        before = used(bench)
        for _ in range(rounds):
            bench.judge(exercise, stub)
        return (used(bench) - before) / rounds
