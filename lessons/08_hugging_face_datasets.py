# ---
# jupyter:
#   unit24:
#     needs: ["datasets>=4", "matplotlib>=3.8", "numpy>=1.26", "scikit-learn"]
# ---

# %% [markdown]
# # 08 · Hugging Face datasets
#
# A model learns what its data say, mistakes included. Raw text arrives with broken lines, with menus and tables, with the same page five times,
# with people's addresses, and with answers to the very test on which the model will be judged. None of this raises an error.
#
# **You will build** the way from raw text to training rows: read files into a typed dataset, cut and filter it in batches, shuffle a
# stream, split by class, pack, mask what is not to be learned, remove near-duplicates, find personal data, and prove that the test set did not
# leak. Each finder is graded by precision and recall on planted cases.
#
# **You need first** lesson 05 (datasets and loaders) and Python's regular expressions. Lesson 07 helps for tokens and prompts.
#
# **Time** about five hours: eight exercises of 20 to 45 minutes and a written answer, 26 points. No GPU and no network are needed.
#
# | station | what goes wrong silently | exercise |
# |---|---|---|
# | files to rows | a type guessed from the first rows; a cache that shows yesterday's file | 1 |
# | rows to better rows | a rule that works row by row and breaks in batches | 2 |
# | order and split | a stream that is hardly shuffled; a class that the test never sees | 3 |
# | rows for training | half of each batch is padding; the model learns to repeat the prompt | 4 |
# | near-duplicates | the same text a hundred times, each time a little different | 5 |
# | personal data | a telephone number that the model will recite | 6 |
# | leaks | a test that was in the training set | 7, 8 |

# %% setup

# %%
import ast
import collections
import functools
import hashlib
import itertools
import json
import math
import random
import re
import sysconfig
import tempfile
import time
from pathlib import Path

import datasets
import matplotlib.pyplot as plt
import numpy as np
from datasets import ClassLabel, Dataset, Features, Value
from pydoc_data.topics import topics

from unit24 import cases, check, claims

datasets.disable_caching()  # results of map and filter are computed anew
WORK = Path(tempfile.mkdtemp(prefix="unit24-08-"))  # all files of this lesson

# %% [markdown]
# ## The raw text
#
# Every Python install carries two texts of good size. `pydoc_data.topics` is the language reference as `help("for")` prints it. The standard
# library's own source is full of docstrings. We write both as **JSON lines**, one JSON value a line, the usual form of crawled text. And we spoil them
# a little, as crawls are spoiled: blank lines, lines that were cut off, entries without text.


# %%
def reference_records():
    """Each paragraph of the language reference, topic by topic. Topics repeat each other: nothing is made unique here."""
    for topic in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[topic]):
            if paragraph.strip():
                yield {"text": " ".join(paragraph.split()), "topic": topic}


