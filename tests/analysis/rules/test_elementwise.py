"""f(x, y) on the union of the axes, part by part; sums stay terms; BatchNormalization on the parts' own constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.analysis.rules import RULES
from mari_onnx.analysis.rules.elementwise import elementwise
from tests.graphs import MANY, STYLES, Array, assert_same, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
UNARY = [
    "Abs",
    "Ceil",
    "Elu",
    "Floor",
    "HardSigmoid",
    "LeakyRelu",
    "Neg",
    "Relu",
    "Selu",
    "Sign",
    "Softsign",
    "Sqrt",
    "ThresholdedRelu",
]
BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean"]


@styles
@pytest.mark.parametrize("op_type", ["Relu", "Neg", "Abs"])
def test_what_lacks_the_candidates_is_computed_without_them(style: str, op_type: str) -> None:
    result = rewrite_and_check(ranking(style, f"a = {op_type} (user) y = Mul (a, item)", item="float[4]"))
    made = [op for op in result.ops if op not in ("Slice", "Gather")]
    assert made == [op_type, "Mul"]
    assert "Expand" not in result.ops


@styles
@pytest.mark.parametrize("op_type", BINARY)
def test_two_operands_on_the_union_of_their_axes(style: str, op_type: str) -> None:
    body = f"a = {op_type} (user, k) y = {op_type} (a, item)"
    result = rewrite_and_check(ranking(style, body, item="float[4]", k=integers(4)))
    assert result.ops.count(op_type) == 2
    assert "Expand" not in result.ops


@styles
def test_lower_ranks_and_scalars(style: str) -> None:
    body = "a = Mul (user, k) b = Clip (a, low, high) c = Where (mask, b, k) y = Mul (c, item)"
    constants: dict[str, Any] = {
        "k": np.float32(2),
        "low": np.float32(-2),
        "high": np.float32(3),
        "mask": integers(4) > 0,
    }
    result = rewrite_and_check(ranking(style, body, item="float[4]", **constants))
    assert "Expand" not in result.ops


def test_axes_in_another_order() -> None:
    """Rows of (2 4) beside the same rows as (4 2)."""
    body = """a = Reshape (item, apart) t = Transpose <perm = [0, 2, 1]> (a)
        b = Reshape (a, flat) r = Reshape (t, flat) m = Mul (b, r) y = Add (m, user)"""
    rewrite_and_check(ranking("one", body, user="float[8]", item="float[8]", apart=[-1, 2, 4], flat=[-1, 8]))


def test_an_optional_input_that_is_left_out() -> None:
    model = ranking("one", "a = Clip (user, low, high) y = Mul (a, item)", item="float[4]", high=np.float32(1))
    next(n for n in model.graph.node if n.op_type == "Clip").input[1] = ""
    result = rewrite_and_check(model)
    assert list(next(n for n in result.model.graph.node if n.op_type == "Clip").input) == ["user_row", "", "high"]


@pytest.mark.parametrize(
    "op_type", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Xor", "Not", "IsInf", "IsNaN"]
)
def test_element_types_of_what_is_compared(op_type: str) -> None:
    bodies = {
        "Xor": "u = Cast <to = 9> (user) i = Cast <to = 9> (item) y = Xor (u, i)",
        "IsInf": "r = Reciprocal (user) u = IsInf (r) i = Cast <to = 9> (item) y = And (u, i)",
        "IsNaN": "u = IsNaN (user) i = Cast <to = 9> (item) y = Or (u, i)",
        "And": "u = Cast <to = 9> (user) i = Cast <to = 9> (item) y = And (u, i)",
        "Not": "u = Cast <to = 9> (user) n = Not (u) i = Cast <to = 9> (item) y = Or (n, i)",
    }
    body = bodies.get(op_type, f"y = {op_type} (user, item)")
    result = rewrite_and_check(ranking("one", body, item="float[4]", output="bool[B, 4] y"))
    assert "Expand" not in result.ops


@styles
def test_long_sequences_of_the_user_against_items(style: str) -> None:
    """(B 1 D) * (L D): one product that really varies, nothing of the user repeated."""
    body = "q = Unsqueeze (item, one) k = Relu (user) y = Mul (q, k)"
    model = ranking(style, body, user="float[5, 4]", item="float[4]", output="float[B, 5, 4] y", one=[1])
    result = rewrite_and_check(model)
    assert result.ops.count("Relu") == result.ops.count("Mul") == 1
    assert "Expand" not in result.ops


# Parts


@styles
def test_part_by_part(style: str) -> None:
    """f([a b], c) = [f(a, c) f(b, c)], the constant cut as the parts are."""
    body = "x = Concat <axis = 1> (user, item) m = Mul (x, k) r = Relu (m) y = MatMul (r, w)"
    result = rewrite_and_check(ranking(style, body, k=integers(7), w=integers(7, 2)))
    assert result.ops.count("Mul") == result.ops.count("Relu") == 2
    assert "Concat" not in result.ops
    assert "Expand" not in result.ops


@styles
def test_parts_of_equal_axes_are_gathered(style: str) -> None:
    """[item user item user] takes two nodes, not four."""
    body = "x = Concat <axis = 1> (item, user, item, user) r = Relu (x) y = MatMul (r, w)"
    result = rewrite_and_check(ranking(style, body, w=integers(14, 2)))
    assert result.ops.count("Relu") == 2


@styles
def test_parts_that_are_cut_differently(style: str) -> None:
    """[user item] + [item user]: every interval varies, and is right."""
    body = "a = Concat <axis = 1> (user, item) b = Concat <axis = 1> (item, user) m = Mul (a, b) y = MatMul (m, w)"
    rewrite_and_check(ranking(style, body, w=integers(7, 2)))


@styles
def test_parts_meet_a_value_that_is_whole(style: str) -> None:
    body = """
        a = Concat <axis = 1> (user, item) p = MatMul (item, v) m = Mul (a, p) y = MatMul (m, w)
    """
    rewrite_and_check(ranking(style, body, v=integers(3, 7), w=integers(7, 2)))


# Terms


@styles
def test_parts_of_products_are_added_smallest_first(style: str) -> None:
    """(item @ v + user @ u) + k: the user's row and the bias are added before the items are touched."""
    body = "p = MatMul (item, v) q = MatMul (user, u) s = Add (p, q) y = Add (s, k)"
    result = rewrite_and_check(ranking(style, body, v=integers(3, 2), u=integers(4, 2), k=integers(2)))
    first, second = result.nodes("Add")
    assert "k.part" in first.input
    assert "p" in second.input


