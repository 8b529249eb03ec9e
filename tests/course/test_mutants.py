"""The mistakes that are made in a reference solution, kind by kind: from the text before to the exact texts after."""

import textwrap

import pytest

from course.mutants import FIELD_KINDS, mutants, named_equivalent

BEFORE = 'import torch\n\n\ndef f(x: torch.Tensor, y, size=3):\n    """Doc: 1 + 2."""\n    ### BEGIN SOLUTION\n'
AFTER = "    ### END SOLUTION\n\n\nf(torch.ones(2), 1)\n"

CASES = [
    ("detach", "return x.mean().detach()", ["return x.mean()"]),
    ("detach", "return (\n    (x + y)\n    .detach()\n    .mean()\n)", ["return (\n    (x + y)\n    .mean()\n)"]),
    ("number", "a.append(y.item())\nreturn float(x.sum()), x.tolist()", [
        "a.append(y)\nreturn float(x.sum()), x.tolist()",
        "a.append(y.item())\nreturn x.sum(), x.tolist()",
        "a.append(y.item())\nreturn float(x.sum()), x",
    ]),
    ("dtype", "return x.float() + y.to(torch.float32)", ["return x + y.to(torch.float32)", "return x.float() + y"]),
    ("dtype", "return torch.zeros(3, dtype=x.dtype)", ["return torch.zeros(3)", "return torch.zeros(3, dtype=torch.float32)"]),
    ("dtype", "return y.astype(x.dtype)", ["return y", "return y.astype(np.float32)"]),
    ("dtype", "return f(x, torch.float64) if x.is_floating_point() else x", [
        "return f(x, torch.float32) if x.is_floating_point() else x",
        "return f(x, torch.float64) if (x.dtype == torch.float32) else x",
    ]),
    ("dtype", "return x.to(y.device, torch.float16)", ["return x.to(y.device)"]),
    ("device", "return x.to(y.device, torch.float16)", ["return x.to(torch.float16)"]),
    ("device", "return torch.zeros(3, device=x.device) + y.to(x.device)", [
        "return torch.zeros(3) + y.to(x.device)",
        "return torch.zeros(3, device=x.device) + y",
    ]),
    ("device", "y.device = x.device", ['y.device = torch.device("cpu")']),
    ("size", "return torch.zeros(x.shape[0], x.size(1), len(y))", [
        "return torch.zeros(2, x.size(1), len(y))",
        "return torch.zeros(x.shape[0], 2, len(y))",
        "return torch.zeros(x.shape[0], x.size(1), 2)",
    ]),
    ("size", "b, t = x.shape\nif len(y) == b:\n    pass", ["b, t = (2, *x.shape[1:])\nif len(y) == b:\n    pass"]),
    ("axis", "return x.softmax(dim=-1)", ["return x.softmax(dim=(1))", "return x.softmax(dim=-2)", "return x.softmax(dim=-0)"]),
    ("axis", "return torch.cumsum(x, 1)", ["return torch.cumsum(x, 2)", "return torch.cumsum(x, 0)"]),
    ("axis", "return x.norm(2, y)", ["return x.norm(2, 0)", "return x.norm(2, -1)"]),
    ("axis", "return x.sum((0, y))", ["return x.sum((y,))", "return x.sum((0,))", "return x.sum((1, y))", "return x.sum(((-1), y))"]),
    ("axis", "return torch.stack([x, y]), np.concatenate([x])", [
        "return torch.stack([x, y], dim=1), np.concatenate([x])",
        "return torch.stack([x, y]), np.concatenate([x], axis=1)",
    ]),
    ("axis", "return x.transpose(0, 2).mT", [
        "return x.transpose(0, 2)",
        "return x.transpose(1, 2).mT",
        "return x.transpose((-1), 2).mT",
        "return x.transpose(0, 3).mT",
        "return x.transpose(0, 1).mT",
    ]),
    ("axis", 'return torch.einsum("ij,jk->ik", x, y)', ['return torch.einsum("ij,jk->ki", x, y)']),
    ("axis", 'return max(size, 1), y.split(", ", 1), asyncio.gather(*y)', []),
    ("broadcast", "return x[:, None] - x[:, 0, None, None]", ["return x[None, :] - x[:, 0, None, None]"]),
    ("whole", "return x.abs().amax(-1, keepdim=True)", ["return x.abs().amax()"]),
    ("whole", "return x.sum(dim=y, dtype=x.dtype)", [
        "return x.sum(dtype=x.dtype).expand_as(x.sum(dim=y, dtype=x.dtype))",
    ]),
    ("whole", "top = x.max(dim=1).values\nbest, where = x.max(dim=1)", [
        "top = x.max().expand_as(x.max(dim=1).values)\nbest, where = x.max(dim=1)",
    ]),
    ("whole", "return torch.mean(x, 0), np.mean(y, axis=0), tl.max(y, axis=0)", [
        "return torch.mean(x).expand_as(torch.mean(x, 0)), np.mean(y, axis=0), tl.max(y, axis=0)",
        "return torch.mean(x, 0), np.broadcast_to(np.mean(y), np.mean(y, axis=0).shape), tl.max(y, axis=0)",
        "return torch.mean(x, 0), np.mean(y, axis=0), tl.max(y)",
    ]),
    ("squeeze", "return x.squeeze(-1)", ["return x.squeeze()"]),
    ("rounding", "return x.round()", ["return x.add(0.5).floor()"]),
    ("rounding", "return np.floor(x / y)", ["return np.trunc((x / y))", "return np.round((x / y) - 0.5)"]),
    ("rounding", "return round(x / y)", ["return int((x / y) + 0.5)"]),
    ("overflow", "return F.log_softmax(x, dim=1)", ["return F.softmax(x, dim=1).log()"]),
    ("overflow", "return x.logsumexp(1) - F.logsigmoid(y)", [
        "return x.exp().sum(1).log() - F.logsigmoid(y)",
        "return x.logsumexp(1) - y.sigmoid().log()",
    ]),
    ("overflow", "return F.softplus(input=x) + torch.round(input=x) + logsumexp(x)", []),
    ("clamp", "return x.clamp(min=0) + torch.clip(y, 0, 1)", ["return x + torch.clip(y, 0, 1)", "return x.clamp(min=0) + y"]),
    ("abs", "return x.abs().amax() + np.abs(y - 1)", ["return x.amax() + np.abs(y - 1)", "return x.abs().amax() + (y - 1)"]),
    ("order", "return sorted(y, key=len) + [*reversed(y)]", ["return list(y) + [*reversed(y)]", "return sorted(y, key=len) + [*list(y)]"]),
    ("copy", "return x.clone(), list(y)", ["return x, list(y)", "return x.clone(), y"]),
    ("copy", "state = copy.deepcopy(y.state_dict())", ["state = y.state_dict()", "state = copy.copy(y.state_dict())"]),
    ("copy", "return torch.tensor(y.read()), torch.tensor([1, 2])", ["return torch.as_tensor(y.read()), torch.tensor([1, 2])"]),
    ("strides", "return x.transpose(0, 1).reshape(-1)", ["return x.transpose(0, 1).view(-1)"]),
    ("strides", "return x.contiguous().view(-1)", ["return x.view(-1)"]),
    ("in place", "return x.exp() + torch.sqrt(y) + torch.ones(2).exp()", [
        "return x.exp() + y.sqrt_() + torch.ones(2).exp()",
        "return x.exp_() + torch.sqrt(y) + torch.ones(2).exp()",
    ]),
    ("in place", "return x[1:].detach().abs() * 2, x * 2", [
        "return x[1:].detach().abs() * 2, x.mul_(2)",
        "return x[1:].detach().abs_() * 2, x * 2",
    ]),
    ("in place", "y = y + 1\nz = y\nz = z + 1", ["y += 1\nz = y\nz = z + 1"]),
    ("out of place", "n = 0\nn += 1\ny -= 0.1\nfor p in y:\n    p *= 2", [
        "n = 0\nn += 1\ny = y - 0.1\nfor p in y:\n    p *= 2",
        "n = 0\nn += 1\ny -= 0.1\nfor p in y:\n    p = p * 2",
    ]),
    ("out of place", "y.mul_(2)\nreturn x.clamp_(min=0)", ["y = y.mul(2)\nreturn x.clamp_(min=0)", "y.mul_(2)\nreturn x.clamp(min=0)"]),
    ("gradient mode", "with torch.no_grad():\n    if y:\n        y.step()\n    # why\n    x = y(x)\nreturn x", [
        "if True:\n    if y:\n        y.step()\n    # why\n    x = y(x)\nreturn x",
        "torch.set_grad_enabled(False)\nif True:\n    if y:\n        y.step()\n    # why\n    x = y(x)\nreturn x",
    ]),
    ("gradient mode", "@torch.inference_mode()\ndef g(x):\n    return x\n\nreturn g", ["def g(x):\n    return x\n\nreturn g"]),
    ("gradient mode", "with open(y) as file, torch.inference_mode(): return x", [
        "with open(y) as file: return x",
        "torch.set_grad_enabled(False)\nwith open(y) as file: return x",
    ]),
    ("context", "with (\n    torch.autocast('cpu'),\n    y.lock,\n):\n    return x", [
        "with y.lock:\n    return x",
        "with torch.autocast('cpu'):\n    return x",
    ]),
    ("mode", "y.eval()", ["pass", "y.training = False", "if y.training: y.eval()"]),
    ("mode", "y.train(was)\nreturn f(y.eval())", [
        "pass\nreturn f(y.eval())",
        "y.training = was\nreturn f(y.eval())",
        "y.train()\nreturn f(y.eval())",
        "y.train(was)\nreturn f(y)",
    ]),
    ("zero_grad", "y.zero_grad()\nx.grad = None", ["pass\nx.grad = None", "y.zero_grad()\npass"]),
    ("graph", "y.backward()\ny.requires_grad_(False)\nreturn x.requires_grad_()", [
        "y.backward()\npass\nreturn x.requires_grad_()",
        "y.backward(retain_graph=True)\ny.requires_grad_(False)\nreturn x.requires_grad_()",
        "y.backward()\ny.requires_grad_(False)\nreturn x",
    ]),
    ("generator", "torch.manual_seed(y)\nreturn torch.rand(3, generator=y)", [
        "pass\nreturn torch.rand(3, generator=y)",
        "torch.manual_seed(y)\nreturn torch.rand(3)",
    ]),
    ("class", "class C:\n    def __init__(self, n):\n        self.n, self.seen, self.last = n, {}, None\n        self.free: list = []\n        self.most = -1\n        free = list(range(n))\n\n    def g(self):\n        self.n = []", [
        "class C:\n    def __init__(self, n):\n        type(self).n, self.seen, self.last = n, {}, None\n        self.free: list = []\n        self.most = -1\n        free = list(range(n))\n\n    def g(self):\n        self.n = []",
        "class C:\n    def __init__(self, n):\n        self.n, type(self).seen, self.last = n, {}, None\n        self.free: list = []\n        self.most = -1\n        free = list(range(n))\n\n    def g(self):\n        self.n = []",
        "class C:\n    def __init__(self, n):\n        self.n, self.seen, self.last = n, {}, None\n        type(self).free: list = []\n        self.most = -1\n        free = list(range(n))\n\n    def g(self):\n        self.n = []",
    ]),
    ("last batch", "for i in range(0, len(y), size):\n    g(i)", ["for i in range(0, len(y) - len(y) % size, size):\n    g(i)"]),
    ("last batch", "for i in range(a, n, k + 1):\n    g(i)", ["for i in range(a, n - (n - a) % (k + 1), k + 1):\n    g(i)"]),
    ("last batch", "return -(-n // k), (n + k - 1) // k, (n - 1) // k + 1", [
        "return (n // k), (n + k - 1) // k, (n - 1) // k + 1",
        "return -(-n // k), (n // k), (n - 1) // k + 1",
        "return -(-n // k), (n + k - 1) // k, (n // k)",
    ]),
    ("last batch", "return math.ceil((n + 1) / k), triton.cdiv(n, k)", [
        "return ((n + 1) // k), triton.cdiv(n, k)",
        "return math.ceil((n + 1) / k), (n // k)",
    ]),
    ("last batch", "return DataLoader(y, size)", ["return DataLoader(y, size, drop_last=True)"]),
    ("last batch", 'return x.split(size), y.split(" ")', ['return [part for part in x.split(size) if len(part) == size], y.split(" ")']),
    ("last batch", "for i in range(n, 0, -1):\n    g(i)", []),
    ("except", "try:\n    g()\nexcept Exception as error:\n    h(error)", ["try:\n    g()\nexcept ValueError as error:\n    h(error)"]),
    ("except", "try:\n    g()\nexcept (OSError, KeyError):\n    h()", ["try:\n    g()\nexcept KeyError:\n    h()", "try:\n    g()\nexcept OSError:\n    h()"]),
    ("except", "try:\n    g()\nexcept:\n    h()", ["try:\n    g()\nexcept ValueError:\n    h()"]),
    ("finally", "try:\n    g()\n    return 1\n# finally\nfinally:\n    h()\n    i()", [
        "try:\n    g()\n    return 1\n# finally\nfinally:\n    pass",
        "if True:\n    g()\n    return 1\n# finally\nif True:\n    h()\n    i()",
    ]),
    ("finally", "try:\n    g()\nexcept OSError:\n    h()\nfinally:\n    i()", ["try:\n    g()\nexcept OSError:\n    h()\nfinally:\n    pass"]),
    ("case", "return x + 1 if y else size", ["return (x + 1)", "return size"]),
    ("case", 'return (\n    """1\n2"""\n    "3"\n    if y\n    else x\n)', ['return (\n    ("""1\n2"""\n    "3")\n)', "return (\n    x\n)"]),
    ("clause", "if a < b and c:\n    g()", ["if c:\n    g()", "if (a < b):\n    g()"]),
    ("clause", "mask = (a < b) & c\nbits = a & 15", ["mask = c\nbits = a & 15", "mask = (a < b)\nbits = a & 15"]),
    ("filter", "return [p for p in y if p.requires_grad if p.ndim]", ["return [p for p in y if p.ndim]", "return [p for p in y if p.requires_grad]"]),
    ("default", 'return y.get("a", 1), getattr(y, "b", None), next(y, 0), y.pop(3, None), y.pop(3)', [
        'return y["a"], getattr(y, "b", None), next(y, 0), y.pop(3, None), y.pop(3)',
        'return y.get("a", 1), getattr(y, "b"), next(y, 0), y.pop(3, None), y.pop(3)',
        'return y.get("a", 1), getattr(y, "b", None), next(y), y.pop(3, None), y.pop(3)',
        'return y.get("a", 1), getattr(y, "b", None), next(y, 0), y.pop(3), y.pop(3)',
    ]),
    ("truth", "if x is None or y is not None:\n    g()", ["if (not x) or y is not None:\n    g()", "if x is None or y:\n    g()"]),
    ("type", "return isinstance(y, (list, tuple)), isinstance(x, dict)", [
        "return isinstance(y, tuple), isinstance(x, dict)",
        "return isinstance(y, list), isinstance(x, dict)",
        "return (type(y) in (list, tuple)), isinstance(x, dict)",
        "return isinstance(y, (list, tuple)), (type(x) is dict)",
    ]),
    ("nan", "assert x <= y\nif x <= y:\n    g()", ["assert not x > y\nif x <= y:\n    g()"]),
    ("option", "return zip(x, y, strict=True), sorted(y, key=len), dict(a=1), x.sort(dim=0, stable=True)", [
        "return zip(x, y, strict=False), sorted(y, key=len), dict(a=1), x.sort(dim=0, stable=True)",
        "return zip(x, y, strict=True), sorted(y), dict(a=1), x.sort(dim=0, stable=True)",
        "return zip(x, y, strict=True), sorted(y, key=len), dict(a=1), x.sort(dim=0, stable=False)",
    ]),
    ("option", "return g(\n    a=x,\n    b=y,  # why\n)", ["return g(\n    b=y,  # why\n)", "return g(\n    a=x,\n    # why\n)"]),
    ("clock", "begin = clock()\ng()\ntook = clock() - begin", ["g(); begin = clock()\ntook = clock() - begin", "begin = clock()\ntook = clock() - begin; g()"]),
    ("separator", 'return ", ".join(y) + "".join(y)', ['return "".join(y) + "".join(y)']),
    ("comparison", "return x > y", ["return (x >= y)", "return (x <= y)"]),
    ("arithmetic", "total -= x * 2 + -y", ["total += x * 2 + -y", "total -= (x * 2 - -y)", "total -= (x / 2) + -y", "total -= x * 2 + (y)"]),
    ("constant", 'a, b, c = 1, 0.5, "no"', ['a, b, c = 2, 0.5, "no"', 'a, b, c = 0, 0.5, "no"', 'a, b, c = 1, 1.0, "no"', 'a, b, c = 1, 1.5, "no"', "a, b, c = 1, 0.5, 'on'"]),
    ("logic", "return x and y", ["return (x or y)"]),
    ("swapped", "return max(x, y)", ["return (max(y, x))"]),
    ("dropped", "g()\nreturn x", ["pass\nreturn x", "g()\nreturn None"]),
]  # fmt: skip


