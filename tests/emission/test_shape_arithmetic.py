"""Shape arithmetic: extents are computed where they are not known."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import TensorProto

from mari_onnx.emission.shape_arithmetic import Instruction, Integers, ShapeArithmetic
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import symbol
from tests.emission.models import BODY, WEIGHTS, shown
from tests.graphs import parse, ranking, rewrite_and_check

B, L = symbol("B"), symbol("L")
INT64 = TensorProto.INT64


@pytest.mark.parametrize("opset", [11, 17])
def test_reshapes_to_several_symbols(opset: int) -> None:
    """[(B L) 4] back to [B L 4] of an input whose length is not known."""
    text = "g (float[1, L, 4] user, float[B, 4] item) => (float[B, L, 4] y)"
    shapes = (
        "s = Shape (user) l = Gather (s, one) i = Shape (item) b = Gather (i, zero) t = Concat <axis = 0> (b, l, four)"
    )
    expanded = "e = Expand (user, t) r = Reshape (e, flat) n = Relu (r) m = Reshape (n, t)"
    body = f"{shapes} {expanded} q = Reshape (item, middle) y = Mul (m, q)"
    constants: dict[str, Any] = {"zero": [0], "one": [1], "four": [4], "flat": [-1, 4], "middle": [-1, 1, 4]}
    rewrite_and_check(parse(f"{text} {{ {body} }}", opset=opset, **constants))


def arithmetic(opset: int = 17) -> tuple[ShapeArithmetic, Tensor]:
    """For extents of the input `x`, whose shape is [B, L]."""
    x = Builder().input("x", (B, L), TensorProto.FLOAT)
    return ShapeArithmetic({"B": (x, 0), "L": (x, 1)}, opset), x


def test_extents_are_joined_with_stored_numbers() -> None:
    """Runs of numbers are one tensor."""
    made, _ = arithmetic()
    first = "Shape<start = 0, end = 1>(x)"
    assert shown(made.shape([B, 3, B * 2], INT64, None)) == f"Concat<axis = 0>({first}, [3], Mul({first}, [2]))"
    assert shown(made.shape([3, 4, B], INT64, None)) == f"Concat<axis = 0>([3, 4], {first})"


def test_a_polynomial_is_a_sum_of_products() -> None:
    made, _ = arithmetic()
    b, length = "Shape<start = 0, end = 1>(x)", "Shape<start = 1, end = 2>(x)"
    assert shown(made.shape([B * L + 1], INT64, None)) == f"Add([1], Mul({b}, {length}))"


@pytest.mark.parametrize(
    ("opset", "op_types"), [(14, ["Shape", "Gather", "Mul", "Concat"]), (15, ["Shape", "Mul", "Concat"])]
)
def test_each_extent_is_computed_once(opset: int, op_types: list[str]) -> None:
    made, _ = arithmetic(opset)
    once = made.shape([B, 3, B * 2], INT64, None)
    assert made.shape([B, 3, B * 2], INT64, None) is once
    assert [i.op_type for i in made.code if isinstance(i, Instruction)] == op_types
    stored = [i.values for i in made.code if isinstance(i, Integers)]
    assert len(stored) == len(set(stored))


def test_numbers_alone_are_stored() -> None:
    made, _ = arithmetic()
    assert made.shape([3, 4], INT64, None) == Integers((3, 4), INT64)
    assert made.shape([3, 4], TensorProto.INT32, None) == Integers((3, 4), TensorProto.INT32)


def test_extents_of_another_type_are_cast() -> None:
    made, _ = arithmetic()
    assert (
        shown(made.shape([B], TensorProto.INT32, None))
        == f"Cast<to = {TensorProto.INT32}>(Shape<start = 0, end = 1>(x))"
    )


def test_a_symbol_that_no_input_has_is_read_off_the_tensor_at_hand() -> None:
    """N is the number of rows that a mask selects: only what was selected has it."""
    made, x = arithmetic()
    selected = Builder().make("Compress", [x], (symbol("N"), L))
    assert shown(made.shape([symbol("N")], INT64, selected)) == "Shape<start = 0, end = 1>(Compress)"


def test_a_symbol_of_an_input_is_read_off_the_input() -> None:
    """What was computed on the way need not be there for it."""
    made, x = arithmetic()
    computed = Builder().make("Relu", [x], (B, L))
    assert shown(made.shape([B], INT64, computed)) == "Shape<start = 0, end = 1>(x)"
    other = Builder().input("other", (4, B), TensorProto.FLOAT)
    assert shown(made.shape([B], INT64, other)) == "Shape<start = 1, end = 2>(other)"


@pytest.mark.parametrize(("opset", "one"), [(14, {"Gather", "Mul"}), (15, {"Shape", "Mul"})])
def test_what_gives_one_extent(opset: int, one: set[str]) -> None:
    made, _ = arithmetic(opset)
    made.shape([B, B * 2], INT64, None)
    found = {i.op_type for i in made.code if isinstance(i, Instruction) and made.is_one_extent(i)}
    assert found == one


def test_names_of_our_own_shapes_that_are_taken() -> None:
    proto = ranking("tiled", BODY, **WEIGHTS)
    renames = {"b": "mari.shape_0", "h": "mari.shape_1"}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [renames.get(n, n) for n in names]
    for tensor in proto.graph.initializer:
        tensor.name = renames.get(tensor.name, tensor.name)
    rewrite_and_check(proto)
