# ---
# jupyter:
#   unit24:
#     needs: ["datasets>=4", "matplotlib>=3.8", "torch>=2.6", "transformers>=5", "trl>=1.16"]
# ---

# %% [markdown]
# # 14 · Align a model: SFT, reward models, DPO, GRPO and RLOO with TRL
#
# **You will build** five kinds of training around one small chat model. It learns a task that it was never taught, first
# from a few examples and then from nothing but "right" and "wrong". It learns to answer in the form that people prefer,
# pays for it with right answers, and you see what prevents that. And it cheats: it gets a reward with a hole in it, finds the
# hole within seconds, and you close it.
#
# **You need first** lesson 04 (the loop), lesson 07 (chat templates, `generate`) and what a log-probability is.
#
# **Time** four to five hours: eight exercises, 26 points, and a written answer, 3 points. Where an exercise asks for two functions,
# each earns half of its points. No GPU is needed.
#
# | method | what you must have | what TRL trains with | what you write |
# |---|---|---|---|
# | **SFT**, supervised fine-tuning | a question and its answer | `SFTTrainer` | the completion mask |
# | **reward model** | a question, a better and a worse answer | `RewardTrainer` | the Bradley-Terry loss |
# | **DPO**, direct preference optimisation | a question, a better and a worse answer | `DPOTrainer` | the loss, from log-probabilities |
# | **GRPO**, group-relative policy optimisation | a question and a program that marks answers | `GRPOTrainer` | advantages, KL term, clipped loss |
# | **RLOO**, REINFORCE leave-one-out | the same | `RLOOTrainer` | the leave-one-out baseline |
#
# In the words of the papers: the model that is trained is the *policy*, an answer that it samples is a *rollout* or *completion*, a
# program that marks it a *verifier*.
#
# Every formula comes in the same three steps: you write it in a few lines; your numbers are compared with those that TRL
# computes on the same batch; then TRL trains with it. (The KL term is the exception: it is measured, not trained with.)

# %% setup

# %%
import copy
import itertools
import logging
import math
import re
import sys
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

logging.disable(logging.WARNING)  # TRL looks for many optional packages, and each missing one reports itself
for unused in ("deepspeed", "mlflow", "vllm"):  # TRL imports these where they are installed, which takes seconds
    sys.modules[unused] = None

# fmt: off
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, PrinterCallback
from trl import (
    DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer,
    RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer,
)

# fmt: on
from unit24 import cases, check, claims, data
from unit24.data.tasks import FORMS, form, verify

# %% [markdown]
# The model is the one of lesson 07, or in the hub tier a real one. We let its tokenizer pad on the left, as generation wants it.
#
# TRL's configurations are `TrainingArguments` of transformers with a few more fields. Their defaults are made for a GPU: mixed
# precision (`bf16`: the arithmetic, not the weights) and gradient checkpointing. On a CPU both are switched off.

# %%
name = env.model("chat")
tokenizer = AutoTokenizer.from_pretrained(name)
tokenizer.padding_side = "left"


def load_model():
    """The chat model as it ships, in float32."""
    return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)


on_cpu = env.tier == "tiny" or env.device == "cpu"
settings = dict(
    output_dir=str(env.cache / "14_trl_rlhf"),
    use_cpu=on_cpu,
    bf16=False,
    gradient_checkpointing=False,
    report_to="none",
    save_strategy="no",
    disable_tqdm=True,
    logging_steps=5,
    seed=24,
)


def train(trainer) -> list[dict]:
    """Run `trainer` without a line of output a step; what it logged, and what it cost."""
    trainer.remove_callback(PrinterCallback)
    begin = time.process_time()
    trainer.train()
    print(f"{type(trainer).__name__}: {trainer.state.global_step} steps, {time.process_time() - begin:.0f} CPU seconds")
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@torch.no_grad()
def ask(model, questions: list[str], sample: bool = False, tokens: int = 16) -> list[str]:
    """The model's answer to each question: the likeliest tokens, or sampled at temperature 1."""
    chats = [[{"role": "user", "content": question}] for question in questions]
    batch = tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True)
    model.eval()
    how = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0) if sample else dict(do_sample=False)
    out = model.generate(**batch.to(model.device), max_new_tokens=tokens, pad_token_id=tokenizer.pad_token_id, **how)
    return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def accuracy(model, rows, sample: bool = False) -> float:
    """Share of right answers to `rows` (a data set of one task)."""
    said = ask(model, rows["prompt"], sample)
    return sum(verify(row["task"], row["prompt"], answer) for row, answer in zip(rows, said)) / len(rows)


exam = {task: data.load("tasks", names=task, split="test", n=150, seed=1) for task in ("min", "sort", "add2", "max")}
model = load_model()
print(f"{name.rsplit('/', 1)[-1]}: {model.num_parameters():,} parameters")
at_first = {task: accuracy(model, rows) for task, rows in exam.items()}
print("held-out accuracy:", {task: round(share, 2) for task, share in at_first.items()})
for question in ("What is 27+45?", "Largest of 12, 71, 33?", "Smallest of 12, 71, 33?"):
    print(f"{question:26} {ask(model, [question])[0]!r}")

# %% [markdown]
# Sums, the largest of three and sorting were taught to it. "Smallest of" was not: `min` is this lesson's new task.
#
# ## 1 · Supervised fine-tuning: which tokens are learned
#
# A chat is one row of tokens: the question, the marker that says "now the assistant", the answer, the end. All of it goes
# through the model, but only the answer is to be *learned*: a loss on the question would teach the model to ask. Labels
# therefore are a copy of the tokens with −100 wherever nothing is to be learned, and the loss is
#
# $$L = -\frac{1}{|A|} \sum_{t \in A} \log \pi_\theta(x_t \mid x_{<t}), \qquad A = \{t : \text{label}_t \neq -100\}.$$
#
# TRL does this for rows with `prompt` and `completion`. Let it prepare some, and compute its loss on a batch.


# %%
def user(text: str) -> list[dict]:
    """A chat of one message, as templates and TRL take it."""
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


lessons = data.load("tasks", names="min", split="train", n=500, seed=0)
pairs = lessons.map(
    lambda row: {"prompt": user(row["prompt"]), "completion": assistant(row["answer"])}, remove_columns=["task", "answer"]
)
sft = SFTTrainer(
    model=load_model(),
    args=SFTConfig(**settings, per_device_train_batch_size=32, learning_rate=3e-4, max_steps=40, weight_decay=0.0),
    train_dataset=pairs,
    processing_class=tokenizer,
)
trl_rows = sft.train_dataset  # the 500 rows, with input_ids and labels
batch = sft.data_collator([trl_rows[i] for i in range(5)])
with torch.no_grad():
    trl_logits = sft.model(input_ids=batch["input_ids"].to(sft.model.device)).logits.cpu()
    trl_loss = sft.compute_loss(sft.model, {key: value.to(sft.model.device) for key, value in batch.items()}).item()
trl_labels = batch["labels"]

print(lessons[0])
print("token by token:", tokenizer.convert_ids_to_tokens(trl_rows[0]["input_ids"]))
print(f"TRL's loss on five rows: {trl_loss:.4f} nats a token")

# %% [markdown]
# ### Exercise 1 · The completion mask (`completion_mask`, 3 points, 25 minutes, difficulty 1 of 3)
#
# Two functions, each of which earns half of the points on its own.
#
# `encode(tokenizer, question, answer)` prepares one row. `tokenizer` is any tokenizer with a chat template: this lesson's, or one
# whose template begins with a system text, opens a turn with several tokens, or writes something after the end token. Its pad token may
# be its end token, and it may put a special token before each plain text that it gets, as Llama's does. `question` and `answer` are
# texts of one character or more; an answer begins with a letter, a digit or a sign. Both may hold what the template writes itself,
# such as `<|assistant|>`, or be the same.
#
# - `input_ids` is the whole chat, one user message and one assistant message, as the tokenizer's chat template writes
#   it. However long it is, nothing is cut off. <!-- rule: chat -->
# - `labels` is as long, with −100 on everything that stands in the prompt. The marker that opens the assistant's turn belongs to the
#   prompt: it is given to the model, not written by it. <!-- rule: prompt -->
# - On all that follows, to the end of the chat, labels are the tokens themselves, **not shifted**. The token that ends the answer is
#   one of them. <!-- rule: answer -->
# - It returns a dictionary of these two, as lists of Python integers. <!-- rule: lists -->
# - The tokenizer stays as it was, its special tokens too. <!-- rule: tokenizer -->
#
# In this lesson's template, for the question `2+5=` and the answer `7`:
#
# | token | `<\|user\|>` | `2` | `+` | `5` | `=` | `<\|assistant\|>` | `7` | `<\|end\|>` |
# |---|---|---|---|---|---|---|---|---|
# | label | −100 | −100 | −100 | −100 | −100 | −100 | its id | its id |
#
# `masked_loss(logits, labels)` is the loss $L$ of a batch. `logits`, float32 or float64 of shape `[batch, tokens, vocabulary]`, are the
# model's output for whole rows, as large as ±200. `labels`, int64 of shape `[batch, tokens]`, holds −100 or any id of the vocabulary
# (0 is one). There are one row or more, two tokens or more, and at least one label that counts.
#
# - The label of token $t$ is compared with the logits of position $t - 1$. <!-- rule: shift -->
# - A label on a row's first token does not count: nothing predicts it. <!-- rule: first -->
# - Every other label but −100 counts, wherever it stands. <!-- rule: labels -->
# - It returns the mean cross-entropy (natural logarithm) over **all learned tokens of the batch**, a scalar tensor of the logits'
#   dtype and precision: a token of a long answer weighs as much as one of a short answer. <!-- rule: mean -->
# - Gradients flow to the logits, and they are right. <!-- rule: gradients -->
# - `logits` and `labels` stay as they were. <!-- rule: unchanged -->


# %% exercise="completion_mask" minutes=25 difficulty=1
def encode(tokenizer, question: str, answer: str) -> dict[str, list[int]]:
    """One chat as input_ids and labels, -100 on all that the model is not to write."""
    ### BEGIN SOLUTION
    prompt = [{"role": "user", "content": question}]
    whole = prompt + [{"role": "assistant", "content": answer}]
    start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(whole, return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}
    ### END SOLUTION


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of the tokens that have a label; logits [batch, tokens, vocabulary]."""
    ### BEGIN SOLUTION
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    ### END SOLUTION


# %% tests="completion_mask" points=3
@check.shared
def tokenizer_with(template, special):
    """A copy of the lesson's tokenizer, with another chat template (None: its own), and other special tokens."""
    copied, end = copy.deepcopy(tokenizer), tokenizer.eos_token
    copied.chat_template = template or copied.chat_template
    if special == "padded with the end token":
        copied.pad_token = end
    if special == "one before each plain text":
        from tokenizers.processors import TemplateProcessing

        post = TemplateProcessing(single=f"{end} $A", special_tokens=[(end, tokenizer.eos_token_id)])
        copied.backend_tokenizer.post_processor = post
    return copied


@check.shared
def state_of(own):
    """What a call might change in a tokenizer."""
    names = ["padding_side", "truncation_side", "model_max_length", "chat_template"]
    names += ["pad_token", "bos_token", "eos_token", "unk_token"]
    state = {f"its tokenizer's {name}": getattr(own, name) for name in names}
    state["its tokenizer's special tokens"] = sorted(own.all_special_tokens)
    return state | {"its tokenizer's number of tokens": len(own), "its tokenizer's numbers for a plain text": own("5")["input_ids"]}


@check.scenario
def encoded(template, special, question, answer):
    """What `encode` returns, and what its tokenizer makes of the chat afterwards."""
    own = tokenizer_with(template, special)
    row = encode(own, question, answer)
    state = state_of(own)
    after = own.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    row = {key: row[key] for key in row} if hasattr(row, "keys") else row
    entries = [entry for column in row.values() for entry in column] if isinstance(row, dict) else []
    return {
        "row": row,
        "its tokenizer's chat": after,
        "types of its entries": sorted({type(entry).__name__ for entry in entries}),
        **state,
    }


@check.scenario
def loss_and_gradient(logits, labels):
    leaf = logits.clone().requires_grad_()
    loss = masked_loss(leaf, labels)
    if loss.requires_grad:
        loss.backward()
    return loss.detach(), leaf.grad


def row_by_definition(template, special, question, answer, opener=True, end=None, shift=0):
    own = tokenizer_with(template, special)
    prompt = own.apply_chat_template(user(question), add_generation_prompt=opener, return_dict=False)
    ids = own.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    labels = [token if len(prompt) <= place else -100 for place, token in enumerate(ids)]
    if end:
        labels[-end:] = [-100] * end
    row = {"input_ids": ids, "labels": labels[shift:] + [-100] * shift}
    return {
        "row": row,
        "its tokenizer's chat": ids,
        "types of its entries": ["int"],
        **state_of(tokenizer_with(template, special)),
    }


def with_another(*chat):
    """A row that begins with a special token which the template has not written, where the tokenizer adds one."""
    row = row_by_definition(*chat)
    if chat[1] != "one before each plain text":
        return row
    return row | {"row": {key: [first, *row["row"][key]] for key, first in (("input_ids", tokenizer.eos_token_id), ("labels", -100))}}


def without_pads(*chat):
    """A row that learns nothing where the pad token stands, though that is the end token."""
    row, own = row_by_definition(*chat), tokenizer_with(*chat[:2])
    labels = [-100 if token == own.pad_token_id else token for token in row["row"]["labels"]]
    return row | {"row": {"input_ids": row["row"]["input_ids"], "labels": labels}}


def behind_first_marker(template, special, question, answer):
    """A row whose answer begins behind the first of the markers that open the assistant's turn."""
    own, row = tokenizer_with(template, special), row_by_definition(template, special, question, answer)
    ids, size = row["row"]["input_ids"], len(own.apply_chat_template(user(question), return_dict=False))
    marker = own.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False)[size:]
    begin = next(i for i in range(len(ids)) if ids[i : i + len(marker)] == marker) + len(marker)
    return row | {"row": {"input_ids": ids, "labels": [-100] * begin + ids[begin:]}}


def loss_by_definition(logits, labels, reach=1):
    """Each token that counts by itself, in double precision."""
    rows, places = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    before = logits[rows, places + 1 - reach].double().log_softmax(-1)
    return -before.gather(1, labels[rows, places + 1][:, None]).mean().to(logits.dtype)


def gradient_by_definition(logits, labels):
    leaf = logits.double().requires_grad_()
    loss = F.cross_entropy(leaf[:, :-1].transpose(1, 2), labels[:, 1:])
    return loss.detach().to(logits.dtype), torch.autograd.grad(loss, leaf)[0].to(logits.dtype)


def labelled(_ids, _learned, logits=None):
    learned = _learned.clone()
    learned[0, 1] = True
    return torch.where(learned, _ids, -100)


