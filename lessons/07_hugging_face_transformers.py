# ---
# jupyter:
#   unit24:
#     needs: ["datasets>=4", "jinja2>=3.1", "matplotlib>=3.8", "safetensors", "tokenizers", "torch>=2.6", "transformers>=5"]
# ---

# %% [markdown]
# # 07 · Hugging Face transformers
#
# Three lines of `transformers` load a language model and make it answer. This lesson opens them. You write what
# happens between your question and the answer, piece by piece, and each piece must agree with the library: the same
# merges, the same masks, the same tokens, in the same order.
#
# **You will build** the way from text to text: a tokenizer, a chat format, batches that do not change the answer,
# samplers, and a decoding loop with a cache that gives, token for token, what `generate` gives.
#
# **You need first** lessons 02 and 03: tensors, indexing, `nn.Module`.
#
# **Time** four to five hours: nine exercises of 25 to 40 minutes, 30 points. No GPU and no network are needed.
#
# | step | from | to | exercise |
# |---|---|---|---|
# | chat template | messages with roles: user, `Add 27 and 15.` | one string with a marker before each role | 3, 4 |
# | tokenizer | the string | `input_ids`, `attention_mask` | 1, 2, 5 |
# | model | ids, mask, positions; keys and values so far | logits of the next token | 5, 7 |
# | sampler | logits | one id, which goes back into the model | 6, 7, 8 |
# | tokenizer | the new ids | `42` | 3, 9 |
#
# | part | what you write | the question it answers |
# |---|---|---|
# | A | byte-pair merges, a trained tokenizer | What does a model read? |
# | B | what a pipeline hides, a chat template with labels | How is it asked, and taught? |
# | C | padded batches, attention masks | Why does a batch give other answers than one prompt alone? |
# | D | samplers, the decoding loop, tests for such a loop | How does text come out? |
# | E | four pieces of old code, repaired | What changed in version 5? |

# %% setup

# %%
import copy
import functools
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import matplotlib.pyplot as plt
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    TemperatureLogitsWarper,
    TextClassificationPipeline,
    TextGenerationPipeline,
    TopKLogitsWarper,
    TopPLogitsWarper,
    pipeline,
)

from unit24 import cases, check, claims, data

# %% [markdown]
# ## A model is a folder
#
# `from_pretrained` takes the name of a repository on the Hugging Face Hub or a folder. Ours is a folder that came with
# the course: **tiny-lm**, a Llama of about a million parameters that was trained for this course alone. It was taught
# sums, sorting and a few other small tasks, and knows nothing of the world. What you write for it works unchanged for a
# model ten thousand times its size.

# %%
model_name = env.model("chat")
tokenizer = AutoTokenizer.from_pretrained(model_name, padding_side="left")
model = AutoModelForCausalLM.from_pretrained(model_name, dtype=torch.float32).eval()

chat = [{"role": "user", "content": "What is 27+15?"}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
made = model.generate(**inputs, max_new_tokens=12, do_sample=False)
print("prompt:", repr(tokenizer.decode(inputs["input_ids"][0])))
print("answer:", repr(tokenizer.decode(made[0, inputs["input_ids"].shape[1] :])))
print(f"\n{type(model).__name__}, {model.num_parameters():,} parameters, a vocabulary of {len(tokenizer):,} tokens")
if Path(model_name).is_dir():
    for file in sorted(Path(model_name).iterdir()):
        print(f"{file.stat().st_size:>10,} bytes  {file.name}")

# %% [markdown]
# | file | what it holds | who reads it |
# |---|---|---|
# | `config.json` | the architecture: class, layers, heads, sizes, the dtype of the weights | `AutoConfig`, which decides the class |
# | `model.safetensors` | names and numbers of the weights, nothing that could run | `AutoModelFor…` |
# | `tokenizer.json` | vocabulary, merges, how text is cut first | `AutoTokenizer` |
# | `tokenizer_config.json` | names of special tokens, side of the padding, longest input | `AutoTokenizer` |
# | `chat_template.jinja` | how a conversation becomes one string | `apply_chat_template` |
# | `generation_config.json` | how `generate` behaves when you say nothing | `generate` |

# %% [markdown]
# ## Part A · What does a model read?
#
# ### 1 · Byte-pair merges
#
# A model reads numbers. Whole words would need an endless vocabulary, single letters very long sequences.
# **Byte-pair encoding** (Sennrich, Haddow and Birch 2016, [arXiv:1508.07909](https://arxiv.org/abs/1508.07909)) lets
# the data decide: start from single characters, and again and again make the most frequent pair of neighbours one new
# token. Frequent words end as one token, rare ones as several, and nothing is unknown.
#
# Two things happen before the merges. The text is cut into words, and no merge ever crosses a cut. And each byte is
# written as one printable character; a space becomes `Ġ`, a newline `Ċ`. Byte-level vocabularies begin with all 256
# of these, so every file in the world can be written with them.

# %%
chat_merges = [tuple(pair) for pair in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]]
text = "Sort: 7 30 5, and say so."
print("cut into words:", [word for word, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)])
print("after merging: ", tokenizer.tokenize(text))
print("as numbers:    ", tokenizer(text)["input_ids"])
print("first merges:  ", " ".join("+".join(pair) for pair in chat_merges[:12]))

# %% [markdown]
# #### Exercise 1 · Byte-pair merges (`bpe`, 3 points, 40 minutes, difficulty 2 of 3)
#
# Three functions; each is checked, and earns its point, on its own: the checks of `train_bpe` and `encode_word` come with a
# `merge_pair` that is right. A *piece* is a string of one or more printable characters (blanks, punctuation and letters of
# any script among them); a word that has been cut is a list of pieces.
#
# `merge_pair(pieces, pair)` merges one pair. `pieces` is a list of up to 300 pieces, also empty; `pair` is a tuple of two.
#
# - It returns a list in which `pair` has become one piece wherever it stood, from left to right: with `("a", "a")` the
#   list `a a a` becomes `aa a`. <!-- rule: merge -->
# - Only whole pieces count: with `("a", "b")` the list `xa b` stays as it is. <!-- rule: whole -->
# - The list is a new one, also where nothing is merged; `pieces` stays as it was. <!-- rule: new_list -->
#
# `train_bpe(counts, size)` learns a vocabulary. `counts` maps words (1 to 12, each of 1 to 11 characters) to how
# often they occur (1 to 200). `size` is the number of different characters or up to 60 more.
#
# - The vocabulary begins with these characters in sorted order, and every word is cut into its
#   characters. <!-- rule: characters -->
# - Each round counts all pairs of neighbouring pieces inside the words, as often as the word occurs (`a a a` holds the
#   pair `a a` twice), and merges the most frequent pair in every word. The next round counts anew. <!-- rule: frequent -->
# - Of pairs that are equally frequent, it takes the one whose first piece has the smaller place in the vocabulary; if
#   these are the same too, the one whose second piece has. <!-- rule: ties -->
# - Each merge appends its new piece to the vocabulary. It ends as soon as the vocabulary holds `size` pieces (perhaps at once), or when no pair is left. <!-- rule: stop -->
# - It returns `(vocabulary, merges)`: a list of strings and a list of pairs, both in the order of learning; `counts`
#   stays as it was. <!-- rule: returned -->
#
# `encode_word(word, merges)` cuts one word (of 1 to 60 characters) into pieces with `merges` that `train_bpe` learned
# from these or other words; there may be none.
#
# - It starts from characters. Of all pairs of neighbours that are in `merges`, it merges the one that was **learned
#   first**, wherever it stands. <!-- rule: first -->
# - Then it looks again, until no such pair is left. (Going once through all of `merges`, in their order, gives the
#   same.) <!-- rule: again -->
# - It returns the pieces as a list; `merges` stays as it was. <!-- rule: pieces -->


# %% exercise="bpe" minutes=40 difficulty=2
def merge_pair(pieces, pair):
    """A new list with every occurrence of `pair` in `pieces`, from left to right, made one piece."""
    ### BEGIN SOLUTION
    merged, i = [], 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            merged.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            merged.append(pieces[i])
            i += 1
    return merged
    ### END SOLUTION


def train_bpe(counts, size):
    """Byte-pair encoding learned from word counts: (vocabulary, merges)."""
    ### BEGIN SOLUTION
    words = {word: list(word) for word in counts}
    vocabulary = sorted(set("".join(counts)))
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
    ### END SOLUTION


def encode_word(word, merges):
    """The pieces of `word` under the learned `merges`, as a list of strings."""
    ### BEGIN SOLUTION
    rank = {pair: i for i, pair in enumerate(merges)}
    pieces = list(word)
    while known := [pair for pair in zip(pieces, pieces[1:]) if pair in rank]:
        pieces = merge_pair(pieces, min(known, key=rank.get))
    return pieces
    ### END SOLUTION


# %% tests="bpe" points=3
import random
from string import punctuation


@check.shared
def merged_by_definition(pieces, pair):
    import re

    between = "".join(f"\0{piece}\0" for piece in pieces)  # two marks between two pieces, one at each end
    here, merged = re.escape(f"\0{pair[0]}\0\0{pair[1]}\0"), f"\0{pair[0]}{pair[1]}\0"
    return [piece for piece in re.sub(here, lambda _: merged, between).split("\0") if piece]


@check.scenario
def with_right_merges(function, *arguments):
    """A call in which `merge_pair` is right, whatever the student's does."""
    around = getattr(function, "__globals__", {})
    with mock.patch.dict(around, {"merge_pair": merged_by_definition} if "merge_pair" in around else {}):
        return function(*arguments)


@check.scenario
def hands_back(pieces, pair):
    """Whether `merge_pair` gives the caller's own list."""
    return merge_pair(pieces, pair) is pieces


@check.scenario
def train_alone(counts, size):
    return with_right_merges(train_bpe, counts, size)


@check.scenario
def encode_alone(word, merges):
    return with_right_merges(encode_word, word, merges)


def learned_by_library(counts, size):
    """(vocabulary, merges) as the tokenizers library learns them."""
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.CharDelimiterSplit("\0")
    texts = ["\0".join([word] * count) for word, count in counts.items()]
    library.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    state = json.loads(library.to_str())["model"]
    return sorted(state["vocab"], key=state["vocab"].get), [tuple(pair) for pair in state["merges"]]


def encoded_by_definition(word, merges):
    pieces = list(word)
    while known := [pair for pair in merges if pair in zip(pieces, pieces[1:])]:
        pieces = merged_by_definition(pieces, known[0])
    return pieces


def list_to_merge(pieces, pair):
    """A case, in few words where there are many pieces."""
    said = str(pieces) if len(pieces) <= 20 else f"{len(pieces)} pieces"
    return cases.Case({"pieces": pieces, "pair": pair}, {"pieces": said, "pair": str(pair)})


def lists_to_merge(seed):
    draw = random.Random(seed)
    for pieces in ([], ["a"], ["a"] * 2, ["a"] * 5, ["b", "a"], ["a", "b"] * 2, ["l", "ow", "l", "o", "w"]):
        for pair in (("a", "a"), ("a", "b"), ("l", "ow")):
            yield pieces, pair
    for pieces in (["xa", "b"], ["a", "bx"], ["xa", "bx", "a", "b"], ["a", " ", "b"], ["Ġ", ".", "Ġ", "x"], ["▁", "a", "b", "|"]):
        for pair in (("a", "b"), ("a", " "), ("Ġ", ".")):
            yield pieces, pair
    yield ["a", "aa", "b", "aa", "a"], ("a", "aa")  # both ends spell "aaa"
    for sign in punctuation:  # each of them means something to one function or another
        yield ["x", sign, "n", sign, sign, "1", "n", sign], (sign, draw.choice("n1"))
        yield ["n", sign, "n", sign, sign, "d"], (draw.choice(["n", sign]), sign)
    for n in (3, 17, 300):
        known = ["a", "b", "ab", "aa", "猫"]
        yield list_to_merge(draw.choices(known, k=n), tuple(draw.choices(known, k=2)))
        yield list_to_merge(draw.choices(known[:2], k=n), ("a", "a"))
        signs = draw.choices([*map(chr, range(32, 127)), *"▁·¦§Ċ"], k=n)
        yield list_to_merge(signs, tuple(signs[1:3]))


def some_words(draw):
    """Word counts and a size, as they come."""
    signs = "".join(draw.sample(punctuation, 5))
    letters = draw.choice(["a", "ab", "abc", "abcdef", "Ġ 猫Ză7", signs, signs[:2] + "n "])
    words = ["".join(draw.choices(letters, k=draw.randint(1, 11))) for _ in range(draw.randint(1, 12))]
    counts = {word: draw.choice((1, 2, 3, 4, 5, 200)) for word in words}
    return counts, len(set("".join(words))) + draw.choice((0, 1, 3, 8, 60))


def words_to_learn(seed):
    yield {"a": 1}, 1
    yield {"ab": 3, "b": 1}, 2
    yield {"ab": 4, "c": 1}, 9
    yield {"ab": 1, "ac": 1, "ad": 1, "cd": 9}, 5
    yield {"zb": 2, "yc": 2, "xd": 2, "xa": 2}, 9
    yield {"abc": 5, "abd": 4, "bc": 3}, 7
    yield {"aaaaa": 3, "baa": 2, "ababab": 2}, 6
    yield {"low": 5, "lower": 2, "newest": 6, "widest": 3}, 20
    draw = random.Random(seed)
    yield from sorted((some_words(draw) for _ in range(12)), key=lambda case: sum(map(len, case[0])))


def words_to_encode(seed):
    yield "a", []
    yield "low", []
    yield "abab", [("a", "b")]
    yield "hat", [("h", "a")]
    yield "hat", [("a", "t")]
    yield "abc", [("b", "c"), ("a", "b")]
    yield "abc", [("a", "b"), ("b", "c")]
    draw = random.Random(seed)
    for length in (1, 2, 4, 6, 9, 9, 9, 14, 60, 60):
        counts, size = some_words(draw)
        letters = sorted(set("".join(counts)))
        yield "".join(draw.choices(letters, k=length)), learned_by_library(counts, size)[1]
    for word in ("Ġsomething", "((((()", "ĊĊĊĠĠĠĠ", "".join(draw.choices("etaoinshr", k=14))):
        yield word, chat_merges[:300]


def check_merge_pair():
    hint = "only whole pieces make a pair, from left to right, and a piece goes into one pair only"
    causes = {
        "only the first occurrence was merged": lambda pieces, pair: (
            next(([*pieces[:i], "".join(pair), *pieces[i + 2 :]] for i in range(len(pieces)) if (*pieces[i : i + 2],) == pair), pieces)
        ),
        "the order of the two matters": lambda pieces, pair: merged_by_definition(pieces, pair[::-1]),
    }
    for seed in seeds:
        check.agrees(merge_pair, merged_by_definition, lists_to_merge(seed), "`merge_pair`", hint, causes=causes)
    for pieces in ([], ["a"], ["xa", "b"], ["a", "b", "c"]):
        said = f"`merge_pair` of {pieces} and ('a', 'b') gives the caller's own list: who changes one changes the other. Make a new one."
        check.true(not hands_back(pieces, ("a", "b")), said)


def check_train_bpe():
    hint = "count again after each merge, inside words; equally frequent pairs: the smaller places in the vocabulary go first"
    causes = {
        "a word that occurs nine times counts nine times": lambda counts, size: learned_by_library(dict.fromkeys(counts, 1), size),
        "the end of a word and the start of the next are not neighbours": lambda counts, size: learned_by_library(
            {"".join(word * count for word, count in counts.items()): 1}, size
        ),
        "one merge too many: look at the size before each": lambda counts, size: learned_by_library(counts, size + 1),
    }
    for seed in seeds:
        check.agrees(train_alone, learned_by_library, words_to_learn(seed), "`train_bpe`", hint, causes=causes)


def merged_once(word, merges):
    known = set(zip(word, word[1:])) & set(merges)
    return merged_by_definition(list(word), min(known, key=merges.index)) if known else list(word)


def check_encode_word():
    hint = "the pair that was learned first goes first, wherever it stands; then look again, at all pairs"
    came_first = dict([*words_to_encode(seeds[0])][::-1])
    causes = {
        "with other merges a word has other pieces: remember none": lambda word, merges: encoded_by_definition(word, came_first.get(word, merges)),
        "look again after each merge": merged_once,
        "the pair that was learned first goes first, not the last": lambda word, merges: encoded_by_definition(word, merges[::-1]),
    }
    for seed in seeds:
        check.agrees(encode_alone, encoded_by_definition, words_to_encode(seed), "`encode_word`", hint, causes=causes)


with check.exercise("bpe"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"merge_pair": check_merge_pair, "train_bpe": check_train_bpe, "encode_word": check_encode_word})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Training repeats: count pairs, choose one, merge it in every word. Encoding repeats: look which pairs the word has
# now, choose one, merge it. Both need `merge_pair`, so make it work first.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `zip(pieces, pieces[1:])` gives the neighbours. `collections.Counter` counts. `min(pairs, key=...)` with a key that is
# a tuple, such as `(-count, place_of_first, place_of_second)`, breaks ties in one go. `enumerate` turns a list into a
# dictionary of places.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # merge_pair: walk with an index, which a merge moves by 2
# while i < len(pieces):
#     if tuple(pieces[i : i + 2]) == pair:
#
# # train_bpe: one round
# for word, pieces in words.items():
#     for pair in zip(pieces, pieces[1:]):
#         pairs[pair] += counts[word]
# best = min(pairs, key=lambda pair: (-pairs[pair], ..., ...))
#
# # encode_word: what the word holds now
# known = [pair for pair in zip(pieces, pieces[1:]) if pair in rank]
# ```
# </details>


# %% [markdown]

# #### See your pieces
#
# The merges of tiny-lm, applied by your function: first none of them, then more and more.


# %%
def draw_pieces(rows, title):
    """Rows of (label, pieces) as coloured boxes, a character each as wide as the next."""
    figure, axis = plt.subplots(figsize=(10, 0.5 + 0.42 * len(rows)), layout="constrained")
    colours = plt.get_cmap("Pastel1").colors
    for y, (label, pieces) in enumerate(rows):
        axis.text(-1, y, f"{label}   {len(pieces)} pieces", ha="right", va="center", fontsize=9)
        x = 0
        for i, piece in enumerate(pieces):
            axis.add_patch(plt.Rectangle((x + 0.05, y - 0.38), len(piece) - 0.1, 0.76, color=colours[i % 8]))
            axis.text(x + len(piece) / 2, y, piece, ha="center", va="center", family="monospace", fontsize=9, color="black")
            x += len(piece)
    axis.set(xlim=(-20, max(sum(map(len, pieces)) for _, pieces in rows)), ylim=(len(rows) - 0.4, -0.6), title=title)
    axis.set_axis_off()
    plt.show()


text = "The function returns the largest argument of the list."
words = [word for word, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)]
draw_pieces(
    [
        (f"{n} merges:", [piece for word in words for piece in encode_word(word, chat_merges[:n])])
        for n in (0, 10, 50, 200, len(chat_merges))
    ],
    "One sentence under more and more merges (Ġ is a space)",
)

# %% [markdown]
# The first merges glue spaces to letters and frequent endings together; later ones finish whole words. What the
# training text was about decides which words get a token of their own.

