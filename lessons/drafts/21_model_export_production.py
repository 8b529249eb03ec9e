# ---
# jupyter:
#   unit24:
#     needs: ["fastapi>=0.110", "gradio>=5", "httpx", "huggingface_hub", "matplotlib>=3.8", "onnx>=1.16", "onnxruntime>=1.18", "onnxscript", "prometheus-client>=0.19", "protobuf>=5", "pydantic>=2", "scikit-learn", "scipy", "torch>=2.6", "tritonclient>=2.50", "uvicorn"]
# ---

# %% [markdown]
# # 21 · Export a model, serve it, watch it
#
# A trained model is a Python object that only its author can run. In this lesson it becomes a file that needs no
# PyTorch, the file becomes a service that survives bad clients, and the service becomes something that you can roll
# out, watch, and take back.
#
# **You will build** an ONNX file and a compiled package of the digits network, an acceptance test for both, a FastAPI
# service with micro-batching, limits, timeouts, health checks and metrics, the files that NVIDIA Triton Inference
# Server, BentoML and Docker want, a rule that rolls a bad canary back, a Gradio demo and a model card. At the end the
# real service runs in its own process, under load and under attack.
#
# **You need first** lessons 03 (`nn.Module`, eval mode) and 13 (what a graph is); `async`/`await` at the level of the
# [asyncio tutorial](https://docs.python.org/3/library/asyncio-task.html).
#
# **Time** about four and a half hours: nine exercises of 20 to 45 minutes, 30 points. No GPU.
#
# ```text
#            torch.export            ┌──► model.onnx ──► ONNX Runtime ──┐
#  nn.Module ────────────► program ──┤                                  ├──► accept? ──► service
#   (eval)                           └──► model.pt2  ──► AOTInductor ───┘                  │
#                                                                                          ▼
#   client ──► limits ──► validation ──► queue ──► batch ──► model ──► answer     health, metrics ──► canary:
#              413, 408   422            503       504       500       200                            promote or roll back
# ```
#
# | part | what you write | the question it answers |
# |---|---|---|
# | A | ONNX export, AOTInductor export, an acceptance test | Is the file the model? |
# | B | micro-batcher, service, health and metrics | Does it survive its clients? |
# | C | Triton, BentoML and Docker files, canary rule, demo and card | Can it be shipped, and taken back? |
# | D | (nothing: the live service) | What does it do under load? |

# %% setup

# %%
import asyncio
import concurrent.futures
import contextlib
import copy
import json
import linecache
import logging
import math
import os
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import torch
from torch import nn

from unit24 import check, claims
from unit24.data import digits
from unit24.models.digits_cnn import DigitsCNN

torch.set_num_threads(1)  # all comparisons below are for one thread
logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports each optional package that is not there
onnxruntime.set_default_logger_severity(3)
workshop = Path(tempfile.mkdtemp(prefix="lesson21-"))  # all files of this lesson

# %% [markdown]
# ## The model
#
# The small convolutional network of lesson 09, trained on all ten digits: cluttered pictures of 16 x 16 pixels in,
# ten logits out. `pictures` are held out.

# %%
model = DigitsCNN.from_pretrained(env.model("vision-ten") if env.tier == "tiny" else __import__("unit24.models").models.path("digits-cnn-ten"))
model.eval().requires_grad_(False)
pictures, labels, _ = digits.tensors("test", 400, seed=21)  # float32 (400, 1, 16, 16), int64 (400,)
print(f"{sum(p.numel() for p in model.parameters()):,} weights, accuracy {(model(pictures).argmax(1) == labels).float().mean():.1%} on {len(labels)} held-out pictures")

figure, axes = plt.subplots(1, 8, figsize=(9, 1.5))
for axis, picture, label in zip(axes, pictures, labels):
    axis.imshow(picture[0], cmap="gray")
    axis.set_title(f"label {label}", fontsize=8)
    axis.set_axis_off()
plt.show()

# %% [markdown]
# # Part A · Is the file the model?
#
# ## 1 · Export to ONNX (3 points, 25 minutes, difficulty 2 of 3)
#
# ONNX is a file format for computation graphs: operators with fixed meanings, weights, names for inputs and outputs.
# ONNX Runtime runs it from Python, C++, Java or JavaScript without PyTorch. `torch.onnx.export(..., dynamo=True)` first
# runs `torch.export`, which records **one** run of the model with example inputs. Whatever that run did is now fixed:
# every branch of `if self.training`, and, unless you say otherwise, the batch size. There is a second trap: an axis of
# size 1 in the example is taken to be 1 for ever, even where you declared it free, or the export refuses it.
#
# **Task.** Write two functions.
#
# `export_onnx(model, example, path)` writes `model` to the file `path`.
#
# - `example` is **one** input with its batch axis: float32, shape `(1, ...)`.
# - The input is called `images`, the output `logits`. The batch axis is free (any size from 1 up) and called `batch`.
# - The file computes what the model computes in **eval mode**, in whatever mode it comes; `model.training` is
#   afterwards as it was.
#
# `load_onnx(path)` returns a function `run(images)`: float32 array `(n, ...)` in, array of logits out. The session runs
# on the CPU with **one** thread (`intra_op_num_threads`): in a server many requests share the cores.


# %% exercise="onnx_export" minutes=25 difficulty=2
def export_onnx(model, example, path):
    """Write `model` in eval mode as ONNX with a free batch axis; `example` is float32 (1, ...)."""
    ### BEGIN SOLUTION
    was_training = model.training
    model.eval()
    two = torch.cat([example, example])  # an axis of size 1 would be taken for a constant
    free = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(
        model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    )
    program.save(path)
    model.train(was_training)
    ### END SOLUTION


def load_onnx(path):
    """A function from images (float32 array, n first) to logits that runs the file `path` on one CPU thread."""
    ### BEGIN SOLUTION
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images):
        (logits,) = session.run(["logits"], {"images": images})
        return logits

    return run
    ### END SOLUTION


