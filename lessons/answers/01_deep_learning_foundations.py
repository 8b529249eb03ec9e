# %% wrong="layers" breaks="sigmoid" says="overflow"
# Misunderstands: the formula of the definition is safe for every number.
def relu(z):
    return np.maximum(z, 0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def forward(parameters, X):
    hidden = relu(X @ parameters["W1"] + parameters["b1"])
    return hidden, hidden @ parameters["W2"] + parameters["b2"]


# %% wrong="layers" breaks="sigmoid" says="sigmoid"
# Misunderstands: cutting z off at 20 changes nothing that counts.
def relu(z):
    return np.maximum(z, 0)


def sigmoid(z):
    return 1 / (1 + np.exp(-np.clip(z, -20, 20)))


def forward(parameters, X):
    hidden = relu(X @ parameters["W1"] + parameters["b1"])
    return hidden, hidden @ parameters["W2"] + parameters["b2"]


# %% wrong="layers" breaks="relu" says="absolute value"
# Misunderstands: a bend folds the negative side up.
def relu(z):
    return np.abs(z)


def sigmoid(z):
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def forward(parameters, X):
    hidden = np.maximum(X @ parameters["W1"] + parameters["b1"], 0)
    return hidden, hidden @ parameters["W2"] + parameters["b2"]


# %% wrong="layers" breaks="forward" says="without an activation"
# Misunderstands: every layer ends with a bend.
def relu(z):
    return np.maximum(z, 0)


def sigmoid(z):
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def forward(parameters, X):
    hidden = relu(X @ parameters["W1"] + parameters["b1"])
    return hidden, relu(hidden @ parameters["W2"] + parameters["b2"])


# %% wrong="layers" breaks="forward" says="has no bend"
# Misunderstands: what is called hidden is the sum before the bend.
def relu(z):
    return np.maximum(z, 0)


def sigmoid(z):
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def forward(parameters, X):
    hidden = X @ parameters["W1"] + parameters["b1"]
    return hidden, hidden @ parameters["W2"] + parameters["b2"]


# %% wrong="layers" breaks="dtype" says="has dtype"
# Misunderstands: float64 is always better.
def relu(z):
    return np.maximum(z, np.float64(0))


def sigmoid(z):
    small = np.exp(-np.abs(z.astype(np.float64)))
    return np.where(z >= 0, 1, small) / (1 + small)


def forward(parameters, X):
    hidden = np.maximum(X.astype(np.float64) @ parameters["W1"] + parameters["b1"], 0)
    return hidden, hidden @ parameters["W2"] + parameters["b2"]


# %% wrong="layers" breaks="unchanged" says="stay as it was"
# Misunderstands: z may be used as working space.
def relu(z):
    z[z < 0] = 0
    return z


def sigmoid(z):
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def forward(parameters, X):
    hidden = np.maximum(X @ parameters["W1"] + parameters["b1"], 0)
    return hidden, hidden @ parameters["W2"] + parameters["b2"]


# %% wrong="layers" breaks="relu" says="your code raised"
# Misunderstands: what is given has always two axes.
def relu(z):
    n, m = z.shape
    result = np.zeros((n, m), z.dtype)
    for i in range(n):
        for j in range(m):
            result[i, j] = max(z[i, j], 0)
    return result


def sigmoid(z):
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def forward(parameters, X):
    hidden = np.maximum(X @ parameters["W1"] + parameters["b1"], 0)
    return hidden, hidden @ parameters["W2"] + parameters["b2"]


# %% wrong="layers" breaks="sigmoid" says="`sigmoid` of z"
# Misunderstands: (1 + tanh(z / 2)) / 2 is the same formula, so it is as exact.
def relu(z):
    return np.maximum(z, 0)


def sigmoid(z):
    return (1 + np.tanh(z / 2)) / 2


def forward(parameters, X):
    hidden = np.maximum(X @ parameters["W1"] + parameters["b1"], 0)
    return hidden, hidden @ parameters["W2"] + parameters["b2"]


# %% right="layers"
# Masks and einsum.
def relu(z):
    return np.where(z > 0, z, np.zeros_like(z))


def sigmoid(z):
    result = np.empty_like(z)
    positive = z >= 0
    result[positive] = 1 / (1 + np.exp(-z[positive]))
    grown = np.exp(z[~positive])
    result[~positive] = grown / (1 + grown)
    return result


def forward(parameters, X):
    W1, b1, W2, b2 = (parameters[name] for name in ("W1", "b1", "W2", "b2"))
    hidden = np.einsum("nd,dm->nm", X, W1) + b1
    hidden[hidden < 0] = 0
    return hidden, np.add(np.matmul(hidden, W2), b2)


# %% right="layers"
# By products and logaddexp.
def relu(z):
    return (z * (z > 0)).astype(z.dtype) + 0


def sigmoid(z):
    return np.exp(-np.logaddexp(np.zeros((), z.dtype), -z))


def forward(parameters, X):
    hidden = relu(np.dot(X, parameters["W1"]) + parameters["b1"][None, :])
    return hidden, np.dot(hidden, parameters["W2"]) + parameters["b2"][None, :]


# %% wrong="cross_entropy" breaks="stable" says="your code raised FloatingPointError"
# Misunderstands: softmax can be taken as it is defined.
def cross_entropy(logits, y):
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gradient = p.copy()
    gradient[np.arange(len(y)), y] -= 1
    return float(-np.log(p[np.arange(len(y)), y]).mean()), gradient / len(y)


# %% wrong="cross_entropy" breaks="stable" says="the loss that `cross_entropy` gives"
# Misunderstands: a small number inside the logarithm does no harm.
def cross_entropy(logits, y):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    p = shifted / shifted.sum(1, keepdims=True)
    gradient = p.copy()
    gradient[np.arange(len(y)), y] -= 1
    return float(-np.log(p[np.arange(len(y)), y] + 1e-12).mean()), gradient / len(y)


# %% wrong="cross_entropy" breaks="stable" says="your code raised FloatingPointError"
# Misunderstands: the largest number of the whole batch will do for every row.
def cross_entropy(logits, y):
    shifted = logits - logits.max()
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[np.arange(len(y)), y] -= 1
    return float(-log_p[np.arange(len(y)), y].mean()), gradient / len(y)


# %% wrong="cross_entropy" breaks="loss" says="a sum over rows, not a mean"
# Misunderstands: the loss of a batch is the sum of its rows' losses.
def cross_entropy(logits, y):
    rows = np.arange(len(y))
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[rows, y] -= 1
    return float(-log_p[rows, y].sum()), gradient / len(y)


# %% wrong="cross_entropy" breaks="gradient" says="divide it by the number of rows"
# Misunderstands: the gradient of a mean is that of a sum.
def cross_entropy(logits, y):
    rows = np.arange(len(y))
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[rows, y] -= 1
    return float(-log_p[rows, y].mean()), gradient


# %% wrong="cross_entropy" breaks="gradient" says="the 1 at the right label is missing"
# Misunderstands: the gradient of the loss is the probabilities.
def cross_entropy(logits, y):
    rows = np.arange(len(y))
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-log_p[rows, y].mean()), np.exp(log_p) / len(y)


