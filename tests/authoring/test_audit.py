"""The audit: it must see what is wrong with an exercise."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from texts import copy_lesson, read_copy, replaced

from authoring.audit import audit_lesson, totals
from authoring.perturbations import KINDS, perturbed
from course.lesson import read

SMALL = Path(__file__).parents[1] / "fixtures" / "61_small.py"


@pytest.fixture(scope="module")
def sound():
    return audit_lesson(read(SMALL))


def spoil(tmp_path, old, new, **options):
    return audit_lesson(read_copy(SMALL, tmp_path, (old, new)), **options)


def test_a_sound_lesson(sound):
    assert [a.notes for a in sound.values()] == [[], [], []]
    told = totals({"61_small": sound})
    assert told["sound"] and told["mutation_score"] == 1.0
    assert told["wrong"] == [9, 9, 9] and told["right"] == [3, 3]
    assert told["perturbations"][0] == told["perturbations"][1] > 0


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("return total / len(x)", "return total", "the reference does not pass"),
        ("    ### BEGIN SOLUTION\n    return helper", "    return helper(mean_gap(x, y))\n    ### BEGIN SOLUTION\n    return helper", "the untouched stub is"),
        ('says="sign is flipped"', 'says="something else"', "the message lacks 'something else'"),
        ("return sum(b - a for a, b in zip(x, y)) / len(x)", "return mean_gap.__wrapped__(x, y)", "the message lacks"),
        ("    return sum(x) / len(x) - sum(y) / len(y) + 1", "    return 0.0", "this right answer is turned down"),
        ("<details><summary>Hint 3</summary>Code.</details>", "", "2 hints"),
    ],
)
def test_what_falls_short_is_said_with_its_line(tmp_path, old, new, note):
    audits = spoil(tmp_path, old, new)
    notes = [n for a in audits.values() for n in a.notes]
    file = "answers/61_small.py" if old in (SMALL.parent / "answers" / SMALL.name).read_text() else "61_small.py"
    assert any(note in n and re.search(rf"^\S*/{file}:\d+: ", n) for n in notes), notes


def test_weak_tests_are_seen(tmp_path):
    """With a test that only looks at the type, wrong answers, spoilt results and mutants get through."""
    old = 'check.equal(gap_plus_one([1.0, 2.0], [0.0, 0.0]), 2.5, "the gap plus one")\n    check.equal(gap_plus_one([7.0, 2.0, 3.0], [1.0, 2.0, 0.5]), 8.5 / 3 + 1, "the gap plus one of a second pair")'
    weak = spoil(tmp_path, old, "check.kind(gap_plus_one([1.0], [0.0]), float)", only={"gap_plus_one"})["gap_plus_one"]
    assert any("this wrong answer gets full points" in n for n in weak.notes)
    assert any("'negated' still pass" in n for n in weak.notes)
    assert weak.survivors == ["swapped:\n- return helper(mean_gap(x, y))\n+ return helper((mean_gap(y, x)))"]
    assert weak.mutants == [2, 1, 0] and weak.kinds == {"swapped": [1, 0, 0], "dropped": [1, 1, 0]}


def test_mutants_are_judged_again_where_something_changed_that_decides_on_them(sound, tmp_path):
    """Also not where only words changed, or another exercise's tests; and always where the state before did."""
    recorded = {name: a.as_dict() for name, a in sound.items()}
    for audit in recorded.values():
        audit["survivors"] = ["as recorded"]

    def judged(old, new):
        return [name for name, a in spoil(tmp_path, old, new, recorded=recorded).items() if a.survivors != ["as recorded"]]

    assert judged("<details><summary>Hint 3</summary>Code.</details>", "<details><summary>Hint 3</summary>More.</details>") == []
    assert judged('"the gap plus one"', '"the gap and one"') == ["gap_plus_one"]
    assert judged("return helper", "return 1 * helper") == ["gap_plus_one", "check_even"]


