# %% wrong="block_allocator" says="round up"
# The last block is not counted: rounds down.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}

    @property
    def num_free(self):
        return len(self.free)

    def grow(self, request, tokens):
        table, length = self.tables.get(request, []), self.lengths.get(request, 0) + tokens
        missing = length // self.block_size - len(table)
        if missing > len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True

    def table(self, request):
        return list(self.tables[request])

    def slots(self, request):
        size, table = self.block_size, self.tables[request]
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
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

    def release(self, request):
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]


# %% wrong="block_allocator" says="room left in the last block"
# Counts blocks for the new tokens alone.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}

    @property
    def num_free(self):
        return len(self.free)

    def grow(self, request, tokens):
        table, length = self.tables.get(request, []), self.lengths.get(request, 0) + tokens
        missing = math.ceil(tokens / self.block_size)
        if missing > len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True

    def table(self, request):
        return list(self.tables[request])

    def slots(self, request):
        size, table = self.block_size, self.tables[request]
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
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

    def release(self, request):
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]


# %% wrong="block_allocator" says="look before you take"
# Takes what is there, then sees that it is not enough.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}

    @property
    def num_free(self):
        return len(self.free)

    def grow(self, request, tokens):
        table, length = self.tables.get(request, []), self.lengths.get(request, 0) + tokens
        missing = math.ceil(length / self.block_size) - len(table)
        enough = missing <= len(self.free)
        fresh, self.free = self.free[:missing], self.free[missing:]
        if not enough:
            return False
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True

    def table(self, request):
        return list(self.tables[request])

    def slots(self, request):
        size, table = self.block_size, self.tables[request]
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
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

    def release(self, request):
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]


# %% wrong="block_allocator" says="the third one is copied"
# Shares the partly full block too.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}

    @property
    def num_free(self):
        return len(self.free)

    def grow(self, request, tokens):
        table, length = self.tables.get(request, []), self.lengths.get(request, 0) + tokens
        missing = math.ceil(length / self.block_size) - len(table)
        if missing > len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True

    def table(self, request):
        return list(self.tables[request])

    def slots(self, request):
        size, table = self.block_size, self.tables[request]
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
        full, rest = divmod(self.lengths[parent], self.block_size)
        table, copies = self.tables[parent], []
        self.tables[child] = table + [new for _, new in copies]
        self.lengths[child] = self.lengths[parent]
        for block in self.tables[child]:
            self.users[block] += 1
        return copies

    def release(self, request):
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]


# %% wrong="block_allocator" says="its child still reads"
# Forgets that a block can have two users.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}

    @property
    def num_free(self):
        return len(self.free)

    def grow(self, request, tokens):
        table, length = self.tables.get(request, []), self.lengths.get(request, 0) + tokens
        missing = math.ceil(length / self.block_size) - len(table)
        if missing > len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True

    def table(self, request):
        return list(self.tables[request])

    def slots(self, request):
        size, table = self.block_size, self.tables[request]
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
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

    def release(self, request):
        for block in self.tables.pop(request):
            if block not in self.free:
                self.free.append(block)
        del self.lengths[request]


# %% wrong="block_allocator" says="2 full blocks are shared"
# Copies everything: right, but nothing is saved.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}

    @property
    def num_free(self):
        return len(self.free)

    def grow(self, request, tokens):
        table, length = self.tables.get(request, []), self.lengths.get(request, 0) + tokens
        missing = math.ceil(length / self.block_size) - len(table)
        if missing > len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True

    def table(self, request):
        return list(self.tables[request])

    def slots(self, request):
        size, table = self.block_size, self.tables[request]
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
        full, rest = divmod(self.lengths[parent], self.block_size)
        if len(self.tables[parent]) > len(self.free):
            return None
        table, copies = [], [(block, self.free.pop()) for block in self.tables[parent]]
        self.tables[child] = table + [new for _, new in copies]
        self.lengths[child] = self.lengths[parent]
        for block in self.tables[child]:
            self.users[block] += 1
        return copies

    def release(self, request):
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]


# %% wrong="block_allocator" says="exactly full"
# Keeps one block back.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}

    @property
    def num_free(self):
        return len(self.free)

    def grow(self, request, tokens):
        table, length = self.tables.get(request, []), self.lengths.get(request, 0) + tokens
        missing = math.ceil(length / self.block_size) - len(table)
        if missing >= len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True

    def table(self, request):
        return list(self.tables[request])

    def slots(self, request):
        size, table = self.block_size, self.tables[request]
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
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

    def release(self, request):
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]


# %% right="block_allocator"
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.size, self.total = block_size, num_blocks
        self.held = {}  # request -> [blocks, tokens]

    def _available(self):
        taken = {block for blocks, _ in self.held.values() for block in blocks}
        return [block for block in reversed(range(self.total)) if block not in taken]

    num_free = property(lambda self: len(self._available()))

    def grow(self, request, tokens):
        blocks, count = self.held.get(request, ([], 0))
        blocks, available = list(blocks), self._available()
        while len(blocks) * self.size < count + tokens:
            if not available:
                return False
            blocks.append(available.pop())
        self.held[request] = (blocks, count + tokens)
        return True

    def table(self, request):
        return self.held[request][0]

    def slots(self, request):
        blocks, count = self.held[request]
        return [block * self.size + i for block in blocks for i in range(self.size)][:count]

    def fork(self, parent, child):
        blocks, count = self.held[parent]
        if count % self.size == 0:
            self.held[child] = (list(blocks), count)
            return []
        available = self._available()
        if not available:
            return None
        self.held[child] = (blocks[:-1] + available[:1], count)
        return [(blocks[-1], available[0])]

    def release(self, request):
        del self.held[request]


