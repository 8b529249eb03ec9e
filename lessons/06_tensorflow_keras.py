# ---
# jupyter:
#   unit24:
#     needs: ["jax", "keras>=3", "matplotlib>=3.8", "numpy>=1.26", "scikit-learn", "tensorflow-cpu>=2.16", "torch>=2.6"]
# ---

# %% [markdown]
# # 06 · TensorFlow, Keras and JAX
#
# Models are published in more than one framework, and teams inherit code in all of them. Whoever knows PyTorch can read the others within days, since the ideas are the same: tensors,
# gradients, layers, input pipelines. What differs is *when* code runs. PyTorch runs each line as it comes. TensorFlow and JAX can also **trace** a function once, and run what they recorded.
#
# **You will build** the same things in each of the three: a model with two inputs, a layer and a callback in Keras; an input pipeline, a training step and a service in TensorFlow; gradients of
# single rows and a compiled function in JAX. You carry weights from one framework to another until the outputs agree to 1 in 100,000. You count how often a function is traced.
#
# **You need first** lessons 02 to 05 (PyTorch, networks, the training loop, data loading).
#
# **Time** about four hours: eight exercises and a written answer, 26 points.
#
# | part | idea | exercises |
# |---|---|---|
# | 1 | Keras describes a model; a backend computes it | `two_inputs`, `gated_dense`, `best_epoch` |
# | 2 | weights are numbers: they fit into any framework, if their axes do | `to_torch` |
# | 3 | TensorFlow: pipelines, a tape for gradients, graphs from traces | `pipeline`, `train_step`, `make_predict` |
# | 4 | JAX: pure functions and what turns them into others | `transforms` |
# | 5 | all of it at work, measured | `framework_choice` |

# %% setup

# %% [markdown]
# Keras asks for its backend once, when it is imported; a process keeps the one it got. Here it is PyTorch. The other settings keep this notebook on the CPU and stop the log lines that TensorFlow writes when it starts.

# %%
import os

hidden_gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ |= {"KERAS_BACKEND": "torch", "KERAS_TORCH_DEVICE": "cpu", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "GRPC_VERBOSITY": "NONE"}

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import keras  # with PyTorch, and so before TensorFlow, see part 2
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import torch
from sklearn.datasets import load_digits
from tensorflow.python.framework import kernels

from unit24 import cases, check, claims

torch.set_num_threads(1)  # tensors here are small: more threads would wait for each other
tf.get_logger().setLevel("ERROR")
kernels.get_registered_kernels_for_op("MatMul")  # makes TensorFlow look for kernels now: the first look reads /proc/self/cmdline, which grading's processes may not
print(f"Keras {keras.__version__} computes with {keras.backend.backend()}; beside it TensorFlow {tf.__version__} and JAX {jax.__version__}")

# %% [markdown]
# ## 1 · Keras describes, a backend computes
#
# **Keras 3** (2023, https://keras.io/keras_3) is a library of layers, losses, optimizers and a training loop. It holds no arithmetic of its own: PyTorch, TensorFlow or JAX computes, chosen by `KERAS_BACKEND`. With the backend here each
# Keras layer *is* a `torch.nn.Module`, and each of its variables holds a `torch.nn.Parameter`:

# %%
dense = keras.layers.Dense(3)
y = dense(np.ones((2, 4), "float32"))  # the first call says how many inputs there are, so now the weights are made
print(f"a layer is a torch module: {isinstance(dense, torch.nn.Module)}; its output is a {type(y).__name__}; kernel {tuple(dense.kernel.shape)}, bias {tuple(dense.bias.shape)}")

# %% [markdown]
# Two things differ from `torch.nn.Linear`. The kernel has shape [inputs, outputs], so that the layer computes `x @ kernel + bias`. And the weights are made when the layer meets its first input, in its method
# `build`, not in `__init__`.
#
# The **functional** way to make a model: begin with `keras.Input`, a placeholder with shape and dtype but without numbers. Call layers on it, and on what they return. `keras.Model(inputs, outputs)` then keeps all layers
# that lie on the way. The number of rows stays open (`None`), and so may other axes.
#
# ### Exercise 1 · A model with two inputs (`two_inputs`, 3 points, 25 minutes, difficulty 1 of 3)
#
# A row of data consists of some numbers and of a short text, whose words are ids. Texts of a batch have equally many places; a place without a word has **id 0**. Such places may come anywhere in a text.
#
# Write `two_inputs(numbers, vocabulary, width, classes)`. It returns a functional `keras.Model`. Sizes: `numbers`, `width` and `classes` from 1 to 12, `vocabulary` from 2 to 30.
#
# - It is called with a dictionary: `"numbers"` is float32 [n, numbers], `"words"` int32 [n, t] with ids from 0 to vocabulary - 1. n and t may differ from call to call (1 to 30). <!-- rule: inputs -->
# - The numbers go through a dense layer named `hidden` with `width` outputs and a ReLU. <!-- rule: hidden -->
# - The ids go through an embedding named `embedding` with `vocabulary` vectors of length `width`, and then their mean over the places is taken. <!-- rule: mean -->
# - Places with id 0 do not count, neither in the sum nor in the number by which it is divided. (Each row has at least one other id.) <!-- rule: padding -->
# - Both results are put side by side, first that of the numbers. A dense layer named `logits` with `classes` outputs and no activation follows; what it gives, [n, classes], is the output. <!-- rule: logits -->
#
# The kernels and the embedding are `layer.get_weights()` of these three layers, as Keras' own `Dense` and `Embedding` have them. Outputs may differ by 0.0001 plus 1 in 10,000.


