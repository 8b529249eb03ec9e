# %% right="two_inputs"
# Another way: the mean written with operations, a list of layers called one by one.
def two_inputs(numbers, vocabulary, width, classes):
    given = {"numbers": keras.Input(shape=(numbers,), dtype="float32", name="numbers"), "words": keras.Input(shape=(None,), dtype="int32", name="words")}
    left = keras.layers.ReLU()(keras.layers.Dense(units=width, name="hidden")(given["numbers"]))
    counts = keras.ops.cast(keras.ops.expand_dims(keras.ops.not_equal(given["words"], 0), -1), "float32")
    vectors = keras.layers.Embedding(vocabulary, width, name="embedding")(given["words"])
    right = keras.ops.sum(vectors * counts, axis=1) / keras.ops.sum(counts, axis=1)
    logits = keras.layers.Dense(classes, activation=None, name="logits")(keras.ops.concatenate([left, right], axis=-1))
    return keras.Model(inputs=given, outputs=logits, name="two_inputs")


# %% right="two_inputs"
# Another way: a mask of its own layer, and inputs in a list, which Keras matches by name.
def two_inputs(numbers, vocabulary, width, classes):
    words = keras.Input((None,), dtype="int32", name="words")
    x = keras.Input((numbers,), name="numbers")
    vectors = keras.layers.Embedding(vocabulary, width, name="embedding")(words)
    mask = keras.ops.not_equal(words, 0)
    text = keras.layers.GlobalAveragePooling1D()(vectors, mask=mask)
    hidden = keras.layers.Dense(width, "relu", name="hidden")(x)
    both = keras.layers.concatenate([hidden, text])
    return keras.Model(dict(words=words, numbers=x), keras.layers.Dense(classes, name="logits")(both))


# %% wrong="two_inputs" breaks="padding" says="count in the mean"
# Misunderstands: an embedding knows by itself that 0 is padding.
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((None,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(vocabulary, width, name="embedding")(ids))
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([hidden, mean])))


# %% wrong="two_inputs" breaks="padding" says="divided by the number of all places"
# Misunderstands: leaving vectors out of the sum is leaving them out of the mean.
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((None,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    vectors = keras.layers.Embedding(vocabulary, width, name="embedding")(ids)
    kept = keras.ops.cast(keras.ops.expand_dims(ids != 0, -1), "float32")
    mean = keras.ops.mean(vectors * kept, axis=1)
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([hidden, mean])))


# %% wrong="two_inputs" breaks="mean" says="without the mean"
# Misunderstands: a bag of words is a sum.
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((None,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    vectors = keras.layers.Embedding(vocabulary, width, name="embedding")(ids)
    kept = keras.ops.cast(keras.ops.expand_dims(ids != 0, -1), "float32")
    total = keras.ops.sum(vectors * kept, axis=1)
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([hidden, total])))


# %% wrong="two_inputs" breaks="hidden" says="no ReLU"
# Misunderstands: Dense has an activation unless it is told otherwise.
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((None,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, name="hidden")(x)
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(vocabulary, width, mask_zero=True, name="embedding")(ids))
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([hidden, mean])))


# %% wrong="two_inputs" breaks="logits" says="softmax"
# Misunderstands: a classifier ends with a softmax.
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((None,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(vocabulary, width, mask_zero=True, name="embedding")(ids))
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, activation="softmax", name="logits")(keras.layers.Concatenate()([hidden, mean])))


# %% wrong="two_inputs" breaks="logits" says="the numbers come first"
# Misunderstands: the order of what stands side by side does not matter.
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((None,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(vocabulary, width, mask_zero=True, name="embedding")(ids))
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([mean, hidden])))


# %% wrong="two_inputs" breaks="logits" says="`two_inputs`"
# Misunderstands: both results are put together by adding them.
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((None,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(vocabulary, width, mask_zero=True, name="embedding")(ids))
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Add()([hidden, mean])))


# %% wrong="two_inputs" breaks="inputs" says="`two_inputs`"
# Misunderstands: the number of places is fixed (that of the example).
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((8,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(vocabulary, width, mask_zero=True, name="embedding")(ids))
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([hidden, mean])))


# %% wrong="two_inputs" breaks="inputs" says="`two_inputs`"
# Misunderstands: names of inputs are free.
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,))
    ids = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(vocabulary, width, mask_zero=True, name="embedding")(ids))
    return keras.Model({"x": x, "ids": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([hidden, mean])))


# %% wrong="two_inputs" breaks="hidden, mean" says="has keys"
# Misunderstands: layers are found by what they are.
def two_inputs(numbers, vocabulary, width, classes):
    x = keras.Input((numbers,), name="numbers")
    ids = keras.Input((None,), dtype="int32", name="words")
    hidden = keras.layers.Dense(width, activation="relu")(x)
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(vocabulary, width, mask_zero=True)(ids))
    return keras.Model({"numbers": x, "words": ids}, keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([hidden, mean])))


# %% equivalent="two_inputs" because="Keras casts what comes to the dtype of the input, and `Embedding` casts it back; ids below 30 are exact in float32"
# - ids = keras.Input((None,), dtype="int32", name="words")
# + ids = keras.Input((None,), name="words")


# %% equivalent="two_inputs" because="the model is called with a dictionary, and its keys are those of `inputs`"
# - x = keras.Input((numbers,), name="numbers")
# + x = keras.Input((numbers,))


# %% equivalent="two_inputs" because="the model is called with a dictionary, and its keys are those of `inputs`"
# - ids = keras.Input((None,), dtype="int32", name="words")
# + ids = keras.Input((None,), dtype="int32")


# %% equivalent="two_inputs" because="the model is called with a dictionary, and its keys are those of `inputs`"
# - x = keras.Input((numbers,), name="numbers")
# + x = keras.Input((numbers,), name='srebmun')


# %% equivalent="two_inputs" because="the model is called with a dictionary, and its keys are those of `inputs`"
# - ids = keras.Input((None,), dtype="int32", name="words")
# + ids = keras.Input((None,), dtype="int32", name='sdrow')


# %% right="gated_dense"
# Another way: two dense layers inside, whose weights the attributes name.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.units = int(units)
        self.what = keras.layers.Dense(self.units)
        self.much = keras.layers.Dense(self.units, activation="sigmoid")

    def build(self, input_shape):
        self.what.build(input_shape)
        self.much.build(input_shape)
        self.built = True

    kernel = property(lambda self: self.what.kernel)
    bias = property(lambda self: self.what.bias)
    gate_kernel = property(lambda self: self.much.kernel)
    gate_bias = property(lambda self: self.much.bias)

    def call(self, inputs):
        return self.what(inputs) * self.much(inputs)

    def get_config(self):
        config = super().get_config()
        config.update(units=self.units)
        return config


# %% right="gated_dense"
# Another way: einsum, a sigmoid by way of tanh, other starting numbers, and the shape of the result by hand.
class GatedDense(keras.Layer):
    def __init__(self, units, *, seed=7, **kwargs):
        super().__init__(**kwargs)
        self.units, self.seed = units, seed

    def build(self, input_shape):
        *_, inputs = input_shape
        for number, (name, shape) in enumerate({"kernel": (inputs, self.units), "bias": (self.units,), "gate_kernel": (inputs, self.units), "gate_bias": (self.units,)}.items()):
            begin = keras.initializers.RandomNormal(stddev=0.1, seed=self.seed + number) if len(shape) == 2 else keras.initializers.Zeros()
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer=begin, trainable=True))

    def call(self, inputs):
        value = keras.ops.einsum("...d,du->...u", inputs, self.kernel) + self.bias
        gate = keras.ops.einsum("...d,du->...u", inputs, self.gate_kernel) + self.gate_bias
        return value * (keras.ops.tanh(gate / 2) + 1) / 2

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return super().get_config() | {"units": self.units, "seed": self.seed}


