# %% wrong="records" breaks="fresh" says="the cache goes by the arguments"
# Misunderstands: the cache looks into the files.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": ""}, cache_dir=cache_dir)


# %% wrong="records" breaks="fresh" says="rows"
# Misunderstands: a file that has as many bytes is the same file.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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

    digest = str([Path(path).stat().st_size for path in paths])
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="newline" says="cuts at more than line ends"
# Misunderstands: `splitlines` cuts at newlines.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in paths:
            if True:
                for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and text.strip():
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    return Dataset.from_list(list(rows(paths, "")), features=FEATURES)


# %% wrong="records" breaks="newline" says="a carriage return ended a line"
# Misunderstands: text mode leaves the characters as they are.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""
    made = []
    for path in paths:
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), 1):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            text = record.get("text") if isinstance(record, dict) else None
            if isinstance(text, str) and text.strip():
                made.append({"text": text, "at": record.get("at"), "file": Path(path).name, "line": number})
    return Dataset.from_list(made, features=FEATURES)


# %% wrong="records" breaks="columns" says="lines count for the number"
# Misunderstands: lines are numbered among the good ones.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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

    made, counts = [], {}
    for path in paths:
        for number, row in enumerate(rows([path], ""), 1):
            made.append({**row, "line": number})
    return Dataset.from_list(made, features=FEATURES)


