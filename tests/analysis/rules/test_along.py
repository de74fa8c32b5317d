"""Operators that work along some dimensions lack the axes that their input lacks in the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mari_onnx import optimize
from tests.graphs import IDS, STYLES, evaluate, feeds, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
REDUCTIONS = ["L1", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


@styles
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_of_the_user(style: str, reduction: str) -> None:
    body = f"r = Reduce{reduction} <keepdims = 0> (user, axes) y = Mul (r, item)"
    model = ranking(style, body, user="float[5, 4]", item="float[4]", opset=18, axes=[1])
    result = rewrite_and_check(model, rtol=1e-6 if reduction == "Mean" else 0)
    assert "Expand" not in result.ops


@pytest.mark.parametrize(
    ("opset", "reduction"),
    [(11, "Sum"), (13, "Sum"), (18, "Sum"), (11, "Max"), (13, "Max"), (17, "Max"), (18, "Max")],
)
@pytest.mark.parametrize("keep", [0, 1])
def test_axes_as_attributes_and_as_inputs(opset: int, reduction: str, keep: int) -> None:
    attribute = opset < (13 if reduction == "Sum" else 18)
    arguments = f"<axes = [-2], keepdims = {keep}> (user)" if attribute else f"<keepdims = {keep}> (user, axes)"
    constants: dict[str, Any] = {} if attribute else {"axes": [-2]}
    body = f"r = Reduce{reduction} {arguments} f = Flatten (r) y = Mul (f, item)"
    model = ranking("one", body, user="float[5, 4]", item="float[4]", opset=opset, **constants)
    result = rewrite_and_check(model)
    assert result.ops == [f"Reduce{reduction}", *(["Reshape"] if keep else []), "Mul"]


@styles
@pytest.mark.parametrize(
    ("arguments", "rank"),
    [
        ("<keepdims = 1> (m)", 3),
        ("<keepdims = 0> (m)", 0),
        ("<keepdims = 1, noop_with_empty_axes = 1> (m)", 3),
        ("<keepdims = 0> (m, zero_)", 2),
        ("<keepdims = 0> (m, both)", 1),
        ("<keepdims = 1> (m, none)", 3),
    ],
)
def test_which_axes(style: str, arguments: str, rank: int) -> None:
    """All without axes, none with the attribute that says so, and the candidates themselves."""
    body = f"q = Unsqueeze (item, one) m = Mul (user, q) y = ReduceSum {arguments}"
    output = f"float[{', '.join('xyz'[:rank])}] y" if rank else "float y"
    constants: dict[str, Any] = {"one": [1], "zero_": [0], "both": [0, 1], "none": np.array([], np.int64)}
    used: dict[str, Any] = {k: v for k, v in constants.items() if k == "one" or k in arguments}
    model = ranking(style, body, user="float[5, 4]", item="float[4]", output=output, **used)
    rewrite_and_check(model)


@styles
def test_reduced_over_fields_of_which_some_are_the_users(style: str) -> None:
    """FM's sums over [user fields, item fields]."""
    body = """
        i = Unsqueeze (item, one) x = Concat <axis = 1> (user, i) s = ReduceSum <keepdims = 0> (x, one)
        q = Mul (s, s) x2 = Mul (x, x) s2 = ReduceSum <keepdims = 0> (x2, one) y = Sub (q, s2)
    """
    rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[4]", one=[1]))


COMBINED = ("L1", "Max", "Min", "Sum", "SumSquare")


