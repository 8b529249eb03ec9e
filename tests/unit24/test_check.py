"""What a student is told: observed, expected, and how the two are related."""

import linecache
import random
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from unit24 import check

X = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -7.0]])


def message(function, *arguments, **options) -> str:
    with pytest.raises(check.CheckFailed) as failure:
        function(*arguments, **options)
    return str(failure.value)


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        (-X, "sign is flipped"),
        (2 * X, "2 times what was expected"),
        (X / 2, "1/2 times"),
        (0 * X, "every value is zero"),
        (X + 1, "off by 1"),
        (X.flip(0), "reversed order"),
        (X.flatten()[torch.tensor([1, 0, 2, 3, 4, 5])].reshape(2, 3), "another order"),
        (torch.full_like(X, 2.0), "every value is the same"),
        (X * float("nan"), "NaN"),
        (X.T, "shape (3, 2), expected (2, 3)"),
        (X.double(), "dtype torch.float64, expected torch.float32"),
        (X.numpy(), "np.ndarray, expected a torch.Tensor"),
        (X.tolist(), "list, expected a torch.Tensor"),
        (None, "None"),
        (3.0, "float, expected a torch.Tensor"),
    ],
)
def test_a_wrong_tensor_is_described(actual, words):
    assert words in message(check.equal, actual, X, "the loss", "is it so?")


@pytest.mark.parametrize("digits", [1e-6, 1e-5, 5e-5])
def test_values_with_too_few_digits_are_not_said_to_be_in_another_order(digits):
    """A blind reader's softmax in float32 was told that its order is wrong: sorted, it agreed to four digits, as it did unsorted."""
    exact = torch.tensor([0.3, 1.0, 2.0, 3.0, 3.7, 7.0]).double()
    near = exact * (1 + digits * torch.tensor([1.0, -1.0, 0.5, -0.3, 0.9, -0.8]).double())
    assert "order" not in (told := message(check.equal, near, exact, "the result")) and "times" not in told
    assert "another order" in message(check.equal, near[[1, 0, 2, 3, 4, 5]], exact, "the result")


@pytest.mark.parametrize(
    ("hint", "sentence"),
    [("is it cleared?", "Is it cleared?"), ("backward() adds", "backward() adds"), ("p.grad stays", "p.grad stays"), ("`x` is", "`x` is"), ("look: here", "Look: here"), ("a is step * A", "a is step * A"), ("step * B", "step * B"), ("a row each", "A row each")],
)
def test_a_hint_begins_a_sentence_unless_it_is_code(hint, sentence):
    """`backward() adds` once became `Backward() adds`."""
    assert message(check.equal, 1, 2, "it", hint).endswith(sentence)


def test_colour_codes_are_left_out():
    def thing():
        raise ValueError("\x1b[1mbold\x1b[0m words")

    with pytest.raises(check.CheckFailed, match="ValueError: bold words"), check.exercise("thing"):
        thing()


def test_transposed():
    square = torch.arange(9.0).reshape(3, 3)
    assert "transposed" in message(check.equal, square.T, square)


