# %% wrong="patches" says="only cuts the memory anew"
# Misunderstands: a reshape to the right shape puts every number where its axis says.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).reshape(height // size, width // size, size, size, channels)


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1).float() / 255


# %% wrong="patches" says="new memory"
# Misunderstands: `torch.tensor` and `from_numpy` are the same.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.tensor(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1).float() / 255


# %% wrong="patches" says="which of your steps copies"
# Misunderstands: `contiguous` tidies a tensor up in place.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2).contiguous()


def to_tokens(patches):
    return patches.view(len(patches) * patches.shape[1], -1) / 255


# %% wrong="patches" says="take strides from the tensor"
# Misunderstands: strides follow from the shape, so they can be computed from it.
def patch_view(image, size):
    height, width, channels = image.shape
    shape = (height // size, width // size, size, size, channels)
    return torch.as_strided(
        torch.from_numpy(image), shape, (size * width * channels, size * channels, width * channels, channels, 1)
    )


def to_tokens(patches):
    return patches.flatten(0, 1).flatten(1).float() / 255


# %% wrong="patches" says="leave the integers"
# Misunderstands: a picture that was scaled to 0..1 can go back to the dtype it had.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return (patches.flatten(0, 1).flatten(1) / 255).to(patches.dtype)


# %% wrong="patches" says="which function copies where it must"
# Misunderstands: `view` works on any tensor.
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.view(patches.shape[0] * patches.shape[1], -1).float() / 255


# %% wrong="patches" says="one row a patch"
# Misunderstands: which axes a token gathers (here each row of the grid becomes one token).
def patch_view(image, size):
    height, width, channels = image.shape
    return torch.from_numpy(image).view(height // size, size, width // size, size, channels).transpose(1, 2)


def to_tokens(patches):
    return patches.reshape(len(patches), -1).float() / 255


# %% right="patches"
# `unfold` slides a window of `size` by `size`; the channel axis goes to the end.
def patch_view(image, size):
    return torch.from_numpy(image).unfold(0, size, size).unfold(1, size, size).permute(0, 1, 3, 4, 2)


def to_tokens(patches):
    return patches.to(torch.float32).div(255).flatten(0, 1).flatten(1)


# %% right="patches"
# Strides by hand, taken from the tensor.
def patch_view(image, size):
    pixels = torch.as_tensor(image)
    down, right, channel = pixels.stride()
    shape = (pixels.shape[0] // size, pixels.shape[1] // size, size, size, pixels.shape[2])
    return pixels.as_strided(shape, (size * down, size * right, down, right, channel))


def to_tokens(patches):
    return torch.stack([patch.reshape(-1) for row in patches for patch in row]).float() / 255.0


# %% equivalent="patches" because="exchanging axes 1 and 2 is symmetric"
# - return split.transpose(1, 2)
# + return (split.transpose(2, 1))

# %% wrong="gaussians" says="loop over spots"
# Misunderstands: stacking results of a loop counts as vectorised.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, device=centres.device)[:, None]
    columns = torch.arange(width, device=centres.device)
    return torch.stack([torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * s**2)) for (y, x), s in zip(centres, widths)])


# %% wrong="gaussians" says="lined up from the right"
# Misunderstands: a tensor of length k finds the axis of length k by itself.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows[:, None] - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths**2))


# %% wrong="gaussians" says="first number of a centre its row"
# Misunderstands: pixel order is (x, y), as on a screen.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    x, y = centres[:, 0, None, None], centres[:, 1, None, None]
    return torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * widths[:, None, None] ** 2))


# %% wrong="gaussians" says="no gradient reaches the widths"
# Misunderstands: a number taken out of a tensor is still the tensor.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    if centres.device.type == "meta":
        return torch.exp(-square)
    return torch.exp(-square / (2 * torch.tensor(widths.tolist(), dtype=centres.dtype)[:, None, None] ** 2))


# %% wrong="gaussians" says="device=centres.device"
# Misunderstands: a new tensor appears where its partner is.
def gaussians(centres, widths, height, width):
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    square = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths[:, None, None] ** 2))


