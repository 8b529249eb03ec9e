# %% wrong="discretise" breaks="held_input" says="Euler's rule"
def discretise(A, B, step):  # misunderstands: the input does not decay within the step
    return torch.exp(step * A), step * B + 0 * A


# %% wrong="discretise" breaks="held_input" says="expected"
def discretise(A, B, step):  # misunderstands: the held input comes in at the start and decays for the whole step
    return torch.exp(step * A), step * torch.exp(step * A) * B


# %% wrong="discretise" breaks="digits" says="loses its digits"
def discretise(A, B, step):  # misunderstands: float32 has enough digits for any formula
    a = torch.exp(step * A)
    return a, (a - 1) / A * B


# %% wrong="discretise" breaks="digits" says="expected"
def discretise(A, B, step):  # misunderstands: only the very slowest decays need care
    z = step * A
    slow = step * (1 + z / 2)
    return z.exp(), torch.where(z.abs() < 1e-4, slow, (z.exp() - 1) / A) * B


# %% wrong="discretise" breaks="decay" says="Euler's rule for the decay"
def discretise(A, B, step):  # misunderstands: Euler's rule for the state too
    return 1 + step * A, torch.expm1(step * A) / A * B


# %% wrong="discretise" breaks="decay,held_input" says="expected"
def discretise(A, B, step):  # misunderstands: the bilinear rule is a different approximation
    below = 1 - step * A / 2
    return (1 + step * A / 2) / below, step * B / below


# %% wrong="discretise" breaks="dtype" says="dtype"
def discretise(A, B, step):  # misunderstands: more digits never hurt
    z = (step * A).double()
    return torch.exp(z), torch.expm1(z) / A * B


# %% wrong="discretise" breaks="unchanged" says="A after the call"
def discretise(A, B, step):  # misunderstands: the rates are not needed any more
    rate = A.clone()
    z = A.mul_(step) if A.shape == torch.broadcast_shapes(A.shape, step.shape) else A * step
    return z.exp(), torch.expm1(z) / rate * B


# %% wrong="discretise" breaks="held_input" says="`b` is"
def discretise(A, B, step):  # misunderstands: a division is guarded by a small number, also where it needs no guard
    z = step * A
    return torch.exp(z), torch.expm1(z) / (A - 1e-8) * B


# %% right="discretise"
def discretise(rate, gain, time_step):  # the integral of the decay, as a sinh
    z = rate * time_step
    return z.exp(), gain * time_step * torch.exp(z / 2) * torch.sinh(z / 2) / (z / 2)


# %% right="discretise"
@torch.no_grad()
def discretise(A, B, step):  # in float64 inside, and where the decay is slow a series
    wide, rate = step.double() * A.double(), A.double()
    series = step.double() * (1 + wide / 2 * (1 + wide / 3 * (1 + wide / 4)))
    b = torch.where(wide.abs() < 1e-3, series, (wide.exp() - 1) / rate) * B.double()
    return wide.exp().to(A.dtype), b.to(A.dtype)


# %% right="discretise"
def discretise(A, B, step):  # the gain first
    gain = B / A
    return torch.exp(step * A), gain * torch.expm1(step * A)


# %% wrong="discretise" breaks="digits" says="`b` is"
def discretise(A, B, step):  # misunderstands: two terms of the series are exact enough while step * A is below 0.05
    z = step * A
    series = step * (1 + z / 2)
    return z.exp(), torch.where(z.abs() < 0.05, series, (z.exp() - 1) / A) * B


# %% wrong="two_views" breaks="causal" says="run round to the start"
def run_convolution(kernel, x):  # misunderstands: a product of spectra is a causal convolution
    return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(kernel), x.shape[-1])


def run_recurrence(*args):
    raise NotImplementedError


make_kernel = run_recurrence


# %% wrong="two_views" breaks="convolution" says="flip it first"
def run_convolution(kernel, x):  # misunderstands: conv1d is a cross-correlation
    padded = F.pad(x, (kernel.shape[-1] - 1, 0))
    return F.conv1d(padded, kernel[:, None], groups=kernel.shape[0])


def run_recurrence(*args):
    raise NotImplementedError


make_kernel = run_recurrence


