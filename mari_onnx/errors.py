"""The exceptions for what a user can correct. Any other exception that reaches the command line is a bug."""

from __future__ import annotations


class UserError(Exception):
    """The command or the model cannot be used as given.

    `message` says what happened and where, with the name of a file, a tensor or an option: `no input of the model
    matches 'usr_*'`. `next_step`, where there is one, says what to do about it. The command line prints both without a
    traceback and exits with code 2.
    """

    def __init__(self, message: str, next_step: str | None = None) -> None:
        super().__init__(message if next_step is None else f"{message}\n{next_step}")
        self.message = message
        self.next_step = next_step


class UnloadableError(UserError):
    """onnxruntime does not load the optimized model."""


class ModelError(UserError):
    """A file or an object is not a model that this tool can read: truncated, not ONNX, invalid, or too large."""
