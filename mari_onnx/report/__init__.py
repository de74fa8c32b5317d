"""What a command has to say: one model of it, and views for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mari_onnx.report.model import Report

VIEWS = ("text", "json", "markdown", "junit", "github")
"""The views by name; that of a person at a terminal first."""

SUFFIXES = {".md": "markdown", ".markdown": "markdown", ".xml": "junit", ".txt": "text"}
"""The view that a file's name asks for; JSON where it asks for none."""


def render(report: Report, view: str) -> str:
    """The report in one of the `VIEWS`, as the content of a file."""
    function: Callable[[Report], str] = getattr(import_module(f"mari_onnx.report.as_{view}"), f"to_{view}")
    return function(report)


def view_of(path: PurePath) -> str:
    """The view for a file of this name."""
    return SUFFIXES.get(path.suffix.lower(), "json")