# %% wrong="cross_entropy" breaks="gradient" says="has dtype"
# Misunderstands: the precision of the result is free.
def cross_entropy(logits, y):
    rows, z = np.arange(len(y)), logits.astype(np.float64)
    log_p = z - z.max(1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[rows, y] -= 1
    return float(-log_p[rows, y].mean()), gradient / len(y)


# %% wrong="cross_entropy" breaks="unchanged" says="stay as it was"
# Misunderstands: `-=` makes a new array.
def cross_entropy(logits, y):
    rows = np.arange(len(y))
    logits -= logits.max(1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    gradient = np.exp(log_p)
    gradient[rows, y] -= 1
    return float(-log_p[rows, y].mean()), gradient / len(y)


# %% right="cross_entropy"
# One-hot targets and logaddexp.
def cross_entropy(logits, y):
    targets = np.eye(logits.shape[1], dtype=logits.dtype)[y]
    log_sum = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    loss = (log_sum[:, 0] - (targets * logits).sum(1)).mean()
    return loss, (np.exp(logits - log_sum) - targets) / logits.dtype.type(len(y))


# %% right="cross_entropy"
# Row by row.
def cross_entropy(logits, y):
    total, gradient = 0.0, np.zeros_like(logits)
    for i, (row, label) in enumerate(zip(logits, y)):
        exponents = np.exp(row - row.max())
        total += np.log(exponents.sum()) + row.max() - row[label]
        gradient[i] = exponents / exponents.sum()
        gradient[i, label] -= 1
    return float(total / len(y)), gradient / len(y)


# %% wrong="backward" breaks="first, b1" says="the bend is missing"
# Misunderstands: the bend is passed on the way forward only.
def backward(parameters, X, hidden, G):
    back = G @ parameters["W2"].T
    return {"W2": hidden.T @ G, "b2": G.sum(0), "W1": X.T @ back, "b1": back.sum(0)}


# %% wrong="backward" breaks="b2" says="b2: `backward` (gradient of b2"
# Misunderstands: a bias belongs to no row, so its gradient is the mean.
def backward(parameters, X, hidden, G):
    back = (G @ parameters["W2"].T) * (hidden > 0)
    return {"W2": hidden.T @ G, "b2": G.mean(0), "W1": X.T @ back, "b1": back.sum(0)}


# %% wrong="backward" breaks="b1" says="b1: `backward` (gradient of b1"
# Misunderstands: the bias of the first layer sees G itself.
def backward(parameters, X, hidden, G):
    back = (G @ parameters["W2"].T) * (hidden > 0)
    return {"W2": hidden.T @ G, "b2": G.sum(0), "W1": X.T @ back, "b1": (G @ parameters["W2"].T).sum(0)}


# %% wrong="backward" breaks="second" says="W2: `backward` (gradient of W2"
# Misunderstands: the second layer's inputs are X.
def backward(parameters, X, hidden, G):
    back = (G @ parameters["W2"].T) * (hidden > 0)
    return {"W2": (hidden > 0).T.astype(G.dtype) @ G, "b2": G.sum(0), "W1": X.T @ back, "b1": back.sum(0)}


# %% wrong="backward" breaks="first" says="W1: `backward` (gradient of W1"
# Misunderstands: the gradient of W1 does not depend on W2.
def backward(parameters, X, hidden, G):
    back = (G @ parameters["W2"].T) * (hidden > 0)
    return {"W2": hidden.T @ G, "b2": G.sum(0), "W1": X.T @ ((G @ np.ones_like(parameters["W2"]).T) * (hidden > 0)), "b1": back.sum(0)}


# %% wrong="backward" breaks="once" says="a division by the number of rows too much"
# Misunderstands: each gradient is a mean over rows.
def backward(parameters, X, hidden, G):
    back, n = (G @ parameters["W2"].T) * (hidden > 0), len(X)
    return {"W2": hidden.T @ G / n, "b2": G.sum(0) / n, "W1": X.T @ back / n, "b1": back.sum(0) / n}


# %% wrong="backward" breaks="dtype" says="has dtype"
# Misunderstands: gradients are kept in float64.
def backward(parameters, X, hidden, G):
    back = (G.astype(np.float64) @ parameters["W2"].T) * (hidden > 0)
    return {"W2": hidden.T @ G.astype(np.float64), "b2": G.sum(0, dtype=np.float64), "W1": X.T @ back, "b1": back.sum(0)}


# %% wrong="backward" breaks="unchanged" says="stay as it was"
# Misunderstands: hidden is no longer needed, so it may become the mask.
def backward(parameters, X, hidden, G):
    W2 = hidden.T @ G
    hidden[hidden > 0] = 1
    back = (G @ parameters["W2"].T) * hidden
    return {"W2": W2, "b2": G.sum(0), "W1": X.T @ back, "b1": back.sum(0)}


# %% wrong="backward" breaks="unchanged" says="`backward` (gradient of"
# Misunderstands: the step belongs to the pass back.
def backward(parameters, X, hidden, G):
    back = (G @ parameters["W2"].T) * (hidden > 0)
    gradients = {"W2": hidden.T @ G, "b2": G.sum(0), "W1": X.T @ back, "b1": back.sum(0)}
    for name, gradient in gradients.items():
        parameters[name] = parameters[name] - 0.1 * gradient
    return gradients


# %% wrong="backward" breaks="first, b1" says="`backward` (gradient of"
# Misunderstands: on the way back the bend is applied to the gradient itself.
def backward(parameters, X, hidden, G):
    back = np.maximum(G @ parameters["W2"].T, 0)
    return {"W2": hidden.T @ G, "b2": G.sum(0), "W1": X.T @ back, "b1": back.sum(0)}


# %% right="backward"
# einsum and where.
def backward(parameters, X, hidden, G):
    back = np.einsum("nk,mk->nm", G, parameters["W2"])
    back = np.where(hidden > 0, back, np.zeros_like(back))
    gradients = dict(W1=np.einsum("nd,nm->dm", X, back), b1=back.sum(axis=0))
    return gradients | dict(W2=np.einsum("nm,nk->mk", hidden, G), b2=G.sum(axis=0))


# %% right="backward"
# The bend from the sum before it.
def backward(parameters, X, hidden, G):
    ones = np.ones(len(X), X.dtype)
    open_ = X @ parameters["W1"] + parameters["b1"] > 0
    back = np.dot(G, parameters["W2"].T)
    back[~open_] = 0
    return {"b1": ones @ back, "W1": np.dot(X.T, back), "b2": ones @ G, "W2": np.dot(hidden.T, G)}


# %% wrong="numerical_gradient" breaks="central" says="numerical_gradient"
# Misunderstands: a difference to one side is as good.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    gradients = {}
    for name, value in parameters.items():
        gradient = np.zeros(value.shape)
        for place in np.ndindex(*value.shape):
            moved = value.copy()
            moved[place] += epsilon
            gradient[place] = (loss(parameters | {name: moved}) - loss(dict(parameters))) / epsilon
        gradients[name] = gradient
    return gradients


# %% wrong="numerical_gradient" breaks="central" says="2 epsilon wide"
# Misunderstands: the two points are epsilon apart.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    gradients = {}
    for name, value in parameters.items():
        gradient = np.zeros(value.shape)
        for place in np.ndindex(*value.shape):
            up, down = value.copy(), value.copy()
            up[place] += epsilon
            down[place] -= epsilon
            gradient[place] = (loss(parameters | {name: up}) - loss(parameters | {name: down})) / epsilon
        gradients[name] = gradient
    return gradients


# %% wrong="numerical_gradient" breaks="one" says="numerical_gradient"
# Misunderstands: moving all numbers at once saves time.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    gradients = {}
    for name, value in parameters.items():
        change = (loss(parameters | {name: value + epsilon}) - loss(parameters | {name: value - epsilon})) / (2 * epsilon)
        gradients[name] = np.full(value.shape, change)
    return gradients


# %% wrong="numerical_gradient" breaks="one" says="numerical_gradient"
# Misunderstands: a number that was moved need not be put back before the next.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    gradients = {}
    for name, value in parameters.items():
        gradient, moved = np.zeros(value.shape), value.copy()
        for place in np.ndindex(*value.shape):
            moved[place] += epsilon
            high = loss(parameters | {name: moved})
            moved[place] -= 2 * epsilon
            gradient[place] = (high - loss(parameters | {name: moved})) / (2 * epsilon)
        gradients[name] = gradient
    return gradients


# %% wrong="numerical_gradient" breaks="one" says="its calls of `loss`"
# Misunderstands: the loss depends on the array that is moved alone, so the others need not be there.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    gradients = {}
    for name, value in parameters.items():
        gradient = np.zeros(value.shape)
        for place in np.ndindex(*value.shape):
            up, down = value.copy(), value.copy()
            up[place] += epsilon
            down[place] -= epsilon
            gradient[place] = (loss({name: up}) - loss({name: down})) / (2 * epsilon)
        gradients[name] = gradient
    return gradients


# %% wrong="numerical_gradient" breaks="central" says="its calls of `loss`"
# Misunderstands: reshape(-1) is always a view, so moving an entry of it moves the array's own.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    gradients = {}
    for name, value in parameters.items():
        flat, gradient = value.reshape(-1), np.zeros(value.size)
        for i in range(value.size):
            kept = flat[i]
            flat[i] = kept + epsilon
            high = loss(parameters)
            flat[i] = kept - epsilon
            gradient[i] = (high - loss(parameters)) / (2 * epsilon)
            flat[i] = kept
        gradients[name] = gradient.reshape(value.shape)
    return gradients


# %% wrong="numerical_gradient" breaks="unchanged" says="numerical_gradient"
# Misunderstands: adding and taking away epsilon gives the same bits.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    gradients = {}
    for name, value in parameters.items():
        gradient = np.zeros(value.shape)
        for place in np.ndindex(*value.shape):
            value[place] += epsilon
            high = loss(parameters)
            value[place] -= 2 * epsilon
            low = loss(parameters)
            value[place] += epsilon
            gradient[place] = (high - low) / (2 * epsilon)
        gradients[name] = gradient
    return gradients


# %% right="numerical_gradient"
# In place, and put back from a copy of the number.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    gradients = {name: np.empty(value.shape) for name, value in parameters.items()}
    for name, value in parameters.items():
        for place in np.ndindex(*value.shape):
            kept = value[place]
            value[place] = kept + epsilon
            high = loss(parameters)
            value[place] = kept - epsilon
            low = loss(parameters)
            value[place] = kept
            gradients[name][place] = (high - low) / 2 / epsilon
    return gradients


# %% right="numerical_gradient"
# With a unit array for each number.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    def slope(name, i):
        step = np.zeros(parameters[name].size)
        step[i] = epsilon
        step = step.reshape(parameters[name].shape)
        there, here = ({**parameters, name: parameters[name] + sign * step} for sign in (1, -1))
        return (loss(there) - loss(here)) / (epsilon + epsilon)

    return {n: np.array([slope(n, i) for i in range(v.size)]).reshape(v.shape) for n, v in parameters.items()}


# %% right="numerical_gradient"
# The array that was moved comes last in the dictionary.
def numerical_gradient(loss, parameters, epsilon=1e-5):
    def at(name, value):
        return loss({other: array for other, array in parameters.items() if other != name} | {name: value})

    gradients = {}
    for name, value in parameters.items():
        unit, gradient = np.zeros(value.shape), np.zeros(value.shape)
        for i in range(value.size):
            unit.flat[i] = epsilon
            gradient.flat[i] = (at(name, value + unit) - at(name, value - unit)) / (2 * epsilon)
            unit.flat[i] = 0
        gradients[name] = gradient
    return gradients


# %% wrong="check_backward" breaks="bugs" says="catch none of 8"
# Misunderstands: right shapes mean right values.
def check_backward(candidate):
    X = np.ones((4, 2))
    parameters = {"W1": np.ones((2, 3)), "b1": np.ones(3), "W2": np.ones((3, 2)), "b2": np.ones(2)}
    found = candidate(parameters, X, np.full((4, 3), 3.0), np.ones((4, 2)))
    assert all(found[name].shape == parameters[name].shape for name in parameters)


# %% wrong="check_backward" breaks="bugs" says="still unseen"
# Misunderstands: one row tells all.
def check_backward(candidate):
    random = np.random.default_rng(1)
    parameters = {"W1": random.normal(size=(4, 5)), "b1": random.normal(size=5), "W2": random.normal(size=(5, 3)), "b2": random.normal(size=3)}
    X, G = random.normal(size=(1, 4)), random.normal(size=(1, 3))
    hidden = np.maximum(X @ parameters["W1"] + parameters["b1"], 0)
    expected, found = backward(parameters, X, hidden, G), candidate(parameters, X, hidden, G)
    for name in expected:
        assert np.allclose(found[name], expected[name], rtol=1e-4, atol=1e-4)


# %% wrong="check_backward" breaks="bugs" says="still unseen"
# Misunderstands: the gradients of the second layer tell about the first.
def check_backward(candidate):
    random = np.random.default_rng(1)
    parameters = {"W1": random.normal(size=(4, 5)), "b1": random.normal(size=5), "W2": random.normal(size=(5, 3)), "b2": random.normal(size=3)}
    X, G = random.normal(size=(6, 4)), random.normal(size=(6, 3))
    hidden = np.maximum(X @ parameters["W1"] + parameters["b1"], 0)
    found = candidate(parameters, X, hidden, G)
    assert np.allclose(found["W2"], hidden.T @ G, rtol=1e-4, atol=1e-4)
    assert np.allclose(found["b2"], G.sum(0), rtol=1e-4, atol=1e-4)


# %% wrong="check_backward" breaks="bugs" says="NaN where the hidden value is 0"
# Misunderstands: what is not above the limit is near enough.
def check_backward(candidate):
    drawn = np.random.default_rng(1)
    parameters = {"W1": drawn.normal(size=(4, 5)), "b1": drawn.normal(size=5), "W2": drawn.normal(size=(5, 3)), "b2": drawn.normal(size=3)}
    X, G = drawn.normal(size=(6, 4)), drawn.normal(size=(6, 3))
    hidden, _ = forward(parameters, X)
    found = candidate(parameters, X, hidden, G)
    for name, value in backward(parameters, X, hidden, G).items():
        if np.abs(found[name] - value).max() > 1e-5 * np.abs(value).max():
            raise ValueError(name)


# %% wrong="check_backward" breaks="bugs" says="still unseen"
# Misunderstands: any random numbers are general enough, also those of random(), all above 0.
def check_backward(candidate):
    drawn = np.random.default_rng(1)
    parameters = {"W1": drawn.random((4, 5)), "b1": drawn.random(5), "W2": drawn.random((5, 3)), "b2": drawn.random(3)}
    X, G = drawn.random((6, 4)), drawn.normal(size=(6, 3))
    hidden, _ = forward(parameters, X)
    found = candidate(parameters, X, hidden, G)
    for name, value in backward(parameters, X, hidden, G).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


# %% wrong="check_backward" breaks="right" says="reject a correct implementation"
# Misunderstands: what is allowed is a millionth of each single entry.
def check_backward(candidate):
    drawn = np.random.default_rng(1)
    parameters = {"W1": drawn.normal(size=(4, 5)), "b1": drawn.normal(size=5), "W2": drawn.normal(size=(5, 3)), "b2": drawn.normal(size=3)}
    X, G = drawn.normal(size=(6, 4)), drawn.normal(size=(6, 3))
    hidden, _ = forward(parameters, X)
    found = candidate(parameters, X, hidden, G)
    for name, value in backward(parameters, X, hidden, G).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)


# %% wrong="check_backward" breaks="right" says="reject a correct implementation"
# Misunderstands: hidden may be any numbers, they need not be those of the network.
def check_backward(candidate):
    drawn = np.random.default_rng(1)
    parameters = {"W1": drawn.normal(size=(4, 5)), "b1": drawn.normal(size=5), "W2": drawn.normal(size=(5, 3)), "b2": drawn.normal(size=3)}
    X, G, hidden = drawn.normal(size=(6, 4)), drawn.normal(size=(6, 3)), np.maximum(drawn.normal(size=(6, 5)), 0)
    found = candidate(parameters, X, hidden, G)
    for name, value in backward(parameters, X, hidden, G).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


# %% wrong="check_backward" breaks="right" says="reject a correct implementation"
# Misunderstands: two right ways give the same bits.
def check_backward(candidate):
    random = np.random.default_rng(1)
    parameters = {"W1": random.normal(size=(4, 5)), "b1": random.normal(size=5), "W2": random.normal(size=(5, 3)), "b2": random.normal(size=3)}
    X, G = random.normal(size=(6, 4)), random.normal(size=(6, 3))
    hidden = np.maximum(X @ parameters["W1"] + parameters["b1"], 0)
    expected, found = backward(parameters, X, hidden, G), candidate(parameters, X, hidden, G)
    for name in expected:
        assert np.array_equal(found[name], expected[name])


# %% wrong="check_backward" breaks="right" says="reject a correct implementation"
# Misunderstands: G still has to be divided by the number of rows.
def check_backward(candidate):
    random = np.random.default_rng(1)
    parameters = {"W1": random.normal(size=(4, 5)), "b1": random.normal(size=5), "W2": random.normal(size=(5, 3)), "b2": random.normal(size=3)}
    X, G = random.normal(size=(6, 4)), random.normal(size=(6, 3))
    hidden = np.maximum(X @ parameters["W1"] + parameters["b1"], 0)
    assert np.allclose(candidate(parameters, X, hidden, G)["b2"], G.mean(0))


# %% equivalent="check_backward" because="numbers of any generator show the mistakes"
# - drawn = np.random.default_rng(0)
# + drawn = np.random.default_rng(1)


# %% equivalent="check_backward" because="no candidate lies right at the limit"
# - assert np.linalg.norm(found[name] - value) <= 1e-5 * np.linalg.norm(value), name
# + assert (np.linalg.norm(found[name] - value) < 1e-05 * np.linalg.norm(value)), name


# %% equivalent="check_backward" because="right ones are off by less than either limit, broken ones by far more"
# - assert np.linalg.norm(found[name] - value) <= 1e-5 * np.linalg.norm(value), name
# + assert np.linalg.norm(found[name] - value) <= 2e-05 * np.linalg.norm(value), name


# %% right="check_backward"
# Against numerical gradients.
def check_backward(candidate):
    random = np.random.default_rng(7)
    parameters = {"W1": random.normal(size=(3, 4)), "b1": random.normal(size=4), "W2": random.normal(size=(4, 2)), "b2": random.normal(size=2)}
    X, G = random.normal(size=(9, 3)), random.normal(size=(9, 2))
    expected = numerical_gradient(lambda p: (forward(p, X)[1] * G).sum(), parameters, 1e-5)
    found = candidate(parameters, X, forward(parameters, X)[0], G)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max(), err_msg=name)


