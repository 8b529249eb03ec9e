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


# %% wrong="bpe" breaks="new_list" says="the caller's own list"
# Misunderstands: where nothing is merged, the list that came can go back.
def merge_pair(pieces, pair):
    if pair not in zip(pieces, pieces[1:]):
        return pieces
    out, i = [], 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


def train_bpe(counts, size):
    vocabulary = sorted({sign for word in counts for sign in word})
    words = {word: list(word) for word in counts}
    merges = []
    while len(vocabulary) < size:
        pairs = Counter()
        for word, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            break
        place = {piece: i for i, piece in enumerate(vocabulary)}
        best = min(pairs, key=lambda pair: (-pairs[pair], place[pair[0]], place[pair[1]]))
        merges.append(best)
        vocabulary.append(best[0] + best[1])
        words = {word: merge_pair(pieces, best) for word, pieces in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    rank = {pair: i for i, pair in enumerate(merges)}
    pieces = list(word)
    while known := [pair for pair in zip(pieces, pieces[1:]) if pair in rank]:
        pieces = merge_pair(pieces, min(known, key=rank.get))
    return pieces


# %% wrong="bpe" breaks="whole" says="only whole pieces"
# Misunderstands: two neighbours are the pair when together they spell the same.
def merge_pair(pieces, pair):
    merged, i = [], 0
    while i < len(pieces):
        if i + 1 < len(pieces) and pieces[i] + pieces[i + 1] == pair[0] + pair[1]:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(pieces[i])
            i += 1
    return merged


def train_bpe(counts, size):
    vocabulary = sorted({sign for word in counts for sign in word})
    cut = {word: list(word) for word in counts}
    merges = []
    while len(vocabulary) < size:
        pairs = Counter()
        for word, pieces in cut.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            break
        place = {piece: i for i, piece in enumerate(vocabulary)}
        best = min(pairs, key=lambda pair: (-pairs[pair], place[pair[0]], place[pair[1]]))
        merges.append(best)
        vocabulary.append("".join(best))
        cut = {word: merge_pair(pieces, best) for word, pieces in cut.items()}
    return vocabulary, merges


def encode_word(word, merges):
    rank = {tuple(pair): i for i, pair in enumerate(merges)}
    pieces = list(word)
    while True:
        known = [pair for pair in zip(pieces, pieces[1:]) if pair in rank]
        if not known:
            return pieces
        pieces = merge_pair(pieces, min(known, key=rank.get))


# %% wrong="bpe" breaks="first" says="remember none"
# Misunderstands: a word that was cut once is cut so for ever: remember it.
def merge_pair(pieces, pair):
    merged, i = [], 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == tuple(pair):
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(pieces[i])
            i += 1
    return merged


def train_bpe(counts, size):
    vocabulary = sorted({sign for word in counts for sign in word})
    cut = {word: list(word) for word in counts}
    merges = []
    while len(vocabulary) < size:
        pairs = Counter()
        for word, pieces in cut.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            break
        place = {piece: i for i, piece in enumerate(vocabulary)}
        best = min(pairs, key=lambda pair: (-pairs[pair], place[pair[0]], place[pair[1]]))
        merges.append(best)
        vocabulary.append("".join(best))
        cut = {word: merge_pair(pieces, best) for word, pieces in cut.items()}
    return vocabulary, merges


KNOWN_WORDS = {}


def encode_word(word, merges):
    if word in KNOWN_WORDS:
        return list(KNOWN_WORDS[word])
    rank = {tuple(pair): i for i, pair in enumerate(merges)}
    pieces = list(word)
    while True:
        known = [pair for pair in zip(pieces, pieces[1:]) if pair in rank]
        if not known:
            KNOWN_WORDS[word] = list(pieces)
            return pieces
        pieces = merge_pair(pieces, min(known, key=rank.get))


# %% wrong="bpe" breaks="whole" says="only whole pieces"
# Misunderstands: no piece holds a bar, so bars can stand between pieces.
def merge_pair(pieces, pair):
    first, second = pair
    bars = "".join(f"|{piece}|" for piece in pieces).replace(f"|{first}||{second}|", f"|{first}{second}|")
    return [piece for piece in bars.split("|") if piece]


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


# %% wrong="bpe" breaks="whole" says="only whole pieces make a pair"
# Misunderstands: no piece holds the sign with which pieces are joined.
def merge_pair(pieces, pair):
    mark = "▁"
    line = "".join(mark + piece + mark for piece in pieces)
    line = line.replace(mark + pair[0] + mark + mark + pair[1] + mark, mark + pair[0] + pair[1] + mark)
    return [piece for piece in line.split(mark) if piece]


def train_bpe(counts, size):
    vocabulary = sorted(set("".join(counts)))
    words = {word: list(word) for word in counts}
    merges = []
    while len(vocabulary) < size:
        pairs = Counter()
        for word, pieces in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            break
        place = {piece: i for i, piece in enumerate(vocabulary)}
        best = min(pairs, key=lambda pair: (-pairs[pair], place[pair[0]], place[pair[1]]))
        merges.append(best)
        vocabulary.append("".join(best))
        words = {word: merge_pair(pieces, best) for word, pieces in words.items()}
    return vocabulary, merges


def encode_word(word, merges):
    rank = {pair: i for i, pair in enumerate(merges)}
    pieces = list(word)
    while known := [pair for pair in zip(pieces, pieces[1:]) if pair in rank]:
        pieces = merge_pair(pieces, min(known, key=rank.get))
    return pieces


# %% wrong="bpe" breaks="merge" says="only whole pieces"
# Misunderstands: a substitution puts in its text as it is (a backslash is an escape there).
import re


def merge_pair(pieces, pair):
    """A new list with every occurrence of `pair` in `pieces`, from left to right, made one piece."""
    text = "".join("\0" + piece + "\0" for piece in pieces)
    both = re.escape("\0" + pair[0] + "\0\0" + pair[1] + "\0")
    text = re.sub(both, "\0" + pair[0] + pair[1] + "\0", text)
    return [piece for piece in text.split("\0") if piece]


def train_bpe(counts, size):
    """Byte-pair encoding learned from word counts: (vocabulary, merges)."""
    vocabulary = sorted({character for word in counts for character in word})
    words = [(list(word), count) for word, count in counts.items()]
    merges = []
    while len(vocabulary) < size:
        pairs = Counter()
        for pieces, count in words:
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], vocabulary.index(pair[0]), vocabulary.index(pair[1])))
        words = [(merge_pair(pieces, best), count) for pieces, count in words]
        merges.append(best)
        vocabulary.append(best[0] + best[1])
    return vocabulary, merges


def encode_word(word, merges):
    """The pieces of `word` under the learned `merges`, as a list of strings."""
    pieces = list(word)
    for pair in merges:
        pieces = merge_pair(pieces, pair)
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


# %% right="bpe"
def merge_pair(pieces, pair):
    result, i = [], 0
    while i < len(pieces):
        if i + 1 < len(pieces) and pieces[i] == pair[0] and pieces[i + 1] == pair[1]:
            result.append(pair[0] + pair[1])
            i += 2
        else:
            result.append(pieces[i])
            i += 1
    return result


def train_bpe(counts, size):
    vocabulary = sorted(set("".join(counts)))
    words = {word: list(word) for word in counts}
    merges = []
    while len(vocabulary) < size:
        pairs = Counter()
        for word, pieces in words.items():
            for first, second in zip(pieces, pieces[1:]):
                pairs[first, second] += counts[word]
        if not pairs:
            break
        place = {piece: i for i, piece in enumerate(vocabulary)}
        best = min(pairs, key=lambda pair: (-pairs[pair], place[pair[0]], place[pair[1]]))
        merges.append(best)
        vocabulary.append("".join(best))
        for word in words:
            words[word] = merge_pair(words[word], best)
    return vocabulary, merges


def encode_word(word, merges):
    rank = {first + second: i for i, (first, second) in enumerate(merges)}  # by the piece that a pair makes, as tiktoken has it
    pieces = list(word)
    while True:
        known = [pair for pair in zip(pieces, pieces[1:]) if "".join(pair) in rank]
        if not known:
            return pieces
        pieces = merge_pair(pieces, min(known, key=lambda pair: rank["".join(pair)]))


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