@styles
def test_other_sums_keep_their_order(style: str) -> None:
    """(item + user) + k: neither is a product, and the constant ends the sum."""
    result = rewrite_and_check(ranking(style, "s = Add (item, user) y = Add (s, k)", item="float[4]", k=integers(4)))
    first, second = result.nodes("Add")
    assert "item" in first.input
    assert list(second.input) == [first.output[0], "k"]


@styles
@pytest.mark.parametrize("body", ["y = Sub (user, item)", "n = Neg (item) y = Sub (n, user)", "y = Sub (item, user)"])
def test_signs(style: str, body: str) -> None:
    rewrite_and_check(ranking(style, body, item="float[4]"))


@styles
def test_signs_of_a_sum_that_is_taken_away(style: str) -> None:
    """user @ u - (item @ v - user @ w): the user's rows first, by the signs that they have in the end."""
    body = """
        p = MatMul (user, u) q = MatMul (item, v) r = MatMul (user, w) d = Sub (q, r) s = Sub (p, d) y = Relu (s)
    """
    weights: dict[str, Any] = {"u": integers(4, 2), "v": integers(3, 2), "w": integers(4, 2, seed=1)}
    result = rewrite_and_check(ranking(style, body, **weights))
    terms = result.program.values["s"].terms
    assert terms is not None
    assert sorted(sign for sign, _ in terms.signed) == [-1, 1]


@styles
def test_terms_that_differ_along_the_same_axes(style: str) -> None:
    """The parts of the user are one term; those of the item, which have all axes, stay apart and in order."""
    body = """
        x = Concat <axis = 1> (user, item) p = MatMul (x, v) q = MatMul (x, w)
        s = Add (p, q) t = Sub (s, p) y = Relu (t)
    """
    result = rewrite_and_check(ranking(style, body, v=integers(7, 2), w=integers(7, 2, seed=1)))
    terms = result.program.values["s"].terms
    assert terms is not None
    assert [sign for sign, _ in terms.signed] == [1, 1, 1]