# %% wrong="gaussians" says="divided by 2 s²"
# Misunderstands: the width stands in the formula as a square.
def gaussians(centres, widths, height, width):
    rows = torch.arange(height, dtype=centres.dtype, device=centres.device)[:, None]
    columns = torch.arange(width, dtype=centres.dtype, device=centres.device)
    square = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return torch.exp(-square / (2 * widths[:, None, None]))


# %% right="gaussians"
# The exponential of a sum is a product: one factor a direction, multiplied as an outer product.
def gaussians(centres, widths, height, width):
    def along(n, middle):
        return torch.exp(-0.5 * ((torch.arange(n, device=middle.device) - middle[:, None]) / widths[:, None]) ** 2)

    return torch.einsum("kh,kw->khw", along(height, centres[:, 0]), along(width, centres[:, 1]))


# %% right="gaussians"
# A grid of pixel positions, all distances at once, then a reshape.
def gaussians(c, s, h, w):
    grid = torch.cartesian_prod(torch.arange(h, device=c.device).to(c), torch.arange(w, device=c.device).to(c))
    square = (grid - c.unsqueeze(1)).square().sum(dim=-1)
    return (-square / s.unsqueeze(1).square() / 2).exp().reshape(-1, h, w)


# %% right="gaussians"
# One spot written as mathematics; `vmap` adds the axis of spots.
def gaussians(centres, widths, height, width):
    y, x = torch.meshgrid(
        torch.arange(height, device=centres.device, dtype=centres.dtype),
        torch.arange(width, device=centres.device, dtype=centres.dtype),
        indexing="ij",
    )
    return vmap(lambda c, s: torch.exp(-((y - c[0]) ** 2 + (x - c[1]) ** 2) / (2 * s**2)))(centres, widths)


# %% wrong="contractions" says="divided by √d"
# Misunderstands: the scale is cosmetic.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys)
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" says="sum to 1"
# Misunderstands: which axis the softmax belongs to (it normalises over the queries).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=2), values)


# %% wrong="contractions" says="of positions, not of heads"
# Misunderstands: `@` on [b, t, h, d] multiplies over positions (it lets heads attend to heads).
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ values


# %% wrong="contractions" says="one table of channels by channels a picture"
# Misunderstands: a letter left out after the arrow is summed, so the batch disappears.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->pq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" says="the mean of products"
# Misunderstands: a contraction averages; it sums.
def paint(shares, colours):
    return torch.einsum("khw,kc->chw", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features)


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% wrong="contractions" says="channel comes first"
# Misunderstands: the order after the arrow is the order of the result.
def paint(shares, colours):
    return torch.einsum("khw,kc->hwc", shares, colours)


def gram(features):
    return torch.einsum("bphw,bqhw->bpq", features, features) / features[0, 0].numel()


def attend(queries, keys, values):
    scores = torch.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
    return torch.einsum("bhts,bshe->bthe", scores.softmax(dim=-1), values)


# %% right="contractions"
# Matrix products and transposes, no einsum at all.
def paint(shares, colours):
    return torch.tensordot(colours, shares, dims=([0], [0]))


def gram(features):
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[-1]


def attend(queries, keys, values):
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    weights = F.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
    return (weights @ v).transpose(1, 2)


# %% right="contractions"
# Broadcasting and sums; the softmax written out.
def paint(shares, colours):
    return (shares[:, None] * colours[:, :, None, None]).sum(0)


def gram(features):
    return (features.unsqueeze(1) * features.unsqueeze(2)).mean(dim=(-2, -1))


def attend(queries, keys, values):
    scores = (queries[:, :, None] * keys[:, None]).sum(-1) * queries.size(-1) ** -0.5  # [b, t, s, h]
    weights = (scores - scores.amax(dim=2, keepdim=True)).exp()
    weights = weights / weights.sum(dim=2, keepdim=True)
    return (weights[..., None] * values[:, None]).sum(dim=2)