# %% exercise="two_inputs" minutes=25 difficulty=1
def two_inputs(numbers: int, vocabulary: int, width: int, classes: int) -> keras.Model:
    """A functional model from `numbers` [n, numbers] and `words` [n, t] to logits [n, classes]."""
    ### BEGIN SOLUTION
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((None,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    vectors = keras.layers.Embedding(vocabulary, width, mask_zero=True, name="embedding")(ids)
    mean = keras.layers.GlobalAveragePooling1D()(vectors)  # the mask travels with the vectors
    both = keras.layers.Concatenate()([hidden, mean])
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(both))
    ### END SOLUTION


# %% tests="two_inputs" points=3
@check.scenario
def shapes_of_weights(numbers, vocabulary, width, classes):
    layers = {layer.name: layer for layer in two_inputs(numbers, vocabulary, width, classes).layers}
    return {name: [list(w.shape) for w in layers[name].get_weights()] for name in ("hidden", "embedding", "logits") if name in layers}


def right_shapes(numbers, vocabulary, width, classes):
    return {"hidden": [[numbers, width], [width]], "embedding": [[vocabulary, width]], "logits": [[2 * width, classes], [classes]]}


@check.scenario
def logits_of(x, words, W, b, E, V, c):
    model = two_inputs(x.shape[1], len(E), W.shape[1], V.shape[1])
    for name, weights in (("hidden", [W, b]), ("embedding", [E]), ("logits", [V, c])):
        model.get_layer(name).set_weights(weights)
    few = model({"numbers": x[:1], "words": words[:1, :1]}) if words[0, 0] else None  # another n and t
    got = model({"numbers": x, "words": words})
    return [None if few is None else keras.ops.convert_to_numpy(few), keras.ops.convert_to_numpy(got)]


def logits_in_words(x, words, W, b, E, V, c, bend=True, seen=None, total=None, swap=False, end=lambda z: z):
    x, W, b, E, V, c = (np.asarray(part, np.float64) for part in (x, W, b, E, V, c))

    def once(x, words):
        counted = (words != 0 if seen is None else np.ones_like(words, bool))[..., None]
        hidden = np.maximum(x @ W + b, 0) if bend else x @ W + b
        divisor = counted.sum(1) if total is None else np.full((len(words), 1), total(words))
        mean = (E[words] * counted).sum(1) / divisor
        sides = [mean, hidden] if swap else [hidden, mean]
        return end(np.concatenate(sides, 1) @ V + c).astype(np.float32)

    return [once(x[:1], words[:1, :1]) if words[0, 0] else None, once(x, words)]


def softmax_of(z):
    powers = np.exp(z - z.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def filled(_words):
    """No row of padding alone: where there is one, its last place gets word 1."""
    words = np.ascontiguousarray(_words)
    words[(words == 0).all(1), -1] = 1
    return words


with check.exercise("two_inputs"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    sizes = {"numbers": cases.size("d"), "vocabulary": cases.size("v"), "width": cases.size("w"), "classes": cases.size("k")}
    hint = "three layers have names: `hidden`, `embedding`, `logits`; `logits` reads both results side by side"
    check.agrees(shapes_of_weights, right_shapes, cases.draw(seeds, sizes, count=3, d=(1, 12), v=(2, 30), w=(1, 12), k=(1, 12)), "the weights by layer of `two_inputs`", hint)
    single = {"dtypes": ("float32",), "layouts": ("contiguous",), "without": ("zero", "equal", "negative", "ties")}
    domain = {
        "x": cases.array("n", "d", dtypes=("float32",)),
        "_words": cases.array("n", "t", dtypes=("int32",), below="v"),
        "words": cases.derived(lambda _words, **_: filled(_words)),
        "W": cases.array("d", "w", **single),
        "b": cases.array("w", **single),
        "E": cases.array("v", "w", **single),
        "_above": cases.array("w", "k", **single),
        "_below": cases.array("w", "k", **single),
        "V": cases.derived(lambda _above, _below, **_: np.concatenate([_above, _below])),
        "c": cases.array("k", **single),
    }
    causes = {
        "places with id 0 count in the mean, as if they were words": lambda *a: logits_in_words(*a, seen="all"),
        "the sum leaves places with id 0 out, but is divided by the number of all places": lambda *a: logits_in_words(*a, total=lambda words: words.shape[1]),
        "the vectors were added up, without the mean": lambda *a: logits_in_words(*a, total=lambda words: 1),
        "the hidden layer has no ReLU": lambda *a: logits_in_words(*a, bend=False),
        "the mean of the words comes first: the numbers come first": lambda *a: logits_in_words(*a, swap=True),
        "the output went through a softmax: logits have no activation": lambda *a: logits_in_words(*a, end=softmax_of),
        "the output went through a ReLU: logits have no activation": lambda *a: logits_in_words(*a, end=lambda z: np.maximum(z, 0)),
    }
    drawn = cases.draw(seeds, domain, count=8, n=(1, 30), t=(1, 30), d=(1, 12), v=(2, 30), w=(1, 12), k=(1, 12))
    hint = "relu(numbers through `hidden`) beside the mean of the embeddings of all ids but 0, then `logits`"
    check.agrees(logits_of, logits_in_words, drawn, "`two_inputs` (logits of the first word of the first row; of all)", hint, causes=causes, rtol=1e-4, atol=1e-4)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# The axis of the words has no fixed length: its size in `keras.Input` is `None`. Somebody must tell the mean which places are padding; Keras has a word for that, and it travels from layer to layer by itself.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `keras.Input(shape, dtype=..., name=...)`, `keras.layers.Embedding(..., mask_zero=True)`, `keras.layers.GlobalAveragePooling1D`, `keras.layers.Concatenate`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `ids = keras.Input((None,), dtype="int32", name="words")`, `mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(vocabulary, width, mask_zero=True, name="embedding")(ids))`, the numbers through `Dense(width, activation="relu", name="hidden")`,
# then `keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([hidden, mean])))`.
# </details>
#
# What are two inputs good for? In these made-up data an answer depends on a number *and* on whether word 7 occurs, each alone says little. The model is trained with `compile` and `fit`: Keras' own loop, with
# the loss and the optimizer by name.

# %%
keras.utils.set_random_seed(1)
random = np.random.default_rng(1)
rows = {"numbers": random.normal(size=(1500, 3)).astype("float32"), "words": random.integers(0, 12, (1500, 8)).astype("int32")}
answers = ((rows["numbers"][:, 0] > 0) ^ (rows["words"] == 7).any(1)).astype("int32")
blank = {"numbers": np.zeros_like(rows["numbers"]), "words": np.ones_like(rows["words"])}
reached = {}
for title, given in (("both", rows), ("numbers alone", rows | {"words": blank["words"]}), ("words alone", rows | {"numbers": blank["numbers"]})):
    places = {"numbers": keras.Input((3,), name="numbers"), "words": keras.Input((None,), dtype="int32", name="words")}
    deeper = keras.layers.ReLU()(two_inputs(3, 12, 12, 12)(places))  # a model is a layer, too
    classifier = keras.Model(places, keras.layers.Dense(2)(deeper))
    classifier.compile(optimizer=keras.optimizers.Adam(0.02), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    seen, unseen = ({name: part[at] for name, part in given.items()} for at in (slice(0, 1000), slice(1000, None)))
    classifier.fit(seen, answers[:1000], batch_size=50, epochs=15, verbose=0)
    reached[title] = classifier.evaluate(unseen, answers[1000:], verbose=0)[1]
figure, panel = plt.subplots(figsize=(5, 2), layout="constrained")
panel.barh(list(reached), list(reached.values()))
panel.axvline(0.5, color="gray", linestyle=":")
panel.set(title="500 new rows", xlabel="share of right answers (dotted: a guess)", xlim=(0, 1))
plt.show()

# %% [markdown]
# A model is a layer: yours stands inside another one here, with its two inputs.
#
# Keras' layers do not cover everything. A layer of your own is a class with up to four methods:
#
# | method | when | what |
# |---|---|---|
# | `__init__` | it is made | notes the settings; calls `super().__init__(**kwargs)` first, which takes `name` and `dtype` |
# | `build(input_shape)` | its first input comes | makes the weights with `self.add_weight(...)` |
# | `call(inputs)` | each time | computes, with `keras.ops`, so that any backend can do it |
# | `get_config()` | it is saved | the settings as a dictionary, so that `from_config` can make it again |
#
# ### Exercise 2 · A layer of your own (`gated_dense`, 3 points, 25 minutes, difficulty 2 of 3)
#
# Many language models have layers with a *gate* (gated linear units; Dauphin et al., 2016, https://arxiv.org/abs/1612.08083): one product says what, a second one how much of it passes.
#
# Write the class `GatedDense(units, **kwargs)`, a `keras.layers.Layer`; `units` and the number of inputs d are 1 to 20.
#
# - For an input [..., d] with two, three or four axes, which may change from call to call (float32, numbers from -10 to 10, as are the weights) it gives `(x @ kernel + bias) * sigmoid(x @ gate_kernel + gate_bias)`, of shape [..., units]. Values may differ by 0.0001 plus 1 in 10,000. <!-- rule: value -->
# - It has exactly four weights, all of them trainable, under the attributes `kernel` and `gate_kernel` [d, units], `bias` and `gate_bias` [units]. They are there after the first call. <!-- rule: weights -->
# - Both biases begin at 0. The kernels begin at random numbers: within a kernel they differ, and so do the two kernels. <!-- rule: begin -->
# - `GatedDense.from_config(layer.get_config())` gives a layer with the same `units` and the same name, also where Keras chose the name, and before the first call. <!-- rule: config -->
# - Called with a `keras.Input` of two, three or four axes, it says the shape of its result. <!-- rule: symbolic -->
# - Two layers do not share anything. <!-- rule: apart -->


# %% exercise="gated_dense" minutes=25 difficulty=2
class GatedDense(keras.layers.Layer):
    """(x kernel + bias) * sigmoid(x gate_kernel + gate_bias)."""

    ### BEGIN SOLUTION
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="gate_kernel")
        self.gate_bias = self.add_weight(shape=(self.units,), initializer="zeros", name="gate_bias")

    def call(self, inputs):
        gate = keras.ops.sigmoid(keras.ops.matmul(inputs, self.gate_kernel) + self.gate_bias)
        return (keras.ops.matmul(inputs, self.kernel) + self.bias) * gate

    def get_config(self):
        return {**super().get_config(), "units": self.units}
    ### END SOLUTION


# %% tests="gated_dense" points=3
@check.scenario
def used_in_turn(settings):
    layers = [GatedDense(units) for units, _ in settings]
    for _ in range(2):
        found = [layer(np.ones((2, inputs), "float32")) for layer, (_, inputs) in zip(layers, settings)]
    for layer, (units, inputs) in zip(layers, settings):
        layer.kernel.assign(np.full((inputs, units), units, "float32"))
    return [[list(y.shape), list(layer.bias.shape), float(layer.kernel.numpy().mean())] for y, layer in zip(found, layers)]


@check.scenario
def fresh_layer(units, inputs, name):
    layer = GatedDense(units) if name is None else GatedDense(units, name=name)
    early = GatedDense.from_config(layer.get_config())
    layer(np.ones((2, inputs), "float32"))
    values = {key: getattr(layer, key).numpy() for key in ("kernel", "bias", "gate_kernel", "gate_bias")}
    own = {id(w) for w in layer.trainable_weights}
    again = GatedDense.from_config(layer.get_config())
    remade = [list(other(np.ones((2, inputs), "float32")).shape) for other in (early, again)]
    shapes = [list(GatedDense(units)(keras.Input((*more, inputs))).shape) for more in ((), (None,), (None, 3))]
    return {
        "shapes of the weights": {key: list(value.shape) for key, value in values.items()},
        "number of weights, and of trainable ones": [len(layer.weights), len(layer.trainable_weights)],
        "the four are trainable weights": all(id(getattr(layer, key)) in own for key in values),
        "biases begin at 0": not values["bias"].any() and not values["gate_bias"].any(),
        "numbers of a kernel differ": all(2 * len(np.unique(values[key])) > values[key].size for key in ("kernel", "gate_kernel")),
        "the two kernels differ": not np.array_equal(values["kernel"], values["gate_kernel"]),
        "made again from its configuration, before and after the first call: has the layer's name; shapes": [[other.name == (name or layer.name) for other in (early, again)], remade],
        "shape from a keras.Input of two, three, four axes": shapes,
    }


def a_fresh_one(units, inputs, name):
    return {
        "shapes of the weights": {"kernel": [inputs, units], "bias": [units], "gate_kernel": [inputs, units], "gate_bias": [units]},
        "number of weights, and of trainable ones": [4, 4],
        "the four are trainable weights": True,
        "biases begin at 0": True,
        "numbers of a kernel differ": True,
        "the two kernels differ": True,
        "made again from its configuration, before and after the first call: has the layer's name; shapes": [[True, True], [[2, units], [2, units]]],
        "shape from a keras.Input of two, three, four axes": [[None, units], [None, None, units], [None, None, 3, units]],
    }


@check.scenario
def gated(x, W, b, V, c):
    layer = GatedDense(W.shape[1])
    layer(np.ones((2, W.shape[0]), "float32"))  # another shape than that of x
    for name, value in (("kernel", W), ("bias", b), ("gate_kernel", V), ("gate_bias", c)):
        getattr(layer, name).assign(value)
    return keras.ops.convert_to_numpy(layer(x))


def gated_in_words(x, W, b, V, c, gate=lambda z: 0.5 * (1 + np.tanh(z / 2)), swap=False, bend=lambda z: z):
    x, W, b, V, c = (np.asarray(part, np.float64) for part in (x, W, b, V, c))
    what, much = x @ W + b, x @ V + c
    return (bend(what) * gate(much) if not swap else much * gate(what)).astype(np.float32)


with check.exercise("gated_dense"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.apart(used_in_turn, [[3, 4], [5, 2]], "GatedDense of [units, inputs] (shape of its output, shape of its bias, mean of the kernel that was set) with")
    fresh = {"units": cases.size("u"), "inputs": cases.size("d"), "name": cases.choice("a_gate", None)}
    check.agrees(fresh_layer, a_fresh_one, cases.draw(seeds, fresh, count=3, u=(1, 20), d=(1, 20)), "what is seen of a new `GatedDense`", "weights are made in `build`, by `self.add_weight`; what `__init__` was given stands in `get_config`")
    causes = {
        "the gate is missing": lambda *a: gated_in_words(*a, gate=lambda z: 1),
        "the gate has no sigmoid": lambda *a: gated_in_words(*a, gate=lambda z: z),
        "the gate went through a tanh": lambda *a: gated_in_words(*a, gate=np.tanh),
        "the gate went through a ReLU": lambda *a: gated_in_words(*a, gate=lambda z: np.maximum(z, 0)),
        "gate and value are exchanged": lambda *a: gated_in_words(*a, swap=True),
        "the gate's bias is missing": lambda x, W, b, V, c: gated_in_words(x, W, b, V, 0 * c),
        "the bias is missing": lambda x, W, b, V, c: gated_in_words(x, W, 0 * b, V, c),
    }
    wide = {"dtypes": ("float32",), "low": -10, "high": 10}
    single = wide | {"layouts": ("contiguous",), "without": ("low", "high", "equal", "edges")}
    for axes in (("n", "d"), ("n", "m", "d"), ("h", "n", "m", "d")):
        domain = {"x": cases.array(*axes, **wide), "W": cases.array("d", "u", **single), "b": cases.array("u", **single), "V": cases.array("d", "u", **single), "c": cases.array("u", **single)}
        lengths = {"n": (1, 9), "d": (1, 20), "u": (1, 20)} | ({"m": (1, 9)} if "m" in axes else {}) | ({"h": (1, 5)} if "h" in axes else {})
        drawn = cases.draw(seeds, domain, count=4, **lengths)
        check.agrees(gated, gated_in_words, drawn, "`GatedDense`", "(x @ kernel + bias) * sigmoid(x @ gate_kernel + gate_bias)", causes=causes, rtol=1e-4, atol=1e-4)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# `__init__` does not know how many inputs will come, `build` does: `input_shape[-1]`. Which settings must `get_config` add to those that the base class knows?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `self.add_weight(shape=..., initializer="zeros", name=...)`, with `"glorot_uniform"` for kernels; `keras.ops.matmul`, `keras.ops.sigmoid`; `super().get_config()`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# In `build`: `self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="glorot_uniform", name="kernel")`, and three more. `call` returns
# `(keras.ops.matmul(inputs, self.kernel) + self.bias) * keras.ops.sigmoid(...)`. `get_config` returns `{**super().get_config(), "units": self.units}`.
# </details>

# %% [markdown]
# Your layer works in a model like any other, and its saved form can be read by each backend: that is what part 2 needs. Here it learns what a dense layer of the same width finds hard, a product of two numbers.

# %%
keras.utils.set_random_seed(2)
pairs = np.random.default_rng(2).uniform(-2, 2, (1000, 2)).astype("float32")
products = pairs[:, :1] * pairs[:, 1:]
learned = {}
for title, layer in (("Dense, ReLU", keras.layers.Dense(8, activation="relu")), ("GatedDense", GatedDense(8))):
    one_layer = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
    one_layer.compile(optimizer=keras.optimizers.Adam(0.02), loss="mse")
    learned[title] = one_layer.fit(pairs, products, batch_size=100, epochs=20, verbose=0).history["loss"]
figure, panel = plt.subplots(figsize=(6, 2.6), layout="constrained")
for title, curve in learned.items():
    panel.semilogy(range(1, 21), curve, label=title)
panel.set(title="Learning to multiply with 8 units", xlabel="epoch", ylabel="mean squared error")
panel.legend()
plt.show()
print(f"after 20 epochs: {', '.join(f'{title} {curve[-1]:.2g}' for title, curve in learned.items())}")

# %% [markdown]
# A gate multiplies two sums of the inputs, so a product is close to what it can do anyway.
#
# `fit` is a loop that you do not see. A **callback** looks into it: an object whose methods Keras calls at set moments. `on_train_begin(logs)`, `on_epoch_end(epoch, logs)` and `on_train_end(logs)` are the ones used most. `self.model` is the model;
# `logs` is a dictionary such as `{"loss": 0.31, "val_loss": 0.40}`. Setting `self.model.stop_training = True` ends training after the epoch.
#
# ### Exercise 3 · The best epoch (`best_epoch`, 3 points, 25 minutes, difficulty 2 of 3)
#
# Keras has `EarlyStopping` for this. You write it, to know what it does. The class `BestEpoch(patience)` is a `keras.callbacks.Callback`; `patience` is 1 to 8. Each `fit` has 1 to 60 epochs, counted from 0, and calls it with a `val_loss` in the logs of each: a Python float, NaN or a number from -1,000 to 1,000 with up to three decimals.
#
# - An epoch is *better* if its `val_loss` is not NaN, and lower than all earlier ones of this `fit` that are not NaN (the first of these is better). Equal is not better. <!-- rule: better -->
# - When `patience` epochs in a row were not better, training stops at the end of the last of them. <!-- rule: stop -->
# - When training ends, by itself or by your stop, the model has the weights that it had at the end of the best epoch. <!-- rule: restore -->
# - That holds for all of `model.weights`, those that are not trained (such as the running statistics of batch normalisation) too. <!-- rule: all -->
# - If no epoch was better (all NaN), the weights stay as the last epoch left them. <!-- rule: none -->
# - After a `fit` the attribute `best` is the number of its best epoch, or `None`. <!-- rule: best -->
# - The same object may be used for another `fit`, of this model or another, which it begins from the start, as if it were new. <!-- rule: again -->
# - Objects beside each other know nothing of each other. <!-- rule: apart -->


# %% exercise="best_epoch" minutes=25 difficulty=2
class BestEpoch(keras.callbacks.Callback):
    """Stops when `val_loss` no longer falls, and gives the model back the weights of its best epoch."""

    ### BEGIN SOLUTION
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()  # copies
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)
    ### END SOLUTION


# %% tests="best_epoch" points=3
@check.scenario
def fitted(runs, patience):
    """Fit after fit with one callback, of two models in turn."""
    watch, models = BestEpoch(patience), [watched_model(), watched_model()]
    return [fit_once(watch, models[number % 2], number, losses) for number, losses in enumerate(runs)]


@check.scenario
def watched_in_turn(settings):
    """A callback for each (losses, patience), all of them made first; `best` is read when all are done."""
    watches, model = [BestEpoch(patience) for _, patience in settings], watched_model()
    epochs = [fit_once(watch, model, 0, losses)["epochs"] for watch, (losses, _) in zip(watches, settings)]
    return [[ran, watch.best] for ran, watch in zip(epochs, watches)]


@check.scenario
def watched_model():
    """In `model.weights` places 2 and 3 are running statistics, 6 and 7 frozen, the others trained."""
    layers = [keras.layers.BatchNormalization(), keras.layers.Dense(2), keras.layers.Dense(2, trainable=False)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    return model


@check.scenario
def fit_once(watch, model, number, losses):
    """Before the callback is asked, each epoch's loss and weights are set."""

    class Script(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = losses[epoch]
            self.model.set_weights([np.full(w.shape, 100 * number + epoch + 1 + 1000 * place, "float32") for place, w in enumerate(self.model.get_weights())])

    history = model.fit(np.ones((2, 2)), np.ones((2, 2)), epochs=len(losses), verbose=0, callbacks=[Script(), watch])
    means = [float(w.mean()) for w in model.get_weights()]
    best = watch.best
    return {"epochs": len(history.epoch), "best": None if best is None else int(best), "trained weights": [means[place] for place in (0, 1, 4, 5)], "other weights": [means[place] for place in (2, 3, 6, 7)]}


def fitted_in_words(runs, patience, late=0, ties=False, restore=True, total=False, from_one=0, keep=False):
    seen, lowest, best, at, waited = [], math.inf, None, None, 0
    for number, losses in enumerate(runs):
        if not keep:
            lowest, best, at, waited = math.inf, None, None, 0
        for epoch, loss in enumerate(losses):
            if loss < lowest or (ties and loss == lowest):
                lowest, best, at, waited = loss, epoch, 100 * number + epoch + 1, 0 if not total else waited
            else:
                waited += 1
                if waited >= patience + late:
                    break
        value = float(100 * number + epoch + 1 if at is None or not restore else at)
        seen.append({"epochs": epoch + 1, "best": best if best is None else best + from_one, "trained weights": [value + 1000 * place for place in (0, 1, 4, 5)], "other weights": [value + 1000 * place for place in (2, 3, 6, 7)]})
    return seen


with check.exercise("best_epoch"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "_raw": cases.lists(cases.lists(cases.integer(0, 6), "epochs"), "fits"),
        "_kind": cases.choice((0.25, 0.25), (0.001, 999.0), (0.001, -0.003), (0.5, -1000.0)),
        "runs": cases.derived(lambda _raw, _kind, **_: [[math.nan if value == 6 else round(value * _kind[0] + _kind[1], 3) for value in run] for run in _raw]),
        "patience": cases.choice(2, 1, 3, 8),
    }
    by_hand = [
        ([[1.0, 0.5, 0.75, 0.5, 0.25]], 3),
        ([[math.nan, math.nan, 0.5, math.nan]], 3),
        ([[math.nan, math.nan]], 2),
        ([[0.5, 0.25, 0.5], [0.75, 0.5, 0.5]], 2),
        ([[0.25, 0.75, 0.5, 0.5, 0.1]], 3),
        ([[0.5, 0.75, 0.25, 0.75, 1.0]], 2),
        ([[0.5, 0.75], [math.nan, 0.5, 0.75]], 2),
        ([[1000.0, 999.999, 1000.0], [0.001, 0.0, 0.001, 0.002]], 2),
        ([[1.0 - (epoch - epoch % 8) / 1000 for epoch in range(60)]], 8),
    ]
    check.apart(watched_in_turn, [[[0.5, 0.25, 0.5, 0.75, 1.0], 2], [[0.5, 0.75, 1.0, 1.25], 3]], "the number of epochs, and `best`, of a BestEpoch for [val_loss of each epoch, patience] =")
    causes = {
        "training goes on for one epoch too long": lambda *a: fitted_in_words(*a, late=1),
        "training stops one epoch too early": lambda *a: fitted_in_words(*a, late=-1),
        "an equal loss counted as better": lambda *a: fitted_in_words(*a, ties=True),
        "the weights are those of the last epoch": lambda *a: fitted_in_words(*a, restore=False),
        "epochs that were not better add up, also when a better one lies between": lambda *a: fitted_in_words(*a, total=True),
        "epochs were counted from 1": lambda *a: fitted_in_words(*a, from_one=1),
        "something of the first `fit` is still there in the next: `on_train_begin` is where a new one begins": lambda *a: fitted_in_words(*a, keep=True),
    }
    hint = "weights tell their epoch: 100 times the number of the `fit`, plus epoch + 1, plus 1000 times their place in `model.weights`. Each `fit` ends after `patience` epochs in a row that were not better, with all weights of the best"
    check.agrees(fitted, fitted_in_words, by_hand, "`BestEpoch` for (val_loss of each epoch of each `fit`, patience)", hint, causes=causes)
    check.agrees(fitted, fitted_in_words, cases.draw(seeds, domain, count=4, fits=(1, 3), epochs=(1, 9)), "`BestEpoch`", hint, causes=causes)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Four things must be known from epoch to epoch: the lowest loss, its epoch, the weights then, and how long ago that was. Where do they begin anew?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `self.model.get_weights()` gives copies of all weights as NumPy arrays, `self.model.set_weights(...)` puts them back. A comparison with NaN is always False.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `on_train_begin`: `self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None`. `on_epoch_end`: if `logs["val_loss"] < self.lowest`, note all four, else add 1 to `self.waited` and compare it with `self.patience`. `on_train_end`:
# set the weights that were kept, if there are any.
# </details>
#
# Few rows and many weights: the network learns its 150 digits by heart, and the loss on others rises again. The dotted line is where your callback went back to.

# %%
digits = load_digits()
pictures, labels = (digits.images / 16).astype("float32")[..., None], digits.target.astype("int32")  # [1797, 8, 8, 1]
keras.utils.set_random_seed(3)
learner = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
learner.compile(optimizer=keras.optimizers.Adam(0.02), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
watch = BestEpoch(patience=8)
history = learner.fit(pictures[:150], labels[:150], validation_data=(pictures[1000:], labels[1000:]), batch_size=25, epochs=60, verbose=0, callbacks=[watch])
figure, panel = plt.subplots(figsize=(6, 2.8), layout="constrained")
for name, title in (("loss", "the 150 rows"), ("val_loss", "797 other rows")):
    panel.semilogy(history.epoch, history.history[name], label=title)
panel.axvline(watch.best, color="gray", linestyle=":", label="best epoch")
panel.set(title="Stopped by a callback", xlabel="epoch", ylabel="loss")
panel.legend()
plt.show()
again = learner.evaluate(pictures[1000:], labels[1000:], verbose=0)
print(f"{len(history.epoch)} epochs; the best was {watch.best}. The model's loss now: {again:.3f}, in that epoch {history.history['val_loss'][watch.best]:.3f}")

# %% [markdown]
# ## 2 · The same weights elsewhere
#
# A trained model is a formula and some arrays. Another framework that writes the formula with the same arrays gives the same outputs, up to rounding. What goes wrong is always one of these:
#
# | | Keras (channels last) | PyTorch |
# |---|---|---|
# | a batch of pictures | [n, height, width, channels] | [n, channels, height, width] |
# | weights of a dense layer | `kernel` [inputs, outputs] | `weight` [outputs, inputs] |
# | weights of a convolution | `kernel` [height, width, inputs, outputs] | `weight` [outputs, inputs, height, width] |
# | flattened picture | row by row, channels innermost | channel by channel |
# | batch normalisation | `epsilon=0.001`, `momentum=0.99` is the share that *stays* | `eps=1e-05`, `momentum=0.1` is the share that is *new* |
#
# (Defaults as in Keras 3.15 and PyTorch 2.13; look them up in `keras.layers.BatchNormalization` and `torch.nn.BatchNorm2d`.) None of these raises an error when square shapes hide it. So outputs are compared, always.
#
# This is the network that will travel:


# %%
def small_cnn(height: int, width: int, channels: int, filters: int, size: int, classes: int, epsilon: float = 0.001) -> keras.Sequential:
    """A convolution, batch normalisation, a ReLU and a dense layer, in Keras."""
    return keras.Sequential([
        keras.Input((height, width, channels)),
        keras.layers.Conv2D(filters, size, name="conv"),
        keras.layers.BatchNormalization(epsilon=epsilon, name="norm"),
        keras.layers.ReLU(),
        keras.layers.Flatten(),
        keras.layers.Dense(classes, name="head"),
    ])


# %% [markdown]
# ### Exercise 4 · Carry a model to PyTorch (`to_torch`, 3 points, 35 minutes, difficulty 3 of 3)
#
# Write `to_torch(model)`. `model` comes from `small_cnn` with height and width from 3 to 10, 1 to 4 channels, 1 to 6 filters of size 1 to 3, 1 to 7 classes, and an `epsilon` between 0.00001 and 0.1. Its layers are found with
# `model.get_layer("conv")`, and so on. Pictures hold numbers from -5 to 5, and with these weights all sums stay below 100.
#
# - It returns a `torch.nn.Module` that takes contiguous float32 pictures [n, channels, height, width] and returns logits [n, classes]. <!-- rule: module -->
# - For every batch of 1 to 9 pictures these differ from what `model(pictures, training=False)` gives for the same pictures (channels last there) by no more than 0.00001 plus 1 in 100,000. <!-- rule: equal -->
# - It is ready for use: batch normalisation uses the running statistics, and calls do not change them. <!-- rule: ready -->
# - It has weights of its own: its logits stay when those of `model` change later, and when `to_torch` is called again. <!-- rule: own -->
# - `model` stays as it was: its weights, and which of them and of its layers are `trainable`. <!-- rule: unchanged -->


# %% exercise="to_torch" minutes=35 difficulty=3
def to_torch(model: keras.Model) -> torch.nn.Module:
    """What `small_cnn` made, as a PyTorch module for pictures [n, channels, height, width]."""
    ### BEGIN SOLUTION
    conv, norm, head = (model.get_layer(name) for name in ("conv", "norm", "head"))
    kernel, bias = conv.get_weights()  # [height, width, inputs, outputs]
    size, _, channels, filters = kernel.shape
    weights, offset = head.get_weights()  # [rows * columns * filters, classes]
    rows, columns = (n - size + 1 for n in model.input_shape[1:3])
    weights = weights.reshape(rows, columns, filters, -1).transpose(3, 2, 0, 1).reshape(-1, rows * columns * filters)
    scale, shift, mean, variance = norm.get_weights()
    network = torch.nn.Sequential(
        torch.nn.Conv2d(channels, filters, size),
        torch.nn.BatchNorm2d(filters, eps=norm.epsilon),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(weights.shape[1], weights.shape[0]),
    )
    values = {"0.weight": kernel.transpose(3, 2, 0, 1), "0.bias": bias, "4.weight": weights, "4.bias": offset}
    values |= {"1.weight": scale, "1.bias": shift, "1.running_mean": mean, "1.running_var": variance}
    network.load_state_dict({name: torch.tensor(value.copy()) for name, value in values.items()}, strict=False)
    return network.eval()
    ### END SOLUTION


# %% tests="to_torch" points=3
@check.scenario
def carried(x, K, b, norm, V, c, epsilon):
    model = small_cnn(*x.shape[1:], K.shape[3], K.shape[0], V.shape[1], epsilon)
    model.get_layer("conv").trainable = False
    given = [K, b, *norm, V, c]
    model.set_weights(given)
    flags = [part.trainable for part in (model, *model.layers, *model.weights)]
    network = to_torch(model)
    same = [all(np.array_equal(mine, w) for mine, w in zip(model.get_weights(), given)), [part.trainable for part in (model, *model.layers, *model.weights)] == flags]
    model.set_weights([w if place == 5 else -w / 2 for place, w in enumerate(given)])  # the variances stay
    other = to_torch(model)
    batch = torch.tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    with torch.no_grad():
        outputs = [made(batch).numpy() for made in (network, network, other)]
    return [isinstance(network, torch.nn.Module), *outputs, *same]


def carried_in_words(x, K, b, norm, V, c, epsilon, by_channel=False, eps=None, turned=False, swapped=False, batch=False, bend=True, shared=False, thawed=True):
    """The network in float64, place by place, with channels last."""
    x, K, b, norm, V, c = (np.asarray(part, np.float64) for part in (x, K, b, norm, V, c))
    K = K[::-1, ::-1] if turned else K.transpose(1, 0, 2, 3) if swapped else K
    size = len(K)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))

    def logits(factor):
        z = np.einsum("nrqcij,ijcf->nrqf", windows, factor * K) + factor * b
        scale, shift, mean, variance = *(factor * norm[:3]), norm[3]
        if batch:
            mean, variance = z.mean((0, 1, 2)), z.var((0, 1, 2))
        z = (z - mean) / np.sqrt(variance + (epsilon if eps is None else eps)) * scale + shift
        z = np.maximum(z, 0) if bend else z
        flat = (z.transpose(0, 3, 1, 2) if by_channel else z).reshape(len(x), -1)
        return (flat @ (factor * V) + factor * c).astype(np.float32)

    first, changed = logits(1), logits(-0.5)
    return [True, *([changed, changed] if shared else [first, first]), changed, True, thawed]


def some_weights(_seed, _h, _w, _c, _f, _k, _classes):
    """Kernel, bias, four rows of the normalisation (scale, shift, mean, variance), dense kernel and bias, float32."""
    random = np.random.default_rng(_seed)
    inside = (_h - _k + 1) * (_w - _k + 1) * _f
    norm = np.stack([random.normal(size=_f), random.normal(size=_f), random.normal(size=_f), random.uniform(0.1, 3, _f)])
    parts = random.normal(size=(_k, _k, _c, _f)) / _k / _c**0.5, random.normal(size=_f), norm, random.normal(size=(inside, _classes)) / inside**0.5, random.normal(size=_classes)
    return [part.astype(np.float32) for part in parts]


def chosen(number):
    keys = ("_seed", "_h", "_w", "_c", "_f", "_k", "_classes")
    return cases.derived(lambda **drawn: some_weights(*(drawn[key] for key in keys))[number], "drawn weights")


with check.exercise("to_torch"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {name: cases.size(name[1:]) for name in ("_h", "_w", "_c", "_f", "_classes")}
    domain |= {"_k": cases.choice(2, 1, 3), "_seed": cases.integer(0, 10**6), "x": cases.array("n", "h", "w", "c", dtypes=("float32",))}
    domain |= {name: chosen(number) for number, name in enumerate(("K", "b", "norm", "V", "c"))}
    domain |= {"epsilon": cases.choice(0.001, 0.1, 1e-5)}
    causes = {
        "the rows of the dense kernel are in Keras' order, the flattened picture in PyTorch's (channel by channel)": lambda *a: carried_in_words(*a, by_channel=True),
        "batch normalisation uses PyTorch's own eps of 0.00001: the layer's is `norm.epsilon`": lambda *a: carried_in_words(*a, eps=1e-5),
        "batch normalisation uses Keras' default epsilon of 0.001: the layer's is `norm.epsilon`": lambda *a: carried_in_words(*a, eps=1e-3),
        "rows and columns of the filters are exchanged": lambda *a: carried_in_words(*a, swapped=True),
        "the filters are turned round": lambda *a: carried_in_words(*a, turned=True),
        "batch normalisation uses the mean and variance of the batch: the module is in training mode": lambda *a: carried_in_words(*a, batch=True),
        "the ReLU is missing": lambda *a: carried_in_words(*a, bend=False),
        "the module shares its weights with `model`, and these were changed after `to_torch`": lambda *a: carried_in_words(*a, shared=True),
        "the logits are right, but `to_torch` changed what is `trainable` in `model`": lambda *a: carried_in_words(*a, thawed=False),
    }
    hint = "compare the axes of each layer with the table above. Before the module was called, the weights of `model` were changed, and it was carried once more"
    drawn = cases.draw(seeds, domain, count=8, n=(1, 9), h=(3, 10), w=(3, 10), c=(1, 4), f=(1, 6), classes=(1, 7))
    check.agrees(carried, carried_in_words, drawn, "`to_torch` (is a module; logits; logits of a second call; logits of another module, made after the weights of `model` changed; are the weights of `model`, and what is `trainable`, as before)", hint, causes=causes, rtol=1e-5, atol=1e-5)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Go layer by layer, and compare each with the table. The dense layer is the hardest: which picture element does row 5 of its kernel belong to? Give its first axis the three axes back that `Flatten` took away, then reorder them.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `layer.get_weights()` (batch normalisation: scale, shift, running mean, running variance), `np.transpose`, `np.reshape`, `torch.nn.BatchNorm2d(filters, eps=...)`, `torch.tensor(array.copy())`, `Module.eval()`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# The convolution: `kernel.transpose(3, 2, 0, 1)`. The dense layer: `weights.reshape(rows, columns, filters, classes).transpose(3, 2, 0, 1).reshape(classes, -1)`, with `rows = height - size + 1`, and `model.input_shape[1:3]` for height and width. Batch normalisation:
# `weight`, `bias`, `running_mean`, `running_var` in the order of `get_weights()`, and `eps=norm.epsilon`. Copy with `load_state_dict` or `.data.copy_(...)`.
# </details>
#
# Now the network learns digits, and travels. Keras saves it to a file; two other processes load the file with another backend. (A process keeps its backend, so each gets a process of its own. `compile=False` leaves the optimizer in the file: it was PyTorch's, and loading it would import PyTorch after TensorFlow. Each brings a copy of LLVM, and in this order, with the versions used here, the second copy ends the process.) JAX computes it a second time, in plain functions without Keras.

# %%
keras.utils.set_random_seed(4)
cnn = small_cnn(8, 8, 1, 12, 3, 10)
cnn.compile(optimizer=keras.optimizers.Adam(0.01), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
cnn.fit(pictures[:1000], labels[:1000], batch_size=50, epochs=6, verbose=0)

ELSEWHERE = '''
import sys
import jax
import jax.numpy as jnp
import keras
import numpy as np

model = keras.saving.load_model("cnn.keras", compile=False)  # the formula and the weights alone
pictures = np.load("pictures.npy")
answers = {keras.backend.backend(): model.predict(pictures, verbose=0)}
if keras.backend.backend() == "jax":
    def forward(parameters, x):
        K, b, scale, shift, mean, variance, V, c = parameters
        z = jax.lax.conv_general_dilated(x, K, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
        z = jax.nn.relu((z - mean) / jnp.sqrt(variance + 0.001) * scale + shift)
        return z.reshape(len(x), -1) @ V + c

    answers["plain JAX"] = np.asarray(jax.jit(forward)(model.get_weights(), pictures))
np.savez(sys.argv[1], **answers)
'''

outputs = {"torch": cnn.predict(pictures[1000:], verbose=0)}
with tempfile.TemporaryDirectory() as folder:
    cnn.save(Path(folder, "cnn.keras"))
    np.save(Path(folder, "pictures.npy"), pictures[1000:])
    for backend in ("tensorflow", "jax"):
        process = subprocess.Popen([sys.executable, "-c", ELSEWHERE, f"{backend}.npz"], cwd=folder, env=os.environ | {"KERAS_BACKEND": backend}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            complaint = process.communicate(timeout=600)[1]
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise RuntimeError(complaint[-1000:])
        with np.load(Path(folder, f"{backend}.npz")) as file:
            outputs |= dict(file)
with torch.no_grad():
    outputs["plain PyTorch"] = to_torch(cnn)(torch.tensor(pictures[1000:].transpose(0, 3, 1, 2))).numpy()
largest = np.abs(outputs["torch"]).max()
differences = {name: float(np.abs(answer - outputs["torch"]).max() / largest) for name, answer in outputs.items() if name != "torch"}
for name, difference in differences.items():
    print(f"{name:14} differs from Keras on torch by {difference:.0e} of the largest logit; right digits: {(outputs[name].argmax(1) == labels[1000:]).mean():.1%}")

# %% [markdown]
# Not bit by bit the same: each framework adds up in an order of its own, and float32 has about seven digits. The digits that are read are the same.
#
# ## 3 · TensorFlow
#
# TensorFlow (Abadi et al., 2016, https://arxiv.org/abs/1605.08695) began as a language for graphs: first describe the whole computation, then run it. Since version 2 (2019) it runs line by line as well, and `tf.function` makes graphs from
# Python functions. You meet three things in every TensorFlow project: `tf.data`, `tf.GradientTape` and `tf.function`.
#
# One remark about this notebook. TensorFlow and JAX start threads of their own at their first computation, and grading copies the process before it judges an exercise. A copy has no such threads. So until the last exercise no cell of *ours* computes with the two; part 5 puts everything to work. Your cells
# may do so at any time.
#
# ### tf.data
#
# A `tf.data.Dataset` (Murray et al., 2021, https://arxiv.org/abs/2101.12127) is a recipe, a chain of steps that runs in C++ threads beside the training. Each step returns a new dataset:
#
# | step | what it does |
# |---|---|
# | `tf.data.Dataset.from_tensor_slices((x, y))` | one element a row |
# | `.shuffle(buffer, seed=..., reshuffle_each_iteration=True)` | draws from a buffer that is refilled in order |
# | `.map(f)` | `f` of each element, as a graph |
# | `.batch(size)` | stacks elements; the last batch may be smaller |
# | `.prefetch(tf.data.AUTOTUNE)` | prepares the next element while the last one is used |
#
# Two things go wrong. `shuffle` only mixes within its buffer: with a buffer of 100 the first element is one of the first 100 rows, whatever comes after. And the order of the steps counts: `batch` before `shuffle` shuffles whole batches.
#
# ### Exercise 5 · A pipeline (`pipeline`, 3 points, 25 minutes, difficulty 1 of 3)
#
# Write `pipeline(images, labels, batch, training, seed)`. `images` is a uint8 array [n, h, w], `labels` an int64 array [n] with numbers from 0 to 299; n is 1 to 300, `batch` 1 to 64, h and w are 1 to 9. `seed` is a whole number from 0 to 1,000, and 0 is a seed like any other. It returns a `tf.data.Dataset`.
#
# - Its elements are pairs: float32 [b, h, w] with the images divided by 255 (to 0.000001), and int32 [b] with their labels. <!-- rule: values -->
# - b is `batch`; the last batch holds the rows that are left. Each pass gives every row once, with its own label. <!-- rule: batches -->
# - Without `training` the rows come in the order given, in every pass. <!-- rule: order -->
# - With `training` the rows come in random order: each is as likely as any other to come first. Rows are shuffled, not batches. <!-- rule: shuffled -->
# - With `training` a second pass over the dataset has another order. <!-- rule: passes -->
# - The same arguments give the same order in the first pass of a new dataset, and another `seed` another one. <!-- rule: seed -->


# %% exercise="pipeline" minutes=25 difficulty=1
def pipeline(images: np.ndarray, labels: np.ndarray, batch: int, training: bool, seed: int) -> tf.data.Dataset:
    """Batches of (images / 255, labels) as float32 and int32, shuffled anew in each pass while training."""
    ### BEGIN SOLUTION
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed, reshuffle_each_iteration=True)
    batches = rows.batch(batch)
    batches = batches.map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)), num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)
    ### END SOLUTION


# %% tests="pipeline" points=3
@check.scenario
def two_passes(images, labels, batch, training, seed):
    rows = pipeline(images, labels, batch, training, seed)
    return [[[x.numpy(), y.numpy()] for x, y in rows.take(len(images) + 1)] for _ in range(2)]  # it may have no end


def in_given_order(images, labels, batch, training, seed, divisor=255, whole=False):
    starts = range(0, len(images) - (batch - 1 if whole else 0), batch)
    once = [[(images[i : i + batch] / np.float32(divisor)).astype(np.float32), labels[i : i + batch].astype(np.int32)] for i in starts]
    return [once, once]


@check.scenario
def first_batches(images, batch, seeds):
    """The numbers of the rows in the first batch of a new dataset for each seed."""
    batches = [next(iter(pipeline(images, np.arange(len(images)), batch, True, seed)))[1] for seed in seeds]
    return [y.numpy().tolist() for y in batches]


def orders(images, batch, seed):
    """The order of rows in two passes (their labels are their numbers), after a look at the batches."""
    labels = np.arange(len(images))
    found = []
    for number, once in enumerate(two_passes(images, labels, batch, True, seed)):
        which = f"pass {number + 1} over {len(images)} rows in batches of {batch} while training"
        sizes = [len(images) - i if i + batch > len(images) else batch for i in range(0, len(images), batch)]
        check.equal([len(y) for _, y in once], sizes, f"the sizes of the batches, {which}")
        order = np.concatenate([y for _, y in once])
        check.equal(np.sort(order), labels.astype(np.int32), f"the labels (numbers of rows), sorted, {which}", "each pass gives every row once")
        expected = (images[order] / np.float32(255)).astype(np.float32)
        check.equal(np.concatenate([x for x, _ in once]), expected, f"the images, {which}", "each image with its own label, divided by 255", atol=1e-6, rtol=0)
        found.append(order.tolist())
    return found


with check.exercise("pipeline"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "images": cases.array("n", "h", "w", dtypes=("uint8",), high=255, layouts=("contiguous", "transposed"), without=("equal", "edges")),
        "labels": cases.array("n", dtypes=("int64",), high=9, layouts=("contiguous",), without=("low", "equal", "edges")),
        "batch": cases.size("batch"),
        "training": cases.choice(False),
        "seed": cases.integer(0, 1000),
    }
    causes = {
        "the images were not divided": lambda *a: in_given_order(*a, divisor=1),
        "the images were divided by 256": lambda *a: in_given_order(*a, divisor=256),
        "the last, smaller batch is missing": lambda *a: in_given_order(*a, whole=True),
    }
    drawn = cases.draw(seeds, domain, count=2, n=(1, 300), h=(1, 9), w=(1, 9), batch=(1, 64))
    check.agrees(two_passes, in_given_order, drawn, "`pipeline` without training (the batches of two passes)", "batches of (images / 255, labels), float32 and int32, in the order given", causes=causes, rtol=0, atol=1e-6)
    for seed in seeds:
        random = np.random.default_rng(seed)
        images = random.integers(0, 256, (300, 3, 2)).astype(np.uint8)
        first, second = orders(images, 10, seed)
        who = "300 rows in batches of 10 while training"
        check.true(first != list(range(300)), f"{who} come in the order given, expected a random one: a step of shuffling is missing.")
        pairs_kept = sum(b == a + 1 for a, b in zip(first, first[1:]))
        check.true(pairs_kept < 100, f"of {who}, {pairs_kept} follow the row before them, expected about one: whole batches were shuffled. Shuffle before `batch`.")
        check.true(
            max(first[:40]) >= 150 and min(first[-40:]) < 150,
            f"of {who}, the first 40 are all below {max(first[:40]) + 1}, or the last 40 all above {min(first[-40:]) - 1}: rows come from near their place, expected from anywhere. "
            "A shuffle mixes within its buffer only: it must be as large as the data.",
        )
        check.true(first != second, f"{who}: the second pass has the same order as the first, expected another one. Is reshuffling switched off, or was the shuffled order kept (`cache`)?")
        tried = [0, 1000, 1, *random.choice(np.arange(2, 1000), 13, replace=False).tolist()]
        begun = dict(zip(tried, first_batches(images, 30, tried)))
        who = "300 rows in batches of 30 while training"
        for same, rows in zip(tried[:2], first_batches(images, 30, tried[:2])):
            check.true(rows == begun[same], f"{who}, seed {same}: a new dataset with the same seed has another order in its first pass. Is `seed` handed on, 0 too?")
        by_rows = {}
        for other, rows in begun.items():
            twin = by_rows.setdefault(tuple(rows), other)
            check.true(twin == other, f"{who}: another seed gives the same order, for {twin} and {other}, expected another one. Is `seed` handed on as it is?")
        latest = max(max(rows) for rows in begun.values())
        check.true(latest >= 290, f"{who}, {len(begun)} seeds: no first batch held a row after number {latest}, expected rows from anywhere. Is the buffer as large as the data?")
        for n, batch in ((1, 1), (2, 5), (37, 8)):
            orders(random.integers(0, 256, (n, 3, 2)).astype(np.uint8), batch, seed)
    firsts = {row for rows in first_batches(images[:3], 1, range(30)) for row in rows}
    check.true(firsts == {0, 1, 2}, f"3 rows while training, 30 seeds: the first to come were always among {sorted(firsts)}, expected each of 0, 1, 2 at times. Is the buffer as large as the data?")

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Which step must see single rows, which one may see batches? How large must the buffer be, so that the last row can come first?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `tf.data.Dataset.from_tensor_slices`, `.shuffle(buffer, seed=seed)`, `.batch(batch)`, `.map`, `tf.cast`, `.prefetch(tf.data.AUTOTUNE)`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `rows = tf.data.Dataset.from_tensor_slices((images, labels))`; while training `rows = rows.shuffle(len(images), seed=seed)`; then
# `rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))`.
# </details>
#
# ### GradientTape
#
# PyTorch remembers what was computed from tensors with `requires_grad`. TensorFlow remembers what happens inside a `with tf.GradientTape() as tape:` block, for every `tf.Variable` with `trainable=True` that takes part.
# `tape.gradient(loss, variables)` gives the gradients, and `None` where the loss does not depend on a variable or the tape did not watch it. Nothing is collected in `.grad`, so there is nothing to set to zero.
#
# ### Exercise 6 · A step of training (`train_step`, 3 points, 30 minutes, difficulty 2 of 3)
#
# Write `train_step(W, b, x, y, rate, limit)` for one layer with the logits `x @ W + b`. `W` [d, k] and `b` [k] are float32 `tf.Variable`s, `x` is a float32 tensor [n, d], `y` an int32 tensor [n] with classes from 0 to k - 1; n is 1 to 50, d 1 to 20, k 2 to 10, and at the first call all numbers lie
# between -3 and 3. `rate` (0.05 to 0.5) and `limit` (0.1 to 2) are Python numbers. One of the variables, but not both, may be frozen (`trainable=False`).
#
# - It returns the mean over the rows of the cross-entropy, computed with the weights as they were before the step, as a float32 tensor without axes. <!-- rule: loss -->
# - Nothing overflows. Logits reach 183 at the first call, and up to 230 after some steps. <!-- rule: overflow -->
# - The gradients of that loss are clipped by their *common* norm (Pascanu et al., 2012, https://arxiv.org/abs/1211.5063): if the root of the sum of squares of all their entries is larger than `limit`, all are multiplied by `limit` / norm. Else they stay as they are, also at a norm of 0. <!-- rule: clip -->
# - Each variable that is not frozen changes in place by minus `rate` times its (clipped) gradient. <!-- rule: step -->
# - A frozen variable stays as it was, and its gradient does not count in the norm. <!-- rule: frozen -->
# - It also works, call after call, when it is called inside a `tf.function(..., autograph=False)`: so without `.numpy()`, `float(...)` or a Python `if` on the value of a tensor. <!-- rule: graph -->
#
# The loss and the weights may differ by 0.0001 plus 1 in 10,000.


# %% exercise="train_step" minutes=30 difficulty=2
def train_step(W: tf.Variable, b: tf.Variable, x: tf.Tensor, y: tf.Tensor, rate: float, limit: float) -> tf.Tensor:
    """One step of gradient descent on softmax regression, clipped by the global norm; returns the loss before it."""
    ### BEGIN SOLUTION
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b)
        loss = tf.reduce_mean(losses)
    variables = [variable for variable in (W, b) if variable.trainable]
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)
    for variable, gradient in zip(variables, gradients):
        variable.assign_sub(rate * gradient)
    return loss
    ### END SOLUTION


# %% tests="train_step" points=3
@check.scenario
def steps_taken(W, b, x, y, rate, limit, frozen, graph):
    """Three steps: the losses, and the variables after each."""
    first, second = tf.Variable(W, trainable=frozen != "W"), tf.Variable(b, trainable=frozen != "b")
    x, y = tf.constant(x), tf.constant(y)

    def step():
        return train_step(first, second, x, y, rate, limit)

    step = tf.function(step, autograph=False) if graph else step
    seen = []
    for _ in range(3):
        loss = step()
        seen.append([None if loss is None else np.array(loss), first.numpy(), second.numpy()])
    return seen


def steps_in_words(W, b, x, y, rate, limit, frozen, graph, clip="together", total=False, sign=-1, after=False, all_count=False, thaw=False):
    W, b, x = (np.asarray(part, np.float64) for part in (W, b, x))

    def measure():
        z = x @ W + b
        z = z - z.max(1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        losses = np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]
        G = (p - np.eye(z.shape[1])[y]) / (1 if total else len(y))
        return losses.sum() if total else losses.mean(), {"W": x.T @ G, "b": G.sum(0)}

    seen = []
    for _ in range(3):
        loss, gradients = measure()
        counted = gradients if all_count else {name: g for name, g in gradients.items() if name != frozen}
        norm = math.sqrt(sum((g**2).sum() for g in counted.values()))
        for name, g in gradients.items():
            own = math.sqrt((g**2).sum()) if clip == "each" else norm
            factor = 1 if clip == "not" or (clip != "always" and own <= limit) or own == 0 else limit / own
            change = np.clip(g, -limit, limit) if clip == "entries" else factor * g
            if name != frozen or thaw:
                W, b = (W + sign * rate * change, b) if name == "W" else (W, b + sign * rate * change)
        seen.append([np.array(measure()[0] if after else loss, np.float32), W.astype(np.float32), b.astype(np.float32)])
    return seen


with check.exercise("train_step"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    bounded = {"dtypes": ("float32",), "low": -3, "high": 3}
    domain = {
        "W": cases.array("d", "k", **bounded),
        "b": cases.array("k", **bounded),
        "x": cases.array("n", "d", **bounded),
        "y": cases.array("n", dtypes=("int32",), below="k"),
        "rate": cases.number(0.05, 0.5),
        "limit": cases.choice(0.5, 2, 0.1),
        "frozen": cases.choice("none", "W", "b"),
        "graph": cases.choice(False, True),
    }
    causes = {
        "nothing was clipped": lambda *a: steps_in_words(*a, clip="not"),
        "each gradient was clipped by its own norm: the norm is that of all together": lambda *a: steps_in_words(*a, clip="each"),
        "single entries were clipped, in place of the norm": lambda *a: steps_in_words(*a, clip="entries"),
        "gradients below the limit were stretched to it": lambda *a: steps_in_words(*a, clip="always"),
        "the loss is the sum over the rows, expected the mean": lambda *a: steps_in_words(*a, total=True),
        "the step goes up the slope": lambda *a: steps_in_words(*a, sign=1),
        "the loss is that after the step": lambda *a: steps_in_words(*a, after=True),
        "the gradient of the frozen variable counts in the norm": lambda *a: steps_in_words(*a, all_count=True),
        "the frozen variable was changed": lambda *a: steps_in_words(*a, thaw=True, all_count=True),
    }
    drawn = cases.draw(seeds, domain, count=12, n=(1, 50), d=(1, 20), k=(2, 10))
    hint = "the loss before the step; then gradients of what is not frozen, clipped by their common norm, times -rate"
    what = "`train_step`, three times (loss, W, b)"
    check.agrees(steps_taken, steps_in_words, drawn, what, hint, causes=causes, rtol=1e-4, atol=1e-4)
    threes = np.full((2, 20), 3, np.float32)
    far = (threes.T * np.float32([1, -1]), np.zeros(2, np.float32), threes, np.array([0, 1], np.int32), 0.5, 2, "none", False)
    still = (threes[:, :3].T, np.zeros(2, np.float32), 0 * threes[:, :3], np.array([0, 1], np.int32), 0.5, 2, "b", False)
    check.agrees(steps_taken, steps_in_words, [still], what + " with x all 0 and b frozen, so that the gradient is 0, (W, b, x, y, rate, limit, frozen, in a graph)", hint, rtol=1e-4, atol=1e-4)
    check.agrees(steps_taken, steps_in_words, [far], what + " with logits of 180 and -180, (W, b, x, y, rate, limit, frozen, in a graph)", hint, rtol=1e-4, atol=1e-4)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# The computation of the loss belongs into the tape, the update does not. A frozen variable is not watched: what does `tape.gradient` give for it, and should it be asked for at all? `variable.trainable` is a Python bool, so an `if` on it is fine.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `tf.nn.sparse_softmax_cross_entropy_with_logits`, `tf.reduce_mean`, `tape.gradient`, `tf.clip_by_global_norm`, `Variable.assign_sub`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `with tf.GradientTape() as tape: loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))`, then `variables = [v for v in (W, b) if v.trainable]`,
# `gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)`, and `v.assign_sub(rate * g)` for each pair.
# </details>
#
# ### tf.function, and how often it traces
#
# `tf.function(f)` runs the Python code of `f` at the first call, with placeholders instead of numbers, and records the operations as a graph: a **trace**. Later calls run the graph alone. Whatever Python did besides (a `print`, a counter, an `if` on a Python value)
# happened once, while tracing.
#
# A graph fits only what it was traced for. The guide (https://www.tensorflow.org/guide/function, 2024) names what makes a new trace: a tensor of another dtype or shape, and **every new value of a Python number**, since that is built into the graph as a constant. A
# server whose requests have one to a hundred rows may so trace a hundred times, and a trace takes far longer than a call. `input_signature` says in advance what will come, with `None` for open sizes:
# `@tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32)])`.
#
# ### Exercise 7 · Trace once (`make_predict`, 2 points, 25 minutes, difficulty 2 of 3)
#
# Write `make_predict(model, width)`; `width` is 1 to 12. `model` is a Python function that takes a float32 tensor [n, width] and returns float32 logits [n, k] between -50 and 50, each row from the same row of the input, with TensorFlow's operations; k is 1 to 9. It returns a function `predict(rows, temperature)`.
#
# - `rows` is a NumPy array [n, width], float32 or float64, n from 1 to 70, or a list of n lists of Python numbers (ints, floats, or both); n and kind may differ from call to call. `temperature` is a Python number from 0.1 to 10, an int or a float. <!-- rule: inputs -->
# - `predict` returns a float32 NumPy array [n, k]: for each row `softmax(logits / temperature)`. It may differ by 0.0001. <!-- rule: values -->
# - The Python code of `model` runs exactly once: in `make_predict` or at the first call of `predict`, and in no later one. <!-- rule: once -->
# - Each `predict` belongs to its own model. <!-- rule: apart -->


# %% exercise="make_predict" minutes=25 difficulty=2
def make_predict(model, width):
    """A function predict(rows, temperature) that traces `model` once, whatever comes."""
    ### BEGIN SOLUTION
    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([], tf.float32)])
    def graph(rows, temperature):
        return tf.nn.softmax(model(rows) / temperature)

    def predict(rows, temperature):
        rows = tf.constant(np.asarray(rows, np.float32))
        return graph(rows, tf.constant(float(temperature))).numpy()

    return predict
    ### END SOLUTION


