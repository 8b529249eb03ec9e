"""# Python reference paragraphs

Paragraphs of the Python language reference, with the section they come from and questions about their
topic. The text is not shipped: it is read from `pydoc_data.topics` of the running Python.

**Fields.** `reference`: `text`, `section` (one of `SECTIONS`), `label` (its index), `topic`.
`reference_questions`: `question`, `topic` (the topic whose paragraphs answer it), `text` (its first one).

**Splits.** `train`, `test`, by the normalised content of a paragraph. The reference repeats itself (a
third of the paragraphs occur in two or three topics), so paragraphs are made unique first, and a test
paragraph that shares twelve words in a row with a training paragraph is dropped.

**Licence.** Python Software Foundation Licence; (c) Python Software Foundation.

**Known biases.** Technical English by few authors; section labels follow the table of contents, not the
content, so some paragraphs fit two; sections are of unequal size; text and counts differ a little from
one Python version to the next, so figures measured on it do too.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sysconfig
from pathlib import Path

from unit24.data._base import check_split, dataset, side

_TOPICS = {
    "statements": "assert assignment augassign break continue del global import nonlocal pass raise return",
    "compound statements": "class for function if try while with async else",
    "expressions": "atom-identifiers atom-literals attribute-references await binary bitwise booleans calls comparisons"
    " conversions dict exprlists in lambda lists operator-summary power shifting slicings subscriptions unary yield",
    "data model": "attribute-access callable-types context-managers customization numeric-types objects"
    " sequence-types types bltin-code-objects bltin-type-objects",
    "strings": "formatstrings string-methods strings",
    "built-in types": "typesfunctions typesmapping typesmethods typesmodules typesseq typesseq-mutable truth specialattrs",
    "debugger": "debugger",
    "names and scopes": "execmodel naming exceptions dynamic-features identifiers id-classes",
}
SECTIONS = list(_TOPICS)
_SECTION = {topic: section for section, topics in _TOPICS.items() for topic in topics.split()}


def _clean(text: str) -> str:
    return re.sub(r"[ \t]+", " ", inspect.cleandoc(text)).strip()


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


@functools.cache
def paragraphs() -> tuple[tuple[str, str], ...]:
    """All different paragraphs of the language reference as (topic, text), in the order of the topics.

    Topics that only gather others ("compound", "specialnames") come last, so that a repeated
    paragraph belongs to the narrower topic.  ImportError when this Python lacks its topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ImportError("this Python has no pydoc_data.topics: install its standard library completely") from None
    seen, out = set(), []
    for topic in sorted(topics, key=lambda t: (t not in _SECTION, t)):
        for text in re.split(r"\n\s*\n", topics[topic]):
            text = _clean(text)
            if len(text) > 20 and _normal(text) not in seen:
                seen.add(_normal(text))
                out.append((topic, text))
    return tuple(out)


def _shingles(text: str, size: int = 12) -> set[str]:
    words = _normal(text).split()
    return {" ".join(words[i : i + size]) for i in range(len(words) - size + 1)}


@functools.cache
def docstrings() -> tuple[str, ...]:
    """The different docstrings (over 60 ASCII characters) of this Python's standard library, in file order."""
    root = Path(sysconfig.get_path("stdlib"))
    skip = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "distutils", "ensurepip", "pydoc_data"}
    seen, out = set(), []
    for file in sorted(root.rglob("*.py")):
        if skip & set(file.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = _clean(ast.get_docstring(node) or "")
                if len(text) > 60 and text.isascii() and text[:80] not in seen:
                    seen.add(text[:80])
                    out.append(text)
    return tuple(out)


@functools.cache
def training_shingles() -> frozenset[str]:
    """Every run of twelve words in training text, reference and docstrings together."""
    train = [text for _, text in paragraphs() if side(_normal(text)) == "train"] + [*docstrings()]
    return frozenset().union(*map(_shingles, train))


def split_paragraphs(split: str) -> list[tuple[str, str]]:
    """(topic, text) of one split; a test paragraph shares no run of twelve words with training text."""
    check_split(split)
    rows = [(topic, text) for topic, text in paragraphs() if side(_normal(text)) == split]
    if split == "test":
        rows = [(topic, text) for topic, text in rows if not _shingles(text) & training_shingles()]
    return rows


def reference(split: str = "train", sections: list[str] | None = None, min_chars: int = 80):
    """Paragraphs of at least `min_chars` characters with section labels, as `datasets.Dataset`.

    `sections` keeps only these, in this order: the label is the index in it.  `split="all"` gives
    both splits, for a study that makes its own (tiny-lm has seen "train", the encoder neither).
    """
    sections = sections or SECTIONS
    unknown = set(sections) - set(SECTIONS)
    if unknown:
        raise ValueError(f"unknown section {sorted(unknown)[0]!r}: choose from {', '.join(SECTIONS)}")
    rows = [
        {"text": re.sub(r"\s+", " ", text), "section": _SECTION[topic], "label": sections.index(_SECTION[topic]), "topic": topic}
        for topic, text in (paragraphs() if split == "all" else split_paragraphs(split))
        if _SECTION.get(topic) in sections and len(text) >= min_chars
    ]
    return dataset(rows, __doc__)


QUESTIONS = {
    "assert": "How do I check a condition that must hold while debugging?",
    "break": "How can I leave a loop before it is finished?",
    "continue": "How do I skip to the next round of a loop?",
    "del": "How do I remove a name or an item?",
    "global": "How can a function assign to a module-level variable?",
    "nonlocal": "How can an inner function change a variable of the function around it?",
    "import": "How does Python find and load another module?",
    "pass": "What do I write where a statement is needed but nothing should happen?",
    "raise": "How do I signal an error myself?",
    "return": "How does a function give back a value?",
    "for": "How do I repeat something for each item of a list?",
    "while": "How do I repeat something as long as a condition holds?",
    "if": "How do I run code only when a condition is true?",
    "try": "How do I handle an error and clean up afterwards?",
    "with": "How do I make sure that a resource is released at the end of a block?",
    "class": "How do I define a new type with a base class?",
    "function": "How are default values of parameters evaluated?",
    "lambda": "How do I write a small function without a name?",
    "yield": "What turns a function into a generator?",
    "await": "How do I wait for a coroutine to finish?",
    "calls": "How are positional and keyword arguments matched to parameters?",
    "comparisons": "When are two objects equal, and how do chained comparisons work?",
    "slicings": "How do I take a part of a sequence?",
    "power": "Which operator raises a number to a power, and how tightly does it bind?",
    "booleans": "What do the operators and, or and not return?",
    "truth": "Which values count as false in a condition?",
    "formatstrings": "How do I control the width and precision of a number in text?",
    "string-methods": "How do I split, join or search text?",
    "typesmapping": "How do I look up a value by its key and give a default?",
    "debugger": "How do I set a breakpoint and step through a program?",
    "attribute-access": "Which method runs when an attribute is missing?",
    "context-managers": "Which methods must an object have to be used in a with block?",
    "numeric-types": "Which method makes the plus operator work on my own class?",
    "callable-types": "How can instances of my class be called like functions?",
    "execmodel": "In which order are namespaces searched when a name is used?",
}
"""A question in plain words for topics of the reference, written for this course."""


def reference_questions():
    """The questions whose topic this Python has, as `datasets.Dataset` (question, topic, text): retrieval targets."""
    first: dict[str, str] = {}
    for topic, text in paragraphs():
        if len(text) >= 80:
            first.setdefault(topic, re.sub(r"\s+", " ", text))
    return dataset([{"question": q, "topic": t, "text": first[t]} for t, q in QUESTIONS.items() if t in first], __doc__)
