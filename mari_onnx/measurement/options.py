"""What is measured.

Nothing here imports onnx or a runtime, because the command line reads its defaults from this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from mari_onnx.arguments import number, numbers
from mari_onnx.errors import UserError
from mari_onnx.verification.options import Place, check_runtime
from mari_onnx.verification.runtimes import DEFAULT_RUNTIME

BATCHES = (1, 10, 50, 200, 1000)
SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured.

    batches        numbers of candidates
    threads        numbers of threads of a call
    concurrency    numbers of calls at once: 1, or of so many callers that share a model and call without a pause
    runtime        one of `RUNTIMES`, or an execution provider of onnxruntime: `cuda` or `CUDAExecutionProvider`
    seconds        how long calls are made for each number of candidates and of threads; slow models take longer
    seed           of the drawn inputs, and of the order of turns
    inputs         recorded inputs instead of drawn ones: a file or a folder, in a format of
                   `verification.inputs.recorded`; their numbers of candidates count, and not `batches`
    input_ranges   the least and the largest value to draw, by input, in place of the range found in the graph
    extents        of dynamic axes that count no candidates, such as the length of a history, by name
    profile        whether the time of each node is measured as well
    min_speedup    the least speed-up that is asked for; see `Policy`
    max_slowdown   the largest slowdown that is allowed: 1.05 allows 5 % more time

    Raises UserError for an unknown runtime, and for numbers that are missing or too small.
    """

    batches: Sequence[int] = BATCHES
    threads: Sequence[int] = (1,)
    concurrency: Sequence[int] = (1,)
    runtime: str = DEFAULT_RUNTIME
    seconds: float = SECONDS
    seed: int = 0
    inputs: Place | None = None
    input_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    extents: Mapping[str, int] = field(default_factory=dict)
    profile: bool = False
    min_speedup: float | None = None
    max_slowdown: float | None = None

    def __post_init__(self) -> None:
        numbers("batches", self.batches, 1)
        numbers("threads", self.threads, 1)
        numbers("concurrency", self.concurrency, 1)
        number("seed", self.seed, 0)
        check_runtime(self.runtime)
        if self.profile and self.runtime != DEFAULT_RUNTIME:
            raise UserError(
                f"the time of nodes is measured in {DEFAULT_RUNTIME} alone, on the CPU", "Leave out --profile."
            )
        limits = {"seconds": self.seconds, "min_speedup": self.min_speedup, "max_slowdown": self.max_slowdown}
        for name, limit in limits.items():
            if limit is not None and not limit > 0:
                raise UserError(f"{name} is {limit:g}", "Give a number larger than 0.")

    @property
    def places(self) -> list[tuple[int, int]]:
        """The numbers of threads of a call and of calls at once that are measured together, in their order."""
        return [(threads, callers) for threads in self.threads for callers in self.concurrency]


class OptionFields(TypedDict, total=False):
    """The fields of `Options` as keywords, for `mari_onnx.bench`."""

    batches: Sequence[int]
    threads: Sequence[int]
    concurrency: Sequence[int]
    runtime: str
    seconds: float
    seed: int
    inputs: Place | None
    input_ranges: Mapping[str, tuple[float, float]]
    extents: Mapping[str, int]
    profile: bool
    min_speedup: float | None
    max_slowdown: float | None