@styles
@pytest.mark.parametrize("body", ["y = Add (user, item)", "s = Sub (user, k) y = Sub (item, s)"])
def test_a_sum_with_a_summand_of_all_axes_has_no_terms(style: str, body: str) -> None:
    """No product of it would have fewer rows: all of its summands have them but the user's."""
    result = rewrite_and_check(ranking(style, body, item="float[4]", k=integers(4)))
    assert result.program.values["y"].terms is None


def test_a_sum_of_which_every_term_is_taken_away() -> None:
    """-(item (B 1 k) + user (L k)) @ W is -(item @ W + user @ W), where that is less to multiply."""
    body = "h = Relu (item) i = Unsqueeze (h, one) u = Relu (user) s = Add (i, u) n = Neg (s) y = MatMul (n, w)"
    model = ranking(
        "one", body, user="float[50, 32]", item="float[32]", output="float[B, 50, 2] y", w=integers(32, 2), one=[1]
    )
    result = rewrite_and_check(model)
    assert result.ops.count("MatMul") + result.ops.count("Gemm") == 2


@styles
def test_terms_through_a_product(style: str) -> None:
    """(user - item) @ W, for all rows of the items."""
    result = rewrite_and_check(
        ranking(style, "d = Sub (user, item) y = MatMul (d, w)", item="float[4]", w=integers(4, 2))
    )
    assert "Expand" not in result.ops


def test_a_sum_of_more_terms_than_are_kept() -> None:
    products = [f"a{i} = Mul ({'item' if i % 2 else 'user'}, k{i})" for i in range(9)]
    sums = [f"s{i} = Add ({f's{i - 1}' if i > 1 else 'a0'}, a{i})" for i in range(1, 9)]
    constants: dict[str, Any] = {f"k{i}": integers(4, seed=i) for i in range(9)}
    body = f"{' '.join([*products, *sums])} y = MatMul (s8, w)"
    rewrite_and_check(ranking("one", body, item="float[4]", w=integers(4, 2), **constants))


@styles
def test_sum_of_several(style: str) -> None:
    result = rewrite_and_check(ranking(style, "y = Sum (user, item, k)", item="float[4]", k=integers(4)))
    assert "Expand" not in result.ops


# Sums that round on purpose, and sums of large numbers whose difference is small

FAR = np.float32(2**20)
"""Beside it float32 has eighths."""

ROUNDING = np.float32(1.5 * 2**23)
"""Added and taken away, it rounds to whole numbers."""


def eighths(*shape: int, seed: int = 0) -> Array:
    return integers(*shape, seed=seed) / 8


SUMMANDS = {
    "of a row": ("z = Mul (item, w)", (4,)),
    "of a sum": ("q = Add (user, item) z = Mul (q, w)", (4,)),
    "of parts": ("q = Concat <axis = 1> (user, item) z = Mul (q, w)", (8,)),
    "of a product": ("q = Concat <axis = 1> (user, item) z = MatMul (q, w)", (8, 8)),
    "of two products": ("a = MatMul (user, w) b = MatMul (item, w) z = Add (a, b)", (4, 8)),
    "of a product that is turned": ("q = Concat <axis = 1> (user, item) p = MatMul (q, w) z = Identity (p)", (8, 8)),
}
"""What is added to: ways in which z is made of the user and the item."""


@styles
@pytest.mark.parametrize("body", SUMMANDS.values(), ids=SUMMANDS.keys())
@pytest.mark.parametrize(
    "sums",
    [
        "up = Add (z, far) y = Sub (up, far)",
        "up = Add (far, z) back = Neg (far) y = Add (up, back)",
        "up = Sub (z, far) y = Add (up, far)",
        "up = Sum (z, far) y = Sub (up, far)",
        "up = Add (z, far) moved = Identity (up) y = Sub (moved, far)",
        "up = Add (z, far) within = Clip (up, low) y = Sub (within, far)",
        "up = Add (z, far) down = Sub (up, far) c = Neg (down) d = Sub (z, down) y = Add (c, d)",
    ],
)
def test_a_sum_that_rounds_on_purpose(style: str, body: tuple[str, tuple[int, ...]], sums: str) -> None:
    """(x + C) - C is x rounded to a whole number, wherever x comes from."""
    made, shape = body
    model = ranking(style, f"{made} {sums}", item="float[4]", w=eighths(*shape), far=ROUNDING, low=np.float32(0))
    assert_same(model, rewrite(model).model)