# %% wrong="prefix_cache" says="chain the names"
# The tokens of a block are its name.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = tuple(tokens[end - block_size : end])
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
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

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None


# %% wrong="prefix_cache" says="a block that is not full has no name"
# Names the part of a block at the end as well.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + block_size, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
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

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None


# %% wrong="prefix_cache" says="the last token must be computed"
# Takes everything from the cache; then there is no output for the next token.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        keys, found = block_keys(tokens, self.block_size), []
        for key in keys:
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

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None


# %% wrong="prefix_cache" says="finish keeps names"
# Forgets the names when a request is done.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
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

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None
            self.block_of.pop(self.key_of.pop(block, None), None)


# %% wrong="prefix_cache" says="the tail is taken first"
# Gives the head back before the tail.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
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

    def finish(self, table):
        for block in table:
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None


# %% wrong="prefix_cache" says="4 blocks are needed"
# Takes blocks that are in use when idle ones run out.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        keys, found = block_keys(tokens, self.block_size), []
        for key in keys[: (len(tokens) - 1) // self.block_size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        missing = math.ceil(len(tokens) / self.block_size) - len(found)
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] if self.idle else b for b in range(missing)]
        for block in fresh:
            self.block_of.pop(self.key_of.pop(block, None), None)
        for key, block in zip(keys[len(found) :], fresh):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.block_size

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None


# %% wrong="prefix_cache" says="count idle blocks without"
# Counts blocks that are found among those that can be taken.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        keys, found = block_keys(tokens, self.block_size), []
        for key in keys[: (len(tokens) - 1) // self.block_size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        missing = math.ceil(len(tokens) / self.block_size) - len(found)
        if missing > len(self.idle):
            return None
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] if self.idle else 0 for _ in range(missing)]
        for block in fresh:
            self.block_of.pop(self.key_of.pop(block, None), None)
        for key, block in zip(keys[len(found) :], fresh):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.block_size

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None


# %% right="prefix_cache"
import hashlib


def block_keys(tokens, block_size):
    keys, digest = [], hashlib.sha256()
    for i, token in enumerate(tokens, start=1):
        digest.update(f"{token},".encode())
        if i % block_size == 0:
            keys.append(digest.copy().hexdigest())
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.size = block_size
        self.blocks = [dict(users=0, key=None, since=i - num_blocks) for i in range(num_blocks)]
        self.clock = 0

    def admit(self, tokens):
        keys = block_keys(tokens, self.size)
        known = {b["key"]: i for i, b in enumerate(self.blocks) if b["key"] is not None}
        table = []
        while (len(table) + 1) * self.size < len(tokens) and keys[len(table)] in known:
            table.append(known[keys[len(table)]])
        hits, needed = len(table), (len(tokens) + self.size - 1) // self.size
        spare = [i for i, b in enumerate(self.blocks) if b["users"] == 0 and i not in table]
        spare.sort(key=lambda i: self.blocks[i]["since"])
        if len(spare) < needed - hits:
            return None
        table += spare[: needed - hits]
        for i in table[hits:]:
            known.pop(self.blocks[i]["key"], None)
            self.blocks[i]["key"] = None
        for position, i in enumerate(table):
            self.blocks[i]["users"] += 1
            if hits <= position < len(keys) and keys[position] not in known:
                self.blocks[i]["key"] = keys[position]
        return table, hits * self.size

    def finish(self, table):
        for i in table[::-1]:
            self.blocks[i]["users"] -= 1
            self.blocks[i]["since"] = self.clock = self.clock + 1


# %% wrong="scheduler" says="do not wait for the whole batch"
# Static batching: new requests only when all seats are empty.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
        for request in list(self.running):
            while request in self.running and not self.pool.reserve(request.id, len(request.tokens)):
                victim = self.running.pop()
                self.pool.release(victim.id)
                self.waiting.appendleft(victim)
        seats = self.max_num_seqs if not self.running else 0
        while self.waiting and len(self.running) < seats and len(self.running) < self.max_num_seqs:
            if not self.pool.reserve(self.waiting[0].id, len(self.waiting[0].tokens)):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)


# %% wrong="scheduler" says="reserve before each step"
# Reserves for the prompt alone, once.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
        while self.waiting and len(self.running) < self.max_num_seqs:
            if not self.pool.reserve(self.waiting[0].id, len(self.waiting[0].tokens)):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)


# %% wrong="scheduler" says="lost or repeated"
# Starts a preempted request from the beginning, but keeps what was sent.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
        for request in list(self.running):
            while request in self.running and not self.pool.reserve(request.id, len(request.tokens)):
                victim = self.running.pop()
                self.pool.release(victim.id)
                victim.prompt = victim.tokens
                self.waiting.appendleft(victim)
        while self.waiting and len(self.running) < self.max_num_seqs:
            if not self.pool.reserve(self.waiting[0].id, len(self.waiting[0].tokens)):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)


# %% wrong="scheduler" says="nobody overtakes"
# Lets small requests overtake.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
        for request in list(self.running):
            while request in self.running and not self.pool.reserve(request.id, len(request.tokens)):
                victim = self.running.pop()
                self.pool.release(victim.id)
                self.waiting.appendleft(victim)
        while self.waiting and len(self.running) < self.max_num_seqs:
            fitting = next((r for r in self.waiting if self.pool.reserve(r.id, len(r.tokens))), None)
            if fitting is None:
                break
            self.waiting.remove(fitting)
            self.running.append(fitting)
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)


