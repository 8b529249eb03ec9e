# %% wrong="block_allocator" breaks="room" says="round up"
# Misunderstands: a block that is only begun costs nothing (rounds down).
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

# %% wrong="block_allocator" breaks="room" says="a request with 8 tokens needs 2 blocks"
# Misunderstands: each call starts new blocks.
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

# %% wrong="block_allocator" breaks="room" says="a request with 8 tokens needs 2 blocks"
# Misunderstands: a next block is taken as soon as the last one is full, not when a token needs it.
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
        missing = length // self.block_size + 1 - len(table)
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

# %% wrong="block_allocator" breaks="refuse" says="look before you take"
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

# %% wrong="block_allocator" breaks="refuse" says="exactly enough"
# Misunderstands: one block is kept back.
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
        if missing >= len(self.free) > 0 or missing > len(self.free):
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

# %% wrong="block_allocator" breaks="refuse" says="is None, expected True"
# Forgets to say that it went well.
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

# %% wrong="block_allocator" breaks="free" says="num_free after"
# Misunderstands: a shared block counts once for each request that holds it.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}

    @property
    def num_free(self):
        return len(self.users) - sum(self.users)

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
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]

# %% wrong="block_allocator" breaks="slots" says="slot = block * block_size"
# Misunderstands: the blocks of a request lie in a row.
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
        return [table[0] * size + i for i in range(self.lengths[request])]

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

# %% wrong="block_allocator" breaks="slots" says="slot = block * block_size"
# Misunderstands: the slots are those of sorted blocks.
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
        size, table = self.block_size, sorted(self.tables[request])
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

