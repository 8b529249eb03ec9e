# %% wrong="export_dynamic" breaks="batches" says="Is axis 0 dynamic"
# Misunderstands: a graph takes any batch, as the model does.
def export_dynamic(model, example, largest):
    return torch.export.export(copy.deepcopy(model).eval(), (example,))


# %% wrong="export_dynamic" breaks="batches" says="Is axis 0 dynamic, with these bounds"
# Misunderstands: the largest batch is that of the example.
def export_dynamic(model, example, largest):
    batch = torch.export.Dim("batch", max=len(example))
    return torch.export.export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=({0: batch},))


# %% wrong="export_dynamic" breaks="mode" says="was every submodule in eval mode"
# Misunderstands: the mode can be chosen later, where the program runs.
def export_dynamic(model, example, largest):
    batch = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(model, (example,), dynamic_shapes=({0: batch},))


# %% wrong="export_dynamic" breaks="mode" says="was every submodule in eval mode"
# Misunderstands: the flag of the whole speaks for its parts.
def export_dynamic(model, example, largest):
    if model.training:
        model = copy.deepcopy(model).eval()
    return torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch", max=largest)},))


# %% wrong="export_dynamic" breaks="mode" says="was every submodule in eval mode"
# Misunderstands: setting `training` is what eval() does. The flag of the parts stays.
def export_dynamic(model, example, largest):
    was_training, model.training = model.training, False
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch", max=largest)},))
    model.training = was_training
    return program


# %% wrong="export_dynamic" breaks="restored" says="left in evaluation mode"
# Misunderstands: export works on a copy of the model.
def export_dynamic(model, example, largest):
    batch = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(model.eval(), (example,), dynamic_shapes=({0: batch},))


# %% wrong="export_dynamic" breaks="restored" says="left in evaluation mode"
# Misunderstands: one flag has to be put back. train() gives it to all parts.
def export_dynamic(model, example, largest):
    was_training = model.training
    batch = torch.export.Dim("batch", max=largest)
    program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: batch},))
    model.train(was_training)
    return program


# %% wrong="export_dynamic" breaks="bound" says="the memory plan needs a bound"
# Misunderstands: dynamic means without limits.
def export_dynamic(model, example, largest):
    return torch.export.export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))


# %% wrong="export_dynamic" breaks="bound" says="the memory plan needs a bound"
# Misunderstands: a bound that is somewhat larger does no harm.
def export_dynamic(model, example, largest):
    batch = torch.export.Dim("batch", max=largest + 1)
    return torch.export.export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=({0: batch},))


# %% wrong="export_dynamic" breaks="axes" says="only axis 0 varies"
# Misunderstands: what may vary should vary.
def export_dynamic(model, example, largest):
    sizes = {axis: torch.export.Dim.AUTO for axis in range(1, example.ndim)} | {0: torch.export.Dim("batch", max=largest)}
    return torch.export.export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=(sizes,))


# %% wrong="export_dynamic" breaks="program" says="return what torch.export.export gives"
# Misunderstands: what runs is what is wanted. The file is made from the program.
def export_dynamic(model, example, largest):
    batch = torch.export.Dim("batch", max=largest)
    return torch.export.export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=({0: batch},)).module()


# %% wrong="export_dynamic" breaks="batches" says="your code raised"
# Misunderstands: the input of every module is called `input`, as that of nn.Sequential.
def export_dynamic(model, example, largest):
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    batch = torch.export.Dim("batch", max=largest)
    program = torch.export.export(model, (example,), dynamic_shapes={"input": {0: batch}})
    for module, flag in flags:
        module.training = flag
    return program


# %% wrong="export_dynamic" breaks="mode" says="was every submodule in eval mode"
# Misunderstands: only nn.Dropout and nn.BatchNorm behave differently in training, so only they need eval mode.
def export_dynamic(model, example, largest):
    special = [m for m in model.modules() if isinstance(m, (nn.Dropout, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))]
    flags = [m.training for m in special]
    for m in special:
        m.eval()
    batch = torch.export.Dim("batch", max=largest)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    for m, flag in zip(special, flags):
        m.train(flag)
    return program


# %% wrong="export_dynamic" breaks="restored" says="requires_grad=False"
# Misunderstands: a program in use needs no gradients, so the model's weights are frozen for the export; that they stay frozen is no change of the weights.
def export_dynamic(model, example, largest):
    flags = [(module, module.training) for module in model.modules()]
    model.eval().requires_grad_(False)
    batch = torch.export.Dim("batch", max=largest)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    for module, flag in flags:
        module.training = flag
    return program


# %% wrong="export_dynamic" breaks="restored" says="left in training mode"
# Misunderstands: train(flag), from the outside to the inside, gives each module its own flag. Not one that stands in two places.
def export_dynamic(model, example, largest):
    flags = [(module, module.training) for module in model.modules()]
    program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch", max=largest)},))
    for module, flag in flags:
        module.train(flag)
    return program


# %% wrong="export_dynamic" breaks="batches" says="are the weights those of the model"
# Misunderstands: a phone computes in float32, so the weights may be rounded to it; the dtype of the result is put back.
def export_dynamic(model, example, largest):
    net = copy.deepcopy(model).eval().float().to(torch.float64 if example.dtype == torch.float64 else torch.float32)
    batch = torch.export.Dim("batch", max=largest)
    return torch.export.export(net, (example,), dynamic_shapes=({0: batch},))


# %% equivalent="export_dynamic" because="the name of the axis is free"
# - batch = torch.export.Dim("batch", max=largest)
# + batch = torch.export.Dim('hctab', max=largest)


# %% wrong="export_dynamic" breaks="restored" says="left in evaluation mode"
# Misunderstands: a model is a tree, so a walk over the children meets each module once. A part in two places is met twice, the second time in eval mode.
def export_dynamic(model, example, largest):
    """`model` as an ExportedProgram in eval behaviour, for inputs like `example` with batches of 1 to `largest`."""
    flags = []

    def to_eval(module):
        flags.append((module, module.training))
        module.training = False
        for child in module.children():
            to_eval(child)

    to_eval(model)
    batch = torch.export.Dim("batch", max=largest)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    for module, flag in flags:
        module.training = flag
    return program


# %% wrong="export_dynamic" breaks="mode" says="was every submodule in eval mode"
# Misunderstands: only the whole and PyTorch's own random layers and norms look at the training flag, no part of one's own.
WITH_A_MODE = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, nn.RReLU, nn.RNNBase, nn.MultiheadAttention)


def export_dynamic(model, example, largest):
    """`model` as an ExportedProgram in eval behaviour, for inputs like `example` with batches of 1 to `largest`."""
    concerned = [m for m in model.modules() if m is model or isinstance(m, WITH_A_MODE)]
    flags = [m.training for m in concerned]
    for m in concerned:
        m.training = False
    batch = torch.export.Dim("batch", max=largest)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    for m, flag in zip(concerned, flags):
        m.training = flag
    return program


# %% wrong="export_dynamic" breaks="restored" says="the model after export_dynamic"
# Misunderstands: a state_dict holds all that a run changes. It has no buffer with persistent=False.
def export_dynamic(model, example, largest):
    """`model` as an ExportedProgram in eval behaviour, for inputs like `example` with batches of 1 to `largest`."""
    state = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model(example)  # an error of the model itself is easier to read than one of the export
    model.load_state_dict(state)
    flags = [(module, module.training) for module in model.modules()]
    batch = torch.export.Dim("batch", max=largest)
    program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: batch},))
    for module, flag in flags:
        module.training = flag
    return program


# %% right="export_dynamic"
# On a copy, and with the dimensions as a list.
def export_dynamic(net, example, largest):
    frozen = copy.deepcopy(net)
    frozen.train(False)
    varying = torch.export.Dim("n", max=largest)
    return torch.export.export(frozen, args=(example,), dynamic_shapes=[{0: varying}], strict=False)


# %% right="export_dynamic"
# The modes come back whatever happens; bounds from 1; every axis named.
@torch.no_grad()
def export_dynamic(model, example, largest):
    training = [module for module in model.modules() if module.training]
    axes = {0: torch.export.Dim("rows", min=1, max=largest)} | dict.fromkeys(range(1, example.ndim))
    try:
        model.eval()
        return torch.export.export(model, (example,), dynamic_shapes=(axes,))
    finally:
        for module in training:
            module.training = True


# %% right="export_dynamic"
# Bounds as a hint, not as a name.
def export_dynamic(model, example, largest):
    net = copy.deepcopy(model).eval()
    return torch.export.export(net, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC(min=1, max=largest)},))


# %% right="export_dynamic"
# The shapes by tensor, in a collection.
def export_dynamic(model, example, largest):
    flags = {name: module.training for name, module in model.named_modules()}
    shapes = torch.export.ShapesCollection()
    shapes[example] = {0: torch.export.Dim("batch", min=1, max=largest)}
    program = torch.export.export(model.eval(), (example,), dynamic_shapes=shapes)
    for name, module in model.named_modules():
        module.training = flags[name]
    return program


# %% wrong="ship_and_run" breaks="delegate" says="the partitioner goes into"
# Misunderstands: the runtime picks a backend by itself.
def ship(program, path, delegate):
    lowered = to_edge_transform_and_lower(program).to_executorch()
    return Path(path).write_bytes(lowered.buffer)


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="delegate" says="the partitioner goes into"
# Misunderstands: a partitioner does no harm, so it may always be there.
def ship(program, path, delegate):
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    return Path(path).write_bytes(lowered.buffer)


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="file" says="not an ExecuTorch program"
# Misunderstands: an exported program, saved, is what the runtime loads.
def ship(program, path, delegate):
    torch.export.save(program, path)
    return Path(path).stat().st_size


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="file" says="has written nothing"
# Misunderstands: the suffix is the tool's business.
def ship(program, path, delegate):
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()] if delegate else []).to_executorch()
    return Path(f"{path}.pte").write_bytes(lowered.buffer)


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="file" says="with what was there before"
# Misunderstands: a file that is opened is empty.
def ship(program, path, delegate):
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()] if delegate else []).to_executorch()
    with open(path, "ab") as file:
        file.write(lowered.buffer)
    return Path(path).stat().st_size


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="file" says="with what was there before"
# Misunderstands: what is written over is gone, the rest too.
def ship(program, path, delegate):
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()] if delegate else []).to_executorch()
    with open(path, "r+b" if Path(path).exists() else "wb") as file:
        file.write(lowered.buffer)
    return Path(path).stat().st_size


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="outputs" says="the outputs of the file"
# Misunderstands: the sample file is the program.
def ship(program, path, delegate):
    if delegate:
        return Path(path).write_bytes(SAMPLES["lengths"])
    return Path(path).write_bytes(to_edge_transform_and_lower(program).to_executorch().buffer)


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="size" says="the size that ship returns"
# Misunderstands: the weights are the file.
def ship(program, path, delegate):
    partitioners = [XnnpackPartitioner()] if delegate else []
    Path(path).write_bytes(to_edge_transform_and_lower(program, partitioner=partitioners).to_executorch().buffer)
    return sum(p.numel() * p.element_size() for p in program.state_dict.values())


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="first" says="of type list"
# Misunderstands: a method with one interesting output gives that output.
def ship(program, path, delegate):
    raise NotImplementedError


