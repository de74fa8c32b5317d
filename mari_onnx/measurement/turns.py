"""Calls of several models in turns, so that other work on the machine disturbs all of them alike.

A round has a turn for each model, in an order that is drawn anew, and a turn is a few calls in a row:

    round 0     A A A   B B B
    round 1     B B B   A A A

What is compared are two turns of one round, which are moments apart. The machine may be slower in the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

import numpy as np
import numpy.typing as npt

Call = Callable[[], object]
"""A call of a model on inputs that it has already."""

CALLS = 3
"""Calls in a turn; in the first one the caches still hold another model's data."""

SLOW = 20e6
"""Nanoseconds from which a call is so slow that the caches do not matter, and a turn is one call."""

LEAST, MOST = 2, 70
"""Rounds in one process: so many are made whatever time they take, and no more than so many."""


class Times(Protocol):
    """What is known of models that had turns."""

    @property
    def models(self) -> int:
        """How many they are."""
        ...

    def of(self, k: int) -> npt.NDArray[np.float64]:
        """The times of the calls of a model, in nanoseconds."""
        ...

    def per_second(self, k: int) -> float:
        """How many calls of a model end in a second."""
        ...

    def ratios(self, k: int, base: int = 0) -> npt.NDArray[np.float64]:
        """The time of model k as a share of that of model `base`, round by round."""
        ...


@dataclass(frozen=True)
class Turns:
    """The times of calls: `nanoseconds[i, k, c]` is that of the call c in the turn of model k in round i.

    A turn is `CALLS` calls, or one of slow models.
    """

    nanoseconds: npt.NDArray[np.float64]

    @property
    def models(self) -> int:
        """How many they are."""
        return len(self.nanoseconds[0])

    @property
    def fastest(self) -> npt.NDArray[np.float64]:
        """The time of the fastest call of each turn, [rounds, models]: what the machine disturbed least."""
        found: npt.NDArray[np.float64] = self.nanoseconds.min(axis=2)
        return found

    def of(self, k: int) -> npt.NDArray[np.float64]:
        """The times of all calls of a model but the first of each turn; where a turn is one call, of all."""
        return self.nanoseconds[:, k, min(1, self.nanoseconds.shape[2] - 1) :].ravel()

    def per_second(self, k: int) -> float:
        """How many calls of a model end in a second, made one after the other."""
        return 1e9 / float(np.median(self.of(k)))

    def ratios(self, k: int, base: int = 0) -> npt.NDArray[np.float64]:
        """The time of model k as a share of that of model `base`, round by round."""
        return self.fastest[:, k] / self.fastest[:, base]


def in_turns(
    calls: Sequence[Sequence[Call]],
    seconds: float = 1.0,
    rng: np.random.Generator | None = None,
    clock: Callable[[], int] = perf_counter_ns,
    least: int = LEAST,
    most: int = MOST,
) -> Turns:
    """Time models in turns, for so many seconds, but for `least` rounds at least and `most` at most.

    `calls[v][k]` is a call of model k; where there are several `v`, such as recorded requests, the rounds take them one
    after the other. Each of them is called once before. `clock` is in nanoseconds.
    """
    rng = rng or np.random.default_rng(0)
    models = len(calls[0])
    slowest = max(_time(call, clock) for alike in calls for call in alike)
    in_a_turn = 1 if slowest > SLOW else CALLS
    rounds: list[npt.NDArray[np.float64]] = []
    end = clock() + seconds * 1e9
    while len(rounds) < most and (len(rounds) < least or clock() < end):
        alike = calls[len(rounds) % len(calls)]
        times = np.zeros((models, in_a_turn))
        for k in rng.permutation(models):
            for c in range(in_a_turn):
                times[k, c] = _time(alike[k], clock)
        rounds.append(times)
    return Turns(np.array(rounds))


def _time(call: Call, clock: Callable[[], int]) -> int:
    start = clock()
    call()
    return clock() - start
