"""Timing of sessions in turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from mari_onnx.document.runtime import session_options
from mari_onnx.measurement.turns import in_turns

Feeds = Mapping[str, npt.NDArray[Any]]


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
    return ort.InferenceSession(
        model.SerializeToString(), session_options(optimize=optimize), providers=["CPUExecutionProvider"]
    )


def paired(sessions: list[ort.InferenceSession], feeds: Feeds, seconds: float = 1.0) -> Timing:
    """Time all sessions in turns."""
    return Timing(turns_of([(each, feeds) for each in sessions], seconds))


def turns_of(calls: list[tuple[ort.InferenceSession, Feeds]], seconds: float = 1.0) -> npt.NDArray[np.float64]:
    """Time sessions with inputs of their own: nanoseconds of the fastest call of each turn, [rounds, sessions]."""
    runs = [partial(each.run, None, dict(feeds)) for each, feeds in calls]
    return in_turns([runs], seconds, least=15, most=400).fastest
