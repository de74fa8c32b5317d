"""The options of a verification, and what the caller knows about the two models.

Nothing here imports onnx or a runtime, because the command line reads its choices and its help from these tables.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from mari_onnx.arguments import number, numbers
from mari_onnx.errors import UserError
from mari_onnx.report.model import Remark
from mari_onnx.verification.inputs.cases import DEFAULT_EFFORT, EFFORTS
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME, RUNTIMES

Place = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is run, and how far apart outputs may be.

    effort         one of `EFFORTS`: how much is run
    batches        numbers of candidates, in place of those of the effort
    seed           of the drawn inputs
    inputs         recorded inputs instead of drawn ones: a file or a folder, in a format of `inputs.recorded`
    input_ranges   the least and the largest value to draw, by input, in place of the range found in the graph
    rtol, atol     where one is given (the other is 0), an output passes if
                   |optimized - reference| <= atol + rtol * max|reference|;
                   without both, the two questions of `compare.judge` are asked
    runtime        one of `RUNTIMES`, or an execution provider of onnxruntime: `cuda` or `CUDAExecutionProvider`; in a
                   second one, drawn and recorded inputs are compared in addition
    failing        where the smallest inputs that still fail are written, as .npz

    Raises UserError for an unknown effort or runtime, and for numbers that are missing, negative or none.
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
        if self.batches is not None:
            numbers("batches", self.batches, 0)
        number("seed", self.seed, 0)
        if self.effort not in EFFORTS:
            raise UserError(f"there is no effort {self.effort!r}", f"Choose one of {', '.join(EFFORTS)}.")
        check_runtime(self.runtime)


def check_runtime(runtime: str) -> None:
    """Raise UserError for what is no runtime, nor an execution provider that is installed."""
    if runtime not in RUNTIMES:
        from mari_onnx.verification.runtimes.providers import provider_of

        provider_of(runtime)


class OptionFields(TypedDict, total=False):
    """The fields of `Options` as keywords, for functions such as `mari_onnx.verify`."""

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
    """What the caller knows about the two models.

    The inputs in `tiled` have identical rows in each call, as callers send them. Where there are `keys`, which are
    inputs that tell several requests apart, only rows with the same keys are identical. `batch` is the number of
    candidates that the optimized model was made for. `moved` says that the optimized model's constants are the
    reference's, at most moved (cut, joined, reordered or repeated). `remarks` are those of the optimizer, if it has
    just made the model. The optimized model is the same where scores of attention before the Softmaxes `assumed` are
    small (`--assume-masked`).
    """

    tiled: Collection[str] = ()
    keys: Collection[str] = ()
    batch: int | None = None
    moved: bool = False
    remarks: Sequence[Remark] = ()
    assumed: Collection[str] = ()


NOTHING_KNOWN = Known()
DEFAULTS = Options()
