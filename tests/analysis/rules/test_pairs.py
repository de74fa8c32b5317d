"""Inner products of pairs of rows are computed on the axes that both rows have."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.ir.forms import Parts
from tests.graphs import STYLES, Rewritten, integers, ranking, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)

USER, ITEM, WIDTH = 8, 6, 16
ROWS = USER + ITEM
BELOW = [(i, j) for i in range(ROWS) for j in range(i)]
ABOVE = [(i, j) for i in range(ROWS) for j in range(i + 1, ROWS)]

FIELDS = "x = Concat <axis = 1> (user, item)"
PRODUCT = f"{FIELDS} t = Transpose <perm = [0, 2, 1]> (x) z = MatMul (x, t)"
FLAT = f"{PRODUCT} flat = Reshape (z, square) e = Gather <axis = 1> (flat, places)"
ENTRY = f"""
    {PRODUCT} last = Transpose <perm = [1, 2, 0]> (z) picked = GatherND (last, entries)
    e = Transpose <perm = [1, 0]> (picked)
"""
SUM = f"""
    {FIELDS} p = Gather <axis = 1> (x, left) q = Gather <axis = 1> (x, right) m = Mul (p, q)
    e = ReduceSum <keepdims = 0> (m, two)
"""
TURNED = f"""
    {FIELDS} t = Transpose <perm = [1, 0, 2]> (x) p = Gather (t, left) q = Gather (t, right) m = Mul (p, q)
    n = Transpose <perm = [1, 0, 2]> (m) e = ReduceSum <keepdims = 0> (n, two)
