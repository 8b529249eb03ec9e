"""Cases for `check.agrees`: arguments drawn from the whole domain that a task states, from small to large.

A domain says for each argument what may come::

    domain = {"x": cases.tensor("rows", "columns", dtypes=("float32", "bfloat16"), scale=(1e-4, 1e4)), "eps": cases.choice(1e-6, 1e-2)}
    for x, eps in cases.draw(seeds, domain, rows=(1, 70), columns=(1, 300)): ...

Every argument has *facets* (its dtype, its values, its layout, each named size), every facet a few options from plain to
odd.  `draw` goes through the options one at a time, all else plain, so that a failing case names its cause (each-choice
coverage: Grindal, Offutt and Andler, "Combination Testing Strategies: A Survey", 2005, section 4.1); then it mixes them, of
some mixes always the one in which most pairs of options meet for the first time (as Cohen, Dalal, Fredman and Patton, "The
AETG System", IEEE Transactions on Software Engineering 23(7), 1997), but stops after a few.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from unit24.compare import brief

TYPICAL = (3, 5, 7, 9, 11, 13)  # odd, so that no size divides another
MIXES = 50  # tried for each mixed case
LAYOUTS = ("contiguous", "transposed", "with gaps", "inside a larger one")


@dataclass(frozen=True)
class Argument:
    """What may come for one argument.

    Args:
        options: by facet, from plain to odd.
        make: (chosen option by facet, size by name, random source) -> (value, what is special about it in words).
        names: the named sizes that it has.
        follows: it is computed from the arguments before it.
    """

    options: dict[str, tuple]
    make: Callable[[dict[str, Any], dict[str, Any], random.Random], tuple[Any, str]]
    names: tuple[str, ...] = ()
    follows: bool = False


@dataclass
class Case:
    """Arguments for one call; iterates over their values in the order of the domain."""

    arguments: dict[str, Any]
    words: dict[str, str] = field(default_factory=dict)  # by argument

    def __iter__(self) -> Iterator[Any]:
        return iter(self.arguments.values())

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def __str__(self) -> str:
        return "; ".join(f"{name} = {words}" for name, words in self.words.items())


def draw(seeds: int | list[int], domain: dict[str, Argument], count: int = 10, **sizes: tuple) -> Iterator[Case]:
    """Cases from `domain`, for each seed: first those with one thing odd, then mixed ones, both from small to large.

    Args:
        seeds: the visible tests give one, the hidden ones another.
        domain: by argument; a name that begins with ``_`` is drawn for the others and not passed on.
        count: how many mixed cases come after the systematic ones.
        sizes: by name (but not `count`) ``(smallest, largest)`` or ``(smallest, largest, step)``, for shapes and lengths;
            choose the largest beyond any constant that an answer might hold (a block, a group, a tile).

    Raises:
        ValueError: an argument has a size that `sizes` lacks: a fault of the test cell.
    """
    lacking = sorted({name for argument in domain.values() for name in argument.names} - sizes.keys())
    if lacking:
        raise ValueError(f"cases.draw: no range for the sizes {', '.join(lacking)}")
    for seed in [seeds] if isinstance(seeds, int) else seeds:
        source, numbers = random.Random(seed), itertools.count()
        systematic = _systematic(domain, sizes, source)
        for plans in (systematic, _mixes(domain, sizes, source, systematic, count)):
            made = [_made(domain, plan, random.Random(f"{seed} {next(numbers)}")) for plan in plans]
            yield from (case for _, case in sorted(made, key=lambda pair: pair[0]))


def _systematic(domain, sizes, source) -> list[tuple[dict, dict]]:
    """(chosen options by argument, size by name) for each case: at most one thing is odd, or one size at its end."""
    typical = _typical(sizes, source)
    smallest = {name: limits[0] for name, limits in sizes.items()}
    plain = {name: {facet: options[0] for facet, options in a.options.items()} for name, a in domain.items()}
    plans = [(plain, typical), (plain, smallest)]
    for name, limits in sizes.items():
        for size in {limits[0], _grid(limits, limits[1])} - {typical[name]}:
            plans.append((plain, {**typical, name: size}))
    for name, argument in domain.items():
        for facet, options in argument.options.items():
            plans += [({**plain, name: {**plain[name], facet: option}}, typical) for option in options[1:]]
    return plans


def _mixes(domain, sizes, source, systematic, count) -> Iterator[tuple[dict, dict]]:
    """As many mixed cases, each the one of some in which most pairs of options meet for the first time."""
    typical = systematic[0][1]
    bits: dict[tuple, int] = {}  # one for each option
    met: dict[tuple, int] = {}  # by option, the bits of those that it has met

    def together(plan) -> dict[tuple, int]:
        """By option of a plan, the bits of all of them."""
        options = _options(plan, sizes)
        return dict.fromkeys(options, sum(bits.setdefault(option, 1 << len(bits)) for option in options))

    def meet(plan) -> None:
        met.update({option: met.get(option, 0) | all_of_them for option, all_of_them in together(plan).items()})

    def new_pairs(plan) -> int:
        return sum((all_of_them & ~met.get(option, 0)).bit_count() for option, all_of_them in together(plan).items())

    for plan in systematic:
        meet(plan)
    for _ in range(count):
        best = max(((_mixed(domain, source), _mixed_sizes(sizes, typical, source)) for _ in range(MIXES)), key=new_pairs)
        meet(best)
        yield best


def _mixed(domain, source) -> dict[str, dict]:
    return {name: {facet: source.choice(options) for facet, options in a.options.items()} for name, a in domain.items()}


def _mixed_sizes(sizes, typical, source) -> dict[str, int]:
    return {n: _grid(limits, source.choice((limits[0], typical[n], source.randint(*limits[:2])))) for n, limits in sizes.items()}


def _options(plan, sizes) -> list[tuple]:
    """What is chosen in a plan; a size is one of three options: the smallest, a middling one, a larger one."""
    chosen, drawn = plan
    options = [(name, facet, id(option)) for name, facets in chosen.items() for facet, option in facets.items()]
    return options + [("", name, (size > sizes[name][0]) + (size > TYPICAL[-1])) for name, size in drawn.items()]


def _typical(sizes, source) -> dict[str, int]:
    """For each name a middling size, all of them different where the ranges allow it."""
    chosen: dict[str, int] = {}
    for name, limits in sizes.items():
        within = [_grid(limits, n) for n in TYPICAL if limits[0] <= n <= limits[1]] or [_grid(limits, sum(limits[:2]) // 2)]
        chosen[name] = source.choice([n for n in within if n not in chosen.values()] or within)
    return chosen


def _grid(limits: tuple, size: int) -> int:
    """The size at or below `size` that the step allows."""
    low, step = limits[0], limits[2] if len(limits) > 2 else 1
    return low + (size - low) // step * step


def _made(domain, plan, source) -> tuple[int, Case]:
    """How large a case is, and the case."""
    chosen, sizes = plan
    drawn: dict[str, Any] = {}
    words: dict[str, str] = {}
    for name, argument in domain.items():
        drawn[name], words[name] = argument.make(chosen[name], drawn if argument.follows else sizes, source)
    kept = [name for name in domain if not name.startswith("_")]
    weight = sum(_weight(value) for value in drawn.values())
    return weight, Case({name: drawn[name] for name in kept}, {name: words[name] for name in kept})


def _weight(value: Any) -> int:
    if hasattr(value, "shape"):
        return math.prod(value.shape)
    if isinstance(value, (list, tuple, str)):
        return len(value) if isinstance(value, str) else sum(map(_weight, value)) + 1
    return sum(map(_weight, value.values())) if isinstance(value, dict) else 1


# --------------------------------------------------------------------------------------------------
# Plain arguments


def choice(*options: Any) -> Argument:
    """One of `options`, from plain to odd."""
    return Argument({"value": options}, lambda chosen, sizes, source: (chosen["value"], repr(chosen["value"])))


def size(name: str) -> Argument:
    """The size called `name`."""
    return Argument({}, lambda chosen, sizes, source: (sizes[name], str(sizes[name])), (name,))


def integer(low: int, high: int) -> Argument:
    """A whole number from `low` to `high`, both ends among them."""

    def make(chosen, sizes, source):
        value = {"low": low, "high": high}.get(chosen["value"], source.randint(low, high))
        return value, str(value)

    return Argument({"value": ("any", "low", "high")}, make)


def number(low: float, high: float) -> Argument:
    """A number from `low` to `high`, both ends among them; drawn by its order of magnitude where the two differ in it."""

    def make(chosen, sizes, source):
        value = {"low": low, "high": high}.get(chosen["value"])
        if value is None:
            value = math.exp(source.uniform(math.log(low), math.log(high))) if 0 < 10 * low < high else source.uniform(low, high)
        return float(value), f"{value:.6g}"

    return Argument({"value": ("any", "low", "high")}, make)


def derived(compute: Callable[..., Any], words: str = "") -> Argument:
    """What follows from the arguments before it: ``compute(**arguments)``.

    Args:
        words: what it is, in place of its value.
    """

    def make(chosen, drawn, source):
        value = compute(**drawn)
        return value, words or brief(value)

    return Argument({}, make, follows=True)


# --------------------------------------------------------------------------------------------------
# Tensors and arrays


def tensor(
    *axes: int | str,
    dtypes: tuple[str, ...] = ("float32", "float64"),
    low: float | None = None,
    high: float | None = None,
    below: str | None = None,
    scale: tuple[float, float] | None = None,
    also: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    layouts: tuple[str, ...] = LAYOUTS,
) -> Argument:
    """A torch tensor.

    Args:
        axes: lengths, or names of sizes.
        dtypes: names, from plain to odd; integers need `high` or `below`.
        low, high: the numbers lie between (both included; `low` is 0 where only `high` is given): all at one end, or
            single ones at an end or at 0 among others. Otherwise they are drawn from a normal distribution, zeros, equal,
            negative and repeated numbers among them.
        below: a size; integers from 0 to less than that.
        scale: between what the largest magnitude of a row (the last axis) may lie: adds tiny and huge values, and rows, or
            the numbers of a single axis, of very different magnitude.
        also: "halves" (n + 0.5), "nan", "infinity", "ends" (of the integer's range), "one large" (a single one, `scale`'s largest).
        without: kinds of values to leave out, among "zero" (all of them), "equal", "negative", "ties", "edges".
        layouts: in memory, from plain to odd.
    """
    bounded = high is not None or below is not None or dtypes[0] == "bool"
    kinds = ("any", "low", "high", "equal", "edges") if bounded else ("any", "zero", "equal", "negative", "ties")
    if scale is not None:
        kinds += ("tiny", "huge", "mixed rows")
    kinds = tuple(kind for kind in kinds + tuple(also) if kind not in without)

    def make(chosen, sizes, source):
        import torch

        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in axes]
        dtype = getattr(torch, chosen["dtype"])
        generator = torch.Generator().manual_seed(source.getrandbits(62))
        if bounded:
            limits = (low or 0, sizes[below] - 1 if below else 1 if dtype == torch.bool else high)
            values = _between(torch, generator, shape, chosen["values"], *limits, whole=not dtype.is_floating_point)
        else:
            values = _normal(torch, generator, shape, chosen["values"], scale or (1e-3, 1e3))
            if "zero" in without and not values.any():  # by chance, of few numbers
                values = values + 1
        values = _laid_out(values.to(dtype), chosen["layout"])
        return values, _tensor_words(values, chosen)

    shapes = tuple(axis for axis in (*axes, below) if isinstance(axis, str))
    return Argument({"dtype": dtypes, "values": kinds, "layout": layouts if axes else layouts[:1]}, make, shapes)


def array(*axes: int | str, **options: Any) -> Argument:
    """A NumPy array; arguments as for `tensor`, without bfloat16."""
    like = tensor(*axes, **options)

    def make(chosen, sizes, source):
        value, words = like.make(chosen, sizes, source)
        return value.numpy(), words

    return Argument(like.options, make, like.names)


def _normal(torch, generator, shape, kind, scale):
    """Numbers (float64) without limits."""
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    tiny, huge = scale
    if kind == "zero":
        return torch.zeros_like(values)
    if kind == "equal":
        return torch.full_like(values, float(values.flatten()[0]) if values.numel() else 0.0)
    if kind == "negative":
        return -values.abs() - 0.1
    if kind == "ties":
        return (2 * values).round().clamp(-2, 2)
    if kind == "halves":
        return (3 * values).floor() + 0.5
    if kind == "tiny":
        return tiny * _of_size_one(values, values.ndim > 0)
    if kind == "huge":
        return huge * values.clamp(-1, 1)
    if kind == "mixed rows":  # each with a magnitude of its own, the extremes among them
        by_row = values.ndim > 1
        share = torch.rand(values.shape[:-1] if by_row else values.shape, generator=generator, dtype=torch.float64)
        flat = share.flatten()
        flat[-1:], flat[:1] = 1.0, 0.0
        magnitude = tiny * (huge / tiny) ** flat.reshape(share.shape)
        return _of_size_one(values, by_row) * (magnitude[..., None] if by_row else magnitude)
    if kind in ("nan", "infinity", "one large"):
        at = int(torch.randint(max(values.numel(), 1), (), generator=generator))
        flat = values.flatten()
        flat[at : at + 1] = {"nan": math.nan, "infinity": math.inf, "one large": huge}[kind]
        return flat.reshape(shape)
    return values


def _of_size_one(values, by_row: bool):
    """The same signs and proportions, but the largest magnitude of each row (or each number's) is 1."""
    largest = values.abs().amax(-1, keepdim=True) if by_row and values.numel() else values.abs()
    return values / largest.where(largest > 0, 1.0)


def _between(torch, generator, shape, kind, low, high, whole):
    """Numbers (float64) from `low` to `high`."""
    if kind in ("low", "high"):
        return torch.full(shape, float(low if kind == "low" else high), dtype=torch.float64)
    share = torch.rand(shape, generator=generator, dtype=torch.float64)
    if kind == "equal":
        share = torch.full_like(share, float(share.flatten()[0]) if share.numel() else 0.0)
    if kind == "ends":
        share = share.round()
    if kind == "edges":
        place = torch.randint(4 if low < 0 < high else 3, shape, generator=generator)
        share = share.masked_fill(place == 0, 0.0).masked_fill(place == 1, 1.0).masked_fill(place == 3, -low / (high - low) if high > low else 0.0)
        values = low + share * (high - low)
        return torch.where(place == 3, 0.0, values.floor().clamp(low, high) if whole else values)
    if kind == "halves":
        return ((low + share * (high - low)).floor() + 0.5).clamp(low, high)
    if whole:
        return (low + (share * (high - low + 1)).floor()).clamp(low, high)
    return low + share * (high - low)


def _laid_out(values, layout):
    """The same tensor in another memory."""
    if layout == "transposed":
        order = tuple(reversed(range(values.ndim)))
        return values.permute(order).contiguous().permute(order)
    if layout == "with gaps":
        wide = values.new_zeros((*values.shape, 2))
        wide[..., 0] = values
        return wide[..., 0]
    if layout == "inside a larger one":
        larger = values.new_zeros([n + 2 for n in values.shape])
        inside = larger[tuple(slice(1, n + 1) for n in values.shape)]
        inside.copy_(values)
        return inside
    return values.contiguous()


def _tensor_words(values, chosen) -> str:
    special = {"any": "", "zero": "all zero", "equal": "all equal", "low": "all the lowest", "high": "all the highest"}
    special |= {"ties": "with ties", "nan": "with a NaN", "infinity": "with an infinity", "one large": "with one large number"}
    special |= {"edges": "ends and zeros among others"}
    said = [special.get(chosen["values"], chosen["values"]), "" if values.is_contiguous() else f"{chosen['layout']} in memory"]
    shown = f" {values.tolist()}" if 0 < values.numel() <= 4 and not values.is_complex() else ""
    return ", ".join([f"{chosen['dtype']} {list(values.shape)}{shown}", *filter(None, said)])


# --------------------------------------------------------------------------------------------------
# Lists: tokens, texts, requests


def tokens(length: str, vocabulary: int, special: tuple[int, ...] = (), first: int = 0) -> Argument:
    """A list of token ids from `first` to less than `vocabulary`, as long as the size `length`.

    Equal tokens, a repeated pattern, and the `special` ones (padding, end, mask) at the start, inside, at the
    end and alone are among them; special ids never come by chance.
    """
    ordinary = [i for i in range(first, vocabulary) if i not in special]
    places = [f"{place} {token}" for token in special for place in ("begins with", "holds", "ends with", "is all")]

    def make(chosen, sizes, source):
        n, kind = sizes[length], chosen["tokens"]
        ids = [source.choice(ordinary) for _ in range(n)]
        if kind == "equal":
            ids = ids[:1] * n
        elif kind == "repeats":
            ids = (ids[:2] * n)[:n]
        elif kind != "any" and n:
            token = int(kind.split()[-1])
            where = {"begins": [0], "ends": [-1], "holds": [n // 2], "is": range(n)}[kind.split()[0]]
            for i in where:
                ids[i] = token
        said = "" if kind == "any" else f", {kind}"
        return ids, f"{n} tokens{_shown(ids)}{said}"

    return Argument({"tokens": ("any", "equal", "repeats", *places)}, make, (length,))


TEXTS = {
    "any": "the cat sat on a mat 12 times, and then it ran away. ",
    "equal": "aaaa",
    "blanks": "  two  blanks\n\n and\ta tab ",
    "other scripts": "naïve Füße 漢字 かな Ελλάδα עברית ",
    "emoji": "👩‍🔬 🙂🙂 é e\u0301 ",
    "marks": "<b>'\"\\{}%s</b> ",
}


def text(length: str) -> Argument:
    """A text as long as the size `length`: repeated letters, blanks, other scripts, emoji and marks among them."""

    def make(chosen, sizes, source):
        n, pattern = sizes[length], TEXTS[chosen["text"]]
        start = source.randrange(len(pattern)) if chosen["text"] == "any" else 0
        value = (pattern[start:] + pattern * (n // len(pattern) + 1))[:n]
        return value, repr(value if n <= 40 else value[:39] + "…")

    return Argument({"text": tuple(TEXTS)}, make, (length,))


def lists(item: Argument, length: str) -> Argument:
    """A list as long as the size `length`, each entry drawn from `item` with sizes of its own (up to the case's)."""

    def make(chosen, sizes, source):
        entries = []
        for i in range(sizes[length]):
            options = {facet: source.choice(of) if chosen["entries"] == "mixed" else of[0] for facet, of in item.options.items()}
            own = {n: source.randint(min(1, sizes[n]), sizes[n]) if chosen["entries"] != "even" and i else sizes[n] for n in item.names}
            entries.append(item.make(options, {**sizes, **own}, source)[0])
        if chosen["entries"] == "equal":
            entries = [entries[0] for _ in entries]
        return entries, f"{len(entries)} entries{_shown(entries)}" + ("" if chosen["entries"] == "any" else f", {chosen['entries']}")

    return Argument({"entries": ("any", "even", "equal", "mixed")}, make, (length, *item.names))


def records(length: str, order: str | None = None, **fields: Argument) -> Argument:
    """A list of dicts as long as the size `length`: requests, rows, events.

    Args:
        order: a field by which they are sorted (arrivals), so that equal ones come as well.
        fields: what each holds.
    """

    def make(chosen, sizes, source):
        rows = []
        for _ in range(sizes[length]):
            options = {n: {f: source.choice(of) if chosen["records"] == "mixed" else of[0] for f, of in a.options.items()} for n, a in fields.items()}
            rows.append({n: a.make(options[n], sizes, source)[0] for n, a in fields.items()})
        if chosen["records"] == "equal":
            rows = [dict(rows[0]) for _ in rows]
        if order is not None and chosen["records"] == "at once":
            rows = [{**row, order: rows[0][order]} for row in rows]
        if order is not None:
            rows.sort(key=lambda row: row[order])
        return rows, f"{len(rows)} records{_shown(rows)}" + ("" if chosen["records"] == "any" else f", {chosen['records']}")

    names = tuple(itertools.chain.from_iterable(a.names for a in fields.values()))
    return Argument({"records": ("any", "mixed", "equal", *(["at once"] if order else []))}, make, (length, *names))


def _shown(items: list) -> str:
    return f" {items}" if len(str(items)) <= 60 else ""


# --------------------------------------------------------------------------------------------------
# Modules: a plan crosses as plain data, `build` makes the module where the student's code runs

KINDS = ("linear", "nested", "tied", "frozen", "child in eval", "with buffers", "unused parameter", "float64")


def module(inputs: int | str, outputs: int | str, kinds: tuple[str, ...] = KINDS) -> Argument:
    """The plan of a module from `inputs` to `outputs` numbers a row; ``cases.build(plan)`` makes it.

    Args:
        kinds: from plain to odd, among nested modules with dropout, tied and frozen parameters, a child whose mode
            differs, batch norm, a parameter that plays no part, and float64.
    """

    def make(chosen, sizes, source):
        wide, out = (sizes[n] if isinstance(n, str) else n for n in (inputs, outputs))
        plan = {"kind": chosen["kind"], "inputs": wide, "outputs": out, "seed": source.getrandbits(31)}
        return plan, f"a module ({chosen['kind']}) from {wide} to {out} numbers"

    return Argument({"kind": kinds}, make, tuple(n for n in (inputs, outputs) if isinstance(n, str)))


def build(plan: dict[str, Any]):
    """The `torch.nn.Module` that a plan of `module` describes: the same numbers each time, in training mode."""
    import torch
    from torch import nn

    wide, out, kind = plan["inputs"], plan["outputs"], plan["kind"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan["seed"])
        if kind == "linear":
            model = nn.Sequential(nn.Linear(wide, out))
        elif kind == "tied":
            first, second = nn.Linear(wide, wide), nn.Linear(wide, wide, bias=False)
            second.weight = first.weight
            model = nn.Sequential(first, nn.Tanh(), second, nn.Linear(wide, out))
        elif kind == "with buffers":
            model = nn.Sequential(nn.Linear(wide, 6), nn.BatchNorm1d(6), nn.Linear(6, out))
        else:
            inner = nn.Sequential(nn.Linear(wide, 6), nn.Tanh(), nn.Dropout(0.5))
            model = nn.Sequential(inner, nn.LayerNorm(6), nn.Linear(6, out))
        if kind == "unused parameter":
            model.spare = nn.Parameter(torch.randn(3))
    if kind == "frozen":
        model[0].requires_grad_(False)
    if kind == "child in eval":
        model[0].eval()
    return model.double() if kind == "float64" else model