# %% [markdown]
# ### 2 · A tokenizer of your own
#
# Your functions are the heart of a tokenizer. The `tokenizers` library has the rest: cutting text, bytes, special
# tokens, and it is fast. A tokenizer there is a chain of parts, and each is a decision:
#
# | part | decides | what goes wrong without it |
# |---|---|---|
# | `pre_tokenizers.Digits(individual_digits=True)` | each digit is a token | `127` is one token, `128` is two: hard to calculate with |
# | `pre_tokenizers.ByteLevel(add_prefix_space=False)` | words keep their leading space; bytes become characters | spaces and newlines get lost |
# | `models.BPE()` | merges | |
# | `trainers.BpeTrainer(...)` | size, special tokens, and the alphabet to start from | bytes that the training text lacks vanish without a word |
# | `decoders.ByteLevel()` | the way back to text | `ĠThisĠkindĠofĠtext` |
#
# `PreTrainedTokenizerFast(tokenizer_object=...)` then makes it a tokenizer for transformers: padding, chat templates,
# `save_pretrained`. There you say which token pads, which one ends, and on which side padding goes.
#
# #### Exercise 2 · A tokenizer of your own (`train_tokenizer`, 3 points, 25 minutes, difficulty 2 of 3)
#
# Write `train_tokenizer(texts, size)`. `texts` is a list of 1 to 1,200 strings. `size` is 264 (all bytes, the special
# tokens, a few merges) or more, and no more than the words of `texts` give, if pairs that occur once are merged too.
#
# - It returns a tokenizer of transformers, `PreTrainedTokenizerFast`. <!-- rule: wrapped -->
# - It has exactly `size` tokens. <!-- rule: size -->
# - The first four, with ids 0 to 3, are the special tokens in `SPECIAL`. Each is one token wherever it stands in a text,
#   and `decode(..., skip_special_tokens=True)` leaves it out. <!-- rule: special -->
# - Every string comes back exactly from `decode(tokenizer(string)["input_ids"])`: blanks and newlines, letters and signs
#   that no training text had, special tokens too, and the blanks on both sides of them. <!-- rule: round_trip -->
# - Each digit from 0 to 9 is a token of its own. <!-- rule: digits -->
# - No token goes over the end of a word: before a blank, tab or newline in a token stands nothing but white
#   space. <!-- rule: words -->
# - `pad_token` is `<|pad|>`, `eos_token` is `<|end|>`, and padding goes to the left. <!-- rule: roles -->
# - All this still holds after `save_pretrained` and `AutoTokenizer.from_pretrained`. <!-- rule: saved -->
# - Its merges are learned from `texts`: in all it cuts them into at most a quarter more tokens than
#   `tokenizer.train_new_from_iterator(texts, size)` does, which trains the chat model's design anew. <!-- rule: merges -->
# - `texts` stays as it was. <!-- rule: unchanged -->

# %%
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]


# %% exercise="train_tokenizer" minutes=25 difficulty=2
def train_tokenizer(texts, size):
    """A byte-level BPE tokenizer of `size` tokens for transformers, learned from `texts`."""
    ### BEGIN SOLUTION
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
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left")
    ### END SOLUTION


# %% tests="train_tokenizer" points=3
import random
import re


@check.shared
def behaviour(made, strings):
    """What a tokenizer does, in plain data."""
    if not hasattr(made, "save_pretrained") or not callable(made):
        return type(made).__name__
    ids = [list(made(string)["input_ids"]) for string in strings]
    padded = made(["a man", "a crooked man in a crooked house"], padding=True) if made.pad_token else None
    return {
        "first": made.convert_ids_to_tokens([0, 1, 2, 3]),
        "size": len(made),
        "roles": [made.pad_token, made.eos_token, made.padding_side],
        "padded": padded and [padded["input_ids"][0][0], padded["attention_mask"][0][0]],
        "ids": ids,
        "tokens": [made.convert_ids_to_tokens(row) for row in ids],
        "texts": [made.decode(row) for row in ids],
        "skipped": [made.decode(row, skip_special_tokens=True) for row in ids],
        "vocabulary": list(made.get_vocab()),
    }


@check.scenario
def trained(texts, size, strings, folder):
    made = train_tokenizer(texts, size)
    if hasattr(made, "save_pretrained"):
        made.save_pretrained(folder)  # before anything else: padding once changes what is saved
    return behaviour(made, strings)


@check.scenario(clean=True)
def loaded(folder, strings):
    return behaviour(AutoTokenizer.from_pretrained(folder), strings)


def check_behaviour(seen, size, strings, what):
    said = f"`train_tokenizer` gives a {seen}, no tokenizer of transformers: wrap it, PreTrainedTokenizerFast(tokenizer_object=...)."
    check.true(type(seen) is dict, said)
    hint = "special tokens given to the trainer come first; added afterwards they come last"
    check.equal(seen["first"], SPECIAL, f"the tokens with the ids 0 to 3 {what}", hint)
    check.equal(seen["size"], size, f"the number of tokens {what}", "special tokens and the alphabet are part of the size; a pair that occurs once can be merged too")
    hint = "they are arguments of PreTrainedTokenizerFast: `padding_side` set afterwards is not saved"
    check.equal(seen["roles"], ["<|pad|>", "<|end|>", "left"], f"pad_token, eos_token and padding_side {what}", hint)
    check.equal(seen["padded"], [0, 0], f"first id and mask of the shorter of two padded texts {what}", "padding goes to the left")
    over = [token for token in seen["vocabulary"] if token not in SPECIAL and re.search("[^ĠĊĉč][ĠĊĉč]", token)]
    check.true(not over, f"the token {over[0] if over else ''!r} {what} goes over the end of a word: which part cuts text first?")
    for string, ids, tokens, text, skipped in zip(strings, *(seen[key] for key in ("ids", "tokens", "texts", "skipped"))):
        hint = "look at each part: which could lose, add or change a blank, a newline, a letter or another sign?"
        causes = {
            "a blank too many: add_prefix_space": " " + string,
            "a special token takes no blank before it along: lstrip": re.sub(r"\s+(<\|(pad|end|user|assistant)\|>)", r"\1", string),
            "a special token takes no blank after it along: rstrip": re.sub(r"(<\|(pad|end|user|assistant)\|>)\s+", r"\1", string),
            "blanks are lost: does a pre-tokenizer throw them away?": "".join(string.split()),
            "`Ġ` in the text: there is no decoder": " ".join(tokens),
            "letters are lost that the training text did not have: initial_alphabet": "".join(
                sign for sign in string if sign in text
            ),
        }
        check.equal(text, string, f"{string!r} after encoding and decoding {what}", hint, causes=causes)
        found = [SPECIAL.index(token) for token in re.findall("|".join(map(re.escape, SPECIAL)), string)]
        check.equal([i for i in ids if i < 4], found, f"the special tokens of {string!r} {what}", "each is one token, declared as special")
        plain = re.sub("|".join(map(re.escape, SPECIAL)), "", string)
        check.equal(skipped, plain, f"{string!r} decoded without special tokens {what}", "declare them as special")
        digits = [sign for sign in string if sign in "0123456789"]
        held = [token for token in tokens if any(sign in token for sign in "0123456789")]
        check.equal(held, digits, f"the tokens with digits of {string!r} {what}", "let a pre-tokenizer cut digits one by one")


RHYME = [
    "There was a crooked man, and he walked a crooked mile.\n",
    "He found a crooked sixpence upon a crooked stile;\n",
    "he bought a crooked cat, which caught a crooked mouse,\n",
    "and they all lived together in a little crooked house.\n",
    "In 1984 he was 64 years old; in 1990 he was 70.\n",
]


def texts_to_learn(seed):
    yield RHYME, 300
    yield RHYME, 264
    yield ["\t".join("".join(RHYME).split())], 300
    draw = random.Random(seed)
    words = ["".join(draw.choices("abdeiklmnorstu", k=draw.randint(2, 9))) for _ in range(30)] + ["12345", "für", "猫"]
    parts = [(words[:15], 1)] * 1000 + [(words[15:], 24)] * 150  # the last texts have words of their own
    texts = [" ".join(draw.choices(part, k=draw.randint(1, most))) + draw.choice(["", "\n", "!"]) for part, most in parts]
    once = ["".join(draw.choices("abdeiklmnorstu", k=24)) for _ in range(20)]  # a great many pairs
    yield texts[:500] + once + texts[500:], 400  # enough to make whole words tokens


def check_train_tokenizer():
    strings = ["the house", "", " ", "  two spaces,\n\ta tab and 12 or 2,019 mice.", "naïve Ωmega 猫 🙂 ß e\u0301", "no, don 't !"]
    strings += ["3.14159 12345", "\r\n\x00\x7f", "a  b   c ", "<|user|>a crooked man<|assistant|>Yes 7<|end|>", "I<|pad|> A<|x|>"]
    strings += ["no <|user|> way  <|assistant|>\t\n<|end|>\n <|pad|> <|pad|>"]
    strings += ["1\u00a0000\u2009km \u201cﬁn\u201d \u2026", "½\u00ad\u200b Ａ\u3000\ufeffİ\u2028"]  # what a cleaning would change
    folder = check.folder()
    for seed in seeds:
        for number, (texts, size) in enumerate(texts_to_learn(seed)):
            place, what = f"{folder}/{seed}-{number}", f"({len(texts)} texts, size {size})"
            wanted = sum(map(len, tokenizer.train_new_from_iterator(texts, size, show_progress=False)(texts)["input_ids"]))
            seen, (now, *_) = check.after(trained, texts, size, strings + texts[:20], place)
            check_behaviour(seen, size, strings + texts[:20], what)
            check.equal(now, texts, f"`texts` after the call {what}", "make no changes to the caller's list")
            seen = loaded(place, strings + texts)
            check_behaviour(seen, size, strings + texts, f"after saving and loading {what}")
            count = sum(map(len, seen["ids"][len(strings) :]))
            hint = "learn merges from the texts, up to the size: inside words, to each of which the blank before it belongs"
            check.between(count, None, 1.25 * wanted, f"the number of tokens for all texts {what}", hint)


with check.exercise("train_tokenizer"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check_train_tokenizer()


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Go through the rules one by one and find the part of the table that keeps each. Two kinds of "special" are easily
# confused: the trainer must know the special tokens to give them ids, and transformers must know what each is for.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `Tokenizer(models.BPE())` and its attributes `pre_tokenizer` and `decoder`; `pre_tokenizers.Sequence([...])`;
# `trainers.BpeTrainer(vocab_size=, special_tokens=, initial_alphabet=, show_progress=False)`;
# `tokenizer.train_from_iterator(texts, trainer)`;
# `PreTrainedTokenizerFast(tokenizer_object=, pad_token=, eos_token=, padding_side=)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# bpe.pre_tokenizer = pre_tokenizers.Sequence([..., pre_tokenizers.ByteLevel(add_prefix_space=False)])
# trainer = trainers.BpeTrainer(..., initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
# bpe.train_from_iterator(texts, trainer)
# ```
# </details>


# %% [markdown]

# #### Claim: a token is about four characters of English
#
# The rule of thumb is everywhere (OpenAI gives it on its [tokenizer page](https://platform.openai.com/tokenizer)). It
# belongs to vocabularies of 50,000 to 200,000 tokens, trained on a good part of the web. You train five smaller ones on
# paragraphs of the Python reference, and count characters per token on paragraphs that they have not seen.

# %%
seen = [row["text"] for row in data.load("reference", split="train")]
unseen = [row["text"] for row in data.load("reference", split="test")]
sizes = [300, 600, 1200, 2400, 4800]
density = {}
for size in sizes:
    made = train_tokenizer(seen, size)
    for label, texts in (("training text", seen), ("unseen text", unseen)):
        density.setdefault(label, []).append(sum(map(len, texts)) / sum(len(ids) for ids in made(texts)["input_ids"]))

figure, axis = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for label, values in density.items():
    axis.plot(sizes, values, "o-", label=label)
axis.axhline(4, color="grey", ls=":", label="rule of thumb")
axis.set(xlabel="size of the vocabulary", ylabel="characters per token", xscale="log", xticks=sizes, xticklabels=sizes)
axis.minorticks_off()
axis.legend()
plt.show()

def characters_per_token(texts):
    return sum(map(len, texts)) / sum(len(ids) for ids in tokenizer(texts)["input_ids"])


own, parts = characters_per_token(unseen), [characters_per_token(unseen[i::5]) for i in range(5)]
print(f"the chat model ({len(tokenizer):,} tokens): {own:.1f} characters per token on unseen English", end=" ")
print(f"({min(parts):.1f} to {max(parts):.1f} on five parts of it)")
smallest, largest = density["unseen text"][0], density["unseen text"][-1]
print(f"from {sizes[0]} to {sizes[-1]:,} tokens: {smallest:.1f} to {largest:.1f} characters per token on unseen text")
for text in ("The cat is on the mat.", "Die Katze ist auf der Matte.", "猫はマットの上にいます。"):
    print(f"{len(tokenizer(text)['input_ids']):3} tokens for {len(text):2} characters: {text}")
claims.record(
    "a token is about four characters of English",
    claimed="4 characters",
    measured=f"{own:.1f} with the chat model's {len(tokenizer):,} tokens, {largest:.1f} with {sizes[-1]:,}",
    holds=3.5 <= own <= 4.5,
)

# %% [markdown]
# The claim is about a size of vocabulary and a kind of text, not about tokens as such. Compare the three sentences: who
# writes in a language that was rare in the training text pays more tokens for the same sentence, in money, in time, and
# in room in the context.

# %% [markdown]
# ## Part B · How is it asked, and taught?
#
# ### A second architecture
#
# What holds for one model may be an accident. So every test below runs on a second kind of model too: a GPT-2 with
# **random weights**, and now and then on a third. They write nonsense, but the same nonsense every time, and that is all
# a test needs. The weights are drawn larger than usual (`initializer_range=0.3`), so that a wrong mask or position
# changes the outcome visibly.
#
# | | tiny-lm (Llama) | GPT-2 | GPT-NeoX |
# |---|---|---|---|
# | position of a token | turns queries and keys: only distances count | a learned vector for place 0, 1, 2, …: the place itself counts | as Llama, on a quarter of each head |
# | heads for keys and values | 2, shared by 4 heads of queries | as many as for queries | as many as for queries |
# | attention and MLP | one after the other | one after the other | side by side |


# %%
def make_gpt2(vocab_size=97, seed=0):
    """A small GPT-2 with random weights: ids 0 (padding), 1 (end), up to 128 positions."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=128,
        n_embd=24,
        n_layer=2,
        n_head=3,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def make_neox(vocab_size=89, seed=0):
    """A small GPT-NeoX with random weights: ids 0 (padding), 1 (end), up to 128 positions."""
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=128,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    return GPTNeoXForCausalLM(config).eval()


for net in (make_gpt2(), make_neox()):
    print(f"{type(net).__name__}: {net.num_parameters():,} parameters, none of them trained")

# %% [markdown]
# ### 3 · Inside a pipeline
#
# `pipeline` is the shortest way to an answer:

# %%
answering = pipeline("text-generation", model=model, tokenizer=tokenizer, device=model.device)
for question in ("What is 8+7?", "Largest of 31, 75, 20?", "Reverse: q u i z"):
    said = answering([{"role": "user", "content": question}], max_new_tokens=12, do_sample=False)
    print(f"{question:24} {said[0]['generated_text'][-1]['content']}")

# %% [markdown]
# Why `device=model.device`: without it a pipeline takes the first GPU that it finds and moves `model` itself there. Every
# later cell that hands the model a tensor would then fail with "Expected all tensors to be on the same device". A model
# too large for one device is loaded with `device_map="auto"`, which spreads its layers over GPUs, CPU and disk; such a
# model is not moved with `.to(...)` any more
# ([big model inference](https://huggingface.co/docs/accelerate/usage_guides/big_modeling)).
#
# Every pipeline is three steps: **text to tensors, tensors through the model, tensors to something readable**. The
# library picks them by the task's name. Sooner or later you need what a pipeline does not offer (a whole batch in one
# call, the scores, your own loop), and then you write the steps yourself with the `Auto` classes: `AutoTokenizer` for
# the first and the last, `AutoModelFor…` for the one between. The part after `For` chooses the **head**: the same
# body can end in logits over the vocabulary (`CausalLM`) or over labels (`SequenceClassification`).
#
# #### Exercise 3 · Two pipelines by hand (`inside_the_pipeline`, 3 points, 30 minutes, difficulty 2 of 3)
#
# Two functions that agree with two pipelines, for a batch of inputs at once; each is checked, and earns its points, on
# its own. The models compute in float32 and are in evaluation mode, the inputs are no longer than they can take.
#
# `reply(model, tokenizer, chats, max_new_tokens)` answers conversations. `chats` is a list of 1 to 6 conversations,
# each a list of 1 to 6 `{"role": …, "content": …}`, the last from the user; a content may be any text, also an empty
# one, or one that holds special tokens (`<|pad|>` in a text is a token of the text). `max_new_tokens` is 1 to 12.
#
# - It returns a list of strings: for each conversation, in order, what the model would answer to it alone, at most
#   `max_new_tokens` tokens. What ends an answer (one token or a list of them) stands in `model.generation_config`; it may
#   come at once, and the answer is empty then. <!-- rule: answers -->
# - The answers are greedy, even where `model.generation_config` says that the model samples. (It asks for nothing else that
#   changes answers, such as beams or penalties.) <!-- rule: greedy -->
# - An answer is the text of the new tokens as `decode(..., skip_special_tokens=True)` gives it, blanks at its ends too,
#   without the prompt. (`all_special_ids` does not name all special tokens.) <!-- rule: text -->
# - Prompts are padded on the left, whatever the tokenizer's default is: else the prompt of a short chat would end in
#   padding, and the model would have to continue that. <!-- rule: left -->
# - The prompt is what the tokenizer's own template makes of the conversation, whichever template it
#   is. <!-- rule: template -->
# - The template writes every special token that the model expects; none is added a second time, though some tokenizers
#   add one to each text that they encode. <!-- rule: special_once -->
# - There is one call of `model.generate` for all conversations. <!-- rule: one_generate, reported -->
#
# `classify(model, tokenizer, texts)` judges 1 to 4 texts with a model that has a classification head of 2 to 150
# labels and logits from -50 to 50. The models here are encoders like BERT, which count positions from the left end of the
# row. A text is encoded with what the tokenizer adds by itself, has then from one token to as many as the model allows, and
# may hold special tokens as well.
#
# - It returns a list with a `{"label": …, "score": …}` for each text, in order. The label is the name of the most probable
#   one, from `model.config.id2label` (a dictionary, in any order). <!-- rule: label -->
# - The score is the probability of that label, by a softmax over the labels, as a Python float, and the same as for the
#   text alone (to a ten-thousandth of its value). <!-- rule: score -->
# - Texts are padded on the **right**, whatever the tokenizer's default is, and the model does not read the
#   padding. <!-- rule: right -->
# - There is one call of the model for all texts, and it records no gradient. <!-- rule: one_forward, reported -->
#
# For both:
#
# - `chats`, `texts`, the tokenizer's `padding_side`, the model and its `generation_config` are afterwards as they were
#   before. <!-- rule: kept -->
# - `TextGenerationPipeline` and `TextClassificationPipeline` are out of reach meanwhile. <!-- rule: own_steps, reported -->


# %% exercise="inside_the_pipeline" minutes=30 difficulty=2
def reply(model, tokenizer, chats, max_new_tokens):
    """The greedy answers to several conversations, as a list of strings."""
    ### BEGIN SOLUTION
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"}
    )
    made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    return tokenizer.decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    ### END SOLUTION


def classify(model, tokenizer, texts):
    """The best label of each text and its probability, as a list of dictionaries."""
    ### BEGIN SOLUTION
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        probabilities = model(**batch).logits.softmax(1)
    scores, best = probabilities.max(1)
    return [{"label": model.config.id2label[i], "score": score} for i, score in zip(best.tolist(), scores.tolist())]
    ### END SOLUTION


# %% tests="inside_the_pipeline" points=3
import random


@check.shared
def writer(kind, seed, samples):
    """A model that writes. The "GPT-2 of signs" likes special tokens, and two of them end its answers."""
    net = copy.deepcopy(model) if kind == "the chat model" else make_gpt2(len(tokenizer), seed)
    if kind == "GPT-2 of signs":
        with torch.no_grad():
            net.transformer.wte.weight[1:4] *= 2
        net.generation_config.eos_token_id = [1, 3]
    if samples:
        net.generation_config.update(do_sample=True, temperature=2.5, top_k=30)
    return net


@check.shared
def make_judge(labels, seed):
    """A small BERT with random weights and a head for these labels, for the tokens of the chat model."""
    torch.manual_seed(seed)
    names = dict(reversed([*enumerate(labels)]))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        initializer_range=0.4,
        pad_token_id=0,
        id2label=names,
        label2id={label: i for i, label in names.items()},
    )
    return BertForSequenceClassification(config).eval()


@check.shared
def tokens_for(side, closing, template=None):
    """The chat model's tokenizer, padding on this side; a closing one adds an end token to every text that it encodes."""
    tokens, end = copy.deepcopy(tokenizer), (tokenizer.eos_token, tokenizer.eos_token_id)
    tokens.padding_side = side
    tokens.chat_template = template or tokens.chat_template
    if closing:
        tokens.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    return tokens


@check.shared
def state_of(net):
    """What must stay as it was: the module, and how it generates."""
    settings = getattr(net, "generation_config", None)
    return check.module_state(net, values=True), settings and settings.to_dict()


@check.scenario
def replies(chats, limit, kind, seed, side, closing, samples, template):
    net, tokens = writer(kind, seed, samples), tokens_for(side, closing, template)
    before = state_of(net)
    said = AssertionError("pipelines are out of reach here: write their three steps yourself")
    with mock.patch.object(TextGenerationPipeline, "__init__", side_effect=said):
        with mock.patch.object(net, "generate", wraps=net.generate) as generate:
            answers = reply(net, tokens, chats, limit)
    return answers, generate.call_count, tokens.padding_side, before, state_of(net)


@check.scenario
def classes(texts, labels, seed, side, closing):
    net, tokens, recorded = make_judge(labels, seed), tokens_for(side, closing), []
    net.register_forward_hook(lambda module, inputs, output: recorded.append(output[0].requires_grad))
    before = state_of(net)
    said = AssertionError("pipelines are out of reach here: write their three steps yourself")
    with mock.patch.object(TextClassificationPipeline, "__init__", side_effect=said):
        found = classify(net, tokens, texts)
    return found, recorded, tokens.padding_side, before, state_of(net)


OTHER_TEMPLATE = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def some_chats(draw, count):
    """Conversations of one to six messages."""
    contents = ("What is 3+4?", "Sort: 7 5 9 1 3", "Largest of 17, 4, 52?", " blanks  \n", "猫 🙂", "?", "", "Repeat: a b c d e f g h")
    for number in range(count):
        length = draw.choice((1, 1, 3, 5))
        chat = [{"role": ("user", "assistant")[i % 2], "content": draw.choice(contents)} for i in range(length)]
        yield [{"role": "system", "content": "Be brief."}] * (number == 2) + chat


SHORT_CHATS = [[{"role": "user", "content": content}] for content in ("What is 3+4?", " blanks  \n", "猫 🙂", "?", "", "Sort: 7 5 9 1")]


def likes_signs(seed):
    """A "GPT-2 of signs" that ends one answer to `SHORT_CHATS` at once, and writes a special token that ends nothing in another."""
    batch = tokens_for("left", False).apply_chat_template(SHORT_CHATS, add_generation_prompt=True, padding=True, return_tensors="pt")
    for number in range(100 * seed, 100 * seed + 100):
        made = writer("GPT-2 of signs", number, False).generate(**batch, max_new_tokens=6, do_sample=False)
        new = made[:, batch["input_ids"].shape[1] :]
        if torch.isin(new[:, 0], torch.tensor([1, 3])).any() and (new == 2).any():
            return number
    return seed


def check_kept(before, now, what):
    check.unchanged(now[0], before[0], f"the model after {what}", "leave the model as it came")
    check.equal(now[1], before[1], f"`model.generation_config` after {what}", "say it in the call")


def check_reply():
    for seed in seeds:
        draw, other = random.Random(seed), 100 * seed
        for count, limit, *plan in (
            (1, 1, "GPT-2", other, "left", False, False, None),
            (3, 5, "GPT-2", other + 1, "right", False, False, None),
            (4, 3, "GPT-2", other + 2, "left", True, False, None),
            (2, 4, "GPT-2", other + 3, "right", False, True, None),
            (3, 4, "GPT-2", other + 4, "right", True, False, OTHER_TEMPLATE),
            (6, 6, "GPT-2 of signs", likes_signs(seed), "right", False, False, None),
            (4, 12, "the chat model", 0, "right", True, True, None),
        ):
            (kind, number, side, closing, samples, template), chats = plan, list(some_chats(draw, count))
            chats = copy.deepcopy(SHORT_CHATS) if kind == "GPT-2 of signs" else chats
            if kind == "the chat model":  # its answer to "e" has this letter in it
                contents = ["Sort: 7 5 9 1 3", "e", "2<|pad|>3", "Repeat: "]
                chats = [[{"role": "user", "content": content}] for content in contents]
                rest = 512 - limit - len(tokenizer.apply_chat_template(chats[-1], add_generation_prompt=True)["input_ids"])
                chats[-1][0]["content"] += "7" * rest  # with its answer as long as the model can take
            what = f"{kind} ({count} chats, padding_side {side!r}{', a tokenizer that adds an end token' * closing}{', do_sample=True' * samples}"
            what += f"{', another template' if template else ''})"
            net, tokens = writer(kind, number, samples), tokens_for("left", closing, template)
            library = TextGenerationPipeline(model=net, tokenizer=tokens, device=net.device)
            expected = [library(c, max_new_tokens=limit, do_sample=False)[0]["generated_text"][-1]["content"] for c in chats]
            prompts = [tokens.apply_chat_template(c, add_generation_prompt=True)["input_ids"] for c in chats]
            (answers, calls, side_after, *states), (chats_after, *_) = check.after(replies, chats, limit, *plan)
            check.kind(answers, list, "what `reply` returns")
            for answer in answers:
                check.kind(answer, str, "an answer")
                kept = [token for token in SPECIAL if token in answer]
                check.true(not kept, f"The answer {answer!r} of {what} holds special tokens: decode can leave them out.")
            causes = {
                "generate returns prompt and answer in one row": lambda: [
                    tokens.decode(prompt, skip_special_tokens=True) + one for prompt, one in zip(prompts, expected)
                ],
                "blanks at the ends of an answer belong to it": [one.strip() for one in expected],
                "an answer may be empty: the model says when it ends": lambda: [
                    library(c, max_new_tokens=limit, min_new_tokens=1, do_sample=False)[0]["generated_text"][-1]["content"]
                    for c in chats
                ],
                "an answer may hold the prompt's own words: cut the ids, not the text": lambda: [
                    one.replace(said, "") if said else one
                    for one, said in zip(expected, tokens.decode(prompts, skip_special_tokens=True))
                ],
            }
            hint = (
                "is the prompt what the tokenizer's own template makes, and does it end where the assistant begins to speak, once, and "
                "on the right of the row? Does generate get the attention mask, and is it told not to sample?"
            )
            check.equal(answers, expected, f"what `reply` returns for {what}", hint, causes=causes)
            check.equal(calls, 1, f"the number of calls of model.generate for {what}", "one call for the whole batch")
            hint = "say the side in the call (for `apply_chat_template` in `tokenizer_kwargs`), or put it back"
            check.equal(side_after, side, "`tokenizer.padding_side` after `reply`", hint)
            check.equal(chats_after, chats, "the conversations after `reply`", "leave the caller's lists as they are")
            check_kept(*states, "`reply`")


def check_classify():
    sentence = "Nobody answered the bell, so we left again after half an hour in the rain. "
    long, longest = sentence * 3, tokenizer.decode(tokenizer(sentence * 20)["input_ids"][:512])  # about 95 tokens, and 512
    for seed in seeds:
        for texts, labels, *plan in (
            (["No."], ["bad", "good"], seed, "right", False),
            (["The room was clean.", "No.", longest], ["bad", "mixed", "good"], seed + 1, "left", False),
            (["a<|pad|>b<|pad|>", "No, no, no, no."], ["no", "yes"], seed + 4, "left", False),
            (["win win win", "", "a", "a"], ["spam", "ham", "c", "d", "e"], seed + 2, "left", True),
            ([long, "See you at seven.", "猫 🙂"], ["z", "a"], seed + 3, "right", True),
            (["No.", "win win win", "a b"], [f"class {i}" for i in range(150)], seed + 5, "right", False),  # small scores
        ):
            net, tokens = make_judge(labels, plan[0]), tokens_for("right", plan[2])
            library = TextClassificationPipeline(model=net, tokenizer=tokens, device=net.device)
            expected = [library(text)[0] for text in texts]
            what = f"{len(texts)} texts and {len(labels)} labels, padding_side {plan[1]!r}"
            (found, recorded, side_after, *states), (texts_after, *_) = check.after(classes, texts, labels, *plan)
            check.kind(found, list, "what `classify` returns")
            for one in found:
                check.kind(one, dict, "a result")
                check.equal(sorted(one), ["label", "score"], "the keys of a result")
                check.kind(one["label"], str, "a label", "config.id2label turns a number into a name")
                check.kind(one["score"], float, "a score")
                check.between(one["score"], 0, 1, "a score", "logits become probabilities by a softmax over the labels")
            hint = (
                "softmax over the labels of one text; the model must know what is padding (attention_mask), and padding on the "
                "left would move the positions"
            )
            names, order = net.config.id2label, [*net.config.id2label.values()]
            causes = {
                "a name stands under its number, wherever in `id2label`": [
                    {**one, "label": next(order[i] for i, name in names.items() if name == one["label"])} for one in expected
                ],
                "a ten-thousandth of the value, not of 1": [{**one, "score": round(one["score"], 4)} for one in expected],
            }
            check.equal(found, expected, f"what `classify` returns for {what}", hint, rtol=1e-4, causes=causes)
            check.equal(len(recorded), 1, f"the number of calls of the model for {what}", "one call for the whole batch")
            check.true(not any(recorded), "autograd recorded the call: torch.no_grad() or torch.inference_mode() switches that off.")
            check.equal(side_after, plan[1], "`tokenizer.padding_side` after `classify`", "say the side in the call, or put it back")
            check.equal(texts_after, texts, "the texts after `classify`", "leave the caller's list as it is")
            check_kept(*states, "`classify`")


with check.exercise("inside_the_pipeline"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"reply": check_reply, "classify": check_classify})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Three steps each. `reply`: conversations to one padded batch of ids; `generate`; the new ids back to text. Where in a
# row of the result does the answer begin, if all prompts are padded to the same length on the left?
#
# `classify`: texts to one padded batch; one call of the model; logits to probabilities to names. Along which axis does
# the softmax run?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `tokenizer.apply_chat_template(chats, add_generation_prompt=, padding=, return_tensors="pt")` takes a list of chats;
# its `tokenizer_kwargs={"padding_side": "left"}` goes on to the tokenizer. `model.generate(**batch, max_new_tokens=,
# do_sample=)`. `tokenizer.decode(ids, skip_special_tokens=)` decodes a whole batch. `tokenizer(texts, padding=,
# padding_side=)`; `logits.softmax(...)`, `.max(...)`, `.tolist()`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # reply
# made = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
# return tokenizer.decode(made[:, ... :], ...)
#
# # classify
# batch = tokenizer(texts, padding=True, padding_side=..., return_tensors="pt")
# scores, best = probabilities.max(1)
# ```
# </details>


