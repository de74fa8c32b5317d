"""Convolutions on the members that they are given; with a kernel of one place, products with a weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graphs import STYLES, integers, ranking, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


@styles
@pytest.mark.parametrize(
    ("attributes", "channels", "length"),
    [
        ("<kernel_shape = [2]>", 4, 4),
        ("<pads = [1, 1], strides = [2]>", 4, 3),
        ("<pads = [0, 2]>", 4, 6),
        ("<dilations = [2], group = 2>", 2, 3),
        ('<auto_pad = "SAME_UPPER">', 4, 5),
        ('<auto_pad = "SAME_LOWER", strides = [2]>', 4, 3),
        ('<auto_pad = "SAME_UPPER", strides = [3]>', 4, 2),
        ('<auto_pad = "VALID", strides = [2]>', 4, 2),
    ],
)
def test_convolution_of_the_users_sequence(style: str, attributes: str, channels: int, length: int) -> None:
    body = f"c = Conv {attributes} (user, w, bias) m = ReduceMax <axes = [2], keepdims = 0> (c) y = Mul (m, item)"
    model = ranking(style, body, user="float[4, 5]", item="float[6]", w=integers(6, channels, 2), bias=integers(6))
    result = rewrite_and_check(model)
    assert "Expand" not in result.ops
    shape = result.program.values["c"].array.tensor.known_shape
    assert shape[2] == length


@styles
@pytest.mark.parametrize("stored", ["1, 5", "4, 1"])
def test_convolution_of_what_is_not_stored(style: str, stored: str) -> None:
    body = "e = Expand (user, wide) c = Conv (e, w) f = Flatten (c) y = Mul (f, item)"
    constants: dict[str, Any] = {"wide": [1, 4, 5], "w": integers(6, 4, 2)}
    result = rewrite_and_check(ranking(style, body, user=f"float[{stored}]", item="float[24]", **constants))
    assert "B" not in map(str, result.program.values["c"].array.tensor.known_shape)


@styles
def test_convolution_of_images(style: str) -> None:
    body = "i = Reshape (user, image) c = Conv (i, w) f = Flatten (c) y = Mul (f, item)"
    constants: dict[str, Any] = {"image": [-1, 1, 3, 4], "w": integers(2, 1, 2, 3)}
    assert "Expand" not in rewrite_and_check(ranking(style, body, user="float[12]", item="float[8]", **constants)).ops


def test_a_convolution_of_any_length_is_refused() -> None:
    body = "c = Conv (user, w) m = ReduceMax <axes = [2], keepdims = 0> (c) y = Mul (m, item)"
    result = rewrite_and_check(ranking("one", body, user="float[4, L]", w=integers(3, 4, 2)))
    assert result.refusals("Conv") == ["Conv with spatial extents that are not numbers"]
    assert result.ops.count("Conv") == 1


def test_weights_that_are_computed() -> None:
    body = "k = Mul (w, two) c = Conv (user, k) m = ReduceMax <axes = [2], keepdims = 0> (c) y = Mul (m, item)"
    model = ranking("one", body, user="float[4, 5]", w=integers(3, 4, 2), two=np.float32(2))
    assert "Expand" not in rewrite_and_check(model).ops


# A kernel of one place


BOTH = "x = Concat <axis = 1> (user, item) "
SHAPES: dict[str, Any] = {"user": "float[60, 5]", "item": "float[3, 5]"}


@styles
@pytest.mark.parametrize("bias", ["", ", bias"])
@pytest.mark.parametrize(
    "attributes", ["", "<kernel_shape = [1], pads = [0, 0], dilations = [3]>", '<auto_pad = "SAME_UPPER">']
)
def test_channels_of_both_sides(style: str, bias: str, attributes: str) -> None:
    """Conv([u; i], [Wu Wi]) = Wu @ u + Wi @ i."""
    body = f"{BOTH} c = Conv {attributes} (x, w{bias}) y = Relu (c)"
    constants: dict[str, Any] = {"w": integers(16, 63, 1), **({"bias": integers(16, seed=1)} if bias else {})}
    result = rewrite_and_check(ranking(style, body, output="float[B, 16, 5] y", **SHAPES, **constants))
    terms = result.program.values["c"].terms
    assert terms is not None
    assert len(terms.signed) == 2 + bool(bias)
    assert "Conv" not in result.ops
    assert "multiply-adds become" in next(r.reason for r in result.remarks if r.op_type == "Conv")


@styles
def test_channels_of_images(style: str) -> None:
    body = "x = Concat <axis = 1> (user, item) c = Conv (x, w, bias) y = Relu (c)"
    shapes: dict[str, Any] = {"user": "float[60, 2, 3]", "item": "float[3, 2, 3]", "output": "float[B, 16, 2, 3] y"}
    result = rewrite_and_check(ranking(style, body, **shapes, w=integers(16, 63, 1, 1), bias=integers(16)))
    assert "Conv" not in result.ops


@styles
def test_channels_at_one_place(style: str) -> None:
    """What is left is a product of two dimensions."""
    body = "x = Concat <axis = 1> (user, item) c = Conv (x, w, bias) y = Relu (c)"
    shapes: dict[str, Any] = {"user": "float[60, 1]", "item": "float[3, 1]", "output": "float[B, 16, 1] y"}
    assert "Conv" not in rewrite_and_check(ranking(style, body, **shapes, w=integers(16, 63, 1), bias=integers(16))).ops


@styles
def test_places_of_both_sides(style: str) -> None:
    """The user's places of a sequence are convolved once."""
    body = "x = Concat <axis = 2> (user, item) c = Conv (x, w, bias) y = Relu (c)"
    shapes: dict[str, Any] = {"user": "float[4, 5]", "item": "float[4, 2]", "output": "float[B, 6, 7] y"}
    result = rewrite_and_check(ranking(style, body, **shapes, w=integers(6, 4, 1), bias=integers(6)))
    parts = result.program.values["c"].parts
    assert parts is not None
    assert len(parts.pieces) == 2


