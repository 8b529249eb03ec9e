# ---
# jupyter:
#   unit24:
#     needs: ["matplotlib>=3.8", "numpy>=1.26", "scikit-learn", "torch>=2.6"]
# ---

# %% [markdown]
# # 01 · Deep learning foundations
#
# **You will build** a network that reads handwritten digits, from nothing but NumPy: its layers, its loss, its gradients by hand, a check that the
# gradients are right, and the loop that trains it. Then five lines of PyTorch do the same, and the numbers agree. After that you
# write the two other layers that this course meets everywhere: a convolution and a recurrent step.
#
# **You need first** Python functions, NumPy arrays with their axes, and the chain rule for derivatives.
#
# **Time** about four hours: nine exercises, 24 points.
#
# | part | idea | exercises |
# |---|---|---|
# | 1 | a network is sums of products with a bend in between | `layers` |
# | 2 | a loss says in one number how wrong it is | `cross_entropy` |
# | 3 | the gradient says how each weight should change; the chain rule gives all of them in one pass back | `backward`, `numerical_gradient`, `check_backward` |
# | 4 | descent: many small steps on small batches | `train` |
# | 5 | where to begin, so that signals neither die nor explode | `starting_weights` |
# | 6 | weights that are used in many places | `convolve`, `recur` |

# %% setup

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from unit24 import cases, check, claims

# %% [markdown]
# ## 1 · Sums of products, and a bend
#
# A *neuron* multiplies each of its inputs by a weight, adds them up, adds a bias, and sends the sum through a bent function, the
# **activation**. A *layer* is many neurons on the same inputs: one product with a matrix. For a batch of inputs, one a row,
#
# $$H = f(X W + b), \qquad X: [n, d],\quad W: [d, m],\quad b: [m],\quad H: [n, m].$$
#
# Without the bend, two layers would be one: $(X W_1) W_2 = X (W_1 W_2)$. The plot shows three bends that you will meet.

# %%
z = np.linspace(-4, 4, 201)
figure, panel = plt.subplots(figsize=(6, 3), layout="constrained")
for name, values in (("ReLU: max(0, z)", np.maximum(0, z)), ("sigmoid: 1 / (1 + exp(-z))", 1 / (1 + np.exp(-z))), ("tanh", np.tanh(z))):
    panel.plot(z, values, label=name)
panel.set(title="Three activations", xlabel="sum z of a neuron", ylabel="what it sends on", ylim=(-1.2, 3))
panel.legend()
plt.show()

# %% [markdown]
# ### Exercise 1 · Two layers (`layers`, 3 points, 20 minutes, difficulty 1 of 3)
#
# Arrays are float32 or float64, in any memory layout; all of one call have the same dtype. Each function earns a third of the points. For all three:
#
# - What is returned has the dtype of what was given. <!-- rule: dtype -->
# - What was given stays as it was. <!-- rule: unchanged -->
#
# `relu(z)` and `sigmoid(z)` take an array of one, two or three axes of 1 to 40, with numbers from -1,000 to 1,000, and return one of its shape.
#
# - `relu` gives z where z is above 0, else 0. <!-- rule: relu -->
# - `sigmoid` gives 1 / (1 + exp(-z)), right to a share of 1 in 100,000 of the value also where exp(-z) or exp(z) is too large for the dtype: it never gives NaN, and no
#   warning. Values below 10⁻³⁵ may be 0. <!-- rule: sigmoid -->
#
# `forward(parameters, X)` is a network of two layers. `parameters` is a dictionary with the arrays `"W1"` [d, m], `"b1"` [m], `"W2"` [m, k] and `"b2"` [k], `X` has shape
# [n, d]; all sizes are 1 or more, up to 70.
#
# - It returns two arrays: `hidden = relu(X W1 + b1)` of shape [n, m], and the *logits* `hidden W2 + b2` of shape [n, k], without an activation. <!-- rule: forward -->


# %% exercise="layers" minutes=20 difficulty=1
def relu(z: np.ndarray) -> np.ndarray:
    """z where it is above 0, else 0."""
    ### BEGIN SOLUTION
    return np.maximum(z, 0)
    ### END SOLUTION


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), without overflow."""
    ### BEGIN SOLUTION
    small = np.exp(-np.abs(z))  # never above 1
    return np.where(z >= 0, 1, small) / (1 + small)
    ### END SOLUTION


def forward(parameters: dict[str, np.ndarray], X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden layer [n, m] and logits [n, k] of inputs [n, d]."""
    ### BEGIN SOLUTION
    hidden = np.maximum(X @ parameters["W1"] + parameters["b1"], 0)
    return hidden, hidden @ parameters["W2"] + parameters["b2"]
    ### END SOLUTION


# %% tests="layers" points=3
def relu_of_each(z):
    return np.array([max(x, 0) for x in z.ravel().tolist()], z.dtype).reshape(z.shape)


def sigmoid_of_each(z):
    """With an exponent that is never above 0, in longdouble."""
    exact = np.exp(np.minimum(z, 0).astype(np.longdouble)) / (1 + np.exp(-np.abs(z.astype(np.longdouble))))
    return np.where(exact < 1e-36, 0, exact).astype(z.dtype)


@check.scenario
def without_overflow(z):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return sigmoid(z)


@check.scenario
def ran(W1, b1, W2, b2, X):
    parameters = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    kept = dict(parameters)
    hidden, logits = forward(parameters, X)
    return [hidden, logits, list(parameters) == list(kept) and all(parameters[name] is kept[name] for name in kept)]


def in_words(W1, b1, W2, b2, X):
    hidden = np.maximum(np.einsum("nd,dm->nm", X, W1) + b1, 0)
    return [hidden, np.einsum("nm,mk->nk", hidden, W2) + b2, True]


def of_each_shape():
    for axes in ("nm", "n", "knm"):
        yield cases.draw(seeds, {"z": cases.array(*axes, scale=(1e-4, 1e3))}, **{axis: (1, 40) for axis in axes})


def check_relu():
    for drawn in of_each_shape():
        check.agrees(relu, relu_of_each, drawn, "`relu`", "z where it is above 0, else 0", causes={"that is the absolute value": np.abs})


def check_sigmoid():
    causes = {"the sign of z is turned round": lambda z: sigmoid_of_each(-z)}
    hint = "where z is large, exp(z) overflows: use the form in which the exponent is never above 0"
    for drawn in of_each_shape():
        check.agrees(without_overflow, sigmoid_of_each, drawn, "`sigmoid`", hint, causes=causes, rtol=1e-5, atol=1e-35)


def check_forward():
    domain = {
        "W1": cases.array("d", "m"),
        "b1": cases.array("m"),
        "W2": cases.array("m", "k"),
        "b2": cases.array("k"),
        "X": cases.array("n", "d"),
    }
    for dtype in ("float32", "float64"):
        some = {name: cases.array(*axes, dtypes=(dtype,)) for name, axes in zip(domain, (("d", "m"), ("m",), ("m", "k"), ("k",), ("n", "d")))}
        drawn = cases.draw(seeds, some, n=(1, 70), d=(1, 70), m=(1, 70), k=(1, 70))
        causes = {
            "the hidden layer has no bend": lambda W1, b1, W2, b2, X: [X @ W1 + b1, (X @ W1 + b1) @ W2 + b2, True],
            "the logits go on without an activation": lambda *a: [in_words(*a)[0], np.maximum(in_words(*a)[1], 0), True],
            "the first bias is missing": lambda W1, b1, W2, b2, X: in_words(W1, 0 * b1, W2, b2, X),
            "the second bias is missing": lambda W1, b1, W2, b2, X: in_words(W1, b1, W2, 0 * b2, X),
        }
        check.agrees(ran, in_words, drawn, "`forward` (hidden, logits, parameters as they were)", "relu(X W1 + b1), then W2 and b2", causes=causes)


