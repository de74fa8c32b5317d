"""What no rule may leave behind is found, and the message says where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from mari_onnx.analysis import interpret
from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.ir import validate
from mari_onnx.ir.axes import Axis
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import symbol
from mari_onnx.ir.forms import Array, Factors, IndexMap, Parts, Terms, Value
from mari_onnx.ir.validate import InvalidError, check_expressions, check_names, check_values
from tests.graphs import ranking, rewrite

B, D, R = Axis(symbol("B"), "B"), Axis(3, "D"), Axis(symbol("R"), "R")
one, two = Axis(1, "one"), Axis(2, "two")


def array(b: Builder, *axes: Axis, name: str = "x") -> Array:
    return Array(b.input(name, tuple(a.extent for a in axes), 1), tuple((a,) for a in axes))


def value(array: Array, *axes: Axis) -> Value:
    return Value("v", tuple((a,) for a in axes), 1, array)


def test_what_holds_is_not_complained_of(b: Builder) -> None:
    whole, index = array(b, B, D), b.input("index", (symbol("B"),), 7)
    rows = Array(b.input("rows", (symbol("R"), 3), 1), ((B,), (D,)), ((B, IndexMap(index, symbol("R"))),))
    parts = Parts(D, ((one, array(b, one, name="u")), (two, array(b, B, two, name="i"))), apart=(None, None))
    terms, factors = Terms(((1, whole), (-1, rows))), Factors(whole, rows)
    v = replace(value(whole, B, D), parts=parts, terms=terms, factors=factors, written=rows)
    check_values("Add `v`", [v, v.with_dims(((D,), (B,))), Value("unknown", None, 1, whole)])
    check_expressions("planning", [b.transpose(whole.tensor, (1, 0))])


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (lambda b: value(array(b, B, B), B, B), "an axis stands twice in [B B]"),
        (lambda b: value(array(b, B, R), B, D), "[R] are stored and are no axes of the value"),
        (lambda b: value(replace(array(b, B), layout=((D,),)), B, D), "a layout of shape (3,)"),
        (lambda b: value(replace(array(b, B, B), layout=((B,), (B,))), B), "an axis is stored twice"),
        (lambda b: replace(value(array(b, B), B), dtype=7), "a tensor of type 1, not 7"),
        (
            lambda b: value(replace(array(b, D), via=((B, IndexMap(None, 1)),)), B, D),
            "an index map for an axis that is not stored",
        ),
        (
            lambda b: value(replace(array(b, R), layout=((B,),), via=((B, IndexMap(None, symbol("R"))),)), B),
            "row 0 of R",
        ),
        (
            lambda b: value(
                replace(array(b, R), layout=((B,),), via=((B, IndexMap(array(b, R).tensor, R.extent)),)), B
            ),
            "(R,) indices along B",
        ),
        (
            lambda b: value(Array(array(b, R).tensor, ((B,),), ((B, IndexMap(None, R.extent, item_rows=True)),)), B),
            "not every item has its row of B",
        ),
        (lambda b: value(array(b, B), B).changed(content=np.zeros(2)), "content of shape (2,), not (B,)"),
        (lambda b: value(array(b, B), B).changed(terms=Terms(((2, array(b, B)),))), "a sign of 2"),
        (lambda b: value(array(b, B), B).changed(terms=Terms(())), "a sum of nothing"),
        (
            lambda b: value(array(b, B), B).changed(factors=Factors(array(b, B), array(b, R, name="y"))),
            "its factors [R] in `y` (R,): [R] are stored",
        ),
        (lambda b: value(array(b, B), B).changed(parts=Parts(D, ())), "parts along D, which is no axis of the value"),
        (
            lambda b: value(array(b, D), D).changed(parts=Parts(D, ((two, array(b, two, name="y")),))),
            "parts of 2 in all along an axis of 3",
        ),
        (
            lambda b: value(array(b, D), D).changed(parts=Parts(D, ((D, array(b, D)),))),
            "a part without an axis of its own",
        ),
        (
            lambda b: value(array(b, D), D).changed(
                parts=Parts(D, ((one, array(b, one, name="u")), (two, array(b, D))), apart=())
            ),
            "its parts [D] in `x` (3,): [D] are stored",
        ),
    ],
)
def test_what_does_not_hold_is_named(b: Builder, broken: object, problem: str) -> None:
    assert callable(broken)
    with pytest.raises(InvalidError) as raised:
        check_values("Add `sum`", [broken(b)])
    assert "Add `sum`, value `v`" in str(raised.value)
    assert problem in str(raised.value)


def test_a_node_that_needs_itself(b: Builder) -> None:
    """As a search that puts one tensor in the place of another could leave it."""
    first = b.make("Relu", [b.input("x", (2,), 1)], (2,))
    last = b.make("Neg", [first], (2,))
    first.node.inputs = (last,)
    with pytest.raises(InvalidError, match=r"after planning, `Relu` \(2,\) needs itself"):
        check_expressions("planning", [last])


def test_a_move_to_another_shape(b: Builder) -> None:
    x = b.input("x", (2, 3), 1)
    wrong = [
        b.make("Transpose", [x], (2, 3), perm=(1, 0)),
        b.make("Concat", [x, x], (2, 3), axis=0),
        b.make("Gather", [x, b.constant(np.array([0]))], (2, 3), axis=1),
        b.make("Reshape", [x], (7,), shape=(7,)),
    ]
    for t in wrong:
        with pytest.raises(InvalidError, match=f"after planning, `{t.op_type}`"):
            check_expressions("planning", [t])


def test_two_tensors_of_one_name(b: Builder) -> None:
    x, y = b.input("x", (2,), 1), b.input("y", (2,), 1)
    check_names({x: "x", y: "y", b.input("left out", (2,), 1): "", b.input("left out too", (2,), 1): ""})
    with pytest.raises(InvalidError, match="`x`: the name of both `x`"):
        check_names({x: "x", y: "x"})


def test_an_expression_that_is_there_with_another_shape(b: Builder) -> None:
    x = b.input("x", (2, 3), 1)
    b.make("Relu", [x], (2, 3))
    with pytest.raises(InvalidError, match=r"`Relu` \(2, 3\) is there already: it is asked for as \(3, 2\)"):
        b.make("Relu", [x], (3, 2))
    with pytest.raises(InvalidError, match="it has type 1, not 7"):
        b.make("Relu", [x], (2, 3), 7)


def test_a_new_node_is_asked_for_with_the_same_symbols(b: Builder) -> None:
    x = b.input("x", (symbol("B"), 3), 1)
    b.make("Relu", [x], (symbol("B"), 3))
    with pytest.raises(InvalidError, match=r"it is asked for as \(user.0, 3\)"):
        b.make("Relu", [x], (symbol("user.0"), 3))


def test_two_equal_nodes_of_the_original_may_name_an_unknown_extent_each(b: Builder) -> None:
    x = b.input("x", (4,), 1)
    first, second = (helper.make_node("NonZero", ["x"], [name]) for name in "ab")
    (made,) = b.again(first, [x], [((1, symbol("a.1")), 7)])
    assert b.again(second, [x], [((1, symbol("b.1")), 7)]) == [made]
    with pytest.raises(InvalidError, match=r"it is asked for as \(2, b.1\)"):
        b.again(second, [x], [((2, symbol("b.1")), 7)])


def test_a_rule_may_ask_for_a_node_that_was_left_as_it_is(b: Builder) -> None:
    """Left alone, the MatMul has a symbol for an extent that nobody proved; a block of another product has its own."""
    x, w = b.input("x", (symbol("B"), 3), 1), b.input("w", (3, 2), 1)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    (made,) = b.again(node, [x, w], [((symbol("y.0"), 2), 1)])
    assert b.make("MatMul", [x, w], (symbol("B"), 2)) is made


def test_the_walk_checks_what_each_rule_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(op: Op, ctx: Context) -> Derived:
        return [Value(op.name, op.data.dims, op.data.dtype, Array(op.data.array.tensor, ()))]

    monkeypatch.setattr(interpret, "rule_for", lambda proto: broken)
    with pytest.raises(InvalidError, match=r"Expand `user`, value `user`, its array .*: a layout of shape \(\)"):
        rewrite(ranking("one", "y = Relu (item)"))


def test_nothing_is_checked_unless_it_is_wanted(b: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "ENABLED", False)
    check_values("Relu `y`", [value(array(b, B, B), B, B)])
    x = b.input("x", (2, 3), 1)
    check_expressions("planning", [b.make("Reshape", [x], (7,), shape=(7,))])
    check_names({x: "x", b.input("y", (2,), 1): "x"})
    assert b.make("Relu", [x], (2, 3)) is b.make("Relu", [x], (3, 2))