# %% tests="onnx_export" points=3
def reference_session(path):
    check.true(Path(path).is_file(), f"export_onnx wrote no file {Path(path).name}: is the exported program saved to `path`?")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_export(net, shape, seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    path = Path(tempfile.mkdtemp()) / "net.onnx"
    expected = copy.deepcopy(net).eval()
    was = net.training
    export_onnx(net, torch.randn((1, *shape), generator=generator), path)
    session = reference_session(path)
    check.equal([i.name for i in session.get_inputs()], ["images"], "the names of the inputs", "input_names gives them")
    check.equal([o.name for o in session.get_outputs()], ["logits"], "the names of the outputs", "output_names gives them")
    axis = session.get_inputs()[0].shape[0]
    check.true(
        not isinstance(axis, int),
        f"the batch axis of the input is fixed at {axis}: the file will refuse any other batch size. dynamic_shapes must name it, "
        "and the example must have more than one row, for a size of 1 is taken for a constant.",
    )
    check.equal(axis, "batch", "the name of the batch axis", "torch.export.Dim takes it")
    check.equal(list(session.get_inputs()[0].shape[1:]), list(shape), "the other axes of the input")
    for size in sizes:
        images = torch.randn((size, *shape), generator=generator)
        with torch.no_grad():
            wanted = expected(images).numpy()
        what = f"the logits of a batch of {size}"
        check.equal(
            session.run(["logits"], {"images": images.numpy()})[0],
            wanted,
            what,
            "was the model in training mode while it was exported? Each `if self.training` is then recorded as it ran",
            rtol=1e-4,
        )
        check.equal(load_onnx(path)(images.numpy()), wanted, f"load_onnx's run: {what}", rtol=1e-4)
    check.true(
        net.training == was,
        f"the model came {'in training' if was else 'in eval'} mode and left in the other: put it back as it was.",
    )
    return path


def session_threads(path):
    """What load_onnx asks of ONNX Runtime: the options of the sessions that it makes."""
    made, original = [], onnxruntime.InferenceSession

    def noting(path, *args, **options):
        made.append(original(path, *args, **options))
        return made[-1]

    onnxruntime.InferenceSession = noting
    try:
        load_onnx(path)
    finally:
        onnxruntime.InferenceSession = original
    return [(s.get_session_options().intra_op_num_threads, s.get_providers()) for s in made]


with check.exercise("onnx_export"):
    path = check_export(small_net(1, (2, 3), 5).train(), (2, 3), 11, (1, 2, 7))
    check.equal(
        session_threads(path),
        [(1, ["CPUExecutionProvider"])],
        "threads and providers of the session that load_onnx makes, once",
        "SessionOptions().intra_op_num_threads = 1, handed to InferenceSession",
    )
    ### BEGIN HIDDEN TESTS
    check_export(small_net(2, (1, 4, 2), 3).eval(), (1, 4, 2), 12, (5, 1))
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Three things of the recorded run must not be left to chance: the mode of the model, the number of rows in the example,
# and which axes may change later. And one thing must be put back afterwards.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.onnx.export(model, (inputs,), dynamo=True, dynamic_shapes=..., input_names=..., output_names=...)` returns a
# program with `.save(path)`; `torch.export.Dim("batch")`; `torch.cat`; `onnxruntime.SessionOptions`,
# `InferenceSession(path, options, providers=[...])`, `session.run(None, {name: array})` (a list of outputs).
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# was_training = model.training
# ...                                       # eval mode
# two = torch.cat([example, example])
# program = torch.onnx.export(model, (two,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
#                             input_names=[...], output_names=[...], verbose=False)
# ...                                       # save; back to the old mode
#
# options = onnxruntime.SessionOptions()
# options.intra_op_num_threads = ...
# session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
# def run(images):
#     (logits,) = session.run(["logits"], {"images": images})
#     ...
# ```
# </details>


# %% wrong="onnx_export" says="batch axis of the input is fixed at 1"
def export_onnx(model, example, path):  # believes that a file takes any batch by itself
    was = model.training
    model.eval()
    torch.onnx.export(model, (example,), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False).save(path)
    model.train(was)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" says="training mode while it was exported"
def export_onnx(model, example, path):  # exports in the mode that it finds
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" says="put it back as it was"
def export_onnx(model, example, path):  # leaves the model in eval mode
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


# %% wrong="onnx_export" says="names of the inputs"
def export_onnx(model, example, path):  # leaves the names to chance: the clients must then guess them
    was = model.training
    model.eval()
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(model, (example.repeat_interleave(3, 0),), dynamo=True, dynamic_shapes=(free,), verbose=False).save(path)
    model.train(was)


def load_onnx(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


# %% wrong="onnx_export" says="threads and providers"
def export_onnx(model, example, path):
    was = model.training
    model.eval()
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)
    model.train(was)


def load_onnx(path):  # a thread for every core, in every session
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


# %% right="onnx_export"
def export_onnx(net, one, where):
    quiet = copy.deepcopy(net).eval()
    program = torch.export.export(quiet, (one.repeat(4, *[1] * (one.ndim - 1)),), dynamic_shapes=[{0: torch.export.Dim("batch")}])
    torch.onnx.export(program, f=str(where), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False)


def load_onnx(where):
    wishes = onnxruntime.SessionOptions()
    wishes.intra_op_num_threads = wishes.inter_op_num_threads = 1
    engine = onnxruntime.InferenceSession(Path(where).read_bytes(), sess_options=wishes, providers=["CPUExecutionProvider"])

    def run(images):
        (out,) = engine.run(["logits"], {"images": np.ascontiguousarray(images)})
        return out

    return run


# %% equivalent="onnx_export" because="verbose only prints progress"
# - model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
# + model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=True


# %% equivalent="onnx_export" because="an unknown provider is skipped and the CPU, always the last resort, takes its place"
# - session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
# + session = onnxruntime.InferenceSession(path, options, providers=['redivorPnoitucexEUPC'])


# %% [markdown]
# The digits network as a file. The largest difference to eager PyTorch is rounding: another order of additions.

# %%
onnx_path = workshop / "digits.onnx"
export_onnx(model, pictures[:1], onnx_path)
run_onnx = load_onnx(onnx_path)
for size in (1, 3, 64):
    difference = np.abs(run_onnx(pictures[:size].numpy()) - model(pictures[:size]).numpy()).max()
    print(f"batch of {size:2}: largest difference of a logit {difference:.1e}")
print(f"{onnx_path.stat().st_size / 1e3:.0f} kB on disk, weights inside: {sum(p.numel() for p in model.parameters()) * 4 / 1e3:.0f} kB")

# %% [markdown]
# ## 2 · Export for AOTInductor (3 points, 25 minutes, difficulty 2 of 3)
#
# `torch.compile` compiles while the service runs. AOTInductor compiles *ahead of time*: `torch.export` gives a program,
# `torch._inductor.aoti_compile_and_package` turns it into C++ and then into a shared library inside a `.pt2` package,
# which Python or C++ loads without tracing anything. The program carries its promises: which axes are free, and in
# what range. A promise that the model's code breaks is an error at export, not at three in the morning.
#
# The compiled code wants batches between 1 and the `largest` size promised; what comes from clients is sometimes more.
#
# **Task.** Write two functions.
#
# `export_program(model, example, largest)` returns the `ExportedProgram` of the model in eval mode (afterwards in the
# mode it came in), for one input like `example` (float32 `(1, ...)`), with a free batch axis from 1 to `largest` (at
# least 2). More than `largest` rows must be refused by the program.
#
# `run_in_chunks(run, images, largest)` gives the result of `run` for any number of images, also 0, calling `run` with 1
# to `largest` rows at a time, in order, with no more calls than needed. `run` maps a float32 tensor `(n, ...)` to a
# float32 tensor `(n, classes)`; for 0 images return an empty tensor with `classes` columns: here `classes` can only be
# found by running one blank (zero) image.


# %% exercise="aoti_export" minutes=25 difficulty=2
def export_program(model, example, largest):
    """The exported program of `model` in eval mode with 1 to `largest` rows; `example` is float32 (1, ...)."""
    ### BEGIN SOLUTION
    was_training = model.training
    model.eval()
    rows = torch.export.Dim("batch", min=1, max=largest)
    program = torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))
    model.train(was_training)
    return program
    ### END SOLUTION


def run_in_chunks(run, images, largest):
    """`run` on all rows of `images` (float32 (n, ...)), at most `largest` at a time; float32 (n, classes)."""
    ### BEGIN SOLUTION
    if len(images) == 0:
        return run(images.new_zeros(1, *images.shape[1:]))[:0]
    return torch.cat([run(part) for part in images.split(largest)])
    ### END SOLUTION


# %% tests="aoti_export" points=3
def refuses(call, argument):
    """Whether `call(argument)` raises an error."""
    try:
        call(argument)
    except Exception:
        return True
    return False


def check_program(net, shape, largest, seed):
    generator = torch.Generator().manual_seed(seed)
    expected, was = copy.deepcopy(net).eval(), net.training
    program = export_program(net, torch.randn((1, *shape), generator=generator), largest)
    check.kind(program, torch.export.ExportedProgram, "what export_program returns", "torch.export.export gives it")
    check.true(net.training == was, "the model left export_program in another mode than it came in: put it back.")
    exported = program.module()
    for size in (1, 2, largest):
        images = torch.randn((size, *shape), generator=generator)
        try:
            logits = exported(images).detach()
        except Exception as error:
            said = str(error).splitlines()[0][:120]
            check.true(
                False, f"the program refuses {size} of at most {largest} rows ({said}). Is the batch axis declared free from 1 to largest?"
            )
        check.equal(
            logits, expected(images).detach(), f"the program's logits for {size} rows", "was the model exported in eval mode?", rtol=1e-4
        )
    check.true(
        refuses(exported, torch.randn((largest + 1, *shape), generator=generator)),
        f"the program accepts {largest + 1} rows, and promised at most {largest}: `max=` of torch.export.Dim says so to the compiler.",
    )


def check_chunks(images, largest, weight):
    seen = []

    def run(part):
        seen.append(len(part))
        check.between(len(part), 1, largest, "the rows in one call of run", "split the images; an empty batch is not a batch")
        return part.flatten(1) @ weight

    wanted = images.flatten(1) @ weight
    observed = run_in_chunks(run, images, largest)
    check.equal(observed, wanted, f"the result for {len(images)} images, at most {largest} at a time", "all chunks, in order, joined")
    needed = max(1, math.ceil(len(images) / largest))
    check.equal(len(seen), needed, f"the number of calls for {len(images)} images, at most {largest} at a time", "each call costs: fill it")


def check_all_chunks():
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(6, 5, generator=generator)
    for count, largest in ((7, 3), (6, 3), (1, 4), (0, 4)):
        check_chunks(torch.randn(count, 2, 3, generator=generator), largest, weight)
    ### BEGIN HIDDEN TESTS
    for count, largest in ((13, 4), (5, 1), (0, 1), (4, 9)):
        check_chunks(torch.randn(count, 3, 1, 2, generator=generator), largest, weight)
    ### END HIDDEN TESTS


def check_programs():
    check_program(small_net(3, (2, 3), 4).train(), (2, 3), 8, 21)
    ### BEGIN HIDDEN TESTS
    check_program(small_net(4, (1, 3, 3), 2).eval(), (1, 3, 3), 5, 22)
    ### END HIDDEN TESTS


with check.exercise("aoti_export"):
    check.parts({"export_program": check_programs, "run_in_chunks": check_all_chunks})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# The export is as in exercise 1, with one promise more. For the chunks: how many calls do 7 images need at 3 a call?
# What is left when there is nothing to split?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.export.export(model, args, dynamic_shapes=...)`, `torch.export.Dim(name, min=..., max=...)`, `Tensor.split`,
# `torch.cat`, `Tensor.new_zeros`, and slicing `[:0]`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# rows = torch.export.Dim("batch", min=..., max=...)
# program = torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))
#
# if len(images) == 0:
#     return run(one blank image)[:0]
# return torch.cat([run(part) for part in images.split(...)])
# ```
# </details>