# %% wrong="scheduler" says="the youngest goes first"
# Preempts the oldest.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
        for request in list(self.running):
            while request in self.running and not self.pool.reserve(request.id, len(request.tokens)):
                victim = self.running.pop(0)
                self.pool.release(victim.id)
                self.waiting.appendleft(victim)
        while self.waiting and len(self.running) < self.max_num_seqs:
            if not self.pool.reserve(self.waiting[0].id, len(self.waiting[0].tokens)):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)


# %% wrong="scheduler" says="holds nothing"
# Keeps the blocks of a preempted request.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
        for request in list(self.running):
            if not self.pool.reserve(request.id, len(request.tokens)):
                victim = self.running.pop()
                self.waiting.appendleft(victim)
        while self.waiting and len(self.running) < self.max_num_seqs:
            if not self.pool.reserve(self.waiting[0].id, len(self.waiting[0].tokens)):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)


# %% wrong="scheduler" says="lost or repeated"
# Does not look for the end token.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
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

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)


# %% right="scheduler"
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool = pool
        self.seats = max_num_seqs
        self.everyone = []  # running requests in order of admission, then the queue
        self.count = 0  # how many of them run

    def add(self, request):
        if request.max_tokens + len(request.prompt) > self.pool.capacity + 1:
            raise ValueError("too long")
        self.everyone.append(request)

    def schedule(self):
        before, position = self.count, 0
        while position < self.count:
            request = self.everyone[position]
            if self.pool.reserve(request.id, len(request.tokens)):
                position += 1
            else:
                self.count -= 1
                self.pool.release(self.everyone[self.count].id)
        if before == self.count:
            for request in self.everyone[before : self.seats]:
                if not self.pool.reserve(request.id, len(request.tokens)):
                    break
                self.count += 1
        return self.everyone[: self.count]

    def update(self, new_tokens):
        stay = []
        for request in self.everyone[: self.count]:
            token = new_tokens[request.id]
            request.output += [token]
            if token == END or len(request.output) >= request.max_tokens:
                self.pool.release(request.id)
            else:
                stay.append(request)
        self.everyone[: self.count] = stay
        self.count = len(stay)


# %% wrong="engine" breaks="running" says="what step"
# Believes that taking turns is fair: who ran goes to the end.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
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
        for sequence, _ in plan[:1]:
            if sequence in self.running and len(self.running) > 1:
                self.running.append(self.running.pop(0))
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="running" says="what step"
# Lets prompts go first, as older engines did: answers get what is left.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
        plan, left, preempted = [], self.budget, False
        ran = list(self.running)
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
        for sequence in ran:
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens[: sequence.computed + count]):
                    plan.append((sequence, count))
                    left -= count
                    break
                victim, preempted = self.running.pop(), True
                self.blocks.release(victim.id)
                self.waiting.appendleft(victim)
        return plan

    def step(self):
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


# %% wrong="engine" breaks="budget" says="of the budget"
# Charges prompts only: believes that a decode step is free.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens[: sequence.computed + count]):
                    plan.append((sequence, count))
                    left -= count if sequence.computed < len(sequence.prompt) else 0
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

    def step(self):
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


# %% wrong="engine" breaks="youngest" says="has no block table"
# Preempts the oldest, which has had the most.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens[: sequence.computed + count]):
                    plan.append((sequence, count))
                    left -= count
                    break
                victim, preempted = self.running.pop(0), True
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

    def step(self):
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


# %% wrong="engine" breaks="youngest" says="the youngest"
# Preempts the one that finds no room, whoever it is.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens[: sequence.computed + count]):
                    plan.append((sequence, count))
                    left -= count
                    break
                victim, preempted = sequence, True
                self.running.remove(victim)
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

    def step(self):
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


# %% wrong="engine" breaks="youngest" says="the youngest"
# Preempts one request a step and lets the one without room wait.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens[: sequence.computed + count]):
                    plan.append((sequence, count))
                    left -= count
                    break
                if preempted:
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

    def step(self):
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


# %% wrong="engine" breaks="calm" says="nobody is admitted"
# Admits right after a preemption: the blocks of a request with the same text count as known, so it comes back at once.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
        while self.waiting and left and len(self.running) < self.max_num_seqs:
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

    def step(self):
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


# %% wrong="engine" breaks="preempted" says="what step"
# Puts the preempted one at the end of the queue.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
                self.waiting.append(victim)
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

    def step(self):
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


# %% wrong="engine" breaks="preempted" says="is admitted with"
# Begins the answer of a preempted request anew.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
                victim.output.clear()
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

    def step(self):
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


# %% wrong="engine" breaks="preempted" says="is admitted with"
# Goes on where the request was, though its blocks are gone.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
            known = max(known, sequence.computed)
            sequence.computed, count = known, min(len(sequence.tokens) - known, left)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(self.waiting.popleft())
            plan.append((sequence, count))
            left -= count
        return plan

    def step(self):
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


# %% wrong="engine" breaks="admission" says="nobody overtakes"
# Lets the next one in when the first finds no room.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
            for sequence in self.waiting:
                known = self.blocks.start(sequence.id, sequence.tokens)
                if known is not None:
                    break
            else:
                break
            self.waiting.remove(sequence)
            self.waiting.appendleft(sequence)
            if sequence.cached is None:
                sequence.cached = known
            sequence.computed, count = known, min(len(sequence.tokens) - known, left)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(self.waiting.popleft())
            plan.append((sequence, count))
            left -= count
        return plan

    def step(self):
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


