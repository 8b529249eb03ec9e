"""``unit24 models build``: train the shipped models again from their recipes, or measure them again."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import shutil
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from unit24 import models as shipped
from unit24.errors import UserError

RECIPE_OF = {
    "tiny-lm-early": "tiny_lm",
    "tiny-lm": "tiny_lm",
    "tiny-draft": "tiny_lm",
    "tiny-reviews-bert": "reviews_bert",
    "digits-cnn": "digits_cnn",
    "digits-cnn-ten": "digits_cnn",
}
LIMIT = 12_000_000  # bytes of all shipped models together


@click.group()
def models() -> None:
    """The models that ship with the course."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """Show the roles, the model of each tier, and the licences."""
    if as_json:
        click.echo(json.dumps([{"role": role, **vars(m)} for role, m in shipped.TABLE.items()], indent=1))
        return
    for role, m in shipped.TABLE.items():  # no table: names are there to be copied, whole on a narrow terminal too
        click.echo(f"{click.style(role, bold=True)}: {m.about}")
        click.echo(f"    tiny tier: {m.tiny} ({m.tiny_licence})\n    hub tier:  {m.hub} ({m.hub_licence})")


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--check", is_flag=True, help="Train nothing: measure the figures of each card again.")
@click.option("--json", "as_json", is_flag=True, help="With --check: print JSON.")
def build(names: tuple[str, ...], check: bool, as_json: bool) -> None:
    """Train models from their recipes and write weights, tokenizer and card; all of them when no NAME is given.

    A run that was stopped goes on where it was.  tiny-lm starts from tiny-lm-early, and tiny-draft
    learns from tiny-lm: build them in that order.
    """
    for name in names:
        if name not in shipped.SHIPPED:
            raise UserError(f"unknown model {name!r}: choose from {', '.join(shipped.SHIPPED)}.")
    _prepare()
    chosen = [name for name in shipped.SHIPPED if not names or name in names]
    if not check:
        for name in chosen:
            train(name)
        return
    bar = track(chosen, "measuring", transient=True, console=Console(stderr=True))
    with contextlib.redirect_stdout(sys.stderr):  # libraries print; stdout is for the answer
        rows = [row for name in bar for row in recheck(name)]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        _show(rows)
    if not all(row["holds"] for row in rows):
        short = [f"{r['model']}: {r['task']}" for r in rows if not r["holds"]]
        click.echo(f"{len(short)} figures fell short of their card: {'; '.join(short)}.", err=True)
        raise click.exceptions.Exit(1)


def _prepare() -> None:
    """One thread, no network, no greetings: set before torch and transformers are imported."""
    for name in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    for name, value in {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}.items():
        os.environ.setdefault(name, value)
    import torch

    for name in ("torchao", "torch.utils._pytree"):  # advice about GPU parts that nothing here uses
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


def _recipe(name: str):
    return importlib.import_module(f"unit24.models.recipes.{RECIPE_OF[name]}")


def train(name: str) -> None:
    """Train `name` beside its folder, write its card, and take the folder's place in one step."""
    from unit24.models.recipes import cards

    final = shipped.folder(name)
    part = final.with_name(f".{final.name}.part")
    part.mkdir(exist_ok=True)
    recipe = _recipe(name)
    seconds = recipe.build(name, part)
    click.echo(f"{name}: trained in {seconds / 60:.1f} CPU minutes; measuring")
    cards.write(name, part, recipe.measure(name, part), seconds)
    (part / "checkpoint.pt").unlink(missing_ok=True)
    for file in part.iterdir():  # safetensors files come out readable by their owner alone
        file.chmod(0o644)
    shutil.rmtree(final, ignore_errors=True)
    part.replace(final)
    _weigh()


def _weigh() -> None:
    total = sum(size(shipped.folder(name)) for name in shipped.SHIPPED)
    if total > LIMIT:
        raise UserError(f"the shipped models take {total / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f} MB: make one smaller.")


def size(folder: Path) -> int:
    """Bytes of the files in a model's folder; 0 when it is not there."""
    return sum(file.stat().st_size for file in folder.glob("*"))


def recheck(name: str) -> list[dict]:
    """The figures of a model's card, measured again: dicts with model, task, name, stated, measured, baseline, holds.

    Raises:
        UserError: the card states a figure that its recipe does not measure.
    """
    from unit24.models.recipes import cards

    folder = Path(shipped.path(name))
    stated, measured = cards.read(folder), _recipe(name).measure(name, folder)
    if unknown := stated.keys() - {(figure.task, figure.name) for figure in measured}:
        task, what = min(unknown)
        raise UserError(f"{folder / 'README.md'} states {what} on {task!r}, which its recipe does not measure: build {name} again.")
    rows = []
    for figure in measured:
        claim = stated.get((figure.task, figure.name))
        rows.append(
            {
                "model": name,
                "task": figure.task,
                "name": figure.name,
                "stated": claim,
                "measured": round(figure.value, 3),
                "baseline": round(figure.baseline, 3),
                "baseline_name": figure.baseline_name,
                "holds": claim is not None and figure.holds(claim),
            }
        )
    return rows


def _show(rows: list[dict]) -> None:
    shown = Table("model", "task", "measure", "card", "now", "baseline", "")
    for row in rows:
        stated = "none" if row["stated"] is None else f"{row['stated']:.3g}"
        mark = "✓" if row["holds"] else "✗"
        baseline = f"{row['baseline']:.3g} ({row['baseline_name']})"
        shown.add_row(row["model"], row["task"], row["name"], stated, f"{row['measured']:.3g}", baseline, mark)
    Console().print(shown)