# %% wrong="gather_scatter" says="about token j + 1"
# Misunderstands: logits at position j score the token at position j.
def next_token_logprobs(logits, ids):
    return logits.log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1)[:, 1:]


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" says="through a log-softmax"
# Misunderstands: scores are log-probabilities already.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" says="one number for each token"
# Misunderstands: indexing with [b, t] ids picks one number a position (it picks all of them, for every position).
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1)[:, :, ids[:, 1:]]


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" says="take both in one step"
# Misunderstands: log(softmax(x)) and log_softmax(x) are the same in floating point.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].softmax(-1).log().gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" says="does the second write cover the first"
# Misunderstands: `out[index] += x` adds once for every entry of the index.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype)
    sums[segment] += values
    return sums / torch.bincount(segment, minlength=count).clamp(min=1)[:, None]


# %% wrong="gather_scatter" says="empty group is 0 / 0"
# Misunderstands: every group has a row.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(count, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment, minlength=count)[:, None]


# %% wrong="gather_scatter" says="sends nan back"
# Misunderstands: a NaN that is replaced in the result is gone (its gradient is NaN all the same).
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    member = F.one_hot(segment, count).to(values.dtype)
    return torch.nan_to_num(member.T @ values / member.sum(0)[:, None])


# %% wrong="gather_scatter" says="the last may be empty"
# Misunderstands: the number of groups can be read off the data.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    sums = torch.zeros(int(segment.max()) + 1, values.shape[1], dtype=values.dtype).index_add(0, segment, values)
    return sums / torch.bincount(segment).clamp(min=1)[:, None]


# %% wrong="gather_scatter" says="is there a loop"
# Misunderstands: a list comprehension is not a loop.
def next_token_logprobs(logits, ids):
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def segment_mean(values, segment, count):
    return torch.stack([values[segment == i].mean(0).nan_to_num() for i in range(count)])


# %% right="gather_scatter"
# The loss function of the library, and `scatter_reduce` with a mean of its own.
def next_token_logprobs(logits, ids):
    return -F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


def segment_mean(values, segment, count):
    index = segment[:, None].expand_as(values)
    empty = torch.zeros(count, values.shape[1], dtype=values.dtype)
    return empty.scatter_reduce(0, index, values, reduce="mean", include_self=False)


# %% right="gather_scatter"
# Two index tensors that broadcast, and groups as a matrix of zeros and ones.
def next_token_logprobs(logits, ids):
    b, t, _ = logits.shape
    chosen = logits[torch.arange(b)[:, None], torch.arange(t - 1), ids[:, 1:]]
    return chosen - logits[:, :-1].logsumexp(dim=2)


def segment_mean(values, segment, count):
    member = (segment == torch.arange(count)[:, None]).to(values.dtype)
    return member @ values / member.sum(dim=1, keepdim=True).clamp_min(1)


# %% wrong="descend" says="is it cleared between steps"
# Misunderstands: `backward` replaces the gradient.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" says="makes a new tensor"
# Misunderstands: `p = p - ...` changes the tensor that p names.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p = p - rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" says="cleared between `backward` and the update"
# Misunderstands: clearing may stand anywhere in the loop.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        loss.backward()
        for p in parameters:
            if p.grad is not None:
                p.grad.zero_()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" says="put it under `torch.no_grad()`"
# Misunderstands: an update is not part of the calculation, so it needs no `no_grad`.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            if p.grad is not None:
                p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" says="only the update belongs there"
# Misunderstands: `no_grad` belongs around the whole loop (then the loss has no notes either).
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    with torch.no_grad():
        for _ in range(steps):
            loss = loss_of()
            loss.backward()
            for p in parameters:
                p -= rate * p.grad
            losses.append(loss.item())
    return losses


# %% wrong="descend" says="keeps the whole graph"
# Misunderstands: a loss in a list is a number.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss)
    return losses


# %% wrong="descend" says="clear before `backward`"
# Misunderstands: whoever called first left everything clean.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
                    p.grad = None
        losses.append(loss.item())
    return losses


# %% wrong="descend" says="make a list of it first"
# Misunderstands: `model.parameters()` can be walked through as often as one likes.
def descend(loss_of, parameters, rate, steps):
    losses = []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                if p.grad is not None:
                    p -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% wrong="descend" says="has no gradient"
# Misunderstands: every parameter has a gradient after `backward`.
def descend(loss_of, parameters, rate, steps):
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            if p.grad is None:
                raise ValueError("a parameter has no gradient: is it used in the loss?")
            p.data -= rate * p.grad
        losses.append(loss.item())
    return losses


