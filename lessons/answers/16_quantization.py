# %% wrong="affine" says="2**bits - 1 steps"
def affine_params(w, bits, axis=None):  # counts the codes, not the steps between them
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / 2**bits
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(*args):
    raise NotImplementedError


def dequantize(*args):
    raise NotImplementedError


def output_bound(*args):
    raise NotImplementedError


# %% wrong="affine" says="with 0 in it"
def affine_params(w, bits, axis=None):  # the range need not contain 0
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True), w.amax(others, keepdim=True)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(*args):
    raise NotImplementedError


def dequantize(*args):
    raise NotImplementedError


def output_bound(*args):
    raise NotImplementedError


# %% wrong="affine" says="the scale of a weight of 5 x 7, per row"
def affine_params(w, bits, axis=None):  # `axis` is the axis to reduce, as in sum(axis)
    others = list(range(w.ndim)) if axis is None else [axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(*args):
    raise NotImplementedError


def dequantize(*args):
    raise NotImplementedError


def output_bound(*args):
    raise NotImplementedError


# %% wrong="affine" says="the zero point of"
def affine_params(w, bits, axis=None):  # unsigned codes: the lowest is 0
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-low / scale).round().int()


def quantize(*args):
    raise NotImplementedError


def dequantize(*args):
    raise NotImplementedError


def output_bound(*args):
    raise NotImplementedError


# %% wrong="affine" says="then clamp"
def quantize(w, scale, zero_point, bits):  # clamps, then shifts by the zero point: codes leave the range
    half = 2 ** (bits - 1)
    return ((w / scale).round().clamp(-half, half - 1) + zero_point).to(torch.int8)


def affine_params(*args):
    raise NotImplementedError


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(*args):
    raise NotImplementedError


# %% wrong="affine" says="round to the nearest"
def quantize(w, scale, zero_point, bits):  # a cast to int8 rounds: it cuts the fraction off
    half = 2 ** (bits - 1)
    return (w / scale + zero_point).clamp(-half, half - 1).to(torch.int8)


def affine_params(*args):
    raise NotImplementedError


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(*args):
    raise NotImplementedError


# %% wrong="affine" says="halves as torch.round does"
def quantize(w, scale, zero_point, bits):  # rounds halves up, as taught at school
    half = 2 ** (bits - 1)
    return ((w / scale + 0.5).floor() + zero_point).clamp(-half, half - 1).to(torch.int8)


def affine_params(*args):
    raise NotImplementedError


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(*args):
    raise NotImplementedError


# %% wrong="affine" says="around 1e-6"
def affine_params(w, bits, axis=None):  # takes a narrow range for one of width 0
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale < 1e-6, 1, scale)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(*args):
    raise NotImplementedError


def dequantize(*args):
    raise NotImplementedError


def output_bound(*args):
    raise NotImplementedError


# %% wrong="affine" says="wider than int8"
def dequantize(q, scale, zero_point):  # subtracts in int8
    return (q - zero_point.to(torch.int8)) * scale


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def affine_params(*args):
    raise NotImplementedError


def output_bound(*args):
    raise NotImplementedError


# %% wrong="affine" says="signs must not cancel"
def output_bound(scale, x):  # lets positive and negative inputs cancel
    return (x.sum(1, keepdim=True) * scale.T / 2).abs()


def affine_params(*args):
    raise NotImplementedError


def quantize(*args):
    raise NotImplementedError


def dequantize(*args):
    raise NotImplementedError


# %% right="affine"
def affine_params(w, bits, axis=None):
    flat = w.reshape(1, -1) if axis is None else w.movedim(axis, 0).flatten(1)
    shape = [1] * w.ndim
    if axis is not None:
        shape[axis] = -1
    zero = torch.zeros(len(flat))
    low, high = torch.minimum(flat.min(1).values, zero), torch.maximum(flat.max(1).values, zero)
    scale = (high - low) / (2**bits - 1)
    scale[scale == 0] = 1.0
    lowest = -(1 << (bits - 1))
    return scale.view(shape), torch.round(lowest - low / scale).view(shape).int()


def quantize(w, scale, zero_point, bits):
    lowest, highest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    codes = torch.round(w.div(scale)).add(zero_point)
    return torch.clip(codes, lowest, highest).char()


def dequantize(q, scale, zero_point):
    return scale * (q.float() - zero_point.float())


def output_bound(scale, x):
    return torch.einsum("bi,o->bo", x.abs(), scale.squeeze(1) / 2)


# %% wrong="int8_model" says="no float copy"
class Int8Linear(nn.Module):  # keeps the layer, so nothing is saved
    def __init__(self, linear):
        super().__init__()
        self.linear = linear
        scale = linear.weight.detach().abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (linear.weight.detach() / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, x):
        return F.linear(x, self.weight * self.scale[:, None], self.linear.bias)