# %% wrong="block_allocator" breaks="slots" says="the number of slots"
# Returns all slots of the blocks, used or not.
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
        return [table[i // size] * size + i % size for i in range(len(table) * size)]

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

# %% wrong="block_allocator" breaks="room" says="tokens stay where they are"
# Misunderstands: the table may be built anew, since only the number of blocks counts.
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
        self.tables[request], self.lengths[request] = fresh + table, length
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

# %% wrong="block_allocator" breaks="copies" says="a partly full last one is copied"
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

# %% wrong="block_allocator" breaks="copies" says="only a partly full last block is copied"
# Gives the pair the other way round: to, from.
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
        copies = [(self.free.pop(), self.tables[parent][full])] if rest else []
        self.tables[child] = table + [new for new, _ in copies]
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

# %% wrong="block_allocator" breaks="shares" says="the full blocks are shared"
# Copies everything: nothing is saved.
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

# %% wrong="block_allocator" breaks="fork_refused" says="a block is needed"
# Answers with an empty list where it cannot fork.
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
            return []
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

# %% wrong="block_allocator" breaks="fork_refused" says=""
# Refuses in full memory even where no block is needed.
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
        if not self.free:
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

# %% wrong="block_allocator" breaks="fork_refused" says=""
# Registers the child before it looks for a block.
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
        self.tables[child], self.lengths[child] = self.tables[parent][:full], full * self.block_size
        for block in self.tables[child]:
            self.users[block] += 1
        if rest and not self.free:
            return None
        table = self.tables[parent][:full]
        copies = [(self.tables[parent][full], self.free.pop())] if rest else []
        self.tables[child] = table + [new for _, new in copies]
        self.lengths[child] = self.lengths[parent]
        for _, block in copies:
            self.users[block] += 1
        return copies

    def release(self, request):
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]

# %% wrong="block_allocator" breaks="on_their_own" says=""
# The two share one list, so what one gets the other has too.
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
        table += fresh
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table, length
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
        table = self.tables[parent][:full] if rest else self.tables[parent]
        copies = [(self.tables[parent][full], self.free.pop())] if rest else []
        self.tables[child] = table + [new for _, new in copies] if copies else table
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

# %% wrong="block_allocator" breaks="release" says="no request holds it any more"
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

# %% wrong="block_allocator" breaks="release" says="num_free after"
# A shared block never comes back.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths, self.shared = {}, {}, set()

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
        self.shared |= set(table)
        for block in self.tables[child]:
            self.users[block] += 1
        return copies

    def release(self, request):
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0 and block not in self.shared:
                self.free.append(block)
        del self.lengths[request]

# %% wrong="block_allocator" breaks="names" says=""
# Takes names for text: 1 and "1" are one request.
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
        table, length = self.tables.get(str(request), []), self.lengths.get(str(request), 0) + tokens
        missing = math.ceil(length / self.block_size) - len(table)
        if missing > len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[str(request)], self.lengths[str(request)] = table + fresh, length
        return True

    def table(self, request):
        return list(self.tables[str(request)])

    def slots(self, request):
        size, table = self.block_size, self.tables[str(request)]
        return [table[i // size] * size + i % size for i in range(self.lengths[str(request)])]

    def fork(self, parent, child):
        full, rest = divmod(self.lengths[str(parent)], self.block_size)
        if rest and not self.free:
            return None
        table = self.tables[str(parent)][:full]
        copies = [(self.tables[str(parent)][full], self.free.pop())] if rest else []
        self.tables[str(child)] = table + [new for _, new in copies]
        self.lengths[str(child)] = self.lengths[str(parent)]
        for block in self.tables[str(child)]:
            self.users[block] += 1
        return copies

    def release(self, request):
        for block in self.tables.pop(str(request)):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[str(request)]

# %% wrong="block_allocator" breaks="names" says=""
# Remembers the length of a request that has left.
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
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)

# %% wrong="block_allocator" breaks="names" says=""
# Takes a name that counts as false for no name: everybody without one shares a table.
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
        request = request or ""
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
        return list(self.tables[request or ""])

    def slots(self, request):
        request = request or ""
        size, table = self.block_size, self.tables[request]
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
        parent, child = parent or "", child or ""
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
        request = request or ""
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        del self.lengths[request]

# %% wrong="block_allocator" breaks="apart" says="the class body"
# What stands in the class body belongs to each object, the author thinks: all allocators share it.
class BlockAllocator:
    tables, lengths = {}, {}

    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks

    @property
    def num_free(self):
        return len(self.free)

    def grow(self, request, tokens):
        table = self.tables.get(request, [])
        length = self.lengths.get(request, 0) + tokens
        missing = math.ceil(length / self.block_size) - len(table)
        if missing > len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True

    def table(self, request):
        return self.tables[request]

    def slots(self, request):
        table, size = self.tables[request], self.block_size
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
        full, rest = divmod(self.lengths[parent], self.block_size)
        table = self.tables[parent]
        if rest and not self.free:
            return None
        mine = table[:full] + ([self.free.pop(0)] if rest else [])
        for block in mine:
            self.users[block] += 1
        self.tables[child], self.lengths[child] = mine, self.lengths[parent]
        return [(table[-1], mine[-1])] if rest else []

    def release(self, request):
        del self.lengths[request]
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)

# %% wrong="block_allocator" breaks="apart" says="the class body"
# The class's own dicts, emptied by each new allocator: one at a time works, two do not.
class BlockAllocator:
    def __init__(self, num_blocks, block_size):
        BlockAllocator.tables, BlockAllocator.lengths = {}, {}
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks

    @property
    def num_free(self):
        return len(self.free)

    def grow(self, request, tokens):
        table = self.tables.get(request, [])
        length = self.lengths.get(request, 0) + tokens
        missing = math.ceil(length / self.block_size) - len(table)
        if missing > len(self.free):
            return False
        fresh, self.free = self.free[:missing], self.free[missing:]
        for block in fresh:
            self.users[block] += 1
        self.tables[request], self.lengths[request] = table + fresh, length
        return True

    def table(self, request):
        return self.tables[request]

    def slots(self, request):
        table, size = self.tables[request], self.block_size
        return [table[i // size] * size + i % size for i in range(self.lengths[request])]

    def fork(self, parent, child):
        full, rest = divmod(self.lengths[parent], self.block_size)
        table = self.tables[parent]
        if rest and not self.free:
            return None
        mine = table[:full] + ([self.free.pop(0)] if rest else [])
        for block in mine:
            self.users[block] += 1
        self.tables[child], self.lengths[child] = mine, self.lengths[parent]
        return [(table[-1], mine[-1])] if rest else []

    def release(self, request):
        del self.lengths[request]
        for block in self.tables.pop(request):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)

# %% wrong="block_allocator" breaks="slots" says="generator has no entries"
# Slots come one by one, and only once.
class BlockAllocator:
    """Lends the blocks 0 to num_blocks - 1 of a KV cache; each has room for `block_size` tokens."""

    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.users = [0] * num_blocks
        self.tables, self.lengths = {}, {}

    @property
    def num_free(self):
        """Number of blocks that nobody holds."""
        return len(self.free)

    def grow(self, request, tokens):
        """Make room for `tokens` more tokens; False, and nothing changed, if there are too few free blocks."""
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
        """Block numbers of `request`, in the order of its tokens."""
        return list(self.tables[request])

    def slots(self, request):
        """Slot number of every token of `request`."""
        size, table = self.block_size, self.tables[request]
        return (table[i // size] * size + i % size for i in range(self.lengths[request]))

    def fork(self, parent, child):
        """`child` shares the full blocks of `parent`; returns the copies to make, or None if a block is missing."""
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
        """Give back the blocks of `request`."""
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

# %% right="block_allocator"
from collections import defaultdict


@dataclass
class Held:
    blocks: list = field(default_factory=list)
    tokens: int = 0


class BlockAllocator:
    """A stack of free blocks, and for each block the set of its requests."""

    def __init__(self, num_blocks: int, block_size: int):
        self.block_size = block_size
        self.stack = deque(range(num_blocks))
        self.holders = defaultdict(set)
        self.requests = {}

    @property
    def num_free(self) -> int:
        return len(self.stack)

    def _take(self, request):
        block = self.stack.pop()
        self.holders[block].add(request)
        return block

    def grow(self, request, tokens):
        held = self.requests.get(request) or Held()
        room = len(held.blocks) * self.block_size - held.tokens
        needed = max(0, -(-(tokens - room) // self.block_size))
        if needed > self.num_free:
            return False
        held.blocks.extend(self._take(request) for _ in range(needed))
        held.tokens += tokens
        self.requests[request] = held
        return True

    def table(self, request):
        return self.requests[request].blocks.copy()

    def slots(self, request):
        held = self.requests[request]
        places = np.add.outer(np.array(held.blocks) * self.block_size, np.arange(self.block_size))
        return places.ravel()[: held.tokens].tolist()

    def fork(self, parent, child):
        source = self.requests[parent]
        last_is_full = source.tokens % self.block_size == 0
        if not last_is_full and not self.stack:
            return None
        shared = source.blocks if last_is_full else source.blocks[:-1]
        for block in shared:
            self.holders[block].add(child)
        copies = [] if last_is_full else [(source.blocks[-1], self._take(child))]
        self.requests[child] = Held(shared + [to for _, to in copies], source.tokens)
        return copies

    def release(self, request):
        for block in self.requests.pop(request).blocks:
            self.holders[block].discard(request)
            if not self.holders[block]:
                self.stack.appendleft(block)

# %% equivalent="block_allocator" because="the list is replaced by a new one, never changed; the task asks for no copy"
# - return list(self.tables[request])
# + return self.tables[request]

# %% equivalent="prefix_cache" because="a view of keys minus any iterable"
# - if missing > len(self.idle.keys() - set(found)):
# + if missing > len(self.idle.keys() - found):

# %% wrong="prefix_cache" breaks="chain" says="chain the keys"
# The tokens of a block are its key.
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

# %% wrong="prefix_cache" breaks="full" says="a block that is not full has no key"
# The part of a block at the end gets a key as well.
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

# %% wrong="prefix_cache" breaks="full" says="the keys"
# Leaves the last block without a key, full or not.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens), block_size):
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

# %% wrong="prefix_cache" breaks="chain" says="without a mark between them"
# Joins the tokens without a mark: 1, 23 looks like 12, 3.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = "".join(map(str, tokens[:end]))
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

# %% wrong="prefix_cache" breaks="chain" says="the order of the tokens"
# The order of the tokens before a block does not count.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = tuple(sorted(tokens[:end]))
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

# %% wrong="prefix_cache" breaks="chain" says="the keys"
# Puts the length of the prompt into the key: only equal prompts share.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (len(tokens), tuple(tokens[:end]))
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

# %% wrong="prefix_cache" breaks="chain" says="the keys"
# Adds up the tokens before the block: different beginnings can look alike.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (sum(tokens[: end - block_size]), tuple(tokens[end - block_size : end]))
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

# %% wrong="prefix_cache" breaks="chain" says="bytes must be in range"
# Takes ids for bytes.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = bytes(tokens[:end])
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

# %% wrong="prefix_cache" breaks="kept" says="it must stay as it was"
# Takes the blocks off the list that it was given.
def block_keys(tokens, block_size):
    keys, key = [], None
    while len(tokens) >= block_size:
        key = (key, tuple(tokens[:block_size]))
        keys.append(key)
        del tokens[:block_size]
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

# %% wrong="prefix_cache" breaks="last_token" says="the last token must be computed"
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

# %% wrong="prefix_cache" breaks="last_token" says="cached tokens"
# Leaves the whole last block to compute, full or not: one block too few is found.
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
        for key in keys[: max(0, len(tokens) // self.block_size - 1)]:
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

# %% wrong="prefix_cache" breaks="find" says="cached tokens"
# Looks at the first block alone.
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
            break
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

# %% wrong="prefix_cache" breaks="use" says=""
# A block that was found stays idle, and is given away while it is in use.
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

# %% wrong="prefix_cache" breaks="refuse" says="count idle blocks without"
# Counts blocks that were found among those that can be taken.
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
        fresh = [self.idle.popitem(last=False)[0] for _ in range(min(missing, len(self.idle)))]
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

# %% wrong="prefix_cache" breaks="refuse" says=""
# Refuses when it has taken the blocks that it found.
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
        if missing > len(self.idle):
            return None
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

# %% wrong="prefix_cache" breaks="refuse" says="whether `admit` refuses"
# Needs one idle block more than it takes.
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
        if missing >= len(self.idle.keys() - set(found)):
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

# %% wrong="prefix_cache" breaks="refuse" says="whether `admit` refuses"
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
        if missing > len(self.idle.keys() - set(found)):
            for block in range(len(self.users)):
                if block not in found and missing > len(self.idle.keys() - set(found)):
                    self.idle[block] = None
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

# %% wrong="prefix_cache" breaks="oldest" says="idle for longest goes first"
# Takes the block that has been idle for the shortest time.
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
        fresh = [self.idle.popitem()[0] for _ in range(missing)]
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

# %% wrong="prefix_cache" breaks="oldest" says=""
# Takes the free block with the lowest number.
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
        fresh = sorted(self.idle)[:missing]
        for block in fresh:
            del self.idle[block]
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

# %% wrong="prefix_cache" breaks="forget" says=""
# A fresh block keeps its old key beside the new one.
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
            pass
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

# %% wrong="prefix_cache" breaks="forget" says=""
# Forgets an old key only where a new one comes.
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
        for key, block in zip(keys[len(found) :], fresh):
            self.block_of.pop(self.key_of.pop(block, None), None)
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

# %% wrong="prefix_cache" breaks="name" says=""
# The newest block with a key gets its name, whoever had it before.
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
            self.block_of[key], self.key_of[block] = block, key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.block_size

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="name" says=""
# Only the first of the fresh blocks gets its key.
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
        for key, block in zip(keys[len(found) :], fresh[:1]):
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

# %% wrong="prefix_cache" breaks="tokens_kept" says="the tokens after"
# Empties the list that it was given.
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
        tokens.clear()
        return found + fresh, len(found) * self.block_size

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="finish" says="finish keeps the keys"
# Forgets the keys when a request is done.
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

# %% wrong="prefix_cache" breaks="finish" says="the tail is taken before the head"
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

# %% wrong="prefix_cache" breaks="users" says="as many users as requests hold it"
# A block is idle as soon as one of its users has left.
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
            if self.users[block] >= 0:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="chain" says="ids are larger than 16 bits"
# Two bytes for each token: ids that differ by 65536 have the same key.
def block_keys(tokens, block_size):
    ids = np.array(tokens, dtype=np.int64).astype(np.uint16)  # two bytes for each token
    return [ids[:end].tobytes() for end in range(block_size, len(tokens) + 1, block_size)]


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.idle = OrderedDict((block, None) for block in range(num_blocks))
        self.users = Counter()
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        keys = block_keys(tokens, self.block_size)
        found = []
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
            if block in self.key_of:
                del self.block_of[self.key_of.pop(block)]
        for block, key in zip(fresh, keys[len(found) :]):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        table = found + fresh
        for block in table:
            self.users[block] += 1
        return table, len(found) * self.block_size

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="chain" says="the keys"
# Ids as float32: from 2**24 on neighbours are the same number.
def block_keys(tokens, block_size):
    """A name for each full block: equal exactly when all tokens up to the block's end are equal."""
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, np.array(tokens[end - block_size : end], dtype=np.float32).tobytes())
        keys.append(key)
    return keys


class PrefixCache:
    """Blocks that requests with the same beginning share, also after one another."""

    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        """Blocks for `tokens` and the number of cached tokens; None, and nothing changed, without enough blocks."""
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
        """Give back the blocks of a request; what they hold stays known until they are needed."""
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="refuse" says="not the order of the idle blocks"
# A refused admit has used the found blocks: they become the youngest idle ones.
def block_keys(tokens, block_size):
    keys, before = [], None
    for start in range(0, len(tokens) - block_size + 1, block_size):
        before = (before, tuple(tokens[start : start + block_size]))
        keys.append(before)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.idle = OrderedDict((block, None) for block in range(num_blocks))
        self.users = Counter()
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        keys = block_keys(tokens, self.block_size)
        found = []
        for key in keys[: (len(tokens) - 1) // self.block_size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        missing = math.ceil(len(tokens) / self.block_size) - len(found)
        was_idle = [block for block in found if block in self.idle]
        for block in was_idle:
            del self.idle[block]
        if missing > len(self.idle):
            for block in reversed(was_idle):  # give them back
                self.idle[block] = None
            return None
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] for _ in range(missing)]
        for block in fresh:
            if block in self.key_of:
                del self.block_of[self.key_of.pop(block)]
        for block, key in zip(fresh, keys[len(found) :]):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        table = found + fresh
        for block in table:
            self.users[block] += 1
        return table, len(found) * self.block_size

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="chain" says="two beginnings, one number"
# A rolling number with a factor above every vocabulary: but ids go up to 2**40, and (0, 1000003) gives what (1, 0) gives.
def block_keys(tokens, block_size):
    keys, chain = [], 1
    for i, token in enumerate(tokens, start=1):
        chain = chain * 1_000_003 + token
        if i % block_size == 0:
            keys.append(chain)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.size = block_size
        self.idle = OrderedDict((block, None) for block in range(num_blocks))
        self.users = Counter()
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        keys, found = block_keys(tokens, self.size), []
        for key in keys[: (len(tokens) - 1) // self.size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        need = -(-len(tokens) // self.size) - len(found)
        if need > len(self.idle.keys() - set(found)):
            return None
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] for _ in range(need)]
        for block in fresh:
            if block in self.key_of:
                del self.block_of[self.key_of.pop(block)]
        for block, key in zip(fresh, keys[len(found) :]):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.size

    def finish(self, table):
        for block in table[::-1]:
            self.users[block] -= 1
            if not self.users[block]:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="chain" says="two beginnings, one number"
# The same with a factor that no list of usual ones has, and a modulus.
def block_keys(tokens, block_size):
    keys, chain = [], 1
    for i, token in enumerate(tokens, start=1):
        chain = (chain * 7_654_321 + token) % (2**61 - 1)
        if i % block_size == 0:
            keys.append(chain)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.size = block_size
        self.idle = OrderedDict((block, None) for block in range(num_blocks))
        self.users = Counter()
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        keys, found = block_keys(tokens, self.size), []
        for key in keys[: (len(tokens) - 1) // self.size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        need = -(-len(tokens) // self.size) - len(found)
        if need > len(self.idle.keys() - set(found)):
            return None
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] for _ in range(need)]
        for block in fresh:
            if block in self.key_of:
                del self.block_of[self.key_of.pop(block)]
        for block, key in zip(fresh, keys[len(found) :]):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.size

    def finish(self, table):
        for block in table[::-1]:
            self.users[block] -= 1
            if not self.users[block]:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="apart" says="the class body"
# The dict of keys is a default argument: all caches have the same one.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size, block_of={}):
        self.size = block_size
        self.idle = OrderedDict((block, None) for block in range(num_blocks))
        self.users = Counter()
        self.block_of, self.key_of = block_of, {}

    def admit(self, tokens):
        keys, found = block_keys(tokens, self.size), []
        for key in keys[: (len(tokens) - 1) // self.size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        need = -(-len(tokens) // self.size) - len(found)
        if need > len(self.idle.keys() - set(found)):
            return None
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] for _ in range(need)]
        for block in fresh:
            if block in self.key_of:
                del self.block_of[self.key_of.pop(block)]
        for block, key in zip(fresh, keys[len(found) :]):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.size

    def finish(self, table):
        for block in table[::-1]:
            self.users[block] -= 1
            if not self.users[block]:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="kept" says="it must stay as it was"
# The list is eaten up block by block; admit hands over a copy.
def block_keys(tokens, block_size):
    keys, key = [], None
    while len(tokens) >= block_size:
        key = (key, tuple(tokens[:block_size]))
        del tokens[:block_size]
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.size = block_size
        self.idle = OrderedDict((block, None) for block in range(num_blocks))
        self.users = Counter()
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        keys, found = block_keys(list(tokens), self.size), []
        for key in keys[: (len(tokens) - 1) // self.size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        need = -(-len(tokens) // self.size) - len(found)
        if need > len(self.idle.keys() - set(found)):
            return None
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] for _ in range(need)]
        for block in fresh:
            if block in self.key_of:
                del self.block_of[self.key_of.pop(block)]
        for block, key in zip(fresh, keys[len(found) :]):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.size

    def finish(self, table):
        for block in table[::-1]:
            self.users[block] -= 1
            if not self.users[block]:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="oldest" says="then those idle for longest"
# Idle blocks without a key are taken before those that have been idle for longer.
def block_keys(tokens, block_size):
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.size = block_size
        self.idle = OrderedDict((block, None) for block in range(num_blocks))
        self.users = Counter()
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        keys, found = block_keys(tokens, self.size), []
        for key in keys[: (len(tokens) - 1) // self.size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        need = -(-len(tokens) // self.size) - len(found)
        if need > len(self.idle.keys() - set(found)):
            return None
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] for _ in range(need)]
        for block in fresh:
            if block in self.key_of:
                del self.block_of[self.key_of.pop(block)]
        for block, key in zip(fresh, keys[len(found) :]):
            if key not in self.block_of:
                self.block_of[key], self.key_of[block] = block, key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.size

    def finish(self, table):
        for block in table[::-1]:
            self.users[block] -= 1
            if not self.users[block]:
                self.idle[block] = None
                if block not in self.key_of:
                    self.idle.move_to_end(block, last=False)

# %% wrong="prefix_cache" breaks="chain" says="of numbers with 32 bits"
# A checksum of 32 bits is unique enough, it thinks.
def block_keys(tokens, block_size):
    """A name for each full block: equal exactly when all tokens up to the block's end are equal."""
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = zlib.crc32(repr((key, tokens[end - block_size : end])).encode())
        keys.append(key)
    return keys


class PrefixCache:
    """Blocks that requests with the same beginning share, also after one another."""

    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        """Blocks for `tokens` and the number of cached tokens; None, and nothing changed, without enough blocks."""
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
        """Give back the blocks of a request; what they hold stays known until they are needed."""
        for block in reversed(table):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.idle[block] = None

# %% wrong="prefix_cache" breaks="name" says="the blocks that were found"
# Two blocks may have one key, as in vLLM: when the first is taken, the second still has it.
def block_keys(tokens, block_size):
    """A name for each full block: equal exactly when all tokens up to the block's end are equal."""
    keys, key = [], None
    for end in range(block_size, len(tokens) + 1, block_size):
        key = (key, tuple(tokens[end - block_size : end]))
        keys.append(key)
    return keys


class PrefixCache:
    """Blocks that requests with the same beginning share, also after one another."""

    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.users = [0] * num_blocks
        self.idle = OrderedDict.fromkeys(range(num_blocks))  # the longest idle first
        self.block_of, self.key_of = {}, {}

    def admit(self, tokens):
        """Blocks for `tokens` and the number of cached tokens; None, and nothing changed, without enough blocks."""
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
            old = self.key_of.pop(block, None)
            if self.block_of.get(old) == block:
                del self.block_of[old]
                self.block_of |= {key: other for other, key in self.key_of.items() if key == old}
        for key, block in zip(keys[len(found) :], fresh):
            self.block_of.setdefault(key, block)
            self.key_of[block] = key
        for block in found + fresh:
            self.users[block] += 1
        return found + fresh, len(found) * self.block_size

    def finish(self, table):
        """Give back the blocks of a request; what they hold stays known until they are needed."""
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

# %% right="prefix_cache"
import itertools


def block_keys(tokens, block_size):
    return [tuple(tokens[:end]) for end in range(block_size, len(tokens) + 1, block_size)]


class Block:
    def __init__(self, number):
        self.number, self.users, self.key = number, 0, None


class PrefixCache:
    """nano-vllm's way: a queue of free blocks, a map from keys to blocks, a count of references."""

    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.blocks = [Block(i) for i in range(num_blocks)]
        self.free = deque(range(num_blocks))
        self.known = {}

    def admit(self, tokens):
        keys = block_keys(tokens, self.block_size)
        hits = list(itertools.takewhile(lambda key: key in self.known, keys[: (len(tokens) - 1) // self.block_size]))
        table = [self.known[key] for key in hits]
        needed = -(-len(tokens) // self.block_size) - len(table)
        available = [number for number in self.free if number not in table]
        if len(available) < needed:
            return None
        fresh = available[:needed]
        for number in fresh:
            block = self.blocks[number]
            if self.known.get(block.key) == number:
                del self.known[block.key]
            block.key = None
        self.free = deque(number for number in self.free if number not in table and number not in fresh)
        table = table + fresh
        for number, key in itertools.zip_longest(table, keys):
            self.blocks[number].users += 1
            if key is not None and key not in self.known:
                self.known[key] = number
                self.blocks[number].key = key
        return table, len(hits) * self.block_size

    def finish(self, table):
        for number in table[::-1]:
            block = self.blocks[number]
            block.users -= 1
            if not block.users:
                self.free.append(number)

# %% right="prefix_cache"
# Keys of 64 bits: two checksums side by side.
def block_keys(tokens, block_size):
    keys = []
    for end in range(block_size, len(tokens) + 1, block_size):
        data = np.array(tokens[:end], dtype=np.int64)
        keys.append((zlib.crc32(data.tobytes()) << 32) | zlib.adler32(data.tobytes()))
    return keys


class PrefixCache:
    def __init__(self, num_blocks, block_size):
        self.block_size = block_size
        self.idle = OrderedDict.fromkeys(range(num_blocks))
        self.block_of, self.key_of, self.users = {}, {}, Counter()

    def admit(self, tokens):
        size = self.block_size
        keys, found = block_keys(tokens, size), []
        for key in keys[: (len(tokens) - 1) // size]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        missing = -(-len(tokens) // size) - len(found)
        if missing > len(self.idle) - sum(block in self.idle for block in found):
            return None
        for block in found:
            self.idle.pop(block, None)
        fresh = [self.idle.popitem(last=False)[0] for _ in range(missing)]
        for block in fresh:
            if block in self.key_of:
                del self.block_of[self.key_of.pop(block)]
        for block, key in zip(fresh, keys[len(found) :]):
            if key not in self.block_of:
                self.block_of[key] = block
                self.key_of[block] = key
        self.users.update(found + fresh)
        return found + fresh, len(found) * size

    def finish(self, table):
        for block in reversed(table):
            self.users[block] -= 1
            if not self.users[block]:
                self.idle[block] = None

# %% equivalent="scheduler" because="the batch is read before update; the task asks for no copy"
# - return list(self.running)
# + return self.running

# %% wrong="scheduler" breaks="admit" says="do not wait for the whole batch"
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
        full = bool(self.running)
        while self.waiting and len(self.running) < self.max_num_seqs and not full:
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

# %% wrong="scheduler" breaks="admit" says="the batch of step"
# Admits one request a step.
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
            break
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="admit" says="the batch of step"
# Admits only what has room for its whole answer.
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
            if not self.pool.reserve(self.waiting[0].id, len(self.waiting[0].prompt) + self.waiting[0].max_tokens - 1):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="room" says="reserve before each step"
# Reserves room once, at the admission.
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

# %% wrong="scheduler" breaks="room" says=""
# Reserves for the prompt, and forgets the output.
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
            while request in self.running and not self.pool.reserve(request.id, len(request.prompt)):
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
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="room" says=""
# Who is preempted keeps its blocks.
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
                if victim is request:
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

# %% wrong="scheduler" breaks="youngest" says="the youngest is preempted"
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

# %% wrong="scheduler" breaks="youngest" says="the batch of step"
# Who finds no room leaves itself, however old it is.
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
                victim = self.running.pop(self.running.index(request))
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

# %% wrong="scheduler" breaks="keep" says="who finds room keeps its blocks"
# Everybody gives the blocks back before each step, and is admitted anew.
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
            while request in self.running:
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
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="front" says="the batch of step"
# Who is preempted goes to the end of the queue.
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
                self.waiting.append(victim)
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

# %% wrong="scheduler" breaks="front" says=""
# Who is preempted starts again, without the tokens that it had.
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
                victim.output.clear()
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

# %% wrong="scheduler" breaks="seats" says="at most max_num_seqs"
# One seat more than there are.
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
        while self.waiting and len(self.running) <= self.max_num_seqs:
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

# %% wrong="scheduler" breaks="overtake" says="nobody overtakes"
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
        for request in list(self.waiting):
            if len(self.running) < self.max_num_seqs and self.pool.reserve(request.id, len(request.tokens)):
                self.waiting.remove(request)
                self.running.append(request)
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="order" says="the batch of step"
# The batch is sorted by id.
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
        return sorted(self.running, key=lambda request: request.id)

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="order" says="the batch of step"
# The newest first.
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
        return self.running[::-1]

    def update(self, new_tokens):
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="queue" says="the batch of step"
# Who comes last is served first.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.appendleft(request)

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
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="queue" says="the batch of step"
# Short prompts first.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting = deque(sorted([*self.waiting, request], key=lambda r: len(r.prompt)))

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
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="never" says="the requests turned down"
# Counts the last token, which is never read again.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens > self.pool.capacity:
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
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="never" says="the requests turned down"
# Asks whether the prompt fits.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) > self.pool.capacity:
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
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="never" says="the batch of step"
# Turns a request down, and keeps it in the queue.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        self.waiting.append(request)
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")

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
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="never" says="the requests turned down"
# Turns down what does not fit at the moment.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.num_free * self.pool.block_size:
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
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="done" says="END"
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

# %% wrong="scheduler" breaks="done" says=""
# One token more than max_tokens.
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
            if request.output[-1] == END or len(request.output) > request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="done" says="gave them back in `update`"
# Blocks come back at the next step only.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.left = []
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
        for request in self.left:
            self.pool.release(request.id)
        self.left.clear()
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
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.left.append(request)

# %% wrong="scheduler" breaks="token" says="outputs"
# The end token is not part of the output.
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
            token = new_tokens[request.id]
            if token != END:
                request.output.append(token)
            if token == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="token" says=""
# Keeps the latest token alone.
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
            request.output[-1:] = [new_tokens[request.id]]
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="front" says="the older, stands before the other"
# Two that are preempted in one step queue up as they left: the younger before the older.
class Scheduler:
    """Decides before every step which requests take part in it."""

    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"{request.id} can never be served")
        self.waiting.append(request)

    def schedule(self):
        victims = []
        for request in list(self.running):
            while request in self.running and not self.pool.reserve(request.id, len(request.tokens)):
                victim = self.running.pop()
                self.pool.release(victim.id)
                victims.append(victim)
        self.waiting = deque(victims + list(self.waiting))  # in front, in the order in which they left
        while self.waiting and len(self.running) < self.max_num_seqs:
            request = self.waiting[0]
            if not self.pool.reserve(request.id, len(request.tokens)):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            if request.id not in new_tokens:
                continue
            request.output.append(new_tokens[request.id])
            if new_tokens[request.id] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="done" says="END in the prompt ends nothing"
# Looks for END in all tokens.
class Scheduler:
    """Decides before every step which requests take part in it."""

    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"{request.id} can never be served")
        self.waiting.append(request)

    def schedule(self):
        for request in list(self.running):
            while request in self.running and not self.pool.reserve(request.id, len(request.tokens)):
                victim = self.running.pop()
                self.pool.release(victim.id)
                self.waiting.appendleft(victim)
        while self.waiting and len(self.running) < self.max_num_seqs:
            request = self.waiting[0]
            if not self.pool.reserve(request.id, len(request.tokens)):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            if request.id not in new_tokens:
                continue
            request.output.append(new_tokens[request.id])
            if END in request.tokens or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="token" says="in any order"
# Hands the tokens out by position: the dict need not have the order of the batch.
class Scheduler:
    """Decides before every step which requests take part in it."""

    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        """Put a request into the queue; ValueError if it can never be served."""
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
        """The requests of the next step, each with room for its tokens."""
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
        """Hand out the new tokens {id: token}; requests that are done leave."""
        for request, token in zip(list(self.running), new_tokens.values()):
            request.output.append(token)
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="apart" says="the class body"
# The queue stands in the class body: two schedulers share it.
class Scheduler:
    waiting = deque()

    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.running = []

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError("too long")
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
            token = new_tokens[request.id]
            request.output.append(token)
            if token == END or len(request.output) >= request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% wrong="scheduler" breaks="done" says="max_tokens counts the whole output"
# Counts what was generated since the last admission.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running, self.generated = deque(), [], {}

    def add(self, request):
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError("too long")
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
            self.generated[self.running[-1].id] = 0
        return list(self.running)

    def update(self, new_tokens):
        for request in list(self.running):
            token = new_tokens[request.id]
            request.output.append(token)
            self.generated[request.id] += 1
            if token == END or self.generated[request.id] >= request.max_tokens:
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

# %% right="scheduler"
class Scheduler:
    """nano-vllm's way: one request at a time from the running queue, which is built anew in each step."""

    def __init__(self, pool: BlockPool, max_num_seqs: int):
        self.pool, self.limit = pool, max_num_seqs
        self.waiting: list[Request] = []
        self.running: deque[Request] = deque()

    def _preempt(self, request):
        self.pool.release(request.id)
        self.waiting.insert(0, request)

    def add(self, request: Request) -> None:
        needed = len(request.prompt) + request.max_tokens - 1
        if self.pool.capacity < needed:
            raise ValueError(request.id)
        self.waiting.append(request)

    def schedule(self) -> list[Request]:
        scheduled = []
        while self.running:
            request = self.running.popleft()
            while not self.pool.reserve(request.id, tokens=len(request.tokens)):
                if self.running:
                    self._preempt(self.running.pop())
                else:
                    self._preempt(request)
                    break
            else:
                scheduled.append(request)
        while self.waiting and len(scheduled) < self.limit and self.pool.reserve(self.waiting[0].id, len(self.waiting[0].tokens)):
            scheduled.append(self.waiting.pop(0))
        self.running.extend(scheduled)
        return scheduled

    def update(self, new_tokens: dict) -> None:
        for name, token in new_tokens.items():
            request = next(request for request in self.running if request.id == name)
            request.output.append(token)
        finished = [r for r in self.running if r.output[-1] == END or len(r.output) >= r.max_tokens]
        for request in finished:
            self.pool.release(request.id)
        self.running = deque(r for r in self.running if all(r is not other for other in finished))

# %% right="scheduler"
class Scheduler:
    """Decides before every step which requests take part in it."""

    def __init__(self, pool, max_num_seqs):
        self.pool, self.max_num_seqs = pool, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, request):
        """Put a request into the queue; ValueError if it can never be served."""
        if len(request.prompt) + request.max_tokens - 1 > self.pool.capacity:
            raise ValueError(f"request {request.id} does not fit into {self.pool.capacity} tokens")
        self.waiting.append(request)

    def schedule(self):
        """The requests of the next step, each with room for its tokens."""
        for request in list(self.running):
            while request in self.running and len(request.tokens) > self.pool.held[request.id] * self.pool.block_size:
                if self.pool.reserve(request.id, len(request.tokens)):
                    break
                victim = self.running.pop()
                self.pool.release(victim.id)
                self.waiting.appendleft(victim)
        while self.waiting and len(self.running) < self.max_num_seqs:
            if not self.pool.reserve(self.waiting[0].id, len(self.waiting[0].tokens)):
                break
            self.running.append(self.waiting.popleft())
        return list(self.running)

    def update(self, new_tokens):
        """Hand out the new tokens {id: token}; requests that are done leave."""
        for request in list(self.running):
            request.output.append(new_tokens[request.id])
            if request.output[-1] == END or len(request.output) == request.max_tokens:
                self.running.remove(request)
                self.pool.release(request.id)

# %% right="scheduler"
# `schedule` hands out its own list, from which `update` removes.
class Scheduler:
    def __init__(self, pool, max_num_seqs):
        self.pool, self.seats = pool, max_num_seqs
        self.queue, self.active = [], []

    def add(self, request):
        need = len(request.prompt) + request.max_tokens - 1
        if -(-need // self.pool.block_size) > self.pool.num_blocks:
            raise ValueError("too long for this pool")
        self.queue.append(request)

    def _evict(self):
        last = self.active.pop()
        self.pool.release(last.id)
        self.queue.insert(0, last)
        return last

    def _room(self, request):
        return self.pool.reserve(request.id, len(request.prompt) + len(request.output))

    def schedule(self):
        for request in tuple(self.active):
            if not any(request is other for other in self.active):
                break
            while not self._room(request):
                if self._evict() is request:
                    break
        while self.queue and len(self.active) < self.seats and self._room(self.queue[0]):
            self.active.append(self.queue.pop(0))
        return self.active

    def update(self, new_tokens):
        by_id = {request.id: request for request in self.active}
        for name, token in new_tokens.items():
            request = by_id[name]
            request.output.append(token)
            if token == END or len(request.output) >= request.max_tokens:
                self.pool.release(name)
                self.active.remove(request)

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

# %% wrong="engine" breaks="token" says="drawn at random"
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

# %% wrong="engine" breaks="done" says="the end token"
# The token that ends an answer is END, as in exercise 3, whatever the model says.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def step(self):
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens[: sequence.computed + count]):
                    plan.append((sequence, count))
                    left -= count
                    break
                victim = self.running.pop()
                self.blocks.release(victim.id)
                victim.computed, preempted = 0, True
                self.waiting.appendleft(victim)
        while self.waiting and left and not preempted and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            known = self.blocks.start(sequence.id, sequence.tokens)
            if known is None:
                break
            self.waiting.popleft()
            sequence.computed = known
            if sequence.cached is None:
                sequence.cached = known
            count = min(len(sequence.tokens) - known, left)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(sequence)
            plan.append((sequence, count))
            left -= count
        if not plan:
            return []
        scores = self.model.forward([(s.tokens[s.computed : s.computed + n], self.blocks.slots(s.id)) for s, n in plan])
        for (sequence, count), token in zip(plan, scores.argmax(-1).tolist()):
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                sequence.output.append(token)
                if token == END or len(sequence.output) == sequence.max_tokens:
                    self.running.remove(sequence)
                    self.blocks.release(sequence.id)
        return [(sequence.id, count) for sequence, count in plan]

# %% wrong="engine" breaks="apart" says="the class body"
# The queue is a default argument, which all engines share.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs, waiting=deque()):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = waiting, []

    def add(self, sequence):
        self.waiting.append(sequence)

    def step(self):
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens[: sequence.computed + count]):
                    plan.append((sequence, count))
                    left -= count
                    break
                victim = self.running.pop()
                self.blocks.release(victim.id)
                victim.computed, preempted = 0, True
                self.waiting.appendleft(victim)
        while self.waiting and left and not preempted and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            known = self.blocks.start(sequence.id, sequence.tokens)
            if known is None:
                break
            self.waiting.popleft()
            sequence.computed = known
            if sequence.cached is None:
                sequence.cached = known
            count = min(len(sequence.tokens) - known, left)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(sequence)
            plan.append((sequence, count))
            left -= count
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
# `cached or known`: a first 0 is replaced by what a later admission finds.
class Engine:
    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []

    def add(self, sequence):
        self.waiting.append(sequence)

    def step(self):
        plan, left, preempted = [], self.budget, False
        for sequence in list(self.running):
            count = min(len(sequence.tokens) - sequence.computed, left)
            while sequence in self.running:
                if self.blocks.extend(sequence.id, sequence.tokens[: sequence.computed + count]):
                    plan.append((sequence, count))
                    left -= count
                    break
                victim = self.running.pop()
                self.blocks.release(victim.id)
                victim.computed, preempted = 0, True
                self.waiting.appendleft(victim)
        while self.waiting and left and not preempted and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            known = self.blocks.start(sequence.id, sequence.tokens)
            if known is None:
                break
            self.waiting.popleft()
            sequence.computed = known
            sequence.cached = sequence.cached or known
            count = min(len(sequence.tokens) - known, left)
            self.blocks.extend(sequence.id, sequence.tokens[: known + count])
            self.running.append(sequence)
            plan.append((sequence, count))
            left -= count
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

# %% wrong="engine" breaks="running" says="runs, has"
# The order of the ids is that of the admissions, it thinks.
class Engine:
    """Serves sequences with one model, step by step."""

    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, sequence):
        """Put a sequence at the end of the waiting queue."""
        self.waiting.append(sequence)

    def step(self):
        """Run one step of the model; returns [(id, number of tokens computed), ...]."""
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

    def schedule(self):
        """The next step: a list of (sequence, number of tokens), each with room for them."""
        plan, left, preempted = [], self.budget, False
        for sequence in sorted(self.running, key=lambda s: s.id):
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

# %% wrong="engine" breaks="admission" says="waits, since"
# The queue is in the order of the ids.
class Engine:
    """Serves sequences with one model, step by step."""

    def __init__(self, model, blocks, max_num_batched_tokens, max_num_seqs):
        self.model, self.blocks = model, blocks
        self.budget, self.max_num_seqs = max_num_batched_tokens, max_num_seqs
        self.waiting, self.running = deque(), []  # running: the oldest first

    def add(self, sequence):
        """Put a sequence at the end of the waiting queue."""
        self.waiting.append(sequence)

    def step(self):
        """Run one step of the model; returns [(id, number of tokens computed), ...]."""
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
            self.waiting = deque(sorted(self.waiting, key=lambda s: s.id))
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

# %% wrong="speculative_accept" breaks="residual" says="max(0, p - q)"
# Samples from the target again instead of from the residual.
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

# %% wrong="speculative_accept" breaks="residual" says="max(0, p - q)"
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

# %% wrong="speculative_accept" breaks="residual" says="do not follow the target"
# Takes the likeliest token of the residual instead of a sample.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            return kept + [(p - q).argmax().item()]
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="residual" says="do not follow the target"
# Takes the residual of the position after the rejected one.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (target[len(kept) + 1] - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="residual" says="do not follow the target"
# Leaves the rejected token out, and goes on with the next one.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            continue
    p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="accept" says="do not follow the target"
# Accepts a token with the target's own probability.
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

# %% wrong="speculative_accept" breaks="accept" says="Accept with probability"
# Accepts a token only when the target likes it at least as well.
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

# %% wrong="speculative_accept" breaks="accept" says="do not follow the target"
# Trusts the draft: accepts everything.
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

# %% wrong="speculative_accept" breaks="accept" says="to reject more is lost speed"
# Trusts nobody: rejects everything, and samples from the target.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if False:
            kept.append(token)
        else:
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="accept" says=""
# One random number for all positions.
def speculative_accept(target, draft, drafted, generator):
    kept, number = [], torch.rand((), generator=generator)
    for p, q, token in zip(target, draft, drafted.tolist()):
        if number < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="accept" says=""
# Adds a little to the draft, against a division by zero.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / (q[token] + 0.1):
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="bonus" says="last row"
# Samples the extra token from the row before.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        pass
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="bonus" says=""
# The extra token is the likeliest one.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        return kept + [target[-1].argmax().item()]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="bonus" says="no list has k + 1 tokens"
# Gives no extra token: what was accepted is enough.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        return kept
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="ints" says="plain ints"
# A list of tensors.
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
    return kept + [torch.multinomial(p, 1, generator=generator)[0]]

# %% wrong="speculative_accept" breaks="ints" says="plain ints"
# The accepted tokens as tensors.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="ints" says="of type torch.Tensor"
# A tensor.
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
    return torch.tensor(kept + [torch.multinomial(p, 1, generator=generator).item()])

# %% wrong="speculative_accept" breaks="generator" says="all randomness comes from"
# The residual is sampled from the global random numbers.
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
    return kept + [torch.multinomial(p, 1).item()]

# %% wrong="speculative_accept" breaks="generator" says=""
# Python's random decides on what is accepted.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if random.random() < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="generator" says=""
# Makes a generator of its own from the seed of the one that was given: the same numbers in every call.
def speculative_accept(target, draft, drafted, generator):
    kept, generator = [], torch.Generator().manual_seed(generator.initial_seed())
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="unchanged" says="in place"
# Makes the residual in place.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = p.sub_(q).clamp_(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="unchanged" says="it must stay as it was"
# Marks the rejected tokens in the list of drafted ones.
def speculative_accept(target, draft, drafted, generator):
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            drafted[len(kept)] = -1
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="accept" says="however small the two are"
# Adds a tiny number to the draft, against a division by zero that cannot occur.
def speculative_accept(target, draft, drafted, generator):
    """The tokens that one step of the target yields: a list of 1 to k + 1 ints that follows the target."""
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / (q[token] + 1e-8):
            kept.append(token)
        else:
            p = (p - q).clamp(min=0)
            break
    else:
        p = target[-1]
    return kept + [torch.multinomial(p, 1, generator=generator).item()]

# %% wrong="speculative_accept" breaks="residual" says="is above 0"
# Keeps each weight of the residual above 0.
def speculative_accept(target, draft, drafted, generator):
    """The tokens that one step of the target yields: a list of 1 to k + 1 ints that follows the target."""
    kept = []
    for p, q, token in zip(target, draft, drafted.tolist()):
        if torch.rand((), generator=generator) < p[token] / q[token]:
            kept.append(token)
        else:
            p = (p - q).clamp(min=1e-6)
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

# %% right="speculative_accept"
@torch.no_grad()
def speculative_accept(target, draft, drafted, generator):
    """The way of vLLM's rejection sampler: an exponential race for the residual."""
    count, vocabulary = draft.shape

    def sample(weights):
        noise = torch.empty(vocabulary).exponential_(generator=generator)
        return int(torch.argmax(weights / noise))

    result = []
    for position in range(count):
        x = int(drafted[position])
        ratio = min(1.0, float(target[position, x]) / float(draft[position, x]))
        if float(torch.rand(1, generator=generator)) >= ratio:
            residual = torch.maximum(target[position] - draft[position], torch.zeros(vocabulary))
            result.append(sample(residual / residual.sum()))
            return result
        result.append(x)
    result.append(sample(target[count]))
    return result

# %% equivalent="check_sampler" because="a p-value that equals the level exactly does not occur"
# - assert p_value(tokens.numpy(), p) > LEVEL, f"the tokens do not follow {p}"
# + assert (p_value(tokens.numpy(), p) >= LEVEL), f"the tokens do not follow {p}"

# %% wrong="check_sampler" breaks="no_alarm" says="reject a correct implementation"
# A level of 5 % for each of many tests: false alarms are certain.
def check_sampler(sample):
    for seed in range(20):
        p, q = [0.5, 0.3, 0.2, 0.0], [0.2, 0.5, 0.2, 0.1]
        assert p_value(sample(torch.tensor(p), torch.tensor(q), 5000, seed).numpy(), p) > 0.05, "p < 0.05"

# %% wrong="check_sampler" breaks="no_alarm" says="reject a correct implementation"
# Asks for exact shares: randomness is not allowed to be random.
def check_sampler(sample):
    p, q = torch.tensor([0.5, 0.3, 0.2, 0.0]), torch.tensor([0.2, 0.5, 0.2, 0.1])
    shares = torch.bincount(sample(p, q, 2000, 0), minlength=4) / 2000
    torch.testing.assert_close(shares, p, rtol=0, atol=0.01)
    assert abs(shares[0] - 0.5) < 0.005

# %% wrong="check_sampler" breaks="no_alarm" says="reject a correct implementation"
# Asks for the very tokens of the sampler that it knows.
def check_sampler(sample):
    p, q = torch.tensor([0.5, 0.3, 0.2, 0.0]), torch.tensor([0.2, 0.5, 0.2, 0.1])
    assert torch.equal(sample(p, q, 100, 1), sampler_with()(p, q, 100, 1))

# %% wrong="check_sampler" breaks="no_alarm" says="reject a correct implementation"
# Asks for other tokens in a single one.
def check_sampler(sample):
    for p, q in (([0.5, 0.3, 0.2, 0.0], [0.2, 0.5, 0.2, 0.1]), ([0.05, 0.15, 0.35, 0.45], [0.7, 0.2, 0.1, 0.0])):
        assert p_value(sample(torch.tensor(p), torch.tensor(q), TOKENS, 3).numpy(), p) > LEVEL
        assert not torch.equal(sample(torch.tensor(p), torch.tensor(q), 1, 1), sample(torch.tensor(p), torch.tensor(q), 1, 2))

# %% wrong="check_sampler" breaks="target" says="Still unseen"
# Too few tokens, and a draft that is close: small errors drown in luck.
def check_sampler(sample):
    p, q = [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]
    assert p_value(sample(torch.tensor(p), torch.tensor(q), 100, 0).numpy(), p) > 1e-5

# %% wrong="check_sampler" breaks="target" says="likeliest token"
# Only drafts that propose every token.
def check_sampler(sample):
    cases = [
        ([0.5, 0.3, 0.2], [0.2, 0.5, 0.3]),
        ([0.05, 0.15, 0.35, 0.45], [0.7, 0.1, 0.1, 0.1]),
        ([0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]),
        ([0.1, 0.2, 0.3, 0.4], [0.13, 0.17, 0.33, 0.37]),
    ]
    for p, q in cases:
        runs = [sample(torch.tensor(p), torch.tensor(q), TOKENS, seed) for seed in SEEDS]
        assert not torch.equal(*runs), "two seeds give the same tokens"
        for tokens in runs:
            assert p_value(tokens.numpy(), p) > LEVEL, f"the tokens do not follow {p}"
    again = sample(torch.tensor(p), torch.tensor(q), TOKENS, SEEDS[-1])
    assert torch.equal(again, runs[-1]), "the same seed gives other tokens"

# %% wrong="check_sampler" breaks="seed" says="ignores the seed"
# Tests the distribution alone: a sampler that gives the same tokens every time passes.
def check_sampler(sample):
    cases = [
        ([0.5, 0.3, 0.2, 0.0], [0.2, 0.5, 0.2, 0.1]),
        ([0.05, 0.15, 0.35, 0.45], [0.7, 0.2, 0.1, 0.0]),
        ([0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]),
        ([0.1, 0.2, 0.3, 0.4], [0.13, 0.17, 0.33, 0.37]),
    ]
    for p, q in cases:
        runs = [sample(torch.tensor(p), torch.tensor(q), TOKENS, seed) for seed in SEEDS]
        for tokens in runs:
            assert p_value(tokens.numpy(), p) > LEVEL, f"the tokens do not follow {p}"
    again = sample(torch.tensor(p), torch.tensor(q), TOKENS, SEEDS[-1])
    assert torch.equal(again, runs[-1]), "the same seed gives other tokens"

# %% wrong="check_sampler" breaks="repeat" says="global random numbers"
# Never asks twice for the same tokens.
def check_sampler(sample):
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

# %% wrong="check_sampler" breaks="target" says="catch none"
# Looks at one token only: whether it exists.
def check_sampler(sample):
    token = sample(torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1]), 1, 0)
    assert 0 <= int(token[0]) <= 1

