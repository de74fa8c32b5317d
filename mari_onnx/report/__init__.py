"""Reports of commands: one data model, and a view of it for each format."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mari_onnx.report.model import Report

VIEWS = ("text", "json", "markdown", "junit", "github")
"""The names of the views, the default first."""

SUFFIXES = {".md": "markdown", ".markdown": "markdown", ".xml": "junit", ".txt": "text"}
"""The view for each ending of a file name; any other ending means JSON."""


def render(report: Report, view: str) -> str:
    """The report in one of the `VIEWS`, as text that ends with a newline."""
    function: Callable[[Report], str] = getattr(import_module(f"mari_onnx.report.as_{view}"), f"to_{view}")
    return function(report)


def view_of(path: PurePath) -> str:
    """The view for a file of this name: `report.md` is Markdown."""
    return SUFFIXES.get(path.suffix.lower(), "json")
