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
# **Time** four to five hours: eight exercises, 26 points, and a written answer, 3 points. No GPU is needed.
#
# ```text
#                    what you must have               what TRL trains with       what you write
#
#   chat model ──►  SFT     question + answer         SFTTrainer                 the completion mask
#              ──►  reward  question + good + bad     RewardTrainer              the Bradley-Terry loss
#              ──►  DPO     question + good + bad     DPOTrainer                 the loss, from log-probabilities
#              ──►  GRPO    question + a verifier     GRPOTrainer                advantages, KL term, clipped loss
#              ──►  RLOO    question + a verifier     RLOOTrainer                the leave-one-out baseline
# ```
#
# Every formula comes in the same three steps: you write it in a few lines; your numbers are compared with those that TRL
# computes on the same batch; then TRL trains with it. (The KL term is the exception: it is measured, not trained with.)

# %% setup

# %%
import copy
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
from unit24 import check, claims, data
from unit24.data.tasks import FORMS, form, verify

# %% [markdown]
# The model is the one of lesson 07, or in the hub tier a real one. We let its tokenizer pad on the left, as generation wants it.
#
# TRL's configurations are `TrainingArguments` of transformers with a few more fields. Their defaults are made for a GPU:
# bf16 weights, gradient checkpointing, a report to every tracker that is installed. On a CPU these are switched off.

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
    """The model's answer to each question: the likeliest tokens, or drawn at temperature 1."""
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
print("held-out accuracy:", {task: round(accuracy(model, rows), 2) for task, rows in exam.items()})
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
# `encode(tokenizer, question, answer)`
# - returns a dictionary with two lists of Python integers of equal length: `input_ids`, the whole chat (one user message, one
#   assistant message) in the tokenizer's chat template; `labels`, the same with −100 on everything that stands in the
#   prompt. The marker that opens the assistant's turn belongs to the prompt, the token that ends the answer to the answer.
#
# `masked_loss(logits, labels)`
# - `logits`: float tensor `[batch, tokens, vocabulary]`, the model's output for the whole rows; `labels`: int64
#   `[batch, tokens]`, not shifted: `labels[i, t]` is token `t` itself, or −100. A label on a row's first token does not count:
#   nothing predicts it.
# - returns the mean cross-entropy over **all learned tokens of the batch** (a scalar tensor, natural logarithm).


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
def compare_row(got, wanted, what):
    check.kind(got, dict, f"`encode` of {what}")
    check.equal(sorted(got), ["input_ids", "labels"], f"the keys of `encode` of {what}")
    check.equal(
        list(got["input_ids"]), wanted["input_ids"], f"the input_ids of {what}", "both messages go through the chat template"
    )
    labels = list(got["labels"])
    check.equal(len(labels), len(wanted["labels"]), f"the number of labels of {what}", "one label a token")
    learned, right = ([t for t, label in enumerate(row) if label != -100] for row in (labels, wanted["labels"]))
    check.true(len(learned) > 0, f"No token of {what} has a label: there is nothing to learn.")
    check.equal(
        learned[0],
        right[0],
        f"the first learned token of {what}",
        "the prompt ends with the marker that opens the assistant's turn (`add_generation_prompt=True`)",
    )
    check.equal(
        learned[-1],
        right[-1],
        f"the last learned token of {what}",
        "the token that ends the answer is part of it: without it the model never learns to stop",
    )
    check.equal(labels, wanted["labels"], f"the labels of {what}", "labels are the tokens themselves, not shifted")


def loss_by_hand(logits, labels):
    """Token after token, in double precision: token t is predicted from position t - 1."""
    terms = [
        -logits[i, t - 1].double().log_softmax(-1)[labels[i, t]]
        for i in range(labels.shape[0])
        for t in range(1, labels.shape[1])
        if labels[i, t] != -100
    ]
    return torch.stack(terms).mean().float()


