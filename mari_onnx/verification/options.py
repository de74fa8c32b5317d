"""What a verification is asked to do, and what is known of the two models before it begins.

Nothing here imports onnx or a runtime: the command line derives its choices and its help from these tables.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from mari_onnx.errors import UserError
from mari_onnx.report.model import Remark
from mari_onnx.verification.inputs.cases import DEFAULT_EFFORT, EFFORTS
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME, RUNTIMES

Place = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is run, and how far apart outputs may be.

    `effort` is one of `EFFORTS`; `batches` replace the numbers of candidates that it has. Inputs are drawn from `seed`,
    or read from `inputs`, a file or a folder in one of the formats of `inputs.recorded`; `input_ranges` are the least
    and the largest value to draw for an input, in place of what was traced. With `rtol` or `atol` (the other is 0),
    outputs pass when |optimized - reference| <= atol + rtol * max|reference|; without them the two questions of
    `compare.judge` are asked. With a `runtime` other than onnxruntime, drawn and given inputs are compared there too.
    When a failure is found, the smallest inputs that still fail are written to `failing`, as .npz.

    Raises UserError for an effort or a runtime that there is not, and for numbers of candidates that are none.
    """

    batches: Sequence[int] | None = None
    seed: int = 0
    rtol: float | None = None
    atol: float | None = None
    effort: str = DEFAULT_EFFORT
    runtime: str = DEFAULT_RUNTIME
    inputs: Place | None = None
    input_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    failing: Place | None = None

    def __post_init__(self) -> None:
        if self.batches is not None and (not self.batches or min(self.batches) < 0):
            raise UserError("There is nothing to verify at.", "Give one batch or more, each 0 or larger.")
        if self.effort not in EFFORTS:
            raise UserError(f"There is no effort {self.effort!r}.", f"Choose one of {', '.join(EFFORTS)}.")
        if self.runtime not in RUNTIMES:
            raise UserError(f"There is no runtime {self.runtime!r} here.", f"Choose one of {', '.join(RUNTIMES)}.")


class OptionFields(TypedDict, total=False):
    """The fields of `Options`, for functions that take each as a keyword of its own."""

    batches: Sequence[int] | None
    seed: int
    rtol: float | None
    atol: float | None
    effort: str
    runtime: str
    inputs: Place | None
    input_ranges: Mapping[str, tuple[float, float]]
    failing: Place | None


@dataclass(frozen=True)
class Known:
    """What is known of the two models.

    The rows of `tiled` inputs are identical, as their callers repeat them; those of one entry of `keys`, inputs that
    tell several requests apart, where there are any. `batch` is the number of candidates that the optimized model was
    made for. `moved` says that the optimized model's constants are the
    reference's, at most moved. `remarks` are the optimizer's about the optimized model, where it is at hand.
    """

    tiled: Collection[str] = ()
    keys: Collection[str] = ()
    batch: int | None = None
    moved: bool = False
    remarks: Sequence[Remark] = ()


NOTHING_KNOWN = Known()
USUAL = Options()