# %% wrong="gated_dense" breaks="value" says="no sigmoid"
# Misunderstands: a gate is a second product.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return (x @ self.kernel + self.bias) * (x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="value" says="gate and value are exchanged"
# Misunderstands: which of the two products goes through the sigmoid.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return keras.ops.sigmoid(x @ self.kernel + self.bias) * (x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="value" says="`GatedDense`"
# Misunderstands: the input always has two axes.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        x = keras.ops.reshape(x, (-1, x.shape[-1])) if len(x.shape) == 4 else x
        return (x @ self.kernel + self.bias) * keras.ops.sigmoid(x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="weights" says="trainable"
# Misunderstands: biases of a gate are constants.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros", trainable=False)

    def call(self, x):
        return (x @ self.kernel + self.bias) * keras.ops.sigmoid(x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="begin" says="biases begin at 0"
# Misunderstands: add_weight begins with zeros for a bias (it draws numbers unless told otherwise).
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="random_normal"), self.add_weight(shape=shape[1:], initializer="random_normal")

    def call(self, x):
        return (x @ self.kernel + self.bias) * keras.ops.sigmoid(x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="begin" says="the two kernels differ"
# Misunderstands: one initializer with a seed can serve both kernels.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        begin = keras.initializers.GlorotUniform(seed=1)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer=begin), self.add_weight(shape=shape, initializer=begin)
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return (x @ self.kernel + self.bias) * keras.ops.sigmoid(x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="begin" says="numbers of a kernel differ"
# Misunderstands: training breaks the symmetry of equal numbers.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="ones"), self.add_weight(shape=shape, initializer="zeros")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return (x @ self.kernel + self.bias) * keras.ops.sigmoid(x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="config" says="units"
# Misunderstands: the base class notes what `__init__` was given.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return (x @ self.kernel + self.bias) * keras.ops.sigmoid(x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return super(GatedDense, self).get_config() | {"unit": self.units}


# %% wrong="gated_dense" breaks="config" says="made again from its configuration"
# Misunderstands: the configuration is the layer's own settings alone (its name is lost).
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return (x @ self.kernel + self.bias) * keras.ops.sigmoid(x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return {"units": self.units}


# %% wrong="gated_dense" breaks="symbolic" says="shape from a keras.Input"
# Misunderstands: an input has two axes, so the shape of the result has, too.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def call(self, x):
        return (keras.ops.matmul(x, self.kernel) + self.bias) * keras.ops.sigmoid(keras.ops.matmul(x, self.gate_kernel) + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="apart" says="with another beside it"
# Misunderstands: what `build` makes belongs to the class.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        GatedDense.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return (x @ self.kernel + self.bias) * keras.ops.sigmoid(x @ self.gate_kernel + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="config" says="has the layer's name"
# Misunderstands: the configuration is what the constructor was given (a name that Keras chose is lost).
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.settings = {"units": units, **kwargs}

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return (keras.ops.matmul(x, self.kernel) + self.bias) * keras.ops.sigmoid(keras.ops.matmul(x, self.gate_kernel) + self.gate_bias)

    def get_config(self):
        return dict(self.settings)


# %% wrong="gated_dense" breaks="config" says="GatedDense"
# Misunderstands: a configuration is that of a layer in use.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return (keras.ops.matmul(x, self.kernel) + self.bias) * keras.ops.sigmoid(keras.ops.matmul(x, self.gate_kernel) + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.kernel.shape[-1]}


# %% wrong="gated_dense" breaks="symbolic" says="shape from a keras.Input"
# Misunderstands: inputs that are more than a batch of rows have three axes.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units) if len(input_shape) == 2 else (*input_shape[:2], self.units)

    def call(self, x):
        return (keras.ops.matmul(x, self.kernel) + self.bias) * keras.ops.sigmoid(keras.ops.matmul(x, self.gate_kernel) + self.gate_bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% wrong="gated_dense" breaks="value" says="`GatedDense`"
# Misunderstands: `build` sees the shape of every input.
class GatedDense(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel, self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform"), self.add_weight(shape=shape, initializer="glorot_uniform")
        self.bias, self.gate_bias = self.add_weight(shape=shape[1:], initializer="zeros"), self.add_weight(shape=shape[1:], initializer="zeros")
        self.shape = input_shape[1:-1]

    def call(self, x):
        y = (keras.ops.matmul(x, self.kernel) + self.bias) * keras.ops.sigmoid(keras.ops.matmul(x, self.gate_kernel) + self.gate_bias)
        return keras.ops.reshape(y, (-1, *self.shape, self.units))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


# %% equivalent="gated_dense" because="Keras begins a weight of floats with glorot_uniform where nothing is said"
# - self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
# + self.kernel = self.add_weight(shape=shape, name="kernel")


# %% equivalent="gated_dense" because="the task asks for no names of the weights"
# - self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
# + self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform")


# %% equivalent="gated_dense" because="the task asks for no names of the weights"
# - self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
# + self.bias = self.add_weight(shape=(self.units,), initializer="zeros")


# %% equivalent="gated_dense" because="Keras begins a weight of floats with glorot_uniform where nothing is said"
# - self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="gate_kernel")
# + self.gate_kernel = self.add_weight(shape=shape, name="gate_kernel")


# %% equivalent="gated_dense" because="the task asks for no names of the weights"
# - self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="gate_kernel")
# + self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform")


# %% equivalent="gated_dense" because="the task asks for no names of the weights"
# - self.gate_bias = self.add_weight(shape=(self.units,), initializer="zeros", name="gate_bias")
# + self.gate_bias = self.add_weight(shape=(self.units,), initializer="zeros")


# %% equivalent="gated_dense" because="the task asks for no names of the weights"
# - self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
# + self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name='lenrek')


# %% equivalent="gated_dense" because="the task asks for no names of the weights"
# - self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
# + self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name='saib')


# %% equivalent="gated_dense" because="the task asks for no names of the weights"
# - self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="gate_kernel")
# + self.gate_kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name='lenrek_etag')


# %% equivalent="gated_dense" because="the task asks for no names of the weights"
# - self.gate_bias = self.add_weight(shape=(self.units,), initializer="zeros", name="gate_bias")
# + self.gate_bias = self.add_weight(shape=(self.units,), initializer="zeros", name='saib_etag')


# %% right="best_epoch"
# Another way: the losses in a list, the weights in a dictionary by epoch.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience=5):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.losses, self.weights = [], {}

    @property
    def best(self):
        numbers = [loss for loss in self.losses if loss == loss]
        return self.losses.index(min(numbers)) if numbers else None

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(float(logs["val_loss"]))
        if self.best == epoch:
            self.weights = {epoch: [np.copy(w) for w in self.model.get_weights()]}
        since = epoch - self.best if self.best is not None else epoch + 1
        self.model.stop_training = since >= self.patience

    def on_train_end(self, logs=None):
        if self.best is not None:
            self.model.set_weights(self.weights[self.best])


# %% right="best_epoch"
# Another way: variables one by one, copied and assigned.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience, self.best = patience, None

    def on_train_begin(self, logs):
        self.best, self.lowest, self.kept, self.last = None, float("nan"), {}, 0

    def on_epoch_end(self, epoch, logs):
        loss = logs.get("val_loss")
        if not np.isnan(loss) and not loss >= self.lowest:
            self.best, self.lowest = epoch, loss
            self.kept = {i: w.numpy() for i, w in enumerate(self.model.weights)}
        if epoch - (-1 if self.best is None else self.best) >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs):
        for i, value in self.kept.items():
            self.model.weights[i].assign(value)


# %% wrong="best_epoch" breaks="better" says="equal loss counted as better"
# Misunderstands: not worse is better.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] <= self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="better, none" says="`BestEpoch`"
# Misunderstands: what is not higher is lower (NaN is neither).
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] >= self.lowest:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True
        else:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="better" says="`BestEpoch`"
# Misunderstands: better means lower than in the epoch before.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.waited = epoch, 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True
        if logs["val_loss"] == logs["val_loss"]:
            self.lowest = logs["val_loss"]

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="better" says="`BestEpoch`"
# Misunderstands: the first epoch is the best until another one is (if it is NaN, nothing is ever lower).
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, None, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if self.lowest is None or logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="stop" says="one epoch too long"
# Misunderstands: patience is what may be exceeded.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited > self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="stop" says="add up"
# Misunderstands: patience counts all epochs that were not better.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest = epoch, logs["val_loss"]
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="restore" says="`BestEpoch`"
# Misunderstands: weights go back only where training was stopped early.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True
                if self.kept is not None:
                    self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="restore" says="the weights are those of the last epoch"
# Misunderstands: noting the variables is keeping their numbers.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = [w.value for w in self.model.weights]
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="all" says="other weights"
# Misunderstands: the weights of a model are those that are trained.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = [w.numpy() for w in self.model.trainable_weights]
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            for w, value in zip(self.model.trainable_weights, self.kept):
                w.assign(value)


# %% wrong="best_epoch" breaks="none" says="`BestEpoch`"
# Misunderstands: without a better epoch there is nothing to keep but the beginning.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="best" says="counted from 1"
# Misunderstands: the first epoch is number 1.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch + 1, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="again" says="first `fit`"
# Misunderstands: a callback is made for one `fit`.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="again" says="`BestEpoch`"
# Misunderstands: only the lowest loss must begin anew (the count goes on).
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience
        self.waited = 0

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.kept = None, math.inf, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="better" says="`BestEpoch`"
# Misunderstands: a loss is never above 100.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, 100.0, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="better" says="`BestEpoch`"
# Misunderstands: a lowest loss of 0 is none yet.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, None, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < (self.lowest or math.inf):
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="better" says="`BestEpoch`"
# Misunderstands: a loss that is lower by less than 0.01 is not better.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest - 0.01:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% wrong="best_epoch" breaks="all" says="`BestEpoch`"
# Misunderstands: trained weights come first in `model.weights`, the others after them.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = [w.numpy() for w in self.model.trainable_weights + self.model.non_trainable_weights]
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            for w, value in zip(self.model.weights, self.kept):
                w.assign(value) if tuple(w.shape) == value.shape else None


# %% wrong="best_epoch" breaks="all" says="`BestEpoch`"
# Misunderstands: what is not trained are running statistics: a frozen layer does not change.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = [w.numpy() for layer in self.model.layers if layer.trainable for w in layer.weights]
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            for w, value in zip([w for layer in self.model.layers if layer.trainable for w in layer.weights], self.kept):
                w.assign(value)


# %% wrong="best_epoch" breaks="again" says="`BestEpoch`"
# Misunderstands: the model of the first `fit` is the model of all.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        self.patience = patience
        self.first = None

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = [w.numpy() for w in self.weights_of_first()]
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            for w, value in zip(self.weights_of_first(), self.kept):
                w.assign(value)

    def weights_of_first(self):
        self.first = self.first or self.model
        return self.first.weights


# %% wrong="best_epoch" breaks="apart" says="with another beside it"
# Misunderstands: the patience is a setting of the class.
class BestEpoch(keras.callbacks.Callback):
    def __init__(self, patience):
        super().__init__()
        BestEpoch.patience = patience

    def on_train_begin(self, logs=None):
        self.best, self.lowest, self.waited, self.kept = None, math.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest, self.waited = epoch, logs["val_loss"], 0
            self.kept = self.model.get_weights()
        else:
            self.waited += 1
            if self.waited >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.kept is not None:
            self.model.set_weights(self.kept)


# %% equivalent="best_epoch" because="a model that learns has at least one weight, so the list that was kept is never empty"
# - if self.kept is not None:
# + if self.kept:


# %% right="to_torch"
# Another way: a module of its own that turns the pictures round, and keeps Keras' order from then on.
def to_torch(model):
    class Network(torch.nn.Module):
        def __init__(self, arrays, epsilon):
            super().__init__()
            for name, array in arrays.items():
                self.register_buffer(name, torch.tensor(array))
            self.epsilon = epsilon

        def forward(self, pictures):
            z = torch.nn.functional.conv2d(pictures, self.K.permute(3, 2, 0, 1), self.b).permute(0, 2, 3, 1)
            z = (z - self.mean) / (self.var + self.epsilon).sqrt() * self.gamma + self.beta
            return torch.relu(z).flatten(1) @ self.V + self.c

    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    arrays = {"K": K, "b": b, "gamma": gamma, "beta": beta, "mean": mean, "var": var, "V": V, "c": c}
    return Network(arrays, model.get_layer("norm").epsilon).eval()


# %% right="to_torch"
# Another way: batch normalisation folded into the convolution, and parameters copied under no_grad.
def to_torch(model):
    conv, norm, head = (model.get_layer(name) for name in ("conv", "norm", "head"))
    scale = keras.ops.convert_to_numpy(norm.gamma) / np.sqrt(keras.ops.convert_to_numpy(norm.moving_variance) + norm.epsilon)
    kernel = keras.ops.convert_to_numpy(conv.kernel) * scale
    bias = (keras.ops.convert_to_numpy(conv.bias) - keras.ops.convert_to_numpy(norm.moving_mean)) * scale + keras.ops.convert_to_numpy(norm.beta)
    size, _, channels, filters = kernel.shape
    _, height, width, _ = model.input_shape
    rows, columns = height - size + 1, width - size + 1
    V = torch.from_numpy(head.get_weights()[0].copy()).reshape(rows, columns, filters, -1)
    first, last = torch.nn.Conv2d(channels, filters, size), torch.nn.Linear(rows * columns * filters, V.shape[-1])
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
        first.bias.copy_(torch.from_numpy(bias))
        last.weight.copy_(V.permute(3, 2, 0, 1).flatten(1))
        last.bias.copy_(torch.from_numpy(head.get_weights()[1]))
    return torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Flatten(), last)


# %% wrong="to_torch" breaks="equal" says="channel by channel"
# Misunderstands: flattening is flattening.
def to_torch(model):
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=model.get_layer("norm").epsilon), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    with torch.no_grad():
        for target, value in ((network[0].weight, K.transpose(3, 2, 0, 1)), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var), (network[4].weight, V.T), (network[4].bias, c)):
            target.copy_(torch.tensor(value.copy()))
    return network.eval()


# %% wrong="to_torch" breaks="equal" says="PyTorch's own eps"
# Misunderstands: epsilon is too small to matter.
def to_torch(model):
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    rows, columns = model.input_shape[1] - K.shape[0] + 1, model.input_shape[2] - K.shape[0] + 1
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3]), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    V = V.reshape(rows, columns, len(b), -1).transpose(3, 2, 0, 1).reshape(len(c), -1)
    with torch.no_grad():
        for target, value in ((network[0].weight, K.transpose(3, 2, 0, 1)), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var), (network[4].weight, V), (network[4].bias, c)):
            target.copy_(torch.tensor(value.copy()))
    return network.eval()