# %% wrong="engine" breaks="admission" says="run already"
# One too many.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
        while self.waiting and left and not preempted and len(self.running) <= self.max_num_seqs:
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

    def step(self):
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


# %% wrong="engine" breaks="admission" says="the budget is used up"
# Admits without budget: the blocks are taken, and nothing is computed.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
        while self.waiting and not preempted and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            known = self.blocks.start(sequence.id, sequence.tokens)
            if known is None:
                break
            if sequence.cached is None:
                sequence.cached = known
            sequence.computed, count = known, min(len(sequence.tokens) - known, left)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(self.waiting.popleft())
            if count:
                plan.append((sequence, count))
            left -= count
        return plan

    def step(self):
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


# %% wrong="engine" breaks="admission" says="what step"
# Static batching: new requests only when nobody runs any more.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
        fresh = not self.running
        while fresh and self.waiting and left and not preempted and len(self.running) < self.max_num_seqs:
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

    def step(self):
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


# %% wrong="engine" breaks="chunk" says="from the cache"
# Shares the blocks, and computes all tokens again nevertheless.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
            sequence.computed, count = 0, min(len(sequence.tokens), left)
            self.blocks.extend(sequence.id, sequence.tokens[: max(known, count)])
            self.running.append(self.waiting.popleft())
            plan.append((sequence, count))
            left -= count
        return plan

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)[: s.computed + n]) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="chunk" says="what step"
# No chunks: a prompt waits until it fits into a step as a whole.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
            if len(sequence.tokens) > left:
                break
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

    def step(self):
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


# %% wrong="engine" breaks="chunk" says="and gets"
# Ends each chunk at a block's end.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
            if known + count < len(sequence.tokens):
                count = max(1, (known + count) // self.blocks.block_size * self.blocks.block_size - known)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(self.waiting.popleft())
            plan.append((sequence, count))
            left -= count
        return plan

    def step(self):
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


# %% wrong="engine" breaks="chunk" says="what step"
# After a preemption only the prompt is computed again, and then one token a step.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(max(1, len(sequence.prompt) - sequence.computed), left)
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
            sequence.computed, count = known, min(max(1, len(sequence.prompt) - known), left)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(self.waiting.popleft())
            plan.append((sequence, count))
            left -= count
        return plan

    def step(self):
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


# %% wrong="engine" breaks="cached" says="does not change at a preemption"
# Writes it down at every admission.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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
            sequence.cached = known
            sequence.computed, count = known, min(len(sequence.tokens) - known, left)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(self.waiting.popleft())
            plan.append((sequence, count))
            left -= count
        return plan

    def step(self):
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


# %% wrong="engine" breaks="room" says="up to the chunk's end"
# Makes room for the whole prompt at the admission.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens):
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
            self.blocks.extend(sequence.id, sequence.tokens)
            self.running.append(self.waiting.popleft())
            plan.append((sequence, count))
            left -= count
        return plan

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)[: s.computed + n]) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="forward" says="each call of forward"
# One call for each request.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        chunks = [(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan]
        scores = torch.cat([self.model.forward([chunk]) for chunk in chunks])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="forward" says="each call of forward"
# Calls the model with nothing, too.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            if isinstance(self.model, PagedModel):
                return []
            self.model.forward([])
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


# %% wrong="engine" breaks="forward" says="the new tokens"
# Slots of the chunk alone, from the wrong end.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)[:n]) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="token" says="the new tokens"
# Draws a token.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.softmax(-1).multinomial(1)[:, 0].tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="token" says="gets no new one"
# A token after every chunk.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed <= len(sequence.tokens):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="token" says="the new tokens"
# Believes that all is computed when the prompt is; a preempted request has output to compute as well.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed >= len(sequence.prompt):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="token" says="plain ints"
# Leaves the tokens as tensors, each with the memory of all scores' choices.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1)):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="done" says="max_tokens"
# Does not heed the end token.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="done" says="the number of free blocks"
# Stops as soon as the end token is anywhere, also in the prompt.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if self.model.end in sequence.tokens or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="done" says="who is done or preempted holds no block"
# Forgets the blocks.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
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
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="done" says="who is done or preempted holds no block"
# Clears up at the beginning of the next step.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running, self.over = deque(), [], []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        for sequence in self.over:
            self.running.remove(sequence)
            self.blocks.release(sequence.id)
        self.over = []
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if token == self.model.end or len(sequence.output) == sequence.max_tokens:
                    self.over.append(sequence)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="done" says="the new tokens"
# Leaves the end token out of the output.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
        plan = self.schedule()
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                full = len(sequence.output) == sequence.max_tokens
                if token == self.model.end:
                    sequence.output.pop()
                if token == self.model.end or full:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]


# %% wrong="engine" breaks="plan" says="what step"
# Says how many tokens are computed in all.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
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
        return [(sequence.id, sequence.computed) for sequence, count in plan]


# %% wrong="engine" breaks="plan" says="expected list"
# A dict.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def schedule(self):
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

    def step(self):
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
        return {sequence.id: count for sequence, count in plan}


# %% equivalent="engine" because="while it runs only the last ones are taken out of the list, and those not yet reached"
# - for sequence in list(self.running):
# + for sequence in self.running:

# %% equivalent="engine" because="the scores have two axes: 1 and -1 are the same"
# - for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
# + for (sequence, count), token in zip(plan, scores.argmax((1)).tolist()):

# %% equivalent="engine" because="the smaller of two numbers does not depend on their order"
# - count = min(len(sequence.tokens) - sequence.computed, left)
# + count = (min(left, len(sequence.tokens) - sequence.computed))