def test_an_equivalent_must_be_one(tmp_path, sound):
    """Named equivalents are left out of the score; one that the tests reject, or that is not made, is a note.

    With ``recorded`` such a note was gone in the next audit: mutants were not judged again, and nothing fell short.
    """
    cell = '# %% equivalent="mean_gap" because="for the test"\n# - total = 0.0\n# + total = 1.0\n\n# %% right="mean_gap"'
    notes = spoil(tmp_path, '# %% right="mean_gap"', cell, only={"mean_gap"})["mean_gap"].notes
    assert any("called equivalent, but the tests reject it" in n for n in notes)
    stale = replaced(cell, ("total = 1.0", "total = 77"))
    found = spoil(tmp_path, '# %% right="mean_gap"', stale, only={"mean_gap"})
    again = spoil(tmp_path, '# %% right="mean_gap"', stale, only={"mean_gap"}, recorded={"mean_gap": found["mean_gap"].as_dict()})
    for audits in (found, again):
        assert any("names no mutant" in n for n in audits["mean_gap"].notes)


TASK = '''# ## 1. A mean
#
# - It is the sum of the gaps, divided by their count. <!-- rule: mean -->
# - Unequal lengths are a ValueError. <!-- rule: lengths, reported -->
'''


def rules_of_mean_gap(tmp_path, *more):
    """The audit of `mean_gap` with named rules: two wrong answers break the first, one the second."""
    named = [(f'wrong="mean_gap" says="{says}', f'wrong="mean_gap" breaks="{rule}" says="{says}') for says, rule in (("divided", "mean"), ("sign", "mean"), ("unequal", "lengths"))]
    lesson = read_copy(SMALL, tmp_path, ("# ## 1. A mean\n", TASK), *named, *more)
    return audit_lesson(lesson, recorded={}, only={"mean_gap"})["mean_gap"]


def test_rules_are_counted_by_the_wrong_answers_that_break_them(tmp_path):
    audit = rules_of_mean_gap(tmp_path)
    assert audit.as_dict()["rules"] == {"mean": 2, "lengths": 1} and audit.as_dict()["reported"] == ["lengths"]
    assert audit.sound
    assert totals({"61_small": {"mean_gap": audit}})["rules"] == 2


def test_a_rule_that_no_wrong_answer_breaks_is_a_note(tmp_path):
    audit = rules_of_mean_gap(tmp_path, ('breaks="lengths"', 'breaks="mean"'))
    (note,) = audit.notes
    assert audit.rules == {"mean": 3, "lengths": 0}
    file, line, what = re.fullmatch(r"(\S+):(\d+): (.*)", note).groups()
    assert "rule: lengths" in Path(file).read_text().splitlines()[int(line) - 1]
    assert what == "no wrong answer breaks the rule 'lengths'"


def test_an_exercise_that_rests_on_reported_rules_alone_is_a_note(tmp_path):
    (note,) = rules_of_mean_gap(tmp_path, ("rule: mean -->", "rule: mean, reported -->")).notes
    assert note.endswith("all its rules can only be reported, which a student's code can forge")


SEEDED = '''check.equal(gap_plus_one([7.0, 2.0, 3.0], [1.0, 2.0, 0.5]), 8.5 / 3 + 1, "the gap plus one of a second pair")
    another = 25  # release: seed
'''


@pytest.mark.parametrize(("then", "notes"), [("check.true(another > 0, 'seed')", 0), ("check.true(another < 2000, 'too large a seed')", 2)])
def test_a_verdict_that_depends_on_the_seed_is_a_note(tmp_path, then, notes):
    """Two right answers fall with the second of the audit's own seeds."""
    old = SEEDED.splitlines()[0]
    audit = spoil(tmp_path, old, f"{SEEDED}    {then}", only={"gap_plus_one"})["gap_plus_one"]
    judged = audit.seeds[0]
    assert judged == 2 * (audit.wrong[0] + audit.right[0]) and judged - audit.seeds[1] == len(audit.notes)
    assert (len(audit.notes) > 0) == (notes > 0)
    assert all("with the hidden seed 2027: ✗ gap_plus_one: too large a seed" in note for note in audit.notes)