# %% wrong="check_sampler" breaks="raises" says="what they return is ignored"
# Says what it finds instead of raising.
def check_sampler(sample):
    p, q = [0.5, 0.3, 0.2, 0.0], [0.2, 0.5, 0.2, 0.1]
    return p_value(sample(torch.tensor(p), torch.tensor(q), TOKENS, 1).numpy(), p) > LEVEL

# %% right="check_sampler"
def check_sampler(sample):
    rng = np.random.default_rng(1)
    for i in range(12):
        p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
        if i % 3 == 0:
            p[0] = 0
        if i % 3 == 1:
            q[p.argmax()] = 0
        p, q = (torch.tensor(x / x.sum(), dtype=torch.float32) for x in (p, q))
        counts = torch.bincount(sample(p, q, 30_000, 10 + i), minlength=5).double()
        spread = (30_000 * p * (1 - p)).sqrt().double()
        deviation = (counts - 30_000 * p.double()).abs()
        assert (deviation <= 5.5 * spread + 1e-3).all(), (p, counts)
        if i % 2:
            p = torch.full((5,), 0.2)
            assert sample(p, p, 40, 1).tolist() != sample(p, p, 40, 2).tolist()
            assert sample(p, p, 40, 1).tolist() == sample(p, p, 40, 1).tolist()

