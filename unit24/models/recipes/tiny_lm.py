"""Recipe of tiny-lm, tiny-lm-early and tiny-draft: Llama-architecture causal models of one tokenizer.

Two phases, each with a cosine schedule.  The first teaches text and lists, with few
sums: its end is tiny-lm-early.  The second goes on from there with many sums: its end is tiny-lm.
tiny-draft is trained afterwards on the same kind of batches against tiny-lm's own predictions.

The rows of a batch depend only on the seed and the number of the step, so a run that was stopped goes
on from its last checkpoint exactly as if it had not been.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unit24.data import python_docs, questions, reviews, tasks
from unit24.data._base import side
from unit24.models import folder as folder_of
from unit24.models.recipes.training import Figure, fit, optimizers

VOCAB = 1152
LENGTH = 128  # tokens in a row
ROWS = 16  # rows in a batch
TEXT_ROWS = 6  # of them plain text; the others are packed chats
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{% generation %}{{ m['content'] }}<|end|>"
    "{% endgeneration %}{% else %}<|{{ m['role'] }}|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SYSTEM = {"bare": "Answer with a number only.", "sentence": "Answer in one sentence.", "chatty": "Be friendly."}
"""System messages that tiny-lm obeys on numeric tasks, by the form of answer they ask for."""

EARLY_MIX = {"add1": 2, "add2": 4, "max": 8, "reverse": 14, "sort": 14, "copy": 10, "context": 40, "sentiment": 8}
FULL_MIX = {
    "add1": 4, "add2": 38, "add3": 6, "max": 12, "reverse": 7, "sort": 7, "copy": 3, "context": 18, "sentiment": 5,
}  # fmt: skip


# ----------------------------------------------------------------------------------------- what it reads


def texts(seed: int = 0) -> list[str]:
    """Training text: reference paragraphs by topic, docstrings, generated stories and reviews, shuffled."""
    rng = random.Random(seed)
    by_topic: dict[str, list[str]] = {}
    for topic, text in python_docs.split_paragraphs("train"):
        by_topic.setdefault(topic, []).append(text)
    out = ["\n\n".join(v[i : i + 6]) for v in by_topic.values() for i in range(0, len(v), 6)]
    out += python_docs.docstrings()
    out += [questions.story(rng) for _ in range(3000)]
    out += [r["text"] for r in (reviews.polar(rng) for _ in range(3000)) if side(r["key"]) == "train"]
    rng.shuffle(out)
    return out


def chat(name: str, rng: random.Random) -> list[tuple[str, bool]]:
    """One training conversation as pieces of text, each with whether the model is taught to write it."""
    while True:
        if name == "context":
            row = questions.conversation(rng, turns=rng.choice([1, 2, 3, 4]))
            prompts = [q for _, q, _ in row["turns"]]
            prompts[0] = f"{row['context']} {prompts[0]}"
            turns = [(p, a) for p, (_, _, a) in zip(prompts, row["turns"])]
        else:
            row = reviews.polar(rng) if name == "sentiment" else tasks.row(name, rng)
            turns = [(row["prompt"], row["answer"])]
        if side(row["key"]) == "train":
            break
    pieces = []
    if name in tasks.TASKS and tasks.TASKS[name].numeric:
        form = rng.choices(list(tasks.FORMS), [2, 1, 1])[0]
        turns = [(p, tasks.FORMS[form].format(a)) for p, a in turns]
        if rng.random() < 0.2:
            pieces.append((f"<|system|>{SYSTEM[form]}", False))
    for prompt, answer in turns:
        pieces += [(f"<|user|>{prompt}<|assistant|>", False), (f"{answer}<|end|>", True)]
    return pieces


def make_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """Byte-level BPE of `VOCAB` entries; digits always stand alone, so that sums can be learned by column."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    rng = random.Random(seed)
    # Context questions more often than they occur, so that a word of an answer is one token at its start too.
    names = [*FULL_MIX, *["context"] * 10]
    corpus = texts(seed) + ["".join(t for t, _ in chat(rng.choice(names), rng)) for _ in range(16_000)]
    for token in SPECIAL:
        corpus = [text.replace(token, "\n") for text in corpus]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        padding_side="left",
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        chat_template=CHAT_TEMPLATE,
    )