# %% wrong="to_torch" breaks="equal" says="Keras' default epsilon"
# Misunderstands: the epsilon of every Keras layer is the default of Keras.
def to_torch(model):
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    rows, columns = model.input_shape[1] - K.shape[0] + 1, model.input_shape[2] - K.shape[0] + 1
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=1e-3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    V = V.reshape(rows, columns, len(b), -1).transpose(3, 2, 0, 1).reshape(len(c), -1)
    with torch.no_grad():
        for target, value in ((network[0].weight, K.transpose(3, 2, 0, 1)), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var), (network[4].weight, V), (network[4].bias, c)):
            target.copy_(torch.tensor(value.copy()))
    return network.eval()


# %% wrong="to_torch" breaks="equal" says="rows and columns of the filters"
# Misunderstands: `.T` turns a kernel into PyTorch's order (it exchanges height and width, too).
def to_torch(model):
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    rows, columns = model.input_shape[1] - K.shape[0] + 1, model.input_shape[2] - K.shape[0] + 1
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=model.get_layer("norm").epsilon), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    V = V.reshape(rows, columns, len(b), -1).transpose(3, 2, 0, 1).reshape(len(c), -1)
    with torch.no_grad():
        for target, value in ((network[0].weight, K.T), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var), (network[4].weight, V), (network[4].bias, c)):
            target.copy_(torch.tensor(value.copy()))
    return network.eval()