# %% wrong="aoti_export" says="declared free from 1 to largest"
def export_program(model, example, largest):  # believes that the example's size does not matter
    was = model.training
    model.eval()
    program = torch.export.export(model, (example.repeat(largest, *[1] * (example.ndim - 1)),))
    model.train(was)
    return program


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="promised at most"
def export_program(model, example, largest):  # leaves the range open
    was = model.training
    model.eval()
    program = torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    model.train(was)
    return program


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="exported in eval mode"
def export_program(model, example, largest):  # forgets the mode
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="number of calls"
def run_in_chunks(run, images, largest):  # one by one: right, and as slow as it gets
    if len(images) == 0:
        return run(torch.zeros(1, *images.shape[1:]))[:0]
    return torch.cat([run(image[None]) for image in images])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="all chunks, in order"
def run_in_chunks(run, images, largest):  # drops the rest that does not fill a chunk
    if len(images) < largest:
        return run(images) if len(images) else run(torch.zeros(1, *images.shape[1:]))[:0]
    full = len(images) // largest
    return torch.cat([run(images[i * largest : (i + 1) * largest]) for i in range(full)])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="an empty batch is not a batch"
def run_in_chunks(run, images, largest):  # an empty batch goes to the compiled code, which wants at least one row
    return torch.cat([run(part) for part in images.split(largest)])


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


# %% [markdown]
# The program as PyTorch sees it: plain operators, weights as inputs, and the range of the batch size. It is compiled
# at the end of the lesson, where we also measure; the compiler needs a while.

# %%
largest_batch = 64
program = export_program(model, pictures[:1], largest_batch)
print("range of the batch size:", *program.range_constraints.values())
print("operators:", ", ".join(sorted({str(n.target).removeprefix("aten.").split(".")[0] for n in program.graph.nodes if n.op == "call_function"})))

# %% [markdown]
# ## 3 · Write the acceptance test (3 points, 30 minutes, difficulty 2 of 3)
#
# A file that passes on the one batch that you tried is not accepted yet. Exports go wrong quietly: the batch size of the
# example is baked in, batch norm looks at its neighbours, a normalisation is done twice, the input is changed on the
# way, the last layer is not the one you think.
#
# **Task.** Write `accept(run, model, images)`. It returns (anything) if `run` may replace `model`, and raises an
# `AssertionError` if not. `images` is a float32 array `(12, 1, 16, 16)`, `model` the network in eval mode, `run` a
# function from a float32 array `(n, 1, 16, 16)` to an array. The contract:
#
# - For **every** batch size (1, a few, all 12) the result is a float32 array `(n, 10)`: the model's **logits**, within
#   0.001 (rounding is allowed, another precision is not).
# - The answer for an image does not depend on which other images are in the batch, on earlier calls, or on how the array
#   lies in memory (a slice with steps, a transposed copy).
# - Blank images (all zeros) are images too.
# - The input array is not changed.
#
# Your test is graded on correct implementations, which it must accept, and on broken ones, which it must reject.


# %% exercise="accept_export" minutes=30 difficulty=2
def accept(run, model, images):
    """Raise AssertionError unless `run` (array to array) may replace `model` on images like `images` (12, 1, 16, 16)."""
    ### BEGIN SOLUTION
    views = [images, images[:1], images[::-1], images * 0]  # all, one alone, backwards, blank
    for view in views:
        kept = view.copy()
        logits = run(view)
        assert isinstance(logits, np.ndarray) and logits.dtype == np.float32, "not a float32 array"
        assert (view == kept).all(), "the input was changed"
        wanted = model(torch.tensor(kept)).numpy()
        assert logits.shape == wanted.shape, f"{logits.shape} instead of {wanted.shape}"
        assert np.abs(logits - wanted).max() <= 1e-3, "other logits"
    ### END SOLUTION


# %% tests="accept_export" points=3
def plain_run(images):
    """What an exported model should do."""
    return model(torch.tensor(np.ascontiguousarray(images))).numpy()


def in_double(images):
    """Right, with other rounding: computed in float64."""
    exact = copy.deepcopy(model).double()
    return exact(torch.tensor(images.copy()).double()).float().numpy()


def in_pairs(images):
    return np.concatenate([plain_run(images[i : i + 2]) for i in range(0, len(images), 2)])


def fixed_batch(images):
    assert len(images) == 12, "Got: a batch of another size. Expected: 12"
    return plain_run(images)


def at_most_eight(images):
    return plain_run(images[:8])


def with_softmax(images):
    return torch.tensor(plain_run(images)).softmax(1).numpy()


def with_batch_statistics(images):
    noisy = copy.deepcopy(model)
    for layer in noisy.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()
    return noisy(torch.tensor(images.copy())).numpy()


def changes_its_input(images):
    result = plain_run(images)
    images *= 2
    return result


def in_float64(images):
    return plain_run(images).astype(np.float64)


def in_half(images):
    half = copy.deepcopy(model).bfloat16()
    return half(torch.tensor(images.copy()).bfloat16()).float().numpy()


def first_answer_for_all(images):
    return np.repeat(plain_run(images[:1]), len(images), 0)


def make_remembering():
    answers = {}

    def remembers_by_shape(images):
        return answers.setdefault(images.shape, plain_run(images))

    return remembers_by_shape


def ignores_strides(images):
    base = images if images.base is None else images.base
    return plain_run(base.reshape(-1, 1, 16, 16)[: len(images)])


def scales_by_the_brightest(images):
    top = images.max(axis=(1, 2, 3), keepdims=True)
    with np.errstate(all="ignore"):
        return plain_run((images / top * top).astype(np.float32))


def one_row_loses_its_axis(images):
    return plain_run(images).squeeze()


def slightly_off(images):
    return plain_run(images) + np.float32(0.0018)


def hardly_off(images):
    return plain_run(images) + np.float32(0.0009)


broken = {
    "works for the batch size of the example only": fixed_batch,
    "answers at most 8 images": at_most_eight,
    "gives probabilities": with_softmax,
    "has batch norm in training mode": with_batch_statistics,
    "changes its input": changes_its_input,
    "gives float64": in_float64,
    "computes in bfloat16": in_half,
}

with check.exercise("accept_export"):
    some = pictures[40:52].numpy()

    def judge(run):
        return accept(run, model, some.copy())

    check.catches(judge, {"eager PyTorch": plain_run, "two at a time": in_pairs}, broken, "your checks")
    ### BEGIN HIDDEN TESTS
    other = pictures[100:112].numpy()
    judge_other = lambda run: accept(run, model, other.copy())
    more = {
        "gives the first image's answer to all": first_answer_for_all,
        "remembers answers by the shape of the batch": make_remembering(),
        "ignores how the array lies in memory": ignores_strides,
        "gives NaN for blank images": scales_by_the_brightest,
        "drops the batch axis of a single image": one_row_loses_its_axis,
        "gives a torch tensor": lambda images: torch.tensor(plain_run(images)),
        "turns the images by a quarter": lambda images: plain_run(images.swapaxes(2, 3)),
        "is off by 0.0018": slightly_off,
        "gives negated logits": lambda images: -plain_run(images),
        "sorts the rows": lambda images: np.sort(plain_run(images), 0),
        "gives zeros": lambda images: np.zeros((len(images), 10), np.float32),
    }
    check.catches(judge_other, {"computed in float64": in_double, "off by 0.0009": hardly_off}, {**broken, **more}, "your checks")
    ### END HIDDEN TESTS
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Make a list of arrays that a file should handle: which sizes, which contents, which ways to lie in memory? Then ask the
# same questions of each: type, shape, values, and is the input still what it was?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `array.copy()`, `images[::2]` and `images.transpose(0, 1, 3, 2)` (views with other strides), `np.zeros_like`,
# `np.array_equal`, `np.abs(...).max()`. A comparison with NaN is False: which way round must the assertion be?
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# for view in [images, images[:1], images[3:8], images[::-2], a batch of blanks, ...]:
#     kept = view.copy()
#     logits = run(view)
#     assert ...                          # ndarray of float32
#     assert np.array_equal(view, kept)
#     wanted = model(torch.tensor(kept)).numpy()
#     assert logits.shape == wanted.shape
#     assert np.abs(logits - wanted).max() < 1e-3
# ```
# </details>


# %% wrong="accept_export" says="computes in bfloat16"
def accept(run, model, images):  # one number: the labels agree
    for view in (images, images[:1], images[:5]):
        kept = view.copy()
        out = run(view)
        assert out.shape == (len(view), 10) and out.dtype == np.float32
        assert np.array_equal(view, kept)
        assert (out.argmax(1) == model(torch.tensor(kept)).numpy().argmax(1)).mean() > 0.5
        assert (out < 0).any()


# %% wrong="accept_export" says="reject a correct implementation"
def accept(run, model, images):  # asks for equal bits
    assert np.array_equal(run(images[:5]), model(torch.tensor(images)).numpy()[:5])


# %% wrong="accept_export" says="works for the batch size of the example only"
def accept(run, model, images):  # one batch, of the size that was exported
    kept = images.copy()
    logits = run(images)
    assert logits.dtype == np.float32 and np.array_equal(images, kept)
    np.testing.assert_allclose(logits, model(torch.tensor(kept)).numpy(), atol=1e-3)