# %% tests="make_predict" points=2
@check.scenario
def served(weights, calls):
    """Every weight matrix its own model; their `predict`s answer in turn. For each the answers, and how often it was traced."""
    traces = [0] * len(weights)

    def model_of(number):
        matrix = tf.constant(weights[number])

        def model(x):
            traces[number] += 1
            return x @ matrix

        return model

    predicts = [make_predict(model_of(number), len(matrix)) for number, matrix in enumerate(weights)]
    seen = [[] for _ in weights]
    for rows, temperature in calls:
        for predict, answers in zip(predicts, seen):
            answers.append(predict(rows, temperature))
    return [[traces[number], answers] for number, answers in enumerate(seen)]


def served_in_words(weights, calls, heat=lambda t: 1 / t, soft=True, traces=1):
    seen = []
    for matrix in weights:
        answers = []
        for rows, temperature in calls:
            z = np.asarray(rows, np.float64) @ matrix.astype(np.float64) * heat(temperature)
            powers = np.exp(z - z.max(1, keepdims=True))
            answers.append((powers / powers.sum(1, keepdims=True) if soft else z).astype(np.float32))
        seen.append([traces if type(traces) is int else traces(calls), answers])
    return seen


def some_calls(_seed, _d, _calls):
    random, calls = np.random.default_rng(_seed), []
    for number in range(_calls):
        rows = random.normal(size=(int(random.integers(1, 71)) if number else 3, _d)).astype(("float32", "float64")[int(random.integers(0, 2))] if number else "float32")
        temperature = [1, 0.1, 10, 2, 2.0, float(random.uniform(0.1, 10))][int(random.integers(0, 6))] if number else 2
        kind = int(random.integers(0, 4)) if number > 1 else -number  # the first: an array; the second: whole numbers among others, in a list
        if kind in (-1, 0) and number:
            rows = [[round(x) if kind or (i + j) % 2 == 0 else x for j, x in enumerate(row)] for i, row in enumerate(rows.tolist())]
        calls.append([rows.tolist() if kind == 1 else rows, temperature])
    return calls