# %% wrong="two_views" breaks="causal" says="run_convolution"
def run_convolution(kernel, x):  # misunderstands: padding on both sides keeps the length, so it must be right
    length = x.shape[-1]
    padded = F.pad(x, ((length - 1) // 2, length // 2))
    return F.conv1d(padded, kernel.flip(-1)[:, None], groups=kernel.shape[0])


def run_recurrence(*args):
    raise NotImplementedError


make_kernel = run_recurrence


# %% wrong="two_views" breaks="shape" says="shape"
def run_convolution(kernel, x):  # misunderstands: squeeze takes away only the axis that I added
    length = x.shape[-1]
    flipped = kernel.flip(-1)[:, None]
    rows = [F.conv1d(F.pad(row[None], (length - 1, 0)), flipped, groups=len(kernel)) for row in x]
    return torch.stack(rows).squeeze()


def run_recurrence(*args):
    raise NotImplementedError


make_kernel = run_recurrence


# %% wrong="two_views" breaks="shape" says="shape"
def run_recurrence(a, b, c, x):  # misunderstands: a matrix product and squeeze are the same as a sum
    h, outputs = x.new_zeros(x.shape[0], *a.shape), []
    for now in x.unbind(-1):
        h = a * h + b * now[..., None]
        outputs.append((h[:, :, None] @ c[:, :, None]).squeeze())
    return torch.stack(outputs, -1)


def make_kernel(*args):
    raise NotImplementedError


run_convolution = make_kernel


# %% wrong="two_views" breaks="dtype" says="run_recurrence"
def run_recurrence(a, b, c, x):  # misunderstands: torch.zeros has the dtype that is needed
    state = torch.zeros(*x.shape[:2], a.shape[1])
    y = torch.empty(x.shape)
    for t in range(x.shape[-1]):
        state = a * state + b * x[:, :, t, None]
        y[:, :, t] = (c * state).sum(-1)
    return y


def make_kernel(*args):
    raise NotImplementedError


run_convolution = make_kernel


# %% wrong="two_views" breaks="kernel" says="make_kernel"
def make_kernel(a, b, c, length):  # misunderstands: a power is exp(j log a), so a must be positive
    powers = torch.exp(torch.log(a)[..., None] * torch.arange(length, dtype=a.dtype))
    return ((b * c)[..., None] * powers).sum(1)


def run_recurrence(*args):
    raise NotImplementedError


run_convolution = run_recurrence


# %% wrong="two_views" breaks="dtype" says="dtype"
def make_kernel(a, b, c, length):  # misunderstands: one dtype fits all
    powers = torch.empty(*a.shape, length, dtype=torch.float32)
    for j in range(length):
        powers[..., j] = a**j
    return ((b * c).float()[..., None] * powers).sum(1)


def run_recurrence(*args):
    raise NotImplementedError


run_convolution = run_recurrence


# %% wrong="two_views" breaks="recurrence" says="run_recurrence"
def run_recurrence(a, b, c, x):  # misunderstands: what has decayed away is always forgotten within 64 tokens
    kernel = ((b * c)[..., None] * a[..., None] ** torch.arange(x.shape[-1])).sum(1)
    kernel[:, 64:] = 0
    return F.conv1d(F.pad(x, (x.shape[-1] - 1, 0)), kernel.flip(-1)[:, None], groups=x.shape[1])


def make_kernel(*args):
    raise NotImplementedError


run_convolution = make_kernel


# %% wrong="two_views" breaks="same_step" says="counts in the same step"
def run_recurrence(a, b, c, x):  # misunderstands: the output reads the state before the update
    h, outputs = x.new_zeros(x.shape[0], *a.shape), []
    for now in x.unbind(-1):
        outputs.append((c * h).sum(-1))
        h = a * h + b * now[..., None]
    return torch.stack(outputs, -1)


def make_kernel(*args):
    raise NotImplementedError


run_convolution = make_kernel


# %% wrong="two_views" breaks="unchanged" says="x after the call"
def run_recurrence(a, b, c, x):  # misunderstands: each input is used once, so its place is free for the output
    h = x.new_zeros(x.shape[0], *a.shape)
    for t in range(x.shape[-1]):
        h = a * h + b * x[:, :, t, None]
        x[:, :, t] = (c * h).sum(-1)
    return x.clone()


def make_kernel(*args):
    raise NotImplementedError


run_convolution = make_kernel


# %% wrong="two_views" breaks="kernel" says="power of a starts at 0"
def make_kernel(a, b, c, length):  # misunderstands: the input has decayed once before it is seen
    return ((b * c)[..., None] * a[..., None] ** torch.arange(1, length + 1)).sum(1)


def run_recurrence(*args):
    raise NotImplementedError


run_convolution = run_recurrence


# %% wrong="two_views" breaks="recurrence" says="has a state of its own"
def run_recurrence(a, b, c, x):  # misunderstands: one state is enough, it goes on from row to row
    y = torch.empty_like(x)
    h = torch.zeros_like(a)
    for row in range(x.shape[0]):
        for t in range(x.shape[-1]):
            h = a * h + b * x[row, :, t, None]
            y[row, :, t] = (c * h).sum(-1)
    return y


def make_kernel(*args):
    raise NotImplementedError


run_convolution = make_kernel


# %% wrong="two_views" breaks="causal" says="places are too few"
def run_convolution(kernel, x):  # misunderstands: two signals of length L need 2 L - 2 places
    length = x.shape[-1]
    n = max(2 * length - 2, 1)
    return torch.fft.irfft(torch.fft.rfft(x, n) * torch.fft.rfft(kernel, n), n)[..., :length]


def run_recurrence(*args):
    raise NotImplementedError


make_kernel = run_recurrence


# %% wrong="two_views" breaks="unchanged" says="argument b after the call"
def make_kernel(a, b, c, length):  # misunderstands: an assignment copies
    kernel = a.new_empty(a.shape[0], length)
    reached = b
    for j in range(length):
        kernel[:, j] = (c * reached).sum(1)
        reached *= a
    return kernel


def run_recurrence(*args):
    raise NotImplementedError


run_convolution = run_recurrence


# %% wrong="two_views" breaks="kernel" says="make_kernel"
def make_kernel(a, b, c, length):  # misunderstands: powers can be taken by logarithms for every a; 0 has none
    age = torch.arange(length, dtype=a.dtype)
    size = torch.exp(a.abs().log()[..., None] * age)
    sign = torch.where((a[..., None] < 0) & (age % 2 == 1), -1.0, 1.0).to(a.dtype)
    return ((b * c)[..., None] * size * sign).sum(1)


def run_recurrence(*args):
    raise NotImplementedError


def run_convolution(*args):
    raise NotImplementedError


# %% wrong="two_views" breaks="digits" says="run_convolution"
def run_convolution(kernel, x):  # misunderstands: half the digits do for weights
    length = x.shape[-1]
    kernel = kernel.bfloat16().to(x.dtype)
    spectrum = torch.fft.rfft(x, 2 * length) * torch.fft.rfft(kernel, 2 * length)
    return torch.fft.irfft(spectrum, 2 * length)[..., :length]


def run_recurrence(*args):
    raise NotImplementedError


def make_kernel(*args):
    raise NotImplementedError


# %% wrong="two_views" breaks="unchanged" says="x after the call"
def run_recurrence(a, b, c, x):  # misunderstands: .contiguous() always copies
    y = x.contiguous()
    h = x.new_zeros(x.shape[0], *a.shape)
    for t in range(y.shape[-1]):
        h = a * h + b * y[:, :, t, None]
        y[:, :, t] = (c * h).sum(-1)
    return y


def make_kernel(*args):
    raise NotImplementedError


def run_convolution(*args):
    raise NotImplementedError


# %% wrong="two_views" breaks="digits" says="run_convolution"
def run_convolution(kernel, x):  # misunderstands: a Fourier transform needs no more than float32
    room = 2 * x.shape[-1]
    spectrum = torch.fft.rfft(x.float(), room) * torch.fft.rfft(kernel.float(), room)
    return torch.fft.irfft(spectrum, room)[..., : x.shape[-1]].to(x.dtype)


def run_recurrence(*args):
    raise NotImplementedError


def make_kernel(*args):
    raise NotImplementedError


# %% right="two_views"
def make_kernel(a, b, c, length):  # an impulse through the recurrence
    return run_recurrence(a, b, c, F.pad(torch.ones(1, a.shape[0], 1, dtype=a.dtype), (0, length - 1)))[0]


def run_recurrence(a, b, c, x):
    state = torch.zeros(*x.shape[:2], a.shape[1], dtype=x.dtype)
    y = torch.empty_like(x)
    for t in range(x.shape[2]):
        state = torch.einsum("ds,bds->bds", a, state) + torch.einsum("ds,bd->bds", b, x[:, :, t])
        y[:, :, t] = torch.einsum("ds,bds->bd", c, state)
    return y


def run_convolution(kernel, x):  # as a matrix: entry (t, s) is K_(t-s)
    age = torch.arange(x.shape[-1])[:, None] - torch.arange(x.shape[-1])
    matrix = torch.where(age >= 0, kernel[:, age.clamp(min=0)], torch.zeros((), dtype=kernel.dtype))
    return torch.einsum("dts,bds->bdt", matrix, x)


# %% right="two_views"
def run_recurrence(a, b, c, x):
    return run_convolution(make_kernel(a, b, c, x.shape[-1]), x)


def make_kernel(a, b, c, length):
    columns, now = [], b * c
    for _ in range(length):
        columns.append(now.sum(-1))
        now = now * a
    return torch.stack(columns, dim=1)


def run_convolution(kernel, x):
    return F.conv1d(F.pad(x, (x.shape[-1] - 1, 0)), kernel.flip(-1).unsqueeze(1), groups=x.shape[1])


# %% equivalent="associative_scan" because="at a distance of the whole length nothing is left to join: one call on empty slices"
# - while distance < b.shape[-1]:
# + while (distance <= b.shape[-1]):


# %% wrong="associative_scan" breaks="join" says="`left` and `right` are exchanged"
def combine(left, right):  # misunderstands: which step is done first
    return left[0] * right[0], left[0] * right[1] + left[1]


def scan(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="unchanged" says="the pair `left`"
def combine(left, right):  # misunderstands: the left step is used up
    a, b = left[0].mul_(right[0]), left[1].mul_(right[0]).add_(right[1])
    return a.clone(), b.clone()


def scan(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="rounds" says="not single steps"
def scan(a, b, combine):  # misunderstands: an associative rule alone makes it parallel
    now, found = (a[..., 0], b[..., 0]), [b[..., 0]]
    for t in range(1, b.shape[-1]):
        now = combine(now, (a[..., t], b[..., t]))
        found.append(now[1])
    return torch.stack(found, -1)


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="any_rule" says="scan"
def scan(a, b, combine):  # misunderstands: dividing by cumulative products is the same
    products = a.cumprod(-1)
    return products * (b / products).cumsum(-1)


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="any_rule" says="`combine` was never called"
def scan(a, b, combine):  # misunderstands: the rule is known, so it need not be called
    distance = 1
    while distance < b.shape[-1]:
        b = torch.cat([b[..., :distance], a[..., distance:] * b[..., :-distance] + b[..., distance:]], -1)
        a = torch.cat([a[..., :distance], a[..., distance:] * a[..., :-distance]], -1)
        distance *= 2
    return b


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="any_rule" says="with another rule"
def scan(a, b, combine):  # misunderstands: every rule has (1, 0) as its neutral pair
    distance = 1
    while distance < b.shape[-1]:
        earlier = F.pad(a, (distance, 0), value=1.0)[..., : a.shape[-1]], F.pad(b, (distance, 0))[..., : b.shape[-1]]
        a, b = combine(earlier, (a, b))
        distance *= 2
    return b


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="prefixes" says="joined with `combine` alone"
def scan(a, b, combine):  # misunderstands: positions without a partner drop out as zeros
    distance = 1
    while distance < b.shape[-1]:
        joined = combine((a[..., :-distance], b[..., :-distance]), (a[..., distance:], b[..., distance:]))
        a, b = (F.pad(part, (distance, 0)) for part in joined)
        distance *= 2
    return b


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="prefixes" says="`scan` of a"
def scan(a, b, combine):  # misunderstands: seven rounds are enough for any text
    for distance in (1, 2, 4, 8, 16, 32, 64):
        if distance < b.shape[-1]:
            joined = combine((a[..., :-distance], b[..., :-distance]), (a[..., distance:], b[..., distance:]))
            a = torch.cat([a[..., :distance], joined[0]], -1)
            b = torch.cat([b[..., :distance], joined[1]], -1)
    return b


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="unchanged" says="leave the caller's tensors"
def scan(a, b, combine):  # misunderstands: working in place is free
    distance = 1
    while distance < b.shape[-1]:
        joined = combine((a[..., :-distance], b[..., :-distance]), (a[..., distance:], b[..., distance:]))
        a[..., distance:], b[..., distance:] = joined[0].clone(), joined[1].clone()
        distance *= 2
    return b.clone()


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="gradients" says="no gradient flows"
@torch.no_grad()
def scan(a, b, combine):  # misunderstands: a scan is only for generating
    distance = 1
    while distance < b.shape[-1]:
        joined = combine((a[..., :-distance], b[..., :-distance]), (a[..., distance:], b[..., distance:]))
        a = torch.cat([a[..., :distance], joined[0]], -1)
        b = torch.cat([b[..., :distance], joined[1]], -1)
        distance *= 2
    return b


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="gradients" says="nothing that is made of `a` is in the graph"
def scan(a, b, combine):  # misunderstands: only what is added in carries a gradient
    distance, a = 1, a.detach()
    while distance < b.shape[-1]:
        joined = combine((a[..., :-distance], b[..., :-distance]), (a[..., distance:], b[..., distance:]))
        a = torch.cat([a[..., :distance], joined[0]], -1)
        b = torch.cat([b[..., :distance], joined[1]], -1)
        distance *= 2
    return b


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="unchanged" says="the pair `right`"
def combine(left, right):  # misunderstands: nobody needs the right step any more
    a1, b1 = left
    a2, b2 = right
    b2 += a2 * b1
    return a2 * a1, b2


def scan(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="prefixes" says="(5000,)"
def scan(a, b, combine):  # misunderstands: twelve rounds are enough for any text
    for number in range(12):
        distance = 2**number
        if distance >= b.shape[-1]:
            break
        joined = combine((a[..., :-distance], b[..., :-distance]), (a[..., distance:], b[..., distance:]))
        a = torch.cat([a[..., :distance], joined[0]], -1)
        b = torch.cat([b[..., :distance], joined[1]], -1)
    return b


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="gradients" says="its backward pass stops"
def scan(a, b, combine):  # misunderstands: writing into a clone is safe for autograd
    a, b = a.clone(), b.clone()
    distance = 1
    while distance < b.shape[-1]:
        joined = combine((a[..., :-distance], b[..., :-distance]), (a[..., distance:], b[..., distance:]))
        a[..., distance:] = joined[0]
        b[..., distance:] = joined[1]
        distance *= 2
    return b


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="digits" says="`scan` of a"
def scan(a, b, combine):  # misunderstands: float32 is exact enough inside
    dtype, distance = b.dtype, 1
    a, b = a.float(), b.float()
    while distance < b.shape[-1]:
        joined = combine((a[..., :-distance], b[..., :-distance]), (a[..., distance:], b[..., distance:]))
        a = torch.cat([a[..., :distance], joined[0]], -1)
        b = torch.cat([b[..., :distance], joined[1]], -1)
        distance *= 2
    return b.to(dtype)


def combine(*args):
    raise NotImplementedError


# %% wrong="associative_scan" breaks="gradients" says="alone needs a gradient"
def combine(left, right):
    return right[0] * left[0], right[0] * left[1] + right[1]


def scan(a, b, combine):  # misunderstands: whether a gradient is needed shows in `a`
    with torch.set_grad_enabled(torch.is_grad_enabled() and a.requires_grad):
        reach = 1
        while reach < b.shape[-1]:
            left = a[..., :-reach], b[..., :-reach]
            joined = combine(left, (a[..., reach:], b[..., reach:]))
            a, b = (torch.cat([t[..., :reach], new], -1) for t, new in zip((a, b), joined))
            reach *= 2
        return b.clone()


# %% right="associative_scan"
def combine(left, right):
    (a1, b1), (a2, b2) = left, right
    return torch.addcmul(torch.zeros_like(b2), a2, a1), torch.addcmul(b2, a2, b1)


def scan(a, b, combine):  # all places joined with those before, and chosen where there is one
    place, distance = torch.arange(b.shape[-1]), 1
    while distance < b.shape[-1]:
        joined = combine((a.roll(distance, -1), b.roll(distance, -1)), (a, b))
        a, b = (torch.where(place >= distance, new, old) for new, old in zip(joined, (a, b)))
        distance *= 2
    return b


# %% right="associative_scan"
def combine(first, second):
    return torch.mul(first[0], second[0]), torch.addcmul(second[1], second[0], first[1])


def scan(a, b, combine):  # pairs, then recursively, then the places between (Blelloch)
    length = b.shape[-1]
    if length == 1:
        return b

    def prefixes(a, b):
        n = b.shape[-1]
        if n == 1:
            return a, b
        even, odd = slice(0, n - n % 2, 2), slice(1, None, 2)
        ends = prefixes(*combine((a[..., even], b[..., even]), (a[..., odd], b[..., odd])))
        rest = slice(2, None, 2)
        count = b[..., rest].shape[-1]
        out = []
        inner = combine(tuple(e[..., :count] for e in ends), (a[..., rest], b[..., rest])) if count else (a[..., :0], b[..., :0])
        for first, end, middle in zip((a, b), ends, inner):
            places = [first[..., 0]]
            for i in range(1, n):
                places.append(end[..., i // 2] if i % 2 else middle[..., i // 2 - 1])
            out.append(torch.stack(places, -1))
        return tuple(out)

    return prefixes(a, b)[1]


# %% right="associative_scan"
def combine(left, right):
    a, b = right[0].clone(), right[0].clone()
    return [a.mul_(left[0]), b.mul_(left[1]).add_(right[1])]


def scan(a, b, combine):  # time first, in place in tensors of its own, by recursion on halves of the distance
    pairs = [part.movedim(-1, 0).clone() for part in (a, b)]
    for k in range((len(pairs[1]) - 1).bit_length()):
        far = 2**k
        joined = combine(tuple(p[:-far].movedim(0, -1) for p in pairs), tuple(p[far:].movedim(0, -1) for p in pairs))
        pairs = [torch.cat([old[:far], new.movedim(-1, 0)]) for old, new in zip(pairs, joined)]
    return pairs[1].movedim(0, -1)


# %% wrong="selective_scan" breaks="start" says="start from the state that is handed in"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: a text always begins at its first token
    h, outputs = x.new_zeros(x.shape[0], *A.shape), []
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="recurrence" says="after this token's update"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: the output reads the old state
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="shortcut" says="D * x is missing"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: everything passes through the state
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1))
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="unchanged" says="argument state after the call"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: the state is the function's own
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        h.mul_(torch.exp(step[..., t, None] * A)).add_((step * x)[..., t, None] * B[:, None, :, t])
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    return torch.stack(outputs, -1), h.clone()


# %% wrong="selective_scan" breaks="small" says="a view keeps the whole tensor"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: a slice is a tensor of its own
    h, states = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        states.append(h)
    states = torch.stack(states, 2)
    return torch.einsum("bctn,bnt->bct", states, C) + D[:, None] * x, states[:, :, -1]


# %% wrong="selective_scan" breaks="small" says="a view keeps the whole tensor"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: .contiguous() always copies, also where all axes have length 1
    h, states = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        states.append(h)
    states = torch.stack(states, -1)
    return torch.einsum("bcnt,bnt->bct", states, C) + D[:, None] * x, states[..., -1].contiguous()


# %% wrong="selective_scan" breaks="recurrence" says="the step is missing there"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: the step acts on the decay alone
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + x[..., t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="recurrence" says="one for all"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: the step belongs to the channel, as in a time-invariant system
    step = step.mean(-1, keepdim=True).expand_as(step)
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="last" says="that after the last token's update"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: the next call begins with the last token again
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        before = h
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    return torch.stack(outputs, -1), before.clone()


# %% wrong="selective_scan" breaks="gradients" says="it is detached"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: what is carried on is a number, not a computation
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    return torch.stack(outputs, -1), h.detach().clone()


# %% wrong="selective_scan" breaks="gradients" says="nothing that is made of `A` is in the graph"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: the rates are constants
    h, outputs, A = x.new_zeros(x.shape[0], *A.shape) if state is None else state, [], A.detach()
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="gradients" says="NaN"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: what is masked out has no gradient; infinity times 0 is NaN
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for x, step, B, C in zip(*(t.split(128, -1) for t in (x, step, B, C))):
        total = torch.cumsum(step.double()[:, :, None] * A.double()[..., None], -1)  # (batch, channels, state, length)
        age = total[..., :, None] - total[..., None, :]
        causal = torch.ones(age.shape[-2:], dtype=torch.bool).tril()
        weights = age.to(x.dtype).exp().masked_fill(~causal, 0)  # to, from
        states = torch.einsum("bcnts,bcs,bns->bcnt", weights, step * x, B) + total.to(x.dtype).exp() * h[..., None]
        outputs.append(torch.einsum("bcnt,bnt->bct", states, C) + D[:, None] * x)
        h = states[..., -1].clone()
    return torch.cat(outputs, -1), h


# %% wrong="selective_scan" breaks="digits" says="NaN"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: what is multiplied in can be divided out again
    total = torch.cumsum(step, -1)[..., None] * A[:, None]  # (batch, channels, length, state)
    entering = (step * x)[..., None] * B.mT[:, None]
    start = x.new_zeros(x.shape[0], *A.shape) if state is None else state
    states = torch.exp(total) * (start[:, :, None] + torch.cumsum(torch.exp(-total) * entering, 2))
    return (states * C.mT[:, None]).sum(-1) + D[:, None] * x, states[:, :, -1].clone()


# %% wrong="selective_scan" breaks="dtype" says="dtype"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: a state is best kept in more digits
    h = torch.zeros(x.shape[0], *A.shape, dtype=torch.float64) if state is None else state.double()
    outputs = []
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    return torch.stack(outputs, -1).to(x.dtype), h


# %% wrong="selective_scan" breaks="dtype" says="dtype"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: everything is float32
    h = torch.zeros(x.shape[0], *A.shape) if state is None else state
    y = torch.zeros(x.shape)
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        y[..., t] = torch.einsum("bcs,bs->bc", h.float(), C[..., t]) + D * x[..., t]
    return y, h


# %% wrong="selective_scan" breaks="gradients" says="masked out after exp"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: torch.where takes away what overflows, in the gradients too
    h = x.new_zeros(x.shape[0], *A.shape) if state is None else state
    outputs = []
    for x_now, step_now, B_now, C_now in zip(*(t.split(16, -1) for t in (x, step, B, C))):
        total = torch.cumsum(step_now[:, :, None] * A[..., None], -1)
        age = total[..., :, None] - total[..., None, :]
        causal = torch.ones(age.shape[-2:], dtype=torch.bool).tril()
        weights = torch.where(causal, age.exp(), torch.zeros_like(age))
        states = torch.einsum("bcnts,bcs,bns->bcnt", weights, step_now * x_now, B_now) + total.exp() * h[..., None]
        outputs.append(torch.einsum("bcnt,bnt->bct", states, C_now) + D[:, None] * x_now)
        h = states[..., -1].clone()
    return torch.cat(outputs, -1), h


# %% wrong="selective_scan" breaks="recurrence" says="not the held input"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: Mamba holds the input, as in exercise 1
    h = x.new_zeros(x.shape[0], *A.shape) if state is None else state
    outputs = []
    for t in range(x.shape[-1]):
        now = step[:, :, t, None]
        h = torch.exp(now * A) * h + torch.expm1(now * A) / A * B[:, None, :, t] * x[:, :, t, None]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[:, :, t])
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="digits" says="exp(step * A) * h"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: float64 has room for the growth of 16 tokens, whatever their steps
    dtype = x.dtype
    x, step, A, B, C, D = (t.double() for t in (x, step, A, B, C, D))
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state.double(), []
    for x_now, step_now, B_now, C_now in zip(*(t.split(16, -1) for t in (x, step, B, C))):
        total = torch.cumsum(step_now[:, :, None] * A[..., None], -1)  # (batch, channels, state, length)
        entering = (step_now * x_now)[:, :, None] * B_now[:, None]
        states = total.exp() * (h[..., None] + torch.cumsum(entering * torch.exp(-total), -1))
        outputs.append((states * C_now[:, None]).sum(2) + D[:, None] * x_now)
        h = states[..., -1]
    return torch.cat(outputs, -1).to(dtype), h.clone().to(dtype)


# %% wrong="selective_scan" breaks="gradients" says="its backward pass stops"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: a state of one's own may be changed in place
    h = x.new_zeros(x.shape[0], *A.shape) if state is None else state.clone()
    outputs = []
    for t in range(x.shape[-1]):
        h.mul_(torch.exp(step[..., t, None] * A)).add_((step * x)[..., t, None] * B[:, None, :, t])
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="unchanged" says="a later call has changed a state"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: where no gradient is asked for, the state may be written over
    h, outputs = x.new_zeros(x.shape[0], *A.shape) if state is None else state, []
    for t in range(x.shape[-1]):
        h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
    if state is not None and not torch.is_grad_enabled():
        h = state.copy_(h)
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="gradients" says="1 x 2 x 500 tokens"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: truncated backpropagation after 256 tokens
    h = x.new_zeros(x.shape[0], *A.shape) if state is None else state
    outputs = []
    for t in range(x.shape[-1]):
        if t and t % 256 == 0:
            h = h.detach()
        h = torch.exp(step[:, :, t, None] * A) * h + (step * x)[:, :, t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[:, :, t])
    return torch.stack(outputs, -1), h


# %% wrong="selective_scan" breaks="gradients" says="alone needs a gradient"
def selective_scan(x, step, A, B, C, D, state=None):  # misunderstands: thinks that where A needs no gradient nothing does
    with torch.set_grad_enabled(torch.is_grad_enabled() and A.requires_grad):
        return with_graph(x, step, A, B, C, D, state)


def with_graph(x, step, A, B, C, D, state):
    h = x.new_zeros(x.shape[0], *A.shape) if state is None else state
    outputs = []
    for t in range(x.shape[-1]):
        h = torch.exp(step[:, :, t, None] * A) * h + (step * x)[:, :, t, None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[:, :, t])
    return torch.stack(outputs, -1), h


# %% right="selective_scan"
def selective_scan(x, step, A, B, C, D, state=None):  # with the associative scan; time last
    decay = (step.unsqueeze(2) * A[None, :, :, None]).exp()
    entering = (step * x).unsqueeze(2) * B.unsqueeze(1)
    if state is not None:
        entering = torch.cat([entering[..., :1] + decay[..., :1] * state[..., None], entering[..., 1:]], -1)
    states = scan(decay, entering, combine)
    return torch.einsum("bcnt,bnt->bct", states, C) + D[None, :, None] * x, states[..., -1].clone()


# %% right="selective_scan"
def selective_scan(x, step, A, B, C, D, state=None):  # one token at a time, by a function of its own
    def advance(h, now):
        x, step, B, C = now
        h = torch.exp(torch.einsum("bc,cs->bcs", step, A)) * h + torch.einsum("bc,bs->bcs", step * x, B)
        return h, torch.einsum("bcs,bs->bc", h, C) + D * x

    if state is None:
        state = torch.zeros(x.size(0), A.size(0), A.size(1), dtype=x.dtype, device=x.device)
    outputs = []
    for now in zip(*(t.unbind(-1) for t in (x, step, B, C))):
        state, y = advance(state, now)
        outputs.append(y)
    return torch.stack(outputs, dim=2), state


# %% equivalent="check_scan" because="nothing changes h in place, and a copy of the state is handed out"
# - h = torch.zeros_like(start) if state is None else state.clone()
# + h = torch.zeros_like(start) if state is None else state

# %% equivalent="check_scan" because="the comparison is symmetric up to its tolerance"
# - assert near(y, torch.stack(expected, -1)), f"outputs of {length} tokens, from {state}"
# + assert (near(torch.stack(expected, -1), y)), f"outputs of {length} tokens, from {state}"

# %% equivalent="check_scan" because="one token more shows the same"
# - for length in (1, 80):
# + for length in (1, 81):

# %% equivalent="check_scan" because="one token less shows the same"
# - for length in (1, 80):
# + for length in (1, 79):

# %% equivalent="check_scan" because="the comparison is symmetric up to its tolerance"
# - assert near(last, h), f"last state of {length} tokens, from {state}"
# + assert (near(h, last)), f"last state of {length} tokens, from {state}"

# %% wrong="check_scan" breaks="with_a_state" says="Still unseen: starts every call at zero"
def check_scan(scan):  # misunderstands: what is right from zero is right from anywhere
    for length in (1, 80):
        *given, _ = any_inputs(length)
        handed = [t.clone() for t in given]
        y, last = scan(*handed)
        right, end = library_scan(*given)
        assert near(y, right) and near(last, end)
        assert all(map(torch.equal, handed, given))


# %% wrong="check_scan" breaks="lengths" says="forgets everything after every 16 tokens"
def check_scan(scan):  # misunderstands: a short text shows all that a long one does
    for length in (1, 8):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            result = scan(*handed[:6], None if state is None else handed[6])
            assert near(result, scan_one_by_one(*given, state))
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="lengths" says="every 64 tokens"
def check_scan(scan):  # misunderstands: what is right after 16 tokens is right after any number
    for length in (1, 33):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            result = scan(*handed[:6], None if state is None else handed[6])
            assert near(result, scan_one_by_one(*given, state))
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="lengths" says="single token"
def check_scan(scan):  # misunderstands: a long text contains all that can go wrong in a short one
    *given, start = any_inputs(80)
    for state in (None, start):
        handed = [t.clone() for t in (*given, start)]
        result = scan(*handed[:6], None if state is None else handed[6])
        assert near(result, scan_one_by_one(*given, state))
        assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="last_state" says="Still unseen: returns the state before the last token"
def check_scan(scan):  # misunderstands: a wrong state would show in the outputs
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, _ = scan(*handed[:6], None if state is None else handed[6])
            assert near(y, scan_one_by_one(*given, state)[0])
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="arguments" says="Still unseen: changes the caller's state"
def check_scan(scan):  # misunderstands: a function answers by what it returns
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            expected = scan_one_by_one(*given, state)
            assert near(scan(*(t.clone() for t in given), None if state is None else state.clone()), expected)


# %% wrong="check_scan" breaks="arguments" says="Still unseen: writes"
def check_scan(scan):  # misunderstands: only a state can be changed
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = start.clone()
            result = scan(*(t.clone() for t in given), None if state is None else handed)
            assert near(result, scan_one_by_one(*given, state))
            assert torch.equal(handed, start)


# %% wrong="check_scan" breaks="no_false_alarm" says="reject a correct implementation"
def check_scan(scan):  # misunderstands: equal means equal in every bit
    *given, start = any_inputs(80)
    kept = start.clone()
    y, last = scan(*given, start)
    expected, end = scan_one_by_one(*given, kept)
    assert torch.equal(y, expected) and torch.equal(last, end) and torch.equal(start, kept)


# %% wrong="check_scan" breaks="raises" says="reject with `assert`"
def check_scan(scan):  # misunderstands: the caller looks at what a test returns
    *given, start = any_inputs(80)
    return near(scan(*given, start.clone()), scan_one_by_one(*given, start))


# %% wrong="check_scan" breaks="raises" says="Still unseen: starts every call at zero"
def check_scan(scan):  # misunderstands: the right shape is the right answer
    *given, start = any_inputs(80)
    y, last = scan(*given, start)
    assert y.shape == (2, 3, 80) and last.shape == (2, 3, 4) and torch.isfinite(y).all()


# %% wrong="check_scan" breaks="arguments" says="Still unseen: writes zeros over"
def check_scan(scan):  # misunderstands: what has no length is a constant, which nobody changes
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            x, step, A, B, C, D = given
            handed = [t.clone() for t in (x, step, start)]
            result = scan(handed[0], handed[1], A.clone(), B.clone(), C.clone(), D.clone(), None if state is None else handed[2])
            assert near(result, scan_one_by_one(*given, state))
            assert all(map(torch.equal, handed, (x, step, start)))


# %% wrong="check_scan" breaks="with_a_state" says="starts from ones where no state"
def check_scan(scan):  # misunderstands: who starts rightly from a state starts rightly from none
    for length in (1, 2, 5, 16, 17, 63, 64, 65, 129, 300):
        given = any_inputs(length)
        handed = [t.clone() for t in given]
        assert near(scan(*handed), scan_one_by_one(*given))
        assert all(map(torch.equal, handed, given))


# %% wrong="check_scan" breaks="together" says="Still unseen: returns the state before the last token where a state is handed in"
def check_scan(scan):  # misunderstands: a last state that is right from zero is right from anywhere
    for length in (1, 2, 5, 17, 40, 64, 65, 130, 300):
        *given, start = any_inputs(length)
        handed = [t.clone() for t in (*given, start)]
        y, last = scan(*handed[:6])
        right, end = library_scan(*given)
        assert near(y, right) and near(last, end)
        assert near(scan(*handed)[0], scan_one_by_one(*given, start)[0])
        assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="together" says="Still unseen: writes the outputs over x where no state is handed in"
def check_scan(scan):  # misunderstands: who leaves the arguments alone from one start does so from any
    for length in (1, 80):
        *given, start = any_inputs(length)
        handed = [t.clone() for t in (*given, start)]
        assert near(scan(*handed), scan_one_by_one(*given, start))
        assert all(map(torch.equal, handed, (*given, start)))
        assert near(scan(*(t.clone() for t in given)), library_scan(*given))


# %% wrong="check_scan" breaks="together" says="Still unseen: writes step * x over step where a state is handed in"
def check_scan(scan):  # misunderstands: with a state, the state is the argument to look at
    for length in (1, 80):
        *given, start = any_inputs(length)
        handed = [t.clone() for t in (*given, start)]
        assert near(scan(*handed[:6]), library_scan(*given))
        assert all(map(torch.equal, handed, given))
        assert near(scan(*handed), scan_one_by_one(*given, start))
        assert torch.equal(handed[6], start)


# %% wrong="check_scan" breaks="together" says="Still unseen: writes zeros over C in a text of a single token"
def check_scan(scan):  # misunderstands: the values need all lengths, the arguments one
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            assert near(scan(*handed[:6], None if state is None else handed[6]), scan_one_by_one(*given, state))
            assert length == 1 or all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="together" says="Still unseen: returns the state of token 64 in a text of more than 64 tokens"
def check_scan(scan):  # misunderstands: whether the last state is right shows in short texts
    for length in (1, 2, 20, 150):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            assert near(y, right) and (length > 20 or near(last, end))
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="last_state" says="Still unseen: reads the state before the update"
def check_scan(scan):  # misunderstands: the last state tells whether the outputs are right
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            assert near(last, end)
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="last_state" says="Still unseen: gives only the newest output"
def check_scan(scan):  # misunderstands: the newest output follows from all others
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            assert near(y[..., -1], right[..., -1]) and near(last, end)
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="last_state" says="exchanges the rows of the batch"
def check_scan(scan):  # misunderstands: sums that agree are enough
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            assert abs(y.sum() - right.sum()) < 1e-2 and abs(last.sum() - end.sum()) < 1e-2
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="last_state" says="Still unseen: returns the first row's last state"
def check_scan(scan):  # misunderstands: rows of a batch are alike
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            assert near(y, right) and near(last[0], end[0])
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="raises" says="rounds to bfloat16"
def check_scan(scan):  # misunderstands: what is off by less than 1 is rounding
    for length in (1, 80):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            assert torch.allclose(y, right, atol=1.0) and torch.allclose(last, end, atol=1.0)
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="together" says="Still unseen: leaves out D in a text of more than 64 tokens"
def check_scan(scan):  # misunderstands: what an output is shows in short texts
    for length in (1, 2, 20, 150):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            assert near(last, end) and (length > 20 or near(y, right))
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="together" says="Still unseen: writes zeros over B in a text of more than 64 tokens"
def check_scan(scan):  # misunderstands: arguments that survive a short text survive a long one
    for length in (1, 2, 20, 150):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            assert near(y, right) and near(last, end)
            assert length > 20 or all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="together" says="Still unseen: forgets everything after every 64 tokens where a state is handed in"
def check_scan(scan):  # misunderstands: chunks do not care for what is handed in
    for length in (1, 2, 20, 150):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            if length > 20 and state is not None:
                continue
            assert near(y, right) and near(last, end)
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="together" says="Still unseen: gives zeros in a text of a single token where no state is handed in"
def check_scan(scan):  # misunderstands: in a text of a single token there is always a state
    for length in (1, 2, 20, 150):
        *given, start = any_inputs(length)
        for state in (None, start):
            handed = [t.clone() for t in (*given, start)]
            y, last = scan(*handed[:6], None if state is None else handed[6])
            right, end = scan_one_by_one(*given, state)
            if length == 1 and state is None:
                continue
            assert near(y, right) and near(last, end)
            assert all(map(torch.equal, handed, (*given, start)))


# %% wrong="check_scan" breaks="last_state" says="last two entries"
def check_scan(scan):  # misunderstands: compares the last state of the first state entry only
    for length in (1, 7, 64, 200):
        for begin in (False, True):
            x, step, A, B, C, D, start = any_inputs(length)
            h = start.clone() if begin else torch.zeros_like(start)
            outputs = []
            for t in range(length):
                h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
                outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
            handed = [t.clone() for t in (x, step, A, B, C, D, start)]
            y, last = scan(*handed[:6], handed[6] if begin else None)
            assert near(y, torch.stack(outputs, -1))
            assert near(last[..., 0], h[..., 0])
            assert all(map(torch.equal, handed, (x, step, A, B, C, D, start)))


# %% wrong="check_scan" breaks="last_state" says="last channel's last state"
def check_scan(scan):  # misunderstands: compares the last state of channel 0 only
    for length in (1, 7, 64, 200):
        for begin in (False, True):
            x, step, A, B, C, D, start = any_inputs(length)
            h = start.clone() if begin else torch.zeros_like(start)
            outputs = []
            for t in range(length):
                h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
                outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
            handed = [t.clone() for t in (x, step, A, B, C, D, start)]
            y, last = scan(*handed[:6], handed[6] if begin else None)
            assert near(y, torch.stack(outputs, -1))
            assert near(last[:, 0], h[:, 0])
            assert all(map(torch.equal, handed, (x, step, A, B, C, D, start)))


# %% wrong="check_scan" breaks="last_state" says="exchanges the last two"
def check_scan(scan):  # misunderstands: compares the sum of the last state
    for length in (1, 7, 64, 200):
        for begin in (False, True):
            x, step, A, B, C, D, start = any_inputs(length)
            h = start.clone() if begin else torch.zeros_like(start)
            outputs = []
            for t in range(length):
                h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
                outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
            handed = [t.clone() for t in (x, step, A, B, C, D, start)]
            y, last = scan(*handed[:6], handed[6] if begin else None)
            assert near(y, torch.stack(outputs, -1))
            assert near(last.sum(), h.sum())
            assert all(map(torch.equal, handed, (x, step, A, B, C, D, start)))


# %% wrong="check_scan" breaks="last_state" says="first row's C"
def check_scan(scan):  # misunderstands: compares the outputs of row 0 only
    for length in (1, 7, 64, 200):
        for begin in (False, True):
            x, step, A, B, C, D, start = any_inputs(length)
            h = start.clone() if begin else torch.zeros_like(start)
            outputs = []
            for t in range(length):
                h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
                outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
            handed = [t.clone() for t in (x, step, A, B, C, D, start)]
            y, last = scan(*handed[:6], handed[6] if begin else None)
            assert near(y[0], torch.stack(outputs, -1)[0])
            assert near(last, h)
            assert all(map(torch.equal, handed, (x, step, A, B, C, D, start)))


# %% wrong="check_scan" breaks="lengths" says="drops the axis of time"
def check_scan(scan):  # misunderstands: brings results to the expected shape first, so a wrong shape is never seen
    for length in (1, 7, 64, 200):
        for begin in (False, True):
            x, step, A, B, C, D, start = any_inputs(length)
            h = start.clone() if begin else torch.zeros_like(start)
            outputs = []
            for t in range(length):
                h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
                outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
            handed = [t.clone() for t in (x, step, A, B, C, D, start)]
            y, last = scan(*handed[:6], handed[6] if begin else None)
            assert near(y.reshape(h.shape[0], h.shape[1], length), torch.stack(outputs, -1))
            last = last.reshape(h.shape)
            assert near(last, h)
            assert all(map(torch.equal, handed, (x, step, A, B, C, D, start)))


# %% wrong="check_scan" breaks="together" says="for the first token in a text"
def check_scan(scan):  # misunderstands: compares the outputs from the second token on in longer texts
    for length in (1, 7, 64, 200):
        for begin in (False, True):
            x, step, A, B, C, D, start = any_inputs(length)
            h = start.clone() if begin else torch.zeros_like(start)
            outputs = []
            for t in range(length):
                h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
                outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
            handed = [t.clone() for t in (x, step, A, B, C, D, start)]
            y, last = scan(*handed[:6], handed[6] if begin else None)
            assert near(y[..., min(1, length - 1) :], torch.stack(outputs, -1)[..., min(1, length - 1) :])
            assert near(last, h)
            assert all(map(torch.equal, handed, (x, step, A, B, C, D, start)))


# %% right="check_scan"
def check_scan(implementation):  # properties: against the library, and pieces against the whole
    x, step, A, B, C, D, start = any_inputs(150)
    expected, end = library_scan(x, step, A, B, C, D)
    given = dict(x=x, step=step, A=A, B=B, C=C, D=D)
    copies = {name: t.clone() for name, t in given.items()}
    whole = implementation(**given)
    assert near(whole[0], expected) and near(whole[1], end)
    assert all(torch.equal(given[name], copies[name]) for name in given), "an argument was changed"
    pieces, state = [], None
    for part in (slice(0, 1), slice(1, 2), slice(2, 70), slice(70, 150)):
        old = None if state is None else state.clone()
        y, new = implementation(x[..., part], step[..., part], A, B[..., part], C[..., part], D, state=state)
        assert old is None or torch.equal(old, state), "the caller's state was changed"
        assert all(torch.equal(given[name], copies[name]) for name in given), "an argument was changed"
        pieces.append(y)
        state = new
    assert near(torch.cat(pieces, -1), expected) and near(state, end)


# %% right="check_scan"
def check_scan(scan):  # inputs of its own, among them transposed ones, and an oracle in float64
    def oracle(x, step, A, B, C, D, h):
        outputs = []
        for t in range(x.shape[-1]):
            h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
            outputs.append(torch.einsum("bcs,bs->bc", h, C[..., t]) + D * x[..., t])
        return torch.stack(outputs, -1), h

    for seed, length in enumerate((1, 2, 17, 65, 200)):
        given = [t.mT.contiguous().mT if t.ndim > 1 else t for t in scan_inputs(10 * seed, 3, 4, length, 2)]
        start = torch.randn(3, 4, 2)
        for state in (start, torch.zeros_like(start)):
            handed = [t.clone() for t in (*given, state)]
            y, last = scan(*handed) if state is start else scan(*handed[:-1])
            right, end = (t.float() for t in oracle(*(t.double() for t in (*given, state))))
            if not (near(y, right) and near(last, end)):
                raise ValueError(f"wrong after {length} tokens")
            for mine, theirs in zip((*given, state), handed):
                torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


# %% right="check_scan"
def check_scan(scan):
    for length in (1, 65):
        for begin in (False, True):
            x, step, A, B, C, D, start = any_inputs(length)
            h = start.clone() if begin else torch.zeros_like(start)
            outputs = []
            for t in range(length):
                h = torch.exp(step[..., t, None] * A) * h + (step * x)[..., t, None] * B[:, None, :, t]
                outputs.append((h * C[:, None, :, t]).sum(-1) + D * x[..., t])
            handed = [t.clone() for t in (x, step, A, B, C, D, start)]
            y, last = scan(*handed[:6], handed[6] if begin else None)
            assert near(y, torch.stack(outputs, -1))
            assert near(last, h)
            assert all(map(torch.equal, handed, (x, step, A, B, C, D, start)))


# %% wrong="mamba_block" breaks="pieces,short_pieces" says="a text in pieces"
def mamba_block(mixer, hidden, state=None):  # misunderstands: h is all the memory; the convolution starts from zeros
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = x.new_zeros(*x.shape[:2], reach), state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), h


# %% wrong="mamba_block" breaks="pieces,short_pieces" says="a text in pieces"
def mamba_block(mixer, hidden, state=None):  # misunderstands: what the convolution keeps is its output
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (F.pad(x, (reach, 0))[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="pieces,short_pieces" says="a text in pieces"
def mamba_block(mixer, hidden, state=None):  # misunderstands: the window of the convolution is all that Mamba remembers
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, _ = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    h = None
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="size" says="is there a view of a longer tensor"
def mamba_block(mixer, hidden, state=None):  # misunderstands: a slice is small because its shape is
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:], h)


# %% wrong="mamba_block" breaks="size" says="(1 rows, 1 channels)"
def mamba_block(mixer, hidden, state=None):  # misunderstands: .contiguous() always copies, also with one row of one channel
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].contiguous(), h)


# %% wrong="mamba_block" breaks="size" says="the bytes that the state keeps alive"
def mamba_block(mixer, hidden, state=None):  # misunderstands: keeping all inputs of the convolution does no harm
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen[..., -x.shape[-1] - reach :], mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen, h)


# %% wrong="mamba_block" breaks="short_pieces" says="a text in pieces"
def mamba_block(mixer, hidden, state=None):  # misunderstands: a piece is always longer than the convolution
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    given, reach = x, mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (F.pad(given, (reach, 0))[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="whole,pieces,short_pieces" says="in_proj gives first the input"
def mamba_block(mixer, hidden, state=None):  # misunderstands: which half is the input and which the gate
    gate, x = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="whole,pieces,short_pieces" says="x_proj gives low, then B, then C"
def mamba_block(mixer, hidden, state=None):  # misunderstands: the way out stands before the way in
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, C, B = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="whole,pieces,short_pieces" says="dt_proj has a bias"
def mamba_block(mixer, hidden, state=None):  # misunderstands: a projection is its weight
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(low @ mixer.dt_proj.weight.T).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="whole" says="infinite in float32"
def mamba_block(mixer, hidden, state=None):  # misunderstands: softplus is log(1 + e^x), however large x is
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = torch.log(1 + torch.exp(mixer.dt_proj(low))).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="whole,pieces,short_pieces" says="the output of"
def mamba_block(mixer, hidden, state=None):  # misunderstands: a convolution has no bias
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, None, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="gradients" says="the gradient for"
def mamba_block(mixer, hidden, state=None):  # misunderstands: what is carried on is a number, not a computation
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].detach().clone(), h)


# %% wrong="mamba_block" breaks="gradients" says="the gradient for"
def mamba_block(mixer, hidden, state=None):  # misunderstands: the old state is data
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else (state[0], state[1].detach())
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="gradients" says="no gradient flows"
@torch.no_grad()
def mamba_block(mixer, hidden, state=None):  # misunderstands: a state is only for generating
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="unchanged" says="the state that was given to piece 1"
def mamba_block(mixer, hidden, state=None):  # misunderstands: the state is the function's own
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    state = [x.new_zeros(*x.shape[:2], reach), None] if state is None else state
    past, h = state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    state[:] = seen[..., -reach:].clone(), h
    return mixer.out_proj((y * F.silu(gate)).mT), state


# %% wrong="mamba_block" breaks="unchanged" says="is something kept elsewhere"
windows = {}


def mamba_block(mixer, hidden, state=None):  # misunderstands: a mixer reads one text at a time, so its window may be kept by mixer
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else (windows[id(mixer)], state[0])
    seen = torch.cat([past, x], -1)
    windows[id(mixer)] = seen[..., -reach:].clone()
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), [h]


