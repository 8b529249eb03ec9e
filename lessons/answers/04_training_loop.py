# %% wrong="train_and_evaluate" says="old gradients cleared"
def train_step(model, optimizer, x, y):  # gradients are never cleared
    model.train()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="moved no weight"
def train_step(model, optimizer, x, y):  # clears between backward and step
    model.train()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="moved no weight"
def train_step(model, optimizer, x, y):  # steps before it knows the gradient
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    optimizer.step()
    loss.backward()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="softmax of a softmax"
def train_step(model, optimizer, x, y):  # softmax twice
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x).softmax(1), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="added up: take the mean"
def train_step(model, optimizer, x, y):  # the sum instead of the mean
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y, reduction="sum")
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="keep the whole graph"
def train_step(model, optimizer, x, y):  # returns the tensor, and with it the graph
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="not only at the end"
def train_step(model, optimizer, x, y):  # clears only what it made itself
    model.train()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="in training mode"
def train_step(model, optimizer, x, y):  # trusts the mode it finds
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="loss after the update"
def train_step(model, optimizer, x, y):  # reports the loss after the update
    model.train()
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    with torch.no_grad():
        return F.cross_entropy(model(x), y).item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="1 of 2 parts pass. ✗ evaluate: the loss"
def evaluate(model, loader):  # averages the batches, not the samples
    was = model.training
    model.eval()
    losses, hits = [], []
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            losses.append(F.cross_entropy(logits, y).item())
            hits.append((logits.argmax(1) == y).float().mean().item())
    model.train(was)
    return sum(losses) / len(losses), sum(hits) / len(hits)


def train_step(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model.train()(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


# %% wrong="train_and_evaluate" says="training mode while it was judged"
def evaluate(model, loader):  # believes that no_grad switches dropout off
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y).item() * len(y)
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="autograd recorded"
def evaluate(model, loader):  # believes that eval() switches autograd off
    was = model.training
    model.eval()
    loss, right, seen = 0.0, 0, 0
    for x, y in loader:
        logits = model(x)
        loss += F.cross_entropy(logits, y).item() * len(y)
        right += (logits.argmax(1) == y).sum().item()
        seen += len(y)
    model.train(was)
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="left in eval mode"
def evaluate(model, loader):  # leaves the model in eval mode
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y).item() * len(y)
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="left in training mode"
def evaluate(model, loader):  # always switches training back on
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y).item() * len(y)
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    model.train()
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" says="a second time"
def evaluate(model, loader):  # counts the samples first: a generator is empty after that
    was = model.training
    model.eval()
    samples = sum(len(y) for _, y in loader)
    loss, right = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
    model.train(was)
    return loss / samples, right / samples


def train_step(*args):
    raise NotImplementedError


# %% right="train_and_evaluate"
def train_step(net, opt, inputs, targets):
    criterion = nn.CrossEntropyLoss()
    net.train(True)
    for p in net.parameters():
        p.grad = None
    scores = net(inputs)
    loss = criterion(scores, targets)
    torch.autograd.backward(loss)
    opt.step()
    return float(loss.detach())


@torch.inference_mode()
def evaluate(net, data):
    mode = net.training
    try:
        net.eval()
        pairs = [(net(inputs), targets) for inputs, targets in data]
    finally:
        net.train(mode)
    logits, targets = torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])
    loss = nn.CrossEntropyLoss()(logits, targets)
    return float(loss), float((logits.max(dim=1).indices == targets).double().mean())


# %% right="train_and_evaluate"
def train_step(model, optimizer, x, y):
    model.train()

    def closure():
        optimizer.zero_grad(set_to_none=True)
        loss = -F.log_softmax(model(x), dim=1)[torch.arange(len(y)), y].mean()
        loss.backward()
        return loss

    return optimizer.step(closure).item()


def evaluate(model, loader):
    state = model.training
    model.eval()
    total = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            total += torch.tensor([F.cross_entropy(out, y) * len(y), (out.argmax(-1) == y).sum(), len(y)], dtype=torch.float64)
    if state:
        model.train()
    return (total[0] / total[2]).item(), (total[1] / total[2]).item()


