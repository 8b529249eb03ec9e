"""Unit 24: what the course's notebooks import.

Importing this package imports nothing heavy; each part is loaded where it is used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
_WHERE = {"start": "unit24.env", "Environment": "unit24.env", "UserError": "unit24.errors", "progress": "unit24.overview"}


def __getattr__(name: str) -> Any:
    """Load ``unit24.start`` and the submodules (``unit24.check``, ``unit24.quiz``, …) on first use."""
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"unit24.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"unit24.{name}":
                raise
    raise AttributeError(f"module 'unit24' has no attribute {name!r}")