@styles
def test_a_bias_that_rounds_on_purpose(style: str) -> None:
    """Gemm(x, W, C) - C: the bias is not added to a part of the product."""
    body = "x = Concat <axis = 1> (user, item) up = Gemm (x, w, far) y = Sub (up, far)"
    model = ranking(style, body, user="float[64]", item="float[64]", w=eighths(128, 64), far=np.full(64, ROUNDING))
    result = rewrite(model)
    assert_same(model, result.model)
    assert result.ops.count("Gemm") == 2


@styles
@pytest.mark.parametrize("body", SUMMANDS.values(), ids=SUMMANDS.keys())
@pytest.mark.parametrize(
    "sums",
    [
        "d = Sub (large, mean) y = Add (d, shift)",
        "n = Neg (mean) d = Add (n, large) y = Add (shift, d)",
        "d = Sub (mean, large) y = Sub (shift, d)",
        "d = Sub (large, mean) s = Mul (d, shift) y = Sum (s, d, shift)",
    ],
)
def test_a_shift_of_what_is_near_its_mean(style: str, body: tuple[str, tuple[int, ...]], sums: str) -> None:
    """(x - mean) + shift keeps the digits of the shift that x + (shift - mean) loses."""
    made, shape = body
    made += " large = Add (z, far)"
    model = ranking(
        style, f"{made} {sums}", item="float[4]", w=eighths(*shape), far=FAR, mean=FAR + 1, shift=np.float32(0.01)
    )
    assert_same(model, rewrite(model).model)


@styles
def test_a_shift_that_is_the_users(style: str) -> None:
    """(item - mean) + shift, where the user has the mean and the shift."""
    body = """
        large = Add (item, far) m = Add (user, far) s = Mul (user, small)
        d = Sub (large, m) y = Add (d, s)
    """
    model = ranking(style, body, item="float[4]", far=FAR, small=np.float32(0.01))
    assert_same(model, rewrite(model).model)


@styles
@pytest.mark.parametrize("body", SUMMANDS.values(), ids=SUMMANDS.keys())
def test_log_softmax_written_out(style: str, body: tuple[str, tuple[int, ...]]) -> None:
    """(x - max) - log(sum) at x near 2**20: x - (max + log(sum)) would have the eighths of x alone."""
    made, shape = body
    made += """
        x = Add (z, far) m = ReduceMax <axes = [-1], keepdims = 1> (x)
        d = Sub (x, m) e = Exp (d) n = ReduceSum <keepdims = 1> (e, last) l = Log (n) y = Sub (d, l)
    """
    model = ranking(style, made, item="float[4]", w=eighths(*shape), far=FAR, last=[-1])
    assert_same(model, rewrite(model).model, rtol=1e-6)


@styles
def test_what_is_taken_again_before_another_sum(style: str) -> None:
    """z + ((x + c) - c): the sum behind does not take the constants apart either."""
    body = "up = Add (item, far) r = Sub (up, far) q = Mul (user, w) y = Sum (q, far, r)"
    model = ranking(style, body, item="float[4]", w=eighths(4), far=np.float32(2575))
    assert_same(model, rewrite(model).model)


def test_a_product_of_a_difference_of_features() -> None:
    """(item (B 1 k) - user (L k)) @ W, both as they are sent: they may be large and close to each other."""
    body = "i = Unsqueeze (item, one) d = Sub (i, user) y = MatMul (d, w)"
    model = ranking(
        "one", body, user="float[50, 32]", item="float[32]", output="float[B, 50, 2] y", w=integers(32, 2), one=[1]
    )
    result = rewrite_and_check(model)
    assert result.ops.count("MatMul") + result.ops.count("Gemm") == 1