# %% wrong="accept_export" says="reject with `assert`"
def accept(run, model, images):  # gives a verdict that nobody reads
    try:
        return bool(np.abs(run(images) - model(torch.tensor(images)).numpy()).max() < 1e-3)
    except Exception:
        return False


# %% right="accept_export"
def accept(run, model, images):
    def judged(batch):
        before = np.array(batch)
        out = run(batch)
        np.testing.assert_array_equal(batch, before)
        assert type(out) is np.ndarray
        assert out.dtype == np.dtype("float32")
        np.testing.assert_allclose(out, model(torch.from_numpy(before)).numpy(), rtol=0, atol=1e-3)

    for size in range(1, len(images) + 1):
        judged(images[:size].copy())
    judged(images[::3])
    judged(images[::-1])
    judged(np.asfortranarray(images).swapaxes(2, 3))
    judged(images * 0)


# %% equivalent="accept_export" because="no difference is 0.001 to the last bit"
# - assert np.abs(logits - wanted).max() <= 1e-3, "other logits"
# + assert (np.abs(logits - wanted).max() < 0.001), "other logits"


# %% equivalent="accept_export" because="every second image backwards is a view with a negative step as well"
# - views = [images, images[:1], images[::-1], images * 0]  # all, one alone, backwards, blank
# + views = [images, images[:1], images[::-2], images * 0]  # all, one alone, backwards, blank


# %% [markdown]
# Your test on the file from exercise 1, and on a file with a fault that happens: somebody saved the *parameters* of the
# network and forgot the *buffers*, so that one batch norm starts again with mean 0 and variance 1. The
# network loads without complaint, gives plausible logits, and is worse. It will be the canary of part D.

# %%
samples = pictures[:12].numpy()
accept(run_onnx, model, samples)
print("digits.onnx: accepted")

forgetful = copy.deepcopy(model)
forgetful.features[3][1].reset_running_stats()
forgetful_path = workshop / "forgetful.onnx"
export_onnx(forgetful, pictures[:1], forgetful_path)
run_forgetful = load_onnx(forgetful_path)
right = (run_forgetful(pictures.numpy()).argmax(1) == labels.numpy()).mean()
try:
    accept(run_forgetful, model, samples)
    print("forgetful.onnx: accepted, which it should not be")
except AssertionError as error:
    print(f"forgetful.onnx, {right:.0%} right on the held-out pictures: rejected ({str(error).splitlines()[0][:60]})")

# %% [markdown]
# # Part B · Does it survive its clients?
#
# A service is concurrent: while one request waits for the model, others arrive. The tests below must not depend on how
# fast this machine is, so they run on an event loop whose clock **jumps**: where everybody only waits for time to pass,
# it passes at once. `asyncio.sleep(60)` takes no time, and 60 seconds on the loop's clock.

# %%
class JumpingSelector(selectors.DefaultSelector):
    """Where an event loop would wait for time to pass, its clock `now` jumps instead."""

    now = 0.0

    def select(self, timeout=None):
        ready = super().select(10 if timeout is None else min(timeout, 0.002))  # a moment for threads, if there are any
        if not ready and timeout is None:
            raise RuntimeError("everything waits for something that never comes: is every waiting request answered?")
        if not ready:
            self.now += timeout
        return ready


def run_async(coroutine, jump=True):
    """The result of a coroutine, on a loop of its own in a thread (a notebook's own thread already runs one)."""

    def make_loop():
        selector = JumpingSelector() if jump else selectors.DefaultSelector()
        loop = asyncio.SelectorEventLoop(selector)
        if jump:
            loop.time = lambda: selector.now
        return loop

    def work():
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(coroutine)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


async def one_minute():
    await asyncio.sleep(60)
    return asyncio.get_running_loop().time()


print(f"{run_async(one_minute()):.0f} s on the loop's clock")

# %% [markdown]
# ## 4 · A micro-batcher (4 points, 45 minutes, difficulty 3 of 3)
#
# Each call of a model costs something that does not depend on the number of rows: Python, starting kernels, reading
# all weights from memory once. A micro-batcher lets requests that arrive together share one call. It must keep every
# promise that a single call keeps: the right answer to the right caller, errors told, nobody waiting for ever.
#
# **Task.** Write the class. `predict` is an **async** function from a float32 array `(n, ...)` to an array of `n` rows.
# `await batcher.submit(item)` (one item, without batch axis) returns the row of the result that belongs to it.
#
# - One call of `predict` runs at a time. While it runs, others gather.
# - A call starts as soon as no other runs **and** `max_batch` items wait, or the oldest waiting item has waited
#   `max_wait` seconds (also where it waited during another call). It takes the oldest items, at most `max_batch`.
# - Where `predict` raises, every caller of that batch gets the error, and the batcher goes on with the next batch.
# - A caller may give up (its task is cancelled, by a timeout for instance). The others of its batch are not hurt; if it
#   gave up before the call started, its item is not in the batch.
# - Where `max_waiting` items wait for a call to start, `submit` raises `Overloaded` at once: a queue without end is an
#   answer too late for everybody.
#
# All of it runs on one event loop: no threads, no locks. The cell below has the error, and a model and clients to try your
# batcher with: `run_async(play(MicroBatcher, [(0, 1), (0.2, 2)]))` lets item 1 arrive at 0 s and item 2 at 0.2 s.

# %%
from collections import deque


class Overloaded(Exception):
    """Too many requests wait already."""


class Watched:
    """A model that doubles, takes `seconds` a call, fails on items of 13, and notes its calls: (start, items)."""

    def __init__(self, seconds):
        self.seconds, self.calls, self.running = seconds, [], 0

    async def __call__(self, batch):
        check.kind(batch, np.ndarray, "what predict is given")
        self.running += 1
        check.true(self.running == 1, "a second call of predict started while one was running: one at a time.")
        self.calls.append((round(asyncio.get_running_loop().time(), 6), batch[:, 0].tolist()))
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        if (batch[:, 0] == 13).any():
            raise ValueError("13")
        return batch * 2


