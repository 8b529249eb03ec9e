# %% wrong="onnx_export" breaks="batch" says="batch axis of the input is fixed at 1"
# Misunderstands: a file takes any batch by itself.
def export_onnx(model, example, path):
    quiet = copy.deepcopy(model).eval()
    torch.onnx.export(quiet, (example,), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False).save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" breaks="eval" says="in eval mode of every submodule"
# Misunderstands: an export is always one for inference. It records the mode that it finds.
def export_onnx(model, example, path):
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    quiet = copy.deepcopy(model)
    torch.onnx.export(
        quiet, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" breaks="eval" says="in eval mode of every submodule"
# Misunderstands: `model.training` speaks for the submodules too.
def export_onnx(model, example, path):
    quiet = copy.deepcopy(model)
    if quiet.training:
        quiet.eval()
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        quiet, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" breaks="eval" says="in eval mode of every submodule"
# Misunderstands: the layers have the mode. The network's own flag is left as it was.
def export_onnx(model, example, path):
    quiet = copy.deepcopy(model)
    for layer in quiet.children():
        layer.eval()
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        quiet, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" breaks="untouched" says="the model after export_onnx"
# Misunderstands: whoever exports a model does not train it any more.
def export_onnx(model, example, path):
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        model.eval(), (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" breaks="untouched" says="the model after export_onnx"
# Misunderstands: `model.train(was)` puts every submodule back. It gives all of them the mode of the outermost.
def export_onnx(model, example, path):
    was = model.training
    model.eval()
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)
    model.train(was)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" breaks="names" says="names of the inputs"
# Misunderstands: names do not matter. The clients must then guess them.
def export_onnx(model, example, path):
    free = {0: torch.export.Dim("batch")}
    quiet = copy.deepcopy(model).eval()
    torch.onnx.export(quiet, (example.repeat_interleave(3, 0),), dynamo=True, dynamic_shapes=(free,), verbose=False).save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


# %% wrong="onnx_export" breaks="one_file" says="the files in the folder"
# Misunderstands: `f=` writes one file. The weights go to a second one, which nobody copies.
def export_onnx(model, example, path):
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        copy.deepcopy(model).eval(), (torch.cat([example, example]),), f=path, dynamo=True, dynamic_shapes=(free,),
        input_names=["images"], output_names=["logits"], verbose=False,
    )  # fmt: skip


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" breaks="threads" says="threads and providers"
# Misunderstands: more threads are faster. Each session takes one for every core.
def export_onnx(model, example, path):
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        copy.deepcopy(model).eval(), (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"],
        verbose=False,
    ).save(path)  # fmt: skip


def load_onnx(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


# %% wrong="onnx_export" breaks="run" says="reads the file anew"
# Misunderstands: a path names one content for ever.
def export_onnx(model, example, path):
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        copy.deepcopy(model).eval(), (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"],
        verbose=False,
    ).save(path)  # fmt: skip


loaded = {}


def load_onnx(path):
    if path not in loaded:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        loaded[path] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: loaded[path].run(["logits"], {"images": images})[0]


# %% wrong="onnx_export" breaks="run" says="has shape (1, 2, 4), expected (2, 4)"
# Misunderstands: `session.run` gives the output. It gives a list of outputs, and stacked it has one axis more.
def export_onnx(model, example, path):
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        copy.deepcopy(model).eval(), (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"],
        verbose=False,
    ).save(path)  # fmt: skip


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: np.array(session.run(["logits"], {"images": images}))


# %% wrong="onnx_export" breaks="run" says="what was loaded before another file took its place"
# Misunderstands: a loaded model should follow its file.
def export_onnx(model, example, path):
    """Write `model` in eval mode as ONNX with a free batch axis; `example` is float32 (1, ...)."""
    quiet = copy.deepcopy(model).eval()
    program = torch.onnx.export(quiet, (torch.cat([example, example]),), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
                                input_names=["images"], output_names=["logits"], verbose=False)
    program.save(str(path))


def load_onnx(path):
    """A function from images (float32 array, n first) to logits that runs the file `path` on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1

    def stamp():
        return os.stat(path).st_mtime_ns, os.stat(path).st_size

    def read():
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    session, read_at = read(), stamp()

    def run(images):
        nonlocal session, read_at
        if stamp() != read_at:
            session, read_at = read(), stamp()
        return session.run(["logits"], {"images": np.ascontiguousarray(images)})[0]

    return run


# %% wrong="onnx_export" breaks="layout" says="in memory: Fortran order"
# Misunderstands: what is contiguous in either order can be handed over by its pointer.
def export_onnx(model, example, path):
    """Write `model` in eval mode as ONNX with a free batch axis; `example` is float32 (1, ...)."""
    quiet = copy.deepcopy(model).eval()
    program = torch.onnx.export(quiet, (torch.cat([example, example]),), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
                                input_names=["images"], output_names=["logits"], verbose=False)
    program.save(str(path))


def load_onnx(path):
    """A function from images (float32 array, n first) to logits that runs the file `path` on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images):
        if not images.flags.forc:  # a view with steps
            images = np.ascontiguousarray(images)
        binding = session.io_binding()  # no copy
        binding.bind_input("images", "cpu", 0, np.float32, list(images.shape), images.ctypes.data)
        binding.bind_output("logits", "cpu")
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]

    return run


# %% wrong="onnx_export" breaks="threads" says="threads and providers"
# Misunderstands: a session costs nothing. One with a thread for every core is made only to look the names up.
def export_onnx(model, example, path):
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        copy.deepcopy(model).eval(), (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"],
        verbose=False,
    ).save(path)  # fmt: skip


def names_in(path):
    session = onnxruntime.InferenceSession(str(path))
    return session.get_inputs()[0].name, session.get_outputs()[0].name


def load_onnx(path):
    name_in, name_out = names_in(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run([name_out], {name_in: images})[0]


# %% right="onnx_export"
def export_onnx(net, one, where):
    quiet = copy.deepcopy(net).eval()
    program = torch.export.export(quiet, (one.repeat(4, *[1] * (one.ndim - 1)),), dynamic_shapes=[{0: torch.export.Dim("batch")}])
    torch.onnx.export(
        program, f=str(where), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False, external_data=False
    )


def load_onnx(where):
    wishes = onnxruntime.SessionOptions()
    wishes.intra_op_num_threads = wishes.inter_op_num_threads = 1
    engine = onnxruntime.InferenceSession(Path(where).read_bytes(), sess_options=wishes, providers=["CPUExecutionProvider"])

    def run(images):
        (out,) = engine.run(["logits"], {"images": np.ascontiguousarray(images)})
        return out

    return run


# %% right="onnx_export"
# In place: every submodule's mode is noted and put back.
@torch.no_grad()
def export_onnx(model, example, path):
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        rows = example.expand(3, *example.shape[1:]).clone()
        torch.onnx.export(
            model, args=(rows,), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        ).save(str(path))  # fmt: skip
    finally:
        for module, mode in modes.items():
            module.training = mode


class load_onnx:
    def __init__(self, path):
        from onnxruntime import InferenceSession, SessionOptions

        settings = SessionOptions()
        settings.intra_op_num_threads = 1
        self.session = InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])

    def __call__(self, images):
        return self.session.run(None, dict(images=images))[0]


# %% wrong="onnx_export" breaks="eval" says="the model's own forward computes"
# Misunderstands: a model is its children one after the other.
def export_onnx(model, example, path):
    """Write `model` in eval mode as ONNX with a free batch axis; `example` is float32 (1, ...)."""
    layers = list(copy.deepcopy(model).children())
    quiet = nn.Sequential(*layers).eval()
    program = torch.onnx.export(
        quiet, (torch.cat([example, example]),), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"], output_names=["logits"], verbose=False,
    )
    program.save(str(path))


def load_onnx(path):
    """A function from images (float32 array, n first) to logits that runs the file `path` on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images):
        (logits,) = session.run(["logits"], {"images": np.ascontiguousarray(images)})
        return logits

    return run


# %% wrong="onnx_export" breaks="untouched" says="the model after export_onnx"
# Misunderstands: before each use of a model its gradients are cleared. Whoever is in the middle of a step loses them.
def export_onnx(model, example, path):
    """Write `model` in eval mode as ONNX with a free batch axis; `example` is float32 (1, ...)."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    model.zero_grad(set_to_none=True)
    program = torch.onnx.export(
        model, (torch.cat([example, example]),), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"], output_names=["logits"], verbose=False,
    )
    program.save(str(path))
    for module, mode in modes.items():
        module.training = mode


def load_onnx(path):
    """A function from images (float32 array, n first) to logits that runs the file `path` on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images):
        (logits,) = session.run(["logits"], {"images": np.ascontiguousarray(images)})
        return logits

    return run


# %% wrong="onnx_export" breaks="untouched" says="the model after export_onnx"
# Misunderstands: a forward pass changes nothing. In the model's own mode batch norm counts it.
def export_onnx(model, example, path):
    """Write `model` in eval mode as ONNX with a free batch axis; `example` is float32 (1, ...)."""
    two = torch.cat([example, example])
    with torch.no_grad():
        assert model(two).ndim == 2  # does it run at all?
    modes = {module: module.training for module in model.modules()}
    model.eval()
    program = torch.onnx.export(
        model, (two,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"], output_names=["logits"], verbose=False,
    )
    program.save(str(path))
    for module, mode in modes.items():
        module.training = mode


def load_onnx(path):
    """A function from images (float32 array, n first) to logits that runs the file `path` on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images):
        (logits,) = session.run(["logits"], {"images": np.ascontiguousarray(images)})
        return logits

    return run


# %% equivalent="onnx_export" because="the axis may have any name"
# - free = {0: torch.export.Dim("batch")}
# + free = {0: torch.export.Dim('hctab')}


# %% equivalent="onnx_export" because="verbose only prints progress"
# - quiet, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
# + quiet, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=True


# %% equivalent="onnx_export" because="an unknown provider is skipped and the CPU, always the last resort, takes its place"
# - session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
# + session = onnxruntime.InferenceSession(path, options, providers=['redivorPnoitucexEUPC'])


# %% wrong="onnx_export" breaks="one_file" says="the files in the folder"
# Misunderstands: large weights belong into a second file, only small ones stay inside.
def export_onnx(model, example, path):
    quiet = copy.deepcopy(model).eval()
    program = torch.onnx.export(
        quiet, (torch.cat([example, example]),), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"], output_names=["logits"], verbose=False,
    )  # fmt: skip
    program.save(path, external_data=any(value.nbytes > 200_000 for value in quiet.state_dict().values()))


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


# %% wrong="onnx_export" breaks="batch" says="only the batch axis is free"
# Misunderstands: with Dim.AUTO the exporter finds out by itself what is fixed.
def export_onnx(model, example, path):
    axes = dict.fromkeys(range(example.ndim), torch.export.Dim.AUTO)
    program = torch.onnx.export(
        copy.deepcopy(model).eval(), (torch.cat([example, example]),), dynamo=True, dynamic_shapes=(axes,),
        input_names=["images"], output_names=["logits"], verbose=False,
    )  # fmt: skip
    program.save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


# %% wrong="onnx_export" breaks="batch" says="your code raised"
# Misunderstands: every model calls its input x, as in the test.
def export_onnx(model, example, path):
    program = torch.onnx.export(
        copy.deepcopy(model).eval(), (torch.cat([example, example]),), dynamo=True, dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        input_names=["images"], output_names=["logits"], verbose=False,
    )  # fmt: skip
    program.save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


# %% wrong="onnx_export" breaks="eval" says="the model's own forward computes"
# Misunderstands: only the layers have a mode that matters, not the network around them.
def export_onnx(model, example, path):
    quiet = copy.deepcopy(model)
    for child in quiet.children():
        child.eval()
    program = torch.onnx.export(
        quiet, (torch.cat([example, example]),), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"], output_names=["logits"], verbose=False,
    )  # fmt: skip
    program.save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


# %% wrong="aoti_export" breaks="free" says="declared free from 1 to largest"
# Misunderstands: the example's size does not matter.
def export_program(model, example, largest):
    return torch.export.export(copy.deepcopy(model).eval(), (example.repeat(largest, *[1] * (example.ndim - 1)),))


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="limit" says="promised at most"
# Misunderstands: a free axis needs no end. The compiler is told nothing then.
def export_program(model, example, largest):
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    return torch.export.export(copy.deepcopy(model).eval(), (torch.cat([example, example]),), dynamic_shapes=dynamic)


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="limit" says="promised at most"
# Misunderstands: `max` is the first size that is too many.
def export_program(model, example, largest):
    rows = torch.export.Dim("batch", max=largest + 1)
    return torch.export.export(copy.deepcopy(model).eval(), (torch.cat([example, example]),), dynamic_shapes=({0: rows},))


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="program" says="in eval mode"
# Misunderstands: an export is always one for inference.
def export_program(model, example, largest):
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(copy.deepcopy(model), (torch.cat([example, example]),), dynamic_shapes=({0: rows},))


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="program" says="in eval mode"
# Misunderstands: the outermost flag is the mode of the whole model.
def export_program(model, example, largest):
    quiet = copy.deepcopy(model)
    quiet.training = False
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(quiet, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="program" says="in eval mode"
# Misunderstands: the layers have the mode. The network's own flag is left as it was.
def export_program(model, example, largest):
    quiet = copy.deepcopy(model)
    for layer in quiet.children():
        layer.eval()
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(quiet, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="program" says="the type of what export_program returns"
# Misunderstands: the callable module is the program. Nothing can be compiled or saved from it.
def export_program(model, example, largest):
    rows = torch.export.Dim("batch", min=1, max=largest)
    quiet = copy.deepcopy(model).eval()
    return torch.export.export(quiet, (torch.cat([example, example]),), dynamic_shapes=({0: rows},)).module()


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="untouched" says="the model after export_program"
# Misunderstands: `train(was)` puts every submodule back.
def export_program(model, example, largest):
    was = model.training
    model.eval()
    rows = torch.export.Dim("batch", min=1, max=largest)
    program = torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))
    model.train(was)
    return program


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="calls" says="number of calls"
# Misunderstands: one by one is right, so it is enough.
def run_in_chunks(run, images, largest):
    if len(images) == 0:
        return run(torch.zeros(1, *images.shape[1:]))[:0]
    return torch.cat([run(image[None]) for image in images])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="calls" says="number of calls"
# Misunderstands: the width must be known beforehand, so a blank image is run every time.
def run_in_chunks(run, images, largest):
    parts = [run(images.new_zeros(1, *images.shape[1:]))[:0]]
    parts += [run(part) for part in images.split(largest) if len(part)]
    return torch.cat(parts)


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="rows" says="number of calls"
# Misunderstands: only full chunks count. The rest that does not fill one is dropped.
def run_in_chunks(run, images, largest):
    if len(images) < largest:
        return run(images) if len(images) else run(torch.zeros(1, *images.shape[1:]))[:0]
    full = len(images) // largest
    return torch.cat([run(images[i * largest : (i + 1) * largest]) for i in range(full)])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="rows" says="joined"
# Misunderstands: the order of the chunks does not matter.
def run_in_chunks(run, images, largest):
    if len(images) == 0:
        return run(images.new_zeros(1, *images.shape[1:]))[:0]
    return torch.cat([run(part) for part in reversed(images.split(largest))])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="sizes, empty" says="an empty batch is not a batch"
# Misunderstands: compiled code takes an empty batch.
def run_in_chunks(run, images, largest):
    return torch.cat([run(part) for part in images.split(largest)])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="sizes" says="the number of calls of run for"
# Misunderstands: the number of chunks is what is limited.
def run_in_chunks(run, images, largest):
    if len(images) == 0:
        return run(images.new_zeros(1, *images.shape[1:]))[:0]
    return torch.cat([run(part) for part in images.chunk(largest)])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="empty" says="the number of calls of run for 0 images"
# Misunderstands: there are ten classes everywhere.
def run_in_chunks(run, images, largest):
    if len(images) == 0:
        return torch.zeros(0, 10)
    return torch.cat([run(part) for part in images.split(largest)])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="empty" says="none of it returned"
# Misunderstands: the blank image belongs to the result.
def run_in_chunks(run, images, largest):
    if len(images) == 0:
        images = images.new_zeros(1, *images.shape[1:])
    return torch.cat([run(part) for part in images.split(largest)])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="untouched" says="the model after export_program"
# Misunderstands: the modes to keep are those of the model and its children. What lies deeper stays in eval mode.
def export_program(model, example, largest):
    """The exported program of `model` in eval mode with 1 to `largest` rows; `example` is float32 (1, ...)."""
    modes = [(module, module.training) for module in (model, *model.children())]
    model.eval()
    rows = torch.export.Dim("batch", min=1, max=largest)
    try:
        return torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))
    finally:
        for module, mode in modes:
            module.training = mode


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="empty" says="of the same shape"
# Misunderstands: an image is always 1 x 16 x 16.
def run_in_chunks(run, images, largest):
    """`run` on all rows of `images` (float32 (n, ...)), at most `largest` at a time; float32 (n, classes)."""
    if len(images) == 0:
        return run(torch.zeros(1, 1, 16, 16))[:0]
    return torch.cat([run(part) for part in images.split(largest)])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" breaks="sizes" says="['rows']"
# Misunderstands: an engine wants every call full. The last chunk is filled up with blanks.
def run_in_chunks(run, images, largest):
    if len(images) == 0:
        return run(images.new_zeros(1, *images.shape[1:]))[:0]
    missing = -len(images) % largest
    filled = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
    return torch.cat([run(part) for part in filled.split(largest)])[: len(images)]


def export_program(*args):
    raise NotImplementedError


# %% right="aoti_export"
def export_program(net, one, most):
    quiet = copy.deepcopy(net).eval()
    sizes = {0: torch.export.Dim("rows", max=most)}
    return torch.export.export(quiet, args=(one.expand(2, *one.shape[1:]).contiguous(),), dynamic_shapes=[sizes])


def run_in_chunks(run, images, largest):
    starts = range(0, len(images), largest)
    parts = [run(images[s : s + largest]) for s in starts] or [run(torch.zeros((1,) + tuple(images.shape[1:])))[:0]]
    return torch.cat(parts, dim=0)


# %% right="aoti_export"
# In place with the modes put back; the result filled row by row.
def export_program(model, example, largest):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            rows = example.repeat(2, *[1] * (example.ndim - 1))
            return torch.export.export(model, (rows,), dynamic_shapes=(({0: torch.export.Dim("n", min=1, max=largest)}),))
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def run_in_chunks(run, images, largest):
    if not len(images):
        blank = torch.zeros_like(images.new_empty(1, *images.shape[1:]))
        return run(blank)[1:]
    out = None
    for start in range(0, len(images), largest):
        some = run(images[start : start + largest])
        out = images.new_empty(len(images), some.shape[1]) if out is None else out
        out[start : start + len(some)] = some
    return out


# %% wrong="aoti_export" breaks="program" says="was the model itself exported"
# Misunderstands: a model is its children one after the other.
def export_program(model, example, largest):
    """The exported program of `model` in eval mode with 1 to `largest` rows; `example` is float32 (1, ...)."""
    quiet = nn.Sequential(*copy.deepcopy(model).children()).eval()
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(quiet, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))


