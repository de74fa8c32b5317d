"""What a report looks like: its forms as methods of it, and the short one that notebooks show."""

from __future__ import annotations

from importlib import import_module


class Shown:
    """The forms of a `Report`. Each is made where it is asked for."""

    def to_text(self) -> str:
        """The report in words and tables, as a terminal shows it."""
        return self._as("text")

    def to_json(self) -> str:
        """The report as JSON, as `schema.json` describes it."""
        return self._as("json")

    def to_markdown(self) -> str:
        """The report as Markdown, short enough for a comment on a pull request."""
        return self._as("markdown")

    def to_html(self) -> str:
        """The report as a page in one file. Raises `UserError` where the extra `mari-onnx[html]` is not installed."""
        return self._as("html")

    def _repr_html_(self) -> str:
        return self._as("notebook")

    def _as(self, view: str) -> str:
        return str(import_module("mari_onnx.report").render(self, view))
