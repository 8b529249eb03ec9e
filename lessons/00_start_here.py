# ---
# jupyter:
#   unit24:
#     needs: ["accelerate>=1.0", "matplotlib>=3.8", "numpy>=1.26", "torch>=2.6", "transformers>=4.50"]
# ---

# %% [markdown]
# # 00 · Start here
#
# **You will build** a planner for training jobs. It says how many hours a job takes, how much memory, and which machine
# holds it, free or rented. Before that you run a language model, and on the way you measure how far your own estimates are off.
#
# **You need first** Python: functions, lists, dictionaries. No GPU.
#
# **Time** about 45 minutes: five exercises, 15 points, and a written answer, 2 points. The first two cells load libraries, which takes up to a minute.
#
# | question before a job | what answers it | exercise |
# |---|---|---|
# | does the tool chain run here at all? | a first answer from a model | `answer` |
# | how long? | batches × seconds of a batch | `training_hours` |
# | does it fit? | bytes of a parameter × parameters | `memory_gib` |
# | how good is my guess? | a guess from the configuration, then a count | `predict` |
# | where? | a table of machines | `choose` |
#
# A folded cell with the title "Tests of exercise …" stands below each exercise. Write your code into the cell above it, run both, and
# read what the tests say; what is in the folded cell you need not read. Three hints are folded there, too.

# %% setup

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from accelerate.utils import calculate_maximum_sizes
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from unit24 import cases, check, claims

# %% [markdown]
# ## 1 · Where am I?
#
# The line that the cell above printed says it: the platform, the versions, the device. A **device** is where a tensor lies and
# where it is computed with: `cpu`, `cuda` (an NVIDIA GPU) or `mps` (an Apple GPU). All graded work of this course runs on `cpu`.

# %%
device = torch.device(env.device)
x = torch.ones(2, 3, device=device)
print("platform:", env.platform, "  device:", x.device, "  threads of the CPU:", torch.get_num_threads())

# %% [markdown]
# ## 2 · A first answer
#
# Everything that generates text with the library `transformers` has the same four steps: a **tokenizer** cuts text into pieces, the
# *tokens*, each with a number; a **model** gives a score to each possible next token; `generate` picks one after the other; and the tokenizer makes text of
# them again. A chat model was trained on a fixed form of conversation. `apply_chat_template` writes that form.
#
# The model below ships with the course. It has under a million parameters, and it can add, sort lists and little else. The
# code is the same for a model ten thousand times as large.

# %%
name = env.model("chat")
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name).eval()
inputs = tokenizer("The list", return_tensors="pt")  # a dictionary: the tokens' numbers, and which of them count
output = model.generate(**inputs, do_sample=False, max_new_tokens=6)  # ** hands its entries over as arguments
print("given:", inputs["input_ids"].tolist(), "  given and written:", output.tolist())
print("as text:", repr(tokenizer.decode(output[0])))
chat = [{"role": "user", "content": "What is 3 + 4?"}]
print("what the model reads:", tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
print("without the last option:", tokenizer.apply_chat_template(chat, tokenize=False))

# %% [markdown]
# `generate` returns what it was given and what it wrote, in one row. `do_sample=False` always takes the token with the highest score.
#
# In the form of a chat, the mark at the end of the line "what the model reads" says "now the assistant speaks". Without it the model has to guess whose turn it is.
#
# ### Exercise 1 · A first answer (`answer`, 3 points, 5 minutes, difficulty 1 of 3)
#
# Write `answer(model, tokenizer, question, limit)`. `model` and `tokenizer` are those above, `question` is a text of 1 to 60
# characters without marks such as `<|end|>`, `limit` a whole number from 1 to 24.
#
# - The question is the only message, of the role `user` and letter by letter (blanks and line ends before and after it count), in the tokenizer's chat
#   template, followed by the mark that makes it the assistant's turn. <!-- rule: template -->
# - The model writes until it has written `<|end|>`, but at most `limit` tokens. <!-- rule: limit -->
# - It always takes the token with the highest score (*greedy*): no random number is drawn. <!-- rule: greedy -->
# - The text that is returned is what the model wrote, and not what it read. <!-- rule: reply -->
# - Special tokens, which are marks such as `<|end|>` and `<|user|>`, are not in the text. <!-- rule: special -->


# %% exercise="answer" minutes=5 difficulty=1
def answer(model, tokenizer, question: str, limit: int) -> str:
    """What the chat model answers to `question`, in at most `limit` tokens."""
    ### BEGIN SOLUTION
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=limit)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    ### END SOLUTION


# %% tests="answer" points=3
@check.scenario
def answered(question, limit):
    before = check.random_state()
    return answer(model, tokenizer, question, limit), before, check.random_state()


def reply_to(prompt, limit, first=0, ends=True):
    """What the model writes after a prompt, always the token with the highest score; `first`: tokens of the prompt that are kept."""
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
    kept = ids.shape[1] if first is None else first
    with torch.no_grad():
        for _ in range(limit):
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
            if ends and ids[0, -1] == model.config.eos_token_id:
                break
    return ids[0, kept:]