def test_a_message_names_subject_place_tolerance_and_hint():
    wrong = X.clone()
    wrong[1, 2] = -6.0
    said = message(check.equal, wrong, X, "the gradient of step 2", "is it cleared between steps?")
    assert said.startswith("the gradient of step 2: 1 of 6 values differ; observed -6, expected -7 at [1, 2]")
    assert "tolerance" in said and said.endswith("Is it cleared between steps?")


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (X.clone(), X),
        (X * (1 + 1e-7), X),
        (X.requires_grad_(False), X),
        (torch.nn.Parameter(X), X),
        (torch.tensor(2.0), 2.0),
        (np.float64(2.0), 2.0),
        (2, 2.0),
        (torch.tensor([float("nan"), 1.0]), torch.tensor([float("nan"), 1.0])),
        (torch.tensor(3), 3),
        ([1, X], [1, X]),
        ((1, 2), [1, 2]),
        ({"a": X}, {"a": X}),
        ("yes", "yes"),
        (None, None),
        (True, True),
        (torch.tensor(True), True),
        (torch.float32, torch.float32),
        (torch.tensor([1, 2]), torch.tensor([1, 2])),
        (torch.zeros(0, 3), torch.zeros(0, 3)),
        (X.to(torch.bfloat16), X.to(torch.bfloat16)),
        (torch.tensor([1 + 2j]), torch.tensor([1 + 2j])),
    ],
)
def test_equal_accepts(actual, expected):
    check.equal(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (True, 1), (1, True), (1.0000001, 1), (2.001, 2.0), ("a", "b"), (b"a", "a"), ([1], [1, 2]), ({"a": 1}, {"b": 1}),
        (float("nan"), 1.0), (torch.float64, torch.float32), (torch.tensor([1, 2]), torch.tensor([1, 3])),
        (torch.tensor([1.0]), torch.tensor(1.0)), (torch.tensor([0.0, 1.0]), torch.tensor([1e-3, 1.0])), (0.0, 1e-9),
    ],
)  # fmt: skip
def test_equal_rejects(actual, expected):
    message(check.equal, actual, expected)


def test_objects_that_lie_gain_nothing():
    """An object whose __eq__ is always true, or that claims to be a tensor, is not believed."""

    class Liar:
        def __eq__(self, other):
            return True

        __class__ = torch.Tensor
        shape, dtype = X.shape, X.dtype

    class Sub(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), kwargs=None):
            return X

    for expected in (X, 2.0, 3, "a", None, True, [X], {"a": 1}):
        message(check.equal, Liar(), expected)
    message(check.equal, X.as_subclass(Sub), X)
    message(check.true, Liar(), "no")
    message(check.between, Liar(), 0, 1)


def test_the_other_verbs():
    check.true(True, "")
    check.true(torch.tensor(True), "")
    assert message(check.true, False, "said") == "said"
    check.between(torch.tensor(0.5), 0, 1)
    assert "at least 1" in message(check.between, 0.5, 1, None)
    assert "at most 0.1" in message(check.between, 0.5, None, 0.1)
    assert "NaN" in message(check.between, float("nan"), 0, 1)
    check.shape(X, (2, 3))
    assert "has no shape" in message(check.shape, [1], (1,))
    check.kind(X, torch.Tensor)
    assert "expected torch.Tensor or np.ndarray" in message(check.kind, 1, (torch.Tensor, np.ndarray))
    assert isinstance(check.raises(ValueError, lambda: int("x"), "it"), ValueError)
    assert "raised no error" in message(check.raises, ValueError, lambda: 1, "it")
    assert "raised TypeError" in message(check.raises, ValueError, lambda: len(3), "it")


def run(body):
    with pytest.raises(check.CheckFailed) as failure:
        with check.exercise("thing"):
            body()
    return failure


def test_a_passing_block_prints_one_line(capsys):
    with check.exercise("thing"):
        check.true(True, "")
    assert capsys.readouterr().out == "✓ thing: all checks here pass.\n"


def test_a_stub_is_not_attempted():
    def thing():
        raise NotImplementedError()

    failure = run(thing)
    assert failure.type is check.NotAttempted and "not attempted yet" in str(failure.value)


def test_an_error_in_the_students_code_is_one_message():
    source = "def thing():\n    return torch.zeros(2, 3) @ torch.zeros(2, 3)\n"
    linecache.cache["<cell thing>"] = (len(source), None, source.splitlines(keepends=True), "<cell thing>")
    space = {"torch": torch}
    exec(compile(source, "<cell thing>", "exec"), space)
    said = str(run(space["thing"]).value)
    assert said.startswith("✗ thing: your code raised RuntimeError") and "line 2 in thing:  return torch.zeros(2, 3) @" in said


def test_a_result_that_the_test_cannot_use():
    nothing = None
    said = ""
    try:
        with check.exercise("thing"):
            nothing.shape  # noqa: B018
    except check.CheckFailed as failure:
        said = str(failure)
    assert "Does it return something" in said


