"""Models with faster kernels beside the originals, on numbers that show where two kernels differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from tests.graphs import MANY, Rewritten, assert_same, evaluate, rewrite

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-40, -1e-40, 3e38, -3e38, 1e-3, 7.0], np.float32)


def replaced(model: onnx.ModelProto, *, batch: int = MANY, rtol: float = 0.0) -> Rewritten:
    """The model with faster kernels, which computes what the original does: on small integers, bit for bit unless told.

    The plan is that of many candidates unless told, where every kernel that saves time is worth its launches.
    """
    result = rewrite(model, batch=batch, kernels=True)
    assert_same(model, result.model, rtol=rtol)
    return result


def kept(model: onnx.ModelProto) -> None:
    """No node of the model is replaced."""
    assert [r.op_type for r in rewrite(model, kernels=True).remarks if r.rule == "kernels"] == []


def assert_same_on(model: onnx.ModelProto, result: Rewritten, *, rtol: float = 0.0, **feeds: npt.NDArray[Any]) -> None:
    """Both give the same for these inputs; NaN equals NaN, and 0 equals -0."""
    for wanted, found in zip(evaluate(model, feeds), evaluate(result.model, feeds), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=0)


def special(*shape: int) -> npt.NDArray[np.float32]:
    """NaN, infinities, zeros of both signs, tiny and huge numbers, each beside each other one."""
    return np.random.default_rng(0).choice(SPECIAL, shape)


def ordinary(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
