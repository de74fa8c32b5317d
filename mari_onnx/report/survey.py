"""What `inputs` finds about the inputs of a model, as part of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Within:
    """Whether an input is the same in all rows of each recorded request; if not, `example` says where it differs.

    `varies` says whether requests differ in it: one in which they do not shows nothing.
    """

    same: bool
    example: str = ""
    varies: bool = True


@dataclass(frozen=True)
class SurveyedInput:
    """An input: its type and dims, what its leading axis holds, and what it feeds.

    `rows` is that of `RequestInput`, or "candidates" for an input that is not known to belong to the request. `feeds`
    are operators with the tensors that they make; one that looks the input up has the table instead. `within` is None
    where no requests are recorded, or where they lack the input.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]
    rows: Literal["one", "tiled", "requests", "shared", "candidates"]
    feeds: tuple[str, ...]
    within: Within | None = None


@dataclass(frozen=True)
class Declaration:
    """Inputs that could be declared the user's, and the multiply-adds of the result.

    `why` says what speaks for it: they begin alike ("prefix"), their names look like a user's ("likely"), or recorded
    requests have the same in all rows ("recorded"). `macs` is None where it is `refused`, for a reason in words.
    """

    globs: tuple[str, ...]
    inputs: tuple[str, ...]
    why: Literal["prefix", "likely", "recorded"]
    macs: int | None
    refused: str = ""


@dataclass(frozen=True)
class Recorded:
    """Recorded requests: the file, the column of their ids, and how many requests and rows there are.

    `several` of the requests have more than one row; the others tell nothing.
    """

    path: str
    column: str
    requests: int
    several: int
    rows: int


@dataclass(frozen=True)
class Survey:
    """The inputs of a model, and what could be declared the user's. `left` groups were not tried, being too many."""

    inputs: tuple[SurveyedInput, ...]
    declarations: tuple[Declaration, ...]
    recorded: Recorded | None = None
    left: int = 0

    @property
    def suggested(self) -> Declaration | None:
        """What recorded requests speak for, else what names do; None where nothing does."""
        found = {each.why: each for each in self.declarations if each.macs is not None and each.why != "prefix"}
        return found.get("recorded") or found.get("likely")