# %% wrong="clip_gradients" says="over all parameters together"
def clip_gradients(parameters, max_norm):  # each tensor on its own
    largest = 0.0
    for p in parameters:
        if p.grad is not None:
            norm = p.grad.norm()
            largest = max(largest, norm.item())
            p.grad.mul_(torch.clamp(max_norm / norm, max=1.0))
    return largest


# %% wrong="clip_gradients" says="turns the vector"
def clip_gradients(parameters, max_norm):  # the right norm to report, but each tensor is clipped on its own
    grads = [p.grad for p in parameters if p.grad is not None]
    total = torch.stack([g.norm() for g in grads]).norm()
    for g in grads:
        g.mul_(torch.clamp(max_norm / g.norm(), max=1.0))
    return total


# %% wrong="clip_gradients" says="makes a new tensor"
def clip_gradients(parameters, max_norm):  # rebinds the loop variable: nothing changes
    grads = [p.grad for p in parameters if p.grad is not None]
    total = torch.stack([g.norm() for g in grads]).norm()
    for g in grads:
        g = g * torch.clamp(max_norm / total, max=1.0)
    return total


# %% wrong="clip_gradients" says="not in place"
def clip_gradients(parameters, max_norm):  # right values, in new tensors
    parameters = [p for p in parameters if p.grad is not None]
    total = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad = p.grad * torch.clamp(max_norm / total, max=1.0)
    return total


# %% wrong="clip_gradients" says="ZeroDivisionError"
def clip_gradients(parameters, max_norm):  # a Python float divides by zero
    grads = [p.grad for p in parameters if p.grad is not None]
    total = math.sqrt(sum((g**2).sum().item() for g in grads))
    for g in grads:
        g.mul_(min(1.0, max_norm / total))
    return total


# %% wrong="clip_gradients" says="shape (1,)"
def clip_gradients(parameters, max_norm):  # a list of one number
    grads = [p.grad for p in parameters if p.grad is not None]
    total = torch.cat([g.flatten() for g in grads]).norm().reshape(1)
    for g in grads:
        g.mul_(torch.clamp(max_norm / total, max=1.0))
    return total


# %% wrong="clip_gradients" says="turns the vector"
def clip_gradients(parameters, max_norm):  # clips values, not the norm
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.cat([g.flatten() for g in grads]).norm()
    for g in grads:
        g.clamp_(-max_norm, max_norm)
    return norm


# %% wrong="clip_gradients" says="stay as they are"
def clip_gradients(parameters, max_norm):  # stretches short gradients to max_norm
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.cat([g.flatten() for g in grads]).norm()
    for g in grads:
        g.mul_(max_norm / norm)
    return norm


# %% wrong="clip_gradients" says="root of the sum of all squares"
def clip_gradients(parameters, max_norm):  # adds norms instead of squares
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = sum(g.norm() for g in grads)
    for g in grads:
        g.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


# %% wrong="clip_gradients" says="a second time"
def clip_gradients(parameters, max_norm):  # walks twice through a generator
    norm = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
    for p in parameters:
        if p.grad is not None:
            p.grad.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


# %% wrong="clip_gradients" says="out of reach"
def clip_gradients(parameters, max_norm):  # the library's own
    return torch.nn.utils.clip_grad_norm_(list(parameters), max_norm)


# %% right="clip_gradients"
def clip_gradients(parameters, max_norm):
    parameters = list(parameters)
    squares = 0.0
    for p in parameters:
        if p.grad is not None:
            squares += (p.grad.double() ** 2).sum().item()
    norm = math.sqrt(squares)
    if norm > max_norm:
        for p in parameters:
            if p.grad is not None:
                p.grad *= max_norm / (norm + 1e-6)
    return norm


# %% right="clip_gradients"
@torch.no_grad()
def clip_gradients(parameters, max_norm):
    grads = [p.grad for p in parameters if p.grad is not None]
    total = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    torch._foreach_mul_(grads, (max_norm / (total + 1e-6)).clamp(max=1))
    return total


# %% wrong="make_schedule" says="is wasted"
def make_schedule(optimizer, warmup, total, floor=0.0):  # starts at rate 0
    def multiplier(step):
        if step < warmup:
            return step / warmup
        if step >= total:
            return floor
        return floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" says="rises again"