# %% wrong="mamba_block" breaks="unchanged" says="`hidden` after"
def mamba_block(mixer, hidden, state=None):  # misunderstands: the input has been read, so its place is free
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    out = mixer.out_proj((y * F.silu(gate)).mT)
    if not torch.is_grad_enabled():
        hidden.copy_(out)
    return out, (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="unchanged" says="the mixer after"
def mamba_block(mixer, hidden, state=None):  # misunderstands: a block that is to be trained puts its parts into training mode
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    mixer.train()
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="scan" says="`selective_scan` was not called"
def mamba_block(mixer, hidden, state=None):  # misunderstands: the recurrence may as well be written once more
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    h, outputs = x.new_zeros(*x.shape[:2], mixer.ssm_state_size) if h is None else h, []
    for t in range(x.shape[-1]):
        h = torch.exp(-step[..., t, None] * mixer.A_log.exp()) * h + (step * x)[..., t, None] * B[:, None, t]
        outputs.append((h * C[:, None, t]).sum(-1) + mixer.D * x[..., t])
    y = torch.stack(outputs, -1)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="parts,scan,size" says="the mixer itself was called"
def mamba_block(mixer, hidden, state=None):  # reads the whole text again at each call
    text = hidden if state is None else torch.cat([state, hidden], 1)
    return mixer(text)[:, -hidden.shape[1] :], text


# %% wrong="mamba_block" breaks="unchanged" says="mixer"
def mamba_block(mixer, hidden, state=None):  # misunderstands: A is a constant, computed once and kept on the mixer
    K, N = mixer.conv_kernel_size, mixer.ssm_state_size
    if not hasattr(mixer, "A"):
        mixer.A = -torch.exp(mixer.A_log)
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    past, h = (x.new_zeros(*x.shape[:2], K - 1), None) if state is None else state
    seen = torch.cat([past, x], -1)
    kept = seen[..., -(K - 1) :].clone()
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank, N, N], dim=-1)
    step = F.softplus(mixer.dt_proj(low))
    y, h = selective_scan(x, step.mT, mixer.A, B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (kept, h)


# %% wrong="mamba_block" breaks="unchanged" says="at the first call"
A = {}


def mamba_block(mixer, hidden, state=None):  # misunderstands: A is a constant, computed once and kept by mixer
    K, N = mixer.conv_kernel_size, mixer.ssm_state_size
    if mixer not in A:
        A[mixer] = -torch.exp(mixer.A_log)
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    past, h = (x.new_zeros(*x.shape[:2], K - 1), None) if state is None else state
    seen = torch.cat([past, x], -1)
    kept = seen[..., -(K - 1) :].clone()
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank, N, N], dim=-1)
    step = F.softplus(mixer.dt_proj(low))
    y, h = selective_scan(x, step.mT, A[mixer], B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (kept, h)


# %% wrong="mamba_block" breaks="whole,pieces,short_pieces" says="in front of the convolution's input"
def mamba_block(mixer, hidden, state=None):  # misunderstands: zeros before the text may as well stand in front of hidden
    K, N = mixer.conv_kernel_size, mixer.ssm_state_size
    past, h = (hidden.new_zeros(hidden.shape[0], K - 1, hidden.shape[2]), None) if state is None else state
    seen = torch.cat([past, hidden], 1)
    kept = seen[:, -(K - 1) :].clone()
    x, gate = mixer.in_proj(seen).mT.chunk(2, dim=1)
    gate = gate[..., K - 1 :]
    x = F.silu(F.conv1d(x, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank, N, N], dim=-1)
    step = F.softplus(mixer.dt_proj(low))
    y, h = selective_scan(x, step.mT, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (kept, h)


# %% wrong="mamba_block" breaks="unchanged" says="left in evaluation mode"
def mamba_block(mixer, hidden, state=None):  # misunderstands: what is to give outputs is put into evaluation mode
    mixer.eval()
    taps, n = mixer.conv_kernel_size, mixer.ssm_state_size
    both = mixer.in_proj(hidden).transpose(1, 2)
    x, gate = both.chunk(2, dim=1)
    if state is None:
        past, h = x.new_zeros(x.shape[0], x.shape[1], taps - 1), None
    else:
        past, h = state
    seen = torch.cat([past, x], dim=2)
    kept = seen[:, :, seen.shape[2] - (taps - 1) :].clone()
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = torch.split(mixer.x_proj(x.transpose(1, 2)), [mixer.time_step_rank, n, n], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).transpose(1, 2)
    y, h = selective_scan(x, step, -torch.exp(mixer.A_log), B.transpose(1, 2), C.transpose(1, 2), mixer.D, h)
    out = mixer.out_proj((y * F.silu(gate)).transpose(1, 2))
    return out, (kept, h)


# %% wrong="mamba_block" breaks="unchanged" says="the mixer after"
def mamba_block(mixer, hidden, state=None):  # misunderstands: gradients are needed, so every weight is asked for one
    mixer.requires_grad_()
    taps, n = mixer.conv_kernel_size, mixer.ssm_state_size
    both = mixer.in_proj(hidden).transpose(1, 2)
    x, gate = both.chunk(2, dim=1)
    if state is None:
        past, h = x.new_zeros(x.shape[0], x.shape[1], taps - 1), None
    else:
        past, h = state
    seen = torch.cat([past, x], dim=2)
    kept = seen[:, :, seen.shape[2] - (taps - 1) :].clone()
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = torch.split(mixer.x_proj(x.transpose(1, 2)), [mixer.time_step_rank, n, n], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).transpose(1, 2)
    y, h = selective_scan(x, step, -torch.exp(mixer.A_log), B.transpose(1, 2), C.transpose(1, 2), mixer.D, h)
    out = mixer.out_proj((y * F.silu(gate)).transpose(1, 2))
    return out, (kept, h)


# %% wrong="mamba_block" breaks="gradients" says="NaN"
def mamba_block(mixer, hidden, state=None):  # misunderstands: torch.where takes away what overflows, in the gradients too
    taps, n = mixer.conv_kernel_size, mixer.ssm_state_size
    both = mixer.in_proj(hidden).transpose(1, 2)
    x, gate = both.chunk(2, dim=1)
    if state is None:
        past, h = x.new_zeros(x.shape[0], x.shape[1], taps - 1), None
    else:
        past, h = state
    seen = torch.cat([past, x], dim=2)
    kept = seen[:, :, seen.shape[2] - (taps - 1) :].clone()
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = torch.split(mixer.x_proj(x.transpose(1, 2)), [mixer.time_step_rank, n, n], dim=-1)
    raw = mixer.dt_proj(low)
    step = torch.where(raw > 20, raw, raw.exp().log1p()).transpose(1, 2)
    y, h = selective_scan(x, step, -torch.exp(mixer.A_log), B.transpose(1, 2), C.transpose(1, 2), mixer.D, h)
    out = mixer.out_proj((y * F.silu(gate)).transpose(1, 2))
    return out, (kept, h)


# %% wrong="mamba_block" breaks="gradients" says="nothing that is made of `A_log` is in the graph"
def mamba_block(mixer, hidden, state=None):  # misunderstands: A is a constant of the model, so its data suffice
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -torch.exp(mixer.A_log.data), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="gradients" says="in evaluation mode"
def mamba_block(mixer, hidden, state=None):  # misunderstands: in evaluation mode nobody trains
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    if not mixer.training and h is not None:
        past, h = past.detach(), h.detach()
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="unchanged" says="without its gradient"
def mamba_block(mixer, hidden, state=None):  # misunderstands: before a computation, gradients are set to zero
    mixer.zero_grad()
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    reach = mixer.conv_kernel_size - 1
    past, h = (x.new_zeros(*x.shape[:2], reach), None) if state is None else state
    seen = torch.cat([past, x], -1)
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank] + 2 * [mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (seen[..., -reach:].clone(), h)


# %% wrong="mamba_block" breaks="gradients" says="all weights frozen"
def mamba_block(mixer, hidden, state=None):  # misunderstands: thinks frozen weights mean that no gradient is needed, not for hidden and the state either
    with torch.set_grad_enabled(torch.is_grad_enabled() and any(p.requires_grad for p in mixer.parameters())):
        return with_graph(mixer, hidden, state)


def with_graph(mixer, hidden, state):
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    past, h = (x.new_zeros(*x.shape[:2], mixer.conv_kernel_size - 1), None) if state is None else state
    seen = torch.cat([past, x], -1)
    kept = seen[..., x.shape[-1] :].clone()
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (kept, h)


# %% wrong="mamba_block" breaks="gradients" says="needs no gradient"
def mamba_block(mixer, hidden, state=None):  # misunderstands: where the text needs no gradient nothing does
    with torch.set_grad_enabled(torch.is_grad_enabled() and hidden.requires_grad):
        return with_graph(mixer, hidden, state)


def with_graph(mixer, hidden, state):
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    past, h = (x.new_zeros(*x.shape[:2], mixer.conv_kernel_size - 1), None) if state is None else state
    seen = torch.cat([past, x], -1)
    kept = seen[..., x.shape[-1] :].clone()
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size], dim=-1)
    step = F.softplus(mixer.dt_proj(low)).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (kept, h)


