"""What LoRA, full fine-tuning and a fresh model reach on an untaught task, and what they forget: the figures behind lesson 12.

    OMP_NUM_THREADS=1 python tools/lora.py --seeds 0 1 2

Every way sees the same number of batches of the new task "sort down".  Prints one line a run: accuracy on held-out
rows of the new task and of the old ones, the share of the weights that was trained, CPU seconds; then for each way the
mean and range over the seeds.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
import warnings

import torch

logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")

from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from transformers.utils.logging import disable_progress_bar  # noqa: E402

from unit24 import data, models  # noqa: E402
from unit24.data.tasks import verify  # noqa: E402

NEW, OLD = "sort_down", ("sort", "reverse", "max", "add2")
RATES = {"head": 5e-3, "lora": 5e-3, "lora-replay": 5e-3, "full": 1e-3, "full-replay": 1e-3, "scratch": 1e-3}
"""The ways, and the learning rate of each. Replay: a third of the rows are of the old tasks."""


def chat(tokenizer, prompt: str) -> str:
    return tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)


@torch.no_grad()
def accuracy(model, tokenizer, task: str, n: int = 200) -> float:
    """Share of held-out rows answered exactly, the likeliest token always taken."""
    rows = data.load("tasks", names=task, split="test", n=n, seed=1)
    batch = tokenizer([chat(tokenizer, prompt) for prompt in rows["prompt"]], padding=True, return_tensors="pt")
    out = model.eval().generate(**batch, max_new_tokens=14, do_sample=False)
    texts = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return sum(verify(task, prompt, text) for prompt, text in zip(rows["prompt"], texts)) / n


def examples(tokenizer, task: str, n: int) -> list[tuple[list[int], list[int]]]:
    """(ids of the prompt, ids of the answer and the end mark) of `n` training rows."""
    rows = data.load("tasks", names=task, split="train", n=n, seed=0)
    prompts = tokenizer([chat(tokenizer, prompt) for prompt in rows["prompt"]])["input_ids"]
    answers = tokenizer([answer + tokenizer.eos_token for answer in rows["answer"]])["input_ids"]
    return list(zip(prompts, answers))


def prepare(way: str, name: str, rank: int):
    """A model in which what `way` trains wants a gradient."""
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    if way == "scratch":
        return AutoModelForCausalLM.from_config(model.config)
    if way.startswith("lora"):
        every = dict(target_modules="all-linear", task_type="CAUSAL_LM")
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, **every))
    if way == "head":
        model.requires_grad_(False)
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())  # no longer tied to the embeddings
    return model


def train(model, pairs, pad: int, rate: float, steps: int, rows: int, seed: int) -> None:
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 10, 1.0) * (1 - step / steps))
    draw = random.Random(seed)
    model.train()
    for _ in range(steps):
        batch = draw.sample(pairs, rows)
        longest = max(len(prompt) + len(answer) for prompt, answer in batch)
        ids, labels = torch.full((rows, longest), pad), torch.full((rows, longest), -100)
        for row, (prompt, answer) in enumerate(batch):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor(prompt + answer)
            labels[row, len(prompt) : end] = torch.tensor(answer)
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="folder or name (default: the shipped chat model)")
    parser.add_argument("--ways", choices=tuple(RATES), nargs="+", default=list(RATES))
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="updates")
    parser.add_argument("--rows", type=int, default=16, help="rows a batch")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bar()
    name = options.model or models.path("chat")
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    new = examples(tokenizer, NEW, 2000)
    both = new + [pair for task in OLD for pair in examples(tokenizer, task, len(new) // (2 * len(OLD)))]
    shipped = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    before = {task: accuracy(shipped, tokenizer, task) for task in (NEW, *OLD)}
    print("before:", ", ".join(f"{task} {share:.2f}" for task, share in before.items()), flush=True)

    for way in options.ways:
        learned, kept = [], []
        for seed in options.seeds:
            torch.manual_seed(seed)
            model = prepare(way, name, options.rank)
            share = sum(p.numel() for p in model.parameters() if p.requires_grad) / sum(p.numel() for p in model.parameters())
            begin = time.process_time()
            train(
                model,
                both if way.endswith("replay") else new,
                tokenizer.pad_token_id,
                RATES[way],
                options.steps,
                options.rows,
                seed,
            )
            seconds = time.process_time() - begin
            after = {task: accuracy(model, tokenizer, task) for task in (NEW, *OLD)}
            learned.append(after[NEW])
            kept.append(sum(after[task] for task in OLD) / len(OLD))
            told = ", ".join(f"{task} {share:.2f}" for task, share in after.items())
            print(f"{way}, seed {seed}: {told}; {share:.1%} trained, {seconds:.0f} CPU seconds", flush=True)
        for what, values in ((NEW, learned), ("old tasks", kept)):
            spread = f"{min(values):.2f} to {max(values):.2f}"
            print(f"{way}, {what}: mean {sum(values) / len(values):.2f}, {spread} over {len(values)} seeds", flush=True)


if __name__ == "__main__":
    main()