# %% [markdown]

# #### Ask a batch
#
# Questions from the held-out part of the tasks, all in one call. Three of the four tasks were taught; the smallest of three
# numbers never was. How sure the model is, is the probability that it gave to the tokens of its answer, on average.

# %%
tasks = ("add3", "max", "reverse", "min")
rows = [row for task in tasks for row in data.load("tasks", names=task, split="test", n=20)]
chats = [[{"role": "user", "content": row["prompt"]}] for row in rows]
right = [said.strip() == row["answer"] for said, row in zip(reply(model, tokenizer, chats, 16), rows)]

batch = tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt")
made = model.generate(**batch, max_new_tokens=16, do_sample=False, return_dict_in_generate=True, output_logits=True)
new = made.sequences[:, batch["input_ids"].shape[1] :]
written = new != tokenizer.pad_token_id
best = torch.stack(made.logits, 1).softmax(-1).amax(-1)
sure = (best * written).sum(1) / written.sum(1)
for i in range(0, len(rows), 10):
    said = tokenizer.decode(new[i], skip_special_tokens=True)
    print(f"{'right' if right[i] else 'wrong'}, {sure[i]:4.0%} sure   {rows[i]['prompt']:28} {said}")
print()
for k, task in enumerate(tasks):
    here = slice(20 * k, 20 * k + 20)
    taught = "never taught" if task == "min" else "taught"
    print(f"{task:8} ({taught}): right in {sum(right[here])} of 20, {sure[here].mean():.0%} sure on average")

# %% [markdown]
# Asked for something that it was never taught, the model does not say so: it answers in the form that it knows. Whether its
# probabilities give it away shows in the last column. (Larger models are often well calibrated: Kadavath and others 2022,
# [arXiv:2207.05221](https://arxiv.org/abs/2207.05221). Tuning for chats can spoil that: OpenAI 2023,
# [arXiv:2303.08774](https://arxiv.org/abs/2303.08774), figure 8.)
#
# ### 4 · A chat template, and labels to learn from
#
# A model knows no roles. It continues a string. The **chat template**, a small program in the Jinja language that is
# saved with the tokenizer, writes a conversation as one string in exactly the form in which the model was taught. With
# any other form the model answers worse, and no error says so.
#
# Training needs one thing more: which tokens did the *assistant* write? Only these are to be learned. A template can
# mark them with `{% generation %}` … `{% endgeneration %}`; then `apply_chat_template(...,
# return_assistant_tokens_mask=True)` returns them as `assistant_masks`. Here is the template of tiny-lm, and what it marks.
#
# Templates of 2026 write more: the tools that a model may call (`apply_chat_template(chat, tools=[...])`), and where the
# thinking of a reasoning model begins and ends; some have switches of their own, such as Qwen3's `enable_thinking=False`,
# passed to `apply_chat_template` ([docs](https://huggingface.co/docs/transformers/chat_templating)). Read a template before
# you rely on it.

# %%
print(tokenizer.chat_template.replace("%}{%", "%}\n{%"), "\n")
lesson = [
    {"role": "user", "content": "Sort: 3 1 2"},
    {"role": "assistant", "content": "1 2 3"},
    {"role": "user", "content": "Repeat: a b"},
    {"role": "assistant", "content": "a b"},
]
TINY_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{% generation %}{{ m['content'] }}<|end|>"
    "{% endgeneration %}{% else %}<|{{ m['role'] }}|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
shown = tokenizer.apply_chat_template(lesson, chat_template=TINY_TEMPLATE, return_assistant_tokens_mask=True)
print("all:   ", tokenizer.convert_ids_to_tokens(shown["input_ids"]))
print("marked:", tokenizer.convert_ids_to_tokens([i for i, m in zip(shown["input_ids"], shown["assistant_masks"]) if m]))

# %% [markdown]
# The marks of this template include `<|end|>`: a model that never learns to write it never stops.
#
# #### Exercise 4 · ChatML, and a batch to learn from (`chat_template`, 4 points, 35 minutes, difficulty 2 of 3)
#
# Two functions; each is checked, and earns its points, on its own.
#
# `chatml_template()` returns a template (a string) for **ChatML**, the format of many open models. A conversation is one
# to twelve messages with the roles `system`, `user` and `assistant`, in any order; a content may be any text, also an empty
# one, or one that holds these markers. It becomes
#
# ```text
# <|im_start|>system
# Be brief.<|im_end|>
# <|im_start|>user
# Hello!<|im_end|>
# <|im_start|>assistant
# Hi.<|im_end|>
# ```
#
# - Each message has a first line with its role, then its content, `<|im_end|>` and one newline, the last message
#   too. <!-- rule: format -->
# - White space of any kind (what Python's `strip` takes) at both ends of a content is removed, of every role; inside it
#   stays. <!-- rule: trim -->
# - With `add_generation_prompt`, and only then, the line `<|im_start|>assistant` and a newline follow. <!-- rule: prompt -->
# - The marks cover what the assistant writes, in each of its messages: the content and `<|im_end|>`, not the line above and
#   not the newline. <!-- rule: marks -->
# - Any other role (`User` and `" user"` too) is an error, wherever it comes: a template can call `raise_exception("…")`. <!-- rule: roles -->
#
# Two traps of Jinja in transformers: a newline right after a `{% … %}` tag is dropped, and so are the spaces before a
# tag at the start of a line. Write a newline that must stay as `{{ "\n" }}`, or put a `{{ … }}` before it. The tokenizer
# `chatml` below has the two markers of this format; try your template with
# `chatml.apply_chat_template(lesson, chat_template=chatml_template(), tokenize=False)`.
#
# `training_batch(tokenizer, chats)` makes a batch to train on. `chats` is a list of 1 to 5 conversations of up to
# 2,500 tokens (more than tiny-lm can take: nothing is cut), first the user, then these roles in any order. Their contents
# begin and end with a visible ASCII character (beside others `assistant_masks` may lack a token) and may hold special
# tokens, `<|pad|>` and `<|end|>` too. The tokenizer has a padding token, which may be the same as the end token, and a
# template with marks, which may mark more than tiny-lm's does, or less.
#
# - It returns a dictionary (or `BatchEncoding`) of just three int64 tensors `(chats, tokens)`: `input_ids`,
#   `attention_mask` and `labels`. <!-- rule: keys -->
# - `input_ids` is what the tokenizer's own template makes of each conversation, all of it, without a generation prompt, and
#   without what some tokenizers add to each text that they encode. <!-- rule: ids -->
# - Shorter rows are padded on the tokenizer's side; the mask is 1 for tokens of the text and 0 for
#   padding. <!-- rule: padding -->
# - `labels` equals `input_ids` at the tokens that the template marks, in every turn, and at no others; elsewhere it is
#   -100: the label that cross-entropy skips. <!-- rule: labels -->
# - They are not shifted: the model compares each position with the *next* label itself. <!-- rule: unshifted -->
# - `chats` stays as it was. <!-- rule: kept -->

# %%
chatml = AutoTokenizer.from_pretrained(model_name, extra_special_tokens=["<|im_start|>", "<|im_end|>"], padding_side="left")


# %% exercise="chat_template" minutes=35 difficulty=2
def chatml_template():
    """A Jinja chat template for ChatML, with generation markers."""
    ### BEGIN SOLUTION
    return (
        "{% for message in messages %}"
        "{% if message.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
        "{{ '<|im_start|>' + message.role + '\n' }}"
        "{% if message.role == 'assistant' %}"
        "{% generation %}{{ message.content | trim + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ message.content | trim + '<|im_end|>' }}{% endif %}"
        "{{ '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    ### END SOLUTION


def training_batch(tokenizer, chats):
    """Padded conversations with labels: input_ids, attention_mask, labels, int64 (chats, tokens)."""
    ### BEGIN SOLUTION
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)
    taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].where(taught, -100)
    return batch
    ### END SOLUTION


# %% tests="chat_template" points=4
import itertools
import random


@check.scenario(clean=True)
def rendered(template, chats, prompt):
    """What a template makes of each conversation: its text and the pieces that it marks, or its error."""
    from jinja2 import TemplateError

    found = []
    for chat in chats:
        try:
            options = {"chat_template": template, "add_generation_prompt": prompt}
            text = chatml.apply_chat_template(chat, tokenize=False, **options)
            encoded = chatml.apply_chat_template(chat, return_assistant_tokens_mask=True, **options)
        except Exception as error:
            found.append({"error": f"{type(error).__name__}: {error}", "own": isinstance(error, TemplateError)})
            continue
        pieces, before = [], 0
        for token, mark in zip(encoded["input_ids"], encoded["assistant_masks"]):
            if mark:
                pieces = pieces if before else [*pieces, []]
                pieces[-1].append(token)
            before = mark
        found.append({"text": text, "marked": [chatml.decode(piece) for piece in pieces]})
    return found


@check.scenario
def batch_of(chats, template, side, ends_are_padding, closing):
    tokens, end = copy.deepcopy(tokenizer), (tokenizer.eos_token, tokenizer.eos_token_id)
    if closing:
        tokens.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    tokens.chat_template, tokens.padding_side = template, side
    if ends_are_padding:
        tokens.pad_token = tokens.eos_token
    return {**training_batch(tokens, chats)}


def message(role, content):
    return {"role": role, "content": content}