chatml = (
    "{{ '<|system|>Be brief.<|end|>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>' }}"
    "{% if AFTER and not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}{% if AFTER %}{{ '\\n' }}{% endif %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
templates = (None, chatml.replace("AFTER", "false"), chatml.replace("AFTER", "true"))
replies = ("72", "7", "The answer is 12.", "q w e r", "-4", "Zwölf, 漢字 🙂", "5\n\n6 ", 40 * "on and ")
replies += ("so <|end|> or <|assistant|>, then", 1200 * "on and ")
asked = ("{text}", "{reply}", "What does <|assistant|> mean?", "<|user|>\n7<|end|>\n<|assistant|>\n7<|end|>\n")
chats = {
    "_template": cases.choice(*templates),
    "template": cases.derived(lambda _template, **_: _template),
    "special": cases.choice("as usual", "padded with the end token", "one before each plain text"),
    "_text": cases.text("question"),
    "_asked": cases.choice(*asked),
    "_reply": cases.choice(*replies),
    "question": cases.derived(lambda _text, _asked, _reply, **_: _asked.format(text=_text, reply=_reply)),
    "answer": cases.derived(lambda _reply, **_: _reply),
}
def batches(dtype):
    return {
        "logits": cases.tensor("rows", "tokens", "vocabulary", dtypes=(dtype,), scale=(0.3, 200)),
        "_ids": cases.tensor("rows", "tokens", dtypes=("int64",), below="vocabulary"),
        "_learned": cases.tensor("rows", "tokens", dtypes=("bool",)),
        "labels": cases.derived(labelled, "−100 and ids"),
    }


tolerances = {"float32": {"atol": 1e-4}, "float64": {"rtol": 1e-9, "atol": 1e-9}}
sizes = {"rows": (1, 70), "tokens": (2, 150), "vocabulary": (2, 40)}


def check_encode():
    check.agrees(
        encoded,
        row_by_definition,
        cases.draw(seeds, chats, question=(1, 60)),
        "`encode`",
        "Everything up to where the model would begin to write is −100, all that follows is a label",
        causes={
            "the end token may be the pad token, too: where it ends the answer it is learned": without_pads,
            "the marker that opens the assistant's turn belongs to the prompt": lambda *row: row_by_definition(
                *row, opener=False
            ),
            "the token that ends the answer is part of it: without it the model never learns to stop": lambda *row: (
                row_by_definition(*row, end=1)
            ),
            "labels are not shifted here: that is the loss's work": lambda *row: row_by_definition(*row, shift=1),
            "the marker may stand in the question, too: the answer begins where the prompt ends": behind_first_marker,
            "the template has written all special tokens: whoever tokenizes its text must not let others be added": with_another,
        },
    )
    got = encoded(None, "as usual", lessons[0]["prompt"], lessons[0]["answer"])["row"]["labels"]
    check.equal(got, trl_rows[0]["labels"], f"the labels of {lessons[0]['prompt']!r}", "TRL's own are expected")


def check_masked_loss():
    hint = "position t − 1 predicts token t, in each row; the mean runs over all learned tokens of the batch, in the logits' precision"
    causes = {
        "the logits of position t are compared with token t": lambda logits, labels: F.cross_entropy(
            logits.transpose(1, 2), labels
        ),
        "each row's mean weighs the same": lambda logits, labels: torch.stack(
            [F.cross_entropy(x[:-1], y[1:]) for x, y in zip(logits, labels)]
        ).nanmean(),
        "rows run into each other: nothing predicts a row's first token": lambda logits, labels: F.cross_entropy(
            logits.flatten(0, 1)[:-1], labels.flatten()[1:]
        ),
        "id 0 is a token like any other": lambda logits, labels: loss_by_definition(logits, labels.where(labels > 0, -100)),
        "a label on a row's first token is not in the count either": lambda logits, labels: (
            loss_by_definition(logits, labels) * (labels[:, 1:] != -100).sum() / (labels != -100).sum()
        ),
    }
    for dtype, close in tolerances.items():
        drawn = cases.draw(seeds, batches(dtype), count=5, **sizes)
        check.agrees(masked_loss, loss_by_definition, drawn, "`masked_loss`", hint, causes=causes, **close)
    hint = "a gradient of None means that something on the way cut the graph"
    for dtype, close in tolerances.items():
        drawn = cases.draw(seeds, batches(dtype), count=5, **sizes)
        check.agrees(loss_and_gradient, gradient_by_definition, drawn, "loss and gradient of `masked_loss`", hint, **close)
    check.equal(
        masked_loss(trl_logits, trl_labels), trl_loss, "`masked_loss` on TRL's batch", "TRL's own loss is expected", rtol=1e-4
    )


with check.exercise("completion_mask"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"encode": check_encode, "masked_loss": check_masked_loss})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Where does the answer begin? Exactly where the template would let the model begin to write. So ask the template for the
# prompt alone, in the form in which it is given to `generate`, and count. For the loss: which row of logits was computed before
# the model had seen token `t`?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)` gives a list of ids.
# `F.cross_entropy` leaves out targets of −100 by itself (`ignore_index`) and averages over the rest.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))
# ids = tokenizer.apply_chat_template(prompt + reply, return_dict=False)
# ...                                       # -100 for the first `start`, then the ids themselves
# F.cross_entropy(logits[:, :-1].flatten(0, 1), ...)      # and the labels without their first column
# ```
# </details>

# %% [markdown]
# Your labels against TRL's on all rows, and your loss against its loss:

# %%
same = sum(encode(tokenizer, row["prompt"], row["answer"])["labels"] == trl["labels"] for row, trl in zip(lessons, trl_rows))
loss = masked_loss(trl_logits.clone(), trl_labels.clone())
print(f"{same} of {len(trl_rows)} rows have TRL's labels; loss {loss:.4f}, TRL's {trl_loss:.4f}")

# %% [markdown]
# Now `SFTTrainer` takes 40 steps. They are meant to be few: this is not to teach the task but to bring the model to where it is
# right *now and then*.

# %%
log = train(sft)
start = sft.model.cpu()  # the starting point of all that follows


def load_start():
    """A fresh model with the weights of `start`."""
    fresh = load_model()
    fresh.load_state_dict(start.state_dict())
    return fresh


before = {task: accuracy(start, rows) for task, rows in exam.items()}
sampled_before = accuracy(start, exam["min"], sample=True)
print(f"'smallest of': likeliest tokens {before['min']:.2f} right, sampled {sampled_before:.2f}")
print("old tasks:", ", ".join(f"{task} {at_first[task]:.2f} -> {before[task]:.2f}" for task in exam if task != "min"))
for question, answer in zip(exam["min"]["prompt"][:4], ask(start, exam["min"]["prompt"][:4])):
    print(f"{question:26} {answer!r}")

# %% [markdown]
# Why `load_start`, and not `copy.deepcopy(start)`? TRL's trainers replace the `forward` of the model that they get, and the new one
# holds on to that very model. A deep copy's `forward` would still run the weights of the original, while the optimizer
# changes those of the copy: a training that costs its full time and changes nothing. No error, no warning, a flat curve.
#
# The model is right now and then. That is a bad student and a good start: section 6 goes on from here without showing it a single
# answer more. (What it now gets wrong of the old tasks is the price: a few dozen steps on one task are enough to forget others.
# Lesson 12 measures that, and what helps.)
#
# ## 2 · A reward model: from comparisons to a number
#
# People cannot say "this answer is worth 7.3", but they can say which of two they like better. Bradley and Terry (1952)
# turned such comparisons into numbers: if answers have rewards $r$, the chosen one wins with probability $\sigma(r_c - r_r)$.
# Maximum likelihood then gives the loss of every reward model,
#
# $$L = -\frac{1}{n} \sum_{i=1}^{n} \log \sigma\!\left(r_c^{(i)} - r_r^{(i)} - m^{(i)}\right),$$
#
# with an optional margin $m$ where it is known by how much the chosen one is better. The reward itself comes from the same
# language model with another last layer: one number a position, of which the one at the **last real token** counts,
# because only that position has seen the whole answer.
#
# The pairs here: the same right answer in two forms. A sentence (`The answer is 72.`) is preferred to the bare number
# and to a chatty one.

# %%
preferred = data.load("preferences", split="train", n=600, seed=0, prefer="sentence")
print(preferred[0])


def new_judge(seed: int) -> RewardTrainer:
    """A reward model (the chat model with a new head, made with `seed`) and what trains it."""
    torch.manual_seed(seed)
    return RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(name, num_labels=1, dtype=torch.float32),
        args=RewardConfig(
            **(settings | {"seed": seed}),
            per_device_train_batch_size=16,
            learning_rate=1e-4,
            max_steps=12,
            lr_scheduler_type="constant",
        ),
        train_dataset=preferred.select_columns(["prompt", "chosen", "rejected"]),
        processing_class=tokenizer,
    )


judge = new_judge(24)
batch = judge.data_collator([judge.train_dataset[i] for i in range(6)])  # first the six chosen rows, then the six rejected
batch = {key: value.to(judge.model.device) for key, value in batch.items()}
with torch.no_grad():
    hidden = judge.model.model(**batch).last_hidden_state
    position_scores = judge.model.score(hidden)[..., 0].cpu()  # [12, tokens]: a score at every position
    pair_loss = judge.compute_loss(judge.model, dict(batch)).item()
pair_mask = batch["attention_mask"].cpu()
print("attention mask of two rows:", pair_mask[[0, 7]].tolist(), sep="\n")
print(f"TRL's loss before training: {pair_loss:.4f}; log 2 would be a coin toss: {math.log(2):.4f}")

# %% [markdown]
# ### Exercise 2 · The Bradley-Terry loss (`bradley_terry`, 3 points, 25 minutes, difficulty 2 of 3)
#
# Two functions, each of which earns half of the points on its own.
#
# `final_scores(scores, attention_mask)` picks the rewards out of what the head says at every position. `scores`, finite, has shape
# `[batch, tokens]`; `attention_mask`, int64 of the same shape, is 1 at real tokens, which lie in one run, and 0 at padding. There are
# one row or more, of any length, and one real token or more in each.
#
# - It returns the score at the **last real token** of each row, shape `[batch]`. <!-- rule: last -->
# - Padding may stand on the right, on the left, **on both sides** or nowhere, in each row of a batch
#   differently. <!-- rule: sides -->
# - The mask alone says which tokens are real: a score may be 0, or negative, like any other. <!-- rule: mask_alone -->
#
# `preference_loss(chosen, rejected, margin=None)` takes the rewards of one pair or more, each argument of shape `[pairs]`.
#
# - It returns the mean of $-\log \sigma(r_c - r_r - m)$ over the pairs, a scalar tensor. <!-- rule: loss -->
# - `margin` is $m$, pair by pair, of either sign; None stands for 0. <!-- rule: margin -->
# - Loss and gradient are finite and right however wrong a pair is: differences, $m$ taken off, go up to ±1000 in float32 and in
#   float64. <!-- rule: far -->
#
# And for both: all floats of a call are float32, or all are float64, and
#
# - the result has their dtype, and its precision; <!-- rule: dtype -->
# - gradients flow to `scores`, to `chosen` and to `rejected`, and they are right, between equal rewards
#   too; <!-- rule: gradients -->
# - the arguments stay as they were. <!-- rule: unchanged -->


# %% exercise="bradley_terry" minutes=25 difficulty=2
def final_scores(scores: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The score at the last real token of each row; scores and attention_mask [batch, tokens] -> [batch]."""
    ### BEGIN SOLUTION
    places = torch.arange(scores.shape[1], device=scores.device)
    last = (places * attention_mask).argmax(1)
    return scores.gather(1, last[:, None]).squeeze(1)
    ### END SOLUTION


def preference_loss(chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor | None = None) -> torch.Tensor:
    """Mean Bradley-Terry loss of pairs of rewards [pairs], with an optional margin [pairs]."""
    ### BEGIN SOLUTION
    difference = chosen - rejected
    if margin is not None:
        difference = difference - margin
    return -F.logsigmoid(difference).mean()
    ### END SOLUTION


# %% tests="bradley_terry" points=3
@check.scenario
def scores_gradient(scores, attention_mask, pull):
    leaf = scores.clone().requires_grad_()
    pulled = (final_scores(leaf, attention_mask) * pull).sum()
    if pulled.requires_grad:
        pulled.backward()
    return leaf.grad


@check.scenario
def loss_gradients(chosen, rejected, margin):
    leaves = [x.clone().requires_grad_() for x in (chosen, rejected)]
    loss = preference_loss(*leaves, margin)
    if loss.requires_grad:
        loss.backward()
    return [leaf.grad for leaf in leaves]


def last_real(attention_mask):
    return [max(t for t, real in enumerate(row) if real) for row in attention_mask.tolist()]


def scores_by_definition(scores, attention_mask):
    return torch.stack([row[t] for row, t in zip(scores, last_real(attention_mask))])


def scores_gradient_by_definition(scores, attention_mask, pull):
    gradient = torch.zeros_like(scores)
    gradient[range(len(scores)), last_real(attention_mask)] = pull
    return gradient


def loss_by_definition(chosen, rejected, margin=None):
    """log(1 + exp(-d)) of each pair, in double precision; for very wrong pairs that is -d."""
    wrong_by = rejected.double() - chosen.double() + (0 if margin is None else margin.double())
    return torch.stack([w if w > 40 else w.exp().log1p() for w in wrong_by]).mean().to(chosen.dtype)


def gradients_by_definition(chosen, rejected, margin):
    difference = chosen.double() - rejected.double() - (0 if margin is None else margin.double())
    slope = (-(-difference).sigmoid() / len(chosen)).to(chosen.dtype)
    return [slope, -slope]


def one_run(_first, _second, **_):
    """A mask with ones from the smaller of two places to the larger, in each row."""
    low, high = torch.minimum(_first, _second), torch.maximum(_first, _second)
    places = torch.arange(_first.shape[1])
    return ((places >= low[:, :1]) & (places <= high[:, :1])).long()


rows = {
    "scores": cases.tensor("rows", "tokens", scale=(1e-3, 1e3)),
    "_first": cases.tensor("rows", "tokens", dtypes=("int64",), below="tokens"),
    "_second": cases.tensor("rows", "tokens", dtypes=("int64",), below="tokens"),
    "attention_mask": cases.derived(one_run, "one run of ones a row"),
}


def pair_cases(seed, dtype):
    """Rewards of pairs without and with a margin; huge ones among them, and pairs that are 1000 apart."""
    rewards = cases.tensor("pairs", dtypes=(dtype,), scale=(1e-3, 300), also=("one large",))
    half, third = (cases.tensor("pairs", dtypes=(dtype,), low=-limit, high=limit, also=("ends",)) for limit in (500, 333))
    for reward, margin in ((rewards, cases.choice(None)), (rewards, rewards), (half, cases.choice(None)), (third, third)):
        yield from cases.draw(seed, {"chosen": reward, "rejected": reward, "margin": margin}, count=3, pairs=(1, 150))


def check_final_scores():
    hint = "find the last 1 of the mask, wherever the padding is"
    causes = {
        "the last column of a short row is padding": lambda scores, mask: scores[:, -1],
        "the number of tokens is not the place of the last one where padding comes first": lambda scores, mask: scores[
            range(len(scores)), mask.sum(1) - 1
        ],
        "the first padding need not follow the last token": lambda scores, mask: scores[
            range(len(scores)), (mask == 0).int().argmax(1) - 1
        ],
        "a real token's score may be 0 like any other": lambda scores, mask: torch.stack(
            [row[row != 0][-1] if row.any() else row[-1] for row in scores * mask]
        ),
    }
    drawn = cases.draw(seeds, rows, rows=(1, 40), tokens=(1, 5000))
    check.agrees(final_scores, scores_by_definition, drawn, "`final_scores`", hint, causes=causes, rtol=0, atol=0)
    pulled = rows | {"pull": cases.derived(lambda scores, **_: torch.arange(1.0, len(scores) + 1).to(scores), "1, 2, …")}
    drawn = cases.draw(seeds, pulled, rows=(1, 9), tokens=(1, 30))
    check.agrees(
        scores_gradient, scores_gradient_by_definition, drawn, "the gradient of `final_scores`", "does something cut the graph?"
    )


def check_preference_loss():
    hint = "minus the mean of log sigmoid(chosen − rejected − margin), in the precision of the arguments"
    causes = {
        "a sum is no mean": lambda c, r, m: loss_by_definition(c, r, m) * len(c),
        "a margin asks for more: it is taken off the difference": lambda c, r, m: loss_by_definition(c, r, -m),
        "a margin stands inside the sigmoid": lambda c, r, m: loss_by_definition(c, r) + m.mean(),
        "a computer's sigmoid of a very wrong pair is 0, its logarithm infinite: compute log sigmoid in one go": lambda c, r, m: (
            -(c - r - (0 if m is None else m)).sigmoid().log().mean()
        ),
    }
    why = "−sigmoid(−difference) a pair, halfway at 0. None means that something cut the graph; a NaN, that the loss overflows"
    for seed, (dtype, rtol) in itertools.product(seeds, {"float32": 1e-4, "float64": 1e-8}.items()):
        drawn, close = pair_cases(seed, dtype), {"rtol": rtol, "atol": rtol / 100}
        check.agrees(preference_loss, loss_by_definition, drawn, "`preference_loss`", hint, causes=causes, **close)
        drawn = pair_cases(seed, dtype)
        check.agrees(loss_gradients, gradients_by_definition, drawn, "the gradients of `preference_loss`", why, **close)
    chosen, rejected = scores_by_definition(position_scores, pair_mask).chunk(2)
    check.equal(
        preference_loss(chosen, rejected), pair_loss, "`preference_loss` on TRL's batch", "TRL's own loss is expected", rtol=1e-4
    )


with check.exercise("bradley_terry"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"final_scores": check_final_scores, "preference_loss": check_preference_loss})
check.points(3)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Number the columns. Of the columns that the mask keeps, which number is largest? That works on both sides. For the loss:
# what does float32 say sigmoid(−200) is, and what is the logarithm of that?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `torch.arange`, `argmax(1)`, `Tensor.gather` (or indexing with two lists); `F.logsigmoid`, or `F.softplus`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# places = torch.arange(scores.shape[1])
# last = (places * attention_mask).argmax(1)
# ...                                               # pick scores[i, last[i]]
# -F.logsigmoid(chosen - rejected - ...).mean()
# ```
# </details>

# %% [markdown]
# Now `RewardTrainer` takes 12 steps with this loss, twice, from two heads and with the pairs in two orders. Afterwards each judge looks
# at held-out pairs that differ in form, as those of its training did, and at pairs that nobody asked it about: right against wrong, in
# the same form.


# %%
@torch.no_grad()
def rewards_of(judge, questions: list[str], replies: list[str]) -> torch.Tensor:
    """The judge's reward for each reply [rows]."""
    chats = [user(question) + assistant(reply) for question, reply in zip(questions, replies)]
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_dict=True).to(judge.model.device)
    judge.model.eval()
    return final_scores(judge.model.score(judge.model.model(**batch).last_hidden_state)[..., 0], batch["attention_mask"]).cpu()


