"""Only what is needed is written."""

from __future__ import annotations

from onnx import TensorProto

from mari_onnx.emission.order import written_extents
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import symbol
from tests.graphs import parse, rewrite_and_check


def test_a_row_whose_number_is_not_written_is_not_read_for_it() -> None:
    """In a Reshape it is -1: no other input of the request's has to say whether there is a row."""
    text = "g (float[B, 2] item, float[B] other, float[B, 4] user) => (float[B, 2] y)"
    body = """
        unused = Neg (other) largest = ReduceMax <axes = [1], keepdims = 0> (user)
        column = Unsqueeze (largest, one) y = Add (item, column)
    """
    result = rewrite_and_check(parse(f"{text} {{ {body} }}", one=[1]), ["other", "user"])
    assert [node.input[0] for node in result.nodes("Slice")] == ["user"]


def test_the_limits_of_a_slice_are_computed() -> None:
    """They may be extents of an input that nothing else reads."""
    b, length = Builder(), symbol("L")
    last = b.slice(b.input("x", (4, length + 1), TensorProto.FLOAT), 1, length, length + 1)
    assert written_extents(last.node) == [length, length + 1]
    assert not written_extents(b.slice(b.input("x", (4, length + 1), TensorProto.FLOAT), 0, 1, 3).node)