# %% right="check_backward"
# Against autograd, several sizes.
def check_backward(candidate):
    for seed, (n, d, m, k) in enumerate(((8, 3, 6, 4), (5, 7, 2, 3))):
        torch_random = torch.Generator().manual_seed(seed)
        tensors = {name: torch.randn(size, generator=torch_random, dtype=torch.float64, requires_grad=True) for name, size in (("W1", (d, m)), ("b1", (m,)), ("W2", (m, k)), ("b2", (k,)))}
        X, G = (torch.randn(size, generator=torch_random, dtype=torch.float64) for size in ((n, d), (n, k)))
        hidden = (X @ tensors["W1"] + tensors["b1"]).relu()
        (hidden @ tensors["W2"] + tensors["b2"]).backward(G)
        plain = {name: value.detach().numpy() for name, value in tensors.items()}
        found = candidate(plain, X.numpy(), hidden.detach().numpy(), G.numpy())
        for name, value in tensors.items():
            wanted = value.grad.numpy()
            assert np.abs(found[name] - wanted).max() < 1e-5 * np.abs(wanted).max(), f"{name} is wrong"


# %% wrong="train" breaks="order" says="not in each epoch"
# Misunderstands: one shuffle is enough for all epochs.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    order = random.permutation(len(X)) if epochs else None
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            hidden, logits = forward(current, X[rows])
            loss, G = cross_entropy(logits, y[rows])
            gradients = backward(current, X[rows], hidden, G)
            current = {name: value - rate * gradients[name] for name, value in current.items()}
            total += loss * len(rows)
        means.append(total / len(X))
    return current, means