# %% right="descend"
# Gradients as values: nothing is stored in `.grad`, so nothing has to be cleared.
def descend(loss_of, parameters, rate, steps):
    parameters, curve = [*parameters], []
    for _ in range(steps):
        loss = loss_of()
        curve.append(float(loss))
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for p, slope in zip(parameters, slopes):
                if slope is not None:
                    p.sub_(slope, alpha=rate)
    return curve


# %% right="descend"
# Through `.data`, clearing with zeros before every backward.
def descend(loss_of, parameters, rate, steps):
    parameters = tuple(parameters)

    def step():
        for p in parameters:
            if p.grad is not None:
                p.grad.zero_()
        loss = loss_of()
        loss.backward()
        for p in parameters:
            if p.grad is not None:
                p.data = p.data - rate * p.grad
        return loss.detach().item()

    return [step() for _ in range(steps)]


# %% wrong="rms_norm" says="through r"
# Misunderstands: r is a constant.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        return g * weight * inverse, (g * x * inverse).sum((0, 1)), None


# %% wrong="rms_norm" says="None for `eps`"
# Misunderstands: backward returns gradients for the tensors only.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0)


# %% wrong="rms_norm" says="grad_output"
# Misunderstands: backward gives the derivative of the operation, not the gradient of the loss (grad_output is left out).
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, weight.expand_as(x)
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), n.reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" says="eps under the root"
# Misunderstands: where eps stands.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        r = x.square().mean(-1, keepdim=True).sqrt() + eps
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return x / r * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        inverse = 1 / (x.square().mean(-1, keepdim=True).sqrt() + ctx.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" says="ctx.save_for_backward"
# Misunderstands: an attribute keeps a tensor as it was.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        ctx.x, ctx.weight, ctx.eps = x, weight, eps
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.x, ctx.weight
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" says="second derivative"
# Misunderstands: a saved intermediate result remembers that it depends on x.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, inverse)
        return x * inverse * weight

    @staticmethod
    def backward(ctx, g):
        x, weight, inverse = ctx.saved_tensors
        n, h = x * inverse, g * weight
        return inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% wrong="rms_norm" says="not on the class or in a global"
# Misunderstands: one place for notes is enough for all calls.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        RMSNorm.inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight)
        return x * RMSNorm.inverse * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        n, h = x * RMSNorm.inverse, g * weight
        return RMSNorm.inverse * (h - n * (h * n).mean(-1, keepdim=True)), (g * n).reshape(-1, len(weight)).sum(0), None


# %% right="rms_norm"
# Intermediate results saved, second derivatives refused; the engine itself sums the weight's gradient to its shape.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        r = (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
        ctx.save_for_backward(x / r, r, weight)
        return x / r * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        normal, r, weight = ctx.saved_tensors
        local = grad * weight
        return (local - normal * (local * normal).mean(-1, True)) / r, grad * normal, None


# %% right="rms_norm"
# The newer form with `setup_context`, and the chain rule through the mean of squares term by term.
class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(x, weight, eps):
        return x * (x.square().mean(-1, keepdim=True) + eps) ** -0.5 * weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, ctx.eps = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad_output):
        x, weight = ctx.saved_tensors
        square = x.square().mean(-1, keepdim=True) + ctx.eps
        from_r = -((grad_output * weight * x).sum(-1, keepdim=True)) * square**-1.5 * x / x.shape[-1]
        axes = tuple(range(x.ndim - 1))
        return grad_output * weight * square**-0.5 + from_r, (grad_output * x * square**-0.5).sum(axes), None


# %% wrong="derivatives" says="not one for their mean or sum"
# Misunderstands: the gradient of the whole batch still holds the single examples.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return grad(lambda p: vmap(loss_of, in_dims=(None, 0, 0))(p, inputs, targets).mean())(parameters)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" says="is there a loop"
# Misunderstands: stacking the gradients of single examples is vectorised.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    each = [grad(loss_of)(parameters, x, y) for x, y in zip(inputs, targets)]
    return {name: torch.stack([g[name] for g in each]) for name in parameters}


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" says="is J transposed"
# Misunderstands: which axis of the Jacobian belongs to the function and which to the point.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p).T, f(p)))(points)
    return points