# %% equivalent="engine" because="the smaller of two numbers does not depend on their order"
# - sequence.computed, count = known, min(len(sequence.tokens) - known, left)
# + sequence.computed, count = known, (min(left, len(sequence.tokens) - known))


# %% right="engine"
# An index that goes through the running ones, and a helper for the room, as vLLM's own loop does it.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model = model
        self.blocks = blocks
        self.max_num_batched_tokens = max_num_batched_tokens
        self.max_num_seqs = max_num_seqs
        self.waiting = []
        self.running = []

    def add(self, sequence):
        self.waiting += [sequence]

    def preempt_youngest(self):
        youngest = self.running[-1]
        del self.running[-1]
        self.blocks.release(request_id=youngest.id)
        youngest.computed = 0
        self.waiting.insert(0, youngest)

    def step(self):
        budget, counts, index, preempted = self.max_num_batched_tokens, {}, 0, 0
        while index < len(self.running) and budget > 0:
            sequence = self.running[index]
            wanted = min(budget, len(sequence.prompt) + len(sequence.output) - sequence.computed)
            if self.blocks.extend(sequence.id, sequence.tokens[0 : sequence.computed + wanted]):
                counts[sequence.id] = wanted
                budget -= wanted
                index += 1
            else:
                self.preempt_youngest()
                preempted += 1
        while self.waiting and budget > 0 and preempted == 0 and len(self.running) != self.max_num_seqs:
            sequence = self.waiting[0]
            found = self.blocks.start(sequence.id, sequence.tokens)
            if found is None:
                break
            self.running.append(self.waiting.pop(0))
            sequence.computed = found
            sequence.cached = found if sequence.cached is None else sequence.cached
            wanted = min(budget, len(sequence.tokens) - found)
            assert self.blocks.extend(sequence.id, sequence.tokens[: found + wanted])
            counts[sequence.id] = wanted
            budget -= wanted
        taking_part = [sequence for sequence in self.running if sequence.id in counts]
        if taking_part:
            batch = []
            for sequence in taking_part:
                end = sequence.computed + counts[sequence.id]
                batch.append((sequence.tokens[sequence.computed : end], self.blocks.slots(sequence.id)))
                sequence.computed = end
            for sequence, row in zip(taking_part, self.model.forward(batch)):
                if sequence.computed < len(sequence.tokens):
                    continue
                sequence.output.append(int(torch.argmax(row)))
                if sequence.output[-1] == self.model.end or len(sequence.output) >= sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return list(counts.items())


# %% right="engine"
# Keeps its own books in dicts; the queue holds ids, and nothing of a sequence is used but its text and `cached`.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks, self.most, self.wide = model, blocks, max_num_batched_tokens, max_num_seqs
        self.by_id, self.done, self.queue, self.active = {}, Counter(), deque(), deque()

    def add(self, sequence):
        self.by_id[sequence.id] = sequence
        self.queue.append(sequence.id)

    def missing(self, name):
        return len(self.by_id[name].tokens) - self.done[name]

    def fits(self, name, count):
        """Room for `count` more tokens, whoever of the younger must go for it."""
        while name in self.active:
            if self.blocks.extend(name, self.by_id[name].tokens[: self.done[name] + count]):
                return True
            last = self.active.pop()
            self.blocks.release(last)
            self.queue.appendleft(last)
        return False

    def admit(self, left):
        while left > 0 and self.queue and len(self.active) < self.wide:
            name = self.queue[0]
            found = self.blocks.start(name, self.by_id[name].tokens)
            if found is None:
                return
            self.active.append(self.queue.popleft())
            self.done[name] = found
            if self.by_id[name].cached is None:
                self.by_id[name].cached = found
            count = min(left, self.missing(name))
            self.fits(name, count)
            left -= count
            yield name, count

    def step(self):
        plan, ran = [], set(self.active)
        for name in tuple(self.active):
            count = min(self.missing(name), self.most - sum(n for _, n in plan))
            if count > 0 and self.fits(name, count):
                plan.append((name, count))
        if ran == set(self.active):
            plan += self.admit(self.most - sum(n for _, n in plan))
        batch = [(self.by_id[name].tokens[self.done[name] :][:count], self.blocks.slots(name)) for name, count in plan]
        best = self.model.forward(batch).max(dim=1).indices if batch else []
        for (name, count), token in zip(plan, best):
            self.done[name] += count
            if self.missing(name) == 0:
                self.hand_over(name, int(token))
        return plan

    def hand_over(self, name, token):
        output = self.by_id[name].output
        output.append(token)
        if token == self.model.end or len(output) == self.by_id[name].max_tokens:
            self.active.remove(name)
            self.blocks.release(name)