def docstring_records(packages):
    """Each docstring of some packages of the standard library, with the line at which its owner begins."""
    for package in packages:
        for file in sorted((Path(sysconfig.get_path("stdlib")) / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                    if text := ast.get_docstring(node):
                        yield {"text": " ".join(text.split()), "at": getattr(node, "lineno", 1)}


def write_lines(path, records, seed):
    """JSON lines with a blank, broken or empty one among them now and then."""
    chance = random.Random(seed)
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            line = json.dumps(record, ensure_ascii=False)
            file.write(line + "\n")
            if chance.random() < 0.02:
                file.write(chance.choice(["\n", line[: len(line) // 2] + "\n", '{"text": null}\n', '["not", "a", "record"]\n', '{"text": "  "}\n']))


PACKAGES = "asyncio collections concurrent email http importlib json logging unittest urllib xml".split()
write_lines(WORK / "reference.jsonl", reference_records(), seed=1)
write_lines(WORK / "docstrings.jsonl", docstring_records(PACKAGES), seed=2)
for path in sorted(WORK.glob("*.jsonl")):
    content = path.read_text(encoding="utf-8")
    print(f"{path.name}: {len(content) / 1e6:.2f} MB, {content.count(chr(10))} lines, the first: {content[:70]}…")

# %% [markdown]
# ## Part A · From files to rows
#
# A `Dataset` is a table in **Arrow** format: columns with fixed types, on disk or in memory, read without copying. Its types are its **features**.
# If you do not state them, the library guesses them from the first rows. A column that holds `None` there gets the type `null`, and the first
# number later is an error, or the whole file is read as text. So state them:

# %%
FEATURES = Features({"text": Value("string"), "at": Value("int32"), "file": Value("string"), "line": Value("int32")})
small = Dataset.from_list([{"text": "a", "at": None, "file": "x", "line": 1}, {"text": "b", "at": 7, "file": "x", "line": 2}], features=FEATURES)
print(small.features)
print(small[1])  # a row is a dict
print(small["at"][:], small[:1])  # a column; a slice is a dict of columns

# %% [markdown]
# There are several ways into a `Dataset`. `Dataset.from_list(rows, features=...)` and `Dataset.from_dict(columns, features=...)` take what is in
# memory. `Dataset.from_generator(function, features=..., gen_kwargs=..., cache_dir=...)` calls `function(**gen_kwargs)` and writes row after row to disk, so that
# the text may be larger than the memory. Up to version 3 a dataset could also bring its own loading script; versions from 4 on no longer run one.
#
# `from_generator` keeps what it has written in `cache_dir`. It finds it again **by the function and its arguments**:


# %%
def lines_of(path):
    for line in open(path, encoding="utf-8"):
        yield {"text": line.strip()}


(WORK / "notes.txt").write_text("first version\n")
options = {"gen_kwargs": {"path": str(WORK / "notes.txt")}, "cache_dir": str(WORK / "cache")}
before = Dataset.from_generator(lines_of, **options)["text"][:]
(WORK / "notes.txt").write_text("second version\n")
after = Dataset.from_generator(lines_of, **options)["text"][:]
print("the file says 'second version', the dataset says", after)

# %% [markdown]
# The path is the same, so the old rows come back. What the file holds is not among the arguments. There are two ways out: hand over something that
# changes with the content (a digest, as one more argument of the generator), or do not go through the cache. One more thing to know: newer versions take a list among `gen_kwargs` apart into shards, also without `num_proc`, and call the generator
# once for each entry. Do not count across them.
#
# ### Exercise 1 · Read raw files (`records`, 2 points, 30 minutes, difficulty 2 of 3)
#
# Write `load_records(paths, cache_dir)`. `paths` is a list of 1 to 4 paths (`str`) of JSON-lines files in UTF-8, with up to 60 lines each. `cache_dir` is the path of a folder
# (`str`) for the library's cache, if you go through it.
#
# A line ends at `"\n"`, and only there. The last one may lack it. A line is **good** if it is a JSON object (a dict) whose
# `"text"` is a string with at least one character for which `str.isspace` is false (a `"-"` is enough). No object names a key twice, and a text can be encoded in UTF-8. Any other line is bad: blank, cut off, another JSON value, an object without such
# a text.
#
# - It returns a `datasets.Dataset` with one row for each good line, file by file in the order of `paths`, in the order of the
#   lines. At least one line is good. <!-- rule: rows -->
# - Bad lines are left out. <!-- rule: bad -->
# - The columns: `text`, as it stands in the record; `at`, the record's `"at"` (a whole number from 0 to 2,000,000,000), or `None` where it is `null` or missing;
#   `file`, the file's name without its folders; `line`, the number of the line in its file, from 1, where bad lines count, too. Other
#   entries of a record are dropped. <!-- rule: columns -->
# - Its features are `FEATURES`, also where each `at` is `None`. <!-- rule: features -->
# - A character such as U+2028 (line separator) or U+0085 inside of a text ends no line: `str.splitlines` would cut
#   there. Nor does a `"\r"` that stands as a blank between the entries of an object: `open` without `newline="\n"` would cut
#   there, and so would `Path.read_text`. <!-- rule: newline -->
# - When the files at the same paths hold something else at the next call, with the same `cache_dir`, the new rows
#   come. <!-- rule: fresh -->


# %% exercise="records" minutes=30 difficulty=2
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    ### BEGIN SOLUTION
    def rows(paths, digest):
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and text.strip():
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)
    ### END SOLUTION


# %% tests="records" points=2
@check.scenario
def loaded(contents):
    """For several calls with the same paths, of files with these contents: rows and features of what `load_records` returns."""
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        cache.mkdir()
        for files in contents:
            paths = []
            for place, (name, content) in enumerate(files):
                path = Path(folder) / str(place) / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content.encode("utf-8"))
                paths.append(str(path))
            made = load_records(paths, str(cache))
            if type(made) is not Dataset:
                return [{"features": f"those of a {type(made).__name__}, no Dataset", "rows": []} for _ in contents]
            kinds = {name: str(feature.dtype) for name, feature in made.features.items()}
            seen.append({"features": kinds, "rows": made.to_list()})
            del made
    return seen


TYPES = {"text": "string", "at": "int32", "file": "string", "line": "int32"}


def good_lines(files, part=lambda content: content.removesuffix("\n").split("\n"), count_all=True):
    rows = []
    for name, content in files:
        number = 0
        for line in part(content):
            number += 1
            try:
                record = json.loads(line)
                text = record["text"]
                good = isinstance(text, str) and bool(text.strip())
            except (ValueError, TypeError, KeyError, IndexError):
                good = False
            if good:
                rows.append({"text": text, "at": record.get("at"), "file": name, "line": number})
            else:
                number -= not count_all
    return rows


def loaded_by_definition(contents):
    return [{"features": TYPES, "rows": good_lines(files)} for files in contents]


def loaded_otherwise(**options):
    return lambda contents: [{"features": TYPES, "rows": good_lines(files, **options)} for files in contents]


def loaded_once(contents):
    return [{"features": TYPES, "rows": good_lines(contents[0])} for _ in contents]


BAD = {
    "none": [],
    "blank": ["", "  ", "\t"],
    "cut off": ['{"text": "lost', '{"text": "lost"', "{'text': 'single quotes'}"],
    "other values": ["17", "null", '"text"', '["text"]', '[{"text": "x"}]', "true", '{"0": 1}'],
    "no text": ["{}", '{"Text": "x"}', '{"at": 3}'],
    "other texts": ['{"text": null}', '{"text": 5}', '{"text": ["a"]}', '{"text": {"a": "b"}}', '{"text": true}'],
    "white text": ['{"text": ""}', '{"text": "  "}', '{"text": "\\n\\t"}', '{"text": "\u2028\\u3000\u00a0"}'],
}


def file_contents(lines, odd_at, bad, odd_text, end, files, seed, other_letters=False):
    """The contents of some files: good records of all kinds, with bad lines of one kind (or of all) among them."""
    chance = random.Random(seed)
    made = []
    for place in range(files):
        rows = []
        for i in range(max(1, lines - 7 * place)):
            words = " ".join(chance.choice("for while if a class returns None naïve 漢字e af".split()) for _ in range(chance.randint(1, 8)))
            words = words.translate(str.maketrans("acef", "ACEF")) if other_letters else words
            text = {"plain": words, "blanks around": f"  {words}\t", "line separator": f"{words}\u2028{words}", "next line": f"x\x85{words}\x1c.", "escaped": f'say "{words}"\n\\', "one character": chance.choice("-?.0_–…七\u200b")}.get(odd_text, words)
            record = {"text": text}
            kind = odd_at if odd_at != "mixed" else chance.choice(["number", "missing", "null"])
            if kind == "number":
                record["at"] = chance.choice([0, 1, 37, 4_000, 70_000, 2_000_000_000])
            elif kind == "null":
                record["at"] = None
            if chance.random() < 0.3:
                record = {"url": ["x", 1], "line": -1, "file": "other", **record}
            row = json.dumps(record, ensure_ascii=chance.random() < 0.2 and odd_text == "plain")
            rows.append(row.replace("{", "{\r", 1) if odd_text == "carriage return" else row)
        if odd_text != "plain":
            rows.append('{"text": "after all others"}')
        wrong = BAD[bad] if bad != "all" else [line for kind in BAD.values() for line in kind]
        for line in wrong:
            rows.insert(chance.randint(0, len(rows)), line)
        made.append((chance.choice(["a.jsonl", "b.jsonl", "crawl 7.json"]), "\n".join(rows[:60]) + ("\n" if end else "")))
    return made


def two_calls(_lines, _at, _bad, _text, _end, _files, _seed, _calls, **_):
    """Files for each call; in the second one they hold other rows, as many letters of which some are others, or a line of the file before."""
    if _calls == "two, a line moved on":
        (name, content), (next_name, next_content), *rest = file_contents(_lines, _at, _bad, _text, _end, max(2, _files), _seed)
        *kept, line = content.removesuffix("\n").split("\n")
        before = "".join(f"{line}\n" for line in kept)
        return [[(name, f"{before}{line}\n"), (next_name, next_content), *rest], [(name, before), (next_name, f"{line}\n{next_content}"), *rest]]
    first = file_contents(_lines, _at, _bad, _text, _end, _files, _seed)
    if _calls == "one":
        return [first]
    then = file_contents(_lines, _at, _bad, _text, _end, _files, _seed + (_calls == "two"), other_letters=_calls != "two")
    return [first, [(name, content) for (name, _), (_, content) in zip(first, then)]]


with check.exercise("records"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "_lines": cases.size("lines"),
        "_at": cases.choice("mixed", "number", "missing", "null"),
        "_bad": cases.choice("all", *BAD),
        "_text": cases.choice("plain", "blanks around", "line separator", "next line", "escaped", "one character", "carriage return"),
        "_end": cases.choice(True, False),
        "_files": cases.choice(1, 2, 4),
        "_seed": cases.integer(1, 10**6),
        "_calls": cases.choice("one", "two", "two, of equal size", "two, a line moved on"),
        "contents": cases.derived(two_calls),
    }
    causes = {
        "`str.splitlines` cuts at more than line ends: go through the file, or use `split('\\n')`": loaded_otherwise(part=str.splitlines),
        "a carriage return ended a line: open the file with `newline='\\n'`": loaded_otherwise(part=lambda content: re.split(r"\r\n?|\n", content.removesuffix("\n"))),
        "bad lines count for the number of a line, too": loaded_otherwise(count_all=False),
        "the second call gives what the first one has kept: the cache goes by the arguments, not by what the files hold": loaded_once,
    }
    hint = "one row for each good line, with its text, its `at` or None, the file's name and the line's number; the features are FEATURES"
    drawn = cases.draw(seeds, domain, count=6, lines=(1, 30))
    check.agrees(loaded, loaded_by_definition, drawn, "what `load_records` gives in calls with the same paths", hint, causes=causes)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# What can `json.loads` return, other than a dict? Where does iterating over an open file cut, and where does `str.splitlines`? What would have to be among the arguments
# of the generator, so that the library notices new content?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `json.loads` raises `ValueError` (its subclass `JSONDecodeError`); `enumerate(file, 1)`; `Path(path).name`; `Dataset.from_list(rows, features=FEATURES)`, or
# `Dataset.from_generator(..., gen_kwargs={"paths": paths, "digest": ...})`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# rows = []
# for path in paths:
#     with open(path, encoding="utf-8", newline="\n") as file:
#         for number, line in enumerate(file, 1):
#             try:
#                 record = json.loads(line)
#             except ValueError:
#                 continue
#             text = record.get("text") if isinstance(record, dict) else None
#             if ...:
#                 rows.append({"text": text, "at": record.get("at"), "file": ..., "line": number})
# return Dataset.from_list(rows, features=FEATURES)
# ```
# </details>

# %%
raw = load_records([str(WORK / "reference.jsonl"), str(WORK / "docstrings.jsonl")], str(WORK / "cache"))
print(raw)
per_file = collections.Counter(raw["file"])
print(dict(per_file), "rows;", f"{sum(at is None for at in raw['at'])} without `at`")
print(raw[5]["text"][:90], "…")

# %% [markdown]
# The table lies on disk and is mapped into memory: opening it costs next to nothing, whatever its size, and a row is read when you ask for it.
#
# ## Part B · In batches
#
# `Dataset.map(function)` hands over one row after the other. `map(function, batched=True)` hands over a **batch**: a dict of columns, with up to
# `batch_size` (1,000 by default) rows. That is faster, and it can do more: the function may return another number of rows than it got, as long as its columns are equally long.
# Old columns would no longer fit then, so they are removed with `remove_columns`. `Dataset.filter(function, batched=True)` wants one boolean a row.
#
# Long texts are cut into pieces that fit a model, and rows that are no prose are thrown out. The rules below follow the quality filter of Gopher (Rae et al., 2021,
# appendix A, [arXiv:2112.11446](https://arxiv.org/abs/2112.11446)), with fewer words, since our paragraphs are shorter than web pages.
#
# ### Exercise 2 · Cut and filter (`batched`, 3 points, 30 minutes, difficulty 1 of 3)
#
# `chunk(batch, size)` is a function for `map`. `batch` is a dict with the lists `"text"` (strings), `"file"` (strings) and `"at"` (numbers or `None`), all of 1 to 40
# entries. `size` is from 1 to 300. The words of a text are `text.split()`.
#
# - A text is cut into pieces of `size` words, joined by one blank, in their order. <!-- rule: pieces -->
# - Its last piece may have fewer words; it is kept. A text of fewer words is one piece. <!-- rule: last -->
# - A text without words gives no piece. <!-- rule: wordless -->
# - It returns a dict with three lists of one entry a piece, text by text, and nothing else: `"text"`; `"file"`, that of the text; `"part"`, the number of
#   the piece in its text, from 0. <!-- rule: columns -->
#
# `keep(batch)` is a function for `filter`. `batch` is a dict with the list `"text"` of 1 to 40 strings. It returns a list with one `bool` (Python's or NumPy's) for each text, in their
# order: True where all four hold, with `words = text.split()`.
#
# - There are 20 to 200 words, both ends included. <!-- rule: length -->
# - The mean `len` of these words, marks included, is from 3 to 10, both ends included. <!-- rule: mean -->
# - At least 80 % of the words hold a letter (a character for which `str.isalpha` is true). <!-- rule: letters -->
# - At least two **different** ones of the eight stop words *the be to of and that have with* occur among
#   `text.lower().split()`. <!-- rule: stops -->
#
# The batches stay as they were. Each function earns half of the points.

# %%
STOPS = {"the", "be", "to", "of", "and", "that", "have", "with"}


# %% exercise="batched" minutes=30 difficulty=1
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    ### BEGIN SOLUTION
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out
    ### END SOLUTION


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    ### BEGIN SOLUTION
    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]
    ### END SOLUTION


# %% tests="batched" points=3
@check.scenario
def mapped(batch, size, batch_size):
    """What `Dataset.map` makes of these rows, with batches of this size."""
    features = Features({"text": Value("string"), "file": Value("string"), "part": Value("int64")})
    table = Dataset.from_dict(batch)
    return table.map(chunk, batched=True, batch_size=batch_size, fn_kwargs={"size": size}, remove_columns=table.column_names, features=features).to_list()


@check.scenario
def filtered(batch, batch_size):
    """The texts that `Dataset.filter` leaves of these rows, with batches of this size."""
    return Dataset.from_dict(batch).filter(keep, batched=True, batch_size=batch_size)["text"][:]


def pieces_by_definition(batch, size, least=1, number=lambda part, total: part):
    rows = []
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        parts = [words[k : k + size] for k in range(0, max(len(words), least == 0), size)]
        rows += [(" ".join(part), file, number(i, len(rows) + i)) for i, part in enumerate(parts) if len(part) >= least]
    return {name: [row[k] for row in rows] for k, name in enumerate(("text", "file", "part"))}


def whole_pieces(batch, size):
    return pieces_by_definition(batch, size, least=size)


def with_empty_pieces(batch, size):
    return pieces_by_definition(batch, size, least=0)


def numbered_through(batch, size):
    return pieces_by_definition(batch, size, number=lambda part, total: total)


def reads_well(text, low=20, high=200, mean=(3, 10), share=0.8, stops=2, strict=False, different=True):
    words = text.split()
    known = [word for word in text.lower().split() if word in STOPS]
    count = len(words)
    letters = sum(any(c.isalpha() for c in word) for word in words)
    long_enough = low < count < high if strict else low <= count <= high
    return bool(long_enough and mean[0] * count <= sum(map(len, words)) <= mean[1] * count and letters * 10 >= share * 10 * count and len(set(known) if different else known) >= stops)


def kept_by_definition(batch):
    return [reads_well(text) for text in batch["text"]]


def kept_with(**options):
    return lambda batch: [reads_well(text, **options) for text in batch["text"]]


def sentence(seed, count, kind):
    """A text of so many words that breaks one rule just so, or keeps it just so."""
    chance = random.Random(f"{seed} {count} {kind}")
    if kind in ("mean is 3", "mean below 3", "mean is 10", "mean above 10"):
        size = 3 if "3" in kind else 10
        words = ["".join(chance.choice("abcdefgh") for _ in range(size - 1)) + chance.choice("abcdefgh,.)") for _ in range(count - 4)]
        words += {3: ["the", "and", "abc", "def"], 10: ["the", "and", "abcdefghijklmnopq", "abcdefghijklmnopq"]}[size]
        words[0] = words[0][:-1] if "below" in kind else words[0] + "z" * ("above" in kind)
    else:
        words = [chance.choice("value object returns called module naïve list's 1st 漢字かな Ελλάδα".split()) for _ in range(count)]
        known = {"no stop word": [], "one stop word": ["the"], "one stop word, often": ["the", "The", "THE"], "capital stop words": ["The", "OF"], "stop words with marks": ["the,", "of.", "(and", "of"]}
        words[: len(known.get(kind, "12"))] = known.get(kind, ["that", "with"])
        if kind.startswith("letters"):
            without = math.floor(count * 0.2) + (kind == "letters below")
            words[-without:] = [chance.choice(["---", "12.50", "(3)", "==", "7"]) for _ in range(without)]
        chance.shuffle(words)
    blanks = [" ", " ", "  ", "\n", "\t "]
    return "".join(word + chance.choice(blanks) for word in words)


KINDS_OF_TEXT = ("plain", "no stop word", "one stop word", "one stop word, often", "capital stop words", "stop words with marks", "letters just enough", "letters below")
KINDS_OF_TEXT += ("mean is 3", "mean below 3", "mean is 10", "mean above 10")


def a_batch(_many, _seed, _kind, _words, **_):
    texts = []
    for i in range(_many):
        chance = random.Random(f"{_seed} {i}")
        count = chance.choice({"typical": [20, 25, 30, 40, 80], "ends": [19, 20, 200, 201], "few": [0, 1, 2, 5], "multiples": [30, 60, 90]}[_words])
        kind = chance.choice(KINDS_OF_TEXT) if _kind == "all" else _kind
        texts.append(sentence(_seed + i, count, kind) if count > 5 else " \n ".join(["word"] * count) + " ")
    files = [f"{chr(97 + (i * i + _seed) % 5)}.jsonl" for i in range(_many)]
    return {"text": texts, "file": files, "at": [None if i % 3 else i for i in range(_many)]}


rows_of_text = {
    "_many": cases.size("many"),
    "_seed": cases.integer(1, 10**6),
    "_kind": cases.choice("all", *KINDS_OF_TEXT),
    "_words": cases.choice("typical", "ends", "few", "multiples"),
    "batch": cases.derived(a_batch),
}


def check_chunk():
    causes = {
        "the last, shorter piece is missing": whole_pieces,
        "a text without words gives no piece": with_empty_pieces,
        "parts are counted from 0 in each text": numbered_through,
    }
    hint = "pieces of `size` words joined by one blank, the last one perhaps shorter, with the file of their text and their number in it; no other column"
    domain = {**{name: a for name, a in rows_of_text.items() if name != "_kind"}, "size": cases.choice(30, 1, 7, 100, 300)}
    domain["batch"] = cases.derived(lambda **drawn: a_batch(_kind="all", **drawn))
    check.agrees(chunk, pieces_by_definition, cases.draw(seeds, domain, count=6, many=(1, 40)), "`chunk`", hint, causes=causes)
    for batch_size in (1, 4, 1000):
        batch = a_batch(9, seeds[-1], "all", "typical")
        pieces = pieces_by_definition(batch, 21)
        expected = [dict(zip(pieces, row)) for row in zip(*pieces.values())]
        with_library = f"what `Dataset.map` gives with `chunk` and batch_size={batch_size}, of 9 texts cut at 21 words,"
        check.equal(mapped(batch, 21, batch_size), expected, with_library, "each batch must be done on its own, whatever its size")


def check_keep():
    causes = {
        "20 and 200 words are enough and not too many: both ends are included": kept_with(strict=True),
        "a stop word that comes twice is one stop word": kept_with(different=False),
        "one stop word is not enough": kept_with(stops=1),
        "words with letters are not looked at: 80 % of the words must hold one": kept_with(share=0),
        "the mean length of a word is not looked at": kept_with(mean=(0, 99)),
    }
    hint = "20 to 200 words, of 3 to 10 characters in the mean, 80 % of them with a letter, two different stop words; ends included; one bool a text"
    check.agrees(keep, kept_by_definition, cases.draw(seeds, rows_of_text, count=6, many=(1, 40)), "`keep`", hint, causes=causes)
    batch = a_batch(9, seeds[-1], "all", "typical")
    for batch_size in (1, 4, 1000):
        expected = [text for text in batch["text"] if reads_well(text)]
        check.equal(filtered(batch, batch_size), expected, f"what `Dataset.filter` leaves with `keep` and batch_size={batch_size}, of 9 texts,", "one bool for each text of the batch")


with check.exercise("batched"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"chunk": check_chunk, "keep": check_keep})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# A batch is a dict of lists, so two columns are walked through together. The mean of no words cannot be computed: which rule says so first?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `zip(batch["text"], batch["file"])`; `range(0, len(words), size)`; `any(c.isalpha() for c in word)`; `set & set`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# for text, file in zip(batch["text"], batch["file"]):
#     words = text.split()
#     for part, start in enumerate(range(0, len(words), size)):
#         ...                                         # append to three lists
#
# words = text.split()
# if not 20 <= len(words) <= 200:
#     return False
# mean = sum(len(word) for word in words) / len(words)
# letters = sum(any(c.isalpha() for c in word) for word in words) / len(words)
# return 3 <= mean <= 10 and ... and len(STOPS & set(text.lower().split())) >= 2
# ```
# </details>

# %%
PIECES = Features({"text": Value("string"), "file": Value("string"), "part": Value("int32")})
pieces = raw.map(chunk, batched=True, fn_kwargs={"size": 150}, remove_columns=raw.column_names, features=PIECES)
prose = pieces.filter(keep, batched=True)
counts = {"raw rows": len(raw), "pieces": len(pieces), "kept by the filter": len(prose)}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3), layout="constrained")
left.barh(list(counts)[::-1], list(counts.values())[::-1])
left.set(xlabel="rows", title="what is left")
bins = range(0, 151, 10)
right.hist([[len(text.split()) for text in table["text"]] for table in (pieces, prose)], bins, label=["pieces", "kept"])
right.set(xlabel="words in a piece", ylabel="pieces", title="lengths")
right.legend()
plt.show()
thrown = [text for text in pieces["text"] if not keep({"text": [text]})[0]]
print("thrown out, for example:", *(text[:70] for text in random.Random(3).sample(thrown, 3)), sep="\n  ")

# %% [markdown]
# Most of what is thrown out is short: signatures, single lines of grammar, headings. A filter like this one is cheap and blunt. Look at what it throws out before
# you trust it: a filter for prose throws out poems and code, too.

# %% [markdown]
# ## Part C · In which order, on which side
#
# A table in memory can be shuffled as a whole. A **stream** (`ds.to_iterable_dataset()`, or `load_dataset(..., streaming=True)`) can only be read from the front. It is shuffled through a
# **buffer**: the buffer is filled, then one row of it is drawn, handed out, and replaced by the next row of the stream. How well that mixes depends on
# the buffer's size alone.