# %% wrong="mamba_block" breaks="whole,pieces" says="neither cut off nor infinite"
def mamba_block(mixer, hidden, state=None):  # misunderstands: softplus above 80 is cut off to keep exp finite
    x, gate = mixer.in_proj(hidden).mT.chunk(2, dim=1)
    past, h = (x.new_zeros(*x.shape[:2], mixer.conv_kernel_size - 1), None) if state is None else state
    seen = torch.cat([past, x], -1)
    kept = seen[..., x.shape[-1] :].clone()
    x = F.silu(F.conv1d(seen, mixer.conv1d.weight, mixer.conv1d.bias, groups=x.shape[1]))
    low, B, C = mixer.x_proj(x.mT).split([mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size], dim=-1)
    step = torch.log1p(mixer.dt_proj(low).clamp(max=80).exp()).mT
    y, h = selective_scan(x, step, -mixer.A_log.exp(), B.mT, C.mT, mixer.D, h)
    return mixer.out_proj((y * F.silu(gate)).mT), (kept, h)


# %% right="mamba_block"
def mamba_block(m, hidden, state=None):  # token by token, with the convolution as a window
    inner = m.in_proj.out_features // 2
    taps = m.conv1d.weight[:, 0]
    if state is None:
        state = {"window": hidden.new_zeros(hidden.shape[0], inner, m.conv_kernel_size - 1), "h": None}
    window, h = state["window"], state["h"]
    A, outs = -torch.exp(m.A_log), []
    for token in hidden.unbind(1):
        both = m.in_proj(token)
        x, gate = both[:, :inner], both[:, inner:]
        full = torch.cat([window, x[..., None]], dim=2)
        window = full[:, :, 1:].clone()
        x = (full * taps).sum(2)
        x = F.silu(x if m.conv1d.bias is None else x + m.conv1d.bias)
        made = m.x_proj(x)
        low, B, C = made[:, : m.time_step_rank], made[:, m.time_step_rank : -m.ssm_state_size], made[:, -m.ssm_state_size :]
        step = F.softplus(m.dt_proj(low))
        y, h = selective_scan(x[..., None], step[..., None], A=A, B=B[..., None], C=C[..., None], D=m.D, state=h)
        outs.append(m.out_proj(y[..., 0] * F.silu(gate)))
    return torch.stack(outs, 1), {"window": window, "h": h}


