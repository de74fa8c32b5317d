"""Reports of commands: one data model, and a view of it for each format."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING

from mari_onnx.errors import UserError

if TYPE_CHECKING:
    from mari_onnx.report.model import Report

VIEWS = ("text", "json", "markdown", "junit", "github")
"""The names of the views, the default first."""

SUFFIXES = {".json": "json", ".md": "markdown", ".markdown": "markdown", ".xml": "junit", ".txt": "text"}
"""The view for each ending of a file name; a name without an ending means JSON."""


def render(report: Report, view: str) -> str:
    """The report in one of the `VIEWS`, as text that ends with a newline."""
    function: Callable[[Report], str] = getattr(import_module(f"mari_onnx.report.as_{view}"), f"to_{view}")
    return function(report)


def view_of(path: PurePath) -> str:
    """The view for a file of this name: `report.md` is Markdown. Raises `UserError` for an ending that means none."""
    ending = path.suffix.lower()
    if ending not in ("", *SUFFIXES):
        raise UserError(f"the ending of {path} is that of no form of report", f"Known are {', '.join(SUFFIXES)}.")
    return SUFFIXES.get(ending, "json")