def test_interrupts_pass_through():
    with pytest.raises(KeyboardInterrupt), check.exercise("thing"):
        raise KeyboardInterrupt


def test_numbers_that_look_alike_are_told_apart():
    """A difference beyond six digits read "observed 0.00270741, expected 0.00270741; it is 1/1 times what was expected"."""
    said = message(check.equal, X.double() * (1 + 1e-6), X.double(), rtol=1e-9)
    assert "times" not in said
    observed, expected = re.search(r"observed (\S+), expected (\S+) at", said).groups()
    assert observed != expected
    said = message(check.equal, 1 / 3 + 1e-9, 1 / 3, rtol=1e-12)
    assert said.count("0.33333333333333331") == 1 and "0.333333334" in said


@pytest.mark.parametrize(
    ("actual", "expected", "not_said"),
    [
        (X.double() + 2e-6, X.double(), "off by"),  # of the size of the tolerance: rounding, not a shift
        (torch.tensor([1e6, 300.0, -200.0]) * 2, torch.tensor([1e6, 200.0, 500.0]), "times"),  # one entry dominates the others
        (torch.tensor([1e6, 700.0, 200.0]), torch.tensor([1e6, 200.0, 500.0]), "order"),
    ],
)
def test_a_relation_must_hold_for_every_value(actual, expected, not_said):
    """The ratio was guessed from one dominating entry, and rounding was called a shift ("every value is off by -1.904e-08")."""
    assert not_said not in message(check.equal, actual, expected)


def test_objects_that_take_turns():
    """Two objects of one class whose state lay in the class body did right one after the other, and passed."""

    class Counts:
        def __init__(self, first):
            self.first, self.seen = first, []

        def take(self):
            self.seen.append(self.first)
            return len(self.seen), self.seen[0]

    class Shared(Counts):
        def __init__(self, first):
            Shared.first, Shared.seen = first, []

    def taken(cls):
        def run(arguments):
            made = [cls(one) for one in arguments]
            turns = [[one.take() for one in made] for _ in range(2)]
            return [list(each) for each in zip(*turns)]

        return run

    class Left(Counts):
        seen = []

        def __init__(self, first):
            self.first = self.seen[3] if len(self.seen) > 3 else first

    check.apart(taken(Counts), [3, 5], "the counts of one that begins with")
    check.apart(taken(None), [3, 5], "what is no class, which other checks tell, of")
    said = message(check.apart, taken(Shared), [3, 5], "the counts of one that begins with")
    assert said.startswith("with another beside it that takes turns with it, the counts of one that begins with 3") and "in `self`" in said
    said = message(check.apart, taken(Left), [3, 5], "the counts of one that begins with")
    assert said.startswith("made and used once more, the counts of one that begins with 3") and "in the class body" in said


def test_an_error_that_only_a_second_object_meets_is_told_as_one():
    """A reader of lesson 17 was told that the result was of type str: the name of the error."""

    def run(arguments):
        if len(arguments) > 1:
            raise KeyError(arguments[0])
        return [2 * arguments[0]]

    assert "the result is an error (KeyError), expected 6" in message(check.apart, run, [3, 5], "twice")


def test_a_cause_is_said_only_where_its_value_was_observed():
    causes = {"not this": X + 1, "it fails": lambda: 1 / 0, "the factor was forgotten": lambda: X}
    assert message(check.equal, X, 2 * X, "it", "is it doubled?", causes=causes).endswith("The factor was forgotten")
    assert message(check.equal, X - 3, 2 * X, "it", "is it doubled?", causes=causes).endswith("Is it doubled?")
    # A result just beyond the tolerance was told the cause whose value, by chance, lies there too.
    near = {"a near miss": X * (1 + 3e-6)}
    assert message(check.equal, X * (1 + 1.2e-5), X, "it", "round once", rtol=1e-5, atol=0, causes=near).endswith("Round once")
    rows = torch.tensor([[1e6, 2e6], [1.0, 2.0]])
    seen = rows * torch.tensor([[1 + 1e-6], [3]])  # the noise of a large row does not hide what happened in a small one
    assert message(check.equal, seen, rows, "it", floor="row", causes={"it is tripled": rows * torch.tensor([[1], [3]])}).endswith("It is tripled")
    # A result of another kind stopped the search for its cause.
    for other in (None, "text", [X], {"a": None}, {"b": 1}, 3):
        assert message(check.equal, other, {"a": {"b": X}}, "it", "a dict", causes={"no": {"a": {"b": X + 1}}}).endswith("dict")
        assert message(check.equal, other, {"a": 5}, "it", "a five", causes={"it is this": other}).endswith("It is this")
    # Right values of another dtype were told a cause that happened to give the right values.
    empty = {"none": X[:0], "some": X}  # the search for a cause ended in an error of ours
    assert message(check.equal, {**empty, "some": X + 1}, empty, "it", causes={"it is one more": {**empty, "some": X + 1}}).endswith("one more")
    assert message(check.equal, X.double(), X, "it", "the dtype stays", causes=causes).endswith("The dtype stays")


