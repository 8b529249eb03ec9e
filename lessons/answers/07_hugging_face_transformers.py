# %% wrong="bpe" breaks="merge" says="only the first occurrence was merged"
# Misunderstands: a merge happens once a round, not wherever the pair stands.
def merge_pair(pieces, pair):
    for i in range(len(pieces) - 1):
        if (pieces[i], pieces[i + 1]) == pair:
            return pieces[:i] + ["".join(pair)] + pieces[i + 2 :]
    return list(pieces)


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="merge" says="a piece goes into one pair only"
# Misunderstands: merges may overlap.
def merge_pair(pieces, pair):
    at = [i for i, p in enumerate(zip(pieces, pieces[1:])) if p == pair]
    return ["".join(pair) if i in at else p for i, p in enumerate(pieces) if i in at or i - 1 not in at]


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="merge" says="from left to right"
# Misunderstands: the direction does not matter.
def merge_pair(pieces, pair):
    merged = []
    for piece in reversed(pieces):
        if merged and (piece, merged[0]) == pair:
            merged[0] = piece + merged[0]
        else:
            merged.insert(0, piece)
    return merged


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="whole" says="only whole pieces"
# Misunderstands: the ends of longer pieces match too.
def merge_pair(pieces, pair):
    merged = []
    for piece in pieces:
        if merged and merged[-1].endswith(pair[0]) and piece == pair[1]:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="whole" says="only whole pieces"
# Misunderstands: a piece that a merge has just made may be the first of the same pair again.
def merge_pair(pieces, pair):
    return " ".join(pieces).replace(" ".join(pair), "".join(pair)).split(" ")


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="new_list" says="after the call"
# Misunderstands: a list that was handed over may be worked in.
def merge_pair(pieces, pair):
    i = 0
    while i < len(pieces) - 1:
        if (pieces[i], pieces[i + 1]) == pair:
            pieces[i : i + 2] = ["".join(pair)]
        i += 1
    return pieces


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="characters" says="`train_bpe` of"
# Misunderstands: the vocabulary begins with the characters in the order in which they were seen.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, list(dict.fromkeys("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="frequent" says="are not neighbours"
# Misunderstands: a corpus is one long text, and merges may cross from word to word.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    pieces = list("".join(word * n for word, n in counts.items()))
    vocabulary, merges = sorted(set(pieces)), []
    while len(vocabulary) < size and len(pieces) > 1:
        pairs = Counter(zip(pieces, pieces[1:]))
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        if "".join(best) not in vocabulary:
            vocabulary.append("".join(best))
        pieces = merge_pair(pieces, best)
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="frequent" says="counts nine times"
# Misunderstands: each different word counts once.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += 1
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="frequent" says="count again after each merge"
# Misunderstands: pairs of characters are counted once, and the most frequent ones are the merges.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    pairs = Counter()
    for word, n in counts.items():
        for pair in zip(word, word[1:]):
            pairs[pair] += n
    characters = sorted(set("".join(counts)))
    merges = sorted(pairs, key=lambda p: (-pairs[p], *p))[: max(0, size - len(characters))]
    return characters + ["".join(p) for p in merges], merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="frequent" says="`train_bpe` of"
# Misunderstands: a pair counts once a word, however often the word holds it.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in set(zip(pieces, pieces[1:])):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="ties" says="the smaller places in the vocabulary go first"
# Misunderstands: `most_common` decides between equally frequent pairs as the task does.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = pairs.most_common(1)[0][0]
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="ties" says="the smaller places in the vocabulary go first"
# Misunderstands: the place in the vocabulary is the alphabet.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="ties" says="the smaller places in the vocabulary go first"
# Misunderstands: equally frequent pairs with the same first piece may come in any order.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="stop" says="one merge too many"
# Misunderstands: `size` may be passed by one.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) <= size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="stop" says="`train_bpe` of"
# Misunderstands: `size` counts the merges, the characters come on top.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(merges) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="stop" says="your code raised"
# Misunderstands: there always is another pair.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="returned" says="after the call"
# Misunderstands: the counts may be used up.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    counts.clear()
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="returned" says="`train_bpe` of"
# Misunderstands: the merges are the strings that they make.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, ["".join(pair) for pair in merges]


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="first" says="`encode_word` of"
# Misunderstands: the known pair that stands furthest left goes first.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces, i = list(word), 0
    while i < len(pieces) - 1:
        if (pieces[i], pieces[i + 1]) in merges:
            pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
            i = 0
        else:
            i += 1
    return pieces


# %% wrong="bpe" breaks="first" says="`encode_word` of"
# Misunderstands: the longest known piece goes first, as in WordPiece.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    known, pieces = {a + b for a, b in merges}, []
    while word:
        size = next(n for n in range(len(word), 0, -1) if n == 1 or word[:n] in known)
        pieces, word = [*pieces, word[:size]], word[size:]
    return pieces


# %% wrong="bpe" breaks="first" says="not the last"
# Misunderstands: what was learned last is the longest, and goes first.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, max(known, key=merges.index))
    return pieces


# %% wrong="bpe" breaks="again" says="look again after each merge"
# Misunderstands: one merge a word.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    known = set(zip(pieces, pieces[1:])) & set(merges)
    return merge_pair(pieces, min(known, key=merges.index)) if known else pieces


# %% wrong="bpe" breaks="again" says="`encode_word` of"
# Misunderstands: only pairs of characters are looked for.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    for pair in sorted(set(zip(word, word[1:])) & set(merges), key=merges.index):
        pieces = merge_pair(pieces, pair)
    return pieces


# %% wrong="bpe" breaks="pieces" says="`encode_word` of"
# Misunderstands: pieces come as one text.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pieces = merge_pair(pieces, min(known, key=merges.index))
    return " ".join(pieces)


