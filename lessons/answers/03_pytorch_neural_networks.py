# %% wrong="scaled_net" breaks="parameters" says="the parameters of"
# Misunderstands: a tensor that is to be learned needs no more than requires_grad.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = torch.ones(outputs, requires_grad=True)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="parameters" says="the parameters of"
# Misunderstands: the gain is one number for all outputs.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="parameters" says="first numbers"
# Misunderstands: the gain starts at 0, as some residual branches do.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="parameters" says="not all parameters"
# Misunderstands: a buffer is what the optimizer must not touch, so the last bias is frozen as well.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.last.bias.requires_grad_(False)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="buffers" says="the parameters of"
# Misunderstands: buffers are parameters without a gradient.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.mean = nn.Parameter(torch.zeros(inputs), requires_grad=False)
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean.data = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="buffers, moves" says="is in no register"
# Misunderstands: an attribute moves with the module.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.mean = torch.zeros(inputs)
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="buffers" says="persistent=False"
# Misunderstands: what is not trained need not be saved.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs), persistent=False)
        self.register_buffer("scale", torch.ones(inputs), persistent=False)

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="moves" says="has dtype torch.float32"
# Misunderstands: a fitted scale may be made anywhere.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="moves" says="your code raised"
# Misunderstands: new tensors are on the CPU.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first((x - self.mean) / self.scale)
        return self.gain * self.last(torch.where(z > 0, z, torch.zeros(z.shape)))


# %% wrong="scaled_net" breaks="forward" says="gain is missing"
# Misunderstands: the gain is there for the optimizer alone.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="forward" says="divided by scale"
# Misunderstands: centring is enough.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first(x - self.mean)))


# %% wrong="scaled_net" breaks="forward" says="gain * last(relu(first"
# Misunderstands: the relu comes after the second layer, too.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * F.relu(self.last(F.relu(self.first((x - self.mean) / self.scale))))


# %% wrong="scaled_net" breaks="forward" says="gain * last(relu(first"
# Misunderstands: one divides first and takes the mean away then.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first(x / self.scale - self.mean)))


# %% wrong="scaled_net" breaks="gradients" says="gradients"
# Misunderstands: the scaled input is data, so it is detached.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first(((x - self.mean) / self.scale).detach())))