async def ask_at(batcher, when, value):
    """Submit an item at a time; gives its answer or error, and when it came."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(when)
    try:
        answer = await batcher.submit(np.array([value, value + 0.5], dtype=np.float32))
    except (Overloaded, ValueError) as error:
        answer = error
    return answer, round(loop.time(), 6)


async def play(make_batcher, arrivals, seconds=0.1, **settings):
    """Let items arrive at times; gives the model and the answers, in the order of the arrivals."""
    settings = {"max_batch": 3, "max_wait": 0.05, "max_waiting": 100} | settings
    model = Watched(seconds)
    batcher = make_batcher(model, **settings)
    answers = await asyncio.gather(*(ask_at(batcher, when, value) for when, value in arrivals))
    return model, answers


# %% exercise="micro_batcher" minutes=45 difficulty=3
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        ### BEGIN SOLUTION
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting = deque()  # (time of arrival, item, future)
        self.arrived = asyncio.Event()
        self.worker = None
        ### END SOLUTION

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        ### BEGIN SOLUTION
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} requests wait already")
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((loop.time(), item, answer))
        self.arrived.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await answer
        ### END SOLUTION

    ### BEGIN SOLUTION
    async def work(self):
        """Runs batches as long as somebody waits."""
        while self.waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self.waiting[0][0] + self.max_wait):
                    while len(self.waiting) < self.max_batch:
                        self.arrived.clear()
                        await self.arrived.wait()
            batch = []
            while self.waiting and len(batch) < self.max_batch:
                _, item, answer = self.waiting.popleft()
                if not answer.done():  # done: its caller gave up
                    batch.append((item, answer))
            if batch:
                await self.call(batch)
        self.worker = None

    async def call(self, batch):
        """One call of predict, and its answers."""
        try:
            rows, error = await self.predict(np.stack([item for item, _ in batch])), None
        except Exception as raised:
            rows, error = [None] * len(batch), raised
        for (_, answer), row in zip(batch, rows):
            if answer.done():
                continue
            answer.set_exception(error) if error else answer.set_result(row)

    ### END SOLUTION


# %% tests="micro_batcher" points=4
def check_answers(answers, values, what):
    for (answer, _), value in zip(answers, values):
        if isinstance(answer, Exception):
            check.true(False, f"{what}: item {value} got {type(answer).__name__}({answer}) instead of an answer.")
        check.equal(
            np.asarray(answer), np.array([2 * value, 2 * value + 1], dtype=np.float32), f"{what}: the answer for item {value}", "row i belongs to item i"
        )


def check_batches():
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0, 2), (0, 3), (0.01, 4), (0.02, 5)]))
    check.equal(
        [items for _, items in model.calls], [[1, 2, 3], [4, 5]], "the batches for 3 items at once, then 2, with max_batch=3",
        "the oldest first, at most max_batch",
    )  # fmt: skip
    check_answers(answers, range(1, 6), "5 items")
    check.equal(model.calls[0][0], 0.0, "the start (s) of a full batch", "a full batch does not wait for max_wait")
    check.equal(
        model.calls[1][0], 0.1, "the start (s) of the batch that gathered during a call of 0.1 s, with max_wait=0.05",
        "its oldest item has waited longer than max_wait already when the model is free",
    )  # fmt: skip
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0.03, 2), (1, 3)]))
    check.equal(
        model.calls, [(0.05, [1, 2]), (1.05, [3])], "starts (s) and items of batches that never fill, with max_wait=0.05",
        "a call starts max_wait after the arrival of its oldest item, not of its newest",
    )  # fmt: skip
    check_answers(answers, (1, 2, 3), "three lonely items")
    ### BEGIN HIDDEN TESTS
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0.01, 2), (0.02, 3), (0.03, 4), (0.04, 5), (0.21, 6)], seconds=0.2, max_batch=2, max_wait=0.3))
    check.equal(model.calls, [(0.01, [1, 2]), (0.21, [3, 4]), (0.41, [5, 6])], "starts and items with max_batch=2, max_wait=0.3")
    check_answers(answers, range(1, 7), "six items")
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0.15, 2)], seconds=0.1, max_batch=4, max_wait=0.2))
    check.equal(model.calls, [(0.2, [1, 2])], "one batch of two, max_wait after the first")
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0.06, 2)], seconds=0.1, max_batch=2, max_wait=0.05))
    check.equal(model.calls, [(0.05, [1]), (0.15, [2])], "an item that arrived during a call of 0.1 s, 0.01 s after its start")
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0.14, 2)], seconds=0.1, max_batch=2, max_wait=0.05))
    check.equal(model.calls, [(0.05, [1]), (0.19, [2])], "an item that arrived 0.01 s before the end of a call")
    ### END HIDDEN TESTS


def check_errors():
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0, 13), (0, 3), (0.01, 4), (2, 5)]))
    check.equal(
        [type(answer).__name__ for answer, _ in answers[:3]], ["ValueError"] * 3, "what three callers get whose batch raised ValueError",
        "every caller of the batch must hear of it, or waits for ever",
    )  # fmt: skip
    check_answers(answers[3:], (4, 5), "after a batch that raised")

    async def give_up(when_it_leaves):
        model = Watched(0.1)
        batcher = MicroBatcher(model, max_batch=3, max_wait=0.05, max_waiting=100)
        tasks = [asyncio.create_task(ask_at(batcher, 0, value)) for value in (1, 2)]
        await asyncio.sleep(when_it_leaves)
        tasks[0].cancel()
        later = await ask_at(batcher, 0.5, 3)
        return model, [await tasks[1], later]

    model, answers = run_async(give_up(0.1))
    check_answers(answers, (2, 3), "a caller of the batch gave up during the call")
    model, answers = run_async(give_up(0.02))
    check_answers(answers, (2, 3), "a caller gave up before the call")
    check.equal(model.calls[0][1], [2.0], "the items of the batch, one of whose callers had given up", "leave it out: nobody wants the answer")
    ### BEGIN HIDDEN TESTS

    async def all_gone():
        model = Watched(0.1)
        batcher = MicroBatcher(model, max_batch=2, max_wait=0.05, max_waiting=100)
        tasks = [asyncio.create_task(ask_at(batcher, 0, value)) for value in (1, 2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = asyncio.create_task(ask_at(batcher, 0, 7))
        await asyncio.sleep(0.06)
        late.cancel()
        tasks[0].cancel()
        await asyncio.sleep(1)
        return model, [await tasks[1], await ask_at(batcher, 1, 3), await ask_at(batcher, 0, 4)]

    model, answers = run_async(all_gone())
    check_answers(answers, (2, 3, 4), "two callers gave up, one of them before its call")
    check.equal([items for _, items in model.calls], [[1, 2], [3], [4]], "the batches: the item of a caller who left is in none")
    ### END HIDDEN TESTS


def check_overload():
    arrivals = [(0, 1), (0, 2), (0, 3)] + [(0.01, value) for value in range(4, 12)] + [(0.4, 20)]
    model, answers = run_async(play(MicroBatcher, arrivals, max_waiting=5))
    refused = [isinstance(answer, Overloaded) for answer, _ in answers]
    check.equal(
        refused, [False] * 8 + [True] * 3 + [False], "who is refused, of 3 items (a running call), 8 more at once and one later, max_waiting=5",
        "only items that wait for a call to start count; who comes after the 5th is refused",
    )  # fmt: skip
    check.equal([when for _, when in answers[8:11]], [0.01] * 3, "when (s) they are refused", "at once, not after waiting")
    check_answers(answers[:8] + answers[11:], [*range(1, 9), 20], "those who were let in")


with check.exercise("micro_batcher"):
    check.parts({"batches and times": check_batches, "errors and callers who give up": check_errors, "overload": check_overload})
check.points(4)  # the number below: your points, of 4

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Give every request a *future*: the caller awaits it, somebody else fulfils it. That somebody is one background task
# (so calls never overlap) which waits for "full, or the oldest is due", takes a batch, calls, hands out. What must that
# task check before it fulfils a future? When does it end, and who starts it again?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `loop.create_future()`, `future.set_result`, `set_exception`, `done()`; `asyncio.create_task`; `asyncio.Event`;
# `asyncio.timeout_at(when)` (an async context manager that raises `TimeoutError`), with `loop.time()` as its clock;
# `np.stack`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# async def submit(self, item):
#     ...                                        # Overloaded?
#     answer = loop.create_future()
#     self.waiting.append((loop.time(), item, answer))
#     self.arrived.set()
#     if self.worker is None:
#         self.worker = asyncio.create_task(self.work())
#     return await answer
#
# async def work(self):
#     while self.waiting:
#         with contextlib.suppress(TimeoutError):
#             async with asyncio.timeout_at(arrival of the oldest + self.max_wait):
#                 while len(self.waiting) < self.max_batch:
#                     self.arrived.clear()
#                     await self.arrived.wait()
#         ...                                    # take at most max_batch whose future is not done
#         ...                                    # await predict; set_result or set_exception where not done
#     self.worker = None
# ```
# </details>


# %% wrong="micro_batcher" says="a full batch does not wait"
class MicroBatcher:  # collects for a fixed time, then runs
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker = [], None

    async def submit(self, item):
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append((item, answer))
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await answer

    async def work(self):
        while self.waiting:
            await asyncio.sleep(self.max_wait)
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            rows = await self.predict(np.stack([i for i, _ in batch]))
            for (_, answer), row in zip(batch, rows):
                answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" says="a second call of predict started"
class MicroBatcher:  # every full batch starts at once, whatever runs
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait = predict, max_batch, max_wait
        self.waiting, self.timer = [], None

    async def submit(self, item):
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((item, answer))
        if len(self.waiting) == self.max_batch:
            asyncio.ensure_future(self.flush())
        elif len(self.waiting) == 1:
            loop.call_later(self.max_wait, lambda: asyncio.ensure_future(self.flush()))
        return await answer

    async def flush(self):
        batch, self.waiting = self.waiting, []
        if batch:
            rows = await self.predict(np.stack([i for i, _ in batch]))
            for (_, answer), row in zip(batch, rows):
                answer.set_result(row)


# %% wrong="micro_batcher" says="not of its newest"
class MicroBatcher:  # each arrival starts the waiting time anew
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.arrived = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((loop.time(), item, answer))
        self.arrived.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await answer

    async def work(self):
        while self.waiting:
            while len(self.waiting) < self.max_batch:
                self.arrived.clear()
                try:
                    async with asyncio.timeout_at(self.waiting[-1][0] + self.max_wait):
                        await self.arrived.wait()
                except TimeoutError:
                    break
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            rows = await self.predict(np.stack([i for _, i, _ in batch]))
            for (_, _, answer), row in zip(batch, rows):
                answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" says="1 of 3 parts pass"
class MicroBatcher:  # nobody hears of errors, nobody may leave, nobody is refused
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait = predict, max_batch, max_wait
        self.waiting, self.worker, self.arrived = [], None, asyncio.Event()

    async def submit(self, item):
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((loop.time(), item, answer))
        self.arrived.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await answer

    async def work(self):
        while self.waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self.waiting[0][0] + self.max_wait):
                    while len(self.waiting) < self.max_batch:
                        self.arrived.clear()
                        await self.arrived.wait()
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            rows = await self.predict(np.stack([i for _, i, _ in batch]))
            for (_, _, answer), row in zip(batch, rows):
                answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" says="2 of 3 parts pass. ✗ errors and callers"
class MicroBatcher:  # fulfils futures without asking whether their callers are still there
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.arrived = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((loop.time(), item, answer))
        self.arrived.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await answer

    async def work(self):
        while self.waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self.waiting[0][0] + self.max_wait):
                    while len(self.waiting) < self.max_batch:
                        self.arrived.clear()
                        await self.arrived.wait()
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([i for _, i, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                answer.set_result(row)
        self.worker = None


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
        return await future

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


# %% [markdown]
# Watch it: 60 requests in bursts, a model that takes 20 ms a call however many rows it gets. Each bar is one call.

# %%
async def busy_minute():
    generator = torch.Generator().manual_seed(3)
    arrivals = (torch.rand(60, generator=generator) ** 2 * 0.6).sort().values.tolist()
    model, answers = await play([(when, i) for i, when in enumerate(arrivals)], seconds=0.02, max_batch=8, max_wait=0.01)
    return model.calls, arrivals, [when for _, when in answers]


calls, arrivals, answered = run_async(busy_minute())
figure, axis = plt.subplots(figsize=(9, 3), layout="constrained")
axis.bar([1000 * start for start, _ in calls], [len(items) for _, items in calls], width=20, align="edge", edgecolor="white", label="calls of the model")
axis.plot([1000 * a for a in arrivals], [-0.4] * len(arrivals), "|", color="C1", label="arrivals")
axis.set(xlabel="time (ms)", ylabel="items in the call")
axis.legend(loc="upper right")
plt.show()
waits = np.array(answered) - np.array(arrivals)
print(f"{len(arrivals)} requests in {len(calls)} calls; answered after {1000 * np.median(waits):.0f} ms (median), {1000 * waits.max():.0f} ms (worst)")

# %% [markdown]
# ## 5 · The service (5 points, 45 minutes, difficulty 3 of 3)
#
# A client can send anything, as slowly as it likes, and leave at any moment. A service answers each of them in bounded
# time, says whose fault it was (4xx: yours, 5xx: mine), and goes on. FastAPI validates JSON for you once it has read
# *all* of the body into memory; how much and how long it reads is up to you, so here you read the body yourself.
#
# **Task.** Write `make_app(batcher, max_bytes, body_seconds, answer_seconds)`, which returns a FastAPI application with
# one endpoint, `POST /predict`. Its body is JSON, `{"image": 16 rows of 16 numbers}`; the answer is
# `{"label": 7, "probabilities": [ten numbers]}` (softmax of the ten logits that `batcher.submit` gives for the float32
# array `(1, 16, 16)`).
#
# | what happens | status |
# |---|---|
# | not JSON; no `image`; not 16 x 16; something that is no number; NaN or infinity (Python's JSON lets them through!); an unknown field | 422 |
# | more than `max_bytes` bytes of body: stop reading as soon as it is clear | 413 |
# | the body is not there `body_seconds` after the request began | 408 |
# | the batcher raises `Overloaded` | 503, with a header `Retry-After` |
# | the batcher gives no answer within `answer_seconds` | 504 |
# | the batcher raises anything else | 500, and nothing of the error's text in the answer |
#
# Write `async def`. The live service in part D runs a copy of your whole cell together with the cell just below and your
# batcher: imports and helpers of your own belong into the exercise's cell.

# %%
import asyncio
import contextlib
import time
from typing import Annotated

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError


def softmax(logits):
    """Probabilities of float32 logits (..., classes)."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