with check.exercise("completion_mask"):
    for i in (0, 3):
        row = lessons[i]
        compare_row(encode(tokenizer, row["prompt"], row["answer"]), trl_rows[i], repr(row["prompt"]))
    torch.manual_seed(1)
    logits, labels = 2 * torch.randn(3, 7, 11), torch.randint(11, (3, 7))
    labels[0, :5] = labels[1, :2] = labels[2, :4] = labels[2, 6:] = -100
    logits.requires_grad_()
    wanted = loss_by_hand(logits, labels)  # before your function gets a copy, in which it may work in place
    loss = masked_loss(logits.clone(), labels.clone())
    check.shape(loss, (), "the loss")
    check.equal(
        loss,
        wanted,
        "`masked_loss` of 3 rows with 2, 5 and 2 learned tokens",
        "position t predicts token t + 1; the mean runs over all learned tokens of the batch, however they lie in rows",
        rtol=1e-4,
        dtype=False,
    )
    loss_of_batch = masked_loss(trl_logits.clone(), trl_labels.clone())
    check.equal(loss_of_batch, trl_loss, "`masked_loss` on TRL's batch", "TRL's own loss is expected", rtol=1e-4)
    ### BEGIN HIDDEN TESTS
    loss.backward()
    check.true(logits.grad.abs().sum() > 0, "No gradient flows from the loss to the logits.")
    labels[1, 0], labels[0, 0] = 3, 7  # the first token of a row has nothing before it to predict it
    wanted = loss_by_hand(logits, labels)
    check.equal(
        masked_loss(logits.clone(), labels.clone()),
        wanted,
        "the loss with a label on the first token",
        "rows must not run into each other: nothing predicts a row's first token",
        rtol=1e-4,
        dtype=False,
    )
    chatml = copy.deepcopy(tokenizer)
    chatml.chat_template = (
        "{{ '<|system|>Be brief.<|end|>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' }}"
        "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}"
        "{% else %}{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    )
    for question, answer in (("Repeat: q w e r", "q w e r"), ("27+45=", "72")):
        both = chatml.apply_chat_template(user(question) + assistant(answer), return_dict=True, return_assistant_tokens_mask=True)
        wanted = [token if learn else -100 for token, learn in zip(both["input_ids"], both["assistant_masks"])]
        compare_row(
            encode(chatml, question, answer), {"input_ids": both["input_ids"], "labels": wanted}, "a chat in another template"
        )
    ### END HIDDEN TESTS


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
drawn_before = accuracy(start, exam["min"], sample=True)
print(f"'smallest of': greedy {before['min']:.2f}, drawn {drawn_before:.2f}")
print("everything else:", ", ".join(f"{task} {before[task]:.2f}" for task in exam if task != "min"))
for question, answer in zip(exam["min"]["prompt"][:4], ask(start, exam["min"]["prompt"][:4])):
    print(f"{question:26} {answer!r}")

# %% [markdown]
# Why `load_start`, and not `copy.deepcopy(start)`? TRL's trainers replace the `forward` of the model that they get, and the new one
# holds on to that very model. A deep copy's `forward` would still run the weights of the original, while the optimizer
# changes those of the copy: a training that costs its full time and changes nothing. No error, no warning, a flat curve.
#
# One answer in several is right now, and a drawn answer less often. That is a bad student and a good start: section 6
# goes on from here without showing it a single answer more. (The old tasks have paid for it, sums most of all: a few dozen steps on
# one task are enough to forget others. Lesson 12 measures that, and what helps.)
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

torch.manual_seed(24)
judge = RewardTrainer(
    model=AutoModelForSequenceClassification.from_pretrained(name, num_labels=1, dtype=torch.float32),
    args=RewardConfig(**settings, per_device_train_batch_size=16, learning_rate=1e-4, max_steps=20, lr_scheduler_type="constant"),
    train_dataset=preferred.select_columns(["prompt", "chosen", "rejected"]),
    processing_class=tokenizer,
)
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
# `final_scores(scores, attention_mask)`
# - `scores`: float32 `[batch, tokens]`, the head's output at every position; `attention_mask`: int64 `[batch, tokens]`, 1 at
#   real tokens, which lie in one run; padding may stand on the right, on the left, **or on both sides**.
# - returns float32 `[batch]`: the score at the last real token of each row.
#
# `preference_loss(chosen, rejected, margin=None)`
# - `chosen`, `rejected`: float tensors `[pairs]`; `margin`: None or a float tensor `[pairs]`.
# - returns the mean loss (scalar tensor). It must stay finite, and so must its gradient, when a pair is wrong by 200.


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
def pair_loss_by_hand(chosen, rejected, margin=None):
    """log(1 + exp(-d)) in double precision; d itself for very wrong pairs."""
    total = 0.0
    for i, (c, r) in enumerate(zip(chosen.tolist(), rejected.tolist())):
        d = c - r - (0.0 if margin is None else margin[i].item())
        total += math.log1p(math.exp(-d)) if d > -30 else -d
    return total / len(chosen)


with check.exercise("bradley_terry"):
    torch.manual_seed(2)
    scores = torch.randn(4, 9)
    right_padded = torch.tensor([[1] * n + [0] * (9 - n) for n in (9, 4, 6, 1)])
    check.equal(
        final_scores(scores.clone(), right_padded.clone()),
        torch.stack([scores[0, 8], scores[1, 3], scores[2, 5], scores[3, 0]]),
        "`final_scores` of rows of 9, 4, 6 and 1 tokens, padded on the right",
        "the last column of a short row is padding: find the last 1 of the mask",
    )
    check.equal(
        final_scores(scores.clone(), right_padded.flip(1)),
        scores[:, 8],
        "`final_scores` of rows padded on the left",
        "the number of tokens is not the place of the last one when padding comes first",
    )
    check.equal(
        final_scores(scores[1:].clone(), right_padded[1:].roll(2, 1)),
        torch.stack([scores[1, 5], scores[2, 7], scores[3, 2]]),
        "`final_scores` of rows padded on both sides",
        "find the last 1 of the mask, wherever the padding is",
    )
    chosen, rejected = torch.tensor([1.5, -0.3, 2.0, 0.1, 0.9]), torch.tensor([0.2, 0.4, -1.1, 0.1, 1.2])
    loss = preference_loss(chosen.clone(), rejected.clone())
    check.shape(loss, (), "the loss of five pairs", "a mean over pairs")
    check.equal(
        loss.item(),
        pair_loss_by_hand(chosen, rejected),
        "the loss of five pairs",
        "minus the mean of log sigmoid(chosen - rejected)",
    )
    margin = torch.tensor([0.5, 0.0, 1.0, 0.3, 2.0])
    check.equal(
        preference_loss(chosen.clone(), rejected.clone(), margin.clone()).item(),
        pair_loss_by_hand(chosen, rejected, margin),
        "the loss with margins",
        "a margin asks for more: it is taken off the difference, inside the sigmoid",
    )
    both = final_scores(position_scores.clone(), pair_mask.clone())
    check.equal(preference_loss(both[:6], both[6:]).item(), pair_loss, "your two functions on TRL's batch", rtol=1e-4)
    far = torch.tensor([-120.0, 0.5], requires_grad=True)
    loss = preference_loss(far.clone(), torch.tensor([80.0, 0.1]))
    check.true(
        loss.isfinite(),
        f"The loss of a pair that is wrong by 200 is {loss.item()}: sigmoid(-200) is 0 in float32, and its logarithm is not finite. "
        "Use a function that computes log sigmoid in one go.",
    )
    ### BEGIN HIDDEN TESTS
    check.equal(loss.item(), pair_loss_by_hand(far, torch.tensor([80.0, 0.1])), "the loss of a pair that is wrong by 200")
    loss.backward()
    check.equal(
        far.grad,
        torch.tensor([-0.5, -0.5 / (1 + math.exp(0.4))]),
        "the gradient for a pair that is wrong by 200, and for a near one",
    )
    scores = torch.randn(3, 7)
    middle = torch.tensor([[0, 0, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1, 1]])
    scores[0, 4] = 0.0
    wanted = torch.stack([scores[0, 4], scores[1, 5], scores[2, 6]])
    check.equal(
        final_scores(scores.clone(), middle.clone()),
        wanted,
        "`final_scores` of three other rows",
        "the mask alone says which token is the last: its score may be 0 like any other",
    )
    a, b, m = torch.randn(7, dtype=torch.float64), torch.randn(7, dtype=torch.float64), torch.rand(7, dtype=torch.float64)
    check.equal(preference_loss(a.clone(), b.clone(), m.clone()).item(), pair_loss_by_hand(a, b, m), "seven pairs in float64")
    ### END HIDDEN TESTS


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
# Now `RewardTrainer` takes 20 steps with this loss. Afterwards the judge looks at held-out pairs that differ in form, as
# those of its training did, and at pairs that nobody asked it about: right against wrong, in the same form.


# %%
@torch.no_grad()
def rewards_of(questions: list[str], replies: list[str]) -> torch.Tensor:
    """The judge's reward for each reply [rows]."""
    chats = [user(question) + assistant(reply) for question, reply in zip(questions, replies)]
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_dict=True).to(judge.model.device)
    judge.model.eval()
    return final_scores(judge.model.score(judge.model.model(**batch).last_hidden_state)[..., 0], batch["attention_mask"]).cpu()


log = train(judge)
held_out = exam["add2"]
questions, truth = held_out["prompt"], held_out["answer"]
wrong_number = [str(int(number) + 10) for number in truth]
candidates = {
    "sentence, right": [FORMS["sentence"].format(number) for number in truth],
    "sentence, wrong by 10": [FORMS["sentence"].format(number) for number in wrong_number],
    "bare, right": truth,
    "chatty, right": [FORMS["chatty"].format(number) for number in truth],
}
scored = {kind: rewards_of(questions, replies) for kind, replies in candidates.items()}
figure, panels = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
panels[0].plot([entry["step"] for entry in log], [entry["accuracy"] for entry in log], "o-")
panels[0].set(xlabel="step", ylabel="pairs in the right order", title="RewardTrainer", ylim=(0, 1.05))
for kind, values in scored.items():
    panels[1].hist(values.numpy(), bins=30, alpha=0.6, label=kind)
panels[1].set(xlabel="reward", ylabel="answers", title="what the judge gives to held-out answers")
panels[1].legend(fontsize=8)
plt.show()

form_pairs = (scored["sentence, right"] > torch.maximum(scored["bare, right"], scored["chatty, right"])).float().mean().item()
truth_pairs = (scored["sentence, right"] > scored["sentence, wrong by 10"]).float().mean().item()
print(f"the sentence beats the other forms: {form_pairs:.0%}; the right sum beats the wrong one: {truth_pairs:.0%}")

claims.record(
    "a reward model that orders nearly all held-out pairs is a good judge of answers",
    claimed="agrees with people, so it can stand in for them",
    measured=f"preferred form wins {form_pairs:.0%}; right sum beats wrong sum {truth_pairs:.0%} (a coin: 50%)",
    holds=form_pairs > 0.9 and truth_pairs > 0.9,
    how="held-out sums; pairs that differ in form, and pairs that differ in the number alone",
)

