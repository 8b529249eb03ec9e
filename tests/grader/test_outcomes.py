"""One type for what a student got, from judging to report, and one table of how it is shown."""

import json

from grader.courses import Course
from grader.journal import Entry, Journal, journal_path, last_verdicts
from grader.outcomes import SHOWN, STATUSES, Mark, Verdict, legend, shown

VERDICT = Verdict("mean_gap", "partial", 1.5, 2.0, "half ✓", 0.25, 81.5)


def test_every_status_is_shown_by_a_sign_of_its_own():
    assert set(SHOWN) == {*STATUSES, "waiting", "graded by hand"}
    signs = [one.sign for one in SHOWN.values()]
    assert len(set(signs)) == len(signs) and all(len(sign) == 1 for sign in signs)
    assert {one.outcome for one in SHOWN.values()} == {"passed", "partial", "failed", "not attempted", "by hand"}
    assert all(f"{SHOWN[status].sign} {status}" in legend() for status in STATUSES)


def test_a_status_of_another_version_counts_as_a_failure():
    assert shown("struck by lightning") == SHOWN["failed"]


def test_a_verdict_goes_to_text_and_back():
    said = json.loads(json.dumps(VERDICT.as_dict()))
    assert Verdict.from_dict(said) == VERDICT
    assert Verdict.from_dict(said | {"of a later version": 1}) == VERDICT


def test_a_mark_is_a_verdict_with_what_a_person_added():
    mark = Mark.of(VERDICT, by_hand=True, comment="well done")
    assert (mark.status, mark.points, mark.seconds, mark.comment) == ("partial", 1.5, 0.25, "well done") and not mark.waiting


# --------------------------------------------------------------------------------------------------
# The journal


def test_the_journal_gives_back_what_it_was_given(tmp_path, small):
    journal = Journal(tmp_path, small)
    assert journal.find("ada", "mean_gap", ["k1"]) is None
    journal.add("ada", "k1", VERDICT)
    again = Journal(tmp_path, small)
    assert again.find("ada", "mean_gap", ["k1"]) == VERDICT and again.find("ada", "mean_gap", ["k2"]) is None
    assert again.find("bo", "mean_gap", ["k1"]) is None


def test_a_verdict_holds_while_what_was_run_for_it_is_the_same(tmp_path, small):
    """An answer that is right alone is not judged again when other cells change; one that fell short has more to try."""
    journal, better = Journal(tmp_path, small), Verdict("mean_gap", "passed", 2.0, 2.0, "✓")
    ways = [Course("", ()), Course("with", (("3", "x = 1"),))]
    alone, both = journal.keys(exercise := small.exercises[0], "source", tuple(ways))
    other = journal.keys(exercise, "source", (ways[0], Course("with", (("3", "x = 2"),))))
    for student, key, verdict in (("ada", alone, better), ("bo", both, VERDICT), ("cy", alone, VERDICT)):
        journal.add(student, key, verdict)
    again = Journal(tmp_path, small)
    assert again.find("ada", "mean_gap", other) == better
    assert again.find("bo", "mean_gap", [alone, both]) == VERDICT and again.find("bo", "mean_gap", other) is None
    assert again.find("cy", "mean_gap", [alone, both]) is None and again.find("cy", "mean_gap", [alone]) == VERDICT


def test_of_several_verdicts_the_last_counts_whether_or_not_it_holds(tmp_path, small):
    journal = Journal(tmp_path, small)
    better = Verdict("mean_gap", "passed", 2.0, 2.0, "✓")
    for key, verdict in (("k1", VERDICT), ("k2", better)):
        journal.add("ada", key, verdict)
    assert last_verdicts(tmp_path, small.name) == {("ada", "mean_gap"): better}
    assert last_verdicts(tmp_path, "62_other") == {}


def test_lines_that_broke_off_are_passed_over(tmp_path, small):
    """A full disk may leave half a line; what is appended afterwards must not become part of it."""
    Journal(tmp_path, small).add("ada", "k1", VERDICT)
    path = journal_path(tmp_path, small.name)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30] + b"\n" + b'{"student": 3}\n[]\n"x"\n' + whole[:-30])
    Journal(tmp_path, small).add("bo", "k1", VERDICT)
    assert last_verdicts(tmp_path, small.name) == {("bo", "mean_gap"): VERDICT}
    assert Journal(tmp_path, small).find("bo", "mean_gap", ["k1"]) == VERDICT


def test_an_entry_is_one_line_whatever_the_message_is():
    entry = Entry("eve\n", "k", Verdict("f", "failed", 0.0, 1.0, "a\nb\udcff\u2028"))
    assert entry.line().count(b"\n") == 1 and Entry.parse(entry.line()) == entry
