# %% wrong="train_and_evaluate" breaks="fresh" says="old gradients cleared"
# Misunderstands: `backward` replaces the gradient.
def train_step(model, optimizer, x, y):
    model.train()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="step" says="no weight moved"
# Misunderstands: clearing may stand anywhere in the step.
def train_step(model, optimizer, x, y):
    model.train()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="step" says="no weight moved"
# Misunderstands: what `step` needs to know (it runs before there is a gradient).
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    optimizer.step()
    loss.backward()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="step, returns" says="softmax of a softmax"
# Misunderstands: `cross_entropy` wants probabilities.
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x).softmax(1), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="step, returns" says="added up: take the mean"
# Misunderstands: sum or mean only changes the rate.
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y, reduction="sum")
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="returns" says="keep the whole graph"
# Misunderstands: a loss is a number.
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="fresh" says="not only at the end"
# Misunderstands: whoever called first left everything clean.
def train_step(model, optimizer, x, y):
    model.train()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="training_mode" says="a part of the model was not in training mode"
# Misunderstands: a model that is trained is in training mode.
def train_step(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="training_mode" says="reaches all parts"
# Misunderstands: the flag of the model holds for all of it.
def train_step(model, optimizer, x, y):
    model.training = True
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="training_mode" says="was not in training mode"
# Misunderstands: the outer flag tells the mode of all submodules.
def train_step(model, optimizer, x, y):
    if not model.training:
        model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="returns" says="loss after the update"
# Misunderstands: the loss of a step is the loss that it leads to.
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        return F.cross_entropy(model(x), y).item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="training_mode" says="in this order"
# Misunderstands: looking at the loss first costs nothing (the batch goes through the model twice: batch norm counts it twice, dropout draws twice).
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    with torch.no_grad():
        before = F.cross_entropy(model(x), y).item()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return before


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="fresh" says="in this order"
# Misunderstands: only parameters that get a gradient can have an old one (a frozen one keeps its own, and is moved by it).
def train_step(model, optimizer, x, y):
    model.train()
    for p in model.parameters():
        if p.requires_grad:
            p.grad = None
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="step" says="in this order"
# Misunderstands: every loss wants weights to be small (adds an L2 term that nobody asked for).
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y) + 1e-2 * sum(p.square().sum() for p in model.parameters())
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="loss, accuracy" says="1 of 2 parts pass. ✗ evaluate: `evaluate`"
# Misunderstands: the mean of means is the mean.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y).item()
            right += (logits.argmax(1) == y).double().mean().item()
            seen += 1
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


# %% wrong="train_and_evaluate" breaks="loss" says="sums over all samples"
# Misunderstands: a mean of means is near enough for the loss.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen, batches = 0.0, 0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y).item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
            batches = batches + 1
    for module, training in modes.items():
        module.training = training
    return loss / batches, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="accuracy" says="sums over all samples"
# Misunderstands: accuracy is a number of batches' means.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen, batches = 0.0, 0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).double().mean().item()
            seen += len(y)
            batches = batches + 1
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / batches


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="accuracy" says="sums over all samples"
# Misunderstands: accuracy is a figure in per cent.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, 100 * right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="loss" says="sums over all samples"
# Misunderstands: log and softmax apart are the same (0 has no logarithm).
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += -logits.softmax(1)[range(len(y)), y].log().sum().item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="loss, accuracy" says="are floats"
# Misunderstands: a tensor without axes is a number.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return torch.tensor(loss / seen), torch.tensor(right / seen)


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="eval_mode" says="training mode while it was judged"
# Misunderstands: no_grad switches dropout off.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="eval_mode" says="in training mode while it was judged"
# Misunderstands: the outer flag tells the mode of all submodules.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    if model.training:
        model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="eval_mode" says="in training mode while it was judged"
# Misunderstands: the flag of the model holds for all of it.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.training = False
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="no_graph" says="autograd recorded"
# Misunderstands: eval() switches autograd off.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.enable_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="modes_back" says="left in eval mode"
# Misunderstands: the next train step will see to it.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="modes_back" says="is left in training mode"
# Misunderstands: a model is in training mode unless somebody judges it.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    model.train()
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="modes_back" says="keep the mode of each"
# Misunderstands: one mode holds for a whole model.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    model.train(modes[model])
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="once" says="a generator"
# Misunderstands: a loader can be passed over as often as one likes.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    samples = sum(len(y) for _, y in loader)
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / samples, right / samples


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="once" says="a generator"
# Misunderstands: everything that is iterated over has a length.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y) + 0 * len(loader)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="nothing_left" says="off for good"
# Misunderstands: no_grad and set_grad_enabled are the same.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    torch.set_grad_enabled(False)
    if True:
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="nothing_left" says="are frozen now"
# Misunderstands: what needs no gradient now needs none later.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    model.requires_grad_(False)
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="nothing_left" says="sums over all samples"
# Misunderstands: gradients have no business in an evaluation, so they may be cleared.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    model.zero_grad()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="fresh" says="may have several groups"
# Misunderstands: an optimizer has one parameter group.
def train_step(model, optimizer, x, y):
    model.train()
    for p in optimizer.param_groups[0]["params"]:
        p.grad = None
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="nothing_left" says="is trainable now"
# Misunderstands: whoever judges may freeze everything and thaw everything afterwards.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    loss, right, seen = 0.0, 0, 0
    model.eval()
    model.requires_grad_(False)
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    model.requires_grad_(True)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="nothing_left" says="is on now"
# Misunderstands: autograd was on when the call came.
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    torch.set_grad_enabled(False)
    loss, right, seen = 0.0, 0, 0
    if True:
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    torch.set_grad_enabled(True)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="nothing_left" says="a random number drawn afterwards"
# Misunderstands: a seed makes an evaluation repeatable (and every random number after it).
def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    torch.manual_seed(0)
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, training in modes.items():
        module.training = training
    return loss / seen, right / seen


def train_step(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="training_mode" says="all parts in training mode in the forward pass"
# Misunderstands: only the children have something to switch (a model's own flag may decide as well, in `F.dropout`).
def train_step(model, optimizer, x, y):
    for child in model.children():
        child.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="step" says="in this order"
# Misunderstands: an epsilon makes the log of the softmax safe (a sample far on the wrong side has no gradient then).
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = -torch.log(model(x).softmax(dim=1)[torch.arange(len(y)), y] + 1e-12).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="eval_mode" says="while it judged"
# Misunderstands: only dropout and batch norm layers have a mode.
def train_step(*args):
    raise NotImplementedError


def evaluate(model, loader):
    switched = [part for part in model.modules() if isinstance(part, (nn.Dropout, nn.BatchNorm1d)) and part.training]
    for part in switched:
        part.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for part in switched:
        part.train()
    return loss / seen, right / seen


# %% wrong="train_and_evaluate" breaks="nothing_left" says="draws from torch's generator"
# Misunderstands: the generator goes back to where it was, the draws of the loader too (it would shuffle alike for ever).
def train_step(*args):
    raise NotImplementedError


def evaluate(model, loader):
    modes, state = [(part, part.training) for part in model.modules()], torch.get_rng_state()
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for part, training in modes:
        part.training = training
    torch.set_rng_state(state)
    return loss / seen, right / seen


# %% wrong="train_and_evaluate" breaks="step" says="your code raised"
# Misunderstands: a network wants flat samples, whatever model it is.
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x.flatten(1)), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="fresh" says="leftover = nan"
# Misunderstands: grad *= 0 clears whatever lies there (NaN times 0 is NaN).
def train_step(model, optimizer, x, y):
    model.train()
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                p.grad *= 0
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for module, mode in modes.items():
        module.training = mode
    return loss / seen, right / seen


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
    modes = [part.training for part in net.modules()]
    try:
        net.eval()
        pairs = [(net(inputs), targets) for inputs, targets in data]
    finally:
        for part, mode in zip(net.modules(), modes):
            part.training = mode
    logits, targets = torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])
    loss = nn.CrossEntropyLoss()(logits, targets)
    return float(loss), float((logits.max(dim=1).indices == targets).double().mean())


# %% wrong="train_and_evaluate" breaks="fresh" says="None, not zeros"
# Misunderstands: a gradient of zeros is as good as none (weight decay moves the one and not the other).
def train_step(model, optimizer, x, y):
    model.train()
    optimizer.zero_grad(set_to_none=False)
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="training_mode" says="in this order"
# Misunderstands: one sample has to go through in eval mode, since batch norm cannot take it otherwise.
def train_step(model, optimizer, x, y):
    model.train(len(x) > 1)
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(*args):
    raise NotImplementedError


# %% wrong="train_and_evaluate" breaks="modes_back" says="stands in two places ends in another mode"
# Misunderstands: part.train(mode) sets this part alone (it sets all below it, and a shared one twice).
def train_step(*args):
    raise NotImplementedError


def evaluate(model, loader):
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    loss, right, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    for part, mode in modes:
        part.train(mode)
    return loss / seen, right / seen


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
    copied = copy.deepcopy(model).eval()  # the model itself is not touched
    total = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for x, y in loader:
            out = copied(x)
            total += torch.tensor([F.cross_entropy(out, y) * len(y), (out.argmax(-1) == y).sum(), len(y)], dtype=torch.float64)
    return (total[0] / total[2]).item(), (total[1] / total[2]).item()


# %% right="train_and_evaluate"
def train_step(model, optimizer, x, y):
    for module in model.modules():
        module.training = True
    loss = F.cross_entropy(input=model(x), target=y)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    model.zero_grad()
    for p, gradient in zip(parameters, gradients):
        p.grad = gradient
    optimizer.step()
    return float(loss)


def evaluate(model, loader):
    in_training = [module for module in model.modules() if module.training]
    model.train(False)
    losses, hits = [], []
    for x, y in loader:
        with torch.no_grad():
            log_probabilities = model(x).log_softmax(dim=-1)
        losses += (-log_probabilities.gather(1, y[:, None])).flatten().tolist()
        hits += (log_probabilities.argmax(dim=-1) == y).tolist()
    for module in in_training:
        module.training = True
    return math.fsum(losses) / len(losses), sum(hits) / len(hits)


# %% equivalent="train_and_evaluate" because="one backward pass: the graph goes when the function returns"
# - loss.backward()
# + loss.backward(retain_graph=True)


