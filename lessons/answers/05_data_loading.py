# %% wrong="paragraphs" breaks="item" says="put into lower case"
# Misunderstands: the vocabulary knows capital letters.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary.get(word, 1) for word in self.texts[i].split()]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="item" says="does not part at tabs"
# Misunderstands: words lie between single blanks.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary.get(word, 1) for word in self.texts[i].lower().split(" ")]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="unknown" says="are left out"
# Misunderstands: an unknown word is no word.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary[word] for word in self.texts[i].lower().split() if word in self.vocabulary]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="empty" says="a tensor of float32"
# Misunderstands: `torch.tensor` of whole numbers is int64 (of none it is float32).
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        return {"ids": torch.tensor([self.vocabulary.get(w, 1) for w in self.texts[i].lower().split()]), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="end" says="would not end"
# Misunderstands: an index beyond the end never comes.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        i = i % max(len(self.texts), 1) if i > len(self.texts) else i
        ids = [self.vocabulary.get(word, 1) for word in self.texts[i].lower().split()]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="end" says="KeyError"
# Misunderstands: any error ends a loop.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        encode = lambda text: torch.tensor([vocabulary.get(word, 1) for word in text.lower().split()], dtype=torch.int64)
        self.items = {i: {"ids": encode(text), "label": label} for i, (text, label) in enumerate(zip(texts, labels))}

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


# %% wrong="paragraphs" breaks="length" says="length"
# Misunderstands: texts without words do not count.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return sum(bool(text.split()) for text in self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary.get(word, 1) for word in self.texts[i].lower().split()]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="item" says="kind of label"
# Misunderstands: a dataset hands out tensors only.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.vocabulary = texts, vocabulary
        self.labels = torch.tensor(labels, dtype=torch.int64)

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary.get(word, 1) for word in self.texts[i].lower().split()]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="item" says="from the last to the first"
# Misunderstands: items are asked for in order, once.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.count, self.rows, self.vocabulary = len(texts), itertools.cycle(zip(texts, labels)), vocabulary

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i >= self.count:
            raise IndexError(i)
        text, label = next(self.rows)
        return {"ids": torch.tensor([self.vocabulary.get(word, 1) for word in text.lower().split()], dtype=torch.int64), "label": label}


# %% wrong="paragraphs" breaks="item" says="ids"
# Misunderstands: ids fit into 16 bits.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = np.array([self.vocabulary.get(word, 1) for word in self.texts[i].lower().split()]).astype(np.uint16)
        return {"ids": torch.from_numpy(ids.astype(np.int64)), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="item" says="`casefold` changes more letters"
# Misunderstands: casefold is the thorough lower and finds the same words.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary.get(word, 1) for word in self.texts[i].casefold().split()]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="item" says="One id a word"
# Misunderstands: only ASCII has blanks.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary.get(word.decode(), 1) for word in self.texts[i].lower().encode().split()]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="item" says="ids of the longest"
# Misunderstands: a paragraph has at most 512 words.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary.get(word, 1) for word in self.texts[i].lower().split()[:512]]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% wrong="paragraphs" breaks="item" says="One id a word"
# Misunderstands: a label fits into a byte.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary.get(word, 1) for word in self.texts[i].lower().split()]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i] & 255}


# %% wrong="paragraphs" breaks="unknown" says="vocabulary after the call"
# Misunderstands: setdefault is a get with a default; it writes the unknown word into the dict.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.texts, self.labels, self.vocabulary = texts, labels, vocabulary

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        ids = [self.vocabulary.setdefault(word, 1) for word in self.texts[i].lower().split()]
        return {"ids": torch.tensor(ids, dtype=torch.int64), "label": self.labels[i]}


# %% right="paragraphs"
# Encodes everything at once, with a loop.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        self.items = []
        for text, label in zip(texts, labels):
            ids = torch.ones(len(text.split()), dtype=torch.long)
            for place, word in enumerate(text.lower().split()):
                if word in vocabulary:
                    ids[place] = vocabulary[word]
            self.items.append({"ids": ids, "label": label})

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


# %% right="paragraphs"
# Raises by itself, and uses `torch.LongTensor`.
class Paragraphs(Dataset):
    def __init__(self, texts, labels, vocabulary):
        super().__init__()
        self._rows = list(zip(texts, labels))
        self._known = dict(vocabulary)

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, i):
        if i >= len(self):
            raise IndexError(f"there are {len(self)} paragraphs")
        text, label = self._rows[i]
        return {"label": label, "ids": torch.LongTensor([self._known.get(word, 1) for word in text.lower().split()])}


# %% wrong="stream" breaks="shares" says="every worker reads everything"
# Misunderstands: the loader deals out the items.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        return itertools.islice(self.read(), self.rank, None, self.world)


# %% wrong="stream" breaks="ranks" says="rank and world count"
# Misunderstands: workers of other processes read other data.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        return itertools.islice(self.read(), number, None, workers)


# %% wrong="stream" breaks="ranks" says="changed places"
# Misunderstands: any numbering of the shares will do.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        return itertools.islice(self.read(), number * self.world + self.rank, None, workers * self.world)


# %% wrong="stream" breaks="late" says="every worker reads everything"
# Misunderstands: the object is made in the worker.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        self.read, self.share, self.shares = read, rank * workers + number, world * workers

    def __iter__(self):
        return itertools.islice(self.read(), self.share, None, self.shares)


# %% wrong="stream" breaks="lazy" says="taken"
# Misunderstands: reading one step ahead does no harm.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        share, shares = self.rank * workers + number, self.world * workers
        items = self.read()
        while chunk := list(itertools.islice(items, shares)):
            if share < len(chunk):
                yield chunk[share]


# %% wrong="stream" breaks="anew" says="keep nothing of a loop in `self`"
# Misunderstands: there is one loop.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        self.share, self.shares = self.rank * workers + number, self.world * workers
        self.items = enumerate(self.read())
        return self

    def __next__(self):
        for i, item in self.items:
            if i % self.shares == self.share:
                return item
        raise StopIteration


# %% wrong="stream" breaks="anew" says="keep nothing of a loop in `self`"
# Misunderstands: `read` is called once.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.items, self.rank, self.world = read(), rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        return itertools.islice(self.items, self.rank * workers + number, None, self.world * workers)


# %% wrong="stream" breaks="shares" says="items number s"
# Misunderstands: an item that is None is the end.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        for item in itertools.islice(self.read(), self.rank * workers + number, None, self.world * workers):
            if item is None:
                return
            yield item


# %% wrong="stream" breaks="anew" says="keep nothing of a loop in `self`"
# Misunderstands: a stream is the same each time, so its share can be kept.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world
        self.kept = None

    def __iter__(self):
        if self.kept is not None:
            yield from self.kept
            return
        info = get_worker_info()
        workers, number = (info.num_workers, info.id) if info else (1, 0)
        mine = []
        for item in itertools.islice(self.read(), self.rank * workers + number, None, self.world * workers):
            mine.append(item)
            yield item
        self.kept = mine


