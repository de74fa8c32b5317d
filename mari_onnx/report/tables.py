"""Tables as all views of a report have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table: its title and a note on that, the headers of its columns, and its rows.

    The columns before `words` hold numbers.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int
