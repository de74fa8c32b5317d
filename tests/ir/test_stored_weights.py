"""A weight is a weight however it is stored: quantized, cast, transposed. What is cut is what is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from tests.graphs import MANY, STYLES, integers, ranking, rewrite_and_check

WIDTH, COLUMNS, BLOCK = 16, 4, 4


def dtype_of(tensor_type: int) -> npt.DTypeLike:
    return onnx.helper.tensor_dtype_to_np_dtype(tensor_type)


STORED = [onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.FLOAT8E4M3FN]


def quantized(tensor_type: int, shape: tuple[int, ...], axis: int | None, block: int = 0) -> dict[str, Any]:
    """A weight with its scales, powers of two, and zero points where its type has them."""
    rng = np.random.default_rng(0)
    dtype = dtype_of(tensor_type)
    if block:
        scales = tuple(-(-e // block) if i == axis else e for i, e in enumerate(shape))
    else:
        scales = () if axis is None else (shape[axis],)
    found = {
        "w": rng.integers(0, 4, shape).astype(np.float32).astype(dtype),
        "s": np.asarray(2.0 ** rng.integers(-1, 2, scales), np.float32),
    }
    if tensor_type != onnx.TensorProto.FLOAT8E4M3FN:
        found["z"] = np.asarray(rng.integers(0, 3, scales)).astype(dtype)
    return found


def dequantize(constants: dict[str, Any], axis: int | None, block: int = 0) -> str:
    attributes = [] if axis is None else [f"axis = {axis}"]
    attributes += [f"block_size = {block}"] if block else []
    inputs = ", ".join(k for k in "wsz" if k in constants)
    shown = f"<{', '.join(attributes)}>" if attributes else ""
    return f"d = DequantizeLinear {shown} ({inputs})"


SCALES = [(None, 0), (0, 0), (1, 0), (0, BLOCK), (1, 2)]


@pytest.mark.parametrize("tensor_type", STORED)
@pytest.mark.parametrize(("axis", "block"), SCALES)
@pytest.mark.parametrize("product", ["MatMul (x, d)", "Gemm <transB = 1> (x, d)", "MatMul (x, t)", "Gemm (x, d, b)"])
def test_the_rows_of_each_part(tensor_type: int, axis: int | None, block: int, product: str) -> None:
    """[a b] @ D(w) = a @ D(w_a) + b @ D(w_b), with the scales that belong to them; stored as it was."""
    turned = "t)" in product or "transB" in product
    shape = (COLUMNS, WIDTH) if turned else (WIDTH, COLUMNS)
    constants = quantized(tensor_type, shape, axis, block) | {"b": integers(COLUMNS)}
    transpose = "t = Transpose (d)" if "t)" in product else ""
    used = {k: v for k, v in constants.items() if k != "b" or "b)" in product}
    body = f"x = Concat <axis = 1> (user, item) {dequantize(constants, axis, block)} {transpose} y = {product}"
    result = rewrite_and_check(
        ranking("one", body, user="float[8]", item="float[8]", output="float[B, 4] y", opset=21, **used)
    )
    assert result.ops.count("DequantizeLinear") == 2
    assert not {"Slice", "Transpose", "Concat"} & set(result.ops)
    weights = [t for t in result.model.graph.initializer if t.data_type == tensor_type and len(t.dims) == 2]
    halves = [[4, 8]] * 2
    assert [sorted(t.dims) for t in weights if "z" not in t.name] == halves


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("axis", "block"), SCALES)
def test_columns_that_are_gathered(style: str, axis: int | None, block: int) -> None:
    """Interleaved features: the rows of the weight are put together again, those cut within a block as well."""
    constants = quantized(onnx.TensorProto.INT8, (14, COLUMNS), axis, block)
    body = f"x = Concat <axis = 1> (item, user, item, user) {dequantize(constants, axis, block)} y = MatMul (x, d)"
    rewrite_and_check(ranking(style, body, opset=21, **constants))


@pytest.mark.parametrize(("axis", "block"), SCALES)
def test_a_dimension_of_two_axes(axis: int | None, block: int) -> None:
    """Fields and their embeddings, flattened before the product."""
    constants = quantized(onnx.TensorProto.INT8, (16, COLUMNS), axis, block)
    body = f"""i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i) f = Flatten (x)
               {dequantize(constants, axis, block)} y = MatMul (f, d)"""
    model = ranking("one", body, user="float[3, 4]", item="float[4]", opset=21, one=[1], **constants)
    assert rewrite_and_check(model).ops.count("DequantizeLinear") == 2


@pytest.mark.parametrize(("axis", "block"), SCALES)
@pytest.mark.parametrize("other", [onnx.TensorProto.INT8, onnx.TensorProto.UINT8])
@pytest.mark.parametrize("along", [0, 1])
def test_two_weights_as_one(axis: int | None, block: int, other: int, along: int) -> None:
    """Of one kind they are put together as they are stored; each keeps its scales."""
    first = quantized(onnx.TensorProto.INT8, (6, 6), axis, block)
    second = {f"{k}2": v for k, v in quantized(other, (6, 6), axis, block).items()}
    second["s2"] = second["s2"] * np.float32(2)
    node = dequantize(first, axis, block)
    body = f"""
        {node} {node.replace("d =", "d2 =").replace("(w, s, z)", "(w2, s2, z2)")}
        d3 = Concat <axis = {along}> (d, d2) x = Concat <axis = 1> (user, item) y = MatMul (x, d3)
    """
    widths = (8, 4) if along == 0 else (4, 2)
    types = {"user": f"float[{widths[0]}]", "item": f"float[{widths[1]}]"}
    rewrite_and_check(ranking("one", body, **types, opset=21, **first, **second))


@pytest.mark.parametrize(("axis", "block"), SCALES)
@pytest.mark.parametrize("along", [0, 1])
def test_rows_and_columns_in_another_order(axis: int | None, block: int, along: int) -> None:
    constants = quantized(onnx.TensorProto.INT8, (8, 8), axis, block)
    body = f"""{dequantize(constants, axis, block)} g = Gather <axis = {along}> (d, order)
               x = Concat <axis = 1> (user, item) y = MatMul (x, g)"""
    order = [5, 0, 3, 3, 7, 1, 2, 6]
    rewrite_and_check(ranking("one", body, user="float[5]", item="float[3]", opset=21, order=order, **constants))


@pytest.mark.parametrize(("axis", "block"), SCALES)
@pytest.mark.parametrize("shape", [(2, 8, 4), (4, 4, 4), (8, 2, 4), (2, 32, 1), (16, 2, 2)])
def test_a_weight_in_other_dimensions(axis: int | None, block: int, shape: tuple[int, ...]) -> None:
    constants = quantized(onnx.TensorProto.INT8, (WIDTH, COLUMNS), axis, block)
    body = f"{dequantize(constants, axis, block)} r = Reshape (d, to) u = Relu (user) m = Mul (u, r) y = Add (m, item)"
    shown = ", ".join(map(str, shape))
    types = {"user": f"float[{shown}]", "item": f"float[{shown}]", "output": f"float[B, {shown}] y"}
    rewrite_and_check(ranking("one", body, **types, opset=21, to=list(shape), **constants))


def test_scales_of_columns_without_saying_so() -> None:
    """The axis is 1 by default."""
    constants = quantized(onnx.TensorProto.INT8, (96, 96), 1)
    body = f"x = Concat <axis = 1> (user, item) {dequantize(constants, None)} y = MatMul (x, d)"
    result = rewrite_and_check(ranking("one", body, user="float[64]", item="float[32]", opset=21, **constants))
    assert result.ops.count("DequantizeLinear") == 2


def test_scales_of_half_precision() -> None:
    constants = quantized(onnx.TensorProto.INT8, (7, COLUMNS), 1)
    constants["s"] = constants["s"].astype(np.float16)
    body = f"x = Concat <axis = 1> (user, item) {dequantize(constants, 1)} c = Cast <to = 1> (d) y = MatMul (x, c)"
    result = rewrite_and_check(ranking("one", body, opset=21, **constants))
    assert result.ops.count("DequantizeLinear") == result.ops.count("Cast") == 2


@pytest.mark.parametrize("style", STYLES)
def test_a_weight_behind_a_cast(style: str) -> None:
    body = "x = Concat <axis = 1> (user, item) c = Cast <to = 1> (w) y = MatMul (x, c)"
    result = rewrite_and_check(ranking(style, body, w=integers(7, 3).astype(np.float16)))
    assert result.ops.count("Cast") == 2
    stored = [numpy_helper.to_array(t).shape for t in result.model.graph.initializer if t.data_type == 10]
    assert sorted(stored) == [(3, 3), (4, 3)]


def test_a_weight_that_is_computed_otherwise() -> None:
    """It is a constant all the same; runtimes compute it once."""
    body = "x = Concat <axis = 1> (user, item) k = Mul (w, two) y = MatMul (x, k)"
    result = rewrite_and_check(ranking("one", body, w=integers(7, 3), two=np.float32(2)))
    assert result.ops.count("Gemm") == 2
    assert result.program.values["k"].constant


def test_a_weight_on_the_left() -> None:
    constants = quantized(onnx.TensorProto.INT8, (3, 7), 0)
    body = f"""x = Concat <axis = 1> (user, item) t = Transpose (x) {dequantize(constants, 0)}
               p = MatMul (d, t) y = Transpose (p)"""
    result = rewrite_and_check(ranking("one", body, opset=21, **constants))
    assert result.ops.count("DequantizeLinear") == 2


def test_a_table_is_looked_up_as_it_is() -> None:
    constants = quantized(onnx.TensorProto.INT8, (4, 3), 0)
    body = f"{dequantize(constants, 0)} e = Gather (d, user) p = ReduceSum <keepdims = 0> (e, one) y = Add (p, item)"
    model = ranking("tiled", body, user="int64[5]", item="float[3]", one=[1], opset=21, **constants)
    assert rewrite_and_check(model).ops == ["Slice", "DequantizeLinear", "Gather", "ReduceSum", "Add"]


def test_what_is_multiplied_for_nobody_costs_nothing() -> None:
    """A product of constants is one of them; the cost of both models leaves it out."""
    body = "v = MatMul (w, k) x = Concat <axis = 1> (user, item) y = MatMul (x, v)"
    result = rewrite_and_check(ranking("one", body, w=integers(7, 5), k=integers(5, 3)))
    assert result.program.work.macs == MANY * 7 * 3


def test_the_graph() -> None:
    """The stored weight is cut, with what scales it."""
    constants = quantized(onnx.TensorProto.INT8, (67, COLUMNS), 0)
    body = f"x = Concat <axis = 1> (user, item) {dequantize(constants, 0)} y = MatMul (x, d)"
    result = rewrite_and_check(ranking("one", body, user="float[64]", output="float[B, 4] y", opset=21, **constants))
    assert result.graph == [
        "d.user [64 4] = DequantizeLinear (w.part, s.part, z.part)",
        "y.user [1 4] = Gemm (user_row, d.user)",
        "d.item [3 4] = DequantizeLinear (w.part.2, s.part.2, z.part.2)",
        "y.item [B 4] = Gemm (item, d.item)",
        "y [B 4] = Add (y.item, y.user)",
    ]