def make_schedule(optimizer, warmup, total, floor=0.0):  # no end: the cosine comes back up
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        return floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" says="a factor, not a rate"
def make_schedule(optimizer, warmup, total, floor=0.0):  # returns rates
    base = optimizer.param_groups[0]["lr"]

    def rate(step):
        if step < warmup:
            return base * (step + 1) / warmup
        if step >= total:
            return base * floor
        return base * (floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


# %% wrong="make_schedule" says="a straight line"
def make_schedule(optimizer, warmup, total, floor=0.0):  # linear decay
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        return max(floor, floor + (1 - floor) * (1 - (step - warmup) / max(1, total - warmup)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" says="down and up again"
def make_schedule(optimizer, warmup, total, floor=0.0):  # a whole period
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        return floor + (1 - floor) * (1 + math.cos(2 * math.pi * (step - warmup) / (total - warmup))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" says="ZeroDivisionError"
def make_schedule(optimizer, warmup, total, floor=0.0):  # takes the progress before it knows that there is any
    def multiplier(step):
        progress = min(1, (step - warmup) / (total - warmup))
        if step < warmup:
            return (step + 1) / warmup
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" says="counts from update 0"
def make_schedule(optimizer, warmup, total, floor=0.0):  # the cosine counts from the start
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        return floor + (1 - floor) * (1 + math.cos(math.pi * step / total)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" says="not to 0"
def make_schedule(optimizer, warmup, total, floor=0.0):  # cuts the cosine off at the floor
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        return max(floor, (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" says="its own base rate"
def make_schedule(optimizer, warmup, total, floor=0.0):  # one rate for all groups
    base = optimizer.param_groups[0]["lr"]

    class Schedule:
        t = 0

        def state_dict(self):
            return {"t": self.t}

        def set(self):
            t = self.t
            m = (
                (t + 1) / warmup
                if t < warmup
                else floor
                if t >= total
                else floor + (1 - floor) * (1 + math.cos(math.pi * (t - warmup) / (total - warmup))) / 2
            )
            for group in optimizer.param_groups:
                group["lr"] = base * m

        def step(self):
            self.t += 1
            self.set()

    schedule = Schedule()
    schedule.set()
    return schedule


# %% right="make_schedule"
class _WarmCosine(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, warm, end, low):
        self.warm, self.end, self.low = warm, end, low
        super().__init__(optimizer)

    def get_lr(self):
        t = self.last_epoch
        if t < self.warm:
            m = (t + 1) / self.warm
        else:
            share = min(1.0, (t - self.warm) / max(1, self.end - self.warm)) if t < self.end else 1.0
            m = self.low + (1 - self.low) * 0.5 * (1 + math.cos(math.pi * share))
        return [base * m for base in self.base_lrs]


def make_schedule(optimizer, warmup, total, floor=0.0):
    return _WarmCosine(optimizer, warmup, total, floor)


# %% right="make_schedule"
def make_schedule(optimizer, warmup, total, floor=0.0):
    warm = [(t + 1) / warmup for t in range(warmup)]
    fall = [floor + (1 - floor) * math.cos(math.pi / 2 * t / (total - warmup)) ** 2 for t in range(total - warmup)]
    table = warm + fall + [floor]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: table[min(t, total)])


# %% wrong="accumulation_step" says="weighs the same"
def accumulation_step(model, optimizer, batches):  # divides by the number of micro-batches
    model.train()
    optimizer.zero_grad()
    mean = 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) / len(batches)
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" says="without any weight"
def accumulation_step(model, optimizer, batches):  # does not divide at all
    model.train()
    optimizer.zero_grad()
    losses = []
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        losses.append(loss.item())
    optimizer.step()
    return sum(losses) / len(losses)


# %% wrong="accumulation_step" says="together are one update"
def accumulation_step(model, optimizer, batches):  # one update for each micro-batch
    model.train()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        optimizer.step()
        mean += loss.item()
    return mean


# %% wrong="accumulation_step" says="only the last micro-batch counts"
def accumulation_step(model, optimizer, batches):  # clears inside the loop: only the last piece counts
    model.train()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" says="old gradients were added"
def accumulation_step(model, optimizer, batches):  # never clears
    model.train()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" says="divide by the number of all samples"
def accumulation_step(model, optimizer, batches):  # the mean is reported, but the sum is trained on
    model.train()
    optimizer.zero_grad()
    samples, total = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y, reduction="sum")
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total / samples


# %% wrong="accumulation_step" says="`loss.item()`"
def accumulation_step(model, optimizer, batches):  # returns a tensor
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean = mean + loss
    optimizer.step()
    return mean


# %% wrong="accumulation_step" says="keeps all graphs alive"
def accumulation_step(model, optimizer, batches):  # right gradient, no memory saved
    model.train()
    optimizer.zero_grad()
    samples = sum(len(y) for _, y in batches)
    loss = sum(F.cross_entropy(model(x), y, reduction="sum") for x, y in batches) / samples
    loss.backward()
    optimizer.step()
    return loss.item()


# %% wrong="accumulation_step" says="brings back the memory"
def accumulation_step(model, optimizer, batches):  # glues the pieces together again
    model.train()
    optimizer.zero_grad()
    x, y = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


# %% right="accumulation_step"
def accumulation_step(net, opt, pieces):
    net.train()
    opt.zero_grad(set_to_none=False)
    n, total = 0, 0.0
    for inputs, targets in pieces:
        loss = nn.CrossEntropyLoss(reduction="sum")(net(inputs), targets)
        loss.backward()
        n, total = n + targets.numel(), total + float(loss.detach())
    with torch.no_grad():
        for p in net.parameters():
            if p.grad is not None:
                p.grad /= n
    opt.step()
    return total / n


# %% right="accumulation_step"
def accumulation_step(model, optimizer, batches):
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    sums = [torch.zeros_like(p) for p in parameters]
    sizes, losses = [], []
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        for total, slope in zip(sums, torch.autograd.grad(loss, parameters)):
            total += slope * len(y)
        sizes.append(len(y))
        losses.append(loss.item() * len(y))
    for p, total in zip(parameters, sums):
        p.grad = total / sum(sizes)
    optimizer.step()
    return sum(losses) / sum(sizes)


# %% wrong="amp_step" says="still scaled"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # clips gradients that are still scaled
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" says="stay in float32"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # casts the model itself
    model.train().to(dtype)
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x.to(dtype)).float(), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" says="overflow"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # steps past the scaler
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    scaler.update()
    return loss.item()


# %% wrong="amp_step" says="update() ends every step"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # the scale never adapts
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    return loss.item()


# %% wrong="amp_step" says="pass dtype=dtype"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # leaves the type to the device's default
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" says="outside the autocast block"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # a loss of 16 bits
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        logits = model(x)
    loss = F.cross_entropy(logits, y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" says="old gradients were added"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # never clears
    model.train()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" says="nothing was clipped"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # forgets to clip
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" says="not the scaled one"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # reports the scaled loss
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = scaler.scale(F.cross_entropy(model(x), y))
    loss.backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" says="inside torch.autocast"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # no autocast at all
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" says="leave the `with` block"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):  # everything under autocast
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        scaler.step(optimizer)
        scaler.update()
    return loss.item()


# %% right="amp_step"
def amp_step(net, opt, gs, inputs, targets, kind, limit):
    net.train()
    opt.zero_grad()
    context = torch.amp.autocast(device_type=inputs.device.type, dtype=kind)
    with context:
        scores = net(inputs)
        loss = nn.functional.cross_entropy(scores.float(), targets)
    gs.scale(loss).backward()
    gs.unscale_(opt)
    total = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in net.parameters()]))
    if total > limit:
        for p in net.parameters():
            p.grad.mul_(limit / total)
    gs.step(opt)
    gs.update()
    return float(loss)


# %% right="amp_step"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    for p in model.parameters():
        p.grad = None
    autocast = torch.autocast(device_type=str(x.device).split(":")[0], dtype=dtype, enabled=True)
    autocast.__enter__()
    loss = -F.log_softmax(model(x).float(), 1).gather(1, y[:, None]).mean()
    autocast.__exit__(None, None, None)
    scaled = scaler.scale(loss)
    scaled.backward()
    scaler.unscale_(optimizer)
    clip_gradients(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach().item()


# %% wrong="fit" says="random number generator"
def fit(model, optimizer, scheduler, loader, epochs, path):  # forgets the generator
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "losses": losses,
                "epoch": epoch + 1,
            },
            path,
        )
    return losses


