"""What breaks after the verdict is a note beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def noted(notes: list[str], what: str) -> Iterator[None]:
    """Note that something could not be had, with the reason, in place of any exception that is raised inside.

    For what only explains a verdict: the verdict, the differences and the report do not depend on it.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        notes.append(f"{what} ({type(error).__name__}: {reason})")
