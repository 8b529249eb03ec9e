# %% wrong="affine" breaks="steps" says="one gap less"
# Misunderstands: 2**bits codes have as many gaps between them.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / 2**bits
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="range" says="must contain 0"
# Misunderstands: the range of weights is where the weights are.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True), w.amax(others, keepdim=True)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="range" says="must contain 0"
# Misunderstands: 0 is far below a range of positive weights, so only the low end needs it.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="axis" says="`affine_params` of"
# Misunderstands: `axis` is the axis to reduce, as in `sum(axis)`.
def affine_params(w, bits, axis=None):
    others = list(range(w.ndim)) if axis is None else [axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="axis" says="has shape"
# Misunderstands: a scale a row is a vector.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others).clamp(max=0), w.amax(others).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="axis" says="`affine_params` of"
# Misunderstands: weights are matrices: the axes that a channel has beyond two keep their length.
def affine_params(w, bits, axis=None):
    others = list(range(w.ndim)) if axis is None else [1 - axis] if axis < 2 else [0]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="zero_point" says="codes are signed"
# Misunderstands: the lowest code is 0.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="zero_point" says="lowest code minus low / scale, rounded"
# Misunderstands: a cast to an integer rounds.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-low / scale).int() - 2 ** (bits - 1)


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="zeros" says="(1 where it is 0)"
# Misunderstands: a narrow range is one of width 0.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale < 1e-8, 1, scale)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="zeros" says="`affine_params` of"
# Misunderstands: `clamp` keeps a division by 0 away, and that is all it does.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = scale.clamp(min=1e-6)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="zeros" says="(1 where it is 0)"
# Misunderstands: if some range is 0 wide, all are.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where((scale > 0).all(), scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="dtypes" says="has dtype"
# Misunderstands: an integer is an int64.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().long()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="dtypes" says="has dtype"
# Misunderstands: codes may stay floats as long as they are whole.
def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="dtypes" says="has dtype"
# Misunderstands: more digits cannot be wrong.
def dequantize(q, scale, zero_point):
    return (q.double() - zero_point) * scale


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="clamp" says="then clamp"
# Misunderstands: the codes of the rounded weights are what has to fit, so the shift comes last.
def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round().clamp(-half, half - 1) + zero_point).to(torch.int8)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="clamp" says="then clamp"
# Misunderstands: a cast to int8 stops at -128 and 127 (it wraps round).
def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).int().to(torch.int8)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="clamp" says="then clamp"
# Misunderstands: codes are int8, so they go from -128 to 127 for any number of bits.
def quantize(w, scale, zero_point, bits):
    half = 128
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="clamp" says="then clamp"
# Misunderstands: codes are symmetric.
def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(1 - half, half - 1).to(torch.int8)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="rounding" says="cuts the fraction off"
# Misunderstands: a cast to int8 rounds.
def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return (w / scale + zero_point).clamp(-half, half - 1).to(torch.int8)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="rounding" says="halves as torch.round does"
# Misunderstands: halves go up, as taught at school.
def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale + 0.5).floor() + zero_point).clamp(-half, half - 1).to(torch.int8)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="rounding" says="add the zero point"
# Misunderstands: a whole number can be added before or after the rounding (halves then go the other way).
def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return (w / scale + zero_point).round().clamp(-half, half - 1).to(torch.int8)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="rounding" says="divide"
# Misunderstands: half precision is enough for a quotient.
def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).half().float().round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="wide" says="wider than int8"
# Misunderstands: integers of the same size can be subtracted.
def dequantize(q, scale, zero_point):
    return (q - zero_point.to(torch.int8)) * scale


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="wide" says="subtract the zero point first"
# Misunderstands: the zero point is a weight.
def dequantize(q, scale, zero_point):
    return q.float() * scale - zero_point


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="bound" says="inputs cancel"
# Misunderstands: positive and negative inputs may be added up first.
def output_bound(scale, x):
    return (x.sum(1, keepdim=True) * scale.T / 2).abs()


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


# %% wrong="affine" breaks="bound" says="not by a whole one"
# Misunderstands: rounding moves a weight by up to a step.
def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


# %% wrong="affine" breaks="bound" says="a bound is for the worst case"
# Misunderstands: errors of many weights cancel, so a bound grows with the root of their number.
def output_bound(scale, x):
    return x.square().sum(1, keepdim=True).sqrt() * scale.T / 2


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


# %% wrong="affine" breaks="unchanged" says="in place"
# Misunderstands: `clone` is for tensors that need gradients.
def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return (w.div_(scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="unchanged" says="in place"
# Misunderstands: `abs_` gives a new tensor.
def output_bound(scale, x):
    return x.abs_().sum(1, keepdim=True) * scale.T / 2


def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low, high = w.amin(others, keepdim=True).clamp(max=0), w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    return scale, (-(2 ** (bits - 1)) - low / scale).round().int()


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


# %% wrong="affine" breaks="clamp" says="more steps away than int32"
# Misunderstands: a code is an integer, so it rounds into int32 before it adds the zero point; it does not think of quotients
# too large for int32, which wrap to the other end.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low = w.amin(others, keepdim=True).clamp(max=0)
    high = w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(high > low, scale, 1.0)
    zero_point = (-(2 ** (bits - 1)) - low / scale).round().to(torch.int32)
    return scale, zero_point


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    steps = (w / scale).round().int()
    return (steps + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% wrong="affine" breaks="wide" says="`dequantize` of q = int8"
# Misunderstands: believes that channels are always the rows: scale and zero point are laid along axis 0, whatever axis they
# belong to.
def affine_params(w, bits, axis=None):
    others = [d for d in range(w.ndim) if d != axis]
    low = w.amin(others, keepdim=True).clamp(max=0)
    high = w.amax(others, keepdim=True).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(high > low, scale, 1.0)
    zero_point = (-(2 ** (bits - 1)) - low / scale).round().to(torch.int32)
    return scale, zero_point


def quantize(w, scale, zero_point, bits):
    half = 2 ** (bits - 1)
    return ((w / scale).round() + zero_point).clamp(-half, half - 1).to(torch.int8)


def dequantize(q, scale, zero_point):
    if scale.numel() == len(q):
        rows = [-1] + [1] * (q.ndim - 1)
        scale, zero_point = scale.reshape(rows), zero_point.reshape(rows)
    return (q.int() - zero_point) * scale


def output_bound(scale, x):
    return x.abs().sum(1, keepdim=True) * scale.T / 2


# %% right="affine"
# Slices along the axis flattened to rows; other names of the same operations.
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


# %% right="affine"
# Range by range with Python's numbers, under no_grad; codes clamped before they are shifted, by limits that are shifted too.
@torch.no_grad()
def affine_params(w, bits, axis=None):
    parts = [w] if axis is None else w.unbind(dim=axis)
    scales, zero_points = [], []
    for part in parts:
        low, high = min(0.0, float(part.min())), max(0.0, float(part.max()))
        scales.append((high - low) / (2**bits - 1) if high > low else 1.0)
        zero_points.append(round(-low / scales[-1]) - 2 ** (bits - 1))
    shape = [1] * w.ndim
    if axis is not None:
        shape[axis] = len(parts)
    return torch.tensor(scales).reshape(shape), torch.tensor(zero_points, dtype=torch.int32).reshape(shape)


def quantize(w, scale, zero_point, bits):
    steps = torch.round(torch.true_divide(w, scale))
    steps = torch.minimum(torch.maximum(steps, -(2 ** (bits - 1)) - zero_point), 2 ** (bits - 1) - 1 - zero_point)
    return steps.add_(zero_point).to(dtype=torch.int8)


def dequantize(q, scale, zero_point):
    return q.to(torch.float32).sub_(zero_point).mul_(scale)


def output_bound(scale, x):
    return F.linear(x.abs(), (scale / 2).expand(-1, x.shape[1]))


# %% equivalent="affine" because="where 0 lies halfway between two codes either is right, and no such range is drawn"
# - zero_point = (-low / scale).round() - 2 ** (bits - 1)
# + zero_point = (-low / scale).add(0.5).floor() - 2 ** (bits - 1)


# %% equivalent="affine" because="int8 minus int32 is int32"
# - return (q.int() - zero_point) * scale
# + return (q - zero_point) * scale

# %% wrong="int8_model" breaks="freed" says="no float copy"
# Misunderstands: a module has to keep the layer that it replaces.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.linear, self.bias = linear, linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="freed" says="still in memory"
# Misunderstands: a plain attribute is not stored, so it costs nothing.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.original = [linear.weight]
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="freed" says="a graph hangs on it"
# Misunderstands: a buffer is cut from the graph when it is registered.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight.detach() / scale.detach()[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="freed" says="or a copy of it"
# Misunderstands: the rounded weight may be kept ready in float: it is no longer the original one.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.ready = self.weight * scale[:, None]
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="forward" says="added after the scale"
# Misunderstands: `F.linear` adds the bias, and the scale comes afterwards.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype), self.bias) * self.scale.to(x.dtype)


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="forward" says="has dtype"
# Misunderstands: float32 scales make the result float32, whatever comes in.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="forward" says="the output for x"
# Misunderstands: inputs come as a batch, `(batch, in)`.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = torch.einsum('...i,oi->...o', x.reshape(-1, x.shape[-1]), self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="gradients" says="No gradient"
# Misunderstands: quantized layers are for inference, so they need no graph.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    @torch.no_grad()
    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="gradients" says="No gradient"
# Misunderstands: what is frozen is detached.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias.detach()


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="buffers" says="must be buffers"
# Misunderstands: what is assigned to a module is saved and moved with it.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.weight = (weight / scale[:, None]).round().to(torch.int8)
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="buffers" says="what Int8Linear of"
# Misunderstands: a buffer is never saved (`persistent=False`).
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale, persistent=False)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="buffers" says="the dtype of the codes"
# Misunderstands: codes are integers once they are rounded.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round())
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="buffers" says="has shape"
# Misunderstands: a scale a row is a column.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale[:, None])
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.flatten().to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="scale" says="the scales of"
# Misunderstands: one scale for the whole layer is enough.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = (weight.abs().amax() / 127).expand(len(weight)).clone()
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="scale" says="the scales of"
# Misunderstands: there are 128 codes below 0, so the step is max / 128.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 128
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().clamp(max=127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="scale" says="the scales of"
# Misunderstands: the largest weight is the strongest one.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.amax(1).abs() / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().clamp(-128, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="scale" says="has dtype"
# Misunderstands: a layer's tensors all have its dtype.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="scale" says="the scales of"
# Misunderstands: bfloat16 is precise enough for a scale.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach()
        scale = (weight.abs().amax(1) / 127).float()
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="zeros" says="1 for a row of zeros"
# Misunderstands: `clamp` keeps a division by 0 away, and that is all.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = scale.clamp(min=1e-12)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="zeros" says="for no other"
# Misunderstands: weights around 1e-6 are zero.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 1e-6, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="codes" says="rounded to the nearest"
# Misunderstands: a cast to int8 rounds.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="bias" says="not the layer's own parameter"
# Misunderstands: a module owns copies of its parameters.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="layer_unchanged" says="must not be changed"
# Misunderstands: the layer is replaced, so its weight may be used up.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", weight.div_(scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="layer_unchanged" says="must not be changed"
# Misunderstands: a quantized layer is not trained, so the given one may be frozen.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        linear.requires_grad_(False)
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="mode" says="training flag"
# Misunderstands: a new module is in the mode of the model around it.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="mode" says="training flag"
# Misunderstands: a quantized layer is for inference.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.eval()

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="depth" says="at any depth"
# Misunderstands: `named_children` walks through the whole model.
def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_children() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        setattr(model, name, Int8Linear(getattr(model, name)))
    return names


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="depth" says="changed in place"
# Misunderstands: the caller takes what is returned, so the work is done on a copy.
def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    model = copy.deepcopy(model)
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="skip" says="full names"
# Misunderstands: `skip` holds the last part of names.
def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name.split('.')[-1] not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="skip" says="full names"
# Misunderstands: `skip` holds beginnings of names, so that it can leave out a block.
def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and not name.startswith(tuple(skip))]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="names" says="in the order of named_modules"
# Misunderstands: an alphabetical list is easier to read.
def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return sorted(names, reverse=True)


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="names" says="the names replaced"
# Misunderstands: a name is what stands last.
def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return [name.split('.')[-1] for name in names]


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def stored_bytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="once" says="counts once"
# Misunderstands: a state_dict lists each tensor once.
def stored_bytes(model):
    hidden = {name for module in model.modules() for name in module._non_persistent_buffers_set}
    return sum(t.nbytes for t in model.state_dict().values()) + sum(b.nbytes for n, b in model.named_buffers() if n in hidden)


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


# %% wrong="int8_model" breaks="unsaved" says="leaves out"
# Misunderstands: a state_dict holds all that is in memory.
def stored_bytes(model):
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in model.state_dict().values()}.values())


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