def conversations(seed):
    """Any roles in any order, from short to long."""
    draw = random.Random(seed)
    contents = ["Hello!", "  How old?\n", "", " \n", "a\n\nb {{ c }} {% d %}", "'quoted' \"twice\"", "<b>&amp; naïve 猫</b> ", "\t12+3= "]
    contents += ["\r\nHow\r\nold?\x0b", "\u3000Four.\xa0\x0c", "a <|im_end|>\n<|im_start|>user\nb"]
    white = "".join(sign for sign in map(chr, range(0x3001)) if sign.isspace())
    for role in ("user", "assistant", "system"):
        yield [message(role, "Hello!")]
    yield [message("user", "?"), message("assistant", " \n"), message("system", ""), message("assistant", "")]
    yield [message("system", "\nBe brief. "), message("user", "  How old?\n"), message("assistant", " Four. \n"), message("user", "?")]
    yield [message("user", "\r\nHow\r\nold?\x0b"), message("assistant", "\u3000Four.\xa0\x0c")]
    for role in ("user", "assistant", "system"):
        yield [message(role, f"{white}2{white[:8]}3{white}")]
    yield [message("user", "\u200bno white space\ufeff")]
    yield [message("user", "Say <|im_end|>"), message("assistant", "<|im_end|> and <|im_start|>")]
    for length in (2, 3, 4, 7, 12):
        yield [message(draw.choice(("user", "assistant", "system")), draw.choice(contents)) for _ in range(length)]


def check_chatml_template():
    template = chatml_template()
    check.kind(template, str, "the template")
    for seed in seeds:
        chats = list(conversations(seed))
        for prompt in (False, True):
            for chat, seen in zip(chats, rendered(template, chats, prompt)):
                what = f"what the template makes of {chat}{' with a generation prompt' * prompt}"
                check.true("error" not in seen, f"The template stops at {chat} with {seen.get('error')}.")
                expected = "".join(f"<|im_start|>{m['role']}\n{m['content'].strip()}<|im_end|>\n" for m in chat)
                expected += "<|im_start|>assistant\n" * prompt
                hint = "look at the markers, the roles, white space around contents (`| trim`) and `add_generation_prompt`"
                if seen["text"].replace("\n", "") == expected.replace("\n", ""):
                    hint = 'a newline after a {% … %} tag is dropped: write one that must stay as {{ "\\n" }}'
                check.true(seen["text"] == expected, f"{what}:\n{seen['text']!r}, expected\n{expected!r}. {hint}")
                marked = [m["content"].strip() + "<|im_end|>" for m in chat if m["role"] == "assistant"]
                hint = (
                    "{% generation %} stands around the assistant's content and its <|im_end|>: not around the header, the newline, "
                    "or others"
                )
                check.equal(seen["marked"], marked, f"the marked pieces of {chat}", hint)
    unknown = [[message(role, "x")] for role in ("User", "tool", "assist", "", " user", "assistant\n")]
    known = [message("user", "x"), message("assistant", "y")]
    unknown += [known[:i] + [message("developer", "z")] + known[i:] for i in (0, 1, 2)]
    for chat, seen in zip(unknown, rendered(template, unknown, False)):
        role = next(m["role"] for m in chat if m["role"] not in ("system", "user", "assistant"))
        said = f"The template takes the role {role!r} ({chat}) and raises no error"
        check.true(seen.get("own", False), f"{said}: a role that the model has never seen is one, raise_exception.")


BARE_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ '<|user|>' + m.content + '<|assistant|>' }}{% endif %}{% endfor %}"
)
OPEN_TEMPLATE = TINY_TEMPLATE.replace("<|end|>{% endgeneration %}", "{% endgeneration %}<|end|>")  # marks no end
HEADER_TEMPLATE = TINY_TEMPLATE.replace("<|assistant|>{% generation %}", "{% generation %}<|assistant|>")


def written(chat, template):
    """The pieces of a conversation's text, each with whether the template marks it."""
    for m in chat:
        mine, content = m["role"] == "assistant", m["content"]
        if template == BARE_TEMPLATE:
            yield (content if mine else f"<|user|>{content}<|assistant|>"), mine
        else:
            yield f"<|{m['role']}|>", mine and template == HEADER_TEMPLATE
            yield content, mine
            yield "<|end|>" * mine, mine and template != OPEN_TEMPLATE


def tokens_of(chat, template):
    """The ids of a conversation, each with whether the template marks it."""
    for mine, parts in itertools.groupby(written(chat, template), key=lambda part: part[1]):
        yield from ((i, mine) for i in tokenizer("".join(text for text, _ in parts))["input_ids"])


def batch_by_definition(chats, template, side, pad):
    rows = [list(tokens_of(chat, template)) for chat in chats]
    width = max(map(len, rows))
    batch = {"input_ids": [], "attention_mask": [], "labels": []}
    for row in rows:
        gap = [(pad, 0, -100)] * (width - len(row))
        cells = [(i, 1, i if mine else -100) for i, mine in row]
        for values, column in zip(batch.values(), zip(*(gap + cells if side == "left" else cells + gap))):
            values.append(list(column))
    return {key: torch.tensor(values) for key, values in batch.items()}


def chats_to_learn(draw, count):
    contents = ("Sort: 3 1 2", "1 2 3", "5+6=", "11", "naïve 猫!", "a  b", "And back?", "?", "Repeat: a b c d e f g", "2<|pad|>3")
    contents += ("1<|end|>2", "3<|assistant|>4")
    for number in range(count):
        turns = draw.choice((1, 2, 2, 3, 4, 5))
        roles = ["user", "assistant"] * 3 if number % 2 else ["user", *draw.choices(("user", "assistant", "system"), k=turns)]
        yield [message(role, draw.choice(contents)) for role in roles[:turns]]


def check_training_batch():
    for seed in seeds:
        draw = random.Random(seed)
        for count, template, side, ends_are_padding, closing in (
            (1, TINY_TEMPLATE, "left", False, False),
            (2, TINY_TEMPLATE, "left", False, False),
            (3, TINY_TEMPLATE, "right", False, False),
            (4, TINY_TEMPLATE, "right", True, False),
            (4, TINY_TEMPLATE, "left", True, False),
            (5, BARE_TEMPLATE, "right", False, False),
            (1, BARE_TEMPLATE, "left", True, False),
            (2, TINY_TEMPLATE, "left", False, True),
            (3, BARE_TEMPLATE, "right", True, True),
            (2, OPEN_TEMPLATE, "left", False, False),
            (4, HEADER_TEMPLATE, "right", True, False),
        ):
            chats = list(chats_to_learn(draw, count))
            if count == 5:  # longer than any limit that somebody may have set
                chats[1] = [message("user", "Repeat: " + "a b c " * 200 + "d"), message("assistant", "7" * 1800)]
            chats[0] = [message("user", "Sort: 3 1 2"), message("assistant", "1 2 3"), message("user", "?"), message("assistant", "3 2 1")]
            pad = tokenizer.eos_token_id if ends_are_padding else tokenizer.pad_token_id
            expected = batch_by_definition(chats, template, side, pad)
            what = f"of {count} chat{'s' * (count > 1)}, padded {side}" + ", where the padding token is the end token" * ends_are_padding
            what += ", by a tokenizer that adds an end token to each text" * closing
            what += ", whose ends are not marked" * (template == OPEN_TEMPLATE)
            what += ", whose headers are marked" * (template == HEADER_TEMPLATE)
            batch, (chats_after, *_) = check.after(batch_of, chats, template, side, ends_are_padding, closing)
            check.equal(sorted(batch), sorted(expected), f"the keys of the batch {what}")
            ids, real, labels = expected["input_ids"], expected["attention_mask"].bool(), expected["labels"]
            hint = "the tokenizer's own template and nothing added to it, no generation prompt, padding on the tokenizer's side"
            check.equal(batch["input_ids"], ids, f"input_ids {what}", hint)
            causes = {"a token is not padding because it has the padding's id": (ids != pad).long()}
            hint = "1 for tokens of the text, 0 for padding"
            check.equal(batch["attention_mask"], expected["attention_mask"], f"attention_mask {what}", hint, causes=causes)
            causes = {
                "the users' words and headers are no targets: -100": ids.where(real, -100),
                "do not shift: the model does": torch.cat([labels[:, 1:], labels.new_full((count, 1), -100)], 1),
                "the label that the loss skips is -100, not 0": labels.where(labels != -100, 0),
                "the label that the loss skips is -100, not the padding": labels.where(labels != -100, pad),
                "an end token is not padding because it has the padding's id": labels.where(ids != pad, -100),
            }
            if template in (OPEN_TEMPLATE, HEADER_TEMPLATE):  # the ids are those of tiny-lm's template
                usual = batch_by_definition(chats, TINY_TEMPLATE, side, pad)["labels"]
                causes["the template decides what is marked: here it is more or less than content and end"] = usual
            hint = "the ids of what the template marks, in every turn; else -100"
            check.equal(batch["labels"], labels, f"labels {what}", hint, causes=causes)
            check.equal(chats_after, chats, "the conversations after the call")


with check.exercise("chat_template"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"chatml_template": check_chatml_template, "training_batch": check_training_batch})
check.points(4)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Template: a loop over `messages`. What does every message begin with, what does it end with? For the assistant the end
# and the content stand inside the marks, so `<|im_end|>` is written at two places. Print the result with
# `tokenize=False` and `repr`, and look for newlines.
#
# Batch: one call gives ids, mask and marks. What must happen to an id where its mark is 0?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# Jinja: `{% for m in messages %}`, `{% if m.role == "assistant" %} … {% else %} … {% endif %}`, `{{ a + b }}`,
# `{{ text | trim }}`, `x not in [...]`. In a Python string, `"\n"` inside `{{ '…' }}` is fine.
#
# `apply_chat_template(chats, padding=True, return_tensors="pt", return_assistant_tokens_mask=True)`;
# `torch.where(condition, a, b)` or `tensor.masked_fill(mask, -100)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # the template: what is written for the assistant, and what comes after the loop
# "{% generation %}{{ message.content | trim + ... }}{% endgeneration %}"
# "{% if add_generation_prompt %}...{% endif %}"
#
# # the batch
# batch = tokenizer.apply_chat_template(chats, ..., return_assistant_tokens_mask=True)
# taught = torch.as_tensor(batch.pop("assistant_masks")).bool()
# ```
# </details>


# %% [markdown]

# #### What the labels are for
#
# The loss of a causal model with your labels, once for tiny-lm and once for the right answer exchanged for a wrong one.
# The prompt counts nothing; the answer, and that it ends there, count everything.

# %%
rows = [row for row in data.load("tasks", names="max", split="test", n=40)]
for label, answers in (
    ("the right answer", [row["answer"] for row in rows]),
    ("an answer that is too large by one", [str(int(row["answer"]) + 1) for row in rows]),
):
    batch = training_batch(
        tokenizer,
        [
            [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": said}]
            for row, said in zip(rows, answers)
        ],
    )
    with torch.no_grad():
        loss = model(**batch).loss
    share = (batch["labels"] != -100).sum() / batch["attention_mask"].sum()
    print(f"{label:36} loss {loss:5.2f} nats a token, on {share:.0%} of the tokens")

# %% [markdown]
# ## Part C · Why does a batch give other answers?
#
# ### 5 · Padding, positions and masks
#
# Rows of a tensor are equally long, prompts are not. So short prompts are filled up with padding, and three things
# must be said about it, or the answers change:
#
# - **which side**: the next token is predicted at the last place of the row, so the last place must be real: left;
# - **the attention mask**: no token may look at padding;
# - **the positions**: the first real token is at place 0, wherever it stands in the row.
#
# The demonstration leaves one of them out at a time. The number is how far the logits of the next token are from those
# of the prompt alone (0 would be perfect; logits here are of the size of a few units).

# %%
prompt, width = [5, 17, 42, 9], 11
alone = torch.tensor([prompt])
padding = [0] * (width - len(prompt))
left, right = torch.tensor([padding + prompt]), torch.tensor([prompt + padding])
left_mask = torch.tensor([[0] * len(padding) + [1] * len(prompt)])
positions = (left_mask.cumsum(1) - 1).clamp(min=0)
with torch.no_grad():
    for label, net in (("GPT-2", make_gpt2()), ("tiny-lm", model)):
        expected = net(alone).logits[0, -1]
        ways = {
            "on the right, read at the last place": net(right, attention_mask=left_mask.flip(1)).logits[0, -1],
            "on the left, no mask": net(left, position_ids=positions).logits[0, -1],
            "on the left, no positions": net(left, attention_mask=left_mask).logits[0, -1],
            "on the left, mask and positions": net(left, attention_mask=left_mask, position_ids=positions).logits[0, -1],
        }
        for way, logits in ways.items():
            print(f"{label:8} padded {way:38} off by {(logits - expected).abs().max():.5f}")

# %% [markdown]
# Look at "no positions": GPT-2 minds, tiny-lm does not, because for rotary positions only distances count. A bug that
# one architecture forgives is found later, by someone else. (`generate` derives positions from the mask for you. A
# call of the model itself does not.)
#
# **Masks are matrices.** What the model uses inside is not the row `0 0 1 1 1` but a square for each row of the batch:
# may query $q$ look at key $k$? `attention_mask` also accepts that square, boolean, of shape `(batch, 1, n, n)`; the
# axis of length 1 stands for all heads. `True` means *may look*. (In `nn.MultiheadAttention` it means the opposite.)
#
# **Packing** turns the idea round: several sequences stand one after another in a single row without any padding, and
# the matrix keeps them apart. That saves the padding. With a dense matrix, as here, scores between sequences are still
# computed and then thrown away; packing gets much cheaper with attention kernels that take the lengths instead of a
# matrix (FlashAttention's [varlen functions](https://github.com/Dao-AILab/flash-attention)).
#
# #### Exercise 5 · Batches and masks (`batches_and_masks`, 3 points, 30 minutes, difficulty 2 of 3)
#
# Three functions; each is checked, and earns its point, on its own. `rows` is a list of 1 to 290 lists, each of 1 to 90
# ids, in all 1,000 at most. Ids, `pad_id` too, are from 0 to 200,000.
#
# `pad_left(rows, pad_id)` returns a dictionary of three int64 tensors `(rows, longest)`:
#
# - `input_ids`: the rows, filled up with `pad_id` on the left. <!-- rule: input_ids -->
# - `attention_mask`: 1 for real tokens and 0 for padding. A real token may have the same id as the
#   padding. <!-- rule: attention_mask -->
# - `position_ids`: 0, 1, 2, … from the first real token of the row on; at padding any valid position, from 0 to
#   `longest - 1`. <!-- rule: position_ids -->
# - `rows` stays as it was. <!-- rule: rows_kept -->
#
# `attention_matrix(attention_mask)` takes a mask of 0 and 1 `(batch, n)`, int64 or bool, with padding on the left, on the
# right or in between; `batch` is 1 to 6, `n` 1 to 1,030 (`batch * n` too). A row may be all padding.
#
# - It returns a boolean tensor `(batch, 1, n, n)`. <!-- rule: boolean -->
# - Entry `[b, 0, q, k]` is `False` where key $k$ comes later than query $q$ … <!-- rule: causal -->
# - … or is padding … <!-- rule: no_padding -->
# - … and `True` elsewhere: every real token sees itself too. (In rows of queries that are padding anything may
#   stand.) <!-- rule: sees -->
# - `attention_mask` stays as it was. <!-- rule: mask_kept -->
#
# `pack(rows)` returns a dictionary, such that `model(**pack(rows))` gives each sequence the logits that it has alone:
#
# - `input_ids`, int64 `(1, total)`: the rows one after another; `rows` stays as it was. <!-- rule: packed -->
# - `position_ids`, int64 `(1, total)`: each sequence begins at place 0. <!-- rule: places -->
# - `attention_mask`, boolean `(1, 1, total, total)`: a token may look at itself and at what stands before it in its own
#   sequence, and at nothing else. <!-- rule: blocks -->


# %% exercise="batches_and_masks" minutes=30 difficulty=2
def pad_left(rows, pad_id):
    """A batch padded on the left: input_ids, attention_mask and position_ids, int64 (rows, longest)."""
    ### BEGIN SOLUTION
    width = max(map(len, rows))
    input_ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    attention_mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
    ### END SOLUTION


def attention_matrix(attention_mask):
    """Which query may look at which key: (batch, n) of 0 and 1 -> bool (batch, 1, n, n)."""
    ### BEGIN SOLUTION
    n = attention_mask.shape[1]
    causal = torch.full((n, n), True).tril()
    return causal & attention_mask[:, None, None, :].bool()
    ### END SOLUTION


def pack(rows):
    """Several sequences in one row that do not see each other: input_ids, position_ids, attention_mask."""
    ### BEGIN SOLUTION
    input_ids = torch.tensor([i for row in rows for i in row])
    position_ids = torch.cat([torch.arange(len(row)) for row in rows])
    owner = torch.cat([torch.full((len(row),), number) for number, row in enumerate(rows)])
    may_look = (owner[:, None] == owner) & torch.full((len(owner), len(owner)), True).tril()
    return {"input_ids": input_ids[None], "position_ids": position_ids[None], "attention_mask": may_look[None, None]}
    ### END SOLUTION


# %% tests="batches_and_masks" points=3
import random


@check.shared
def matrix_by_definition(attention_mask, sees=lambda real, q, k: real[k] and k <= q):
    rows = attention_mask.bool().tolist()
    return torch.tensor([[[[sees(real, q, k) for k in range(len(real))] for q in range(len(real))]] for real in rows])


@check.scenario
def padded(rows, pad_id):
    """The batch, with 0 for every valid position of padding."""
    batch = {**pad_left(rows, pad_id)}
    places, mask = batch["position_ids"], batch["attention_mask"]
    if places.shape == mask.shape:
        batch["position_ids"] = places.masked_fill((mask == 0) & (places >= 0) & (places < places.shape[-1]), 0)
    return batch


@check.scenario
def matrix_of(attention_mask):
    """The matrix, without the rows of padding."""
    real, matrix = attention_mask.bool(), attention_matrix(attention_mask)
    batch, n = real.shape
    return matrix.masked_fill(~real[:, None, :, None], 0) if tuple(matrix.shape) == (batch, 1, n, n) else matrix


@check.scenario
def packed(rows):
    """The packed row; where `pack` uses `attention_matrix`, that one is right."""
    around = getattr(pack, "__globals__", {})
    with mock.patch.dict(around, {"attention_matrix": matrix_by_definition} if "attention_matrix" in around else {}):
        return pack(rows)


def padded_by_definition(rows, pad_id, place=lambda column, gap: max(column - gap, 0), left=True):
    width = max(map(len, rows))
    gaps = [width - len(row) for row in rows]
    lists = {
        "input_ids": [[pad_id] * gap + row if left else row + [pad_id] * gap for row, gap in zip(rows, gaps)],
        "attention_mask": [[0] * gap + [1] * len(row) if left else [1] * len(row) + [0] * gap for row, gap in zip(rows, gaps)],
        "position_ids": [[place(column, gap) for column in range(width)] for gap in gaps],
    }
    return {key: torch.tensor(value) for key, value in lists.items()}


def padded_on_the_right(rows, pad_id):
    batch = padded_by_definition(rows, pad_id, lambda column, gap: column, left=False)
    return batch | {"position_ids": batch["position_ids"] * batch["attention_mask"]}


def masked_by_id(rows, pad_id):
    batch = padded_by_definition(rows, pad_id)
    mask = (batch["input_ids"] != pad_id).long()
    return batch | {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0) * mask}


def packed_by_definition(rows):
    owners = [(number, place) for number, row in enumerate(rows) for place in range(len(row))]
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row]]),
        "position_ids": torch.tensor([[place for _, place in owners]]),
        "attention_mask": torch.tensor([[[[one == other and k <= q for other, k in owners] for one, q in owners]]]),
    }


def some_rows(seed):
    draw = random.Random(seed)
    yield [[7]]
    yield [[0, 0]]
    yield [[5, 9, 33], [7], [4, 4, 8, 61, 12]]
    yield [[1, 2], [1, 2], [3, 4]]
    for count, longest in ((2, 3), (3, 9), (7, 12), (40, 3), (2, 90)):
        largest = 200_000 if count == 7 else 79
        yield [[draw.randint(0, largest) for _ in range(draw.randint(1, longest))] for _ in range(count)]
    yield [[draw.randrange(80)] * draw.choice((1, 2, 3)) for _ in range(290)]  # more rows than a byte can number
    yield [draw.choices(range(200_001), k=90) for _ in range(11)]  # the most ids


def of_rows(rows, **others):
    """A case, in few words where there are many rows."""
    said = str(rows) if sum(map(len, rows)) <= 40 else f"{len(rows)} rows of 1 to {max(map(len, rows))} ids"
    return cases.Case({"rows": rows, **others}, {"rows": said} | {name: str(value) for name, value in others.items()})


def check_pad_left():
    hint = "padding on the left; 1 for real tokens, 0 for padding; the first real token of a row is at place 0"
    causes = {
        "padding goes to the left": lambda rows, pad_id: padded_on_the_right(rows, pad_id),
        "the first real token of a row is at place 0, wherever it stands": lambda rows, pad_id: padded_by_definition(
            rows, pad_id, lambda column, gap: column if column >= gap else 0
        ),
        "no model has a place -1": lambda rows, pad_id: padded_by_definition(
            rows, pad_id, lambda column, gap: column - gap if column >= gap else -1
        ),
        "a real token is not padding because it has the padding's id": masked_by_id,
    }
    for seed in seeds:
        batches = [of_rows(rows, pad_id=pad_id) for rows in some_rows(seed) for pad_id in (0, rows[0][-1])]
        check.agrees(padded, padded_by_definition, batches, "`pad_left`", hint, causes=causes)


def check_attention_matrix():
    hint = "True where a query may look: at keys that are real and not later, itself among them"
    causes = {
        "every token sees itself too": lambda mask: matrix_by_definition(mask, lambda real, q, k: real[q] and real[k] and k < q),
        "True means that it may look": lambda mask: matrix_by_definition(mask, lambda real, q, k: real[q] and (k > q or not real[k])),
        "keys that come later are hidden: the model would see the answer": lambda mask: matrix_by_definition(
            mask, lambda real, q, k: real[q] and real[k]
        ),
        "keys that are padding are hidden": lambda mask: matrix_by_definition(mask, lambda real, q, k: real[q] and k <= q),
        "keys that are padding are hidden, behind real ones too": lambda mask: matrix_by_definition(
            mask, lambda real, q, k: real[q] and k <= q and any(real[: k + 1])
        ),
    }

    def expected(mask):
        return matrix_by_definition(mask, lambda real, q, k: real[q] and real[k] and k <= q)

    domain = {"attention_mask": cases.tensor("batch", "n", dtypes=("int64", "bool"), high=1)}
    left = [cases.Case({"attention_mask": torch.tensor([[0, 0, 1], [1, 1, 1]])}, {"attention_mask": "[[0, 0, 1], [1, 1, 1]]"})]
    long = (torch.arange(1030) % 7 > 0).long()[None]  # longer than any triangle that was made beforehand
    long = [cases.Case({"attention_mask": long}, {"attention_mask": "[1, 1030]"})]
    for masks in (left, cases.draw(seeds, domain, batch=(1, 6), n=(1, 40)), long):
        check.agrees(matrix_of, expected, masks, "`attention_matrix`", hint, causes=causes)


def check_pack():
    hint = "a token looks at itself and at what stands before it in its own sequence; each sequence begins at place 0"
    causes = {
        "each sequence begins at place 0": lambda rows: packed_by_definition(rows)
        | {"position_ids": torch.arange(sum(map(len, rows)))[None]},
        "tokens of one sequence do not see another: the mask is a matrix of blocks": lambda rows: packed_by_definition(rows)
        | {"attention_mask": torch.ones(1, 1, *[sum(map(len, rows))] * 2).tril().bool()},
    }
    for seed in seeds:
        check.agrees(packed, packed_by_definition, map(of_rows, some_rows(seed)), "`pack`", hint, causes=causes)


with check.exercise("batches_and_masks"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"pad_left": check_pad_left, "attention_matrix": check_attention_matrix, "pack": check_pack})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# `pad_left`: the positions can be computed from the mask alone: how many real tokens stand before this place?
#
# `attention_matrix`: two conditions, one about order and one about padding. The first is the same for all rows, the
# second depends on the key only. Which axes does each need?
#
# `pack`: give every token the number of its sequence. When may two tokens see each other?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `mask.cumsum(1)`, `.clamp(min=0)`; `torch.full((n, n), True).tril()`; indexing with `None` adds an axis:
# `mask[:, None, None, :]`; `&` on boolean tensors broadcasts; `owner[:, None] == owner` compares all with all.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # pad_left
# input_ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
# position_ids = (attention_mask.cumsum(1) - 1). ...
#
# # attention_matrix
# causal = torch.full((n, n), True).tril()
#
# # pack
# owner = torch.cat([torch.full((len(row),), number) for number, row in enumerate(rows)])
# may_look = (owner[:, None] == owner) & ...
# ```
# </details>


# %% [markdown]

# #### See the masks, and where a model looks
#
# Left: your matrices. Right: the attention of tiny-lm's last layer, averaged over its heads, for two prompts in one
# padded batch. The default attention (`sdpa`) is fast and keeps no weights; `attn_implementation="eager"` keeps them.

# %%
looking = AutoModelForCausalLM.from_pretrained(model_name, dtype=torch.float32, attn_implementation="eager").eval()
prompts = ["Sort: 7 3 5", "Largest of 31, 75?"]
batch = pad_left([tokenizer(text)["input_ids"] for text in prompts], tokenizer.pad_token_id)
with torch.no_grad():
    weights = looking(**batch, output_attentions=True).attentions[-1].mean(1)  # (rows, queries, keys)

figure, axes = plt.subplots(1, 4, figsize=(12, 3.6), layout="constrained")
padded, packed = attention_matrix(batch["attention_mask"]), pack([[1] * 3, [1] * 5, [1] * 4])["attention_mask"]
for axis, matrix, title in zip(axes, (padded, packed), ("padded: may look (black)", "three sequences packed")):
    axis.imshow(matrix[0, 0], cmap="Greys")
    axis.set_xticks(range(0, matrix.shape[-1], 2))
    axis.set_yticks(range(0, matrix.shape[-1], 2))
    axis.set_title(title, fontsize=9)
for axis, row, mask, ids in zip(axes[2:], weights, batch["attention_mask"], batch["input_ids"]):
    axis.imshow(row.masked_fill(mask[:, None] == 0, float("nan")), cmap="viridis")
    pieces = ["·" if not m else t for t, m in zip(tokenizer.convert_ids_to_tokens(ids), mask)]
    axis.set_xticks(range(len(pieces)), pieces, rotation=90, fontsize=7)
    axis.set_yticks(range(len(pieces)), pieces, fontsize=7)
    axis.set_title("attention (bright: much)", fontsize=9)
for axis in axes:
    axis.set(xlabel="key", ylabel="query")
plt.show()
real = batch["attention_mask"][0].bool()
print(f"attention that real tokens of the shorter prompt pay to padding: {weights[0][real][:, ~real].sum():.1f}")

# %% [markdown]
# In the packed matrix nothing connects one block with the next. In the third picture the two columns of the padding
# stay dark for every real token, and the two rows without colour are queries that nobody reads.

# %% [markdown]
# ## Part D · How does text come out?
#
# ### 6 · Samplers
#
# The model gives a score (a logit) for every token of the vocabulary. Which one is taken is not the model's business. It
# is a choice:
#
# | choice | takes | good for |
# |---|---|---|
# | greedy | the token with the highest score | the same answer each time: extraction, tests. Not for all models: Qwen3's [card](https://huggingface.co/Qwen/Qwen3-8B) advises against it for thinking (endless repetitions) |
# | sampling | a token with its softmax probability | variety; but the long tail holds thousands of poor tokens, and together they are likely |
# | top-k (Fan, Lewis and Dauphin 2018, [arXiv:1805.04833](https://arxiv.org/abs/1805.04833)) | samples among the $k$ best | cuts the tail, but $k$ fits no two situations |
# | top-p (Holtzman and others 2019, [arXiv:1904.09751](https://arxiv.org/abs/1904.09751)) | samples in the smallest set of best tokens whose probabilities add up to at least $p$ | few tokens where the model is sure, many where it is not |
#
# In transformers each is a **`LogitsProcessor`**: a callable that gets the ids so far and the scores of the next token,
# `(batch, vocabulary)`, and returns new scores. What may not be chosen gets $-\infty$, for which softmax gives exactly
# 0. Processors form a chain, so `generate` needs no new code for a new idea.
#
# #### Exercise 6 · Three samplers (`samplers`, 3 points, 30 minutes, difficulty 2 of 3)
#
# Write `__call__` of three processors; each is checked, and earns its point, on its own. `scores` is a float32 or float64
# tensor `(rows, vocabulary)`, 1 to 40 and 1 to 1,400, from -3e38 to 3e38, nearly equal ones among them; some scores may be
# $-\infty$ already, but not a whole row.
#
# - `Greedy()` keeps one token of each row: the one with the highest score; of several equally high ones the one with the
#   smallest id. <!-- rule: greedy -->
# - `TopK(k)`, with `k` from 1 to 2,000, keeps the `k` highest scores of each row, all if there are fewer. <!-- rule: top_k -->
# - Scores that equal the `k`-th highest are kept too: of 5, 3, 3, 1 `TopK(2)` keeps 5, 3, 3, and of 5, 5, 3 it keeps 5,
#   5. <!-- rule: top_k_ties -->
# - `TopP(p)`, with `p` from 0.01 to 0.99, keeps in each row the smallest set of most probable tokens whose probabilities add
#   up to at least `p`, always at least one. Of equally probable ones at its edge it may take any. <!-- rule: top_p -->
# - "At least" means that the set ends where the sum is just `p`: of 0.5, 0.25, 0.25 (in float32) `TopP(0.5)` keeps the
#   first alone. (But for such halves and eighths, no sum is nearer to `p` than 0.00001.) <!-- rule: top_p_edge -->
#
# For all three:
#
# - The result has the shape and dtype of `scores`. Kept tokens have their old score at their old place, all others have
#   $-\infty$. <!-- rule: result -->
# - Rows do not influence each other. <!-- rule: rows -->
# - A processor is called again and again, with other sizes too; no call changes what a later one gives, and no processor
#   what another gives. <!-- rule: calls -->
# - The result is a new tensor, also where nothing is removed; `scores` stays as it was. <!-- rule: new_tensor -->
# - `TopKLogitsWarper` and `TopPLogitsWarper` of the library are out of reach. <!-- rule: own, reported -->


# %% exercise="samplers" minutes=30 difficulty=2
class Greedy(LogitsProcessor):
    """Keeps the highest score of each row."""

    def __call__(self, input_ids, scores):
        ### BEGIN SOLUTION
        best = scores.argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(1, best, scores.gather(1, best))
        ### END SOLUTION


class TopK(LogitsProcessor):
    """Keeps the `k` highest scores of each row."""

    def __init__(self, k):
        self.k = k

    def __call__(self, input_ids, scores):
        ### BEGIN SOLUTION
        highest = scores.sort(descending=True).values[:, : self.k]
        return scores.masked_fill(scores < highest[:, -1:], -torch.inf)
        ### END SOLUTION


class TopP(LogitsProcessor):
    """Keeps the smallest set of most probable tokens of each row whose probabilities add up to at least `p`."""

    def __init__(self, p):
        self.p = p

    def __call__(self, input_ids, scores):
        ### BEGIN SOLUTION
        ordered, order = scores.sort(descending=True)
        probabilities = ordered.softmax(1)
        before = probabilities.cumsum(1) - probabilities  # of all tokens that are more probable
        kept = before < self.p
        return ordered.masked_fill(~kept, -torch.inf).gather(1, order.argsort())
        ### END SOLUTION


# %% tests="samplers" points=3
import math
import random


@check.scenario
def processed(name, arguments, scores):
    """What a processor makes of scores after it and another have seen fewer, more and others; then its result is overwritten."""
    said = AssertionError("the library's processors are out of reach here: write your own")
    with mock.patch.object(TopKLogitsWarper, "__init__", side_effect=said):
        with mock.patch.object(TopPLogitsWarper, "__init__", side_effect=said):
            make = {"Greedy": Greedy, "TopK": TopK, "TopP": TopP}[name]
            processor, another = make(*arguments), make(*(3 if one == 1 else 1 - one if one < 1 else 1 for one in arguments))
            ids = torch.zeros(len(scores), 3, dtype=torch.int64)
            for others in (scores[:1].flip(1) + 1, scores[:1].amax(1, True), torch.cat([scores, scores.flip(1) - 1], 1)):
                processor(ids[: len(others)], others)
                another(ids[: len(others)], others)
            result = processor(ids, scores)
    seen = result.clone()
    result.fill_(7)
    return seen


def only(scores, kept):
    """`kept`: for each row a set of ids."""
    rows = [[score if i in ids else -math.inf for i, score in enumerate(row)] for row, ids in zip(scores.tolist(), kept)]
    return torch.tensor(rows, dtype=scores.dtype)


def from_the_best(row):
    return sorted(range(len(row)), key=lambda i: -row[i])


def greedy_by_definition(name, arguments, scores):
    return only(scores, [from_the_best(row)[:1] for row in scores.tolist()])


def top_k_by_definition(name, arguments, scores):
    kept = []
    for row in scores.tolist():
        last = sorted(row, reverse=True)[: arguments[0]][-1]
        kept.append({i for i, score in enumerate(row) if score >= last})
    return only(scores, kept)


def probabilities_of(row):
    highest = max(row)
    weights = [math.exp(score - highest) for score in row]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def top_p_by_definition(name, arguments, scores, beyond=False):
    """`beyond`: as if the sum had to be greater than p."""
    kept = []
    for row in scores.tolist():
        total, ids, chances = 0.0, [], probabilities_of(row)
        for i in from_the_best(row):
            ids.append(i)
            total += chances[i]
            if total >= arguments[0] + (1e-6 if beyond else -1e-9):
                break
        kept.append(ids)
    return only(scores, kept)


def some_scores(seed):
    """From small to large, row by row more and more decided; a few are minus infinity."""
    draw = torch.Generator().manual_seed(seed)
    yield torch.tensor([[0.7]])
    yield torch.tensor([[1.0, 3.0, 2.0]])
    yield torch.tensor([[2.0, -1.0], [-3.0, 0.5]])
    for rows, size, scale, dtype in ((2, 5, 1, 0), (5, 23, 1, 0), (7, 41, 3, 1), (1, 8, 40, 0), (40, 6, 1, 1), (3, 1400, 1, 0)):
        scores = torch.randn(rows, size, generator=draw, dtype=(torch.float32, torch.float64)[dtype])
        scores = scores * scale * torch.linspace(0.3, 4, rows)[:, None] + 50 * (rows == 7) - 300 * (rows == 5)
        scores[0, 3] = scores[-1, 0] = -torch.inf
        yield scores if size > 5 else scores.T.contiguous().T
    for dtype in (torch.float32, torch.float64):  # exp alone would overflow, or give 0 everywhere
        yield 900 * torch.randn(3, 6, generator=draw, dtype=dtype) + torch.tensor([[-9000], [0], [9000]], dtype=dtype)
    yield torch.tensor([[-3e38, 3e38, 0.0, 1.0]])


def nearly_equal():
    """The highest score of each row comes last, just above others."""
    yield torch.tensor([[0.5, 2.0, 2.0 + 2.0**-22], [-1.0, -1.0, -1.0 + 2.0**-24]])
    yield torch.tensor([[0.5, 2.0, 2.0 + 2.0**-51], [7.0, 7.0, 7.0 + 2.0**-50]], dtype=torch.float64)


def to_process(name, arguments, scores):
    shown = f" {scores.tolist()}" if scores.numel() <= 12 else ""
    words = {name: str(arguments).strip("[]")} if arguments else {}
    return cases.Case({"name": name, "arguments": arguments, "scores": scores}, words | {"scores": f"{list(scores.shape)}{shown}"})


def check_greedy():
    ties = [torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), torch.tensor([[-torch.inf, -5, -5, -torch.inf]])]
    hint = "one token a row: the highest score, and of equally high ones the first"
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for n in (4, 17, 50, 1400):  # how a library orders equal scores depends on their number
            ties += [torch.ones(2, n), torch.randint(0, 3, (3, n), generator=generator).float()]
        drawn = [to_process("Greedy", [], scores) for scores in [*ties, *nearly_equal(), *some_scores(seed)]]
        check.agrees(processed, greedy_by_definition, drawn, "`Greedy`", hint, rtol=0, atol=0)


def check_top_k():
    ties = torch.tensor([[5.0, 1.0, 3.0, 3.0, 3.0, 2.0], [1.0, 6.0, 5.0, 4.0, 3.0, 2.0], [4.0, 4.0, 4.0, 0.0, 3.0, 3.0]])
    causes = {
        "all that equal the k-th are kept": lambda name, arguments, scores: only(
            scores, [from_the_best(row)[: arguments[0]] for row in scores.tolist()]
        ),
        "equal scores count one by one: `k` scores, not `k` different values": lambda name, arguments, scores: only(
            scores,
            [{i for i, score in enumerate(row) if score in sorted(set(row))[-arguments[0] :]} for row in scores.tolist()],
        ),
        "a score of 0 is still a probability above 0; minus infinity is not": lambda *case: (
            top_k_by_definition(*case).nan_to_num(neginf=0.0)
        ),
        "each row has `k` of its own": lambda name, arguments, scores: top_k_by_definition(name, arguments, scores.view(1, -1)).view_as(
            scores
        ),
    }
    hint = "the k highest scores of each row (all, if there are fewer), and what equals the last of them, in every call anew"
    for seed in seeds:
        drawn = [to_process("TopK", [k], ties) for k in (1, 2, 3, 6, 50)]
        drawn += [to_process("TopK", [k], scores) for scores in nearly_equal() for k in (1, 2)]
        drawn += [to_process("TopK", [k], scores) for scores in some_scores(seed) for k in (1, 4, scores.shape[1], 999, 2000)]
        check.agrees(processed, top_k_by_definition, drawn, "`TopK`", hint, causes=causes, rtol=0, atol=0)


def check_top_p():
    half = torch.tensor([[math.log(2), 0.0, 0.0], [0.0, math.log(2), 0.0]])  # 1/2, 1/4, 1/4
    halves = torch.tensor([[3.0, -torch.inf, 3.0, -torch.inf]])
    causes = {
        "the set ends where the sum is just p": lambda *case: top_p_by_definition(*case, beyond=True),
        "kept tokens keep their old place": lambda *case: top_p_by_definition(*case).sort(descending=True).values,
        "start from the most probable token": lambda name, arguments, scores: top_p_by_definition(name, arguments, -scores)
        .neg()
        .nan_to_num(posinf=-torch.inf),
        "the set must reach p: this one stays below": lambda *case: top_p_by_definition(*case).masked_fill(
            (case[2] == top_p_by_definition(*case).masked_fill(top_p_by_definition(*case) == -torch.inf, torch.inf).amin(1, True)),
            -torch.inf,
        ),
    }
    hint = "add up softmax probabilities from the most probable token on, row by row; the token that reaches p is kept"
    for seed in seeds:
        draw = random.Random(seed)
        drawn = [to_process("TopP", [p], scores) for p, scores in ((0.5, half), (0.75, half[:, :1]), (0.1, torch.eye(4) * 30))]
        for scores in some_scores(seed):
            for p in (0.9, 0.01, 0.99, round(draw.uniform(0.02, 0.98), 3)):
                sums = torch.tensor([probabilities_of(sorted(row, reverse=True)) for row in scores.tolist()]).cumsum(1)
                if not ((sums - p).abs() < 1e-5).any():  # too near for the precision of float32
                    drawn.append(to_process("TopP", [p], scores))
        close = torch.tensor([[0.5, 2.0, 2.0 + 1e-9], [7.0, 7.0, 7.0 + 1e-9]], dtype=torch.float64)  # one number in float32
        drawn += [to_process("TopP", [p], scores) for scores in (close, close.flip(1)) for p in (0.2, 0.05)]
        check.agrees(processed, top_p_by_definition, drawn, "`TopP`", hint, causes=causes, rtol=0, atol=0)
        for scores, p, kept in ((halves, 0.5, 1), (half, 0.6, 2), (torch.zeros(1, 8), 0.375, 3), (torch.ones(1, 8), 0.4, 4)):
            seen = processed("TopP", [p], scores)
            what = f"what `TopP` makes of {scores.tolist()} with p = {p}"
            check.equal(seen.isfinite().sum(1).tolist(), [kept] * len(scores), f"the number of tokens kept, {what}", hint)
            check.true(((seen == scores) | (seen == -torch.inf)).all(), f"{what} holds scores that are not the old ones.")
            check.true((seen.amax(1) == scores.amax(1)).all(), f"{what} lacks the most probable token.")