# %% wrong="train" breaks="order" says="an order an epoch"
# Misunderstands: rows drawn anew for each step are the same as an epoch.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(X), batch):
            rows = random.integers(0, len(X), min(batch, len(X) - start))
            hidden, logits = forward(current, X[rows])
            loss, G = cross_entropy(logits, y[rows])
            gradients = backward(current, X[rows], hidden, G)
            current = {name: value - rate * gradients[name] for name, value in current.items()}
            total += loss * len(rows)
        means.append(total / len(X))
    return current, means


# %% wrong="train" breaks="last" says="is left out"
# Misunderstands: an epoch is made of whole batches.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    for _ in range(epochs):
        order, total = random.permutation(len(X)), 0.0
        for start in range(0, len(X) - batch + 1, batch):
            rows = order[start : start + batch]
            hidden, logits = forward(current, X[rows])
            loss, G = cross_entropy(logits, y[rows])
            gradients = backward(current, X[rows], hidden, G)
            current = {name: value - rate * gradients[name] for name, value in current.items()}
            total += loss * len(rows)
        means.append(total / len(X))
    return current, means


# %% wrong="train" breaks="step" says="an order an epoch"
# Misunderstands: the second layer may already step before the first one's gradient is taken.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    for _ in range(epochs):
        order, total = random.permutation(len(X)), 0.0
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            hidden, logits = forward(current, X[rows])
            loss, G = cross_entropy(logits, y[rows])
            for name in ("W2", "b2", "W1", "b1"):
                current = current | {name: current[name] - rate * backward(current, X[rows], hidden, G)[name]}
            total += loss * len(rows)
        means.append(total / len(X))
    return current, means


