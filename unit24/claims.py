"""Claims measured on this machine: what is often said, beside what came out here.

A notebook calls `record` with one claim; the result is kept in the storage folder and shown with
the lesson's other claims.  ``unit24 claims`` prints those of all lessons.
"""

from __future__ import annotations

import html
import json
import sys
from pathlib import Path
from typing import Any, TextIO

import click

from unit24 import env
from unit24.files import write_whole

__all__ = ["record", "load"]

FIELDS = ("lesson", "claim", "claimed", "measured", "holds", "device")


def record(claim: str, *, claimed: Any, measured: Any, holds: bool | None, how: str = "", lesson: str | None = None) -> None:
    """Keep one measured claim and show the lesson's claims so far as a table.

    Args:
        claim: what is said, as a sentence ("accumulation equals the big batch").  Recording it
            again replaces the earlier result.
        claimed: the figure that is usually given ("2-4x faster").
        measured: what came out here, with its unit ("1.3x").
        holds: whether it holds here; None if it could not be measured here.
        how: how it was measured, or, where `holds` is None, what is missing.
        lesson: its name; by default the lesson of the last ``unit24.start``.

    Raises:
        ValueError: no lesson was started, or `holds` is None and `how` does not say why.
    """
    started = env.current
    lesson = lesson or (started.lesson if started else None)
    if not lesson:
        raise ValueError('no lesson is started: run the setup cell first (or give lesson="NN_name")')
    if holds is None and not how:
        raise ValueError(f"claim {claim!r}: say in `how` why it could not be measured here")
    new = {
        "lesson": lesson,
        "claim": claim,
        "claimed": str(claimed),
        "measured": str(measured),
        "holds": None if holds is None else bool(holds),
        "device": _device(started.device if started else env.find_device()),
        "how": how,
    }
    path = _folder() / f"{lesson}.json"
    claims = [old for old in _read(path, sys.stdout) if old["claim"] != claim] + [new]
    try:
        write_whole(path, json.dumps(claims, ensure_ascii=False, indent=1) + "\n")
    except OSError as error:  # a full disk must not stop the lesson
        print(f"This claim is shown but not kept: {error.filename}: {error.strerror}.")
    _show(claims)


def load() -> list[dict[str, Any]]:
    """All claims kept on this machine, by lesson; each with the keys of `FIELDS` and ``how``."""
    return [claim for path in sorted(_folder().glob("*.json")) for claim in _read(path, sys.stderr)]


def as_text(claims: list[dict[str, Any]]) -> str:
    """The table in plain text."""
    rows = [("claim", "claimed", "measured here", "result")]
    rows += [(c["claim"], c["claimed"], c["measured"] or c["how"], _result(c["holds"])) for c in claims]
    widths = [min(max(len(row[i]) for row in rows), 60) for i in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def as_html(claims: list[dict[str, Any]]) -> str:
    """The table for a notebook, readable in light and dark themes."""
    cell = 'style="text-align:left;padding:.35em .8em;border:1px solid rgba(128,128,128,.35);vertical-align:top"'
    colour = {True: "rgba(46,158,91,.16)", False: "rgba(209,73,91,.14)", None: "rgba(128,128,128,.14)"}
    head = "".join(f"<th {cell}>{name}</th>" for name in ("Claim", "Claimed", "Measured here", "Result"))
    rows = []
    for c in claims:
        how = f'<br><small style="opacity:.75">{_escape_html(c["how"])}</small>' if c["how"] else ""
        result = f'<td {cell[:-1]};background:{colour[c["holds"]]};white-space:nowrap"><b>{_result(c["holds"])}</b></td>'
        rows.append(
            f"<tr><td {cell}>{_escape_html(c['claim'])}</td><td {cell}>{_escape_html(c['claimed'])}</td>"
            f"<td {cell}>{_escape_html(c['measured'])}{how}</td>{result}</tr>"
        )
    caption = f"{claims[0]['lesson']} on {_escape_html(claims[-1]['device'])}"
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;color:inherit">'
        f'<caption style="text-align:left;opacity:.75;color:inherit">{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


@click.command(name="claims")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of a table.")
def claims_command(as_json: bool) -> None:
    """Show the claims measured on this machine, with what is usually claimed."""
    claims = load()
    if as_json:
        click.echo(json.dumps(claims, ensure_ascii=False, indent=2))
        return
    if not claims:
        click.echo("No claim has been measured on this machine yet: each lesson measures its own near its end.")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("lesson", "claim", "claimed", "measured here", "result", "device")
    styles = {True: "green", False: "red", None: "dim"}
    for c in claims:
        result = f"[{styles[c['holds']]}]{_result(c['holds'])}[/]"
        said = (_escape_markup(text) for text in (c["lesson"], c["claim"], c["claimed"], c["measured"] or c["how"]))
        table.add_row(*said, result, _escape_markup(c["device"]))
    Console().print(table)


# --------------------------------------------------------------------------------------------------


def _folder() -> Path:
    storage = env.current.storage if env.current else env.find_folders(env.find_platform())[1]
    return storage / "claims"


def _device(device: str) -> str:
    return f"{device} ({env.gpus()[0][0]})" if device.startswith("cuda") and env.gpus() else device


def _read(path: Path, report: TextIO) -> list[dict[str, Any]]:
    """The claims in one file; a file that cannot be understood is put aside, with one line to `report`."""
    try:
        claims = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(claims, list) and all(_is_claim(c) for c in claims):
            return claims
        raise ValueError("not a list of claims")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged"
        aside = path.with_suffix(".damaged")
        try:
            path.replace(aside)
        except OSError:
            aside = path
        print(f"Earlier claims could not be read ({reason}) and start afresh; the old file is {aside}.", file=report)
        return []


def _is_claim(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("holds", "missing") not in (True, False, None):
        return False
    return all(isinstance(value.get(key), str) for key in (*FIELDS, "how") if key != "holds")


def _show(claims: list[dict[str, Any]]) -> None:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(as_text(claims))
        return
    from IPython.display import display

    display({"text/html": as_html(claims), "text/plain": as_text(claims)}, raw=True)


def _result(holds: bool | None) -> str:
    return {True: "✓ holds", False: "✗ fails here", None: "– not measured"}[holds]


def _escape_html(text: str) -> str:
    return html.escape(text, quote=False)


def _escape_markup(text: str) -> str:
    from rich.markup import escape

    return escape(text)