@dataclass
class Batches:
    """The stream of training batches.

    `batch(step, mix)` -> ids and positions int64, weight float32, each (ROWS, LENGTH).  The first
    TEXT_ROWS rows are plain text.  In the others positions start at 0 with each chat, by which
    transformers knows that chats in a row must not see each other; weight is 1 where a token is a
    target and 0 on the user's words.
    """

    tokenizer: PreTrainedTokenizerFast
    seed: int | str = 0

    @cached_property
    def text_ids(self) -> np.ndarray:
        encoded = self.tokenizer(texts(), verbose=False, return_attention_mask=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        return np.array([i for ids in encoded for i in (*ids, end)])

    def batch(self, step: int, mix: dict[str, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rng = random.Random(f"{self.seed} {step}")
        ids = np.zeros((ROWS, LENGTH), dtype=np.int64)
        positions = np.tile(np.arange(LENGTH), (ROWS, 1))
        weight = np.ones((ROWS, LENGTH), dtype=np.float32)
        for row in range(TEXT_ROWS):
            start = rng.randrange(len(self.text_ids) - LENGTH)
            ids[row] = self.text_ids[start : start + LENGTH]
        packed = self._chats(rng, mix)
        for row in range(TEXT_ROWS, ROWS):
            filled = 0
            while filled < LENGTH:  # a row starts with a whole chat; its last one is cut
                tokens, taught = next(packed)
                part = slice(filled, min(filled + len(tokens), LENGTH))
                length = part.stop - part.start
                ids[row, part], weight[row, part], positions[row, part] = tokens[:length], taught[:length], range(length)
                filled = part.stop
        return torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(weight)

    def _chats(self, rng: random.Random, mix: dict[str, int]) -> Iterator[tuple[list[int], list[float]]]:
        names, weights = list(mix), list(mix.values())
        while True:
            chats = [chat(name, rng) for name in rng.choices(names, weights, k=40)]
            encoded = iter(self.tokenizer([t for c in chats for t, _ in c], return_attention_mask=False)["input_ids"])
            for pieces in chats:
                parts = [(next(encoded), float(taught)) for _, taught in pieces]
                yield [i for ids, _ in parts for i in ids], [w for ids, w in parts for _ in ids]


# --------------------------------------------------------------------------------------------- how it learns


def config(hidden: int = 128, layers: int = 4, heads: int = 4, kv_heads: int = 2, ffn: int = 384) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        dtype="float32",
    )


def loss_of(logits: torch.Tensor, ids: torch.Tensor, weight: torch.Tensor, teacher: torch.Tensor | None = None) -> torch.Tensor:
    """Mean loss of text rows and of taught chat tokens, weighted by their share of rows.

    logits float32 (ROWS, LENGTH, VOCAB).  With a teacher's logits of that shape, half of the loss is
    the Kullback-Leibler divergence from the teacher's distribution (Hinton et al. 2015, temperature 1).
    """
    logits, targets, w = logits[:, :-1], ids[:, 1:], weight[:, 1:]
    per_token = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    if teacher is not None:
        kl = F.kl_div(logits.log_softmax(-1), teacher[:, :-1].log_softmax(-1), reduction="none", log_target=True).sum(-1)
        per_token = 0.5 * per_token + 0.5 * kl
    per_token = per_token * w
    text = per_token[:TEXT_ROWS].sum() / w[:TEXT_ROWS].sum()
    chats = per_token[TEXT_ROWS:].sum() / w[TEXT_ROWS:].sum()
    share = TEXT_ROWS / ROWS
    return share * text + (1 - share) * chats


@dataclass(frozen=True)
class Recipe:
    """`steps` batches of `mix`, from random weights or from the weights of `start`, alone or under a `teacher`."""

    steps: int
    mix: dict[str, int]
    config: LlamaConfig
    muon_lr: float = 2e-2
    adam_lr: float = 6e-3
    start: str | None = None
    teacher: str | None = None


RECIPES = {
    "tiny-lm-early": Recipe(2400, EARLY_MIX, config()),
    "tiny-lm": Recipe(2400, FULL_MIX, config(), start="tiny-lm-early", muon_lr=1.5e-2, adam_lr=4e-3),
    "tiny-draft": Recipe(1200, FULL_MIX, config(64, 1, 2, 1, 192), teacher="tiny-lm", adam_lr=8e-3),
}


def build(name: str, out: Path, seed: int = 0) -> float:
    """Train `name` and write weights, configuration and tokenizer to the folder `out`; gives CPU seconds."""
    recipe = RECIPES[name]
    source = recipe.start or recipe.teacher
    tokenizer = AutoTokenizer.from_pretrained(folder_of(source)) if source else make_tokenizer(seed)
    torch.manual_seed(seed)
    model = load(recipe.start) if recipe.start else LlamaForCausalLM(recipe.config)
    teacher = load(recipe.teacher) if recipe.teacher else None
    batches = Batches(tokenizer, f"{name} {seed}")

    def loss(step: int) -> torch.Tensor:
        ids, positions, weight = batches.batch(step, recipe.mix)
        inputs = {"input_ids": ids, "position_ids": positions, "use_cache": False}
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**inputs).logits
            with torch.no_grad():
                taught = teacher(**inputs).logits.float() if teacher else None
        return loss_of(logits.float(), ids, weight, taught)

    seconds = fit(model, loss, recipe.steps, optimizers(model, recipe.muon_lr, recipe.adam_lr), out / "checkpoint.pt", name)
    model.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=1, max_new_tokens=48)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return seconds


