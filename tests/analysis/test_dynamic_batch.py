"""A batch that was fixed at export becomes one that may be any number."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.analysis.dynamic_batch import fixed_batch, with_dynamic_batch
from mari_onnx.document.graph_view import Model, shape_of
from mari_onnx.document.read import from_proto
from mari_onnx.errors import UserError
from tests.graphs import Array, Session, integers, parse

N = 6


H0 = np.zeros((1, N, 4), np.float32)
SIX = "float[6, 4]"


def model(body: str, constants: dict[str, Any], user: str = SIX, item: str = SIX) -> onnx.ModelProto:
    """A model for six candidates."""
    return parse(f"g ({user} user, {item} item) => (float[6, M] y) {{ {body} }}", **constants)


def dynamic(proto: onnx.ModelProto) -> onnx.ModelProto:
    document, batch = with_dynamic_batch(from_proto(proto))
    assert batch == N
    from_proto(document.proto)  # valid
    return document.proto


def check(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a dynamic batch: the same for six candidates, and the first rows of it for fewer of them."""
    result = dynamic(proto)
    rng = np.random.default_rng(0)
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input}
    whole: dict[str, Array] = {n: rng.integers(-3, 4, shape).astype(np.float32) for n, shape in shapes.items()}
    (expected,) = Session(proto).run(whole)
    for n in (N, 1, 4, 9):
        sent = {name: np.resize(a, (n, *a.shape[1:])) if a.shape[0] == N else a for name, a in whole.items()}
        np.testing.assert_array_equal(Session(result).run(sent)[0], np.resize(expected, (n, *expected.shape[1:])))
    assert shape_of(result.graph.output[0]) == ["batch", expected.shape[1]]
    return result


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("x = Relu (user) y = Add (x, item)", {}),
        # Reshape: the extent itself, a multiple of it, one that is copied, one that is there already
        ("r = Reshape (user, to) t = Transpose <perm = [0, 2, 1]> (r) x = Reshape (t, back) y = Add (x, item)",
         {"to": [N, 2, 2], "back": [N, 4]}),
        ("r = Reshape (user, to) m = MatMul (r, w) x = Reshape (m, back) y = Add (x, item)",
         {"to": [2 * N, 2], "back": [N, -1], "w": integers(2, 2)}),
        ("t = Transpose <perm = [1, 0]> (user) r = Reshape (t, to) u = Transpose <perm = [1, 0]> (r) y = Add (u, item)",
         {"to": [0, N]}),
        ("x = Reshape (user, to) y = Add (x, item)", {"to": [-1, 4]}),
        # Expand and Tile, of what has the candidates and of what has not
        ("c = Slice (user, a, b, one_) e = Expand (c, to) y = Add (e, item)",
         {"to": [N, 4], "a": [0], "b": [1], "one_": [1]}),
        ("e = Expand (row, to) x = Mul (e, user) y = Add (x, item)", {"to": [N, 4], "row": integers(1, 4)}),
        ("e = Tile (row, to) x = Mul (e, user) y = Add (x, item)", {"to": [N, 1], "row": integers(1, 4)}),
        # what has the number of rows as such
        ("o = ConstantOfShape <value = float[1] {2.0}> (to) x = Mul (o, user) y = Add (x, item)", {"to": [N, 4]}),
        ("x = Slice (user, a, to, a) y = Add (x, item)", {"to": [N], "a": [0]}),
        ("x = Mul (user, twos) y = Add (x, item)", {"twos": np.full((N, 4), 2, np.float32)}),
        ("s = Shape (user) e = Expand (zeros, s) x = Add (user, e) y = Add (x, item)",
         {"zeros": np.zeros((N, 1), np.float32)}),
        ("x = Concat <axis = 1> (user, zeros) m = MatMul (x, w) y = Add (m, item)",
         {"zeros": np.zeros((N, 2), np.float32), "w": integers(6, 4)}),
    ],
)  # fmt: skip
def test_places_that_hold_the_number(body: str, constants: dict[str, Any]) -> None:
    check(model(body, constants))


def test_the_state_that_a_cell_starts_with() -> None:
    body = """u = Unsqueeze (user, zero_) all, last = GRU <hidden_size = 4> (u, w, r, , , h0)
        h = Squeeze (last, zero_) z = Mul (h, none) y = Add (z, item)"""
    given: dict[str, Any] = {
        "zero_": [0],
        "w": integers(1, 12, 4),
        "r": integers(1, 12, 4),
        "h0": np.zeros((1, N, 4), np.float32),
        "none": np.float32(0),
    }
    check(model(body, given))


def test_a_user_of_one_row() -> None:
    body = "e = Expand (user, to) x = Concat <axis = 1> (e, item) y = MatMul (x, w)"
    result = check(model(body, {"to": [N, 4], "w": integers(8, 3)}, user="float[1, 4]"))
    assert shape_of(result.graph.input[0]) == [1, 4]


def test_a_feature_of_the_same_extent() -> None:
    """Six candidates with six features each."""
    body = "r = Reshape (user, to) x = Reshape (r, back) y = Add (x, item)"
    check(model(body, {"to": [N, 2, 3], "back": [N, N]}, "float[6, 6]", "float[6, 6]"))


REFUSED = "the batch cannot be made dynamic: "


@pytest.mark.parametrize(
    ("body", "constants", "why"),
    [
        ("x = Mul (user, rows) y = Add (x, item)", {"rows": integers(6, 4)},
         "`x` (Mul) reads the constant `rows`, which has a row of its own for each candidate"),
        ("r = Reshape (user, to) m = ReduceSum (r, axes) y = Add (item, m)", {"to": [8, 3], "axes": [0, 1]},
         "`r` (Reshape) has the shape [8, 3], in which no extent is a multiple of 6"),
    ],
)  # fmt: skip
def test_places_that_are_not_understood(body: str, constants: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError) as caught:
        dynamic(model(body, constants))
    assert str(caught.value).splitlines() == [REFUSED + why, "export the model with a dynamic batch axis"]


@pytest.mark.parametrize(
    ("user", "item", "batch"),
    [
        ("float[6, 4]", "float[6, 3]", 6),
        ("float[1, 4]", "float[6, 3]", 6),
        ("float[1, 4]", "float[1, 3]", None),
        ("float[B, 4]", "float[6, 3]", None),
        ("float[5, 4]", "float[6, 3]", None),
    ],
)
def test_the_number_that_all_inputs_have(user: str, item: str, batch: int | None) -> None:
    proto = parse(f"g ({user} user, {item} item) => (float[N, M] y) {{ z = ReduceMax (user) y = Mul (item, z) }}")
    assert fixed_batch(Model(from_proto(proto))) == batch
    if batch is None:
        with pytest.raises(
            UserError, match="no number of candidates is fixed in the leading extents of the inputs"
        ) as caught:
            with_dynamic_batch(from_proto(proto))
        assert "`user` [" in str(caught.value)
        assert "leave --dynamic-batch out" in str(caught.value.next_step)


def test_a_symbol_that_the_model_has_for_something_else() -> None:
    proto = parse("g (float[6, batch] user, float[6, batch] item) => (float[6, batch] y) { y = Add (user, item) }")
    assert shape_of(dynamic(proto).graph.input[0]) == ["batch_", "batch"]
