# %% wrong="vector_add" breaks="inside" says="outside of x"
# Misunderstands: the mask is needed for the store alone, a load does no harm.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    y = tl.load(y_ptr + offsets)
    tl.store(out_ptr + offsets, x + y, mask=offsets < n)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="inside" says="elements outside of out"
# Misunderstands: what was not loaded is not stored either.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="sum, programs" says="the others never"
# Misunderstands: division of integers drops the last, incomplete block.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask), mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(max(n // block, 1),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="sum, once" says="by its program_id"
# Misunderstands: a launch hands each program its own part of the tensors.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask), mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="inside" says="behind its end"
# Misunderstands: element n is the last one.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets <= n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask), mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="returned" says="the tensor itself that was given"
# Misunderstands: the kernel's result is a new tensor.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask), mask=mask)


def add(x, y, out, block=256):
    out = torch.empty_like(x)
    add_kernel[(triton.cdiv(x.numel(), block),)](x, y, out, x.numel(), BLOCK=block)
    return out


# %% wrong="vector_add" breaks="programs" says="one more has nothing to do"
# Misunderstands: rounding up is adding one.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask), mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(n // block + 1,)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="programs" says="the grid is a tuple"
# Misunderstands: one number of programs needs no tuple.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask), mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[triton.cdiv(n, block)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="unchanged" says="x after"
# Misunderstands: the sum may be collected in x on the way.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(x_ptr + offsets, x + y, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="once" says="one program for each block, once"
# Misunderstands: what was loaded is loaded again for free.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + y, mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="sum" says="of its own block"
# Misunderstands: kernels compute in float32, whatever they are given.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, (x.to(tl.float32) + y.to(tl.float32)).to(x.dtype), mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="programs" says="the programs that were launched"
# Misunderstands: the block of the signature is the only one.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, 256),)](x, y, out, n, BLOCK=256)
    return out


# %% wrong="vector_add" breaks="sum" says="the others never"
# Misunderstands: the number of elements is the length of the first axis.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)


def add(x, y, out, block=256):
    n = len(x)
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% right="vector_add"
# Keyword arguments by name, no gradients, a grid as a list.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)