with check.exercise("layers"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"relu": check_relu, "sigmoid": check_sigmoid, "forward": check_forward})
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# For z = -800, exp(-z) is too large; exp(z) is not. Which of the two forms of the sigmoid, 1 / (1 + exp(-z)) or exp(z) / (1 + exp(z)), is safe for which sign?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `np.maximum`, `np.exp`, `np.abs`, `np.where`; `@` is the product of matrices, and a bias of shape [m] is added to each row.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `small = np.exp(-np.abs(z))` never overflows. For z of 0 and above the sigmoid is `1 / (1 + small)`, below it is `small / (1 + small)`.
# </details>

# %% [markdown]
# ## 2 · One number that says how wrong
#
# The data: 1,797 handwritten digits of 8 × 8 pixels, which scikit-learn carries (UCI ML hand-written digits, 1998).

# %%
digits = load_digits()
images, labels = digits.images / 16, digits.target
train_X, test_X, train_y, test_y = train_test_split(images.reshape(len(images), 64), labels, test_size=0.3, random_state=0, stratify=labels)
figure, panels = plt.subplots(1, 8, figsize=(9, 1.6), layout="constrained")
for panel, image, label in zip(panels, images, labels):
    panel.imshow(image, cmap="gray_r")
    panel.set_title(f"label {label}", fontsize=9)
    panel.set_xticks([])
    panel.set_yticks([])
plt.show()
print("to train with:", train_X.shape, "  to test with:", test_X.shape)

# %% [markdown]
# A network for ten digits gives ten logits. The **softmax** makes probabilities of them, $p_j = e^{z_j} / \sum_i e^{z_i}$, and the **cross-entropy** is the mean of
# $-\log p_y$ over the batch, where $y$ is the right label: 0 for a sure right answer, large for a sure wrong one. With equal probabilities it is $\log 10 \approx 2.3$.
#
# Its gradient with respect to the logits is short: $(p - t) / n$, where $t$ is 1 at the right label and 0 elsewhere, and $n$ the number of rows.
#
# ### Exercise 2 · Loss and its gradient (`cross_entropy`, 3 points, 20 minutes, difficulty 2 of 3)
#
# Write `cross_entropy(logits, y)`. `logits` has shape [n, k], float32 with numbers from -100 to 100 or float64 with numbers from -1,000 to 1,000; `y` has shape [n], int64 from 0 to k - 1.
# n and k are 1 to 70, the memory layout is any.
#
# - The first result is the mean of $-\log p_y$ over the rows, as a Python float or a NumPy number. <!-- rule: loss -->
# - It is right to 2 in 100,000 of it, or of 1 where it is smaller, also where a probability is too small for the dtype; no warning is given. <!-- rule: stable -->
# - The second result is the gradient of the first with respect to the logits, shape [n, k], of their dtype, each entry right to 2 in 100,000 and 10⁻⁶. <!-- rule: gradient -->
# - `logits` and `y` stay as they were. <!-- rule: unchanged -->