# %% wrong="to_torch" breaks="ready" says="training mode"
# Misunderstands: a module that was never trained is ready for use.
def to_torch(model):
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    rows, columns = model.input_shape[1] - K.shape[0] + 1, model.input_shape[2] - K.shape[0] + 1
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=model.get_layer("norm").epsilon), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    V = V.reshape(rows, columns, len(b), -1).transpose(3, 2, 0, 1).reshape(len(c), -1)
    with torch.no_grad():
        for target, value in ((network[0].weight, K.transpose(3, 2, 0, 1)), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var), (network[4].weight, V), (network[4].bias, c)):
            target.copy_(torch.tensor(value.copy()))
    return network


# %% wrong="to_torch" breaks="own" says="shares its weights"
# Misunderstands: with the torch backend a Keras model is a torch module, so it can be wrapped.
def to_torch(model):
    class Wrapped(torch.nn.Module):
        def forward(self, pictures):
            return model(pictures.permute(0, 2, 3, 1), training=False)

    return Wrapped().eval()


# %% wrong="to_torch" breaks="own" says="`to_torch`"
# Misunderstands: assigning a parameter copies it.
def to_torch(model):
    conv, norm, head = (model.get_layer(name) for name in ("conv", "norm", "head"))
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    rows, columns = model.input_shape[1] - K.shape[0] + 1, model.input_shape[2] - K.shape[0] + 1
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=norm.epsilon), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    network[0].weight.data = conv.kernel.value.data.permute(3, 2, 0, 1)
    network[0].bias.data = conv.bias.value.data
    network[1].weight.data, network[1].bias.data = norm.gamma.value.data, norm.beta.value.data
    network[1].running_mean, network[1].running_var = norm.moving_mean.value.data, norm.moving_variance.value.data
    network[4].weight.data = torch.tensor(V.reshape(rows, columns, len(b), -1).transpose(3, 2, 0, 1).reshape(len(c), -1).copy())
    network[4].bias.data = head.bias.value.data
    return network.eval()


# %% wrong="to_torch" breaks="unchanged" says="model"
# Misunderstands: the old model is no longer needed.
def to_torch(model):
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    rows, columns = model.input_shape[1] - K.shape[0] + 1, model.input_shape[2] - K.shape[0] + 1
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=model.get_layer("norm").epsilon), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    V = V.reshape(rows, columns, len(b), -1).transpose(3, 2, 0, 1).reshape(len(c), -1)
    with torch.no_grad():
        for target, value in ((network[0].weight, K.transpose(3, 2, 0, 1)), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var), (network[4].weight, V), (network[4].bias, c)):
            target.copy_(torch.tensor(value.copy()))
    model.set_weights([0 * w for w in model.get_weights()])
    return network.eval()


# %% wrong="to_torch" breaks="module" says="`to_torch`"
# Misunderstands: pictures come as Keras has them.
def to_torch(model):
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=model.get_layer("norm").epsilon), torch.nn.ReLU())
    with torch.no_grad():
        for target, value in ((network[0].weight, K.transpose(3, 2, 0, 1)), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var)):
            target.copy_(torch.tensor(value.copy()))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network.eval()

        def forward(self, x):
            return self.inner(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1) @ torch.tensor(V) + torch.tensor(c)

    return Network()


# %% wrong="to_torch" breaks="module" says="True"
# Misunderstands: a function is as good as a module.
def to_torch(model):
    K, b, gamma, beta, mean, var, V, c = map(torch.tensor, model.get_weights())
    epsilon = model.get_layer("norm").epsilon

    def network(x):
        z = torch.nn.functional.conv2d(x, K.permute(3, 2, 0, 1), b).permute(0, 2, 3, 1)
        return torch.relu((z - mean) / (var + epsilon).sqrt() * gamma + beta).flatten(1) @ V + c

    return network


# %% wrong="to_torch" breaks="unchanged" says="changed what is `trainable`"
# Misunderstands: a Keras model is put into inference mode by `trainable = False`.
def to_torch(model):
    model.trainable = False
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    rows, columns = model.input_shape[1] - K.shape[0] + 1, model.input_shape[2] - K.shape[0] + 1
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=model.get_layer("norm").epsilon), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    V = V.reshape(rows, columns, len(b), -1).transpose(3, 2, 0, 1).reshape(len(c), -1)
    with torch.no_grad():
        for target, value in ((network[0].weight, K.transpose(3, 2, 0, 1)), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var), (network[4].weight, V), (network[4].bias, c)):
            target.copy_(torch.tensor(value.copy()))
    return network.eval()


# %% wrong="to_torch" breaks="unchanged" says="changed what is `trainable`"
# Misunderstands: what is carried must be trainable.
def to_torch(model):
    model.trainable = True
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    rows, columns = model.input_shape[1] - K.shape[0] + 1, model.input_shape[2] - K.shape[0] + 1
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=model.get_layer("norm").epsilon), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    V = V.reshape(rows, columns, len(b), -1).transpose(3, 2, 0, 1).reshape(len(c), -1)
    with torch.no_grad():
        for target, value in ((network[0].weight, K.transpose(3, 2, 0, 1)), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var), (network[4].weight, V), (network[4].bias, c)):
            target.copy_(torch.tensor(value.copy()))
    return network.eval()


