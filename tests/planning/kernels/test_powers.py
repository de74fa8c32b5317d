"""Squares: the product that they become, the same to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graphs import parse
from tests.planning.kernels.compare import assert_same_on, kept, ordinary, replaced, special

TEXT = "g (float[B, 6] item) => (float[B, 6] y) { y = Pow (item, e) }"


@pytest.mark.parametrize("exponent", [np.float32(2), np.array([2.0], np.float32), np.int64(2)])
def test_the_graph(exponent: Any) -> None:
    model = parse(TEXT, e=exponent)
    result = replaced(model)
    assert result.graph == ["y [B 6] = Mul (item, item)"]
    for item in (special(50, 6), ordinary(50, 6)):
        assert_same_on(model, result, item=item)


def test_what_is_left_alone() -> None:
    kept(parse(TEXT, e=np.float32(3)))
    kept(parse(TEXT, e=np.array([2, 2, 2, 2, 2, 3], np.float32)))
    kept(parse(TEXT.replace("item, e", "e, item"), e=np.float32(2)))
    kept(parse(TEXT.replace("float[B, 6] y", "float[B, N] y"), e=np.full((2, 1, 1), 2, np.float32)))
    kept(parse(TEXT.replace("float[", "int64["), e=np.int64(2)))
    text = "g (float[B, 6] item, int64[N] s) => (float[A, C] y) { r = Reshape (item, s) p = Pow (r, e) y = Relu (p) }"
    kept(parse(text, e=np.float32(2)))  # of unknown rank


@pytest.mark.parametrize("centred", [True, False])
def test_the_square_of_a_norm_stays(centred: bool) -> None:
    """onnxruntime makes one node of the norm, which it knows by its Pow."""
    x = "mean = ReduceMean <axes = [-1]> (h)  d = Sub (h, mean)" if centred else "d = Identity (h)"
    model = parse(
        f"""g (float[1, 8] user, float[B, 8] item) => (float[B, 8] y) {{
            h = Add (user, item)  {x}
            squares = Pow (d, two)  variance = ReduceMean <axes = [-1]> (squares)  more = Add (variance, epsilon)
            norm = Sqrt (more)  z = Div (d, norm)  y = Mul (z, w)
        }}""",
        two=np.float32(2), epsilon=np.float32(1e-5), w=np.arange(8, dtype=np.float32),
    )  # fmt: skip
    kept(model)
    other = parse(
        """g (float[1, 8] user, float[B, 8] item) => (float[B, 8] y) {
            h = Add (user, item)  squares = Pow (h, two)  variance = ReduceMean <axes = [-1]> (squares)
            more = Add (variance, epsilon)  norm = Sqrt (more)  y = Div (item, norm)
        }""",
        two=np.float32(2), epsilon=np.float32(1e-5),
    )  # fmt: skip
    assert "Mul" in replaced(other, rtol=1e-6).ops