# %% wrong="clip_gradients" breaks="scale, norm" says="one factor"
# Misunderstands: each tensor has a limit of its own (and the largest norm is reported).
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = max(g.norm() for g in gradients)
    for g in gradients:
        g.mul_(torch.clamp(max_norm / g.norm(), max=1.0))
    return norm


# %% wrong="clip_gradients" breaks="scale" says="clipped on its own"
# Misunderstands: each tensor has a limit of its own.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    for g in gradients:
        g.mul_(torch.clamp(max_norm / g.norm(), max=1.0) if g.norm() > 0 else 1.0)
    return norm


# %% wrong="clip_gradients" breaks="in_place" says="makes a new tensor"
# Misunderstands: `g = g * factor` changes the tensor that g names.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = torch.clamp(max_norm / norm, max=1.0)
    for g in gradients:
        g = g * factor
    return norm


# %% wrong="clip_gradients" breaks="in_place" says="puts another tensor"
# Misunderstands: p.grad may be any tensor with the right values.
def clip_gradients(parameters, max_norm):
    parameters = [p for p in parameters if p.grad is not None]
    total = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad = p.grad * torch.clamp(max_norm / total, max=1.0)
    return total


# %% wrong="clip_gradients" breaks="within" says="ZeroDivisionError"
# Misunderstands: there is always something to divide by (a Python float divides by zero).
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum((g**2).sum().item() for g in gradients))
    factor = min(1.0, max_norm / norm)
    for g in gradients:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="within" says="0 / 0"
# Misunderstands: a vector of zeros has a direction.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    for g in gradients:
        g.div_(norm).mul_(min(max_norm, norm))
    return norm


# %% wrong="clip_gradients" breaks="norm" says="shape (1,)"
# Misunderstands: a list of one number is a number.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = torch.clamp(max_norm / norm, max=1.0)
    for g in gradients:
        g.mul_(factor)
    return norm.reshape(1)


# %% wrong="clip_gradients" breaks="norm" says="['norm'] is 0.1"
# Misunderstands: the figure to log is the one after clipping.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = torch.clamp(max_norm / norm, max=1.0)
    for g in gradients:
        g.mul_(factor)
    return torch.stack([g.norm() for g in gradients]).norm()


# %% wrong="clip_gradients" breaks="norm, scale" says="one factor, min"
# Misunderstands: a norm is the root of the mean of squares.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.cat([g.flatten() for g in gradients]).square().mean().sqrt()
    factor = torch.clamp(max_norm / norm, max=1.0)
    for g in gradients:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="scale" says="each value was clipped"
# Misunderstands: clipping the norm is clipping the values.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    for g in gradients:
        g.clamp_(-max_norm, max_norm)
    return norm


# %% wrong="clip_gradients" breaks="within" says="were stretched"
# Misunderstands: every gradient gets the length max_norm.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = max_norm / norm if norm > 0 and max_norm < math.inf else 1.0
    for g in gradients:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="norm, scale" says="sum of the norms"
# Misunderstands: norms add up.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = sum(g.norm() for g in gradients)
    factor = torch.clamp(max_norm / norm, max=1.0)
    for g in gradients:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="norm, scale" says="one factor"
# Misunderstands: the last tensors do not matter much (only the largest tensor's norm counts).
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).max()
    factor = torch.clamp(max_norm / norm, max=1.0)
    for g in gradients:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="norm, scale" says="one factor"
# Misunderstands: an epsilon of 1e-6 is harmless under the root too (gradients may be shorter than that).
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = (sum(g.square().sum() for g in gradients) + 1e-6).sqrt()
    factor = torch.clamp(max_norm / norm, max=1.0)
    for g in gradients:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="scale" says="one factor"
# Misunderstands: an epsilon may be of any size.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = torch.clamp(max_norm / (norm + 1e-3), max=1.0)
    for g in gradients:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="norm, scale" says="your code raised RuntimeError"
# Misunderstands: gradients lie in memory as their shape says.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.cat([g.view(-1) for g in gradients]).norm()
    factor = torch.clamp(max_norm / norm, max=1.0)
    for g in gradients:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="once" says="at a second pass"
# Misunderstands: `model.parameters()` can be walked through as often as one likes.
def clip_gradients(parameters, max_norm):
    norm = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
    for p in parameters:
        if p.grad is not None:
            p.grad.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


# %% wrong="clip_gradients" breaks="none" says="expected None"
# Misunderstands: a parameter without a gradient has the gradient 0.
def clip_gradients(parameters, max_norm):
    parameters = list(parameters)
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


# %% wrong="clip_gradients" breaks="none" says="'NoneType' object has no attribute"
# Misunderstands: every parameter has a gradient.
def clip_gradients(parameters, max_norm):
    parameters = list(parameters)
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


# %% wrong="clip_gradients" breaks="by_hand" says="out of reach"
# Misunderstands: by hand means by a library.
def clip_gradients(parameters, max_norm):
    return torch.nn.utils.clip_grad_norm_(list(parameters), max_norm)


# %% wrong="clip_gradients" breaks="in_place" says="gives the tensor other memory"
# Misunderstands: whoever assigns to `.data` changes a tensor in place.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for g in gradients:
        g.data = g.data * factor
    return norm


# %% wrong="clip_gradients" breaks="within" says="`max_norm` is infinite here"
# Misunderstands: inf / inf is 1.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm().item()
    factor = max_norm / max(norm, max_norm)
    for g in gradients:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="in_place" says="make a copy of those"
# Misunderstands: `reshape(-1)` is always a view.
def clip_gradients(parameters, max_norm):
    flat = [p.grad.reshape(-1) for p in parameters if p.grad is not None]
    norm = torch.cat(flat).norm()
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for g in flat:
        g.mul_(factor)
    return norm


# %% wrong="clip_gradients" breaks="scale, norm" says="frozen parameter's gradient was left out"
# Misunderstands: frozen parameters have no part, whatever lies in their .grad.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.requires_grad and p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    if norm > max_norm:
        for g in gradients:
            g.mul_(max_norm / norm)
    return norm


# %% wrong="clip_gradients" breaks="scale" says="one factor"
# Misunderstands: 1 is the norm above which gradients explode.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    if norm > 1:
        for g in gradients:
            g.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


# %% wrong="clip_gradients" breaks="norm" says="['norm'] is 1e-06"
# Misunderstands: a small number under the root does no harm (it is the norm of zeros then).
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = (sum(g.square().sum() for g in gradients) + 1e-12).sqrt()
    for g in gradients:
        g.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


# %% wrong="clip_gradients" breaks="scale" says="one factor"
# Misunderstands: only tensors that are longer than max_norm themselves have to be scaled.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    for g in gradients:
        if g.norm() > max_norm:
            g.mul_(max_norm / norm)
    return norm


# %% wrong="clip_gradients" breaks="norm, scale" says="one factor"
# Misunderstands: ord=2 is the root of the sum of squares for matrices too (it is the largest singular value).
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([torch.linalg.norm(g, ord=2 if g.ndim == 2 else None) for g in gradients]).norm()
    for g in gradients:
        g.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


# %% wrong="clip_gradients" breaks="norm, scale" says="your code raised"
# Misunderstands: gradients are matrices or vectors (those of convolutions have four axes).
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([torch.linalg.matrix_norm(g) if g.ndim > 1 else g.norm() for g in gradients]).norm()
    for g in gradients:
        g.mul_(torch.clamp(max_norm / norm, max=1.0))
    return norm


# %% wrong="clip_gradients" breaks="scale" says="but all together do"
# Misunderstands: a vector is long where one of its parts is.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack([g.norm() for g in gradients])
    if norms.max() > max_norm:
        for g in gradients:
            g.mul_(max_norm / norms.norm())
    return norms.norm()


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


# %% right="clip_gradients"
def clip_gradients(parameters, max_norm):
    gradients = []
    for p in parameters:
        gradients += [] if p.grad is None else [p.grad]
    norm = torch.cat([torch.flatten(g) for g in gradients]).norm(2)
    if norm.item() <= max_norm:
        return norm
    for g in gradients:
        g.copy_(g / norm * max_norm)
    return norm


# %% right="clip_gradients"
# Torch's own norm, the rest by hand.
def clip_gradients(parameters, max_norm):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    for g in gradients:
        torch.mul(g, min(1.0, max_norm / max(norm.item(), 1e-30)), out=g)
    return norm


# %% wrong="make_schedule" breaks="warmup" says="is wasted"
# Misunderstands: a warm-up begins at 0.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return step / warmup
        if step >= total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="warmup" says="comes from the scheduler"
# Misunderstands: the rise ends one update later.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if step >= total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="end" says="rises again"
# Misunderstands: a cosine stays where it arrived.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if warmup == total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="end" says="stays at the floor"
# Misunderstands: the end is the last update that anybody looks at (one past it the cosine goes on).
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step == total or warmup == total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="groups, warmup, cosine, end" says="wants a factor"
# Misunderstands: LambdaLR wants rates.
def make_schedule(optimizer, warmup, total, floor=0.0):
    base = optimizer.param_groups[0]['lr']

    def multiplier(step):
        if step < warmup:
            return base * (step + 1) / warmup
        if step >= total:
            return base * floor
        progress = (step - warmup) / (total - warmup)
        return base * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="cosine" says="a straight line"
# Misunderstands: any way down will do.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * (1 - progress)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="cosine" says="down and up again"
# Misunderstands: a cosine's period is what falls.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * (1 + math.cos(2 * math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="cosine" says="goes down to -1"
# Misunderstands: a cosine goes from 1 to 0.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * math.cos(math.pi * progress)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="cosine" says="comes from the scheduler"
# Misunderstands: a quarter of a cosine is half of one.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * math.cos(math.pi / 2 * progress)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="cosine" says="ZeroDivisionError"
# Misunderstands: there is always a fall (takes the progress before it knows that there is one).
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        progress = (step - warmup) / (total - warmup)
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="cosine" says="comes from the scheduler"
# Misunderstands: progress reaches 1 at the last update before the end.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        progress = (step - warmup) / max(1, total - warmup - 1)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="cosine" says="counts from update 0"
# Misunderstands: the cosine has been running during the warm-up.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        progress = step / total
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="cosine" says="cut off at the floor"
# Misunderstands: a floor cuts off.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return max(floor, (1 + math.cos(math.pi * progress)) / 2)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="end, cosine" says="comes from the scheduler"
# Misunderstands: the floor is a rate, not a share of the base rate.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor / optimizer.defaults.get('lr', optimizer.param_groups[0]['initial_lr'])
        progress = (step - warmup) / (total - warmup)
        return max(floor / optimizer.param_groups[0]['initial_lr'], (1 + math.cos(math.pi * progress)) / 2)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="scheduler" says="is an LRScheduler"