# %% wrong="to_torch" breaks="equal" says="`to_torch`"
# Misunderstands: `.T` brings the dense kernel into PyTorch's order (it exchanges rows and columns).
def to_torch(model):
    K, b, gamma, beta, mean, var, V, c = model.get_weights()
    rows, columns = model.input_shape[1] - K.shape[0] + 1, model.input_shape[2] - K.shape[0] + 1
    network = torch.nn.Sequential(torch.nn.Conv2d(K.shape[2], K.shape[3], K.shape[0]), torch.nn.BatchNorm2d(K.shape[3], eps=model.get_layer("norm").epsilon), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(*V.shape))
    V = V.reshape(rows, columns, len(b), -1).T.reshape(len(c), -1)
    with torch.no_grad():
        for target, value in ((network[0].weight, K.transpose(3, 2, 0, 1)), (network[0].bias, b), (network[1].weight, gamma), (network[1].bias, beta), (network[1].running_mean, mean), (network[1].running_var, var), (network[4].weight, V), (network[4].bias, c)):
            target.copy_(torch.tensor(value.copy()))
    return network.eval()


# %% wrong="to_torch" breaks="own" says="`to_torch`"
# Misunderstands: the arrays belong to the class (the next module brings its own to all).
class Carried(torch.nn.Module):
    def forward(self, pictures):
        K, b, gamma, beta, mean, var, V, c = Carried.arrays
        z = torch.nn.functional.conv2d(pictures, K.permute(3, 2, 0, 1), b).permute(0, 2, 3, 1)
        return torch.relu((z - mean) / (var + self.epsilon).sqrt() * gamma + beta).flatten(1) @ V + c


def to_torch(model):
    Carried.arrays = [torch.tensor(w.copy()) for w in model.get_weights()]
    network = Carried().eval()
    network.epsilon = model.get_layer("norm").epsilon
    return network


# %% equivalent="to_torch" because="load_state_dict copies the values once more"
# - network.load_state_dict({name: torch.tensor(value.copy()) for name, value in values.items()}, strict=False)
# + network.load_state_dict({name: torch.as_tensor(value.copy()) for name, value in values.items()}, strict=False)


# %% equivalent="to_torch" because="torch.tensor copies"
# - network.load_state_dict({name: torch.tensor(value.copy()) for name, value in values.items()}, strict=False)
# + network.load_state_dict({name: torch.tensor(value) for name, value in values.items()}, strict=False)


# %% equivalent="to_torch" because="PyTorch fills in the one missing entry, the count of batches, by itself"
# - network.load_state_dict({name: torch.tensor(value.copy()) for name, value in values.items()}, strict=False)
# + network.load_state_dict({name: torch.tensor(value.copy()) for name, value in values.items()}, strict=True)


# %% equivalent="to_torch" because="NumPy takes every negative number as the size that is left"
# - weights = weights.reshape(rows, columns, filters, -1).transpose(3, 2, 0, 1).reshape(-1, rows * columns * filters)
# + weights = weights.reshape(rows, columns, filters, -1).transpose(3, 2, 0, 1).reshape(-2, rows * columns * filters)


# %% equivalent="to_torch" because="rows and columns are joined again in the same order"
# - weights = weights.reshape(rows, columns, filters, -1).transpose(3, 2, 0, 1).reshape(-1, rows * columns * filters)
# + weights = (weights.reshape(columns, rows, filters, -1)).transpose(3, 2, 0, 1).reshape(-1, rows * columns * filters)


# %% equivalent="to_torch" because="NumPy takes every negative number as the size that is left"
# - weights = weights.reshape(rows, columns, filters, -1).transpose(3, 2, 0, 1).reshape(-1, rows * columns * filters)
# + weights = weights.reshape(rows, columns, filters, -2).transpose(3, 2, 0, 1).reshape(-1, rows * columns * filters)


# %% right="pipeline"
# Another way: NumPy does the casts beforehand, the shuffle is one of row numbers.
def pipeline(images, labels, batch, training, seed):
    x, y = images.astype("float32") / np.float32(255), labels.astype("int32")
    numbers = tf.data.Dataset.range(len(y))
    if training:
        numbers = numbers.shuffle(buffer_size=len(y), seed=seed)
    return numbers.batch(batch).map(lambda i: (tf.gather(x, i), tf.gather(y, i)))


# %% right="pipeline"
# Another way: each row for itself, before the batch.
def pipeline(images, labels, batch, training, seed):
    def prepare(image, label):
        return tf.image.convert_image_dtype(image, tf.float32), tf.cast(label, tf.int32)

    rows = tf.data.Dataset.zip((tf.data.Dataset.from_tensor_slices(images), tf.data.Dataset.from_tensor_slices(labels)))
    rows = rows.map(prepare, num_parallel_calls=1).cache()
    return (rows.shuffle(1000, seed) if training else rows).batch(batch, drop_remainder=False).prefetch(2)


# %% wrong="pipeline" breaks="values" says="not divided"
# Misunderstands: a cast to float brings pixels between 0 and 1.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32), tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="values" says="dtype"
# Misunderstands: labels may stay as they are.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, y))


# %% wrong="pipeline" breaks="values" says="256"
# Misunderstands: bytes have 256 values, so one divides by 256.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 256, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="batches" says="last, smaller batch"
# Misunderstands: all batches must be of one size.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed)
    return rows.batch(batch, drop_remainder=True).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="batches" says="the sizes of the batches"
# Misunderstands: while training the small batch is left out.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed)
    return rows.batch(batch, drop_remainder=training).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="batches" says="the sizes of the batches"
# Misunderstands: training needs a dataset without an end.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed).repeat()
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="batches" says="each image with its own label"
# Misunderstands: images and labels can be shuffled one after the other.
def pipeline(images, labels, batch, training, seed):
    x, y = tf.data.Dataset.from_tensor_slices(images), tf.data.Dataset.from_tensor_slices(labels)
    if training:
        x, y = x.shuffle(len(images), seed=seed), y.shuffle(len(images), seed=seed + 1)
    return tf.data.Dataset.zip((x, y)).batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="order" says="`pipeline` without training"
# Misunderstands: shuffling never hurts.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=seed)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="shuffled" says="whole batches were shuffled"
# Misunderstands: the order of the steps does not matter.
def pipeline(images, labels, batch, training, seed):
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch)
    if training:
        batches = batches.shuffle(len(images), seed=seed)
    return batches.map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="shuffled" says="within its buffer only"