# %% wrong="fit" says="state of the optimizer"
def fit(model, optimizer, scheduler, loader, epochs, path):  # thinks that the weights are all
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        torch.save(
            {
                "model": model.state_dict(),
                "scheduler": scheduler.state_dict(),
                "rng": torch.get_rng_state(),
                "losses": losses,
                "epoch": epoch + 1,
            },
            path,
        )
    return losses


# %% wrong="fit" says="and of the scheduler"
def fit(model, optimizer, scheduler, loader, epochs, path):  # forgets the scheduler
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "rng": torch.get_rng_state(),
                "losses": losses,
                "epoch": epoch + 1,
            },
            path,
        )
    return losses


# %% wrong="fit" says="not only at the end"
def fit(model, optimizer, scheduler, loader, epochs, path):  # saves once, when it is too late
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        for part, name in ((model, "model"), (optimizer, "optimizer"), (scheduler, "scheduler")):
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
    parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save({**parts, "rng": torch.get_rng_state(), "losses": losses, "epoch": epochs}, path)
    return losses


# %% wrong="fit" says="weights_only=True"
def fit(model, optimizer, scheduler, loader, epochs, path):  # switches the protection off to get rid of an error
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=False)
        for part, name in ((model, "model"), (optimizer, "optimizer"), (scheduler, "scheduler")):
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**parts, "rng": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" says="not after each epoch"
def fit(model, optimizer, scheduler, loader, epochs, path):  # counts the schedule in epochs
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        for part, name in ((model, "model"), (optimizer, "optimizer"), (scheduler, "scheduler")):
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
        scheduler.step()
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**parts, "rng": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" says="read the checkpoint if"
def fit(model, optimizer, scheduler, loader, epochs, path):  # writes checkpoints, never reads them
    losses = []
    for epoch in range(epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**parts, "rng": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" says="It holds an object"
def fit(model, optimizer, scheduler, loader, epochs, path):  # saves the objects themselves
    losses, done = [], 0
    if path.exists():
        saved = torch.load(path, weights_only=False)
        for part, name in ((model, "model"), (optimizer, "optimizer"), (scheduler, "scheduler")):
            part.load_state_dict(saved[name].state_dict() if name == "model" else saved[name])
        torch.set_rng_state(saved["rng"])
        losses, done = saved["losses"], saved["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        parts = {"model": model, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**parts, "rng": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" says="not done again"
def fit(model, optimizer, scheduler, loader, epochs, path):  # trains `epochs` more epochs after a resumption
    losses = []
    if path.exists():
        state = torch.load(path, weights_only=True)
        for part, name in ((model, "model"), (optimizer, "optimizer"), (scheduler, "scheduler")):
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
        losses = state["losses"]
    for epoch in range(epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**parts, "rng": torch.get_rng_state(), "losses": losses}, path)
    return losses


# %% right="fit"
def fit(model, optimizer, scheduler, loader, epochs, path):
    parts = [model, optimizer, scheduler]
    history = []
    if os.path.isfile(path):
        with open(path, "rb") as file:
            *states, rng, history = torch.load(file, map_location="cpu", weights_only=True)
        for part, state in zip(parts, states):
            part.load_state_dict(state)
        torch.random.set_rng_state(rng)
    while len(history) < epochs:
        losses = []
        for x, y in loader:
            model.train()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(float(loss))
        history.append(losses)
        part_file = f"{path}.part"  # whole or not at all
        torch.save([*(part.state_dict() for part in parts), torch.random.get_rng_state(), history], part_file)
        os.replace(part_file, path)
    return [loss for losses in history for loss in losses]


# %% right="fit"
def fit(model, optimizer, scheduler, loader, epochs, path):
    def save(epoch):
        torch.save(
            {
                "net": {k: v.clone() for k, v in model.state_dict().items()},
                "opt": optimizer.state_dict(),
                "sched": scheduler.state_dict(),
                "rng": torch.default_generator.get_state(),
                "curve": torch.tensor(curve, dtype=torch.float64),
                "epoch": epoch,
            },
            str(path),
        )

    curve, epoch = [], 0
    try:
        saved = torch.load(str(path), weights_only=True)
    except FileNotFoundError:
        pass
    else:
        epoch, curve = saved["epoch"], saved["curve"].tolist()
        model.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["opt"])
        scheduler.load_state_dict(saved["sched"])
        torch.default_generator.set_state(saved["rng"])
    while epoch < epochs:
        for batch in loader:
            curve += [train_step(model, optimizer, *batch)]
            scheduler.step()
        epoch += 1
        save(epoch)
    return curve


