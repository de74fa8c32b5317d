"""Reports of commands: one data model, and a view of it for each format."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING

from mari_onnx.errors import UserError

if TYPE_CHECKING:
    from mari_onnx.report.model import Report

VIEWS = ("text", "json", "markdown", "html", "junit", "github")
"""The names of the views, the default first."""

SUFFIXES = {
    ".json": "json", ".md": "markdown", ".markdown": "markdown", ".html": "html", ".xml": "junit", ".txt": "text",
}  # fmt: skip
"""The view for each ending of a file name; a name without an ending means JSON."""

PACKAGES = {"html": ("bokeh", "igraph")}
"""The packages that a view needs beyond those of mari-onnx itself; the extra of the view's name has them."""


def render(report: Report, view: str) -> str:
    """The report in one of the `VIEWS`, as text that ends with a newline. Raises `UserError` as `require` does.

    Besides, "notebook" is what a notebook shows of it.
    """
    require(view)
    function: Callable[[Report], str] = getattr(import_module(f"mari_onnx.report.as_{view}"), f"to_{view}")
    return function(report)


def require(view: str) -> str:
    """The view. Raises `UserError` where a package is not installed that it needs."""
    for package in PACKAGES.get(view, ()):
        if find_spec(package) is None:
            raise UserError(
                f"a report as {view} needs {package}, which is not installed", f"pip install 'mari-onnx[{view}]'"
            )
    return view


def view_of(path: PurePath) -> str:
    """The view for a file of this name: `report.md` is Markdown. Raises `UserError` for an ending that means none.

    Raises it as `require` does, too, so that a command finds out before it works.
    """
    ending = path.suffix.lower()
    if ending not in ("", *SUFFIXES):
        raise UserError(f"the ending of {path} is that of no form of report", f"Known are {', '.join(SUFFIXES)}.")
    return require(SUFFIXES.get(ending, "json"))