@styles
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "L2", "LogSumExp"])
@pytest.mark.parametrize("axes", [[1], [1, 2]])
def test_reductions_of_parts(style: str, reduction: str, axes: list[int]) -> None:
    """Sum [a b] = sum a + sum b; the largest of the parts' largest. What repeats counts as often as it does."""
    body = f"""u = Gather (table, user) i = Gather (other, item) e = Expand (u, wide) x = Concat <axis = 1> (e, i)
               r = Reduce{reduction} <keepdims = 0> (x, axes) y = Neg (r)"""
    types: dict[str, Any] = {
        "user": "int64[2]",
        "item": "int64[3]",
        "output": "float[B, N] y" if axes == [1] else "float[B] y",
    }
    tables: dict[str, Any] = {"table": integers(IDS, 1), "other": integers(IDS, 4)}
    model = ranking(style, body, **types, **tables, opset=18, axes=axes, wide=[1, 2, 4])
    result = rewrite_and_check(model, rtol=0 if reduction in COMBINED else 1e-5)
    assert result.ops.count(f"Reduce{reduction}") == (2 if reduction in COMBINED else 1)


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("source", ["x", "l"])
def test_the_largest_of_what_may_be_nan(op_type: str, source: str) -> None:
    """ReduceMax of onnxruntime loses a NaN in most places of the whole; Max of the parts' largest would keep it."""
    body = f"x = Concat <axis = 1> (user, item) l = Log (x) m = {op_type} <axes = [1]> ({source}) y = Neg (m)"
    model = ranking("one", body, user="float[9]", item="float[8]")
    result = rewrite_and_check(model)
    assert result.ops.count(op_type) == 1
    for place in range(8):
        given = feeds(model, 3)
        given["item"][1, place] = np.nan
        given["user_row"][0, place] = np.nan if place % 3 == 2 else 1
        np.testing.assert_array_equal(evaluate(result.model, given)[0], evaluate(model, given)[0])


# Softmax


@styles
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [None, 1, 2, -1])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax(style: str, opset: int, axis: int | None, op_type: str) -> None:
    """Before opset 13 along an axis and all after it, by default from 1; then along one, by default the last."""
    attribute = "" if axis is None else f"<axis = {axis}>"
    unsqueeze = "q = Unsqueeze <axes = [1]> (item)" if opset == 11 else "q = Unsqueeze (item, one)"
    body = f"s = {op_type} {attribute} (user) {unsqueeze} y = Mul (s, q)"
    constants: dict[str, Any] = {} if opset == 11 else {"one": [1]}
    model = ranking(
        style, body, user="float[5, 4]", item="float[4]", output="float[B, 5, 4] y", opset=opset, **constants
    )
    result = rewrite_and_check(model, rtol=1e-5)
    assert "Expand" not in result.ops


@styles
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("attribute", ["", "<axis = 1>"])
@pytest.mark.parametrize("stored", ["5, 1", "1, 4"])
def test_softmax_along_what_is_not_stored(style: str, opset: int, attribute: str, stored: str) -> None:
    """What repeats along an axis that is summed over counts as often as it repeats."""
    body = f"e = Expand (user, shape) s = Softmax {attribute} (e) y = Mul (s, item)"
    types: dict[str, Any] = {"user": f"float[{stored}]", "item": "float[5, 4]", "output": "float[B, 5, 4] y"}
    model = ranking(style, body, **types, opset=opset, shape=[1, 5, 4])
    rewrite_and_check(model, rtol=1e-5)


@styles
@pytest.mark.parametrize(("opset", "axis"), [(11, 0), (13, 0)])
def test_softmax_along_the_candidates(style: str, opset: int, axis: int) -> None:
    """Every candidate is in every sum: the input is written out."""
    model = ranking(
        style, f"r = Relu (user) s = Softmax <axis = {axis}> (r) y = Mul (s, item)", item="float[4]", opset=opset
    )
    rewrite_and_check(model, rtol=1e-5)


# The others


@styles
@pytest.mark.parametrize(
    ("node", "constants", "opset"),
    [
        ("CumSum (user, axis)", {"axis": 1}, 17),
        ("CumSum <exclusive = 1, reverse = 1> (user, axis)", {"axis": -1}, 17),
        ("LayerNormalization (user, scale)", {"scale": integers(4)}, 17),
        ("LayerNormalization <axis = 1> (user, scale, shift)", {"scale": integers(5, 4), "shift": integers(5, 4)}, 17),
        ("RMSNormalization (user, scale)", {"scale": integers(4)}, 23),
        ("LpNormalization <axis = 1, p = 1> (user)", {}, 17),
    ],
)
def test_of_the_users_shape(style: str, node: str, constants: dict[str, Any], opset: int) -> None:
    body = f"s = {node} q = Unsqueeze (item, one) y = Mul (s, q)"
    model = ranking(
        style, body, user="float[5, 4]", item="float[4]", output="float[B, 5, 4] y", opset=opset, one=[1], **constants
    )
    result = rewrite_and_check(model, rtol=1e-5)
    assert "Expand" not in result.ops


