"""The quiz at the end of a lesson: feedback for every option, in any notebook, without JavaScript.

`ask` shows radio buttons whose feedback appears through CSS alone, so it works in JupyterLab, in
Colab, in a saved HTML page and with the keyboard.  Nothing is graded and nothing is stored.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import string
import sys
from collections.abc import Sequence
from itertools import count

__all__ = ["ask"]

# One question: its text, and options as (text, is right, feedback).
Question = tuple[str, Sequence[tuple[str, bool, str]]]
_LETTERS = string.ascii_lowercase
_displays = count(1)


def ask(lesson: str, name: str, opaque: str) -> None:
    """Show the quiz `name` of `lesson`; `opaque` is what `seal` made of its questions.

    In a notebook the quiz is shown as HTML.  Anywhere else (a script, a grading run) the
    questions are printed without the answers.

    Raises:
        ValueError: `opaque` was changed, or belongs to another quiz.
    """
    questions = unseal(lesson, name, opaque)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(as_text(questions))
        return
    from IPython.display import display

    unique = hashlib.sha256(f"{lesson}/{name}".encode()).hexdigest()[:6] + f"-{next(_displays)}"
    display({"text/html": as_html(questions, f"u24-{unique}"), "text/plain": as_text(questions)}, raw=True)


def seal(lesson: str, name: str, questions: Sequence[Question]) -> str:
    """Questions as a string that does not show the answers at a glance.

    This is obfuscation, not secrecy: the key is in the notebook, so that a quiz works without a
    server.  It keeps a student from reading an answer before thinking, and no more; a quiz
    therefore carries no points.  The same questions give the same string on every machine (which
    is why it is not compressed: zlib's bytes depend on its build).
    """
    text = json.dumps(questions, ensure_ascii=False, separators=(",", ":"))
    return base64.b85encode(_mask(lesson, name, text.encode())).decode()


def unseal(lesson: str, name: str, opaque: str) -> list[Question]:
    """The questions in a string made by `seal`."""
    try:
        return json.loads(_mask(lesson, name, base64.b85decode(opaque)))
    except ValueError:
        raise ValueError(
            f"quiz {name!r} of {lesson} cannot be read: its cell was changed. Take the cell again from the original notebook."
        ) from None


def as_text(questions: Sequence[Question]) -> str:
    """Questions and options, without the answers."""
    lines = [f"Quiz, {len(questions)} questions (shown with feedback when this cell runs in a notebook)"]
    for number, (text, options) in enumerate(questions, 1):
        lines += ["", f"{number}. {text}"]
        lines += [f"   {letter}) {option}" for letter, (option, _, _) in zip(_LETTERS, options, strict=False)]
    return "\n".join(lines)


def as_html(questions: Sequence[Question], unique: str) -> str:
    """The quiz as HTML; `unique` is the id of this display (radio groups must not meet in one page)."""
    parts = [f'<style>{_STYLE.replace("ID", unique)}</style><div id="{unique}">']
    for number, (text, options) in enumerate(questions, 1):
        group = f"{unique}-{number}"
        parts.append(f'<fieldset><legend><span class="n">{number}</span>{_inline(text)}</legend>')
        for letter, (option, right, feedback) in zip(_LETTERS, options, strict=False):
            at, verdict = f"{group}{letter}", ("✓ Right." if right else "✗ Not quite.")
            mark = ' class="y"' if right else ""
            parts.append(
                f'<div class="o"><input type="radio" name="{group}" id="{at}"{mark} aria-describedby="{at}f">'
                f'<label for="{at}">{_inline(option)}</label>'
                f'<p id="{at}f" class="f{" y" if right else ""}" aria-live="polite">'
                f"<b>{verdict}</b> {_inline(feedback)}</p></div>"
            )
        parts.append("</fieldset>")
    # The counters add up in the order of the page, so the line that shows them stands last.
    parts.append(f'<p class="s" data-n="{len(questions)}"></p></div>')
    return "".join(parts)


# Colours are translucent over the page's own, so that light and dark themes both work.
_STYLE = """
#ID{counter-reset:done right;max-width:46rem;line-height:1.5;color:inherit;font-size:1em}
#ID fieldset{border:1px solid rgba(128,128,128,.4);border-radius:8px;margin:0 0 .9em;padding:.7em .9em .8em;min-width:0}
#ID legend{float:left;width:100%;box-sizing:border-box;padding:0 0 0 1.4em;text-indent:-1.4em;margin:0 0 .5em;
font-weight:600;font-size:1em;color:inherit;border:0}
#ID legend+*{clear:both}
#ID .n{display:inline-block;width:1.4em;text-indent:0;opacity:.65}
#ID .o{display:grid;grid-template-columns:1.4em 1fr;align-items:start;margin:.1em 0}
#ID input{margin:.45em 0 0;width:1em;height:1em;accent-color:#2f7fd1}
#ID label{cursor:pointer;padding:.2em 0;margin:0;font-weight:inherit;color:inherit;overflow-wrap:anywhere}
#ID .f{display:none;grid-column:2;margin:.1em 0 .5em;padding:.4em .7em;border-radius:4px;
border-left:4px solid #d1495b;background:rgba(209,73,91,.14);overflow-wrap:anywhere}
#ID .f.y{border-left-color:#2e9e5b;background:rgba(46,158,91,.16)}
#ID input:checked~label{font-weight:600}
#ID input:checked~.f{display:block}
#ID input:checked{counter-increment:done}
#ID input.y:checked{counter-increment:done right}
#ID code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.92em;background:rgba(128,128,128,.16);
color:inherit;padding:.05em .3em;border-radius:3px}
#ID .s{margin:.2em 0 0;font-weight:600}
#ID .s::after{content:"Right so far: " counter(right) " of " attr(data-n) " (" counter(done) " answered)"}
""".replace("\n", "")


def _inline(text: str) -> str:
    """Escaped HTML, with `code` and **bold** as in Markdown."""
    parts = re.split(r"`([^`]+)`", text)
    for i, part in enumerate(parts):
        part = html.escape(part, quote=False)
        parts[i] = f"<code>{part}</code>" if i % 2 else re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", part)
    return "".join(parts)


def _mask(lesson: str, name: str, data: bytes) -> bytes:
    """XOR with a stream made from the quiz's name; its own inverse."""
    stream = hashlib.shake_256(f"unit24 quiz {lesson}/{name}".encode()).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))