def quantize_linears(model, skip=()):
    raise NotImplementedError


def stored_bytes(model):
    raise NotImplementedError


# %% wrong="int8_model" says="added after the scale"
class Int8Linear(nn.Module):  # scales the bias as well
    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (linear.weight.detach() / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x):
        return F.linear(x, self.weight.float(), self.bias) * self.scale


def quantize_linears(model, skip=()):
    raise NotImplementedError


def stored_bytes(model):
    raise NotImplementedError


# %% wrong="int8_model" says="must be buffers"
class Int8Linear(nn.Module):  # plain attributes: not saved, not moved with the module
    def __init__(self, linear):
        super().__init__()
        self.scale = linear.weight.detach().abs().amax(1).clamp(min=1e-12) / 127
        self.weight = (linear.weight.detach() / self.scale[:, None]).round().to(torch.int8)
        self.bias = linear.bias

    def forward(self, x):
        return F.linear(x, self.weight.float() * self.scale[:, None], self.bias)


def quantize_linears(model, skip=()):
    raise NotImplementedError


def stored_bytes(model):
    raise NotImplementedError


# %% wrong="int8_model" says="the codes of"
class Int8Linear(nn.Module):  # one scale for the whole layer
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach()
        scale = (weight.abs().max() / 127).expand(len(weight)).clone()
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x):
        return F.linear(x, self.weight * self.scale[:, None], self.bias)


def quantize_linears(model, skip=()):
    raise NotImplementedError


def stored_bytes(model):
    raise NotImplementedError


# %% wrong="int8_model" says="not the layer's own parameter"
class Int8Linear(nn.Module):  # copies the bias
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())

    def forward(self, x):
        return F.linear(x, self.weight * self.scale[:, None], self.bias)


def quantize_linears(model, skip=()):
    raise NotImplementedError


def stored_bytes(model):
    raise NotImplementedError


# %% wrong="int8_model" says="at any depth"
def quantize_linears(model, skip=()):  # looks at the first level alone
    names = [name for name, module in model.named_children() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        setattr(model, name, Int8Linear(getattr(model, name)))
    return names


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (linear.weight.detach() / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x):
        return F.linear(x, self.weight * self.scale[:, None], self.bias)


def stored_bytes(model):
    return sum(p.nbytes for p in model.parameters()) + sum(b.nbytes for b in model.buffers())


# %% wrong="int8_model" says="counts once"
def stored_bytes(model):  # a state_dict lists a tied matrix under each of its names
    return sum(tensor.nbytes for tensor in model.state_dict().values())


class Int8Linear(nn.Module):
    def __init__(self, linear):
        raise NotImplementedError


def quantize_linears(model, skip=()):
    raise NotImplementedError


# %% wrong="int8_model" says="that a state_dict leaves out"
def stored_bytes(model):  # the tied matrix once, but without the buffers that are not saved
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in model.state_dict().values()}.values())


class Int8Linear(nn.Module):
    def __init__(self, linear):
        raise NotImplementedError


def quantize_linears(model, skip=()):
    raise NotImplementedError


# %% wrong="int8_model" says="nbytes of parameters and buffers"
def stored_bytes(model):  # every number has four bytes
    return 4 * sum(p.numel() for p in model.parameters())


class Int8Linear(nn.Module):
    def __init__(self, linear):
        raise NotImplementedError


def quantize_linears(model, skip=()):
    raise NotImplementedError


# %% right="int8_model"
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        with torch.no_grad():
            peaks = torch.linalg.vector_norm(linear.weight, ord=math.inf, dim=1, keepdim=True)
            steps = torch.where(peaks == 0, torch.ones_like(peaks), peaks / 127)
            self.register_buffer("weight", torch.round(linear.weight / steps).char())
            self.register_buffer("scale", steps.flatten())
        self.register_parameter("bias", linear.bias)

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight.float() * self.scale.unsqueeze(1), self.bias)


def quantize_linears(model, skip=()):
    done = []
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or name in skip:
            continue
        parent, _, child = name.rpartition(".")
        model.get_submodule(parent)._modules[child] = Int8Linear(module)
        done.append(name)
    return done


def stored_bytes(model):
    seen = {id(t): t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())}
    return sum(seen.values())


# %% wrong="float8" says="the subnormal ones too"
def round_float(x, exponent_bits, mantissa_bits, largest):  # subnormal numbers become 0
    lowest = 2 - 2 ** (exponent_bits - 1)
    step = 2.0 ** (x.abs().log2().floor() - mantissa_bits)
    y = ((x / step).round() * step).clamp(-largest, largest)
    return torch.where(x.abs() < 2.0**lowest, 0.0, y)