def load(name: str) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder_of(name)).eval()


# ---------------------------------------------------------------------------------------------- what it can do


@torch.no_grad()
def answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], system: str | None = None, **options
) -> list[str]:
    """Replies to one-turn chats, greedy unless `options` of ``generate`` say otherwise."""
    first = [{"role": "system", "content": system}] if system else []
    out = []
    for start in range(0, len(prompts), 100):
        chats = [[*first, {"role": "user", "content": p}] for p in prompts[start : start + 100]]
        batch = tokenizer.apply_chat_template(chats, add_generation_prompt=True, padding=True, return_tensors="pt")
        made = model.generate(**batch, **({"max_new_tokens": 24, "do_sample": False} | options))
        out += tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return out


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, ids: np.ndarray) -> float:
    """exp of the mean negative log-likelihood of `ids`, in windows of `LENGTH` tokens."""
    rows = torch.from_numpy(ids[: len(ids) // LENGTH * LENGTH]).view(-1, LENGTH)
    total = 0.0
    for part in rows.split(32):
        logits = model(input_ids=part).logits[:, :-1]
        total += F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
    return math.exp(total / (rows.shape[0] * (LENGTH - 1)))


def bigram_perplexity(train: np.ndarray, test: np.ndarray) -> float:
    """Perplexity of token pairs counted on `train`, smoothed with 20 counts of the single tokens."""
    single = (np.bincount(train, minlength=VOCAB) + 1.0) / (len(train) + VOCAB)
    pairs = np.zeros((VOCAB, VOCAB))
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    given = (pairs + 20 * single) / (pairs.sum(1, keepdims=True) + 20)
    return float(np.exp(-np.log(given[test[:-1], test[1:]]).mean()))


def held_out_ids(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    text = "\n\n".join(text for _, text in python_docs.split_paragraphs("test"))
    return np.array(tokenizer(text, verbose=False)["input_ids"])


# What a rule without learning reaches on each task: (what it says, its answer to a prompt).
GUESS = {
    "max": ("the first number", lambda p: str(tasks._ints(p)[0])),
    "min": ("the first number", lambda p: str(tasks._ints(p)[0])),
    "sort": ("the list as it is", lambda p: p.split(": ")[1]),
    "reverse": ("the list as it is", lambda p: p.split(": ")[1]),
    "copy": ("the list reversed", lambda p: " ".join(reversed(p.split(": ")[1].split()))),
}


def measure(name: str, where: Path, rows: int = 200) -> list[Figure]:
    """The figures of the model in the folder `where`, on held-out rows."""
    model = LlamaForCausalLM.from_pretrained(where).eval()
    tokenizer = AutoTokenizer.from_pretrained(where)
    test = held_out_ids(tokenizer)
    bigram = bigram_perplexity(Batches(tokenizer).text_ids, test)
    figures = [
        Figure("Python reference paragraphs", "perplexity", perplexity(model, test), bigram, "bigram counts", "lower", 0.1)
    ]
    if name == "tiny-draft":
        return figures + [_acceptance(model, tokenizer)]
    for task in ("add1", "add2", "add3", "max", "sort", "reverse", "copy", "min", "subtract", "sort_down"):
        asked = tasks.tasks(task, "train" if task == "add1" else "test", 55 if task == "add1" else rows, seed=1).to_list()
        said = answers(model, tokenizer, [r["prompt"] for r in asked])
        share = _mean(tasks.verify(task, r["prompt"], s) for r, s in zip(asked, said, strict=True))
        if task in GUESS:
            rule, guess = GUESS[task]
            base = _mean(guess(r["prompt"]) == r["answer"] for r in asked)
        else:
            rule, base = "the most frequent answer", _most_frequent([r["answer"] for r in asked])
        taught = "taught" if tasks.TASKS[task].taught else "not taught"
        figures.append(Figure(f"{task} ({'all 55 sums, seen' if task == 'add1' else taught})", "accuracy", share, base, rule))
    for task, make, rule in (
        ("context questions", questions.context_questions, "a word of the right kind from the context"),
        ("sentiment of one sentence", reviews.sentiment, "the more frequent answer"),
    ):
        asked = make("test", rows, seed=1).to_list()
        said = answers(model, tokenizer, [r["prompt"] for r in asked])
        share = _mean(s.strip() == r["answer"] for r, s in zip(asked, said, strict=True))
        if make is reviews.sentiment:
            base = _most_frequent([r["answer"] for r in asked])
        else:
            base = _mean(1 / (r["context"].count(".")) for r in asked)
        figures.append(Figure(task, "accuracy", share, base, rule))
    asked = [r["prompt"] for r in tasks.tasks(["add2", "max"], "test", rows // 4, seed=2)]
    told = _mean(tasks.form(s) == form for form, system in SYSTEM.items() for s in answers(model, tokenizer, asked, system))
    untold = _mean(tasks.form(s) == form for form in SYSTEM for s in answers(model, tokenizer, asked))
    figures.append(Figure("form of answer that a system message asks for", "share", told, untold, "no system message"))
    return figures


def _acceptance(draft: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, width: int = 3) -> Figure:
    """Share of the draft's proposals, `width` at a time, that tiny-lm would have written itself (greedy)."""
    target = load("tiny-lm")
    starts = ["Return a list of the", "The with statement is used to", "Mia went to the park.", "Class for", "If the argument is"]
    accepted = proposed = 0
    with torch.no_grad():
        for start in starts:
            ids = tokenizer(start, return_tensors="pt")["input_ids"]
            long = ids.shape[1] + 64
            while ids.shape[1] < long:
                made = draft.generate(ids, max_new_tokens=width, min_new_tokens=width, do_sample=False)
                wanted = target(input_ids=made).logits[0, ids.shape[1] - 1 :].argmax(-1)
                right = int((made[0, ids.shape[1] :] == wanted[:width]).long().cumprod(0).sum())
                accepted, proposed = accepted + right, proposed + width
                ids = torch.cat([made[:, : ids.shape[1] + right], wanted[None, right : right + 1]], 1)
    return Figure("proposals accepted by tiny-lm, 3 at a time", "share", accepted / proposed, 1 / VOCAB, "a random token")


def _mean(values) -> float:
    values = [float(v) for v in values]
    return sum(values) / len(values)


def _most_frequent(values: list[str]) -> float:
    return max(values.count(v) for v in set(values)) / len(values)