with check.exercise("make_predict"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "_d": cases.size("d"),
        "_calls": cases.size("calls"),
        "_seed": cases.integer(0, 10**6),
        "_one": cases.array("d", "k", dtypes=("float32",), layouts=("contiguous",), without=("zero", "equal", "ties")),
        "_other": cases.array("d", "k", dtypes=("float32",), layouts=("contiguous",), without=("zero", "equal", "negative", "ties")),
        "weights": cases.derived(lambda _one, _other, **_: [_one, _other], "two matrices"),
        "calls": cases.derived(lambda _seed, _d, _calls, **_: some_calls(_seed, _d, _calls), "calls of all kinds"),
    }
    causes = {
        "the logits were multiplied by the temperature": lambda *a: served_in_words(*a, heat=lambda t: t),
        "the temperature is not used": lambda *a: served_in_words(*a, heat=lambda t: 1),
        "the softmax is missing": lambda *a: served_in_words(*a, soft=False),
        "the model's Python code ran at every call": lambda *a: served_in_words(*a, traces=len),
    }
    hint = "how often: `input_signature` with open sizes traces once; turn rows and temperature into float32 tensors before the call. Numbers: softmax(model(rows) / temperature)"
    drawn = cases.draw(seeds, domain, count=2, d=(1, 12), k=(1, 9), calls=(1, 12))
    check.agrees(served, served_in_words, drawn, "`make_predict` (for two models: how often the model's code ran; the answers)", hint, causes=causes, rtol=0, atol=1e-4)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Two functions, one inside the other: the inner one is the graph and gets tensors only, the outer one turns whatever comes into such tensors.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `tf.function(input_signature=[...])`, `tf.TensorSpec([None, width], tf.float32)`, `tf.TensorSpec([], tf.float32)`, `np.asarray(rows, np.float32)`, `tf.nn.softmax`, `Tensor.numpy()`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `@tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([], tf.float32)])` above `def graph(rows, temperature): return tf.nn.softmax(model(rows) / temperature)`. Then
