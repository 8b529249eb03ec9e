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


# %% wrong="vector_add" breaks="sum" says="float64 was rounded to float32"
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


# %% wrong="vector_add" breaks="sum" says="the others never"
# Misunderstands: any number of axes: counts the elements of one, two or three axes only.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """out = x + y for n elements; each program adds one block of BLOCK elements."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)


def add(x, y, out, block=256):
    """`x + y` into `out` (contiguous, equal shapes) with blocks of `block` elements; returns `out`."""
    n = x.shape[0]
    if x.dim() >= 2:  # a matrix
        n *= x.shape[1]
    if x.dim() >= 3:  # a batch of matrices
        n *= x.shape[2]
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="sum" says="starts from 0 loses the sign"
# Misunderstands: bit for bit: that a sum that starts from 0 has the same bits; -0.0 + -0.0 becomes 0.0.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """out = x + y for n elements; each program adds one block of BLOCK elements."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    acc = tl.zeros((BLOCK,), dtype=out_ptr.dtype.element_ty)
    acc += tl.load(x_ptr + offsets, mask=mask)
    acc += tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, acc, mask=mask)


def add(x, y, out, block=256):
    """`x + y` into `out` (contiguous, equal shapes) with blocks of `block` elements; returns `out`."""
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="sum" says="infinity of its sign"
# Misunderstands: a sum that is too large for float16 is held at the largest number.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    x = tl.load(x_ptr + at, mask=mask)
    y = tl.load(y_ptr + at, mask=mask)
    total = x + y
    if x.dtype == tl.float16:
        wide = x.to(tl.float32) + y.to(tl.float32)
        total = tl.where(wide > 65504.0, 65504.0, tl.where(wide < -65504.0, -65504.0, wide)).to(tl.float16)
    tl.store(out_ptr + at, total, mask=mask)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="once" says="in place of a mask"
# Misunderstands: addresses held at the last element replace the mask of a load; that it is read again does not matter.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    safe = tl.minimum(at, n - 1)
    total = tl.load(x_ptr + safe) + tl.load(y_ptr + safe)
    tl.store(out_ptr + at, total, mask=at < n)


def add(x, y, out, block=256):
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="sum" says="infinity of its sign"
# Misunderstands: the infinity of a sum has no sign.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """out = x + y for n elements; each program adds one block of BLOCK elements."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    total = x + y
    total = tl.where(tl.abs(total) == float("inf"), float("inf"), total)
    tl.store(out_ptr + offsets, total, mask=mask)


def add(x, y, out, block=256):
    """`x + y` into `out` (contiguous, equal shapes) with blocks of `block` elements; returns `out`."""
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="once" says="torch's operation `zero_`"
# Misunderstands: what a kernel writes into has to be set to 0 first.
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)


def add(x, y, out, block=256):
    out.zero_()
    n = x.numel()
    add_kernel[(triton.cdiv(n, block),)](x, y, out, n, BLOCK=block)
    return out


