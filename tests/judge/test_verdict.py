"""What an ending is told as, from a table: no process needed."""

import json

import pytest

from judge.protocol import Usage
from judge.verdict import MESSAGE_LIMIT, Ending, Verdict, verdict_on

DONE, KILLED, SEGFAULT, CPU = Usage(0, 0.1, 10), Usage(-9, 0.1, 10, True), Usage(-11, 0.1, 10), Usage(-24, 3.0, 10)


def told(status, message="said", **more):
    return {"status": status, "message": message, **more}


def failed(kind, text="", line=""):
    return {"kind": kind, "text": text, "line": line}


@pytest.mark.parametrize(
    ("ending", "status", "points", "words"),
    [
        (Ending("verdict", KILLED, 2, told=told("passed")), "passed", 2, "said"),
        (Ending("verdict", KILLED, 2, told=told("passed", earned=0.5)), "partial", 0.5, "said"),
        (Ending("verdict", KILLED, 2, told=told("passed", earned=0.0)), "failed", 0, "said"),
        (Ending("verdict", KILLED, 2, told=told("passed", earned=99)), "passed", 2, "said"),
        (Ending("verdict", KILLED, 2, told=told("passed", earned=-5)), "failed", 0, "said"),
        (Ending("verdict", DONE, 2, told=told("failed", "PermissionError: x")), "failed", 0, "Graded code has no network"),
        (Ending("verdict", DONE, 2, told=told("not attempted")), "not attempted", 0, "said"),
        (Ending("undefined", DONE, 2), "error", 0, "does not define `mean_gap`"),
        (Ending("undefined", DONE, 2, failed("stub")), "not attempted", 0, "not attempted yet"),
        (Ending("undefined", DONE, 2, failed("syntax", "oh", "3")), "error", 0, "cannot read your cell in line 3: oh"),
        (Ending("undefined", DONE, 2, failed("error", "NameError: x", "1")), "error", 0, "raised NameError: x in line 1"),
        (Ending("undefined", DONE, 2, failed("exit")), "error", 0, "sys.exit()"),
        (Ending("undefined", DONE, 2, failed("memory")), "out of memory", 0, "512 MB"),
        (Ending("timeout", KILLED, 2), "timeout", 0, "of the 2 s of computing time used: does it wait"),
        (Ending("verdict", DONE, 2, told=told("failed"), before=failed("error", "no x") | {"cell": "<own cell 3>"}), "failed", 0, "cell 3 stopped: no x"),
        (Ending("verdict", DONE, 2, told=told("passed"), before=failed("error", "no x") | {"cell": "<own cell 3>"}), "passed", 2, "said"),
        (Ending("gone", CPU, 2), "timeout", 0, "still running"),
        (Ending("gone", Usage(-9, 3.5, 10), 2), "timeout", 0, "still running"),
        (Ending("gone", Usage(-9, 0.2, 10), 2), "out of memory", 0, "too much memory"),
        (Ending("gone", KILLED, 2), "crashed", 0, "what it is asked through"),
        (Ending("gone", SEGFAULT, 2), "crashed", 0, "ran your code ended (signal 11)"),
        (Ending("gone", Usage(3, 0.1, 10), 2), "crashed", 0, "exit status 3"),
        (Ending("judge gone", KILLED, 2, judge=CPU), "timeout", 0, "still running"),
        (Ending("judge gone", KILLED, 2, judge=SEGFAULT), "crashed", 0, "tested your code ended (signal 11)"),
        (Ending("disk", KILLED, 2), "error", 0, "512 MB"),
        (Ending("nonsense", KILLED, 2), "crashed", 0, "wrote to the channel"),
    ],
)
def test_what_an_ending_is_told_as(ending, status, points, words, small):
    verdict = verdict_on(small.exercise("mean_gap"), ending)
    assert (verdict.status, verdict.points) == (status, points)
    assert words in verdict.message


def test_time_is_that_of_both_and_memory_that_of_the_larger(small):
    verdict = verdict_on(small.exercise("mean_gap"), Ending("verdict", Usage(0, 0.25, 70), 2, told=told("passed"), judge=Usage(0, 0.5, 90)))
    assert (verdict.seconds, verdict.peak_mb) == (0.75, 90)


@pytest.mark.parametrize("report", [None, "", "{", "[" * 100_000, "5"])
def test_a_report_may_be_anything(report, small):
    ending = Ending("verdict", DONE, 2, told=told("passed", "x" * 9000, report=report))
    verdict = verdict_on(small.exercise("mean_gap"), ending)
    assert verdict.report == (5 if report == "5" else None)
    assert len(verdict.message) == MESSAGE_LIMIT + 1


def test_a_report_nested_as_deep_as_json_reads_stays_out_of_what_is_kept(small):
    """An answer's own ``__report__``, copied into the journal, ended the grading of the class in a RecursionError."""
    deep = "[" * 900 + "]" * 900
    verdict = verdict_on(small.exercise("mean_gap"), Ending("verdict", DONE, 2, told=told("passed", report=deep)))
    assert verdict.report is not None
    assert Verdict.from_dict(json.loads(json.dumps(verdict.as_dict()))) == verdict
