"""The effects of lesson 14 on the shipped models, over several seeds: the figures behind its claims.

    OMP_NUM_THREADS=1 python tools/alignment.py grpo dpo hack --seeds 0 1 2

- ``grpo``, ``rloo``: a few supervised steps on the untaught task "smallest of" make a start; then
  reinforcement learning from a verifier alone.
- ``dpo``: sentences preferred to bare numbers and chatty answers.  Once by the plain loss, which costs right
  answers (alignment tax), once with a supervised term, a firmer reference and half the step, which keeps them, and
  once with the firmer reference and the half step alone.
- ``hack``: the same start under a reward with a hole (is there a number that no number of the question lies
  below?), then again with the hole closed (exactly one number, the right one), for as many steps.

Prints one line a seed, with the CPU seconds of each training, then mean, least and most of every figure.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import tempfile
import time
import warnings

import torch

from unit24.env import OFFLINE, QUIET

os.environ.update(QUIET | OFFLINE)
logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")

from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback  # noqa: E402
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer  # noqa: E402

from unit24 import data, models  # noqa: E402
from unit24.data.tasks import form, verify  # noqa: E402

# The runs of DPO: what the formula says, the cure, and the cure without its supervised term.
RECIPES = {
    "plain": dict(beta=0.1, learning_rate=2e-4),
    "cured": dict(beta=0.3, learning_rate=1e-4, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 1.0]),
    "gentle": dict(beta=0.3, learning_rate=1e-4),
}
START_STEPS = 32  # supervised steps that bring "smallest of" to about 15 %


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def load(name: str):
    return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)


def settings(seed: int) -> dict:
    """What all trainers share."""
    return dict(
        output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
        save_strategy="no", disable_tqdm=True, seed=seed,
    )  # fmt: skip


def train(trainer) -> float:
    """CPU seconds of the training."""
    trainer.remove_callback(PrinterCallback)
    begin = time.process_time()
    trainer.train()
    return time.process_time() - begin


@torch.no_grad()
def ask(model, tokenizer, questions, sample: bool = False, tokens: int = 16) -> list[str]:
    """One answer to each question, greedy or drawn at temperature 1."""
    chats = [user(question) for question in questions]
    batch = tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True)
    torch.manual_seed(0)
    model.eval()
    how = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0) if sample else dict(do_sample=False)
    out = model.generate(**batch, max_new_tokens=tokens, pad_token_id=tokenizer.pad_token_id, **how)
    return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def accuracy(model, tokenizer, rows, sample: bool = False) -> float:
    """Share of right answers to `rows`."""
    said = ask(model, tokenizer, rows["prompt"], sample)
    return sum(verify(row["task"], row["prompt"], text) for row, text in zip(rows, said)) / len(rows)


def exam(*names: str, n: int = 200):
    return data.load("tasks", names=list(names), split="test", n=n, seed=1)


def make_start(name: str, tokenizer, steps: int, seed: int):
    """`name` after a few supervised steps on "smallest of"."""
    pairs = data.load("tasks", names="min", split="train", n=500, seed=seed).map(
        lambda row: {"prompt": user(row["prompt"]), "completion": [{"role": "assistant", "content": row["answer"]}]},
        remove_columns=["task", "answer"],
    )
    args = SFTConfig(**settings(seed), per_device_train_batch_size=32, learning_rate=3e-4, max_steps=steps, weight_decay=0.0)
    trainer = SFTTrainer(model=load(name), args=args, train_dataset=pairs, processing_class=tokenizer)
    train(trainer)
    return trainer.model


def exact_reward(completions, question, **columns) -> list[float]:
    return [float(verify("min", asked, reply[0]["content"])) for asked, reply in zip(question, completions)]


def lowest_reward(completions, question, **columns) -> list[float]:
    """The reward with a hole: the reply names a number, and no number of the question lies below it."""
    return [float(pays(reply[0]["content"], asked)) for reply, asked in zip(completions, question)]


def pays(reply: str, asked: str) -> bool:
    lowest = min(map(int, re.findall(r"\d+", asked)))
    return any(int(number) <= lowest for number in re.findall(r"\d+", reply))


def reinforce(algorithm: str, model, tokenizer, reward, steps: int, seed: int) -> float:
    """Train `model` in place on "smallest of", 64 answers a step in groups of 8; CPU seconds."""
    questions = data.load("tasks", names="min", split="train", n=5000, seed=seed + 100)
    questions = questions.map(lambda row: {"prompt": user(row["prompt"]), "question": row["prompt"]}, remove_columns=["task"])
    trainer_class, config = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}[algorithm]
    args = config(
        **settings(seed), per_device_train_batch_size=64, num_generations=8, max_completion_length=5, learning_rate=2e-4,
        lr_scheduler_type="constant", beta=0.0, max_steps=steps,
    )  # fmt: skip
    return train(trainer_class(model=model, reward_funcs=reward, args=args, train_dataset=questions, processing_class=tokenizer))


def fresh(model, name: str):
    """A new model with the weights of `model` (TRL's trainers replace the forward of the one they get)."""
    new = load(name)
    new.load_state_dict(model.state_dict())
    return new


def skill(algorithm: str, steps: int, seed: int) -> dict[str, float]:
    """GRPO or RLOO on "smallest of"."""
    name = models.path("chat")
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    start = make_start(name, tokenizer, START_STEPS, seed)
    model = fresh(start, name)
    seconds = reinforce(algorithm, model, tokenizer, exact_reward, steps, seed)
    found = {}
    for when, which in (("before", start), ("after", model)):
        found[f"greedy {when}"] = accuracy(which, tokenizer, exam("min"))
        found[f"drawn {when}"] = accuracy(which, tokenizer, exam("min"), sample=True)
        found[f"sorting {when}"] = accuracy(which, tokenizer, exam("sort"))
    return found | {"CPU seconds": seconds}


def preference(steps: int, seed: int) -> dict[str, float]:
    """DPO, plain and cured: form and right answers on held-out sums and maxima."""
    name = models.path("chat")
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    pairs = data.load("preferences", split="train", n=1500, seed=seed, prefer="sentence").select_columns(
        ["prompt", "chosen", "rejected"]
    )
    rows = exam("add2", "max", n=100)

    def measure(model, when: str) -> dict[str, float]:
        said = ask(model, tokenizer, rows["prompt"], tokens=24)
        return {
            f"sentence {when}": sum(form(text) == "sentence" for text in said) / len(said),
            f"right {when}": sum(verify(row["task"], row["prompt"], text) for row, text in zip(rows, said)) / len(said),
        }

    found = measure(load(name), "before")
    for title, recipe in RECIPES.items():
        args = DPOConfig(
            **settings(seed),
            **recipe,
            per_device_train_batch_size=16,
            lr_scheduler_type="constant",
            max_steps=steps,
            logging_steps=5,
        )
        trainer = DPOTrainer(model=load(name), args=args, train_dataset=pairs, processing_class=tokenizer)
        seconds = train(trainer)
        found |= measure(trainer.model, title) | {f"CPU seconds {title}": seconds}
        logged = [entry["logps/chosen"] for entry in trainer.state.log_history if "logps/chosen" in entry]
        found |= {f"logps/chosen at the end, {title}": logged[-1]}
    return found


def hack(steps: int, seed: int) -> dict[str, float]:
    """A reward with a hole, and the same training with the hole closed: share paid by the hole, share right."""
    name = models.path("chat")
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    start = make_start(name, tokenizer, START_STEPS, seed)
    rows = exam("min")

    def measure(model, when: str) -> dict[str, float]:
        said = ask(model, tokenizer, rows["prompt"], sample=True)
        return {
            f"paid {when}": sum(pays(text, asked) for text, asked in zip(said, rows["prompt"])) / len(said),
            f"right {when}": sum(verify("min", asked, text) for text, asked in zip(said, rows["prompt"])) / len(said),
        }

    found = measure(start, "before")
    for title, reward in (("hacked", lowest_reward), ("closed", exact_reward)):
        model = fresh(start, name)
        seconds = reinforce("grpo", model, tokenizer, reward, steps, seed)
        found |= measure(model, title) | {f"CPU seconds {title}": seconds}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effects", nargs="+", choices=("grpo", "rloo", "dpo", "hack"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="steps of the training measured (default: grpo, rloo 200, dpo 36, hack 20)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for effect in options.effects:
        steps = options.steps or {"grpo": 200, "rloo": 200, "dpo": 36, "hack": 20}[effect]
        found = []
        for seed in options.seeds:
            found.append(
                {"dpo": preference, "hack": hack}[effect](steps, seed)
                if effect in ("dpo", "hack")
                else skill(effect, steps, seed)
            )
            print(
                f"{effect}, {steps} steps, seed {seed}:",
                ", ".join(f"{key} {value:.2f}" for key, value in found[-1].items()),
                flush=True,
            )
        print(f"{effect}, {len(found)} seeds:{'':24}mean   least    most")
        for key in found[0]:
            values = [row[key] for row in found]
            print(f"    {key:36}{sum(values) / len(values):8.2f}{min(values):8.2f}{max(values):8.2f}", flush=True)


if __name__ == "__main__":
    main()