def run_pte(path, *inputs):
    program = Runtime.get().load_program(path)
    return program.load_method("forward").execute(inputs)


# %% wrong="ship_and_run" breaks="first" says="the first output of"
# Misunderstands: the last output is the result.
def ship(program, path, delegate):
    raise NotImplementedError


def run_pte(path, *inputs):
    program = Runtime.get().load_program(path)
    return program.load_method("forward").execute(inputs)[-1]


# %% wrong="ship_and_run" breaks="forward" says="the first output of"
# Misunderstands: a file has one method.
def ship(program, path, delegate):
    raise NotImplementedError


def run_pte(path, *inputs):
    program = Runtime.get().load_program(path)
    return program.load_method(min(program.method_names)).execute(inputs)[0]


# %% wrong="ship_and_run" breaks="fresh forward" says="from the file as it is now"
# Misunderstands: the model in this process is what the file computes. On the phone there is only the file.
def ship(program, path, delegate):
    raise NotImplementedError


def run_pte(path, *inputs):
    result = SMALL[{1: "lengths", 2: "scaled", 4: "best"}[len(inputs)]](*inputs)
    return (result if len(inputs) == 1 else result[0]).detach()


# %% wrong="ship_and_run" breaks="fresh" says="from the file as it is now"
# Misunderstands: a path means the same file for ever.
def ship(program, path, delegate):
    raise NotImplementedError


LOADED = {}


def run_pte(path, *inputs):
    if str(path) not in LOADED:
        LOADED[str(path)] = Runtime.get().load_program(path)
    return LOADED[str(path)].load_method("forward").execute(inputs)[0]


# %% wrong="ship_and_run" breaks="fresh" says="after the calls that followed"
# Misunderstands: nobody looks at a result twice.
def ship(program, path, delegate):
    raise NotImplementedError


OUTPUTS = {}


def run_pte(path, *inputs):
    program = Runtime.get().load_program(path)
    result = program.load_method("forward").execute(inputs)[0]
    return OUTPUTS.setdefault(tuple(result.shape), torch.empty_like(result)).copy_(result)


# %% wrong="ship_and_run" breaks="file" says="has written nothing"
# Misunderstands: an ExecuTorch file has to end in .pte, so the ending of the path is made so.
def ship(program, path, delegate):
    partitioner = [XnnpackPartitioner()] if delegate else []
    lowered = to_edge_transform_and_lower(program, partitioner=partitioner).to_executorch()
    return Path(path).with_suffix(".pte").write_bytes(lowered.buffer)


def run_pte(path, *inputs):
    program = Runtime.get().load_program(path)
    return program.load_method("forward").execute(list(inputs))[0].clone()


# %% wrong="ship_and_run" breaks="first" says="dtype torch.float32"
# Misunderstands: float32 goes in, so float32 comes out: the first output is copied as float32.
def ship(program, path, delegate):
    partitioner = [XnnpackPartitioner()] if delegate else []
    lowered = to_edge_transform_and_lower(program, partitioner=partitioner).to_executorch()
    return Path(path).write_bytes(lowered.buffer)


def run_pte(path, *inputs):
    program = Runtime.get().load_program(path)
    output = program.load_method("forward").execute(inputs)[0]
    return torch.tensor(output.tolist(), dtype=torch.float32)


# %% wrong="ship_and_run" breaks="file" says="one file, at `path`"
# Misunderstands: a safe write goes through a second file next to the first; that it stays there does no harm.
import shutil


def ship(program, path, delegate):
    partitioner = [XnnpackPartitioner()] if delegate else []
    data = to_edge_transform_and_lower(program, partitioner=partitioner).to_executorch().buffer
    partial = f"{path}.partial"
    Path(partial).write_bytes(data)
    shutil.copyfile(partial, path)
    return len(data)


def run_pte(path, *inputs):
    program = Runtime.get().load_program(path)
    return program.load_method("forward").execute(list(inputs))[0].clone()


# %% wrong="ship_and_run" breaks="first" says="the first output of"
# Misunderstands: a program has one or two inputs.
def ship(program, path, delegate):
    raise NotImplementedError


def run_pte(path, x, y=None, *more):
    program = Runtime.get().load_program(path)
    return program.load_method("forward").execute([x] if y is None else [x, y, *(torch.zeros_like(z) for z in more)])[0]


# %% wrong="ship_and_run" breaks="delegate" says="the partitioner goes into"
# Misunderstands: a backend needs fixed shapes, so a program with a dynamic batch stays with the portable kernels.
def ship(program, path, delegate):
    partitioner = [XnnpackPartitioner()] if delegate and not program.range_constraints else []
    lowered = to_edge_transform_and_lower(program, partitioner=partitioner).to_executorch()
    return Path(path).write_bytes(lowered.buffer)


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="forward" says="✗ run_pte"
# Misunderstands: the first of its method names is that of the program.
def ship(program, path, delegate):
    raise NotImplementedError


def run_pte(path, *inputs):
    program = Runtime.get().load_program(path)
    return program.load_method(next(iter(program.method_names))).execute(inputs)[0]


# %% wrong="ship_and_run" breaks="forward" says="your code raised"
# Misunderstands: helpers come first in the alphabet, the program itself last.
def ship(program, path, delegate):
    raise NotImplementedError


def run_pte(path, *inputs):
    program = Runtime.get().load_program(path)
    return program.load_method(max(program.method_names)).execute(inputs)[0]


# %% wrong="ship_and_run" breaks="first" says="the first output of"
# Misunderstands: the runtime computes at the planned size, so a smaller batch is filled up with zeros and the result cut off.
def ship(program, path, delegate):
    """Write `program` to `path` as a .pte file, with or without XNNPACK; returns the file's size in bytes."""
    partitioners = [XnnpackPartitioner()] if delegate else []
    return Path(path).write_bytes(to_edge_transform_and_lower(program, partitioner=partitioners).to_executorch().buffer)


def run_pte(path, *inputs):
    """The first output of the method `forward` of the .pte file at `path`."""
    loaded = Runtime.get().load_program(Path(path).read_bytes())
    meta, n, full = loaded.metadata("forward"), None, []
    for number, x in enumerate(inputs):
        planned = tuple(meta.input_tensor_meta(number).sizes())
        if x.ndim and planned[0] > len(x):
            n = len(x)
            x = torch.cat([x, x.new_zeros(planned[0] - n, *x.shape[1:])])
        full.append(x)
    result = loaded.load_method("forward").execute(full)[0]
    return result.clone() if n is None else result[:n].clone()


# %% wrong="ship_and_run" breaks="file" says="has written nothing"
# Misunderstands: a program that lies at the path is this program, built earlier.
def ship(program, path, delegate):
    """Write `program` to `path` as a .pte file, with or without XNNPACK; returns the file's size in bytes."""
    path = Path(path)
    built = path.read_bytes() if path.is_file() else b""
    if built[4:6] != b"ET":  # not built yet
        partitioners = [XnnpackPartitioner()] if delegate else []
        built = bytes(to_edge_transform_and_lower(program, partitioner=partitioners).to_executorch().buffer)
        path.write_bytes(built)
    return len(built)


def run_pte(path, *inputs):
    """The first output of the method `forward` of the .pte file at `path`."""
    loaded = Runtime.get().load_program(Path(path).read_bytes())
    return loaded.load_method("forward").execute(inputs)[0].clone()


# %% wrong="ship_and_run" breaks="fresh" says="from the file as it is now"
# Misunderstands: a file with the same length and time of change is the same file.
LOADED = {}


def ship(program, path, delegate):
    """Write `program` to `path` as a .pte file, with or without XNNPACK; returns the file's size in bytes."""
    partitioners = [XnnpackPartitioner()] if delegate else []
    return Path(path).write_bytes(to_edge_transform_and_lower(program, partitioner=partitioners).to_executorch().buffer)


def run_pte(path, *inputs):
    """The first output of the method `forward` of the .pte file at `path`."""
    status = Path(path).stat()
    version = status.st_mtime_ns, status.st_size
    if LOADED.get(str(path), (None,))[0] != version:
        LOADED[str(path)] = version, Runtime.get().load_program(Path(path).read_bytes())
    loaded = LOADED[str(path)][1]
    return loaded.load_method("forward").execute(inputs)[0].clone()


# %% right="ship_and_run"
# Step by step, with open files; the runtime gets bytes.
def ship(program, path, delegate):
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()] if delegate else None)
    executorch_program = edge.to_executorch()
    with open(path, "wb") as file:
        executorch_program.write_to_file(file)
    return Path(path).stat().st_size


def run_pte(path, *inputs):
    runtime = Runtime.get()
    with open(path, "rb") as file:
        loaded = runtime.load_program(file.read())
    first, *_ = loaded.load_method("forward").execute(list(inputs))
    return first


# %% right="ship_and_run"
# The older calls, one step each; programs kept by their content.
import hashlib

from executorch.exir import to_edge

KNOWN = {}


def ship(program, path, delegate):
    edge = to_edge(program)
    if delegate:
        edge = edge.to_backend(XnnpackPartitioner())
    data = edge.to_executorch().buffer
    Path(path).unlink(missing_ok=True)
    Path(path).write_bytes(data)
    return len(data)


def run_pte(path, *inputs):
    data = Path(path).read_bytes()
    key = hashlib.sha256(data).digest()
    KNOWN[key] = KNOWN.get(key) or Runtime.get().load_program(data)
    return KNOWN[key].load_method("forward").execute([*inputs])[0].clone()