# %% wrong="bpe" breaks="pieces" says="after the call"
# Misunderstands: merges that were used can be taken out of the caller's list.
def merge_pair(pieces, pair):
    done, rest = [], list(pieces)
    while rest:
        if len(rest) > 1 and (rest[0], rest[1]) == pair:
            done.append(rest.pop(0) + rest.pop(0))
        else:
            done.append(rest.pop(0))
    return done


def train_bpe(counts, size):
    words, vocabulary, merges = {w: list(w) for w in counts}, sorted(set("".join(counts))), []
    while len(vocabulary) < size:
        pairs = Counter()
        for w, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {w: merge_pair(p, best) for w, p in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    pieces = list(word)
    while known := set(zip(pieces, pieces[1:])) & set(merges):
        pair = min(known, key=merges.index)
        pieces = merge_pair(pieces, pair)
        if pair not in zip(pieces, pieces[1:]):
            merges.remove(pair)
    return pieces


# %% right="bpe"
# Plain dictionaries and lists; pairs as lists; the whole list of merges is searched again after each.
def merge_pair(pieces, pair):
    merged = []
    skip = False
    for i, piece in enumerate(pieces):
        if skip:
            skip = False
        elif i + 1 < len(pieces) and piece == pair[0] and pieces[i + 1] == pair[1]:
            merged.append(piece + pieces[i + 1])
            skip = True
        else:
            merged.append(piece)
    return merged


def train_bpe(counts, size):
    split = [(list(word), n) for word, n in counts.items()]
    vocab = sorted({c for word in counts for c in word})
    rules = []
    while len(vocab) < size:
        tally = {}
        for pieces, n in split:
            for i in range(len(pieces) - 1):
                key = (pieces[i], pieces[i + 1])
                tally[key] = tally.get(key, 0) + n
        if len(tally) == 0:
            break
        top = max(tally.values())
        winners = [pair for pair, n in tally.items() if n == top]
        winner = sorted(winners, key=lambda pair: [vocab.index(pair[0]), vocab.index(pair[1])])[0]
        rules.append([winner[0], winner[1]])
        split = [(merge_pair(pieces, winner), n) for pieces, n in split]
        if winner[0] + winner[1] not in vocab:
            vocab.append(winner[0] + winner[1])
    return vocab, rules


def encode_word(word, merges):
    pieces = [*word]
    for pair in merges:  # in the order of learning: a pair's pieces are older than the pair
        pieces = merge_pair(pieces, pair)
    return pieces


# %% right="bpe"
# Recursion, and helpers of its own in place of `merge_pair`.
def merge_pair(pieces, pair):
    if len(pieces) < 2:
        return [*pieces]
    for i, (one, other) in enumerate(zip(pieces, pieces[1:])):
        if one == pair[0] and other == pair[1]:
            return [*pieces[:i], one + other] + _merged(pieces[i + 2 :], pair)
    return [*pieces]


def train_bpe(counts, size):
    corpus = {tuple(word): count for word, count in counts.items()}
    ids = {letter: i for i, letter in enumerate(sorted({*"".join(counts)}))}
    learned = []
    while len(ids) < size:
        frequency = Counter()
        for pieces, count in corpus.items():
            frequency.update({pair: count * n for pair, n in Counter(zip(pieces, pieces[1:])).items()})
        if not frequency:
            return list(ids), learned
        pair, _ = max(frequency.items(), key=lambda item: (item[1], -ids[item[0][0]], -ids[item[0][1]]))
        learned.append(pair)
        ids.setdefault(pair[0] + pair[1], len(ids))
        merged = Counter()
        for pieces, count in corpus.items():
            merged[tuple(_merged(pieces, pair))] += count
        corpus = merged
    return list(ids), learned


def encode_word(word, merges):
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}

    def cut(pieces):
        ranked = [(ranks[pair], pair) for pair in zip(pieces, pieces[1:]) if pair in ranks]
        return cut(_merged(pieces, min(ranked)[1])) if ranked else pieces

    return cut(list(word))


def _merged(pieces, pair):
    result, rest = [], list(reversed(pieces))
    while rest:
        piece = rest.pop()
        result.append(piece + rest.pop() if rest and (piece, rest[-1]) == tuple(pair) else piece)
    return result

# %% wrong="train_tokenizer" breaks="round_trip" says="initial_alphabet"
# Misunderstands: a byte-level vocabulary holds all bytes by itself (here only those of the training text).
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts * 20, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    )
    while (missing := size - bpe.get_vocab_size()) > 0:
        bpe.add_tokens([f"<|unused{missing}|>"])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="round_trip" says="a blank too many"
# Misunderstands: the default of ByteLevel leaves a text as it is.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel()])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="round_trip" says="there is no decoder"
# Misunderstands: decoding undoes the pre-tokenizer by itself.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="round_trip" says="could lose or add"
# Misunderstands: words are what stands between blanks; the blanks need not be kept.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="round_trip" says="after encoding and decoding"
# Misunderstands: a normalizer only tidies up (e and an accent become one sign).
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    from tokenizers import normalizers

    bpe.normalizer = normalizers.NFC()
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="digits" says="digits one by one"
# Misunderstands: numbers are words like others.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="digits" says="digits one by one"
# Misunderstands: `Digits()` cuts digits one by one by itself.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="special" says="added afterwards they come last"
# Misunderstands: special tokens are added when all is learned.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size - 4, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="special" says="added afterwards they come last"
# Misunderstands: special tokens may have any order.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=sorted(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="roles" says="arguments of PreTrainedTokenizerFast"
# Misunderstands: transformers sees from their names what special tokens are for.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe)