@styles
def test_a_product_of_a_difference_with_all_axes(style: str) -> None:
    """(user - item) @ W stays one product: two would lose the digits of the difference and save nothing."""
    body = "u = Add (user, far) i = Add (item, far) d = Sub (u, i) y = MatMul (d, w)"
    model = ranking(style, body, item="float[4]", w=eighths(4, 2), far=FAR)
    result = rewrite(model)
    assert_same(model, result.model)
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 1


# PRelu


@styles
@pytest.mark.parametrize("slope", [(1, 5), (5,), (4, 1), (1, 1), (4, 5)])
def test_prelu(style: str, slope: tuple[int, ...]) -> None:
    body = "p = PRelu (user, slope) q = Unsqueeze (item, one) y = Mul (p, q)"
    model = ranking(
        style, body, user="float[4, 5]", item="float[5]", output="float[B, 4, 5] y", slope=integers(*slope), one=[1]
    )
    result = rewrite_and_check(model)
    assert "Expand" not in result.ops


def test_a_slope_is_never_broadcast_to() -> None:
    """PRelu(user, item): ONNX broadcasts the slope only, so the user's row is written out."""
    result = rewrite_and_check(ranking("one", "y = PRelu (user, item)", item="float[4]"))
    assert result.ops[-2:] == ["Expand", "PRelu"]


# BatchNormalization


def statistics(width: int) -> dict[str, Any]:
    """Constants with which BatchNormalization is exact on integers."""
    drawn = {name: integers(width, seed=seed) for seed, name in enumerate(("scale", "shift", "mean"))}
    return {**drawn, "var": np.ones(width, np.float32)}


NORM = "BatchNormalization <epsilon = 0.0>"


@styles
def test_batch_normalization_of_the_user(style: str) -> None:
    body = f"n = {NORM} (user, scale, shift, mean, var) y = Mul (n, item)"
    result = rewrite_and_check(ranking(style, body, item="float[4]", **statistics(4)))
    assert "Expand" not in result.ops


@styles
def test_batch_normalization_of_parts(style: str) -> None:
    body = f"x = Concat <axis = 1> (user, item) n = {NORM} (x, scale, shift, mean, var) y = MatMul (n, w)"
    result = rewrite_and_check(ranking(style, body, w=integers(7, 2), **statistics(7)))
    assert result.ops.count("BatchNormalization") == 2
    assert "Concat" not in result.ops


@styles
def test_batch_normalization_of_a_sequence(style: str) -> None:
    body = f"n = {NORM} (user, scale, shift, mean, var) q = Unsqueeze (item, one) y = Mul (n, q)"
    model = ranking(
        style, body, user="float[4, 5]", item="float[5]", output="float[B, 4, 5] y", one=[1], **statistics(4)
    )
    assert "Expand" not in rewrite_and_check(model).ops


@styles
def test_batch_normalization_of_channels_that_are_not_stored(style: str) -> None:
    """One number, repeated, is scaled otherwise in each channel."""
    body = f"e = Expand (user, wide) n = {NORM} (e, scale, shift, mean, var) y = Mul (n, item)"
    types: dict[str, Any] = {"user": "float[1, 5]", "item": "float[4, 5]", "output": "float[B, 4, 5] y"}
    result = rewrite_and_check(ranking(style, body, **types, wide=[1, 4, 1], **statistics(4)))
    assert "B" not in map(str, result.program.values["n"].array.tensor.known_shape)


def test_batch_normalization_in_training_mode_is_refused() -> None:
    body = "n, m, v = BatchNormalization <training_mode = 1> (user, scale, shift, mean, var) y = Mul (n, item)"
    result = rewrite_and_check(ranking("one", body, item="float[4]", **statistics(4)), rtol=1e-6)
    assert result.refusals("BatchNormalization") == ["BatchNormalization in training mode"]
    assert "Expand" in result.ops


# What does not hold


def test_extents_that_are_not_proven_equal() -> None:
    """One of the two may be 1 at run time."""
    model = parse("g (float[B, K] user, float[B, M] item) => (float[B, N] y) { r = Relu (user) y = Mul (r, item) }")
    result = rewrite_and_check(model)
    assert result.refusals("Mul") == ["extents K and M are not known to be equal"]
    assert result.ops == ["Relu", "Mul"]


