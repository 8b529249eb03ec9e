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
# **Time** about five hours: nine exercises of 25 to 45 minutes, 30 points. No GPU is needed.
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

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import torch
from torch import nn

from unit24 import check, claims, models
from unit24.data import digits
from unit24.models.digits_cnn import DigitsCNN

torch.set_num_threads(1)  # all comparisons below are for one thread
logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports each optional package that is not there
logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # the tests report what goes wrong in a background task
onnxruntime.set_default_logger_severity(3)
workshop = Path(tempfile.mkdtemp(prefix="lesson21-"))  # all files of this lesson

# %% [markdown]
# ## The model
#
# The small convolutional network of lesson 09, trained on all ten digits: cluttered pictures of 16 x 16 pixels in,
# ten logits out. `pictures` are held out.

# %%
model = DigitsCNN.from_pretrained(models.path("digits-cnn-ten"))  # the course's own, in every tier
model.eval().requires_grad_(False)
pictures, labels, _ = digits.tensors("test", 400, seed=21)  # float32 (400, 1, 16, 16), int64 (400,)
print(
    f"{sum(p.numel() for p in model.parameters()):,} weights, accuracy {(model(pictures).argmax(1) == labels).float().mean():.1%} on {len(labels)} held-out pictures"
)

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
# - The input is called `images`, the output `logits`. The batch axis is free: any size from 1 up.
# - The file computes what the model computes in **eval mode**, in whatever mode it comes; `model.training` is
#   afterwards as it was.
#
# `load_onnx(path)` returns a function `run(images)`: float32 array `(n, ...)` in, array of logits out. The session runs
# on the CPU with **one** thread (`intra_op_num_threads`): in a server many requests share the cores.
#
# The tests use small networks in which the mode shows:


# %%
class Jitter(nn.Module):
    """Code of one's own that asks for the mode: in training it makes the activations three times as large."""

    def forward(self, x):
        return 3 * x if self.training else x


def small_net(seed, shape, classes):
    """Batch norm with statistics that are not 0 and 1, a module that asks for the mode, two linear layers."""
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 6), nn.BatchNorm1d(6), Jitter(), nn.Linear(6, classes))
    with torch.no_grad():
        for value in [*net.parameters(), net[2].running_mean]:
            value.copy_(torch.randn(value.shape, generator=generator))
        net[2].running_var.copy_(torch.rand(6, generator=generator) + 0.5)
    return net


# The first export in a process loads the exporter, which takes seconds: here, not in your exercise.
_ = torch.onnx.export(nn.ReLU().eval(), (torch.zeros(2),), dynamo=True, verbose=False)


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


# %% [markdown]
# The digits network as a file. The largest difference to eager PyTorch is rounding: another order of additions.

# %%
onnx_path = workshop / "digits.onnx"
export_onnx(model, pictures[:1], onnx_path)
run_onnx = load_onnx(onnx_path)
for size in (1, 3, 64):
    difference = np.abs(run_onnx(pictures[:size].numpy()) - model(pictures[:size]).numpy()).max()
    print(f"batch of {size:2}: largest difference of a logit {difference:.1e}")
print(
    f"{onnx_path.stat().st_size / 1e3:.0f} kB on disk, weights inside: {sum(p.numel() for p in model.parameters()) * 4 / 1e3:.0f} kB"
)

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
    rows = torch.export.Dim("batch", max=largest)
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
                False,
                f"the program refuses {size} of at most {largest} rows ({said}). Is the batch axis declared free from 1 to largest?",
            )
        check.equal(
            logits,
            expected(images).detach(),
            f"the program's logits for {size} rows",
            "was the model exported in eval mode?",
            rtol=1e-4,
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
    check.equal(
        observed, wanted, f"the result for {len(images)} images, at most {largest} at a time", "all chunks, in order, joined"
    )
    needed = max(1, math.ceil(len(images) / largest))
    check.equal(
        len(seen),
        needed,
        f"the number of calls for {len(images)} images, at most {largest} at a time",
        "each call costs: fill it",
    )


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
# `torch.export.export(model, args, dynamic_shapes=...)`, `torch.export.Dim(name, max=...)`, `Tensor.split`,
# `torch.cat`, `Tensor.new_zeros`, and slicing `[:0]`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# rows = torch.export.Dim("batch", max=...)
# program = torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))
#
# if len(images) == 0:
#     return run(one blank image)[:0]
# return torch.cat([run(part) for part in images.split(...)])
# ```
# </details>


# %% [markdown]
# The program as PyTorch sees it: plain operators, weights as inputs, and the range of the batch size. It is compiled
# at the end of the lesson, where we also measure; the compiler needs a while.

# %%
largest_batch = 64
program = export_program(model, pictures[:1], largest_batch)
print("range of the batch size:", *program.range_constraints.values())
print(
    "operators:",
    ", ".join(
        sorted({str(n.target).removeprefix("aten.").split(".")[0] for n in program.graph.nodes if n.op == "call_function"})
    ),
)

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
        ready = super().select(1 if timeout is None else min(timeout, 0.002))  # a moment for threads, if there are any
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
# All of it runs on one event loop: no threads, no locks; add methods of your own as you like. The cell below has the
# error, and a model and clients to try your batcher with: `run_async(play(MicroBatcher, [(0, 1), (0.2, 2)]))` lets item
# 1 arrive at 0 s and item 2 at 0.2 s.

# %%
from collections import deque


class Overloaded(Exception):
    """Too many requests wait already."""


class Watched:
    """A model that doubles, takes `seconds` a call, and fails on items of 13.

    It notes its calls as (start, items), and in `most` how many ran at the same time.
    """

    def __init__(self, seconds):
        self.seconds, self.calls, self.running, self.most = seconds, [], 0, 0

    async def __call__(self, batch):
        self.running += 1
        self.most = max(self.most, self.running)
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


# %% exercise="micro_batcher" minutes=45 difficulty=3 seconds=5
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
            np.asarray(answer),
            np.array([2 * value, 2 * value + 1], dtype=np.float32),
            f"{what}: the answer for item {value}",
            "row i belongs to item i",
        )


def check_batches():
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0, 2), (0, 3), (0.01, 4), (0.02, 5)]))
    check.true(model.most == 1, "a second call of predict started while one was running: one at a time.")
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
    model, answers = run_async(
        play(
            MicroBatcher, [(0, 1), (0.01, 2), (0.02, 3), (0.03, 4), (0.04, 5), (0.21, 6)], seconds=0.2, max_batch=2, max_wait=0.3
        )
    )
    check.equal(model.calls, [(0.01, [1, 2]), (0.21, [3, 4]), (0.41, [5, 6])], "starts and items with max_batch=2, max_wait=0.3")
    check_answers(answers, range(1, 7), "six items")
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0.15, 2)], seconds=0.1, max_batch=4, max_wait=0.2))
    check.equal(model.calls, [(0.2, [1, 2])], "one batch of two, max_wait after the first")
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0.06, 2)], seconds=0.1, max_batch=2, max_wait=0.05))
    check.equal(model.calls, [(0.05, [1]), (0.15, [2])], "an item that arrived during a call of 0.1 s, 0.01 s after its start")
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0, 2), (0, 3), (0.06, 4), (0.09, 5)]))
    check.equal(
        model.calls, [(0.0, [1, 2, 3]), (0.11, [4, 5])], "two items that arrived 0.04 s and 0.01 s before the end of a call"
    )
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
    check.equal(
        model.calls[0][1],
        [2.0],
        "the items of the batch, one of whose callers had given up",
        "leave it out: nobody wants the answer",
    )
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
    burst = [(0.010 + 0.001 * i, 4 + i) for i in range(8)]
    model, answers = run_async(play(MicroBatcher, [(0, 1), (0, 2), (0, 3), *burst, (0.4, 20)], max_waiting=5))
    refused = [isinstance(answer, Overloaded) for answer, _ in answers]
    check.equal(
        refused,
        [False] * 8 + [True] * 3 + [False],
        "who is refused, of 3 items (a running call), 8 more during it and one later, with max_waiting=5",
        "only items that wait for a call to start count; who comes after the 5th is refused",
    )
    check.equal(
        [when for _, when in answers[8:11]], [0.015, 0.016, 0.017], "when (s) they are refused", "at once, not after waiting"
    )
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


# %% [markdown]
# Watch it: 60 requests in bursts, a model that takes 20 ms a call however many rows it gets. Each bar is one call.


# %%
async def busy_minute():
    generator = torch.Generator().manual_seed(3)
    arrivals = (torch.rand(60, generator=generator) ** 2 * 0.6).sort().values.tolist()
    model, answers = await play(
        MicroBatcher, [(when, i) for i, when in enumerate(arrivals)], seconds=0.02, max_batch=8, max_wait=0.01
    )
    return model.calls, arrivals, [when for _, when in answers]