# Misunderstands: a buffer of a batch is enough to mix.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(batch, seed=seed)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="shuffled" says="within its buffer only"
# Misunderstands: a buffer of a hundred rows is large.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(100, seed=seed)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="shuffled" says="as large as the data"
# Misunderstands: a buffer of 256 rows is as good as all.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(256, seed=seed)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="passes" says="same order as the first"
# Misunderstands: a seed fixes the order, so that of all passes.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed, reshuffle_each_iteration=False)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="passes" says="same order as the first"
# Misunderstands: shuffling the arrays once is shuffling.
def pipeline(images, labels, batch, training, seed):
    if training:
        order = np.random.default_rng(seed).permutation(len(images))
        images, labels = images[order], labels[order]
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="seed" says="same seed"
# Misunderstands: the seed is for the weights.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images))
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="seed" says="another seed"
# Misunderstands: any fixed seed will do.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=42)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="seed" says="0 too"
# Misunderstands: seed 0 means that no seed is given.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed or None)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="seed" says="another seed"
# Misunderstands: a seed is a small number.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=seed % 1000)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="seed" says="another seed"
# Misunderstands: seeds begin at 1.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(len(images), seed=max(seed, 1))
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% wrong="pipeline" breaks="shuffled" says="3 rows while training"
# Misunderstands: the last row stays for the end of the buffer.
def pipeline(images, labels, batch, training, seed):
    rows = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        rows = rows.shuffle(max(len(images) - 1, 1), seed=seed)
    return rows.batch(batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% equivalent="pipeline" because="how many pictures are prepared side by side changes no value"
# - batches = batches.map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)), num_parallel_calls=tf.data.AUTOTUNE)
# + batches = batches.map(lambda x, y: (tf.cast(x, tf.float32) / 255, tf.cast(y, tf.int32)))


# %% right="train_step"
# Another way: the norm by hand, one tape for each kind of variable that is asked for.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for v in (W, b):
            if v.trainable:
                tape.watch(v)
        logp = tf.nn.log_softmax(tf.linalg.matmul(x, W) + b)
        loss = -tf.reduce_mean(tf.reduce_sum(tf.one_hot(y, W.shape[1]) * logp, axis=1))
    gradients = {v.ref(): g for v, g in zip((W, b), tape.gradient(loss, [W, b])) if g is not None}
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(g * g) for g in gradients.values()]))
    factor = tf.where(norm > limit, limit / norm, 1.0)
    for ref, g in gradients.items():
        v = ref.deref()
        v.assign(v - rate * factor * g)
    return loss


# %% right="train_step"
# Another way: the loss of Keras' kind through tf.losses-free arithmetic, and `tf.cond` for the limit.
def train_step(W, b, x, y, rate, limit):
    free = tuple(v for v in (b, W) if v.trainable)
    with tf.GradientTape() as tape:
        logits = tf.nn.bias_add(tf.matmul(x, W), b)
        picked = tf.gather(logits, y, axis=1, batch_dims=1)
        loss = tf.reduce_mean(tf.reduce_logsumexp(logits, axis=-1) - picked)
    slopes = tape.gradient(loss, free)
    norm = tf.linalg.global_norm(slopes)
    slopes = tf.cond(norm > limit, lambda: [g * (limit / norm) for g in slopes], lambda: [tf.identity(g) for g in slopes])
    for v, g in zip(free, slopes):
        v.assign_add(-rate * g)
    return loss


# %% wrong="train_step" breaks="loss" says="the sum over the rows"
# Misunderstands: the loss of a batch is the sum of its rows' losses.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)
    for v, g in zip(variables, gradients):
        v.assign_sub(rate * g)
    return loss


# %% wrong="train_step" breaks="loss" says="after the step"
# Misunderstands: the loss of a step is what it led to.
def train_step(W, b, x, y, rate, limit):
    def measure():
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))

    with tf.GradientTape() as tape:
        loss = measure()
    variables = [v for v in (W, b) if v.trainable]
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)
    for v, g in zip(variables, gradients):
        v.assign_sub(rate * g)
    return measure()


# %% wrong="train_step" breaks="loss" says="shape"
# Misunderstands: one loss a row is what is returned.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b)
        loss = tf.reduce_mean(losses)
    variables = [v for v in (W, b) if v.trainable]
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)
    for v, g in zip(variables, gradients):
        v.assign_sub(rate * g)
    return losses


# %% wrong="train_step" breaks="overflow" says="`train_step`"
# Misunderstands: exp and log are fine as they stand.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        powers = tf.exp(x @ W + b)
        share = tf.gather(powers, y, axis=1, batch_dims=1) / tf.reduce_sum(powers, axis=1)
        loss = -tf.reduce_mean(tf.math.log(share))
    variables = [v for v in (W, b) if v.trainable]
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)
    for v, g in zip(variables, gradients):
        v.assign_sub(rate * g)
    return loss


# %% wrong="train_step" breaks="clip" says="nothing was clipped"
# Misunderstands: clipping is for recurrent networks.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    for v, g in zip(variables, tape.gradient(loss, variables)):
        v.assign_sub(rate * g)
    return loss


# %% wrong="train_step" breaks="clip" says="by its own norm"
# Misunderstands: each gradient has its own limit.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    for v, g in zip(variables, tape.gradient(loss, variables)):
        v.assign_sub(rate * tf.clip_by_norm(g, limit))
    return loss


# %% wrong="train_step" breaks="clip" says="single entries"
# Misunderstands: clipping by value and by norm are the same.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    for v, g in zip(variables, tape.gradient(loss, variables)):
        v.assign_sub(rate * tf.clip_by_value(g, -limit, limit))
    return loss


# %% wrong="train_step" breaks="clip" says="stretched"
# Misunderstands: the norm is set to the limit.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    gradients = tape.gradient(loss, variables)
    norm = tf.linalg.global_norm(gradients)
    for v, g in zip(variables, gradients):
        v.assign_sub(rate * limit * tf.math.divide_no_nan(g, norm))
    return loss


# %% wrong="train_step" breaks="step" says="up the slope"
# Misunderstands: the gradient points to where the loss falls.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)
    for v, g in zip(variables, gradients):
        v.assign_add(rate * g)
    return loss


# %% wrong="train_step" breaks="step" says="`train_step`"
# Misunderstands: a variable can be given a new value by `=`.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)
    for v, g in zip(variables, gradients):
        v = v - rate * g
    return loss


# %% wrong="train_step" breaks="step" says="`train_step`"
# Misunderstands: Adam is a better step.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)
    for v, g in zip(variables, gradients):
        v.assign_sub(rate * tf.sign(g))
    return loss


# %% wrong="train_step" breaks="frozen" says="train_step"
# Misunderstands: every variable has a gradient.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, [W, b]), limit)
    W.assign_sub(rate * gradients[0])
    b.assign_sub(rate * gradients[1])
    return loss


# %% wrong="train_step" breaks="frozen" says="counts in the norm"
# Misunderstands: a frozen variable only has to stay (its gradient is watched by hand, and counts).
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        tape.watch([W, b])
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, [W, b]), limit)
    for v, g in zip((W, b), gradients):
        if v.trainable:
            v.assign_sub(rate * g)
    return loss


# %% wrong="train_step" breaks="frozen" says="frozen variable was changed"
# Misunderstands: who watches a variable may change it.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        tape.watch([W, b])
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, [W, b]), limit)
    for v, g in zip((W, b), gradients):
        v.assign_sub(rate * g)
    return loss


# %% wrong="train_step" breaks="graph" says="train_step"
# Misunderstands: a tensor has a value to look at, also while a graph is made.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    gradients = tape.gradient(loss, variables)
    norm = tf.linalg.global_norm(gradients)
    if norm > limit:
        gradients = [g * limit / norm for g in gradients]
    for v, g in zip(variables, gradients):
        v.assign_sub(rate * g)
    return loss


# %% wrong="train_step" breaks="graph" says="train_step"
# Misunderstands: the loss is a number.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), limit)
    for v, g in zip(variables, gradients):
        v.assign_sub(rate * g)
    return tf.constant(float(loss))


# %% wrong="train_step" breaks="clip" says="`train_step`"
# Misunderstands: there is always a norm to divide by.
def train_step(W, b, x, y, rate, limit):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x @ W + b))
    variables = [v for v in (W, b) if v.trainable]
    gradients = tape.gradient(loss, variables)
    norm = tf.sqrt(sum(tf.reduce_sum(g**2) for g in gradients))
    for variable, gradient in zip(variables, gradients):
        variable.assign_sub(rate * gradient / norm * tf.minimum(norm, limit))
    return loss