def test_an_unknown_rank() -> None:
    body = "r = Reshape (item, index) p = Mul (user, r) s = ReduceSum <keepdims = 0> (p) y = Reshape (s, one)"
    model = parse(f"g (float[B, 4] user, float[B, 4] item, int64[M] index) => (float[1] y) {{ {body} }}", one=[1])
    assert rewrite(model).refusals("Mul") == ["the rank of an input of Mul is unknown"]


def test_the_table_of_operators() -> None:
    assert all(RULES[op] is elementwise for op in [*UNARY, *BINARY, "Where", "Clip", "PRelu", "Sum"])


@pytest.mark.parametrize("op_type", UNARY)
def test_each_operator_keeps_its_attributes(op_type: str) -> None:
    attributes: dict[str, Any] = {
        "LeakyRelu": "<alpha = 0.5>",
        "ThresholdedRelu": "<alpha = 2.0>",
        "HardSigmoid": "<alpha = 0.5>",
    }
    body = f"a = {op_type} {attributes.get(op_type, '')} (user) y = Mul (a, item)"
    result = rewrite_and_check(ranking("one", body, item="float[4]"), rtol=1e-6)
    assert "Expand" not in result.ops


# Cast and CastLike


@styles
@pytest.mark.parametrize(
    ("difference", "columns"),
    [
        ("d = Sub (q, user)", "x = Concat <axis = -1> (q, user, d, m)"),
        ("s = Sub (q, user) d = Cast <to = 1> (s)", "x = Concat <axis = -1> (q, user, d, m)"),
        ("s = Sub (q, user) d = CastLike (s, item)", "x = Concat <axis = -1> (q, user, d, m)"),
        ("d = Sub (q, user)", "c = Concat <axis = -1> (q, user, d, m) x = Cast <to = 1> (c)"),
    ],
)
def test_a_cast_to_the_type_that_is_there_is_no_node_and_hides_no_form(
    style: str, difference: str, columns: str
) -> None:
    """q, k, q - k and q * k are as many products with the weight as without the Cast.

    Of the item there are B rows of 4 columns, scaled by 5 steps of weights, with one more column in the first case.
    """
    rows = f"i = Unsqueeze (item, one) q = Expand (i, steps) {difference} m = Mul (q, user)"
    body = f"{rows} {columns} y = MatMul (x, w)"
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]", "output": "float[B, 5, 3] y"}
    model = ranking(style, body, **types, one=[1], steps=[1, 5, 1], w=integers(16, 3))
    result = rewrite_and_check(model)
    assert not {"Cast", "CastLike"} & set(result.ops)
    assert result.program.work.macs == MANY * 5 * 16 * 3
    steps_of_user, requests = 5 * (4 + 4) * 3, 4
    assert (
        result.plan.work.macs
        == {
            "one": steps_of_user + MANY * 5 * (4 + 1) * 3,
            "tiled": steps_of_user + MANY * 5 * 4 * 3,
            "requests": requests * steps_of_user + MANY * (4 + 4 + 5 * 4) * 3,
        }[style]
    )


def test_of_a_cast_sum_with_two_readers_no_product_is_made_twice() -> None:
    """The sum is read as a whole and, for the product, would be as terms: their products would be made beside it."""
    body = "x = Concat <axis = -1> (user, item) s = MatMul (x, w) {} r = Relu (c) p = MatMul (c, v) y = Add (r, p)"
    sizes: dict[str, Any] = {"user": "float[64]", "item": "float[32]", "w": integers(96, 8), "v": integers(8, 8)}
    plain, cast = (ranking("one", body.format(c), **sizes) for c in ("c = Identity (s)", "c = Cast <to = 1> (s)"))
    direct = ranking("one", body.format("").replace("(c", "(s"), **sizes)
    found = {rewrite_and_check(model).plan.work.macs for model in (plain, cast, direct)}
    assert found == {64 * 8 + MANY * 32 * 8 + MANY * 8 * 8}


def test_a_cast_to_another_type_stays() -> None:
    body = "h = Cast <to = 10> (user) f = Cast <to = 1> (h) y = Mul (f, item)"
    assert rewrite_and_check(ranking("one", body, item="float[4]")).ops.count("Cast") == 2