# %% wrong="early_stopping" says="references to the live weights"
class EarlyStopping:  # remembers references, not a copy
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited, self.best_state = loss, 0, model.state_dict()
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" says="not with the last one"
class EarlyStopping:  # compares with the loss before
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.waited, self.best_state = 0, copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        self.best = loss
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" says="sets the count back"
class EarlyStopping:  # counts all bad evaluations, not those in a row
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.best_state = loss, copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" says="third in a row"
class EarlyStopping:  # one evaluation too late
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited, self.best_state = loss, 0, copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited > self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" says="NaN is no improvement"
class EarlyStopping:  # asks for "not worse", which NaN is
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss >= self.best - self.min_delta:
            self.waited += 1
        else:
            self.best, self.waited, self.best_state = loss, 0, copy.deepcopy(model.state_dict())
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% right="early_stopping"
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        improved = (self.best - loss) > self.min_delta
        self.waited = 0 if improved else self.waited + 1
        if improved:
            self.best = loss
            self.best_state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        return not (self.waited < self.patience)

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="check_train_epoch" says="still unseen"
def check_train_epoch(train_epoch):  # thinks that a falling loss proves the loop
    model, batches = small_case()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = train_epoch(model, optimizer, batches)
    for _ in range(20):
        last = train_epoch(model, optimizer, batches)
    assert last < first


