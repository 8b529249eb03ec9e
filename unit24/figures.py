"""Plots with a text alternative: what a screen reader says of a figure, made from what was drawn into it.

`follow` makes a notebook show every Matplotlib figure, the course's and the student's own, as an HTML image whose
``alt`` is `in_words`. Nothing changes in how one plots.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from itertools import groupby
from typing import Any

LONGEST = 900  # characters; a reader wants the gist, the figures are printed by the cells
SERIES = 8  # told one by one, more are told together
NO_WORDS = "A figure."
FORMATS = ("image/svg+xml", "image/png", "image/jpeg")  # what the notebook may be set to draw


def follow(shell: Any) -> None:
    """Show the figures of this IPython shell with their text alternatives from now on; Matplotlib is not imported."""
    shell.display_formatter.ipython_display_formatter.for_type_by_name(
        "matplotlib.figure", "Figure", lambda figure: _show(figure, shell.display_formatter.formatters)
    )


def _show(figure: Any, formatters: dict[str, Any]) -> None:
    from IPython.display import display

    for kind in FORMATS:
        made = formatters[kind](figure)
        if made is not None:
            break
    else:
        raise NotImplementedError  # no notebook's backend: IPython goes on without us
    image, size = made if isinstance(made, tuple) else (made, {})
    data = image if isinstance(image, bytes) else image.encode() if kind == FORMATS[0] else base64.b64decode(image)
    try:
        words = in_words(figure)
    except Exception:  # whatever somebody draws, the plot is shown
        words = NO_WORDS
    width = f' width="{size["width"]:g}"' if "width" in size else ""
    tag = f'<img alt="{html.escape(words)}" src="data:{kind};base64,{base64.b64encode(data).decode()}"{width}>'
    display({"text/html": tag, "text/plain": words}, raw=True)


def in_words(figure: Any) -> str:
    """What a figure shows: for each of its axes the title, what is drawn against what, and where each series begins and ends.

    Args:
        figure: a ``matplotlib.figure.Figure``; it is not changed.
    """
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>" and axis.has_data()]
    said = [figure.get_suptitle()] if hasattr(figure, "get_suptitle") and figure.get_suptitle() else []
    place = 0
    for pictures, group in groupby(panels, key=_is_picture):
        group = list(group)
        if pictures and len(group) > 1:
            said.append(_pictures(group))
        else:
            for number, axis in enumerate(group, place + 1):
                said.append(f"{f'Plot {number} of {len(panels)}: ' if len(panels) > 1 else ''}{_panel(axis)}")
        place += len(group)
    said = [part.strip().rstrip(".") for part in said]
    text = " ".join(". ".join(filter(None, said)).split()) + "." if any(said) else NO_WORDS
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rsplit(" ", 1)[0] + "…"


def _is_picture(axis: Any) -> bool:
    return bool(axis.images) and not axis.lines and not axis.containers


def _pictures(axes: list[Any]) -> str:
    shapes = {_shape(axis.images[0]) for axis in axes}
    titles = [axis.get_title() for axis in axes if axis.get_title()]
    size = f" of {shapes.pop()}" if len(shapes) == 1 else ""
    return f"{len(axes)} pictures{size}" + (f": {', '.join(titles)}" if titles else "")


def _panel(axis: Any) -> str:
    parts = [part for part in (axis.get_title(), _against(axis)) if part]
    series = [*_images(axis), *_lines(axis), *_bars(axis), *_points(axis)] or _others(axis)
    return ": ".join(part for part in (", ".join(parts), "; ".join(series)) if part)


def _against(axis: Any) -> str:
    x, y = axis.get_xlabel(), axis.get_ylabel()
    x, y = (f"{name} (log scale)" if name and scale == "log" else name for name, scale in ((x, axis.get_xscale()), (y, axis.get_yscale())))
    return f"{y} against {x}" if x and y else x or y


def _images(axis: Any) -> Iterator[str]:
    for image in axis.images:
        values = image.get_array()
        yield f"a picture of {_shape(image)}" + (f", values {_span(values)}" if values.ndim == 2 and _span(values) else "")
    for mesh in axis.collections:
        if hasattr(mesh, "get_coordinates") and mesh.get_array() is not None:  # pcolormesh
            values = mesh.get_array()
            yield f"a map of {values.size} values" + (f", {_span(values)}" if _span(values) else "")


def _span(values: Any) -> str:
    """Smallest and largest of an array; empty where all are masked, as Matplotlib masks what is no number."""
    known = values.compressed() if hasattr(values, "compressed") else values
    return f"{known.min():.3g} to {known.max():.3g}" if known.size else ""


def _shape(image: Any) -> str:
    return " x ".join(map(str, image.get_array().shape[:2]))


def _lines(axis: Any) -> Iterator[str]:
    drawn = [line for line in axis.lines if line.get_visible() and len(line.get_xdata()) > 0]
    for marker in (line for line in drawn if _at(line)):
        yield f"{_name(marker) or 'a line'} at {_at(marker)}"
    drawn = [line for line in drawn if not _at(line)]
    named = [line for line in drawn if _name(line)]
    told = named or (drawn if len(drawn) <= SERIES else [])  # beside those with a name, the others repeat or help
    for line in told[:SERIES]:
        yield _course(line)
    if rest := len(drawn) - len(told[:SERIES]):
        values = [float(y) for line in drawn for y in line.get_ydata(orig=False) if y == y]
        yield f"{rest} {'more ' if told else ''}line{'s' if rest > 1 else ''}" + (f", all between {min(values):.3g} and {max(values):.3g}" if values else "")


def _name(artist: Any) -> str:
    label = str(artist.get_label())
    return "" if label.startswith("_") else label


def _at(line: Any) -> str:
    """Where `axhline` or `axvline` drew a line; empty for any other."""
    x, y = list(line.get_xdata()), list(line.get_ydata())
    if len(x) == 2 and x == [0, 1] and y[0] == y[1]:
        return f"y = {_number(y[0])}"
    if len(y) == 2 and y == [0, 1] and x[0] == x[1]:
        return f"x = {_number(x[0])}"
    return ""


def _course(line: Any) -> str:
    """From where to where a line goes, with its lowest and highest point where these are not its ends."""
    x, y = line.get_xdata(), line.get_ydata(orig=False)  # a category or a day by its name, a height by its number
    known = [(a, float(b)) for a, b in zip(x, y) if b == b]
    name = _name(line) or "a line"
    if not known:
        return f"{name}: no values"
    (x0, y0), (x1, y1) = known[0], known[-1]
    if len(known) == 1:
        return f"{name}: {_number(y0)} at {_number(x0)}"
    if line.get_linestyle() in ("None", "", " "):
        low, high = min(b for _, b in known), max(b for _, b in known)
        return f"{name}: {len(known)} points, {_number(low)} to {_number(high)}"
    said = f"{name}: from {_number(y0)} at {_number(x0)} to {_number(y1)} at {_number(x1)}"
    low, high = min(known, key=lambda p: p[1]), max(known, key=lambda p: p[1])
    said += f", lowest {_number(low[1])} at {_number(low[0])}" if low[1] < min(y0, y1) else ""
    return said + (f", highest {_number(high[1])} at {_number(high[0])}" if high[1] > max(y0, y1) else "")


def _bars(axis: Any) -> Iterator[str]:
    for bars in axis.containers:
        patches = [patch for patch in getattr(bars, "patches", ()) or () if hasattr(patch, "get_height")]
        if not patches:
            continue
        lying = getattr(bars, "orientation", "vertical") == "horizontal"
        values = [patch.get_width() if lying else patch.get_height() for patch in patches]
        name = f"{_name(bars)}, " if _name(bars) else ""
        middles = [p.get_y() + p.get_height() / 2 if lying else p.get_x() + p.get_width() / 2 for p in patches]
        if len(values) > 2 * SERIES:
            yield f"{name}{len(values)} bars at {_number(middles[0])} to {_number(middles[-1])}, {min(values):.3g} to {max(values):.3g} long"
            continue
        ticks = _ticks(axis.yaxis if lying else axis.xaxis)
        labels = [ticks.get(round(middle, 6), _number(middle)) for middle in middles]
        yield f"{name}bars: " + ", ".join(f"{label} {_number(value)}" for label, value in zip(labels, values))


def _ticks(axis: Any) -> dict[float, str]:
    """Texts that stand at an axis, by place, where somebody put texts there (as categories do)."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedLocator

    locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
    if isinstance(formatter, StrCategoryFormatter):
        places = list(axis.units._mapping.values()) if axis.units else []
    elif isinstance(locator, FixedLocator):
        places = list(locator.locs)
    else:
        return {}
    return {round(float(place), 6): text for place, text in zip(places, formatter.format_ticks(places)) if text}


def _points(axis: Any) -> Iterator[str]:
    for points in axis.collections:
        if type(points).__name__ != "PathCollection":  # what `scatter` makes
            continue
        offsets = points.get_offsets()
        if len(offsets):
            (left, low), (right, high) = offsets.min(axis=0), offsets.max(axis=0)
            name = f"{_name(points)}: " if _name(points) else ""
            yield f"{name}{len(offsets)} points, x {_number(left)} to {_number(right)}, y {_number(low)} to {_number(high)}"


OTHERS = {"QuadContourSet": "contour lines", "Quiver": "arrows", "PolyCollection": "an area", "FillBetweenPolyCollection": "an area"}


def _others(axis: Any) -> list[str]:
    """Kinds of what has no values that would fit a sentence."""
    kinds = [OTHERS.get(type(artist).__name__, "") for artist in axis.collections]
    return list(dict.fromkeys(kind for kind in kinds if kind))


def _number(value: Any) -> str:
    try:
        return f"{float(value):.3g}"
    except (TypeError, ValueError):  # a category, a date
        return str(value)