# Misunderstands: what has step() is a scheduler.
def make_schedule(optimizer, warmup, total, floor=0.0):
    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return floor
        progress = (step - warmup) / (total - warmup)
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    class Schedule:
        def __init__(self):
            self.t, self.base = -1, [group["lr"] for group in optimizer.param_groups]
            self.step()

        def step(self):
            self.t += 1
            for group, base in zip(optimizer.param_groups, self.base):
                group["lr"] = base * multiplier(self.t)

        def state_dict(self):
            return {"t": self.t, "base": self.base}

        def load_state_dict(self, state):
            self.__dict__.update(state)

    return Schedule()


# %% wrong="make_schedule" breaks="groups" says="own base rate"
# Misunderstands: a schedule has one rate.
class Warm(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, warmup, total, floor):
        self.warmup, self.total, self.floor = warmup, total, floor
        super().__init__(optimizer)

    def get_lr(self):
        t, w, end, low = self.last_epoch, self.warmup, self.total, self.floor
        if t < w:
            share = (t + 1) / w
        elif t >= end:
            share = low
        else:
            share = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * (t - w) / (end - w)))
        return [self.base_lrs[0] * share for base in self.base_lrs]


def make_schedule(optimizer, warmup, total, floor=0.0):
    return Warm(optimizer, warmup, total, floor)


# %% wrong="make_schedule" breaks="resumes" says="began anew"
# Misunderstands: counting is the function's own business (its count is not in the state).
def make_schedule(optimizer, warmup, total, floor=0.0):
    def counted():
        count = iter(range(10**9))

        def multiplier(_):
            step = next(count)
            if step < warmup:
                return (step + 1) / warmup
            if step >= total:
                return floor
            progress = (step - warmup) / (total - warmup)
            return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

        return multiplier

    return torch.optim.lr_scheduler.LambdaLR(optimizer, [counted() for _ in optimizer.param_groups])


# %% wrong="make_schedule" breaks="own" says="decides here"
# Misunderstands: there is one schedule at a time (its settings lie on the class).
class Warm(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, warmup, total, floor):
        Warm.warmup, Warm.total, Warm.floor = warmup, total, floor
        super().__init__(optimizer)

    def get_lr(self):
        t, w, end, low = self.last_epoch, self.warmup, self.total, self.floor
        if t < w:
            share = (t + 1) / w
        elif t >= end:
            share = low
        else:
            share = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * (t - w) / (end - w)))
        return [base * share for base in self.base_lrs]


def make_schedule(optimizer, warmup, total, floor=0.0):
    return Warm(optimizer, warmup, total, floor)


# %% wrong="make_schedule" breaks="end, cosine" says="here the floor is a rate"
# Misunderstands: the floor is a rate (as eta_min is in torch's own cosine).
class WarmupCosine(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, warmup, total, floor):
        self.warmup, self.total, self.floor = warmup, total, floor
        super().__init__(optimizer)

    def get_lr(self):
        t = self.last_epoch
        if t < self.warmup:
            return [base * (t + 1) / self.warmup for base in self.base_lrs]
        if t >= self.total:
            return [self.floor for _ in self.base_lrs]
        half = 0.5 * (1 + math.cos(math.pi * (t - self.warmup) / (self.total - self.warmup)))
        return [self.floor + (base - self.floor) * half for base in self.base_lrs]


def make_schedule(optimizer, warmup, total, floor=0.0):
    return WarmupCosine(optimizer, warmup, total, floor)


# %% wrong="make_schedule" breaks="end" says="has the floor already"
# Misunderstands: max(1, ...) settles the case in which there is no cosine.
def make_schedule(optimizer, warmup, total, floor=0.0):

    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% wrong="make_schedule" breaks="own" says="comes from the scheduler"
# Misunderstands: there is one schedule at a time (its floor lies on the function).
def make_schedule(optimizer, warmup, total, floor=0.0):
    make_schedule.floor = floor

    def multiplier(step):
        if step < warmup:
            return (step + 1) / warmup
        if step >= total:
            return make_schedule.floor
        progress = (step - warmup) / (total - warmup)
        return make_schedule.floor + (1 - make_schedule.floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)


# %% right="make_schedule"
class _WarmCosine(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, warmup, total, floor):
        self.warmup, self.total, self.floor = warmup, total, floor
        super().__init__(optimizer)

    def get_lr(self):
        t, w, end, low = self.last_epoch, self.warmup, self.total, self.floor
        if t < w:
            share = (t + 1) / w
        elif t >= end:
            share = low
        else:
            share = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * (t - w) / (end - w)))
        return [base * share for base in self.base_lrs]


def make_schedule(optimizer, warmup, total, floor=0.0):
    return _WarmCosine(optimizer, warmup, total, floor)


# %% right="make_schedule"
def make_schedule(optimizer, warmup, total, floor=0.0):
    warm = [(t + 1) / warmup for t in range(warmup)]
    fall = [floor + (1 - floor) * math.cos(math.pi / 2 * t / (total - warmup)) ** 2 for t in range(total - warmup)]
    table = warm + fall + [floor]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: table[min(t, total)])


# %% right="make_schedule"
# Two of torch's schedulers, one after the other.
def make_schedule(optimizer, warmup, total, floor=0.0):
    from torch.optim.lr_scheduler import LambdaLR, LinearLR, SequentialLR

    def fall(t):
        length = total - warmup
        return floor if t >= length else floor + (1 - floor) / 2 * (1 + math.cos(t / length * math.pi))

    if warmup < 2:
        return LambdaLR(optimizer, lr_lambda=lambda t: 1.0 if t < warmup else fall(t - warmup))
    rise = LinearLR(optimizer, start_factor=1 / warmup, end_factor=1.0, total_iters=warmup - 1)
    return SequentialLR(optimizer, [rise, LambdaLR(optimizer, fall)], milestones=[warmup])


# %% wrong="accumulation_step" breaks="equal, returns" says="weighs the same"
# Misunderstands: the mean of means is the mean.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) / len(batches)
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="equal" says="without any weight"
# Misunderstands: what is added up needs no weight.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        mean += loss.item() * len(y) / samples
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="one_step, equal" says="together are one update"
# Misunderstands: each micro-batch is a step of its own.
def accumulation_step(model, optimizer, batches):
    model.train()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean += loss.item()
    return mean


# %% wrong="accumulation_step" breaks="equal" says="only the last micro-batch"
# Misunderstands: every backward wants clean gradients.
def accumulation_step(model, optimizer, batches):
    model.train()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        optimizer.zero_grad()
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="fresh" says="old gradients were added"
# Misunderstands: accumulating means never to clear.
def accumulation_step(model, optimizer, batches):
    model.train()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="fresh" says="training mode and clearing once"
# Misunderstands: the next call will find what this one left clean (clears at the end alone).
def accumulation_step(model, optimizer, batches):
    model.train()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return mean


# %% wrong="accumulation_step" breaks="equal" says="number of all samples"
# Misunderstands: sum or mean only changes the rate.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y, reduction="sum")
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean / samples


# %% wrong="accumulation_step" breaks="returns" says="is a float"
# Misunderstands: a tensor without axes is a number.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean = mean + loss.detach()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="returns, freed" says="accumulation_step"
# Misunderstands: a loss that is added up keeps nothing (it keeps the graph).
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean = mean + loss
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="returns" says="training mode and clearing once"
# Misunderstands: the loss to report is the last one.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean = loss.item() * samples / len(y)
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="freed" says="graphs of earlier micro-batches"
# Misunderstands: backward at the end costs the same.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        mean = mean + loss
    mean.backward()
    optimizer.step()
    return mean.item()


# %% wrong="accumulation_step" breaks="freed" says="graphs of earlier micro-batches"
# Misunderstands: gradients can only be added while their graphs are kept.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward(retain_graph=True)
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="alone" says="more samples than one holds"
# Misunderstands: the pieces only matter to the loader.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in [(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))]:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="training_mode" says="was not in training mode"
# Misunderstands: a model that is trained is in training mode.
def accumulation_step(model, optimizer, batches):
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="training_mode" says="was not in training mode"
# Misunderstands: the flag of the model holds for all of it.
def accumulation_step(model, optimizer, batches):
    model.training = True
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="unchanged" says="samples in the list"
# Misunderstands: a list that was handed over may be used up.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    while batches:
        x, y = batches.pop(0)
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="equal, returns" says="accumulation_step"
# Misunderstands: the last, smaller micro-batch is not worth the trouble.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    batches = [(x, y) for x, y in batches if len(y) == max(len(y) for _, y in batches)]
    samples = sum(len(y) for _, y in batches)
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="equal, returns" says="accumulation_step"
# Misunderstands: all micro-batches are as large as the first.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = len(batches) * len(batches[0][1]), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="alone" says="goes through the model once"
# Misunderstands: the loss to report wants a pass of its own.
def accumulation_step(model, optimizer, batches):
    samples = sum(len(y) for _, y in batches)
    model.train()
    optimizer.zero_grad()
    mean = 0.0
    for x, y in batches:
        with torch.no_grad():
            mean += F.cross_entropy(model(x), y, reduction="sum").item() / samples
        (F.cross_entropy(model(x), y) * len(y) / samples).backward()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="returns" says="in the loss that is returned"
# Misunderstands: only gradients want weights.
def accumulation_step(model, optimizer, batches):
    samples = sum(len(y) for _, y in batches)
    model.train()
    optimizer.zero_grad()
    losses = []
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        (loss * len(y) / samples).backward()
        losses.append(loss.item())
    optimizer.step()
    return sum(losses) / len(losses)


# %% wrong="accumulation_step" breaks="fresh" says="may have several groups"
# Misunderstands: an optimizer has one parameter group.
def accumulation_step(model, optimizer, batches):
    model.train()
    for p in optimizer.param_groups[0]["params"]:
        p.grad = None
    samples = sum(len(y) for _, y in batches)
    mean = 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="equal, returns" says="accumulation_step"
