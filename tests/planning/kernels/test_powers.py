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