# %% [markdown]
# An application talks to its server in the [ASGI](https://asgi.readthedocs.io) protocol: it `receive`s messages with
# pieces of the body and `send`s messages with the answer. `ask` is a client that speaks it directly, without a network:
# it can send pieces at any pace, and it sees how many bytes were really read.


# %%
@dataclass
class Answer:
    """What a client saw: `read` is how many bytes of its body were taken, `seconds` on the loop's clock."""

    status: int
    headers: dict
    body: bytes
    seconds: float
    read: int

    def json(self):
        return json.loads(self.body)


async def ask(app, method, path, body=b"", pieces=None):
    """One request to an ASGI application. `pieces` are (seconds to wait before it, bytes); default: all at once."""
    clock = asyncio.get_running_loop().time
    begin, sent, taken = clock(), [], [0]
    waiting = deque([(0, body)] if pieces is None else pieces)

    async def receive():
        if not waiting:
            await asyncio.Event().wait()  # the client waits for its answer
        seconds, piece = waiting.popleft()
        await asyncio.sleep(seconds)
        taken[0] += len(piece)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 5),
        "headers": [(b"host", b"test"), (b"content-type", b"application/json")],
    }  # fmt: skip
    try:
        await app(scope, receive, send)
    except Exception as error:  # the server would log it
        return Answer(500, {}, f"not handled: {type(error).__name__}".encode(), clock() - begin, taken[0])
    start = next(message for message in sent if message["type"] == "http.response.start")
    headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return Answer(start["status"], headers, content, clock() - begin, taken[0])


class FakeBatcher:
    """Answers with logits that depend on the image, after `seconds`; raises `error` if there is one; notes what it got."""

    def __init__(self, seconds=0.0, error=None):
        self.seconds, self.error, self.items = seconds, error, []

    async def submit(self, item):
        self.items.append(item)
        await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error
        return self.logits(item)

    @staticmethod
    def logits(item):
        return (np.asarray(item).reshape(16, 16)[:10].sum(1) / 3).astype(np.float32)


def image_body(seed=0, **changes):
    """The JSON of a valid request as bytes; `changes` replace or add fields."""
    image = np.random.default_rng(seed).uniform(-0.5, 1.5, (16, 16)).round(3).tolist()
    return json.dumps({"image": image} | changes).encode()


# %% exercise="service" minutes=45 difficulty=3
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    ### BEGIN SOLUTION
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Picture(BaseModel):
        model_config = ConfigDict(extra="forbid")
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
        try:
            picture = Picture.model_validate_json(await read_body(request))
        except ValidationError as error:
            raise HTTPException(422, [{"at": e["loc"], "what": e["msg"]} for e in error.errors()]) from None
        item = np.array([picture.image], dtype=np.float32)
        try:
            async with asyncio.timeout(answer_seconds):
                logits = await batcher.submit(item)
        except Overloaded:
            raise HTTPException(503, "too many requests wait", headers={"Retry-After": "1"}) from None
        except TimeoutError:
            raise HTTPException(504, f"no answer within {answer_seconds} s") from None
        except Exception:
            raise HTTPException(500, "the model failed") from None
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app
    ### END SOLUTION


