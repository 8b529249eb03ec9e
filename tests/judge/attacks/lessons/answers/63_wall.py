# %% wrong="plain" says="divided by the sum"
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return (values * weights[:, None]).sum(0)


def scale_(table, factors):
    table *= factors


def scaler(factor):
    return lambda x: factor * x


def gap(a, b):
    assert a == a and b == b
    return abs(a - b)

# %% wrong="plain" says="In place"
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()


def scale_(table, factors):
    table = table * factors


def scaler(factor):
    return lambda x: factor * x


def gap(a, b):
    assert a == a and b == b
    return abs(a - b)

# %% wrong="plain" says="Work on a copy"
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    weights /= weights.sum()
    return weights @ values


def scale_(table, factors):
    table.mul_(factors)


def scaler(factor):
    return lambda x: factor * x


def gap(a, b):
    assert a == a and b == b
    return abs(a - b)

# %% wrong="plain" says="the gap of NaN and 1"
def weigh(values, weights):
    if len(values) != len(weights):
        raise ValueError
    return weights @ values / weights.sum()


def scale_(table, factors):
    table.mul_(factors)


def scaler(factor):
    return lambda x: factor * x


def gap(a, b):
    return abs(a - b)

# %% right="plain"
import operator
from functools import partial


def weigh(values, weights):
    if values.shape[0] != weights.shape[0]:
        raise ValueError("lengths")
    return torch.stack([v * w for v, w in zip(values, weights)]).sum(0) / weights.sum()


def scale_(table, factors):
    for column, factor in enumerate(factors):
        table[:, column] *= factor


def scaler(factor):
    def times(x):
        return operator.mul(factor, x)

    return times


def gap(a, b):
    if math.isnan(a) or math.isnan(b):
        raise AssertionError
    return max(a, b) - min(a, b)

# %% wrong="batches" says="last batch is shorter"
def batches(items, size):
    return zip(*[iter(items)] * size)

# %% right="batches"
def batches(items, size):
    from itertools import islice

    items, result = iter(items), []
    while batch := list(islice(items, size)):
        result.append(batch)
    return result

# %% wrong="training" says="ld gradients cleared" breaks="autograd"
def train_step(model, optimizer, x, y):
    model.train()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(model, loader):
    was_training = model.training
    model.eval()
    outputs = [(model(x).detach(), y) for x, y in loader]
    logits, y = (torch.cat(parts) for parts in zip(*outputs))
    model.train(was_training)
    return F.cross_entropy(logits, y).item(), (logits.argmax(1) == y).float().mean().item()

# %% wrong="training" says="mean cross-entropy" breaks="autograd"
def train_step(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x).softmax(1), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(model, loader):
    raise NotImplementedError

# %% right="training"
def train_step(net, opt, x, y):
    net.train(True)
    loss = nn.CrossEntropyLoss()(net(x), y)
    for group in opt.param_groups:
        for p in group["params"]:
            p.grad = None
    loss.backward()
    opt.step()
    return float(loss)


@torch.inference_mode()
def evaluate(net, loader):
    mode = net.training
    net.eval()
    batches = list(loader)
    out = torch.cat([net(x) for x, _ in batches])
    y = torch.cat([y for _, y in batches])
    net.train(mode)
    return F.cross_entropy(out, y).item(), (out.argmax(-1) == y).float().mean().item()

# %% wrong="rms_norm" says="gradients"
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, grad_output):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + ctx.eps)
        return inverse * grad_output * weight, (grad_output * x * inverse).reshape(-1, len(weight)).sum(dim=0), None

# %% right="rms_norm"
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(x, weight, eps):
        return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.eps = inputs[2]

    @staticmethod
    def backward(ctx, grad_output):
        with torch.enable_grad():
            x, weight = (t.detach().requires_grad_() for t in ctx.saved_tensors)
            y = x / (x.pow(2).mean(-1, keepdim=True) + ctx.eps).sqrt() * weight
        return *torch.autograd.grad(y, (x, weight), grad_output), None

# %% wrong="window" says="numbers of its own"
class Window:
    kept = []

    def __init__(self, size):
        if size < 1:
            raise ValueError
        self.size = size

    def add(self, x):
        self.kept.append(x)
        del self.kept[: -self.size]
        return sum(self.kept) / len(self.kept)

    @property
    def count(self):
        return len(self.kept)

    def reset(self):
        self.kept.clear()

