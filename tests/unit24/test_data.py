"""The generators: seeded, held out by content, verifiable, and documented."""

import random
import re
import subprocess
import sys

import pytest

from unit24 import data
from unit24.data import contracts, python_docs, questions, sequences, tasks, tickets
from unit24.data._base import draw, side

pytest.importorskip("datasets")
SPLIT_SETS = [name for name in data.SETS if name != "reference_questions"]


def make(name: str, split: str, seed: int = 0, n: int = 60):
    return data.load(name, split=split) if name == "reference" else data.load(name, split=split, n=n, seed=seed)


def contents(name: str, split: str, seed: int = 0, n: int = 60) -> list[str]:
    rows = make(name, split, seed, n).to_list()
    column = {"digits": "source", "contract_questions": "contract", "context_questions": "context"}.get(name)
    return [repr(row[column] if column else row) for row in rows]


@pytest.mark.parametrize("name", SPLIT_SETS)
def test_same_seed_same_rows_and_no_row_in_both_splits(name):
    train = contents(name, "train")
    assert train == contents(name, "train")
    test = contents(name, "test")
    assert not set(train) & set(test)
    if name not in ("reference", "digits"):
        assert train != contents(name, "train", seed=1)
        # whatever the seed, held-out rows stay out of training
        assert not set(contents(name, "train", seed=1, n=300)) & set(contents(name, "test", seed=2))


@pytest.mark.parametrize("name", data.SETS)
def test_card_says_fields_splits_and_biases(name):
    card = data.card(name)
    assert "**Fields.**" in card and "**Splits.**" in card and "**Known biases.**" in card
    rows = data.load(name) if name in ("reference", "reference_questions") else data.load(name, n=3)
    assert rows.info.description == card
    for column in rows.column_names:
        assert f"`{column}`" in card, f"the card of {name} does not explain the column {column}"


def test_import_is_light():
    code = "import sys, unit24.data; sys.exit(any(m in sys.modules for m in ('torch', 'datasets', 'numpy', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_errors_name_what_can_be_chosen():
    with pytest.raises(ValueError, match="reviews"):
        data.load("review")
    with pytest.raises(ValueError, match="train, test"):
        data.load("tickets", split="validation")
    with pytest.raises(ValueError, match="add2"):
        data.load("tasks", names="addition")
    with pytest.raises(ValueError, match="only .* rows"):
        data.load("tasks", names="add1", split="test", n=5)  # every one-digit sum is taught
    with pytest.raises(ValueError, match="statements"):
        data.load("reference", sections=["poems"])
    with pytest.raises(ValueError, match="1 to 11"):
        data.load("recall", pairs=12)


# ------------------------------------------------------------------------------------------------ tasks


@pytest.mark.parametrize("name", tasks.TASKS)
def test_verifier_accepts_the_answer_and_only_it(name):
    rng = random.Random(3)
    for _ in range(50):
        row = tasks.row(name, rng)
        prompt, answer = row["prompt"], row["answer"]
        assert tasks.solve(name, prompt) == answer
        assert tasks.verify(name, prompt, f" {answer}\n")
        assert not tasks.verify(name, prompt, "")
        if tasks.TASKS[name].numeric:
            assert tasks.verify(name, prompt, tasks.FORMS["chatty"].format(answer))
            assert not tasks.verify(name, prompt, str(int(answer) + 1))
            assert not tasks.verify(name, prompt, f"{answer} or {int(answer) + 1}")  # naming many numbers must not pay
            assert not tasks.verify(name, prompt, f"-{answer}") or answer == "-0"
        else:
            assert not tasks.verify(name, prompt, answer + " x")


def test_sum_is_held_out_in_either_order():
    rng = random.Random(0)
    held_out = set()
    while len(held_out) < 30:
        row = tasks.row("add2", rng)
        if side(row["key"]) == "test":
            held_out.add(tuple(sorted(map(int, re.findall(r"\d+", row["prompt"])))))
    rows = draw(lambda r: tasks.row("add2", r), "train", 5000, 0)
    trained = {tuple(sorted(map(int, re.findall(r"\d+", row["prompt"])))) for row in rows}
    assert not held_out & trained


def test_form_of_an_answer():
    for name, template in tasks.FORMS.items():
        assert tasks.form(template.format(12)) == name
    assert tasks.form("It is 12.") is None