held_out = exam["add2"]
truth = held_out["answer"]
wrong_number = [str(int(number) + 10) for number in truth]
candidates = {
    "sentence, right": [FORMS["sentence"].format(number) for number in truth],
    "sentence, wrong by 10": [FORMS["sentence"].format(number) for number in wrong_number],
    "bare, right": truth,
    "chatty, right": [FORMS["chatty"].format(number) for number in truth],
}
form_pairs, truth_pairs, logs = [], [], []
for trainer in (judge, new_judge(25)):
    logs.append(train(trainer))
    scored = {kind: rewards_of(trainer, held_out["prompt"], replies) for kind, replies in candidates.items()}
    best, others = scored["sentence, right"], torch.maximum(scored["bare, right"], scored["chatty, right"])
    form_pairs.append((best > others).float().mean().item())
    truth_pairs.append((best > scored["sentence, wrong by 10"]).float().mean().item())

figure, panels = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
for number, log in enumerate(logs, 1):
    panels[0].plot([entry["step"] for entry in log], [entry["accuracy"] for entry in log], "o-", label=f"run {number}")
panels[0].legend(fontsize=8)
panels[0].set(xlabel="step", ylabel="pairs in the right order", title="RewardTrainer", ylim=(0, 1.05))
for kind, values in scored.items():
    panels[1].hist(values.numpy(), bins=30, alpha=0.6, label=kind)
panels[1].set(xlabel="reward", ylabel="answers", title="what the second judge gives to held-out answers")
panels[1].legend(fontsize=8)
plt.show()

both = " and ".join
form_said, truth_said = (both(f"{share:.0%}" for share in shares) for shares in (form_pairs, truth_pairs))
print(f"the sentence beats the other forms: {form_said}; the right sum beats the wrong one: {truth_said}")

claims.record(
    "a reward model that orders nearly all held-out pairs is a good judge of answers",
    claimed="agrees with people, so it can stand in for them",
    measured=f"preferred form wins {form_said}; right sum beats wrong sum {truth_said} (a coin: 50%)",
    holds=min(form_pairs) > 0.9 and min(truth_pairs) > 0.9,
    how="two runs; held-out sums; pairs that differ in form, and pairs that differ in the number alone",
)

# %% [markdown]
# Compare the two lines of shares. About the form the judges agree with their pairs. About the sums they say what a coin says, or they
# like some digits better than others: an accident of the weights, which may fall on either side. Nothing in the pairs told them what
# is right: the data card says so ("differ in form alone"). A reward model learns what *separates* its pairs. Whoever trains against
# it gets exactly that, which is the beginning of section 5.

# %% [markdown]
# ## 3 · DPO: preferences without a judge
#
# Ask for the policy that earns the most reward while staying close to a reference (KL, weight $\beta$), and the answer has a
# closed form: $\pi(y|x) \propto \pi_\text{ref}(y|x)\, e^{r(x,y)/\beta}$. Read backwards, every policy *is* a reward model,
#
# $$r(x, y) = \beta \log \frac{\pi_\theta(y|x)}{\pi_\text{ref}(y|x)} + \text{a term without } y .$$
#
# Put that into the Bradley-Terry loss, and the term without $y$ cancels
# ([Rafailov et al. 2023](https://arxiv.org/abs/2305.18290)). No judge, no sampling: supervised training on pairs.
#
# $$L = -\frac1n \sum \log \sigma\Big(\beta\big[\log \tfrac{\pi_\theta(y_c|x)}{\pi_\text{ref}(y_c|x)} -
# \log \tfrac{\pi_\theta(y_r|x)}{\pi_\text{ref}(y_r|x)}\big]\Big), \qquad
# \log \pi(y|x) = \sum_{t \in y} \log \pi(y_t \mid x, y_{<t}).$$
#
# To compare, TRL evaluates six pairs with two different models as policy and reference: `start` from section 1 and the model
# as it shipped.

# %%
dpo_check = DPOTrainer(
    model=load_start(),
    ref_model=load_model(),
    args=DPOConfig(**settings, beta=0.3),
    train_dataset=preferred.select_columns(["prompt", "chosen", "rejected"]).select(range(6)),
    processing_class=tokenizer,
)
pair_batch = dpo_check.data_collator([dpo_check.train_dataset[i] for i in range(6)])  # six chosen rows, then six rejected
device = dpo_check.model.device
with torch.no_grad():
    on_device = {key: value.to(device) for key, value in pair_batch.items()}
    inputs = {key: on_device[key] for key in ("input_ids", "attention_mask")}
    policy_logits = dpo_check.model(**inputs).logits.cpu()
    reference_logits = dpo_check.ref_model(**inputs).logits.cpu()
dpo_check.remove_callback(PrinterCallback)
trl_dpo = dpo_check.evaluate(dpo_check.train_dataset)
trl_dpo = {key.removeprefix("eval_"): value for key, value in trl_dpo.items()}
print({key: round(trl_dpo[key], 4) for key in ("loss", "rewards/margins", "logps/chosen", "logps/rejected")})
print("input_ids", tuple(pair_batch["input_ids"].shape), " completion_mask of row 0:", pair_batch["completion_mask"][0].tolist())

# %% [markdown]
# ### Exercise 3 · DPO by hand (`dpo`, 4 points, 35 minutes, difficulty 3 of 3)
#
# Two functions, each of which earns half of the points on its own.
#
# `completion_logps(logits, input_ids, completion_mask)` gives $\log \pi(y|x)$ of each row. `logits` has shape
# `[rows, tokens, vocabulary]` and is as large as ±200; `input_ids` and `completion_mask`, int64 of shape `[rows, tokens]`, hold ids of
# the vocabulary, and 1 where a token belongs to the completion. There are one row or more and two tokens or more.
#
# - The log-probability of token $t$ comes from the logits of position $t - 1$. <!-- rule: shift -->
# - It returns their **sum** over the completion of each row, shape `[rows]`. <!-- rule: sum -->
# - The mask alone says what belongs to the completion, wherever it lies in the row; it is 0 on every row's first token. A row without
#   any completion gives 0. <!-- rule: mask -->
# - A token may be so unlikely, and a completion so long, that its probability is 0 in float32; its log-probability is not infinite, and
#   neither is the result. <!-- rule: underflow -->
#
# `dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)` takes four tensors `[pairs]` of such
# log-probabilities, one pair or more, between −1000 and 0, and a number from 0.01 to 1.
#
# - The implied reward of a completion is $\beta$ times (policy − reference). The **margin** of a pair is the reward of the chosen
#   completion minus that of the rejected one. <!-- rule: margins -->
# - The loss is the mean of $-\log \sigma(\text{margin})$ over the pairs. <!-- rule: loss -->
# - It is finite and right for margins of ±2000 and of 0, too, and so is its gradient. <!-- rule: far -->
# - It returns two tensors: the loss (a scalar) and the margins (`[pairs]`). <!-- rule: two -->
#
# And for both: all floats of a call are float32, or all are float64, and
#
# - results have their dtype, and its precision; <!-- rule: dtype -->
# - gradients flow to `logits` and, through the loss, to the policy's log-probabilities, and they are
#   right; <!-- rule: gradients -->
# - the arguments stay as they were. <!-- rule: unchanged -->


# %% exercise="dpo" minutes=35 difficulty=3
def completion_logps(logits: torch.Tensor, input_ids: torch.Tensor, completion_mask: torch.Tensor) -> torch.Tensor:
    """Log-probability of each row's completion [rows]; logits [rows, tokens, vocabulary], the others [rows, tokens]."""
    ### BEGIN SOLUTION
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)
    ### END SOLUTION


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta: float):
    """Mean DPO loss and the reward margins [pairs], from log-probabilities [pairs]."""
    ### BEGIN SOLUTION
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins
    ### END SOLUTION


# %% tests="dpo" points=4
@check.scenario
def logps_gradient(logits, input_ids, completion_mask):
    leaf = logits.clone().requires_grad_()
    logps = completion_logps(leaf, input_ids, completion_mask)
    if logps.requires_grad:
        (logps * torch.arange(1, len(logps) + 1)).sum().backward()
    return leaf.grad


@check.scenario
def loss_gradients(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    leaves = [x.clone().requires_grad_() for x in (policy_chosen, policy_rejected)]
    loss = dpo_loss(*leaves, reference_chosen, reference_rejected, beta)[0]
    if loss.requires_grad:
        loss.backward()
    return [leaf.grad for leaf in leaves]


def logps_by_definition(logits, input_ids, completion_mask, reach=1, mean=False):
    """Each token of a completion by itself, in double precision, then the sum of each row."""
    row, place = completion_mask.nonzero(as_tuple=True)
    terms = logits[row, place - reach].double().log_softmax(-1).gather(1, input_ids[row, place][:, None])[:, 0]
    result = torch.zeros(len(logits), dtype=torch.float64).index_add(0, row, terms)
    return (result / completion_mask.sum(1).clamp(min=1) if mean else result).to(logits.dtype)


def logps_gradient_by_definition(logits, input_ids, completion_mask):
    """For each learned token: 1 at the token minus the probabilities, times the number of its row."""
    gradient = torch.zeros_like(logits, dtype=torch.float64)
    for i, t in completion_mask.nonzero().tolist():
        gradient[i, t - 1] -= (i + 1) * logits[i, t - 1].double().softmax(-1)
        gradient[i, t - 1, input_ids[i, t]] += i + 1
    return gradient.to(logits.dtype)


def margins_by_definition(pc, pr, rc, rr, beta):
    return beta * ((pc.double() - rc.double()) - (pr.double() - rr.double()))


def dpo_by_definition(pc, pr, rc, rr, beta):
    margins = margins_by_definition(pc, pr, rc, rr, beta)
    losses = torch.stack([-m if m < -40 else (-m).exp().log1p() for m in margins])
    return losses.mean().to(pc.dtype), margins.to(pc.dtype)


def gradients_by_definition(pc, pr, rc, rr, beta):
    slope = -beta * (-margins_by_definition(pc, pr, rc, rr, beta)).sigmoid() / len(pc)
    return [slope.to(pc.dtype), -slope.to(pc.dtype)]


def without_first(_mask, **_):
    mask = _mask.clone()
    mask[:, 0] = 0
    return mask


def rows(dtype):
    return {
        "logits": cases.tensor("rows", "tokens", "vocabulary", dtypes=(dtype,), scale=(0.3, 200)),
        "input_ids": cases.tensor("rows", "tokens", dtypes=("int64",), below="vocabulary"),
        "_mask": cases.tensor("rows", "tokens", dtypes=("int64",), high=1),
        "completion_mask": cases.derived(without_first, "0 and 1"),
    }


def pairs(dtype, lowest):
    """Log-probabilities from `lowest` to 0; or, for None, of −1000 and 0 alone, so that margins are up to ±2000."""
    ends = {"also": ("ends",), "without": ("any", "low", "high", "equal")} if lowest is None else {}
    logps = cases.tensor("pairs", dtypes=(dtype,), low=lowest or -1000, high=0, **ends)
    names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
    return {name: logps for name in names} | {"beta": cases.number(0.01, 1) if lowest else cases.choice(1.0)}


def check_completion_logps():
    hint = "a sum over the completion's tokens; token t is predicted by the logits of position t − 1; in the logits' precision"
    causes = {
        "it is a sum, not a mean": lambda *x: logps_by_definition(*x, mean=True),
        "the logits of position t are taken for token t": lambda *x: logps_by_definition(*x, reach=0),
        "the mask marks tokens, so it moves along with them": lambda x, ids, mask: logps_by_definition(
            x, ids, F.pad(mask[:, :-1], (1, 0))
        ),
        "a probability below 1e-45 is 0 in float32: no logarithm of a softmax or of a product": lambda x, ids, mask: (
            x[:, :-1].softmax(-1).gather(-1, ids[:, 1:, None])[..., 0].where(mask[:, 1:] == 1, 1).log().sum(1)
        ),
    }
    why = "None means that something cut the graph"
    for dtype, close in (("float32", {"atol": 1e-3}), ("float64", {"rtol": 1e-9, "atol": 1e-9})):
        drawn = cases.draw(seeds, rows(dtype), count=5, rows=(1, 40), tokens=(2, 150), vocabulary=(2, 40))
        check.agrees(completion_logps, logps_by_definition, drawn, "`completion_logps`", hint, causes=causes, **close)
        drawn = cases.draw(seeds, rows(dtype), count=2, rows=(1, 5), tokens=(2, 20), vocabulary=(2, 40))
        check.agrees(logps_gradient, logps_gradient_by_definition, drawn, "the gradient of `completion_logps`", why, **close)


def check_dpo_loss():
    def caused(wrong):
        def compute(pc, pr, rc, rr, beta):
            loss, margins = wrong(pc, pr, rc, rr, beta)
            return loss.mean(), margins

        return compute

    def without_reference(pc, pr, rc, rr, beta):
        return -F.logsigmoid(beta * (pc - pr)), beta * (pc - pr)

    def beta_outside(pc, pr, rc, rr, beta):
        margins = margins_by_definition(pc, pr, rc, rr, 1)
        return -beta * F.logsigmoid(margins), beta * margins

    def in_two_steps(pc, pr, rc, rr, beta):
        margins = beta * ((pc - rc) - (pr - rr))
        return -margins.sigmoid().log(), margins

    causes = {
        "an implied reward is beta * (policy − reference): the reference is missing": caused(without_reference),
        "beta stands inside the sigmoid": caused(beta_outside),
        "a computer's sigmoid of a very wrong pair is 0, its logarithm infinite: compute log sigmoid in one go": caused(
            in_two_steps
        ),
    }
    hint = "beta * ((policy − reference) of the chosen, minus the same of the rejected); then minus the mean of log sigmoid; in their precision"
    why = "beta / pairs times −sigmoid(−margin), halfway at 0. None means that something cut the graph; a NaN, that the loss overflows"
    for seed, (dtype, rtol), lowest in itertools.product(seeds, {"float32": 1e-4, "float64": 1e-8}.items(), (-9, -1000, None)):
        close = {"rtol": rtol, "atol": 1e-8 if dtype == "float64" else 1e-5 if lowest == -9 else 1e-3}
        drawn = cases.draw(seed, pairs(dtype, lowest), count=3, pairs=(1, 150))
        check.agrees(dpo_loss, dpo_by_definition, drawn, "(loss, margins) of `dpo_loss`", hint, causes=causes, **close)
        drawn = cases.draw(seed, pairs(dtype, lowest), count=2, pairs=(1, 30))
        check.agrees(
            loss_gradients, gradients_by_definition, drawn, "the policy's gradients of `dpo_loss`", why, rtol=1e-3, atol=1e-6
        )
    logps = [
        logps_by_definition(x, pair_batch["input_ids"], pair_batch["completion_mask"]) for x in (policy_logits, reference_logits)
    ]
    loss, margins = dpo_loss(*logps[0].chunk(2), *logps[1].chunk(2), 0.3)
    check.equal(loss, trl_dpo["loss"], "the loss on TRL's batch", "TRL's own is expected", rtol=1e-3)
    check.equal(margins.mean(), trl_dpo["rewards/margins"], "the mean margin on TRL's batch", "TRL's own is expected", rtol=1e-2)


with check.exercise("dpo"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"completion_logps": check_completion_logps, "dpo_loss": check_dpo_loss})
check.points(4)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# This is exercise 1 and exercise 2 together: the same shift between logits and tokens, and the same log-sigmoid. New is
# only what stands in for the reward: how much *more* likely than under the reference has the completion become?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `log_softmax(-1)`, then `gather(-1, tokens[..., None])` picks the log-probability of each token. Multiply with the mask (shifted as
# the tokens are) and sum. `F.logsigmoid`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
# ...                                                     # keep the completion's, sum a row
# margins = beta * ((policy_chosen - reference_chosen) - ...)
# return -F.logsigmoid(margins).mean(), margins
# ```
# </details>