CLASSIC = {"arithmetic", "comparison", "constant", "dropped", "logic", "swapped"}


def exercise(body: str) -> str:
    return BEFORE + textwrap.indent(body, "    ") + "\n" + AFTER


@pytest.mark.parametrize(("kind", "before", "after"), CASES, ids=[f"{i}-{kind}" for i, (kind, _, _) in enumerate(CASES)])
def test_a_kind(kind, before, after):
    made = [m for m in mutants(exercise(before)) if m.kind == kind]
    assert sorted(m.source for m in made) == sorted(map(exercise, after))


@pytest.mark.parametrize("before", [before for _, before, _ in CASES], ids=range(len(CASES)))
def test_a_mutant_is_another_program_that_compiles_and_differs_between_the_markers_alone(before):
    made = mutants(exercise(before))
    assert len({m.source for m in made} | {exercise(before)}) == len(made) + 1
    for mutant in made:
        compile(mutant.source, "mutant", "exec")
        assert mutant.source.startswith(BEFORE) and mutant.source.endswith(AFTER)


def test_each_kind_of_the_field_says_what_it_is_and_has_its_test():
    kinds = {kind for kind, _, after in CASES if after}
    assert kinds - CLASSIC == set(FIELD_KINDS) and all(FIELD_KINDS.values())
    assert {m.kind for _, before, _ in CASES for m in mutants(exercise(before))} == set(FIELD_KINDS) | CLASSIC


