"""Recipe of tiny-reviews-bert: a BERT of two layers, trained by masking on unlabelled generated reviews."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
)

from unit24.data.reviews import reviews
from unit24.models.recipes.training import Figure, fit, optimizers

STEPS = 2000
ROWS = 32
MASKED = 0.2  # share of the tokens


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Lower-case WordPiece with BERT's special tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, show_progress=False))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=96,
        model_input_names=["input_ids", "attention_mask"],
    )


def config(vocabulary: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=96,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        type_vocab_size=1,
        pad_token_id=0,
        dtype="float32",
    )


def build(name: str, out: Path, seed: int = 0) -> float:
    """Train and write weights, configuration and tokenizer to the folder `out`; gives CPU seconds."""
    texts = list(reviews("unlabelled", n=40_000, seed=seed)["text"])
    tokenizer = make_tokenizer(texts)
    rows = tokenizer(texts, truncation=True, max_length=64)["input_ids"]
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED)
    torch.manual_seed(seed)
    model = BertForMaskedLM(config(len(tokenizer)))

    def loss(step: int) -> torch.Tensor:
        rng = random.Random(f"{seed} {step}")
        torch.manual_seed(step)  # the collator draws the masks from torch's generator
        picked = sorted(rng.sample(range(len(rows)), 4 * ROWS), key=lambda i: len(rows[i]))  # rows of one length waste less
        start = ROWS * rng.randrange(4)
        batch = collate([{"input_ids": rows[i]} for i in picked[start : start + ROWS]])
        asked = batch["labels"] >= 0
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.bert(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
            logits = model.cls(hidden[asked])
        return F.cross_entropy(logits.float(), batch["labels"][asked])

    seconds = fit(model, loss, STEPS, optimizers(model, 1e-2, 2e-3), out / "checkpoint.pt", name)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return seconds


class Stars(torch.nn.Module):
    """An encoder with mean pooling and a linear layer on top."""

    def __init__(self, encoder: BertModel, classes: int = 5):
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(encoder.config.hidden_size, classes)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits float32 (n, classes) from int64 ids and mask (n, tokens)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask[..., None].float()
        return self.head((hidden * mask).sum(1) / mask.sum(1))


def few_labels(where: Path, labels: int, seed: int, pretrained: bool = True, steps: int = 100, rate: float = 1e-3) -> float:
    """Held-out accuracy on stars after training on `labels` reviews, from the shipped weights or from random ones."""
    tokenizer = AutoTokenizer.from_pretrained(where)
    torch.manual_seed(seed)
    encoder = BertModel.from_pretrained(where, add_pooling_layer=False)
    if not pretrained:
        encoder = BertModel(encoder.config, add_pooling_layer=False)
    model = Stars(encoder).train()
    optim = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    train, test = reviews("train", n=labels, seed=seed), reviews("test", n=500, seed=100 + seed)

    def encode(texts: list[str]):
        return tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")

    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        optim.param_groups[0]["lr"] = rate * min(1, (step + 1) / 15) * (1 - step / steps)
        rows = train[torch.randint(len(train), (16,), generator=generator).tolist()]
        F.cross_entropy(model(**encode(rows["text"])), torch.tensor(rows["label"])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        optim.zero_grad()
    model.eval()
    with torch.no_grad():
        said = torch.cat([model(**encode(test[i : i + 100]["text"])).argmax(-1) for i in range(0, len(test), 100)])
    return float((said == torch.tensor(test["label"])).float().mean())


def bag_of_words(labels: int, seed: int) -> float:
    """The same with TF-IDF and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, test = reviews("train", n=labels, seed=seed), reviews("test", n=500, seed=100 + seed)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000))
    return float(model.fit(train["text"], train["label"]).score(test["text"], test["label"]))


def measure(name: str, where: Path) -> list[Figure]:
    """Masked words filled in, and stars after few labels, on held-out reviews."""
    tokenizer = AutoTokenizer.from_pretrained(where)
    model = BertForMaskedLM.from_pretrained(where).eval()
    texts = list(reviews("test", n=400, seed=1)["text"])
    torch.manual_seed(0)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED)
    right = asked = 0
    wanted: list[int] = []
    with torch.no_grad():
        for start in range(0, len(texts), 50):
            batch = collate([{"input_ids": ids} for ids in tokenizer(texts[start : start + 50])["input_ids"]])
            labels = batch.pop("labels")
            said = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(-1)
            mask = labels >= 0
            right, asked = right + int((said == labels)[mask].sum()), asked + int(mask.sum())
            wanted += labels[mask].tolist()
    usual = float(max(np.bincount(wanted)) / asked)
    figures = [Figure("masked words", "accuracy", right / asked, usual, "the most frequent word")]
    for labels in (50, 200):
        pretrained = np.mean([few_labels(where, labels, seed) for seed in range(3)])
        scratch = np.mean([few_labels(where, labels, seed, pretrained=False) for seed in range(3)])
        words = np.mean([bag_of_words(labels, seed) for seed in range(3)])
        task = f"five stars from {labels} labels, mean of 3 seeds"
        figures.append(Figure(task, "accuracy", float(pretrained), float(scratch), f"random weights; TF-IDF {words:.2f}"))
    return figures