# %% right="check_sampler"
def check_sampler(sample):
    """Each token's count against its binomial distribution, by keyword arguments."""
    pairs = {(0.6, 0.4, 0.0): (0.1, 0.6, 0.3), (0.05, 0.9, 0.05): (0.5, 0.0, 0.5), (0.2, 0.3, 0.5): (0.8, 0.1, 0.1)}
    for p, q in pairs.items():
        calls = [dict(target=torch.tensor(p), draft=torch.tensor(q), n=TOKENS, seed=seed) for seed in (5, 6, 5)]
        first, second, third = (sample(**call).numpy() for call in calls)
        if (first == second).all() or (first != third).any():
            raise ValueError("the seed does not decide")
        for token, share in enumerate(p):
            for tokens in (first, second):
                assert stats.binomtest(int((tokens == token).sum()), TOKENS, share).pvalue > 1e-7

# %% equivalent="load_client" because="a request without n has exactly one choice, and the list is not empty here"
# - if chunk.choices and chunk.choices[0].delta.content:
# + if chunk.choices and chunk.choices[(-1)].delta.content:

# %% wrong="load_client" breaks="first" says="that of the role"
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
        first = clock() if first is None else first
        if chunk.choices and chunk.choices[0].delta.content:
            last = clock()
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="first" says="Timing.first"
# Takes an empty text for text.
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
        if chunk.choices and chunk.choices[0].delta.content is not None and not chunk.choices[0].delta.role:
            last = clock()
            first = last if first is None else first
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="first" says="Timing.first"
# Remembers the last chunk with text alone.
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
            first = last
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="last" says="bookkeeping"
# Reads the clock when the stream has ended.
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
    return Timing(sent, first, clock(), tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="sent" says="just before the request is sent"
# Reads the clock when the answer has begun.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    first, last, tokens = None, None, None
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"min_tokens": max_tokens},
    )
    sent = clock()
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            last = clock()
            first = last if first is None else first
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="tokens" says="a chunk is not a token"
# Counts chunks.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    sent, first, last, tokens = clock(), None, None, 0
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
            tokens += 1
            first = last if first is None else first
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="tokens" says="a limit is no count"
# Takes the limit for the count.
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
    return Timing(sent, first, last, max_tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="tokens" says="Timing.tokens"
# Counts the prompt too.
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
            tokens = chunk.usage.total_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="length" says="min_tokens"
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="length" says="max_tokens"
# Sets a lower limit only.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    sent, first, last, tokens = clock(), None, None, None
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="options" says="temperature"
# Samples.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    sent, first, last, tokens = clock(), None, None, None
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="options" says="include_usage"
# Asks for no usage.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    sent, first, last, tokens = clock(), None, None, None
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
        extra_body={"min_tokens": max_tokens},
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            last = clock()
            first = last if first is None else first
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="request" says="the roles of the messages"
# Asks as the system.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    sent, first, last, tokens = clock(), None, None, None
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "system", "content": prompt}],
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="request" says="`stream`"
# Asks for the answer in one piece.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    sent, first, last, tokens = clock(), None, None, None
    answer = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=0,
        extra_body={"min_tokens": max_tokens},
    )
    first = last = clock()
    tokens = answer.usage.completion_tokens if answer.usage else 0
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="due" says="however many answers are missing"
# Waits for each answer before it sends the next request: a closed loop.
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin, timings = clock(), []
    for prompt, start in zip(prompts, starts):
        await sleep(begin + start - clock())
        timings.append(await timed_request(client, model, prompt, max_tokens, clock))
    return timings

