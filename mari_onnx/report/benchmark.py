"""What a benchmark measured, as part of a report. Times are in microseconds, and memory is in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mari_onnx.report.note import Note
from mari_onnx.report.split import Role

Side = Literal["request", "candidates"]


@dataclass(frozen=True)
class Calls:
    """Calls of one model.

    Half of them took at most `median_us`, 90 % `p90_us`, 95 % `p95_us` and 99 % `p99_us`, which is None where there
    were too few calls to tell. `calls_per_second` is the number of calls that end in a second, and `per_second` that of
    the candidates scored by them. `memory` is what the process grew by in a call, beyond the loaded model; None where
    the system does not tell.
    """

    median_us: float
    p90_us: float
    p95_us: float
    p99_us: float | None
    calls_per_second: float
    per_second: float
    memory: int | None = None


NOTICED = 0.005
"""The share of a time that is called the same. By so much a model differs from itself in two processes."""


@dataclass(frozen=True)
class PartTiming:
    """The calls of one model of a split alone: the user model, or the ranking model with what that computed at hand.

    `speedup` is by how much more time a call of the reference takes, with its interval from `low` to `high`.
    """

    role: Role
    calls: Calls
    speedup: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """Both models with `batch` candidates, on `threads` threads; of recorded calls, `batch` is the median.

    There were `concurrency` calls at once: 1, or those of so many callers that called one session without a pause. The
    two models were called in turns, in several processes. In each of the `rounds` their times are compared: `speedup`
    is the median of time before divided by time after, which is 2 where the optimized model takes half the time. Of
    several calls at once it is the time of as many calls. The true median lies between `low` and `high` with the
    confidence of the benchmark.

    Of a split, a call after is one of the user model and then one of the ranking model, and `parts` has each of them
    alone.
    """

    batch: int
    threads: int
    concurrency: int
    rounds: int
    speedup: float
    low: float
    high: float
    before: Calls
    after: Calls
    parts: tuple[PartTiming, ...] = ()

    @property
    def is_faster(self) -> bool:
        """Whether the optimized model takes less time, by the whole of the interval."""
        return self.low > 1 + NOTICED

    @property
    def is_slower(self) -> bool:
        """Whether the optimized model takes more time, by the whole of the interval."""
        return self.high < 1 - NOTICED


@dataclass(frozen=True)
class BreakEven:
    """The fewest candidates that were measured from which on the optimized model is no slower.

    That is with so many threads and so many calls at once. `batch` is None where it is slower with the most.
    """

    threads: int
    concurrency: int
    batch: int | None


@dataclass(frozen=True)
class NodeTime:
    """The time of a node of the graph that the runtime runs. `side` is what its elements follow from."""

    node: str
    op_type: str
    side: Side
    time_us: float


@dataclass(frozen=True)
class Profile:
    """The time by node of both models, in a call with `batch` candidates, the slowest node first."""

    batch: int
    before: tuple[NodeTime, ...]
    after: tuple[NodeTime, ...]


@dataclass(frozen=True)
class Benchmark:
    """The times of two models.

    `runtime` and `machine` are where they were measured, with versions and cores. `inputs` is the file of recorded
    inputs, None where they were drawn. `confidence` is that of the intervals.
    """

    runtime: str
    machine: str
    timings: tuple[Timing, ...]
    break_even: tuple[BreakEven, ...]
    confidence: float
    seed: int
    inputs: str | None = None
    profile: Profile | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Policy:
    """What the caller asked of the result: the option, its limit if it has one, whether it is met, what was found."""

    name: str
    limit: float | None
    met: bool
    message: str