calls, arrivals, answered = run_async(busy_minute())
figure, axis = plt.subplots(figsize=(9, 3), layout="constrained")
axis.bar(
    [1000 * start for start, _ in calls],
    [len(items) for _, items in calls],
    width=20,
    align="edge",
    edgecolor="white",
    label="calls of the model",
)
axis.plot([1000 * a for a in arrivals], [-0.4] * len(arrivals), "|", color="C1", label="arrivals")
axis.set(xlabel="time (ms)", ylabel="items in the call")
axis.legend(loc="upper right")
plt.show()
waits = np.array(answered) - np.array(arrivals)
print(
    f"{len(arrivals)} requests in {len(calls)} calls; answered after {1000 * np.median(waits):.0f} ms (median), {1000 * waits.max():.0f} ms (worst)"
)

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
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
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
    expect_status(
        post(FakeBatcher(), pieces=pieces), 200, "a valid request whose body comes in two pieces", "Read until the end."
    )
    full = len(image_body(seed))
    expect_status(
        post(FakeBatcher(), image_body(seed), max_bytes=full),
        200,
        "a body of exactly max_bytes",
        "At most max_bytes are allowed.",
    )


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
    expect_status(
        answer, 408, "a client that sends a byte every half second, with body_seconds=3", "A time limit for the whole body."
    )
    check.between(
        answer.seconds,
        2.9,
        3.6,
        "the seconds after which the slow client is answered, with body_seconds=3",
        "one limit for all pieces together",
    )
    silent = [(1000.0, b"")]
    expect_status(
        post(FakeBatcher(), pieces=silent, body_seconds=0.5), 408, "a client that sends nothing", "A time limit around reading."
    )
    slow_but_well = [(0.9, image_body()[:100]), (0.9, image_body()[100:])]
    expect_status(
        post(FakeBatcher(), pieces=slow_but_well, body_seconds=2.0), 200, "a body that is there after 1.8 s, with body_seconds=2"
    )


def check_model_trouble():
    answer = post(FakeBatcher(error=Overloaded("full")), image_body())
    expect_status(
        answer, 503, "a request where the batcher is overloaded", "Overloaded is no error of the client's and no surprise: 503."
    )
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
    expect_status(
        answer, 200, "a body after 0.9 s and a model that takes 0.9 s, with 1 s for each", "Two limits, one after the other."
    )


def check_all_valid():
    check_valid()
    ### BEGIN HIDDEN TESTS
    check_valid(7)
    ### END HIDDEN TESTS


with check.exercise("service"):
    check.parts(
        {
            "valid requests": check_all_valid,
            "invalid content": check_invalid,
            "size and pace of the body": check_bodies,
            "trouble behind": check_model_trouble,
        }
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
    said = (
        f"label {answer.json()['label']}, p = {max(answer.json()['probabilities']):.2f}"
        if answer.status == 200
        else answer.body[:60].decode()
    )
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
        """Whoever can answer is alive."""

    @app.get("/health/ready")
    async def is_ready():
        if not ready():
            raise HTTPException(503, "not ready")

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
    check.equal(
        live.status, 200, "the status of /health/live while the service is not ready", "it is alive: do not have it killed"
    )
    check.equal(not_yet.status, 503, "the status of /health/ready while ready() is False")
    state["ready"] = True
    now, live = ask_all(app, ("GET", "/health/ready"), ("GET", "/health/live"))
    check.equal(
        now.status, 200, "the status of /health/ready once ready() is True", "ask at every request, not when the app is made"
    )
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
        check.true(
            False,
            f"/metrics is not in Prometheus' text format ({type(error).__name__}: {str(error)[:80]}). generate_latest writes it.",
        )
    counted = {labels: value for (name, labels), value in seen.items() if name == "requests_total"}
    check.true(
        bool(counted), f"/metrics has no requests_total. It has: {', '.join(sorted({name for name, _ in seen})) or 'nothing'}."
    )
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
    check.between(
        lasted["/slow"],
        0.079,
        30,
        "request_seconds_sum of a request that takes 0.08 s",
        "seconds from before the endpoint to after it",
    )
    ### BEGIN HIDDEN TESTS
    (again,) = ask_all(app, ("GET", "/metrics"))
    seen = samples_of(again.body.decode())
    check.equal(
        seen[("requests_total", (("path", "/metrics"), ("status", "200")))], 1.0, "the earlier request of /metrics, counted"
    )
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


# %% [markdown]
# # Part C · Can it be shipped, and taken back?
#
# ## 7 · Files for servers that others wrote (4 points, 40 minutes, difficulty 2 of 3)
#
# Your own service is one way. Two servers do batching, queues and metrics for you: NVIDIA's **Triton Inference Server**
# reads a folder of models, each with a configuration; **BentoML** reads a Python class with decorators. And whatever
# serves goes into a **container**, described by a Dockerfile. None of the three runs in this notebook: Triton comes as a
# container image, Docker needs a machine that lets you start containers, and BentoML wants older versions of packages
# that the course needs newer. What can be checked without them is checked against what they publish: Triton's own
# protobuf schema (from NVIDIA's package `tritonclient`), and BentoML's configuration schema (copied from
# `_bentoml_sdk/service/config.py` of BentoML 1.4.40, Apache-2.0, and made to refuse unknown keys, which BentoML 1.4.40
# drops in silence). The solution's class was also started once with the real `bentoml serve` of that version, in an
# environment of its own, and answered.
#
# **Task.** Three parts; each earns its share.
#
# `write_model_repository(folder, name, onnx_path, max_batch, delay_us)` writes what Triton wants:
# `folder/name/config.pbtxt` and `folder/name/1/model.onnx` (version 1, a copy of the file). The configuration: the name;
# the backend `onnxruntime`; `max_batch_size`; every input and output **of the file** with its name, `TYPE_FP32` (all
# files here are float32) and its dims **without** the batch axis; dynamic batching that waits at most `delay_us`
# microseconds; one instance on the CPU (`KIND_CPU`). `triton.ModelConfig` below is the schema's message; a config.pbtxt
# is its text format, so you may write text or fill the message and print it.
#
# `make_bento(bentoml, run)` returns a BentoML service class: decorated by `bentoml.service` with the name `digits`, one CPU,
# a timeout of 2 seconds and at most 64 requests at once; with one API method `predict`, which takes `images: np.ndarray`
# and returns an `np.ndarray`, the result of `run(images)`; batchable, at most 32 rows in a batch and 1000 ms of latency. You
# are given the module as an argument: here a stand-in that checks, on a machine with BentoML the real one.
#
# `dockerfile()` returns the text of a Dockerfile for a folder with `service.py` (the application is `service:app`),
# `model.onnx` and `requirements.txt`:
#
# - the base image is a fixed version of a slim Python, not `latest`;
# - requirements are installed before `service.py` is copied, so that a change of the code does not install all again;
#   pip keeps no cache in the image;
# - it does not run as root;
# - it starts uvicorn in the exec form (a JSON list: signals then reach the server), reachable from outside the container
#   (which host?), on port 8000, which it exposes;
# - a `HEALTHCHECK` asks one of the health endpoints, with what a slim Python image has (no curl);
# - no secret stands in it.

# %%
import importlib.util
import re
import shutil

from google.protobuf import text_format
from pydantic import PositiveFloat, PositiveInt, TypeAdapter, with_config
from typing_extensions import TypedDict


def load_triton_schema():
    """The protobuf module of Triton's model configuration; the rest of NVIDIA's client package is not imported."""
    package = Path(importlib.util.find_spec("tritonclient").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("triton_model_config", package / "grpc" / "model_config_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


triton = load_triton_schema()
forbid = with_config(ConfigDict(extra="forbid"))  # BentoML itself ignores an unknown key in silence


@forbid
class Traffic(TypedDict, total=False):
    timeout: PositiveFloat  # seconds
    max_concurrency: PositiveInt  # more are refused
    concurrency: PositiveInt
    external_queue: bool


@forbid
class Resources(TypedDict, total=False):
    cpu: str | PositiveInt | PositiveFloat
    memory: str | PositiveInt | PositiveFloat
    gpu: PositiveFloat
    gpu_type: str


@forbid
class BentoConfig(TypedDict, total=False):
    traffic: Traffic
    resources: Resources
    workers: PositiveInt | str
    threads: PositiveInt
    metrics: dict
    logging: dict
    http: dict
    endpoints: dict


class BentoCheck:
    """In the place of the module `bentoml`: the same decorators, which check their arguments and note them."""

    @staticmethod
    def service(inner=None, /, *, name=None, **config):
        TypeAdapter(BentoConfig).validate_python(config)

        def decorate(service):
            service.bento_name, service.bento_config = name or service.__name__, config
            return service

        return decorate if inner is None else decorate(inner)

    @staticmethod
    def api(function=None, /, *, route=None, name=None, batchable=False, batch_dim=0, max_batch_size=100, max_latency_ms=60000):
        def decorate(method):
            method.bento_api = {
                "batchable": batchable,
                "batch_dim": batch_dim,
                "max_batch_size": max_batch_size,
                "max_latency_ms": max_latency_ms,
            }
            return method

        return decorate if function is None else decorate(function)


def dockerfile_steps(text):
    """The (INSTRUCTION, argument) pairs of a Dockerfile, without comments, with continued lines joined."""
    lines = re.sub(r"\\\s*\n", " ", re.sub(r"(?m)^\s*#.*\n?", "", text)).splitlines()
    pairs = [line.strip().partition(" ") for line in lines if line.strip()]
    return [(word.upper(), " ".join(rest.split())) for word, _, rest in pairs]


# %% exercise="deploy_files" minutes=40 difficulty=2
def write_model_repository(folder, name, onnx_path, max_batch, delay_us):
    """Write folder/name/config.pbtxt and folder/name/1/model.onnx for Triton Inference Server."""
    ### BEGIN SOLUTION
    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])

    def tensors(values):
        return [{"name": value.name, "data_type": "TYPE_FP32", "dims": value.shape[1:]} for value in values]

    config = triton.ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=max_batch,
        input=tensors(session.get_inputs()),
        output=tensors(session.get_outputs()),
        dynamic_batching={"max_queue_delay_microseconds": delay_us},
        instance_group=[{"kind": "KIND_CPU", "count": 1}],
    )
    model_folder = Path(folder) / name
    (model_folder / "1").mkdir(parents=True)
    shutil.copy(onnx_path, model_folder / "1" / "model.onnx")
    (model_folder / "config.pbtxt").write_text(text_format.MessageToString(config))
    ### END SOLUTION


