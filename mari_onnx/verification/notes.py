"""Failures of the explanation, which become notes of the report and leave the verdict alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mari_onnx.report.note import Note


@contextmanager
def noted(notes: list[Note], what: str) -> Iterator[None]:
    """Turn any exception that is raised inside into a note: `what` (ValueError: the reason).

    This is for steps that only explain a verdict. The verdict and the differences do not depend on them.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        notes.append(Note("unexplained", f"{what} ({type(error).__name__}: {reason})"))