# %% [markdown]
# The judge orders held-out pairs almost without a mistake. Whether a sum is right, it does not know. Where its share of right
# sums is not that of a coin, it likes some digits better than others: an accident of its weights, which may fall on either side.
# Nothing in the pairs told it what is right: the data card says so ("differ in form alone"). A reward model learns what
# *separates* its pairs. Whoever trains against it gets exactly that, which is the beginning of section 5.

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
# `completion_logps(logits, input_ids, completion_mask)`
# - `logits`: float `[rows, tokens, vocabulary]`; `input_ids`, `completion_mask`: int64 `[rows, tokens]`. The mask is 1 on the
#   tokens of the completion; none of them is the first token of a row.
# - returns `[rows]`: the log-probability of each row's completion, summed over its tokens, also where the probability of one
#   token, or of all together, underflows in float32. Gradients flow to `logits`.
#
# `dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)`
# - four float tensors `[pairs]` of such log-probabilities, and a number.
# - returns two tensors: the mean loss (scalar), and the **margins** `[pairs]`, the implied reward of the chosen completion minus
#   that of the rejected one. It must stay finite for margins of a few hundred. Gradients flow to the policy's log-probabilities.


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
def logps_by_hand(logits, ids, mask):
    """Row by row, token by token, in double precision."""
    rows = [
        sum(logits[i, t - 1].double().log_softmax(-1)[ids[i, t]] for t in range(1, ids.shape[1]) if mask[i, t])
        for i in range(len(ids))
    ]
    return torch.stack(rows).float()


def dpo_by_hand(policy, reference, beta):
    margins = [beta * (pc - rc - pr + rr) for pc, pr, rc, rr in zip(*policy, *reference)]
    return sum(math.log1p(math.exp(-m)) if m > -30 else -m for m in margins) / len(margins), margins


with check.exercise("dpo"):
    torch.manual_seed(3)
    logits, ids = 2 * torch.randn(3, 8, 13), torch.randint(13, (3, 8))
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 0]])
    wanted = logps_by_hand(logits, ids, mask)
    got = completion_logps(logits.requires_grad_().clone(), ids.clone(), mask.clone())
    check.shape(got, (3,), "`completion_logps` of 3 rows", "one sum a row")
    check.equal(
        got,
        wanted,
        "`completion_logps` of rows with 3, 7 and 1 completion tokens",
        "a sum over the completion's tokens, not a mean; token t is predicted by the logits of position t - 1",
        dtype=False,
    )
    check.true(got.requires_grad, "The log-probabilities have no graph: no gradient would reach the model.")
    policy, reference = ([-3.0, -9.5, -2.2, -7.0], [-4.5, -8.0, -2.0, -1.0]), ([-3.5, -9.0, -6.0, -7.5], [-4.0, -9.5, -1.0, -3.0])
    loss, margins = dpo_loss(
        *(torch.tensor(x, requires_grad=True).clone() for x in policy), *(torch.tensor(x) for x in reference), 0.3
    )
    wanted_loss, wanted_margins = dpo_by_hand(policy, reference, 0.3)
    check.shape(loss, (), "the DPO loss of four pairs")
    check.equal(
        margins,
        torch.tensor(wanted_margins),
        "the margins of four pairs",
        "an implied reward is beta * (policy - reference), and the margin is that of the chosen minus that of the rejected",
        atol=1e-6,
        dtype=False,
    )
    check.equal(loss.item(), wanted_loss, "the DPO loss of four pairs", "minus the mean of log sigmoid(margin), beta inside it")
    check.true(loss.requires_grad, "The loss has no graph: nothing would be learned.")
    tokens = pair_batch["input_ids"], pair_batch["completion_mask"]
    logps = [completion_logps(x.clone(), *(y.clone() for y in tokens)) for x in (policy_logits, reference_logits)]
    loss, margins = dpo_loss(*logps[0].chunk(2), *logps[1].chunk(2), 0.3)
    check.equal(loss.item(), trl_dpo["loss"], "your two functions on TRL's batch: the loss", rtol=1e-3)
    check.equal(
        margins.mean().item(), trl_dpo["rewards/margins"], "your two functions on TRL's batch: the mean margin", rtol=1e-2
    )
    ### BEGIN HIDDEN TESTS
    policy = [torch.tensor(x, requires_grad=True) for x in ([-400.0, -2.0, -3.0], [-20.0, -5.0, -1.0])]
    reference = [torch.tensor(x) for x in ([-10.0, -2.5, -1.5], [-330.0, -4.0, -1.25])]
    loss, margins = dpo_loss(*(x.clone() for x in (*policy, *reference)), 0.7)
    wanted_loss, wanted_margins = dpo_by_hand([x.tolist() for x in policy], [x.tolist() for x in reference], 0.7)
    check.equal(margins, torch.tensor(wanted_margins), "margins of which one is very negative", dtype=False)
    check.true(loss.isfinite(), f"The loss of a pair with margin -490 is {loss.item()}: compute log sigmoid in one go.")
    check.equal(loss.item(), wanted_loss, "the loss with a margin of -490")
    loss.backward()
    check.true(policy[0].grad is not None, "No gradient flows from the loss to the policy's log-probabilities.")
    weight = torch.tensor([1 / (1 + math.exp(m)) if m > -30 else 1.0 for m in wanted_margins])
    check.equal(policy[0].grad, -0.7 * weight / 3, "the gradient for the chosen log-probabilities", rtol=1e-4)
    check.equal(policy[1].grad, 0.7 * weight / 3, "the gradient for the rejected log-probabilities", rtol=1e-4)
    logits, ids = torch.randn(5, 6, 9).double(), torch.randint(9, (5, 6))
    mask = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 1, 0, 1, 0]])
    wanted = logps_by_hand(logits, ids, mask)
    check.equal(
        completion_logps(logits.clone(), ids.clone(), mask.clone()).float(), wanted, "`completion_logps` of five other rows"
    )
    logits, ids, mask = 40 * torch.randn(2, 62, 13), torch.randint(13, (2, 62)), torch.ones(2, 62, dtype=torch.int64)
    mask[:, 0] = mask[0, :3] = 0
    wanted = logps_by_hand(logits, ids, mask)
    check.equal(
        completion_logps(logits.clone(), ids.clone(), mask.clone()),
        wanted,
        "`completion_logps` of long completions with very unlikely tokens",
        "log_softmax in one go, then a sum: a probability below 1e-45 is 0 in float32, whether of one token or a product of many",
        rtol=1e-4,
        dtype=False,
    )
    ### END HIDDEN TESTS


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
# Train twice. The first run is what the paper's formula says, with a usual $\beta$ of 0.1. The second adds the supervised
# loss of section 1 on the chosen answers (`loss_type=["sigmoid", "sft"]`), holds on to the reference three times as firmly,
# and takes half the step.
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


recipes = {
    "plain": dict(beta=0.1, learning_rate=2e-4),
    "with a supervised term": dict(beta=0.3, learning_rate=1e-4, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 1.0]),
}
moved, curves, answers = {"before": form_and_accuracy(model)}, {}, {}
for title, recipe in recipes.items():
    trainer = DPOTrainer(
        model=load_model(),
        args=DPOConfig(**settings, **recipe, per_device_train_batch_size=16, lr_scheduler_type="constant", max_steps=36),
        train_dataset=preferred.select_columns(["prompt", "chosen", "rejected"]),
        processing_class=tokenizer,
    )
    curves[title] = train(trainer)
    moved[title] = form_and_accuracy(trainer.model)
    answers[title] = ask(trainer.model, ["What is 27+45?", "Largest of 12, 71, 33?", "Sort: 4 1 3"], tokens=24)
