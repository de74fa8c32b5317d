"""What can go wrong, told apart: a mistake of the caller's is a `UserError`, anything else is a bug of ours."""

from __future__ import annotations


class UserError(Exception):
    """The command or the model cannot be used as given.

    The command line prints `message` and `next_step` without a traceback and exits with code 2.
    """

    def __init__(self, message: str, next_step: str | None = None) -> None:
        super().__init__(message if next_step is None else f"{message}\n{next_step}")
        self.message = message
        self.next_step = next_step


class ModelError(UserError):
    """The file is not a model that this tool can read: truncated, not ONNX, invalid, too large."""