# `def predict(rows, temperature): return graph(tf.constant(np.asarray(rows, np.float32)), tf.constant(float(temperature))).numpy()`.
# </details>
#
# ## 4 · JAX
#
# JAX (Frostig, Johnson and Leary, 2018, https://mlsys.org/Conferences/doc/2018/146.pdf) has NumPy's functions, and functions that turn functions into others. They want **pure** functions: the result follows from the arguments alone, nothing else is read or changed.
# So weights are no part of an object; they are an argument. They may be any nest of dictionaries, lists and tuples of arrays, a **pytree**.
#
# | transformation | what comes out |
# |---|---|
# | `jax.grad(f)` | the gradient of `f`, which returns one number, by its first argument: a pytree like it |
# | `jax.vmap(f, in_axes=(None, 0))` | `f` for a whole batch: the first argument is the same for all, the second has a row for each |
# | `jax.jit(f)` | `f`, traced and compiled once for each shape and dtype of its arguments |
#
# They can be put together: `jax.jit(jax.vmap(jax.grad(f), ...))`. `vmap` of `grad` gives the gradient of every single row at once, which PyTorch's `backward` cannot (there `torch.func` has the same two functions).
#
# `jit` traces as `tf.function` does, but has no open sizes: a batch with another number of rows is compiled anew. The cure is **padding to buckets**: fill up with rows to the next power of two, compute, and cut off. Batches of 1 to 1,000 rows then have
# 11 shapes, not 1,000.
#
# ### Exercise 8 · Gradients of rows, and buckets (`transforms`, 3 points, 35 minutes, difficulty 3 of 3)
#
# Each function earns half of the points.
#
# `row_gradients(loss, parameters, X, y)`: `loss(parameters, x, label)` is a pure function that gives one number for one row x [d] and its label. `parameters` is a pytree (dictionaries, lists, tuples) of float32 JAX arrays. `X` is a float32 NumPy array [n, d], `y` an int32 array [n]; n is 1 to 40.
#
# - It returns a pytree of the same structure, with a first axis of length n in every array: entry i is the gradient of the loss of row i alone. It may differ by 0.0001. <!-- rule: rows -->
# - The Python code of `loss` runs once in a call, or twice or three times if your transformations trace it again, however many rows there are. <!-- rule: mapped -->
#
# `bucketed(f)`: `f` is a pure function from a float32 array [n, d] to one [n, k], each row of the result from the same row of the input. d is 1 to 12 and the same in all calls of one `g`, k is 1 or 2. It returns a function `g(x)` for float32 NumPy arrays [n, d], n from 1 to 300.
#
# - `g(x)` equals `f(x)`, with n rows. It may differ by 0.0001. <!-- rule: same -->
# - `f` is compiled with `jax.jit`, and its Python code runs only for arrays whose number of rows is the smallest power of two (1, 2, 4, 8, …) that is not below n. <!-- rule: powers -->
# - It runs once for each of these shapes, also when sizes come in any order and come again. <!-- rule: once -->
# - Two functions that `bucketed` made from different `f` know nothing of each other. <!-- rule: apart -->
#
# Results are JAX or NumPy arrays.