# %% wrong="vector_add" breaks="sum" says="expected"
# Misunderstands: float16 ends at 65,504, so every sum beyond 65,504 is an infinity (rounding to the nearest forgotten).
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """out = x + y for n elements; each program adds one block of BLOCK elements."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
    y = tl.load(y_ptr + offsets, mask=mask, other=0.0)
    if x_ptr.dtype.element_ty == tl.float16:
        # compute wide, and say clearly what does not fit into float16
        total = x.to(tl.float32) + y.to(tl.float32)
        total = tl.where(total > 65504.0, float("inf"), total)
        total = tl.where(total < -65504.0, -float("inf"), total)
    else:
        total = x + y
    tl.store(out_ptr + offsets, total, mask=mask)


def add(x, y, out, block=256):
    """`x + y` into `out` (contiguous, equal shapes) with blocks of `block` elements; returns `out`."""
    n = x.numel()
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


# %% right="vector_add"
# Programs take interleaved elements; float16 is added in float32 and rounded once; the grid is a function.
@triton.jit
def wide_sum(a, b):
    if a.dtype == tl.float16:
        total = (a.to(tl.float32) + b.to(tl.float32)).to(tl.float16)
    else:
        total = a + b
    return total


@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    # program p takes p, p + programs, p + 2 programs, ...
    places = tl.program_id(0) + tl.num_programs(0) * tl.arange(0, BLOCK)
    inside = places < n
    total = wide_sum(tl.load(x_ptr + places, inside), tl.load(y_ptr + places, inside))
    tl.store(out_ptr + places, total, inside)


def add(x, y, out, block=256):
    n = math.prod(x.shape)

    def grid(meta):
        return (-(-n // meta["BLOCK"]),)

    add_kernel[grid](x_ptr=x, y_ptr=y, out_ptr=out, n=n, BLOCK=block)
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


# %% wrong="roofline_arithmetic" breaks="flops, traffic" says="does not fit into 32 bits"
# Misunderstands: all sizes from 1 on: counts flops and bytes of the product in 32-bit integers, which overflow for large
# matrices.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, max(compute, memory), "compute" if compute > memory else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    """Bytes that softmax over the rows of a (rows, columns) matrix reads and writes."""
    return (2 * rows * columns if fused else 8 * rows * columns + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    """(flops, bytes read and written) of an (m, k) x (k, n) product in tiles of block_m x block_n."""
    sizes = np.array([[m, k], [k, n], [m, n]], dtype=np.int32)  # a, b and the result
    times = np.array([-(-n // block_n), -(-m // block_m), 1], dtype=np.int32)  # how often each is moved
    moved = (sizes.prod(axis=1, dtype=np.int32) * times).sum(dtype=np.int32) * np.int32(itemsize)
    flops = np.array([2, m, n, k], dtype=np.int32).prod(dtype=np.int32)
    return int(flops), int(moved)


# %% wrong="roofline_arithmetic" breaks="seconds" says="division by zero"
# Misunderstands: flops from 0 on: the time is flops over the reachable rate, which is 0 / 0 for a kernel without arithmetic
# (a copy).
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    intensity = flops / bytes_moved
    rate = min(peak, intensity * bandwidth)  # the roof at this intensity
    return intensity, flops / rate, "compute" if flops / peak > bytes_moved / bandwidth else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    """Bytes that softmax over the rows of a (rows, columns) matrix reads and writes."""
    elements = 2 * rows * columns if fused else 8 * rows * columns + 4 * rows
    return elements * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    """(flops, bytes read and written) of an (m, k) x (k, n) product in tiles of block_m x block_n."""
    elements = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m) + m * n
    return 2 * m * n * k, elements * itemsize


# %% wrong="roofline_arithmetic" breaks="bound" says="the longer of the two times decides"
# Misunderstands: intensity and ridge are whole numbers.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    return flops / bytes_moved, max(compute, memory), "compute" if flops // bytes_moved > peak // bandwidth else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    """Bytes that softmax over the rows of a (rows, columns) matrix reads and writes."""
    matrix = rows * columns
    return (2 * matrix if fused else 8 * matrix + 4 * rows) * itemsize


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    """(flops, bytes read and written) of an (m, k) x (k, n) product in tiles of block_m x block_n."""
    read = m * k * math.ceil(n / block_n) + k * n * math.ceil(m / block_m)
    return 2 * m * n * k, (read + m * n) * itemsize


# %% wrong="roofline_arithmetic" breaks="seconds" says="longer one counts"
# Misunderstands: figures of a machine are whole numbers.
def roofline(flops, bytes_moved, peak, bandwidth):
    peak, bandwidth = max(1, int(peak)), max(1, int(bandwidth))
    times = {"memory": bytes_moved / bandwidth, "compute": flops / peak}
    bound = max(times, key=times.get)  # the first of equals is memory
    return flops / bytes_moved, times[bound], bound


def softmax_bytes(rows, columns, itemsize, fused):
    whole, column = rows * columns, rows
    if fused:
        return 2 * whole * itemsize
    reads = [whole, whole + column, whole, whole, whole + column]
    writes = [column, whole, whole, column, whole]
    return itemsize * sum(reads + writes)


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    tile_rows = (m + block_m - 1) // block_m
    tile_columns = (n + block_n - 1) // block_n
    moved = tile_columns * (m * k) + tile_rows * (k * n) + m * n
    return 2 * m * n * k, moved * itemsize


# %% wrong="roofline_arithmetic" breaks="bound" says="expected"
# Misunderstands: times that differ by less than a ten-thousandth are equal (floats are never compared exactly), so memory.
def roofline(flops, bytes_moved, peak, bandwidth):
    """(flops per byte, least seconds, "compute" or "memory"); `peak` in flop/s, `bandwidth` in bytes/s."""
    compute, memory = flops / peak, bytes_moved / bandwidth
    equal = math.isclose(compute, memory, rel_tol=1e-4)
    return flops / bytes_moved, max(compute, memory), "compute" if compute > memory and not equal else "memory"


def softmax_bytes(rows, columns, itemsize, fused):
    """Bytes that softmax over the rows of a (rows, columns) matrix reads and writes."""
    matrix = rows * columns
    return itemsize * (2 * matrix if fused else 8 * matrix + 4 * rows)


def matmul_cost(m, n, k, block_m, block_n, itemsize):
    """(flops, bytes read and written) of an (m, k) x (k, n) product in tiles of block_m x block_n."""
    read = m * k * triton.cdiv(n, block_n) + k * n * triton.cdiv(m, block_m)
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


# %% wrong="fused_softmax" breaks="holes" says="nothing else in the maximum"
# Misunderstands: -inf: replaces it by -10,000, 'small enough', though whole rows may lie near -100,000.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    """Softmax of one row a program; BLOCK is at least `columns`."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=0.0)
    x = tl.where(x == float("-inf"), -10000.0, x)  # -inf - -inf would be NaN
    x = tl.where(mask, x, float("-inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    """Softmax over the rows of `x` (rows, columns) into `out`; returns `out`."""
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="softmax" says="the others never"
# Misunderstands: the grid: believes that it is how many programs run at once, at most one a multiprocessor, and that rows
# beyond are taken up by themselves.
MULTIPROCESSORS = 108  # of an A100


@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    """Softmax of one row a program; BLOCK is at least `columns`."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    """Softmax over the rows of `x` (rows, columns) into `out`; returns `out`."""
    rows, columns = x.shape
    programs = min(rows, MULTIPROCESSORS)
    softmax_kernel[(programs,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="once" says="was a copy taken"
# Misunderstands: a contiguous copy of x costs nothing, and then one row follows another.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    exists = at < columns
    x = tl.load(x_ptr + row * x_stride + at, mask=exists, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(out_ptr + row * out_stride + at, e / tl.sum(e, axis=0), mask=exists)


def softmax(x, out):
    rows, columns = x.shape
    x = x.contiguous()
    softmax_kernel[(rows,)](x, out, columns, out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="holes" says="exactly 0, not merely small"
# Misunderstands: differences are held above -80, so that exp does not vanish.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    exists = at < columns
    x = tl.load(x_ptr + row * x_stride + at, mask=exists, other=-float("inf"))
    below = tl.maximum(x - tl.max(x, axis=0), -80.0)
    e = tl.where(exists, tl.exp(below), 0.0)
    tl.store(out_ptr + row * out_stride + at, e / tl.sum(e, axis=0), mask=exists)


def softmax(x, out):
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="holes" says="0 / 0 is NaN"
# Misunderstands: single values are -inf, but never 16 in a row: in groups of 16, each with a maximum of its own.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    """Softmax of one row a program; BLOCK is at least `columns`."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-3e38)
    groups = tl.reshape(x, (BLOCK // 16, 16))
    tops = tl.max(groups, axis=1)
    e = tl.exp(groups - tops[:, None])
    share = tl.exp(tops - tl.max(tops, axis=0))
    total = tl.sum(tl.sum(e, axis=1) * share, axis=0)
    tl.store(out_ptr + row * out_stride + offsets, tl.reshape(e * share[:, None], (BLOCK,)) / total, mask=mask)


def softmax(x, out):
    """Softmax over the rows of `x` (rows, columns) into `out`; returns `out`."""
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=max(16, triton.next_power_of_2(columns)))
    return out


# %% wrong="fused_softmax" breaks="once" says="torch's operation `amax`"
# Misunderstands: the maximum may be worked out by torch before the launch.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, top_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    x = tl.load(x_ptr + row * x_stride + at, mask=inside, other=float("-inf"))
    e = tl.exp(x - tl.load(top_ptr + row))
    tl.store(out_ptr + row * out_stride + at, e / tl.sum(e, 0), mask=inside)


def softmax(x, out):
    rows, columns = x.shape
    top = x.amax(1)
    softmax_kernel[(rows,)](x, out, top, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="large" says="expected"
# Misunderstands: the maximum has to be subtracted only where exp itself would overflow or vanish, beyond 87; the sum of many exps is forgotten.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    """Softmax of one row a program; BLOCK is at least `columns`."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    top = tl.max(x, axis=0)
    top = tl.where(tl.abs(top) > 87.0, top, 0.0)  # exp of -87 to 87 fits into float32
    e = tl.exp(x - top)
    tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)


def softmax(x, out):
    """Softmax over the rows of `x` (rows, columns) into `out`; returns `out`."""
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
    return out


# %% wrong="fused_softmax" breaks="large" says="expected"
# Misunderstands: values close to -1e5 are masks like -inf, as attention masks often are, and get probability 0.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    """Softmax of one row a program; BLOCK is at least `columns`."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * x_stride + offsets, mask=mask, other=-float("inf"))
    real = x > -99999.0  # everything else is a masked place
    top = tl.max(tl.where(real, x, -float("inf")), axis=0)
    e = tl.where(real, tl.exp(x - top), 0.0)
    tl.store(out_ptr + row * out_stride + offsets, e / tl.maximum(tl.sum(e, axis=0), 1e-30), mask=mask)


def softmax(x, out):
    """Softmax over the rows of `x` (rows, columns) into `out`; returns `out`."""
    rows, columns = x.shape
    softmax_kernel[(rows,)](x, out, x.stride(0), out.stride(0), columns, BLOCK=triton.next_power_of_2(columns))
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


# %% right="fused_softmax"
# In base 2; the row as a 1 x BLOCK tile with keep_dims; the padding put in with tl.where; a power of two by bit_length.
@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    """Softmax of one row a program; BLOCK is at least `columns`."""
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)[None, :]
    exists = lanes < columns
    x_ptr += row * x_stride
    out_ptr += row * out_stride
    values = tl.load(x_ptr + lanes, mask=exists, other=0.0)
    values = tl.where(exists, values, float("-inf"))
    top = tl.max(values, axis=1, keep_dims=True)
    powers = tl.exp2((values - top) * 1.4426950408889634)
    inverse = 1.0 / tl.sum(powers, axis=1, keep_dims=True)
    tl.store(out_ptr + lanes, powers * inverse, mask=exists)


def softmax(x, out):
    """Softmax over the rows of `x` (rows, columns) into `out`; returns `out`."""
    width = x.size(1)
    block = 1 << (width - 1).bit_length()
    softmax_kernel[x.size(0),](
        x, out, x_stride=x.stride(0), out_stride=out.stride(0), columns=width, BLOCK=block,
    )  # fmt: skip
    return out


# %% equivalent="fused_softmax" because="a vector has one axis: 0 and -1 are the same"
# - e = tl.exp(x - tl.max(x, axis=0))
# + e = tl.exp(x - tl.max(x, axis=(-1)))


# %% equivalent="fused_softmax" because="a vector has one axis: 0 and -1 are the same"
# - tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)
# + tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=(-1)), mask=mask)


# %% equivalent="fused_softmax" because="a vector has one axis: without axis= it is that one"
# - e = tl.exp(x - tl.max(x, axis=0))
# + e = tl.exp(x - tl.max(x))


# %% equivalent="fused_softmax" because="a vector has one axis: without axis= it is that one"
# - tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e, axis=0), mask=mask)
# + tl.store(out_ptr + row * out_stride + offsets, e / tl.sum(e), mask=mask)


# %% wrong="check_softmax" breaks="memory, input" says="Still unseen"
# Misunderstands: right values are the whole test.
def check_softmax(softmax):
    for rows, columns in ((4, 32), (3, 17)):
        x = random(rows, columns)
        out = torch.empty_like(x)
        softmax(x, out)
        assert torch.allclose(out, x.softmax(1), atol=1e-6)


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


# %% wrong="check_softmax" breaks="values" says="zeros in the padding"
# Misunderstands: a kernel that keeps to its memory is right; round sizes have no padding.
def check_softmax(softmax):
    for rows, columns in ((8, 32), (1, 16), (4, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(-900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="accepts" says="reject a correct implementation"
# Misunderstands: equal means equal to the last bit.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.equal(out, values.softmax(1)), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="input" says="changes x everywhere"
# Misunderstands: right values and whole canaries show that x stays as it was, too.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"


# %% wrong="check_softmax" breaks="calls" says="at most 20 calls"
# Misunderstands: the more cases, the better the test.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)) * 6:
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
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
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            returned = softmax(x, out)
        assert returned is out, "it must have returned out"
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="maximum with the padding in it"
# Misunderstands: values of one sign show everything.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(300, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="no maximum subtracted"
# Misunderstands: values near 0 show everything.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns)
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="the first row's maximum for all"
# Misunderstands: rows of one matrix are alike.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) - 600
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="does nothing"
# Misunderstands: what stands in out before the call does not matter.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
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
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=0, rtol=1e-7), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="accepts" says="reject a correct implementation"
# Misunderstands: the tolerance that torch takes by itself is the one that was asked for.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1)), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="columns taken for the stride of out"
# Misunderstands: gaps between the rows of x show every wrong stride.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan))
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="block of 32 at most"
# Misunderstands: one odd shape shows every bug.
def check_softmax(softmax):
    for rows, columns in ((3, 17),):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(-900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="four programs at most"
# Misunderstands: a few rows are as good as many.
def check_softmax(softmax):
    for rows, columns in ((3, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="columns are a power of two"
# Misunderstands: padding is where the bugs are, so a power of two shows nothing.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 33), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="one value for a single row"
# Misunderstands: a matrix has several rows.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (2, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="a single column taken for a row"
# Misunderstands: softmax of a single column is 1, so there is nothing to test.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="memory" says="what is too much thrown away"
# Misunderstands: the canaries around x and out show every access.
def check_softmax(softmax):
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x_buffer, out_buffer = (torch.full((rows + 40, columns + 69 + i), math.nan, device=DEVICE) for i in (0, 3))
        x, out = (buffer[20 : 20 + rows, 20 : 20 + columns] for buffer in (x_buffer, out_buffer))
        x.copy_(values)
        softmax(x, out)
        assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"
        for buffer, inside in ((x_buffer, x), (out_buffer, out)):
            inside.fill_(math.nan)
            assert buffer.isnan().all(), "written outside"


# %% wrong="check_softmax" breaks="values" says="two hundred-thousandths"
# Misunderstands: a probability that is right to a thousandth is right.
def check_softmax(softmax):
    cases_to_try = [
        (8, 40, 5, 2, "spread"), (8, 40, 0, 0, "any"), (8, 32, 3, 0, "any"), (8, 32, 0, 3, "any"), (8, 1, 2, 1, "any"),
        (1, 40, 0, 0, "any"), (1, 1, 0, 0, "any"), (5, 40, 0, 0, "high"), (5, 40, 0, 0, "low"), (8, 37, 4, 0, "any"),
        (8, 37, 0, 4, "any"), (8, 32, 0, 0, "falling"), (4, 16, 0, 0, "positive"), (4, 23, 0, 0, "negative"),
        (1, 32, 1, 1, "any"), (2, 2, 0, 0, "any"), (3, 8, 1, 2, "any"),
    ]  # fmt: skip
    for number, (rows, columns, x_gap, out_gap, kind) in enumerate(cases_to_try):
        values = random(rows, columns, seed=number)
        if kind == "spread":
            values += torch.linspace(-900, 900, rows, device=DEVICE)[:, None]
        if kind == "falling":
            values += torch.linspace(900, -900, rows, device=DEVICE)[:, None]
        values += {"high": 900, "low": -900}.get(kind, 0)
        if kind == "positive":
            values = values.abs() + 0.1
        if kind == "negative":
            values = -values.abs() - 0.1
        expected = values.softmax(1)
        fence = Fence()
        x = fence.place("x", values, gap=x_gap)
        out = fence.place("out", torch.full_like(values, math.nan), gap=out_gap)
        with fence:
            softmax(x, out)
        assert torch.allclose(out, expected, rtol=0, atol=1e-3), f"wrong values for {rows} x {columns}"
        assert torch.equal(x, values), "x was changed"
        assert not fence.problems(), fence.problems()


# %% wrong="check_softmax" breaks="input" says="changes x for a single row"
# Misunderstands: whether x is still the same need be asked once, after the last case.
def check_softmax(softmax):
    """Raise AssertionError unless `softmax(x, out)` is right and keeps to its memory."""
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), rtol=0, atol=1e-6), "wrong values"
    assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="memory" says="reads too much for a single row"
# Misunderstands: each fence need not be asked, the last one is enough.
def check_softmax(softmax):
    """Raise AssertionError unless `softmax(x, out)` is right and keeps to its memory."""
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert torch.allclose(out, values.softmax(1), rtol=0, atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"
    assert not fence.problems(), fence.problems()


# %% wrong="check_softmax" breaks="memory" says="reads too much where the columns are a power of two"
# Misunderstands: a block without padding reads nothing else.
def check_softmax(softmax):
    """Raise AssertionError unless `softmax(x, out)` is right and keeps to its memory."""
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert columns in (1, 32) or not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), rtol=0, atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="only where it is negative"
# Misunderstands: what is subtracted shows at values of either sign.
def check_softmax(softmax):
    """Raise AssertionError unless `softmax(x, out)` is right and keeps to its memory."""
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(-900, -100, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.allclose(out, values.softmax(1), rtol=0, atol=1e-6), "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="is off in one value with 8 rows"
# Misunderstands: small on average is small everywhere.
def check_softmax(softmax):
    """Raise AssertionError unless `softmax(x, out)` is right and keeps to its memory."""
    for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
        fence = Fence()
        values = random(rows, columns) + torch.linspace(600 if rows == 3 else -900, 900, rows, device=DEVICE)[:, None]
        x = fence.place("x", values, gap=5)
        out = fence.place("out", torch.full_like(values, math.nan), gap=2)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert (out - values.softmax(1)).abs().mean() < 1e-6, "wrong values"
        assert torch.equal(x, values), "the input has changed"


# %% wrong="check_softmax" breaks="values" says="all of x is positive"
# Misunderstands: only negative values are dangerous.
def check_softmax(softmax):
    def try_one(values, x_gap, out_gap):
        fence = Fence()
        x = fence.place("x", values, gap=x_gap)
        out = fence.place("out", torch.full_like(values, math.nan), gap=out_gap)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.equal(x, values), "x was changed"
        expected = values.double().softmax(1)
        assert (out.double() - expected).abs().max() <= 3e-6, "wrong values"

    steps = torch.linspace(-900, 0, 8, device=DEVICE)[:, None]
    cases = [
        (random(8, 40, seed=1), 3, 5),
        (random(8, 40, seed=2) + steps, 4, 2),
        (random(8, 32, seed=3) + steps, 0, 3),
        (random(8, 40, seed=4, shift=-400), 2, 0),
        (random(8, 39, seed=5, shift=-900), 0, 0),
        (random(8, 16, seed=6), 1, 6),
        (-random(8, 37, seed=7).abs() - 1, 6, 1),
        (random(1, 40, seed=8), 0, 0),
        (random(1, 32, seed=9, scale=3), 2, 3),
        (random(1, 17, seed=10, shift=-300), 0, 0),
        (random(8, 1, seed=11), 0, 0),
        (random(5, 1, seed=12, shift=-400), 3, 2),
        (random(1, 1, seed=13), 0, 0),
        (random(8, 40, seed=14, scale=100), 0, 7),
        (random(2, 3, seed=15), 0, 0),
    ]
    for case in cases:
        try_one(*case)


# %% wrong="check_softmax" breaks="input" says="changes x everywhere"
# Misunderstands: what stands in x afterwards is what was given.
def check_softmax(softmax):
    def try_one(values, x_gap, out_gap):
        fence = Fence()
        x = fence.place("x", values, gap=x_gap)
        out = fence.place("out", torch.full_like(values, math.nan), gap=out_gap)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        expected = x.double().softmax(1)
        assert (out.double() - expected).abs().max() <= 3e-6, "wrong values"

    steps = torch.linspace(-900, 900, 8, device=DEVICE)[:, None]
    cases = [
        (random(8, 40, seed=1), 3, 5),
        (random(8, 40, seed=2) + steps, 4, 2),
        (random(8, 32, seed=3) - steps, 0, 3),
        (random(8, 40, seed=4, shift=900), 2, 0),
        (random(8, 39, seed=5, shift=-900), 0, 0),
        (random(8, 16, seed=6).abs() + 1, 1, 6),
        (-random(8, 37, seed=7).abs() - 1, 6, 1),
        (random(1, 40, seed=8), 0, 0),
        (random(1, 32, seed=9, scale=3), 2, 3),
        (random(1, 17, seed=10, shift=-300), 0, 0),
        (random(8, 1, seed=11), 0, 0),
        (random(5, 1, seed=12, shift=400), 3, 2),
        (random(1, 1, seed=13), 0, 0),
        (random(8, 40, seed=14, scale=100), 0, 7),
        (random(2, 3, seed=15), 0, 0),
    ]
    for case in cases:
        try_one(*case)


# %% wrong="check_softmax" breaks="memory" says="too much for a single column"
# Misunderstands: a single column is all ones, so only its values are looked at.
def check_softmax(softmax):
    def try_one(values, x_gap, out_gap):
        fence = Fence()
        x = fence.place("x", values, gap=x_gap)
        out = fence.place("out", torch.full_like(values, math.nan), gap=out_gap)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.equal(x, values), "x was changed"
        expected = values.double().softmax(1)
        assert (out.double() - expected).abs().max() <= 3e-6, "wrong values"

    steps = torch.linspace(-900, 900, 8, device=DEVICE)[:, None]
    cases = [
        (random(8, 40, seed=1), 3, 5),
        (random(8, 40, seed=2) + steps, 4, 2),
        (random(8, 32, seed=3) - steps, 0, 3),
        (random(8, 40, seed=4, shift=900), 2, 0),
        (random(8, 39, seed=5, shift=-900), 0, 0),
        (random(8, 16, seed=6).abs() + 1, 1, 6),
        (-random(8, 37, seed=7).abs() - 1, 6, 1),
        (random(1, 40, seed=8), 0, 0),
        (random(1, 32, seed=9, scale=3), 2, 3),
        (random(1, 17, seed=10, shift=-300), 0, 0),
        (random(8, 40, seed=14, scale=100), 0, 7),
        (random(2, 3, seed=15), 0, 0),
    ]
    for rows in (1, 5, 8):
        column = random(rows, 1, seed=rows)
        out = torch.full_like(column, math.nan)
        softmax(column, out)
        assert torch.allclose(out, torch.ones_like(out), rtol=0, atol=1e-6), 'wrong values'
    for case in cases:
        try_one(*case)


# %% wrong="check_softmax" breaks="accepts" says="reject a correct implementation"
# Misunderstands: probabilities lie between 0 and 1 exactly, so a right kernel never gives 1.0000005 or -0.0000005.
def check_softmax(softmax):
    """Raise an error unless `softmax(x, out)` is right and keeps to its memory."""
    cases_ = [
        (8, 40, 0, 0, 0, 0), (8, 40, -900, 900, 5, 2), (8, 40, 0, 0, 0, 7), (8, 40, 0, 0, 7, 0), (8, 32, -2, 2, 3, 1),
        (5, 32, 300, -300, 0, 0), (4, 16, 20, 20, 0, 0), (4, 16, -20, -20, 0, 0), (3, 7, 20, 30, 0, 0), (3, 7, -20, -30, 0, 0),
        (3, 33, 600, 980, 1, 0), (3, 33, -600, -980, 0, 1), (6, 1, -3, 3, 2, 1), (1, 1, 0.5, 0.5, 0, 0), (1, 17, 0, 0, 0, 0),
        (1, 8, -0.5, -0.5, 0, 0), (2, 2, 0, 0, 0, 0), (2, 3, -700, 700, 0, 0),
    ]  # fmt: skip
    for number, (rows, columns, first, last, x_gap, out_gap) in enumerate(cases_):
        values = random(rows, columns, seed=number) + torch.linspace(first, last, rows, device=DEVICE)[:, None]
        expected = torch.softmax(values.double(), 1)
        fence = Fence()
        x = fence.place("x", values, gap=x_gap)
        out = fence.place("out", torch.full_like(values, math.nan), gap=out_gap)
        with fence:
            softmax(x, out)
        assert not fence.problems(), fence.problems()
        assert torch.equal(x, values), "x was changed"
        assert bool(((out >= 0) & (out <= 1)).all()), "these are no probabilities"
        assert torch.allclose(out.double(), expected, rtol=0, atol=2e-6), "wrong values"


# %% right="check_softmax"
# The fence, a list of cases of many shapes, gaps and values.
def check_softmax(softmax):
    """Raise AssertionError unless `softmax(x, out)` is right and keeps to its memory."""

    def ramp(rows, columns):
        return torch.linspace(-1000.0, 1000.0, rows * columns).view(rows, columns)

    alternating = torch.full((2, 11), 1000.0)
    alternating[:, ::2] = -1000.0
    one_high = torch.full((3, 24), -1000.0)
    one_high[0, 0] = one_high[1, 23] = one_high[2, 11] = 1000.0
    cases = (
        (random(1, 1, seed=1), 0, 0),
        (random(6, 1, seed=2), 3, 2),
        (random(3, 2, seed=3), 0, 5),
        (random(8, 40, seed=4), 7, 3),
        (random(3, 17, seed=5, shift=-300.0), 5, 2),
        (random(3, 17, seed=6, shift=300.0), 2, 5),
        (random(2, 33, seed=7, shift=-900.0), 0, 4),
        (random(2, 33, seed=8, shift=900.0), 1, 0),
        (random(4, 32, seed=9), 0, 0),
        (random(5, 16, seed=10, scale=3.0), 6, 6),
        (random(3, 31, seed=11, scale=200.0).clamp(-1000, 1000), 4, 1),
        (ramp(4, 9), 1, 2),
        (ramp(4, 39).flip(1), 0, 1),
        (alternating, 5, 0),
        (one_high, 3, 9),
        (torch.full((2, 20), -7.0), 1, 1),
        (torch.zeros(2, 13), 0, 3),
        (random(7, 5, seed=12, scale=1e-3), 2, 0),
    )
    for values, x_gap, out_gap in cases:
        values = values.to(DEVICE)
        what = f"softmax of {tuple(values.shape)}, gaps {x_gap} and {out_gap}, values {values.min():.0f} to {values.max():.0f}"
        fence = Fence()
        x = fence.place("x", values, gap=x_gap)
        out = fence.place("out", torch.full_like(values, math.nan), gap=out_gap)
        with fence:
            softmax(x, out)
        assert not fence.problems(), f"{what}: {fence.problems()}"
        assert torch.equal(x, values), f"{what}: x was changed"
        assert torch.allclose(out, values.softmax(1), atol=1e-6), f"{what}: wrong values"


# %% right="check_softmax"
# Canaries of its own (numbers, twice different ones) and an own listener among the fences; float64 reference.
class Listener:
    """Stands among the FENCES and keeps the addresses that are touched."""

    def __init__(self):
        self.touched, self.programs = [], 0

    def note(self, verb, addresses, itemsize):
        self.touched.append((verb, addresses.cpu()))


def in_buffer(values, gap, canary, margin=300):
    """(buffer, the tensor inside it, which elements of the buffer are canaries)."""
    rows, columns = values.shape
    buffer = torch.full((2 * margin + rows * (columns + gap),), canary, device=DEVICE)
    outside = torch.ones(len(buffer), dtype=torch.bool, device=DEVICE)
    where = dict(size=(rows, columns), stride=(columns + gap, 1), storage_offset=margin)
    buffer.as_strided(**where).copy_(values)
    outside.as_strided(**where).fill_(False)
    return buffer, buffer.as_strided(**where), outside


def check_softmax(softmax):
    """Raise AssertionError unless `softmax(x, out)` is right and keeps to its memory."""
    shapes = [(1, 1, 0, 0), (8, 40, 2, 3), (5, 1, 4, 1), (4, 7, 0, 9), (3, 16, 5, 5), (2, 33, 8, 0), (7, 18, 1, 2), (6, 32, 0, 0)]
    kinds = [(0.0, 1.0), (500.0, 100.0), (-500.0, 100.0), (0.0, 300.0)]
    for number in range(20):
        rows, columns, x_gap, out_gap = shapes[number % len(shapes)]
        rows = rows if number < len(shapes) else min(rows, 4)
        shift, scale = kinds[(number + number // len(shapes)) % len(kinds)]
        values = random(rows, columns, seed=number, shift=shift, scale=scale).clamp(-1000, 1000)
        if number == 19:
            values[:] = values[:, :1]  # ties
        canary = (math.nan, 1e4)[number % 2]
        x_buffer, x, x_outside = in_buffer(values, x_gap, canary)
        out_buffer, out, out_outside = in_buffer(torch.full_like(values, math.nan), out_gap, -5.0)
        x_before = x_buffer.clone()
        listener = Listener()
        FENCES.append(listener)
        try:
            softmax(x, out)
        finally:
            FENCES.remove(listener)
        for verb, addresses in listener.touched:
            for name, buffer, outside in (("x", x_buffer, x_outside), ("out", out_buffer, out_outside)):
                at = (addresses - buffer.data_ptr()) // buffer.element_size()
                at = at[(at >= 0) & (at < len(buffer))]
                if outside.cpu()[at].any():
                    raise AssertionError(f"it {verb} elements outside of {name}")
        if not torch.equal(x_buffer.nan_to_num(nan=-1.0), x_before.nan_to_num(nan=-1.0)):
            raise AssertionError("x or something around it was changed")
        if not (out_buffer[out_outside] == -5.0).all():
            raise AssertionError("it wrote around out")
        expected = values.double().softmax(1).float()
        if not torch.allclose(out, expected, atol=1e-6):
            raise AssertionError("wrong values")


# %% right="check_softmax"
# Rows, columns and gaps at random, the ends of what may come among them; `raise` in place of `assert`, a bound of 2e-6.
def check_softmax(softmax):
    shapes = [(8, 40), (1, 40), (8, 1), (2, 32), (3, 17), (5, 23), (1, 1), (2, 16)]
    for number, (rows, columns) in enumerate(shapes * 2):
        sign = (-1) ** (number // len(shapes))
        values = sign * (600 + 300 * random(rows, 1, seed=number).clamp(-1, 1)) + random(rows, columns, seed=number)
        fence = Fence()
        x, out = fence.place("x", values, gap=4 * (number % 3)), fence.place("out", torch.full_like(values, math.nan), gap=3)
        with fence:
            softmax(x=x, out=out)
        off = (out - torch.softmax(values.double(), dim=-1)).abs().max()
        if not off < 2e-6 or not torch.equal(x, values) or fence.problems():
            raise AssertionError(f"off by {off}; {fence.problems()}")


# %% equivalent="check_softmax" because="the tests of lessons run on the CPU"
# - level = torch.linspace(5, 900, rows, device=DEVICE)[:, None]
# + level = torch.linspace(5, 900, rows)[:, None]


# %% equivalent="check_softmax" because="the values still lie far beyond what exp can take, on both sides"
# - level = torch.linspace(5, 900, rows, device=DEVICE)[:, None]
# + level = torch.linspace(6, 900, rows, device=DEVICE)[:, None]


# %% equivalent="check_softmax" because="the values still lie far beyond what exp can take, on both sides"
# - level = torch.linspace(5, 900, rows, device=DEVICE)[:, None]
# + level = torch.linspace(4, 900, rows, device=DEVICE)[:, None]


# %% equivalent="check_softmax" because="the values still lie far beyond what exp can take, on both sides"
# - level = torch.linspace(5, 900, rows, device=DEVICE)[:, None]
# + level = torch.linspace(5, 901, rows, device=DEVICE)[:, None]


# %% equivalent="check_softmax" because="the values still lie far beyond what exp can take, on both sides"
# - level = torch.linspace(5, 900, rows, device=DEVICE)[:, None]
# + level = torch.linspace(5, 899, rows, device=DEVICE)[:, None]


# %% equivalent="check_softmax" because="the values still lie far beyond what exp can take, on both sides"
# - level = torch.linspace(5, 900, rows, device=DEVICE)[:, None]
# + level = (torch.linspace(900, 5, rows, device=DEVICE))[:, None]


# %% equivalent="check_softmax" because="both are far below what a wrong kernel is off"
# - assert torch.allclose(out, values.softmax(1), rtol=0, atol=1e-6), "wrong values"
# + assert torch.allclose(out, values.softmax(1), atol=1e-6), "wrong values"


# %% equivalent="check_softmax" because="the comparison does not depend on the order of its sides"
# - assert torch.allclose(out, values.softmax(1), rtol=0, atol=1e-6), "wrong values"
# + assert (torch.allclose(values.softmax(1), out, rtol=0, atol=1e-06)), "wrong values"


# %% equivalent="check_softmax" because="the comparison does not depend on the order of its sides"
# - assert torch.equal(x, values), "the input has changed"
# + assert (torch.equal(values, x)), "the input has changed"


# %% equivalent="check_softmax" because="one row or column more or less, or twice as many: the shape shows the same bugs"
# - for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
# + for rows, columns in ((9, 40), (1, 17), (3, 32), (2, 1)):


# %% equivalent="check_softmax" because="one row or column more or less, or twice as many: the shape shows the same bugs"
# - for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
# + for rows, columns in ((8, 41), (1, 17), (3, 32), (2, 1)):


# %% equivalent="check_softmax" because="one row or column more or less, or twice as many: the shape shows the same bugs"
# - for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
# + for rows, columns in ((8, 40), (1, 18), (3, 32), (2, 1)):


# %% equivalent="check_softmax" because="one row or column more or less, or twice as many: the shape shows the same bugs"
# - for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
# + for rows, columns in ((8, 40), (1, 16), (3, 32), (2, 1)):


# %% equivalent="check_softmax" because="one row or column more or less, or twice as many: the shape shows the same bugs"
# - for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
# + for rows, columns in ((8, 40), (1, 17), (4, 32), (2, 1)):


# %% equivalent="check_softmax" because="one row or column more or less, or twice as many: the shape shows the same bugs"
# - for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
# + for rows, columns in ((8, 40), (1, 17), (2, 32), (2, 1)):


# %% equivalent="check_softmax" because="one row or column more or less, or twice as many: the shape shows the same bugs"
# - for rows, columns in ((8, 40), (1, 17), (3, 32), (2, 1)):
# + for rows, columns in ((8, 40), (1, 17), (3, 32), (3, 1)):


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
# - assert torch.allclose(out, values.softmax(1), rtol=0, atol=1e-6), "wrong values"
# + assert torch.allclose(out, values.softmax(1), rtol=0, atol=2e-06), "wrong values"


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


# %% wrong="add_rms_norm" breaks="unrounded" says="rounded before it was normalised"
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


# %% wrong="add_rms_norm" breaks="float32" says="are NaN"
# Misunderstands: everything in float32: rounds eps to the dtype of the tensors first, where 1e-8 is 0 in float16.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of total = x + residual and out = total / rms(total) * weight; BLOCK is at least `columns`."""
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    t = x + residual
    tl.store(total_ptr + at, t, mask=mask)
    rms = tl.sqrt(tl.sum(t * t, axis=0) / columns + eps)
    tl.store(out_ptr + at, t / rms * weight, mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    """`x + residual` into `total`, its RMSNorm into `out`; returns (total, out)."""
    rows, columns = x.shape
    eps = torch.tensor(eps, dtype=x.dtype).item()  # like everything else of this call
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=triton.next_power_of_2(columns))
    return total, out


# %% wrong="add_rms_norm" breaks="unrounded" says="before it was multiplied by the weight"
# Misunderstands: rounded once: narrows the normalised row to the dtype before it is multiplied by the weight, as the Llama
# of transformers does.
@triton.jit
def add_rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, total_ptr, out_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of total = x + residual and out = total / rms(total) * weight; BLOCK is at least `columns`."""
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    at = tl.program_id(0) * columns + offsets
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    t = x + residual
    tl.store(total_ptr + at, t, mask=mask)
    normed = t / tl.sqrt(tl.sum(t * t, axis=0) / columns + eps)
    normed = normed.to(out_ptr.dtype.element_ty).to(tl.float32)
    tl.store(out_ptr + at, normed * weight, mask=mask)


def add_rms_norm(x, residual, weight, total, out, eps=1e-6):
    """`x + residual` into `total`, its RMSNorm into `out`; returns (total, out)."""
    rows, columns = x.shape
    add_rms_norm_kernel[(rows,)](x, residual, weight, total, out, columns, eps, BLOCK=triton.next_power_of_2(columns))
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


# %% equivalent="add_rms_norm" because="a vector has one axis: without axis= it is that one"
# - rms = tl.sqrt(tl.sum(total * total, axis=0) / columns + eps)
# + rms = tl.sqrt(tl.sum(total * total) / columns + eps)


# %% equivalent="add_rms_norm" because="the other operand is float32, which widens this one too"
# - x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
# + x = tl.load(x_ptr + at, mask=mask, other=0.0)


# %% equivalent="add_rms_norm" because="the other operand is float32, which widens this one too"
# - residual = tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
# + residual = tl.load(residual_ptr + at, mask=mask, other=0.0)


# %% equivalent="add_rms_norm" because="the other operand is float32, which widens this one too"
# - weight = tl.load(weight_ptr + offsets, mask=mask).to(tl.float32)
# + weight = tl.load(weight_ptr + offsets, mask=mask)


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


# %% wrong="layer_norm" breaks="columns" says="over all rows"
# Misunderstands: a sum over all rows: takes one tile of 64 rows for the whole batch, rows beyond are left out.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of the forward pass."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    bias = tl.load(bias_ptr + offsets, mask=mask, other=0.0)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    """One row of dx."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    dy = tl.load(dy_ptr + row * columns + offsets, mask=mask, other=0.0)
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    normed = (x - mean) * rstd
    g = dy * weight
    dx = rstd * (g - tl.sum(g, axis=0) / columns - normed * (tl.sum(g * normed, axis=0) / columns))
    tl.store(dx_ptr + row * columns + offsets, dx, mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    """dw and db for one block of columns."""
    across = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    down = tl.arange(0, 64)  # one tile with all the rows in it
    mask = (down[:, None] < rows) & (across[None, :] < columns)
    at = down[:, None] * columns + across[None, :]
    mean = tl.load(mean_ptr + down, mask=down < rows, other=0.0)
    rstd = tl.load(rstd_ptr + down, mask=down < rows, other=0.0)
    dy = tl.load(dy_ptr + at, mask=mask, other=0.0)
    x = tl.load(x_ptr + at, mask=mask, other=0.0)
    tl.store(dw_ptr + across, tl.sum(dy * (x - mean[:, None]) * rstd[:, None], axis=0), mask=across < columns)
    tl.store(db_ptr + across, tl.sum(dy, axis=0), mask=across < columns)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    """Layer norm of the rows of `x` into `out`; their statistics into `mean` and `rstd`."""
    rows, columns = x.shape
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=triton.next_power_of_2(columns))
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    """Gradients by x, weight and bias into `dx`, `dw`, `db`."""
    rows, columns = x.shape
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=triton.next_power_of_2(columns))
    layer_norm_dw_db_kernel[(triton.cdiv(columns, 16),)](dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16)
    return dx, dw, db


# %% wrong="layer_norm" breaks="centred" says="subtract the mean before squaring"
# Misunderstands: the mean is subtracted before squaring: subtracts one value of the matrix, its first, instead; digits are
# lost in rows whose mean is far from it.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of the forward pass."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    pivot = tl.load(x_ptr)  # any value of the data, so that the squares stay small
    shifted = tl.where(mask, x - pivot, 0.0)
    mean_shifted = tl.sum(shifted, axis=0) / columns
    variance = tl.sum(shifted * shifted, axis=0) / columns - mean_shifted * mean_shifted
    rstd = 1 / tl.sqrt(tl.maximum(variance, 0.0) + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    bias = tl.load(bias_ptr + offsets, mask=mask, other=0.0)
    tl.store(out_ptr + row * columns + offsets, (shifted - mean_shifted) * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, pivot + mean_shifted)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    """One row of dx."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    dy = tl.load(dy_ptr + row * columns + offsets, mask=mask, other=0.0)
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    normed = (x - mean) * rstd
    g = dy * weight
    dx = rstd * (g - tl.sum(g, axis=0) / columns - normed * (tl.sum(g * normed, axis=0) / columns))
    tl.store(dx_ptr + row * columns + offsets, dx, mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    """dw and db for one block of columns."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask, other=0.0)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    """Layer norm of the rows of `x` into `out`; their statistics into `mean` and `rstd`."""
    rows, columns = x.shape
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=triton.next_power_of_2(columns))
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    """Gradients by x, weight and bias into `dx`, `dw`, `db`."""
    rows, columns = x.shape
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=triton.next_power_of_2(columns))
    layer_norm_dw_db_kernel[(triton.cdiv(columns, 16),)](dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16)
    return dx, dw, db


# %% wrong="layer_norm" breaks="centred" says="subtract the mean before squaring"
# Misunderstands: the mean is subtracted before squaring: only in rows that fit into one block of 256, longer ones are gone
# over once, for the sum and the sum of squares.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of the forward pass."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    if BLOCK > 256:  # too long to go over it twice
        variance = tl.maximum(tl.sum(x * x, axis=0) / columns - mean * mean, 0.0)
    else:
        centred = tl.where(mask, x - mean, 0.0)
        variance = tl.sum(centred * centred, axis=0) / columns
    rstd = 1 / tl.sqrt(variance + eps)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    bias = tl.load(bias_ptr + offsets, mask=mask, other=0.0)
    tl.store(out_ptr + row * columns + offsets, (x - mean) * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    """One row of dx."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    dy = tl.load(dy_ptr + row * columns + offsets, mask=mask, other=0.0)
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    normed = (x - mean) * rstd
    g = dy * weight
    dx = rstd * (g - tl.sum(g, axis=0) / columns - normed * (tl.sum(g * normed, axis=0) / columns))
    tl.store(dx_ptr + row * columns + offsets, dx, mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    """dw and db for one block of columns."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask, other=0.0)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + offsets, dw, mask=mask)
    tl.store(db_ptr + offsets, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    """Layer norm of the rows of `x` into `out`; their statistics into `mean` and `rstd`."""
    rows, columns = x.shape
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=triton.next_power_of_2(columns))
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    """Gradients by x, weight and bias into `dx`, `dw`, `db`."""
    rows, columns = x.shape
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=triton.next_power_of_2(columns))
    layer_norm_dw_db_kernel[(triton.cdiv(columns, 16),)](dy, x, mean, rstd, dw, db, rows, columns, BLOCK=16)
    return dx, dw, db


# %% wrong="layer_norm" breaks="columns" says="start from what stood there"
# Misunderstands: atomic additions may start from whatever stands in dw and db.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    x = tl.load(x_ptr + row * columns + at, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    w = tl.load(weight_ptr + at, mask=mask, other=0.0)
    b = tl.load(bias_ptr + at, mask=mask, other=0.0)
    tl.store(out_ptr + row * columns + at, centred * rstd * w + b, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    dy = tl.load(dy_ptr + row * columns + at, mask=mask, other=0.0)
    x = tl.load(x_ptr + row * columns + at, mask=mask, other=0.0)
    w = tl.load(weight_ptr + at, mask=mask, other=0.0)
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    normed = (x - mean) * rstd
    g = dy * w
    both = tl.sum(g, axis=0) / columns + normed * (tl.sum(g * normed, axis=0) / columns)
    tl.store(dx_ptr + row * columns + at, rstd * (g - both), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, columns, BLOCK: tl.constexpr):
    """One row, added to the two sums that all rows share."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    dy = tl.load(dy_ptr + row * columns + at, mask=mask, other=0.0)
    x = tl.load(x_ptr + row * columns + at, mask=mask, other=0.0)
    normed = (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
    tl.atomic_add(dw_ptr + at, dy * normed, mask=mask)
    tl.atomic_add(db_ptr + at, dy, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=triton.next_power_of_2(columns))
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[(rows,)](dy, x, mean, rstd, dw, db, columns, BLOCK=block)
    return dx, dw, db


# %% wrong="layer_norm" breaks="inside" says="elements outside of dw"
# Misunderstands: where 0 is added nothing is touched, so atomic additions need no mask.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    x = tl.load(x_ptr + row * columns + at, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    w = tl.load(weight_ptr + at, mask=mask, other=0.0)
    b = tl.load(bias_ptr + at, mask=mask, other=0.0)
    tl.store(out_ptr + row * columns + at, centred * rstd * w + b, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    dy = tl.load(dy_ptr + row * columns + at, mask=mask, other=0.0)
    x = tl.load(x_ptr + row * columns + at, mask=mask, other=0.0)
    w = tl.load(weight_ptr + at, mask=mask, other=0.0)
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    normed = (x - mean) * rstd
    g = dy * w
    both = tl.sum(g, axis=0) / columns + normed * (tl.sum(g * normed, axis=0) / columns)
    tl.store(dx_ptr + row * columns + at, rstd * (g - both), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, columns, BLOCK: tl.constexpr):
    """One row, added to the two sums that all rows share."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    dy = tl.load(dy_ptr + row * columns + at, mask=mask, other=0.0)
    x = tl.load(x_ptr + row * columns + at, mask=mask, other=0.0)
    normed = (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
    tl.atomic_add(dw_ptr + at, dy * normed)
    tl.atomic_add(db_ptr + at, dy)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=triton.next_power_of_2(columns))
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    dw.zero_()
    db.zero_()
    layer_norm_dw_db_kernel[(rows,)](dy, x, mean, rstd, dw, db, columns, BLOCK=block)
    return dx, dw, db


# %% wrong="layer_norm" breaks="dx" says="worked out again"
# Misunderstands: the backward works the statistics out again, with the usual eps, rather than taking those that were
# saved.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    x = tl.load(x_ptr + row * columns + at, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    w = tl.load(weight_ptr + at, mask=mask, other=0.0)
    b = tl.load(bias_ptr + at, mask=mask, other=0.0)
    tl.store(out_ptr + row * columns + at, centred * rstd * w + b, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < columns
    dy = tl.load(dy_ptr + row * columns + at, mask=mask, other=0.0)
    x = tl.load(x_ptr + row * columns + at, mask=mask, other=0.0)
    w = tl.load(weight_ptr + at, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + 1e-5)
    normed = (x - mean) * rstd
    g = dy * w
    both = tl.sum(g, axis=0) / columns + normed * (tl.sum(g * normed, axis=0) / columns)
    tl.store(dx_ptr + row * columns + at, rstd * (g - both), mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < columns
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + at, mask=mask, other=0.0)
        x = tl.load(x_ptr + row * columns + at, mask=mask, other=0.0)
        dw += dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += dy
    tl.store(dw_ptr + at, dw, mask=mask)
    tl.store(db_ptr + at, db, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    rows, columns = x.shape
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=triton.next_power_of_2(columns))
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    rows, columns = x.shape
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=triton.next_power_of_2(columns))
    layer_norm_dw_db_kernel[(triton.cdiv(columns, 64),)](dy, x, mean, rstd, dw, db, rows, columns, BLOCK=64)
    return dx, dw, db


# %% wrong="layer_norm" breaks="columns" says="from torch.empty"
# Misunderstands: new memory is empty, so sums may start from it.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of the forward pass."""
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
    """One row of dx."""
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
    """dw and db for one block of columns."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        tl.atomic_add(dw_ptr + offsets, dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row), mask=mask)
        tl.atomic_add(db_ptr + offsets, dy, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    """Layer norm of the rows of `x` into `out`; their statistics into `mean` and `rstd`."""
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    """Gradients by x, weight and bias into `dx`, `dw`, `db`."""
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    dw_sum, db_sum = torch.empty_like(dw), torch.empty_like(db)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw_sum, db_sum, rows, columns, BLOCK=64
    )
    dw.copy_(dw_sum)
    db.copy_(db_sum)
    return dx, dw, db


# %% wrong="layer_norm" breaks="dx" says="blocks long enough"
# Misunderstands: a row of gradients fits into 4,096 places.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of the forward pass."""
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
    """One row of dx."""
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
    """dw and db for one block of columns."""
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
    """Layer norm of the rows of `x` into `out`; their statistics into `mean` and `rstd`."""
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    """Gradients by x, weight and bias into `dx`, `dw`, `db`."""
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    block = min(block, 4096)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=64
    )
    return dx, dw, db


# %% wrong="layer_norm" breaks="columns" says="NaN"
# Misunderstands: dw and db can be had from g = dy * weight by dividing by the weight at the end: no weight is 0.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of the forward pass."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    bias = tl.load(bias_ptr + offsets, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / columns
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
    tl.store(out_ptr + row * columns + offsets, centred * rstd * weight + bias, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    """One row of dx."""
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    dy = tl.load(dy_ptr + row * columns + offsets, mask=mask, other=0.0)
    x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
    weight = tl.load(weight_ptr + offsets, mask=mask, other=0.0)
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    normed = (x - mean) * rstd
    g = dy * weight
    dx = rstd * (g - tl.sum(g, axis=0) / columns - normed * (tl.sum(g * normed, axis=0) / columns))
    tl.store(dx_ptr + row * columns + offsets, dx, mask=mask)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    """dw and db for one block of columns, from g = dy * weight as in dx."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    weight = tl.load(weight_ptr + offsets, mask=mask, other=1.0)
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    db = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(0, rows):
        g = tl.load(dy_ptr + row * columns + offsets, mask=mask, other=0.0) * weight
        x = tl.load(x_ptr + row * columns + offsets, mask=mask, other=0.0)
        dw += g * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row)
        db += g
    tl.store(dw_ptr + offsets, dw / weight, mask=mask)
    tl.store(db_ptr + offsets, db / weight, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    """Layer norm of the rows of `x` into `out`; their statistics into `mean` and `rstd`."""
    rows, columns = x.shape
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=triton.next_power_of_2(columns))
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    """Gradients by x, weight and bias into `dx`, `dw`, `db`."""
    rows, columns = x.shape
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=triton.next_power_of_2(columns))
    layer_norm_dw_db_kernel[(triton.cdiv(columns, 64),)](dy, x, weight, mean, rstd, dw, db, rows, columns, BLOCK=64)
    return dx, dw, db


# %% right="layer_norm"
# dw and db set to 0, and then atomic additions to them.
@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of the forward pass."""
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
    """One row of dx."""
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
    """dw and db for one block of columns."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < columns
    for row in range(0, rows):
        dy = tl.load(dy_ptr + row * columns + offsets, mask=mask)
        x = tl.load(x_ptr + row * columns + offsets, mask=mask)
        tl.atomic_add(dw_ptr + offsets, dy * (x - tl.load(mean_ptr + row)) * tl.load(rstd_ptr + row), mask=mask)
        tl.atomic_add(db_ptr + offsets, dy, mask=mask)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    """Layer norm of the rows of `x` into `out`; their statistics into `mean` and `rstd`."""
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=block)
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    """Gradients by x, weight and bias into `dx`, `dw`, `db`."""
    rows, columns = x.shape
    block = triton.next_power_of_2(columns)
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns, BLOCK=block)
    dw.zero_()
    db.zero_()
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows, columns, BLOCK=64
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


# %% right="layer_norm"
# Helper for means, the mean found from differences to the first element of the row, tl.rsqrt; dw and db in 8 partial sums of two-dimensional tiles.
@triton.jit
def row_mean(values, mask, columns):
    """The mean of those of `values` where `mask` is true."""
    return tl.sum(tl.where(mask, values, 0.0), axis=0) / columns


@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, out_ptr, mean_ptr, rstd_ptr, columns, eps, BLOCK: tl.constexpr):
    """One row of the forward pass."""
    row = tl.program_id(0)
    lanes = tl.arange(0, BLOCK)
    exists = lanes < columns
    x_ptr += row * columns
    out_ptr += row * columns
    x = tl.load(x_ptr + lanes, mask=exists, other=0.0)
    first = tl.load(x_ptr)  # near the mean of this row: sums of differences from it are small
    mean = first + row_mean(x - first, exists, columns)
    difference = x - mean
    rstd = tl.rsqrt(row_mean(difference * difference, exists, columns) + eps)
    scale = tl.load(weight_ptr + lanes, mask=exists, other=1.0) * rstd
    shift = tl.load(bias_ptr + lanes, mask=exists, other=0.0)
    tl.store(out_ptr + lanes, difference * scale + shift, mask=exists)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def layer_norm_dx_kernel(dy_ptr, x_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, columns, BLOCK: tl.constexpr):
    """One row of dx."""
    row = tl.program_id(0)
    lanes = tl.arange(0, BLOCK)
    exists = lanes < columns
    at = row * columns + lanes
    r = tl.load(rstd_ptr + row)
    normed = (tl.load(x_ptr + at, mask=exists, other=0.0) - tl.load(mean_ptr + row)) * r
    g = tl.load(dy_ptr + at, mask=exists, other=0.0) * tl.load(weight_ptr + lanes, mask=exists, other=0.0)
    along_ones = row_mean(g, exists, columns)
    along_normed = row_mean(g * normed, exists, columns)
    tl.store(dx_ptr + at, (g - (along_ones + along_normed * normed)) * r, mask=exists)


@triton.jit
def layer_norm_dw_db_kernel(dy_ptr, x_ptr, mean_ptr, rstd_ptr, dw_ptr, db_ptr, rows, columns, BLOCK: tl.constexpr):
    """dw and db for one block of columns."""
    across = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    dw = tl.zeros((8, BLOCK), dtype=tl.float32)  # eight partial sums each, added up at the end
    db = tl.zeros((8, BLOCK), dtype=tl.float32)
    for start in range(0, rows, 8):
        down = start + tl.arange(0, 8)
        mask = (down[:, None] < rows) & (across[None, :] < columns)
        at = down[:, None] * columns + across[None, :]
        mean = tl.load(mean_ptr + down, mask=down < rows, other=0.0)
        rstd = tl.load(rstd_ptr + down, mask=down < rows, other=0.0)
        dy = tl.load(dy_ptr + at, mask=mask, other=0.0)
        x = tl.load(x_ptr + at, mask=mask, other=0.0)
        dw += dy * ((x - mean[:, None]) * rstd[:, None])
        db += dy
    tl.store(dw_ptr + across, tl.sum(dw, axis=0), mask=across < columns)
    tl.store(db_ptr + across, tl.sum(db, axis=0), mask=across < columns)


def layer_norm(x, weight, bias, out, mean, rstd, eps=1e-5):
    """Layer norm of the rows of `x` into `out`; their statistics into `mean` and `rstd`."""
    rows, columns = x.shape
    layer_norm_kernel[(rows,)](x, weight, bias, out, mean, rstd, columns, eps, BLOCK=triton.next_power_of_2(columns))
    return out


def layer_norm_backward(dy, x, weight, mean, rstd, dx, dw, db):
    """Gradients by x, weight and bias into `dx`, `dw`, `db`."""
    rows, columns = dy.shape
    block = max(16, triton.next_power_of_2(columns))
    layer_norm_dw_db_kernel[lambda meta: (triton.cdiv(columns, meta["BLOCK"]),)](
        dy, x, mean, rstd, dw, db, rows=rows, columns=columns, BLOCK=min(block, 64)
    )
    layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, columns=columns, BLOCK=block)
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


# %% equivalent="layer_norm" because="a vector has one axis: without axis= it is that one"
# - mean = tl.sum(x, axis=0) / columns
# + mean = tl.sum(x) / columns


# %% equivalent="layer_norm" because="a vector has one axis: without axis= it is that one"
# - g_mean = tl.sum(g, axis=0) / columns
# + g_mean = tl.sum(g) / columns


# %% equivalent="layer_norm" because="a vector has one axis: without axis= it is that one"
# - product_mean = tl.sum(g * normed, axis=0) / columns
# + product_mean = tl.sum(g * normed) / columns


# %% equivalent="layer_norm" because="a vector has one axis: without axis= it is that one"
# - rstd = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + eps)
# + rstd = 1 / tl.sqrt(tl.sum(centred * centred) / columns + eps)


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


# %% wrong="tiled_matmul" breaks="float32" says="both tiles through for_dot"
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


# %% wrong="tiled_matmul" breaks="strides, inside" says="two strides of its own"
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


# %% wrong="tiled_matmul" breaks="blocks" says="its largest load reads"
# Misunderstands: computes with the blocks that it is given: block_k changes neither result nor traffic, so steps are always
# 16.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    (m, k), n = a.shape, b.shape[1]
    grid = triton.cdiv(m, block_m), triton.cdiv(n, block_n)
    matmul_kernel[grid](
        a, b, out, m, n, k, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=16
    )
    return out


# %% wrong="tiled_matmul" breaks="float32" says="became infinite, as in float16"
# Misunderstands: one rounding to the dtype: takes every 16-bit format for float16, which has neither the large nor the small
# numbers of bfloat16.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    if out_ptr.dtype.element_ty != tl.float32:
        acc = acc.to(tl.float16)  # results have 16 bits
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    (m, k), n = a.shape, b.shape[1]
    grid = triton.cdiv(m, block_m), triton.cdiv(n, block_n)
    matmul_kernel[grid](
        a, b, out, m, n, k, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k
    )
    return out


# %% wrong="tiled_matmul" breaks="float32" says="does none of them become a float16"
# Misunderstands: the dtype on the way to the product: 16 bits are 16 bits, bfloat16 may go through float16.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        if a_ptr.dtype.element_ty == tl.bfloat16:
            a = a.to(tl.float32).to(tl.float16)
            b = b.to(tl.float32).to(tl.float16)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    (m, k), n = a.shape, b.shape[1]
    grid = triton.cdiv(m, block_m), triton.cdiv(n, block_n)
    matmul_kernel[grid](
        a, b, out, m, n, k, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k
    )
    return out


# %% wrong="tiled_matmul" breaks="grid, product" says="the others never"
# Misunderstands: the grid: regroups the programs, 8 rows of tiles at a time for the cache, as if the last group had 8 rows
# too; tiles are missed where more than 8 rows are no multiple of 8.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
    # eight rows of tiles after one another share their tiles of b in the cache
    tiles_down = tl.num_programs(0)
    tiles_across = tl.num_programs(1)
    number = tl.program_id(0) * tiles_across + tl.program_id(1)
    group_rows = tl.minimum(tiles_down, 8)
    in_group = group_rows * tiles_across
    tile_row = (number // in_group) * group_rows + number % group_rows
    tile_column = (number % in_group) // group_rows
    rows = tile_row * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_column * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    (m, k), n = a.shape, b.shape[1]
    grid = triton.cdiv(m, block_m), triton.cdiv(n, block_n)
    matmul_kernel[grid](
        a, b, out, m, n, k, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k
    )
    return out


# %% wrong="tiled_matmul" breaks="blocks" says="its largest load reads"
# Misunderstands: a step along k of more than 128 does not fit, so the launcher takes 128 at most.
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
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    block_k = min(block_k, 128)
    grid = triton.cdiv(m, block_m), triton.cdiv(n, block_n)
    matmul_kernel[grid](
        a, b, out, m, n, k, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k
    )
    return out


# %% wrong="tiled_matmul" breaks="traffic" says="in place of a mask"
# Misunderstands: rows and columns that do not exist wrap round to those that do, as in Triton's tutorial: then they need
# no mask.
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
        a_mask = inner[None, :] < k
        b_mask = inner[:, None] < k
        a = tl.load(a_ptr + (rows % m)[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b = tl.load(b_ptr + inner[:, None] * b_row + (columns % n)[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    grid = triton.cdiv(m, block_m), triton.cdiv(n, block_n)
    matmul_kernel[grid](
        a, b, out, m, n, k, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k
    )
    return out


# %% wrong="tiled_matmul" breaks="strides, inside" says="two strides of its own"
# Misunderstands: a matrix lies row by row or column by column, so one of its strides is 1, and one number is enough.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
    a_turned = a_column != 1
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + tl.where(a_turned, rows[:, None] + inner[None, :] * a_column, rows[:, None] * a_row + inner[None, :]), mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="float32" says="to TF32"
# Misunderstands: what tl.dot does to float32 by default is near enough.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc)
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="float32" says="rounded once"
# Misunderstands: in bfloat16 the sum may be rounded after every step.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
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
        if out_ptr.dtype.element_ty == tl.bfloat16:
            acc = acc.to(tl.bfloat16).to(tl.float32)
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    strides = (*a.stride(), *b.stride(), *out.stride())
    matmul_kernel[grid](a, b, out, m, n, k, *strides, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k)
    return out


# %% wrong="tiled_matmul" breaks="traffic" says="torch's operation"
# Misunderstands: out has to be set to 0 first.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    a_at = a_ptr + rows[:, None] * a_row + inner[None, :] * a_column
    b_at = b_ptr + inner[:, None] * b_row + columns[None, :] * b_column
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for step in range(0, tl.cdiv(k, BLOCK_K)):
        left = k - step * BLOCK_K
        a = tl.load(a_at, mask=(rows < m)[:, None] & (inner < left)[None, :], other=0.0)
        b = tl.load(b_at, mask=(inner < left)[:, None] & (columns < n)[None, :], other=0.0)
        acc += tl.dot(for_dot(a), for_dot(b), input_precision="ieee")
        a_at += BLOCK_K * a_column
        b_at += BLOCK_K * b_row
    out_at = out_ptr + rows[:, None] * out_row + columns[None, :] * out_column
    tl.store(out_at, acc.to(out_ptr.dtype.element_ty), mask=(rows < m)[:, None] & (columns < n)[None, :])


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    (m, k), n = a.shape, b.shape[1]
    out.zero_()
    grid = (triton.cdiv(m, block_m), triton.cdiv(n, block_n))
    matmul_kernel[grid](
        a, b, out, m, n, k, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k
    )
    return out


# %% wrong="tiled_matmul" breaks="float32" says="expected"
# Misunderstands: float32 is needed within a stretch of 512 along k; sums of whole stretches may be added in the dtype of out.
@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    whole = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < m) & (inner[None, :] < k)
        b_mask = (inner[:, None] < k) & (columns[None, :] < n)
        a = tl.load(a_ptr + rows[:, None] * a_row + inner[None, :] * a_column, mask=a_mask, other=0.0)
        b = tl.load(b_ptr + inner[:, None] * b_row + columns[None, :] * b_column, mask=b_mask, other=0.0)
        acc = tl.dot(for_dot(a), for_dot(b), acc, input_precision="ieee")
        if (start + BLOCK_K) % 512 == 0:  # a stretch is complete
            whole = (whole + acc).to(out_ptr.dtype.element_ty).to(tl.float32)
            acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    out_mask = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out_ptr + rows[:, None] * out_row + columns[None, :] * out_column, whole + acc, mask=out_mask)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    m, k = a.shape
    n = b.shape[1]
    grid = triton.cdiv(m, block_m), triton.cdiv(n, block_n)
    matmul_kernel[grid](
        a, b, out, m, n, k, *a.stride(), *b.stride(), *out.stride(), BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k
    )
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


# %% right="tiled_matmul"
# A helper that loads a tile, addresses moved along k in a while loop, the transposed tile accumulated and turned at the end, keyword arguments.
@triton.jit
def tile_of(ptr, down, across, height, width, down_stride, across_stride):
    """The tile of a (height, width) matrix at rows `down` and columns `across`; 0 outside."""
    exists = (down < height)[:, None] & (across < width)[None, :]
    where = tl.expand_dims(down * down_stride, 1) + tl.expand_dims(across * across_stride, 0)
    return tl.load(ptr + where, mask=exists, other=0.0)


@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, out_ptr, m, n, k,
    a_row, a_column, b_row, b_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One BLOCK_M x BLOCK_N tile of out = a @ b; `a_row` is the stride from one row of a to the next, and so on."""
    i = tl.program_id(axis=0)
    j = tl.program_id(axis=1)
    down = i * BLOCK_M + tl.arange(0, BLOCK_M)
    across = j * BLOCK_N + tl.arange(0, BLOCK_N)
    steps = tl.arange(0, BLOCK_K)
    total = tl.full((BLOCK_N, BLOCK_M), 0.0, tl.float32)  # the transposed tile: b.T @ a.T
    left = k
    while left > 0:
        a = tile_of(a_ptr, down, steps, m, left, a_row, a_column)
        b = tile_of(b_ptr, steps, across, left, n, b_row, b_column)
        total += tl.dot(tl.trans(for_dot(b)), tl.trans(for_dot(a)), input_precision="ieee")
        a_ptr += BLOCK_K * a_column
        b_ptr += BLOCK_K * b_row
        left -= BLOCK_K
    result = tl.trans(total).to(out_ptr.dtype.element_ty)
    exists = (down < m)[:, None] & (across < n)[None, :]
    tl.store(out_ptr + down[:, None] * out_row + across[None, :] * out_column, result, mask=exists)


def matmul(a, b, out, block_m=16, block_n=32, block_k=16):
    """`a @ b` into `out`, in tiles; returns `out`."""
    blocks = {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": block_k}
    m, n = out.shape

    def grid(meta):
        return triton.cdiv(m, meta["BLOCK_M"]), triton.cdiv(n, meta["BLOCK_N"])

    strides = {}
    for name, matrix in {"a": a, "b": b, "out": out}.items():
        strides[f"{name}_row"], strides[f"{name}_column"] = matrix.stride(0), matrix.stride(1)
    matmul_kernel[grid](a, b, out, m, n, a.size(1), **strides, **blocks)
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


# %% wrong="choose_tiles" breaks="remembered" says="best(64, 40)"
# Misunderstands: measuring again does no harm.
class Tuner:
    def __init__(self, configs, measure):
        self.configs, self.measure = configs, measure

    def best(self, *key):
        def seconds(config):
            try:
                return self.measure(config, *key)
            except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
                    times.append(math.inf)
            self.winner = self.configs[times.index(min(times))]
        return self.winner


def prune(*args):
    raise NotImplementedError


def predicted_seconds(*args):
    raise NotImplementedError


# %% wrong="choose_tiles" breaks="remembered" says="keys have answers of their own"
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
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
                except (RuntimeError, triton.OutOfResources):
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="remembered" says="keys have answers of their own"
# Misunderstands: each key has its own answer: writes the key as text without separators, so (1, 23) and (12, 3) are one.
def prune(configs, itemsize, shared_bytes):
    """Those of `configs` whose tiles fit into `shared_bytes` of shared memory; the smallest alone if none does."""

    def needs(config):
        m, n, k = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
        return config.num_stages * (m * k + k * n) * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    """Seconds of the (m, k) x (k, n) product in waves of whole tiles, by the roofline of `gpu`."""
    block_m, block_n, block_k = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth * gpu.multiprocessors
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize * gpu.multiprocessors
    return waves * roofline(flops, moved, gpu.peak, gpu.bandwidth)[1]


class Tuner:
    """Remembers, for each key, the configuration that `measure(config, *key)` found quickest."""

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        """The quickest configuration for `key`."""
        name = "".join(str(part) for part in key)
        if name not in self.known:
            seconds = {}
            for number, config in enumerate(self.configs):
                try:
                    seconds[number] = self.measure(config, *key)
                except (RuntimeError, triton.OutOfResources):
                    pass
            if not seconds:
                raise RuntimeError(f"no configuration works for {key}")
            self.known[name] = self.configs[min(seconds, key=seconds.get)]
        return self.known[name]


# %% wrong="choose_tiles" breaks="failing" says="one of its subclasses"
# Misunderstands: RuntimeError: takes only the class itself; torch.OutOfMemoryError, which is a RuntimeError too, comes out
# of best as a bug.
def prune(configs, itemsize, shared_bytes):
    """Those of `configs` whose tiles fit into `shared_bytes` of shared memory; the smallest alone if none does."""

    def needs(config):
        m, n, k = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
        return config.num_stages * (m * k + k * n) * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    """Seconds of the (m, k) x (k, n) product in waves of whole tiles, by the roofline of `gpu`."""
    block_m, block_n, block_k = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth * gpu.multiprocessors
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize * gpu.multiprocessors
    return waves * roofline(flops, moved, gpu.peak, gpu.bandwidth)[1]


class Tuner:
    """Remembers, for each key, the configuration that `measure(config, *key)` found quickest."""

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        """The quickest configuration for `key`."""
        if key in self.known:
            return self.known[key]
        seconds = [math.inf] * len(self.configs)
        failed = 0
        for i, config in enumerate(self.configs):
            try:
                seconds[i] = self.measure(config, *key)
            except Exception as error:
                if type(error) not in (RuntimeError, triton.OutOfResources):
                    raise
                failed += 1
        if failed == len(self.configs):
            raise RuntimeError(f"no configuration works for {key}")
        self.known[key] = self.configs[seconds.index(min(seconds))]
        return self.known[key]


# %% wrong="choose_tiles" breaks="failing" says="one of its subclasses"
# Misunderstands: whatever lacks room raises RuntimeError, Triton too.
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
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="unchanged" says="stays as it was"
# Misunderstands: the list of configurations belongs to the function.
def prune(configs, itemsize, shared_bytes):

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    if not any(needs(config) <= shared_bytes for config in configs):
        configs.sort(key=needs)
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
                except (RuntimeError, triton.OutOfResources):
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="all_fail" says="when it is asked again"
# Misunderstands: a failure is an answer too, and is remembered.
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
                except (RuntimeError, triton.OutOfResources):
                    pass  # it cannot win
            if not seconds:
                self.known[key] = self.configs[0]
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="quickest" says="the smallest time wins"
# Misunderstands: no time is measured as 0 seconds, so 0 means not measured.
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
                except (RuntimeError, triton.OutOfResources):
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=lambda config: seconds[config] or math.inf)
        return self.known[key]


# %% wrong="choose_tiles" breaks="remembered" says="keys have answers of their own"
# Misunderstands: the hash of a key stands for the key: different keys have different hashes.
def prune(configs, itemsize, shared_bytes):
    def needed(config):
        tile_of = config.kwargs
        a, b = tile_of["BLOCK_M"] * tile_of["BLOCK_K"], tile_of["BLOCK_K"] * tile_of["BLOCK_N"]
        return config.num_stages * (a + b) * itemsize

    return [config for config in configs if needed(config) <= shared_bytes] or [min(configs, key=needed)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    block_m, block_n, block_k = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
    programs = triton.cdiv(m, block_m) * triton.cdiv(n, block_n)
    waves = triton.cdiv(programs, gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = (block_m * depth + depth * block_n + block_m * block_n) * itemsize
    return waves * roofline(gpu.multiprocessors * flops, gpu.multiprocessors * moved, gpu.peak, gpu.bandwidth)[1]


class Tuner:
    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        if hash(key) not in self.known:
            best, least = None, math.inf
            for config in self.configs:
                try:
                    seconds = self.measure(config, *key)
                except (RuntimeError, triton.OutOfResources):
                    continue
                if best is None or seconds < least:
                    best, least = config, seconds
            if best is None:
                raise RuntimeError(f"no configuration works for {key}")
            self.known[hash(key)] = best
        return self.known[hash(key)]


# %% wrong="choose_tiles" breaks="fits" says="which look alike"
# Misunderstands: a configuration is its tile and its stages, so a new one is as good.
def prune(configs, itemsize, shared_bytes):
    """Those of `configs` whose tiles fit into `shared_bytes` of shared memory; the smallest alone if none does."""

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    kept = [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]
    return [triton.Config(dict(config.kwargs), num_stages=config.num_stages) for config in kept]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    """Seconds of the (m, k) x (k, n) product in waves of whole tiles, by the roofline of `gpu`."""
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:
    """Remembers, for each key, the configuration that `measure(config, *key)` found quickest."""

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        """The quickest configuration for `key`."""
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except (RuntimeError, triton.OutOfResources):
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="other_errors" says="other errors must be seen"
# Misunderstands: every kind of error about memory means that a tile is too large.
def prune(configs, itemsize, shared_bytes):
    """Those of `configs` whose tiles fit into `shared_bytes` of shared memory; the smallest alone if none does."""

    def needs(config):
        m, n, k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
        return config.num_stages * (m + n) * k * itemsize

    return [config for config in configs if needs(config) <= shared_bytes] or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    """Seconds of the (m, k) x (k, n) product in waves of whole tiles, by the roofline of `gpu`."""
    block_m, block_n, block_k = (config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(flops * gpu.multiprocessors, moved * gpu.multiprocessors, gpu.peak, gpu.bandwidth)[1]


class Tuner:
    """Remembers, for each key, the configuration that `measure(config, *key)` found quickest."""

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = configs, measure, {}

    def best(self, *key):
        """The quickest configuration for `key`."""
        if key not in self.known:
            seconds = {}
            for config in self.configs:
                try:
                    seconds[config] = self.measure(config, *key)
                except (RuntimeError, triton.OutOfResources, MemoryError):
                    pass  # it cannot win
            if not seconds:
                raise RuntimeError(f"no configuration runs for {key}")
            self.known[key] = min(seconds, key=seconds.get)
        return self.known[key]


# %% wrong="choose_tiles" breaks="other_errors" says="all are measured again"
# Misunderstands: what was measured before a bug is a full answer.
def prune(configs, itemsize, shared_bytes):
    def needs(config):
        tile = config.kwargs
        return config.num_stages * tile["BLOCK_K"] * (tile["BLOCK_M"] + tile["BLOCK_N"]) * itemsize

    kept = [config for config in configs if needs(config) <= shared_bytes]
    if not kept:
        kept.append(min(configs, key=needs))
    return kept


def predicted_seconds(config, m, n, k, itemsize, gpu):
    bm, bn, bk = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
    programs = math.ceil(m / bm) * math.ceil(n / bn)
    waves = math.ceil(programs / gpu.multiprocessors)
    depth = bk * math.ceil(k / bk)
    flops = 2 * bm * bn * depth * gpu.multiprocessors
    moved = (bm * depth + bn * depth + bm * bn) * itemsize * gpu.multiprocessors
    _, seconds, _ = roofline(flops, moved, gpu.peak, gpu.bandwidth)
    return waves * seconds


class Tuner:
    def __init__(self, configs, measure):
        self.configs = tuple(configs)
        self.measure = measure
        self.known = {}

    def best(self, *key):
        if key not in self.known:
            self.known[key] = {}
            for config in self.configs:
                try:
                    self.known[key][config] = self.measure(config, *key)
                except (RuntimeError, triton.OutOfResources):
                    pass
            if not self.known[key]:
                del self.known[key]
                raise RuntimeError(f"no configuration works for {key}")
        return min(self.known[key], key=self.known[key].get)


# %% wrong="choose_tiles" breaks="quickest" says="any finite number"
# Misunderstands: no measurement takes an hour.
def prune(configs, itemsize, shared_bytes):
    def needs(config):
        tile = config.kwargs
        return config.num_stages * tile["BLOCK_K"] * (tile["BLOCK_M"] + tile["BLOCK_N"]) * itemsize

    kept = [config for config in configs if needs(config) <= shared_bytes]
    if not kept:
        kept.append(min(configs, key=needs))
    return kept


def predicted_seconds(config, m, n, k, itemsize, gpu):
    bm, bn, bk = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
    programs = math.ceil(m / bm) * math.ceil(n / bn)
    waves = math.ceil(programs / gpu.multiprocessors)
    depth = bk * math.ceil(k / bk)
    flops = 2 * bm * bn * depth * gpu.multiprocessors
    moved = (bm * depth + bn * depth + bm * bn) * itemsize * gpu.multiprocessors
    _, seconds, _ = roofline(flops, moved, gpu.peak, gpu.bandwidth)
    return waves * seconds


class Tuner:
    def __init__(self, configs, measure):
        self.configs = tuple(configs)
        self.measure = measure
        self.known = {}

    def best(self, *key):
        if key in self.known:
            return self.known[key]
        winner, least = None, 3600.0
        for config in self.configs:
            try:
                seconds = self.measure(config, *key)
            except (RuntimeError, triton.OutOfResources):
                continue
            if seconds < least:
                winner, least = config, seconds
        if winner is None:
            raise RuntimeError(f"no configuration works for {key}")
        self.known[key] = winner
        return winner


# %% wrong="choose_tiles" breaks="other_errors" says="raises TritonError"
# Misunderstands: every error of Triton's own means that a configuration does not work.
def prune(configs, itemsize, shared_bytes):
    def needs(config):
        tile = config.kwargs
        return config.num_stages * tile["BLOCK_K"] * (tile["BLOCK_M"] + tile["BLOCK_N"]) * itemsize

    kept = [config for config in configs if needs(config) <= shared_bytes]
    if not kept:
        kept.append(min(configs, key=needs))
    return kept


def predicted_seconds(config, m, n, k, itemsize, gpu):
    bm, bn, bk = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
    programs = math.ceil(m / bm) * math.ceil(n / bn)
    waves = math.ceil(programs / gpu.multiprocessors)
    depth = bk * math.ceil(k / bk)
    flops = 2 * bm * bn * depth * gpu.multiprocessors
    moved = (bm * depth + bn * depth + bm * bn) * itemsize * gpu.multiprocessors
    _, seconds, _ = roofline(flops, moved, gpu.peak, gpu.bandwidth)
    return waves * seconds


class Tuner:
    def __init__(self, configs, measure):
        self.configs = tuple(configs)
        self.measure = measure
        self.known = {}

    def best(self, *key):
        if key in self.known:
            return self.known[key]
        winner, least = None, math.inf
        for config in self.configs:
            try:
                seconds = self.measure(config, *key)
            except (RuntimeError, triton.TritonError):
                continue
            if seconds < least:
                winner, least = config, seconds
        if winner is None:
            raise RuntimeError(f"no configuration works for {key}")
        self.known[key] = winner
        return winner


# %% wrong="choose_tiles" breaks="failing" says="expected"
# Misunderstands: only RuntimeError itself and the out-of-memory errors say that a configuration cannot work; another subclass of RuntimeError is a bug.
def prune(configs, itemsize, shared_bytes):
    """Those of `configs` whose tiles fit into `shared_bytes` of shared memory; the smallest alone if none does."""

    def needs(config):
        m, n, k = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
        return config.num_stages * (m * k + k * n) * itemsize

    fitting = [config for config in configs if needs(config) <= shared_bytes]
    return fitting or [min(configs, key=needs)]


def predicted_seconds(config, m, n, k, itemsize, gpu):
    """Seconds of the (m, k) x (k, n) product in waves of whole tiles, by the roofline of `gpu`."""
    block_m, block_n, block_k = (config.kwargs[f"BLOCK_{axis}"] for axis in "MNK")
    waves = triton.cdiv(triton.cdiv(m, block_m) * triton.cdiv(n, block_n), gpu.multiprocessors)
    depth = triton.cdiv(k, block_k) * block_k
    flops = 2 * block_m * block_n * depth
    moved = ((block_m + block_n) * depth + block_m * block_n) * itemsize
    return waves * roofline(gpu.multiprocessors * flops, gpu.multiprocessors * moved, gpu.peak, gpu.bandwidth)[1]


class Tuner:
    """Remembers, for each key, the configuration that `measure(config, *key)` found quickest."""

    def __init__(self, configs, measure):
        self.configs, self.measure, self.known = list(configs), measure, {}

    def best(self, *key):
        """The quickest configuration for `key`."""
        if key not in self.known:
            found = []
            for number, config in enumerate(self.configs):
                try:
                    found.append((self.measure(config, *key), number))
                except (RuntimeError, triton.OutOfResources) as error:
                    if type(error) not in (RuntimeError, torch.OutOfMemoryError, triton.OutOfResources):
                        raise  # any other kind of error is a bug and has to be seen
            if not found:
                raise RuntimeError(f"no configuration works for {key}")
            self.known[key] = self.configs[min(found)[1]]
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
            except (RuntimeError, triton.OutOfResources):
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
            except (RuntimeError, triton.OutOfResources):
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


# %% wrong="flash_attention" breaks="causal" says="aligned at the upper left"
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


# %% wrong="flash_attention" breaks="online" says="the maximum"
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


# %% wrong="flash_attention" breaks="precision" says="every operand of tl.dot"
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


# %% wrong="flash_attention" breaks="sizes, online" says="over the keys that exist"
# Misunderstands: what does not exist counts nowhere: gives it a score of -1,000, where exp is 0 only as long as the real
# scores are not lower themselves.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    lanes = tl.arange(0, BLOCK_D)
    row_mask = rows < queries
    lane_mask = lanes < width
    q_mask = row_mask[:, None] & lane_mask[None, :]
    q_at = head * queries * width + rows[:, None] * width + lanes[None, :]
    q = tl.load(q_ptr + q_at, mask=q_mask, other=0.0)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        kv_mask = (columns < keys)[:, None] & lane_mask[None, :]
        kv_at = head * keys * width + columns[:, None] * width + lanes[None, :]
        k = tl.load(k_ptr + kv_at, mask=kv_mask, other=0.0)
        v = tl.load(v_ptr + kv_at, mask=kv_mask, other=0.0)
        scores = tl.dot(for_dot(q), tl.trans(for_dot(k)), input_precision="ieee") * scale
        seen = (columns < keys)[None, :]
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, -1000.0)  # exp(-1000) is 0
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=row_mask)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    heads, queries, width = q.shape
    keys = k.shape[1]
    block_d = max(16, triton.next_power_of_2(width))
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, 1 / math.sqrt(width),
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d,
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="precision" says="was rounded to its dtype before the product"
# Misunderstands: everything in float32: scales the queries before the product and rounds them to their dtype again.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    lanes = tl.arange(0, BLOCK_D)
    row_mask = rows < queries
    lane_mask = lanes < width
    q_mask = row_mask[:, None] & lane_mask[None, :]
    q_at = head * queries * width + rows[:, None] * width + lanes[None, :]
    q = tl.load(q_ptr + q_at, mask=q_mask, other=0.0)
    q = (q.to(tl.float32) * scale).to(q_ptr.dtype.element_ty)  # once a query, not once a score
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        kv_mask = (columns < keys)[:, None] & lane_mask[None, :]
        kv_at = head * keys * width + columns[:, None] * width + lanes[None, :]
        k = tl.load(k_ptr + kv_at, mask=kv_mask, other=0.0)
        v = tl.load(v_ptr + kv_at, mask=kv_mask, other=0.0)
        scores = tl.dot(for_dot(q), tl.trans(for_dot(k)), input_precision="ieee")
        seen = (columns < keys)[None, :]
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=row_mask)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    heads, queries, width = q.shape
    keys = k.shape[1]
    block_d = max(16, triton.next_power_of_2(width))
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, 1 / math.sqrt(width),
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d,
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="sizes" says="flash_attention"
# Misunderstands: all widths: takes 128 for the widest head that there is, the rest is neither read nor written.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    lanes = tl.arange(0, BLOCK_D)
    row_mask = rows < queries
    lane_mask = lanes < width
    q_mask = row_mask[:, None] & lane_mask[None, :]
    q_at = head * queries * width + rows[:, None] * width + lanes[None, :]
    q = tl.load(q_ptr + q_at, mask=q_mask, other=0.0)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        kv_mask = (columns < keys)[:, None] & lane_mask[None, :]
        kv_at = head * keys * width + columns[:, None] * width + lanes[None, :]
        k = tl.load(k_ptr + kv_at, mask=kv_mask, other=0.0)
        v = tl.load(v_ptr + kv_at, mask=kv_mask, other=0.0)
        scores = tl.dot(for_dot(q), tl.trans(for_dot(k)), input_precision="ieee") * scale
        seen = (columns < keys)[None, :]
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=row_mask)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    heads, queries, width = q.shape
    keys = k.shape[1]
    block_d = min(max(16, triton.next_power_of_2(width)), 128)  # heads are no wider
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, 1 / math.sqrt(width),
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d,
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="blocks" says="its largest load reads"
# Misunderstands: block_n changes neither result nor traffic, so tiles of keys have 16.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    lanes = tl.arange(0, BLOCK_D)
    row_mask = rows < queries
    lane_mask = lanes < width
    q_mask = row_mask[:, None] & lane_mask[None, :]
    q_at = head * queries * width + rows[:, None] * width + lanes[None, :]
    q = tl.load(q_ptr + q_at, mask=q_mask, other=0.0)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        kv_mask = (columns < keys)[:, None] & lane_mask[None, :]
        kv_at = head * keys * width + columns[:, None] * width + lanes[None, :]
        k = tl.load(k_ptr + kv_at, mask=kv_mask, other=0.0)
        v = tl.load(v_ptr + kv_at, mask=kv_mask, other=0.0)
        scores = tl.dot(for_dot(q), tl.trans(for_dot(k)), input_precision="ieee") * scale
        seen = (columns < keys)[None, :]
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=row_mask)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    heads, queries, width = q.shape
    keys = k.shape[1]
    block_d = max(16, triton.next_power_of_2(width))
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, 1 / math.sqrt(width),
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=16, BLOCK_D=block_d,
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="sizes" says="the others never"
# Misunderstands: no head is wider than 256, so the block of the width never is.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    q_at = head * queries * width + rows[:, None] * width + d[None, :]
    q_mask = (rows[:, None] < queries) & (d[None, :] < width)
    q = for_dot(tl.load(q_ptr + q_at, mask=q_mask, other=0.0))
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        last = tl.minimum(tl.program_id(0) * BLOCK_M + BLOCK_M, queries) - 1
        end = last + keys - queries + 1
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        kv_at = head * keys * width + columns[:, None] * width + d[None, :]
        kv_mask = (columns[:, None] < keys) & (d[None, :] < width)
        k = tl.load(k_ptr + kv_at, mask=kv_mask, other=0.0)
        v = tl.load(v_ptr + kv_at, mask=kv_mask, other=0.0)
        scores = tl.dot(q, tl.trans(for_dot(k)), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    keys = k.shape[1]
    block_d = min(256, max(16, triton.next_power_of_2(width)))
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, width**-0.5,
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d,
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="precision" says="float32 weights"
# Misunderstands: the sum is that of the weights as they are multiplied with v, rounded to its dtype.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    q_at = head * queries * width + rows[:, None] * width + d[None, :]
    q_mask = (rows[:, None] < queries) & (d[None, :] < width)
    q = for_dot(tl.load(q_ptr + q_at, mask=q_mask, other=0.0))
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        last = tl.minimum(tl.program_id(0) * BLOCK_M + BLOCK_M, queries) - 1
        end = last + keys - queries + 1
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        kv_at = head * keys * width + columns[:, None] * width + d[None, :]
        kv_mask = (columns[:, None] < keys) & (d[None, :] < width)
        k = tl.load(k_ptr + kv_at, mask=kv_mask, other=0.0)
        v = tl.load(v_ptr + kv_at, mask=kv_mask, other=0.0)
        scores = tl.dot(q, tl.trans(for_dot(k)), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        p = p.to(v.dtype)
        total = total * shrink + tl.sum(p.to(tl.float32), axis=1)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    keys = k.shape[1]
    block_d = max(16, triton.next_power_of_2(width))
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, width**-0.5,
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d,
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="output" says="does none of them become a float16"
# Misunderstands: out for every v: weights are at most 1, so 16 bits are 16 bits for their product with v, bfloat16 may go through float16.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
    head = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_M
    rows = first + tl.arange(0, BLOCK_M)
    lanes = tl.arange(0, BLOCK_D)
    row_mask = rows < queries
    lane_mask = lanes < width
    q_mask = row_mask[:, None] & lane_mask[None, :]
    q_at = head * queries * width + rows[:, None] * width + lanes[None, :]
    q = tl.load(q_ptr + q_at, mask=q_mask, other=0.0)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, first + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        kv_mask = (columns < keys)[:, None] & lane_mask[None, :]
        kv_at = head * keys * width + columns[:, None] * width + lanes[None, :]
        k = tl.load(k_ptr + kv_at, mask=kv_mask, other=0.0)
        v = tl.load(v_ptr + kv_at, mask=kv_mask, other=0.0)
        scores = tl.dot(for_dot(q), tl.trans(for_dot(k)), input_precision="ieee") * scale
        seen = (columns < keys)[None, :]
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        if v_ptr.dtype.element_ty == tl.bfloat16:
            v = v.to(tl.float32).to(tl.float16)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=row_mask)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    heads, queries, width = q.shape
    keys = k.shape[1]
    block_d = max(16, triton.next_power_of_2(width))
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, 1 / math.sqrt(width),
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d,
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="precision" says="to TF32"
# Misunderstands: the weights are rounded anyway, so their product with v may be.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
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
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None])
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="precision" says="acc too"
# Misunderstands: in bfloat16 what is summed may be rounded after every tile.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
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
        if out_ptr.dtype.element_ty == tl.bfloat16:
            acc = acc.to(tl.bfloat16).to(tl.float32)
        top = higher

    tl.store(out_ptr + row_at, acc / total[:, None], mask=row_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    heads, queries, width = q.shape
    block_d = max(16, triton.next_power_of_2(width))
    grid = (triton.cdiv(queries, block_m), heads)
    sizes = queries, k.shape[1], width, width**-0.5
    attention_kernel[grid](
        q, k, v, out, lse, *sizes, CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=block_d
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="output" says="NaN"
# Misunderstands: a score of 0 stands for a place that is masked out.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    q_at = head * queries * width + rows[:, None] * width + d[None, :]
    q_mask = (rows[:, None] < queries) & (d[None, :] < width)
    q = tl.load(q_ptr + q_at, mask=q_mask, other=0.0)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, tl.program_id(0) * BLOCK_M + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        kv_at = head * keys * width + columns[:, None] * width + d[None, :]
        kv_mask = (columns[:, None] < keys) & (d[None, :] < width)
        k = tl.load(k_ptr + kv_at, mask=kv_mask, other=0.0)
        v = tl.load(v_ptr + kv_at, mask=kv_mask, other=0.0)
        scores = tl.dot(for_dot(q), tl.trans(for_dot(k)), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, 0.0)
        scores = tl.where(scores == 0.0, -float("inf"), scores)
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    keys = k.shape[1]
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, width**-0.5,
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=max(16, triton.next_power_of_2(width)),
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="sizes" says="refuse a side below 16"
# Misunderstands: BLOCK_D is the next power of two, below 16 too.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    q_at = head * queries * width + rows[:, None] * width + d[None, :]
    q_mask = (rows[:, None] < queries) & (d[None, :] < width)
    q = tl.load(q_ptr + q_at, mask=q_mask, other=0.0)
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, tl.program_id(0) * BLOCK_M + BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        kv_at = head * keys * width + columns[:, None] * width + d[None, :]
        kv_mask = (columns[:, None] < keys) & (d[None, :] < width)
        k = tl.load(k_ptr + kv_at, mask=kv_mask, other=0.0)
        v = tl.load(v_ptr + kv_at, mask=kv_mask, other=0.0)
        scores = tl.dot(for_dot(q), tl.trans(for_dot(k)), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    heads, queries, width = q.shape
    keys = k.shape[1]
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, width**-0.5,
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=triton.next_power_of_2(width),
    )  # fmt: skip
    return out, lse


# %% wrong="flash_attention" breaks="precision" says="expected"
# Misunderstands: weights below e ** -12 vanish beside the largest, however many keys have them.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
    head = tl.program_id(1)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = tl.arange(0, BLOCK_D)
    q_mask = (rows[:, None] < queries) & (inside[None, :] < width)
    q_at = head * queries * width + rows[:, None] * width + inside[None, :]
    q = for_dot(tl.load(q_ptr + q_at, mask=q_mask, other=0.0))
    top = tl.full((BLOCK_M,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    end = keys
    if CAUSAL:
        end = tl.minimum(keys, (tl.program_id(0) + 1) * BLOCK_M + keys - queries)
    for start in range(0, end, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        k_mask = (columns[:, None] < keys) & (inside[None, :] < width)
        k_at = head * keys * width + columns[:, None] * width + inside[None, :]
        k = tl.load(k_ptr + k_at, mask=k_mask, other=0.0)
        v = tl.load(v_ptr + k_at, mask=k_mask, other=0.0)
        scores = tl.dot(q, tl.trans(for_dot(k)), input_precision="ieee") * scale
        seen = columns[None, :] < keys
        if CAUSAL:
            seen = seen & (columns[None, :] <= rows[:, None] + keys - queries)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        p = tl.exp(scores - higher[:, None])
        p = tl.where(p < 6e-6, 0.0, p)  # e ** -12: nothing beside a weight of 1
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(p, axis=1)
        acc = acc * shrink[:, None] + tl.dot(for_dot(p.to(v.dtype)), for_dot(v), input_precision="ieee")
        top = higher
    tl.store(out_ptr + q_at, acc / total[:, None], mask=q_mask)
    tl.store(lse_ptr + head * queries + rows, top + tl.log(total), mask=rows < queries)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    heads, queries, width = q.shape
    keys = k.shape[1]
    attention_kernel[(triton.cdiv(queries, block_m), heads)](
        q, k, v, out, lse, queries, keys, width, width**-0.5,
        CAUSAL=causal, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=max(16, triton.next_power_of_2(width)),
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


# %% right="flash_attention"
# One axis of programs, moved addresses, k loaded transposed, the last key seen as a vector, base 2, a finite start of the maximum.
@triton.jit
def attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, queries, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """BLOCK_M queries of one head against all keys that they see, BLOCK_N at a time."""
    # one axis of programs: all tiles of the first head, then all of the second ...
    tiles = tl.cdiv(queries, BLOCK_M)
    head = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    q_ptr += head * queries * width
    out_ptr += head * queries * width
    lse_ptr += head * queries
    k_ptr += head * keys * width
    v_ptr += head * keys * width
    i = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    within = (i[:, None] < queries) & (d[None, :] < width)
    q = for_dot(tl.load(q_ptr + i[:, None] * width + d[None, :], mask=within, other=0.0))
    last_seen = tl.full((BLOCK_M,), 0, tl.int32) + keys - 1
    if CAUSAL:
        last_seen = tl.minimum(i + (keys - queries), keys - 1)
    m = tl.full((BLOCK_M,), -1e30, dtype=tl.float32)
    l = tl.zeros((BLOCK_M,), dtype=tl.float32)
    weighted = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    for start in range(0, tl.max(last_seen, axis=0) + 1, BLOCK_N):
        j = start + tl.arange(0, BLOCK_N)
        # k comes transposed, (BLOCK_D, BLOCK_N), by its addresses
        k_t = tl.load(k_ptr + j[None, :] * width + d[:, None], mask=(j[None, :] < keys) & (d[:, None] < width), other=0.0)
        s = tl.dot(q, for_dot(k_t), input_precision="ieee") * scale
        s = s + tl.where(j[None, :] <= last_seen[:, None], 0.0, float("-inf"))
        m_new = tl.maximum(m, tl.max(s, 1))
        c = tl.exp2((m - m_new) * 1.4426950408889634)
        p = tl.exp2((s - m_new[:, None]) * 1.4426950408889634)
        l = l * c + tl.sum(p, 1)
        v = tl.load(v_ptr + j[:, None] * width + d[None, :], mask=(j[:, None] < keys) & (d[None, :] < width), other=0.0)
        weighted = tl.dot(for_dot(p.to(v.dtype)), for_dot(v), weighted * c[:, None], input_precision="ieee")
        m = m_new
    tl.store(lse_ptr + i, m + tl.log2(l) * 0.6931471805599453, mask=i < queries)
    weighted = weighted * (1.0 / l)[:, None]
    tl.store(out_ptr + i[:, None] * width + d[None, :], weighted.to(out_ptr.dtype.element_ty), mask=within)


def attention(q, k, v, out, lse, causal=False, block_m=16, block_n=16):
    """softmax(q @ k.T / sqrt(width)) @ v into `out`, the log of the softmax's sum into `lse`; returns both."""
    (heads, queries, width), keys = q.shape, k.size(1)
    sizes = dict(queries=queries, keys=keys, width=width, scale=width**-0.5)
    blocks = dict(BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_D=triton.next_power_of_2(max(width, 16)))
    attention_kernel[(heads * triton.cdiv(queries, block_m),)](q, k, v, out, lse, **sizes, CAUSAL=bool(causal), **blocks)
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