# %% wrong="coverage" breaks="left" says="neither getitem nor"
# Misunderstands: every call in the graph is an operator.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name() if hasattr(node.target, "name") else "getitem"] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="delegated" says="count the operators inside"
# Misunderstands: a delegated part is one operator.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += 1
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="delegated" says="count the operators inside the parts"
# Misunderstands: weights and inputs of a part are operators too.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="delegated" says="count the operators inside the parts"
# Misunderstands: picking a result is an operator of the backend.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += len(inside)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="share" says="share of the calls in the outer graph"
# Misunderstands: the share is counted in calls of the outer graph.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": parts / (parts + sum(left.values())) if total else 0.0}


# %% wrong="coverage" breaks="left share" says="Count every time it stands there"
# Misunderstands: left says which operators stay outside, not how many calls of them.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] = 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="share" says="not every name"
# Misunderstands: the number of names outside is the number of operators outside.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    total = delegated + len(left)
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="share" says="your code raised ZeroDivisionError"
# Misunderstands: every graph has an operator.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total}


# %% wrong="coverage" breaks="share" says="of type int"
# Misunderstands: nothing delegated is 0, whatever the type.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if delegated else 0}


# %% wrong="coverage" breaks="share" says="operators delegated, of all operators"
# Misunderstands: a share is a percentage.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": 100.0 * delegated / total if total else 0.0}


# %% wrong="coverage" breaks="parts delegated" says="also that of a part that was called before"
# Misunderstands: a part is counted, not its calls.
def coverage(graph_module):
    outside = [n for n in graph_module.graph.nodes if n.op == "call_function" and n.target is not operator.getitem]
    called = {n.args[0].target for n in outside if n.target is executorch_call_delegate}
    left = Counter(n.target.name() for n in outside if n.target is not executorch_call_delegate)
    inside = [n for name in called for n in getattr(graph_module, name).original_module.graph.nodes]
    delegated = sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
    total = delegated + sum(left.values())
    return {"parts": len(called), "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="delegated" says="also that of a part that was called before"
# Misunderstands: each part's operators are there once, however often it is called.
def coverage(graph_module):
    outside = [n for n in graph_module.graph.nodes if n.op == "call_function" and n.target is not operator.getitem]
    calls = [n.args[0].target for n in outside if n.target is executorch_call_delegate]
    left = Counter(n.target.name() for n in outside if n.target is not executorch_call_delegate)
    inside = [n for name in set(calls) for n in getattr(graph_module, name).original_module.graph.nodes]
    delegated = sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
    total = delegated + sum(left.values())
    return {"parts": len(calls), "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="parts delegated" says="A get_attr node is no call"
# Misunderstands: a part is where it is named. There it is only fetched; constants are fetched too.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op == "get_attr":
            part = getattr(graph_module, node.target)
            inside = part.original_module.graph.nodes if hasattr(part, "original_module") else []
            parts += 1
            delegated += sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
        elif node.op == "call_function" and node.target not in (operator.getitem, executorch_call_delegate):
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="parts" says="count the calls of executorch_call_delegate"
# Misunderstands: parts are known by the name that the tool gives them.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            inside = getattr(graph_module, node.args[0].target).original_module.graph.nodes
            parts += node.args[0].target.startswith("lowered_module")
            delegated += sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="left" says="neither getitem nor"
# Misunderstands: a name without its overload is a name. `sum` and `sum.dim_IntList` are two operators with two kernels.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            inside = getattr(graph_module, node.args[0].target).original_module.graph.nodes
            parts += 1
            delegated += sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name().split(".")[0]] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="unchanged" says="only look at the nodes"
# Misunderstands: a graph without its bookkeeping is the same graph.
def coverage(graph_module):
    graph = graph_module.graph
    for node in reversed(list(graph.nodes)):
        if node.target is operator.getitem:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    outside = [n for n in graph.nodes if n.op == "call_function"]
    calls = [n for n in outside if n.target is executorch_call_delegate]
    left = Counter(n.target.name() for n in outside if n not in calls)
    inside = [n for call in calls for n in getattr(graph_module, call.args[0].target).original_module.graph.nodes]
    delegated = sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
    total = delegated + sum(left.values())
    return {"parts": len(calls), "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="parts left share" says="under other nodes"
# Misunderstands: what a node is can be read from its name: executorch_call_delegate_3, getitem_1.
def coverage(graph_module):
    parts, delegated, left = 0, 0, {}
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.name.startswith("getitem"):
            continue
        if node.name.startswith("executorch_call_delegate"):
            parts += 1
            part = getattr(graph_module, node.args[0].target)
            delegated += sum(n.op == "call_function" and not n.name.startswith("getitem") for n in part.original_module.graph.nodes)
        else:
            left[node.target.name()] = left.get(node.target.name(), 0) + 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": left, "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="delegated left" says="another library"
# Misunderstands: only aten operators are operators; those of other libraries (quantize, dim order) are bookkeeping.
def coverage(graph_module):
    def is_operator(node):
        return node.op == "call_function" and hasattr(node.target, "name") and node.target.name().startswith("aten::")

    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and node.target is executorch_call_delegate:
            parts += 1
            inner = getattr(graph_module, node.args[0].target).original_module.graph
            delegated += sum(map(is_operator, inner.nodes))
        elif is_operator(node):
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="unchanged" says="or that of a part"
# Misunderstands: only the outer graph must stay as it is: the getitem nodes in the parts' own graphs are taken out, then all calls there are operators.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            parts += 1
            inner = getattr(graph_module, node.args[0].target).original_module.graph
            for n in list(inner.nodes):
                if n.op == "call_function" and n.target is operator.getitem:
                    n.replace_all_uses_with(n.args[0])
                    inner.erase_node(n)
            delegated += sum(n.op == "call_function" for n in inner.nodes)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="parts delegated left" says="nobody uses"
# Misunderstands: a node whose result nobody uses is dead and is not counted.
def coverage(graph_module):
    def calls(graph):
        return [n for n in graph.nodes if n.op == "call_function" and n.target is not operator.getitem and len(n.users) > 0]

    parts, delegated, left = 0, 0, Counter()
    for node in calls(graph_module.graph):
        if node.target is executorch_call_delegate:
            parts += 1
            delegated += len(calls(getattr(graph_module, node.args[0].target).original_module.graph))
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="parts" says="the call of a part whose result nobody uses"
# Misunderstands: a part that is called and whose result nobody uses is no part of the program.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.target is executorch_call_delegate:
            parts += len(node.users) > 0
            inside = getattr(graph_module, node.args[0].target).original_module.graph.nodes
            delegated += sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
        elif node.op == "call_function" and node.target is not operator.getitem:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="delegated" says="count the operators inside the parts"
# Misunderstands: reading a size is bookkeeping, at least inside a part.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target not in (operator.getitem, torch.ops.aten.sym_size.int) for n in inside)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="unchanged" says="only look at the nodes"
# Misunderstands: `meta` is there for notes of one's own.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            node.meta["outside"] = True
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="unchanged" says="`meta` of a node holds something else"
# Misunderstands: what meta holds is free for notes: the traced value of every node is dropped to save memory.
def coverage(graph_module):
    for node in graph_module.graph.nodes:
        if "val" in node.meta:
            node.meta["val"] = None
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="unchanged" says="`meta` of a node holds something else"
# Misunderstands: what stands inside a value of meta may be changed: notes are added to the stack of modules, in the parts' nodes.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            parts += 1
            for n in part.original_module.graph.nodes:
                if n.op == "call_function" and n.target is not operator.getitem:
                    n.meta.get("nn_module_stack", {})["counted"] = ("", "")
                    delegated += 1
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="unchanged" says="its parts or constants are others"
# Misunderstands: a part that was counted is no longer needed in the module.
def coverage(graph_module):
    parts, delegated, left, seen = 0, 0, Counter(), set()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            seen.add(node.args[0].target)
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    for name in seen:
        delattr(graph_module, name)
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="unchanged" says="is another one: only look at the nodes"
# Misunderstands: a graph without dead nodes, put in its place, is the same graph.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            inside = [n for n in part.original_module.graph.nodes if n.op == "call_function"]
            parts += 1
            delegated += sum(n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    clean = copy.deepcopy(graph_module.graph)
    clean.eliminate_dead_code()
    graph_module.graph = clean
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="unchanged" says="have other attributes"
# Misunderstands: a note on a part, for the next time, does not change the graph module.
def coverage(graph_module):
    """What the backend took of a lowered graph: a dictionary with parts, delegated, left and share."""
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            parts += 1
            part = getattr(graph_module, node.args[0].target)
            if not hasattr(part, "operators"):
                inside = part.original_module.graph.nodes
                part.operators = sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
            delegated += part.operators
        else:
            left[node.target.name()] += 1
    everything = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / everything if everything else 0.0}


# %% wrong="coverage" breaks="parts left" says="the calls of executorch_call_delegate"
# Misunderstands: a call whose first argument is a get_attr node is the call of a part. It may be an operator on a constant.
def coverage(graph_module):
    """What the backend took of a lowered graph: a dictionary with parts, delegated, left and share."""
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        first = node.args[0] if node.args else None
        if getattr(first, "op", "") == "get_attr":
            parts += 1
            original = getattr(getattr(graph_module, first.target), "original_module", None)
            inside = original.graph.nodes if original is not None else []
            delegated += sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] += 1
    everything = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / everything if everything else 0.0}


# %% wrong="coverage" breaks="left" says="your code raised IndexError"
# Misunderstands: each call has a first argument.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        part = getattr(graph_module, str(node.args[0].target), None) if node.args[0].op == "get_attr" else None
        if hasattr(part, "original_module"):
            parts += 1
            delegated += sum(n.op == "call_function" and n.target is not operator.getitem for n in part.original_module.graph.nodes)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" breaks="unchanged" says="have other attributes"
# Misunderstands: what was counted once may be kept with the graph module.
def coverage(graph_module):
    if not hasattr(graph_module, "found"):
        parts, delegated, left = 0, 0, Counter()
        for node in graph_module.graph.nodes:
            if node.target is executorch_call_delegate:
                inside = getattr(graph_module, node.args[0].target).original_module.graph.nodes
                parts += 1
                delegated += sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
            elif node.op == "call_function" and node.target is not operator.getitem:
                left[node.target.name()] += 1
        total = delegated + sum(left.values())
        graph_module.found = {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}
    return graph_module.found


