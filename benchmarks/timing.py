"""Timing of models in turns, so that other work on the machine disturbs all of them alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

Feeds = Mapping[str, npt.NDArray[Any]]

CALLS = 3
"""Calls in a turn, of which the fastest counts; in the first one the caches still hold another model's data."""


@dataclass(frozen=True)
class Timing:
    """The times of several models: `turns[i, k]` are the nanoseconds of model k in round i."""

    turns: npt.NDArray[np.float64]

    def microseconds(self, k: int) -> float:
        return float(np.median(self.turns[:, k])) / 1e3

    def ratio(self, k: int, base: int = 0) -> float:
        """The median time of model k, divided by that of model `base`."""
        return self.microseconds(k) / self.microseconds(base)

    def quartiles(self, k: int, base: int = 0) -> tuple[float, float]:
        """The quartiles of the ratios of the two times round by round."""
        low, high = np.quantile(self.turns[:, k] / self.turns[:, base], [0.25, 0.75])
        return float(low), float(high)


def session(model: onnx.ModelProto, *, optimize: bool = True) -> ort.InferenceSession:
    """A session of the model on one thread; `optimize` says whether onnxruntime may optimize it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def paired(sessions: list[ort.InferenceSession], feeds: Feeds, seconds: float = 1.0, rounds: int = 400) -> Timing:
    """Time all sessions in turns, in rotating order, for `rounds` rounds or `seconds`, but for 15 rounds at least."""
    return Timing(turns_of([(each, feeds) for each in sessions], seconds, rounds))


def turns_of(
    calls: list[tuple[ort.InferenceSession, Feeds]], seconds: float = 1.0, rounds: int = 400
) -> npt.NDArray[np.float64]:
    """Time sessions with inputs of their own, as `paired` does: nanoseconds, an array [rounds, sessions]."""
    given = [(each, dict(feeds)) for each, feeds in calls]
    for each, feeds in given:
        each.run(None, feeds)
    turns: list[list[int]] = []
    end = perf_counter() + seconds
    while len(turns) < rounds and (len(turns) < 15 or perf_counter() < end):
        row = [0] * len(given)
        for k in range(len(given)):
            turn = (k + len(turns)) % len(given)
            row[turn] = min(_nanoseconds(*given[turn]) for _ in range(CALLS))
        turns.append(row)
    return np.array(turns, np.float64)


def _nanoseconds(model: ort.InferenceSession, feeds: dict[str, npt.NDArray[Any]]) -> int:
    start = perf_counter_ns()
    model.run(None, feeds)
    return perf_counter_ns() - start
