"""What a replay of recorded requests found, as part of a report. Times are in microseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Replayed:
    """One output of both models, over all requests that could be compared.

    Half, 90 %, 99 % and 99.9 % of |optimized - reference| are at most so large as `quantiles` says, which are exact to
    1/32 of themselves, and none is larger than `largest`, which is exact. Of `values`, `over` differ by more than
    `allowed`, in `over_requests` requests; `allowed` is what the verification of the first requests allows, None with
    tolerances that the caller gave. `nan` values are NaN in the reference, and `misplaced` are NaN, or an infinity, in
    only one of the two. Of the `ranked` requests, in `reordered` some candidate moved, by `furthest` places at most,
    and in `fewer` some of the best are no longer among them, `lost` of them at most.
    """

    output: str
    values: int
    quantiles: tuple[float, float, float, float]
    largest: float
    scale: float
    allowed: float | None
    over: int
    over_requests: int
    nan: int
    misplaced: int
    ranked: int
    reordered: int
    furthest: int
    fewer: int
    lost: int


@dataclass(frozen=True)
class Singled:
    """Requests of which something is said: how many, with how many rows, and the first few of them in words."""

    requests: int
    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Broken:
    """Requests whose rows of an input are not identical, although it was declared to belong to the request."""

    input: str
    found: Singled


@dataclass(frozen=True)
class Latency:
    """The calls of one model: the time that half of them took at most, 90 %, 99 %, and all together, in seconds."""

    model: str
    median_us: float
    p90_us: float
    p99_us: float
    seconds: float


@dataclass(frozen=True)
class StoppedGroup:
    """A row group whose requests were not compared, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Replay:
    """Recorded requests, run through both models.

    There are `requests` with `rows` candidates, at most `largest` in one, of `recorded` requests in `groups` row groups
    of `files` files. Of them `compared` have outputs that could be compared. On `unrunnable` ones the reference does
    not run, and on `failing` ones the optimized model does not, or gives other shapes. `worst` is the file with the
    worst requests.
    """

    files: int
    groups: int
    recorded: int
    requests: int
    rows: int
    largest: int
    compared: int
    outputs: tuple[Replayed, ...]
    broken: tuple[Broken, ...]
    unrunnable: Singled
    failing: Singled
    stopped: tuple[StoppedGroup, ...]
    latency: tuple[Latency, ...]
    worst: str | None = None

    @property
    def passed(self) -> bool:
        """Whether requests were compared, all promises were kept, and the optimized model ran wherever the reference
        did.
        """
        return bool(self.compared) and not (self.broken or self.failing.requests or self.stopped)
