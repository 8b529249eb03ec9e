# ---
# jupyter:
#   unit24:
#     needs: ["fastapi>=0.110", "gradio>=5", "httpx", "huggingface_hub", "matplotlib>=3.8", "onnx>=1.16", "onnxruntime>=1.18", "onnxscript", "prometheus-client>=0.19", "protobuf>=5", "pydantic>=2", "pyyaml", "scikit-learn", "scipy", "torch>=2.6", "tritonclient>=2.50", "uvicorn"]
# ---

# %% [markdown]
# # 21 · Export a model, serve it, watch it
#
# A trained model is a Python object that only its author can run. In this lesson it becomes a file that needs no
# PyTorch, the file becomes a service that survives bad clients, and the service becomes something that you can roll
# out, watch, and take back.
#
# **You will build** an ONNX file and an exported program of the digits network, an acceptance test for both, a FastAPI
# service with micro-batching, limits, timeouts, health checks and metrics, an open-loop load generator and a graceful
# shutdown, a statistical test that rolls a bad canary back, a Gradio demo and a model card. At the end the real service
# runs in its own process, under load and under attack.
#
# **You need first** lessons 03 (`nn.Module`, eval mode) and 13 (what a graph is); `async`/`await` at the level of the
# [asyncio tutorial](https://docs.python.org/3/library/asyncio-task.html).
#
# **Time** about five hours: nine exercises of 25 to 45 minutes, 30 points. No GPU is needed.
#
# | part | what you write | the question it answers |
# |---|---|---|
# | A | ONNX export, export for AOTInductor, an acceptance test | Is the file the model? |
# | B | micro-batcher, service, health and metrics, open-loop load and graceful shutdown | Does it survive its clients? |
# | C | canary rule, demo and card (shown: files for Triton, Docker, Compose and CI) | Can it be shipped, and taken back? |
# | D | (nothing: the live service) | What does it do under load? |
#
# A request passes these stations; each has its own way to say no:
#
# | station | read the body | validate | queue | model | answer |
# |---|---|---|---|---|---|
# | status if it fails | 413, 408 | 422 | 503 | 504, 500 | (200) |

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
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import torch
from torch import nn

from unit24 import cases, check, claims, models
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

# %% [markdown]
# ## Part A · Is the file the model?
#
# ### 1 · Export to ONNX (`onnx_export`, 3 points, 25 minutes, difficulty 2 of 3)
#
# ONNX is a file format for computation graphs: operators with fixed meanings, weights, names for inputs and outputs.
# ONNX Runtime runs it from Python, C++, Java or JavaScript without PyTorch. `torch.onnx.export(..., dynamo=True)` first
# runs `torch.export`, which records **one** run of the model with example inputs. Whatever that run did is now fixed:
# every branch of `if self.training`, and, unless you say otherwise, the batch size. There is a second trap: an axis of
# size 1 in the example is taken to be 1 for ever, even where you declared it free, or the export refuses it.
#
# `export_onnx(model, example, path)` writes `model` to the file `path` (a string or a `Path`, in a folder that exists; an
# older file of this name is replaced). `model` is an `nn.Module` whose `forward` takes one tensor, under any name, and gives one.
# It is in either mode, and its submodules, however deep they lie, may be in another than it is. `example` is **one** input with
# its batch axis: float32, shape `(1, ...)`, with one to three more axes.
#
# - The input is called `images`, the output `logits`. <!-- rule: names -->
# - The batch axis is free: any size from 1 up. The other axes are fixed at the sizes of `example`. <!-- rule: batch -->
# - The file computes what the model computes in **eval mode**, its own and that of all its submodules, within a ten-thousandth
#   of the largest logit. <!-- rule: eval -->
# - Everything is in this **one** file, weights included (100,000 are tried): no other file is added to its folder. <!-- rule: one_file -->
# - The model is afterwards as it was: weights, statistics, gradients, each submodule in its own mode. <!-- rule: untouched, reported -->
#
# `load_onnx(path)`, with such a path, returns a function `run(images)`: float32 array `(n, ...)` in, array of logits out.
#
# - `run` computes what stood in the file when `load_onnx` was called, also where another file has taken its place
#   since. <!-- rule: run -->
# - The array may lie in memory in any way: Fortran order, transposed, with steps, backwards, repeated. It is not
#   changed. <!-- rule: layout -->
# - `load_onnx` makes one session, on the CPU, with **one** thread (`intra_op_num_threads`): in a server many requests share
#   the cores. <!-- rule: threads, reported -->
#
# The live service in part D (not graded) runs a copy of your whole cell, in a process that imports no PyTorch: with `torch`
# outside of `export_onnx`, in an annotation say, it does not start. The copy finds there what stands under "What the copies
# find" in part D; anything else you import or define in the cell. The same holds for exercises 4, 5, 6 and 7.
#
# The tests use small networks in which the mode shows:


# %%
class Jitter(nn.Sequential):
    """Code of one's own: after its layers comes a step that is no layer, and in training the result is three times as large."""

    def forward(self, x):
        x = super().forward(x)
        x = x + torch.relu(x)
        return 3 * x if self.training else x


class Renamed(Jitter):
    """The same, with another name for its input."""

    def forward(self, pixels):
        return super().forward(pixels)


def small_net(seed, shape, classes):
    """Two linear layers; between them, one inside the other, batch norm with statistics of its own and a module that asks for the mode.

    The whole network asks for its mode as well.
    """
    generator = torch.Generator().manual_seed(seed)
    middle = nn.Sequential(nn.BatchNorm1d(6), nn.Sequential(Jitter()))
    net = (Renamed, Jitter)[seed % 2](nn.Flatten(), nn.Linear(math.prod(shape), 6), middle, nn.Linear(6, classes))
    with torch.no_grad():
        for value in [*net.parameters(), middle[0].running_mean]:
            value.copy_(torch.randn(value.shape, generator=generator))
        middle[0].running_var.copy_(torch.rand(6, generator=generator) + 0.5)
    net[1].weight.requires_grad_(False)  # one parameter is frozen
    for value in net[3].parameters():
        value.grad = torch.ones_like(value)  # others have a gradient, as in the middle of a step
    return net


# The first export in a process loads the exporter, which takes seconds: here, not in your exercise.
_ = torch.onnx.export(nn.ReLU().eval(), (torch.zeros(2),), dynamo=True, verbose=False)


# %% exercise="onnx_export" minutes=25 difficulty=2 seconds=60
def export_onnx(model, example, path):
    """Write `model` in eval mode as ONNX with a free batch axis; `example` is float32 (1, ...)."""
    ### BEGIN SOLUTION
    quiet = copy.deepcopy(model).eval()  # the model itself keeps its modes
    two = torch.cat([example, example])  # an axis of size 1 would be taken for a constant
    free = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(
        quiet, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    )
    program.save(path)
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
@check.shared
def net_in_mode(seed, shape, classes, mode):
    net = small_net(seed, shape, classes).train()
    if mode == "eval":
        net.eval()
    if mode == "eval, its children in training, its batch norm in eval":
        net.training = False
    if mode.endswith("its batch norm in eval"):
        net[2][0].eval()
    return net


@check.scenario
def write_file(plan, path):
    """Exports the planned network; its state before and after."""
    net, odd = net_in_mode(**plan), plan["seed"] % 2
    folder = Path(path).parent
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("not of this export")
    if not odd:
        Path(path).write_text("an older file")
    before = check.module_state(net, values=True)
    export_onnx(net, torch.randn(1, *plan["shape"], generator=torch.Generator().manual_seed(plan["seed"])), Path(path) if odd else path)
    return {"before": before, "after": check.module_state(net, values=True)}


@check.shared
def laid_out(images, layout):
    """The same numbers in another memory; "repeated": the first image for all."""
    turned = tuple(range(1, images.ndim)) + (0,)
    backwards = (slice(None), *[slice(None, None, -1)] * (images.ndim - 1))
    return {
        "plain": lambda: np.array(images, order="C"),
        "every second of twice as many images": lambda: np.repeat(images, 2, axis=0)[::2],
        "Fortran order": lambda: np.asfortranarray(images),
        "batch axis last in memory": lambda: np.array(images.transpose(turned), order="C").transpose(images.ndim - 1, *range(images.ndim - 1)),
        "every third number of a longer row": lambda: np.repeat(images, 3, axis=-1)[..., ::3],
        "images backwards": lambda: np.array(images[::-1])[::-1],
        "rows backwards": lambda: np.array(images[backwards])[backwards],
        "inside a larger one": lambda: np.pad(images, 1)[(slice(1, -1),) * images.ndim],
        "repeated": lambda: np.broadcast_to(images[:1], images.shape),
    }[layout]()


@check.scenario
def run_student(path, images, layouts):
    """Logits that load_onnx's result gives for each layout, whether the images changed, and the settings of every session made."""
    settings, begin = [], onnxruntime.InferenceSession.__init__

    def noted(session, *args, **kwargs):
        begin(session, *args, **kwargs)
        settings.append((session.get_session_options().intra_op_num_threads, session.get_providers()))

    onnxruntime.InferenceSession.__init__ = noted  # a session that is thrown away counts as well
    try:
        run = load_onnx(Path(path) if len(images) == 1 else path)
        views = [laid_out(images, layout) for layout in layouts]
        logits = [run(view) for view in views]
    finally:
        onnxruntime.InferenceSession.__init__ = begin
    changed = [layout for view, layout in zip(views, layouts) if not np.array_equal(view, laid_out(images, layout))]
    return {"logits": logits, "changed": changed, "settings": settings}


@check.scenario
def write_by_hand(path, weights):
    """Another file, without an export: logits = images @ weights."""
    from onnx import TensorProto, helper, numpy_helper, save

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in zip(("images", "logits"), weights.shape)
    ]
    node = helper.make_node("MatMul", ["images", "weights"], ["logits"])
    graph = helper.make_graph([node], "by_hand", ends[:1], ends[1:], [numpy_helper.from_array(weights, "weights")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)


@check.scenario
def replace_and_run(old, new, images_for_old, images_for_new):
    """Loads a copy of `old`, puts `new` in its place, and asks what was loaded before and what is loaded now: logits, or an error."""
    import shutil

    def told(run, images):
        try:
            return run(images)
        except Exception as error:  # the other file wants images of another shape
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"

    place = shutil.copy(old, f"{old}.again")
    before = load_onnx(place)
    os.replace(shutil.copy(new, f"{old}.coming"), place)
    after = load_onnx(place)
    return {"loaded before": told(before, images_for_old), "loaded after": told(after, images_for_new)}


@check.scenario(clean=True)
def look_at_file(path, batches):
    """The file as ONNX Runtime sees it, in a process that has never seen the exporting code."""
    files = sorted(p.name for p in Path(path).parent.iterdir())
    if not Path(path).is_file():
        return {"files": files}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    seen = {"files": files, "inputs": [i.name for i in inputs], "outputs": [o.name for o in outputs], "shape": list(inputs[0].shape)}
    if seen["inputs"] == ["images"] and seen["outputs"] == ["logits"] and not isinstance(seen["shape"][0], int):
        seen["logits"] = [session.run(["logits"], {"images": images})[0] for images in batches]
    return seen


def check_file(plan, sizes, folder):
    generator = torch.Generator().manual_seed(plan["seed"] + 1)
    batches = [torch.randn((size, *plan["shape"]), generator=generator) for size in sizes]
    path, what = f"{folder}/net.onnx", f"a network in mode `{plan['mode']}`, example (1, {str(plan['shape'])[1:]}"
    state = write_file(plan, path)
    seen = look_at_file(path, [images.numpy() for images in batches])
    check.equal(seen["files"], ["net.onnx", "notes.txt"], f"the files in the folder after the export of {what}",
                "the exported program is saved to `path`, and weights may go to a second file: torch.onnx.export(f=...) does that "
                "unless `external_data` is False; `notes.txt` lay there before")  # fmt: skip
    check.equal(seen["inputs"], ["images"], "the names of the inputs", "input_names gives them")
    check.equal(seen["outputs"], ["logits"], "the names of the outputs", "output_names gives them")
    axis = seen["shape"][0]
    check.true(
        not isinstance(axis, int),
        f"the batch axis of the input is fixed at {axis}: the file will refuse any other batch size. dynamic_shapes must name it, "
        "and the example must have more than one row, for a size of 1 is taken for a constant.",
    )
    fixed = all(isinstance(size, int) for size in seen["shape"][1:])
    check.true(fixed, f"the other axes of the input are {seen['shape'][1:]}, expected {list(plan['shape'])}: only the batch axis is free.")
    check.equal(seen["shape"][1:], list(plan["shape"]), "the other axes of the input")
    check.unchanged(state["after"], state["before"], "the model after export_onnx", "put it back as it was, or export a copy")
    eager = net_in_mode(**plan).eval()
    with torch.no_grad():
        wanted = [eager(images).numpy() for images in batches]
    for images, logits, expected in zip(batches, seen["logits"], wanted):
        check.equal(logits, expected, f"the file's logits for a batch of {len(images)}, exported from {what}",
                    "the file computes what the model's own forward computes in eval mode of every submodule and of itself: each `if self.training` "
                    "is recorded as it runs during the export", rtol=1e-4)  # fmt: skip
    return path, batches, wanted


def check_loading(files):
    layouts = ["plain", "every second of twice as many images", "images backwards", "rows backwards", "every third number of a longer row",
               "Fortran order", "batch axis last in memory", "inside a larger one", "repeated"]  # fmt: skip
    for path, batches, wanted in files:
        for images, expected in zip(batches, wanted):
            told = run_student(path, images.numpy(), layouts)
            for layout, logits in zip(layouts, told["logits"]):
                rows = np.repeat(expected[:1], len(images), axis=0) if layout == "repeated" else expected
                check.equal(logits, rows, f"the logits that load_onnx's run gives for {list(images.shape)} numbers (in memory: {layout})", rtol=1e-4)
            check.equal(told["changed"], [], "the memory layouts for which run changes its images")
            check.equal(told["settings"], [(1, ["CPUExecutionProvider"])], "threads and providers of the sessions that load_onnx makes",
                        "SessionOptions().intra_op_num_threads = 1, handed to InferenceSession, once")  # fmt: skip


with check.exercise("onnx_export"):
    # 99,840 weights in its first layer: large ones stay in the file as well
    plans = [{"seed": 24, "shape": (1, 160, 104), "classes": 5, "mode": "eval, its children in training, its batch norm in eval"}]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    plans += [
        {"seed": another, "shape": (7,), "classes": 4, "mode": "training, its batch norm in eval"},
        {"seed": another + 1, "shape": (2, 3), "classes": 5, "mode": "training"},
        {"seed": another + 2, "shape": (5,), "classes": 4, "mode": "eval"},
    ]
    ### END HIDDEN TESTS
    place = check.folder()
    files = [check_file(plan, (1, 2, 70), f"{place}/{number}") for number, plan in enumerate(plans)]  # an export takes a second or so
    (old, for_old, wanted_old), new = files[0], f"{place}/by_hand.onnx"
    weights, for_new = (np.random.default_rng(plans[-1]["seed"]).normal(size=size).astype(np.float32) for size in ((3, 4), (2, 3)))
    write_by_hand(new, weights)
    told = replace_and_run(old, new, for_old[1].numpy(), for_new)
    for key, wanted, what, hint in (
        ("loaded after", for_new @ weights, "a file that took the place of one loaded before", "each load_onnx reads the file anew"),
        ("loaded before", wanted_old[1], "what was loaded before another file took its place", "run goes on with what stood in the file when load_onnx was called"),
    ):
        check.true(not isinstance(told[key], str), f"run of {what} raises {told[key]}: {hint}.")
        check.equal(told[key], wanted, f"the logits of {what}", rtol=1e-4)
    check_loading(files)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Three things of the recorded run must not be left to chance: the mode of the model, the number of rows in the example,
# and which axes may change later. And the model itself must not notice: would a copy do?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.onnx.export(model, (inputs,), dynamo=True, dynamic_shapes=..., input_names=..., output_names=...)` returns a
# program with `.save(path)`; `torch.export.Dim("batch")`; `torch.cat`; `onnxruntime.SessionOptions`,
# `copy.deepcopy`, `InferenceSession(path, options, providers=[...])`, `session.run(None, {name: array})` (a list of outputs).
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# quiet = ...                               # a copy of the model, in eval mode
# two = torch.cat([example, example])
# program = torch.onnx.export(quiet, (two,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
#                             input_names=[...], output_names=[...], verbose=False)
# ...                                       # save
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
# ### 2 · Export for AOTInductor (`aoti_export`, 3 points, 25 minutes, difficulty 2 of 3)
#
# `torch.compile` compiles while the service runs. AOTInductor compiles *ahead of time*: `torch.export` gives a program,
# `torch._inductor.aoti_compile_and_package` turns it into C++ and then into a shared library inside a `.pt2` package,
# which Python or C++ loads without tracing anything. The program carries its promises: which axes are free, and in
# what range. A promise that the model's code breaks is an error at export, not at three in the morning.
#
# The compiled code wants batches between 1 and the `largest` size promised; what comes from clients is sometimes more.
# Each of the two functions earns half.
#
# `export_program(model, example, largest)`, with `model` and `example` as in exercise 1, and a whole number `largest` of 2
# or more:
#
# - It returns the `ExportedProgram` (`torch.export`) of the model in **eval mode**, its own and that of all its submodules; what
#   the program gives differs by at most a ten-thousandth of the largest logit. <!-- rule: program -->
# - The program takes any number of rows from 1 to `largest`. <!-- rule: free -->
# - It refuses more than `largest` rows with an error. <!-- rule: limit -->
# - The model is afterwards as it was, as in exercise 1. <!-- rule: untouched, reported -->
#
# `run_in_chunks(run, images, largest)`: `run` maps a float32 tensor `(n, ...)` to a float32 tensor `(n, classes)`; `images` is
# a float32 tensor of 0 to 100 rows with one to three more axes; `largest` is from 1 to 80.
#
# - It returns the results of `run` for all images, in order: float32 `(len(images), classes)`. <!-- rule: rows -->
# - Each call of `run` gets 1 to `largest` of the images, as they are, and nothing beside them: a smaller chunk is not filled
#   up. <!-- rule: sizes -->
# - There are no more calls than needed. <!-- rule: calls -->
# - For 0 images it calls `run` once, with one blank (zero) image of the same shape, to learn `classes`, and returns an empty
#   tensor with so many columns. <!-- rule: empty -->


# %% exercise="aoti_export" minutes=25 difficulty=2 seconds=60
def export_program(model, example, largest):
    """The exported program of `model` in eval mode with 1 to `largest` rows; `example` is float32 (1, ...)."""
    ### BEGIN SOLUTION
    quiet = copy.deepcopy(model).eval()
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(quiet, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))
    ### END SOLUTION