# Misunderstands: an epsilon makes the log of the softmax safe.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = -torch.log(model(x).softmax(dim=1)[torch.arange(len(y)), y] + 1e-12).sum() / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="equal" says="(tied)"
# Misunderstands: going through all modules meets each weight once (a shared one is divided twice).
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    total, samples = 0.0, 0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y, reduction="sum")
        loss.backward()
        total, samples = total + loss.item(), samples + len(y)
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if p.grad is not None:
                p.grad /= samples
    optimizer.step()
    return total / samples


# %% wrong="accumulation_step" breaks="equal" says="accumulation_step"
# Misunderstands: a rate divided by the samples is the same as a gradient divided by them (momentum keeps gradients of other updates).
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples = sum(len(y) for _, y in batches)
    mean = 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y, reduction="sum")
        loss.backward()
        mean += loss.item()
    for group in optimizer.param_groups:
        group["lr"] /= samples
    optimizer.step()
    for group in optimizer.param_groups:
        group["lr"] *= samples
    return mean / samples


# %% wrong="accumulation_step" breaks="equal" says="your code raised"
# Misunderstands: a network wants flat samples, whatever model it is.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples = sum(len(y) for _, y in batches)
    mean = 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x.flatten(1)), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="fresh" says="None, not zeros"
# Misunderstands: a gradient of zeros is as good as none (weight decay moves the one and not the other).
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad(set_to_none=False)
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="unchanged" says="tensors in the list"
# Misunderstands: what has been used is nobody's any more, and may be emptied to save memory.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward()
        mean += loss.item()
    optimizer.step()
    for x, _ in batches:
        x.zero_()
    return mean


# %% wrong="accumulation_step" breaks="freed" says="graphs of earlier micro-batches"
# Misunderstands: several calls of backward in one update need retain_graph=True.
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, mean = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) * len(y) / samples
        loss.backward(retain_graph=True)
        mean += loss.item()
    optimizer.step()
    return mean


# %% wrong="accumulation_step" breaks="equal" says="accumulation_step"
# Misunderstands: sums with a rate divided by the samples are the same update (not with momentum, weight decay or Adam).
def accumulation_step(model, optimizer, batches):
    model.train()
    optimizer.zero_grad()
    samples, total = sum(len(y) for _, y in batches), 0.0
    for x, y in batches:
        loss = F.cross_entropy(model(x), y, reduction="sum")
        loss.backward()
        total += loss.item()
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] /= samples
    optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates):
        group["lr"] = rate
    return total / samples


# %% right="accumulation_step"
def accumulation_step(net, opt, pieces):
    net.train()
    opt.zero_grad(set_to_none=True)
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
    sums = [None] * len(parameters)
    sizes, losses = [], []
    for x, y in batches:
        loss = F.cross_entropy(input=model(x), target=y)
        for i, slope in enumerate(torch.autograd.grad(loss, parameters, allow_unused=True)):
            if slope is not None:
                sums[i] = slope * len(y) if sums[i] is None else sums[i] + slope * len(y)
        sizes.append(len(y))
        losses.append(loss.item() * len(y))
    model.zero_grad()
    for p, total in zip(parameters, sums):
        p.grad = None if total is None else total / sum(sizes)
    optimizer.step()
    return sum(losses) / sum(sizes)


# %% right="accumulation_step"
def accumulation_step(model, optimizer, batches):
    """In a closure, and with log-probabilities."""
    for module in model.modules():
        module.train()
    samples = sum(y.shape[0] for x, y in batches)

    def gradients():
        optimizer.zero_grad()
        losses = []
        for i in range(len(batches)):
            x, y = batches[i]
            picked = model(x).log_softmax(-1).gather(-1, y.unsqueeze(-1))
            (-picked.sum() / samples).backward()
            losses.append(-picked.detach().sum())
        return sum(losses) / samples

    return float(optimizer.step(gradients))


# %% wrong="amp_step" breaks="clip" says="clipped while still scaled"
# Misunderstands: clipping commutes with scaling.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="clip" says="nothing was clipped"
# Misunderstands: the scaler clips.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="clip" says="nothing was clipped"
# Misunderstands: clipping may come after the update.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    return loss.item()


# %% wrong="amp_step" breaks="clip" says="clipped on its own"
# Misunderstands: each tensor has a limit of its own.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    for p in model.parameters():
        nn.utils.clip_grad_norm_(p, max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="clip" says="order: training mode"
# Misunderstands: a norm is a limit for each value.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_value_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="weights_float32" says="unscale FP16 gradients"
# Misunderstands: mixed precision means a model in 16 bits.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    model.to(dtype)
    loss = F.cross_entropy(model(x.to(dtype)).float(), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="weights_float32" says="change of the weights"
# Misunderstands: weights may be rounded in between.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    model.to(dtype)
    loss = F.cross_entropy(model(x.to(dtype)).float(), y)
    scaler.scale(loss).backward()
    model.float()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="update" says="`optimizer.step()` does not"
# Misunderstands: the optimizer knows when gradients overflow.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
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


# %% wrong="amp_step" breaks="update" says="then there is no update"
# Misunderstands: an infinite gradient is repaired by writing 0 in its place.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    for p in model.parameters():
        if p.grad is not None:
            p.grad.nan_to_num_(0.0, 0.0, 0.0)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="adapt" says="is being called after step()"
# Misunderstands: the scale is a constant.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    return loss.item()


# %% wrong="amp_step" breaks="adapt" says="scale in step"
# Misunderstands: only an overflow is worth an update of the scale.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    before = scaler.get_scale()
    scaler.update()
    if scaler.is_enabled() and scaler.get_scale() > before:
        scaler.update(before)
    return loss.item()


# %% wrong="amp_step" breaks="autocast" says="doubles logits of another type"
# Misunderstands: autocast knows which type is meant.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
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


# %% wrong="amp_step" breaks="autocast" says="doubles logits of another type"
# Misunderstands: the scaler makes the precision mixed.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="autocast" says="not a constant"
# Misunderstands: where the code runs today is where it will run.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="autocast" says="doubles logits of another type"
# Misunderstands: 16 bits are bfloat16.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="loss_float32" says="was rounded to 16 bits"
# Misunderstands: the loss knows by itself what it needs.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
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


# %% wrong="amp_step" breaks="fresh" says="old gradients were added"
# Misunderstands: unscaling clears.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="fresh" says="old gradients were added"
# Misunderstands: whoever called first left everything clean.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return loss.item()


# %% wrong="amp_step" breaks="returns" says="not the scaled one"
# Misunderstands: the loss is what backward was called on.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
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


# %% wrong="amp_step" breaks="returns" says="take the number out"
# Misunderstands: a tensor without axes is a number.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


# %% wrong="amp_step" breaks="backward_outside" says="ran under autocast"
# Misunderstands: a step is under autocast as a whole.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
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


# %% wrong="amp_step" breaks="training_mode" says="a part of the model was not in training mode"
# Misunderstands: a model that is trained is in training mode.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="training_mode" says="a part of the model was not in training mode"
# Misunderstands: the flag of the model holds for all of it.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.training = True
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="training_mode" says="goes through the model once"
# Misunderstands: looking at the loss in float32 first costs nothing.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    exact = F.cross_entropy(model(x), y)
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="clip, update" says="_step"
# Misunderstands: bfloat16 needs no clipping either.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    if scaler.is_enabled():
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="returns" says="had already changed"
# Misunderstands: the scale after a step is the scale of the step.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    loss = scaler.scale(loss)
    loss.backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item() / scaler.get_scale()


# %% wrong="amp_step" breaks="update" says="then there is no update"
# Misunderstands: an overflow is to be repaired before the scaler can see it.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    for p in model.parameters():
        if p.grad is not None:
            p.grad.nan_to_num_(nan=0.0, posinf=65504.0, neginf=-65504.0)
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="fresh" says="may have several groups"
# Misunderstands: an optimizer has one parameter group.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    for p in optimizer.param_groups[0]["params"]:
        p.grad = None
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="training_mode" says="samples in each forward pass"
# Misunderstands: a look at the model after the step costs nothing.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    with torch.no_grad(), torch.autocast(x.device.type, dtype=dtype):
        assert model(x).isfinite().any()
    return loss.item()


# %% wrong="amp_step" breaks="loss_float32" says="or in another formula"
# Misunderstands: under autocast every formula of the loss is in float32 (log_softmax stays in 16 bits on a CPU).
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = -F.log_softmax(model(x), dim=1)[torch.arange(len(y)), y].mean()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="training_mode" says="was not in training mode"
# Misunderstands: only the children have something to switch.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    for child in model.children():
        child.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="clip" says="order: training mode"
# Misunderstands: each parameter group has a norm of its own.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="update" says="then there is no update"
# Misunderstands: a step with gradients of 0 is no update (momentum goes on).
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    if not norm.isfinite():
        optimizer.zero_grad(set_to_none=False)
    optimizer.step()
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="adapt" says="loss or gradients are not finite"
# Misunderstands: a loss that is not finite is passed over (the scaler never hears of it, and the scale stays).
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    if not torch.isfinite(loss):
        return loss.item()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="clip" says="nothing was clipped"
# Misunderstands: clipping belongs to the scaling, so in bfloat16 there is nothing to clip.
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    if scaler.is_enabled():
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% wrong="amp_step" breaks="fresh" says="None, not zeros"
# Misunderstands: a gradient of zeros is as good as none (weight decay moves the one and not the other).
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    model.train()
    optimizer.zero_grad(set_to_none=False)
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
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    total = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
    if total > limit:
        for g in gradients:
            g.mul_(limit / total)
    gs.step(opt)
    gs.update()
    return float(loss.detach())


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


# %% right="amp_step"
def amp_step(model, optimizer, scaler, x, y, dtype, max_norm):
    """The forward pass as a decorated function, the loss outside of it."""

    @torch.autocast(x.device.type, dtype)
    def forward():
        return model.train()(x)

    logits = forward().to(torch.float32)
    losses = nn.CrossEntropyLoss(reduction="none")(logits, y)
    loss = losses.sum() / len(y)
    model.zero_grad()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_norm, foreach=False)
    scaler.step(optimizer)
    scaler.update()
    return loss.tolist()


# %% equivalent="amp_step" because="one backward pass: the graph goes when the function returns"
# - scaler.scale(loss).backward()
# + scaler.scale(loss).backward(retain_graph=True)


# %% wrong="fit" breaks="exact" says="random number generator"
# Misunderstands: a seed at the top of the notebook makes runs equal.
def fit(model, optimizer, scheduler, loader, epochs, path):
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
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="exact" says="random number generator"
# Misunderstands: setting the seed again is setting the state again.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.manual_seed(0)
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="exact" says="random number generator"
# Misunderstands: which state (that of the epoch's beginning, so its numbers come twice).
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        generator = torch.get_rng_state()
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": generator, "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="exact" says="state of the optimizer"
# Misunderstands: the weights are all.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="exact" says="and of the scheduler"
# Misunderstands: the rate stands in the optimizer's state, so the schedule needs none.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="exact" says="statistics of batch norm"
# Misunderstands: a model is its parameters.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        for p, saved in zip(model.parameters(), state["model"]):
            p.data.copy_(saved)
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": [p.detach() for p in model.parameters()], "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="checkpoint" says="not only at the end"
# Misunderstands: a run comes to its end.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epochs}, path)
    return losses


# %% wrong="fit" breaks="checkpoint" says="there is no file"
# Misunderstands: what lives in memory survives (kept in a dict, under the path's name).
KEPT = {}


def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path in KEPT:
        state = copy.deepcopy(KEPT[path])
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        KEPT[path] = copy.deepcopy({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1})
    return losses


# %% wrong="fit" breaks="checkpoint" says="number of batches used"
# Misunderstands: a file can be told by its name (a cache by path beside it).
NUMBERS = {}


def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], NUMBERS.get(str(path), 0)
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
        NUMBERS[str(path)] = epoch + 1
    return losses


