"""Ids and stored numbers give numbers; what the caller sends, and what a root is taken of, may be NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx.analysis.not_a_number import may_be_nan
from tests.graphs import IDS, integers, ranking, rewrite

TABLE = integers(IDS, 4)
WITHOUT_A_NUMBER = np.where(np.equal(TABLE, TABLE[1, 1]), np.nan, TABLE).astype(np.float32)


@pytest.mark.parametrize(
    ("value", "table", "wanted"),
    [
        ("v = Gather (table, item)", TABLE, False),
        ("e = Gather (table, item) l = MatMul (e, w) r = Relu (l) v = Reshape (r, flat)", TABLE, False),
        ("v = Cast <to = 1> (item)", TABLE, False),
        ("e = Gather (table, item) v = LayerNormalization (e, row)", TABLE, False),
        ("e = Gather (table, item) v = LayerNormalization <epsilon = 0.0> (e, row)", TABLE, True),
        ("e = Gather (table, item) s = Mul (e, e) p = Add (s, row) r = Sqrt (p) v = Div (e, r)", TABLE, False),
        ("e = Gather (table, item) s = Mul (e, e) r = Sqrt (s) v = Reciprocal (r)", TABLE, True),
        ("e = Gather (table, item) r = Relu (e) v = Sqrt (r)", TABLE, False),
        ("e = Gather (table, item) v = Sqrt (e)", TABLE, True),
        ("e = Gather (table, item) v = Pow (e, row)", TABLE, False),
        ("e = Gather (table, item) n = Neg (row) v = Pow (e, n)", TABLE, True),
        ("e = Gather (table, item) v = Cast <to = 10> (e)", TABLE, True),
        ("e = Gather (table, item) v = Add (e, user)", TABLE, True),
        ("v = Gather (table, item)", WITHOUT_A_NUMBER, True),
        (
            "e = Gather (table, item) s = SplitToSequence <axis = 1> (e) v = ConcatFromSequence <axis = 1> (s)",
            TABLE,
            True,
        ),
    ],
)
def test_may_be_nan(value: str, table: Any, wanted: bool) -> None:
    body = f"{value} y = Identity (v)"
    constants: dict[str, Any] = {"table": table, "w": integers(4, 4), "flat": [-1, 4]}
    constants |= {"row": np.full(4, 2, np.float32)} if "row" in value else {}
    output = "float16[B, 4] y" if "to = 10" in value else "float[B, N] y"
    types: dict[str, Any] = {"item": "int64[]", "output": "float[B] y" if "v = Cast <to = 1>" in value else output}
    program = rewrite(ranking("one", body, **types, **constants)).program
    assert may_be_nan(program.context, program.values["v"].array.tensor) == wanted