# %% wrong="train" breaks="step" says="an order an epoch"
# Misunderstands: biases need no training.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    for _ in range(epochs):
        order, total = random.permutation(len(X)), 0.0
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            hidden, logits = forward(current, X[rows])
            loss, G = cross_entropy(logits, y[rows])
            gradients = backward(current, X[rows], hidden, G)
            current = current | {name: current[name] - rate * gradients[name] for name in ("W1", "W2")}
            total += loss * len(rows)
        means.append(total / len(X))
    return current, means


# %% wrong="train" breaks="new" says="what comes of `train`"
# Misunderstands: `-=` on an array of a copied dictionary leaves the first one alone.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    for _ in range(epochs):
        order, total = random.permutation(len(X)), 0.0
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            hidden, logits = forward(current, X[rows])
            loss, G = cross_entropy(logits, y[rows])
            for name, gradient in backward(current, X[rows], hidden, G).items():
                current[name] -= rate * gradient
            total += loss * len(rows)
        means.append(total / len(X))
    return current, means


# %% wrong="train" breaks="new" says="a dictionary of its own"
# Misunderstands: a new name is a new dictionary.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = parameters, []
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


# %% wrong="train" breaks="step" says="an order an epoch"
# Misunderstands: 0.1 is the learning rate.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    for _ in range(epochs):
        order, total = random.permutation(len(X)), 0.0
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            hidden, logits = forward(current, X[rows])
            loss, G = cross_entropy(logits, y[rows])
            gradients = backward(current, X[rows], hidden, G)
            current = {name: value - 0.1 * gradients[name] for name, value in current.items()}
            total += loss * len(rows)
        means.append(total / len(X))
    return current, means


