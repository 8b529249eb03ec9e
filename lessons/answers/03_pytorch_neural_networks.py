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
        self.scale = torch.where(scale < 1e-6, torch.ones(len(scale)), scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.last(F.relu(self.first((x - self.mean) / self.scale)))


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


# %% wrong="arithmetic" breaks="size" says="of type float"
# Misunderstands: division gives the size.
def out_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return math.floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1.0


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


# %% wrong="arithmetic" breaks="no_buffers, once" says="counts once"
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


# %% wrong="residual_block" breaks="shortcut" says="your code raised"
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
        x = x if x.requires_grad else x.relu_()
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


# %% wrong="residual_block" breaks="forward" says="beside it"
# Misunderstands: the shortcut is made once for all blocks.
class ResidualBlock(nn.Module):

    made = {}

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        self.made.setdefault("stride", stride)
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x)) * (self.made["stride"] == self.conv1.stride[0])


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


# %% wrong="lstm_cell" breaks="unchanged" says="must stay as it was"
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


# %% wrong="lstm_cell" breaks="unchanged, zeros" says="alone"
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


# %% right="modes"
# x
pass


# %% right="check_layer_norm"
# x
pass


# %% right="initialise"
# x
pass


# %% right="save_and_load"
# x
pass


# %% right="clinic"
# x
pass