with check.exercise("samplers"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"Greedy": check_greedy, "TopK": check_top_k, "TopP": check_top_p})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Each processor answers one question for every token: is it kept? With the answer as a boolean tensor the rest is one
# call. For top-k the answer is a comparison with the k-th highest score. For top-p it is easy once the row is sorted:
# a token is kept if the tokens before it do not reach `p` yet. Then the answers must go back to their old places.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `scores.masked_fill(mask, -torch.inf)`, `scores.argmax(1, keepdim=True)`, `scores.sort(descending=True)` (it has
# `.values` and `.indices`), `scores.topk(k)`, `softmax(1)`, `cumsum(1)`. Back to old places: `mask.scatter(1, order, mask)` or
# `sorted.gather(1, order.argsort())`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# # Greedy
# return torch.full_like(scores, -torch.inf).scatter(1, best, ...)
#
# # TopK
# highest = scores.sort(descending=True).values[:, : self.k]
#
# # TopP
# before = ...                       # sum of all that are more probable
# return ordered.masked_fill(..., -torch.inf).gather(1, order.argsort())
# ```
# </details>


# %% [markdown]
# #### See what they cut
#
# The twenty most probable tokens after two beginnings: one where tiny-lm is sure, one where it is not. Blue bars are
# kept.

# %%
beginnings = ["Mia went to", "The with statement is used to"]
figure, axes = plt.subplots(2, 2, figsize=(11, 4.6), layout="constrained", sharey="row")
for row, beginning in zip(axes, beginnings):
    encoded = tokenizer(beginning, return_tensors="pt")
    with torch.no_grad():
        scores = model(**encoded).logits[:, -1]
    probabilities, best = scores.softmax(-1)[0].sort(descending=True)
    for axis, (label, processor) in zip(row, (("top-k, k = 5", TopK(5)), ("top-p, p = 0.8", TopP(0.8)))):
        kept = processor(encoded["input_ids"], scores)[0].isfinite()
        count = int(kept.sum())
        axis.bar(range(20), 100 * probabilities[:20], color=["C0" if k else "lightgrey" for k in kept[best[:20]]])
        axis.set_xticks(range(20), tokenizer.convert_ids_to_tokens(best[:20]), rotation=90, fontsize=7)
        axis.set_title(f"{beginning!r}: {label} keeps {count}", fontsize=9)
    row[0].set_ylabel("probability (%)")
    cut = [int(processor(encoded["input_ids"], scores)[0].isfinite().sum()) for processor in (TopK(5), TopP(0.8))]
    print(f"{beginning!r}: the best token has {probabilities[0]:.0%}, the fifth {probabilities[4]:.2%}; kept are {cut[0]} and {cut[1]}")
plt.show()

# %% [markdown]
# Top-k keeps the same number everywhere, however likely the fifth token is, and throws away a sixth that may be as good.
# Top-p follows the model: few tokens where it is sure, many (perhaps more than the plot shows) where it is not.
#
# A processor can do more than cut a tail. This one allows only tokens that the caller names. It turns a chatty answer
# into a number, without a word in the prompt about it: **constrained decoding**, the way in which servers promise valid
# JSON.


# %%
class Only(LogitsProcessor):
    """Allows the tokens with these ids and no other."""

    def __init__(self, ids):
        self.ids = torch.tensor(ids)

    def __call__(self, input_ids, scores):
        return torch.full_like(scores, -torch.inf).index_copy(1, self.ids, scores[:, self.ids])


digits_and_end = tokenizer.convert_tokens_to_ids([*"0123456789"]) + [tokenizer.eos_token_id]
friendly = [{"role": "system", "content": "Be friendly."}, {"role": "user", "content": "Largest of 31, 75, 20?"}]
encoded = tokenizer.apply_chat_template(friendly, add_generation_prompt=True, return_tensors="pt")
for label, processors in (("free", []), ("digits only", [Only(digits_and_end)])):
    made = model.generate(**encoded, max_new_tokens=24, do_sample=False, logits_processor=LogitsProcessorList(processors))
    print(f"{label:12} {tokenizer.decode(made[0, encoded['input_ids'].shape[1] :], skip_special_tokens=True)}")

print("\nThree ways to go on:")
encoded = tokenizer("Mia went to the park.", return_tensors="pt")
for label, processors in (
    ("greedy", [Greedy()]),
    ("all tokens, temperature 1.5", [TemperatureLogitsWarper(1.5)]),
    ("top-p 0.8", [TopP(0.8)]),
):
    env.seed(5)
    made = model.generate(**encoded, max_new_tokens=28, do_sample=True, top_k=0, logits_processor=LogitsProcessorList(processors))
    print(f"{label:28} {tokenizer.decode(made[0], skip_special_tokens=True)!r}")

# %% [markdown]
# Two things to know about `generate`. With `do_sample=True` it adds `top_k=50` by itself; `top_k=0` switches that off.
# And your processors run **before** its own temperature, top-k and top-p, whatever order you write them in.
#
# Two more that you will meet: **min-p** keeps what has at least a share `min_p` of the best token's probability
# (Nguyen and others 2024, [arXiv:2407.01082](https://arxiv.org/abs/2407.01082)); **penalties** (`repetition_penalty`,
# `no_repeat_ngram_size`) lower or forbid what was said before, and so also what has to be repeated: a name, a bracket.
#
# ### 7 · The loop, with a cache
#
# `generate` is a loop: predict a token, append it, predict again. Naively every round runs the model over everything so
# far, although the keys and values of old tokens never change: no token looks at later ones. So they are kept in a
# **cache**, and each round feeds **one** new token for each row. What the model must still be told: which of all tokens
# so far are real (the mask, which grows) and at which position the new token stands.
#
# | call | `input_ids` | `attention_mask` | `position_ids` |
# |---|---|---|---|
# | prefill | `pad pad Add 4 + 3` | `0 0 1 1 1 1` | `0 0 0 1 2 3` |
# | step 1 | `7` | `0 0 1 1 1 1 1` | `4` |
# | step 2 | `end` | `0 0 1 1 1 1 1 1` | `5` |
#
# The cache here is a `DynamicCache`: it grows with every token. A static cache has its whole length from the start, so
# that shapes stay the same and `torch.compile` can work; models with sliding windows keep the last few thousand tokens of
# some layers only ([cache strategies](https://huggingface.co/docs/transformers/kv_cache)).
#
# #### Exercise 7 · Generate by hand (`generate_by_hand`, 4 points, 40 minutes, difficulty 3 of 3)
#
# Write `generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False)`, which does what
# `model.generate` does. `input_ids` and `attention_mask` are int64 `(rows, n)`, 1 to 3 rows and `n` from 1 to 1,050, padded
# on the left. A real token, old or new, may have the id of the padding; it is none. `max_new_tokens` is 1 to 70, and the
# model takes the whole text. The model computes in float32, is in evaluation mode, and its `generation_config` has an end
# token and a padding token and changes no scores (no temperature, no top-k).
#
# - It returns the ids of prompts and new tokens, int64 `(rows, n + new)`, as `model.generate` does. <!-- rule: ids -->
# - The model looks at no padding, and the first real token of a row is at position 0. <!-- rule: padding -->
# - Each step: the scores are the logits of the last place, `(rows, vocabulary)`. Each of `processors`, in their order, is
#   called with all ids so far, prompts included, and the scores, and returns the next scores. <!-- rule: processors -->
# - Then the best token of each row is taken. <!-- rule: best -->
# - With `sample=True` it is drawn from all tokens that the processors leave, by one `torch.multinomial(probabilities, 1)`
#   for all rows at once, in every step, from the global generator: the same seed gives the same text as
#   `generate(..., do_sample=True, top_k=0)`. <!-- rule: sample -->
# - A row that has written an end token is finished: it gets `model.generation_config.pad_token_id` from then
#   on. <!-- rule: finished -->
# - `model.generation_config.eos_token_id` is an int (0 is one too) **or a list of ints**, each of which ends a row. (Ids of
#   the prompt do not, nor does the padding token, unless it is one of them.) <!-- rule: ends -->
# - It stops when all rows are finished, or after `max_new_tokens`; no step more than needed. <!-- rule: stop -->
# - The first call of the model gets the prompts, each later call one token a row, with the cache, also where the model's
#   configuration says `use_cache=False`. <!-- rule: cache, reported -->
# - No graph is recorded. <!-- rule: no_graph, reported -->
# - `input_ids` and `attention_mask` stay as they were. <!-- rule: unchanged -->
# - `model.generate` is out of reach. <!-- rule: own_loop, reported -->


# %% exercise="generate_by_hand" minutes=40 difficulty=3
def generate_by_hand(model, input_ids, attention_mask, max_new_tokens, processors=(), sample=False):
    """What model.generate returns, by a loop with a cache: ids (rows, prompt + new)."""
    ### BEGIN SOLUTION
    settings = model.generation_config
    ends = input_ids.new_tensor(settings.eos_token_id).view(-1)
    running = torch.ones_like(input_ids[:, 0]).bool()
    fed, positions, cache = input_ids, (attention_mask.cumsum(1) - 1).clamp(min=0), None
    for _ in range(max_new_tokens):
        with torch.no_grad():
            output = model(
                input_ids=fed, attention_mask=attention_mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        cache = output.past_key_values
        scores = output.logits[:, -1]
        for processor in processors:
            scores = processor(input_ids, scores)
        token = torch.multinomial(scores.softmax(1), 1).squeeze(1) if sample else scores.argmax(1)
        token = token.where(running, settings.pad_token_id)
        input_ids = torch.cat([input_ids, token[:, None]], 1)
        attention_mask = torch.cat([attention_mask, torch.ones_like(token)[:, None]], 1)
        fed, positions = token[:, None], positions[:, -1:] + 1
        running = running & ~torch.isin(token, ends)
        if not running.any():
            break
    return input_ids
    ### END SOLUTION


# %% tests="generate_by_hand" points=4
import random


@check.shared
def writing_net(kind, seed, ends, pad, caches=True):
    """A model that writes, with these end tokens and this padding; its configuration may say that it keeps no cache."""
    makers = {"GPT-2": make_gpt2, "GPT-NeoX": make_neox}
    net = makers[kind](seed=seed) if kind in makers else copy.deepcopy(model)
    if ends is not None:
        net.generation_config.update(eos_token_id=ends, pad_token_id=pad)
    net.config.use_cache = caches
    return net


@check.shared
def processors_called(names):
    """Processors by name; what "sum" chooses depends on every id of all rows so far."""

    class Sum(LogitsProcessor):
        def __call__(self, input_ids, scores):
            chosen = (input_ids.sum() + 7 * torch.arange(len(scores))) % 80
            return scores.scatter(1, chosen[:, None], 1e4)

    class Zero(LogitsProcessor):
        """Chooses 0 for a row whose ids so far have a sum that 3 divides."""

        def __call__(self, input_ids, scores):
            first = torch.arange(scores.shape[1]) == 0
            return scores.masked_fill(first & (input_ids.sum(1, keepdim=True) % 3 == 0), 1e4)

    class Below(LogitsProcessor):
        """Leaves no score above 0."""

        def __call__(self, input_ids, scores):
            return scores.masked_fill(scores > 0, -torch.inf)

    class Logarithms(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return scores.log_softmax(1)

    makers = {
        "below": Below,
        "logarithms": Logarithms,
        "top-p": lambda: TopPLogitsWarper(0.8),
        "hot": lambda: TemperatureLogitsWarper(1.7),
        "flat": lambda: TemperatureLogitsWarper(9.0),
        "sum": Sum,
        "zero": Zero,
    }
    return [makers[name]() for name in names]


@check.scenario
def decoded(net, ids, mask, count, names, sample, seed):
    """The ids that the loop returns, and for each call of the model the shape that it got and whether a graph was recorded."""
    net, calls = writing_net(*net), []

    def note(module, args, kwargs):
        fed = kwargs.get("input_ids", args[0] if args else None)
        calls.append(["nothing" if fed is None else list(fed.shape), torch.is_grad_enabled()])

    net.register_forward_pre_hook(note, with_kwargs=True)
    said = AssertionError("model.generate is out of reach here: write the loop")
    torch.manual_seed(seed)
    with mock.patch.object(net, "generate", side_effect=said):
        made = generate_by_hand(net, ids, mask, count, processors=processors_called(names), sample=sample)
    return made, calls


def generated(net, ids, mask, count, names=(), sample=False, seed=0, top_k=0):
    """What the library's own loop returns."""
    torch.manual_seed(seed)
    options = {"do_sample": True, "top_k": top_k} if sample else {"do_sample": False}
    chain = LogitsProcessorList(processors_called(names))
    return net.generate(ids, attention_mask=mask, max_new_tokens=count, logits_processor=chain, **options)


def left_padded(rows, pad):
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])


def check_decoding(plan, ids, mask, count, what, names=(), sample=False, seed=0):
    net = writing_net(*plan)
    ends, n = net.generation_config.eos_token_id, ids.shape[1]
    expected = generated(net, ids, mask, count, names, sample, seed)
    try:
        (made, calls), (_, ids_after, mask_after, *_) = check.after(decoded, plan, ids, mask, count, names, sample, seed)
    except Exception as error:
        error.add_note(what)
        raise
    check.kind(made, torch.Tensor, "what `generate_by_hand` returns")
    check.true(made.ndim == 2 and len(made) == len(ids), f"The result has shape {tuple(made.shape)}, expected {tuple(expected.shape)}.")
    prompts = "the result does not begin with the prompts: generate returns prompts and new ids"
    check.true(made[:, :n].tolist() == ids.tolist(), f"{what}: {prompts}.")

    def without(changed):
        """New ids where the library is told something wrong."""
        return lambda: generated(*changed(writing_net(*plan)))[:, n : made.shape[1]].tolist()

    def with_ends(other, wrong):
        other.generation_config.eos_token_id = wrong
        return other, ids, mask, count, names, sample, seed

    new, steps = made[:, n:].tolist(), expected.shape[1] - n
    same = expected[:, n : made.shape[1]]
    ended = ends is not None and torch.isin(same, torch.tensor(ends).view(-1)).any()
    causes = {"when one row has ended, the others go on": same.tolist()} if ended else {}
    causes |= {
        "the padding is masked, so that nobody looks at it": without(
            lambda other: (other, ids, torch.ones_like(mask), count, names, sample, seed)
        ),
    }
    if not isinstance(ends, int):
        causes["eos_token_id can be a list: each of its ids ends a row"] = without(lambda other: with_ends(other, ends[0]))
    causes["a row that has written an end token gets pad_token_id from then on"] = without(lambda other: with_ends(other, None))
    if sample:
        causes["a token is drawn from all, not from the 50 best"] = without(
            lambda other: (other, ids, mask, count, names, sample, seed, 50)
        )
    causes = causes if new[0] else {}  # nothing was written: it looks like each of them
    if names and new[0]:
        causes["processors get logits, not logarithms of probabilities"] = without(
            lambda other: (other, ids, mask, count, ("logarithms", *names), sample, seed)
        )
        causes["processors are called before a token is chosen"] = without(lambda other: (other, ids, mask, count, (), sample, seed))
        causes["processors are called in their order"] = without(lambda other: (other, ids, mask, count, names[::-1], sample, seed))
    hint = (
        "from the logits of the last place; then what changes from step to step: the cache, the mask that grows, the position "
        "of the new token"
    )
    check.equal(new, expected[:, n:].tolist(), f"the new ids of {len(ids)} rows, {what}", hint, causes=causes)
    check.equal(made.dtype, torch.int64, "the dtype of the result")
    shapes = [list(ids.shape)] + [[len(ids), 1]] * (steps - 1)
    hint = "with a cache the prompts are read once, and each later call reads one new token a row"
    check.equal([shape for shape, _ in calls], shapes, "the shapes of the ids that the model was fed with, call by call", hint)
    check.true(not any(graph for _, graph in calls), "autograd recorded the calls: torch.no_grad() keeps the memory free.")
    check.equal(ids_after, ids, "`input_ids` after the call", "does one of your steps work in place?")
    check.equal(mask_after, mask, "`attention_mask` after the call", "does one of your steps work in place?")


def check_loop(seed):
    draw = random.Random(seed)
    rows = [[draw.randrange(2, 80) for _ in range(length)] for length in (4, 1, 3)]
    rows[0][1], rows[2][0] = 0, 1  # the ids of padding and end, as real tokens
    ids, mask = left_padded(rows, 0)
    for kind, number in (("GPT-2", seed), ("GPT-NeoX", seed + 1)):
        free = writing_net(kind, number, None, 0)
        free.generation_config.eos_token_id = None
        text = generated(free, ids, mask, 6)[:, ids.shape[1] :].tolist()
        spare = next(i for i in range(2, 88) if i not in sum(text, []))  # nobody writes it
        check_decoding((kind, number, spare, 0), ids, mask, 5, f"{kind}, nothing ends early")
        last = [row[place] for row, place in zip(text, (3, 1, 2))]
        if kind == "GPT-2":
            check_decoding((kind, number, text[1][2], 0), ids, mask, 6, f"{kind}, one row ends early")
            check_decoding((kind, number, text[0][0], text[0][0]), ids[:1], mask[:1], 3, f"{kind}, the padding is the end token")
            check_decoding((kind, number, spare, 0), ids, mask, 1, f"{kind}, one step")
            check_decoding((kind, number, spare, 0), ids[1:2, -1:], mask[1:2, -1:], 3, f"{kind}, one token")
        check_decoding((kind, number, [rows[0][3], *last], 7), ids, mask, 7, f"{kind}, several end tokens, all rows end early")
    text = generated(free, ids, mask, 2, ("sum",))[:, ids.shape[1] :].tolist()
    said = "where the sum of all ids so far says what is next, and one row ends early"
    check_decoding(("GPT-2", seed, text[1][1], 11), ids, mask, 4, said, ("sum",))
    check_decoding(("GPT-NeoX", seed, spare, 0), ids, mask, 4, "where a processor leaves no score above 0", ("below",))
    check_decoding(("GPT-NeoX", seed, spare, 0, False), ids, mask, 4, "a model whose configuration says use_cache=False")
    check_decoding(("GPT-2", seed, 0, 5), ids, mask, 9, "GPT-2, 0 is the end token", ("zero",))
    long = left_padded([[draw.randrange(2, 80) for _ in range(length)] for length in (1050, 3)], 0)
    check_decoding(("GPT-NeoX", seed, spare, 0), *long, 3, "GPT-NeoX, a prompt of 1,050 tokens")
    check_decoding(("GPT-2", seed, spare, 0), ids, mask, 70, "GPT-2, 70 new tokens")
    text = generated(writing_net("GPT-2", seed, None, 0), ids, mask, 3, ("hot", "top-p"), True, seed)[:, ids.shape[1] :].tolist()
    sampled = "sampled, one row ends early"
    check_decoding(("GPT-2", seed, text[1][1], 0), ids, mask, 6, sampled, ("hot", "top-p"), True, seed)
    check_decoding(("GPT-NeoX", seed, spare, 0), ids, mask, 6, "sampled from all tokens", ("flat",), True, seed)
    check_decoding(("GPT-NeoX", seed, spare, 0), ids, mask, 4, "sampled without processors", (), True, seed)


def check_chat_model():
    chats = [[{"role": "user", "content": content}] for content in ("What is 3+4?", "Sort: 7 5 9 1 3")]
    encoded = tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt")
    check_decoding(("tiny-lm", 0, None, None), encoded["input_ids"], encoded["attention_mask"], 14, "tiny-lm")


