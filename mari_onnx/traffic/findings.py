"""What a replay finds, in a form that can be added up.

Findings of two tasks are merged by adding whole numbers, by taking the larger number, and by keeping the first few of a
list that has an order of its own. So the sum of all tasks is the same in whatever order they end, and on whatever
worker. `as_json` writes findings to the journal, and `of_json` reads them back without losing a bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mari_onnx.traffic.quantiles import Spread

WORST = 4
"""The requests that are kept of each output, those with the largest differences."""

EXAMPLES = 3
"""The requests that are named of those that broke a promise, or on which a model failed."""

At = tuple[int, int]
"""The place of a request among all: the number of its task, and its own in the task."""


@dataclass(frozen=True, order=True)
class Example:
    """A request, and what is said of it."""

    at: At
    id: str
    words: str = ""


@dataclass
class Noted:
    """Requests of which something is said: how many there are, with how many rows, and the first few of them."""

    requests: int = 0
    rows: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, example: Example, rows: int) -> None:
        """Note one more."""
        self.merge(Noted(1, rows, [example]))

    def merge(self, other: Noted) -> None:
        """Add what another has noted."""
        self.requests += other.requests
        self.rows += other.rows
        self.examples = sorted([*self.examples, *other.examples])[:EXAMPLES]

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {
            "requests": self.requests,
            "rows": self.rows,
            "examples": [[*e.at, e.id, e.words] for e in self.examples],
        }

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Noted:
        """What `as_json` gave."""
        return cls(
            stored["requests"], stored["rows"], [Example((a, b), key, words) for a, b, key, words in stored["examples"]]
        )


@dataclass(frozen=True)
class Bad:
    """A request by how bad it is: `score` is its largest difference, infinite where only one of the two is NaN."""

    score: float
    at: At
    id: str

    @property
    def order(self) -> tuple[float, At]:
        """The worst first, and of equals the one that comes first in the logs."""
        return (-self.score, self.at)


@dataclass
class Output:
    """What is found of one output, over all its values.

    `differences` are |optimized - reference|. Of `values`, `over` differ by more than is allowed, in `over_requests`
    requests. `nan` values are NaN in the reference, and `misplaced` are NaN, or an infinity, in only one of the two.
    `scale` is the largest magnitude. `moved` and `lost` count requests by the most places that a candidate moved, and
    by how many of the best are no longer among them. `worst` and `largest` are requests to be looked at: those with the
    largest differences, and the one with the largest magnitude.
    """

    values: int = 0
    differences: Spread = field(default_factory=Spread)
    over: int = 0
    over_requests: int = 0
    nan: int = 0
    misplaced: int = 0
    scale: float = 0.0
    moved: dict[int, int] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)
    worst: list[Bad] = field(default_factory=list)
    largest: list[Bad] = field(default_factory=list)

    def keep(self, bad: Bad, scale: Bad) -> None:
        """Keep a request if it is one of the worst, or the one with the largest magnitude."""
        if len(self.worst) < WORST or bad.order < self.worst[-1].order:
            self.worst = sorted([*self.worst, bad], key=lambda each: each.order)[:WORST]
        if not self.largest or scale.order < self.largest[0].order:
            self.largest = [scale]

    def merge(self, other: Output) -> None:
        """Add what another has found."""
        self.differences.merge(other.differences)
        for name in ("values", "over", "over_requests", "nan", "misplaced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.scale = max(self.scale, other.scale)
        add(self.moved, other.moved)
        add(self.lost, other.lost)
        self.worst = sorted([*self.worst, *other.worst], key=lambda each: each.order)[:WORST]
        self.largest = sorted([*self.largest, *other.largest], key=lambda each: each.order)[:1]

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        counts = {name: {str(key): n for key, n in sorted(getattr(self, name).items())} for name in ("moved", "lost")}
        bad = {name: [[e.score, *e.at, e.id] for e in getattr(self, name)] for name in ("worst", "largest")}
        return {**vars(self), **counts, **bad, "differences": self.differences.as_json()}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Output:
        """What `as_json` gave."""
        counts: dict[str, Any] = {name: {int(k): n for k, n in stored[name].items()} for name in ("moved", "lost")}
        bad: dict[str, Any] = {
            name: [Bad(score, (a, b), key) for score, a, b, key in stored[name]] for name in ("worst", "largest")
        }
        return cls(**{**stored, **counts, **bad, "differences": Spread.of_json(stored["differences"])})


def add(counts: dict[int, int], others: Mapping[int, int]) -> None:
    """Add counts to others, in place."""
    for key, count in others.items():
        counts[key] = counts.get(key, 0) + count


@dataclass
class Findings:
    """What is found over some requests.

    `largest` is the largest number of candidates, and `compared` requests have outputs that could be compared. `broken`
    are, by input, the requests whose rows are not identical although the input belongs to the request. On `unrunnable`
    ones the reference does not run, and on `failing` ones the optimized model does not, or gives other shapes. `times`
    are nanoseconds of the calls of the reference and of the optimized model.
    """

    requests: int = 0
    rows: int = 0
    largest: int = 0
    compared: int = 0
    outputs: dict[str, Output] = field(default_factory=dict)
    broken: dict[str, Noted] = field(default_factory=dict)
    unrunnable: Noted = field(default_factory=Noted)
    failing: Noted = field(default_factory=Noted)
    times: tuple[Spread, Spread] = field(default_factory=lambda: (Spread(), Spread()))
    nanoseconds: tuple[int, int] = (0, 0)

    def merge(self, other: Findings) -> None:
        """Add what another has found."""
        self.requests += other.requests
        self.rows += other.rows
        self.largest = max(self.largest, other.largest)
        self.compared += other.compared
        for name, output in other.outputs.items():
            self.outputs.setdefault(name, Output()).merge(output)
        for name, noted in other.broken.items():
            self.broken.setdefault(name, Noted()).merge(noted)
        self.unrunnable.merge(other.unrunnable)
        self.failing.merge(other.failing)
        for own, times in zip(self.times, other.times, strict=True):
            own.merge(times)
        a, b = (own + more for own, more in zip(self.nanoseconds, other.nanoseconds, strict=True))
        self.nanoseconds = (a, b)

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {
            **vars(self),
            "outputs": {name: each.as_json() for name, each in self.outputs.items()},
            "broken": {name: each.as_json() for name, each in self.broken.items()},
            "unrunnable": self.unrunnable.as_json(),
            "failing": self.failing.as_json(),
            "times": [each.as_json() for each in self.times],
        }

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Findings:
        """What `as_json` gave."""
        before, after = map(Spread.of_json, stored["times"])
        a, b = stored["nanoseconds"]
        nested: dict[str, Any] = {
            "outputs": {name: Output.of_json(each) for name, each in stored["outputs"].items()},
            "broken": {name: Noted.of_json(each) for name, each in stored["broken"].items()},
            "unrunnable": Noted.of_json(stored["unrunnable"]),
            "failing": Noted.of_json(stored["failing"]),
            "times": (before, after),
            "nanoseconds": (a, b),
        }
        return cls(**{**stored, **nested})