# %% right="engine"
# One line of sequences in which the first `admitted` run; arguments of the constructor in any way.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens=2048, max_num_seqs=128):
        self.__dict__.update(model=model, blocks=blocks, budget=max_num_batched_tokens, limit=max_num_seqs, line=[], admitted=0)

    def add(self, sequence):
        self.line.append(sequence)

    def chunks(self):
        left, at, before = self.budget, 0, self.admitted
        while left and at < self.admitted:
            sequence = self.line[at]
            upto = sequence.tokens[: sequence.computed + left]
            if self.blocks.extend(sequence.id, upto):
                left -= len(upto) - sequence.computed
                at += 1
                yield sequence, upto
            else:
                self.admitted -= 1
                self.blocks.release(self.line[self.admitted].id)
        while left and before <= self.admitted < min(self.limit, len(self.line)):
            sequence = self.line[self.admitted]
            known = self.blocks.start(sequence.id, sequence.tokens)
            if known is None:
                return
            self.admitted += 1
            sequence.computed = known
            if sequence.cached is None:
                sequence.cached = known
            upto = sequence.tokens[: known + left]
            self.blocks.extend(sequence.id, upto)
            left -= len(upto) - known
            yield sequence, upto

    @torch.no_grad()
    def step(self):
        decided = list(self.chunks())
        report = [(sequence.id, len(upto) - sequence.computed) for sequence, upto in decided]
        batch = [(upto[sequence.computed :], self.blocks.slots(sequence.id)) for sequence, upto in decided]
        for (sequence, upto), row in zip(decided, self.model.forward(batch) if batch else ()):
            whole, sequence.computed = len(upto) == len(sequence.tokens), len(upto)
            if whole:
                sequence.output += [row.tolist().index(max(row.tolist()))]
            if whole and (sequence.output[-1] == self.model.end or sequence.max_tokens <= len(sequence.output)):
                self.blocks.release(sequence.id)
                self.line.remove(sequence)
                self.admitted -= 1
        return report


# %% equivalent="speculative_accept" because="they differ only where a random number equals the ratio exactly: once in millions of tokens"
# - if torch.rand((), generator=generator) < p[token] / q[token]:
# + if (torch.rand((), generator=generator) <= p[token] / q[token]):


# %% wrong="speculative_accept" says="max(0, p - q)"
# Draws from the target again instead of from the residual.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]


# %% wrong="speculative_accept" says="do not follow the target"
# Keeps a token with the target's own probability.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]


# %% wrong="speculative_accept" says="do not follow the target"
# Keeps a token only when the target likes it more.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if p[token] >= q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]


# %% wrong="speculative_accept" says="do not follow the target"
# Trusts the draft: keeps everything.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if True:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]


# %% wrong="speculative_accept" says="Keep with probability"
# Takes the likeliest token where it should draw.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [p.argmax().item()]


# %% wrong="speculative_accept" says="After k kept tokens"
# Gives no bonus token: draws it from the row before.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-2]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]


# %% wrong="speculative_accept" says="do not follow the target"
# The absolute difference as residual.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).abs()
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]


# %% right="speculative_accept"
def speculative_accept(target, draft, drafted, generator):
    k = len(drafted)
    rows = torch.arange(k)
    ratios = target[rows, drafted] / draft[rows, drafted]
    rejected = torch.rand(k, generator=generator) >= ratios
    n = int(rejected.int().argmax()) if rejected.any() else k
    weights = target[n] if n == k else torch.relu(target[n] - draft[n])
    cumulative = torch.cumsum(weights.double(), 0)
    u = torch.rand((), generator=generator, dtype=torch.float64) * cumulative[-1]
    return [*map(int, drafted[:n]), int((cumulative > u).int().argmax())]


# %% equivalent="check_sampler" because="a p-value that equals the level exactly does not occur"
# - assert p_value(tokens.numpy(), p) > LEVEL, f"the tokens do not follow {p}"
# + assert (p_value(tokens.numpy(), p) >= LEVEL), f"the tokens do not follow {p}"


# %% wrong="check_sampler" says="reject a correct implementation"
# A level of 5 % for each of many tests: false alarms are certain.
def check_sampler(sample):
    for seed in range(20):
        p, q = [0.5, 0.3, 0.2, 0.0], [0.2, 0.5, 0.2, 0.1]
        assert p_value(sample(torch.tensor(p), torch.tensor(q), 5000, seed).numpy(), p) > 0.05, "p < 0.05"


# %% wrong="check_sampler" says="Still unseen"
# Too few tokens, and a draft that is close: small errors drown in luck.
def check_sampler(sample):
    p, q = [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]
    assert p_value(sample(torch.tensor(p), torch.tensor(q), 100, 0).numpy(), p) > 1e-5


# %% wrong="check_sampler" says="reject a correct implementation"
# Asks for exact shares: randomness is not allowed to be random.
def check_sampler(sample):
    p, q = torch.tensor([0.5, 0.3, 0.2, 0.0]), torch.tensor([0.2, 0.5, 0.2, 0.1])
    shares = torch.bincount(sample(p, q, 2000, 0), minlength=4) / 2000
    torch.testing.assert_close(shares, p, rtol=0, atol=0.01)
    assert abs(shares[0] - 0.5) < 0.005


# %% wrong="check_sampler" says="ignores the seed"
# Tests the distribution alone: a sampler that gives the same tokens every time passes.
def check_sampler(sample):
    for p, q in (([0.5, 0.3, 0.2, 0.0], [0.2, 0.5, 0.2, 0.1]), ([0.05, 0.15, 0.35, 0.45], [0.7, 0.2, 0.1, 0.0])):
        assert p_value(sample(torch.tensor(p), torch.tensor(q), 40_000, 3).numpy(), p) > 1e-6


# %% wrong="check_sampler" says="catch none"
# Looks at one token only: whether it exists.
def check_sampler(sample):
    token = sample(torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1]), 1, 0)
    assert 0 <= int(token[0]) <= 1


# %% right="check_sampler"
def check_sampler(sample):
    rng = np.random.default_rng(1)
    seen = []
    for i in range(12):
        p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
        if i % 3 == 0:
            p[0] = 0
        if i % 3 == 1:
            q[p.argmax()] = 0
        p, q = (torch.tensor(x / x.sum(), dtype=torch.float32) for x in (p, q))
        counts = torch.bincount(sample(p, q, 30_000, 10 + i), minlength=5).double()
        seen.append(sample(p, p, 40, i % 2).tolist())
        spread = (30_000 * p * (1 - p)).sqrt().double()
        deviation = (counts - 30_000 * p.double()).abs()
        assert (deviation <= 5.5 * spread + 1e-3).all(), (p, counts)
        if i % 2:
            p = torch.full((5,), 0.2)
            assert sample(p, p, 40, 1).tolist() != sample(p, p, 40, 2).tolist()


