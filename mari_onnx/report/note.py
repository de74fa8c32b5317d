"""Notes of a report: what was not checked, or not as a caller would have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Code = Literal[
    "float32-only",
    "inputs-drawn",
    "batch-other",
    "case-skipped",
    "case-left-out",
    "rows-differ",
    "rows-of-requests",
    "axes-equal",
    "scores-large",
    "reference-inexact",
    "reference-varies",
    "runtime-lacking",
    "nothing-compared",
    "stopped",
    "unexplained",
    "threads-many",
    "outputs-differ",
]

CODES: tuple[Code, ...] = get_args(Code)

MEANINGS: dict[Code, str] = {
    "float32-only": "something was compared in the model's own precision alone, because float64 does not run it",
    "inputs-drawn": "nothing shows which ids, shapes or lengths a caller sends, so that any were drawn",
    "batch-other": "another number of candidates was run than the one that is meant",
    "case-skipped": "the reference does not run on inputs that were drawn or recorded",
    "case-left-out": "the time was over; more `--effort` runs it",
    "rows-differ": "recorded rows of one request differ, and only the first of them counts",
    "rows-of-requests": "an input that is called the user's may have a row for each of several requests",
    "axes-equal": "the optimized model needs axes of one name to be equal, and the reference does not",
    "scores-large": "attention scores were above what `--assume-masked` vouches for, or were not looked into",
    "reference-inexact": "the reference is nowhere finite, or far off its own float64 result",
    "reference-varies": "the reference answers otherwise when it is called again with the same inputs",
    "runtime-lacking": "a second runtime could not load or run the models",
    "nothing-compared": "no output was compared",
    "stopped": "the time or the memory was over, or the runtime crashed",
    "unexplained": "an explanation of the result failed; the verdict stands",
    "threads-many": "there are more threads than cores",
    "outputs-differ": "models that were timed answer differently, so that their times tell nothing",
}
"""What each code says, for the documents."""


@dataclass(frozen=True)
class Note:
    """A sentence, and the kind of what it says: a program reads the code, which stays while words may change."""

    code: Code
    text: str