def make_bento(bentoml, run):
    """A BentoML service class with the batchable API `predict`, which answers with run(images)."""

    ### BEGIN SOLUTION
    @bentoml.service(name="digits", resources={"cpu": 1}, traffic={"timeout": 2, "max_concurrency": 64})
    class Digits:
        @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
        def predict(self, images: np.ndarray) -> np.ndarray:
            return run(images)

    return Digits
    ### END SOLUTION


def dockerfile():
    """The text of the Dockerfile."""
    ### BEGIN SOLUTION
    return """
FROM python:3.12-slim
WORKDIR /srv
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY service.py model.onnx ./
USER 10001
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live')"]
CMD ["uvicorn", "service:app", "--host", "0.0.0.0", "--port", "8000"]
"""
    ### END SOLUTION


# %% tests="deploy_files" points=4
def tiny_onnx(inputs, outputs):
    """An ONNX file with the given inputs and outputs {name: shape without batch}: each output is the mean of all inputs."""
    import onnx
    from onnx import TensorProto, helper

    def values(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in shapes.items()]

    nodes = [helper.make_node("Flatten", [name], [f"flat_{name}"], axis=1) for name in inputs]
    nodes += [helper.make_node("Concat", [f"flat_{name}" for name in inputs], ["all"], axis=1)]
    for name, (width,) in outputs.items():
        nodes.append(helper.make_node("ReduceMean", ["all"], [f"mean_{name}"], axes=[1], keepdims=1))
        nodes.append(helper.make_node("Concat", [f"mean_{name}"] * width, [name], axis=1))
    graph = helper.make_graph(nodes, "tiny", values(inputs), values(outputs))
    path = Path(tempfile.mkdtemp()) / "some.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def check_repository(name, inputs, outputs, max_batch, delay):
    source, folder = tiny_onnx(inputs, outputs), Path(tempfile.mkdtemp()) / "models"
    folder.mkdir()
    write_model_repository(folder, name, source, max_batch, delay)
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    check.equal(
        found,
        [f"{name}/1/model.onnx", f"{name}/config.pbtxt"],
        "the files in the model repository",
        "a folder for the model, in it one for each version",
    )
    check.equal((folder / name / "1" / "model.onnx").read_bytes(), source.read_bytes(), "the content of model.onnx")
    text = (folder / name / "config.pbtxt").read_text()
    try:
        config = text_format.Parse(text, triton.ModelConfig())
    except text_format.ParseError as error:
        check.true(False, f"config.pbtxt does not follow Triton's schema: {error}. Is every field spelt as in ModelConfig?")
    check.equal(config.name, name, "name in config.pbtxt", "it must be the folder's name")
    check.true(
        config.backend == "onnxruntime" or config.platform == "onnxruntime_onnx",
        f"config.pbtxt has backend {config.backend!r} and platform {config.platform!r}, expected the backend onnxruntime.",
    )
    check.equal(config.max_batch_size, max_batch, "max_batch_size", "0, the default, means: no batching at all")
    for what, observed, wanted in (("input", config.input, inputs), ("output", config.output, outputs)):
        check.equal(
            {t.name: list(t.dims) for t in observed}, {key: list(shape) for key, shape in wanted.items()}, f"names and dims of each {what}",
            "ask the ONNX file for them; with max_batch_size the batch axis is not in dims",
        )  # fmt: skip
        kinds = {triton.DataType.Name(t.data_type) for t in observed}
        check.equal(kinds, {"TYPE_FP32"}, f"the data types of each {what}")
    check.true(config.HasField("dynamic_batching"), "config.pbtxt has no dynamic_batching: requests would go one by one.")
    check.equal(config.dynamic_batching.max_queue_delay_microseconds, delay, "max_queue_delay_microseconds")
    groups = [(triton.ModelInstanceGroup.Kind.Name(g.kind), g.count) for g in config.instance_group]
    check.equal(groups, [("KIND_CPU", 1)], "kind and count of the instance groups")


def check_triton():
    check_repository("digits", {"images": (1, 16, 16)}, {"logits": (10,)}, 32, 2000)
    ### BEGIN HIDDEN TESTS
    check_repository("pair_model", {"left": (3, 2), "right": (5,)}, {"score": (2,), "kind": (4,)}, 7, 150)
    ### END HIDDEN TESTS


def check_bento():
    called = []

    def run(images):
        called.append(images)
        return images.reshape(len(images), -1)[:, :10] + 1

    service = make_bento(BentoCheck, run)
    check.true(hasattr(service, "bento_config"), "make_bento returned something that bentoml.service did not decorate.")
    check.equal(service.bento_name, "digits", "the service's name")
    config = service.bento_config
    check.equal(float(config.get("resources", {}).get("cpu", 0)), 1.0, "resources: cpu", 'resources={"cpu": ...}')
    traffic = {key: float(value) for key, value in config.get("traffic", {}).items()}
    check.equal(traffic, {"timeout": 2.0, "max_concurrency": 64.0}, "traffic", "seconds, and the number of requests at once")
    method = vars(service).get("predict")
    check.true(hasattr(method, "bento_api"), "the class has no method predict that bentoml.api decorated.")
    api = method.bento_api
    check.equal(
        api, {"batchable": True, "batch_dim": api["batch_dim"], "max_batch_size": 32, "max_latency_ms": 1000}, "the settings of the API predict",
        "BentoML batches nothing unless it is told to, and by default would wait up to a minute",
    )  # fmt: skip
    check.true(api["batch_dim"] in (0, (0, 0)), f"batch_dim is {api['batch_dim']}, expected the first axis.")
    check.equal(
        {key: method.__annotations__.get(key) for key in ("images", "return")}, {"images": np.ndarray, "return": np.ndarray},
        "the types of predict's argument and result", "BentoML makes the HTTP interface from them",
    )  # fmt: skip
    images = np.arange(3 * 256, dtype=np.float32).reshape(3, 1, 16, 16)
    check.equal(service().predict(images=images), images.reshape(3, -1)[:, :10] + 1, "the result of predict", "run(images)")
    check.equal(len(called), 1, "the number of calls of run")


def argument_list(steps, instruction):
    """The JSON list of the last such instruction; [] without one."""
    values = [value for word, value in steps if word == instruction]
    if not values:
        return []
    try:
        parts = json.loads(values[-1])
        assert isinstance(parts, list)
        return parts
    except (ValueError, AssertionError):
        check.true(
            False,
            f"{instruction} is {values[-1]!r}: the exec form is a JSON list in double quotes. In the shell form a shell gets the signals, not the server.",
        )