@styles
def test_of_what_is_cast_like_only_the_type_matters(style: str) -> None:
    body = "c = CastLike (user, item) one = CastLike (scalar, item) s = Add (c, one) y = Mul (s, item)"
    result = rewrite_and_check(ranking(style, body, user="int64[3]", scalar=np.array(2)))
    assert result.refusals("CastLike") == []
    assert result.nodes("CastLike") == []
    assert result.program.values["one"].dims == ()
    assert "B" not in map(str, result.program.values["s"].array.tensor.known_shape)


def test_a_cast_that_saturates_is_refused() -> None:
    """Cast says it in its own way, and not in every opset."""
    result = rewrite(ranking("one", "c = CastLike <saturate = 0> (user, item) y = Neg (c)", opset=19))
    assert result.refusals("CastLike") == ["CastLike of an input of unknown rank, or to a type that is not known"]


# As stored

HEADS = """
    q0 = MatMul (item, wq) q1 = Reshape (q0, heads) q = Unsqueeze (q1, two)
    k0 = MatMul (user, wk) k1 = Reshape (k0, heads_of_k) k = Transpose <perm = [0, 2, 3, 1]> (k1)
    s = MatMul (q, k)
"""
"""Scores (B h 1 L) of two heads, stored as (h B L)."""


def attention(style: str, body: str) -> onnx.ModelProto:
    sizes: dict[str, Any] = {"heads": [-1, 2, 3], "heads_of_k": [-1, 5, 2, 3], "two": [2], "n": [-1, 10]}
    weights: dict[str, Any] = {"wq": integers(3, 6), "wk": integers(4, 6, seed=1), "c": np.array(4, np.float32)}
    return ranking(style, HEADS + body, user="float[5, 4]", output="float[B, 10] y", **sizes, **weights)


@pytest.mark.parametrize("style", ["one", "tiled"])
@pytest.mark.parametrize(
    ("op_type", "body"),
    [
        ("Div", "d = Div (s, c) y = Reshape (d, n)"),
        ("Relu", "d = Relu (s) y = Reshape (d, n)"),
        ("Mul", "d = Mul (s, s) y = Reshape (d, n)"),
        ("Softmax", "d = Softmax <axis = 3> (s) y = Reshape (d, n)"),
        ("Sub", "d = ReduceMax <axes = [3]> (s) e = Sub (s, d) y = Reshape (e, n)"),
        (
            "ReduceMax",
            "d = ReduceMax <axes = [3], keepdims = 0> (s) e = Concat <axis = 2> (d, d, d, d, d) y = Reshape (e, n)",
        ),
    ],
)
def test_the_order_in_which_a_product_is_stored_is_kept(style: str, op_type: str, body: str) -> None:
    """Two heads of five steps: scores come as (h B L), and are turned to (B h L) after the last operator."""
    result = rewrite_and_check(attention(style, body), rtol=1e-6 if op_type == "Softmax" else 0.0)
    product = max(i for i, op in enumerate(result.ops) if op == "MatMul")
    assert "Transpose" not in result.ops[product : result.ops.index(op_type)]
    assert result.ops[product:].count("Transpose") == 1


@pytest.mark.parametrize("style", ["one", "tiled"])
def test_operands_in_two_orders(style: str) -> None:
    """As many in the order of the model as in another: the model's is taken."""
    model = attention(style, "f = Cast <to = 1> (other) a = Add (s, f) y = Reshape (a, n)")
    model.graph.input.append(onnx.helper.make_tensor_value_info("other", onnx.TensorProto.INT64, ["B", 2, 1, 5]))
    result = rewrite_and_check(model)
    assert result.ops[-3:] == ["Transpose", "Add", "Reshape"] or result.ops[-2:] == ["Add", "Reshape"]


# A product and its bias


@pytest.mark.parametrize("order", ["(p, b)", "(b, p)"])
@pytest.mark.parametrize("activation", ["", "r = Relu (a) "])
def test_a_bias_on_rows_is_the_c_of_a_gemm(order: str, activation: str) -> None:
    """(B L k) @ (k n) + (n) is one Gemm of (B L) rows, and an activation follows it there."""
    body = f"p = MatMul (item, w) a = Add {order} {activation} y = Mul ({'r' if activation else 'a'}, item)"
    weights: dict[str, Any] = {"w": integers(3, 3), "b": integers(3, seed=1)}
    model = ranking("tiled", body, item="float[5, 3]", output="float[B, 5, 3] y", **weights)
    result = rewrite_and_check(model)
    assert result.ops == ["Reshape", "Gemm", *(["Relu"] if activation else []), "Reshape", "Mul"]


