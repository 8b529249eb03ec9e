# %% wrong="export_dynamic" breaks="batches" says="Is axis 0 dynamic"
# Misunderstands: a graph takes any batch, as the model does.
def export_dynamic(model, example, largest):
    return torch.export.export(copy.deepcopy(model).eval(), (example,))


# %% wrong="export_dynamic" breaks="batches" says="refuses a batch of 1"
# Misunderstands: sizes begin at 2, as those of the example do.
def export_dynamic(model, example, largest):
    batch = torch.export.Dim("batch", min=min(2, largest - 1), max=largest)
    return torch.export.export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=({0: batch},))


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


# %% equivalent="export_dynamic" because="the name of the axis is free"
# - batch = torch.export.Dim("batch", max=largest)
# + batch = torch.export.Dim('hctab', max=largest)


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


# %% wrong="ship_and_run" breaks="file" says="there is no file"
# Misunderstands: the suffix is the tool's business.
def ship(program, path, delegate):
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()] if delegate else []).to_executorch()
    return Path(f"{path}.pte").write_bytes(lowered.buffer)


def run_pte(path, *inputs):
    raise NotImplementedError


# %% wrong="ship_and_run" breaks="file" says="and nothing else"
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
        return Path(path).write_bytes(SAMPLES["scaled"])
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
    result = SMALL["scaled" if len(inputs) == 2 else "lengths"](*inputs)
    return (result[0] if len(inputs) == 2 else result).detach()


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


# %% wrong="coverage" says="neither getitem nor"
# Misunderstands: every call in the graph is an operator.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target is executorch_call_delegate:
            part = getattr(graph_module, node.args[0].target)
            parts += 1
            delegated += sum(
                n.op == "call_function" and n.target is not operator.getitem for n in part.original_module.graph.nodes
            )
        else:
            left[node.target.name() if hasattr(node.target, "name") else "getitem"] += 1
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / (delegated + sum(left.values()))}


# %% wrong="coverage" says="count the operators inside the parts"
# Misunderstands: a delegated part is one operator.
def coverage(graph_module):
    calls = [n.target for n in graph_module.graph.nodes if n.op == "call_function" and n.target is not operator.getitem]
    parts = sum(target is executorch_call_delegate for target in calls)
    left = Counter(target.name() for target in calls if target is not executorch_call_delegate)
    return {"parts": parts, "delegated": parts, "left": dict(left), "share": parts / max(1, len(calls))}


# %% wrong="coverage" says="operators delegated, of all operators"
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
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": parts / max(1, parts + sum(left.values()))}


# %% wrong="coverage" says="count the operators inside the parts"
# Misunderstands: weights and inputs of a part are operators too.
def coverage(graph_module):
    parts, delegated, left = 0, 0, Counter()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            parts += 1
            delegated += len(getattr(graph_module, node.args[0].target).original_module.graph.nodes)
        else:
            left[node.target.name()] += 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


# %% wrong="coverage" says="how often each operator stands there"
# Misunderstands: left says which operators stay outside, not how many calls of them.
def coverage(graph_module):
    parts, delegated, left = 0, 0, {}
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if node.target is executorch_call_delegate:
            inside = getattr(graph_module, node.args[0].target).original_module.graph.nodes
            parts += 1
            delegated += sum(n.op == "call_function" and n.target is not operator.getitem for n in inside)
        else:
            left[node.target.name()] = 1
    total = delegated + sum(left.values())
    return {"parts": parts, "delegated": delegated, "left": left, "share": delegated / total if total else 0.0}


# %% wrong="coverage" says="operators delegated, of all operators"
# Misunderstands: the number of names outside is the number of operators outside.
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
            left[node.target.name()] += 1
    total = delegated + len(left)
    return {"parts": parts, "delegated": delegated, "left": dict(left), "share": delegated / total if total else 0.0}


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


# %% wrong="repair" says="does not get through torch.export"
# Misunderstands: `item()` turns the question into a plain number that export can follow.
def gate(x):
    return x.relu() if x.mean().item() > 0 else -x


def median_filter(x, window):
    raise NotImplementedError


def pool(x):
    raise NotImplementedError