"""


def model(style: str, body: str, pairs: list[tuple[int, int]], **constants: Any) -> onnx.ModelProto:
    """A Linear on the entries `e`."""
    columns: dict[str, Any] = {
        "square": [-1, ROWS * ROWS],
        "places": [i * ROWS + j for i, j in pairs],
        "entries": pairs,
        "left": [i for i, _ in pairs],
        "right": [j for _, j in pairs],
        "two": [2],
    }
    return ranking(
        style,
        f"{body} y = Gemm (e, w, b)",
        user=f"float[{USER}, {WIDTH}]",
        item=f"float[{ITEM}, {WIDTH}]",
        output="float[B, 2] y",
        **{name: value for name, value in columns.items() if name in body},
        **{"w": integers(len(pairs), 2), "b": integers(2, seed=1)} | constants,
    )


def parts(result: Rewritten, name: str) -> Parts:
    found = result.program.values[name].parts
    assert isinstance(found, Parts)
    return found


@styles
@pytest.mark.parametrize("body", [FLAT, ENTRY, SUM, TURNED])
@pytest.mark.parametrize("pairs", [BELOW, ABOVE])
def test_each_pair_on_the_axes_of_both(style: str, body: str, pairs: list[tuple[int, int]]) -> None:
    result = rewrite_and_check(model(style, body, pairs))
    if style != "requests":  # where the user's rows are written out for each candidate, that is not always less
        assert result.ops.count("MatMul") == 3  # of the user's rows, of the items', of one with the other
        assert not {"ReduceSum", "Expand"} & set(result.ops)
    assert sum(sub.extent for sub, _ in parts(result, "e").pieces) == len(pairs)


def test_the_weights_rows_are_moved_and_not_the_columns() -> None:
    """Of every product one Gather at most, and none of the one of which all entries are wanted."""
    result = rewrite_and_check(model("one", FLAT, BELOW))
    assert "Slice" not in result.ops
    along = [a.i for node in result.nodes("Gather") for a in node.attribute if a.name == "axis"]
    assert sorted(along) == [
        0,
        1,
    ]  # many candidates' entries are turned: a row is looked up as fast as a number
    assert result.ops.count("Gemm") == 2


@styles
@pytest.mark.parametrize("seed", range(6))
def test_any_entries_in_any_order(style: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    everything = list(itertools.product(range(ROWS), repeat=2))
    pairs = [everything[i] for i in rng.integers(0, len(everything), rng.integers(2, 40))]
    for body in (FLAT, ENTRY, SUM, TURNED):
        rewrite_and_check(model(style, body, pairs))


@styles
def test_rows_of_two_values(style: str) -> None:
    """[u; i] @ [i u]: entry (p, q) is not entry (q, p)."""
    body = f"""
        {FIELDS} v = Concat <axis = 1> (item, user) n = Neg (v) t = Transpose <perm = [0, 2, 1]> (n) z = MatMul (x, t)
        flat = Reshape (z, square) e = Gather <axis = 1> (flat, places)
    """
    result = rewrite_and_check(model(style, body, BELOW))
    assert "Expand" not in result.ops


@styles
def test_entries_as_they_are(style: str) -> None:
    """Where they are wanted as a tensor, they come in their order."""
    given = model(style, FLAT, BELOW)
    given.graph.node[-1].CopyFrom(onnx.helper.make_node("Relu", ["e"], ["y"]))
    del given.graph.output[0].type.tensor_type.shape.dim[1:]
    given.graph.output[0].type.tensor_type.shape.dim.add().dim_value = len(BELOW)
    rewrite_and_check(given)


@styles
def test_rows_that_meet_themselves_turned(style: str) -> None:
    """x[p, d] * x[q, p]: as many pairs as the rows are wide, and the second operand is turned."""
    body = f"""
        {FIELDS} p = Gather <axis = 1> (x, left) q = Gather <axis = 1> (x, right)
        t = Transpose <perm = [0, 2, 1]> (q) m = Mul (p, t) e = ReduceSum <keepdims = 0> (m, two)
    """
    rewrite_and_check(model(style, body, BELOW[:WIDTH]))
    rewrite_and_check(model(style, body, [(3 * i % ROWS, (5 * i + 1) % ROWS) for i in range(WIDTH)]))


PICKED = "p = Gather <axis = 1> (x, left) q = Gather <axis = 1> (x, right)"
PLACES: dict[str, Any] = {"left": [i for i, _ in BELOW], "right": [j for _, j in BELOW]}


@styles
@pytest.mark.parametrize(
    ("reduction", "axes"), [("Max", [2]), ("Mean", [2]), ("SumSquare", [2]), ("Sum", [1]), ("Sum", [1, 2])]
)
def test_other_reductions_of_products(style: str, reduction: str, axes: list[int]) -> None:
    """Only the sum over the width is an inner product."""
    body = f"{FIELDS} {PICKED} m = Mul (p, q) e = Reduce{reduction} <keepdims = 0> (m, axes) y = Neg (e)"
    types: dict[str, Any] = {"user": f"float[{USER}, {WIDTH}]", "item": f"float[{ITEM}, {WIDTH}]"}
    output = "float[B] y" if len(axes) == 2 else "float[B, N] y"
    given = ranking(style, body, **types, output=output, opset=18, axes=axes, **PLACES)
    assert "MatMul" not in rewrite_and_check(given).ops


@styles
def test_rows_of_two_values_one_by_one(style: str) -> None:
    """They have their axes in common, and no more."""
    rows = PICKED.replace("(x, right)", "(v, right)")
    body = f"{FIELDS} v = Relu (x) {rows} m = Mul (p, q) e = ReduceSum <keepdims = 0> (m, two)"
    rewrite_and_check(model(style, body, BELOW))


@styles
def test_entries_of_a_product_turned(style: str) -> None:
    """Entry (p, q) of the transpose is entry (q, p)."""
    body = f"""
        {FIELDS} v = Neg (x) r = Relu (v) t = Transpose <perm = [0, 2, 1]> (r) z = MatMul (x, t)
        back = Transpose <perm = [0, 2, 1]> (z) flat = Reshape (back, square) e = Gather <axis = 1> (flat, places)
    """
    rewrite_and_check(model(style, body, BELOW))


@styles
def test_a_square_times_itself(style: str) -> None:
    """x @ x is not x @ x': the columns of the second are no rows of the first."""
    body = """x = Concat <axis = 1> (user, item) z = MatMul (x, x) flat = Reshape (z, square)
              e = Gather <axis = 1> (flat, places) y = MatMul (e, w)"""
    constants: dict[str, Any] = {
        "square": [-1, 36],
        "places": [i * 6 + j for i in range(6) for j in range(i)],
        "w": integers(15, 2),
    }
    types: dict[str, Any] = {"user": "float[4, 6]", "item": "float[2, 6]", "output": "float[B, 2] y"}
    rewrite_and_check(ranking(style, body, **types, **constants))


@styles
def test_a_product_that_is_read_otherwise_too(style: str) -> None:
    body = f"{FLAT} whole = Reshape (z, square) s = ReduceSum <keepdims = 1> (whole, one) f = Add (e, s)"
    given = model(style, body, BELOW, one=[1])
    given.graph.node[-1].input[0] = "f"
    result = rewrite_and_check(given)
    assert result.program.values["e"].parts is None


def test_the_shape_of_a_product_is_no_reason_to_compute_it() -> None:
    body = f"{FLAT} shape = Shape (z) extent = Gather (shape, nought) size = Cast <to = 1> (extent) f = Add (e, size)"
    given = model("one", body, BELOW, nought=[0])
    given.graph.node[-1].input[0] = "f"
    result = rewrite_and_check(given)
    assert result.ops.count("MatMul") == 3


def test_the_products() -> None:
    """Pairs of user rows, of item rows, and of one with the other; then the Linear on either side."""
    result = rewrite_and_check(model("one", FLAT, BELOW))
    assert [line for line in result.graph if re.search("MatMul|Gemm", line)] == [
        "user_row.matmul [1 8 8] = MatMul (user_row, user_row.reshape.2)",
        "item.matmul [B 6 8] = MatMul (item, user_row.reshape.2)",
        "item.matmul.2 [B 6 6] = MatMul (item, item.transpose)",
        "y.user [1 2] = Gemm (user_row.gather, w.user, b.part)",
        "y [B 2] = Gemm (item.concat, w.item, y.user)",
    ]