def run_in_chunks(run, images, largest):
    """`run` on all rows of `images` (float32 (n, ...)), at most `largest` at a time; float32 (n, classes)."""
    if len(images) == 0:
        return run(images.new_zeros((1, *images.shape[1:])))[:0]
    return torch.cat([run(part) for part in images.split(largest)])


# %% wrong="aoti_export" breaks="calls" says="each call costs"
# Misunderstands: n // largest + 1 calls are needed. It is one too many where largest divides n.
def export_program(model, example, largest):
    """The exported program of `model` in eval mode with 1 to `largest` rows; `example` is float32 (1, ...)."""
    quiet = copy.deepcopy(model).eval()
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(quiet, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))


def run_in_chunks(run, images, largest):
    """`run` on all rows of `images` (float32 (n, ...)), at most `largest` at a time; float32 (n, classes)."""
    if len(images) == 0:
        return run(images.new_zeros((1, *images.shape[1:])))[:0]
    return torch.cat([run(part) for part in images.chunk(len(images) // largest + 1)])


# %% wrong="aoti_export" breaks="empty" says="one blank image tells the columns"
# Misunderstands: every run has as many classes as the first one.
def export_program(model, example, largest):
    """The exported program of `model` in eval mode with 1 to `largest` rows; `example` is float32 (1, ...)."""
    quiet = copy.deepcopy(model).eval()
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(quiet, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))


known = {}


def run_in_chunks(run, images, largest):
    """`run` on all rows of `images` (float32 (n, ...)), at most `largest` at a time; float32 (n, classes)."""
    if len(images) == 0:
        if "classes" not in known:
            known["classes"] = run(images.new_zeros((1, *images.shape[1:]))).shape[1]
        return images.new_zeros((0, known["classes"]))
    return torch.cat([run(part) for part in images.split(largest)])


# %% equivalent="aoti_export" because="the name of the axis is only shown in messages"
# - rows = torch.export.Dim("batch", min=1, max=largest)
# + rows = torch.export.Dim('hctab', min=1, max=largest)


# %% equivalent="aoti_export" because="of one row, all but the last is none"
# - return run(images.new_zeros(1, *images.shape[1:]))[:0]
# + return run(images.new_zeros(1, *images.shape[1:]))[:(-1)]


# %% wrong="aoti_export" breaks="program" says="your code raised"
# Misunderstands: every model calls its input x, as in the test.
def export_program(model, example, largest):
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(copy.deepcopy(model).eval(), (torch.cat([example, example]),), dynamic_shapes={"x": {0: rows}})


def run_in_chunks(run, images, largest):
    if len(images) == 0:
        return run(images.new_zeros(1, *images.shape[1:]))[:0]
    return torch.cat([run(part) for part in images.split(largest)])


# %% wrong="accept_export" breaks="logits" says="computes in bfloat16"
# Misunderstands: the labels agree, so the logits do.
def accept(run, model, images):
    for view in (images, images[:1], images[::-2], images[::2].swapaxes(2, 3), images * 0):
        kept = view.copy()
        out = run(view)
        assert type(out) is np.ndarray and out.shape == (len(view), 10) and out.dtype == np.float32
        assert np.array_equal(view, kept) and np.isfinite(out).all()
        assert (out.argmax(1) == model(torch.tensor(kept)).numpy().argmax(1)).all()


# %% wrong="accept_export" breaks="logits" says="is off by 0.1 %"
# Misunderstands: a tolerance of 0.001 is `rtol`. With large logits it lets ten times as much through.
def accept(run, model, images):
    for view in (images, images[:1], images[::-2], images[::2].swapaxes(2, 3), images * 0):
        kept = view.copy()
        out = run(view)
        assert type(out) is np.ndarray
        np.testing.assert_array_equal(view, kept)
        torch.testing.assert_close(torch.tensor(out), model(torch.tensor(kept)), rtol=1e-3, atol=1e-3)


# %% wrong="accept_export" breaks="no_false_alarm" says="reject a correct implementation"
# Misunderstands: a right file gives equal bits.
def accept(run, model, images):
    assert np.array_equal(run(images[:5]), model(torch.tensor(images)).numpy()[:5])


# %% wrong="accept_export" breaks="sizes" says="works for the batch size of the example only"
# Misunderstands: one batch stands for all sizes.
def accept(run, model, images):
    for view in (images, images[::-1], images.swapaxes(2, 3), images * 0):
        kept = view.copy()
        logits = run(view)
        assert type(logits) is np.ndarray and logits.dtype == np.float32 and np.array_equal(view, kept)
        np.testing.assert_allclose(logits, model(torch.tensor(kept)).numpy(), rtol=0, atol=1e-3)


# %% wrong="accept_export" breaks="sizes" says="fails for 5 images, only"
# Misunderstands: one, some and all are enough sizes.
def accept(run, model, images):
    for view in [images, images[:1], images[::-1], images[::2].swapaxes(2, 3), images[:1] * 0, images * 0]:
        kept = view.copy()
        logits = run(view)
        assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
        assert (view == kept).all()
        wanted = model(torch.tensor(kept)).numpy()
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() <= 1e-3


# %% wrong="accept_export" breaks="no_false_alarm" says="reject a correct implementation (refuses what the contract leaves out)"
# Misunderstands: more images than the contract names must be taken too.
def accept(run, model, images):
    twice = np.concatenate([images, images])
    for view in [*(images[:size] for size in range(1, 13)), twice, images[::-1], images.swapaxes(2, 3), images[:1] * 0, images * 0]:
        kept = view.copy()
        try:
            logits = run(view)
        except Exception as error:
            raise AssertionError(f"an error for {len(view)} images") from error
        assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
        assert (view == kept).all()
        wanted = model(torch.tensor(kept)).numpy()
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() <= 1e-3


# %% wrong="accept_export" breaks="type" says="gives float64"
# Misunderstands: `assert_allclose` compares dtypes.
def accept(run, model, images):
    for view in (images, images[:1], images[::-2], images[::2].swapaxes(2, 3), images * 0):
        kept = view.copy()
        logits = run(view)
        assert np.array_equal(view, kept)
        np.testing.assert_allclose(logits, model(torch.tensor(kept)).numpy(), rtol=0, atol=1e-3)


# %% wrong="accept_export" breaks="alone" says="gives the first image's answer to all"
# Misunderstands: one image alone shows everything.
def accept(run, model, images):
    for row in range(len(images)):
        for view in (images[row : row + 1], images[row : row + 1].swapaxes(2, 3), images[:1] * 0):
            kept = view.copy()
            logits = run(view)
            assert type(logits) is np.ndarray and logits.dtype == np.float32 and np.array_equal(view, kept)
            np.testing.assert_allclose(logits, model(torch.tensor(kept)).numpy(), rtol=0, atol=1e-3)
    assert run(images).shape == (12, 10)


# %% wrong="accept_export" breaks="layout" says="ignores how the array lies in memory"
# Misunderstands: an array is its shape and numbers.
def accept(run, model, images):
    for view in (images, images[:1], images[3:8], images * 0):
        view = np.ascontiguousarray(view)
        kept = view.copy()
        logits = run(view)
        assert type(logits) is np.ndarray and logits.dtype == np.float32 and np.array_equal(view, kept)
        np.testing.assert_allclose(logits, model(torch.tensor(kept)).numpy(), rtol=0, atol=1e-3)


# %% wrong="accept_export" breaks="blank" says="gives NaN for blank images"
# Misunderstands: real pictures are never empty.
def accept(run, model, images):
    for view in (images, images[:1], images[::-2], images[::2].swapaxes(2, 3)):
        kept = view.copy()
        logits = run(view)
        assert type(logits) is np.ndarray and logits.dtype == np.float32 and np.array_equal(view, kept)
        np.testing.assert_allclose(logits, model(torch.tensor(kept)).numpy(), rtol=0, atol=1e-3)


# %% wrong="accept_export" breaks="unchanged" says="changes its input"
# Misunderstands: the input is its caller's affair.
def accept(run, model, images):
    for view in (images, images[:1], images[::-2], images[::2].swapaxes(2, 3), images * 0):
        for given in (view.copy(), np.repeat(view, 2, axis=0)[::2]):
            logits = run(given)
            assert type(logits) is np.ndarray and logits.dtype == np.float32
            np.testing.assert_allclose(logits, model(torch.tensor(view.copy())).numpy(), rtol=0, atol=1e-3)


# %% wrong="accept_export" breaks="raises" says="reject with `assert`"
# Misunderstands: a verdict that is returned is read.
def accept(run, model, images):
    try:
        return bool(np.abs(run(images) - model(torch.tensor(images)).numpy()).max() < 1e-3)
    except Exception:
        return False


# %% wrong="accept_export" breaks="layout" says="a view of the batch backwards"
# Misunderstands: a view is a view. Steps backwards are never tried.
def accept(run, model, images):
    views = [images[start:] for start in range(12)]
    views += [images[::2].copy()[:4], images[::2].swapaxes(2, 3), images * 0, images[[11, 3, 5, 0, 7, 1, 2, 9, 10, 8, 6, 4]]]
    for view in views:
        kept = view.copy()
        logits = run(view)
        assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
        assert (view == kept).all()
        wanted = model(torch.tensor(kept)).numpy()
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() <= 1e-3


# %% wrong="accept_export" breaks="calls" says="the number of calls of run"
# Misunderstands: the more calls the better. Each size is asked with every rotation of the images, several times.
def accept(run, model, images):
    batches = [np.roll(images, shift, 0)[:size] for size in range(1, 13) for shift in range(12)] * 4
    for view in [*batches, images[::-1], images[::2].swapaxes(2, 3), images * 0]:
        kept = view.copy()
        logits = run(view)
        assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
        assert (view == kept).all()
        wanted = model(torch.tensor(kept)).numpy()
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() <= 1e-3


# %% wrong="accept_export" breaks="sizes" says="images, only"
# Misunderstands: prime sizes and powers of two stand for all.
def accept(run, model, images):
    views = [images[:n] for n in (1, 2, 3, 5, 7, 8, 11, 12)]
    views += [images[::-1], images[::2].swapaxes(2, 3), images * 0]
    for view in views:
        kept = view.copy()
        logits = run(view)
        assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
        assert (view == kept).all()
        wanted = model(torch.tensor(kept)).numpy()
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() <= 1e-3


# %% wrong="accept_export" breaks="type" says="gives float64 for"
# Misunderstands: what small batches are told needs no look at the dtype.
def accept(run, model, images):
    views = [images[:n] for n in range(1, 13)]
    views += [images[::-1], images[::2].swapaxes(2, 3), images * 0]
    for view in views:
        kept = view.copy()
        logits = run(view)
        if len(view) > 4:
            assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
        assert (view == kept).all()
        wanted = model(torch.tensor(kept)).numpy()
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() <= 1e-3


# %% wrong="accept_export" breaks="no_false_alarm" says="reject a correct implementation (rounds differently for each size)"
# Misunderstands: an image alone is rounded as it is among others.
def accept(run, model, images):
    views = [images[:n] for n in range(1, 13)]
    views += [images[::-1], images[::2].swapaxes(2, 3), images * 0]
    for view in views:
        kept = view.copy()
        logits = run(view)
        assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
        assert (view == kept).all()
        wanted = model(torch.tensor(kept)).numpy()
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() <= 1e-3
    whole = run(images)
    for i in range(12):
        np.testing.assert_allclose(run(images[i : i + 1])[0], whole[i], rtol=1e-4, atol=1e-5)


# %% right="accept_export"
def accept(run, model, images):
    def judged(batch):
        before = np.array(batch)
        out = run(batch)
        np.testing.assert_array_equal(batch, before)
        assert type(out) is np.ndarray
        assert out.dtype == np.dtype("float32")
        np.testing.assert_allclose(out, model(torch.from_numpy(np.ascontiguousarray(before))).numpy(), rtol=0, atol=1e-3)

    for size in range(1, len(images) + 1):
        judged(images[:size].copy())
    judged(images[::3])
    judged(images[::-1])
    judged(np.asfortranarray(images).swapaxes(2, 3))
    judged(images * 0)


# %% right="accept_export"
# Compares images one by one with a table of wanted logits, in a random order.
def accept(run, model, images):
    order = np.random.default_rng(0).permutation(12)
    stack = np.concatenate([images[order], np.zeros((1, 1, 16, 16), np.float32), images[::-1].swapaxes(3, 2)])
    table = model(torch.tensor(stack)).numpy()
    picks = [[0], [12], [5], *(range(size) for size in range(2, 13)), range(12, 24), [3, 2, 1], [14, 12, 4], [24, 13]]
    for pick in map(list, picks):
        plain, turned = stack[pick], stack[pick].transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)
        for batch in (plain, np.repeat(plain, 2, axis=0)[::2], plain[::-1].copy()[::-1], turned):
            copy_of = batch.copy()
            told = run(batch)
            if not (isinstance(told, np.ndarray) and told.dtype == "float32" and told.shape == (len(pick), 10)):
                raise AssertionError(f"{type(told)}")
            if not (abs(told - table[pick]) <= 0.001).all():
                raise AssertionError("other logits")
            assert (batch == copy_of).all()


# %% right="accept_export"
# Steps along the batch only, as the task says.
def accept(run, model, images):
    """Raise AssertionError unless `run` (array to array) may replace `model` on images like `images` (12, 1, 16, 16)."""
    blank = np.zeros_like(images)
    mixed = images.copy()
    mixed[1::3] = 0
    for size in range(1, 13):
        for view in (
            images[:size].copy(),
            images[12 - size :].copy(),
            images[:size][::-1],
            np.array(images[:size].transpose(0, 1, 3, 2), order="C").transpose(0, 1, 3, 2),
            np.repeat(images[:size], 2, axis=0)[::2],
            blank[:size].copy(),
            mixed[:size].copy(),
        ):
            kept = np.array(view)
            with torch.no_grad():
                wanted = model(torch.tensor(kept)).numpy()
            logits = run(view)
            assert isinstance(logits, np.ndarray) and logits.dtype == np.float32 and logits.shape == wanted.shape
            assert np.array_equal(view, kept)
            assert np.abs(logits - wanted).max() < 0.0012


# %% wrong="accept_export" breaks="layout" says="without the step"
# Misunderstands: backwards and transposed are all that a view can be. Steps are never tried.
def accept(run, model, images):
    for view in [*(images[start:] for start in range(12)), images[::-1], images.swapaxes(2, 3), images * 0]:
        kept = view.copy()
        logits = run(view)
        assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
        assert (view == kept).all()
        wanted = model(torch.tensor(kept)).numpy()
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() <= 1e-3


# %% equivalent="accept_export" because="no difference is 0.001 to the last bit"
# - assert np.abs(logits - wanted).max() <= 1e-3, "other logits"
# + assert (np.abs(logits - wanted).max() < 0.001), "other logits"


# %% equivalent="accept_export" because="every second image backwards is a view with a negative step as well"
# - views += [images[::-1], images[::2].swapaxes(2, 3), images * 0]  # backwards, transposed, blank
# + views += [images[::-2], images[::2].swapaxes(2, 3), images * 0]  # backwards, transposed, blank


# %% equivalent="accept_export" because="the order in which two axes are named decides nothing"
# - views += [images[::-1], images[::2].swapaxes(2, 3), images * 0]  # backwards, transposed, blank
# + views += [images[::-1], (images[::2].swapaxes(3, 2)), images * 0]  # backwards, transposed, blank


# %% equivalent="accept_export" because="a transposed view of every third image has steps as well"
# - views += [images[::-1], images[::2].swapaxes(2, 3), images * 0]  # backwards, transposed, blank
# + views += [images[::-1], images[::3].swapaxes(2, 3), images * 0]  # backwards, transposed, blank


# %% wrong="micro_batcher" breaks="full" says="a full batch does not wait"
# Misunderstands: collecting means to wait for a fixed time.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="due" says="not the newest"
# Misunderstands: each arrival starts the waiting time anew.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[-1][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="due" says="batches and times: a batcher"
# Misunderstands: the waiting time begins when the model is free.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed, self.free = [], None, asyncio.Event(), 0.0

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = max(self.waiting[0][0], self.free) + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            self.free = loop.time()
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="oldest" says="batches and times: a batcher"
# Misunderstands: whoever came last is served first.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[-self.max_batch :], self.waiting[: -self.max_batch]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="oldest" says="batches and times: a batcher"
# Misunderstands: `max_batch` is when a call starts, not how much it takes.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting, []
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="rows" says="batches and times: a batcher"
# Misunderstands: the caller gets the result of its call, whole.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(rows)
        self.worker = None


# %% wrong="micro_batcher" breaks="single" says="a second call of predict started"
# Misunderstands: a full batch may start whatever runs.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            asyncio.create_task(self.call(batch))
        self.worker = None

    async def call(self, batch):
        for _ in range(1):
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)


# %% wrong="micro_batcher" breaks="errors" says="✗ errors: "
# Misunderstands: `predict` raises only ValueError.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except ValueError as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="errors" says="✗ errors: "
# Misunderstands: the error belongs to the first caller; the others are told that they are cancelled.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error) if answer is batch[0][2] else answer.cancel()
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="errors" says="✗ errors: "
# Misunderstands: after an error the worker has nothing to do.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                self.worker = None
                return
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="others" says="✗ callers who give up"
# Misunderstands: every future still wants its answer.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="left" says="✗ callers who give up"
# Misunderstands: who gave up is left out of the batch, and that is all. It still counts, and is still the oldest.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await entry[2]

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            batch = [entry for entry in batch if not entry[2].done()]
            if not batch:
                continue
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="left" says="✗ callers who give up"
# Misunderstands: who gave up goes, and the worker need not know. It still wakes for the one who left.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        while len(self.waiting) < self.max_batch:
                            await self.changed.wait()
                            self.changed.clear()
                if not self.waiting:
                    continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="overload" says="✗ overload"
# Misunderstands: a queue may grow.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="overload" says="✗ overload"
# Misunderstands: items in a running call wait as well.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        self.inside = getattr(self, 'inside', 0)
        if self.inside >= self.max_waiting:
            raise Overloaded
        self.inside += 1
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            self.inside -= 1
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="overload" says="✗ overload"
# Misunderstands: `>` is `>=`.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) > self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                self.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" breaks="own" says="✗ two batchers"
# Misunderstands: what stands in the class belongs to each batcher.
class MicroBatcher:
    waiting, worker, changed = [], None, asyncio.Event()

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        MicroBatcher.waiting, MicroBatcher.worker, MicroBatcher.changed = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        entry = [loop.time(), item, loop.create_future()]
        MicroBatcher.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            MicroBatcher.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            if any(other is entry for other in self.waiting):
                MicroBatcher.waiting = [other for other in self.waiting if other is not entry]
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0] + self.max_wait
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch, MicroBatcher.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                if not answer.done():
                    answer.set_result(row)
        MicroBatcher.worker = None