SCALE = {"scale": integers(4)}
ALONG: list[tuple[str, set[int], dict[str, Any]]] = [
    ("Softmax <axis = 1> (x)", {1}, {}),
    ("LogSoftmax <axis = 2> (x)", {2}, {}),
    ("Hardmax <axis = 1> (x)", {1}, {}),
    ("CumSum <exclusive = 1> (x, axis)", {1}, {"axis": 1}),
    ("CumSum <reverse = 1> (x, axis)", {2}, {"axis": 2}),
    ("LayerNormalization (x, scale)", {2}, SCALE),
    ("LayerNormalization <axis = 1> (x, scale)", {1, 2}, SCALE),
    ("RMSNormalization <axis = 1> (x, scale)", {1, 2}, SCALE),
    ("LpNormalization <axis = 1, p = 1> (x)", {1}, {}),
    ("LpNormalization <axis = 2, p = 1> (x)", {2}, {}),
    ("ArgMax <axis = 1, keepdims = 1> (x)", {1}, {}),
    ("ArgMin <axis = 2, keepdims = 1, select_last_index = 1> (x)", {2}, {}),
]
"""Nodes, the dimensions along which they work, and their constants."""


@styles
@pytest.mark.parametrize(("node", "own", "constants"), ALONG)
@pytest.mark.parametrize("stored", ["5, 1", "1, 4"])
def test_along_what_is_not_stored(style: str, node: str, own: set[int], constants: dict[str, Any], stored: str) -> None:
    """It is written out there, and only there: once for the request."""
    body = f"x = Expand (user, shape) s = {node} f = Cast <to = 1> (s) y = Mul (f, item)"
    types: dict[str, Any] = {"user": f"float[{stored}]", "item": "float[5, 4]", "output": "float[B, 5, 4] y"}
    result = rewrite_and_check(ranking(style, body, **types, opset=23, shape=[1, 5, 4], **constants), rtol=1e-5)
    shape = result.program.values["s"].array.tensor.known_shape
    assert "B" not in map(str, shape)
    assert (5 in shape, 4 in shape) == (stored == "5, 1" or 1 in own, stored == "1, 4" or 2 in own) or "Arg" in node


@styles
@pytest.mark.parametrize(("node", "own", "constants"), ALONG)
@pytest.mark.parametrize("axis", [1, 2])
def test_of_parts(style: str, node: str, own: set[int], constants: dict[str, Any], axis: int) -> None:
    """f([a; b]) = [f(a); f(b)], along any axis but that of the parts: there, each of them is in what all become."""
    shapes = ("2, 4", "3, 4") if axis == 1 else ("5, 2", "5, 2")
    body = f"x = Concat <axis = {axis}> (user, item) s = {node} f = Cast <to = 1> (s) y = Relu (f)"
    types: dict[str, Any] = {"user": f"float[{shapes[0]}]", "item": f"float[{shapes[1]}]", "output": "float[B, N, M] y"}
    result = rewrite_and_check(ranking(style, body, **types, opset=23, **constants), rtol=1e-5)
    assert (result.program.values["s"].parts is None) == (axis in own)


@styles
@pytest.mark.parametrize("stored", ["5, 1", "1, 4"])
@pytest.mark.parametrize("axis", [1, 2])
def test_the_largest_of_what_is_not_stored(style: str, stored: str, axis: int) -> None:
    """As many of one number as are asked for, and where they are."""
    body = f"""x = Expand (user, shape) v, i = TopK <axis = {axis}> (x, k) f = Cast <to = 1> (i) s = Add (v, f)
               y = Mul (s, item)"""
    output = "2, 4" if axis == 1 else "5, 2"
    types: dict[str, Any] = {"user": f"float[{stored}]", "item": f"float[{output}]", "output": f"float[B, {output}] y"}
    rewrite_and_check(ranking(style, body, **types, shape=[1, 5, 4], k=[2]))


@styles
@pytest.mark.parametrize("attributes", ["", "<axis = 1, keepdims = 0>", "<axis = -1, select_last_index = 1>"])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_arg_extreme(style: str, op_type: str, attributes: str) -> None:
    body = f"a = {op_type} {attributes} (user) f = Cast <to = 1> (a) m = ReduceMax <keepdims = 0> (f) y = Add (m, item)"
    rewrite_and_check(ranking(style, body, user="float[5, 4]"))