def test_what_the_classic_operators_make_too_bears_the_name_of_the_field():
    kinds = {m.added: m.kind for m in mutants(exercise("y.zero_grad()\nreturn x.sum(0, keepdim=True)"))}
    assert kinds["pass",] == "zero_grad"
    assert kinds["return x.sum(1, keepdim=True)",] == "axis" and kinds["return x.sum(0, keepdim=False)",] == "option"
    assert kinds["return None",] == "dropped"


def test_text_for_people_stays():
    body = 'def g():\n    """Doc: 1."""\nif x.size(0) != 3:\n    raise ValueError(f"{float(x.size(0))} rows", x.detach())\nassert y, x.size(0)'
    changed = {line for m in mutants(exercise(body)) if m.kind != "dropped" for line in m.removed}
    assert changed == {"if x.size(0) != 3:"}


def test_letters_of_more_than_one_byte():
    """`ast` counts bytes: with an ä before it, another place of the line was replaced."""
    (mutant,) = (m for m in mutants(exercise('return g("ä", x.detach())')) if m.kind == "detach")
    assert mutant.source == exercise('return g("ä", x)')


def test_an_equivalent_is_named_by_its_lines():
    (mutant,) = (m for m in mutants(exercise("with y.lock:\n    x = 1")) if m.kind == "context")
    assert mutant.diff == "- with y.lock:\n+ if True:"
    assert named_equivalent(mutant, "# - with y.lock:\n# + if True:")
    assert not named_equivalent(mutant, "# - with y.lock:\n# + pass")


def test_a_mutant_of_the_whole_tensor_runs_where_the_reference_does():
    import numpy as np
    import torch

    body = "return x.sum(1)[:, None] + x.mean(1, keepdim=True) + x.max(dim=1).values[:, None] + torch.std(x, 1)[:, None] + torch.tensor(np.mean(y, axis=1))[:, None]"
    made = [m for m in mutants(exercise(body)) if m.kind == "whole"]
    assert len(made) == 5
    x = torch.arange(6.0).reshape(2, 3) ** 2
    results = []
    for source in [exercise(body), *(m.source for m in made)]:
        space = {"np": np}
        exec(source.removesuffix("f(torch.ones(2), 1)\n"), space)
        results.append(space["f"](x, x.numpy()))
    assert all(result.shape == (2, 1) and not torch.equal(result, results[0]) for result in results[1:])
