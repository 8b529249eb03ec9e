# ---
# jupyter:
#   unit24:
#     needs: ["datasets>=4", "matplotlib>=3.8", "numpy>=1.26", "scikit-learn", "torch>=2.6"]
# ---

# %% [markdown]
# # 05 · Data loading
#
# A model sees what its loader hands out, and nothing else. A loader that gives an item twice, forgets one, or repeats its
# random numbers raises no error: the model only learns worse. In this lesson you write the parts of a loader, and for each
# part you learn how to see that it does what it should.
#
# **You will build** a loader for paragraphs of the Python reference that wastes little on padding, can be killed in the
# middle of an epoch, and then goes on with the identical next batch. Beside it stand a stream that several workers share
# without duplicates, an augmentation that never repeats itself, and a test that finds the two bugs that are most often
# overlooked.
#
# **You need first** lessons 02 and 04: tensors, seeds and generators, the training loop, `state_dict`.
#
# **Time** about four hours: eight exercises, 24 points. No GPU is needed.
#
# An item passes five stations on its way into the model. Each has a class of `torch.utils.data` and a mistake of its own:
#
# | station | who does it | what goes wrong silently | exercise |
# |---|---|---|---|
# | which items come next | sampler, batch sampler | wasted padding, rare classes never seen | `item_weights`, `buckets` |
# | fetch one item | map-style dataset | a loop over it that never ends | `paragraphs` |
# | read a stream | iterable dataset | every worker reads everything | `stream` |
# | change it at random | the dataset, in a worker | all workers draw the same numbers | `shifted` |
# | make one tensor of many items | `collate_fn` | padding that counts as data | `collate` |
#
# `resume` and `check_load` are about all five at once.

# %% setup

# %%
import collections
import hashlib
import itertools
import math
import random
import time
import warnings
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.utils.data._utils.worker
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler, get_worker_info

from unit24 import cases, check, claims, data
from unit24.data.digits import tensors as digit_tensors

warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than cores: here on purpose

# %% [markdown]
# ## The data
#
# The paragraphs of the Python language reference, as the Python that runs this notebook ships them. A label says which of
# eight sections a paragraph comes from. Two things make this set a good patient: its lengths and its classes are both
# very uneven.

# %%
rows = data.load("reference", split="train")
texts, labels = list(rows["text"]), list(rows["label"])
sections = [section for _, section in sorted(set(zip(labels, rows["section"])))]
word_counts = collections.Counter(word for text in texts for word in text.lower().split())
vocabulary = {word: i for i, word in enumerate((w for w, n in sorted(word_counts.items()) if n > 1), start=2)}
lengths = [len(text.split()) for text in texts]

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
left.hist(lengths, bins=range(0, 210, 10))
left.set(xlabel="words (the longest paragraphs lie beyond the right edge)", ylabel="paragraphs", title="lengths")
right.barh(sections, [labels.count(i) for i in range(len(sections))])
right.set(xlabel="paragraphs", title="classes")
plt.show()
print(f"{len(texts)} paragraphs of {min(lengths)} to {max(lengths)} words, {len(vocabulary)} known words")

# %% [markdown]
# ## Part A · One item
#
# A **map-style** dataset is anything with `len(dataset)` and `dataset[i]`. It says nothing about order, batches or epochs.
# Whoever asks decides, and may ask for any item at any time: that is what makes shuffling, sampling and resuming easy.
#
# ### Exercise 1 · Paragraphs (`paragraphs`, 2 points, 15 minutes, difficulty 1 of 3)
#
# Write the class `Paragraphs`. `Paragraphs(texts, labels, vocabulary)` gets a list of 0 to 1,000 texts (`str`, each of 0 to
# 10,000 characters, in all scripts), a list of as many labels (`int`, 0 to 999), and a dict from words in lower case to ids
# (2 to 999,999). Id 0 is kept for padding, id 1 for unknown words.
#
# - `len(dataset)` is the number of texts. <!-- rule: length -->
# - `dataset[i]`, with i from 0 to `len(dataset) - 1`, is a dict (kept or made anew) with two entries: `"ids"`, an int64
#   tensor with one axis and one id a word, and `"label"`, an `int`. The words of a text are `text.lower().split()`, in their
#   order. <!-- rule: item -->
# - A word that the vocabulary lacks has id 1. <!-- rule: unknown -->
# - A text without words gives an int64 tensor of shape [0]. <!-- rule: empty -->
# - `dataset[i]` with i equal to `len(dataset)` or more raises `IndexError`. That is how `for item in dataset` finds its
#   end. <!-- rule: end -->
#
# The lists and the dict stay as they were. Nobody asks for negative i.


# %% exercise="paragraphs" minutes=15 difficulty=1
class Paragraphs(Dataset):
    """Map-style dataset of {"ids": int64 [words], "label": int}."""

    def __init__(self, texts, labels, vocabulary):
        ### BEGIN SOLUTION
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary
        ### END SOLUTION

    def __len__(self):
        ### BEGIN SOLUTION
        return len(self.texts)
        ### END SOLUTION

    def __getitem__(self, i):
        ### BEGIN SOLUTION
        ids = [self.vocabulary.get(word, 1) for word in self.texts[i].lower().split()]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}
        ### END SOLUTION


# %% tests="paragraphs" points=2
@check.scenario
def items_of(texts, labels, vocabulary):
    """Its length, what a loop over it gives, cut off where it does not end, and then the items from the last to the first."""
    dataset = Paragraphs(texts, labels, vocabulary)
    items = [as_lists(item) for item in itertools.islice(dataset, len(texts) + 2)]
    return {"length": len(dataset), "items": items, "items from the last to the first": [as_lists(dataset[i]) for i in range(len(texts))[::-1]]}


@check.shared
def as_lists(item):
    """An item with its ids as a list, and beside it what kind of tensor they were, and the label."""
    ids = item["ids"]
    kind = f"a tensor of {str(ids.dtype).removeprefix('torch.')} with {ids.ndim} axis" if torch.is_tensor(ids) else f"a {type(ids).__name__}"
    return {**item, "ids": ids.tolist() if torch.is_tensor(ids) else ids, "kind of ids": kind, "kind of label": type(item["label"]).__name__}


@check.scenario
def paragraphs_side_by_side(arguments):
    made = [Paragraphs(*each) for each in arguments]
    return [[len(dataset), dataset[0], dataset[1]] for dataset in made]