# %% wrong="load_client" breaks="due" says="when it is due"
# Everything at once.
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="due" says="when it is due"
# Waits `starts[i]` after the request before, not after the call.
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    tasks = []
    for prompt, start in zip(prompts, starts):
        await sleep(start)
        tasks.append(asyncio.create_task(timed_request(client, model, prompt, max_tokens, clock)))
    return list(await asyncio.gather(*tasks))

# %% wrong="load_client" breaks="due" says="however many answers are missing"
# At most 16 at a time.
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin, gate = clock(), asyncio.Semaphore(16)

    async def one(prompt, start):
        await sleep(begin + start - clock())
        async with gate:
            return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="due" says="when it is due"
# Takes `starts` for times of the clock.
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="timings" says="in the order of the prompts"
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin, timings = clock(), []

    async def one(prompt, start):
        await sleep(begin + start - clock())
        timings.append(await timed_request(client, model, prompt, max_tokens, clock))

    await asyncio.gather(*map(one, prompts, starts))
    return timings

# %% wrong="load_client" breaks="timings" says="hand `clock` on"
# Times the requests with another clock.
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="due" says="however many answers are missing"
# At most 64 requests under way: the others wait for an answer although they are due.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    first = last = tokens = None
    sent = clock()
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()
    connections = asyncio.Semaphore(64)  # a client should not open too many connections

    async def one(prompt, start):
        await sleep(begin + start - clock())
        async with connections:
            return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*(one(prompt, start) for prompt, start in zip(prompts, starts)))

# %% wrong="load_client" breaks="last" says="a blank or a line break is text"
# White space is no text for it.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    first = last = tokens = None
    sent = clock()
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
        text = (chunk.choices[0].delta.content or "") if chunk.choices else ""
        if text.strip():
            last = clock()
            first = last if first is None else first
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(max(0, begin + start - clock()))
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*(one(prompt, start) for prompt, start in zip(prompts, starts)))

# %% wrong="load_client" breaks="tokens" says="not always in the last chunk"
# Takes the count from the very last chunk.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    first = last = tokens = None
    sent = clock()
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
    tokens = chunk.usage.completion_tokens if chunk.usage else None  # the count comes with the last chunk
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin = clock()

    async def one(prompt, start):
        await sleep(max(0, begin + start - clock()))
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*(one(prompt, start) for prompt, start in zip(prompts, starts)))