# %% wrong="fit" breaks="checkpoint" says="there is no file"
# Misunderstands: a checkpoint has one place for all runs.
def fit(model, optimizer, scheduler, loader, epochs, path):
    path = path.with_name("checkpoint.pt")
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="safe" says="ran its own code"
# Misunderstands: `weights_only=True` is an obstacle.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=False)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="safe" says="holds an object"
# Misunderstands: saving the model is saving its weights.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=False)
        model.load_state_dict(state["model"].state_dict())
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="updates" says="not after each epoch"
# Misunderstands: a schedule counts epochs.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
        scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="updates" says="one train step for each batch"
# Misunderstands: the rate is set before the update.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            scheduler.step()
            losses.append(train_step(model, optimizer, x, y))
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="updates" says="one train step for each batch"
# Misunderstands: the same order in each epoch is as good (goes over the first epoch's batches again).
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    batches = list(loader)
    for epoch in range(done, epochs):
        for x, y in batches:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="resume" says="read the checkpoint if"
# Misunderstands: writing checkpoints is enough.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if False:
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="resume" says="not done again"
# Misunderstands: `epochs` are those of this start.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, done + epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="resume" says="not done again"
# Misunderstands: the number of the epoch that was done is that of the next.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch}, path)
    return losses


# %% wrong="fit" breaks="returns" says="come from the checkpoint"
# Misunderstands: the losses are those of this start.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = [], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="returns" says="is a tensor"
# Misunderstands: a tensor without axes is a number.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return [torch.tensor(loss, dtype=torch.float64) for loss in losses]


# %% wrong="fit" breaks="interrupted" says="let the exception through"
# Misunderstands: a good program survives everything.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        try:
            for x, y in loader:
                losses.append(train_step(model, optimizer, x, y))
                scheduler.step()
        except Exception:
            break
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="exact" says="in the middle of an epoch"
# Misunderstands: a checkpoint in the middle of an epoch is better than none.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        new, finished = [], False
        try:
            for x, y in loader:
                new.append(train_step(model, optimizer, x, y))
                scheduler.step()
            finished = True
            losses = losses + new
        finally:
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(),
                    "rng": torch.get_rng_state(),
                    "losses": losses,
                    "epoch": epoch + 1 if finished else epoch,
                },
                path,
            )
    return losses


# %% wrong="fit" breaks="exact" says="rounded to float32"
# Misunderstands: `torch.tensor` keeps all digits of a Python float.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        losses, done = state["losses"].tolist(), state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "rng": torch.get_rng_state(),
                "losses": torch.tensor(losses),
                "epoch": epoch + 1,
            },
            path,
        )
    return losses


# %% wrong="fit" breaks="returns" says="also one that a later start writes"
# Misunderstands: a run is interrupted once (a checkpoint holds the losses of its own session).
def fit(model, optimizer, scheduler, loader, epochs, path):
    earlier, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        earlier, done = state["losses"], state["epoch"]
    losses = []
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "rng": torch.get_rng_state(),
                "losses": losses,
                "epoch": epoch + 1,
            },
            path,
        )
    return earlier + losses


# %% wrong="fit" breaks="exact" says="the model of a run that was already complete"
# Misunderstands: where nothing is left to train nothing is left to load.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        losses, done = state["losses"], state["epoch"]
        if done >= epochs:
            return losses
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="exact" says="and of the scheduler in the checkpoint"
# Misunderstands: as many steps bring a scheduler back (one that multiplies the rate that it finds does so twice).
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        losses, done = state["losses"], state["epoch"]
        for _ in losses:
            scheduler.step()
        torch.set_rng_state(state["rng"])
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = dict(
            model=model.state_dict(),
            optimizer=optimizer.state_dict(),
            rng=torch.get_rng_state(),
            losses=losses,
            epoch=epoch + 1,
        )
        torch.save(state, path)
    return losses


# %% wrong="fit" breaks="interrupted" says="KeyboardInterrupt), but `fit` returned"
# Misunderstands: the stop button asks for a quiet end (the caller believes that the run is complete).
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        losses, done = state["losses"], state["epoch"]
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
    try:
        for epoch in range(done, epochs):
            for x, y in loader:
                losses.append(train_step(model, optimizer, x, y))
                scheduler.step()
            state = dict(
                model=model.state_dict(),
                optimizer=optimizer.state_dict(),
                scheduler=scheduler.state_dict(),
                rng=torch.get_rng_state(),
                losses=losses,
                epoch=epoch + 1,
            )
            torch.save(state, path)
    except KeyboardInterrupt:
        print("interrupted")
    return losses


# %% wrong="fit" breaks="exact" says="the first losses after the resumption"
# Misunderstands: a checkpoint may be in float32 (a float64 model comes back rounded).
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        losses, done = state["losses"], state["epoch"]
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = dict(
            model={name: value.float() for name, value in model.state_dict().items()},
            optimizer=optimizer.state_dict(),
            scheduler=scheduler.state_dict(),
            rng=torch.get_rng_state(),
            losses=losses,
            epoch=epoch + 1,
        )
        torch.save(state, path)
    return losses


# %% wrong="fit" breaks="exact" says="loading state_dict"
# Misunderstands: the state of a model is its parameters and all its buffers (some are no part of it).
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        losses, done = state["losses"], state["epoch"]
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = dict(
            model={name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]},
            optimizer=optimizer.state_dict(),
            scheduler=scheduler.state_dict(),
            rng=torch.get_rng_state(),
            losses=losses,
            epoch=epoch + 1,
        )
        torch.save(state, path)
    return losses


# %% wrong="fit" breaks="exact" says="must not disturb the run"
# Misunderstands: an epoch's own seed serves as well as the generator's state.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        torch.manual_seed(epoch)
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "losses": losses,
            "epoch": epoch + 1,
        }
        torch.save(state, path)
    return losses


# %% wrong="fit" breaks="returns" says="its loss as it is"
# Misunderstands: a loss has as many digits as one prints.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        for x, y in loader:
            losses.append(round(train_step(model, optimizer, x, y), 4))
            scheduler.step()
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "generator": torch.get_rng_state(),
            "losses": losses,
            "epoch": epoch + 1,
        }
        torch.save(state, path)
    return losses


# %% wrong="fit" breaks="exact" says="those after a resumption are not"
# Misunderstands: all that a scheduler knows is the number of its steps.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.last_epoch = state["scheduler_steps"]
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
                "scheduler_steps": scheduler.last_epoch,
                "rng": torch.get_rng_state(),
                "losses": losses,
                "epoch": epoch + 1,
            },
            path,
        )
    return losses


# %% wrong="fit" breaks="interrupted" says="OSError), but"
# Misunderstands: where the data source fails the run may end quietly, since the checkpoint is there.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        try:
            for x, y in loader:
                losses.append(train_step(model, optimizer, x, y))
                scheduler.step()
        except OSError:
            return losses
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="interrupted" says="RuntimeError), but"
# Misunderstands: an error of torch ends the run quietly, since the checkpoint is there.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        try:
            for x, y in loader:
                losses.append(train_step(model, optimizer, x, y))
                scheduler.step()
        except RuntimeError:
            return losses
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="interrupted" says="ValueError), but"
# Misunderstands: whatever is no OSError is a bad batch, and the run ends quietly.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        try:
            for x, y in loader:
                losses.append(train_step(model, optimizer, x, y))
                scheduler.step()
        except ValueError:
            break
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="interrupted" says="another exception reached"
# Misunderstands: a message of one's own says more than the loader's.
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["generator"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        try:
            for x, y in loader:
                losses.append(train_step(model, optimizer, x, y))
                scheduler.step()
        except Exception as error:
            raise RuntimeError(f"go on later from {path}") from error
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "generator": torch.get_rng_state(), "losses": losses, "epoch": epoch + 1}, path)
    return losses


# %% wrong="fit" breaks="exact" says="one train step for each batch"
# Misunderstands: a seed for each epoch makes runs equal (the caller's own seed has no effect any more).
def fit(model, optimizer, scheduler, loader, epochs, path):
    losses, done = [], 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        losses, done = state["losses"], state["epoch"]
    for epoch in range(done, epochs):
        torch.manual_seed(epoch)
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            scheduler.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "losses": losses, "epoch": epoch + 1}, path)
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
            losses.append(float(loss.detach()))
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