# %% wrong="train_tokenizer" breaks="roles" says="arguments of PreTrainedTokenizerFast"
# Misunderstands: the side of the padding does not matter.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>")


# %% wrong="train_tokenizer" breaks="saved" says="after saving and loading"
# Misunderstands: what is set on the object afterwards is saved with it.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>")
    made.padding_side = "left"
    return made


# %% wrong="train_tokenizer" breaks="wrapped" says="no tokenizer of transformers"
# Misunderstands: a tokenizer of the tokenizers library is one of transformers.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return bpe


# %% wrong="train_tokenizer" breaks="size" says="part of the size"
# Misunderstands: the special tokens come on top of the size.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size + 4, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="size" says="part of the size"
# Misunderstands: the size counts merges.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size + 260, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="words" says="goes over the end of a word"
# Misunderstands: bytes are enough, nothing need be cut first.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="merges" says="learn merges from the texts"
# Misunderstands: any tokens fill a vocabulary, learned or not.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=260, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_tokens([f"<|unused{i}|>" for i in range(size - 260)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="merges" says="learn merges from the texts"
# Misunderstands: the first text is enough to learn from.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts[:1], trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_tokens([f"<|unused{i}|>" for i in range(size - bpe.get_vocab_size())])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="unchanged" says="after the call"
# Misunderstands: the list may be used up while learning.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        (texts.pop() for _ in range(len(texts))), trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% right="train_tokenizer"
# The chat model's own design, trained anew.
def train_tokenizer(texts, size):
    return tokenizer.train_new_from_iterator(texts, size, show_progress=False)


# %% right="train_tokenizer"
# The ready-made class of the tokenizers library, with rules of its own for cutting; special tokens named afterwards.
from tokenizers import ByteLevelBPETokenizer, Regex


def train_tokenizer(texts, size):
    inner = ByteLevelBPETokenizer(add_prefix_space=False)
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[0-9]"), behavior="isolated"),
            pre_tokenizers.Split(Regex(r" ?[^\s0-9]+|\s+"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    names = ("pad", "end", "user", "assistant")
    inner.train_from_iterator(
        texts, vocab_size=size, min_frequency=1, show_progress=False, special_tokens=[f"<|{n}|>" for n in names]
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=inner._tokenizer, padding_side="left")
    wrapped.pad_token, wrapped.eos_token = "<|pad|>", "<|end|>"
    return wrapped


# %% equivalent="train_tokenizer" because="a progress bar is no part of the result"
# - show_progress=False,
# + show_progress=True,

# %% wrong="inside_the_pipeline" breaks="text" says="prompt and answer in one row"
# Misunderstands: generate returns the answer alone.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made, skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="text" says="holds special tokens"
# Misunderstands: decode leaves special tokens out by itself.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :])


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="text" says="belong to it"
# Misunderstands: blanks at the ends of an answer are an accident.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    said = tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [one.strip() for one in said]


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="left" says="on the right of the row"
# Misunderstands: every tokenizer pads on the side that generation needs.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt"
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="answers" says="where the assistant begins to speak"
# Misunderstands: the model knows by itself that it is its turn.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="answers" says="attention mask"
# Misunderstands: the ids say what is padding.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(batch["input_ids"], attention_mask=torch.ones_like(batch["input_ids"]), max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="answers" says="what `reply` returns for"
# Misunderstands: the limit counts the prompt too.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_length=batch["input_ids"].shape[1] + max_new_tokens - 1, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="greedy" says="told not to sample"
# Misunderstands: generate is greedy unless it is told otherwise.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="special_once" says="what `reply` returns for"
# Misunderstands: a rendered template is a text like any other, to be encoded as usual.
def reply(model, tokenizer, chats, max_new_tokens):
    prompts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    batch = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="one_generate" says="one call for the whole batch"
# Misunderstands: a batch is a loop.
def reply(model, tokenizer, chats, max_new_tokens):
    answers = []
    for chat in chats:
        batch = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
        made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
        answers.append(tokenizer.decode(made[0, batch["input_ids"].shape[1] :], skip_special_tokens=True))
    return answers


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="kept" says="`tokenizer.padding_side` after `reply`"
# Misunderstands: the caller's tokenizer may be left switched.
def reply(model, tokenizer, chats, max_new_tokens):
    tokenizer.padding_side = "left"
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt"
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="kept" says="leave the caller's lists"
# Misunderstands: the prompt for the answer is a message to be added to the chat.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    for chat in chats:
        chat.append({"role": "assistant", "content": ""})
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="own_steps" says="pipelines are out of reach"
# Misunderstands: writing the steps means calling the pipeline.
def reply(model, tokenizer, chats, max_new_tokens):
    writing = pipeline("text-generation", model=model, tokenizer=tokenizer, device=model.device)
    return [writing(c, max_new_tokens=max_new_tokens, do_sample=False)[0]["generated_text"][-1]["content"] for c in chats]


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="score" says="softmax over the labels"
# Misunderstands: logits are probabilities.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="score" says="what `classify` returns for"
# Misunderstands: the softmax runs over the texts.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(0).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="score" says="what `classify` returns for"
# Misunderstands: each label has a probability of its own (a sigmoid).
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.sigmoid().max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="score" says="a score"
# Misunderstands: a tensor without axes is a float.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores)]


# %% wrong="inside_the_pipeline" breaks="label" says="turns a number into a name"
# Misunderstands: the number of a label is its name.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": i, "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="label" says="what `classify` returns for"
# Misunderstands: names are in alphabetical order.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": sorted(model.config.id2label.values())[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="right" says="must know what is padding"
# Misunderstands: the model sees from the ids what is padding.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(batch["input_ids"]).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="right" says="would move the positions"
# Misunderstands: encoders are padded like decoders.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="right" says="would move the positions"
# Misunderstands: every tokenizer pads on the side that an encoder needs.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="one_forward" says="one call for the whole batch"
# Misunderstands: a batch is a loop.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    found = []
    for text in texts:
        with torch.no_grad():
            scores = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(0)
        found.append({"label": model.config.id2label[int(scores.argmax())], "score": float(scores.max())})
    return found


# %% wrong="inside_the_pipeline" breaks="one_forward" says="autograd recorded"
# Misunderstands: evaluation mode switches autograd off.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    scores, best = model.eval()(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="kept" says="the texts after `classify`"
# Misunderstands: the list may be tidied up for the batch.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    texts.sort(key=len)
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% right="inside_the_pipeline"
# Step by step, with the tokenizer's own settings switched and put back.
def reply(net, tok, conversations, limit):
    prompts = [tok.apply_chat_template(c, add_generation_prompt=True, tokenize=False) for c in conversations]
    side, tok.padding_side = tok.padding_side, "left"
    try:
        encoded = tok(prompts, padding=True, add_special_tokens=False, return_tensors="pt")
    finally:
        tok.padding_side = side
    rows = net.generate(
        input_ids=encoded.input_ids,
        attention_mask=encoded.attention_mask,
        max_new_tokens=limit,
        num_beams=1,
        do_sample=False,
    )
    width = encoded.input_ids.size(1)
    return [tok.decode(row[width:], skip_special_tokens=True) for row in rows]


@torch.inference_mode()
def classify(net, tok, texts):
    encoded = [tok(text) for text in texts]
    batch = tok.pad(encoded, padding_side="right", return_tensors="pt")
    results = []
    for row in torch.nn.functional.softmax(net(**batch).logits, dim=1):
        index = int(row.argmax())
        results.append({"label": net.config.id2label[index], "score": row[index].item()})
    return results


# %% right="inside_the_pipeline"
# Padding by hand, a generation config of its own.
def reply(model, tokenizer, chats, max_new_tokens):
    from transformers import GenerationConfig

    rows = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in chats]
    width = max(map(len, rows))
    ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    ends = model.generation_config.eos_token_id
    config = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    made = model.generate(inputs=ids, attention_mask=mask, generation_config=config, temperature=1.0, top_k=50)
    return tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    copied = copy.deepcopy(tokenizer)
    copied.padding_side = "right"
    batch = copied(list(texts), padding="longest", return_tensors="pt")
    with torch.inference_mode():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logarithms = torch.log_softmax(logits, -1)
    names = [model.config.id2label[index] for index in logits.argmax(-1).tolist()]
    return [dict(label=name, score=float(row.max().exp())) for name, row in zip(names, logarithms)]

# %% wrong="chat_template" says="not around the header"
def chatml_template():  # marks the whole turn, header and newline included
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{% if m.role == 'assistant' %}{% generation %}{{ '<|im_start|>assistant\n' + m.content | trim + '<|im_end|>\n' }}"
        "{% endgeneration %}{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>\n' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(*args):
    raise NotImplementedError


# %% wrong="chat_template" says="and its <|im_end|>"
def chatml_template():  # the model will not learn to stop
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}{% endgeneration %}"
        "{% else %}{{ m.content | trim }}{% endif %}{{ '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(*args):
    raise NotImplementedError