# %% exercise="cross_entropy" minutes=20 difficulty=2
def cross_entropy(logits: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy of logits [n, k] and labels [n], and its gradient [n, k]."""
    ### BEGIN SOLUTION
    rows = np.arange(len(y))
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[rows, y] -= 1
    return float(-log_p[rows, y].mean()), gradient / len(y)
    ### END SOLUTION


# %% tests="cross_entropy" points=3
@check.scenario
def loss_of_rows(logits, y):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return float(cross_entropy(logits, y)[0])


@check.scenario
def gradient_by_logits(logits, y):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return cross_entropy(logits, y)[1]


def loss_by_torch(logits, y):
    return F.cross_entropy(torch.tensor(logits.astype(np.float64)), torch.tensor(y)).item()


def by_torch(logits, y):
    z = torch.tensor(logits.astype(np.float64), requires_grad=True)
    F.cross_entropy(z, torch.tensor(y)).backward()
    return z.grad.numpy().astype(logits.dtype)


def softmax_by_torch(logits, y):
    return (torch.tensor(logits.astype(np.float64)).softmax(1).numpy() / len(y)).astype(logits.dtype)


with check.exercise("cross_entropy"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for dtype, largest in (("float64", 1e3), ("float32", 1e2)):
        domain = {"logits": cases.array("n", "k", dtypes=(dtype,), scale=(1e-3, largest)), "y": cases.array("n", dtypes=("int64",), below="k")}
        check.agrees(
            loss_of_rows,
            loss_by_torch,
            cases.draw(seeds, domain, n=(1, 70), k=(1, 70)),
            "the loss that `cross_entropy` gives",
            "it is a mean over rows of -log p at the label",
            causes={
                "that is a sum over rows, not a mean": lambda z, y: loss_by_torch(z, y) * len(y),
                "that is the mean over all entries: divide by the rows alone": lambda z, y: loss_by_torch(z, y) / z.shape[1],
            },
            rtol=2e-5,
            atol=2e-5,
        )
        check.agrees(
            gradient_by_logits,
            by_torch,
            cases.draw(seeds, domain, n=(1, 70), k=(1, 70)),
            "the gradient that `cross_entropy` gives",
            "it is (p - t) / n",
            causes={
                "that is the gradient of a sum: divide it by the number of rows": lambda z, y: by_torch(z, y) * len(y),
                "that is the gradient of a mean over all entries: divide by the rows alone": lambda z, y: by_torch(z, y) / z.shape[1],
                "the sign of the gradient is turned round": lambda z, y: -by_torch(z, y),
                "the 1 at the right label is missing: p - t": softmax_by_torch,
            },
            rtol=2e-5,
            atol=1e-6,
        )

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Softmax does not change when the same number is taken from all logits of a row. Which number keeps every exponent at 0 or below? And can the logarithm be taken before
# a probability has become 0?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `logits.max(1, keepdims=True)`; $\log p_j = z_j - \log \sum_i e^{z_i}$; `log_p[np.arange(n), y]` picks one entry of each row.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `shifted = logits - logits.max(1, keepdims=True)` and `log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))`. The gradient is `np.exp(log_p)` with 1 taken away at the label, divided by n.
# </details>

# %% [markdown]
# ## 3 · The pass back
#
# Backpropagation is the chain rule from the end to the beginning. Say $G = \partial L / \partial Z$ is known for the output $Z = H W + b$ of a layer. Then
#
# $$\frac{\partial L}{\partial W} = H^\top G, \qquad \frac{\partial L}{\partial b} = \text{sum of } G \text{ over rows}, \qquad \frac{\partial L}{\partial H} = G W^\top .$$
#
# Each has the shape of what it belongs to; that alone rules most mistakes out. The bend passes the gradient on where its input was above 0, that is where its output is, and stops it elsewhere.
#
# ### Exercise 3 · Gradients of two layers (`backward`, 4 points, 30 minutes, difficulty 2 of 3)
#
# Write `backward(parameters, X, hidden, G)`: `parameters` and `X` as in exercise 1, `hidden` what `forward` gave for them, `G` [n, k] the gradient of a loss with respect to the logits. Sums before the bend are
# never exactly 0 here.
#
# It returns a dictionary with the gradients `"W2"`, `"b2"`, `"W1"` and `"b1"`, each with the shape of its parameter. Each of the four earns a quarter of the points.
#
# - `"W2"`: from the hidden values and G. <!-- rule: second -->
# - `"b2"`: from G. <!-- rule: b2 -->
# - `"W1"`: from the inputs and what passes the bend. <!-- rule: first -->
# - `"b1"`: from what passes the bend. <!-- rule: b1 -->
# - They have the dtype of what was given. <!-- rule: dtype -->
# - `G` is the gradient already: nothing is divided by the number of rows again. <!-- rule: once -->
# - The dictionary and the arrays that were given stay as they were. <!-- rule: unchanged -->


# %% exercise="backward" minutes=30 difficulty=2
def backward(parameters: dict[str, np.ndarray], X: np.ndarray, hidden: np.ndarray, G: np.ndarray) -> dict[str, np.ndarray]:
    """Gradients of W1, b1, W2 and b2, given that of the logits, G [n, k]."""
    ### BEGIN SOLUTION
    back = (G @ parameters["W2"].T) * (hidden > 0)
    return {"W2": hidden.T @ G, "b2": G.sum(0), "W1": X.T @ back, "b1": back.sum(0)}
    ### END SOLUTION


# %% tests="backward" points=4
@check.scenario
def gradient_of(name, W1, b1, W2, b2, X, hidden, G):
    parameters = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    kept = dict(parameters)
    gradients = backward(parameters, X, hidden, G)
    return [gradients[name], list(parameters) == list(kept) and all(parameters[n] is kept[n] for n in kept)]


def by_autograd(name, W1, b1, W2, b2, X, hidden, G):
    tensors = {n: torch.tensor(v.astype(np.float64), requires_grad=True) for n, v in (("W1", W1), ("b1", b1), ("W2", W2), ("b2", b2))}
    z = torch.tensor(X.astype(np.float64)) @ tensors["W1"] + tensors["b1"]
    (z.relu() @ tensors["W2"] + tensors["b2"]).backward(torch.tensor(G.astype(np.float64)))
    return [tensors[name].grad.numpy().astype(X.dtype), True]


def by_parts(name, W2, X, hidden, G, mask=True, divided=False, mean=False):
    """What common mistakes give, for each of the four."""
    back = G @ W2.T
    back = back * (hidden > 0) if mask else back
    add = np.mean if mean else np.sum
    found = {"W2": hidden.T @ G, "b2": add(G, 0), "W1": X.T @ back, "b1": add(back, 0)}[name]
    return [(found / len(X) if divided else found).astype(X.dtype), True]


def check_gradient(name):
    def compare():
        for dtype in ("float64", "float32"):
            axes = {"W1": ("d", "m"), "b1": ("m",), "W2": ("m", "k"), "b2": ("k",), "X": ("n", "d")}
            domain = {"name": cases.choice(name)} | {n: cases.array(*a, dtypes=(dtype,), without=("zero", "ties", "equal")) for n, a in axes.items()}
            domain["hidden"] = cases.derived(lambda X, W1, b1, **_: np.maximum(X @ W1 + b1, 0), "relu(X W1 + b1)")
            domain["G"] = cases.array("n", "k", dtypes=(dtype,), without=("ties",))
            drawn = cases.draw(seeds, domain, n=(1, 70), d=(1, 70), m=(1, 70), k=(1, 70))
            drawn = [case for case in drawn if np.abs(case["X"] @ case["W1"] + case["b1"]).min() > 1e-5]
            causes = {
                "the bend is missing: where the hidden value is 0 nothing goes back": lambda n, W1, b1, W2, b2, X, h, G: by_parts(n, W2, X, h, G, mask=False),
                "a division by the number of rows too much: G is the gradient already": lambda n, W1, b1, W2, b2, X, h, G: by_parts(n, W2, X, h, G, divided=True),
                "a bias is added to every row: its gradient is the sum over rows, not their mean": lambda n, W1, b1, W2, b2, X, h, G: by_parts(n, W2, X, h, G, mean=True),
                "the gradient of the layer above, G, is missing in it": lambda n, W1, b1, W2, b2, X, h, G: by_parts(n, W2, X, h, np.ones_like(G)),
                "the inputs X stand where the hidden values belong, or the reverse": lambda n, W1, b1, W2, b2, X, h, G: [X.T @ G if n == "W2" else h.T @ ((G @ W2.T) * (h > 0)), True],
            }
            hint = f"its shape is that of {name}: {'H^T G' if name == 'W2' else 'the sum of G over rows' if name == 'b2' else 'X^T (G W2^T where hidden > 0)' if name == 'W1' else 'the sum of (G W2^T where hidden > 0) over rows'}"
            check.agrees(gradient_of, by_autograd, drawn, f"`backward` (gradient of {name}, parameters as they were)", hint, causes=causes)

    return compare


with check.exercise("backward"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({name: check_gradient(name) for name in ("W2", "b2", "W1", "b1")})
check.points(4)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Go from the end: G, then W2 and b2, then what reaches `hidden`, then what passes the bend, then W1 and b1.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `@` and `.T`, `sum(0)`, and `hidden > 0` as a mask of 0 and 1.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `back = (G @ W2.T) * (hidden > 0)`. From it `X.T @ back` and `back.sum(0)`, as from G `hidden.T @ G` and `G.sum(0)`.
# </details>

# %% [markdown]
# The same in PyTorch takes five lines, because every operation wrote down how to go back. Lesson 02 is about that.

# %%
random = np.random.default_rng(1)
small = {"W1": random.normal(size=(64, 12)) / 8, "b1": np.zeros(12), "W2": random.normal(size=(12, 10)) / 3, "b2": np.zeros(10)}
hidden, logits = forward(small, train_X[:50])
loss, G = cross_entropy(logits, train_y[:50])
mine = backward(small, train_X[:50], hidden, G)

tensors = {name: torch.tensor(value, requires_grad=True) for name, value in small.items()}
logits = torch.relu(torch.tensor(train_X[:50]) @ tensors["W1"] + tensors["b1"]) @ tensors["W2"] + tensors["b2"]
torch_loss = F.cross_entropy(logits, torch.tensor(train_y[:50]))
torch_loss.backward()
print(f"loss: yours {loss:.6f}, PyTorch {torch_loss.item():.6f}")
for name in small:
    print(f"gradient of {name}: largest difference {np.abs(mine[name] - tensors[name].grad.numpy()).max():.1e}")

# %% [markdown]
# How would you know without PyTorch? By the definition of a derivative. For one number $w$ of a parameter,
#
# $$\frac{\partial L}{\partial w} \approx \frac{L(w + \epsilon) - L(w - \epsilon)}{2 \epsilon} .$$
#
# The error of this *central difference* shrinks with $\epsilon^2$; with $L(w + \epsilon) - L(w)$ it would shrink with $\epsilon$ only. It needs two losses for each number, so it is for checking, not for training.
#
# ### Exercise 4 · Gradients by trying (`numerical_gradient`, 2 points, 20 minutes, difficulty 2 of 3)
#
# Write `numerical_gradient(loss, parameters, epsilon)`. `parameters` is a dictionary of 1 to 4 float64 arrays of one or two axes (of 1 to 12, in any memory layout, no two share memory), `loss(parameters)` gives a number for a dictionary with the same
# names and shapes, `epsilon` lies between 10⁻⁶ and 10⁻².
#
# - It returns a dictionary with, for each name, the central differences by each single number of the array, in its shape. <!-- rule: central -->
# - `loss` is called twice for each number, and each time all other numbers are those that were given. <!-- rule: one -->
# - Afterwards the dictionary and its arrays are as they were, to the last bit. <!-- rule: unchanged -->


# %% exercise="numerical_gradient" minutes=20 difficulty=2
def numerical_gradient(loss, parameters: dict[str, np.ndarray], epsilon: float = 1e-5) -> dict[str, np.ndarray]:
    """Central differences of `loss(parameters)` by each number of each array."""
    ### BEGIN SOLUTION
    gradients = {}
    for name, value in parameters.items():
        gradient = np.zeros(value.shape)
        for place in np.ndindex(*value.shape):
            losses = []
            for step in (epsilon, -epsilon):
                moved = value.copy()
                moved[place] += step
                losses.append(loss(parameters | {name: moved}))
            gradient[place] = (losses[0] - losses[1]) / (2 * epsilon)
        gradients[name] = gradient
    return gradients
    ### END SOLUTION


# %% tests="numerical_gradient" points=2
@check.shared
def bent(parameters):
    """A loss that couples all numbers: a sine of the sum of each array's squares, cubes, and neighbours' products."""
    total = 0.0
    for i, name in enumerate(sorted(parameters), 1):
        flat = np.ascontiguousarray(parameters[name]).ravel()
        total += i * np.sin((flat**2).sum() / len(flat)) + (flat**3).sum() + (flat[1:] * flat[:-1]).sum()
    return float(total + np.prod([np.tanh(parameters[name].sum()) for name in sorted(parameters)]))


@check.scenario
def tried(arrays, epsilon):
    parameters = {f"p{i}": array for i, array in enumerate(arrays)}
    given, before, asked = dict(parameters), {f"p{i}": array.copy() for i, array in enumerate(arrays)}, []

    def loss(some):
        fitting = sorted(some) == sorted(before) and all(np.shape(some[name]) == before[name].shape for name in before)
        asked.append(sum(int((some[name] != before[name]).sum()) for name in before) if fitting else "other names or shapes")
        return bent(some)

    found = numerical_gradient(loss, parameters, epsilon)
    same = list(parameters) == list(given) and all(parameters[n] is given[n] for n in given)
    return {
        "numbers moved in each call": sorted(set(asked), key=str),
        "calls": len(asked),
        "gradients": [found[name] for name in given],
        "given as before": same and all(np.array_equal(given[name], before[name]) for name in given),
    }


def by_definition(arrays, epsilon, two_sided=True, scale=1.0):
    found = []
    for i, array in enumerate(arrays):
        gradient = np.zeros(array.shape)
        for place in np.ndindex(*array.shape):

            def moved(by):
                other = [a.copy() for a in arrays]
                other[i][place] += by
                return bent({f"p{j}": a for j, a in enumerate(other)})

            gradient[place] = scale * ((moved(epsilon) - moved(-epsilon)) / (2 * epsilon) if two_sided else (moved(epsilon) - moved(0)) / epsilon)
        found.append(gradient)
    return {"numbers moved in each call": [1], "calls": 2 * sum(a.size for a in arrays), "gradients": found, "given as before": True}


with check.exercise("numerical_gradient"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for axes in ((("n",),), (("n", "m"),), (("n", "m"), ("m",)), (("n", "m"), ("m",), ("m", "k"), ("k",))):
        inner = {f"_{i}": cases.array(*a, dtypes=("float64",), layouts=("contiguous", "transposed", "with gaps"), scale=(0.1, 2)) for i, a in enumerate(axes)}
        inner["arrays"] = cases.derived(lambda **drawn: [drawn[name] for name in drawn], " and ".join(str(list(a)).replace("'", "") for a in axes))
        inner["epsilon"] = cases.number(1e-6, 1e-2)
        drawn = cases.draw(seeds, inner, count=2, n=(1, 12), m=(1, 7), k=(1, 5))
        check.agrees(
            tried,
            by_definition,
            drawn,
            "`numerical_gradient` (its gradients, its calls of `loss`)",
            "for each number (L(w + epsilon) - L(w - epsilon)) / (2 epsilon), all others as they were given",
            causes={
                "that is a difference to one side": lambda a, e: by_definition(a, e, two_sided=False),
                "the step is 2 epsilon wide": lambda a, e: by_definition(a, e, scale=2.0),
            },
            rtol=1e-6,
            atol=2e-8,
        )

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# One number at a time: copy the array, move one entry, ask for the loss, move it the other way, ask again.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `np.ndindex(*value.shape)` gives all places; `parameters | {name: moved}` is a new dictionary with one array replaced.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# Inside both loops: `moved = value.copy()`, `moved[place] += epsilon`, `loss(parameters | {name: moved})`; the same with `-epsilon`; the difference over `2 * epsilon`.
# </details>

# %%
few = {"W1": small["W1"][:, :2].copy(), "b1": np.full(2, 0.1), "W2": small["W2"][:2].copy(), "b2": small["b2"].copy()}


def loss_of(parameters):
    return cross_entropy(forward(parameters, train_X[:20])[1], train_y[:20])[0]


hidden, logits = forward(few, train_X[:20])
exact = backward(few, train_X[:20], hidden, cross_entropy(logits, train_y[:20])[1])
widths, errors = np.logspace(-10, -1, 10), []
for width in widths:
    found = numerical_gradient(loss_of, few, width)
    errors.append(max(np.abs(found[name] - exact[name]).max() for name in exact))
figure, panel = plt.subplots(figsize=(6, 3), layout="constrained")
panel.loglog(widths, errors, "o-")
panel.set(title="Central differences against the exact gradient", xlabel="epsilon", ylabel="largest difference")
plt.show()

# %% [markdown]
# From right to left the error falls with the square of epsilon, as the definition promises, then it grows again: the two losses become so alike that their
# difference has few digits left. Where w + epsilon and w - epsilon lie on both sides of a bend, the difference stays large.
#
# ### Exercise 5 · Tests for a backward pass (`check_backward`, 3 points, 25 minutes, difficulty 3 of 3)
#
# Someone hands you a backward pass. It is called as yours, `candidate(parameters, X, hidden, G)` in float64, `hidden` what `forward` gives, and returns the same dictionary. Write `check_backward(candidate)`.
#
# - It raises an error (an `assert` is enough) for each of the eight broken ones here. Each has one mistake, in one or two of the four gradients, that nearly all inputs show that are drawn from
#   a normal distribution with every size 3 or more; one gives NaN. Each that you catch earns its share. <!-- rule: bugs -->
# - It raises nothing for a right one. In each gradient right ones are off by at most a millionth of its largest entry. One false alarm, and nothing is earned. <!-- rule: right -->
#
# `forward`, `backward` and `numerical_gradient` may be used, and `np.testing`. Draw your inputs with a fixed seed; within epsilon of a bend `numerical_gradient` misses the exact gradient.


# %% exercise="check_backward" minutes=25 difficulty=3
def check_backward(candidate) -> None:
    """Raise an error if `candidate(parameters, X, hidden, G)` gives wrong gradients."""
    ### BEGIN SOLUTION
    drawn = np.random.default_rng(0)
    parameters = {"W1": drawn.normal(size=(4, 5)), "b1": drawn.normal(size=5), "W2": drawn.normal(size=(5, 3)), "b2": drawn.normal(size=3)}
    X, G = drawn.normal(size=(7, 4)), drawn.normal(size=(7, 3))
    hidden, _ = forward(parameters, X)
    found = candidate(parameters, X, hidden, G)
    for name, value in backward(parameters, X, hidden, G).items():
        assert np.linalg.norm(found[name] - value) <= 1e-5 * np.linalg.norm(value), name
    ### END SOLUTION


# %% tests="check_backward" points=3
with check.exercise("check_backward"):

    def passing(change=lambda gradients, p, X, h, G: gradients, mask=lambda h: h > 0):
        def candidate(parameters, X, hidden, G):
            back = (G @ parameters["W2"].T) * mask(hidden)
            gradients = {"W2": hidden.T @ G, "b2": G.sum(0), "W1": X.T @ back, "b1": back.sum(0)}
            return change(gradients, parameters, X, hidden, G)

        return candidate

    def replaced(name, compute):
        return passing(lambda gradients, p, X, h, G: gradients | {name: compute(gradients, p, X, h, G)})

    def divided_by_hidden(h):
        with np.errstate(invalid="ignore"):
            return h / h

    def from_the_sums(parameters, X, hidden, G):
        mask = X @ parameters["W1"] + parameters["b1"] > 0
        return passing(mask=lambda h: mask)(parameters, X, hidden, G)

    def row_by_row(parameters, X, hidden, G):
        found = {name: np.zeros_like(value) for name, value in parameters.items()}
        for x, h, g in zip(X, hidden, G):
            back = parameters["W2"] @ g * (h > 0)
            for name, value in (("W2", np.outer(h, g)), ("b2", g), ("W1", np.outer(x, back)), ("b1", back)):
                found[name] += value
        return found

    right = {
        "all rows at once": passing(),
        "row by row": row_by_row,
        "with the bend from the sums before it": from_the_sums,
        "with errors of half a millionth": passing(lambda gradients, *_: {n: v + 5e-7 * np.abs(v).max() for n, v in gradients.items()}),
    }
    wrong = {
        "the bend is missing": passing(mask=lambda h: np.ones_like(h)),
        "the mask is hidden / hidden, NaN where the hidden value is 0": passing(mask=divided_by_hidden),
        "b2 is a mean over rows": replaced("b2", lambda g, p, X, h, G: G.mean(0)),
        "b1 is divided by the number of rows": replaced("b1", lambda g, p, X, h, G: g["b1"] / len(X)),
        "W1 is as if the bend let everything through, b1 is right": replaced("W1", lambda g, p, X, h, G: X.T @ (G @ p["W2"].T)),
        "W2 uses the sign of the hidden values": replaced("W2", lambda g, p, X, h, G: np.sign(h).T @ G),
        "the last row is left out of W1": replaced("W1", lambda g, p, X, h, G: X[:-1].T @ ((G @ p["W2"].T) * (h > 0))[:-1]),
        "the gradient of the hidden values goes through W2 with its columns in reverse": passing(
            lambda g, p, X, h, G: g | {"W1": X.T @ ((G @ p["W2"][:, ::-1].T) * (h > 0)), "b1": ((G @ p["W2"][:, ::-1].T) * (h > 0)).sum(0)}
        ),
    }
    check.catches(check_backward, right, wrong)
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Which inputs show all mistakes at once? Several rows, hidden values of both kinds (0 and above), more than one output, and sizes that all differ. NaN is neither above nor below a limit.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# Draw everything with `np.random.default_rng(0)`, compute the four gradients once in your own way, compare each with a tolerance of 1 in 100,000 of its largest entry.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `expected = backward(parameters, X, hidden, G)`, then for each name `assert np.abs(found[name] - expected[name]).max() <= 1e-5 * np.abs(expected[name]).max()`.
# </details>

# %% [markdown]
# ## 4 · Descent
#
# A small step against the gradient lowers the loss: $w \leftarrow w - \eta \, \partial L / \partial w$, with the **learning rate** $\eta$. On all data at once that is exact and slow. *Stochastic* gradient
# descent takes a few rows, the **batch**, and makes many cheap steps in roughly the right direction. Each epoch shuffles the rows anew, so that batches differ.
#
# ### Exercise 6 · The loop (`train`, 3 points, 30 minutes, difficulty 2 of 3)
#
# Write `train(parameters, X, y, rate, batch, epochs, random)`: parameters as before (float64), `X` [n, d] and `y` [n] (int64) to learn from, n from 1 to 1,300, `rate` the learning rate (0.001 to 0.5), `batch` the rows of a step (1 or more, perhaps more
# than n), `epochs` how often all rows are used (0 to 40), `random` a `np.random.Generator`.
#
# - Each epoch draws one order of the rows, `random.permutation(len(X))`, and draws nothing else; its first `batch` rows are the first step, and so on. <!-- rule: order -->
# - The last batch of an epoch may be smaller. It is used, too, and its loss is the mean over the rows that it has. <!-- rule: last -->
# - A step computes the loss and all gradients on its rows with the parameters as they are, then changes every parameter. <!-- rule: step -->
# - It returns the new parameters in a dictionary of its own (after 0 epochs the arrays in it may be those that were given). The one that was given, its arrays, `X` and `y` stay as they were. <!-- rule: new -->
# - Beside them it returns a list with the mean loss of each epoch: of its steps' losses, each step counting by its number of rows. <!-- rule: losses -->
#
# Your functions `forward`, `cross_entropy` and `backward` may be used; at grading they are those of the reference.


# %% exercise="train" minutes=30 difficulty=2
def train(parameters, X, y, rate: float, batch: int, epochs: int, random: np.random.Generator):
    """Parameters after stochastic gradient descent, and the mean loss of each epoch."""
    ### BEGIN SOLUTION
    current, means = dict(parameters), []
    for _ in range(epochs):
        order, total = random.permutation(len(X)), 0.0
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            hidden, logits = forward(current, X[rows])
            loss, G = cross_entropy(logits, y[rows])
            gradients = backward(current, X[rows], hidden, G)
            current = {name: value - rate * gradients[name] for name, value in current.items()}
            total += loss * len(rows)
        means.append(total / len(X))
    return current, means
    ### END SOLUTION


# %% tests="train" points=3
@check.shared
def starting(sizes, seed):
    drawn = np.random.default_rng(seed)
    d, m, k = sizes
    return {"W1": drawn.normal(size=(d, m)), "b1": drawn.normal(size=m), "W2": drawn.normal(size=(m, k)), "b2": drawn.normal(size=k)}


@check.scenario
def trained(sizes, X, y, rate, batch, epochs, seed):
    parameters, random = starting(sizes, seed), np.random.default_rng(seed)
    given, before = dict(parameters), {name: value.copy() for name, value in parameters.items()}
    found, losses = train(parameters, X, y, rate, batch, epochs, random)
    kept = list(parameters) == list(given) and all(parameters[n] is given[n] and np.array_equal(given[n], before[n]) for n in given)
    return {
        "parameters": {name: found[name] for name in before},
        "losses": [float(loss) for loss in losses],
        "a dictionary of its own": found is not parameters,
        "those given as before": kept,
        "next number drawn": float(random.random()),
    }


def trained_by_torch(sizes, X, y, rate, batch, epochs, seed, last=True, whole=False, by_steps=False, once=False):
    random = np.random.default_rng(seed)
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in starting(sizes, seed).items()}
    optimizer, losses, order = torch.optim.SGD(tensors.values(), rate), [], None
    for _ in range(epochs):
        order = order if once and order is not None else random.permutation(len(X))
        found = []
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            if len(rows) < batch and not last:
                continue
            logits = (torch.tensor(X[rows]) @ tensors["W1"] + tensors["b1"]).relu() @ tensors["W2"] + tensors["b2"]
            loss = F.cross_entropy(logits, torch.tensor(y[rows]))
            optimizer.zero_grad()
            loss.backward()
            if whole:
                for tensor in tensors.values():
                    tensor.grad *= len(rows) / batch
            optimizer.step()
            found.append((loss.item(), len(rows)))
        total = sum(v for v, _ in found) / max(len(found), 1) if by_steps else sum(v * n for v, n in found) / len(X)
        losses.append(total)
    return {
        "parameters": {name: tensor.detach().numpy() for name, tensor in tensors.items()},
        "losses": losses,
        "a dictionary of its own": True,
        "those given as before": True,
        "next number drawn": float(random.random()),
    }


with check.exercise("train"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    jobs = []
    for seed in seeds:
        for n, batch, epochs in ((1, 1, 1), (6, 6, 2), (7, 3, 2), (5, 8, 3), (4, 1, 1), (11, 4, 3), (3, 2, 0), (5, 4, 40), (1300, 90, 1)):
            drawn = np.random.default_rng([seed, n, epochs])
            sizes = drawn.integers(1, 6, 3).tolist()
            X, y, rate = drawn.normal(size=(n, sizes[0])), drawn.integers(0, sizes[2], n), float(np.exp(drawn.uniform(np.log(1e-3), np.log(0.5))))
            jobs.append(
                cases.Case(
                    {"sizes": sizes, "X": X, "y": y, "rate": rate, "batch": batch, "epochs": epochs, "seed": seed},
                    {"X": f"{n} rows", "sizes": str(sizes), "rate": f"{rate:.3g}", "batch": str(batch), "epochs": str(epochs)},
                )
            )
    check.agrees(
        trained,
        trained_by_torch,
        jobs,
        "what comes of `train`",
        "an order an epoch, a step a batch, all parameters changed together; the mean loss counts rows",
        causes={
            "the last, smaller batch is left out": lambda *a: trained_by_torch(*a, last=False),
            "the gradient of the last batch is divided by the size of a whole one": lambda *a: trained_by_torch(*a, whole=True),
            "the mean loss counts steps, where it should count rows": lambda *a: trained_by_torch(*a, by_steps=True),
            "the order is drawn once, not in each epoch": lambda *a: trained_by_torch(*a, once=True),
        },
        rtol=1e-9,
        atol=1e-11,
    )

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Two loops: epochs, and within them starts of batches. What must be drawn once in each epoch? When may a parameter change?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `random.permutation(len(X))`, `range(0, len(X), batch)`, and slices of the order: a slice beyond the end is shorter.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `rows = order[start : start + batch]`, then forward, loss, backward on `X[rows]` and `y[rows]`, then `current = {name: value - rate * gradients[name] ...}`. Add `loss * len(rows)` to the epoch's total.
# </details>

# %%
def accuracy(parameters, X, y) -> float:
    return float((forward(parameters, X)[1].argmax(1) == y).mean())


random = np.random.default_rng(24)
start = {"W1": random.normal(size=(64, 32)) * (2 / 64) ** 0.5, "b1": np.zeros(32), "W2": random.normal(size=(32, 10)) * (2 / 32) ** 0.5, "b2": np.zeros(10)}
network, losses = train(start, train_X, train_y, rate=0.2, batch=32, epochs=40, random=random)
figure, panel = plt.subplots(figsize=(6, 3), layout="constrained")
panel.semilogy(range(1, len(losses) + 1), losses)
panel.set(title="Two layers learn digits", xlabel="epoch", ylabel="mean loss of the epoch")
plt.show()
print(f"right on the digits that were learnt: {accuracy(network, train_X, train_y):.3f}, on new ones: {accuracy(network, test_X, test_y):.3f}")

# %% [markdown]
# ### Too stiff, too supple
#
# A model can be wrong in two ways. Too stiff, it misses what is there: **bias**. Too supple, it follows the accidents of the rows that it saw, and another sample would have given another model:
# **variance**. Both can be measured on real data. Below, 40 samples of 60 patients each are drawn from scikit-learn's diabetes table (442 patients; Efron et al., *Least Angle Regression*, 2004), polynomials of growing degree in
# body mass index and blood pressure are fitted to each, and all predict the same 100 patients that no sample holds. How far the models lie apart is their variance; the squared distance of their mean from the measured
# values is bias squared and the noise that no model can know.

# %%
table = load_diabetes()
X_two, progress = table.data[:, [2, 3]], table.target
random = np.random.default_rng(0)
held, rest = np.split(random.permutation(len(progress)), [100])
degrees, spread, offset, seen = range(1, 7), [], [], []
for degree in degrees:
    predictions, fits = [], []
    for _ in range(40):
        rows = random.choice(rest, 60, replace=False)
        scale, powers = StandardScaler().fit(X_two[rest]), PolynomialFeatures(degree)
        model = LinearRegression().fit(powers.fit_transform(scale.transform(X_two[rows])), progress[rows])
        predictions.append(model.predict(powers.transform(scale.transform(X_two[held]))))
        fits.append(np.mean((model.predict(powers.transform(scale.transform(X_two[rows]))) - progress[rows]) ** 2))
    predictions = np.array(predictions)
    spread.append(np.median(predictions.var(0)))
    offset.append(np.median((predictions.mean(0) - progress[held]) ** 2))
    seen.append(np.mean(fits))
figure, panel = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for values, name in ((spread, "variance"), (offset, "bias² and noise"), (seen, "error on the rows that were fitted")):
    panel.semilogy(list(degrees), values, "o-", label=name)
panel.set(title="Polynomials on 60 patients, 40 samples", xlabel="degree", ylabel="squared error (median over patients)")
panel.legend(fontsize=8)
plt.show()
print(f"variance from degree 1 to 6: {spread[0]:.0f} to {spread[-1]:.0f}; error on fitted rows: {seen[0]:.0f} to {seen[-1]:.0f}")

# %% [markdown]
# The error on the rows that were fitted falls with every degree. It says nothing about the patients that were held back: there the variance takes over. So a model is chosen by rows that it has not seen.
#
# ## 5 · Where to begin
#
# A deep network multiplies by one matrix after the other. If each product makes signals a little smaller, 20 of them make nothing of them; a little larger, and they explode. Say the entries of $W$ [d, m] have mean 0 and variance
# $v$. Then a sum of d products has variance $d \, v \, E[x^2]$. With $v = 1/d$ it keeps the size of a linear signal (Glorot and Bengio, 2010, for one direction). A ReLU throws half of it away, so $v = 2/d$ keeps the mean square
# behind it (He et al., 2015).
#
# ### Exercise 7 · Starting weights (`starting_weights`, 2 points, 15 minutes, difficulty 1 of 3)
#
# Write `starting_weights(sizes, bend, random)`: `sizes` is a list of 2 to 8 widths (1 to 600), from inputs to outputs, `bend` is `"relu"` or `"linear"`, `random` a `np.random.Generator`.
#
# - It returns a list with a pair `(W, b)` for each layer, from inputs to outputs: `W` of shape [d, m] for widths d and m that follow each other, `b` of shape [m], float64. <!-- rule: shapes -->
# - `W` is what `random.normal(size=(d, m))` gives, drawn once a layer in their order, times one positive number. Nothing else is drawn. <!-- rule: drawn -->
# - The variance of the distribution is then 2 / d for `"relu"` and 1 / d for `"linear"`, in every layer. <!-- rule: variance -->
# - `b` is 0. <!-- rule: zero -->
# - `sizes` stays as it was. <!-- rule: unchanged -->


# %% exercise="starting_weights" minutes=15 difficulty=1
def starting_weights(sizes: list[int], bend: str, random: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of each layer, so that signals keep their size."""
    ### BEGIN SOLUTION
    gain = 2 if bend == "relu" else 1
    return [(random.normal(size=(d, m)) * (gain / d) ** 0.5, np.zeros(m)) for d, m in zip(sizes, sizes[1:])]
    ### END SOLUTION


# %% tests="starting_weights" points=2
@check.scenario
def begun(sizes, bend, seed):
    random = np.random.default_rng(seed)
    layers = starting_weights(sizes, bend, random)
    return {"layers": [[W, b] for W, b in layers], "next number drawn": float(random.random())}


def by_words(sizes, bend, seed, deviation=lambda d, m, gain: (gain / d) ** 0.5, last=None):
    random, layers = np.random.default_rng(seed), []
    for i, (d, m) in enumerate(zip(sizes, sizes[1:])):
        gain = 1 if bend == "linear" or last and i == len(sizes) - 2 else 2
        layers.append([random.normal(size=(d, m)) * deviation(d, m, gain), np.zeros(m)])
    return {"layers": layers, "next number drawn": float(random.random())}


with check.exercise("starting_weights"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    jobs = []
    for seed in seeds:
        widths = np.random.default_rng(seed).integers(1, 40, (3, 8)).tolist()
        for sizes in ([3, 5], [1, 1, 1], [7, 2, 11, 4], [5, 5, 5], widths[0][:4], widths[1][:6], widths[2], [1] * 8, [600, 1, 400, 600]):
            for bend in ("relu", "linear"):
                words = {"sizes": str(sizes), "bend": repr(bend)}
                jobs.append(cases.Case({"sizes": sizes, "bend": bend, "seed": seed + len(jobs)}, words))
    check.agrees(
        begun,
        by_words,
        jobs,
        "what `starting_weights` gives",
        "W is random.normal(size=(d, m)) times the root of 2 / d or 1 / d, b is 0",
        causes={
            "the variance counts the outputs m, where it should count the inputs d": lambda *a: by_words(*a, lambda d, m, gain: (gain / m) ** 0.5),
            "that is the variance as the standard deviation: take its root": lambda *a: by_words(*a, lambda d, m, gain: gain / d),
            "the variance is 2 / d, whatever `bend` is": lambda s, bend, seed: by_words(s, "relu", seed),
            "the variance is 1 / d, whatever `bend` is": lambda s, bend, seed: by_words(s, "linear", seed),
            "the last layer is taken as linear": lambda *a: by_words(*a, last=True),
            "for 'linear' the variance is 2 / (d + m)": lambda *a: by_words(*a, lambda d, m, gain: (2 / (d + m if gain == 1 else d)) ** 0.5),
        },
        rtol=1e-9,
        atol=1e-12,
    )

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Numbers of variance 1 times s have variance s². Which s makes it 2 / d?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `random.normal(size=(d, m))` or `random.standard_normal((d, m))`; `zip(sizes, sizes[1:])` gives the widths two by two.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `random.normal(size=(d, m)) * (2 / d) ** 0.5` and `np.zeros(m)`, for each layer.
# </details>

# %%
depth, width = 30, 200
inputs = np.random.default_rng(3).normal(size=(100, width))
figure, panel = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
sizes_seen = {}
for label, factor in (("variance 2 / d", 1.0), ("variance 1 / d", 0.5), ("variance 4 / d", 2.0)):
    signal, curve = inputs, []
    for W, b in starting_weights([width] * (depth + 1), "relu", np.random.default_rng(4)):
        signal = relu(signal @ W * factor**0.5 + b)
        curve.append(np.sqrt((signal**2).mean()))
    sizes_seen[label] = curve[-1]
    panel.semilogy(range(1, depth + 1), curve, label=label)
panel.set(title="Signals through 30 ReLU layers", xlabel="layer", ylabel="root mean square")
panel.legend()
plt.show()

# %% [markdown]
# A factor of two in the variance decides between next to nothing and tens of thousands within 30 layers, and gradients on the way back fare alike.
#
# ## 6 · Weights used in many places
#
# In a picture an edge is an edge wherever it stands. A **convolution** uses one small set of weights at every place: for a picture $P$ [h, w, c] and o filters $F$ [s, s, c, o] with biases $b$ [o], the output is
#
# $$Y_{r,q,k} = b_k + \sum_{i<s} \sum_{j<s} \sum_{l<c} P_{r \cdot \text{stride} + i,\; q \cdot \text{stride} + j,\; l} \; F_{i,j,l,k} .$$
#
# (The field calls this convolution although nothing is turned round.) Only places where the whole patch lies inside count, so there are ⌊(h − s) / stride⌋ + 1 rows.
#
# ### Exercise 8 · A convolution (`convolve`, 2 points, 20 minutes, difficulty 2 of 3)
#
# Write `convolve(picture, filters, bias, stride)`. `picture` has shape [h, w, c], `filters` [s, s, c, o], `bias` [o], all float64 in any memory layout, h and w from s to 30, s from 1 to 5, c and o from 1 to 6, `stride` from 1 to 4.
#
# - The result has shape [⌊(h − s) / stride⌋ + 1, ⌊(w − s) / stride⌋ + 1, o] and dtype float64. <!-- rule: shape -->
# - Its entries are $Y_{r,q,k}$ of the formula. <!-- rule: sums -->
# - The filter is not turned round. <!-- rule: order -->
# - What was given stays as it was. <!-- rule: unchanged -->


# %% exercise="convolve" minutes=20 difficulty=2
def convolve(picture: np.ndarray, filters: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """Convolution of a picture [h, w, c] with filters [s, s, c, o], without padding."""
    ### BEGIN SOLUTION
    size = filters.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))[::stride, ::stride]
    return np.einsum("rqcij,ijco->rqo", windows, filters) + bias
    ### END SOLUTION


# %% tests="convolve" points=2
def by_conv2d(picture, filters, bias, stride, turned=False, swapped=False):
    weights = torch.tensor(np.ascontiguousarray(filters)).permute(3, 2, 0, 1)
    weights = weights.flip(2, 3) if turned else weights.transpose(2, 3) if swapped else weights
    found = F.conv2d(torch.tensor(np.ascontiguousarray(picture)).permute(2, 0, 1)[None], weights, torch.tensor(np.ascontiguousarray(bias)), stride)
    return found[0].permute(1, 2, 0).contiguous().numpy()


with check.exercise("convolve"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "picture": cases.array("h", "w", "c", dtypes=("float64",)),
        "filters": cases.array("s", "s", "c", "o", dtypes=("float64",)),
        "bias": cases.array("o", dtypes=("float64",)),
        "stride": cases.choice(1, 2, 3, 4),
    }
    check.agrees(
        convolve,
        by_conv2d,
        [case for s in (1, 3, 2, 4, 5) for case in cases.draw(seeds, domain, count=5, h=(s, 30), w=(s, 30), c=(1, 6), s=(s, s), o=(1, 6))],
        "`convolve`",
        "entry [r, q, o] is the sum over picture[r * stride : r * stride + s, q * stride : q * stride + s] * filters[..., o], plus the bias",
        causes={
            "the filter is turned round": lambda *a: by_conv2d(*a, turned=True),
            "rows and columns of the filter are exchanged": lambda *a: by_conv2d(*a, swapped=True),
            "the bias is missing": lambda p, f, b, s: by_conv2d(p, f, 0 * b, s),
            "the stride is missing": lambda p, f, b, s: by_conv2d(p, f, b, 1),
            "the last rows and columns that fit are missing": lambda p, f, b, s: by_conv2d(p, f, b, s)[:-1, :-1],
        },
    )

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Two loops over rows and columns of the result are enough to begin with. What is one entry, for all filters at once?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `np.tensordot(patch, filters, axes=3)` sums over three axes; without loops: `np.lib.stride_tricks.sliding_window_view` and `np.einsum`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# For each r and q: `patch = picture[r * stride : r * stride + s, q * stride : q * stride + s]`, `result[r, q] = np.tensordot(patch, filters, axes=3) + bias`.
# </details>

# %%
edges = np.zeros((3, 3, 1, 2))
edges[:, :, 0, 0], edges[:, :, 0, 1] = [[-1, 0, 1]] * 3, np.array([[-1, 0, 1]] * 3).T
figure, panels = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
found = convolve(images[0][:, :, None], edges, np.zeros(2), 1)
for panel, image, title in zip(panels, (images[0], found[..., 0], found[..., 1]), ("a digit", "from light to dark, left to right", "the same, top to bottom")):
    panel.imshow(image, cmap="gray_r" if title == "a digit" else "RdBu")
    panel.set_title(title, fontsize=9)
    panel.set_xticks([])
    panel.set_yticks([])
plt.show()

# %% [markdown]
# A **recurrent** network shares weights over time. It carries a state from step to step, $h_t = \tanh(x_t W + h_{t-1} U + b)$, so that one set of weights reads sequences of any length. Lesson 19 comes back to this.
#
# ### Exercise 9 · A recurrent step, many times (`recur`, 2 points, 15 minutes, difficulty 1 of 3)
#
# Write `recur(inputs, state, W, U, b)`. `inputs` has shape [t, n, d] for t steps (1 to 40) of n sequences side by side, `state` [n, m] is $h_0$, `W` [d, m], `U` [m, m], `b` [m]; all float64 in any memory layout, n, d and m from 1 to 12.
#
# - It returns the states $h_1$ to $h_t$ in an array [t, n, m] of float64. <!-- rule: states -->
# - Each step uses the state that the step before it left, the first one `state`. <!-- rule: carried -->
# - What was given stays as it was. <!-- rule: unchanged -->


# %% exercise="recur" minutes=15 difficulty=1
def recur(inputs: np.ndarray, state: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> np.ndarray:
    """States [t, n, m] of a recurrent network that reads inputs [t, n, d], beginning with `state` [n, m]."""
    ### BEGIN SOLUTION
    states = []
    for x in inputs:
        state = np.tanh(x @ W + state @ U + b)
        states.append(state)
    return np.stack(states)
    ### END SOLUTION


# %% tests="recur" points=2
def by_rnn(inputs, state, W, U, b, transposed=False, backwards=False, fresh=False):
    with torch.no_grad():
        network = torch.nn.RNN(W.shape[0], W.shape[1], dtype=torch.float64)
        network.weight_ih_l0.copy_(torch.tensor(W.T.copy()))
        network.weight_hh_l0.copy_(torch.tensor((U if transposed else U.T).copy()))
        network.bias_ih_l0.copy_(torch.tensor(b.copy()))
        network.bias_hh_l0.zero_()
        x, h = torch.tensor(inputs.copy()), torch.tensor(state.copy())[None]
        if fresh:
            return torch.cat([network(step[None], h)[0] for step in x]).numpy()
        found = network(x.flip(0) if backwards else x, h)[0]
    return (found.flip(0) if backwards else found).numpy()


with check.exercise("recur"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    axes = {"inputs": ("t", "n", "d"), "state": ("n", "m"), "W": ("d", "m"), "U": ("m", "m"), "b": ("m",)}
    domain = {name: cases.array(*shape, dtypes=("float64",)) for name, shape in axes.items()}
    check.agrees(
        recur,
        by_rnn,
        cases.draw(seeds, domain, t=(1, 40), n=(1, 12), d=(1, 12), m=(1, 12)),
        "`recur`",
        "h_t = tanh(x_t W + h_(t-1) U + b), from the first step to the last",
        causes={
            "U is transposed": lambda *a: by_rnn(*a, transposed=True),
            "the sequence is read from its end": lambda *a: by_rnn(*a, backwards=True),
            "each step begins with the first state again": lambda *a: by_rnn(*a, fresh=True),
            "the first state is not used": lambda x, h, W, U, b: by_rnn(x, 0 * h, W, U, b),
            "the bias is missing": lambda x, h, W, U, b: by_rnn(x, h, W, U, 0 * b),
        },
        rtol=1e-5,
        atol=1e-9,
    )

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# A loop over the first axis; what is carried from turn to turn?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `np.tanh`, `@`, and `np.stack` to make one array of the states.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# In the loop `state = np.tanh(x @ W + state @ U + b)`, then append it to a list.
# </details>

# %%
random = np.random.default_rng(5)
figure, panel = plt.subplots(figsize=(6.5, 3), layout="constrained")
for radius in (0.5, 1.0, 3.0):
    U = random.normal(size=(50, 50)) * radius / 50**0.5
    one, other = (recur(np.zeros((40, 1, 1)), s, np.zeros((1, 50)), U, np.zeros(50)) for s in (np.full((1, 50), 0.1), np.full((1, 50), 0.1001)))
    panel.semilogy(range(1, 41), np.abs(one - other).max((1, 2)) + 1e-18, label=f"weights of size {radius}")
panel.set(title="How long a small difference of the first state lives", xlabel="step", ylabel="largest difference of the state")
panel.legend()
plt.show()

# %% [markdown]
# With small weights the first state is forgotten within a few steps; with large ones a tiny difference of it grows until the tanh stops it. It is the story of part 5 again, in time instead of depth, and the
# reason for the gates and linear recurrences that came later.
#
# ## Claims measured
#
# "A network with a hidden layer beats a linear one." On these digits, five starts each, as many epochs:

# %%
def linear_accuracy(seed: int) -> float:
    """Softmax regression by the same steps: one layer, no bend."""
    drawn = np.random.default_rng(seed)
    W, b = drawn.normal(size=(64, 10)) / 8, np.zeros(10)
    for _ in range(30):
        order = drawn.permutation(len(train_X))
        for first in range(0, len(order), 32):
            rows = order[first : first + 32]
            _, G = cross_entropy(train_X[rows] @ W + b, train_y[rows])
            W, b = W - 0.2 * train_X[rows].T @ G, b - 0.2 * G.sum(0)
    return float(((test_X @ W + b).argmax(1) == test_y).mean())


def network_accuracy(seed: int) -> float:
    drawn = np.random.default_rng(seed)
    (W1, b1), (W2, b2) = starting_weights([64, 32, 10], "relu", drawn)
    return accuracy(train({"W1": W1, "b1": b1, "W2": W2, "b2": b2}, train_X, train_y, 0.2, 32, 30, drawn)[0], test_X, test_y)


linear, two_layers = ([of(seed) for seed in range(5)] for of in (linear_accuracy, network_accuracy))
claims.record(
    "a hidden layer beats a linear model on digits",
    claimed="yes",
    measured=f"{np.mean(two_layers):.1%} (from {min(two_layers):.1%} to {max(two_layers):.1%}) against {np.mean(linear):.1%} ({min(linear):.1%} to {max(linear):.1%})",
    holds=all(one > other for one, other in zip(two_layers, linear)),
    how="five starts each, 30 epochs, 540 new digits; holds if the network is better from each start",
)
claims.record(
    "with variance 2 / d a ReLU network keeps the size of its signals",
    claimed="through any depth",
    measured=f"after 30 layers {sizes_seen['variance 2 / d']:.2f} of 1; with half the variance {sizes_seen['variance 1 / d']:.0e}, with twice {sizes_seen['variance 4 / d']:.0e}",
    holds=0.3 < sizes_seen["variance 2 / d"] < 3,
    how="root mean square of 100 signals of width 200",
)

# %% [markdown]
# ## Quiz

# %% [markdown] quiz="end"
# 1. Why does a network need a bend between its layers?
# - [ ] To keep numbers from growing :: A ReLU bounds nothing from above.
# - [x] Without it all layers together are one linear layer :: Right: a product of matrices is a matrix.
# - [ ] Because gradients would be 0 without it :: They would not; the network could just not do more than one layer.
# 2. `W` has shape [5, 3], the batch 7 rows. Which shape has the gradient of the loss with respect to `W`?
# - [ ] [7, 5, 3] :: That would be one for each row; the loss sums them up.
# - [x] [5, 3] :: Right: a gradient has the shape of what it belongs to.
# - [ ] [3, 5] :: A transposed product gives that, and cannot be taken away from W.
# 3. A numerical gradient with epsilon = 1e-12 is far off. Why?
# - [ ] The step is too large for the bend :: It is as small as can be.
# - [ ] Central differences need epsilon above 0.01 :: Their error shrinks with the square of epsilon.
# - [x] The two losses agree in almost all digits, so little is left of their difference :: Right: rounding takes over.
# 4. Your loss is a mean over rows, and the gradient of the bias is a mean over rows, too. What happens with batches of 32?
# - [x] The bias learns 32 times too slowly :: Right: G is divided by n already, so rows are summed.
# - [ ] Nothing, a mean is as good as a sum :: Only with one row.
# - [ ] The bias learns 32 times too fast :: The other way round.
# 5. The error on the rows that were fitted falls with every degree of a polynomial. What does that say?
# - [ ] The highest degree is the best model :: On new rows its variance decides.
# - [x] Nothing about new rows: a supple model follows the accidents of those it saw :: Right.
# - [ ] The noise in the data is small :: A polynomial of high degree fits noise as well.

# %% [markdown]
# ## Read next
#
# - Backpropagation in a hundred lines: A. Karpathy, *micrograd*, https://github.com/karpathy/micrograd
# - The chain rule on graphs, with pictures: https://colah.github.io/posts/2015-08-Backprop/
# - Where to begin: Glorot and Bengio, 2010, https://proceedings.mlr.press/v9/glorot10a.html; He et al., 2015, https://arxiv.org/abs/1502.01852
#
# Lesson 02 begins with PyTorch's tensors, which do part 3 for you.

# %% [markdown]
# ## A bigger machine
#
# The same network in PyTorch, on a GPU, with hidden layers of 8,192: only the sizes and the device change.

# %%
if env.device.startswith("cuda"):
    wide = torch.nn.Sequential(torch.nn.Linear(64, 8192), torch.nn.ReLU(), torch.nn.Linear(8192, 8192), torch.nn.ReLU(), torch.nn.Linear(8192, 10)).to(env.device)
    optimizer = torch.optim.SGD(wide.parameters(), lr=0.05)
    X_all, y_all = torch.tensor(train_X, dtype=torch.float32, device=env.device), torch.tensor(train_y, device=env.device)
    for _ in range(200):
        rows = torch.randint(len(X_all), (64,), device=env.device)
        optimizer.zero_grad()
        F.cross_entropy(wide(X_all[rows]), y_all[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        right_share = (wide(torch.tensor(test_X, dtype=torch.float32, device=env.device)).argmax(1).cpu().numpy() == test_y).mean()
    print(f"{sum(p.numel() for p in wide.parameters()):,} parameters: {right_share:.3f} of the new digits")
else:
    print("A bigger machine: skipped here (it needs a GPU).")
