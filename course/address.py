"""The repository's address, which stands once, in ``pyproject.toml`` (``[project.urls]``, Repository), and what follows from it."""

from __future__ import annotations

import functools
import tomllib

from course.parts import ROOT
from unit24 import __version__

GITHUB = "https://github.com/"


@functools.cache
def repository() -> str:
    """The address, without a slash at its end; empty where there is none (a private copy)."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return about.get("urls", {}).get("Repository", "").rstrip("/").removesuffix(".git")


def package_source() -> str:
    """Where pip gets the students' package of this version: the tag of its release; empty without an address."""
    return f"git+{repository()}@v{__version__}" if repository() else ""


def badges(lesson: str) -> str:
    """Markdown links that open a lesson's student notebook in Colab and in Kaggle; empty where neither could find it."""
    if not repository().startswith(GITHUB):
        return ""
    path = f"{repository().removeprefix(GITHUB)}/blob/v{__version__}/notebooks/{lesson}/{lesson}.ipynb"
    colab, kaggle = f"https://colab.research.google.com/github/{path}", f"https://kaggle.com/kernels/welcome?src={GITHUB}{path}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]({kaggle})"
    )