# %% right="make_predict"
# Another way: a tf.Module with a concrete function.
def make_predict(model, width):
    class Service(tf.Module):
        @tf.function(input_signature=(tf.TensorSpec(shape=(None, width), dtype=tf.float32), tf.TensorSpec(shape=(), dtype=tf.float32)))
        def run(self, rows, temperature):
            return tf.exp(tf.nn.log_softmax(model(rows) / temperature, axis=-1))

    service = Service()
    return lambda rows, temperature: np.array(service.run(tf.convert_to_tensor(np.array(rows, dtype="float32")), np.float32(temperature)))


# %% right="make_predict"
# Another way: traced at once, with placeholders; the temperature is applied with NumPy.
def make_predict(model, width):
    graph = tf.function(model).get_concrete_function(tf.TensorSpec([None, width], tf.float32))

    def predict(rows, temperature):
        z = graph(tf.constant(rows, tf.float32)).numpy() / np.float32(temperature)
        z = np.exp(z - z.max(axis=1, keepdims=True))
        return z / z.sum(axis=1, keepdims=True)

    return predict


# %% wrong="make_predict" breaks="once" says="make_predict"
# Misunderstands: tf.function traces once, whatever comes.
def make_predict(model, width):
    @tf.function
    def graph(rows, temperature):
        return tf.nn.softmax(model(tf.cast(rows, tf.float32)) / tf.cast(temperature, tf.float32))

    return lambda rows, temperature: graph(np.asarray(rows), temperature).numpy()


# %% wrong="make_predict" breaks="once" says="ran at every call"
# Misunderstands: without tf.function nothing is traced, so nothing is traced twice.
def make_predict(model, width):
    def predict(rows, temperature):
        return tf.nn.softmax(model(tf.constant(np.asarray(rows, np.float32))) / temperature).numpy()

    return predict


# %% wrong="make_predict" breaks="once" says="ran at every call"
# Misunderstands: the graph is kept by the name of the function (a new one is made at each call).
def make_predict(model, width):
    def predict(rows, temperature):
        graph = tf.function(model, input_signature=[tf.TensorSpec([None, width], tf.float32)])
        return tf.nn.softmax(graph(tf.constant(np.asarray(rows, np.float32))) / temperature).numpy()

    return predict


# %% wrong="make_predict" breaks="once" says="make_predict"
# Misunderstands: reduce_retracing is enough (it begins with a trace for the first shape).
def make_predict(model, width):
    @tf.function(reduce_retracing=True)
    def graph(rows, temperature):
        return tf.nn.softmax(model(rows) / temperature)

    return lambda rows, temperature: graph(tf.constant(np.asarray(rows, np.float32)), tf.constant(float(temperature))).numpy()


# %% wrong="make_predict" breaks="once" says="make_predict"
# Misunderstands: open rows are enough; the temperature is a Python number, and each value a new trace.
def make_predict(model, width):
    @tf.function(reduce_retracing=True)
    def graph(rows, temperature):
        return tf.nn.softmax(model(rows) / temperature)

    return lambda rows, temperature: graph(tf.constant(np.asarray(rows, np.float32)), float(temperature)).numpy()


# %% wrong="make_predict" breaks="values" says="multiplied by the temperature"
# Misunderstands: a high temperature makes scores larger.
def make_predict(model, width):
    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([], tf.float32)])
    def graph(rows, temperature):
        return tf.nn.softmax(model(rows) * temperature)

    return lambda rows, temperature: graph(tf.constant(np.asarray(rows, np.float32)), tf.constant(float(temperature))).numpy()


# %% wrong="make_predict" breaks="values" says="softmax is missing"
# Misunderstands: logits are what a service returns.
def make_predict(model, width):
    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([], tf.float32)])
    def graph(rows, temperature):
        return model(rows) / temperature

    return lambda rows, temperature: graph(tf.constant(np.asarray(rows, np.float32)), tf.constant(float(temperature))).numpy()


# %% wrong="make_predict" breaks="values" says="make_predict"
# Misunderstands: the first temperature is the temperature (a Python number that was built in).
def make_predict(model, width):
    first = []

    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32)])
    def graph(rows):
        return tf.nn.softmax(model(rows) / first[0])

    def predict(rows, temperature):
        first[:] = [float(temperature)]
        return graph(tf.constant(np.asarray(rows, np.float32))).numpy()

    return predict


# %% wrong="make_predict" breaks="values" says="make_predict"
# Misunderstands: a tensor is as good as an array.
def make_predict(model, width):
    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([], tf.float32)])
    def graph(rows, temperature):
        return tf.nn.softmax(model(rows) / temperature)

    return lambda rows, temperature: graph(tf.constant(np.asarray(rows, np.float32)), tf.constant(float(temperature)))


# %% wrong="make_predict" breaks="inputs" says="make_predict"
# Misunderstands: a signature converts what does not fit.
def make_predict(model, width):
    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([], tf.float32)])
    def graph(rows, temperature):
        return tf.nn.softmax(model(rows) / temperature)

    return lambda rows, temperature: graph(tf.constant(rows), tf.constant(float(temperature))).numpy()


# %% wrong="make_predict" breaks="inputs" says="make_predict"
# Misunderstands: a temperature is a float.
def make_predict(model, width):
    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([], tf.float32)])
    def graph(rows, temperature):
        return tf.nn.softmax(model(rows) / temperature)

    return lambda rows, temperature: graph(tf.constant(np.asarray(rows, np.float32)), tf.constant(temperature)).numpy()


# %% wrong="make_predict" breaks="apart" says="make_predict"
# Misunderstands: one graph for all services of the same width.
GRAPHS = {}


def make_predict(model, width):
    if width not in GRAPHS:
        GRAPHS[width] = tf.function(model, input_signature=[tf.TensorSpec([None, width], tf.float32)])
    graph = GRAPHS[width]
    return lambda rows, temperature: tf.nn.softmax(graph(tf.constant(np.asarray(rows, np.float32))) / temperature).numpy()


# %% wrong="make_predict" breaks="inputs" says="make_predict"
# Misunderstands: lists hold floats (whole numbers become int32, which the signature refuses).
def make_predict(model, width):
    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([], tf.float32)])
    def graph(rows, temperature):
        return tf.nn.softmax(model(rows) / temperature)

    def predict(rows, temperature):
        rows = rows.astype(np.float32) if isinstance(rows, np.ndarray) else np.array(rows, type(rows[0][0])).astype(np.float32)
        return graph(tf.constant(rows), tf.constant(float(temperature))).numpy()

    return predict


# %% wrong="make_predict" breaks="values" says="make_predict"
# Misunderstands: the softmax is divided by the temperature.
def make_predict(model, width):
    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32), tf.TensorSpec([], tf.float32)])
    def graph(rows, temperature):
        return tf.nn.softmax(model(rows)) / temperature

    return lambda rows, temperature: graph(tf.constant(np.asarray(rows, np.float32)), tf.constant(float(temperature))).numpy()


# %% right="make_predict"
# Another way: rows are filled up to 70, and the graph is made before the first call.
def make_predict(model, width):
    graph = tf.function(lambda rows, t: tf.nn.softmax(model(rows) / t)).get_concrete_function(tf.TensorSpec([70, width], tf.float32), tf.TensorSpec([], tf.float32))

    def predict(rows, temperature):
        full = np.zeros((70, width), np.float32)
        full[: len(rows)] = rows
        return graph(tf.constant(full), tf.constant(float(temperature))).numpy()[: len(rows)]

    return predict