with check.exercise("generate_by_hand"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        check_loop(seed)
    check_chat_model()


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Write the loop without a cache first: call the model on everything, take the last logits, append. When its ids are
# right, feed only the new token and pass the cache on; the table above says what mask and position must be then.
#
# Keep a boolean for each row: still running? It decides what is appended, and when to stop.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `output = model(input_ids=, attention_mask=, position_ids=, past_key_values=cache, use_cache=True)` has
# `output.logits` `(rows, fed, vocabulary)` and `output.past_key_values`; the first time the cache is None.
# `attention_mask.cumsum(1) - 1`, `torch.cat`, `torch.isin(token, ends)`, `torch.where`, `torch.multinomial`.
# `torch.tensor(x).view(-1)` makes one axis out of an int as well as a list.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# fed, positions, cache = input_ids, (attention_mask.cumsum(1) - 1).clamp(min=0), None
# for _ in range(max_new_tokens):
#     with torch.no_grad():
#         output = model(input_ids=fed, ..., past_key_values=cache, use_cache=True)
#     token = token.where(running, settings.pad_token_id)
#     input_ids = torch.cat([input_ids, token[:, None]], 1)
#     running = running & ~torch.isin(token, ends)
# ```
# </details>


# %% [markdown]
# #### Claim: the cache makes generation several times faster
#
# An article on the Hub reports 5.21 times for one model on a T4
# ([KV caching explained](https://huggingface.co/blog/not-lain/kv-caching)). The reason gives more than a number: without
# a cache round $t$ reads $t$ tokens, with it one. So the ratio must **grow with the length**, from about 1. Measured
# here: CPU time for each token by your loop, and `generate` with and without its cache.

# %%
prompt = tokenizer("Return a list of the", return_tensors="pt")


def cpu_seconds(call):
    begin = time.process_time()
    call()
    return time.process_time() - begin


def free_run(tokens, **options):
    """`generate` for exactly so many tokens."""
    return model.generate(**prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, **options)


free_run(8)  # the first call pays for what is made once
lengths = [16, 64, 128, 256, 384]
seconds = {
    cached: [min(cpu_seconds(lambda: free_run(n, use_cache=cached)) for _ in range(2 if n < 256 else 1)) for n in lengths]
    for cached in (True, False)
}
ratios = [slow / fast for slow, fast in zip(seconds[False], seconds[True])]

moments = []
ids = prompt["input_ids"]
generate_by_hand(
    model, ids, prompt["attention_mask"], 120, processors=[lambda ids, scores: moments.append(time.process_time()) or scores]
)
own = [1000 * (b - a) for a, b in zip(moments, moments[1:])]

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.3), layout="constrained")
for cached, label in ((True, "with cache"), (False, "without")):
    left.plot(lengths, [1000 * s / n for s, n in zip(seconds[cached], lengths)], "o-", label=f"generate, {label}")
left.plot(range(2, 2 + len(own)), own, lw=0.7, alpha=0.6, label="your loop, token by token")
left.set(
    xlabel="new tokens", ylabel="CPU time a token (ms)", ylim=(0, 1150 * max(s / n for s, n in zip(seconds[False], lengths)))
)
left.legend(fontsize=8)
right.plot(lengths, ratios, "o-", color="C3")
right.axhline(1, color="grey", ls=":")
right.set(xlabel="new tokens", ylabel="time without / with cache", ylim=(0, None))
plt.show()
for n, ratio in zip(lengths, ratios):
    print(f"{n:4} tokens: the cache is {ratio:.1f} times as fast")
with_it, without_it = (free_run(64, use_cache=cached).tolist() for cached in (True, False))
print("the same 64 ids with and without it:", with_it == without_it)
print(f"from {lengths[0]} to {lengths[-1]} tokens the ratio {'grows' if ratios[-1] > ratios[0] else 'does not grow'}")
claims.record(
    "the KV cache makes generation several times faster",
    claimed="5.21x (one model, T4 GPU); the longer the text, the more",
    measured=f"{ratios[0]:.1f}x at {lengths[0]} tokens, {ratios[-1]:.1f}x at {lengths[-1]}",
    holds=ratios[-1] >= 2 and ratios[-1] > ratios[0],
    how="CPU time, one thread, greedy, batch of 1; counted as holding from 2x at the longest text on",
)

# %% [markdown]
# Short answers of a tiny model gain least: calling the layers costs more than the arithmetic in them. The price of the
# cache is memory: two tensors a layer, for every token of every row.

# %% [markdown]
# #### Claim: a batch costs little more than one prompt
#
# Decoding one token reads all weights and does little arithmetic with them. A batch reads them once for all rows, so
# throughput should grow in proportion to the batch, until arithmetic itself takes the time. The usual advice is to make
# batches as large as memory allows. Does that hold on a CPU?

# %%
sizes = [1, 2, 8, 32, 128]
throughput = []
for size in sizes:
    many = {key: value.repeat(size, 1) for key, value in prompt.items()}
    taken = min(
        cpu_seconds(lambda: model.generate(**many, max_new_tokens=32, min_new_tokens=32, do_sample=False)) for _ in range(2)
    )
    throughput.append(32 * size / taken)

figure, axis = plt.subplots(figsize=(6, 3.3), layout="constrained")
axis.plot(sizes, throughput, "o-", label="measured")
axis.plot(sizes, [throughput[0] * size for size in sizes], ":", color="grey", label="in proportion to the batch")
axis.set(xlabel="rows in the batch", ylabel="tokens per CPU second", xscale="log", yscale="log", xticks=sizes, xticklabels=sizes)
axis.minorticks_off()
axis.legend()
plt.show()
gain = {size: t / throughput[0] for size, t in zip(sizes, throughput)}
print(", ".join(f"{size} rows: {g:.1f}x" for size, g in gain.items()))
kept = [size for size, g in gain.items() if g >= 0.8 * size]
print(f"at least four fifths of the proportional gain up to {max(kept)} row{'s' * (max(kept) > 1)}")
claims.record(
    "throughput grows in proportion to the batch",
    claimed="32 rows: close to 32x the tokens per second",
    measured=f"8 rows: {gain[8]:.1f}x, 32 rows: {gain[32]:.1f}x, 128 rows: {gain[128]:.1f}x",
    holds=gain[32] >= 0.8 * 32,
    how="CPU time, one thread, 32 new tokens a row; counted as holding from 80 % on",
)

# %% [markdown]
# With one row, most of the time goes into calling the layers, and the calls are the same for eight rows. Where one CPU
# core has arithmetic enough to do, the curve bends. A GPU with its thousands of units bends much later; that is why
# servers live on large batches.
#
# Real batches do worse than this one, whose rows are equally long: padding is work for nothing, and rows that finish
# early wait for the longest. Lesson 17 builds the cure, continuous batching.

# %% [markdown]
# ### 8 · Tests for somebody else's loop
#
# A colleague runs a small server. It has two models, `NETS`, and one function, `complete(name, rows, count, end)`, whose
# bugs rarely raise an error. They give slightly other text, for some rows, on some architectures. You know by now which;
# so choose inputs on which each of them must show.
#
# `alone` is the truth for one row: the library's own `generate`, without any padding.

# %%
NETS = {"gpt2": make_gpt2(), "neox": make_neox()}


@functools.cache
def greedy_ids(name, row, count, end):
    ids = torch.tensor([row])
    mask = torch.ones_like(ids)
    made = NETS[name].generate(ids, attention_mask=mask, max_new_tokens=count, do_sample=False, eos_token_id=end)
    return made[0, len(row) :].tolist()


def alone(name, row, count, end):
    """What a model writes greedily after one prompt: a list of at most `count` ids, up to and including `end`."""
    return list(greedy_ids(name, tuple(row), count, end))


print(alone("gpt2", [5, 9, 33], 6, end=1), alone("neox", [5, 9, 33], 6, end=1))

# %% [markdown]
# #### Exercise 8 · Tests for a server (`generation_tests`, 3 points, 30 minutes, difficulty 3 of 3)
#
# Write `check_complete(complete)`. `complete(name, rows, count, end)` gets the name of a model, `"gpt2"` or `"neox"`; a list of
# one or more prompts, each a list of one or more ids from 0 to 88; how many new ids there may be (`count`, 1 or more; prompt
# and answer together have at most 128); and an id from 0 to 96 that ends an answer (neox has the ids up to 88 only, and
# writes no higher one). Your tests call it as often as they like
# with any of these, nothing else, by position (no keywords), and raise an error (an `assert` is enough) if it breaks a promise:
#
# - It returns, for each row and in the same order, the list of ids that the model writes, without the
#   prompt. <!-- rule: order -->
# - They are what `alone` gives: the best id at each step, whatever other rows there are. <!-- rule: alone -->
# - An answer ends with its first id that equals `end`, which is part of it (one in the prompt ends nothing); other rows go
#   on. <!-- rule: end -->
# - It has no more than `count` ids. <!-- rule: count -->
# - `rows` stays as it was. <!-- rule: kept -->
# - No call depends on an earlier one. <!-- rule: calls -->
#
# What counts:
#
# - Every implementation that keeps all promises passes: a false alarm earns nothing. <!-- rule: no_alarm -->
# - Your tests reject by raising; what they return is ignored. <!-- rule: raises -->
#
# The grading runs them on correct implementations and on some nineteen broken ones; points grow with the share that you catch.
# All these runs together have 20 s of computing time: a handful of well chosen prompts on both models is enough, and every
# combination of everything is too much.


# %% exercise="generation_tests" minutes=30 difficulty=3
def check_complete(complete):
    """Raise an error if `complete(name, rows, count, end)` breaks a promise."""
    ### BEGIN SOLUTION
    for name in NETS:  # positions by place, positions by distance
        rows = [list(range(n)) for n in range(4, 0, -1)]  # unequal, the longest first, with a 0 in each
        for end in [0, *alone(name, rows[0], 4, 1)]:  # an id of the prompts, and each that row 0 really writes
            given = copy.deepcopy(rows)
            assert complete(name, given, 4, end) == [alone(name, row, 4, end) for row in rows]
            assert given == rows
        for count in map(len, rows):  # the same rows and end again, with fewer and fewer ids
            assert complete(name, given, count, end) == [alone(name, row, count, end) for row in rows]
    ### END SOLUTION


# %% tests="generation_tests" points=3
def may_come(name, rows, count, end):
    ids = [i for row in rows for i in row]
    if name not in NETS or not rows or not all(rows) or not 0 <= min(ids) <= max(ids) <= 88:
        return False
    return 1 <= count <= 128 - max(map(len, rows)) and 0 <= end <= 96


def variant(bug=None):
    """`complete`, correct or with one bug."""
    known = {}

    def complete(name, rows, count, end, /):
        if bug is None and not may_come(name, rows, count, end):
            raise ValueError("this may not come")
        if bug == "remembers" and (name, str(rows)) in known:
            return known[name, str(rows)]
        if bug == "remembers the end" and (name, str(rows), end) in known:
            return known[name, str(rows), end]
        prompts = sorted(rows, key=len) if bug == "sorts" else rows
        width = max(map(len, prompts))
        gaps = [[0] * (width - len(row)) for row in prompts]
        if bug == "right":
            ids = torch.tensor([row + gap for row, gap in zip(prompts, gaps)])
            mask = torch.tensor([[1] * len(row) + gap for row, gap in zip(prompts, gaps)])
        else:
            ids = torch.tensor([gap + row for row, gap in zip(prompts, gaps)])
            mask = torch.tensor([gap + [1] * len(row) for row, gap in zip(prompts, gaps)])
        if bug == "no mask":
            mask = torch.ones_like(ids)
        if bug == "zeros":
            mask = (ids != 0).long()
        places = (mask.cumsum(1) - 1).clamp(min=0)
        if bug == "columns":
            places = torch.arange(width).repeat(len(ids), 1)
        written = [[] for _ in prompts]
        for _ in range(count + (bug == "one more")):
            with torch.no_grad():
                net = NETS["gpt2" if bug == "one model" else name]
                scores = net(input_ids=ids, attention_mask=mask, position_ids=places).logits[:, -1]
            token = torch.multinomial(scores.softmax(1), 1)[:, 0] if bug == "samples" else scores.argmax(1)
            ids, places = torch.cat([ids, token[:, None]], 1), torch.cat([places, places[:, -1:] + 1], 1)
            mask = torch.cat([mask, torch.ones_like(token)[:, None]], 1)
            for row, new in zip(written, token.tolist()):
                if end not in row or bug == "runs on":
                    row.append(new)
            if (any if bug == "first" else all)(end in row for row in written):
                break
        if bug == "repeats":
            written = [[*written[0]] for _ in written]
        if bug == "backwards":
            written = [row[::-1] for row in written]
        if bug == "cuts":
            written = [row[: row.index(end)] if end in row else row for row in written]
        if bug == "fills":
            written = [row + [0] * (max(map(len, written)) - len(row)) for row in written]
        if bug == "reads":
            written = [[] if end in row else new for row, new in zip(prompts, written)]
        if bug == "prompt":
            written = [row + new for row, new in zip(prompts, written)]
        known[name, str(rows)] = known[name, str(rows), end] = written
        if bug == "overwrites":
            for row, new in zip(rows, written):
                row += new
        return written

    return complete


def one_by_one(name, rows, count, end, /):
    return [alone(name, row, count, end) for row in rows]


with check.exercise("generation_tests"):
    right = {"a batch padded on the left": variant()}
    wrong = {
        "pads on the right": variant("right"),
        "passes no attention mask": variant("no mask"),
        "counts columns as positions": variant("columns"),
        "stops all rows when the first has ended": variant("first"),
        "returns the prompts too": variant("prompt"),
        "takes every 0 in a prompt for padding": variant("zeros"),
    }
    ### BEGIN HIDDEN TESTS
    right |= {"row by row": one_by_one}
    wrong |= {
        "goes on after the end": variant("runs on"),
        "leaves out the end itself": variant("cuts"),
        "fills short answers with zeros": variant("fills"),
        "writes one id more than `count`": variant("one more"),
        "gives the ids of an answer from the last to the first": variant("backwards"),
        "gives every row the answer to the first": variant("repeats"),
        "returns the rows sorted by length": variant("sorts"),
        "appends to the caller's rows": variant("overwrites"),
        "samples instead of taking the best": variant("samples"),
        "asks gpt2, whatever `name` is": variant("one model"),
        "ends an answer at an `end` in the prompt": variant("reads"),
        "remembers the answer to the same rows, whatever `end` is": variant("remembers"),
        "remembers the answer to the same rows and `end`, whatever `count` is": variant("remembers the end"),
    }
    ### END HIDDEN TESTS
    check.catches(check_complete, right, wrong)
check.points(3)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Go through the promises and ask for each: on which input would a function that breaks it still look right? Equal
# lengths hide every padding bug. A model with rotary positions hides a wrong position. An `end` that nobody writes hides
# everything about ending; an `end` that all write at once hides the rest.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `alone(name, row, count, end)` gives the right answer for each row: compare lists with `==`. It also tells you which ids
# a row really writes: take one of them as `end`. `copy.deepcopy(rows)` before the call shows afterwards whether they
# were changed.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# end = alone(name, rows[0], 6, 1)[2]             # an id that row 0 writes
# given = copy.deepcopy(rows)
# assert complete(name, given, 6, end) == [...]
# ```
# </details>


# %% [markdown]
# ## Part E · What changed in version 5?
#
# ### 9 · Code from another time
#
# Most code on the web, and much of what a language model will write for you, was made for transformers 4. Version 5
# removed what had long been deprecated, and changed some defaults without a word at run time. Those are the dangerous
# ones. The cell asks the installed version itself.

# %%
import transformers


def write_checkpoint(net, folder):
    """A checkpoint is two files. (`net.save_pretrained(folder)` writes them too.)"""
    net.config.dtype = net.dtype
    net.config.save_pretrained(folder)
    tied = set(net.all_tied_weights_keys)  # stored once, under the name of the other
    save_file(
        {key: value.contiguous() for key, value in net.state_dict().items() if key not in tied},
        Path(folder, "model.safetensors"),
        metadata={"format": "pt"},
    )


checkpoint = tempfile.mkdtemp()
write_checkpoint(make_gpt2(seed=2).to(torch.bfloat16), checkpoint)
ids = torch.tensor([[5, 9, 33, 12]])
loaded = AutoModelForCausalLM.from_pretrained(checkpoint)
past = loaded(ids).past_key_values
old_habits = {
    "from_pretrained(...).dtype, weights stored in bfloat16": lambda: loaded.dtype,
    "from_pretrained(..., torch_dtype=torch.float32).dtype": lambda: (
        AutoModelForCausalLM.from_pretrained(checkpoint, torch_dtype=torch.float32).dtype
    ),
    "model(ids, output_attentions=True).attentions": lambda: loaded(ids, output_attentions=True).attentions,
    "past_key_values[0][0].shape": lambda: past[0][0].shape,
    "type(tokenizer.apply_chat_template(chat))": lambda: type(tokenizer.apply_chat_template(chat)).__name__,
    "tokenizer.batch_decode([40, 41, 42])": lambda: tokenizer.batch_decode([40, 41, 42]),
    'tokenizer.encode_plus("text")': lambda: tokenizer.encode_plus("text"),
    "tokenizer.additional_special_tokens": lambda: tokenizer.additional_special_tokens,
    "AutoTokenizer.from_pretrained(..., use_fast=False)": lambda: (
        AutoTokenizer.from_pretrained(model_name, use_fast=False).is_fast
    ),
    "model.config.rope_theta": lambda: model.config.rope_theta,
    "model.config.max_length": lambda: model.config.max_length,
    'pipeline("summarization")': lambda: pipeline("summarization"),
    "transformers.TFAutoModel": lambda: transformers.TFAutoModel,
    "transformers.AdamW": lambda: transformers.AdamW,
}
print(f"transformers {transformers.__version__}\n")
for habit, call in old_habits.items():
    try:
        print(f"{habit:56} {call()}")
    except Exception as error:
        print(f"{habit:56} {type(error).__name__}")

# %% [markdown]
# | in version 4 | in version 5 | how you notice |
# |---|---|---|
# | weights loaded as float32 | loaded in the dtype of the checkpoint (`dtype="auto"`) | **silently**: half precision |
# | `torch_dtype=` | `dtype=` (the old name still works) | a warning |
# | `output_attentions=True` switched to eager attention | under `sdpa` the result is empty: load with `attn_implementation="eager"` | **silently**: `()` |
# | `past_key_values` could be a tuple of pairs | always a `Cache`: `get_seq_length()`, `layers[i].keys`, `layers[i].values` | error |
# | `apply_chat_template` returned ids | returns a `BatchEncoding`; ids with `["input_ids"]` or `return_dict=False` | error, later and elsewhere |
# | `batch_decode(ids)` of a flat list: one text a token | `decode` and `batch_decode` are one function: a flat list is one sequence | **silently**: one text |
# | `encode_plus`, `batch_encode_plus`, `prepare_for_model` | `tokenizer(...)` | error |
# | slow and fast tokenizers, `use_fast=` | one class for each model; `use_fast` is ignored | silently |
# | `additional_special_tokens` | `extra_special_tokens` | error |
# | `config.rope_theta`, and `config.rope_scaling` beside it | both in one dictionary, `config.rope_parameters` (`rope_scaling` still names it) | error for `rope_theta` |
# | generation settings in `model.config` | only in `model.generation_config` | error |
# | `load_in_8bit=True`, `load_in_4bit=True` | `quantization_config=BitsAndBytesConfig(...)` | error |
# | `save_pretrained(safe_serialization=False)` | always safetensors | silently |
# | `pipeline("summarization")`, `"translation"`, `"question-answering"`, `"text2text-generation"` | removed: ask a chat model | error |
# | TensorFlow and Flax classes, `transformers.AdamW` | removed: PyTorch only, `torch.optim.AdamW` | error |
# | `Trainer(tokenizer=)`, `evaluation_strategy`, `no_cuda`, `warmup_ratio=0.1` | `processing_class=`, `eval_strategy`, `use_cpu`, `warmup_steps=0.1` | error |
# | `transformers-cli` | `transformers` | command not found |
#
# (The whole list: [migration guide](https://github.com/huggingface/transformers/blob/main/MIGRATION_GUIDE_V5.md).)
#
# #### Exercise 9 · Code from another time (`from_v4_to_v5`, 4 points, 30 minutes, difficulty 2 of 3)
#
# Four functions from a project of 2023, as they were. Write each anew for version 5, so that it returns what it returned
# then; each is checked, and earns its point, on its own. Some fail loudly; some return something else, quietly.
#
# ```python
# def answer(model, tokenizer, question):                # the answer as a string
#     chat = [{"role": "user", "content": question}]
#     ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
#     made = model.generate(ids, max_new_tokens=10, do_sample=False)
#     return tokenizer.batch_decode(made[:, ids.shape[1]:], skip_special_tokens=True)[0]
#
# def token_texts(tokenizer, text):                      # a list: the text of each token by itself
#     encoded = tokenizer.encode_plus(text, add_special_tokens=False)
#     return tokenizer.batch_decode(encoded["input_ids"])
#
# def cache_size(model, input_ids):                      # (tokens, bytes) of the cache after reading input_ids
#     past = model(input_ids, use_cache=True).past_key_values
#     tokens = past[0][0].shape[2]                       # keys: (rows, heads, tokens, size)
#     return tokens, sum(t.numel() * t.element_size() for layer in past for t in layer)
#
# def attention_maps(folder, input_ids):                 # float32 (layers, rows, heads, n, n)
#     model = AutoModelForCausalLM.from_pretrained(folder)
#     attentions = model(input_ids, output_attentions=True).attentions
#     return torch.stack(attentions)
# ```
#
# `answer`; `question` is any text that the model can take, without `<|pad|>` (the old code gave no mask, and `generate` took
# it for padding); the model computes in float32:
#
# - It returns all new tokens as one string, blanks at its ends included, without the prompt and without what `decode` leaves
#   out as special tokens; what ends it stands in `model.generation_config`. It may end at once, and is empty
#   then. <!-- rule: answer_text -->
# - The model reads what the tokenizer's own chat template makes of the question, with a prompt for the assistant, and
#   writes at most 10 tokens. <!-- rule: answer_prompt -->
# - It is greedy, even where `model.generation_config` says that the model samples. <!-- rule: answer_greedy -->
#
# `token_texts`; `text` is any text of 1 to 3,000 characters (more tokens than tiny-lm can take: none is left out):
#
# - It returns a list with one string for each token: what `decode` gives for that token alone. (A sign of several tokens
#   gives as many `�`.) <!-- rule: one_each -->
# - No special token is added, whatever the tokenizer adds by itself before or after a text; those of the text stay. <!-- rule: none_added -->
#
# `cache_size`; `input_ids` is int64 `(rows, n)`, up to 4 and 90, the model a Llama, GPT-2 or GPT-NeoX in float32, float64 or
# bfloat16, also one whose configuration says `use_cache=False`:
#
# - The first number is how many tokens of each row the cache holds. <!-- rule: cache_tokens -->
# - The second is how many bytes keys and values of all layers and rows take, with the heads, the size of a head and the
#   dtype that this model has. <!-- rule: cache_bytes -->
#
# `attention_maps`; the checkpoint in `folder`, a Llama, GPT-2 or GPT-NeoX, may be stored in float32, float16 or bfloat16;
# `input_ids` is int64 `(rows, n)`, each id a token of the text, also one with the padding's id:
#
# - It returns the weights of all layers, `(layers, rows, heads, n, n)`. <!-- rule: maps -->
# - They are float32, and computed in float32 from the stored numbers (within a ten-thousandth). <!-- rule: maps_float32 -->