answers["before"] = ask(model, ["What is 27+45?", "Largest of 12, 71, 33?", "Sort: 4 1 3"], tokens=24)

figure, panels = plt.subplots(1, 3, figsize=(14, 3.4), layout="constrained")
for offset, key, colour in ((-0.2, "sentence", "tab:blue"), (0.2, "right", "tab:green")):
    bars = panels[0].bar([x + offset for x in range(3)], [row[key] for row in moved.values()], 0.38, color=colour, label=key)
    panels[0].bar_label(bars, fmt="%.3f", fontsize=8)
panels[0].set_xticks(range(3), moved, fontsize=8)
panels[0].set(ylabel="share of held-out answers", title="form and accuracy", ylim=(0, 1.3))
panels[0].legend(fontsize=8, loc="upper left", ncols=2)
for panel, which in zip(panels[1:], ("chosen", "rejected")):
    for title, log in curves.items():
        panel.plot([entry["step"] for entry in log], [entry[f"logps/{which}"] for entry in log], "o-", label=title)
    panel.set(xlabel="step", ylabel="log-probability (nats)", title=f"{which} completions")
    panel.legend(fontsize=8)
plt.show()
for title, replies in answers.items():
    print(f"{title:24}", replies)

plain, cured = moved["plain"], moved["with a supervised term"]
print("the plain run is wrong on", *(f"{question} {reply!r}" for question, reply in plain["wrong"][:2]), sep="\n    ")
claims.record(
    "alignment costs capability, and a supervised term pays it back",
    claimed="an alignment tax that can be avoided",
    measured=f"right answers {moved['before']['right']:.1%}; after DPO {plain['right']:.1%}; with the supervised term {cured['right']:.1%}",
    holds=plain["right"] < moved["before"]["right"] - 0.03 and cured["right"] > moved["before"]["right"] - 0.04,
    how=f"sums and maxima held out; the preferred form rose from {moved['before']['sentence']:.1%} to {plain['sentence']:.1%} and {cured['sentence']:.1%}",
)

# %% [markdown]
# Both runs move the form to the sentence. The plain run pays for it with arithmetic: that is the **alignment tax**. Its mistakes
# look like right answers: a sentence, with a wrong number in it. The other panels show how. The loss wants a *difference* of log-probabilities, and does not care how it comes about: pushing the
# rejected answer off a cliff is enough. By the end nearly every answer is a sentence, so a chosen one should cost next to nothing. In
# the plain run it still costs a good deal: what the words of the sentence gained, the number in it lost. Chosen and rejected answers
# share their digits, and the push against the one hits the other.
#
# The supervised term holds the chosen answer up, its log-probability comes close to zero, and the tax is gone. The smaller step and
# the firmer reference alone pay back only a part: leave `loss_type` and `loss_weights` out of the second recipe and see. Cheaper
# than another algorithm: look at `logps/chosen` in every DPO run, not only at `rewards/accuracies`, which is near 1 in both.
#
# One trap beside it. Without `ref_model=`, TRL loads the reference from the checkpoint named in the model's configuration, not
# from the weights you pass. If you trained the model in memory first (as `start` was), the reference is the model *before* that
# training. Save it and load it again, or pass `ref_model` yourself. `GRPOTrainer` with `beta > 0` does the same, and has no
# argument for it.
#
# ## 4 · The parts of reinforcement learning from rewards
#
# DPO needs pairs that somebody judged. Where a program can check the answer, the model can make its own examples: draw several
# answers, let the program mark them, make the good ones likelier. GRPO
# ([Shao et al. 2024](https://arxiv.org/abs/2402.03300)) and RLOO ([Ahmadian et al. 2024](https://arxiv.org/abs/2402.14740)) both
# do this without a second network that predicts rewards. Three formulas make them up. To compare yours, one step
# of each trainer goes under a microscope.


# %%
class KeepSamples:
    """Beside a trainer: keeps the batch of drawn answers that goes into the loss."""

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
# Now a case for the loss. We take the log-probabilities of the drawn tokens, pretend that the answers were drawn some updates
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
# A policy that chases a reward forgets what it was. The leash is the divergence
# $\mathrm{KL}(\pi_\theta \| \pi_\text{ref}) = \mathbb{E}_{x \sim \pi_\theta}[\log \pi_\theta(x) - \log \pi_\text{ref}(x)]$.
# Summing over the whole vocabulary at every position is expensive, so it is estimated from the drawn tokens alone. With
# $\delta = \log \pi_\text{ref}(x) - \log \pi_\theta(x)$ of a drawn token,
# [Schulman](http://joschu.net/blog/kl-approx.html) compares
#
# $$k_1 = -\delta, \qquad k_3 = e^{\delta} - \delta - 1 .$$
#
# Both have the right mean. $k_3$ is never negative: it adds $e^\delta - 1$, whose mean is zero, and which is large where
# $k_1$ is wrong. RLOO in TRL takes $k_1$ off the reward, GRPO adds $k_3$ to the loss.
#
# ### Exercise 4 · Two estimates of the divergence (`kl_estimates`, 2 points, 15 minutes, difficulty 1 of 3)
#
# `kl_estimates(logps, ref_logps, mask)`
# - `logps`, `ref_logps`: float `[answers, tokens]`, log-probabilities of the drawn tokens under the policy that drew them and under
#   the reference; `mask`: int64, same shape, 1 on real tokens, wherever they stand.
# - returns two scalar tensors, the means of $k_1$ and of $k_3$ over **all real tokens**.


