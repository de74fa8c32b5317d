"""Operators that work along an axis, along that of the candidates.

Rows that are equal give results that are not: a prefix sum over them is another number in every row, and so is a
position, a state of a recurrent layer, or what a neighbour adds. Each operator is right there, or left as it was.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.graphs import assert_same, integers, ranking, rewrite
from tests.runtime import RUNS_EMPTY

CONSTANTS: dict[str, Any] = {
    "axis": np.int64(0), "first": [0], "second": [1], "third": [2], "last": [-1], "two_and_three": [1, 2],
    "two": [2], "four": [4], "flat": [-1], "rows": [-1, 4], "above": [1, 0, 0, 0], "half": np.float32(0.5),
    "nothing": np.float32(0), "many": [2**31 - 1], "scales": np.ones(4, np.float32),
    "column": np.ones((1, 4), np.float32),
    "hot": np.array([0, 1], np.float32), "kernel": integers(2, 4, 3),
    "W": integers(1, 12, 4) / 8, "R": integers(1, 12, 3, seed=1) / 8,
    "W3": integers(1, 9, 4) / 8, "R3": integers(1, 9, 3, seed=1) / 8,
    "W1": integers(1, 3, 4) / 8, "R1": integers(1, 3, 3, seed=1) / 8,
}  # fmt: skip

IN_TIME = "x = Unsqueeze (user, second) {} s = Squeeze (o, two_and_three) c = ReduceSum (s, second)"
IMAGE = "t = Transpose (user) x = Unsqueeze (t, first) {} s = Squeeze (o, first) c = Transpose (s)"
GRAM = "t = Transpose (user) m = MatMul (user, t) {} c = MatMul (o, user)"

ALONG = {
    "CumSum": "c = CumSum (user, axis)",
    "CumSum, from the end": "c = CumSum <reverse = 1, exclusive = 1> (user, axis)",
    "CumSum, merged": "r = Reshape (user, flat) s = CumSum (r, axis) c = Reshape (s, rows)",
    "CumSum, of two in turn": "n = Neg (user) r = Concat <axis = 0> (user, n, user) s = CumSum (r, axis) "
    "c = ReduceSum (s, first)",
    "Softmax": "c = Softmax <axis = 0> (user)",
    "LogSoftmax": "c = LogSoftmax <axis = 0> (user)",
    "Hardmax": "c = Hardmax <axis = 0> (user)",
    "ArgMax": "i = ArgMax <axis = 0, select_last_index = 1> (user) c = Cast <to = 1> (i)",
    "ArgMin, merged": "r = Reshape (user, flat) i = ArgMin <axis = 0, select_last_index = 1> (r) c = Cast <to = 1> (i)",
    "TopK": "v, i = TopK <axis = 0> (user, second) f = Cast <to = 1> (i) c = Add (v, f)",
    "TopK, all": "s = Shape (item) n = Gather (s, first) v, i = TopK <axis = 0> (user, n) f = Cast <to = 1> (i) "
    "c = Add (v, f)",
    "ReduceSum": "c = ReduceSum (user, first)",
    "ReduceMean": "c = ReduceMean <axes = [0]> (user)",
    "ReduceLogSumExp": "c = ReduceLogSumExp <axes = [0]> (user)",
    "ReduceL2, of all": "c = ReduceL2 (user)",
    "ReverseSequence": "r = Unsqueeze (user, second) n = Identity (two) s = Shape (item) b = Gather (s, first) "
    "o = ReverseSequence <time_axis = 0, batch_axis = 1> (r, b) c = Squeeze (o, second)",
    "Compress": "m = ReduceMax <axes = [1], keepdims = 0> (item) b = Greater (m, half) "
    "z = Compress <axis = 0> (user, b) c = ReduceSum (z, first)",
    "NonZero": "n = NonZero (user) f = Cast <to = 1> (n) c = ReduceSum (f)",
    "Trilu": "c = Trilu <upper = 0> (user)",
    "Unique": "v, i, n, k = Unique <axis = 0> (user) f = Cast <to = 1> (k) c = ReduceMax (f)",
    "GRU": IN_TIME.format("o, h = GRU <hidden_size = 3> (x, W3, R3)"),
    "LSTM": IN_TIME.format('o, h = LSTM <hidden_size = 3, direction = "reverse"> (x, W, R)'),
    "RNN, its state": "x = Unsqueeze (user, second) o, h = RNN <hidden_size = 3> (x, W1, R1) c = ReduceSum (h)",
    "Conv": "t = Transpose (user) x = Unsqueeze (t, first) o = Conv <pads = [1, 1]> (x, kernel) s = Squeeze (o, first) "
    "u = Transpose (s) c = ReduceSum (u, second)",
    "MaxPool": IMAGE.format("o = MaxPool <pads = [1, 1], kernel_shape = [3]> (x)"),
    "AveragePool": IMAGE.format("o = AveragePool <pads = [1, 1], kernel_shape = [3], count_include_pad = 1> (x)"),
    "InstanceNormalization": IMAGE.format("o = InstanceNormalization (x, scales, scales)"),
    "LayerNormalization": "c = LayerNormalization <axis = 0> (user, column)",
    "LpNormalization": "c = LpNormalization <axis = 0, p = 1> (user)",
    "MeanVarianceNormalization": "c = MeanVarianceNormalization <axes = [0]> (user)",
    "Pad": "p = Pad (user, above) c = Slice (p, first, last, first)",
    "GatherElements": "i = ArgMax <axis = 0> (item) c = GatherElements <axis = 0> (user, i)",
    "ScatterElements": "i = ArgMax <axis = 0> (item) m = ReduceMax <axes = [0]> (item) "
    "c = ScatterElements <axis = 0> (user, i, m)",
    "OneHot": "i = Cast <to = 7> (user) o = OneHot <axis = 0> (i, four, hot) c = ReduceSum (o, first)",
    "Slice, turned": "a = Slice (user, second, many, first) b = Slice (user, first, second, first) "
    "c = Concat <axis = 0> (a, b)",
    "Slice, one later": "z = Mul (user, nothing) f = Slice (z, first, second, first) "
    "a = Slice (user, first, last, first) c = Concat <axis = 0> (f, a)",
    "MatMul": "t = Transpose (user) m = MatMul (t, user) c = ReduceSum (m, first)",
    "MatMul, each with each": GRAM.format("o = Identity (m)"),
    "MatMul, each with those before": GRAM.format("o = Trilu <upper = 0> (m)"),
    "Softmax, of each with each": GRAM.format("o = Softmax <axis = 1> (m)"),
    "Einsum, each with those before": 'm = Einsum <equation = "ab,cb->ac"> (user, user) o = Trilu <upper = 0> (m) '
    "c = MatMul (o, user)",
}


RUN_EMPTY = {"CumSum", "CumSum, from the end", "CumSum, merged", "Softmax", "ReduceSum", "Trilu", "MatMul"}
"""What onnxruntime computes of no candidates."""


@pytest.mark.parametrize("style", ["one", "tiled"])
@pytest.mark.parametrize("name", ALONG)
def test_along_the_candidates(name: str, style: str) -> None:
    body = f"{ALONG[name]} y = Add (item, c)"
    given = {n: a for n, a in CONSTANTS.items() if re.search(rf"\b{n}\b", body)}
    model = ranking(style, body, item="float[4]", **given)
    batches = (0, 1, 2, 7) if RUNS_EMPTY and name in RUN_EMPTY else (1, 2, 7)
    assert_same(model, rewrite(model).model, batches=batches, rtol=1e-5)