# %% wrong="chat_template" says="is dropped"
def chatml_template():  # newlines typed after tags
    return """{% for m in messages %}
{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}
<|im_start|>{{ m.role }}
{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}<|im_end|>{% endgeneration %}
{% else %}{{ m.content | trim }}<|im_end|>{% endif %}
{% endfor %}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def training_batch(*args):
    raise NotImplementedError


# %% wrong="chat_template" says="add_generation_prompt"
def chatml_template():  # always opens the assistant's turn
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{{ '<|im_start|>assistant\n' }}"
    )


def training_batch(*args):
    raise NotImplementedError


# %% wrong="chat_template" says="the model has never seen is an error"
def chatml_template():  # writes any role
    return (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(*args):
    raise NotImplementedError


# %% wrong="chat_template" says="on the users' words"
def training_batch(tokenizer, chats):  # learns the users' words too
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt")
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return batch


def chatml_template():
    raise NotImplementedError


# %% wrong="chat_template" says="on headers and on padding"
def training_batch(tokenizer, chats):  # 0, the id of the padding, instead of -100
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks"))
    batch["labels"] = batch["input_ids"] * taught
    return batch


def chatml_template():
    raise NotImplementedError


# %% wrong="chat_template" says="not shifted"
def training_batch(tokenizer, chats):  # shifts the labels, as the model does again
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    labels = batch["input_ids"].masked_fill(~taught, -100)
    batch["labels"] = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], 1)
    return batch


def chatml_template():
    raise NotImplementedError


# %% wrong="chat_template" says="in every turn"
def training_batch(tokenizer, chats):  # learns the last answer only
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt")
    labels = torch.full_like(batch["input_ids"], -100)
    for row, ids in enumerate(batch["input_ids"]):
        answer = tokenizer(chats[row][-1]["content"] + "<|end|>")["input_ids"]
        end = int(batch["attention_mask"][row].nonzero().max()) + 1
        labels[row, end - len(answer) : end] = ids[end - len(answer) : end]
    batch["labels"] = labels
    return batch


def chatml_template():
    raise NotImplementedError


# %% right="chat_template"
def chatml_template():
    return """
{%- for m in messages -%}
    {%- if m['role'] == 'assistant' -%}
        {{- '<|im_start|>assistant\\n' -}}
        {%- generation -%}
            {{- m['content'].strip() -}}
            {{- '<|im_end|>' -}}
        {%- endgeneration -%}
        {{- '\\n' -}}
    {%- elif m['role'] == 'user' or m['role'] == 'system' -%}
        {{- '<|im_start|>' ~ m['role'] ~ '\\n' ~ m['content'].strip() ~ '<|im_end|>\\n' -}}
    {%- else -%}
        {{- raise_exception('this format has no role ' ~ m['role']) -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def training_batch(tok, conversations):
    plain = [tok.apply_chat_template(c, return_assistant_tokens_mask=True) for c in conversations]
    padded = tok.pad({"input_ids": [p["input_ids"] for p in plain]}, return_tensors="pt")
    width = padded["input_ids"].shape[1]
    labels = []
    for p in plain:
        row = [i if m == 1 else -100 for i, m in zip(p["input_ids"], p["assistant_masks"])]
        gap = [-100] * (width - len(row))
        labels.append(gap + row if tok.padding_side == "left" else row + gap)
    return {
        "input_ids": padded["input_ids"],
        "attention_mask": padded["attention_mask"],
        "labels": torch.tensor(labels),
    }


# %% wrong="batches_and_masks" says="which is on the left"
def pad_left(rows, pad_id):  # padding at the end
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def pack(*args):
    raise NotImplementedError


attention_matrix = pack


# %% wrong="batches_and_masks" says="the first real token of a row is at place 0"
def pad_left(rows, pad_id):  # positions are columns
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": torch.arange(width).repeat(len(rows), 1)}


def pack(*args):
    raise NotImplementedError


attention_matrix = pack


# %% wrong="batches_and_masks" says="no model has a place -1"
def pad_left(rows, pad_id):  # padding gets the place -1
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": mask.cumsum(1) - 1}


def pack(*args):
    raise NotImplementedError


attention_matrix = pack


# %% wrong="batches_and_masks" says="1 for real tokens"
def pad_left(rows, pad_id):  # 1 for padding
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = (ids == pad_id).long()
    return {"input_ids": ids, "attention_mask": mask, "position_ids": ((1 - mask).cumsum(1) - 1).clamp(min=0)}


def pack(*args):
    raise NotImplementedError


attention_matrix = pack


# %% wrong="batches_and_masks" says="the model would see the answer"
def attention_matrix(attention_mask):  # hides padding, forgets the order
    n = attention_mask.shape[1]
    return attention_mask.bool()[:, None, None, :].expand(-1, 1, n, n)


def pack(*args):
    raise NotImplementedError


pad_left = pack


# %% wrong="batches_and_masks" says="which is padding"
def attention_matrix(attention_mask):  # hides the queries that are padding, not the keys
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, :, None].bool()


def pack(*args):
    raise NotImplementedError


pad_left = pack


# %% wrong="batches_and_masks" says="True means that it may look"
def attention_matrix(attention_mask):  # True where it is forbidden, as in nn.MultiheadAttention
    n = attention_mask.shape[1]
    return torch.ones(n, n).triu(1).bool() | (attention_mask == 0)[:, None, None, :]


def pack(*args):
    raise NotImplementedError


pad_left = pack


# %% wrong="batches_and_masks" says="every token sees itself too"
def attention_matrix(attention_mask):  # strictly earlier keys only
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril(-1).bool() & attention_mask[:, None, None, :].bool()


def pack(*args):
    raise NotImplementedError


pad_left = pack


# %% wrong="batches_and_masks" says="the mask is a matrix of blocks"
def pack(rows):  # new positions, but one common past
    ids = [i for row in rows for i in row]
    places = [i for row in rows for i in range(len(row))]
    mask = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    return {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([places]), "attention_mask": mask[None, None]}


def pad_left(*args):
    raise NotImplementedError


attention_matrix = pad_left


# %% wrong="batches_and_masks" says="each sequence begins at place 0"
def pack(rows):  # positions run on through the whole row
    ids = torch.tensor([[i for row in rows for i in row]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": torch.arange(ids.shape[1])[None], "attention_mask": mask[None, None]}


def pad_left(*args):
    raise NotImplementedError


attention_matrix = pad_left


# %% right="batches_and_masks"
def pad_left(rows, pad_id):
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    mask, places = torch.zeros_like(ids), torch.ones_like(ids)
    for r, row in enumerate(rows):
        ids[r, longest - len(row) :] = torch.tensor(row)
        mask[r, longest - len(row) :] = 1
        places[r, longest - len(row) :] = torch.arange(len(row))
    return dict(input_ids=ids, attention_mask=mask, position_ids=places.clamp(max=longest - 1))


def attention_matrix(attention_mask):
    place = torch.arange(attention_mask.size(1))
    allowed = (place.view(1, 1, -1, 1) >= place.view(1, 1, 1, -1)) & (attention_mask == 1).unsqueeze(1).unsqueeze(1)
    return allowed | torch.eye(attention_mask.size(1), dtype=torch.bool)  # padding sees itself: no row without a key


def pack(rows):
    tensors = [torch.tensor(row) for row in rows]
    blocks = torch.block_diag(*[torch.ones(len(t), len(t)).tril() for t in tensors])
    places = torch.cat([torch.arange(t.numel()) for t in tensors])
    return dict(
        input_ids=torch.cat(tensors).unsqueeze(0),
        position_ids=places.unsqueeze(0),
        attention_mask=blocks.bool().view(1, 1, len(places), len(places)),
    )


# %% right="batches_and_masks"
from torch.nn.utils.rnn import pad_sequence


def pad_left(rows, pad_id):
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=pad_id, padding_side="left")
    lengths = torch.tensor([len(row) for row in rows])
    places = torch.arange(ids.shape[1]) - (ids.shape[1] - lengths).unsqueeze(1)
    return {"input_ids": ids, "attention_mask": (places >= 0).long(), "position_ids": places.relu()}


def attention_matrix(attention_mask):
    rows, n = attention_mask.shape
    matrix = torch.zeros(rows, 1, n, n, dtype=torch.bool)
    for row in range(rows):
        for query in range(n):
            matrix[row, 0, query, : query + 1] = attention_mask[row, : query + 1] == 1
    return matrix


def pack(rows):
    total = sum(len(row) for row in rows)
    packed = {
        "input_ids": torch.zeros(1, total, dtype=torch.int64),
        "position_ids": torch.zeros(1, total, dtype=torch.int64),
        "attention_mask": torch.zeros(1, 1, total, total, dtype=torch.bool),
    }
    start = 0
    for row in rows:
        here = slice(start, start + len(row))
        packed["input_ids"][0, here] = torch.tensor(row)
        packed["position_ids"][0, here] = torch.arange(len(row))
        packed["attention_mask"][0, 0, here, here] = torch.ones(len(row), len(row), dtype=torch.bool).tril()
        start += len(row)
    return packed


# %% wrong="samplers" says="that is still a probability above 0"
class TopK(LogitsProcessor):  # a score of 0 for what is removed
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, 0.0)


class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        raise NotImplementedError


class TopP(TopK):
    def __call__(self, input_ids, scores):
        raise NotImplementedError


# %% wrong="samplers" says="return a new tensor"
class TopK(LogitsProcessor):  # writes into the scores
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        scores[scores < lowest] = -torch.inf
        return scores


class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        raise NotImplementedError


class TopP(TopK):
    def __call__(self, input_ids, scores):
        raise NotImplementedError


# %% wrong="samplers" says="k tokens of each row"
class TopK(LogitsProcessor):  # the k best of the whole batch
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.flatten().topk(min(self.k, scores.numel())).values[-1]
        return scores.masked_fill(scores < lowest, -torch.inf)


class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        raise NotImplementedError


class TopP(TopK):
    def __call__(self, input_ids, scores):
        raise NotImplementedError


# %% wrong="samplers" says="all that equal the k-th"
class TopK(LogitsProcessor):  # exactly k, whatever the ties
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        best = scores.topk(min(self.k, scores.shape[1]))
        return torch.full_like(scores, -torch.inf).scatter(1, best.indices, best.values)


class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        raise NotImplementedError


class TopP(TopK):
    def __call__(self, input_ids, scores):
        raise NotImplementedError


# %% wrong="samplers" says="even where two are equally good"
class Greedy(LogitsProcessor):  # keeps everything that equals the maximum
    def __call__(self, input_ids, scores):
        return scores.masked_fill(scores < scores.max(-1, keepdim=True).values, -torch.inf)


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        raise NotImplementedError


TopP = TopK


# %% wrong="samplers" says="the token that reaches p is kept"
class TopP(LogitsProcessor):  # the set stays below p
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        kept = ordered.softmax(-1).cumsum(-1) < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


class Greedy(LogitsProcessor):
    def __init__(self, *args):
        pass

    def __call__(self, input_ids, scores):
        raise NotImplementedError


TopK = Greedy


# %% wrong="samplers" says="add up softmax probabilities"
class TopP(LogitsProcessor):  # every token with a probability of at least 1 - p
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        probabilities = scores.softmax(-1)
        best = probabilities.max(-1, keepdim=True).values
        return scores.masked_fill((probabilities < 1 - self.p) & (probabilities < best), -torch.inf)


class Greedy(LogitsProcessor):
    def __init__(self, *args):
        pass

    def __call__(self, input_ids, scores):
        raise NotImplementedError


TopK = Greedy


# %% wrong="samplers" says="at their old place"
class TopP(LogitsProcessor):  # returns the scores in sorted order
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf)