# ------------------------------------------------------------------------------------- texts and records


def test_context_answers_stand_in_the_context():
    for row in data.load("context_questions", split="test", n=100):
        assert row["answer"] in row["context"] and row["question"] in row["prompt"]
    talk = questions.conversation(random.Random(0), turns=3)
    assert len({q for _, q, _ in talk["turns"]}) == len(talk["turns"])


def test_reviews_test_words_that_labels_never_showed():
    train, test = data.load("reviews", split="train", n=400), data.load("reviews", split="test", n=400)
    assert set(train["unseen"]) == {0}
    assert sum(n > 0 for n in test["unseen"]) > 200
    assert set(train["stars"]) == {1, 2, 3, 4, 5}
    assert data.load("reviews", split="unlabelled", n=3).column_names == ["text"]


def test_ticket_records_are_valid_and_wrong_ones_are_explained():
    for row in data.load("tickets", split="test", n=100):
        assert tickets.validate(row["json"]) is None
        assert tickets.same(row["json"].replace(" ", ""), row["json"])
        assert row["order"] in row["ticket"] and row["product"] in row["ticket"]
    good = {"queue": "access", "urgent": False, "order": "", "product": "lamp"}
    assert "not JSON" in tickets.validate("{queue: 1}")
    assert "missing" in tickets.validate('{"queue": "access"}')
    assert "queue" in tickets.validate(repr(good | {"queue": "x"}).replace("'", '"').replace("False", "false"))
    assert "true or false" in tickets.validate(repr(good | {"urgent": "no"}).replace("'", '"'))
    assert "object" in tickets.validate("[]")


def test_contract_answers_stand_in_their_clause():
    rows = data.load("contract_questions", split="test", n=30).to_list()
    assert {row["clause"] == -1 for row in rows} == {True, False}
    by_name = {c["contract"]: c for c in data.load("contracts", split="test", n=30)}
    for row in rows:
        if row["clause"] == -1:
            assert row["answer"] == contracts.NOT_STATED and row["topic"] not in by_name[row["contract"]]["topics"]
        else:
            assert row["answer"] in row["text"] == by_name[row["contract"]]["clauses"][row["clause"]]


def test_preferences_differ_in_form_alone():
    for row in data.load("preferences", split="test", n=50, prefer="sentence"):
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        prompt = row["prompt"][0]["content"]
        assert tasks.verify(row["task"], prompt, chosen) and tasks.verify(row["task"], prompt, rejected)
        assert tasks.form(chosen) == "sentence" != tasks.form(rejected)


def test_python_reference_has_no_test_paragraph_in_training_text():
    train = " ".join(python_docs._normal(text) for _, text in python_docs.split_paragraphs("train"))
    test = [python_docs._normal(text) for _, text in python_docs.split_paragraphs("test")]
    assert len(test) > 100
    assert not [text for text in test if len(text.split()) >= 12 and text in train]
    sections = data.load("reference", split="all", sections=["strings", "debugger"])
    assert set(sections["label"]) == {0, 1}
    assert len(data.load("reference_questions")) >= 25


# --------------------------------------------------------------------------------- pictures and sequences


def test_digits_are_made_from_held_out_sources():
    train, test = data.load("digits", split="train", n=300), data.load("digits", split="test", n=100, classes=[3, 7])
    assert not set(train["source"]) & set(test["source"])
    assert set(test["label"]) == {3, 7}
    image = test.with_format("numpy")[0]["image"]
    assert image.shape == (16, 16) and image.dtype == "float32"


def test_recall_and_copying_can_be_solved_from_what_is_shown():
    for row in data.load("recall", split="test", n=20, pairs=5):
        ids, labels = row["input_ids"], row["labels"]
        value = dict(zip(ids[0:10:2], ids[1:10:2], strict=True))
        assert ids[10] == sequences.SEPARATOR
        asked = [i for i, label in enumerate(labels) if label != -100]
        assert asked and all(labels[i] == ids[i] == value[ids[i - 1]] for i in asked)
    for row in data.load("selective_copy", split="test", n=20, length=30, symbols=3):
        body, kept = row["input_ids"][:30], row["input_ids"][31:]
        assert [x for x in body if x != sequences.NOISE] == kept == [x for x in row["labels"] if x != -100]