# %% [markdown]
# The same six pairs, your numbers and TRL's:

# %%
tokens = pair_batch["input_ids"], pair_batch["completion_mask"]
logps = [completion_logps(x.clone(), *(y.clone() for y in tokens)) for x in (policy_logits, reference_logits)]
loss, margins = dpo_loss(*logps[0].chunk(2), *logps[1].chunk(2), 0.3)
chosen, rejected = logps[0].chunk(2)
print(f"{'':12}{'loss':>9}{'margin':>9}{'chosen':>9}{'rejected':>9}")
print(f"{'yours':12}{loss:9.4f}{margins.mean():9.4f}{chosen.mean():9.3f}{rejected.mean():9.3f}")
print(f"{'TRL':12}" + "".join(f"{trl_dpo[key]:9.4f}" for key in ("loss", "rewards/margins")), end="")
print("".join(f"{trl_dpo[key]:9.3f}" for key in ("logps/chosen", "logps/rejected")))

# %% [markdown]
# Train with the paper's formula and a usual $\beta$ of 0.1, and once more with **one thing changed**: the supervised loss of section 1
# on the chosen answers is added (`loss_type=["sigmoid", "sft"]`). Each with two seeds, which decide the order of the pairs.
#
# Both prefer the sentence. Watch what else moves.


# %%
def form_and_accuracy(model) -> dict:
    """On held-out sums and maxima: the share of answers that are a sentence, of those that are right, and all that are wrong."""
    rows = [row for task in ("add2", "max") for row in exam[task].select(range(100))]
    said = ask(model, [row["prompt"] for row in rows], tokens=24)
    wrong = [(row["prompt"], reply) for row, reply in zip(rows, said) if not verify(row["task"], row["prompt"], reply)]
    return {
        "sentence": sum(form(answer) == "sentence" for answer in said) / len(said),
        "right": 1 - len(wrong) / len(said),
        "wrong": wrong,
    }


recipes = {"plain": {}, "supervised term": dict(loss_type=["sigmoid", "sft"], loss_weights=[1.0, 1.0])}
three = ["What is 27+45?", "Largest of 12, 71, 33?", "Sort: 4 1 3"]
at_the_start = form_and_accuracy(model)
print(f"{'before':28}", ask(model, three, tokens=24))
moved, curves = {title: [] for title in recipes}, {title: [] for title in recipes}
for title, recipe in recipes.items():
    for seed in (24, 25):
        trainer = DPOTrainer(
            model=load_model(),
            args=DPOConfig(
                **(settings | {"seed": seed}),
                **recipe,
                beta=0.1,
                learning_rate=2e-4,
                per_device_train_batch_size=8,
                lr_scheduler_type="constant",
                max_steps=25,
            ),
            train_dataset=preferred.select_columns(["prompt", "chosen", "rejected"]),
            processing_class=tokenizer,
        )
        curves[title].append(train(trainer))
        moved[title].append(form_and_accuracy(trainer.model))
        print(f"{title + f', seed {seed}':28}", ask(trainer.model, three, tokens=24))

figure, panels = plt.subplots(1, 3, figsize=(14, 3.4), layout="constrained")
bars = {"before": at_the_start} | {f"{title}\nrun {i}": run for title, runs in moved.items() for i, run in enumerate(runs, 1)}
for offset, key, colour in ((-0.2, "sentence", "tab:blue"), (0.2, "right", "tab:green")):
    drawn = panels[0].bar(
        [x + offset for x in range(len(bars))], [row[key] for row in bars.values()], 0.38, color=colour, label=key
    )
    panels[0].bar_label(drawn, fmt="%.2f", fontsize=7)
panels[0].set_xticks(range(len(bars)), bars, fontsize=6)
panels[0].set(ylabel="share of held-out answers", title="form and accuracy", ylim=(0, 1.3))
panels[0].legend(fontsize=8, loc="upper left", ncols=2)
for panel, which in zip(panels[1:], ("chosen", "rejected")):
    for (title, runs), colour in zip(curves.items(), ("tab:red", "tab:green")):
        for run, log in enumerate(runs):
            values = [entry[f"logps/{which}"] for entry in log]
            panel.plot([entry["step"] for entry in log], values, "o-", color=colour, label="" if run else title)
    panel.set(xlabel="step", ylabel="log-probability (nats)", title=f"{which} completions")
    panel.legend(fontsize=8)
plt.show()

plain, cured = ([run["right"] for run in runs] for runs in moved.values())
if wrong := [case for run in moved["plain"] for case in run["wrong"]]:
    print("plain DPO is wrong on", *(f"{question} {reply!r}" for question, reply in wrong[:3]), sep="\n    ")
plain_said, cured_said = (both(f"{share:.1%}" for share in shares) for shares in (plain, cured))
claims.record(
    "alignment costs capability, and a supervised term pays it back",
    claimed="an alignment tax that can be avoided",
    measured=f"right answers {at_the_start['right']:.1%}; after DPO {plain_said}; with the supervised term {cured_said}",
    holds=max(plain) < at_the_start["right"] - 0.03 and min(cured) > max(plain),
    how="two runs each, which differ in that term alone; held-out sums and maxima; the preferred form rose from "
    + f"{at_the_start['sentence']:.0%} to {min(run['sentence'] for runs in moved.values() for run in runs):.0%} or more",
)

# %% [markdown]
# Plain DPO pays for the form with arithmetic: that is the **alignment tax**. How much depends on the run, as the two seeds show. Its
# mistakes look like right answers: a sentence, with a wrong number in it.
#
# The other panels show how. The loss wants a *difference* of log-probabilities, and does not care how it comes about: pushing the
# rejected answer down is enough. By the end nearly every answer is a sentence, so a chosen one should cost next to nothing. Under plain
# DPO it costs more: what the words of the sentence gained, the number in it lost. Chosen and rejected answers share their digits, and
# the push against the one hits the other. (*Likelihood displacement*,
# [Razin et al. 2024](https://arxiv.org/abs/2410.08847).)
#
# The supervised term holds the chosen answer up, and its log-probability comes closer to zero. A larger $\beta$ with a smaller step
# helps, too: try `beta=0.3, learning_rate=1e-4`. In every DPO run look at `logps/chosen`, not only at `rewards/accuracies`.
#
# One trap beside it. Without `ref_model=`, TRL loads the reference from the checkpoint named in the model's configuration, not
# from the weights you pass. If you trained the model in memory first (as `start` was), the reference is the model *before* that
# training. Save it and load it again, or pass `ref_model` yourself. `GRPOTrainer` with `beta > 0` does the same, and has no
# argument for it.
#
# ## 4 · The parts of reinforcement learning from rewards
#
# DPO needs pairs that somebody judged. Where a program can check the answer, the model can make its own examples: sample several
# answers, let the program mark them, make the good ones likelier. GRPO
# ([Shao et al. 2024](https://arxiv.org/abs/2402.03300)) and RLOO ([Ahmadian et al. 2024](https://arxiv.org/abs/2402.14740)) both
# do this without a **critic**, the second network by which PPO predicts what an unfinished answer will earn (a *value* network; the reward
# may still come from a reward model). What an answer earns is compared with what other answers to the same question earn. Three
# formulas make these methods up. To compare yours, one step of each trainer goes under a microscope.


# %%
class KeepSamples:
    """Beside a trainer: keeps the batch of sampled answers that goes into the loss."""

    def _generate_and_score_completions(self, inputs):
        self.kept = super()._generate_and_score_completions(inputs)
        return self.kept


class GRPOMicroscope(KeepSamples, GRPOTrainer):
    pass


class RLOOMicroscope(KeepSamples, RLOOTrainer):
    pass


def odd_reward(completions, **columns) -> list[float]:
    """For looking, not for training: the sum of the digits, which differs within nearly every group."""
    return [sum(int(sign) for sign in reply[0]["content"] if sign.isdecimal()) / 10 for reply in completions]


questions = data.load("tasks", names="min", split="train", n=1500, seed=3)
questions = questions.map(lambda row: {"prompt": user(row["prompt"]), "question": row["prompt"]}, remove_columns=["task"])
drawing = dict(num_generations=8, max_completion_length=5, temperature=1.0)
one_step = dict(**(settings | {"logging_steps": 1}), **drawing, per_device_train_batch_size=24, max_steps=1, learning_rate=1e-9)
kept, rewards_seen = {}, {}
for title, trainer_class, config in (
    ("grpo", GRPOMicroscope, GRPOConfig(**one_step, beta=0.1)),
    ("rloo", RLOOMicroscope, RLOOConfig(**one_step, beta=0.0)),
):
    seen = []

    def watched_reward(completions, seen=seen, **columns):
        seen.extend(odd_reward(completions))
        return seen[-len(completions) :]

    trainer = trainer_class(
        model=load_start(), reward_funcs=watched_reward, args=config, train_dataset=questions, processing_class=tokenizer
    )
    log = train(trainer)
    kept[title] = {key: value.cpu() for key, value in trainer.kept.items() if torch.is_tensor(value)}
    rewards_seen[title] = torch.tensor(seen)
    if title == "grpo":
        trl_kl, microscope = log[0]["kl"], trainer
    first = [tokenizer.decode(ids, skip_special_tokens=True) for ids in kept[title]["completion_ids"][:8]]
    print(
        f"{title}: {first}\n  rewards    {seen[:8]}\n  advantages {[round(a, 3) for a in kept[title]['advantages'][:8].tolist()]}"
    )

# %% [markdown]
# Three questions, eight answers each. The answers to one question are a **group**, and lie one after the other.
#
# Now a case for the loss. We take the log-probabilities of the sampled tokens, pretend that the answers were sampled some updates
# ago (the old log-probabilities are a little different), and let TRL compute its loss.

# %%
case = {key: value.to(microscope.model.device) for key, value in kept["grpo"].items()}
ids = torch.cat([case["prompt_ids"], case["completion_ids"]], 1)
attention = torch.cat([case["prompt_mask"], case["completion_mask"]], 1)
microscope.model.train()
with torch.no_grad():
    now, *_ = microscope._get_per_token_logps_and_entropies(microscope.model, ids, attention, case["completion_ids"].shape[1])
    generator = torch.Generator().manual_seed(24)
    case["old_per_token_logps"] = now + 0.4 * torch.randn(now.shape, generator=generator).to(now.device)
    microscope.current_gradient_accumulation_steps = 1
    trl_grpo_loss = microscope._compute_loss(microscope.model, case).item()
case = {
    "logps": now.cpu(),
    "old_logps": case["old_per_token_logps"].cpu(),
    "ref_logps": case["ref_per_token_logps"].cpu(),
    "advantages": case["advantages"].cpu(),
    "mask": case["completion_mask"].cpu(),
}
print({key: tuple(value.shape) for key, value in case.items()})
print(f"TRL: KL to the shipped model {trl_kl:.4f} nats a token; loss of the case {trl_grpo_loss:.4f}")

# %% [markdown]
# ### How far from the reference?
#
# A policy that chases a reward forgets what it was. What holds it back is a **KL penalty**: the divergence from a reference,
# $\mathrm{KL}(\pi_\theta \| \pi_\text{ref}) = \mathbb{E}_{x \sim \pi_\theta}[\log \pi_\theta(x) - \log \pi_\text{ref}(x)]$.
# Summing over the whole vocabulary at every position is expensive, so it is estimated from the sampled tokens alone.
# With $\delta = \log \pi_\text{ref}(x) - \log \pi_\theta(x)$ of a sampled token,
# [Schulman](http://joschu.net/blog/kl-approx.html) compares
#
# $$k_1 = -\delta, \qquad k_3 = e^{\delta} - \delta - 1 .$$
#
# Both have the right mean. $k_3$ is never negative: it adds $e^\delta - 1$, whose mean is zero, and which is large where
# $k_1$ is wrong. RLOO in TRL takes $k_1$ off the reward, GRPO adds $k_3$ to the loss.
#
# ### Exercise 4 · Two estimates of the divergence (`kl_estimates`, 2 points, 15 minutes, difficulty 1 of 3)
#
# `kl_estimates(logps, ref_logps, mask)`: `logps` and `ref_logps` are log-probabilities of sampled tokens, under the policy that
# sampled them and under the reference, both float32 or both float64, of shape `[answers, tokens]`. At every place, padding
# included, they are finite, none below −1000, and differ by at most 20. `mask`, int64 of the same shape, is 1 on real tokens and
# 0 on padding. Every axis has length 1 or more, and at least one token is real; an answer may have none.
#
# - $\delta$ is reference minus policy. The first result is the mean of $k_1$, which may be negative. <!-- rule: k1 -->
# - The second is the mean of $k_3$, never negative (but for rounding: the tests allow an error of 0.00001 in float32, and of a
#   tenth of that in float64). <!-- rule: k3 -->
# - Padding counts neither in the sum nor in the count, wherever it stands. <!-- rule: padding -->
# - Each real token weighs the same, in a long answer and in a short one. <!-- rule: tokens -->
# - Both results are scalar tensors of the dtype of `logps`. No gradient is needed: this is for measuring. <!-- rule: scalars -->
# - The arguments stay as they were. <!-- rule: unchanged -->