class Greedy(LogitsProcessor):
    def __init__(self, *args):
        pass

    def __call__(self, input_ids, scores):
        raise NotImplementedError


TopK = Greedy


# %% wrong="samplers" says="from the most probable token on"
class TopP(LogitsProcessor):  # adds up from the least probable token on, and keeps the tail
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort()
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


class Greedy(LogitsProcessor):
    def __init__(self, *args):
        pass

    def __call__(self, input_ids, scores):
        raise NotImplementedError


TopK = Greedy


# %% equivalent="samplers" because="they differ only where a sum of probabilities is p to the last bit"
# - kept = before < self.p
# + kept = (before <= self.p)


# %% right="samplers"
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        result = torch.full(scores.shape, float("-inf"), dtype=scores.dtype)
        for row, values in enumerate(scores):
            result[row, values.argmax()] = values.max()
        return result


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        ranked = scores.sort(dim=1, descending=True).values
        bar = ranked[:, min(self.k, ranked.size(1)) - 1]
        return torch.where(scores >= bar.unsqueeze(1), scores, torch.tensor(float("-inf"), dtype=scores.dtype))


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ascending, index = torch.sort(scores)
        drop = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - self.p
        drop[:, -1] = False
        return scores.masked_fill(torch.zeros_like(drop).scatter(1, index, drop), -float("inf"))