def test_arg_max_of_the_user_is_found_once() -> None:
    body = "a = ArgMax <axis = 1, keepdims = 0> (user) f = Cast <to = 1> (a) y = Mul (f, item)"
    result = rewrite_and_check(ranking("one", body, user="float[5, 3]"))
    assert result.ops == ["ArgMax", "Cast", "Mul"]


@styles
def test_top_k(style: str) -> None:
    body = (
        "v, i = TopK <axis = 1> (user, k) f = Cast <to = 1> (i) s = Add (v, f) q = Unsqueeze (item, one) y = Mul (s, q)"
    )
    model = ranking(style, body, user="float[5, 4]", item="float[4]", output="float[B, 2, 4] y", k=[2], one=[1])
    assert "Expand" not in rewrite_and_check(model).ops


@pytest.mark.parametrize(("opset", "k"), [(9, "<k = 2> (r)"), (11, "(r, two)")])
def test_how_many_as_an_attribute_and_as_an_input(opset: int, k: str) -> None:
    body = f"r = Relu (user) v, i = TopK {k} y = Mul (v, item)"
    constants: dict[str, Any] = {"two": [2]} if opset == 11 else {}
    result = rewrite_and_check(ranking("one", body, item="float[2]", opset=opset, **constants))
    assert result.ops == ["Relu", "TopK", "Mul"]


@pytest.mark.parametrize("op_type", ["TopK", "CumSum", "ReduceSum"])
def test_what_is_computed_is_refused(op_type: str) -> None:
    nodes = {
        "TopK": ("v, i = TopK (u, k) m = ReduceMax <keepdims = 0> (v)", "int64[1] k", "the k"),
        "CumSum": ("v = CumSum (u, k) m = ReduceMax <keepdims = 0> (v)", "int64 k", "axis"),
        "ReduceSum": ("v = ReduceSum (u, k) m = ReduceMax <keepdims = 0> (v)", "int64[1] k", "axes"),
    }
    body, given, name = nodes[op_type]
    text = f"g (float[1, 4] user, {given}, float[B, 4] item) => (float[1] y)"
    expand = "s = Shape (item) u = Expand (user, s)"
    result = rewrite(parse(f"{text} {{ {expand} {body} y = Reshape (m, one) }}", one=[1]))
    assert result.refusals(op_type) == [f"{name} of {op_type} is computed by the model"]


def test_a_mean_that_is_used_is_refused() -> None:
    body = "s, m = LayerNormalization (user, scale) a = Add (s, m) y = Mul (a, item)"
    result = rewrite_and_check(ranking("one", body, item="float[4]", scale=integers(4)), rtol=1e-5)
    assert result.refusals("LayerNormalization") == ["the mean is used, a further output"]


def test_the_largest_of_rows_that_an_index_selects() -> None:
    """All of them, in another order: rows of several requests are not the same row."""
    model = parse(
        """g (float[R] user, float[B] item, int64[B] index) => (float[B] y) {
            x = Gather (user, index)
            k = Shape (x)
            top, at = TopK <axis = 0> (x, k)
            y = Add (top, item)
        }"""
    )
    result = rewrite_and_check(model)
    assert "TopK" in result.ops


@pytest.mark.parametrize("opset", [11, 12])
def test_the_largest_integer_of_parts(opset: int) -> None:
    """Max takes integers from opset 12 on."""
    model = parse(
        """g (int64[1, 3] user, int64[B, 2] item) => (int64[B, 1] y) {
            shape = Shape (item)
            rows = Gather <axis = 0> (shape, zero)
            target = Concat <axis = 0> (rows, three)
            u = Expand (user, target)
            c = Concat <axis = 1> (u, item)
            y = ReduceMax <axes = [1]> (c)
        }""",
        opset=opset,
        zero=[0],
        three=[3],
    )
    result = rewrite_and_check(model)
    assert ("Max" in result.ops) == (opset >= 12)