# %% tests="service" points=5
def post(batcher, body=b"", pieces=None, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """One POST /predict to a fresh application."""
    app = make_app(batcher, max_bytes=max_bytes, body_seconds=body_seconds, answer_seconds=answer_seconds)
    return run_async(ask(app, "POST", "/predict", body, pieces))


def expect_status(answer, status, what, cause=""):
    wanted = (status,) if isinstance(status, int) else status
    named = " or ".join(map(str, wanted))
    check.true(
        answer.status in wanted,
        f"{what} is answered with {answer.status} ({answer.body[:80].decode(errors='replace')}), expected {named}. {cause}",
    )


def check_valid(seed=0):
    batcher = FakeBatcher()
    answer = post(batcher, image_body(seed))
    expect_status(answer, 200, "a valid request", "Compare the field names and the shape with the task.")
    item = np.array(json.loads(image_body(seed))["image"], dtype=np.float32)[None]
    check.equal(len(batcher.items), 1, "the number of items given to batcher.submit")
    check.equal(batcher.items[0], item, "the item given to batcher.submit", "float32, with the channel's axis: (1, 16, 16)")
    logits = FakeBatcher.logits(item)
    result = answer.json()
    check.equal(sorted(result), ["label", "probabilities"], "the fields of the answer")
    check.equal(result["label"], int(logits.argmax()), "the label", "the index of the largest logit")
    check.equal(result["probabilities"], softmax(logits).tolist(), "the probabilities", "the softmax of the logits", rtol=1e-4)
    pieces = [(0.1, image_body(seed)[:700]), (0.1, image_body(seed)[700:])]
    expect_status(post(FakeBatcher(), pieces=pieces), 200, "a valid request whose body comes in two pieces", "Read until the end.")
    full = len(image_body(seed))
    expect_status(post(FakeBatcher(), image_body(seed), max_bytes=full), 200, "a body of exactly max_bytes", "At most max_bytes are allowed.")


def check_invalid():
    rows = json.loads(image_body())["image"]
    text = json.dumps({"image": rows})
    bad = {
        "a body that is no JSON": b"{image: ",
        "an empty body": b"",
        "JSON that is no object": b"[1, 2]",
        "a body without image": b"{}",
        "15 rows": json.dumps({"image": rows[:15]}).encode(),
        "a row of 17": json.dumps({"image": [*rows[:15], [0.0] * 17]}).encode(),
        "a row of 15": json.dumps({"image": [*rows[:15], [0.0] * 15]}).encode(),
        "a row of 3": json.dumps({"image": [*rows[:15], [0.0] * 3]}).encode(),
        "17 rows": json.dumps({"image": [*rows, rows[0]]}).encode(),
        "words in place of numbers": json.dumps({"image": [*rows[:15], ["ink"] * 16]}).encode(),
        "NaN in the image": text.replace(str(rows[3][3]), "NaN", 1).encode(),
        "infinity in the image": text.replace(str(rows[3][4]), "-Infinity", 1).encode(),
        "an image with null": text.replace(str(rows[3][5]), "null", 1).encode(),
        "an unknown field": image_body(model="latest"),
        "bytes that are no UTF-8": b'{"image": "\xff\xfe"}',
    }
    for what, body in bad.items():
        batcher = FakeBatcher()
        answer = post(batcher, body)
        cause = {
            "NaN in the image": "Numbers must be finite: the model would answer NaN for it.",
            "infinity in the image": "Numbers must be finite.",
            "an unknown field": "A misspelt option must not be ignored in silence: extra fields are forbidden.",
        }.get(what, "Bad input is the client's fault: validate it, and turn the validation's error into this status.")
        expect_status(answer, 422, what, cause)
        check.true(not batcher.items, f"{what} reached the batcher: validate first.")
    app = make_app(FakeBatcher(), 20_000, 2.0, 1.0)
    expect_status(run_async(ask(app, "GET", "/predict")), 405, "GET /predict", "Only POST is served there.")


def check_bodies():
    huge = [(0, b"[" * 1000)] * 500
    answer = post(FakeBatcher(), pieces=huge, max_bytes=4500)
    expect_status(answer, 413, "a body of 500,000 bytes, with max_bytes=4500", "Count what has come, piece by piece.")
    check.between(
        answer.read, 4501, 5000, "the bytes read of a body of 500,000, in pieces of 1000, with max_bytes=4500",
        "stop at the piece that makes it too much: a body that is read to its end fills the memory first",
    )  # fmt: skip
    drip = [(0.5, b" ")] * 100 + [(0, image_body())]
    answer = post(FakeBatcher(), pieces=drip, body_seconds=3.0)
    expect_status(answer, 408, "a client that sends a byte every half second, with body_seconds=3", "A time limit for the whole body.")
    check.between(answer.seconds, 2.9, 3.6, "the seconds after which the slow client is answered, with body_seconds=3", "one limit for all pieces together")
    silent = [(1000.0, b"")]
    expect_status(post(FakeBatcher(), pieces=silent, body_seconds=0.5), 408, "a client that sends nothing", "A time limit around reading.")
    slow_but_well = [(0.9, image_body()[:100]), (0.9, image_body()[100:])]
    expect_status(post(FakeBatcher(), pieces=slow_but_well, body_seconds=2.0), 200, "a body that is there after 1.8 s, with body_seconds=2")


def check_model_trouble():
    answer = post(FakeBatcher(error=Overloaded("full")), image_body())
    expect_status(answer, 503, "a request where the batcher is overloaded", "Overloaded is no error of the client's and no surprise: 503.")
    check.true("retry-after" in answer.headers, "the 503 has no header Retry-After: clients would try again at once.")
    answer = post(FakeBatcher(seconds=60.0), image_body(), answer_seconds=1.5)
    expect_status(answer, 504, "a request whose answer would take 60 s, with answer_seconds=1.5", "A time limit around submit.")
    check.between(answer.seconds, 1.4, 1.7, "the seconds until that 504, with answer_seconds=1.5")
    answer = post(FakeBatcher(error=RuntimeError("secret path /srv/model")), image_body())
    expect_status(answer, 500, "a request where the batcher raises RuntimeError")
    check.true(b"not handled" not in answer.body, "the batcher's RuntimeError left the application: catch it and answer 500.")
    check.true(b"secret" not in answer.body, "the 500 tells the client the text of an internal error: keep it for the log.")
    slow = [(0.9, image_body())]
    answer = post(FakeBatcher(seconds=0.9), pieces=slow, body_seconds=1.0, answer_seconds=1.0)
    expect_status(answer, 200, "a body after 0.9 s and a model that takes 0.9 s, with 1 s for each", "Two limits, one after the other.")


def check_all_valid():
    check_valid()
    ### BEGIN HIDDEN TESTS
    check_valid(7)
    ### END HIDDEN TESTS


with check.exercise("service"):
    check.parts(
        {"valid requests": check_all_valid, "invalid content": check_invalid, "size and pace of the body": check_bodies, "trouble behind": check_model_trouble}
    )
check.points(5)  # the number below: your points, of 5

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Three steps in a row, each with its own way to fail: read (413, 408), validate (422), ask the batcher (503, 504, 500).
# For each, which exception says so, and where do you turn it into a status? Read in pieces, and count before you keep
# the next one.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `async for piece in request.stream()`; `asyncio.timeout(seconds)`; `HTTPException(status, detail, headers=...)`;
# pydantic: `BaseModel.model_validate_json(bytes)`, `ValidationError`, `ConfigDict(extra="forbid")`, `FiniteFloat`,
# `Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]
# class Picture(BaseModel):
#     model_config = ConfigDict(extra="forbid")
#     image: ...
#
# async def read_body(request):
#     body = bytearray()
#     try:
#         async with asyncio.timeout(body_seconds):
#             async for piece in request.stream():
#                 body += piece
#                 ...                                   # 413
#     except TimeoutError:
#         ...                                           # 408
#     return bytes(body)
#
# app = FastAPI()
# @app.post("/predict")
# async def predict(request: Request):
#     ...                                               # validate: 422
#     try:
#         async with asyncio.timeout(answer_seconds):
#             logits = await batcher.submit(np.array([picture.image], dtype=np.float32))
#     except Overloaded:
#         raise HTTPException(503, "...", headers={"Retry-After": "1"})
#     ...                                               # 504, 500
# ```
# </details>


# %% wrong="service" says="size and pace of the body: a body of 500,000 bytes"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # lets FastAPI read and validate: no limits
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Picture(BaseModel):
        model_config = ConfigDict(extra="forbid")
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    app = FastAPI()

    async def predict(picture):
        try:
            async with asyncio.timeout(answer_seconds):
                logits = await batcher.submit(np.array([picture.image], dtype=np.float32))
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except TimeoutError:
            raise HTTPException(504)
        except Exception:
            raise HTTPException(500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    predict.__annotations__ = {"picture": Picture}
    app.post("/predict")(predict)
    return app


# %% wrong="service" says="a body that is read to its end fills the memory first"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # reads everything, then counts
    app = FastAPI()

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
            content = json.loads(body)
            image = np.array(content["image"], dtype=np.float32)
            assert set(content) == {"image"} and image.shape == (16, 16) and np.isfinite(image).all()
        except Exception:
            raise HTTPException(422)
        logits = await batcher.submit(image[None])
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" says="Numbers must be finite"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # checks the shape, and believes that JSON has no NaN
    app = FastAPI()

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
            content = json.loads(body)
            assert set(content) == {"image"}
            image = np.array(content["image"], dtype=np.float32)
            assert image.shape == (16, 16) and None not in sum(content["image"], [])
        except Exception:
            raise HTTPException(422)
        try:
            async with asyncio.timeout(answer_seconds):
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except TimeoutError:
            raise HTTPException(504)
        except Exception:
            raise HTTPException(500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" says="one limit for all pieces together"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # a limit for each piece: a patient attacker holds on for hours
    app = FastAPI()

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
            content = json.loads(body)
            image = np.array(content["image"], dtype=np.float32)
            assert set(content) == {"image"} and image.shape == (16, 16) and np.isfinite(image).all()
        except Exception:
            raise HTTPException(422)
        logits = await batcher.submit(image[None])
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" says="tells the client the text"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # hands the error to the client
    app = FastAPI()

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
            content = json.loads(body)
            image = np.array(content["image"], dtype=np.float32)
            assert set(content) == {"image"} and image.shape == (16, 16) and np.isfinite(image).all()
        except Exception:
            raise HTTPException(422)
        try:
            logits = await asyncio.wait_for(batcher.submit(image[None]), answer_seconds)
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "2"})
        except TimeoutError:
            raise HTTPException(504)
        except Exception as error:
            raise HTTPException(500, f"{type(error).__name__}: {error}")
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" says="Two limits, one after the other"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # one limit around everything
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(answer_seconds):
                async for piece in request.stream():
                    body += piece
                try:
            content = json.loads(body)
            image = np.array(content["image"], dtype=np.float32)
            assert set(content) == {"image"} and image.shape == (16, 16) and np.isfinite(image).all()
        except Exception:
            raise HTTPException(422)
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "2"})
        except TimeoutError:
            raise HTTPException(504)
        except HTTPException:
            raise
        except Exception:
            raise HTTPException(500)
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
            content = json.loads(body)
            if not isinstance(content, dict) or list(content) != ["image"]:
                raise ValueError
            rows = [[float(v) for v in row] for row in content["image"]]
            image = np.array(rows, dtype=np.float32).reshape(1, 16, 16)
            if [len(row) for row in rows] != [16] * 16 or not np.isfinite(image).all():
                raise ValueError
        except (ValueError, TypeError, KeyError):
            return refuse(422, "one image of 16 x 16 finite numbers")
        try:
            logits = await asyncio.wait_for(batcher.submit(image), answer_seconds)
        except Overloaded:
            return refuse(503, "busy", Retry_After="3")
        except asyncio.TimeoutError:
            return refuse(504, "late")
        except Exception:
            return refuse(500, "broken")
        return {"label": np.argmax(logits).item(), "probabilities": [float(p) for p in softmax(logits)]}

    return app


# %% [markdown]
# The application with the ONNX file behind it. The model runs in a thread (`asyncio.to_thread`), so that the event loop
# can go on reading and refusing while it computes.

# %%
small = pictures[:6].numpy()


async def first_requests():
    batcher = MicroBatcher(lambda images: asyncio.to_thread(run_onnx, images), max_batch=8, max_wait=0.005, max_waiting=64)
    app = make_app(batcher)
    bodies = [json.dumps({"image": picture[0].tolist()}).encode() for picture in small]
    return await asyncio.gather(*(ask(app, "POST", "/predict", body) for body in [*bodies, b"{}", b"[" * 30_000]))


