"""# Reviews with graded sentiment

Invented product reviews of three to five sentences with one to five stars.

**Fields.** `text`, `stars` (1 to 5), `label` (stars - 1), `unseen` (how many of the words that carry the
sentiment never occur in the labelled training split).

**Splits.** `train` uses 16 of the 24 sentiment words of each level. `test` uses all 24, so about a third of
its sentiment words never had a label: whoever knows them knows them from elsewhere. `unlabelled` (no
`stars`, no `label`) uses all words; tiny-reviews-bert was trained on it. The splits are disjoint by
content: no `test` text can occur in the other two.

`sentiment` is a simpler set of one-sentence reviews that are positive or negative (`prompt`, `answer`,
`text`; ten words a side, five templates, of which three turn a first impression round), split by the text.

**Made by** drawing a level, then for each sentence a template and words of that level (80 % of sentences)
or of a neighbouring one (20 %). All words stand in this file. CC0.

**Known biases.** The five levels are equally frequent (real stars are not); a sentiment word has one
level whatever it describes; no sarcasm, no misspelling, no negation, no contrast; lower case; the
boundary between neighbouring levels is partly noise, so no model can be right on all rows.
"""

from __future__ import annotations

import random
import re

from unit24.data._base import check_split, dataset, draw

LEVELS = [
    "awful terrible horrible dreadful atrocious appalling abysmal hopeless disgusting worthless pathetic ghastly"
    " hideous wretched unbearable disastrous lousy rotten shameful vile useless horrid rubbish dire",
    "poor weak flimsy dull disappointing mediocre sloppy clumsy noisy fragile shoddy bland"
    " cheap faulty uneven awkward tedious stiff slow lacking cramped dim wobbly patchy",
    "okay average fair usual plain ordinary adequate passable standard neutral typical modest"
    " normal middling basic tolerable regular unremarkable moderate acceptable so-so common familiar unsurprising",
    "good nice solid reliable pleasant handy sturdy neat decent comfortable tidy smooth"
    " useful bright capable sound quick likeable welcome practical clean sensible crisp steady",
    "great superb excellent wonderful brilliant fantastic outstanding marvellous perfect splendid magnificent amazing"
    " stunning delightful flawless exquisite glorious terrific exceptional incredible fabulous sublime stellar impeccable",
]
WORDS = [level.split() for level in LEVELS]
LABELLED_WORDS = [words[:16] for words in WORDS]
PRODUCTS = "phone laptop chair kettle camera jacket lamp blender tent bicycle guitar watch printer sofa drill novel".split()
ASPECTS = "battery screen handle fabric finish price delivery packaging manual motor lens strap service colour zip smell".split()


def _graded(rng: random.Random, words: list[list[str]]) -> dict:
    stars = rng.randint(1, 5)
    product = rng.choice(PRODUCTS)
    used: list[str] = []

    def word(level: int) -> str:
        used.append(rng.choice(words[level - 1]))
        return used[-1]

    sentences = []
    for _ in range(rng.randint(3, 5)):
        level = min(5, max(1, stars + rng.choices([-1, 0, 1], [0.1, 0.8, 0.1])[0]))
        a, b = rng.sample(ASPECTS, 2)
        w, v = word(level), word(level)
        sentences.append(
            rng.choice(
                [
                    f"the {a} is {w}, the {b} {v}.",
                    f"{w} {a}, {v} {b}.",
                    f"what a {w} and {v} {product}!",
                    f"{a}: {w} and {v}.",
                    f"it has a {w} {a} and a {v} {b}.",
                ]
            )
        )
    text = re.sub(r"\ba (?=[aeio]|u(?!s))", "an ", " ".join(sentences))
    known = {w for words in LABELLED_WORDS for w in words}
    unseen = sum(w not in known for w in used)
    return {"text": text, "stars": stars, "label": stars - 1, "unseen": unseen, "key": text}


def reviews(split: str = "train", n: int = 1000, seed: int = 0):
    """`n` graded reviews as `datasets.Dataset` (text, stars, label, unseen; only text when "unlabelled")."""
    check_split(split, ("train", "test", "unlabelled"))
    words = LABELLED_WORDS if split == "train" else WORDS
    rows = draw(lambda rng: _graded(rng, words), "test" if split == "test" else "train", n, seed)
    if split == "unlabelled":
        rows = [{"text": row["text"]} for row in rows]
    return dataset(rows, __doc__)


GOOD = "great lovely superb excellent wonderful solid reliable delightful brilliant perfect".split()
BAD = "awful poor broken terrible dull useless flimsy horrible faulty rotten".split()


def polar(rng: random.Random) -> dict:
    """A one-sentence review with answer "positive" or "negative", as tiny-lm was taught: prompt, answer, text, key."""
    positive = rng.random() < 0.5
    same, other = (GOOD, BAD) if positive else (BAD, GOOD)
    item = rng.choice(PRODUCTS)
    a, b = rng.sample(ASPECTS, 2)
    w, v, o = rng.choice(same), rng.choice(same), rng.choice(other)
    text = rng.choice(
        [
            f"The {item} is {w}.",
            f"The {a} is {o}, but overall this {item} is {w}.",
            f"I expected a {o} {item}, yet the {a} and the {b} are {w}.",
            f"This {item} is not {o} at all.",
            f"{w.capitalize()} {a}, {v} {b}.",
        ]
    )
    text = re.sub(r"\ba (?=[aeio]|u(?!s))", "an ", text)
    answer = "positive" if positive else "negative"
    return {"prompt": f"Review: {text} Positive or negative?", "answer": answer, "text": text, "key": text}


def sentiment(split: str = "train", n: int = 1000, seed: int = 0):
    """`n` one-sentence reviews as `datasets.Dataset` (prompt, answer, text)."""
    check_split(split)
    return dataset(draw(polar, split, n, seed), __doc__)

