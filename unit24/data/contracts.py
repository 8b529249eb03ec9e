"""# Contracts with clauses and questions

Invented contracts (rent, service, licence, supply, loan of equipment), each of 9 to 12 numbered clauses
drawn from 14 kinds, and questions that one clause answers, or none.

**Fields.** `contracts`: `contract` (name), `kind`, `parties` (two names), `clauses` (list of texts),
`topics` (list, the kind of each clause), `text` (all of it).
`contract_questions`: `contract`, `question`, `answer` (words that stand in the clause, or
"The contract does not say."), `clause` (0-based index, -1 when none answers), `topic`, `text` (the clause
or ""), `instruction` (clause and question in one prompt).

**Splits.** `train`, `test`, by the parties' names, so no contract lies in both. Test questions are worded
differently from training questions for a third of the topics.

**Made by** templates from word lists in this file. The companies are invented; amounts, days and places are
drawn at random. CC0.

**Known biases.** Each clause says one thing, in one of two wordings; no clause refers to, restricts or
contradicts another, which real ones do all the time; euros and days only; not legal advice, not even a
sketch of it.
"""

from __future__ import annotations

import random

from unit24.data._base import check_split, dataset, side

NOT_STATED = "The contract does not say."
KINDS = {
    "rent": ("landlord", "tenant"),
    "service": ("provider", "client"),
    "licence": ("licensor", "licensee"),
    "supply": ("supplier", "buyer"),
    "equipment": ("owner", "borrower"),
}
FIRST = "Alder Birch Cedar Delta Elm Fjord Garnet Harbor Indigo Juniper Kestrel Larch Maple North Opal Pine".split()
SECOND = "Works Logistics Foods Systems Studios Partners Energy Textiles Media Tools Clinics Paper".split()
LEGAL = ["Ltd", "GmbH", "BV", "SA"]
CITIES = "Lisbon Vienna Oslo Utrecht Lyon Turin Gdansk Porto Ghent Malmo Bremen Graz".split()

# topic: (the answer's form and range, two wordings of the clause, questions; the last is kept for the test split)
TOPICS: dict[str, tuple[str, list[str], list[str]]] = {
    "fee": (
        "{money} euros per month",
        ["The {b} shall pay {x}, in advance.", "A fee of {x} is owed by the {b}."],
        ["What is the monthly fee?", "How much does the {b} pay each month?", "What does it cost per month?"],
    ),
    "deposit": (
        "{money} euros",
        ["The {b} deposits {x} as security.", "A security deposit of {x} is paid at signing."],
        ["How high is the deposit?", "What security has to be paid?"],
    ),
    "term": (
        "{months} months",
        ["This contract runs for {x} from the date of signing.", "The term of this contract is {x}."],
        ["How long does the contract run?", "What is the term of the contract?", "For how long are the parties bound?"],
    ),
    "notice": (
        "{days} days",
        ["Either party may end this contract with {x} of notice in writing.", "Notice of termination is {x}."],
        ["What is the notice period?", "How much notice is needed to end the contract?", "How early must one cancel?"],
    ),
    "payment": (
        "{days} days",
        ["Invoices are payable within {x} of receipt.", "The {b} settles each invoice within {x}."],
        ["When must an invoice be paid?", "How many days are allowed for payment?"],
    ),
    "penalty": (
        "{percent} percent",
        ["Late payment bears interest of {x} a year.", "On amounts overdue the {b} owes interest of {x} a year."],
        ["What interest applies to late payment?", "What is the penalty for paying late?"],
    ),
    "liability": (
        "{money} euros",
        ["The liability of the {a} is limited to {x}.", "The {a} is liable for damage up to {x}."],
        ["Up to what amount is the {a} liable?", "What is the limit of liability?", "How much damage would the {a} cover?"],
    ),
    "law": (
        "{city}",
        ["Disputes are heard by the courts of {x}.", "The place of jurisdiction is {x}."],
        ["Which courts decide disputes?", "Where is the place of jurisdiction?"],
    ),
    "confidentiality": (
        "{years} years",
        ["Each party keeps the other's information secret for {x} after the end.", "Confidentiality lasts {x} beyond the end."],
        ["How long does confidentiality last?", "For how many years must information be kept secret?"],
    ),
    "repairs": (
        "the {party}",
        ["Repairs are carried out by {x} at its own cost.", "The cost of repairs is borne by {x}."],
        ["Who pays for repairs?", "Who bears the cost of repairs?", "Whose job is it to mend things?"],
    ),
    "insurance": (
        "the {party}",
        ["Insurance against loss and fire is taken out by {x}.", "It falls to {x} to insure against loss and fire."],
        ["Who takes out insurance?", "Who must insure against fire?"],
    ),
    "subcontracting": (
        "only with written consent",
        ["Rights under this contract may be passed to others {x}.", "The {b} may involve third parties {x}."],
        ["May the contract be passed on to others?", "Are third parties allowed?"],
    ),
    "delivery": (
        "{days} days",
        ["Delivery takes place within {x} of the order.", "The {a} delivers within {x} of an order."],
        ["How fast is delivery?", "Within how many days is delivered?"],
    ),
    "data": (
        "{days} days",
        ["Personal data are deleted within {x} of the end.", "The {a} deletes data within {x} of termination."],
        ["When are personal data deleted?", "How soon after the end is data deleted?"],
    ),
}
KEPT_TOPICS = [topic for topic, (_, _, questions) in TOPICS.items() if len(questions) == 3]