# %% wrong="stream" breaks="late" says="asks which worker it is"
# Misunderstands: a stream stays in the worker of its first loop.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world, self.place = read, rank, world, None

    def __iter__(self):
        if self.place is None:
            info = get_worker_info()
            self.place = (info.id, info.num_workers) if info else (0, 1)
        number, workers = self.place
        return itertools.islice(self.read(), self.rank * workers + number, None, self.world * workers)


# %% wrong="stream" breaks="anew" says="calls `read()` once"
# Misunderstands: reading twice does no harm.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        if not hasattr(self.read(), "__next__"):
            raise TypeError("no iterator")
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        return itertools.islice(self.read(), self.rank * workers + number, None, self.world * workers)


# %% wrong="stream" breaks="ranks" says="rank and world count"
# Misunderstands: without workers there is nothing to share.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        if info is None:
            return iter(self.read())
        return itertools.islice(self.read(), self.rank * info.num_workers + info.id, None, self.world * info.num_workers)


# %% wrong="stream" breaks="lazy" says="up to 5,000 items or no end"
# Misunderstands: a stream has at most 1,000 items.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        share, shares = self.rank * workers + number, self.world * workers
        return itertools.islice(self.read(), share, 1000, shares)


# %% wrong="stream" breaks="shares" says="has 1 items"
# Misunderstands: None from `next` says that the stream is over.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        share, shares = self.rank * workers + number, self.world * workers
        items, place = self.read(), 0
        while (item := next(items, None)) is not None:
            if place % shares == share:
                yield item
            place += 1


# %% wrong="stream" breaks="lazy" says="taken"
# Misunderstands: a round of one item for each share may be read, then mine is handed out.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        share, shares = self.rank * workers + number, self.world * workers
        items = self.read()
        while turn := list(itertools.islice(items, shares)):
            if share < len(turn):
                yield turn[share]


# %% wrong="stream" breaks="shares" says="items number s"
# Misunderstands: an item that came already is a duplicate.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        share, shares = self.rank * workers + number, self.world * workers
        before = object()
        for item in itertools.islice(self.read(), share, None, shares):
            if item != before:
                yield item
            before = item


# %% right="stream"
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        self.read, self.rank, self.world = read, rank, world

    def __iter__(self):
        info = get_worker_info()
        workers = 1 if info is None else info.num_workers
        mine = self.rank * workers + (0 if info is None else info.id)
        for i, item in enumerate(self.read()):
            if i % (workers * self.world) == mine:
                yield item


# %% right="stream"
# Counts down to its next item.
class Stream(IterableDataset):
    def __init__(self, read, rank=0, world=1):
        super().__init__()
        self.make, self.place = read, (rank, world)

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        rank, world = self.place
        workers, number = (info.num_workers, info.id) if info is not None else (1, 0)
        wait = rank * workers + number
        for item in self.make():
            if wait == 0:
                yield item
                wait = world * workers
            wait -= 1


# %% equivalent="stream" because="an IterableDataset has nothing to initialise"
# - super().__init__()
# + pass