# %%
figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained", sharey=True)
numbered = Dataset.from_dict({"number": list(range(1000))}).to_iterable_dataset()
for panel, size in zip(panels, (10, 100, 1000)):
    order = [row["number"] for row in numbered.shuffle(seed=24, buffer_size=size)]
    panel.plot(order, ".", markersize=2)
    panel.set(xlabel="place in the shuffled stream", title=f"a buffer of {size} rows")
    ahead = max(number - place for place, number in enumerate(order))
    print(f"buffer of {size}: no row comes more than {ahead} places too early")
panels[0].set(ylabel="place in the file")
plt.show()

# %% [markdown]
# A small buffer leaves the file's order visible. A file sorted by class then gives batches of one class. So shuffle the files themselves when they are written, or their
# order; the buffer does the rest. A row can be very late, but never more than the buffer's size too early, because it must have been read.
#
# The second question is which rows become the test set. Drawn at random, a class with five rows may be absent from it. A **stratified** split takes the same share of
# each class.
#
# ### Exercise 3 · Shuffle and split (`order`, 3 points, 35 minutes, difficulty 2 of 3)
#
# `shuffled(items, size, pick)` is an iterator (a generator, for example) over the items in another order. `items` is an iterable (a list, a generator) of 0 to 300 numbers, or one without end. `size` is from 1 to 100.
# `pick(n)` returns a number from 0 to n - 1: it stands for chance.
#
# - While the buffer (a list) has fewer than `size` items, the next item is appended to it. When it is full, `i = pick(size)` is asked, item `i` of the buffer is handed
#   out, and the next item of the stream takes its place, at place `i`. <!-- rule: swap -->
# - When the stream has ended, and n items are in the buffer: `i = pick(n)` is asked, item `i` is handed out, and those behind it move up by one place (as `list.pop(i)`
#   does), until the buffer is empty. So `pick` is called once for each item, also for the last one. <!-- rule: rest -->
# - When the k-th item is handed out (k from 1), at most `k + size` items have been taken from `items`. A stream without end
#   works. <!-- rule: lazy -->
#
# `stratified(labels, chance, percent)` returns `(train, test)`, two lists of indices into `labels`. `labels` is a list of 1 to 400 whole numbers from 0 to 50, `chance` a list of as many
# different floats, `percent` a whole number from 1 to 50.
#
# - Of a class with n items, `percent * n / 100` items are tested, rounded to the nearest whole number, halves upwards (29 % of 50 are 14.5, so 15); but at least one item where n is 2 or
#   more. <!-- rule: count -->
# - A class with one item has it in `train`. <!-- rule: single -->
# - The items of a class with the smallest `chance` are tested. <!-- rule: chosen -->
# - Each index is in one of the lists, and both are in increasing order. <!-- rule: sorted -->
#
# `labels` and `chance` stay as they were. Each function earns half of the points.


# %% exercise="order" minutes=35 difficulty=2
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    ### BEGIN SOLUTION
    buffer = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
        else:
            i = pick(size)
            yield buffer[i]
            buffer[i] = item
    while buffer:
        yield buffer.pop(pick(len(buffer)))
    ### END SOLUTION


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    ### BEGIN SOLUTION
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, (percent * n + 50) // 100)
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)
    ### END SOLUTION


# %% tests="order" points=3
@check.scenario
def handed_out(count, kind, size, seed):
    """Up to 400 items that `shuffled` hands out, what it asked `pick` for, and whether it took more from the stream than it may."""
    source, asked, taken = random.Random(seed), [], [0]

    def pick(n):
        asked.append(n)
        return source.randrange(n)

    def stream():
        for i in range(30_000 if kind == "endless" else count):
            taken[0] += 1
            yield i

    items, early = [], 0
    source_of_items = list(range(count)) if kind == "list" else stream()
    for item in itertools.islice(shuffled(source_of_items, size, pick), 120 if kind == "endless" else 400):
        items.append(item)
        early += taken[0] > len(items) + size
    return {"items": items, "numbers given to `pick`": asked, "items before which too much was taken": early}


def out_by_definition(count, kind, size, seed, drain="pop", replace="place", ask=None):
    source, asked, out, buffer = random.Random(seed), [], [], []

    def pick(n):
        asked.append(n)
        return source.randrange(n)

    endless = kind == "endless"
    length = size + 120 if endless else count
    for i in range(length):
        if len(buffer) < size:
            buffer.append(i)
            continue
        place = pick(size)
        out.append(buffer[place])
        if replace == "place":
            buffer[place] = i
        else:
            buffer.pop(place)
            buffer.append(i)
    while buffer and not endless:
        if drain == "order":
            out.append(buffer.pop(0))
        elif drain == "last first":
            place = pick(len(buffer))
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            out.append(buffer.pop())
        else:
            out.append(buffer.pop(pick(len(buffer))))
    return {"items": out, "numbers given to `pick`": asked, "items before which too much was taken": 0}


def out_with(**options):
    return lambda *arguments: out_by_definition(*arguments, **options)