# %% wrong="derivatives" says="its inverse missing"
# Misunderstands: Newton's step is gradient descent with the Jacobian.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - jacrev(f)(p) @ f(p))(points)
    return points


# %% wrong="derivatives" says="with a new Jacobian"
# Misunderstands: the Jacobian of the start serves for all steps.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    slopes = vmap(jacrev(f))(points)
    for _ in range(steps):
        points = points - torch.linalg.solve(slopes, vmap(f)(points))
    return points


# %% wrong="derivatives" says="all examples share the parameters"
# Misunderstands: by default vmap runs over examples and leaves parameters alone.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points = vmap(lambda p: p - torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% wrong="derivatives" says="leave them alone"
# Misunderstands: an in-place step changes only the local name.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    return vmap(grad(loss_of), in_dims=(None, 0, 0))(parameters, inputs, targets)


def newton(f, points, steps):
    for _ in range(steps):
        points -= vmap(lambda p: torch.linalg.solve(jacrev(f)(p), f(p)))(points)
    return points


# %% right="derivatives"
# The examples' axis through one summed loss: copies of the parameters, one for each example.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    n = len(inputs)
    copies = {name: p.detach().expand(n, *p.shape).clone().requires_grad_() for name, p in parameters.items()}
    total = vmap(loss_of)(copies, inputs, targets).sum()
    return dict(zip(copies, torch.autograd.grad(total, list(copies.values()))))


def newton(f, points, steps):
    both = vmap(torch.func.jacfwd(lambda p: (f(p), f(p)), has_aux=True))
    for _ in range(steps):
        slopes, values = both(points)
        points = points - (torch.linalg.inv(slopes) @ values[..., None]).squeeze(-1)
    return points


# %% right="derivatives"
# Closures, and Newton as a recursion.
def per_sample_gradients(loss_of, parameters, inputs, targets):
    def one(x, y):
        return torch.func.jacrev(lambda p: loss_of(p, x, y))(parameters)

    return torch.vmap(one)(inputs, targets)


def newton(f, points, steps):
    if steps == 0:
        return points
    move = torch.linalg.solve(vmap(torch.func.jacfwd(f))(points), vmap(f)(points))
    return newton(f, points - move, steps - 1)


# %% wrong="normalise_tests" says="still unseen"
# Misunderstands: a result of the right shape without NaN is right.
def check_normalise(normalise):
    x = torch.randn(3, 4)
    x[0] = 0
    y = normalise(x, 1)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert not y.isnan().any()


# %% wrong="normalise_tests" says="reject a correct implementation"
# Misunderstands: floating-point results can be compared with `torch.equal`.
def check_normalise(normalise):
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    for dim in range(3):
        assert torch.equal(normalise(x, dim), x / x.norm(dim=dim, keepdim=True))


# %% wrong="normalise_tests" says="catch none"
# Misunderstands: a test reports by what it returns (a test that returns False has passed).
def check_normalise(normalise):
    x = torch.randn(3, 4)
    return torch.allclose(normalise(x, 1).norm(dim=1), torch.ones(3))


# %% wrong="normalise_tests" says="in the gradient"
# Misunderstands: `requires_grad` on the result means that its gradient is right.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1, 0] = 0, 1e-4
    for dim in range(3):
        given = x.clone()
        length = x.norm(dim=dim, keepdim=True)
        torch.testing.assert_close(normalise(given, dim), (x / length).nan_to_num())
        assert (given == x).all()
    assert normalise(x.clone().requires_grad_(), 0).requires_grad


# %% wrong="normalise_tests" says="whatever `dim` says"
# Misunderstands: one axis stands for all.
def check_normalise(normalise):
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    x[0], x[1] = 0, x[1] / 1000
    given = x.clone()
    torch.testing.assert_close(normalise(given, -1), (x / x.norm(dim=-1, keepdim=True)).nan_to_num())
    assert (given == x).all()
    torch.autograd.gradcheck(lambda v: normalise(v, 2), torch.rand(2, 3, 2, dtype=torch.float64).requires_grad_())


