"""``unit24.progress()`` in a notebook, ``unit24 progress`` in a shell: a student's points over all lessons on this machine.

They lie in the storage folder: on Colab and Kaggle one that outlives the session, where there is one.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import click

from unit24 import env
from unit24.points import points_text, standings


def folder() -> Path:
    """Where the points of all lessons are kept."""
    return env.points_folder(env.current.storage if env.current else env.find_folders(env.find_platform())[1])


class progress:  # noqa: N801  (called as a function: in a notebook its value is the table)
    """Points so far on this machine: ``unit24.progress()`` as the last line of a cell shows a table."""

    def __init__(self):
        self.standings = standings(folder())

    def _lines(self) -> list[tuple[str, str, str, str]]:
        return [
            (_title(s.lesson), f"{points_text(s.total)} of {points_text(s.most)}", s.visited, s.next or "all done") for s in self.standings
        ]

    def __repr__(self) -> str:
        if not self.standings:
            return "No points yet: run the set-up cell of a lesson, then the tests under an exercise."
        rows = [("lesson", "points", "last visit", "next"), *self._lines()]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows)

    def _repr_html_(self) -> str:
        if not self.standings:
            return f"<p>{html.escape(repr(self))}</p>"
        head = "".join(f'<th scope="col">{name}</th>' for name in ("Lesson", "Points", "", "Last visit", "Next"))
        body = ""
        for (title, points, visited, then), s in zip(self._lines(), self.standings):
            bar = f'<progress max="{s.most:g}" value="{s.total:g}" aria-label="{points} points"></progress>'
            cells = [html.escape(title), points, bar, html.escape(visited), html.escape(then)]
            body += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _title(lesson: str) -> str:
    return re.sub(r"^(\d\d)_", r"\1 ", lesson).replace("_", " ")


@click.command("progress")
@click.option("--json", "as_json", is_flag=True, help="Print a list instead of a table.")
def progress_command(as_json: bool) -> None:
    """Your points so far on this machine, lesson by lesson."""
    found = progress()
    if as_json:
        click.echo(json.dumps([vars(s) | {"points": s.total, "max_points": s.most, "next": s.next} for s in found.standings], ensure_ascii=False, indent=1))
    else:
        click.echo(repr(found))
