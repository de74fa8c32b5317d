"""What a norm bounds that a row is divided by, in the spellings of exporters, and what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.analysis.test_intervals import interval

MEAN = "sq = Mul (user, user) m = ReduceMean <axes = [1]> (sq) e = Add (m, little) r = Sqrt (e)"
SUM = "sq = Pow (user, two) s = ReduceSum (sq, last) r = Sqrt (s) d = Max (r, little)"
CONSTANTS: dict[str, Any] = {
    "little": np.float32(1e-6), "two": np.float32(2), "three": np.float32(3), "number_one": np.float32(1),
    "last": [-1], "halves": [-1, 2, 2], "of_halves": [-1, 1, 1], "across": [1, 4],
}  # fmt: skip


def bound(body: str, **constants: Any) -> float:
    return float(interval(body, **{**CONSTANTS, **constants}).magnitude.max())


@pytest.mark.parametrize(
    ("body", "largest"),
    [
        (f"{MEAN} t = Div (user, r)", 2),
        (f"{MEAN} i = Reciprocal (r) t = Mul (i, user)", 2),
        (f"{MEAN} i = Div (number_one, r) t = Mul (user, i)", 2),
        (f"{SUM} t = Div (user, d)", 1),
        ("n = ReduceL2 <axes = [-1]> (user) d = Clip (n, little) t = Div (user, d)", 1),
        ("n = ReduceL2 <axes = [-1]> (user) d = Add (n, little) e = Shape (user) x = Expand (d, e) "
         "t = Div (user, x)", 1),
        ("sq = Pow (user, two) s = Reshape (sq, halves) m = ReduceMean <axes = [2]> (s) r = Sqrt (m) "
         "u = Reshape (user, halves) t = Div (u, r)", np.sqrt(2)),
        ("n = ReduceSumSquare <axes = [-1]> (user) d = Max (little, n) r = Sqrt (d) t = Div (user, r)", 1),
        ("n = ReduceL2 <axes = [-1]> (user) h = Reshape (user, halves) m = Reshape (n, of_halves) t = Div (h, m)", 1),
    ],
)  # fmt: skip
def test_a_row_divided_by_its_norm(body: str, largest: float) -> None:
    assert bound(body) == largest


@pytest.mark.parametrize(
    "body",
    [
        f"{MEAN} i = Div (three, r) t = Mul (user, i)",
        f"{MEAN} t = Div (r, user)",
        "n = ReduceL2 <axes = [-1]> (user) d = Clip (n, little, three) t = Div (user, d)",
        "n = ReduceL2 <axes = [-1]> (user) d = Sub (n, little) t = Div (user, d)",
        "z = Neg (user) n = ReduceL2 <axes = [-1]> (z) t = Div (user, n)",
        "n = ReduceL1 <axes = [-1]> (user) r = Sqrt (n) t = Div (user, r)",
        "n = ReduceL2 <axes = [-1], keepdims = 0> (user) t = Div (user, n)",
        # Norms of rows, turned to columns.
        "c = Transpose (user) x = MatMul (c, user) n = ReduceL2 <axes = [1]> (x) "
        "m = Reshape (n, across) t = Div (x, m)",
    ],
)
def test_a_row_divided_by_something_else(body: str) -> None:
    assert bound(body) == np.inf