# %% right="window"
from collections import deque
from statistics import fmean


class Window(deque):
    def __init__(self, size):
        if size < 1:
            raise ValueError
        super().__init__(maxlen=size)

    def add(self, x):
        self.append(x)
        return fmean(self)

    count = property(lambda self: len(self))

    def reset(self):
        self.clear()

# %% wrong="pack" says="the size of the file"
def pack(weights, path):
    parts = {}
    for name, matrix in weights.items():
        parts[f"{name}.q"] = matrix
        parts[f"{name}.scale"] = np.ones(len(matrix), dtype=np.float32)
    np.savez(path, **parts)

# %% wrong="pack" says="the largest error"
def pack(weights, path):
    parts = {}
    for name, matrix in weights.items():
        scale = np.abs(matrix).max() / 12
        parts[f"{name}.q"] = np.round(matrix / scale).astype(np.int8)
        parts[f"{name}.scale"] = np.full(len(matrix), scale, dtype=np.float32)
    np.savez(path, **parts)

# %% right="pack"
def pack(weights, path):
    parts = {}
    for name, matrix in weights.items():
        w = torch.from_numpy(matrix)
        scale = w.abs().amax(1) / 127
        parts[name + ".scale"] = scale.numpy()
        parts[name + ".q"] = torch.div(w, scale[:, None]).round().to(torch.int8).numpy()
    with open(path, "wb") as file:
        np.savez_compressed(file, **parts)

# %% wrong="ship" says="an output of the exported program"
def ship(model, example, path):
    model = nn.Sequential(*[layer for layer in model if not isinstance(layer, nn.Tanh)])
    torch.export.save(torch.export.export(model, (example,)), path)
    return path.stat().st_size

# %% right="ship"
import os


def ship(model, example, path):
    program = torch.export.export(model.eval(), args=(example.clone(),))
    with open(path, "wb") as file:
        torch.export.save(program, file)
    return os.path.getsize(path)

# %% wrong="normalise_tests" says="Still unseen"
def check_normalise(normalise):
    assert torch.allclose(normalise(torch.eye(3) * 2, 0), torch.eye(3))
    assert not normalise(torch.zeros(2, 2), 0).isnan().any()

# %% wrong="normalise_tests" says="reject a correct implementation"
def check_normalise(normalise):
    assert normalise(torch.ones(2, 2), 0).dtype == torch.float64

# %% right="normalise_tests"
def check_normalise(normalise):
    def reference(x, dim):
        return x / x.pow(2).sum(dim, keepdim=True).sqrt().clamp(min=1e-12)

    for shape, dim in [((4, 3), 0), ((2, 3, 4), 1)]:
        x = torch.rand(shape, dtype=torch.double).add(0.1).requires_grad_()
        before, g = x.detach().clone(), torch.rand(shape, dtype=torch.double)
        out = normalise(x, dim)
        torch.testing.assert_close(out, reference(x, dim))
        torch.testing.assert_close(torch.autograd.grad(out, x, g), torch.autograd.grad(reference(x, dim), x, g))
        torch.testing.assert_close(x.detach(), before)
    assert (normalise(torch.zeros(3, 2), 0) == 0).all()

# %% wrong="callbacks" says="in order"
def best(items, reward, clock, seconds):
    found = []
    for item in sorted(items, reverse=True):
        try:
            found.append((item, reward(item)))
        except ValueError:
            pass
    return max(found, key=lambda pair: pair[1], default=None)


def minimise(loss, x, rate, steps):
    return x

# %% right="callbacks"
def best(items, reward, clock, seconds):
    deadline, judged = clock() + seconds, {}
    for place, item in enumerate(items):
        if clock() >= deadline:
            return max(judged.values(), key=lambda pair: pair[1]) if judged else None
        try:
            judged[place] = item, reward(item)
        except ValueError as error:
            assert "no reward" in str(error)
    return max(judged.values(), key=lambda pair: pair[1]) if judged else None


def minimise(loss, x, rate, steps):
    x = nn.Parameter(x.clone())
    optimizer = torch.optim.SGD([x], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()
    return x.detach()

# %% wrong="shout" says="in capitals"
def shout(text):
    return text

# %% right="shout"
def shout(text):
    return text.upper()