# %% exercise="from_v4_to_v5" minutes=30 difficulty=2
def answer(model, tokenizer, question):
    """The greedy answer to one question, at most 10 tokens, as a string."""
    ### BEGIN SOLUTION
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=10, do_sample=False)
    return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    ### END SOLUTION


def token_texts(tokenizer, text):
    """The text of each token of `text` by itself, as a list of strings."""
    ### BEGIN SOLUTION
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [tokenizer.decode([i]) for i in ids]
    ### END SOLUTION


def cache_size(model, input_ids):
    """(tokens, bytes) of the cache after `model` has read `input_ids`."""
    ### BEGIN SOLUTION
    cache = model(input_ids, use_cache=True).past_key_values
    size = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    return cache.get_seq_length(), size
    ### END SOLUTION


def attention_maps(folder, input_ids):
    """Attention weights of the model in `folder`, computed in float32: (layers, rows, heads, n, n)."""
    ### BEGIN SOLUTION
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return torch.stack(model(input_ids, output_attentions=True).attentions)
    ### END SOLUTION


# %% tests="from_v4_to_v5" points=4
@check.shared
def any_net(kind, seed, dtype, caches=True):
    """A model in a dtype; "Llama" has heads of a size that does not follow from the others."""
    from transformers import LlamaConfig, LlamaForCausalLM

    if kind == "Llama":
        torch.manual_seed(seed)
        sizes = {"hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "num_hidden_layers": 3}
        net = LlamaForCausalLM(LlamaConfig(vocab_size=90, intermediate_size=40, initializer_range=0.3, **sizes))
    else:
        net = make_gpt2(seed=seed) if kind == "GPT-2" else make_neox(seed=seed) if kind == "GPT-NeoX" else copy.deepcopy(model)
    net.config.use_cache = caches
    return net.eval().to(getattr(torch, dtype))


@check.shared
def speaker(kind, seed, samples, closing, template=None):
    """A model that writes, and a tokenizer; a closing one adds an end token before and after every text that it encodes."""
    net = copy.deepcopy(model) if kind == "tiny-lm" else make_gpt2(len(tokenizer), seed)
    if kind == "GPT-2 of signs":  # that likes special tokens, and two of them end its answers
        with torch.no_grad():
            net.transformer.wte.weight[1:4] *= 2
        net.generation_config.eos_token_id = [1, 3]
    if samples:
        net.generation_config.update(do_sample=True, temperature=2.5, top_k=30)
    tokens, end = copy.deepcopy(tokenizer), (tokenizer.eos_token, tokenizer.eos_token_id)
    tokens.chat_template = template or tokens.chat_template
    if closing:
        tokens.backend_tokenizer.post_processor = TemplateProcessing(single=f"{end[0]} $A {end[0]}", special_tokens=[end])
    return net, tokens


@check.scenario
def answered(question, *plan):
    net, tokens = speaker(*plan)
    return answer(net, tokens, question)


@check.scenario
def texts_of_tokens(text, closing):
    _, tokens = speaker("tiny-lm", 0, False, closing)
    return token_texts(tokens, text)


@check.scenario
def size_of_cache(ids, *plan):
    return cache_size(any_net(*plan), ids)


@check.scenario
def maps_of_checkpoint(ids, *plan):
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(any_net(*plan), folder)
        return attention_maps(folder, ids)


def check_answer():
    @functools.cache
    def expected(question, *plan, least=0):
        net, tokens = speaker(*plan)
        library = TextGenerationPipeline(model=net, tokenizer=tokens, device=net.device)
        chat = [{"role": "user", "content": question}]
        said = library(chat, max_new_tokens=10, min_new_tokens=least, do_sample=False)
        return said[0]["generated_text"][-1]["content"]

    @functools.cache
    def new_ids(question, *plan):
        net, tokens = speaker(*plan)
        chat = [{"role": "user", "content": question}]
        inputs = tokens.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
        return net.generate(**inputs, max_new_tokens=10, do_sample=False)[0, inputs["input_ids"].shape[1] :].tolist()

    def prompt(question, *plan):
        chat = [{"role": "user", "content": question}]
        return tokenizer.decode(
            speaker(*plan)[1].apply_chat_template(chat, add_generation_prompt=True)["input_ids"], skip_special_tokens=True
        )

    causes = {
        "the answer begins after the prompt": lambda *case: prompt(*case) + expected(*case),
        "blanks at its ends belong to the answer": lambda *case: expected(*case).strip(),
        "an answer may be empty: the model says when it ends": lambda *case: expected(*case, least=1),
    }
    hint = "the tokenizer's own template with a prompt for the assistant, ids and mask for generate, no sampling, no special tokens in the text"
    for seed in seeds:
        spoken = ((number, expected("?", "GPT-2", number, False, False)) for number in range(100 * seed, 100 * seed + 50))
        blank = next(number for number, said in spoken if said != said.strip())  # that begins or ends with one
        plans = [("?", "GPT-2 of signs", number, False, False) for number in range(100 * seed, 100 * seed + 100)]
        goes_on = next(plan for plan in plans if 2 in new_ids(*plan))  # writes a special token that ends nothing
        ends_at_once = next(plan for plan in plans if new_ids(*plan)[0] in (1, 3))
        questions = [
            goes_on,
            ends_at_once,
            ("?", "GPT-2", blank, False, False),
            ("", "GPT-2", blank + 1, True, True),
            ("a b", "GPT-2", blank + 2, False, True, "{{ messages[0].content }}{% if add_generation_prompt %} Answer:{% endif %}"),
            ("  Reverse: a b c\n", "tiny-lm", 0, False, True),
        ]
        chat = [{"role": "user", "content": "Repeat: "}]
        rest = 512 - 10 - len(tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"])
        longest = {"question": "Repeat: " + "7" * rest, "kind": "tiny-lm", "seed": 0, "samples": False, "closing": False}
        questions.append(cases.Case(longest, {"question": "512 tokens with the answer", "kind": "tiny-lm"}))
        check.agrees(answered, expected, questions, "`answer`", hint, causes=causes)


def check_token_texts():
    def expected(text, closing):
        return [tokenizer.decode([token]) for token in tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))]

    causes = {
        "a flat list of ids is one sequence now: decode each id by itself": lambda text, closing: text,
        "it is one text for the whole: decode each id by itself": lambda text, closing: [text],
        "texts as `decode` gives them, not `Ġ`": lambda text, closing: tokenizer.tokenize(text),
        "a special token was added": lambda text, closing: [
            *[tokenizer.eos_token] * closing, *expected(text, closing), *[tokenizer.eos_token] * closing
        ],
    }
    hint = "one text for each token, as `decode` gives it for that token alone"
    texts = [("x", False), ("The largest of 17 things", False), ("naïve 猫 🙂🙂", False), (" two  blanks ", True), ("a<|end|>b", True)]
    texts += [("x<|end|>", False), ("<|end|>", True), ("a<|pad|>", True)]
    texts += [cases.Case({"text": "4 12" * 750, "closing": False}, {"text": "'4 12', 750 times"})]
    check.agrees(texts_of_tokens, expected, texts, "`token_texts`", hint, causes=causes)


def check_cache_size():
    def expected(ids, *plan, heads=None, head=None, width=None, parts=2):
        net = any_net(*plan)
        config, (rows, n) = net.config, ids.shape
        heads = heads or getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head = head or getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return n, parts * config.num_hidden_layers * rows * heads * n * head * (width or net.dtype.itemsize)

    causes = {
        "an element need not have 4 bytes": lambda *case: expected(*case, width=4),
        "an element need not have 4 bytes or 2": lambda *case: expected(*case, width=min(4, any_net(*case[1:]).dtype.itemsize)),
        "keys and values, both": lambda *case: expected(*case, parts=1),
        "heads of queries are not those of keys and values": lambda *case: expected(
            *case, heads=any_net(*case[1:]).config.num_attention_heads
        ),
        "the size of a head need not follow from the others": lambda *case: expected(*case, head=6 if case[1] == "Llama" else None),
    }
    hint = "keys and values of every layer: Cache.layers[i].keys and .values, elements times bytes of an element"
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        sizes = []
        for kind, dtype, caches, rows, n in (
            ("GPT-2", "float32", True, 1, 1),
            ("GPT-NeoX", "bfloat16", True, 3, 7),
            ("GPT-NeoX", "float64", False, 2, 3),
            ("Llama", "float32", True, 1, 5),
            ("Llama", "bfloat16", False, 4, 90),
        ):
            sizes.append((torch.randint(2, 80, (rows, n), generator=draw), kind, seed, dtype, caches))
        check.agrees(size_of_cache, expected, sizes, "`cache_size`", hint, causes=causes)


def check_attention_maps():
    def maps(net, ids, mask=None):
        net.set_attn_implementation("eager")
        with torch.no_grad():
            return torch.stack(net(ids, attention_mask=mask, output_attentions=True).attentions).float()

    def expected(ids, kind, seed, dtype):
        whole = any_net(kind, seed, "float32")
        whole.load_state_dict(any_net(kind, seed, dtype).state_dict())
        return maps(whole, ids)

    def padding_hidden(ids, kind, seed, dtype):
        whole = any_net(kind, seed, "float32")
        whole.load_state_dict(any_net(kind, seed, dtype).state_dict())
        pad = whole.config.pad_token_id
        return maps(whole, ids, None if pad is None else (ids != pad).long())

    def in_half(ids, kind, seed, dtype):
        net = any_net(kind, seed, "float32")
        for parameter in net.parameters():  # loading leaves buffers as they are made
            parameter.data = parameter.data.to(getattr(torch, dtype))
        return maps(net, ids)

    causes = {
        "computed in half precision they have lost their last digits: load as float32": in_half,
        "a token is not padding because it has the padding's id": padding_hidden,
    }
    hint = "layers, rows, heads, queries, keys; a checkpoint in half precision stays in it unless you ask"
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        checkpoints = []
        for kind, dtype, rows, n in (
            ("GPT-2", "bfloat16", 2, 4),
            ("Llama", "float16", 1, 30),
            ("GPT-NeoX", "float32", 3, 5),
        ):
            ids = torch.randint(2, 80, (rows, n), generator=draw)
            ids[:, 1] = 0  # the padding's id where the configuration names one
            checkpoints.append((ids, kind, seed, dtype))
        check.agrees(maps_of_checkpoint, expected, checkpoints, "`attention_maps`", hint, causes=causes, rtol=1e-4)


with check.exercise("from_v4_to_v5"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts(
        {
            "answer": check_answer,
            "token_texts": check_token_texts,
            "cache_size": check_cache_size,
            "attention_maps": check_attention_maps,
        }
    )
check.points(4)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Run each old function and look: does it raise, or return something of another type, length or dtype? The table names
# the cause of each. Two of the four have two changes in them.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `model.generate(**inputs)`; `tokenizer.decode([i])`; `cache.get_seq_length()`, `cache.layers`, `layer.keys`,
# `layer.values`; `from_pretrained(folder, dtype=..., attn_implementation=...)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# made = model.generate(**inputs, ...)                                # answer
# [tokenizer.decode([i]) for i in tokenizer(...)["input_ids"]]        # token_texts
# sum(t.numel() * t.element_size() for layer in cache.layers for t in (...))
# AutoModelForCausalLM.from_pretrained(folder, dtype=..., ...)        # attention_maps
# ```
# </details>


# %% [markdown]
# #### Does it matter?
#
# One of the silent changes, measured: how far the logits of tiny-lm move when its weights are rounded to bfloat16, as
# they would be if its checkpoint had been saved so and nobody had said `dtype=`; and the size of its cache, by your
# function, beside that of a larger model by the same formula.

# %%
half = copy.deepcopy(model).to(torch.bfloat16)
encoded = tokenizer(unseen[:8], padding=True, return_tensors="pt")
real = encoded["attention_mask"].bool()
with torch.no_grad():
    full_logits, half_logits = model(**encoded).logits[real], half(**encoded).logits[real].float()
moved = (full_logits - half_logits).abs().mean()
same = (full_logits.argmax(-1) == half_logits.argmax(-1)).double().mean()
print(f"bfloat16: logits move by {moved:.3f} on average; the best token stays the same at {same:.1%} of the places")

tokens, size = cache_size(model, encoded["input_ids"][:1])
print(f"cache of tiny-lm, float32: {size / tokens:,.0f} bytes a token")
larger = 2 * 32 * 8 * 128 * 2  # keys and values, layers, heads, size of a head, bytes
print(
    f"32 layers, 8 key-value heads of 128, bfloat16: {larger:,} bytes a token, {larger * 8192 / 2**30:.0f} GiB for 8,192 tokens"
)

# %% [markdown]
# ## Claims measured
#
# | claim | where |
# |---|---|
# | a token is about four characters of English | exercise 2 |
# | the KV cache makes generation several times faster | exercise 7 |
# | throughput grows in proportion to the batch | exercise 7 |
#
# The table with your own figures stands below the last of them; `unit24 claims` prints it in a terminal.

# %% [markdown]
# ## On a bigger machine
#
# With `UNIT24_TIER=hub` everything above runs on a real chat model of the Hub; only the name changes. This cell repeats
# the key step there: your loop against `generate`, and what cache and batch are worth, on a GPU if there is one.

# %%
if env.tier == "hub":
    big = AutoModelForCausalLM.from_pretrained(model_name, dtype="auto").to(env.device).eval()
    chats = [[{"role": "user", "content": "Explain in two sentences what a tokenizer does."}]]
    encoded = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_tensors="pt").to(env.device)
    made = generate_by_hand(big, encoded["input_ids"], encoded["attention_mask"], 80)
    library = big.generate(**encoded, max_new_tokens=80, do_sample=False)
    print(tokenizer.decode(made[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True))
    print("the same ids as generate:", made.tolist() == library.tolist())

    for size, cached in ((1, False), (1, True), (8, True), (32, True), (128, True)):
        many = {key: value.repeat(size, 1) for key, value in encoded.items()}
        begin = time.perf_counter()
        made = big.generate(**many, max_new_tokens=128, min_new_tokens=128, do_sample=False, use_cache=cached)
        made.cpu()  # waits until the device is done
        rate = 128 * size / (time.perf_counter() - begin)
        print(f"{size:4} rows, {'with' if cached else 'without'} cache: {rate:8,.0f} tokens a second")
else:
    print("Skipped: this section needs UNIT24_TIER=hub (and likes a GPU).")

# %% [markdown]
# ## Quiz
#
# Five questions, with feedback for every option. Nothing is graded.

# %% [markdown] quiz="transformers"
# 1. A byte-level tokenizer meets a letter that its training text never had. What happens?
# - [ ] It becomes the unknown token :: Byte-level vocabularies need none: every byte is in the alphabet.
# - [x] It becomes several tokens, one for each of its bytes or so :: No merge was ever learned for them, so it costs more, but nothing is lost.
# - [ ] It is left out :: That happens where the alphabet is taken from the training text alone; a byte-level one starts from all 256 bytes.
# - [ ] It becomes one new token with an id of its own :: The vocabulary is fixed once it is trained; its vectors in the model are too.
# 2. A chat model answers well with one prompt, and badly for the shorter prompts of a batch. What do you check first?
# - [ ] The rounding of larger matrix products :: It moves logits in their last digits, hardly ever a whole answer, and not the short prompts more.
# - [ ] Whether the prompts of a batch see one another :: Rows of a batch never do; only packed sequences could.
# - [x] The side of the padding and the attention mask :: Padding on the right makes the model continue after padding; without a mask it reads the padding.
# - [ ] The end token of the shorter prompts :: It ends answers. What is added to shorter prompts is padding.
# 3. A model was fine-tuned on chats and now never stops by itself. Which labels were probably wrong?
# - [x] The end token of the assistant was -100 :: What is never a target is never learned.
# - [ ] The user's words were -100 :: They should be.
# - [ ] The padding was -100 :: It should be.
# - [ ] The labels were not shifted :: They must not be: the model shifts them itself.
# 4. Which tokens can top-p sampling choose where the model gives one token a probability of 0.97, at p = 0.9?
# - [ ] About nine tenths of the vocabulary :: p is a sum of probabilities, not a share of tokens.
# - [x] That one only :: It alone reaches p. Where the model is unsure, many more are kept.
# - [ ] None: 0.97 is more than 0.9 :: The token that reaches p is always kept.
# - [ ] The best 50 :: That is top-k, and the default of `generate` when sampling.
# 5. With a KV cache, what does the model compute for each new token?
# - [ ] Keys and values of the whole text, but only for the last layer :: Every layer has its own, and old ones are kept.
# - [ ] Nothing: the answer is in the cache :: The cache holds keys and values of old tokens; the new token is new.
# - [x] One query, key and value in each layer, and attention over all keys so far :: The work in the layers no longer grows with the length; only attention does.
# - [ ] Only a query: key and value of the new token are in the cache :: They are computed from the new token and then put there.

# %% [markdown]
# ## What to read next
#
# - [Text generation strategies](https://huggingface.co/docs/transformers/generation_strategies) and
#   [cache strategies](https://huggingface.co/docs/transformers/kv_cache): what `generate` offers beyond this lesson.
# - [Chat templates](https://huggingface.co/docs/transformers/chat_templating): tools, images, templates with several
#   variants.
# - [The tokenizers library](https://huggingface.co/docs/tokenizers/pipeline): normalisers, pre-tokenizers, models,
#   decoders.
# - [Migration guide for version 5](https://github.com/huggingface/transformers/blob/main/MIGRATION_GUIDE_V5.md): the
#   whole list.
# - [minbpe](https://github.com/karpathy/minbpe) by Andrej Karpathy: byte-pair encoding in a few hundred lines, up to the
#   tokenizer of GPT-4.
# - Next: lesson 08 makes training data out of raw text.