nothing, name = None, "text"


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: nothing.shape, "None has no `shape`"),
        (lambda: nothing[0], "None has no entries"),
        (lambda: list(3), "int has no entries"),
        (lambda: name(), "str is no function"),
        (lambda: {"a": 1}["b"], "it has no key 'b'"),
        (lambda: [1][3], "fewer entries"),
        (lambda: next(a for a, b in [(1, 2, 3)]), "it has not the 2 parts"),
    ],
)  # fmt: skip
def test_an_error_of_the_test_is_said_as_what_the_result_lacks(use, words):
    with pytest.raises(check.CheckFailed, match=re.escape(words)), check.exercise("thing"):
        use()


def test_catches_says_which_implementation_assertion_and_input():
    source = "def tests(f):\n    assert f(2, power=3) == 8, 'a cube'\n    assert f(3) == 9\n"
    linecache.cache["<cell thing>"] = (len(source), None, source.splitlines(keepends=True), "<cell thing>")
    space = {}
    exec(compile(source, "<cell thing>", "exec"), space)
    right = {"with powers": lambda x, power=2: x**power + (x == 3)}
    said = message(check.catches, space["tests"], right, {"a": lambda x, power=2: x})
    assert "reject a correct implementation (with powers)" in said and "their last call: (3)" in said
    assert "line 3 in tests:  assert f(3) == 9" in said
    assert "they never called it" in message(check.catches, lambda f: None, right, {"a": abs})


def test_catches_gives_shares(capsys):
    def tests(f):
        assert f(2) == 4

    with check.exercise("thing"):
        check.catches(tests, right={"square": lambda x: x * x}, wrong={"triple": lambda x: 3 * x, "power": lambda x: 2**x})
    assert check.points(6) == 3.0
    assert "power" in capsys.readouterr().out
    said = message(check.catches, tests, {"cube": lambda x: x**3}, {"a": lambda x: x})
    assert "reject a correct implementation (cube)" in said
    assert "catch none" in message(check.catches, lambda f: None, {}, {"a": lambda x: x})
    assert "reject with `assert`" in message(check.catches, lambda f: f(2) == 4, {}, {"a": lambda x: x})
    assert "stop with NameError" in message(check.catches, lambda f: nothing_of_this_name, {"a": abs}, {"b": len})  # noqa: F821
    with check.exercise("thing"):
        check.true(True, "")
    assert check.points(6) == 6.0


def test_catches_needs_a_wrong_implementation():
    """With none it divided by zero."""
    with pytest.raises(ValueError, match="at least one wrong implementation"):
        check.catches(lambda f: None, {"a": abs}, {})


def test_catches_ends_each_loan_and_seeds_each_turn_alike():
    kept, drawn = [], []

    def tests(f):
        for old in kept:
            with pytest.raises(RuntimeError, match="another call of your tests"):
                old(1)
        kept.append(f)
        drawn.append(random.random())
        assert f(2) == 4

    before = random.getstate()
    with check.exercise("thing"):
        check.catches(tests, {"a": lambda x: x * x, "b": lambda x: x + x}, {"c": abs, "d": float})
    assert len(set(drawn)) == 1 and len(kept) == 4
    assert random.getstate() == before