def float_bits(*args):
    raise NotImplementedError


def float8_rows(*args):
    raise NotImplementedError


# %% wrong="float8" says="below 2**(1 - bias)"
def round_float(x, exponent_bits, mantissa_bits, largest):  # the step shrinks for ever
    step = 2.0 ** (x.abs().clamp(min=1e-38).log2().floor() - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(*args):
    raise NotImplementedError


def float8_rows(*args):
    raise NotImplementedError


# %% wrong="float8" says="even mantissa"
def round_float(x, exponent_bits, mantissa_bits, largest):  # halves away from zero, as taught at school
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return (x.sign() * (x.abs() / step + 0.5).floor() * step).clamp(-largest, largest)


def float_bits(*args):
    raise NotImplementedError


def float8_rows(*args):
    raise NotImplementedError


# %% wrong="float8" says="to the nearest"
def round_float(x, exponent_bits, mantissa_bits, largest):  # cuts the mantissa off
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).trunc() * step).clamp(-largest, largest)


def float_bits(*args):
    raise NotImplementedError


def float8_rows(*args):
    raise NotImplementedError


# %% wrong="float8" says="saturates"
def round_float(x, exponent_bits, mantissa_bits, largest):  # overflow becomes infinity
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    y = (x / step).round() * step
    return torch.where(y.abs() > largest, y.sign() * math.inf, y)


def float_bits(*args):
    raise NotImplementedError


def float8_rows(*args):
    raise NotImplementedError


# %% wrong="float8" says="without its leading 1"
def float_bits(x, exponent_bits, mantissa_bits):  # stores the leading 1 as well
    bias = 2 ** (exponent_bits - 1) - 1
    exponent = x.abs().log2().floor().clamp(min=1 - bias)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    return ((x < 0) * 2 ** (exponent_bits + mantissa_bits) + (exponent + bias) * 2**mantissa_bits + steps).to(torch.uint8)


def round_float(*args):
    raise NotImplementedError


def float8_rows(*args):
    raise NotImplementedError


# %% wrong="float8" says="the row / 448"
def float8_rows(w):  # a float needs no scale
    return w.to(torch.float8_e4m3fn), torch.ones(len(w), 1)


def round_float(*args):
    raise NotImplementedError


def float_bits(*args):
    raise NotImplementedError


# %% wrong="float8" says="the row / 448"
def float8_rows(w):  # keeps away from 0 by a limit that rows of small weights are below
    scale = w.abs().amax(1, keepdim=True).clamp(min=1e-4) / 448
    scale = torch.where(w.any(1, keepdim=True), scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


def round_float(*args):
    raise NotImplementedError


def float_bits(*args):
    raise NotImplementedError


# %% right="float8"
# By table: all numbers of the format, the nearest by distance, ties by the parity of the index.
def all_numbers(exponent_bits, mantissa_bits):
    patterns = torch.arange(2 ** (exponent_bits + mantissa_bits))
    exponent, mantissa = patterns >> mantissa_bits, patterns & (2**mantissa_bits - 1)
    lead = (exponent > 0).double()
    power = exponent.clamp(min=1) - (2 ** (exponent_bits - 1) - 1)
    return (lead + mantissa / 2**mantissa_bits) * 2.0 ** power.double()


def round_float(x, exponent_bits, mantissa_bits, largest):
    table = all_numbers(exponent_bits, mantissa_bits)
    table = table[table <= largest]
    size = x.abs().double().clamp(max=largest).flatten()
    above = torch.searchsorted(table, size).clamp(max=len(table) - 1)
    below = (above - 1).clamp(min=0)
    up, down = table[above] - size, size - table[below]
    take_up = (up < down) | ((up == down) & (above % 2 == 0))
    rounded = torch.where(take_up, table[above], table[below]).float().view(x.shape)
    return rounded * torch.where(x < 0, -1.0, 1.0)


def float_bits(x, exponent_bits, mantissa_bits):
    table = all_numbers(exponent_bits, mantissa_bits)
    pattern = torch.searchsorted(table, x.abs().double())
    return torch.where(x < 0, pattern + (1 << (exponent_bits + mantissa_bits)), pattern).to(torch.uint8)


def float8_rows(w):
    peaks = w.abs().max(dim=1, keepdim=True).values
    scale = torch.where(peaks == 0, torch.ones_like(peaks), peaks / torch.finfo(torch.float8_e4m3fn).max)
    return torch.div(w, scale).to(dtype=torch.float8_e4m3fn), scale


# %% wrong="check_quantizer" says="reject a correct implementation"
def check_quantizer(quantize_rows):  # demands the very codes of one implementation
    w = torch.linspace(-4, 3.5, 16).view(2, 8)
    scale = (w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)) / 15
    assert torch.equal(quantize_rows(w.clone(), 4)[1], scale)
    assert quantize_rows(torch.zeros(1, 3), 4)[1].item() == 1


