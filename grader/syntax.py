"""Notebook cells as plain Python, by IPython's own transformer: what a kernel can run, grading can read.

Lines that begin with ``%``, ``!`` or end with ``?`` become calls of ``get_ipython()``, which `judge.notebook` answers
without a shell or display; the Python inside timing commands stands in their place.  Lines keep their numbers, and
nothing inside a string changes.
"""

from __future__ import annotations

import ast
import functools
import warnings

from IPython.core.inputtransformer2 import TransformerManager

# Of a cell with line separators that Python does not know.  The answer is judged all the same.
warnings.filterwarnings("ignore", "`make_tokens_by_line`")

MOST = 2_000_000  # lines with commands times characters: IPython reads a cell again for each of them
RUNNING = ("time", "prun", "capture")  # whole-cell commands whose body runs in the notebook's own names


@functools.lru_cache(maxsize=20_000)  # most cells of a class are the same
def plain_python(source: str) -> str:
    """What a kernel makes of a cell. A text that it could not read is returned as it is."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    lines = source.split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    if start < len(lines) and lines[start].startswith("%%"):
        name, _, rest = lines[start][2:].partition(" ")
        if name in RUNNING:
            target = next((word for word in rest.split() if word.isidentifier()), "") if name == "capture" else ""
            first = f"{target} = get_ipython().run_line_magic('capture', '')" if target else ""
            return "\n" * start + first + "\n" + plain_python("\n".join(lines[start + 1 :]))
    commands = sum(line.lstrip()[:1] in ("%", "!", "?") or line.rstrip().endswith("?") or "= %" in line or "= !" in line for line in lines)
    if commands * len(source) > MOST:
        return source.strip("\n")
    try:
        text = TransformerManager().transform_cell("\n".join(lines[start:]))
    except Exception:  # not IPython's to explain: Python's own compiler will
        return source.strip("\n")
    return "\n" * start + _timed_code(text).rstrip("\n")


def _timed_code(text: str) -> str:
    """`text` with the code of ``%time`` and ``%prun`` lines in their place, so that what they define and use can be seen."""
    if "run_line_magic('time'" not in text and "run_line_magic('prun'" not in text:
        return text
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    lines = text.encode().split(b"\n")
    for node in ast.walk(tree):
        match node:
            case ast.Expr(ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython")), "run_line_magic"), [ast.Constant(name), ast.Constant(str(code))])):
                if name in ("time", "prun") and node.lineno == node.end_lineno and not code.lstrip().startswith("-"):
                    line = lines[node.lineno - 1]
                    lines[node.lineno - 1] = line[: node.col_offset] + code.strip().encode() + line[node.end_col_offset :]
    return b"\n".join(lines).decode()


def same_code(text: str) -> str:
    """`text` without what an editor changes on its own, space at the ends of lines, to compare cells by."""
    return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").split("\n")).strip("\n")