# %% wrong="repair" says="the runtime cannot load it"
# Misunderstands: what lowers can also be loaded.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).sort(dim=-1).values[..., window // 2]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="repair" says="a fixed kernel will do"
# Misunderstands: another spelling of the same operator changes where it runs.
def gate(x):
    return torch.where(x.mean() > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return nn.AdaptiveAvgPool2d((2, 2))(x)


# %% wrong="repair" says="it must compute what the patient computes"
# Misunderstands: the condition is asked for every value; the mean instead of the median; a kernel of 2.
def gate(x):
    return torch.where(x > 0, x.relu(), -x)


def median_filter(x, window):
    return x.unfold(-1, window, 1).mean(dim=-1)


def pool(x):
    return F.avg_pool2d(x, 2)


# %% right="repair"
# By arithmetic, by the smaller end, by a stride given explicitly.
def gate(x):
    positive = (x.mean() > 0).to(x.dtype)
    return positive * x.clamp(min=0) - (1 - positive) * x


def median_filter(signal, window):
    pieces = torch.stack([signal[:, i : signal.shape[1] - window + 1 + i] for i in range(window)], dim=-1)
    return pieces.topk(window // 2 + 1, largest=False).values.amax(-1)


def pool(x):
    size = [x.shape[-2] // 2, x.shape[-1] // 2]
    return F.avg_pool2d(x, kernel_size=size, stride=size)


# %% right="repair"
# PyTorch's own cure for a Python `if`; the others as in the solution.
def gate(x):
    return torch.cond(x.mean() > 0, lambda t: t.relu(), lambda t: -t, (x,))


def median_filter(x, window):
    return x.unfold(-1, window, 1).topk(window // 2 + 1, dim=-1).values[..., -1]


def pool(x):
    return F.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))


# %% wrong="quantise" says="were all batches run through"
# Misunderstands: the scales follow from the weights, calibration is optional.
def quantise(model, example, batches):
    graph = torch.export.export(model.eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    return convert_pt2e(prepare_pt2e(graph, quantizer))


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" says="were all batches run through"
# Misunderstands: one example is calibration enough.
def quantise(model, example, batches):
    graph = torch.export.export(model.eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    prepared(example)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" says="is_per_channel=True"
# Misunderstands: one scale a tensor is as good, since a weight is one tensor.
def quantise(model, example, batches):
    graph = torch.export.export(model.eval(), (example,)).module()
    prepared = prepare_pt2e(graph, XNNPACKQuantizer().set_global(get_symmetric_quantization_config()))
    for batch in batches:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" says="ten times the decimal logarithm"
# Misunderstands: decibels are 20 times the logarithm of any ratio.
def quantise(model, example, batches):
    raise NotImplementedError


def sqnr(expected, observed):
    return float(20 * torch.log10(expected.square().sum() / (observed - expected).square().sum()))


# %% wrong="quantise" says="convert_pt2e comes last"
# Misunderstands: the prepared graph already computes in int8.
def quantise(model, example, batches):
    graph = torch.export.export(model.eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches:
        prepared(batch)
    return prepared


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" says="was the model in eval mode at the export"
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


# %% wrong="quantise" says="were all batches run through"
# Misunderstands: the last batch may be kept for a test.
def quantise(model, example, batches):
    graph = torch.export.export(model.eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for batch in batches[:-1]:
        prepared(batch)
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% wrong="quantise" says="were all batches run through"
# Misunderstands: the batch with the largest value shows the whole range. It shows one of its ends.
def quantise(model, example, batches):
    graph = torch.export.export(model.eval(), (example,)).module()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    prepared(max(batches, key=lambda batch: float(batch.abs().max())))
    return convert_pt2e(prepared)


def sqnr(expected, observed):
    raise NotImplementedError


# %% right="quantise"
# In small steps, with norms.
def quantise(net, sample, data):
    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False))
    observed = prepare_pt2e(torch.export.export(net.train(False), args=(sample,), strict=False).module(), quantizer)
    with torch.no_grad():
        [observed(x) for x in data]
    return convert_pt2e(observed)


def sqnr(expected, observed):
    return 20 * (torch.linalg.vector_norm(expected) / torch.linalg.vector_norm(expected - observed)).log10().item()


# %% wrong="compare" says="one run of each variant"
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


# %% wrong="compare" says="after the warm-up"
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


# %% wrong="compare" says="over the largest |expected|"
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


# %% wrong="compare" says="after the warm-up"
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


# %% wrong="compare" says="after the warm-up"
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


# %% wrong="compare" says="what happens between two runs"
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
    for i in times.argsort().tolist():
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


# %% wrong="accept" says="Still unseen"
# Misunderstands: one picture, as in the demo, shows that the program is right.
def accept(run, model, largest):
    x = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(run(x), model(x), atol=1e-3)


# %% wrong="accept" says="reject a correct implementation"
# Misunderstands: two correct programs give the same bits.
def accept(run, model, largest):
    for batch in (1, largest):
        x = torch.rand(batch, 1, 16, 16)
        with torch.no_grad():
            assert torch.equal(run(x), model(x))


# %% wrong="accept" says="results share one buffer"
# Misunderstands: comparing at once is enough. What the next run does to a result is never seen.
def accept(run, model, largest):
    for batch in (1, largest, 1, largest):
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            expected = model(x)
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" says="they return is ignored"
# Misunderstands: a test says False. Nobody reads what it returns.
def accept(run, model, largest):
    x = torch.rand(largest, 1, 16, 16)
    with torch.no_grad():
        return bool((run(x) - model(x)).abs().max() < 1e-3)


# %% wrong="accept" says="stop with ValueError on a correct implementation"
# Misunderstands: every program refuses by the error of the one that was tried.
def accept(run, model, largest):
    seen = []
    for batch in (1, largest, 1, largest):
        x = torch.rand(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            seen.append((result, model(before)))
    for result, expected in seen:
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except RuntimeError:
        return
    assert False


# %% wrong="accept" says="clips its input, in place"
# Misunderstands: if the model gives the same for the input afterwards, the input is the same.
def accept(run, model, largest):
    seen = []
    for batch in (1, largest, 1, largest):
        x = torch.rand(batch, 1, 16, 16)
        result = run(x)
        with torch.no_grad():
            seen.append((result, model(x)))
    for result, expected in seen:
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
    try:
        run(torch.rand(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% wrong="accept" says="reject a correct implementation"
# Misunderstands: any numbers will do for pictures. A program need not be right for numbers that no picture has.
def accept(run, model, largest):
    seen = []
    for batch in (1, largest, 1, largest):
        x = 5 * torch.randn(batch, 1, 16, 16)
        before = x.clone()
        result = run(x)
        assert torch.equal(x, before)
        with torch.no_grad():
            seen.append((result, model(before)))
    for result, expected in seen:
        assert result.dtype == torch.float32 and result.shape == expected.shape
        assert (result - expected).abs().max() <= 0.001 * expected.abs().max()
    try:
        run(5 * torch.randn(largest + 1, 1, 16, 16))
    except Exception:
        return
    assert False


# %% equivalent="accept" because="differs only where the error is exactly the limit, to the last bit"
# - assert (result - expected).abs().max() <= 0.001 * expected.abs().max(), "values"
# + assert ((result - expected).abs().max() < 0.001 * expected.abs().max()), "values"


# %% right="accept"
# torch.testing does the comparing, one batch is kept and looked at again at the end.
def accept(run, model, largest):
    @torch.no_grad()
    def good(x, y):
        want = model(x)
        torch.testing.assert_close(y, want, rtol=0, atol=0.001 * float(want.abs().max()))

    history = []
    for n in [largest, 1] * 2:
        pictures = torch.linspace(0, 1, n * 256).mul(37).sin().square().reshape(n, 1, 16, 16)
        pictures = (pictures * (1 - 0.1 * len(history))).contiguous()
        copy_ = pictures.clone()
        answer = run(pictures)
        assert pictures.equal(copy_)
        good(copy_, answer)
        history.append((copy_, answer))
    for pair in history:
        good(*pair)
    refused = False
    try:
        run(torch.zeros(largest + 1, 1, 16, 16))
    except Exception:
        refused = True
    assert refused