# %% exercise="transforms" minutes=35 difficulty=3
def row_gradients(loss, parameters, X, y):
    """Gradients of loss(parameters, x, label) for every row of X and y: a pytree like `parameters`, with n rows first."""
    ### BEGIN SOLUTION
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)
    ### END SOLUTION


def bucketed(f):
    """A function equal to `f` that compiles it for numbers of rows that are powers of two only."""
    ### BEGIN SOLUTION
    compiled = jax.jit(lambda x: f(x))  # a function of its own: jax.jit shares what it compiled between calls on the same `f`

    def g(x):
        n = len(x)
        bucket = 1 << (n - 1).bit_length()
        padded = np.zeros((bucket, *x.shape[1:]), x.dtype)
        padded[:n] = x
        return compiled(padded)[:n]

    return g
    ### END SOLUTION


# %% tests="transforms" points=3
@check.scenario
def gradients_of_rows(W, b, X, y, nested, factor):
    calls = [0]
    inner = jax.jit(lambda V, c, x, label: -factor * jax.nn.log_softmax(x @ V + c)[label])  # compiled in one piece: quicker than operation by operation

    def loss(parameters, x, label):
        calls[0] += 1
        V, c = (parameters["layers"][0]["W"], parameters["b"][0]) if nested else (parameters["W"], parameters["b"])
        return inner(V, c, x, label)

    given = {"layers": [{"W": jnp.asarray(W)}], "b": (jnp.asarray(b),)} if nested else {"W": jnp.asarray(W), "b": jnp.asarray(b)}
    found = row_gradients(loss, given, X, y)
    return [jax.tree_util.tree_map(np.asarray, found), 1 <= calls[0] <= 3]