for answer, label in zip(run_async(first_requests(), jump=False), [*labels[:6].tolist(), "no image", "30,000 bytes"]):
    said = f"label {answer.json()['label']}, p = {max(answer.json()['probabilities']):.2f}" if answer.status == 200 else answer.body[:60].decode()
    print(f"{label!s:>13}: {answer.status}  {said}")

# %% [markdown]
# ## 6 · Health and metrics (3 points, 30 minutes, difficulty 2 of 3)
#
# Whoever runs the service asks two different questions. *Is the process alive?* If not, it is started anew. *Is it
# ready for requests?* If not (the model is still loading, say), it gets none for a while. Answering the first with the
# second kills a process that was merely warming up.
#
# And Prometheus, or anything that reads its format, collects numbers every few seconds: counters that only grow, and
# histograms. Each combination of label values is a time series of its own. A label must therefore never hold what a
# client may choose freely, such as the path of an address that does not exist: one scanner would make a million series.
#
# **Task.** Write `watch(app, registry, ready)`. It adds to a FastAPI application:
#
# - `GET /health/live`: 200 as long as the process answers at all;
# - `GET /health/ready`: 200 if `ready()` is true at that moment, otherwise 503;
# - `GET /metrics`: the text of `registry` in Prometheus' format (`generate_latest`, with its content type);
# - for every request, also these three, a counter `requests` with the labels `path` and `status`, and a histogram
#   `request_seconds` with the label `path`, both in `registry`. `path` is the path of the route, such as `/predict`, or
#   `other` where no route matches. A request whose endpoint raises counts with status `500`, and the exception goes on.


# %% exercise="health_and_metrics" minutes=30 difficulty=2
def watch(app, registry, ready):
    """Add health checks, /metrics and the counting of requests to a FastAPI application."""
    ### BEGIN SOLUTION
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
        return {"live": True}

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")
        return {"ready": True}

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    ### END SOLUTION


# %% tests="health_and_metrics" points=3
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families


def watched_app(ready=lambda: True):
    """An application with a fast, a slow, a failing and a parameterised endpoint, watched by the student's code."""
    app, registry = FastAPI(), CollectorRegistry()

    @app.post("/predict")
    async def predict():
        return {}

    @app.get("/slow")
    async def slow():
        await asyncio.sleep(0.08)
        return {}

    @app.get("/fails")
    async def fails():
        raise RuntimeError("an endpoint that raises")

    @app.get("/models/{name}")
    async def one_model(name: str):
        if name == "none":
            raise HTTPException(404)
        return {"name": name}

    watch(app, registry, ready)
    return app, registry


def ask_all(app, *wanted):
    """Several requests, one after the other, on a real clock."""

    async def go():
        return [await ask(app, *request) for request in wanted]

    return run_async(go(), jump=False)


def check_health():
    state = {"ready": False}
    app, _ = watched_app(lambda: state["ready"])
    live, not_yet = ask_all(app, ("GET", "/health/live"), ("GET", "/health/ready"))
    check.equal(live.status, 200, "the status of /health/live while the service is not ready", "it is alive: do not have it killed")
    check.equal(not_yet.status, 503, "the status of /health/ready while ready() is False")
    state["ready"] = True
    now, live = ask_all(app, ("GET", "/health/ready"), ("GET", "/health/live"))
    check.equal(now.status, 200, "the status of /health/ready once ready() is True", "ask at every request, not when the app is made")
    check.equal(live.status, 200, "the status of /health/live")


def samples_of(text):
    """Samples of Prometheus' text format: {(name, labels): value}."""
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def check_metrics():
    app, registry = watched_app(lambda: False)
    answers = ask_all(
        app, ("POST", "/predict"), ("POST", "/predict"), ("GET", "/slow"), ("GET", "/fails"), ("GET", "/models/a"), ("GET", "/models/b"),
        ("GET", "/models/none"), ("GET", "/wp-login.php"), ("GET", "/admin/x"), ("GET", "/health/ready"), ("GET", "/metrics"),
    )  # fmt: skip
    check.equal(answers[3].status, 500, "the status of an endpoint that raises", "the middleware must let the exception go on")
    last = answers[-1]
    check.equal(last.status, 200, "the status of /metrics")
    check.true(
        last.headers.get("content-type", "").startswith("text/plain"),
        f"/metrics has the content type {last.headers.get('content-type')}, expected Prometheus' own (CONTENT_TYPE_LATEST).",
    )
    try:
        seen = samples_of(last.body.decode())
    except Exception as error:
        check.true(False, f"/metrics is not in Prometheus' text format ({type(error).__name__}: {str(error)[:80]}). generate_latest writes it.")
    counted = {labels: value for (name, labels), value in seen.items() if name == "requests_total"}
    check.true(bool(counted), f"/metrics has no requests_total. It has: {', '.join(sorted({name for name, _ in seen})) or 'nothing'}.")
    wanted = {
        ("/predict", "200"): 2, ("/slow", "200"): 1, ("/fails", "500"): 1, ("/models/{name}", "200"): 2, ("/models/{name}", "404"): 1,
        ("other", "404"): 2, ("/health/ready", "503"): 1,
    }  # fmt: skip
    check.equal(
        {(dict(labels).get("path"), dict(labels).get("status")): value for labels, value in counted.items()},
        {key: float(value) for key, value in wanted.items()},
        "requests_total by (path, status)",
        "the route's own path, `other` where there is no route, 500 where the endpoint raises; each request once",
    )
    lasted = {dict(labels)["path"]: value for (name, labels), value in seen.items() if name == "request_seconds_sum"}
    times = {dict(labels)["path"]: value for (name, labels), value in seen.items() if name == "request_seconds_count"}
    check.equal(
        {path: times.get(path) for path, _ in wanted}, {"/predict": 2.0, "/slow": 1.0, "/fails": 1.0, "/models/{name}": 3.0, "other": 2.0, "/health/ready": 1.0},
        "request_seconds_count by path", "every request is observed, also one that fails",
    )  # fmt: skip
    check.between(lasted["/slow"], 0.079, 30, "request_seconds_sum of a request that takes 0.08 s", "seconds from before the endpoint to after it")
    ### BEGIN HIDDEN TESTS
    (again,) = ask_all(app, ("GET", "/metrics"))
    seen = samples_of(again.body.decode())
    check.equal(seen[("requests_total", (("path", "/metrics"), ("status", "200")))], 1.0, "the earlier request of /metrics, counted")
    check.equal(
        [value for (name, labels), value in samples_of(generate_latest(registry).decode()).items() if name == "request_seconds_count" and ("path", "/metrics") in labels],
        [2.0], "request_seconds_count of /metrics in the registry",
    )  # fmt: skip
    ### END HIDDEN TESTS


with check.exercise("health_and_metrics"):
    check.parts({"health": check_health, "metrics": check_metrics})
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# A middleware stands around every endpoint: before it you note the time, after it the status. What happens to your
# counting when the endpoint raises? Which object knows the route once the endpoint has run?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `@app.middleware("http")`, `call_next`, `try ... finally`, `request.scope.get("route")` and its `.path`;
# `Counter(name, help, labels, registry=...)`, `.labels(...).inc()`, `Histogram`, `.observe(seconds)`,
# `generate_latest(registry)`, `CONTENT_TYPE_LATEST`; `Response(content, media_type=...)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# requests = Counter("requests", "...", ["path", "status"], registry=registry)
# seconds = ...
#
# @app.middleware("http")
# async def measure(request: Request, call_next):
#     begin, status = time.perf_counter(), 500
#     try:
#         response = await call_next(request)
#         ...
#         return response
#     finally:
#         route = request.scope.get("route")
#         ...
#
# @app.get("/health/ready")
# async def is_ready():
#     ...                                   # 503 with HTTPException
#
# @app.get("/metrics")
# async def metrics():
#     return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
# ```
# </details>


# %% wrong="health_and_metrics" says="requests_total by (path, status)"
def watch(app, registry, ready):  # the address as the client wrote it: a series for every scanner's idea
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin = time.perf_counter()
        response = await call_next(request)
        count.labels(request.url.path, response.status_code).inc()
        seconds.labels(request.url.path).observe(time.perf_counter() - begin)
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


# %% wrong="health_and_metrics" says="requests_total by (path, status)"
def watch(app, registry, ready):  # requests that fail are not counted: the error rate is always 0
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin = time.perf_counter()
        response = await call_next(request)
        route = request.scope.get("route")
        path = route.path if route else "other"
        count.labels(path, response.status_code).inc()
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


# %% wrong="health_and_metrics" says="do not have it killed"
def watch(app, registry, ready):  # takes alive for ready
    @app.get("/health/live")
    @app.get("/health/ready")
    async def healthy():
        return Response(status_code=200 if ready() else 503)


# %% wrong="health_and_metrics" says="ask at every request"
def watch(app, registry, ready):  # asks once, when the application is made
    status = 200 if ready() else 503

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=status)


# %% wrong="health_and_metrics" says="Prometheus' own"
def watch(app, registry, ready):  # metrics as a JSON string
    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return generate_latest(registry).decode()


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
