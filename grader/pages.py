"""HTML pages from ``templates/``: everything that is filled in is escaped, and a name that is not there is an error."""

from __future__ import annotations

import functools
from pathlib import Path

from grader.outcomes import percent_text, points_text, shown


def render(template: str, **values) -> str:
    """The template of this name, filled in.

    Raises:
        jinja2.UndefinedError: the template reads a name or attribute that there is not.
    """
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment():
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(points=points_text, percent=percent_text, outcome=lambda status: shown(status).outcome)
    return environment