def run_in_chunks(run, images, largest):
    """`run` on all rows of `images` (float32 (n, ...)), at most `largest` at a time; float32 (n, classes)."""
    ### BEGIN SOLUTION
    if len(images) == 0:
        return run(images.new_zeros(1, *images.shape[1:]))[:0]
    return torch.cat([run(part) for part in images.split(largest)])
    ### END SOLUTION


# %% tests="aoti_export" points=3
@check.shared
def net_for_program(seed, shape, classes, mode):
    net = small_net(seed, shape, classes).train()
    if mode == "eval":
        net.eval()
    if mode == "eval, its children in training":
        net.training = False
    if mode == "training, its batch norm in eval":
        net[2][0].eval()
    return net


@check.scenario
def exported_program(plan, largest, batches):
    """What the exported program of the planned network gives for each batch, or the error it raises."""
    net = net_for_program(**plan)
    before = check.module_state(net, values=True)
    program = export_program(net, torch.randn(1, *plan["shape"], generator=torch.Generator().manual_seed(plan["seed"])), largest)
    seen = {"before": before, "after": check.module_state(net, values=True), "type": type(program).__name__, "gives": []}
    if not isinstance(program, torch.export.ExportedProgram):
        return seen
    call = program.module()
    for images in batches:
        try:
            seen["gives"].append(call(images).detach())
        except Exception as error:
            seen["gives"].append(f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}")
    return seen


def check_program(plan, largest):
    generator = torch.Generator().manual_seed(plan["seed"] + 1)
    sizes = sorted({1, 2, min(3, largest), largest - 1, largest}) + [largest + 1, 10 * largest]
    batches = [torch.randn((size, *plan["shape"]), generator=generator) for size in sizes]
    seen = exported_program(plan, largest, batches)
    what = f"a network in mode `{plan['mode']}`, largest={largest}"
    check.equal(seen["type"], "ExportedProgram", f"the type of what export_program returns for {what}", "torch.export.export gives it")
    check.unchanged(seen["after"], seen["before"], "the model after export_program", "put it back as it was, or export a copy")
    with torch.no_grad():
        wanted = [net_for_program(**plan).eval()(images) for images in batches]
    for images, logits, expected in zip(batches[:-2], seen["gives"], wanted):
        if isinstance(logits, str):
            check.true(False, f"the program of {what} refuses {len(images)} rows ({logits}). Is the batch axis declared free from 1 to largest?")
        check.equal(logits, expected, f"the program's logits for {len(images)} rows, exported from {what}",
                    "was the model itself exported, in eval mode, itself and every submodule?", rtol=1e-4)  # fmt: skip
    for size, logits in zip(sizes[-2:], seen["gives"][-2:]):
        check.true(
            isinstance(logits, str),
            f"the program of {what} accepts {size} rows, and promised at most {largest}: `max=` of torch.export.Dim says so to the compiler.",
        )


@check.shared
def weighed(part, classes):
    """What the tests' `run` gives: for each image a sum in which every number has a weight of its own."""
    flat = part.flatten(1).double()
    return ((flat * torch.linspace(1, 2, flat.shape[1])).cumsum(1)[:, -1:] * torch.arange(1, classes + 1)).float()


@check.scenario
def chunked(images, largest, classes):
    """run_in_chunks with a `run` that notes what it got."""
    sizes, blank, kinds = [], [], []

    def run(part):
        sizes.append(len(part))
        blank.append(part.abs().sum().item() == 0)
        kinds.append(f"{str(part.dtype).removeprefix('torch.')} {list(part.shape[1:])}")
        return weighed(part, classes)

    result = run_in_chunks(run, images, largest)
    return {"result": result, "sizes": sizes, "kinds": sorted(set(kinds)), "blank": blank if len(images) == 0 else []}


def chunked_by_definition(images, largest, classes):
    blank = [] if len(images) else [True]
    return {"result": weighed(images, classes), "rows": len(images) or 1, "kinds": [f"float32 {list(images.shape[1:])}"], "blank": blank}


def seen_in(drawn):
    """The same cases; in a message `seen` stands before the place in what was seen."""
    for case in drawn:
        case.words[list(case.words)[-1]] += "; seen"
        yield case