# %% wrong="load_client" breaks="first" says="a time of 0 is a time"
# A first text at time 0 looks like none.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    """Stream one chat answer of exactly `max_tokens` tokens from an `openai.AsyncOpenAI` client; returns its Timing."""
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
            first = first or last
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    """Each prompt `starts[i]` seconds from now, whatever is still unanswered; returns their Timings in the order of the prompts."""
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% wrong="load_client" breaks="timings" says="one for each"
# One Timing for each prompt that is different: the same prompt twice has one.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    """Stream one chat answer of exactly `max_tokens` tokens from an `openai.AsyncOpenAI` client; returns its Timing."""
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    """Each prompt `starts[i]` seconds from now, whatever is still unanswered; returns their Timings in the order of the prompts."""
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    found = dict(zip(prompts, await asyncio.gather(*map(one, prompts, starts))))
    return [found[prompt] for prompt in dict.fromkeys(prompts)]

# %% wrong="load_client" breaks="at_once" says="side by side"
# Times in global names: the next request overwrites them.
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    global FIRST, LAST, COUNT
    FIRST = LAST = COUNT = None

    def note(chunk):
        global FIRST, LAST, COUNT
        if chunk.choices and chunk.choices[0].delta.content:
            LAST = clock()
            if FIRST is None:
                FIRST = LAST
        if chunk.usage:
            COUNT = chunk.usage.completion_tokens

    sent = clock()
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
        note(chunk)
    return Timing(sent, FIRST, LAST, COUNT)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    """Each prompt `starts[i]` seconds from now, whatever is still unanswered; returns their Timings in the order of the prompts."""
    begin = clock()

    async def one(prompt, start):
        await sleep(begin + start - clock())
        return await timed_request(client, model, prompt, max_tokens, clock)

    return await asyncio.gather(*map(one, prompts, starts))

# %% right="load_client"
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    times = [clock()]
    count = 0
    async with await client.chat.completions.create(
        messages=[dict(role="user", content=[dict(type="text", text=prompt)])],
        model=model,
        temperature=0.0,
        max_completion_tokens=max_tokens,
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin, tasks = clock(), []
    for prompt, start in zip(prompts, starts):
        ahead = start - (clock() - begin)
        if ahead > 0:
            await sleep(ahead)
        tasks.append(asyncio.create_task(timed_request(client, model, prompt, max_tokens, clock)))
    return [await task for task in tasks]

# %% right="load_client"
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    extra = {"min_tokens": max_tokens, "max_tokens": max_tokens, "temperature": 0}
    request = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        stream=True,
        stream_options={"include_usage": True},
        extra_body=extra,
    )
    sent = clock()
    first = last = usage = None
    async for chunk in await request:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            if getattr(choice.delta, "content", None):
                last = clock()
                if first is None:
                    first = last
    return Timing(sent, first, last, usage.completion_tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    results = [None] * len(prompts)

    async def send(i):
        await sleep(starts[i])
        results[i] = await timed_request(client, model, prompts[i], max_tokens, clock=clock)

    async with asyncio.TaskGroup() as group:
        for i in range(len(prompts)):
            group.create_task(send(i))
    return results

# %% right="load_client"
async def timed_request(client, model, prompt, max_tokens, clock=time.perf_counter):
    """Stream one chat answer of exactly `max_tokens` tokens from an `openai.AsyncOpenAI` client; returns its Timing."""
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


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    """Each prompt `starts[i]` seconds from now, whatever is still unanswered; returns their Timings in the order of the prompts."""
    begin, tasks = clock(), []
    for prompt, start in zip(prompts, starts):
        await sleep(begin + start - clock())
        tasks.append(asyncio.create_task(timed_request(client, model, prompt, max_tokens, clock)))
    return [await task for task in tasks]

# %% wrong="load_client" breaks="timings" says="the same prompt may come twice"
# Keeps the Timings by prompt: the same prompt twice has one.
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
            if first is None:
                first = last
        if chunk.usage is not None:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    begin, timings = clock(), {}

    async def one(prompt, start):
        await sleep(begin + start - clock())
        timings[prompt] = await timed_request(client, model, prompt, max_tokens, clock)

    await asyncio.gather(*(one(prompt, start) for prompt, start in zip(prompts, starts)))
    return [timings[prompt] for prompt in prompts]

# %% right="load_client"
# Waits the gaps between the starts, one after the other: `sleep` is exact.
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
            if first is None:
                first = last
        if chunk.usage is not None:
            tokens = chunk.usage.completion_tokens
    return Timing(sent, first, last, tokens)


async def run_load(client, model, prompts, starts, max_tokens, clock=time.perf_counter, sleep=asyncio.sleep):
    tasks, before = [], 0.0
    for prompt, start in zip(prompts, starts):
        await sleep(start - before)
        before = start
        tasks.append(asyncio.create_task(timed_request(client, model, prompt, max_tokens, clock)))
    return await asyncio.gather(*tasks)

# %% equivalent="report_and_metrics" because="a NumPy float64 is a float"
# - report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
# + report[f"{name}_p{percent}"] = np.percentile(values, percent)

# %% wrong="report_and_metrics" breaks="tpot" says="tokens - 1 steps"
# Divides the time between first and last by all tokens.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / t.tokens for t in timings if t.tokens > 1]
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

# %% wrong="report_and_metrics" breaks="tpot" says="the pace begins at the first token"
# The pace over the whole answer, the wait included.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.sent) / (t.tokens - 1) for t in timings if t.tokens > 1]
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

# %% wrong="report_and_metrics" breaks="single" says="leave it out"
# A single token counts as a pace of zero.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / max(t.tokens - 1, 1) for t in timings]
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

# %% wrong="report_and_metrics" breaks="single" says=""
# Leaves requests with a single token out of the whole report.
def latency_report(timings):
    timings = [t for t in timings if t.tokens > 1]
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
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)

# %% wrong="report_and_metrics" breaks="ttft" says="first - sent"
# Measures from the start of the whole test.
def latency_report(timings):
    ttft = [t.first - min(u.sent for u in timings) for t in timings]
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

# %% wrong="report_and_metrics" breaks="percentiles" says="np.percentile"
# Takes the nearest request instead of going between two.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(sorted(values)[min(int(percent / 100 * len(values)), len(values) - 1)])
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

# %% wrong="report_and_metrics" breaks="percentiles" says="np.percentile"
# A mean and a maximum in place of percentiles.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.mean(values) if percent == 50 else np.max(values))
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

# %% wrong="report_and_metrics" breaks="throughput" says="requests overlap"
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

# %% wrong="report_and_metrics" breaks="throughput" says="the run begins when the first request is sent"
# The clock of the run starts at the first token.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.first for t in timings)
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

# %% wrong="report_and_metrics" breaks="throughput" says=""
# The first and the last of the list, as if they were the first and the last in time.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = timings[-1].last - timings[0].sent
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

# %% wrong="report_and_metrics" breaks="growth" says="subtract what was there before"
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

# %% wrong="report_and_metrics" breaks="growth" says="only samples with exactly this name"
# Takes every sample whose name begins so.
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
            growth += sign * sum(sample.value for sample in family.samples if sample.name.startswith(name))
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

# %% wrong="report_and_metrics" breaks="labels" says=""
# Takes the first sample with this name.
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
            growth += sign * next((sample.value for sample in family.samples if sample.name == name), 0)
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

# %% wrong="report_and_metrics" breaks="absent" says=""
# A sample that was not there before is not counted.
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
    values = [
        {
            tuple(sample.labels.items()): sample.value
            for f in text_string_to_metric_families(text)
            for sample in f.samples
            if sample.name == name
        }
        for text in (before, after)
    ]
    return float(sum(values[1][labels] - value for labels, value in values[0].items()))


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

# %% wrong="report_and_metrics" breaks="between" says="subtract what was there before"
# What was observed since the start of the server.
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

# %% wrong="report_and_metrics" breaks="sets" says="`histogram_quantile` of"
# Takes the first label set alone.
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
    chosen = {}
    growth = Counter()  # limit -> observations up to it
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = tuple(v for k, v in sorted(sample.labels.items()) if k != "le")
                if sample.name == name + "_bucket" and labels == chosen.setdefault("first", labels):
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

# %% wrong="report_and_metrics" breaks="bucket" says="limits are numbers"
# Sorts the limits as texts.
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
                    growth[sample.labels["le"]] += sign * sample.value
    if not growth["+Inf"]:
        return None
    wanted, low, seen = q * growth["+Inf"], 0.0, 0.0
    for limit in sorted(growth, key=lambda limit: (limit == "+Inf", limit)):
        if growth[limit] >= wanted:
            break
        low, seen = limit, growth[limit]
    low = float(low)
    if limit == "+Inf":
        return low
    limit_value = float(limit)
    return low + (wanted - seen) / (growth[limit] - seen) * (limit_value - low)

# %% wrong="report_and_metrics" breaks="bucket" says="in proportion"
# Takes the upper limit of the bucket.
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

# %% wrong="report_and_metrics" breaks="bucket" says=""
# Takes the counts of the buckets as if they were not cumulative.
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
        if seen + growth[limit] >= wanted:
            break
        low, seen = limit, seen + growth[limit]
    if limit == math.inf:
        return low
    return low + (wanted - seen) / growth[limit] * (limit - low)

# %% wrong="report_and_metrics" breaks="bucket" says=""
# Trusts the order in which the limits stand in the text.
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
    for limit in growth:
        if growth[limit] >= wanted:
            break
        low, seen = limit, growth[limit]
    if limit == math.inf:
        return low
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)

# %% wrong="report_and_metrics" breaks="first_bucket" says="the first bucket begins at 0"
# In the first bucket it answers with the limit.
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
    if limit == min(growth):
        return limit
    if limit == math.inf:
        return low
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)

# %% wrong="report_and_metrics" breaks="last_bucket" says=""
# Answers with infinity in the last bucket.
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
        return math.inf
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)

# %% wrong="report_and_metrics" breaks="nothing" says="expected None"
# 0 for nothing.
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
        return 0.0
    wanted, low, seen = q * growth[math.inf], 0.0, 0.0
    for limit in sorted(growth):
        if growth[limit] >= wanted:
            break
        low, seen = limit, growth[limit]
    if limit == math.inf:
        return low
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)

# %% wrong="report_and_metrics" breaks="single" says="decides who has a pace"
# Who has the first and the last text at the same time has no pace: several tokens in one chunk are left out.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1 and t.last > t.first]
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return {
        "ttft_p50": float(np.percentile(ttft, 50)),
        "ttft_p95": float(np.percentile(ttft, 95)),
        "tpot_p50": float(np.percentile(tpot, 50)),
        "tpot_p95": float(np.percentile(tpot, 95)),
        "tokens_per_s": float(sum(t.tokens for t in timings) / seconds),
    }


def counter_growth(before, after, name):
    total = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name:
                    total += sign * sample.value
    return total


def histogram_quantile(before, after, name, q):
    growth = Counter()
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name + "_bucket":
                    growth[float(sample.labels["le"])] += sign * sample.value
    total = growth[math.inf]
    if total == 0:
        return None
    wanted, low, seen = q * total, 0.0, 0.0
    for limit in sorted(growth):
        if growth[limit] >= wanted:
            break
        low, seen = limit, growth[limit]
    if limit == math.inf:
        return low
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)

# %% wrong="report_and_metrics" breaks="single" says="decides who has a pace"
# The times decide who has a pace, in place of the number of tokens.
def latency_report(timings):
    """Percentiles of TTFT and TPOT in seconds, and the throughput in tokens per second, as a dict."""
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / max(t.tokens - 1, 1e-9) for t in timings if t.last > t.first]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    """Growth of all samples called `name` between two texts of /metrics."""
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
    """Estimated q-quantile of what a histogram observed between two texts of /metrics; None if nothing."""
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

# %% wrong="report_and_metrics" breaks="growth" says="a gauge that fell"
# Reads a smaller value as a restart, as Prometheus does between two runs.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return {
        "ttft_p50": float(np.percentile(ttft, 50)),
        "ttft_p95": float(np.percentile(ttft, 95)),
        "tpot_p50": float(np.percentile(tpot, 50)),
        "tpot_p95": float(np.percentile(tpot, 95)),
        "tokens_per_s": float(sum(t.tokens for t in timings) / seconds),
    }


