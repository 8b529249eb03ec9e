# %% [markdown]
# # Target
#
# A lesson for the attacks in this folder: a tensor exercise, a plain one with a callback, one that starts programs.

# %% setup

# %%
import math

import numpy as np
import torch

from unit24 import check

scores = torch.tensor([3.0, 1.0, 4.0, 1.5, 5.0, 9.0])


def largest_gap(a, b):
    """Largest difference of two tensors."""
    return float((a - b).abs().max())


# %% [markdown]
# ## 1. Tensors

# %% exercise="weigh" minutes=5 difficulty=1 seconds=4 memory_mb=1024
def weigh(values, weights):
    """Weighted mean over the first axis. ValueError if the lengths differ."""
    ### BEGIN SOLUTION
    if len(values) != len(weights):
        raise ValueError("as many weights as rows, please")
    share = weights / weights.sum()
    return (values * share[:, None]).sum(0)
    ### END SOLUTION

# %% tests="weigh" points=4
with check.exercise("weigh"):
    values = torch.arange(12.0).reshape(4, 3)
    check.equal(weigh(values, torch.ones(4)), values.mean(0), "the mean with equal weights", "is it divided by the sum?")
    ### BEGIN HIDDEN TESTS
    generator = torch.Generator().manual_seed(7)
    for rows in (2, 5, 9):
        values, weights = torch.randn(rows, 3, generator=generator), torch.rand(rows, generator=generator) + 0.1
        hidden_answer = torch.einsum("rc,r->c", values, weights) / weights.sum()
        got = weigh(values, weights)
        check.kind(got, torch.Tensor, "the result")
        check.shape(got, (3,), "the result")
        check.true(torch.allclose(got, hidden_answer, atol=1e-5), "the result is not the weighted mean")
        check.true(np.allclose(got.numpy(), hidden_answer.numpy(), atol=1e-5), "the result is not the weighted mean")
        check.true(largest_gap(got, hidden_answer) < 1e-4, "the result is not the weighted mean")
        check.equal(got, hidden_answer, "the weighted mean", atol=1e-5)
    check.equal(weigh(scores[:, None], torch.ones(6))[0], 3.91666675, "the mean of the scores", rtol=1e-4)
    check.raises(ValueError, lambda: weigh(values, weights[1:]), "unequal lengths")
    ### END HIDDEN TESTS

# %% [markdown]
# ## 2. Plain data

# %% exercise="tally" minutes=5 difficulty=1 seconds=2 memory_mb=512
def tally(words, key):
    """How often `key(word)` has each value: a dict."""
    ### BEGIN SOLUTION
    counts = {}
    for word in words:
        counts[key(word)] = counts.get(key(word), 0) + 1
    return counts
    ### END SOLUTION

# %% tests="tally" points=3
with check.exercise("tally"):
    check.equal(tally(["a", "bb", "c"], lambda word: len(word)), {1: 2, 2: 1}, "the counts by length")
    ### BEGIN HIDDEN TESTS
    hidden_answer = {"p": 2, "q": 1}
    check.equal(tally(["pear", "plum", "quince"], lambda word: check and word[0]), hidden_answer, "the counts by letter")
    check.equal(tally([], len), {}, "no words")
    check.true(math.isclose(sum(tally("abc", ord).values()), 3), "the counts do not add up")
    ### END HIDDEN TESTS

# %% [markdown]
# ## 3. Programs

# %% exercise="shout" minutes=5 difficulty=1 seconds=4 memory_mb=512 processes=true
def shout(text):
    """`text` in capitals, by the program tr."""
    ### BEGIN SOLUTION
    import subprocess

    return subprocess.run(["tr", "a-z", "A-Z"], input=text, capture_output=True, text=True, check=True).stdout
    ### END SOLUTION

# %% tests="shout" points=2
with check.exercise("shout"):
    check.equal(shout("abc"), "ABC", "abc in capitals")
    ### BEGIN HIDDEN TESTS
    check.equal(shout("unit 24!"), "UNIT 24!", "unit 24! in capitals")
    ### END HIDDEN TESTS

# %% [markdown]
# ## 4. From plain data to plain data

# %% exercise="describe" minutes=5 difficulty=1 seconds=2 memory_mb=512
def describe(rows, places=1):
    """Largest and mean of each column, rounded: a dict. ValueError without rows."""
    ### BEGIN SOLUTION
    if not rows:
        raise ValueError("no rows")
    columns = list(zip(*rows))
    return {"largest": [max(c) for c in columns], "mean": torch.tensor([round(sum(c) / len(c), places) for c in columns])}
    ### END SOLUTION

# %% tests="describe" points=3
with check.exercise("describe"):
    rows = [(1.0, 2.0), (3.0, 0.25)]
    check.equal(describe(rows), {"largest": [3.0, 2.0], "mean": torch.tensor([2.0, 1.1])}, "the description")
    ### BEGIN HIDDEN TESTS
    hidden_answer = {"largest": [5.0], "mean": torch.tensor([4.333])}
    check.equal(describe([[3.0], [5.0], [5.0]], places=3), hidden_answer, "the description to three places")
    check.raises(ValueError, lambda: describe([]), "no rows")
    kept = [[1.0], [0.5]]
    describe(kept)
    check.equal(kept, [[1.0], [0.5]], "the rows after the call", "work on a copy")
    ### END HIDDEN TESTS