# %% right="coverage"
# Lists first, counting afterwards.
def coverage(gm):
    def operators(graph):
        return [n for n in graph.nodes if n.op == "call_function" and n.target is not operator.getitem]

    outer = operators(gm.graph)
    calls = [n for n in outer if n.target == executorch_call_delegate]
    inner = [n for call in calls for n in operators(gm.get_submodule(call.args[0].target).original_module.graph)]
    left = {}
    for n in outer:
        if n not in calls:
            left[n.target.name()] = left.get(n.target.name(), 0) + 1
    everything = len(inner) + len(outer) - len(calls)
    return dict(parts=len(calls), delegated=len(inner), left=left, share=float(len(inner) / everything) if everything else 0.0)


# %% right="coverage"
# From the parts' names: how often each is called.
def coverage(graph_module):
    """What the backend took of a lowered graph: a dictionary with parts, delegated, left and share."""

    def operators(graph):
        return [n for n in graph.nodes if n.op == "call_function" and n.target is not operator.getitem]

    calls, parts, delegated = operators(graph_module.graph), 0, 0
    for name, part in graph_module.named_children():
        times = sum(n.target is executorch_call_delegate and n.args[0].target == name for n in calls)
        parts += times
        delegated += times * len(operators(part.original_module.graph)) if times else 0
    left = Counter(n.target.name() for n in calls if n.target is not executorch_call_delegate)
    everything = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / everything if everything else 0.0}


# %% right="coverage"
# By find_nodes and Counters, without a loop over all kinds.
def coverage(graph_module):
    def count(graph):
        return Counter(node.target for node in graph.find_nodes(op="call_function", target=operator.getitem, sort=False)).total()

    def functions(graph):
        return [node for node in graph.nodes if node.op == "call_function"]

    calls = graph_module.graph.find_nodes(op="call_function", target=executorch_call_delegate)
    graphs = [getattr(graph_module, node.args[0].target).original_module.graph for node in calls]
    delegated = sum(len(functions(graph)) - count(graph) for graph in graphs)
    bookkeeping = {operator.getitem, executorch_call_delegate}
    left = Counter(node.target.name() for node in functions(graph_module.graph) if node.target not in bookkeeping)
    return {"share": delegated / max(1, delegated + left.total()), "parts": len(calls), "left": left, "delegated": delegated}


