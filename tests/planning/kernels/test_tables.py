"""Tables that are multiplied in advance: what they become, that it is the same, and how much they may take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto

from mari_onnx import UserError, optimize, split
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import symbol
from mari_onnx.planning.kernels.site import Site
from mari_onnx.planning.kernels.tables import product_of_lookups
from tests.graphs import evaluate, integers, parse

ROWS, WIDTH, COLUMNS = 50, 64, 128
BYTES = ROWS * COLUMNS * 4
"""What one table of the model takes, multiplied."""

TEXT = "g (float[1, 8] user, int64[B] item0, int64[B, 1] item1, float[B, 4] dense) => (float[B, N] y)"
BODY = """shape = Shape (item0) wide = Concat <axis = 0> (shape, eight) u = Expand (user, wide)
    e0 = Gather (t0, item0)  e1 = Gather (t1, item1)  f1 = Reshape (e1, flat)
    x = Concat <axis = 1> (u, e0, dense, f1)"""
GEMM = f"{BODY} h = Gemm (x, w, b) y = Relu (h)"


def model(body: str = GEMM, width: int = WIDTH, **others: Any) -> onnx.ModelProto:
    inputs = 12 + 2 * width
    constants = {
        "t0": integers(ROWS, width, seed=1), "t1": integers(ROWS, width, seed=2), "eight": [8], "flat": [-1, width],
        "w": integers(inputs, COLUMNS, seed=3), "b": integers(COLUMNS), **others,
    }  # fmt: skip
    return parse(f"{TEXT} {{ {body} }}", **constants)


def calls(batch: int) -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(batch)
    ids = {"item0": rng.integers(-ROWS, ROWS, batch), "item1": rng.integers(0, ROWS, (batch, 1))}
    return {"user": integers(1, 8), "dense": integers(batch, 4), **ids}


def folded(original: onnx.ModelProto, room: int = 10 * BYTES, batch: int = 500, **options: Any) -> onnx.ModelProto:
    result = optimize(original, batch=batch, fold_tables=room, **options)
    assert result.report.passed
    for size in (1, 7):
        found, wanted = (evaluate(each, calls(size))[0] for each in (result.model, original))
        np.testing.assert_array_equal(found, wanted)
    return result.model


def tables(result: onnx.ModelProto) -> dict[str, list[int]]:
    """The shapes of the tables that rows are looked up in."""
    shapes = {t.name: list(t.dims) for t in result.graph.initializer}
    return {n.input[0]: shapes[n.input[0]] for n in result.graph.node if n.op_type == "Gather" and n.input[0] in shapes}


@pytest.mark.parametrize(
    "body",
    [
        GEMM,
        f"{BODY} m = MatMul (x, w) h = Add (m, b) y = Relu (h)",
        f"{BODY} v = Transpose <perm = [1, 0]> (w) h = Gemm <transB = 1> (x, v, b) y = Relu (h)",
        f"{BODY} m = MatMul (x, w) y = Relu (m)",
    ],
)
def test_the_products(body: str) -> None:
    result = folded(model(body))
    assert tables(result) == {"t0.multiplied": [ROWS, COLUMNS], "t1.multiplied": [ROWS, COLUMNS]}


def test_nothing_is_multiplied_unless_asked() -> None:
    assert all(shape == [ROWS, WIDTH] for shape in tables(folded(model(), room=0)).values())


@pytest.mark.parametrize(("room", "count"), [(BYTES - 1, 0), (BYTES, 1), (2 * BYTES - 1, 1), (2 * BYTES, 2)])
def test_the_bytes_that_tables_may_take(room: int, count: int) -> None:
    result = folded(model(), room=room)
    assert [shape[1] for shape in tables(result).values()].count(COLUMNS) == count


def test_the_room_is_that_of_all_products() -> None:
    body = f"{BODY} h = Gemm (x, w, b) g = Gemm (x, w2, b) s = Add (h, g) y = Relu (s)"
    result = folded(model(body, w2=integers(12 + 2 * WIDTH, COLUMNS, seed=9)), room=3 * BYTES)
    assert [shape[1] for shape in tables(result).values()].count(COLUMNS) == 3


def test_the_room_is_for_rows_of_candidates() -> None:
    text = "g (int64[1] user, int64[B] item0, int64[B, 1] item1, float[B, 4] dense) => (float[B, N] y)"
    body = GEMM.replace("u = Expand (user, wide)", "e = Gather (t, user) u = Expand (e, wide)").replace(
        "eight", "wide_"
    )
    original = parse(
        f"{text} {{ {body} }}", t=integers(ROWS, WIDTH), t0=integers(ROWS, WIDTH, seed=1), wide_=[WIDTH],
        t1=integers(ROWS, WIDTH, seed=2), flat=[-1, WIDTH], w=integers(4 + 3 * WIDTH, COLUMNS), b=integers(COLUMNS),
    )  # fmt: skip
    result = optimize(original, fold_tables=2 * BYTES)
    assert result.report.passed
    assert tables(result.model) == {
        "t": [ROWS, WIDTH], "t0.multiplied": [ROWS, COLUMNS], "t1.multiplied": [ROWS, COLUMNS]
    }  # fmt: skip


def test_narrow_rows_are_multiplied_as_fast() -> None:
    assert all(shape == [ROWS, 16] for shape in tables(folded(model(width=16))).values())


def test_columns_of_which_some_are_of_unknown_width() -> None:
    """[a e b] of widths M, 64 and 8 - M has 72 columns, and those of e begin at none that is known."""
    b, rows, unknown = Builder(), symbol("B"), symbol("M")
    table = b.constant(integers(ROWS, WIDTH))
    looked_up = b.make("Gather", [table, b.input("ids", (rows,), TensorProto.INT64)], (rows, WIDTH), axis=0)
    parts = [b.input("a", (rows, unknown), 1), looked_up, b.input("b", (rows, 8 - unknown), 1)]
    x = b.make("Concat", parts, (rows, WIDTH + 8), axis=1)
    product = b.make("MatMul", [x, b.constant(integers(WIDTH + 8, COLUMNS))], (rows, COLUMNS))
    site = Site(b, 17, onnx.numpy_helper.to_array, 10 * BYTES)
    assert not list(product_of_lookups(site, product.node))
    known = b.make("Concat", [looked_up, b.input("c", (rows, 8), 1)], (rows, WIDTH + 8), axis=1)
    product = b.make("MatMul", [known, product.node.inputs[1] or known], (rows, COLUMNS))
    assert len(list(product_of_lookups(site, product.node))) == 1


def test_a_table_that_another_node_reads_stays_for_that() -> None:
    body = f"{BODY} h = Gemm (x, w, b) n = ReduceSum <keepdims = 1> (e0, one) y = Add (h, n)"
    shapes = list(tables(folded(model(body, one=[1]))).values())
    assert [ROWS, WIDTH] in shapes and [ROWS, COLUMNS] in shapes


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e20])
def test_numbers_that_a_product_might_lose(number: float) -> None:
    table = integers(ROWS, WIDTH, seed=1)
    table[3, 3] = number
    result = optimize(model(t0=table), fold_tables=10 * BYTES, verify=False).model
    assert tables(result)["t0"] == [ROWS, WIDTH]


def test_scaled_products_stay() -> None:
    body = f"{BODY} h = Gemm <alpha = 2.0> (x, w, b) y = Relu (h)"
    result = optimize(model(body), fold_tables=10 * BYTES, verify=False).model
    assert all(shape == [ROWS, WIDTH] for shape in tables(result).values())


def test_real_numbers_are_rounded_once() -> None:
    rng = np.random.default_rng(0)
    sizes = {"t0": (ROWS, WIDTH), "t1": (ROWS, WIDTH), "w": (12 + 2 * WIDTH, COLUMNS), "b": (COLUMNS,)}
    numbers: dict[str, Any] = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    result = optimize(model(**numbers), fold_tables=10**6)
    assert result.report.passed and "t0.multiplied" in tables(result.model)
    assert result.report.configuration is not None and result.report.configuration.options["fold_tables"] == 10**6


def test_the_parts_of_a_split() -> None:
    parts = split(model(), item_inputs=["item*"], fold_tables=10 * BYTES)
    assert parts.report.passed
    assert any(t.name.endswith("multiplied") for t in parts.models["item"].graph.initializer)


@pytest.mark.parametrize("room", [-1, 1.5, "1MB"])
def test_a_wrong_number_of_bytes(room: Any) -> None:
    with pytest.raises(UserError, match="fold_tables"):
        optimize(model(), fold_tables=room)
