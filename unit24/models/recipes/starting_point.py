"""A start for reinforcement learning: a task that the model has never been taught, brought to 10 to 20 %.

Rewards teach nothing where the model never earns one, and little where it nearly always does.  A few
supervised steps on a small number of examples put it in between.
"""

from __future__ import annotations

import random

import torch

from unit24.data import tasks
from unit24.data._base import draw


def warm_start(model, tokenizer, task: str = "min", steps: int = 30, examples: int = 500, lr: float = 3e-4, seed: int = 0):
    """Train `model` in place for a few supervised steps on rows of `task`; a few CPU seconds.

    `model` is a causal model of transformers, `tokenizer` one with a chat template; loss is taken on
    the answers alone, 32 chats a step, from `examples` different training rows.  Gives the model back, in
    eval mode.
    """
    rows = draw(lambda rng: tasks.row(task, rng), "train", examples, seed)
    rng = random.Random(seed)
    optim = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    model.train()
    for step in range(steps):
        optim.param_groups[0]["lr"] = lr * (1 - step / steps)
        batch = collate(tokenizer, rng.sample(rows, 32))
        model(**batch.to(model.device)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        optim.zero_grad()
    return model.eval()


def collate(tokenizer, rows: list[dict]):
    """Chats of `rows` (prompt, answer) as one batch with labels, -100 on all but the answers.

    input_ids, attention_mask and labels are int64 (rows, tokens), padded on the tokenizer's side.
    """
    chats = [
        [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["answer"]}] for row in rows
    ]
    batch = tokenizer.apply_chat_template(
        chats, padding=True, return_tensors="pt", return_dict=True, return_assistant_tokens_mask=True
    )
    answer = torch.as_tensor(batch.pop("assistant_masks")).bool()
    batch["labels"] = batch["input_ids"].masked_fill(~answer, -100)
    return batch