def test_wrong_answers_that_fall_by_what_a_student_sees_are_counted(tmp_path, sound):
    """The aim is all of them, but for those that are bent to the visible values."""
    assert [a.visible for a in sound.values()] == [[3, 2], [3, 3], [3, 3]]  # one value of `mean_gap` is hidden
    lines = SEEDED.splitlines()[0]
    hidden = f"check.kind(gap_plus_one([1.0], [0.0]), float)\n    ### BEGIN HIDDEN TESTS\n    {lines}\n    ### END HIDDEN TESTS"
    audit = spoil(tmp_path, lines, hidden, only={"gap_plus_one"})["gap_plus_one"]
    assert audit.visible[0] == 3 and audit.visible[1] <= 3

def test_a_scenario_that_compares_beside_the_students_code_is_a_note(tmp_path):
    """There a student's code can have anything found alike: what was seen is reported, and compared by the judge."""
    old = 'check.equal(gap_plus_one([1.0, 2.0], [0.0, 0.0]), 2.5, "the gap plus one")\n    check.equal(gap_plus_one([7.0, 2.0, 3.0], [1.0, 2.0, 0.5]), 8.5 / 3 + 1, "the gap plus one of a second pair")'
    new = "@check.scenario\n    def is_right(wanted):\n        return math.isclose(gap_plus_one([1.0], [0.0]), wanted)\n    check.equal(is_right(2.0), True, 'the gap plus one')"
    notes = spoil(tmp_path, old, new, only={"gap_plus_one"})["gap_plus_one"].notes
    assert any("results made 'blinded' still pass" in note for note in notes)
    assert not any("'negated' still pass" in note for note in notes)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "blinded"])  # that would blind this process
def test_perturbations_change_results(kind):
    import torch

    source = "def f(x):\n    return x * 3.0 + 1\n\nclass C:\n    def g(self, x):\n        return x + 2\n"
    space = {}
    exec(perturbed(source, frozenset({"f", "C"}), kind), space)
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert not torch.equal(space["f"](x), x * 3 + 1) and not torch.equal(space["C"]().g(x), x + 2)
    assert space["__report__"]["changed"] == 2


def test_a_nan_that_stays_one_is_no_change():
    """An exercise whose results are NaN was said to let spoilt results pass."""
    import torch

    results = {"number": float("nan"), "tensor": torch.tensor([float("nan")]), "array": torch.tensor([float("nan")]).numpy()}
    for value in results.values():
        space = {"value": value}
        exec(perturbed("def f():\n    return value\n", frozenset({"f"}), "doubled"), space)
        space["f"]()
        assert space["__report__"]["changed"] == 0


def test_the_command(tmp_path):
    copy_lesson(SMALL, tmp_path / "lessons")
    call = [str(Path(sys.executable).with_name("unit24")), "audit", "--root", str(tmp_path)]
    done = subprocess.run([*call, "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    keys = "reference stub wrong right perturbations mutants kinds survivors rules reported".split()
    assert set(told["lessons"]["61_small"]["mean_gap"]) >= set(keys)
    recorded = json.loads((tmp_path / "lessons" / "records" / "61_small.json").read_text())
    assert recorded["audit"] == told["lessons"]["61_small"]
    done = subprocess.run([*call, "--changed", "61"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "mutants 18 of 18 killed" in " ".join(done.stdout.split())
    task = ("# ## 1. A mean\n", "# ## 1. A mean\n#\n# - It is a mean. <!-- rule: mean -->\n# - Lengths are equal. <!-- rule: lengths -->\n")
    copy_lesson(SMALL, tmp_path / "lessons", task, ('wrong="mean_gap" says', 'wrong="mean_gap" breaks="mean" says'))
    done = subprocess.run([*call, "--changed", "-e", "mean_gap"], capture_output=True, text=True, timeout=120)
    said = " ".join(done.stdout.split())
    assert done.returncode == 1 and "no wrong answer breaks the rule 'lengths'" in said and "Rules of tasks: 2, 0 of them only reported." in said
    done = subprocess.run([*call, "-e", "nothing"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no exercise 'nothing'" in done.stderr