# %% exercise="kl_estimates" minutes=15 difficulty=1
def kl_estimates(logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means of k1 and k3 over the real tokens, in nats a token; all inputs [answers, tokens]."""
    ### BEGIN SOLUTION
    delta = ref_logps - logps
    k3 = delta.exp() - delta - 1
    return -(delta * mask).sum() / mask.sum(), (k3 * mask).sum() / mask.sum()
    ### END SOLUTION


# %% tests="kl_estimates" points=2
with check.exercise("kl_estimates"):
    torch.manual_seed(4)
    logps = -3 * torch.rand(3, 5)
    ref_logps, mask = logps + torch.randn(3, 5), torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [0, 1, 1, 0, 1]])
    real = [(p, q) for a, b, m in zip(logps, ref_logps, mask) for p, q, r in zip(a.tolist(), b.tolist(), m.tolist()) if r]
    got = kl_estimates(logps.clone(), ref_logps.clone(), mask.clone())
    check.equal(len(got), 2, "the number of results", "k1 and k3")
    k1, k3 = got
    check.shape(k1, (), "k1 of 3 answers")
    check.shape(k3, (), "k3 of 3 answers")
    check.equal(
        k1.item(),
        sum(p - q for p, q in real) / len(real),
        "k1 of answers with 5, 1 and 3 tokens",
        "log policy - log reference, over all real tokens, wherever the mask has them: padding does not count, and a long answer "
        "counts more than a short one",
        rtol=1e-4,
    )
    check.equal(
        k3.item(),
        sum(math.exp(q - p) - (q - p) - 1 for p, q in real) / len(real),
        "k3 of answers with 5, 1 and 3 tokens",
        "exp(d) - d - 1 with d = log reference - log policy: the ratio has the reference on top",
        rtol=1e-4,
    )
    got = kl_estimates(*(case[key].clone() for key in ("logps", "ref_logps", "mask")))
    check.equal(got[1].item(), trl_kl, "k3 on TRL's batch", "TRL's own figure is expected", rtol=1e-2, atol=1e-5)
    ### BEGIN HIDDEN TESTS
    same = kl_estimates(logps.clone(), logps.clone(), mask.clone())
    check.equal([x.item() for x in same], [0.0, 0.0], "both estimates of a policy that equals its reference", atol=1e-7)
    policy = torch.tensor([[-0.1, -2.0], [-4.0, -0.5]], dtype=torch.float64, requires_grad=True)
    reference, mask = torch.tensor([[-1.0, -0.2], [-0.3, -9.0]], dtype=torch.float64), torch.tensor([[1, 1], [1, 0]])
    k1, k3 = kl_estimates(policy.clone(), reference.clone(), mask.clone())
    check.equal(k1.item(), (0.9 - 1.8 - 3.7) / 3, "k1 of three tokens, which may be negative")
    check.equal(k3.item(), sum(math.exp(d) - d - 1 for d in (-0.9, 1.8, 3.7)) / 3, "k3 of three tokens")
    k3.backward()
    wanted = torch.tensor([[1 - math.exp(-0.9), 1 - math.exp(1.8)], [1 - math.exp(3.7), 0]], dtype=torch.float64) / 3
    check.equal(policy.grad, wanted, "the gradient of k3", "k3 is part of a loss: keep its graph")
    ### END HIDDEN TESTS


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
# other in steps, mixing log-probabilities. At each distance: 200 estimates, each from 20 drawn tokens.

# %%
prompt = tokenizer.apply_chat_template(
    user("Smallest of 12, 71, 33?"), add_generation_prompt=True, return_tensors="pt", return_dict=True
)
with torch.no_grad():
    far, reference = (m(**prompt.to(m.device)).logits[0, -1].double().log_softmax(-1).cpu() for m in (start, model))
torch.manual_seed(0)
exact, means, spreads = [], [], []
for part in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
    policy = (part * far + (1 - part) * reference).log_softmax(-1)
    exact.append((policy.exp() * (policy - reference)).sum().item())
    drawn = torch.multinomial(policy.exp(), 4000, replacement=True).view(200, 1, 20)
    estimates = torch.tensor([kl_estimates(policy[t], reference[t], torch.ones_like(t)) for t in drawn])
    means.append(estimates.mean(0).tolist())
    spreads.append(estimates.std(0).tolist())

figure, panels = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
panels[0].loglog(exact, exact, "k--", lw=1, label="exact")
for column, label in enumerate(("k1", "k3")):
    errors = [2 * row[column] / 200**0.5 for row in spreads]
    panels[0].errorbar(exact, [row[column] for row in means], errors, fmt="o-", capsize=3, label=label, alpha=0.7)
    panels[1].loglog(exact, [row[column] for row in spreads], "o-", label=label)
panels[0].set(xlabel="exact divergence (nats)", ylabel="mean estimate (nats)", title="both are right on average")
panels[0].set_ylim(min(exact) / 4, 2 * max(exact))
panels[1].set(xlabel="exact divergence (nats)", ylabel="spread of an estimate (nats)", title="which one is steadier")
for panel in panels:
    panel.legend()
plt.show()

unbiased = all(abs(m - e) < 4 * s / 200**0.5 + 1e-3 for e, row, dev in zip(exact, means, spreads) for m, s in zip(row, dev))
claims.record(
    "k3 estimates the KL divergence without bias and with less variance than k1",
    claimed="unbiased, lower variance",
    measured=f"spread of k3 / spread of k1: {spreads[0][1] / spreads[0][0]:.2f} at {exact[0]:.3f} nats, {spreads[-1][1] / spreads[-1][0]:.1f} at {exact[-1]:.1f} nats",
    holds=unbiased and all(k3 < k1 for k1, k3 in spreads),
    how="200 estimates of 20 tokens each, from policies between the shipped model and `start`"
    + ("" if unbiased else "; means are off"),
)

# %% [markdown]
# The bars on the left are two standard errors of the mean. Where $k_1$ strays from the dashed line, it is unsteady, not biased.
#
# Near the reference $k_3$ is far steadier; that is where a leash keeps the policy, and where the claim comes from. Far away, a
# single token that the reference likes much better than the policy makes $e^\delta$ large, and $k_3$ is the worse of the two.
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
# Both functions take `rewards`, float32 `[questions * group_size]`, the answers to one question next to each other, and return
# the advantages in the same shape and order. Each is checked, and earns its points, on its own.
#
# - `group_advantages(rewards, group_size, scale=True)`: GRPO's; with `scale=False` without the division (Dr. GRPO,
#   [Liu et al. 2025](https://arxiv.org/abs/2503.20783); in TRL `scale_rewards="none"`).
# - `leave_one_out(rewards, group_size)`: RLOO's.


# %% exercise="advantages" minutes=25 difficulty=2 apart=true
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
def grpo_by_hand(rewards, size, scale=True):
    out = []
    for first in range(0, len(rewards), size):
        group = rewards[first : first + size]
        mean = sum(group) / size
        spread = math.sqrt(sum((r - mean) ** 2 for r in group) / (size - 1))
        out += [(r - mean) / (spread + 1e-4 if scale else 1.0) for r in group]
    return torch.tensor(out)


def rloo_by_hand(rewards, size):
    groups = [rewards[first : first + size] for first in range(0, len(rewards), size)]
    return torch.tensor([r - sum(g[:i] + g[i + 1 :]) / (size - 1) for g in groups for i, r in enumerate(g)])


few = [1.0, 0.0, 0.0, 0.0, 0.5, 2.0, 1.0, 3.0, -1.0, 4.0, 0.25, 0.75, 1.0, 1.0, 1.0]  # three groups of five
narrow = [0.001, 0.002, 0.0, 0.9, 0.1, 0.2]  # two groups of three; in the first the 1e-4 is felt


def test_group_advantages():
    got = group_advantages(torch.tensor(few), 5)
    check.shape(got, (15,), "`group_advantages` of 3 groups of 5", "as the rewards came")
    for rewards, size in ((few, 5), (narrow, 3)):
        check.equal(
            group_advantages(torch.tensor(rewards), size, scale=False),
            grpo_by_hand(rewards, size, False),
            f"`group_advantages` of {len(rewards) // size} groups of {size} with scale=False",
            "the mean is that of the group, not of the batch; groups lie one after the other; nothing is divided",
            rtol=1e-4,
            atol=1e-6,
        )
    check.equal(
        got,
        grpo_by_hand(few, 5),
        "`group_advantages` of 3 groups of 5",
        "the spread is the group's sample standard deviation (G - 1 in the denominator), with 1e-4 added to it",
        rtol=1e-4,
    )
    check.equal(
        group_advantages(torch.tensor(narrow), 3),
        grpo_by_hand(narrow, 3),
        "`group_advantages` of rewards that lie close together",
        "1e-4 is added to the spread",
        rtol=1e-4,
    )
    check.equal(
        group_advantages(rewards_seen["grpo"].clone(), 8),
        kept["grpo"]["advantages"],
        "the advantages of TRL's GRPO batch",
        rtol=1e-3,
        atol=1e-4,
    )
    ### BEGIN HIDDEN TESTS
    other = [0.002, 0.0, 0.0, 0.004, 5.0, 1.0, 2.5, 2.0]
    for scale in (False, True):
        got, what = (
            group_advantages(torch.tensor(other), 4, scale=scale),
            f"`group_advantages` of 2 groups of 4 with scale={scale}",
        )
        check.equal(got, grpo_by_hand(other, 4, scale), what, rtol=1e-4)
    same = group_advantages(torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]), 3)
    check.equal(same, torch.zeros(6), "advantages of groups in which all earn the same", "nothing to learn, and no NaN")
    ### END HIDDEN TESTS


def test_leave_one_out():
    got = leave_one_out(torch.tensor(few), 5)
    check.shape(got, (15,), "`leave_one_out` of 3 groups of 5", "as the rewards came")
    for rewards, size in ((few, 5), (narrow, 3)):
        check.equal(
            leave_one_out(torch.tensor(rewards), size),
            rloo_by_hand(rewards, size),
            f"`leave_one_out` of {len(rewards) // size} groups of {size}",
            "the baseline is the mean of the others in the group: an answer's own reward is neither in the sum nor in the count",
            rtol=1e-4,
            atol=1e-6,
        )
    check.equal(
        leave_one_out(rewards_seen["rloo"].clone(), 8),
        kept["rloo"]["advantages"],
        "the advantages of TRL's RLOO batch",
        rtol=1e-3,
        atol=1e-4,
    )
    ### BEGIN HIDDEN TESTS
    pair = torch.tensor([3.0, 1.0, -2.0, 5.0])
    check.equal(leave_one_out(pair, 2), torch.tensor([2.0, -2.0, -7.0, 7.0]), "`leave_one_out` of 2 groups of 2")
    ### END HIDDEN TESTS


with check.exercise("advantages"):
    check.parts({"group_advantages": test_group_advantages, "leave_one_out": test_leave_one_out})
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
# Each token of an answer is pushed with the answer's advantage. The answers may be a few updates old, so the push is weighted by
# the ratio of the token's probability now to then, and a token that has already moved far enough gets no further push
# (PPO's clipping, [Schulman et al. 2017](https://arxiv.org/abs/1707.06347)):
#
# $$\rho_{i,t} = \frac{\pi_\theta(x_{i,t})}{\pi_\text{old}(x_{i,t})}, \qquad
# \ell_{i,t} = -\min\!\big(\rho_{i,t} A_i,\ \mathrm{clip}(\rho_{i,t}, 1-\epsilon, 1+\epsilon)\, A_i\big) + \beta\, \rho_{i,t}\, k_3^{(i,t)},$$
#
# and the loss is the mean of $\ell$ over all real tokens of the batch (TRL's default, `loss_type="dapo"`). The ratio in front of
# $k_3$ is newer than most descriptions of GRPO: it makes the *gradient* of the leash right, which the gradient of $k_3$ alone is
# not ([DeepSeek-V3.2](https://arxiv.org/abs/2512.02556); `use_bias_correction_kl=True`, TRL's default).
#
# ### Exercise 6 · GRPO's loss (`grpo_loss`, 4 points, 30 minutes, difficulty 3 of 3)
#
# `grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None)`
# - `logps`, `old_logps`, `ref_logps`: float `[answers, tokens]`; only `logps` carries a graph. `advantages`: float `[answers]`. `mask`:
#   int64 `[answers, tokens]`. `ref_logps` is None only where `beta` is 0.
# - returns the loss, a scalar tensor, through which gradients flow to `logps`. Write $k_3$ out here: exercise 4 gave its mean, this
#   needs it token by token.


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
def loss_and_gradient(logps, old_logps, advantages, mask, epsilon, beta, ref_logps):
    """Token by token in plain Python: the loss, and its derivative with respect to each log-probability."""
    count, total, slopes = int(mask.sum()), 0.0, torch.zeros_like(logps)
    for i, t in mask.nonzero().tolist():
        a, ratio = advantages[i].item(), math.exp(logps[i, t] - old_logps[i, t])
        clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
        total -= min(ratio * a, clipped * a)
        moved_enough = ratio > 1 + epsilon if a > 0 else ratio < 1 - epsilon
        slope = 0.0 if moved_enough else -ratio * a
        if beta:
            d = (ref_logps[i, t] - logps[i, t]).item()
            total, slope = total + beta * ratio * (math.exp(d) - d - 1), slope - beta * ratio * d  # the slope of ratio * k3
        slopes[i, t] = slope / count
    return total / count, slopes


def compare_loss(what, seed, answers, tokens, epsilon, beta):
    torch.manual_seed(seed)
    logps = -2 * torch.rand(answers, tokens)
    old_logps, ref_logps = logps + 0.4 * torch.randn(logps.shape), logps + 0.7 * torch.randn(logps.shape)
    advantages = torch.randn(answers)
    mask = (torch.arange(tokens) < torch.randint(1, tokens + 1, (answers, 1))).long()
    mask[0] = 1
    logps.requires_grad_()
    wanted, slopes = loss_and_gradient(logps.detach(), old_logps, advantages, mask, epsilon, beta, ref_logps)
    copies = (x.clone() for x in (logps, old_logps, advantages, mask))
    loss = grpo_loss(*copies, epsilon, beta, ref_logps.clone() if beta else None)
    check.shape(loss, (), f"the loss of {what}")
    check.equal(
        loss.item(),
        wanted,
        f"the loss of {what}",
        "clip the ratio, take the smaller of the two products (not of the two ratios), average over all real tokens; "
        "k3 is multiplied by beta and by the ratio as it is",
        rtol=1e-4,
        atol=1e-6,
    )
    check.true(loss.requires_grad, f"The loss of {what} has no graph: nothing would be learned.")
    (got,) = torch.autograd.grad(loss, logps)
    check.equal(
        got,
        slopes,
        f"the gradient of {what}",
        "a token that has moved far enough in the right direction gets no push; one that has moved the wrong way still does"
        + ("; the ratio in front of k3 carries a gradient too" if beta else ""),
        rtol=1e-3,
        atol=1e-6,
    )


with check.exercise("grpo_loss"):
    compare_loss("5 answers of up to 7 tokens, beta 0", 5, 5, 7, 0.2, 0.0)
    compare_loss("4 answers of up to 9 tokens, beta 0.3", 6, 4, 9, 0.2, 0.3)
    fields = ("logps", "old_logps", "advantages", "mask")
    check.equal(
        grpo_loss(*(case[key].clone() for key in fields), beta=0.1, ref_logps=case["ref_logps"].clone()).item(),
        trl_grpo_loss,
        "the loss of TRL's batch",
        "TRL's own loss is expected",
        rtol=1e-3,
        atol=1e-5,
    )
    ### BEGIN HIDDEN TESTS
    compare_loss("7 answers with epsilon 0.35", 7, 7, 6, 0.35, 0.0)
    compare_loss("6 answers with epsilon 0.1 and beta 1.5", 8, 6, 11, 0.1, 1.5)
    ### END HIDDEN TESTS


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
panel.set(xlabel="probability now / probability when it was drawn", ylabel="loss", title="no reward for going too far")
panel.legend()
plt.show()

# %% [markdown]
# ## 5 · A reward with a hole
#
# Only the reward is missing. In TRL it is a function: it gets the drawn `completions` and every column of the data set, as
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
# Right answers are paid, wrong ones are not. A reviewer would let it pass. GRPO takes twenty steps from `start` with it.


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
        max_steps=20,
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
for replies, label in ((exam["min"]["answer"], "right answers"), (honest, "before"), (hacked, "after 20 steps")):
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
    how="drawn answers to held-out questions; a reward that checks a property of the right answer, not the answer",
)

# %% [markdown]
# The curve on the left is all that a dashboard shows, and it could not look better. The panel on the right shows what happened: whatever
# the question, the model now answers with next to nothing, since no number lies below *that*. It has unlearned the little that it
# knew. Nobody told it to cheat; the reward did. The check asked for one property of the answer and forgot the other: that the
# number stands in the question at all. Sorting that is checked by "is it ascending?", code that is checked by "do the tests pass?" have
# holes of the same kind.
#
# There is a second hole, which this model did not need: a reply that names *all* the numbers is paid too. Before any training, read
# what your reward pays for, and during training read answers.
#
# ### Exercise 7 · Close the hole (`exact_reward`, 3 points, 20 minutes, difficulty 2 of 3)
#
# `exact_reward(completions, answer, **columns)`
# - `completions`: a list with one entry an answer: a chat of one message (`[{"role": "assistant", "content": text}]`), or, where
#   TRL was given prompts as plain text, the text itself. `answer`: a list of strings, the right number for each. Whatever else TRL
#   passes arrives in `columns`.
# - returns a list of Python floats of the same length: 1.0 where the reply names **exactly one number, and it is the
#   answer**, else 0.0. Words around it are welcome. A number is a run of digits, wherever it stands, with a minus sign if one
#   stands directly before it; it must be written as in `answer`.


# %% exercise="exact_reward" minutes=20 difficulty=2 apart=true
def exact_reward(completions, answer, **columns) -> list[float]:
    """1.0 where the reply names exactly one number, the right one."""
    ### BEGIN SOLUTION
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\d+", text) == [right]) for text, right in zip(texts, answer)]
    ### END SOLUTION


# %% tests="exact_reward" points=3
def compare_reward(cases, why):
    """Each case: reply, right answer, reward."""
    replies, answers, wanted = zip(*cases)
    chats = [assistant(reply) for reply in replies]
    extra = {"prompts": [user("?")] * len(cases), "completion_ids": [[1]] * len(cases), "trainer_state": None}
    got = exact_reward(completions=chats, answer=list(answers), **extra)
    check.kind(got, list, "what `exact_reward` returns", "TRL wants one number an answer")
    check.equal(len(got), len(cases), "the number of rewards", "one for each completion, also for an empty one")
    for reply, right, reward, expected in zip(replies, answers, got, wanted):
        check.kind(reward, float, f"the reward of {reply!r}")
        check.equal(reward, expected, f"the reward of {reply!r} where {right} is right", why)


with check.exercise("exact_reward"):
    compare_reward(
        [("12", "12", 1.0), ("33", "12", 0.0), ("71", "33", 0.0), ("", "5", 0.0), ("I do not know.", "5", 0.0)],
        "one reply, one answer, in the same order",
    )
    compare_reward(
        [("0", "12", 0.0), ("3", "12", 0.0), ("-1", "5", 0.0)],
        "a number that is small enough is not yet the answer: this is what the model was paid for above",
    )
    compare_reward(
        [("The answer is 12.", "12", 1.0), ("Sure! It is 7, I think.", "7", 1.0), (" 40\n", "40", 1.0)],
        "words around the number are welcome",
    )
    compare_reward(
        [("12 71 33", "12", 0.0), ("12 or 71", "12", 0.0), ("33, no, 12", "12", 0.0), ("7 7", "7", 0.0)],
        "naming several numbers must not pay, or the model will name them all",
    )
    compare_reward(
        [("123", "12", 0.0), ("412", "12", 0.0), ("120", "0", 0.0), ("-12", "12", 0.0), ("-4", "-4", 1.0)],
        "the whole number must be the answer, not a part of it; a minus sign belongs to it",
    )
    texts = ["It is 12.", "12 71"]
    for what, replies in (("plain text", texts), ("chats", [assistant(text) for text in texts])):
        why = "TRL passes strings, not chats, where prompts were strings; each completion shows by itself which it is"
        try:
            got = exact_reward(completions=replies, answer=["12", "12"])
        except (TypeError, AttributeError, KeyError):
            got = None
        check.true(got is not None, f"`exact_reward` fails on {what}, given without any other column: {why}.")
        check.equal(got, [1.0, 0.0], f"the rewards of completions that are {what}, given without any other column", why)
    ### BEGIN HIDDEN TESTS
    compare_reward(
        [("0123456789", "5", 0.0), ("3 8", "38", 0.0), ("3.8", "3", 0.0), ("x12y", "12", 1.0), ("9 - 12", "12", 0.0)],
        "one number, written as in the answer; a run of digits counts wherever it stands",
    )
    compare_reward(
        [("05", "5", 0.0), ("twelve", "12", 0.0), ("- 4", "4", 1.0), ("5!", "5", 1.0)],
        "one number, written as in the answer; a minus sign belongs to it only where it stands directly before",
    )
    ### END HIDDEN TESTS


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
# most programs do. Write `check_reward(reward)`: it returns silently for a reward that keeps the contract of exercise 7, and raises
# (use `assert`) for one that breaks it. Call it as TRL does, with keyword arguments: `reward(completions=..., answer=...)`.
#
# Here are a few rewards as people write them. You are graded by the bugs that you catch, among them some that are not shown.
# Rejecting a correct one earns nothing.


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
    unpaid = "33=12|0=12|12 71=12|71 12=12|7 7=7|123=12|412=12|-12=12|12=-12|=5|no idea=5"
    cases = [case.split("=") for case in f"{paid}|{unpaid}".split("|")]
    texts, answers = [text for text, _ in cases], [right for _, right in cases]
    wanted = [1.0] * len(paid.split("|")) + [0.0] * len(unpaid.split("|"))
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts, trainer_state=None)
        assert isinstance(got, list), "the rewards are not a list"
        assert got == wanted, "a reward is wrong"
    ### END SOLUTION


# %% tests="check_reward" points=3
def another_right_reward(completions, answer, **columns):
    """Right too, in another style."""
    out = []
    for reply, right in zip(completions, answer):
        text = reply if isinstance(reply, str) else reply[0]["content"]
        found = list(re.finditer(r"-?[0-9]+", text))
        out.append(1.0 if len(found) == 1 and found[0].group() == right else 0.0)
    return out


with check.exercise("check_reward"):
    check.catches(check_reward, shown_rights | {"another style": another_right_reward}, shown_bugs, "your checks")
    ### BEGIN HIDDEN TESTS
    exact = on_texts(lambda text, right: numbers_in(text) == [right])

    def first_answer_for_all(completions, answer, **columns):
        return exact(completions, [answer[0]] * len(completions))

    def skips_empty(completions, answer, **columns):
        kept = [(c, a) for c, a in zip(completions, answer) if numbers_in(c if isinstance(c, str) else c[0]["content"])]
        return exact([c for c, _ in kept], [a for _, a in kept])

    def chats_only(completions, answer, **columns):
        return [float(numbers_in(reply[0]["content"]) == [right]) for reply, right in zip(completions, answer)]

    hidden = {
        "takes the first number": on_texts(lambda text, right: numbers_in(text)[:1] == [right]),
        "ignores the minus sign": on_texts(lambda text, right: re.findall(r"\d+", text) == [right.lstrip("-")]),
        "pays for the answer said twice": on_texts(lambda text, right: set(numbers_in(text)) == {right}),
        "pays for a number that begins with the answer": on_texts(
            lambda text, right: len(numbers_in(text)) == 1 and numbers_in(text)[0].startswith(right)
        ),
        "pays for a number that ends with the answer": on_texts(
            lambda text, right: len(numbers_in(text)) == 1 and numbers_in(text)[0].endswith(right)
        ),
        "never pays": on_texts(lambda text, right: False),
        "pays for any single number": on_texts(lambda text, right: len(numbers_in(text)) == 1),
        "pays half": on_texts(lambda text, right: (numbers_in(text) == [right]) / 2),
        "gives minus one for a wrong answer": on_texts(lambda text, right: 2.0 * (numbers_in(text) == [right]) - 1),
        "compares all with the first answer": first_answer_for_all,
        "leaves empty replies out": skips_empty,
        "takes chats only": chats_only,
        "takes no other columns": lambda completions, answer: exact(completions, answer),
        "returns one mean": lambda completions, answer, **c: sum(exact(completions, answer)) / len(answer),
        "returns them in reverse": lambda completions, answer, **c: exact(completions, answer)[::-1],
    }
    check.catches(
        check_reward, {"another style": another_right_reward, "compares lists": exact}, shown_bugs | hidden, "your checks"
    )
    ### END HIDDEN TESTS
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
# `start`, the model that the reward with the hole ruined in twenty steps. It sees questions, never an answer. Then RLOO, for its first
# fifteen steps.
#
# Before it starts, a forecast. If every question is answered rightly with the same probability $p$, a group of eight has something
# to compare with probability $1 - p^8 - (1-p)^8$. At 1 % that is one group in thirteen, at 10 % more than every second. This is
# what the supervised steps were for.


# %%
def reinforce(trainer_class, config_class, steps: int):
    """Train a copy of `start` with your reward; the trainer and its log."""
    trainer = trainer_class(
        model=load_start(),
        reward_funcs=exact_reward,
        args=config_class(
            **settings,
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


begin = time.process_time()
grpo, grpo_log = reinforce(GRPOTrainer, GRPOConfig, 110)
grpo_seconds = time.process_time() - begin
rloo, rloo_log = reinforce(RLOOTrainer, RLOOConfig, 15)

# %%
figure, panels = plt.subplots(1, 2, figsize=(12, 3.4), layout="constrained")
for label, log in (("GRPO", grpo_log), ("RLOO", rloo_log)):
    panels[0].plot([entry["step"] for entry in log], [entry["reward"] for entry in log], "o-", ms=3, label=label)
panels[0].set(xlabel="step", ylabel="mean reward", title="'smallest of', drawn answers")
panels[0].legend()
share = torch.linspace(0, 1, 101)
panels[1].plot(share, share**8 + (1 - share) ** 8, color="grey", label="forecast: all questions equally hard")
panels[1].plot(
    [entry["reward"] for entry in grpo_log],
    [entry["frac_reward_zero_std"] for entry in grpo_log],
    "o",
    ms=4,
    label="GRPO, each point five steps",
)
panels[1].set(xlabel="mean reward", ylabel="groups without a signal", title="questions that teach nothing", ylim=(0, 1.3))
panels[1].legend(fontsize=8)
plt.show()

after = {task: accuracy(grpo.model, rows) for task, rows in exam.items()}
drawn_after = accuracy(grpo.model, exam["min"], sample=True)
print(f"'smallest of': greedy {before['min']:.2f} -> {after['min']:.2f}, drawn {drawn_before:.2f} -> {drawn_after:.2f}")
print("everything else:", ", ".join(f"{task} {before[task]:.2f} -> {after[task]:.2f}" for task in exam if task != "min"))
for question, old, new in zip(exam["min"]["prompt"][:6], *(ask(m, exam["min"]["prompt"][:6]) for m in (start, grpo.model))):
    print(f"{question:26} before {old!r:>8}   after {new!r:>8}")

# %% [markdown]
# The hole is closed: what the reward counts is what the exam counts. Seven thousand answers that the model drew itself, marked
# right or wrong, about doubled its right answers where it takes the likeliest tokens, and multiplied them several times where its
# answers are drawn. RLOO begins as GRPO does: its advantages differ by a constant factor and by the division that it leaves out.
#
# The forecast on the right is far off. At a mean reward of 40 % it says that 2 groups in a hundred are silent; measured are about
# half of them or more. Questions differ in difficulty: for many of them all eight answers are right, or all wrong. The mean reward
# alone does not tell how much a run can learn from.
#
# Longer runs, other temperatures, step sizes and seeds are worth trying. A step half as large again is quicker at first and may
# end in collapse; from a start of 1 % hardly a group has a signal.
#
# And look at "everything else": nobody rewarded the old tasks, so nothing protects them. What is close to the new one suffers most,
# since "largest of" differs from it by one word. With `beta > 0` your $k_3$ would hold on to them.

# %% [markdown]
# ## Claims, measured

# %%
claims.record(
    "GRPO with a verifier teaches a skill without showing an answer",
    claimed="from about 15 % of right drawn answers to 60 % or more within 90 CPU seconds",
    measured=f"greedy {before['min']:.0%} -> {after['min']:.0%}, drawn {drawn_before:.0%} -> {drawn_after:.0%}, {grpo_seconds:.0f} CPU seconds",
    holds=drawn_after >= 0.6 and grpo_seconds < 90,
    how=f"{len(exam['min'])} held-out questions; {grpo.state.global_step} steps of 64 answers, one seed",
)

# %% [markdown]
# The table holds what this notebook has measured from top to bottom. The claim about $k_3$ holds near the reference and
# fails far from it; a judge can be nearly perfect on its own pairs and know nothing; the tax is real, and can be avoided; a reward can
# rise to the top while the model gets worse.

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
# alignment tax; in my run right answers fell under plain DPO and stayed with the supervised term, while the preferred form
# went above 90 % both times. I would watch `logps/chosen` during training and a set of questions with known answers
# after it, not `rewards/accuracies`.
#
# (b) GRPO or RLOO with the database as verifier. One right query in ten is enough to compare within groups of eight: here a
# start of that kind rose several times over. The first failure is a reward with a hole, such as a query that returns
# everything and so contains the right row: here the paid share rose while the right share fell to nearly nothing. I would
# read drawn queries, watch their length, and test the reward first. `frac_reward_zero_std` tells whether there is a
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
# - [ ] It answers in one token :: The number of learned tokens is not the length of an answer.
# - [x] It answers and then goes on and on :: Right: it has never been asked to write the token that ends an answer.
# - [ ] It repeats the question :: That would come from labels on the question.
# 2. In a DPO run `rewards/accuracies` is 1.0 and `logps/chosen` falls steadily. What does that mean?
# - [ ] All is well: accuracy is what counts :: It counts the order of two numbers; both can fall.
# - [x] The margin grows because the rejected answers fall faster than the chosen ones :: Right: and the lost probability goes to answers that nobody looked at.
# - [ ] The reference model is being trained too :: The reference is frozen.
# 3. You fine-tune a model in memory and pass it to `GRPOTrainer(..., beta=0.05)`. What does the KL term measure the distance to?
# - [ ] The model as you passed it :: It would have to be saved first: TRL loads the reference anew.
# - [x] The checkpoint named in its configuration, before your fine-tuning :: Right: save the fine-tuned model and load it from there.
# - [ ] The model of the previous step :: That one is in the ratio of the clipped loss.
# 4. All eight answers to a question earn 1. What does GRPO learn from them?
# - [ ] To repeat them, since they are right :: A reward counts only against the mean of its group.
# - [x] Nothing: all advantages are zero :: Right: such groups are counted in `frac_reward_zero_std`.
# - [ ] That depends on the division by the spread :: The numerator is zero already; 1e-4 keeps the quotient zero.
# 5. During RL the mean reward rises from 0.2 to 0.9 within 40 steps. What is the first thing to do?
# - [ ] Stop, since the run is finished :: Finished with what?
# - [ ] Lower the learning rate :: A quick rise is not a fault in itself.
# - [x] Read twenty drawn answers, and look at their length :: Right: a reward that is easy to earn rises fast, and so does a cheat.

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
# step size, and a leash. Nothing of what you wrote changes.

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