def check_dockerfile():
    text = dockerfile()
    check.kind(text, str, "what dockerfile() returns")
    steps = dockerfile_steps(text)
    known = (
        "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR".split()
    )
    for word, _ in steps:
        check.true(word in known, f"{word} is no instruction of a Dockerfile.")
    froms = [value for word, value in steps if word == "FROM"]
    check.true(bool(froms), "the Dockerfile has no FROM: every image starts from another.")
    image = froms[-1].split(" ")[0]
    check.true(
        image.startswith("python:") or "/python:" in image,
        f"the base image is {image}, expected a Python image (python:VERSION-slim).",
    )
    tag = image.split(":")[-1]
    check.true(
        "@sha256:" in image or re.match(r"3\.\d+", tag) is not None,
        f"the base image is {image}: name a version, or the image changes under you from one build to the next.",
    )
    check.true("slim" in image, f"the base image is {image}: the slim one is a tenth of the size, and has fewer holes.")
    installs = [
        i
        for i, (word, value) in enumerate(steps)
        if word == "RUN" and re.search(r"\b(pip3?|uv pip) install\b.*requirements\.txt", value)
    ]
    check.true(bool(installs), "nothing installs requirements.txt.")
    check.true(
        "--no-cache-dir" in steps[installs[0]][1] or any(w == "ENV" and "PIP_NO_CACHE_DIR" in v for w, v in steps),
        "pip keeps its cache in the image: --no-cache-dir.",
    )
    copies = [(i, value.split(" ")) for i, (word, value) in enumerate(steps) if word in ("COPY", "ADD")]

    def first_copy(name):
        places = [i for i, parts in copies if any(part.rstrip("/") in (name, f"./{name}", ".", "*") for part in parts[:-1])]
        check.true(bool(places), f"{name} is never copied into the image.")
        return min(places)

    check.true(first_copy("requirements.txt") < installs[0], "requirements.txt is copied after it is used.")
    check.true(
        first_copy("service.py") > installs[0],
        "service.py is copied before the requirements are installed: each change of the code then installs everything again.",
    )
    first_copy("model.onnx")
    users = [(i, value) for i, (word, value) in enumerate(steps) if word == "USER"]
    check.true(bool(users) and users[-1][1].split(":")[0] not in ("root", "0"), "the server runs as root: USER names another.")
    check.true(users[-1][0] > installs[0], "USER stands before pip installs: that user may not write there.")
    command = argument_list(steps, "ENTRYPOINT") + argument_list(steps, "CMD")
    check.true(bool(command), "the image starts nothing: CMD or ENTRYPOINT.")
    words = " ".join(map(str, command)).replace("=", " ").split(" ")
    check.true("uvicorn" in words and "service:app" in words, f"the image starts {command}, expected uvicorn with service:app.")
    host = words[words.index("--host") + 1] if "--host" in words[:-1] else "127.0.0.1, uvicorn's default"
    check.true(
        host in ("0.0.0.0", "::"),
        f"the server listens on {host}: inside a container nobody outside reaches that. 0.0.0.0 is every interface.",
    )
    port = words[words.index("--port") + 1] if "--port" in words[:-1] else "8000"
    check.equal(port, "8000", "the server's port")
    exposed = [part for word, value in steps if word == "EXPOSE" for part in value.split(" ")]
    check.true("8000" in exposed or "8000/tcp" in exposed, f"EXPOSE says {exposed or 'nothing'}, expected 8000.")
    health = [value for word, value in steps if word == "HEALTHCHECK"]
    check.true(
        bool(health) and re.search(r"8000/health/(live|ready)", health[-1]) is not None,
        f"HEALTHCHECK is {health or 'missing'}, expected a request of a health endpoint on port 8000.",
    )
    bare = not any(word == "RUN" and re.search(r"install.*\b(curl|wget)\b", value) for word, value in steps)
    check.true(
        not (bare and re.search(r"\b(curl|wget)\b", health[-1])),
        "HEALTHCHECK uses curl or wget, which a slim image does not have: every container would be called ill.",
    )
    secrets = [value for word, value in steps if word in ("ENV", "ARG") and re.search(r"(?i)token|passw|secret|api_?key", value)]
    check.true(
        not secrets, f"a secret stands in the image for everybody who has it: {secrets}. Give it when the container starts."
    )


with check.exercise("deploy_files"):
    check.parts({"model repository for Triton": check_triton, "BentoML service": check_bento, "Dockerfile": check_dockerfile})
check.points(4)  # the number below: your points, of 4

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Triton: who knows the names and shapes? The file. What does Triton add in front of `dims` by itself? Docker: an image is
# a stack of layers, each kept until something above it changes; which files change every day, which every month?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `session.get_inputs()` (`.name`, `.shape`); `triton.ModelConfig(field=..., ...)`, where a dict fills a message and a
# string an enum; `text_format.MessageToString`; `shutil.copy`. `bentoml.service(name=..., resources={...}, traffic={...})`,
# `bentoml.api(batchable=True, ...)`. Docker: `FROM`, `COPY`, `RUN`, `USER`, `EXPOSE`, `HEALTHCHECK CMD [...]`, `CMD [...]`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# config = triton.ModelConfig(
#     name=name, backend="onnxruntime", max_batch_size=...,
#     input=[{"name": i.name, "data_type": "TYPE_FP32", "dims": ...} for i in session.get_inputs()],
#     output=..., dynamic_batching={"max_queue_delay_microseconds": ...}, instance_group=[{"kind": ..., "count": 1}])
#
# @bentoml.service(name="digits", resources={"cpu": 1}, traffic={"timeout": ..., "max_concurrency": ...})
# class Digits:
#     @bentoml.api(batchable=True, ...)
#     def predict(self, images: np.ndarray) -> np.ndarray:
#         ...
#
# # Dockerfile: FROM, WORKDIR, COPY requirements.txt ., RUN pip install ..., COPY service.py model.onnx ./, USER, EXPOSE,
# # HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/...')"], CMD [...]
# ```
# </details>


# %% [markdown]
# What Triton would read for the digits network, and how all three are started on a machine that has them:

# %%
write_model_repository(workshop / "models", "digits", onnx_path, 32, 2000)
print((workshop / "models" / "digits" / "config.pbtxt").read_text())
print(
    "docker run --rm -p 8001:8000 -v $PWD/models:/models nvcr.io/nvidia/tritonserver:25.10-py3 tritonserver --model-repository=/models\n"
    "pip install bentoml onnxruntime && bentoml serve bento_service:Digits --port 8002   # bento_service.py: Digits = make_bento(bentoml, run)\n"
    "docker build -t digits . && docker run --rm -p 8000:8000 digits"
)

# %% [markdown]
# ## 8 · Promote, go on, or roll back (3 points, 30 minutes, difficulty 2 of 3)
#
# A new version first gets a small share of the traffic: the *canary*. Both versions are judged on what can be counted
# for each request: here, whether the answer was wrong (an error counts as wrong). After every few hundred requests somebody
# must decide. Two mistakes are possible, and both have a price: to keep a worse version, and to throw away a good
# one because of bad luck. And there is a third, quiet one: who looks ten times at a fair coin, each time ready to cry
# foul at one chance in a hundred, cries foul far more often than that.
#
# **Task.** Write `decide(stable, canary, look, looks, margin, alpha)`. `stable` and `canary` are `Window`s with the
# counts **since the start**; this is look number `look` (1, 2, ...) of `looks` planned. Return `"rollback"`,
# `"continue"` or `"promote"` by this rule:
#
# 1. The stable version's failure rate $p$ is estimated as $(\text{failures} + 1) / (\text{requests} + 2)$, so that one
#    without a failure so far is not taken to be perfect.
# 2. **Harm.** If a canary with the rate $p$ would have so many failures **or more** with a probability below
#    `alpha / looks`: `"rollback"`, at any look. (Dividing by the number of looks keeps the chance of a false alarm over
#    all of them below `alpha`.)
# 3. Before the last look: `"continue"`.
# 4. **Proof.** Harm comes first, at the last look too. If there is none, then at the last look: `"promote"` if a canary with the rate $p$ + `margin` would have so few failures **or fewer**
#    with a probability below `alpha`; otherwise `"rollback"`: not shown to be good enough is not good enough.
#
# The number of failures among $n$ requests with rate $p$ is binomial.


# %%
@dataclass(frozen=True)
class Window:
    """What was counted of one version."""

    requests: int
    failures: int


# %% exercise="canary" minutes=30 difficulty=2
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):
    """ "rollback", "continue" or "promote", from the counts since the start; this is look `look` of `looks`."""
    ### BEGIN SOLUTION
    from scipy.stats import binom

    rate = (stable.failures + 1) / (stable.requests + 2)
    as_bad_or_worse = binom.sf(canary.failures - 1, canary.requests, rate)
    if as_bad_or_worse < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    as_good_or_better = binom.cdf(canary.failures, canary.requests, rate + margin)
    return "promote" if as_good_or_better < alpha else "rollback"
    ### END SOLUTION


# %% tests="canary" points=3
def tail(failures, requests, rate, at_least):
    """The probability of that many failures or more (or fewer), added up term by term."""
    counts = range(failures, requests + 1) if at_least else range(failures + 1)
    return math.fsum(
        math.exp(
            math.lgamma(requests + 1)
            - math.lgamma(k + 1)
            - math.lgamma(requests - k + 1)
            + k * math.log(rate)
            + (requests - k) * math.log1p(-rate)
        )
        for k in counts
    )


def expect(stable, canary, look, looks, wanted, why, **settings):
    observed = decide(Window(*stable), Window(*canary), look, looks, **settings)
    check.equal(
        observed, wanted,
        f"the decision for stable {stable[1]} of {stable[0]} wrong, canary {canary[1]} of {canary[0]} wrong, look {look} of {looks}"
        + "".join(f", {key}={value}" for key, value in settings.items()),
        why,
    )  # fmt: skip


def edge(stable, requests, limit, rate_more, at_least):
    """The count of failures at which the decision turns."""
    rate = (stable[1] + 1) / (stable[0] + 2) + rate_more
    if at_least:
        return next(k for k in range(requests + 1) if tail(k, requests, rate, True) < limit)
    return next(k for k in range(requests, -1, -1) if tail(k, requests, rate, False) < limit)


def check_harm(stable, requests, looks, alpha):
    bad = edge(stable, requests, alpha / looks, 0.0, True)
    expect(
        stable,
        (requests, bad),
        1,
        looks,
        "rollback",
        "so many failures or more are too unlikely at the stable version's rate",
        alpha=alpha,
    )
    expect(
        stable, (requests, bad - 1), 1, looks, "continue",
        "this may still be bad luck: the limit is alpha divided by the number of looks, for that many failures or more", alpha=alpha,
    )  # fmt: skip