# %% right="transforms"
# Another way: reverse mode by hand inside vmap; shapes kept in a dictionary of compiled functions.
def row_gradients(loss, parameters, X, y):
    def one(x, label):
        value, back = jax.vjp(lambda p: loss(p, x, label), parameters)
        return back(jnp.ones_like(value))[0]

    return jax.jit(jax.vmap(one))(X, y)


def bucketed(f):
    compiled = {}

    def g(x):
        rows = 1
        while rows < x.shape[0]:
            rows *= 2
        if (rows, x.shape[1]) not in compiled:
            compiled[rows, x.shape[1]] = jax.jit(f).lower(jax.ShapeDtypeStruct((rows, x.shape[1]), jnp.float32)).compile()
        filled = jnp.pad(jnp.asarray(x), ((0, rows - x.shape[0]), (0, 0)))
        return np.asarray(compiled[rows, x.shape[1]](filled))[: x.shape[0]]

    return g


# %% right="transforms"
# Another way: the Jacobian of the vector of all losses; padding repeats the last row.
def row_gradients(loss, parameters, X, y):
    losses = jax.vmap(loss, (None, 0, 0))
    return jax.jacrev(lambda p: losses(p, jnp.asarray(X), jnp.asarray(y)))(parameters)


def bucketed(f):
    inner = jax.jit(f)

    def g(x):
        n = x.shape[0]
        rows = 2 ** math.ceil(math.log2(n))
        return inner(np.concatenate([x, np.repeat(x[-1:], rows - n, axis=0)]))[:n]

    return g


# %% wrong="transforms" breaks="rows" says="without an axis for the rows"
# Misunderstands: the gradient of a batch holds those of its rows.
def row_gradients(loss, parameters, X, y):
    return jax.grad(lambda p: jax.vmap(loss, (None, 0, 0))(p, X, y).sum())(parameters)


def bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        padded = np.zeros((1 << (len(x) - 1).bit_length(), x.shape[1]), "float32")
        padded[: len(x)] = x
        return compiled(padded)[: len(x)]

    return g


# %% wrong="transforms" breaks="rows" says="divided by the number of rows"
# Misunderstands: the loss of a row is its share of the mean.
def row_gradients(loss, parameters, X, y):
    return jax.tree_util.tree_map(lambda g: g / len(X), jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y))


def bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        padded = np.zeros((1 << (len(x) - 1).bit_length(), x.shape[1]), "float32")
        padded[: len(x)] = x
        return compiled(padded)[: len(x)]

    return g


# %% wrong="transforms" breaks="rows" says="row_gradients"
# Misunderstands: a list of gradients is a pytree like the parameters.
def row_gradients(loss, parameters, X, y):
    together = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)
    return jax.tree_util.tree_leaves(together)


def bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        padded = np.zeros((1 << (len(x) - 1).bit_length(), x.shape[1]), "float32")
        padded[: len(x)] = x
        return compiled(padded)[: len(x)]

    return g


# %% wrong="transforms" breaks="mapped" says="ran for each of them"
# Misunderstands: a loop is as good as vmap.
def row_gradients(loss, parameters, X, y):
    each = [jax.grad(loss)(parameters, x, label) for x, label in zip(X, y)]
    return jax.tree_util.tree_map(lambda *parts: jnp.stack(parts), *each)


def bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        padded = np.zeros((1 << (len(x) - 1).bit_length(), x.shape[1]), "float32")
        padded[: len(x)] = x
        return compiled(padded)[: len(x)]

    return g


# %% wrong="transforms" breaks="same" says="shape"
# Misunderstands: the rows that were filled up may stay.
def row_gradients(loss, parameters, X, y):
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)


def bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        padded = np.zeros((1 << (len(x) - 1).bit_length(), x.shape[1]), "float32")
        padded[: len(x)] = x
        return compiled(padded)

    return g


# %% wrong="transforms" breaks="same" says="bucketed"
# Misunderstands: whether zeros stand before or after the rows does not matter.
def row_gradients(loss, parameters, X, y):
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)


def bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        padded = np.zeros((1 << (len(x) - 1).bit_length(), x.shape[1]), "float32")
        padded[len(padded) - len(x) :] = x
        return compiled(padded)[: len(x)]

    return g


# %% wrong="transforms" breaks="powers" says="nothing was filled up"
# Misunderstands: jit copes with any number of rows.
def row_gradients(loss, parameters, X, y):
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)


def bucketed(f):
    return jax.jit(f)


# %% wrong="transforms" breaks="powers" says="filled up to the next one"
# Misunderstands: a power of two is filled up to the next one.
def row_gradients(loss, parameters, X, y):
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)


def bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        padded = np.zeros((1 << len(x).bit_length(), x.shape[1]), "float32")
        padded[: len(x)] = x
        return compiled(padded)[: len(x)]

    return g


# %% wrong="transforms" breaks="powers" says="bucketed"
# Misunderstands: one large shape is the simplest bucket.
def row_gradients(loss, parameters, X, y):
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)


def bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        padded = np.zeros((512, x.shape[1]), "float32")
        padded[: len(x)] = x
        return compiled(padded)[: len(x)]

    return g


# %% wrong="transforms" breaks="once" says="compile once, outside"
# Misunderstands: jit remembers what it compiled for a function that is made anew at each call.
def row_gradients(loss, parameters, X, y):
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)


def bucketed(f):
    def g(x):
        padded = np.zeros((1 << (len(x) - 1).bit_length(), x.shape[1]), "float32")
        padded[: len(x)] = x
        return jax.jit(lambda z: f(z))(padded)[: len(x)]

    return g


# %% wrong="transforms" breaks="powers" says="bucketed"
# Misunderstands: filling up is the point, compiling is not.
def row_gradients(loss, parameters, X, y):
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)


def bucketed(f):
    def g(x):
        padded = np.zeros((1 << (len(x) - 1).bit_length(), x.shape[1]), "float32")
        padded[: len(x)] = x
        return f(jnp.asarray(padded))[: len(x)]

    return g


# %% wrong="transforms" breaks="apart" says="bucketed"
# Misunderstands: compiled functions can be kept by their shape, for all.
def row_gradients(loss, parameters, X, y):
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)


KEPT = {}


def bucketed(f):
    def g(x):
        rows = 1 << (len(x) - 1).bit_length()
        padded = np.zeros((rows, x.shape[1]), "float32")
        padded[: len(x)] = x
        return KEPT.setdefault(padded.shape, jax.jit(f))(padded)[: len(x)]

    return g


# %% equivalent="transforms" because="the labels have one axis, the first and the last"
# - return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(parameters, X, y)
# + return jax.vmap(jax.grad(loss), in_axes=(None, 0, (-1)))(parameters, X, y)


# %% [markdown] rubric="framework_choice"
# - 1.5 points: a choice for each team with a reason that follows from its situation (0.5 each): 1 stays with what runs and carries the weights, or moves with the cost named; 2 rests on gradients of single rows and compiling (JAX, or
#   `torch.func` with a reason); 3 rests on debugging line by line and published models.
# - 0.5 points: for each something that speaks against it (two of three suffice).
# - 1 point: two figures of the notebook, read in the right direction (0.5 each): differences of outputs, counts of traces, computing times.
#
# Another choice earns the same if its reasons hold and rest on a figure.