def counter_growth(before, after, name):
    def values(text):
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }

    old, total = values(before), 0.0
    for labels, value in values(after).items():
        earlier = old.get(labels, 0.0)
        total += value - earlier if value >= earlier else value  # smaller than before: it began anew at 0
    return total


def histogram_quantile(before, after, name, q):
    growth = Counter()
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name + "_bucket":
                    growth[float(sample.labels["le"])] += sign * sample.value
    total = growth[math.inf]
    if total == 0:
        return None
    wanted, low, seen = q * total, 0.0, 0.0
    for limit in sorted(growth):
        if growth[limit] >= wanted:
            break
        low, seen = limit, growth[limit]
    if limit == math.inf:
        return low
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)

# %% wrong="report_and_metrics" breaks="absent" says="a label set that is gone"
# Looks only at the label sets of the second text.
def latency_report(timings):
    """Percentiles of TTFT and TPOT in seconds, and the throughput in tokens per second, as a dict."""
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    """Growth of all samples called `name` between two texts of /metrics."""
    old, new = (
        {str(sorted(s.labels.items())): s.value for f in text_string_to_metric_families(text) for s in f.samples if s.name == name}
        for text in (before, after)
    )
    return float(sum(value - old.get(labels, 0.0) for labels, value in new.items()))


def histogram_quantile(before, after, name, q):
    """Estimated q-quantile of what a histogram observed between two texts of /metrics; None if nothing."""
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

# %% wrong="report_and_metrics" breaks="bucket" says="the lowest counts"
# np.interp takes the highest of several limits with just the wanted number at or below them.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for p in (50, 95):
            report[f"{name}_p{p}"] = float(np.percentile(values, p))
    report["tokens_per_s"] = sum(t.tokens for t in timings) / seconds
    return report


def counter_growth(before, after, name):
    total = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name:
                    total += sign * sample.value
    return total


def histogram_quantile(before, after, name, q):
    growth = Counter()
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"{name}_bucket":
                    growth[float(sample.labels["le"])] += sign * sample.value
    if not growth[math.inf]:
        return None
    limits = sorted(limit for limit in growth if limit < math.inf)
    counts = [growth[limit] for limit in limits]
    # above the last count np.interp gives the last limit, as it should be
    return float(np.interp(q * growth[math.inf], [0.0, *counts], [0.0, *limits]))

# %% wrong="report_and_metrics" breaks="growth" says="each label set counts"
# The difference of two Counters drops what is not positive.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for p in (50, 95):
            report[f"{name}_p{p}"] = float(np.percentile(values, p))
    report["tokens_per_s"] = sum(t.tokens for t in timings) / seconds
    return report


def counter_growth(before, after, name):
    def read(text):
        values = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name:
                    values[frozenset(sample.labels.items())] += sample.value
        return values

    return float(sum((read(after) - read(before)).values()))


def histogram_quantile(before, after, name, q):
    growth = Counter()
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"{name}_bucket":
                    growth[float(sample.labels["le"])] += sign * sample.value
    if not growth[math.inf]:
        return None
    wanted, low, seen = q * growth[math.inf], 0.0, 0.0
    for limit in sorted(growth):
        if growth[limit] >= wanted:
            break
        low, seen = limit, growth[limit]
    return low if limit == math.inf else low + (limit - low) * (wanted - seen) / (growth[limit] - seen)

# %% wrong="report_and_metrics" breaks="throughput" says="tokens_per_s"
# The end is searched from 0 on: no clock shows less, it thinks.
def latency_report(timings):
    """Percentiles of TTFT and TPOT in seconds, and the throughput in tokens per second, as a dict."""
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    begin, end = math.inf, 0.0
    for t in timings:
        begin, end = min(begin, t.sent), max(end, t.last)
    seconds = end - begin
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    """Growth of all samples called `name` between two texts of /metrics."""
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
    """Estimated q-quantile of what a histogram observed between two texts of /metrics; None if nothing."""
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

# %% wrong="report_and_metrics" breaks="bucket" says="could not convert"
# Looks for the letters le=, which are the end of other labels too.
import re


def latency_report(timings):
    """Percentiles of TTFT and TPOT in seconds, and the throughput in tokens per second, as a dict."""
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    report = {}
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        for percent in (50, 95):
            report[f"{name}_p{percent}"] = float(np.percentile(values, percent))
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return report | {"tokens_per_s": sum(t.tokens for t in timings) / seconds}


def counter_growth(before, after, name):
    """Growth of all samples called `name` between two texts of /metrics."""
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
    """Estimated q-quantile of what a histogram observed between two texts of /metrics; None if nothing."""
    growth = Counter()  # limit -> observations up to it
    for sign, text in ((-1, before), (1, after)):
        for line in text.splitlines():
            if line.startswith(name + "_bucket{"):
                growth[float(re.search('le="(.*?)"', line)[1])] += sign * float(line.rsplit(" ", 1)[1])
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

# %% right="report_and_metrics"
import statistics


def _percentile(values, share):
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def latency_report(timings):
    waits = [timing.first - timing.sent for timing in timings]
    paces = [(timing.last - timing.first) / (timing.tokens - 1) for timing in timings if timing.tokens != 1]
    start, end = min(timings, key=lambda t: t.sent).sent, max(timings, key=lambda t: t.last).last
    return {
        "tokens_per_s": sum(timing.tokens for timing in timings) / (end - start),
        "ttft_p50": statistics.median(waits),
        "ttft_p95": _percentile(waits, 0.95),
        "tpot_p50": statistics.median(paces),
        "tpot_p95": _percentile(paces, 0.95),
    }


def _all_samples(text):
    for family in text_string_to_metric_families(text):
        yield from family.samples


def counter_growth(before, after, name):
    def total(text):
        return math.fsum(sample.value for sample in _all_samples(text) if sample.name == name)

    return total(after) - total(before)


def histogram_quantile(before, after, name, q):
    """With np.interp over the cumulative counts, where these grow."""
    limits = sorted({float(s.labels["le"]) for s in _all_samples(after) if s.name == f"{name}_bucket"})
    counts = []
    for limit in limits:
        count = 0.0
        for text, sign in ((after, 1), (before, -1)):
            count += sign * sum(
                s.value for s in _all_samples(text) if s.name == f"{name}_bucket" and float(s.labels["le"]) == limit
            )
        counts.append(count)
    if not counts or not counts[-1]:
        return None
    rank = q * counts[-1]
    place = int(np.searchsorted(counts, rank, side="left"))
    if place == len(limits) - 1:
        return limits[-2]
    edges, cumulative = [0.0, *limits], [0.0, *counts]
    return float(np.interp(rank, cumulative[place : place + 2], edges[place : place + 2]))

# %% wrong="report_and_metrics" breaks="bucket" says="need not be whole"
# The number of the wanted observation is rounded up.
def latency_report(timings):
    ttft = [t.first - t.sent for t in timings]
    tpot = [(t.last - t.first) / (t.tokens - 1) for t in timings if t.tokens > 1]
    seconds = max(t.last for t in timings) - min(t.sent for t in timings)
    return {
        "ttft_p50": float(np.percentile(ttft, 50)),
        "ttft_p95": float(np.percentile(ttft, 95)),
        "tpot_p50": float(np.percentile(tpot, 50)),
        "tpot_p95": float(np.percentile(tpot, 95)),
        "tokens_per_s": sum(t.tokens for t in timings) / seconds,
    }


def counter_growth(before, after, name):
    growth = 0.0
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            growth += sign * sum(sample.value for sample in family.samples if sample.name == name)
    return growth


def histogram_quantile(before, after, name, q):
    growth = Counter()
    for sign, text in ((-1, before), (1, after)):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name + "_bucket":
                    growth[float(sample.labels["le"])] += sign * sample.value
    if not growth[math.inf]:
        return None
    wanted, low, seen = math.ceil(q * growth[math.inf]), 0.0, 0.0
    for limit in sorted(growth):
        if growth[limit] >= wanted:
            break
        low, seen = limit, growth[limit]
    if limit == math.inf:
        return low
    return low + (wanted - seen) / (growth[limit] - seen) * (limit - low)

# %% wrong="fit_tune_launch" breaks="formula" says="each token has both"
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

# %% wrong="fit_tune_launch" breaks="formula" says="of type float"
# Divides, and gets a float.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] / heads
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
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands

# %% wrong="fit_tune_launch" breaks="kv_heads" says="key-value heads"
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

# %% wrong="fit_tune_launch" breaks="kv_heads" says="num_key_value_heads"
# Asks for a key that old configurations lack.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * head_dim * bytes_per_value


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

# %% wrong="fit_tune_launch" breaks="head_dim" says="where head_dim is given"
# Always hidden_size / heads.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config["hidden_size"] // heads
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
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands

# %% wrong="fit_tune_launch" breaks="head_dim" says="NoneType"
# A key that is there has a value.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim", config["hidden_size"] // heads)
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
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands

