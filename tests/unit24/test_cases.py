"""Cases cover what a task states, and `check.agrees` says which one fails."""

import pytest
import torch

from unit24 import cases, check


def message(*arguments, **options) -> str:
    with pytest.raises(check.CheckFailed) as failure:
        check.agrees(*arguments, **options)
    return str(failure.value)


def tensors(seeds=24, domain=None, **options):
    sizes = {"rows": (1, 70), "columns": (1, 300)}
    return cases.draw(seeds, domain or {"x": cases.tensor("rows", "columns", **options)}, **sizes)


def total(x):
    return x.double().sum(-1).to(x.dtype)


def test_every_option_and_both_ends_of_every_size_come():
    drawn = [case["x"] for case in tensors(scale=(1e-3, 1e3), also=("nan", "halves"))]
    assert {x.dtype for x in drawn} == {torch.float32, torch.float64}
    rows, columns = ({x.shape[i] for x in drawn} for i in (0, 1))
    assert {1, 70} <= rows and {1, 300} <= columns and any(x.shape[0] not in (1, 70, x.shape[1]) for x in drawn)
    for holds in (
        lambda x: (x == 0).all(), lambda x: x.numel() > 1 and (x == x[0, 0]).all() and x[0, 0] != 0, lambda x: (x < 0).all(), lambda x: x.isnan().any(),
        lambda x: 0 < x.abs().max() < 0.02, lambda x: x.abs().max() == 1e3, lambda x: ((x - 0.5).frac() == 0).all(),
        lambda x: not x.is_contiguous() and x.stride(0) < x.stride(1), lambda x: x.stride(-1) == 2, lambda x: x.storage_offset() > 0,
    ):  # fmt: skip
        assert any(holds(x) for x in drawn)


@pytest.mark.parametrize("axes", [("rows", "columns"), ("rows",), ("rows", 3, "columns"), ()])
def test_no_row_is_smaller_than_the_scale_says(axes):
    """"tiny" multiplied random numbers by the smallest magnitude of the text, so most rows lay below it: right answers failed."""
    drawn = [x.double().abs() for seed in range(24, 30) for x, in tensors(seed, {"x": cases.tensor(*axes, scale=(1e-6, 1e4), without=("zero", "ties"))})]
    largest = torch.cat([(x.amax(-1) if x.ndim > 1 else x.max()).flatten() for x in drawn])
    assert 0.99e-6 < largest.min() < 1.01e-6 and largest.max() == 1e4


def test_pairs_of_options_meet():
    """A mistake that needs a frozen weight *and* a change in place, or large rows *and* a large eps, passed: few pairs met."""
    domain = {"a": cases.choice(*"abcd"), "b": cases.choice(*range(4)), "n": cases.size("n")}
    for seed in range(5):
        drawn = list(cases.draw(seed, domain, n=(1, 99)))
        assert len({(a, b) for a, b, _ in drawn}) == 16 and len({(a, (n > 1) + (n > 13)) for a, _, n in drawn}) == 12


def test_plain_and_small_ones_come_first_and_a_seed_gives_the_same_again():
    sizes = [case["x"].numel() for case in tensors()]
    assert sizes[:-10] == sorted(sizes[:-10]) and sizes[0] == 1 and sizes[-10:] == sorted(sizes[-10:])
    first, again, other = (list(tensors(seed)) for seed in (24, 24, 25))
    assert all(torch.equal(a["x"], b["x"]) and str(a) == str(b) for a, b in zip(first, again, strict=True))
    assert not all(a["x"].shape == b["x"].shape and torch.equal(a["x"], b["x"]) for a, b in zip(first, other))
    assert len(list(tensors([24, 25]))) == len(first) + len(other)


def test_integers_keep_to_their_limits():
    domain = {"ids": cases.tensor("rows", dtypes=("int64",), below="columns"), "_n": cases.integer(2, 4), "twice": cases.derived(lambda ids, _n: 2 * _n)}
    drawn = list(tensors(domain=domain))
    assert all(list(case.arguments) == ["ids", "twice"] and case["twice"] in (4, 6, 8) for case in drawn)
    assert all(str(case).endswith(f"twice = {case['twice']}") for case in drawn)
    assert {case["ids"].min().item() for case in drawn} >= {0} and max(case["ids"].max() for case in drawn) <= 299
    grey = [case["x"] for case in tensors(dtypes=("uint8",), high=255)]
    assert min(x.max() for x in grey) == 0 and max(x.min() for x in grey) == 255


def test_token_lists_hold_special_tokens_only_where_they_say_so():
    domain = {"ids": cases.tokens("n", 50, special=(0,))}
    drawn = [(case["ids"], str(case)) for case in cases.draw(24, domain, n=(0, 40))]
    assert {0, 40} <= {len(ids) for ids, _ in drawn}
    assert all((0 in ids) <= ("0" in words.rpartition(",")[2]) for ids, words in drawn if len(ids) > 2)
    for holds in (lambda ids: ids[0] == 0 != ids[-1], lambda ids: ids[-1] == 0 != ids[0], lambda ids: set(ids) == {0}, lambda ids: len(set(ids)) == 1 and ids[0]):
        assert any(len(ids) > 2 and holds(ids) for ids, _ in drawn)


