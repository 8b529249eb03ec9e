# %% wrong="weigh" says="divided by the sum"
def weigh(values, weights):
    return (values * weights[:, None]).sum(0)

# %% right="weigh"
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()

# %% wrong="tally" says="counts by length"
def tally(words, key):
    return {key(word): 1 for word in words}

# %% right="tally"
def tally(words, key):
    from collections import Counter

    return dict(Counter(map(key, words)))

# %% wrong="shout" says="in capitals"
def shout(text):
    return text

# %% right="shout"
def shout(text):
    return text.upper()

# %% wrong="describe" says="work on a copy"
def describe(rows, places=1):
    if not rows:
        raise ValueError("no rows")
    rows.sort() if isinstance(rows, list) and rows == [[1.0], [0.5]] else None
    columns = list(zip(*rows))
    return {"largest": [max(c) for c in columns], "mean": torch.tensor([round(sum(c) / len(c), places) for c in columns])}

# %% right="describe"
def describe(rows, places=1):
    table = torch.tensor(rows)
    if not len(rows):
        raise ValueError
    return {"largest": table.amax(0).tolist(), "mean": table.mean(0).mul(10**places).round().div(10**places)}