def as_text(question, limit, turn=True, written=True, special=False, ends=True):
    chat = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=turn)
    return tokenizer.decode(reply_to(prompt, limit, None if written else 0, ends), skip_special_tokens=not special)


def without_template(question, limit):
    return tokenizer.decode(reply_to(question, limit, None), skip_special_tokens=True)


with check.exercise("answer"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for seed in seeds:
        random = np.random.default_rng(seed)
        a, b, c = random.integers(2, 90, 3).tolist()
        for question, limit in (
            (f"What is {a} + {b}?", 24),
            (f"Sort: {c} {a} {b}", 24),
            (f"How many days has month {c % 12 + 1}?", 24),
            (f"How many days has month {c % 12 + 1}?", int(random.integers(4, 7))),
            (f"Tell me about lists and {a} loops.", 24),
            (f"What is {a + 100} + {b + 100}?", 1),
            (f"What  is {a}  +\n{b}?  How many days has month {c % 12 + 1}?", 24),
            ("?", 24),
            ("   Who are you?", 24),
            (f"\nSort: {c} 4 {b} ", 24),
        ):
            got, before, now = answered(question, limit)
            check.equal(
                got,
                as_text(question, limit),
                f"`answer` to {question!r} with a limit of {limit}",
                "the question alone in the chat template, then the token with the highest score, again and again, until the end or the limit",
                causes={
                    "the mark of the assistant's turn is missing (`add_generation_prompt`)": lambda: as_text(question, limit, turn=False),
                    "the question stands there too: cut the tokens of the prompt off": lambda: as_text(question, limit, written=False),
                    "special tokens are text, too, unless `decode` is told to skip them": lambda: as_text(question, limit, special=True),
                    "the question went to the model without its chat template": lambda: without_template(question, limit),
                    "the limit counts what the model writes, not what it reads (`max_new_tokens`)": lambda: as_text(question, 24),
                    "blanks and line ends around the question count": lambda: as_text(question.strip(), limit),
                    "it goes on after `<|end|>`": lambda: as_text(question, limit, ends=False),
                },
            )
            check.unchanged(now, before, f"the state of random numbers after `answer` to {question!r}", "greedy draws none: `do_sample=False`")

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# `generate` returns one row of numbers: those that it was given, then those that it wrote. How many were given?
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# `tokenizer.apply_chat_template` with `add_generation_prompt=True`, `return_tensors="pt"` and `return_dict=True`, which gives a dictionary as above;
# `model.generate` with `do_sample=False` and `max_new_tokens`; `tokenizer.decode` with `skip_special_tokens=True`.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `output = model.generate(**inputs, do_sample=False, max_new_tokens=limit)`, and of `output[0]` only what stands behind the first
# `inputs["input_ids"].shape[1]` numbers.
# </details>

# %%
for question in ("What is 17 + 25?", "Sort: 9 4 7", "What is the capital of France?"):
    print(f"{question:32} {answer(model, tokenizer, question, 24)}")

# %% [markdown]
# The sum is right. The capital is not, and it is said with the same ease: the model has no way to say that it does not know.
#
# ## 3 · How long?
#
# Training goes through all examples, one **batch** after the other; one time through is an **epoch**. For each batch the model
# computes its prediction (the *forward* pass), then how each of its numbers should change (the *backward* pass). The backward pass costs
# about twice the forward pass (Kaplan et al., *Scaling Laws for Neural Language Models*, 2020, section 2.1,
# https://arxiv.org/abs/2001.08361). So a training step costs three forward passes.
#
# An example: 1,000,000 examples in batches of 64 are 15,625 batches. With 0.2 seconds for a forward pass that is
# 15,625 × 3 × 0.2 s = 9,375 s, or 2.6 hours. Whoever takes 0.6 s for the forward pass, though it was the whole step, multiplies by
# 3 twice and plans 7.8 hours. Write down what a figure is about before you multiply it.
#
# ### Exercise 2 · Hours of a job (`training_hours`, 3 points, 5 minutes, difficulty 1 of 3)
#
# Write `training_hours(examples, epochs, batch, forward_seconds)`: `examples` (1 to 10 million), `epochs` (1 to 20) and `batch` (1 to
# 4,096) are whole numbers, `forward_seconds` is the time of one forward pass of a batch, from 0.0001 to 10.
#
# - A training step takes three times the time of its forward pass. <!-- rule: step -->
# - Each epoch begins a new batch. Its last batch may be smaller, and takes as long as a whole one. <!-- rule: last -->
# - All epochs count. <!-- rule: epochs -->
# - The result is in hours. <!-- rule: hours -->


# %% exercise="training_hours" minutes=5 difficulty=1
def training_hours(examples: int, epochs: int, batch: int, forward_seconds: float) -> float:
    """Hours that a training job takes."""
    ### BEGIN SOLUTION
    steps = epochs * math.ceil(examples / batch)
    return steps * 3 * forward_seconds / 3600
    ### END SOLUTION


# %% tests="training_hours" points=3
def hours(examples, epochs, batch, forward_seconds, rounded=lambda n: -int(-n // 1), passes=3, unit=3600):
    return float(rounded(examples / batch) * epochs * passes * forward_seconds / unit)


with check.exercise("training_hours"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "examples": cases.integer(1, 10_000_000),
        "epochs": cases.integer(1, 20),
        "batch": cases.integer(1, 4096),
        "forward_seconds": cases.number(1e-4, 10),
    }
    few = domain | {"examples": cases.integer(1, 300), "batch": cases.integer(1, 64)}
    for some in (few, domain):
        check.agrees(
            training_hours,
            hours,
            cases.draw(seeds, some, count=20),
            "`training_hours`",
            "batches of all epochs × 3 forward passes, in hours",
            causes={
                "the last, smaller batch of an epoch is a batch, too": lambda *a: hours(*a, rounded=math.floor),
                "a part of a batch takes as long as a whole one": lambda *a: hours(*a, rounded=float),
                "the epochs are not one long row: each begins a new batch": lambda n, epochs, *a: hours(n * epochs, 1, *a),
                "only one epoch is counted": lambda n, epochs, *a: hours(n, 1, *a),
                "the backward pass alone costs two forward passes: three in all": lambda *a: hours(*a, passes=2),
                "the backward pass is missing": lambda *a: hours(*a, passes=1),
                "the result is in seconds": lambda *a: hours(*a, unit=1),
                "the result is in minutes": lambda *a: hours(*a, unit=60),
            },
        )

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Count batches first, then multiply. 10 examples in batches of 4 are three batches, in each epoch.
# </details>
# <details><summary>Hint 2: which function</summary>
#
# `math.ceil` rounds up. An hour has 3,600 seconds.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# `steps = epochs * math.ceil(examples / batch)`; a step takes `3 * forward_seconds`.
# </details>

# %%
batches = np.array([8, 16, 32, 64, 128, 256])
figure, panel = plt.subplots(figsize=(7, 3.2), layout="constrained")
for seconds in (0.05, 0.2):
    panel.plot(batches, [training_hours(1_000_000, 1, int(b), seconds) for b in batches], "o-", label=f"{seconds} s a forward pass")
panel.set(title="One epoch of 1,000,000 examples", xlabel="examples in a batch", ylabel="hours")
panel.legend()
plt.show()

# %% [markdown]
# Larger batches look cheaper here only because the time of a forward pass was held fixed. On a GPU that is nearly so until it has enough
# to do; from then on twice the batch takes twice the time. So measure the seconds at the batch size that you will use.
#
# ## 4 · Does it fit?
#
# A model that only answers must keep its weights, usually as *bfloat16*, numbers of two bytes (a T4 has only float16, of the same size). Training keeps more for each
# weight that it changes: its *gradient*, which says in which direction it should go, and what the *optimizer* that moves it remembers. With AdamW and mixed precision, the usual choice,
# that is (Rajbhandari et al., *ZeRO*, 2020, section 3.1, https://arxiv.org/abs/1910.02054):
#
# | for each trained parameter | bytes |
# |---|---|
# | the weight in bfloat16, to compute with | 2 |
# | its gradient in bfloat16 | 2 |
# | the weight in float32, to add small steps to | 4 |
# | two averages of AdamW in float32 | 8 |
#
# **LoRA** leaves the weights of the model as they are and trains small matrices beside them, the *adapter*: often less than 1 % of the
# parameters (lesson 12). **QLoRA** also stores the weights that stay in 4 bits each, and the scales of its blocks take another 0.127 bits of
# each parameter (Dettmers et al., *QLoRA*, 2023, section 3, https://arxiv.org/abs/2305.14314).
#
# What the batch itself needs, the *activations*, comes on top. It depends on batch size and length, and lesson 12 measures it.
#
# ### Exercise 3 · Memory of a job (`memory_gib`, 3 points, 7 minutes, difficulty 1 of 3)
#
# Write `memory_gib(parameters, method, adapter)`. `parameters` is the number of parameters of the model (1 to 500 billion), `adapter` that of
# the adapter (0 to 10 billion), which is there for `"lora"` and `"qlora"` only: with the other methods it is not counted.
#
# - `"inference"`: all weights in bfloat16, 2 bytes each. <!-- rule: inference -->
# - `"full"`: all parameters are trained; each takes what the table says. <!-- rule: full -->
# - `"lora"`: the model's weights in bfloat16, and each parameter of the adapter takes what the table says. <!-- rule: lora -->
# - `"qlora"`: the model's weights in 4.127 bits each, and each parameter of the adapter takes what the table says. <!-- rule: qlora -->
# - The result is in GiB, of 2³⁰ bytes each: the unit in which a GPU's 15 or 24 "GB" are usually meant. <!-- rule: gib -->
# - Another method raises a `ValueError`. <!-- rule: unknown -->


# %% exercise="memory_gib" minutes=7 difficulty=1
def memory_gib(parameters: int, method: str, adapter: int = 0) -> float:
    """GiB that weights, gradients and the optimizer's state take."""
    ### BEGIN SOLUTION
    if method == "inference":
        total = 2 * parameters
    elif method == "full":
        total = 16 * parameters
    elif method == "lora":
        total = 2 * parameters + 16 * adapter
    elif method == "qlora":
        total = 4.127 / 8 * parameters + 16 * adapter
    else:
        raise ValueError(f"unknown method {method!r}")
    return total / 2**30
    ### END SOLUTION


# %% tests="memory_gib" points=3
KEPT = {"inference": 2, "full": 16, "lora": 2, "qlora": 4.127 / 8}  # bytes of each parameter of the model


def bytes_in_all(parameters, method, adapter, trained=16, kept=KEPT, unit=2**30):
    if method not in kept:
        raise ValueError(method)
    return (kept[method] * parameters + (trained * adapter if method in ("lora", "qlora") else 0)) / unit


with check.exercise("memory_gib"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    domain = {
        "parameters": cases.integer(1, 500_000_000_000),
        "method": cases.choice("inference", "full", "lora", "qlora", "", "LoRA", "adalora", "full-lora", " lora", "qlora\n", "inference "),
        "adapter": cases.integer(0, 10_000_000_000),
    }
    small = domain | {"parameters": cases.integer(1, 3_000_000_000), "adapter": cases.integer(0, 1_000_000_000)}
    for some in (domain, small):
        check.agrees(
            memory_gib,
            bytes_in_all,
            cases.draw(seeds, some, count=20),
            "`memory_gib`",
            "bytes by the table, divided by 2**30; only LoRA and QLoRA have an adapter",
            causes={
                "that is in GB of 10**9 bytes": lambda *a: bytes_in_all(*a, unit=1e9),
                "4.127 are bits: 8 of them are a byte": lambda *a: bytes_in_all(*a, kept=KEPT | {"qlora": 4.127}),
                "the scales of the blocks are missing": lambda *a: bytes_in_all(*a, kept=KEPT | {"qlora": 0.5}),
                "the adapter is trained: 16 bytes a parameter": lambda *a: bytes_in_all(*a, trained=2),
                "the adapter is missing": lambda *a: bytes_in_all(*a, trained=0),
                "the adapter's parameters need the float32 copy too": lambda *a: bytes_in_all(*a, trained=12),
                "the float32 copy of the weights is missing": lambda *a: bytes_in_all(*a, trained=12, kept=KEPT | {"full": 12}),
                "the gradients are missing": lambda *a: bytes_in_all(*a, trained=14, kept=KEPT | {"full": 14}),
                "this method has no adapter": lambda p, m, a: bytes_in_all(p, m, a) + (0 if "lora" in m else 16 * a / 2**30),
            },
        )

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# For each method: which parameters are trained, and which only lie there? The first take 16 bytes each.
# </details>
# <details><summary>Hint 2: which numbers</summary>
#
# 2, 16, 2 and 4.127 / 8 bytes for a parameter of the model; 16 for one of the adapter.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# Four branches that set `total`, one that raises, and `return total / 2**30`.
# </details>

# %%
METHODS = ("inference", "qlora", "lora", "full")
SIZES = {"1B": 1_000_000_000, "3B": 3_200_000_000, "8B": 8_000_000_000, "70B": 70_000_000_000}
figure, panel = plt.subplots(figsize=(8, 3.4), layout="constrained")
for i, method in enumerate(METHODS):
    heights = [memory_gib(n, method, n // 100) for n in SIZES.values()]
    panel.bar(np.arange(len(SIZES)) + 0.2 * i - 0.3, heights, 0.2, label=method)
panel.axhline(15, color="grey", linestyle="--", label="a T4: 15 GiB")
panel.set_xticks(range(len(SIZES)), SIZES)
panel.set(title="Memory without activations, adapter of 1 %", xlabel="parameters of the model", ylabel="GiB", yscale="log")
panel.legend(ncols=3, fontsize=8)
plt.show()

# %% [markdown]
# ## 5 · Guess, then count
#
# An estimate is worth something when you know how far it is off. The configuration of a model says its size before a single weight is
# loaded. A *Llama* consists of these matrices. What their names mean is for lesson 07; here only their shapes count.
#
# | where | shapes |
# |---|---|
# | embedding, once | `vocab_size × hidden_size` |
# | attention, in each of `num_hidden_layers` layers | queries `hidden_size × (num_attention_heads · head_dim)`, keys and values each `hidden_size × (num_key_value_heads · head_dim)`, output `(num_attention_heads · head_dim) × hidden_size` |
# | feed-forward, in each layer | three times `hidden_size × intermediate_size` |
# | output layer, once | `vocab_size × hidden_size`; where `tie_word_embeddings` is true it is the embedding itself |
#
# and of a few vectors of length `hidden_size`, which matter little. Each weight of a matrix is used in one multiplication and one addition
# for every token: 2 operations in the forward pass, 6 in a training step. That is the rule of thumb *6 × parameters × tokens*. A look-up in the
# embedding multiplies nothing. The output layer does, tied or not.

# %%
config = AutoConfig.from_pretrained(name)
print({key: getattr(config, key) for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")})
print({key: getattr(config, key) for key in ("num_attention_heads", "num_key_value_heads", "head_dim", "tie_word_embeddings")})
queries = config.hidden_size * config.num_attention_heads * config.head_dim
print(f"for example, the queries of one layer: {config.hidden_size} x ({config.num_attention_heads} · {config.head_dim}) = {queries:,} weights")

# %% [markdown]
# ### Exercise 4 · Predict a training step (`predict`, 3 points, 8 minutes, difficulty 2 of 3)
#
# Write `predict(config, tokens)`. `config` is a `LlamaConfig` (without biases), `tokens` the number of tokens of a training step in all its sequences together, 1 or more.
# It returns a dictionary of three numbers. Each earns a third of the points if it lies near enough to what is counted.
#
# - `"parameters"`: how many different numbers the model `AutoModelForCausalLM.from_config(config)` has, within 1 %: a matrix that is used twice
#   counts once. <!-- rule: parameters -->
# - `"bytes"`: what weights, gradients and AdamW's two averages take after a step when all of them are in float32, within 1 %. <!-- rule: bytes -->
# - `"operations"`: of forward and backward pass for `tokens` tokens, within 10 % of what PyTorch counts when each sequence is short (12 tokens or fewer), so
#   that attention's own products do not matter. <!-- rule: operations -->
#
# The tests make small models (up to four layers, a hidden size up to 160), train one step and count. At work you do without a
# model: at 70 billion parameters there is no room for one.


# %% exercise="predict" minutes=8 difficulty=2
def predict(config, tokens: int) -> dict[str, float]:
    """Parameters, bytes (float32, AdamW) and operations of a training step, from a LlamaConfig."""
    ### BEGIN SOLUTION
    heads = config.num_attention_heads * config.head_dim
    groups = config.num_key_value_heads * config.head_dim
    layer = config.hidden_size * (2 * heads + 2 * groups + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    matrices = config.num_hidden_layers * layer + output
    vectors = (2 * config.num_hidden_layers + 1) * config.hidden_size
    parameters = matrices + vectors + (0 if config.tie_word_embeddings else output)
    return {"parameters": parameters, "bytes": 16 * parameters, "operations": 6 * matrices * tokens}
    ### END SOLUTION


# %% tests="predict" points=3
@check.scenario
def predicted(settings, tokens):
    return predict(LlamaConfig(**settings), tokens)


def some_settings(seed):
    """Small models of all kinds: tied or not, heads that share keys or not, with a width of their own or not."""
    random = np.random.default_rng(seed)
    for tied in (True, False, True, False, True, False):
        groups, times, width = int(random.integers(1, 4)), int(random.integers(1, 4)), int(random.integers(5, 9)) * 4
        yield {
            "vocab_size": int(random.integers(300, 2500)),
            "hidden_size": groups * times * (int(random.integers(64, 160)) // (groups * times)),
            "intermediate_size": int(random.integers(40, 400)),
            "num_hidden_layers": int(random.integers(1, 5)),
            "num_attention_heads": groups * times,
            "num_key_value_heads": groups,
            "head_dim": width,
            "tie_word_embeddings": tied,
        }


def counted(settings, rows, length):
    """Parameters, bytes and operations of a real training step."""
    torch.manual_seed(0)
    small = AutoModelForCausalLM.from_config(LlamaConfig(**settings))
    optimizer = torch.optim.AdamW(small.parameters())
    ids = torch.arange(rows * length).view(rows, length) % settings["vocab_size"]
    with FlopCounterMode(display=False) as counter:
        small(ids, labels=ids).loss.backward()
    optimizer.step()
    states = [v for state in optimizer.state.values() for v in state.values() if v.ndim]
    kept = [t for p in small.parameters() for t in (p, p.grad)] + states
    return {
        "parameters": sum(p.numel() for p in small.parameters()),
        "bytes": sum(t.numel() * t.element_size() for t in kept),
        "operations": counter.get_total_flops(),
    }


def check_part(part, distance, hint):
    def compare():
        for settings, tokens, expected in steps:
            got = predicted(settings, tokens)
            check.kind(got, dict, "the result of `predict`")
            check.true(part in got, f"the result of `predict` has no {part!r}")
            check.between(
                got[part] / expected[part],
                1 - distance,
                1 + distance,
                f"for {settings} and {tokens} tokens, {part!r} over the {expected[part]:,} that were counted",
                hint,
            )

    return compare


with check.exercise("predict"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    batches = ((1, 2), (1, 12), (80, 8))
    steps = [(s, rows * n, counted(s, rows, n)) for seed in seeds for s, (rows, n) in zip(some_settings(seed), batches * 2)]
    check.parts(
        {
            "parameters": check_part("parameters", 0.01, "embedding, layers, output layer (the embedding itself where it is tied)"),
            "bytes": check_part("bytes", 0.01, "weight, gradient and two averages: four numbers of 4 bytes for each parameter"),
            "operations": check_part("operations", 0.1, "6 for each weight of a matrix and each token; the look-up in the embedding has none"),
        }
    )
check.points(3)

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Add up the matrices of one layer, multiply by the layers, then add what is there once. Which of these are multiplied with every token?
# </details>
# <details><summary>Hint 2: which numbers</summary>
#
# Queries and output have `num_attention_heads * head_dim` columns, keys and values `num_key_value_heads * head_dim`. float32 takes 4 bytes.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# With `layer` and `output = vocab_size * hidden_size`: the matrices that multiply are `num_hidden_layers * layer + output`; an embedding that is
# not tied adds `output` parameters and no operation.
# </details>

# %% [markdown]
# Your guess against this machine, for the model of section 2. The operations become seconds by the speed of the machine, which one product of
# two large matrices measures. Seconds are not graded: they differ from run to run.

# %%
def median_seconds(run, times=7):
    """The median over some runs, after one that does not count."""
    run()
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        run()
        spent.append(time.perf_counter() - begin)
    return sorted(spent)[len(spent) // 2]


side = 768
left, right = torch.randn(side, side), torch.randn(side, side)
speed = 2 * side**3 / median_seconds(lambda: left @ right)
ids = torch.arange(4 * 128).view(4, 128) % config.vocab_size
trained = AutoModelForCausalLM.from_pretrained(name)
optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-4)


def training_step():
    optimizer.zero_grad()
    trained(ids, labels=ids).loss.backward()
    optimizer.step()


guess = predict(config, ids.numel())
guessed, needed = guess["operations"] / speed, median_seconds(training_step)
share = guessed / needed
total, _ = calculate_maximum_sizes(trained)
env.seed()  # as if the training above had not drawn
print(f"this machine multiplies at {speed / 1e9:.0f} billion operations a second")
print(f"a training step: guessed {1000 * guessed:.0f} ms, measured {1000 * needed:.0f} ms; so {share:.0%} of the matrix product's speed")
print(f"memory: guessed {guess['bytes'] / 2**20:.1f} MiB; accelerate's estimate for training with Adam: {4 * total / 2**20:.1f} MiB")

# %% [markdown]
# The memory agrees with the estimate of the library `accelerate`, which needs a model for it and knows neither LoRA nor time. The share
# in the second line is a **utilisation**: what a real step gets out of a machine's best speed, here that of one large product. For a GPU the maker's figure takes its place, which
# is harder to reach: a small model waits for memory and for Python most of the time.
#
# ## 6 · Where?
#
# Free machines have rules, and rules change. The table holds what the sources said on the date beside it. Edit it when they say something
# else: everything below computes from it. `gib` is the memory of one GPU. `session_hours` is how long a notebook may run, `week_hours` how much
# you can count on in a week. Colab publishes no figure for the week, so one session is all that is counted on here.

# %%
PLATFORMS = [
    {"name": "Colab, free", "gpu": "T4", "gib": 15, "session_hours": 12, "week_hours": 12, "unattended": False, "dollars_per_hour": 0.0,
     "source": "research.google.com/colaboratory/faq.html", "date": "2026-11"},
    {"name": "Kaggle", "gpu": "T4, two of them, or P100", "gib": 15, "session_hours": 9, "week_hours": 30, "unattended": True, "dollars_per_hour": 0.0,
     "source": "kaggle.com/docs/notebooks", "date": "2026-11"},
    {"name": "EC2 g5.xlarge", "gpu": "A10G", "gib": 22, "session_hours": 168, "week_hours": 168, "unattended": True, "dollars_per_hour": 1.006,
     "source": "aws.amazon.com/ec2/pricing/on-demand, us-east-1", "date": "2026-06"},
    {"name": "EC2 g6e.xlarge", "gpu": "L40S", "gib": 44, "session_hours": 168, "week_hours": 168, "unattended": True, "dollars_per_hour": 1.861,
     "source": "aws.amazon.com/ec2/pricing/on-demand, us-east-1", "date": "2026-03"},
]  # fmt: skip
for p in PLATFORMS:
    print(f"{p['name']:15} {p['gpu']:25} {p['gib']:3} GiB  {p['session_hours']:3} h a session  {p['week_hours']:3} h a week  {p['dollars_per_hour']:.2f} $/h  ({p['date']})")

# %% [markdown]
# ### Exercise 5 · Choose a machine (`choose`, 3 points, 7 minutes, difficulty 2 of 3)
#
# Write `choose(platforms, gib, hours, resumes, unattended)`. `platforms` is a list of dictionaries as above (0 to 12 of them, with other numbers), `gib` the
# memory of the job (0.5 to 100), `hours` its length (0.1 to 200). Prices have up to three decimals. `resumes` and `unattended` are true or false. It returns the **name** of the machine to take, and leaves the list and what is in it as it was.
#
# - The machine has at least the memory of the job. <!-- rule: memory -->
# - A job that resumes from its last checkpoint may be spread over several sessions of one week; then its hours are at most `week_hours`. One that does
#   not must end within one session, and within `week_hours`. <!-- rule: hours -->
# - If nobody will sit there (`unattended` is true), the machine must be one that runs unattended. <!-- rule: unattended -->
# - Of the machines that are left, the one with the lowest price for the whole job. <!-- rule: price -->
# - At equal price the one with more memory; at equal memory the one that stands first. <!-- rule: ties -->
# - If none is left, `None`. <!-- rule: none -->


# %% exercise="choose" minutes=7 difficulty=2
def choose(platforms: list[dict], gib: float, hours: float, resumes: bool, unattended: bool) -> str | None:
    """Name of the cheapest of `platforms` that holds the job, or None."""
    ### BEGIN SOLUTION
    def holds(p):
        limit = p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])
        return p["gib"] >= gib and limit >= hours and (p["unattended"] or not unattended)

    left = [p for p in platforms if holds(p)]
    if not left:
        return None
    return min(left, key=lambda p: (p["dollars_per_hour"], -p["gib"]))["name"]
    ### END SOLUTION


# %% tests="choose" points=3
def some_platforms(seed):
    """Tables in which every limit is met exactly, missed by a little and by much, and prices and memories are equal now and then."""
    random = np.random.default_rng(seed)

    def one_of(*options):
        return options[int(random.integers(len(options)))]

    for count in (0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12) * 2:
        table = [
            {
                "name": f"machine {chr(65 + i)}",
                "gpu": "GPU",
                "gib": one_of(15, 15, 22, 44, 80),
                "session_hours": one_of(4, 9, 12, 40),
                "week_hours": one_of(6, 12, 30, 168),
                "unattended": bool(random.integers(2)),
                "dollars_per_hour": one_of(0.0, 0.0, 0.001, 1.006, 1.007, 1.861),
                "source": "",
                "date": "",
            }
            for i in random.permutation(count)
        ]
        yield table, one_of(3.5, 3.5, 15, 15.1, 22, 44), one_of(1.5, 6, 9, 9.5, 12, 29.5), bool(random.integers(2)), bool(random.integers(4) == 0)


def machine(table, gib, hours, resumes, unattended, memory=True, time=True, alone=True, both=True, ties=True, dear=False):
    left = []
    for p in table:
        ends = hours <= p["week_hours"] and (hours <= p["session_hours"] or (resumes and both))
        if (p["gib"] >= gib or not memory) and (ends or not time) and (p["unattended"] or not unattended or not alone):
            left.append(p)
    best = None
    for p in left:
        order = (-p["dollars_per_hour"] if dear else p["dollars_per_hour"], -p["gib"] if ties else 0)
        if best is None or order < best[0]:
            best = order, p["name"]
    return best and best[1]


JOB = ("platforms", "gib", "hours", "resumes", "unattended")


def rows(table):
    """A table in words, without what decides nothing."""
    return "; ".join(
        f"{p['name']}: {p['gib']} GiB, {p['session_hours']} h a session, {p['week_hours']} h a week, "
        f"{'unattended' if p['unattended'] else 'attended only'}, {p['dollars_per_hour']} $/h"
        for p in table
    ).join("[]")


with check.exercise("choose"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    jobs = sorted((job for seed in seeds for job in some_platforms(seed)), key=lambda job: len(job[0]))
    check.agrees(
        choose,
        machine,
        [cases.Case(dict(zip(JOB, job)), dict(zip(JOB, (rows(job[0]), *map(str, job[1:]))))) for job in jobs],
        "`choose`",
        "memory, hours and presence decide who is left; then price, then memory, then place",
        causes={
            "its memory is too small": lambda *a: machine(*a, memory=False),
            "its hours do not suffice": lambda *a: machine(*a, time=False),
            "a job that resumes may take several sessions": lambda *a: machine(*a, both=False),
            "it does not run unattended": lambda *a: machine(*a, alone=False),
            "at equal price more memory wins": lambda *a: machine(*a, ties=False),
            "a cheaper one would do": lambda *a: machine(*a, dear=True),
        },
    )

# %% [markdown]
# <details><summary>Hint 1: what to think about</summary>
#
# Two steps: which machines hold the job at all, and which of these is best. The second has an order: price, then memory, then place.
# </details>
# <details><summary>Hint 2: which functions</summary>
#
# A list comprehension for the first step, `min` with a `key` that returns a tuple for the second. `min` keeps the first of equals.
# </details>
# <details><summary>Hint 3: most of the code</summary>
#
# The limit of hours is `week_hours` if the job resumes, else the smaller one of `session_hours` and `week_hours`. The key is
# `(p["dollars_per_hour"], -p["gib"])`.
# </details>

# %% [markdown]
# ## A claim, measured
#
# "You can fine-tune a 3B model for free." Take LoRA on 50,000 examples of 256 tokens, five epochs. The weights of the model stay as they are, so
# the backward pass need not compute their gradients: of the 6 operations a weight and token, 2 forward and 4 back, 2 fall away. A T4 is sold with 65 trillion operations a second in float16
# (NVIDIA, *T4 datasheet*, 2019); how much of it a job gets is the utilisation.

# %%
weights, tokens_in_all = 3_200_000_000, 50_000 * 5 * 256
needs_gib = {m: memory_gib(weights, m, weights // 100) + 3 for m in ("full", "lora", "qlora")}  # 3 GiB for activations and the driver
chosen = {}
for utilisation in (0.2, 0.3, 0.4):
    job_hours = 4 * weights * tokens_in_all / (65e12 * utilisation) / 3600
    chosen[utilisation] = choose(PLATFORMS, needs_gib["lora"], job_hours, resumes=True, unattended=False)
    print(f"utilisation {utilisation:.0%}: {job_hours:4.1f} h, LoRA needs {needs_gib['lora']:.1f} GiB: {chosen[utilisation]}")
whole = choose(PLATFORMS, needs_gib["full"], 12.0, resumes=True, unattended=False)
print(f"the same with all parameters trained: {needs_gib['full']:.0f} GiB: {whole}")
claims.record(
    "a 3B LoRA run on 50,000 examples, five epochs, is free",
    claimed="a free tier holds it",
    measured=", ".join(f"{u:.0%} utilisation: {where}" for u, where in chosen.items()),
    holds=set(chosen.values()) <= {"Colab, free", "Kaggle"},
    how="your own memory_gib and choose on the table above; resumes from checkpoints",
)
hours_of_example = training_hours(1_000_000, 1, 64, 0.2)
claims.record(
    "one epoch of 1,000,000 examples, 64 at a time with a forward pass of 0.2 s, takes a working day",
    claimed="8 hours (the factor 3 taken twice)",
    measured=f"{hours_of_example:.1f} hours",
    holds=7 <= hours_of_example <= 9,
    how="training_hours(1_000_000, 1, 64, 0.2): forward and backward pass are three forward passes",
)

# %% [markdown]
# The memory is no question: LoRA leaves room on 15 GiB. The hours are. With a utilisation of 30 % the job fits into Colab's longest session by minutes, and nobody promises that
# session; with 20 % only Kaggle's week holds it, in two sessions of nine hours. So it must save checkpoints and go on from them (lesson 04). Training all parameters fits none of these machines.
#
# ## Put it in words
#
# **Question (`measurable_task`, 2 points).** A shop's owner says: "We want AI to make our customer mail faster." Write this down as a task that can be
# measured, in at most eight sentences: what goes in and what comes out; which data there is to learn from; the measure, and how good the
# simplest method is by it; from which value on it is worth it; what it may cost in time or money.

# %% [markdown] answer="measurable_task" points=2 minutes=5 difficulty=1
# Each mail (its text, at most 500 words) goes in; one of the five departments that could answer comes out. To learn from there are the mails of the last
# year with the department that finally answered, 12,000 of them; the newest 2,000 are kept for testing. The measure is the share of mails that reach
# the right department at once. Sending everything to the largest department is right for 38 % of the test mails, so that is the figure to beat; the people at
# the desk manage 90 %. It is worth it from 85 % on, with at most 2 % of complaints sent elsewhere. A mail must be sorted within a second on the
# machine that the shop has, and the whole training may take one free session.

# %% [markdown]
# ## Quiz

# %% [markdown] quiz="end"
# 1. A forward pass of a batch takes 0.1 s. How long does a training step take, about?
# - [ ] 0.1 s: the model is run once :: A step also computes gradients; that is the larger part.
# - [ ] 0.2 s: once forward, once backward :: The backward pass costs about two forward passes.
# - [x] 0.3 s: forward, and twice as much backward :: Right.
# 2. Which of these makes full fine-tuning need eight times the memory of inference in bfloat16?
# - [x] Gradient, float32 copy and AdamW's averages, 14 bytes beside the 2 of the weight :: Right: 16 bytes to 2.
# - [ ] The batch, which is larger in training :: Activations come on top; they are not in these 16 bytes.
# - [ ] Training in float32 :: That alone would double the weights, and here the computation stays in bfloat16.
# 3. A model's output layer is tied to its embedding. What does that change?
# - [ ] Fewer operations for each token :: The product with the output layer is computed as before.
# - [x] Fewer parameters, the same operations :: Right: one matrix, used in two places.
# - [ ] Nothing, since the sizes are the same :: The matrix is stored, and trained, once.
# 4. A job needs 14 hours. Which free machine of the table can do it, and how?
# - [ ] Colab, because it has the longer session :: 12 hours are not 14, and no second session is sure.
# - [x] Kaggle, in two sessions, if it resumes from a checkpoint :: Right: 9 hours a session, 30 a week.
# - [ ] Kaggle, in one unattended session :: Unattended sessions end after 9 hours, too.
# 5. Your step reaches 5 % of the GPU's best speed. What follows for the estimate of the hours?
# - [ ] Nothing: operations and speed are known, so the time is known :: The speed on the datasheet is a limit, not what a job gets.
# - [ ] The model has more parameters than thought :: The count is exact; the speed was a guess.
# - [x] Divide by the speed that you measured, not by the datasheet's :: Right: a short run tells the utilisation.

# %% [markdown]
# ## Read next
#
# - Memory of a model, by the library's own tool: https://huggingface.co/docs/accelerate/usage_guides/model_size_estimator
# - Where the time of a large training goes: https://huggingface.co/spaces/nanotron/ultrascale-playbook
# - The rules of the free machines: the addresses in the table of section 6.
#
# Lesson 01 opens the box that was trained here: what a gradient is, and what the backward pass computes. Lesson 02 begins with tensors.

# %% [markdown]
# ## A bigger machine
#
# With `UNIT24_TIER=hub` the same lines run a model of 135 million parameters: your `answer` asks it, your `predict` guesses its size.

# %%
if env.tier == "hub":
    print(answer(model, tokenizer, "What is the capital of France?", 24))
    found = sum(p.numel() for p in model.parameters())
    print(f"parameters: guessed {predict(config, 1)['parameters']:,}, counted {found:,}")
else:
    print("A bigger machine: skipped here (it needs UNIT24_TIER=hub).")