# %% wrong="check_train_epoch" says="still unseen"
def check_train_epoch(train_epoch):  # looks at the returned number and the mode only
    model, batches = small_case()
    twin, total = copy.deepcopy(model), 0.0
    for x, y in batches:
        loss = F.cross_entropy(twin(x), y)
        with torch.no_grad():
            for p, slope in zip(twin.parameters(), torch.autograd.grad(loss, list(twin.parameters()))):
                p -= 1e-9 * slope
        total += loss.item() * len(y)
    result = train_epoch(model, torch.optim.SGD(model.parameters(), lr=1e-9), batches)
    assert math.isclose(result, total / 10, rel_tol=1e-4)
    assert model.training


# %% wrong="check_train_epoch" says="not those it finds"
def check_train_epoch(train_epoch):  # begins with clean gradients
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    model.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    mean = train_epoch(model, optimizers[0], batches)
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4)
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and model.training


# %% wrong="check_train_epoch" says="at the end"
def check_train_epoch(train_epoch):  # looks at the mode when all is over
    model, batches = small_case()
    twin = copy.deepcopy(model)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    mean = train_epoch(model, optimizers[0], batches)
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4)
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert model.training


# %% wrong="check_train_epoch" says="sets gradients to None"
def check_train_epoch(train_epoch):  # compares what is left in p.grad, which nobody promised
    model, batches = small_case()
    twin = copy.deepcopy(model)
    epoch_with()(twin, torch.optim.SGD(twin.parameters(), lr=0.5), batches)
    train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches)
    for p, q in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(p.grad, q.grad)


# %% wrong="check_train_epoch" says="correct implementation"
def check_train_epoch(train_epoch):  # wants the last bit of one particular implementation
    model, batches = small_case()
    twin = copy.deepcopy(model)
    expected = epoch_with()(twin, torch.optim.SGD(twin.parameters(), lr=0.5), batches)
    assert train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches) == expected
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters()))


# %% wrong="check_train_epoch" says="catch none"
def check_train_epoch(train_epoch):  # only runs it
    model, batches = small_case()
    train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches)


# %% equivalent="check_train_epoch" because="isclose treats both numbers alike"
# - assert math.isclose(result, total / seen, rel_tol=1e-4), "the mean is not that of all samples before their updates"
# + assert (math.isclose(total / seen, result, rel_tol=0.0001)), "the mean is not that of all samples before their updates"

# %% equivalent="check_train_epoch" because="a tolerance twice as wide is still far below any bug's effect"
# - assert math.isclose(result, total / seen, rel_tol=1e-4), "the mean is not that of all samples before their updates"
# + assert math.isclose(result, total / seen, rel_tol=0.0002), "the mean is not that of all samples before their updates"