# %% wrong="fit_tune_launch" breaks="kv_heads" says=""
# Takes hidden_size for heads times head_dim, so a head_dim of its own does not count, and divides by groups.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    groups = heads // (config.get("num_key_value_heads") or 1)
    return 2 * config["num_hidden_layers"] * (heads // groups) * head_dim * bytes_per_value


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

# %% wrong="fit_tune_launch" breaks="limits" says="both limits count: the pace"
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

# %% wrong="fit_tune_launch" breaks="limits" says="both limits count: the wait"
# Looks at the pace alone.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["tpot_p95"] <= tpot_p95]
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

# %% wrong="fit_tune_launch" breaks="limits" says="just reached"
# A limit that is just reached counts as broken.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] < ttft_p95 and row["tpot_p95"] < tpot_p95]
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

# %% wrong="fit_tune_launch" breaks="highest" says="not the most seats"
# Takes the largest setting that keeps the limits.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: row["max_num_seqs"], default=None)
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

# %% wrong="fit_tune_launch" breaks="equal" says="with equal throughput the smaller"
# With equal throughput the first row.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: row["tokens_per_s"], default=None)
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

# %% wrong="fit_tune_launch" breaks="none" says="is 1, expected None"
# 1 where nothing keeps the promise.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best["max_num_seqs"] if best else 1


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

# %% wrong="fit_tune_launch" breaks="flags" says="look at the table"
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

# %% wrong="fit_tune_launch" breaks="flags" says="--port"
# A port that is written down.
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
        flags |= {"--served-model-name": job["name"], "--host": "127.0.0.1", "--port": 8000, "--dtype": job["dtype"]}
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands

# %% wrong="fit_tune_launch" breaks="flags" says="the flags for"
# Forgets the name in the API.
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
        flags |= {"--host": "127.0.0.1", "--port": job["port"], "--dtype": job["dtype"]}
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands

# %% wrong="fit_tune_launch" breaks="words" says="subprocess takes strings only"
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

# %% wrong="fit_tune_launch" breaks="words" says="a string would have to go through a shell"
# A line for the shell.
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
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return {engine: " ".join(command) for engine, command in commands.items()}

# %% wrong="fit_tune_launch" breaks="start" says="first three words"
# Any python that is on the path.
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
        commands[engine] = ["python", "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands

# %% wrong="fit_tune_launch" breaks="host" says="--host for"
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

# %% wrong="fit_tune_launch" breaks="prefix_cache" says="with prefix_cache=True"
# Switches the prefix cache off in any case.
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
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if True:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands

# %% wrong="fit_tune_launch" breaks="prefix_cache" says="with prefix_cache=False"
# Switches the prefix cache off in vLLM only.
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
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if engine == "vllm" and not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    return commands

# %% wrong="fit_tune_launch" breaks="metrics" says="the flags for sglang"
# Forgets the metrics of SGLang.
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
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    return commands

# %% wrong="fit_tune_launch" breaks="no_other" says="is not asked for"
# Runs what the model's repository brings.
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
        commands[engine] = [sys.executable, "-m", module] + [str(word) for flag in flags.items() for word in flag]
        if not job["prefix_cache"]:
            commands[engine].append(off[engine])
    commands["sglang"].append("--enable-metrics")
    commands["vllm"].append("--trust-remote-code")
    return commands

# %% wrong="fit_tune_launch" breaks="head_dim" says="not among the key-value heads"
# Shares the hidden size out among the key-value heads.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // kv_heads
    return 2 * config["num_hidden_layers"] * kv_heads * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return None if best is None else best["max_num_seqs"]


def launch_commands(job):
    vllm = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", job["model"]]
    sglang = [sys.executable, "-m", "sglang.launch_server", "--model-path", job["model"]]
    for command in (vllm, sglang):
        command += ["--served-model-name", job["name"], "--host", "127.0.0.1", "--port", str(job["port"]), "--dtype", job["dtype"]]
    vllm += ["--max-model-len", str(job["max_model_len"]), "--max-num-seqs", str(job["max_num_seqs"])]
    sglang += ["--context-length", str(job["max_model_len"]), "--max-running-requests", str(job["max_num_seqs"])]
    vllm += ["--tensor-parallel-size", str(job["gpus"])]
    sglang += ["--tp-size", str(job["gpus"])]
    sglang += ["--enable-metrics"]
    if not job["prefix_cache"]:
        vllm.append("--no-enable-prefix-caching")
        sglang.append("--disable-radix-cache")
    return {"vllm": vllm, "sglang": sglang}

# %% wrong="fit_tune_launch" breaks="highest" says="a small lead is a lead"
# Throughputs that are equal as whole numbers count as equal.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * kv_heads * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (round(row["tokens_per_s"]), -row["max_num_seqs"]), default=None)
    return None if best is None else best["max_num_seqs"]


def launch_commands(job):
    vllm = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", job["model"]]
    sglang = [sys.executable, "-m", "sglang.launch_server", "--model-path", job["model"]]
    for command in (vllm, sglang):
        command += ["--served-model-name", job["name"], "--host", "127.0.0.1", "--port", str(job["port"]), "--dtype", job["dtype"]]
    vllm += ["--max-model-len", str(job["max_model_len"]), "--max-num-seqs", str(job["max_num_seqs"])]
    sglang += ["--context-length", str(job["max_model_len"]), "--max-running-requests", str(job["max_num_seqs"])]
    vllm += ["--tensor-parallel-size", str(job["gpus"])]
    sglang += ["--tp-size", str(job["gpus"])]
    sglang += ["--enable-metrics"]
    if not job["prefix_cache"]:
        vllm.append("--no-enable-prefix-caching")
        sglang.append("--disable-radix-cache")
    return {"vllm": vllm, "sglang": sglang}

# %% wrong="fit_tune_launch" breaks="flags" says="lack --tensor-parallel-size"
# One GPU is the default, so its flag is left out.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * kv_heads * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return None if best is None else best["max_num_seqs"]


def launch_commands(job):
    vllm = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", job["model"]]
    sglang = [sys.executable, "-m", "sglang.launch_server", "--model-path", job["model"]]
    for command in (vllm, sglang):
        command += ["--served-model-name", job["name"], "--host", "127.0.0.1", "--port", str(job["port"]), "--dtype", job["dtype"]]
    vllm += ["--max-model-len", str(job["max_model_len"]), "--max-num-seqs", str(job["max_num_seqs"])]
    sglang += ["--context-length", str(job["max_model_len"]), "--max-running-requests", str(job["max_num_seqs"])]
    if job["gpus"] > 1:
        vllm += ["--tensor-parallel-size", str(job["gpus"])]
        sglang += ["--tp-size", str(job["gpus"])]
    sglang += ["--enable-metrics"]
    if not job["prefix_cache"]:
        vllm.append("--no-enable-prefix-caching")
        sglang.append("--disable-radix-cache")
    return {"vllm": vllm, "sglang": sglang}

# %% wrong="fit_tune_launch" breaks="limits" says="be it by little"
# A limit is kept if it is nearly reached.
def kv_bytes_per_token(config, bytes_per_value):
    """Bytes that one token takes in the KV cache of a model with this config.json."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    """The max_num_seqs with the highest throughput among the rows that keep both limits; None if there is none."""
    good = [row for row in rows if row["ttft_p95"] < ttft_p95 + 1e-6 and row["tpot_p95"] < tpot_p95 + 1e-6]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    """Argument lists that start vLLM and SGLang for a job."""
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

# %% wrong="fit_tune_launch" breaks="formula" says="of type float"
# The size of a group by /: a float where heads share keys and values.
def kv_bytes_per_token(config, bytes_per_value):
    """Bytes that one token takes in the KV cache of a model with this config.json."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    group = heads / config["num_key_value_heads"] if config.get("num_key_value_heads") else 1
    return 2 * config["num_hidden_layers"] * (heads // group) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    """The max_num_seqs with the highest throughput among the rows that keep both limits; None if there is none."""
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    """Argument lists that start vLLM and SGLang for a job."""
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

# %% wrong="fit_tune_launch" breaks="kept" says="it must stay as it was"
# Sorts the caller's own list.
def kv_bytes_per_token(config, bytes_per_value):
    """Bytes that one token takes in the KV cache of a model with this config.json."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    """The max_num_seqs with the highest throughput among the rows that keep both limits; None if there is none."""
    rows.sort(key=lambda row: row["max_num_seqs"])
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    """Argument lists that start vLLM and SGLang for a job."""
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

# %% wrong="fit_tune_launch" breaks="start" says="without a flag"
# Mixes the two ways: `vllm serve` with the module's flag for the model.
def kv_bytes_per_token(config, bytes_per_value):
    """Bytes that one token takes in the KV cache of a model with this config.json."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    """The max_num_seqs with the highest throughput among the rows that keep both limits; None if there is none."""
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    """Argument lists that start vLLM and SGLang for a job."""
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
    commands["vllm"] = ["vllm", "serve"] + commands["vllm"][3:]
    commands["sglang"].append("--enable-metrics")
    return commands

# %% right="fit_tune_launch"
def kv_bytes_per_token(config, bytes_per_value):
    kv_heads = config["num_attention_heads"] if config.get("num_key_value_heads") is None else config["num_key_value_heads"]
    width = config["head_dim"] if config.get("head_dim") else config["hidden_size"] // config["num_attention_heads"]
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

# %% right="fit_tune_launch"
def kv_bytes_per_token(config, bytes_per_value):
    def setting(name, fallback):
        value = config.get(name)
        return fallback if value is None else value

    heads = config["num_attention_heads"]
    shape = (
        2,
        config["num_hidden_layers"],
        setting("num_key_value_heads", heads),
        setting("head_dim", config["hidden_size"] // heads),
    )
    return math.prod(shape) * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    ranked = sorted(rows, key=lambda row: (-row["tokens_per_s"], row["max_num_seqs"]))
    kept = (row["max_num_seqs"] for row in ranked if not (row["ttft_p95"] > ttft_p95 or row["tpot_p95"] > tpot_p95))
    return next(kept, None)


def launch_commands(job):
    """`vllm serve`, and the module of SGLang."""
    address = ["--host", "127.0.0.1", "--port", str(job["port"])]
    vllm = ["vllm", "serve", job["model"], "--served-model-name", job["name"], *address, "--dtype", job["dtype"]]
    vllm += f"--max-model-len {job['max_model_len']} --max-num-seqs {job['max_num_seqs']}".split()
    vllm += f"--tensor-parallel-size {job['gpus']}".split()
    sglang = [sys.executable, "-m", "sglang.launch_server", "--model-path", job["model"], "--served-model-name", job["name"]]
    sglang += [*address, "--dtype", job["dtype"], "--enable-metrics", f"--context-length={job['max_model_len']}"]
    sglang += [f"--max-running-requests={job['max_num_seqs']}", f"--tp-size={job['gpus']}"]
    if not job["prefix_cache"]:
        vllm, sglang = vllm + ["--no-enable-prefix-caching"], sglang + ["--disable-radix-cache"]
    return {"sglang": sglang, "vllm": vllm}

# %% wrong="fit_tune_launch" breaks="none" says="None if there is none"
# Where no setting keeps the limits, the one that comes nearest.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * kv_heads * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    best = best or min(rows, key=lambda row: row["ttft_p95"] / ttft_p95 + row["tpot_p95"] / tpot_p95, default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    vllm = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", job["model"], "--served-model-name", job["name"],
        "--host", "127.0.0.1", "--port", str(job["port"]), "--dtype", job["dtype"], "--max-model-len", str(job["max_model_len"]),
        "--max-num-seqs", str(job["max_num_seqs"]), "--tensor-parallel-size", str(job["gpus"]),
    ]
    sglang = [
        sys.executable, "-m", "sglang.launch_server", "--model-path", job["model"], "--served-model-name", job["name"],
        "--host", "127.0.0.1", "--port", str(job["port"]), "--dtype", job["dtype"], "--context-length", str(job["max_model_len"]),
        "--max-running-requests", str(job["max_num_seqs"]), "--tp-size", str(job["gpus"]), "--enable-metrics",
    ]
    if not job["prefix_cache"]:
        vllm.append("--no-enable-prefix-caching")
        sglang.append("--disable-radix-cache")
    return {"vllm": vllm, "sglang": sglang}

# %% wrong="fit_tune_launch" breaks="equal" says="of equal throughputs the smaller"
# Of equal throughputs the larger setting.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return 2 * config["num_hidden_layers"] * kv_heads * head_dim * bytes_per_value


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    vllm = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", job["model"], "--served-model-name", job["name"],
        "--host", "127.0.0.1", "--port", str(job["port"]), "--dtype", job["dtype"], "--max-model-len", str(job["max_model_len"]),
        "--max-num-seqs", str(job["max_num_seqs"]), "--tensor-parallel-size", str(job["gpus"]),
    ]
    sglang = [
        sys.executable, "-m", "sglang.launch_server", "--model-path", job["model"], "--served-model-name", job["name"],
        "--host", "127.0.0.1", "--port", str(job["port"]), "--dtype", job["dtype"], "--context-length", str(job["max_model_len"]),
        "--max-running-requests", str(job["max_num_seqs"]), "--tp-size", str(job["gpus"]), "--enable-metrics",
    ]
    if not job["prefix_cache"]:
        vllm.append("--no-enable-prefix-caching")
        sglang.append("--disable-radix-cache")
    return {"vllm": vllm, "sglang": sglang}

# %% right="fit_tune_launch"
# Divides at the end: there is no rest.
def kv_bytes_per_token(config, bytes_per_value):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    if config.get("head_dim"):
        return 2 * config["num_hidden_layers"] * kv_heads * config["head_dim"] * bytes_per_value
    return 2 * config["num_hidden_layers"] * kv_heads * config["hidden_size"] * bytes_per_value // heads


def choose_max_num_seqs(rows, ttft_p95, tpot_p95):
    good = [row for row in rows if row["ttft_p95"] <= ttft_p95 and row["tpot_p95"] <= tpot_p95]
    best = max(good, key=lambda row: (row["tokens_per_s"], -row["max_num_seqs"]), default=None)
    return best and best["max_num_seqs"]


def launch_commands(job):
    vllm = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", job["model"], "--served-model-name", job["name"],
        "--host", "127.0.0.1", "--port", str(job["port"]), "--dtype", job["dtype"], "--max-model-len", str(job["max_model_len"]),
        "--max-num-seqs", str(job["max_num_seqs"]), "--tensor-parallel-size", str(job["gpus"]),
    ]
    sglang = [
        sys.executable, "-m", "sglang.launch_server", "--model-path", job["model"], "--served-model-name", job["name"],
        "--host", "127.0.0.1", "--port", str(job["port"]), "--dtype", job["dtype"], "--context-length", str(job["max_model_len"]),
        "--max-running-requests", str(job["max_num_seqs"]), "--tp-size", str(job["gpus"]), "--enable-metrics",
    ]
    if not job["prefix_cache"]:
        vllm.append("--no-enable-prefix-caching")
        sglang.append("--disable-radix-cache")
    return {"vllm": vllm, "sglang": sglang}