# %% wrong="train" breaks="order" says="an order an epoch"
# Misunderstands: the order of an epoch is applied to what the epoch before left.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    for _ in range(epochs):
        order, total = random.permutation(len(X)), 0.0
        X, y = X[order], y[order]
        for start in range(0, len(X), batch):
            hidden, logits = forward(current, X[start : start + batch])
            loss, G = cross_entropy(logits, y[start : start + batch])
            gradients = backward(current, X[start : start + batch], hidden, G)
            current = {name: value - rate * gradients[name] for name, value in current.items()}
            total += loss * len(hidden)
        means.append(total / len(X))
    return current, means


# %% wrong="train" breaks="losses" says="counts steps"
# Misunderstands: the mean of the steps' losses is the mean of the epoch.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    for _ in range(epochs):
        order, found = random.permutation(len(X)), []
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            hidden, logits = forward(current, X[rows])
            loss, G = cross_entropy(logits, y[rows])
            gradients = backward(current, X[rows], hidden, G)
            current = {name: value - rate * gradients[name] for name, value in current.items()}
            found.append(loss)
        means.append(float(np.mean(found)))
    return current, means


# %% wrong="train" breaks="losses" says="what comes of `train`"
# Misunderstands: the loss of an epoch is that of the parameters at its end.
def train(parameters, X, y, rate, batch, epochs, random):
    current, means = dict(parameters), []
    for _ in range(epochs):
        order = random.permutation(len(X))
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            hidden, logits = forward(current, X[rows])
            _, G = cross_entropy(logits, y[rows])
            gradients = backward(current, X[rows], hidden, G)
            current = {name: value - rate * gradients[name] for name, value in current.items()}
        means.append(cross_entropy(forward(current, X)[1], y)[0])
    return current, means


# %% right="train"
# Copies first, then in place; np.split.
def train(parameters, X, y, rate, batch, epochs, random):
    mine = {name: value.copy() for name, value in parameters.items()}
    means = []
    for _ in range(epochs):
        order = random.permutation(len(X))
        losses = np.zeros(len(X))
        for rows in np.split(order, range(batch, len(X), batch)):
            hidden, logits = forward(mine, X[rows])
            losses[rows], G = cross_entropy(logits, y[rows])
            for name, gradient in backward(mine, X[rows], hidden, G).items():
                mine[name] -= rate * gradient
        means.append(losses.mean())
    return mine, means


# %% right="train"
# Shuffled copies, a function for the step.
def train(parameters, X, y, rate, batch, epochs, random):
    def step(p, inputs, targets):
        hidden, logits = forward(p, inputs)
        loss, G = cross_entropy(logits, targets)
        return {n: p[n] - rate * g for n, g in backward(p, inputs, hidden, G).items()}, loss

    p, history = {**parameters}, []
    for _ in range(epochs):
        order = random.permutation(len(X))
        inputs, targets, weighted, start = X[order], y[order], 0.0, 0
        while start < len(X):
            p, loss = step(p, inputs[start : start + batch], targets[start : start + batch])
            weighted += loss * len(inputs[start : start + batch]) / len(X)
            start += batch
        history.append(weighted)
    return p, history


# %% wrong="starting_weights" breaks="variance" says="it should count the inputs d"
# Misunderstands: the number of outputs counts.
def starting_weights(sizes, bend, random):
    gain = 2 if bend == "relu" else 1
    return [(random.normal(size=(d, m)) * (gain / m) ** 0.5, np.zeros(m)) for d, m in zip(sizes, sizes[1:])]