# %% equivalent="load_client" because="a request without n has exactly one choice, and the list is not empty here"
# - if chunk.choices and chunk.choices[0].delta.content:
# + if chunk.choices and chunk.choices[(-1)].delta.content:


# %% wrong="load_client" says="only the role"
# Takes the first chunk for the first token.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
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
        if chunk.choices:
            last = clock()
            first = last if first is None else first
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, max_tokens, concurrency, clock=time.perf_counter):
    gate = asyncio.Semaphore(concurrency)

    async def one(prompt):
        async with gate:
            return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts))


# %% wrong="load_client" says="a chunk is not a token"
# Counts chunks.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
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
            tokens = (tokens or 0) + 1
            last = clock()
            first = last if first is None else first
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, max_tokens, concurrency, clock=time.perf_counter):
    gate = asyncio.Semaphore(concurrency)

    async def one(prompt):
        async with gate:
            return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts))


# %% wrong="load_client" says="one after the other is 1"
# One request after the other.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
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


async def run_load(client, model, prompts, max_tokens, concurrency, clock=time.perf_counter):
    gate = asyncio.Semaphore(concurrency)

    async def one(prompt):
        async with gate:
            return await timed_request(client, model, prompt, max_tokens, clock)

    return [await one(prompt) for prompt in prompts]


# %% wrong="load_client" says="all at once"
# No limit: everything at once.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
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


async def run_load(client, model, prompts, max_tokens, concurrency, clock=time.perf_counter):
    gate = asyncio.Semaphore(len(prompts))

    async def one(prompt):
        async with gate:
            return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts))


# %% wrong="load_client" says="as soon as one is done"
# Groups of `concurrency`: waits for the slowest of each.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
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


async def run_load(client, model, prompts, max_tokens, concurrency, clock=time.perf_counter):
    gate = asyncio.Semaphore(concurrency)

    async def one(prompt):
        async with gate:
            return await timed_request(client, model, prompt, max_tokens, clock)

    done = []
    for i in range(0, len(prompts), concurrency):
        done += await asyncio.gather(*map(one, prompts[i : i + concurrency]))
    return done


# %% wrong="load_client" says="min_tokens"
# Leaves the length to the model.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    sent, first, last, tokens = clock(), None, None, None
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            last = clock()
            first = last if first is None else first
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, max_tokens, concurrency, clock=time.perf_counter):
    gate = asyncio.Semaphore(concurrency)

    async def one(prompt):
        async with gate:
            return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts))


# %% wrong="load_client" says="in the order of the prompts"
# Timings in the order in which requests end.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
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


async def run_load(client, model, prompts, max_tokens, concurrency, clock=time.perf_counter):
    gate = asyncio.Semaphore(concurrency)

    async def one(prompt):
        async with gate:
            return await timed_request(client, model, prompt, max_tokens, clock)

    return [await task for task in asyncio.as_completed(list(map(one, prompts)))]


# %% right="load_client"
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    times = [clock()]
    count = 0
    async with await client.chat.completions.create(
        messages=[dict(role="user", content=prompt)],
        model=model,
        temperature=0.0,
        max_tokens=max_tokens,
        stream=True,
        stream_options=dict(include_usage=True),
        extra_body=dict(min_tokens=max_tokens),
    ) as stream:
        async for chunk in stream:
            text = "".join(choice.delta.content or "" for choice in chunk.choices)
            if text != "":
                times.append(clock())
            if chunk.usage is not None:
                count = chunk.usage.completion_tokens
    return Timing(sent=times[0], first=times[1], last=times[-1], tokens=count)


async def run_load(client, model, prompts, max_tokens, concurrency, clock=time.perf_counter):
    results, todo = [None] * len(prompts), deque(enumerate(prompts))

    async def worker():
        while todo:
            i, prompt = todo.popleft()
            results[i] = await timed_request(client, model, prompt, max_tokens, clock)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return results


# %% wrong="report_and_metrics" says="tokens - 1 steps"
# Divides the time between first and last by all tokens.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / t.tokens for t in timings]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
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


# %% wrong="report_and_metrics" says="requests overlap"
# Adds up the times of all requests.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = sum(t.last - t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
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


# %% wrong="report_and_metrics" says="subtract what was there before"
# Reads a counter as if it were a gauge.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    growth = 0.0
    for sign, text in ((1, after),):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
    growth = Counter()  # limit -> observations up to it
    for sign, text in ((1, after),):
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


# %% wrong="report_and_metrics" says="in proportion"
# Takes the limit of the bucket.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
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
    return limit


# %% wrong="report_and_metrics" says="the largest finite limit"
# Goes into the bucket up to infinity.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
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
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)


