"""What a student wrote for a person to read: written answers and notes, with the pictures in them.

nbgrader's formgrader shows it to the instructor, in a page that may do all that the instructor may: `as_html` is the
filter by which it gets there (`nbgrader_config.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from jinja2 import pass_context

MAX_PICTURES = 50 << 20  # characters of base64 in one cell
_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*")

_TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div", "dl", "dt", "em", "figcaption"),
    *("figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "s", "samp"),
    *("small", "span", "strike", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul"),
}
_ATTRIBUTES = {"alt", "class", "colspan", "height", "open", "rowspan", "scope", "start", "title", "width"}
# TeX commands with which MathJax makes links and attributes.
_TEX_HTML = re.compile(r"\\(href|style|class|cssId|require|unicode)(?![A-Za-z])")


@dataclass(frozen=True)
class Prose:
    """Markdown of a student. `pictures` are its attachments as the notebook format has them: name -> type -> base64."""

    source: str = ""
    pictures: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def is_blank(self) -> bool:
        """Whether there is no more than nbgrader's placeholder."""
        return self.source.strip() in ("", "YOUR ANSWER HERE") and not self.pictures


def prose_of(cell: dict, source: str) -> Prose:
    """The text of a Markdown cell with its pictures; attachments of other kinds, or that are no base64, are left out."""
    attachments = cell.get("attachments")
    pictures: dict[str, dict[str, str]] = {}
    for name, forms in attachments.items() if isinstance(attachments, dict) else ():
        for kind, data in forms.items() if isinstance(forms, dict) else ():
            data = "".join(map(str, data)) if isinstance(data, list) else data
            if kind in _TYPES and isinstance(data, str) and len(data) <= MAX_PICTURES and _BASE64.fullmatch(data):
                pictures[name.encode("utf-8", "replace").decode()] = {kind: data}
    return Prose(source, pictures)


def joined(pieces: list[Prose]) -> Prose:
    """Several pieces as one; pictures that share a name are told apart."""
    sources, pictures = [], {}
    for number, piece in enumerate(pieces):
        text = piece.source
        for name, forms in piece.pictures.items():
            new = f"{number}-{name}" if name in pictures else name
            text = text.replace(f"attachment:{name}", f"attachment:{new}")
            pictures[new] = forms
        sources.append(text)
    return Prose("\n\n".join(sources), pictures)


@pass_context
def as_html(context, source: str) -> str:
    """nbconvert's filter ``markdown2html``, with whatever could act in a page taken out: scripts, handlers, styles, forms."""
    import bleach
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    attachments = context.get("cell", {}).get("attachments", {})
    html = MarkdownWithMath(renderer=IPythonRenderer(escape=False, attachments=attachments)).render(source)
    html = _TEX_HTML.sub(r"\\text{\1}", html)
    return bleach.clean(html, tags=_TAGS, attributes=_is_harmless, protocols={"http", "https", "mailto", "data"})


def _is_harmless(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and value.startswith(("https://", *(f"data:{kind};base64," for kind in _TYPES)))
    if name == "href":
        return tag == "a" and value.startswith(("https://", "http://", "mailto:", "#"))
    return name in _ATTRIBUTES
