"""Who judges: threads on this machine, or the workers of a Ray cluster. The verdicts are the same.

An engine is a function ``(lesson, jobs, on_judged) -> iterator of finished jobs``.  Each worker
builds the lesson's reference state once; jobs are finished in any order, and never all held at once.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.lesson import Lesson, read, texts, write_texts
from grader.courses import Course, Judged, judge_best
from judge import isolation
from judge.bench import Bench
from unit24.env import cores


@dataclass(frozen=True)
class Job:
    """One submission: what of it has to be judged (nothing, if all verdicts are known)."""

    about: Any  # comes back untouched
    tasks: tuple[tuple[str, str, tuple[Course, ...]], ...]  # (exercise id, source, its courses of events)


Engine = Callable[[Lesson, Iterable[Job], Callable[[Job, Judged], None]], Iterator[Job]]


def threads(
    workers: int | None = None, progress: Callable[[str], None] = lambda text: None, bench: Bench | None = None
) -> Engine:
    """Judge on this machine, `workers` submissions at a time (default: one for each core).

    `on_judged` is called from the threads, as each exercise is judged.

    Args:
        bench: the lesson's, if it runs already; it is left running.
    """
    count = workers or cores()

    def run(lesson: Lesson, jobs: Iterable[Job], on_judged) -> Iterator[Job]:
        ready = bench

        def judge(job: Job) -> Job:
            for name, source, ways in job.tasks:
                on_judged(job, judge_best(ready, lesson.exercise(name), source, ways))
            return job

        running: set = set()
        with ThreadPoolExecutor(count) as pool, ExitStack() as stack:
            for job in jobs:
                if not job.tasks:
                    yield job
                    continue
                if ready is None:  # not before there is something to judge
                    ready = stack.enter_context(Bench(lesson, progress=progress))
                running.add(pool.submit(judge, job))
                if len(running) >= 2 * count:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)

    return run


def ray(address: str | None = None, workers: int | None = None, require: str = "limits") -> Engine:
    """Judge on a Ray cluster: `workers` actors (default: one for each CPU of the cluster).

    Args:
        address: as for `ray.init`; None starts a cluster on this machine.
        require: the isolation that each worker's machine must give.

    A worker that dies is started again by Ray, and what it was judging is judged again.
    """

    def run(lesson: Lesson, jobs: Iterable[Job], on_judged) -> Iterator[Job]:
        import ray as cluster

        if not cluster.is_initialized():
            cluster.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        actor_class = cluster.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Judge)
        count = workers or max(1, int(cluster.cluster_resources().get("CPU", 1)))
        text = json.dumps(texts(lesson.path))
        # Ray forgets an argument of more than 100 kB once the actor has started: one that dies could not start again.
        pieces = [text[start : start + 20_000] for start in range(0, len(text), 20_000)]
        actors: list = []
        idle: list = []
        busy: dict = {}

        def collect() -> Job:
            (done,), _ = cluster.wait(list(busy), num_returns=1)
            job, actor = busy.pop(done)
            for judged in cluster.get(done):
                on_judged(job, judged)
            idle.append(actor)
            return job

        try:
            for job in jobs:
                if not job.tasks:
                    yield job
                    continue
                if not actors:
                    actors = [actor_class.remote(lesson.path.name, require, *pieces) for _ in range(count)]
                    idle = list(actors)
                while not idle:
                    yield collect()
                actor = idle.pop()
                busy[actor.judge.remote(job.tasks)] = job, actor
            while busy:
                yield collect()
        finally:
            for actor in actors:
                cluster.kill(actor)

    return run


class _Judge:
    """A Ray actor: one worker with its own reference state."""

    def __init__(self, file_name: str, require: str, *text: str):
        isolation.require(require)
        self.folder = tempfile.TemporaryDirectory(prefix="unit24-lesson-")
        write_texts(json.loads("".join(text)), Path(self.folder.name))
        self.lesson = read(Path(self.folder.name) / file_name)
        self.bench = Bench(self.lesson).__enter__()  # lives as long as the actor

    def judge(self, tasks) -> list[Judged]:
        return [judge_best(self.bench, self.lesson.exercise(name), source, ways) for name, source, ways in tasks]
