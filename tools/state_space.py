"""Attention, Mamba and a hybrid over several seeds: the figures behind lesson 19.

    OMP_NUM_THREADS=1 python tools/state_space.py recall copying neighbours --seeds 0 1 2

The code is the lesson's own: its reference cells are run up to `contest`.  `recall` and `copying` are the
lesson's two contests.  `neighbours` is recall with key and value as two tokens, as in `unit24.data`, where a
hybrid (Bamba, one Mamba-2 layer under one attention layer, 11 % more parameters) takes part too.
Prints one line a run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time

import matplotlib

matplotlib.use("agg")

import torch  # noqa: E402

from course.lesson import LESSONS, read  # noqa: E402
from course.reference import reference_cells  # noqa: E402
from unit24 import data  # noqa: E402


def lesson_names() -> dict:
    """What the lesson has defined when its `contest` is there."""
    names: dict = {"__name__": "lesson"}
    for file, source, _, _ in reference_cells(read(LESSONS / "19_state_space_models.py")):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, file, "exec"), names)
        if "contest" in names:
            return names
    raise SystemExit("the lesson defines no `contest`")


def hybrid(lesson: dict, vocab: int, std: float, seed: int):
    torch.manual_seed(seed)
    special = dict(pad_token_id=None, bos_token_id=None, eos_token_id=None)
    sizes = dict(vocab_size=vocab, hidden_size=48, num_hidden_layers=2, intermediate_size=48, tie_word_embeddings=True)
    mamba = dict(mamba_n_heads=6, mamba_d_head=16, mamba_d_state=8, mamba_n_groups=1, mamba_chunk_size=16)
    heads = dict(num_attention_heads=4, num_key_value_heads=4, attn_layer_indices=[1])
    config = lesson["BambaConfig"](**sizes, **special, **mamba, **heads, initializer_range=std)
    return lesson["BambaForCausalLM"](config)


def neighbours(lesson: dict, seed: int, steps: int, std: float) -> dict:
    """The lesson's contest on recall with key and value as two tokens, with a hybrid beside the pair."""
    sets = [lesson["as_tensors"](data.load("recall", split="train", n=1000, seed=seed, pairs=n, queries=8)) for n in range(2, 9)]
    tests = {
        n: lesson["as_tensors"](data.load("recall", split="test", n=300, seed=seed, pairs=n, queries=8)) for n in (4, 6, 8, 11)
    }
    attention, mamba = lesson["fair_pair"](24, 48, 8, std, seed)
    models = {"attention": attention, "Mamba": lesson["use_own_block"](mamba), "hybrid": hybrid(lesson, 24, std, seed)}
    results = {}
    for name, model in models.items():
        begin = time.process_time()
        curve = lesson["train"](model, sets, steps, lesson["RATES"].get(name, 3e-3), seed)
        taken = time.process_time() - begin
        model.eval()
        with torch.no_grad():
            scores = {n: lesson["accuracy"](model(input_ids=x, use_cache=False).logits, y) for n, (x, y) in tests.items()}
        results[name] = curve, scores, taken
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contests", nargs="+", choices=["recall", "copying", "neighbours"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--std", type=float, default=0.1)
    given = parser.parse_args()
    lesson = lesson_names()
    for name in given.contests:
        for seed in given.seeds:
            if name == "neighbours":
                results = neighbours(lesson, seed, given.steps, given.std)
            else:
                results = lesson["contest"](name, seed, given.steps, given.std)
            for model, (curve, scores, taken) in results.items():
                row = "  ".join(f"{size}: {score:.2f}" for size, score in scores.items())
                last = sum(curve[-20:]) / 20
                print(
                    f"{name} std {given.std} steps {given.steps} seed {seed} {model:9}  {row}  last 20 updates {last:.2f}  {taken:.0f} CPU s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