# %% wrong="check_quantizer" says="still unseen"
def check_quantizer(quantize_rows):  # looks at types and shapes alone
    q, scale, zero_point = quantize_rows(torch.randn(3, 50), 4)
    assert q.dtype == torch.int8 and q.shape == (3, 50)
    assert scale.shape == zero_point.shape == (3, 1)
    assert q.min() >= -8 and q.max() <= 7


# %% wrong="check_quantizer" says="still unseen"
def check_quantizer(quantize_rows):  # a weight on both sides of 0 stands for all, 8 bits for all bits
    w = torch.randn(5, 200, generator=torch.Generator().manual_seed(1))
    given = w.clone()
    q, scale, zero_point = quantize_rows(given, 8)
    assert torch.equal(given, w)
    assert (((q.int() - zero_point) * scale - w).abs() <= 0.51 * scale).all()


# %% wrong="check_quantizer" says="still unseen"
def check_quantizer(quantize_rows):  # reports by returning False, which nobody reads
    w = torch.randn(5, 200)
    q, scale, zero_point = quantize_rows(w, 8)
    return bool((((q.int() - zero_point) * scale - w).abs() <= scale / 2).all())


# %% wrong="check_quantizer" says="off by one"
def check_quantizer(quantize_rows):  # allows a whole step of error: rounding errors are a matter of taste
    w = torch.randn(4, 100, generator=torch.Generator().manual_seed(0))
    w[1], w[2] = w[1].abs() + 1, 0
    for bits in (8, 3):
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert q.shape == w.shape and scale.shape == zero_point.shape == (4, 1)
        assert (((q.int() - zero_point) * scale - w).abs() <= 1.6 * scale).all()


# %% right="check_quantizer"
# One promise after the other, on rows made by hand.
def check_quantizer(quantize_rows):
    def both_signs(bits):
        return torch.linspace(-1.3, 2.9, 301).repeat(2, 1) * torch.tensor([[1.0], [-0.01]])

    for bits in range(2, 9):
        edges = torch.tensor([[1e-6, -2e-6, 0.0], [1e6, 3e5, -4e5]])  # the sizes that are promised
        for w in (both_signs(bits), torch.linspace(3, 4, 7)[None], -torch.linspace(3, 4, 7)[None], torch.zeros(2, 3), edges):
            copy_of_w = w.clone()
            q, s, z = quantize_rows(w, bits)
            assert (w == copy_of_w).all()
            assert q.dtype is torch.int8 and s.dtype is torch.float32 and z.dtype is torch.int32
            assert q.shape == w.shape and list(s.shape) == list(z.shape) == [len(w), 1]
            for codes in (q, z):
                assert codes.min() >= -(2 ** (bits - 1)) and codes.max() <= 2 ** (bits - 1) - 1
            for row in range(len(w)):
                width = max(w[row].max().item(), 0) - min(w[row].min().item(), 0)
                if width:
                    assert abs(s[row].item() * (2**bits - 1) / width - 1) < 1e-5
                else:
                    assert s[row] > 0
            error = (q.double() - z.double()) * s.double() - w.double()
            assert (error.abs() <= s.double() / 2 * (1 + 1e-4)).all()


# %% equivalent="check_quantizer" because="one bit keeps the promises too, in all implementations that keep them for two"
# - for bits in range(2, 9):
# + for bits in range(1, 9):

# %% equivalent="check_quantizer" because="equality is symmetric"
# - assert torch.equal(given, w), "the input was changed"
# + assert (torch.equal(w, given)), "the input was changed"

# %% equivalent="check_quantizer" because="every row but that of zeros is wider than 1"
# - used = width > 0
# + used = width > 1

# %% equivalent="check_quantizer" because="the comparison is symmetric up to its tolerance"
# - torch.testing.assert_close(scale[used], width[used] / (2**bits - 1))
# + (torch.testing.assert_close(width[used] / (2 ** bits - 1), scale[used]))

# %% equivalent="check_quantizer" because="no error is exactly 0.501 steps"
# - assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()
# + assert ((((q.int() - zero_point) * scale - w).abs() < 0.501 * scale)).all()