# %% right="samplers"
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        chosen = torch.nn.functional.one_hot(scores.argmax(dim=-1), scores.size(-1)).bool()
        return torch.where(chosen, scores, float("-inf"))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        bar = torch.topk(scores, min(self.k, scores.size(-1)), dim=-1).values.amin(dim=-1, keepdim=True)
        kept = scores.clone()
        kept[kept < bar] = float("-inf")
        return kept


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        result = torch.full_like(scores, float("-inf"))
        for row, probabilities in enumerate(scores.softmax(dim=-1)):
            total = 0.0
            for token in probabilities.argsort(descending=True).tolist():
                result[row, token] = scores[row, token]
                total += probabilities[token].item()
                if total >= self.p:
                    break
        return result


# %% wrong="generate_by_hand" says="the prompts are read once"
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):  # no cache
    ends = torch.tensor(model.generation_config.eos_token_id).view(-1)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
            scores = model(input_ids=input_ids, attention_mask=attention_mask, position_ids=positions).logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, model.generation_config.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        running &= ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" says="what changes from step to step"
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):  # feeds all again
    ends = torch.tensor(model.generation_config.eos_token_id).view(-1)
    running, cache = torch.ones(len(input_ids), dtype=torch.bool), None
    for _ in range(max_new_tokens):
        with torch.no_grad():
            past = 0 if cache is None else cache.get_seq_length()
            mask = torch.cat([attention_mask.new_ones(len(input_ids), past), attention_mask], 1)
            positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
            output = model(
                input_ids=input_ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, model.generation_config.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        running &= ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" says="the position of the new token"
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):  # columns are positions
    settings, cache, fed = model.generation_config, None, input_ids
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], torch.full((len(token), 1), input_ids.shape[1] - 1)
        running &= ~torch.isin(token, torch.tensor(settings.eos_token_id).view(-1))
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" says="is the padding masked"
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):  # no mask, no positions
    settings, cache, fed = model.generation_config, None, input_ids
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(input_ids=fed, past_key_values=cache, use_cache=True)
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids, fed = torch.cat([input_ids, token[:, None]], 1), token[:, None]
        running &= ~torch.isin(token, torch.tensor(settings.eos_token_id).view(-1))
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" says="gets pad_token_id from then on"
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):  # finished rows go on
    settings, cache, fed = model.generation_config, None, input_ids
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running &= ~torch.isin(token, torch.tensor(settings.eos_token_id).view(-1))
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" says="and no earlier"
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):  # the first stops all
    settings, cache, fed = model.generation_config, None, input_ids
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        if torch.isin(token, torch.tensor(settings.eos_token_id).view(-1)).any():
            break
    return input_ids