# Sums of products


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("keep", [0, 1])
def test_a_weighted_sum_of_steps_is_a_product(style: str, keep: int) -> None:
    """Sum over L of (B L 1) * (L D): the candidates' weights are the rows of one product with the user's steps.

    The model has a layer of the user's, whose multiply-adds are saved: a plan may not have more than the original.
    """
    body = f"""w = Unsqueeze (item, two) h = Einsum <equation = "bld,de->ble"> (user, k) p = Mul (w, h)
        y = ReduceSum <keepdims = {keep}> (p, one_)"""
    shape = "[B, 1, 4]" if keep else "[B, 4]"
    sizes: dict[str, Any] = {"two": [2], "one_": [1], "k": integers(4, 4)}
    result = rewrite_and_check(
        ranking(style, body, user="float[5, 4]", item="float[5]", output=f"float{shape} y", **sizes)
    )
    assert ("MatMul" in result.ops, "Mul" in result.ops) == ((False, True) if style == "requests" else (True, False))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("axes", [[2], [1, 2]])
def test_a_sum_over_what_both_sides_have(style: str, axes: list[int]) -> None:
    body = "p = Mul (user, item) y = ReduceSum <keepdims = 0> (p, axes)"
    output = "float[B, 5] y" if axes == [2] else "float[B] y"
    result = rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[5, 4]", output=output, axes=axes))
    assert "Expand" not in result.ops


@pytest.mark.parametrize("reduction", ["Max", "Mean", "SumSquare"])
def test_other_reductions_are_no_products(reduction: str) -> None:
    body = f"w = Unsqueeze (item, two) p = Mul (w, user) y = Reduce{reduction} <keepdims = 0> (p, one_)"
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[5]", "output": "float[B, 4] y"}
    model = ranking("one", body, **types, opset=18, two=[2], one_=[1])
    assert "MatMul" not in rewrite_and_check(model, rtol=1e-6).ops


def test_a_sum_that_one_side_lacks_is_left() -> None:
    """Sum over L of (B 1 D) * (L D) is no product of matrices; nor is a mean."""
    body = "i = Unsqueeze (item, one_) p = Mul (i, user) y = ReduceSum <keepdims = 0> (p, one_)"
    result = rewrite_and_check(
        ranking("one", body, user="float[5, 4]", item="float[4]", output="float[B, 4] y", one_=[1])
    )
    assert "MatMul" not in result.ops


def test_the_graph() -> None:
    """Softmax and a sum of the user's are theirs; a sum over columns of both is two sums."""
    body = """s = Softmax <axis = -1> (user) r = ReduceSum <keepdims = 0> (s, one) x = Concat <axis = 1> (r, item)
              y = ReduceSum <keepdims = 1> (x, one)"""
    model = ranking("one", body, user="float[5, 4]", item="float[4]", output="float[B, 1] y", one=[1])
    result = rewrite_and_check(model, rtol=1e-6)
    assert result.graph == [
        "s.user [1 5 4] = Softmax (user_row)",
        "r.user [1 4] = ReduceSum (s.user, one)",
        "y.user [1 1] = ReduceSum (r.user, one)",
        "y.item [B 1] = ReduceSum (item, one)",
        "y [B 1] = Add (y.item, y.user)",
    ]


def test_a_sum_of_products_is_no_matrix_product_where_the_model_has_no_other() -> None:
    """MatMul has multiply-adds, and Mul and ReduceSum have none; a plan with more than the original is refused."""
    body = "f = Softplus (user) m = Mul (f, item) y = ReduceSum <keepdims = 0> (m, axes)"
    model = ranking("one", body, user="float[512]", item="float[512]", output="float[B] y", axes=[1])
    result = optimize(model, verify=False)
    assert result.changed
    assert [node.op_type for node in result.model.graph.node] == ["Softplus", "Mul", "ReduceSum"]


@styles
@pytest.mark.parametrize("body", ["p = Mul (user, item)", "p = Concat <axis = 1> (user, item)", "p = Relu (user)"])
def test_an_axis_that_is_named_twice(style: str, body: str) -> None:
    """onnxruntime reduces it once."""
    body = f"{body} r = ReduceSum <keepdims = 0> (p, twice) i = ReduceSum <keepdims = 0> (item, twice) y = Add (r, i)"
    rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[5, 4]", twice=[1, -2]))