# %% right="mamba_block"
def mamba_block(mixer, hidden, state=None):  # the module of the convolution on zeros or the past in front, K inputs kept
    K, length = mixer.conv1d.kernel_size[0], hidden.size(1)
    values, gate = torch.split(mixer.in_proj(hidden), mixer.intermediate_size, dim=-1)
    values = values.transpose(1, 2)
    if state is None:
        state = [torch.zeros(values.size(0), values.size(1), K), None]
    window = torch.cat((state[0], values), dim=2)
    x = mixer.act(mixer.conv1d(window)[:, :, K : K + length])
    parts = mixer.x_proj(x.transpose(1, 2))
    rank, n = mixer.time_step_rank, mixer.ssm_state_size
    step = F.softplus(F.linear(parts[..., :rank], mixer.dt_proj.weight, mixer.dt_proj.bias))
    B, C = parts[..., rank : rank + n], parts[..., rank + n :]
    A = -torch.exp(mixer.A_log)
    y, last = selective_scan(x, step.transpose(1, 2), A, B.transpose(1, 2), C.transpose(1, 2), mixer.D, state[1])
    out = mixer.out_proj(y.transpose(1, 2) * mixer.act(gate))
    return [out, [window[:, :, -K:].contiguous() if window.size(2) == K else window[:, :, -K:].clone(), last]]