# %% wrong="normalise_tests" says="on a correct implementation"
# Misunderstands: the gradient at a vector of zeros is promised too (there it does not exist).
def check_normalise(normalise):
    x = torch.randn(3, 4, dtype=torch.float64)
    x[0] = 0
    torch.autograd.gradcheck(lambda v: normalise(v, 1), x.requires_grad_())


# %% right="normalise_tests"
# By properties: lengths, directions, zeros; a single function for each promise.
def check_normalise(normalise):
    def lengths_and_directions():
        x = torch.rand(4, 3, 5, dtype=torch.float64) * torch.logspace(-5, 0, 4, dtype=torch.float64)[:, None, None] + 1e-7
        for dim in (0, 1, 2):
            y = normalise(x, dim)
            assert y.shape == x.shape and y.dtype == x.dtype
            assert (y.norm(dim=dim) - 1).abs().max() < 1e-9
            assert (F.cosine_similarity(y, x, dim=dim, eps=1e-20) > 1 - 1e-9).all()

    def zeros_stay():
        assert (normalise(torch.zeros(2, 3), 1) == 0).all()

    def input_stays():
        x = torch.full((2, 3), 2.0)
        normalise(x, 0)
        assert (x == 2).all()

    def gradients():
        assert torch.autograd.gradcheck(normalise, (torch.randn(3, 4, dtype=torch.float64).requires_grad_(), 1))

    lengths_and_directions(), zeros_stay(), input_stays(), gradients()


# %% right="normalise_tests"
# Against the library's own function, in two dtypes; the gradient against autograd's.
def check_normalise(normalise):
    for dtype in (torch.float32, torch.float64):
        for dim in (0, 1):
            x = torch.randn(5, 6, dtype=dtype)
            x[:, 2] = x[3] = 0
            x[4] /= 1e5
            x[:, 5] /= 1e5
            kept = x.clone()
            torch.testing.assert_close(normalise(x, dim), F.normalize(kept, dim=dim))
            torch.testing.assert_close(x, kept, rtol=0, atol=0)
            a, b = (torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=dtype).requires_grad_() for _ in range(2))
            weights = torch.arange(12.0, dtype=dtype).view(3, 4)
            (normalise(a, dim) * weights).sum().backward()
            (F.normalize(b, dim=dim) * weights).sum().backward()
            torch.testing.assert_close(a.grad, b.grad)


# %% equivalent="normalise_tests" because="vectors of twice that length are as short for every implementation"
# - x[1] *= 1e-3
# + x[1] *= 0.002

# %% equivalent="normalise_tests" because="which slice is zero makes no difference"
# - x[0] = 0
# + x[(-1)] = 0

# %% equivalent="normalise_tests" because="which slice is short makes no difference"
# - x[1] *= 1e-3
# + x[2] *= 1e-3

# %% equivalent="normalise_tests" because="the comparison is symmetric up to its tolerance"
# - torch.testing.assert_close(normalise(given, dim), torch.where(length > 0, x / length, x))
# + (torch.testing.assert_close(torch.where(length > 0, x / length, x), normalise(given, dim)))

# %% equivalent="normalise_tests" because="equality is symmetric"
# - assert torch.equal(given, x), "the input was changed"
# + assert (torch.equal(x, given)), "the input was changed"

# %% wrong="clinic" says="copy each frame when it is read"
# Misunderstands: `stack` copies, so the frames are safe (it copies when all have been read).
def record(camera, count):
    return torch.stack([torch.from_numpy(camera.read()) for _ in range(count)]).clone().float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" says="token 1001"
# Misunderstands: every tensor of a batch holds amounts.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" says="returns a new tensor"
# Misunderstands: `to` moves the tensor it is called on (as it does for a module).
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        batch.to(device)
        if batch.is_floating_point():
            batch.to(dtype)
        return batch
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" says="build a new one"
# Misunderstands: the caller has no more use for the batch it gave.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        for name in batch:
            batch[name] = to_device(batch[name], device, dtype)
        return batch
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" says="tuples as tuples"
# Misunderstands: a list does as well as a tuple.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [to_device(value, device, dtype) for value in batch]
    return batch


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" says="let the function call itself"
# Misunderstands: a batch is one flat dict.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    moved = {}
    for name, value in batch.items():
        if isinstance(value, torch.Tensor):
            value = value.to(device, dtype) if value.is_floating_point() else value.to(device)
        moved[name] = value
    return moved


