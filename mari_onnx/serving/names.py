"""The words for the ways of calling a model: in options, configurations and reports.

This module imports nothing of ONNX, so that the command line can list the words without loading it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

UserBatch: TypeAlias = Literal["tiled", "one", "requests"]
"""What the caller sends in the user's inputs: a row for each candidate, one row, or a row for each request."""

TILED: Final = "tiled"
ONE: Final = "one"
REQUESTS: Final = "requests"
SHARED: Final = "shared"
"""What the leading axis of a request's input holds, as a report says it; "shared": it has no axis of candidates."""

USER_BATCHES: tuple[UserBatch, ...] = (TILED, ONE, REQUESTS)

SPLIT_USER_BATCHES: tuple[UserBatch, ...] = (ONE, REQUESTS)
"""What a user model may take: it never has a row for each candidate."""

GuardName: TypeAlias = Literal["nan", "output"]
"""How a guarded model says that rows differ: every output is NaN, or one more output is false."""

NAN: Final = "nan"
OUTPUT: Final = "output"

GUARDS: tuple[GuardName, ...] = (NAN, OUTPUT)

UNGUARDED: Final = "off"
"""The word for no guard where there has to be one, as on a command line that overrides a configuration."""

INDEX_INPUT: Final = "request_index"
"""The input that is added for several requests, where the model has no index of its own."""

GUARD_OUTPUT: Final = "mari_guard"
"""The output that a guard adds; it is false where rows that should be identical are not."""


@dataclass(frozen=True)
class Options:
    """The options that ask for a way of calling a model, as a report repeats them."""

    user_batch: UserBatch
    request_index: str | None = None
    request_key: tuple[str, ...] = ()
    guard: GuardName | None = None