def _company(rng: random.Random) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(SECOND)} {rng.choice(LEGAL)}"


def _contract(rng: random.Random, split: str) -> dict:
    while True:
        parties = [_company(rng), _company(rng)]
        if parties[0] != parties[1] and side(" and ".join(sorted(parties))) == split:
            break
    kind = rng.choice(list(KINDS))
    a, b = KINDS[kind]
    topics = rng.sample(list(TOPICS), rng.randint(9, 12))
    values, clauses = [], []
    for topic in topics:
        form, wordings, _ = TOPICS[topic]
        value = form.format(
            money=rng.randint(2, 99) * 50,
            months=rng.choice([6, 12, 18, 24, 36, 48, 60]),
            days=rng.randint(2, 12) * 7 if rng.random() < 0.5 else rng.randint(3, 90),
            percent=rng.randint(2, 12),
            years=rng.randint(2, 10),
            city=rng.choice(CITIES),
            party=rng.choice([a, b]),
        )
        values.append(value)
        text = rng.choice(wordings).format(x=value, a=a, b=b)
        clauses.append(text)
    name = f"{kind.capitalize()} contract {rng.randint(1000, 9999)}"
    head = f"{name} between {parties[0]} (the {a}) and {parties[1]} (the {b})"
    text = "\n".join([head, *(f"{i}. {clause}" for i, clause in enumerate(clauses, 1))])
    return {
        "contract": f"{name} {parties[0]} / {parties[1]}", "kind": kind, "parties": parties, "clauses": clauses, "topics": topics,
        "text": text, "values": values,
    }  # fmt: skip


def _contracts(split: str, n: int, seed: int) -> list[dict]:
    rng = random.Random(f"{split} {seed}")
    return [_contract(rng, split) for _ in range(n)]


def contracts(split: str = "train", n: int = 20, seed: int = 0):
    """`n` contracts as `datasets.Dataset` (contract, kind, parties, clauses, topics, text)."""
    check_split(split)
    rows = [{k: v for k, v in c.items() if k != "values"} for c in _contracts(split, n, seed)]
    return dataset(rows, __doc__)


def contract_questions(split: str = "train", n: int = 20, seed: int = 0, per_contract: int = 6):
    """Questions on the contracts that `contracts(split, n, seed)` gives, as `datasets.Dataset`.

    Of the `per_contract` questions on each contract one in six, on average, has no answer in it.
    """
    check_split(split)
    rng = random.Random(f"questions {split} {seed}")
    rows = []
    for contract in _contracts(split, n, seed):
        a, b = KINDS[contract["kind"]]
        absent = [t for t in TOPICS if t not in contract["topics"]]
        for _ in range(per_contract):
            topic = rng.choice(absent) if rng.random() < 1 / 6 else rng.choice(contract["topics"])
            wordings = TOPICS[topic][2]
            kept = topic in KEPT_TOPICS
            question = (rng.choice(wordings) if split == "test" or not kept else rng.choice(wordings[:-1])).format(a=a, b=b)
            index = contract["topics"].index(topic) if topic in contract["topics"] else -1
            answer = contract["values"][index] if index >= 0 else NOT_STATED
            # without an answer the clause shown is another one: the model has to notice
            shown = contract["clauses"][index if index >= 0 else rng.randrange(len(contract["clauses"]))]
            rows.append(
                {
                    "contract": contract["contract"],
                    "question": question,
                    "answer": answer,
                    "clause": index,
                    "topic": topic,
                    "text": contract["clauses"][index] if index >= 0 else "",
                    "instruction": f"{shown} {question}",
                }
            )
    return dataset(rows, __doc__)