@styles
def test_a_difference_of_two_extents(style: str) -> None:
    """(q - k) is convolved term by term: q has no places, and k no candidates."""
    body = "s = Neg (user) d = Sub (item, s) c = Conv (d, w) y = ReduceMax <axes = [2], keepdims = 0> (c)"
    shapes: dict[str, Any] = {"user": "float[4, 5]", "item": "float[4, 1]", "output": "float[B, 6] y"}
    rewrite_and_check(ranking(style, body, **shapes, w=integers(6, 4, 1)))


@pytest.mark.parametrize("style", ["one", "requests"])
def test_places_of_any_number(style: str) -> None:
    body = "c = Conv (user, w, bias) m = ReduceMax <axes = [2], keepdims = 0> (c) y = Mul (m, item)"
    result = rewrite_and_check(ranking(style, body, user="float[4, L]", w=integers(3, 4, 1), bias=integers(3)))
    assert not result.refusals("Conv")
    assert "B" not in map(str, result.program.values["c"].array.tensor.known_shape)


@pytest.mark.parametrize(
    ("attributes", "shape", "output"),
    [
        ("<strides = [2]>", (6, 63, 1), "float[B, 6, 3] y"),
        ("<pads = [1, 0]>", (6, 63, 1), "float[B, 6, 6] y"),
        ("<group = 63>", (63, 1, 1), "float[B, 63, 5] y"),
        ("", (6, 63, 2), "float[B, 6, 4] y"),
    ],
)
def test_what_is_no_product_with_a_weight(attributes: str, shape: tuple[int, ...], output: str) -> None:
    body = f"{BOTH} y = Conv {attributes} (x, w)"
    result = rewrite_and_check(ranking("one", body, output=output, **SHAPES, w=integers(*shape)))
    assert result.ops.count("Conv") == 1


def test_a_computed_weight_of_one_place() -> None:
    """The weight is the user's, of whom there is one."""
    body = "k = Reshape (user_row, shape) x = Neg (item) y = Conv (x, k)"
    model = ranking("one", body, user="float[18]", item="float[3, 5]", output="float[B, 6, 5] y", shape=[6, 3, 1])
    assert rewrite_and_check(model).ops.count("Conv") == 1


def test_both_ways_to_a_sum_cost_less_than_the_node() -> None:
    """The node as the model has it counts for each way, though it is made once: rows of channels are faster here."""
    shapes: dict[str, Any] = {"user": "float[60, 3]", "item": "float[60, 3]", "output": "float[B, 64, 3] y"}
    result = rewrite_and_check(ranking("one", f"{BOTH} y = Conv (x, w)", **shapes, w=integers(64, 120, 1)))
    assert "y.item [B 3 64] = MatMul (item.transpose, w.item.part)" in result.graph


def test_the_candidates_alone() -> None:
    """Nothing is gained, and the node stays."""
    model = ranking("one", "x = Neg (item) y = Conv (x, w)", item="float[3, 5]", output="float[B, 6, 5] y",
                    w=integers(6, 3, 1))  # fmt: skip
    assert rewrite_and_check(model).graph == ["x [B 3 5] = Neg (item)", "y [B 6 5] = Conv (x, w)"]


def test_the_graph() -> None:
    """Each side is multiplied by its own columns of the kernel."""
    body = f"{BOTH} y = Conv (x, w, bias)"
    model = ranking("one", body, output="float[B, 16, 5] y", **SHAPES, w=integers(16, 63, 1), bias=integers(16))
    assert rewrite_and_check(model).graph == [
        "user_row.reshape [60 5] = Reshape (user_row)",
        "user_row.transpose [5 60] = Transpose (user_row.reshape)",
        "user_row.reshape.2 [1 5 60] = Reshape (user_row.transpose)",
        "y.user [1 5 16] = MatMul (user_row.reshape.2, w.user.part)",
        "item.transpose [B 5 3] = Transpose (item)",
        "y.item [B 5 16] = MatMul (item.transpose, w.item.part)",
        "y.user.2 [1 5 16] = Add (y.user, bias.part)",
        "y.item.2 [B 5 16] = Add (y.item, y.user.2)",
        "y [B 16 5] = Transpose (y.item.2)",
    ]