@check.shared
def large_words(count, longest):
    """Texts without words and, at the last place but one, the words w0, w1, ..., and a vocabulary with every second one."""
    long = " ".join(f"w{i}" for i in range(longest))[:longest]
    return ["", " "] * (count // 2 - 1) + [long, ""], {f"w{i}": 999_999 - i for i in range(0, longest, 2)}


@check.scenario
def large_set(count, longest):
    texts, vocabulary = large_words(count, longest)
    dataset = Paragraphs(texts, list(range(count)), vocabulary)
    items = [dataset[i] for i in range(count)]
    return {"ids of the longest": items[-2]["ids"].tolist(), "numbers of words": [len(item["ids"]) for item in items], "labels": [item["label"] for item in items]}


def large_by_definition(count, longest):
    texts, vocabulary = large_words(count, longest)
    ids = [vocabulary.get(word, 1) for word in texts[-2].split()]
    return {"ids of the longest": ids, "numbers of words": [*[0] * (count - 2), len(ids), 0], "labels": list(range(count))}


@check.scenario
def asked_beyond(count, beyond):
    """The kind of error that `dataset[count + beyond]` raises."""
    dataset = Paragraphs(["a b"] * count, [3] * count, {"a": 2})
    try:
        dataset[count + beyond]
    except NotImplementedError:
        raise
    except Exception as error:
        return type(error).__name__
    return "no error"


def items_by_definition(texts, labels, vocabulary):
    return items_with(lambda text, known: [known[word] if word in known else 1 for word in text.lower().split()])(texts, labels, vocabulary)


def items_with(encode):
    """A dataset with another way to make the list of ids."""

    def made(texts, labels, vocabulary):
        items = [as_lists({"ids": torch.tensor(encode(t, vocabulary), dtype=torch.int64), "label": n}) for t, n in zip(texts, labels)]
        return {"length": len(texts), "items": items, "items from the last to the first": items[::-1]}

    return made


def some_vocabulary(texts, _step, **_):
    """Ids for every second word that occurs, in lower case."""
    words = sorted({word for text in texts for word in text.lower().split()})
    return {word: 2 + _step * i % 999_998 for i, word in enumerate(words[::2])}


def odd_letters(text):
    """The text with words in its middle for which `lower` differs from `casefold`, and blanks that are not ASCII."""
    half = len(text) // 2
    return f"{text[:half]} Straße\u00a0ΟΔΟΣ\u2028µm\x1fſo\u3000İd\u200bI Strasse. STRAẞE {text[half:]}"


with check.exercise("paragraphs"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    beside = [[["a b", "b"], [0, 1], {"a": 2, "b": 3}], [["b", "a a", "c"], [5, 7, 2], {"a": 9, "c": 4}]]
    check.apart(paragraphs_side_by_side, beside, "length and items of Paragraphs made from")
    domain = {
        "_drawn": cases.lists(cases.text("characters"), "many"),
        "_case": cases.choice("as drawn", "upper", "title", "odd letters"),
        "_step": cases.choice(3, 76_543),
        "texts": cases.derived(lambda _drawn, _case, **_: [{"as drawn": t, "upper": t.upper(), "title": t.title(), "odd letters": odd_letters(t)}[_case] for t in _drawn]),
        "labels": cases.derived(lambda texts, **_: [(397 * i + len(t)) % 1000 for i, t in enumerate(texts)]),
        "vocabulary": cases.derived(some_vocabulary),
    }
    causes = {
        "words that the vocabulary lacks are left out: they have id 1": items_with(lambda t, v: [v[w] for w in t.lower().split() if w in v]),
        "a text is put into lower case before its words are looked up": items_with(lambda t, v: [v.get(w, 1) for w in t.split()]),
        "unknown words have id 1; 0 is kept for padding": items_with(lambda t, v: [v.get(w, 0) for w in t.lower().split()]),
        "`casefold` changes more letters than `lower` does: ß becomes ss": items_with(lambda t, v: [v.get(w, 1) for w in t.casefold().split()]),
        "`split(' ')` keeps empty words between two blanks and does not part at tabs: use `split()`": items_with(lambda t, v: [v.get(w, 1) for w in t.lower().split(" ")]),
    }
    hint = "one id a word of `text.lower().split()`, as an int64 tensor, also where there is no word; the label is an `int`"
    drawn = cases.draw(seeds, domain, many=(0, 40), characters=(0, 90))
    check.agrees(items_of, items_by_definition, drawn, "what `Paragraphs` gives", hint, causes=causes)
    which = "1,000 paragraphs, number 998 of 10,000 characters"
    check.equal(large_set(1000, 10_000), large_by_definition(1000, 10_000), f"what `Paragraphs` gives of {which}", hint)
    for count, beyond in ((1, 0), (3, 0), (3, 4), (0, 0)):
        seen = asked_beyond(count, beyond)
        check.true(seen == "IndexError", f"`dataset[{count + beyond}]` of {count} paragraphs gives {seen}, expected IndexError: a loop over the dataset would not end")


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# What does a list do when you ask for an entry that it does not have? Which dtype has `torch.tensor([])`?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `dict.get(word, 1)`; `torch.tensor(ids, dtype=torch.int64)`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# ids = [self.vocabulary.get(word, 1) for word in self.texts[i].lower().split()]
# return {"ids": torch.tensor(ids, dtype=...), "label": ...}
# ```
# Keep the three arguments in `self`. A list raises `IndexError` by itself.
# </details>

# %%
dataset = Paragraphs(texts, labels, vocabulary)
item = dataset[4]
print(texts[4][:80], "…")
print(item["ids"][:10].tolist(), "…  label", item["label"], "=", sections[item["label"]])

# %% [markdown]
# ## Part B · A stream and its workers
#
# Logs, web crawls and files larger than the memory have no `dataset[i]`. They are read from the front: an **iterable**
# dataset has `__iter__` alone. Then nobody outside can deal out the items, and each reader must know its own share.
#
# A `DataLoader` with `num_workers=3` starts three processes. Each gets **a copy of the dataset**, as it was at that moment.
# With a map-style dataset that does no harm, since the main process sends each worker the indices it should fetch.
# With a stream each worker reads the copy from the front:


# %%
class Naive(IterableDataset):
    """A stream that knows nothing of workers."""

    def __init__(self, read):
        self.read = read

    def __iter__(self):
        return iter(self.read())


def load_with(dataset, workers, **options):
    """A DataLoader with so many worker processes."""
    if workers:  # classes of a notebook reach a worker only where it is forked
        options |= {"num_workers": workers, "multiprocessing_context": "fork"}
    return DataLoader(dataset, **options)


def count_items(make, workers):
    """How often each of ten items comes, with real worker processes."""
    return collections.Counter(int(x) for batch in load_with(make(lambda: iter(range(10))), workers, batch_size=2) for x in batch)


for workers in range(4):
    seen = count_items(Naive, workers)
    print(f"{workers} workers: {sum(seen.values())} items, each {sorted(set(seen.values()))} times")

# %% [markdown]
# With three workers an epoch is three times as long, and each item comes three times. No error, no warning; the loss curve
# even looks better, because each "epoch" is really three.
#
# Inside a worker `torch.utils.data.get_worker_info()` says which one it is: `.id` from 0, `.num_workers`, `.seed`, and
# `.dataset`, its own copy. In the main process it returns `None`. Training on several machines or GPUs divides once more: each of `world`
# training processes has a `rank`, and each has its own workers.
#
# To try things out without starting processes, `pretend_worker` makes `get_worker_info()` answer as in a worker. The
# tests use it, too: where exercises are graded, no processes may be started.


# %%
@contextmanager
def pretend_worker(number, workers, dataset=None, seed=0):
    """Inside the `with` block `get_worker_info()` says: worker `number` of `workers`. With 0 workers: the main process."""
    place = torch.utils.data._utils.worker
    before = place._worker_info
    if workers:
        place._worker_info = place.WorkerInfo(id=number, num_workers=workers, seed=seed, dataset=dataset)
    try:
        yield
    finally:
        place._worker_info = before


with pretend_worker(1, 3):
    print("in a worker:", get_worker_info().id, "of", get_worker_info().num_workers)
print("in the main process:", get_worker_info())

# %% [markdown]
# ### Exercise 2 · Each item once (`stream`, 3 points, 25 minutes, difficulty 2 of 3)
#
# Write the class `Stream`. `Stream(read, rank=0, world=1)` gets a function without arguments; each call of `read()` returns a new
# iterator. It has 0 to 5,000 items, or no end; then the loop is left before 5,000 are taken. An item is a number, a text, or `None`, which is
# an item like others. `world` is from 1 to 8, `rank` from 0 to `world - 1`.
#
# The items are numbered from 0 in the order of `read()`. Say `workers` for the number of workers of this process, and
# `number` for that of the worker which iterates (at most 8 workers); without workers these are 1 and 0. Then there are
# $S = \text{world} \cdot \text{workers}$ shares, and this worker has share $s = \text{rank} \cdot \text{workers} + \text{number}$.
#
# - Iterating gives the items number $s, s + S, s + 2S, \ldots$ in this order. <!-- rule: shares -->
# - Rank and world count, too. <!-- rule: ranks -->
# - Which worker it is, is asked anew for each loop, not when the object is made: that is before there are workers. <!-- rule: late -->
# - When an item is handed out, no item behind it was taken from `read()` yet. So a stream without end
#   works. <!-- rule: lazy -->
# - Each loop calls `read()` once, which may give other items than the last call did; two loops may be under way at the same
#   time. <!-- rule: anew -->
#
# Worker and `read()` may be asked in `iter(stream)` or at the first item.


# %% exercise="stream" minutes=25 difficulty=2
class Stream(IterableDataset):
    """The share of a stream that belongs to one worker of one of `world` processes."""

    def __init__(self, read, rank=0, world=1):
        ### BEGIN SOLUTION
        super().__init__()
        self.read, self.rank, self.world = read, rank, world
        ### END SOLUTION

    def __iter__(self):
        ### BEGIN SOLUTION
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        share, shares = self.rank * workers + number, self.world * workers
        return itertools.islice(self.read(), share, None, shares)
        ### END SOLUTION


# %% tests="stream" points=3
@check.shared
def reader(items, endless, taken):
    """A function `read` over `items`; each call of it adds to `taken` how many items were taken from it."""

    def read():
        place = len(taken)
        taken.append(0)
        for item in itertools.cycle(items) if endless and items else items:
            taken[place] += 1
            yield item

    return read


@check.scenario
def share_of(items, endless, rank, world, workers, number):
    """Up to 30 items that a worker gets, and how many were taken from `read()` at each."""
    taken = []
    stream = Stream(reader(items, endless, taken), rank, world)
    with pretend_worker(number, workers, stream):
        return [[item, sum(taken)] for item in itertools.islice(iter(stream), 30)]


@check.scenario
def long_share(count, rank, world, workers, number):
    """The items that a worker gets of 0, 1, 2, ..., as long as they are below 4,999, and how many were taken; without a `count` there is no end."""
    taken = []
    last = 4998 - (4998 - rank * max(workers, 1) - number) % (world * max(workers, 1))

    def read():
        for item in itertools.count() if count is None else range(count):
            taken.append(item)
            yield item

    stream, seen = Stream(read, rank, world), []
    with pretend_worker(number, workers, stream):
        for item in stream:
            seen.append(item)
            if count is None and item >= last:
                break
    return {"items": seen, "taken": len(taken)}


def long_share_by_definition(count, rank, world, workers, number):
    shares, share = world * max(workers, 1), rank * max(workers, 1) + number
    items = [i for i in range(4999 if count is None else count) if i % shares == share]
    return {"items": items, "taken": items[-1] + 1 if count is None else count}


@check.scenario
def begun_anew(count, place, then):
    """Two loops at the same time and one after them, then one in another worker, with the defaults of rank and world.

    Each call of `read()` gives the pairs [which call it is, number of the item].
    """
    calls = itertools.count()

    def read():
        call = next(calls)
        return iter([[call, i] for i in range(count)])

    stream = Stream(read)
    with pretend_worker(*place, stream):
        first = iter(stream)
        begin = list(itertools.islice(first, 1))
        second = list(stream)
        loops = [begin + list(first), second, list(stream)]
    with pretend_worker(*then, stream):
        return dict(zip(("first loop", "second loop, during the first", "third loop", "loop as the other worker"), [*loops, list(stream)]))


@check.scenario
def streams_side_by_side(arguments):
    made = [Stream(reader(items, False, []), rank, world) for items, rank, world in arguments]
    running = [iter(stream) for stream in made]
    turns = [[next(one) for one in running] for _ in range(2)]
    return [[*turn, *rest] for turn, rest in zip(zip(*turns), map(list, running))]


def share_by_definition(items, endless, rank, world, workers, number):
    shares = world * max(workers, 1)
    share = rank * max(workers, 1) + number
    count = share + 30 * shares if endless and items else len(items)
    return [[items[i % len(items)], i + 1] for i in range(count) if i % shares == share][:30]


def anew_by_definition(count, place, then):
    names = ("first loop", "second loop, during the first", "third loop", "loop as the other worker")
    return {name: [[call, i] for i in range(number, count, max(workers, 1))] for call, (name, (number, workers)) in enumerate(zip(names, [place, place, place, then]))}


def other_share(share_and_shares):
    """What comes of another share."""

    def made(items, endless, rank, world, workers, number):
        share, shares = share_and_shares(rank, world, max(workers, 1), number)
        many = items * (3000 // len(items)) if endless and items else items
        return [[item, share + i * shares + 1] for i, item in enumerate(many[share::shares])][:30]

    return made


with check.exercise("stream"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.apart(streams_side_by_side, [[[*range(12)], 0, 1], [[*range(50, 70)], 1, 3]], "the items of a Stream of (items, rank, world) =")
    domain = {
        "_drawn": cases.lists(cases.integer(-9, 99), "many"),
        "_odd": cases.choice("numbers", "None", "texts"),
        "items": cases.derived(lambda _drawn, _odd, **_: [{"numbers": x, "None": None, "texts": f"line {x}"}[_odd if i % 2 else "numbers"] for i, x in enumerate(_drawn)]),
        "endless": cases.choice(False, True),
        "_rank": cases.integer(0, 7),
        "_number": cases.integer(0, 7),
        "rank": cases.derived(lambda _rank, _world, **_: _rank % _world),
        "world": cases.derived(lambda _world, **_: _world),
        "workers": cases.choice(0, 1, 2, 3, 8),
        "number": cases.derived(lambda _number, workers, **_: _number % max(workers, 1)),
    }
    domain = {"_world": cases.choice(1, 2, 3, 8), **domain}
    causes = {
        "every worker reads everything: see `get_worker_info`": other_share(lambda rank, world, workers, number: (rank, world)),
        "rank and world count, too": other_share(lambda rank, world, workers, number: (number, workers)),
        "these are shares as if number and rank changed places: share = rank * workers + number": other_share(lambda rank, world, workers, number: (number * world + rank, world * workers)),
    }
    what = "for a Stream, the first items and how many were taken from `read()` at each (pairs),"
    hint = "items number s, s + S, s + 2S, ... with s = rank * workers + number; none behind the one that is handed out is taken"
    drawn = cases.draw(seeds, domain, many=(0, 60))
    check.agrees(share_of, share_by_definition, drawn, what, hint, causes=causes)
    for count, *place in ((5000, 0, 1, 0, 0), (5000, 7, 8, 8, 7), (4990, 2, 3, 2, 1), (None, 0, 1, 0, 0), (None, 7, 8, 8, 0), (None, 1, 2, 3, 2)):
        rank, world, workers, number = place
        which = f"rank {rank} of {world}, worker {number} of {workers}" if workers else f"rank {rank} of {world}, main process"
        whole = f"for a Stream of {count or 'endless'} items 0, 1, 2, ... ({which}), the items that come{'' if count else ' until 4,999 are taken'}, and how many were taken"
        check.equal(long_share(count, *place), long_share_by_definition(count, *place), whole, "a stream has up to 5,000 items or no end: how many it has is nobody's business but that of `read()`")
    for count, place, then in ((11, (0, 0), (0, 0)), (11, (0, 1), (1, 2)), (11, (1, 2), (0, 0)), (12, (0, 3), (2, 3)), (1000, (2, 3), (0, 2))):
        who = [f"worker {number} of {workers}" if workers else "the main process" for number, workers in (place, then)]
        several = f"for a Stream of {count} items, three loops in {who[0]} and one in {who[1]}, the pairs (which call of `read()`, item)"
        check.equal(begun_anew(count, place, then), anew_by_definition(count, place, then), several, "each loop calls `read()` once and asks which worker it is; keep nothing of a loop in `self`")


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# How many readers are there in all, over all processes? Give each of them a number, and deal out the items like cards. When does
# `__iter__` run, and where?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `get_worker_info()` returns `None` in the main process. `itertools.islice(iterator, start, None, step)`, or `enumerate` and `%`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# def __iter__(self):
#     info = get_worker_info()
#     number, workers = (info.id, info.num_workers) if info else (0, 1)
#     share, shares = ..., self.world * workers
#     for i, item in enumerate(self.read()):
#         if i % shares == share:
#             yield item
# ```
# </details>

# %% [markdown]
# Now with real processes:

# %%
# NBVAL_CHECK_OUTPUT
for workers in range(4):
    seen = count_items(Stream, workers)
    print(f"{workers} workers: {sum(seen.values())} items, each {sorted(set(seen.values()))} times")

# %% [markdown]
# Each item comes once, whatever the number of workers. Two things still depend on it. The order: batches of the workers are handed
# out in turn. And the batches themselves: each worker fills its own, so that with three workers up to three batches are short.

# %% [markdown]
# ## Part C · From items to a batch
#
# A batch is one tensor, so all its rows are equally long. Shorter texts are filled up with **padding**, and a **mask** says which
# cells are real. From here on every operation that mixes positions (a mean, attention, a loss) must look at the mask.
#
# ### Exercise 3 · Padding and mask (`collate`, 3 points, 25 minutes, difficulty 1 of 3)
#
# `pad_collate(items, multiple=1)` makes a batch of a list of 1 or more items as `Paragraphs` gives them: dicts with `"ids"`, an int64
# tensor with one axis of 0 to 200 ids from 0 to 999,999 (it may have any strides), and `"label"`, an `int`. `multiple` is from 1 to 64: GPUs multiply
# fastest where sizes are multiples of 8 or so.
#
# - It returns a dict with `"ids"` (int64, [items, width]), `"mask"` (bool, [items, width]) and `"labels"` (int64, [items]), rows in
#   the order of the items. <!-- rule: batch -->
# - `width` is the smallest multiple of `multiple`, at least `multiple` itself, that holds the longest item. <!-- rule: width -->
# - In a row of `"ids"` the ids of the item come first, then zeros. <!-- rule: padding -->
# - `"mask"` is True where an id of the item stands, also where that id is 0, and False elsewhere. The row of an item without ids
#   is all False. <!-- rule: mask -->
# - The items stay as they were. <!-- rule: items -->
#
# `masked_mean(x, mask)` is the mean over the positions that count. `x` is float32 or float64, [rows, positions, features], `mask` is bool,
# [rows, positions], each size from 1 to 70. Where `mask` is True, `x` is finite.
#
# - It returns [rows, features] in the dtype of `x`: the mean over those positions of the row where `mask` is True. <!-- rule: mean -->
# - What stands where `mask` is False has no effect, be it NaN or infinite. <!-- rule: rubbish -->
# - A row whose mask is all False gives zeros. <!-- rule: no_positions -->
#
# `x` and `mask` stay as they were. Each of the two functions earns half of the points.


# %% exercise="collate" minutes=25 difficulty=1
def pad_collate(items, multiple=1):
    """One batch {"ids": int64 [items, width], "mask": bool [items, width], "labels": int64 [items]} of several items."""
    ### BEGIN SOLUTION
    longest = max(len(item["ids"]) for item in items)
    width = multiple * max(1, math.ceil(longest / multiple))
    ids = torch.zeros(len(items), width, dtype=torch.int64)
    mask = torch.zeros(len(items), width, dtype=torch.bool)
    for row, item in enumerate(items):
        ids[row, : len(item["ids"])] = item["ids"]
        mask[row, : len(item["ids"])] = True
    return {"ids": ids, "mask": mask, "labels": torch.tensor([item["label"] for item in items])}
    ### END SOLUTION


def masked_mean(x, mask):
    """The mean of x [rows, positions, features] over the positions where mask [rows, positions] is True."""
    ### BEGIN SOLUTION
    total = x.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)
    ### END SOLUTION


# %% tests="collate" points=3
def batch_by_definition(items, multiple):
    longest, width = max(len(item["ids"]) for item in items), multiple
    while width < longest:
        width += multiple
    rows = [item["ids"].tolist() for item in items]
    return {
        "ids": torch.tensor([row + [0] * (width - len(row)) for row in rows], dtype=torch.int64),
        "mask": torch.tensor([[i < len(row) for i in range(width)] for row in rows]),
        "labels": torch.tensor([item["label"] for item in items], dtype=torch.int64),
    }


def mask_from_ids(items, multiple):
    batch = batch_by_definition(items, multiple)
    return batch | {"mask": batch["ids"] != 0}


def always_more(items, multiple):
    longest = max(len(item["ids"]) for item in items)
    batch, width = batch_by_definition(items, multiple), (longest // multiple + 1) * multiple
    grown = {name: F.pad(batch[name], (0, width - batch[name].shape[1])) for name in ("ids", "mask")}
    return batch | grown


def not_rounded(items, multiple):
    return batch_by_definition(items, 1)


def check_pad_collate():
    emptied = {"none": lambda i: False, "first": lambda i: i == 0, "every second": lambda i: i % 2 == 1, "all": lambda i: True}
    domain = {
        "_empty": cases.choice(*emptied),
        "items": cases.derived(lambda _ids, _empty, **_: [{"ids": x[:0] if emptied[_empty](i) else x, "label": (5 * i + len(x)) % 13} for i, x in enumerate(_ids)]),
        "multiple": cases.choice(1, 8, 5, 64),
    }
    causes = {
        "the mask was read off the ids, but an id may be 0: it follows from the lengths": mask_from_ids,
        "the width is a multiple larger where the longest item fits exactly": always_more,
        "the width was not rounded up to a multiple": not_rounded,
    }
    hint = "ids first, then zeros; the mask says where ids stand; the width is a multiple of `multiple`, at least `multiple`"
    for longest, high in (((0, 200), 9), ((16, 16), 999_999)):  # 16: fits exactly
        ids = cases.lists(cases.tensor("ids", dtypes=("int64",), high=high), "many")
        drawn = cases.draw(seeds, {"_ids": ids, **domain}, many=(1, 40), ids=longest)
        check.agrees(pad_collate, batch_by_definition, drawn, "`pad_collate`", hint, causes=causes)
    one = [{"ids": torch.tensor([3, 0, 7]), "label": 4}]
    check.equal(pad_collate(one), batch_by_definition(one, 1), "`pad_collate` of one item of three ids, without `multiple`", hint)


def mean_by_definition(x, mask):
    rows = [row[chosen].double().sum(0) / max(int(chosen.sum()), 1) for row, chosen in zip(x, mask)]
    return torch.stack(rows).to(x.dtype)


def mean_over_all(x, mask):
    return (x.masked_fill(~mask[..., None], 0).double().sum(1) / x.shape[1]).to(x.dtype)


def mean_of_products(x, mask):
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def mean_of_nothing(x, mask):
    return x.masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True)


def with_rubbish(_x, mask, _rubbish, **_):
    return _x if _rubbish is None else _x.masked_fill(~mask[..., None], _rubbish)


def check_masked_mean():
    domain = {
        "_x": cases.tensor("rows", "positions", "features", scale=(1e-3, 1e3)),
        "_mask": cases.tensor("rows", "positions", dtypes=("bool",)),
        "_rubbish": cases.choice(None, float("nan"), float("inf"), float("-inf")),
        "x": cases.derived(lambda _x, _mask, _rubbish, **_: with_rubbish(_x, _mask, _rubbish)),
        "mask": cases.derived(lambda _mask, **_: _mask),
    }
    causes = {
        "the sum was divided by all positions: divide by the number of those that count": mean_over_all,
        "0 times NaN is NaN, and 0 times infinity as well: fill these places, do not multiply them": mean_of_products,
        "0 / 0 is NaN: a row without positions gives zeros": mean_of_nothing,
    }
    hint = "only positions where mask is True count, in the sum and in the number by which you divide"
    drawn = cases.draw(seeds, domain, rows=(1, 70), positions=(1, 70), features=(1, 70))
    check.agrees(masked_mean, mean_by_definition, drawn, "`masked_mean`", hint, causes=causes)


with check.exercise("collate"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"pad_collate": check_pad_collate, "masked_mean": check_masked_mean})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# The mask follows from the lengths, not from the ids. For the mean: what is 0 times NaN, and by what do you divide where nothing counts?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `torch.zeros(..., dtype=...)` and slices; `math.ceil`; `Tensor.masked_fill`, `Tensor.clamp(min=1)`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# width = multiple * max(1, math.ceil(longest / multiple))
# for row, item in enumerate(items):
#     ids[row, : len(item["ids"])] = item["ids"]
#     ...                                        # the mask likewise
#
# total = x.masked_fill(~mask[..., None], 0).sum(1)
# return total / ...
# ```
# </details>

# %%
batch = pad_collate([dataset[i] for i in range(16)], multiple=8)
figure, panel = plt.subplots(figsize=(11, 2.6), layout="constrained")
panel.imshow(batch["mask"], aspect="auto", cmap="Blues", interpolation="nearest")
panel.set(xlabel="position (dark: a word, light: padding)", ylabel="row of the batch", title="the first sixteen paragraphs as a batch")
plt.show()
print(f"{1 - batch['mask'].float().mean():.0%} of the cells are padding")

# %% [markdown]
# One long paragraph makes all rows long. The model computes the light cells as it computes the dark ones, and throws the result away.
# Krell et al. (2021) counted the padding of BERT's training set at 512 tokens: up to half of all tokens.

# %% [markdown]
# ## Part D · Which items, in which order
#
# A `sampler` decides which index comes next, a `batch_sampler` which indices go together. Both are plain iterables of
# integers, or of lists of integers. The loader asks for nothing else.
#
# **Classes.** One class of our paragraphs is six times as large as another. Drawing items with weights evens that out. Drawing every
# class alike is often too much: the few items of a small class then come again and again. A common middle way draws a class of $n_c$ items
# in proportion to $n_c^{\alpha}$, with $\alpha$ between 0 (all classes alike) and 1 (as they are). Multilingual models choose
# their languages so: XLM-R with $\alpha = 0.3$ (Conneau et al., 2020), mT5 likewise (Xue et al., 2021).
#
# ### Exercise 4 · Weights (`item_weights`, 2 points, 15 minutes, difficulty 2 of 3)
#
# `item_weights(labels, alpha)` gives the probability with which each item should be drawn. `labels` is an int64 tensor with one axis of
# 1 or more labels from 0 to 999 (any strides), `alpha` a `float` from 0 to 1, both ends among them.
#
# - The items of a class c that has $n_c$ items have together the probability $n_c^{\alpha} / \sum_k n_k^{\alpha}$, where the sum
#   runs over the classes that occur. So all weights together make 1. <!-- rule: classes -->
# - Classes that do not occur count for nothing, whatever alpha is. <!-- rule: absent -->
# - Items of one class have equal weights. <!-- rule: equal -->
# - The result is a float64 tensor, one weight for each item, in the order of `labels`. `labels` stays as it
#   was. <!-- rule: result -->


# %% exercise="item_weights" minutes=15 difficulty=2
def item_weights(labels, alpha):
    """Probabilities (float64) of items, so that a class of n items is drawn in proportion to n ** alpha."""
    ### BEGIN SOLUTION
    _, place, counts = labels.unique(return_inverse=True, return_counts=True)
    counts = counts.double()
    shares = counts**alpha / (counts**alpha).sum()
    return (shares / counts)[place]
    ### END SOLUTION


# %% tests="item_weights" points=2
def weights_by_definition(labels, alpha):
    counts = collections.Counter(labels.tolist())
    whole = math.fsum(n**alpha for n in counts.values())
    return torch.tensor([counts[c] ** alpha / whole / counts[c] for c in labels.tolist()], dtype=torch.float64)


def absent_classes_count(labels, alpha):
    counts = labels.bincount().double()
    shares = counts**alpha / (counts**alpha).sum()
    return (shares / counts)[labels]


def class_shares(labels, alpha):
    counts = collections.Counter(labels.tolist())
    whole = math.fsum(n**alpha for n in counts.values())
    return torch.tensor([counts[c] ** alpha / whole for c in labels.tolist()], dtype=torch.float64)


def not_divided(labels, alpha):
    counts = collections.Counter(labels.tolist())
    return torch.tensor([counts[c] ** (alpha - 1) for c in labels.tolist()], dtype=torch.float64)


def always_balanced(labels, alpha):
    return weights_by_definition(labels, 0.0)


with check.exercise("item_weights"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    causes = {
        "a class that does not occur was counted: 0 ** 0 is 1": absent_classes_count,
        "this is the share of the whole class: divide it among its items": class_shares,
        "all weights together must make 1": not_divided,
        "this is right for alpha = 0 alone": always_balanced,
    }
    hint = "n ** alpha over the sum of it for all classes that occur, divided by the n items of the class; float64"
    for largest in (3, 40, 999):
        domain = {"labels": cases.tensor("items", dtypes=("int64",), high=largest), "alpha": cases.number(0.0, 1.0)}
        drawn = cases.draw(seeds, domain, count=6, items=(1, 700))
        check.agrees(item_weights, weights_by_definition, drawn, "`item_weights`", hint, causes=causes)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# How many items has the class of each item? A class gets its share, and its items divide it evenly.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `Tensor.unique(return_inverse=True, return_counts=True)`: the counts belong to the classes, the inverse says which of them each item
# has. Or `collections.Counter`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# _, place, counts = labels.unique(return_inverse=True, return_counts=True)
# counts = counts.double()
# shares = ...                      # one for each class that occurs; they sum to 1
# return (shares / counts)[place]
# ```
# </details>

# %% [markdown]
# `WeightedRandomSampler` draws with such weights. What it draws depends on its generator alone: give it one of its own, and the order of
# the items no longer hangs on who else drew random numbers.

# %%
figure, panel = plt.subplots(figsize=(11, 3.2), layout="constrained")
for k, alpha in enumerate((1.0, 0.5, 0.0)):
    generator = torch.Generator().manual_seed(24)
    sampler = WeightedRandomSampler(item_weights(torch.tensor(labels), alpha), len(labels), replacement=True, generator=generator)
    drawn = list(sampler)
    per_class = torch.tensor(labels)[drawn].bincount(minlength=len(sections))
    panel.bar(torch.arange(len(sections)) + 0.27 * (k - 1), per_class, width=0.25, label=f"alpha = {alpha}")
    print(f"alpha {alpha}: {len(set(drawn)) / len(labels):.0%} of the paragraphs came at least once, one of them {max(collections.Counter(drawn).values())} times")
panel.set_xticks(range(len(sections)), sections, rotation=15)
panel.set(ylabel="draws in one epoch", title="what a weighted sampler hands out")
panel.legend()
plt.show()

# %% [markdown]
# Two prices are visible. Drawing with replacement leaves out about a third of the items in each epoch, even with equal weights
# ($1/e = 37\,\%$ for many items). And the smaller alpha is, the oftener single items of small classes come: they are learned by heart
# sooner.
#
# **Lengths.** Padding is cheap where a batch holds texts of similar length. Sorting the whole set would do that best, but then every epoch goes from short
# to long. So one compromises: shuffle, cut the order into **pools** of some batches, sort inside a pool, cut it into batches, and shuffle the batches of all pools.
#
# ### Exercise 5 · Length buckets (`buckets`, 4 points, 40 minutes, difficulty 3 of 3)
#
# `bucket_batches(order, lengths, batch_size, pool)` does the part without chance. `order` is a list of indices into `lengths`, each at
# most once, perhaps not all, perhaps none. `lengths` is a list of up to 2,000 whole numbers from 0 to 10,000. `batch_size` and `pool` are from 1 to 1,000.
#
# - `order` is cut into pools of `pool * batch_size` indices; the last pool may be smaller. Each pool is sorted by length, the shortest
#   first, and cut into batches of `batch_size`. It returns the list of all batches, which are lists of indices, pool by
#   pool. <!-- rule: pools -->
# - Indices of equal length stay in the order in which `order` has them. <!-- rule: ties -->
# - No index is lost: a last, smaller batch is kept. <!-- rule: kept -->
#
# `padding_share(batches, lengths)` measures the waste. `batches` is a list of 1 or more lists of 1 or more indices, no index twice, perhaps not all. A batch becomes a
# table as wide as its longest item.
#
# - It returns a `float`: of all cells of all these tables the share that holds no word. <!-- rule: waste -->
# - Where there are no cells, because all items of the batches have length 0, it is 0.0. <!-- rule: no_cells -->
#
# `epoch_batches(lengths, batch_size, pool, seed, epoch)` is what a loader uses. `seed` is from 0 to 999, `epoch` from 0 to 99; there are 1 or more lengths.
#
# - It returns the batches of `bucket_batches` for a random order of all indices (each order is equally likely), and with the
#   same `batch_size` and `pool`. <!-- rule: epoch -->
# - Then all batches, across the pools, are put into a random order; again each is equally likely, whichever batch is the smaller
#   one. <!-- rule: shuffled -->
# - The same arguments give the same list. Another seed or another epoch draws both orders anew, so with 10 or more batches the list is
#   another one: for (3, 4) than for (4, 3) or (2, 5). <!-- rule: seeded -->
# - The global random numbers of `random`, NumPy and torch have no influence, and stand afterwards where they
#   stood. <!-- rule: global -->
#
# All arguments stay as they were. Each function earns a third of the points, and `epoch_batches` may use your `bucket_batches`.


# %% exercise="buckets" minutes=40 difficulty=3
def bucket_batches(order, lengths, batch_size, pool):
    """The indices of `order` in batches of similar length, sorted in pools of `pool` batches."""
    ### BEGIN SOLUTION
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches
    ### END SOLUTION


def padding_share(batches, lengths):
    """The share of padding among all cells of the padded batches."""
    ### BEGIN SOLUTION
    cells = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    words = sum(lengths[i] for batch in batches for i in batch)
    return 1 - words / cells if cells else 0.0
    ### END SOLUTION


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    """The batches of an epoch, in random order: a function of the arguments alone."""
    ### BEGIN SOLUTION
    chance = np.random.default_rng([seed, epoch])
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    return [batches[k] for k in chance.permutation(len(batches))]
    ### END SOLUTION


# %% tests="buckets" points=4
def buckets_by_definition(order, lengths, batch_size, pool):
    batches = []
    for first in range(0, len(order), pool * batch_size):
        part = order[first : first + pool * batch_size]
        part = [part[k] for k in sorted(range(len(part)), key=lambda k: (lengths[part[k]], k))]
        for k in range(0, len(part), batch_size):
            batches.append(part[k : k + batch_size])
    return batches


def sorted_as_a_whole(order, lengths, batch_size, pool):
    return buckets_by_definition(order, lengths, batch_size, len(order) + 1)


def pools_of_pool_items(order, lengths, batch_size, pool):
    parts = [order[k : k + pool] for k in range(0, len(order), pool)]
    return [batch for part in parts for batch in buckets_by_definition(part, lengths, batch_size, len(part))]


def ties_by_index(order, lengths, batch_size, pool):
    size = pool * batch_size
    return buckets_by_definition([i for k in range(0, len(order), size) for i in sorted(order[k : k + size])], lengths, batch_size, pool)


def longest_first(order, lengths, batch_size, pool):
    return buckets_by_definition(order, [-n for n in lengths], batch_size, pool)


def whole_batches_alone(order, lengths, batch_size, pool):
    return [batch for batch in buckets_by_definition(order, lengths, batch_size, pool) if len(batch) == batch_size]


def some_order(lengths, _share, _shuffle, **_):
    """Indices of some of the lengths, shuffled."""
    indices = list(range(len(lengths)))
    random.Random(_shuffle).shuffle(indices)
    return indices[: round(_share * len(indices))]


def check_bucket_batches():
    causes = {
        "the whole order was sorted at once: sort each pool by itself": sorted_as_a_whole,
        "a pool has pool * batch_size indices, not `pool`": pools_of_pool_items,
        "indices of equal length were put into the order of their numbers": ties_by_index,
        "the longest came first": longest_first,
        "smaller batches were dropped": whole_batches_alone,
    }
    what, hint = "`bucket_batches`", "pools of pool * batch_size, sorted by length (equal ones as in `order`), cut into batches, none dropped"
    for longest in (3, 10_000):
        item = cases.integer(0, longest)
        domain = {
            "_lengths": cases.lists(item, "many"),
            "_share": cases.choice(1.0, 0.7),
            "_shuffle": cases.integer(0, 999),
            "order": cases.derived(lambda _lengths, **others: some_order(_lengths, **others)),
            "lengths": cases.derived(lambda _lengths, **_: _lengths),
            "batch_size": cases.choice(4, 1, 3, 1000),
            "pool": cases.choice(3, 1, 2, 1000),
        }
        for count, many in ((16, (0, 150)), (2, (2000, 2000))):
            drawn = cases.draw(seeds, domain, count=count, many=many)
            check.agrees(bucket_batches, buckets_by_definition, drawn, what, hint, causes=causes)


def share_of_padding(batches, lengths):
    cells = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return sum(max(lengths[j] for j in batch) - lengths[i] for batch in batches for i in batch) / cells if cells else 0.0


def mean_of_shares(batches, lengths):
    shares = [share_of_padding([batch], lengths) for batch in batches]
    return sum(shares) / len(shares)


def share_in_one_table(batches, lengths):
    return share_of_padding([[i for batch in batches for i in batch]], lengths)


def share_of_words(batches, lengths):
    return 1 - share_of_padding(batches, lengths)


def padding_per_word(batches, lengths):
    share = share_of_padding(batches, lengths)
    return share / (1 - share) if share < 1 else 0.0


def check_padding_share():
    causes = {
        "this is the mean over batches: a large batch has more cells than a small one": mean_of_shares,
        "this is the waste of one table for all: each batch is as wide as its own longest item": share_in_one_table,
        "this is the share of words, not of padding": share_of_words,
        "this is padding in proportion to words: divide by all cells": padding_per_word,
    }
    for longest in (3, 10_000):
        domain = {
            "_lengths": cases.lists(cases.integer(0, longest), "many"),
            "_size": cases.choice(3, 1, 7, 1000),
            "_shuffle": cases.integer(0, 999),
            "batches": cases.derived(lambda _lengths, _size, _shuffle, **_: [batch[: 1 + (_shuffle + k) % _size] for k, batch in enumerate(buckets_by_definition(some_order(_lengths, 1.0, _shuffle), [0] * len(_lengths), _size, 1))]),
            "lengths": cases.derived(lambda _lengths, **_: _lengths),
        }
        drawn = cases.draw(seeds, domain, count=16, many=(1, 150))
        check.agrees(padding_share, share_of_padding, drawn, "`padding_share`", "cells without a word over all cells, over all batches together", causes=causes, atol=1e-9)


@check.scenario
def epochs_of(lengths, batch_size, pool, pairs):
    """The batches of some (seed, epoch), each with other global random numbers; whether these stand where they stood."""
    seen, still, kept = [], True, True
    for k, (seed, epoch) in enumerate(pairs):
        random.seed(k)
        np.random.seed(k)
        torch.manual_seed(k)
        before, given = check.random_state(), list(lengths)
        batches = epoch_batches(given, batch_size, pool, seed, epoch)
        still = still and not check_states(check.random_state(), before)
        kept = kept and given == list(lengths)
        seen.append([[int(i) for i in batch] for batch in batches])
    return seen, still, kept


@check.scenario
def met_again(lengths, batch_size, pool, pairs):
    """The first two (seed, epoch) of `pairs` with the same batches, or None."""
    seen = {}
    for seed, epoch in pairs:
        key = repr([[int(i) for i in batch] for batch in epoch_batches(list(lengths), batch_size, pool, seed, epoch)])
        if key in seen:
            return [seen[key], [seed, epoch]]
        seen[key] = [seed, epoch]
    return None


@check.shared
def check_states(now, before):
    """Whether two states of the global random numbers differ."""
    try:
        check.unchanged(now, before, "the global random numbers")
    except check.CheckFailed:
        return True
    return False


@check.scenario
def epochs_alone(lengths, batch_size, pool, pairs):
    """The batches of some (seed, epoch)."""
    return [[[int(i) for i in batch] for batch in epoch_batches(list(lengths), batch_size, pool, seed, epoch)] for seed, epoch in pairs]


def evenly(counts, expected, slack, what, hint):
    """Each of some things comes about as often as `expected`."""
    worst = max(counts, key=lambda name: abs(counts[name] - expected))
    check.true(abs(counts[worst] - expected) <= slack, f"{what} {worst} comes {counts[worst]} times, expected about {expected:.0f}: {hint}")


def check_orders(chance):
    """That both orders are drawn, each as likely as any other, and anew for each (seed, epoch)."""
    rows, columns = chance.sample(range(1000), 10), range(96)
    pairs = list(itertools.product(rows, columns))
    lengths = chance.sample(range(10_000), 11)
    epochs = epochs_alone(lengths, 3, 1000, pairs)
    orders = [tuple(sorted(range(len(batches)), key=lambda k: lengths[batches[k][0]])) for batches in epochs]
    what = "in 960 epochs of 11 items in one pool, cut into 4 batches, the order of batches"
    check.true(all(len(order) == 4 for order in orders), f"11 items with batch_size 3 give {len(epochs[0])} batches, expected 4: none is lost")
    counts = collections.Counter(orders)
    evenly({order: counts[order] for order in itertools.permutations(range(4))}, 40, 38, what, "shuffle the batches, all of them, anew for each (seed, epoch)")
    drawn_anew(orders, rows, columns, "the orders of 4 batches")
    lengths = chance.sample(range(10_000), 14)
    for pool in (1, 2):
        epochs = epochs_alone(lengths, 3, pool, pairs)
        smaller = [min(range(len(batches)), key=lambda k: len(batches[k])) for batches in epochs]
        counts = collections.Counter(smaller)
        what = f"in 960 epochs of 14 items with batch_size 3 and pool {pool} the smaller batch at place"
        evenly({place: counts[place] for place in range(5)}, 192, 75, what, "shuffle all batches, across the pools, anew for each (seed, epoch)")
        if pool > 1:
            continue
        met = collections.Counter(pair for batches in epochs for batch in batches for pair in itertools.combinations(sorted(batch), 2))
        what = "in 960 epochs of 14 items with batch_size 3 and pool 1 a batch with the two items"
        evenly({pair: met[pair] for pair in itertools.combinations(range(14), 2)}, 960 / 7, 66, what, "every order of the indices is equally likely; shuffle them anew for each (seed, epoch), then cut")
        drawn_anew([tuple(sorted(batches[k])) for batches, k in zip(epochs, smaller)], rows, columns, "the items of the smaller batch")


def drawn_anew(seen, rows, columns, what):
    """No eight epochs in a row of a seed have what eight others have."""
    met = {}
    for r, row in enumerate(rows):
        for k in range(len(columns) - 7):
            window = tuple(seen[r * len(columns) + k :][:8])
            seed, epoch = met.setdefault(window, (row, k))
            check.true((seed, epoch) == (row, k), f"{what} in the epochs {k} to {k + 7} with seed {row} are those in the epochs {epoch} to {epoch + 7} with seed {seed}: draw both orders anew, make the generator from both numbers")


def check_epoch_batches():
    for seed in seeds:
        chance = random.Random(seed)
        for many, batch_size, pool in ((1, 4, 2), (7, 10, 1), (23, 1, 3), (50, 4, 1000), (61, 3, 1), (200, 8, 5), (2000, 90, 3)):
            lengths = [chance.randrange(10_000) for _ in range(many)]
            s, e = chance.randrange(3, 50), chance.randrange(50, 99)
            pairs = [(s, e), (e, s), (s - 1, e + 1), (s, e + 1), (s + 1, e), (0, 0), (s, e)]
            seen, still, kept = epochs_of(lengths, batch_size, pool, pairs)
            what = f"`epoch_batches` of {many} lengths with batch_size {batch_size} and pool {pool}"
            check.true(still, f"after {what} the global random numbers have moved on: draw from a generator of your own")
            check.true(kept, f"{what} has changed `lengths`: all arguments stay as they were")
            for batches in seen:
                check.equal(sorted(i for batch in batches for i in batch), list(range(many)), f"all indices in {what}, sorted,", "each index exactly once, the smaller batch included")
                sizes = sorted(map(len, batches))
                check.equal(sizes, sorted([batch_size] * (many // batch_size) + [many % batch_size] * (many % batch_size > 0)), f"the sizes of the batches of {what}, sorted,")
                within = all(lengths[a] <= lengths[b] for batch in batches for a, b in zip(batch, batch[1:]))
                check.true(within, f"in {what} a batch is not sorted by length: these are no batches of `bucket_batches`")
                if pool * batch_size >= many:
                    runs = sorted(sorted(lengths[i] for i in batch) for batch in batches)
                    ordered = sorted(lengths)
                    expected = sorted(ordered[k : k + batch_size] for k in range(0, many, batch_size))
                    check.equal(runs, expected, f"the lengths in the batches of {what}", "here all indices lie in one pool, so they are sorted as a whole and then cut")
            check.equal(seen[-1], seen[0], f"{what}, called twice with seed {s} and epoch {e} (other global random numbers), the second result", "draw from a generator that is made from (seed, epoch)")
            if many > 20:
                starts = [[lengths[batch[0]] for batch in batches] for batches in seen]
                check.true(not any(start in (sorted(start), sorted(start)[::-1]) for start in starts), f"{what} comes sorted by length: shuffle the batches")
                together = [sorted_as_one(batches, lengths) for batches in seen]
                if batch_size > 1 and pool * batch_size < many:
                    check.true(not all(together), f"{what} is sorted as a whole: the pools have {pool * batch_size} indices each")
                for (one, other), batches in zip(pairs[1:6], seen[1:6]):
                    check.true(batches != seen[0], f"{what} is the same for (seed, epoch) = ({s}, {e}) and ({one}, {other}): shuffle the batches, and make the generator from both numbers, not from their sum or from one of them")
        many, lengths = 14, [chance.randrange(10_000) for _ in range(14)]
        pairs = [(24, epoch) for epoch in range(40)]
        met = {tuple(sorted(lengths[i] for i in batch)) for batches in epochs_of(lengths, 3, 1, pairs)[0] for batch in batches}
        check.true(len(met) > 40, "in 40 epochs of 14 items with batch_size 3 and pool 1 the same batches come again and again: shuffle the indices first, then cut")
        lasts = {batch[-1] for batches in epochs_of(lengths, 3, 1, pairs)[0] for batch in batches if len(batch) == 2}
        check.true(len(lasts) > 3, "in 40 epochs of 14 items with batch_size 3 and pool 1 the smaller batch holds the same items: shuffle the indices first, then cut")
        lengths = chance.sample(range(10_000), 240)
        for pool in (1, 3, 5):
            mine = mean_width(epochs_of(lengths, 8, pool, pairs)[0], lengths)
            theirs = mean_width([buckets_by_definition(chance.sample(range(240), 240), lengths, 8, pool) for _ in pairs], lengths)
            check.true(abs(mine / theirs - 1) < 0.12, f"in 40 epochs of 240 items with batch_size 8 and pool {pool} a batch holds lengths that lie {mine:.0f} apart (in the mean), expected about {theirs:.0f}: the batches are those of `bucket_batches` for a random order, with the same `pool`")
        check_orders(chance)
    pairs = [(k, 0) for k in range(1000)] + [(0, k) for k in range(1, 100)] + [(a, b) for a in range(1, 30) for b in range(1, 30)]
    pairs += [(999, k) for k in (99, 98, 9)] + [(k, 99) for k in (998, 99)]
    again = met_again([(37 * k) % 101 for k in range(40)], 4, 2, pairs)
    check.true(again is None, again and f"`epoch_batches` of 40 lengths is the same for (seed, epoch) = {tuple(again[0])} and {tuple(again[1])}: make the generator from both numbers, for example from a list of them")


def mean_width(epochs, lengths):
    """How far the lengths of a batch lie apart, in the mean over all batches of some epochs."""
    return np.mean([max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batches in epochs for batch in batches])


def sorted_as_one(batches, lengths):
    """Whether the batches, put in order, are those of all items sorted as a whole."""
    ordered = sorted(batches, key=lambda batch: lengths[batch[0]])
    flat = [lengths[i] for batch in ordered for i in batch]
    return flat == sorted(flat)


with check.exercise("buckets"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"bucket_batches": check_bucket_batches, "padding_share": check_padding_share, "epoch_batches": check_epoch_batches})
check.points(4)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Two loops: over pools, and inside a pool over batches. Does Python's `sorted` keep the order of equal ones? For the waste: what
# does a small batch weigh beside a large one? And where do two epochs get different random numbers from, if nothing global may play a part?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `sorted(indices, key=...)` is stable. `np.random.default_rng([seed, epoch])` mixes two numbers into one generator;
# `.permutation(n).tolist()`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# for start in range(0, len(order), pool * batch_size):
#     indices = sorted(order[start : start + pool * batch_size], key=lambda i: lengths[i])
#     batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
#
# cells = sum(len(batch) * max(...) for batch in batches)
#
# chance = np.random.default_rng([seed, epoch])
# batches = bucket_batches(chance.permutation(len(lengths)).tolist(), ...)
# return ...                       # the batches in an order that `chance` draws
# ```
# </details>

# %% [markdown]
# What does a larger pool buy? Pool 1 is no bucketing at all: the batches of a shuffled order.

# %%
pools = (1, 2, 4, 8, 16, 32, 64)
waste = [np.mean([padding_share(epoch_batches(lengths, 16, pool, 24, e), lengths) for e in range(5)]) for pool in pools]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
left.plot(pools, [100 * share for share in waste], "o-")
left.set(xscale="log", xlabel="pool (batches of 16)", ylabel="padding (% of all cells)", ylim=(0, None), title="waste", xticks=pools, xticklabels=pools)
for pool in (1, 16):
    widths = [max(lengths[i] for i in batch) for batch in epoch_batches(lengths, 16, pool, 24, 0)]
    right.plot(widths, "o-", ms=3, lw=0.8, label=f"pool {pool}")
right.set(xlabel="batch of the epoch", ylabel="width (words)", yscale="log", title="how wide the batches are")
right.legend()
plt.show()
print(f"padding: {waste[0]:.0%} without buckets, {waste[pools.index(16)]:.0%} with pools of 16 batches, {waste[-1]:.0%} where one pool holds all")

# %% [markdown]
# On this set each doubling of the pool saves about as much again. The price is chance: the larger the pool, the oftener the same paragraphs
# meet in a batch. Even one pool for all wastes something, because the batch with the longest paragraph holds fifteen much shorter ones. And the
# width jumps from batch to batch, as it should: the shuffling of batches keeps an epoch from going from short to long.

# %% [markdown]
# ## Part E · Killed in the middle
#
# Long runs are killed: by a time limit, a full disk, a cheaper machine that is taken away. Lesson 04 went on at the start of an epoch. If
# an epoch takes a day, that is not enough. To go on at the next **batch**, three things must be known: which epoch, how many batches
# of it are done, and the order of that epoch. If the order is a function of (seed, epoch), as yours is, two numbers are all.
#
# One trap remains. A loader with workers **reads ahead**: to keep its workers busy it has asked the sampler for `prefetch_factor`
# batches for each worker before the training loop has seen the first. So a sampler that counts what it gave out counts too much:

# %%
asked = []


class Counting:
    """A batch sampler that notes what it is asked for."""

    def __iter__(self):
        for batch in epoch_batches(lengths, 16, 8, seed=24, epoch=0):
            asked.append(batch)
            yield batch


for workers in (0, 2):
    asked.clear()
    for batch in load_with(dataset, workers, batch_sampler=Counting(), collate_fn=pad_collate):
        break
    print(f"{workers} workers: the loop has seen 1 batch, the sampler gave out {len(asked)}")

# %% [markdown]
# A run that goes on from the sampler's count skips batches that no step has seen. The count must be kept where batches are **handed
# out**. The package torchdata has a `StatefulDataLoader` for this, which also asks each worker for its state: needed for streams, whose place
# nobody outside can know. For a map-style dataset the class below does the same with two numbers.
#
# ### Exercise 6 · The identical next batch (`resume`, 4 points, 40 minutes, difficulty 3 of 3)
#
# Write the class `Resumable`. `Resumable(batches_of, load)` gets two functions. `batches_of(epoch)` returns the list of the 1 to 50 batches of an
# epoch, the same list object each time; it stays as it was. `load(batches)` takes a list of batches and returns an
# iterable of the loaded ones, in the same order; it may read ahead.
#
# - Each `for` loop goes over one epoch: the first loop over epoch 0, the next one over epoch 1, and so on. It hands out the loaded batches, each
#   before the next one is taken from what `load` returned. <!-- rule: epochs -->
# - `state_dict()` returns `{"epoch": e, "done": d}` with two `int`: the epoch, and how many of its batches were handed out. The batch that
#   the body of the loop has just now counts; what `load` has read ahead does not. So in the body of the last of 3 batches they are 0 and 3, and
#   stay so after a `break` there. Before the first loop both are 0; once a loop over epoch e has come to its end they are e + 1 and 0. <!-- rule: state -->
# - `load_state_dict(state)`, between two loops, makes the next loop give the rest of that epoch: the batches from number d on. Until then
#   `state_dict()` returns these two numbers. Where no batch is left the loop gives none, and comes to its end. <!-- rule: resume -->
# - Each loop calls `load` once, with a list of just those batches that are left (where none is left, with an empty list or not at
#   all). <!-- rule: rest -->
# - After a loop that was left early (`break`) the next loop gives the rest of the epoch. <!-- rule: left -->
# - A state is a photograph: what was returned stays as it is, and a dict that was loaded is not changed. <!-- rule: photograph -->
#
# One loop at a time runs over an object.


# %% exercise="resume" minutes=40 difficulty=3
class Resumable:
    """Batches, epoch after epoch, that can go on in the middle of one."""

    def __init__(self, batches_of, load):
        ### BEGIN SOLUTION
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0
        ### END SOLUTION

    def __iter__(self):
        ### BEGIN SOLUTION
        for batch in self.load(self.batches_of(self.epoch)[self.done :]):
            self.done += 1
            yield batch
        self.epoch, self.done = self.epoch + 1, 0
        ### END SOLUTION

    def state_dict(self):
        ### BEGIN SOLUTION
        return {"epoch": self.epoch, "done": self.done}
        ### END SOLUTION

    def load_state_dict(self, state):
        ### BEGIN SOLUTION
        self.epoch, self.done = state["epoch"], state["done"]
        ### END SOLUTION


# %% tests="resume" points=4
@check.shared
def plan_of(sizes):
    """A `batches_of`: epochs with sizes[0], sizes[1], ... batches, again and again; no two batches are equal."""
    plans = {}
    return lambda epoch: plans.setdefault(epoch, [[epoch, k] for k in range(sizes[epoch % len(sizes)])])


@check.scenario
def played(sizes, ahead, script):
    """What happens, in order, where a script is played; `load` reads `ahead` batches ahead.

    A step of the script: ("loop", n) leaves a loop after n batches (None: it goes to its end); ("load", k) makes a new object
    and loads the k-th state that was noted, ("back", k) loads it into the object that is there.
    """
    log, states, copies, loaded, plan = [], [], [], [], plan_of(sizes)

    class Loaded:
        """What `load` returns: an iterable, no iterator."""

        def __init__(self, batches):
            self.batches = batches

        def __iter__(self):
            waiting = collections.deque()
            for batch in self.batches:
                log.append(f"load took {batch}")
                waiting.append(f"loaded {batch}")
                if len(waiting) > ahead:
                    yield waiting.popleft()
            yield from waiting

    def load(batches):
        if not isinstance(batches, list):
            log.append(f"load got a {type(batches).__name__}, not a list")
        elif batches:
            log.append(f"load was called with {len(batches)} batches")
        return Loaded(batches)

    def note():
        states.append(resumable.state_dict())
        copies.append(dict(states[-1]))
        log.append(dict(states[-1]))

    resumable = Resumable(plan, load)
    note()
    for what, number in script:
        if what in ("load", "back"):
            if what == "load":
                resumable = Resumable(plan, load)
            state = dict(reversed(states[number % len(states)].items()))  # as JSON might hold it
            loaded.append((state, dict(state)))
            resumable.load_state_dict(state)
        elif number != 0:
            taken = 0
            for batch in resumable:
                log.append(batch)
                note()
                taken += 1
                if taken == number or taken > 60:
                    break
        note()
    plans = [plan(epoch) == plan_of(sizes)(epoch) for epoch in range(20)]
    return {"log": log, "same states": states == copies, "same loaded states": all(one == other for one, other in loaded), "same plan": all(plans)}


def played_by_definition(sizes, ahead, script):
    log, states, epoch, done = [], [], 0, 0

    def note():
        states.append({"epoch": epoch, "done": done})
        log.append({"epoch": epoch, "done": done})

    note()
    for what, number in script:
        if what in ("load", "back"):
            epoch, done = states[number % len(states)].values()
        elif number != 0:
            rest = plan_of(sizes)(epoch)[done:]
            taken = 0
            if rest:
                log.append(f"load was called with {len(rest)} batches")
            for k, batch in enumerate(rest):
                for read in rest[0 if k == 0 else k + ahead : k + ahead + 1]:
                    log.append(f"load took {read}")
                done += 1
                log.append(f"loaded {batch}")
                note()
                taken += 1
                if taken == number:
                    break
            else:
                epoch, done = epoch + 1, 0
        note()
    return {"log": log}


def scripts(seed):
    """Sizes of epochs, how far `load` reads ahead, and a script: from small to large."""
    for ahead in (0, 2):
        yield [3], ahead, [("loop", None), ("loop", None)]
        yield [1, 4], ahead, [("loop", None), ("loop", 2), ("loop", None), ("loop", 1)]
        yield [4], ahead, [("loop", 2), ("load", -1), ("loop", None)]
        yield [2], ahead, [("loop", 2), ("load", -1), ("loop", None), ("loop", None)]
        yield [5, 2], ahead, [("loop", None), ("load", 3), ("loop", 1), ("loop", None), ("load", 1), ("loop", None)]
        yield [3, 4], ahead, [("loop", None), ("loop", 2), ("back", 2), ("loop", None), ("loop", 1)]
        yield [4], ahead, [("loop", 1), ("loop", 1), ("loop", 1), ("load", 0), ("loop", 2)]
        yield [50], ahead, [("loop", 40), ("load", -1), ("loop", None), ("loop", 2)]
    chance = random.Random(seed)
    for _ in range(12):
        sizes = [chance.randint(1, 9) for _ in range(chance.randint(1, 3))]
        steps = [(chance.choice(["load", "back"]), chance.randrange(200)) if chance.random() < 0.4 else ("loop", chance.choice([None, 0, 1, 2, 3, 5])) for _ in range(7)]
        yield sizes, chance.choice([0, 1, 3, 20]), steps


@check.scenario
def resumables_side_by_side(arguments):
    made = [Resumable(plan_of(sizes), lambda batches, word=word: (f"{word} {batch}" for batch in batches)) for sizes, word in arguments]
    running = [iter(one) for one in made]
    seen = [[next(one) for one in running] for _ in range(2)]
    return [[*turn, *rest, one.state_dict()] for turn, rest, one in zip(zip(*seen), map(list, running), made)]


with check.exercise("resume"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.apart(resumables_side_by_side, [[[3], "one"], [[4], "two"]], "batches and state of a Resumable made from (sizes of epochs, what `load` says) =")
    for seed in seeds:
        for sizes, ahead, script in scripts(seed):
            what = f"epochs of {sizes} batches, `load` reads {ahead} ahead, script {script}: "
            got, expected = played(sizes, ahead, script), played_by_definition(sizes, ahead, script)
            check.true(got["same states"], f"{what}a state changed after `state_dict` had returned it: make a new dict each time, and keep numbers alone")
            check.true(got["same loaded states"], f"{what}a dict that was loaded has changed: make a new dict each time, and keep numbers alone")
            check.true(got["same plan"], f"{what}a list that `batches_of` returned has changed: it must stay as it was (a slice makes a new list)")
            for k, (mine, theirs) in enumerate(zip(got["log"], expected["log"])):
                if mine == theirs:
                    continue
                before = f"after {expected['log'][k - 1]} " if k else "at the start "
                if isinstance(theirs, dict) and not isinstance(mine, dict):
                    hint = "here the loop is over: no batch of its epoch is left, so it gives none and leaves epoch + 1 and 0"
                elif isinstance(theirs, dict):
                    hint = "count where a batch is handed out, before the `yield`; a loop that comes to its end leaves epoch + 1 and 0"
                elif "not a list" in str(mine):
                    hint = "`load` takes a list"
                elif str(theirs).startswith("loaded"):
                    hint = "hand out each batch before you ask for the next one"
                else:
                    hint = "the next loop begins with batch number `done` of its epoch, and calls `load` once, with a list of the rest alone"
                check.true(False, f"{what}{before}comes {mine}, expected {theirs} ({hint})")
            check.equal(len(got["log"]), len(expected["log"]), f"{what}the number of events", "does a loop end too early, or too late?")


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# The body of the loop runs while a generator stands at its `yield`. So what must have happened before the `yield`? What happens to the
# lines behind the loop when somebody leaves with `break`?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `__iter__` may be a generator function: it contains `yield`, and each `for` starts it anew. A slice `[self.done :]` gives the rest.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# def __iter__(self):
#     rest = self.batches_of(self.epoch)[self.done :]
#     for batch in self.load(rest):
#         ...                     # count
#         yield batch
#     ...                         # the epoch is over
# ```
# </details>

# %% [markdown]
# Now a run that is killed. A small classifier reads the paragraphs: an embedding, one layer of attention, your `masked_mean`, a linear layer. The
# second run dies after 70 of 116 steps; the third is new in everything and goes on from what was saved.


# %%
class Reader(nn.Module):
    """Section scores of paragraphs."""

    def __init__(self, words, width=32):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, len(sections))

    def forward(self, batch):
        x = self.embedding(batch["ids"])
        positions = torch.arange(x.shape[1])[None, :, None] / 100
        x = self.layer(x + torch.sin(positions * torch.arange(1, 33)), src_key_padding_mask=~batch["mask"])
        return self.head(masked_mean(x, batch["mask"]))


def new_run(pool=16):
    """Model, optimizer and loader, as at the start."""
    torch.manual_seed(24)
    model = Reader(2 + len(vocabulary))
    loader = Resumable(
        lambda epoch: epoch_batches(lengths, 16, pool, 24, epoch),
        lambda batches: load_with(dataset, 2, batch_sampler=batches, collate_fn=pad_collate),
    )
    return model, torch.optim.AdamW(model.parameters(), lr=2e-3), loader


def train(model, optimizer, loader, epochs, die_after=None):
    """Losses, and after each step what must be saved to go on from there."""
    losses, saved = [], None
    while loader.state_dict()["epoch"] < epochs:
        for batch in loader:
            loss = F.cross_entropy(model(batch), batch["labels"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == die_after:
                saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loader": loader.state_dict()}
                return losses, saved
    return losses, saved


whole, _ = train(*new_run(), epochs=2)
before, saved = train(*new_run(), epochs=2, die_after=70)
model, optimizer, loader = new_run()
for part, state in zip((model, optimizer, loader), saved.values()):
    part.load_state_dict(state)
after, _ = train(model, optimizer, loader, epochs=2)

figure, panel = plt.subplots(figsize=(11, 3.2), layout="constrained")
panel.plot(range(len(whole)), whole, lw=4, alpha=0.3, label="never interrupted")
panel.plot(range(70), before, lw=1, label="until it died")
panel.plot(range(70, 70 + len(after)), after, lw=1, label="went on")
panel.set(xlabel="step", ylabel="loss (nats)", title=f"died and went on at {saved['loader']}")
panel.legend()
plt.show()
print("all losses are identical to the last bit:", before + after == whole)

# %% [markdown]
# If "identical" is True on your machine, nothing was skipped and nothing seen twice: equal losses need equal weights and
# equal batches at every step.

# %% [markdown]
# ## Part F · Chance in workers
#
# Augmentation changes an item at random each time it is fetched, so that the model never sees quite the same picture twice. It runs in
# the workers, and there chance has a trap. Here is a dataset as one would write it, with a generator of its own. For each item it
# returns the shift that it would apply:


# %%
class Repeating(Dataset):
    """Twelve shifts, drawn from a generator that was made with the dataset."""

    def __init__(self):
        self.chance = np.random.default_rng(24)

    def __len__(self):
        return 12

    def __getitem__(self, i):
        return tuple(self.chance.integers(-2, 3, 2).tolist())


for workers in (0, 2):
    loader = load_with(Repeating(), workers, batch_size=3, collate_fn=list)
    for epoch in range(2):
        print(f"{workers} workers, epoch {epoch}:", "  ".join(" ".join(f"{dy:+d}{dx:+d}" for dy, dx in batch) for batch in loader))

# %% [markdown]
# With two workers the second batch has the shifts of the first one, and the fourth those of the third: each worker has a copy of the same generator. And the second epoch
# repeats the first, because workers are started anew for each epoch from the same object. Without workers neither shows.
#
# The same happened with NumPy's global generator until PyTorch 1.9 (2021). Pärnamaa looked that year at public projects that draw with
# NumPy in loaders with workers: over 95 % of those that he could analyse had the bug. Since 1.9 a worker seeds `random`, NumPy and torch by itself, from
# a base seed and its number. The base seed comes from the loader's `generator`. So there are three cures:
#
# | cure | same numbers in each run | same with another number of workers | same after a resume |
# |---|---|---|---|
# | draw from the **global** generators, and give the loader `generator=torch.Generator().manual_seed(24)` | yes | no | no |
# | a `worker_init_fn` that gives the copy of each worker a generator of its own, made from `get_worker_info().seed` | yes, with `generator=` | no | no |
# | make the generator from **(seed, epoch, index)** for each item | yes | yes | yes |


# %%
def own_generator(number):
    """A `worker_init_fn`: runs once in each worker, before its first item."""
    info = get_worker_info()
    info.dataset.chance = np.random.default_rng(info.seed)


generator = torch.Generator().manual_seed(24)
loader = load_with(Repeating(), 2, batch_size=3, collate_fn=list, worker_init_fn=own_generator, generator=generator)
for epoch in range(2):
    print(f"worker_init_fn, epoch {epoch}:", "  ".join(" ".join(f"{dy:+d}{dx:+d}" for dy, dx in batch) for batch in loader))

# %% [markdown]
# ### Exercise 7 · Shifts that never repeat (`shifted`, 3 points, 35 minutes, difficulty 2 of 3)
#
# `shift(image, dy, dx)` moves a picture. `image` is a tensor of finite numbers, float32, float64 or uint8, of shape [channels, height, width], each from
# 1 to 28, with any strides. `dy` and `dx` are whole numbers from -9 to 9.
#
# - The result has the shape and dtype of `image`. Its entry [c, y, x] is `image[c, y - dy, x - dx]`, and 0 where that lies outside the
#   picture. What leaves at one side does not come back at the other. <!-- rule: moved -->
# - A picture that is moved by its whole height or width, or further, is all 0. <!-- rule: far -->
#
# `Shifted(images, labels, seed, reach)` is a map-style dataset. `images` is a float32 tensor of 1 to 300 pictures, [n, channels, height, width], height
# and width from 9 to 28; `labels` is a list of n numbers (`int`), `seed` from 0 to 999, `reach` from 0 to 4. `set_epoch(epoch)` tells the epoch, from 0
# to 99; before the first call it is 0.
#
# - `len(dataset)` is n, and `dataset[i]` is the pair of `images[i]`, moved by some (dy, dx), and `labels[i]`. Nobody asks for an i beyond
#   n - 1. <!-- rule: pair -->
# - dy and dx are drawn independently of each other, each of -reach, ..., reach with the same probability. <!-- rule: uniform -->
# - For given `images`, `labels` and `reach` they depend on (seed, epoch, i) alone: not on what was asked before, on global random numbers,
#   or on the worker that asks. <!-- rule: pure -->
# - Other items, other epochs and other seeds are drawn independently of these, dy and dx alike. Then with reach 4 it is as good as
#   impossible that 8 items in a row have the shifts of 8 others, or 12 items in a row as dy or dx what 12 have as dy or
#   dx. <!-- rule: fresh -->
# - The global random numbers of `random`, NumPy and torch stand afterwards where they stood. <!-- rule: global -->
#
# `image` and `images` stay as they were. `shift` and `Shifted` earn half of the points each; `Shifted` may use your `shift`.


# %% exercise="shifted" minutes=35 difficulty=2
def shift(image, dy, dx):
    """`image` [channels, height, width] moved by dy rows and dx columns; what comes in is 0."""
    ### BEGIN SOLUTION
    height, width = image.shape[1:]
    framed = F.pad(image, [9] * 4)
    return framed[:, 9 - dy : 9 - dy + height, 9 - dx : 9 - dx + width]
    ### END SOLUTION


class Shifted(Dataset):
    """Pictures, each moved at random: a function of (seed, epoch, index)."""

    def __init__(self, images, labels, seed, reach):
        ### BEGIN SOLUTION
        self.images, self.labels, self.seed, self.reach = images, labels, seed, reach
        self.epoch = 0
        ### END SOLUTION

    def set_epoch(self, epoch):
        ### BEGIN SOLUTION
        self.epoch = epoch
        ### END SOLUTION

    def __len__(self):
        ### BEGIN SOLUTION
        return len(self.images)
        ### END SOLUTION

    def __getitem__(self, i):
        ### BEGIN SOLUTION
        chance = np.random.default_rng([self.seed, self.epoch, i])
        dy, dx = chance.integers(-self.reach, self.reach + 1, 2)
        return shift(self.images[i], dy, dx), self.labels[i]
        ### END SOLUTION


# %% tests="shifted" points=3
def shift_by_definition(image, dy, dx):
    """Each entry fetched from its place, then 0 where that lies outside."""
    _, height, width = image.shape
    y, x = torch.arange(height) - dy, torch.arange(width) - dx
    fetched = image[:, y.clamp(0, height - 1)][:, :, x.clamp(0, width - 1)]
    outside = ((y < 0) | (y >= height))[:, None] | ((x < 0) | (x >= width))
    return fetched.masked_fill(outside, 0)


def rolled(image, dy, dx):
    return image.roll((dy, dx), (1, 2))


def the_other_way(image, dy, dx):
    return shift_by_definition(image, -dy, -dx)


def axes_changed(image, dy, dx):
    return shift_by_definition(image, dx, dy)


def check_shift():
    causes = {
        "what leaves at one side came back at the other, as `roll` does it": rolled,
        "it moved the other way": the_other_way,
        "dy moves rows (the axis before the last), dx columns": axes_changed,
    }
    hint = "entry [c, y, x] is image[c, y - dy, x - dx], and 0 where that lies outside"
    for dtypes, limits in ((("float32", "float64"), {"without": ("zero",)}), (("uint8",), {"high": 255})):
        domain = {
            "image": cases.tensor("channels", "height", "width", dtypes=dtypes, **limits),
            "dy": cases.integer(-9, 9),
            "dx": cases.integer(-9, 9),
        }
        drawn = cases.draw(seeds, domain, count=16, channels=(1, 28), height=(1, 28), width=(1, 28))
        check.agrees(shift, shift_by_definition, drawn, "`shift`", hint, causes=causes)
    full = torch.arange(1.0, 43).reshape(1, 6, 7)
    near = [(full, dy, dx) for dy in (-9, -6, -5, 0, 2, 6, 7) for dx in (-8, -7, 0, 3, 6)]
    check.agrees(shift, shift_by_definition, near, "`shift`", hint, causes=causes)


@check.shared
def numbered_pictures(count, height=9, width=10):
    """Pictures [count, 2, height, width] without zeros, and labels."""
    size = 2 * height * width
    pictures = torch.arange(1, size + 1).reshape(1, 2, height, width) + torch.arange(count).reshape(-1, 1, 1, 1) * 0.25
    return pictures, [(3 * i + 1) % 10 for i in range(count)]


@check.scenario
def shifted_epochs(count, reach, plan, order, worker=(0, 0)):
    """For each (seed, epoch) of `plan` the items, asked for in this order by this worker; length; what changed."""
    seen, lengths, still = [], [], True
    images, labels = numbered_pictures(count)
    for k, (seed, epoch) in enumerate(plan):
        dataset = Shifted(images, labels, seed, reach)
        if epoch is not None:
            dataset.set_epoch(epoch + 3)
            dataset.set_epoch(epoch)
        random.seed(k)
        np.random.seed(k)
        torch.manual_seed(k)
        before = check.random_state()
        items = [None] * count
        with pretend_worker(*worker, dataset, seed=5):
            for i in order:
                items[i] = dataset[i]
        still = still and not moved_on(check.random_state(), before)
        given = [item for item in items if item is not None]
        seen.append([torch.stack([picture for picture, _ in given]), [label for _, label in given]])
        lengths.append(len(dataset))
    return {"items": seen, "lengths": lengths, "still": still, "same images": torch.equal(images, numbered_pictures(count)[0])}


@check.scenario
def read_shifts(count, pairs):
    """For each (seed, epoch) the shifts of all items, each as the number that a moved picture has in the middle (reach 4)."""
    images = torch.arange(1.0, 82).reshape(1, 1, 9, 9).repeat(count, 1, 1, 1)
    made, seen = {}, []
    for seed, epoch in pairs:
        dataset = made.setdefault(seed, Shifted(images, list(range(count)), seed, 4))
        dataset.set_epoch(epoch)
        seen.append([int(dataset[i][0][0, 4, 4]) for i in range(count)])
    return seen


@check.shared
def moved_on(now, before):
    """Whether two states of the global random numbers differ."""
    try:
        check.unchanged(now, before, "the global random numbers")
    except check.CheckFailed:
        return True
    return False


@check.scenario
def shifted_side_by_side(arguments):
    made = [Shifted(numbered_pictures(count)[0], list(range(first, first + count)), seed, reach) for count, first, seed, reach, _ in arguments]
    for dataset, (*_, epoch) in zip(made, arguments):
        dataset.set_epoch(epoch)
    return [[len(dataset), [list(dataset[i]) for i in range(4)]] for dataset in made]


def shifts_in(pictures, originals, reach, what):
    """The (dy, dx) by which each picture was moved."""
    by = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    possible = torch.stack([shift_by_definition(originals.flatten(0, 1), dy, dx).reshape(originals.shape) for dy, dx in by], 1)
    equal = (possible == pictures[:, None]).flatten(2).all(2)
    for i in (equal.sum(1) != 1).nonzero().flatten().tolist()[:1]:
        check.true(False, f"item {i} of {what} is not its picture moved by some (dy, dx) from -{reach} to {reach} (is it another picture, or moved too far?)")
    return [by[k] for k in equal.int().argmax(1).tolist()]


def check_shifted():
    check.apart(shifted_side_by_side, [[5, 0, 3, 2, 1], [6, 20, 7, 4, 0]], "length and items of a Shifted made from (pictures, first label, seed, reach, epoch) =")
    for number in seeds:
        chance = random.Random(number)
        s, e = chance.randrange(3, 50), chance.randrange(50, 96)
        plan = [(s, e), (s, e + 1), (s, e - 1), (s + 1, e), (e, s), (s - 1, e + 1), (s, 0), (s, None)]
        for count, reach in ((1, 0), (90, 1), (90, 4)):
            what = f"Shifted with {count} pictures and reach {reach}"
            images, labels = numbered_pictures(count)
            got = shifted_epochs(count, reach, plan, list(range(count)))
            check.equal(got["lengths"], [count] * len(plan), f"the lengths of {what}")
            check.true(got["same images"], f"`images` of {what} changed: move into a new tensor")
            check.true(got["still"], f"{what} has moved the global random numbers: draw from a generator of your own")
            lists = []
            for (seed, epoch), (pictures, given) in zip(plan, got["items"]):
                check.equal(given, labels, f"the labels of {what}")
                check.shape(pictures, images.shape, f"all pictures of {what}")
                lists.append(shifts_in(pictures, images, reach, f"{what}, seed {seed}, epoch {epoch}"))
            check.true(lists[6] == lists[7], f"{what} gives in epoch 0 something else than before the first `set_epoch`")
            backwards = [i for i in range(count)][::-1]
            again = shifted_epochs(count, reach, [plan[1], plan[0]], backwards)["items"][1][0]
            check.true(torch.equal(again, got["items"][0][0]), f"{what} gives other shifts when items are asked for in another order, or with other global random numbers: they depend on (seed, epoch, i) alone")
            some = shifted_epochs(count, reach, [plan[0]], backwards[:1] * 2)["items"][0][0]
            check.true(torch.equal(some[0], got["items"][0][0][count - 1]), f"{what} gives another shift where an item is asked for twice in an epoch")
            there = shifted_epochs(count, reach, [plan[0]], list(range(count)), (1, 2))["items"][0][0]
            check.true(torch.equal(there, got["items"][0][0]), f"{what} gives other shifts in worker 1 of 2 than in the main process: the worker and its seed must play no part")
            if reach == 0:
                continue
            wide = len(lists[0])
            for (one, other), shifts in zip(plan[1:6], lists[1:6]):
                for k in range(wide - 30):
                    meet = lists[0][k:] == shifts[: wide - k] or shifts[k:] == lists[0][: wide - k]
                    check.true(not meet, f"{what}: the shifts with (seed, epoch) = ({one}, {other}) are those with ({s}, {e})" + (f", moved by {k} items" if k else "") + ": make the generator from all three numbers, not from their sum")
            dys, dxs = zip(*[pair for shifts in lists[:7] for pair in shifts])
            counts = collections.Counter(zip(dys, dxs))
            cells, many = (2 * reach + 1) ** 2, len(dys)
            slack = 6 * math.sqrt(many / cells) + 3
            for pair in itertools.product(range(-reach, reach + 1), repeat=2):
                check.true(abs(counts[pair] - many / cells) <= slack, f"{what}: of {many} shifts {counts[pair]} are {pair}, expected about {many / cells:.0f}: dy and dx are drawn independently, both ends among them")
            for one, other in itertools.product((0, 1), repeat=2):
                next_to = collections.Counter((shifts[i][one], shifts[i + 1][other]) for shifts in lists[:7] for i in range(count - 1))
                names = f"({('dy', 'dx')[one]} of an item, {('dy', 'dx')[other]} of the next one)"
                for pair in itertools.product(range(-reach, reach + 1), repeat=2):
                    check.true(abs(next_to[pair] - many / cells) <= slack + 1, f"{what}: of {7 * (count - 1)} pairs {names} {next_to[pair]} are {pair}, expected about {many / cells:.0f}: items are drawn independently of each other")
    met, single = {}, {}
    whole = [(0, 0), (0, 1), (1, 0), (s, e)]
    begun = [(k, 0) for k in range(2, 1000)] + [(0, k) for k in range(2, 100)] + [(1, 1), (1, 11), (11, 1), (1, 23), (12, 3), (999, 99)]
    for count, pairs in ((300, whole), (12, begun)):
        for (seed, epoch), shifts in zip(pairs, read_shifts(count, pairs)):
            for k in range(count - 7):
                other = met.setdefault(tuple(shifts[k : k + 8]), (seed, epoch, k))
                same = f"the shifts of items {k} to {k + 7} with (seed, epoch) = ({seed}, {epoch}) are those of items {other[2]} to {other[2] + 7} with ({other[0]}, {other[1]})"
                check.true(other == (seed, epoch, k), f"in a Shifted with reach 4 {same}: make the generator from all three numbers, for example from a list of them")
            numbers = {"dy": [4 - (n - 1) // 9 for n in shifts], "dx": [4 - (n - 1) % 9 for n in shifts]}
            for (name, values), k in itertools.product(numbers.items(), range(count - 11)):
                other = single.setdefault(tuple(values[k : k + 12]), (seed, epoch, k, name))
                same = f"{name} of items {k} to {k + 11} with (seed, epoch) = ({seed}, {epoch}) is {other[3]} of items {other[2]} to {other[2] + 11} with ({other[0]}, {other[1]})"
                check.true(other == (seed, epoch, k, name), f"in a Shifted with reach 4 {same}: dy and dx of all items, epochs and seeds are drawn independently of each other")


with check.exercise("shifted"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"shift": check_shift, "Shifted": check_shifted})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# For `shift`: put a frame of zeros around the picture. Which part of that is the result? For `Shifted`: what would make the numbers depend on what was asked
# before? Is `seed + epoch + i` a good seed for two epochs that follow each other?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `F.pad(image, (9, 9, 9, 9))` makes the frame; slices cut out the result. `np.random.default_rng([seed, epoch, i])`;
# `.integers(low, high)` leaves `high` out.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# framed = F.pad(image, (9, 9, 9, 9))          # the picture begins at row 9 and column 9
# return framed[:, 9 - dy : 9 - dy + height, ...]
#
# chance = np.random.default_rng([...])
# dy, dx = chance.integers(-self.reach, self.reach + 1, 2)
# ```
# </details>

# %%
pictures, digits, _ = digit_tensors("train", 64, seed=24)
shifted = Shifted(pictures, digits.tolist(), seed=24, reach=4)
figure, panels = plt.subplots(3, 8, figsize=(10, 4), layout="constrained")
for epoch, row in enumerate(panels):
    shifted.set_epoch(epoch)
    for i, panel in enumerate(row):
        panel.imshow(shifted[i][0][0], cmap="gray", vmin=0, vmax=1)
        panel.set(xticks=[], yticks=[], title=f"item {i}" if epoch == 0 else "", ylabel=f"epoch {epoch}" if i == 0 else "")
plt.show()
with_workers = [torch.cat([x for x, _ in load_with(shifted, workers, batch_size=7)]) for workers in (0, 2)]
print("the same pictures with 0 and with 2 workers:", torch.equal(*with_workers))

# %% [markdown]
# One thing to know about `set_epoch`: workers get a copy of the dataset when the loop begins. With `persistent_workers=True` they live on with the
# copy of the first epoch, and `set_epoch` in the main process no longer reaches them. Then the epoch has to travel with the index, or lie in shared memory.
#
# ## Part G · Find the bug
#
# ### Exercise 8 · Write the tests (`check_load`, 3 points, 30 minutes, difficulty 3 of 3)
#
# A colleague has written `load(n, epoch, workers)`. It loads n items (1 or more) with so many workers (0 or more), and returns a list of tuples
# `(index, number)`: the index of an item, and the random number that it was augmented with (always a `float` from 0 to less than 1). It promises:
#
# - Each index from 0 to n - 1 comes exactly once, with any number of workers. The order may be another one in each
#   call. <!-- rule: once -->
# - The number of an item depends on the epoch and its index alone: it is the same in a second call, and with another number of
#   workers. <!-- rule: same -->
# - Numbers do not come again: they differ from item to item and from epoch to epoch. <!-- rule: differ -->
#
# Write `check_load(load)`. It gets such a function and tries it out.
#
# - It raises an error (use `assert`) if a promise is broken. What it returns is ignored. All bugs can be found with n = 23, the epochs 0 and 1, and 0 to 3
#   workers: in a first call, or in a second one with the same arguments. <!-- rule: raises -->
# - It raises nothing if all promises are kept. <!-- rule: no_false_alarm -->
#
# You are graded by the bugs you catch, among them some that are not shown; a false alarm earns nothing.


# %% exercise="check_load" minutes=30 difficulty=3
def check_load(load):
    """Raise for an implementation of load(n, epoch, workers) that breaks its promises; else return."""
    ### BEGIN SOLUTION
    epochs = []
    for epoch in (0, 1):
        expected = None
        for workers in (0, 0, 1, 1, 2, 2, 3, 3):
            pairs = load(23, epoch, workers)
            assert sorted(index for index, _ in pairs) == list(range(23)), "not each index exactly once"
            numbers = {index: number for index, number in pairs}
            expected = expected or numbers
            assert numbers == expected, "a number depends on more than epoch and index"
        epochs += expected.values()
    assert len(set(epochs)) == 46, "a number comes twice"
    ### END SOLUTION


# %% tests="check_load" points=3
def chance_of(*key):
    """A number from 0 to less than 1 for some whole numbers."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=6).digest(), "big") / 2**48


def shares_of(n, workers, cut=lambda items, number, shares: items[number::shares]):
    """The indices of each worker."""
    return [cut(list(range(n)), number, max(workers, 1)) for number in range(max(workers, 1))]


def loading(share=None, number=None, order=lambda items: items):
    """A `load`: `share(n, workers)` gives the indices of each worker, `number(...)` the number of an item."""
    share = share or shares_of
    number = number or (lambda epoch, i, **_: chance_of(epoch, i))

    def load(n, epoch, workers):
        pairs = []
        for w, items in enumerate(share(n, workers)):
            for place, i in enumerate(items):
                pairs.append((i, number(epoch=epoch, i=i, worker=w, place=place, workers=workers, n=n)))
        return order(pairs)

    return load


def moody(items):
    """A `load` for which `items(n, epoch, workers, call)` gives the pairs of the first, second, ... call with the same arguments."""
    calls = collections.Counter()

    def load(n, epoch, workers):
        calls[n, epoch, workers] += 1
        return items(n, epoch, workers, calls[n, epoch, workers])

    return load


def redrawn(at):
    """A `load` whose second call with the same arguments draws other numbers where `at(epoch, workers)`."""
    return moody(lambda n, epoch, workers, call: [(i, chance_of(epoch, i, call if at(epoch, workers) else 1)) for i in range(n)])


def shuffled_anew(n, epoch, workers, call):
    pairs = [(i, chance_of(epoch, i)) for i in range(n)]
    return sorted(pairs, key=lambda pair: chance_of(*pair, workers, call))


def blocks(items, number, shares):
    size = math.ceil(len(items) / shares)
    return items[number * size : (number + 1) * size]


with check.exercise("check_load"):
    right = {
        "items dealt out like cards": loading(),
        "each worker a block, read backwards": loading(share=lambda n, workers: shares_of(n, workers, blocks)[::-1], order=lambda pairs: pairs[::-1]),
    }
    wrong = {
        "each worker loads all items": loading(share=lambda n, workers: [list(range(n))] * max(workers, 1)),
        "all workers draw the same numbers": loading(number=lambda epoch, place, **_: chance_of(epoch, place)),
        "each epoch draws the same numbers": loading(number=lambda i, **_: chance_of(i)),
        "the last worker loses its last item": loading(share=lambda n, workers: [*shares_of(n, workers)[:-1], shares_of(n, workers)[-1][:-1]]),
    }
    ### BEGIN HIDDEN TESTS
    right |= {
        "in an order of its own for each epoch": loading(order=lambda pairs: sorted(pairs, key=lambda pair: pair[1])),
        "in another order in each call": moody(shuffled_anew),
        "numbers that lie close together": loading(number=lambda epoch, i, **_: chance_of(epoch, i) / 10**9),
        "a number that is 0": loading(number=lambda epoch, i, **_: chance_of(epoch, i) if epoch or i else 0.0),
    }
    wrong |= {
        "drops what does not fill the shares": loading(share=lambda n, workers: [items[: n // max(workers, 1)] for items in shares_of(n, workers)]),
        "loads the first item twice and the last not at all": loading(share=lambda n, workers: [[0, *range(n - 1)]]),
        "each of two workers loads all items, of three not": loading(share=lambda n, workers: [list(range(n))] * 2 if workers == 2 else shares_of(n, workers)),
        "loses the items of the third worker": loading(share=lambda n, workers: shares_of(n, workers)[:2]),
        "loads one item too many": loading(share=lambda n, workers: shares_of(n + 1, workers)),
        "counts the items from 1": loading(share=lambda n, workers: [[i + 1 for i in range(n)]]),
        "workers draw from a seed of their own": loading(number=lambda epoch, i, worker, workers, **_: chance_of(epoch, i, worker if workers else 0)),
        "the number depends on how many workers there are": loading(number=lambda epoch, i, workers, **_: chance_of(epoch, i, workers)),
        "epoch 1 draws the numbers of epoch 0, moved by one item": loading(number=lambda epoch, i, **_: chance_of(epoch + i)),
        "a second call draws other numbers": redrawn(lambda epoch, workers: True),
        "a second call with three workers draws other numbers": redrawn(lambda epoch, workers: workers == 3),
        "a second call without workers draws other numbers": redrawn(lambda epoch, workers: workers == 0),
        "a second call in epoch 1 with one worker draws other numbers": redrawn(lambda epoch, workers: epoch == 1 and workers == 1),
        "a second call in epoch 0 with two workers draws other numbers": redrawn(lambda epoch, workers: epoch == 0 and workers == 2),
        "a second call loads the first item twice": moody(lambda n, epoch, workers, call: [(i, chance_of(epoch, i)) for i in ([0] if call > 1 else []) + [*range(n)]]),
        "epoch 1 loses its last item": moody(lambda n, epoch, workers, call: [(i, chance_of(epoch, i)) for i in range(n - (epoch == 1))]),
        "in epoch 1 two workers draw other numbers": loading(number=lambda epoch, i, workers, **_: chance_of(epoch, i, epoch == 1 and workers == 2)),
        "with one worker the first item comes twice": loading(share=lambda n, workers: [[0, *range(n)]] if workers == 1 else shares_of(n, workers)),
        "the first item of epoch 1 has the number of the last one of epoch 0": loading(number=lambda epoch, i, n, **_: chance_of(0, n - 1) if (epoch, i) == (1, 0) else chance_of(epoch, i)),
        "two items of epoch 1 have the same number": loading(number=lambda epoch, i, **_: chance_of(epoch, i or epoch)),
        "two items have the same number": loading(number=lambda epoch, i, **_: chance_of(epoch, i or 22)),
        "the last item has the same number in each epoch": loading(number=lambda epoch, i, n, **_: chance_of(epoch if i < n - 1 else 0, i)),
        "all numbers are equal": loading(number=lambda epoch, **_: chance_of(epoch)),
        "loads nothing": loading(share=lambda n, workers: []),
    }
    ### END HIDDEN TESTS
    check.catches(check_load, right, wrong, "your checks")
check.points(3)  # the number below: your points, of 3


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# How many calls do you need to compare two epochs, two calls, and several numbers of workers? A set forgets what came twice, and a dict does, too.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `sorted(indices) == list(range(n))`; `dict(pairs)` for comparing numbers by index; `len(set(numbers))`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# for epoch in (0, 1):
#     for workers in (0, 0, 1, 1, 2, 2, 3, 3):     # twice each: does it repeat itself?
#         pairs = load(23, epoch, workers)
#         assert ...                               # indices, before they become keys
#         ...                                      # numbers by index: as with the other numbers of workers
# assert ...                                       # 46 different numbers in all
# ```
# </details>

# %% [markdown]
# Now let your checks loose on real loaders with real processes: a stream that draws a number for each item.


# %%
class Noisy(Stream):
    """Your stream, with a random number beside each item."""

    def __init__(self, n, epoch, bug):
        super().__init__(lambda: iter(range(n)))
        self.epoch, self.bug, self.n = epoch, bug, n
        self.chance = np.random.default_rng(24)

    def __iter__(self):
        for i in range(self.n) if self.bug == "each worker reads everything" else super().__iter__():
            own = np.random.default_rng([24, self.epoch, i])
            yield i, float((self.chance if self.bug == "a generator made with the dataset" else own).random())


def real_load(bug):
    return lambda n, epoch, workers: [pair for batch in load_with(Noisy(n, epoch, bug), workers, batch_size=5, collate_fn=list) for pair in batch]


for bug in ("", "each worker reads everything", "a generator made with the dataset"):
    try:
        check_load(real_load(bug))
        print(f"{bug or 'no bug'}: accepted")
    except Exception as error:
        print(f"{bug or 'no bug'}: rejected, {error}")

# %% [markdown]
# ## Claims, measured
#
# **"Length buckets remove most of the padding and make training faster."** We measure the share of padding, and paragraphs a second over
# a training epoch of `Reader`, in CPU time of one process: without buckets, and with pools of 16 batches.

# %%
speeds, shares = {}, {}
for pool in (1, 16):
    model, optimizer, _ = new_run()
    best = 0.0
    for epoch in range(2):
        batches = epoch_batches(lengths, 16, pool, 24, epoch)
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=pad_collate)
        begin = time.process_time()
        for batch in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(batch), batch["labels"]).backward()
            optimizer.step()
        best = max(best, len(dataset) / (time.process_time() - begin))
    speeds[pool], shares[pool] = best, padding_share(batches, lengths)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
names = ["no buckets", "pools of 16 batches"]
left.bar(names, [100 * share for share in shares.values()])
left.set(ylabel="padding (% of all cells)", title="waste")
right.bar(names, list(speeds.values()))
right.set(ylabel="paragraphs per CPU second", title="training speed")
plt.show()
per_word = {pool: share / (1 - share) for pool, share in shares.items()}  # cells of padding for each word
claims.record(
    "length buckets remove most of the padding and make training faster",
    claimed="most of the padding; faster",
    measured=f"padding {shares[1]:.0%} -> {shares[16]:.0%} of all cells, {1 - per_word[16] / per_word[1]:.0%} of it gone; {speeds[16] / speeds[1]:.1f}x as many paragraphs per CPU second",
    holds=per_word[16] < per_word[1] / 2 and speeds[16] > 1.05 * speeds[1],
    how="paragraphs of the Python reference in batches of 16, pools of 16 batches; the better of two epochs, one process",
)

# %% [markdown]
# Mind what a share is of. The words stay the same and the cells become fewer, so a share that falls from two thirds to one third means that
# three quarters of the padding are gone: from two cells a word to half a cell.
#
# The speed gains less than the cells: what a step costs beside them (the optimizer, starting each operation) stays.
#
# **"Two workers load twice as fast."** Two kinds of items, by the clock on the wall. The tiny ones are ready in microseconds; the slow ones wait 2 ms
# each, as for a disk or a network.


# %%
class Waiting(Dataset):
    """Items that take `seconds` to come."""

    def __init__(self, seconds, count):
        self.seconds, self.count = seconds, count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if self.seconds:
            time.sleep(self.seconds)
        return i


def items_a_second(dataset, workers):
    begin = time.perf_counter()
    count = sum(len(batch) for batch in load_with(dataset, workers, batch_size=20))
    return count / (time.perf_counter() - begin)


speeds = {}
for name, waiting in (("tiny items", Waiting(0, 2000)), ("items that wait 2 ms", Waiting(0.002, 400))):
    speeds[name] = [max(items_a_second(waiting, workers) for _ in range(2)) for workers in range(4)]

figure, panel = plt.subplots(figsize=(7, 3.2), layout="constrained")
for name, per_second in speeds.items():
    panel.plot(range(4), per_second, "o-", label=name)
panel.set(xlabel="workers (0: the main process loads)", ylabel="items a second, by the clock", yscale="log", xticks=range(4), title="what workers bring")
panel.legend()
plt.show()
gain = {name: per_second[2] / per_second[0] for name, per_second in speeds.items()}
claims.record(
    "two workers load twice as fast",
    claimed="2x",
    measured="; ".join(f"{name}: {ratio:.2g}x" for name, ratio in gain.items()),
    holds=min(gain.values()) > 1.5,
    how="items a second by the clock, start of the workers included, the better of two epochs, against no workers",
)

# %% [markdown]
# A worker has a price: it must be started, in each epoch anew, and each batch travels from process to process. Where items are tiny this costs
# more than it brings, on any number of cores. Where items wait, workers wait side by side, and that helps even on a machine with one
# core. Where items compute, workers help as far as there are cores left. So measure first: the time of a step with the real loader, and with one
# batch that is used again and again. If both are the same, the loader does not starve the model, and there is nothing to gain.

# %% [markdown]
# ## Quiz

# %% [markdown] quiz="end"
# 1. An iterable dataset yields all its items, and the loader has 4 workers. What does an epoch look like?
# - [ ] As without workers, only faster :: Each worker reads its own copy from the front; nobody deals out the items.
# - [x] Each item comes four times :: Right: the dataset must ask `get_worker_info` and take its share.
# - [ ] An error :: Nothing raises. That is why it is found late.
# 2. Why is a mask made from the lengths and not from `ids != 0`?
# - [ ] Comparing is slower :: Speed is no matter here.
# - [x] An id of the text may be equal to the padding id :: Right: then a real position would count as padding.
# - [ ] `ids` may be negative :: They are not; and this would do no harm.
# 3. A dataset makes `np.random.default_rng(0)` in `__init__` and draws from it for augmentation. What happens with two workers?
# - [x] Both draw the same numbers, and each epoch repeats them :: Right: each worker has a copy of the same generator, in each epoch anew.
# - [ ] Nothing, since PyTorch seeds NumPy in workers :: It seeds the global generator; this one belongs to the dataset.
# - [ ] The workers draw in turn from one generator :: Processes share no objects; each has a copy.
# 4. A run with 4 workers is killed. The sampler had given out 120 batches, the loop had seen 112. With which batch must the run go on?
# - [ ] 120 :: Then eight batches that no step has seen would be lost.
# - [x] 112, counted from 0 :: Right: what counts is what was handed to the loop.
# - [ ] 0 :: That repeats 112 batches.
# 5. Sorting the whole set by length gives the least padding. What speaks against it?
# - [ ] It takes too long :: Sorting some million numbers takes a second.
# - [ ] Padding is free :: The model computes it like everything else.
# - [x] Every epoch has the same batches, and without shuffling them goes from short to long :: Right: pools keep most of the gain and most of the chance.

# %% [markdown]
# ## Read next
#
# - The data loader: workers, sharding, seeds, pinned memory: https://docs.pytorch.org/docs/stable/data.html
# - What is random where, and how to fix it: https://docs.pytorch.org/docs/stable/notes/randomness.html
# - The repeated augmentation in the wild: Pärnamaa, *Using PyTorch + NumPy? You're making a mistake* (2021),
#   https://tanelp.github.io/posts/a-bug-that-plagues-thousands-of-open-source-ml-projects/
# - `StatefulDataLoader`: https://docs.pytorch.org/data/main/torchdata.stateful_dataloader.html
# - Padding in numbers, and packing as the other cure: Krell et al., *Efficient Sequence Packing without Cross-contamination* (2021),
#   https://arxiv.org/abs/2107.02027
# - Choosing languages with an exponent: Conneau et al., *Unsupervised Cross-lingual Representation Learning at Scale* (2020),
#   https://arxiv.org/abs/1911.02116; Xue et al., *mT5* (2021), https://arxiv.org/abs/2010.11934
#
# Lesson 07 feeds batches like these to transformers, lesson 12 packs them.

# %% [markdown]
# ## A bigger machine
#
# With a GPU, a batch has one more way to go. `pin_memory=True` puts it where the GPU can fetch it by itself, and `non_blocking=True` lets the program go on
# meanwhile. With `UNIT24_TIER=hub` (and the package `transformers`), a real tokenizer decides how long a text is, and your buckets do the rest.

# %%
if env.device.startswith("cuda"):
    big_model = nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True).to(env.device)
    table = nn.Embedding(2 + len(vocabulary), 512).to(env.device)
    for pool in (1, 16):
        batches = epoch_batches(lengths, 32, pool, 24, 0)
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=lambda items: pad_collate(items, 8), pin_memory=True)
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for batch in loader:
            ids, mask = (batch[name].to(env.device, non_blocking=True) for name in ("ids", "mask"))
            masked_mean(big_model(table(ids), src_key_padding_mask=~mask), mask).sum().backward()
        torch.cuda.synchronize()
        print(f"pool {pool}: {len(dataset) / (time.perf_counter() - begin):.0f} paragraphs a second on {env.device}")
if env.tier == "hub":
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(env.model("chat"))
    token_lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    for pool in (1, 16, 64):
        print(f"pool {pool}: {padding_share(epoch_batches(token_lengths, 16, pool, 24, 0), token_lengths):.0%} padding, counted in tokens")
if not env.device.startswith("cuda") and env.tier == "tiny":
    print("A bigger machine: skipped here (it needs a GPU or UNIT24_TIER=hub).")
