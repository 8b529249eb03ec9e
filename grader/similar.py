"""Near-identical submissions: found and shown, never judged.

Code is compared by its shape: the sequence of its syntax nodes, with one letter for all of the
student's own names, so that other names, comments and spacing change nothing.  Most students of a
class write much the same, so likeness alone tells little.  What counts is what the lesson's own
answers (reference, `right`, `wrong`, stub) do not explain: two students agree on code that is far
from all of these, and that only few others wrote (the idea of MOSS, which leaves out what its base
files hold or what many programs share: Schleimer, Wilkerson, Aiken, Winnowing, SIGMOD 2003).
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, product

ALIKE = 0.9  # share of two shapes' nodes that agree (1 - insertions and deletions / all nodes)
OWN_NODES = 24  # insertions and deletions to the nearest answer of the lesson: less is bound to be alike
CROWD = 10  # what more students than this wrote alike is what one writes
CHUNK = 500  # shapes compared with all others at a time, so that memory stays flat

Shape = str  # one character for each syntax node


@dataclass(frozen=True)
class Pair:
    """Two students whose code agrees. `weight` is the number of nodes that nothing else explains."""

    lesson: str
    students: tuple[str, str]
    exercises: tuple[str, ...]
    alike: float  # the least similar of these exercises, 0 to 1
    same_text: bool  # every attempted exercise is the same, comments and names included
    weight: float


class Shapes:
    """Turns sources into shapes; one alphabet for everything that is to be compared."""

    def __init__(self):
        self._letters: dict[str, str] = {}
        self._known: dict[str, Shape] = {}

    def of(self, source: str) -> Shape:
        """The shape of a piece of code; empty if it is not Python."""
        if source not in self._known:
            try:
                nodes = _nodes(ast.parse(source))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                nodes = []
            self._known[source] = "".join(map(self._letter, nodes))
        return self._known[source]

    def _letter(self, node: str) -> str:
        # From U+10000 on every code point is a character: no surrogates, room for a million.
        return self._letters.setdefault(node, chr(0x10000 + len(self._letters)))


def similar_pairs(lesson: str, work: dict[str, dict[str, str]], own: dict[str, Iterable[str]]) -> list[Pair]:
    """Pairs of students to look at, the most telling first.

    Args:
        work: student -> exercise -> source; untouched exercises left out.
        own: exercise -> the lesson's own answers and stub.
    """
    shapes, found = Shapes(), defaultdict(dict)  # pair -> exercise -> (alike, weight)
    for exercise, answers in own.items():
        writers = defaultdict(list)
        for student, sources in work.items():
            if shape := shapes.of(sources.get(exercise, "")):
                writers[shape].append(student)
        for pair, alike, weight in _agreements(writers, [shapes.of(a) for a in answers]):
            found[pair][exercise] = (alike, weight)
    same = _same_text(work, {text for answers in own.values() for text in map(_bare, answers)})
    pairs = []
    for students in found.keys() | same:
        exercises = found.get(students, {})
        pairs.append(
            Pair(
                lesson,
                students,
                tuple(sorted(work[students[0]])) if students in same else tuple(exercises),
                1.0 if students in same else min(alike for alike, _ in exercises.values()),
                students in same,
                sum(weight for _, weight in exercises.values()),
            )
        )
    return sorted(pairs, key=lambda p: (-p.same_text, -len(p.exercises), -p.weight, p.students))


def _agreements(writers: dict[Shape, list[str]], answers: list[Shape]):
    """(two students, similarity, unexplained nodes) for one exercise."""
    from rapidfuzz.distance import Indel

    answers = [a for a in answers if a]
    unexplained = {}
    for shape in writers:
        nearest = min((Indel.distance(shape, a) for a in answers), default=len(shape))
        if nearest >= OWN_NODES:
            unexplained[shape] = nearest
    shapes = list(unexplained)
    edges, crowd = [], [0] * len(shapes)
    for i, j in _candidates(shapes):
        alike = Indel.normalized_similarity(shapes[i], shapes[j], score_cutoff=ALIKE)
        if alike:
            edges.append((i, j, alike))
            for one, other in {(i, j), (j, i)}:
                crowd[one] += len(writers[shapes[other]])
    for i, j, alike in edges:
        one, other = shapes[i], shapes[j]
        weight = min(unexplained[one], unexplained[other])
        # They must be nearer to each other than to what the lesson teaches.
        if max(crowd[i], crowd[j]) > CROWD or Indel.distance(one, other) * 2 > weight:
            continue
        both = combinations(writers[one], 2) if i == j else product(writers[one], writers[other])
        for students in both:
            yield tuple(sorted(students)), alike, weight


def _candidates(shapes: list[Shape]):
    """Index pairs (i <= j) that may be alike: two sequences differ by at least what their counts of nodes differ by."""
    import numpy as np

    letters = {letter: k for k, letter in enumerate(sorted(set().union(*shapes)))}
    counts = np.zeros((len(letters), len(shapes)), dtype=np.int32)
    for j, shape in enumerate(shapes):
        for letter, times in Counter(shape).items():
            counts[letters[letter], j] = times
    sizes = counts.sum(0)
    for start in range(0, len(shapes), CHUNK):
        stop = start + CHUNK
        apart = sum(np.abs(row[start:stop, None] - row[None, start:]) for row in counts)
        near = apart <= (1 - ALIKE) * (sizes[start:stop, None] + sizes[None, start:]) + 1e-6
        yield from ((start + i, start + j) for i, j in zip(*near.nonzero()) if i <= j)


def _same_text(work: dict[str, dict[str, str]], own: set[str]) -> set[tuple[str, str]]:
    """Students with the same text in all of at least two exercises, some of it not the lesson's own."""
    groups = defaultdict(list)
    for student, sources in work.items():
        texts = {exercise: _bare(source) for exercise, source in sources.items()}
        if len(texts) > 1 and not own.issuperset(texts.values()):
            groups[tuple(sorted(texts.items()))].append(student)
    return {pair for students in groups.values() if len(students) <= CROWD for pair in combinations(sorted(students), 2)}


def _bare(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def _nodes(tree: ast.Module) -> list[str]:
    """Syntax nodes in order, all names that the code binds as one, docstrings and annotations left out."""
    found: list[tuple[str, str]] = []  # (what stands before the name, name) or (node, "")
    bound: set[str] = set()
    waiting: list[ast.AST] = tree.body[::-1]
    while waiting:
        node = waiting.pop()
        fields = node._fields
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                continue  # a docstring, or a comment in quotes
            case ast.Name(id=name):
                found.append(("", name))
                if isinstance(node.ctx, ast.Store):
                    bound.add(name)
                continue
            case ast.arg(arg=name):
                found.append(("", name))
                bound.add(name)
                continue
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.append((type(node).__name__, name))
                bound.add(name)
                fields = [f for f in fields if f != "returns"]
            case ast.AnnAssign():
                found.append(("Assign", ""))
                fields = ("target", "value")
            case ast.Constant(value=value):
                found.append((repr(value)[:80], ""))
                continue
            case _:
                detail = next((getattr(node, key) for key in ("attr", "arg", "name") if isinstance(getattr(node, key, None), str)), "")
                found.append((f"{type(node).__name__} {detail}", ""))
        for name in reversed(fields):
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                waiting.append(value)
            elif isinstance(value, list):
                waiting += [v for v in reversed(value) if isinstance(v, ast.AST)]
    return [f"{kind} {'v' if name in bound else name}" for kind, name in found]