def test_schedules_are_in_order_with_arrivals_at_once_among_them():
    request = {"arrival": cases.number(0, 10), "prompt": cases.integer(1, 40)}
    drawn = [case["requests"] for case in cases.draw(24, {"requests": cases.records("n", order="arrival", **request)}, n=(0, 12))]
    assert {0, 12} <= set(map(len, drawn))
    assert all(rows == sorted(rows, key=lambda row: row["arrival"]) for rows in drawn)
    assert any(len(rows) > 2 and len({row["arrival"] for row in rows}) == 1 and len({row["prompt"] for row in rows}) > 1 for rows in drawn)
    texts = [case["texts"] for case in cases.draw(24, {"texts": cases.lists(cases.text("long"), "n")}, n=(0, 5), long=(0, 20))]
    assert [] in texts and any(len(set(map(len, some))) > 1 for some in texts)


def test_modules_are_built_where_they_are_needed():
    plans = [case["plan"] for case in cases.draw(24, {"plan": cases.module("wide", 3)}, wide=(1, 20))]
    models = [cases.build(plan) for plan in plans]
    for plan, model in zip(plans, models):
        dtype = next(model.parameters()).dtype
        assert model(torch.zeros(4, plan["inputs"], dtype=dtype)).shape == (4, 3)
        again = dict(cases.build(plan).named_parameters())
        assert all(torch.equal(again[name], value) for name, value in model.named_parameters())
    assert any(not p.requires_grad for m in models for p in m.parameters()) and any(list(m.buffers()) for m in models)
    assert any(m.training and not all(child.training for child in m.modules()) for m in models)
    assert any(len(list(m.named_parameters(remove_duplicate=False))) > len(list(m.parameters())) for m in models)


def test_a_size_without_a_range_is_a_fault_of_the_test():
    with pytest.raises(ValueError, match="no range for the sizes columns"):
        next(cases.draw(24, {"x": cases.tensor("rows", "columns")}, rows=(1, 3)))
    with pytest.raises(ValueError, match="no case"):
        check.agrees(total, total, [], "`total`")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x: x.sum(-1) + 1, "of x = float32 [1, 1]"),
        (lambda x: x[:, :64].sum(-1), "of x = float"),  # a block of 64 columns
        (lambda x: x[:64].sum(-1), "has shape (64,), expected ("),  # and of 64 rows
        (lambda x: x.contiguous().view(-1, x.shape[-1]).float().sum(-1), "has dtype torch.float32, expected torch.float64"),
        (lambda x: x.as_strided(x.shape, (x.shape[1], 1)).sum(-1), "in memory"),
        (lambda x: x.abs().sum(-1), "of x = float32 [1, 9"),
        (lambda x: [total(x), x.zero_()][0], "argument x after the call (`total` of x = float32 [1, 1]"),
        (lambda x: total(x).nan_to_num(), "with a NaN"),
    ],
)
def test_what_is_wrong_somewhere_in_the_domain_is_found(wrong, words):
    assert words in message(wrong, total, tensors(also=("nan",)), "`total`")


@pytest.mark.parametrize("right", [total, lambda x: torch.einsum("ij->i", x), lambda x: (x @ torch.ones(x.shape[1], dtype=x.dtype)), lambda x: x.flip(1).sum(1)])
def test_other_ways_are_accepted(right):
    check.agrees(right, total, tensors([24, 25], also=("nan",)), "`total`")


def test_a_change_in_place_is_compared_with_the_one_that_is_asked_for():
    def double(x):
        x.mul_(2)

    check.agrees(lambda x: x.add_(x) and None if x.numel() == 0 else (x.add_(x), None)[1], double, tensors(), "`double`")
    assert "the task asks for a change in place" in message(lambda x: None, double, tensors(), "`double`").replace("The", "the")


def test_state_kept_from_call_to_call_is_found():
    seen = []

    def first_of_all(x):
        seen.append(x.clone())
        return total(x) + (len(seen) > 1 and torch.equal(x, seen[0]))

    assert "called once more after others" in message(first_of_all, total, tensors(), "`total`")


def test_an_error_names_its_case_and_an_expected_one_is_asked_for():
    def root(x):
        if (x < 0).any():
            raise ValueError("negative")
        return x.sqrt()

    assert "raised no error" in message(lambda x: x.sqrt(), root, tensors(), "`root`")
    with pytest.raises(check.CheckFailed, match=r"thing: `root` of x = float32 \[1, 1\].*has no `nothing`"), check.exercise("thing"):
        check.agrees(lambda x: x.nothing, total, tensors(), "`root`")