@torch.no_grad()
def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[[-(-n // block)]](x_ptr=x, y_ptr=y, out_ptr=out, n=n, BLOCK=block)
    return out


# %% right="vector_add"
# Moves the addresses instead of the offsets, and leaves the grid to a function of the block size.
@triton.jit
def add_kernel(a, b, c, size, BLOCK: tl.constexpr):
    start = tl.program_id(axis=0) * BLOCK
    here = tl.arange(0, BLOCK)
    exists = here < size - start
    total = tl.load(a + start + here, exists, 0.0) + tl.load(b + start + here, exists, 0.0)
    tl.store(c + start + here, total, exists)


def add(x, y, out, block=256):
    size = math.prod(x.shape)
    add_kernel[lambda meta: (triton.cdiv(size, meta["BLOCK"]),)](x, y, out, size, BLOCK=block)
    return out


# %% right="vector_add"
# One program goes on to further blocks while there are any.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    for start in range(tl.program_id(0) * BLOCK, n, tl.num_programs(0) * BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + at, mask=at < n)
        x += tl.load(y_ptr + at, mask=at < n)
        tl.store(out_ptr + at, x, mask=at < n)


def add(x, y, out, block=256):
    add_kernel[(1 + (x.numel() - 1) // block,)](x, y, out, x.numel(), BLOCK=block)
    return out


# %% right="vector_add"
# Tensor descriptors: they carry shape and strides, and mask by themselves.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    start = tl.program_id(0) * BLOCK
    x = tl.make_tensor_descriptor(x_ptr, shape=[n], strides=[1], block_shape=[BLOCK])
    y = tl.make_tensor_descriptor(y_ptr, shape=[n], strides=[1], block_shape=[BLOCK])
    out = tl.make_tensor_descriptor(out_ptr, shape=[n], strides=[1], block_shape=[BLOCK])
    out.store([start], x.load([start]) + y.load([start]))


def add(x, y, out, block=256):
    add_kernel[(triton.cdiv(x.numel(), block),)](x, y, out, x.numel(), BLOCK=block)
    return out


# %% equivalent="vector_add" because="addition does not care which summand is loaded first"
# - add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
# + (add_kernel[triton.cdiv(n, block),](y, x, out, n, BLOCK=block))

# %% wrong="roofline_arithmetic" breaks="seconds, five, traffic" says="the sum of both times"
# Misunderstands: memory and arithmetic wait for each other.
def roofline(flops, bytes_moved, peak, bandwidth):
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, compute + memory, "compute" if compute > memory else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    return (2 if fused else 8) * rows * columns * itemsize  # forgets the two columns


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    return 2 * m * n * k, (m * k + k * n + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="traffic" says="a tile that sticks out"
# Misunderstands: only whole tiles count, and each operand is read once for each of its own tiles.
def roofline(flops, bytes_moved, peak, bandwidth):
    times = {"memory": bytes_moved / bandwidth, "compute": flops / peak}
    bound = max(times, key=times.get)
    return flops / bytes_moved, times[bound], bound


def softmax_bytes(rows, columns, itemsize, fused):
    return (2 * rows * columns if fused else 8 * rows * columns + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    return 2 * m * n * k, (m * k * (m // block_m) + k * n * (n // block_n) + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="five" says="the columns of m and s are missing"
# Misunderstands: what is small need not be counted exactly.
def roofline(flops, bytes_moved, peak, bandwidth):
    intensity = flops / bytes_moved
    bound = "compute" if intensity > peak / bandwidth else "memory"
    return intensity, flops / peak if bound == "compute" else bytes_moved / bandwidth, bound


def softmax_bytes(rows, columns, itemsize, fused):
    return (2 if fused else 8) * rows * columns * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    read = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m)
    return 2 * m * n * k, (read + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="flops" says="k multiplications and k additions"
# Misunderstands: a multiply-add is one operation; data sheets count two.
def roofline(flops, bytes_moved, peak, bandwidth):
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, max(compute, memory), "compute" if compute > memory else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    return (2 * rows * columns if fused else 8 * rows * columns + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    read = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m)
    return m * n * k, (read + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="intensity" says="flops divided by bytes"
# Misunderstands: intensity is bytes for each operation.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    return bytes_moved / max(flops, 1), max(compute, memory), "compute" if compute > memory else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    matrix = rows * columns
    return (2 * matrix if fused else 8 * matrix + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    read = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m)
    return 2 * m * n * k, (read + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="bound" says="a draw is bound by memory"
# Misunderstands: a draw is bound by arithmetic.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, max(compute, memory), "compute" if compute >= memory else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    matrix = rows * columns
    return (2 * matrix if fused else 8 * matrix + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    read = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m)
    return 2 * m * n * k, (read + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="bound" says="decides"
# Misunderstands: the larger rate decides.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, max(compute, memory), "compute" if peak > bandwidth else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    matrix = rows * columns
    return (2 * matrix if fused else 8 * matrix + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    read = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m)
    return 2 * m * n * k, (read + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="fused" says="reads once and writes once"
# Misunderstands: what is read need not be counted when it is written.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, max(compute, memory), "compute" if compute > memory else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    matrix = rows * columns
    return (matrix if fused else 8 * matrix + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    read = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m)
    return 2 * m * n * k, (read + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="traffic" says="A is read once for each"
# Misunderstands: a tile at the edge reads whole blocks.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, max(compute, memory), "compute" if compute > memory else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    matrix = rows * columns
    return (2 * matrix if fused else 8 * matrix + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    read = math.ceil(m / block_m) * math.ceil(n / block_n) * (block_m + block_n) * k
    return 2 * m * n * k, (read + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="traffic" says="for each row of tiles"
# Misunderstands: an operand is read once for each of its own tiles.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, max(compute, memory), "compute" if compute > memory else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    matrix = rows * columns
    return (2 * matrix if fused else 8 * matrix + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    read = m * k * math.ceil(m / block_m) + k * n * math.ceil(n / block_n)
    return 2 * m * n * k, (read + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="seconds" says="longer one counts"
# Misunderstands: the intensity is compared with the peak.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, compute if flops / bytes_moved > peak else memory, "compute" if compute > memory else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    matrix = rows * columns
    return (2 * matrix if fused else 8 * matrix + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    read = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m)
    return 2 * m * n * k, (read + m * n) * itemsize


# %% right="roofline_arithmetic"
# Integers, `triton.cdiv`, early returns.
def roofline(flops, bytes_moved, peak, bandwidth):
    if flops * bandwidth > bytes_moved * peak:
        return flops / bytes_moved, flops / peak, "compute"
    return flops / bytes_moved, bytes_moved / bandwidth, "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    if fused:
        return 2 * rows * columns * itemsize
    return 4 * rows * itemsize * (2 * columns + 1)


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    across, down = triton.cdiv(n, block_n), triton.cdiv(m, block_m)
    return 2 * m * n * k, itemsize * sum((across * m * k, down * k * n, m * n))


# %% right="roofline_arithmetic"
# Tables and loops instead of formulas.
def roofline(flops, bytes_moved, peak, bandwidth):
    seconds = {"memory": bytes_moved / bandwidth, "compute": flops / peak}
    bound = max(seconds, key=lambda name: seconds[name])
    return flops / bytes_moved, seconds[bound], bound


def softmax_bytes(rows, columns, itemsize, fused):
    big, small = rows * columns, rows
    steps = [(big, big)] if fused else [(big, small), (big + small, big), (big, big), (big, small), (big + small, big)]
    return itemsize * sum(read + write for read, write in steps)


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    elements = 0
    for top in range(0, m, block_m):
        for left in range(0, n, block_n):
            height, width = min(block_m, m - top), min(block_n, n - left)
            elements += height * k + k * width + height * width
    return 2 * m * n * k, elements * itemsize


# %% equivalent="roofline_arithmetic" because="the larger of two numbers does not depend on their order"
# - return flops / bytes_moved, max(compute, memory), "compute" if compute > memory else "memory"
# + return flops / bytes_moved, (max(memory, compute)), "compute" if compute > memory else "memory"

# %% wrong="fused_softmax" breaks="length" says="padded places count in the sum"
# Misunderstands: a masked load leaves the padding out of what follows.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=0.0)
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="large" says="maximum subtracted first"
# Misunderstands: the maximum cancels, so it can be left out.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    e = tl.exp(tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf")))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="strides, inside" says="between its rows"
# Misunderstands: rows follow one another, so the number of columns is the stride.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * columns + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    softmax_kernel[(len(x),)](x, out, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return out


# %% wrong="fused_softmax" breaks="strides, inside" says="each have their own stride"
# Misunderstands: out lies in memory as x does.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    softmax_kernel[(len(x),)](x, out, x.stride(0), x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return out


# %% wrong="fused_softmax" breaks="once" says="keep the row in a variable"
# Misunderstands: loading again costs nothing.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = x_ptr + row * x_stride + offsets
    top = tl.max(tl.load(at, mask=mask, other=-float("inf")), axis=0)
    total = tl.sum(tl.exp(tl.load(at, mask=mask, other=-float("inf")) - top), axis=0)
    tl.store(out_ptr + row * out_stride + offsets, tl.exp(tl.load(at, mask=mask) - top) / total, mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="length, large" says="padded places count in the sum"
# Misunderstands: any large negative number is as good as -inf.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-10000.0)
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="length" says="blocks long enough"
# Misunderstands: a block that is long enough for the rows at hand is long enough.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=1024)
    return out


# %% wrong="fused_softmax" breaks="length" says="without other="
# Misunderstands: what the mask leaves out is left out of the maximum and the sum too.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask)
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="holes" says="NaN"
# Misunderstands: -inf is an error in the data and is left out by multiplying with 0.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    x = tl.where(x == -float("inf"), x * 0.0, x)
    x = tl.where(mask, x, -float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="unchanged" says="x after"
# Misunderstands: the input is free to hold what comes between.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(x_ptr + row * x_stride + offsets, e, mask=mask)
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="returned" says="the tensor itself that was given"
# Misunderstands: whoever calls wants a tensor of their own.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out.clone()


# %% wrong="fused_softmax" breaks="softmax" says="the columns are normalised"
# Misunderstands: softmax is over the first axis.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, rows, BLOCK: tl.constexpr):
    column = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < rows
    x = tl.load(x_ptr + offsets * x_stride + column, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + offsets * out_stride + column, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(columns,)](x, out, x.stride(0), out.stride(0), rows, BLOCK=triton.next_power_of_2(rows))
    return out


# %% wrong="fused_softmax" breaks="large" says="expected"
# Misunderstands: values beyond 1e4 do not occur.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(tl.maximum(x, -1e4) - tl.maximum(tl.max(x, axis=0), -1e4)) * tl.where(mask, 1.0, 0.0)
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="once" says="keep the row in a variable"
# Misunderstands: a second launch for the division costs nothing.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e, mask=mask)
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="length" says="blocks long enough"
# Misunderstands: rows of 2,048 are the longest that a block holds.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=min(2048, triton.next_power_of_2(columns)))
    return out


# %% wrong="fused_softmax" breaks="softmax" says="the others never"
# Misunderstands: a few programs are enough, one a row up to 32 rows.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(min(rows, 32),)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% right="fused_softmax"
# torch makes the grid from the output; base 2; the reciprocal of the sum.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp2((x - tl.max(x, 0, keep_dims=True)) * 1.4426950408889634)
    tl.store(out_ptr + row * out_stride + offsets, e * (1.0 / tl.sum(e, axis=-1)), mask=mask)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[lambda meta: (out.shape[0], 1)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% right="fused_softmax"
# Four rows a program, as a tile with two axes, and powers of two instead of e.
@triton.jit
def softmax_kernel(source, target, source_stride, target_stride, n_rows, n_cols, ROWS: tl.constexpr, COLS: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    cols = tl.arange(0, COLS)[None, :]
    exists = (rows < n_rows) & (cols < n_cols)
    tile = tl.load(source + rows * source_stride + cols, mask=exists, other=float("-inf"))
    tile = tl.where(rows < n_rows, tile, 0.0)  # rows that do not exist: anything but NaN
    tile = tl.exp2((tile - tl.max(tile, axis=1)[:, None]) * 1.4426950408889634)
    tl.store(target + rows * target_stride + cols, tile / tl.sum(tile, axis=1)[:, None], mask=exists)


def softmax(x, out):
    grid = (triton.cdiv(x.size(0), 4),)
    softmax_kernel[grid](x, out, x.stride(0), out.stride(0), *x.shape, ROWS=4, COLS=triton.next_power_of_2(x.size(1)))
    return out


# %% right="fused_softmax"
# Moves the addresses to the row first; a larger block than needed.
@triton.jit
def softmax_kernel(x, y, sx, sy, n, BLOCK: tl.constexpr):
    here = tl.arange(0, BLOCK)
    x += tl.program_id(0) * sx
    y += tl.program_id(0) * sy
    v = tl.where(here < n, tl.load(x + here, mask=here < n, other=0.0), float("-inf"))
    v -= tl.max(v, 0)
    v = tl.exp(v)
    v /= tl.sum(v, 0)
    tl.store(y + here, v, mask=here < n)


def softmax(x, out):
    softmax_kernel[(x.shape[0],)](x, out, x.stride(0), out.stride(0), x.shape[1], BLOCK=2 * triton.next_power_of_2(x.shape[1]))
    return out


# %% equivalent="fused_softmax" because="a vector has one axis: 0 and -1 are the same"
# - e = tl.exp(x - tl.max(x, axis=0))
# + e = tl.exp(x - tl.max(x, axis=(-1)))

# %% equivalent="fused_softmax" because="a vector has one axis: 0 and -1 are the same"
# - tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)
# + tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=(-1)), mask=mask)

# %% wrong="check_softmax" breaks="memory, input" says="Still unseen"
# Misunderstands: right values are the whole test.
def check_softmax(softmax):
    for rows, columns in ((4, 32), (3, 17)):
        x = random(rows, columns)
        out = torch.empty_like(x)
        softmax(x, out)
        assert torch.allclose(out, x.softmax(1), atol=1e-6)


# %% wrong="check_softmax" breaks="values" says="zeros in the padding"
# Misunderstands: a kernel that keeps to its memory is right; round sizes have no padding.
def check_softmax(softmax):
    for scale in (1, 200):
        fence = Fence()
        values = random(4, 32, scale=scale)
        x, out = fence.place("x", values, gap=5), fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems() and torch.allclose(out, values.softmax(1), atol=1e-6)


# %% wrong="check_softmax" breaks="accepts" says="reject a correct implementation"
# Misunderstands: equal means equal to the last bit.
def check_softmax(softmax):
    for shift in (-300.0, 300.0):
        fence = Fence()
        values = random(3, 17, shift=shift)
        x, out = fence.place("x", values, gap=5), fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems() and torch.equal(out, values.softmax(1))


# %% wrong="check_softmax" breaks="input" says="overwrites x"
# Misunderstands: comparing with softmax of x afterwards is the same as before; x may have changed.
def check_softmax(softmax):
    for shift in (-300.0, 300.0):
        fence = Fence()
        x = fence.place("x", random(3, 17, shift=shift), gap=5)
        out = fence.place("out", torch.full((3, 17), math.nan), gap=2)
        expected = x.softmax(1)
        with fence:
            softmax(x, out)
        assert not fence.problems() and torch.allclose(out, expected, atol=1e-6)


# %% wrong="check_softmax" breaks="values, memory" says="catch none"
# Misunderstands: what a check returns is what counts.
def check_softmax(softmax):
    x = random(4, 32)
    out = torch.empty_like(x)
    softmax(x, out)
    return torch.allclose(out, x.softmax(1), atol=1e-6)


# %% wrong="check_softmax" breaks="memory" says="load without mask"
# Misunderstands: canaries around the result are enough; what is read does no harm.
def check_softmax(softmax):
    for shift in (-300.0, 300.0):
        values = random(3, 17, shift=shift)
        wide, source = torch.full((5, 50), math.nan), torch.full((5, 40), -math.inf)
        x, out = source[1:4, 2:19].copy_(values), wide[1:4, 8:25]
        softmax(x, out)
        assert torch.allclose(out, values.softmax(1), atol=1e-6) and torch.equal(x, values)
        out[:] = math.nan
        assert wide.isnan().all()


# %% wrong="check_softmax" breaks="calls" says="at most 20 calls"
# Misunderstands: the more cases, the better the test.
def check_softmax(softmax):
    for shift in range(-300, 301, 25):
        fence = Fence()
        values = random(3, 17, shift=float(shift))
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="accepts" says="returned"
# Misunderstands: who writes into out also returns it.
def check_softmax(softmax):
    for shift in (-300.0, 300.0):
        fence = Fence()
        values = random(3, 17, shift=shift)
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            returned = softmax(x, out)
        assert returned is out, 'it must have returned out'
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="maximum with the padding in it"
# Misunderstands: values of one sign show everything.
def check_softmax(softmax):
    for shift in (300.0,):
        fence = Fence()
        values = random(3, 17, shift=shift)
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="does nothing"
# Misunderstands: the sum of a row tells whether it was normalised.
def check_softmax(softmax):
    for shift in (-300.0, 300.0):
        fence = Fence()
        values = random(3, 17, shift=shift)
        x = fence.place("x", values, gap=5)
        out = fence.place("out", values.softmax(1), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="accepts" says="reject a correct implementation"
# Misunderstands: a relative difference is what counts, also for probabilities near 0.
def check_softmax(softmax):
    for shift in (-300.0, 300.0):
        fence = Fence()
        values = random(3, 17, shift=shift)
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=0, rtol=1e-7), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% right="check_softmax"
# Several small cases, by the fence's counts too, and `raise` in place of `assert`.
def check_softmax(softmax):
    for seed, (rows, columns, gap, other, scale) in enumerate([(1, 1, 0, 0, 1), (2, 5, 3, 0, 1), (4, 33, 0, 2, 250), (3, 7, 1, 6, 100)]):
        fence = Fence()
        for sign in (-1, 1):
            values = sign * (200 + (random(rows, columns, seed=seed).abs() * scale).clamp(0, 700))
            x, out = fence.place("x", values, gap=gap), fence.place("out", torch.full_like(values, math.nan), gap=other)
            with fence:
                softmax(x=x, out=out)
            off = (out - torch.softmax(values, dim=-1)).abs().max()
            if not off < 2e-6 or not torch.equal(x, values) or fence.problems():
                raise AssertionError(f"off by {off}; {fence.problems()}")


# %% right="check_softmax"
# Canaries by hand, in one wide buffer for each tensor, and several shapes.
def check_softmax(softmax):
    for rows, columns, mean in ((2, 9, 0.0), (5, 17, 120.0), (3, 33, -120.0), (4, 16, 0.0)):
        generator = torch.Generator().manual_seed(columns)
        inside = (slice(2, 2 + rows), slice(7, 7 + columns))
        source = torch.full((rows + 4, columns + 30), math.nan)
        source[inside] = torch.randn(rows, columns, generator=generator) + mean
        source = source.to(DEVICE)
        target = torch.full((rows + 4, columns + 57), math.nan, device=DEVICE)
        before = source.clone()
        softmax(source[inside], target[inside])
        difference = (target[inside] - before[inside].softmax(-1)).abs().max()
        assert difference < 1e-5, f"off by {difference}"
        assert torch.equal(source.nan_to_num(9), before.nan_to_num(9)), "the input or what lies around it has changed"
        target[inside] = math.nan
        assert bool(target.isnan().all()), "something outside of out was written"


# %% right="check_softmax"
# Strict, with large values and with rows that begin with many low ones.
def check_softmax(softmax):
    for rows, columns, shift, holes in ((3, 16, 300.0, 0), (4, 33, 900.0, 0), (4, 19, -300.0, 10)):
        values = random(rows, columns, seed=columns, shift=shift)
        values[:, :holes] = -1000
        fence = Fence()
        x, out = fence.place("x", values, gap=4), fence.place("out", torch.full_like(values, math.nan))
        with fence:
            softmax(x, out)
        assert torch.allclose(out, values.softmax(1), atol=1e-6) and torch.equal(x, values)
        assert not fence.problems(), fence.problems()


# %% equivalent="check_softmax" because="one unit more or less: the values still lie far beyond what exp can take, on both sides"
# - for shift in (-300.0, 300.0):
# + for shift in (-300.0, 301.0):


# %% equivalent="check_softmax" because="the comparison does not depend on the order of its sides"
# - assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
# + assert (torch.allclose(values.softmax(1), out, atol=1e-06)), "wrong values"


# %% equivalent="check_softmax" because="the comparison does not depend on the order of its sides"
# - assert torch.equal(x, values), "the input has changed"
# + assert (torch.equal(values, x)), "the input has changed"


# %% equivalent="check_softmax" because="one unit more or less: the values still lie far beyond what exp can take, on both sides"
# - for shift in (-300.0, 300.0):
# + for shift in (-301.0, 300.0):


# %% equivalent="check_softmax" because="twice as far: the values lie beyond what exp can take all the same"
# - for shift in (-300.0, 300.0):
# + for shift in (-300.0, 600.0):


# %% equivalent="check_softmax" because="twice as far: the values lie beyond what exp can take all the same"
# - for shift in (-300.0, 300.0):
# + for shift in (-600.0, 300.0):


# %% equivalent="check_softmax" because="rows of 3 are padded to 4: an odd number of columns and several rows, as before"
# - values = random(3, 17, shift=shift)
# + values = (random(17, 3, shift=shift))


# %% equivalent="check_softmax" because="one row more or less: any few rows show the same bugs"
# - values = random(3, 17, shift=shift)
# + values = random(4, 17, shift=shift)


# %% equivalent="check_softmax" because="one row more or less: any few rows show the same bugs"
# - values = random(3, 17, shift=shift)
# + values = random(2, 17, shift=shift)


# %% equivalent="check_softmax" because="a name in the fence's messages alone"
# - x = fence.place("x", values, gap=5)
# + x = fence.place('xx', values, gap=5)


# %% equivalent="check_softmax" because="a name in the fence's messages alone"
# - out = fence.place("out", torch.full_like(values, math.nan), gap=2)
# + out = fence.place('tuo', torch.full_like(values, math.nan), gap=2)


# %% equivalent="check_softmax" because="any gap shows a wrong stride"
# - x = fence.place("x", values, gap=5)
# + x = fence.place("x", values, gap=6)


# %% equivalent="check_softmax" because="any gap shows a wrong stride"
# - x = fence.place("x", values, gap=5)
# + x = fence.place("x", values, gap=4)


# %% equivalent="check_softmax" because="any gap shows a wrong stride"
# - out = fence.place("out", torch.full_like(values, math.nan), gap=2)
# + out = fence.place("out", torch.full_like(values, math.nan), gap=3)


# %% equivalent="check_softmax" because="any gap shows a wrong stride"
# - out = fence.place("out", torch.full_like(values, math.nan), gap=2)
# + out = fence.place("out", torch.full_like(values, math.nan), gap=1)


# %% equivalent="check_softmax" because="both are far below what a wrong kernel is off"
# - assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
# + assert torch.allclose(out, values.softmax(1), atol=2e-06), "wrong values"


# %% wrong="add_rms_norm" breaks="float32" says="bit patterns"
# Misunderstands: the dtype takes care of itself.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    total = tl.load(x_ptr + at, mask=mask, other=0.0) + tl.load(residual_ptr + at, mask=mask, other=0.0)
    tl.store(total_ptr + at, total, mask=mask)
    total = total.to(tl.float32)
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(out_ptr + at, total / rms * tl.load(weight_ptr + offsets, mask=mask).to(tl.float32), mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    block = triton.next_power_of_2(x.shape[1])
    add_rms_norm_kernel[(len(x),)](x, residual, weight, total, out, x.shape[1], eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="padding" says="divided by the block"
# Misunderstands: the mean is taken over the block.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    total = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    total += tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    rms = tl.sqrt(tl.sum(total * total, axis=0) / BLOCK + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * tl.load(weight_ptr + offsets, mask=mask).to(tl.float32), mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    block = triton.next_power_of_2(x.shape[1])
    add_rms_norm_kernel[(len(x),)](x, residual, weight, total, out, x.shape[1], eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="float32" says="overflows from 256 on"
# Misunderstands: it is enough that bfloat16 is avoided; squares are taken in the input's type.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    total = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    total += tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if x_ptr.dtype.element_ty == tl.float16:
        total = total.to(tl.float16)
    rms = tl.sqrt(tl.sum(total * total, axis=0).to(tl.float32) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * tl.load(weight_ptr + offsets, mask=mask).to(tl.float32), mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    block = triton.next_power_of_2(x.shape[1])
    add_rms_norm_kernel[(len(x),)](x, residual, weight, total, out, x.shape[1], eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="formula" says="belongs inside the root"
# Misunderstands: eps only keeps the division from failing, so it can stand anywhere.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    total = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    total += tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns) + eps
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * tl.load(weight_ptr + offsets, mask=mask).to(tl.float32), mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    block = triton.next_power_of_2(x.shape[1])
    add_rms_norm_kernel[(len(x),)](x, residual, weight, total, out, x.shape[1], eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="inside" says="outside of weight"
# Misunderstands: the weight is shared by all rows, so it needs no mask.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    total = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    total += tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * tl.load(weight_ptr + offsets).to(tl.float32), mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    block = triton.next_power_of_2(x.shape[1])
    add_rms_norm_kernel[(len(x),)](x, residual, weight, total, out, x.shape[1], eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="padding" says="without other="
# Misunderstands: a masked load gives 0 where the mask is false.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    total = tl.load(x_ptr + at, mask=mask).to(tl.float32) + tl.load(residual_ptr + at, mask=mask).to(tl.float32)
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * tl.load(weight_ptr + offsets, mask=mask).to(tl.float32), mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    block = triton.next_power_of_2(x.shape[1])
    add_rms_norm_kernel[(len(x),)](x, residual, weight, total, out, x.shape[1], eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="unrounded" says="from t before it is rounded"
# Misunderstands: what is written is what goes on.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
    total = (x + residual).to(total_ptr.dtype.element_ty).to(tl.float32)
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * weight, mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="once" says="keep the sum in a variable"
# Misunderstands: the sum must be read back from memory.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
    total = x + residual
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    again = tl.load(total_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, total / rms * weight + 0.0 * again, mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="unchanged" says="residual after"
# Misunderstands: the residual stream is updated in place.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
    total = x + residual
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(residual_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * weight, mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="returned" says="the tensor itself that was given"
# Misunderstands: the normalised rows are the result.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
    total = x + residual
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * weight, mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=block)
    return out, total


# %% wrong="add_rms_norm" breaks="formula" says="t / sqrt(mean of t squared"
# Misunderstands: RMSNorm is layer norm, the mean is taken off first.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
    total = x + residual
    centred = tl.where(mask, total - tl.sum(total, axis=0) / columns, 0.0)
    rms = tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * weight, mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="formula" says="t / sqrt(mean of t squared"
# Misunderstands: eps is a constant of the method.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
    total = x + residual
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * weight, mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, 1e-6, BLOCK=block)
    return total, out


# %% wrong="add_rms_norm" breaks="formula" says="blocks long enough"
# Misunderstands: rows are no longer than 1,024.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
    total = x + residual
    rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total / rms * weight, mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    rows, columns = x.shape
    block = min(1024, triton.next_power_of_2(columns))
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=block)
    return total, out


# %% right="add_rms_norm"
# `rsqrt`, pointers moved, sizes by position, no gradients.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
    total = x + residual
    rms = tl.rsqrt(tl.sum(total * total, axis=0) * (1.0 / columns) + eps)
    tl.store(total_ptr + at, total, mask=mask)
    tl.store(out_ptr + at, total * rms * weight, mask=mask)


@torch.no_grad()
def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=block)
    return total, out


# %% right="add_rms_norm"
# Two rows a program, the reciprocal root, explicit narrowing.
@triton.jit
def add_rms_norm_kernel(a, b, w, t, y, n_rows, n_cols, eps, ROWS: tl.constexpr, COLS: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    cols = tl.arange(0, COLS)[None, :]
    exists = (rows < n_rows) & (cols < n_cols)
    at = rows * n_cols + cols
    s = tl.load(a + at, mask=exists, other=0.0).to(tl.float32) + tl.load(b + at, mask=exists, other=0.0).to(tl.float32)
    gain = tl.load(w + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(s * s, axis=1) / n_cols + eps)
    tl.store(y + at, (s * scale[:, None] * gain).to(y.dtype.element_ty), mask=exists)
    tl.store(t + at, s.to(t.dtype.element_ty), mask=exists)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    grid, cols = (triton.cdiv(len(x), 2),), max(16, triton.next_power_of_2(x.shape[1]))
    add_rms_norm_kernel[grid](x, residual, weight, total, out, *x.shape, eps, ROWS=2, COLS=cols)
    return total, out


# %% equivalent="add_rms_norm" because="the sum does not care which summand comes first"
# - add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=block)
# + (add_rms_norm_kernel[rows,](residual, x, weight, total, out, columns, eps, BLOCK=block))

# %% equivalent="add_rms_norm" because="a vector has one axis: 0 and -1 are the same"
# - rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
# + rms = tl.sqrt(tl.sum(total * total, axis=(-1)) / columns + eps)

# %% wrong="layer_norm" breaks="padding" says="mask it before squaring"
# Misunderstands: padding that was loaded as 0 stays 0.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = x - mean
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    block = triton.next_power_of_2(x.shape[1])
    layer_norm_kernel[(len(x),)](x, weight, bias, out, mean, rstd, x.shape[1], eps, BLOCK=block)
    return out


def layer_norm_backward(*args):
    raise NotImplementedError


layer_norm_dx_kernel = layer_norm_dw_db_kernel = layer_norm_kernel


# %% wrong="layer_norm" breaks="centred" says="subtract the mean before squaring"
# Misunderstands: the mean of squares minus the square of the mean is the same variance in floating point too.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    variance = tl.sum(x * x, axis=0) / columns - mean * mean
    rstd = 1 / tl.sqrt(tl.maximum(variance, 0.0) + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, (x - mean) * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    block = triton.next_power_of_2(x.shape[1])
    layer_norm_kernel[(len(x),)](x, weight, bias, out, mean, rstd, x.shape[1], eps, BLOCK=block)
    return out


def layer_norm_backward(*args):
    raise NotImplementedError


layer_norm_dx_kernel = layer_norm_dw_db_kernel = layer_norm_kernel


# %% wrong="layer_norm" breaks="dx" says="the mean of g is not subtracted"
# Misunderstands: mean and variance are constants for the gradient.
@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    g = tl.load(dy_ptr + row * columns + offsets, mask=mask) * tl.load(weight_ptr + offsets, mask=mask)
    tl.store(dx_ptr + row * columns + offsets, g * tl.load(rstd_ptr + row), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[(triton.cdiv(columns, 16),)](dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16)
    return dx, dw, db


def layer_norm(*args, **options):
    raise NotImplementedError


layer_norm_kernel = layer_norm_dx_kernel


# %% wrong="layer_norm" breaks="columns" says="over all rows"
# Misunderstands: each row's program may simply store its share of dw and db; the last one wins.
@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, dw_ptr, db_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    dy = tl.load(dy_ptr + at, mask=mask, other=0.0)
    g = dy * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    tl.store(dx_ptr + at, rstd * (g - tl.sum(g, axis=0) / columns - normed * (tl.sum(g * normed, axis=0) / columns)), mask=mask)
    tl.store(dw_ptr + offsets, dy * normed, mask=mask)
    tl.store(db_ptr + offsets, dy, mask=mask)


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    block = triton.next_power_of_2(x.shape[1])
    layer_norm_dx_kernel[(len(x),)](dy, x, weight, mean, rstd, dx, dw, db, x.shape[1], BLOCK=block)
    return dx, dw, db


def layer_norm(*args, **options):
    raise NotImplementedError


layer_norm_kernel = layer_norm_dw_db_kernel = layer_norm_dx_kernel


# %% wrong="layer_norm" breaks="output" says="blocks long enough"
# Misunderstands: a block that is long enough for the rows at hand is long enough.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = 64
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = 64
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[(1,)](dy, x, mean, rstd, dw, db, rows, columns, BLOCK=64)
    return dx, dw, db


# %% wrong="layer_norm" breaks="columns" says="over all rows"
# Misunderstands: 16 rows are a block, and one block is enough.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, min(rows, 16)):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="columns" says="that row"
# Misunderstands: the statistics of the first row serve for all.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr)) * tl.load(rstd_ptr)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="statistics" says="rstd of"
# Misunderstands: what is saved is the standard deviation.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, 1 / rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="returned" says="the tensor itself that was given"
# Misunderstands: the statistics are returned with the output.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out, mean, rstd


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="returned_gradients" says="the tensor itself that was given"
# Misunderstands: dx is what the layer below needs, so it is the result.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx


# %% wrong="layer_norm" breaks="unchanged" says="dy after"
# Misunderstands: dy is needed no more, so g may stand there.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    tl.store(dy_ptr + at, g, mask=mask)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="inside" says="outside of mean"
# Misunderstands: one number a row needs no care: a whole block is stored.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row + tl.arange(0, 2), mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="inside" says="outside of weight"
# Misunderstands: the weight is as long as the block.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="dx" says="the mean of g times the normalised x"
# Misunderstands: the spread does not depend on x.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="padding" says="divide by the columns"
# Misunderstands: a mean over a block is divided by its length.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / BLOCK + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="columns" says="blocks long enough"
# Misunderstands: one program has room for all columns, up to 128.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[(1,)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=128
    )
    return dx, dw, db


# %% right="layer_norm"
# dw and db in partial sums over groups of rows, added up at the end; grids as lists.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask)
    bias = tl.load(bias_ptr + offsets, mask=mask)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = row * columns + offsets
    rstd = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
    g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    g_mean = tl.sum(g, axis=0) / columns
    product_mean = tl.sum(g * normed, axis=0) / columns
    tl.store(dx_ptr + at, rstd * (g - g_mean - normed * product_mean), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, GROUP: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    first = tl.program_id(1) * GROUP
    for row in range(first, tl.minimum(first + GROUP, rows)):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + tl.program_id(1) * columns + offsets, dw, mask=mask)
    tl.store(db_ptr + tl.program_id(1) * columns + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[[rows]](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[[rows]](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    groups = triton.cdiv(rows, 8)
    parts = torch.empty(2, groups, columns, device=x.device)
    layer_norm_dw_db_kernel[[triton.cdiv(columns, 64), groups]](dy, x, mean, rstd, *parts, rows, columns, GROUP=8, BLOCK=64)
    torch.sum(parts[0], 0, out=dw)
    db.copy_(parts[1].sum(0))
    return dx, dw, db


# %% right="layer_norm"
# Tiles of several rows, the sums over rows by tl.sum of a tile; other names.
@triton.jit
def layer_norm_kernel(X, W, B, Y, M, R, n_rows, n_cols, eps, ROWS: tl.constexpr, COLS: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, COLS)
    exists = (rows < n_rows)[:, None] & (cols < n_cols)[None, :]
    at = rows[:, None] * n_cols + cols[None, :]
    x = tl.load(X + at, mask=exists, other=0.0)
    mu = tl.sum(x, axis=1) / n_cols
    x = tl.where(exists, x - mu[:, None], 0.0)
    r = tl.rsqrt(tl.sum(x * x, axis=1) / n_cols + eps)
    w = tl.load(W + cols, mask=cols < n_cols, other=0.0)
    b = tl.load(B + cols, mask=cols < n_cols, other=0.0)
    tl.store(Y + at, x * r[:, None] * w[None, :] + b[None, :], mask=exists)
    tl.store(M + rows, mu, mask=rows < n_rows)
    tl.store(R + rows, r, mask=rows < n_rows)


@triton.jit
def layer_norm_dx_kernel(DY, X, W, M, R, DX, n_rows, n_cols, ROWS: tl.constexpr, COLS: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, COLS)
    exists = (rows < n_rows)[:, None] & (cols < n_cols)[None, :]
    at = rows[:, None] * n_cols + cols[None, :]
    r = tl.load(R + rows, mask=rows < n_rows, other=0.0)[:, None]
    mu = tl.load(M + rows, mask=rows < n_rows, other=0.0)[:, None]
    g = tl.load(DY + at, mask=exists, other=0.0) * tl.load(W + cols, mask=cols < n_cols, other=0.0)[None, :]
    x = tl.where(exists, (tl.load(X + at, mask=exists, other=0.0) - mu) * r, 0.0)
    inner = (n_cols * g - tl.sum(g, axis=1)[:, None] - x * tl.sum(g * x, axis=1)[:, None]) / n_cols
    tl.store(DX + at, inner * r, mask=exists)


@triton.jit
def layer_norm_dw_db_kernel(DY, X, M, R, DW, DB, n_rows, n_cols, ROWS: tl.constexpr, COLS: tl.constexpr):
    cols = tl.program_id(0) * COLS + tl.arange(0, COLS)
    dw = tl.zeros((COLS,), tl.float32)
    db = tl.zeros((COLS,), tl.float32)
    for top in range(0, n_rows, ROWS):
        rows = top + tl.arange(0, ROWS)
        exists = (rows < n_rows)[:, None] & (cols < n_cols)[None, :]
        at = rows[:, None] * n_cols + cols[None, :]
        dy = tl.load(DY + at, mask=exists, other=0.0)
        mu = tl.load(M + rows, mask=rows < n_rows, other=0.0)
        r = tl.load(R + rows, mask=rows < n_rows, other=0.0)
        dw += tl.sum(dy * (tl.load(X + at, mask=exists, other=0.0) - mu[:, None]) * r[:, None], axis=0)
        db += tl.sum(dy, axis=0)
    tl.store(DW + cols, dw, mask=cols < n_cols)
    tl.store(DB + cols, db, mask=cols < n_cols)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    cols = triton.next_power_of_2(x.shape[1])
    layer_norm_kernel[(triton.cdiv(len(x), 2),)](x, weight, bias, out, mean, rstd, *x.shape, eps, ROWS=2, COLS=cols)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    cols = triton.next_power_of_2(x.shape[1])
    layer_norm_dx_kernel[(triton.cdiv(len(x), 2),)](dy, x, weight, mean, rstd, dx, *x.shape, ROWS=2, COLS=cols)
    layer_norm_dw_db_kernel[(triton.cdiv(x.shape[1], 32),)](dy, x, mean, rstd, dw, db, *x.shape, ROWS=4, COLS=32)
    return dx, dw, db


# %% equivalent="layer_norm" because="a vector has one axis: 0 and -1 are the same"
# - mean = tl.sum(x, axis=0) / columns
# + mean = tl.sum(x, axis=(-1)) / columns

# %% equivalent="layer_norm" because="a vector has one axis: 0 and -1 are the same"
# - rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
# + rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=(-1)) / columns + eps)

# %% equivalent="layer_norm" because="a vector has one axis: 0 and -1 are the same"
# - g_mean = tl.sum(g, axis=0) / columns
# + g_mean = tl.sum(g, axis=(-1)) / columns

# %% equivalent="layer_norm" because="a vector has one axis: 0 and -1 are the same"
# - product_mean = tl.sum(g * normed, axis=0) / columns
# + product_mean = tl.sum(g * normed, axis=(-1)) / columns

# %% equivalent="layer_norm" because="one factor of 0 in the padding is enough"
# - g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
# + g = tl.load(dy_ptr + at, mask=mask, other=1.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)

# %% equivalent="layer_norm" because="one factor of 0 in the padding is enough"
# - g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=0.0)
# + g = tl.load(dy_ptr + at, mask=mask, other=0.0) * tl.load(weight_ptr + offsets, mask=mask, other=1.0)

# %% equivalent="layer_norm" because="one factor of 0 in the padding is enough"
# - normed = (tl.load(x_ptr + at, mask=mask, other=0.0) - tl.load(mean_ptr + row)) * rstd
# + normed = (tl.load(x_ptr + at, mask=mask, other=1.0) - tl.load(mean_ptr + row)) * rstd

# %% wrong="tiled_matmul" breaks="product, inside" says="Each mask needs both axes"
# Misunderstands: the loop over k ends by itself, so k needs no mask.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k, a0, a1, b0, b1, o0, o1, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a = tl.load(a_ptr + rows[:, None] * a0 + inner[None, :] * a1, mask=rows[:, None] < m, other=0.0)
        b = tl.load(b_ptr + inner[:, None] * b0 + columns[None, :] * b1, mask=columns[None, :] < n, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    tl.store(out_ptr + rows[:, None] * o0 + columns[None, :] * o1, acc, mask=(rows[:, None] < m) & (columns[None, :] < n))


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="float32" says="pass both tiles through for_dot"
# Misunderstands: tl.dot takes any floating point type, everywhere.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k, a0, a1, b0, b1, o0, o1, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a = tl.load(a_ptr + rows[:, None] * a0 + inner[None, :] * a1, mask=(rows[:, None] < m) & (inner[None, :] < k), other=0.0)
        b = tl.load(
            b_ptr + inner[:, None] * b0 + columns[None, :] * b1, mask=(inner[:, None] < k) & (columns[None, :] < n), other=0.0
        )
        acc = tl.dot(a, b, acc, input_precision="ieee")
    tl.store(out_ptr + rows[:, None] * o0 + columns[None, :] * o1, acc, mask=(rows[:, None] < m) & (columns[None, :] < n))


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="float32" says="the accumulator in float32"
# Misunderstands: the accumulator has the type of the result.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k, a0, a1, b0, b1, o0, o1, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a = tl.load(a_ptr + rows[:, None] * a0 + inner[None, :] * a1, mask=(rows[:, None] < m) & (inner[None, :] < k), other=0.0)
        b = tl.load(
            b_ptr + inner[:, None] * b0 + columns[None, :] * b1, mask=(inner[:, None] < k) & (columns[None, :] < n), other=0.0
        )
        acc += tl.dot(for_dot(a), for_dot(b), input_precision="ieee")
        acc = acc.to(out_ptr.dtype.element_ty).to(tl.float32)  # what an accumulator of that type holds
    tl.store(out_ptr + rows[:, None] * o0 + columns[None, :] * o1, acc, mask=(rows[:, None] < m) & (columns[None, :] < n))


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="strides, inside" says="two strides of its own"
# Misunderstands: matrices lie row by row, the number of columns is the stride.
@triton.jit
def matmul_kernel(a_ptr, b_ptr, out_ptr, m, n, k, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a = tl.load(a_ptr + rows[:, None] * k + inner[None, :], mask=(rows[:, None] < m) & (inner[None, :] < k), other=0.0)
        b = tl.load(b_ptr + inner[:, None] * n + columns[None, :], mask=(inner[:, None] < k) & (columns[None, :] < n), other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    tl.store(out_ptr + rows[:, None] * n + columns[None, :], acc, mask=(rows[:, None] < m) & (columns[None, :] < n))


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    matmul_kernel[grid](a, b, out, m, n, k, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="product" says="without other="
# Misunderstands: a masked load gives 0 where the mask is false.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="product" says="first step of k alone"
# Misunderstands: `tl.dot` adds to what the name held before.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), input_precision="ieee")
        if start == 0:
            kept = acc
    acc = kept
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="blocks, traffic" says="with tiles of"
# Misunderstands: the blocks of the signature are good enough for every size.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, 16), triton.cdiv(n, 16))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=16, BLOCK_N=16, BLOCK_K=16)
    return out


# %% wrong="tiled_matmul" breaks="grid" says="program (i, j) of the grid"
# Misunderstands: which axis of the grid counts rows does not matter to anyone else.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(n, block_n), triton.cdiv(m, block_m))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="returned" says="the tensor itself that was given"
# Misunderstands: the result belongs in a tensor of its own.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out + 0


# %% wrong="tiled_matmul" breaks="unchanged" says="a after"
# Misunderstands: what was read is needed no more.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    zeros = tl.zeros((BLOCK_M, BLOCK_K), dtype=tl.float32)
    tl.store(a_ptr + rows[:, None] * a_row + tl.arange(0, BLOCK_K)[None, :] * a_column, zeros, mask=(rows[:, None] < m) & (tl.arange(0, BLOCK_K)[None, :] < k))
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="product" says="the accumulator in float32"
# Misunderstands: 16 steps of k are enough.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, min(k, 256), BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="float32" says="the accumulator in float32"
# Misunderstands: float16 numbers make float16 sums (each step is rounded).
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = (acc + tl.dot(for_dot(a), for_dot(b), input_precision="ieee")).to(tl.float16).to(tl.float32)
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="strides" says="are NaN"
# Misunderstands: elements of a row of out always lie side by side.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :], acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="traffic" says="a once for each column of tiles"
# Misunderstands: a step beyond the end of k reads nothing new.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        again = tl.load(b_ptr + rows[:, None] * 0 + columns[None, :] * b_column, mask=columns[None, :] < n, other=0.0)
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% right="tiled_matmul"
# Masks made once, `tl.where`, operands by name, a grid as a list.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = acc + tl.dot(for_dot(a), for_dot(b), input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = [-(-m // block_m), -(-n // block_n)]
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, num_warps=4, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% right="tiled_matmul"
# Addresses that move on, a grid from a function, the mask of k from what is left.
@triton.jit
def matmul_kernel(A, B, C, M, N, K, am, ak, bk, bn, cm, cn, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    rm = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)[:, None]
    rn = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    rk = tl.arange(0, BLOCK_K)
    a_at = A + rm * am + rk[None, :] * ak
    b_at = B + rk[:, None] * bk + rn * bn
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for step in range(tl.cdiv(K, BLOCK_K)):
        left = K - step * BLOCK_K
        tile_a = tl.load(a_at, mask=(rm < M) & (rk[None, :] < left), other=0.0)
        tile_b = tl.load(b_at, mask=(rk[:, None] < left) & (rn < N), other=0.0)
        total += tl.dot(for_dot(tile_a), for_dot(tile_b), input_precision="ieee")
        a_at += BLOCK_K * ak
        b_at += BLOCK_K * bk
    tl.store(C + rm * cm + rn * cn, total.to(C.dtype.element_ty), mask=(rm < M) & (rn < N))


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    m, n, k = a.shape[0], b.shape[1], a.shape[1]

    def grid(meta):
        return triton.cdiv(m, meta["BLOCK_M"]), triton.cdiv(n, meta["BLOCK_N"])

    matmul_kernel[grid](a, b, out, m, n, k, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% equivalent="tiled_matmul" because="where k ends one factor of 0 is enough; rows and columns that do not exist are not stored"
# - a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
# + a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=1.0)

# %% equivalent="tiled_matmul" because="where k ends one factor of 0 is enough; rows and columns that do not exist are not stored"
# - b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
# + b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=1.0)

# %% wrong="choose_tiles" breaks="fits" says="every stage holds a tile"
# Misunderstands: stages take turns in one buffer.
def prune(configs, itemsize, shared_bytes):
    def needs(config):
        m, n, k = config.kwargs["BLOCK_M"], config.kwargs["BLOCK_N"], config.kwargs["BLOCK_K"]
        return (m * k + k * n) * itemsize

    return [c for c in configs if needs(c) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(*args):
    raise NotImplementedError


class Tuner:
    def __init__(self, configs, measure):
        raise NotImplementedError


# %% wrong="choose_tiles" breaks="waves, whole" says="whole waves of whole tiles"
# Misunderstands: time is proportional to the work; a wave that is half empty takes half as long.
def predicted_seconds(config, m, n, k, itemsize, gpu):
    flops, moved = matmul_cost(m, n, k, config.kwargs["BLOCK_M"], config.kwargs["BLOCK_N"], itemsize)
    return roofline(flops, moved, gpu.peak, gpu.bandwidth)[1]


def prune(*args):
    raise NotImplementedError


class Tuner:
    def __init__(self, configs, measure):
        raise NotImplementedError


# %% wrong="choose_tiles" breaks="remembered" says="answer from memory"
# Misunderstands: measuring again does no harm.
class Tuner:
    def __init__(self, configs, measure):
        self.configs, self.measure = configs, measure

    def best(self, *key):
        def seconds(config):
            try:
                return self.measure(config, *key)
            except RuntimeError:
                return math.inf

        return min(self.configs, key=seconds)


def prune(*args):
    raise NotImplementedError


def predicted_seconds(*args):
    raise NotImplementedError


# %% wrong="choose_tiles" breaks="remembered" says="keys have answers of their own"
# Misunderstands: the best tile is the best for all sizes.
class Tuner:
    def __init__(self, configs, measure):
        self.configs, self.measure, self.winner = configs, measure, None

    def best(self, *key):
        if self.winner is None:
            times = []
            for config in self.configs:
                try:
                    times.append(self.measure(config, *key))
                except RuntimeError:
                    times.append(math.inf)
            self.winner = self.configs[times.index(min(times))]
        return self.winner


def prune(*args):
    raise NotImplementedError


def predicted_seconds(*args):
    raise NotImplementedError


# %% wrong="choose_tiles" breaks="remembered" says="the number of measurements"
# Misunderstands: a dictionary in the class body is made anew for each object.
class Tuner:
    known = {}

    def __init__(self, configs, measure):
        self.configs, self.measure = configs, measure

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass
            if not seconds:
                raise RuntimeError("nothing runs")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


def prune(*args):
    raise NotImplementedError


def predicted_seconds(*args):
    raise NotImplementedError


# %% wrong="choose_tiles" breaks="smallest" says="the smallest alone"
# Misunderstands: where nothing fits, nothing is left.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="smallest" says="the first of those"
# Misunderstands: of equals any will do.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs[::-1], key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="fits" says="just the room fits"
# Misunderstands: a little room must be left.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) < shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="fits" says="what fits"
# Misunderstands: the order does not matter, the largest first is handy.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    configs = sorted(configs, key=needs, reverse=True)
    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="waves" says="last wave takes as long"
# Misunderstands: a wave that is half full takes half as long.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(m, block_m) * triton.cdiv(n, block_n) / gpu.multiprocessors
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="whole" says="rounded up to whole steps"
# Misunderstands: the last step along k is shorter.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="wave_seconds" says="whole waves of whole tiles"
# Misunderstands: the bandwidth is there for every multiprocessor.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="wave_seconds" says="whole waves of whole tiles"
# Misunderstands: the result is written at every step.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n * depth / block_k) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="quickest" says="first of equals"
# Misunderstands: the last of equals is as good.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(reversed(seconds), key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="failing" says="RuntimeError"
# Misunderstands: an error of the measurement is an error of the tuner.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                seconds[config] = self.measure(config, *key)
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="failing" says="cannot win"
# Misunderstands: what did not run took no time.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    seconds[config] = 0.0
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="all_fail" says="raises RuntimeError"
# Misunderstands: where nothing runs the first is as good as any.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                return self.configs[0]
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="other_errors" says="other errors must be seen"
# Misunderstands: whatever goes wrong in a measurement, the configuration is out.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except Exception:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="remembered" says="keys have answers of their own"
# Misunderstands: the first part of a key tells sizes apart.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        whole, key = key, key[:1]
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *whole)
                except RuntimeError:
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% right="choose_tiles"
# `functools.cache` a tuner, `inf` for what fails, everything in loops.
import functools


def prune(configs, itemsize, shared_bytes):
    kept, least = [], None
    for config in configs:
        sides = config.kwargs
        need = config.num_stages * itemsize * sides["BLOCK_K"] * (sides["BLOCK_M"] + sides["BLOCK_N"])
        if need <= shared_bytes:
            kept.append(config)
        if least is None or need < least[0]:
            least = need, config
    return kept if kept else [least[1]]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    bm, bn, bk = config.kwargs["BLOCK_M"], config.kwargs["BLOCK_N"], config.kwargs["BLOCK_K"]
    programs, steps = -(-m // bm) * -(-n // bn), -(-k // bk)
    compute = 2 * bm * bn * bk * steps * gpu.multiprocessors / gpu.peak
    memory = (steps * bk * (bm + bn) + bm * bn) * itemsize * gpu.multiprocessors / gpu.bandwidth
    return math.ceil(programs / gpu.multiprocessors) * max(compute, memory)


class Tuner:
    def __init__(self, configs, measure):
        def seconds(config, key):
            try:
                return measure(config, *key)
            except RuntimeError:
                return math.inf

        @functools.cache
        def best(*key):
            times = [seconds(config, key) for config in configs]
            if min(times) == math.inf:
                raise RuntimeError("nothing runs")
            return configs[times.index(min(times))]

        self.best = best


# %% right="choose_tiles"
# Sorting instead of min, sums by hand, a cache from the standard library.
def prune(configs, itemsize, shared_bytes):
    sizes = []
    for config in configs:
        tiles = config.kwargs
        one_stage = tiles["BLOCK_M"] * tiles["BLOCK_K"] + tiles["BLOCK_K"] * tiles["BLOCK_N"]
        sizes.append(one_stage * config.num_stages * itemsize)
    fitting = [config for config, size in zip(configs, sizes) if size <= shared_bytes]
    if fitting:
        return fitting
    return [sorted(zip(sizes, range(len(configs)), configs))[0][2]]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    bm, bn, bk = config.kwargs["BLOCK_M"], config.kwargs["BLOCK_N"], config.kwargs["BLOCK_K"]
    programs = math.ceil(m / bm) * math.ceil(n / bn)
    steps = math.ceil(k / bk)
    elements = steps * (bm * bk + bk * bn) + bm * bn
    flops = steps * 2 * bm * bn * bk
    per_processor = max(flops / (gpu.peak / gpu.multiprocessors), elements * itemsize / (gpu.bandwidth / gpu.multiprocessors))
    return math.ceil(programs / gpu.multiprocessors) * per_processor


class Tuner:
    def __init__(self, configs, measure):
        from functools import lru_cache

        self.configs, self.measure = list(configs), measure
        self._best = lru_cache(maxsize=None)(self._search)

    def best(self, *key):
        return self._best(key)

    def _search(self, key):
        winner, least = None, math.inf
        for config in self.configs:
            try:
                seconds = self.measure(config, *key)
            except RuntimeError:
                continue
            if seconds < least:
                winner, least = config, seconds
        if winner is None:
            raise RuntimeError("nothing runs")
        return winner


# %% wrong="flash_attention" breaks="online" says="acc too, shrinks"
# Misunderstands: only the sum depends on the maximum, the weighted values do not.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="sizes" says="their score must be -inf"
# Misunderstands: keys that do not exist were loaded as 0, so they weigh nothing.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] >= 0
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="causal" says="sees keys up to i + keys - queries"
# Misunderstands: query i is at position i, also when earlier keys come from a cache.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = (columns[None, :] <= rows[:, None]) & (columns[None, :] < keys)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="skipped" says="wholly behind what its queries see"
# Misunderstands: masking the scores is all that causal means.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = keys
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="online" says="is the maximum subtracted before exp"
# Misunderstands: dividing by the sum makes the maximum unnecessary.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.zeros((BLOCK_M,), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.zeros((BLOCK_M,), dtype=tl.float32)
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="sizes, inside" says="need their mask"
# Misunderstands: a power of two is wide enough and needs no mask of its own.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = columns[:, None] < keys
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="online" says="start below every score"
# Misunderstands: a running maximum may start at 0; scores are about that size.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.zeros((BLOCK_M,), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="sizes" says="over the keys that exist"
# Misunderstands: exp(-50) is nearly 0, so -50 is as good as -inf.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -50.0)
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="output" says="not divided by the root"
# Misunderstands: the scale belongs to training.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, 1.0
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="output" says="over the keys that exist"
# Misunderstands: the scale is the root of the padded width.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, block_d**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="lse" says="natural logarithms"
# Misunderstands: the sum is already relative to the maximum, so its logarithm is enough.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="lse" says="natural logarithms"
# Misunderstands: logarithms are to base 2 on a GPU.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log2(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="precision" says="over the keys that exist"
# Misunderstands: scores are as precise as what they are made of.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee").to(tl.float16).to(tl.float32) * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="precision" says="pass every operand of tl.dot"
# Misunderstands: the interpreter knows bfloat16.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = tl.load(q_ptr + row_at, mask=row_mask, other=0.0)

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0)
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="traffic" says="load q once"
# Misunderstands: q is loaded for each tile of keys, like k.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="traffic" says="once for a block of queries"
# Misunderstands: 16 queries are a block, whatever is asked for.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, 16), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=16, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="returned" says="the tensor itself that was given"
# Misunderstands: lse is for the backward pass and not returned.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out


# %% wrong="flash_attention" breaks="unchanged" says="q after"
# Misunderstands: q may be scaled in place once and for all.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    tl.store(q_ptr + row_at, q * scale, mask=row_mask)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="sizes" says="the others never"
# Misunderstands: one head is enough for a test, so the grid has one axis.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), min(heads, 2))
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="sizes" says="expected"
# Misunderstands: keys come in at most 128.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = tl.minimum(keys, 128)
    if CAUSAL:
        end = tl.minimum(end, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="sizes" says="the others never"
# Misunderstands: a head is at most 64 wide.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = min(64, max(16, triton.next_power_of_2(width)))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="inside" says="outside of lse"
# Misunderstands: one number a query needs no mask.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total))


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="output" says="shrinks by exp"
# Misunderstands: the weights of a tile are normalised within the tile.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="causal" says="over the keys that exist"
# Misunderstands: a query does not see its own key.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] < rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% right="flash_attention"
# Full tiles first without masks of their own, the width's scale folded into q, operands by name.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    row_mask = (rows[:, None] < queries) & (dims[None, :] < width)
    row_at = (head * queries + rows[:, None]) * width + dims[None, :]
    q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))

    top = tl.zeros((BLOCK_M,), dtype=tl.float32) - 1e30
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        tile_mask = (columns[:, None] < keys) & (dims[None, :] < width)
        tile_at = (head * keys + columns[:, None]) * width + dims[None, :]
        k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
        v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        scores *= scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = columns[None, :] <= rows[:, None] + keys - queries
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc *= shrink[:, None]
        acc += tl.dot(p.to(v.dtype), v, input_precision="ieee")
        top = higher

    inverse = 1 / total
    tl.store(out_ptr + row_at, (acc * inverse[:, None]).to(out_ptr.dtype.element_ty), mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = [-(-queries // block_m), heads]
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% right="flash_attention"
# Powers of two, scores transposed (keys down, queries across), full tiles and the masked ones in one loop.
@triton.jit
def attention_kernel(
    Q, K, V, O, L, nq, nk, d, factor, CAUSAL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr
):
    cols = tl.arange(0, BD)[None, :]
    i = tl.program_id(0) * BM + tl.arange(0, BM)
    Q += tl.program_id(1) * nq * d
    O += tl.program_id(1) * nq * d
    K += tl.program_id(1) * nk * d
    V += tl.program_id(1) * nk * d
    q = for_dot(tl.load(Q + i[:, None] * d + cols, mask=(i[:, None] < nq) & (cols < d), other=0.0))
    m = tl.full((BM,), -1e30, tl.float32)
    z = tl.zeros((BM,), tl.float32)
    y = tl.zeros((BM, BD), tl.float32)
    limit = nk
    if CAUSAL:
        limit = tl.minimum(nk, tl.max(tl.where(i < nq, i, 0), axis=0) + nk - nq + 1)
    for step in range(tl.cdiv(limit, BN)):
        j = step * BN + tl.arange(0, BN)
        exists = (j[:, None] < nk) & (cols < d)
        k = for_dot(tl.load(K + j[:, None] * d + cols, mask=exists, other=0.0))
        s = tl.dot(k, tl.trans(q), input_precision="ieee") * (factor * 1.4426950408889634)
        s = tl.where(j[:, None] < nk, s, -1e30)
        if CAUSAL:
            s = tl.where(j[:, None] - nk <= i[None, :] - nq, s, -1e30)
        new = tl.maximum(m, tl.max(s, axis=0))
        w = tl.trans(tl.exp2(s - new[None, :]))
        c = tl.exp2(m - new)
        z = z * c + tl.sum(w, axis=1)
        v = for_dot(tl.load(V + j[:, None] * d + cols, mask=exists, other=0.0))
        y = y * c[:, None] + tl.dot(w.to(v.dtype), v, input_precision="ieee")
        m = new
    tl.store(O + i[:, None] * d + cols, y / z[:, None], mask=(i[:, None] < nq) & (cols < d))
    tl.store(L + tl.program_id(1) * nq + i, (m + tl.log2(z)) / 1.4426950408889634, mask=i < nq)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    (heads, nq, d), nk = q.shape, k.shape[1]
    blocks = {"BM": block_m, "BN": block_n, "BD": max(16, triton.next_power_of_2(d))}
    attention_kernel[triton.cdiv(nq, block_m), heads](q, k, v, out, lse, nq, nk, d, 1 / math.sqrt(d), CAUSAL=causal, **blocks)
    return out, lse


# %% equivalent="flash_attention" because="the larger or smaller of two does not depend on their order"
# - block_d = max(16, triton.next_power_of_2(width))
# + block_d = (max(triton.next_power_of_2(width), 16))

# %% equivalent="flash_attention" because="the larger or smaller of two does not depend on their order"
# - end = tl.minimum(keys, first + BLOCK_M + keys - queries)
# + end = (tl.minimum(first + BLOCK_M + keys - queries, keys))

# %% equivalent="flash_attention" because="the larger or smaller of two does not depend on their order"
# - higher = tl.maximum(top, tl.max(scores, axis=1))
# + higher = (tl.maximum(tl.max(scores, axis=1), top))

# %% equivalent="flash_attention" because="one factor of 0 in the padded width is enough; what does not exist is not stored, and keys behind the end weigh 0"
# - q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=0.0))
# + q = for_dot(tl.load(q_ptr + row_at, mask=row_mask, other=1.0))

# %% equivalent="flash_attention" because="one factor of 0 in the padded width is enough; what does not exist is not stored, and keys behind the end weigh 0"
# - k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=0.0))
# + k = for_dot(tl.load(k_ptr + tile_at, mask=tile_mask, other=1.0))

# %% equivalent="flash_attention" because="one factor of 0 in the padded width is enough; what does not exist is not stored, and keys behind the end weigh 0"
# - v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=0.0))
# + v = for_dot(tl.load(v_ptr + tile_at, mask=tile_mask, other=1.0))