# %% wrong="int8_model" breaks="bytes" says="nbytes of parameters and buffers"
# Misunderstands: every number has four bytes.
def stored_bytes(model):
    return 4 * sum(p.numel() for p in [*model.parameters(), *model.buffers()])


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


# %% wrong="int8_model" breaks="bytes" says="nbytes of parameters and buffers"
# Misunderstands: all of a model has the dtype of its first parameter.
def stored_bytes(model):
    size = next(model.parameters()).element_size()
    return sum(t.numel() * size for t in [*model.parameters(), *model.buffers()])


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


# %% wrong="int8_model" breaks="bytes" says="nbytes of parameters and buffers"
# Misunderstands: what is frozen does not count.
def stored_bytes(model):
    return sum(t.nbytes for t in [*(p for p in model.parameters() if p.requires_grad), *model.buffers()])


class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


# %% wrong="int8_model" breaks="gradients" says="in eval mode"
# Misunderstands: in eval mode nobody needs gradients, so it switches them off there: LoRA on a layer in eval mode gets none.
class Int8Linear(nn.Module):

    def __init__(self, linear):
        super().__init__()
        w = linear.weight.detach().float()
        scale = w.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.register_buffer("weight", (w / scale[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)

    def forward(self, x):
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            y = (F.linear(x, self.weight.to(x.dtype)) * self.scale).to(x.dtype)
            return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="freed" says="forward keeps floats"
# Misunderstands: to be fast it unpacks the weight at the first call and keeps the floats: afterwards the module holds a
# float copy, and codes loaded later have no effect.
class Int8Linear(nn.Module):

    def __init__(self, linear):
        super().__init__()
        w = linear.weight.detach().float()
        scale = w.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.register_buffer("weight", (w / scale[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)
        self.unpacked = None

    def forward(self, x):
        if self.unpacked is None:
            self.unpacked = (self.weight.float() * self.scale[:, None]).to(x.dtype)
        return F.linear(x, self.unpacked, self.bias)


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="anew" says="after `load_state_dict`"
# Misunderstands: the scales that the first call saw are those of all calls.
class Int8Linear(nn.Module):

    def __init__(self, linear):
        super().__init__()
        w = linear.weight.detach().float()
        scale = w.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.register_buffer("weight", (w / scale[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)
        self.factors = None

    def forward(self, x):
        if self.factors is None:
            self.factors = self.scale.tolist()
        y = (F.linear(x, self.weight.to(x.dtype)) * torch.tensor(self.factors)).to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="layer_unchanged" says="requires_grad and empty .grad"
# Misunderstands: gradients are wanted, so a frozen bias is thawed.
class Int8Linear(nn.Module):

    def __init__(self, linear):
        super().__init__()
        w = linear.weight.detach().float()
        scale = w.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.register_buffer("weight", (w / scale[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)
        self.requires_grad_(True)

    def forward(self, x):
        y = (F.linear(x, self.weight.to(x.dtype)) * self.scale).to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="names" says="the order of named_modules"
# Misunderstands: takes the order of the names for the alphabetical one: layer 10 comes before layer 2.
class Int8Linear(nn.Module):

    def __init__(self, linear):
        super().__init__()
        w = linear.weight.detach().float()
        scale = w.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.register_buffer("weight", (w / scale[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)

    def forward(self, x):
        y = (F.linear(x, self.weight.to(x.dtype)) * self.scale).to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return sorted(names)


def stored_bytes(model):
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="forward" says="view size is not compatible"
# Misunderstands: view flattens the axes before the last of any tensor, whatever its memory layout.
class Int8Linear(nn.Module):

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1.0)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)

    def forward(self, x):
        """(..., in) -> (..., out), in the dtype of `x`."""
        flat = x.view(-1, self.weight.shape[1])
        y = (flat @ self.weight.to(x.dtype).T) * self.scale
        if self.bias is not None:
            y = y + self.bias
        return y.to(x.dtype).view(*x.shape[:-1], len(self.scale))


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="anew" says="put other buffers in the place"
# Misunderstands: a plain attribute that names a buffer's tensor is the buffer, also after others were put in its place.
class Int8Linear(nn.Module):

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1.0)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.per_output = scale
        self.bias = linear.bias
        self.train(linear.training)

    def forward(self, x):
        """(..., in) -> (..., out), in the dtype of `x`."""
        y = F.linear(x, self.weight.to(x.dtype)) * self.per_output
        if self.bias is not None:
            y = y + self.bias
        return y.to(x.dtype)


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="layer_unchanged" says="the layer's parameters after"
# Misunderstands: what the new module takes over the old one need not keep.
class Int8Linear(nn.Module):
    """A linear layer whose weight is stored as int8 codes with one scale for each output."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        linear.bias = None
        self.train(linear.training)

    def forward(self, x):
        """(..., in) -> (..., out), in the dtype of `x`."""
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    """Replace the linear layers of `model` in place; returns their names."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    """Bytes of all parameters and buffers of `model`, shared ones once."""
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="depth" says="share its weight with the embedding"
# Misunderstands: the weight of a layer that is replaced is nobody else's, so its memory can be given back.
def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        old = model.get_submodule(name)
        model.set_submodule(name, Int8Linear(old))
        old.weight.data = torch.empty(0)
    return names


class Int8Linear(nn.Module):
    """A linear layer whose weight is stored as int8 codes with one scale for each output."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)

    def forward(self, x):
        """(..., in) -> (..., out), in the dtype of `x`."""
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def stored_bytes(model):
    """Bytes of all parameters and buffers of `model`, shared ones once."""
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="bytes" says="what stored_bytes gives"
# Misunderstands: bits over 8 are bytes, whatever the type of that number.
def stored_bytes(model):
    bits = {torch.bool: 8, torch.int8: 8, torch.uint8: 8, torch.int32: 32, torch.int64: 64}
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * (torch.finfo(t.dtype).bits if t.is_floating_point() else bits[t.dtype]) for t in tensors) / 8


class Int8Linear(nn.Module):
    """A linear layer whose weight is stored as int8 codes with one scale for each output."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)

    def forward(self, x):
        """(..., in) -> (..., out), in the dtype of `x`."""
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    """Replace the linear layers of `model` in place; returns their names."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


# %% wrong="int8_model" breaks="freed" says="or a copy of it"
# Misunderstands: a NumPy array is no tensor, so it may be kept for later comparisons.
class Int8Linear(nn.Module):
    """A linear layer whose weight is stored as int8 codes with one scale for each output."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, 1)
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.original = weight.clone().numpy()
        self.train(linear.training)

    def forward(self, x):
        """(..., in) -> (..., out), in the dtype of `x`."""
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    """Replace the linear layers of `model` in place; returns their names."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    """Bytes of all parameters and buffers of `model`, shared ones once."""
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="gradients" says="to the bias where x requires none"
# Misunderstands: gradients are needed only where the input needs some. A first layer's bias gets none.
class Int8Linear(nn.Module):

    def __init__(self, linear):
        super().__init__()
        w = linear.weight.detach().float()
        scale = w.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.register_buffer("weight", (w / scale[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)

    def forward(self, x):
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            y = (F.linear(x, self.weight.to(x.dtype)) * self.scale).to(x.dtype)
            return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


# %% wrong="int8_model" breaks="gradients" says="to x where the bias requires none"
# Misunderstands: a layer whose bias is frozen is frozen, and needs no graph.
class Int8Linear(nn.Module):

    def __init__(self, linear):
        super().__init__()
        w = linear.weight.detach().float()
        scale = w.abs().amax(1) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.register_buffer("weight", (w / scale[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.train(linear.training)

    def forward(self, x):
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self.bias is None or self.bias.requires_grad)):
            y = (F.linear(x, self.weight.to(x.dtype)) * self.scale).to(x.dtype)
            return y if self.bias is None else y + self.bias


def quantize_linears(model, skip=()):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
    for name in names:
        model.set_submodule(name, Int8Linear(model.get_submodule(name)))
    return names


def stored_bytes(model):
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


# %% right="int8_model"
# The weight is unpacked in forward; the walk goes by parents; bytes by object.
class Int8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        with torch.no_grad():
            peaks = torch.linalg.vector_norm(linear.weight.float(), ord=math.inf, dim=1, keepdim=True)
            steps = torch.where(peaks == 0, torch.ones_like(peaks), peaks / 127)
            self.register_buffer("weight", torch.round(linear.weight.float() / steps).char())
            self.register_buffer("scale", steps.flatten())
        self.register_parameter("bias", linear.bias)
        self.train(mode=linear.training)

    def forward(self, x):
        return torch.nn.functional.linear(x, (self.weight.float() * self.scale.unsqueeze(1)).to(x.dtype), self.bias)


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


# %% right="int8_model"
# Rows one after the other; matrix product with @; a recursive walk; a decorator.
def as_codes(row):
    largest = float(row.abs().max())
    scale = largest / 127 if largest else 1.0
    return torch.round(row / scale).to(torch.int8), scale


class Int8Linear(nn.Module):
    @torch.no_grad()
    def __init__(self, linear):
        super().__init__()
        rows = [as_codes(row) for row in linear.weight.data.float()]
        self.register_buffer("weight", torch.stack([codes for codes, _ in rows]))
        self.register_buffer("scale", torch.tensor([scale for _, scale in rows], dtype=torch.float32))
        self.bias = linear.bias
        self.training = linear.training

    def forward(self, x):
        y = (x @ self.weight.t().to(x.dtype)).mul(self.scale.to(x.dtype))
        if self.bias is not None:
            y = y + self.bias
        return y


def quantize_linears(model, skip=()):
    replaced = []

    def visit(parent, prefix):
        for child_name, child in list(parent.named_children()):
            name = f"{prefix}{child_name}"
            if type(child) is nn.Linear:
                if name not in skip:
                    parent.add_module(child_name, Int8Linear(linear=child))
                    replaced.append(name)
            else:
                visit(child, name + ".")

    visit(model, "")
    return replaced


def stored_bytes(model):
    total = 0
    for tensors in (model.named_parameters(), model.named_buffers()):
        for _, tensor in tensors:
            total += tensor.numel() * tensor.dtype.itemsize
    return total


# %% equivalent="int8_model" because="no weight is drawn right in the middle between two codes, where either is right"
# - self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
# + self.register_buffer("weight", (weight / scale[:, None]).add(0.5).floor().to(torch.int8))


# %% equivalent="int8_model" because="a module without children has one training flag"
# - self.train(linear.training)
# + self.training = linear.training


# %% equivalent="int8_model" because="the task has no subclasses of nn.Linear"
# - names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in skip]
# + names = [name for name, module in model.named_modules() if (type(module) is nn.Linear) and name not in skip]

# %% wrong="float8" breaks="subnormal" says="the subnormal ones"
# Misunderstands: below the smallest normal number there is only 0.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    y = ((x / step).round() * step).clamp(-largest, largest)
    return torch.where(x.abs() < 2.0 ** (2 - 2 ** (exponent_bits - 1)), 0.0, y)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="subnormal" says="does not shrink any further"
# Misunderstands: the step halves for ever.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=-126)
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="subnormal" says="below 2**(1 - bias)"
# Misunderstands: the smallest exponent is minus the bias.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=1 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="even" says="even mantissa, not up"
# Misunderstands: halves go away from zero, as taught at school.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return (x.sign() * (x.abs() / step + 0.5).floor() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="nearest" says="to the nearest"
# Misunderstands: what does not fit into the mantissa is cut off.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).trunc() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="nearest" says="to the nearest"
# Misunderstands: the mantissa bits count the leading 1.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits + 1)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="saturate" says="beyond the largest number to it"
# Misunderstands: overflow becomes infinity, as in IEEE formats.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    y = (x / step).round() * step
    return torch.where(y.abs() > largest, y.sign() * math.inf, y)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="saturate" says="beyond the largest number to it"
# Misunderstands: the largest exponent with the largest mantissa is the largest number of every format.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-(top := (2 - 2.0**-mantissa_bits) * 2.0 ** 2 ** (exponent_bits - 1)), top)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="saturate" says="beyond the largest number to it"
# Misunderstands: only numbers that are too large upwards need a limit.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(max=largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="once" says="the number was rounded twice"
# Misunderstands: float16 has more bits than any of these formats, so it loses nothing.
def round_float(x, exponent_bits, mantissa_bits, largest):
    x = x.clamp(-largest, largest).half().float()
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="once" says="to the nearest"
# Misunderstands: a little of slack makes floor safe.
def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step * (1 - 1e-4)).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="dtypes" says="has dtype"
# Misunderstands: more digits cannot be wrong.
def round_float(x, exponent_bits, mantissa_bits, largest):
    x = x.double()
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="dtypes" says="has shape"
# Misunderstands: a format is for lists of numbers.
def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8).flatten()


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="dtypes" says="has dtype"
# Misunderstands: a bit pattern is an integer of any size.
def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).int()


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="pattern" says="without its leading 1"
# Misunderstands: the mantissa is stored as it is.
def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    exponent = torch.where(x.abs() < 2.0**lowest, lowest - 1, exponent)
    return (sign + (exponent - lowest + 1) * 2**mantissa_bits + steps).to(torch.uint8)


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="pattern" says="exponent plus bias"
# Misunderstands: the exponent stands below the mantissa.
def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = (x.abs() / 2.0 ** (exponent - mantissa_bits)).int()
    normal = steps >= 2**mantissa_bits
    mantissa, place = torch.where(normal, steps - 2**mantissa_bits, steps), torch.where(normal, exponent.int() - lowest + 1, 0)
    return ((x < 0) * 2 ** (exponent_bits + mantissa_bits) + mantissa * 2**exponent_bits + place).to(torch.uint8)


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="pattern" says="exponent plus bias"
# Misunderstands: the bias is half the number of exponents.
def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + torch.where(x == 0, 0, 2**mantissa_bits) + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="sign" says="not always the eighth"
# Misunderstands: a pattern fills the byte, so the sign is the eighth bit.
def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 128
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="sign" says="the sign on top"
# Misunderstands: negative numbers are stored as the complement.
def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    value = (exponent - lowest) * 2**mantissa_bits + x.abs() / 2.0 ** (exponent - mantissa_bits)
    return torch.where(x < 0, 2 ** (exponent_bits + mantissa_bits + 1) - value, value).int().to(torch.uint8)


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="subnormal_bits" says="`float_bits` of"
# Misunderstands: every number but 0 has a leading 1.
def float_bits(x, exponent_bits, mantissa_bits):
    bias = 2 ** (exponent_bits - 1) - 1
    exponent = torch.where(x == 0, -bias, x.abs().log2().floor()).clamp(min=-bias)
    mantissa = ((x.abs() / 2.0**exponent - 1) * 2**mantissa_bits).clamp(min=0)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent + bias) * 2**mantissa_bits + mantissa).to(torch.uint8)


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="row_scale" says="the row / 448"
# Misunderstands: a float needs no scale.
def float8_rows(w):
    return w.clamp(-448, 448).to(torch.float8_e4m3fn), torch.ones(len(w), 1)


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


# %% wrong="float8" breaks="row_scale" says="the row / 448"
# Misunderstands: one scale for the whole weight is enough.
def float8_rows(w):
    scale = w.abs().amax().expand(len(w), 1) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


# %% wrong="float8" breaks="row_scale" says="has shape"
# Misunderstands: a scale a row is a vector.
def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale.flatten()


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


# %% wrong="float8" breaks="zero_row" says="1 for a row of zeros"
# Misunderstands: a limit keeps zeros away.
def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = scale.clamp(min=1e-38)
    return (w / scale).to(torch.float8_e4m3fn), scale


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


# %% wrong="float8" breaks="zero_row" says="the row / 448"
# Misunderstands: rows of numbers around 1e-6 are as good as zero.
def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 1e-6, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


# %% wrong="float8" breaks="codes" says="not by way of another dtype"
# Misunderstands: float16 lies between float32 and float8.
def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).half().to(torch.float8_e4m3fn), scale


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


# %% wrong="float8" breaks="codes" says="not by way of another dtype"
# Misunderstands: bfloat16 is what models have.
def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).bfloat16().to(torch.float8_e4m3fn), scale


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


# %% wrong="float8" breaks="codes" says="the dtype of the codes"
# Misunderstands: e5m2 is the other name of the same.
def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e5m2), scale


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


# %% wrong="float8" breaks="unchanged" says="in place"
# Misunderstands: `clamp_` gives a new tensor.
def round_float(x, exponent_bits, mantissa_bits, largest):
    x = x.clamp_(-largest, largest)
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return (w / scale).to(torch.float8_e4m3fn), scale


# %% wrong="float8" breaks="unchanged" says="must stay as it was"
# Misunderstands: a division by the scale may use up the weight.
def float8_rows(w):
    scale = w.abs().amax(1, keepdim=True) / 448
    scale = torch.where(scale > 0, scale, 1)
    return w.div_(scale).to(torch.float8_e4m3fn), scale


def round_float(x, exponent_bits, mantissa_bits, largest):
    exponent = x.abs().log2().floor().clamp(min=2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return ((x / step).round() * step).clamp(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    lowest = 2 - 2 ** (exponent_bits - 1)
    exponent = x.abs().log2().floor().clamp(min=lowest)
    steps = x.abs() / 2.0 ** (exponent - mantissa_bits)
    sign = (x < 0) * 2 ** (exponent_bits + mantissa_bits)
    return (sign + (exponent - lowest) * 2**mantissa_bits + steps).to(torch.uint8)


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
    pattern = torch.searchsorted(table, x.abs().double().contiguous())
    return torch.where(x < 0, pattern + (1 << (exponent_bits + mantissa_bits)), pattern).to(torch.uint8)


def float8_rows(w):
    peaks = w.abs().max(dim=1, keepdim=True).values
    scale = torch.where(peaks == 0, torch.ones_like(peaks), peaks / torch.finfo(torch.float8_e4m3fn).max)
    return torch.div(w, scale).to(dtype=torch.float8_e4m3fn), scale


# %% right="float8"
# frexp and ldexp; patterns number by number; rows one after the other.
def round_float(x, exponent_bits, mantissa_bits, largest):
    _, exponent = torch.frexp(x)  # x = m * 2**exponent with 0.5 <= |m| < 1
    exponent = torch.clamp(exponent - 1, min=2 - 2 ** (exponent_bits - 1)) - mantissa_bits
    x = x.clamp(min=-2 * largest, max=2 * largest)
    exponent = exponent.clamp(max=2 ** (exponent_bits - 1) + 1)
    return torch.ldexp(torch.round(torch.ldexp(x, -exponent)), exponent).clip(-largest, largest)


def float_bits(x, exponent_bits, mantissa_bits):
    bias = 2 ** (exponent_bits - 1) - 1

    def pattern(value):
        size, sign = abs(value), int(value < 0)
        exponent = math.frexp(size)[1] - 1 if size else -bias
        if exponent < 1 - bias:
            place, mantissa = 0, size / 2.0 ** (1 - bias - mantissa_bits)
        else:
            place, mantissa = exponent + bias, (size / 2.0**exponent - 1) * 2**mantissa_bits
        return (sign << exponent_bits | place) << mantissa_bits | int(mantissa)

    return torch.tensor([pattern(value) for value in x.flatten().tolist()], dtype=torch.uint8).reshape(x.shape)


def float8_rows(w):
    scale = torch.tensor([[float(row.abs().max()) / 448 or 1.0] for row in w])
    return torch.stack([(row / s).to(torch.float8_e4m3fn) for row, s in zip(w, scale)]), scale

# %% wrong="check_quantizer" breaks="types" says="still unseen: returns a flat scale"
# Misunderstands: a shape is a matter of taste: what broadcasts is right.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        scale, zero_point = scale.view(-1, 1), zero_point.view(-1, 1)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="codes" says="one too high below 8 bits"
# Misunderstands: int8 holds codes of any number of bits, so there is nothing to test.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="scale" says="still unseen"
# Misunderstands: where the error is small the scale must be right.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="scale" says="2 parts in 100,000"
# Misunderstands: one part in a thousand is close enough.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-3, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.7 * scale).all()


# %% wrong="check_quantizer" breaks="zeros" says="scale 0 for a row of zeros"
# Misunderstands: in a row of zeros nothing can go wrong.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale)[scale.flatten() > 0].all()


# %% wrong="check_quantizer" breaks="error" says="truncates instead of rounding"
# Misunderstands: what has the right scale has the right codes.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)


# %% wrong="check_quantizer" breaks="error" says="truncates instead of rounding"
# Misunderstands: rounding errors are a matter of taste: a whole step is allowed.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 1.01 * scale).all()


# %% wrong="check_quantizer" breaks="unchanged" says="writes the rounded weights into its input"
# Misunderstands: a function that returns something leaves its input alone.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="raises" says="still unseen: zero point off by one"
# Misunderstands: tests report by what they return.
def check_quantizer(quantize_rows):
    w = torch.randn(5, 200)
    q, scale, zero_point = quantize_rows(w, 8)
    return bool((((q.int() - zero_point) * scale - w).abs() <= scale / 2).all())


# %% wrong="check_quantizer" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: a row of zeros has the scale 1, as in exercise 1.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all() and scale[2] == 1
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: two right ways to compute a scale agree to the last digit.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=0, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: an int8 tensor can be compared with 128.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q, zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="inputs" says="takes 3 bits when asked for 2"
# Misunderstands: 8 bits stand for all numbers of bits.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in (8,):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="inputs" says="takes 7 bits when asked for 8"
# Misunderstands: the hard case, 2 bits, stands for all.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in (2,):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="inputs" says="weights above 0 need not contain 0"
# Misunderstands: random weights have both signs, and that is what matters.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[2] = 0
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="inputs" says="takes a row of small weights"
# Misunderstands: numbers around 1 stand for all numbers.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="inputs" says="first 64 columns"
# Misunderstands: a small weight shows all that a large one shows.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    w[1] = 10 + w[1].abs()
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="inputs" says="adds 1e-10 to the scale"
# Misunderstands: compares the scale with the default tolerances of assert_close, whose absolute part lets any scale of small
# weights pass.
def check_quantizer(quantize_rows) -> None:
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    w = 10 * noise(12, 100)
    w[1] = 10 + w[1].abs()
    w[2] = -w[2].abs()
    w[3] = 0
    w[4] = (noise(100).sign() * 1e-6) * (1 + noise(100).abs())
    w[5] = noise(100).clamp(-3, 3) * 3e5
    w[6] = 5.0
    w[7] = -5.0
    w[8, 1:] = 0
    w[9] = w[9].abs() * 1e-4 + 1e-6
    w[10] = w[10] + 40
    w[11] = -(w[11].abs() * 1e-4 + 1e-6)
    inputs = [w, w[:1].clone(), w[:, :1].clone(), w.T.contiguous().T, w[:, ::3], noise(3, 3000), noise(2, 20000) * 1e4]
    inputs += [torch.zeros(2, 3), torch.tensor([[2.5]]), torch.tensor([[-1e6, 1e6], [1e-6, 2e-6], [-1e-6, 1e-6]])]
    inputs += [w[3:4].clone(), w[4:5].clone(), w[5:6].clone(), w[1:2].clone(), w[2:3].clone()]
    inputs += [torch.cat([noise(4, 700), 1e-5 * noise(4, 700).abs().clamp(min=0.2)])]
    for bits in range(2, 9):
        for x in inputs:
            given = x.clone(memory_format=torch.preserve_format)
            q, scale, zero_point = quantize_rows(given, bits)
            assert torch.equal(given, x), "w was changed"
            assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
            assert q.shape == x.shape and scale.shape == zero_point.shape == (len(x), 1)
            half = 2 ** (bits - 1)
            for codes in (q.int(), zero_point):
                assert codes.min() >= -half and codes.max() <= half - 1
            assert (scale > 0).all() and scale.isfinite().all()
            wide = x.double()
            width = wide.amax(1, keepdim=True).clamp(min=0) - wide.amin(1, keepdim=True).clamp(max=0)
            used = width > 0
            exact = width[used] / (2**bits - 1)
            torch.testing.assert_close(scale.double()[used], exact, rtol=1e-5, atol=1e-5)
            error = ((q.int() - zero_point).double() * scale.double() - wide).abs()
            assert (error <= 0.501 * scale.double()).all()


# %% wrong="check_quantizer" breaks="inputs" says="cuts weights off at 65,504"
# Misunderstands: large weights are only smaller ones in another unit.
def check_quantizer(quantize_rows) -> None:
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    w = 10 * noise(12, 100)
    w[1] = 10 + w[1].abs()
    w[2] = -w[2].abs()
    w[3] = 0
    w[4] = (noise(100).sign() * 1e-6) * (1 + noise(100).abs())
    w[5] = noise(100).clamp(-3, 3) * 3
    w[6] = 5.0
    w[7] = -5.0
    w[8, 1:] = 0
    w[9] = w[9].abs() * 1e-4 + 1e-6
    w[10] = w[10] + 40
    w[11] = -(w[11].abs() * 1e-4 + 1e-6)
    inputs = [w, w[:1].clone(), w[:, :1].clone(), w.T.contiguous().T, w[:, ::3], noise(3, 3000), noise(2, 20000)]
    inputs += [torch.zeros(2, 3), torch.tensor([[2.5]]), torch.tensor([[-1e3, 1e3], [1e-6, 2e-6], [-1e-6, 1e-6]])]
    inputs += [w[3:4].clone(), w[4:5].clone(), w[5:6].clone(), w[1:2].clone(), w[2:3].clone()]
    inputs += [torch.cat([noise(4, 700), 1e-5 * noise(4, 700).abs().clamp(min=0.2)])]
    for bits in range(2, 9):
        for x in inputs:
            given = x.clone(memory_format=torch.preserve_format)
            q, scale, zero_point = quantize_rows(given, bits)
            assert torch.equal(given, x), "w was changed"
            assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
            assert q.shape == x.shape and scale.shape == zero_point.shape == (len(x), 1)
            half = 2 ** (bits - 1)
            for codes in (q.int(), zero_point):
                assert codes.min() >= -half and codes.max() <= half - 1
            assert (scale > 0).all() and scale.isfinite().all()
            wide = x.double()
            width = wide.amax(1, keepdim=True).clamp(min=0) - wide.amin(1, keepdim=True).clamp(max=0)
            used = width > 0
            exact = width[used] / (2**bits - 1)
            assert ((scale.double()[used] - exact).abs() <= 1.1e-5 * exact).all()
            error = ((q.int() - zero_point).double() * scale.double() - wide).abs()
            assert (error <= 0.501 * scale.double()).all()


# %% wrong="check_quantizer" breaks="codes" says="zero points below the lowest code"
# Misunderstands: if the weights come back right, the zero point is right: its range need not be looked at.
def check_quantizer(quantize_rows) -> None:
    w = 10 * torch.randn(7, 100, generator=torch.Generator().manual_seed(0))
    w = w.sign() * w.abs().clamp(min=0.2)
    w[1] = 1e4 * w[1].abs()
    w[2] = -w[2].abs()
    w[3] = 0
    w[4] *= 1e-5
    w[5] *= 1e4
    w[6] = 1e-5 * (5 + w[6].abs())
    for bits in range(2, 9):
        for part in (w, w[:1], w[:, :1], w.T.contiguous().T):
            given = part.clone()
            q, scale, zero_point = quantize_rows(given, bits)
            assert torch.equal(given, part)
            assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
            assert (q.shape, scale.shape, zero_point.shape) == (part.shape, (len(part), 1), (len(part), 1))
            half = 2 ** (bits - 1)
            assert ((q.int() >= -half) & (q.int() < half)).all()
            assert (scale > 0).all()
            width = part.amax(1, keepdim=True).clamp(min=0) - part.amin(1, keepdim=True).clamp(max=0)
            used = width > 0
            torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
            assert ((q.int() - zero_point) * scale - part).abs().le(0.501 * scale).all()


# %% wrong="check_quantizer" breaks="types" says="returns zero points as int64"
# Misunderstands: whole numbers are whole numbers: only the dtypes of codes and scales matter.
def check_quantizer(quantize_rows):
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype) == (torch.int8, torch.float32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half and codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert (((q.int() - zero_point) * scale - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="inputs" says="takes 4 bits when asked for 5"
# Misunderstands: the usual numbers of bits stand for all.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in (2, 3, 4, 8):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half
            assert codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="types" says="returns codes as int16"
# Misunderstands: codes are compared as `q.int()`, so their own type does not matter.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (scale.dtype, zero_point.dtype) == (torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half
            assert codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="codes" says="codes one too high below 8 bits"
# Misunderstands: the zero point is a code: where it is in range all are.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (zero_point,):
            assert codes.min() >= -half
            assert codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="codes" says="zero points above the highest code"
# Misunderstands: a code can be too low, but int8 keeps it from being too high.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="error" says="up to 0.52 of a step"
# Misunderstands: half a step is about half a step.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half
            assert codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.55 * scale).all()


# %% wrong="check_quantizer" breaks="no_false_alarm" says="uses all the slack"
# Misunderstands: half a step is the limit, and 0.501 only a way to say it.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half
            assert codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.5 * scale * (1 + 1e-6)).all()


# %% wrong="check_quantizer" breaks="no_false_alarm" says="bits must be 2 to 8"
# Misunderstands: a good quantizer does something sensible with any number of bits.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(1, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half
            assert codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="zeros" says="zero point 0 in a row of zeros"
# Misunderstands: a row of zeros has no error.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half
            assert codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale)[used.expand_as(w)].all()


# %% wrong="check_quantizer" breaks="inputs" says="takes a row of small weights"
# Misunderstands: a thousandth is small enough.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-4
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half
            assert codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()


# %% wrong="check_quantizer" breaks="scale" says="2 parts in 100,000"
# Misunderstands: the scale is given to four digits.
def check_quantizer(quantize_rows) -> None:
    """Raise an error if `quantize_rows(w, bits)` breaks a promise."""
    w = 10 * torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    w[1] = 1e4 * (10 + w[1].abs())
    w[2] = 0
    w[3] = -w[1]
    w[4] *= 1e-6
    for bits in range(2, 9):
        half = 2 ** (bits - 1)
        given = w.clone()
        q, scale, zero_point = quantize_rows(given, bits)
        assert torch.equal(given, w)
        assert (q.dtype, scale.dtype, zero_point.dtype) == (torch.int8, torch.float32, torch.int32)
        assert (q.shape, scale.shape, zero_point.shape) == (w.shape, (5, 1), (5, 1))
        for codes in (q.int(), zero_point):
            assert codes.min() >= -half
            assert codes.max() < half
        assert (scale > 0).all()
        width = w.amax(1, keepdim=True).clamp(min=0) - w.amin(1, keepdim=True).clamp(max=0)
        used = width > 0
        torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-4, atol=0)
        assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()


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
            assert (error.abs() <= s.double() * 0.501).all()


# %% right="check_quantizer"
# By name, on layouts of all kinds, one row and one column, with errors of its own.
def check_quantizer(quantize_rows):
    generator = torch.Generator().manual_seed(5)

    def demand(kept, promise):
        if not kept:
            raise ValueError(promise)

    wide = torch.randn(6, 150, generator=generator) * torch.tensor([1.0, 1e-5, 1e5, 1, 1, 0])[:, None]
    wide[3], wide[4] = wide[3].abs() + 1e-3, -wide[4].abs() - 1e-3
    wide[wide.abs() < 1e-6] = 0
    for w in (torch.tensor([[0.3]]), torch.tensor([[-7.0], [0.0]]), wide, wide.T.contiguous().T, wide[::2, ::3]):
        for bits in range(8, 1, -1):
            before = w.clone()
            q, scale, zero_point = quantize_rows(w=w, bits=bits)
            demand(torch.equal(before, w), "unchanged")
            demand([t.dtype for t in (q, scale, zero_point)] == [torch.int8, torch.float32, torch.int32], "dtypes")
            demand([tuple(t.shape) for t in (q, scale, zero_point)] == [tuple(w.shape), (len(w), 1), (len(w), 1)], "shapes")
            low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
            for t in (q.long(), zero_point.long()):
                demand(bool(((t >= low) & (t <= high)).all()), "codes")
            bottom, top = w.double().min(1, keepdim=True).values.clamp(max=0), w.double().max(1, keepdim=True).values.clamp(min=0)
            exact = (top - bottom) / (2**bits - 1)
            good = torch.where(exact > 0, (scale / exact - 1).abs() < 9e-6, scale > 0)
            demand(bool(good.all()), "scale")
            demand(bool((((q.long() - zero_point) * scale.double() - w).abs() <= 0.501 * scale).all()), "error")


# %% equivalent="check_quantizer" because="equality is symmetric"
# - assert torch.equal(given, w), "the input was changed"
# + assert (torch.equal(w, given)), "the input was changed"


# %% equivalent="check_quantizer" because="the comparison is symmetric up to its tolerance"
# - torch.testing.assert_close(scale[used], width[used] / (2**bits - 1), rtol=1e-5, atol=0)
# + (torch.testing.assert_close(width[used] / (2 ** bits - 1), scale[used], rtol=1e-05, atol=0))


# %% equivalent="check_quantizer" because="no error is exactly 0.501 steps"
# - assert ((((q.int() - zero_point) * scale) - w).abs() <= 0.501 * scale).all()
# + assert ((((q.int() - zero_point) * scale - w).abs() < 0.501 * scale)).all()

# %% wrong="gptq" breaks="order, later" says="the earlier ones left it"
# Misunderstands: a weight is rounded as it was given.
def gptq(weight, H, scale, bits):
    return to_grid(weight, scale, bits)


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="order" says="column 1 of"
# Misunderstands: all columns can be rounded first, and corrected then.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    given = weight
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(given[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="order" says="column 0 of"
# Misunderstands: the order of the columns does not matter, so the last one may come first.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H.flip(0, 1)), upper=True)
    weight, rounded = weight.flip(1), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, -1 - j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded.flip(1)


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="later" says="is not row j of U"
# Misunderstands: the inverse of the whole H holds what each column needs.
def gptq(weight, H, scale, bits):
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


# %% wrong="gptq" breaks="later" says="over U[j, j]"
# Misunderstands: the error is what is handed on, as it is.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= (weight[:, j] - rounded[:, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="later" says="times row j of U"
# Misunderstands: the factor of H itself is meant, not that of its inverse.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(H, upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="later" says="ALL later ones"
# Misunderstands: columns are handled in blocks of 128, and an error stays in its block.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        end = j // 128 * 128 + 128
        weight[:, j + 1 : end] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 : end]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="later" says="ALL later ones"
# Misunderstands: only the next column pays.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 : j + 2] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 : j + 2]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="later" says="times row j of U"
# Misunderstands: the later columns get the error added.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] += ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="grid" says="column 0 of"
# Misunderstands: the corrected weight is the result.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return weight


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="grid" says="column 0 of"
# Misunderstands: a column has one step.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j].mean(), bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="grid" says="column 0 of"
# Misunderstands: what is rounded needs no limit.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = (weight[:, j] / scale[:, j]).round() * scale[:, j]
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="steps" says="the earlier ones left it"
# Misunderstands: the step follows the weights as they move.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    start = weight.norm(dim=1)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j] * weight.norm(dim=1) / start, bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="unchanged" says="work on a copy"
# Misunderstands: a slice is a copy.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    rounded = torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="unchanged" says="work on a copy"
# Misunderstands: H is only needed here, so it may take the damping in place.
def gptq(weight, H, scale, bits):
    H.diagonal().mul_(1 + 1e-6)
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="damping" says="on the diagonal only"
# Misunderstands: a number added to a matrix goes on its diagonal.
def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean()


def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


# %% wrong="gptq" breaks="damping" says="goes on the diagonal only"
# Misunderstands: damping is an amount, not a share.
def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * torch.eye(len(H), dtype=x.dtype)


def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


# %% wrong="gptq" breaks="damping" says="goes on the diagonal only"
# Misunderstands: each entry of the diagonal gets its own share.
def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * torch.diag(H.diagonal())


def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


# %% wrong="gptq" breaks="mean" says="divide by it"
# Misunderstands: H is a sum.
def hessian(x, damping):
    H = x.T @ x
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


# %% wrong="gptq" breaks="mean" says="outer products"
# Misunderstands: the mean is taken off first, as in a covariance.
def hessian(x, damping):
    x = x - x.mean(0)
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


# %% wrong="gptq" breaks="mean" says="outer products"
# Misunderstands: a mean divides by the number of channels.
def hessian(x, damping):
    H = x.T @ x / x.shape[1]
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


# %% wrong="gptq" breaks="dtypes" says="the dtype of GPTQ"
# Misunderstands: new tensors have the dtype of the old ones.
def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty(weight.shape)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


# %% wrong="gptq" breaks="dtypes" says="has dtype"
# Misunderstands: a sum in float64 is more exact, so the result stays there.
def hessian(x, damping):
    x = x.double()
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        weight[:, j + 1 :] -= ((weight[:, j] - rounded[:, j]) / U[j, j])[:, None] * U[j, j + 1 :]
    return rounded


# %% wrong="gptq" breaks="later" says="ALL later ones"
# Misunderstands: an error is paid for within its block of 256 columns; the blocks behind are left alone.
def hessian(x, damping):
    H = x.T @ x / len(x)
    return H + damping * H.diagonal().mean() * torch.eye(len(H), dtype=x.dtype)


def gptq(weight, H, scale, bits):
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        error = (weight[:, j] - rounded[:, j]) / U[j, j]
        end = (j // 256 + 1) * 256
        weight[:, j + 1 : end] -= torch.outer(error, U[j, j + 1 : end])
    return rounded


# %% wrong="gptq" breaks="dtypes" says="gptq in float64"
# Misunderstands: float32 has digits enough for the inverse; only the result has to be float64.
def gptq(weight, H, scale, bits):
    """`weight` (out, in) on the grid of `scale`, rounded column by column with the errors handed on."""
    U = torch.linalg.cholesky(torch.linalg.inv(H.float())).T.to(weight.dtype)
    weight, rounded = weight.clone(), torch.empty_like(weight)
    for j in range(len(H)):
        rounded[:, j] = to_grid(weight[:, j], scale[:, j], bits)
        error = (weight[:, j] - rounded[:, j]) / U[j, j]
        weight -= error[:, None] * U[j]
    return rounded


def hessian(x, damping):
    """Mean outer product of the inputs, damped: (n, in) -> (in, in)."""
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


# %% right="gptq"
# In blocks of 32 with lazy updates of what comes after the block, as the paper does it; in float64 throughout.
def hessian(x, damping):
    total = torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype)
    for part in x.split(64):
        total += part.T.matmul(part)
    H = total.div_(x.size(0))
    return H + torch.diag(torch.full((len(H),), float(damping * H.diagonal().mean()), dtype=x.dtype))


@torch.no_grad()
def gptq(weight, H, scale, bits):
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H.double())), upper=True)
    left, steps = weight.double().clone(), scale.double()
    result = torch.zeros_like(left)
    for start in range(0, left.shape[1], 32):
        end = min(start + 32, left.shape[1])
        errors = torch.zeros(len(left), end - start, dtype=left.dtype)
        for j in range(start, end):
            result[:, j] = to_grid(left[:, j], steps[:, j], bits)
            errors[:, j - start] = (left[:, j] - result[:, j]) / factor[j, j]
            left[:, j:end] -= torch.outer(errors[:, j - start], factor[j, j:end])
        left[:, end:] -= errors @ factor[start:end, end:]
    return result.to(weight.dtype)

# %% wrong="awq" breaks="output" says="not of the weight"
# Misunderstands: the best rounding leaves the smallest error of the weight.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (quantize(weight * scale) / scale - weight).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="output" says="strength of its channel"
# Misunderstands: an error weighted by energy is the error of the output.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = ((quantize(weight * scale) / scale - weight).square() * x.square().mean(0)).mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="output" says="the best exponent"
# Misunderstands: the largest error of an output counts.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).abs().max().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="undone" says="taken off again"
# Misunderstands: the rounded scaled weight is compared with the weight.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="undone" says="the best exponent"
# Misunderstands: the error may be measured on the scaled side.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) - weight * scale).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="strength" says="mean absolute input"
# Misunderstands: a channel is as strong as its weights.
def awq_search(weight, x, quantize, alphas):
    size = weight.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="strength" says="not the root of the mean square"
# Misunderstands: strength is the root of the mean square.
def awq_search(weight, x, quantize, alphas):
    size = x.square().mean(0).sqrt().clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="strength" says="mean absolute input"
# Misunderstands: signs may cancel.
def awq_search(weight, x, quantize, alphas):
    size = x.mean(0).abs().clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="floor" says="at least 1e-4"
# Misunderstands: only channels that are exactly 0 need a floor.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0)
    size = torch.where(size == 0, 1e-4, size)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            size = torch.where(size == 0, 1e-4, size)
    best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="floor" says="nothing is added"
# Misunderstands: a small number keeps zeros away.
def awq_search(weight, x, quantize, alphas):
    size = 1e-4 + x.abs().mean(0)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="centred" says="root of largest times smallest"
# Misunderstands: the rounding does not care for the size of a scale.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="centred" says="over the root of largest times smallest"
# Misunderstands: scales near 1 have the mean 1.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / scale.mean()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="first" says="the first of equals"
# Misunderstands: of equals the last is as good.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error <= least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="first" says="the first of equals"
# Misunderstands: of equals the smallest exponent is meant.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in sorted(alphas):
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="result" says="has shape"
# Misunderstands: a scale that meets the weight is a row.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale[None]), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="result" says="number of results"
# Misunderstands: the error is of interest too.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return (*best, least)


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="result" says="has dtype"
# Misunderstands: float32 is the dtype of scales.
def awq_search(weight, x, quantize, alphas):
    size = x.float().abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).to(x.dtype).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="unchanged" says="work on new tensors"
# Misunderstands: the strengths may take the place of the inputs.
def awq_search(weight, x, quantize, alphas):
    size = x.abs_().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="gain" says="its output is divided"
# Misunderstands: both are multiplied.
def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight *= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="norm_bias" says="gain and bias"
# Misunderstands: a bias is added afterwards, so it stays.
def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="norm_bias" says="gain and bias"
# Misunderstands: what has a bias is a LayerNorm with a gain of its own size.
def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias *= scale


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="linears" says="the columns"
# Misunderstands: the scale belongs to the outputs.
def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale[:, None] if len(linear.weight) == len(scale) else scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="linears" says="each layer once"
# Misunderstands: only the first layer reads the norm.
def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears[:1]:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="linears" says="biases of linear layers stay"
# Misunderstands: all parameters of a layer go with its weight.
def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
            if linear.bias is not None:
                linear.bias *= scale.mean()
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="in_place" says="in place"
# Misunderstands: a new parameter is as good as the old one.
def fold_scale(norm, linears, scale):
    norm.weight = nn.Parameter((norm.weight.detach() / scale).to(norm.weight.dtype))
    if getattr(norm, "bias", None) is not None:
        norm.bias = nn.Parameter((norm.bias.detach() / scale).to(norm.bias.dtype))
    for linear in linears:
        linear.weight = nn.Parameter((linear.weight.detach() * scale).to(linear.weight.dtype))


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="in_place" says="frozen stays frozen"
# Misunderstands: what is changed by hand is not trained.
def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
            linear.weight.requires_grad_(False)
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="in_place" says="has dtype"
# Misunderstands: `.data` may be set to any tensor.
def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight.data = linear.weight.data * scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="scale_unchanged" says="`scale` after"
# Misunderstands: the inverse may be made in place.
def fold_scale(norm, linears, scale):
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        scale.reciprocal_()
        norm.weight *= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias *= scale


def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = (x @ (quantize(weight * scale) / scale - weight).T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="norm_bias" says="gain and bias"
# Misunderstands: of all norms only nn.LayerNorm has a bias: a norm of another class keeps its bias undivided.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        change = quantize(weight * scale) / scale - weight
        error = (x @ change.T).square().mean().item()
        if best is None or error < least:
            best, least = (alpha, scale), error
    return best


@torch.no_grad()
def fold_scale(norm, linears, scale):
    for linear in linears:
        linear.weight *= scale
    norm.weight /= scale
    if isinstance(norm, nn.LayerNorm) and norm.bias is not None:
        norm.bias /= scale


# %% wrong="awq" breaks="floor" says="at least 1e-4"
# Misunderstands: it lifts each single input to 0.0001 before the mean, so that channels that are mostly silent count as
# stronger than they are.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().clamp(min=1e-4).mean(0)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        change = quantize(weight * scale) / scale - weight
        error = (x @ change.T).square().mean().item()
        if best is None or error < least:
            best, least = (alpha, scale), error
    return best


@torch.no_grad()
def fold_scale(norm, linears, scale):
    for linear in linears:
        linear.weight *= scale
    norm.weight /= scale
    if getattr(norm, "bias", None) is not None:
        norm.bias /= scale


# %% wrong="awq" breaks="output" says="smallest error of the output"
# Misunderstands: the error has one valley over alpha, so the search may end at the first exponent that is worse than the one
# before.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        change = quantize(weight * scale) / scale - weight
        error = (x @ change.T).square().mean().item()
        if best is None or error < least:
            best, least = (alpha, scale), error
        elif error > least:
            break
    return best


@torch.no_grad()
def fold_scale(norm, linears, scale):
    for linear in linears:
        linear.weight *= scale
    norm.weight /= scale
    if getattr(norm, "bias", None) is not None:
        norm.bias /= scale


# %% wrong="awq" breaks="unchanged" says="`alphas` after the search"
# Misunderstands: sorts the caller's list on the way.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    order = list(alphas)
    alphas.sort()
    for alpha in order:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        change = quantize(weight * scale) / scale - weight
        error = (x @ change.T).square().mean().item()
        if best is None or error < least:
            best, least = (alpha, scale), error
    return best


@torch.no_grad()
def fold_scale(norm, linears, scale):
    for linear in linears:
        linear.weight *= scale
    norm.weight /= scale
    if getattr(norm, "bias", None) is not None:
        norm.bias /= scale


# %% wrong="awq" breaks="gain" says="its output is divided"
# Misunderstands: norm and layers have one dtype, so the scale can be cast to that of the layers.
def awq_search(weight, x, quantize, alphas):
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        change = quantize(weight * scale) / scale - weight
        error = (x @ change.T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    scale = scale.to(linears[0].weight.dtype)
    with torch.no_grad():
        for linear in linears:
            linear.weight.mul_(scale)
        norm.weight.div_(scale)
        if getattr(norm, "bias", None) is not None:
            norm.bias.div_(scale)


# %% wrong="awq" breaks="output" says="smallest error of the output"
# Misunderstands: an error is an absolute difference.
def awq_search(weight, x, quantize, alphas):
    """The exponent and the channel scale (in,) with the smallest output error."""
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        change = quantize(weight * scale) / scale - weight
        error = (x @ change.T).abs().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


def fold_scale(norm, linears, scale):
    """Divide the output of `norm` by `scale` and multiply the inputs of `linears` by it, in their weights."""
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


# %% wrong="awq" breaks="in_place" says="only the weights"
# Misunderstands: what the norm holds for each channel is divided, the running statistics too.
def fold_scale(norm, linears, scale):
    """Divide the output of `norm` by `scale` and multiply the inputs of `linears` by it, in their weights."""
    with torch.no_grad():
        for linear in linears:
            linear.weight *= scale
        norm.weight /= scale
        for buffer in norm.buffers():
            if buffer.shape == scale.shape:
                buffer /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


def awq_search(weight, x, quantize, alphas):
    """The exponent and the channel scale (in,) with the smallest output error."""
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        change = quantize(weight * scale) / scale - weight
        error = (x @ change.T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% wrong="awq" breaks="scale_unchanged" says="only the weights"
# Misunderstands: a list that was worked through may be used up.
def fold_scale(norm, linears, scale):
    """Divide the output of `norm` by `scale` and multiply the inputs of `linears` by it, in their weights."""
    with torch.no_grad():
        while linears:
            linears.pop().weight.mul_(scale)
        norm.weight /= scale
        if getattr(norm, "bias", None) is not None:
            norm.bias /= scale


def awq_search(weight, x, quantize, alphas):
    """The exponent and the channel scale (in,) with the smallest output error."""
    size = x.abs().mean(0).clamp(min=1e-4)
    best, least = None, math.inf
    for alpha in alphas:
        scale = size**alpha
        scale = scale / (scale.max() * scale.min()).sqrt()
        change = quantize(weight * scale) / scale - weight
        error = (x @ change.T).square().mean().item()
        if error < least:
            best, least = (alpha, scale), error
    return best


# %% right="awq"
# Outputs compared as such, the scale on the inputs; `.data` in place.
def awq_search(weight, x, quantize, alphas):
    alphas = list(alphas)
    activity = torch.clamp(x.abs().mean(dim=0), min=1e-4)
    exact, tries = x @ weight.T, []
    for alpha in alphas:
        scale = activity.pow(alpha)
        scale = scale / torch.sqrt(scale.amax() * scale.amin())
        output = (x / scale) @ quantize(weight * scale[None]).T
        tries.append((F.mse_loss(output, exact).item() if not torch.equal(output, exact) else 0.0, scale))
    best = min(range(len(alphas)), key=lambda i: tries[i][0])
    return alphas[best], tries[best][1]


def fold_scale(norm, linears, scale):
    for p in norm.parameters():
        p.data.div_(scale)
    for linear in linears:
        linear.weight.data.mul_(scale.unsqueeze(0))


# %% right="awq"
# Logarithms, helper functions, decorators; copy_ into the parameters.
def channel_scale(x, alpha):
    log = alpha * torch.maximum(x.abs().sum(0) / x.shape[0], torch.tensor(1e-4, dtype=x.dtype)).log()
    return torch.exp(log - (log.max() + log.min()) / 2)


@torch.no_grad()
def awq_search(weight, x, quantize, alphas):
    losses, scales = [], []
    for alpha in alphas:
        s = channel_scale(x, alpha)
        back = torch.div(quantize(torch.mul(weight, s)), s)
        losses.append(float(torch.mean((F.linear(x, back - weight)) ** 2)))
        scales.append(s)
    i = losses.index(min(losses))
    return alphas[i], scales[i]


@torch.no_grad()
def fold_scale(norm, linears, scale):
    norm.weight.copy_(norm.weight / scale)
    if hasattr(norm, "bias") and norm.bias is not None:
        norm.bias.copy_(norm.bias / scale)
    for layer in linears:
        layer.weight.copy_(layer.weight * scale.reshape(1, -1))

# %% wrong="gguf_file" breaks="layout" says="34 bytes for 32 weights"
# Misunderstands: the step stays in float32.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float32).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="layout" says="the steps d of"
# Misunderstands: the codes come first.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([codes.view(np.uint8), d.astype(np.float16).view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="layout" says="the steps d of Q4_0"
# Misunderstands: first come all steps of a row, then all codes.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    steps, packed = d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4
    return np.hstack([steps.reshape(len(x), -1), packed.reshape(len(x), -1)])


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="step" says="the steps d of Q8_0"
# Misunderstands: a row has one step.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.repeat(np.abs(x).max(1, keepdims=True) / np.float32(127), x.shape[1] // 32, 0)
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="step" says="the steps d of Q8_0"
# Misunderstands: there are 128 steps on either side.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 128
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="step" says="sign opposite to the strongest weight"
# Misunderstands: a step has no sign.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="step" says="the first of equals"
# Misunderstands: of two equally strong weights the positive one counts.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.where(blocks.max(1) >= -blocks.min(1), blocks.max(1), blocks.min(1))[:, None] / np.float32(-8)
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="codes8" says="to the nearest"
# Misunderstands: a cast to int8 rounds.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = (blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="codes8" says="d in float32"
# Misunderstands: the codes belong to the step that is stored.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    d = d.astype(np.float16).astype(np.float32)
    codes = np.round(blocks / np.where(d == 0, 1, d)).clip(-127, 127).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="codes4" says="not a rounding"
# Misunderstands: floor(x + 8.5) is round(x) + 8.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = (np.round(blocks / np.where(d == 0, 1, d)) + 8).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="codes4" says="floor(w / d + 8.5)"
# Misunderstands: codes begin at 0, so 8 is enough.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="codes4" says="at most 15"
# Misunderstands: a code cannot become larger than 15.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).astype(np.uint8) & 15
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="codes4" says="d in float32"
# Misunderstands: the codes belong to the step that is stored.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    d = d.astype(np.float16).astype(np.float32)
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="halves" says="neighbours do not share a byte"
# Misunderstands: neighbours share a byte.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, ::2] | codes[:, 1::2] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="halves" says="the lower half of byte i holds weight i"
# Misunderstands: the first weight is in the upper half.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, 16:] | codes[:, :16] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="zeros" says="NumPy warns of"
# Misunderstands: what is divided by 0 can be mended afterwards.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.nan_to_num(np.round(blocks / d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="zeros" says="the codes of Q4_0"
# Misunderstands: in a block of zeros the codes are 0 as well.
def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    codes = np.where(d == 0, 0, codes).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="zeros" says="the steps d of Q8_0"
# Misunderstands: a block of zeros has the step 1.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    d = np.where(d == 0, 1, d).astype(np.float32)
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="unchanged" says="must not be changed"
# Misunderstands: `reshape` copies.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    blocks /= np.where(d == 0, 1, d)
    codes = np.round(blocks).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="rope" says="must be put into llama.cpp's order"
# Misunderstands: query and key are matrices like all others.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="rope" says="llama.cpp's order"
# Misunderstands: all three projections turn.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads, "v_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="heads" says="by the number of their own heads"
# Misunderstands: keys have as many heads as queries.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_attention_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="heads" says="by the number of their own heads"
# Misunderstands: a head is `hidden_size / num_attention_heads` wide.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, len(array) * config.num_attention_heads // config.hidden_size)
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="tied" says="a tied output layer is not written"
# Misunderstands: what a state_dict lists belongs into the file.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="tied" says="one of its own is"
# Misunderstands: the output layer is never written.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="complete" says="the tensors in"
# Misunderstands: only matrices are weights.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if tensor.ndim == 1:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="complete" says="ggml_name gives the names"
# Misunderstands: names are those of the model.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="kinds" says="matrices get the kind"
# Misunderstands: the embedding must stay exact.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 and "embed" not in name else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="kinds" says="the type of"
# Misunderstands: Q8_0 is what everybody uses.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType["F32" if array.ndim == 1 or kind == "F32" else "Q8_0"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="vectors" says="vectors stay F32"
# Misunderstands: a vector is packed like a matrix.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="bfloat16" says="your code raised"
# Misunderstands: NumPy has every dtype that PyTorch has.
def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.detach().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="model_unchanged" says="other values than before"
# Misunderstands: `model.float()` gives a float32 copy.
def add_tensors(writer, model, kind):
    config, model = model.config, model.float()
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="types" says="your code raised ValueError"
# Misunderstands: all matrices of a file have one type.
def read_tensors(path):
    tensors = gguf.GGUFReader(path).tensors
    kind = next((t.tensor_type for t in tensors if t.tensor_type.name != "F32"), GGMLQuantizationType.F32)
    return {t.name: gguf.quants.dequantize(t.data, kind) if t.data.ndim == 2 and t.data.dtype == np.uint8 else np.float32(t.data) for t in tensors}


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


# %% wrong="gguf_file" breaks="types" says="the tensors of a file"
# Misunderstands: a file holds weights, and weights are matrices.
def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors if t.data.ndim == 2}


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


# %% wrong="gguf_file" breaks="shapes" says="the other way round"
# Misunderstands: the shape in the file is NumPy's.
def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(t.shape) for t in gguf.GGUFReader(path).tensors}


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


# %% wrong="gguf_file" breaks="shapes" says="has dtype"
# Misunderstands: what is stored in 16 bits stays in 16 bits.
def read_tensors(path):
    return {t.name: t.data if t.data.dtype == np.float16 else gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), gguf.quants.quantize(array, code), raw_dtype=code)


# %% wrong="gguf_file" breaks="codes8" says="the codes of Q8_0"
# Misunderstands: divides by at least a millionth, so that a block of zeros is safe; the step of a block of tiny weights is
# smaller than that.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
    codes = np.round(blocks / np.maximum(d, np.float32(1e-6))).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / np.float32(-8)
    codes = np.floor(blocks / np.where(d == 0, np.float32(1), d) + np.float32(8.5)).clip(max=15).astype(np.uint8)
    packed = codes[:, :16] | codes[:, 16:] << 4
    return np.hstack([d.astype(np.float16).view(np.uint8), packed]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.float().numpy()
        if name.endswith("q_proj.weight"):
            array = to_ggml_rope(array, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            array = to_ggml_rope(array, config.num_key_value_heads)
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        packed = gguf.quants.quantize(array, code)
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), packed, raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="complete" says="Duplicated tensor name"
# Misunderstands: takes the number of layers from the course's model, not from the one that is given.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
    codes = np.round(blocks / np.where(d == 0, np.float32(1), d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / np.float32(-8)
    codes = np.floor(blocks / np.where(d == 0, np.float32(1), d) + np.float32(8.5)).clip(max=15).astype(np.uint8)
    packed = codes[:, :16] | codes[:, 16:] << 4
    return np.hstack([d.astype(np.float16).view(np.uint8), packed]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.float().numpy()
        if name.endswith("q_proj.weight"):
            array = to_ggml_rope(array, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            array = to_ggml_rope(array, config.num_key_value_heads)
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        packed = gguf.quants.quantize(array, code)
        writer.add_tensor(ggml_name(name, language_model.config.num_hidden_layers), packed, raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="tied" says="one of its own is"
# Misunderstands: leaves the output layer out if it has the same values as the embedding, not if the config says that they
# are tied.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
    codes = np.round(blocks / np.where(d == 0, np.float32(1), d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / np.float32(-8)
    codes = np.floor(blocks / np.where(d == 0, np.float32(1), d) + np.float32(8.5)).clip(max=15).astype(np.uint8)
    packed = codes[:, :16] | codes[:, 16:] << 4
    return np.hstack([d.astype(np.float16).view(np.uint8), packed]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and torch.equal(tensor, model.model.embed_tokens.weight):
            continue
        array = tensor.float().numpy()
        if name.endswith("q_proj.weight"):
            array = to_ggml_rope(array, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            array = to_ggml_rope(array, config.num_key_value_heads)
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        packed = gguf.quants.quantize(array, code)
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), packed, raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="model_unchanged" says="after writing"
# Misunderstands: a model that is written is put into eval mode first.
def pack_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
    codes = np.round(blocks / np.where(d == 0, np.float32(1), d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / np.float32(-8)
    codes = np.floor(blocks / np.where(d == 0, np.float32(1), d) + np.float32(8.5)).clip(max=15).astype(np.uint8)
    packed = codes[:, :16] | codes[:, 16:] << 4
    return np.hstack([d.astype(np.float16).view(np.uint8), packed]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.eval().config
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.float().numpy()
        if name.endswith("q_proj.weight"):
            array = to_ggml_rope(array, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            array = to_ggml_rope(array, config.num_key_value_heads)
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        packed = gguf.quants.quantize(array, code)
        writer.add_tensor(ggml_name(name, config.num_hidden_layers), packed, raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="unchanged" says="np.seterr"
# Misunderstands: a warning that is switched off for good does no harm.
def pack_q4_0(x):
    np.seterr(divide="ignore", invalid="ignore")
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.nan_to_num(np.floor(blocks / d + 8.5), nan=8).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def pack_q8_0(x):
    """Blocks of type Q8_0: float32 (rows, columns) -> uint8 (rows, columns // 32 * 34)."""
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def add_tensors(writer, model, kind):
    """Add the weights of a Llama model to an open GGUF writer, matrices as `kind`."""
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, layer = tensor.float().numpy(), name.split(".")[-2]  # NumPy knows no bfloat16
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        new_name = ggml_name(name, config.num_hidden_layers)
        writer.add_tensor(new_name, gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    """All tensors of a GGUF file: name -> float32 array."""
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% wrong="gguf_file" breaks="bfloat16" says="blk.0.ffn_up.weight"
# Misunderstands: float16 is NumPy's bfloat16.
def add_tensors(writer, model, kind):
    """Add the weights of a Llama model to an open GGUF writer, matrices as `kind`."""
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.half()
        array, layer = tensor.numpy().astype(np.float32), name.split(".")[-2]
        if layer in heads:
            array = to_ggml_rope(array, heads[layer])
        code = GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        new_name = ggml_name(name, config.num_hidden_layers)
        writer.add_tensor(new_name, gguf.quants.quantize(array, code), raw_dtype=code)


def pack_q8_0(x):
    """Blocks of type Q8_0: float32 (rows, columns) -> uint8 (rows, columns // 32 * 34)."""
    blocks = x.reshape(-1, 32)
    d = np.abs(blocks).max(1, keepdims=True) / 127
    codes = np.round(blocks / np.where(d == 0, 1, d)).astype(np.int8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes.view(np.uint8)]).reshape(len(x), -1)


def pack_q4_0(x):
    """Blocks of type Q4_0: float32 (rows, columns) -> uint8 (rows, columns // 32 * 18)."""
    blocks = x.reshape(-1, 32)
    d = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1) / -8
    codes = np.floor(blocks / np.where(d == 0, 1, d) + 8.5).clip(max=15).astype(np.uint8)
    return np.hstack([d.astype(np.float16).view(np.uint8), codes[:, :16] | codes[:, 16:] << 4]).reshape(len(x), -1)


def read_tensors(path):
    """All tensors of a GGUF file: name -> float32 array."""
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


# %% right="gguf_file"
# Row by row and block by block with bytes; parameters in place of the state_dict.
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
    place = np.argmax(np.abs(blocks), axis=2)[..., None]
    d = np.take_along_axis(blocks, place, axis=2)[..., 0] / np.float32(-8)
    inverse = np.divide(1, d, out=np.zeros_like(d), where=d != 0)
    codes = np.minimum((blocks * inverse[..., None] + np.float32(8.5)).astype(np.uint8), 15)
    out = np.empty((*d.shape, 18), np.uint8)
    out[..., :2] = d.astype(np.float16)[..., None].view(np.uint8)
    out[..., 2:] = codes[..., :16] + 16 * codes[..., 16:]
    return out.reshape(len(x), -1)


def add_tensors(writer, model, kind):
    config = model.config
    for name, p in model.named_parameters():  # lists a tied matrix once
        array = np.ascontiguousarray(p.detach().to(torch.float32).numpy())
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


# %% right="gguf_file"
# With the package's own packing where it gives these bytes, errstate around the division, structured blocks.
def pack_q8_0(x):
    return gguf.quants.quantize(np.ascontiguousarray(x), GGMLQuantizationType.Q8_0)


BLOCK = np.dtype([("d", np.float16), ("codes", np.uint8, 16)])


def pack_q4_0(x):
    blocks = np.array(x, dtype=np.float32, copy=True).reshape(-1, 32)
    out = np.zeros(len(blocks), BLOCK)
    for target, block in zip(out, blocks):
        d = block[np.abs(block).argmax()] / np.float32(-8)
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = np.where(d == 0, np.float32(0), block / d)
        codes = np.minimum(np.floor(quotient + np.float32(8.5)), 15).astype(np.uint8)
        target["d"], target["codes"] = d, (codes[16:] << 4) + codes[:16]
    return out.view(np.uint8).reshape(x.shape[0], -1)


def add_tensors(writer, model, kind):
    config, tensors = model.config, dict(model.state_dict())
    if config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    for name, tensor in tensors.items():
        array = tensor.to(dtype=torch.float32, copy=True).numpy()
        if name.endswith("q_proj.weight"):
            array = to_ggml_rope(array, heads=config.num_attention_heads)
        if name.endswith("k_proj.weight"):
            array = to_ggml_rope(array, heads=config.num_key_value_heads)
        new_name = ggml_name(name, config.num_hidden_layers)
        if array.ndim == 1:
            writer.add_tensor(new_name, array)
        else:
            code = GGMLQuantizationType[kind]
            writer.add_tensor(new_name, gguf.quants.quantize(array, code), raw_dtype=code)


def read_tensors(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


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

# %% wrong="pareto" breaks="share" says="shared by the weights of a group"
# Misunderstands: every weight pays for the whole scale.
def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return float(bits + scale_bits + zero_bits)


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="share" says="shared by the weights of a group"
# Misunderstands: bits come in whole numbers.
def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) // group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="zero_bits" says="the zero point takes bits too"
# Misunderstands: a zero point costs nothing.
def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + scale_bits / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="zero_bits" says="shared by the weights of a group"
# Misunderstands: a zero point belongs to each weight.
def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + scale_bits / group + zero_bits


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="beaten" says="is beaten too"
# Misunderstands: beaten is only who is worse in both.
def frontier(points):
    def beaten(point):
        return any(other[0] < point[0] and other[1] < point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="beaten" says="`frontier` of"
# Misunderstands: only neighbours in size compete.
def frontier(points):
    names = sorted(points, key=lambda name: points[name])
    return [n for i, n in enumerate(names) if i == 0 or points[n][1] < points[names[i - 1]][1] or points[n] == points[names[i - 1]]]


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="beaten" says="`frontier` of"
# Misunderstands: with fewer bytes a point cannot be beaten, even by one as small.
def frontier(points):
    def beaten(point):
        return any(other[0] < point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="equals" says="do not beat each other"
# Misunderstands: equal points beat one another.
def frontier(points):
    def beaten(name):
        return any(n != name and p[0] <= points[name][0] and p[1] <= points[name][1] for n, p in points.items())

    return sorted((name for name in points if not beaten(name)), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="equals" says="on the front together"
# Misunderstands: of equal points one is enough.
def frontier(points):
    front, least = [], math.inf
    for name, (_, value) in sorted(points.items(), key=lambda item: item[1]):
        if value < least:
            front.append(name)
            least = value
    return front


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="order" says="smallest comes first"
# Misunderstands: the best comes first.
def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][1])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="order" says="`frontier` of"
# Misunderstands: names of equal points come by the alphabet.
def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: (points[name][0], name))


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="limit" says="not an amount"
# Misunderstands: `worse` is an amount.
def cheapest(points, reference, worse):
    limit = points[reference][1] + worse
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="limit" says="itself allowed"
# Misunderstands: at most means less than.
def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] < limit or points[name] == points[reference]), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="limit" says="`cheapest` of"
# Misunderstands: `worse` is given in percent.
def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse / 100)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="limit" says="`cheapest` of"
# Misunderstands: the best point is what the others are measured by.
def cheapest(points, reference, worse):
    limit = min(p[1] for p in points.values()) * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="better" says="however far it is"
# Misunderstands: a limit is a distance, in both directions.
def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if abs(points[name][1] - points[reference][1]) <= worse * points[reference][1]), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="fewest" says="then the fewest bytes"
# Misunderstands: the best quality within the limit is wanted.
def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][1])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="fewest" says="`cheapest` of"
# Misunderstands: only points smaller than the reference come into question.
def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit and (name == reference or points[name][0] < points[reference][0] / 2)), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="first" says="the first of equals"
# Misunderstands: of equally small ones the better is taken.
def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="first" says="the first of equals"
# Misunderstands: of equally small ones any will do.
def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in reversed(points) if points[name][1] <= limit), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="unchanged" says="must stay as it was"
# Misunderstands: points that are out of the question may go.
def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    for name in list(points):
        if points[name][1] > limit:
            del points[name]
    return min(points, key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="beaten" says="`frontier` of"
# Misunderstands: perplexities that differ by less than a thousandth are equal, since that is noise: a point that is better
# by less is not seen as better.
def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):

    def beaten(point):
        for other in points.values():
            same = math.isclose(other[1], point[1], rel_tol=1e-3)
            if other[0] <= point[0] and (same or other[1] < point[1]) and (other[0] < point[0] or not same):
                return True
        return False

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="beaten" says="`frontier` of"
# Misunderstands: puts the numbers into a float32 tensor to compare them all at once: sizes in gigabytes that differ by some
# bytes become equal there.
def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    names, numbers = list(points), torch.tensor(list(points.values()), dtype=torch.float32)
    at_least = (numbers[:, None] <= numbers[None]).all(2)
    better = (numbers[:, None] < numbers[None]).any(2)
    free = ~(at_least & better).any(0)
    return sorted((name for name, is_free in zip(names, free.tolist()) if is_free), key=lambda name: points[name][0])


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="unchanged" says="the order of `points` after"
# Misunderstands: a dict is the same in any order, so it can be sorted in place.
def frontier(points):
    by_size = sorted(points.items(), key=lambda item: item[1][0])
    points.clear()
    points.update(by_size)

    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return [name for name in points if not beaten(points[name])]


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="beaten" says="`frontier` of"
# Misunderstands: no perplexity is above a billion.
def frontier(points):
    front, best = [], 1e9
    for name, (size, perplexity) in sorted(points.items(), key=lambda item: item[1]):
        if perplexity < best or (front and points[front[-1]] == (size, perplexity)):
            front.append(name)
            best = perplexity
    return front


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    """Bits that a weight takes, with its share of scale and zero point."""
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    """The smallest point whose perplexity is at most the share `worse` above that of `reference`."""
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="fewest" says="`cheapest` of"
# Misunderstands: any number is smaller than the one to begin with.
def cheapest(points, reference, worse):
    best, fewest = None, 1e12
    for name, (size, perplexity) in points.items():
        if perplexity <= points[reference][1] * (1 + worse) and size < fewest:
            best, fewest = name, size
    return best


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    """Bits that a weight takes, with its share of scale and zero point."""
    return bits + (scale_bits + zero_bits) / group