# %% equivalent="check_train_epoch" because="closeness is symmetric at equal scale"
# - for p, expected in zip(model.parameters(), twin.parameters()):
# + for p, expected in (zip(twin.parameters(), model.parameters())):

# %% equivalent="check_train_epoch" because="closeness is symmetric at equal scale"
# - torch.testing.assert_close(p, expected)
# + (torch.testing.assert_close(expected, p))


# %% right="check_train_epoch"
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, seen = copy.deepcopy(model), set()
    model[0].register_forward_hook(lambda module, args, result: seen.add(module.training))
    F.cross_entropy(model(batches[0][0]), batches[0][1]).backward()  # leaves a gradient behind
    seen.clear()
    adam, other = torch.optim.SGD(model.parameters(), lr=0.3), torch.optim.SGD(twin.parameters(), lr=0.3)
    mean = train_epoch(model, adam, batches)
    if type(mean) is not float:
        raise TypeError(f"a float was promised, not {type(mean)}")
    weighted = []
    for x, y in batches:
        for p in twin.parameters():
            p.grad = None
        loss = nn.CrossEntropyLoss()(twin(x), y)
        loss.backward()
        other.step()
        weighted += [loss.item()] * len(y)
    assert abs(mean - sum(weighted) / len(weighted)) < 1e-4
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(model.parameters(), twin.parameters()))
    assert seen == {True} and model.training and all(m.training for m in model.modules())


# %% right="check_train_epoch"
def check_train_epoch(train_epoch):
    class Watched(nn.Module):  # a wrapper instead of a hook
        def __init__(self, inner):
            super().__init__()
            self.inner, self.modes = inner, []

        def forward(self, x):
            self.modes.append(self.training)
            return self.inner(x)

    model, batches = small_case()
    twin, model = copy.deepcopy(model), Watched(model).eval()
    for p in model.parameters():
        p.grad = torch.full_like(p, -7.0)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    mean = train_epoch(model, optimizers[0], batches)
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4)
    torch.testing.assert_close(dict(model.inner.state_dict()), dict(twin.state_dict()))
    assert model.training and False not in model.modes


# %% wrong="debug_clinic" says="once a pass, not once a step"
def run_steps(model, optimizer, loader, steps):  # the patient itself
    return [train_step(model, optimizer, *next(iter(loader))) for _ in range(steps)]


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" says="in a new order"
def run_steps(model, optimizer, loader, steps):  # cycle() remembers the first pass and never shuffles again
    import itertools

    return [train_step(model, optimizer, x, y) for x, y in itertools.islice(itertools.cycle(loader), steps)]


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" says="the batches used in 7 steps"
def run_steps(model, optimizer, loader, steps):  # `steps` passes instead of `steps` updates
    return [train_step(model, optimizer, x, y) for _ in range(steps) for x, y in loader]


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" says="comparisons with NaN"
def guarded_fit(model, optimizer, batches, limit):  # `loss > limit` is False for NaN
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if not losses[-1] > limit:
            healthy = copy.deepcopy(model.state_dict())
            loss.backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" says="is it a deep copy"
def guarded_fit(model, optimizer, batches, limit):  # the copy is a reference: there is nothing to go back to
    model.train()
    losses, healthy = [], model.state_dict()
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = model.state_dict()
            loss.backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" says="was the copy taken before"
def guarded_fit(model, optimizer, batches, limit):  # copies after the update, which may be the harmful one
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            loss.backward()
            optimizer.step()
            healthy = copy.deepcopy(model.state_dict())
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" says="statistics belong to the state"
def guarded_fit(model, optimizer, batches, limit):  # keeps the parameters, forgets the buffers
    model.train()
    losses, healthy = [], [p.detach().clone() for p in model.parameters()]
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = [p.detach().clone() for p in model.parameters()]
            loss.backward()
            optimizer.step()
        else:
            with torch.no_grad():
                for p, value in zip(model.parameters(), healthy):
                    p.copy_(value)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" says="is not on the expected device"