# %% wrong="starting_weights" breaks="variance" says="take its root"
# Misunderstands: 2 / d is the standard deviation.
def starting_weights(sizes, bend, random):
    gain = 2 if bend == "relu" else 1
    return [(random.normal(size=(d, m)) * (gain / d), np.zeros(m)) for d, m in zip(sizes, sizes[1:])]


# %% wrong="starting_weights" breaks="variance" says="2 / d, whatever"
# Misunderstands: the factor of ReLU is always right.
def starting_weights(sizes, bend, random):
    return [(random.normal(size=(d, m)) * (2 / d) ** 0.5, np.zeros(m)) for d, m in zip(sizes, sizes[1:])]


# %% wrong="starting_weights" breaks="drawn" says="what `starting_weights` gives"
# Misunderstands: any distribution with this variance was asked for.
def starting_weights(sizes, bend, random):
    gain = 2 if bend == "relu" else 1
    return [(random.uniform(-1, 1, size=(d, m)) * (3 * gain / d) ** 0.5, np.zeros(m)) for d, m in zip(sizes, sizes[1:])]


# %% wrong="starting_weights" breaks="drawn" says="what `starting_weights` gives"
# Misunderstands: NumPy has one generator.
def starting_weights(sizes, bend, random):
    gain = 2 if bend == "relu" else 1
    return [(np.random.normal(size=(d, m)) * (gain / d) ** 0.5, np.zeros(m)) for d, m in zip(sizes, sizes[1:])]


# %% wrong="starting_weights" breaks="zero" says="what `starting_weights` gives"
# Misunderstands: biases are drawn, too.
def starting_weights(sizes, bend, random):
    gain = 2 if bend == "relu" else 1
    return [(random.normal(size=(d, m)) * (gain / d) ** 0.5, random.normal(size=m) * 0.01) for d, m in zip(sizes, sizes[1:])]


# %% wrong="starting_weights" breaks="shapes" says="has shape"
# Misunderstands: W has a row for each output, as in torch.
def starting_weights(sizes, bend, random):
    gain = 2 if bend == "relu" else 1
    return [(random.normal(size=(m, d)) * (gain / d) ** 0.5, np.zeros(m)) for d, m in zip(sizes, sizes[1:])]


# %% wrong="starting_weights" breaks="variance" says="the last layer is taken as linear"
# Misunderstands: no bend comes after the last layer, so it begins as a linear one.
def starting_weights(sizes, bend, random):
    layers = []
    for i, (d, m) in enumerate(zip(sizes, sizes[1:])):
        gain = 2 if bend == "relu" and i < len(sizes) - 2 else 1
        layers.append((random.normal(size=(d, m)) * (gain / d) ** 0.5, np.zeros(m)))
    return layers


# %% wrong="starting_weights" breaks="variance" says="2 / (d + m)"
# Misunderstands: a linear layer takes the compromise between both directions.
def starting_weights(sizes, bend, random):
    return [(random.normal(size=(d, m)) * (2 / (d if bend == "relu" else d + m)) ** 0.5, np.zeros(m)) for d, m in zip(sizes, sizes[1:])]


# %% wrong="starting_weights" breaks="drawn" says="what `starting_weights` gives"
# Misunderstands: the drawn numbers are scaled until their own mean square is exact.
def starting_weights(sizes, bend, random):
    layers = []
    for d, m in zip(sizes, sizes[1:]):
        W = random.normal(size=(d, m))
        layers.append((W * ((2 if bend == "relu" else 1) / d / (W**2).mean()) ** 0.5, np.zeros(m)))
    return layers


# %% wrong="starting_weights" breaks="drawn" says="what `starting_weights` gives"
# Misunderstands: layers of the same shape may share what was drawn.
def starting_weights(sizes, bend, random):
    drawn = {}
    for d, m in zip(sizes, sizes[1:]):
        if (d, m) not in drawn:
            drawn[d, m] = random.normal(size=(d, m)) * ((2 if bend == "relu" else 1) / d) ** 0.5
    return [(drawn[d, m], np.zeros(m)) for d, m in zip(sizes, sizes[1:])]


# %% wrong="starting_weights" breaks="unchanged" says="argument sizes after the call"
# Misunderstands: the list is there to be used up.
def starting_weights(sizes, bend, random):
    layers, d = [], sizes.pop(0)
    while sizes:
        m = sizes.pop(0)
        layers.append((random.normal(size=(d, m)) * ((2 if bend == "relu" else 1) / d) ** 0.5, np.zeros(m)))
        d = m
    return layers


# %% right="starting_weights"
# scale= and a loop.
def starting_weights(sizes, bend, random):
    layers = []
    for i in range(len(sizes) - 1):
        deviation = np.sqrt({"relu": 2.0, "linear": 1.0}[bend] / sizes[i])
        W = random.normal(loc=0.0, scale=deviation, size=(sizes[i], sizes[i + 1]))
        layers.append((W, np.zeros((sizes[i + 1],))))
    return layers


# %% right="starting_weights"
# standard_normal, row vectors divided.
def starting_weights(sizes, bend, random):
    def layer(d, m):
        return random.standard_normal((d, m)) / np.sqrt(d / (1 + (bend == "relu"))), np.zeros(m)

    return [layer(d, m) for d, m in zip(sizes[:-1], sizes[1:])]


# %% wrong="convolve" breaks="order" says="the filter is turned round"
# Misunderstands: a convolution in deep learning is that of mathematics.
def convolve(picture, filters, bias, stride):
    size = filters.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))[::stride, ::stride]
    return np.einsum("rqcij,ijco->rqo", windows, filters[::-1, ::-1]) + bias