def test_a_bias_that_does_not_pay_is_added() -> None:
    body = "p = MatMul (item, w) a = Add (p, b) y = Mul (a, item)"
    weights: dict[str, Any] = {"w": integers(3, 3), "b": integers(3, seed=1)}
    model = ranking("tiled", body, item="float[5, 3]", output="float[B, 5, 3] y", **weights)
    assert rewrite(model, batch=1).ops == ["MatMul", "Add", "Mul"]


def test_a_bias_of_integers_is_added() -> None:
    """Runtimes have a Gemm of floats alone."""
    body = "p = MatMul (item, w) a = Add (p, b) y = Mul (a, item)"
    weights: dict[str, Any] = {"w": integers(3, 3).astype(np.int32), "b": integers(3, seed=1).astype(np.int32)}
    types: dict[str, Any] = {"user": "int32[2]", "item": "int32[5, 3]", "output": "int32[B, 5, 3] y"}
    assert rewrite_and_check(ranking("tiled", body, **types, **weights)).ops == ["MatMul", "Add", "Mul"]


@pytest.mark.parametrize(
    ("nodes", "item"),
    [
        ("p = MatMul (item, w) a = Add (p, b) y = Mul (a, p)", "float[5, 3]"),  # the product is read twice
        ("p = MatMul (item, w) a = Add (p, long) y = Relu (a)", "float[5, 3]"),  # a bias that differs from row to row
        ("p = MatMul (item, item) a = Add (p, b) y = Relu (a)", "float[3, 3]"),  # no weight
    ],
)
def test_products_that_are_no_gemm_with_a_bias(nodes: str, item: str) -> None:
    weights: dict[str, Any] = {"w": integers(3, 3), "b": integers(3, seed=1), "long": integers(5, 3, seed=2)}
    model = ranking("tiled", nodes, item=item, output="float[B, M, 3] y", **weights)
    result = rewrite_and_check(model)
    assert result.nodes("Gemm") == [] and len(result.nodes("MatMul")) == 1


def test_the_graph() -> None:
    """(relu(user) * k + item) + k: the order of the sum is kept."""
    body = "r = Relu (user) m = Mul (r, k) s = Add (item, m) y = Add (s, k)"
    model = ranking("one", body, item="float[4]", output="float[B, 4] y", k=integers(4))
    result = rewrite_and_check(model)
    assert result.graph == [
        "r.user [1 4] = Relu (user_row)",
        "m.user [1 4] = Mul (r.user, k)",
        "s [B 4] = Add (item, m.user)",
        "y [B 4] = Add (s, k)",
    ]


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("computed", [False, True])
def test_bounds_of_clip_keep_their_shape(shape: tuple[int, ...], computed: bool) -> None:
    """Of a score [B 1], beside which a number of one dimension would become [1 1], which Clip does not take."""
    bounds: dict[str, Any] = {"low": np.full(shape, -1, np.float32), "high": np.full(shape, 1, np.float32)}
    body = "p = MatMul (item, v) c = Clip (p, low, high) x = Concat <axis = 1> (c, user) y = MatMul (x, w)"
    if computed:
        bounds = {"to": np.array(shape, np.int64)}
        body = f"m = ReduceMax <keepdims = 0> (user) high = Reshape (m, to) {body.replace('low', '')}"
    rewrite_and_check(ranking("one", body, v=integers(3, 1), w=integers(5, 2), **bounds))


@pytest.mark.parametrize("op_type", ["Max", "Mean", "Min", "Sum"])
def test_what_does_not_broadcast_before_opset_8(op_type: str) -> None:
    body = f"u = Neg (user) m = {op_type} (u, item) y = Add (m, item)"
    opset = 7
    result = rewrite_and_check(ranking("tiled", body, item="float[4]", opset=opset))
    assert any(r.reason == f"{op_type} does not broadcast in opset {opset}" for r in result.remarks)