# %% wrong="early_stopping" breaks="copy" says="references to the live weights"
# Misunderstands: a state dict is a copy.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = model.state_dict()
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="copy" says="references to the live weights"
# Misunderstands: a copy of the dict is a copy of the tensors.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = dict(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="copy" says="['the model, restored']"
# Misunderstands: a model's state is its parameters.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = {**model.state_dict(), **{name: p.detach().clone() for name, p in model.named_parameters()}}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="copy" says="['there is a best_state']"
# Misunderstands: the state to keep is that of the end.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        self.best_state = copy.deepcopy(model.state_dict())
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="best" says="changes with an improvement alone"
# Misunderstands: better than last time is better.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        self.best = loss
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="best" says="changes with an improvement alone"
# Misunderstands: a loss that is lower by less than min_delta moves the best after all.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
            self.best = min(self.best, loss)
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="waited" says="sets the count back"
# Misunderstands: all bad evaluations count, not those in a row.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best = loss
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="waited" says="['waited']"
# Misunderstands: patience is used up (the count begins anew after it ran out).
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        if self.waited >= self.patience:
            self.waited = 0
            return True
        return False

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="stop" says="not one later"
# Misunderstands: patience is what may be exceeded.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited > self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="stop" says="['answers']"
# Misunderstands: it is time to stop once (True comes in one evaluation alone).
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited == self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="stop" says="['answers']"
# Misunderstands: what is true is as good as True.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return int(self.waited >= self.patience)

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="improvement" says="NaN is no improvement"
# Misunderstands: what is not worse is better (NaN is not).
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if not loss >= self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="improvement" says="an equal loss is no improvement"
# Misunderstands: by min_delta is enough.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss <= self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="improvement" says="larger than `min_delta`"
# Misunderstands: min_delta matters to the best alone.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="improvement" says="early_stopping"
# Misunderstands: min_delta is a share of the best.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best * (1 - self.min_delta):
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="improvement" says="early_stopping"
# Misunderstands: a loss is positive, so a best of 0 means that there is none yet.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = 0.0, None, 0

    def step(self, loss, model):
        if not self.best or loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="own" says="two instances"
# Misunderstands: where what is remembered lives (on the class).
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        EarlyStopping.best, EarlyStopping.best_state, EarlyStopping.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            EarlyStopping.best, EarlyStopping.waited = loss, 0
            EarlyStopping.best_state = copy.deepcopy(model.state_dict())
        else:
            EarlyStopping.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="own" says="['the model after the last step']"
# Misunderstands: whoever stops goes back to the best weights at once.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        if self.waited >= self.patience and self.best_state:
            self.restore(model)
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="copy" says="references to the live buffers"
# Misunderstands: only parameters change while a model trains.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = model.state_dict()
            for name, p in model.named_parameters():
                self.best_state[name] = p.detach().clone()
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="copy" says="['the model, restored']"
# Misunderstands: half the digits are enough for a copy.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = {name: value.half() for name, value in model.state_dict().items()}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="own" says="['modes']"
# Misunderstands: a state is taken in eval mode.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.eval().state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="own" says="['requires_grad']"
# Misunderstands: what is copied must need no gradient.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.requires_grad_(False).state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="copy" says="loading state_dict"
# Misunderstands: a state dict is parameters and buffers by name (a shared weight has two names, some buffers are left out).
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            tensors = [*model.named_parameters(), *model.named_buffers()]
            self.best_state = {name: value.detach().clone() for name, value in tensors}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="best" says="best so far that counted"
# Misunderstands: the best is the smallest loss of all, also where it was no improvement.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.waited, self.best_state = 0, copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        self.best = min(self.best, loss)
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="copy" says="there is a best_state"
# Misunderstands: something must be there to restore, even if nothing improved.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        if self.best_state is None:
            self.best_state = copy.deepcopy(model.state_dict())
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="improvement" says="EarlyStopping"
# Misunderstands: an improvement below 1e-4 is noise, also where min_delta is 0.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - max(self.min_delta, 1e-4):
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        """Give `model` the weights of the best evaluation."""
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="stop" says="an `EarlyStopping` of losses"
# Misunderstands: it is time to stop at one evaluation alone, the one at which the count reaches patience.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited == self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="waited, stop" says="an `EarlyStopping` of losses"
# Misunderstands: a NaN is no evaluation at all, so it does not count among those without improvement.
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if math.isnan(loss):
            return self.waited >= self.patience
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="early_stopping" breaks="improvement, best" says="an `EarlyStopping` of losses"
# Misunderstands: infinity is never an improvement, as NaN is not (minus infinity lies below every best).
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if math.isfinite(loss) and loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            self.best_state = copy.deepcopy(model.state_dict())
        else:
            self.waited += 1
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


# %% right="early_stopping"
class EarlyStopping:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_state, self.waited = math.inf, None, 0

    def step(self, loss, model):
        if math.isnan(loss) or loss + self.min_delta >= self.best:
            self.waited = self.waited + 1
            return bool(self.patience <= self.waited)
        with torch.no_grad():
            self.best_state = type(model.state_dict())((k, torch.clone(v)) for k, v in model.state_dict().items())
        self.best = loss
        self.waited = 0
        return False

    def restore(self, model):
        model.load_state_dict(self.best_state)


# %% wrong="check_train_epoch" breaks="updates, fresh, mode, returns, raises" says="still unseen"
# Misunderstands: a falling loss proves the loop.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = train_epoch(model, optimizer, batches)
    for _ in range(20):
        last = train_epoch(model, optimizer, batches)
    assert last < first


# %% wrong="check_train_epoch" breaks="updates, raises" says="still unseen"
# Misunderstands: the number that is returned tells what was done.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=1e-9) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="updates, raises" says="no update on the last batch"
# Misunderstands: the number that is returned tells what was done (weights are not compared).
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="fresh, raises" says="not those it finds"
# Misunderstands: gradients are clean at the start.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="mode, raises" says="at the end"
# Misunderstands: the mode at the end is that of all passes.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="mode, raises" says="flag of the model alone"
# Misunderstands: the flag of the model holds for all of it.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in [model]:
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and model.training, "mode"


# %% wrong="check_train_epoch" breaks="mode, raises" says="leaves the model in eval mode"
# Misunderstands: nobody needs the mode any more.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes), "mode"


# %% wrong="check_train_epoch" breaks="returns, raises" says="returns a tensor"
# Misunderstands: a tensor without axes is a number.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="returns, raises" says="averages batches"
# Misunderstands: the mean of means is near enough.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=0.5), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="updates, returns, raises" says="still unseen"
# Misunderstands: batches of one size show all mistakes.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    batches = batches[:2]
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 8, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="no_false_alarm" says="sets gradients to None"
# Misunderstands: everything that one implementation does was promised (here what is left in p.grad).
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and all(part.training for part in model.modules()), "mode"
    for p, q in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(p.grad, q.grad)


# %% wrong="check_train_epoch" breaks="no_false_alarm" says="correct implementation"
# Misunderstands: right means equal to the last bit.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin = copy.deepcopy(model)
    expected = epoch_with()(twin, torch.optim.SGD(twin.parameters(), lr=0.5), batches)
    assert train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches) == expected
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters()))


# %% wrong="check_train_epoch" breaks="raises" says="catch none"
# Misunderstands: what runs is right.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches)


# %% wrong="check_train_epoch" breaks="raises" says="reject with `assert`"
# Misunderstands: a verdict is returned.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    before = copy.deepcopy(model.state_dict())
    mean = train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches)
    return isinstance(mean, float) and not torch.equal(before["0.weight"], model[0].weight)


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


# %% equivalent="check_train_epoch" because="autograd.grad takes any iterable"
# - slopes = torch.autograd.grad(loss, list(twin.parameters()))
# + slopes = torch.autograd.grad(loss, twin.parameters())


# %% equivalent="check_train_epoch" because="isclose takes a tensor of one element for a number"
# - total += loss.item() * len(y)
# + total += loss * len(y)


# %% equivalent="check_train_epoch" because="the promise is a Python float: its subclasses may be turned down or not"
# - assert isinstance(result, float), "the mean loss is not a float"
# + assert (type(result) is float), "the mean loss is not a float"


# %% wrong="check_train_epoch" breaks="mode, raises" says="leaves the submodules in eval mode"
# Misunderstands: at the end the model's own flag tells for all its parts.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    total, seen = 0.0, 0
    for x, y in batches:
        loss = F.cross_entropy(twin(x), y)
        slopes = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, slope in zip(twin.parameters(), slopes):
                p -= 0.5 * slope
        total += loss.item() * len(y)
        seen += len(y)

    result = train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches)
    assert isinstance(result, float), "the mean loss is not a float"
    assert math.isclose(result, total / seen, rel_tol=1e-4), "the mean is not that of all samples before their updates"
    for p, expected in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(p, expected)
    assert all(modes), "a part of the model was not in training mode in a forward pass"
    assert model.training, "the model does not stay in training mode"


# %% wrong="check_train_epoch" breaks="updates, raises" says="leaves out the last parameter"
# Misunderstands: where one weight is right all are.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    total, seen = 0.0, 0
    for x, y in batches:
        loss = F.cross_entropy(twin(x), y)
        slopes = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, slope in zip(twin.parameters(), slopes):
                p -= 0.5 * slope
        total += loss.item() * len(y)
        seen += len(y)

    result = train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.5), batches)
    assert isinstance(result, float), "the mean loss is not a float"
    assert math.isclose(result, total / seen, rel_tol=1e-4), "the mean is not that of all samples before their updates"
    torch.testing.assert_close(model[0].weight, twin[0].weight)
    assert all(modes), "a part of the model was not in training mode in a forward pass"
    assert all(part.training for part in model.modules()), "the model does not stay in training mode"


# %% wrong="check_train_epoch" breaks="updates, raises" says="third parameter"
# Misunderstands: the first weight and the last stand for all between them.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    assert all(torch.allclose(model.state_dict()[name], twin.state_dict()[name]) for name in ("0.weight", "3.bias")), "weights"
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="updates, raises" says="2 % too short"
# Misunderstands: weights are alike if they differ by less than a hundredth.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    assert all(torch.allclose(p, q, atol=1e-2) for p, q in zip(model.parameters(), twin.parameters())), "weights"
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="returns, raises" says="rounded to one digit"
# Misunderstands: two losses are alike if they differ by a tenth.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=0.1), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="mode, raises" says="the last layer in eval mode"
# Misunderstands: only dropout has a mode in this model.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in [model, model[2]]:
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="mode, raises" says="the dropout in eval mode"
# Misunderstands: what holds for the first layer holds for all.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in [model, model[0]]:
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and all(part.training for part in model.modules()), "mode"


# %% wrong="check_train_epoch" breaks="mode, raises" says="leaves the first layer in eval mode"
# Misunderstands: at the end the mode of the dropout and of the model tell all.
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, modes = copy.deepcopy(model), []
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2) for m in (model, twin)]
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    mean = train_epoch(model, optimizers[0], batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 10, rel_tol=1e-4), "mean"
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()))
    assert all(modes) and model.training and model[2].training and model[3].training, "mode"


# %% right="check_train_epoch"
def check_train_epoch(train_epoch):
    model, batches = small_case()
    twin, seen = copy.deepcopy(model), set()
    for part in model:
        part.register_forward_hook(lambda module, args, result: seen.add(module.training))
    F.cross_entropy(model(batches[0][0]), batches[0][1]).backward()  # leaves a gradient behind
    seen.clear()
    sgd, other = torch.optim.SGD(model.parameters(), lr=0.3), torch.optim.SGD(twin.parameters(), lr=0.3)
    mean = train_epoch(model, sgd, batches)
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
    class Watched(nn.Module):  # a wrapper instead of a hook, dropout and batch norm, a generator, and momentum
        def __init__(self, inner):
            super().__init__()
            self.inner, self.modes = inner, []

        def forward(self, x):
            self.modes.append(all(part.training for part in self.modules()))
            return self.inner(x)

    torch.manual_seed(5)
    inner = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)).double()
    x, y = torch.randn(11, 3, dtype=torch.float64), torch.randint(4, (11,))
    batches = list(zip(x.split([5, 4, 2]), y.split([5, 4, 2])))
    twin, model = copy.deepcopy(inner), Watched(inner).eval()
    model.inner[0].train()  # modes may differ
    for p in model.parameters():
        p.grad = torch.full_like(p, -7.0)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.2, momentum=0.9) for m in (model, twin)]
    torch.manual_seed(6)
    mean = train_epoch(model, optimizer=optimizers[0], loader=(batch for batch in batches))
    torch.manual_seed(6)
    total = sum(train_step(twin, optimizers[1], x, y) * len(y) for x, y in batches)
    assert isinstance(mean, float) and math.isclose(mean, total / 11, rel_tol=1e-4)
    torch.testing.assert_close(dict(model.inner.state_dict()), dict(twin.state_dict()))
    assert all(part.training for part in model.modules()) and False not in model.modes


# %% wrong="debug_clinic" breaks="passes" says="once a pass, not once a step"
# Misunderstands: iter() goes on where it was.
def run_steps(model, optimizer, loader, steps):
    return [train_step(model, optimizer, *next(iter(loader))) for _ in range(steps)]


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" breaks="passes" says="in a new order"
# Misunderstands: cycle() begins new passes (it repeats the first).
def run_steps(model, optimizer, loader, steps):
    some = itertools.islice(itertools.cycle(loader), steps)
    return [train_step(model, optimizer, x, y) for x, y in some]


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" breaks="steps, step_losses" says="items"
# Misunderstands: steps are passes.
def run_steps(model, optimizer, loader, steps):
    return [train_step(model, optimizer, x, y) for _ in range(steps) for x, y in loader]


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" breaks="steps" says="items"
# Misunderstands: a pass is always finished.
def run_steps(model, optimizer, loader, steps):
    losses = []
    while len(losses) < steps:
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
    return losses


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" breaks="passes" says="has no len()"
# Misunderstands: every loader has a length.
def run_steps(model, optimizer, loader, steps):
    passes = -(-steps // len(loader))
    batches = [batch for _ in range(passes) for batch in loader]
    return [train_step(model, optimizer, *batch) for batch in batches[:steps]]


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" breaks="passes" says="in a new order"
# Misunderstands: a pass may be kept (a list made once).
def run_steps(model, optimizer, loader, steps):
    batches = list(loader)
    return [train_step(model, optimizer, *batches[i % len(batches)]) for i in range(steps)]


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" breaks="step_losses" says="are floats"
# Misunderstands: a tensor without axes is a number.
def run_steps(model, optimizer, loader, steps):
    losses = []
    while len(losses) < steps:
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            if len(losses) == steps:
                break
    return [torch.tensor(loss, dtype=torch.float64) for loss in losses]


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" breaks="steps" says="training mode, clear"
# Misunderstands: a model that is trained is in training mode.
def run_steps(model, optimizer, loader, steps):
    losses = []
    while len(losses) < steps:
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return losses


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" breaks="crash" says="False for NaN"
# Misunderstands: what is not above the limit is at most the limit.
def guarded_fit(model, optimizer, batches, limit):
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


# %% wrong="debug_clinic" breaks="crash" says="guarded_fit"
# Misunderstands: at the limit is a crash.
def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] < limit:
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


# %% wrong="debug_clinic" breaks="healthy" says="deep copy"
# Misunderstands: a state dict is a copy.
def guarded_fit(model, optimizer, batches, limit):
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


# %% wrong="debug_clinic" breaks="healthy" says="is taken before the update"
# Misunderstands: the newest state is the healthiest.
def guarded_fit(model, optimizer, batches, limit):
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


# %% wrong="debug_clinic" breaks="healthy" says="taken before the forward pass"
# Misunderstands: a forward pass changes nothing.
def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        before = copy.deepcopy(model.state_dict())
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = before
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


# %% wrong="debug_clinic" breaks="crash" says="statistics belong to the state"
# Misunderstands: a model is its parameters.
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
            with torch.no_grad():
                for name, p in model.named_parameters():
                    p.copy_(healthy[name])
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="crash" says="guarded_fit"
# Misunderstands: the name is the model (a copy is made, the caller keeps the spoilt one).
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
            model = copy.deepcopy(model)
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="crash" says="guarded_fit"
# Misunderstands: the way back is to the start.
def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
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


# %% wrong="debug_clinic" breaks="crash" says="guarded_fit"
# Misunderstands: a crash is over once there is a way back (the run ends).
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
            break
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="crash" says="only NaN and infinity count"
# Misunderstands: only what is no number is a crash.
def guarded_fit(model, optimizer, batches, limit):
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


# %% wrong="debug_clinic" breaks="halved" says="rate of every group"
# Misunderstands: an optimizer has one rate.
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
            for group in optimizer.param_groups[:1]:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="halved" says="guarded_fit"
# Misunderstands: the rate is a matter of the first crash.
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
                group["lr"] = group.setdefault("first", group["lr"]) / 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="guarded_once" says="was not in training mode"
# Misunderstands: a model that is trained is in training mode.
def guarded_fit(model, optimizer, batches, limit):
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


# %% wrong="debug_clinic" breaks="guarded_once" says="was not in training mode"
# Misunderstands: the flag of the model holds for all of it.
def guarded_fit(model, optimizer, batches, limit):
    model.training = True
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


# %% wrong="debug_clinic" breaks="guarded_once" says="guarded_fit"
# Misunderstands: looking at the loss first costs nothing.
def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        with torch.no_grad():
            losses.append(F.cross_entropy(model(x), y).item())
        optimizer.zero_grad()
        if losses[-1] <= limit:
            healthy = copy.deepcopy(model.state_dict())
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="guarded_once" says="guarded_fit"
# Misunderstands: batches can be passed over as often as one likes.
def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    count = sum(1 for _ in batches)
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


# %% wrong="debug_clinic" breaks="guarded_fresh" says="guarded_fit"
# Misunderstands: backward replaces gradients.
def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
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


# %% wrong="debug_clinic" breaks="guarded_losses" says="items"
# Misunderstands: a crash is nothing to report.
def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        if loss.item() <= limit:
            losses.append(loss.item())
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


# %% wrong="debug_clinic" breaks="guarded_losses" says="are floats"
# Misunderstands: a loss in a list is a number.
def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy(model.state_dict())
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.detach())
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


# %% wrong="debug_clinic" breaks="device" says="device"
# Misunderstands: only the batch can be elsewhere (not what one makes oneself).
def weighted_loss(model, x, y):
    device = next(model.parameters()).device
    weight = torch.linspace(1, 2, 10)
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=weight)


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="device" says="device"
# Misunderstands: the caller moves the batch.
def weighted_loss(model, x, y):
    device = next(model.parameters()).device
    weight = torch.linspace(1, 2, 10, device=device)
    return F.cross_entropy(model(x), y, weight=weight)


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="model_stays, device" says="move the batch"
# Misunderstands: the model follows the batch.
def weighted_loss(model, x, y):
    device = x.device
    if next(model.parameters()).device != device:
        model.to_empty(device=device)
    weight = torch.linspace(1, 2, 10, device=device)
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=weight)


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="model_stays" says="move the batch"
# Misunderstands: a model on its way is back in time.
def weighted_loss(model, x, y):
    device = next(model.parameters()).device
    if x.device != device:
        model.to_empty(device=x.device)
        return F.cross_entropy(model(x), y, weight=torch.linspace(1, 2, 10, device=x.device)).to(device)
    weight = torch.linspace(1, 2, 10, device=device)
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=weight)


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="weighted" says="classes have no weights"
# Misunderstands: weights are a matter of taste.
def weighted_loss(model, x, y):
    device = next(model.parameters()).device
    weight = torch.linspace(1, 2, 10, device=device)
    return F.cross_entropy(model(x.to(device)), y.to(device))


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="weighted" says="divides by the sum of their weights"
# Misunderstands: a weighted mean divides by the number.
def weighted_loss(model, x, y):
    device = next(model.parameters()).device
    weight = torch.linspace(1, 2, 10, device=device)
    return (F.cross_entropy(model(x.to(device)), y.to(device), weight=weight, reduction="none")).mean()


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="weighted" says="not the other way round"
# Misunderstands: which class is the heavy one.
def weighted_loss(model, x, y):
    device = next(model.parameters()).device
    weight = torch.linspace(2, 1, 10, device=device)
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=weight)


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="weighted" says="no gradient reaches"
# Misunderstands: a loss that is returned is a number.
def weighted_loss(model, x, y):
    device = next(model.parameters()).device
    weight = torch.linspace(1, 2, 10, device=device)
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=weight).detach()


def run_steps(*args):
    raise NotImplementedError


guarded_fit = lean_forward = run_steps


# %% wrong="debug_clinic" breaks="same" says="['requires a gradient'] is False"
# Misunderstands: the old way is the same (it sends no gradient where the input needs none).
def lean_forward(blocks, x):
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=True)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="same" says="lean_forward"
# Misunderstands: a lambda keeps the block (it looks it up when it runs again, and finds the last one).
def lean_forward(blocks, x):
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(lambda t: block(t), x, use_reentrant=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="same" says="same dropout masks"
# Misunderstands: dropout knows its masks.
def lean_forward(blocks, x):
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="same" says="gradient of x"
# Misunderstands: what goes in is data (its gradient is cut).
def lean_forward(blocks, x):
    x = x.detach()
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="same" says="lean_forward"
# Misunderstands: each block's input is data (only the last block learns).
def lean_forward(blocks, x):
    for block in blocks:
        x = x.detach()
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="same" says="lean_forward"
# Misunderstands: fewer bits are the way to save memory.
def lean_forward(blocks, x):
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x.bfloat16().float(), use_reentrant=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="memory" says="called through"
# Misunderstands: the memory is autograd's own business.
def lean_forward(blocks, x):
    for block in blocks:
        x = block(x)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="memory" says="called through"
# Misunderstands: every second block is enough.
def lean_forward(blocks, x):
    for i, block in enumerate(blocks):
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False) if i % 2 else block(x)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="one_open" says="block by block"
# Misunderstands: one checkpoint around all saves most.
def lean_forward(blocks, x):
    return torch.utils.checkpoint.checkpoint(hungry_forward, blocks, x, use_reentrant=False)


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="one_open" says="blocks"
# Misunderstands: two segments are the usual choice.
def lean_forward(blocks, x):
    half = (len(blocks) + 1) // 2
    for part in (blocks[:half], blocks[half:]):
        x = torch.utils.checkpoint.checkpoint(hungry_forward, part, x, use_reentrant=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="same" says="3 of 4 parts pass. ✗ patient 4"
# Misunderstands: fewer bits are the way to save memory (the other three are right).
def run_steps(model, optimizer, loader, steps):
    losses = []
    while len(losses) < steps:
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            if len(losses) == steps:
                break
    return losses


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
    weight = torch.linspace(1, 2, 10, device=device)
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=weight)


def lean_forward(blocks, x):
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x.bfloat16().float(), use_reentrant=False)
    return x


# %% wrong="debug_clinic" breaks="steps" says="one forward pass"
# Misunderstands: the loss to report wants a pass of its own.
def run_steps(model, optimizer, loader, steps):
    losses = []
    while len(losses) < steps:
        for x, y in itertools.islice(loader, steps - len(losses)):
            model.train()
            with torch.no_grad():
                losses.append(F.cross_entropy(model(x), y).item())
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return losses


def guarded_fit(*args):
    raise NotImplementedError


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="steps" says="each step as in exercise 1"
# Misunderstands: an optimizer has one parameter group.
def run_steps(model, optimizer, loader, steps):
    losses = []
    model.train()
    while len(losses) < steps:
        for x, y in itertools.islice(loader, steps - len(losses)):
            for p in optimizer.param_groups[0]["params"]:
                p.grad = None
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def guarded_fit(*args):
    raise NotImplementedError


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="crash" says="so there is no copy yet"
# Misunderstands: without an update there is nothing to repair (batch norm has taken the bad batch in).
def guarded_fit(model, optimizer, batches, limit):
    losses, healthy = [], None
    model.train()
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = copy.deepcopy(model.state_dict())
            loss.backward()
            optimizer.step()
        else:
            if healthy is not None:
                model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="guarded_fresh" says="clear them in every group"
# Misunderstands: an optimizer has one parameter group.
def guarded_fit(model, optimizer, batches, limit):
    losses, healthy = [], copy.deepcopy(model.state_dict())
    model.train()
    for x, y in batches:
        for p in optimizer.param_groups[0]["params"]:
            p.grad = None
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


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="weighted" says="in the mode in which it comes"
# Misunderstands: a loss is always that of training.
def weighted_loss(model, x, y):
    model.train()
    device = next(model.parameters()).device
    weight = torch.linspace(1, 2, 10, device=device)
    return F.cross_entropy(model(x.to(device)), y.to(device), weight=weight)


def run_steps(*args):
    raise NotImplementedError


def guarded_fit(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="steps" says="all parts in training mode"
# Misunderstands: only the children have something to switch.
def run_steps(model, optimizer, loader, steps):
    losses = []
    while True:
        for x, y in loader:
            for child in model.children():
                child.train()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                return losses


def guarded_fit(*args):
    raise NotImplementedError


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="guarded_once" says="was not in training mode"
# Misunderstands: only the children have something to switch.
def run_steps(*args):
    raise NotImplementedError


def guarded_fit(model, optimizer, batches, limit):
    losses, came = [], copy.deepcopy(model.state_dict())
    healthy = came
    for x, y in batches:
        for child in model.children():
            child.train()
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


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="crash" says="a copy can serve more than once"
# Misunderstands: a copy is used up by going back to it.
def run_steps(*args):
    raise NotImplementedError


def guarded_fit(model, optimizer, batches, limit):
    losses, came = [], copy.deepcopy(model.state_dict())
    healthy = came
    for x, y in batches:
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = copy.deepcopy(model.state_dict())
            loss.backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy)
            healthy = came
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="crash" says="loading state_dict"
# Misunderstands: a state dict is the parameters and the buffers by name (a shared weight has two).
def run_steps(*args):
    raise NotImplementedError


def guarded_fit(model, optimizer, batches, limit):
    losses, came = [], {name: v.detach().clone() for name, v in [*model.named_parameters(), *model.named_buffers()]}
    healthy = came
    for x, y in batches:
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = {name: v.detach().clone() for name, v in [*model.named_parameters(), *model.named_buffers()]}
            loss.backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy)
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="guarded_losses, crash" says="[1, 1000, 1]"
# Misunderstands: a least probability makes the log of the softmax safe (no loss is above 28 then, and the crash is not seen).
def run_steps(*args):
    raise NotImplementedError


def guarded_fit(model, optimizer, batches, limit):
    losses, came = [], copy.deepcopy(model.state_dict())
    healthy = came
    for x, y in batches:
        model.train()
        optimizer.zero_grad()
        loss = -torch.log(model(x).softmax(1)[torch.arange(len(y)), y].clamp(min=1e-12)).mean()
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


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="weighted" says="log of a softmax that is 0"
# Misunderstands: an epsilon makes the log of the softmax safe.
def run_steps(*args):
    raise NotImplementedError


def guarded_fit(*args):
    raise NotImplementedError


def weighted_loss(model, x, y):
    device = next(model.parameters()).device
    x, y = x.to(device), y.to(device)
    shares = torch.linspace(1, 2, 10, device=device)[y]
    each = -torch.log(model(x).softmax(1).gather(1, y[:, None])[:, 0] + 1e-12)
    return (shares * each).sum() / shares.sum()


def lean_forward(*args):
    raise NotImplementedError


# %% wrong="debug_clinic" breaks="memory" says="blocks in eval mode"
# Misunderstands: in eval mode no backward pass follows, so nothing is kept.
def run_steps(*args):
    raise NotImplementedError


def guarded_fit(*args):
    raise NotImplementedError


def weighted_loss(*args):
    raise NotImplementedError


def lean_forward(blocks, x):
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False) if block.training else block(x)
    return x


# %% wrong="debug_clinic" breaks="weighted" says="your code raised"
# Misunderstands: a network wants flat samples, whatever model it is (the other three are right).
def run_steps(model, optimizer, loader, steps):
    losses = []
    while len(losses) < steps:
        for x, y in loader:
            losses.append(train_step(model, optimizer, x, y))
            if len(losses) == steps:
                break
    return losses


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
    weight = torch.linspace(1, 2, 10, device=device)
    return F.cross_entropy(model(x.to(device).flatten(1)), y.to(device), weight=weight)


def lean_forward(blocks, x):
    for block in blocks:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    return x


# %% wrong="debug_clinic" breaks="memory" says="did not run again"
# Misunderstands: the first block may go without a checkpoint, since its input needs no gradient.
def lean_forward(blocks, x):
    first, *others = blocks
    x = first(x)
    for block in others:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="memory" says="did not run again"
# Misunderstands: one block more or less does not matter, if the bytes are few enough.
def lean_forward(blocks, x):
    for number, block in enumerate(blocks):
        x = block(x) if number == 2 else torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    return x


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="memory" says="kept for the backward pass"
# Misunderstands: the last two may be left out: the backward pass begins with them.
def lean_forward(blocks, x):
    for block in blocks[:-2]:
        x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
    return hungry_forward(blocks[-2:], x)


def run_steps(*args):
    raise NotImplementedError


guarded_fit = weighted_loss = run_steps


# %% wrong="debug_clinic" breaks="passes" says="run_steps"
# Misunderstands: each pass has as many batches as the first.
def run_steps(model, optimizer, loader, steps):
    losses, length = [], None
    while True:
        for number, (x, y) in enumerate(loader):
            if number == length:
                break
            losses.append(train_step(model, optimizer, x, y))
            if len(losses) == steps:
                return losses
        length = number + 1 if length is None else length


def guarded_fit(*args):
    raise NotImplementedError


weighted_loss = lean_forward = guarded_fit


# %% wrong="debug_clinic" breaks="halved" says="guarded_fit"
# Misunderstands: the way back takes the optimizer back too (a second crash in a row halves nothing more).
def guarded_fit(model, optimizer, batches, limit):
    model.train()
    losses, healthy = [], copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        if losses[-1] <= limit:
            healthy = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
            loss.backward()
            optimizer.step()
        else:
            model.load_state_dict(healthy[0])
            optimizer.load_state_dict(healthy[1])
            for group in optimizer.param_groups:
                group["lr"] /= 2
    return losses


def run_steps(*args):
    raise NotImplementedError


weighted_loss = lean_forward = run_steps


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


# %% equivalent="debug_clinic" because="one backward pass: the graph goes with the next loss"
# - loss.backward()
# + loss.backward(retain_graph=True)