# %% wrong="records" breaks="columns" says="file"
# Misunderstands: the file is its path.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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
                        yield {"text": text, "at": record.get("at"), "file": str(path), "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="columns" says="at"
# Misunderstands: a missing number is 0.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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
                        yield {"text": text, "at": record.get("at") or 0, "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="columns" says="at"
# Misunderstands: only missing numbers are None, and 0 is missing, too.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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
                        yield {"text": text, "at": record.get("at") or None, "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="columns" says="text"
# Misunderstands: blanks around a text are dirt.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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
                        yield {"text": text.strip(), "at": record.get("at"), "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="columns" says="line"
# Misunderstands: line numbers begin at 0.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and text.strip():
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="columns" says="line"
# Misunderstands: line numbers go on from file to file.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        number = 0
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for line in file:
                    number += 1
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and text.strip():
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    return Dataset.from_list(list(rows(paths, "")), features=FEATURES)


# %% wrong="records" breaks="features" says="expected 'int32'"
# Misunderstands: the library guesses the types.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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

    return Dataset.from_list(list(rows(paths, "")))


# %% wrong="records" breaks="bad" says="raised"
# Misunderstands: each JSON value is a dict.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text")
                    if isinstance(text, str) and text.strip():
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="bad" says="rows"
# Misunderstands: a text is whatever is true.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if text and str(text).strip():
                        yield {"text": str(text), "at": record.get("at"), "file": Path(path).name, "line": number}

    return Dataset.from_list(list(rows(paths, "")), features=FEATURES)


# %% wrong="records" breaks="bad" says="rows"
# Misunderstands: a text of blanks is a text.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and text:
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="bad" says="raised"
# Misunderstands: a line that was cut off ends the file.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        break
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and text.strip():
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="rows" says="rows"
# Misunderstands: rows are sorted by file.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in sorted(paths, key=lambda p: Path(p).name):
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and text.strip():
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    return Dataset.from_list(list(rows(paths, "")), features=FEATURES)


# %% wrong="records" breaks="rows" says="rows"
# Misunderstands: equal rows are one.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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

    seen = set()
    made = [row for row in rows(paths, "") if not (row["text"] in seen or seen.add(row["text"]))]
    return Dataset.from_list(made, features=FEATURES)


# %% wrong="records" breaks="rows" says="expected dict"
# Misunderstands: a list of rows is a dataset.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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

    return list(rows(paths, ""))


# %% wrong="records" breaks="rows" says="rows"
# Misunderstands: a text without a letter or digit is no text.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and re.search(r"\w", text):
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="rows" says="rows"
# Misunderstands: a text has more than one character.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and len(text.strip()) > 1:
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="bad" says="rows"
# Misunderstands: blanks, tabs and line ends are all the white space there is.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

    def rows(paths, digest):
        for path in paths:
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                    except ValueError:
                        continue
                    text = record.get("text") if isinstance(record, dict) else None
                    if isinstance(text, str) and text.strip(" \t\r\n"):
                        yield {"text": text, "at": record.get("at"), "file": Path(path).name, "line": number}

    digest = hashlib.sha256(b"\0".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% wrong="records" breaks="fresh" says="rows"
# Misunderstands: what all files hold together says enough, one behind the other.
def load_records(paths, cache_dir):
    """The good lines of JSON-lines files as a Dataset with the columns of FEATURES."""

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

    digest = hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"paths": paths, "digest": digest}, cache_dir=cache_dir)


# %% right="records"
# Columns, `split` at the line end, and no cache.
def load_records(paths, cache_dir):
    columns = {name: [] for name in FEATURES}
    for path in map(Path, paths):
        for number, line in enumerate(path.read_bytes().decode("utf-8").split("\n"), start=1):
            try:
                record = json.loads(line)
                text = record["text"]
                if not isinstance(text, str) or not text.strip():
                    continue
            except (ValueError, TypeError, KeyError, IndexError):
                continue
            for name, value in zip(columns, (text, record.get("at"), path.name, number)):
                columns[name].append(value)
    return Dataset.from_dict(columns, features=FEATURES)


# %% right="records"
# The generator gets the contents themselves.
def good_rows(contents):
    for name, content in contents:
        for number, line in enumerate(content.split("\n"), 1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                record = None
            if type(record) is dict and type(record.get("text")) is str and not record["text"].isspace() and record["text"]:
                yield dict(text=record["text"], at=record.get("at"), file=name, line=number)


def load_records(paths, cache_dir):
    contents = []
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            contents.append([Path(path).name, file.read()])
    return Dataset.from_generator(good_rows, features=FEATURES, cache_dir=cache_dir, keep_in_memory=True, gen_kwargs={"contents": contents})


# %% equivalent="records" because="the bench's locale is UTF-8, which Python takes where none is named"
# - with open(path, encoding="utf-8", newline="\n") as file:
# + with open(path, newline="\n") as file:


# %% equivalent="records" because="JSON gives plain dicts, none of a subclass"
# - text = record.get("text") if isinstance(record, dict) else None
# + text = record.get("text") if (type(record) is dict) else None


# %% equivalent="records" because="JSON gives plain strings, none of a subclass"
# - if isinstance(text, str) and text.strip():
# + if (type(text) is str) and text.strip():


# %% wrong="batched" breaks="last" says="last, shorter piece is missing"
# Misunderstands: a piece has `size` words.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words) - size + 1, size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="last" says="chunk"
# Misunderstands: a text of fewer words gives none.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        if len(words) < size:
            continue
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="wordless" says="gives no piece"
# Misunderstands: each text gives at least one piece.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, max(len(words), 1), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="columns" says="counted from 0 in each text"
# Misunderstands: parts are numbered through the batch.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(len(out["part"]))
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="columns" says="chunk"
# Misunderstands: parts are counted from 1.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part + 1)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="columns" says="chunk"
# Misunderstands: other columns stay.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
            out.setdefault("at", []).append(None)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="columns" says="chunk"
# Misunderstands: the file is the same for a whole batch.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(batch["file"][0])
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="pieces" says="chunk"
# Misunderstands: a text is cut by characters.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = list(text)
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="pieces" says="chunk"
# Misunderstands: words lie between single blanks.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split(" ")
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="pieces" says="chunk"
# Misunderstands: pieces overlap by a word.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), max(size - 1, 1))):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="length" says="both ends are included"
# Misunderstands: between 20 and 200 means without these.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 < len(words) < 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="length" says="keep"
# Misunderstands: only short texts are bad.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words)
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="mean" says="mean length of a word is not looked at"
# Misunderstands: the number of words is enough.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="mean" says="keep"
# Misunderstands: the mean must lie between the ends.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 < sum(map(len, words)) / len(words) < 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="mean" says="keep"
# Misunderstands: the mean is of the text's characters, blanks included.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= len(text) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="letters" says="with letters are not looked at"
# Misunderstands: stop words show enough.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="letters" says="keep"
# Misunderstands: a word has letters alone.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(word.isalpha() for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="letters" says="keep"
# Misunderstands: letters are those of English.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(re.search("[A-Za-z]", word) is not None for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="letters" says="keep"
# Misunderstands: more than 80 %.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) > 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="stops" says="comes twice is one stop word"
# Misunderstands: stop words are counted as they come.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and sum(word in STOPS for word in text.lower().split()) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="stops" says="stop word is not enough"
# Misunderstands: one is enough.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 1
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="stops" says="keep"
# Misunderstands: stop words are written small.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(words)) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="stops" says="keep"
# Misunderstands: marks do not belong to a word.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(map(len, words)) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(re.findall(r"\w+", text.lower()))) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% wrong="batched" breaks="mean" says="keep"
# Misunderstands: marks do not count for the length of a word.
def chunk(batch, size):
    """For map(batched=True): the pieces of `size` words of each text, as {"text", "file", "part"}."""
    out = {"text": [], "file": [], "part": []}
    for text, file in zip(batch["text"], batch["file"]):
        words = text.split()
        for part, start in enumerate(range(0, len(words), size)):
            out["text"].append(" ".join(words[start : start + size]))
            out["file"].append(file)
            out["part"].append(part)
    return out


def keep(batch):
    """For filter(batched=True): one bool a text, True where it reads like prose."""

    def good(text):
        words = text.split()
        return (
            20 <= len(words) <= 200
            and 3 <= sum(len(w.strip('.,()')) for w in words) / len(words) <= 10
            and sum(any(map(str.isalpha, word)) for word in words) / len(words) >= 0.8
            and len(STOPS & set(text.lower().split())) >= 2
        )

    return [good(text) for text in batch["text"]]


# %% right="batched"
# Lists of rows, turned into columns.
def chunk(batch, size):
    rows = []
    for i in range(len(batch["text"])):
        words, part = batch["text"][i].split(), 0
        while words:
            rows.append((" ".join(words[:size]), batch["file"][i], part))
            words, part = words[size:], part + 1
    texts, files, parts = zip(*rows) if rows else ((), (), ())
    return {"text": list(texts), "file": list(files), "part": list(parts)}


def keep(batch):
    verdicts = []
    for text in batch["text"]:
        words = text.split()
        n = len(words)
        if n < 20 or n > 200:
            verdicts.append(False)
            continue
        characters = len("".join(words))
        lettered = len([w for w in words if any(c.isalpha() for c in w)])
        verdicts.append(3 * n <= characters <= 10 * n and 10 * lettered >= 8 * n and len({w.lower() for w in words if w.lower() in STOPS}) > 1)
    return verdicts


# %% right="batched"
# NumPy for the means, slices for the pieces.
def chunk(batch, size):
    words = [text.split() for text in batch["text"]]
    counts = [math.ceil(len(w) / size) for w in words]
    return {
        "text": [" ".join(w[k * size : k * size + size]) for w, n in zip(words, counts) for k in range(n)],
        "file": [file for file, n in zip(batch["file"], counts) for _ in range(n)],
        "part": [k for n in counts for k in range(n)],
    }


def keep(batch):
    out = []
    for words in map(str.split, batch["text"]):
        ok = 20 <= len(words) <= 200
        if ok:
            mean = np.mean([len(w) for w in words])
            lettered = np.mean([any(c.isalpha() for c in w) for w in words])
            stops = sum(stop in [w.lower() for w in words] for stop in STOPS)
            ok = bool(3 <= mean <= 10 and lettered >= 0.8 and stops >= 2)
        out.append(ok)
    return out


# %% wrong="order" breaks="swap" says="does not go to the end"
# Misunderstands: the next item is appended.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
        else:
            i = pick(size)
            yield buffer.pop(i)
            buffer.append(item)
    while buffer:
        yield buffer.pop(pick(len(buffer)))


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="swap" says="shuffled"
# Misunderstands: the new item goes in first, and may come out at once.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
        else:
            buffer.append(item)
            yield buffer.pop(pick(size + 1))
    while buffer:
        yield buffer.pop(pick(len(buffer)))


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="swap" says="shuffled"
# Misunderstands: a buffer of `size` items is one that is larger by one.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []
    for item in items:
        if len(buffer) <= size:
            buffer.append(item)
        else:
            i = pick(len(buffer))
            yield buffer[i]
            buffer[i] = item
    while buffer:
        yield buffer.pop(pick(len(buffer)))


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="swap" says="list"
# Misunderstands: items come from an iterator.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []
    while True:
        try:
            item = next(items)
        except StopIteration:
            break
        if len(buffer) < size:
            buffer.append(item)
        else:
            i = pick(size)
            yield buffer[i]
            buffer[i] = item
    while buffer:
        yield buffer.pop(pick(len(buffer)))


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="rest" says="handed out as it lies"
# Misunderstands: what is left needs no more chance.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
        else:
            i = pick(size)
            yield buffer[i]
            buffer[i] = item
    yield from buffer


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="rest" says="those behind it move up"
# Misunderstands: any way to take an item out will do.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
        else:
            i = pick(size)
            yield buffer[i]
            buffer[i] = item
    while buffer:
        i = pick(len(buffer))
        buffer[i], buffer[-1] = buffer[-1], buffer[i]
        yield buffer.pop()


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="rest" says="shuffled"
# Misunderstands: the last item needs no draw.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
        else:
            i = pick(size)
            yield buffer[i]
            buffer[i] = item
    while buffer:
        yield buffer.pop(pick(len(buffer)) if len(buffer) > 1 else 0)


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="rest" says="shuffled"
# Misunderstands: what is in the buffer at the end is not needed.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
        else:
            i = pick(size)
            yield buffer[i]
            buffer[i] = item



def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="lazy" says="too much was taken"
# Misunderstands: a stream can be read ahead.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []
    for item in list(items):
        if len(buffer) < size:
            buffer.append(item)
        else:
            i = pick(size)
            yield buffer[i]
            buffer[i] = item
    while buffer:
        yield buffer.pop(pick(len(buffer)))


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="lazy" says="too much was taken"
# Misunderstands: a window of twice the size does no harm.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
    buffer = []

    def ahead():
        items_, waiting = iter(items), []
        for item in items_:
            waiting.append(item)
            if len(waiting) > 2:
                yield waiting.pop(0)
        yield from waiting

    for item in ahead():
        if len(buffer) < size:
            buffer.append(item)
        else:
            i = pick(size)
            yield buffer[i]
            buffer[i] = item
    while buffer:
        yield buffer.pop(pick(len(buffer)))


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
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


# %% wrong="order" breaks="count" says="Python's `round` goes to the even number"
# Misunderstands: `round` rounds halves upwards.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, round(percent * n / 100))
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="count" says="cut off, not rounded"
# Misunderstands: whole numbers are cut off.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, percent * n // 100)
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="count" says="has at least one in the test"
# Misunderstands: a small class may have none.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else (percent * n + 50) // 100
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="count" says="stratified"
# Misunderstands: each share is rounded upwards.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else math.ceil(percent * n / 100)
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="single" says="class with one item"
# Misunderstands: each class must be tested.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = max(1, (percent * n + 50) // 100)
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="single" says="stratified"
# Misunderstands: a class of two is too small, too.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n <= 2 else max(1, (percent * n + 50) // 100)
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="chosen" says="smallest chance"
# Misunderstands: the largest are tested.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, (percent * n + 50) // 100)
        test += sorted(members, key=lambda i: -chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="chosen" says="stratified"
# Misunderstands: the first items of a class are drawn at random already.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, (percent * n + 50) // 100)
        test += members[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="chosen" says="stratified"
# Misunderstands: the chance is that of the place in the class.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, (percent * n + 50) // 100)
        test += sorted(members, key=lambda i: chance[members.index(i)])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="sorted" says="stratified"
# Misunderstands: the order does not matter.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, (percent * n + 50) // 100)
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], test


# %% wrong="order" breaks="sorted" says="stratified"
# Misunderstands: train is what is left of the classes, class by class.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, (percent * n + 50) // 100)
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for members in by_class.values() for i in members if i not in chosen], sorted(test)


# %% wrong="order" breaks="count" says="reckon with whole numbers"
# Misunderstands: percent / 100 is an exact number.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, math.floor(percent / 100 * n + 0.5))
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% wrong="order" breaks="count" says="reckon with whole numbers"
# Misunderstands: n / 100 is an exact number.
def shuffled(items, size, pick):
    """The items in the order in which a shuffle buffer of `size` hands them out."""
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


def stratified(labels, chance, percent):
    """(train, test): indices, with `percent` of each class in test."""
    by_class = collections.defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    test = []
    for members in by_class.values():
        n = len(members)
        count = 0 if n == 1 else max(1, math.floor(n / 100 * percent + 0.5))
        test += sorted(members, key=lambda i: chance[i])[:count]
    chosen = set(test)
    return [i for i in range(len(labels)) if i not in chosen], sorted(test)


# %% right="order"
# `next` and a place that is filled after it was handed out.
def shuffled(items, size, pick):
    source = iter(items)
    buffer = list(itertools.islice(source, size))
    while buffer:
        i = pick(len(buffer))
        yield buffer[i]
        try:
            buffer[i] = next(source)
        except StopIteration:
            del buffer[i]


def stratified(labels, chance, percent):
    test = set()
    for label in set(labels):
        members = sorted((chance[i], i) for i, other in enumerate(labels) if other == label)
        count = math.floor(percent * len(members) / 100 + 0.5)
        if len(members) > 1:
            test |= {i for _, i in members[: max(count, 1)]}
    return sorted(set(range(len(labels))) - test), sorted(test)


# %% right="order"
# A class as iterator, NumPy for the split.
class shuffled:
    def __init__(self, items, size, pick):
        self.source, self.size, self.pick, self.buffer = iter(items), size, pick, []

    def __iter__(self):
        return self

    def __next__(self):
        while True:
            try:
                item = next(self.source)
            except StopIteration:
                if not self.buffer:
                    raise
                return self.buffer.pop(self.pick(len(self.buffer)))
            if len(self.buffer) == self.size:
                i = self.pick(self.size)
                out, self.buffer[i] = self.buffer[i], item
                return out
            self.buffer.append(item)


def stratified(labels, chance, percent):
    labels, chance = np.array(labels), np.array(chance)
    tested = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        n = len(members)
        if n > 1:
            tested[members[np.argsort(chance[members])][: max(1, (2 * percent * n + 100) // 200)]] = True
    return np.nonzero(~tested)[0].tolist(), np.nonzero(tested)[0].tolist()


# %% equivalent="order" because="a list holds the same indices, only more slowly"
# - chosen = set(test)
# + chosen = test


# %% equivalent="order" because="of one item all but the last are none"
# - count = 0 if n == 1 else max(1, (percent * n + 50) // 100)
# + count = (-1) if n == 1 else max(1, (percent * n + 50) // 100)


# %% equivalent="order" because="the larger or the smaller of two numbers is the same in either order"
# - count = 0 if n == 1 else max(1, (percent * n + 50) // 100)
# + count = 0 if n == 1 else (max((percent * n + 50) // 100, 1))


# %% wrong="training_rows" breaks="joined" says="pack"
# Misunderstands: an end id stands between documents, not behind the last.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    ids, starts = ids[:-1], starts[:-1]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="joined" says="pack"
# Misunderstands: an empty document is none.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in filter(None, batch["input_ids"]):
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="joined" says="pack"
# Misunderstands: a document that ends with the end id needs no other.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
        if document and document[-1] == end:
            ids.pop()
            starts.pop()
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="blocks" says="does not fill the last block is dropped"
# Misunderstands: nothing may be lost.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(math.ceil(len(ids) / block))]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="blocks" says="pack"
# Misunderstands: a last full block is not full.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range((len(ids) - 1) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="blocks" says="pack"
# Misunderstands: each document is cut by itself.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    blocks = []
    for document in batch["input_ids"]:
        ids = [*document, end]
        blocks += [ids[k : k + block] for k in range(0, len(ids) - block + 1, block)]
    return {"input_ids": blocks, "position_ids": [list(range(block)) for _ in blocks]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="positions" says="not only at each block"
# Misunderstands: positions count inside of a block.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i % block for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="positions" says="positions follow the documents"
# Misunderstands: an end id ends a document.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    starts, begin = [], 0
    for i, x in enumerate(ids):
        starts.append(begin)
        begin = i + 1 if x == end else begin
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="positions" says="pack"
# Misunderstands: the end id belongs to the next document.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * len(document) + [len(ids) + len(document)]
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="positions" says="pack"
# Misunderstands: positions count from 1.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [1 + i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="restart" says="counts from 0"
# Misunderstands: a document goes on in the next block.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - start for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="packed" says="pack"
# Misunderstands: labels are needed, too.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts], "labels": [ids[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="cut" says="is the whole prompt"
# Misunderstands: a negative index counts from the end, also 0.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[-(limit - len(answer)) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="cut" says="loses its first ids"
# Misunderstands: the beginning of a prompt matters most.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[: limit - len(answer)]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="cut" says="completion_only"
# Misunderstands: a row that is too long loses one id too many.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit + 1) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="cut" says="completion_only"
# Misunderstands: a prompt keeps at least one id.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        if len(answer) == limit and prompt:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="cut, labels" says="completion_only"
# Misunderstands: the row is cut at its end.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        rows.append([*prompt, *answer][:limit])
        labels.append(([-100] * len(prompt) + answer)[:limit])
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="labels" says="model must learn to stop"
# Misunderstands: the end is no part of the answer.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer[:-1] + [-100])
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="labels" says="completion_only"
# Misunderstands: all ids are learned.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([*prompt, *answer])
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="labels" says="labels follow the places"
# Misunderstands: ids of the prompt are not learned, wherever they stand.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100 if x in prompt else x for x in rows[-1]])
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="labels" says="completion_only"
# Misunderstands: what is not learned has the label 0.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([0] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="labels" says="completion_only"
# Misunderstands: labels are moved by one place.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append(([-100] * len(prompt) + answer)[1:] + [-100])
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="left_out" says="too long is left out"
# Misunderstands: a long completion is cut.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        answer = answer[:limit]
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="left_out" says="completion_only"
# Misunderstands: only the completion counts for the limit.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(completion) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="left_out" says="completion_only"
# Misunderstands: a row that is too long is left out.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(prompt) + len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="row" says="completion_only"
# Misunderstands: the completion brings its own end.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="row" says="completion_only"
# Misunderstands: an end stands behind the prompt, too.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        prompt = [*prompt, end]
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels}


# %% wrong="training_rows" breaks="result" says="completion_only"
# Misunderstands: a row has an attention mask.
def pack(batch, block, end):
    """Documents joined and cut into blocks, as {"input_ids", "position_ids"}."""
    ids, starts = [], []
    for document in batch["input_ids"]:
        starts += [len(ids)] * (len(document) + 1)
        ids += [*document, end]
    positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
    cuts = [slice(k * block, (k + 1) * block) for k in range(len(ids) // block)]
    return {"input_ids": [ids[cut] for cut in cuts], "position_ids": [positions[cut] for cut in cuts]}


def completion_only(batch, limit, end):
    """Rows of prompt, completion and end, as {"input_ids", "labels"}; the prompt is not learned."""
    rows, labels = [], []
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        answer = [*completion, end]
        if len(answer) > limit:
            continue
        prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
        rows.append([*prompt, *answer])
        labels.append([-100] * len(prompt) + answer)
    return {"input_ids": rows, "labels": labels, "attention_mask": [[1] * len(row) for row in rows]}


# %% right="training_rows"
# Counts positions as it goes; builds pairs and cuts these.
def pack(batch, block, end):
    blocks, places, ids, positions = [], [], [], []
    for document in batch["input_ids"]:
        here = 0
        for token in list(document) + [end]:
            if not ids:
                here = 0
            ids.append(token)
            positions.append(here)
            here += 1
            if len(ids) == block:
                blocks.append(ids)
                places.append(positions)
                ids, positions = [], []
    return {"input_ids": blocks, "position_ids": places}


def completion_only(batch, limit, end):
    out = {"input_ids": [], "labels": []}
    for prompt, completion in zip(batch["prompt"], batch["completion"]):
        pairs = [(x, -100) for x in prompt] + [(x, x) for x in completion + [end]]
        if len(completion) < limit:
            pairs = pairs[-limit:]
            out["input_ids"].append([x for x, _ in pairs])
            out["labels"].append([y for _, y in pairs])
    return out


# %% right="training_rows"
# NumPy for packing, masks for labels.
def pack(batch, block, end):
    documents = [np.array([*d, end], dtype=np.int64) for d in batch["input_ids"]]
    ids = np.concatenate(documents)
    begin = np.concatenate([np.full(len(d), start) for d, start in zip(documents, np.cumsum([0] + [len(d) for d in documents]))])
    at = np.arange(len(ids))
    positions = at - np.maximum(begin, at // block * block)
    n = len(ids) // block * block
    return {"input_ids": ids[:n].reshape(-1, block).tolist(), "position_ids": positions[:n].reshape(-1, block).tolist()}


def completion_only(batch, limit, end):
    pairs = [(p, c) for p, c in zip(batch["prompt"], batch["completion"]) if len(c) + 1 <= limit]
    ids, labels = [], []
    for p, c in pairs:
        row = (p + c + [end])[-limit:]
        answer = len(c) + 1
        ids.append(row)
        labels.append([x if i >= len(row) - answer else -100 for i, x in enumerate(row)])
    return dict(input_ids=ids, labels=labels)


# %% equivalent="training_rows" because="the larger or the smaller of two numbers is the same in either order"
# - positions = [i - max(start, i // block * block) for i, start in enumerate(starts)]
# + positions = [i - (max(i // block * block, start)) for i, start in enumerate(starts)]


# %% equivalent="training_rows" because="the larger or the smaller of two numbers is the same in either order"
# - prompt = prompt[max(0, len(prompt) + len(answer) - limit) :]
# + prompt = prompt[(max(len(prompt) + len(answer) - limit, 0)) :]


# %% wrong="near_duplicates" breaks="minimum" says="remainder by PRIME is missing"
# Misunderstands: a product is mixed well enough.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None])
    return hashes.min(axis=1) if len(values) else np.full(len(a), PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="minimum" says="before the remainder"
# Misunderstands: the order of the steps does not matter.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = a[:, None] * values[None, :] % PRIME + b[:, None]
    return hashes.min(axis=1) if len(values) else np.full(len(a), PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="minimum" says="is part of the hash"
# Misunderstands: a factor is enough.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="minimum" says="signature"
# Misunderstands: the largest is as good.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.max(axis=1, initial=-1) if len(values) else np.full(len(a), PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="minimum" says="signature"
# Misunderstands: one hash function after the other sees the minimum of the values.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    values = np.sort(values)[:1]
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="exact" says="lose their last digits"
# Misunderstands: floats are exact enough.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = ((a[:, None].astype(float) * values[None, :] + b[:, None]) % PRIME).astype(np.int64)
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="exact" says="signature"
# Misunderstands: 32 bits are enough for numbers below 2**31.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = ((a[:, None].astype(np.uint32) * values[None, :].astype(np.uint32)).astype(np.int64) + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="array" says="signature"
# Misunderstands: a column of numbers is an array of them.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME, keepdims=True)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="array" says="signature"
# Misunderstands: numbers below 2**31 belong into int32.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME).astype(np.int32)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="no_values" says="signature"
# Misunderstands: the minimum of nothing is 0.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1) if len(values) else np.zeros(len(a), dtype=np.int64)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="no_values" says="zero-size"
# Misunderstands: nobody asks for an empty text.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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


# %% wrong="near_duplicates" breaks="bands" says="not with any"
# Misunderstands: a band is known by its numbers.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
    texts, k = signatures.shape
    rows = k // bands
    candidates = set()
    places = collections.defaultdict(list)
    for band in range(bands):
        for i in range(texts):
            places[tuple(signatures[i, band * rows : (band + 1) * rows].tolist())].append(i)
    for members in places.values():
        candidates.update(pair for pair in itertools.combinations(sorted(set(members)), 2))
    leader = list(range(texts))
    for i, j in sorted(candidates):
        one, other = sorted((leader[i], leader[j]))
        if one != other and similarity(i, j) >= threshold:
            leader = [one if x == other else x for x in leader]
    return leader


# %% wrong="near_duplicates" breaks="bands" says="not one of them"
# Misunderstands: one number that agrees is enough.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
    texts, k = signatures.shape
    bands, rows = k, 1
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


# %% wrong="near_duplicates" breaks="bands" says="band that agrees is enough"
# Misunderstands: all bands must agree.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
    texts, k = signatures.shape
    bands, rows = 1, k
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


# %% wrong="near_duplicates" breaks="bands" says="clusters"
# Misunderstands: `bands` is the number of rows of a band.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
    texts, k = signatures.shape
    bands, rows = k // bands, bands
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


# %% wrong="near_duplicates" breaks="bands" says="clusters"
# Misunderstands: only neighbours in a bucket are pairs.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
    texts, k = signatures.shape
    rows = k // bands
    candidates = set()
    for band in range(bands):
        places = collections.defaultdict(list)
        for i in range(texts):
            places[tuple(signatures[i, band * rows : (band + 1) * rows].tolist())].append(i)
        for members in places.values():
            candidates.update(zip(members, members[1:]))
    leader = list(range(texts))
    for i, j in sorted(candidates):
        one, other = sorted((leader[i], leader[j]))
        if one != other and similarity(i, j) >= threshold:
            leader = [one if x == other else x for x in leader]
    return leader


# %% wrong="near_duplicates" breaks="bands" says="clusters"
# Misunderstands: the last band is what is left over.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
    texts, k = signatures.shape
    rows = k // bands
    candidates = set()
    for band in range(max(1, bands - 1)):
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


# %% wrong="near_duplicates" breaks="asked" says="share no band"
# Misunderstands: every pair may be asked about.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
    for i, j in itertools.combinations(range(texts), 2):
        one, other = sorted((leader[i], leader[j]))
        if one != other and similarity(i, j) >= threshold and (i, j) in candidates:
            leader = [one if x == other else x for x in leader]
    return leader


# %% wrong="near_duplicates" breaks="asked" says="asked about twice"
# Misunderstands: asking costs nothing.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
    texts, k = signatures.shape
    rows = k // bands
    candidates = set()
    for band in range(bands):
        places = collections.defaultdict(list)
        for i in range(texts):
            places[tuple(signatures[i, band * rows : (band + 1) * rows].tolist())].append(i)
        for members in places.values():
            candidates.update(itertools.combinations(members, 2)) if band < 0 else None
        leader = leader if band else list(range(texts))
        for i, j in [pair for members in places.values() for pair in itertools.combinations(members, 2)]:
            if similarity(i, j) >= threshold:
                one, other = sorted((leader[i], leader[j]))
                leader = [one if x == other else x for x in leader]
    return leader


# %% wrong="near_duplicates" breaks="asked" says="asked about twice"
# Misunderstands: a pair has two orders.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
        if one != other and similarity(i, j) >= threshold and similarity(j, i) >= threshold:
            leader = [one if x == other else x for x in leader]
    return leader


# %% wrong="near_duplicates" breaks="threshold" says="ask `similarity`"
# Misunderstands: candidates are duplicates.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
        if one != other:
            leader = [one if x == other else x for x in leader]
    return leader


# %% wrong="near_duplicates" breaks="threshold" says="equal to the threshold"
# Misunderstands: more similar than the threshold.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
        if one != other and similarity(i, j) > threshold:
            leader = [one if x == other else x for x in leader]
    return leader


# %% wrong="near_duplicates" breaks="threshold" says="clusters"
# Misunderstands: the share of equal minima is good enough.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
        if one != other and (signatures[i] == signatures[j]).mean() >= threshold:
            leader = [one if x == other else x for x in leader]
    return leader


# %% wrong="near_duplicates" breaks="chains" says="direct neighbours"
# Misunderstands: each text follows the first that is similar.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
        if similarity(i, j) >= threshold:
            leader[j] = min(leader[j], i)
    return leader


# %% wrong="near_duplicates" breaks="chains" says="clusters"
# Misunderstands: a text takes the name of its neighbour's cluster.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
            leader[i] = leader[j] = one
    return leader


# %% wrong="near_duplicates" breaks="clusters" says="not by a number of its own"
# Misunderstands: clusters are numbered from 0.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
    return [sorted(set(leader)).index(x) for x in leader]


# %% wrong="near_duplicates" breaks="clusters" says="clusters"
# Misunderstands: what is kept is asked for.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
    return sorted(set(leader))


# %% wrong="near_duplicates" breaks="clusters" says="clusters"
# Misunderstands: a cluster is named by its largest index.
def signature(values, a, b):
    """The MinHash signature [k] (int64) of a set of shingle values."""
    hashes = (a[:, None] * values[None, :] + b[:, None]) % PRIME
    return hashes.min(axis=1, initial=PRIME)


def clusters(signatures, bands, similarity, threshold):
    """For each text the smallest index in its cluster of near-duplicates."""
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
    return [max(i for i, y in enumerate(leader) if y == x) for x in leader]


# %% right="near_duplicates"
# A loop over the hash functions; union-find with paths.
def signature(values, a, b):
    out = np.full(len(a), PRIME, dtype=np.int64)
    if values.size:
        for j in range(len(a)):
            out[j] = ((a[j] * values + b[j]) % PRIME).min()
    return out


def clusters(signatures, bands, similarity, threshold):
    parent = list(range(len(signatures)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    asked = set()
    for band in np.split(signatures, bands, axis=1):
        buckets = {}
        for i, key in enumerate(map(bytes, np.ascontiguousarray(band))):
            for j in buckets.setdefault(key, []):
                if (j, i) not in asked:
                    asked.add((j, i))
                    if similarity(j, i) >= threshold:
                        low, high = sorted((root(i), root(j)))
                        parent[high] = low
            buckets[key].append(i)
    return [root(i) for i in range(len(parent))]


# %% right="near_duplicates"
# Plain Python numbers; a table of candidates and a search through neighbours.
def signature(values, a, b):
    numbers = [int(x) for x in values]
    return np.array([min([(int(p) * x + int(q)) % PRIME for x in numbers] + [PRIME]) for p, q in zip(a, b)], dtype=np.int64)


def clusters(signatures, bands, similarity, threshold):
    n = len(signatures)
    cut = signatures.reshape(n, bands, -1)
    near = (cut[:, None] == cut[None, :]).all(-1).any(-1)
    neighbours = {i: [] for i in range(n)}
    for i in range(n):
        for j in range(i):
            if near[i, j] and similarity(i, j) >= threshold:
                neighbours[i].append(j)
                neighbours[j].append(i)
    name = [None] * n
    for start in range(n):
        todo = [start] if name[start] is None else []
        while todo:
            i = todo.pop()
            if name[i] is None:
                name[i] = start
                todo += neighbours[i]
    return name


# %% equivalent="near_duplicates" because="clusters do not depend on the order in which pairs are joined"
# - for i, j in sorted(candidates):
# + for i, j in list(candidates):


# %% equivalent="near_duplicates" because="NumPy's whole numbers are equal to Python's, and hash alike"
# - places[tuple(signatures[i, band * rows : (band + 1) * rows].tolist())].append(i)
# + places[tuple(signatures[i, band * rows : (band + 1) * rows])].append(i)


# %% equivalent="near_duplicates" because="a pair need not be asked about where it cannot change the result, but it may"
# - if one != other and similarity(i, j) >= threshold:
# + if (similarity(i, j) >= threshold):


# %% equivalent="near_duplicates" because="the order of the two does not matter, says the task"
# - if one != other and similarity(i, j) >= threshold:
# + if one != other and (similarity(j, i)) >= threshold:


# %% wrong="personal" breaks="email" says="the recall for email"
# Misunderstands: a domain has two parts.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}" + behind
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


# %% wrong="personal" breaks="email" says="the recall for email"
# Misunderstands: an address has letters, digits and dots.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9.]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
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


# %% wrong="personal" breaks="email" says="the recall for email"
# Misunderstands: addresses are written small.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[a-z0-9._%+-]+@(?:[a-z0-9-]+\.)+[a-z]{2,}" + behind
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


# %% wrong="personal" breaks="email" says="the precision for email"
# Misunderstands: what has an @ is an address.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]*[A-Za-z0-9]" + behind
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


# %% wrong="personal" breaks="email" says="the precision for email"
# Misunderstands: the last part may have one letter.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]+" + behind
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


# %% wrong="personal" breaks="email" says="email"
# Misunderstands: an address ends at a blank.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = r"[^\s@]+@[^\s@]+\.[^\s@]+"
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


# %% wrong="personal" breaks="email" says="the recall for email"
# Misunderstands: the last part has two or three letters.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,3}" + behind
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


# %% wrong="personal" breaks="ip" says="the precision for ip"
# Misunderstands: four numbers are an address.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if True:
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="ip" says="ip"
# Misunderstands: a number of an address has at most three digits, and 255 is too large.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) < 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="ip" says="the precision for ip"
# Misunderstands: versions are addresses, too.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){2,3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="whole" says="the precision for ip"
# Misunderstands: `\b` marks the ends of an address.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = r"\b\d{1,3}(?:\.\d{1,3}){3}\b"
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="whole" says="the precision for phone"
# Misunderstands: a number ends where the pattern ends.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})"
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="whole" says="the recall for"
# Misunderstands: an item stands between blanks.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<!\S)", r"(?!\S)"
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


# %% wrong="personal" breaks="whole" says="the recall for"
# Misunderstands: nothing but a blank or the end may follow, not a full stop.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@.-])"
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


# %% wrong="personal" breaks="international" says="the recall for phone"
# Misunderstands: a + is followed by one group.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="international" says="the recall for phone"
# Misunderstands: groups are parted by blanks.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?: \d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="international" says="the precision for phone"
# Misunderstands: what begins with + is a number.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if True:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="international" says="the precision for phone"
# Misunderstands: there is no largest number of digits.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])):
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="international" says="phone"
# Misunderstands: 8 to 15 characters.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= len(match[0]) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="national" says="the recall for phone"
# Misunderstands: a number has hyphens.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="national" says="the recall for phone"
# Misunderstands: brackets are no part of a number.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="national" says="the precision for phone"
# Misunderstands: ten digits are a number.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\d{10}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="overlap" says="the precision for phone"
# Misunderstands: both forms are looked for, one after the other.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    national = r"(?<![\w.%+@-])(?:\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})(?![\w@-]|\.\w)"
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    found += [("phone", *match.span()) for match in re.finditer(national, text) if ("phone", *match.span()) not in found]
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="ordered" says="not in the order of start"
# Misunderstands: kind after kind.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
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
    return found


# %% wrong="personal" breaks="ordered" says="not in the order of start"
# Misunderstands: sorted tuples are in order.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
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
    return sorted(found)


# %% wrong="personal" breaks="email" says="the recall for email"
# Misunderstands: the last part of a domain has two to four letters.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,4}" + behind
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


# %% wrong="personal" breaks="email" says="the precision for email"
# Misunderstands: digits may end a domain, too.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9]{2,}" + behind
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


# %% wrong="personal" breaks="email" says="the recall for email"
# Misunderstands: a local part begins with a letter.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
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


# %% wrong="personal" breaks="email" says="the recall for email"
# Misunderstands: a local part has two characters at least.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]{2,}@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
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


# %% wrong="personal" breaks="email" says="the recall for email"
# Misunderstands: a part of a domain begins with a letter.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z][A-Za-z0-9-]*\.)+[A-Za-z]{2,}" + behind
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


# %% wrong="personal" breaks="whole" says="the precision for email"
# Misunderstands: a hyphen ends an address like a bracket.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![\w@]|\.\w)"
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


# %% wrong="personal" breaks="whole" says="the precision for ip"
# Misunderstands: only a dot makes four numbers part of something longer, a hyphen ends them like a bracket.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\w)"
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="whole" says="the precision for ip"
# Misunderstands: a hyphen before four numbers does not matter.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = r"(?<![\w.%+@])\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="whole" says="the precision for ip"
# Misunderstands: a hyphen behind four numbers does not matter.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}(?![\w@]|\.\w)"
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="whole" says="the precision for phone"
# Misunderstands: only digits make a number longer.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = r"(?<![\d.+-])(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})(?!-?\d)"
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="whole" says="the precision for phone"
# Misunderstands: a hyphen behind a number does not matter.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})(?!\w|\.\w)"
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="international" says="the recall for phone"
# Misunderstands: a country code and at most three groups.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+){0,3}|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="international" says="the recall for phone"
# Misunderstands: at most five groups.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+){0,4}|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="international" says="the recall for phone"
# Misunderstands: a group has two digits at least.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d{2,})*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="international" says="the recall for phone"
# Misunderstands: all marks between groups are the same.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:(?: \d+)*|(?:-\d+)*)|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="international" says="the recall for phone"
# Misunderstands: a country code has one to three digits.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d{1,3}(?:[ -]\d+)+|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="national" says="the precision for phone"
# Misunderstands: hyphens and dots may be mixed.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}[-.]\d{3}[-.]\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="national" says="the precision for phone"
# Misunderstands: the blank behind the bracket may be missing.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) ?\d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="ip" says="the precision for ip"
# Misunderstands: the first and last number are looked at, not those between.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 255 for number in match[0].split(".")[::3]):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="ip" says="the precision for ip"
# Misunderstands: 256 is one of them.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<![\w.%+@-])", r"(?![\w@-]|\.\w)"
    email = before + r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}" + behind
    ip = before + r"\d{1,3}(?:\.\d{1,3}){3}" + behind
    phone = before + r"(?:\+\d+(?:[ -]\d+)*|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4})" + behind
    found = [("email", *match.span()) for match in re.finditer(email, text)]
    for match in re.finditer(ip, text):
        if all(int(number) <= 256 for number in match[0].split(".")):
            found.append(("ip", *match.span()))
    for match in re.finditer(phone, text):
        if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
            found.append(("phone", *match.span()))
    return sorted(found, key=lambda item: item[1])


# %% wrong="personal" breaks="whole" says="the recall for"
# Misunderstands: an item stands behind a blank or bracket, so never at the beginning.
def find_personal(text):
    """All personal data in a text, as (kind, start, end) in the order of start."""
    before, behind = r"(?<=[\s(])", r"(?![\w@-]|\.\w)"
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


# %% right="personal"
# One pattern with names for the kinds.
NUMBER = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
EVERYTHING = re.compile(
    rf"""(?<![\w.%+@-])(?:
        (?P<email>[\w.%+-]+@(?:[a-z\d-]+\.)+[a-z][a-z]+)
      | (?P<ip>{NUMBER}(?:\.{NUMBER}){{3}})
      | (?P<phone>\+(?:\d[\ -]?){{7,14}}\d | \d{{3}}(?P<mark>[.-])\d{{3}}(?P=mark)\d{{4}} | \(\d{{3}}\)\ \d{{3}}-\d{{4}})
    )(?![\w@-]|\.\w)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def find_personal(text):
    found = []
    for match in EVERYTHING.finditer(text):
        kind = next(name for name in ("email", "ip", "phone") if match[name])
        found.append((kind, match.start(), match.end()))
    return found


# %% right="personal"
# Patterns first, surroundings looked at in Python.
def find_personal(text):
    patterns = {
        "email": [r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+"],
        "ip": [r"[0-9]+(?:\.[0-9]+)+"],
        "phone": [r"\+[0-9]+(?:[ -][0-9]+)*", r"\([0-9]{3}\) [0-9]{3}-[0-9]+", r"[0-9]+-[0-9]+-[0-9-]+", r"[0-9.]+"],
    }

    def fine(kind, value):
        if kind == "email":
            *parts, last = value.split("@")[1].split(".")
            return parts and all(parts) and len(last) > 1 and last.isalpha()
        if kind == "ip":
            numbers = value.split(".")
            return len(numbers) == 4 and max(map(int, numbers)) < 256
        digits = sum(c.isdigit() for c in value)
        if value.startswith("+"):
            return 7 < digits < 16
        return re.fullmatch(r"\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\(\d{3}\) \d{3}-\d{4}", value) is not None

    taken, found = set(), []
    for kind, several in patterns.items():
        for pattern in several:
            for match in re.finditer(pattern, text):
                start, end = match.span()
                while text[end - 1] in ".-":
                    end -= 1
                before, behind = text[start - 1 : start], text[end : end + 2]
                joined = before.isalnum() or before in (".", "-", "+", "@", "_") and before or behind[:1].isalnum() or behind[:1] in ("-", "_", "@") and behind
                if not joined and not taken & set(range(start, end)) and fine(kind, text[start:end]):
                    taken |= set(range(start, end))
                    found.append((kind, start, end))
    return sorted(found, key=lambda one: one[1:])


# %% equivalent="personal" because="the second form has ten digits"
# - if match[0][0] != "+" or 8 <= sum(map(str.isdigit, match[0])) <= 15:
# + if (8 <= sum(map(str.isdigit, match[0])) <= 15):


# %% equivalent="personal" because="items do not overlap: whichever begins first ends first"
# - return sorted(found, key=lambda item: item[1])
# + return sorted(found, key=lambda item: item[2])


# %% wrong="leaks" breaks="short" says="shorter than `run` leaks"
# Misunderstands: a short text cannot leak.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = run
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and runs(words, size) & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="short" says="leaks"
# Misunderstands: a short text leaks where its words occur.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if 0 < len(words) < run and any(set(words) <= set(known) for known in train_words) or size and runs(words, size) & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="apart" says="does not reach from one training text"
# Misunderstands: all training text is one text.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", " ".join(train).lower())]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and runs(words, size) & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="words" says="and punctuation do not count"
# Misunderstands: words lie between blanks.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [text.split() for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = text.split()
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and runs(words, size) & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="words" says="leaks"
# Misunderstands: case matters.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text)
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and runs(words, size) & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="words" says="not parts of them"
# Misunderstands: a run is a piece of text.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and any(" ".join(run) in " ".join(known) for run in runs(words, size) for known in train_words):
            found.append(i)
    return found


# %% wrong="leaks" breaks="words" says="leaks"
# Misunderstands: words are ASCII.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"[a-z0-9_]+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"[a-z0-9_]+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and runs(words, size) & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="run" says="in the same order"
# Misunderstands: a run is a set of words.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and any(set(run) <= set(known) for run in runs(words, size) for known in train_words):
            found.append(i)
    return found


# %% wrong="leaks" breaks="run" says="leaks"
# Misunderstands: `run` is a number of blanks between words.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run + 1, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and runs(words, size) & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="run" says="leaks"
# Misunderstands: one word less is nearly the same.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(max(run - 1, 1), len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and runs(words, size) & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="run" says="leaks"
# Misunderstands: only the beginning is compared.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and tuple(words[:size]) in seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="run" says="leaks"
# Misunderstands: runs begin at multiples of their length.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if size and {tuple(words[k : k + size]) for k in range(0, len(words) - size + 1, size)} & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="run" says="leaks"
# Misunderstands: the last run is forgotten.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(max(len(words) - size, 1)) if len(words) >= size}

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


# %% wrong="leaks" breaks="run" says="leaks"
# Misunderstands: the run must be the whole training text or the whole test text.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if len(words) and words in train_words:
            found.append(i)
    return found


# %% wrong="leaks" breaks="wordless" says="without words does not leak"
# Misunderstands: what is empty is in everything.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

    def runs(words, size):
        return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}

    train_words = [re.findall(r"\w+", text.lower()) for text in train]
    seen, found = {}, []
    for i, text in enumerate(test):
        words = re.findall(r"\w+", text.lower())
        size = min(run, len(words))
        if size and size not in seen:
            seen[size] = set().union(*(runs(known, size) for known in train_words))
        if not words or runs(words, size) & seen[size]:
            found.append(i)
    return found


# %% wrong="leaks" breaks="listed" says="leaks"
# Misunderstands: texts are asked for.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

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
            found.append(text)
    return found


# %% wrong="leaks" breaks="listed" says="leaks"
# Misunderstands: one bool a text.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

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
    return [i in found for i in range(len(test))]


# %% wrong="leaks" breaks="listed" says="leaks"
# Misunderstands: each shared run counts.
def leaks(train, test, run):
    """Indices of the test texts that share a run of words with a training text."""

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
            found += [i] * len(runs(words, size) & seen[size])
    return found


# %% right="leaks"
# Searches in text with blanks around each word.
def leaks(train, test, run):
    def line(text):
        return " " + " ".join(re.findall(r"\w+", text.lower())) + " "

    lines = [line(text) for text in train]
    out = []
    for i, words in enumerate(line(text).split() for text in test):
        size = min(run, len(words))
        pieces = [" " + " ".join(words[k : k + size]) + " " for k in range(len(words) - size + 1)]
        if words and any(piece in other for piece in pieces for other in lines):
            out.append(i)
    return out


# %% right="leaks"
# Compares place by place.
def leaks(train, test, run):
    def words_of(text):
        return [word for word in re.split(r"\W+", text.lower()) if word]

    def share(mine, other, size):
        return any(mine[i : i + size] == other[j : j + size] for i in range(len(mine) - size + 1) for j in range(len(other) - size + 1))

    known = list(map(words_of, train))
    texts = list(map(words_of, test))
    return [i for i, mine in enumerate(texts) if mine and any(share(mine, other, min(run, len(mine))) for other in known)]


# %% equivalent="leaks" because="no run of no words is ever looked up"
# - if size and size not in seen:
# + if (size not in seen):


# %% equivalent="leaks" because="the runs are only made again"
# - if size and size not in seen:
# + if size:


# %% equivalent="leaks" because="the larger or the smaller of two numbers is the same in either order"
# - size = min(run, len(words))
# + size = (min(len(words), run))


# %% equivalent="leaks" because="the runs are only made again"
# - if size and size not in seen:
# + if (size or size not in seen):


# %% wrong="check_split" breaks="cover" says="Still unseen"
# Misunderstands: a list of indices without repetition is enough.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
    plain = [f"text {i}" for i in range(41)]
    texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
    for case in (texts, plain[:20], plain[:30] + plain[:10]):
        for percent in (10, 25, 50):
            sides = set()
            for seed in range(10):
                train, test = split(list(case), percent, seed)
                assert not set(train) & set(test)
                words = [" ".join(text.lower().split()) for text in case]
                assert not {words[i] for i in train} & {words[i] for i in test}, "equal texts on both sides"
                least = math.ceil(percent * len(case) / 100)
                assert least <= len(test) <= least + 2, "size of the test set"
                sides.add(frozenset(test))
                again = split(list(case), percent, seed)
                assert set(again[1]) == set(test), "another split in the second call"
            assert len(sides) > 1, "the seed is ignored"


# %% wrong="check_split" breaks="together" says="Still unseen"
# Misunderstands: equal texts look alike.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
    plain = [f"text {i}" for i in range(41)]
    texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
    for case in (texts, plain[:20], plain[:30] + plain[:10]):
        for percent in (10, 25, 50):
            sides = set()
            for seed in range(10):
                train, test = split(list(case), percent, seed)
                assert sorted([*train, *test]) == list(range(len(case))), "each index exactly once"
                words = [text for text in case]
                assert not {words[i] for i in train} & {words[i] for i in test}, "equal texts on both sides"
                least = math.ceil(percent * len(case) / 100)
                assert least <= len(test) <= least + 2, "size of the test set"
                sides.add(frozenset(test))
                again = split(list(case), percent, seed)
                assert set(again[1]) == set(test), "another split in the second call"
            assert len(sides) > 1, "the seed is ignored"


# %% wrong="check_split" breaks="size" says="Still unseen"
# Misunderstands: the size is right where there are enough.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
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
                assert least <= len(test)
                sides.add(frozenset(test))
                again = split(list(case), percent, seed)
                assert set(again[1]) == set(test), "another split in the second call"
            assert len(sides) > 1, "the seed is ignored"


# %% wrong="check_split" breaks="repeat" says="Still unseen"
# Misunderstands: one call shows all.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
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
            assert len(sides) > 1, "the seed is ignored"


# %% wrong="check_split" breaks="seeded" says="Still unseen"
# Misunderstands: any splitter uses its seed.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
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



# %% wrong="check_split" breaks="together" says="Still unseen"
# Misunderstands: texts that come twice are enough.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
    plain = [f"text {i}" for i in range(41)]
    texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(0)] + plain[30:]
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


# %% wrong="check_split" breaks="size" says="Still unseen"
# Misunderstands: one percentage stands for all.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
    plain = [f"text {i}" for i in range(41)]
    texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
    for case in (texts, plain[:20], plain[:30] + plain[:10]):
        for percent in (20,):
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


# %% wrong="check_split" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: each seed gives a split of its own.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
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
            assert len(sides) == 10


# %% wrong="check_split" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: the test set has exactly so many texts.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
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
                assert len(test) == least, "size of the test set"
                sides.add(frozenset(test))
                again = split(list(case), percent, seed)
                assert set(again[1]) == set(test), "another split in the second call"
            assert len(sides) > 1, "the seed is ignored"


# %% wrong="check_split" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: lists come in the same order.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
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
                assert again[1] == test, "another split in the second call"
            assert len(sides) > 1, "the seed is ignored"


# %% wrong="check_split" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: two seeds that differ give two splits.
def check_split(split):
    """Raises where a splitter breaks one of its promises."""
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
            assert set(split(list(case), percent, 2)[1]) != set(split(list(case), percent, 3)[1])


# %% wrong="check_split" breaks="raises" says="catch none"
# Misunderstands: what a test returns is its verdict.
def check_split(split):
    return split(["a"] * 3 + [f"b {i}" for i in range(30)], 20, 1)


def unused(split):
    """Raises where a splitter breaks one of its promises."""
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


# %% right="check_split"
# Counters, other texts, and a helper.
def check_split(split):
    def fail_unless(good, what):
        if not good:
            raise ValueError(what)

    base = ["for x in y", "FOR x  in y", " for x in Y\n", "while True", "while true", "pass\tit", "pass it"]
    for extra in (16, 33, 50):
        texts = base + [f"return {i * i}" for i in range(extra)] + [f"Return  {i * i}" for i in range(0, extra, 6)]
        texts = texts[:60]
        keys = [" ".join(text.lower().split()) for text in texts]
        for percent in (13, 30, 50):
            answers = []
            for seed in list(range(10)) * 2:
                train, test = split(texts[:], percent, seed)
                fail_unless(collections.Counter(list(train) + list(test)) == collections.Counter(range(len(texts))), "each index once")
                fail_unless({keys[i] for i in train}.isdisjoint(keys[i] for i in test), "equal texts")
                enough = -(-percent * len(texts) // 100)
                fail_unless(len(test) in (enough, enough + 1, enough + 2), "size")
                answers.append(sorted(test))
            fail_unless(answers[:10] == answers[10:], "repeats")
            fail_unless(any(one != answers[0] for one in answers), "seeds")


# %% right="check_split"
# Few texts, all percentages.
def check_split(split):
    several = [f"line {i}" for i in range(14)] + [f"LINE {i}" for i in range(10)] + [f" line  {i}" for i in range(8)] + ["a  b", "A B", "x\ty", "x y"]
    apart = [f"alone {i}" for i in range(23)]
    for texts in (several, apart):
        same = {}
        for i, text in enumerate(texts):
            same.setdefault(tuple(text.lower().split()), set()).add(i)
        for percent in range(10, 51, 8):
            different = set()
            for seed in range(10):
                (train, test), (_, again) = split(texts, percent, seed), split(texts, percent, seed)
                assert len(train) + len(test) == len(texts) and set(train) | set(test) == set(range(len(texts)))
                assert sorted(test) == sorted(again)
                assert all(group <= set(test) or not group & set(test) for group in same.values())
                smallest = next(n for n in range(100) if 100 * n >= percent * len(texts))
                assert smallest <= len(test) <= smallest + 2
                different.add(tuple(sorted(test)))
            assert len(different) >= 2


# %% equivalent="check_split" because="a splitter does not change its texts"
# - train, test = split(list(case), percent, seed)
# + train, test = split(case, percent, seed)


# %% equivalent="check_split" because="a splitter does not change its texts"
# - again = split(list(case), percent, seed)
# + again = split(case, percent, seed)


# %% equivalent="check_split" because="the length of a set is a number"
# - assert len(sides) > 1, "the seed is ignored"
# + assert not len(sides) <= 1, "the seed is ignored"


# %% equivalent="check_split" because="for the texts chosen, the same ones are equal with any separator"
# - words = [" ".join(text.lower().split()) for text in case]
# + words = ["".join(text.lower().split()) for text in case]


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for percent in (10, 25, 50):
# + for percent in (11, 25, 50):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for percent in (10, 25, 50):
# + for percent in (9, 25, 50):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for percent in (10, 25, 50):
# + for percent in (10, 26, 50):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for percent in (10, 25, 50):
# + for percent in (10, 24, 50):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for percent in (10, 25, 50):
# + for percent in (10, 25, 51):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for percent in (10, 25, 50):
# + for percent in (10, 25, 49):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - plain = [f"text {i}" for i in range(41)]
# + plain = [f"text {i}" for i in range(42)]


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - plain = [f"text {i}" for i in range(41)]
# + plain = [f"text {i}" for i in range(40)]


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
# + texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[31:]


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
# + texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[29:]


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for case in (texts, plain[:20], plain[:30] + plain[:10]):
# + for case in (texts, plain[:21], plain[:30] + plain[:10]):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for case in (texts, plain[:20], plain[:30] + plain[:10]):
# + for case in (texts, plain[:19], plain[:30] + plain[:10]):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for seed in range(10):
# + for seed in range(11):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for seed in range(10):
# + for seed in range(9):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for case in (texts, plain[:20], plain[:30] + plain[:10]):
# + for case in (texts, plain[:20], plain[:31] + plain[:10]):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for case in (texts, plain[:20], plain[:30] + plain[:10]):
# + for case in (texts, plain[:20], plain[:29] + plain[:10]):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for case in (texts, plain[:20], plain[:30] + plain[:10]):
# + for case in (texts, plain[:20], plain[:30] + plain[:11]):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - for case in (texts, plain[:20], plain[:30] + plain[:10]):
# + for case in (texts, plain[:20], plain[:30] + plain[:9]):


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
# + texts = plain[:21] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
# + texts = plain[:19] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
# + texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(6)] + plain[30:]


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
# + texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(4)] + plain[30:]


# %% equivalent="check_split" because="for the numbers of texts chosen, it is the same whole number"
# - least = math.ceil(percent * len(case) / 100)
# + least = math.ceil(percent * len(case) / 101)


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
# + texts = plain[:20] + [f"Text  {i}" for i in range(11)] + [f"TEXT {i} " for i in range(5)] + plain[30:]


# %% equivalent="check_split" because="which texts, percentages and seeds are tried is the student's choice"
# - texts = plain[:20] + [f"Text  {i}" for i in range(10)] + [f"TEXT {i} " for i in range(5)] + plain[30:]
# + texts = plain[:20] + [f"Text  {i}" for i in range(9)] + [f"TEXT {i} " for i in range(5)] + plain[30:]


# %% equivalent="check_split" because="for the texts chosen, the same ones are equal with any separator"
# - words = [" ".join(text.lower().split()) for text in case]
# + words = [' x'.join(text.lower().split()) for text in case]


# %% [markdown] rubric="data_card"
# - 0.5 points: says what the text is and where it comes from, and for what it should not be used.
# - 0.5 points: names what was removed, by which rule (filter, equal texts, near-duplicates with their threshold, personal data, leaks), and how much.
# - 0.5 points: says what was probably missed or wrongly removed, and why (forms that the finder does not know, copies below the threshold, paraphrases, code thrown out).
# - 0.5 points: three figures of the student's own run, each read in the right direction.
#
# Figures may differ from the model answer's; figures without a meaning for the user earn half of the last point.