# %% wrong="gptq" says="as the earlier ones left it"
def gptq(weight, H, scale, bits):  # rounds the weight as it was: that is plain rounding
    return to_grid(weight, scale, bits)


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" says="row j of U"
def gptq(weight, H, scale, bits):  # uses the inverse of the whole H for every column
    inverse = torch.linalg.inv(H)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        error = (weight[:, j] - rounded[:, j]) / inverse[j, j]
        weight[:, j + 1 :] -= error[:, None] * inverse[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" says="over U[j, j]"
def gptq(weight, H, scale, bits):  # forgets the division
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= (weight[:, j] - rounded[:, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" says="GPTQ of a weight"
def gptq(weight, H, scale, bits):  # takes the factor of H, not of its inverse
    U = torch.linalg.cholesky(H, upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" says="work on a copy"
def gptq(weight, H, scale, bits):  # changes the model's own weight
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    rounded = torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" says="on the diagonal only"
def hessian(x, damping):  # adds the damping everywhere
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean()


def gptq(weight, H, scale, bits):
    raise NotImplementedError


# %% wrong="gptq" says="over the number of inputs"
def hessian(x, damping):  # adds up instead of averaging, so that it grows with the calibration set
    H = x.T @ x
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


def gptq(weight, H, scale, bits):
    raise NotImplementedError


# %% wrong="gptq" says="the dtype of GPTQ"
def gptq(weight, H, scale, bits):  # collects the columns in float32, whatever the weight is
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.zeros(weight.shape)
    for j in range(len(H)):
        column = to_grid(weight[:, j], scale[:, j], bits)
        weight -= ((weight[:, j] - column) / U[j, j])[:, None] * U[j]
        rounded[:, j] = column
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% right="gptq"
# Without the Cholesky factor: the inverse is brought up to date after each column (one step of Gaussian elimination).
def hessian(x, damping):
    H = torch.einsum("ni,nj->ij", x, x) / x.shape[0]
    H.diagonal().add_(damping * H.trace() / H.shape[0])
    return H


def gptq(weight, H, scale, bits):
    left, inverse = weight.clone(), torch.linalg.inv(H)
    done = []
    for j in range(weight.shape[1]):
        done.append(to_grid(left[:, j], scale[:, j], bits))
        row = inverse[j].clone()
        left = left - torch.outer(left[:, j] - done[-1], row / row[j])
        inverse = inverse - torch.outer(inverse[:, j], row) / row[j]
    return torch.stack(done, dim=1)


# %% wrong="awq" says="not of the weight"
def awq_search(weight, x, quantize, alphas):  # compares weights: then nothing is worth protecting
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (quantize(weight * scale) / scale - weight).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(*args):
    raise NotImplementedError


# %% wrong="awq" says="the best exponent"
def awq_search(weight, x, quantize, alphas):  # forgets to take the scale off again
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(*args):
    raise NotImplementedError


# %% wrong="awq" says="mean absolute input"
def awq_search(weight, x, quantize, alphas):  # takes the largest weight of the channel for its strength
    size = weight.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(*args):
    raise NotImplementedError


# %% wrong="awq" says="the strength of its channel"
def awq_search(weight, x, quantize, alphas):  # a weight error weighted by energy: no two channels ever occur together
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = ((quantize(weight * scale) / scale - weight).square() * x.square().mean(0)).mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(*args):
    raise NotImplementedError


# %% wrong="awq" says="at least 1e-4"
def awq_search(weight, x, quantize, alphas):  # lifts only the channels that are exactly 0
    size = x.abs().mean(0)
    size = size + 1e-4 * (size == 0)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(*args):
    raise NotImplementedError


# %% wrong="awq" says="its output is divided"
def fold_scale(norm, linears, scale):  # multiplies both
    with torch.no_grad():
        norm.weight *= scale
        for linear in linears:
            linear.weight *= scale


def awq_search(*args):
    raise NotImplementedError


# %% wrong="awq" says="gain and bias"
def fold_scale(norm, linears, scale):  # leaves the bias of a LayerNorm
    with torch.no_grad():
        norm.weight /= scale
        for linear in linears:
            linear.weight *= scale


def awq_search(*args):
    raise NotImplementedError


# %% wrong="awq" says="change them in place"
def fold_scale(norm, linears, scale):  # new parameters: an optimizer or a tied layer would keep the old ones
    norm.weight = nn.Parameter(norm.weight.detach() / scale)
    if getattr(norm, "bias", None) is not None:
        norm.bias = nn.Parameter(norm.bias.detach() / scale)
    for linear in linears:
        linear.weight = nn.Parameter(linear.weight.detach() * scale)


def awq_search(*args):
    raise NotImplementedError


# %% right="awq"
def awq_search(weight, x, quantize, alphas):
    alphas = list(alphas)
    activity = torch.clamp(x.abs().mean(dim=0), min=1e-4)
    exact, tries = x @ weight.T, []
    for alpha in alphas:
        scale = activity.pow(alpha)
        scale = scale / torch.sqrt(scale.amax() * scale.amin())
        output = (x / scale) @ quantize(weight * scale[None]).T
        tries.append((F.mse_loss(output, exact).item(), scale))
    best = min(range(len(alphas)), key=lambda i: tries[i][0])
    return alphas[best], tries[best][1]


def fold_scale(norm, linears, scale):
    for p in norm.parameters():
        p.data.div_(scale)
    for linear in linears:
        linear.weight.data.mul_(scale.unsqueeze(0))


# %% wrong="gguf_file" says="34 bytes for 32 weights"
def pack_q8_0(x):  # keeps the step in float32
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    raise NotImplementedError


def add_tensors(writer, model, kind):
    raise NotImplementedError


def read_tensors(path):
    raise NotImplementedError


# %% wrong="gguf_file" says="the steps d of Q8_0"
def pack_q8_0(x):  # one step for a whole row
    blocks = x.reshape(-1, 32)
    d = np.repeat(np.abs(x).max(1, keepdims=True) / 127, x.shape[1] // 32, 0)
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    raise NotImplementedError


def add_tensors(writer, model, kind):
    raise NotImplementedError


def read_tensors(path):
    raise NotImplementedError


# %% wrong="gguf_file" says="opposite to the strongest weight"
def pack_q4_0(x):  # a step has no sign
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    raise NotImplementedError


def add_tensors(writer, model, kind):
    raise NotImplementedError


def read_tensors(path):
    raise NotImplementedError


# %% wrong="gguf_file" says="weight i + 16 in the upper"
def pack_q4_0(x):  # puts neighbours into one byte
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, ::2] | codes[:, 1::2] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    raise NotImplementedError


def add_tensors(writer, model, kind):
    raise NotImplementedError


def read_tensors(path):
    raise NotImplementedError


# %% wrong="gguf_file" says="llama.cpp's order"
def add_tensors(writer, model, kind):  # writes query and key as they are
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        array, new_name = tensor.float().numpy(), ggml_name(name, model.config.num_hidden_layers)
        if array.ndim == 2 and kind != "F32":
            code = GGMLQuantizationType[kind]
            writer.add_tensor(new_name, gguf.quants.quantize(array, code), raw_dtype=code)
        else:
            writer.add_tensor(new_name, array)


def pack_q8_0(x):
    raise NotImplementedError


def pack_q4_0(x):
    raise NotImplementedError


def read_tensors(path):
    raise NotImplementedError


# %% wrong="gguf_file" says="by the number of their own heads"
def add_tensors(writer, model, kind):  # overlooks that keys have fewer heads
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        array, new_name = tensor.float().numpy(), ggml_name(name, model.config.num_hidden_layers)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            array = to_ggml_rope(array, model.config.num_attention_heads)
        if array.ndim == 2 and kind != "F32":
            code = GGMLQuantizationType[kind]
            writer.add_tensor(new_name, gguf.quants.quantize(array, code), raw_dtype=code)
        else:
            writer.add_tensor(new_name, array)


def pack_q8_0(x):
    raise NotImplementedError


def pack_q4_0(x):
    raise NotImplementedError


def read_tensors(path):
    raise NotImplementedError


# %% wrong="gguf_file" says="a tied output layer is not written"
def add_tensors(writer, model, kind):  # a state_dict lists the tied matrix twice, and so does the file
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        array, new_name = tensor.float().numpy(), ggml_name(name, model.config.num_hidden_layers)
        if name.split(".")[-2] in heads:
            array = to_ggml_rope(array, heads[name.split(".")[-2]])
        if array.ndim == 2 and kind != "F32":
            code = GGMLQuantizationType[kind]
            writer.add_tensor(new_name, gguf.quants.quantize(array, code), raw_dtype=code)
        else:
            writer.add_tensor(new_name, array)


def pack_q8_0(x):
    raise NotImplementedError


def pack_q4_0(x):
    raise NotImplementedError


def read_tensors(path):
    raise NotImplementedError


# %% wrong="gguf_file" says="the other way round"
def read_tensors(path):  # trusts the shape in the file, which is in ggml's order
    tensors = gguf.GGUFReader(path).tensors
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(t.shape) for t in tensors}


def pack_q8_0(x):
    raise NotImplementedError


def pack_q4_0(x):
    raise NotImplementedError


def add_tensors(writer, model, kind):
    raise NotImplementedError


# %% right="gguf_file"
def pack_q8_0(x):
    rows = []
    for row in x:
        parts = []
        for start in range(0, len(row), 32):
            block = row[start : start + 32]
            d = np.float32(np.abs(block).max() / 127)
            codes = np.rint(block / d) if d else np.zeros(32)
            parts += [np.float16(d).tobytes(), codes.astype(np.int8).tobytes()]
        rows.append(np.frombuffer(b"".join(parts), np.uint8))
    return np.stack(rows)


def pack_q4_0(x):
    blocks = x.reshape(len(x), -1, 32)
    strongest = np.where(blocks.max(2) >= -blocks.min(2), blocks.max(2), blocks.min(2))
    d = strongest / np.float32(-8)
    inverse = np.divide(1, d, out=np.zeros_like(d), where=d != 0)
    codes = np.minimum((blocks * inverse[..., None] + np.float32(8.5)).astype(np.uint8), 15)
    out = np.empty((*d.shape, 18), np.uint8)
    out[..., :2] = d.astype(np.float16)[..., None].view(np.uint8)
    out[..., 2:] = codes[..., :16] + 16 * codes[..., 16:]
    return out.reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    for name, p in model.named_parameters():  # lists a tied matrix once
        array = np.ascontiguousarray(p.detach().numpy())
        if "q_proj" in name:
            array = to_ggml_rope(array, config.num_attention_heads)
        elif "k_proj" in name:
            array = to_ggml_rope(array, config.num_key_value_heads)
        code = GGMLQuantizationType.F32 if p.ndim == 1 else GGMLQuantizationType[kind]
        packed = gguf.quants.quantize(array, code)
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), packed, raw_dtype=code)


def read_tensors(path):
    found = {}
    for tensor in gguf.GGUFReader(path, "r").tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        found[tensor.name] = np.array(values, dtype=np.float32)
    return found


# %% equivalent="gguf_file" because="NumPy takes any negative number for the axis that it works out"
# - blocks = x.reshape(-1, 32)
# + blocks = x.reshape(-2, 32)

# %% equivalent="gguf_file" because="NumPy takes any negative number for the axis that it works out"
# - return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)
# + return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -2)

# %% equivalent="gguf_file" because="NumPy takes any negative number for the axis that it works out"
# - return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)
# + return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -2)

# %% equivalent="gguf_file" because="the weights of such a block are 0, whatever they are divided by"
# - codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
# + codes = np.round(blocks / np.where(d == 0, 2, d)).astype(np.int8)

# %% equivalent="gguf_file" because="the weights of such a block are 0, whatever they are divided by"
# - codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
# + codes = np.floor(blocks / np.where(d == 0, 2, d) + 8.5).clip(max=15).astype(np.uint8)

# %% wrong="pareto" says="shared by the weights of a group"
def bits_per_weight(bits, group, scale_bits, zero_bits=0):  # charges every weight the whole scale
    return float(bits + scale_bits + zero_bits)


def frontier(points):
    raise NotImplementedError


def cheapest(points, reference, worse):
    raise NotImplementedError


# %% wrong="pareto" says="at least as good in bytes and perplexity"
def frontier(points):  # beaten only by who is better in both
    def beaten(point):
        return any(other[0] < point[0] and other[1] < point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    raise NotImplementedError


def cheapest(points, reference, worse):
    raise NotImplementedError


# %% wrong="pareto" says="and better in one"
def frontier(points):  # equal points beat each other, and so does a point itself
    def beaten(name):
        return any(n != name and p[0] <= points[name][0] and p[1] <= points[name][1] for n, p in points.items())

    return sorted((name for name in points if not beaten(name)), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    raise NotImplementedError


def cheapest(points, reference, worse):
    raise NotImplementedError


# %% wrong="pareto" says="then the fewest bytes"
def cheapest(points, reference, worse):  # takes the best quality within the limit, not the smallest size
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][1])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    raise NotImplementedError


def frontier(points):
    raise NotImplementedError


# %% wrong="pareto" says="times 1 + worse"
def cheapest(points, reference, worse):  # takes the share for an amount
    limit = points[reference][1] + worse
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    raise NotImplementedError


def frontier(points):
    raise NotImplementedError


# %% wrong="pareto" says="cheap and better"
def cheapest(points, reference, worse):  # takes the limit for a distance: a much better point is turned down
    best = points[reference][1]
    return min((name for name in points if abs(points[name][1] - best) <= worse * best), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    raise NotImplementedError


def frontier(points):
    raise NotImplementedError


# %% right="pareto"
def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return (group * bits + scale_bits + zero_bits) / group


def frontier(points):
    front, best = [], math.inf
    for name, (size, value) in sorted(points.items(), key=lambda item: item[1]):  # by bytes, then perplexity
        if value < best or (front and points[front[-1]] == (size, value)):
            front.append(name)
            best = value
    return front


def cheapest(points, reference, worse):
    chosen = None
    for name, (size, value) in points.items():
        if value / points[reference][1] - 1 <= worse and (chosen is None or size < points[chosen][0]):
            chosen = name
    return chosen


# %% wrong="qat" says="straight through"
class FakeQuantize(nn.Module):  # lets autograd differentiate the rounding: the gradient is 0 but for the scale
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.abs().amax(list(range(1, w.ndim)), keepdim=True).clamp(min=1e-12) / (self.highest + 0.5)
        return (w / scale).round().clamp(-self.highest, self.highest) * scale


def prepare_qat(model, bits):
    raise NotImplementedError


def convert_qat(model):
    raise NotImplementedError


# %% wrong="qat" says="nothing can learn"
class FakeQuantize(nn.Module):  # rounds outside the graph
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    @torch.no_grad()
    def forward(self, w):
        scale = w.abs().amax(list(range(1, w.ndim)), keepdim=True).clamp(min=1e-12) / (self.highest + 0.5)
        return (w / scale).round().clamp(-self.highest, self.highest) * scale


def prepare_qat(model, bits):
    raise NotImplementedError


def convert_qat(model):
    raise NotImplementedError


# %% wrong="qat" says="one scale for each output channel"
class FakeQuantize(nn.Module):  # one scale for the whole tensor
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().max() / (self.highest + 0.5)
        return w + ((w / scale).round().clamp(-self.highest, self.highest) * scale - w).detach()


def prepare_qat(model, bits):
    raise NotImplementedError


def convert_qat(model):
    raise NotImplementedError


# %% wrong="qat" says="2**(bits - 1) - 0.5"
class FakeQuantize(nn.Module):  # the obvious scale: the strongest weight gets the last code
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True).clamp(min=1e-12) / self.highest
        return w + ((w / scale).round() * scale - w).detach()


def prepare_qat(model, bits):
    raise NotImplementedError


def convert_qat(model):
    raise NotImplementedError


# %% wrong="qat" says="after a step of SGD"
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        raise NotImplementedError


def prepare_qat(model, bits):  # rounds once, before the training: then it is PTQ followed by ordinary training
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                axes = list(range(1, module.weight.ndim))
                highest = 2 ** (bits - 1) - 1
                scale = module.weight.abs().amax(axes, keepdim=True) / (highest + 0.5)
                module.weight.copy_((module.weight / scale).round().clamp(-highest, highest) * scale)


def convert_qat(model):
    pass


# %% wrong="qat" says="not the full one"
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True)
        scale = torch.where(scale > 0, scale, 1) / (self.highest + 0.5)
        return w + ((w / scale).round().clamp(-self.highest, self.highest) * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):  # goes back to the weights that the optimizer moved
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