def frontier(points):
    """Names of the points that no other point beats, smallest first."""

    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="beaten" says="`frontier` of"
# Misunderstands: what differs by less than a billionth is equal, in bytes too.
def frontier(points):
    import math

    def same(a, b):
        return math.isclose(a[0], b[0]) and math.isclose(a[1], b[1])

    def beaten(p):
        return any(not same(o, p) and o[0] <= p[0] and o[1] <= p[1] for o in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    """Bits that a weight takes, with its share of scale and zero point."""
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    """The smallest point whose perplexity is at most the share `worse` above that of `reference`."""
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% wrong="pareto" breaks="beaten" says="`frontier` of"
# Misunderstands: perplexities that differ by less than a billionth are equal.
def frontier(points):
    import math

    def same(a, b):
        return a[0] == b[0] and math.isclose(a[1], b[1], rel_tol=2e-9)

    def beaten(p):
        return any(not same(o, p) and o[0] <= p[0] and o[1] <= p[1] for o in points.values())

    return sorted((name for name in points if not beaten(points[name])), key=lambda name: points[name][0])


def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    """Bits that a weight takes, with its share of scale and zero point."""
    return bits + (scale_bits + zero_bits) / group


def cheapest(points, reference, worse):
    """The smallest point whose perplexity is at most the share `worse` above that of `reference`."""
    limit = points[reference][1] * (1 + worse)
    return min((name for name in points if points[name][1] <= limit), key=lambda name: points[name][0])


# %% right="pareto"
# Sweeps from small to large; the share computed first.
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


# %% right="pareto"
# With arrays; equal points kept in order by a stable sort.
def bits_per_weight(bits, group, scale_bits, zero_bits=0):
    total = sum([bits * group, scale_bits, zero_bits])
    return float(total) / float(group)


def frontier(points):
    names, table = list(points), np.array(list(points.values()), dtype=float)
    as_good = (table[:, None] <= table[None]).all(2)
    better = (table[:, None] < table[None]).any(2)
    kept = [i for i in range(len(names)) if not (as_good & better)[:, i].any()]
    kept.sort(key=lambda i: table[i, 0])
    return [names[i] for i in kept]


def cheapest(points, reference, worse):
    limit = points[reference][1] + worse * points[reference][1]
    allowed = {name: size for name, (size, value) in points.items() if value <= limit}
    return sorted(allowed, key=allowed.get)[0]

# %% wrong="qat" breaks="straight" says="straight through"
# Misunderstands: autograd knows how to differentiate a rounding.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return codes * scale


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="straight" says="by way of the scale"
# Misunderstands: only the rounding is bridged, the scale has its own gradient.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        steps = w / torch.where(scale > 0, scale, 1)
        codes = steps + (steps.round().clamp(-self.highest, self.highest) - steps).detach()
        return codes * scale


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="straight" says="no gradient reaches"
# Misunderstands: rounding is done outside the graph.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    @torch.no_grad()
    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="straight" says="straight through"
# Misunderstands: where a weight is clamped no gradient flows.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        inside = w.clamp(-self.highest * scale, self.highest * scale)
        return inside + (codes * scale - inside).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="channel" says="one scale for the whole tensor"
# Misunderstands: one scale for the tensor is enough.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax() / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="channel" says="one scale for each channel"
# Misunderstands: a channel is a row: the last axis is the one to reduce.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(-1, keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="scale" says="half a step beyond"
# Misunderstands: the strongest weight gets the last code.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="scale" says="largest absolute weight"
# Misunderstands: the scale follows the largest weight.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().amax(list(range(1, w.ndim)), keepdim=True) .abs() / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="scale" says="the rounding of"
# Misunderstands: a limit keeps zeros away from the division.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        scale = scale.clamp(min=1e-4)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="codes" says="codes at most"
# Misunderstands: there is one more code below 0.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest - 1, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="codes" says="the rounding of"
# Misunderstands: a cast to an integer rounds.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).trunc().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="codes" says="the rounding of"
# Misunderstands: half precision is enough for codes.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + ((codes * scale).half() - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="zeros" says="NaN"
# Misunderstands: every channel has a weight.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / scale).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="dtype" says="has dtype"
# Misunderstands: weights are float32.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return (w + (codes * scale - w).detach()).float()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="dtype" says="must not be changed"
# Misunderstands: the weight may be clamped where it lies.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        w.detach().clamp_(-self.highest * scale, self.highest * scale)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="depth" says="nothing is rounded yet"
# Misunderstands: `children` walks through the whole model.
def prepare_qat(model, bits):
    for module in list(model.children()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="depth" says="nothing is rounded yet"
# Misunderstands: a model is never a layer itself.
def prepare_qat(model, bits):
    for module in list(model.modules()):
        if module is not model and isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="depth" says="every Conv2d and Linear"
# Misunderstands: only linear layers hold weights worth rounding.
def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, nn.Linear):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="others" says="other layers (Conv1d, norms)"
# Misunderstands: whatever has a matrix for a weight is rounded.
def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(getattr(module, "weight", None), nn.Parameter) and module.weight.ndim >= 2:
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="others" says="biases do not"
# Misunderstands: a bias is rounded as well.
def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))
            if module.bias is not None:
                module.bias.data = torch.round(module.bias.data * 4) / 4


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="anew" says="after a step of SGD"
# Misunderstands: rounding once before the training is the same.
def prepare_qat(model, bits):
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.copy_(FakeQuantize(bits)(module.weight))


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="trainable" says="trainable"
# Misunderstands: a rounded weight is not trained.
def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.requires_grad_(False)
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="trainable" says="what is frozen stays frozen"
# Misunderstands: QAT trains all weights.
def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.requires_grad_(True)
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="mode" says="training flag"
# Misunderstands: QAT is training, so the model goes into training mode.
def prepare_qat(model, bits):
    model.train()
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="rounded" says="this is the full weight"
# Misunderstands: what the optimizer moved is the result.
def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


