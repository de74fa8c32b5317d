"""Which tensors a constant is added to or taken from: a bias before that has to be added last."""

from __future__ import annotations

import pytest

from mari_onnx.analysis.taken_again import taken_again
from tests.graphs import integers, parse


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("up = Add (x, c) y = Sub (up, c)", {"x", "up"}),
        ("up = Add (x, c) n = Neg (c) y = Sum (n, up)", {"x", "up"}),
        ("up = Add (x, c) m = Identity (up) t = Transpose (m) y = Sub (t, c)", {"x", "up", "m", "t"}),
        ("up = Add (x, x) b = Clip (up, low) y = Sub (b, c)", {"up", "b"}),
        ("up = Add (x, x) t = Tanh (up) y = Sub (t, c)", {"t"}),
        ("up = Add (x, x) y = Sub (up, x)", set()),
        ("up = Mul (x, c) y = Mul (up, c)", set()),
    ],
)
def test_what_a_constant_is_taken_from(body: str, found: set[str]) -> None:
    graph = parse(f"g (float[B, 4] x) => (y) {{ low = Constant <value_float = 0.0> () {body} }}", c=integers(4)).graph
    assert taken_again(graph, ["c"]) == found
