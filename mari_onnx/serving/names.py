"""The words for serving modes and guards in options, configurations and reports.

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
"""The words of a report for the leading axis of an input of the request; a "shared" input has no such axis."""

USER_BATCHES: tuple[UserBatch, ...] = (TILED, ONE, REQUESTS)

SPLIT_USER_BATCHES: tuple[UserBatch, ...] = (ONE, REQUESTS)
"""The user batches of a split. A user model never takes a row for each candidate."""

GuardName: TypeAlias = Literal["nan", "output"]
"""How a guarded model reports that rows differ: every output is NaN, or one more output is false."""

NAN: Final = "nan"
OUTPUT: Final = "output"

GUARDS: tuple[GuardName, ...] = (NAN, OUTPUT)

UNGUARDED: Final = "off"
"""The word for "no guard", by which a command line overrides a guard of the configuration."""

INDEX_INPUT: Final = "request_index"
"""The input that is added for several requests if the model has no index itself."""

GUARD_OUTPUT: Final = "mari_guard"
"""The output that a guard adds; it is false where rows that should be identical are not."""


@dataclass(frozen=True)
class Options:
    """The options that ask for a serving mode, as a report repeats them."""

    user_batch: UserBatch
    request_index: str | None = None
    request_key: tuple[str, ...] = ()
    guard: GuardName | None = None