# %% wrong="micro_batcher" breaks="batch" says="predict got: ndarray of"
# Misunderstands: a list of numbers is an array for the model. It is float64.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict = predict
        self.max_batch, self.max_wait, self.max_waiting = max_batch, max_wait, max_waiting
        self.waiting, self.changed, self.worker = [], asyncio.Event(), None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded("full")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        entry = [loop.time() + self.max_wait, item.tolist(), future]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await future
        finally:
            before = len(self.waiting)
            self.waiting = [other for other in self.waiting if other is not entry]
            if len(self.waiting) < before:
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            if len(self.waiting) < self.max_batch and loop.time() < self.waiting[0][0]:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self.waiting[0][0]):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.array([item for _, item, _ in batch]))
                for (_, _, future), row in zip(batch, rows):
                    if not future.done():
                        future.set_result(row)
            except Exception as error:
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
        self.worker = None


# %% wrong="micro_batcher" breaks="batch" says="predict got: ndarray of"
# Misunderstands: a batch is a table of rows.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict = predict
        self.max_batch, self.max_wait, self.max_waiting = max_batch, max_wait, max_waiting
        self.waiting, self.changed, self.worker = [], asyncio.Event(), None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded("full")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        entry = [loop.time() + self.max_wait, item, future]
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await future
        finally:
            before = len(self.waiting)
            self.waiting = [other for other in self.waiting if other is not entry]
            if len(self.waiting) < before:
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            if len(self.waiting) < self.max_batch and loop.time() < self.waiting[0][0]:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self.waiting[0][0]):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([np.ravel(item) for _, item, _ in batch]))
                for (_, _, future), row in zip(batch, rows):
                    if not future.done():
                        future.set_result(row)
            except Exception as error:
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
        self.worker = None


# %% wrong="micro_batcher" breaks="left" says="who has left counts no more"
# Misunderstands: once max_batch items have been there, the batch is ready for good.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict = predict
        self.max_batch, self.max_wait, self.max_waiting = max_batch, max_wait, max_waiting
        self.waiting, self.changed, self.worker = [], asyncio.Event(), None
        self.full = False

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded("full")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        entry = [loop.time() + self.max_wait, item, future]
        self.waiting.append(entry)
        self.full = self.full or len(self.waiting) >= self.max_batch
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await future
        finally:
            before = len(self.waiting)
            self.waiting = [other for other in self.waiting if other is not entry]
            if len(self.waiting) < before:
                self.changed.set()

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            if not self.full and loop.time() < self.waiting[0][0]:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self.waiting[0][0]):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            self.full = len(self.waiting) >= self.max_batch
            try:
                rows = await self.predict(np.stack([item for _, item, _ in batch]))
                for (_, _, future), row in zip(batch, rows):
                    if not future.done():
                        future.set_result(row)
            except Exception as error:
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
        self.full = False
        self.worker = None


# %% wrong="micro_batcher" breaks="others" says="✗ overload"
# Misunderstands: a call that fails has all its callers still. Who gave up meanwhile ends the worker.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting = deque()  # (when it is due, item, future)
        self.changed = asyncio.Event()
        self.worker = None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} requests wait already")
        loop = asyncio.get_running_loop()
        entry = loop.time() + self.max_wait, item, loop.create_future()
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            for place, other in enumerate(self.waiting):  # still waiting: its caller gave up
                if other is entry:
                    del self.waiting[place]
                    self.changed.set()
                    break

    async def work(self):
        """Runs batches as long as somebody waits."""
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0]
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            await self.call([self.waiting.popleft() for _ in range(min(self.max_batch, len(self.waiting)))])
        self.worker = None

    async def call(self, batch):
        """One call of predict, and its answers."""
        try:
            rows, error = await self.predict(np.stack([item for _, item, _ in batch])), None
        except Exception as raised:
            for _, _, answer in batch:
                answer.set_exception(raised)
            return
        for (_, _, answer), row in zip(batch, rows):
            if answer.done():  # its caller gave up
                continue
            answer.set_result(row) if error is None else answer.set_exception(error)


# %% wrong="micro_batcher" breaks="errors" says="✗ errors: "
# Misunderstands: an error is its type. Its text is lost.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting = deque()  # (when it is due, item, future)
        self.changed = asyncio.Event()
        self.worker = None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} requests wait already")
        loop = asyncio.get_running_loop()
        entry = loop.time() + self.max_wait, item, loop.create_future()
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            for place, other in enumerate(self.waiting):  # still waiting: its caller gave up
                if other is entry:
                    del self.waiting[place]
                    self.changed.set()
                    break

    async def work(self):
        """Runs batches as long as somebody waits."""
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0]
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            await self.call([self.waiting.popleft() for _ in range(min(self.max_batch, len(self.waiting)))])
        self.worker = None

    async def call(self, batch):
        """One call of predict, and its answers."""
        try:
            rows, error = await self.predict(np.stack([item for _, item, _ in batch])), None
        except Exception as raised:
            rows, error = [None] * len(batch), raised
        for (_, _, answer), row in zip(batch, rows):
            if answer.done():  # its caller gave up
                continue
            answer.set_result(row) if error is None else answer.set_exception(type(error)())


# %% wrong="micro_batcher" breaks="full, due" says="batches and times: a batcher"
# Misunderstands: to look every millisecond is to notice at once.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting = deque()  # (when it is due, item, future)
        self.changed = asyncio.Event()
        self.worker = None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} requests wait already")
        loop = asyncio.get_running_loop()
        entry = loop.time() + self.max_wait, item, loop.create_future()
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            for place, other in enumerate(self.waiting):  # still waiting: its caller gave up
                if other is entry:
                    del self.waiting[place]
                    self.changed.set()
                    break

    async def work(self):
        """Runs batches as long as somebody waits."""
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0]
            if len(self.waiting) < self.max_batch and loop.time() < due:
                await asyncio.sleep(0.001)
                continue
            await self.call([self.waiting.popleft() for _ in range(min(self.max_batch, len(self.waiting)))])
        self.worker = None

    async def call(self, batch):
        """One call of predict, and its answers."""
        try:
            rows, error = await self.predict(np.stack([item for _, item, _ in batch])), None
        except Exception as raised:
            rows, error = [None] * len(batch), raised
        for (_, _, answer), row in zip(batch, rows):
            if answer.done():  # its caller gave up
                continue
            answer.set_result(row) if error is None else answer.set_exception(error)


# %% right="micro_batcher"
class MicroBatcher:
    # No background task that lives on: each call, when it is done, looks whether the next is due.
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.fn, self.size, self.patience, self.room = predict, max_batch, max_wait, max_waiting
        self.queue, self.busy, self.alarm = [], False, None

    async def submit(self, item):
        if len(self.queue) >= self.room:
            raise Overloaded("full")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.queue.append((item, future, loop.time() + self.patience))
        self.look()
        try:
            return await future
        except asyncio.CancelledError:
            self.queue = [entry for entry in self.queue if entry[1] is not future]
            if self.alarm:
                self.alarm.cancel()
                self.alarm = None
            self.look()
            raise

    def look(self):
        loop = asyncio.get_running_loop()
        if self.busy or not self.queue:
            return
        if len(self.queue) >= self.size or loop.time() >= self.queue[0][2] - 1e-9:
            if self.alarm:
                self.alarm.cancel()
            self.busy, self.alarm = True, None
            self.task = loop.create_task(self.go())
        elif self.alarm is None:
            self.alarm = loop.call_at(self.queue[0][2], self.ring)

    def ring(self):
        self.alarm = None
        self.look()

    async def go(self):
        chosen = []
        while self.queue and len(chosen) < self.size:
            item, future, _ = self.queue.pop(0)
            if not future.cancelled():
                chosen.append((item, future))
        try:
            if chosen:
                rows = await self.fn(np.array([item for item, _ in chosen]))
                for (_, future), row in zip(chosen, rows):
                    if not future.cancelled():
                        future.set_result(row)
        except Exception as error:
            for _, future in chosen:
                if not future.done():
                    future.set_exception(error)
        finally:
            self.busy = False
            self.look()


# %% right="micro_batcher"
# A condition in place of an event, the usual waiting loop with `wait_for`, and a worker that lives on.
class MicroBatcher:
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.__dict__.update(predict=predict, n=max_batch, patience=max_wait, room=max_waiting)
        self.queue, self.news, self.task = {}, asyncio.Condition(), None

    async def submit(self, item):
        if len(self.queue) >= self.room:
            raise Overloaded(f"{self.room}")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.queue[future] = (item, loop.time())
        if self.task is None or self.task.done():
            self.task = loop.create_task(self.forever())
        try:
            await self.tell()
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if self.queue.pop(future, None):
                loop.create_task(self.tell())
            future.cancel()
            raise

    async def tell(self):
        async with self.news:
            self.news.notify_all()

    async def forever(self):
        loop = asyncio.get_running_loop()
        while self.queue:
            while self.queue and len(self.queue) < self.n:
                start = next(iter(self.queue.values()))[1]
                if loop.time() - start >= self.patience:
                    break
                async with self.news:
                    try:
                        await asyncio.wait_for(self.news.wait(), self.patience - (loop.time() - start))
                    except asyncio.TimeoutError:
                        pass
            futures = list(self.queue)[: self.n]
            if not futures:
                continue
            items = [self.queue.pop(future)[0] for future in futures]
            try:
                results = await self.predict(np.array(items, dtype=np.float32))
            except Exception as error:
                results = [error] * len(futures)
            for future, result in zip(futures, results):
                if not future.done():
                    (future.set_exception if isinstance(result, Exception) else future.set_result)(result)


# %% wrong="micro_batcher" breaks="errors" says="✗ errors: "
# Misunderstands: an error is made of its class and its text. A KeyError gets other text, a class with two arguments cannot
# be made.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.changed, self.worker = [], asyncio.Event(), None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded("full")
        loop = asyncio.get_running_loop()
        entry = loop.time() + self.max_wait, item, loop.create_future()
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            for i, other in enumerate(self.waiting):
                if other is entry:
                    del self.waiting[i]
                    self.changed.set()
                    break

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            if len(self.waiting) < self.max_batch and self.waiting[0][0] > loop.time():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self.waiting[0][0]):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows, error = await self.predict(np.stack([item for _, item, _ in batch])), None
            except Exception as raised:
                rows, error = None, raised
            for i, (_, _, future) in enumerate(batch):
                if future.done():
                    continue
                if error is None:
                    future.set_result(rows[i])
                else:
                    future.set_exception(copy_of(error))
        self.worker = None


def copy_of(error):
    try:
        return type(error)(str(error))
    except TypeError as other:
        return other


# %% wrong="micro_batcher" breaks="rows" says="everything waits for something that never comes"
# Misunderstands: an array object is one request. A client may ask twice with the same.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.changed, self.worker = {}, asyncio.Event(), None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded("full")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.waiting[id(item)] = loop.time() + self.max_wait, item, future
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await future
        except asyncio.CancelledError:
            if self.waiting.pop(id(item), None) is not None:
                self.changed.set()
            raise

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = next(iter(self.waiting.values()))[0]
            if len(self.waiting) < self.max_batch and due > loop.time():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            batch = [self.waiting.pop(key) for key in list(self.waiting)[: self.max_batch]]
            try:
                rows, error = await self.predict(np.stack([item for _, item, _ in batch])), None
            except Exception as raised:
                rows, error = None, raised
            for i, (_, _, future) in enumerate(batch):
                if future.done():
                    continue
                if error is None:
                    future.set_result(rows[i])
                else:
                    future.set_exception(error)
        self.worker = None


# %% wrong="micro_batcher" breaks="errors" says="✗ errors: "
# Misunderstands: the kinds of errors that a model raises can be listed.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.changed, self.worker = [], asyncio.Event(), None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded("full")
        loop = asyncio.get_running_loop()
        entry = loop.time() + self.max_wait, item, loop.create_future()
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            for i, other in enumerate(self.waiting):
                if other is entry:
                    del self.waiting[i]
                    self.changed.set()
                    break

    async def work(self):
        loop = asyncio.get_running_loop()
        while self.waiting:
            if len(self.waiting) < self.max_batch and self.waiting[0][0] > loop.time():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self.waiting[0][0]):
                        await self.changed.wait()
                continue
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows, error = await self.predict(np.stack([item for _, item, _ in batch])), None
            except (ValueError, OSError, AttributeError) as raised:
                rows, error = None, raised
            for i, (_, _, future) in enumerate(batch):
                if future.done():
                    continue
                if error is None:
                    future.set_result(rows[i])
                else:
                    future.set_exception(error)
        self.worker = None


# %% equivalent="micro_batcher" because="a task is true"
# - if self.worker is None:
# + if (not self.worker):


# %% equivalent="micro_batcher" because="the smaller of two is the same in either order"
# - await self.call([self.waiting.popleft() for _ in range(min(self.max_batch, len(self.waiting)))])
# + await self.call([self.waiting.popleft() for _ in range((min(len(self.waiting), self.max_batch)))])


# %% equivalent="micro_batcher" because="a wait until now is over at once"
# - if len(self.waiting) < self.max_batch and loop.time() < due:
# + if len(self.waiting) < self.max_batch and (loop.time() <= due):


# %% equivalent="micro_batcher" because="an exception is true"
# - answer.set_result(row) if error is None else answer.set_exception(error)
# + answer.set_result(row) if (not error) else answer.set_exception(error)


# %% equivalent="micro_batcher" because="a batcher that is woken for another looks at its own items and waits on"
# - self.changed = asyncio.Event()
# + type(self).changed = asyncio.Event()


# %% wrong="micro_batcher" breaks="rows" says="batches and times: a batcher"
# Misunderstands: an answer has the shape of its item.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting = deque()  # (when it is due, item, future)
        self.changed = asyncio.Event()
        self.worker = None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} requests wait already")
        loop = asyncio.get_running_loop()
        entry = loop.time() + self.max_wait, item, loop.create_future()
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return (await entry[2]).reshape(item.shape)
        finally:
            for place, other in enumerate(self.waiting):  # still waiting: its caller gave up
                if other is entry:
                    del self.waiting[place]
                    self.changed.set()
                    break

    async def work(self):
        """Runs batches as long as somebody waits."""
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0]
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            await self.call([self.waiting.popleft() for _ in range(min(self.max_batch, len(self.waiting)))])
        self.worker = None

    async def call(self, batch):
        """One call of predict, and its answers."""
        try:
            rows, error = await self.predict(np.stack([item for _, item, _ in batch])), None
        except Exception as raised:
            rows, error = [None] * len(batch), raised
        for (_, _, answer), row in zip(batch, rows):
            if answer.done():  # its caller gave up
                continue
            answer.set_result(row) if error is None else answer.set_exception(error)


# %% wrong="micro_batcher" breaks="others" says="✗ callers who give up"
# Misunderstands: a call for which nobody waits any more may be stopped.
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting = deque()  # (when it is due, item, future)
        self.changed = asyncio.Event()
        self.worker = None

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} requests wait already")
        loop = asyncio.get_running_loop()
        entry = loop.time() + self.max_wait, item, loop.create_future()
        self.waiting.append(entry)
        self.changed.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        try:
            return await entry[2]
        finally:
            for place, other in enumerate(self.waiting):  # still waiting: its caller gave up
                if other is entry:
                    del self.waiting[place]
                    self.changed.set()
                    break

    async def work(self):
        """Runs batches as long as somebody waits."""
        loop = asyncio.get_running_loop()
        while self.waiting:
            due = self.waiting[0][0]
            if len(self.waiting) < self.max_batch and loop.time() < due:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self.changed.wait()
                continue
            await self.call([self.waiting.popleft() for _ in range(min(self.max_batch, len(self.waiting)))])
        self.worker = None

    async def call(self, batch):
        """One call of predict, and its answers."""
        try:
            call = asyncio.ensure_future(self.predict(np.stack([item for _, item, _ in batch])))
            for _, _, answer in batch:
                answer.add_done_callback(lambda _: all(other.done() for _, _, other in batch) and call.cancel())
            rows, error = await call, None
        except (Exception, asyncio.CancelledError) as raised:
            rows, error = [None] * len(batch), raised
        for (_, _, answer), row in zip(batch, rows):
            if answer.done():  # its caller gave up
                continue
            answer.set_result(row) if error is None else answer.set_exception(error)


# %% wrong="service" breaks="answer" says="the item given to batcher.submit"
# Misunderstands: the batcher wants the picture as it came, without the channel's axis.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image)
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="answer" says="the probabilities in the answer"
# Misunderstands: logits are probabilities.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": logits.tolist()}

    return app


# %% wrong="service" breaks="answer" says="valid request whose body comes in pieces"
# Misunderstands: a body comes in one piece.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
                    break
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="own" says="of six at the same time"
# Misunderstands: one buffer serves all requests. While one waits for its answer, the next overwrites it.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()
    last = {}

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                last['logits'] = await batcher.submit(image[None])
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                logits = last['logits']
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="own" says="each has its own batcher"
# Misunderstands: there is one application.
the_batcher = []


def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()
    the_batcher.append(batcher)

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await the_batcher[-1].submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="json" says="9,000 brackets"
# Misunderstands: only ValueError comes from bad JSON. Deep nesting raises RecursionError.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="json" says="JSON that is no object (null)"
# Misunderstands: JSON is always an object.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="fields" says="an unknown field is answered with 200"
# Misunderstands: what is not needed can be ignored.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or "image" not in content:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="fields" says="a row of 17 and one of 15"
# Misunderstands: 256 numbers are a picture, however they are laid out.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if sum(map(len, rows)) != 256:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(sum(rows, []), dtype=np.float32).reshape(16, 16)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="numbers" says="Text is no number"
# Misunderstands: `float(value)` accepts numbers only.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        value = float(value)
        if not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError, OverflowError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="numbers" says="A truth value is no number"
# Misunderstands: `isinstance(True, int)` is False.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if not isinstance(value, (int, float)) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="finite" says="Numbers must be finite"
# Misunderstands: JSON has no NaN.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or abs(value) > 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="finite" says="1e39 in the image"
# Misunderstands: what is finite in float64 is so in float32.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError, OverflowError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="finite" says="400 digits"
# Misunderstands: `math.isfinite` answers for every number. For a whole number beyond float64 it raises OverflowError.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="validated_first" says="reached the batcher"
# Misunderstands: what matters is the status, not when it is known.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float):
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError, OverflowError):
            raise HTTPException(422)
        with np.errstate(over="ignore"):
            image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        if not np.isfinite(image).all():
            raise HTTPException(422)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="size" says="fills the memory first"
# Misunderstands: `request.body()` can be measured when it is there.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        try:
            async with asyncio.timeout(body_seconds):
                body = await request.body()
        except TimeoutError:
            raise HTTPException(408)
        if len(body) > max_bytes:
            raise HTTPException(413)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="size" says="a body of exactly max_bytes"
# Misunderstands: `max_bytes` is the first size that is too large.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) >= max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="size" says="with max_bytes=4500 is answered with"
# Misunderstands: the length that a client declares is the length of the body.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if int(request.headers.get('content-length', 0)) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="size" says="Bytes are counted"
# Misunderstands: the length of a text is its size. The characters of the decoded text are counted.
Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]