def check_proof(stable, requests, looks, margin, alpha):
    good = edge(stable, requests, alpha, margin, False)
    settings = {"margin": margin, "alpha": alpha}
    expect(stable, (requests, good), looks, looks, "promote", "at the last look it is shown to be within the margin", **settings)
    expect(stable, (requests, good + 1), looks, looks, "rollback", "not shown to be good enough is not good enough", **settings)
    if looks > 1:
        expect(stable, (requests, good), looks - 1, looks, "continue", "only the last look may promote", **settings)


with check.exercise("canary"):
    expect((1000, 100), (200, 60), 1, 5, "rollback", "30 % wrong instead of 10 % is no accident")
    expect((1000, 100), (200, 20), 2, 5, "continue", "nothing is wrong, and nothing is shown yet")
    expect(
        (500, 0),
        (100, 1),
        1,
        5,
        "continue",
        "one failure where the stable version had none: is its rate taken to be 0? See step 1 of the rule",
    )
    check_harm((1000, 100), 200, 5, 0.01)
    check_proof((4000, 400), 400, 5, 0.05, 0.01)
    ### BEGIN HIDDEN TESTS
    check_harm((40, 3), 60, 10, 0.05)
    check_harm((300, 0), 500, 3, 0.02)
    check_harm((9, 2), 31, 2, 0.1)
    check_proof((300, 30), 120, 1, 0.08, 0.05)
    expect((4000, 400), (1500, 193), 5, 5, "rollback", "it is within the margin, and yet clearly worse: harm comes first")
    check_proof((10, 4), 50, 3, 0.2, 0.1)
    expect((0, 0), (40, 0), 1, 1, "promote", "half of nothing: the rate of an unseen stable version is 1/2")
    expect((5000, 0), (100, 0), 4, 4, "rollback", "100 requests are too few to show anything", margin=0.01)
    ### END HIDDEN TESTS

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Two probabilities of the binomial distribution, two tails: "this many or more" for harm, "this few or fewer" for proof,
# each at its own rate. "Or more" includes the number itself.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `scipy.stats.binom.sf(k, n, p)` is the probability of **more than** k, `binom.cdf(k, n, p)` of k or fewer;
# `scipy.stats.binomtest(k, n, p, alternative="greater").pvalue` is the first tail ready-made.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# rate = (stable.failures + 1) / (stable.requests + 2)
# as_bad_or_worse = binom.sf(canary.failures - 1, canary.requests, rate)
# if as_bad_or_worse < ...:
#     return "rollback"
# if look < looks:
#     return ...
# as_good_or_better = binom.cdf(canary.failures, canary.requests, ...)
# return ...
# ```
# </details>


# %% [markdown]
# The rule on 400 pretended canaries of each kind: just as good as the stable version (10 % wrong), and worse (15 %).
# Five looks, 300 requests more at each.


# %%
def pretend(rate, looks=5, step=300, seed=0, rule=decide):
    """One canary with failure rate `rate` against a stable version with 0.1: the decision and the look at which it fell."""
    generator = np.random.default_rng(seed)
    stable, canary = Window(0, 0), Window(0, 0)
    for look in range(1, looks + 1):
        stable = Window(stable.requests + 9 * step, stable.failures + int(generator.binomial(9 * step, 0.1)))
        canary = Window(canary.requests + step, canary.failures + int(generator.binomial(step, rate)))
        decision = rule(stable, canary, look, looks)
        if decision != "continue":
            return decision, look


figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for offset, (rate, name) in enumerate([(0.10, "as good (10 % wrong)"), (0.15, "worse (15 % wrong)")]):
    ends = [pretend(rate, seed=seed) for seed in range(400)]
    for decision, colour in (("rollback", "C3"), ("promote", "C2")):
        shares = [100 * sum(end == (decision, look) for end in ends) / len(ends) for look in range(1, 6)]
        axis.bar(np.arange(1, 6) + 0.4 * offset - 0.2, shares, 0.36, bottom=0 if decision == "rollback" else [0] * 4 + [100 * sum(e == ("rollback", 5) for e in ends) / len(ends)],
                 color=colour, alpha=1 if offset else 0.45, label=f"{name}: {decision}")  # fmt: skip
    promoted = sum(decision == "promote" for decision, _ in ends)
    early = sum(decision == "rollback" and look < 5 for decision, look in ends)
    print(f"{name}: {promoted / 4:.1f} % promoted, {early / 4:.1f} % rolled back before the last look")
axis.set(xlabel="look at which the decision fell (300 canary requests each)", ylabel="share of canaries (%)")
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 9 · Show it and say what it is (2 points, 30 minutes, difficulty 1 of 3)
#
# A demo lets people try the model; a card tells them when not to. Both are part of shipping.
#
# **Task.** Two functions.
#
# `make_demo(run)` returns a Gradio app (`gr.Interface` or `gr.Blocks`) with one image input, one label output, and one
# function under the API name `classify` between them. The function gets a picture as people draw it, **dark ink on
# white paper**, grey, uint8, of any size. It shrinks it to 16 x 16 with PIL's `Image.BOX` (each new pixel is the mean of
# a block), turns it into what the model knows (ink 1, paper 0, float32), and returns `{"0": probability, ...}` for all
# ten digits. Without a picture (`None`) it raises `gr.Error`, which Gradio shows to the user, instead of a traceback in
# your log.
#
# `make_card(accuracy, count)` returns the text of a model card. Its YAML header has the licence `mit`, the pipeline tag
# `image-classification`, and a model-index with one result: the `accuracy` on the dataset of held-out cluttered digits. Below stand
# four sections, `## Intended use`, `## Limits`, `## Training data`, `## Evaluation`, with a sentence or more in each (at
# least 40 characters), and the evaluation names the accuracy in percent with one decimal and the number of pictures,
# `count`.

# %%
import threading

import gradio as gr
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from PIL import Image

gr.flagging.Lock = threading.Lock  # an app here is one process, and graded code may not share locks with others
with gr.Blocks():  # the first app that is made sets Gradio up: once, here
    pass


# %% exercise="demo_and_card" minutes=30 difficulty=1
def make_demo(run):
    """A Gradio app in which `run` (float32 (n, 1, 16, 16) to logits (n, 10)) reads a drawn digit."""

    ### BEGIN SOLUTION
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
    ### END SOLUTION


def make_card(accuracy, count):
    """The text of the model card; `accuracy` (0 to 1) was measured on `count` held-out pictures."""
    ### BEGIN SOLUTION
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

Cluttered renderings of the training half of scikit-learn's digits, written by 43 people.

## Evaluation