def weighted_loss(model, x, y):  # moves the batch, forgets the tensor that it makes itself
    device = next(model.parameters()).device
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=torch.linspace(1, 2, 10))


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" says="the model was moved"
def weighted_loss(model, x, y):  # brings the model to the batch
    device = next(model.parameters()).device
    if x.device != device:
        model.to_empty(device=x.device)
    return F.cross_entropy(model(x), y, weight=torch.linspace(1, 2, 10, device=x.device)).to(device)


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" says="choose use_reentrant=False"
def lean_forward(blocks, x):  # the old way: no gradient, since the input needs none
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=True)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" says="give checkpoint the block itself"
def lean_forward(blocks, x):  # the lambda sees the last block when it runs again
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(lambda t: block(t), x, use_reentrant=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" says="same dropout masks"
def lean_forward(blocks, x):  # the second forward draws other masks
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" says="one for each batch"
def guarded_fit(model, optimizer, batches, limit):  # looks at the loss first, then trains: two forward passes
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        with torch.no_grad():
            losses.append(F.cross_entropy(model(x), y).item())
        if losses[-1] <= limit:
            healthy = copy.deepcopy(model.state_dict())
            train_step(model, optimizer, x, y)
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" says="in eval mode and was trained so"
def guarded_fit(model, optimizer, batches, limit):  # trusts the mode it finds
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = copy.deepcopy(model.state_dict())
            loss.backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" says="above the limit of 0.5"
def guarded_fit(model, optimizer, batches, limit):  # only NaN and infinity count as crashes
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if math.isfinite(losses[-1]):
            healthy = copy.deepcopy(model.state_dict())
            loss.backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" says="block by block"
def lean_forward(blocks, x):  # one checkpoint around everything
    return torch.utils.checkpoint.checkpoint(hungry_forward, blocks, x, use_reentrant=False)


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" says="3 of 4 parts pass. ✗ patient 4: the result"
def run_steps(model, optimizer, loader, steps):
    passes = (batch for _ in range(steps) for batch in loader)
    return [train_step(model, optimizer, *next(passes)) for _ in range(steps)]


def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = copy.deepcopy(model.state_dict())
            loss.backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def weighted_loss(model, x, y):
    device = next(model.parameters()).device
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=torch.linspace(1, 2, 10).to(device))


def lean_forward(blocks, x):  # saves memory by halving the precision
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x.bfloat16().float(), use_reentrant=False)
    return x


# %% right="debug_clinic"
def run_steps(net, opt, data, n):
    out, stream = [], iter(data)
    for _ in range(n):
        try:
            batch = next(stream)
        except StopIteration:
            stream = iter(data)
            batch = next(stream)
        out.append(train_step(net, opt, *batch))
    return out


def guarded_fit(net, opt, batches, limit):
    net.train()

    def snapshot():
        return {k: v.detach().clone() for k, v in net.state_dict().items()}

    good, history = snapshot(), []
    for x, y in batches:
        loss = nn.CrossEntropyLoss()(net(x), y)
        history.append(float(loss.detach()))
        if not math.isfinite(history[-1]) or history[-1] > limit:
            net.load_state_dict(good)
            opt.param_groups[:] = [{**g, "lr": g["lr"] * 0.5} for g in opt.param_groups]
            continue
        good = snapshot()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    return history


def weighted_loss(model, x, y):
    where = [p.device for p in model.parameters()][0]
    logits = model(x.to(where))
    return nn.CrossEntropyLoss(weight=torch.linspace(1.0, 2.0, logits.shape[1])).to(where)(logits, y.to(where))


def lean_forward(blocks, x):
    for i in range(len(blocks)):
        x = torch.utils.checkpoint.checkpoint(lambda t, b=blocks[i]: b(t), x, use_reentrant=False)
    return x


# %% right="debug_clinic"
def run_steps(model, optimizer, loader, steps):
    def forever():
        while True:
            yield from loader

    return [train_step(model, optimizer, x, y) for (x, y), _ in zip(forever(), range(steps))]


def guarded_fit(model, optimizer, batches, limit):
    model.train()
    last, losses = copy.deepcopy(model), []
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if not loss.item() <= limit:
            model.load_state_dict(last.state_dict())
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] / 2
        else:
            last.load_state_dict(model.state_dict())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return losses


def weighted_loss(model, x, y):
    some = next(model.parameters())
    with torch.device(some.device):
        weight = torch.linspace(1, 2, 10)
    return F.cross_entropy(model(x.to(some.device)), y.to(some.device), weight)


def lean_forward(blocks, x):
    return torch.utils.checkpoint.checkpoint_sequential(nn.Sequential(*blocks), len(blocks), x, use_reentrant=False)