def gradients_in_words(W, b, X, y, nested, factor, share=lambda n: 1, first=False, few=lambda n: True):
    W, b, X = (np.asarray(part, np.float64) for part in (W, b, X))
    G = (softmax_rows(X @ W + b) - np.eye(len(b))[y]) * share(len(y)) * factor
    per_W, per_b = np.einsum("nd,nk->ndk", X, G), G
    if first:
        per_W, per_b = per_W.sum(0), per_b.sum(0)
    per_W, per_b = per_W.astype(np.float32), per_b.astype(np.float32)
    return [{"layers": [{"W": per_W}], "b": (per_b,)} if nested else {"W": per_W, "b": per_b}, few(len(y))]


def softmax_rows(z):
    powers = np.exp(z - z.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@check.scenario
def bucket_runs(sizes, width, seed):
    """Two functions in turn: for each the shapes for which its Python code ran; whether it was compiled; the results."""
    random, seen = np.random.default_rng(seed), [[], []]

    def function(number):
        def f(x):
            seen[number].append([*x.shape, isinstance(x, jax.core.Tracer)])
            return jnp.stack([jnp.cos(x).prod(1), x.sum(1) + number][: number + 1], 1)

        return f

    both = [bucketed(function(0)), bucketed(function(1))]
    results = []
    for n in sizes:
        x = random.normal(size=(n, width)).astype("float32")
        results.append([np.asarray(g(x.copy())) for g in both])
    return [seen, results]


def buckets_in_words(sizes, width, seed, bucket=lambda n: 1 << (n - 1).bit_length(), once=True, rows=lambda n: n):
    random, shapes, results = np.random.default_rng(seed), [], []
    for n in sizes:
        x = random.normal(size=(n, width)).astype("float32").astype(np.float64)
        shape = [bucket(n), width, True]
        if shape not in shapes or not once:
            shapes.append(shape)
        results.append([np.stack([np.cos(x).prod(1), x.sum(1) + number][: number + 1], 1).astype(np.float32) for number in range(2)])
    return [[shapes, shapes], results]


def check_row_gradients():
    single = {"dtypes": ("float32",), "layouts": ("contiguous",), "without": ("zero", "equal", "negative", "ties")}
    labels_of_rows = cases.array("n", dtypes=("int32",), high=2, layouts=("contiguous",), without=("low", "equal", "edges"))
    domain = {"W": cases.array(4, 3, **single), "b": cases.array(3, **single), "X": cases.array("n", 4, **single), "y": labels_of_rows, "nested": cases.choice(False, True), "factor": cases.choice(1, -2)}
    causes = {
        "these are the gradients of the sum of all losses, without an axis for the rows": lambda *a: gradients_in_words(*a, first=True),
        "each was divided by the number of rows": lambda *a: gradients_in_words(*a, share=lambda n: 1 / n),
        "the rows are right, but `loss` ran for each of them: `jax.vmap` runs it once for all": lambda *a: gradients_in_words(*a, few=lambda n: n <= 3),
    }
    drawn = cases.draw(seeds, domain, count=0, n=(1, 40))
    hint = "`grad` of one row's loss, mapped over the rows: the parameters are the same for all"
    check.agrees(gradients_of_rows, gradients_in_words, drawn, "`row_gradients` (gradients; `loss`, `factor` times a cross-entropy, ran once to three times)", hint, causes=causes, rtol=1e-4, atol=1e-4)


def check_bucketed():
    causes = {
        "the function was compiled for every new number of rows: nothing was filled up": lambda *a: buckets_in_words(*a, bucket=lambda n: n),
        "a number of rows that is a power of two was filled up to the next one": lambda *a: buckets_in_words(*a, bucket=lambda n: 1 << n.bit_length()),
        "its Python code ran at every call: compile once, outside of `g`": lambda *a: buckets_in_words(*a, once=False),
    }
    hint = "fill up with rows to the smallest power of two that is not below n, call the compiled function, cut off"
    some = [([5], 3, 1), ([1, 2, 3, 5, 3, 8, 4, 1], 3, 2), ([64, 65, 64], 2, 3)]
    for seed in seeds:
        random = np.random.default_rng(seed)
        some.append((random.integers(1, 301, 3).tolist(), int(random.integers(1, 13)), seed))
    what = "`bucketed`, two functions side by side (for which [rows, d, traced] the Python code of each ran; results), for (numbers of rows, d, seed)"
    check.agrees(bucket_runs, buckets_in_words, some, what, hint, causes=causes, rtol=1e-4, atol=1e-4)


with check.exercise("transforms"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"row_gradients": check_row_gradients, "bucketed": check_bucketed})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# First part: what would you write for one row? `vmap` does the same for all. Second part: the padding happens outside of the compiled function, with NumPy, since inside there is one shape only. Where must the call of `jax.jit` stand, so that there is one compiled function for all calls?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `jax.vmap(..., in_axes=(None, 0, 0))`, `jax.grad`; `jax.jit`, `(n - 1).bit_length()`, `np.zeros`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)`. In `bucketed`: `compiled = jax.jit(f)`; in `g`: `bucket = 1 << (n - 1).bit_length()`, an array of zeros with so many rows, the first n of them x; `return compiled(padded)[:n]`.
# </details>
#
# ## 5 · All of it at work
#
# From here on this notebook computes with all three frameworks in one process. Your pipeline feeds your training step, which `tf.function` turned into a graph:

# %%
flat = (digits.images.reshape(-1, 8, 8) * 255 / 16).astype("uint8")
weights, offsets = tf.Variable(tf.zeros((64, 10))), tf.Variable(tf.zeros(10))
step_traces = []


@tf.function(reduce_retracing=True)
def one_step(x, y):
    step_traces.append(str(x.shape))  # Python: runs while tracing only
    return train_step(weights, offsets, tf.reshape(x, (-1, 64)), y, 0.5, 5.0)


curve = []
for epoch in range(15):
    losses = [one_step(x, y) for x, y in pipeline(flat[:1000], digits.target[:1000], 64, True, epoch)]
    curve.append(float(np.mean([loss.numpy() for loss in losses])))
logits_now = (flat[1000:].reshape(-1, 64) / 255).astype("float32") @ weights.numpy() + offsets.numpy()
figure, panel = plt.subplots(figsize=(6, 2.6), layout="constrained")
panel.plot(range(1, 16), curve, "o-")
panel.set(title="Softmax regression by `train_step`", xlabel="epoch", ylabel="mean loss", ylim=(0, None))
plt.show()
print(f"{(logits_now.argmax(1) == labels[1000:]).mean():.1%} of 797 new digits; {15 * 16} steps, {len(step_traces)} traces, for inputs {', '.join(step_traces)}")

# %% [markdown]
# Two kinds of batches came: full ones and the last, smaller one. `reduce_retracing` made the second trace for an open number of rows.
#
# Next the count that matters for a service. A hundred requests of 1 to 60 rows, each with another temperature: how often is the model traced?

# %%
random = np.random.default_rng(6)
requests = [(random.normal(size=(int(n), 8)).astype("float32"), float(t)) for n, t in zip(random.integers(1, 61, 100), random.uniform(0.5, 2, 100))]
matrix = random.normal(size=(8, 5)).astype("float32")
runs = {"naive": 0, "one": 0, "jit": 0, "buckets": 0}


def counted(name, constant):
    def model(x):
        runs[name] += 1
        return x @ constant(matrix)

    return model