def check_chunks(seeds):
    def seen(images, largest, classes):  # a smaller chunk may come first or last
        told = chunked(images, largest, classes)
        for size in told["sizes"]:
            check.between(size, 1, largest, f"the rows in one call of run, for {len(images)} images, at most {largest} at a time",
                          "split the images; an empty batch is not a batch")  # fmt: skip
        needed = max(1, -(-len(images) // largest))
        why = "each call costs: fill it" if len(told["sizes"]) > needed else "every image needs a call; without images one blank image tells the columns"
        check.equal(len(told["sizes"]), needed, f"the number of calls of run for {len(images)} images, at most {largest} at a time", why)
        return {"result": told["result"], "rows": sum(told["sizes"]), "kinds": told["kinds"], "blank": told["blank"]}

    what = "`run_in_chunks` (seen: its result; what `run` got: rows, dtype and shape of an image, whether blank)"
    hint = "all chunks, in order, joined; for no image one blank image of the same shape is run and none of it returned"
    for axes in (("rows", 3), ("rows", "a", 2), ("rows", 1, "a", 3)):
        domain = {"images": cases.tensor(*axes, dtypes=("float32",)), "largest": cases.size("largest"), "classes": cases.choice(3, 1)}
        sizes = {"rows": (0, 70), "largest": (1, 80)} | ({"a": (1, 3)} if "a" in axes else {})
        check.agrees(seen, chunked_by_definition, seen_in(cases.draw(seeds, domain, **sizes)), what, hint)
    full = {  # every call is full
        "_largest": cases.size("largest"), "_calls": cases.choice(2, 1, 5),
        "images": cases.derived(lambda _largest, _calls, **_: torch.randn(_calls * _largest, 3, generator=torch.Generator().manual_seed(_largest))),
        "largest": cases.derived(lambda _largest, **_: _largest), "classes": cases.choice(3, 1),
    }  # fmt: skip
    check.agrees(seen, chunked_by_definition, seen_in(cases.draw(seeds, full, count=4, largest=(1, 20))), what, hint)


def check_programs(seeds):
    modes = ["training, its batch norm in eval", "eval, its children in training", "training", "eval"]
    for number, mode in enumerate(modes[: 2 * len(seeds)]):
        plan = {"seed": seeds[number // 2] + number % 2, "shape": [(2, 3), (1, 3, 3)][number % 2], "classes": 2 + number % 2, "mode": mode}
        check_program(plan, [8, 2, 5, 70][number])


with check.exercise("aoti_export"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"export_program": lambda: check_programs(seeds), "run_in_chunks": lambda: check_chunks(seeds)})
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
# program = torch.export.export(quiet, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))
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
# ### 3 · Write the acceptance test (`accept_export`, 3 points, 30 minutes, difficulty 2 of 3)
#
# A file that passes on the one batch that you tried is not accepted yet. Exports go wrong quietly: the batch size of the
# example is baked in, batch norm looks at its neighbours, a normalisation is done twice, the input is changed on the
# way, the last layer is not the one you think.
#
# `run` is a function from a float32 array `(n, 1, 16, 16)` with 1 to 12 rows to an array. It may replace `model` (the digits
# network, in eval mode, without gradients) if it keeps this contract:
#
# - It takes **every** batch size from 1 to 12: one that fails at a single size, 7 say, is broken. <!-- rule: sizes -->
# - The result is a NumPy array, float32, of shape `(n, 10)`. <!-- rule: type -->
# - It holds the model's **logits**: each differs by at most 0.001, whatever its size. Rounding is allowed, another precision
#   is not. (Tried are differences up to 0.0009 and above 0.0015.) <!-- rule: logits -->
# - The answer for an image depends neither on which other images are in the batch, nor on earlier
#   calls. <!-- rule: alone -->
# - It does not depend on how the array lies in memory. (Tried are views with a step along the batch, as in `images[::2]`, or
#   backwards along it, and views with rows and columns swapped, as in `images.swapaxes(2, 3)`.) <!-- rule: layout -->
# - Blank images (all zeros) are images too. <!-- rule: blank -->
# - The input array is not changed. <!-- rule: unchanged -->
#
# Write `accept(run, model, images)`; `images` is a float32 array `(12, 1, 16, 16)`.
#
# - If the contract is broken it raises an error: an `assert`, say. What it returns is ignored. <!-- rule: raises -->
# - It calls `run` at most 100 times. <!-- rule: calls -->
# - If the contract is kept it raises nothing. Correct implementations round differently, by up to 0.0009, not the same in
#   each batch size, and may refuse what the contract leaves out: other shapes and dtypes, more than 12 images, none, a pixel
#   below -2 or above 3. <!-- rule: no_false_alarm -->
#
# Your test is run on correct implementations and on broken ones, some of them hidden. A correct one that you turn down costs
# all points. Otherwise the share of the broken ones that you catch is the share of the points that you get. Pixels of
# `images` are between -2 and 3.


# %% exercise="accept_export" minutes=30 difficulty=2 seconds=120
def accept(run, model, images):
    """Raise an error unless `run` (array to array) may replace `model` on images like `images` (12, 1, 16, 16)."""
    ### BEGIN SOLUTION
    views = [images[start:] for start in range(12)]  # 12 images to one
    views += [images[::-1], images[::2].swapaxes(2, 3), images * 0]  # backwards, transposed, blank
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
@check.scenario
def accepting(run, images):
    """The student's test on one implementation, with the lesson's model. On its way to `run` an array is laid out anew: its strides go along."""
    return accept(lambda array: run(array, list(getattr(array, "strides", ()))), model, images)


@check.scenario
def calls_of_accept(images):
    """How often the student's test calls an implementation that is right."""
    calls = []

    def run(array):
        calls.append(len(array))
        return plain_run(array)

    try:
        accept(run, model, images)
    except Exception:  # a false alarm: check.catches finds and tells it
        return 0
    return len(calls)


@check.shared
def plain_run(images):
    """What an exported model should do."""
    return model(torch.tensor(np.array(images, order="C"))).numpy()


def in_double(images):
    """Right, with other rounding: computed in float64."""
    exact = copy.deepcopy(model).double()
    return exact(torch.tensor(np.array(images, order="C")).double()).float().numpy()


def in_pairs(images):
    return np.concatenate([plain_run(images[i : i + 2]) for i in range(0, len(images), 2)])


def refuses_the_rest(images):
    """Right: all that the contract leaves out is an error."""
    if images.dtype != np.float32 or images.shape[1:] != (1, 16, 16) or not 1 <= len(images) <= 12:
        raise TypeError(f"expected float32 (1 to 12, 1, 16, 16), got {images.dtype} {images.shape}")
    if not ((images >= -2) & (images <= 3)).all():
        raise ValueError("a pixel below -2 or above 3")
    return plain_run(images)


def fixed_batch(images):
    if len(images) != 12:
        raise ValueError("Got: a batch of another size. Expected: 12")
    return plain_run(images)


def rounds_by_size(images):
    """Right: other rounding in even batch sizes than in odd ones."""
    return plain_run(images) + np.float32(0.0004 if len(images) % 2 else -0.0004)


def refuses_size(size):
    def refuses(images):
        if len(images) == size:
            raise ValueError(f"no kernel for a batch of {size}")
        return plain_run(images)

    return refuses


def slips_at_size(size):
    def slips(images):
        logits = plain_run(images)
        if len(images) == size:
            logits[-1] = logits[-1, ::-1]
        return logits

    return slips


def in_float64_at_size(size):
    return lambda images: plain_run(images).astype(np.float64 if len(images) == size else np.float32)


def changes_its_input_at_size(size):
    def changes(images):
        result = plain_run(images)
        if len(images) == size:
            images *= 0.5
        return result

    return changes


def faulty_at_one_size():
    """For each batch size an implementation that is right for all others."""
    faults = {
        "fails for": refuses_size,
        "gives the last image wrong logits for": slips_at_size,
        "gives float64 for": in_float64_at_size,
        "changes its input for": changes_its_input_at_size,
    }
    names = [list(faults)[(size + 2) % 4] for size in range(1, 13)]
    return {f"{name} {size} images, only": faults[name](size) for size, name in enumerate(names, 1)}


def one_logit_is_off(images):
    logits = plain_run(images)
    logits[-1, -1] += 0.003
    return logits


def in_the_order_of_memory(images):
    return plain_run(images.ravel(order="K").reshape(images.shape))


def at_most_eight(images):
    return plain_run(images[:8])


def with_softmax(images):
    return torch.tensor(plain_run(images)).softmax(1).numpy()


def with_batch_statistics(images):
    noisy = copy.deepcopy(model)
    for layer in noisy.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()
    return noisy(torch.tensor(np.array(images, order="C"))).numpy()


def changes_its_input(images):
    result = plain_run(images)
    images *= 2
    return result


def in_float64(images):
    return plain_run(images).astype(np.float64)


def in_half(images):
    half = copy.deepcopy(model).bfloat16()
    return half(torch.tensor(np.array(images, order="C")).bfloat16()).float().numpy()


def first_answer_for_all(images):
    return np.repeat(plain_run(images[:1]), len(images), 0)


def make_remembering():
    answers = {}

    def remembers_by_shape(images):
        return answers.setdefault(images.shape, plain_run(images))

    return remembers_by_shape


def ignores_strides(images):
    if min(images.strides) < 0:
        return plain_run(images)
    plain = tuple(4 * math.prod(images.shape[axis + 1 :]) for axis in range(4))
    return plain_run(np.lib.stride_tricks.as_strided(images, images.shape, plain))


def scales_by_the_brightest(images):
    top = images.max(axis=(1, 2, 3), keepdims=True)
    with np.errstate(all="ignore"):
        return plain_run((images / top * top).astype(np.float32))


def one_row_loses_its_axis(images):
    return plain_run(images).squeeze()


def refuses_backwards(images, strides):
    if strides and strides[0] < 0:
        raise ValueError("At least one stride in the given numpy array is negative")  # as torch.from_numpy says
    return plain_run(images)


def reads_forwards(images, strides):
    return plain_run(images[::-1] if strides and strides[0] < 0 else images)


def reads_without_steps(images, strides):
    wide = bool(strides) and abs(strides[0]) > 4 * 256
    return plain_run(np.repeat(images, 2, axis=0)[: len(images)] if wide else images)


def told_strides(implementations):
    """Functions of an array as functions of an array and its strides."""
    return {name: lambda images, strides, run=run: run(images) for name, run in implementations.items()}


with check.exercise("accept_export"):
    some = pictures[40:52].numpy()
    right = {"eager PyTorch": plain_run, "two at a time": in_pairs, "refuses what the contract leaves out": refuses_the_rest}
    wrong = {
        "works for the batch size of the example only": fixed_batch,
        "fails for 5 images, only": refuses_size(5),
        "answers at most 8 images": at_most_eight,
        "gives probabilities": with_softmax,
        "has batch norm in training mode": with_batch_statistics,
        "changes its input": changes_its_input,
        "gives float64": in_float64,
        "computes in bfloat16": in_half,
    }
    views = {"refuses a view of the batch backwards": refuses_backwards}
    ### BEGIN HIDDEN TESTS
    another = 2  # release: seed
    some = pictures[100:112].numpy()[np.random.default_rng(another).permutation(12)]  # other bugs would be other points
    right |= {"computed in float64": in_double, "off by 0.0009": lambda images: plain_run(images) + np.float32(0.0009)}
    right |= {"off by -0.0009": lambda images: plain_run(images) - np.float32(0.0009), "rounds differently for each size": rounds_by_size}
    wrong |= faulty_at_one_size()
    wrong |= {
        "gives the first image's answer to all": first_answer_for_all,
        "remembers answers by the shape of the batch": make_remembering(),
        "ignores how the array lies in memory": ignores_strides,
        "gives NaN for blank images": scales_by_the_brightest,
        "drops the batch axis of a single image": one_row_loses_its_axis,
        "has one logit of the last image wrong": one_logit_is_off,
        "reads transposed views in the order of memory": in_the_order_of_memory,
        "gives a torch tensor": lambda images: torch.tensor(plain_run(images)),
        "turns the images by a quarter": lambda images: plain_run(images.swapaxes(2, 3)),
        "is off by 0.0018": lambda images: plain_run(images) + np.float32(0.0018),
        "is off by -0.0018": lambda images: plain_run(images) - np.float32(0.0018),
        "is off by 0.1 %": lambda images: plain_run(images) * np.float32(1.001),
        "gives negated logits": lambda images: -plain_run(images),
        "sorts the rows": lambda images: np.sort(plain_run(images), 0),
        "gives zeros": lambda images: np.zeros((len(images), 10), np.float32),
    }
    views |= {"reads a view of the batch backwards forwards": reads_forwards, "reads a view of every second image without the step": reads_without_steps}
    ### END HIDDEN TESTS
    check.between(calls_of_accept(some.copy()), None, 100, "the number of calls of run that your test makes", "each costs time: a few dozen will do")
    check.catches(lambda run: accepting(run, some.copy()), told_strides(right), told_strides(wrong) | views, "your checks")
check.points(3)  # the number below: your points, of 3

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Make a list of arrays that a file should handle: which sizes, which contents, which ways to lie in memory? Then ask the
# same questions of each: type, shape, values, and is the input still what it was?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `array.copy()`, `images[:size]`, `images[::2]` and `images.transpose(0, 1, 3, 2)` (views with other strides), `np.zeros_like`,
# `np.array_equal`, `np.abs(...).max()`. A comparison with NaN is False: which way round must the assertion be?
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# for view in [*(images[:size] for size in ...), images[::-2], a batch of blanks, one blank, ...]:
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
# network and forgot the *buffers*. `load_state_dict` would complain ("Missing key(s)"); with `strict=False`, which somebody
# wrote to get rid of the complaint, every batch norm starts again with mean 0 and variance 1. Here one of the four does, as
# after a slip in one block: the network gives plausible logits, and is worse. It will be the canary of part D.

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
except Exception as error:
    print(f"forgetful.onnx, {right:.0%} right on the held-out pictures: rejected ({(str(error) or type(error).__name__).splitlines()[0][:60]})")

# %% [markdown]
# ## Part B · Does it survive its clients?
#
# A service is concurrent: while one request waits for the model, others arrive. The tests below must not depend on how
# fast this machine is, so they run on an event loop whose clock **jumps**: where everybody only waits for time to pass,
# it passes at once. `asyncio.sleep(60)` takes no time, and 60 seconds on the loop's clock.


# %%
class JumpingSelector(selectors.DefaultSelector):
    """Where an event loop would wait for time to pass, its clock `now` jumps instead.

    As a real clock it never stands still: each turn of the loop takes ten billionths of a second.
    """

    def __init__(self):
        super().__init__()
        self.now, self.turns, self.threads = 0.0, 0, threading.active_count()

    def select(self, timeout=None):
        patience = 0.002 if threading.active_count() > self.threads else 0.0  # a moment for threads, if there are any
        ready = super().select(1 if timeout is None else min(timeout, patience))
        self.turns += 1
        if not ready and timeout is None:
            raise RuntimeError("everything waits for something that never comes: is every waiting request answered?")
        if self.turns > 100_000:
            raise RuntimeError("the loop turns and turns: does something ask again and again in place of waiting?")
        self.now += 1e-8 + (0 if ready else timeout)
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
# ### 4 · A micro-batcher (`micro_batcher`, 4 points, 45 minutes, difficulty 3 of 3)
#
# Each call of a model costs something that does not depend on the number of rows: Python, starting kernels, reading
# all weights from memory once. A micro-batcher lets requests that arrive together share one call. It must keep every
# promise that a single call keeps: the right answer to the right caller, errors told, nobody waiting for ever.
#
# `MicroBatcher(predict, max_batch, max_wait, max_waiting)`: `predict` is an **async** function from a float32 array `(n, ...)`
# to an array of `n` rows (of any shape); `max_batch` and `max_waiting` are 1 or more, `max_wait` is a number of seconds above 0.
# `await batcher.submit(item)` takes one item: a float32 array with one to three axes, none of them for the batch; all items of a
# batcher have the same shape, and the same array may be submitted twice. An item **waits** from `submit` until a call of `predict` with it starts. A batcher may be made
# before the event loop runs.
#
# - `predict` gets the items as they are, in one array: float32, `(n, *shape of an item)`. <!-- rule: batch -->
# - `submit` returns the row of the result that belongs to its item. <!-- rule: rows -->
# - One call of `predict` runs at a time. While it runs, others gather. <!-- rule: single -->
# - A call starts as soon as no other runs and `max_batch` items wait … <!-- rule: full -->
# - … or no other runs and the oldest waiting item has waited `max_wait` seconds (counted from its `submit`, also where it
#   waited during another call). <!-- rule: due -->
# - A call takes the items that have waited longest, in order, at most `max_batch`. <!-- rule: oldest -->
# - Where `predict` raises (any `Exception`), every caller of that batch gets this error (the same object will do: class and text
#   count), and the batcher goes on with the next batch. <!-- rule: errors -->
# - A caller may give up at any time (its task is cancelled, by a timeout for instance). A call that runs goes on, also without
#   any caller, and the others of its batch get their answers, or its error. <!-- rule: others -->
# - The item of a caller who gives up before the call starts waits no more: it is in no batch, and counts neither for
#   `max_batch` nor for `max_waiting` nor as the oldest. <!-- rule: left -->
# - Where `max_waiting` items wait already, `submit` raises `Overloaded` at once: a queue without end is an answer too late
#   for everybody. (In the very moment in which a call is due either is right.) <!-- rule: overload -->
# - Two batchers share nothing. <!-- rule: own -->
#
# For example with `max_batch=2`, `max_wait=0.3` and calls of 0.2 s, items that come at 0, 0.01 and 0.02 s: the first call
# starts at 0.01 s with two items; the third is due at 0.32 s, and the call with it starts then.
#
# All of it runs on one event loop: no threads, no locks; add methods of your own as you like. Time is the loop's clock,
# `asyncio.get_running_loop().time()`, by which `asyncio.sleep` and timeouts go: in the tests it jumps, and the clocks of the
# module `time` do not. Half a millisecond late is late: wait for what happens, do not look now and then. The cell below has
# the error, and a model and clients to try your batcher with: `run_async(play(MicroBatcher, [(0, 1), (0.2, 2)]))` lets item 1
# arrive at 0 s and item 2 at 0.2 s.

# %%
from collections import deque


class Overloaded(Exception):
    """Too many requests wait already."""


class Watched:
    """A model that doubles, takes `seconds` a call, and fails on items of 13 to 16, each with an error of its own.

    It notes its calls as (start, first number of each item), in `kinds` what it got, and in `most` how many ran at the same time.
    """

    errors = {13: ValueError, 14: OSError, 15: KeyError, 16: TimeoutError}
    raised = set()  # the classes of all that models have raised

    def __init__(self, seconds):
        self.seconds, self.calls, self.kinds, self.running, self.most = seconds, [], set(), 0, 0

    async def __call__(self, batch):
        self.running += 1
        self.most = max(self.most, self.running)
        self.kinds.add(f"{type(batch).__name__} of {batch.dtype}, items {list(batch.shape[1:])}")
        first = batch.reshape(len(batch), -1)[:, 0].tolist()
        self.calls.append((round(asyncio.get_running_loop().time(), 5), first))
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        for value, make_error in self.errors.items():
            if value in first:
                error = make_error(str(value))
                self.raised.add(type(error))
                raise error
        return batch * 2


async def ask_batcher(batcher, item, patience=None):
    """Submit an item; gives its answer, or the model's error as text, or "gave up" after `patience` seconds; and when that was."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(batcher.submit(item))
    if patience is not None:
        loop.call_later(patience, task.cancel)
    try:
        answer = np.asarray(await task).tolist()
    except asyncio.CancelledError:
        answer = "gave up"
    except Overloaded:
        answer = "Overloaded"
    except Exception as error:
        if type(error) not in Watched.raised:  # it comes from the batcher
            raise
        answer = f"{type(error).__name__}: {error}"
    return answer, round(loop.time(), 5)


async def let_arrive(batcher, arrivals, shape=(2,)):
    """Items (time, value) or (time, value, seconds until the caller gives up) arrive in order of time: (answer, time) for each.

    An item is made of two numbers; those of the same value are the same object.
    """
    loop, clients, items = asyncio.get_running_loop(), [], {}
    begin = loop.time()
    for when, value, *patience in arrivals:
        if begin + when > loop.time():
            await asyncio.sleep(begin + when - loop.time())
        item = items.setdefault(value, np.array([value, value + 0.5], dtype=np.float32).reshape(shape))
        clients.append(asyncio.create_task(ask_batcher(batcher, item, *patience)))
    return list(await asyncio.gather(*clients))


async def play(make_batcher, arrivals, seconds=0.1, **settings):
    """A model, a batcher in front of it, and arrivals as in `let_arrive`: the model, and (answer, time) for each."""
    model = Watched(seconds)
    batcher = make_batcher(model, **{"max_batch": 3, "max_wait": 0.05, "max_waiting": 100} | settings)
    return model, await let_arrive(batcher, arrivals)


# %% exercise="micro_batcher" minutes=45 difficulty=3 seconds=20
class MicroBatcher:
    """Collects single items into batches for `predict`, an async function from an array (n, ...) to n rows."""

    def __init__(self, predict, max_batch, max_wait, max_waiting):
        ### BEGIN SOLUTION
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting = deque()  # (when it is due, item, future)
        self.changed = asyncio.Event()
        self.worker = None
        ### END SOLUTION

    async def submit(self, item):
        """The row of the result for `item`; raises Overloaded, or what `predict` raised."""
        ### BEGIN SOLUTION
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
            answer.set_result(row) if error is None else answer.set_exception(error)
        ### END SOLUTION


# %% tests="micro_batcher" points=4
@check.scenario
def played(arrivals, seconds, settings, shape, own):
    """The calls and answers of one batcher, which is made before an event loop runs. `own`: the class of what items of 17 raise."""
    own_error = type(own, (Exception,), {"__init__": lambda self, text, code: None, "__str__": lambda self: self.args[0]})

    class Flat(Watched):
        """Its rows have two numbers, whatever the shape of an item."""

        async def __call__(self, batch):
            return (await super().__call__(batch)).reshape(len(batch), 2)

    model = Flat(seconds)
    model.errors = {**model.errors, 17: lambda text: own_error(text, 2)}
    batcher = MicroBatcher(model, **settings)
    answers = run_async(let_arrive(batcher, arrivals, tuple(shape)))
    return {"calls": model.calls, "kinds": sorted(model.kinds), "answers": answers, "most": model.most}


@check.scenario
def played_together(stories):
    """Batchers at the same time, each with items, settings and a model of its own."""

    async def both():
        return await asyncio.gather(*(play(MicroBatcher, arrivals, 0.1, **settings) for arrivals, settings in stories))

    return [{"calls": model.calls, "answers": answers} for model, answers in run_async(both())]


def batcher_by_definition(arrivals, seconds, settings, shape=(2,), own="", slip=""):
    """The same by the rules, event by event. `slip`: a usual mistake."""
    most, wait, room = settings["max_batch"], settings["max_wait"], settings["max_waiting"]
    errors, once_full = {13: "ValueError: 13", 14: "OSError: 14", 15: "KeyError: '15'", 16: "TimeoutError: 16", 17: f"{own}: 17"}, False
    waiting, calls, answers, free_at, running = [], [], [None] * len(arrivals), -1.0, []
    leaving = {i: a[0] + a[2] for i, a in enumerate(arrivals) if len(a) > 2 and a[2] is not None}
    todo = list(range(len(arrivals)))
    while todo or waiting or running:
        events = [(arrivals[i][0], 2, i) for i in todo[:1]]
        events += [(leaving[i], 1, i) for i in waiting + running if i in leaving and answers[i] is None]
        if running:
            events.append((free_at, 0, -1))
        elif waiting:
            newest = slip == "newest"
            due = max(arrivals[waiting[-1 if newest else 0]][0] + wait, free_at, arrivals[waiting[0]][0])
            full = (len(waiting) >= most or once_full) and slip != "fixed"
            events.append((max(free_at, now, max(arrivals[i][0] for i in waiting[:most])) if full else due, 3, -1))
        now, kind, i = min(events)
        if kind == 0:
            bad = next((text for v, text in errors.items() if v in [arrivals[j][1] for j in running]), None)
            for j in running:
                value = arrivals[j][1]
                answers[j] = answers[j] or (bad or [2.0 * value, 2.0 * value + 1], now)
            running = []
        elif kind == 1:
            answers[i] = ("gave up", now)
            if i in waiting:
                waiting.remove(i)
        elif kind == 2:
            todo.pop(0)
            if len(waiting) + len(running) * (slip == "running counts") >= room:
                answers[i] = ("Overloaded", now)
            else:
                waiting.append(i)
                once_full = slip == "once full" and (once_full or len(waiting) >= most)
        else:
            batch, waiting = waiting[:most], waiting[most:]
            calls.append((now, [float(arrivals[j][1]) for j in batch]))
            running, free_at = batch, now + seconds
            once_full = slip == "once full" and len(waiting) >= most
    return {"calls": calls, "answers": answers}


def story(_seed, n, gap, trouble):
    """Arrivals, on a grid of 10 ms; callers leave 5 ms beside it, calls end and items fall due beside both."""
    import random

    source, now, arrivals = random.Random(_seed), 0, []
    for _ in range(n):
        value = arrivals[-1][1] if arrivals and source.random() < 0.25 else source.randint(20, 99)  # the same object again
        value = source.randint(13, 17) if trouble in ("errors", "all") and source.random() < 0.3 else value
        leaves = source.choice([0.005, 0.025, 0.065, 0.135]) if trouble in ("leavers", "all") and source.random() < 0.5 else None
        arrivals.append((now / 100, value, leaves))
        now += source.randint(0 if trouble == "at once" else 1, gap)
    return arrivals


def seen_in(drawn):
    """The same cases; in a message `seen` stands before the place in what was seen."""
    for case in drawn:
        case.words[list(case.words)[-1]] += "; seen"
        yield case


def check_stories(seeds, what, trouble, hint, rooms=(100,), most=14):
    def seen(arrivals, seconds, settings, shape, own):
        told = played(arrivals, seconds, settings, shape, own)
        wanted = f"ndarray of float32, items {list(shape)}"
        for kind in told.pop("kinds"):
            check.true(kind == wanted, f"with items of shape {list(shape)} predict got: {kind}; expected: {wanted}. The items as they are, in one array.")
        check.true(told.pop("most") <= 1, f"with the items {arrivals} a second call of predict started while one was running: one at a time.")
        return told

    domain = {
        "_seed": cases.integer(0, 10**6), "_n": cases.size("n"), "_gap": cases.choice(2, 6, 20),
        "_max_batch": cases.choice(3, 1, 2, 5), "_max_wait": cases.choice(0.0534, 0.0134, 0.3034), "_room": cases.choice(*rooms),
        "arrivals": cases.derived(lambda _seed, _n, _gap, **_: story(_seed, _n, _gap, trouble)),
        "seconds": cases.choice(0.0401, 0.1101, 0.0101),
        "settings": cases.derived(lambda _max_batch, _max_wait, _room, **_: {"max_batch": _max_batch, "max_wait": _max_wait, "max_waiting": _room}),
        "shape": cases.choice((2,), (1, 2), (2, 1, 1)),
        "own": cases.derived(lambda _seed, **_: f"Failure{_seed % 1000}"),
    }  # fmt: skip
    slips = {
        "each arrival starts the waiting time anew: the oldest item decides, not the newest": "newest",
        "a full batch does not wait for max_wait": "fixed",
        "max_batch items must wait at this moment: who has left counts no more": "once full",
        "an item waits until a call with it starts: those in a running call take no room": "running counts",
    }
    said = {text: lambda *case, slip=slip: batcher_by_definition(*case, slip=slip) for text, slip in slips.items()}
    drawn = seen_in(cases.draw(seeds, domain, n=(1, most)))
    check.agrees(seen, batcher_by_definition, drawn, f"a batcher with {what}", hint, causes=said, rtol=0, atol=0.0005)


def check_left(seeds, room):
    """A batch fills up during a call and one of its callers leaves before the call ends."""
    for seed in seeds:
        first = 20 + seed % 70
        arrivals = [(0.0, first, None), (0.01, first + 1, None), (0.1, first + 2, 0.405), (0.2, first + 3, None), (1.5, first + 4, None)]
        settings = {"max_batch": 2, "max_wait": 0.9034, "max_waiting": room}
        told = played(arrivals, 0.8013, settings, (2,), "Failure")
        what = f"a batcher with {settings}, calls of 0.8013 s and items {arrivals} (time, value, seconds until the caller gives up); seen"
        check.equal({key: told[key] for key in ("calls", "answers")}, batcher_by_definition(arrivals, 0.8013, settings), what,
                    "max_batch items must wait at this moment: who has left counts no more", rtol=0, atol=0.0005)  # fmt: skip


def check_leavers(seeds):
    hint = "who gave up before the call starts is in no batch, and is neither counted nor the oldest; the others are not hurt"
    check_left(seeds, room=9)
    check_stories(seeds, "callers who give up", "leavers", hint)


def check_overload(seeds):
    check_left(seeds, room=3)
    hint = "all rules together; new here: who finds max_waiting items waiting is refused at once"
    check_stories(seeds, "little room, errors and callers who give up", "all", hint, rooms=(3, 1, 2, 5))


def check_own(seeds):
    for seed in seeds:
        first, second = story(seed, 7, 4, "at once"), story(seed + 1000, 6, 5, "")
        stories = [
            [first, {"max_batch": 3, "max_wait": 0.053, "max_waiting": 2}],
            [second, {"max_batch": 2, "max_wait": 0.093, "max_waiting": 9}],
        ]
        wanted = [batcher_by_definition(some, 0.1, settings) for some, settings in stories]
        check.equal(played_together(stories), wanted, "what two batchers do at the same time, each with its own items and settings",
                    "each has settings, a queue, a worker and a model of its own", rtol=0, atol=0.0005)  # fmt: skip


with check.exercise("micro_batcher"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    starts = (
        "calls as (start, first number of each item), answers as (answer, time): the oldest items, at most max_batch, as soon as "
        "the batch is full or its oldest item is due"
    )
    check.parts(
        {
            "batches and times": lambda: check_stories(seeds, "items that come now and then", "at once", starts, most=70),
            "errors": lambda: check_stories(
                seeds, "items that make predict raise", "errors", "every caller of the batch gets the error, and the next batch is served"
            ),
            "callers who give up": lambda: check_leavers(seeds),
            "overload": lambda: check_overload(seeds),
            "two batchers": lambda: check_own(seeds),
        }
    )  # fmt: skip
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
#     entry = loop.time() + self.max_wait, item, loop.create_future()
#     self.waiting.append(entry)
#     self.changed.set()
#     if self.worker is None:
#         self.worker = asyncio.create_task(self.work())
#     try:
#         return await entry[2]
#     finally:
#         ...                                    # still waiting? its caller gave up: take it out, and tell the worker
#
# async def work(self):
#     while self.waiting:
#         if not full and not due:
#             self.changed.clear()
#             with contextlib.suppress(TimeoutError):
#                 async with asyncio.timeout_at(when the oldest is due):
#                     await self.changed.wait()
#             continue                           # somebody came or left: look again
#         ...                                    # take at most max_batch; await predict; set_result or set_exception where not done
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
        MicroBatcher, [(when, 100 + i) for i, when in enumerate(arrivals)], seconds=0.02, max_batch=8, max_wait=0.01
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
# ### 5 · The service (`service`, 5 points, 45 minutes, difficulty 3 of 3)
#
# A client can send anything, as slowly as it likes, and leave at any moment. A service answers each of them in bounded
# time, says whose fault it was (4xx: yours, 5xx: mine), and goes on. FastAPI validates JSON for you once it has read
# *all* of the body into memory; how much and how long it reads is up to you, so here you read the body yourself.
#
# Write `make_app(batcher, max_bytes, body_seconds, answer_seconds)`. It returns a FastAPI application with one endpoint
# of yours, `POST /predict`. A valid body is UTF-8 JSON: `{"image": 16 rows of 16 numbers}`, whole numbers or not, whatever the header
# Content-Type says. (A byte order mark before it, or `image` twice: any of 200 and 422 is right.)
#
# - `batcher.submit` gets the image as a float32 array `(1, 16, 16)`, once; the answer is 200 with
#   `{"label": 7, "probabilities": [ten numbers]}`: the softmax of the ten logits that `submit` returns, and the place of the
#   largest. <!-- rule: answer -->
# - Requests at the same time, and two applications with limits of their own, do not mix; after each kind of trouble below the
#   next request is served as the first, at once. <!-- rule: own -->
#
# - 422: the body is not UTF-8 JSON (in UTF-16, say), however deep it nests, or not an object. <!-- rule: json -->
# - 422: there is no `image`, another field beside it, or it is not 16 rows of 16. <!-- rule: fields -->
# - 422: an entry is no JSON number, but text (`"0.5"` too), `true`, `null` or a list. <!-- rule: numbers -->
# - 422: an entry is NaN or infinity (Python's JSON lets them through) or beyond float32: 3.4028234e38 is still right, 3.403e38 is
#   too large (so are `1e39`, `-1e39`, a number of 400 or 5000 digits). <!-- rule: finite -->
# - What is answered with 422 never reaches the batcher. <!-- rule: validated_first -->
# - A client that leaves before its body is complete sees no answer, so any will do (an exception too); but nothing of it
#   reaches the batcher, not even what already looks like a whole body. <!-- rule: gone -->
# - 413: the body has more than `max_bytes` bytes. After the piece that makes it too much nothing is read. <!-- rule: size -->
# - 408: the body is not complete `body_seconds` after the request began: one limit for all its pieces
#   together. <!-- rule: pace -->
# - 503, with a header `Retry-After` (a whole number of seconds): the batcher raises `Overloaded`. <!-- rule: overloaded -->
# - 504: the batcher gives no answer within `answer_seconds` from `submit`; the time for the body does not count. A `submit` that
#   is cancelled ends at once, perhaps with an error of its own (never `Overloaded`, never an answer): still 504. <!-- rule: late -->
# - 500: the batcher raises any other `Exception` within that time, a `TimeoutError` or an `HTTPException` of its own among
#   them. It goes no further, and nothing of its text stands in the answer. <!-- rule: private -->
# - `submit` is called once, whatever comes of it. <!-- rule: once -->
#
# Write the endpoint as `async def`: FastAPI runs a plain `def` in a thread, and the batcher belongs to the event loop. Part D
# runs a copy of your whole cell, as exercise 1 says; it finds there your micro-batcher, `Overloaded`, and what the next cell
# imports and defines.

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


async def ask(app, method, path, body=b"", pieces=None, content_type="application/json"):
    """One request to an ASGI application. `pieces` are (seconds to wait before it, bytes); default: all at once.

    After the piece None the client is gone.
    """
    clock = asyncio.get_running_loop().time
    begin, sent, taken = clock(), [], [0]
    waiting = deque([(0, body)] if pieces is None else pieces)

    async def receive():
        if not waiting:
            await asyncio.Event().wait()  # the client waits for its answer
        seconds, piece = waiting[0]
        await asyncio.sleep(seconds)
        if piece is None:
            return {"type": "http.disconnect"}
        waiting.popleft()
        taken[0] += len(piece)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 5),
        "headers": [(b"host", b"test"), *[(b"content-type", content_type.encode())] * bool(content_type)],
    }  # fmt: skip
    try:
        await app(scope, receive, send)
    except Exception as error:  # the server would log it
        return Answer(500, {}, f"not handled: {type(error).__name__}".encode(), clock() - begin, taken[0])
    if not sent:
        return Answer(0, {}, b"no answer", clock() - begin, taken[0])
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


# %% exercise="service" minutes=45 difficulty=3 seconds=20
def make_app(batcher, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0):
    """A FastAPI application with POST /predict in front of `batcher.submit`."""
    ### BEGIN SOLUTION
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
        except Exception:
            if limit.expired():  # otherwise a TimeoutError is the batcher's own
                raise HTTPException(504, f"no answer within {answer_seconds} s") from None
            raise HTTPException(500, "the model failed") from None
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app
    ### END SOLUTION


# %% tests="service" points=5
@check.shared
def error_called(name):
    """An error of the batcher's; a name that nothing has becomes a class of its own."""
    import builtins

    from fastapi.exceptions import RequestValidationError
    from starlette.requests import ClientDisconnect

    text = "secret path /srv/model"
    made = {
        "": None, "Overloaded": Overloaded("full"), "HTTPException": HTTPException(418, text), "ClientDisconnect": ClientDisconnect(text),
        "ValidationError": ValidationError.from_exception_data(text, []), "RequestValidationError": RequestValidationError([{"msg": text}]),
        "JSONDecodeError": json.JSONDecodeError(text, "", 0), "UnicodeDecodeError": UnicodeDecodeError("utf-8", b"x", 0, 1, text),
    }  # fmt: skip
    return made[name] if name in made else (getattr(builtins, name, None) or type(name, (Exception,), {}))(text)


@check.scenario
def posted(requests, max_bytes=20_000, body_seconds=2.0, answer_seconds=1.0, seconds=0.0, error="", apps=1, content_type="application/json", first=None, cancelled=""):
    """What each client of POST /predict sees, all at the same time, and what the batchers got.

    A request is a body, or a list of pieces (seconds to wait, bytes); request i goes to application i % apps. `first`: limits of
    the first application that are others. `cancelled`: the error of a submit that is cancelled.
    """
    limits = {"max_bytes": max_bytes, "body_seconds": body_seconds, "answer_seconds": answer_seconds}

    class Batcher(FakeBatcher):
        async def submit(self, item):
            try:
                return await super().submit(item)
            except asyncio.CancelledError:
                if cancelled:
                    raise error_called(cancelled) from None
                raise

    batchers = [Batcher(seconds, error_called(error)) for _ in range(apps)]
    served = [make_app(batcher, **(limits | (first or {}) if i == 0 else limits)) for i, batcher in enumerate(batchers)]

    async def all_of_them():
        asked = [{"pieces": request} if isinstance(request, list) else {"body": request} for request in requests]
        clients = [ask(served[i % apps], "POST", "/predict", **each, content_type=content_type) for i, each in enumerate(asked)]
        return await asyncio.gather(*clients)

    return {"answers": [vars(answer) for answer in run_async(all_of_them())], "items": [batcher.items for batcher in batchers]}


@check.scenario
def posted_in_turn(requests, max_bytes, body_seconds, answer_seconds):
    """The statuses of requests to one application, one after the other: (pieces, seconds that the batcher takes then, its error)."""

    async def all_of_them():
        batcher, statuses = FakeBatcher(), []
        app = make_app(batcher, max_bytes=max_bytes, body_seconds=body_seconds, answer_seconds=answer_seconds)
        for pieces, seconds, error in requests:
            batcher.seconds, batcher.error = seconds, error_called(error)
            statuses.append((await ask(app, "POST", "/predict", pieces=pieces)).status)
        return statuses

    return run_async(all_of_them())


@check.scenario
def other_method():
    return run_async(ask(make_app(FakeBatcher(), 20_000, 2.0, 1.0), "GET", "/predict")).status


@check.shared
def body_for(seed):
    """The JSON of a valid request as bytes; whole numbers among the others."""
    image = np.random.default_rng(seed).uniform(-0.5, 1.5, (16, 16)).round(3).tolist()
    image[0][:3] = [0, 1, -1]
    return json.dumps({"image": image}).encode()


def one(request, what, status, why="", **settings):
    """One request's answer, whose status is as expected."""
    told = posted([request], **settings)
    answer = told["answers"][0]
    check.true(
        answer["status"] == status,
        f"{what} is answered with {answer['status']} ({answer['body'][:80].decode(errors='replace')}), expected {status}. {why}",
    )
    return answer, told["items"][0]


def expect_answer(answer, item, what):
    logits = FakeBatcher.logits(item)
    result = json.loads(answer["body"])
    check.kind(result, dict, f"the answer to {what}")
    check.equal(sorted(result), ["label", "probabilities"], f"the fields of the answer to {what}")
    check.equal(result["label"], int(logits.argmax()), f"the label in the answer to {what}", "the place of the largest logit")
    check.equal(result["probabilities"], softmax(logits).tolist(), f"the probabilities in the answer to {what}", "the softmax of the logits", rtol=1e-4)


def check_valid(seeds):
    for seed in seeds:
        body = body_for(seed)
        item = np.array(json.loads(body)["image"], dtype=np.float32)[None]
        halves = [(0.1, body[:700]), (0.1, b""), (0.1, body[700:])]
        largest = [[3.4028234e38, -3.4028234e38, 1e-45, 0, 10**20, -3 * 10**38, 2**64, 7] * 2] * 16
        for request, what, settings in ((body, "a valid request", {}), (halves, "a valid request whose body comes in pieces", {}),
                                        (body, "a body of exactly max_bytes", {"max_bytes": len(body)}),
                                        (body, "a valid request with Content-Type text/plain", {"content_type": "text/plain"}),
                                        (body, "a valid request without Content-Type", {"content_type": ""}),
                                        (body, "a valid request in UTF-8 whose Content-Type says charset=utf-16", {"content_type": "application/json; charset=utf-16"}),
                                        (b" \n" + body + b"\t", "a valid request with blanks around it", {})):  # fmt: skip
            answer, items = one(request, what, 200, "Compare the field names and the shape with the task.", **settings)
            check.equal(len(items), 1, f"the number of items given to batcher.submit for {what}")
            check.equal(items[0], item, f"the item given to batcher.submit for {what}", "float32, with the channel's axis: (1, 16, 16)")
            expect_answer(answer, item, what)
        told = posted([json.dumps({"image": largest}).encode()])
        check.equal(told["items"][0], [np.array([largest], dtype=np.float32)], "the items of a request with the largest numbers that float32 holds, whole numbers of 20 and 39 digits among them")
        bright = (200 * np.random.default_rng(seed).uniform(0.2, 1, (16, 16))).round(2)
        what = "a request with numbers up to 200, whose logits are several hundred"
        answer, _ = one(json.dumps({"image": bright.tolist()}).encode(), what, 200)
        expect_answer(answer, bright.astype(np.float32)[None], what)
        bodies = [body_for(100 * seed + i) for i in range(6)]
        told = posted([[(0.1 + 0.01 * i, body[:500]), (0.3 - 0.01 * i, body[500:])] for i, body in enumerate(bodies)], seconds=0.4, apps=2)
        for i, (body, answer) in enumerate(zip(bodies, told["answers"])):
            check.true(answer["status"] == 200, f"one of six requests at the same time to two applications is answered with {answer['status']}, expected 200.")
            expect_answer(answer, np.array(json.loads(body)["image"], dtype=np.float32)[None], f"request {i} of six at the same time, to two applications")
        check.equal([len(items) for items in told["items"]], [3, 3], "the items that each of the two applications' batchers got", "each has its own batcher")


def check_invalid(seeds):
    for seed in seeds:
        rows = json.loads(body_for(seed))["image"]
        place, early = seed % 16, seed % 15

        def with_entry(entry):
            return json.dumps({"image": rows[:place] + [rows[0][:15] + ["ENTRY"]] + rows[place + 1 :]}).replace('"ENTRY"', entry).encode()

        bad = {
            "a body that is no JSON": b"{image: ",
            "an empty body": b"",
            "a valid request with a letter behind it": body_for(seed) + b" x",
            "two valid requests one behind the other": body_for(seed) * 2,
            "JSON that is no object": b"[1, 2]",
            "JSON that is no object (null)": b"null",
            "bytes that are no UTF-8": b'{"image": "\xff\xfe"}',
            "a valid request with a byte in it that is no UTF-8": body_for(seed).replace(b"[", b"\xff[", 1),
            "the JSON of a valid request in UTF-16": body_for(seed).decode().encode("utf-16"),
            "the JSON of a valid request in UTF-32, without a mark": body_for(seed).decode().encode("utf-32-le"),
            "9,000 brackets one inside the other": b"[" * 9000,
            "an image of 4,000 closed brackets one inside the other": b'{"image": ' + b"[" * 4000 + b"]" * 4000 + b"}",
            "a body without image": b"{}",
            "15 rows": json.dumps({"image": rows[:15]}).encode(),
            "17 rows": json.dumps({"image": [*rows, rows[0]]}).encode(),
            **{f"a row of {n}": json.dumps({"image": [*rows[:15], [0.5] * n]}).encode() for n in (17, 15, 1, 0)},
            "a row of 17 and one of 15": json.dumps({"image": [*rows[:early], [0.5] * 17, [0.5] * 15, *rows[: 14 - early]]}).encode(),
            "256 numbers, in no rows": json.dumps({"image": sum(rows, [])}).encode(),
            "null in place of the image": b'{"image": null}',
            "an object of 16 rows in place of the image": json.dumps({"image": {str(i): row for i, row in enumerate(rows)}}).encode(),
            "a text of 16 digits in place of a row": json.dumps({"image": [*rows[:15], "0123456789012345"]}).encode(),
            "an object of 16 numbers in place of a row": json.dumps({"image": [{str(i): 0.5 for i in range(16)}, *rows[1:]]}).encode(),
            "8 rows of 32": json.dumps({"image": [[0.5] * 32] * 8}).encode(),
            "an unknown field": json.dumps({"image": rows, "model": "latest"}).encode(),
            "a word in place of a number": with_entry('"ink"'),
            'the text "0.5" in place of a number': with_entry('"0.5"'),
            "true in place of a number": with_entry("true"),
            "null in place of a number": with_entry("null"),
            "a list in place of a number": with_entry("[0.5]"),
            "NaN in the image": with_entry("NaN"),
            "infinity in the image": with_entry("-Infinity"),
            "1e400 in the image": with_entry("1e400"),
            "1e39 in the image": with_entry("1e39"),
            "-1e39 in the image": with_entry("-1e39"),
            "3.403e38 in the image": with_entry("3.403e38"),
            "-3.403e38 in the image": with_entry("-3.403e38"),
            "a whole number of 400 digits in the image": with_entry("9" * 400),
            "a whole number of 5000 digits in the image": with_entry("9" * 5000),
        }
        why = {"NaN": "Numbers must be finite: the model would answer NaN for it.", "infinity": "Numbers must be finite.", **dict.fromkeys(("1e", "-1e", "3.4", "-3.4", "a whole number of"), "Numbers must be finite, in float32 too."),
               "the JSON of": "JSON over the network is UTF-8 (json.loads and others also read UTF-16 and UTF-32 from bytes).",
               "an unknown": "A misspelt option must not be ignored in silence: extra fields are forbidden.",
               **dict.fromkeys(("the text", "a text"), "Text is no number: validation must not convert it (pydantic: strict)."), "true": "A truth value is no number: validation must not convert it."}  # fmt: skip
        for what, body in bad.items():
            cause = next((text for start, text in why.items() if what.startswith(start)), "Bad input is the client's fault: validate it, and turn the validation's error into this status.")
            _, items = one(body, what, 422, cause)
            check.true(not items, f"{what} reached the batcher: validate first.")
    what = "the JSON of a valid request in UTF-16, with Content-Type application/json; charset=utf-16,"
    one(body_for(seeds[-1]).decode().encode("utf-16"), what, 422, why["the JSON of"], content_type="application/json; charset=utf-16")
    check.equal(other_method(), 405, "the status of GET /predict", "only POST is served there")


def check_bodies(seeds):
    body = body_for(seeds[-1])
    for limit in (4500, len(body) - 1):
        many = [(0, b"[" * 1000)] * 500
        answer, _ = one(many, f"a body of 500,000 bytes, with max_bytes={limit}", 413, "Count what has come, piece by piece.", max_bytes=limit)
        check.between(
            answer["read"], None, limit // 1000 * 1000 + 1000, f"the bytes read of a body of 500,000, in pieces of 1000, with max_bytes={limit}",
            "stop at the piece that makes it too much: a body that is read to its end fills the memory first",
        )  # fmt: skip
    one(body, f"a body of {len(body)} bytes, with max_bytes={len(body) - 1}", 413, "One byte too many is too many.", max_bytes=len(body) - 1)
    wide = json.dumps({"image": "\u58a8" * 1500}, ensure_ascii=False).encode()  # three bytes each
    for limit, status in ((len(wide) - 1, 413), (len(wide), 422)):
        one(wide, f"a text of 1,500 Chinese characters as image, {len(wide)} bytes, with max_bytes={limit}", status, "Bytes are counted, not characters.", max_bytes=limit)
    drip = [(0.5, b" ")] * 100 + [(0, body)]
    answer, _ = one(drip, "a client that sends a byte every half second, with body_seconds=3.2", 408, "A time limit for the whole body.", body_seconds=3.2)
    check.between(answer["seconds"], 3.1, 3.7, "the seconds after which the slow client is answered, with body_seconds=3.2", "one limit for all pieces together")
    silent = [(1000.0, b"")]
    answer, _ = one(silent, "a client that sends nothing", 408, "A time limit around reading.", body_seconds=0.5)
    check.between(answer["seconds"], 0.4, 0.7, "the seconds after which a silent client is answered, with body_seconds=0.5")
    for sent, what in ((body[:700], "half of its body"), (body, "what looks like a whole body, with more to come,")):
        told = posted([[(0.1, sent), (0.1, None)]])
        check.true(not told["items"][0], f"a client that sends {what} and leaves reached the batcher: an incomplete body is no request.")
    tight = ({"max_bytes": len(body) - 1}, [(0, body)], 0.0, 413), ({"body_seconds": 0.5}, [(1.0, body)], 0.0, 408), ({"answer_seconds": 0.5}, [(0, body)], 1.0, 504)
    for first, request, seconds, status in tight:
        told = posted([request, request], seconds=seconds, answer_seconds=2.0, apps=2, first=first)
        check.equal([answer["status"] for answer in told["answers"]], [status, 200], f"the statuses of the same request to two applications, of which the first has {first}",
                    "each has limits of its own")  # fmt: skip
    pieces = [(0.9, body[:100]), (0.9, body[100:])]
    one(pieces, "a body that is there after 1.8 s, with body_seconds=2", 200, "It was in time.", body_seconds=2.0)


def check_model_trouble(seeds):
    body = body_for(seeds[-1])
    answer, items = one(body, "a request where the batcher is overloaded", 503, "Overloaded is no error of the client's and no surprise: 503.", error="Overloaded")
    check.true("retry-after" in answer["headers"], "the 503 has no header Retry-After: clients would try again at once.")
    seconds = answer["headers"]["retry-after"]
    check.true(seconds.isdigit(), f"the header Retry-After is {seconds!r}, expected a whole number of seconds.")
    check.equal(len(items), 1, "the calls of batcher.submit for a request where it raises Overloaded", "once, whatever comes of it")
    answer, items = one(body, "a request whose answer would take 60 s, with answer_seconds=1.5", 504, "A time limit around submit.", seconds=60.0, answer_seconds=1.5)
    check.between(answer["seconds"], 1.4, 1.7, "the seconds until that 504, with answer_seconds=1.5")
    check.equal(len(items), 1, "the calls of batcher.submit for a request whose answer comes too late", "once, whatever comes of it")
    raised = ["RuntimeError", "ValueError", "KeyError", "TypeError", "OverflowError", "RecursionError", "OSError", "TimeoutError", "HTTPException",
              "ValidationError", "RequestValidationError", "JSONDecodeError", "UnicodeDecodeError", "ClientDisconnect", *(f"Failure{seed}" for seed in seeds)]  # fmt: skip
    for error in raised:
        why = "It is the batcher's own error, long before answer_seconds are over." if error == "TimeoutError" else "It comes from the batcher, whatever its class."
        answer, items = one(body, f"a request where the batcher raises {error} after 0.2 s", 500, why, error=error, seconds=0.2)
        check.true(b"not handled" not in answer["body"], f"the batcher's {error} left the application: catch it and answer 500.")
        check.true(b"secret" not in answer["body"], "the 500 tells the client the text of an internal error: keep it for the log.")
        check.equal(len(items), 1, f"the calls of batcher.submit for a request where it raises {error}", "once, whatever comes of it")
    for error in ("RuntimeError", "TimeoutError", f"Failure{seeds[-1]}"):
        what = f"a request whose answer would take 60 s, with answer_seconds=1.5, where a submit that is cancelled raises {error},"
        one(body, what, 504, "The limit was over: what comes after it is no answer in time, whatever it is.", seconds=60.0, answer_seconds=1.5, cancelled=error)
    slow = [(0.9, body)]
    one(slow, "a body after 0.9 s and a model that takes 0.9 s, with 1 s for each", 200, "Two limits, one after the other.", seconds=0.9, body_seconds=1.0, answer_seconds=1.0)
    trouble = {
        "no JSON": ([(0, b"[")], 0.0, "", 422), "a body too large": ([(0, b" " * 5001)], 0.0, "", 413), "a body too slow": ([(9.0, body)], 0.0, "", 408),
        "a client that leaves": ([(0.1, body), (0.1, None)], 0.0, "", None), "a batcher that is overloaded": ([(0, body)], 0.0, "Overloaded", 503),
        "an answer too late": ([(0, body)], 9.0, "", 504), "an error of the batcher": ([(0, body)], 0.0, "RuntimeError", 500),
    }  # fmt: skip
    valid = ([(0, body)], 0.0, "")
    told = posted_in_turn([request for *bad, _ in trouble.values() for request in (bad, valid)], max_bytes=5000, body_seconds=1.0, answer_seconds=1.0)
    for (what, (*_, status)), first, second in zip(trouble.items(), told[::2], told[1::2]):
        check.true(status in (None, first), f"the request with {what}, one of several in turn, is answered with {first}, expected {status}.")
        check.true(second == 200, f"a valid request just after one with {what} is answered with {second}, expected 200. Does something stay behind?")


with check.exercise("service"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts(
        {
            "valid requests": lambda: check_valid(seeds),
            "invalid content": lambda: check_invalid(seeds),
            "size and pace of the body": lambda: check_bodies(seeds),
            "trouble behind": lambda: check_model_trouble(seeds),
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
# `async for piece in request.stream()`; `asyncio.timeout(seconds)` and its `.expired()`; `HTTPException(status, detail, headers=...)`;
# pydantic: `BaseModel.model_validate_json(bytes)`, `ValidationError`, `ConfigDict(extra="forbid", strict=True)`, `FiniteFloat`,
# `Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]
# class Picture(BaseModel):
#     model_config = ConfigDict(extra="forbid", strict=True)
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
#     ...                                               # validate: 422, also what float32 cannot hold
#     limit = asyncio.timeout(answer_seconds)
#     try:
#         async with limit:
#             logits = await batcher.submit(np.array([picture.image], dtype=np.float32))
#     except Overloaded:
#         raise HTTPException(503, "...", headers={"Retry-After": "1"})
#     except Exception:
#         ...                                           # 504 if limit.expired(), else 500
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
# ### 6 · Health and metrics (`health_and_metrics`, 3 points, 30 minutes, difficulty 2 of 3)
#
# Whoever runs the service asks two different questions. *Is the process alive?* If not, it is started anew (a liveness
# probe). *Is it ready for requests?* If not (the model is still loading, say), it gets none for a while (a readiness
# probe). Answering the first with the second kills a process that was merely warming up.
#
# And Prometheus, or anything that reads its format, collects numbers every few seconds: counters that only grow, and
# histograms. Each combination of label values is a time series of its own. A label must therefore never hold what a
# client may choose freely, such as the path of an address that does not exist: one scanner would make a million series.
#
# Write `watch(app, registry, ready)`. It is called before the application's first request, and more endpoints may be added after
# it; mounted applications, and requests for FastAPI's own pages (`/docs`), do not occur. Requests overlap, and there may be two
# applications, each with its own `registry` and `ready`. `watch` adds to a FastAPI application:
#
# - `GET /health/live`: 200 as long as the process answers at all. <!-- rule: live -->
# - `GET /health/ready`: 200 if `ready()`, which gives True or False, is True at that moment, otherwise 503. <!-- rule: ready -->
# - `GET /metrics`: all that `registry` holds (others use it too), in Prometheus' text format and with its content
#   type. <!-- rule: metrics -->
# - A counter `requests` in `registry` with the labels `path` and `status`, no others: each request once, also those for these
#   three paths. <!-- rule: count -->
# - A histogram `request_seconds` in `registry` with the label `path` alone: the seconds from before the endpoint to after it, for
#   each request, also one that fails or runs beside others. <!-- rule: seconds -->
# - The label `path` is the path of the route that answered, as the application wrote it, such as `/models/{name}` or
#   `/files/{rest:path}`. With 405 no route answered: then it is that of the one route whose path fits. Where no path fits it is
#   `other`; a path with a slash too many, which Starlette redirects, fits none. <!-- rule: path -->
# - A request counts with the status of its answer. Where its endpoint raises anything but an `HTTPException`, it counts with
#   `500`, and the exception goes on. (The application has no exception handlers of its own.) <!-- rule: raises -->


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
from prometheus_client.parser import text_string_to_metric_families


@check.scenario
def watched_requests(requests):
    """An application with a fast, a slow, a failing and a parameterised endpoint, watched by the student's code.

    A request is (method, path, whether ready() is true then), or a list of some, each with the seconds until it is sent: they
    overlap. Gives the answers, and the registry's text at the end.
    """
    import builtins

    from prometheus_client import CollectorRegistry

    app, registry, state = FastAPI(), CollectorRegistry(), {"ready": False}
    Counter("of_others", "A counter of another part of the program", registry=registry).inc(3)

    @app.post("/predict")
    async def predict():
        return {}

    @app.get("/slow")
    async def slow():
        await asyncio.sleep(0.08)
        return {}

    @app.get("/fails/{kind}")
    async def fails(kind: str):
        await asyncio.sleep(0.04)
        raise (getattr(builtins, kind, None) or type(kind, (Exception,), {"status_code": 404}))("an endpoint that raises")

    @app.get("/sizes/{size}")
    async def one_size(size: int):
        return {"size": size}

    @app.get("/models/{name}")
    async def one_model(name: str):
        if name == "none":
            raise HTTPException(404)
        return {"name": name}

    @app.post("/models/new")
    async def new_model():
        return {}

    @app.get("/files/{rest:path}")
    async def one_file(rest: str):
        return {"rest": rest}

    watch(app, registry, lambda: state["ready"])
    watch(FastAPI(), CollectorRegistry(), lambda: not state["ready"])  # another application

    @app.get("/later")
    async def later():
        return {}

    async def after(seconds, method, path):
        await asyncio.sleep(seconds)
        return vars(await ask(app, method, path))

    async def go():
        answers = []
        for request in requests:
            if isinstance(request, list):
                answers += await asyncio.gather(*(after(*each) for each in request))
            else:
                method, path, state["ready"] = request
                answers.append(vars(await ask(app, method, path)))
        return answers

    answers = run_async(go(), jump=False)
    return {"answers": answers, "registry": generate_latest(registry).decode()}


def check_health():
    paths = ("/health/live", "/health/ready", "/fails/RuntimeError", "/health/live", "/nothing", "/health/live", "/health/ready")
    for order in ((False, True, False), (True, False, True)):
        asked = [("GET", path, ready) for ready in order for path in paths]
        told = watched_requests(asked)["answers"]
        for (_, path, ready), answer in zip(asked, told):
            if not path.startswith("/health/"):
                continue
            live = path == "/health/live"
            why = "it is alive, whatever became of the requests before: do not have it killed" if live else "ask at every request, not when the app is made, the `ready` of this app, not of another"
            check.equal(answer["status"], 200 if live or ready else 503, f"the status of {path} while ready() is {ready}", why)


def samples_of(text, what):
    """Samples of Prometheus' text format: {(name, labels): value}."""
    try:
        families = list(text_string_to_metric_families(text))
    except Exception as error:
        check.true(False, f"{what} is not in Prometheus' text format ({type(error).__name__}: {str(error)[:80]}). generate_latest writes it.")
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def same_series(seen, wanted, what, hint):
    """As check.equal, but it names the time series that lack or are too many."""
    lacking, extra = sorted(wanted.keys() - seen.keys()), sorted(seen.keys() - wanted.keys())
    check.true(not lacking and not extra, f"{what} lacks {lacking or 'none'}, and has {extra or 'none'} too many. {hint[0].upper()}{hint[1:]}.")
    check.equal(seen, {key: float(value) for key, value in wanted.items()}, what, hint)


def by_path(seen, name, labels=("path",)):
    for found in sorted({tuple(label for label, _ in at) for sample, at in seen if sample == name}):
        check.equal(list(found), list(labels), f"the labels of {name}", "each other label multiplies the time series")
    return {tuple(dict(at).get(label) for label in labels): value for (sample, at), value in seen.items() if sample == name}


def route_of(method, path):
    if path.startswith("/fails/"):
        return "/fails/{kind}"
    if path.startswith("/files/"):
        return "/files/{rest:path}"
    if path.startswith("/sizes/"):
        return "/sizes/{size}"
    if path.startswith("/models/") and path.count("/") == 2 and (method, path) != ("POST", "/models/new"):
        return "/models/{name}"
    known = ("/predict", "/slow", "/models/new", "/later", "/health/live", "/health/ready", "/metrics")
    return path if path in known else "other"


def check_metrics(seeds):
    import collections
    import random

    kinds = [("POST", "/predict", 200), ("GET", "/slow", 200), ("GET", "/fails/RuntimeError", 500), ("GET", "/models/a", 200),
             ("GET", "/models/b7", 200), ("GET", "/models/new", 200), ("POST", "/models/new", 200),
             ("GET", "/models/none", 404), ("GET", "/wp-login.php", 404), ("GET", "/admin/x", 404), ("GET", "/health/ready", 503),
             ("GET", "/files/a/b.txt", 200), ("GET", "/files/c", 200), ("GET", "/models/a/", 307), ("POST", "/predict/", 307),
             ("GET", "/sizes/7", 200), ("GET", "/sizes/large", 422),
             ("GET", "/later", 200), ("GET", "/predict", 405), ("DELETE", "/slow", 405), ("POST", "/models/c", 405),
             ("DELETE", "/sizes/8", 405), ("PUT", "/files/a/c.txt", 405), ("POST", "/fails/KeyError", 405), ("PUT", "/later", 405), ("POST", "/health/live", 405),
             ("GET", "/health/live", 200), ("GET", "/metrics", 200)]  # fmt: skip
    overlapping = [(0.0, "GET", "/slow"), (0.03, "POST", "/predict"), (0.04, "GET", "/slow"), (0.06, "GET", "/nothing")]
    for seed in seeds:
        source = random.Random(seed)
        asked = [*kinds, ("GET", f"/fails/Failure{seed}", 500)] + source.choices(kinds, k=4)
        source.shuffle(asked)
        told = watched_requests([*((method, path, False) for method, path, _ in asked), overlapping, ("GET", "/metrics", False)])
        for (_, path, status), answer in zip(asked, told["answers"]):
            if path.startswith("/fails/") and status == 500:
                kind = path.removeprefix("/fails/")
                check.true(
                    answer["body"].startswith(f"not handled: {kind}".encode()),
                    f"the {kind} of an endpoint did not go on (answered with {answer['status']}): whoever logs errors never hears of it.",
                )
            check.equal(answer["status"], status, f"the status of {path}")
        asked += [(method, path, 404 if path == "/nothing" else 200) for _, method, path in overlapping]
        last = told["answers"][-1]
        check.equal(last["status"], 200, "the status of /metrics")
        kind = last["headers"].get("content-type", "")
        check.true(kind.startswith("text/plain") and "version=" in kind, f"/metrics has the content type {kind!r}, expected Prometheus' own (CONTENT_TYPE_LATEST).")
        check.true(b"# EOF" not in last["body"], "/metrics is written in the format OpenMetrics, which has a content type of its own. generate_latest of prometheus_client writes the text format.")
        seen = samples_of(last["body"].decode(errors="replace"), "/metrics")
        names = ", ".join(sorted({name for name, _ in seen})[:8]) or "nothing"
        counted = by_path(seen, "requests_total", ("path", "status"))
        check.true(bool(counted), f"/metrics has no requests_total. It has: {names}. Each call of watch makes its own, in the registry that it gets: applications may be several.")
        check.equal(seen.get(("of_others_total", ())), 3.0, "a counter in /metrics that another part of the program keeps in the registry")
        wanted = collections.Counter((route_of(method, path), str(status)) for method, path, status in asked)
        same_series(counted, wanted, "requests_total by (path, status)",
                    "the path is that of the route that answered (405: that fits), also where it was added after watch; `other` where none fits; "
                    "500 where the endpoint raises (no HTTPException), whatever the exception has; each request once")  # fmt: skip
        times, lasted = by_path(seen, "request_seconds_count"), by_path(seen, "request_seconds_sum")
        wanted = collections.Counter((route_of(method, path),) for method, path, _ in asked)
        same_series(times, wanted, "request_seconds_count by path", "every request is observed, also one that fails")
        check.true(any(name == "request_seconds_bucket" for name, _ in seen), f"request_seconds is no histogram: there is no request_seconds_bucket among {names}.")
        slow = sum(method == "GET" and path == "/slow" for method, path, _ in asked)
        check.between(lasted.get(("/slow",), 0.0) / slow, 0.079, 10, "request_seconds_sum of a request that takes 0.08 s (two of them overlap)",
                      "seconds from before the endpoint to after it, each request with a beginning of its own")  # fmt: skip
        failing = sum(path.startswith("/fails/") for method, path, _ in asked if method == "GET")
        check.between(lasted.get(("/fails/{kind}",), 0.0) / failing, 0.039, 10, "request_seconds_sum of a request that fails after 0.04 s", "a request that fails has taken its time too")
        registry = by_path(samples_of(told["registry"], "the registry's text"), "requests_total", ("path", "status"))
        check.equal(registry.get(("/metrics", "200")), counted.get(("/metrics", "200"), 0.0) + 1, "the requests of /metrics that the registry has counted",
                    "those for /metrics itself count too, in the registry that was given")  # fmt: skip


with check.exercise("health_and_metrics"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"health": check_health, "metrics": lambda: check_metrics(seeds)})
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
# ### 7 · Load that does not wait, and a stop that loses nothing (`open_loop`, 4 points, 45 minutes, difficulty 3 of 3)
#
# Two things that are tried too late, as a rule by the users. The first is load. A client that sends its next request
# when the last one is answered (a *closed loop*) is polite: where the service stalls for a second, it sends nothing for
# a second, and one slow answer stands in its table. Users are not polite. An *open loop* sends by a schedule, whatever
# the service does, and measures from the **planned** time. To leave out what was not sent in time is called *coordinated
# omission*: the client and the service agree on not measuring the worst part.
#
# The second is the end. An orchestrator that replaces a container sends it **SIGTERM**, waits some seconds, then kills
# it. A *graceful shutdown* uses the time: no new requests, those accepted are answered, exit code 0.
#
# `open_loop(send, schedule)` is a coroutine. `schedule` is a list of 0 to 300 times in seconds after its start, ascending, equal
# ones among them (a burst). `await send(i)` sends request number `i` and gives its answer, `None` perhaps.
#
# - `send(i)` starts `schedule[i]` seconds after the start of `open_loop`, whether or not the earlier requests are answered; if
#   the event loop was blocked then, as soon as it is free. Later ones are on time again. <!-- rule: schedule -->
# - The result is a list of `(seconds, answer)`, one for each request, in the order of the
#   schedule. <!-- rule: results -->
# - `seconds` run from the planned time to the answer, also where the request was sent late. <!-- rule: planned -->
# - Where `send(i)` raises (any `Exception`), the answer is the name of the exception's type, such as `"ConnectionError"`, and
#   the other requests go on. <!-- rule: failures -->
#
# `serve(accept, handle, grace)` is a coroutine, the heart of a server or of a queue's worker. `await accept()` gives the next
# request; it waits until there is one, may be cancelled, like `asyncio.Queue.get`, and raises nothing of its own.
# `await handle(request)` answers it. `grace` is above 0. The main thread runs it: `sys.exit(asyncio.run(serve(...)))`.
#
# - Requests are handled at the same time, up to 300 of them: the next is accepted while earlier ones are being
#   handled. <!-- rule: concurrent -->
# - Where `handle` raises (any `Exception`), the service and the other requests go on. <!-- rule: survives -->
# - From SIGTERM on (as soon as the event loop tells of it), no request is accepted: a waiting `accept()` is cancelled, at once,
#   also where nothing else happens that would wake the event loop. <!-- rule: stop -->
# - What `accept()` has returned is handled to its end, also where the signal came in the same moment, and also where `accept()`
#   returns it although it is being cancelled (it held it already). <!-- rule: drain -->
# - But `grace` seconds after the signal, what is still being handled is cancelled. <!-- rule: grace -->
# - It returns as soon as nothing is being handled any more, and not before: what was cancelled may take its time to clean up, and
#   then return, raise or be cancelled. 0, or 1 if something had to be cancelled. (A `handle` that raised is no reason for 1.) <!-- rule: code -->
# - A second SIGTERM changes nothing. <!-- rule: again -->
#
# Time is the loop's clock, and half a millisecond is late, as in exercise 4; the clock may stand anywhere at the start. Each of the
# two earns half.

# %%
import signal


def run_here(coroutine, jump=True):
    """As `run_async`, but in this thread: only the main thread can handle signals."""
    outer = asyncio._get_running_loop()  # a notebook's
    asyncio._set_running_loop(None)
    selector = JumpingSelector() if jump else selectors.DefaultSelector()

    def make_loop():
        loop = asyncio.SelectorEventLoop(selector)
        if jump:
            loop.time = lambda: selector.now
        return loop

    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(coroutine)
    finally:
        asyncio._set_running_loop(outer)


# %% exercise="open_loop" minutes=45 difficulty=3 seconds=20
async def open_loop(send, schedule):
    """Send request i at schedule[i], whatever the earlier ones do; [(seconds since the planned time, answer), ...]."""
    ### BEGIN SOLUTION
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
    ### END SOLUTION


async def serve(accept, handle, grace):
    """Handle what `accept` gives until SIGTERM, then what was accepted, for at most `grace` seconds; the exit code."""
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% tests="open_loop" points=4
@check.scenario
def loaded(schedule, service):
    """open_loop against a service: for each request (seconds, error's name or "", seconds that it blocks the loop at its start)."""
    import builtins

    starts = [None] * len(schedule)

    async def send(i):
        loop = asyncio.get_running_loop()
        starts[i] = loop.time()
        seconds, error, blocks = service[i]
        loop._selector.now += blocks  # as long work without an await does
        await asyncio.sleep(seconds)
        if error:
            raise (getattr(builtins, error, None) or type(error, (Exception,), {}))("refused")
        return None if i % 4 == 3 else {"request": i}

    async def whole():
        await asyncio.sleep(3.25)  # the loop's clock does not begin with open_loop
        begin = asyncio.get_running_loop().time()
        results = await open_loop(send, schedule)
        return [round(start - begin, 5) + 0.0 for start in starts if start is not None], results  # + 0.0: no -0.0

    starts_seen, results = run_async(whole())
    return {"starts": starts_seen, "results": results}


def load_by_definition(schedule, service, slip=""):
    """When each request starts, and the result. `slip`: a usual mistake."""
    starts, results, blocked, free = [], [], [], 0.0
    for planned, (seconds, error, blocks) in zip(schedule, service):
        start = max(planned, free)
        if slip == "waits" and results:
            start = max(start, starts[-1] + results[-1][0])
        if blocks:
            blocked.append((start, start + blocks))
            free = start + blocks
        starts.append(start)
        results.append([start + blocks + seconds, error or None])
    for i, (planned, start) in enumerate(zip(schedule, starts)):
        end, error = results[i]
        for low, high in blocked:
            end = high if low < end < high else end
        results[i] = (end - (start if slip == "sent" else planned), error or (None if i % 4 == 3 else {"request": i}))
    return {"starts": starts, "results": results}


def load_story(_seed, n, gap, trouble):
    """Times on a grid of 10.37 ms; answers come beside it. At most one request blocks, at a time of its own; "burst": all at once, and slow."""
    import random

    source, schedule, service = random.Random(_seed), [], []
    now = source.choice((0, 0, 7))
    blocking = source.randrange(n) if n and trouble == "blocks" else -1
    for i in range(n):
        now += 2 if i == blocking else 0
        schedule.append(round(now * 0.01037, 5))
        error = source.choice(["ConnectionError", "TimeoutError", "KeyError", f"Failure{_seed % 1000}"]) if trouble == "errors" and source.random() < 0.4 else ""
        blocks = source.choice([0.15, 0.4]) if i == blocking else 0.0
        service.append((1.003 if trouble == "burst" else source.choice([0.003, 0.033, 0.203, 1.003]), error, blocks))
        now += 0 if trouble == "burst" else 1 if i == blocking else source.choice([0, 1, gap])
    return schedule, service


def seen_in(drawn):
    """The same cases; in a message `seen` stands before the place in what was seen."""
    for case in drawn:
        case.words[list(case.words)[-1]] += "; seen"
        yield case


def check_load(seeds):
    hint = "`starts`: when each send began; `results`: (seconds from the planned time to the answer, the answer), in the order of the schedule"
    causes = {"latency counts from the planned time, not from when the request was sent": lambda *case: load_by_definition(*case, "sent")}
    what = "`open_loop` (service: for each request the seconds, the error or nothing, the seconds that it blocks the loop)"
    for trouble in ("none", "errors", "blocks", "burst"):
        domain = {
            "_seed": cases.integer(0, 10**6), "_n": cases.size("n"), "_gap": cases.choice(3, 1, 20),
            "_story": cases.derived(lambda _seed, _n, _gap, **_: load_story(_seed, _n, _gap, trouble)),
            "schedule": cases.derived(lambda _story, **_: _story[0]), "service": cases.derived(lambda _story, **_: _story[1]),
        }  # fmt: skip
        drawn = seen_in(cases.draw(seeds, domain, count=0 if trouble == "burst" else 10, n=(0, 300 if trouble == "burst" else 150)))
        check.agrees(loaded, load_by_definition, drawn, what, hint, causes=causes, rtol=0, atol=0.0005)


@check.scenario
def served(requests, signals, grace):
    """serve() on a script. A request is (time, seconds to handle, error that it raises or "", seconds to clean up if it is
    cancelled, what is special): "SIGTERM" the signal comes as it is accepted, "held" accept returns it when it is cancelled,
    "returns" or "raises" how it ends if it is cancelled."""
    import builtins

    log, over = {"handled": {}, "lost": []}, asyncio.Event()
    held = [number for number, request in enumerate(requests) if request[4] == "held"]

    def terminate():
        if over.is_set():  # serve has returned
            return
        if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, signal.default_int_handler, None):
            log["lost"].append("nobody handles SIGTERM: the process would have ended at once")
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    async def whole():
        loop, queue = asyncio.get_running_loop(), asyncio.Queue()

        async def accept():
            try:
                number = await queue.get()
            except asyncio.CancelledError:
                if held:
                    return held.pop()
                raise
            if requests[number][4] == "SIGTERM":
                terminate()
            return number

        async def handle(number):
            begin = loop.time()
            _, seconds, error, cleaning, special = requests[number]
            try:
                await asyncio.sleep(seconds)
                end = "raised" if error else "answered"
            except asyncio.CancelledError:
                end = "cancelled"
                await asyncio.sleep(cleaning)
                if special == "raises":
                    raise type("Failure", (Exception,), {})("an error while it cleans up") from None
                if special != "returns":
                    raise
            finally:
                log["handled"][number] = (round(begin, 5), round(loop.time(), 5), end)
            if end == "raised":
                raise (getattr(builtins, error, None) or type(error, (Exception,), {}))("a request that cannot be handled")

        for number, request in enumerate(requests):
            if request[4] != "held":
                loop.call_at(request[0] + 1e-6 * number, queue.put_nowait, number)  # in order, also where times are equal
        for when in signals:
            loop.call_at(when, terminate)
        last = loop.call_later(600, lambda: None)  # so that time goes on
        try:
            code = await asyncio.wait_for(serve(accept, handle, grace), 300)
        except TimeoutError:
            return "it does not return"
        finally:
            over.set()
            last.cancel()
        at = round(loop.time(), 5)
        await asyncio.sleep(400)
        return {"code": code, "at": at, "left": [queue.get_nowait() for _ in range(queue.qsize())]}

    ended = run_here(whole())
    return {"handled": dict(sorted(log["handled"].items())), "end": ended, "lost": log["lost"]}


@check.scenario
def stopped_asleep(patience):
    """serve() that sleeps when SIGTERM comes from outside, on a real clock: the exit code, or "late" where it notices the signal
    only when something else wakes the loop, `patience` seconds later."""
    seen = []

    def terminate():
        time.sleep(0.1)  # meanwhile the loop falls asleep
        if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

    outside = threading.Thread(target=terminate)

    async def accept():
        if not outside.ident:
            outside.start()
        await asyncio.Event().wait()

    async def whole():
        late = asyncio.get_running_loop().call_later(patience, seen.append, "late")
        try:
            code = await asyncio.wait_for(serve(accept, asyncio.sleep, 1.0), patience + 1)
        except TimeoutError:
            return "late"
        finally:
            late.cancel()
        return seen[0] if seen else code

    try:
        return run_here(whole(), jump=False)
    finally:
        if outside.ident:
            outside.join()


def served_by_definition(requests, signals, grace):
    stop = min([*signals, *(r[0] for r in requests if r[4] == "SIGTERM")])
    handled, left = {}, []
    for number, (when, seconds, error, cleaning, how) in enumerate(requests):
        when = stop if how == "held" else when
        if when > stop:
            left.append(number)
        elif when + seconds > stop + grace:
            handled[number] = (when, stop + grace + cleaning, "cancelled")
        else:
            handled[number] = (when, when + seconds, "raised" if error else "answered")
    code = int(any(how == "cancelled" for _, _, how in handled.values()))
    end = {"code": code, "at": max([stop, *(end for _, end, _ in handled.values())]), "left": left}
    return {"handled": handled, "end": end, "lost": []}


def serve_story(_seed, n, trouble):
    """Requests on a grid of 10 ms, handled 3 ms beside it; signals 5.3 ms, the end of the grace 6.3 ms beside it."""
    import random

    source = random.Random(_seed)
    times = sorted(source.choices(range(3 if trouble == "burst" else 60), k=n))
    seconds = (0.403,) if trouble in ("many", "burst", "stubborn") else (0.003, 0.053, 0.203, 0.403)
    errors = ("ValueError", "TimeoutError", "KeyError", f"Failure{_seed % 1000}")
    requests = [
        (t / 100, source.choice(seconds), source.choice(errors) if trouble == "errors" and source.random() < 0.4 else "", source.choice((0.0, 0.317, 20.017)),
         source.choice(("returns", "raises")) if trouble == "stubborn" else "")
        for t in times
    ]
    signals = [source.randrange(3 if trouble == "burst" else 0, 60) / 100 + 0.0053]
    if trouble == "twice":
        signals.append(signals[0] + source.choice((0.02, 0.2, 0.3)))
    if trouble == "same moment":
        later = max([0.0, *(t / 100 for t in times)]) + 0.01
        requests.append((later, 0.053, "", 0.0, "SIGTERM"))
        signals = [later + 0.5]
    if trouble == "held":
        requests.append((0.0, 0.053, "", 0.0, "held"))
    return requests, signals


def check_serve(seeds):
    hint = "`handled`: (begin, end, how) of each request; `end`: the exit code, when serve returned, and the requests that it left to others"

    def seen(requests, signals, grace):
        told = served(requests, signals, grace)
        shown = f"{str(requests[:6])[:-1]}{', …' * (len(requests) > 6)}]"
        what = f"with {len(requests)} requests {shown} (time, seconds, error, seconds to clean up, what is special), SIGTERM at {signals}, grace={grace}"
        check.true(not told["lost"], f"{what}: {(told['lost'] or [''])[0]}. loop.add_signal_handler handles it, until serve returns.")
        check.true(told["end"] != "it does not return", f"{what}: serve does not return. Does it wait for a request, or for an answer that takes longer than the grace?")
        due = served_by_definition(requests, signals, grace)["handled"].keys()
        lacking, extra = sorted(due - told["handled"].keys()), sorted(told["handled"].keys() - due)
        check.true(not lacking, f"{what}: the requests {lacking} (counted from 0) are never handled. What comes before the signal is accepted and handled, however much it is.")
        check.true(not extra, f"{what}: the requests {extra} (counted from 0) are handled, though they came after the signal.")
        return told

    for trouble in ("none", "errors", "twice", "same moment", "held", "many", "burst", "stubborn"):
        domain = {
            "_seed": cases.integer(0, 10**6), "_n": cases.size("n"),
            "_story": cases.derived(lambda _seed, _n, **_: serve_story(_seed, _n, trouble)),
            "requests": cases.derived(lambda _story, **_: _story[0]), "signals": cases.derived(lambda _story, **_: _story[1]),
            "grace": cases.choice(5.001, 0.021, 0.181),
        }  # fmt: skip
        largest = {"many": 100, "burst": 300}.get(trouble, 12)
        drawn = seen_in(cases.draw(seeds, domain, count=0 if trouble == "burst" else 10, n=(0, largest)))
        check.agrees(seen, served_by_definition, drawn, "`serve`", hint, rtol=0, atol=0.0005)
    code = stopped_asleep(3)
    check.true(code != "late", "SIGTERM comes while the loop of serve sleeps, and serve does not notice: only the next event wakes it. "
               "loop.add_signal_handler wakes the loop, a handler of signal.signal by itself does not.")  # fmt: skip
    check.equal(code, 0, "the exit code where SIGTERM comes while the loop of serve sleeps")


with check.exercise("open_loop"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"open_loop": lambda: check_load(seeds), "serve": lambda: check_serve(seeds)})
check.points(4)  # the number below: your points, of 4

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Load: who sends request 2 while request 1 is still under way? Each needs a task of its own. Where does the time that a
# request should have been sent come from, if it was sent late? Service: two things can happen next, a request or the
# signal, and you wait for whichever comes first. Which tasks are still alive then, and who ends them?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `asyncio.create_task`, `loop.time()`, `asyncio.sleep`. `loop.add_signal_handler(signal.SIGTERM, function)` and
# `remove_signal_handler`; `asyncio.Event`; `asyncio.wait(tasks, timeout=..., return_when=asyncio.FIRST_COMPLETED)`, which
# returns the sets `done` and `pending` and raises nothing; `task.cancel()`; `asyncio.gather(*tasks, return_exceptions=True)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# for number, after in enumerate(schedule):
#     planned = begin + after
#     ...                                         # sleep until then, if it is not past
#     tasks.append(asyncio.create_task(one(number, planned)))     # one: send, and the seconds since `planned`
# return [await task for task in tasks]
#
# stop = asyncio.Event()
# loop.add_signal_handler(signal.SIGTERM, stop.set)
# stopping, handling = asyncio.create_task(stop.wait()), set()
# while not stop.is_set():
#     accepting = asyncio.create_task(accept())
#     await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
#     if not accepting.done():
#         accepting.cancel()
#         await asyncio.wait({accepting})         # it may have a request all the same
#     if not accepting.cancelled():
#         ...                                     # a task that handles it
# ...                                             # wait for `handling` with a timeout; cancel what is pending; wait for that; 0 or 1
# ```
# </details>


# %% [markdown]
# The same service under the same plan, 50 requests a second, measured twice. It answers one request after the other in
# 10 ms, and once it stalls for a second. One client waits for its answers, the other is yours.


# %%
def stalling_service():
    """One request at a time, 10 ms each; nothing from second 2 to second 3."""
    gate = asyncio.Lock()

    async def send(number):
        loop = asyncio.get_running_loop()
        async with gate:
            if 2 <= loop.time() < 3:
                await asyncio.sleep(3 - loop.time())
            await asyncio.sleep(0.01)

    return send


async def closed_loop(send, schedule):
    """A client that waits: it sends when the time has come **and** the last answer is there, and measures from then."""
    loop, results = asyncio.get_running_loop(), []
    for number, planned in enumerate(schedule):
        await asyncio.sleep(max(0.0, planned - loop.time()))
        begin = loop.time()
        await send(number)
        results.append((loop.time() - begin, None))
    return results


plan = [i / 50 for i in range(300)]
by_client = {
    "closed loop": run_async(closed_loop(stalling_service(), plan)),
    "open loop": run_async(open_loop(stalling_service(), plan)),
}
figure, axis = plt.subplots(figsize=(8, 2.8), layout="constrained")
p99 = {}
for (name, results), marker in zip(by_client.items(), ("o", ".")):
    seconds = np.array([seconds for seconds, _ in results])
    p99[name] = np.percentile(seconds, 99)
    slow = (seconds > 0.1).sum()
    axis.plot(plan, 1000 * seconds, marker, label=name, alpha=0.7)
    print(f"{name:12} median {1000 * np.median(seconds):4.0f} ms, p99 {1000 * p99[name]:4.0f} ms, {slow} of {len(plan)} requests above 100 ms")
axis.set(xlabel="planned time of the request (s)", ylabel="measured latency (ms)")
axis.legend()
plt.show()
claims.record(
    "a client that waits for its answers hides a stall",
    claimed="p99 ten times as high in the open loop",
    measured=f"p99 {1000 * p99['closed loop']:.0f} ms in the closed loop, {1000 * p99['open loop']:.0f} ms in the open one, same service and plan",
    holds=p99["open loop"] >= 10 * p99["closed loop"],
    how="300 requests on a clock that jumps; the service stalls for one second",
)

# %% [markdown]
# ## Part C · Can it be shipped, and taken back?
#
# ### Shown: files for servers that others wrote
#
# Your own service is one way. NVIDIA's **Triton Inference Server** does batching, queues and metrics for you: it reads a
# folder of models, each with a configuration. Whatever serves goes into a **container**, described by a Dockerfile;
# **Compose** starts it with its settings; a **workflow** tests it at every change. None of these runs in this notebook.
# Below stands one complete set for the service of this lesson, and each file is read by the parser of its format as far
# as it is installed: Triton's own protobuf schema (from NVIDIA's package `tritonclient`), YAML, and for the Dockerfile
# `docker buildx build --check` where there is Docker with BuildKit.

# %%
import importlib.util
import re
import shutil

import yaml
from google.protobuf import text_format


def load_triton_schema():
    """The protobuf module of Triton's model configuration; the rest of NVIDIA's client package is not imported."""
    package = Path(importlib.util.find_spec("tritonclient").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("triton_model_config", package / "grpc" / "model_config_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_model_repository(folder, name, onnx_file, max_batch, delay_us):
    """folder/name/config.pbtxt and folder/name/1/model.onnx (version 1) for Triton Inference Server."""
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])

    def tensors(values):  # with max_batch_size Triton adds the batch axis itself
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
    (folder / name / "1").mkdir(parents=True)
    shutil.copy(onnx_file, folder / name / "1" / "model.onnx")
    (folder / name / "config.pbtxt").write_text(text_format.MessageToString(config))


triton = load_triton_schema()
write_model_repository(workshop / "models", "digits", onnx_path, 32, 2000)
written = (workshop / "models" / "digits" / "config.pbtxt").read_text()
print(written)
config = text_format.Parse(written, triton.ModelConfig())  # refuses a field that the schema does not have
print(f"config.pbtxt: read by Triton's schema; batches of at most {config.max_batch_size}")

# %% [markdown]
# The Dockerfile, line by line: a fixed version, not `latest`; the requirements before the code, so that a change of the
# code installs nothing anew; no root; `HEALTHCHECK` with what a slim Python image has (no curl); the exec form of `CMD` (a
# JSON list), because in the shell form the shell gets SIGTERM and the server never hears of it; and the host `0.0.0.0`,
# which is every interface: uvicorn's default, `127.0.0.1`, is reached from inside the container only.

# %%
DOCKERFILE = """\
# syntax=docker/dockerfile:1
ARG PYTHON_VERSION=3.12.7
FROM python:${PYTHON_VERSION}-slim
WORKDIR /srv
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt
COPY ["service.py", "model.onnx", "./"]
USER 10001
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live')"]
CMD ["uvicorn", "service:app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "10"]
"""
COMPOSE = """\
services:
  digits:
    build: .
    ports: ["8000:8000"]
    environment: {MODEL: model.onnx, MAX_BATCH: "32", OMP_NUM_THREADS: "1"}
    stop_grace_period: 15s  # longer than the server's own grace: SIGKILL comes at its end
    read_only: true
    restart: unless-stopped
    deploy: {resources: {limits: {cpus: "1", memory: 512M}}}
"""
WORKFLOW = """\
name: service
on: [push, pull_request]
permissions: {contents: read}
jobs:
  image:
    runs-on: ubuntu-24.04
    timeout-minutes: 15
    steps:
      - uses: actions/checkout@v4
      - run: docker buildx build --check .
      - run: docker compose up --build --detach --wait
      - run: curl --fail --max-time 5 http://localhost:8000/health/ready
      - run: docker compose stop && docker compose ps --all --format '{{.ExitCode}}'
"""
for name, text in (("Dockerfile", DOCKERFILE), ("compose.yaml", COMPOSE), ("workflow.yaml", WORKFLOW)):
    (workshop / name).write_text(text)
services = yaml.safe_load(COMPOSE)["services"]
jobs = yaml.safe_load(WORKFLOW)["jobs"]
print(f"compose.yaml: read, services {list(services)}; workflow.yaml: read, {len(jobs['image']['steps'])} steps")
buildx = ["docker", "buildx"]
if shutil.which("docker") and subprocess.run([*buildx, "version"], capture_output=True).returncode == 0:
    command = [*buildx, "build", "--check", "-f", workshop / "Dockerfile", workshop]
    checked = subprocess.run(command, capture_output=True, text=True)
    print("Dockerfile: docker buildx build --check says", "fine" if checked.returncode == 0 else checked.stderr.strip()[-300:])
else:
    print("Dockerfile: not checked, for there is no Docker with BuildKit on this machine")

# %% [markdown]
# ### 8 · Promote, go on, or roll back (`canary`, 3 points, 30 minutes, difficulty 2 of 3)
#
# A new version first gets a small share of the traffic: the *canary*. Both versions are judged on what can be counted
# for each request: here, whether the answer was wrong (an error counts as wrong). After every few hundred requests somebody
# must decide. Two mistakes are possible, and both have a price: to keep a worse version, and to throw away a good
# one because of bad luck. There are two more, quiet ones. Who looks ten times at a fair coin, each time ready to cry
# foul at one chance in a hundred, cries foul far more often than that. And who takes the rate *counted* of the stable
# version for its *true* rate forgets that it is uncertain too, the more so the fewer requests it had. So we need a
# **two-sample** test.
#
# `decide(stable, canary, look, looks, margin, alpha)`: `stable` and `canary` are `Window`s with the counts **since the start**
# (1 to 200,000 requests each, 0 to all of them failures); this is look number `look` (1, 2, ...) of `looks`. `margin` is
# from 0 to below 1, `alpha` above 0 and below 1/2. It returns `"rollback"`, `"continue"` or `"promote"`:
#
# - **Harm**, at any look: `"rollback"` if the one-sided p-value of **Fisher's exact test** is below `alpha / looks`. This
#   p-value is the probability of as many canary failures as counted **or more** if all failures of both versions were dealt
#   out by chance (the hypergeometric distribution). Exact means exact: for many requests, too, with few failures or with
#   thousands. <!-- rule: harm -->
# - `alpha` is divided by the number of looks planned: the chances of a false alarm at each look add up to at most
#   `alpha`. <!-- rule: looks -->
# - No harm, and not the last look: `"continue"`. <!-- rule: continue -->
# - No harm, and the last look: `"promote"` if the canary is shown to be worse by less than `margin`, as defined
#   below. <!-- rule: proof -->
# - No harm, the last look, and not shown: `"rollback"`. Not shown to be good enough is not good enough. <!-- rule: doubt -->
#
# **Shown** means: with $p = (\text{failures} + 1) / (\text{requests} + 2)$ for each version (Agresti and Caffo's interval for the
# difference of two rates, 2000), the upper limit
# $p_c - p_s + z \sqrt{\frac{p_c (1 - p_c)}{n_c + 2} + \frac{p_s (1 - p_s)}{n_s + 2}}$ lies below `margin`. Here $c$ is the canary, $s$ the
# stable version, $n$ the number of requests, and $z$ the point below which a standard normal number lies with probability
# 1 - `alpha`.
#
# Where a p-value is within a thousandth of its level, or the limit within a billionth of the margin, nothing is tested.
#
# For example with 3 of 20 canary requests wrong and 5 of 100 stable ones, `alpha=0.05` and two looks: of 120 requests with 8
# failures, 20 drawn by chance hold 3 or more failures with probability 0.13. That is not below 0.025: no harm.


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
    from scipy.stats import hypergeom, norm

    requests, failures = stable.requests + canary.requests, stable.failures + canary.failures
    as_bad_or_worse = hypergeom.sf(canary.failures - 1, requests, failures, canary.requests)
    if as_bad_or_worse < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
    error = math.sqrt(p * (1 - p) / (canary.requests + 2) + q * (1 - q) / (stable.requests + 2))
    return "promote" if p - q + norm.ppf(1 - alpha) * error < margin else "rollback"
    ### END SOLUTION


# %% tests="canary" points=3
import functools


@check.scenario
def decided(stable, canary, look, looks, margin, alpha):
    return decide(Window(*stable), Window(*canary), look, looks, margin=margin, alpha=alpha)


@check.scenario
def decided_by_default(stable, canary, look, looks):
    return decide(Window(*stable), Window(*canary), look, looks)


@functools.cache
def fisher(stable, canary):
    """P(as many canary failures or more), added up term by term."""
    from scipy.special import gammaln

    (n, f), (m, k) = stable, canary
    marked, whole = f + k, n + m

    def log_choose(a, b):
        return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)

    mean = m * marked / whole
    last = max(k, mean) + 40 * math.sqrt(mean * (1 - marked / whole)) + 50  # what comes after it is nothing beside these
    i = np.arange(max(k, m - (whole - marked)), min(marked, m, int(last)) + 1)
    return float(np.exp(log_choose(marked, i) + log_choose(whole - marked, m - i) - log_choose(whole, m)).sum())


def upper_limit(stable, canary, alpha, slip=""):
    """The limit that must lie below the margin. `slip`: a part of the formula that is easily left out."""
    from statistics import NormalDist

    (n, f), (m, k) = stable, canary
    p, q = ((k, m), (f, n)) if slip == "plain rates" else ((k + 1, m + 1), (f + 1, n + 1)) if slip == "one more" else ((k + 1, m + 2), (f + 1, n + 2))
    p, q = p[0] / p[1], q[0] / q[1]
    two = 0 if slip == "variance over n" else 2
    of_canary, of_stable = max(0.0, p * (1 - p) / (m + two)), max(0.0, q * (1 - q) / (n + two))
    if slip == "errors added":
        error = math.sqrt(of_canary) + math.sqrt(of_stable)
    else:
        error = math.sqrt(of_canary * (slip != "stable only") + of_stable * (slip != "canary only"))
    return p - q + NormalDist().inv_cdf(1 - alpha / (2 if slip == "two-sided limit" else 1)) * error * (slip != "no z")


def p_value(stable, canary, slip=""):
    """Of harm. `slip`: another test than Fisher's."""
    from statistics import NormalDist

    from scipy.special import bdtrc

    (n, f), (m, k) = stable, canary
    if slip == "stable rate taken as true":
        return float(bdtrc(k - 1, m, f / n)) if k else 1.0
    from_there = {"normal above 10,000": n + m > 10_000, "normal in large cells": min(k, f, n - f, m - k) >= 1000}
    if slip.startswith("normal") and 0 < f + k < n + m and from_there.get(slip.removesuffix(", corrected"), True):
        pooled, half = (f + k) / (n + m), 0.5 * (1 / n + 1 / m) if slip.endswith("corrected") else 0
        return 1 - NormalDist().cdf((k / m - f / n - half) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)))
    exact = fisher(stable, canary) if slip != "more than" else fisher(stable, (m, k + 1))
    return 2 * exact if slip == "two-sided" else (exact + fisher(stable, (m, k + 1))) / 2 if slip == "middle" else exact