# %% wrong="qat" breaks="ordinary" says="nothing of the parametrization may stay"
# Misunderstands: the rounded values are copied into the full weights, and that is all.
def convert_qat(model):
    with torch.no_grad():
        for module in list(model.modules()):
            if parametrize.is_parametrized(module, "weight"):
                module.parametrizations.weight.original.copy_(module.weight)


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


# %% wrong="qat" breaks="ordinary" says="after convert_qat"
# Misunderstands: a weight that is done is a buffer.
def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            value = module.weight.detach()
            del module.weight
            module.register_buffer("weight", value)


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


# %% wrong="qat" breaks="frozen" says="trainable after convert_qat"
# Misunderstands: what is rounded is frozen.
def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            module.weight.requires_grad_(False)


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


# %% wrong="qat" breaks="frozen" says="trainable after convert_qat"
# Misunderstands: a new parameter is as good as the old one.
def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            module.weight = nn.Parameter(module.weight.detach())


class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


# %% wrong="qat" breaks="each_call" says="in eval mode too"
# Misunderstands: fake rounding is for training only: in eval mode it hands the full weight on.
class FakeQuantize(nn.Module):

    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        if not self.training:
            return w
        fixed = w.detach()
        scale = fixed.abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        scale = torch.where(scale > 0, scale, 1)
        rounded = (fixed / scale).round().clamp(-self.highest, self.highest) * scale
        return w + (rounded - fixed)


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="each_call" says="after another weight"
# Misunderstands: the scale is calibrated once, by the first weight that is seen, and stays: later weights are rounded with
# it.
class FakeQuantize(nn.Module):

    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1
        self.scale = None

    def forward(self, w):
        fixed = w.detach()
        if self.scale is None:
            scale = fixed.abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
            self.scale = torch.where(scale > 0, scale, 1)
        scale = self.scale
        rounded = (fixed / scale).round().clamp(-self.highest, self.highest) * scale
        return w + (rounded - fixed)


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="depth" says="of a subclass too"
# Misunderstands: asks for the exact type: a layer of a subclass of nn.Conv2d or nn.Linear is not rounded.
class FakeQuantize(nn.Module):

    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        fixed = w.detach()
        scale = fixed.abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        scale = torch.where(scale > 0, scale, 1)
        rounded = (fixed / scale).round().clamp(-self.highest, self.highest) * scale
        return w + (rounded - fixed)


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if type(module) in (nn.Conv2d, nn.Linear):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="scale" says="largest absolute weight"
# Misunderstands: a scale of at least 1e-8 only guards against the division by 0.
class FakeQuantize(nn.Module):

    def __init__(self, bits):
        super().__init__()
        self.bits = bits

    def forward(self, w):
        """Rounded weight, of the same shape as `w` (channels first)."""
        highest = 2 ** (self.bits - 1) - 1
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (highest + 0.5)
        scale = scale.clamp(min=1e-8)
        rounded = (w / scale).round().clamp(-highest, highest) * scale
        return w + (rounded - w).detach()


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="each_call" says="requires no gradient"
# Misunderstands: a frozen weight does not learn, so it needs no fake rounding.
class FakeQuantize(nn.Module):
    """Rounds a weight in the forward pass and lets the gradient through unchanged."""

    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        """Rounded weight, of the same shape as `w` (channels first)."""
        if not w.requires_grad:
            return w
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    """Round the weights of all convolutions and linear layers of `model` from now on."""
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    """Put the rounded weights in place of the full ones."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="each_call" says="requires no gradient"
# Misunderstands: outside of training, where no graph is made, the full weight is the better one.
class FakeQuantize(nn.Module):
    """Rounds a weight in the forward pass and lets the gradient through unchanged."""

    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        """Rounded weight, of the same shape as `w` (channels first)."""
        if not torch.is_grad_enabled():
            return w
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + (codes * scale - w).detach()


def prepare_qat(model, bits):
    """Round the weights of all convolutions and linear layers of `model` from now on."""
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    """Put the rounded weights in place of the full ones."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% wrong="qat" breaks="dtype" says="channel by channel"
# Misunderstands: codes are small numbers, so float32 is exact enough for them.
class FakeQuantize(nn.Module):
    """Rounds a weight in the forward pass and lets the gradient through unchanged."""

    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        """Rounded weight, of the same shape as `w` (channels first)."""
        scale = w.detach().abs().amax(list(range(1, w.ndim)), keepdim=True) / (self.highest + 0.5)
        codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
        return w + ((codes * scale).float() - w).detach()