# %% wrong="scaled_net" breaks="gradients" says="gradients"
# Misunderstands: a result that is shown needs no graph: `gain` is read as numbers.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain.data * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="fit" says="correction=0"
# Misunderstands: torch.std divides by the number of rows by itself.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="fit" says="each column has its own"
# Misunderstands: one mean and one scale for the whole table.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(correction=0).expand(data.shape[1])
        self.mean = data.mean().expand(data.shape[1])
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="fit" says="scale is 1"
# Misunderstands: a column that does not vary has scale 0.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="fit" says="scale"
# Misunderstands: a small number beside the scale keeps from dividing by 0.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = scale + 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="fit" says="mean"
# Misunderstands: a second `fit` goes on from the first.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0) if not self.mean.any() else (self.mean + data.mean(0)) / 2
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="unchanged" says="must stay as it was"
# Misunderstands: the table can be centred where it lies.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        data -= self.mean
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="unchanged" says="must stay as it was"
# Misunderstands: x can be scaled where it lies.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x if x.requires_grad else x.sub_(self.mean).add_(self.mean * 0).div_(self.scale)) if not x.requires_grad else (x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="unchanged" says="parameters"
# Misunderstands: a new `fit` means a new start: the gain goes back to ones.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        scale = data.std(0, correction=0)
        self.gain.data.fill_(1)
        self.mean = data.mean(0)
        self.scale = torch.where(scale < 1e-6, 1, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% wrong="scaled_net" breaks="fit" says="scale"
# Misunderstands: the limit 0.000001 is compared with the variance, not with the standard deviation.
class ScaledNet(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.last = nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    @torch.no_grad()
    def fit(self, data: torch.Tensor) -> None:
        variance, mean = torch.var_mean(data, dim=0, correction=0)
        variance[variance < 1e-6] = 1
        self.mean.copy_(mean)
        self.scale.copy_(variance.sqrt())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% right="scaled_net"
# In place, with Sequential-free plain arithmetic, and statistics by hand.
class ScaledNet(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.gain = nn.Parameter(torch.ones(outputs))
        self.last = nn.Linear(hidden, outputs)
        self.first = nn.Linear(inputs, hidden)

    @torch.no_grad()
    def fit(self, data):
        self.mean.copy_(data.mean(dim=0))
        self.scale.copy_((data - self.mean).square().mean(dim=0).sqrt())
        self.scale[self.scale < 1e-6] = 1

    def forward(self, x):
        x = self.first(x.sub(self.mean).div(self.scale)).clamp(min=0)
        return self.last(x).mul(self.gain)


# %% right="scaled_net"
# Other functions for the same.
class ScaledNet(torch.nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        torch.nn.Module.__init__(self)
        self.first = torch.nn.Linear(in_features=inputs, out_features=hidden)
        self.last = torch.nn.Linear(in_features=hidden, out_features=outputs)
        self.register_parameter("gain", torch.nn.Parameter(torch.full((outputs,), 1.0)))
        for name, value in (("mean", 0.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full((inputs,), value))

    def fit(self, data):
        var, mean = torch.var_mean(data, dim=0, correction=0)
        self.mean, self.scale = mean, var.sqrt().masked_fill(var.sqrt() < 1e-6, 1)

    def forward(self, x):
        return torch.relu(self.first((x - self.mean) / self.scale)) @ (self.last.weight * self.gain[:, None]).T + self.last.bias * self.gain


# %% right="scaled_net"
class ScaledNet(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def fit(self, data: torch.Tensor) -> None:
        for column, numbers in enumerate(data.T):
            scale = float(numbers.double().std(correction=0))  # looks at values: not on meta
            self.mean[column] = float(numbers.double().mean())
            self.scale[column] = 1 if scale < 1e-6 else scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


# %% equivalent="scaled_net" because="no column's standard deviation is 0.000001 to the last digit"
# - self.scale = torch.where(scale < 1e-6, 1, scale)
# + self.scale = torch.where((scale <= 1e-06), 1, scale)

# %% wrong="arithmetic" breaks="floor" says="rounded up"
# Misunderstands: a comb that sticks out a little counts, too.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // -stride * -1 + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="size" says="at both ends"
# Misunderstands: padding is added once.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="size" says="dilation * (kernel - 1) + 1 places"
# Misunderstands: dilation does not matter for the size.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="size" says="kernel - 1 gaps"
# Misunderstands: the comb is dilation times as long.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * kernel) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="size" says="one more"
# Misunderstands: the number of steps is the number of outputs.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="field" says="spreads what comes after it"
# Misunderstands: a stride counts for its own layer.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        step *= stride
        field += (kernel - 1) * dilation * step
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="field" says="multiply the step"
# Misunderstands: strides only change the size.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="field" says="dilation is missing"
# Misunderstands: dilation does not change how many inputs are read.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="field" says="first layer comes first"
# Misunderstands: the list goes from the output to the input.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in reversed(layers):
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="field" says="trace one output back"
# Misunderstands: fields add up.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += kernel * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="list" says="must stay as it was"
# Misunderstands: a list may be used up.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    while layers:
        kernel, stride, dilation = layers.pop(0)
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="once" says="counts once"
# Misunderstands: each module has its own.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in (p for module in model.modules() for p in module.parameters(recurse=False)):
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="no_buffers" says="buffers are no parameters"
# Misunderstands: buffers are frozen parameters.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    count["frozen"] += sum(buffer.numel() for buffer in model.buffers())
    return count


# %% wrong="arithmetic" breaks="no_buffers, once" says="walk through"
# Misunderstands: state_dict holds the parameters.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    count["trainable"] = sum(tensor.numel() for tensor in model.state_dict().values())
    return count


# %% wrong="arithmetic" breaks="numbers" says="are frozen"
# Misunderstands: all parameters are trainable.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable"] += parameter.numel()
    return count


# %% wrong="arithmetic" breaks="numbers" says="count the numbers in them"
# Misunderstands: the number of parameters is the number of tensors.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += 1
    return count


# %% wrong="arithmetic" breaks="numbers" says="has keys"
# Misunderstands: a key without numbers may be missing.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return {name: number for name, number in count.items() if number}


# %% wrong="arithmetic" breaks="model_stays" says="stayed as it was"
# Misunderstands: a model that is counted is put to use next.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    count = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        count["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    model.eval()
    return count


# %% wrong="arithmetic" breaks="field" says="kernel 1 skips places"
# Misunderstands: a layer with kernel 1 only mixes channels and can be left out of the receptive field, its stride too.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        if kernel == 1:
            continue
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Numbers in the parameters of a model: {"trainable": ..., "frozen": ...}."""
    counts = {"trainable": 0, "frozen": 0}
    for p in model.parameters():
        counts["trainable" if p.requires_grad else "frozen"] += p.numel()
    return counts


# %% wrong="arithmetic" breaks="numbers" says="in part"
# Misunderstands: a layer is frozen or trainable as a whole: its first parameter tells which.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int, int]]) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += (kernel - 1) * dilation * step
        step *= stride
    return field


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Numbers in the parameters of a model: {"trainable": ..., "frozen": ...}."""
    counts, seen = {"trainable": 0, "frozen": 0}, set()
    for module in model.modules():
        own = [p for p in module.parameters(recurse=False) if p not in seen]
        if own:
            key = "trainable" if own[0].requires_grad else "frozen"
            counts[key] += sum(p.numel() for p in own)
            seen.update(own)
    return counts


# %% right="arithmetic"
# Through the size of a padded axis and a list of places; from the end; with sums.
def out_size(size, kernel, stride, padding, dilation):
    last_start = size + 2 * padding - (dilation * (kernel - 1) + 1)
    return len(range(0, last_start + 1, stride))


def receptive_field(layers):
    field = 1
    for kernel, stride, dilation in layers[::-1]:
        field = (field - 1) * stride + dilation * (kernel - 1) + 1
    return field


def count_parameters(model):
    sizes = [(p.requires_grad, p.numel()) for p in model.parameters()]
    return {"frozen": sum(n for trained, n in sizes if not trained), "trainable": sum(n for trained, n in sizes if trained)}


# %% right="arithmetic"
# Asking PyTorch, and on the meta device.
def out_size(size, kernel, stride, padding, dilation):
    layer = nn.Conv1d(1, 1, kernel, stride, padding, dilation, device="meta")
    return layer(torch.empty(1, 1, size, device="meta")).shape[-1]


def receptive_field(layers):
    return 1 + sum((k - 1) * d * math.prod(s for _, s, _ in layers[:i]) for i, (k, _, d) in enumerate(layers))


def count_parameters(model):
    found = {id(p): p for module in model.modules() for p in module.parameters(recurse=False)}.values()
    return {name: sum(math.prod(p.shape) for p in found if p.requires_grad is trained) for name, trained in (("trainable", True), ("frozen", False))}


# %% wrong="residual_block" breaks="convs" says="the parameters of"
# Misunderstands: a convolution always has a bias.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="convs" says="conv1` makes the step"
# Misunderstands: the second convolution makes the step.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="convs" says="your code raised"
# Misunderstands: both convolutions make the step.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="convs" says="the parameters of"
# Misunderstands: the first convolution works on the inputs' channels.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="convs" says="relu(norm2(conv2"
# Misunderstands: padding may be of any kind.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, padding_mode="reflect" if False else "circular", bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="norms, nothing_else" says="the parameters of"
# Misunderstands: one batch norm serves twice.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = self.norm1
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="norms" says="the parameters of"
# Misunderstands: a batch norm needs no weight here.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, affine=False)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="nothing_else, forward" says="buffers"
# Misunderstands: another momentum is as good.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, momentum=0.01)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="nothing_else, forward" says="relu(norm2(conv2"
# Misunderstands: another eps is as good.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="nothing_else" says="the parameters of"
# Misunderstands: the way round has a weight that is learned.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.share = nn.Parameter(torch.ones(1))
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.share * self.shortcut(x))


# %% wrong="residual_block" breaks="shortcut" says="the parameters of"
# Misunderstands: the shortcut always has a convolution.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if True:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="shortcut" says="the parameters of"
# Misunderstands: only the channels decide.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="shortcut" says="the parameters of"
# Misunderstands: only a step decides, other channels are filled with zeros.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + (self.shortcut(x) if self.conv2.out_channels == x.shape[1] or not isinstance(self.shortcut, nn.Identity) else F.pad(x, (0, 0, 0, 0, 0, max(0, self.conv2.out_channels - x.shape[1])))[:, : self.conv2.out_channels]))


# %% wrong="residual_block" breaks="shortcut" says="the parameters of"
# Misunderstands: the shortcut needs no batch norm.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="shortcut" says="the parameters of"
# Misunderstands: a convolution with kernel 3 looks round the shortcut, too.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="forward" says="the way round is missing"
# Misunderstands: the blocks follow one another.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)))


# %% wrong="residual_block" breaks="forward" says="the last relu is missing"
# Misunderstands: what leaves the block may be negative.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return self.norm2(self.conv2(inner)) + self.shortcut(x)


# %% wrong="residual_block" breaks="forward" says="comes after the sum"
# Misunderstands: the relu belongs to the second convolution.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner))) + self.shortcut(x)


# %% wrong="residual_block" breaks="forward" says="between the two"
# Misunderstands: one relu at the end will do.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norm1(self.conv1(x))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="forward" says="relu(norm2(conv2"
# Misunderstands: the norm comes after the relu.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norm1(F.relu(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="gradients" says="gradients"
# Misunderstands: the way round is copied, not computed.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x.detach()))


# %% wrong="residual_block" breaks="unchanged" says="must stay as it was"
# Misunderstands: relu in place saves memory.
class ResidualBlock(nn.Module):

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        result = F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))
        if not x.requires_grad:
            x.relu_()
        return result


# %% right="residual_block"
# With nn.ReLU-free functions, in another order, and the shortcut as an empty Sequential.
class ResidualBlock(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.shortcut = nn.Sequential()
        if (inputs, 1) != (outputs, stride):
            self.shortcut.append(nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, padding="same", bias=False), nn.BatchNorm2d(outputs)
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, x):
        out = self.conv1(x)
        out = self.norm1(out).relu_()
        out = self.norm2(self.conv2(out))
        out += self.shortcut(x)
        return out.relu()


# %% right="residual_block"
# With a ReLU module, which has no parameters.
class ResidualBlock(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.relu = nn.ReLU()
        for number, (wide, step) in enumerate(((inputs, stride), (outputs, 1)), 1):
            setattr(self, f"conv{number}", nn.Conv2d(wide, outputs, (3, 3), (step, step), (1, 1), bias=False))
            setattr(self, f"norm{number}", nn.BatchNorm2d(outputs))
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, 0, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        way_round = self.shortcut(x)
        for conv, norm, add in ((self.conv1, self.norm1, 0), (self.conv2, self.norm2, way_round)):
            x = self.relu(norm(conv(x)) + add)
        return x


# %% wrong="lstm_cell" breaks="parameters" says="the parameters of"
# Misunderstands: the matrices lie as one multiplies them.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(inputs, 4 * hidden).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="parameters" says="nothing but the three parameters"
# Misunderstands: a cell keeps its first state.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.register_buffer("first", torch.zeros(hidden))
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="parameters" says="parameters"
# Misunderstands: a starting bias is a plain tensor.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = torch.empty(4 * hidden).uniform_(-bound, bound)
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="start" says="forget gate's quarter"
# Misunderstands: the forget gate is the third part.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[2 * hidden : 3 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="start" says="forget gate's quarter"
# Misunderstands: the whole bias starts at 0.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias.zero_()

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="start" says="without the forget gate"
# Misunderstands: all of the bias starts at 1.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias.fill_(1)

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="start" says="evenly"
# Misunderstands: the bound is that of a linear layer: 1 / sqrt(inputs).
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = inputs**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="start" says="evenly"
# Misunderstands: normally distributed numbers do as well.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter((torch.randn(4 * hidden, inputs) * bound / 3).clamp(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="start" says="repeat"
# Misunderstands: the four parts of a matrix may start alike.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(hidden, hidden).uniform_(-bound, bound).repeat(4, 1))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="start" says="at random"
# Misunderstands: a generator with a seed of its own makes it repeatable.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound, generator=torch.Generator().manual_seed(0)))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="step" says="g before f"
# Misunderstands: the parts come as i, g, f, o.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, g, f, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="step" says="f before i"
# Misunderstands: the parts come as f, i, g, o.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        f, i, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="step" says="o before g"
# Misunderstands: the parts come as i, f, o, g.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, o, g = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="step" says="sigmoid for i"
# Misunderstands: everything goes through a sigmoid.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.sigmoid()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="step" says="o * tanh(c)"
# Misunderstands: h is o times c.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c, c


# %% wrong="lstm_cell" breaks="step" says="o * tanh(c)"
# Misunderstands: h shows the old c.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        new = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), new


# %% wrong="lstm_cell" breaks="step" says="changed places"
# Misunderstands: the state is (c, h).
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        c, h = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return c, o.sigmoid() * c.tanh()


# %% wrong="lstm_cell" breaks="step" says="bias is missing"
# Misunderstands: the bias is for the start alone.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="zeros" says="your code raised"
# Misunderstands: x without a state does not come.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="zeros" says="c = f * c"
# Misunderstands: a new sequence begins with ones.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_ones(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="gradients" says="cut from the graph"
# Misunderstands: the state is data for the next step.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state[0].detach(), state[1].detach()
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="gradients" says="gradient"
# Misunderstands: a cell at work needs no graph.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return (o.sigmoid() * c.tanh()).detach(), c


# %% wrong="lstm_cell" breaks="unchanged, gradients" says="c = f * c"
# Misunderstands: the memory is overwritten where it lies.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        keep = c if not c.requires_grad else c.clone()
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        if not keep.requires_grad:
            keep.data.copy_(c.data)
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="unchanged, zeros" says="c = f * c"
# Misunderstands: a cell goes on where it stopped.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None and getattr(self, "state", None) is not None and len(self.state[0]) == len(x):
            state = self.state
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        self.state = (o.sigmoid() * c.tanh(), c)
        return self.state


# %% wrong="lstm_cell" breaks="start" says="evenly"
# Misunderstands: random numbers between two bounds are normal ones that are cut off there (trunc_normal_).
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.hidden = hidden
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.empty(4 * hidden))
        bound = 1 / math.sqrt(hidden)
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, mean=0.0, std=bound, a=-bound, b=bound)
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1.0

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = x.new_zeros(len(x), self.hidden), x.new_zeros(len(x), self.hidden)
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="step" says="there are NaNs"
# Misunderstands: tanh may be computed as its definition stands in the book, whatever the size of z.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.hidden = hidden
        bound = 1 / math.sqrt(hidden)
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        self.bias.data[hidden : 2 * hidden] = 1.0

    @staticmethod
    def tanh(z):
        up, down = torch.exp(z), torch.exp(-z)
        return (up - down) / (up + down)

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = x.new_zeros(len(x), self.hidden), x.new_zeros(len(x), self.hidden)
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * self.tanh(g)
        return o.sigmoid() * self.tanh(c), c


# %% wrong="lstm_cell" breaks="unchanged" says="must stay as it was"
# Misunderstands: the cell owns the state that it is given: where no graph is in the way, c is scaled and added to in place.
class LSTMCell(nn.Module):

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.hidden = hidden
        bound = 1 / math.sqrt(hidden)
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        self.bias.data[hidden : 2 * hidden] = 1.0

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = x.new_zeros(len(x), self.hidden), x.new_zeros(len(x), self.hidden)
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, 1)
        kept = f.sigmoid() * c
        if not torch.is_grad_enabled():  # prediction: no new memory for each step
            c.copy_(kept).add_(i.sigmoid() * g.tanh())
        else:
            c = kept + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="gradients" says="gradients"
# Misunderstands: inputs are data: only parameters have gradients.
class LSTMCell(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x.detach() @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="gradients" says="gradients"
# Misunderstands: where a sequence begins no gradient goes on.
class LSTMCell(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = (part.detach() if part.is_leaf else part for part in state)
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="parameters" says="the names in"
# Misunderstands: what a cell needs is registered.
class LSTMCell(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        self.register_buffer("zeros", torch.zeros(hidden), persistent=False)
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="step" says="tuples"
# Misunderstands: two things in a list are two things.
class LSTMCell(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return [o.sigmoid() * c.tanh(), c]


# %% wrong="lstm_cell" breaks="start" says="evenly"
# Misunderstands: a bias starts above 0.
class LSTMCell(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(0, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        if state is None:
            state = (x.new_zeros(len(x), self.weight_h.shape[1]),) * 2
        h, c = state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="gradients" says="has NaNs"
# Misunderstands: 1 / (1 + exp(-z)) is the sigmoid everywhere; in float32 exp(89) is inf, and the gradient 0 * inf.
class LSTMCell(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.hidden = hidden
        self.weight_x = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    @staticmethod
    def sigma(z):
        return 1 / (1 + torch.exp(-z))

    def forward(self, x: torch.Tensor, state=None):
        h, c = (x.new_zeros(len(x), self.hidden),) * 2 if state is None else state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = self.sigma(f) * c + self.sigma(i) * torch.tanh(g)
        return self.sigma(o) * torch.tanh(c), c


# %% wrong="lstm_cell" breaks="start" says="repeat in two of the parameters"
# Misunderstands: so that a seed repeats the start, each parameter is drawn with a generator that begins at that seed.
class LSTMCell(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.hidden = hidden

        def draw(*shape):
            generator = torch.Generator().manual_seed(torch.initial_seed())
            return torch.empty(*shape).uniform_(-bound, bound, generator=generator)

        self.weight_x = nn.Parameter(draw(4 * hidden, inputs))
        self.weight_h = nn.Parameter(draw(4 * hidden, hidden))
        self.bias = nn.Parameter(draw(4 * hidden))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        h, c = (x.new_zeros(len(x), self.hidden),) * 2 if state is None else state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% wrong="lstm_cell" breaks="start" says="from the first"
# Misunderstands: a cell has a generator of its own, which begins at the global seed.
class LSTMCell(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        bound = hidden**-0.5
        self.hidden = hidden

        generator = torch.Generator().manual_seed(torch.initial_seed())

        def draw(*shape):
            return torch.empty(*shape).uniform_(-bound, bound, generator=generator)

        self.weight_x = nn.Parameter(draw(4 * hidden, inputs))
        self.weight_h = nn.Parameter(draw(4 * hidden, hidden))
        self.bias = nn.Parameter(draw(4 * hidden))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1

    def forward(self, x: torch.Tensor, state=None):
        h, c = (x.new_zeros(len(x), self.hidden),) * 2 if state is None else state
        i, f, g, o = (x @ self.weight_x.T + h @ self.weight_h.T + self.bias).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


# %% right="lstm_cell"
# Parts computed one by one, with functions.
class LSTMCell(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.hidden = hidden
        self.weight_x = nn.Parameter(torch.zeros(4 * hidden, inputs))
        self.weight_h = nn.Parameter(torch.zeros(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))
        nn.init.ones_(self.bias[hidden : 2 * hidden])

    def forward(self, x, state=None):
        n = x.shape[0]
        h, c = state if state is not None else (torch.zeros(n, self.hidden, dtype=x.dtype), torch.zeros(n, self.hidden, dtype=x.dtype))
        z = F.linear(x, self.weight_x, self.bias) + F.linear(h, self.weight_h)
        i = torch.sigmoid(z[:, : self.hidden])
        f = torch.sigmoid(z[:, self.hidden : 2 * self.hidden])
        g = torch.tanh(z[:, 2 * self.hidden : 3 * self.hidden])
        o = torch.sigmoid(z[:, 3 * self.hidden :])
        c = torch.add(f * c, i * g)
        return o * torch.tanh(c), c


# %% right="lstm_cell"
# One matrix for input and state.
class LSTMCell(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        bound = 1 / hidden**0.5
        self.weight_x, self.weight_h = (nn.Parameter(bound * (2 * torch.rand(4 * hidden, wide) - 1)) for wide in (inputs, hidden))
        bias = bound * (2 * torch.rand(4, hidden) - 1)
        bias[1] = 1
        self.bias = nn.Parameter(bias.flatten())

    def forward(self, x, state=None):
        width = len(self.bias) // 4
        h, c = (x.new_zeros(len(x), width), x.new_zeros(len(x), width)) if state is None else state
        z = torch.cat([x, h], 1) @ torch.cat([self.weight_x, self.weight_h], 1).T + self.bias
        gates, inner = z.view(len(x), 4, width).sigmoid(), z.view(len(x), 4, width).tanh()
        c = gates[:, 1] * c + gates[:, 0] * inner[:, 2]
        return gates[:, 3] * c.tanh(), c


# %% wrong="modes" breaks="registers" says="the parameters of"
# Misunderstands: weight and bias are found at work, not given.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = torch.ones(width), torch.zeros(width)
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="registers" says="register_buffer"
# Misunderstands: a running mean is an attribute.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.running_mean = torch.zeros(width)
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="registers" says="the buffers of"
# Misunderstands: the running variance starts at 0.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="batch" says="divides by the number of rows"
# Misunderstands: torch.var divides by the number of rows by itself.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach(), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="batch" says="under the root"
# Misunderstands: eps is added to the standard deviation.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var.sqrt() + self.eps) * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="batch, eval" says="BatchNorm"
# Misunderstands: weight alone is learned.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="batch" says="own mean and variance"
# Misunderstands: the running numbers are better in training mode, too.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        mean, var = self.running_mean, self.running_var
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="batch" says="BatchNorm"
# Misunderstands: one eps for all.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = 1e-5, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="running" says="number of rows minus 1"
# Misunderstands: the running variance is the same that normalises.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach(), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="running" says="share of the new"
# Misunderstands: momentum is what stays.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), 1 - self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), 1 - self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="running" says="columns"
# Misunderstands: the running numbers are those of the last batch.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = mean.detach()
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="running" says="columns"
# Misunderstands: the running variance is not needed in training mode.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            unused = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="eval" says="own mean and variance"
# Misunderstands: a batch is a batch.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if len(x) > 1:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="eval" says="do not change"
# Misunderstands: running numbers go on in eval mode.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = before = self.running_mean, self.running_var
        if len(x) > 1:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        if not self.training and len(x) > 1:
            mean, var = before
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="gradients" says="belong to its gradient"
# Misunderstands: mean and variance are numbers, so they are detached.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.detach().mean(0), x.detach().var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="gradients" says="graph"
# Misunderstands: a running mean needs no detach.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean, self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="unchanged" says="must stay as it was"
# Misunderstands: centring can be done in place.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        if not x.requires_grad:
            y = (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
            x.sub_(mean)
            return y
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="running" says="own mean and variance"
# Misunderstands: running numbers belong to the class.
class BatchNorm(nn.Module):

    seen = {}

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.seen["momentum"] = self.seen.get("momentum", self.momentum)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.seen["momentum"])
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="drop" says="divided by 1 - p"
# Misunderstands: what is left stays as it is.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p)


# %% wrong="modes" breaks="drop" says="not by p"
# Misunderstands: what is left is divided by p.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (self.p or 1)


# %% wrong="modes" breaks="drop" says="with probability p"
# Misunderstands: p is the share that stays.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) < self.p) / (1 - self.p)


# %% wrong="modes" breaks="drop" says="by itself"
# Misunderstands: whole rows are dropped.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x[..., :1]) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="drop" says="by itself"
# Misunderstands: whole columns are dropped.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x[:1]) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="drop" says="share of zeros"
# Misunderstands: exactly the first numbers are dropped.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.arange(x.numel()).view_as(x) >= 3) / (1 - self.p)


# %% wrong="modes" breaks="drop, seeded" says="in the next call"
# Misunderstands: a layer draws its mask once.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        if getattr(self, "mask", x[:0]).shape != x.shape:
            self.mask = torch.rand_like(x) >= self.p
        return x * self.mask / (1 - self.p)


# %% wrong="modes" breaks="seeded" says="same torch.manual_seed"
# Misunderstands: chance comes from a generator of its own.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand(x.shape, generator=self.generator) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="drop_eval" says="eval mode"
# Misunderstands: dropout is on for good.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="drop_eval" says="eval mode"
# Misunderstands: in eval mode everything is scaled by 1 - p.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x * (1 - self.p)
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="drop_gradient" says="gradient"
# Misunderstands: the mask is a part of the data.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x + (x * (torch.rand_like(x) >= self.p) / (1 - self.p) - x).detach()


# %% wrong="modes" breaks="drop_plain" says="state_dict"
# Misunderstands: the mask is kept.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.register_buffer("p", torch.tensor(float(p)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="drop_plain" says="write into a tensor"
# Misunderstands: dropping is done in place.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        mask = (torch.rand_like(x) >= self.p) / (1 - self.p)
        return x * mask if x.requires_grad else x.mul_(mask)


# %% wrong="modes" breaks="drop_plain" says="dtype"
# Misunderstands: masks are float32.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = self.running_mean.lerp(mean.detach(), self.momentum)
            self.running_var = self.running_var.lerp(var.detach() * len(x) / (len(x) - 1), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x.float() * (torch.rand_like(x) >= self.p) / (1 - self.p)


# %% wrong="modes" breaks="batch" says="take the mean away"
# Misunderstands: the variance may be taken as mean of squares minus square of the mean, wherever the column lies.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            mean = x.mean(0)
            var = (x**2).mean(0) - mean**2
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * len(x) / (len(x) - 1), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        keep = torch.rand_like(x) >= self.p
        return torch.where(keep, x / (1 - self.p), torch.zeros_like(x))


# %% wrong="modes" breaks="drop" says="by itself"
# Misunderstands: with more than two axes dropout throws whole channels away, as the same mask for all places.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            var, mean = torch.var_mean(x, dim=0, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * len(x) / (len(x) - 1), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        # pictures [n, channels, h, w] and sequences [n, channels, steps]: neighbours would give a single place away
        shape = x.shape[:2] + (1,) * (x.ndim - 2)
        keep = torch.rand(shape, dtype=x.dtype) >= self.p
        return torch.where(keep, x / (1 - self.p), torch.zeros_like(x))


# %% wrong="modes" breaks="drop" says="leaves nothing to chance"
# Misunderstands: probability p means that exactly the share p of the numbers is thrown away.
class BatchNorm(nn.Module):

    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            var, mean = torch.var_mean(x, dim=0, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * len(x) / (len(x) - 1), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias


class Dropout(nn.Module):

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        gone = torch.randperm(x.numel())[: round(self.p * x.numel())]
        keep = torch.ones(x.numel(), dtype=torch.bool)
        keep[gone] = False
        keep = keep.view(x.shape)
        return torch.where(keep, x / (1 - self.p), torch.zeros_like(x))


# %% wrong="modes" breaks="running" says="not `torch.no_grad()`"
# Misunderstands: inside torch.no_grad nothing is learnt, so the running numbers do not change there.
class BatchNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            n, share = len(x), self.momentum
            if torch.is_grad_enabled():
                self.running_mean = (1 - share) * self.running_mean + share * mean.detach()
                self.running_var = (1 - share) * self.running_var + share * var.detach() * n / (n - 1)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):
    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        keep = torch.rand_like(x) >= self.p
        return keep * x / (1 - self.p)


# %% wrong="modes" breaks="running" says="not `requires_grad`"
# Misunderstands: a frozen layer keeps its running numbers, too.
class BatchNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            n, share = len(x), self.momentum
            if self.weight.requires_grad:
                self.running_mean = (1 - share) * self.running_mean + share * mean.detach()
                self.running_var = (1 - share) * self.running_var + share * var.detach() * n / (n - 1)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):
    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        keep = torch.rand_like(x) >= self.p
        return keep * x / (1 - self.p)


# %% wrong="modes" breaks="drop" says="inside `torch.no_grad()`"
# Misunderstands: who needs no gradient does not train, so nothing is dropped.
class BatchNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            n, share = len(x), self.momentum
            self.running_mean = (1 - share) * self.running_mean + share * mean.detach()
            self.running_var = (1 - share) * self.running_var + share * var.detach() * n / (n - 1)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class Dropout(nn.Module):
    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return x
        keep = torch.rand_like(x) >= self.p
        return keep * x / (1 - self.p)


# %% right="modes"
# With running numbers in place, and a bernoulli mask.
class BatchNorm(nn.Module):
    def __init__(self, width, eps=1e-5, momentum=0.1):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.weight = nn.Parameter(torch.ones(width))
        self.settings = eps, momentum

    def forward(self, x):
        eps, momentum = self.settings
        if not self.training:
            return self.weight * (x - self.running_mean) * (self.running_var + eps).rsqrt() + self.bias
        mean = x.sum(0) / len(x)
        centred = x - mean
        with torch.no_grad():
            self.running_mean.mul_(1 - momentum).add_(momentum * mean)
            self.running_var.mul_(1 - momentum).add_(momentum * centred.square().sum(0) / (len(x) - 1))
        return self.weight * centred * (centred.square().mean(0) + eps).rsqrt() + self.bias


class Dropout(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.keep = 1 - p

    def forward(self, x):
        if self.training:
            return x.mul(torch.bernoulli(torch.full_like(x, self.keep))).div(self.keep)
        return x.clone()


# %% right="modes"
# With the functions of the library.
class BatchNorm(nn.Module):
    def __init__(self, width, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        for name, value in (("weight", 1.0), ("bias", 0.0)):
            self.register_parameter(name, nn.Parameter(torch.full((width,), value)))
        for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((width,), value))

    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps)


class Dropout(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p, self.training)


# %% wrong="check_layer_norm" breaks="raises" says="catch"
# Misunderstands: what a test returns is looked at.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        pass


# %% wrong="check_layer_norm" breaks="value" says="eps of its own"
# Misunderstands: one eps is as good as another.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5,):
                for offset in (0, 1, 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% wrong="check_layer_norm" breaks="value, gradients" says="weight"
# Misunderstands: weight is 1 and bias 0, as in a new layer.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = torch.ones(shape[-1], dtype=dtype), torch.zeros(shape[-1], dtype=dtype)
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.ones(shape[-1], dtype=torch.float64), torch.zeros(shape[-1], dtype=torch.float64)
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% wrong="check_layer_norm" breaks="rows" says="axes together"
# Misunderstands: one shape is enough.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (4, 6), (6, 6)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    for shape in ((4,), (3, 5)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% wrong="check_layer_norm" breaks="equal" says="in place of bias"
# Misunderstands: equal numbers do not come.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% wrong="check_layer_norm" breaks="exact" says="lost at 4,000"
# Misunderstands: numbers are of size 1.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% wrong="check_layer_norm" breaks="dtype" says="float64 for float32"
# Misunderstands: the dtype does not matter.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% wrong="check_layer_norm" breaks="gradients" says="constants in the gradient"
# Misunderstands: what is right forward is right backward.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        pass


# %% wrong="check_layer_norm" breaks="unchanged, gradients" says="writes its result into x"
# Misunderstands: functions do not change what they are given.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        pass


# %% wrong="check_layer_norm" breaks="no_false_alarm" says="reject a correct"
# Misunderstands: the same formula gives the same digits.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < 1e-9, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% wrong="check_layer_norm" breaks="no_false_alarm" says="a correct implementation"
# Misunderstands: rows of one number must become bias, too.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    assert torch.equal(layer_norm(torch.ones(3, 1), torch.ones(1), torch.ones(1), 0.1), torch.ones(3, 1))
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% wrong="check_layer_norm" breaks="no_false_alarm" says="a correct implementation"
# Misunderstands: a graph is there whatever comes.
def check_layer_norm(layer_norm) -> None:
    x, weight, bias = torch.randn(3, 4), torch.ones(4), torch.zeros(4)
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    assert layer_norm(torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(3), torch.ones(3), 0.1).dtype == torch.bfloat16
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% wrong="check_layer_norm" breaks="no_false_alarm" says="as far from exact as it may be"
# Misunderstands: in float64 two correct ones agree nearly to the last digit.
def check_layer_norm(layer_norm) -> None:
    """Raise an error if `layer_norm(x, weight, bias, eps)` breaks a promise."""
    torch_generator = torch.Generator().manual_seed(0)

    def randn(*shape, dtype):
        return torch.randn(shape, generator=torch_generator, dtype=torch.float64).to(dtype)

    def wanted(x, weight, bias, eps):
        return F.layer_norm(x.double(), x.shape[-1:], weight.double(), bias.double(), eps)

    def run(x, weight, bias, eps):
        kept = [tensor.detach().clone() for tensor in (x, weight, bias)]
        y = layer_norm(x, weight, bias, eps)
        assert y.shape == x.shape and y.dtype == x.dtype
        for tensor, old in zip((x, weight, bias), kept):
            assert torch.equal(tensor.detach(), old), "something given was changed"
        return y

    for dtype in (torch.float64, torch.float32):
        close = {"rtol": 1e-7, "atol": 1e-8} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-3}
        for shape in ((5,), (2,), (3, 4), (4, 4), (2, 3, 4), (1, 1, 5), (2, 3, 4, 5)):
            for eps in (1e-5, 0.1, 1.0):
                x, weight, bias = randn(*shape, dtype=dtype), randn(shape[-1], dtype=dtype), randn(shape[-1], dtype=dtype)
                for order in (lambda t: t, lambda t: torch.stack([t, t], -1)[..., 0], lambda t: t.movedim(-1, 0).contiguous().movedim(0, -1)):
                    torch.testing.assert_close(run(order(x), order(weight), order(bias), eps).double(), wanted(x, weight, bias, eps), **close)
                given = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
                exact = [tensor.double().clone().requires_grad_() for tensor in (x, weight, bias)]
                push = randn(*shape, dtype=dtype)
                found = torch.autograd.grad(run(*given, eps), given, push)
                expected = torch.autograd.grad(wanted(*exact, eps), exact, push.double())
                for one, other in zip(found, expected):
                    if dtype == torch.float64:
                        torch.testing.assert_close(one, other, **close)
                    else:
                        assert (one.double() - other).abs().max() <= 3e-3 * max(1.0, other.abs().max())
        for number in (0.0, 4.0, -30.0):
            weight, bias = randn(6, dtype=dtype), randn(6, dtype=dtype)
            y = run(torch.full((3, 6), number, dtype=dtype), weight, bias, 1e-5)
            torch.testing.assert_close(y, bias.expand(3, 6), **close)
        x, weight, bias = randn(4, 6, dtype=dtype), randn(6, dtype=dtype), randn(6, dtype=dtype)
        torch.testing.assert_close(run(x, weight, bias, 0.1)[2], run(x[2].clone(), weight, bias, 0.1), **close)
        x = randn(8, 50, dtype=torch.float64)
        x = (4000 + (x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True)).to(dtype)
        weight, bias = torch.ones(50, dtype=dtype), torch.zeros(50, dtype=dtype)
        away = (run(x, weight, bias, 1e-5).double() - wanted(x, weight, bias, 1e-5)).abs().max()
        assert away < (0.012 if dtype == torch.float32 else 2e-5)


# %% wrong="check_layer_norm" breaks="no_false_alarm" says="another order in memory"
# Misunderstands: where x lies side by side in memory, so does the result.
def check_layer_norm(layer_norm) -> None:
    """Raise an error if `layer_norm(x, weight, bias, eps)` breaks a promise."""
    torch_generator = torch.Generator().manual_seed(0)

    def randn(*shape, dtype):
        return torch.randn(shape, generator=torch_generator, dtype=torch.float64).to(dtype)

    def wanted(x, weight, bias, eps):
        return F.layer_norm(x.double(), x.shape[-1:], weight.double(), bias.double(), eps)

    def run(x, weight, bias, eps):
        kept = [tensor.detach().clone() for tensor in (x, weight, bias)]
        y = layer_norm(x, weight, bias, eps)
        assert y.is_contiguous() or not x.is_contiguous()
        assert y.shape == x.shape and y.dtype == x.dtype
        for tensor, old in zip((x, weight, bias), kept):
            assert torch.equal(tensor.detach(), old), "something given was changed"
        return y

    for dtype in (torch.float64, torch.float32):
        close = {"rtol": 3e-6, "atol": 3e-6} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-3}
        for shape in ((5,), (2,), (3, 4), (4, 4), (2, 3, 4), (1, 1, 5), (2, 3, 4, 5)):
            for eps in (1e-5, 0.1, 1.0):
                x, weight, bias = randn(*shape, dtype=dtype), randn(shape[-1], dtype=dtype), randn(shape[-1], dtype=dtype)
                for order in (lambda t: t, lambda t: torch.stack([t, t], -1)[..., 0], lambda t: t.movedim(-1, 0).contiguous().movedim(0, -1)):
                    torch.testing.assert_close(run(order(x), order(weight), order(bias), eps).double(), wanted(x, weight, bias, eps), **close)
                given = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
                exact = [tensor.double().clone().requires_grad_() for tensor in (x, weight, bias)]
                push = randn(*shape, dtype=dtype)
                found = torch.autograd.grad(run(*given, eps), given, push)
                expected = torch.autograd.grad(wanted(*exact, eps), exact, push.double())
                for one, other in zip(found, expected):
                    if dtype == torch.float64:
                        torch.testing.assert_close(one, other, **close)
                    else:
                        assert (one.double() - other).abs().max() <= 3e-3 * max(1.0, other.abs().max())
        for number in (0.0, 4.0, -30.0):
            weight, bias = randn(6, dtype=dtype), randn(6, dtype=dtype)
            y = run(torch.full((3, 6), number, dtype=dtype), weight, bias, 1e-5)
            torch.testing.assert_close(y, bias.expand(3, 6), **close)
        x, weight, bias = randn(4, 6, dtype=dtype), randn(6, dtype=dtype), randn(6, dtype=dtype)
        torch.testing.assert_close(run(x, weight, bias, 0.1)[2], run(x[2].clone(), weight, bias, 0.1), **close)
        x = randn(8, 50, dtype=torch.float64)
        x = (4000 + (x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True)).to(dtype)
        weight, bias = torch.ones(50, dtype=dtype), torch.zeros(50, dtype=dtype)
        away = (run(x, weight, bias, 1e-5).double() - wanted(x, weight, bias, 1e-5)).abs().max()
        assert away < (0.012 if dtype == torch.float32 else 2e-5)


# %% wrong="check_layer_norm" breaks="raises, gradients" says="cuts bias from the graph"
# Misunderstands: bias is only a term, its gradient needs no test.
def check_layer_norm(layer_norm) -> None:
    """Raise an error if `layer_norm(x, weight, bias, eps)` breaks a promise."""
    source = torch.Generator().manual_seed(0)

    def numbers(*shape, dtype):
        return torch.randn(shape, generator=source, dtype=torch.float64).to(dtype)

    def expected_of(x, weight, bias, eps):
        x, weight, bias = x.double(), weight.double(), bias.double()
        z = x - x.mean(-1, keepdim=True)
        return z / (z.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias

    def near(found, expected, what, limit):
        assert not found.isnan().any(), f"nan in {what}"
        away = (found.detach().double() - expected.detach()).abs().max()
        assert away <= limit * max(1.0, float(expected.detach().abs().max())), f"{what}: {away} away"

    def call(x, weight, bias, eps, limit):
        """One call; all but the gradients."""
        given = x, weight, bias
        before = [tensor.detach().clone() for tensor in given]
        found = layer_norm(x, weight, bias, eps)
        assert found.shape == x.shape, f"shape {found.shape} for {x.shape}"
        assert found.dtype == x.dtype, f"{found.dtype} for {x.dtype}"
        for tensor, old, name in zip(given, before, ("x", "weight", "bias")):
            assert torch.equal(tensor.detach(), old), f"{name} was changed"
        near(found, expected_of(*before, eps), f"values for {list(x.shape)}, {x.dtype}, eps {eps}", limit)
        return found

    def slopes(x, weight, bias, eps, limit):
        given = [tensor.detach().clone().requires_grad_() for tensor in (x, weight, bias)]
        double = [tensor.detach().double().clone().requires_grad_() for tensor in (x, weight, bias)]
        push = numbers(*x.shape, dtype=x.dtype)
        found = torch.autograd.grad(call(*given[:2], bias, eps, limit), given[:2], push)
        expected = torch.autograd.grad(expected_of(*double, eps), double[:2], push.double())
        for name, one, other in zip(("x", "weight", "bias"), found, expected):
            assert one.shape == other.shape
            near(one, other, f"gradient of {name} for {list(x.shape)}, {x.dtype}, eps {eps}", limit)

    def orders(tensor):
        """The same numbers in other orders in memory."""
        yield tensor
        yield torch.stack([tensor, tensor + 1], -1)[..., 0]
        yield torch.cat([tensor.flatten()[:1], tensor.flatten()])[1:].view(tensor.shape)
        if tensor.ndim > 1:
            yield tensor.transpose(0, -1).contiguous().transpose(0, -1)
            yield tensor.movedim(-1, 0).contiguous().movedim(0, -1)

    shapes = (6,), (2,), (5, 6), (6, 6), (1, 4), (4, 2), (3, 1, 5), (2, 3, 4), (4, 4, 4), (1, 1, 1, 3), (2, 3, 4, 5), (3, 3, 3, 3), (3, 130)
    for dtype, limit in ((torch.float64, 3e-6), (torch.float32, 3e-3)):
        for shape in shapes:
            width = shape[-1]
            for eps, size in ((1e-5, 1.0), (1.0, 1.0), (0.03, 0.2)):
                x = 0.7 + size * numbers(*shape, dtype=dtype)
                weight, bias = numbers(width, dtype=dtype) + 0.3, numbers(width, dtype=dtype)
                call(x, weight, bias, eps, limit)
                slopes(x, weight, bias, eps, limit)
        # any order in memory, of each of the three
        for shape in ((6,), (4, 5), (2, 3, 4), (2, 3, 4, 5)):
            x, weight, bias = numbers(*shape, dtype=dtype), numbers(shape[-1], dtype=dtype), numbers(shape[-1], dtype=dtype)
            for other in orders(x):
                call(other, weight, bias, 0.1, limit)
            for other in orders(weight):
                call(x, other, bias, 0.1, limit)
            for other in orders(bias):
                call(x, weight, other, 0.1, limit)
        # no vector depends on another
        x, weight, bias = numbers(5, 4, 7, dtype=dtype), numbers(7, dtype=dtype), numbers(7, dtype=dtype)
        alone = call(x[2:3, 1:2].clone(), weight, bias, 0.01, limit)
        loud = x.clone()
        loud[0], loud[:, 3] = 3000 * loud[0], 20.0
        for company in (x, loud):
            near(call(company, weight, bias, 0.01, limit)[2:3, 1:2], alone.double(), "a vector in company", 2 * limit)
        # equal whole numbers
        for width in (2, 3, 7, 64):
            weight, bias = numbers(width, dtype=dtype), numbers(width, dtype=dtype)
            x = torch.tensor([0.0, 1.0, -3.0, 250.0, 4000.0], dtype=dtype)[:, None].repeat(1, width)
            for eps in (1e-5, 1.0):
                near(call(x, weight, bias, eps, limit), bias.double().expand(5, width), "equal numbers", limit)
                near(call(x[2].clone(), weight, bias, eps, limit), bias.double(), "one vector of equal numbers", limit)
            slopes(x, weight, bias, 0.1, limit)
        # far from 0
        for mean in (4000, -4000, 500):
            x = numbers(9, 50, dtype=torch.float64)
            x = (x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True)
            x = (mean + x).to(dtype)
            weight, bias = torch.rand(50, generator=source).to(dtype) * 0.5 + 0.5, numbers(50, dtype=dtype).clamp(-1, 1)
            expected = expected_of(x, weight, bias, 1e-5)
            away = (layer_norm(x, weight, bias, 1e-5).double() - expected).abs().max()
            assert away <= (0.012 if dtype == torch.float32 else 2e-5), f"mean {mean}: {away} away"


# %% right="check_layer_norm"
# Many shapes, sizes of eps and distances from 0.
def check_layer_norm(layer_norm) -> None:
    torch.manual_seed(0)
    for shape in ((5,), (1, 2), (4, 6), (6, 6), (2, 3, 5), (2, 2, 3, 7)):
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-3)):
            for eps in (1e-5, 1e-2, 1.0):
                for offset in (0, 1, 4000 if eps == 1 else 2):
                    x = offset + torch.randn(shape, dtype=dtype)
                    if x.ndim > 1:
                        x[0] = 2.0
                    weight, bias = 2 * torch.rand(2, shape[-1], dtype=dtype) + 0.5
                    centred = x.double() - x.double().mean(-1, keepdim=True)
                    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
                    for given in (x, torch.stack([x, x], -1)[..., 0]):
                        copies = given.clone(), weight.clone(), bias.clone()
                        found = layer_norm(given, weight, bias, eps)
                        assert found.dtype == dtype and found.shape == x.shape, "dtype or shape"
                        assert (found - expected).abs().max() < tolerance, (shape, dtype, eps, offset)
                        assert all(torch.equal(a, b) for a, b in zip((given, weight, bias), copies)), "changed"
    for shape in ((4,), (3, 5), (2, 2, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        weight, bias = torch.randn(2, shape[-1], dtype=torch.float64).unbind()
        torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.1), (x, weight.requires_grad_(), bias.requires_grad_()))


# %% right="check_layer_norm"
# Against the library, one promise after the other.
def check_layer_norm(layer_norm):
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for shape in ((4,), (1, 3), (5, 5), (3, 6), (2, 3, 4), (3, 3, 3), (2, 3, 4, 5)):
        weight, bias = drawn(shape[-1]) + 3, drawn(shape[-1])
        for eps in (0.7, 1e-5):
            for x in (drawn(*shape), drawn(*shape) + 5, torch.full(shape, 3.0, dtype=torch.float64), drawn(*reversed(shape)).permute(*reversed(range(len(shape))))):
                for dtype in (torch.float64, torch.float32):
                    given = [t.to(dtype) for t in (x, weight, bias)]
                    kept = [t.clone() for t in given]
                    expected = F.layer_norm(given[0].double(), shape[-1:], given[1].double(), given[2].double(), eps).to(dtype)
                    torch.testing.assert_close(layer_norm(*given, eps), expected, rtol=1e-2, atol=1e-2)
                    for mine, old in zip(given, kept):
                        assert torch.equal(mine, old)
        inputs = [t.clone().requires_grad_() for t in (drawn(*shape), weight, bias)]
        assert torch.autograd.gradcheck(lambda *a: layer_norm(*a, 0.3), inputs, fast_mode=True)
    x = (4000 + drawn(20, 30)).float()
    expected = F.layer_norm(x.double(), (30,)).float()
    assert (layer_norm(x, torch.ones(30), torch.zeros(30), 1e-5) - expected).abs().max() < 0.02


# %% right="check_layer_norm"
# weight and bias lie side by side in memory: only x comes in other orders
def check_layer_norm(layer_norm) -> None:
    """Raise an error if `layer_norm(x, weight, bias, eps)` breaks a promise."""
    source = torch.Generator().manual_seed(0)

    def numbers(*shape, dtype):
        return torch.randn(shape, generator=source, dtype=torch.float64).to(dtype)

    def expected_of(x, weight, bias, eps):
        x, weight, bias = x.double(), weight.double(), bias.double()
        z = x - x.mean(-1, keepdim=True)
        return z / (z.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias

    def near(found, expected, what, limit):
        assert not found.isnan().any(), f"nan in {what}"
        away = (found.detach().double() - expected.detach()).abs().max()
        assert away <= limit * max(1.0, float(expected.detach().abs().max())), f"{what}: {away} away"

    def call(x, weight, bias, eps, limit):
        """One call; all but the gradients."""
        given = x, weight, bias
        before = [tensor.detach().clone() for tensor in given]
        found = layer_norm(x, weight, bias, eps)
        assert found.shape == x.shape, f"shape {found.shape} for {x.shape}"
        assert found.dtype == x.dtype, f"{found.dtype} for {x.dtype}"
        for tensor, old, name in zip(given, before, ("x", "weight", "bias")):
            assert torch.equal(tensor.detach(), old), f"{name} was changed"
        near(found, expected_of(*before, eps), f"values for {list(x.shape)}, {x.dtype}, eps {eps}", limit)
        return found

    def slopes(x, weight, bias, eps, limit):
        given = [tensor.detach().clone().requires_grad_() for tensor in (x, weight, bias)]
        double = [tensor.detach().double().clone().requires_grad_() for tensor in (x, weight, bias)]
        push = numbers(*x.shape, dtype=x.dtype)
        found = torch.autograd.grad(call(*given, eps, limit), given, push)
        expected = torch.autograd.grad(expected_of(*double, eps), double, push.double())
        for name, one, other in zip(("x", "weight", "bias"), found, expected):
            assert one.shape == other.shape
            near(one, other, f"gradient of {name} for {list(x.shape)}, {x.dtype}, eps {eps}", limit)

    def orders(tensor):
        """The same numbers in other orders in memory."""
        yield tensor
        yield torch.stack([tensor, tensor + 1], -1)[..., 0]
        yield torch.cat([tensor.flatten()[:1], tensor.flatten()])[1:].view(tensor.shape)
        if tensor.ndim > 1:
            yield tensor.transpose(0, -1).contiguous().transpose(0, -1)
            yield tensor.movedim(-1, 0).contiguous().movedim(0, -1)

    shapes = (6,), (2,), (5, 6), (6, 6), (1, 4), (4, 2), (3, 1, 5), (2, 3, 4), (4, 4, 4), (1, 1, 1, 3), (2, 3, 4, 5), (3, 3, 3, 3), (3, 130)
    for dtype, limit in ((torch.float64, 3e-6), (torch.float32, 3e-3)):
        for shape in shapes:
            width = shape[-1]
            for eps, size in ((1e-5, 1.0), (1.0, 1.0), (0.03, 0.2)):
                x = 0.7 + size * numbers(*shape, dtype=dtype)
                weight, bias = numbers(width, dtype=dtype) + 0.3, numbers(width, dtype=dtype)
                call(x, weight, bias, eps, limit)
                slopes(x, weight, bias, eps, limit)
        # any order in memory
        for shape in ((6,), (4, 5), (2, 3, 4), (2, 3, 4, 5)):
            x, weight, bias = numbers(*shape, dtype=dtype), numbers(shape[-1], dtype=dtype), numbers(shape[-1], dtype=dtype)
            for other in orders(x):
                call(other, weight, bias, 0.1, limit)
        # no vector depends on another
        x, weight, bias = numbers(5, 4, 7, dtype=dtype), numbers(7, dtype=dtype), numbers(7, dtype=dtype)
        alone = call(x[2:3, 1:2].clone(), weight, bias, 0.01, limit)
        loud = x.clone()
        loud[0], loud[:, 3] = 3000 * loud[0], 20.0
        for company in (x, loud):
            near(call(company, weight, bias, 0.01, limit)[2:3, 1:2], alone.double(), "a vector in company", 2 * limit)
        # equal whole numbers
        for width in (2, 3, 7, 64):
            weight, bias = numbers(width, dtype=dtype), numbers(width, dtype=dtype)
            x = torch.tensor([0.0, 1.0, -3.0, 250.0, 4000.0], dtype=dtype)[:, None].repeat(1, width)
            for eps in (1e-5, 1.0):
                near(call(x, weight, bias, eps, limit), bias.double().expand(5, width), "equal numbers", limit)
                near(call(x[2].clone(), weight, bias, eps, limit), bias.double(), "one vector of equal numbers", limit)
            slopes(x, weight, bias, 0.1, limit)
        # far from 0
        for mean in (4000, -4000, 500):
            x = numbers(9, 50, dtype=torch.float64)
            x = (x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True)
            x = (mean + x).to(dtype)
            weight, bias = torch.rand(50, generator=source).to(dtype) * 0.5 + 0.5, numbers(50, dtype=dtype).clamp(-1, 1)
            expected = expected_of(x, weight, bias, 1e-5)
            away = (layer_norm(x, weight, bias, 1e-5).double() - expected).abs().max()
            assert away <= (0.012 if dtype == torch.float32 else 2e-5), f"mean {mean}: {away} away"


# %% equivalent="check_layer_norm" because="a wider limit still tells these bugs"
# - assert (found - expected).abs().max() < 0.02, "value"
# + assert (found - expected).max() < 0.02, "value"

# %% equivalent="check_layer_norm" because="no implementation here gives NaN"
# - assert (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() < 0.02, "equal numbers"
# + assert not (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() >= 0.02, "equal numbers"

# %% equivalent="check_layer_norm" because="all numbers in place of a random combination of them"
# - torch.autograd.gradcheck(lambda *tensors: layer_norm(*tensors, 1), given, fast_mode=True)
# + torch.autograd.gradcheck(lambda *tensors: layer_norm(*tensors, 1), given, fast_mode=False)

# %% equivalent="check_layer_norm" because="no implementation here gives NaN"
# - assert (found - expected).abs().max() < 0.02, "value"
# + assert not (found - expected).abs().max() >= 0.02, "value"

# %% equivalent="check_layer_norm" because="vectors in two axes or more show the same"
# - x = 4000 + torch.randn([6] * axes, dtype=dtype)
# + x = (4000 - torch.randn([6] * axes, dtype=dtype))

# %% equivalent="check_layer_norm" because="other numbers of the same kind show the same"
# - weight, bias = torch.rand(2, 6, dtype=dtype) + 1
# + weight, bias = (torch.rand(2, 6, dtype=dtype) - 1)

# %% equivalent="check_layer_norm" because="no difference is exactly the limit"
# - assert (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() < 0.02, "equal numbers"
# + assert ((layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() <= 0.02), "equal numbers"

# %% equivalent="check_layer_norm" because="vectors in two axes or more show the same"
# - for axes, dtype in ((1, torch.float64), (3, torch.float64), (3, torch.float32)):
# + for axes, dtype in ((1, torch.float64), (4, torch.float64), (3, torch.float32)):

# %% equivalent="check_layer_norm" because="vectors in two axes or more show the same"
# - for axes, dtype in ((1, torch.float64), (3, torch.float64), (3, torch.float32)):
# + for axes, dtype in ((1, torch.float64), (2, torch.float64), (3, torch.float32)):

# %% equivalent="check_layer_norm" because="vectors in two axes or more show the same"
# - for axes, dtype in ((1, torch.float64), (3, torch.float64), (3, torch.float32)):
# + for axes, dtype in ((1, torch.float64), (3, torch.float64), (4, torch.float32)):

# %% equivalent="check_layer_norm" because="vectors in two axes or more show the same"
# - for axes, dtype in ((1, torch.float64), (3, torch.float64), (3, torch.float32)):
# + for axes, dtype in ((1, torch.float64), (3, torch.float64), (2, torch.float32)):

# %% equivalent="check_layer_norm" because="vectors in two axes or more show the same"
# - x = 4000 + torch.randn([6] * axes, dtype=dtype)
# + x = 4001 + torch.randn([6] * axes, dtype=dtype)

# %% equivalent="check_layer_norm" because="vectors in two axes or more show the same"
# - x = 4000 + torch.randn([6] * axes, dtype=dtype)
# + x = 3999 + torch.randn([6] * axes, dtype=dtype)

# %% equivalent="check_layer_norm" because="other numbers of the same kind show the same"
# - weight, bias = torch.rand(2, 6, dtype=dtype) + 1
# + weight, bias = torch.rand(2, 6, dtype=dtype) + 2

# %% equivalent="check_layer_norm" because="other numbers of the same kind show the same"
# - weight, bias = torch.rand(2, 6, dtype=dtype) + 1
# + weight, bias = torch.rand(2, 6, dtype=dtype) + 0

# %% equivalent="check_layer_norm" because="no difference is exactly the limit"
# - assert (found - expected).abs().max() < 0.02, "value"
# + assert ((found - expected).abs().max() <= 0.02), "value"

# %% equivalent="check_layer_norm" because="equality is symmetric"
# - assert torch.equal(given, x), "x was changed"
# + assert (torch.equal(x, given)), "x was changed"

# %% equivalent="check_layer_norm" because="a wider limit still tells these bugs"
# - assert (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() < 0.02, "equal numbers"
# + assert (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() < 0.04, "equal numbers"

# %% equivalent="check_layer_norm" because="a wider limit still tells these bugs"
# - assert (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() < 0.02, "equal numbers"
# + assert (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() < 1.02, "equal numbers"

# %% equivalent="check_layer_norm" because="a wider limit still tells these bugs"
# - assert (found - expected).abs().max() < 0.02, "value"
# + assert (found - expected).abs().max() < 0.04, "value"

# %% equivalent="check_layer_norm" because="the other copy has the same memory layout"
# - for given in (x, torch.stack([x, x], -1)[..., 0]):
# + for given in (x, torch.stack([x, x], -1)[..., 1]):

# %% equivalent="check_layer_norm" because="the other copy has the same memory layout"
# - for given in (x, torch.stack([x, x], -1)[..., 0]):
# + for given in (x, torch.stack([x, x], -1)[..., (-1)]):

# %% equivalent="check_layer_norm" because="another vector shows the same"
# - given = [t.double().requires_grad_() for t in (x[0], weight, bias)]
# + given = [t.double().requires_grad_() for t in (x[1], weight, bias)]

# %% equivalent="check_layer_norm" because="another vector shows the same"
# - given = [t.double().requires_grad_() for t in (x[0], weight, bias)]
# + given = [t.double().requires_grad_() for t in (x[(-1)], weight, bias)]

# %% equivalent="check_layer_norm" because="a wider limit still tells these bugs"
# - assert (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() < 0.02, "equal numbers"
# + assert (layer_norm(torch.full_like(x, 4), weight, bias, 1) - bias).abs().max() < 0.02, "equal numbers"

# %% equivalent="check_layer_norm" because="a wider limit still tells these bugs"
# - assert (layer_norm(torch.full_like(x, 3), weight, bias, 1) - bias).abs().max() < 0.02, "equal numbers"
# + assert (layer_norm(torch.full_like(x, 2), weight, bias, 1) - bias).abs().max() < 0.02, "equal numbers"


# %% wrong="initialise" breaks="drawn" says="standard deviation"
# Misunderstands: the usual gain is 1.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="drawn" says="standard deviation"
# Misunderstands: fan_out is as good.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="drawn" says="standard deviation"
# Misunderstands: groups do not matter.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fan = module.in_features if isinstance(module, nn.Linear) else module.in_channels * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, 0, (2 / fan) ** 0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="drawn" says="standard deviation"
# Misunderstands: the input of a convolution is its channels.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.normal_(module.weight, 0, (2 / module.weight.shape[1]) ** 0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="drawn" says="beyond 2 standard deviations"
# Misunderstands: evenly distributed numbers of the same size will do.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="drawn, biases" says="biases of linear"
# Misunderstands: only direct children are layers.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.children():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="drawn, objects" says="biases of linear"
# Misunderstands: frozen weights are left alone.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight.requires_grad:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="biases" says="biases of linear layers"
# Misunderstands: biases stay.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)


# %% wrong="initialise" breaks="biases" says="your code raised"
# Misunderstands: every layer has a bias.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="others" says="all else stays"
# Misunderstands: everything with a weight is meant.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            pass
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)) and module.weight is not None:
            nn.init.ones_(module.weight)
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="others" says="all else stays"
# Misunderstands: all convolutions are meant.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv1d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="objects" says="another object"
# Misunderstands: a new parameter takes the place of the old one.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.weight = nn.Parameter(nn.init.kaiming_normal_(module.weight.detach().clone(), nonlinearity="relu", generator=generator), module.weight.requires_grad)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="objects" says="requires_grad"
# Misunderstands: what is drawn anew is to be trained.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            module.weight.requires_grad_(True)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="generator" says="global random state"
# Misunderstands: the global generator is as good.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="generator" says="global random state"
# Misunderstands: a seed is drawn for the global generator.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    torch.manual_seed(int(torch.randint(10**6, (), generator=generator)))
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="generator, drawn" says="the same numbers"
# Misunderstands: each layer starts from the same place of the generator.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    seed = generator.initial_seed()
    for module in model.modules():
        generator.manual_seed(seed)
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="generator" says="is the same"
# Misunderstands: a seed of its own.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    generator.manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="drawn, biases" says="attention.out_proj"
# Misunderstands: only layers whose type is exactly nn.Linear or nn.Conv2d are meant: a class derived from them is something else.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if type(module) in (nn.Linear, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="others" says="all else stays"
# Misunderstands: a transposed convolution is a 2-d convolution too and is started likewise.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="generator" says="a second call"
# Misunderstands: a generator is no more than its seed, so what it has given out before plays no part.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


# %% wrong="initialise" breaks="drawn" says="drawn by itself"
# Misunderstands: mean 0 and the standard deviation are what the drawn numbers of each weight must have themselves.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            with torch.no_grad():
                module.weight.normal_(generator=generator)
                module.weight.sub_(module.weight.mean()).div_(module.weight.std(correction=0))
                module.weight.mul_((2 / module.weight[0].numel()) ** 0.5)
                if module.bias is not None:
                    module.bias.zero_()


# %% wrong="initialise" breaks="drawn" says="drawn by itself"
# Misunderstands: each unit starts with a weight vector of the same length.
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            with torch.no_grad():
                if module.weight.numel() > 1000:
                    rows = module.weight.flatten(1)
                    rows.div_(rows.square().mean(1, keepdim=True).sqrt() * (rows.shape[1] / 2) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


# %% right="initialise"
# By hand.
@torch.no_grad()
def initialise(model, generator):
    for module in model.modules():
        if isinstance(module, nn.Linear) or isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0, math.sqrt(2 / fan_in), generator=generator)
            if module.bias is not None:
                module.bias.fill_(0)
    return model


# %% right="initialise"
# Through apply.
def initialise(model, generator):
    def start(module):
        if isinstance(module, nn.Linear) or isinstance(module, nn.Conv2d):
            numbers = torch.randn(module.weight.shape, generator=generator, dtype=torch.float64)
            module.weight.data.copy_(numbers * (2 / math.prod(module.weight.shape[1:])) ** 0.5)
            if module.bias is not None:
                module.bias.data.zero_()

    model.apply(start)


# %% equivalent="initialise" because="the gain of a leaky ReLU with slope 0, the default, is that of a ReLU"
# - nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
# + nn.init.kaiming_normal_(module.weight, generator=generator)

# %% wrong="save_and_load" breaks="file" says="cannot be read"
# Misunderstands: a model is saved whole.
def save(model: Classifier, path: str) -> None:
    torch.save(model, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="file" says="no key"
# Misunderstands: the state alone is enough.
def save(model: Classifier, path: str) -> None:
    torch.save(model.state_dict(), path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="file" says="buffers too"
# Misunderstands: parameters are the state.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": dict(model.named_parameters())}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="file" says="buffers too"
# Misunderstands: half precision saves room.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": {name: tensor.half() for name, tensor in model.state_dict().items()}}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="unchanged" says="mode"
# Misunderstands: what is saved is ready for use: eval mode.
def save(model: Classifier, path: str) -> None:
    model.eval()
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="numbers" says="in the dtype of the file"
# Misunderstands: a new model takes any dtype.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"])
    return model.eval()


# %% wrong="save_and_load" breaks="numbers" says="state of the first"
# Misunderstands: the numbers of batch norm come back by themselves.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    kept = {name: tensor for name, tensor in model.state_dict().items() if "running" in name}
    model.load_state_dict(content["state"], assign=True)
    model.load_state_dict(kept, strict=False)
    return model.eval()


# %% wrong="save_and_load" breaks="ready" says="training mode"
# Misunderstands: a loaded model is ready.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model


# %% wrong="save_and_load" breaks="ready" says="training mode"
# Misunderstands: eval mode for the model alone.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    model.training = False
    return model


# %% wrong="save_and_load" breaks="ready" says="require no gradient"
# Misunderstands: a loaded model is not trained any more.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval().requires_grad_(False)


# %% wrong="save_and_load" breaks="apart" says="state of the first"
# Misunderstands: a file is read once.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    kept = load.__dict__.setdefault("kept", {})
    key = path, os.path.getmtime(path)
    content = kept[key] = kept.get(key) or torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="safe" says="a program in the file ran"
# Misunderstands: one trusts one's files.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=False)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="safe" says="error of"
# Misunderstands: errors are made friendly: a ValueError.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    try:
        content = torch.load(path, weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError("not a file of weights")
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="safe" says="a program in the file ran"
# Misunderstands: what the safe way refuses is read the other way.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    try:
        content = torch.load(path, weights_only=True)
    except pickle.UnpicklingError:
        content = torch.load(path, weights_only=False)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="strict" says="strict"
# Misunderstands: names that are missing keep their start.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict(content["state"], assign=True, strict=False)
    return model.eval()


# %% wrong="save_and_load" breaks="strict" says="strict"
# Misunderstands: names that are too many can be left out.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": model.sizes, "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.load_state_dict({name: tensor for name, tensor in content["state"].items() if name in model.state_dict()}, assign=True)
    return model.eval()


# %% wrong="save_and_load" breaks="unchanged" says="mode"
# Misunderstands: a model has one mode, that of model.training: put back by model.train(mode).
def save(model: Classifier, path: str) -> None:
    mode = model.training
    model.eval()
    torch.save({"sizes": list(model.sizes), "state": model.state_dict()}, path)
    model.train(mode)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model = Classifier(content["sizes"])
    model.to(content["state"]["last.weight"].dtype)
    model.load_state_dict(content["state"])
    return model.eval()


# %% wrong="save_and_load" breaks="strict" says="strict"
# Misunderstands: as many names as the model has means that they are the same names.
def save(model: Classifier, path: str) -> None:
    torch.save({"sizes": list(model.sizes), "state": model.state_dict()}, path)


def load(path: str) -> Classifier:
    content = torch.load(path, weights_only=True)
    model, state = Classifier(content["sizes"]), content["state"]
    if len(state) != len(model.state_dict()):
        raise RuntimeError(f"the file has {len(state)} tensors, the model {len(model.state_dict())}")
    model.to(next(iter(state.values())).dtype)
    model.load_state_dict(state, strict=False)
    return model.eval()


# %% right="save_and_load"
# Through to(dtype).
def save(model, path):
    with open(path, "wb") as file:
        torch.save(dict(state=model.state_dict(), sizes=list(model.sizes)), file)


def load(path):
    with open(path, "rb") as file:
        content = torch.load(file, map_location="cpu", weights_only=True)
    model = Classifier(content["sizes"])
    model.to(next(iter(content["state"].values())).dtype)
    model.load_state_dict(content["state"])
    model.train(False)
    return model


# %% right="save_and_load"
# On the meta device first.
def save(model, path):
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    torch.save({"sizes": model.sizes, "state": state}, path)


def load(path):
    content = torch.load(path)
    with torch.device("meta"):
        model = Classifier(content["sizes"]).eval()
    model.load_state_dict(content["state"], strict=True, assign=True)
    return model


# %% wrong="clinic" breaks="dead" says="dead units"
# Misunderstands: a dead ReLU is dead as a whole.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).all():
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="dead" says="dead units"
# Misunderstands: more than half, not half.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() > 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="dead" says="illness that"
# Misunderstands: zeros are dead units, whichever rows they are in.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).float().mean() >= 0.4:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="dead, healthy" says="illness that"
# Misunderstands: a single dead unit is a sick one.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).any():
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="exploding" says="illness that"
# Misunderstands: large is what is above 100.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="exploding" says="place of"
# Misunderstands: the largest layer is the sick one.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[-1] if found else ("healthy", "")


# %% wrong="clinic" breaks="exploding" says="illness that"
# Misunderstands: the mean square is the size.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="eval" says="illness that"
# Misunderstands: the flag of the model tells.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and model.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="eval, healthy" says="illness that"
# Misunderstands: no module may be in training mode.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="eval" says="forgotten eval"
# Misunderstands: only dropout looks at the mode.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, nn.Dropout) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="eval" says="illness that"
# Misunderstands: only batch norm looks at the mode.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, nn.BatchNorm1d) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="shared" says="illness that"
# Misunderstands: shared weights are layers that are called twice.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="shared" says="illness that"
# Misunderstands: shared weights are equal objects in two layers.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module.weight in weights and module not in calls:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="shared" says="place of"
# Misunderstands: the first of the two layers is named.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
            if illness == "shared weights":
                found.append((illness, next(n for m, n in names.items() if getattr(m, "weight", None) is module.weight)))
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="healthy" says="illness that"
# Misunderstands: a healthy patient is called None.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("none", "")


# %% wrong="clinic" breaks="healthy" says="place of"
# Misunderstands: a healthy patient has a place, too.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "0")


# %% wrong="clinic" breaks="unchanged" says="left with hooks"
# Misunderstands: hooks go when the function ends.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        pass
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="unchanged" says="after `diagnose`"
# Misunderstands: a patient is put into eval mode before it is examined.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    model.eval()
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="unchanged" says="after `diagnose`"
# Misunderstands: a pass comes first, whatever the mode.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    with torch.no_grad():
        model(x)
    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="unchanged" says="a patient of"
# Misunderstands: inputs are brought to size 1.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    names = {module: name for name, module in model.named_modules()}
    found, calls, weights = [], set(), set()
    x.div_(x.square().mean().sqrt())
    size = x.square().mean().sqrt()

    def look(module, args, result):
        illness = None
        if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
            illness = "dead units"
        if isinstance(module, nn.Linear):
            if result.square().mean().sqrt() > 100 * size:
                illness = "exploding scale"
            if module in calls or module.weight in weights:
                illness = "shared weights"
            calls.add(module)
            weights.add(module.weight)
        if illness:
            found.append((illness, names[module]))

    for module, name in names.items():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="exploding" says="exploding scale"
# Misunderstands: an explosion is one layer that makes its own input more than 100 times as large.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    for name, module in model.named_modules():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name

    names = {module: name for name, module in model.named_modules()}
    weights, found, handles = set(), [], []

    def look(module, args, result):
        if isinstance(module, nn.ReLU):
            if (result == 0).all(0).double().mean() >= 0.5:
                found.append(("dead units", names[module]))
        else:
            if result.square().mean().sqrt() > 100 * args[0].square().mean().sqrt():
                found.append(("exploding scale", names[module]))
            if id(module.weight) in weights:
                found.append(("shared weights", names[module]))
            weights.add(id(module.weight))

    for module in names:
        if isinstance(module, (nn.ReLU, nn.Linear)):
            handles.append(module.register_forward_hook(look))
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="shared" says="one object"
# Misunderstands: two weights are the same if all their numbers are equal.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    for name, module in model.named_modules():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name

    names = {module: name for name, module in model.named_modules()}
    size, weights, found, handles = float(x.square().mean().sqrt()), [], [], []

    def look(module, args, result):
        if isinstance(module, nn.ReLU):
            if (result == 0).all(0).double().mean() >= 0.5:
                found.append(("dead units", names[module]))
        else:
            if result.square().mean().sqrt() > 100 * size:
                found.append(("exploding scale", names[module]))
            if any(torch.equal(module.weight, weight) for weight in weights):
                found.append(("shared weights", names[module]))
            weights.append(module.weight)

    for module in names:
        if isinstance(module, (nn.ReLU, nn.Linear)):
            handles.append(module.register_forward_hook(look))
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ("healthy", "")


# %% wrong="clinic" breaks="unchanged" says="is left with hooks"
# Misunderstands: to leave no hooks behind one clears all of them, whoever registered them.
def diagnose(model: nn.Module, x: torch.Tensor) -> tuple[str, str]:
    for name, module in model.named_modules():
        if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
            return "forgotten eval", name

    names = {module: name for name, module in model.named_modules()}
    size, weights, found = float(x.square().mean().sqrt()), set(), []

    def look(module, args, result):
        if isinstance(module, nn.ReLU):
            if (result == 0).all(0).double().mean() >= 0.5:
                found.append(("dead units", names[module]))
        else:
            if result.square().mean().sqrt() > 100 * size:
                found.append(("exploding scale", names[module]))
            if id(module.weight) in weights:
                found.append(("shared weights", names[module]))
            weights.add(id(module.weight))

    for module in names:
        if isinstance(module, (nn.ReLU, nn.Linear)):
            module.register_forward_hook(look)
    try:
        with torch.no_grad():
            model(x)
    finally:
        for module in names:
            module._forward_hooks.clear()
    return found[0] if found else ("healthy", "")


# %% right="clinic"
# On a copy, with statistics first and the verdict afterwards.
def diagnose(model, x):
    for name, module in model.named_modules():
        if type(module) in (nn.Dropout, nn.BatchNorm1d) and module.training:
            return ("forgotten eval", name)
    twin, log = copy.deepcopy(model), []
    for name, module in twin.named_modules():
        if isinstance(module, (nn.Linear, nn.ReLU)):
            module.register_forward_hook(lambda m, args, y, name=name: log.append((name, m, y.detach())))
    twin(x.clone())
    seen = set()
    for name, module, y in log:
        if isinstance(module, nn.ReLU):
            if 2 * int((y.amax(0) <= 0).sum()) >= y.shape[1]:
                return ("dead units", name)
            continue
        if y.norm() / y.numel() ** 0.5 > 100 * x.norm() / x.numel() ** 0.5:
            return ("exploding scale", name)
        if id(module.weight) in seen:
            return ("shared weights", name)
        seen.add(id(module.weight))
    return ("healthy", "")


# %% right="clinic"
# Stage by stage, without hooks.
@torch.no_grad()
def diagnose(model, x):
    h, seen, verdict = x, [], ("healthy", "")
    names = {id(module): name for name, module in model.named_modules()}
    layers = [layer for stage in model for layer in (stage if isinstance(stage, nn.Sequential) else [stage])]
    for layer in layers:
        if isinstance(layer, (nn.Dropout, nn.BatchNorm1d)) and layer.training:
            return "forgotten eval", names[id(layer)]
    for layer in layers:
        h = layer(h)
        name = names[id(layer)]
        if isinstance(layer, nn.Linear):
            if (h**2).mean() > 1e4 * (x**2).mean():
                return "exploding scale", name
            if any(layer.weight is weight for weight in seen):
                return "shared weights", name
            seen.append(layer.weight)
        elif isinstance(layer, nn.ReLU) and (h.sum(0) == 0).double().mean() > 0.49:
            return "dead units", name
    return verdict


# %% equivalent="clinic" because="nothing keeps the graph of the pass, and no word is about its memory"
# - with torch.no_grad():
# + if True:


# %% equivalent="clinic" because="the rows of a Linear, a BatchNorm1d and a Dropout are never 0 before those of their ReLU are"
# - if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
# + if ((result == 0).all(0).float().mean() >= 0.5):


# %% equivalent="clinic" because="`patient` makes no derived classes"
# - if isinstance(module, nn.Linear):
# + if (type(module) is nn.Linear):


# %% equivalent="clinic" because="`patient` makes no derived classes"
# - if isinstance(module, nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:
# + if (type(module) is nn.ReLU) and (result == 0).all(0).float().mean() >= 0.5:


# %% equivalent="clinic" because="`patient` makes no derived classes"
# - if isinstance(module, (nn.Dropout, nn.BatchNorm1d)) and module.training:
# + if (type(module) in (nn.Dropout, nn.BatchNorm1d)) and module.training:


# %% equivalent="clinic" because="no result is 100 times as large to the last digit"
# - if result.square().mean().sqrt() > 100 * size:
# + if (result.square().mean().sqrt() >= 100 * size):


# %% equivalent="clinic" because="no result is between 20 and 100 times as large"
# - if result.square().mean().sqrt() > 100 * size:
# + if result.square().mean().sqrt() > 99 * size:


# %% equivalent="clinic" because="no pass through a patient raises an error"
# - try:
# - finally:
# + if True:
# + if True:
