# %% wrong="from_unit" breaks="log" says="the logarithm rises evenly"
# Misunderstands: "log" is a name for a range.
def from_unit(space, u):
    config = {}
    for (name, spec), share in zip(space.items(), u):
        if spec[0] == "choice":
            config[name] = spec[1][int(share * len(spec[1]))]
        elif spec[0] == "int":
            config[name] = spec[1] + int(share * (spec[2] - spec[1] + 1))
        else:
            config[name] = spec[1] + share * (spec[2] - spec[1])
    return config


# %% wrong="from_unit" breaks="int" says="has a share, too"
# Misunderstands: `high` is where a range ends, as in Python.
def from_unit(space, u):
    config = {}
    for (name, spec), share in zip(space.items(), u):
        if spec[0] == "choice":
            config[name] = spec[1][int(share * len(spec[1]))]
        elif spec[0] == "int":
            config[name] = spec[1] + int(share * (spec[2] - spec[1]))
        elif spec[0] == "log":
            config[name] = spec[1] * (spec[2] / spec[1]) ** share
        else:
            config[name] = spec[1] + share * (spec[2] - spec[1])
    return config


# %% wrong="from_unit" breaks="int" says="rounding gives the two ends half a share"
# Misunderstands: a whole number is a rounded float.
def from_unit(space, u):
    kinds = {
        "float": lambda low, high, share: low + share * (high - low),
        "log": lambda low, high, share: low * (high / low) ** share,
        "int": lambda low, high, share: round(low + share * (high - low)),
        "choice": lambda options, share: options[int(share * len(options))],
    }
    return {name: kinds[spec[0]](*spec[1:], share) for (name, spec), share in zip(space.items(), u)}


# %% wrong="from_unit" breaks="int" says="cuts off towards 0"
# Misunderstands: int() rounds down, also below 0.
def from_unit(space, u):
    kinds = {
        "float": lambda low, high, share: low + share * (high - low),
        "log": lambda low, high, share: low * (high / low) ** share,
        "int": lambda low, high, share: int(low + share * (high - low + 1)),
        "choice": lambda options, share: options[int(share * len(options))],
    }
    return {name: kinds[spec[0]](*spec[1:], share) for (name, spec), share in zip(space.items(), u)}


# %% wrong="from_unit" breaks="int" says="types"
# Misunderstands: `math.floor` and `np.floor` give the same.
def from_unit(space, u):
    kinds = {
        "float": lambda low, high, share: low + share * (high - low),
        "log": lambda low, high, share: low * (high / low) ** share,
        "int": lambda low, high, share: low + np.floor(share * (high - low + 1)),
        "choice": lambda options, share: options[int(share * len(options))],
    }
    return {name: kinds[spec[0]](*spec[1:], share) for (name, spec), share in zip(space.items(), u)}


# %% wrong="from_unit" breaks="choice" says="each option has an equal share"
# Misunderstands: the options lie at equal distances, from 0 to 1.
def from_unit(space, u):
    kinds = {
        "float": lambda low, high, share: low + share * (high - low),
        "log": lambda low, high, share: low * (high / low) ** share,
        "int": lambda low, high, share: low + int(share * (high - low + 1)),
        "choice": lambda options, share: options[round(share * (len(options) - 1))],
    }
    return {name: kinds[spec[0]](*spec[1:], share) for (name, spec), share in zip(space.items(), u)}


# %% wrong="from_unit" breaks="choice" says="expected a number"
# Misunderstands: options have an order of their own.
def from_unit(space, u):
    kinds = {
        "float": lambda low, high, share: low + share * (high - low),
        "log": lambda low, high, share: low * (high / low) ** share,
        "int": lambda low, high, share: low + int(share * (high - low + 1)),
        "choice": lambda options, share: sorted(options, key=str)[int(share * len(options))],
    }
    return {name: kinds[spec[0]](*spec[1:], share) for (name, spec), share in zip(space.items(), u)}


# %% wrong="from_unit" breaks="float" says="rise evenly from"
# Misunderstands: the end belongs to u = 0.
def from_unit(space, u):
    kinds = {
        "float": lambda low, high, share: high - share * (high - low),
        "log": lambda low, high, share: low * (high / low) ** share,
        "int": lambda low, high, share: low + int(share * (high - low + 1)),
        "choice": lambda options, share: options[int(share * len(options))],
    }
    return {name: kinds[spec[0]](*spec[1:], share) for (name, spec), share in zip(space.items(), u)}


# %% wrong="from_unit" breaks="log" says="rise evenly from"
# Misunderstands: a logarithm starts at 1 (`log1p`), so that 0 would be allowed.
def from_unit(space, u):
    kinds = {
        "float": lambda low, high, share: low + share * (high - low),
        "log": lambda low, high, share: math.expm1(math.log1p(low) + share * (math.log1p(high) - math.log1p(low))),
        "int": lambda low, high, share: low + int(share * (high - low + 1)),
        "choice": lambda options, share: options[int(share * len(options))],
    }
    return {name: kinds[spec[0]](*spec[1:], share) for (name, spec), share in zip(space.items(), u)}


# %% wrong="from_unit" breaks="float" says="it must stay as it was"
# Misunderstands: what was used can be taken away.
def from_unit(space, u):
    config = {}
    for name, spec in space.items():
        share = u.pop(0)
        if spec[0] == "choice":
            config[name] = spec[1][int(share * len(spec[1]))]
        elif spec[0] == "int":
            config[name] = spec[1] + int(share * (spec[2] - spec[1] + 1))
        elif spec[0] == "log":
            config[name] = spec[1] * (spec[2] / spec[1]) ** share
        else:
            config[name] = spec[1] + share * (spec[2] - spec[1])
    return config


# %% wrong="from_unit" breaks="choice" says="of type str"
# Misunderstands: a list of options may be held as a NumPy array; mixed ones take one type there.
def from_unit(space: dict, u: list[float]) -> dict:
    """A setting of `space` from numbers in [0, 1), one for each name."""
    config = {}
    for (name, (kind, *rest)), share in zip(space.items(), u):
        if kind == "float":
            low, high = rest
            config[name] = float(low + share * (high - low))
        elif kind == "log":
            low, high = rest
            config[name] = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        elif kind == "int":
            low, high = rest
            config[name] = low + int(share * (high - low + 1))
        else:
            options = np.array(rest[0])
            config[name] = options[int(share * len(options))].item() if options.dtype != object else options[int(share * len(options))]
    return config


# %% right="from_unit"
# With powers of ten and `match`.
def from_unit(space, u):
    config = {}
    for i, name in enumerate(space):
        match space[name]:
            case ("choice", options):
                config[name] = options[math.floor(len(options) * u[i])]
            case ("float", low, high):
                config[name] = low * (1 - u[i]) + high * u[i]
            case ("log", low, high):
                config[name] = 10 ** (math.log10(low) + u[i] * (math.log10(high) - math.log10(low)))
            case ("int", low, high):
                config[name] = range(low, high + 1)[int(u[i] * (high - low + 1))]
    return config


# %% right="from_unit"
# With NumPy.
def from_unit(space, u):
    def one(share, kind, *rest):
        if kind == "choice":
            return rest[0][int(np.floor(share * len(rest[0])))]
        if kind == "int":
            return int(rest[0] + np.floor(share * (1 + rest[1] - rest[0])))
        if kind == "log":
            return np.exp(np.interp(share, [0, 1], np.log(rest)))
        return np.interp(share, [0, 1], rest)

    return {name: one(share, *space[name]) for name, share in zip(space, u)}


# %% right="from_unit"
# A float in float32: right to 1 in a million, where nothing cancels.
def from_unit(space: dict, u: list[float]) -> dict:
    """A setting of `space` from numbers in [0, 1), one for each name."""
    config = {}
    for (name, spec), share in zip(space.items(), u):
        if spec[0] == "float":
            low, high = torch.tensor(spec[1:], dtype=torch.float32)
            config[name] = (low + share * (high - low)).item()
        elif spec[0] == "log":
            config[name] = math.exp(math.log(spec[1]) + share * math.log(spec[2] / spec[1]))
        elif spec[0] == "int":
            config[name] = spec[1] + int(share * (spec[2] - spec[1] + 1))
        else:
            config[name] = spec[1][int(share * len(spec[1]))]
    return config


# %% wrong="objective" breaks="space" says="suggested from"
# Misunderstands: a range from 0.0001 to 1 is one, however it is drawn.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in enumerate(train(config), start=1):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="space" says="suggested from"
# Misunderstands: widths are powers of two.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64, log=True),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in enumerate(train(config), start=1):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="momentum" says="only where the optimizer is muon"
# Misunderstands: a setting that nobody uses does no harm.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
        "momentum": trial.suggest_float("momentum", 0.8, 0.99),
    }
    for epoch, loss in enumerate(train(config), start=1):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="config" says="configs"
# Misunderstands: every setting has all five names.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99) if config["optimizer"] == "muon" else None
    for epoch, loss in enumerate(train(config), start=1):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="report" says="1 after the first"
# Misunderstands: steps count from 0.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in enumerate(train(config)):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="prune" says="after* its report"
# Misunderstands: asking comes first.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in enumerate(train(config), start=1):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        stop = trial.should_prune()
        trial.report(loss, epoch)
        if stop:
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="prune" says="state"
# Misunderstands: a trial ends by returning.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in enumerate(train(config), start=1):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        trial.report(loss, epoch)
        if trial.should_prune():
            break
    return loss


# %% wrong="objective" breaks="prune" says="epochs trained"
# Misunderstands: pruning is bookkeeping, the training was done before.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in enumerate(list(train(config)), start=1):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="prune" says="epochs trained"
# Misunderstands: one epoch more does no harm.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    losses, epoch = train(config), 0
    following = next(losses, None)
    while following is not None:
        loss, epoch = following, epoch + 1
        following = next(losses, None)
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="diverged" says="['reports'] has 1 items"
# Misunderstands: the pruner deals with NaN by itself.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in enumerate(train(config), start=1):
        trial.report(loss, epoch)
        if trial.should_prune() or not math.isfinite(loss):
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="diverged" says="losses = [[2.0, inf, 1.0]]"
# Misunderstands: only NaN is not finite.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in enumerate(train(config), start=1):
        if math.isnan(loss):
            raise optuna.TrialPruned
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="last" says="not the lowest"
# Misunderstands: the best epoch is what counts.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    best = math.inf
    for epoch, loss in enumerate(train(config), start=1):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        best = min(best, loss)
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return best


# %% wrong="objective" breaks="report" says="reports"
# Misunderstands: what is reported is the best so far.
def objective(trial, train):
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    best = math.inf
    for epoch, loss in enumerate(train(config), start=1):
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        best = min(best, loss)
        trial.report(best, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


# %% wrong="objective" breaks="prune" says="has no attribute 'close'"
# Misunderstands: every iterator is a generator.
def objective(trial, train):
    """The validation loss after the last epoch of one trial; raises `optuna.TrialPruned`."""
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    training = train(config)
    try:
        for epoch, loss in enumerate(training, start=1):
            if not math.isfinite(loss):
                raise optuna.TrialPruned()
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned()
    finally:
        training.close()  # end the training, also where the trial was pruned
    return loss


# %% wrong="objective" breaks="last" says="epochs trained"
# Misunderstands: a training has the notebook's EPOCHS.
def objective(trial, train):
    """The validation loss after the last epoch of one trial; raises `optuna.TrialPruned`."""
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in zip(range(1, EPOCHS + 1), train(config)):
        if not math.isfinite(loss):
            raise optuna.TrialPruned()
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned()
    return loss


# %% right="objective"
# With `next`, and the settings one by one.
def objective(trial, train):
    config = dict(dropout=trial.suggest_float("dropout", 0.0, 0.5), width=trial.suggest_int("width", 8, 64, step=1))
    config["lr"] = trial.suggest_float("lr", low=0.0001, high=1.0, log=True)
    config["optimizer"] = trial.suggest_categorical("optimizer", ("adamw", "muon"))
    if config["optimizer"] != "adamw":
        config |= {"momentum": trial.suggest_float("momentum", 0.8, 0.99)}
    losses, result, step = iter(train(config)), None, 0
    while True:
        try:
            value = next(losses)
        except StopIteration:
            return result
        step += 1
        if np.isnan(value) or np.isinf(value):
            raise optuna.exceptions.TrialPruned()
        trial.report(value, step=step)
        if trial.should_prune():
            raise optuna.TrialPruned(f"after {step} epochs")
        result = value


# %% right="objective"
# Settings from `trial.params`.
def objective(trial, train):
    if trial.suggest_categorical("optimizer", ["adamw", "muon"]) == "muon":
        trial.suggest_float("momentum", 0.8, 0.99)
    trial.suggest_float("lr", 1e-4, 1.0, log=True)
    trial.suggest_int("width", 8, 64)
    trial.suggest_float("dropout", 0, 0.5)
    curve = []
    for loss in train(dict(trial.params)):
        curve.append(loss)
        if abs(loss) < math.inf:
            trial.report(loss, len(curve))
            if not trial.should_prune():
                continue
        raise optuna.TrialPruned()
    return float(curve[-1])


# %% right="objective"
# In the range that is promised a float32 can tell, too.
def objective(trial, train):
    """The validation loss after the last epoch of one trial; raises `optuna.TrialPruned`."""
    config = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "muon"]),
        "lr": trial.suggest_float("lr", 1e-4, 1, log=True),
        "width": trial.suggest_int("width", 8, 64),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
    }
    if config["optimizer"] == "muon":
        config["momentum"] = trial.suggest_float("momentum", 0.8, 0.99)
    for epoch, loss in enumerate(train(config), start=1):
        if not torch.isfinite(torch.tensor(loss)):
            raise optuna.TrialPruned()
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned()
    return loss


# %% wrong="successive_halving" breaks="result" says="count only the new epochs"
# Misunderstands: a rung costs what it trains to.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, spent = list(range(n)), first, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * epochs
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        epochs = min(factor * epochs, last)


# %% wrong="successive_halving" breaks="rungs" says="also where that is less"
# Misunderstands: rungs are powers, and `last` is one of them.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], trial))
        if epochs * factor > last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, factor * epochs


# %% wrong="successive_halving" breaks="rungs" says="rungs"
# Misunderstands: each rung adds `factor` times the first.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, min(epochs + factor * first, last)


# %% wrong="successive_halving" breaks="rungs" says="rungs"
# Misunderstands: with one trial left there is nothing more to find out.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], trial))
        if epochs == last or len(trials) == 1:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="rungs" says="rungs"
# Misunderstands: a single trial need not climb, it may go to the end at once.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, last if len(trials) == 1 else min(factor * epochs, last)


# %% wrong="successive_halving" breaks="keep" says="is rounded down"
# Misunderstands: rounding up keeps more.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: math.ceil(len(trials) / factor)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="keep" says="half of them"
# Misunderstands: halving halves.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // 2)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="keep" says="IndexError"
# Misunderstands: there are always enough.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: len(trials) // factor]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="order" says="the smaller number is better"
# Misunderstands: of equal ones any will do.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], -trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="order" says="`successive_halving` of"
# Misunderstands: a stable sort keeps the numbers in order (it keeps the order of the rung before).
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial]))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="order" says="smallest losses"
# Misunderstands: a score is a thing that grows.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), -losses[trial], trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="nan" says="`successive_halving` of"
# Misunderstands: sorting knows what NaN is.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (losses[trial], trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="nan" says="infinity is better than NaN"
# Misunderstands: NaN is as bad as infinity.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        trials.sort(key=lambda trial: (math.inf if math.isnan(losses[trial]) else losses[trial], trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="once" says="rungs"
# Misunderstands: sorting may ask as often as it likes.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        spent += len(trials) * (epochs - before)
        trials = sorted(trials, key=lambda trial: (math.isnan(train_to(trial, epochs)), train_to(trial, epochs), trial))
        if epochs == last:
            return trials[0], spent
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="result" says="best trial"
# Misunderstands: the first of those left.
def successive_halving(train_to, n, first, factor, last):
    trials, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in trials}
        spent += len(trials) * (epochs - before)
        if epochs == last:
            return trials[0], spent
        trials.sort(key=lambda trial: (math.isnan(losses[trial]), losses[trial], trial))
        trials = trials[: max(1, len(trials) // factor)]
        before, epochs = epochs, min(factor * epochs, last)


# %% wrong="successive_halving" breaks="order" says="these differ by less"
# Misunderstands: a tensor of Python floats keeps their precision.
def successive_halving(train_to, n: int, first: int, factor: int, last: int) -> tuple[int, int]:
    """The best trial of the last rung, and the epochs that all trials took."""
    alive, epochs, before, spent = torch.arange(n), first, 0, 0
    while True:
        losses = torch.tensor([train_to(trial, epochs) for trial in alive.tolist()])
        spent += len(alive) * (epochs - before)
        order = losses.argsort(stable=True)  # torch sorts NaN behind infinity
        if epochs == last:
            return int(alive[order[0]]), spent
        alive = alive[order[: max(1, len(alive) // factor)]].sort().values
        before, epochs = epochs, min(epochs * factor, last)


# %% right="successive_halving"
# Recursive.
def successive_halving(train_to, n, first, factor, last):
    def climb(trials, before, epochs):
        ranked = sorted((math.isnan(loss), loss if loss == loss else 0.0, trial) for trial in trials for loss in [train_to(trial, epochs)])
        cost = len(trials) * (epochs - before)
        if epochs == last:
            return ranked[0][2], cost
        kept = [trial for *_, trial in ranked[: len(ranked) // factor or 1]]
        winner, more = climb(kept, epochs, min(last, epochs * factor))
        return winner, cost + more

    return climb(range(n), 0, first)


# %% right="successive_halving"
# With the rungs written down first, and NumPy's stable sort, which puts NaN last.
def successive_halving(train_to, n, first, factor, last):
    rungs = [first]
    while rungs[-1] < last:
        rungs.append(min(rungs[-1] * factor, last))
    alive, had = np.arange(n), np.zeros(n, int)
    for rung, epochs in enumerate(rungs):
        scores = np.array([train_to(int(trial), epochs) for trial in alive])
        had[alive] = epochs
        alive = alive[np.argsort(scores, kind="stable")]
        if rung < len(rungs) - 1:
            alive = np.sort(alive[: max(1, len(alive) // factor)])
    return int(alive[0]), int(had.sum())


# %% right="successive_halving"
# Whatever becomes of minus infinity, which never comes.
def successive_halving(train_to, n: int, first: int, factor: int, last: int) -> tuple[int, int]:
    """The best trial of the last rung, and the epochs that all trials took."""
    alive, epochs, before, spent = list(range(n)), first, 0, 0
    while True:
        losses = {trial: train_to(trial, epochs) for trial in alive}
        spent += len(alive) * (epochs - before)
        # NaN last, before it the infinite ones, before these all others
        alive = sorted(alive, key=lambda trial: (math.isnan(losses[trial]), math.isinf(losses[trial]), losses[trial], trial))
        if epochs == last:
            return alive[0], spent
        alive = alive[: max(1, len(alive) // factor)]
        before, epochs = epochs, min(epochs * factor, last)


# %% wrong="asha" breaks="rungs" says="not at multiples"
# Misunderstands: a rung every `first` epochs.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if epoch % self.first:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        losses.append(loss)
        return loss > sorted(losses)[max(1, len(losses) // self.factor) - 1]


# %% wrong="asha" breaks="rungs" says="the answers of `report`"
# Misunderstands: NaN stops a trial wherever it comes.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if math.isnan(loss):
            return True
        rung = self.first
        while rung < epoch:
            rung *= self.factor
        if rung != epoch:
            return False
        losses = self.recorded.setdefault(epoch, [])
        losses.append(loss)
        return loss > sorted(losses)[max(1, len(losses) // self.factor) - 1]


# %% wrong="asha" breaks="limit" says="this loss counts"
# Misunderstands: a trial is compared with the others, not with itself.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        rungs = [self.first * self.factor**k for k in range(7)]
        if epoch not in rungs:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        before = sorted(losses)
        losses.append(loss)
        return bool(before) and loss > before[max(1, len(before) // self.factor) - 1]


# %% wrong="asha" breaks="limit" says="the answers of `report`"
# Misunderstands: Ray's rule, with a percentile.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(7)]:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        limit = np.percentile(losses, 100 / self.factor) if losses else math.inf
        losses.append(loss)
        return bool(loss > limit)


# %% wrong="asha" breaks="limit" says="each rung has losses of its own"
# Misunderstands: one list of losses.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, []

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(7)]:
            return False
        if math.isnan(loss):
            return True
        self.recorded.append(loss)
        return loss > sorted(self.recorded)[max(1, len(self.recorded) // self.factor) - 1]


# %% wrong="asha" breaks="limit" says="the answers of `report`"
# Misunderstands: only trials that are still running count.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(7)]:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        losses.append(loss)
        stop = loss > sorted(losses)[max(1, len(losses) // self.factor) - 1]
        if stop:
            losses.remove(loss)
        return stop


# %% wrong="asha" breaks="least" says="k is at least 1"
# Misunderstands: with few trials nobody is stopped.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(7)]:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        losses.append(loss)
        if len(losses) < self.factor:
            return False
        return loss > sorted(losses)[len(losses) // self.factor - 1]


# %% wrong="asha" breaks="equal" says="equal to the limit goes on"
# Misunderstands: to go on one must be better.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(7)]:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        losses.append(loss)
        return loss >= sorted(losses)[max(1, len(losses) // self.factor) - 1]


# %% wrong="asha" breaks="equal" says="the answers of `report`"
# Misunderstands: of equal ones the earlier is better.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(7)]:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        better = sum(other <= loss for other in losses)
        losses.append(loss)
        return better >= max(1, len(losses) // self.factor)


# %% wrong="asha" breaks="nan" says="NaN is not recorded"
# Misunderstands: a diverged trial is one more that reached the rung.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(7)]:
            return False
        losses = self.recorded.setdefault(epoch, [])
        losses.append(math.inf if math.isnan(loss) else loss)
        return math.isnan(loss) or loss > sorted(losses)[max(1, len(losses) // self.factor) - 1]


# %% wrong="asha" breaks="nan" says="the answers of `report`"
# Misunderstands: a comparison with NaN stops.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(7)]:
            return False
        losses = self.recorded.setdefault(epoch, [])
        if not math.isnan(loss):
            losses.append(loss)
        k = max(1, len(losses) // self.factor)
        return bool(losses) and loss > sorted(losses)[k - 1]


# %% wrong="asha" breaks="apart" says="in the class body"
# Misunderstands: there is one search.
class Asha:
    recorded = {}

    def __init__(self, first, factor):
        self.first, self.factor = first, factor

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(7)]:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        losses.append(loss)
        return loss > sorted(losses)[max(1, len(losses) // self.factor) - 1]


# %% wrong="asha" breaks="rungs" says="the answers of `report`"
# Misunderstands: there are three rungs.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor, self.recorded = first, factor, {}

    def report(self, trial, epoch, loss):
        if epoch not in [self.first * self.factor**k for k in range(3)]:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        losses.append(loss)
        return loss > sorted(losses)[max(1, len(losses) // self.factor) - 1]


# %% wrong="asha" breaks="equal" says="no tolerance"
# Misunderstands: floats must be compared with a tolerance.
class Asha:
    """Asynchronous successive halving that stops trials; smaller losses are better."""

    def __init__(self, first: int, factor: int):
        self.first, self.factor = first, factor
        self.recorded = {}

    def report(self, trial: int, epoch: int, loss: float) -> bool:
        """True if the trial should stop after this epoch."""
        rung = self.first
        while rung < epoch:
            rung *= self.factor
        if rung != epoch:
            return False
        if math.isnan(loss):
            return True
        losses = self.recorded.setdefault(epoch, [])
        losses.append(loss)
        limit = sorted(losses)[max(1, len(losses) // self.factor) - 1]
        return not (loss < limit or math.isclose(loss, limit))  # never compare floats with ==


# %% wrong="asha" breaks="limit" says="the answers of `report`"
# Misunderstands: losses beyond the k-th smallest are never needed again; when k grows, they are.
class Asha:
    """Asynchronous successive halving that stops trials; smaller losses are better."""

    def __init__(self, first: int, factor: int):
        self.first, self.factor = first, factor
        self.best, self.count = {}, {}

    def report(self, trial: int, epoch: int, loss: float) -> bool:
        """True if the trial should stop after this epoch."""
        rung = self.first
        while rung < epoch:
            rung *= self.factor
        if rung != epoch:
            return False
        if math.isnan(loss):
            return True
        self.count[epoch] = self.count.get(epoch, 0) + 1
        k = max(1, self.count[epoch] // self.factor)
        # only the k best matter for the limit: keep the memory small
        self.best[epoch] = sorted(self.best.get(epoch, []) + [loss])[:k]
        return loss > self.best[epoch][-1]


# %% right="asha"
# Counts how many are better, and asks the logarithm for the rung.
class Asha:
    def __init__(self, first, factor):
        self.first, self.factor = first, factor
        self.seen = []

    def is_rung(self, epoch):
        power, rest = divmod(epoch, self.first)
        while rest == 0 and power > 1:
            power, rest = divmod(power, self.factor)
        return rest == 0 and power == 1

    def report(self, trial, epoch, loss):
        if not self.is_rung(epoch):
            return False
        if loss != loss:
            return True
        self.seen.append((epoch, loss))
        here = [value for rung, value in self.seen if rung == epoch]
        better = sum(value < loss for value in here)
        return better >= max(len(here) // self.factor, 1)


# %% right="asha"
# Sorted lists, and `bisect`.
class Asha:
    def __init__(self, first, factor):
        self.factor = factor
        self.rungs = {}
        while first <= 100:
            self.rungs[first] = []
            first *= factor

    def report(self, trial, epoch, loss):
        import bisect

        losses = self.rungs.get(epoch)
        if losses is None or math.isnan(loss):
            return losses is not None
        bisect.insort(losses, loss)
        return bool(losses[max(1, len(losses) // self.factor) - 1] < loss)


# %% wrong="ray_tune" breaks="mode" says="follows from the job"
# Misunderstands: the name of a score says which way is better.
def asha_arguments(job):
    mode = "max" if job["score"] == "accuracy" else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="limits" says="have changed places"
# Misunderstands: `max_t` is the first limit.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["first"], "grace_period": job["last"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="limits" says="before it nobody is stopped"
# Misunderstands: the first rung is always 1.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": 1, "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="keys" says="has keys"
# Misunderstands: `time_attr` has a default, so it may be left out.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="eligible" says="stopped early is never the best"
# Misunderstands: the smallest loss of the table.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    best = min((row for row in rows if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    finished = sum(row["training_iteration"] == last for row in rows)
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": finished, "best": config}


# %% wrong="ray_tune" breaks="eligible" says="an infinite loss is never the best"
# Misunderstands: only NaN is no loss.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if not math.isnan(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="eligible" says="the first row counts"
# Misunderstands: of equal ones any will do.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = None
    for row in finished:
        if math.isfinite(row["loss"]) and (best is None or row["loss"] <= best["loss"]):
            best = row
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="finished" says="finished counts diverged trials, too"
# Misunderstands: a diverged trial did not finish.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last and math.isfinite(row["loss"])]
    best = min(finished, key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="finished" says="whatever the column `done` says"
# Misunderstands: `done` means trained to the end.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last and math.isfinite(row["loss"])]
    best = min(finished, key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    done = sum(bool(row.get("done")) for row in rows)
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": done, "best": config}


# %% wrong="ray_tune" breaks="saved" says="not * (longest trial)"
# Misunderstands: the longest trial is the measure.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    longest = max((row["training_iteration"] for row in rows), default=0)
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * longest) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="saved" says="ZeroDivisionError"
# Misunderstands: a table has rows.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last), "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="best" says="slashes included"
# Misunderstands: a name has one slash.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.split("/")[-1]: value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="best" says="take only the `config/` in front away"
# Misunderstands: `replace` takes the front away.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.replace("config/", ""): value for name, value in best.items() if name.startswith("config/")}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="best" says="`ray_report`"
# Misunderstands: whatever has "config/" in it.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    epochs = sum(row["training_iteration"] for row in rows)
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.split("config/", 1)[1]: value for name, value in best.items() if "config/" in name}
    return {"epochs": epochs, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% wrong="ray_tune" breaks="epochs" says="`ray_report`"
# Misunderstands: only finished trials cost something.
def asha_arguments(job):
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows, last):
    finished = [row for row in rows if row["training_iteration"] == last]
    best = min((row for row in finished if math.isfinite(row["loss"])), key=lambda row: row["loss"], default=None)
    config = best and {name.removeprefix("config/"): value for name, value in best.items() if name.startswith("config/")}
    epochs = sum(row["training_iteration"] for row in rows)
    return {"epochs": len(finished) * last, "saved": 1 - epochs / (len(rows) * last) if rows else 0.0, "finished": len(finished), "best": config}


# %% right="ray_tune"
# With pandas, and Ray's own class imported.
def asha_arguments(job):
    return dict(
        zip(
            ("time_attr", "metric", "mode", "max_t", "grace_period", "reduction_factor"),
            ("training_iteration", job["score"], ("min", "max")[job["higher_is_better"]], job["last"], job["first"], job["factor"]),
        )
    )


def ray_report(rows, last):
    full, best = len(rows) * last, None
    epochs = finished = 0
    for row in rows:
        epochs += row["training_iteration"]
        if row["training_iteration"] < last:
            continue
        finished += 1
        if abs(row["loss"]) < math.inf and (best is None or row["loss"] < best["loss"]):
            best = row
    prefix = len("config/")
    config = None if best is None else {name[prefix:]: best[name] for name in best if name[:prefix] == "config/"}
    return {"best": config, "finished": finished, "saved": (full - epochs) / full if full else 0, "epochs": epochs}


# %% right="ray_tune"
# Imports Ray, which is allowed, and sorts.
def asha_arguments(job):
    import ray

    assert ray.__version__
    arguments = {"metric": job["score"], "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}
    return arguments | {"mode": "max" if job["higher_is_better"] else "min", "time_attr": "training_iteration"}


def ray_report(rows, last):
    done = [row for row in rows if row["training_iteration"] == last]
    ranked = sorted((row["loss"], i) for i, row in enumerate(rows) if row in done and np.isfinite(row["loss"]))
    best = rows[ranked[0][1]] if ranked else {}
    config = {k.split("/", 1)[1]: v for k, v in best.items() if k.startswith("config/")} or None
    epochs = int(np.sum([row["training_iteration"] for row in rows], dtype=int))
    return {"epochs": epochs, "saved": 1.0 - epochs / (len(rows) * last or 1) if rows else 0.0, "finished": len(done), "best": config}


# %% right="ray_tune"
# The search for the smallest begins far above what can come.
def asha_arguments(job: dict) -> dict:
    """Keyword arguments of Ray's ASHAScheduler for a job."""
    mode = "max" if job["higher_is_better"] else "min"
    return {"time_attr": "training_iteration", "metric": job["score"], "mode": mode, "max_t": job["last"], "grace_period": job["first"], "reduction_factor": job["factor"]}


def ray_report(rows: list[dict], last: int) -> dict:
    """What a run of Ray Tune cost, and what it found."""
    epochs, finished, best, lowest = 0, 0, None, 1e9
    for row in rows:
        epochs += row["training_iteration"]
        if row["training_iteration"] == last:
            finished += 1
            if math.isfinite(row["loss"]) and row["loss"] < lowest:
                lowest = row["loss"]
                best = {name[len("config/") :]: value for name, value in row.items() if name.startswith("config/")}
    saved = 1 - epochs / (len(rows) * last) if rows else 0.0
    return {"epochs": epochs, "saved": saved, "finished": finished, "best": best}


# %% wrong="equal_compute" breaks="latest" says="that model is gone"
# Misunderstands: the best that was seen.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        lowest, epochs = {}, {}
        for trial, loss in log[:budget]:
            epochs[trial] = epochs.get(trial, 0) + 1
            if not math.isnan(loss):
                lowest[trial] = min(loss, lowest.get(trial, math.inf))
        best = min(lowest, key=lambda trial: (lowest[trial], trial), default=None)
        answers.append(None if best is None else (best, epochs[best]))
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="budget" says="what comes later is not known yet"
# Misunderstands: a trial's loss is the one it has in the end.
def best_so_far(log, budgets):
    final, answers = dict(log), []
    for budget in budgets:
        epochs = {}
        for trial, _ in log[:budget]:
            epochs[trial] = epochs.get(trial, 0) + 1
        best = min((trial for trial in final if not math.isnan(final[trial])), key=lambda trial: (final[trial], trial), default=None)
        answers.append(None if best is None else (best, sum(trial == best for trial, _ in log)))
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="budget" says="one epoch more than was paid"
# Misunderstands: epoch b is entry b.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[: budget + 1]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="budget" says="within the budget"
# Misunderstands: how many epochs it had in the end.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest = dict(log[:budget])
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], sum(trial == min(good)[1] for trial, _ in log)) if good else None)
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="budget" says="`best_so_far`"
# Misunderstands: budgets come in rising order.
def best_so_far(log, budgets):
    answers, latest, epochs, done = [], {}, {}, 0
    for budget in budgets:
        for trial, loss in log[done:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        done = max(done, budget)
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="ties" says="the smaller number is taken"
# Misunderstands: of equal ones the first that was trained.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        good = {trial: loss for trial, loss in latest.items() if not math.isnan(loss)}
        best = max(sorted(good), key=lambda trial: (-good[trial], trial), default=None)
        answers.append(None if best is None else (best, epochs[best]))
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="ties" says="`best_so_far`"
# Misunderstands: of equal ones the first that was trained (a dict keeps that order).
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        good = {trial: loss for trial, loss in latest.items() if not math.isnan(loss)}
        best = min(good, key=good.get, default=None)
        answers.append(None if best is None else (best, epochs[best]))
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="none" says="`best_so_far`"
# Misunderstands: an epoch with NaN is no epoch.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            epochs[trial] = epochs.get(trial, 0) + 1
            if not math.isnan(loss):
                latest[trial] = loss
        good = [(loss, trial) for trial, loss in latest.items()]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="none" says="ValueError"
# Misunderstands: there is always something to hand over.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        best = min((loss, trial) for trial, loss in latest.items() if not math.isnan(loss))[1]
        answers.append((best, epochs[best]))
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="interval" says="ddof=1"
# Misunderstands: NumPy's `std` is the one that is meant.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std() / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="interval" says="not the normal distribution"
# Misunderstands: 1.96 standard errors.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.norm.ppf((1 + level) / 2) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="interval" says="seed by seed"
# Misunderstands: two samples.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a, b, level):
    n, mean = len(a), np.mean(a) - np.mean(b)
    half = stats.t.ppf((1 + level) / 2, n - 1) * math.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / n)
    return mean, mean - half, mean + half


# %% wrong="equal_compute" breaks="interval" says="quantile at (1 + level) / 2"
# Misunderstands: the quantile at `level`.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf(level, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="mean" says="the difference is a - b"
# Misunderstands: the other way round.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a, b, level):
    d = np.array(b) - np.array(a)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% wrong="equal_compute" breaks="latest" says="`best_so_far`"
# Misunderstands: an epoch whose loss is NaN was not trained.
def best_so_far(log: list, budgets: list) -> list:
    """For each budget the (trial, epochs) that would be handed over after so many epochs, or None."""
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            if not math.isnan(loss):
                epochs[trial] = epochs.get(trial, 0) + 1
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a: list, b: list, level: float) -> tuple:
    """Mean of a - b over seeds, and the ends of its interval by Student's t."""
    difference = np.array(a) - np.array(b)
    n, mean = len(difference), float(difference.mean())
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * difference.std(ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half


# %% wrong="equal_compute" breaks="latest" says="IndexError"
# Misunderstands: trials have the numbers 0 to 399.
def best_so_far(log, budgets):
    answers = []
    for budget in budgets:
        latest, epochs = [math.nan] * 400, [0] * 400
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] += 1
        good = [(loss, trial) for trial, loss in enumerate(latest) if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a, b, level):
    d = np.array(a) - np.array(b)
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


# %% right="equal_compute"
# Goes through the log once, and lets SciPy make the interval.
def best_so_far(log, budgets):
    state, curves = [None], {}
    for trial, loss in log:
        curves[trial] = (loss, curves.get(trial, (0, 0))[1] + 1)
        good = sorted((loss, trial, count) for trial, (loss, count) in curves.items() if loss == loss)
        state.append(good[0][1:] if good else None)
    return [state[min(budget, len(log))] for budget in budgets]


def paired_interval(a, b, level):
    found = stats.ttest_rel(a, b)
    interval = found.confidence_interval(level)
    return np.mean(np.subtract(a, b)), interval.low, interval.high


# %% right="equal_compute"
# With NumPy for the log and sums for the interval.
def best_so_far(log, budgets):
    def at(budget):
        trials = [trial for trial, _ in log[:budget]]
        best = None
        for trial in sorted(set(trials)):
            last = len(trials) - 1 - trials[::-1].index(trial)
            loss = log[last][1]
            if loss == loss and (best is None or loss < best[0]):
                best = (loss, trial, trials.count(trial))
        return best and best[1:]

    return [at(budget) for budget in budgets]


def paired_interval(a, b, level):
    d = [x - y for x, y in zip(a, b)]
    n = len(d)
    mean = math.fsum(d) / n
    s = math.sqrt(math.fsum((x - mean) ** 2 for x in d) / (n - 1))
    return [float(mean), *(float(end) for end in stats.t.interval(level, n - 1, loc=mean, scale=s / n**0.5))]


# %% right="equal_compute"
# Infinity for "none yet", where no loss is infinite.
def best_so_far(log: list, budgets: list) -> list:
    """For each budget the (trial, epochs) that would be handed over after so many epochs, or None."""
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        best, lowest = None, math.inf
        for trial in sorted(latest):
            if latest[trial] < lowest:  # False for NaN
                best, lowest = (trial, epochs[trial]), latest[trial]
        answers.append(best)
    return answers


def paired_interval(a: list, b: list, level: float) -> tuple:
    """Mean of a - b over seeds, and the ends of its interval by Student's t."""
    difference = np.array(a) - np.array(b)
    n, mean = len(difference), float(difference.mean())
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * difference.std(ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half


# %% right="equal_compute"
# With `stats.t.interval`, which is NaN where all differences are equal.
def best_so_far(log: list, budgets: list) -> list:
    """For each budget the (trial, epochs) that would be handed over after so many epochs, or None."""
    answers = []
    for budget in budgets:
        latest, epochs = {}, {}
        for trial, loss in log[:budget]:
            latest[trial] = loss
            epochs[trial] = epochs.get(trial, 0) + 1
        good = [(loss, trial) for trial, loss in latest.items() if not math.isnan(loss)]
        answers.append((min(good)[1], epochs[min(good)[1]]) if good else None)
    return answers


def paired_interval(a: list, b: list, level: float) -> tuple:
    """Mean of a - b over seeds, and the ends of its interval by Student's t."""
    difference = np.array(a) - np.array(b)
    low, high = stats.t.interval(level, len(difference) - 1, loc=difference.mean(), scale=stats.sem(difference))
    return float(difference.mean()), float(low), float(high)


# %% wrong="check_search" breaks="honest, repeat, seed" says="bugs, with no false alarm"
# Looks at one call only.
def check_search(search):
    rng = random.Random(1)
    curves = [[rng.random() for _ in range(6)] for _ in range(8)]
    for budget in (7, 20, 48):
        for seed in range(10):
            found = search(curves, budget, seed)
            log = found["log"]
            assert 0 < len(log) <= budget
            assert all(0 <= trial < 8 and log.count(trial) <= 6 for trial in log)
            latest = {trial: curves[trial][log.count(trial) - 1] for trial in log}
            assert found["best"] in latest and found["loss"] == latest[found["best"]] == min(latest.values())


# %% wrong="check_search" breaks="budget, log" says="bugs, with no false alarm"
# Looks at the result, not at what it cost.
def check_search(search):
    rng = random.Random(2)
    curves = [[rng.random() for _ in range(6)] for _ in range(8)]
    for budget in (7, 20):
        logs = []
        for seed in range(10):
            found = search(curves, budget, seed)
            assert found == search(curves, budget, seed)
            log = [trial for trial in found["log"] if 0 <= trial < 8]
            logs.append(log)
            latest = {trial: curves[trial][min(log.count(trial), 6) - 1] for trial in log}
            assert not latest or found["best"] not in latest or found["loss"] == min(latest.values())
        assert budget == 7 or any(log != logs[0] for log in logs)


# %% wrong="check_search" breaks="best" says="reject a correct implementation"
# Misunderstands: everything must be spent.
def check_search(search):
    curves = [[(3 * t + 5 * e) % 7 + t / 10 for e in range(6)] for t in range(8)]
    for seed in range(10):
        found = search(curves, 20, seed)
        assert len(found["log"]) == 20


# %% wrong="check_search" breaks="best" says="reject a correct implementation"
# Misunderstands: the lowest loss that was paid for is the result.
def check_search(search):
    rng = random.Random(3)
    curves = [[rng.random() for _ in range(6)] for _ in range(8)]
    for seed in range(10):
        found = search(curves, 48, seed)
        counts = {trial: found["log"].count(trial) for trial in found["log"]}
        assert found["loss"] == min(min(curves[t][:n]) for t, n in counts.items())


# %% wrong="check_search" breaks="seed" says="reject a correct implementation"
# Misunderstands: each seed has a log of its own.
def check_search(search):
    rng = random.Random(4)
    curves = [[rng.random() for _ in range(6)] for _ in range(8)]
    logs = [tuple(search(curves, 20, seed)["log"]) for seed in range(30)]
    assert len(set(logs)) == 30


# %% wrong="check_search" breaks="budget, best, repeat, honest" says="bugs, with no false alarm"
# Misunderstands: one seed is enough for all promises but the seed's own.
def check_search(search):
    """Raise AssertionError if `search` breaks one of its promises."""
    rng = random.Random(7)
    curves = [[rng.random() for _ in range(6)] for _ in range(8)]
    for budget in (7, 20, 48):
        found = search([list(curve) for curve in curves], budget, 0)
        log = found["log"]
        assert 1 <= len(log) <= budget
        assert all(trial in range(8) for trial in log)
        counts = {trial: log.count(trial) for trial in log}
        assert max(counts.values()) <= 6
        latest = {trial: curves[trial][epochs - 1] for trial, epochs in counts.items()}
        assert found["best"] in latest
        assert found["loss"] == latest[found["best"]] == min(latest.values())
        for _ in range(3):
            assert search([list(curve) for curve in curves], budget, 0) == found
        for step in (1, -1):
            other = [[x if e < counts.get(t, 0) else x + step for e, x in enumerate(curve)] for t, curve in enumerate(curves)]
            assert search(other, budget, 0) == found
    logs = [search([list(curve) for curve in curves], 20, seed)["log"] for seed in range(10)]
    assert any(log != logs[0] for log in logs)


# %% wrong="check_search" breaks="honest" says="bugs, with no false alarm"
# Misunderstands: larger unpaid losses show each search that peeks.
def check_search(search):
    """Raise AssertionError if `search` breaks one of its promises."""
    rng = random.Random(7)
    curves = [[rng.random() for _ in range(6)] for _ in range(8)]
    for budget in (7, 20, 48):
        logs = []
        for seed in range(10):
            found = search([list(curve) for curve in curves], budget, seed)
            log = found["log"]
            assert 1 <= len(log) <= budget
            assert all(trial in range(8) for trial in log)
            counts = {trial: log.count(trial) for trial in log}
            assert max(counts.values()) <= 6
            latest = {trial: curves[trial][epochs - 1] for trial, epochs in counts.items()}
            assert found["best"] in latest
            assert found["loss"] == latest[found["best"]] == min(latest.values())
            for _ in range(3):
                assert search([list(curve) for curve in curves], budget, seed) == found
            other = [[x if e < counts.get(t, 0) else x + 1 for e, x in enumerate(curve)] for t, curve in enumerate(curves)]
            assert search(other, budget, seed) == found
            logs.append(log)
        if budget == 20:
            assert any(log != logs[0] for log in logs)


# %% wrong="check_search" breaks="budget, best, honest" says="bugs, with no false alarm"
# Misunderstands: one budget is enough.
def check_search(search):
    """Raise AssertionError if `search` breaks one of its promises."""
    rng = random.Random(7)
    curves = [[rng.random() for _ in range(6)] for _ in range(8)]
    for budget in (20,):
        found = search([list(curve) for curve in curves], budget, 0)
        log = found["log"]
        assert 1 <= len(log) <= budget
        assert all(trial in range(8) for trial in log)
        counts = {trial: log.count(trial) for trial in log}
        assert max(counts.values()) <= 6
        latest = {trial: curves[trial][epochs - 1] for trial, epochs in counts.items()}
        assert found["best"] in latest
        assert found["loss"] == latest[found["best"]] == min(latest.values())
        for _ in range(3):
            assert search([list(curve) for curve in curves], budget, 0) == found
        for step in (1, -1):
            other = [[x if e < counts.get(t, 0) else x + step for e, x in enumerate(curve)] for t, curve in enumerate(curves)]
            assert search(other, budget, 0) == found
    logs = [search([list(curve) for curve in curves], 20, seed)["log"] for seed in range(10)]
    assert any(log != logs[0] for log in logs)


# %% right="check_search"
# Asks four times, with helpers, and other numbers in the place of what was not paid for.
def check_search(search):
    numbers = np.random.default_rng(5)

    def verify(curves, budget, seed):
        found = search([list(curve) for curve in curves], budget, seed)
        log = found["log"]
        if not 1 <= len(log) <= budget:
            raise AssertionError("budget")
        epochs = {}
        for trial in log:
            assert trial in range(len(curves))
            epochs[trial] = epochs.get(trial, 0) + 1
            assert epochs[trial] <= len(curves[0])
        now = {trial: curves[trial][n - 1] for trial, n in epochs.items()}
        assert now.get(found["best"]) == found["loss"] == min(now.values())
        return found, epochs

    for budget in (7, 20, 48):
        curves = numbers.random((8, 6)).tolist()
        logs = set()
        for seed in range(10):
            found, epochs = verify(curves, budget, seed)
            logs.add(tuple(found["log"]))
            for _ in range(3):
                other = numbers.random((8, 6)).tolist()
                mixed = [curves[t][: epochs.get(t, 0)] + other[t][epochs.get(t, 0) :] for t in range(8)]
                again, _ = verify(mixed, budget, seed)
                assert again == found
            assert verify(curves, budget, seed)[0] == found
        if budget == 20:
            assert len(logs) > 1


# %% right="check_search"
# With sentinel values that no honest search ever meets.
def check_search(search):
    rng = random.Random(6)
    seen = []
    for budget, seed in itertools.product((48, 20, 7), range(10)):
        curves = [[round(rng.random(), 9) for _ in range(6)] for _ in range(8)] if not seed else curves
        found = search(curves, budget, seed)
        log, best, loss = found["log"], found["best"], found["loss"]
        assert log and len(log) <= budget, "budget"
        assert set(log) <= set(range(8)), "numbers"
        assert max(map(log.count, log)) <= 6, "too many epochs"
        assert best in log, "best was never trained"
        for trial in set(log):
            assert curves[trial][log.count(trial) - 1] >= loss, "there is a better one"
        assert curves[best][log.count(best) - 1] == loss, "loss"
        for odd in (-9.0, 9.0):
            for stripes in (1, 2):
                other = [[x if e < log.count(t) or (t + e) % stripes else odd + e / 7 + t / 70 for e, x in enumerate(curve)] for t, curve in enumerate(curves)]
                assert search(other, budget, seed) == found, "peeks"
        assert search(curves, budget, seed) == found, "repeat"
        if budget == 20:
            seen.append(log)
    assert seen.count(seen[0]) < len(seen), "seed"


# %% wrong="noisy_best" breaks="expected" says="with replacement"
# Misunderstands: no trial comes twice.
def expected_best(losses, k):
    values, n = sorted(losses), len(losses)
    k = min(k, n)
    return sum(v * math.comb(n - i, k - 1) / math.comb(n, k) for i, v in enumerate(values, 1) if n - i >= k - 1)


def honest_best(picked, fresh):
    chosen = int(picked.mean(1).argmin())
    claimed, honest = float(picked[chosen].mean()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="several" says="a set forgets that"
# Misunderstands: the values that occur.
def expected_best(losses, k):
    values = np.unique(losses)
    n = len(values)
    above = (np.arange(n, -1, -1) / n) ** k
    return float(values @ (above[:-1] - above[1:]))


def honest_best(picked, fresh):
    chosen = int(picked.mean(1).argmin())
    claimed, honest = float(picked[chosen].mean()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="expected" says="not the largest"
# Misunderstands: the best is the largest.
def expected_best(losses, k):
    values, n = np.sort(losses)[::-1], len(losses)
    above = (np.arange(n, -1, -1) / n) ** k
    return float(values @ (above[:-1] - above[1:]))


def honest_best(picked, fresh):
    chosen = int(picked.mean(1).argmin())
    claimed, honest = float(picked[chosen].mean()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="expected" says="`expected_best`"
# Misunderstands: some hundred random draws are enough.
def expected_best(losses, k):
    rng = np.random.default_rng(0)
    return float(np.mean([min(rng.choice(losses, k)) for _ in range(300)]))


def honest_best(picked, fresh):
    chosen = int(picked.mean(1).argmin())
    claimed, honest = float(picked[chosen].mean()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="expected" says="`expected_best`"
# Misunderstands: the k losses at the front are the k draws.
def expected_best(losses, k):
    return float(min(losses[:k]))


def honest_best(picked, fresh):
    chosen = int(picked.mean(1).argmin())
    claimed, honest = float(picked[chosen].mean()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="chosen" says="not with the smallest single loss"
# Misunderstands: the row that holds the smallest loss of all.
def expected_best(losses, k):
    values, n = np.sort(losses), len(losses)
    above = (np.arange(n, -1, -1) / n) ** k
    return float(values @ (above[:-1] - above[1:]))


def honest_best(picked, fresh):
    chosen = int(picked.min(1).argmin())
    claimed, honest = float(picked[chosen].min()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="chosen" says="the first counts"
# Misunderstands: of equal ones any will do.
def expected_best(losses, k):
    values, n = np.sort(losses), len(losses)
    above = (np.arange(n, -1, -1) / n) ** k
    return float(values @ (above[:-1] - above[1:]))


def honest_best(picked, fresh):
    means = picked.mean(1)
    chosen = int(np.flatnonzero(means == means.min())[-1])
    claimed, honest = float(picked[chosen].mean()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="honest" says="not the best of the fresh ones"
# Misunderstands: the fresh data have a winner of their own.
def expected_best(losses, k):
    values, n = np.sort(losses), len(losses)
    above = (np.arange(n, -1, -1) / n) ** k
    return float(values @ (above[:-1] - above[1:]))


def honest_best(picked, fresh):
    chosen = int(picked.mean(1).argmin())
    claimed, honest = float(picked[chosen].mean()), float(fresh.mean(1).min())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="chosen" says="may not use the fresh ones"
# Misunderstands: more data make a better choice.
def expected_best(losses, k):
    values, n = np.sort(losses), len(losses)
    above = (np.arange(n, -1, -1) / n) ** k
    return float(values @ (above[:-1] - above[1:]))


def honest_best(picked, fresh):
    every = np.concatenate([picked, fresh], axis=1)
    chosen = int(every.mean(1).argmin())
    claimed, honest = float(every[chosen].mean()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="claimed" says="`honest_best`"
# Misunderstands: what is claimed is the best single measurement of the chosen row.
def expected_best(losses, k):
    values, n = np.sort(losses), len(losses)
    above = (np.arange(n, -1, -1) / n) ** k
    return float(values @ (above[:-1] - above[1:]))


def honest_best(picked, fresh):
    chosen = int(picked.mean(1).argmin())
    claimed, honest = float(picked[chosen].min()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% wrong="noisy_best" breaks="bias" says="bias is claimed minus honest"
# Misunderstands: a bias is a size.
def expected_best(losses, k):
    values, n = np.sort(losses), len(losses)
    above = (np.arange(n, -1, -1) / n) ** k
    return float(values @ (above[:-1] - above[1:]))


def honest_best(picked, fresh):
    chosen = int(picked.mean(1).argmin())
    claimed, honest = float(picked[chosen].mean()), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": honest - claimed}


# %% right="noisy_best"
# The sum as it stands, and a loop.
def expected_best(losses, k):
    n, total = len(losses), 0.0
    for i, loss in enumerate(sorted(losses), start=1):
        total += loss * (((n - i + 1) / n) ** k - ((n - i) / n) ** k)
    return total


def honest_best(picked, fresh):
    best = None
    for row in range(len(picked)):
        mean = sum(picked[row]) / len(picked[row])
        if best is None or mean < best[1]:
            best = (row, mean)
    row, claimed = best
    honest = np.average(fresh[row])
    return dict(chosen=row, claimed=claimed, honest=honest, bias=claimed - honest)


# %% right="noisy_best"
# By steps: the smallest of all, and what is added where all draws lie above.
def expected_best(losses, k):
    values = np.sort(np.asarray(losses, dtype=float))
    n = len(values)
    beyond = ((n - np.arange(1, n)) / n) ** k
    return values[0] + float((np.diff(values) * beyond).sum())


def honest_best(picked, fresh):
    row = int(np.argmin(picked.sum(axis=1)))
    result = {"chosen": row, "claimed": picked[row].mean(), "honest": fresh[row].mean()}
    return {**result, "bias": result["claimed"] - result["honest"]}


# %% right="noisy_best"
# Means with a tolerance: those that are not equal lie further apart.
def expected_best(losses: list[float], k: int) -> float:
    """Expected smallest of k draws with replacement from `losses`."""
    values, n = sorted(losses), len(losses)
    return sum(v * (((n - i) / n) ** k - ((n - i - 1) / n) ** k) for i, v in enumerate(values))


def honest_best(picked: np.ndarray, fresh: np.ndarray) -> dict:
    """The setting that looks best, how good it looks, and how good it is."""
    means = picked.mean(axis=1)
    chosen = int(np.flatnonzero(np.isclose(means, means.min()))[0])  # of equal ones the first
    claimed, honest = float(means[chosen]), float(fresh[chosen].mean())
    return {"chosen": chosen, "claimed": claimed, "honest": honest, "bias": claimed - honest}


# %% [markdown] rubric="believe"
# - 0.5 points: report 2 is believed because of equal compute, several seeds, test data and an interval without 0 (two of these suffice).
# - 0.5 points: report 1 is turned down for two of: numbers of trials are no equal compute, one seed, best validation scores, sampler and pruner mixed up; and a way to repair it is named.
# - 0.5 points: report 3 is turned down for the winner's curse, and fresh data are asked for.
# - 0.5 points: two figures of the notebook, read in the right direction (regret with its interval, epochs needed, bias of the best, wins of 20 seeds).
#
# Another choice earns the same if its reasons hold and rest on a figure.