# %% wrong="convolve" breaks="order" says="are exchanged"
# Misunderstands: rows and columns of a square filter are the same.
def convolve(picture, filters, bias, stride):
    size = filters.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))[::stride, ::stride]
    return np.einsum("rqcij,jico->rqo", windows, filters) + bias


# %% wrong="convolve" breaks="shape" says="has shape"
# Misunderstands: the stride divides the height.
def convolve(picture, filters, bias, stride):
    size, (h, w) = filters.shape[0], picture.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))[::stride, ::stride]
    return (np.einsum("rqcij,ijco->rqo", windows, filters) + bias)[: max(1, (h - size) // stride), : max(1, (w - size) // stride)]


# %% wrong="convolve" breaks="sums" says="the bias is missing"
# Misunderstands: a filter is all that counts.
def convolve(picture, filters, bias, stride):
    size = filters.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))[::stride, ::stride]
    return np.einsum("rqcij,ijco->rqo", windows, filters)


# %% wrong="convolve" breaks="sums" says="`convolve`"
# Misunderstands: the channels are averaged.
def convolve(picture, filters, bias, stride):
    size = filters.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))[::stride, ::stride]
    return np.einsum("rqcij,ijco->rqo", windows, filters) / picture.shape[2] + bias


# %% wrong="convolve" breaks="sums" says="`convolve`"
# Misunderstands: every channel adds the bias.
def convolve(picture, filters, bias, stride):
    size = filters.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))[::stride, ::stride]
    return sum(np.einsum("rqij,ijo->rqo", windows[:, :, c], filters[:, :, c]) + bias for c in range(picture.shape[2]))


# %% wrong="convolve" breaks="sums" says="`convolve`"
# Misunderstands: the stride makes the result smaller, the patches follow each other.
def convolve(picture, filters, bias, stride):
    size, (h, w) = filters.shape[0], picture.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))
    return np.einsum("rqcij,ijco->rqo", windows, filters)[: (h - size) // stride + 1, : (w - size) // stride + 1] + bias


# %% equivalent="convolve" because="both first axes of the filters are s"
# - size = filters.shape[0]
# + size = filters.shape[1]


# %% wrong="convolve" breaks="unchanged" says="stay as it was"
# Misunderstands: the bias may be added to the picture.
def convolve(picture, filters, bias, stride):
    size = filters.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))[::stride, ::stride]
    found = np.einsum("rqcij,ijco->rqo", windows, filters)
    bias += 0.0 * found.sum() + 1e-3
    return found + bias - 1e-3


# %% right="convolve"
# Two loops and tensordot.
def convolve(picture, filters, bias, stride):
    h, w, _ = picture.shape
    s, _, _, o = filters.shape
    result = np.zeros(((h - s) // stride + 1, (w - s) // stride + 1, o))
    for r in range(result.shape[0]):
        for q in range(result.shape[1]):
            patch = picture[r * stride : r * stride + s, q * stride : q * stride + s]
            result[r, q] = np.tensordot(patch, filters, axes=3) + bias
    return result


# %% right="convolve"
# A loop over the filter's places.
def convolve(picture, filters, bias, stride):
    s = filters.shape[0]
    rows, columns = ((n - s) // stride + 1 for n in picture.shape[:2])
    total = np.tile(bias, (rows, columns, 1)).astype(float)
    for i in range(s):
        for j in range(s):
            total += picture[i : i + rows * stride : stride, j : j + columns * stride : stride][:rows, :columns] @ filters[i, j]
    return total


# %% wrong="recur" breaks="carried" says="begins with the first state again"
# Misunderstands: the state is a constant.
def recur(inputs, state, W, U, b):
    return np.stack([np.tanh(x @ W + state @ U + b) for x in inputs])


# %% wrong="recur" breaks="carried" says="the first state is not used"
# Misunderstands: every sequence begins at 0.
def recur(inputs, state, W, U, b):
    states, state = [], np.zeros_like(state)
    for x in inputs:
        state = np.tanh(x @ W + state @ U + b)
        states.append(state)
    return np.stack(states)


# %% wrong="recur" breaks="carried" says="U is transposed"
# Misunderstands: a square matrix may stand either way.
def recur(inputs, state, W, U, b):
    states = []
    for x in inputs:
        state = np.tanh(x @ W + state @ U.T + b)
        states.append(state)
    return np.stack(states)


# %% wrong="recur" breaks="states" says="has shape"
# Misunderstands: the last state is what counts.
def recur(inputs, state, W, U, b):
    for x in inputs:
        state = np.tanh(x @ W + state @ U + b)
    return state


# %% wrong="recur" breaks="states" says="has shape"
# Misunderstands: the first state belongs to the states.
def recur(inputs, state, W, U, b):
    states = [state]
    for x in inputs:
        states.append(np.tanh(x @ W + states[-1] @ U + b))
    return np.stack(states)


# %% wrong="recur" breaks="unchanged" says="stay as it was"
# Misunderstands: the state that was given may be written over.
def recur(inputs, state, W, U, b):
    states = np.empty((len(inputs), *state.shape))
    for i, x in enumerate(inputs):
        state[:] = np.tanh(x @ W + state @ U + b)
        states[i] = state
    return states


# %% right="recur"
# All inputs at once first, then the recurrence.
def recur(inputs, state, W, U, b):
    driven = inputs @ W + b
    result = np.empty_like(driven)
    for i in range(len(driven)):
        result[i] = state = np.tanh(driven[i] + np.dot(state, U))
    return result


# %% right="recur"
# accumulate.
def recur(inputs, state, W, U, b):
    from itertools import accumulate

    steps = accumulate(inputs, lambda h, x: np.tanh(np.matmul(x, W) + np.matmul(h, U) + b), initial=state)
    return np.array(list(steps)[1:])