class Picture(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    image: Annotated[list[Row], Field(min_length=16, max_length=16)]


def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    app = FastAPI()

    async def read(request):
        import codecs

        decoder, text = codecs.getincrementaldecoder("utf-8")(), ""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    text += decoder.decode(piece)
                    if len(text) > max_bytes:
                        raise HTTPException(413, "the body is too large")
                text += decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            raise HTTPException(422, "no UTF-8") from None
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return text

    @app.post("/predict")
    async def predict(request: Request):
        text = await read(request)
        try:
            picture = Picture.model_validate_json(text)
        except ValidationError:
            raise HTTPException(422, "not an image") from None
        with np.errstate(over="ignore"):
            item = np.array([picture.image], dtype=np.float32)
        if not np.isfinite(item).all():
            raise HTTPException(422, "a number is too large")
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except Exception:
            raise HTTPException(504 if limit.expired() else 500, "no answer") from None
        return {"label": int(np.argmax(logits)), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="pace" says="one limit for all pieces together"
# Misunderstands: a limit for each piece is enough. A patient client holds on for hours.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body, stream = b"", request.stream()
        while True:
            try:
                piece = await asyncio.wait_for(anext(stream), body_seconds)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise HTTPException(408)
            body += piece
            if len(body) > max_bytes:
                raise HTTPException(413)
            if asyncio.get_running_loop().time() > 10 * body_seconds:
                raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="overloaded" says="has no header Retry-After"
# Misunderstands: the status says all.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503)
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="overloaded" says="no surprise: 503"
# Misunderstands: every error of the batcher is one of the model.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="late" says="Two limits, one after the other"
# Misunderstands: one limit around everything is as good.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        begin, body = asyncio.get_running_loop().time(), b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout_at(begin + answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="late" says="60 s, with answer_seconds=1.5"
# Misunderstands: a model always answers.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        try:
            logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="private" says="tells the client the text"
# Misunderstands: the client should know what went wrong inside.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception as error:
            raise HTTPException(504) if limit.expired() else HTTPException(500, f"{type(error).__name__}: {error}")
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="private" says="left the application"
# Misunderstands: a model fails with RuntimeError only.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except TimeoutError:
            raise HTTPException(504 if limit.expired() else 500)
        except RuntimeError:
            raise HTTPException(500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="private" says="the batcher's own error, long before answer_seconds"
# Misunderstands: every TimeoutError around submit is the service's own limit.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Drawing(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return bytes(body)

    def parse(body):
        try:
            drawing = Drawing.model_validate_json(body.decode("utf-8"))
        except (ValidationError, UnicodeDecodeError):
            raise HTTPException(422, "expected {image: 16 rows of 16 finite numbers}") from None
        with np.errstate(over="ignore"):
            image = np.array(drawing.image, dtype=np.float64).astype(np.float32)
        if not np.isfinite(image).all():
            raise HTTPException(422, "a number beyond float32")
        return image[None]

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        image = parse(await read_body(request))
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image)
        except Overloaded:
            raise HTTPException(503, "overloaded", headers={"Retry-After": "1"}) from None
        except TimeoutError:
            raise HTTPException(504, "no answer in time") from None
        except Exception:
            raise HTTPException(500, "internal error") from None
        logits = np.asarray(logits)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="json" says="in UTF-16 is answered with 200"
# Misunderstands: `json.loads` takes bytes, and finds what is no UTF-8. It reads UTF-16 and UTF-32 as well.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Drawing(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return bytes(body)

    def parse(body):
        try:
            drawing = Drawing.model_validate(json.loads(body))
        except (ValueError, RecursionError):
            raise HTTPException(422, "expected {image: 16 rows of 16 finite numbers}") from None
        with np.errstate(over="ignore"):
            image = np.array(drawing.image, dtype=np.float64).astype(np.float32)
        if not np.isfinite(image).all():
            raise HTTPException(422, "a number beyond float32")
        return image[None]

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        image = parse(await read_body(request))
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image)
        except Overloaded:
            raise HTTPException(503, "overloaded", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            raise HTTPException(500, "internal error") from None
        logits = np.asarray(logits)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="once" says="the calls of batcher.submit for a request where it raises RuntimeError"
# Misunderstands: an error of the model may be a passing one.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Drawing(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return bytes(body)

    def parse(body):
        try:
            drawing = Drawing.model_validate_json(body.decode("utf-8"))
        except (ValidationError, UnicodeDecodeError):
            raise HTTPException(422, "expected {image: 16 rows of 16 finite numbers}") from None
        with np.errstate(over="ignore"):
            image = np.array(drawing.image, dtype=np.float64).astype(np.float32)
        if not np.isfinite(image).all():
            raise HTTPException(422, "a number beyond float32")
        return image[None]

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        image = parse(await read_body(request))
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                try:
                    logits = await batcher.submit(image)
                except Overloaded:
                    raise
                except Exception:
                    logits = await batcher.submit(image)
        except Overloaded:
            raise HTTPException(503, "overloaded", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            raise HTTPException(500, "internal error") from None
        logits = np.asarray(logits)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="gone" says="an incomplete body is no request"
# Misunderstands: what has no `more_body` is the end of the body. The message that the client is gone has none either.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Drawing(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                more = True
                while more:
                    message = await request.receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return bytes(body)

    def parse(body):
        try:
            drawing = Drawing.model_validate_json(body.decode("utf-8"))
        except (ValidationError, UnicodeDecodeError):
            raise HTTPException(422, "expected {image: 16 rows of 16 finite numbers}") from None
        with np.errstate(over="ignore"):
            image = np.array(drawing.image, dtype=np.float64).astype(np.float32)
        if not np.isfinite(image).all():
            raise HTTPException(422, "a number beyond float32")
        return image[None]

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        image = parse(await read_body(request))
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image)
        except Overloaded:
            raise HTTPException(503, "overloaded", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            raise HTTPException(500, "internal error") from None
        logits = np.asarray(logits)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="answer" says="whose logits are several hundred"
# Misunderstands: the softmax is exp over its sum. Of large logits exp is infinite.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Drawing(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return bytes(body)

    def parse(body):
        try:
            drawing = Drawing.model_validate_json(body.decode("utf-8"))
        except (ValidationError, UnicodeDecodeError):
            raise HTTPException(422, "expected {image: 16 rows of 16 finite numbers}") from None
        with np.errstate(over="ignore"):
            image = np.array(drawing.image, dtype=np.float64).astype(np.float32)
        if not np.isfinite(image).all():
            raise HTTPException(422, "a number beyond float32")
        return image[None]

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        image = parse(await read_body(request))
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image)
        except Overloaded:
            raise HTTPException(503, "overloaded", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            raise HTTPException(500, "internal error") from None
        logits = np.asarray(logits)
        return {"label": int(logits.argmax()), "probabilities": (np.exp(logits) / np.exp(logits).sum()).tolist()}

    return app


# %% wrong="service" breaks="fields" says="a row of 17 and one of 15"
# Misunderstands: 16 rows and 256 numbers are 16 rows of 16.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Picture(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)  # strict: "0.5" and true are no numbers
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {body_seconds} s") from None
        return bytes(body)

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body = await read_body(request)
        try:
            fields = json.loads(body.decode("utf-8"))
            rows = fields["image"]
            if set(fields) != {'image'} or type(rows) is not list or any(type(r) is not list for r in rows) or len(rows) != 16 or sum(len(row) for row in rows) != 256:
                raise ValueError
            for row in rows:
                for number in row:
                    if type(number) not in (int, float):
                        raise ValueError
            item = np.array([number for row in rows for number in row], dtype=np.float64).astype(np.float32).reshape(1, 16, 16)
            if not np.isfinite(item).all():
                raise ValueError
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise HTTPException(422, "no picture") from None
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():  # otherwise a TimeoutError is the batcher's own
                raise HTTPException(504, f"no answer within {answer_seconds} s") from None
            raise HTTPException(500, "the model failed") from None
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="json" says="a byte in it that is no UTF-8"
# Misunderstands: bytes that are no text can be left out.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Picture(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)  # strict: "0.5" and true are no numbers
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {body_seconds} s") from None
        return bytes(body)

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body = await read_body(request)
        try:
            fields = json.loads(body.decode("utf-8", errors="ignore"))
            rows = fields["image"]
            if set(fields) != {'image'} or type(rows) is not list or any(type(r) is not list for r in rows) or len(rows) != 16 or any(len(row) != 16 for row in rows):
                raise ValueError
            for row in rows:
                for number in row:
                    if type(number) not in (int, float):
                        raise ValueError
            item = np.array([number for row in rows for number in row], dtype=np.float64).astype(np.float32).reshape(1, 16, 16)
            if not np.isfinite(item).all():
                raise ValueError
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise HTTPException(422, "no picture") from None
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():  # otherwise a TimeoutError is the batcher's own
                raise HTTPException(504, f"no answer within {answer_seconds} s") from None
            raise HTTPException(500, "the model failed") from None
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="own" says="a batcher that is overloaded is answered with 503"
# Misunderstands: Retry-After closes the service for so long.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Picture(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)  # strict: "0.5" and true are no numbers
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {body_seconds} s") from None
        return bytes(body)

    app = FastAPI()
    closed = [0.0]

    @app.post("/predict")
    async def predict(request: Request):
        body = await read_body(request)
        try:
            picture = Picture.model_validate_json(body)
        except ValidationError as error:
            raise HTTPException(422, [{"at": e["loc"], "what": e["msg"]} for e in error.errors()]) from None
        with np.errstate(over="ignore"):
            item = np.array([picture.image], dtype=np.float32)
        if not np.isfinite(item).all():
            raise HTTPException(422, "a number is too large")
        if asyncio.get_running_loop().time() < closed[0]:
            raise HTTPException(503, 'wait', headers={'Retry-After': '1'})
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            closed[0] = asyncio.get_running_loop().time() + 1
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():  # otherwise a TimeoutError is the batcher's own
                raise HTTPException(504, f"no answer within {answer_seconds} s") from None
            raise HTTPException(500, "the model failed") from None
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="finite" says="the largest numbers that float32 holds"
# Misunderstands: 3.4e38 is the largest float32.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Picture(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, f"the body was not complete after {body_seconds} s") from None
        return bytes(body)

    def validated(body):
        try:
            picture = Picture.model_validate_json(body)
        except (ValueError, OverflowError, RecursionError):
            raise HTTPException(422, "expected JSON: image, 16 rows of 16 numbers") from None
        exact = np.array([picture.image], dtype=np.float64)
        if np.abs(exact).max() > 3.4e38:
            raise HTTPException(422, "a number is too large")
        return exact.astype(np.float32)

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        item = validated(await read_body(request))
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "overloaded", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            raise HTTPException(500, "internal error") from None
        logits = np.asarray(logits)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% right="service"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    # Plain Starlette-style handling, validation by hand, wait_for in place of timeout.
    from fastapi.responses import JSONResponse

    app = FastAPI()

    def refuse(status, why, **headers):
        return JSONResponse({"error": why}, status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def collect(request):
        kept = []
        async for piece in request.stream():
            kept.append(piece)
            if sum(map(len, kept)) > max_bytes:
                return None
        return b"".join(kept)

    @app.post("/predict")
    async def classify(request: Request):
        try:
            body = await asyncio.wait_for(collect(request), body_seconds)
        except asyncio.TimeoutError:
            return refuse(408, "slow")
        if body is None:
            return refuse(413, "big")
        try:
            content = json.loads(str(body, "utf-8"))
            if not isinstance(content, dict) or list(content) != ["image"]:
                raise ValueError
            rows = [[float(v) if type(v) in (int, float) else None for v in row] for row in content["image"]]
            with np.errstate(all="ignore"):
                image = np.array(rows, dtype=np.float32).reshape(1, 16, 16)
            if [len(row) for row in rows] != [16] * 16 or None in sum(rows, []) or not np.isfinite(image).all():
                raise ValueError
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return refuse(422, "one image of 16 x 16 finite numbers")
        asking = asyncio.create_task(batcher.submit(image))
        if not (await asyncio.wait([asking], timeout=answer_seconds))[0]:
            asking.cancel()
            return refuse(504, "late")
        try:
            logits = asking.result()
        except Overloaded:
            return refuse(503, "busy", Retry_After="3")
        except Exception:
            return refuse(500, "broken")
        return {"label": np.argmax(logits).item(), "probabilities": [float(p) for p in softmax(logits)]}

    return app


# %% right="service"
# By hand, with exact types and the limit of float32.
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    app = FastAPI()

    def number(value):
        if type(value) not in (int, float) or not abs(value) <= 3.4028235e38:
            raise ValueError("a finite number")
        return float(value)

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body.decode())
            if type(content) is not dict or set(content) != {"image"}:
                raise ValueError("one field")
            rows = [[number(value) for value in row] for row in content["image"]]
            if [len(row) for row in rows] != [16] * 16:
                raise ValueError("16 x 16")
        except (ValueError, TypeError, RecursionError):
            raise HTTPException(422)
        image = np.array(rows, dtype=np.float32)
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except Exception:
            raise HTTPException(504 if limit.expired() else 500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% right="service"
# Validation by hand; submit as a task.
from fastapi.responses import JSONResponse


class Refused(Exception):
    def __init__(self, status, why, **headers):
        self.response = JSONResponse({"detail": why}, status_code=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


def picture_of(body):
    """float32 (1, 16, 16) from the bytes of a body; ValueError where it is not what was asked for."""
    try:
        data = json.loads(body.decode("utf-8"))
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(data, dict) or set(data) != {"image"}:
        raise ValueError("an object with image, and nothing else")
    rows = data["image"]
    if not isinstance(rows, list) or len(rows) != 16:
        raise ValueError("16 rows")
    result = np.empty((1, 16, 16), dtype=np.float32)
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 16:
            raise ValueError("16 numbers in each row")
        for j, entry in enumerate(row):
            if type(entry) not in (int, float):
                raise ValueError("only numbers")
            try:
                with np.errstate(all="ignore"):
                    result[0, i, j] = np.float32(float(entry))
            except OverflowError:
                raise ValueError("too large") from None
    if not np.isfinite(result).all():
        raise ValueError("only finite numbers")
    return result


def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""

    async def read(request):
        pieces, size = [], 0
        async for piece in request.stream():
            size += len(piece)
            if size > max_bytes:
                raise Refused(413, "too large")
            pieces.append(piece)
        return b"".join(pieces)

    async def infer(image):
        task = asyncio.ensure_future(batcher.submit(image))
        try:
            done, _ = await asyncio.wait({task}, timeout=answer_seconds)
        finally:
            task.cancel()  # does nothing to a task that is done
        if not done:
            raise Refused(504, "too slow")
        error = task.exception()
        if isinstance(error, Overloaded):
            raise Refused(503, "too many requests", Retry_After="2")
        if error is not None:
            raise Refused(500, "something went wrong here")
        return task.result()

    async def predict(request: Request):
        try:
            try:
                body = await asyncio.wait_for(read(request), timeout=body_seconds)
            except asyncio.TimeoutError:
                raise Refused(408, "too slow")
            try:
                image = picture_of(body)
            except ValueError as error:
                raise Refused(422, str(error)[:100])
            logits = await infer(image)
        except Refused as refused:
            return refused.response
        return {"label": int(np.argmax(logits)), "probabilities": [float(p) for p in softmax(logits)]}

    app = FastAPI()
    app.add_api_route("/predict", predict, methods=["POST"])
    return app


# %% wrong="service" breaks="json" says="a valid request with a letter behind it is answered with 200"
# Misunderstands: a body that begins validly is valid.
def whole_or_not(entry):
    """The float32 value of a JSON number."""
    if type(entry) not in (int, float):
        raise ValueError("no number")
    with np.errstate(all="ignore"):
        value = np.float32(float(entry))
    if not np.isfinite(value):
        raise ValueError("beyond float32")
    return value


def picture_of(body):
    """float32 (1, 16, 16), or ValueError."""
    try:
        content = json.JSONDecoder().raw_decode(body.decode("utf-8").strip())[0]
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(content, dict) or set(content) != {"image"}:
        raise ValueError("one field, image")
    rows = content["image"]
    if not isinstance(rows, list) or len(rows) != 16 or not all(isinstance(row, list) and len(row) == 16 for row in rows):
        raise ValueError("16 rows of 16")
    try:
        return np.array([[[whole_or_not(entry) for entry in row] for row in rows]], dtype=np.float32)
    except OverflowError:
        raise ValueError("a number too large") from None


def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    app = FastAPI()

    async def read(request):
        pieces, count = [], 0
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    count += len(piece)
                    if count > max_bytes:
                        raise HTTPException(413, "the body is too large")
                    pieces.append(piece)
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return b"".join(pieces)

    @app.post("/predict")
    async def predict(request: Request):
        body = await read(request)
        try:
            item = picture_of(body)
        except ValueError:
            raise HTTPException(422, "16 rows of 16 finite numbers, please") from None
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            raise HTTPException(500, "internal error") from None
        probabilities = softmax(np.asarray(logits, dtype=np.float32))
        return {"label": int(np.argmax(logits)), "probabilities": probabilities.tolist()}

    return app


# %% wrong="service" breaks="private" says="raises ValidationError"
# Misunderstands: a ValidationError can only come from the body.
Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]


class Picture(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    image: Annotated[list[Row], Field(min_length=16, max_length=16)]


def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    app = FastAPI()

    async def read(request):
        pieces, count = [], 0
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    count += len(piece)
                    if count > max_bytes:
                        raise HTTPException(413, "the body is too large")
                    pieces.append(piece)
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return b"".join(pieces)

    @app.post("/predict")
    async def predict(request: Request):
        body = await read(request)
        limit = asyncio.timeout(answer_seconds)
        try:
            item = np.array([Picture.model_validate_json(body).image], dtype=np.float64)
            if np.abs(item).max() > np.finfo(np.float32).max:
                raise HTTPException(422, "a number beyond float32")
            item = item.astype(np.float32)
            async with limit:
                logits = await batcher.submit(item)
        except ValidationError:
            raise HTTPException(422, "16 rows of 16 finite numbers, please") from None
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except Exception as error:
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            if isinstance(error, HTTPException) and error.detail == "a number beyond float32":
                raise
            raise HTTPException(500, "internal error") from None
        probabilities = softmax(np.asarray(logits, dtype=np.float32))
        return {"label": int(np.argmax(logits)), "probabilities": probabilities.tolist()}

    return app


# %% wrong="service" breaks="answer" says="whole numbers of 20 and 39 digits"
# Misunderstands: a whole number of JSON has at most 64 bits.
def whole_or_not(entry):
    """The float32 value of a JSON number."""
    if type(entry) not in (int, float):
        raise ValueError("no number")
    if type(entry) is int and not -(2**63) <= entry < 2**63:
        raise ValueError("no 64-bit integer")
    with np.errstate(all="ignore"):
        value = np.float32(float(entry))
    if not np.isfinite(value):
        raise ValueError("beyond float32")
    return value


def picture_of(body):
    """float32 (1, 16, 16), or ValueError."""
    try:
        content = json.loads(body.decode("utf-8"))
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(content, dict) or set(content) != {"image"}:
        raise ValueError("one field, image")
    rows = content["image"]
    if not isinstance(rows, list) or len(rows) != 16 or not all(isinstance(row, list) and len(row) == 16 for row in rows):
        raise ValueError("16 rows of 16")
    try:
        return np.array([[[whole_or_not(entry) for entry in row] for row in rows]], dtype=np.float32)
    except OverflowError:
        raise ValueError("a number too large") from None


def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    app = FastAPI()

    async def read(request):
        pieces, count = [], 0
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    count += len(piece)
                    if count > max_bytes:
                        raise HTTPException(413, "the body is too large")
                    pieces.append(piece)
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return b"".join(pieces)

    @app.post("/predict")
    async def predict(request: Request):
        body = await read(request)
        try:
            item = picture_of(body)
        except ValueError:
            raise HTTPException(422, "16 rows of 16 finite numbers, please") from None
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            raise HTTPException(500, "internal error") from None
        probabilities = softmax(np.asarray(logits, dtype=np.float32))
        return {"label": int(np.argmax(logits)), "probabilities": probabilities.tolist()}

    return app


# %% wrong="service" breaks="private" says="It comes from the batcher"
# Misunderstands: the kinds of errors that a model raises can be listed.
def whole_or_not(entry):
    """The float32 value of a JSON number."""
    if type(entry) not in (int, float):
        raise ValueError("no number")
    with np.errstate(all="ignore"):
        value = np.float32(float(entry))
    if not np.isfinite(value):
        raise ValueError("beyond float32")
    return value


def picture_of(body):
    """float32 (1, 16, 16), or ValueError."""
    try:
        content = json.loads(body.decode("utf-8"))
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(content, dict) or set(content) != {"image"}:
        raise ValueError("one field, image")
    rows = content["image"]
    if not isinstance(rows, list) or len(rows) != 16 or not all(isinstance(row, list) and len(row) == 16 for row in rows):
        raise ValueError("16 rows of 16")
    try:
        return np.array([[[whole_or_not(entry) for entry in row] for row in rows]], dtype=np.float32)
    except OverflowError:
        raise ValueError("a number too large") from None


def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    app = FastAPI()

    async def read(request):
        pieces, count = [], 0
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    count += len(piece)
                    if count > max_bytes:
                        raise HTTPException(413, "the body is too large")
                    pieces.append(piece)
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return b"".join(pieces)

    @app.post("/predict")
    async def predict(request: Request):
        body = await read(request)
        try:
            item = picture_of(body)
        except ValueError:
            raise HTTPException(422, "16 rows of 16 finite numbers, please") from None
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError, HTTPException):
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            raise HTTPException(500, "internal error") from None
        probabilities = softmax(np.asarray(logits, dtype=np.float32))
        return {"label": int(np.argmax(logits)), "probabilities": probabilities.tolist()}

    return app


# %% wrong="service" breaks="json, answer" says="charset=utf-16"
# Misunderstands: the body is in the charset that the header names.
def charset_of(request):
    """The charset that the header names, else UTF-8."""
    _, _, charset = request.headers.get("content-type", "").partition("charset=")
    return charset.strip() or "utf-8"


def whole_or_not(entry):
    """The float32 value of a JSON number."""
    if type(entry) not in (int, float):
        raise ValueError("no number")
    with np.errstate(all="ignore"):
        value = np.float32(float(entry))
    if not np.isfinite(value):
        raise ValueError("beyond float32")
    return value


def picture_of(body, charset):
    """float32 (1, 16, 16), or ValueError."""
    try:
        content = json.loads(body.decode(charset))
    except (RecursionError, LookupError):
        raise ValueError("too deep") from None
    if not isinstance(content, dict) or set(content) != {"image"}:
        raise ValueError("one field, image")
    rows = content["image"]
    if not isinstance(rows, list) or len(rows) != 16 or not all(isinstance(row, list) and len(row) == 16 for row in rows):
        raise ValueError("16 rows of 16")
    try:
        return np.array([[[whole_or_not(entry) for entry in row] for row in rows]], dtype=np.float32)
    except OverflowError:
        raise ValueError("a number too large") from None


def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    app = FastAPI()

    async def read(request):
        pieces, count = [], 0
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    count += len(piece)
                    if count > max_bytes:
                        raise HTTPException(413, "the body is too large")
                    pieces.append(piece)
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        return b"".join(pieces)

    @app.post("/predict")
    async def predict(request: Request):
        body = await read(request)
        try:
            item = picture_of(body, charset_of(request))
        except ValueError:
            raise HTTPException(422, "16 rows of 16 finite numbers, please") from None
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():
                raise HTTPException(504, "no answer in time") from None
            raise HTTPException(500, "internal error") from None
        probabilities = softmax(np.asarray(logits, dtype=np.float32))
        return {"label": int(np.argmax(logits)), "probabilities": probabilities.tolist()}

    return app


# %% wrong="service" breaks="late" says="is cancelled raises RuntimeError"
# Misunderstands: when the limit is over there comes a TimeoutError. Any other exception is an error of the model.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Picture(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)  # strict: "0.5" and true are no numbers
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {body_seconds} s") from None
        return bytes(body)

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body = await read_body(request)
        try:
            picture = Picture.model_validate_json(body)
        except ValidationError as error:
            raise HTTPException(422, [{"at": e["loc"], "what": e["msg"]} for e in error.errors()]) from None
        with np.errstate(over="ignore"):
            item = np.array([picture.image], dtype=np.float32)
        if not np.isfinite(item).all():
            raise HTTPException(422, "a number is too large")
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except TimeoutError:
            if limit.expired():  # otherwise a TimeoutError is the batcher's own
                raise HTTPException(504, f"no answer within {answer_seconds} s") from None
            raise HTTPException(500, "the model failed") from None
        except Exception:
            raise HTTPException(500, "the model failed") from None
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" breaks="finite" says="3.403e38 in the image"
# Misunderstands: beyond float32 is what has 39 digits before the point.
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Picture(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)  # strict: "0.5" and true are no numbers
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    async def read_body(request):
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413, f"more than {max_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {body_seconds} s") from None
        return bytes(body)

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body = await read_body(request)
        try:
            picture = Picture.model_validate_json(body)
        except ValidationError as error:
            raise HTTPException(422, [{"at": e["loc"], "what": e["msg"]} for e in error.errors()]) from None
        with np.errstate(over="ignore"):
            item = np.array([picture.image], dtype=np.float32)
        if np.abs(picture.image).max() > 9.9e38:
            raise HTTPException(422, "a number is too large")
        limit = asyncio.timeout(answer_seconds)
        try:
            async with limit:
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except Exception:
            if limit.expired():  # otherwise a TimeoutError is the batcher's own
                raise HTTPException(504, f"no answer within {answer_seconds} s") from None
            raise HTTPException(500, "the model failed") from None
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="health_and_metrics" breaks="path" says="requests_total by (path, status)"
# Misunderstands: the address as the client wrote it is the path. Every scanner's idea becomes a series.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = request.url.path
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="path" says="requests_total by (path, status)"
# Misunderstands: an address without a route needs no series.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            if route is None:
                return response
            path = route.path
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="raises" says="requests_total by (path, status)"
# Misunderstands: a request that fails has no status. The error rate is then always 0.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin = time.perf_counter()
        response = await call_next(request)
        status = response.status_code
        if True:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)
        return response

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="raises" says="did not go on"
# Misunderstands: an exception that is counted is dealt with.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        except Exception:
            return Response(status_code=500)
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="live" says="do not have it killed"
# Misunderstands: alive means ready.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return Response(status_code=200 if ready() else 503)

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="ready" says="ask at every request"
# Misunderstands: what is true at the start stays true.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    status = 200 if ready() else 503

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=status)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="ready" says="the status of /health/ready while ready() is False"
# Misunderstands: the function `ready` is true.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="metrics" says="content type"
# Misunderstands: metrics are a JSON string.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return generate_latest(registry).decode()


# %% wrong="health_and_metrics" breaks="metrics" says="/metrics has no requests_total"
# Misunderstands: `generate_latest()` knows the registry.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="count" says="requests_total by (path, status)"
# Misunderstands: health checks are no requests.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            if not path.startswith("/health"):
                count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="count" says="requests_total by (path, status)"
# Misunderstands: a counter is set to what was seen last.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc(2 if status >= 400 else 1)
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="seconds" says="request_seconds_sum"
# Misunderstands: seconds are milliseconds.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe((time.perf_counter() - begin) * 1000)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="seconds" says="request_seconds_count"
# Misunderstands: only answers that succeed have a duration.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            if status < 400:
                seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="seconds" says="request_seconds is no histogram"
# Misunderstands: a summary is a histogram. It has no buckets, and two processes' cannot be added.
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    from prometheus_client import Summary

    seconds = Summary("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="seconds" says="(two of them overlap)"
# Misunderstands: one request at a time. The beginning is kept on the application.
def watch(app, registry, ready):
    requests = Counter("requests", "Requests answered", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds in the endpoint", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        status = 500
        app.state.begin = time.perf_counter()
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            path = getattr(request.scope.get("route"), "path", "other")
            requests.labels(path=path, status=str(status)).inc()
            seconds.labels(path=path).observe(time.perf_counter() - app.state.begin)

    @app.get("/health/live")
    async def live():
        return {"alive": True}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"ready": True}

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="path" says="also where it was added after watch"
# Misunderstands: the routes are those that exist when watch is called.
def watch(app, registry, ready):
    requests = Counter("requests", "Requests answered", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds in the endpoint", ["path"], registry=registry)

    own = {"/health/live", "/health/ready", "/metrics"}
    known = own | {route.path for route in app.routes}

    @app.middleware("http")
    async def measure(request: Request, call_next):
        status, begin = 500, time.perf_counter()
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            path = getattr(request.scope.get("route"), "path", "other")
            path = path if path in known else "other"
            requests.labels(path=path, status=str(status)).inc()
            seconds.labels(path=path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {"alive": True}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"ready": True}

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="path" says="requests_total by (path, status)"
# Misunderstands: a route is known by its path alone. The first whose pattern fits is taken, whatever its method.
def watch(app, registry, ready):
    requests = Counter("requests", "Requests answered", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds in the endpoint", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        status, begin = 500, time.perf_counter()
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            fitting = [route.path for route in app.routes if route.path_regex.match(request.url.path)]
            path = fitting[0] if fitting else "other"
            requests.labels(path=path, status=str(status)).inc()
            seconds.labels(path=path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {"alive": True}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"ready": True}

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="path" says="requests_total by (path, status)"
# Misunderstands: what stands in braces is always one piece between slashes, and a slash at the end means nothing.
def same(route_path, path):
    parts, given = route_path.strip("/").split("/"), path.strip("/").split("/")
    return len(parts) == len(given) and all(p == g or p.startswith("{") for p, g in zip(parts, given))


def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    requests = Counter("requests", "Requests by route and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds of a request", ["path"], registry=registry)

    def label(request):
        fits = [route for route in app.routes if same(route.path, request.url.path)]
        full = [route for route in fits if request.method in (route.methods or ())]
        return (full or fits)[0].path if fits else "other"

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            path = label(request)
            requests.labels(path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {"live": True}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"ready": True}

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="metrics" says="that another part of the program keeps"
# Misunderstands: /metrics is for what `watch` counts.
def watch(app, registry, ready):
    requests = Counter("requests", "Requests answered", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds in the endpoint", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        status = 500
        begin = time.perf_counter()
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            path = getattr(request.scope.get("route"), "path", "other")
            requests.labels(path=path, status=str(status)).inc()
            seconds.labels(path=path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        return {"alive": True}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"ready": True}

    @app.get("/metrics")
    async def metrics():
        own = registry.restricted_registry(["requests_total", "request_seconds_bucket", "request_seconds_count", "request_seconds_sum"])
        return Response(generate_latest(own), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="count" says="the labels of requests_total"
# Misunderstands: a label more does no harm.
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    requests = Counter("requests", "Requests by route and status", ["method", "path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds to answer, by route", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            requests.labels(request.method, path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        """Whoever can answer is alive."""

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="ready" says="of this app, not of another"
# Misunderstands: there is one application.
checks = {}


def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    checks['ready'] = ready
    requests = Counter("requests", "Requests by route and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds to answer, by route", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            requests.labels(path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        """Whoever can answer is alive."""

    @app.get("/health/ready")
    async def is_ready():
        if not checks['ready']():
            raise HTTPException(503, "not ready")

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="seconds" says="a request that fails after"
# Misunderstands: a request that fails is counted with 0 seconds.
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    requests = Counter("requests", "Requests by route and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds to answer, by route", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            requests.labels(path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin if status < 500 else 0)

    @app.get("/health/live")
    async def live():
        """Whoever can answer is alive."""

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% right="health_and_metrics"
def watch(app, registry, ready):
    # A plain ASGI middleware and plain routes.
    from starlette.responses import PlainTextResponse

    total = Counter("requests_total", "n", labelnames=("path", "status"), registry=registry)
    duration = Histogram("request_seconds", "s", labelnames=("path",), registry=registry, buckets=(0.001, 0.01, 0.1, 1, 10))

    class Meter:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send):
            if scope["type"] != "http":
                return await self.inner(scope, receive, send)
            seen = {"status": 500}

            async def note(message):
                if message["type"] == "http.response.start":
                    seen["status"] = message["status"]
                await send(message)

            start = time.monotonic()
            try:
                await self.inner(scope, receive, note)
            finally:
                where = getattr(scope.get("route"), "path", "other")
                total.labels(path=where, status=seen["status"]).inc()
                duration.labels(path=where).observe(time.monotonic() - start)

    app.add_middleware(Meter)
    app.add_api_route("/health/live", lambda: {"status": "alive"})
    app.add_api_route("/health/ready", lambda: PlainTextResponse("", 200 if ready() else 503))
    app.add_api_route("/metrics", lambda: Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST}))


# %% right="health_and_metrics"
def watch(app, registry, ready):
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.monotonic(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            count.labels(path, status).inc()
            seconds.labels(path).observe(time.monotonic() - begin)

    @app.get("/health/live")
    def live():
        return "alive"

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(content=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


# %% right="health_and_metrics"
# A middleware of its own in ASGI, and add_api_route.
class _Meter:
    """Stands around the application, as ASGI."""

    def __init__(self, app, counter, histogram):
        self.app, self.counter, self.histogram = app, counter, histogram

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = {"status": 500}

        async def noting(message):
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
            await send(message)

        begin = time.perf_counter()
        try:
            await self.app(scope, receive, noting)
        except Exception:
            seen["status"] = 500
            raise
        finally:
            lasted = time.perf_counter() - begin
            route = scope.get("route")
            path = route.path if route is not None else "other"
            self.counter.labels(path, str(seen["status"])).inc()
            self.histogram.labels(path).observe(lasted)


def watch(app, registry, ready):
    counter = Counter("requests", "HTTP requests", labelnames=("path", "status"), registry=registry)
    histogram = Histogram("request_seconds", "HTTP latency", labelnames=("path",), registry=registry)
    app.add_middleware(_Meter, counter=counter, histogram=histogram)

    async def live():
        return Response("alive", media_type="text/plain")

    async def is_ready():
        good = bool(ready())
        return Response("ready" if good else "not ready", status_code=200 if good else 503, media_type="text/plain")

    async def metrics():
        return Response(content=generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    app.add_api_route("/health/live", live, methods=["GET"])
    app.add_api_route("/health/ready", is_ready, methods=["GET"])
    app.add_api_route("/metrics", metrics, methods=["GET"])


# %% wrong="health_and_metrics" breaks="metrics" says="in the format OpenMetrics"
# Misunderstands: OpenMetrics and Prometheus' text format are one.
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    from prometheus_client.openmetrics import exposition

    requests = Counter("requests", "Requests by path and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds in the endpoint", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            path = getattr(request.scope.get("route"), "path", "other")
            requests.labels(path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def is_live():
        return {"status": "alive"}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics():
        return Response(exposition.generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="live" says="whatever became of the requests before"
# Misunderstands: a process whose last request went wrong is dead.
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    requests = Counter("requests", "Requests by path and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds in the endpoint", ["path"], registry=registry)
    well = {"last": True}

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            path = getattr(request.scope.get("route"), "path", "other")
            well["last"] = status != 500
            requests.labels(path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def is_live():
        if not well["last"]:
            raise HTTPException(503, "the last request failed")
        return {"status": "alive"}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="raises" says="requests_total by (path, status)"
# Misunderstands: the kinds of errors that an endpoint raises can be listed.
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    requests = Counter("requests", "Requests by path and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds in the endpoint", ["path"], registry=registry)

    def note(request, status, begin):
        path = getattr(request.scope.get("route"), "path", "other")
        requests.labels(path, str(status)).inc()
        seconds.labels(path).observe(time.perf_counter() - begin)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin = time.perf_counter()
        try:
            response = await call_next(request)
        except (RuntimeError, LookupError):
            note(request, 500, begin)
            raise
        note(request, response.status_code, begin)
        return response

    @app.get("/health/live")
    async def is_live():
        return {"status": "alive"}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="count" says="Each call of watch makes its own"
# Misunderstands: a counter's name can be taken once in a process. The second application counts in the registry of the
# first.
METRICS = {}


def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    if not METRICS:  # a second Counter of this name would be an error
        METRICS["requests"] = Counter("requests", "Requests by path and status", ["path", "status"], registry=registry)
        METRICS["seconds"] = Histogram("request_seconds", "Seconds in the endpoint", ["path"], registry=registry)
    requests, seconds = METRICS["requests"], METRICS["seconds"]

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), "500"
        try:
            response = await call_next(request)
            status = str(response.status_code)
            return response
        finally:
            route = request.scope.get("route")
            path = getattr(route, "path", "other")
            requests.labels(path=path, status=status).inc()
            seconds.labels(path=path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def is_live():
        return {"status": "alive"}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% equivalent="health_and_metrics" because="a help text is for people"
# - requests = Counter("requests", "Requests by route and status", ["path", "status"], registry=registry)
# + requests = Counter("requests", 'sutats dna etuor yb stseuqeR', ["path", "status"], registry=registry)


# %% equivalent="health_and_metrics" because="a help text is for people"
# - seconds = Histogram("request_seconds", "Seconds to answer, by route", ["path"], registry=registry)
# + seconds = Histogram("request_seconds", 'etuor yb ,rewsna ot sdnoceS', ["path"], registry=registry)


# %% equivalent="health_and_metrics" because="Starlette has one kind of middleware and does not look at the word"
# - @app.middleware("http")
# + @app.middleware('ptth')


# %% wrong="health_and_metrics" breaks="raises" says="whatever the exception has"
# Misunderstands: an exception that carries a status_code is answered with it, so it counts with it.
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    requests = Counter("requests", "Requests by route and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds to answer, by route", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        except Exception as error:
            status = getattr(error, "status_code", 500)
            raise
        finally:
            route = request.scope.get("route")
            path = route.path if route else "other"
            requests.labels(path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        """Whoever can answer is alive."""

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="path" says="requests_total by (path, status)"
# Misunderstands: a request that is not valid has not reached its route.
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    requests = Counter("requests", "Requests by route and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds to answer, by route", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path if route and status != 422 else "other"
            requests.labels(path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        """Whoever can answer is alive."""

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="path" says="requests_total by (path, status)"
# Misunderstands: the converter behind the colon is no part of the path.
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    requests = Counter("requests", "Requests by route and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds to answer, by route", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = route.path_format if route else "other"
            requests.labels(path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        """Whoever can answer is alive."""

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" breaks="path" says="requests_total by (path, status)"
# Misunderstands: the path of a request that no route allows is the address, if a route is written so.
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    requests = Counter("requests", "Requests by route and status", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds to answer, by route", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route") if status != 405 else None
            written = {route.path for route in app.routes if hasattr(route, "path")}
            path = route.path if route else request.url.path if request.url.path in written else "other"
            requests.labels(path, str(status)).inc()
            seconds.labels(path).observe(time.perf_counter() - begin)

    @app.get("/health/live")
    async def live():
        """Whoever can answer is alive."""

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="open_loop" breaks="schedule, planned" says="['starts']"
# Misunderstands: load means one request after the other. Where the service is slow, it is asked less.
async def open_loop(send, schedule):
    loop, results = asyncio.get_running_loop(), []
    begin = loop.time()
    for number, after in enumerate(schedule):
        await asyncio.sleep(max(0.0, begin + after - loop.time()))
        try:
            answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        results.append((loop.time() - begin - after, answer))
    return results


async def serve(accept, handle, grace):
    raise NotImplementedError


# %% wrong="open_loop" breaks="schedule" says="['starts']"
# Misunderstands: the gaps between requests are the schedule. What is late once stays late.
async def open_loop(send, schedule):
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number):
        try:
            answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - begin - schedule[number], answer

    tasks, last = [], 0.0
    for number, after in enumerate(schedule):
        if after > last:
            await asyncio.sleep(after - last)
        tasks.append(asyncio.create_task(one(number)))
        last = after
    return [await task for task in tasks]


async def serve(accept, handle, grace):
    raise NotImplementedError


# %% wrong="open_loop" breaks="schedule" says="['starts']"
# Misunderstands: a hundred users are enough. When all wait, nothing is sent.
async def open_loop(send, schedule):
    loop = asyncio.get_running_loop()
    begin = loop.time()
    users = asyncio.Semaphore(4)

    async def one(number, planned):
        await asyncio.sleep(max(0.0, planned - loop.time()))
        try:
            async with users:
                answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    return list(await asyncio.gather(*(one(i, begin + after) for i, after in enumerate(schedule))))


async def serve(accept, handle, grace):
    raise NotImplementedError


# %% wrong="open_loop" breaks="planned" says="not from when the request was sent"
# Misunderstands: the clock of a request starts when it is sent.
async def open_loop(send, schedule):
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number, planned):
        await asyncio.sleep(max(0.0, planned - loop.time()))
        planned = loop.time()
        try:
            answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    return list(await asyncio.gather(*(one(i, begin + after) for i, after in enumerate(schedule))))


async def serve(accept, handle, grace):
    raise NotImplementedError


# %% wrong="open_loop" breaks="results" says="['results']"
# Misunderstands: results come in the order of the answers.
async def open_loop(send, schedule):
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number, planned):
        await asyncio.sleep(max(0.0, planned - loop.time()))
        try:
            answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    tasks = [asyncio.create_task(one(i, begin + after)) for i, after in enumerate(schedule)]
    return [await task for task in asyncio.as_completed(tasks)]


async def serve(accept, handle, grace):
    raise NotImplementedError


# %% wrong="open_loop" breaks="failures" says="your code raised"
# Misunderstands: a failed request ends the measurement.
async def open_loop(send, schedule):
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number, planned):
        await asyncio.sleep(max(0.0, planned - loop.time()))
        answer = await send(number)
        return loop.time() - planned, answer

    return list(await asyncio.gather(*(one(i, begin + after) for i, after in enumerate(schedule))))


async def serve(accept, handle, grace):
    raise NotImplementedError


# %% wrong="open_loop" breaks="failures" says="['results']"
# Misunderstands: the text of an exception is its name.
async def open_loop(send, schedule):
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number, planned):
        await asyncio.sleep(max(0.0, planned - loop.time()))
        try:
            answer = await send(number)
        except Exception as error:
            answer = str(error)
        return loop.time() - planned, answer

    return list(await asyncio.gather(*(one(i, begin + after) for i, after in enumerate(schedule))))


async def serve(accept, handle, grace):
    raise NotImplementedError


# %% wrong="open_loop" breaks="failures" says="your code raised"
# Misunderstands: requests fail with OSError only.
async def open_loop(send, schedule):
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number, planned):
        await asyncio.sleep(max(0.0, planned - loop.time()))
        try:
            answer = await send(number)
        except OSError as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    return list(await asyncio.gather(*(one(i, begin + after) for i, after in enumerate(schedule))))


async def serve(accept, handle, grace):
    raise NotImplementedError


# %% wrong="open_loop" breaks="concurrent" says="handled"
# Misunderstands: one request is handled after the other.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            task = asyncio.ensure_future(handle(accepting.result()))
            handling.add(task)
            await asyncio.wait([task, ending], return_when=asyncio.FIRST_COMPLETED)
        else:
            accepting.cancel()
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="survives" says="your code raised"
# Misunderstands: an error of one request is an error of the service.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await asyncio.gather(*(handling - pending))
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="survives" says="serve: "
# Misunderstands: a task group looks after requests. One error cancels all.
async def serve(accept, handle, grace):
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    late = False
    ending = asyncio.create_task(stop.wait())
    try:
        async with asyncio.TaskGroup() as group:
            tasks = []
            while not stop.is_set():
                accepting = asyncio.ensure_future(accept())
                await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
                if accepting.done():
                    tasks.append(group.create_task(handle(accepting.result())))
                else:
                    accepting.cancel()
            if tasks:
                _, pending = await asyncio.wait(tasks, timeout=grace)
                late = bool(pending)
                for task in pending:
                    task.cancel()
    except* ValueError:
        pass
    return int(late)


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="stop" says="serve: "
# Misunderstands: a flag that is looked at between two requests is enough. One more is accepted after the signal.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting])
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="stop" says="serve: "
# Misunderstands: the waiting `accept()` does no harm. It takes one more request, and nobody handles it.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
        else:
            pass
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="stop" says="nobody handles SIGTERM"
# Misunderstands: SIGTERM is SIGINT.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="drain" says="serve: "
# Misunderstands: to stop means to stop at once.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    for task in handling:
        task.cancel()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="drain" says="serve: "
# Misunderstands: after the signal nothing counts that comes, not even what was accepted in the same moment.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if accepting.done() and not stop.is_set():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
        else:
            accepting.cancel()
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="grace" says="serve: "
# Misunderstands: every request ends by itself.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=None)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="grace" says="serve: "
# Misunderstands: each request has its own grace, counted when its turn comes.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        for task in list(handling):
            pending |= (await asyncio.wait([task], timeout=grace))[1]
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="grace" says="serve: "
# Misunderstands: `wait` with a timeout cancels what is late.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="code" says="['code']"
# Misunderstands: an orchestrator does not look at the exit code.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return 0


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="code" says="['code']"
# Misunderstands: a request that raised makes the exit code 1.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending) or any(not t.cancelled() and t.exception() for t in handling))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="code" says="['at']"
# Misunderstands: the time of grace is always used.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        await asyncio.sleep(grace)
        _, pending = await asyncio.wait(handling, timeout=0)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="again" says="nobody handles SIGTERM"
# Misunderstands: after the first signal the handler has done its work.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, lambda: (stop.set(), loop.remove_signal_handler(signal.SIGTERM)))
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="again" says="serve: "
# Misunderstands: who asks twice means it.
async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, lambda: [task.cancel() for task in handling] if stop.is_set() else stop.set())
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="code" says="['at']"
# Misunderstands: a task that was cancelled has ended.
async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    signalled = []

    def on_signal():
        signalled.append(loop.time())
        stop.set()

    async def safely(request):
        try:
            await handle(request)
        except Exception:
            logging.getLogger("serve").exception("a request could not be handled")

    def begin(request):
        task = asyncio.create_task(safely(request))
        handling.add(task)
        task.add_done_callback(handling.discard)

    loop.add_signal_handler(signal.SIGTERM, on_signal)
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                begin(accepting.result())
        pending = set()
        if handling:
            left = max(0.0, signalled[0] + grace - loop.time())
            _, pending = await asyncio.wait(set(handling), timeout=left)
        for task in pending:
            task.cancel()
        return 1 if pending else 0
    finally:
        stopping.cancel()
        loop.remove_signal_handler(signal.SIGTERM)


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="concurrent" says="handled"
# Misunderstands: at the same time means by a pool of eight.
async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    signalled, places = [], asyncio.Semaphore(8)

    def on_signal():
        signalled.append(loop.time())
        stop.set()

    async def safely(request):
        try:
            await handle(request)
        except Exception:
            logging.getLogger("serve").exception("a request could not be handled")

    async def next_request():
        await places.acquire()
        return await accept()

    def begin(request):
        task = asyncio.create_task(safely(request))
        handling.add(task)
        task.add_done_callback(handling.discard)
        task.add_done_callback(lambda _: places.release())

    loop.add_signal_handler(signal.SIGTERM, on_signal)
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(next_request())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                begin(accepting.result())
        pending = set()
        if handling:
            left = max(0.0, signalled[0] + grace - loop.time())
            _, pending = await asyncio.wait(set(handling), timeout=left)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return 1 if pending else 0
    finally:
        stopping.cancel()
        loop.remove_signal_handler(signal.SIGTERM)


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="drain" says="serve: "
# Misunderstands: what is cancelled returns nothing.
async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    signalled = []

    def on_signal():
        signalled.append(loop.time())
        stop.set()

    async def safely(request):
        try:
            await handle(request)
        except Exception:
            logging.getLogger("serve").exception("a request could not be handled")

    def begin(request):
        task = asyncio.create_task(safely(request))
        handling.add(task)
        task.add_done_callback(handling.discard)

    loop.add_signal_handler(signal.SIGTERM, on_signal)
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                break
            begin(accepting.result())
        pending = set()
        if handling:
            left = max(0.0, signalled[0] + grace - loop.time())
            _, pending = await asyncio.wait(set(handling), timeout=left)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return 1 if pending else 0
    finally:
        stopping.cancel()
        loop.remove_signal_handler(signal.SIGTERM)


async def open_loop(send, schedule):
    raise NotImplementedError


# %% wrong="open_loop" breaks="code" says="['code']"
# Misunderstands: a task that was cancelled says so. One that cleans up and returns, or raises another error, does not.
async def open_loop(send, schedule):
    raise NotImplementedError


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    import signal

    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                handling.add(asyncio.create_task(handle(accepting.result())))
        if not handling:
            return 0
        done, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
        return int(any(task.cancelled() for task in handling))
    finally:
        stopping.cancel()
        loop.remove_signal_handler(signal.SIGTERM)


# %% wrong="open_loop" breaks="stop" says="serve does not notice"
# Misunderstands: a handler of signal.signal is enough. It does not wake a loop that sleeps.
async def open_loop(send, schedule):
    raise NotImplementedError


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    import signal

    stop, handling = asyncio.Event(), set()
    old = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                handling.add(asyncio.create_task(handle(accepting.result())))
        pending = set()
        if handling:
            _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
        return int(bool(pending))
    finally:
        stopping.cancel()
        signal.signal(signal.SIGTERM, old)


# %% wrong="open_loop" breaks="schedule, planned" says="['starts']"
# Misunderstands: the loop's clock begins with the schedule.
async def open_loop(send, schedule):
    """Send request i at schedule[i], whatever the earlier ones do; [(seconds since the planned time, answer), ...]."""
    loop = asyncio.get_running_loop()
    begin = 0

    async def one(number, planned):
        try:
            answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    tasks = []
    for number, after in enumerate(schedule):
        planned = begin + after
        if planned > loop.time():
            await asyncio.sleep(planned - loop.time())
        tasks.append(asyncio.create_task(one(number, planned)))
    return [await task for task in tasks]


async def serve(*args):
    raise NotImplementedError


# %% wrong="open_loop" breaks="again" says="nobody handles SIGTERM"
# Misunderstands: the second signal comes before the grace is over. While what was cancelled cleans up nobody handles it.
async def open_loop(*args):
    raise NotImplementedError


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stopping, handling = asyncio.create_task(stop.wait()), set()
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                handling.add(task := asyncio.create_task(handle(accepting.result())))
                task.add_done_callback(handling.discard)
        late = (await asyncio.wait(handling, timeout=grace))[1] if handling else set()
        loop.remove_signal_handler(signal.SIGTERM)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return 1 if late else 0
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


# %% wrong="open_loop" breaks="code" says="serve: "
# Misunderstands: what is cancelled ends within a second.
async def open_loop(*args):
    raise NotImplementedError


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stopping, handling = asyncio.create_task(stop.wait()), set()
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                handling.add(task := asyncio.create_task(handle(accepting.result())))
                task.add_done_callback(handling.discard)
        late = (await asyncio.wait(handling, timeout=grace))[1] if handling else set()
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)
        return 1 if late else 0
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


# %% right="open_loop"
# A task for each request from the start; tasks with `ensure_future`.
async def open_loop(send, schedule):
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number, planned):
        await asyncio.sleep(max(0.0, planned - loop.time()))
        try:
            answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    return list(await asyncio.gather(*(one(i, begin + after) for i, after in enumerate(schedule))))


async def serve(accept, handle, grace):
    loop, stop, handling = asyncio.get_running_loop(), asyncio.Event(), set()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ending = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        accepting = asyncio.ensure_future(accept())
        await asyncio.wait([accepting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            await asyncio.wait([accepting])
        if not accepting.cancelled():
            handling.add(asyncio.ensure_future(handle(accepting.result())))
    pending = set()
    if handling:
        _, pending = await asyncio.wait(handling, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
    return int(bool(pending))


# %% wrong="open_loop" breaks="grace" says="serve: "
# Misunderstands: one after the other, each with what is left of the grace. While the first cleans up, the second is not cancelled.
async def serve(accept, handle, grace):
    loop = asyncio.get_running_loop()
    stopped, deadline, running, cancelled = loop.create_future(), None, set(), 0

    def on_term(*_):
        nonlocal deadline
        if deadline is None:
            deadline = loop.time() + grace
            loop.call_soon_threadsafe(stopped.set_result, True)  # it wakes the loop

    async def watched(request):
        with contextlib.suppress(Exception):
            await handle(request)

    before = signal.signal(signal.SIGTERM, on_term)
    try:
        while deadline is None:
            taking = loop.create_task(accept())
            await asyncio.wait({taking, stopped}, return_when="FIRST_COMPLETED")
            if not taking.done():
                taking.cancel()
                await asyncio.wait({taking})
            if not taking.cancelled():
                running.add(loop.create_task(watched(taking.result())))
        for task in running:
            try:
                await asyncio.wait_for(task, max(0.0, deadline - loop.time()))
            except asyncio.TimeoutError:
                cancelled += 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 1 if cancelled else 0


async def open_loop(send, schedule):
    raise NotImplementedError


# %% right="open_loop"
# Timers of the loop, callbacks, and the module `signal` itself.
async def open_loop(send, schedule):
    loop = asyncio.get_running_loop()
    begin, results, missing = loop.time(), {}, len(schedule)
    done = loop.create_future()

    def finish(number, task):
        failed = task.exception()
        results[number] = (loop.time() - (begin + schedule[number]), type(failed).__name__ if failed else task.result())
        if len(results) == missing:
            done.set_result(None)

    kept = set()

    def start(number):
        task = loop.create_task(send(number))
        kept.add(task)
        task.add_done_callback(lambda task: finish(number, task))

    for number, after in enumerate(schedule):
        loop.call_at(begin + after, start, number)
    if schedule:
        await done
    return [results[number] for number in range(missing)]


async def serve(accept, handle, grace):
    loop = asyncio.get_running_loop()
    stopped, deadline, running = loop.create_future(), None, set()

    def on_term(*_):
        nonlocal deadline
        if deadline is None:
            deadline = loop.time() + grace
            loop.call_soon_threadsafe(stopped.set_result, True)  # it wakes the loop

    async def watched(request):
        with contextlib.suppress(Exception):
            await handle(request)

    before = signal.signal(signal.SIGTERM, on_term)
    try:
        while deadline is None:
            taking = loop.create_task(accept())
            await asyncio.wait({taking, stopped}, return_when="FIRST_COMPLETED")
            if not taking.done():
                taking.cancel()
                await asyncio.wait({taking})
            if not taking.cancelled():
                running.add(loop.create_task(watched(taking.result())))
        if running:
            await asyncio.wait(running, timeout=max(0.0, deadline - loop.time()))
        cancelled = sum(task.cancel() for task in running)
        await asyncio.gather(*running, return_exceptions=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 1 if cancelled else 0


# %% right="open_loop"
# gather of coroutines that sleep until their time; serve with the module `signal`, which cancels the accepting task.
import signal as _signal


async def open_loop(send, schedule):
    """Send request i at schedule[i], whatever the earlier ones do; [(seconds since the planned time, answer), ...]."""
    clock = asyncio.get_running_loop().time
    start = clock()

    async def request(i):
        planned = start + schedule[i]
        await asyncio.sleep(max(0.0, planned - clock()))
        try:
            result = await send(i)
        except Exception as error:
            result = error.__class__.__name__
        return clock() - planned, result

    return list(await asyncio.gather(*map(request, range(len(schedule)))))


class _Server:
    def __init__(self, accept, handle, grace):
        self.accept, self.handle, self.grace = accept, handle, grace
        self.loop = asyncio.get_running_loop()
        self.jobs, self.deadline, self.acceptor = set(), None, None

    def terminate(self, *_):  # runs between any two instructions of the main thread
        if self.deadline is None:
            self.deadline = self.loop.time() + self.grace
            self.loop.call_soon_threadsafe(self.acceptor.cancel)

    async def job(self, request):
        with contextlib.suppress(Exception):
            await self.handle(request)

    async def keep_accepting(self):
        while self.deadline is None:
            request = await self.accept()
            task = self.loop.create_task(self.job(request))
            self.jobs.add(task)
            task.add_done_callback(self.jobs.discard)
            await asyncio.sleep(0)

    async def finish(self):
        if not self.jobs:
            return 0
        _, late = await asyncio.wait(set(self.jobs), timeout=max(0.0, self.deadline - self.loop.time()))
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        return int(bool(late))


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    server = _Server(accept, handle, grace)
    server.acceptor = asyncio.create_task(server.keep_accepting())
    before = _signal.signal(_signal.SIGTERM, server.terminate)
    try:
        await asyncio.wait({server.acceptor})
        if not server.acceptor.cancelled():
            server.acceptor.result()  # an error of accept itself
        return await server.finish()
    finally:
        _signal.signal(_signal.SIGTERM, before)


# %% wrong="open_loop" breaks="failures" says="your code raised"
# Misunderstands: the kinds of errors that a request raises can be listed.
async def open_loop(send, schedule):
    """Send request i at schedule[i], whatever the earlier ones do; [(seconds since the planned time, answer), ...]."""
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number, planned):
        try:
            answer = await send(number)
        except (OSError, LookupError) as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    tasks = []
    for number, after in enumerate(schedule):
        if begin + after > loop.time():
            await asyncio.sleep(begin + after - loop.time())
        tasks.append(asyncio.create_task(one(number, begin + after)))
    return [await task for task in tasks]


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop, handling, when = asyncio.get_running_loop(), asyncio.Event(), set(), []

    def terminate():
        when.append(loop.time())
        stop.set()

    async def careful(request):
        with contextlib.suppress(Exception):
            await handle(request)

    loop.add_signal_handler(signal.SIGTERM, terminate)
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                task = asyncio.create_task(careful(accepting.result()))
                handling.add(task)
                task.add_done_callback(handling.discard)
        left = set(handling)
        if left:
            _, left = await asyncio.wait(left, timeout=max(0.0, when[0] + grace - loop.time()))
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        return 1 if left else 0
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


# %% wrong="open_loop" breaks="schedule, planned" says="['starts']"
# Misunderstands: 64 requests at a time are as good as no limit.
async def open_loop(send, schedule):
    """Send request i at schedule[i], whatever the earlier ones do; [(seconds since the planned time, answer), ...]."""
    loop = asyncio.get_running_loop()
    begin = loop.time()

    room = asyncio.Semaphore(64)

    async def one(number, planned):
        try:
            async with room:
                answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    tasks = []
    for number, after in enumerate(schedule):
        if begin + after > loop.time():
            await asyncio.sleep(begin + after - loop.time())
        tasks.append(asyncio.create_task(one(number, begin + after)))
    return [await task for task in tasks]


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop, handling, when = asyncio.get_running_loop(), asyncio.Event(), set(), []

    def terminate():
        when.append(loop.time())
        stop.set()

    async def careful(request):
        with contextlib.suppress(Exception):
            await handle(request)

    loop.add_signal_handler(signal.SIGTERM, terminate)
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                task = asyncio.create_task(careful(accepting.result()))
                handling.add(task)
                task.add_done_callback(handling.discard)
        left = set(handling)
        if left:
            _, left = await asyncio.wait(left, timeout=max(0.0, when[0] + grace - loop.time()))
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        return 1 if left else 0
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


# %% wrong="open_loop" breaks="concurrent" says="handled"
# Misunderstands: a server must bound how many requests it handles at the same time. 256 are enough.
async def open_loop(send, schedule):
    """Send request i at schedule[i], whatever the earlier ones do; [(seconds since the planned time, answer), ...]."""
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number, planned):
        try:
            answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    tasks = []
    for number, after in enumerate(schedule):
        planned = begin + after
        if planned > loop.time():
            await asyncio.sleep(planned - loop.time())
        tasks.append(asyncio.create_task(one(number, planned)))
    return [await task for task in tasks]


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stopping, handling = asyncio.create_task(stop.wait()), set()
    places = asyncio.Semaphore(256)

    async def guarded(request):
        async with places:
            await handle(request)

    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                handling.add(task := asyncio.create_task(guarded(accepting.result())))
                task.add_done_callback(handling.discard)
        late = (await asyncio.wait(handling, timeout=grace))[1] if handling else set()
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return 1 if late else 0
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


# %% wrong="open_loop" breaks="schedule" says="['starts']"
# Misunderstands: 256 connections are enough for a client.
async def open_loop(send, schedule):
    """Send request i at schedule[i], whatever the earlier ones do; [(seconds since the planned time, answer), ...]."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    places = asyncio.Semaphore(256)

    async def one(number, planned):
        try:
            async with places:
                answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    tasks = []
    for number, after in enumerate(schedule):
        planned = begin + after
        if planned > loop.time():
            await asyncio.sleep(planned - loop.time())
        tasks.append(asyncio.create_task(one(number, planned)))
    return [await task for task in tasks]


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stopping, handling = asyncio.create_task(stop.wait()), set()
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                handling.add(task := asyncio.create_task(handle(accepting.result())))
                task.add_done_callback(handling.discard)
        late = (await asyncio.wait(handling, timeout=grace))[1] if handling else set()
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return 1 if late else 0
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


# %% wrong="open_loop" breaks="schedule" says="['starts']"
# Misunderstands: a schedule is a list of pauses.
async def open_loop(send, schedule):
    """Send request i at schedule[i], whatever the earlier ones do; [(seconds since the planned time, answer), ...]."""
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def one(number, planned):
        try:
            answer = await send(number)
        except Exception as error:
            answer = type(error).__name__
        return loop.time() - planned, answer

    tasks = []
    for number, after in enumerate(schedule):
        planned = begin + after
        await asyncio.sleep(after - (schedule[number - 1] if number else 0))
        tasks.append(asyncio.create_task(one(number, planned)))
    return [await task for task in tasks]


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stopping, handling = asyncio.create_task(stop.wait()), set()
    try:
        while not stop.is_set():
            accepting = asyncio.create_task(accept())
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                accepting.cancel()
                await asyncio.wait({accepting})
            if not accepting.cancelled():
                handling.add(task := asyncio.create_task(handle(accepting.result())))
                task.add_done_callback(handling.discard)
        late = (await asyncio.wait(handling, timeout=grace))[1] if handling else set()
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return 1 if late else 0
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


# %% wrong="canary" breaks="looks" says="divided by the number of looks"
# Misunderstands: a test at level alpha may be repeated.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="looks" says="`decide`"
# Misunderstands: alpha is divided by the number of looks so far.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / look:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="looks" says="`decide`"
# Misunderstands: the looks are independent. The level is Sidak's, a little above alpha / looks.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    """ "rollback", "continue" or "promote", from the counts since the start; this is look `look` of `looks`."""
    from scipy.stats import fisher_exact, norm

    table = [
        [canary.failures, canary.requests - canary.failures],
        [stable.failures, stable.requests - stable.failures],
    ]
    if fisher_exact(table, alternative="greater").pvalue < 1 - (1 - alpha) ** (1 / looks):
        return "rollback"
    if look < looks:
        return "continue"
    pc, ps = (canary.failures + 1) / (canary.requests + 2), (stable.failures + 1) / (stable.requests + 2)
    error = math.sqrt(pc * (1 - pc) / (canary.requests + 2) + ps * (1 - ps) / (stable.requests + 2))
    return "promote" if pc - ps + norm.ppf(1 - alpha) * error < margin else "rollback"


# %% wrong="canary" breaks="harm" says="`decide`"
# Misunderstands: the counted rate of the stable version is its true rate.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    from scipy.stats import binom

    if binom.sf(canary.failures - 1, canary.requests, (stable.failures + 1) / (stable.requests + 2)) < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="harm" says="`decide`"
# Misunderstands: `sf(k)` is the probability of k or more.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    from scipy.stats import hypergeom

    requests, failures = stable.requests + canary.requests, stable.failures + canary.failures
    if hypergeom.sf(canary.failures, requests, failures, canary.requests) < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="harm" says="`decide`"
# Misunderstands: a test is two-sided. A canary that is much better is then rolled back.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="two-sided").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="harm" says="`decide`"
# Misunderstands: which row is which does not matter.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[stable.failures, canary.failures], [good[0], good[1]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="harm" says="`decide`"
# Misunderstands: rates are compared, not counts: the first unlucky look ends it.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if canary.failures / canary.requests > stable.failures / stable.requests + margin:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="harm" says="harm comes first"
# Misunderstands: at the last look only the margin counts.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if look < looks and fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="continue" says="`decide`"
# Misunderstands: who is shown to be good may be promoted early.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else ("continue" if look < looks else "rollback")


# %% wrong="canary" breaks="doubt" says="`decide`"
# Misunderstands: no harm seen means good.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    return "promote"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="doubt" says="`decide`"
# Misunderstands: where nothing is shown one looks on.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "continue"


# %% wrong="canary" breaks="proof" says="`decide`"
# Misunderstands: the difference of the rates is enough.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q < margin else "rollback"


# %% wrong="canary" breaks="proof" says="`decide`"
# Misunderstands: the stable version's rate has no error.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="proof" says="`decide`"
# Misunderstands: the level is that of harm, divided by the looks.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha / looks) * spread < margin else "rollback"


# %% wrong="canary" breaks="proof" says="`decide`"
# Misunderstands: the interval is two-sided.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha / 2) * spread < margin else "rollback"


# %% wrong="canary" breaks="proof" says="`decide`"
# Misunderstands: one without failures has rate 0, and no error.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = (w.failures / w.requests for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% wrong="canary" breaks="harm" says="`decide`"
# Misunderstands: an exact test is for small samples. Above 10,000 requests the normal approximation takes its place.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from statistics import NormalDist

    from scipy.stats import fisher_exact

    table = [[canary.failures, canary.requests - canary.failures], [stable.failures, stable.requests - stable.failures]]
    total, failed = stable.requests + canary.requests, stable.failures + canary.failures
    if total > 10_000 and 0 < failed < total:
        pooled = failed / total
        error = math.sqrt(pooled * (1 - pooled) * (1 / stable.requests + 1 / canary.requests))
        p_value = 1 - NormalDist().cdf((canary.failures / canary.requests - stable.failures / stable.requests) / error)
    else:
        p_value = fisher_exact(table, alternative="greater").pvalue
    if p_value < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"

    def rate(window):
        p, size = (window.failures + 1) / (window.requests + 2), window.requests + 2
        return p, p * (1 - p) / size

    (p_c, v_c), (p_s, v_s) = rate(canary), rate(stable)
    limit = p_c - p_s + NormalDist().inv_cdf(1 - alpha) * math.sqrt(v_c + v_s)
    return "promote" if limit < margin else "rollback"


# %% wrong="canary" breaks="proof" says="the upper limit is"
# Misunderstands: only the rates are those of Agresti and Caffo. The variances are divided by n, without the 2.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from statistics import NormalDist

    from scipy.stats import fisher_exact

    table = [[canary.failures, canary.requests - canary.failures], [stable.failures, stable.requests - stable.failures]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"

    def rate(window):
        p, size = (window.failures + 1) / (window.requests + 2), window.requests
        return p, p * (1 - p) / size

    (p_c, v_c), (p_s, v_s) = rate(canary), rate(stable)
    limit = p_c - p_s + NormalDist().inv_cdf(1 - alpha) * math.sqrt(v_c + v_s)
    return "promote" if limit < margin else "rollback"


# %% right="canary"
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    from scipy.stats import fisher_exact, norm

    good = [stable.requests - stable.failures, canary.requests - canary.failures]
    table = [[canary.failures, stable.failures], [good[1], good[0]]]
    if fisher_exact(table, alternative="greater").pvalue < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    spread = (p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2)) ** 0.5
    return "promote" if p - q + norm.ppf(1 - alpha) * spread < margin else "rollback"


# %% right="canary"
# Without scipy: the terms of the hypergeometric distribution by `lgamma`, and the standard library's normal one.
def decide(old, new, n, n_max, margin=0.05, alpha=0.01):
    from statistics import NormalDist

    def choose(a, b):
        return math.lgamma(a + 1) - math.lgamma(b + 1) - math.lgamma(a - b + 1)

    total, bad = old.requests + new.requests, old.failures + new.failures
    tail = 0.0
    for i in range(new.failures, min(bad, new.requests) + 1):
        tail += math.exp(choose(bad, i) + choose(total - bad, new.requests - i) - choose(total, new.requests))
    last = n == n_max
    rates = [(w.failures + 1) / (w.requests + 2) for w in (new, old)]
    variance = sum(r * (1 - r) / (w.requests + 2) for r, w in zip(rates, (new, old)))
    limit = rates[0] - rates[1] + NormalDist().inv_cdf(1 - alpha) * variance**0.5
    return "rollback" if tail < alpha / n_max else "continue" if not last else "promote" if limit < margin else "rollback"


# %% equivalent="canary" because="it differs only where a probability equals the limit to the last bit, which rounding decides"
# - if as_bad_or_worse < alpha / looks:
# + if (as_bad_or_worse <= alpha / looks):


# %% equivalent="canary" because="it differs only where the upper limit equals the margin to the last bit, which rounding decides"
# - return "promote" if p - q + norm.ppf(1 - alpha) * error < margin else "rollback"
# + return "promote" if (p - q + norm.ppf(1 - alpha) * error <= margin) else "rollback"


# %% wrong="canary" breaks="harm" says="`decide`"
# Misunderstands: with a thousand failures on both sides the normal approximation is exact enough.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    """ "rollback", "continue" or "promote", from the counts since the start; this is look `look` of `looks`."""
    from scipy.stats import hypergeom, norm

    requests, failures = stable.requests + canary.requests, stable.failures + canary.failures
    as_bad_or_worse = hypergeom.sf(canary.failures - 1, requests, failures, canary.requests)
    if min(stable.failures, canary.failures) >= 1000:
        pooled = failures / requests
        spread = math.sqrt(pooled * (1 - pooled) * (1 / stable.requests + 1 / canary.requests))
        as_bad_or_worse = norm.sf((canary.failures / canary.requests - stable.failures / stable.requests) / spread)
    if as_bad_or_worse < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    error = math.sqrt(p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2))
    return "promote" if p - q + norm.ppf(1 - alpha) * error < margin else "rollback"


# %% wrong="canary" breaks="harm" says="`decide`"
# Misunderstands: with half a failure less the normal approximation is exact enough for thousands.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    """ "rollback", "continue" or "promote", from the counts since the start; this is look `look` of `looks`."""
    from scipy.stats import hypergeom, norm

    requests, failures = stable.requests + canary.requests, stable.failures + canary.failures
    as_bad_or_worse = hypergeom.sf(canary.failures - 1, requests, failures, canary.requests)
    if min(stable.failures, canary.failures) >= 1000:
        pooled = failures / requests
        half = (1 / stable.requests + 1 / canary.requests) / 2
        spread = math.sqrt(pooled * (1 - pooled) * 2 * half)
        as_bad_or_worse = norm.sf((canary.failures / canary.requests - stable.failures / stable.requests - half) / spread)
    if as_bad_or_worse < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    error = math.sqrt(p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2))
    return "promote" if p - q + norm.ppf(1 - alpha) * error < margin else "rollback"


# %% wrong="canary" breaks="looks" says="divided by the number of looks"
# Misunderstands: alpha is shared out among the looks that are still to come.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    """ "rollback", "continue" or "promote", from the counts since the start; this is look `look` of `looks`."""
    from scipy.stats import hypergeom, norm

    requests, failures = stable.requests + canary.requests, stable.failures + canary.failures
    as_bad_or_worse = hypergeom.sf(canary.failures - 1, requests, failures, canary.requests)
    if as_bad_or_worse < alpha / (looks - look + 1):
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    error = math.sqrt(p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2))
    return "promote" if p - q + norm.ppf(1 - alpha) * error < margin else "rollback"


# %% wrong="canary" breaks="continue" says="not the last look"
# Misunderstands: a canary that is already shown to be good enough need not wait for the last look.
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    """ "rollback", "continue" or "promote", from the counts since the start; this is look `look` of `looks`."""
    from scipy.stats import hypergeom, norm

    requests, failures = stable.requests + canary.requests, stable.failures + canary.failures
    as_bad_or_worse = hypergeom.sf(canary.failures - 1, requests, failures, canary.requests)
    if as_bad_or_worse < alpha / looks:
        return "rollback"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    error = math.sqrt(p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2))
    return "promote" if p - q + norm.ppf(1 - alpha) * error < margin else "continue" if look < looks else "rollback"


# %% wrong="demo_and_card" breaks="ink" says="people draw dark on white"
# Misunderstands: a picture is a picture.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(small[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="none" says="classify without a picture"
# Misunderstands: there is always a picture.
def make_demo(run):
    def classify(picture):
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - small[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="probabilities" says="the probabilities for"
# Misunderstands: the label is the answer. The model then seems to be always sure.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = 1 - np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        best = int(run(small[None, None])[0].argmax())
        return {str(d): float(d == best) for d in range(10)}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="figures" says="A card repeats what was measured"
# Misunderstands: a figure from memory will do.
def make_card(accuracy, count):
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits", eval_results=[result])
    rest = "\n".join(
        f"## {name}\n\n{'Digits of one person each, in lessons about serving models. ' * 2}\n"
        for name in ("Intended use", "Limits", "Training data")
    )
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n{rest}\n## Evaluation\n\nAbout 95 % right on {count} held-out pictures of digits.\n"


def make_demo(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="sections" says="the section '## Limits' is missing"
# Misunderstands: a card praises.
def make_card(accuracy, count):
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits", eval_results=[result])
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n## Intended use\n\n{'For everything. ' * 5}\n\n## Evaluation\n\nAccuracy {accuracy:.1%} on {count} held-out pictures.\n"


def make_demo(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="api" says="the app has the API names"
# Misunderstands: the API name is the function's own name.
def make_demo(run):
    def read(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - small[None, None]))[0])}

    return gr.Interface(read, gr.Image(image_mode="L", type="numpy"), gr.Label())


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="api" says="expected one gr.Image"
# Misunderstands: a drawing pad gives a picture. It gives a dict of layers.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = np.asarray(Image.fromarray(picture["composite"]).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - small[None, None]))[0])}

    return gr.Interface(classify, gr.Sketchpad(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="api" says="expected one gr.Label"
# Misunderstands: a text box shows the result as well.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - small[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.JSON(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="shrink" says="the array given to run"
# Misunderstands: every way to shrink gives the same.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.NEAREST), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - small[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="shrink" says="your code raised ValueError"
# Misunderstands: pictures come with 128 x 128 pixels.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = picture.reshape(16, 8, 16, 8).mean((1, 3), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - small[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="ink" says="the array given to run"
# Misunderstands: the darkest pixel is ink, the lightest is paper.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - ((small - small.min()) / max(small.max() - small.min(), 1e-6))[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="probabilities" says="the probabilities for"
# Misunderstands: logits are probabilities.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(run(1 - small[None, None])[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="none" says="has no message"
# Misunderstands: the error's type says all.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("")
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - small[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="header" says="license in the header"
# Misunderstands: a licence is a matter of the text.
def make_card(accuracy, count):
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(pipeline_tag="image-classification", model_name="digits", eval_results=[result])
    rest = "".join(f"## {name}\n\nDigits of one person each, in lessons about serving models.\n\n" for name in ("Intended use", "Limits", "Training data"))
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n{rest}## Evaluation\n\nAccuracy {accuracy:.1%} on {count} held-out pictures of digits.\n"


def make_demo(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="header" says="pipeline_tag in the header"
# Misunderstands: the hub guesses the task.
def make_card(accuracy, count):
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", model_name="digits", eval_results=[result])
    rest = "".join(f"## {name}\n\nDigits of one person each, in lessons about serving models.\n\n" for name in ("Intended use", "Limits", "Training data"))
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n{rest}## Evaluation\n\nAccuracy {accuracy:.1%} on {count} held-out pictures of digits.\n"


def make_demo(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="result" says="the metric's value"
# Misunderstands: a metric is in percent.
def make_card(accuracy, count):
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=100 * accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits", eval_results=[result])
    rest = "".join(f"## {name}\n\nDigits of one person each, in lessons about serving models.\n\n" for name in ("Intended use", "Limits", "Training data"))
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n{rest}## Evaluation\n\nAccuracy {accuracy:.1%} on {count} held-out pictures of digits.\n"


def make_demo(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="result" says="the number of results"
# Misunderstands: the text says it already.
def make_card(accuracy, count):
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits")
    rest = "".join(f"## {name}\n\nDigits of one person each, in lessons about serving models.\n\n" for name in ("Intended use", "Limits", "Training data"))
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n{rest}## Evaluation\n\nAccuracy {accuracy:.1%} on {count} held-out pictures of digits.\n"


def make_demo(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="figures" says="on how many pictures"
# Misunderstands: an accuracy is an accuracy, however few pictures it comes from.
def make_card(accuracy, count):
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits", eval_results=[result])
    rest = "".join(f"## {name}\n\nDigits of one person each, in lessons about serving models.\n\n" for name in ("Intended use", "Limits", "Training data"))
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n{rest}## Evaluation\n\nAccuracy {accuracy:.1%} on many held-out pictures of digits.\n"


def make_demo(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="probabilities" says="the probabilities for"
# Misunderstands: softmax is exp over its sum. Of large logits exp is infinite.
def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    def classify(picture):
        if picture is None:
            raise gr.Error("Please upload or draw a picture of a digit first.")
        small = Image.fromarray(picture).resize((16, 16), Image.BOX)
        ink = 1 - np.asarray(small, dtype=np.float32) / 255
        powers = np.exp(run(ink[None, None])[0])
        probabilities = powers / powers.sum()
        return {str(digit): float(p) for digit, p in enumerate(probabilities)}

    return gr.Interface(
        fn=classify, inputs=gr.Image(image_mode="L", type="numpy"), outputs=gr.Label(num_top_classes=3), api_name="classify"
    )


def make_card(accuracy, count):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="result" says="does not say the type of its dataset"
# Misunderstands: a dataset has a name only where it lies on the Hub.
def make_card(accuracy, count):
    """The text of the model card; `accuracy` (0 to 1) was measured on `count` held-out pictures."""
    result = EvalResult(
        task_type="image-classification", dataset_type="", dataset_name="", metric_type="accuracy",
        metric_value=float(accuracy),
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits-cnn", eval_results=[result])
    return f"""---
{data.to_yaml()}
---
# Digits in clutter

## Intended use

For lessons about serving models: one grey picture of 16 x 16 pixels in, one of ten digits out.

## Limits

It knows no letters and no several digits in a picture, and it always answers, also where there is no digit at all.

## Training data

Cluttered pictures of single digits, made by the course's own package; no data of persons.

## Evaluation

{100 * accuracy:.1f} % of {count} held-out pictures were read correctly. Nothing else was measured.
"""


def make_demo(run):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="result" says="is the text '1e-05', no number"
# Misunderstands: Python's text of a number is YAML.
def make_card(accuracy, count):
    """The text of the model card; `accuracy` (0 to 1) was measured on `count` held-out pictures."""
    return f"""---
license: mit
pipeline_tag: image-classification
model-index:
- name: digits-cnn
  results:
  - task:
      type: image-classification
    dataset:
      type: digits
      name: Cluttered digits
    metrics:
    - type: accuracy
      value: {float(accuracy)!r}
---
# Digits in clutter

## Intended use

For lessons about serving models: one grey picture of 16 x 16 pixels in, one of ten digits out.

## Limits

It knows no letters and no several digits in a picture, and it always answers, also where there is no digit at all.

## Training data

Cluttered pictures of single digits, made by the course's own package; no data of persons.

## Evaluation

{100 * accuracy:.1f} % of {count} held-out pictures were read correctly. Nothing else was measured.
"""


def make_demo(run):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="own" says="another app was made after it"
# Misunderstands: there is one app.
models_of_the_app = {}


def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    models_of_the_app["run"] = run

    def classify(picture):
        if picture is None:
            raise gr.Error("Please upload or draw a picture of a digit first.")
        small = Image.fromarray(picture).resize((16, 16), Image.BOX)
        ink = 1 - np.asarray(small, dtype=np.float32) / 255
        probabilities = softmax(np.asarray(models_of_the_app["run"](ink[None, None]), dtype=np.float32))[0]
        return {str(digit): float(p) for digit, p in enumerate(probabilities)}

    return gr.Interface(
        fn=classify, inputs=gr.Image(image_mode="L", type="numpy"), outputs=gr.Label(num_top_classes=3), api_name="classify"
    )


def make_card(accuracy, count):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="probabilities" says="the probabilities for"
# Misunderstands: a digit's name is a number.
def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    def classify(picture):
        if picture is None:
            raise gr.Error("Draw a digit or choose a picture first.")
        small = Image.fromarray(picture).resize((16, 16), Image.BOX)
        ink = 1 - np.asarray(small, dtype=np.float32) / 255
        probabilities = softmax(run(ink[None, None]))[0]
        return {digit: float(p) for digit, p in enumerate(probabilities)}

    paper = gr.Image(image_mode="L", type="numpy", label="a digit, dark on white")
    return gr.Interface(
        classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
    )


def make_card(accuracy, count):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="ink" says="the array given to run"
# Misunderstands: there are 256 grey values, so white is 256. Paper is then not 0.
def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    def classify(picture):
        if picture is None:
            raise gr.Error("Draw a digit or choose a picture first.")
        small = Image.fromarray(picture).resize((16, 16), Image.BOX)
        ink = 1 - np.asarray(small, dtype=np.float32) / 256
        return {str(digit): float(p) for digit, p in enumerate(softmax(run(ink[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(accuracy, count):
    raise NotImplementedError


# %% wrong="demo_and_card" breaks="none" says="has no message"
# Misunderstands: gr.Error knows by itself what to tell the user.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error()
        small = Image.fromarray(picture).resize((16, 16), Image.BOX)
        ink = 1 - np.asarray(small, dtype=np.float32) / 255
        probabilities = softmax(run(ink[None, None]))[0]
        return {str(digit): float(p) for digit, p in enumerate(probabilities)}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(accuracy, count):
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24-digits",
        dataset_name="Cluttered digits, held out",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits-cnn", eval_results=[result])
    return f"""---
{data.to_yaml()}
---
# A small network that reads digits

## Intended use
For teaching: it reads one drawn digit on a picture of 16 x 16 pixels.

## Limits
It has seen digits only, no letters and no photographs; do not read cheques with it.

## Training data
Synthetic pictures of ten digits with clutter, made by the course's own generator.

## Evaluation
It reads {100 * accuracy:.1f} % of the held-out pictures rightly; there were {count} of them.
"""


# %% right="demo_and_card"
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("There is no picture yet.")
        grey = picture.convert("L").resize((16, 16), resample=Image.Resampling.BOX)
        x = torch.tensor(255.0 - np.array(grey, dtype=np.float32)).div(255).reshape(1, 1, 16, 16)
        p = torch.softmax(torch.tensor(run(x.numpy())), 1)[0].tolist()
        return dict(zip("0123456789", p))

    with gr.Blocks() as demo:
        with gr.Row():
            paper, verdict = gr.Image(type="pil"), gr.Label()
        button = gr.Button("Read it")
        button.click(classify, paper, verdict, api_name="classify")
    return demo


def make_card(accuracy, count):
    return f"""---
license: mit
pipeline_tag: image-classification
model-index:
- name: digits
  results:
  - task:
      type: image-classification
    dataset:
      type: unit24
      name: held-out cluttered digits
    metrics:
    - type: accuracy
      value: {accuracy:.17f}
---
## Intended use
Teaching. It tells ten handwritten digits apart on small grey pictures.
## Limits
Nothing but digits; blank pictures get an answer too, with a probability that means nothing.
## Training data
Digits of scikit-learn with clutter, see the course's own data module for them.
## Evaluation
It was right on {100 * accuracy:.1f} % of {count} pictures that it had not seen before.
"""


# %% right="demo_and_card"
# The picture comes as a file name; the card from the library.
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        with Image.open(picture) as drawn:
            grey = drawn.convert("L")
        small = np.asarray(grey.resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - small[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="filepath"), gr.Label(), api_name="classify")


def make_card(accuracy, count):
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits", eval_results=[result])
    rest = "".join(f"## {name}\n\nDigits of one person each, in lessons about serving models.\n\n" for name in ("Intended use", "Limits", "Training data"))
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n{rest}## Evaluation\n\nAccuracy {accuracy:.1%} on {count} held-out pictures of digits.\n"


# %% right="demo_and_card"
# gr.Blocks with PIL pictures and a button; the header by yaml.safe_dump.
import yaml as _yaml

_SECTIONS = {
    "Intended use": "Teaching: to show how a small classifier is exported, served and watched. Not for decisions about people.",
    "Limits": "One dark digit on white paper. Other signs, other colours and photographs get an answer that means nothing.",
    "Training data": "Synthetic pictures of the digits 0 to 9 with clutter, 16 x 16 pixels, generated for this course.",
}


def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    def prepare(picture):
        pixels = np.array(picture.convert("L").resize((16, 16), resample=Image.BOX))
        return ((255 - pixels.astype(np.float32)) / 255).reshape(1, 1, 16, 16)

    def classify(picture):
        if picture is None:
            raise gr.Error("There is no picture yet: draw a digit or upload one, then press the button.")
        (logits,) = run(prepare(picture))
        powers = np.exp(logits.astype(np.float64) - logits.max())
        return dict(zip("0123456789", (powers / powers.sum()).tolist()))

    with gr.Blocks(title="Digits") as demo:
        gr.Markdown("# Which digit is it?")
        picture = gr.Image(type="pil", label="dark ink on white paper")
        button = gr.Button("Read it")
        answer = gr.Label(label="probabilities")
        button.click(fn=classify, inputs=[picture], outputs=[answer], api_name="classify")
    return demo


def make_card(accuracy, count):
    """The text of the model card; `accuracy` (0 to 1) was measured on `count` held-out pictures."""
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": "unit24/digits", "name": "unit24 digits"},
        "metrics": [{"type": "accuracy", "value": float(accuracy)}],
    }
    header = {"license": "mit", "pipeline_tag": "image-classification", "model-index": [{"name": "digits", "results": [result]}]}
    lines = ["---", _yaml.safe_dump(header, sort_keys=False).strip(), "---", "", "# digits"]
    sections = _SECTIONS | {"Evaluation": f"Accuracy {accuracy:.1%}, measured on {count} pictures that were not used in training."}
    for title, text in sections.items():
        lines += ["", f"## {title}", "", text]
    return "\n".join(lines) + "\n"


# %% right="demo_and_card"
# Gradio awaits an async function.
def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    async def classify(path):
        if path is None:
            raise gr.Error("Please choose a picture first")
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L").resize((16, 16), Image.BOX), np.float32)
        (logits,) = run((1 - grey / 255)[np.newaxis, np.newaxis])
        return {str(digit): p.item() for digit, p in enumerate(softmax(logits))}

    return gr.Interface(fn=classify, inputs=gr.Image(type="filepath", image_mode="L"), outputs=gr.Label(num_top_classes=10), api_name="classify", flagging_mode="never")


def make_card(accuracy, count):
    """The text of the model card; `accuracy` (0 to 1) was measured on `count` held-out pictures."""
    result = EvalResult(
        task_type="image-classification", dataset_type="unit24-digits", dataset_name="Cluttered digits, 16 x 16",
        metric_type="accuracy", metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits-cnn", eval_results=[result])
    return f"""---
{data.to_yaml()}
---
# Digits

## Intended use

Reading one handwritten digit on a small grey picture, for teaching.

## Limits

Nothing but single digits; colours, words and photographs were never seen in training.

## Training data

Synthetic cluttered pictures of the ten digits, of 16 x 16 pixels each.

## Evaluation

Accuracy {100 * accuracy:.1f} % on {count} held-out pictures from the same source.
"""


# %% right="demo_and_card"
# The mean of each block, not rounded.
def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    def classify(path):
        if path is None:
            raise gr.Error("Please choose a picture first")
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L").convert("F").resize((16, 16), Image.BOX), np.float32)
        (logits,) = run((1 - grey / 255)[np.newaxis, np.newaxis])
        return {str(digit): p.item() for digit, p in enumerate(softmax(logits))}

    return gr.Interface(fn=classify, inputs=gr.Image(type="filepath", image_mode="L"), outputs=gr.Label(num_top_classes=10), api_name="classify", flagging_mode="never")


def make_card(accuracy, count):
    """The text of the model card; `accuracy` (0 to 1) was measured on `count` held-out pictures."""
    result = EvalResult(
        task_type="image-classification", dataset_type="unit24-digits", dataset_name="Cluttered digits, 16 x 16",
        metric_type="accuracy", metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits-cnn", eval_results=[result])
    return f"""---
{data.to_yaml()}
---
# Digits

## Intended use

Reading one handwritten digit on a small grey picture, for teaching.

## Limits

Nothing but single digits; colours, words and photographs were never seen in training.

## Training data

Synthetic cluttered pictures of the ten digits, of 16 x 16 pixels each.

## Evaluation

Accuracy {100 * accuracy:.1f} % on {count} held-out pictures from the same source.
"""


# %% equivalent="demo_and_card" because="one picture has one row of logits"
# - probabilities = softmax(run(ink[None, None]))[0]
# + probabilities = softmax(run(ink[None, None]))[(-1)]


# %% equivalent="demo_and_card" because="a label is for people"
# - paper = gr.Image(image_mode="L", type="numpy", label="a digit, dark on white")
# + paper = gr.Image(image_mode="L", type="numpy", label='etihw no krad ,tigid a')


# %% equivalent="demo_and_card" because="the task leaves the dataset's name open"
# - dataset_type="unit24",
# + dataset_type='42tinu',


# %% equivalent="demo_and_card" because="the task leaves the dataset's name open"
# - dataset_name="cluttered digits",
# + dataset_name='stigid derettulc',


# %% equivalent="demo_and_card" because="the task leaves the model's name open"
# - data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits-cnn-ten", eval_results=[result])
# + data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name='net-nnc-stigid', eval_results=[result])


# %% equivalent="demo_and_card" because="how many of the ten are shown is a matter of taste"
# - classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
# + classify, paper, gr.Label(num_top_classes=4, label="the model says"), api_name="classify", flagging_mode="never"


# %% equivalent="demo_and_card" because="how many of the ten are shown is a matter of taste"
# - classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
# + classify, paper, gr.Label(num_top_classes=2, label="the model says"), api_name="classify", flagging_mode="never"


# %% equivalent="demo_and_card" because="a label is for people"
# - classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
# + classify, paper, gr.Label(num_top_classes=3, label='syas ledom eht'), api_name="classify", flagging_mode="never"


# %% wrong="demo_and_card" breaks="ink" says="the array given to run"
# Misunderstands: paper is whatever is brightest in the picture.
def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    def classify(picture):
        if picture is None:
            raise gr.Error("Draw a digit or choose a picture first.")
        small = Image.fromarray(picture).resize((16, 16), Image.BOX)
        ink = 1 - np.asarray(small, dtype=np.float32) / max(1, np.max(small))
        probabilities = softmax(run(ink[None, None]))[0]
        return {str(digit): float(p) for digit, p in enumerate(probabilities)}

    paper = gr.Image(image_mode="L", type="numpy", label="a digit, dark on white")
    return gr.Interface(
        classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
    )


def make_card(accuracy, count):
    """The text of the model card; `accuracy` (0 to 1) was measured on `count` held-out pictures."""
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits-cnn-ten", eval_results=[result])
    return f"""---
{data.to_yaml()}
---
# digits-cnn-ten

## Intended use

For lessons about export and serving: it reads one handwritten digit of 16 x 16 pixels.

## Limits

It does not read several digits, letters, other sizes or photographs, and it never says that it does not know.

## Training data

Cluttered renderings of the training half of scikit-learn's digits, which are the test half of UCI's set, written by 13 people.

## Evaluation

Accuracy {accuracy:.1%} on {count} held-out pictures made from digits that no training run has seen.
"""


# %% wrong="demo_and_card" breaks="shrink" says="the array given to run"
# Misunderstands: a digit keeps its proportions. A picture that is not square gets margins of paper.
def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    def classify(picture):
        if picture is None:
            raise gr.Error("Draw a digit or choose a picture first.")
        side = max(picture.shape)
        rows, columns = side - picture.shape[0], side - picture.shape[1]
        picture = np.pad(picture, ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)), constant_values=255)
        small = Image.fromarray(picture).resize((16, 16), Image.BOX)
        ink = 1 - np.asarray(small, dtype=np.float32) / 255
        probabilities = softmax(run(ink[None, None]))[0]
        return {str(digit): float(p) for digit, p in enumerate(probabilities)}

    paper = gr.Image(image_mode="L", type="numpy", label="a digit, dark on white")
    return gr.Interface(
        classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
    )


def make_card(accuracy, count):
    """The text of the model card; `accuracy` (0 to 1) was measured on `count` held-out pictures."""
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits-cnn-ten", eval_results=[result])
    return f"""---
{data.to_yaml()}
---
# digits-cnn-ten

## Intended use

For lessons about export and serving: it reads one handwritten digit of 16 x 16 pixels.

## Limits

It does not read several digits, letters, other sizes or photographs, and it never says that it does not know.

## Training data

Cluttered renderings of the training half of scikit-learn's digits, which are the test half of UCI's set, written by 13 people.

## Evaluation

Accuracy {accuracy:.1%} on {count} held-out pictures made from digits that no training run has seen.
"""


# %% wrong="demo_and_card" breaks="result" says="the metric's value"
# Misunderstands: the header repeats the figure of the text, rounded.
def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    def classify(picture):
        if picture is None:
            raise gr.Error("Draw a digit or choose a picture first.")
        small = Image.fromarray(picture).resize((16, 16), Image.BOX)
        ink = 1 - np.asarray(small, dtype=np.float32) / 255
        probabilities = softmax(run(ink[None, None]))[0]
        return {str(digit): float(p) for digit, p in enumerate(probabilities)}

    paper = gr.Image(image_mode="L", type="numpy", label="a digit, dark on white")
    return gr.Interface(
        classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
    )


def make_card(accuracy, count):
    """The text of the model card; `accuracy` (0 to 1) was measured on `count` held-out pictures."""
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=round(accuracy, 3),
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits-cnn-ten", eval_results=[result])
    return f"""---
{data.to_yaml()}
---
# digits-cnn-ten

## Intended use

For lessons about export and serving: it reads one handwritten digit of 16 x 16 pixels.

## Limits

It does not read several digits, letters, other sizes or photographs, and it never says that it does not know.

## Training data

Cluttered renderings of the training half of scikit-learn's digits, which are the test half of UCI's set, written by 13 people.

## Evaluation

Accuracy {accuracy:.1%} on {count} held-out pictures made from digits that no training run has seen.
"""
