"""A batch that was made dynamic: the same at the fixed number, and right at others."""

from __future__ import annotations

import onnx
import pytest

from mari_onnx.analysis.dynamic_batch import with_dynamic_batch
from mari_onnx.document.document import Document
from mari_onnx.document.read import from_proto
from mari_onnx.errors import UserError
from mari_onnx.verification.fewer_candidates import check_fewer_candidates
from tests.graphs import integers, parse


def both(body: str) -> tuple[Document, Document]:
    model = parse(f"g (float[6, 4] x, int64[6] i) => (float[6, 4] y) {{ {body} }}", t=integers(9, 4), axis=[0])
    original = from_proto(model)
    return original, with_dynamic_batch(original)[0]


def test_rows_of_their_own() -> None:
    assert check_fewer_candidates(*both("e = Gather (t, i) y = Add (x, e)"), 6) == (6, 1, 2, 3, 5)


@pytest.mark.parametrize("body", ["y = Softmax <axis = 0> (x)", "m = ReduceMax (x) y = Sub (x, m)"])
def test_candidates_that_see_each_other(body: str) -> None:
    with pytest.raises(UserError, match="candidates may depend on each other") as caught:
        check_fewer_candidates(*both(body), 6)
    assert "`y` of 1 candidates is not what they get among 6" in str(caught.value)
    assert caught.value.next_step == "Export the model with a dynamic batch axis."


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ("y = Neg (x)", "output `y` of 6 candidates differs from that of the original"),
        ("z = Relu (x) y = Reshape (z, six)", "with 1 candidates the result does not run"),
        ("z = Reshape (x, wide) y = Neg (z)", "output `y` of 6 candidates has the shape [3, 8]"),
    ],
)
def test_a_model_that_is_another(other: str, why: str) -> None:
    original, dynamic = both("y = Relu (x)")
    text = onnx.printer.to_text(dynamic.proto).replace("y = Relu (x)", other)
    proto = onnx.parser.parse_model(text)
    for name, shape in (("six", [6, 4]), ("wide", [-1, 8])):
        proto.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [2], shape))
    with pytest.raises(UserError) as caught:
        check_fewer_candidates(original, dynamic.with_proto(proto), 6)
    assert why in str(caught.value)


def test_another_extent_that_is_no_number() -> None:
    model = parse("g (float[6, L, 4] x, int64[6] i) => (float[6, 4] y) "
                  "{ m = ReduceMean <axes = [1], keepdims = 0> (x) e = Gather (t, i) y = Add (m, e) }",
                  t=integers(9, 4))  # fmt: skip
    original = from_proto(model)
    assert check_fewer_candidates(original, with_dynamic_batch(original)[0], 6) == (6, 1, 2, 3, 5)