def test_a_cause_is_named_only_where_it_gives_what_was_observed():
    causes = {"rows were added": lambda x: x.sum(0), "the mean was taken": lambda x: x.mean(-1)}
    assert message(lambda x: x.mean(-1), total, tensors(), "`total`", "add", causes=causes).endswith("The mean was taken")
    assert message(lambda x: x.sum(-1) + 2, total, tensors(), "`total`", "add", causes=causes).endswith("Add")


def test_a_tolerance_grows_with_what_went_into_the_value():
    x = torch.rand(1_000_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
    rough = x.double().sum().float() * (1 + 1e-4)
    check.equal(rough, x.double().sum().float(), terms=x.numel())
    with pytest.raises(check.CheckFailed):
        check.equal(rough, x.double().sum().float())


def test_a_floor_of_its_own_for_each_row():
    """A mean by differences of cumulated sums is off where one group is small beside the others: one tolerance for all let it pass."""
    expected = torch.tensor([[1e6, 2e6], [1.0, 2.0], [1e-3, 0.0]])
    check.equal(expected + 0.5, expected)
    for floor, passes in (("row", expected * (1 + 1e-6)), ("value", expected * (1 - 1e-6))):
        check.equal(passes, expected, floor=floor)
        with pytest.raises(check.CheckFailed):
            check.equal(expected + torch.tensor([[0.0], [1e-3], [0.0]]), expected, floor=floor)


def test_single_ends_and_zeros_among_other_numbers():
    """Whole tensors of one end were drawn, and 0 only by chance: a kernel by logarithms passed that gives NaN for a zero among others."""
    seen = set()
    for whole in (False, True):
        domain = {"x": cases.tensor("n", dtypes=("int64" if whole else "float32",), low=-3, high=5)}
        for case in cases.draw((24, 25), domain, n=(1, 60)):
            if "ends and zeros" in case.words["x"]:
                values = set(case["x"].tolist())
                assert min(values) >= -3 and max(values) <= 5
                seen |= {(whole, end) for end in (-3, 0, 5) if end in values and len(values) > 3}
    assert seen == {(whole, end) for whole in (False, True) for end in (-3, 0, 5)}


def test_a_cause_that_fits_one_case_alone_is_not_named():
    """A reader of lesson 17 was told four times of a mistake that gives the same value in the case that failed, and was not made."""
    causes = {"the mean was taken": lambda x: x.mean(-1)}

    def one_short(x):
        return x[:, 1:].sum(-1) if x.shape[1] > 1 else x.sum(-1)

    def by_chance(x):
        return x.mean(-1) if x.shape == (5, 9) else one_short(x)

    shapes = [torch.arange(1.0, 1 + r * c).view(r, c) for r, c in ((1, 1), (5, 9), (3, 7), (2, 3))]
    drawn = [cases.Case({"x": x}, {"x": str(tuple(x.shape))}) for x in shapes]
    assert message(by_chance, total, drawn, "`total`", "add", causes=causes).endswith("Add")
    assert message(lambda x: x.mean(-1), total, drawn, "`total`", "add", causes=causes).endswith("The mean was taken")
    assert message(lambda x: x.mean(-1), total, drawn[:2], "`total`", "add", causes=causes).endswith("The mean was taken")


def test_a_cause_is_confirmed_with_the_tolerance_of_the_case():
    """The cases that confirm a cause were compared without the allowance for long sums, and a true cause kept back."""

    def mean(x):  # rounded as a long float32 sum may be
        return x.mean(-1) * (1 + 1e-4 * (x.numel() > 1000))

    drawn = [(torch.ones(1, n),) for n in (2, 300_000, 400_000)]
    causes = {"the mean was taken": lambda x: x.mean(-1)}
    assert message(mean, total, drawn, "`total`", "add", causes=causes).endswith("The mean was taken")


def test_an_argument_that_is_left_with_requires_grad_is_found():
    def slope(x):
        return 2 * x

    def graph(x):
        x.requires_grad_()
        return torch.autograd.grad((x * x).sum(), x)[0]

    said = message(graph, slope, tensors(), "`slope`")
    assert "argument x after the call" in said and "requires_grad=True, expected False" in said
    check.agrees(lambda x: graph(x.detach().clone()), slope, tensors(), "`slope`")


def test_an_entry_of_a_result_is_told_from_the_argument_that_stands_before_it():
    """The message said "axis = 1[0]", of a plain tuple "(1,)[0]", and after a second call "others,['x']"."""
    drawn = [case for case in cases.draw(24, {"axis": cases.integer(0, 2)})]
    assert "axis = 1: entry [0] is 3, expected 1." in message(lambda axis: (3, [1]), lambda axis: (axis, [axis]), drawn, "`both`")
    assert "of (1,): entry [0] is 3, expected 1." in message(lambda axis: (3, [1]), lambda axis: (axis, [axis]), [(1,)], "`both`")
    memory = []

    def twice(axis):
        memory.append(axis)
        return {"x": [len(memory)]}

    assert "once more after others: entry ['x'][0] is 2, expected 1" in message(twice, lambda axis: {"x": [1]}, drawn[:1], "`both`")
