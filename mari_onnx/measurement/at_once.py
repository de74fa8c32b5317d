"""Several calls of one model at once, as the threads of a server make them: how many end in a second, and how late.

Each caller is a thread that calls the session all of them share, and calls again as soon as it has its answer. Models
have turns, as in `measurement.turns`, and a turn is a time and not a number of calls:

    round 0     A A A A A A A A     B B B B
                A A A A A A A       B B B B
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

from mari_onnx.measurement.turns import LEAST, MOST, Call

TURN = 0.1
"""Seconds of a turn. In it all callers together make one call at least, each."""


@dataclass(frozen=True)
class AtOnce:
    """What the callers did: `rates[i, k]` is how many calls of model k ended in a second, in its turn in round i.

    `nanoseconds[k]` are the times of its calls, without the first one of each caller in a turn, where it made several:
    in that one the caches still hold another model's data.
    """

    nanoseconds: Sequence[npt.NDArray[np.float64]]
    rates: npt.NDArray[np.float64]

    @property
    def models(self) -> int:
        """How many they are."""
        return len(self.nanoseconds)

    def of(self, k: int) -> npt.NDArray[np.float64]:
        """The times of the calls of a model."""
        return self.nanoseconds[k]

    def per_second(self, k: int) -> float:
        """How many calls of a model end in a second: the median of the rounds."""
        return float(np.median(self.rates[:, k]))

    def ratios(self, k: int, base: int = 0) -> npt.NDArray[np.float64]:
        """The time that model k takes for as many calls, as a share of that of model `base`, round by round."""
        return self.rates[:, base] / self.rates[:, k]


def at_once(
    calls: Sequence[Sequence[Sequence[Call]]],
    seconds: float = 1.0,
    rng: np.random.Generator | None = None,
    clock: Callable[[], int] = perf_counter_ns,
    least: int = LEAST,
    most: int = MOST,
) -> AtOnce:
    """Call models in turns, for so many seconds, but for `least` rounds at least and `most` at most.

    `calls[v][k][c]` is a call of model k by caller c. Where there are several `v`, such as recorded requests, the
    callers take them one after the other; in one round both models begin with the same one. `clock` is in nanoseconds.
    """
    rng = rng or np.random.default_rng(0)
    models, callers = len(calls[0]), len(calls[0][0])
    times: list[list[float]] = [[] for _ in range(models)]
    rates: list[list[float]] = []
    with ThreadPoolExecutor(callers) as threads:

        def turn(k: int, first: int, nanoseconds: float) -> list[list[int]]:
            """The times of the calls of each caller."""
            begin = Barrier(callers)
            each = [_from(calls, k, c, first + c * len(calls) // callers) for c in range(callers)]
            return list(threads.map(lambda own: _caller(own, begin, nanoseconds, clock), each))

        for k in range(models):
            turn(k, 0, 0)  # a runtime makes in the first calls what it keeps
        end = clock() + seconds * 1e9
        while len(rates) < most and (len(rates) < least or clock() < end):
            first, of_round = int(rng.integers(len(calls))), [0.0] * models
            for k in map(int, rng.permutation(models)):
                made = turn(k, first, TURN * 1e9)
                of_round[k] = sum(len(own) / sum(own) for own in made) * 1e9
                times[k] += [one for own in made for one in own[min(1, len(own) - 1) :]]
            rates.append(of_round)
    return AtOnce([np.array(each, np.float64) for each in times], np.array(rates))


def _from(calls: Sequence[Sequence[Sequence[Call]]], k: int, caller: int, first: int) -> list[Call]:
    """The calls of model k by one caller, in the order in which that caller makes them."""
    return [calls[(first + i) % len(calls)][k][caller] for i in range(len(calls))]


def _caller(calls: Sequence[Call], begin: Barrier, nanoseconds: float, clock: Callable[[], int]) -> list[int]:
    """The times of calls, made one after the other until the time is over, and of one at least."""
    found: list[int] = []
    begin.wait()
    now = clock()
    end = now + nanoseconds
    while not found or now < end:
        calls[len(found) % len(calls)]()
        before, now = now, clock()
        found.append(now - before)
    return found