# %% wrong="collate" breaks="mask" says="read off the ids"
# Misunderstands: 0 is always padding.
def pad_collate(items, multiple=1):
    width = multiple * max(1, math.ceil(max(len(item["ids"]) for item in items) / multiple))
    ids = torch.stack([F.pad(item["ids"], (0, width - len(item["ids"]))) for item in items])
    return {"ids": ids, "mask": ids != 0, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    total = x.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


# %% wrong="collate" breaks="width" says="not rounded up"
# Misunderstands: `multiple` is a wish.
def pad_collate(items, multiple=1):
    ids = nn.utils.rnn.pad_sequence([item["ids"] for item in items], batch_first=True)
    ids = F.pad(ids, (0, multiple - ids.shape[1])) if ids.shape[1] == 0 else ids
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(item["ids"]) for item in items])[:, None]
    return {"ids": ids, "mask": mask, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    total = x.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


# %% wrong="collate" breaks="width" says="fits exactly"
# Misunderstands: integer division and one more.
def pad_collate(items, multiple=1):
    width = multiple * (max(len(item["ids"]) for item in items) // multiple + 1)
    ids = torch.stack([F.pad(item["ids"], (0, width - len(item["ids"]))) for item in items])
    mask = torch.arange(width) < torch.tensor([len(item["ids"]) for item in items])[:, None]
    return {"ids": ids, "mask": mask, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    total = x.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


# %% wrong="collate" breaks="width" says="shape"
# Misunderstands: a batch of empty items has no width.
def pad_collate(items, multiple=1):
    width = multiple * math.ceil(max(len(item["ids"]) for item in items) / multiple)
    ids = torch.stack([F.pad(item["ids"], (0, width - len(item["ids"]))) for item in items])
    mask = torch.arange(width) < torch.tensor([len(item["ids"]) for item in items])[:, None]
    return {"ids": ids, "mask": mask, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    total = x.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


# %% wrong="collate" breaks="padding" says="ids first, then zeros"
# Misunderstands: padding stands on the left, as for generation.
def pad_collate(items, multiple=1):
    width = multiple * max(1, math.ceil(max(len(item["ids"]) for item in items) / multiple))
    ids = torch.stack([F.pad(item["ids"], (width - len(item["ids"]), 0)) for item in items])
    mask = torch.arange(width) < torch.tensor([len(item["ids"]) for item in items])[:, None]
    return {"ids": ids, "mask": mask, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    total = x.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


# %% wrong="collate" breaks="batch" says="dtype"
# Misunderstands: a mask holds 0 and 1; ids may be int32.
def pad_collate(items, multiple=1):
    width = multiple * max(1, math.ceil(max(len(item["ids"]) for item in items) / multiple))
    ids = torch.stack([F.pad(item["ids"], (0, width - len(item["ids"]))) for item in items])
    mask = torch.arange(width) < torch.tensor([len(item["ids"]) for item in items])[:, None]
    return {"ids": ids.int(), "mask": mask, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    total = x.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


# %% wrong="collate" breaks="items" says="must stay as it was"
# Misunderstands: an item may be padded where it is.
def pad_collate(items, multiple=1):
    lengths = torch.tensor([len(item["ids"]) for item in items])
    width = multiple * max(1, math.ceil(int(lengths.max()) / multiple))
    for item in items:
        item["ids"] = F.pad(item["ids"], (0, width - len(item["ids"])))
    mask = torch.arange(width) < lengths[:, None]
    return {"ids": torch.stack([item["ids"] for item in items]), "mask": mask, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    total = x.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


# %% wrong="collate" breaks="mean" says="divided by all positions"
# Misunderstands: zeros do not count in a mean.
def pad_collate(items, multiple=1):
    width = multiple * max(1, math.ceil(max(len(item["ids"]) for item in items) / multiple))
    ids = torch.stack([F.pad(item["ids"], (0, width - len(item["ids"]))) for item in items])
    mask = torch.arange(width) < torch.tensor([len(item["ids"]) for item in items])[:, None]
    return {"ids": ids, "mask": mask, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    return x.masked_fill(~mask[..., None], 0).mean(1)


# %% wrong="collate" breaks="rubbish" says="0 times NaN is NaN"
# Misunderstands: times 0 is 0.
def pad_collate(items, multiple=1):
    width = multiple * max(1, math.ceil(max(len(item["ids"]) for item in items) / multiple))
    ids = torch.stack([F.pad(item["ids"], (0, width - len(item["ids"]))) for item in items])
    mask = torch.arange(width) < torch.tensor([len(item["ids"]) for item in items])[:, None]
    return {"ids": ids, "mask": mask, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


# %% wrong="collate" breaks="no_positions" says="0 / 0 is NaN"
# Misunderstands: some position always counts.
def pad_collate(items, multiple=1):
    width = multiple * max(1, math.ceil(max(len(item["ids"]) for item in items) / multiple))
    ids = torch.stack([F.pad(item["ids"], (0, width - len(item["ids"]))) for item in items])
    mask = torch.arange(width) < torch.tensor([len(item["ids"]) for item in items])[:, None]
    return {"ids": ids, "mask": mask, "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    return x.masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True)


# %% wrong="collate" breaks="mask" says="the mask says where ids stand"
# Misunderstands: a row must not be masked as a whole.
def pad_collate(items, multiple=1):
    sizes = torch.tensor([len(item["ids"]) for item in items])
    width = max(1, -(-int(sizes.max()) // multiple)) * multiple
    ids = torch.stack([F.pad(item["ids"], (0, width - len(item["ids"]))) for item in items])
    return {"ids": ids, "mask": torch.arange(width) < sizes[:, None].clamp(min=1), "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    return x.masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


# %% wrong="collate" breaks="padding" says="ids first, then zeros"
# Misunderstands: ids fit into 16 bits.
def pad_collate(items, multiple=1):
    sizes = torch.tensor([len(item["ids"]) for item in items])
    width = max(1, -(-int(sizes.max()) // multiple)) * multiple
    ids = torch.stack([F.pad(item["ids"].short(), (0, width - len(item["ids"]))) for item in items]).long()
    return {"ids": ids, "mask": torch.arange(width) < sizes[:, None], "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    return x.masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


# %% right="collate"
# Library functions for the padding, `where` and a safe divisor for the mean.
def pad_collate(items, multiple=1):
    lengths = torch.tensor([len(item["ids"]) for item in items])
    width = max(-(-int(lengths.max()) // multiple), 1) * multiple
    ids = nn.utils.rnn.pad_sequence([item["ids"] for item in items], batch_first=True, padding_value=0)
    ids = F.pad(ids, (0, width - ids.shape[1]))
    labels = torch.tensor([item["label"] for item in items])
    return {"labels": labels, "mask": torch.arange(width)[None] < lengths[:, None], "ids": ids}


def masked_mean(x, mask):
    kept = torch.where(mask.unsqueeze(-1), x, torch.zeros((), dtype=x.dtype))
    return kept.sum(dim=1) / torch.maximum(mask.sum(1), torch.ones(())).to(x.dtype)[:, None]


# %% right="collate"
# Row by row.
def pad_collate(items, multiple=1):
    width = multiple
    while width < max(item["ids"].numel() for item in items):
        width += multiple
    rows = [item["ids"].tolist() + [0] * (width - len(item["ids"])) for item in items]
    marks = [[True] * len(item["ids"]) + [False] * (width - len(item["ids"])) for item in items]
    return {"ids": torch.tensor(rows), "mask": torch.tensor(marks), "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    means = [row[chosen].mean(0) if chosen.any() else torch.zeros(x.shape[2], dtype=x.dtype) for row, chosen in zip(x, mask)]
    return torch.stack(means)


# %% right="collate"
# Where `mask` is True there is nothing for `nan_to_num` to change.
def pad_collate(items, multiple=1):
    sizes = torch.tensor([len(item["ids"]) for item in items])
    width = max(1, -(-int(sizes.max()) // multiple)) * multiple
    ids = torch.stack([F.pad(item["ids"], (0, width - len(item["ids"]))) for item in items])
    return {"ids": ids, "mask": torch.arange(width) < sizes[:, None], "labels": torch.tensor([item["label"] for item in items])}


def masked_mean(x, mask):
    clean = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    return (clean * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


# %% equivalent="collate" because="the larger of two numbers does not depend on their order"
# - width = multiple * max(1, math.ceil(longest / multiple))
# + width = multiple * (max(math.ceil(longest / multiple), 1))


# %% wrong="item_weights" breaks="absent" says="0 ** 0 is 1"
# Misunderstands: 0 ** alpha is 0.
def item_weights(labels, alpha):
    counts = torch.bincount(labels).double()
    shares = counts**alpha
    return (shares / shares.sum() / counts)[labels]


# %% wrong="item_weights" breaks="equal" says="divide it among its items"
# Misunderstands: each item gets the share of its class.
def item_weights(labels, alpha):
    _, place, counts = labels.unique(return_inverse=True, return_counts=True)
    powers = counts.double() ** alpha
    return (powers / powers.sum())[place]


# %% wrong="item_weights" breaks="classes" says="must make 1"
# Misunderstands: the sampler divides by the sum itself.
def item_weights(labels, alpha):
    _, place, counts = labels.unique(return_inverse=True, return_counts=True)
    return (counts.double() ** (alpha - 1))[place]


# %% wrong="item_weights" breaks="classes" says="alpha = 0 alone"
# Misunderstands: balanced means even.
def item_weights(labels, alpha):
    _, place, counts = labels.unique(return_inverse=True, return_counts=True)
    return (1 / counts.double() / len(counts))[place]


# %% wrong="item_weights" breaks="result" says="dtype"
# Misunderstands: whole numbers to a power are float64.
def item_weights(labels, alpha):
    _, place, counts = labels.unique(return_inverse=True, return_counts=True)
    powers = counts**alpha
    return (powers / powers.sum() / counts)[place]


# %% wrong="item_weights" breaks="equal" says="n ** alpha"
# Misunderstands: the items of a class may be weighted by their place.
def item_weights(labels, alpha):
    _, place, counts = labels.unique(return_inverse=True, return_counts=True)
    powers = counts.double() ** alpha
    weights = torch.zeros(len(labels), dtype=torch.float64)
    for c, count in enumerate(counts):
        at = (place == c).nonzero().flatten()
        steps = torch.arange(1, int(count) + 1, dtype=torch.float64)
        weights[at] = powers[c] / powers.sum() * steps / steps.sum()
    return weights


# %% right="item_weights"
def item_weights(labels, alpha):
    counts = collections.Counter(labels.tolist())
    whole = sum(n**alpha for n in counts.values())
    return torch.tensor([counts[c] ** alpha / (whole * counts[c]) for c in labels.tolist()], dtype=torch.float64)


# %% right="item_weights"
# All items first, then divided by the sum.
def item_weights(labels, alpha):
    own = torch.bincount(labels, minlength=1000)[labels].to(torch.float64)
    weights = own.pow(alpha - 1)
    return weights / weights.sum()


# %% wrong="buckets" breaks="pools" says="sort each pool by itself"
# Misunderstands: sorted once is sorted best.
def bucket_batches(order, lengths, batch_size, pool):
    indices = sorted(order, key=lambda i: lengths[i])
    return [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    raise NotImplementedError


# %% wrong="buckets" breaks="pools" says="not `pool`"
# Misunderstands: `pool` counts items.
def bucket_batches(order, lengths, batch_size, pool):
    batches = []
    for start in range(0, len(order), pool):
        indices = sorted(order[start : start + pool], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    raise NotImplementedError


# %% wrong="buckets" breaks="ties" says="order of their numbers"
# Misunderstands: equal lengths may come in any order.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: (lengths[i], i))
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    raise NotImplementedError


# %% wrong="buckets" breaks="kept" says="smaller batches were dropped"
# Misunderstands: batches are whole.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices) - batch_size + 1, batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    raise NotImplementedError


# %% wrong="buckets" breaks="waste" says="mean over batches"
# Misunderstands: batches weigh alike.
def bucket_batches(order, lengths, batch_size, pool):
    raise NotImplementedError


def padding_share(batches, lengths):
    shares = []
    for batch in batches:
        cells = len(batch) * max(lengths[i] for i in batch)
        shares.append(1 - sum(lengths[i] for i in batch) / cells if cells else 0.0)
    return sum(shares) / len(shares)


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    raise NotImplementedError


# %% wrong="buckets" breaks="waste" says="share of words"
# Misunderstands: what the share is of.
def bucket_batches(order, lengths, batch_size, pool):
    raise NotImplementedError


def padding_share(batches, lengths):
    cells = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return sum(lengths[i] for batch in batches for i in batch) / cells if cells else 0.0


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    raise NotImplementedError


# %% wrong="buckets" breaks="no_cells" says="ZeroDivisionError"
# Misunderstands: some length is not 0.
def bucket_batches(order, lengths, batch_size, pool):
    raise NotImplementedError


def padding_share(batches, lengths):
    cells = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - sum(lengths[i] for batch in batches for i in batch) / cells


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    raise NotImplementedError


# %% wrong="buckets" breaks="epoch" says="the same batches come again and again"
# Misunderstands: shuffling the batches is enough.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    batches = bucket_batches(list(range(len(lengths))), lengths, batch_size, pool)
    return [batches[k] for k in chance.permutation(len(batches))]


# %% wrong="buckets" breaks="epoch" says="sorted as a whole"
# Misunderstands: one pool is best.
def bucket_batches(order, lengths, batch_size, pool):
    raise NotImplementedError


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    order = sorted(chance.permutation(len(lengths)).tolist(), key=lambda i: lengths[i])
    batches = [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
    return [batches[k] for k in chance.permutation(len(batches))]


# %% wrong="buckets" breaks="shuffled" says="shuffle the batches"
# Misunderstands: shuffling the indices is enough.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist()
    return bucket_batches(order, lengths, batch_size, pool)


# %% wrong="buckets" breaks="shuffled" says="shuffle the batches, all of them"
# Misunderstands: the smaller batch comes last.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    return [batches[k] for k in chance.permutation(len(batches) - 1)] + batches[-1:]


# %% wrong="buckets" breaks="seeded" says="not from their sum"
# Misunderstands: a sum of two seeds is a seed of both.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng(seed + epoch)
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    return [batches[k] for k in chance.permutation(len(batches))]


# %% wrong="buckets" breaks="global" says="global random numbers have moved on"
# Misunderstands: seeding the global generator harms nobody.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    torch.manual_seed(10_001 * seed + epoch)
    batches = bucket_batches(torch.randperm(len(lengths)).tolist(), lengths, batch_size, pool)
    return [batches[k] for k in torch.randperm(len(batches))]


# %% wrong="buckets" breaks="epoch, global" says="called twice"
# Misunderstands: the batches may be shuffled by whatever generator.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng()
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    return [batches[k] for k in chance.permutation(len(batches))]


# %% wrong="buckets" breaks="ties" says="equal ones as in `order`"
# Misunderstands: every sort keeps equal ones in their order.
def bucket_batches(order, lengths, batch_size, pool):
    batches = []
    for start in range(0, len(order), pool * batch_size):
        part = order[start : start + pool * batch_size]
        part = [part[k] for k in np.argsort([lengths[i] for i in part])]
        batches += [part[k : k + batch_size] for k in range(0, len(part), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    raise NotImplementedError


# %% wrong="buckets" breaks="waste" says="Cells without a word"
# Misunderstands: a table is at least one cell wide.
def bucket_batches(order, lengths, batch_size, pool):
    raise NotImplementedError


def padding_share(batches, lengths):
    words = sum(lengths[i] for batch in batches for i in batch)
    if words == 0:
        return 0.0
    cells = sum(len(batch) * max(1, max(lengths[i] for i in batch)) for batch in batches)
    return (cells - words) / cells


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    raise NotImplementedError


# %% wrong="buckets" breaks="seeded" says="make the generator from both numbers"
# Misunderstands: 40 * seed + epoch tells all pairs apart (epochs go to 99).
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    generator = torch.Generator().manual_seed(40 * seed + epoch)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches = bucket_batches(order, lengths, batch_size, pool)
    return [batches[k] for k in torch.randperm(len(batches), generator=generator).tolist()]


# %% wrong="buckets" breaks="seeded" says="make the generator from both numbers"
# Misunderstands: one number behind the other tells all pairs apart.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = random.Random(f"{seed}{epoch}")
    batches = bucket_batches(chance.sample(range(len(lengths)), len(lengths)), lengths, batch_size, pool)
    return chance.sample(batches, len(batches))


# %% wrong="buckets" breaks="epoch" says="with the same `pool`"
# Misunderstands: one batch more in a pool does no harm.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool + 1)
    return [batches[k] for k in chance.permutation(len(batches))]


# %% wrong="buckets" breaks="shuffled" says="shuffle the batches"
# Misunderstands: a random place to begin is a random order.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    begin = int(chance.integers(len(batches)))
    return batches[begin:] + batches[:begin]


# %% wrong="buckets" breaks="epoch" says="has changed `lengths`"
# Misunderstands: a list may be sorted where it is.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    lengths.sort()
    return [batches[k] for k in chance.permutation(len(batches))]


# %% wrong="buckets" breaks="shuffled" says="shuffle all batches, across the pools"
# Misunderstands: the pools are random already, so batches are shuffled inside their pool alone.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    return [batches[start + k] for start in range(0, len(batches), pool) for k in chance.permutation(len(batches[start : start + pool]))]


# %% wrong="buckets" breaks="shuffled" says="shuffle all batches, across the pools"
# Misunderstands: pools are shuffled, and the batches of each pool, but pools stay together.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    pools = [batches[k : k + pool] for k in range(0, len(batches), pool)]
    return [pools[p][k] for p in chance.permutation(len(pools)) for k in chance.permutation(len(pools[p]))]


# %% wrong="buckets" breaks="shuffled" says="shuffle the batches"
# Misunderstands: a random place to begin at is a random order.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    k = chance.integers(len(batches))
    return batches[k:] + batches[:k] if chance.integers(2) else (batches[k:] + batches[:k])[::-1]


# %% wrong="buckets" breaks="seeded" says="make the generator from both numbers"
# Misunderstands: the order of the batches may depend on the epoch alone.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    batches = bucket_batches(np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    return [batches[k] for k in np.random.default_rng(epoch).permutation(len(batches))]


# %% wrong="buckets" breaks="seeded" says="anew for each (seed, epoch)"
# Misunderstands: the order of the indices may depend on the epoch alone.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    batches = bucket_batches(np.random.default_rng(epoch).permutation(len(lengths)).tolist(), lengths, batch_size, pool)
    return [batches[k] for k in np.random.default_rng([seed, epoch]).permutation(len(batches))]


# %% wrong="buckets" breaks="epoch" says="every order of the indices is equally likely"
# Misunderstands: every so many items from a random one on is a random order.
def bucket_batches(order, lengths, batch_size, pool):
    batches, size = [], pool * batch_size
    for start in range(0, len(order), size):
        indices = sorted(order[start : start + size], key=lambda i: lengths[i])
        batches += [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
    return batches


def padding_share(batches, lengths):
    raise NotImplementedError


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = np.random.default_rng([seed, epoch])
    n = len(lengths)
    step = int(chance.choice([k for k in range(1, n + 1) if math.gcd(k, n) == 1]))
    start = int(chance.integers(n))
    batches = bucket_batches([(start + step * i) % n for i in range(n)], lengths, batch_size, pool)
    return [batches[k] for k in chance.permutation(len(batches))]


# %% right="buckets"
# With torch's generator; the seed is made from both numbers.
def bucket_batches(order, lengths, batch_size, pool):
    out = []
    pools = [order[k : k + batch_size * pool] for k in range(0, len(order), batch_size * pool)]
    for indices in pools:
        ranked = torch.tensor([lengths[i] for i in indices]).argsort(stable=True).tolist()
        ranked = [indices[k] for k in ranked]
        while ranked:
            out.append(ranked[:batch_size])
            ranked = ranked[batch_size:]
    return out


def padding_share(batches, lengths):
    empty = cells = 0
    for batch in batches:
        width = max(lengths[i] for i in batch)
        for i in batch:
            empty += width - lengths[i]
            cells += width
    return empty / cells if cells > 0 else 0.0


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    generator = torch.Generator().manual_seed(20_011 * seed + epoch)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches = bucket_batches(order, lengths, batch_size, pool)
    return [batches[k] for k in torch.randperm(len(batches), generator=generator).tolist()]


# %% right="buckets"
# With Python's generator, seeded by a text.
def bucket_batches(order, lengths, batch_size, pool):
    batches = []
    for start in range(0, len(order), pool * batch_size):
        part = list(order[start : start + pool * batch_size])
        part.sort(key=lengths.__getitem__)
        batches.extend(part[k : k + batch_size] for k in range(0, len(part), batch_size))
    return batches


def padding_share(batches, lengths):
    widths = [max(map(lengths.__getitem__, batch)) for batch in batches]
    cells = sum(width * len(batch) for width, batch in zip(widths, batches))
    if not cells:
        return 0.0
    return (cells - sum(sum(lengths[i] for i in batch) for batch in batches)) / cells


def epoch_batches(lengths, batch_size, pool, seed, epoch):
    chance = random.Random(f"{seed} {epoch}")
    order = list(range(len(lengths)))
    chance.shuffle(order)
    batches = bucket_batches(order, lengths, batch_size, pool)
    chance.shuffle(batches)
    return batches


# %% equivalent="buckets" because="an index may be an int of NumPy"
# - batches = bucket_batches(chance.permutation(len(lengths)).tolist(), lengths, batch_size, pool)
# + batches = bucket_batches(chance.permutation(len(lengths)), lengths, batch_size, pool)


# %% wrong="resume" breaks="state" says="before the `yield`"
# Misunderstands: a batch is done when the loop comes back for the next one.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        for batch in self.load(self.batches_of(self.epoch)[self.done :]):
            yield batch
            self.done += 1
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]


# %% wrong="resume" breaks="state" says="before the `yield`"
# Misunderstands: what the loader has asked for was handed out.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def _asked(self):
        self.done += 1

    def __iter__(self):
        asked = self._asked

        class Counted(list):
            def __iter__(self):
                for batch in super().__iter__():
                    asked()
                    yield batch

        yield from self.load(Counted(self.batches_of(self.epoch)[self.done :]))
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]


# %% wrong="resume" breaks="epochs" says="begins with batch number `done` of its epoch"
# Misunderstands: the batches are those of epoch 0.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches, self.batches_of, self.load = batches_of(0), batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        for batch in self.load(self.batches[self.done :]):
            self.done += 1
            yield batch
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]
        self.batches = self.batches_of(self.epoch)


# %% wrong="resume" breaks="resume" says="expected"
# Misunderstands: a resume begins the epoch anew.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        for batch in self.load(self.batches_of(self.epoch)[self.done :]):
            self.done += 1
            yield batch
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], 0


# %% wrong="resume" breaks="resume" says="expected"
# Misunderstands: a state at the end of an epoch belongs to the next one.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        for batch in self.load(self.batches_of(self.epoch)[self.done :]):
            self.done += 1
            yield batch
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]
        if self.done == len(self.batches_of(self.epoch)):
            self.epoch, self.done = self.epoch + 1, 0


# %% wrong="resume" breaks="rest" says="a list of the rest alone"
# Misunderstands: batches that are skipped may be loaded.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        skip = self.done
        for place, batch in enumerate(self.load(self.batches_of(self.epoch))):
            if place >= skip:
                self.done += 1
                yield batch
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]


# %% wrong="resume" breaks="left" says="expected"
# Misunderstands: a new loop is a new epoch.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done, self.loaded = 0, 0, False

    def __iter__(self):
        if not self.loaded:
            self.done = 0
        self.loaded = False
        for batch in self.load(self.batches_of(self.epoch)[self.done :]):
            self.done += 1
            yield batch
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done, self.loaded = state["epoch"], state["done"], True


# %% wrong="resume" breaks="left" says="expected"
# Misunderstands: leaving a loop ends the epoch.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        try:
            for batch in self.load(self.batches_of(self.epoch)[self.done :]):
                self.done += 1
                yield batch
        finally:
            self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]


# %% wrong="resume" breaks="photograph" says="make a new dict each time"
# Misunderstands: the state may be the dict with which the object works.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.state = {"epoch": 0, "done": 0}

    def __iter__(self):
        for batch in self.load(self.batches_of(self.state["epoch"])[self.state["done"] :]):
            self.state["done"] += 1
            yield batch
        self.state.update(epoch=self.state["epoch"] + 1, done=0)

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state.update(state)


# %% wrong="resume" breaks="photograph" says="make a new dict each time"
# Misunderstands: a dict that was loaded belongs to the object.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.state = {"epoch": 0, "done": 0}

    def __iter__(self):
        for batch in self.load(self.batches_of(self.state["epoch"])[self.state["done"] :]):
            self.state["done"] += 1
            yield batch
        self.state.update(epoch=self.state["epoch"] + 1, done=0)

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state):
        self.state = state


# %% wrong="resume" breaks="left" says="it must stay as it was"
# Misunderstands: the list from `batches_of` belongs to the object.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        batches = self.batches_of(self.epoch)
        del batches[: self.done]
        for loaded in self.load(batches):
            self.done += 1
            yield loaded
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]


# %% wrong="resume" breaks="rest" says="`load` takes a list"
# Misunderstands: an iterator over the rest is as good as a list.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        for loaded in self.load(itertools.islice(self.batches_of(self.epoch), self.done, None)):
            self.done += 1
            yield loaded
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]


# %% wrong="resume" breaks="resume" says="no batch of its epoch is left"
# Misunderstands: a loop without batches goes on with the next epoch.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        batches = self.batches_of(self.epoch)
        if self.done >= len(batches):
            self.epoch, self.done = self.epoch + 1, 0
            batches = self.batches_of(self.epoch)
        for loaded in self.load(batches[self.done :]):
            self.done += 1
            yield loaded
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]


# %% wrong="resume" breaks="rest" says="calls `load` once"
# Misunderstands: a loop that was left goes on where it is.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    running = None

    def __iter__(self):
        if self.running is None:
            self.running = iter(self.load(self.batches_of(self.epoch)[self.done :]))
        for loaded in self.running:
            self.done += 1
            yield loaded
        self.epoch, self.done, self.running = self.epoch + 1, 0, None

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]
        self.running = None


# %% wrong="resume" breaks="epochs" says="before you ask for the next one"
# Misunderstands: an epoch may be loaded as a whole.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        for loaded in list(self.load(self.batches_of(self.epoch)[self.done :])):
            self.done += 1
            yield loaded
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]


# %% wrong="resume" breaks="resume" says="expected"
# Misunderstands: a dict keeps its order.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        for loaded in self.load(self.batches_of(self.epoch)[self.done :]):
            self.done += 1
            yield loaded
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state.values()


# %% wrong="resume" breaks="epochs" says="TypeError"
# Misunderstands: what `load` returns is an iterator.
class Resumable:
    def __init__(self, batches_of, load):
        self.batches_of, self.load = batches_of, load
        self.epoch, self.done = 0, 0

    def __iter__(self):
        loaded = self.load(self.batches_of(self.epoch)[self.done :])
        while (batch := next(loaded, None)) is not None:
            self.done += 1
            yield batch
        self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state):
        self.epoch, self.done = state["epoch"], state["done"]


# %% right="resume"
# An iterator of its own in place of a generator function.
class Resumable:
    class Loop:
        def __init__(self, owner):
            self.owner = owner
            rest = owner.batches_of(owner.at["epoch"])
            self.loaded = iter(owner.load(rest[owner.at["done"] :]))

        def __iter__(self):
            return self

        def __next__(self):
            try:
                batch = next(self.loaded)
            except StopIteration:
                self.owner.at = {"epoch": self.owner.at["epoch"] + 1, "done": 0}
                raise
            self.owner.at = {"epoch": self.owner.at["epoch"], "done": self.owner.at["done"] + 1}
            return batch

    def __init__(self, batches_of, load):
        self.batches_of, self.load, self.at = batches_of, load, {"epoch": 0, "done": 0}

    def __iter__(self):
        return self.Loop(self)

    def state_dict(self):
        return dict(self.at)

    def load_state_dict(self, state):
        self.at = dict(state)


# %% right="resume"
# Counts by `enumerate`; the batches of the epoch are looked up once.
class Resumable:
    def __init__(self, batches_of, load):
        self._plan, self._load, self._place = batches_of, load, (0, 0)

    def __iter__(self):
        epoch, done = self._place
        rest = list(self._plan(epoch))[done:]
        for place, batch in enumerate(self._load(rest), start=done + 1):
            self._place = (epoch, place)
            yield batch
        self._place = (epoch + 1, 0)

    def state_dict(self):
        return dict(zip(("epoch", "done"), self._place))

    def load_state_dict(self, state):
        self._place = int(state["epoch"]), int(state["done"])


# %% wrong="shifted" breaks="moved" says="as `roll` does it"
# Misunderstands: `roll` moves a picture.
def shift(image, dy, dx):
    return image.roll((dy, dx), (1, 2))


class Shifted(Dataset):
    pass


# %% wrong="shifted" breaks="moved" says="moved the other way"
# Misunderstands: which way is up.
def shift(image, dy, dx):
    _, height, width = image.shape
    if abs(dy) >= height or abs(dx) >= width:
        return torch.zeros_like(image)
    return F.pad(image, (-dx, dx, -dy, dy))


class Shifted(Dataset):
    pass


# %% wrong="shifted" breaks="far" says="0 where that lies outside"
# Misunderstands: a picture never leaves its frame whole.
def shift(image, dy, dx):
    _, height, width = image.shape
    dy, dx = max(min(dy, height - 1), 1 - height), max(min(dx, width - 1), 1 - width)
    return F.pad(image, (dx, -dx, dy, -dy))


class Shifted(Dataset):
    pass


# %% wrong="shifted" breaks="far" says="raised"
# Misunderstands: negative padding cuts off whatever there is.
def shift(image, dy, dx):
    return F.pad(image, (dx, -dx, dy, -dy))


class Shifted(Dataset):
    pass


# %% wrong="shifted" breaks="pair" says="labels"
# Misunderstands: labels are counted from 0.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        chance = np.random.default_rng([self.seed, self.epoch, i])
        dy, dx = chance.integers(-self.reach, self.reach + 1, 2).tolist()
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), i


# %% wrong="shifted" breaks="uniform" says="both ends among them"
# Misunderstands: the upper end of `integers` is included.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        chance = np.random.default_rng([self.seed, self.epoch, i])
        dy, dx = chance.integers(-self.reach, max(self.reach, 1 - self.reach), 2).tolist()
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="uniform" says="drawn independently"
# Misunderstands: one number moves both ways.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        by = int(np.random.default_rng([self.seed, self.epoch, i]).integers(-self.reach, self.reach + 1))
        return F.pad(self.images[i], (by, -by, by, -by)), self.labels[i]


# %% wrong="shifted" breaks="pure" says="in another order"
# Misunderstands: a generator for each epoch is enough.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach = images, labels, seed, reach
        self.set_epoch(0)

    def set_epoch(self, epoch):
        self.chance = np.random.default_rng([self.seed, epoch])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        dy, dx = self.chance.integers(-self.reach, self.reach + 1, 2).tolist()
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="not from their sum"
# Misunderstands: a sum of seeds is a seed of all.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        chance = np.random.default_rng(self.seed + self.epoch + i)
        dy, dx = chance.integers(-self.reach, self.reach + 1, 2).tolist()
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="not from their sum"
# Misunderstands: an item keeps its shift in all epochs.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach = images, labels, seed, reach

    def set_epoch(self, epoch):
        pass

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        chance = np.random.default_rng([self.seed, i])
        dy, dx = chance.integers(-self.reach, self.reach + 1, 2).tolist()
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="global" says="global random numbers"
# Misunderstands: seeding the global generator harms nobody.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        random.seed(f"{self.seed} {self.epoch} {i}")
        dy, dx = random.randint(-self.reach, self.reach), random.randint(-self.reach, self.reach)
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="make the generator from all three numbers"
# Misunderstands: 100 * epoch + i is a number of its own (item 100 is item 0 of the next epoch).
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        chance = np.random.default_rng(10_000 * self.seed + 100 * self.epoch + i)
        dy, dx = chance.integers(-self.reach, self.reach + 1, 2).tolist()
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="make the generator from all three numbers"
# Misunderstands: 50 * seed + epoch is a number of its own (epochs go to 99).
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        chance = np.random.default_rng([50 * self.seed + self.epoch, i])
        dy, dx = chance.integers(-self.reach, self.reach + 1, 2).tolist()
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="make the generator from all three numbers"
# Misunderstands: one number behind the other tells all apart.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        chance = random.Random(f"{self.seed}{self.epoch} {i}")
        dy, dx = (chance.randint(-self.reach, self.reach) for _ in range(2))
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="make the generator from all three numbers"
# Misunderstands: after some items shifts may come again.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        chance = np.random.default_rng([self.seed, self.epoch, i % 256])
        dy, dx = chance.integers(-self.reach, self.reach + 1, 2).tolist()
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="make the generator from all three numbers"
# Misunderstands: an item that was made can be kept.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        self.kept = getattr(self, "kept", {})
        if i not in self.kept:
            chance = np.random.default_rng([self.seed, self.epoch, i])
            dy, dx = chance.integers(-self.reach, self.reach + 1, 2).tolist()
            self.kept[i] = F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]
        return self.kept[i]


# %% wrong="shifted" breaks="pure" says="must play no part"
# Misunderstands: the seed of the worker comes in, so that workers do not draw the same.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        info = get_worker_info()
        chance = np.random.default_rng([info.seed if info else self.seed, self.epoch, i])
        dy, dx = chance.integers(-self.reach, self.reach + 1, 2).tolist()
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="items are drawn independently"
# Misunderstands: dy from the generator of i and dx from that of i + 1 are independent enough.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def draw(self, *key):
        return int(np.random.default_rng(key).integers(-self.reach, self.reach + 1))

    def __getitem__(self, i):
        dy, dx = self.draw(self.seed, self.epoch, i), self.draw(self.seed, self.epoch, i + 1)
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="items are drawn independently"
# Misunderstands: the other sign makes another number.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def draw(self, *key):
        return int(np.random.default_rng(key).integers(-self.reach, self.reach + 1))

    def __getitem__(self, i):
        dy, dx = self.draw(self.seed, self.epoch, i), -self.draw(self.seed, self.epoch, i + 1)
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="drawn independently of each other"
# Misunderstands: dx may come from the generator of the next epoch.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def draw(self, *key):
        return int(np.random.default_rng(key).integers(-self.reach, self.reach + 1))

    def __getitem__(self, i):
        dy, dx = self.draw(self.seed, self.epoch, i), self.draw(self.seed, self.epoch + 1, i)
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% wrong="shifted" breaks="fresh" says="drawn independently of each other"
# Misunderstands: each of the two may leave out one of the three numbers.
def shift(image, dy, dx):
    raise NotImplementedError


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def draw(self, *key):
        return int(np.random.default_rng(key).integers(-self.reach, self.reach + 1))

    def __getitem__(self, i):
        dy, dx = self.draw(self.seed, i, 7), self.draw(self.epoch, i, 8)
        return F.pad(self.images[i], (dx, -dx, dy, -dy)), self.labels[i]


# %% right="shifted"
# A table of shifts for all items, drawn when the epoch is set.
def shift(image, dy, dx):
    _, height, width = image.shape
    wide = F.pad(image, (abs(dx), abs(dx), abs(dy), abs(dy)))
    y, x = abs(dy) - dy, abs(dx) - dx
    return wide[:, y : y + height, x : x + width].clone()


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach = images, labels, seed, reach
        self.set_epoch(0)

    def set_epoch(self, epoch):
        generator = torch.Generator().manual_seed(100 * self.seed + epoch)
        self.table = torch.randint(-self.reach, self.reach + 1, (len(self.labels), 2), generator=generator).tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return shift(self.images[i], *self.table[i]), self.labels[i]


# %% right="shifted"
# Copies the part that stays inside.
def shift(image, dy, dx):
    _, height, width = image.shape
    moved = torch.zeros_like(image)
    if abs(dy) < height and abs(dx) < width:
        to_y, to_x = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
        from_y, from_x = slice(max(-dy, 0), height + min(-dy, 0)), slice(max(-dx, 0), width + min(-dx, 0))
        moved[:, to_y, to_x] = image[:, from_y, from_x]
    return moved


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach, self.epoch = images, labels, seed, reach, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        chance = np.random.default_rng((i, self.epoch, self.seed))
        dy, dx = chance.integers(-self.reach, self.reach, 2, endpoint=True).tolist()
        return shift(self.images[i], dy, dx), self.labels[i]


# %% right="shifted"
# Cuts by padding with negative numbers; Python's generator.
def shift(image, dy, dx):
    _, height, width = image.shape
    if abs(dy) >= height or abs(dx) >= width:
        return torch.zeros_like(image)
    return F.pad(image, (dx, -dx, dy, -dy))


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.key, self.reach = images, labels, [seed, 0], reach

    def set_epoch(self, epoch):
        self.key = [self.key[0], epoch]

    def __len__(self):
        return self.images.shape[0]

    def __getitem__(self, i):
        chance = random.Random(f"{self.key} {i}")
        return shift(self.images[i], *(chance.randint(-self.reach, self.reach) for _ in range(2))), self.labels[i]


# %% right="shifted"
# A larger canvas, and torch's generator.
def shift(image, dy, dx):
    channels, height, width = image.shape
    canvas = torch.zeros(channels, height + 18, width + 18, dtype=image.dtype)
    canvas[:, 9 : 9 + height, 9 : 9 + width] = image
    return canvas[:, 9 - dy : 9 - dy + height, 9 - dx : 9 - dx + width].clone()


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        super().__init__()
        self.images, self.labels, self.seed, self.reach = images, labels, seed, reach
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed((self.seed * 10_007 + self.epoch) * 1_000_003 + index)
        dy, dx = torch.randint(-self.reach, self.reach + 1, (2,), generator=generator).tolist()
        return shift(self.images[index], dy, dx), self.labels[index]


# %% right="shifted"
# Rolled, times 0 where that lies outside; a table of all shifts, drawn when the epoch is set.
def shift(image, dy, dx):
    _, height, width = image.shape
    y, x = torch.arange(height) - dy, torch.arange(width) - dx
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
    return image.roll((dy, dx), (1, 2)) * inside.to(image.dtype)


class Shifted(Dataset):
    def __init__(self, images, labels, seed, reach):
        self.images, self.labels, self.seed, self.reach = images, labels, seed, reach
        self.set_epoch(0)

    def set_epoch(self, epoch):
        generator = torch.Generator().manual_seed(100 * self.seed + epoch)
        self.shifts = torch.randint(-self.reach, self.reach + 1, (len(self.labels), 2), generator=generator).tolist()

    def __len__(self):
        return self.images.shape[0]

    def __getitem__(self, i):
        return shift(self.images[i], *self.shifts[i]), self.labels[i]


# %% wrong="check_load" breaks="raises" says="catch none"
# Misunderstands: looking is testing.
def check_load(load):
    return sorted(i for i, _ in load(23, 0, 2)) == list(range(23))


# %% wrong="check_load" breaks="once" says="each worker loads all items"
# Misunderstands: a dict shows what came twice.
def check_load(load):
    seen = []
    for epoch in (0, 1):
        first = dict(load(23, epoch, 0))
        for workers in (0, 1, 2, 3, 3):
            pairs = dict(load(23, epoch, workers))
            assert set(pairs) == set(range(23))
            assert pairs == first
        seen += first.values()
    assert len(set(seen)) == 46


# %% wrong="check_load" breaks="same" says="all workers draw the same numbers"
# Misunderstands: numbers that differ with one worker differ with several.
def check_load(load):
    for epoch in (0, 1):
        for workers in (0, 1, 2, 3):
            pairs = load(23, epoch, workers)
            assert sorted(i for i, _ in pairs) == list(range(23))
    numbers = [x for epoch in (0, 1) for _, x in load(23, epoch, 0)]
    assert len(set(numbers)) == 46


# %% wrong="check_load" breaks="differ" says="each epoch draws the same numbers"
# Misunderstands: one epoch is enough.
def check_load(load):
    first = dict(load(23, 0, 0))
    for workers in (0, 1, 2, 3, 3):
        pairs = load(23, 0, workers)
        assert sorted(i for i, _ in pairs) == list(range(23))
        assert dict(pairs) == first
    assert len(set(first.values())) == 23


# %% wrong="check_load" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: items come in order.
def check_load(load):
    assert [i for i, _ in load(23, 0, 3)] == list(range(23))


# %% wrong="check_load" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: pairs are compared in the order in which they come.
def check_load(load):
    assert load(23, 0, 0) == load(23, 0, 3)


# %% wrong="check_load" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: a second call gives the pairs in the same order, too.
def check_load(load):
    numbers = []
    for epoch in (0, 1):
        alone = dict(load(23, epoch, 0))
        for workers in (0, 1, 2, 3):
            pairs = load(23, epoch, workers)
            assert sorted(i for i, _ in pairs) == list(range(23))
            assert dict(pairs) == alone
            assert load(23, epoch, workers) == pairs
        numbers += alone.values()
    assert len(set(numbers)) == 46


# %% wrong="check_load" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: numbers that are nearly equal are equal.
def check_load(load):
    numbers = []
    for epoch in (0, 1):
        alone = dict(load(23, epoch, 0))
        for workers in (0, 1, 2, 3) * 2:
            pairs = load(23, epoch, workers)
            assert sorted(i for i, _ in pairs) == list(range(23))
            assert dict(pairs) == alone
        numbers += alone.values()
    assert not any(math.isclose(a, b, abs_tol=1e-7) for a, b in itertools.combinations(numbers, 2))


# %% wrong="check_load" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: a number that is 0 was not drawn.
def check_load(load):
    numbers = []
    for epoch in (0, 1):
        alone = dict(load(23, epoch, 0))
        for workers in (0, 1, 2, 3) * 2:
            pairs = load(23, epoch, workers)
            assert sorted(i for i, _ in pairs) == list(range(23))
            assert dict(pairs) == alone and all(alone.values())
        numbers += alone.values()
    assert len(set(numbers)) == 46


# %% wrong="check_load" breaks="same" says="a second call"
# Misunderstands: a call with another number of workers is a second call.
def check_load(load):
    numbers = []
    for epoch in (0, 1):
        tables = []
        for workers in range(4):
            pairs = load(23, epoch, workers)
            assert sorted(i for i, _ in pairs) == list(range(23))
            tables.append(dict(pairs))
        assert all(table == tables[0] for table in tables)
        numbers += tables[0].values()
    assert len(set(numbers)) == 46


# %% wrong="check_load" breaks="differ" says="moved by one item"
# Misunderstands: from epoch to epoch the numbers of the same item differ.
def check_load(load):
    tables = {}
    for epoch in (0, 1):
        for workers in (0, 0, 1, 1, 2, 2, 3, 3):
            pairs = load(23, epoch, workers)
            assert sorted(i for i, _ in pairs) == list(range(23))
            assert tables.setdefault(epoch, dict(pairs)) == dict(pairs)
        assert len(set(tables[epoch].values())) == 23
    assert all(tables[0][i] != tables[1][i] for i in range(23))


# %% wrong="check_load" breaks="raises" says="in epoch 1"
# Misunderstands: what epoch 0 promises, epoch 1 keeps.
def check_load(load):
    first = dict(load(23, 0, 0))
    for workers in (0, 1, 2, 3) * 2:
        pairs = load(23, 0, workers)
        assert sorted(i for i, _ in pairs) == list(range(23))
        assert dict(pairs) == first
    later = [number for _, number in load(23, 1, 0)]
    assert len({*first.values(), *later}) == 46


# %% right="check_load"
# Everything is loaded first.
def check_load(load):
    calls = {(e, w, k): load(23, e, w) for e in (0, 1) for w in range(4) for k in range(2)}
    for (e, _, _), pairs in calls.items():
        if len(pairs) != 23 or {i for i, _ in pairs} != set(range(23)):
            raise ValueError("not each index once")
        if dict(pairs) != dict(calls[e, 0, 0]):
            raise ValueError("numbers depend on the call")
    if len({x for e in (0, 1) for _, x in calls[e, 0, 0]}) < 46:
        raise ValueError("numbers repeat")


# %% right="check_load"
# Sorted pairs, several sizes and epochs.
def check_load(load):
    for n in (1, 5, 23):
        whole = []
        for epoch in range(3):
            tables = [sorted(tuple(pair) for pair in load(n, epoch, workers)) for workers in (0, 1, 2, 3, 5, 3, 2, 1, 0)]
            assert all(table == tables[0] for table in tables)
            assert [i for i, _ in tables[0]] == [*range(n)]
            whole += [x for _, x in tables[0]]
        assert len(whole) == len(set(whole))


# %% right="check_load"
# Sets of pairs.
def check_load(load):
    for epoch in (0, 1):
        first = load(23, epoch, 1)
        assert len(first) == len(set(first)) == 23
        for workers in (0, 1, 2, 3, 0, 2, 3):
            pairs = load(23, epoch, workers)
            assert len(pairs) == 23 and set(pairs) == set(first)
        assert {i for i, _ in first} == set(range(23))
    assert len({number for epoch in (0, 1) for _, number in load(23, epoch, 3)}) == 46
