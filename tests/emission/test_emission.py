"""What is written: the original document with what changed grafted onto it, and names that a person finds again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.emission.models import model
from tests.graphs import evaluate, feeds, integers, parse, ranking, rewrite, rewrite_and_check


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ("r = Relu (user) y = Mul (r, item) z = Identity (item)", "float[B, 4] y, float[B, 4] z"),
        ("y = Mul (user, item) z = Identity (y)", "float[B, 4] y, float[B, 4] z"),
        ("a = Mul (user, item) y = Identity (a) z = Identity (a)", "float[B, 4] y, float[B, 4] z"),
        ("y = Relu (user) z = Relu (user)", "float[B, 4] y, float[B, 4] z"),
        ("y = Mul (user, item) z = Identity (k)", "float[B, 4] y, float[4] z"),
        ("y = Mul (user, item) z = Constant <value = float[1] {3}> ()", "float[B, 4] y, float[1] z"),
        ("y = Mul (user, item) s = Shape (item) z = Identity (s)", "float[B, 4] y, int64[2] z"),
        ("y = Mul (user, item) z = Reshape (y, flat)", "float[B, 4] y, float[M] z"),
        ("r = Relu (user) y = Identity (r) z = Transpose (r)", "float[B, 4] y, float[4, B] z"),
    ],
)
@pytest.mark.parametrize("style", ["one", "tiled"])
def test_outputs(style: str, body: str, outputs: str) -> None:
    """Twice the same, an input, a constant, a shape, what the user alone gives."""
    constants: dict[str, Any] = {"k": integers(4), "flat": [-1]}
    used = {name: value for name, value in constants.items() if f"{name})" in body}
    proto = ranking(style, body, item="float[4]", output=outputs, **used)
    result = rewrite_and_check(proto)
    assert result.model.graph.output == proto.graph.output


def test_outputs_that_are_inputs_and_weights_themselves() -> None:
    text = "g (float[B, 4] user, float[B, 4] item) => (float[B, 4] y, float[B, 4] user, float[4] k)"
    rewrite_and_check(parse(f"{text} {{ r = Mul (user, k) y = Mul (r, item) }}", k=integers(4)))


@pytest.mark.parametrize("body", ["y = Shape (item)", "y = Identity (flat)", "y = Constant <value_ints = [3, 4]> ()"])
def test_an_output_that_is_there_twice(body: str) -> None:
    """Also one that is written anew, such as a constant: a name is given once."""
    text = "g (float[1, 4] user, float[B, 4] item) => (float[B, 4] z, int64[2] y, int64[2] y)"
    used: dict[str, Any] = {"flat": [1, 2]} if "flat" in body else {}
    proto = parse(f"{text} {{ z = Mul (user, item) {body} }}", **used)
    result = rewrite(proto)
    assert result.model.graph.output == proto.graph.output
    for wanted, found in zip(*(evaluate(m, feeds(proto, 3)) for m in (proto, result.model)), strict=True):
        np.testing.assert_array_equal(wanted, found)


def test_what_is_written_is_independent_of_what_was_written_before() -> None:
    assert rewrite(model()).model == rewrite(model()).model