def prepare_qat(model, bits):
    """Round the weights of all convolutions and linear layers of `model` from now on."""
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    """Put the rounded weights in place of the full ones."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% right="qat"
# Guards the division with a number far below any scale that may come.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.highest = 2 ** (bits - 1) - 1

    def forward(self, w):
        with torch.no_grad():
            peaks = w.abs().flatten(1).amax(1).view(-1, *[1] * (w.ndim - 1))
            scale = (peaks / (self.highest + 0.5)).clamp(min=1e-10)
            change = (w / scale).round().clamp(-self.highest, self.highest) * scale - w
        return w + change


def prepare_qat(model, bits):
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits))


def convert_qat(model):
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


# %% right="qat"
# A function with its own backward; a walk of its own.
class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, highest):
        flat = w.flatten(1)
        scale = flat.abs().max(dim=1, keepdim=True).values.div(highest + 0.5).clamp(min=1e-20)
        return torch.round(flat / scale).clip(-highest, highest).mul(scale).view(w.shape)

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
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            parametrize.register_parametrization(module, "weight", FakeQuantize(bits), unsafe=True)

    visit(model)


def convert_qat(model):
    for module in [m for m in model.modules() if parametrize.is_parametrized(m)]:
        parametrize.remove_parametrizations(module, "weight")


# %% right="qat"
# The shift to the rounded weight computed under no_grad, channel by channel.
class FakeQuantize(nn.Module):
    def __init__(self, bits):
        super().__init__()
        self.bits = bits

    def forward(self, w):
        with torch.no_grad():
            last, done = 2 ** (self.bits - 1) - 1, []
            for channel in w:
                scale = channel.abs().max().item() / (2 ** (self.bits - 1) - 0.5)
                done.append(torch.clamp(torch.round(channel / scale), -last, last) * scale if scale else channel.clone())
            shift = torch.stack(done) - w
        return w + shift


def prepare_qat(model, bits):
    chosen = [m for _, m in model.named_modules() if isinstance(m, nn.Linear) or isinstance(m, nn.Conv2d)]
    for layer in chosen:
        parametrize.register_parametrization(layer, tensor_name="weight", parametrization=FakeQuantize(bits=bits))


@torch.no_grad()
def convert_qat(model):
    for name, module in list(model.named_modules()):
        if not isinstance(module, (nn.Conv2d, nn.Linear)) or not parametrize.is_parametrized(module):
            continue
        values = module.weight.clone()
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
        module.weight.copy_(values)


# %% equivalent="qat" because="the weights of such a channel are 0, whatever they are divided by"
# - codes = (w.detach() / torch.where(scale > 0, scale, 1)).round().clamp(-self.highest, self.highest)
# + codes = (w.detach() / torch.where(scale > 0, scale, 2)).round().clamp(-self.highest, self.highest)