def test_modes_left_on_by_a_cell_do_not_decide_on_its_tests():
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    with check.exercise("thing"):
        assert torch.is_grad_enabled() and torch.get_default_dtype() is torch.float32


def test_what_crosses_the_wall_is_an_ordinary_call_in_one_process():
    @check.scenario
    def double(x):
        return 2 * x

    @check.scenario(clean=True)
    def size(path):
        return len(path)

    @check.shared
    def half(x):
        return x / 2

    def empties(items, keep):
        items.clear()
        return keep

    given = [1, 2]
    assert (double(3), size("abc"), half(3)) == (6, 3, 1.5)
    assert check.live(dict)(a=1) == {"a": 1}
    assert check.after(empties, given, keep=5) == (5, [[]]) and given == [1, 2]
    assert Path(check.folder()).is_dir()


def test_parts_earn_their_shares(capsys):
    def stub():
        raise NotImplementedError()

    def good():
        check.true(True, "")

    def bad():
        check.equal(1, 2)

    with check.exercise("thing"):
        check.parts({"one": good, "two": bad, "three": good, "four": stub})
    assert check.points(8) == 4.0
    said = capsys.readouterr().out
    assert "◐ 2 of 4 parts pass." in said and "✗ two" in said and "○ four: not attempted" in said
    assert str(run(lambda: check.parts({"one": stub, "two": bad})).value).startswith("✗ two")
    assert run(lambda: check.parts({"one": stub, "two": stub})).type is check.NotAttempted
    with check.exercise("thing"):
        check.parts({"one": good})
    assert check.points(8) == 8.0


def test_an_error_in_a_helper_of_the_tests_is_not_the_students():
    """A helper typed in the tests cell was once called the student's code."""
    space = {"check": check, "answer": lambda: None}
    tests = "def helper():\n    return answer().shape\nwith check.exercise('thing'):\n    helper()"
    with pytest.raises(check.CheckFailed, match="could not use what your code returned"):
        exec(compile(tests, "<tests thing>", "exec"), space)


def test_a_notebook_shows_the_message_alone():
    """In IPython: no traceback, one short text."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    source = "from unit24 import check\nwith check.exercise('thing'):\n    check.equal(1, 2, 'the sum')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    shown = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
    assert shown == "✗ thing: the sum is 1, expected 2."


def test_an_error_of_the_tests_own_code_in_a_part_is_none_of_the_students():
    """A part of an exercise began in this package, so that a line of the tests was called the student's."""

    def second():
        return {}["nothing"]

    with pytest.raises(check.CheckFailed, match="the test could not use what your code returned: it has no key 'nothing'"):
        with check.exercise("both"):
            check.parts({"second": second})


def test_how_tiny_and_huge_values_are_related_is_told():
    """The squares of subnormal numbers are 0: comparing them ended in an error of this package."""
    for size in (5e-324, 1e-200, 1e200):
        wanted = torch.tensor([2.0, 6.0, 4.0], dtype=torch.float64) * size
        for seen, words in ((wanted.flip(0), "in reversed order"), (3 * wanted, "3 times"), (-wanted, "sign is flipped")):
            assert words in message(check.equal, seen, wanted, "it", rtol=0, atol=0)


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (1e308, 1e-300), (1.7e308, 1.0), (-1.7e308, 1.7e308), (10**400, 1.0), (1e-320, 1e300), (3e-320, 1e-323), (float("inf"), 1.0),
        (torch.tensor([1e308, -1e308]).double(), torch.tensor([1e-5, 2.0]).double()),
        (torch.tensor([5e-324, 1.0]).double(), torch.tensor([1.7e308, 1.0]).double()),
    ],
)  # fmt: skip
def test_whatever_lies_far_apart_is_told_as_different(seen, wanted):
    """About 1e308 times the expected, and a whole number beyond the largest float, ended in an error of this package; NumPy's overflows were told, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "expected" in message(check.equal, seen, wanted, "it", rtol=0, atol=0)
