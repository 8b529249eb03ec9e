"""What GRPO and RLOO reach on the shipped chat model, over several seeds: the figures behind lesson 14.

    OMP_NUM_THREADS=1 python tools/grpo.py --steps 260 --seeds 0 1 2

A few supervised steps on the untaught task "smallest of" make a start; then reinforcement learning from a
verifier alone.  Prints one line a seed, with the CPU seconds of the training, and the mean and range.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings

import torch

logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")

from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer  # noqa: E402

from unit24 import data, models  # noqa: E402
from unit24.data.tasks import verify  # noqa: E402


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@torch.no_grad()
def accuracy(model, tokenizer, rows, sample: bool = False) -> float:
    """Share of right answers to `rows`, greedy or drawn at temperature 1."""
    chats = [user(question) for question in rows["prompt"]]
    batch = tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True)
    torch.manual_seed(0)
    model.eval()
    out = model.generate(**batch, max_new_tokens=16, do_sample=sample, pad_token_id=tokenizer.pad_token_id)
    texts = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return sum(verify(row["task"], row["prompt"], text) for row, text in zip(rows, texts)) / len(rows)


def correct(completions, question, **columns) -> list[float]:
    return [float(verify("min", asked, reply[0]["content"])) for asked, reply in zip(question, completions)]


def run(name: str, algorithm: str, steps: int, start_steps: int, seed: int) -> tuple[float, ...]:
    """(greedy before, drawn before, greedy after, drawn after, sorting before, sorting after, CPU seconds)."""
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    common = dict(
        output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
        save_strategy="no", disable_tqdm=True, seed=seed,
    )  # fmt: skip
    pairs = data.load("tasks", names="min", split="train", n=500, seed=seed).map(
        lambda row: {"prompt": user(row["prompt"]), "completion": [{"role": "assistant", "content": row["answer"]}]},
        remove_columns=["task", "answer"],
    )
    start = SFTConfig(**common, per_device_train_batch_size=32, learning_rate=3e-4, max_steps=start_steps)
    sft = SFTTrainer(model=model, args=start, train_dataset=pairs, processing_class=tokenizer)
    sft.remove_callback(PrinterCallback)
    sft.train()

    exam = {task: data.load("tasks", names=task, split="test", n=200, seed=1) for task in ("min", "sort")}
    before = accuracy(model, tokenizer, exam["min"]), accuracy(model, tokenizer, exam["min"], sample=True)
    sorting = accuracy(model, tokenizer, exam["sort"])
    questions = data.load("tasks", names="min", split="train", n=5000, seed=seed + 100).map(
        lambda row: {"prompt": user(row["prompt"]), "question": row["prompt"]}, remove_columns=["task", "answer"]
    )
    trainer_class, config = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}[algorithm]
    args = config(
        **common, per_device_train_batch_size=64, num_generations=8, max_completion_length=8, learning_rate=2e-4,
        lr_scheduler_type="linear", beta=0.0, max_steps=steps,
    )  # fmt: skip
    trainer = trainer_class(model=model, reward_funcs=correct, args=args, train_dataset=questions, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    begin = time.process_time()
    trainer.train()
    seconds = time.process_time() - begin
    after = accuracy(model, tokenizer, exam["min"]), accuracy(model, tokenizer, exam["min"], sample=True)
    return *before, *after, sorting, accuracy(model, tokenizer, exam["sort"]), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="folder or name (default: the shipped chat model)")
    parser.add_argument("--algorithm", choices=("grpo", "rloo"), default="grpo")
    parser.add_argument("--steps", type=int, default=260, help="steps of reinforcement learning, 64 answers each")
    parser.add_argument("--start-steps", type=int, default=40, help="supervised steps before it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    name, rows = options.model or models.path("chat"), []
    for seed in options.seeds:
        rows.append(run(name, options.algorithm, options.steps, options.start_steps, seed))
        greedy, drawn, greedy_after, drawn_after, sort, sort_after, seconds = rows[-1]
        print(
            f"{options.algorithm}, seed {seed}: greedy {greedy:.2f} -> {greedy_after:.2f}, drawn {drawn:.2f} -> {drawn_after:.2f}, "
            f"sorting {sort:.2f} -> {sort_after:.2f}, {options.steps} steps in {seconds:.0f} CPU seconds",
            flush=True,
        )
    ends = [row[2] for row in rows]
    print(f"greedy after: mean {sum(ends) / len(ends):.2f}, {min(ends):.2f} to {max(ends):.2f} over {len(ends)} seeds")


if __name__ == "__main__":
    main()