# %% wrong="report_and_metrics" says="first - sent"
# Measures from the start of the whole test.
def latency_report(timings):
    ttft = [t.first - timings[0].sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
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


# %% right="report_and_metrics"
def latency_report(timings):
    rows = np.array([(t.sent, t.first, t.last, t.tokens) for t in timings], dtype=float)
    sent, first, last, tokens = rows.T
    many = tokens > 1
    pace = (last - first)[many] / (tokens[many] - 1)
    p50, p95 = np.quantile(first - sent, [0.5, 0.95]).tolist()
    q50, q95 = np.quantile(pace, [0.5, 0.95]).tolist()
    rate = float(tokens.sum() / (last.max() - sent.min()))
    return dict(ttft_p50=p50, ttft_p95=p95, tpot_p50=q50, tpot_p95=q95, tokens_per_s=rate)


def _samples(text, name):
    return [s for f in text_string_to_metric_families(text) for s in f.samples if s.name == name]


def counter_growth(before, after, name):
    return float(sum(s.value for s in _samples(after, name)) - sum(s.value for s in _samples(before, name)))


def histogram_quantile(before, after, name, q):
    def buckets(text):
        table = {}
        for s in _samples(text, f"{name}_bucket"):
            le = float(s.labels["le"])
            table[le] = table.get(le, 0) + s.value
        return table

    old, new = buckets(before), buckets(after)
    limits = sorted(new)
    counts = [new[le] - old.get(le, 0) for le in limits]
    if not counts or counts[-1] == 0:
        return None
    i = next(i for i, c in enumerate(counts) if c >= q * counts[-1])
    if math.isinf(limits[i]):
        return limits[-2]
    left, below = (limits[i - 1], counts[i - 1]) if i else (0.0, 0.0)
    return left + (limits[i] - left) * (q * counts[-1] - below) / (counts[i] - below)


# %% wrong="fit_tune_launch" says="look at the table"
# One set of flags for both engines.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    names = {
        "vllm": ("vllm.entrypoints.openai.api_server", "--model", "--max-model-len", "--max-num-seqs", "--tensor-parallel-size"),
        "sglang": ("sglang.launch_server", "--model", "--max-model-len", "--max-num-seqs", "--tensor-parallel-size"),
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


# %% wrong="fit_tune_launch" says="key-value heads * head_dim"
# Counts all heads, as before grouped-query attention.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * heads * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
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


# %% wrong="fit_tune_launch" says="key and value"
# Counts keys and forgets values.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
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


# %% wrong="fit_tune_launch" says="is 64, expected 32"
# Looks at the time to first token alone.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
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


# %% wrong="fit_tune_launch" says="subprocess takes strings only"
# Leaves numbers in the list.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    names = {
        "vllm": ("vllm.entrypoints.openai.api_server", "--model", "--max-model-len", "--max-num-seqs", "--tensor-parallel-size"),
        "sglang": ("sglang.launch_server", "--model-path", "--context-length", "--max-running-requests", "--tp-size"),
    }
    off = {"vllm": "--no-enable-prefix-caching", "sglang": "--disable-radix-cache"}
    commands = {}
    for engine, (module, model, length, seats, gpus) in names.items():
        flags = {model: job["model"], length: job["max_model_len"], seats: job["max_num_seqs"], gpus: job["gpus"]}
        flags |= {"--served-model-name": job["name"], "--host": "127.0.0.1", "--port": job["port"], "--dtype": job["dtype"]}
        commands[engine] = [sys.executable, "-m", module] + [word for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands


# %% wrong="fit_tune_launch" says="--host for vllm"
# Listens on every network interface.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    names = {
        "vllm": ("vllm.entrypoints.openai.api_server", "--model", "--max-model-len", "--max-num-seqs", "--tensor-parallel-size"),
        "sglang": ("sglang.launch_server", "--model-path", "--context-length", "--max-running-requests", "--tp-size"),
    }
    off = {"vllm": "--no-enable-prefix-caching", "sglang": "--disable-radix-cache"}
    commands = {}
    for engine, (module, model, length, seats, gpus) in names.items():
        flags = {model: job["model"], length: job["max_model_len"], seats: job["max_num_seqs"], gpus: job["gpus"]}
        flags |= {"--served-model-name": job["name"], "--host": "0.0.0.0", "--port": job["port"], "--dtype": job["dtype"]}
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands


# %% wrong="fit_tune_launch" says="just reached"
# A limit that is just reached counts as broken.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] < tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
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


# %% right="fit_tune_launch"
def kv_bytes_per_token(config, bytes_per_value):
    kv_heads = config.get("num_key_value_heads", config["num_attention_heads"])
    width = config["head_dim"] if "head_dim" in config else config["hidden_size"] // config["num_attention_heads"]
    per_layer = kv_heads * width * 2
    return per_layer * config["num_hidden_layers"] * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    choice, best = None, -1.0
    for row in sorted(rows, key=lambda r: r["max_num_seqs"]):
        if row["ttft_p95"] > ttft_p95 or row["tpot_p95"] > tpot_p95:
            continue
        if row["tokens_per_s"] > best:
            choice, best = row["max_num_seqs"], row["tokens_per_s"]
    return choice


def launch_commands(job):
    same = ["--host=127.0.0.1", f"--port={job['port']}", f"--dtype={job['dtype']}", "--served-model-name", job["name"]]
    vllm = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *same, f"--model={job['model']}"]
    vllm += [
        "--max-model-len",
        f"{job['max_model_len']}",
        "--max-num-seqs",
        f"{job['max_num_seqs']}",
        "--tensor-parallel-size",
        f"{job['gpus']}",
    ]
    sglang = [sys.executable, "-m", "sglang.launch_server", "--enable-metrics", *same, "--model-path", job["model"]]
    sglang += [
        "--context-length",
        f"{job['max_model_len']}",
        "--max-running-requests",
        f"{job['max_num_seqs']}",
        f"--tp-size={job['gpus']}",
    ]
    if job["prefix_cache"] is False:
        vllm.append("--no-enable-prefix-caching")
        sglang.append("--disable-radix-cache")
    return dict(sglang=sglang, vllm=vllm)