def split_by_definition(labels, chance, percent, count=lambda n, percent: 0 if n == 1 else max(1, (percent * n + 50) // 100), largest=False):
    test = []
    for label in set(labels):
        members = [i for i, other in enumerate(labels) if other == label]
        members.sort(key=lambda i: -chance[i] if largest else chance[i])
        test += members[: count(len(members), percent)]
    return [i for i in range(len(labels)) if i not in test], sorted(test)


def split_with(**options):
    return lambda labels, chance, percent: split_by_definition(labels, chance, percent, **options)


def split_over_all(labels, chance, percent):
    ranked = sorted(range(len(labels)), key=lambda i: chance[i])[: (percent * len(labels) + 50) // 100]
    return [i for i in range(len(labels)) if i not in ranked], sorted(ranked)


def check_shuffled():
    domain = {"count": cases.size("many"), "kind": cases.choice("generator", "list", "endless"), "size": cases.size("size"), "seed": cases.integer(0, 10**6)}
    causes = {
        "at the end the buffer is handed out as it lies: each item is drawn": out_with(drain="order"),
        "at the end another item takes the place of the one that is handed out: those behind it move up, as in `list.pop(i)`": out_with(drain="last first"),
        "the next item takes the place of the one that was handed out: it does not go to the end": out_with(replace="end"),
    }
    hint = "fill the buffer; then draw, hand out and replace at the same place; at the end draw and `pop`; take no more from the stream than is needed"
    drawn = cases.draw(seeds, domain, many=(0, 300), size=(1, 100))
    check.agrees(handed_out, out_by_definition, drawn, "what `shuffled` hands out", hint, causes=causes)


def check_stratified():
    domain = {
        "_seed": cases.integer(1, 10**6),
        "_classes": cases.choice(4, 1, 2, 51),
        "_first": cases.choice("even", "one large", "singles", "sorted", "each size", "halves", "29 % of 50", "35 % of 90", "30 % of 205"),
        "labels": cases.derived(lambda _seed, _classes, _first, _many, **_: some_labels(_seed, _classes, _first, _many)),
        "chance": cases.derived(lambda labels, _seed, **_: [x / len(labels) for x in random.Random(_seed).sample(range(len(labels)), len(labels))]),
        "_percent": cases.choice(20, 1, 25, 50, 10, 30),
        "percent": cases.derived(lambda _percent, _first, **_: {"each size": 43, "halves": 50, "29 % of 50": 29, "35 % of 90": 35, "30 % of 205": 30}.get(_first, _percent)),
    }
    domain = {"_many": cases.size("many"), **domain}
    causes = {
        "29 % of 50 are 14.5, but `29 / 100 * 50` is a little less: reckon with whole numbers": split_with(count=lambda n, percent: 0 if n == 1 else max(1, math.floor(percent / 100 * n + 0.5))),
        "30 % of 205 are 61.5, but `205 / 100 * 30` is a little less: reckon with whole numbers": split_with(count=lambda n, percent: 0 if n == 1 else max(1, math.floor(n / 100 * percent + 0.5))),
        "halves are rounded upwards, but Python's `round` goes to the even number": split_with(count=lambda n, percent: 0 if n == 1 else max(1, round(percent * n / 100))),
        "the number was cut off, not rounded": split_with(count=lambda n, percent: 0 if n == 1 else max(1, percent * n // 100)),
        "a class of two items or more has at least one in the test": split_with(count=lambda n, percent: 0 if n == 1 else (percent * n + 50) // 100),
        "a class with one item has it in train": split_with(count=lambda n, percent: max(1, (percent * n + 50) // 100)),
        "the items with the smallest chance are tested": split_with(largest=True),
        "the share was taken of all items: take it of each class": split_over_all,
    }
    hint = "of each class the rounded share, at least one of two or more, none of one; those with the smallest chance; both lists in increasing order"
    check.agrees(stratified, split_by_definition, cases.draw(seeds, domain, count=10, many=(1, 400)), "`stratified`", hint, causes=causes)


def some_labels(seed, classes, first, many):
    """Labels with classes of all sizes; one that is large, some of a single item, sorted by class, of 43, 1, 2, 3, … items, or of 50, 90 and 205."""
    chance = random.Random(seed)
    labels = [chance.randrange(classes) for _ in range(many)]
    if first == "one large":
        labels = [0 if chance.random() < 0.8 else label for label in labels]
    if first == "singles":
        labels = [min(i, 50) if i % 2 else 0 for i in range(many)]
    if first in ("each size", "halves"):  # 43 % of 43 items are 18.49, 50 % of 5 are 2.5
        labels = [size for size in (43, *range(1, 26)) for _ in range(size)][:many]
        chance.shuffle(labels)
    if "%" in first:  # exact halves that floats miss
        labels = [size for size in (50, 90, 205) for _ in range(size)]
        chance.shuffle(labels)
    return sorted(labels, reverse=True) if first == "sorted" else labels


with check.exercise("order"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"shuffled": check_shuffled, "stratified": check_stratified})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# When is the buffer full for the first time, and what happens to the item that you hold in your hand then? For the split: `round(2.5)` is 2.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `yield`; `list.pop(i)`; `sorted(members, key=lambda i: chance[i])`; whole numbers round halves upwards with `(percent * n + 50) // 100`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# for item in items:
#     if len(buffer) < size:
#         buffer.append(item)
#     else:
#         i = pick(size)
#         yield buffer[i]
#         ...
# while buffer:
#     yield buffer.pop(...)
#
# for members in by_class.values():          # lists of indices
#     count = 0 if len(members) == 1 else max(1, ...)
#     test += sorted(members, key=...)[:count]
# ```
# </details>

# %% [markdown]
# The library does both. Its buffer follows the same algorithm, with a last shuffle in place of the last draws. Its split wants a `ClassLabel` column:

# %%
drawn = random.Random(24)
mine = list(shuffled(range(1000), 100, drawn.randrange))
theirs = [row["number"] for row in numbered.shuffle(seed=24, buffer_size=100)]
for name, order in (("yours", mine), ("the library's", theirs)):
    print(f"{name}: the first hundred rows come from the first {max(order[:100])} of the file, and one is at most {max(x - i for i, x in enumerate(order))} places early")
files = sorted(set(prose["file"]))
labelled = prose.add_column("label", [files.index(file) for file in prose["file"]]).cast_column("label", ClassLabel(names=files))
split = labelled.train_test_split(test_size=0.2, stratify_by_column="label", seed=24)
train, test = stratified(labelled["label"][:], [drawn.random() for _ in range(len(labelled))], 20)
for name, labels in (("the library", split["test"]["label"][:]), ("you", [labelled["label"][i] for i in test])):
    print(f"{name}: {len(labels)} of {len(labelled)} rows in the test set, {labels.count(0)} from {files[0]}")

# %% [markdown]
# ## Part D · Rows for training
#
# **Packing.** Texts of different length in one batch need padding, and padding is computed like text. For pretraining one joins all texts into one long row of ids,
# with an end id behind each, and cuts it into blocks of equal size. Nothing is padded. Two things must not get lost: where a document begins (its positions count from
# 0), and that attention should not look across the border (see Krell et al., 2021, [arXiv:2107.02027](https://arxiv.org/abs/2107.02027)).
#
# **Completion-only labels.** For fine-tuning on questions and answers the model should learn to answer, not to ask. Its labels are a copy of the ids, with -100 where nothing is to
# be learned: the cross-entropy of PyTorch and of `transformers` leaves out that label.
#
# ### Exercise 4 · Pack and mask (`training_rows`, 4 points, 40 minutes, difficulty 2 of 3)
#
# `pack(batch, block, end)` is a function for `map(batched=True)`. `batch` is a dict with the list `"input_ids"` of 1 to 30 documents, each a list of 0 to 60 ids. `block` is
# from 1 to 100, `end` an id. Ids are whole numbers from 0 to 99,999. An id equal to `end` may also occur inside of a document; nothing new begins there.
#
# - The ids of all documents are joined in their order, with `end` behind each document, the last and an empty one
#   too. <!-- rule: joined -->
# - They are cut into blocks of `block` ids. Ids that do not fill a last block are dropped. `"input_ids"` of the result is the list of blocks (lists), perhaps
#   none. <!-- rule: blocks -->
# - `"position_ids"` has a number for each id, in blocks of the same form. In a document it counts 0, 1, 2, …, its end id included. <!-- rule: positions -->
# - A block that begins in the middle of a document, or at its end id, counts from 0 there, too: it cannot see what came before. <!-- rule: restart -->
# - The result is a dict with these two lists. <!-- rule: packed -->
#
# `completion_only(batch, limit, end)` is one, too. `batch` is a dict with the lists `"prompt"` (1 to 30 lists of 0 to 60 ids) and `"completion"` (as many lists of 1 to 60 ids). `limit` is
# from 2 to 100.
#
# - Each row becomes prompt, completion and `end`. `"input_ids"` of the result is the list of these rows. <!-- rule: row -->
# - `"labels"` has the same form: -100 for each id of the prompt; the id itself for the completion and for `end`. <!-- rule: labels -->
# - Where a row would have more than `limit` ids, the prompt loses its **first** ids, so that exactly `limit` remain. The prompt may lose
#   all. <!-- rule: cut -->
# - A row whose completion and `end` alone are more than `limit` ids is left out. <!-- rule: left_out -->
# - The result is a dict with these two lists, perhaps empty. <!-- rule: result -->
#
# The batches stay as they were. Each function earns half of the points.


# %% exercise="training_rows" minutes=40 difficulty=2
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ### BEGIN SOLUTION
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}
    ### END SOLUTION


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    ### BEGIN SOLUTION
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}
    ### END SOLUTION


# %% tests="training_rows" points=4
def packed_by_definition(batch, block, end, restart=True, last=True, keep_rest=False, position=None):
    ids, positions = [], []
    for number, document in enumerate(batch["input_ids"], 1):
        for i, x in enumerate([*document, end] if last or number < len(batch["input_ids"]) else document):
            begins = i == 0 or (restart and len(ids) % block == 0)
            positions.append(0 if begins else positions[-1] + 1)
            ids.append(x)
    if position == "after end":
        positions = []
        for i, x in enumerate(ids):
            positions.append(0 if i % block == 0 or ids[i - 1] == end else positions[-1] + 1)
    if position == "block":
        positions = [i % block for i in range(len(ids))]
    count = math.ceil(len(ids) / block) if keep_rest else len(ids) // block
    return {name: [x[k * block : (k + 1) * block] for k in range(count)] for name, x in (("input_ids", ids), ("position_ids", positions))}


def packed_with(**options):
    return lambda batch, block, end: packed_by_definition(batch, block, end, **options)


def masked_by_definition(batch, limit, end, cut="first", label_end=True, too_long="out"):
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        whole = [(x, -100) for x in prompt] + [(x, x) for x in completion] + [(end, end if label_end else -100)]
        over = len(whole) - limit
        if len(completion) + 1 > limit and too_long == "out":
            continue
        if len(completion) + 1 > limit:  # cut at its end
            whole = whole[len(prompt) :][:limit]
            over = 0
        if over > 0:
            whole = whole[over:] if cut == "first" else whole[: len(prompt)][: max(len(prompt) - over, 0)] + whole[len(prompt) :] if cut == "last of prompt" else whole[:limit]
        rows.append([x for x, _ in whole])
        labels.append([x for _, x in whole])
    return {"input_ids": rows, "labels": labels}


def masked_with(**options):
    return lambda batch, limit, end: masked_by_definition(batch, limit, end, **options)


def prompt_that_stays(batch, limit, end):
    """`prompt[-0:]` is the whole prompt."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        if len(completion) + 1 <= limit:
            prompt = prompt[-(limit - len(completion) - 1) :]
            rows.append([*prompt, *completion, end])
            labels.append([-100] * len(prompt) + [*completion, end])
    return {"input_ids": rows, "labels": labels}


def masked_by_value(batch, limit, end):
    made = masked_by_definition(batch, limit, end)
    prompts = [[x for x, label in zip(*pair) if label == -100] for pair in zip(made["input_ids"], made["labels"])]
    return {**made, "labels": [[-100 if x in known else x for x in row] for row, known in zip(made["input_ids"], prompts)]}


END_INSIDE = 7


def with_end_inside(documents, where):
    """Documents with the end id at some place inside."""
    at = {"nowhere": None, "first": 0, "middle": 1, "last": -1}[where]
    return [[END_INSIDE if at is not None and i == (at * (len(d) // 2) if at >= 0 else len(d) - 1) else x for i, x in enumerate(d)] for d in documents]


def check_pack():
    domain = {
        "_documents": cases.lists(cases.tokens("ids", 50, special=(END_INSIDE,)), "many"),
        "_inside": cases.choice("nowhere", "first", "middle", "last"),
        "_empty": cases.choice("none", "first", "every third", "last", "all"),
        "batch": cases.derived(lambda _documents, _inside, _empty, **_: {"input_ids": with_end_inside(emptied(_documents, _empty), _inside)}),
        "block": cases.choice(8, 1, 2, 25, 100),
        "end": cases.choice(END_INSIDE, 0, 99_999),
    }
    causes = {
        "an id equal to the end id may stand inside of a document: positions follow the documents, not the ids": packed_with(position="after end"),
        "a block that begins in the middle of a document counts from 0": packed_with(restart=False),
        "positions count from 0 at each document, too, not only at each block": packed_with(position="block"),
        "what does not fill the last block is dropped": packed_with(keep_rest=True),
        "the last document has an end id, too": packed_with(last=False),
    }
    hint = "each document and its end id, joined, cut into full blocks; positions from 0 at each document and at each block"
    check.agrees(pack, packed_by_definition, cases.draw(seeds, domain, many=(1, 30), ids=(1, 60)), "`pack`", hint, causes=causes)


def emptied(documents, which):
    """Some of the lists empty."""
    chosen = {"none": lambda i: False, "first": lambda i: i == 0, "every third": lambda i: i % 3 == 2, "last": lambda i: i == len(documents) - 1, "all": lambda i: True}[which]
    return [[] if chosen(i) else document for i, document in enumerate(documents)]


def check_completion_only():
    domain = {
        "_prompts": cases.lists(cases.tokens("ids", 40, special=(END_INSIDE,)), "many"),
        "_completions": cases.lists(cases.tokens("answer", 40, special=(END_INSIDE,)), "others"),
        "_empty": cases.choice("none", "first", "every third", "last", "all"),
        "_fits": cases.choice("as drawn", "prompt to 0", "prompt to 1", "just fits"),
        "_limit": cases.choice(12, 2, 5, 30, 100),
        "batch": cases.derived(lambda _prompts, _completions, _empty, _fits, _limit, **_: some_pairs(_prompts, _completions, _empty, _fits, _limit)),
        "limit": cases.derived(lambda _limit, **_: _limit),
        "end": cases.choice(END_INSIDE, 0, 99_999),
    }
    causes = {
        "`prompt[-0:]` is the whole prompt: where no room is left for it, it is empty": prompt_that_stays,
        "the prompt loses its first ids, not its last ones": masked_with(cut="last of prompt"),
        "the row was cut at its end: it is the prompt that becomes shorter": masked_with(cut="end"),
        "the model must learn to stop: `end` has its label": masked_with(label_end=False),
        "a row whose completion and end are too long is left out": masked_with(too_long="cut"),
        "an id of the prompt may also come in the completion: the labels follow the places": masked_by_value,
    }
    hint = "prompt, completion, end; -100 for the prompt; too long: the prompt loses its first ids, or the row is left out"
    drawn = cases.draw(seeds, domain, many=(1, 30), others=(30, 30), ids=(1, 60), answer=(1, 60))
    check.agrees(completion_only, masked_by_definition, drawn, "`completion_only`", hint, causes=causes)


def some_pairs(prompts, completions, empty, fits, limit):
    """As many prompts and completions; where asked for, so long that they fit just so."""
    prompts = emptied(prompts, empty)
    completions = completions[: len(prompts)]
    for i in range(len(prompts)):
        if fits != "as drawn":
            room = {"prompt to 0": 0, "prompt to 1": 1, "just fits": len(prompts[i])}[fits]
            wanted = max(1, limit - 1 - room)
            completions[i] = (completions[i] * wanted)[:wanted]
    return {"prompt": prompts, "completion": completions}


with check.exercise("training_rows"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"pack": check_pack, "completion_only": check_completion_only})
check.points(4)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# A position is the distance from where something began: the document, or the block, whichever began later. What is `prompt[-n:]` for n = 0?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# Two lists that grow together, ids and positions; `range(len(ids) // block)`; `max(start of the document, i // block * block)`; a slice from the front, `prompt[k:]`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# for document in batch["input_ids"]:
#     begin = len(ids)
#     for token in [*document, end]:
#         i = len(ids)
#         positions.append(i - max(begin, ...))
#         ids.append(token)
# count = len(ids) // block
# return {"input_ids": [ids[k * block : (k + 1) * block] for k in range(count)], ...}
#
# answer = [*completion, end]
# if len(answer) > limit: ...
# too_many = max(0, len(prompt) + len(answer) - limit)
# prompt = prompt[...]
# ```
# </details>

# %% [markdown]
# Now on our prose, with one id for each word that occurs at least twice (lesson 07 has the better tokenizer):

# %%
known = collections.Counter(word for text in prose["text"] for word in text.lower().split())
ids_of = {word: i for i, (word, n) in enumerate(known.most_common(), start=2) if n > 1}
ENDED = 1


def encode(batch):
    return {"input_ids": [[ids_of.get(word, 0) for word in text.lower().split()] for text in batch["text"]]}


encoded = prose.map(encode, batched=True, remove_columns=prose.column_names)
packed = encoded.map(pack, batched=True, fn_kwargs={"block": 128, "end": ENDED}, remove_columns=encoded.column_names)
word_counts = [len(ids) for ids in encoded["input_ids"]]
batches = [word_counts[k : k + 16] for k in range(0, len(word_counts), 16)]
padded = 1 - sum(word_counts) / sum(16 * max(batch) for batch in batches if len(batch) == 16)
lost = sum(n + 1 for n in word_counts) - 128 * len(packed)
print(f"padded in batches of 16: {padded:.0%} of the cells are padding")
print(f"packed: {len(packed)} blocks of 128 without padding; {lost} of {sum(word_counts)} ids lost at the ends of map's batches of 1,000 rows")

questions = {"prompt": [], "completion": []}
for text in list(prose["text"])[:400]:
    words = [ids_of.get(word, 0) for word in text.lower().split()]
    questions["prompt"].append(words[: len(words) // 2])
    questions["completion"].append(words[len(words) // 2 :])
rows = completion_only(questions, 60, ENDED)
picture = np.full((24, 60), 0)
for row, labels in enumerate(rows["labels"][:24]):
    picture[row, : len(labels)] = [2 if label != -100 else 1 for label in labels]
figure, panel = plt.subplots(figsize=(11, 3), layout="constrained")
panel.imshow(picture, aspect="auto", cmap="Blues", interpolation="nearest")
panel.set(xlabel="position (dark: learned, light: prompt, white: padding)", ylabel="row", title="which labels count, with completion-only labels")
plt.show()
learned = sum(label != -100 for labels in rows["labels"] for label in labels) / sum(map(len, rows["labels"]))
print(f"{learned:.0%} of the ids are learned; {len(questions['prompt']) - len(rows['labels'])} of {len(questions['prompt'])} rows were too long")

# %% [markdown]
# What is lost at the end of each batch is the price of packing inside of `map`. A larger `batch_size` loses less.

# %% [markdown]
# ## Part E · The same text again
#
# Web text repeats itself: licences, quotations, mirrors, one article on forty pages. A text that comes often is learned by heart, and copies that fall on both sides of a split
# spoil the test. Lee et al. (2021, [arXiv:2107.06499](https://arxiv.org/abs/2107.06499)) found one sentence of 61 words more than 60,000 times in the C4 data set, and
# models trained without the duplicates recited far less.
#
# Copies that are **equal** are found with a set of hashes, in one pass:


# %%
def normal(text):
    """What stays the same when only case, blanks and punctuation change."""
    return " ".join(re.findall(r"\w+", text.lower()))


def digest(text):
    return hashlib.blake2b(normal(text).encode(), digest_size=8).hexdigest()


seen = set()
first_time = [not (key in seen or seen.add(key)) for key in map(digest, prose["text"])]
unique = prose.select([i for i, new in enumerate(first_time) if new])
per_file = {file: [n for f, n in zip(prose["file"], first_time) if f == file] for file in files}
for file, new in per_file.items():
    print(f"{file}: {1 - sum(new) / len(new):.0%} of {len(new)} texts had come before")

# %% [markdown]
# One changed word, and the hash is another one. **Near-duplicates** are found by what they share. Take the set of all runs of three words of a text (its **shingles**). Two texts
# are as similar as their sets overlap: the **Jaccard** similarity $|A \cap B| / |A \cup B|$. For a million texts that would be $5 \cdot 10^{11}$ comparisons of sets.
#
# **MinHash** (Broder, *On the resemblance and containment of documents*, 1997) replaces a set by a few numbers. Take a hash function, and keep the smallest
# hash of the set. For two sets this minimum is the same exactly where the smallest hash of the union lies in both, so with the probability of their Jaccard
# similarity. With $k$ hash functions, the share of equal minima estimates it. A family that is good enough and cheap: $h(x) = (a x + b) \bmod p$ with a prime $p$.
#
# **Banding** then spares the comparisons. Cut the $k$ minima into $b$ bands of $r$. Two texts are **candidates** where all $r$ minima of some band agree: that is a look-up in a dict. With
# similarity $s$ this happens with the probability $1 - (1 - s^r)^b$: an S-curve, flat at both ends, steep near $(1/b)^{1/r}$. Only candidates are compared.

# %%
PRIME = 2**31 - 1  # a product of two numbers below it fits into int64


def shingle_values(text, size=3):
    """Each run of `size` words of a text as a number below PRIME: a sorted int64 array without repetition."""
    words = normal(text).split()
    runs = {" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}
    values = {int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") % PRIME for run in runs}
    return np.array(sorted(values), dtype=np.int64)


# %% [markdown]
# ### Exercise 5 · MinHash and clusters (`near_duplicates`, 4 points, 45 minutes, difficulty 3 of 3)
#
# `signature(values, a, b)` gives the MinHash signature of one text. `values` is an int64 array of 0 to 700 numbers from 0 to PRIME - 1 (numbers may repeat); `a` and `b` are int64 arrays of k numbers each, k from 1 to 130,
# those of `a` from 1 to PRIME - 1, those of `b` from 0 to PRIME - 1. The arrays need not be contiguous.
#
# - Number j of the result is the smallest of all `(a[j] * x + b[j]) % PRIME` for x in `values`. <!-- rule: minimum -->
# - The products are exact (they fit into int64, not into int32 or into a float). <!-- rule: exact -->
# - The result is an int64 array of shape [k]. <!-- rule: array -->
# - Without values each number is PRIME, which no hash can be. <!-- rule: no_values -->
#
# `clusters(signatures, bands, similarity, threshold)` groups texts. `signatures` is an int64 array [texts, k] of 1 to 40 texts; `bands` divides k. Band 0 is the first `k // bands` columns, band 1 the next, and so
# on. `similarity(i, j)` gives the exact similarity of texts i and j (i is not j; the order does not matter): it reads both texts again, so it is dear. `threshold` is a float.
#
# - Two texts are candidates if in at least one band, the same band for both, all their numbers agree. <!-- rule: bands -->
# - `similarity` is asked about candidates only, and about each pair at most once, where (i, j) and (j, i) are the same pair. A pair need not be asked about where the answer cannot change
#   the result. <!-- rule: asked -->
# - Candidates whose similarity is `threshold` or more belong together. <!-- rule: threshold -->
# - Whoever belongs together with a member of a cluster is in that cluster, too. So two texts of one cluster need not be similar themselves. <!-- rule: chains -->
# - It returns a list with one number a text: the smallest index in its cluster. A text that is alone has its own index. <!-- rule: clusters -->
#
# The arrays stay as they were. Each function earns half of the points.


# %% exercise="near_duplicates" minutes=45 difficulty=3
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    ### BEGIN SOLUTION
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)
    ### END SOLUTION


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
    ### BEGIN SOLUTION
    texts, k = signatures.shape
    rows = k // bands
    candidates = set()
    for band in range(bands):
        places = collections.defaultdict(list)
        for i in range(texts):
            places[tuple(signatures[i, band * rows : (band + 1) * rows].tolist())].append(i)
        for members in places.values():
            candidates.update(itertools.combinations(members, 2))
    leader = list(range(texts))
    for i, j in sorted(candidates):
        one, other = sorted((leader[i], leader[j]))
        if one != other and similarity(i, j) >= threshold:
            leader = [one if x == other else x for x in leader]
    return leader
    ### END SOLUTION


# %% tests="near_duplicates" points=4
@check.scenario
def clustered(signatures, bands, table, threshold):
    """What `clusters` returns, and the pairs about which it asked."""
    asked = []

    def similarity(i, j):
        asked.append([int(i), int(j)])
        return table[int(i)][int(j)]

    before = signatures.copy()
    return {"clusters": clusters(signatures, bands, similarity, threshold), "asked": asked, "unchanged": bool((signatures == before).all())}


def what_comes(*case):
    seen = clustered(*case)
    return {"clusters": seen["clusters"], "signatures unchanged": seen["unchanged"]}


def what_is_asked(signatures, bands, table, threshold):
    pairs = [tuple(sorted(pair)) for pair in clustered(signatures, bands, table, threshold)["asked"]]
    beside = set(pairs) - candidates_of(signatures, bands)
    twice = {pair for pair, n in collections.Counter(pairs).items() if n > 1}
    return {"pairs that share no band": sorted(beside)[:3], "pairs asked about twice": sorted(twice)[:3]}


def nothing_dear(signatures, bands, table, threshold):
    return {"pairs that share no band": [], "pairs asked about twice": []}


def candidates_of(signatures, bands, agree="all", places="same"):
    rows = signatures.shape[1] // bands
    texts = signatures.tolist()
    cut = [[tuple(text[k * rows : (k + 1) * rows]) for k in range(bands)] for text in texts]
    found = set()
    for i, j in itertools.combinations(range(len(texts)), 2):
        if agree == "any":
            same = any(x == y for x, y in zip(texts[i], texts[j]))
        elif agree == "every band":
            same = texts[i] == texts[j]
        else:
            same = bool(set(cut[i]) & set(cut[j])) if places == "any" else any(x == y for x, y in zip(cut[i], cut[j]))
        if same:
            found.add((i, j))
    return found


def clusters_by_definition(signatures, bands, table, threshold, chains=True, test=lambda s, t: s >= t, number=False, **candidates):
    edges = [pair for pair in candidates_of(signatures, bands, **candidates) if test(table[pair[0]][pair[1]], threshold)]
    leader = list(range(len(table)))
    if not chains:
        for i, j in sorted(edges):
            leader[j] = min(leader[j], i)
    while chains:
        better = list(leader)
        for i, j in edges:
            better[i] = better[j] = min(better[i], better[j])
        if better == leader:
            break
        leader = better
    if number:
        leader = [sorted(set(leader)).index(x) for x in leader]
    return {"clusters": leader, "signatures unchanged": True}


def clusters_with(**options):
    return lambda *arguments: clusters_by_definition(*arguments, **options)


def some_signatures(texts, bands, rows, seed, kind):
    """Small numbers, so that bands agree now and then; `kind`: all texts equal, equal in pairs, or a chain of neighbours."""
    chance = random.Random(seed)
    share = min(0.3, 2.5 / texts)
    high = max(2, math.ceil((bands / share) ** (1 / rows)))
    made = [[chance.randrange(high) for _ in range(bands * rows)] for _ in range(texts)]
    if kind == "equal":
        made = [made[0] for _ in made]
    if kind == "pairs":
        made = [made[i // 2] for i in range(texts)]
    if kind == "chain":  # neighbours share one band, in an order that jumps
        order = list(range(texts))
        chance.shuffle(order)
        for i, j in zip(order, order[1:]):
            band = chance.randrange(bands)
            made[j][band * rows : (band + 1) * rows] = made[i][band * rows : (band + 1) * rows]
    return np.array(made, dtype=np.int64) * 1_000_003 % PRIME


def some_similarities(texts, threshold, seed):
    chance = random.Random(seed)
    table = [[1.0] * texts for _ in range(texts)]
    for i, j in itertools.combinations(range(texts), 2):
        table[i][j] = table[j][i] = chance.choice([threshold, 1.0, threshold + 0.01, threshold - 0.01, 0.0])
    return table


def signature_by_definition(values, a, b):
    rows = [[(int(x) * p + q) % PRIME for x in values] for p, q in zip(a.tolist(), b.tolist())]
    return np.array([min(row, default=PRIME) for row in rows], dtype=np.int64)


def signature_with(compute, empty=PRIME):
    return lambda values, a, b: np.array([min((int(compute(int(x), p, q)) for x in values), default=empty) for p, q in zip(a.tolist(), b.tolist())], dtype=np.int64)


def check_signature():
    numbers = {"dtypes": ("int64",), "high": PRIME - 1}
    domain = {"values": cases.array("n", **numbers), "a": cases.array("k", low=1, **numbers), "b": cases.array("k", **numbers)}
    causes = {
        "the remainder by PRIME is missing": signature_with(lambda x, p, q: p * x + q),
        "b is added before the remainder is taken": signature_with(lambda x, p, q: p * x % PRIME + q),
        "b is part of the hash": signature_with(lambda x, p, q: p * x % PRIME),
        "products as floats lose their last digits": signature_with(lambda x, p, q: (float(p) * float(x) + q) % PRIME),
        "without values each number is PRIME, so that it is no hash": signature_with(lambda x, p, q: (p * x + q) % PRIME, empty=0),
    }
    hint = "the smallest of all (a[j] * x + b[j]) % PRIME, PRIME where there is no x; int64, one number for each j"
    check.agrees(signature, signature_by_definition, cases.draw(seeds, domain, n=(0, 700), k=(1, 130)), "`signature`", hint, causes=causes)


def check_clusters():
    domain = {
        "_texts": cases.size("texts"),
        "_bands": cases.choice(4, 1, 2, 9),
        "_rows": cases.choice(2, 1, 3),
        "_seed": cases.integer(1, 10**6),
        "_kind": cases.choice("any", "equal", "pairs", "chain"),
        "signatures": cases.derived(lambda _texts, _bands, _rows, _seed, _kind, **_: some_signatures(_texts, _bands, _rows, _seed, _kind)),
        "bands": cases.derived(lambda _bands, **_: _bands),
        "_threshold": cases.choice(0.75, 0.5, 0.25),
        "table": cases.derived(lambda _texts, _threshold, _seed, **_: some_similarities(_texts, _threshold, _seed), "a table of similarities"),
        "threshold": cases.derived(lambda _threshold, **_: _threshold),
    }
    causes = {
        "candidates were taken for duplicates: ask `similarity`": clusters_with(test=lambda s, t: True),
        "a similarity equal to the threshold is enough": clusters_with(test=lambda s, t: s > t),
        "a cluster holds all who are joined by a chain, not only direct neighbours": clusters_with(chains=False),
        "a band is compared with the same band of the other text, not with any": clusters_with(places="any"),
        "all numbers of a band must agree, not one of them": clusters_with(agree="any"),
        "one band that agrees is enough": clusters_with(agree="every band"),
        "a cluster is named by its smallest index, not by a number of its own": clusters_with(number=True),
    }
    hint = "candidates agree in a whole band; `similarity` decides; a cluster is all that hangs together, named by its smallest index"
    drawn = list(cases.draw(seeds, domain, count=12, texts=(1, 40)))
    check.agrees(what_comes, clusters_by_definition, drawn, "what `clusters` gives", hint, causes=causes)
    check.agrees(what_is_asked, nothing_dear, drawn, "about what `clusters` asks without need,", "ask about candidates only, and about each pair once")


with check.exercise("near_duplicates"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"signature": check_signature, "clusters": check_clusters})
check.points(4)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Broadcasting makes a table [k, values] of hashes in one line. What is the minimum of an empty row? For the clusters: first collect the candidate pairs of all bands in one set, then
# ask about each pair once.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `a[:, None] * values[None, :]`; `min(axis=1, initial=PRIME)`. A dict from `tuple(band)` to indices, a new one for each band; `itertools.combinations(members, 2)`. To join two clusters, give all members of one the
# name of the other.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# for band in range(bands):
#     places = collections.defaultdict(list)
#     for i in range(texts):
#         key = tuple(signatures[i, band * rows : (band + 1) * rows].tolist())
#         places[key].append(i)
#     for members in places.values():
#         candidates.update(itertools.combinations(members, 2))
# leader = list(range(texts))
# for i, j in sorted(candidates):
#     if similarity(i, j) >= threshold:
#         one, other = sorted((leader[i], leader[j]))
#         leader = ...                               # who had `other` now has `one`
# ```
# </details>

# %% [markdown]
# Now on 500 texts, 60 of them **planted**: copies of others in which a few words were exchanged, or a sentence was put in front. Since 500 texts make
# only some 125,000 pairs, we can also compare all of them, and so know what there is to find.

# %%
BANDS, ROWS = 24, 4
source = np.random.default_rng(24)
A, B = source.integers(1, PRIME, BANDS * ROWS), source.integers(0, PRIME, BANDS * ROWS)


def edited(text, chance):
    """The text with one to three words exchanged, or with a sentence in front."""
    words = text.split()
    for _ in range(chance.randint(1, 3)):
        words[chance.randrange(len(words))] = chance.choice(["data", "model", "value", "never"])
    return " ".join(["As the documentation says:"] * chance.randint(0, 1) + words)


chance = random.Random(24)
long_ones = [i for i, text in enumerate(unique["text"]) if len(text.split()) >= 40]
originals = chance.sample(long_ones, 440)
corpus = [unique[i]["text"] for i in originals]
planted = {440 + n: n for n in range(60)}  # copy -> original
corpus += [edited(corpus[original], chance) for original in planted.values()]

sets = [set(shingle_values(text).tolist()) for text in corpus]


@functools.cache
def similarity_of(i, j):
    return len(sets[i] & sets[j]) / len(sets[i] | sets[j])


true_pairs = {pair for pair in itertools.combinations(range(500), 2) if similarity_of(*pair) >= 0.6}
signatures = np.stack([signature(shingle_values(text), A, B) for text in corpus])
questions_asked = []


def noted(i, j):
    questions_asked.append((i, j))
    return similarity_of(*sorted((int(i), int(j))))


leaders = clusters(signatures, BANDS, noted, 0.6)
found_pairs = {(i, j) for i, j in itertools.combinations(range(500), 2) if leaders[i] == leaders[j]}


def precision_recall(found, true):
    """Both of two sets; 1 where there is nothing to find or nothing found."""
    hits = len(found & true)
    return hits / len(found) if found else 1.0, hits / len(true) if true else 1.0


pairs_precision, pairs_recall = precision_recall(found_pairs, true_pairs)
planted_found = sum(leaders[copy] == leaders[original] for copy, original in planted.items()) / len(planted)
print(f"{len(true_pairs)} pairs with a similarity of 0.6 or more: precision {pairs_precision:.2f}, recall {pairs_recall:.2f}")
print(f"{planted_found:.0%} of the planted copies found, with {len(questions_asked)} exact comparisons in place of {math.comb(500, 2)}")

# %% [markdown]
# How many pairs become candidates follows the S-curve. Here are all pairs that share anything, by their true similarity, beside the formula, for three ways to cut 96 minima:

# %%
pairs = [(pair, similarity_of(*pair)) for pair in itertools.combinations(range(500), 2)]
pairs = [(i, j, s) for (i, j), s in pairs if s > 0.02]
edges = np.linspace(0, 1, 11)
figure, panel = plt.subplots(figsize=(8, 3.6), layout="constrained")
for (bands, per_band), colour in zip(((48, 2), (24, 4), (6, 16)), ("C0", "C1", "C2")):
    share = np.linspace(0, 1, 101)
    panel.plot(share, 1 - (1 - share**per_band) ** bands, colour, label=f"{bands} bands of {per_band}: formula")
    cut = signatures.reshape(500, bands, per_band)
    hit = [bool((cut[i] == cut[j]).all(axis=1).any()) for i, j, _ in pairs]
    place = np.digitize([s for *_, s in pairs], edges)
    bins = [k for k in range(1, 11) if (place == k).sum() >= 5]
    middle = [np.mean([s for (*_, s), p in zip(pairs, place) if p == k]) for k in bins]
    panel.plot(middle, [np.mean([h for h, p in zip(hit, place) if p == k]) for k in bins], colour + "o", label=f"{bands} bands of {per_band}: measured")
panel.set(xlabel="Jaccard similarity of a pair", ylabel="share that becomes a candidate", title="banding")
panel.legend(fontsize=8)
plt.show()

# %% [markdown]
# Some points rest on a handful of pairs, and such pairs often share the same phrase, so they may lie off the curve.
#
# Few rows a band catch nearly everything, and make many pairs that must be compared in vain. Many rows a band save comparisons and miss what was edited more. Choose the cut so that the steep part lies a little
# **below** your threshold: a wrong candidate costs one comparison, a missed one is never seen again.
#
# ## Part F · What must not be in there
#
# **Personal data.** What is in the training set can come out again: Carlini et al. (2021, [arXiv:2012.07805](https://arxiv.org/abs/2012.07805)) made GPT-2 recite names, telephone numbers and addresses of
# real people. Finding such data is a trade between **recall** (of those that are there, how many are found) and **precision** (of those found, how many are real). Masking a version
# number as if it were an address does little harm once, and spoils a corpus about software.
#
# ### Exercise 6 · Personal data (`personal`, 3 points, 40 minutes, difficulty 2 of 3)
#
# Write `find_personal(text)`. `text` is a string of 1 to 600 characters of English prose in ASCII with 0 to 6 items. It returns a list of tuples `(kind, start, end)`, such that `text[start:end]` is the
# item, and kind one of these:
#
# - `"email"`: `local@domain`. The local part has 1 to 20 letters, digits or `. _ % + -`. The domain has two to four parts of 1 to 10 letters, digits or hyphens, joined by dots, the last of 2 to 10 letters
#   alone. The local part and each part of the domain begin and end with a letter or digit. Not one: `root@localhost`, `pip@24.10`, `x@y.z`, `x@host.net1`, `@app.route`. <!-- rule: email -->
# - `"ip"`: four whole numbers from 0 to 255, joined by dots (none has a zero in front). Not one: `256.1.1.1`, `1.2.3`. <!-- rule: ip -->
# - `"phone"`, first form: `+` and then 8 to 15 digits, in one to six groups with a single blank or hyphen between two groups, as `+44 20 7946 0958` or `+1-555 0123456`. Not one:
#   `+12 345`, `+1234567890123456`. <!-- rule: international -->
# - `"phone"`, second form: ten digits as `555-012-3456`, `555.012.3456` or `(555) 012-3456`. Not one: `5550123456`, `555-012.3456`, `(555)012-3456`, `2026-11-30`. <!-- rule: national -->
# - An item is not part of something longer: directly before and behind it stands no letter and no digit, and no hyphen or dot that joins it to a further letter or digit. So `1.2.3.4.5`, `v1.2.3.4`, `web-1.2.3.4`,
#   `1.2.3.4-rc2`, `1555-012-34567`, `978-555-012-3456`, `555-012-3456-x`, `+12345678x` and `ada@example.org-1` hold none. <!-- rule: whole -->
# - Items do not overlap: what lies in an item of the first form is not one more of the second. <!-- rule: overlap -->
# - The tuples come in the order of `start`. <!-- rule: ordered -->
#
# Items and look-alikes stand between blanks, in round brackets, before one of `. , ;`, or at an end of the text; at least one word of letters stands between two. Your function is tried on several hundred texts.
# For each kind precision and recall must both be at least 0.98 (an item counts as found where kind, start and end are right); each kind earns a third of the points. Every form and every look-alike named above
# is frequent enough to matter.


# %% exercise="personal" minutes=40 difficulty=2
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    ### BEGIN SOLUTION
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])
    ### END SOLUTION


# %% tests="personal" points=3
def part(chance, size, inner):
    """A part of an address: letters and digits, and between its ends `inner`, too."""
    ends = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789"
    return "".join(chance.choice(ends + inner * 3 if 0 < i < size - 1 else ends) for i in range(size))


def in_groups(chance, most=6, marks=" -"):
    """The first form of a number: 8 to 15 digits in one to `most` groups."""
    count = chance.randint(8, 15)
    cuts = set(chance.sample(range(1, count), chance.randint(1, most) - 1))
    return "+" + "".join(chance.choice(marks) * (i in cuts) + str(chance.randrange(i == 0, 10)) for i in range(count))


def item(kind, chance):
    """An item, or something like one (then None as kind)."""
    d = lambda n: "".join(chance.choice("0123456789") for _ in range(n))
    word = lambda: "".join(chance.choice("abcdefghijklmnop") for _ in range(chance.randint(3, 7)))
    number = lambda: str(chance.choice([0, 1, 9, 10, 99, 100, 199, 200, 249, 250, 255, chance.randrange(256)]))
    ip = lambda: ".".join(number() for _ in range(4))
    other_ip = lambda place, value: ".".join(str(value) if i == place else number() for i in range(4))
    national = lambda: chance.choice([f"{d(3)}-{d(3)}-{d(4)}", f"{d(3)}.{d(3)}.{d(4)}"])
    last = lambda size: "".join(chance.choice("abcdefghijklmnopABC") for _ in range(size))
    domain = lambda parts: "".join(part(chance, chance.randint(1, 10), "-") + "." for _ in range(parts - 1)) + last(chance.choice([2, 3, 4, 5, 6, 10]))
    real = {
        "email": [
            lambda: f"{word()}.{word()}@{word()}.org",
            lambda: f"{word().title()}@{word().upper()}.INFO",
            lambda: f"{word()}+{d(2)}@{word()}-{d(1)}.{word()}.co.uk",
            lambda: f"{part(chance, chance.choice([1, 1, 2, 20]), '._%+-')}@{domain(2)}",
            lambda: f"{part(chance, chance.randint(8, 20), '._%+-')}@{domain(chance.choice([2, 3, 4]))}",
            lambda: f"{word()}@{word()}.{last(chance.randint(5, 10))}",
        ],
        "ip": [ip, ip, lambda: f"{d(1)}.{d(1)}.{d(1)}.{d(1)}", lambda: "255.255.255.255", lambda: f"192.0.2.{number()}"],
        "phone": [
            lambda: in_groups(chance),
            lambda: in_groups(chance),
            lambda: in_groups(chance),
            lambda: f"+1-555-{d(3)}-{d(4)}",
            lambda: f"+1 555-{d(3)}-{d(4)}",
            lambda: f"+{chance.randint(1, 9)}{d(chance.choice([7, 14]))}",
            lambda: f"{d(3)}-{d(3)}-{d(4)}",
            lambda: f"{d(3)}.{d(3)}.{d(4)}",
            lambda: f"({d(3)}) {d(3)}-{d(4)}",
        ],
    }
    like = {
        "email": [
            lambda: f"{word()}@localhost",
            lambda: f"{word()}@{d(2)}.{chance.choice(['0', '10'])}",
            lambda: f"{word()}@{word()}.{chance.choice('abc')}",
            lambda: f"{word()}@{word()}.{chance.choice(['n', 'net', 'com'])}{d(1)}",
            lambda: f"@{word()}.{word()}",
            lambda: f"{word()}@{word()}.org-{chance.choice('1x')}",
        ],
        "ip": [
            lambda: other_ip(chance.choice([0, 3]), chance.choice([256, chance.randint(257, 999)])),
            lambda: other_ip(chance.choice([1, 2]), chance.choice([256, chance.randint(257, 999)])),
            lambda: ip().rsplit(".", 1)[0],
            lambda: f"{ip()}.{number()}",
            lambda: f"v{ip()}",
            lambda: f"{word()}-{ip()}",
            lambda: f"{ip()}-rc{d(1)}",
        ],
        "phone": [
            lambda: f"+{d(2)} {d(chance.choice([3, 5]))}",
            lambda: f"+{chance.randint(1, 9)}{d(15)}",
            lambda: d(10),
            lambda: chance.choice([f"{d(3)}-{d(3)}.{d(4)}", f"{d(3)}.{d(3)}-{d(4)}"]),
            lambda: f"({d(3)}){d(3)}-{d(4)}",
            lambda: f"20{d(2)}-11-30",
            lambda: f"1{d(3)}-{d(3)}-{d(5)}",
            lambda: f"978-{d(3)}-{d(3)}-{d(4)}",
            lambda: f"{national()}-x",
            lambda: f"{in_groups(chance, most=1)}x",
        ],
    }
    true = chance.random() < 0.6
    return (kind if true else None), chance.choice((real if true else like)[kind])()


def personal_texts(seed, count):
    """Texts with their items, [(text, [(kind, start, end)])], from short to long."""
    chance, made = random.Random(seed), []
    for _ in range(count):
        text, items = chance.choice(["", "Please ", "The log says "]), []
        for _ in range(chance.choice([0, 1, 1, 2, 3, 4, 6])):
            kind, value = item(chance.choice(["email", "ip", "phone"]), chance)
            lead, tail = chance.choice([("write to ", " today"), ("see (", ") there"), ("or ", ", perhaps"), ("use ", "."), ("from ", "; then"), ("ask: ", "")])
            text += lead if text or "(" in lead or chance.random() < 0.5 else ""
            if kind:
                items.append((kind, len(text), len(text) + len(value)))
            text += value + tail + chance.choice([" and ", "\n", " "])
        made.append((text.rstrip() if chance.random() < 0.5 and text.strip() else text + "nothing here", items))
    return sorted(made, key=lambda pair: len(pair[0]))


def check_kind(kind):
    hits, missed, false, count = 0, [], [], 0
    for seed in seeds:
        for text, items in personal_texts(seed, 250):
            found = find_personal(text)
            check.kind(found, list, "what `find_personal` returns")
            for entry in found:
                good = isinstance(entry, tuple) and len(entry) == 3 and entry[0] in ("email", "ip", "phone") and all(type(x) is int for x in entry[1:])
                check.true(good, f"`find_personal` returns a list that holds {entry!r}, expected tuples (kind, start, end) with kind 'email', 'ip' or 'phone'")
            check.true([x[1] for x in found] == sorted(x[1] for x in found), f"the tuples are not in the order of start: {found} in {text!r}")
            mine, true = [x for x in found if x[0] == kind], [x for x in items if x[0] == kind]
            hits += len(set(mine) & set(true))
            count += len(true)
            missed += [(text[start:end], text) for name, start, end in true if (name, start, end) not in mine]
            false += [(text[start:end], text) for _, start, end in mine if (kind, start, end) not in true or mine.count((kind, start, end)) > 1]
    recall, precision = hits / count, hits / max(hits + len(false), 1)
    for name, value, wrong, word in (("recall", recall, missed, "missed"), ("precision", precision, false, "falsely found")):
        if value < 0.98:
            examples = "; ".join(f"{one!r} in {text[max(0, text.find(one) - 12) : text.find(one) + len(one) + 12]!r}" for one, text in wrong[:3])
            check.true(False, f"the {name} for {kind} is {value:.3f}, expected at least 0.98. Of {count} items {len(missed)} were missed, and {len(false)} falsely found. Some {word}: {examples}")


with check.exercise("personal"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({kind: functools.partial(check_kind, kind) for kind in ("email", "ip", "phone")})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Write a pattern for the item alone first, and then ask what may stand directly before and behind it. `\b` lies between `4` and `.`, so it does not help with `1.2.3.4.5`. That a number is at most 255 is easier checked in Python than in
# a pattern.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `re.finditer`, `match.span()`. Look-behind `(?<![\w.+-])` and look-ahead `(?![\w-]|\.\w)` check the surroundings without taking them. Alternatives in one pattern, `one|other`, are tried from left to right and never overlap.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
# email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
# ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind          # and each number at most 255
# phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|...)" + behind    # and 8 to 15 digits after a +
# for match in re.finditer(email, text):
#     found.append(("email", *match.span()))
# ```
# </details>

# %% [markdown]
# On text that was not made for it: our corpus, where nobody planted anything. Look at what is found. Documentation gives examples, so an address may be nobody's, and the id of a message has the form of
# an address without being one:

# %%
findings = [(kind, text[start:end]) for text in prose["text"] for kind, start, end in find_personal(text)]
print(dict(collections.Counter(kind for kind, _ in findings)) or "nothing", "found in", len(prose), "texts, for example:")
for kind, value in sorted(set(findings))[:6]:
    print(f"  {kind}: {value}")


def masked(text):
    """The text with a marker in the place of each finding."""
    for kind, start, end in reversed(find_personal(text)):
        text = f"{text[:start]}<{kind}>{text[end:]}"
    return text


print(masked("Ask ada@example.org or +44 20 7946 0958, from 192.0.2.7 (not 4.8.5)."))

# %% [markdown]
# **Leaks.** A test text that was in the training set measures memory. It need not be there whole: GPT-3's authors looked for runs of 13 words that a test
# shared with the training text (Brown et al., 2020, appendix C, [arXiv:2005.14165](https://arxiv.org/abs/2005.14165)). Such a check is simple, and it has its traps: a run must not reach from one text into the next, and a test text shorter than
# the run can leak, too.
#
# ### Exercise 7 · Leaks (`leaks`, 2 points, 20 minutes, difficulty 2 of 3)
#
# Write `leaks(train, test, run)`. `train` and `test` are lists of 0 to 30 texts, `run` is from 1 to 20. The words of a text are `re.findall(r"\w+", text.lower())`.
#
# - It returns the list of the indices of all test texts that leak, in increasing order. <!-- rule: listed -->
# - A test text leaks if `run` of its words in a row stand in a row in one training text, too. <!-- rule: run -->
# - A test text with fewer words than `run`, but at least one, leaks if **all** its words stand in this order in a row in one training text. <!-- rule: short -->
# - A test text without words does not leak. <!-- rule: wordless -->
# - Whole words count: `art` does not stand in `start`. Case and punctuation do not count. <!-- rule: words -->
# - Words of two training texts never make one run. <!-- rule: apart -->


# %% exercise="leaks" minutes=20 difficulty=2
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    ### BEGIN SOLUTION
    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and runs(words, size) & seen[size]:
            found.append(i)
    return found
    ### END SOLUTION


# %% tests="leaks" points=2
def leaks_by_definition(train, test, run, short="all", across=False, case=True, parts=False, ordered=True, wordless=False):
    def words(text):
        return re.findall(r"\w+", text.lower()) if case else text.split()

    known = [words(text) for text in train]
    if across:
        known = [[word for text in known for word in text]]
    lines = [f" {' '.join(text)} " for text in known]
    found = []
    for i, text in enumerate(test):
        mine = words(text)
        size = min(run, len(mine)) if short == "all" else run
        if not mine:
            found += [i] * wordless
            continue
        cut = [mine[k : k + size] for k in range(len(mine) - size + 1)]
        if ordered:
            blank = "" if parts else " "
            hit = any(f"{blank}{' '.join(each)}{blank}" in line for each in cut for line in lines)
        else:
            hit = any(set(each) <= set(text) for each in cut for text in known)
        found += [i] * hit
    return found


def leaks_with(**options):
    return lambda train, test, run: leaks_by_definition(train, test, run, **options)


def leaky_texts(seed, trains, tests, run, kind):
    """Train and test texts, in which about half of the test texts leak, or nearly do, in the way of `kind`."""
    chance = random.Random(seed)
    vocabulary = "a art start the of value name class for while x1 naïve 漢字 list re_turn int"
    draw = lambda n: [chance.choice(vocabulary.split()) for _ in range(n)]
    train = [draw(chance.randint(1, 2 * run + 6)) for _ in range(trains)]
    test = []
    for i in range(tests):
        words = draw(chance.randint(1, run + 6)) if kind != "no words" or i % 2 else []
        size = run if kind != "short" else chance.randint(1, run)
        long_ones = [text for text in train if len(text) >= size]
        if i % 3 and long_ones and words:
            text = chance.choice(long_ones)
            begin = chance.choice([0, len(text) - size, chance.randint(0, len(text) - size)])
            copied = list(text[begin : begin + size])
            if kind == "one less":
                copied = copied[:-1] + ["zebra"]
            if kind == "other order":
                chance.shuffle(copied)
            if kind == "parts of words":
                copied[0], copied[-1] = copied[0][-1:], copied[-1][:1]
            if kind == "across" and len(train) > 1:
                place = chance.randrange(len(train) - 1)
                half = max(1, size // 2)
                copied = train[place][-half:] + train[place + 1][: size - half]
            around = draw(chance.choice([0, 2])) if kind != "short" else []
            words = around + copied + around
        test.append(words)
    dressed = lambda words: "".join((word.upper() if chance.random() < 0.2 else word) + chance.choice([" ", " ", ", ", " - ", "\n"]) for word in words)
    empty = lambda words: chance.choice(["", " ... ", "?!"]) if not words else dressed(words)
    return [empty(words) for words in train], [empty(words) for words in test]


with check.exercise("leaks"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "_seed": cases.integer(1, 10**6),
        "_run": cases.choice(3, 1, 2, 8, 20),
        "_kind": cases.choice("plain", "one less", "other order", "short", "no words", "parts of words", "across"),
        "_drawn": cases.derived(lambda _seed, _run, _kind, _trains, _tests, **_: leaky_texts(_seed, _trains, _tests, _run, _kind)),
        "train": cases.derived(lambda _drawn, **_: _drawn[0]),
        "test": cases.derived(lambda _drawn, **_: _drawn[1]),
        "run": cases.derived(lambda _run, **_: _run),
    }
    domain = {"_trains": cases.size("trains"), "_tests": cases.size("tests"), **domain}
    causes = {
        "a test text shorter than `run` leaks where all its words stand in a row": leaks_with(short="never"),
        "a run does not reach from one training text into the next": leaks_with(across=True),
        "case and punctuation do not count: the words are `re.findall(r'\\w+', text.lower())`": leaks_with(case=False),
        "whole words count, not parts of them": leaks_with(parts=True),
        "the words must stand in the same order in a row": leaks_with(ordered=False),
        "a text without words does not leak": leaks_with(wordless=True),
    }
    hint = "the indices of those that share `run` words in a row (or all, where they have fewer) with one training text"
    drawn = cases.draw(seeds, domain, count=16, trains=(0, 30), tests=(0, 30))
    check.agrees(leaks, leaks_by_definition, drawn, "`leaks`", hint, causes=causes)


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# A set of all runs of a length answers "does this run stand in some training text?" at once. Which length do you need for a test text of four words, where `run` is 8?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `tuple(words[i : i + size])` can be in a set. `min(run, len(words))`. `set.isdisjoint`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# def runs(words, size):
#     return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}
#
# for i, text in enumerate(test):
#     words = re.findall(r"\w+", text.lower())
#     size = min(run, len(words))
#     if size and any(runs(words, size) & runs(known, size) for known in train_words):
#         ...
# ```
# (Keep the sets of the training texts by size, and it is fast.)
# </details>

# %% [markdown]
# The paragraphs of the reference come again and again, under several topics. Split them at random, and see what the test set is worth; then split whole clusters:

# %%
texts_of = [text for text, file in zip(prose["text"], prose["file"]) if file == "reference.jsonl"][:700]
chance = random.Random(24)
by_row = [chance.random() < 0.2 for _ in texts_of]
sets_of = [set(shingle_values(text).tolist()) for text in texts_of]
groups = clusters(
    np.stack([signature(shingle_values(text), A, B) for text in texts_of]), BANDS, lambda i, j: len(sets_of[i] & sets_of[j]) / len(sets_of[i] | sets_of[j]), 0.5
)
tested = {leader for leader in set(groups) if chance.random() < 0.2}
by_cluster = [leader in tested for leader in groups]
leak_share = {}
for name, sides in (("row by row", by_row), ("cluster by cluster", by_cluster)):
    train = [text for text, side in zip(texts_of, sides) if not side]
    test = [text for text, side in zip(texts_of, sides) if side]
    leak_share[name] = len(leaks(train, test, 13)) / len(test)
    print(f"split {name}: {leak_share[name]:.0%} of {len(test)} test texts share 13 words in a row with the training set")

# %% [markdown]
# What is left after the split by clusters are texts that share a sentence, and are otherwise different. These few you drop from the test set, as the course's own
# `data.load("reference")` does.
#
# ### Exercise 8 · Test a splitter (`check_split`, 3 points, 30 minutes, difficulty 2 of 3)
#
# Somebody hands you a function `split(texts, percent, seed)`. `texts` is a list of 20 to 60 strings, of which at most three are equal to each other in the sense of the second promise; `percent` is a whole number from 10 to 50, `seed` from
# 0 to 9. It returns `(train, test)`, two lists of indices into `texts`, in any order, and leaves `texts` as it is. It promises:
#
# - Each index is in exactly one of the two lists, and there once. <!-- rule: cover -->
# - Texts that are **equal**, that is, for which `" ".join(text.lower().split())` is the same, are on the same side. <!-- rule: together -->
# - `test` has at least `percent` % of the texts, and at most two more than the smallest number that is enough. <!-- rule: size -->
# - The same arguments give the same two sets of indices in each call. <!-- rule: repeat -->
# - For the same texts and percentage, the seeds 0 to 9 give at least two different test sets. <!-- rule: seeded -->
#
# Write `check_split(split)`, which calls `split` with texts of your choice:
#
# - It raises an error (an `assert` that fails, for example) if `split` breaks a promise. The splitters that are tried break theirs often, or for texts, percentages and seeds that nobody would call
#   rare. <!-- rule: raises -->
# - It raises nothing if all promises are kept. <!-- rule: no_false_alarm -->
#
# A few hundred calls of `split` are enough. Your points are the share of the faulty splitters that you catch; a right one that you reject costs all.


# %% exercise="check_split" minutes=30 difficulty=2
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
    ### BEGIN SOLUTION
    plain = [f"text {i}" for i in range(41)]
    texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
    for case in (texts, plain[:20], plain[:30] + plain[:10]):
        for percent in (10, 25, 50):
            sides = set()
            for seed in range(10):
                train, test = split(list(case), percent, seed)
                assert sorted([*train, *test]) == list(range(len(case))), "each index exactly once"
                words = [" ".join(text.lower().split()) for text in case]
                assert not {words[i] for i in train} & {words[i] for i in test}, "equal texts on both sides"
                least = math.ceil(percent * len(case) / 100)
                assert least <= len(test) <= least + 2, "size of the test set"
                sides.add(frozenset(test))
                again = split(list(case), percent, seed)
                assert set(again[1]) == set(test), "another split in the second call"
            assert len(sides) > 1, "the seed is ignored"
    ### END SOLUTION


# %% tests="check_split" points=3
def same_words(text):
    return " ".join(text.lower().split())


def enough_for(n, percent):
    return math.ceil(percent * n / 100)


def splitting(equal=same_words, enough=enough_for, seeded=lambda seed: seed, change=lambda train, test, **case: (train, test), together=3, fill=lambda group, missing: group):
    """A splitter that shuffles groups of equal texts and fills the test set; each argument changes one step.

    Seeds 2 k and 2 k + 1 fill it from the two ends of one order, so that their test sets differ for certain: at most 32 of 60 are tested.
    """
    calls = itertools.count()

    def split(texts, percent, seed):
        call = next(calls)
        groups = collections.defaultdict(list)
        for i, text in enumerate(texts):
            key = equal(text)
            while len(groups[key]) == together:
                key += "+"
            groups[key].append(i)
        need, test = enough(len(texts), percent), []
        shuffle, reverse = divmod(int(seeded(seed)), 2)
        order = sorted((group for group in groups.values() if group), key=lambda group: random.Random(f"{shuffle} {group[0]} 1").random(), reverse=reverse)
        for group in order:
            if len(test) < need:
                test += fill(group, need - len(test))
        train = [i for i in range(len(texts)) if i not in set(test)]
        return change(train, test, call=call, texts=texts, percent=percent, seed=seed)

    return split


def moved(train, test, **case):
    """One text of the test set, of those that come once, is in train in its place."""
    words = [same_words(text) for text in case["texts"]]
    alone_in_test, alone_in_train = ([i for i in side if words.count(words[i]) == 1] for side in (test, train))
    if not alone_in_test or not alone_in_train:
        return train, test
    out, into = alone_in_test[0], alone_in_train[0]
    return [i for i in train if i != into] + [out], [i for i in test if i != out] + [into]


def three_more(train, test, **case):
    """Texts that come once go over to the test set until it has three more than are enough, and never more."""
    words = [same_words(text) for text in case["texts"]]
    over = [i for i in train if words.count(words[i]) == 1][: enough_for(len(words), case["percent"]) + 3 - len(test)]
    return [i for i in train if i not in over], test + over


with check.exercise("check_split"):
    right = {
        "shuffles groups of equal texts": splitting(),
        "gives its lists in another order": splitting(change=lambda train, test, **_: (train[::-1], sorted(test))),
        "has one split for each two seeds": splitting(seeded=lambda seed: seed // 2),
    }
    wrong = {
        "splits row by row, so that equal texts part": splitting(equal=str, together=1),
        "forgets the last text": splitting(change=lambda train, test, texts, **_: tuple([i for i in side if i < len(texts) - 1] for side in (train, test))),
        "has a test set that is too small": splitting(enough=lambda n, percent: percent * n // 100 - 1),
        "draws anew in each call": splitting(change=lambda train, test, call, **case: (train, test) if random.Random(call).random() < 0.5 else moved(train, test, **case)),
        "gives the same split for each seed": splitting(seeded=lambda seed: 0),
    }
    ### BEGIN HIDDEN TESTS
    right |= {
        "has two splits in all": splitting(seeded=lambda seed: seed // 5),
        "has one split for all seeds but one": splitting(seeded=lambda seed: seed == 4),
        "gives its lists in another order in each call": splitting(change=lambda train, test, call, **_: (train[::-1], test[::-1]) if call % 2 else (train, test)),
        "shuffles in other ways": splitting(seeded=lambda seed: seed + 30),
    }
    wrong |= {
        "takes texts for equal only where each letter is": splitting(equal=str),
        "takes texts for different where their case differs": splitting(equal=lambda text: " ".join(text.split())),
        "takes texts for different where their blanks differ": splitting(equal=str.lower),
        "takes texts for different where there are blanks around them": splitting(equal=lambda text: re.sub(r"\s+", " ", text.lower())),
        "keeps two equal texts together, not three": splitting(together=2),
        "swaps the two lists": splitting(change=lambda train, test, **_: (test, train)),
        "always tests a fifth": splitting(enough=lambda n, percent: math.ceil(n / 5)),
        "never tests more than a third": splitting(enough=lambda n, percent: min(enough_for(n, percent), n // 3)),
        "tests three texts too many": splitting(enough=lambda n, percent: enough_for(n, percent) + 3),
        "tests three texts too many and never more": splitting(change=three_more),
        "rounds the size downwards": splitting(enough=lambda n, percent: max(1, percent * n // 100) if percent * n % 100 else enough_for(n, percent) - 1),
        "has a text on both sides": splitting(change=lambda train, test, **_: (train + test[:1], test)),
        "has a text twice in train": splitting(change=lambda train, test, **_: (train + train[:1], test)),
        "counts from 1": splitting(change=lambda train, test, **_: ([i + 1 for i in train], [i + 1 for i in test])),
        "loses a text of train": splitting(change=lambda train, test, **_: (train[1:], test)),
        "parts a group to hit the size exactly": splitting(fill=lambda group, missing: group[:missing]),
        "has another split when it is called again": splitting(change=lambda train, test, call, **case: moved(train, test, **case) if random.Random(call + 99).random() < 0.3 else (train, test)),
        "tests nothing": splitting(enough=lambda n, percent: 0),
    }
    ### END HIDDEN TESTS
    check.catches(check_split, right, wrong, "your checks")
check.points(3)  # the number below: your points, of 3


# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Which texts must you hand over, so that a splitter that ignores case, blanks or the third copy is found out? Which of the promises need two calls, which ten?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `sorted(train + test) == list(range(len(texts)))`; sets of normalised texts, and their intersection; `math.ceil(percent * n / 100)`; a set of `frozenset(test)` over the seeds.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# ```python
# texts = [f"text {i}" for i in range(25)] + [f"Text  {i} " for i in range(10)] + [f"TEXT {i}" for i in range(5)]
# words = [" ".join(text.lower().split()) for text in texts]
# for percent in (10, 25, 50):
#     tests = set()
#     for seed in range(10):
#         train, test = split(texts, percent, seed)
#         assert sorted([*train, *test]) == ...
#         assert not {words[i] for i in train} & ...
#         least = math.ceil(...)
#         assert least <= len(test) <= ...
#         assert set(split(texts, percent, seed)[1]) == ...
#         tests.add(frozenset(test))
#     assert len(tests) > 1
# ```
# One list of texts does not show each bug: try a shorter one as well.
# </details>

# %% [markdown]
# Now the library's own splitter, on texts that repeat, with and without a look at what is equal:


# %%
def library_split(texts, percent, seed):
    made = Dataset.from_dict({"i": list(range(len(texts)))}).train_test_split(test_size=math.ceil(percent * len(texts) / 100), seed=seed)
    return made["train"]["i"][:], made["test"]["i"][:]


def library_split_of_groups(texts, percent, seed):
    """Shuffled by the library, then filled with whole groups."""
    groups = collections.defaultdict(list)
    for i, text in enumerate(texts):
        groups[" ".join(text.lower().split())].append(i)
    order = Dataset.from_dict({"key": list(groups)}).shuffle(seed=seed)["key"][:]
    test = []
    for key in order:
        if 100 * len(test) < percent * len(texts):
            test += groups[key]
    return [i for i in range(len(texts)) if i not in set(test)], test


for name, split in (("train_test_split", library_split), ("whole groups", library_split_of_groups)):
    try:
        check_split(split)
        print(f"{name}: keeps its promises")
    except AssertionError as error:
        print(f"{name}: rejected, {error}")

# %% [markdown]
# ## The whole way
#
# CS336 of Stanford has an assignment on filtering and removing duplicates from web crawls. Here is the small form of it, with one advantage: we **planted** what is to be found, so each step has
# a precision and a recall. 60 near-duplicates, 40 test texts hidden inside longer training texts, 80 pieces of personal data. Your functions do the work.

# %%
chance = random.Random(2024)
clean = [unique[i]["text"] for i in originals]
held_out, body = clean[:60], clean[60:]
kinds = {"email": lambda: f"{chance.choice(['ada', 'li.wei', 'o+x'])}@example.org", "ip": lambda: f"198.51.100.{chance.randrange(256)}", "phone": lambda: f"+1 555-{chance.randrange(100, 999)}-0{chance.randrange(100, 199)}"}
true_personal, dirty = {}, []
for i, text in enumerate(body):
    if i < 80:
        kind = chance.choice(list(kinds))
        value = kinds[kind]()
        true_personal[i] = (kind, value)
        text = f"{text} Ask {value} for more."
    dirty.append(text)
hidden = {}  # index in the training text -> which test text lies in it
for n in range(40):
    i = 100 + n
    words = held_out[n].split()
    dirty[i] = f"{dirty[i]} {' '.join(words[:20])} and so on."
    hidden[i] = n
copied = {len(dirty) + n: 200 + n for n in range(60)}
dirty += [edited(dirty[original], chance) for original in copied.values()]

natural = {i for i in leaks(body, held_out, 13)}
found_leaks = set(leaks(dirty, held_out, 13)) - natural
leak_scores = precision_recall(found_leaks, set(hidden.values()) - natural)
found_items = {(i, kind, text[start:end]) for i, text in enumerate(dirty) for kind, start, end in find_personal(text)}
native = {(i, kind, text[start:end]) for i, text in enumerate(body) for kind, start, end in find_personal(text)}
personal_scores = precision_recall(found_items - native, {(i, *item) for i, item in true_personal.items()})
dirty_sets = [set(shingle_values(text).tolist()) for text in dirty]
jaccard = functools.cache(lambda i, j: len(dirty_sets[i] & dirty_sets[j]) / len(dirty_sets[i] | dirty_sets[j]))
dirty_leaders = clusters(np.stack([signature(shingle_values(text), A, B) for text in dirty]), BANDS, jaccard, 0.6)
found_copies = {(i, j) for i, j in itertools.combinations(range(len(dirty)), 2) if dirty_leaders[i] == dirty_leaders[j]}
truth = {pair for pair in itertools.combinations(range(len(dirty)), 2) if jaccard(*pair) >= 0.6}
copy_scores = precision_recall(found_copies, truth)
scores = {"near-duplicate pairs": copy_scores, "personal data": personal_scores, "leaked test texts": leak_scores}
figure, panel = plt.subplots(figsize=(8, 2.8), layout="constrained")
for k, (name, marks) in enumerate((("precision", 0), ("recall", 1))):
    panel.barh(np.arange(3) + 0.2 * (1 - 2 * k), [pair[marks] for pair in scores.values()], height=0.36, label=name)
panel.set_yticks(range(3), list(scores))
panel.set(xlabel="share", xlim=(0, 1), title="what the pipeline finds of what is there")
panel.legend(loc="lower left")
plt.show()
final = [masked(text) for i, text in enumerate(dirty) if dirty_leaders[i] == i]
keep_out = set(leaks(held_out, final, 13))
final = [text for i, text in enumerate(final) if i not in keep_out]
for name, (precision, recall) in scores.items():
    print(f"{name}: precision {precision:.2f}, recall {recall:.2f}")
print(f"{len(dirty)} texts before, {len(final)} after; test texts that leak now: {len(leaks(final, held_out, 13))}")

# %% [markdown]
# Three things hold for real crawls, too. The order of the steps matters: mask first and duplicates look more alike; split last, by clusters. A leak is removed from the **training** text, so that the test set
# stays what others measured on. And what you planted is easier than what people write: these figures are an upper bound.

# %% [markdown]
# ## Claims, measured
#
# **"`batched=True` makes `map` many times faster."** The same function (number of words) row by row and in batches of 1,000, in turns, in CPU time of one process. **"`num_proc=2` makes `map` twice as fast"**: the same in
# batches by the clock on the wall, since two processes have two clocks of CPU time.


# %%
def words_of_row(row):
    return {"words": len(row["text"].split())}


def words_of_batch(batch):
    return {"words": [len(text.split()) for text in batch["text"]]}


table = Dataset.from_dict({"text": list(raw["text"])})
cpu, wall = collections.defaultdict(list), collections.defaultdict(list)
for _ in range(4):
    for name, function, options in (("row by row", words_of_row, {}), ("batched", words_of_batch, {"batched": True})):
        begin = time.process_time()
        table.map(function, **options)
        cpu[name].append(time.process_time() - begin)
for _ in range(2):
    for workers in (None, 2):
        begin = time.perf_counter()
        table.map(words_of_batch, batched=True, num_proc=workers)
        wall[workers].append(time.perf_counter() - begin)
gain = min(cpu["row by row"]) / min(cpu["batched"])
claims.record(
    "batched=True makes map many times faster",
    claimed="many times",
    measured=f"{gain:.1f}x less CPU time ({len(table)} rows)",
    holds=gain > 2,
    how="number of words, row by row against batches of 1,000; the best of four, in turns, one process",
)
both = min(wall[None]) / min(wall[2])
claims.record(
    "num_proc=2 makes map twice as fast",
    claimed="2x",
    measured=f"{both:.2g}x ({len(table)} rows in {min(wall[None]):.2f} s with one process)",
    holds=both > 1.5,
    how="the same in batches by the clock, start of the processes included; the better of two, in turns",
)
compared = len(questions_asked) / math.comb(500, 2)
claims.record(
    "MinHash with banding finds near-duplicates without comparing all pairs",
    claimed="nearly all of them",
    measured=f"{pairs_recall:.0%} of the pairs with a similarity of 0.6 or more, {compared:.1%} of all pairs compared",
    holds=pairs_recall > 0.9 and compared < 0.1,
    how=f"500 texts, 60 planted copies, {BANDS} bands of {ROWS}; against a comparison of all pairs",
)

# %% [markdown]
# Row by row, each row becomes a Python dict, is handed over, and comes back as one. In a batch the library does this once for a thousand rows, and what is left is your function. A tokenizer gains once more, since it works on
# a list in parallel. Processes must be started, and rows travel between them: that pays where the function is slow or the table is large, and costs where neither is so.
#
# ### 9 · A data card (`data_card`, 2 points, 20 minutes, difficulty 2 of 3)
#
# Somebody wants to train on your `final`, and to test on `held_out`. Write what they must know, in 120 to 250 words: what the text is and where it came from; what was removed, by which rule, and how much; what these steps probably missed or
# removed wrongly; what the set should not be used for. Use at least three figures that this notebook printed on your machine, and say for each what it means for a user. (Gebru et al., *Datasheets for
# Datasets*, 2018, [arXiv:1803.09010](https://arxiv.org/abs/1803.09010), has the long list of questions.)

# %% [markdown] answer="data_card" points=2 minutes=20 difficulty=2
# **What it is.** English paragraphs of the Python language reference and docstrings of eleven packages of the standard library, as this Python ships them (PSF licence). One domain, few authors, formal English; nothing newer than this Python.
#
# **What was removed.** Broken lines; pieces that are no prose by four rules after Gopher (20 to 200 words, word length, letters, stop words), which took well over half of the pieces, signatures and headings above all. Equal texts: most of
# what the reference repeats under several topics. Near-duplicates from a Jaccard similarity of 0.6 of three-word runs on, one text a cluster kept. Personal data are replaced by markers. Training texts that share 13 words in a row with the test
# set were removed, so that no test text leaks by that rule.
#
# **What is probably wrong with it.** Banding missed at most a few of the pairs (recall close to 1 against all pairs), but what is rewritten below 0.6 remains. Precision and recall of the finder for personal data were measured on planted items of known forms; names and postal
# addresses are not looked for at all, so a recall near 1 says nothing about them. A paraphrase of a test text is no leak by our rule. The filter throws out code and tables.
#
# **Not for:** general English, other programming languages, or any claim about personal data in other sources.

# %% [markdown]
# ## Quiz

# %% [markdown] quiz="end"
# 1. You changed a line in `data.jsonl` and call `Dataset.from_generator` again with the same function, path and `cache_dir`. What comes?
# - [ ] The new rows :: The library does not look into files that your generator opens.
# - [x] The old rows :: Right: the cache goes by the function and its arguments. Hand over a digest of the content as one of them.
# - [ ] An error :: Nothing tells the library that something changed.
# 2. `map(function, batched=True)` returns fewer rows than it got, and the old columns are kept. What happens?
# - [x] An error: the columns are not equally long :: Right: give `remove_columns=ds.column_names`.
# - [ ] The missing rows are filled with `None` :: The library does not guess which rows belong together.
# - [ ] The old columns are cut :: That would pair rows that do not belong together.
# 3. A file is sorted by class, with 100,000 rows each. You stream it with a shuffle buffer of 1,000. What do the first batches hold?
# - [ ] All classes about equally :: A row can come at most a buffer's length too early.
# - [x] Rows of the first class alone :: Right: shuffle the file when it is written, or many files and their order.
# - [ ] Some rows of the last class :: They have not been read yet.
# 4. MinHash with 16 bands of 4. You want to miss fewer pairs of similarity 0.5. What helps?
# - [ ] 4 bands of 16 :: Each band of 16 agrees for such a pair once in 65,000 times.
# - [x] 32 bands of 2 :: Right: the steep part moves to smaller similarities, at the price of more comparisons.
# - [ ] A higher threshold for the exact similarity :: That throws out pairs that were found.
# 5. A benchmark's score rose after you added a crawl to the training set. What do you check first?
# - [ ] Whether the learning rate was better :: Possible, but it is not what changed.
# - [ ] Whether the crawl has enough prose :: Good to know; it does not explain the score.
# - [x] Whether texts of the benchmark stand in the crawl, whole or in part :: Right: look for shared runs of words, short texts and near-duplicates included.

# %% [markdown]
# ## Read next
#
# - The documentation of `datasets`: process, stream, batch mapping, cache: https://huggingface.co/docs/datasets
# - Broder, *On the resemblance and containment of documents* (1997): https://doi.org/10.1109/SEQUEN.1997.666900
# - Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*, chapter 3 (shingles, MinHash, banding): http://www.mmds.org
# - Lee et al., *Deduplicating Training Data Makes Language Models Better* (2021): https://arxiv.org/abs/2107.06499
# - Penedo et al., *The FineWeb Datasets* (2024), on what each filter brings: https://arxiv.org/abs/2406.17557
# - Stanford CS336, assignment 4 (data): https://github.com/stanford-cs336
#
# Lessons 12 and 14 train on rows like these; there the chat template writes the prompt, and the labels follow it.

# %% [markdown]
# ## A bigger machine
#
# With `UNIT24_TIER=hub` the same functions work on a real crawl: a part of FineWeb is streamed, filtered, searched for personal data and near-duplicates, and packed with a real tokenizer. Only what is read is downloaded.

# %%
if env.tier == "hub":
    from transformers import AutoTokenizer

    crawl = datasets.load_dataset("HuggingFaceFW/fineweb", name="sample-10BT", split="train", streaming=True)
    pages = [row["text"] for row in crawl.shuffle(seed=24, buffer_size=1000).take(1000)]
    good = [" ".join(text.split()[:200]) for text in pages if keep({"text": [" ".join(text.split()[:200])]})[0]]
    page_sets = [set(shingle_values(text).tolist()) for text in good]
    page_leaders = clusters(
        np.stack([signature(shingle_values(text), A, B) for text in good]), BANDS, lambda i, j: len(page_sets[i] & page_sets[j]) / len(page_sets[i] | page_sets[j]), 0.6
    )
    kinds_found = collections.Counter(kind for text in good for kind, *_ in find_personal(text))
    tokenizer = AutoTokenizer.from_pretrained(env.model("chat"))
    ended = tokenizer.eos_token_id
    blocks = pack({"input_ids": [tokenizer(text)["input_ids"] for text in good]}, 512, ended)
    print(f"{len(pages)} pages: {len(good)} kept, {len(good) - len(set(page_leaders))} near-duplicates, {dict(kinds_found)}, {len(blocks['input_ids'])} blocks of 512 tokens")
else:
    print("A bigger machine: skipped here (it needs UNIT24_TIER=hub).")