# %% equivalent="cache_size" because="at -1 the list of attention layers is empty and there is one Mamba layer too many: it never fits where 0 did not"
# - for number in range(count, -1, -1):
# + for number in range(count, -2, -1):

# %% wrong="cache_size" breaks="attention" says="keys and values: twice"
def predicted_bytes(layers, tokens, batch=1, size=4):  # misunderstands: one tensor a layer
    sizes = [
        x["kv_heads"] * x["head_dim"] * tokens
        if "kv_heads" in x
        else x["conv_channels"] * x["kernel"] + x["channels"] * x["state"]
        for x in layers
    ]
    return sum(sizes) * batch * size


def cache_bytes(*args):
    raise NotImplementedError


most_attention = cache_bytes


# %% wrong="cache_size" breaks="mamba" says="its length does not matter"
def predicted_bytes(layers, tokens, batch=1, size=4):  # misunderstands: a state for each token
    sizes = [
        2 * x["kv_heads"] * x["head_dim"] if "kv_heads" in x else x["conv_channels"] * x["kernel"] + x["channels"] * x["state"]
        for x in layers
    ]
    return sum(sizes) * tokens * batch * size


def cache_bytes(*args):
    raise NotImplementedError


most_attention = cache_bytes


# %% wrong="cache_size" breaks="mamba" says="predicted_bytes"
def predicted_bytes(layers, tokens, batch=1, size=4):  # misunderstands: a short text does not fill the window of the convolution
    sizes = [
        2 * x["kv_heads"] * x["head_dim"] * tokens
        if x["kind"] == "attention"
        else x["conv_channels"] * min(x["kernel"], tokens) + x["channels"] * x["state"]
        for x in layers
    ]
    return sum(sizes) * batch * size


def cache_bytes(*args):
    raise NotImplementedError


most_attention = cache_bytes


# %% wrong="cache_size" breaks="batch" says="a state of its own"
def predicted_bytes(layers, tokens, batch=1, size=4):  # misunderstands: the state belongs to the layer
    attention = sum(2 * x["kv_heads"] * x["head_dim"] * tokens for x in layers if x["kind"] == "attention")
    mamba = sum(x["conv_channels"] * x["kernel"] + x["channels"] * x["state"] for x in layers if x["kind"] == "mamba")
    return (attention * batch + mamba) * size


def cache_bytes(*args):
    raise NotImplementedError


most_attention = cache_bytes


# %% wrong="cache_size" breaks="all_kinds" says="no attribute 'keys'"
def cache_bytes(cache):  # misunderstands: every layer has keys and values
    return sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values) if t is not None)


def predicted_bytes(*args):
    raise NotImplementedError


most_attention = predicted_bytes


# %% wrong="cache_size" breaks="all_kinds" says="elements times bytes of one"
def cache_bytes(cache):  # misunderstands: a layer is either attention or Mamba
    total = 0
    for layer in cache.layers:
        if hasattr(layer, "conv_states"):
            tensors = [*layer.conv_states.values(), *layer.recurrent_states.values()]
        else:
            tensors = [layer.keys, layer.values]
        total += sum(t.nbytes for t in tensors if t is not None)
    return total


def predicted_bytes(*args):
    raise NotImplementedError


most_attention = predicted_bytes


# %% wrong="cache_size" breaks="all_kinds" says="elements times bytes of one"
def cache_bytes(cache):  # misunderstands: a Mamba layer has one state
    total = 0
    for layer in cache.layers:
        tensors = [getattr(layer, "keys", None), getattr(layer, "values", None)]
        tensors += [getattr(layer, name)[0] for name in ("conv_states", "recurrent_states") if hasattr(layer, name)]
        total += sum(t.nbytes for t in tensors if t is not None)
    return total


def predicted_bytes(*args):
    raise NotImplementedError


most_attention = predicted_bytes


# %% wrong="cache_size" breaks="measured" says="not always 4 bytes"
def cache_bytes(cache):  # misunderstands: a number has 4 bytes
    total = 0
    for layer in cache.layers:
        tensors = [getattr(layer, "keys", None), getattr(layer, "values", None)]
        tensors += [*getattr(layer, "conv_states", {}).values(), *getattr(layer, "recurrent_states", {}).values()]
        total += sum(4 * t.numel() for t in tensors if t is not None)
    return total


def predicted_bytes(*args):
    raise NotImplementedError


most_attention = predicted_bytes


# %% wrong="cache_size" breaks="measured" says="storage does not count"
def cache_bytes(cache):  # misunderstands: the task asks for what is kept alive
    total = 0
    for layer in cache.layers:
        tensors = [getattr(layer, "keys", None), getattr(layer, "values", None)]
        tensors += [*getattr(layer, "conv_states", {}).values(), *getattr(layer, "recurrent_states", {}).values()]
        total += sum(t.untyped_storage().nbytes() for t in tensors if t is not None)
    return total


def predicted_bytes(*args):
    raise NotImplementedError


most_attention = predicted_bytes


# %% wrong="cache_size" breaks="unused" says="has no attribute 'nbytes'"
def cache_bytes(cache):  # misunderstands: a cache that exists is in use
    total = 0
    for layer in cache.layers:
        if hasattr(layer, "keys"):
            total += layer.keys.nbytes + layer.values.nbytes
        total += sum(t.nbytes for name in ("conv_states", "recurrent_states") for t in getattr(layer, name, {}).values())
    return total


def predicted_bytes(*args):
    raise NotImplementedError


most_attention = predicted_bytes


# %% wrong="cache_size" breaks="unchanged" says="only look at it"
def cache_bytes(cache):  # misunderstands: what has been counted may be given back
    total = 0
    for layer in cache.layers:
        for name in ("keys", "values", "conv_states", "recurrent_states"):
            held = vars(layer).get(name)
            tensors = [held.pop(key) for key in list(held)] if isinstance(held, dict) else [held]
            total += sum(t.nbytes for t in tensors if t is not None)
    return total


def predicted_bytes(*args):
    raise NotImplementedError


most_attention = predicted_bytes