LIMIT_SLIPS = ("plain rates", "one more", "variance over n", "errors added", "stable only", "canary only", "two-sided limit", "no z", "limit of the look")
LARGE_SLIPS = ("normal in large cells", "normal in large cells, corrected")
HARM_SLIPS = ("stable rate taken as true", "normal", "normal, corrected", "normal above 10,000", *LARGE_SLIPS, "two-sided", "middle", "more than", "one look", "each look", "independent looks", "harm last")


def decision(stable, canary, look, looks, margin, alpha, slip=""):
    """The rule. `slip`: one of LIMIT_SLIPS or HARM_SLIPS, usual mistakes."""
    level = alpha / {"one look": 1, "each look": look}.get(slip, looks)
    harm = p_value(stable, canary, slip) < (1 - (1 - alpha) ** (1 / looks) if slip == "independent looks" else level)
    if harm and (slip != "harm last" or look < looks):
        return "rollback"
    if look < looks:
        return "continue"
    return "promote" if upper_limit(stable, canary, alpha / (looks if slip == "limit of the look" else 1), slip) < margin else "rollback"


def clear(stable, canary, look, looks, margin, alpha):
    """Nothing is so near to its limit that the task leaves it open."""
    p_is_near = math.isclose(fisher(stable, canary), alpha / looks, rel_tol=1e-3)
    return not p_is_near and not math.isclose(upper_limit(stable, canary, alpha), margin, rel_tol=1e-9, abs_tol=1e-9)