# %% exercise="kl_estimates" minutes=15 difficulty=1
def kl_estimates(logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means of k1 and k3 over the real tokens, in nats a token; all inputs [answers, tokens]."""
    ### BEGIN SOLUTION
    delta = ref_logps - logps
    k3 = delta.exp() - delta - 1
    return -(delta * mask).sum() / mask.sum(), (k3 * mask).sum() / mask.sum()
    ### END SOLUTION


# %% tests="kl_estimates" points=2
def estimates_by_definition(logps, ref_logps, mask, k3=lambda d: d.expm1() - d):
    """Of the real tokens, in double precision."""
    delta = (ref_logps.double() - logps.double())[mask == 1]
    return -delta.mean().to(logps.dtype), k3(delta).mean().to(logps.dtype)


def some_real(_mask, **_):
    mask = _mask.clone()
    mask[-1, -1] = 1
    return mask


def nearby(distance, lowest, dtype):
    """Log-probabilities from `lowest` to 0; the reference differs from the policy by `distance` at most."""
    return {
        "logps": cases.tensor("answers", "tokens", dtypes=(dtype,), low=lowest + distance, high=-distance),
        "_apart": cases.tensor("answers", "tokens", low=-distance, high=distance),
        "_whole": cases.choice(False, True),  # many tokens are exactly as likely under both
        "ref_logps": cases.derived(
            lambda logps, _apart, _whole: logps + (_apart.round() if _whole else _apart).to(logps), f"up to {distance} away"
        ),
        "_mask": cases.tensor("answers", "tokens", dtypes=("int64",), high=1),
        "mask": cases.derived(some_real, "0 and 1"),
    }


with check.exercise("kl_estimates"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    hint = "k1 is the mean of log policy − log reference over all real tokens, k3 that of exp(d) − d − 1, with d = log reference − log policy"
    causes = {
        "d is log reference − log policy": lambda p, q, m: estimates_by_definition(q, p, m),
        "the ratio in k3 has the reference on top": lambda p, q, m: (
            estimates_by_definition(p, q, m)[0],
            estimates_by_definition(q, p, m)[1],
        ),
        "padding counts here": lambda p, q, m: estimates_by_definition(p, torch.where(m == 1, q, p), torch.ones_like(m)),
        "each answer weighs the same here, however long it is": lambda p, q, m: [
            torch.tensor(row).nanmean()
            for row in zip(*(estimates_by_definition(*answer) for answer in zip(p, q, m) if answer[2].any()))
        ],
        "a mask is not a length: real tokens may stand anywhere": lambda p, q, m: estimates_by_definition(
            p, q, (torch.arange(m.shape[1]) < m.sum(1, keepdim=True)).long()
        ),
    }
    single, double = ("float32", {"rtol": 1e-4, "atol": 1e-5}), ("float64", {"rtol": 1e-6, "atol": 1e-6})
    kinds = ((0, -50, single), (1, -50, single), (20, -50, single), (1, -1000, double), (20, -1000, double), (20, -1000, single))
    for seed, (*far, (dtype, close)) in itertools.product(seeds, kinds):
        drawn = cases.draw(seed, nearby(*far, dtype), answers=(1, 70), tokens=(1, 200))
        check.agrees(kl_estimates, estimates_by_definition, drawn, "(k1, k3)", hint, causes=causes, **close)
    got = kl_estimates(case["logps"], case["ref_logps"], case["mask"])
    check.equal(got[1], trl_kl, "k3 on TRL's batch", "TRL's own figure is expected", rtol=1e-2)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Both are means over tokens. What does a padded place contribute to the sum, and what to the count?
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `Tensor.exp` (or `torch.expm1`), a product with the mask and two sums; or `x[mask == 1].mean()`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# delta = ref_logps - logps
# k3 = ...
# return -(delta * mask).sum() / mask.sum(), ...
# ```
# </details>

# %% [markdown]
# Are both right on average, and which is the better estimate? At the first position of an answer the whole vocabulary is at hand,
# so the exact divergence of `start` from the shipped model can be computed. To have policies at every distance we go from one to the
# other in steps, mixing log-probabilities. At each distance: 200 estimates, each from 20 sampled tokens.

# %%
prompt = tokenizer.apply_chat_template(
    user("Smallest of 12, 71, 33?"), add_generation_prompt=True, return_tensors="pt", return_dict=True
)
with torch.no_grad():
    far, reference = (m(**prompt.to(m.device)).logits[0, -1].double().log_softmax(-1).cpu() for m in (start, model))
torch.manual_seed(0)
exact, means, spreads, true_spreads = [], [], [], []
for part in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
    policy = (part * far + (1 - part) * reference).log_softmax(-1)
    exact.append((policy.exp() * (policy - reference)).sum().item())
    delta = reference - policy  # of every token of the vocabulary
    k1_k3 = torch.stack([-delta, delta.expm1() - delta])
    true_spreads.append((((k1_k3 - exact[-1]) ** 2 * policy.exp()).sum(1) / 20).sqrt().tolist())
    drawn = torch.multinomial(policy.exp(), 4000, replacement=True).view(200, 1, 20)
    estimates = torch.tensor([kl_estimates(policy[t], reference[t], torch.ones_like(t)) for t in drawn])
    means.append(estimates.mean(0).tolist())
    spreads.append(estimates.std(0).tolist())

figure, panels = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
panels[0].axhline(1, color="black", ls="--", lw=1, label="exact")
for column, label in enumerate(("k1", "k3")):
    shares = [row[column] / e for row, e in zip(means, exact)]
    errors = [2 * row[column] / 200**0.5 / e for row, e in zip(spreads, exact)]
    panels[0].errorbar(exact, shares, errors, fmt="o-", capsize=3, label=label, alpha=0.7)
    (line,) = panels[1].loglog(exact, [row[column] for row in true_spreads], label=f"{label}, exact")
    panels[1].loglog(exact, [row[column] for row in spreads], "o", color=line.get_color(), label=f"{label}, 200 estimates")
panels[0].set(xlabel="exact divergence (nats)", ylabel="mean estimate / exact", title="both are right on average")
panels[0].set(xscale="log", ylim=(0, 2))
panels[1].set(xlabel="exact divergence (nats)", ylabel="spread of an estimate (nats)", title="which one is steadier")
for panel in panels:
    panel.legend()
plt.show()

unbiased = all(abs(m - e) < 4 * s / 200**0.5 + 1e-3 for e, row, dev in zip(exact, means, spreads) for m, s in zip(row, dev))
near, far_off = (k3 / k1 for k1, k3 in (true_spreads[0], true_spreads[-1]))
claims.record(
    "k3 estimates the KL divergence without bias and with less variance than k1",
    claimed="unbiased, lower variance",
    measured=f"spread of k3 / spread of k1: {near:.2g} at {exact[0]:.3f} nats, {far_off:.2g} at {exact[-1]:.1f} nats",
    holds=unbiased and all(k3 < k1 for k1, k3 in true_spreads),
    how="spreads over the whole vocabulary, policies between the shipped model and `start`; bias from 200 estimates of 20 tokens"
    + ("" if unbiased else "; means are off"),
)

# %% [markdown]
# The bars on the left are two standard errors of the mean. Where an estimate strays from the dashed line within them, it is unsteady,
# not biased. On the right, lines are computed from the whole vocabulary, points from the 200 estimates.
#
# Near the reference $k_3$ is far steadier; that is where a KL penalty keeps the policy, and where the claim comes from. Far away, a
# single token that the reference likes much better than the policy makes $e^\delta$ large. The table has both ratios. Such tokens may be
# so rare that 4,000 samples hold none: then the points lie below the line, and the estimate looks steadier (and smaller) than it is.
# A KL curve with sudden spikes is often the estimator, not the policy.

# %% [markdown]
# ### Better than what?
#
# A reward of 1 means little when every answer to that question earns 1. What counts is the difference to what the model usually
# gets on the *same question*: the **advantage**. GRPO takes the group's mean away and divides by its spread; RLOO takes away
# the mean of the *other* answers, so that the baseline does not contain the answer that it judges:
#
# $$A_i^{\text{GRPO}} = \frac{r_i - \bar r}{s + 10^{-4}}, \qquad A_i^{\text{RLOO}} = r_i - \frac{1}{G-1} \sum_{j \ne i} r_j ,$$
#
# with $G$ answers in a group, their mean $\bar r$ and their sample standard deviation $s$ (with $G-1$ in the denominator).
#
# ### Exercise 5 · Advantages (`advantages`, 4 points, 25 minutes, difficulty 2 of 3)
#
# Two functions, each of which earns half of the points on its own. `rewards`, float32 or float64, has shape
# `[questions * group_size]`: the answers to one question lie next to each other. There are one question or more, of 2 answers or more
# each; rewards are any numbers from −10 to 10.
#
# - Advantages come back in the shape, order, dtype and precision of the rewards. <!-- rule: order -->
# - A group is compared with itself alone: other questions change nothing. <!-- rule: group -->
#
# `group_advantages(rewards, group_size, scale=True)` is GRPO's.
#
# - The group's mean is taken off. <!-- rule: mean -->
# - With `scale`, the difference is divided by the group's sample standard deviation ($G - 1$ in the
#   denominator) plus 0.0001, however close to each other its rewards are. <!-- rule: spread -->
# - With `scale=False` nothing is divided (Dr. GRPO, [Liu et al. 2025](https://arxiv.org/abs/2503.20783); in TRL
#   `scale_rewards="none"`). <!-- rule: scale -->
# - Where a whole group earns the same, its advantages are 0 (rounding may leave up to 0.05 in float32), never
#   NaN. <!-- rule: same -->
#
# `leave_one_out(rewards, group_size)` is RLOO's.
#
# - The mean of the *other* answers of the group is taken off: an answer's own reward is neither in the sum nor in the
#   count. That holds for equal rewards, and however close to each other they are. <!-- rule: others -->
#
# For both:
#
# - `rewards` stays as it was. <!-- rule: unchanged -->


# %% exercise="advantages" minutes=25 difficulty=2
def group_advantages(rewards: torch.Tensor, group_size: int, scale: bool = True) -> torch.Tensor:
    """GRPO's advantages of rewards [questions * group_size], same shape."""
    ### BEGIN SOLUTION
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    if scale:
        advantages = advantages / (groups.std(1, keepdim=True) + 1e-4)
    return advantages.flatten()
    ### END SOLUTION


def leave_one_out(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    """RLOO's advantages of rewards [questions * group_size], same shape."""
    ### BEGIN SOLUTION
    groups = rewards.view(-1, group_size)
    others = (groups.sum(1, keepdim=True) - groups) / (group_size - 1)
    return (groups - others).flatten()
    ### END SOLUTION


# %% tests="advantages" points=4
def grpo_by_definition(rewards, group_size, scale=True, correction=1, extra=1e-4):
    """Group by group, in double precision."""
    result = []
    for group in rewards.double().split(group_size):
        spread = ((group - group.mean()).square().sum() / (group_size - correction)).sqrt()
        result.append((group - group.mean()) / (spread + extra if scale else 1))
    return torch.cat(result).to(rewards.dtype)


def rloo_by_definition(rewards, group_size):
    groups = [group.tolist() for group in rewards.split(group_size)]
    return torch.tensor(
        [r - sum(g[:i] + g[i + 1 :]) / (group_size - 1) for g in groups for i, r in enumerate(g)], dtype=rewards.dtype
    )


def interleaved(definition, rewards, size, *rest):
    """As if the answers to one question stood `questions` places apart."""
    return definition(rewards.view(size, -1).T.flatten(), size, *rest).view(-1, size).T.flatten()


def drawn_rewards(dtype, near=(False, True), without=(), **more):
    """Rewards of groups, some of them all equal, some of very different magnitude, some nearly equal."""
    groups = cases.tensor("questions", "group_size", dtypes=(dtype,), scale=(1e-3, 10), without=without)
    return {
        "_groups": groups,
        "_near": cases.choice(*near),  # all within some millionths of 1
        "rewards": cases.derived(lambda _groups, _near: (1 + 4e-6 * _groups if _near else _groups).flatten()),
        "group_size": cases.size("group_size"),
        **more,
    }


def differences(causes, **more):
    """Rewards for what is not divided, and how far it may be off: where they nearly tie, less than they differ."""
    for dtype, largest, rtol, off in (("float32", 9, 1e-5, 1e-6), ("float64", 130, 1e-9, 1e-10)):
        drawn = cases.draw(seeds, drawn_rewards(dtype, (False,), **more), count=5, **sizes)
        yield drawn, {"rtol": rtol, "atol": 10 * off, "causes": causes}
        near = drawn_rewards(dtype, (True,), **more)  # of small groups in float32: a large one's rounding is larger
        yield cases.draw(seeds, near, count=2, questions=(1, 9), group_size=(2, largest)), {"rtol": rtol, "atol": off}


sizes = {"questions": (1, 40), "group_size": (2, 130)}


def check_group_advantages():
    hint = "groups lie one after the other: take each group's mean off, and with `scale` divide by its sample standard deviation + 1e-4; keep the precision"
    causes = {
        "mean and spread are those of the group, not of the batch": lambda r, g, s: grpo_by_definition(r, len(r), s),
        "groups lie one after the other": lambda r, g, s: interleaved(grpo_by_definition, r, g, s),
        "the spread has G − 1 in its denominator": lambda r, g, s: grpo_by_definition(r, g, s, correction=0),
        "0.0001 is added to the spread": lambda r, g, s: grpo_by_definition(r, g, s, extra=1e-8),
        "with scale=False nothing is divided": lambda r, g, s: grpo_by_definition(r, g),
    }
    same = {  # whole groups that earn the same, whatever it is
        "_reward": cases.number(-10, 10),
        "_shape": cases.tensor("questions", "group_size", dtypes=("float32",), layouts=("contiguous",)),
        "rewards": cases.derived(lambda _reward, _shape: torch.full((_shape.numel(),), _reward)),
        "group_size": cases.size("group_size"),
        "scale": cases.choice(True),
    }
    scaled = [
        (cases.draw(seeds, domain, **sizes), {**close, "causes": causes})
        for domain, close in (
            (drawn_rewards("float32", without=("equal",), scale=cases.choice(True)), {"rtol": 1e-4, "atol": 1e-2}),
            (same, {"rtol": 0, "atol": 5e-2}),
            (drawn_rewards("float64", scale=cases.choice(True)), {"rtol": 1e-8, "atol": 1e-8}),
        )
    ]
    for drawn, how in (*scaled, *differences(causes, scale=cases.choice(False))):
        check.agrees(group_advantages, grpo_by_definition, drawn, "`group_advantages`", hint, **how)
    check.equal(
        group_advantages(rewards_seen["grpo"], 8),
        kept["grpo"]["advantages"],
        "the advantages of TRL's GRPO batch",
        rtol=1e-3,
        atol=1e-3,
    )


def check_leave_one_out():
    hint = "the baseline is the mean of the others in the group: an answer's own reward is neither in the sum nor in the count; keep the precision"
    causes = {
        "the mean of the whole group holds the answer itself": lambda r, g: grpo_by_definition(r, g, False),
        "groups lie one after the other": lambda r, g: interleaved(rloo_by_definition, r, g),
        "the others are those of the group, not of the batch": lambda r, g: rloo_by_definition(r, len(r)),
        "of the others there are G − 1": lambda r, g: r - (r - rloo_by_definition(r, g)) * (g - 1) / g,
    }
    for drawn, how in differences(causes):
        check.agrees(leave_one_out, rloo_by_definition, drawn, "`leave_one_out`", hint, **how)
    check.equal(
        leave_one_out(rewards_seen["rloo"], 8),
        kept["rloo"]["advantages"],
        "the advantages of TRL's RLOO batch",
        rtol=1e-3,
        atol=1e-4,
    )


with check.exercise("advantages"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    check.parts({"group_advantages": check_group_advantages, "leave_one_out": check_leave_one_out})
check.points(4)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Give the groups an axis of their own, then every mean is a mean along one axis. For RLOO: the sum of the others is the sum of all
# without one's own.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `Tensor.view(-1, group_size)`, `mean(1, keepdim=True)`, `std(1, keepdim=True)` (which divides by $G-1$), `flatten`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# groups = rewards.view(-1, group_size)
# advantages = groups - ...                                 # and divide by std + 1e-4 if asked to
#
# others = (groups.sum(1, keepdim=True) - groups) / ...
# ```
# </details>

# %% [markdown]
# What does the division by the spread do? Take eight answers of which $k$ are right.

# %%
shares = torch.arange(9)
figure, panel = plt.subplots(figsize=(8, 3.2), layout="constrained")
for label, method in (
    ("GRPO", lambda r: group_advantages(r, 8)),
    ("GRPO, scale=False", lambda r: group_advantages(r, 8, scale=False)),
    ("RLOO", lambda r: leave_one_out(r, 8)),
):
    best = [method((torch.arange(8) < k).float())[0].item() for k in shares]
    panel.plot(shares[1:], best[1:], "o-", label=label)
panel.set(xlabel="right answers among eight", ylabel="advantage of a right answer", title="the rarer, the more it counts")
panel.legend()
plt.show()

# %% [markdown]
# A right answer among seven wrong ones gets the strongest push, and more so with the division: GRPO turns up the volume on
# questions that are nearly always failed (or nearly always solved, with the sign turned round). Where all eight earn the same, all advantages are
# zero and the question teaches nothing. TRL logs the share of such groups as `frac_reward_zero_std`: the first number to look at when
# a run does not move.

# %% [markdown]
# ### The clipped loss
#
# Each token of an answer is pushed with the answer's advantage. The answers may be a few updates old (*off-policy*), so the push is
# weighted by the ratio of the token's probability now to then. A token that has already moved far enough gets no further push (PPO's
# clipping, [Schulman et al. 2017](https://arxiv.org/abs/1707.06347)):
#
# $$\rho_{i,t} = \frac{\pi_\theta(x_{i,t})}{\pi_\text{old}(x_{i,t})}, \qquad
# \ell_{i,t} = -\min\!\big(\rho_{i,t} A_i,\ \mathrm{clip}(\rho_{i,t}, 1-\epsilon, 1+\epsilon)\, A_i\big) + \beta\, \rho_{i,t}\, k_3^{(i,t)},$$
#
# and the loss is the mean of $\ell$ over all real tokens of the batch (TRL's default, `loss_type="dapo"`). The ratio in front of
# $k_3$ is newer than most descriptions of GRPO: it makes the *gradient* of the penalty right, which the gradient of $k_3$ alone is
# not ([DeepSeek-V3.2](https://arxiv.org/abs/2512.02556); `use_bias_correction_kl=True`, TRL's default).
#
# ### Exercise 6 · GRPO's loss (`grpo_loss`, 4 points, 30 minutes, difficulty 3 of 3)
#
# `grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None)`: `logps`, `old_logps` and `ref_logps`,
# of shape `[answers, tokens]`, are finite log-probabilities of the sampled tokens, none below −1000; `advantages` has shape
# `[answers]`. All four are float32, or all float64. `mask`, int64 `[answers, tokens]`, is 1 on real tokens, wherever they
# stand, and at least one is. `epsilon` lies between 0.05 and 0.5, `beta` between 0 and 2; `ref_logps` may be None where `beta`
# is 0. Names and defaults of the arguments are as given.
#
# - The ratio of a token is that of its probabilities, now to then. It is clipped to $1 \pm \epsilon$. <!-- rule: clip -->
# - Each token of an answer takes the answer's advantage. The policy term is minus the **smaller of the two products**, ratio times
#   advantage and clipped ratio times advantage. <!-- rule: smaller -->
# - Nothing else is clipped or clamped: `logps` and `old_logps` differ by up to 8 (at padded places, too), and a token with a
#   negative advantage that has become likelier costs as much as the formula says. <!-- rule: unbounded -->
# - `beta` times ratio times $k_3$ is added, token by token, with the unclipped ratio; `logps` and `ref_logps` differ by
#   up to 3. (Write $k_3$ out: exercise 4 gave its mean.) <!-- rule: penalty -->
# - It returns the mean over all real tokens of the batch, a scalar tensor of the dtype of `logps`; padding counts
#   nowhere. <!-- rule: mean -->
# - Gradients flow to `logps`, through the ratio in both terms, and they are right. <!-- rule: gradients -->
# - The arguments stay as they were. <!-- rule: unchanged -->
#
# For one token with $\epsilon = 0.2$, $\beta = 0$: with advantage 2 and ratio 1.5 the loss is −2.4 (clipped, no gradient); with
# advantage −2 and ratio 1.5 it is 3 (not clipped: it has moved the wrong way).


# %% exercise="grpo_loss" minutes=30 difficulty=3
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None) -> torch.Tensor:
    """Clipped policy loss plus beta * ratio * k3, averaged over all real tokens of the batch."""
    ### BEGIN SOLUTION
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta > 0:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()
    ### END SOLUTION


# %% tests="grpo_loss" points=4
@check.scenario
def loss_gradient(logps, old_logps, advantages, mask, epsilon, beta, ref_logps):
    leaf = logps.clone().requires_grad_()
    loss = grpo_loss(leaf, old_logps, advantages, mask, epsilon=epsilon, beta=beta, ref_logps=ref_logps)
    if loss.requires_grad:
        loss.backward()
    return leaf.grad


def terms(logps, old_logps, advantages, mask, epsilon, beta, ref_logps):
    """Ratio, clipped ratio, advantage, and distance to the reference of each real token, in double precision."""
    real = mask == 1
    ratio = (logps.double() - old_logps.double()).exp()[real]
    clipped = torch.where(ratio < 1 - epsilon, 1 - epsilon, torch.where(ratio > 1 + epsilon, 1 + epsilon, ratio))
    delta = torch.zeros_like(ratio) if ref_logps is None else (ref_logps.double() - logps.double())[real]
    return ratio, clipped, advantages.double()[:, None].expand(mask.shape)[real], delta


def loss_by_definition(logps, old_logps, advantages, mask, epsilon, beta, ref_logps):
    ratio, clipped, a, delta = terms(logps, old_logps, advantages, mask, epsilon, beta, ref_logps)
    policy = -torch.where(ratio * a < clipped * a, ratio * a, clipped * a)
    return (policy + beta * ratio * (delta.expm1() - delta)).mean().to(logps.dtype)


def gradient_by_definition(logps, old_logps, advantages, mask, epsilon, beta, ref_logps):
    """The slope of a token: of the policy term unless it has moved far enough, and of ratio * k3."""
    ratio, clipped, a, delta = terms(logps, old_logps, advantages, mask, epsilon, beta, ref_logps)
    far_enough = ((a > 0) & (ratio > 1 + epsilon)) | ((a < 0) & (ratio < 1 - epsilon))
    slope = torch.where(far_enough, 0, -ratio * a) - beta * ratio * delta
    return torch.zeros_like(logps, dtype=torch.float64).masked_scatter(mask == 1, slope / len(slope)).to(logps.dtype)


def some_real(_mask, **_):
    mask = _mask.clone()
    mask[-1, -1] = 1
    return mask


def moved(distance, beta, dtype, lowest=-40):
    """Arguments of which the old log-probabilities are up to `distance` away; none is below `lowest`."""
    place = {"dtypes": (dtype,)}
    far = cases.tensor("answers", "tokens", low=-distance, high=distance, **place)
    near = cases.tensor("answers", "tokens", low=-3, high=3, **place)
    reference = {"_ref": near, "ref_logps": cases.derived(lambda logps, _ref, **_: logps + _ref, "up to 3 away")}
    return {
        "logps": cases.tensor("answers", "tokens", low=lowest + 8, high=-8, **place),
        "_old": far,
        "old_logps": cases.derived(lambda logps, _old, **_: logps + _old, f"up to {distance} away"),
        "advantages": cases.tensor("answers", **place),
        "_mask": cases.tensor("answers", "tokens", dtypes=("int64",), high=1),
        "mask": cases.derived(some_real, "0 and 1"),
        "epsilon": cases.number(0.05, 0.5),
        "beta": beta,
        **(reference if beta is not NONE else {"ref_logps": cases.choice(None)}),
    }


NONE = cases.choice(0.0)  # beta, where there is no reference


def caused(policy=None, k3=None, by_answer=False):
    """The loss with another policy term, or another KL term; the mean of the answers' means."""

    def compute(logps, old_logps, advantages, mask, epsilon, beta, ref_logps):
        ratio, clipped, a, delta = terms(logps, old_logps, advantages, mask, epsilon, beta, ref_logps)
        policy_term = policy(ratio, clipped, a) if policy else -torch.minimum(ratio * a, clipped * a)
        loss = policy_term + beta * (k3(ratio, delta) if k3 else ratio * (delta.expm1() - delta))
        if not by_answer:
            return loss.mean()
        return torch.stack([part.mean() for part in loss.split(mask.sum(1).tolist()) if len(part)]).mean()

    return compute


causes = {
    "of the two products the smaller is taken, not of the two ratios": caused(lambda r, c, a: -torch.minimum(r, c) * a),
    "the minimum is missing: a token that has moved the wrong way is not clipped": caused(lambda r, c, a: -c * a),
    "the larger of the two losses is the smaller of the two products": caused(lambda r, c, a: -torch.maximum(r * a, c * a)),
    "each answer weighs the same here, however long it is": caused(by_answer=True),
    "k3 is multiplied by the ratio, too": caused(k3=lambda r, d: d.expm1() - d),
    "k3 is added to the loss: distance costs": caused(k3=lambda r, d: -r * (d.expm1() - d)),
    "d of k3 is reference minus policy": caused(k3=lambda r, d: r * ((-d).expm1() + d)),
}

with check.exercise("grpo_loss"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    hint = "clip the ratio, take the smaller product, add beta * ratio * k3, average over all real tokens of the batch"
    why = (
        "None means that something cut the graph. A token that has moved far enough in the right direction gets no push, one that "
        "has moved the wrong way does; the ratio in front of k3 carries a gradient, too"
    )
    sizes = {"answers": (1, 70), "tokens": (1, 70)}
    some = cases.choice(0.3, 0.0, 0.01, 2.0)
    kinds = ((0.5, some, "float32"), (8, some, "float32"), (8, NONE, "float64"), (8, some, "float64", -1000))
    for seed, (distance, beta, dtype, *lowest) in itertools.product(seeds, kinds):
        domain, rtol = moved(distance, beta, dtype, *lowest), {"float32": 1e-4, "float64": 1e-7}[dtype]
        close = {"rtol": rtol, "atol": rtol * (0.1 if distance < 1 else 10)}
        check.agrees(
            grpo_loss, loss_by_definition, cases.draw(seed, domain, **sizes), "`grpo_loss`", hint, causes=causes, **close
        )
        drawn = cases.draw(seed, domain, count=2, answers=(1, 9), tokens=(1, 13))
        check.agrees(loss_gradient, gradient_by_definition, drawn, "the gradient of `grpo_loss`", why, rtol=1e-3, floor="row")
    four = [case[key] for key in ("logps", "old_logps", "advantages", "mask")]
    got = grpo_loss(*four, beta=0.1, ref_logps=case["ref_logps"])
    check.equal(got, trl_grpo_loss, "the loss of TRL's batch", "TRL's own is expected", rtol=1e-3)
    plain, what = loss_by_definition(*four, 0.2, 0.0, None), "epsilon is 0.2 and beta 0 by default"
    check.equal(grpo_loss(*four), plain, "the loss without the last three arguments", what, rtol=1e-4)
    check.equal(grpo_loss(*four, ref_logps=case["ref_logps"]), plain, "the loss without epsilon and beta", what, rtol=1e-4)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Advantages have one axis, tokens two. Which axis has to be added so that each token of an answer meets that answer's
# advantage? Then write the formula once for the whole tensor, and think of padding only at the very end.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `advantages[:, None]`, `Tensor.clamp(low, high)`, `torch.minimum`; the masked mean is that of exercise 4.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# ratio = (logps - old_logps).exp()
# loss = -torch.minimum(ratio * advantages[:, None], ...)
# if beta > 0:
#     loss = loss + beta * ...
# return (loss * mask).sum() / mask.sum()
# ```
# </details>

# %% [markdown]
# Your loss beside TRL's, and its shape: what one token is charged as its probability moves away from what it was.

# %%
copies = {key: value.clone() for key, value in case.items()}
yours = grpo_loss(*(copies[key] for key in ("logps", "old_logps", "advantages", "mask")), beta=0.1, ref_logps=copies["ref_logps"])
print(f"loss of the case: yours {yours:.5f}, TRL's {trl_grpo_loss:.5f}")

ratios = torch.linspace(0.4, 1.6, 121)
figure, panel = plt.subplots(figsize=(8, 3), layout="constrained")
for advantage, label in ((1.0, "a good answer (advantage +1)"), (-1.0, "a bad answer (advantage −1)")):
    row = [
        grpo_loss(
            ratio.log().view(1, 1), torch.zeros(1, 1), torch.tensor([advantage]), torch.ones(1, 1, dtype=torch.int64)
        ).item()
        for ratio in ratios
    ]
    panel.plot(ratios, row, label=label)
panel.axvspan(0.8, 1.2, alpha=0.1, color="black")
panel.set(xlabel="probability now / probability when it was sampled", ylabel="loss", title="no reward for going too far")
panel.legend()
plt.show()

# %% [markdown]
# Clipping acts only where the ratio can move. The runs below use each batch for one update (*on-policy*): then it is 1, and TRL's
# `clip_ratio/region_mean` 0, as section 6 prints. With `num_iterations` above 1, or where sampling runs ahead of training, it acts.
#
# > **Beyond the first GRPO** (TRL 1.16, November 2026; each is a field of `GRPOConfig`)
# >
# > - *Clip-higher*: an upper limit of 0.28 beside the lower one of 0.2, so that unlikely tokens can grow (`epsilon_high`;
# >   [DAPO](https://arxiv.org/abs/2503.14476)). It slows the fall of **entropy**, which TRL logs as `entropy`: where that nears 0, all
# >   rollouts of a question are the same, and nothing is left to compare.
# > - *GSPO*: one ratio a sequence, the mean of its log ratios, in place of one a token (`importance_sampling_level="sequence"`;
# >   [Zheng et al. 2025](https://arxiv.org/abs/2507.18071)).
# > - *Two engines*: rollouts usually come from vLLM, whose log-probabilities differ a little from the trainer's for the same weights.
# >   TRL weighs them with the ratio of the two, and drops what is too far off (`vllm_importance_sampling_correction`, on by default).

# %% [markdown]
# ## 5 · A reward with a hole
#
# Only the reward is missing. In TRL it is a function: it gets the sampled `completions` and every column of the data set, as
# keyword arguments, one entry an answer, and returns one number an answer. A first try checks what *smallest* means: no number of
# the question lies below it.


# %%
def lowest_reward(completions, question, **columns) -> list[float]:
    """1.0 where the reply names a number and no number of the question lies below it."""
    rewards = []
    for reply, asked in zip(completions, question):
        lowest = min(int(number) for number in re.findall(r"\d+", asked))
        rewards.append(float(any(int(number) <= lowest for number in re.findall(r"\d+", reply[0]["content"]))))
    return rewards


examples = ["12", "The answer is 12.", "33", "71", "I do not know."]
print(dict(zip(examples, lowest_reward([assistant(reply) for reply in examples], ["Smallest of 12, 71, 33?"] * 5))))

# %% [markdown]
# Right answers are paid, wrong ones are not. A reviewer would let it pass. GRPO takes a few steps from `start` with it.


# %%
def paid_and_right(replies: list[str]) -> tuple[float, float]:
    """Of replies to the held-out questions: the share that `lowest_reward` pays, and the share that is right."""
    rows = exam["min"]
    paid = lowest_reward([assistant(reply) for reply in replies], rows["prompt"])
    return sum(paid) / len(rows), sum(verify("min", row["prompt"], reply) for row, reply in zip(rows, replies)) / len(rows)


honest = ask(start, exam["min"]["prompt"], sample=True)
hacker = GRPOTrainer(
    model=load_start(),
    reward_funcs=lowest_reward,
    args=GRPOConfig(
        **(settings | {"logging_steps": 2}),
        **drawing,
        per_device_train_batch_size=64,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        beta=0.0,
        max_steps=12,
    ),
    train_dataset=questions,
    processing_class=tokenizer,
)
log = train(hacker)
hacked = ask(hacker.model, exam["min"]["prompt"], sample=True)
(paid_before, right_before), (paid_after, right_after) = paid_and_right(honest), paid_and_right(hacked)

figure, panels = plt.subplots(1, 2, figsize=(12, 3.4), layout="constrained")
panels[0].plot([entry["step"] for entry in log], [entry["reward"] for entry in log], "o-")
panels[0].set(xlabel="step", ylabel="mean reward", title="what the trainer reports", ylim=(0, 1.05))
for replies, label in ((exam["min"]["answer"], "right answers"), (honest, "before"), (hacked, "after 12 steps")):
    numbers = [int(found[0]) for found in (re.findall(r"\d+", reply) for reply in replies) if found]
    panels[1].hist(numbers, bins=range(0, 101, 2), alpha=0.6, label=label)
panels[1].set(xlabel="number answered", ylabel="held-out questions", title="what it answers (the axis is cut)", ylim=(0, 30))
panels[1].legend(fontsize=8)
plt.show()
print(f"held-out questions: paid {paid_before:.0%} -> {paid_after:.0%}, right {right_before:.0%} -> {right_after:.0%}")
for question, reply in zip(exam["min"]["prompt"][:5], hacked):
    print(f"{question:26} {reply!r}")

claims.record(
    "a reward that rises shows a model that improves",
    claimed="the reward curve is the progress",
    measured=f"paid {paid_before:.0%} -> {paid_after:.0%}, right {right_before:.0%} -> {right_after:.0%} in {hacker.state.global_step} steps",
    holds=right_after > right_before,
    how="sampled answers to held-out questions; a reward that checks a property of the right answer, not the answer",
)

# %% [markdown]
# The curve on the left is all that a dashboard shows, and it could not look better. The panel on the right shows what happened: whatever
# the question, the model now answers with next to nothing, since no number lies below *that*. It has unlearned the little that it
# knew (*reward hacking*). Nobody told it to cheat; the reward did. The check asked for one property of the answer and forgot the
# other: that the number stands in the question at all. Sorting that is checked by "is it ascending?", code that is checked by "do the
# tests pass?" have holes of the same kind.
#
# There is a second hole, which this model did not need: a reply that names *all* the numbers is paid too. Before any training, read
# what your reward pays for, and during training read answers.
#
# ### Exercise 7 · Close the hole (`exact_reward`, 3 points, 20 minutes, difficulty 2 of 3)
#
# `exact_reward(completions, answer, **columns)`: `completions` is a list of one reply or more. Each is a chat of one message,
# `[{"role": "assistant", "content": text}]`, or, where TRL was given prompts as plain text, the text itself; all of a call are of one
# form. `answer` is a list of as many strings, the right number for each, such as `"12"`, `"0"` or `"-4"`. A text may be empty.
#
# A **number** in a text is a run of the digits 0 to 9, as long as it goes, wherever it stands (between letters, too), with a minus
# sign if one stands directly before it: `-`, and no other sign. `3.8` and `1,000` hold two numbers each, `9 - 12` holds `9` and `12`,
# and `x-7y` and `x--7y` hold `-7`. A text may be long and have several lines, all of which count. (No other kinds of digits come.)
#
# - The reward is 1.0 where the text names **exactly one number**, once. <!-- rule: one -->
# - That number must be the answer, the whole of it and written as it is in `answer`: `05` is not `5`, nor is `-5`. <!-- rule: answer -->
# - Words and signs around it are welcome. <!-- rule: words -->
# - In every other case the reward is 0.0. <!-- rule: zero -->
# - It returns a list of Python floats, one for each completion, in their order. <!-- rule: list -->
# - Both forms of completions are understood; each shows by itself which it is. <!-- rule: forms -->
# - Whatever other columns TRL passes arrive in `columns`: any number of them, of any content, or
#   none. <!-- rule: columns -->
# - Arguments stay as they were. <!-- rule: unchanged -->


# %% exercise="exact_reward" minutes=20 difficulty=2
def exact_reward(completions, answer, **columns) -> list[float]:
    """1.0 where the reply names exactly one number, the right one."""
    ### BEGIN SOLUTION
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\d+", text) == [right]) for text, right in zip(texts, answer)]
    ### END SOLUTION


# %% tests="exact_reward" points=3
@check.scenario
def rewards(completions, answer, columns):
    """Called as TRL does; what kinds of things come back, and the rewards."""
    given = exact_reward(completions=completions, answer=answer, **columns)
    if not isinstance(given, (list, tuple)):
        return {"type": type(given).__name__, "rewards": []}
    of = " and ".join(sorted({type(reward).__name__ for reward in given} or {"float"}))
    return {"type": f"{type(given).__name__} of {of}", "rewards": list(given)}


def rewards_by_definition(completions, answer, columns):
    """Numbers of a text: it is read sign by sign."""
    result = []
    for reply, right in zip(completions, answer):
        numbers, before = [], ""
        for sign in reply if isinstance(reply, str) else reply[0]["content"]:
            if sign in "0123456789" and before and before in "0123456789":
                numbers[-1] += sign
            elif sign in "0123456789":
                numbers.append("-" + sign if before == "-" else sign)
            before = sign
        result.append(float(numbers == [right]))
    return {"type": "list of float", "rewards": result}


# by what they show: pairs of text and answer
kinds = {
    "one reply, one answer": "12=12|33=12|71=33|100=100|0=0|-4=-4",
    "a number that is small enough is not yet the answer: that is what the model was paid for above": "0=12|3=12|-1=5",
    "words and signs around the number are welcome": "The answer is 12.=12|Sure! It is 7, I think. More?=7| 40\n=40|(12)=12|100%=100|5!=5",
    "a reply without a number earns nothing": "=5|I do not know.=5|five=5",
    "naming several numbers must not pay, or the model will name them all": "12 71 33=12|71 12=12|33, no, 12=12|12 or 71=12|1 2=12|71\n12=12|12\n71=12|3 and 4.\n\n7=7|<b>71</b>12=12",
    "a text may have several lines, all of which count": "Sure!\nIt is 7.\nMore?=7|7\n\nor 8\n=7",
    "only digits make up a number: any other sign ends it": "1,000=1000|-2,500=-2500|12,71=1271|1'000=1000|1_000=1000|3.8=38|3/8=38|1\n2=12",
    "the same number twice is not one number": "12 12=12|5, so 5.=5",
    "the whole number must be the answer, not a part of it": "123=12|412=12|120=0|0123456789=5|3 8=38|3.8=3|3.8=38",
    "a number is written as in the answer": "05=5|00=0|5.0=5|012=12|100000000000000000001=100000000000000000000",
    "a minus sign belongs to the number that it stands directly before": "-12=12|-0=0|4=-4|- 4=-4|- 4=4|9 - 12=12|-40=-4|5-5=5|x-7=-7|12-=12|3-8=38",
    "the minus sign is - and no other": "−4=4|−4=-4|–12=12|–12=-12|3 −4=4|+5=5",
    "a run of digits is a number wherever it stands": "x12y=12|a5=5|No.7=7|x=y7",
    "the whole of a text counts, however long it is": f"{9000 * 'so '}7=7|7{9000 * ' so'}=7|7{9000 * ' so'} 8=7",
}
why = {hint: [tuple(pair.rsplit("=", 1)) for pair in texts.split("|")] for hint, texts in kinds.items()}
columns = (
    {"prompts": [user("?")], "completion_ids": [[1]], "trainer_state": None},
    {},
    {"prompts": ["?"], "question": ["Smallest of 3, 12?"], "texts": [""], "reply": "12", "right": 12},
)


def drawn_texts(seed):
    """Texts of digits, signs and letters, and a right answer: the last number, or all digits put together."""
    generator, signs = torch.Generator().manual_seed(seed), "0123456789--., ax−\n"
    for length in range(1, 80):
        text = "".join(signs[i] for i in torch.randint(len(signs), (length % 9 + 1,), generator=generator))
        last, joined = (re.findall(r"-?\d+", text) or ["7"])[-1], re.sub(r"\D", "", text) or "7"
        yield text, str(int(last if length % 3 else joined))


def single_calls(pairs):
    """One text at a time, in both forms."""
    for text, right in pairs:
        shown = text if len(text) < 60 else f"{text[:9]}… ({len(text)} signs) …{text[-9:]}"
        for wrapped in (assistant, str):
            yield cases.Case(
                {"completions": [wrapped(text)], "answer": [right], "columns": {}},
                {"completions": repr([wrapped(shown)]), "answer": repr([right])},
            )


def batches(seed):
    """All texts at once, in another order, in both forms and with other columns."""
    pairs = [pair for texts in why.values() for pair in texts] + list(drawn_texts(seed))
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    texts, answers = zip(*(pairs[i] for i in order))
    for some in columns:
        for wrapped, what in ((map(assistant, texts), "chats"), (texts, "texts")):
            yield cases.Case(
                {"completions": list(wrapped), "answer": list(answers), "columns": some},
                {"completions": f"{len(texts)} {what}", "columns": repr(some)},
            )


with check.exercise("exact_reward"):
    seeds = [24]
    ### BEGIN HIDDEN TESTS
    another = 25  # release: seed
    seeds.append(another)
    ### END HIDDEN TESTS
    for hint, pairs in why.items():
        check.agrees(rewards, rewards_by_definition, single_calls(pairs), "the rewards", hint)
    for seed in seeds:
        hint = "exactly one number, the whole of it, written as in the answer"
        check.agrees(rewards, rewards_by_definition, single_calls(drawn_texts(seed)), "the rewards", hint)
        hint = "each reply has its own answer, and one reward in its place"
        check.agrees(rewards, rewards_by_definition, batches(seed), "the rewards", hint)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# First find all numbers in a reply. Then the rule is one comparison of two lists.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# `re.findall` with an optional minus sign before one or more digits; `isinstance(reply, str)`.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# texts = [reply if isinstance(reply, str) else ... for reply in completions]
# return [float(re.findall(r"...", text) == ...) for text, right in zip(texts, answer)]
# ```
# </details>

# %% [markdown]
# What does your reward pay for the answers of the model that learned to cheat?

# %%
again = sum(exact_reward([assistant(reply) for reply in hacked], exam["min"]["answer"])) / len(hacked)
print(
    f"the same {len(hacked)} answers: {paid_after:.0%} paid by lowest_reward, {again:.0%} by yours; {right_after:.0%} are right"
)

# %% [markdown]
# That closes it for answers that exist already. Whether it holds under training, section 6 shows, from the same start.
#
# ### Exercise 8 · Tests for a reward (`check_reward`, 3 points, 25 minutes, difficulty 2 of 3)
#
# A reward is a program that an optimiser will search for mistakes, thousands of times an hour. So it deserves tests more than
# most programs do. Write `check_reward(reward)`. It calls the reward that it is given, as TRL does, with keyword arguments
# (`reward(completions=..., answer=...)`, and other columns if you like) and with what exercise 7 allows: one reply or more, all of a
# call of one form.
#
# - If the reward keeps the contract of exercise 7, however it is written, nothing is raised. <!-- rule: accepts -->
#
# If it breaks the contract in one of these ways, an error is raised (use `assert`; what you return is ignored):
#
# - Replies that name one number: it pays for a smaller number than the answer or for a larger one, for one that only begins or ends
#   with it, for one with a minus sign more or less, or for another spelling (`05` for `5`); or it does not pay for the answer,
#   positive or negative. <!-- rule: number -->
# - Replies that name several numbers: it pays where the answer is the first of them or the last, where it comes twice, or where it
#   is what they make when put together (`1,000` for `1000`). <!-- rule: several -->
# - Replies that name no number: it pays, for an empty text or for words alone. <!-- rule: silence -->
# - Words around the answer: it does not pay, because of those before it or of those behind it. <!-- rule: words -->
# - The values are others than 1.0 for the answer and 0.0 for the rest: smaller or larger ones. <!-- rule: values -->
# - Several replies in one call: rewards are not one for each (too few, too many, a single number), not in their order, or all
#   by the same answer. <!-- rule: batch -->
# - It understands only one of the two forms of completions. <!-- rule: forms -->
# - It fails when TRL passes other columns. <!-- rule: columns -->
#
# (Whether arguments stay as they were, and whether `1` and `True` are taken for 1.0, need not be checked.) Your checks are run
# on correct rewards and on broken ones, some of them hidden, all of these kinds. A correct one that you turn down costs all
# points. Otherwise the share of the broken ones that you catch is the share of the points that you get. Here are a few, as
# people write them, and what they pay.


# %%
def on_texts(rule):
    """A reward from a rule for one reply: rule(text, right) -> anything that counts as a number."""

    def reward(completions, answer, **columns):
        texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
        return [float(rule(text, right)) for text, right in zip(texts, answer)]

    return reward


def numbers_in(text: str) -> list[str]:
    return re.findall(r"-?\d+", text)


shown_rights = {"compares lists": on_texts(lambda text, right: numbers_in(text) == [right])}
shown_bugs = {
    "pays for any number that is small enough": on_texts(lambda text, right: any(int(n) <= int(right) for n in numbers_in(text))),
    "pays where the answer is part of the text": on_texts(lambda text, right: right in text),
    "pays where the answer is among the numbers": on_texts(lambda text, right: right in numbers_in(text)),
    "takes the last number": on_texts(lambda text, right: numbers_in(text)[-1:] == [right]),
    "allows no words": on_texts(lambda text, right: text == right),
    "pays for silence": on_texts(lambda text, right: numbers_in(text) in ([right], [])),
    "always pays": on_texts(lambda text, right: True),
}
sample = ["12", "The answer is 12.", "12 71 33", "71 12", "123", "", "33", "0"]
print(f"{'reply, 12 is right:':46}", *(f"{reply[:10]!r:>13}" for reply in sample))
for title, reward in (shown_rights | shown_bugs).items():
    print(f"{title:46}", *(f"{value:13.0f}" for value in reward([assistant(reply) for reply in sample], ["12"] * len(sample))))


# %% exercise="check_reward" minutes=25 difficulty=2
def check_reward(reward) -> None:
    """Raise for a reward function that breaks the contract of exercise 7; else return."""
    ### BEGIN SOLUTION
    paid = "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4"
    unpaid = "33=12|0=12|12 71=12|71 12=12|7 7=7|1,000=1000|123=12|412=12|05=5|-12=12|12=-12|=5|no idea=5"
    cases = [case.split("=") for case in f"{paid}|{unpaid}".split("|")]
    texts, answers = [text for text, _ in cases], [right for _, right in cases]
    wanted = [1.0] * len(paid.split("|")) + [0.0] * len(unpaid.split("|"))
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, trainer_state=None)
        assert got == wanted, "a reward is wrong"
    ### END SOLUTION


# %% tests="check_reward" points=3
def by_matches(completions, answer, **columns):
    """Right, in another style."""
    out = []
    for reply, right in zip(completions, answer):
        text = reply if isinstance(reply, str) else "".join(m["content"] for m in reply if m["role"] == "assistant")
        found = list(re.finditer(r"-?[0-9]+", text))
        out.append(1.0 if len(found) == 1 and found[0].group() == right else 0.0)
    return out


def by_one_pattern(completions, answer, prompts=None, **columns):
    """Right: the whole text is no digits, a number, no digits."""
    texts = [reply if type(reply) is str else reply[-1]["content"] for reply in completions]
    matches = [re.fullmatch(r"\D*?(-?\d+)\D*", text) for text in texts]
    return [float(match is not None and match[1] == right) for match, right in zip(matches, answer)]


def by_first_reply(*, completions, answer, **columns):
    """Right: called with keyword arguments; all replies of a call are of one form, which the first one shows."""
    chats = not isinstance(completions[0], str)
    texts = [reply[0]["content"] for reply in completions] if chats else completions
    return [float(re.findall("-?[0-9]+", text) == [right]) for text, right in zip(texts, answer)]


def one_number(rule):
    """A reward that pays by `rule(number, right)` where there is exactly one number."""
    return on_texts(lambda text, right: len(numbers_in(text)) == 1 and rule(numbers_in(text)[0], right))


def exact_rule(text, right):
    return numbers_in(text) == [right]


exact = on_texts(exact_rule)


def at_ends(text, right):
    """Whether the first number of a text and the last one are the answer, as "10" and the like; "1" where it is the only one."""
    numbers = numbers_in(text)
    return "1" if numbers == [right] else "".join(str(int(number == right)) for number in (*numbers[:1], *numbers[-1:]))


def first_answer_for_all(completions, answer, **columns):
    return exact(completions, [answer[0]] * len(completions))


def skips_empty(completions, answer, **columns):
    some = [(c, a) for c, a in zip(completions, answer) if numbers_in(c if isinstance(c, str) else c[0]["content"])]
    return exact([c for c, _ in some], [a for _, a in some])


def chats_only(completions, answer, **columns):
    return [float(numbers_in(reply[0]["content"]) == [right]) for reply, right in zip(completions, answer)]


def texts_only(completions, answer, **columns):
    return [float(numbers_in(reply) == [right]) for reply, right in zip(completions, answer)]


with check.exercise("check_reward"):
    right = shown_rights | {"looks at matches": by_matches, "one pattern": by_one_pattern, "asks the first reply": by_first_reply}
    wrong = shown_bugs | {
        "takes the first number": on_texts(lambda text, right: numbers_in(text)[:1] == [right]),
        "puts several numbers together": on_texts(lambda text, right: "".join(numbers_in(text)) == right),
        "ignores the minus sign": on_texts(lambda text, right: re.findall(r"\d+", text) == [right.lstrip("-")]),
        "does not know minus signs": on_texts(lambda text, right: re.findall(r"\d+", text) == [right]),
        "pays for a number that begins with the answer": one_number(str.startswith),
        "pays for any number that is large enough": one_number(lambda number, right: int(number) >= int(right)),
        "allows no words before the answer": on_texts(lambda text, right: exact_rule(text, right) and text.startswith(right)),
        "allows no words behind the answer": on_texts(lambda text, right: exact_rule(text, right) and text.endswith(right)),
        "never pays": on_texts(lambda text, right: False),
        "pays half": on_texts(lambda text, right: (numbers_in(text) == [right]) / 2),
        "compares all with the first answer": first_answer_for_all,
        "takes chats only": chats_only,
        "takes plain texts only": texts_only,
        "takes no other columns": lambda completions, answer: exact(completions, answer),
        "returns them in reverse": lambda completions, answer, **c: exact(completions, answer)[::-1],
        "leaves the last reply out": lambda completions, answer, **c: exact(completions, answer)[: max(1, len(answer) - 1)],
    }
    ### BEGIN HIDDEN TESTS
    right |= {"compares lists of digits": on_texts(lambda text, right: re.findall("-?[0-9]+", text) == [right])}
    wrong |= {
        "pays for the answer said twice": on_texts(lambda text, right: set(numbers_in(text)) == {right}),
        "pays for a number that ends with the answer": one_number(lambda n, right: re.fullmatch(rf"([1-9]\d*)?{right}", n) is not None),
        "never pays for a negative answer": one_number(lambda number, right: number == right and number[0] != "-"),
        "pays where other numbers follow the answer": on_texts(lambda text, right: at_ends(text, right) in ("1", "10")),
        "pays where other numbers go before the answer": on_texts(lambda text, right: at_ends(text, right) in ("1", "01")),
        "compares the numbers, not how they are written": one_number(lambda number, right: int(number) == int(right)),
        "pays for any single number": one_number(lambda number, right: True),
        "pays for the answer with a minus sign": one_number(lambda number, right: number in (right, "-" + right)),
        "pays for the answer without its minus sign": one_number(lambda number, right: number in (right, right.lstrip("-"))),
        "pays for words alone": on_texts(lambda text, right: exact_rule(text, right) or text != "" and not numbers_in(text)),
        "pays for an empty text": on_texts(lambda text, right: exact_rule(text, right) or text == ""),
        "gives minus one for a wrong answer": on_texts(lambda text, right: 2.0 * exact_rule(text, right) - 1),
        "gives a tenth for trying": on_texts(lambda text, right: max(0.1, exact_rule(text, right))),
        "pays ten": on_texts(lambda text, right: 10 * exact_rule(text, right)),
        "returns one too many": lambda completions, answer, **c: [*exact(completions, answer), 0.0],
        "leaves replies without a number out": skips_empty,
        "returns one mean": lambda completions, answer, **c: sum(exact(completions, answer)) / len(answer),
    }
    ### END HIDDEN TESTS
    check.catches(check_reward, right, wrong, "your checks")
check.points(3)


# %% [markdown]
# <details><summary>Hint 1 · what to think about</summary>
#
# Read the contract sentence by sentence, and for each ask: what would a reward look like that gets just this wrong, and for which reply
# would it show? Do not forget what surrounds the numbers: order, length, type, other columns.
# </details>
# <details><summary>Hint 2 · what to look up</summary>
#
# A list of cases `(reply, right answer, reward)` and one call on all of them at once says more than many calls, since it also tests
# the order. `zip(*cases)` takes it apart.
# </details>
# <details><summary>Hint 3 · most of the code</summary>
#
# ```python
# cases = [("12", "12", 1.0), ("33", "12", 0.0), ("The answer is 5.", "5", 1.0), ("12 71", "12", 0.0), ...]
# texts, answers, wanted = map(list, zip(*cases))
# for completions in ([assistant(text) for text in texts], texts):
#     got = reward(completions=completions, answer=answers, trainer_state=None)
#     assert got == wanted
# ```
# </details>

# %% [markdown]
# ## 6 · Learning from right and wrong alone
#
# Everything is in place: a model that is right now and then, and a reward without a known hole. GRPO with **your** reward, from
# `start`, the model that the reward with the hole ruined. It sees questions, never an answer. Two seeds decide which questions come and
# what is sampled. Then RLOO, for its first steps.
#
# What would the same questions be worth **with** their answers? That is the control: supervised training on as many questions.
#
# Before it starts, a forecast. If every question is answered rightly with the same probability $p$, a group of eight has something
# to compare with probability $1 - p^8 - (1-p)^8$. At 1 % that is one group in thirteen, at 10 % more than every second. This is
# what the supervised steps were for.


# %%
def reinforce(trainer_class, config_class, steps: int, seed: int = 24):
    """Train a copy of `start` with your reward; the trainer and its log."""
    trainer = trainer_class(
        model=load_start(),
        reward_funcs=exact_reward,
        args=config_class(
            **(settings | {"seed": seed}),
            **drawing,
            per_device_train_batch_size=64,
            learning_rate=2e-4,
            lr_scheduler_type="constant",
            beta=0.0,
            max_steps=steps,
        ),
        train_dataset=questions,
        processing_class=tokenizer,
    )
    return trainer, train(trainer)


steps = 40
runs = [reinforce(GRPOTrainer, GRPOConfig, steps, seed) for seed in (24, 25)]
_, rloo_log = reinforce(RLOOTrainer, RLOOConfig, 10)

answered = questions.select(range(8 * steps)).map(
    lambda row: {"prompt": row["prompt"], "completion": assistant(row["answer"])}, remove_columns=["question", "answer"]
)
control = SFTTrainer(
    model=load_start(),
    args=SFTConfig(**settings, per_device_train_batch_size=8, learning_rate=2e-4, lr_scheduler_type="constant", max_steps=steps),
    train_dataset=answered,
    processing_class=tokenizer,
)
train(control)

# %%
figure, panels = plt.subplots(1, 2, figsize=(12, 3.4), layout="constrained")
for label, log in (*((f"GRPO, run {i}", log) for i, (_, log) in enumerate(runs, 1)), ("RLOO", rloo_log)):
    panels[0].plot([entry["step"] for entry in log], [entry["reward"] for entry in log], "o-", ms=3, label=label)
panels[0].set(xlabel="step", ylabel="mean reward", title="'smallest of', sampled answers")
panels[0].legend()
share = torch.linspace(0, 1, 101)
panels[1].plot(share, share**8 + (1 - share) ** 8, color="grey", label="forecast: all questions equally hard")
entries = [entry for _, log in runs for entry in log]
silent = [entry["frac_reward_zero_std"] for entry in entries]
panels[1].plot([entry["reward"] for entry in entries], silent, "o", ms=4, label="GRPO, each point five steps")
panels[1].set(xlabel="mean reward", ylabel="groups without a signal", title="questions that teach nothing", ylim=(0, 1.3))
panels[1].legend(fontsize=8)
plt.show()

trained = {"before": start, "GRPO, run 1": runs[0][0].model, "GRPO, run 2": runs[1][0].model, "control": control.model}
print(f"{'':14}{'sampled':>9}", *(f"{task:>7}" for task in exam), "  (min is the new task; the others' likeliest tokens)")
sampled, likeliest = {}, {}
for title, trained_model in trained.items():
    sampled[title] = accuracy(trained_model, exam["min"], sample=True)
    likeliest[title] = {task: accuracy(trained_model, rows) for task, rows in exam.items()}
    print(f"{title:14}{sampled[title]:9.2f}", *(f"{share:7.2f}" for share in likeliest[title].values()))
last = entries[-1]
at_last, silent_share = last["reward"], last["frac_reward_zero_std"]
print(
    f"at a mean reward of {at_last:.0%} the forecast is {at_last**8 + (1 - at_last) ** 8:.0%} of groups without a signal, "
    f"measured are {silent_share:.0%}; largest clip ratio of all runs: {max(e['clip_ratio/region_mean'] for e in entries):.2f}"
)
for question, old, new in zip(exam["min"]["prompt"][:4], *(ask(m, exam["min"]["prompt"][:4]) for m in (start, runs[0][0].model))):
    print(f"{question:26} before {old!r:>8}   after {new!r:>8}")

# %% [markdown]
# The hole is closed: what the reward counts is what the exam counts, and what the model samples gets better without a single answer
# shown. The control says what that is worth: where the answers are at hand, compare its line in the table, and the CPU seconds above it.
# Supervised training on as many questions asks for a fraction of the time. Learning from rewards is for what can be marked and not be shown.
#
# RLOO begins as GRPO does. Two things differ: its advantages (a constant factor, and the division that it leaves out), and its loss.
# TRL's RLOO adds up the log-probabilities of an answer and clips one ratio for the whole sequence, where GRPO has one a token.
#
# The forecast on the right is far off. Questions differ in difficulty: for many of them all eight answers are right, or all wrong. The
# mean reward alone does not tell how much a run can learn from.
#
# Look at the old tasks, too: nobody rewarded them, so nothing protects them. Would `beta` above 0? It depends on the reference. Here
# TRL would load the *shipped* model, since that is what the configuration names, and the penalty would pull the policy back to a model
# that knew sums and had never heard of "smallest of". To hold on to `start`, save it, and load the policy from there.
#
# Longer runs, other temperatures, step sizes and seeds are worth trying. From a start of 1 % hardly a group has a signal.

# %% [markdown]
# ## Claims, measured

# %%
after_grpo = [sampled["GRPO, run 1"], sampled["GRPO, run 2"]]
claims.record(
    "GRPO with a verifier teaches a skill without showing an answer",
    claimed="right sampled answers rise by half or more within 40 steps of 64 answers",
    measured=f"{sampled['before']:.0%} -> {both(f'{share:.0%}' for share in after_grpo)}; control with answers {sampled['control']:.0%}",
    holds=min(after_grpo) >= 1.5 * sampled["before"],
    how=f"two runs; {len(exam['min'])} held-out questions; control: supervised training on as many questions",
)

# %% [markdown]
# The table holds what this notebook has measured from top to bottom, on this machine. Where a claim fails here, read the section
# again: what was the claim true of, and what was it told of?

# %% [markdown]
# ## Put it in words
#
# **Question (`choose_method`, 3 points).** Three teams ask you how to train their chat model. (a) Editors have compared 2,000 pairs of
# answers and like a certain tone. (b) The model is to write database queries; a test database says whether a result is right, and
# about one query in ten is. (c) 300 ideal answers of the support team exist, and nothing else. For each: which method of this
# lesson, which failure of this lesson would you expect first, and which number would you watch to see it? At most twelve
# sentences, with at least two figures that this notebook printed for you.

# %% [markdown] answer="choose_method" points=3 minutes=20 difficulty=2
# (a) DPO with a supervised term on the chosen answers: there are pairs, and nothing to check by program. The first failure is the
# alignment tax; in my runs right answers fell further under plain DPO than with the supervised term, while nearly all answers took the
# preferred form in both. I would watch `logps/chosen` during training and a set of questions with known answers
# after it, not `rewards/accuracies`.
#
# (b) GRPO or RLOO with the database as verifier. One right query in ten is enough to compare within groups of eight: here a
# start of that kind rose by more than half. The first failure is a reward with a hole, such as a query that returns
# everything and so contains the right row: here the paid share rose while the right share fell to nearly nothing. I would
# read sampled queries, watch their length, and test the reward first. `frac_reward_zero_std` tells whether there is a
# signal at all.
#
# (c) Supervised fine-tuning with the loss on the answers alone. 300 rows are few, so the failure is forgetting everything else
# (and overfitting). I would hold out some of the 300 and keep a set of old tasks. A reward model is not possible: there are no pairs.

# %% [markdown]
# ## What older texts still say
#
# TRL moves fast. Names that you will meet in tutorials, and what TRL 1.16 has instead:
#
# | older | now |
# |---|---|
# | `SFTTrainer(tokenizer=...)` | `processing_class=` |
# | `max_seq_length` | `max_length` |
# | `DataCollatorForCompletionOnlyLM` | rows with `prompt` and `completion`, or `assistant_only_loss=True` |
# | `setup_chat_format(model, tokenizer)` | a tokenizer with a chat template |
# | `PPOTrainer`, `AutoModelForCausalLMWithValueHead` | gone from the main package: GRPO, RLOO |
# | `RLOOConfig(rloo_k=..., kl_coef=...)` | `num_generations`, `beta` |
# | ORPO, CPO, online DPO | `trl.experimental` |

# %% [markdown]
# ## Quiz

# %% [markdown] quiz="end"
# 1. A model fine-tuned with labels on the answers, but with −100 on their last token, behaves how?
# - [x] It answers and then goes on and on :: Right: it has never been asked to write the token that ends an answer.
# - [ ] It answers, and the wrong token ends the answer :: No other token was taught to end it either.
# - [ ] As before: the end token is in the input anyway :: What stands in the input is read; only what has a label is learned.
# 2. In a DPO run `rewards/accuracies` is 1.0 and `logps/chosen` falls steadily. What does that mean?
# - [ ] The chosen answers have become likelier than the rejected ones, and nothing else is asked for :: They win the comparison; both may have become unlikely, and other answers likely.
# - [ ] The reference is drifting, so the difference to it shrinks :: The reference is frozen.
# - [x] The margin grows because the rejected answers fall faster than the chosen ones :: Right: and the lost probability goes to answers that nobody looked at.
# 3. You fine-tune a model in memory and pass it to `GRPOTrainer(..., beta=0.05)`. What does the KL term measure the distance to?
# - [ ] The model as you passed it, frozen at the start :: It would have to be saved first: TRL loads the reference anew.
# - [x] The checkpoint named in its configuration, before your fine-tuning :: Right: save the fine-tuned model and load it from there.
# - [ ] The model that sampled the answers :: That one is in the ratio of the clipped loss.
# 4. All eight answers to a question earn 1. What does GRPO learn from them?
# - [ ] To repeat them, since they are right :: A reward counts only against the mean of its group.
# - [ ] A little: the 0.0001 in the denominator leaves a small push :: The numerator is zero, whatever stands below it.
# - [x] Nothing: all advantages are zero :: Right: such groups are counted in `frac_reward_zero_std`.
# 5. During RL the mean reward rises from 0.2 to 0.9 within 40 steps. What is the first thing to do?
# - [x] Read twenty sampled answers, and look at their length :: Right: a reward that is easy to earn rises fast, and so does a cheat.
# - [ ] Look at the KL divergence: while it is small, the reward can be trusted :: A short way to a hole is a small divergence.
# - [ ] Lower the learning rate, since so quick a rise is unstable :: A quick rise is not a fault in itself.

# %% [markdown]
# ## Read next
#
# - TRL's documentation of each trainer, with its data formats and every logged number: https://huggingface.co/docs/trl
# - DPO: Rafailov et al., https://arxiv.org/abs/2305.18290. Why chosen answers lose probability: Razin et al., *Unintentional
#   Unalignment*, https://arxiv.org/abs/2410.08847
# - GRPO: Shao et al., *DeepSeekMath*, https://arxiv.org/abs/2402.03300; its biases: Liu et al., https://arxiv.org/abs/2503.20783;
#   the token mean: Yu et al., *DAPO*, https://arxiv.org/abs/2503.14476
# - RLOO: Ahmadian et al., *Back to Basics*, https://arxiv.org/abs/2402.14740
# - Estimates of the KL divergence: Schulman, http://joschu.net/blog/kl-approx.html
# - Reward models that are pushed too far: Gao et al., *Scaling Laws for Reward Model Overoptimization*,
#   https://arxiv.org/abs/2210.10760; a list of hacked rewards: https://deepmindsafetyresearch.medium.com/specification-gaming-the-flip-side-of-ai-ingenuity-c85bdb0deeb4
# - *The RLHF Book* by Nathan Lambert: https://rlhfbook.com
#
# Lesson 15 runs such jobs from configuration files, lesson 12 makes them fit with LoRA (`peft_config=` in every trainer here).

# %% [markdown]
# ## A bigger machine
#
# With a GPU and `UNIT24_TIER=hub` the same three lines train a real chat model with your `exact_reward`: longer answers, bf16, a smaller
# step size, and a KL penalty. Nothing of what you wrote changes.

# %%
if env.tier == "hub" and env.device.startswith("cuda"):
    big_exam = exam["min"].select(range(100))
    big = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16),
        reward_funcs=exact_reward,
        args=GRPOConfig(
            **(settings | {"bf16": True, "use_cpu": False}),
            num_generations=8,
            max_completion_length=48,
            per_device_train_batch_size=64,
            learning_rate=1e-5,
            beta=0.02,
            max_steps=100,
        ),
        train_dataset=questions,
        processing_class=tokenizer,
    )
    first = accuracy(big.model, big_exam)
    train(big)
    print(f"{name}: 'smallest of' {first:.2f} -> {accuracy(big.model, big_exam):.2f}")
    print(f"peak GPU memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
else:
    print("A bigger machine: skipped here (it needs a GPU and UNIT24_TIER=hub).")