# %% wrong="repair" breaks="exports" says="does not get through torch.export"
# Misunderstands: `item()` turns the question into a plain number that export can follow.
def gate(x):
    return x.relu() if x.mean().item() > 0 else -x


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="exports" says="does the graph still ask for the mean"
# Misunderstands: the answer for the example is the answer. While it is exported a gradient is never recorded.
def gate(x):
    if torch.compiler.is_exporting():
        return x.relu()
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="gate" says="asks every value"
# Misunderstands: the condition is asked for every value.
def gate(x):
    return torch.where(x > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="gate" says="the mean of each row"
# Misunderstands: the mean of each row decides on it.
def gate(x):
    return torch.where(x.mean(-1, keepdim=True) > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="gate" says="exactly 0 is not above 0"
# Misunderstands: not negative is positive.
def gate(x):
    return torch.where(x.mean() >= 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="gate" says="must stay as it was"
# Misunderstands: what is computed may be kept in the input.
def gate(x):
    x.copy_(torch.where(x.mean() > 0, x.relu(), -x))
    return x


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="runs" says="loading the file in the runtime"
# Misunderstands: what lowers can also be loaded.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).sort(dim=-1).values[..., window // 2]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="runs" says="torch.export or lowering"
# Misunderstands: any operator that finds the k-th value will do.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).kthvalue(window // 2 + 1, dim=-1).values


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="median" says="That is the mean"
# Misunderstands: the mean smooths as well as the median.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).mean(dim=-1)


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="median" says="Equal values must count too"
# Misunderstands: the median is the value that is larger than half of the others. With equal values there may be none.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    pieces = x.unfold(-1, window, 1)
    smaller = (pieces[..., :, None] > pieces[..., None, :]).sum(-1)
    return (pieces * (smaller == window // 2)).sum(-1)


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="median" says="it must compute what MedianFilter"
# Misunderstands: the middle of a window is at half of it. Of the largest it is one more.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(max(window // 2, 1), dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="median" says="it must compute what MedianFilter"
# Misunderstands: windows are of 5, as in the example.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    if window == 1:
        return x.clone()
    return x.unfold(-1, window, 1).topk(min(3, window), dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="delegated" says="a fixed kernel will do"
# Misunderstands: another spelling of the same operator changes where it runs.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return nn.AdaptiveAvgPool2d((2, 2))(x)


# %% wrong="repair" breaks="delegated" says="a fixed kernel will do"
# Misunderstands: a mean is a mean, for XNNPACK too.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, 2, h // 2, 2, w // 2).mean((3, 5))


# %% wrong="repair" breaks="pool" says="That is a kernel of 2"
# Misunderstands: the kernel is as large as the result.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, 2)


# %% wrong="repair" breaks="pool" says="expected (3, 1, 2, 2)"
# Misunderstands: a picture is square.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, x.shape[2] // 2)


# %% wrong="repair" breaks="pool" says="expected (1, 1, 2, 2)"
# Misunderstands: pictures are large. A quarter of one row has no half.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (max(x.shape[2] // 2, 2), max(x.shape[3] // 2, 2)))


# %% wrong="repair" breaks="gate" says="choose by the mean"
# Misunderstands: a mean counts as positive only above a small threshold, for the rounding.
def gate(x):
    return torch.where(x.mean() > 1e-6, x.relu(), -x)


def median_filter(x, window):
    half = window // 2
    return x.unfold(1, window, 1).topk(half + 1, dim=2).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="median" says="it must compute what MedianFilter"
# Misunderstands: a million is as good as infinity for what is not the median.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    pieces = x.unfold(1, window, 1)
    not_above = (pieces.unsqueeze(-2) <= pieces.unsqueeze(-1)).float().sum(-1)
    return torch.where(not_above > window // 2, pieces, 1e6).amin(-1)


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="gate" says="choose by the mean"
# Misunderstands: a mean of floats is never exactly 0, so one that is small beside the values must count as 0.
def gate(x):
    return torch.where(x.mean() > 1e-4 * x.abs().amax(), x.relu(), -x)


def median_filter(x, window):
    return x.unfold(1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="median" says="it must compute what MedianFilter"
# Misunderstands: no float32 lies below -1e30, so that it can stand for minus infinity.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    pieces = x.unfold(1, window, 1)
    below = (pieces[..., :, None] > pieces[..., None, :]).sum(-1)
    upto = (pieces[..., :, None] >= pieces[..., None, :]).sum(-1)
    return torch.where((below <= window // 2) & (upto > window // 2), pieces, -1e30).amax(-1)


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="median" says="it must compute what MedianFilter"
# Misunderstands: no float32 lies above 1e38.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    pieces = x.unfold(1, window, 1)
    below = (pieces[..., :, None] > pieces[..., None, :]).sum(-1)
    upto = (pieces[..., :, None] >= pieces[..., None, :]).sum(-1)
    return torch.where((below <= window // 2) & (upto > window // 2), pieces, 1e38).amin(-1)


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="runs" says="loading the file in the runtime"
# Misunderstands: only small windows need operators of the runtime.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    if window > 7:
        return x.unfold(-1, window, 1).sort(dim=-1).values[..., window // 2]
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="gate" says="choose by the mean"
# Misunderstands: a mean of a hundred roundings of float32 is as good as 0.
def gate(x):
    rounding = 100 * torch.finfo(x.dtype).eps * x.abs().amax()
    return torch.where(x.mean() > rounding, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" breaks="delegated" says="a fixed kernel will do"
# Misunderstands: a backend's pooling has small kernels only.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    kernel = x.shape[2] // 2, x.shape[3] // 2
    if max(kernel) > 7:
        return F.adaptive_avg_pool2d(x, (2, 2))
    return F.avg_pool2d(x, kernel)


# %% wrong="repair" breaks="median" says="it must compute what MedianFilter"
# Misunderstands: the mean of equal values is that value, however large they are (their sum is infinite).
def gate(x):
    """`x.relu()` where the mean of all of x is above 0, `-x` otherwise; the shape of x."""
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    """The median of every `window` neighbours along the last axis: (n, t) -> (n, t - window + 1)."""
    half = window // 2
    pieces = x.unfold(-1, window, 1)
    below = (pieces[..., None] > pieces[..., None, :]).long().sum(-1)
    up_to = (pieces[..., None] >= pieces[..., None, :]).long().sum(-1)
    chosen = (below <= half) & (up_to > half)  # all values that are equal to the median
    return torch.where(chosen, pieces, 0.0).sum(-1) / chosen.float().sum(-1)


def pool(x):
    """The mean of each quarter: (n, c, h, w) -> (n, c, 2, 2)."""
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% right="repair"
# By arithmetic, by the smaller end, by a stride given explicitly.
def gate(x):
    positive = (x.mean() > 0).to(x.dtype)
    return positive * x.clamp(min=0) - (1 - positive) * x


def median_filter(x, window):
    pieces = torch.stack([x[:, i : x.shape[1] - window + 1 + i] for i in range(window)], dim=-1)
    return pieces.topk(window // 2 + 1, largest=False).values.amax(-1)


def pool(x):
    size = [x.shape[-2] // 2, x.shape[-1] // 2]
    return F.avg_pool2d(x, kernel_size=size, stride=size)


# %% right="repair"
# Means below a millionth of the values do not occur, so that they may count as 0.
def gate(x):
    return torch.where(x.mean() > 1e-6 * x.abs().mean(), x.relu(), -x)


def median_filter(x, window):
    return x.unfold(1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% right="repair"
# A network of minimum and maximum for windows that come, sort for others.
def gate(x):
    """`x.relu()` where the mean of all of x is above 0, `-x` otherwise; the shape of x."""
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    """The median of every `window` neighbours along the last axis: (n, t) -> (n, t - window + 1)."""
    if window > 9:  # too many comparisons to write them out
        return x.unfold(-1, window, 1).sort(dim=-1).values[..., window // 2]
    length = x.shape[1] - window + 1
    columns = [x[:, i : i + length] for i in range(window)]
    for last in range(window - 1, window // 2 - 1, -1):
        for i in range(last):
            low, high = torch.minimum(columns[i], columns[i + 1]), torch.maximum(columns[i], columns[i + 1])
            columns[i], columns[i + 1] = low, high
    return columns[window // 2] * 1.0


def pool(x):
    """The mean of each quarter: (n, c, h, w) -> (n, c, 2, 2)."""
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% right="repair"
# Means below two roundings of float32 do not occur.
def gate(x):
    """`x.relu()` where the mean of all of x is above 0, `-x` otherwise; the shape of x."""
    rounding = 2 * torch.finfo(x.dtype).eps * x.abs().max()
    return torch.where(x.mean() > rounding, x.relu(), -x)


def median_filter(x, window):
    """The median of every `window` neighbours along the last axis: (n, t) -> (n, t - window + 1)."""
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    """The mean of each quarter: (n, c, h, w) -> (n, c, 2, 2)."""
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% right="repair"
# A fixed kernel for all sizes that are lowered, the adaptive operator for larger ones.
def gate(x):
    """`x.relu()` where the mean of all of x is above 0, `-x` otherwise; the shape of x."""
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    """The median of every `window` neighbours along the last axis: (n, t) -> (n, t - window + 1)."""
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    """The mean of each quarter: (n, c, h, w) -> (n, c, 2, 2)."""
    kernel = x.shape[2] // 2, x.shape[3] // 2
    if max(kernel) > 8:
        return F.adaptive_avg_pool2d(x, (2, 2))
    return F.avg_pool2d(x, kernel)


# %% right="repair"
# PyTorch's own cure for a Python `if`; by ranks that count equal values; the others as in the solution.
def gate(x):
    return torch.cond(x.mean() > 0, lambda t: t.relu(), lambda t: -t, (x,))


def median_filter(x, window):
    pieces = x.unfold(-1, window, 1)
    below = (pieces[..., :, None] > pieces[..., None, :]).sum(-1)
    upto = (pieces[..., :, None] >= pieces[..., None, :]).sum(-1)
    middle = (below <= window // 2) & (upto > window // 2)
    return torch.where(middle, pieces, -torch.inf).amax(-1)


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="quantise" breaks="calibration" says="were all batches run through"
# Misunderstands: the scales follow from the weights, calibration is optional.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="calibration" says="`example` are no calibration"
# Misunderstands: one example is calibration enough.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    prepared(example)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="calibration" says="`example` are no calibration"
# Misunderstands: the example is an input like all others.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in [example, *batches]:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="calibration" says="Only the first batch was seen"
# Misunderstands: batches are alike, one is enough.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    prepared(batches[0])
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="calibration" says="The last batch was not seen"
# Misunderstands: the last batch may be kept for a test.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches[:-1]:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="calibration" says="The first batch was not seen"
# Misunderstands: the first batch was the example, it has been through.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches[1:]:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="calibration" says="Only the first batch was seen"
# Misunderstands: the batch with the largest value shows the whole range, so it is enough.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    prepared(max(batches, key=lambda batch: float(batch.abs().max())))
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="channel" says="is_per_channel=True"
# Misunderstands: one scale a tensor is as good, since a weight is one tensor.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config())
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="static" says="found anew for each input"
# Misunderstands: scales that follow each input are better, so they are what is wanted. The calibration is then for nothing.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="converted" says="convert_pt2e comes last"
# Misunderstands: the prepared graph already computes in int8.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return prepared


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="converted" says="no GraphModule"
# Misunderstands: what will be lowered is an exported program, so that is what is returned.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return torch.export.export(convert_pt2e(prepared), (example,))


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="mode" says="was every submodule in eval mode at the export"
# Misunderstands: a model comes in the mode that is needed.
def quantise(model, example, batches):
    graph = torch.export.export(model, (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="mode" says="was every submodule in eval mode at the export"
# Misunderstands: the flag of the whole speaks for its parts.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval() if model.training else model, (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="restored" says="is left in evaluation mode"
# Misunderstands: export works on a copy of the model.
def quantise(model, example, batches):
    graph = torch.export.export(model.eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="decibels" says="Ten times the logarithm"
# Misunderstands: decibels are 20 times the logarithm of any ratio.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    return float(20 * torch.log10(expected.square().sum() / (observed - expected).square().sum()))


# %% wrong="quantise" breaks="decibels" says="not noise over signal"
# Misunderstands: the error in decibels is the error over the signal.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    return float(10 * torch.log10((observed - expected).square().sum() / expected.square().sum()))


# %% wrong="quantise" breaks="decibels" says="The signal is `expected`"
# Misunderstands: the signal is what comes out.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    return float(10 * torch.log10(observed.square().sum() / (observed - expected).square().sum()))


# %% wrong="quantise" breaks="decibels" says="The decimal logarithm"
# Misunderstands: a logarithm is a logarithm.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    return float(10 * torch.log(expected.square().sum() / (observed - expected).square().sum()))


# %% wrong="quantise" breaks="decibels" says="ten times the decimal logarithm"
# Misunderstands: a small constant keeps from dividing by zero and does no harm. Small tensors are all constant then.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    return float(10 * torch.log10(expected.square().sum() / ((observed - expected).square().sum() + 1e-8)))


# %% wrong="quantise" breaks="decibels" says="no variances"
# Misunderstands: power is variance. An error that shifts all values has none.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    return float(10 * torch.log10(expected.var() / (observed - expected).var()))


# %% wrong="quantise" breaks="number" says="of type torch.Tensor"
# Misunderstands: a tensor without axes is a number.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    return 10 * torch.log10(expected.square().sum() / (observed - expected).square().sum())


# %% wrong="quantise" breaks="channel" says="convolution is still in float32"
# Misunderstands: linear layers are what int8 is for: the quantizer is set for nn.Linear only, convolutions stay in float32.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_module_type(nn.Linear, get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    e, o = expected.double(), observed.double()
    return 10 * math.log10(e.square().sum().item() / (o - e).square().sum().item())


# %% wrong="quantise" breaks="calibration" says="numbers of the batches"
# Misunderstands: a handful of batches is enough for a calibration: it stops after eight.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for number, batch in enumerate(batches):
        if number == 8:
            break
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    e, o = expected.double(), observed.double()
    return 10 * math.log10(e.square().sum().item() / (o - e).square().sum().item())


# %% wrong="quantise" breaks="decibels" says="`sqnr` of"
# Misunderstands: float32 is exact enough for a difference of two float64 tensors.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    e, o = expected.float(), observed.float()
    noise = (o - e).square().sum()
    return (10 * torch.log10(e.square().sum() / noise)).item()


# %% wrong="quantise" breaks="calibration" says="each batch once"
# Misunderstands: what is seen twice is seen better.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in 2 * batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="calibration" says="in their order"
# Misunderstands: the order of a calibration is free.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in reversed(batches):
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="restored" says="only read it"
# Misunderstands: what was used may be thrown away.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    config = get_symmetric_quantization_config(is_per_channel=True)
    prepared = prepare_pt2e(graph, XNNPACKQuantizer().set_global(config))
    while batches:
        prepared(batches.pop(0))
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="restored" says="left with requires_grad=True"
# Misunderstands: the export needs no gradients; afterwards all weights require them, as is usual.
def quantise(model, example, batches):
    flags = [(module, module.training) for module in model.modules()]
    model.eval().requires_grad_(False)
    graph = torch.export.export(model, (example,)).module()
    model.requires_grad_(True)
    for module, flag in flags:
        module.training = flag
    config = get_symmetric_quantization_config(is_per_channel=True)
    prepared = prepare_pt2e(graph, XNNPACKQuantizer().set_global(config))
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="mode" says="was every submodule in eval mode at the export"
# Misunderstands: only modules without parts of their own compute something.
def quantise(model, example, batches):
    net = copy.deepcopy(model)
    for module in net.modules():
        if not list(module.children()):
            module.eval()
    graph = torch.export.export(net, (example,)).module()
    config = get_symmetric_quantization_config(is_per_channel=True)
    prepared = prepare_pt2e(graph, XNNPACKQuantizer().set_global(config))
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="channel" says="Both layers are still in float32"
# Misunderstands: naming the module type is enough, whatever the quantizer makes of it.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    config = get_symmetric_quantization_config(is_per_channel=True)
    prepared = prepare_pt2e(graph, XNNPACKQuantizer().set_module_type(nn.Conv2d, config))
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="channel" says="holds no int8 tensor of shape"
# Misunderstands: a weight behind quantise and dequantise is int8. Without folding it stays in float32 and is rounded at every run.
def quantise(model, example, batches):
    graph = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared, fold_quantize=False)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" breaks="decibels" says="`sqnr` of"
# Misunderstands: a small number in the denominator does no harm. From 80 dB on it can be larger than the noise.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    expected, observed = expected.double(), observed.double()
    return float(10 * torch.log10(expected.square().sum() / ((observed - expected).square().sum() + 1e-12)))


# %% wrong="quantise" breaks="decibels" says="`sqnr` of"
# Misunderstands: no noise is more than 45 dB above the signal.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    ratio = 10 * torch.log10(expected.square().sum() / (observed - expected).square().sum())
    return float(ratio.clamp(-45, 200))


# %% wrong="quantise" breaks="restored" says="the model after quantise"
# Misunderstands: folding a batch norm into its convolution leaves the model as it is because it computes the same.
from torch.nn.utils.fusion import fuse_conv_bn_eval


def quantise(model, example, batches):
    """`model` as an int8 graph for XNNPACK, one weight scale a channel, calibrated on `batches`."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    for parent in [m for m in model.modules() if isinstance(m, nn.Sequential)]:
        for i in range(len(parent) - 1):
            if isinstance(parent[i], nn.Conv2d) and isinstance(parent[i + 1], nn.BatchNorm2d):
                parent[i], parent[i + 1] = fuse_conv_bn_eval(parent[i], parent[i + 1]), nn.Identity().eval()
    graph = torch.export.export(model, (example,)).module()
    for module, flag in flags:
        module.training = flag
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch.clone())
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    """Signal to quantization noise, in decibels."""
    expected, observed = expected.double(), observed.double()
    return float(10 * torch.log10(expected.square().sum() / (observed - expected).square().sum()))


# %% wrong="quantise" breaks="static" says="set_global takes all layers"
# Misunderstands: naming the two kinds of layers is the same as set_global.
def quantise(model, example, batches):
    """`model` as an int8 graph for XNNPACK, one weight scale a channel, calibrated on `batches`."""
    flags = [(module, module.training) for module in model.modules()]
    graph = torch.export.export(model.eval(), (example,)).module()
    for module, flag in flags:
        module.training = flag
    config = get_symmetric_quantization_config(is_per_channel=True)
    quantizer = XNNPACKQuantizer()
    for kind in (nn.Conv2d, nn.Linear):
        quantizer.set_module_type(kind, config)
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch.clone())
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    """Signal to quantization noise, in decibels."""
    expected, observed = expected.double(), observed.double()
    return float(10 * torch.log10(expected.square().sum() / (observed - expected).square().sum()))


# %% right="quantise"
# In small steps, with norms.
def quantise(net, sample, data):
    flags = [(part, part.training) for part in net.modules()]
    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False))
    exported = torch.export.export(net.train(False), args=(sample,), strict=False)
    for part, flag in flags:
        part.training = flag
    observed = prepare_pt2e(exported.module(), quantizer)
    with torch.no_grad():
        [observed(x) for x in data]
    return convert_pt2e(observed)


def sqnr(expected, observed):
    return 20 * (torch.linalg.vector_norm(expected) / torch.linalg.vector_norm(expected - observed)).log10().item()


# %% right="quantise"
# A floor for the noise, far below all that occurs.
def quantise(model, example, batches):
    """`model` as an int8 graph for XNNPACK, one weight scale a channel, calibrated on `batches`."""
    flags = [(module, module.training) for module in model.modules()]
    graph = torch.export.export(model.eval(), (example,)).module()
    for module, flag in flags:
        module.training = flag
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch.clone())
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    """Signal to quantization noise, in decibels."""
    expected, observed = expected.double(), observed.double()
    floor = torch.finfo(torch.float64).eps ** 2
    noise = (observed - expected).square().sum().clamp_min(floor)
    return float(10 * torch.log10(expected.square().sum() / noise))


# %% right="quantise"
# On a copy, for a batch of any size; decibels by Python's own logarithm, in float64.
def quantise(model, example, batches):
    shapes = ({0: torch.export.Dim("rows", max=4096)},)
    graph = torch.export.export(copy.deepcopy(model).eval(), (example.clone(),), dynamic_shapes=shapes).module()
    prepared = prepare_pt2e(graph, XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True)))
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared, fold_quantize=True)


def sqnr(expected, observed):
    error = torch.nn.functional.mse_loss(observed.double(), expected.double())
    return 10.0 * math.log10(expected.double().pow(2).mean() / error)


# %% wrong="compare" breaks="rounds" says="one run of each variant"
# Misunderstands: one variant after the other is just as good. A busy second then hits one variant alone.
def compare(variants, x, expected, clock, warmup, repeats):
    rows = []
    for name, (size, run) in variants.items():
        seconds = []
        for number in range(warmup + repeats):
            begin = clock()
            y = run(x)
            seconds.append(clock() - begin)
        error = float((y - expected).abs().max() / expected.abs().max())
        agree = float((y.argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="rounds" says="one run of each variant"
# Misunderstands: a run more does no harm: here one for the error.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    results, rows = {name: run(x) for name, (_, run) in variants.items()}, []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="rounds" says="one run of each variant"
# Misunderstands: `repeats` counts the warm-up too.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(max(repeats, warmup + 1)):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="clock" says="is there work on a result"
# Misunderstands: what is done with a result belongs to its run.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            y = run(x)
            results[name] = (y, (y - expected).abs().max() / expected.abs().max())
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float(results[name][1])
        agree = float((results[name][0].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="clock" says="what happens between two runs"
# Misunderstands: the end of one run is the beginning of the next. The time between them then counts too.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    last = clock()
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            results[name] = run(x)
            now = clock()
            seconds[name].append(now - last)
            last = now
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="clock" says="what happens between two runs"
# Misunderstands: a clock may be read at any time, for instance to have the time of the whole.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    whole = clock()
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="warmup" says="The warm-up does not count"
# Misunderstands: with a median the warm-up need not be left out.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="warmup" says="the median of the rounds after the warm-up"
# Misunderstands: one round of warm-up is always enough.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][min(warmup, 1):])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="median" says="That is the mean"
# Misunderstands: the mean is a fair summary of times. One interrupted run decides it.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.mean(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="median" says="mean of the two in the middle"
# Misunderstands: the median is a time that was measured. With an even number of rounds it is the mean of the two in the middle.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * float(torch.tensor(seconds[name][warmup:], dtype=torch.float64).median())
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="median" says="the median of the rounds"
# Misunderstands: the clock gives milliseconds.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="median" says="the median of the rounds"
# Misunderstands: the fastest run is the truth.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * min(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="kb" says="That is KiB"
# Misunderstands: a kilobyte has 1,024 bytes.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1024, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="error" says="by the largest |expected|"
# Misunderstands: relative error is taken value by value. A logit near zero then decides it.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float(((results[name] - expected) / expected.abs().clamp(min=1e-6)).abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="error" says="the largest absolute difference over"
# Misunderstands: the largest logit is the largest magnitude.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="error" says="the largest absolute difference over"
# Misunderstands: differences have no sign if they are small.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="agree" says="the share of rows, not of logits"
# Misunderstands: the largest logit of the whole table decides.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(0) == expected.argmax(0)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="agree" says="the share of rows"
# Misunderstands: a number of rows says as much as a share.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().sum())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="last" says="the first run, not of the last"
# Misunderstands: a program gives the same at each run.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            y = run(x)
            results.setdefault(name, y)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="floats" says="of type int"
# Misunderstands: a whole number of kilobytes is exact enough.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size // 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="floats" says="of type torch.Tensor"
# Misunderstands: a tensor without axes is a number.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = (results[name] - expected).abs().max() / expected.abs().max()
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="sorted" says="the smallest median comes first"
# Misunderstands: a table is in the order in which it was asked for.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return rows


# %% wrong="compare" breaks="sorted" says="equal ones stay in their order"
# Misunderstands: equal times may be sorted by name.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: (row["ms"], row["name"]))


# %% wrong="compare" breaks="sorted" says="equal ones stay in their order"
# Misunderstands: turning a list around sorts it the other way.
def compare(variants, x, expected, clock, warmup, repeats):
    seconds, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x)
            seconds[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).float().mean())
        ms = 1000 * statistics.median(seconds[name][warmup:])
        rows.append({"name": name, "kb": size / 1000, "ms": ms, "error": error, "agree": agree})
    return sorted(rows, key=lambda row: -row["ms"])[::-1]


# %% wrong="compare" breaks="error" says="the largest absolute difference over"
# Misunderstands: a division by something small has to be kept away from: the scale of the logits is at least 0.001.
def compare(variants, x, expected, clock, warmup, repeats):
    times, last = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            last[name] = run(x)
            taken = clock() - begin
            if number >= warmup:
                times[name].append(taken)
    scale = expected.abs().max().clamp(min=0.001)
    rows = [
        {
            "name": name,
            "kb": size / 1000,
            "ms": float(1000 * statistics.median(times[name])),
            "error": float((last[name] - expected).abs().max() / scale),
            "agree": float((last[name].argmax(1) == expected.argmax(1)).float().mean()),
        }
        for name, (size, _) in variants.items()
    ]
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="sorted" says="the smallest median comes first"
# Misunderstands: times that differ by less than a hundredth of a millisecond are equal, so such variants stay in the order of the dictionary.
def compare(variants, x, expected, clock, warmup, repeats):
    times, last = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            last[name] = run(x)
            taken = clock() - begin
            if number >= warmup:
                times[name].append(taken)
    rows = [
        {
            "name": name,
            "kb": size / 1000,
            "ms": float(1000 * statistics.median(times[name])),
            "error": float((last[name] - expected).abs().max() / expected.abs().max()),
            "agree": float((last[name].argmax(1) == expected.argmax(1)).float().mean()),
        }
        for name, (size, _) in variants.items()
    ]
    return sorted(rows, key=lambda row: round(row["ms"], 2))


# %% wrong="compare" breaks="clock" says="or on `x`, between the two readings"
# Misunderstands: a copy of the input, made between the two readings, costs nothing and belongs to the run.
def compare(variants, x, expected, clock, warmup, repeats):
    taken, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            results[name] = run(x.clone())
            taken[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).double().mean())
        rows.append({"name": name, "kb": size / 1000, "ms": 1000 * statistics.median(taken[name][warmup:]), "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% wrong="compare" breaks="sorted" says="equal ones stay in their order"
# Misunderstands: of equally fast variants the better one comes first.
def compare(variants, x, expected, clock, warmup, repeats):
    """Size, latency and error of each variant, fastest first: a list of dictionaries."""
    taken, last = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            last[name] = run(x)
            end = clock()
            if number >= warmup:
                taken[name].append(end - begin)
    rows = [
        {
            "name": name,
            "kb": size / 1000,
            "ms": 1000 * statistics.median(taken[name]),
            "error": float((last[name] - expected).abs().max() / expected.abs().max()),
            "agree": float((last[name].argmax(1) == expected.argmax(1)).double().mean()),
        }
        for name, (size, _) in variants.items()
    ]
    return sorted(rows, key=lambda row: (row["ms"], row["error"]))


# %% right="compare"
# Each variant gets a copy of x of its own, made before the clock is read.
def compare(variants, x, expected, clock, warmup, repeats):
    taken, results = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            given = x.clone()
            begin = clock()
            results[name] = run(given)
            taken[name].append(clock() - begin)
    rows = []
    for name, (size, _) in variants.items():
        error = float((results[name] - expected).abs().max() / expected.abs().max())
        agree = float((results[name].argmax(1) == expected.argmax(1)).double().mean())
        rows.append({"name": name, "kb": size / 1000, "ms": 1000 * statistics.median(taken[name][warmup:]), "error": error, "agree": agree})
    return sorted(rows, key=lambda row: row["ms"])


# %% right="compare"
# Times as one tensor of rounds by variants, the warm-up cut off at the end.
def compare(variants, x, expected, clock, warmup, repeats):
    names, times, outputs = list(variants), [], {}
    for _ in range(warmup + repeats):
        row = []
        for name in names:
            start = clock()
            outputs[name] = variants[name][1](x)
            row.append(clock() - start)
        times.append(row)
    times = torch.tensor(times, dtype=torch.float64)[warmup:].quantile(0.5, dim=0)
    table = []
    for i in times.argsort(stable=True).tolist():
        y = outputs[names[i]]
        wrong = torch.count_nonzero(y.argmax(dim=-1) - expected.argmax(dim=-1)).item()
        table.append(
            dict(
                name=names[i],
                kb=variants[names[i]][0] / 1e3,
                ms=times[i].item() * 1e3,
                error=torch.dist(y, expected, p=float("inf")).item() / expected.abs().max().item(),
                agree=1 - wrong / len(y),
            )
        )
    return table


# %% right="compare"
# Sorted by rounded times: those that differ differ by more.
def compare(variants, x, expected, clock, warmup, repeats):
    """Size, latency and error of each variant, fastest first: a list of dictionaries."""
    taken, last = {name: [] for name in variants}, {}
    for number in range(warmup + repeats):
        for name, (_, run) in variants.items():
            begin = clock()
            last[name] = run(x)
            end = clock()
            if number >= warmup:
                taken[name].append(end - begin)
    rows = [
        {
            "name": name,
            "kb": size / 1000,
            "ms": 1000 * statistics.median(taken[name]),
            "error": float((last[name] - expected).abs().max() / expected.abs().max()),
            "agree": float((last[name].argmax(1) == expected.argmax(1)).double().mean()),
        }
        for name, (size, _) in variants.items()
    ]
    return sorted(rows, key=lambda row: round(row["ms"], 3))


# %% right="compare"
# Times by function, since each variant has its own.
def compare(variants, x, expected, clock, warmup, repeats):
    """Size, latency and error of each variant, fastest first: a list of dictionaries."""
    taken, last = {run: [] for _, run in variants.values()}, {}
    for number in range(warmup + repeats):
        for _, run in variants.values():
            begin = clock()
            last[run] = run(x)
            end = clock()
            if number >= warmup:
                taken[run].append(end - begin)
    rows = [
        {
            "name": name,
            "kb": size / 1000,
            "ms": 1000 * statistics.median(taken[run]),
            "error": float((last[run] - expected).abs().max() / expected.abs().max()),
            "agree": float((last[run].argmax(1) == expected.argmax(1)).double().mean()),
        }
        for name, (size, run) in variants.items()
    ]
    return sorted(rows, key=lambda row: row["ms"])


# %% right="compare"
# A warm-up without a clock; numbers by NumPy and plain Python.
def compare(variants, x, expected, clock, warmup, repeats):
    def timed(run):
        begin = clock()
        result = run(x)
        end = clock()
        return end - begin, result

    for _ in range(warmup):
        for _, run in variants.values():
            run(x)
    rounds = [[timed(run) for _, run in variants.values()] for _ in range(repeats)]
    truth = expected.numpy()
    rows = []
    for (name, (size, _)), *runs in zip(variants.items(), *rounds):
        logits = runs[-1][1].detach().cpu().numpy()
        middle = sorted(seconds for seconds, _ in runs)
        ms = 500 * (middle[(repeats - 1) // 2] + middle[repeats // 2])
        error, agree = abs(logits - truth).max() / abs(truth).max(), (logits.argmax(-1) == truth.argmax(-1)).mean()
        rows.append({"ms": ms, "name": name, "kb": size * 1e-3, "error": error.item(), "agree": agree.item()})
    rows.sort(key=operator.itemgetter("ms"))
    return rows


# %% wrong="accept" breaks="form values every_run input earlier refused" says="Still unseen"
# Misunderstands: one picture, as in the demo, shows that the program is right.
def accept(run, model, largest):
    x = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        expected = model(x)
    assert (run(x) - expected).abs().max() <= 0.001 * expected.abs().max()


# %% wrong="accept" breaks="returns" says="reject a correct implementation"
# Misunderstands: two correct programs give the same bits.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert torch.equal(result, expected)
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="returns" says="reject a correct implementation"
# Misunderstands: the limit is a number, whatever the scale.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="returns" says="reject a correct implementation"
# Misunderstands: each value may be off by a share of itself.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert ((result - expected).abs() <= 0.001 * expected.abs()).all()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="returns" says="on a correct implementation"
# Misunderstands: every program refuses by the error of the one that was tried.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except RuntimeError:
        return
    assert False


# %% wrong="accept" breaks="returns" says="reject a correct implementation"
# Misunderstands: any numbers will do for pictures. A program need not be right for numbers that no picture has.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = 5 * torch.randn(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="returns" says="reject a correct implementation"
# Misunderstands: an AssertionError can only come from the test.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except AssertionError:
        raise
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="form values every_run input earlier refused" says="Still unseen"
# Misunderstands: a test says False. Nobody reads what it returns.
def accept(run, model, largest):
    x = torch.rand(largest, 1, 16, 16)
    with torch.no_grad():
        return bool((run(x) - model(x)).abs().max() < 1e-3)


# %% wrong="accept" breaks="form" says="float64 results"
# Misunderstands: more digits can do no harm.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="form" says="no batch axis for a single picture"
# Misunderstands: what can be subtracted has the same shape.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="values" says="one value of a full batch is NaN"
# Misunderstands: what is not too large is small enough. A comparison with NaN is always false.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        if (result - expected).abs().max() > 0.001 * expected.abs().max():
            raise AssertionError
        assert all(torch.equal(old.nan_to_num(), copied.nan_to_num()) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="values" says="one value is off by 0.0015 of the scale"
# Misunderstands: the mean error is the error.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().mean() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="values" says="one value is too low"
# Misunderstands: a difference is positive.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="values" says="wrong for a full batch only"
# Misunderstands: each picture is computed alone, so one at a time is enough; the full batch need only run.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        if batch == 1:
            assert result.dtype == torch.float32 and result.shape == expected.shape
            assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="values every_run" says="wrong for a single picture only"
# Misunderstands: the largest batch contains all smaller ones.
def accept(run, model, largest):
    seen = []
    for batch in 6 * [largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="every_run" says="third run of a full batch"
# Misunderstands: what is right twice is right.
def accept(run, model, largest):
    seen = []
    for batch in 2 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="every_run" says="third run of a single picture"
# Misunderstands: only a full batch wears a program out.
def accept(run, model, largest):
    seen = []
    for batch in [1, largest, 1, largest, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="input" says="clips its input, in place"
# Misunderstands: if the model gives the same for the input afterwards, the input is the same.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        with torch.no_grad():
            expected = model(x)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="input" says="the input of a single picture only"
# Misunderstands: what spoils an input spoils a full batch too.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert batch == 1 or torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="input" says="changes one pixel"
# Misunderstands: an input that is changed is changed at the first run.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert len(seen) > 1 or torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="earlier" says="results share one buffer"
# Misunderstands: comparing at once is enough. What the next run does to a result is never seen.
def accept(run, model, largest):
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="earlier" says="results of single pictures share one buffer"
# Misunderstands: only the results of full batches need room of their own.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        if batch > 1:
            seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="earlier every_run" says="share one buffer"
# Misunderstands: a result must live until the next run.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen[-1:])
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="refused" says="no bound at all"
# Misunderstands: what is larger than planned fails by itself.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))


# %% wrong="accept" breaks="refused" says="largest + 1 is accepted"
# Misunderstands: far too much is too much; the limit itself is not looked at.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(10 * largest, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" breaks="refused" says="too large a batch gives None"
# Misunderstands: nothing is a refusal.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        refused = run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert refused is None


# %% wrong="accept" breaks="values earlier" says="right only after the next run"
# Misunderstands: it is enough to compare all results with the model at the end: a later run that repairs an earlier result, or changes it by less than the tolerance, is no fault.
def accept(run, model, largest):
    kept = []
    for n in 3 * [1, largest]:
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            kept.append((result, model(before)))
    for result, expected in kept:
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="earlier" says="a single picture spoils"
# Misunderstands: single pictures are tested first, then full batches: that a single picture comes after a full batch, and writes into its result, is not needed.
def accept(run, model, largest):
    earlier = []
    for n in 3 * [1] + 3 * [largest]:
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in earlier)
        earlier.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="input" says="by a millionth"
# Misunderstands: an input is unchanged if it is close to what it was: torch.allclose.
def accept(run, model, largest):
    earlier = []
    for n in (1, 1, largest, largest, 1, largest):
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.allclose(x, before), "the input was changed"
        with torch.no_grad():
            expected = model(before)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in earlier)
        earlier.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="earlier" says="in its last bit"
# Misunderstands: an earlier result is unchanged if it is close to what it was: torch.allclose.
def accept(run, model, largest):
    earlier = []
    for n in 3 * [1, largest]:
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.allclose(old, copied) for old, copied in earlier)
        earlier.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="earlier" says="the third run of a size changes the first result"
# Misunderstands: the last result of each size is the only one that a later run can reach.
def accept(run, model, largest):
    last = {}
    for n in 3 * [1, largest]:
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in last.values())
        last[n] = (result, result.clone())
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="values returns" says="of the scale"
# Misunderstands: one full batch tells how large values are, for every batch.
def accept(run, model, largest):
    with torch.no_grad():
        tolerance = 0.001 * model(torch.rand(largest, 1, 16, 16)).abs().max()
    earlier = []
    for n in 3 * [1, largest]:
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= tolerance
        assert all(torch.equal(old, copied) for old, copied in earlier)
        earlier.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="form every_run" says="a full batch is refused"
# Misunderstands: an error of `run` is a refusal, whatever the batch.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        try:
            result = run(x)
        except Exception:
            return
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="form" says="float64 results of a full batch"
# Misunderstands: the dtype of one result is that of all.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.shape == expected.shape
        assert batch > 1 or result.dtype == torch.float32
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="form every_run" says="float64 results from the third run"
# Misunderstands: shape and dtype are seen in the first run; later only values can change.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        if len(seen) < 2:
            assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="form" says="lists of numbers"
# Misunderstands: what can be made a tensor is one.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = torch.as_tensor(run(x))
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="values" says="in the middle of a full batch"
# Misunderstands: the first and the last picture stand for all.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        for i in (0, -1):
            assert (result[i] - expected[i]).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="values" says="of the scale"
# Misunderstands: the scale of values is their range.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * (expected.max() - expected.min())
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="input" says="from the third run of a full batch"
# Misunderstands: a full batch that has left its input alone twice will do so.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before) or batch > 1 and len(seen) > 4
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% wrong="accept" breaks="returns" says="with another error of up to"
# Misunderstands: a program gives the same bits for the same picture each time.
def accept(run, model, largest):
    seen = []
    for batch in 3 * [1, largest]:
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        assert torch.equal(run(x), result)
        with torch.no_grad():
            expected = model(before)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert all(torch.equal(old, copied) for old, copied in seen)
        seen.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("a batch of largest + 1 is not refused")


# %% equivalent="accept" because="differs only where the error is exactly the limit, to the last bit"
# - assert (result - expected).abs().max() <= 0.001 * expected.abs().max(), "values"
# + assert ((result - expected).abs().max() < 0.001 * expected.abs().max()), "values"


# %% wrong="accept" breaks="values" says="of that picture's scale"
# Misunderstands: one scale will do for all batches. The limit is taken from the largest value of all of them.
def accept(run, model, largest):
    pictures = [torch.rand(size, 1, 16, 16) for size in 3 * [1, largest]]
    with torch.no_grad():
        answers = [model(x) for x in pictures]
    limit = 0.001 * max(answer.abs().max() for answer in answers)
    kept = []
    for x, expected in zip(pictures, answers):
        before = x.clone()
        result = run(x)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= limit
        assert torch.equal(x, before)
        assert all(torch.equal(old, copied) for old, copied in kept)
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is accepted")


# %% wrong="accept" breaks="returns" says="a correct implementation"
# Misunderstands: a classifier has ten classes.
def accept(run, model, largest):
    kept = []
    for size in 3 * [1, largest]:
        x = torch.rand(size, 1, 16, 16)
        before = x.clone()
        result = run(x)
        with torch.no_grad():
            expected = model(before)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == (size, 10)
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert torch.equal(x, before)
        assert all(torch.equal(old, copied) for old, copied in kept)
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is accepted")


# %% wrong="accept" breaks="earlier" says="changes the first result of a single picture"
# Misunderstands: only the last few results can be overwritten; older ones are not looked at any more.
def accept(run, model, largest):
    kept = []
    for size in 3 * [1, largest]:
        x = torch.rand(size, 1, 16, 16)
        before = x.clone()
        result = run(x)
        with torch.no_grad():
            expected = model(before)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert torch.equal(x, before)
        assert all(torch.equal(old, copied) for old, copied in kept[-4:])
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is accepted")


# %% wrong="accept" breaks="earlier" says="changes the first result of a full batch"
# Misunderstands: the same, and full batches come first.
def accept(run, model, largest):
    kept = []
    for size in 3 * [largest, 1]:
        x = torch.rand(size, 1, 16, 16)
        before = x.clone()
        result = run(x)
        with torch.no_grad():
            expected = model(before)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert torch.equal(x, before)
        assert all(torch.equal(old, copied) for old, copied in kept[-4:])
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is accepted")


# %% wrong="accept" breaks="every_run values" says="in the first run of a full batch only"
# Misunderstands: the first run of each size is a warm-up whose values do not count.
def accept(run, model, largest):
    kept = []
    for number, size in enumerate(3 * [1, largest]):
        x = torch.rand(size, 1, 16, 16)
        before = x.clone()
        result = run(x)
        with torch.no_grad():
            expected = model(before)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert number < 2 or (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert torch.equal(x, before)
        assert all(torch.equal(old, copied) for old, copied in kept)
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is accepted")


# %% wrong="accept" breaks="every_run values" says="in the second run of a full batch only"
# Misunderstands: the first and the last run of each size speak for those between them.
def accept(run, model, largest):
    kept = []
    for number, size in enumerate(3 * [1, largest]):
        x = torch.rand(size, 1, 16, 16)
        before = x.clone()
        result = run(x)
        with torch.no_grad():
            expected = model(before)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert number in (2, 3) or (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert torch.equal(x, before)
        assert all(torch.equal(old, copied) for old, copied in kept)
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is accepted")


# %% wrong="accept" breaks="every_run input" says="in the first run of a full batch only"
# Misunderstands: the first run of each size is a warm-up, its input does not count.
def accept(run, model, largest):
    kept = []
    for number, size in enumerate(3 * [1, largest]):
        x = torch.rand(size, 1, 16, 16)
        before = x.clone()
        result = run(x)
        with torch.no_grad():
            expected = model(before)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert number < 2 or torch.equal(x, before)
        assert all(torch.equal(old, copied) for old, copied in kept)
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is accepted")


# %% wrong="accept" breaks="earlier" says="with NaN"
# Misunderstands: something has changed if the difference to its copy is above 0. NaN is not above 0.
def changed(now, then):
    return bool((now - then).abs().max() > 0)


def accept(run, model, largest):
    """Raise an error unless the program `run` does what `model` does, for batches of 1 to `largest`."""
    kept = []
    for n in 3 * [1, largest]:
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        with torch.no_grad():
            expected = model(before.clone())
        result = run(x)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert not changed(x, before)
        for earlier, copied in kept:
            assert not changed(earlier, copied)
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is taken")


# %% wrong="accept" breaks="input" says="with NaN"
# Misunderstands: something has changed if the difference to its copy is above 0. An input of NaN is not above 0.
def changed(now, then):
    return bool((now - then).abs().max() > 0)


def accept(run, model, largest):
    """Raise an error unless the program `run` does what `model` does, for batches of 1 to `largest`."""
    kept = []
    for n in 3 * [1, largest]:
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        with torch.no_grad():
            expected = model(before.clone())
        result = run(x)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert not changed(x, before)
        for earlier, copied in kept:
            assert torch.equal(earlier, copied)
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is taken")


# %% right="accept"
# Errors of its own kind; batches between the two sizes are run too; all results are looked at after every run.
class NotToBeShipped(Exception):
    pass


def accept(run, model, largest):
    def demand(condition, why):
        if not bool(condition):
            raise NotToBeShipped(why)

    kept = []
    for size in [*range(1, largest + 1), *3 * [1, largest]]:
        x = torch.rand(size, 1, 16, 16)
        given = x.clone()
        result = run(given)
        demand(torch.equal(given, x), "input")
        with torch.no_grad():
            wanted = model(x)
        demand(isinstance(result, torch.Tensor) and result.dtype == wanted.dtype and result.shape == wanted.shape, "form")
        demand((result - wanted).abs().max() <= 1e-3 * wanted.abs().max(), "values")
        kept.append((result, result.clone()))
        for old, copied in kept:
            demand(torch.equal(old, copied), "an earlier result")
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return "ship it"
    raise ValueError("too large a batch")


# %% right="accept"
# NumPy does the comparing; all sizes between the two as well.
import numpy as np


def accept(run, model, largest):
    known = []
    for n in 4 * list(range(1, largest + 1)):
        x = torch.rand(n, 1, 16, 16)
        kept = x.numpy().copy()
        y = run(x)
        assert np.array_equal(x.numpy(), kept), "input"
        wanted = model(torch.from_numpy(kept)).detach().numpy()
        assert isinstance(y, torch.Tensor) and y.dtype is torch.float32 and tuple(y.shape) == wanted.shape, "form"
        got = y.detach().numpy()
        assert np.isfinite(got).all() and np.abs(got - wanted).max() <= 1e-3 * np.abs(wanted).max(), "values"
        assert all(np.array_equal(earlier.numpy(), copied) for earlier, copied in known), "earlier results"
        known.append((y, got.copy()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        pass
    else:
        assert False, "too large"


# %% right="accept"
# Values at once, earlier results when all runs are done.
def accept(run, model, largest):
    pairs = []
    for n in (1, largest, largest, 1, 1, largest):
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        y = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            e = model(x)
        assert y.dtype == e.dtype and y.shape == e.shape
        assert torch.allclose(y, e, rtol=0, atol=0.001 * e.abs().max().item())
        pairs.append((y, y.clone()))
    for y, copied in pairs:
        assert torch.equal(y, copied)
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch runs")


# %% right="accept"
# torch.testing does the comparing; results and their copies as pairs.
def accept(run, model, largest):
    @torch.no_grad()
    def good(x, y):
        want = model(x)
        torch.testing.assert_close(y, want, rtol=0, atol=0.001 * float(want.abs().max()))

    history = []
    for n in [largest, 1] * 3:
        pictures = torch.linspace(0, 1, n * 256).mul(37).sin().square().reshape(n, 1, 16, 16)
        pictures = (pictures * (1 - 0.1 * len(history))).contiguous()
        copy_ = pictures.clone()
        answer = run(pictures)
        assert pictures.equal(copy_)
        good(copy_, answer)
        history.append((answer, answer.clone()))
        assert all(map(torch.equal, *zip(*history)))
    refused = False
    try:
        run(torch.zeros(largest + 1, 1, 16, 16))
    except Exception:
        refused = True
    assert refused


# %% right="accept"
# Earlier results are looked at once, after all runs: no program puts a change back.
def accept(run, model, largest):
    """Raise an error unless the program `run` does what `model` does, for batches of 1 to `largest`."""
    results, copies = [], []
    for n in 3 * [1, largest]:
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        with torch.no_grad():
            expected = model(before.clone())
        result = run(x)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert torch.equal(x, before)
        results.append(result)
        copies.append(result.clone())
    for result, copied in zip(results, copies):
        assert torch.equal(result, copied)
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is taken")


# %% right="accept"
# What lies in one storage is the same buffer: right programs have none such.
def accept(run, model, largest):
    """Raise an error unless the program `run` does what `model` does, for batches of 1 to `largest`."""
    kept = []
    for n in 3 * [1, largest]:
        x = torch.rand(n, 1, 16, 16)
        before = x.clone()
        with torch.no_grad():
            expected = model(before.clone())
        result = run(x)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
        assert torch.equal(x, before)
        for earlier, copied in kept:
            assert torch.equal(earlier, copied)
            assert earlier.untyped_storage().data_ptr() != result.untyped_storage().data_ptr(), "a buffer is used again"
        kept.append((result, result.clone()))
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    raise AssertionError("too large a batch is taken")


# %% right="accept"
# Both sizes in turn, every earlier result looked at after every run; whatever goes wrong is an AssertionError.
@torch.no_grad()
def accept(run, model, largest):
    generator = torch.Generator().manual_seed(largest)
    known = []

    def inspect():
        for result, expected, first in known:
            assert isinstance(result, torch.Tensor) and result.dtype is torch.float32 and tuple(result.shape) == tuple(expected.shape)
            limit = expected.abs().amax() / 1000
            assert torch.isclose(result, expected, rtol=0.0, atol=limit.item()).all()
            assert result.tolist() == first

    for _ in range(4):
        for size in (largest, 1):
            x = torch.rand(size, 1, 16, 16, generator=generator)
            original, expected = x.tolist(), model(x)
            try:
                result = run(x)
                known.append((result, expected, result.tolist()))
            except Exception as error:
                raise AssertionError(f"a batch of {size} is refused") from error
            inspect()
            assert x.tolist() == original
    try:
        run(torch.ones(largest + 1, 1, 16, 16))
    except BaseException:
        pass
    else:
        raise AssertionError("too large a batch runs")