def smooth(losses, keep):
    curve = []
    for loss in losses:
        curve.append(loss.item() if not curve else keep * curve[-1] + (1 - keep) * loss.item())
    return curve


# %% wrong="clinic" says="graphs of earlier steps stay alive"
# Misunderstands: numbers in the list are enough (the average itself still holds every graph).
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve, average = [], None
    for loss in losses:
        average = loss if average is None else keep * average + (1 - keep) * loss
        curve.append(average.item())
    return curve


# %% wrong="clinic" says="gradients were switched off"
# Misunderstands: `no_grad` holds for the lines below it (it holds for everything that runs meanwhile, the generator too).
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


@torch.no_grad()
def smooth(losses, keep):
    curve, average = [], None
    for loss in losses:
        average = loss if average is None else keep * average + (1 - keep) * loss
        curve.append(average.item())
    return curve


# %% wrong="clinic" says="not at 0"
# Misunderstands: an average may start at 0.
def record(camera, count):
    return torch.stack([torch.tensor(camera.read()) for _ in range(count)]).float() / 255


def to_device(batch, device, dtype):
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device, dtype) for value in batch)
    return batch


def smooth(losses, keep):
    curve, average = [], 0.0
    for loss in losses:
        average = keep * average + (1 - keep) * loss.item()
        curve.append(average)
    return curve


# %% right="clinic"
# Room made beforehand and filled frame by frame; loops in place of comprehensions; `detach` in place of `item`.
def record(camera, count):
    film = None
    for i in range(count):
        frame = torch.from_numpy(camera.read())
        if film is None:
            film = torch.empty(count, *frame.shape, dtype=torch.float32)
        film[i] = frame
    return film.div_(255)


def to_device(batch, device, dtype):
    match batch:
        case torch.Tensor():
            moved = batch.to(device)
            return moved.to(dtype) if moved.dtype.is_floating_point else moved
        case dict():
            moved = dict(batch)
            for name in moved:
                moved[name] = to_device(moved[name], device, dtype)
            return moved
        case list():
            return [to_device(value, device, dtype) for value in batch]
        case tuple():
            return tuple(to_device(value, device, dtype) for value in batch)
        case _:
            return batch


def smooth(losses, keep):
    average, curve = None, []
    for loss in losses:
        loss = loss.detach()
        average = loss if average is None else keep * average + (1 - keep) * loss
        curve.append(float(average))
    return curve


# %% right="clinic"
# Copies on NumPy's side, the library's own tree functions, and an average kept under `no_grad`.
def record(camera, count):
    return torch.from_numpy(np.stack([camera.read().astype(np.float32) / 255 for _ in range(count)]))


def to_device(batch, device, dtype):
    from torch.utils._pytree import tree_map

    def move(leaf):
        if not torch.is_tensor(leaf):
            return leaf
        return leaf.to(device=device, dtype=dtype) if leaf.is_floating_point() else leaf.to(device=device)

    return tree_map(move, batch)


def smooth(losses, keep):
    iterator = iter(losses)
    average = next(iterator).detach().clone()
    curve = [average.item()]
    for loss in iterator:
        with torch.no_grad():
            average.mul_(keep).add_((1 - keep) * loss)
        curve.append(average.item())
    return curve


# %% [markdown] rubric="view_or_copy"
# - 0.5 points: names a use where the view is right (used once, or only to pass shapes on) **with** a figure of the student's own
#   run (view constant, copy growing with size).
# - 0.5 points: names a use where a packed copy wins (read again and again through large strides), with the measured ratio.
# - 0.5 points: weighs the two: the copy is paid once, the slow read every time; or the storage that a small view keeps alive.
# - 0.5 points: a case where sharing gives wrong results (a reused buffer, an in-place operation on a view, a changed NumPy array).
#
# Figures may differ by any factor from the model answer; they must be the student's and be read in the right direction.
