# %% wrong="lora_linear" breaks="forward, delta" says="alpha itself was the scale"
# Misunderstands: alpha is the scale.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="delta" says="'delta()'"
# Misunderstands: `delta` is B A; the scale belongs to the forward pass.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.B @ self.A

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="forward" says="'output'"
# Misunderstands: the bias belongs to what is replaced.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return F.linear(x, self.base.weight) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="init_b" says="it must change nothing"
# Misunderstands: both matrices are random, as in any new layer.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_empty(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        nn.init.kaiming_uniform_(self.B, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="init_a" says="neither ever gets a gradient"
# Misunderstands: both matrices zero: safe at the start (and stuck there).
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_zeros(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="init_a" says="over 1 / sqrt(150)"
# Misunderstands: any small random numbers will do.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.normal_(self.A, std=0.02)

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="frozen" says="weight and bias, both"
# Misunderstands: what is not in the optimizer is frozen.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="frozen" says="weight and bias, both"
# Misunderstands: the weight alone is frozen.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base
        self.base.weight.requires_grad = False
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="base" says="would need its memory twice"
# Misunderstands: a module must own its parts.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = copy.deepcopy(base).requires_grad_(False)
        base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="parameters" says="not found by optimizers"
# Misunderstands: `requires_grad` makes a parameter.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = base.weight.new_empty(r, base.in_features).requires_grad_()
        self.B = base.weight.new_zeros(base.out_features, r).requires_grad_()
        with torch.no_grad():
            nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="parameters" says="not just A and B"
# Misunderstands: the scale is learnt too.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = nn.Parameter(base.weight.new_tensor(alpha / r))
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="dtype" says="take them over from the layer's weight"
# Misunderstands: parameters are float32.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + (self.scaling * (self.dropout(x.float()) @ self.A.T @ self.B.T)).to(x.dtype)


# %% wrong="lora_linear" breaks="dtype" says="the devices of A and B"
# Misunderstands: a layer is always on the CPU.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="work" says="as much work as a second full layer"
# Misunderstands: the change of the weight must be there to be applied.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + F.linear(self.dropout(x), self.delta())


# %% wrong="lora_linear" breaks="clean" says="dropout is for the adapter alone"
# Misunderstands: dropout acts on the input of the layer.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        x = self.dropout(x)
        return self.base(x) + self.scaling * (x @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="clean" says="dropout is for the adapter alone"
# Misunderstands: dropout acts on the result of the layer.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.dropout(self.base(x)) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="eval" says="dropout acts in training mode only"
# Misunderstands: `F.dropout` knows the module's mode.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (F.dropout(x, self.dropout.p) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="dropout" says="number by number"
# Misunderstands: dropout acts on the r numbers in the middle.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x @ self.A.T) @ self.B.T)


# %% wrong="lora_linear" breaks="dropout" says="number by number"
# Misunderstands: dropping is all that dropout does.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        kept = torch.rand_like(x) >= self.dropout.p if self.training else torch.ones_like(x)
        return self.base(x) + self.scaling * ((x * kept) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="dropout" says="the share of rows that lose"
# Misunderstands: a row is dropped as a whole.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        kept = torch.rand_like(x[..., :1]) >= self.dropout.p if self.training else 1.0
        low = x * kept / (1 - self.dropout.p * self.training)
        return self.base(x) + self.scaling * (low.to(x.dtype) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="dropout" says="'output'"
# Misunderstands: the default of `nn.Dropout` will do.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout()
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="gradients" says="gradient of x"
# Misunderstands: x is given, so it needs no gradient (the layer below does).
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x.detach()) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="gradients" says="gradient of x"
# Misunderstands: frozen means without a graph.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        with torch.no_grad():
            y = self.base(x)
        return y + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="work" says="as much work as a second full layer"
# Misunderstands: in eval mode the change may be added to the weight in every call: then a pass over few rows works out
# the full (out, in) product.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        if not self.training:  # nothing is dropped: one layer does
            return F.linear(x, self.base.weight + self.delta(), self.base.bias)
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="unchanged" says="it must stay as it was"
# Misunderstands: dropout may save memory by working in place.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        y = self.base(x)
        return y + self.scaling * (F.dropout(x, self.dropout.p, self.training, inplace=not x.requires_grad) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="forward" says="your code raised"
# Misunderstands: x has two axes.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return torch.addmm(self.base(x), self.dropout(x) @ self.A.T, self.B.T, alpha=self.scaling)


# %% wrong="lora_linear" breaks="init_a" says="it is drawn anew for each"
# Misunderstands: every layer seeds the generator itself so that runs can be repeated: all layers of a shape start with
# the same A, whatever seed was set.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        torch.manual_seed(0)
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="forward" says="your code raised"
# Misunderstands: what comes is one row, rows, or a batch of sequences: more axes do not occur.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        way = {1: "i,ri,or->o", 2: "bi,ri,or->bo", 3: "bti,ri,or->bto"}[x.ndim]
        first, second = way.split("->")[0].split(",")[0], way.split("->")[1]
        low = torch.einsum(f"{first},ri->{first[:-1]}r", self.dropout(x), self.A)
        return self.base(x) + self.scaling * torch.einsum(f"{first[:-1]}r,or->{second}", low, self.B)


# %% wrong="lora_linear" breaks="init_a" says="after the same torch.manual_seed"
# Misunderstands: any random numbers will do: a generator of its own draws A, and no seed repeats the run.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        own = torch.Generator()
        own.seed()
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5), generator=own)

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="delta" says="as they are now"
# Misunderstands: the change is worked out once (A and B change at every update).
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.change = None

    def delta(self):
        if self.change is None:
            self.change = self.scaling * (self.B @ self.A)
        return self.change

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="gradients" says="in both modes gradients reach"
# Misunderstands: in eval mode nobody wants a gradient.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="forward" says="your code raised"
# Misunderstands: random numbers are drawn on the CPU, wherever x is.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        read = x
        if self.training:
            read = x * (torch.rand(x.shape) >= self.dropout.p).to(x.dtype) / (1 - self.dropout.p)
        return self.base(x) + self.scaling * (read @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="gradients" says="gradient of x"
# Misunderstands: dropout cuts the frozen layer from the gradient too.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        frozen = self.base(x.detach() if self.training and self.dropout.p > 0 else x)
        return frozen + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="work" says="as much work as a second full layer"
# Misunderstands: in eval mode merging the change first is free as soon as there is more than one row (at 2 rows it is twice the work).
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        one_row = x.numel() <= self.base.in_features
        if self.training or one_row:
            return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)
        return F.linear(x, self.base.weight + self.delta(), self.base.bias)


# %% wrong="lora_linear" breaks="copy" says="once a layer was copied"
# Misunderstands: a closure over the matrices made in __init__ follows the layer: a copied layer (copy.deepcopy) goes on reading the old one's A and B, not what is in its own now.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(A, a=math.sqrt(5))
        self.A, self.B = A, B
        self.change = lambda: (alpha / r) * (B @ A)
        self.adapter = lambda x: (alpha / r) * (x @ A.T @ B.T)

    def delta(self):
        return self.change()

    def forward(self, x):
        return self.base(x) + self.adapter(self.dropout(x))


# %% wrong="lora_linear" breaks="gradients" says="in training mode with dropout"
# Misunderstands: one mask buffer can be refilled at each call: the gradient of an earlier call is then taken with the mask of a later one.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling, self.p = alpha / r, dropout
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.mask = None

    def dropped(self, x):
        if not self.training or not self.p:
            return x
        if self.mask is None or self.mask.shape != x.shape or self.mask.dtype != x.dtype:
            self.mask = torch.empty_like(x, requires_grad=False)
        self.mask.data.bernoulli_(1 - self.p).div_(1 - self.p)  # no new memory for every call
        return x * self.mask

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.base(x) + self.scaling * (self.dropped(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="dropout" says="have few digits"
# Misunderstands: random numbers drawn in bfloat16 are fine enough: they have 256 steps, so a dropout of 0.001 drops four times too much, and 0.999 all.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling, self.p = alpha / r, dropout
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        read = x
        if self.training:
            read = x * (torch.rand_like(x) >= self.p) / (1 - self.p)
        return self.base(x) + self.scaling * (read @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="copy" says="once a layer was copied"
# Misunderstands: a bound method kept in the layer follows a copy of it.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        frozen = base.forward
        self.frozen = lambda x: frozen(x)

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        return self.frozen(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="eval" says="while gradients are recorded"
# Misunderstands: dropout is for training, and it is training whenever gradients are recorded: so it drops in eval mode too unless no_grad is on.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.p = dropout
        self.scaling = alpha / r
        self.A = nn.Parameter(base.weight.detach().new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.detach().new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        """The change of the weight that A and B describe, (out, in)."""
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        """x: (..., in); returns (..., out)."""
        learning = self.training or torch.is_grad_enabled()
        read = F.dropout(x, self.p, training=learning)
        return self.base(x) + self.scaling * (read @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="parameters" says="came frozen are not just A and B"
# Misunderstands: an adapter is trainable where its layer was: beside a layer that comes frozen, A and B are frozen too.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        weight, wanted = base.weight, base.weight.requires_grad
        self.A = nn.Parameter(weight.detach().new_empty(r, base.in_features), requires_grad=wanted)
        self.B = nn.Parameter(weight.detach().new_zeros(base.out_features, r), requires_grad=wanted)
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.base = base.requires_grad_(False)
        self.p = dropout
        self.scaling = alpha / r

    def delta(self):
        """The change of the weight that A and B describe, (out, in)."""
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        """x: (..., in); returns (..., out)."""
        read = F.dropout(x, self.p, training=self.training)
        return self.base(x) + self.scaling * (read @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="dropout" says="that drop nothing"
# Misunderstands: dropout 0.1 means that a tenth of the numbers of x is zero in every call, not that each has that chance for itself: of four numbers none is ever dropped.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.p = dropout
        self.scaling = alpha / r
        self.A = nn.Parameter(base.weight.detach().new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.detach().new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        """The change of the weight that A and B describe, (out, in)."""
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        """x: (..., in); returns (..., out)."""
        read = x
        if self.training and self.p > 0:
            count = round(self.p * x.numel())
            place = torch.rand(x.numel(), device=x.device, dtype=torch.float64).argsort().argsort()
            kept = (place >= count).reshape(x.shape)
            read = torch.where(kept, x / (1 - self.p), torch.zeros_like(x))
        return self.base(x) + self.scaling * (read @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="dropout" says="that drop nothing"
# Misunderstands: an x without rows axis needs no batch: for one row alone one chance decides about all its numbers.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling, self.p = alpha / r, dropout
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        read = F.dropout(x, self.p, self.training) if x.ndim > 1 else x * F.dropout(torch.ones_like(x[:1]), self.p, self.training)
        return self.base(x) + self.scaling * (read @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="dropout" says="number by number"
# Misunderstands: without gradients nothing is learned, so nothing needs to be dropped: under no_grad training mode is eval mode.
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling, self.p = alpha / r, dropout
        self.A = nn.Parameter(base.weight.new_empty(r, base.in_features))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def delta(self):
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        read = F.dropout(x, self.p, self.training and torch.is_grad_enabled())
        return self.base(x) + self.scaling * (read @ self.A.T @ self.B.T)


# %% wrong="lora_linear" breaks="delta" says="delta() in training mode"
# Misunderstands: delta() is what the adapter makes of the identity matrix, with its dropout.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.A = nn.Parameter(torch.empty(r, base.in_features, **like))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, **like))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.scaling = alpha / r
        self.dropout = nn.Dropout(dropout)

    def adapter(self, x):
        return self.scaling * F.linear(F.linear(self.dropout(x), self.A), self.B)

    def delta(self):
        """The change of the weight that A and B describe, (out, in)."""
        eye = torch.eye(self.base.in_features, dtype=self.A.dtype, device=self.A.device)
        return self.adapter(eye).T

    def forward(self, x):
        """x: (..., in); returns (..., out)."""
        return self.base(x) + self.adapter(x)


# %% wrong="lora_linear" breaks="dropout" says="in every entry along axis 0"
# Misunderstands: a batch is (rows, length, in): the mask has these three axes, and further leading ones share it.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.A = nn.Parameter(torch.empty(r, base.in_features, **like))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, **like))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.scaling, self.p = alpha / r, dropout

    def delta(self):
        """The change of the weight that A and B describe, (out, in)."""
        return self.scaling * (self.B @ self.A)

    def forward(self, x):
        """x: (..., in); returns (..., out)."""
        read = x
        if self.training and self.p > 0:
            keep = torch.rand(x.shape[-3:], device=x.device) >= self.p  # (rows, length, in)
            read = torch.where(keep, x / (1 - self.p), torch.zeros_like(x))
        return self.base(x) + self.scaling * F.linear(F.linear(read, self.A), self.B)


# %% wrong="lora_linear" breaks="work" says="times the multiplications"
# Misunderstands: the thin way through r numbers holds without dropout alone; with it the whole change must be applied.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.dropout, self.scaling = dropout, alpha / r
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype, device=base.weight.device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype, device=base.weight.device))

    def delta(self):
        """The change of the weight that A and B describe, (out, in)."""
        return self.scaling * self.B @ self.A

    def forward(self, x):
        """x: (..., in); returns (..., out)."""
        y = self.base(x)
        if self.training and self.dropout > 0:
            return y + F.linear(F.dropout(x, self.dropout), self.delta())
        return y + self.scaling * F.linear(F.linear(x, self.A), self.B)


# %% wrong="lora_linear" breaks="work" says="times the multiplications"
# Misunderstands: the thin way saves gradients, so that without them the whole change can be applied.
class LoRALinear(nn.Module):
    """A frozen linear layer and a trainable change of rank r beside it."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.dropout, self.scaling = dropout, alpha / r
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype, device=base.weight.device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype, device=base.weight.device))

    def delta(self):
        """The change of the weight that A and B describe, (out, in)."""
        return self.scaling * self.B @ self.A

    def forward(self, x):
        """x: (..., in); returns (..., out)."""
        y = self.base(x)
        x = F.dropout(x, self.dropout, self.training)
        if not torch.is_grad_enabled():
            return y + F.linear(x, self.delta())
        return y + self.scaling * F.linear(F.linear(x, self.A), self.B)


# %% right="lora_linear"
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base = base
        for p in base.parameters():
            p.requires_grad = False
        self.alpha, self.r, self.p = alpha, r, dropout
        like = dict(dtype=base.weight.dtype, device=base.weight.device)
        self.A = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(r, base.weight.shape[1], **like), a=5**0.5))
        self.B = nn.Parameter(torch.zeros(base.weight.shape[0], r, **like))

    def delta(self):
        return torch.einsum("or,ri->oi", self.B, self.A) * self.alpha / self.r

    def forward(self, x):
        low = F.linear(F.dropout(x, self.p, self.training), self.A)
        return self.base(x) + F.linear(low, self.B) * (self.alpha / self.r)


# %% right="lora_linear"
class LoRALinear(nn.Module):  # two linear layers inside, the scale in a buffer, the base by hand
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        n_out, n_in = base.weight.shape
        self.add_module("base", base)
        base.weight.requires_grad_(False)
        if base.bias is not None:
            base.bias.requires_grad_(False)
        options = dict(bias=False, dtype=base.weight.dtype, device=base.weight.device)
        self.down, self.up = nn.Linear(n_in, r, **options), nn.Linear(r, n_out, **options)
        nn.init.zeros_(self.up.weight)
        self.register_buffer("scale", torch.tensor(alpha / r, dtype=base.weight.dtype, device=base.weight.device))
        self.drop = nn.Dropout(dropout) if dropout > 0 else nn.Identity()

    @property
    def A(self):
        return self.down.weight

    @property
    def B(self):
        return self.up.weight

    def delta(self):
        return self.up.weight.mul(self.scale).matmul(self.down.weight)

    def forward(self, x):
        return F.linear(x, self.base.weight, self.base.bias) + self.up(self.down(self.drop(x)) * self.scale)


# %% wrong="check_lora" breaks="start, parameters, formula, dropout, gradients" says="still unseen"
# Misunderstands: the fresh layer shows everything (its B is zero, so it hides most).
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(40, 6)
    layer = make_lora(base, 3, 12, 0.5).eval()
    torch.testing.assert_close(layer(x), base(x))
    assert not base.weight.requires_grad and not base.bias.requires_grad


# %% wrong="check_lora" breaks="formula" says="scales by alpha"
# Misunderstands: any numbers will do (with alpha = r every scale looks right).
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(2, 20, 6)
    layer = make_lora(base, 1, 1, 0.5)
    assert layer.base is base and sorted(n for n, p in layer.named_parameters() if p.requires_grad) == ["A", "B"]
    assert layer.A.any() and not layer.B.any()
    torch.testing.assert_close(layer.train()(x), base(x))
    nn.init.normal_(layer.A)
    nn.init.normal_(layer.B)
    assert not torch.equal(layer(x), layer(x))
    torch.testing.assert_close(layer.eval()(x), base(x) + x @ layer.A.T @ layer.B.T)
    layer(x).sum().backward()
    assert layer.A.grad.any() and layer.B.grad.any()


# %% wrong="check_lora" breaks="gradients, axes" says="A no gradient"
# Misunderstands: `requires_grad` means that a gradient arrives; and one shape of x stands for all.
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(40, 6)
    layer = make_lora(base, 3, 12, 0.5)
    assert layer.base is base and sorted(n for n, p in layer.named_parameters() if p.requires_grad) == ["A", "B"]
    assert layer.A.any() and not layer.B.any()
    torch.testing.assert_close(layer.train()(x), base(x))
    nn.init.normal_(layer.B)
    assert not torch.equal(layer(x), layer(x))
    torch.testing.assert_close(layer.eval()(x), base(x) + 4 * x @ layer.A.T @ layer.B.T)


# %% wrong="check_lora" breaks="clean" says="drops the"
# Misunderstands: the fresh layer is looked at in eval mode only, where dropout is not seen.
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(2, 20, 6)
    layer = make_lora(base, 3, 12, 0.5)
    assert layer.base is base and sorted(n for n, p in layer.named_parameters() if p.requires_grad) == ["A", "B"]
    assert layer.A.any() and not layer.B.any()
    nn.init.normal_(layer.B)
    assert not torch.equal(layer(x), layer(x))
    torch.testing.assert_close(layer.eval()(x), base(x) + 4 * x @ layer.A.T @ layer.B.T)
    layer(x).sum().backward()
    assert layer.A.grad.any() and layer.B.grad.any()


# %% wrong="check_lora" breaks="dropout" says="has no dropout"
# Misunderstands: with dropout 0 there is one thing less to think of.
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(2, 20, 6)
    layer = make_lora(base, 3, 12, 0.0)
    assert layer.base is base and sorted(n for n, p in layer.named_parameters() if p.requires_grad) == ["A", "B"]
    assert layer.A.any() and not layer.B.any()
    nn.init.normal_(layer.B)
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode)(x), base(x) + 4 * x @ layer.A.T @ layer.B.T)
    layer(x).sum().backward()
    assert layer.A.grad.any() and layer.B.grad.any()


# %% wrong="check_lora" breaks="base" says="copies the frozen layer"
# Misunderstands: what has equal numbers is the same layer.
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(2, 20, 6)
    layer = make_lora(base, 3, 12, 0.5)
    assert torch.equal(layer.base.weight, base.weight)
    assert sorted(n for n, p in layer.named_parameters() if p.requires_grad) == ["A", "B"]
    assert layer.A.any() and not layer.B.any()
    torch.testing.assert_close(layer.train()(x), base(x))
    nn.init.normal_(layer.B)
    assert not torch.equal(layer(x), layer(x))
    torch.testing.assert_close(layer.eval()(x), base(x) + 4 * x @ layer.A.T @ layer.B.T)
    layer(x).sum().backward()
    assert layer.A.grad.any() and layer.B.grad.any()


# %% wrong="check_lora" breaks="parameters" says="trains the"
# Misunderstands: A and B are trained, so all is well (who else is trained is not asked).
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(2, 20, 6)
    layer = make_lora(base, 3, 12, 0.5)
    assert layer.base is base and layer.A.requires_grad and layer.B.requires_grad
    assert layer.A.any() and not layer.B.any()
    torch.testing.assert_close(layer.train()(x), base(x))
    nn.init.normal_(layer.B)
    assert not torch.equal(layer(x), layer(x))
    torch.testing.assert_close(layer.eval()(x), base(x) + 4 * x @ layer.A.T @ layer.B.T)
    layer(x).sum().backward()
    assert layer.A.grad.any() and layer.B.grad.any()


# %% wrong="check_lora" breaks="no_false_alarm" says="correct implementation"
# Misunderstands: A is drawn in one particular way.
def check_lora(make_lora):
    torch.manual_seed(0)
    layer = make_lora(nn.Linear(6, 4), 3, 12, 0.0)
    torch.manual_seed(0)
    assert torch.equal(layer.A, lora_with()(nn.Linear(6, 4), 3, 12, 0.0).A)


# %% wrong="check_lora" breaks="no_false_alarm" says="A with zeros in it"
# Misunderstands: "not zero" means that no number is.
def check_lora(make_lora):
    base = nn.Linear(6, 4)
    layer = make_lora(base, 3, 12, 0.5)
    assert layer.base is base and (layer.A != 0).all() and (layer.B == 0).all()


# %% wrong="check_lora" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: floating-point results can be compared with `torch.equal`.
def check_lora(make_lora):
    base, x = nn.Linear(60, 40), torch.randn(40, 60)
    layer = make_lora(base, 3, 12, 0.5).eval()
    nn.init.normal_(layer.B)
    assert torch.equal(layer(x), base(x) + 12 / 3 * (x @ layer.A.T @ layer.B.T))


# %% wrong="check_lora" breaks="raises" says="reject with `assert`"
# Misunderstands: a test reports by what it returns.
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(40, 6)
    layer = make_lora(base, 3, 12, 0.5).eval()
    return torch.allclose(layer(x), base(x)) and not base.weight.requires_grad


# %% wrong="check_lora" breaks="formula, start, base" says="catch none"
# Misunderstands: what runs and has the right shape is right.
def check_lora(make_lora):
    layer = make_lora(nn.Linear(6, 4), 3, 12, 0.5)
    assert layer(torch.randn(2, 6)).shape == (2, 4)


# %% wrong="check_lora" breaks="dropout" says="drops in the middle"
# Misunderstands: that two calls in training mode differ is all there is to know about dropout: where it acts is not
# looked at.
def check_lora(make_lora):
    """Raise for an implementation of make_lora(base, r, alpha, dropout) that breaks a promise; else return."""
    for i, o, r, alpha, bias in ((6, 4, 3, 12, True), (4, 6, 1, 0.5, False), (5, 5, 8, 2, True), (3, 2, 2, 5.0, False)):
        for dropout in (0.0, 0.5):
            base = nn.Linear(i, o, bias=bias)
            layer = make_lora(base, r, alpha, dropout)
            assert layer.base is base
            assert not any(p.requires_grad for p in base.parameters())
            assert isinstance(layer.A, nn.Parameter) and isinstance(layer.B, nn.Parameter)
            assert layer.A.shape == (r, i) and layer.B.shape == (o, r)
            assert {id(p) for p in layer.parameters() if p.requires_grad} == {id(layer.A), id(layer.B)}
            assert not layer.B.any() and layer.A.any()
            shapes = [(i,), (1, i), (7, i), (2, 3, i), (2, 1, 3, i), (0, i)]
            for mode in (True, False):
                layer.train(mode)
                for shape in shapes:
                    x = torch.randn(shape)
                    torch.testing.assert_close(layer(x), base(x))
            nn.init.normal_(layer.A)
            nn.init.normal_(layer.B)

            def compare_gradients(layer, x):
                y = layer(x)
                push = torch.randn(y.shape)
                own_a, own_b = layer.A.detach().clone().requires_grad_(), layer.B.detach().clone().requires_grad_()
                own = base(x) + alpha / r * (x @ own_a.T @ own_b.T)
                got = torch.autograd.grad(y, [layer.A, layer.B], push)
                for one, other in zip(got, torch.autograd.grad(own, [own_a, own_b], push)):
                    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)

            for mode in (False, True) if dropout == 0 else (False,):
                layer.train(mode)
                for shape in shapes:
                    x = torch.randn(shape)
                    y = layer(x)
                    assert y.shape == (*shape[:-1], o)
                    torch.testing.assert_close(y, base(x) + alpha / r * (x @ layer.A.T @ layer.B.T), rtol=1e-4, atol=1e-4)
                compare_gradients(layer, torch.randn(6, i))

    base = nn.Linear(20, 4)
    layer = make_lora(base, 4, 8, 0.5).train()
    nn.init.normal_(layer.B)
    x = torch.randn(50, 20)
    assert not torch.allclose(layer(x), layer(x))


# %% wrong="check_lora" breaks="axes" says="makes two axes of one row alone"
# Misunderstands: x always comes as rows or as a batch of sequences: one row alone is not tried.
def check_lora(make_lora):
    """Raise for an implementation of make_lora(base, r, alpha, dropout) that breaks a promise; else return."""
    for i, o, r, alpha, bias in ((6, 4, 3, 12, True), (4, 6, 1, 0.5, False), (5, 5, 8, 2, True), (3, 2, 2, 5.0, False)):
        for dropout in (0.0, 0.5):
            base = nn.Linear(i, o, bias=bias)
            layer = make_lora(base, r, alpha, dropout)
            assert layer.base is base
            assert not any(p.requires_grad for p in base.parameters())
            assert isinstance(layer.A, nn.Parameter) and isinstance(layer.B, nn.Parameter)
            assert layer.A.shape == (r, i) and layer.B.shape == (o, r)
            assert {id(p) for p in layer.parameters() if p.requires_grad} == {id(layer.A), id(layer.B)}
            assert not layer.B.any() and layer.A.any()
            shapes = [(7, i), (2, 3, i)]
            for mode in (True, False):
                layer.train(mode)
                for shape in shapes:
                    x = torch.randn(shape)
                    torch.testing.assert_close(layer(x), base(x))
            nn.init.normal_(layer.A)
            nn.init.normal_(layer.B)

            def compare_gradients(layer, x):
                y = layer(x)
                push = torch.randn(y.shape)
                own_a, own_b = layer.A.detach().clone().requires_grad_(), layer.B.detach().clone().requires_grad_()
                own = base(x) + alpha / r * (x @ own_a.T @ own_b.T)
                got = torch.autograd.grad(y, [layer.A, layer.B], push)
                for one, other in zip(got, torch.autograd.grad(own, [own_a, own_b], push)):
                    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)

            for mode in (False, True) if dropout == 0 else (False,):
                layer.train(mode)
                for shape in shapes:
                    x = torch.randn(shape)
                    y = layer(x)
                    assert y.shape == (*shape[:-1], o)
                    torch.testing.assert_close(y, base(x) + alpha / r * (x @ layer.A.T @ layer.B.T), rtol=1e-4, atol=1e-4)
                compare_gradients(layer, torch.randn(6, i))

    # where dropout acts: with A and B this way the adapter adds twice what it reads
    H = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    for p in (0.5, 0.2):
        base = nn.Linear(4, 4)
        layer = make_lora(base, 4, 8, p).train()
        with torch.no_grad():
            layer.A.copy_(H)
            layer.B.copy_(H)
        x = torch.rand(4, 500, 4) + 1
        factor = ((layer(x) - base(x)) / 2 / x).detach()
        kept = factor > 0.5 / (1 - p)
        torch.testing.assert_close(factor, kept / (1 - p), rtol=1e-3, atol=1e-3)
        assert abs((~kept).float().mean() - p) < 6 * (p * (1 - p) / 8000) ** 0.5
        assert not torch.equal(kept[0], kept[1]) and not torch.equal(kept[..., 0], kept[..., 1])
        again = ((layer(x) - base(x)) / 2 / x).detach() > 0.5 / (1 - p)
        assert not torch.equal(kept, again)
        y = layer(x)
        dropped = (((y - base(x)) / 2 / x).detach() > 0.5 / (1 - p)) * x / (1 - p)
        push = torch.randn(y.shape) / 50
        a, b = H.clone().requires_grad_(), H.clone().requires_grad_()
        own = 2 * (dropped @ a.T @ b.T)
        got = torch.autograd.grad(y, [layer.A, layer.B], push)
        for one, other in zip(got, torch.autograd.grad(own, [a, b], push)):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


# %% wrong="check_lora" breaks="parameters" says="makes r + 1 rows"
# Misunderstands: A and B fit each other, so they have the right shapes.
def check_lora(make_lora):
    linear = nn.Linear(5, 7)
    old, inputs = copy.deepcopy(linear), torch.randn(9, 5)
    lora = make_lora(linear, 2, 7, 0.25)
    if lora.base is not linear or any(p.requires_grad for p in linear.parameters()):
        raise ValueError("base")
    if sorted(n for n, p in lora.named_parameters() if p.requires_grad) != ["A", "B"]:
        raise ValueError("parameters")
    assert float(lora.B.abs().max()) == 0 and float(lora.A.abs().max()) > 0
    for mode in (True, False):
        assert torch.allclose(lora.train(mode)(inputs), old(inputs), atol=1e-5)
    assert lora(inputs[0]).shape == (7,) and lora(inputs[None]).shape == (1, 9, 7)
    with torch.no_grad():
        lora.A.normal_()
        lora.B.normal_()
    lora.eval()
    assert torch.allclose(lora(inputs), old(inputs) + 3.5 * (inputs @ (lora.B @ lora.A).T), atol=1e-4)
    formula = old(inputs) + 3.5 * (inputs @ (lora.B @ lora.A).T)
    for matrix in (lora.A, lora.B):
        found, wanted = (torch.autograd.grad(y.sum(), matrix, retain_graph=True)[0] for y in (lora(inputs), formula))
        assert torch.allclose(found, wanted, atol=1e-3)
    lora.train()
    outputs = torch.stack([lora(inputs) for _ in range(5)])
    assert outputs.std(0).max() > 1e-3
    assert lora(inputs[None, None]).shape == (1, 1, 9, 7)
    for column in (1, 4):  # a single number goes in: it is dropped, or it comes out larger
        alone = torch.zeros(3000, 5)
        alone[:, column] = 1
        change, whole = lora(alone) - old(alone), 3.5 * (lora.B @ lora.A)[:, column] / 0.75
        dropped = change.abs().amax(1) < 1e-4
        assert torch.allclose(change, whole * ~dropped[:, None], atol=1e-3)
        assert abs(dropped.float().mean() - 0.25) < 0.05
    alone[:, 1] = 1  # two of them: sometimes one is dropped and the other is not
    change = lora(alone) - old(alone)
    assert ((change - 3.5 * (lora.B @ lora.A)[:, 1] / 0.75).abs().amax(1) < 1e-3).any()


# %% wrong="check_lora" breaks="parameters" says="trains a scale beside"
# Misunderstands: A and B are trained and the frozen layer is not, so nothing else is.
def check_lora(make_lora):
    linear = nn.Linear(5, 7)
    old, inputs = copy.deepcopy(linear), torch.randn(9, 5)
    lora = make_lora(linear, 2, 7, 0.25)
    if lora.base is not linear or any(p.requires_grad for p in linear.parameters()):
        raise ValueError("base")
    if not all(isinstance(p, nn.Parameter) and p.requires_grad for p in (lora.A, lora.B)):
        raise ValueError("parameters")
    assert lora.A.shape == (2, 5) and lora.B.shape == (7, 2)
    assert float(lora.B.abs().max()) == 0 and float(lora.A.abs().max()) > 0
    for mode in (True, False):
        assert torch.allclose(lora.train(mode)(inputs), old(inputs), atol=1e-5)
    assert lora(inputs[0]).shape == (7,) and lora(inputs[None]).shape == (1, 9, 7)
    lora.A.data, lora.B.data = torch.randn(2, 5), torch.randn(7, 2)
    lora.eval()
    assert torch.allclose(lora(inputs), old(inputs) + 3.5 * (inputs @ (lora.B @ lora.A).T), atol=1e-4)
    lora(inputs).sum().backward()
    assert torch.allclose(lora.B.grad, 3.5 * (inputs @ lora.A.T).sum(0).expand(7, 2), atol=1e-3)
    assert torch.allclose(lora.A.grad, 3.5 * torch.outer(lora.B.sum(0), inputs.sum(0)), atol=1e-3)
    sure = make_lora(nn.Linear(5, 7), 2, 7, 0.0)
    sure.B.data = torch.randn(7, 2)
    sure(inputs).sum().backward()
    assert torch.allclose(sure.B.grad, 3.5 * (inputs @ sure.A.T).sum(0).expand(7, 2), atol=1e-3)
    assert torch.allclose(sure.A.grad, 3.5 * torch.outer(sure.B.sum(0), inputs.sum(0)), atol=1e-3)
    lora.train()
    outputs = torch.stack([lora(inputs) for _ in range(5)])
    assert outputs.std(0).max() > 1e-3
    assert lora(inputs[None, None]).shape == (1, 1, 9, 7)
    for column in (1, 4):  # a single number goes in: it is dropped, or it comes out larger
        alone = torch.zeros(3000, 5)
        alone[:, column] = 1
        change, whole = lora(alone) - old(alone), 3.5 * (lora.B @ lora.A)[:, column] / 0.75
        dropped = change.abs().amax(1) < 1e-4
        assert torch.allclose(change, whole * ~dropped[:, None], atol=1e-3)
        assert abs(dropped.float().mean() - 0.25) < 0.05
    alone[:, 1] = 1  # two of them: sometimes one is dropped and the other is not
    change = lora(alone) - old(alone)
    assert ((change - 3.5 * (lora.B @ lora.A)[:, 1] / 0.75).abs().amax(1) < 1e-3).any()


# %% wrong="check_lora" breaks="dropout" says="keeps with probability dropout"
# Misunderstands: what is not 0 is divided by the right number, so as many are dropped as should be.
def check_lora(make_lora):
    linear = nn.Linear(5, 7)
    old, inputs = copy.deepcopy(linear), torch.randn(9, 5)
    lora = make_lora(linear, 2, 7, 0.25)
    if lora.base is not linear or any(p.requires_grad for p in linear.parameters()):
        raise ValueError("base")
    if sorted(n for n, p in lora.named_parameters() if p.requires_grad) != ["A", "B"]:
        raise ValueError("parameters")
    assert lora.A.shape == (2, 5) and lora.B.shape == (7, 2)
    assert float(lora.B.abs().max()) == 0 and float(lora.A.abs().max()) > 0
    for mode in (True, False):
        assert torch.allclose(lora.train(mode)(inputs), old(inputs), atol=1e-5)
    assert lora(inputs[0]).shape == (7,) and lora(inputs[None]).shape == (1, 9, 7)
    lora.A.data, lora.B.data = torch.randn(2, 5), torch.randn(7, 2)
    lora.eval()
    assert torch.allclose(lora(inputs), old(inputs) + 3.5 * (inputs @ (lora.B @ lora.A).T), atol=1e-4)
    lora(inputs).sum().backward()
    assert torch.allclose(lora.B.grad, 3.5 * (inputs @ lora.A.T).sum(0).expand(7, 2), atol=1e-3)
    assert torch.allclose(lora.A.grad, 3.5 * torch.outer(lora.B.sum(0), inputs.sum(0)), atol=1e-3)
    sure = make_lora(nn.Linear(5, 7), 2, 7, 0.0)
    sure.B.data = torch.randn(7, 2)
    sure(inputs).sum().backward()
    assert torch.allclose(sure.B.grad, 3.5 * (inputs @ sure.A.T).sum(0).expand(7, 2), atol=1e-3)
    assert torch.allclose(sure.A.grad, 3.5 * torch.outer(sure.B.sum(0), inputs.sum(0)), atol=1e-3)
    lora.train()
    outputs = torch.stack([lora(inputs) for _ in range(5)])
    assert outputs.std(0).max() > 1e-3
    assert lora(inputs[None, None]).shape == (1, 1, 9, 7)
    for column in (1, 4):  # a single number goes in: it is dropped, or it comes out larger
        alone = torch.zeros(3000, 5)
        alone[:, column] = 1
        change, whole = lora(alone) - old(alone), 3.5 * (lora.B @ lora.A)[:, column] / 0.75
        dropped = change.abs().amax(1) < 1e-4
        assert torch.allclose(change, whole * ~dropped[:, None], atol=1e-3)
    alone[:, 1] = 1  # two of them: sometimes one is dropped and the other is not
    change = lora(alone) - old(alone)
    assert ((change - 3.5 * (lora.B @ lora.A)[:, 1] / 0.75).abs().amax(1) < 1e-3).any()


# %% wrong="check_lora" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: a seed repeats what is dropped.
def check_lora(make_lora):
    linear = nn.Linear(5, 7)
    old, inputs = copy.deepcopy(linear), torch.randn(9, 5)
    lora = make_lora(linear, 2, 7, 0.25)
    if lora.base is not linear or any(p.requires_grad for p in linear.parameters()):
        raise ValueError("base")
    if sorted(n for n, p in lora.named_parameters() if p.requires_grad) != ["A", "B"]:
        raise ValueError("parameters")
    assert lora.A.shape == (2, 5) and lora.B.shape == (7, 2)
    assert float(lora.B.abs().max()) == 0 and float(lora.A.abs().max()) > 0
    for mode in (True, False):
        assert torch.allclose(lora.train(mode)(inputs), old(inputs), atol=1e-5)
    assert lora(inputs[0]).shape == (7,) and lora(inputs[None]).shape == (1, 9, 7)
    lora.A.data, lora.B.data = torch.randn(2, 5), torch.randn(7, 2)
    lora.eval()
    assert torch.allclose(lora(inputs), old(inputs) + 3.5 * (inputs @ (lora.B @ lora.A).T), atol=1e-4)
    lora(inputs).sum().backward()
    assert torch.allclose(lora.B.grad, 3.5 * (inputs @ lora.A.T).sum(0).expand(7, 2), atol=1e-3)
    assert torch.allclose(lora.A.grad, 3.5 * torch.outer(lora.B.sum(0), inputs.sum(0)), atol=1e-3)
    sure = make_lora(nn.Linear(5, 7), 2, 7, 0.0)
    sure.B.data = torch.randn(7, 2)
    sure(inputs).sum().backward()
    assert torch.allclose(sure.B.grad, 3.5 * (inputs @ sure.A.T).sum(0).expand(7, 2), atol=1e-3)
    assert torch.allclose(sure.A.grad, 3.5 * torch.outer(sure.B.sum(0), inputs.sum(0)), atol=1e-3)
    lora.train()
    outputs = torch.stack([lora(inputs) for _ in range(5)])
    assert outputs.std(0).max() > 1e-3
    assert lora(inputs[None, None]).shape == (1, 1, 9, 7)
    torch.manual_seed(1)
    one = lora(inputs)
    torch.manual_seed(1)
    assert torch.equal(one, lora(inputs))
    for column in (1, 4):  # a single number goes in: it is dropped, or it comes out larger
        alone = torch.zeros(3000, 5)
        alone[:, column] = 1
        change, whole = lora(alone) - old(alone), 3.5 * (lora.B @ lora.A)[:, column] / 0.75
        dropped = change.abs().amax(1) < 1e-4
        assert torch.allclose(change, whole * ~dropped[:, None], atol=1e-3)
        assert abs(dropped.float().mean() - 0.25) < 0.05
    alone[:, 1] = 1  # two of them: sometimes one is dropped and the other is not
    change = lora(alone) - old(alone)
    assert ((change - 3.5 * (lora.B @ lora.A)[:, 1] / 0.75).abs().amax(1) < 1e-3).any()


# %% wrong="check_lora" breaks="dropout" says="drops with probability 1 - dropout"
# Misunderstands: one dropout of 0.5 shows all (who confuses it with 1 - dropout looks right there).
def check_lora(make_lora):
    close = torch.testing.assert_close
    for inputs, outputs, r, alpha, dropout, bias in ((6, 4, 3, 12, 0.5, True), (5, 7, 1, 3, 0.25, False), (3, 2, 8, 2.5, 0.1, True), (4, 5, 2, 1, 0.0, True)):
        base = nn.Linear(inputs, outputs, bias=bias)
        layer = make_lora(base, r, alpha, dropout)
        assert layer.base is base
        assert isinstance(layer.A, nn.Parameter) and isinstance(layer.B, nn.Parameter)
        assert layer.A.shape == (r, inputs) and layer.B.shape == (outputs, r)
        assert {id(p) for p in layer.parameters() if p.requires_grad} == {id(layer.A), id(layer.B)}
        assert not any(p.requires_grad for p in base.parameters())
        assert not layer.B.any()
        assert layer.A.any()
        x = torch.randn(5, 8, inputs)
        plain = F.linear(x, base.weight, base.bias)
        for mode in (True, False):
            close(layer.train(mode)(x), plain)
        with torch.no_grad():
            layer.A.normal_()
            layer.B.normal_()
        for shape in ((5,), (), (2, 3), (2, 1, 3), (1,)):
            x = torch.randn(*shape, inputs)
            goal = F.linear(x, base.weight, base.bias) + alpha / r * (x @ layer.A.T @ layer.B.T)
            assert layer.train()(x).shape == (*shape, outputs)
            for mode in (False,) if dropout else (False, True):
                layer.train(mode)
                for _ in range(2):
                    y = layer(x)
                    assert y.shape == goal.shape
                    close(y, goal, rtol=1e-4, atol=1e-4)
                push = torch.randn(goal.shape)
                assert y.requires_grad
                seen = torch.autograd.grad(y, [layer.A, layer.B], push)
                wanted = torch.autograd.grad(goal, [layer.A, layer.B], push, retain_graph=True)
                for one, other in zip(seen, wanted):
                    close(one, other, rtol=1e-3, atol=1e-3)

    H = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    for dropout in (0.5,):
        base = nn.Linear(4, 4)
        layer = make_lora(base, 4, 8, dropout).train()
        with torch.no_grad():
            layer.A.copy_(H)
            layer.B.copy_(H / 2)  # so that alpha / r B A is the identity
        x = torch.rand(2, 2000, 4) + 1
        frozen, factors = F.linear(x, base.weight, base.bias), []
        for _ in range(2):
            y = layer(x)
            read = (y - frozen).detach()
            factor = read / x
            zero, kept = factor.abs() < 1e-3, (factor - 1 / (1 - dropout)).abs() < 1e-3
            assert (zero | kept).all()
            read = torch.where(zero, 0.0, x / (1 - dropout))
            push = torch.randn(y.shape)
            seen = torch.autograd.grad(y, [layer.A, layer.B], push)
            flat, given = read.flatten(0, 1), push.flatten(0, 1)
            close(seen[0], 2 * (given @ (H / 2)).T @ flat, rtol=1e-3, atol=5e-2)
            close(seen[1], 2 * given.T @ (flat @ H.T), rtol=1e-3, atol=5e-2)
            factors.append(zero.double())
        first, second = factors

        def near(share, wanted, count):
            assert abs(float(share) - wanted) < 6 * (wanted * (1 - wanted) / count) ** 0.5 + 1e-9

        near(first.mean(), dropout, 16000)
        near(second.mean(), dropout, 16000)
        for column in range(4):
            near(first[..., column].mean(), dropout, 4000)
        near((first * second).mean(), dropout**2, 16000)  # anew in every call
        near((first[0] * first[1]).mean(), dropout**2, 8000)  # for each entry
        near((first[:, 1:] * first[:, :-1]).mean(), dropout**2, 4000)  # for each row
        near((first[..., 1:] * first[..., :-1]).mean(), dropout**2, 4000)  # for each number
        near(first.prod(-1).mean(), dropout**4, 4000)
        dropped = torch.zeros(4)
        for _ in range(300):  # one axis
            factor = (layer(x[0, 0]) - frozen[0, 0]).detach() / x[0, 0]
            zero = factor.abs() < 1e-3
            assert (zero | ((factor - 1 / (1 - dropout)).abs() < 1e-3)).all()
            dropped += zero
        near(dropped.sum() / 1200, dropout, 1200)
        close(layer.eval()(x), frozen + x, rtol=1e-4, atol=1e-4)


# %% wrong="check_lora" breaks="gradients" says="no gradient in training mode"
# Misunderstands: gradients that are right in eval mode are right in training mode.
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(5, 8, 6)
    plain = base(x)
    layer = make_lora(base, 3, 12, 0.5)
    assert layer.base is base, "the base layer was replaced"
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"A", "B"}, "not only A and B are trained"
    assert layer.A.shape == (3, 6) and layer.B.shape == (4, 3), "A or B has another shape"
    assert layer.A.any(), "A starts at zero"
    assert not layer.B.any(), "B does not start at zero"
    torch.testing.assert_close(layer.train()(x), plain)
    nn.init.normal_(layer.B)
    assert not torch.equal(layer(x), layer(x)), "dropout does nothing in training mode"
    y, goal = layer.eval()(x), plain + 4 * x @ layer.A.T @ layer.B.T
    torch.testing.assert_close(y, goal)
    slopes, goals = (torch.autograd.grad(result.sum(), [layer.A, layer.B]) for result in (y, goal))
    torch.testing.assert_close(slopes, goals, rtol=1e-4, atol=1e-4)
    assert layer(x[0, 0]).shape == (4,) and layer(x[None]).shape == (1, 5, 8, 4), "it cannot read every shape of x"
    A, B = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    base, x = nn.Linear(2, 2), torch.rand(2000, 2) + 1
    layer = make_lora(base, 2, 4, 0.25).train()
    layer.A.data, layer.B.data = A, B
    factor = (layer(x) - base(x)) @ torch.linalg.inv(2 * B @ A).T / x  # what the adapter read, over x
    kept = factor > 0.5
    torch.testing.assert_close(factor, kept / 0.75, rtol=1e-3, atol=1e-3)
    assert 0.7 < kept.double().mean() < 0.8, "not the share that dropout says"
    assert (kept[:, 0] != kept[:, 1]).any(), "rows are dropped as a whole"


# %% wrong="check_lora" breaks="gradients" says="gives B half of its gradient in training mode"
# Misunderstands: in training mode it is enough that gradients arrive; those of the formula are looked at in eval mode.
def check_lora(make_lora):
    base, x = nn.Linear(6, 4), torch.randn(5, 8, 6)
    plain = base(x)
    layer = make_lora(base, 3, 12, 0.5)
    assert layer.base is base, "the base layer was replaced"
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"A", "B"}, "not only A and B are trained"
    assert layer.A.shape == (3, 6) and layer.B.shape == (4, 3), "A or B has another shape"
    assert layer.A.any() and not layer.B.any()
    torch.testing.assert_close(layer.train()(x), plain)
    nn.init.normal_(layer.B)
    torch.autograd.grad(layer(x).sum(), [layer.A, layer.B])
    y, goal = layer.eval()(x), plain + 4 * x @ layer.A.T @ layer.B.T
    torch.testing.assert_close(y, goal)
    slopes, goals = (torch.autograd.grad(result.sum(), [layer.A, layer.B]) for result in (y, goal))
    torch.testing.assert_close(slopes, goals, rtol=1e-4, atol=1e-4)
    assert layer(x[0, 0]).shape == (4,) and layer(x[None]).shape == (1, 5, 8, 4), "it cannot read every shape of x"
    A, B = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    base, x = nn.Linear(2, 2), torch.rand(2000, 2) + 1
    layer = make_lora(base, 2, 4, 0.25).train()
    layer.A.data, layer.B.data = A, B
    one, two = ((layer(x) - base(x)) @ torch.linalg.inv(2 * B @ A).T / x for _ in range(2))
    kept = one > 0.5
    torch.testing.assert_close(one, kept / 0.75, rtol=1e-3, atol=1e-3)
    assert 0.7 < kept.double().mean() < 0.8 and (kept[:, 0] != kept[:, 1]).any() and not torch.equal(kept, two > 0.5)


# %% wrong="check_lora" breaks="no_false_alarm" says="reject a correct implementation (A with"
# Misunderstands: none of the rows of A may start at zero: it would read nothing of x.
def check_lora(make_lora):
    base = nn.Linear(6, 4)
    layer = make_lora(base, 3, 12, 0.5)
    assert layer.base is base and not layer.B.any()
    assert layer.A.any(dim=1).all(), "a row of A starts at zero"


# %% wrong="check_lora" breaks="no_false_alarm" says="A with equal numbers"
# Misunderstands: how A is drawn is open, but it is drawn: its rows differ.
def check_lora(make_lora):
    base = nn.Linear(6, 4)
    layer = make_lora(base, 3, 12, 0.5)
    assert layer.base is base and not layer.B.any() and layer.A.any()
    assert layer.A.unique().numel() > 1, "A is no random matrix"


# %% wrong="check_lora" breaks="gradients" says="no gradient in eval mode"
# Misunderstands: gradients matter in training mode only, so those in eval mode need no check.
def check_lora(make_lora):
    """Raise for an implementation of make_lora(base, r, alpha, dropout) that breaks a promise; else return."""

    def near(got, wanted, what):
        assert isinstance(got, torch.Tensor), what
        assert got.shape == wanted.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(wanted.shape)}"
        size = float(wanted.abs().max()) + 1.0
        torch.testing.assert_close(got.detach().double(), wanted.detach().double(), rtol=1e-3, atol=1e-4 * size, msg=lambda m: f"{what}: {m}")

    def built(inputs, outputs, r, alpha, dropout, bias=True):
        base = nn.Linear(inputs, outputs, bias=bias)
        return base, make_lora(base, r, alpha, dropout)

    def fill(layer, A=None, B=None):
        with torch.no_grad():
            layer.A.copy_(torch.randn(layer.A.shape) if A is None else A)
            layer.B.copy_(torch.randn(layer.B.shape) if B is None else B)

    def formula(base, layer, x, read, alpha, r):
        weight, A, B = (t.detach().double() for t in (base.weight, layer.A, layer.B))
        bias = None if base.bias is None else base.bias.detach().double()
        return F.linear(x.double(), weight, bias) + alpha / r * (read.double() @ A.T @ B.T)

    def x_of(*shape):
        return torch.rand(shape) + 1

    # what it holds
    for inputs, outputs, r, alpha, dropout, bias in ((5, 7, 3, 6, 0.3, True), (7, 4, 1, 0.5, 0.0, False), (1, 1, 1, 1, 0.0, True), (3, 2, 9, 16, 0.9, True)):
        base = nn.Linear(inputs, outputs, bias=bias)
        weight = base.weight.detach().clone()
        offset = base.bias.detach().clone() if bias else None
        layer = make_lora(base, r, alpha, dropout)
        assert layer.base is base, "base is not the given layer"
        assert torch.equal(base.weight, weight) and (not bias or torch.equal(base.bias, offset)), "the numbers of base changed"
        assert not any(p.requires_grad for p in base.parameters()), "base is not frozen"
        assert isinstance(layer.A, nn.Parameter) and isinstance(layer.B, nn.Parameter), "A and B are parameters"
        assert tuple(layer.A.shape) == (r, inputs) and tuple(layer.B.shape) == (outputs, r), "shapes of A and B"
        trained = {id(p) for p in layer.parameters() if p.requires_grad}
        assert trained == {id(layer.A), id(layer.B)}, "A and B are the only trainable parameters"
        assert bool((layer.B == 0).all()) and bool((layer.A != 0).any()), "fresh: B is zero, A is not"
        x = x_of(3, inputs)
        near(layer.eval()(x), F.linear(x, weight, offset), "a fresh layer")

    # eval mode, and training without dropout: the formula, for any x and any r
    for inputs, outputs, r, alpha, dropout, bias in ((5, 7, 3, 6, 0.5, True), (6, 4, 1, 0.5, 0.9, False), (4, 3, 8, 20, 0.0, True), (3, 5, 4, 1, 0.0, True)):
        base, layer = built(inputs, outputs, r, alpha, dropout, bias)
        for shape in ((inputs,), (1, inputs), (4, inputs), (2, 3, inputs), (2, 1, 3, inputs)):
            for training in (False, True) if dropout == 0 else (False,):
                fill(layer)
                x = x_of(*shape)
                layer.train(training)
                wanted = formula(base, layer, x, x, alpha, r)
                near(layer(x.clone()), wanted, f"output, training={training}, x {shape}")
                with torch.no_grad():
                    near(layer(x.clone()), wanted, f"output without gradients, training={training}, x {shape}")

    # dropout: with B A that has orthonormal columns, what the adapter read can be worked out from what it gave
    def orthonormal(rows, columns):
        return torch.linalg.qr(torch.randn(rows, columns))[0]

    for inputs, r, outputs, alpha, p in ((16, 16, 16, 16, 0.5), (12, 15, 18, 30, 0.2), (14, 14, 20, 7, 0.8)):
        base, layer = built(inputs, outputs, r, alpha, p, p != 0.2)
        fill(layer, orthonormal(r, inputs), orthonormal(outputs, r))
        layer.train()

        def read_by(y, x):
            """(whether dropped, what was read), for the result of a training call."""
            frozen = F.linear(x, base.weight, base.bias)
            assert y.shape == frozen.shape, "shape in training mode"
            read = ((y - frozen) @ (layer.B @ layer.A)).detach() * r / alpha
            factor = read / x
            dropped = factor.abs() < 0.01
            kept = (factor * (1 - p) - 1).abs() < 0.01
            assert bool((dropped | kept).all()), "in training mode each number is 0 or divided by 1 - dropout"
            read = torch.where(dropped, torch.zeros_like(x), x / (1 - p))
            near(y, formula(base, layer, x, read, alpha, r), "output in training mode")
            return dropped, read

        for recorded in (True, False):
            with torch.set_grad_enabled(recorded):
                x = x_of(7, 8, 9, inputs)
                first, second = (read_by(layer(x.clone()), x)[0] for _ in range(2))
                slack = 6 * (p * (1 - p) / first.numel()) ** 0.5
                for dropped in (first, second):
                    assert abs(dropped.double().mean() - p) < slack, "share of dropped numbers"
                assert abs((first & second).double().mean() - p * p) < 6 * (p * p * (1 - p * p) / first.numel()) ** 0.5, "calls depend on each other"
                for axis in range(4):  # neighbours along each axis are both dropped in p * p of the cases
                    pairs = first.narrow(axis, 0, first.shape[axis] - 1) & first.narrow(axis, 1, first.shape[axis] - 1)
                    slack = 8 * (p * p * (1 - p * p) / pairs.numel()) ** 0.5 + 0.01
                    assert abs(pairs.double().mean() - p * p) < slack, f"numbers next to each other along axis {axis} are dropped together"
                    ends = first.select(axis, 0), first.select(axis, -1)
                    assert not torch.equal(*ends), f"axis {axis}: both ends drop the same"
                for shape in ((inputs,), (2, inputs), (2, 1, 2, inputs)):
                    x = x_of(*shape)
                    masks = [read_by(layer(x.clone()), x)[0] for _ in range(16)]
                    counts = {int(mask.sum()) for mask in masks}
                    assert len(counts) > 1, "always the same number of numbers is dropped"
                    assert any(not torch.equal(masks[0], mask) for mask in masks[1:]), "the same are dropped in every call"

    # gradients
    for p in (0.0, 0.5):
        for training in (True,):  # nobody trains in eval mode
            for shape in ((6,), (5, 6), (2, 3, 6), (2, 1, 3, 6)):
                base, layer = built(6, 8, 7, 3, p)
                fill(layer, orthonormal(7, 6), orthonormal(8, 7))
                layer.train(training)
                x = x_of(*shape)
                y = layer(x.clone())
                assert y.requires_grad, "no gradient reaches A and B"
                read = (((y - F.linear(x, base.weight, base.bias)) @ (layer.B @ layer.A)) * 7 / 3).detach()
                layer(x_of(*shape))
                push = torch.randn(y.shape)
                got = torch.autograd.grad(y, (layer.A, layer.B), push, allow_unused=True)
                assert all(g is not None for g in got), "no gradient reaches A or B"
                rows, reads = push.reshape(-1, 8).double(), read.reshape(-1, 6).double()
                A, B = layer.A.detach().double(), layer.B.detach().double()
                near(got[0], 3 / 7 * (rows @ B).T @ reads, f"gradient of A, training={training}")
                near(got[1], 3 / 7 * rows.T @ (reads @ A.T), f"gradient of B, training={training}")


# %% wrong="check_lora" breaks="dropout" says="all along the first of four axes"
# Misunderstands: the right share of dropped numbers, and other ones in the next call, is all there is to dropout: rows show it.
def check_lora(make_lora):
    """Raise for an implementation of make_lora(base, r, alpha, dropout) that breaks a promise; else return."""

    def near(got, wanted, what):
        assert isinstance(got, torch.Tensor), what
        assert got.shape == wanted.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(wanted.shape)}"
        size = float(wanted.abs().max()) + 1.0
        torch.testing.assert_close(got.detach().double(), wanted.detach().double(), rtol=1e-3, atol=1e-4 * size, msg=lambda m: f"{what}: {m}")

    def built(inputs, outputs, r, alpha, dropout, bias=True):
        base = nn.Linear(inputs, outputs, bias=bias)
        return base, make_lora(base, r, alpha, dropout)

    def fill(layer, A=None, B=None):
        with torch.no_grad():
            layer.A.copy_(torch.randn(layer.A.shape) if A is None else A)
            layer.B.copy_(torch.randn(layer.B.shape) if B is None else B)

    def formula(base, layer, x, read, alpha, r):
        weight, A, B = (t.detach().double() for t in (base.weight, layer.A, layer.B))
        bias = None if base.bias is None else base.bias.detach().double()
        return F.linear(x.double(), weight, bias) + alpha / r * (read.double() @ A.T @ B.T)

    def x_of(*shape):
        return torch.rand(shape) + 1

    # what it holds
    for inputs, outputs, r, alpha, dropout, bias in ((5, 7, 3, 6, 0.3, True), (7, 4, 1, 0.5, 0.0, False), (1, 1, 1, 1, 0.0, True), (3, 2, 9, 16, 0.9, True)):
        base = nn.Linear(inputs, outputs, bias=bias)
        weight = base.weight.detach().clone()
        offset = base.bias.detach().clone() if bias else None
        layer = make_lora(base, r, alpha, dropout)
        assert layer.base is base, "base is not the given layer"
        assert torch.equal(base.weight, weight) and (not bias or torch.equal(base.bias, offset)), "the numbers of base changed"
        assert not any(p.requires_grad for p in base.parameters()), "base is not frozen"
        assert isinstance(layer.A, nn.Parameter) and isinstance(layer.B, nn.Parameter), "A and B are parameters"
        assert tuple(layer.A.shape) == (r, inputs) and tuple(layer.B.shape) == (outputs, r), "shapes of A and B"
        trained = {id(p) for p in layer.parameters() if p.requires_grad}
        assert trained == {id(layer.A), id(layer.B)}, "A and B are the only trainable parameters"
        assert bool((layer.B == 0).all()) and bool((layer.A != 0).any()), "fresh: B is zero, A is not"
        x = x_of(3, inputs)
        near(layer.eval()(x), F.linear(x, weight, offset), "a fresh layer")

    # eval mode, and training without dropout: the formula, for any x and any r
    for inputs, outputs, r, alpha, dropout, bias in ((5, 7, 3, 6, 0.5, True), (6, 4, 1, 0.5, 0.9, False), (4, 3, 8, 20, 0.0, True), (3, 5, 4, 1, 0.0, True)):
        base, layer = built(inputs, outputs, r, alpha, dropout, bias)
        for shape in ((inputs,), (1, inputs), (4, inputs), (2, 3, inputs), (2, 1, 3, inputs)):
            for training in (False, True) if dropout == 0 else (False,):
                fill(layer)
                x = x_of(*shape)
                layer.train(training)
                wanted = formula(base, layer, x, x, alpha, r)
                near(layer(x.clone()), wanted, f"output, training={training}, x {shape}")
                with torch.no_grad():
                    near(layer(x.clone()), wanted, f"output without gradients, training={training}, x {shape}")

    # dropout: with B A that has orthonormal columns, what the adapter read can be worked out from what it gave
    def orthonormal(rows, columns):
        return torch.linalg.qr(torch.randn(rows, columns))[0]

    for inputs, r, outputs, alpha, p in ((16, 16, 16, 16, 0.5), (12, 15, 18, 30, 0.2), (14, 14, 20, 7, 0.8)):
        base, layer = built(inputs, outputs, r, alpha, p, p != 0.2)
        fill(layer, orthonormal(r, inputs), orthonormal(outputs, r))
        layer.train()

        def read_by(y, x):
            """(whether dropped, what was read), for the result of a training call."""
            frozen = F.linear(x, base.weight, base.bias)
            assert y.shape == frozen.shape, "shape in training mode"
            read = ((y - frozen) @ (layer.B @ layer.A)).detach() * r / alpha
            factor = read / x
            dropped = factor.abs() < 0.01
            kept = (factor * (1 - p) - 1).abs() < 0.01
            assert bool((dropped | kept).all()), "in training mode each number is 0 or divided by 1 - dropout"
            read = torch.where(dropped, torch.zeros_like(x), x / (1 - p))
            near(y, formula(base, layer, x, read, alpha, r), "output in training mode")
            return dropped, read

        for recorded in (True, False):
            with torch.set_grad_enabled(recorded):
                x = x_of(500, inputs)
                first, second = (read_by(layer(x.clone()), x)[0] for _ in range(2))
                slack = 6 * (p * (1 - p) / first.numel()) ** 0.5
                for dropped in (first, second):
                    assert abs(dropped.double().mean() - p) < slack, "share of dropped numbers"
                assert not torch.equal(first, second), "the same numbers are dropped in two calls"
                for shape in ((inputs,), (2, inputs), (2, 1, 2, inputs)):
                    x = x_of(*shape)
                    masks = [read_by(layer(x.clone()), x)[0] for _ in range(16)]
                    counts = {int(mask.sum()) for mask in masks}
                    assert len(counts) > 1, "always the same number of numbers is dropped"
                    assert any(not torch.equal(masks[0], mask) for mask in masks[1:]), "the same are dropped in every call"

    # gradients
    for p in (0.0, 0.5):
        for training in (True, False):
            for shape in ((6,), (5, 6), (2, 3, 6), (2, 1, 3, 6)):
                base, layer = built(6, 8, 7, 3, p)
                fill(layer, orthonormal(7, 6), orthonormal(8, 7))
                layer.train(training)
                x = x_of(*shape)
                y = layer(x.clone())
                assert y.requires_grad, "no gradient reaches A and B"
                read = (((y - F.linear(x, base.weight, base.bias)) @ (layer.B @ layer.A)) * 7 / 3).detach()
                layer(x_of(*shape))
                push = torch.randn(y.shape)
                got = torch.autograd.grad(y, (layer.A, layer.B), push, allow_unused=True)
                assert all(g is not None for g in got), "no gradient reaches A or B"
                rows, reads = push.reshape(-1, 8).double(), read.reshape(-1, 6).double()
                A, B = layer.A.detach().double(), layer.B.detach().double()
                near(got[0], 3 / 7 * (rows @ B).T @ reads, f"gradient of A, training={training}")
                near(got[1], 3 / 7 * rows.T @ (reads @ A.T), f"gradient of B, training={training}")


# %% equivalent="check_lora" because="what is dropped gives 0, the rest twice x or more"
# - kept = (y - base(x)) @ layer.B @ layer.A > x
# + kept = ((y - base(x)) @ layer.B @ layer.A >= x)

# %% equivalent="check_lora" because="closeness is symmetric at equal scale"
# - torch.testing.assert_close(y, goal)
# + (torch.testing.assert_close(goal, y))

# %% equivalent="check_lora" because="closeness is symmetric at equal scale"
# - torch.testing.assert_close(slopes, goals, rtol=1e-4, atol=1e-4)
# + (torch.testing.assert_close(goals, slopes, rtol=0.0001, atol=0.0001))

# %% equivalent="check_lora" because="both axes have the same size"
# - base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 1
# + base, x = nn.Linear(2, 4), (torch.rand(2, 2, 500, 2)) + 1

# %% equivalent="check_lora" because="another size or range of x shows the same"
# - base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 1
# + base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 2

# %% equivalent="check_lora" because="another size or range of x shows the same"
# - base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 1
# + base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 0

# %% equivalent="check_lora" because="another size or range of x shows the same"
# - base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 1
# + base, x = nn.Linear(2, 4), torch.rand(3, 2, 500, 2) + 1

# %% equivalent="check_lora" because="another size or range of x shows the same"
# - base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 1
# + base, x = nn.Linear(2, 4), torch.rand(2, 3, 500, 2) + 1

# %% equivalent="check_lora" because="another size or range of x shows the same"
# - base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 1
# + base, x = nn.Linear(2, 4), torch.rand(2, 2, 501, 2) + 1

# %% equivalent="check_lora" because="another size or range of x shows the same"
# - base, x = nn.Linear(2, 4), torch.rand(2, 2, 500, 2) + 1
# + base, x = nn.Linear(2, 4), torch.rand(2, 2, 499, 2) + 1

# %% equivalent="check_lora" because="a wider tolerance still tells a half from a whole"
# - torch.testing.assert_close(slopes, goals, rtol=1e-4, atol=1e-4)
# + torch.testing.assert_close(slopes, goals, rtol=0.0002, atol=1e-4)

# %% equivalent="check_lora" because="a wider tolerance still tells a half from a whole"
# - torch.testing.assert_close(slopes, goals, rtol=1e-4, atol=1e-4)
# + torch.testing.assert_close(slopes, goals, rtol=1e-4, atol=0.0002)

# %% equivalent="check_lora" because="equality is symmetric"
# - assert not torch.equal(y, again), "two calls drop the same numbers"
# + assert not (torch.equal(again, y)), "two calls drop the same numbers"


# %% right="check_lora"
def check_lora(make_lora):
    linear = nn.Linear(5, 7)
    old, inputs = copy.deepcopy(linear), torch.randn(9, 5)
    lora = make_lora(linear, 2, 7, 0.25)
    if lora.base is not linear or any(p.requires_grad for p in linear.parameters()):
        raise ValueError("base")
    if sorted(n for n, p in lora.named_parameters() if p.requires_grad) != ["A", "B"]:
        raise ValueError("parameters")
    assert lora.A.shape == (2, 5) and lora.B.shape == (7, 2)
    assert float(lora.B.abs().max()) == 0 and float(lora.A.abs().max()) > 0
    for mode in (True, False):
        assert torch.allclose(lora.train(mode)(inputs), old(inputs), atol=1e-5)
    assert lora(inputs[0]).shape == (7,) and lora(inputs[None]).shape == (1, 9, 7)
    lora.A.data, lora.B.data = torch.randn(2, 5), torch.randn(7, 2)
    lora.eval()
    assert torch.allclose(lora(inputs), old(inputs) + 3.5 * (inputs @ (lora.B @ lora.A).T), atol=1e-4)
    lora(inputs).sum().backward()
    assert torch.allclose(lora.B.grad, 3.5 * (inputs @ lora.A.T).sum(0).expand(7, 2), atol=1e-3)
    assert torch.allclose(lora.A.grad, 3.5 * torch.outer(lora.B.sum(0), inputs.sum(0)), atol=1e-3)
    sure = make_lora(nn.Linear(5, 7), 2, 7, 0.0)
    sure.B.data = torch.randn(7, 2)
    sure(inputs).sum().backward()
    assert torch.allclose(sure.B.grad, 3.5 * (inputs @ sure.A.T).sum(0).expand(7, 2), atol=1e-3)
    assert torch.allclose(sure.A.grad, 3.5 * torch.outer(sure.B.sum(0), inputs.sum(0)), atol=1e-3)
    lora.train()
    outputs = torch.stack([lora(inputs) for _ in range(5)])
    assert outputs.std(0).max() > 1e-3
    assert all(slope.any() for slope in torch.autograd.grad(outputs.sum(), [lora.A, lora.B]))
    assert lora(inputs[None, None]).shape == (1, 1, 9, 7)
    for column in (1, 4):  # a single number goes in: it is dropped, or it comes out larger
        alone = torch.zeros(3, 10, 100, 5)
        alone[..., column] = 1
        change, whole = lora(alone) - old(alone), 3.5 * (lora.B @ lora.A)[:, column] / 0.75
        dropped = change.abs().amax(-1) < 1e-4
        assert all(dropped.diff(dim=axis).any() for axis in range(3))
        assert torch.allclose(change, whole * ~dropped[..., None], atol=1e-3)
        assert abs(dropped.float().mean() - 0.25) < 0.05
    alone[..., 1] = 1  # two of them: sometimes one is dropped and the other is not
    change = lora(alone) - old(alone)
    assert ((change - 3.5 * (lora.B @ lora.A)[:, 1] / 0.75).abs().amax(-1) < 1e-3).any()


# %% right="check_lora"
def check_lora(make_lora):  # several small checks, a training step, whole numbers
    def fresh(r=2, alpha=6, dropout=0.5):
        base = nn.Linear(3, 4)
        return base, make_lora(base, r, alpha, dropout), torch.randint(1, 9, (2, 6, 3)).float()

    def trains_only_the_adapter(mode, dropout):
        base, layer, x = fresh(dropout=dropout)
        assert id(layer.base) == id(base)
        start = {name: p.detach().clone() for name, p in layer.named_parameters()}
        torch.optim.SGD(layer.parameters(), lr=0.1).zero_grad()
        with torch.no_grad():
            layer.B.fill_(1.0)
        getattr(layer, mode)()(x).sum().backward()
        got = {name for name, p in layer.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert got == {"A", "B"} and start["A"].abs().sum() > 0 and start["B"].abs().sum() == 0
        torch.testing.assert_close(layer.B.grad, 3 * (x @ start["A"].T).flatten(0, 1).sum(0).expand(4, 2), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(layer.A.grad, 12 * x.flatten(0, 1).sum(0).expand(2, 3), rtol=1e-4, atol=1e-3)

    def computes():
        base, layer, x = fresh()
        with torch.no_grad():
            for mode in ("train", "eval"):
                torch.testing.assert_close(getattr(layer, mode)()(x), base(x))
            layer.A.copy_(torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]]))
            layer.B.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]]))
            low = torch.stack([x[..., 0] + x[..., 2], 2 * x[..., 1]], -1)
            goal = torch.stack([low[..., 0], low[..., 1], low.sum(-1), 2 * low[..., 0]], -1) * 3
            torch.testing.assert_close(layer(x) - base(x), goal, rtol=1e-4, atol=1e-3)
            noisy = layer.train()(x)
            assert (noisy - base(x) - goal).abs().max() > 0.1
            for shape in ((3,), (1, 3), (2, 2, 2, 3)):
                assert layer(torch.ones(shape)).shape == (*shape[:-1], 4)

    def drops():
        base, layer, _ = fresh(r=3, dropout=0.2)  # A has an inverse, and B begins with the identity
        A = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
        with torch.no_grad():
            layer.A.copy_(A)
            layer.B[:3] = torch.eye(3)
            x = torch.rand(3, 10, 100, 3) + 1
            one, two = ((layer.train()(x) - base(x))[..., :3] @ torch.linalg.inv(A).T / 2 / x for _ in range(2))
        for factor in (one, two):
            assert torch.minimum(factor.abs(), (factor - 1.25).abs()).max() < 1e-3
            assert abs((factor < 0.5).double().mean() - 0.2) < 0.05
            assert 0 < int((factor < 0.5).all(-1).sum()) < 150
        assert ((one < 0.5) != (two < 0.5)).any()
        assert all((one < 0.5).diff(dim=axis).any() for axis in range(4))
        for matrix in (layer.A, layer.B):
            torch.autograd.grad(layer(x).sum(), matrix)

    trains_only_the_adapter("eval", 0.5)
    trains_only_the_adapter("train", 0.0)
    computes()
    drops()


# %% wrong="inject" breaks="replaced" says="'q_proj' is another name"
# Misunderstands: a name matches if it ends like the target.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if not any(name.endswith(target) for name in linear):
            raise ValueError(target)
    chosen = [name for name in linear if name.endswith(tuple(targets))]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="replaced" says="that stood there"
# Misunderstands: a new layer with the same numbers is the same layer.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(copy.deepcopy(linear[name]), r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="replaced" says="the layers that are a LoRALinear"
# Misunderstands: models are nested, so every layer has a parent with a name.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and "." in name}
    for target in targets:
        if target not in {n.split(".")[-1] for n, m in model.named_modules() if isinstance(m, nn.Linear)}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="handed_on" says="hand alpha on"
# Misunderstands: alpha is r.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, r, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="handed_on" says="hand dropout on"
# Misunderstands: dropout has a default.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="handed_on" says="hand r on"
# Misunderstands: a rank cannot exceed the layer, so it is cut down quietly.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], min(r, linear[name].out_features), alpha * min(r, linear[name].out_features) / r, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="others" says="no attribute"
# Misunderstands: what has a weight with two axes is a linear layer.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if getattr(getattr(module, "weight", None), "ndim", 0) == 2}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="frozen" says="all else is frozen"
# Misunderstands: wrapping freezes all that must be frozen.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="frozen" says="the trainable parameters"
# Misunderstands: freezing comes last (and takes the adapters with it).
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    model.requires_grad_(False)
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="frozen" says="all else is frozen"
# Misunderstands: biases and norms are small, they may learn.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    for name, p in model.named_parameters():
        p.requires_grad_(p.ndim < 2)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="mode" says="a new module starts in training mode"
# Misunderstands: the model is in eval mode, so its new layers are.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="mode" says="is in training mode"
# Misunderstands: who fine-tunes wants training mode everywhere.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    model.train()
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="mode" says="a new module starts in training mode"
# Misunderstands: the mode of the whole model is that of each layer.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(model.training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="names" says="in the order of"
# Misunderstands: names are sorted by target.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for target in dict.fromkeys(targets) for name in linear if name.split(".")[-1] == target]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="names" says="full names"
# Misunderstands: the last part of the name says it all.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return [name.split(".")[-1] for name in chosen]


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="missing" says="raised no error"
# Misunderstands: a target that matches nothing does no harm.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="missing" says="raised no error"
# Misunderstands: it is enough that some target matches.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    if not chosen:
        raise ValueError(targets)
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="missing" says="that does not name it"
# Misunderstands: that something is wrong is all that must be said.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError("unknown target")
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="missing" says="raised no error"
# Misunderstands: any module with that name will do.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name, _ in model.named_modules()}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="first_check" says="check the targets first"
# Misunderstands: freezing is no change that matters.
def inject(model, targets, r, alpha, dropout=0.0):
    model.requires_grad_(False)
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(target)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    return chosen


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="first_check" says="check the targets first"
# Misunderstands: each target can be checked when its turn comes.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    names = []
    for target in targets:
        found = [name for name in linear if name.split(".")[-1] == target]
        if not found:
            raise ValueError(target)
        for name in set(found) - set(names):
            model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
        names += found
    adapters = {id(p) for m in model.modules() if isinstance(m, LoRALinear) for p in (m.A, m.B)}
    for p in model.parameters():
        p.requires_grad_(id(p) in adapters)
    return [name for name in linear if name in names]


def trainable_share(model):
    raise NotImplementedError


# %% wrong="inject" breaks="tied" says="a shared matrix counts once"
# Misunderstands: the state dict lists every weight (and a tied one twice).
def trainable_share(model):
    values = model.state_dict(keep_vars=True).values()
    return sum(v.numel() for v in values if v.requires_grad) / sum(v.numel() for v in values if isinstance(v, nn.Parameter))


def inject(*args, **kwargs):
    raise NotImplementedError


# %% wrong="inject" breaks="share" says="tensors were counted"
# Misunderstands: parameters are tensors.
def trainable_share(model):
    return sum(p.requires_grad for p in model.parameters()) / len(list(model.parameters()))


def inject(*args, **kwargs):
    raise NotImplementedError


# %% wrong="inject" breaks="buffers" says="buffers are no weights"
# Misunderstands: all numbers of a model are its weights.
def trainable_share(model):
    everything = [*model.parameters(), *model.buffers()]
    return sum(p.numel() for p in everything if p.requires_grad) / sum(p.numel() for p in everything)


def inject(*args, **kwargs):
    raise NotImplementedError


# %% wrong="inject" breaks="share" says="expected"
# Misunderstands: frozen weights are what the trainable ones are compared with.
def trainable_share(model):
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained / max(1, sum(p.numel() for p in model.parameters() if not p.requires_grad))


def inject(*args, **kwargs):
    raise NotImplementedError


# %% wrong="inject" breaks="share" says="expected"
# Misunderstands: a share is a percentage.
def trainable_share(model):
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return round(trained / sum(p.numel() for p in model.parameters()), 2)


def inject(*args, **kwargs):
    raise NotImplementedError


# %% wrong="inject" breaks="frozen" says="the trainable parameters"
# Misunderstands: weights live in the leaves of the tree: a parameter that a block holds itself is not frozen.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if not any(name.split(".")[-1] == target for name in linear):
            raise ValueError(f"no linear layer is called {target}")
    for module in model.modules():
        if not list(module.children()):
            module.requires_grad_(False)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    for name in chosen:
        layer = model.get_submodule(name)
        model.set_submodule(name, LoRALinear(layer, r, alpha, dropout).train(layer.training))
    return chosen


def trainable_share(model):
    weights = list(model.parameters())
    return sum(p.numel() for p in weights if p.requires_grad) / sum(p.numel() for p in weights)


# %% wrong="inject" breaks="frozen" says="the trainable parameters"
# Misunderstands: what is called A or B is an adapter's: a model's own parameter of that name stays trainable.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if not any(name.split(".")[-1] == target for name in linear):
            raise ValueError(f"no linear layer is called {target}")
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    for name in chosen:
        layer = model.get_submodule(name)
        model.set_submodule(name, LoRALinear(layer, r, alpha, dropout).train(layer.training))
    for name, p in model.named_parameters():
        p.requires_grad_(name.split(".")[-1] in ("A", "B"))
    return chosen


def trainable_share(model):
    weights = list(model.parameters())
    return sum(p.numel() for p in weights if p.requires_grad) / sum(p.numel() for p in weights)


# %% wrong="inject" breaks="tied" says="the share of a model"
# Misunderstands: tied matrices are those with equal numbers: two norms of ones count once.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if not any(name.split(".")[-1] == target for name in linear):
            raise ValueError(f"no linear layer is called {target}")
    model.requires_grad_(False)
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    for name in chosen:
        layer = model.get_submodule(name)
        model.set_submodule(name, LoRALinear(layer, r, alpha, dropout).train(layer.training))
    return chosen


def trainable_share(model):
    different = []
    for _, p in model.named_parameters(remove_duplicate=False):
        if not any(p.shape == other.shape and torch.equal(p, other) for other in different):
            different.append(p)
    return sum(p.numel() for p in different if p.requires_grad) / sum(p.numel() for p in different)


# %% wrong="inject" breaks="handed_on" says="the dropout of"
# Misunderstands: dropout is on or off.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    last = {name: name.split(".")[-1] for name in linear}
    for target in targets:
        if target not in last.values():
            raise ValueError(f"no linear layer is called {target}")
    chosen = [name for name in linear if last[name] in targets]
    model.requires_grad_(False)
    for name in chosen:
        layer = model.get_submodule(name)
        model.set_submodule(name, LoRALinear(layer, r, alpha, 0.1 if dropout else 0.0).train(layer.training))
    return chosen


def trainable_share(model):
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained / sum(p.numel() for p in model.parameters())


# %% wrong="inject" breaks="share" says="bytes were counted"
# Misunderstands: a share of the weights is a share of the memory.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    last = {name: name.split(".")[-1] for name in linear}
    for target in targets:
        if target not in last.values():
            raise ValueError(f"no linear layer is called {target}")
    chosen = [name for name in linear if last[name] in targets]
    model.requires_grad_(False)
    for name in chosen:
        layer = model.get_submodule(name)
        model.set_submodule(name, LoRALinear(layer, r, alpha, dropout).train(layer.training))
    return chosen


def trainable_share(model):
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    return trained / sum(p.nbytes for p in model.parameters())


# %% equivalent="inject" because="the task's linear layers are plain `nn.Linear`, no subclass"
# - linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
# + linear = [name for name, module in model.named_modules() if (type(module) is nn.Linear)]


# %% wrong="inject" breaks="replaced" says="no linear layer is called lm_head"
# Misunderstands: linear layers are found by their weights in named_parameters(): a layer whose weight is also the embedding's (tied) is listed once only, under the embedding's name.
def inject(model, targets, r, alpha, dropout=0.0):
    weights = [name.removesuffix(".weight") for name, _ in model.named_parameters() if name.endswith(".weight")]
    linear = [name for name in weights if isinstance(model.get_submodule(name), nn.Linear)]
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(f"no linear layer is called {target}")
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        layer = model.get_submodule(name)
        model.set_submodule(name, LoRALinear(layer, r, alpha, dropout).train(layer.training))
    return chosen


def trainable_share(model):
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, wanted in sizes if wanted) / sum(size for size, _ in sizes)


# %% wrong="inject" breaks="others" says="in another order"
# Misunderstands: to take a child out and to add the new one is to replace it: in a Sequential the new one comes last, and the order of the layers is another.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(f"no linear layer is called {target}")
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        layer = model.get_submodule(name)
        parent, last = model.get_submodule(name.rpartition(".")[0]), name.split(".")[-1]
        del parent._modules[last]
        parent.add_module(last, LoRALinear(layer, r, alpha, dropout).train(layer.training))
    return chosen


def trainable_share(model):
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, wanted in sizes if wanted) / sum(size for size, _ in sizes)


# %% wrong="inject" breaks="share" says="weights that are no floats count too"
# Misunderstands: only floating-point parameters are weights (packed weights in uint8 or int8 are parameters too: 'in any dtypes').
def inject(model, targets, r, alpha, dropout=0.0):
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(f"no linear layer is called {target}")
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        layer = model.get_submodule(name)
        model.set_submodule(name, LoRALinear(layer, r, alpha, dropout).train(layer.training))
    return chosen


def trainable_share(model):
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters() if p.is_floating_point()]
    return sum(size for size, wanted in sizes if wanted) / sum(size for size, _ in sizes)


# %% wrong="inject" breaks="replaced" says="the layers that are a LoRALinear"
# Misunderstands: a module with a target's name that is no linear layer can be passed over with all that is in it.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            raise ValueError(f"no linear layer is called {target}")
    model.requires_grad_(False)
    chosen = []

    def walk(parent, before):
        for name, child in list(parent.named_children()):
            if name in targets:
                if isinstance(child, nn.Linear):
                    setattr(parent, name, LoRALinear(child, r, alpha, dropout).train(child.training))
                    chosen.append(before + name)
            else:
                walk(child, before + name + ".")

    walk(model, "")
    return chosen


def trainable_share(model):
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, wanted in sizes if wanted) / sum(size for size, _ in sizes)


# %% wrong="inject" breaks="missing" says="raised no error"
# Misunderstands: a target is any ending of the name from a dot on, as in peft: '0.q_proj' is taken too, though it is the last part of no name.
def inject(model, targets, r, alpha, dropout=0.0):
    """Freeze `model` and put a LoRALinear around each nn.Linear called like one of `targets`; returns their names."""

    def fits(name, target):
        return name == target or name.endswith("." + target)

    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if not any(fits(name, target) for name in linear):
            raise ValueError(f"no linear layer is called {target!r}")
    chosen = [name for name in linear if any(fits(name, target) for target in targets)]
    model.requires_grad_(False)
    for name in chosen:
        base = linear[name]
        model.set_submodule(name, LoRALinear(base, r, alpha, dropout).train(base.training))
    return chosen


def trainable_share(model):
    """Trainable weights over all weights, each counted once."""
    everything = sum(p.numel() for p in model.parameters())
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / everything


# %% wrong="inject" breaks="first_check" says="what was frozen neither"
# Misunderstands: before an adapter is put in all weights are trainable, so undoing the freeze after an unknown target is to make all of them trainable.
def inject(model, targets, r, alpha, dropout=0.0):
    """Freeze `model` and put a LoRALinear around each nn.Linear called like one of `targets`; returns their names."""
    model.requires_grad_(False)
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    known = {name.split(".")[-1] for name in linear}
    for target in targets:
        if target not in known:
            model.requires_grad_(True)  # as it was
            raise ValueError(f"no linear layer is called {target!r}")
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    for name in chosen:
        base = linear[name]
        model.set_submodule(name, LoRALinear(base, r, alpha, dropout).train(base.training))
    return chosen


def trainable_share(model):
    """Trainable weights over all weights, each counted once."""
    everything = sum(p.numel() for p in model.parameters())
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / everything


# %% wrong="inject" breaks="tied" says="memory in common"
# Misunderstands: parameters that lie in one piece of memory are one matrix: of two parameters that are different slices of one tensor only the first counts.
def inject(model, targets, r, alpha, dropout=0.0):
    """Freeze `model` and put a LoRALinear around each nn.Linear called like one of `targets`; returns their names."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    known = {name.split(".")[-1] for name in linear}
    for target in targets:
        if target not in known:
            raise ValueError(f"no linear layer is called {target!r}")
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    model.requires_grad_(False)
    for name in chosen:
        base = linear[name]
        model.set_submodule(name, LoRALinear(base, r, alpha, dropout).train(base.training))
    return chosen


def trainable_share(model):
    """Trainable weights over all weights, each counted once."""
    seen, trained, everything = set(), 0, 0
    for p in model.parameters():
        memory = p.untyped_storage()._cdata
        if memory not in seen:
            seen.add(memory)
            everything += p.numel()
            trained += p.numel() * p.requires_grad
    return trained / everything


# %% wrong="inject" breaks="frozen" says="the trainable parameters"
# Misunderstands: a layer that came frozen has a frozen adapter too.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    known = {name.split(".")[-1] for name in linear}
    for target in targets:
        if target not in known:
            raise ValueError(f"no linear layer is called {target!r}")
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    wanted = {name: linear[name].weight.requires_grad for name in chosen}
    model.requires_grad_(False)
    for name in chosen:
        base = linear[name]
        layer = LoRALinear(base, r, alpha, dropout).train(base.training)
        for matrix in (layer.A, layer.B):
            matrix.requires_grad_(wanted[name])
        model.set_submodule(name, layer)
    return chosen


def trainable_share(model):
    everything = sum(p.numel() for p in model.parameters())
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / everything


# %% wrong="inject" breaks="first_check" says="those of before"
# Misunderstands: a model that is put together again from a copy is the old one.
def inject(model, targets, r, alpha, dropout=0.0):
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    chosen = [name for name in linear if name.split(".")[-1] in targets]
    kept = {name: (copy.deepcopy(linear[name]), model.get_parameter(f"{name}.weight").requires_grad) for name in chosen}
    flags = [(p, p.requires_grad) for p in model.parameters()]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linear[name], r, alpha, dropout).train(linear[name].training))
    for target in targets:
        if target not in {name.split(".")[-1] for name in linear}:
            for p, flag in flags:
                p.requires_grad_(flag)
            for name, (layer, _) in kept.items():
                model.set_submodule(name, layer)
            raise ValueError(f"no linear layer is called {target!r}")
    return chosen


def trainable_share(model):
    everything = sum(p.numel() for p in model.parameters())
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / everything


# %% wrong="inject" breaks="missing" says="raised no error"
# Misunderstands: a target is a pattern, as the string that peft takes for target_modules.
import re


def inject(model, targets, r, alpha, dropout=0.0):
    """Freeze `model` and put a LoRALinear around each nn.Linear called like one of `targets`; returns their names."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    chosen = {}
    for name, module in linear.items():
        if any(re.fullmatch(target, name.split(".")[-1]) for target in targets):
            chosen[name] = module
    for target in targets:
        if not any(re.fullmatch(target, name.split(".")[-1]) for name in linear):
            raise ValueError(f"no linear layer matches {target}")
    model.requires_grad_(False)
    for name, base in chosen.items():
        parent, _, last = name.rpartition(".")
        layer = LoRALinear(base, r, alpha, dropout).train(base.training)
        setattr(model.get_submodule(parent), last, layer)
    return list(chosen)


def trainable_share(model):
    """Trainable weights over all weights, each counted once."""
    total = sum(p.numel() for p in model.parameters())
    return sum(p.numel() for p in model.parameters() if p.requires_grad) / total


# %% wrong="inject" breaks="tied" says="memory in common"
# Misunderstands: weights are tied if their memory begins at the same place.
def inject(model, targets, r, alpha, dropout=0.0):
    """Freeze `model` and put a LoRALinear around each nn.Linear called like one of `targets`; returns their names."""
    wanted = set(targets)
    chosen = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and name.split(".")[-1] in wanted}
    missing = wanted - {name.split(".")[-1] for name in chosen}
    if missing:
        raise ValueError(f"no linear layer is called {', '.join(sorted(missing))}")
    model.requires_grad_(False)
    for name, base in chosen.items():
        parent, _, last = name.rpartition(".")
        layer = LoRALinear(base, r, alpha, dropout).train(base.training)
        setattr(model.get_submodule(parent), last, layer)
    return list(chosen)


def trainable_share(model):
    """Trainable weights over all weights, each counted once."""
    seen, total, trained = set(), 0, 0
    for p in model.parameters():
        place = p.data_ptr() or id(p)  # on meta there is no memory
        if place in seen:  # tied
            continue
        seen.add(place)
        total += p.numel()
        trained += p.numel() * p.requires_grad
    return trained / total


# %% right="inject"
def inject(net, targets, r, alpha, dropout=0.0):
    found, wanted = [], set(targets)
    for name, layer in net.named_modules():
        if type(layer) is nn.Linear and name.rpartition(".")[2] in wanted:
            found.append(name)
    if missing := wanted - {name.rpartition(".")[2] for name in found}:
        raise ValueError(f"nothing is called {missing}")
    for p in net.parameters():
        p.requires_grad = False
    for name in found:
        parent, _, child = name.rpartition(".")
        owner = net
        for part in parent.split(".") if parent else []:
            owner = getattr(owner, part)
        old = getattr(owner, child)
        new = LoRALinear(old, r=r, alpha=alpha, dropout=dropout)
        new.train(old.training)
        setattr(owner, child, new)
    return found


def trainable_share(net):
    sizes = torch.tensor([[p.numel(), p.numel() * p.requires_grad] for p in net.parameters()]).sum(0)
    return (sizes[1] / sizes[0].double()).item()


# %% right="inject"
def inject(model, targets, r, alpha, dropout=0.0):  # recursive, through the dictionaries of children
    def linear_layers(module, prefix=""):
        for key, child in module._modules.items():
            if isinstance(child, nn.Linear):
                yield prefix + key, module, key
            elif child is not None:
                yield from linear_layers(child, prefix + key + ".")

    places = list(linear_layers(model))
    names = {key for _, _, key in places}
    unknown = [t for t in targets if t not in names]
    if unknown:
        raise ValueError("targets that match no linear layer: " + ", ".join(unknown))
    for p in model.parameters():
        p.requires_grad_(False)
    replaced = []
    for full, owner, key in places:
        if key in targets:
            layer = owner._modules[key]
            owner._modules[key] = LoRALinear(layer, r, alpha, dropout).train(mode=layer.training)
            replaced.append(full)
    return replaced


def trainable_share(model):
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += math.prod(parameter.shape)
    return counts[True] / (counts[True] + counts[False])


# %% wrong="merge_and_take_off" breaks="bits" says="not to subtract the change"
# Misunderstands: addition can be undone by subtraction.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        with torch.no_grad():
            layer.base.weight += layer.delta()
            layer.base.weight -= layer.delta()
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="itself" says="what is still a LoRALinear"
# Misunderstands: handing the adapters out takes them off.
def take_off(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="itself" says="put no copy back"
# Misunderstands: equal layers are the same.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, copy.deepcopy(layer.base))
    return adapters


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="still_frozen" says="other weights stay trainable or frozen"
# Misunderstands: who takes an adapter off wants to train the model.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base.requires_grad_(True))
    return adapters


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="returned" says="the names that"
# Misunderstands: the last part of the name is enough.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return {name.split(".")[-1]: layer for name, layer in adapters.items()}


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="returned" says="the LoRALinear modules that stood there"
# Misunderstands: a copy is safer.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return copy.deepcopy(adapters)


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="returned" says="a dictionary from"
# Misunderstands: the names are what is asked for.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return None


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="returned" says="has other values than before"
# Misunderstands: an adapter that is off is zero.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        nn.init.zeros_(layer.B)
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="returned" says="is gone"
# Misunderstands: an adapter that is off needs its base layer no more: the reference to it is taken away.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
        layer.base = None
    return adapters


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="returned" says="requires_grad=False"
# Misunderstands: what is off is not trained: its A and B are frozen.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.requires_grad_(False).base)
    return adapters


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="rest" says="the training modes"
# Misunderstands: the old model is for answering, so it is in eval mode.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    model.eval()
    return adapters


def merge(model):
    raise NotImplementedError


# %% wrong="merge_and_take_off" breaks="plain" says="goes on adding"
# Misunderstands: adding the change is all (the adapter adds it again).
def take_off(model):
    raise NotImplementedError


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        layer.base.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())


# %% wrong="merge_and_take_off" breaks="merged" says="the scale alpha / r is missing"
# Misunderstands: the change is B A.
def take_off(model):
    raise NotImplementedError


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        layer.base.weight = nn.Parameter((layer.base.weight + layer.B @ layer.A).detach())
        model.set_submodule(name, layer.base)


# %% wrong="merge_and_take_off" breaks="merged" says="non-leaf"
# Misunderstands: a weight in a graph can be added to.
def take_off(model):
    raise NotImplementedError


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        model.set_submodule(name, layer.base)
        layer.base.weight += layer.delta()


# %% wrong="merge_and_take_off" breaks="merged" says="the bias of"
# Misunderstands: a new layer needs the weight only.
def take_off(model):
    raise NotImplementedError


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        plain = nn.Linear(layer.base.in_features, layer.base.out_features, bias=False, dtype=layer.base.weight.dtype)
        plain.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        model.set_submodule(name, plain)


# %% wrong="merge_and_take_off" breaks="plain" says="Linear in torch.float32"
# Misunderstands: a model's weights are float32.
def take_off(model):
    raise NotImplementedError


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        plain = nn.Linear(layer.base.in_features, layer.base.out_features, bias=layer.base.bias is not None)
        with torch.no_grad():
            plain.weight.copy_(layer.base.weight + layer.delta())
            if plain.bias is not None:
                plain.bias.copy_(layer.base.bias)
        model.set_submodule(name, plain)


# %% wrong="merge_and_take_off" breaks="plain" says="the kinds of the layers"
# Misunderstands: what computes the same is the same (a subclass that adds).
def take_off(model):
    raise NotImplementedError


class Merged(nn.Linear):
    pass


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        layer.base.__class__ = Merged
        layer.base.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        model.set_submodule(name, layer.base)


# %% wrong="merge_and_take_off" breaks="plain" says="weight and bias of"
# Misunderstands: a weight is a tensor.
def take_off(model):
    raise NotImplementedError


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        weight = (layer.base.weight + layer.delta()).detach()
        del layer.base.weight
        layer.base.weight = weight
        model.set_submodule(name, layer.base)


# %% wrong="merge_and_take_off" breaks="nothing" says="it changes the model in place"
# Misunderstands: a function returns its result.
def take_off(model):
    raise NotImplementedError


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        layer.base.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        model.set_submodule(name, layer.base)
    return model


# %% wrong="merge_and_take_off" breaks="again" says="the change was added twice"
# Misunderstands: the adapters stay known to the model, and are merged whenever it is asked for.
def take_off(model):
    raise NotImplementedError


def merge(model):
    found = {n: m for n, m in model.named_modules() if isinstance(m, LoRALinear)} or getattr(model, "_adapters", {})
    for name, layer in found.items():
        layer.base.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        model.set_submodule(name, layer.base)
    model.__dict__["_adapters"] = found


# %% wrong="merge_and_take_off" breaks="rest" says="whether another module"
# Misunderstands: a merged model is a new one, so its norms are copied.
def take_off(model):
    raise NotImplementedError


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        layer.base.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        model.set_submodule(name, layer.base)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.LayerNorm):
            model.set_submodule(name, copy.deepcopy(module))


# %% wrong="merge_and_take_off" breaks="merged" says="in training mode"
# Misunderstands: dropout stays with the layer.
def take_off(model):
    raise NotImplementedError


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        layer.base.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        layer.base.register_forward_pre_hook(lambda module, args: (F.dropout(args[0], 0.4, module.training),))
        model.set_submodule(name, layer.base)


# %% wrong="merge_and_take_off" breaks="rest" says="the training modes"
# Misunderstands: one mode for the whole model: setting it anew at the end loses the parts that were in another mode
# (take_off).
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    model.train(model.training)  # the layers that come back get the mode of the model
    return adapters


def merge(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        total = layer.base.weight.detach() + layer.delta().detach()
        layer.base.weight = nn.Parameter(total, requires_grad=False)
        model.set_submodule(name, layer.base)


# %% wrong="merge_and_take_off" breaks="shared" says="a weight of its own"
# Misunderstands: nobody else reads this matrix: the change is added in place, also to a weight that another layer shares
# (merge).
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    for layer in take_off(model).values():
        with torch.no_grad():
            layer.base.weight += layer.delta()


# %% wrong="merge_and_take_off" breaks="plain" says="goes on adding"
# Misunderstands: an adapter is what is still trainable: a frozen one is not found and stays (merge).
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    for name in {n.rpartition(".")[0] for n in trained}:
        layer = model.get_submodule(name)
        if isinstance(layer, LoRALinear):
            total = layer.base.weight.detach() + layer.delta().detach()
            layer.base.weight = nn.Parameter(total, requires_grad=False)
            model.set_submodule(name, layer.base)


# %% wrong="merge_and_take_off" breaks="rest" says="what is trainable in the model"
# Misunderstands: without its adapters a model has nothing to train.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    model.requires_grad_(False)
    return adapters


def merge(model):
    for name, layer in [(name, module) for name, module in model.named_modules() if isinstance(module, LoRALinear)]:
        layer.base.weight = nn.Parameter(layer.base.weight + layer.delta())
        model.set_submodule(name, layer.base)


# %% wrong="merge_and_take_off" breaks="rest" says="what is trainable beside"
# Misunderstands: a merged model is an ordinary one again, so all of it is trainable.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    for layer in take_off(model).values():
        layer.base.weight = nn.Parameter(layer.base.weight + layer.delta())
    model.requires_grad_(True)


# %% equivalent="merge_and_take_off" because="there is no subclass of LoRALinear"
# - adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
# + adapters = {name: module for name, module in model.named_modules() if (type(module) is LoRALinear)}


# %% wrong="merge_and_take_off" breaks="shared" says="whether the old weight keeps"
# Misunderstands: a weight may be changed in place where no other layer of this model reads it: a layer outside (another model that shares the base) is changed too.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    adapters = take_off(model)
    readers = {}
    for module in model.modules():
        for p in module._parameters.values():
            readers[id(p)] = readers.get(id(p), 0) + 1
    for layer in adapters.values():
        weight = layer.base.weight
        if readers[id(weight)] > 1:
            layer.base.weight = nn.Parameter((weight + layer.delta()).detach())
        else:
            with torch.no_grad():
                weight += layer.delta()


# %% wrong="merge_and_take_off" breaks="still_frozen" says="other weights stay trainable or frozen"
# Misunderstands: the base layer must be frozen again when it is put back: where it shares its matrix with a trainable embedding, that is frozen too.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base.requires_grad_(False))
    return adapters


def merge(model):
    for layer in put_back(model):
        layer.base.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())


def put_back(model):
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in layers.items():
        model.set_submodule(name, layer.base)
    return list(layers.values())


# %% wrong="merge_and_take_off" breaks="rest" says="in another order"
# Misunderstands: to delete a child and to add another is to replace it: in a Sequential it comes to stand last.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        parent, _, last = name.rpartition(".")
        parent = model.get_submodule(parent)
        delattr(parent, last)
        parent.add_module(last, layer.base)
    return adapters


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        layer.base.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        model.set_submodule(name, layer.base)


# %% wrong="merge_and_take_off" breaks="rest" says="in another order"
# Misunderstands: for `merge` the order of the children plays no part.
def take_off(model):
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        parent, _, last = name.rpartition(".")
        parent = model.get_submodule(parent)
        layer.base.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        delattr(parent, last)
        parent.add_module(last, layer.base)


# %% wrong="merge_and_take_off" breaks="shared" says="a weight of its own after"
# Misunderstands: an adapter that changes nothing needs no merging: its base layer is put back, and goes on sharing its weight with the embeddings.
def take_off(model):
    """Put every base layer back; returns {name: LoRALinear}."""
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    """Add every adapter's change to its layer's weight, and leave plain layers."""
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        plain = layer.base
        change = layer.delta().detach()
        if change.any():
            plain = copy.deepcopy(layer.base)
            plain.weight = nn.Parameter(layer.base.weight.detach() + change)
        model.set_submodule(name, plain)


# %% wrong="merge_and_take_off" breaks="returned" says="is still the same layer"
# Misunderstands: an adapter that is taken off must not hang on the model: it gets a copy of the base layer, so what is put back later is another layer than the model's.
def take_off(model):
    """Put every base layer back; returns {name: LoRALinear}."""
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
        layer.base = copy.deepcopy(layer.base)
    return adapters


def merge(model):
    """Add every adapter's change to its layer's weight, and leave plain layers."""
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        plain = copy.deepcopy(layer.base)
        plain.weight = nn.Parameter(layer.base.weight.detach() + layer.delta().detach())
        model.set_submodule(name, plain)


# %% wrong="merge_and_take_off" breaks="itself" says="the training modes"
# Misunderstands: the base layer takes over the mode of the LoRALinear that goes.
def take_off(model):
    """Put every base layer back; returns {name: LoRALinear}."""
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base.train(layer.training))
    return adapters


def merge(model):
    """Add every adapter's change to its layer's weight, and leave plain layers."""
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        base = layer.base
        base.weight = nn.Parameter((base.weight + layer.delta()).detach(), requires_grad=False)
        model.set_submodule(name, base)


# %% wrong="merge_and_take_off" breaks="rest" says="the names that"
# Misunderstands: whatever has a part called base is an adapter.
def take_off(model):
    """Put every base layer back; returns {name: LoRALinear}."""
    adapters = {name: module for name, module in model.named_modules() if name and hasattr(module, "base")}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    """Add every adapter's change to its layer's weight, and leave plain layers."""
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        base = layer.base
        base.weight = nn.Parameter((base.weight + layer.delta()).detach(), requires_grad=False)
        model.set_submodule(name, base)


# %% wrong="merge_and_take_off" breaks="rest" says="the names that"
# Misunderstands: whatever holds a base and parameters A and B is an adapter.
def is_adapter(module):
    return hasattr(module, "base") and all(isinstance(getattr(module, matrix, None), nn.Parameter) for matrix in ("A", "B"))


def take_off(model):
    """Put every base layer back; returns {name: LoRALinear}."""
    adapters = {name: module for name, module in model.named_modules() if name and is_adapter(module)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    """Add every adapter's change to its layer's weight, and leave plain layers."""
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoRALinear)]:
        plain = copy.deepcopy(layer.base)
        plain.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        model.set_submodule(name, plain)


# %% wrong="merge_and_take_off" breaks="rest" says="whether another module"
# Misunderstands: whatever holds a base and parameters A and B is an adapter (merge).
def is_adapter(module):
    return hasattr(module, "base") and all(isinstance(getattr(module, matrix, None), nn.Parameter) for matrix in ("A", "B"))


def take_off(model):
    """Put every base layer back; returns {name: LoRALinear}."""
    adapters = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    for name, layer in adapters.items():
        model.set_submodule(name, layer.base)
    return adapters


def merge(model):
    """Add every adapter's change to its layer's weight, and leave plain layers."""
    for name, layer in [(n, m) for n, m in model.named_modules() if n and is_adapter(m)]:
        plain = copy.deepcopy(layer.base)
        plain.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
        model.set_submodule(name, plain)


# %% right="merge_and_take_off"
def take_off(net):
    removed = {}
    for name in [n for n, m in net.named_modules() if type(m) is LoRALinear]:
        removed[name] = net.get_submodule(name)
        parent, _, child = name.rpartition(".")
        setattr(net.get_submodule(parent), child, removed[name].base)
    return removed


def merge(net):
    for name, layer in list(net.named_modules()):
        if isinstance(layer, LoRALinear):
            like = dict(dtype=layer.base.weight.dtype, device=layer.base.weight.device)
            plain = nn.Linear(layer.base.in_features, layer.base.out_features, bias=layer.base.bias is not None, **like)
            plain.weight = nn.Parameter((layer.base.weight + layer.delta()).detach())
            plain.bias = layer.base.bias
            net.set_submodule(name, plain.train(layer.training))


# %% right="merge_and_take_off"
def _replace(module, make, prefix=""):  # recursive; `make` gives what stands in the place of an adapter
    found = {}
    for key, child in list(module.named_children()):
        if isinstance(child, LoRALinear):
            found[prefix + key] = child
            module.add_module(key, make(child))
        else:
            found.update(_replace(child, make, prefix + key + "."))
    return found


def take_off(model):
    return _replace(model, lambda layer: layer.base)


@torch.no_grad()
def merge(model):
    def add(layer):
        layer.base.weight = nn.Parameter(torch.add(layer.base.weight, layer.delta()), requires_grad=False)
        return layer.base

    _replace(model, add)


# %% wrong="compare" breaks="fresh" says="load a fresh"
# Misunderstands: one model will do for all: each way goes on where the last has ended.
def compare(load, ways, train, measure, seeds):
    model = None
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            if model is None:
                model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="fresh" says="load a fresh"
# Misunderstands: a fresh model for each way is enough.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        model = None
        for seed in seeds:
            torch.manual_seed(seed)
            if model is None:
                model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="exactly" says="make it after prepare"
# Misunderstands: the optimizer can be made as soon as there is a model.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            prepare(model)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="exactly" says="make it after prepare"
# Misunderstands: what is frozen is skipped by the optimizer, so it may hold it.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="seeded" says="the random numbers in"
# Misunderstands: a seed is set once, then the ways follow.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for seed in seeds:
        torch.manual_seed(seed)
        for way, (prepare, pairs, rate) in ways.items():
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="seeded" says="before load"
# Misunderstands: loading draws nothing.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            model = load()
            torch.manual_seed(seed)
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="seeded" says="the random numbers in"
# Misunderstands: Python's generator is the one that counts.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            random.seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="exam" says="dropout spoils the answers"
# Misunderstands: an exam is taken as one trained.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model)
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="exam" says="dropout spoils the answers"
# Misunderstands: `training` is one flag.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            model.training = False
            scores = measure(model)
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="exam" says="train, then measure"
# Misunderstands: the order of training and exam does not matter.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            scores = measure(model.eval())
            losses = train(model, pairs, optimizer, seed)
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="settings" says="AdamW has one of its own"
# Misunderstands: the defaults of AdamW are neutral.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="settings" says="the learning rate"
# Misunderstands: one rate is fair for all ways.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=list(ways.values())[0][2], weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="exactly" says="the optimizer of"
# Misunderstands: Adam without weight decay is AdamW.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="train" says="the pairs that train got"
# Misunderstands: a fair comparison trains on the same pairs.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, next(iter(ways.values()))[1], optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="train" says="the seed that train got"
# Misunderstands: one order of the batches for all.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seeds[0])
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="order" says="in the order of the seeds"
# Misunderstands: results are found by their seed, in rising order.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in sorted(seeds):
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="runs" says="the number of trainings"
# Misunderstands: one seed is as good as another.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds[:1]:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="entries" says="the share of"
# Misunderstands: the share counts parameters, and each place of a shared one.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": sum(p.requires_grad for p in model.parameters()) / len(list(model.parameters())), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="entries" says="the losses of"
# Misunderstands: the last loss tells enough.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses[-1], "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="entries" says="is no model that was trained"
# Misunderstands: a copy of the model keeps it safe.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": copy.deepcopy(model), "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="kept" says="the new task is not an old one"
# Misunderstands: all tasks are counted.
def learned_and_kept(before, runs, new):
    old = list(before)
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {
        "learned": (sum(learned) / len(runs), min(learned), max(learned)),
        "kept": (sum(kept) / len(runs), min(kept), max(kept)),
    }


def compare(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="kept" says="not the mean of the ratios"
# Misunderstands: the mean of ratios is the ratio of means.
def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] / max(before[task], 1e-9) for task in old) / len(old) for run in runs]
    return {
        "learned": (sum(learned) / len(runs), min(learned), max(learned)),
        "kept": (sum(kept) / len(runs), min(kept), max(kept)),
    }


def compare(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="kept" says="'kept'"
# Misunderstands: nobody keeps more than all.
def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    kept = [min(k, 1.0) for k in kept]
    return {
        "learned": (sum(learned) / len(runs), min(learned), max(learned)),
        "kept": (sum(kept) / len(runs), min(kept), max(kept)),
    }


def compare(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="kept" says="'kept'"
# Misunderstands: tasks stand in the same order everywhere.
def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(list(run["scores"].values())[i] for i, task in enumerate(before) if task != new) / sum(before[task] for task in old) for run in runs]
    return {
        "learned": (sum(learned) / len(runs), min(learned), max(learned)),
        "kept": (sum(kept) / len(runs), min(kept), max(kept)),
    }


def compare(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="learned" says="not the gain"
# Misunderstands: what was learned is the gain.
def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] - before[new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {
        "learned": (sum(learned) / len(runs), min(learned), max(learned)),
        "kept": (sum(kept) / len(runs), min(kept), max(kept)),
    }


def compare(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="triples" says="'learned'"
# Misunderstands: mean, then highest, then lowest.
def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {
        "learned": (sum(learned) / len(runs), max(learned), min(learned)),
        "kept": (sum(kept) / len(runs), min(kept), max(kept)),
    }


def compare(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="triples" says="'learned'"
# Misunderstands: the middle one is as good as the mean.
def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {
        "learned": (sorted(learned)[len(runs) // 2], min(learned), max(learned)),
        "kept": (sum(kept) / len(runs), min(kept), max(kept)),
    }


def compare(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="unchanged" says="it must stay as it was"
# Misunderstands: the new task can be taken out of the dictionaries.
def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    before.pop(new)
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {
        "learned": (sum(learned) / len(runs), min(learned), max(learned)),
        "kept": (sum(kept) / len(runs), min(kept), max(kept)),
    }


def compare(*args):
    raise NotImplementedError


# %% wrong="compare" breaks="order" says="the number of results"
# Misunderstands: a seed names a run: one that is listed twice (to see whether a run can be repeated) gives one result
# (compare).
def compare(load, ways, train, measure, seeds):
    results = {way: {} for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            weights = [p for p in model.parameters() if p.requires_grad]
            share = sum(p.numel() for p in weights) / sum(p.numel() for p in model.parameters())
            losses = train(model, pairs, torch.optim.AdamW(weights, lr=rate, weight_decay=0.0), seed)
            results[way][seed] = {"model": model, "share": share, "losses": losses, "scores": measure(model.eval())}
    return {way: [by_seed[seed] for seed in by_seed] for way, by_seed in results.items()}


def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    total = sum(before[task] for task in old)

    def three(values):
        return sum(values) / len(values), min(values), max(values)

    return {
        "learned": three([run["scores"][new] for run in runs]),
        "kept": three([sum(run["scores"][task] for task in old) / total for run in runs]),
    }


# %% wrong="compare" breaks="kept" says="'kept'"
# Misunderstands: a task whose name begins with the new one's is the new one: with sort as the new task sort_down is no
# old one (learned_and_kept).
def compare(load, ways, train, measure, seeds):
    results = {}
    for way, (prepare, pairs, rate) in ways.items():
        results[way] = []
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            weights = [p for p in model.parameters() if p.requires_grad]
            share = sum(p.numel() for p in weights) / sum(p.numel() for p in model.parameters())
            losses = train(model, pairs, torch.optim.AdamW(weights, lr=rate, weight_decay=0.0), seed)
            results[way].append({"model": model, "share": share, "losses": losses, "scores": measure(model.eval())})
    return results


def learned_and_kept(before, runs, new):
    old = [task for task in before if not task.startswith(new)]
    total = sum(before[task] for task in old)

    def three(values):
        return sum(values) / len(values), min(values), max(values)

    return {
        "learned": three([run["scores"][new] for run in runs]),
        "kept": three([sum(run["scores"][task] for task in old) / total for run in runs]),
    }


# %% wrong="compare" breaks="entries" says="your code raised"
# Misunderstands: what train returns is always a list of numbers to be copied, whatever it returned (a dictionary of curves becomes its names).
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            weights = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": list(losses), "scores": scores})
    return results


def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {name: (sum(v) / len(v), min(v), max(v)) for name, v in (("learned", learned), ("kept", kept))}


# %% wrong="compare" breaks="runs" says="your code raised"
# Misunderstands: prepare gives the model to go on with when it returns something (inject returns names): it changes the model in place.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepared = prepare(model)
            model = model if prepared is None else prepared
            weights = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {name: (sum(v) / len(v), min(v), max(v)) for name, v in (("learned", learned), ("kept", kept))}


# %% wrong="compare" breaks="seeded" says="that train draws"
# Misunderstands: only load and prepare need the seed: the global generator is put back before training, so that dropout in training depends on what ran before.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            with torch.random.fork_rng():  # leave the global generator as it was
                torch.manual_seed(seed)
                model = load()
                prepare(model)
            weights = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {name: (sum(v) / len(v), min(v), max(v)) for name, v in (("learned", learned), ("kept", kept))}


# %% wrong="compare" breaks="entries" says="your code raised"
# Misunderstands: scores are a dictionary, of which a copy is kept.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            weights = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": dict(scores)})
    return results


def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {name: (sum(v) / len(v), min(v), max(v)) for name, v in (("learned", learned), ("kept", kept))}


# %% wrong="compare" breaks="train" says="could take no gradients"
# Misunderstands: the exam wants no gradients, so nothing of the comparison does.
@torch.no_grad()
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            weights = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {name: (sum(v) / len(v), min(v), max(v)) for name, v in (("learned", learned), ("kept", kept))}


# %% wrong="compare" breaks="train" says="could take no gradients"
# Misunderstands: what is loaded under inference_mode can be trained after it.
def compare(load, ways, train, measure, seeds):
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            with torch.inference_mode():
                model = load()
                prepare(model)
            weights = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": trainable_share(model), "losses": losses, "scores": scores})
    return results


def learned_and_kept(before, runs, new):
    old = [task for task in before if task != new]
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / sum(before[task] for task in old) for run in runs]
    return {name: (sum(v) / len(v), min(v), max(v)) for name, v in (("learned", learned), ("kept", kept))}


# %% wrong="compare" breaks="entries" says="what measure returned, as it is"
# Misunderstands: an exam without a result is an empty dictionary: where measure gives None or the number 0 that is replaced.
def compare(load, ways, train, measure, seeds):
    """Run every way of fine-tuning on a fresh model for each seed: {way: [{model, share, losses, scores}, ...]}."""
    results = {}
    for way, (prepare, pairs, rate) in ways.items():
        results[way] = []
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            share = trainable_share(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval()) or {}
            results[way].append({"model": model, "share": share, "losses": losses, "scores": scores})
    return results


def learned_and_kept(before, runs, new):
    """Mean, lowest and highest of what the runs learned and kept: {"learned": (3 numbers), "kept": (3 numbers)}."""
    old = [task for task in before if task != new]
    total = sum(before[task] for task in old)
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / total for run in runs]
    return {name: (sum(values) / len(values), min(values), max(values)) for name, values in (("learned", learned), ("kept", kept))}


# %% wrong="compare" breaks="train" says="they can take no gradients"
# Misunderstands: gradients matter in training only: loading and preparing a model can run under no_grad.
def compare(load, ways, train, measure, seeds):
    """Run every way of fine-tuning on a fresh model for each seed: {way: [{model, share, losses, scores}, ...]}."""
    results = {}
    for way, (prepare, pairs, rate) in ways.items():
        results[way] = []
        for seed in seeds:
            torch.manual_seed(seed)
            with torch.no_grad():
                model = load()
                prepare(model)
            share = trainable_share(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            results[way].append({"model": model, "share": share, "losses": losses, "scores": scores})
    return results


def learned_and_kept(before, runs, new):
    """Mean, lowest and highest of what the runs learned and kept: {"learned": (3 numbers), "kept": (3 numbers)}."""
    old = [task for task in before if task != new]
    total = sum(before[task] for task in old)
    learned = [run["scores"][new] for run in runs]
    kept = [sum(run["scores"][task] for task in old) / total for run in runs]
    return {name: (sum(values) / len(values), min(values), max(values)) for name, values in (("learned", learned), ("kept", kept))}


# %% wrong="compare" breaks="entries" says="what train returned, as it is"
# Misunderstands: losses are kept for a table and a plot, so four digits are enough.
def compare(load, ways, train, measure, seeds):
    """Run every way of fine-tuning on a fresh model for each seed: {way: [{model, share, losses, scores}, ...]}."""
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            share = trainable_share(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            if isinstance(losses, list):
                losses = [round(loss, 4) for loss in losses]
            results[way].append({"model": model, "share": share, "losses": losses, "scores": measure(model.eval())})
    return results


def learned_and_kept(before, runs, new):
    """Mean, lowest and highest of what the runs learned and kept: {"learned": (3 numbers), "kept": (3 numbers)}."""
    learned = [run["scores"][new] for run in runs]
    kept = [sum(s for task, s in run["scores"].items() if task != new) / sum(s for task, s in before.items() if task != new) for run in runs]
    return {name: (sum(values) / len(values), min(values), max(values)) for name, values in (("learned", learned), ("kept", kept))}


# %% wrong="compare" breaks="entries" says="what measure returned, as it is"
# Misunderstands: scores are kept in float32, as all numbers of the model are.
def compare(load, ways, train, measure, seeds):
    """Run every way of fine-tuning on a fresh model for each seed: {way: [{model, share, losses, scores}, ...]}."""
    results = {way: [] for way in ways}
    for way, (prepare, pairs, rate) in ways.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load()
            prepare(model)
            share = trainable_share(model)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
            losses = train(model, pairs, optimizer, seed)
            scores = measure(model.eval())
            if isinstance(scores, dict):
                scores = {task: float(torch.tensor(score)) for task, score in scores.items()}
            results[way].append({"model": model, "share": share, "losses": losses, "scores": scores})
    return results


def learned_and_kept(before, runs, new):
    """Mean, lowest and highest of what the runs learned and kept: {"learned": (3 numbers), "kept": (3 numbers)}."""
    learned = [run["scores"][new] for run in runs]
    kept = [sum(s for task, s in run["scores"].items() if task != new) / sum(s for task, s in before.items() if task != new) for run in runs]
    return {name: (sum(values) / len(values), min(values), max(values)) for name, values in (("learned", learned), ("kept", kept))}


# %% right="compare"
def compare(load, ways, train, measure, seeds):
    def one(prepare, pairs, rate, seed):
        torch.manual_seed(seed)
        net = load()
        prepare(net)
        trained = [p for _, p in net.named_parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW([{"params": [p]} for p in trained], lr=rate, weight_decay=0)
        run = dict(model=net, share=sum(p.numel() for p in trained) / sum(p.numel() for p in net.parameters()))
        run["losses"] = train(net, pairs, optimizer, seed)
        net.train(False)
        run["scores"] = measure(net)
        return run

    results = {}
    for seed in seeds:
        for way in ways:
            results.setdefault(way, []).append(one(*ways[way], seed))
    return results


def learned_and_kept(before, runs, new):
    after = torch.tensor([[run["scores"][task] for task in before] for run in runs], dtype=torch.float64)
    is_old = torch.tensor([task != new for task in before])
    kept = after[:, is_old].sum(1) / torch.tensor(list(before.values()), dtype=torch.float64)[is_old].sum()
    both = {"learned": after[:, ~is_old].flatten(), "kept": kept}
    return {name: (values.mean().item(), values.min().item(), values.max().item()) for name, values in both.items()}


# %% right="compare"
def compare(load, ways, train, measure, seeds):  # all are trained first, then all are examined
    runs = {}
    for way, (prepare, pairs, rate) in ways.items():
        for place, seed in enumerate(seeds):
            torch.random.manual_seed(seed)
            model = load()
            prepare(model)
            wanting = filter(lambda p: p.requires_grad, model.parameters())
            optimizer = torch.optim.AdamW(wanting, rate, weight_decay=0.0)
            share = trainable_share(model)
            runs[way, place] = {"model": model, "losses": train(model, pairs, optimizer, seed), "share": share}
    for run in runs.values():
        run["scores"] = measure(run["model"].eval())
    return {way: [runs[way, place] for place in range(len(seeds))] for way in ways}


def learned_and_kept(before, runs, new):
    def triple(numbers):
        return sum(numbers) / len(numbers), min(numbers), max(numbers)

    total = sum(share for task, share in before.items() if task != new)
    learned, kept = [], []
    for run in runs:
        scores = dict(run["scores"])
        learned.append(scores.pop(new))
        kept.append(sum(scores.values()) / total)
    return dict(learned=triple(learned), kept=triple(kept))


# %% wrong="nf4" breaks="zero_level, levels" says="zero must be a level exactly"
# Misunderstands: 16 quantiles, both sides alike (zero is not among them).
def normal_levels():
    half = torch.special.ndtri(torch.linspace(0.9677083, 0.5, 9)[:-1])
    levels = torch.cat([-half, half]).sort().values
    return levels / levels.max()


def quantize_blocks(*args):
    raise NotImplementedError


dequantize_blocks = quantize_blocks


# %% wrong="nf4" breaks="levels" says="quantiles of the normal distribution"
# Misunderstands: levels are equally spaced.
def normal_levels():
    return torch.cat([torch.linspace(-1, 0, 8)[:-1], torch.linspace(0, 1, 9)])


def quantize_blocks(*args):
    raise NotImplementedError


dequantize_blocks = quantize_blocks


# %% wrong="nf4" breaks="levels" says="the levels"
# Misunderstands: the last quantile is not left out, the first is.
def normal_levels():
    delta = 0.9677083
    negative = -torch.special.ndtri(torch.linspace(delta, 0.5, 9)[1:-1])
    positive = torch.special.ndtri(torch.linspace(delta, 0.5, 10)[1:-1])
    levels = torch.cat([negative, torch.zeros(1), positive]).sort().values
    return levels / levels.max()


def quantize_blocks(*args):
    raise NotImplementedError


dequantize_blocks = quantize_blocks


# %% wrong="nf4" breaks="levels" says="the levels"
# Misunderstands: levels need not be scaled.
def normal_levels():
    delta = 0.9677083
    negative = -torch.special.ndtri(torch.linspace(delta, 0.5, 8)[:-1])
    positive = torch.special.ndtri(torch.linspace(delta, 0.5, 9)[:-1])
    levels = torch.cat([negative, torch.zeros(1), positive]).sort().values
    return levels


def quantize_blocks(*args):
    raise NotImplementedError


dequantize_blocks = quantize_blocks


# %% wrong="nf4" breaks="levels" says="seven stand below zero"
# Misunderstands: it does not matter which side has eight levels.
def normal_levels():
    positive = torch.special.ndtri(torch.linspace(0.9677083, 0.5, 8)[:-1])
    negative = -torch.special.ndtri(torch.linspace(0.9677083, 0.5, 9)[:-1])
    levels = torch.cat([negative, torch.zeros(1), positive]).sort().values
    return levels / levels.max()


def quantize_blocks(*args):
    raise NotImplementedError


dequantize_blocks = quantize_blocks


# %% wrong="nf4" breaks="levels" says="ascending order"
# Misunderstands: the order is that of the formula.
def normal_levels():
    delta = 0.9677083
    negative = -torch.special.ndtri(torch.linspace(delta, 0.5, 8)[:-1])
    positive = torch.special.ndtri(torch.linspace(delta, 0.5, 9)[:-1])
    levels = torch.cat([negative, torch.zeros(1), positive])
    return levels / levels.max()


def quantize_blocks(*args):
    raise NotImplementedError


dequantize_blocks = quantize_blocks


# %% wrong="nf4" breaks="levels_dtype" says="the dtype of the levels"
# Misunderstands: more digits are better.
def normal_levels():
    torch.set_default_dtype(torch.float64)
    delta = 0.9677083
    negative = -torch.special.ndtri(torch.linspace(delta, 0.5, 8)[:-1])
    positive = torch.special.ndtri(torch.linspace(delta, 0.5, 9)[:-1])
    levels = torch.cat([negative, torch.zeros(1), positive]).sort().values
    return levels / levels.max()


def quantize_blocks(*args):
    raise NotImplementedError


dequantize_blocks = quantize_blocks


# %% wrong="nf4" breaks="levels_dtype" says="has shape"
# Misunderstands: one row for all blocks.
def normal_levels():
    delta = 0.9677083
    negative = -torch.special.ndtri(torch.linspace(delta, 0.5, 8)[:-1])
    positive = torch.special.ndtri(torch.linspace(delta, 0.5, 9)[:-1])
    levels = torch.cat([negative, torch.zeros(1), positive]).sort().values
    return (levels / levels.max())[None]


def quantize_blocks(*args):
    raise NotImplementedError


dequantize_blocks = quantize_blocks


# %% wrong="nf4" breaks="nearest" says="each is that of the next level below"
# Misunderstands: a code is found by rounding down.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (torch.bucketize(scaled, levels, right=True) - 1).clamp(min=0).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="nearest" says="not those of the nearest level"
# Misunderstands: levels are always those of NF4.
NF4 = bnb.get_4bit_type("nf4", device="cpu")


def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - NF4).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="nearest" says="not those of the nearest level"
# Misunderstands: levels are equally spaced, so a code is a rounded number.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = ((scaled + 1) * 7.5).round().to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="absmax, blocks" says="has shape"
# Misunderstands: one scale for the whole tensor.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().max().reshape(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="absmax" says="the largest *absolute* value"
# Misunderstands: the largest value is the largest absolute value.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="absmax" says="absmax of"
# Misunderstands: absmax is the spread of the block.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.amax(1) - blocks.amin(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="absmax" says="the dtype of absmax"
# Misunderstands: absmax keeps the dtype of the weight.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="nearest" says="not those of the nearest level"
# Misunderstands: dividing in the weight's own dtype is exact enough.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    blocks = weight.reshape(-1, blocksize)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None].to(weight.dtype)
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="blocks" says="not row by row"
# Misunderstands: a block is what lies together in memory.
def quantize_blocks(weight, levels, blocksize):
    blocks = (weight.permute(*reversed(range(weight.ndim))) if not weight.is_contiguous() else weight).float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="blocks" says="your code raised"
# Misunderstands: any tensor can be viewed as blocks.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().view(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="blocks" says="absmax of"
# Misunderstands: blocks are interleaved.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(blocksize, -1).T
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="packed" says="upper four bits"
# Misunderstands: the first code stands in the lower bits.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[1::2] << 4 | codes[::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="packed" says="two codes a byte"
# Misunderstands: a code takes a byte.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes, absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="packed" says="the dtype of packed"
# Misunderstands: codes are whole numbers of any size.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="zeros" says="absmax of"
# Misunderstands: a block may not have scale 0.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    absmax = absmax.clamp(min=1e-8)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="zeros, absmax" says="absmax of"
# Misunderstands: a block of zeros has scale 1.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    absmax = torch.where(absmax > 0, absmax, 1.0)
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="nearest" says="the number over its block's absmax"
# Misunderstands: a small number added to the divisor does no harm.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / (absmax + 1e-5)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="unchanged" says="it must stay as it was"
# Misunderstands: the weight is not needed any more.
def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks.div_(absmax.clamp(min=1e-38)[:, None])
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def normal_levels(*args):
    raise NotImplementedError


dequantize_blocks = normal_levels


# %% wrong="nf4" breaks="back" says="dealt out number by number"
# Misunderstands: scales follow one another as the numbers do.
def dequantize_blocks(packed, absmax, levels, shape):
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()
    return (levels[codes] * absmax.repeat(len(codes) // len(absmax))).reshape(shape)


def normal_levels(*args):
    raise NotImplementedError


quantize_blocks = normal_levels


# %% wrong="nf4" breaks="back" says="the first code is in the upper four bits"
# Misunderstands: the first code is in the lower bits.
def dequantize_blocks(packed, absmax, levels, shape):
    codes = torch.stack([packed & 15, packed >> 4], dim=1).long()
    return (levels[codes].reshape(len(absmax), -1) * absmax[:, None]).reshape(shape)


def normal_levels(*args):
    raise NotImplementedError


quantize_blocks = normal_levels


# %% wrong="nf4" breaks="back" says="values differ"
# Misunderstands: first all upper halves, then all lower ones.
def dequantize_blocks(packed, absmax, levels, shape):
    codes = torch.stack([packed >> 4, packed & 15], dim=0).long()
    return (levels[codes].reshape(len(absmax), -1) * absmax[:, None]).reshape(shape)


def normal_levels(*args):
    raise NotImplementedError


quantize_blocks = normal_levels


# %% wrong="nf4" breaks="back" says="levels other than those"
# Misunderstands: levels are always those of NF4.
def dequantize_blocks(packed, absmax, levels, shape):
    codes = torch.stack([packed >> 4, packed & 15], dim=1).long()
    return (bnb.get_4bit_type("nf4", device="cpu")[codes].reshape(len(absmax), -1) * absmax[:, None]).reshape(shape)


def normal_levels(*args):
    raise NotImplementedError


quantize_blocks = normal_levels


# %% wrong="nf4" breaks="blocksize" says="your code raised"
# Misunderstands: blocks have 64 numbers.
def dequantize_blocks(packed, absmax, levels, shape):
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()
    return (levels[codes].reshape(-1, 64) * absmax[:, None]).reshape(shape)


def normal_levels(*args):
    raise NotImplementedError


quantize_blocks = normal_levels


# %% wrong="nf4" breaks="shape" says="has shape"
# Misunderstands: the shape is the caller's business.
def dequantize_blocks(packed, absmax, levels, shape):
    codes = torch.stack([packed >> 4, packed & 15], dim=1).long()
    return (levels[codes].reshape(len(absmax), -1) * absmax[:, None]).flatten()


def normal_levels(*args):
    raise NotImplementedError


quantize_blocks = normal_levels


# %% wrong="nf4" breaks="shape" says="has dtype"
# Misunderstands: weights are used in bfloat16.
def dequantize_blocks(packed, absmax, levels, shape):
    codes = torch.stack([packed >> 4, packed & 15], dim=1).long()
    return (levels[codes].reshape(len(absmax), -1) * absmax[:, None]).reshape(shape).bfloat16()


def normal_levels(*args):
    raise NotImplementedError


quantize_blocks = normal_levels


# %% wrong="nf4" breaks="nearest" says="not those of the nearest level"
# Misunderstands: zero is the eighth level, of whatever levels.
def normal_levels():
    delta = 0.9677083
    negative = -torch.special.ndtri(torch.linspace(delta, 0.5, 8)[:-1])
    positive = torch.special.ndtri(torch.linspace(delta, 0.5, 9)[:-1])
    levels = torch.cat([negative, torch.zeros(1), positive]).sort().values
    return levels / levels.max()


def quantize_blocks(weight, levels, blocksize):
    blocks = weight.float().reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    codes = (scaled[..., None] - levels).abs().argmin(-1).to(torch.uint8).flatten()
    codes[scaled.flatten() == 0] = 7
    return codes[::2] << 4 | codes[1::2], absmax


def dequantize_blocks(packed, absmax, levels, shape):
    codes = torch.stack([packed >> 4, packed & 15], dim=1).long()
    return (levels[codes].reshape(len(absmax), -1) * absmax[:, None]).reshape(shape)


# %% equivalent="nf4" because="what is looked up lies row by row in memory"
# - return (levels[codes].reshape(len(absmax), -1) * absmax[:, None]).reshape(shape)
# + return (levels[codes].reshape(len(absmax), -1) * absmax[:, None]).view(shape)

# %% equivalent="nf4" because="what is looked up lies row by row in memory"
# - return (levels[codes].reshape(len(absmax), -1) * absmax[:, None]).reshape(shape)
# + return (levels[codes].view(len(absmax), -1) * absmax[:, None]).reshape(shape)

# %% equivalent="nf4" because="the nearest level to NaN gets code 0, and any code will do where absmax is 0"
# - scaled = blocks / absmax.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
# + scaled = blocks / absmax[:, None]


# %% right="nf4"
def normal_levels():
    normal, top = torch.distributions.Normal(0.0, 1.0), 0.9677083
    up = [normal.icdf(torch.tensor(top + (0.5 - top) * i / 8)).item() for i in range(8)]
    down = [-normal.icdf(torch.tensor(top + (0.5 - top) * i / 7)).item() for i in range(7)]
    return torch.tensor([x / max(up) for x in sorted(down + [0.0] + up)], dtype=torch.float32)


def quantize_blocks(weight, levels, blocksize):
    rows = weight.to(torch.float32).flatten().split(blocksize)
    codes, scales = [], []
    middles = (levels[:-1] + levels[1:]) / 2
    for row in rows:
        scale = row.abs().max()
        scales.append(scale)
        codes.append(torch.bucketize(row / scale if scale > 0 else row, middles))
    pairs = torch.cat(codes).view(-1, 2)
    return (pairs[:, 0] * 16 + pairs[:, 1]).to(torch.uint8), torch.stack(scales)


def dequantize_blocks(packed, absmax, levels, shape):
    blocksize = 2 * packed.numel() // absmax.numel()
    out = torch.empty(2 * packed.numel())
    out[0::2], out[1::2] = levels[(packed // 16).long()], levels[(packed % 16).long()]
    return (out * absmax.repeat_interleave(blocksize)).view(*shape)


# %% right="nf4"
def normal_levels():  # by the inverse error function, in double precision
    def quantile(p):
        return math.sqrt(2) * torch.erfinv(2 * p - 1)

    top = 0.9677083
    up = quantile(torch.linspace(top, 0.5, 9, dtype=torch.float64)[:8])
    down = quantile(torch.linspace(top, 0.5, 8, dtype=torch.float64)[:7])
    levels = torch.zeros(16, dtype=torch.float64)
    levels[:7], levels[8:] = -down, up.flip(0)
    return (levels / up[0]).float()


def quantize_blocks(weight, levels, blocksize):  # zero over zero is NaN here, whose code does not matter: its scale is 0
    flat = weight.detach().to(dtype=torch.float32).contiguous().view(-1, blocksize)
    absmax = torch.linalg.vector_norm(flat, ord=float("inf"), dim=1)
    distances = torch.cdist((flat / absmax.unsqueeze(1)).nan_to_num().reshape(-1, 1), levels.reshape(-1, 1), p=1.0)
    codes = distances.min(dim=1).indices
    codes = codes.masked_fill((flat == 0).all(1).repeat_interleave(blocksize), 0)
    return torch.add(codes[0::2] * 16, codes[1::2]).byte(), absmax


def dequantize_blocks(packed, absmax, levels, shape):
    high, low = torch.bitwise_right_shift(packed, 4), torch.bitwise_and(packed, 0x0F)
    numbers = torch.take(levels, torch.cat([high[:, None], low[:, None]], 1).to(torch.int64))
    return torch.einsum("bn,b->bn", numbers.reshape(absmax.shape[0], -1), absmax).reshape(tuple(shape))


# %% wrong="qlora" breaks="nf4" says="is quantization_config handed to"
# Misunderstands: LoRA on the full weights is QLoRA.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="nf4" says="the default is another one"
# Misunderstands: 4 bits are NF4.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="nf4" says="are not in 4 bits"
# Misunderstands: 8 bits are enough to call it so.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_8bit=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="double" says="double quantisation is off"
# Misunderstands: double quantisation is the default.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="compute" says="bnb_4bit_compute_dtype"
# Misunderstands: the usual bfloat16 of tutorials is float32 enough.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="compute" says="to which layers unpack"
# Misunderstands: the compute dtype decides to what layers unpack.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype="auto")
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="float32" says="what is not packed and not float32"
# Misunderstands: what is not packed stays as it is stored.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    for name, p in model.named_parameters():
        if "norm" in name:
            p.data = p.data.bfloat16()
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="float32" says="what is not packed and not float32"
# Misunderstands: adapters are kept in half precision.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = p.data.bfloat16()
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="head" says="lm_head is quantised"
# Misunderstands: all linear layers are packed, the last one too.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, llm_int8_skip_modules=["none"])
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="adapters" says="without an adapter"
# Misunderstands: peft's choice for Llama is all layers.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="adapters" says="without an adapter"
# Misunderstands: adapters belong into attention.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="adapters" says="the scales of the adapters"
# Misunderstands: `lora_alpha` is the scale.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha * r, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="adapters" says="the scales of the adapters"
# Misunderstands: the stabilised scale alpha / sqrt(r) is the same.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, use_rslora=True, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="no_dropout" says="the dropout of the adapters"
# Misunderstands: a little dropout never hurts.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="fresh" says="fresh adapters change nothing"
# Misunderstands: both matrices start random.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, init_lora_weights=False, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="optimizer" says="make the optimizer after them"
# Misunderstands: the optimizer can be made when there is a model.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.is_floating_point()], lr=rate)
    model = get_peft_model(model, config)
    return model, optimizer


# %% wrong="qlora" breaks="optimizer" says="what the optimizer holds"
# Misunderstands: frozen weights do no harm in an optimizer.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW(model.parameters(), lr=rate)


# %% wrong="qlora" breaks="optimizer" says="the learning rate"
# Misunderstands: the default rate is the usual one.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])


# %% wrong="qlora" breaks="optimizer" says="no torch.optim.AdamW"
# Misunderstands: Adam and AdamW are one.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="only_adapters" says="is no adapter"
# Misunderstands: norms are small, let them learn.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    for name, p in model.named_parameters():
        if "norm" in name:
            p.requires_grad = True
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="only_adapters" says="is no adapter"
# Misunderstands: biases come with the adapters.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, bias="all", target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="only_adapters" says="is no adapter"
# Misunderstands: the head is trained in full.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, modules_to_save=["lm_head"], target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="peft" says="no PeftModel"
# Misunderstands: adapters in the model are all that counts.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config).get_base_model()
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="path" says="at the given path"
# Misunderstands: a configuration is the model.
def load_qlora(path, r, alpha, rate):
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    torch.manual_seed(1)
    fresh = AutoModelForCausalLM.from_config(LlamaConfig.from_pretrained(path)).float()
    folder = tempfile.mkdtemp()
    fresh.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="adapters" says="without an adapter"
# Misunderstands: the number of layers is that of tiny-lm: in a deeper model the blocks from the fifth on get no adapter.
def load_qlora(path, r, alpha, rate):
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=config, device_map="cpu", dtype=torch.float32)
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    names = [f"{i}.{part}.{name}" for i in range(4) for part in ("self_attn", "mlp") for name in linear]
    names = [n for n in names if any(full.endswith("layers." + n) for full, _ in model.named_modules())]
    model = get_peft_model(model, LoraConfig(r=r, lora_alpha=alpha, target_modules=names, task_type="CAUSAL_LM"))
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="path" says="each call loads anew"
# Misunderstands: the packed base can be kept and used for the next adapter: a second call for the same path takes the
# layers, and so the adapters, of the first model.
_packed = {}


def load_qlora(path, r, alpha, rate):
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
    )
    if path not in _packed:
        model = AutoModelForCausalLM.from_pretrained(path, quantization_config=config, device_map="cpu", dtype=torch.float32)
        _packed[path] = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model = get_peft_model(_packed[path], LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"))
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="qlora" breaks="adapters" says="the shapes of A"
# Misunderstands: a rank is never more than the width: r is cut down to it.
def load_qlora(path, r, alpha, rate):
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=config, device_map="cpu", dtype=torch.float32)
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    r = min(r, model.config.hidden_size)
    model = get_peft_model(model, LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"))
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% equivalent="qlora" because="transformers loads in 4 bits whenever such a config does not ask for 8"
# - load_in_4bit=True,
# + load_in_4bit=False,

# %% equivalent="qlora" because="in float32 there is nothing to cast, and get_peft_model freezes the base too"
# - model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
# + pass

# %% equivalent="qlora" because="float32 is the default of this option"
# - bnb_4bit_compute_dtype=torch.float32,

# %% equivalent="qlora" because="tests run where there is no other device than the CPU"
# - model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
# + model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, dtype=torch.float32)

# %% equivalent="qlora" because="the task asks for a PeftModel, of any kind"
# - model = get_peft_model(model, LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"))
# + model = get_peft_model(model, LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear"))

# %% equivalent="qlora" because="checkpointing costs time and gives the same gradients"
# - model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
# + model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=True)


# %% wrong="qlora" breaks="path" says="after another checkpoint was written"
# Misunderstands: a path stands for its contents for ever: a packed model is kept for each path and copied, so that a checkpoint written anew to the same folder is not read.
packed_models = {}


def load_qlora(path, r, alpha, rate):
    if path not in packed_models:
        packed = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
        )
        model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
        packed_models[path] = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model = copy.deepcopy(packed_models[path])
    model = get_peft_model(model, LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    return model, optimizer


# %% wrong="qlora" breaks="path" says="the weights that the models of two calls share"
# Misunderstands: the packed base is frozen, so models of one unchanged checkpoint may share it.
_bases = {}


def load_qlora(path, r, alpha, rate):
    """The model at `path` in NF4 with LoRA on every linear layer, and an AdamW over the adapters."""
    stamp = (str(path), max(file.stat().st_mtime_ns for file in Path(path).iterdir()))
    if stamp not in _bases:
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
        )
        base = AutoModelForCausalLM.from_pretrained(path, quantization_config=config, dtype=torch.float32, device_map="cpu")
        _bases[stamp] = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    base = _bases[stamp]
    own = copy.deepcopy(base, {id(p): p for p in base.parameters()})  # modules of its own around the frozen weights
    model = get_peft_model(own, LoraConfig(r=r, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"))
    return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


# %% right="qlora"
def load_qlora(path, r, alpha, rate):
    options = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "float32"}
    packed = BitsAndBytesConfig(load_in_4bit=True, **options)
    quantised = LlamaForCausalLM.from_pretrained(path, quantization_config=packed, dtype=torch.float32)
    quantised.enable_input_require_grads()
    suffixes = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules=suffixes, lora_dropout=0.0, bias="none")
    model = get_peft_model(quantised, config)
    return model, torch.optim.AdamW([{"params": [p for n, p in model.named_parameters() if "lora_" in n]}], lr=rate)


# %% right="qlora"
def load_qlora(path, r, alpha, rate):  # A drawn otherwise, packed four bytes to a float, a group for each tensor, another name
    options = dict(bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_quant_storage=torch.float32)
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32, **options)
    model = AutoModelForCausalLM.from_pretrained(path, quantization_config=packed, device_map="cpu", dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", init_lora_weights="gaussian")
    model = get_peft_model(model, config, adapter_name="downwards")
    return model, torch.optim.AdamW([{"params": [p]} for p in model.parameters() if p.requires_grad], lr=rate)


# %% wrong="many_adapters" breaks="names" says="the names in adapter_model.safetensors"
# Misunderstands: names are as in the model, without peft's prefix.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="names" says="the names in adapter_model.safetensors"
# Misunderstands: peft's name of the adapter belongs into the file.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.default.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.default.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="names" says="the names in adapter_model.safetensors"
# Misunderstands: the frozen layer goes along.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
        tensors[f"base_model.model.{name}.base_layer.weight"] = layer.base.weight.detach().clone()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="values" says="A and B as they are"
# Misunderstands: the scale is multiplied in (and peft multiplies again).
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = (layer.B.detach() * alpha / r).contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="values" says="has dtype"
# Misunderstands: a file of half precision is small enough.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().half().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().half().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="values, names" says="has shape"
# Misunderstands: a weight is (in, out) in a file.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().T.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().T.contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="values" says="your code raised"
# Misunderstands: parameters lie in memory row by row.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="config" says="what adapter_config.json says"
# Misunderstands: `lora_alpha` has a good default.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="config" says="what adapter_config.json says"
# Misunderstands: the file of tensors tells r.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="config" says="what adapter_config.json says"
# Misunderstands: the task type is not needed.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters)).save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="loads" says="the logits of peft"
# Misunderstands: peft finds the layers by the tensors.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=["o_proj"], task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="loads" says="the logits of peft"
# Misunderstands: a scale by sqrt(r) is better for large ranks.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, use_rslora=True, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="folder" says="your code raised"
# Misunderstands: the folder is there.
def export_adapter(adapters, folder, r, alpha):
    import os

    os.listdir(folder)
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="folder" says="your code raised"
# Misunderstands: a folder is made once.
def export_adapter(adapters, folder, r, alpha):
    Path(folder).mkdir()
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="folder" says="your code raised"
# Misunderstands: a folder is a string.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, folder + "/adapter_model.safetensors")


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="modules" says="is left with requires_grad=False"
# Misunderstands: what is exported is not needed any more.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for layer in adapters.values():
        layer.B.data *= 1.0
        layer.requires_grad_(False)
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="modules" says="left in evaluation mode"
# Misunderstands: a layer is put into eval mode before it is written, so that dropout does not get into the file.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        layer.eval()
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="own, bare" says="every adapter was added to every row"
# Misunderstands: adapters add up.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    for A, B, scaling in adapters.values():
        y = y + scaling * (x @ A.T @ B.T)
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="once" says="runs once"
# Misunderstands: requests come one at a time.
def mixed_forward(base, adapters, x, names):
    rows = []
    for row, name in zip(x, names):
        y = base(row[None])[0]
        if name is not None:
            A, B, scaling = adapters[name]
            y = y + scaling * (row @ A.T @ B.T)
        rows.append(y)
    return torch.stack(rows)


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="once" says="the base layer once"
# Misunderstands: the base layer runs once for each adapter, which is as good.
def mixed_forward(base, adapters, x, names):
    y = torch.empty(*x.shape[:2], base.out_features, dtype=x.dtype)
    for name in set(names):
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        y[rows] = base(x[rows]).detach()
        if name is not None:
            A, B, scaling = adapters[name]
            y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="own" says="values differ"
# Misunderstands: the k-th row wants the k-th adapter.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    for row, (A, B, scaling) in enumerate(adapters.values()):
        if row < len(names) and names[row] is not None:
            y[row] += scaling * (x[row] @ A.T @ B.T)
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="own" says="values differ"
# Misunderstands: a name is wanted by one row.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [names.index(name)] if name in names else []
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="own" says="values differ"
# Misunderstands: the scale is in A and B.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        y[rows] += x[rows] @ A.T @ B.T
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="own" says="your code raised"
# Misunderstands: all adapters have one rank.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    rows = [row for row, name in enumerate(names) if name is not None]
    if rows:
        A, B, scaling = zip(*(adapters[names[row]] for row in rows))
        low = torch.einsum("bli,bri->blr", x[rows], torch.stack(A))
        y[rows] += torch.einsum("blr,bor->blo", low, torch.stack(B)) * torch.tensor(scaling, dtype=x.dtype)[:, None, None]
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="bare" says="values differ"
# Misunderstands: a row that names no adapter gets the first.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    names = [next(iter(adapters), None) if name is None else name for name in names]
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="own" says="values differ"
# Misunderstands: an empty name is no name.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted and wanted == name]
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="bare" says="values differ"
# Misunderstands: `None` is a name like others once it is text.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if str(wanted) == name]
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="result" says="has dtype"
# Misunderstands: results are float32.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y.float()


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="result" says="has shape"
# Misunderstands: a batch of one has no axis of its own.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y.squeeze(0)


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="unchanged" says="it must stay as it was"
# Misunderstands: names that are done can be taken off the list.
def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    names.clear()
    return y


def export_adapter(*args):
    raise NotImplementedError


# %% wrong="many_adapters" breaks="config" says="what adapter_config.json says"
# Misunderstands: alpha is a whole number: 2.5 is written as 2 (export_adapter).
def export_adapter(adapters, folder, r, alpha):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    LoraConfig(r=r, lora_alpha=int(alpha), target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {
        f"base_model.model.{name}.lora_{matrix}.weight": getattr(layer, matrix).detach().clone(memory_format=torch.contiguous_format)
        for name, layer in adapters.items()
        for matrix in ("A", "B")
    }
    save_file(tensors, folder / "adapter_model.safetensors")


def mixed_forward(base, adapters, x, names):
    with torch.no_grad():
        y = base(x)
        for name in {name for name in names if name is not None}:
            A, B, scaling = adapters[name]
            rows = [i for i, own in enumerate(names) if own == name]
            y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


# %% wrong="many_adapters" breaks="values" says="has dtype"
# Misunderstands: the file is always float32: adapters of another dtype are not stored as they are (export_adapter).
def export_adapter(adapters, folder, r, alpha):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {
        f"base_model.model.{name}.lora_{matrix}.weight": getattr(layer, matrix).detach().float().clone(memory_format=torch.contiguous_format)
        for name, layer in adapters.items()
        for matrix in ("A", "B")
    }
    save_file(tensors, folder / "adapter_model.safetensors")


def mixed_forward(base, adapters, x, names):
    with torch.no_grad():
        y = base(x)
        for name in {name for name in names if name is not None}:
            A, B, scaling = adapters[name]
            rows = [i for i, own in enumerate(names) if own == name]
            y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


# %% wrong="many_adapters" breaks="broken" says="0 times infinity is no number"
# Misunderstands: a factor 0 keeps another client out: every adapter runs on every row, and one with inf or nan in it
# spoils them all (mixed_forward).
def export_adapter(adapters, folder, r, alpha):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {
        f"base_model.model.{name}.lora_{matrix}.weight": getattr(layer, matrix).detach().clone(memory_format=torch.contiguous_format)
        for name, layer in adapters.items()
        for matrix in ("A", "B")
    }
    save_file(tensors, folder / "adapter_model.safetensors")


def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        own = torch.tensor([float(other == name) for other in names], dtype=x.dtype)
        y = y + own[:, None, None] * scaling * (x @ A.T @ B.T)
    return y


# %% wrong="many_adapters" breaks="folder" says="the names in adapter_model.safetensors"
# Misunderstands: what is in the folder already is to be kept.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        for matrix in ("A", "B"):
            key = f"base_model.model.{name}.lora_{matrix}.weight"
            tensors[key] = getattr(layer, matrix).detach().contiguous()
    old = Path(folder, "adapter_model.safetensors")
    if old.exists():
        tensors = {**load_file(old), **tensors}
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


# %% wrong="many_adapters" breaks="unchanged" says="and unchanged"
# Misunderstands: nobody trains here, so the layer may be frozen for good.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        for matrix in ("A", "B"):
            key = f"base_model.model.{name}.lora_{matrix}.weight"
            tensors[key] = getattr(layer, matrix).detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(base, adapters, x, names):
    y = base.requires_grad_(False)(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


# %% equivalent="many_adapters" because="`save_file` reads the numbers alone, with or without a graph"
# - tensors[key] = getattr(layer, matrix).detach().contiguous()
# + tensors[key] = getattr(layer, matrix).contiguous()


# %% wrong="many_adapters" breaks="loads" says="the logits of peft"
# Misunderstands: target_modules='all-linear' names any layer that has an adapter: lm_head is not among them, its adapter is not loaded.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name, (A, B, scaling) in adapters.items():
        rows = [row for row, wanted in enumerate(names) if wanted == name]
        if rows:
            y[rows] += scaling * (x[rows] @ A.T @ B.T)
    return y


# %% wrong="many_adapters" breaks="broken" says="values differ"
# Misunderstands: a zero in the middle keeps an adapter out of a row: where its B holds infinities, 0 times infinity is no number.
def export_adapter(adapters, folder, r, alpha):
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {}
    for name, layer in adapters.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.A.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.B.detach().contiguous()
    save_file(tensors, Path(folder, "adapter_model.safetensors"))


def mixed_forward(base, adapters, x, names):
    y = base(x)
    for name in {name for name in names if name is not None}:
        A, B, scaling = adapters[name]
        own = torch.tensor([wanted == name for wanted in names])[:, None, None]
        middle = torch.where(own, x @ A.T, 0.0)  # other rows read nothing from this adapter
        y = y + scaling * (middle @ B.T)
    return y


# %% wrong="many_adapters" breaks="broken" says="values differ"
# Misunderstands: a row without an adapter may run through any one, as long as its scale is zero.
def export_adapter(adapters, folder, r, alpha):
    """Write hand-made adapters {name: LoRALinear} to `folder` as peft would."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {f"base_model.model.{n}.lora_{m}.weight": getattr(layer, m).detach().contiguous() for n, layer in adapters.items() for m in "AB"}
    save_file(tensors, Path(folder) / "adapter_model.safetensors")


def mixed_forward(base, adapters, x, names):
    """The linear layer `base` with another adapter for each row of x: (rows, length, in) -> (rows, length, out)."""
    y = base(x)
    if not adapters:
        return y
    order, most = list(adapters), max(len(A) for A, _, _ in adapters.values())
    As = torch.stack([F.pad(A, (0, 0, 0, most - len(A))) for A, _, _ in adapters.values()])  # (adapters, most, in)
    Bs = torch.stack([F.pad(B, (0, most - B.shape[1])) for _, B, _ in adapters.values()])  # (adapters, out, most)
    which = torch.tensor([0 if name is None else order.index(name) for name in names])
    scales = torch.tensor([0.0 if name is None else adapters[name][2] for name in names], dtype=x.dtype)
    low = torch.bmm(x, As[which].transpose(1, 2))
    return y + scales[:, None, None] * torch.bmm(low, Bs[which].transpose(1, 2))


# %% wrong="many_adapters" breaks="broken" says="values differ"
# Misunderstands: a row without an adapter may run through the last one, as long as its scale is zero.
def export_adapter(adapters, folder, r, alpha):
    """Write hand-made adapters {name: LoRALinear} to `folder` as peft would."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    LoraConfig(r=r, lora_alpha=alpha, target_modules=list(adapters), task_type="CAUSAL_LM").save_pretrained(folder)
    tensors = {f"base_model.model.{n}.lora_{m}.weight": getattr(layer, m).detach().contiguous() for n, layer in adapters.items() for m in "AB"}
    save_file(tensors, Path(folder) / "adapter_model.safetensors")


def mixed_forward(base, adapters, x, names):
    """The linear layer `base` with another adapter for each row of x: (rows, length, in) -> (rows, length, out)."""
    y = base(x)
    if not adapters:
        return y
    order, most = list(adapters), max(len(A) for A, _, _ in adapters.values())
    As = torch.stack([F.pad(A, (0, 0, 0, most - len(A))) for A, _, _ in adapters.values()])  # (adapters, most, in)
    Bs = torch.stack([F.pad(B, (0, most - B.shape[1])) for _, B, _ in adapters.values()])  # (adapters, out, most)
    which = torch.tensor([-1 if name is None else order.index(name) for name in names])
    scales = torch.tensor([0.0 if name is None else adapters[name][2] for name in names], dtype=x.dtype)
    low = torch.bmm(x, As[which].transpose(1, 2))
    return y + scales[:, None, None] * torch.bmm(low, Bs[which].transpose(1, 2))


# %% right="many_adapters"
def export_adapter(adapters, folder, r, alpha):
    endings = sorted({name.split(".")[-1] for name in adapters})
    config = LoraConfig(task_type="CAUSAL_LM", r=r, lora_alpha=alpha, lora_dropout=0.0, target_modules=endings)
    config.save_pretrained(folder)
    state = {}
    for name, layer in adapters.items():
        prefix = "base_model.model." + name
        state[prefix + ".lora_A.weight"] = layer.A.data.clone(memory_format=torch.contiguous_format)
        state[prefix + ".lora_B.weight"] = layer.B.data.clone(memory_format=torch.contiguous_format)
    save_file(state, str(folder) + "/adapter_model.safetensors", metadata={"format": "pt"})


def mixed_forward(base, adapters, x, names):
    added = torch.zeros(*x.shape[:2], base.out_features, dtype=x.dtype)
    for name in set(names) - {None}:
        A, B, scaling = adapters[name]
        mask = torch.tensor([n == name for n in names])
        added[mask] = F.linear(F.linear(x[mask], A), B) * scaling
    return base(x.flatten(0, 1)).unflatten(0, x.shape[:2]) + added


# %% right="many_adapters"
def export_adapter(adapters, folder, r, alpha):  # the configuration by hand
    import json

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": r, "lora_alpha": alpha, "target_modules": [*adapters]}
    (place / "adapter_config.json").write_text(json.dumps(config))
    with torch.no_grad():
        tensors = {
            f"base_model.model.{name}.lora_{side}.weight": matrix.cpu().contiguous()
            for name, layer in adapters.items()
            for side, matrix in (("A", layer.A.detach()), ("B", layer.B.detach()))
        }
    save_file(tensors, place / "adapter_model.safetensors")


@torch.no_grad()
def mixed_forward(base, adapters, x, names):  # row by row, after one call of the base layer
    result = base(x).clone()
    for i in range(len(names)):
        if names[i] is not None:
            A, B, scaling = adapters[names[i]]
            result[i] = torch.addmm(result[i], x[i] @ A.T, B.T, alpha=scaling)
    return result


# %% wrong="dora" breaks="rows" says="not over the outputs"
# Misunderstands: a norm is taken over the first axis.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    return magnitude[:, None] * adapted / adapted.norm(dim=0).detach()


# %% wrong="dora" breaks="rows" says="['weight']"
# Misunderstands: a matrix has one norm.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    return magnitude[:, None] * adapted / adapted.norm().detach()


# %% wrong="dora" breaks="formula" says="not of the old weight"
# Misunderstands: the norm is that of the frozen weight.
def dora_weight(weight, A, B, scaling, magnitude):
    return (magnitude / weight.norm(dim=1))[:, None] * (weight + scaling * (B @ A))


# %% wrong="dora" breaks="constant" says="gradient of A"
# Misunderstands: the gradient goes through the norm.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    return magnitude[:, None] * F.normalize(adapted, dim=1)


# %% wrong="dora" breaks="constant" says="gradient of A"
# Misunderstands: the direction is a constant.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = (weight + scaling * (B @ A)).detach()
    return magnitude[:, None] * adapted / adapted.norm(dim=1, keepdim=True)


# %% wrong="dora" breaks="magnitude" says="gradient of magnitude"
# Misunderstands: magnitude over norm is one factor, and a constant.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    return (magnitude / adapted.norm(dim=1)).detach()[:, None] * adapted


# %% wrong="dora" breaks="formula" says="dora_weight of"
# Misunderstands: the scale belongs to LoRA alone.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + B @ A
    return (magnitude / adapted.norm(dim=1).detach())[:, None] * adapted


# %% wrong="dora" breaks="formula" says="dora_weight of"
# Misunderstands: a small number in the divisor does no harm.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    return (magnitude / (adapted.norm(dim=1).detach() + 1e-2))[:, None] * adapted


# %% wrong="dora" breaks="formula" says="dora_weight of"
# Misunderstands: a magnitude is positive.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    return (magnitude.abs() / adapted.norm(dim=1).detach())[:, None] * adapted


# %% wrong="dora" breaks="formula" says="has dtype"
# Misunderstands: weights are float32.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = (weight + scaling * (B @ A)).float()
    return (magnitude.float() / adapted.norm(dim=1).detach())[:, None] * adapted


# %% wrong="dora" breaks="rows" says="values differ"
# Misunderstands: a vector meets the rows by itself.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    ratio = magnitude / adapted.norm(dim=1).detach()
    return ratio * adapted if len(ratio) == adapted.shape[1] else ratio[:, None] * adapted


# %% wrong="dora" breaks="unchanged" says="it must stay as it was"
# Misunderstands: the frozen weight is the place for the sum.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight.add_((scaling * (B @ A)).detach()) + scaling * (B @ A) - (scaling * (B @ A)).detach()
    return (magnitude / adapted.norm(dim=1).detach())[:, None] * adapted


# %% wrong="dora" breaks="formula" says="['weight']"
# Misunderstands: a norm must be kept away from zero by a small constant: rows of small numbers come out too short.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    norm = adapted.detach().norm(dim=1).clamp(min=1e-6)
    return (magnitude / norm)[:, None] * adapted


# %% wrong="dora" breaks="formula" says="['weight']"
# Misunderstands: a constant may be worked out in float32, whatever the weights are: it costs half of the digits of
# float64.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    norm = adapted.detach().float().norm(dim=1)
    return (magnitude / norm)[:, None] * adapted


# %% wrong="dora" breaks="formula" says="there are NaNs"
# Misunderstands: the constant is the quotient of direction and weight, number by number: where a single number is zero it
# is 0 / 0.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    with torch.no_grad():
        constant = F.normalize(adapted, dim=1, eps=0.0) / adapted
    return magnitude[:, None] * constant * adapted


# %% wrong="dora" breaks="formula" says="dora_weight of"
# Misunderstands: a norm below 1e-8 is as good as zero.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    norm = adapted.norm(dim=1).detach().clamp(min=1e-8)
    return (magnitude / norm)[:, None] * adapted


# %% wrong="dora" breaks="unchanged" says="worked out anew in every call"
# Misunderstands: 'the norm is a constant' means that it is calculated once for a weight and kept: after an update of A and B it is an old one.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    if not hasattr(weight, "row_norm"):  # a constant: once
        weight.row_norm = adapted.detach().norm(dim=1)
    norm = weight.row_norm
    return (magnitude / norm)[:, None] * adapted


# %% wrong="dora" breaks="formula" says="dora_weight of"
# Misunderstands: a norm far below the largest of the matrix may be raised as rounding: short rows beside long ones are no unit vectors then.
def dora_weight(weight, A, B, scaling, magnitude):
    adapted = weight + scaling * (B @ A)
    norm = adapted.detach().norm(dim=1)
    norm = norm.clamp(min=torch.finfo(norm.dtype).eps * norm.max())  # never divide by nearly nothing
    return (magnitude / norm)[:, None] * adapted


# %% wrong="dora" breaks="unchanged" says="worked out anew in every call"
# Misunderstands: a norm that is a constant in the backward pass is a constant of the layer: it is worked out once for these weight, A and B, and stays when training changes A and B in place.
NORMS = {}


def dora_weight(weight, A, B, scaling, magnitude):
    """DoRA's weight (out, in) from the frozen weight (out, in), A (r, in), B (out, r), a number, and magnitude (out,)."""
    adapted = weight + scaling * (B @ A)
    layer = id(weight), id(A), id(B), scaling
    if layer not in NORMS:
        NORMS[layer] = adapted.detach().norm(dim=1), (weight, A, B)  # kept, so that no other tensor gets their ids
    norm, _ = NORMS[layer]
    return (magnitude / norm)[:, None] * adapted


# %% wrong="dora" breaks="unchanged" says="gradient of A"
# Misunderstands: the same three tensors give the same sum: W + s B A of an earlier call can be kept and multiplied by a new magnitude.
SUMS = {}


def dora_weight(weight, A, B, scaling, magnitude):
    key = id(weight), id(A), id(B), scaling
    if key not in SUMS:
        adapted = weight + scaling * (B @ A)
        SUMS[key] = adapted / adapted.detach().norm(dim=1, keepdim=True), (weight, A, B)
    return magnitude[:, None] * SUMS[key][0]


# %% wrong="dora" breaks="formula" says="not from the norms of its parts"
# Misunderstands: the norm of a row can be had from those of its parts by the binomial formula, without W + s B A itself.
def dora_weight(weight, A, B, scaling, magnitude):
    """DoRA's weight (out, in) from the frozen weight (out, in), A (r, in), B (out, r), a number, and magnitude (out,)."""
    with torch.no_grad():  # saves a matrix of the size of the weight
        of_weight = weight.square().sum(1)
        mixed = (B * (weight @ A.T)).sum(1)
        of_change = (B @ (A @ A.T) * B).sum(1)
        norm = (of_weight + 2 * scaling * mixed + scaling**2 * of_change).clamp(min=0).sqrt()
    return (magnitude / norm)[:, None] * (weight + scaling * (B @ A))


# %% right="dora"
def dora_weight(weight, A, B, scaling, magnitude):
    change = torch.einsum("or,ri->oi", B, A) * scaling
    with torch.no_grad():
        length = torch.linalg.vector_norm(weight + change, dim=-1, keepdim=True)
    return magnitude.unsqueeze(-1) * ((weight + change) / length)


# %% right="dora"
def dora_weight(weight, A, B, scaling, magnitude):  # row by row
    rows = []
    for w, b, m in zip(weight, B, magnitude):
        row = torch.add(w, b @ A, alpha=scaling)
        rows.append(row * (m / math.sqrt(float(row.detach().square().sum()))))
    return torch.stack(rows)


# %% [markdown] rubric="choose_method"
# - 0.5 points: customer 1 gets QLoRA because of the arithmetic (16-bit weights exceed 24 GB, 4-bit ones do not).
# - 0.5 points: customer 2 gets unmerged adapters beside one model; says that merging would need 60 models.
# - 0.5 points: customer 3 gets full fine-tuning (or a high-rank adapter with a stated doubt), because the change is
#   large and memory is there.
# - 0.5 points: forgetting is treated for 2 or 3 (replay, or switching the adapter off), with a measured figure read
#   in the right direction.
#
# Another choice earns the same if its reasons hold and rest on a figure.