Accuracy {accuracy:.1%} on {count} held-out pictures made from digits that no training run has seen.
"""
    ### END SOLUTION


# %% tests="demo_and_card" points=2
def find_block(demo):
    check.true(
        isinstance(demo, gr.Blocks),
        f"make_demo returned {type(demo).__name__}, expected a Gradio app (gr.Interface or gr.Blocks).",
    )
    named = [block for block in demo.fns.values() if block.api_name == "classify"]
    check.true(
        len(named) == 1, f"the app has the API names {[block.api_name for block in demo.fns.values()]}, expected classify once."
    )
    check.true(len(named[0].inputs) == 1 and len(named[0].outputs) == 1, "classify has one input and one output.")
    check.true(
        isinstance(named[0].inputs[0], (gr.Image, gr.ImageEditor)),
        f"the input is a {type(named[0].inputs[0]).__name__}, expected gr.Image.",
    )
    check.true(
        isinstance(named[0].outputs[0], gr.Label), f"the output is a {type(named[0].outputs[0]).__name__}, expected gr.Label."
    )
    return named[0]


def upload(block, picture):
    """What classify returns for a picture that goes through the components as in the running app: {label: probability}."""
    from gradio.data_classes import ImageData

    path = Path(tempfile.mkdtemp()) / "drawn.png"
    Image.fromarray(picture).save(path)
    result = block.fn(block.inputs[0].preprocess(ImageData(path=str(path), orig_name="drawn.png")))
    check.kind(result, dict, "what classify returns", "gr.Label takes {label: probability}")
    check.equal(sorted(map(str, result)), list("0123456789"), "the labels", "all ten digits, as text")
    block.outputs[0].postprocess(result)
    return {str(label): probability for label, probability in result.items()}


def check_demo(seed, scale):
    generator = np.random.default_rng(seed)
    ink = generator.integers(0, 256, (16, 16)).astype(np.uint8)
    weights = generator.normal(size=(256, 10)).astype(np.float32)
    seen = []

    def run(images):
        seen.append(images)
        return images.reshape(len(images), -1) @ weights / 8

    block = find_block(make_demo(run))
    drawn = np.kron(255 - ink, np.ones(scale, dtype=np.uint8))
    observed = upload(block, drawn)
    check.true(len(seen) == 1, f"one picture led to {len(seen)} calls of run, expected 1.")
    check.equal(
        seen[0], (ink / 255).astype(np.float32)[None, None], "the array given to run",
        "float32 (1, 1, 16, 16), ink 1 and paper 0: people draw dark on white, the model knows white on black", atol=1e-3,
    )  # fmt: skip
    wanted = softmax((ink / 255).astype(np.float32).reshape(1, -1) @ weights / 8)[0]
    check.equal(
        observed,
        {str(k): float(p) for k, p in enumerate(wanted)},
        "the probabilities",
        "softmax of the logits, plain floats",
        rtol=0.1,
        atol=0.01,
    )
    error = check.raises(gr.Error, lambda: block.fn(None), "classify without a picture", "gr.Error is shown to the user")
    check.true(len(str(error)) > 8, "the gr.Error has no message: say what to do.")


def check_card(accuracy, count):
    text = make_card(accuracy, count)
    check.kind(text, str, "the card")
    check.true(text.startswith("---\n"), "the card does not begin with a YAML header between lines of ---.")
    try:
        card = ModelCard(text)
        data = card.data
    except Exception as error:
        check.true(False, f"the card's header cannot be read: {type(error).__name__}: {str(error)[:150]}")
    check.equal(data.license, "mit", "license in the header")
    check.equal(data.get("pipeline_tag"), "image-classification", "pipeline_tag in the header")
    results = data.eval_results or []
    check.equal(
        len(results),
        1,
        "the number of results in the model-index",
        "EvalResult in ModelCardData(eval_results=[...], model_name=...)",
    )
    check.equal(results[0].metric_type, "accuracy", "the metric's type")
    check.equal(results[0].metric_value, accuracy, "the metric's value", "the measured accuracy as it is, from 0 to 1")
    check.equal(results[0].task_type, "image-classification", "the task of the result")
    sections = {part.splitlines()[0].strip(): part.partition("\n")[2].strip() for part in re.split(r"(?m)^## ", card.text)[1:]}
    for name in ("Intended use", "Limits", "Training data", "Evaluation"):
        check.true(
            len(sections.get(name, "")) >= 40,
            f"the section '## {name}' is missing or says almost nothing ({len(sections.get(name, ''))} characters).",
        )
    said = sections["Evaluation"].replace(" %", "%")
    check.true(
        f"{accuracy:.1%}" in said, f"the evaluation does not name the accuracy, {accuracy:.1%}. A card repeats what was measured."
    )
    check.true(
        re.search(rf"(?<![\d.]){count}(?![\d.]*\d)", said) is not None,
        f"the evaluation does not say on how many pictures it was measured ({count}).",
    )


def check_demos():
    check_demo(1, (8, 8))
    ### BEGIN HIDDEN TESTS
    check_demo(2, (5, 3))
    check_demo(3, (1, 1))
    ### END HIDDEN TESTS


def check_cards():
    check_card(0.8925, 400)
    ### BEGIN HIDDEN TESTS
    check_card(0.125, 16)
    ### END HIDDEN TESTS


with check.exercise("demo_and_card"):
    check.parts({"demo": check_demos, "card": check_cards})
check.points(2)  # the number below: your points, of 2

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# What is the value of paper in the drawing, and what must it be for the model? Which shape does one grey picture have, and
# which does the model want? For the card: which figures may stand in it? Those that you were given.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `Image.fromarray(array).resize((16, 16), Image.BOX)`; `gr.Image(image_mode="L", type="numpy")`, `gr.Label`,
# `gr.Interface(function, input, output, api_name=...)`, `gr.Error`. `EvalResult(...)`, `ModelCardData(...).to_yaml()`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# def classify(picture):
#     if picture is None:
#         raise gr.Error("...")
#     small = Image.fromarray(picture).resize((16, 16), Image.BOX)
#     ink = 1 - ...
#     probabilities = softmax(run(ink[None, None]))[0]
#     return {...}
# return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")
#
# result = EvalResult(task_type=..., dataset_type=..., dataset_name=..., metric_type="accuracy", metric_value=accuracy)
# data = ModelCardData(license="mit", pipeline_tag=..., model_name=..., eval_results=[result])
# return f"---\n{data.to_yaml()}\n---\n# ..."
# ```
# </details>


# %% [markdown]
# Try it: the demo is a web page of its own. `make_demo(run_onnx).launch()` shows it in this notebook (not done here, for
# it would go on running); the course's tests open it in a headless browser, upload a digit and read the label.

# %%
accuracy = float((run_onnx(pictures.numpy()).argmax(1) == labels.numpy()).mean())
print(make_card(accuracy, len(labels)))

# %% [markdown]
# # Part D · The live service
#
# Nothing more to write: now everything runs. The file `service.py` is made of *your* cells (exercises 1, 4, 5 and 6) and
# a few lines that put them together. It imports no PyTorch: the process that serves needs NumPy, ONNX Runtime and
# FastAPI, starts in seconds, and takes little memory (its own figure stands in the metrics below).

# %%
import socket

import httpx


def cell_of(function):
    """The whole text of the cell in which a function was written."""
    return "".join(linecache.getlines(function.__code__.co_filename))


BEGIN = '''"""Digits over HTTP, from an ONNX file."""
import copy, json, math, os
from collections import deque
from pathlib import Path

import onnxruntime
from prometheus_client import CollectorRegistry, ProcessCollector


class Overloaded(Exception):
    """Too many requests wait already."""
'''

END = """
registry = CollectorRegistry()
ProcessCollector(registry=registry)  # CPU seconds and memory of the process
sizes = Histogram("batch_size", "Rows in a call of the model", registry=registry, buckets=(1, 2, 4, 8, 16, 32))
run, state = load_onnx(os.environ["MODEL"]), {"ready": False}


async def predict(images):
    sizes.observe(len(images))
    return await asyncio.to_thread(run, images)


@contextlib.asynccontextmanager
async def lifespan(app):
    await predict(np.zeros((1, 1, 16, 16), np.float32))  # the first call is slower
    state["ready"] = True
    yield
    state["ready"] = False