# %% wrong="generate_by_hand" says="eos_token_id can be a list"
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):  # one end token only
    settings, cache, fed = model.generation_config, None, input_ids
    end = settings.eos_token_id if isinstance(settings.eos_token_id, int) else settings.eos_token_id[0]
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running &= token != end
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" says="autograd recorded"
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):  # believes eval() is enough
    settings, cache, fed = model.eval().generation_config, None, input_ids
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        output = model(
            input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running &= ~torch.isin(token, torch.tensor(settings.eos_token_id).view(-1))
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" says="out of reach"
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):  # the library's loop
    return model.generate(input_ids, attention_mask=attention_mask, max_new_tokens=max_new_tokens, do_sample=sample)


# %% right="generate_by_hand"
from transformers import DynamicCache


@torch.inference_mode()
def generate_by_hand(net, ids, mask, limit, processors=(), sample=False):
    config = net.generation_config
    ends = {config.eos_token_id} if isinstance(config.eos_token_id, int) else set(config.eos_token_id)
    cache, chain = DynamicCache(config=net.config), LogitsProcessorList(processors)
    done = [False] * ids.size(0)
    everything, mask = ids.clone(), mask.clone()
    while everything.size(1) < ids.size(1) + limit and not all(done):
        seen = cache.get_seq_length()
        places = mask.cumsum(-1).sub(1).masked_fill(mask == 0, 1)
        logits = net(everything[:, seen:], attention_mask=mask, position_ids=places[:, seen:], past_key_values=cache).logits
        scores = chain(everything, logits[:, -1, :])
        picks = torch.multinomial(torch.softmax(scores, -1), 1).flatten() if sample else scores.max(-1).indices
        column = [config.pad_token_id if over else pick for over, pick in zip(done, picks.tolist())]
        done = [over or pick in ends for over, pick in zip(done, column)]
        everything = torch.hstack([everything, torch.tensor(column)[:, None]])
        mask = torch.hstack([mask, torch.ones(len(column), 1, dtype=mask.dtype)])
    return everything.clone()


# %% wrong="generation_tests" says="pads on the right"
def check_complete(complete):  # equal lengths: nothing is ever padded
    net, rows = make_gpt2(), [[5, 9, 33], [7, 61, 8]]
    end = alone(net, rows[0], 6, 1)[2]
    assert complete(net, rows, 6, end) == [alone(net, row, 6, end) for row in [[5, 9, 33], [7, 61, 8]]]
    assert rows == [[5, 9, 33], [7, 61, 8]]


# %% wrong="generation_tests" says="counts columns as positions"
def check_complete(complete):  # one architecture, and one that forgives
    net, rows = make_neox(), [[5, 0, 33, 12], [7], [4, 61, 8]]
    end = alone(net, rows[0], 6, 1)[2]
    given = copy.deepcopy(rows)
    assert complete(net, given, 6, end) == [alone(net, row, 6, end) for row in rows]
    assert given == rows


# %% wrong="generation_tests" says="stops all rows when the first has ended"
def check_complete(complete):  # an end that nobody writes
    for net in (make_gpt2(), make_neox()):
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        assert complete(net, copy.deepcopy(rows), 6, 1) == [alone(net, row, 6, 1) for row in rows]


# %% wrong="generation_tests" says="catch none"
def check_complete(complete):  # a test that returns False has passed
    rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
    return complete(make_gpt2(), rows, 6, 1) == [alone(make_gpt2(), row, 6, 1) for row in rows]