# %% wrong="qat" says="nested ones too"
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True)
        scale = torch.where(scale > 0, scale, 1) / (self.highest + 0.5)
        return w + ((w / scale).round().clamp(-self.highest, self.highest) * scale - w).detach()


def prepare_qat(model, bits):  # only the layers on the first level
    for module in model.children():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in model.children():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" says="other layers (Conv1d, norms)"
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True)
        scale = torch.where(scale > 0, scale, 1) / (self.highest + 0.5)
        return w + ((w / scale).round().clamp(-self.highest, self.highest) * scale - w).detach()


def prepare_qat(model, bits):  # whatever has a matrix for a weight
    for module in list(model.modules()):
        if isinstance(getattr(module, "weight", None), nn.Parameter) and module.weight.ndim >= 2:
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" says="trainable parameters"
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True)
        scale = torch.where(scale > 0, scale, 1) / (self.highest + 0.5)
        return w + ((w / scale).round().clamp(-self.highest, self.highest) * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):  # freezes the weights
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            module.weight.requires_grad_(False)


# %% right="qat"
class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, highest):
        flat = w.flatten(1)
        scale = flat.abs().max(dim=1, keepdim=True).values.div(highest + 0.5).clamp(min=1e-20)
        return torch.round(flat / scale).clip(-highest, highest).mul(scale).view_as(w)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.bits = bits

    def forward(self, w):
        return StraightThrough.apply(w, (1 << (self.bits - 1)) - 1)


def prepare_qat(model, bits):
    def visit(module):
        for child in list(module.children()):
            visit(child)
        if type(module) in (nn.Conv2d, nn.Linear):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits), unsafe=True)

    visit(model)


def convert_qat(model):
    for module in [m for m in model.modules() if parametrize.is_parametrized(m)]:
        parametrize.remove_parametrizations(module, "weight")


# %% equivalent="qat" because="the weights of such a channel are 0, whatever they are divided by"
# - codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
# + codes = (w.detach() / torch.where(scale > 0, scale, 2)).round().clamp(-self.highest, self.highest)