naive_model, jit_model = counted("naive", tf.constant), counted("jit", jnp.asarray)
naive = tf.function(lambda rows, temperature: tf.nn.softmax(naive_model(rows) / temperature))
predict = make_predict(counted("one", tf.constant), 8)
compiled = jax.jit(jit_model)
in_buckets = bucketed(counted("buckets", jnp.asarray))
for rows, temperature in requests:
    naive(rows, temperature)
    predict(rows, temperature)
    compiled(rows)
    in_buckets(rows)
sizes_met = len({len(rows) for rows, _ in requests})
print(f"100 requests with {sizes_met} different sizes. Traces: tf.function as it is {runs['naive']}, your `make_predict` {runs['one']}, jax.jit as it is {runs['jit']}, your `bucketed` {runs['buckets']}")

# %% [markdown]
# And the gradients of single rows. They say which digits the model of above would learn most from: those it gets wrong, or nearly so.

# %%
def loss_of_row(parameters, x, label):
    return -jax.nn.log_softmax(x @ parameters["W"] + parameters["b"])[label]


inputs = (flat[1000:].reshape(-1, 64) / 255).astype("float32")
found = row_gradients(loss_of_row, {"W": jnp.asarray(weights.numpy()), "b": jnp.asarray(offsets.numpy())}, inputs, labels[1000:])
norms = np.sqrt(sum((np.asarray(part).reshape(len(inputs), -1) ** 2).sum(1) for part in (found["W"], found["b"])))
figure, panels = plt.subplots(1, 6, figsize=(9, 2.2), layout="constrained")
for panel, i in zip(panels, np.argsort(-norms)[:6]):
    panel.imshow(inputs[i].reshape(8, 8), cmap="gray_r")
    panel.set_title(f"a {labels[1000 + i]}, read as {logits_now[i].argmax()}\nnorm {norms[i]:.1f}", fontsize=9)
    panel.set_xticks([])
    panel.set_yticks([])
plt.show()
print(f"Half of the {len(norms)} rows have a gradient of norm below {np.median(norms):.2f}; these six have the largest.")

# %% [markdown]
# ## Claims measured
#
# "Graphs are faster than eager code." One step of training of the same small network, 64 rows, in four ways. They take turns, so that whatever else the machine does meets all alike; what counts is computing time, not time on the clock.

# %%
drawn = np.random.default_rng(7)
start = [drawn.normal(size=shape).astype("float32") / 8 for shape in ((64, 32), (32,), (32, 10), (10,))]
batch_x, batch_y = inputs[:64], labels[1000:1064]


def make_tf_step():
    variables = [tf.Variable(part) for part in start]
    x, y = tf.constant(batch_x), tf.constant(batch_y)

    def step():
        with tf.GradientTape() as tape:
            W, b, V, c = variables
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=tf.nn.relu(x @ W + b) @ V + c))
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            variable.assign_sub(0.01 * gradient)
        return loss

    return step


def make_jax_step():
    def loss_of(parameters, x, y):
        W, b, V, c = parameters
        return -jnp.take_along_axis(jax.nn.log_softmax(jax.nn.relu(x @ W + b) @ V + c), y[:, None], 1).mean()

    @jax.jit
    def update(parameters, x, y):
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
        return [p - 0.01 * g for p, g in zip(parameters, gradients)], loss

    state, x, y = [[jnp.asarray(part) for part in start]], jnp.asarray(batch_x), jnp.asarray(batch_y)

    def step():
        state[0], loss = update(state[0], x, y)
        return loss

    return step


def make_torch_step():
    parameters = [torch.tensor(part, requires_grad=True) for part in start]
    x, y = torch.tensor(batch_x), torch.tensor(batch_y, dtype=torch.int64)

    def step():
        W, b, V, c = parameters
        loss = torch.nn.functional.cross_entropy(torch.relu(x @ W + b) @ V + c, y)
        with torch.no_grad():
            for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
                p -= 0.01 * g
        return loss.detach()

    return step


ways = {"TensorFlow, eager": make_tf_step(), "TensorFlow, tf.function": tf.function(make_tf_step()), "JAX, jit": make_jax_step(), "PyTorch, eager": make_torch_step()}
first_losses = {name: float(step()) for name, step in ways.items()}  # traces and compiles
spent = {name: [] for name in ways}
for _ in range(9):
    for name, step in ways.items():
        before = time.process_time()
        for _ in range(40):
            loss = step()
        float(loss)  # waits for what is still being computed
        spent[name].append((time.process_time() - before) / 40 * 1e6)
medians = {name: float(np.median(values)) for name, values in spent.items()}
figure, panel = plt.subplots(figsize=(6.5, 2.4), layout="constrained")
panel.barh(list(medians), list(medians.values()))
panel.set(title="One step, 64 rows, 2,410 weights", xlabel="computing time (microseconds, median)", xlim=(0, None))
plt.show()
print("largest difference of the first loss between the four:", f"{max(first_losses.values()) - min(first_losses.values()):.0e}")

# %%
eager, graph, jitted = (medians[name] for name in ("TensorFlow, eager", "TensorFlow, tf.function", "JAX, jit"))
claims.record(
    "tf.function is faster than eager TensorFlow",
    claimed="yes, most for many small operations",
    measured=f"{eager / graph:.1f} times as fast (medians: {graph:.0f} and {eager:.0f} µs a step)",
    holds=graph < eager,
    how="one step of a network with 2,410 weights, nine rounds of 40 steps in turns, CPU time",
)
claims.record(
    "jax.jit is faster than eager TensorFlow",
    claimed="yes",
    measured=f"{eager / jitted:.1f} times as fast ({jitted:.0f} µs); PyTorch eager {medians['PyTorch, eager']:.0f} µs",
    holds=jitted < eager,
    how="the same run",
)
claims.record(
    "one set of weights gives equal outputs in TensorFlow, PyTorch and JAX",
    claimed="to 1 in 100,000",
    measured=f"largest difference {max(differences.values()):.0e} of the largest logit",
    holds=max(differences.values()) < 1e-5,
    how="797 digits; Keras on three backends, and plain PyTorch and JAX",
)
claims.record(
    "shapes that change make a compiled function slow",
    claimed="a trace for each",
    measured=f"{sizes_met} sizes in 100 requests: jax.jit {runs['jit']} traces, in buckets {runs['buckets']}; tf.function with Python numbers {runs['naive']}, with a signature {runs['one']}",
    holds=runs["jit"] == sizes_met and runs["buckets"] <= 7 and runs["one"] == 1,
    how="counted in the model's Python code",
)

# %% [markdown]
# ### 9 · Choose a framework (`framework_choice`, 3 points, 20 minutes, difficulty 2 of 3)
#
# Three teams ask you. For each name a framework (PyTorch, TensorFlow, JAX, or Keras with a backend), give your reason in two or three sentences, and say what would speak against it.
#
# 1. A team has a TensorFlow service that has run for six years, with `tf.data` pipelines and Keras models. It wants to use a new model whose weights are published for PyTorch.
# 2. A research group needs gradients of single rows for a new training method, on many accelerators at once. Its batches all have the same shape.
# 3. Two people build their first text classifier from a published model. They will change it every week, and debug a lot.
#
# Use at least two figures that you saw in this notebook (differences, traces, times), with what they mean for the choice.

# %% [markdown] answer="framework_choice" points=3 minutes=20 difficulty=2
# 1. Stay with TensorFlow and carry the weights: outputs agree to well below 1 in 100,000 of the largest logit once axes, flattening and epsilon fit, and the test for that is short. Rewriting pipelines and serving costs
#    far more than one conversion. Against it: every new version of the model must be carried again, and a part that has no counterpart must be written by hand. Keras 3 is a way out later, since the same file runs on each backend.
#
# 2. JAX. `vmap` of `grad` gives row gradients in one line, and `jit` compiles the whole step; with one shape it compiles once. In my count 100 requests of changing sizes needed a trace for each size, so this would
#    be a bad fit if shapes changed (then: buckets). Against it: pure functions throughout, fewer ready models, errors inside traced code are harder to read. `torch.func` would be the second choice.
#
# 3. PyTorch. Each line runs when it is reached, so a debugger and `print` work anywhere, and most published text models come for it. In my measurement its eager step was not slower than eager TensorFlow's. Against it:
#    they write the training loop themselves (or take a trainer), and the compiled step in the other frameworks may need less time for small operations.

# %% [markdown]
# ## Quiz

# %% [markdown] quiz="end"
# 1. A `tf.function` contains `print("step")`. It is called five times with tensors of the same shape and dtype. How often is the word printed?
# - [ ] Five times :: The graph holds TensorFlow's operations only; `print` is Python.
# - [x] Once :: Right: Python code runs while tracing. `tf.print` is an operation and would run each time.
# - [ ] Never :: Tracing runs the Python code of the function.
# 2. A `tf.function` is called with the Python numbers 1, 2, 3 and again 1. How many traces?
# - [x] 3 :: Right: each new value is built in as a constant. As tensors they would need one.
# - [ ] 1 :: That would be so for tensors.
# - [ ] 4 :: A trace is kept and used again for a value that was seen before.
# 3. Keras' `Dense` has a kernel of shape [20, 5]. What goes into `torch.nn.Linear(20, 5).weight`?
# - [ ] The kernel as it is :: The shape does not fit: PyTorch wants [5, 20].
# - [ ] The kernel reshaped to [5, 20] :: That fits, and mixes up all the weights.
# - [x] The kernel transposed :: Right: rows of `weight` belong to outputs.
# 4. `dataset.batch(32).shuffle(1000)`: what is shuffled?
# - [ ] Rows, within 1,000 of them :: After `batch` an element is a batch.
# - [x] Whole batches; the rows in each stay together :: Right.
# - [ ] Nothing :: Batches do change places.
# 5. Why does `jax.grad` want a pure function?
# - [ ] Because JAX cannot call Python functions :: It calls them, with tracers in place of numbers.
# - [ ] Pure functions need less memory :: That is not the point.
# - [x] What it traces must follow from the arguments; what is read or changed elsewhere is frozen in or lost :: Right.

# %% [markdown]
# ## Read next
#
# - Keras 3 for those who know it or PyTorch: https://keras.io/guides (functional models, layers, callbacks, backends)
# - When `tf.function` traces: https://www.tensorflow.org/guide/function; what it does with Python code: Agrawal et al., 2019, https://arxiv.org/abs/1903.01855
# - JAX from the beginning, and its sharp bits: https://docs.jax.dev/en/latest/notebooks/Common_Gotchas_in_JAX.html
# - Batch normalisation, whose two conventions you met: Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167
#
# Lesson 07 goes on with published models in PyTorch.

# %% [markdown]
# ## A bigger machine
#
# On a GPU the same Keras code trains a wide network; a process of its own does it, since this one was kept on the CPU.

# %%
BIGGER = '''
import time
import keras
import numpy as np

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(8192, 64, 64, 3)).astype("float32")
y = (x.mean((1, 2, 3)) > 0).astype("int32")
model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(128, 3), keras.layers.BatchNormalization(), keras.layers.ReLU(), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
begin = time.perf_counter()
losses = model.fit(x, y, batch_size=512, epochs=3, verbose=0).history["loss"]
print(f"Keras on {keras.backend.backend()}: losses {[round(loss, 3) for loss in losses]}, {time.perf_counter() - begin:.1f} s")
'''
if env.device.startswith("cuda"):
    settings = {name: value for name, value in os.environ.items() if name not in ("KERAS_TORCH_DEVICE", "CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS")}
    settings |= {} if hidden_gpu is None else {"CUDA_VISIBLE_DEVICES": hidden_gpu}
    done = subprocess.run([sys.executable, "-c", BIGGER], env=settings, capture_output=True, text=True, timeout=600)
    print(done.stdout.strip() or done.stderr[-500:])
else:
    print("A bigger machine: skipped here (it needs a GPU).")