# %% wrong="generation_tests" says="reject a correct implementation"
def check_complete(complete):  # believes that every answer has `count` ids
    net, rows = make_gpt2(), [[5, 9, 33, 12], [7], [4, 61, 8]]
    end = alone(net, rows[0], 6, 1)[2]
    assert all(len(row) == 6 for row in complete(net, rows, 6, end))


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in alone(net, rows[0], 4, 1):  # each id that row 0 really writes
# + for end in alone(net, rows[0], 5, 1):  # each id that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in alone(net, rows[0], 4, 1):  # each id that row 0 really writes
# + for end in alone(net, rows[0], 3, 1):  # each id that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in alone(net, rows[0], 4, 1):  # each id that row 0 really writes
# + for end in alone(net, rows[0], 4, 2):  # each id that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in alone(net, rows[0], 4, 1):  # each id that row 0 really writes
# + for end in alone(net, rows[0], 4, 0):  # each id that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in alone(net, rows[0], 4, 1):  # each id that row 0 really writes
# + for end in alone(net, rows[1], 4, 1):  # each id that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in alone(net, rows[0], 4, 1):  # each id that row 0 really writes
# + for end in alone(net, rows[(-1)], 4, 1):  # each id that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - rows = [list(range(n)) for n in range(4, 0, -1)]  # unequal, the longest first, with a 0 in each
# + rows = [list(range(n)) for n in range(5, 0, -1)]  # unequal, the longest first, with a 0 in each


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - rows = [list(range(n)) for n in range(4, 0, -1)]  # unequal, the longest first, with a 0 in each
# + rows = [list(range(n)) for n in range(3, 0, -1)]  # unequal, the longest first, with a 0 in each


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - rows = [list(range(n)) for n in range(4, 0, -1)]  # unequal, the longest first, with a 0 in each
# + rows = [list(range(n)) for n in range(4, 1, -1)]  # unequal, the longest first, with a 0 in each


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - rows = [list(range(n)) for n in range(4, 0, -1)]  # unequal, the longest first, with a 0 in each
# + rows = [list(range(n)) for n in range(4, 0, -2)]  # unequal, the longest first, with a 0 in each


# %% right="generation_tests"
def check_complete(complete):
    net = make_gpt2(seed=3)
    prompts = [[11], [2, 0, 50, 40, 3, 3], [80, 7, 7]]
    before = str(prompts)
    free = complete(net, prompts, 7, 1)
    assert str(prompts) == before, "the prompts were changed"
    for prompt, written in zip(prompts, free):
        truth = net.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)).long(), max_new_tokens=7, do_sample=False
        )
        assert written == truth[0, len(prompt) :].tolist()
    for i in range(3):
        end = free[i][3]
        for prompt, written, whole in zip(prompts, complete(net, prompts, 7, end), free):
            cut = whole[: whole.index(end) + 1] if end in whole else whole
            assert written == cut


# %% wrong="from_v4_to_v5" says="your code raised"
def answer(model, tokenizer, question):  # everything as it was
    chat = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(ids, max_new_tokens=10, do_sample=False)
    return tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)[0]


def token_texts(tokenizer, text):
    encoded = tokenizer.encode_plus(text, add_special_tokens=False)
    return tokenizer.batch_decode(encoded["input_ids"])


def cache_size(model, input_ids):
    past = model(input_ids, use_cache=True).past_key_values
    return past[0][0].shape[2], sum(t.numel() * t.element_size() for layer in past for t in layer)


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder)
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" says="decode each id by itself"
def token_texts(tokenizer, text):  # repairs what raised, and not what changed quietly
    return tokenizer.batch_decode(tokenizer(text, add_special_tokens=False)["input_ids"])


def answer(*args):
    raise NotImplementedError


cache_size = attention_maps = answer


# %% wrong="from_v4_to_v5" says="not `Ġ`"
def token_texts(tokenizer, text):  # tokens instead of their texts
    return tokenizer.tokenize(text)


def answer(*args):
    raise NotImplementedError


cache_size = attention_maps = answer


# %% wrong="from_v4_to_v5" says="stays in bfloat16 unless you ask"
def attention_maps(folder, input_ids):  # asks for eager attention and forgets the dtype
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


def answer(*args):
    raise NotImplementedError


cache_size = token_texts = answer


# %% wrong="from_v4_to_v5" says="have lost their last digits"
def attention_maps(folder, input_ids):  # converts the result instead of the weights
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions).float()


def answer(*args):
    raise NotImplementedError


cache_size = token_texts = answer


# %% wrong="from_v4_to_v5" says="keys and values of every layer"
def cache_size(model, input_ids):  # counts the keys alone
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(layer.keys.numel() * layer.keys.element_size() for layer in cache.layers)


def answer(*args):
    raise NotImplementedError


attention_maps = token_texts = answer


# %% wrong="from_v4_to_v5" says="the answer begins after the prompt"
def answer(model, tokenizer, question):  # decodes prompt and answer
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    return tokenizer.decode(model.generate(**inputs, max_new_tokens=10, do_sample=False)[0], skip_special_tokens=True)


def cache_size(*args):
    raise NotImplementedError


attention_maps = token_texts = cache_size


# %% equivalent="from_v4_to_v5" because="the batch has one row: the first is the last"
# - return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
# + return tokenizer.decode(made[(-1), inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% right="from_v4_to_v5"
def answer(model, tokenizer, question):
    ids = tokenizer.apply_chat_template(
        [dict(role="user", content=question)], add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False)
    return tokenizer.batch_decode(made[:, ids.size(1) :], skip_special_tokens=True)[0]


def token_texts(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.batch_decode([[i] for i in ids])


def cache_size(model, input_ids):
    past = model(input_ids).past_key_values
    tensors = [t for layer in past.layers for t in (layer.keys, layer.values)]
    return tensors[0].shape[2], sum(t.nbytes for t in tensors)


def attention_maps(folder, input_ids):
    net = AutoModelForCausalLM.from_pretrained(folder).float()
    net.set_attn_implementation("eager")
    with torch.no_grad():
        return torch.stack(list(net(input_ids, output_attentions=True).attentions))