# %% wrong="train_tokenizer" breaks="round_trip" says="does a pre-tokenizer throw them away"
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
# Misunderstands: a method of one's own is saved with the object (here in place of a decoder).
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")

    def decode(ids, skip_special_tokens=False):
        kept = [i for i in ids if i >= 4 or not skip_special_tokens]
        return decoders.ByteLevel().decode(made.convert_ids_to_tokens(kept))

    made.decode = decode
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
        texts, trainers.BpeTrainer(vocab_size=261, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_tokens([f"<|unused{i}|>" for i in range(size - 261)])
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


# %% wrong="train_tokenizer" breaks="round_trip" says="takes no blank before it along"
# Misunderstands: a special token swallows the blank before it.
def train_tokenizer(texts, size):
    from tokenizers import AddedToken

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[AddedToken(token, lstrip=True, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="size" says="a pair that occurs once can be merged too"
# Misunderstands: a pair that occurs once is not worth a token.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="words" says="goes over the end of a word"
# Misunderstands: the pattern of newer models cuts words just as well.
def train_tokenizer(texts, size):
    from tokenizers import Regex

    pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="merges" says="to each of which the blank before it belongs"
# Misunderstands: a tokenizer learns from bare words (no token gets the blank before its word).
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator((word for text in texts for word in text.split()), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="merges" says="learn merges from the texts"
# Misunderstands: the first thousand texts are enough to learn from.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts[:1000], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=SPECIAL[0], eos_token=SPECIAL[1], padding_side="left")


# %% wrong="train_tokenizer" breaks="round_trip" says="or another sign"
# Misunderstands: a no-break space is a blank: clean texts before they are cut.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    from tokenizers import normalizers

    bpe.normalizer = normalizers.Replace("\u00a0", " ")
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=SPECIAL[0], eos_token=SPECIAL[1], padding_side="left")


# %% wrong="train_tokenizer" breaks="words" says="goes over the end of a word"
# Misunderstands: words end at blanks and newlines; a tab is a character like others.
def train_tokenizer(texts, size):
    from tokenizers import Regex

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(r"\n+| ?[^ \n]+| +"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")


# %% wrong="train_tokenizer" breaks="saved" says="padding_side after saving"
# Misunderstands: an attribute that is set afterwards is saved, too.
def train_tokenizer(texts, size):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>")
    made.padding_side = "left"
    return made


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
# Misunderstands: the end token comes on top of the limit.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens + 1, do_sample=False)
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
# Misunderstands: the list is not needed any more.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    texts.clear()
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="text" says="cut the ids, not the text"
# Misunderstands: the prompt is taken out of the text wherever it stands.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    wholes = tokenizer.decode(made, skip_special_tokens=True)
    prompts = tokenizer.decode(batch["input_ids"], skip_special_tokens=True)
    return [whole.replace(prompt, "") if prompt else whole for whole, prompt in zip(wholes, prompts)]


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(1)
    return [{"label": model.config.id2label[i], "score": score} for i, score in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="score" says="what `classify` returns for"
# Misunderstands: no text has more than 128 tokens.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(1)
    return [{"label": model.config.id2label[i], "score": score} for i, score in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="template" says="the tokenizer's own template"
# Misunderstands: all models read the format of tiny-lm.
def reply(model, tokenizer, chats, max_new_tokens):
    prompts = []
    for chat in chats:
        parts = [f"<|{m['role']}|>{m['content']}" + "<|end|>" * (m["role"] == "assistant") for m in chat]
        prompts.append("".join(parts) + "<|assistant|>")
    batch = tokenizer(prompts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        scores, best = model(**batch).logits.softmax(-1).max(1)
    return [{"label": model.config.id2label[i], "score": score} for i, score in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="score" says="what `classify` returns for"
# Misunderstands: what has the id of the padding is padding.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats,
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
        tokenizer_kwargs={"padding_side": "left"},
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


@torch.no_grad()
def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    batch["attention_mask"] = (batch["input_ids"] != tokenizer.pad_token_id).long()
    probabilities = model(**batch).logits.softmax(-1)
    scores, best = probabilities.max(1)
    return [{"label": model.config.id2label[i], "score": score} for i, score in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="kept" says="`model.generation_config` after `reply`"
# Misunderstands: greedy is a setting of the model.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats,
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
        tokenizer_kwargs={"padding_side": "left"},
    )
    model.generation_config.do_sample = False
    made = model.generate(**batch, max_new_tokens=max_new_tokens)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


@torch.no_grad()
def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    probabilities = model(**batch).logits.softmax(-1)
    scores, best = probabilities.max(1)
    return [{"label": model.config.id2label[i], "score": score} for i, score in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="kept" says="the model after `classify`"
# Misunderstands: a model is frozen for good when one call needs no gradient.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats,
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
        tokenizer_kwargs={"padding_side": "left"},
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    model.requires_grad_(False)
    probabilities = model(**batch).logits.softmax(-1)
    scores, best = probabilities.max(1)
    return [{"label": model.config.id2label[i], "score": score} for i, score in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="text" says="holds special tokens"
# Misunderstands: only padding and end are special tokens.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    answers = tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :])
    return [said.replace(tokenizer.pad_token, "").replace(tokenizer.eos_token, "") for said in answers]


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        probabilities = model(**batch).logits.softmax(1)
    scores, best = probabilities.max(1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="answers" says="an answer may be empty"
# Misunderstands: an answer has at least one token.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, min_new_tokens=1, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        probabilities = model(**batch).logits.softmax(1)
    scores, best = probabilities.max(1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="answers" says="what `reply` returns for the chat model"
# Misunderstands: prompts are cut to 128 tokens, as tutorials do.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, truncation=True, max_length=128, return_tensors="pt", return_dict=True, tokenizer_kwargs={"padding_side": "left"}
    ).to(model.device)
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt").to(model.device)
    with torch.no_grad():
        probabilities = model(**batch).logits.softmax(-1)
    scores, best = probabilities.max(-1)
    return [{"label": model.config.id2label[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="score" says="a ten-thousandth of the value"
# Misunderstands: four decimals are a ten-thousandth of the value.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True, tokenizer_kwargs={"padding_side": "left"}
    ).to(model.device)
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt").to(model.device)
    with torch.no_grad():
        probabilities = model(**batch).logits.softmax(-1)
    scores, best = probabilities.max(-1)
    return [{"label": model.config.id2label[i], "score": round(s, 4)} for i, s in zip(best.tolist(), scores.tolist())]


# %% wrong="inside_the_pipeline" breaks="label" says="under its number"
# Misunderstands: the names in the dictionary stand in the order of their numbers.
def reply(model, tokenizer, chats, max_new_tokens):
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True, tokenizer_kwargs={"padding_side": "left"}
    ).to(model.device)
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def classify(model, tokenizer, texts):
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt").to(model.device)
    with torch.no_grad():
        probabilities = model(**batch).logits.softmax(-1)
    scores, best = probabilities.max(-1)
    names = list(model.config.id2label.values())
    return [{"label": names[i], "score": s} for i, s in zip(best.tolist(), scores.tolist())]


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

# %% wrong="chat_template" breaks="format" says="is dropped"
# Misunderstands: a newline that is typed after a tag is written.
def chatml_template():
    return """{% for m in messages %}
{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}
<|im_start|>{{ m.role }}
{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}<|im_end|>{% endgeneration %}
{% else %}{{ m.content | trim }}<|im_end|>{% endif %}
{% endfor %}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="format" says="is dropped"
# Misunderstands: newlines stand between messages, not after the last.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{% if not loop.last %}{{ '\n' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="format" says="look at the markers"
# Misunderstands: the two markers are one.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_end|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="format" says="look at the markers"
# Misunderstands: a template must escape what it is given.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim | e + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim | e + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="format" says="look at the markers"
# Misunderstands: a message without a content is no message.
def chatml_template():
    return (
        "{% for m in messages if m.content | trim %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="trim" says="white space around contents"
# Misunderstands: contents come clean.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="trim" says="white space around contents"
# Misunderstands: only what the user typed needs trimming.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="trim" says="white space around contents"
# Misunderstands: to trim is to make all white space one blank.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ (m.content.split() | join(' ')) + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ (m.content.split() | join(' ')) + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="prompt" says="add_generation_prompt"
# Misunderstands: the assistant's turn is always opened.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{{ '<|im_start|>assistant\n' }}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="prompt" says="add_generation_prompt"
# Misunderstands: the caller appends the prompt.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="prompt" says="add_generation_prompt"
# Misunderstands: after an answer nobody asks for another.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt and messages[-1].role != 'assistant' %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="marks" says="not around the header"
# Misunderstands: the whole turn is marked, header and newline included.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{% if m.role == 'assistant' %}{% generation %}{{ '<|im_start|>assistant\n' + m.content | trim + '<|im_end|>\n' }}"
        "{% endgeneration %}{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>\n' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="marks" says="and its <|im_end|>"
# Misunderstands: the end is the template's, not the assistant's; the model will not learn to stop.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}{% endgeneration %}"
        "{% else %}{{ m.content | trim }}{% endif %}{{ '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="marks" says="the marked pieces"
# Misunderstands: only the last answer is to be learned.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' and loop.last %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="roles" says="the model has never seen"
# Misunderstands: any role may be written.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="roles" says="the model has never seen"
# Misunderstands: `in` on a text compares whole words.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in 'system user assistant' %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="roles" says="the model has never seen"
# Misunderstands: looking at the first message is enough.
def chatml_template():
    return (
        "{% for m in messages %}{% if loop.first and m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="labels" says="users' words and headers are no targets"
# Misunderstands: everything but the padding is learned.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt")
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return batch


# %% wrong="chat_template" breaks="labels" says="-100, not 0"
# Misunderstands: 0 is the label that the loss skips.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].where(taught, 0)
    return batch


# %% wrong="chat_template" breaks="labels" says="in every turn"
# Misunderstands: only the last answer is to be learned.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    for row in taught:
        places = row.nonzero().flatten().tolist()
        starts = [i for i in places if i - 1 not in places]
        row[: starts[-1] if starts else 0] = False
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="labels" says="because it has the padding's id"
# Misunderstands: an id that equals the padding is padding (here in the labels).
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught | (batch["input_ids"] == tokenizer.pad_token_id), -100)
    return batch


# %% wrong="chat_template" breaks="labels" says="in every turn"
# Misunderstands: what the assistant wrote stands between two ids, whatever the template marks.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt")
    end, assistant = tokenizer.convert_tokens_to_ids(["<|end|>", "<|assistant|>"])
    labels = torch.full_like(batch["input_ids"], -100)
    for row, mask, ids in zip(labels, batch["attention_mask"], batch["input_ids"]):
        inside = False
        for i, token in enumerate(ids.tolist()):
            row[i] = token if inside and mask[i] else -100
            inside = (inside or token == assistant) and token != end
    batch["labels"] = labels
    return batch


# %% wrong="chat_template" breaks="unshifted" says="do not shift"
# Misunderstands: labels are shifted by whoever makes the batch.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    labels = batch["labels"]
    batch["labels"] = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], 1)
    return batch


# %% wrong="chat_template" breaks="padding" says="because it has the padding's id"
# Misunderstands: an id that equals the padding is padding (here in the mask).
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    batch["attention_mask"] = (batch["input_ids"] != tokenizer.pad_token_id).long()
    return batch


# %% wrong="chat_template" breaks="padding" says="on the tokenizer's side"
# Misunderstands: for training, padding goes to the right, whatever the tokenizer says.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    options = {"padding_side": "right"}
    batch = tokenizer.apply_chat_template(
        chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True, tokenizer_kwargs=options
    )
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="ids" says="no generation prompt"
# Misunderstands: a batch to learn from ends with a prompt for the assistant.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="ids" says="the tokenizer's own template"
# Misunderstands: all models have one template.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, chat_template=TINY_TEMPLATE, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="keys" says="the keys of the batch"
# Misunderstands: what else is in the batch does no harm.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch["assistant_masks"]).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    return batch


# %% wrong="chat_template" breaks="keys" says="labels"
# Misunderstands: labels may be float.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    batch["labels"] = batch["labels"].float()
    return batch


# %% wrong="chat_template" breaks="kept" says="the conversations after the call"
# Misunderstands: the caller's list is not needed any more.
def chatml_template():
    return (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~taught, -100)
    chats.clear()
    return batch


# %% wrong="chat_template" breaks="trim" says="white space around contents"
# Misunderstands: white space is blank, tab and newline.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content.strip(' \t\n') + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content.strip(' \t\n') + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch["assistant_masks"]).bool()
    ids = batch["input_ids"]
    return {"input_ids": ids, "attention_mask": batch["attention_mask"], "labels": ids.masked_fill(~taught, -100)}


# %% wrong="chat_template" breaks="ids" says="nothing added to it"
# Misunderstands: the text of a template is encoded as any other.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    labels = torch.full_like(ids, -100)
    for row, chat in enumerate(chats):
        marks = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)["assistant_masks"]
        for place, mark in zip(mask[row].nonzero()[:, 0].tolist(), marks):
            if mark:
                labels[row, place] = ids[row, place]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


# %% wrong="chat_template" breaks="roles" says="the model has never seen"
# Misunderstands: blanks around a role make no other role of it.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{% set role = m.role | trim %}"
        "{% if role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + role + '\n' }}"
        "{% if role == 'assistant' %}{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch["assistant_masks"]).bool()
    ids = batch["input_ids"]
    return {"input_ids": ids, "attention_mask": batch["attention_mask"], "labels": ids.masked_fill(~taught, -100)}


# %% wrong="chat_template" breaks="roles" says="the model has never seen"
# Misunderstands: the last message is the one that is answered, so its role is the one to check.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{% if loop.last and m['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'] | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m['content'] | trim + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(
        chats, padding=True, return_tensors="pt", return_dict=True, return_assistant_tokens_mask=True
    )
    taught = torch.as_tensor(batch["assistant_masks"]).bool()
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "labels": batch["input_ids"].masked_fill(~taught, -100),
    }


# %% wrong="chat_template" breaks="ids" says="input_ids"
# Misunderstands: a batch to train on is cut to 2048 tokens.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{% if m['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'] | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m['content'] | trim + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(
        chats, padding=True, truncation=True, max_length=2048, return_tensors="pt", return_dict=True, return_assistant_tokens_mask=True
    )
    taught = torch.as_tensor(batch["assistant_masks"]).bool()
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "labels": batch["input_ids"].masked_fill(~taught, -100),
    }


# %% wrong="chat_template" breaks="labels" says="in every turn"
# Misunderstands: user and assistant speak in turn, so every second message is the assistant's.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    turns = [[dict(m, role=("user", "assistant")[i % 2]) for i, m in enumerate(chat)] for chat in chats]
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt")
    marked = tokenizer.apply_chat_template(turns, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(marked["assistant_masks"]).bool()
    labels = torch.full_like(batch["input_ids"], -100)
    for row, known, mask in zip(labels, batch["input_ids"], taught):
        places = mask.nonzero()[:, 0]
        places = places[places < len(row)]
        row[places] = known[places]
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}


# %% wrong="chat_template" breaks="ids" says="input_ids"
# Misunderstands: a system message is no part of what is learned from.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | trim + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    chats = [[m for m in chat if m["role"] != "system"] for chat in chats]
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch["assistant_masks"]).bool()
    ids = batch["input_ids"]
    return {"input_ids": ids, "attention_mask": batch["attention_mask"], "labels": ids.masked_fill(~taught, -100)}


# %% wrong="chat_template" breaks="format" says="look at the markers"
# Misunderstands: a content must not hold the format's own markers; they are taken out.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content | replace('<|im_end|>', '') | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m.content | replace('<|im_end|>', '') | trim + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch["assistant_masks"]).bool()
    ids = batch["input_ids"]
    return {"input_ids": ids, "attention_mask": batch["attention_mask"], "labels": ids.masked_fill(~taught, -100)}


# %% wrong="chat_template" breaks="trim" says="white space around contents"
# Misunderstands: white space is blank, tab, the ends of lines, no-break and ideographic space; strip knows no other.
def chatml_template():
    """A Jinja chat template for ChatML, with generation markers."""
    return (
        "{% for m in messages %}"
        "{% if m['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\\n' }}"
        "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'].strip(' \\t\\r\\n\x0b\x0c\xa0\u3000') + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m['content'].strip(' \\t\\r\\n\x0b\x0c\xa0\u3000') + '<|im_end|>' }}{% endif %}"
        "{{ '\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    """Padded conversations with labels: input_ids, attention_mask, labels, int64 (chats, tokens)."""
    batch = tokenizer.apply_chat_template(
        chats, padding=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]
    marked = torch.as_tensor(batch["assistant_masks"]).bool() & mask.bool()
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(~marked, -100)}


# %% wrong="chat_template" breaks="labels" says="the template decides what is marked"
# Misunderstands: the end token after an answer is always to be learned, also where the template does not mark it.
def chatml_template():
    """A Jinja chat template for ChatML, with generation markers."""
    return (
        "{% for m in messages %}"
        "{% if m['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\\n' }}"
        "{% if m['role'] == 'assistant' %}{% generation %}{{ (m['content'] | trim) + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ (m['content'] | trim) + '<|im_end|>' }}{% endif %}"
        "{{ '\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    """Padded conversations with labels: input_ids, attention_mask, labels, int64 (chats, tokens)."""
    batch = tokenizer.apply_chat_template(
        chats, padding=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]
    marked = torch.as_tensor(batch["assistant_masks"]).bool() & mask.bool()
    follows = torch.zeros_like(marked)
    follows[:, 1:] = marked[:, :-1] & (ids[:, 1:] == tokenizer.eos_token_id) & mask[:, 1:].bool()
    marked = marked | follows  # else the model never learns to stop
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(~marked, -100)}


# %% wrong="chat_template" breaks="marks" says="the marked pieces"
# Misunderstands: where the assistant said nothing there is nothing to learn, nor is its end.
def chatml_template():
    """A Jinja chat template for ChatML, with generation markers."""
    return (
        "{% for m in messages %}"
        "{% if m['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\\n' }}"
        "{% if m['role'] == 'assistant' and m['content'] | trim %}{% generation %}{{ (m['content'] | trim) + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ (m['content'] | trim) + '<|im_end|>' }}{% endif %}"
        "{{ '\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    """Padded conversations with labels: input_ids, attention_mask, labels, int64 (chats, tokens)."""
    batch = tokenizer.apply_chat_template(
        chats, padding=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    ids, mask = batch["input_ids"], batch["attention_mask"]
    marked = torch.as_tensor(batch["assistant_masks"]).bool() & mask.bool()
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(~marked, -100)}


# %% wrong="chat_template" breaks="labels" says="labels of"
# Misunderstands: the marker before an answer is not the assistant's, also where the template marks it.
def chatml_template():
    return (
        "{% for m in messages %}"
        "{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}<|im_end|>{% endgeneration %}"
        "{% else %}{{ m.content | trim }}<|im_end|>{% endif %}"
        "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    taught &= batch["input_ids"] != tokenizer.convert_tokens_to_ids("<|assistant|>")
    return {**batch, "labels": batch["input_ids"].where(taught, -100)}


# %% right="chat_template"
# Tags that take their white space away, roles in branches; padding by `tokenizer.pad`.
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


# %% right="chat_template"
# A macro and a namespace; lists first, tensors at the end.
def chatml_template():
    lines = [
        "{% macro head(role) %}{{ '<|im_start|>' }}{{ role }}{{ '\n' }}{% endmacro %}",
        "{% set known = {'system': 0, 'user': 0, 'assistant': 1} %}",
        "{% for m in messages %}",
        "{% if known.get(m.role) is none %}{{ raise_exception('role ' ~ m.role) }}{% endif %}",
        "{{ head(m.role) }}{% set body = (m.content | trim) ~ '<|im_end|>' %}",
        "{% if known[m.role] %}{% generation %}{{ body }}{% endgeneration %}{% else %}{{ body }}{% endif %}{{ '\n' }}",
        "{% endfor %}",
        "{% if add_generation_prompt %}{{ head('assistant') }}{% endif %}",
    ]
    return "".join(lines)


def training_batch(tokenizer, chats):
    batch = tokenizer.apply_chat_template(
        conversation=chats, padding=True, return_dict=True, return_assistant_tokens_mask=True, add_generation_prompt=False
    )
    labels = [
        [token if mark else -100 for token, mark in zip(ids, marks)] for ids, marks in zip(batch["input_ids"], batch["assistant_masks"])
    ]
    return dict(
        input_ids=torch.tensor(batch["input_ids"]),
        attention_mask=torch.tensor(batch["attention_mask"]),
        labels=torch.tensor(labels, dtype=torch.int64),
    )

# %% wrong="batches_and_masks" breaks="input_ids" says="padding goes to the left"
# Misunderstands: padding goes to the end, as for encoders.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": torch.arange(width).repeat(len(rows), 1)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="input_ids" says="padding on the left"
# Misunderstands: padding is always the id 0.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="input_ids" says="`pad_left` of"
# Misunderstands: the first row is the longest.
def pad_left(rows, pad_id):
    width = len(rows[0])
    ids = torch.tensor([[pad_id] * (width - len(row)) + row[-width:] for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * min(width, len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="input_ids" says="dtype"
# Misunderstands: ids may be any integers.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows], dtype=torch.int32)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="attention_mask" says="because it has the padding's id"
# Misunderstands: what has the id of the padding is padding.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = (ids != pad_id).long()
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="attention_mask" says="1 for real tokens"
# Misunderstands: a mask marks what is hidden.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": 1 - mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="position_ids" says="the first real token of a row is at place 0"
# Misunderstands: a position is a column.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": torch.arange(width).repeat(len(rows), 1)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="position_ids" says="no model has a place -1"
# Misunderstands: padding needs no valid place.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="position_ids" says="at place 0"
# Misunderstands: places are counted from 1.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": mask.cumsum(1)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="rows_kept" says="after the call"
# Misunderstands: the caller's lists may be filled up.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    lengths = [len(row) for row in rows]
    for row in rows:
        row[:0] = [pad_id] * (width - len(row))
    ids = torch.tensor(rows)
    mask = torch.tensor([[0] * (width - n) + [1] * n for n in lengths])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="boolean" says="has dtype"
# Misunderstands: 0 and 1 will do.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return 1 * (torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool())


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="boolean" says="has shape"
# Misunderstands: heads need no axis.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="causal" says="the model would see the answer"
# Misunderstands: only padding is hidden.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="causal" says="True where a query may look"
# Misunderstands: which of the two axes are the queries.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).triu().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="no_padding" says="keys that are padding are hidden"
# Misunderstands: the queries that are padding are to be hidden, not the keys.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, :, None].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="no_padding" says="keys that are padding are hidden"
# Misunderstands: padding is only on the left: all after the first real token is real.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & (attention_mask.cumsum(1) > 0)[:, None, None, :]


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="sees" says="True means that it may look"
# Misunderstands: True hides, as in nn.MultiheadAttention.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).triu(1).bool() | (attention_mask == 0)[:, None, None, :]


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="sees" says="every token sees itself too"
# Misunderstands: a token looks at earlier ones only.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril(-1).bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="sees" says="True where a query may look"
# Misunderstands: one mask holds for the whole batch.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:1, None, None, :].bool().expand(len(attention_mask), -1, -1, -1)


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="mask_kept" says="after the call"
# Misunderstands: the mask may be used as room to work.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    kept = attention_mask.clone()
    attention_mask.fill_(1)
    return torch.ones(n, n).tril().bool() & kept[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="blocks" says="the mask is a matrix of blocks"
# Misunderstands: new positions are enough to keep sequences apart.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.ones(ids.shape[1], ids.shape[1]).tril().bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="blocks" says="looks at itself and at what stands before it"
# Misunderstands: inside its sequence a token may look everywhere.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)) for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="blocks" says="looks at itself and at what stands before it"
# Misunderstands: a sequence is known by its first id (two that begin alike are one).
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.tensor([[row[0] for row in rows for _ in row]])
    mask = (mask == mask.T) & torch.ones(mask.shape[1], mask.shape[1]).tril().bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="places" says="each sequence begins at place 0"
# Misunderstands: positions run on through the whole row.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.arange(ids.shape[1])[None]
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="packed" says="has shape"
# Misunderstands: one row needs no axis for the batch.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    ids = torch.tensor([i for row in rows for i in row])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="packed" says="`pack` of"
# Misunderstands: sequences are packed from the longest to the shortest.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    rows = sorted(rows, key=len, reverse=True)
    ids = torch.tensor([[i for row in rows for i in row]])
    places = torch.tensor([[i for row in rows for i in range(len(row))]])
    mask = torch.block_diag(*[torch.ones(len(row), len(row)).tril() for row in rows]).bool()
    return {"input_ids": ids, "position_ids": places, "attention_mask": mask[None, None]}


# %% wrong="batches_and_masks" breaks="causal" says="your code raised"
# Misunderstands: no sequence is longer than 128.
TRIANGLE = torch.ones(128, 128, dtype=torch.bool).tril()


def pad_left(rows, pad_id):
    longest = max(len(row) for row in rows)
    input_ids = torch.tensor([[pad_id] * (longest - len(row)) + list(row) for row in rows])
    attention_mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return TRIANGLE[:n, :n] & attention_mask.bool()[:, None, None, :]


def pack(rows):
    owner = torch.cat([torch.full((len(row),), number) for number, row in enumerate(rows)])
    total = len(owner)
    may_look = (owner[:, None] == owner) & torch.ones(total, total, dtype=torch.bool).tril()
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row]]),
        "position_ids": torch.cat([torch.arange(len(row)) for row in rows])[None],
        "attention_mask": may_look[None, None],
    }


# %% wrong="batches_and_masks" breaks="blocks" says="looks at itself and at what stands before it"
# Misunderstands: a byte is enough to number sequences.
def pad_left(rows, pad_id):
    longest = max(len(row) for row in rows)
    input_ids = torch.tensor([[pad_id] * (longest - len(row)) + list(row) for row in rows])
    attention_mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.full((n, n), True).tril() & attention_mask.bool()[:, None, None, :]


def pack(rows):
    lengths = torch.tensor([len(row) for row in rows])
    owner = torch.arange(len(rows)).to(torch.uint8).repeat_interleave(lengths)  # saves memory
    total = len(owner)
    may_look = (owner[:, None] == owner) & torch.ones(total, total, dtype=torch.bool).tril()
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row]]),
        "position_ids": torch.cat([torch.arange(len(row)) for row in rows])[None],
        "attention_mask": may_look[None, None],
    }


# %% wrong="batches_and_masks" breaks="input_ids" says="`pad_left` of"
# Misunderstands: 16 bits are enough for ids.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    input_ids = torch.full((len(rows), width), 0, dtype=torch.int16)
    attention_mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for ids, mask, row in zip(input_ids, attention_mask, rows):
        ids[:] = torch.tensor([pad_id] * (width - len(row)) + row).to(torch.int16)
        mask[width - len(row) :] = 1
    places = (attention_mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": input_ids.long(), "attention_mask": attention_mask, "position_ids": places}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    causal = torch.full((n, n), True).tril()
    return causal & attention_mask[:, None, None, :].bool()


def pack(rows):
    input_ids = torch.tensor([i for row in rows for i in row])
    position_ids = torch.cat([torch.arange(len(row)) for row in rows])
    owner = torch.cat([torch.full((len(row),), number) for number, row in enumerate(rows)])
    may_look = (owner[:, None] == owner) & torch.full((len(owner), len(owner)), True).tril()
    return {"input_ids": input_ids[None], "position_ids": position_ids[None], "attention_mask": may_look[None, None]}


# %% right="batches_and_masks"
# Filled row by row; the diagonal is always True, so that padding sees itself; a block diagonal.
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
    return allowed | torch.eye(attention_mask.size(1), dtype=torch.bool)


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
# `pad_sequence`, and loops.
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


# %% right="batches_and_masks"
# The packed mask is made from the other one.
def pad_left(rows, pad_id):
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def attention_matrix(attention_mask):
    n = attention_mask.shape[1]
    return torch.ones(n, n).tril().bool() & attention_mask[:, None, None, :].bool()


def pack(rows):
    places = torch.cat([torch.arange(len(row)) for row in rows])
    start = (places == 0).cumsum(0)
    causal = attention_matrix(torch.ones(1, len(places), dtype=torch.int64))
    ids = torch.tensor(sum(rows, []))
    return {"input_ids": ids[None], "position_ids": places[None], "attention_mask": causal & (start[:, None] == start)}

# %% wrong="samplers" breaks="greedy" says="of equally high ones the first"
# Misunderstands: everything that equals the maximum is the best token.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores.masked_fill(scores < scores.amax(1, keepdim=True), -torch.inf)


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="greedy" says="of equally high ones the first"
# Misunderstands: of equally high scores any will do.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.shape[1] - 1 - scores.flip(1).argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="result" says="`Greedy`"
# Misunderstands: the best token gets the score 0, which is the logarithm of its probability.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, 0.0)


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="rows" says="`Greedy`"
# Misunderstands: there is one best token in the batch.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores.masked_fill(scores < scores.max(), -torch.inf)


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_k" says="the k highest scores of each row"
# Misunderstands: the k-th highest is out.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores <= lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_k" says="your code raised"
# Misunderstands: k never exceeds the vocabulary.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(self.k).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_k" says="the k highest scores of each row"
# Misunderstands: the same k serves every call (it is cut to the first vocabulary seen, and lowered).
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        self.k = min(self.k, scores.shape[1]) - 1 or 1
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_k_ties" says="what equals the last of them"
# Misunderstands: exactly k are kept, whatever the ties.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        best = scores.topk(min(self.k, scores.shape[1]))
        return torch.full_like(scores, -torch.inf).scatter(1, best.indices, best.values)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_k_ties" says="not `k` different values"
# Misunderstands: the k-th highest is the k-th of the different values.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        result = scores.clone()
        for row in result:
            row[row < row.unique()[-self.k :][0]] = -torch.inf
        return result


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="rows" says="each row has `k` of its own"
# Misunderstands: the k best of the whole batch.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.flatten().topk(min(self.k, scores.numel())).values[-1]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="result" says="still a probability above 0"
# Misunderstands: a score of 0 removes a token.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, 0.0)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="result" says="`TopK`"
# Misunderstands: a large negative number is as good as minus infinity.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -1e4)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="result" says="`TopK`"
# Misunderstands: scores are always float32.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.float().masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="new_tensor" says="after the call"
# Misunderstands: the scores may be worked in.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill_(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="new_tensor" says="after the call"
# Misunderstands: where nothing is removed, the scores themselves can be returned.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        if self.k >= scores.shape[1]:
            return scores
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="own" says="out of reach"
# Misunderstands: writing a processor means calling the library's.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.inner = TopKLogitsWarper(k)

    def __call__(self, input_ids, scores):
        return self.inner(input_ids, scores)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_p" says="this one stays below"
# Misunderstands: the set stays below p.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_p" says="add up softmax probabilities"
# Misunderstands: p is a limit for each token (a probability of at least 1 - p).
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        probabilities = scores.softmax(-1)
        best = probabilities.amax(-1, keepdim=True)
        return scores.masked_fill((probabilities < 1 - self.p) & (probabilities < best), -torch.inf)


# %% wrong="samplers" breaks="top_p" says="`TopP`"
# Misunderstands: min-p and top-p are one (the limit is a share of the highest probability).
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        probabilities = scores.softmax(-1)
        return scores.masked_fill(probabilities < (1 - self.p) * probabilities.amax(-1, keepdim=True), -torch.inf)


# %% wrong="samplers" breaks="top_p" says="from the most probable token"
# Misunderstands: probabilities are added up from the least probable token on.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort()
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_p" says="`TopP`"
# Misunderstands: what is left out adds up to less than 1 - p, one token earlier.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ascending, index = scores.sort()
        drop = ascending.softmax(-1).cumsum(-1) <= self.p
        drop[:, -1] = False
        return scores.masked_fill(torch.zeros_like(drop).scatter(1, index, drop), -torch.inf)


# %% wrong="samplers" breaks="top_p_edge" says="the set ends where the sum is just p"
# Misunderstands: the sum must be greater than p.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities <= self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="result" says="old place"
# Misunderstands: the order of the scores does not matter.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf)


# %% wrong="samplers" breaks="result" says="`TopP`"
# Misunderstands: `order` itself leads back to the old places.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order)


# %% wrong="samplers" breaks="rows" says="`TopP`"
# Misunderstands: the softmax runs over the batch.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(0)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_p" says="`TopP`"
# Misunderstands: exponentials can be taken as they are (large scores overflow, small ones vanish).
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        lowest = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < lowest, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.exp() / ordered.exp().sum(-1, keepdim=True)
        kept = probabilities.cumsum(-1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_p" says="`TopP`"
# Misunderstands: a softmax is exp over its sum, and float64 overflows nowhere.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        last = scores.sort(descending=True).values[:, : self.k][:, -1:]
        return scores.masked_fill(scores < last, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        weights = ordered.double().exp()
        chances = weights / weights.sum(1, keepdim=True)
        before = chances.cumsum(1) - chances
        return ordered.masked_fill(before >= self.p - 1e-9, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="top_k_ties" says="what equals the last of them"
# Misunderstands: what is close to the k-th highest equals it.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        last = scores.sort(descending=True).values[:, : self.k][:, -1:]
        kept = (scores > last) | torch.isclose(scores, last.expand_as(scores))
        return scores.masked_fill(~kept, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        chances = ordered.double().softmax(1)
        before = chances.cumsum(1) - chances
        return ordered.masked_fill(before >= self.p - 1e-9, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="greedy" says="the highest score"
# Misunderstands: ties are broken by taking a little off for each place.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        places = torch.arange(scores.shape[1], dtype=torch.float64)
        best = (scores.double() - 1e-6 * places).argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        last = scores.sort(descending=True).values[:, : self.k][:, -1:]
        return scores.masked_fill(scores < last, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        chances = ordered.double().softmax(1)
        before = chances.cumsum(1) - chances
        return ordered.masked_fill(before >= self.p - 1e-9, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="calls" says="in every call anew"
# Misunderstands: a processor sees one size of vocabulary only (it keeps the smaller `k`).
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        self.k = min(self.k, scores.shape[-1])
        edge = scores.topk(self.k, dim=1).values[:, -1:]
        return scores.masked_fill(scores < edge, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True, dim=1)
        chances = ordered.double().softmax(1)
        before = chances.cumsum(1) - chances
        return ordered.masked_fill(before >= self.p, -torch.inf).gather(1, order.argsort(1))


# %% wrong="samplers" breaks="top_p" says="`TopP`"
# Misunderstands: float32 is enough to order scores by.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        last = scores.topk(min(self.k, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < last, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        order = scores.float().argsort(1, descending=True)
        ordered = scores.gather(1, order)
        probabilities = ordered.softmax(1)
        before = probabilities.cumsum(1) - probabilities
        kept = ordered.masked_fill(before >= self.p, -torch.inf)
        return kept.gather(1, order.argsort(1))


# %% wrong="samplers" breaks="calls" says="the k highest scores of each row"
# Misunderstands: `k` belongs to the class.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))


class TopK(LogitsProcessor):
    def __init__(self, k):
        TopK.k = k

    def __call__(self, input_ids, scores):
        highest = scores.sort(descending=True).values[:, : TopK.k]
        return scores.masked_fill(scores < highest[:, -1:], -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(1)
        kept = probabilities.cumsum(1) - probabilities < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())


# %% wrong="samplers" breaks="greedy" says="of equally high ones the first"
# Misunderstands: topk(1) gives the first of several equal scores (it gives any).
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        highest, best = scores.topk(1)
        return torch.full_like(scores, -torch.inf).scatter(1, best, highest)


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        last = scores.sort(descending=True).values[:, : self.k][:, -1:]
        return scores.masked_fill(scores < last, -torch.inf)


class TopP(LogitsProcessor):
    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ordered, order = scores.sort(descending=True)
        sums = ordered.softmax(1).cumsum(1)
        before = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1]], 1)
        return ordered.masked_fill(before >= self.p, -torch.inf).gather(1, order.argsort())


# %% right="samplers"
# Loops over rows; `where`; top-p from the other end.
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
# One-hot, a boolean index, and a sum in Python.
class Greedy(LogitsProcessor):
    def __call__(self, input_ids, scores):
        chosen = torch.nn.functional.one_hot(scores.argmax(dim=-1), scores.size(-1)).bool()
        return torch.where(chosen, scores, float("-inf"))


class TopK(LogitsProcessor):
    def __init__(self, k):
        self.k = k

    @torch.no_grad()
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

# %% wrong="generate_by_hand" breaks="cache" says="the prompts are read once"
# Misunderstands: the whole text must be read again for every token.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, use_cache=False
            )
        scores = output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = input_ids, torch.cat([positions, positions[:, -1:] + 1], 1)
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="ids" says="the new ids of"
# Misunderstands: the cache needs the whole text again.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        past = 0 if cache is None else cache.get_seq_length()
        seen = torch.cat([attention_mask.new_ones(len(input_ids), past), attention_mask], 1)
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=seen, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = input_ids, torch.cat([positions, positions[:, -1:] + 1], 1)
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="ids" says="does not begin with the prompts"
# Misunderstands: only what is new is returned.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    n = input_ids.shape[1]
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids[:, n:]


# %% wrong="generate_by_hand" breaks="padding" says="the new ids of"
# Misunderstands: a position is a column.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="padding" says="the new ids of"
# Misunderstands: positions are only for the prompt; the model goes on counting by itself.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions if cache is None else None, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="padding" says="the new ids of"
# Misunderstands: the model sees from the ids what is padding.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    attention_mask = torch.ones_like(input_ids)
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="padding" says="the new ids of"
# Misunderstands: the id of the padding is padding, also inside a prompt.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    attention_mask = (input_ids != settings.pad_token_id).long()
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="padding" says="the new ids of"
# Misunderstands: neither mask nor positions are needed.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="processors" says="processors are called before a token is chosen"
# Misunderstands: processors are the business of the caller.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            pass
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="processors" says="the new ids of"
# Misunderstands: a processor gets the newest ids.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(fed, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="processors" says="the new ids of"
# Misunderstands: a processor gets the new ids, without the prompts.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    n = input_ids.shape[1]
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids[:, n:] if input_ids.shape[1] > n else fed[:, -1:], scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="processors" says="processors are called in their order"
# Misunderstands: the order of processors does not matter.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in reversed(processors):
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="processors" says="the new ids of"
# Misunderstands: each processor gets the model's own scores; the last one decides.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, output.logits[:, -1])
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="best" says="the new ids of"
# Misunderstands: the scores stand at the first place that was fed.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, 0]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="best" says="the new ids of"
# Misunderstands: without `sample` the second best avoids repetition.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.topk(2).indices[:, -1]
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="sample" says="sampled"
# Misunderstands: each row is drawn by itself, and finished rows are not.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        token = torch.stack([torch.multinomial(row.softmax(-1), 1)[0] if on else row.argmax() for row, on in zip(scores, running)]) if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="sample" says="sampled"
# Misunderstands: `sample` is nothing new where processors have cut the tail.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        token = scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="sample" says="sampled"
# Misunderstands: a loop draws from a generator of its own.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    own = torch.Generator().manual_seed(0)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1, generator=own)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="finished" says="gets pad_token_id from then on"
# Misunderstands: finished rows may go on, since nobody reads them.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="finished" says="the new ids of"
# Misunderstands: finished rows are filled with the end token.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        token = token.where(running, ends[0])
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="finished" says="the new ids of"
# Misunderstands: the padding is always 0.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        token = token.where(running, 0)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="finished" says="the new ids of"
# Misunderstands: a row is only finished while its last token is an end.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        running = ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="ends" says="each of its ids ends a row"
# Misunderstands: there is one end token.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)[:1]
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="ends" says="the new ids of"
# Misunderstands: a row whose prompt holds an end token is finished.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = ~torch.isin(input_ids, ends).any(1)
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="stop" says="the others go on"
# Misunderstands: the first row that ends, ends all.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        running = running & ~torch.isin(token, ends)
        if not running.all():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="stop" says="the new ids of"
# Misunderstands: the loop always takes `max_new_tokens` steps.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        running = running & ~torch.isin(token, ends)
    return input_ids


# %% wrong="generate_by_hand" breaks="stop" says="the new ids of"
# Misunderstands: the limit counts the prompts too.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max(1, max_new_tokens - input_ids.shape[1])):
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="no_graph" says="autograd recorded"
# Misunderstands: eval() switches autograd off.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        output = model.eval()(
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="unchanged" says="`input_ids` after the call"
# Misunderstands: the caller's tensor is not needed any more.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    given, input_ids = input_ids, input_ids.clone()
    given.zero_()
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids


# %% wrong="generate_by_hand" breaks="unchanged" says="`attention_mask` after the call"
# Misunderstands: the mask may be used up.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    given = attention_mask
    settings, cache, fed = model.generation_config, None, input_ids
    ends = torch.tensor(settings.eos_token_id).view(-1)
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
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    given.zero_()
    return input_ids


# %% wrong="generate_by_hand" breaks="own_loop" says="out of reach"
# Misunderstands: a loop by hand may call the library's.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    return model.generate(input_ids, attention_mask=attention_mask, max_new_tokens=max_new_tokens, do_sample=sample)


# %% wrong="generate_by_hand" breaks="ends" says="0 is the end token"
# Misunderstands: an end token with the id 0 is none.
@torch.no_grad()
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings = model.generation_config
    ends = torch.tensor(settings.eos_token_id or [-1]).view(-1)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    fed, positions, cache = input_ids, (attention_mask.cumsum(1) - 1).clamp(min=0), None
    for _ in range(max_new_tokens):
        output = model(
            input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        cache = output.past_key_values
        scores = output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
    return input_ids


# %% wrong="generate_by_hand" breaks="stop" says="a prompt of 1,050 tokens"
# Misunderstands: every model has room for 128 tokens.
@torch.no_grad()
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings = model.generation_config
    ends = torch.tensor(settings.eos_token_id).view(-1)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    fed, positions, cache = input_ids, (attention_mask.cumsum(1) - 1).clamp(min=0), None
    for _ in range(min(max_new_tokens, 128 - input_ids.shape[1])):
        output = model(
            input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        cache = output.past_key_values
        scores = output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(-1), 1)[:, 0] if sample else scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
    return input_ids


# %% wrong="generate_by_hand" breaks="sample" says="from all, not from the 50 best"
# Misunderstands: sampling means the 50 best, which is the default of `generate`.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings = model.generation_config
    ends = torch.tensor(settings.eos_token_id).view(-1)
    fed, mask, cache = input_ids, attention_mask, None
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(input_ids=fed, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        if sample:
            edge = scores.topk(min(50, scores.shape[1]), dim=1).values[:, -1:]
            scores = scores.masked_fill(scores < edge, -torch.inf)
            token = torch.multinomial(scores.softmax(1), 1)[:, 0]
        else:
            token = scores.argmax(1)
        if not running.all():
            token = token.where(running, torch.tensor(settings.pad_token_id))
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
    return input_ids


# %% wrong="generate_by_hand" breaks="processors" says="not logarithms of probabilities"
# Misunderstands: processors get log-probabilities: a score is a logarithm of a probability.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings = model.generation_config
    ends = torch.tensor(settings.eos_token_id).view(-1)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    fed, positions, cache = input_ids, (attention_mask.cumsum(1) - 1).clamp(min=0), None
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache, scores = output.past_key_values, output.logits[:, -1].log_softmax(-1)
        for processor in processors:
            scores = processor(input_ids, scores)
        if sample:
            token = torch.multinomial(scores.softmax(-1), 1)[:, 0]
        else:
            token = scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
    return input_ids


# %% wrong="generate_by_hand" breaks="cache" says="use_cache=False"
# Misunderstands: a model always returns a cache.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings = model.generation_config
    ends = torch.tensor(settings.eos_token_id).view(-1)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    fed, positions, cache = input_ids, (attention_mask.cumsum(1) - 1).clamp(min=0), None
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache
            )
        cache, scores = output.past_key_values, output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        if sample:
            token = torch.multinomial(scores.softmax(-1), 1)[:, 0]
        else:
            token = scores.argmax(-1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
    return input_ids


# %% wrong="generate_by_hand" breaks="processors" says="the new ids of"
# Misunderstands: processors see what a finished row would have written; the padding is only for the result.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings = model.generation_config
    ends = torch.tensor(settings.eos_token_id).view(-1)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    seen, made = input_ids, input_ids
    fed, positions, cache = input_ids, (attention_mask.cumsum(1) - 1).clamp(min=0), None
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache = output.past_key_values
        scores = output.logits[:, -1]
        for processor in processors:
            scores = processor(seen, scores)
        token = torch.multinomial(scores.softmax(1), 1)[:, 0] if sample else scores.argmax(1)
        seen = torch.cat([seen, token[:, None]], 1)
        made = torch.cat([made, token.where(running, settings.pad_token_id)[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return made


# %% wrong="generate_by_hand" breaks="sample" says="sampled without processors"
# Misunderstands: without processors there is nothing to sample from: the best token is taken.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    settings = model.generation_config
    ends = torch.tensor(settings.eos_token_id).view(-1)
    running = torch.ones(len(input_ids), dtype=torch.bool)
    made = input_ids
    fed, positions, cache = input_ids, (attention_mask.cumsum(1) - 1).clamp(min=0), None
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache = output.past_key_values
        scores = output.logits[:, -1]
        for processor in processors:
            scores = processor(made, scores)
        token = torch.multinomial(scores.softmax(1), 1)[:, 0] if sample and processors else scores.argmax(1)
        token = token.where(running, settings.pad_token_id)
        made = torch.cat([made, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return made


# %% right="generate_by_hand"
# A cache made by hand, lists for what is finished.
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


# %% right="generate_by_hand"
# Room for everything from the start, filled in column by column.
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    rows, n = input_ids.shape
    config = model.generation_config
    ends = config.eos_token_id if isinstance(config.eos_token_id, (list, tuple)) else [config.eos_token_id]
    ids = torch.full((rows, n + max_new_tokens), config.pad_token_id)
    mask = torch.ones_like(ids)
    ids[:, :n], mask[:, :n] = input_ids, attention_mask
    places = (mask.cumsum(1) - 1).relu()
    finished, past, start = torch.zeros(rows, dtype=torch.bool), None, 0
    with torch.no_grad():
        for end in range(n, n + max_new_tokens):
            output = model(
                ids[:, start:end],
                attention_mask=mask[:, :end],
                position_ids=places[:, start:end],
                past_key_values=past,
                use_cache=True,
            )
            past, start = output.past_key_values, end
            scores = output.logits[:, -1, :]
            for process in processors:
                scores = process(ids[:, :end], scores)
            if sample:
                chosen = torch.multinomial(scores.softmax(dim=-1), num_samples=1).view(-1)
            else:
                chosen = scores.argmax(dim=-1)
            ids[~finished, end] = chosen[~finished]
            for stop in ends:
                finished |= (ids[:, end] == stop) & ~finished
            if bool(finished.all()):
                return ids[:, : end + 1]
    return ids

# %% wrong="generation_tests" breaks="alone" says="pads on the right"
# Misunderstands: any prompts will do (with equal lengths nothing is ever padded).
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33], [7, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert complete(name, given, 5, end) == [alone(name, row, 5, end) for row in rows]
            assert given == rows


# %% wrong="generation_tests" breaks="alone" says="counts columns as positions"
# Misunderstands: one architecture stands for all (this one forgives).
def check_complete(complete):
    for name in ["neox"]:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert complete(name, given, 5, end) == [alone(name, row, 5, end) for row in rows]
            assert given == rows


# %% wrong="generation_tests" breaks="alone" says="takes every 0 in a prompt for padding"
# Misunderstands: a 0 in a prompt is nothing special.
def check_complete(complete):
    for name in NETS:
        rows = [[5, 9, 33, 12], [7], [4, 61, 8]]
        for end in [9, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert complete(name, given, 5, end) == [alone(name, row, 5, end) for row in rows]
            assert given == rows


# %% wrong="generation_tests" breaks="alone" says="samples instead of taking the best"
# Misunderstands: what is written cannot be known, only its length can.
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert all(1 <= len(row) <= 5 for row in complete(name, given, 5, end))
            assert given == rows


# %% wrong="generation_tests" breaks="end" says="stops all rows when the first has ended"
# Misunderstands: how an answer ends need not be tested (nobody writes this end).
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, 1]:
            given = copy.deepcopy(rows)
            assert complete(name, given, 5, end) == [alone(name, row, 5, end) for row in rows]
            assert given == rows


# %% wrong="generation_tests" breaks="end" says="leaves out the end itself"
# Misunderstands: the end itself is not part of the answer.
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert [[i for i in row if i != end] for row in complete(name, given, 5, end)] == [
                [i for i in alone(name, row, 5, end) if i != end] for row in rows
            ]
            assert given == rows


# %% wrong="generation_tests" breaks="end" says="goes on after the end"
# Misunderstands: what comes after the end does no harm.
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            for row, got in zip(rows, complete(name, given, 5, end)):
                assert got[: len(alone(name, row, 5, end))] == alone(name, row, 5, end)
            assert given == rows


# %% wrong="generation_tests" breaks="count" says="writes one id more than `count`"
# Misunderstands: the limit is only for the caller's memory.
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert [row[:5] for row in complete(name, given, 5, end)] == [alone(name, row, 5, end) for row in rows]
            assert given == rows


# %% wrong="generation_tests" breaks="order" says="returns the rows sorted by length"
# Misunderstands: the order of the answers does not matter.
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert sorted(complete(name, given, 5, end)) == sorted(alone(name, row, 5, end) for row in rows)
            assert given == rows


# %% wrong="generation_tests" breaks="kept" says="appends to the caller's rows"
# Misunderstands: what becomes of the prompts is nobody's business.
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert complete(name, given, 5, end) == [alone(name, row, 5, end) for row in rows]


# %% wrong="generation_tests" breaks="calls" says="remembers the answer to the same rows"
# Misunderstands: one call a model is enough (the end here is one that row 0 writes).
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in alone(name, rows[0], 5, 1)[2:3]:  # and that stands in a prompt
            rows.append([end])
            given = copy.deepcopy(rows)
            assert complete(name, given, 5, end) == [alone(name, row, 5, end) for row in rows]
            assert given == rows


# %% wrong="generation_tests" breaks="alone" says="asks gpt2, whatever `name` is"
# Misunderstands: one architecture stands for all (this one minds most).
def check_complete(complete):
    for name in ["gpt2"]:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert complete(name, given, 5, end) == [alone(name, row, 5, end) for row in rows]
            assert given == rows


# %% wrong="generation_tests" breaks="end" says="ends an answer at an `end` in the prompt"
# Misunderstands: only ids that the model writes are worth asking for as an end.
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in alone(name, rows[0], 5, 1):
            given = copy.deepcopy(rows)
            assert complete(name, given, 5, end) == [alone(name, row, 5, end) for row in rows]
            assert given == rows


# %% wrong="generation_tests" breaks="raises" says="catch none"
# Misunderstands: a test that returns False has failed.
def check_complete(complete):
    rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
    return complete("gpt2", rows, 6, 1) == [alone("gpt2", row, 6, 1) for row in rows]


# %% wrong="generation_tests" breaks="no_alarm" says="reject a correct implementation"
# Misunderstands: every answer has `count` ids.
def check_complete(complete):
    rows = [[5, 9, 33, 12], [7], [4, 61, 8]]
    end = alone("gpt2", rows[0], 6, 1)[2]
    assert all(len(row) == 6 for row in complete("gpt2", rows, 6, end))


# %% wrong="generation_tests" breaks="no_alarm" says="reject a correct implementation"
# Misunderstands: an answer holds the end only if it is the last of `count` ids.
def check_complete(complete):
    for name in NETS:
        rows = [[5, 0, 33, 12], [7], [4, 61, 8]]
        for end in [0, *alone(name, rows[0], 5, 1)]:
            given = copy.deepcopy(rows)
            assert complete(name, given, 5, end) == [alone(name, row, 5, end) for row in rows]
            assert given == rows
            assert all(row[-1] == end for row in complete(name, given, 5, end))


# %% wrong="generation_tests" breaks="calls" says="whatever `count` is"
# Misunderstands: an answer depends on rows and end; one `count` shows all.
def check_complete(complete):
    for name in NETS:
        rows = [list(range(n)) for n in range(4, 0, -1)]
        for end in [0, *alone(name, rows[0], 4, 1)] * 2:
            given = copy.deepcopy(rows)
            assert complete(name, given, 4, end) == [alone(name, row, 4, end) for row in rows]
            assert given == rows


# %% wrong="generation_tests" breaks="order" says="from the last to the first"
# Misunderstands: which ids an answer has is enough, their order follows.
def check_complete(complete):
    for name in NETS:
        rows = [list(range(n)) for n in range(4, 0, -1)]
        for end in [0, *alone(name, rows[0], 4, 1)]:
            given = copy.deepcopy(rows)
            assert list(map(sorted, complete(name, given, 4, end))) == [sorted(alone(name, row, 4, end)) for row in rows]
            assert given == rows
        for count in map(len, rows):
            assert complete(name, rows, count, end)[0][count:] == []
            assert list(map(sorted, complete(name, rows, count, end))) == [sorted(alone(name, row, count, end)) for row in rows]


# %% wrong="generation_tests" breaks="no_alarm" says="on a correct implementation"
# Misunderstands: an end that no model can write (-1) is the way to ask for `count` ids.
def check_complete(complete):
    for name in NETS:
        rows = [list(range(n)) for n in range(4, 0, -1)]
        for end in [-1, 0, *alone(name, rows[0], 4, 1)]:
            given = copy.deepcopy(rows)
            assert complete(name, given, 4, end) == [alone(name, row, 4, end) for row in rows]
            assert given == rows
        for count in map(len, rows):
            assert complete(name, rows, count, end) == [alone(name, row, count, end) for row in rows]


# %% wrong="generation_tests" breaks="order" says="every row the answer to the first"
# Misunderstands: if one row of a batch is right, all are.
def check_complete(complete):
    for name in NETS:
        rows = [[3, 0, 2], [1], [0, 1, 2, 3, 4]]
        for end in [0, 1, *alone(name, rows[0], 4, 88)]:
            for count in (4, 2):
                given = copy.deepcopy(rows)
                assert complete(name, given, count, end)[0] == alone(name, rows[0], count, end)
                assert given == rows


# %% right="generation_tests"
# The library's own loop as the truth.
def check_complete(complete):
    prompts = [[11], [2, 0, 50, 40, 3, 3], [80, 7, 7]]
    before = str(prompts)
    for name, net in NETS.items():
        free = complete(name, prompts, 7, 1)
        assert str(prompts) == before, "the prompts were changed"
        for prompt, written in zip(prompts, free, strict=True):
            ids = torch.tensor([prompt])
            truth = net.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=7, do_sample=False, eos_token_id=1)
            assert written == truth[0, len(prompt) :].tolist()
        for end in {7, *(written[-2:][0] for written in free)}:
            for prompt, written in zip(prompts, complete(name, prompts, 7, end), strict=True):
                ids = torch.tensor([prompt])
                truth = net.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=7, do_sample=False, eos_token_id=end)
                assert written == truth[0, len(prompt) :].tolist(), f"{name}: {written}"
        assert complete(name, prompts, 2, 1) == [written[:2] for written in free]


# %% right="generation_tests"
# Random prompts from a generator of its own, and an exception of its own.
import random


class Broken(Exception):
    pass


def check_complete(complete):
    draw = random.Random(3)
    for name in sorted(NETS):
        rows = [[0, *draw.choices(range(2, 80), k=length)] for length in (6, 0, 3, 1)]
        kept = [tuple(row) for row in rows]
        ends = {0, 1, *alone(name, rows[0], 3, 1), alone(name, rows[2], 6, 1)[-2]}
        for end in ends:
            for count in (6, 3):
                answers = complete(name, rows, count, end)
                if [tuple(row) for row in rows] != kept:
                    raise Broken("rows")
                if answers != [alone(name, list(row), count, end) for row in kept]:
                    raise Broken(f"{name}, count {count}, end {end}")


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in [0, *alone(name, rows[0], 4, 1)]:  # an id of the prompts, and each that row 0 really writes
# + for end in [1, *alone(name, rows[0], 4, 1)]:  # an id of the prompts, and each that row 0 really writes


# %% equivalent="generation_tests" because="who appends to the rows changes the truth that is computed from them"
# - given = copy.deepcopy(rows)
# + given = rows


# %% equivalent="generation_tests" because="who appends to the rows changes the truth that is computed from them"
# - given = copy.deepcopy(rows)
# + given = copy.copy(rows)


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in [0, *alone(name, rows[0], 4, 1)]:  # an id of the prompts, and each that row 0 really writes
# + for end in [0, *alone(name, rows[0], 5, 1)]:  # an id of the prompts, and each that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in [0, *alone(name, rows[0], 4, 1)]:  # an id of the prompts, and each that row 0 really writes
# + for end in [0, *alone(name, rows[0], 3, 1)]:  # an id of the prompts, and each that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in [0, *alone(name, rows[0], 4, 1)]:  # an id of the prompts, and each that row 0 really writes
# + for end in [0, *alone(name, rows[0], 4, 2)]:  # an id of the prompts, and each that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in [0, *alone(name, rows[0], 4, 1)]:  # an id of the prompts, and each that row 0 really writes
# + for end in [0, *alone(name, rows[0], 4, 0)]:  # an id of the prompts, and each that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in [0, *alone(name, rows[0], 4, 1)]:  # an id of the prompts, and each that row 0 really writes
# + for end in [0, *alone(name, rows[1], 4, 1)]:  # an id of the prompts, and each that row 0 really writes


# %% equivalent="generation_tests" because="other inputs that show the same bugs"
# - for end in [0, *alone(name, rows[0], 4, 1)]:  # an id of the prompts, and each that row 0 really writes
# + for end in [0, *alone(name, rows[(-1)], 4, 1)]:  # an id of the prompts, and each that row 0 really writes


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


# %% wrong="from_v4_to_v5" breaks="answer_prompt, one_each, cache_tokens, maps" says="your code raised"
# Misunderstands: everything still works as it was.
def answer(model, tokenizer, question):
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


# %% wrong="from_v4_to_v5" breaks="answer_text" says="begins after the prompt"
# Misunderstands: generate returns the answer alone.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_text" says="belong to the answer"
# Misunderstands: blanks at the ends of an answer are an accident.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_text" says="no special tokens in the text"
# Misunderstands: decode leaves special tokens out by itself.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :])


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_prompt" says="a prompt for the assistant"
# Misunderstands: the model knows by itself that it is its turn.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_prompt" says="own template"
# Misunderstands: a question is its own prompt.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer(chat[0]["content"] or "?", return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_prompt" says="own template"
# Misunderstands: a rendered template is encoded like any other text (a tokenizer may add special tokens once more).
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer(
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False), return_tensors="pt"
    )
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_prompt" says="`answer` of"
# Misunderstands: the limit does not matter, an answer ends by itself.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_greedy" says="no sampling"
# Misunderstands: generate is greedy unless it is told otherwise.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="one_each" says="decode each id by itself"
# Misunderstands: what raised is repaired, so all is (batch_decode of a flat list is one text now).
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return tokenizer.batch_decode(tokenizer(text, add_special_tokens=False)["input_ids"])


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="one_each" says="not `Ġ`"
# Misunderstands: a token is its text.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return tokenizer.tokenize(text)


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="one_each" says="for that token alone"
# Misunderstands: a token's text is the part of the text that it stands for (a sign of three tokens comes thrice).
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [text[start:end] for start, end in encoded["offset_mapping"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="one_each" says="for that token alone"
# Misunderstands: blanks are no part of a token's text.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]).strip() for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="one_each" says="for that token alone"
# Misunderstands: equal tokens need be told once.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in dict.fromkeys(tokenizer(text, add_special_tokens=False)["input_ids"])]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="none_added" says="a special token was added"
# Misunderstands: a tokenizer adds nothing by itself.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="none_added" says="for that token alone"
# Misunderstands: to add no special tokens is to leave them out of the text.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i], skip_special_tokens=True) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_tokens" says="`cache_size` of"
# Misunderstands: the tokens of all rows are counted.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return input_ids.numel(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_tokens" says="`cache_size` of"
# Misunderstands: the second axis of the keys are the tokens.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.layers[0].keys.shape[1], sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_bytes" says="keys and values, both"
# Misunderstands: the cache holds keys.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys,))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_bytes" says="heads of queries are not"
# Misunderstands: there are as many heads of keys as of queries.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    config, (rows, n) = model.config, input_ids.shape
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return n, 2 * config.num_hidden_layers * rows * config.num_attention_heads * n * head * model.dtype.itemsize


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_bytes" says="need not follow from the others"
# Misunderstands: the size of a head follows from the other sizes.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    config, (rows, n) = model.config, input_ids.shape
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head = config.hidden_size // config.num_attention_heads
    return n, 2 * config.num_hidden_layers * rows * heads * n * head * model.dtype.itemsize


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_bytes" says="need not have 4 bytes"
# Misunderstands: a number has 4 bytes.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * 4 for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_bytes" says="`cache_size` of"
# Misunderstands: all layers share one cache.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers[:1] for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_bytes" says="`cache_size` of"
# Misunderstands: bytes are told for one row.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t[0].numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="maps_float32" says="load as float32"
# Misunderstands: a model is loaded in float32.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="maps_float32" says="have lost their last digits"
# Misunderstands: converting the result is as good as computing in float32.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions).float()


# %% wrong="from_v4_to_v5" breaks="maps_float32" says="dtype"
# Misunderstands: more digits cannot be wrong.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="maps" says="layers, rows, heads"
# Misunderstands: the maps are averaged over the heads.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions).mean(2)


# %% wrong="from_v4_to_v5" breaks="maps" says="layers, rows, heads"
# Misunderstands: the last layer's map is the model's.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model(input_ids, output_attentions=True).attentions[-1]


# %% wrong="from_v4_to_v5" breaks="maps" says="layers, rows, heads"
# Misunderstands: rows come first.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    cache = model(input_ids, use_cache=True).past_key_values
    return cache.get_seq_length(), sum(t.numel() * t.element_size() for l in cache.layers for t in (l.keys, l.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions, 1)


# %% wrong="from_v4_to_v5" breaks="none_added" says="for that token alone"
# Misunderstands: an end token at the end was added by the tokenizer.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    if ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return [tokenizer.decode([i]) for i in ids]


def cache_size(model, input_ids):
    with torch.no_grad():
        cache = model(input_ids, use_cache=True).past_key_values
    size = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    return cache.get_seq_length(), size


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_tokens" says="your code raised"
# Misunderstands: a model always gives its cache back.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    with torch.no_grad():
        cache = model(input_ids).past_key_values
    size = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    return cache.get_seq_length(), size


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_prompt" says="the tokenizer's own template"
# Misunderstands: all models read the format of tiny-lm.
def answer(model, tokenizer, question):
    prompt = f"<|user|>{question}<|assistant|>"
    inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    with torch.no_grad():
        cache = model(input_ids, use_cache=True).past_key_values
    size = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    return cache.get_seq_length(), size


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_text" says="no special tokens in the text"
# Misunderstands: only padding and end are special tokens.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    text = tokenizer.decode(made[0, inputs["input_ids"].shape[1] :])
    return text.replace(tokenizer.eos_token, "").replace(tokenizer.pad_token, "")


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    past = model(input_ids, use_cache=True).past_key_values
    return past.get_seq_length(), sum(t.numel() * t.element_size() for layer in past.layers for t in (layer.keys, layer.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="answer_text" says="an answer may be empty"
# Misunderstands: an answer has at least one token.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, min_new_tokens=1, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    past = model(input_ids, use_cache=True).past_key_values
    return past.get_seq_length(), sum(t.numel() * t.element_size() for layer in past.layers for t in (layer.keys, layer.values))


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="one_each" says="`token_texts`"
# Misunderstands: a tokenizer is called with truncation, else long texts fail.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False, truncation=True, max_length=512)["input_ids"]]


def cache_size(model, input_ids):
    with torch.no_grad():
        cache = model(input_ids, use_cache=True).past_key_values
    size = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    return cache.get_seq_length(), size


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="none_added" says="for that token alone"
# Misunderstands: what a tokenizer adds stands at the end of a text.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    return [tokenizer.decode([i]) for i in ids[: len(ids) - tokenizer.num_special_tokens_to_add()]]


def cache_size(model, input_ids):
    with torch.no_grad():
        cache = model(input_ids, use_cache=True).past_key_values
    size = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    return cache.get_seq_length(), size


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="cache_bytes" says="need not have 4 bytes"
# Misunderstands: a number has 4 bytes or, in half precision, 2.
def answer(model, tokenizer, question):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    with torch.no_grad():
        cache = model(input_ids, use_cache=True).past_key_values
    numbers = sum(t.numel() for layer in cache.layers for t in (layer.keys, layer.values))
    return cache.get_seq_length(), numbers * (2 if model.dtype == torch.bfloat16 else 4)


def attention_maps(folder, input_ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return torch.stack(model(input_ids, output_attentions=True).attentions)


# %% wrong="from_v4_to_v5" breaks="maps" says="because it has the padding's id"
# Misunderstands: an id that equals the configuration's pad_token_id is padding, and a call without a mask needs one.
def answer(model, tokenizer, question):
    """The greedy answer to one question, at most 10 tokens, as a string."""
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    """The text of each token of `text` by itself, as a list of strings."""
    return [tokenizer.decode([i]) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def cache_size(model, input_ids):
    """(tokens, bytes) of the cache after `model` has read `input_ids`."""
    with torch.no_grad():
        past = model(input_ids, use_cache=True).past_key_values
    size = sum(t.numel() * t.element_size() for layer in past.layers for t in (layer.keys, layer.values))
    return past.get_seq_length(), size


def attention_maps(folder, input_ids):
    """Attention weights of the model in `folder`, computed in float32: (layers, rows, heads, n, n)."""
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        pad = net.config.pad_token_id
        mask = torch.ones_like(input_ids) if pad is None else (input_ids != pad).long()
        attentions = net(input_ids, attention_mask=mask, output_attentions=True).attentions
    return torch.stack(attentions)


# %% right="from_v4_to_v5"
# Old names that still work; a model that is converted after loading.
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
    past = model(input_ids, use_cache=True).past_key_values
    tensors = [t for layer in past.layers for t in (layer.keys, layer.values)]
    return tensors[0].shape[2], sum(t.nbytes for t in tensors)


def attention_maps(folder, input_ids):
    net = AutoModelForCausalLM.from_pretrained(folder).float()
    net.set_attn_implementation("eager")
    with torch.no_grad():
        return torch.stack(list(net(input_ids, output_attentions=True).attentions))


# %% right="from_v4_to_v5"
# Rendered, then encoded without special tokens; sizes from the configuration; maps layer by layer.
def answer(model, tokenizer, question):
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True)
    encoded = tokenizer([rendered], add_special_tokens=False, return_tensors="pt")
    made = model.generate(**encoded, do_sample=False, num_beams=1, max_new_tokens=10)[0].tolist()
    return tokenizer.decode(made[encoded.input_ids.size(1) :], skip_special_tokens=True)


def token_texts(tokenizer, text):
    texts = []
    for token in tokenizer.tokenize(text):
        texts.append(tokenizer.decode(tokenizer.convert_tokens_to_ids(token)))
    return texts


@torch.no_grad()
def cache_size(model, input_ids):
    config, (rows, n) = model.config, tuple(input_ids.shape)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (n, rows * n * heads * head * config.num_hidden_layers * 2 * torch.empty((), dtype=model.dtype).element_size())


@torch.inference_mode()
def attention_maps(folder, input_ids):
    net = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype="float32").eval()
    shape = None
    for number, weights in enumerate(net(input_ids, output_attentions=True).attentions):
        if shape is None:
            shape = torch.zeros(net.config.num_hidden_layers, *weights.shape)
        shape[number] = weights
    return shape.clone()


# %% equivalent="from_v4_to_v5" because="the batch has one row: the first is the last"
# - return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
# + return tokenizer.decode(made[(-1), inputs["input_ids"].shape[1] :], skip_special_tokens=True)