batcher = MicroBatcher(predict, int(os.environ["MAX_BATCH"]), 0.005, 256)
app = make_app(batcher, 20_000, 1.0, 5.0)
app.router.lifespan_context = lifespan
watch(app, registry, lambda: state["ready"])
"""

parts = [BEGIN, *map(cell_of, (softmax, load_onnx, MicroBatcher.submit, make_app, watch)), END]
(workshop / "service.py").write_text("\n\n".join(parts))


@contextlib.contextmanager
def serving(model_file, max_batch=32):
    """The service in a process of its own, ready for requests; gives its address. It ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = workshop / f"server-{port}.log"
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "service:app",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    settings = os.environ | {"MODEL": str(model_file), "MAX_BATCH": str(max_batch), "OMP_NUM_THREADS": "1"}
    with open(log, "wb") as out:
        process = subprocess.Popen(command, cwd=workshop, env=settings, stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=2).status_code == 200:
                    break
            if process.poll() is not None or time.monotonic() > until:
                said = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise RuntimeError(f"the service was not ready in 60 s; the end of its log: {' / '.join(said)}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# %% [markdown]
# ### Under attack
#
# Twelve kinds of bad clients at once, over real connections, while a good client asks twenty times a second. What does
# each of them get, and when? And does the good client notice?


# %%
async def raw(base, pieces, patience=6.0):
    """Send pieces (seconds to wait, bytes) over a plain connection: (status or what happened, seconds)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rsplit(":", 1)[1]))
    begin = time.perf_counter()

    async def send():
        with contextlib.suppress(ConnectionError):
            for seconds, piece in pieces:
                await asyncio.sleep(seconds)
                writer.write(piece)
                await writer.drain()

    sender = asyncio.create_task(send())
    try:
        line = await asyncio.wait_for(reader.readline(), patience)
        status = int(line.split()[1]) if line else "closed"
    except TimeoutError:
        status = "no answer"
    except ConnectionError:
        status = "closed"
    finally:
        sender.cancel()
        writer.close()
    return status, time.perf_counter() - begin


def request(body=b"", length=None, line=b"POST /predict"):
    head = b"%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % line
    return head + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


good = json.dumps({"image": pictures[0, 0].tolist()}).encode()
attacks = {
    "no JSON": [(0, request(b"{image"))],
    "15 rows": [(0, request(json.dumps({"image": pictures[0, 0, :15].tolist()}).encode()))],
    "NaN": [(0, request(json.dumps({"image": [[math.nan] * 16] * 16}).encode()))],
    "deep nesting": [(0, request(b"[" * 15_000))],
    "GET": [(0, request(line=b"GET /predict"))],
    "unknown path": [(0, request(line=b"GET /wp-login.php"))],
    "no HTTP": [(0, b"\x16\x03\x01 hello\r\n\r\n")],
    "a body of 20 MB": [(0, request(length=20_000_000)), *[(0, b" " * 65536)] * 300],
    "20 MB in chunks": [
        (0, b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"), *[(0, b"10000\r\n" + b" " * 65536 + b"\r\n")] * 300,
    ],
    "a byte every 0.3 s": [(0, request(length=2000)), *[(0.3, b" ")] * 20],
    "a body that never comes": [(0, request(length=2000))],
    "half a header": [(0, b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ")],
}  # fmt: skip


async def under_attack(base):
    async with httpx.AsyncClient(base_url=base, timeout=20) as http:

        async def good_client():
            seen = []
            for _ in range(60):
                begin = time.perf_counter()
                answer = await http.post("/predict", content=good)
                seen.append((answer.status_code, time.perf_counter() - begin))
                await asyncio.sleep(0.05)
            return seen

        well_behaved = asyncio.create_task(good_client())
        await asyncio.sleep(0.2)
        results = dict(zip(attacks, await asyncio.gather(*(raw(base, pieces) for pieces in attacks.values()))))
        return results, await well_behaved, (await http.post("/predict", content=good)).status_code


with serving(onnx_path) as base:
    results, well_behaved, afterwards = run_async(under_attack(base), jump=False)
    metrics_text = httpx.get(f"{base}/metrics").text

for name, (status, seconds) in results.items():
    print(f"{name:24} {status!s:>9} after {seconds:4.1f} s")
slowest = max(seconds for _, seconds in well_behaved)
fine = sum(status == 200 for status, _ in well_behaved)
print(
    f"the good client: {fine} of {len(well_behaved)} answered with 200, the slowest after {1000 * slowest:.0f} ms; after the attack: {afterwards}"
)
refused = {name for name, (status, _) in results.items() if isinstance(status, int) and 400 <= status < 500}
reached = set(results) - {"half a header"}
claims.record(
    "bad requests get a 4xx answer in bounded time, and the service stays up",
    claimed="all of them",
    measured=f"{len(refused & reached)} of {len(reached)}, the last after {max(results[name][1] for name in reached):.1f} s; "
    f"good client {fine} of {len(well_behaved)}; afterwards {afterwards}",
    holds=reached <= refused and fine == len(well_behaved) and afterwards == 200,
)
claims.record(
    "a client that never finishes its header is sent away too",
    claimed="408",
    measured="{} after {:.0f} s".format(*results["half a header"]),
    holds="half a header" in refused,
    how="the application never sees it: a proxy in front must have the limit",
)

# %% [markdown]
# One attack gets through, and it is honest to say so: a client that never finishes its **header** never reaches your
# code. uvicorn waits for it; the connection costs a little memory and a file handle. That is why a real service stands
# behind a proxy with a limit for headers (nginx: `client_header_timeout`); uvicorn's own `--limit-concurrency` only bounds
# the damage. Some of the others were refused by the server itself before your code ran ("no HTTP": 400).
#
# What the service counted meanwhile, from `/metrics`:

# %%
print(
    "\n".join(
        line
        for line in metrics_text.splitlines()
        if line.startswith(("requests_total", "process_resident", "process_cpu_seconds_total"))
    )
)

# %% [markdown]
# ### Does batching raise throughput?
#
# It depends on what a call costs. The digits network is so small that reading HTTP costs more than computing. So the
# second model here is *wide*: three linear layers with 18 million random weights, 71 MB. For one row it must read all of
# them from memory; for 32 rows it reads them once as well. (That is also why batching pays on a GPU.) 32 clients ask as
# fast as they get answers. Besides the wall clock, which other programs disturb, we look at the CPU time that the
# server itself reports.


# %%
class Connection:
    """A client with one connection that stays open: as little work as possible, for it shares the machine with the server."""

    def __init__(self, base):
        self.port = int(base.rsplit(":", 1)[1])

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self.writer.close()

    async def post(self, body):
        """Status and JSON of the answer to POST /predict."""
        self.writer.write(request(body))
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
        return int(head.split()[1]), json.loads(await self.reader.readexactly(length))


async def in_parallel(base, bodies, clients):
    """Sends all bodies, `clients` at a time; gives (status, JSON, seconds) for each."""
    todo, answers = iter(enumerate(bodies)), [None] * len(bodies)

    async def client():
        async with Connection(base) as connection:
            for number, body in todo:
                begin = time.perf_counter()
                answers[number] = (*await connection.post(body), time.perf_counter() - begin)

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


def body_of(picture):
    return json.dumps({"image": picture[0].round(decimals=3).tolist()}).encode()


def metric(base, name):
    return sum(float(line.split()[-1]) for line in httpx.get(f"{base}/metrics").text.splitlines() if line.startswith(name + " "))


torch.manual_seed(0)
wide = nn.Sequential(nn.Flatten(), nn.Linear(256, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 10)).eval()
wide_path = workshop / "wide.onnx"
export_onnx(wide, pictures[:1], wide_path)

bodies, measured = [body_of(picture) for picture in pictures[:320]], {}
for name, file, max_batch in (
    ("digits, up to 32 a call", onnx_path, 32),
    ("wide, one a call", wide_path, 1),
    ("wide, up to 32 a call", wide_path, 32),
):
    with serving(file, max_batch) as base:
        before = metric(base, "process_cpu_seconds_total")
        begin = time.perf_counter()
        answers = run_async(in_parallel(base, bodies, clients=32), jump=False)
        rate = len(bodies) / (time.perf_counter() - begin)
        cpu = (metric(base, "process_cpu_seconds_total") - before) / len(bodies)
        mean_batch = metric(base, "batch_size_sum") / metric(base, "batch_size_count")
    measured[name] = rate, cpu, mean_batch
    p50, p95 = np.percentile([seconds for _, _, seconds in answers], [50, 95])
    print(
        f"{name:24} {rate:5.0f} requests/s, {1000 * cpu:5.2f} ms CPU of the server each, mean batch {mean_batch:4.1f}, latency p50 {1000 * p50:4.0f} ms, p95 {1000 * p95:4.0f} ms"
    )

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
left.barh(list(measured), [rate for rate, _, _ in measured.values()])
left.set(xlabel="throughput (requests per second)")
right.barh(list(measured), [1000 * cpu for _, cpu, _ in measured.values()], color="C1")
right.set(xlabel="CPU time of the server (ms per request)", yticklabels=[])
plt.show()

(alone, alone_cpu, _), (batched, batched_cpu, _) = measured["wide, one a call"], measured["wide, up to 32 a call"]
claims.record(
    "micro-batching raises throughput",
    claimed="several times more requests per second",
    measured=f"{batched / alone:.1f}x requests/s, {alone_cpu / batched_cpu:.1f}x less CPU time per request (wide model, 32 clients)",
    holds=batched / alone >= 2,
    how="for the small digits network HTTP itself is most of the cost",
)

# %% [markdown]
# ### The canary
#
# The file with the forgotten buffers (exercise 3) goes out as a canary: a second process, one request in four. The
# labels of these pictures are known, so that every answer can be judged; in practice they come late, from users or
# spot checks, and until then one watches errors, latency, and how often the two versions disagree. Your rule decides
# after every 200 canary requests, at most five times.


# %%
async def failures(base, rows):
    """The number of wrong answers to the pictures `rows`."""
    answers = await in_parallel(base, [body_of(traffic[row]) for row in rows], clients=16)
    return sum(status != 200 or answer["label"] != traffic_labels[row].item() for row, (status, answer, _) in zip(rows, answers))


async def roll_out(stable_base, canary_base, looks=5):
    stable, canary, history = Window(0, 0), Window(0, 0), []
    for look in range(1, looks + 1):
        rows = range(800 * (look - 1), 800 * look)
        to_canary, to_stable = [row for row in rows if row % 4 == 0], [row for row in rows if row % 4]
        canary = Window(canary.requests + len(to_canary), canary.failures + await failures(canary_base, to_canary))
        stable = Window(stable.requests + len(to_stable), stable.failures + await failures(stable_base, to_stable))
        history.append((look, stable, canary, decide(stable, canary, look, looks)))
        if history[-1][3] != "continue":
            break
    return history


traffic, traffic_labels, _ = digits.tensors("test", 4000, seed=22)
with serving(onnx_path) as stable_base, serving(forgetful_path) as canary_base:
    history = run_async(roll_out(stable_base, canary_base), jump=False)

for look, stable, canary, decision in history:
    print(
        f"look {look}: stable {stable.failures}/{stable.requests} wrong ({stable.failures / stable.requests:.1%}), canary {canary.failures}/{canary.requests} ({canary.failures / canary.requests:.1%}): {decision}"
    )

figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
for name, position, colour in (("stable", 1, "C0"), ("canary", 2, "C3")):
    windows = [entry[position] for entry in history]
    rates = np.array([w.failures / w.requests for w in windows])
    spread = np.array([1.96 * math.sqrt(r * (1 - r) / w.requests) for r, w in zip(rates, windows)])
    axis.errorbar(
        [w[0] for w in history], 100 * rates, 100 * spread, fmt="o-", capsize=4, color=colour, label=f"{name} (bars: 95 %)"
    )
axis.set(
    xlabel="look", ylabel="wrong answers so far (%)", xticks=[entry[0] for entry in history], title=f"decision: {history[-1][3]}"
)
axis.legend()
plt.show()
claims.record(
    "a canary with a worse model is rolled back by the rule",
    claimed="before the last of 5 looks",
    measured=f"{history[-1][3]} at look {history[-1][0]}, after {history[-1][2].requests} canary requests",
    holds=history[-1][3] == "rollback" and history[-1][0] < 5,
)

# %% [markdown]
# ### Claim: exported models are faster
#
# Last, the compiler of exercise 2 gets its time (mostly spent in the C++ compiler), and the same network runs four ways:
# eager, as exported program, compiled by AOTInductor, in ONNX Runtime. CPU time on one thread, the smallest of several
# rounds, the ways taking turns.

# %%
os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(workshop / "inductor")
exported = program.module()
ways = {
    "eager PyTorch": model,
    "exported program": exported,
    "ONNX Runtime": lambda x: run_onnx(x.numpy()),
}
if shutil.which("g++") or shutil.which("clang++") or os.environ.get("CXX"):
    import torch._inductor

    begin = time.perf_counter()
    # Without precompiled headers: they pay only where many models are compiled.
    settings = {"aot_inductor.precompile_headers": False, "cpp_cache_precompile_headers": False}
    package = torch._inductor.aoti_compile_and_package(
        program, package_path=str(workshop / "digits.pt2"), inductor_configs=settings
    )
    print(
        f"AOTInductor: compiled in {time.perf_counter() - begin:.0f} s, {Path(package).stat().st_size / 1e3:.0f} kB with weights"
    )
    compiled = torch._inductor.aoti_load_package(package)
    ways["AOTInductor"] = compiled
    accept(lambda images: run_in_chunks(compiled, torch.tensor(images.copy()), largest_batch).numpy(), model, samples)
    print("digits.pt2: accepted by your test")
else:
    print("No C++ compiler here: AOTInductor is left out.")


def cpu_ms(function, images, calls):
    begin = time.process_time()
    for _ in range(calls):
        function(images)
    return 1000 * (time.process_time() - begin) / calls


batch_sizes = [1, 4, 16, 64]
fastest = {name: [math.inf] * len(batch_sizes) for name in ways}
with torch.inference_mode():
    for _ in range(6):
        for column, size in enumerate(batch_sizes):
            for name, function in ways.items():
                fastest[name][column] = min(fastest[name][column], cpu_ms(function, pictures[:size], max(2, 32 // size)))

figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
for name, times in fastest.items():
    axis.plot(batch_sizes, [t / size for t, size in zip(times, batch_sizes)], "o-", label=name)
axis.set(
    xlabel="batch size (pictures)",
    ylabel="CPU time per picture (ms)",
    xscale="log",
    yscale="log",
    xticks=batch_sizes,
    xticklabels=batch_sizes,
)
axis.legend()
plt.show()
for name, times in fastest.items():
    print(
        f"{name:18}",
        "  ".join(
            f"{size:2} pictures: {t:6.3f} ms ({e / t:4.1f}x)" for size, t, e in zip(batch_sizes, times, fastest["eager PyTorch"])
        ),
    )

gains = {
    name: (fastest["eager PyTorch"][0] / times[0], fastest["eager PyTorch"][-1] / times[-1]) for name, times in fastest.items()
}
said = {name: f"{name} {one:.1f}x alone, {many:.1f}x at {batch_sizes[-1]}" for name, (one, many) in gains.items()}
claims.record(
    "an exported model answers faster than eager PyTorch",
    claimed="at least 2x",
    measured="; ".join(said[name] for name in ways if name in ("ONNX Runtime", "AOTInductor")),
    holds=all(min(gains[name]) >= 2 for name in ("ONNX Runtime", "AOTInductor") if name in gains),
    how=f"CPU time, one thread, a network of {sum(p.numel() for p in model.parameters()):,} weights; {said['exported program']}",
)

# %% [markdown]
# Exporting alone gains nothing: the exported program runs the same operators one by one, and for a single picture it is
# slower, because each call first checks what the export promised. The gain comes from whoever compiles the program:
# batch norms are folded into convolutions, operators are fused, memory is planned once. The gain is largest for one
# picture, where the overhead of each operator weighs most, and shrinks as the batch grows. It is for this network, on
# this processor: measure your own model.

# %% [markdown]
# # Claims measured
#
# | claim | where |
# |---|---|
# | bad requests get a 4xx answer in bounded time, and the service stays up | part D, under attack |
# | a client that never finishes its header is sent away too | part D, under attack |
# | micro-batching raises throughput | part D |
# | a canary with a worse model is rolled back by the rule | part D, the canary |
# | an exported model answers faster than eager PyTorch | part D, last section |
#
# The table with your own figures stands below the last of them; `unit24 claims` prints it in a terminal.

# %% [markdown]
# # On a bigger machine
#
# The same export with a real ResNet on a GPU: exported with a free batch axis, compiled ahead of time for CUDA, accepted,
# and compared with eager. It runs with `UNIT24_TIER=hub` on a GPU. The cell was tried on an H200 with random weights in the
# place of the real ones.

# %%
if env.tier == "hub" and env.device == "cuda":
    from transformers import AutoModelForImageClassification

    class Logits(nn.Module):
        """A classifier of transformers as a function from a tensor to a tensor."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images):
            return self.inner(pixel_values=images).logits

    resnet = Logits(AutoModelForImageClassification.from_pretrained(env.model("vision-ten"))).eval().to(env.device)
    photos = torch.randn(32, 3, 224, 224, device=env.device)
    program = export_program(resnet, photos[:1], 64)
    compiled = torch._inductor.aoti_load_package(
        torch._inductor.aoti_compile_and_package(program, package_path=str(workshop / "resnet.pt2"))
    )
    with torch.inference_mode():
        difference = (compiled(photos) - resnet(photos)).abs().max().item()
        for name, function in (("eager", resnet), ("AOTInductor", compiled)):
            for size in (1, 32):
                function(photos[:size])
                torch.cuda.synchronize()
                begin = time.perf_counter()
                for _ in range(20):
                    function(photos[:size])
                torch.cuda.synchronize()
                print(f"{name:12} {size:2} photos: {50 * (time.perf_counter() - begin):6.2f} ms a call")
    print(f"largest difference of a logit: {difference:.1e}")
else:
    print("Skipped: this section needs a GPU and UNIT24_TIER=hub.")

# %% [markdown]
# # Quiz
#
# Five questions, with feedback for every option. Nothing is graded.

# %% [markdown] quiz="export_production"
# 1. An ONNX file was exported with one example picture and no `dynamic_shapes`. What happens with a batch of 8?
# - [ ] It runs, only slower :: The sizes of the example are part of the graph; nothing adapts them.
# - [x] ONNX Runtime refuses the input :: The batch axis is the constant 1. It must be declared free, with an example of more than one row.
# - [ ] It answers for the first picture only :: It would be worse if it did; the sizes are checked first.
# - [ ] It is converted to a loop of 8 calls :: Nobody does that for you; you could.
# 2. A client sends one byte of its body every half second. Which limit ends it?
# - [ ] A limit on the size of the body :: It would take hours to reach it.
# - [ ] A limit on the time of the model's answer :: The model is never reached.
# - [ ] A time limit for each piece :: Every piece is in time; the whole never is.
# - [x] A time limit for the whole body :: One deadline for all pieces, and the answer 408.
# 3. The model is still loading. What should the health endpoints say?
# - [x] live: 200, ready: 503 :: The process is fine, and it must not get requests yet.
# - [ ] live: 503, ready: 503 :: Then it is restarted while it loads, and loads again, for ever.
# - [ ] live: 200, ready: 200 :: Then the first users wait or fail.
# - [ ] live: 503, ready: 200 :: That kills it and sends it requests.
# 4. Why does micro-batching help the wide model much and the digits network hardly?
# - [ ] The wide model is more accurate :: Its weights are random.
# - [ ] ONNX Runtime is slow for small models :: It is fast for them; that is the point.
# - [x] One call of the wide model reads 71 MB of weights, whether for 1 row or 32 :: The cost that does not depend on the rows is shared. For the digits network HTTP is the larger part.
# - [ ] The digits network cannot take batches :: It can, up to any size.
# 5. After every 200 requests you test at the level of 1 % whether the canary is worse, ten times, and roll back at the first alarm. What is the chance that an equally good canary is rolled back?
# - [ ] 1 % :: That is the chance at one look.
# - [x] More than 1 %, up to 10 % :: Each look is another chance for bad luck. Dividing the level by the number of looks bounds the sum.
# - [ ] 0.1 % :: That is the level for each look that would bound the sum at 1 %.
# - [ ] 50 % :: It is equally good, but the test asks for strong evidence each time.

# %% [markdown]
# # What to read next
#
# - [Export to ONNX](https://docs.pytorch.org/docs/stable/onnx.html) and [torch.export](https://docs.pytorch.org/docs/stable/export.html):
#   what can be recorded, and what dynamic shapes promise.
# - [AOTInductor](https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html): also how C++ loads a `.pt2`.
# - [ONNX Runtime's performance guide](https://onnxruntime.ai/docs/performance/): threads, graph optimisations, quantisation.
# - [Triton's model configuration](https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html)
#   and [BentoML's services](https://docs.bentoml.com/): all that the files of exercise 7 can say.
# - [Prometheus: instrumentation](https://prometheus.io/docs/practices/instrumentation/): which labels, which buckets.
# - [Canarying releases](https://sre.google/workbook/canarying-releases/) in Google's SRE workbook.
# - Next: project 33 puts several such services behind a balancer.