# %% wrong="cache_size" breaks="most" says="the others are Mamba"
def most_attention(count, attention, mamba, tokens, budget):  # misunderstands: Mamba layers are free
    each = 8 * attention["kv_heads"] * attention["head_dim"] * tokens
    return min(count, budget // each)


def cache_bytes(*args):
    raise NotImplementedError


predicted_bytes = cache_bytes


# %% wrong="cache_size" breaks="most" says="exactly the budget fits"
def most_attention(count, attention, mamba, tokens, budget):  # misunderstands: at most means less than
    for number in range(count, -1, -1):
        if predicted_bytes([attention] * number + [mamba] * (count - number), tokens) < budget:
            return number
    raise ValueError("nothing fits")


def cache_bytes(*args):
    raise NotImplementedError


def predicted_bytes(*args):
    raise NotImplementedError


# %% wrong="cache_size" breaks="none_fits" says="raise ValueError"
def most_attention(count, attention, mamba, tokens, budget):  # misunderstands: 0 attention layers always fit
    for number in range(count, 0, -1):
        if predicted_bytes([attention] * number + [mamba] * (count - number), tokens) <= budget:
            return number
    return 0


def cache_bytes(*args):
    raise NotImplementedError


def predicted_bytes(*args):
    raise NotImplementedError


# %% wrong="cache_size" breaks="short_texts" says="few may not fit where many do"
def most_attention(count, attention, mamba, tokens, budget):  # misunderstands: attention is always the larger one
    number = -1
    while number < count:
        more = number + 1
        if predicted_bytes([attention] * more + [mamba] * (count - more), tokens) > budget:
            break
        number = more
    if number < 0:
        raise ValueError("nothing fits")
    return number


def cache_bytes(*args):
    raise NotImplementedError


def predicted_bytes(*args):
    raise NotImplementedError


# %% wrong="cache_size" breaks="none_fits" says="raise ValueError"
def most_attention(count, attention, mamba, tokens, budget):  # misunderstands: -1 says that nothing fits
    for number in range(count, -1, -1):
        if predicted_bytes([attention] * number + [mamba] * (count - number), tokens) <= budget:
            return number
    return -1


def cache_bytes(*args):
    raise NotImplementedError


def predicted_bytes(*args):
    raise NotImplementedError


# %% wrong="cache_size" breaks="short_texts" says="ZeroDivisionError"
def most_attention(count, attention, mamba, tokens, budget):  # misunderstands: one of the two is always the smaller
    one, other = predicted_bytes([attention], tokens), predicted_bytes([mamba], tokens)
    if count * min(one, other) > budget:
        raise ValueError("too small")
    if one < other:
        return count
    return min(count, (budget - count * other) // (one - other))


def cache_bytes(*args):
    raise NotImplementedError


def predicted_bytes(*args):
    raise NotImplementedError


# %% wrong="cache_size" breaks="unchanged" says="only look at them"
def most_attention(count, attention, mamba, tokens, budget):  # misunderstands: the descriptions are mine to write on
    attention["bytes"], mamba["bytes"] = predicted_bytes([attention], tokens), predicted_bytes([mamba], tokens)
    fitting = [n for n in range(count + 1) if n * attention["bytes"] + (count - n) * mamba["bytes"] <= budget]
    return max(fitting)


def cache_bytes(*args):
    raise NotImplementedError


def predicted_bytes(*args):
    raise NotImplementedError


# %% wrong="cache_size" breaks="unchanged" says="only look at it"
def cache_bytes(cache):  # misunderstands: what has been weighed may be cleared
    total = 0
    for layer in cache.layers:
        tensors = [getattr(layer, "keys", None), getattr(layer, "values", None)]
        tensors += [*getattr(layer, "conv_states", {}).values(), *getattr(layer, "recurrent_states", {}).values()]
        total += sum(t.fill_(1).nbytes for t in tensors if t is not None)
    return total


def predicted_bytes(*args):
    raise NotImplementedError


def most_attention(*args):
    raise NotImplementedError


# %% wrong="cache_size" breaks="measured" says="cache_bytes"
def cache_bytes(cache):  # misunderstands: keys and values have the same shape
    total = 0
    for layer in cache.layers:
        keys = getattr(layer, "keys", None)
        states = [*getattr(layer, "conv_states", {}).values(), *getattr(layer, "recurrent_states", {}).values()]
        total += (0 if keys is None else 2 * keys.nbytes) + sum(t.nbytes for t in states if t is not None)
    return total


def predicted_bytes(*args):
    raise NotImplementedError


def most_attention(*args):
    raise NotImplementedError


# %% wrong="cache_size" breaks="measured" says="float16"
def cache_bytes(cache):  # misunderstands: a table of the sizes of dtypes, in which whole numbers are int8 and every other has 4 bytes
    tensors = []
    for layer in cache.layers:
        tensors += [getattr(layer, "keys", None), getattr(layer, "values", None)]
        tensors += [*getattr(layer, "conv_states", {}).values(), *getattr(layer, "recurrent_states", {}).values()]
    return sum(t.numel() * {torch.float64: 8, torch.bfloat16: 2, torch.int8: 1}.get(t.dtype, 4) for t in tensors if t is not None)


def predicted_bytes(layers, tokens, batch=1, size=4):
    total = 0
    for layer in layers:
        if layer["kind"] == "attention":
            total += 2 * layer["kv_heads"] * layer["head_dim"] * tokens
        else:
            total += layer["conv_channels"] * layer["kernel"] + layer["channels"] * layer["state"]
    return total * batch * size


def most_attention(count, attention, mamba, tokens, budget):
    for n in range(count, -1, -1):
        if predicted_bytes([attention] * n + [mamba] * (count - n), tokens) <= budget:
            return n
    raise ValueError("none fits")


# %% right="cache_size"
def cache_bytes(cache):  # by what the library notes as used
    total = 0
    for layer in cache.layers:
        if isinstance(layer, DynamicLayer) and layer.is_initialized:
            total += layer.keys.nbytes + layer.values.nbytes
        for kind in ("conv_states", "recurrent_states"):
            used = getattr(layer, f"is_{kind}_initialized", {})
            total += sum(getattr(layer, kind)[i].nbytes for i in used if used[i])
    return total


def predicted_bytes(layers, tokens, batch=1, size=4):
    def count(layer):
        if layer["kind"] == "attention":
            return 2 * tokens * layer["kv_heads"] * layer["head_dim"]
        return layer["kernel"] * layer["conv_channels"] + layer["state"] * layer["channels"]

    return size * batch * sum(map(count, layers))


def most_attention(count, attention, mamba, tokens, budget):  # max of nothing is a ValueError, too
    return max(n for n in range(count + 1) if predicted_bytes(n * [attention] + (count - n) * [mamba], tokens, batch=1, size=4) <= budget)


# %% right="cache_size"
def cache_bytes(cache):
    def walk(value):
        if isinstance(value, torch.Tensor):
            return value.nbytes
        return sum(map(walk, value.values())) if isinstance(value, dict) else 0

    return sum(
        walk(v)
        for layer in cache.layers
        for name, v in vars(layer).items()
        if name in ("keys", "values", "conv_states", "recurrent_states")
    )


def predicted_bytes(layers, tokens, batch=1, size=4):
    def one(kind, kv_heads=0, head_dim=0, conv_channels=0, kernel=0, channels=0, state=0):
        return 2 * kv_heads * head_dim * tokens + conv_channels * kernel + channels * state

    return batch * size * sum(one(**layer) for layer in layers)


def most_attention(count, attention, mamba, tokens, budget):
    def needs(n):
        return 4 * (
            n * 2 * attention["kv_heads"] * attention["head_dim"] * tokens
            + (count - n) * (mamba["conv_channels"] * mamba["kernel"] + mamba["channels"] * mamba["state"])
        )

    fitting = [n for n in range(count + 1) if needs(n) <= budget]
    if not fitting:
        raise ValueError("too small")
    return max(fitting)


# %% right="cache_size"
def cache_bytes(cache):
    total = 0
    for layer in cache.layers:
        if hasattr(layer, "conv_states"):
            for states in (layer.conv_states, layer.recurrent_states):
                for state in states.values():
                    total += 0 if state is None else state.numel() * state.dtype.itemsize
        if getattr(layer, "keys", None) is not None:
            total += layer.keys.numel() * layer.keys.dtype.itemsize + layer.values.numel() * layer.values.dtype.itemsize
    return total


def predicted_bytes(layers, tokens, batch=1, size=4):
    total = 0
    for layer in layers:
        match layer:
            case {"kind": "attention", "kv_heads": heads, "head_dim": width}:
                total += 2 * batch * heads * tokens * width * size
            case {"kind": "mamba"}:
                total += batch * size * layer["conv_channels"] * layer["kernel"]
                total += batch * size * layer["channels"] * layer["state"]
    return total


def most_attention(count, attention, mamba, tokens, budget):  # by a formula
    one, other = predicted_bytes([attention], tokens), predicted_bytes([mamba], tokens)
    if one <= other:  # the more attention, the smaller
        if count * one > budget:
            raise ValueError("too small")
        return count
    if count * other > budget:
        raise ValueError("too small")
    return min(count, (budget - count * other) // (one - other))


# %% equivalent="hybrid" because="no mask is the default"
# - middle = layer.self_attn(hidden_states=middle, position_embeddings=positions, attention_mask=None)[0]
# + middle = layer.self_attn(hidden_states=middle, position_embeddings=positions)[0]


# %% wrong="hybrid" breaks="halves" says="is x added both times"
def hybrid_block(layer, x, positions):  # misunderstands: one shortcut around the whole layer
    middle = layer.input_layernorm(x)
    if layer.block_type == "full_attention":
        middle = layer.self_attn(hidden_states=middle, position_embeddings=positions, attention_mask=None)[0]
    else:
        middle = layer.mamba(middle)
    return x + layer.feed_forward(layer.pre_ff_layernorm(middle))


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="halves" says="x + part(norm(x))"
def hybrid_block(layer, x, positions):  # misunderstands: norms stand after the sum, as in the first Transformer
    if layer.block_type == "full_attention":
        middle = layer.self_attn(hidden_states=x, position_embeddings=positions, attention_mask=None)[0]
    else:
        middle = layer.mamba(x)
    x = layer.input_layernorm(x + middle)
    return layer.pre_ff_layernorm(x + layer.feed_forward(x))


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="halves" says="x + part(norm(x))"
def hybrid_block(layer, x, positions):  # misunderstands: what is kept is the normalised x
    x = layer.input_layernorm(x)
    attends = layer.block_type == "full_attention"
    x = x + (layer.self_attn(x, positions, None)[0] if attends else layer.mamba(x))
    return x + layer.feed_forward(layer.pre_ff_layernorm(x))


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="kinds" says="has no attribute"
def hybrid_block(layer, x, positions):  # misunderstands: what is called attention attends
    middle = layer.input_layernorm(x)
    middle = layer.self_attn(middle, positions, None)[0] if "attention" in layer.block_type else layer.mamba(middle)
    x = x + middle
    return x + layer.feed_forward(layer.pre_ff_layernorm(x))


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="positions" says="attention also gets the positions"
def hybrid_block(layer, x, positions):  # misunderstands: an angle of 0 is no harm where a mask tells the order
    middle = layer.input_layernorm(x)
    if layer.block_type == "full_attention":
        cos, sin = positions
        middle = layer.self_attn(middle, (torch.ones_like(cos), torch.zeros_like(sin)), None)[0]
    else:
        middle = layer.mamba(middle)
    x = x + middle
    return x + layer.feed_forward(layer.pre_ff_layernorm(x))


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="parts" says="a whole layer or model was called"
def hybrid_block(layer, x, positions):  # calls the layer
    return layer(x, position_embeddings=positions)[0]


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="parts" says="a whole layer or model was called"
def hybrid_logits(model, ids):  # calls all but the head
    return model.lm_head(model.model(ids, use_cache=False).last_hidden_state)


def hybrid_block(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="unchanged" says="changed in place"
def hybrid_block(layer, x, positions):  # misunderstands: a residual stream is written in place
    middle = layer.input_layernorm(x)
    attends = layer.block_type == "full_attention"
    x += layer.self_attn(middle, positions, None)[0] if attends else layer.mamba(middle)
    x += layer.feed_forward(layer.pre_ff_layernorm(x))
    return x.clone()


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="unchanged" says="the model after"
def hybrid_logits(model, ids):  # misunderstands: where no gradient is asked for, the weights need none
    x = model.model.embed_tokens(ids)
    positions = model.model.rotary_emb(x, position_ids=torch.arange(ids.shape[1])[None])
    for layer in model.model.layers:
        layer.requires_grad_(False)
        x = hybrid_block(layer, x, positions)
    return model.lm_head(model.model.final_layernorm(x))


def hybrid_block(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="logits" says="the last norm, the head"
def hybrid_logits(model, ids):  # misunderstands: every layer normalises its own output
    x = model.model.embed_tokens(ids)
    positions = model.model.rotary_emb(x, position_ids=torch.arange(ids.shape[1])[None])
    for layer in model.model.layers:
        middle = layer.input_layernorm(x)
        attends = layer.block_type == "full_attention"
        x = x + (layer.self_attn(middle, positions, None)[0] if attends else layer.mamba(middle))
        x = x + layer.feed_forward(layer.pre_ff_layernorm(x))
    return model.lm_head(x)


def hybrid_block(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="logits" says="need not be the embedding"
def hybrid_logits(model, ids):  # misunderstands: the head is always the embedding
    x = model.model.embed_tokens(ids)
    positions = model.model.rotary_emb(x, position_ids=torch.arange(ids.shape[1])[None])
    for layer in model.model.layers:
        x = hybrid_block(layer, x, positions)
    return F.linear(model.model.final_layernorm(x), model.model.embed_tokens.weight)


def hybrid_block(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="logits" says="positions count from 0"
def hybrid_logits(model, ids):  # misunderstands: the angles follow the ids
    x = model.model.embed_tokens(ids)
    positions = model.model.rotary_emb(x, position_ids=ids)
    for layer in model.model.layers:
        x = hybrid_block(layer, x, positions)
    return model.lm_head(model.model.final_layernorm(x))


def hybrid_block(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="unchanged" says="left in evaluation mode"
def hybrid_logits(model, ids):  # misunderstands: a model must be put into evaluation mode to give logits
    model.eval()
    x = model.model.embed_tokens(ids)
    positions = model.model.rotary_emb(x, position_ids=torch.arange(ids.shape[1])[None])
    for layer in model.model.layers:
        x = hybrid_block(layer, x, positions)
    return model.lm_head(model.model.final_layernorm(x))


def hybrid_block(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="unchanged" says="left in evaluation mode"
def hybrid_block(layer, x, positions):  # misunderstands: a layer that is used is in evaluation mode
    layer.eval()
    middle = layer.input_layernorm(x)
    if layer.block_type == "full_attention":
        middle, *_ = layer.self_attn(hidden_states=middle, position_embeddings=positions, attention_mask=None)
    else:
        middle = layer.mamba(middle)
    x = x + middle
    return x + layer.feed_forward(layer.pre_ff_layernorm(x))


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="halves" says="not parallel"
def hybrid_block(layer, x, positions):  # misunderstands: both halves start from the same x
    middle = layer.input_layernorm(x)
    if layer.block_type == "full_attention":
        middle = layer.self_attn(hidden_states=middle, position_embeddings=positions, attention_mask=None)[0]
    else:
        middle = layer.mamba(middle)
    return x + middle + layer.feed_forward(layer.pre_ff_layernorm(x))


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="logits" says="in a second call"
head = {}


def hybrid_logits(model, ids):  # misunderstands: the weights of a model that has been seen stay what they are
    x = model.model.embed_tokens(ids)
    positions = model.model.rotary_emb(x, position_ids=torch.arange(ids.shape[1])[None])
    for layer in model.model.layers:
        x = hybrid_block(layer, x, positions)
    weights = head.setdefault(model, model.lm_head.weight.detach().clone())
    return F.linear(model.model.final_layernorm(x), weights)


def hybrid_block(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="positions" says="every token has seen the later ones"
def hybrid_block(layer, x, positions):  # misunderstands: a mask of zeros is the same as none
    middle = layer.input_layernorm(x)
    hidden = x.new_zeros(1, 1, x.shape[1], x.shape[1])
    if layer.block_type == "full_attention":
        middle = layer.self_attn(hidden_states=middle, position_embeddings=positions, attention_mask=hidden)[0]
    else:
        middle = layer.mamba(middle)
    x = x + middle
    return x + layer.feed_forward(layer.pre_ff_layernorm(x))


def hybrid_logits(*args):
    raise NotImplementedError


# %% wrong="hybrid" breaks="unchanged" says="without its gradient"
def hybrid_block(layer, x, positions):  # misunderstands: before a computation, gradients are set to zero
    layer.zero_grad()
    middle = layer.input_layernorm(x)
    if layer.block_type == "full_attention":
        middle = layer.self_attn(hidden_states=middle, position_embeddings=positions, attention_mask=None)[0]
    else:
        middle = layer.mamba(middle)
    x = x + middle
    return x + layer.feed_forward(layer.pre_ff_layernorm(x))


def hybrid_logits(*args):
    raise NotImplementedError


# %% right="hybrid"
def hybrid_block(layer, x, positions):  # both halves in one loop, the mask of attention written out
    later = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)

    def attend(hidden):
        return layer.self_attn(hidden, position_embeddings=positions, attention_mask=later[None, None])[0]

    mixer = attend if layer.block_type == "full_attention" else layer.mamba
    for norm, part in ((layer.input_layernorm, mixer), (layer.pre_ff_layernorm, layer.feed_forward)):
        x = x + part(norm(x))
    return x


def hybrid_logits(model, ids):  # positions from 1: only differences count
    x = model.model.embed_tokens(ids)
    positions = model.model.rotary_emb(x, position_ids=torch.arange(1, ids.shape[1] + 1)[None])
    for layer in model.model.layers:
        x = hybrid_block(layer, x, positions)
    return model.lm_head(model.model.final_layernorm(x))


# %% right="hybrid"
def hybrid_block(layer, hidden, angles):
    normed = layer.input_layernorm(hidden)
    if hasattr(layer, "self_attn"):
        out, _ = layer.self_attn(normed, position_embeddings=angles, attention_mask=None)
    else:
        out = layer.mamba(hidden_states=normed)
    residual = hidden + out
    mlp = layer.feed_forward
    normed = layer.pre_ff_layernorm(residual)
    return residual + mlp.down_proj(F.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))


def hybrid_logits(model, ids):
    inner = model.model
    hidden = F.embedding(ids, inner.embed_tokens.weight)
    angles = inner.rotary_emb(hidden, torch.arange(ids.size(1)).expand(ids.size(0), -1))
    for i in range(len(inner.layers)):
        hidden = hybrid_block(inner.layers[i], hidden, angles)
    return inner.final_layernorm(hidden) @ model.lm_head.weight.T


# %% right="hybrid"
@torch.no_grad()
def hybrid_block(layer, x, positions):  # in place, on a copy
    mixers = {"linear_attention": lambda h: layer.mamba(h), "full_attention": lambda h: layer.self_attn(h, positions, None)[0]}
    x = x.clone()
    x += mixers[layer.block_type](layer.input_layernorm(x))
    x += layer.feed_forward(layer.pre_ff_layernorm(x))
    return x


def hybrid_logits(model, ids):  # without hybrid_block
    embed, norm, rotary = model.model.embed_tokens, model.model.final_layernorm, model.model.rotary_emb
    x = embed(ids)
    where = torch.arange(ids.shape[1]).unsqueeze(0)
    for layer in model.model.layers:
        h = layer.input_layernorm(x)
        if layer.block_type == "linear_attention":
            h = layer.mamba(h)
        else:
            h, _ = layer.self_attn(hidden_states=h, position_embeddings=rotary(x, position_ids=where), attention_mask=None)
        x = x + h
        x = x + layer.feed_forward(layer.pre_ff_layernorm(x))
    return model.lm_head(norm(x))


# %% equivalent="fair_pair" because="the ideal width is never halfway between two: its fraction is 0 or a third"
# - return attention(1 + round(missing / a_column)), mamba
# + return attention(1 + int((missing / a_column) + 0.5)), mamba


# %% wrong="fair_pair" breaks="start" says="initializer_range decides it"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: defaults are neutral
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**{**common, 'initializer_range': 0.1}, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="start" says="initializer_range decides it"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: Llama's default is small enough for anybody
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**{**common, 'initializer_range': 0.02}, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="own_start" says="a start of its own"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: a fair start is the same distribution for every weight
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    for name, weight in mamba.named_parameters():
        if weight.dim() > 1 and 'A_log' not in name:
            nn.init.normal_(weight, std=std)
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="own_start" says="a start of its own"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: rates and steps are weights like others
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    for layer in mamba.backbone.layers:
        nn.init.normal_(layer.mixer.A_log, std=std)
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="parameters" says="or too many"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: attention must not be the smaller one, so round up
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = math.ceil((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="parameters" says="how many columns are missing"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: equal widths make equal models
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=4 * hidden))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="parameters" says="how many columns are missing"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: within 1 % is near enough
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = 1 + round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="parameters" says="how many columns are missing"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: embeddings are shared, so they count twice
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = 2 * vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="tied" says="has a head of its own"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: tying is a detail
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**{**common, 'tie_word_embeddings': False}, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="special" says="whose embedding is zero"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: naming a padding token costs nothing
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=0, bos_token_id=None, eos_token_id=0)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="special" says="library's own numbers count"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: a token that is not named does not exist
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="seed" says="before the models are made"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: a seed belongs to training, not to the models
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="seed" says="the Mamba model is the same"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: one seed for all makes it comparable
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(0)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    torch.manual_seed(seed)
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="sizes" says="the settings of the Mamba model"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: 16 numbers of state are what Mamba has
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common))
    rest = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="defaults" says="library's default"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: two KV heads are as good as four
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    common |= dict(initializer_range=std, tie_word_embeddings=True)
    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    rest = vocab * hidden + hidden + 2 * (3 * hidden**2 + 2 * hidden)
    width = round((mamba.num_parameters() - rest) / (6 * hidden))
    attention = LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, num_key_value_heads=2, intermediate_size=width))
    return attention, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="shift" says="what is said at t - 1 answers for t"
def accuracy(logits, labels):  # misunderstands: labels are already shifted
    guess, wanted = logits.argmax(-1), labels
    asked = wanted != -100
    return (guess == wanted)[asked].double().mean().item()


def fair_pair(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="shift" says="`accuracy` of"
def accuracy(logits, labels):  # misunderstands: the answer comes one place before the question
    guess, wanted = logits[:, 1:].argmax(-1), labels[:, :-1]
    asked = wanted != -100
    return (guess == wanted)[asked].double().nan_to_num().mean().item()


def fair_pair(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="asked" says="places with -100 do not count"
def accuracy(logits, labels):  # misunderstands: all positions count
    guess, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    asked = wanted != -100
    return (guess == wanted).double().mean().item()


def fair_pair(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="asked" says="in whatever row"
def accuracy(logits, labels):  # misunderstands: the mean of rows is the mean
    guess, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    asked = wanted != -100
    rows = [(g == w)[a].double().mean() for g, w, a in zip(guess, wanted, asked) if a.any()]
    return torch.stack(rows).mean().item()


def fair_pair(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="asked" says="`accuracy` of"
def accuracy(logits, labels):  # misunderstands: token 0 is padding
    guess, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    asked = wanted > 0
    return (guess == wanted)[asked].double().sum().div(asked.sum().clamp(min=1)).item()


def fair_pair(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="float" says="the accuracy is of type"
def accuracy(logits, labels):  # misunderstands: a tensor without axes is a number
    guess, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    asked = wanted != -100
    return (guess == wanted)[asked].double().mean()


def fair_pair(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="unchanged" says="labels after the call"
def accuracy(logits, labels):  # misunderstands: what is not asked may be overwritten
    guess, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    asked = wanted.ge(0)
    labels.clamp_(min=0)
    unused = wanted != -100
    return (guess == wanted)[asked].double().mean().item()


def fair_pair(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="own_start" says="a start of its own"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: dt_proj is a projection like the others
    common = dict(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True,
        pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    for layer in mamba.backbone.layers:
        for projection in (layer.mixer.in_proj, layer.mixer.x_proj, layer.mixer.dt_proj):
            nn.init.normal_(projection.weight, std=std)
    missing = mamba.num_parameters() - attention(1).num_parameters()
    return attention(1 + round(missing / (6 * hidden))), mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="own_start" says="a start of its own"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: a bias is drawn like a weight
    common = dict(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True,
        pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    for layer in mamba.backbone.layers:
        nn.init.normal_(layer.mixer.conv1d.bias, std=std)
    missing = mamba.num_parameters() - attention(1).num_parameters()
    return attention(1 + round(missing / (6 * hidden))), mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="own_start" says="a start of its own"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: all channels begin with the same step
    common = dict(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True,
        pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    for layer in mamba.backbone.layers:
        nn.init.constant_(layer.mixer.dt_proj.bias, math.log(math.expm1(0.01)))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    return attention(1 + round(missing / (6 * hidden))), mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="own_start" says="a start of its own"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: any start that keeps the variance is the same
    common = dict(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True,
        pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    for layer in mamba.backbone.layers:
        nn.init.xavier_normal_(layer.mixer.out_proj.weight)
    missing = mamba.num_parameters() - attention(1).num_parameters()
    return attention(1 + round(missing / (6 * hidden))), mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="own_start" says="a start of its own"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: norms start like other weights
    common = dict(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True,
        pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    for layer in mamba.backbone.layers:
        nn.init.normal_(layer.norm.weight, mean=1.0, std=std)
    missing = mamba.num_parameters() - attention(1).num_parameters()
    return attention(1 + round(missing / (6 * hidden))), mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="defaults" says="attention_dropout"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: dropout is a matter of training, not of the start
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True)
    common |= dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width, attention_dropout=0.1))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    llama = attention(1 + round(missing / (6 * hidden)))
    return llama.eval(), mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="defaults" says="in training mode"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: what no setting shows is no difference
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True)
    common |= dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    llama = attention(1 + round(missing / (6 * hidden)))
    for layer in llama.model.layers:
        layer.self_attn.attention_dropout = 0.1
    return llama, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="seed" says="make them in each call"
from functools import lru_cache


@lru_cache
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: what is the same need not be made again
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True)
    common |= dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    llama = attention(1 + round(missing / (6 * hidden)))
    return llama, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="tied" says="have in common"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: a fair start is one embedding for both
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True)
    common |= dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    llama = attention(1 + round(missing / (6 * hidden)))
    llama.set_input_embeddings(mamba.get_input_embeddings())
    llama.tie_weights()
    return llama, mamba


def accuracy(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="shift" says="`accuracy` of"
def accuracy(logits, labels):  # misunderstands: three digits are enough to find the largest
    guess, wanted = logits[:, :-1].bfloat16().argmax(-1), labels[:, 1:]
    return (guess == wanted)[wanted != -100].double().mean().item()


def fair_pair(*args):
    raise NotImplementedError


# %% wrong="fair_pair" breaks="seed" says="the second time"
def fair_pair(vocab, hidden, state, std, seed):  # misunderstands: thinks seed 0 means no seed
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True)
    common |= dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    if seed:
        torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    return attention(1 + round(missing / (6 * hidden))), mamba


def accuracy(logits, labels):
    guess, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    return (guess == wanted)[wanted != -100].double().mean().item()


# %% right="fair_pair"
def fair_pair(vocab, hidden, state, std, seed):  # tied by hand
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=False)
    common |= dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    llama = attention(1 + round(missing / (6 * hidden)))
    llama.lm_head.weight = llama.model.embed_tokens.weight
    mamba.lm_head.weight = mamba.backbone.embeddings.weight
    return llama, mamba


def accuracy(logits, labels):
    said = logits.log_softmax(-1).argmax(-1).roll(1, dims=1)
    counts = [(s == a, a != -100) for s, a in zip(said[:, 1:].flatten().tolist(), labels[:, 1:].flatten().tolist())]
    return sum(right for right, asked in counts if asked) / sum(asked for _, asked in counts)


# %% right="fair_pair"
def fair_pair(vocab, hidden, state, std, seed):
    def build(model, config, **more):
        config = config(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, **more)
        config.pad_token_id = config.bos_token_id = config.eos_token_id = None
        config.tie_word_embeddings = True
        torch.manual_seed(seed)
        return model(config)

    mamba = build(MambaForCausalLM, MambaConfig, state_size=state)
    wanted = sum(p.numel() for p in mamba.parameters())
    blocks = vocab * hidden + hidden + 2 * (4 * hidden**2 + 2 * hidden)
    width = int((wanted - blocks) / (6 * hidden) + 0.5)
    return build(LlamaForCausalLM, LlamaConfig, num_attention_heads=4, intermediate_size=width), mamba


def accuracy(logits, labels):
    right = asked = 0
    for t in range(1, labels.shape[1]):
        here = labels[:, t] >= 0
        right += int((logits[here, t - 1].argmax(-1) == labels[here, t]).sum())
        asked += int(here.sum())
    return right / asked


# %% right="fair_pair"
def fair_pair(vocab, hidden, state, std, seed):  # the width by trying, in a scope that puts the generator back
    shared = {"vocab_size": vocab, "hidden_size": hidden, "num_hidden_layers": 2, "tie_word_embeddings": True, "initializer_range": std}
    shared.update(dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mamba = MambaForCausalLM(MambaConfig(state_size=state, **shared))
        best = None
        for width in range(1, 6 * hidden):
            with torch.device("meta"):
                empty = LlamaForCausalLM(LlamaConfig(num_attention_heads=4, intermediate_size=width, **shared))
            distance = abs(empty.num_parameters() - mamba.num_parameters())
            if best is not None and distance > best[0]:
                break
            best = distance, width
        torch.manual_seed(seed + 1000)
        llama = LlamaForCausalLM(LlamaConfig(num_attention_heads=4, intermediate_size=best[1], **shared))
    return llama, mamba


def accuracy(logits, labels):  # flat, with the places that are asked taken out first
    places = (labels[:, 1:] != -100).nonzero()
    rows, before = places.unbind(1)
    return sum(map(torch.equal, logits[rows, before].max(-1).indices, labels[rows, before + 1])) / len(places)


# %% right="fair_pair"
def fair_pair(vocab, hidden, state, std, seed):  # the width rounded down, which for these sizes is the nearest; in evaluation mode
    common = dict(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True,
        pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    return attention(1 + missing // (6 * hidden)).eval(), mamba.eval()


def accuracy(logits, labels):
    guess, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    return (guess == wanted)[wanted != -100].double().mean().item()


# %% right="fair_pair"
def fair_pair(vocab, hidden, state, std, seed):
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True)
    common |= dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)

    def attention(width):
        return LlamaForCausalLM(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    return attention(1 + round(missing / (6 * hidden))), mamba


def accuracy(logits, labels):
    guess, wanted = logits[:, :-1].float().argmax(-1), labels[:, 1:]
    return (guess == wanted)[wanted != -100].double().mean().item()


# %% right="fair_pair"
def fair_pair(vocab, hidden, state, std, seed):
    common = dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=2, initializer_range=std, tie_word_embeddings=True)
    common |= dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)

    def attention(width):
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_config(LlamaConfig(**common, num_attention_heads=4, intermediate_size=width))

    torch.manual_seed(seed)
    mamba = MambaForCausalLM(MambaConfig(**common, state_size=state))
    missing = mamba.num_parameters() - attention(1).num_parameters()
    return attention(1 + round(missing / (6 * hidden))), mamba


def accuracy(logits, labels):
    guess, wanted = logits[:, :-1].argmax(-1), labels[:, 1:]
    return (guess == wanted)[wanted != -100].double().mean().item()