def why(stable, canary, look, looks, margin, alpha):
    """The figures on which the decision rests."""
    p, level, limit = fisher(stable, canary), alpha / looks, upper_limit(stable, canary, alpha)
    said = f"Fisher's p-value is {p:.5g}, alpha divided by the number of looks {level:.5g}"
    if p < level:
        return f"{said}: harm comes first, at any look"
    if look < looks:
        return f"{said}: no harm, and not the last look"
    return f"{said}: no harm; the last look; the upper limit is {limit:.5g}, {'below' if limit < margin else 'not below'} the margin of {margin}"


def telling(seed):
    """For each slip two cases in which it turns the decision, small ones first."""
    import random

    source, drawn = random.Random(seed), []
    for number in range(160):
        if number % 3:
            n, m = source.randint(1, 60), source.randint(1, 60)
            failures = min(n, source.choice((0, 1, round(0.1 * n), round(0.3 * n), n // 2)))
        else:
            n, m = source.choice((3000, 6000, 20_000, 200_000)), source.choice((300, 6000, 20_000))
            failures = source.choice((0, 0, 1, 4))
        looks, last = source.choice((1, 1, 2, 5, 5)), source.choice((True, True, False))
        margin, alpha = source.choice((0.05, 0.2, 0.0, 0.4)), source.choice((0.05, 0.01, 0.1, 0.3, 0.45))
        edge = source.choice(("harm", "harm-", "harm-", "proof", "proof", "proof+"))
        drawn.append((n, m, failures, edge, looks if last else 1, looks, margin, alpha))
    for number in range(60):  # a tenth of them fails
        n, m = source.randint(20_000, 200_000), source.randint(15_000, 200_000)
        drawn.append((n, m, n // 10, source.choice(("harm", "harm-")), 1, source.choice((2, 5)), 0.05, source.choice((0.05, 0.01))))
    lacking, chosen = dict.fromkeys(LIMIT_SLIPS + HARM_SLIPS, 2), []
    for n, m, failures, edge, *rest in sorted(drawn, key=lambda draw: draw[0] + draw[1]):
        if not lacking:
            break
        case = (*counts(failures / n, n, m, edge, *rest[1:]), *rest)
        told = [slip for slip in lacking if decision(*case, slip) != decision(*case)] if clear(*case) else []
        chosen += [case] * bool(told)
        lacking = {slip: left - (slip in told) for slip, left in lacking.items() if left - (slip in told)}
    return chosen


def turning(test, low, high):
    """The least number of failures in low..high for which `test` holds, or high (it holds from there on)."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if test(middle) else (middle + 1, high)
    return low


def counts(_rate, _stable, _canary, _edge, looks, margin, alpha, **_):
    """Windows just where the decision turns, or beside it."""
    stable = (_stable, round(_rate * _stable))
    if _edge.startswith("harm"):
        k = turning(lambda k: fisher(stable, (_canary, k)) < alpha / looks, 0, _canary)
    elif _edge.startswith("proof"):
        k = turning(lambda k: upper_limit(stable, (_canary, k), alpha) >= margin, 0, _canary) - 1
    elif _edge == "expected":
        k = round(_rate * _canary)
    else:
        k = {"none": 0, "all": _canary}[_edge]
    k += {"-": -1, "+": 1}.get(_edge[-1], 0)
    return stable, (_canary, min(max(k, 0), _canary))


def check_decisions(seeds):
    edges = ("harm", "harm-", "proof", "proof+", "expected", "harm+", "none", "all")
    for rate in (0.1, 0.0, 0.6):
        domain = {
            "_rate": cases.choice(rate), "_stable": cases.choice(900, 60, 4000, 9, 1), "_canary": cases.choice(300, 20, 1000, 5, 1),
            "_edge": cases.choice(*edges), "_last": cases.choice(False, True), "_looks": cases.choice(5, 2, 10, 1),
            "_margin": cases.choice(0.05, 0.2, 0.0), "_alpha": cases.choice(0.01, 0.1, 0.05),
            "_windows": cases.derived(lambda _looks, _margin, _alpha, **drawn: counts(**drawn, looks=_looks, margin=_margin, alpha=_alpha)),
            "stable": cases.derived(lambda _windows, **_: _windows[0]), "canary": cases.derived(lambda _windows, **_: _windows[1]),
            "look": cases.derived(lambda _last, _looks, **_: _looks if _last else max(1, _looks - 1)), "looks": cases.derived(lambda _looks, **_: _looks),
            "margin": cases.derived(lambda _margin, **_: _margin), "alpha": cases.derived(lambda _alpha, **_: _alpha),
        }  # fmt: skip
        for case in filter(lambda case: clear(*case), cases.draw(seeds, domain, count=12)):
            check.equal(decided(*case), decision(*case), f"`decide` of {case} (windows are (requests, failures))", why(*case))
    for case in [case for seed in seeds for case in telling(seed) if clear(*case)]:
        what = "`decide` of stable = {}; canary = {} (requests, failures); look = {}; looks = {}; margin = {}; alpha = {}".format(*case)
        check.equal(decided(*case), decision(*case), what, why(*case))
    for edge in edges:
        for looks, look in ((5, 1), (5, 5), (3, 2)):
            stable, canary = counts(0.1, 900 + seeds[-1], 300, edge, looks, 0.05, 0.01)
            wanted = decision(stable, canary, look, looks, 0.05, 0.01)
            what = f"`decide` for stable {stable}, canary {canary} (requests, failures), look {look} of {looks}, margin and alpha not given"
            check.equal(decided_by_default(stable, canary, look, looks), wanted, what, why(stable, canary, look, looks, 0.05, 0.01))
    large = (200_000, 20_000)
    for canary in ((200_000, 20_000), (200_000, 20_900), (100_000, 9_800)):
        case = large, canary, 3, 3, 0.01, 0.01
        check.equal(decided(*case), decision(*case), f"`decide` for stable {large}, canary {canary}", why(*case))


with check.exercise("canary"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check_decisions(seeds)

# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# An urn holds all requests of both versions, the failures among them marked. The canary drew its requests from it: how
# likely are so many marked ones or more? "Or more" includes the number itself.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `scipy.stats.hypergeom.sf(k, all, marked, drawn)` is the probability of **more than** k;
# `scipy.stats.fisher_exact([[a, b], [c, d]], alternative="greater").pvalue` is the p-value ready-made (which rows, which
# columns?). `scipy.stats.norm.ppf(probability)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# as_bad_or_worse = hypergeom.sf(canary.failures - 1, all requests, all failures, canary.requests)
# if as_bad_or_worse < ...:
#     return "rollback"
# if look < looks:
#     return ...
# p, q = ((w.failures + 1) / (w.requests + 2) for w in (canary, stable))
# error = math.sqrt(...)
# return "promote" if p - q + norm.ppf(1 - alpha) * error < ... else ...
# ```
# </details>


# %% [markdown]
# The rule on pretended canaries: just as good as the stable version (10 % wrong), worse by the margin (15 %), and clearly
# worse (20 %). Five looks, 300 canary requests more at each; the stable version gets nine, three or one times as many. Is
# the chance of a false alarm below `alpha` for each of them?


# %%
def pretend(rate, times, seed, looks=5, step=300):
    """One canary with failure rate `rate` against a stable version with 0.1: the decision and the look at which it fell."""
    generator = np.random.default_rng(seed)
    stable, canary = Window(0, 0), Window(0, 0)
    for look in range(1, looks + 1):
        stable = Window(stable.requests + times * step, stable.failures + int(generator.binomial(times * step, 0.1)))
        canary = Window(canary.requests + step, canary.failures + int(generator.binomial(step, rate)))
        result = decide(stable, canary, look, looks)
        if result != "continue":
            return result, look


pretended = 400
kinds = {"as good (10 % wrong)": 0.10, "worse by the margin (15 %)": 0.15, "clearly worse (20 %)": 0.20}
alarms, shares = {}, {}
for times in (9, 3, 1):
    for name, rate in kinds.items():
        ends = [pretend(rate, times, seed=seed + 1000 * times) for seed in range(pretended)]
        shares[times, name] = [
            sum(end[0] == "rollback" and end[1] < 5 for end in ends) / pretended,
            sum(end == ("rollback", 5) for end in ends) / pretended,
            sum(end[0] == "promote" for end in ends) / pretended,
        ]
    early = round(pretended * shares[times, "as good (10 % wrong)"][0])
    alarms[times] = early
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), sharey=True, layout="constrained")
for axis, times in zip(axes, (9, 3, 1)):
    left = np.zeros(3)
    for part, (label, colour) in enumerate((("rolled back early", "C3"), ("rolled back at the end", "C1"), ("promoted", "C2"))):
        width = np.array([100 * shares[times, name][part] for name in kinds])
        axis.barh(list(kinds), width, left=left, color=colour, label=label)
        left += width
    axis.set(title=f"stable : canary = {times} : 1", xlabel="canaries (%)")
axes[0].legend(fontsize=7, loc="lower left")
plt.show()
for times, early in alarms.items():
    print(f"stable : canary = {times} : 1, an equally good canary: {early} of {pretended} rolled back before the last look ({early / pretended:.2%})")
total = sum(alarms.values())
claims.record(
    "a two-sample test keeps false alarms at the level asked for, however small the stable version's share",
    claimed="at most 1 % before the last look",
    measured=", ".join(f"{early / pretended:.2%} at {times}:1" for times, early in alarms.items()),
    holds=total / (3 * pretended) <= 0.01,
    how=f"{pretended} pretended canaries each, five looks, alpha 1 %",
)

# %% [markdown]
# ### 9 · Show it and say what it is (`demo_and_card`, 2 points, 30 minutes, difficulty 1 of 3)
#
# A demo lets people try the model; a card tells them when not to. Both are part of shipping. Each of the two functions earns
# half.
#
# `make_demo(run)` returns a Gradio app (`gr.Interface` or `gr.Blocks`); `run` maps float32 `(n, 1, 16, 16)` to logits `(n, 10)`.
#
# - The app has one function with the API name `classify`: one input, a `gr.Image` (not a drawing pad, which gives its
#   function something else), one output, a `gr.Label`. <!-- rule: api -->
# - It takes a picture as people draw it, **dark ink on white paper**, grey, of any size from 1 x 1, and shrinks it to
#   16 x 16 with PIL's `Image.BOX`: each new pixel is the mean of a block, rounded to a byte. (A mean that is not rounded, or
#   otherwise, is right too: up to 1/255 more or less.) <!-- rule: shrink -->
# - `run` gets, once, what the model knows: float32 `(1, 1, 16, 16)`, ink 1, paper 0, grey between
#   them. <!-- rule: ink -->
# - `classify`, a `def` or an `async def`, returns a dict `{"0": probability, ...}`, whose keys are the ten digits as text: the
#   softmax of the logits, which may be several hundred. <!-- rule: probabilities -->
# - Two apps share nothing. <!-- rule: own -->
# - Without a picture (`None`) it raises `gr.Error` with a sentence of yours, three words or more, that says what to do: Gradio
#   shows it to the user, in place of a traceback in your log. <!-- rule: none -->
#
# `make_card(accuracy, count)` returns the text of a model card; `accuracy` (0 to 1) was measured on `count` (1 or more) held-out
# pictures.
#
# - It begins with a YAML header between lines of `---`: the licence `mit`, the pipeline tag
#   `image-classification`. <!-- rule: header -->
# - The header's model-index has one result, for the task `image-classification`: the metric `accuracy` with its value from 0 to
#   1, not rounded, down to 0.00001 (YAML reads `1e-05` as text, `1.0e-05` as a number), on a dataset whose type and name you
#   give: neither is empty. <!-- rule: result -->
# - Below stand the sections `## Intended use`, `## Limits`, `## Training data`, `## Evaluation`, each with 40 characters or
#   more. <!-- rule: sections -->
# - The evaluation says the accuracy in percent with one decimal (`89.3 %` or `89.3%`), and `count`. <!-- rule: figures -->

# %%
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

Cluttered renderings of the training half of scikit-learn's digits, which are the test half of UCI's set, written by 13 people.

## Evaluation

Accuracy {accuracy:.1%} on {count} held-out pictures made from digits that no training run has seen.
"""
    ### END SOLUTION


# %% tests="demo_and_card" points=2
@check.scenario
def demo_seen(pictures, logits):
    """What the app is made of, and what classify gives for pictures that go through its components as in the running app.

    `run` answers the i-th picture with row i of `logits`.
    """
    from gradio.data_classes import ImageData

    given = []

    def run(images):
        given.append(images)
        return logits[len(given) - 1 : len(given)]

    demo = make_demo(run)
    make_demo(lambda images: np.zeros((len(images), 10), np.float32))  # another app, with a model of its own
    seen = {"app": type(demo).__name__, "is app": isinstance(demo, gr.Blocks), "names": [], "given": [], "told": []}
    if not seen["is app"]:
        return seen
    functions = list(demo.fns.values())
    seen["names"] = [str(function.api_name) for function in functions]
    named = [function for function in functions if function.api_name == "classify"]
    if len(named) != 1:
        return seen
    seen["inputs"] = [(type(part).__name__, isinstance(part, gr.Image)) for part in named[0].inputs]
    seen["outputs"] = [(type(part).__name__, isinstance(part, gr.Label)) for part in named[0].outputs]
    if [fits for _, fits in seen["inputs"]] != [True] or [fits for _, fits in seen["outputs"]] != [True]:
        return seen
    (image,), (label,) = named[0].inputs, named[0].outputs

    def answer_of(picture):
        result = named[0].fn(picture)
        return run_async(result, jump=False) if asyncio.iscoroutine(result) else result

    for number, picture in enumerate(pictures):
        place = Path(tempfile.mkdtemp()) / "drawn.png"
        Image.fromarray(picture).save(place)
        result = answer_of(image.preprocess(ImageData(path=str(place), orig_name="drawn.png")))
        if not isinstance(result, dict):
            return seen | {"kind": type(result).__name__}
        if all(isinstance(value, (int, float)) for value in result.values()):
            label.postprocess(result)
        seen["told"].append(result)
        seen["calls"] = seen.get("calls", []) + [len(given) - number]
    seen["given"] = given
    try:
        answer_of(None)
        seen["none"] = ("no error", "")
    except gr.Error as error:
        seen["none"] = ("Error", str(error.message))
    except Exception as error:
        seen["none"] = (type(error).__name__, "")
    return seen


def check_demo(seeds):
    for seed in seeds:
        generator = np.random.default_rng(seed)
        sizes = [(16, 16), (128, 128), (40, 100), (9, 5), (1, 1), tuple(generator.integers(17, 200, 2).tolist())]
        pictures = [generator.integers(0, 256, size).astype(np.uint8) for size in sizes] + [np.full((30, 30), 255, np.uint8), np.zeros((50, 20), np.uint8)]
        logits = (3 * generator.normal(size=(len(pictures), 10))).astype(np.float32)
        logits[2::3] = 200 + 60 * logits[2::3]
        seen = demo_seen(pictures, logits)
        check.true(seen["is app"], f"make_demo returned {seen['app']}, expected a Gradio app (gr.Interface or gr.Blocks).")
        check.true(seen["names"].count("classify") == 1, f"the app has the API names {seen['names']}, expected classify once.")
        for what, wanted in (("inputs", "Image"), ("outputs", "Label")):
            kinds = [name for name, _ in seen[what]]
            check.true([fits for _, fits in seen[what]] == [True], f"classify's {what} are {', '.join(kinds) or 'none'}, expected one gr.{wanted}.")
        check.true("kind" not in seen, f"what classify returns is of type {seen.get('kind')}, expected a dict: gr.Label takes {{label: probability}}.")
        check.equal(seen["calls"], [1] * len(pictures), "the number of calls of run, less those for earlier pictures",
                    "one picture, one call, of the run that was given to this app: another app was made after it")  # fmt: skip
        for picture, row, given, told in zip(pictures, logits, seen["given"], seen["told"]):
            what = f"a picture of {picture.shape[0]} x {picture.shape[1]}"
            small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
            exact = picture.shape == (16, 16) or picture.min() == picture.max()  # nothing to round
            check.equal(given, 1 - small[None, None], f"the array given to run for {what}",
                        "float32 (1, 1, 16, 16), ink 1 and paper 0, each pixel the mean of a block, rounded to a byte or within 1/255 of that",
                        causes={"people draw dark on white, the model knows white on black": small[None, None]}, rtol=0, atol=1e-5 if exact else 1 / 255 + 1e-5)  # fmt: skip
            wanted = {str(digit): float(p) for digit, p in enumerate(softmax(row))}
            check.equal(told, wanted, f"the probabilities for {what}, logits up to {row.max():.0f}",
                        "the softmax of the logits, for all ten digits", rtol=1e-3, atol=1e-6)  # fmt: skip
        kind, message = seen["none"]
        check.true(kind == "Error", f"classify without a picture: {kind}, expected gr.Error, which is shown to the user.")
        check.true(len(message.split()) >= 3, f"the gr.Error has no message of three words or more ({message!r}): say what to do.")


def check_card(accuracy, count):
    what = f"make_card({accuracy}, {count})"
    text = make_card(accuracy, count)
    check.kind(text, str, what)
    check.true(text.startswith("---\n"), f"{what} does not begin with a YAML header between lines of ---.")
    try:
        card = ModelCard(text)
        data, body = card.data, card.text
        results = data.eval_results or []
        header = (data.license, data.get("pipeline_tag"))
    except Exception as error:
        check.true(False, f"the header of {what} cannot be read: {type(error).__name__}: {str(error)[:150]}")
    check.equal(header[0], "mit", "license in the header")
    check.equal(header[1], "image-classification", "pipeline_tag in the header")
    check.equal(len(results), 1, "the number of results in the model-index", "EvalResult in ModelCardData(eval_results=[...], model_name=...)")
    check.equal(results[0].metric_type, "accuracy", "the metric's type")
    value = results[0].metric_value
    check.true(not isinstance(value, str), f"the metric's value in the header of {what} is the text {value!r}, no number: YAML reads 1e-05 as text, 1.0e-05 and 0.00001 as numbers.")
    check.equal(value, accuracy, "the metric's value", "the measured accuracy as it is, from 0 to 1", rtol=1e-9)
    check.equal(results[0].task_type, "image-classification", "the task of the result")
    for part, text in (("type", results[0].dataset_type), ("name", results[0].dataset_name)):
        check.true(isinstance(text, str) and bool(text.strip()), f"the result in the header of {what} does not say the {part} of its dataset (it is {text!r}).")
    sections = {part.splitlines()[0].strip(): part.partition("\n")[2].strip() for part in re.split(r"(?m)^## ", body)[1:]}
    for name in ("Intended use", "Limits", "Training data", "Evaluation"):
        length = len(sections.get(name, ""))
        check.true(length >= 40, f"the section '## {name}' is missing or says almost nothing ({length} characters).")
    said = re.sub(r"(?<=\d),(?=\d{3})", "", re.sub(r"\s+%", "%", sections["Evaluation"]))
    numbers = re.findall(r"\d+(?:\.\d+)?%?", said)
    wanted = {f"{accuracy:.1%}", f"{100 * accuracy:.1f}%"}
    check.true(bool(wanted & set(numbers)), f"the evaluation of {what} does not name the accuracy, {accuracy:.1%}. A card repeats what was measured.")
    check.true(str(count) in numbers, f"the evaluation of {what} does not say on how many pictures it was measured ({count}).")


def check_cards(seeds):
    check_card(1.0, 1)
    check_card(0.0, 7)
    check_card(1e-05, 100_000)
    for seed in seeds:
        generator = np.random.default_rng(seed)
        for count in generator.integers(20, 5000, 4).tolist():
            check_card(int(generator.integers(0, count)) / count, count)


with check.exercise("demo_and_card"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"demo": lambda: check_demo(seeds), "card": lambda: check_cards(seeds)})
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
# ## Part D · The live service
#
# Nothing more to write: now everything runs. The file `service.py` is made of *your* cells (exercises 1, 4, 5 and 6; 7 comes below) and
# a few lines that put them together. It imports no PyTorch: the process that serves needs NumPy, ONNX Runtime and
# FastAPI, starts in seconds, and takes little memory (its own figure stands in the metrics below).
#
# **What the copies find**: the imports in `BEGIN` below, `Overloaded`, `softmax`, and the imports above exercise 5. Where a program
# stops with a `NameError`, your cell uses another name of the notebook: import or define it there.

# %%
import socket

import httpx


def cell_of(function):
    """The whole text of the cell in which a function was written."""
    return "".join(linecache.getlines(function.__code__.co_filename))


BEGIN = '''"""Digits over HTTP, from an ONNX file."""
import asyncio, contextlib, copy, functools, json, logging, math, os, signal, sys, threading, time
from collections import deque
from dataclasses import dataclass
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
# ### A stop that loses nothing
#
# Your `serve` at the heart of a second program, `worker.py`: one connection, one line of JSON in, one out; 0.2 s of waiting
# stand for a larger model. Your `open_loop` sends 60 requests a second over real connections, and in the middle the
# process gets SIGTERM. As a control the same program gets SIGKILL, which nobody can handle.

# %%
WORKER = """
run, counts = load_onnx(os.environ["MODEL"]), {"accepted": 0, "answered": 0}


async def main():
    connections = asyncio.Queue()
    batcher = MicroBatcher(lambda images: asyncio.to_thread(run, images), 32, 0.005, 256)

    async def accept():
        connection = await connections.get()
        counts["accepted"] += 1
        return connection

    async def handle(connection):
        reader, writer = connection
        try:
            image = np.array([json.loads(await reader.readline())["image"]], np.float32)
            await asyncio.sleep(0.2)
            logits = await batcher.submit(image)
            writer.write(json.dumps({"label": int(logits.argmax())}).encode() + b"\\n")
            await writer.drain()
            counts["answered"] += 1
        finally:
            writer.close()

    async def connected(*connection):
        await connections.put(connection)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    code = await serve(accept, handle, 5.0)
    server.close()
    print(json.dumps(counts), flush=True)
    return code


sys.exit(asyncio.run(main()))
"""
parts = [BEGIN, *map(cell_of, (softmax, load_onnx, MicroBatcher.submit, serve)), WORKER]
(workshop / "worker.py").write_text("\n\n".join(parts))


async def load_and_stop(process, port, number, stop_after=1.0):
    """Open-loop load on a worker that gets a signal: the results, and the seconds until the process ended."""

    async def send(i):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(good + b"\n")
            line = await reader.readline()
        finally:
            writer.close()
        if not line:
            raise ConnectionError("closed without an answer")
        return json.loads(line)["label"]

    async def stop():
        await asyncio.sleep(stop_after)
        process.send_signal(number)
        begin = time.monotonic()
        await asyncio.to_thread(process.wait, 20)
        return time.monotonic() - begin

    return await asyncio.gather(open_loop(send, [i / 60 for i in range(120)]), stop())


stopped = {}
for number in (signal.SIGTERM, signal.SIGKILL):
    settings = os.environ | {"MODEL": str(onnx_path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "worker.py"], cwd=workshop, env=settings, stdout=subprocess.PIPE, text=True) as process:
        try:
            results, seconds = run_async(load_and_stop(process, int(process.stdout.readline()), number), jump=False)
            said = process.stdout.read().strip()
        finally:
            process.kill()
    answered = sum(isinstance(answer, int) for _, answer in results)
    before = sum(not isinstance(answer, int) for i, (_, answer) in enumerate(results) if i / 60 < 0.9)
    stopped[number] = before, process.returncode
    print(
        f"{number.name}: {answered} of {len(results)} answered; of those sent up to 0.1 s before the signal, {before} got no answer; "
        f"the process ended after {seconds:.1f} s with exit code {process.returncode}; it counted {said or 'nothing any more'}"
    )
claims.record(
    "a graceful shutdown loses no accepted request",
    claimed="0 lost, exit code 0",
    measured=f"SIGTERM: {stopped[signal.SIGTERM][0]} lost, exit code {stopped[signal.SIGTERM][1]}; SIGKILL: {stopped[signal.SIGKILL][0]} lost",
    holds=stopped[signal.SIGTERM] == (0, 0),
    how="60 requests a second by schedule, about 12 under way when the signal comes",
)

# %% [markdown]
# ### Does batching raise throughput?
#
# It depends on what a call costs. For the small digits network reading HTTP is a large part of it. So the
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
    ("digits, one a call", onnx_path, 1),
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

gain = {}
for kind in ("digits", "wide"):
    (alone, alone_cpu, _), (batched, batched_cpu, _) = measured[f"{kind}, one a call"], measured[f"{kind}, up to 32 a call"]
    gain[kind] = batched / alone, alone_cpu / batched_cpu
    print(f"{kind}: batching gives {batched / alone:.1f}x the requests/s, and takes {alone_cpu / batched_cpu:.1f}x less CPU time for each")
claims.record(
    "micro-batching raises throughput where a call is expensive",
    claimed="at least twice the requests per second",
    measured=f"{gain['wide'][0]:.1f}x requests/s, {gain['wide'][1]:.1f}x less CPU time per request (wide model, 32 clients); digits {gain['digits'][0]:.1f}x",
    holds=gain["wide"][0] >= 2,
    how="closed loop, 32 clients; for the small digits network HTTP is a large part of the cost",
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
    claimed="at least 1.5x, for one picture and for 64",
    measured="; ".join(said[name] for name in ways if name in ("ONNX Runtime", "AOTInductor")),
    holds=all(min(gains[name]) >= 1.5 for name in ("ONNX Runtime", "AOTInductor") if name in gains),
    how=f"CPU time, one thread, a network of {sum(p.numel() for p in model.parameters()):,} weights; {said['exported program']}",
)

# %% [markdown]
# Exporting alone compiles nothing: the exported program runs the same operators one by one, and each call first checks what
# the export promised. What the others gain comes from whoever compiles the program: batch norms are folded into
# convolutions, operators are fused, memory is planned once. It is for this network, on this processor: measure your own
# model.

# %% [markdown]
# ## Claims measured
#
# | claim | where |
# |---|---|
# | bad requests get a 4xx answer in bounded time, and the service stays up | part D, under attack |
# | a client that never finishes its header is sent away too | part D, under attack |
# | a client that waits for its answers hides a stall | exercise 7 |
# | a two-sample test keeps false alarms at the level asked for | exercise 8 |
# | a graceful shutdown loses no accepted request | part D |
# | micro-batching raises throughput where a call is expensive | part D |
# | a canary with a worse model is rolled back by the rule | part D, the canary |
# | an exported model answers faster than eager PyTorch | part D, last section |
#
# The table with your own figures stands below the last of them; `unit24 claims` prints it in a terminal.

# %% [markdown]
# ## On a bigger machine
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
# ## Quiz
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
# 4. Why does micro-batching help the wide model more than the digits network?
# - [ ] It has more layers, and each layer is called once a batch :: It has fewer. What counts is what a call costs, whatever its rows.
# - [ ] ONNX Runtime cannot batch convolutions :: It can; the digits file takes any batch.
# - [x] One call of the wide model reads 71 MB of weights, whether for 1 row or 32 :: The cost that does not depend on the rows is shared. For the digits network HTTP is a larger part.
# - [ ] Requests with large answers wait longer in the queue :: Both answer with ten numbers.
# 5. After every 200 requests you test at the level of 1 % whether the canary is worse, ten times, and roll back at the first alarm. What is the chance that an equally good canary is rolled back?
# - [ ] 1 %: the level of the test :: That is the chance at one look.
# - [x] More than 1 %, up to 10 % :: Each look is another chance for bad luck. Dividing the level by the number of looks bounds the sum.
# - [ ] 0.1 %: the level is shared by the looks :: That would be the level for each look that bounds the sum at 1 %; nobody divided it here.
# - [ ] Less than 1 %, because later looks hold more requests :: More requests make each estimate better; every look is still a chance of 1 % or so.

# %% [markdown]
# ## What to read next
#
# - [Export to ONNX](https://docs.pytorch.org/docs/stable/onnx.html) and [torch.export](https://docs.pytorch.org/docs/stable/export.html):
#   what can be recorded, and what dynamic shapes promise.
# - [AOTInductor](https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html): also how C++ loads a `.pt2`.
# - [ONNX Runtime's performance guide](https://onnxruntime.ai/docs/performance/): threads, graph optimisations, quantisation.
# - [Triton's model configuration](https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html):
#   all that `config.pbtxt` can say.
# - [Prometheus: instrumentation](https://prometheus.io/docs/practices/instrumentation/): which labels, which buckets.
# - [Canarying releases](https://sre.google/workbook/canarying-releases/) in Google's SRE workbook.
# - Not here, and asked for at work in 2026: int8 and float16 files (lesson 16 has the arithmetic), start-up probes beside
#   the two of exercise 6, traces across services (OpenTelemetry), and watching the inputs for drift.
# - Next: project 33 puts several such services behind a balancer.
