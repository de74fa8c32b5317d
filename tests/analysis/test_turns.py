"""Loops over bags of ids, as both exporters of PyTorch write EmbeddingBag, become nodes on all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.ir.extents import symbol
from tests.graphs import STYLES, Rewritten, integers, ranking, rewrite_and_check

ALL_STYLES = pytest.mark.parametrize("style", STYLES)

TABLE = integers(4, 6, seed=5)
"""A table of four rows, which are the ids that feeds have."""

OFFSETS = """
    s = Shape (ids) n = ReduceProd <keepdims = 0> (s) l = Gather <axis = 0> (s, at1) offsets = Range (at0, n, l)
    flat = Reshape (ids, minus) size = Shape (flat)
"""

NUMBERS: dict[str, Any] = {
    "at0": np.int64(0), "at1": np.int64(1), "at2": np.int64(2), "minus": [-1], "zero_": [0], "one_": [1],
    "far": [2**62], "yes": np.bool_(True), "table": TABLE, "cells": np.int64(4), "none_": np.zeros(0, np.int64),
}  # fmt: skip

ENDS = "all = Concat <axis = 0> (offsets, size) ends = Slice (all, one_, far, zero_, one_)"
LOOKUP = "bag = Slice (flat, a, b, zero_) e = Gather <axis = 0> (table, bag)"
TURN = "start = Gather (all, i) stop = Gather (ends, i) a = Unsqueeze (start, zero_) b = Unsqueeze (stop, zero_)"


def collected(
    style: str, reduction: str = "r = ReduceSum <keepdims = 0> (e, zero_)", **changes: Any
) -> onnx.ModelProto:
    """The loop of TorchScript, which gives a row in each turn. `changes` are of `turn`, `rows`, `offsets`, `ids`."""
    turn = changes.pop("turn", TURN)
    rows = changes.pop("rows", LOOKUP)
    ends = changes.pop("ends", ENDS)
    body = f"""
        ids = Abs ({changes.pop("whose", "user")}) {OFFSETS} {ends}
        shape = Shape (ends) trips = Gather <axis = 0> (shape, at0)
        bags = Loop <body = g (int64 i, bool c) => (bool d, float[6] r)
            {{ d = Cast <to = 9> (yes) {turn} {rows} {reduction} }}> (trips, yes)
        x = Concat <axis = 1> (bags, item) y = MatMul (x, w)
    """
    return ranking(style, body, **_types(changes))


LAST = """
    before = Sub (n_bags, at1) is_last = Equal (t, before)
    r = If (is_last) <then_branch = h () => (float[1, 6] p) {
            q = ReduceSum (e, zero_) end_ = Shape (flat) k = Sub (end_, a) z0 = Cast <to = 7> (zero_)
            more = Greater (k, z0)
            p = If (more) <then_branch = h1 () => (float[1, 6] p1) { f = Cast <to = 1> (k) p1 = Div (q, f) },
                else_branch = h2 () => (float[1, 6] p2) { p2 = Identity (q) }> },
        else_branch = k () => (float[1, 6] m) { m = ReduceMean (e, zero_) }>
"""

BAG = "i0 = Reshape (t, minus) i1 = Add (i0, at1) a = Slice (all, i0, i1) i2 = Add (i0, at2) b = Slice (all, i1, i2)"


def sequenced(style: str, reduction: str = LAST, **changes: Any) -> onnx.ModelProto:
    """The loop of the dynamo exporter, which adds a row to a sequence in each turn, and counts its turns itself."""
    turn = changes.pop("turn", BAG)
    rows = changes.pop("rows", "e = Slice (looked, a, b)")
    counter = changes.pop("counter", "t1 = Add (t, at1)")
    body = f"""
        ids = Abs ({changes.pop("whose", "user")}) {OFFSETS} all = Concat <axis = 0> (offsets, size)
        n_bags = Size (offsets) looked = Gather (table, flat) empty = SequenceEmpty () goes = Less (at0, n_bags)
        last, listed = Loop <body = g (int64 i, bool c, int64 t, seq(float[1, 6]) v)
            => (bool d, int64 t1, seq(float[1, 6]) v1)
            {{ {turn} {rows} {reduction} v1 = SequenceInsert (v, r) {counter} d = Less (t1, n_bags)
            }}> (, goes, at0, empty)
        bags = ConcatFromSequence <axis = 0> (listed) {changes.pop("after", "")}
        x = Concat <axis = 1> (bags, item) y = MatMul (x, w)
    """
    return ranking(style, body, **_types(changes))


PADDED = """
    some = Less (a, b) none = Identity (none_)
    j_, kept = Loop <body = h (int64 m, bool c1, int64 j, int64[K] l0) => (bool c2, int64 j1, int64[K1] l1) {
        id = Gather (flat, j) low = Less (id, at0)
        id1 = If (low) <then_branch = h1 () => (int64 u1) { u1 = Add (id, cells) },
                        else_branch = h2 () => (int64 u2) { u2 = Identity (id) }>
        pad = Equal (id1, at0) real = Not (pad)
        l1 = If (real)
            <then_branch = h3 () => (int64[K2] l2) { jj = Reshape (j, minus) l2 = Concat <axis = 0> (l0, jj) },
            else_branch = h4 () => (int64[K3] l3) { l3 = Identity (l0) }>
        j1 = Add (j, at1) c2 = Less (j1, b) }> (, some, a, none_)
    how = Size (kept) nothing = Equal (how, at0)
    r = If (nothing) <then_branch = k1 () => (float[1, 6] r1) {
            r1 = Constant <value = float[1, 6] {0.0, 0.0, 0.0, 0.0, 0.0, 0.0}> () },
        else_branch = k2 () => (float[1, 6] r2) { e = Gather (looked, kept) r2 = REDUCE (e, zero_) }>
"""


def padded(style: str, reduction: str = "ReduceSum", loop: str = PADDED, **changes: Any) -> onnx.ModelProto:
    """The loop of the dynamo exporter where a padding index is left out: a loop in it collects the places of others."""
    entry = "a = Gather (all, t) t_ = Add (t, at1) b = Gather (all, t_)"
    return sequenced(style, loop.replace("REDUCE", reduction), turn=entry, rows="", **changes)


def _types(changes: dict[str, Any]) -> dict[str, Any]:
    ids = {"user": "int64[4]", "item": "float[3]", "opset": 18}
    return {**ids, **NUMBERS, "w": integers(9, 5, seed=3), **changes}


def rows(result: Rewritten, name: str) -> set[Any]:
    """The extents of the tensor that the model stores."""
    return set(result.program.values[name].array.tensor.known_shape)


B = symbol("B")
SUM = "r = ReduceSum <keepdims = 0> (e, zero_)"
MEAN = "r = ReduceMean <keepdims = 0> (e, zero_)"
MAX = "r = ReduceMax <keepdims = 0> (e, zero_)"
CLOSE: dict[str, Any] = {"rtol": 1e-5}


def of_the_user(result: Rewritten) -> bool:
    """Whether no loop is left, and the user's bags are stored without the candidates."""
    return "Loop" not in result.ops and B not in rows(result, "bags")


@ALL_STYLES
@pytest.mark.parametrize("reduction", [SUM, MEAN, MAX])
def test_rows_that_a_loop_collects(style: str, reduction: str) -> None:
    result = rewrite_and_check(collected(style, reduction), **CLOSE)
    assert of_the_user(result)


@ALL_STYLES
def test_bags_of_the_items(style: str) -> None:
    model = collected(style, whose="item_ids", item="float[3]", user="int64[4]")
    model.graph.input.append(onnx.helper.make_tensor_value_info("item_ids", onnx.TensorProto.INT64, ["B", 4]))
    result = rewrite_and_check(model)
    (candidates,) = result.program.values["item"].known_dims[0]
    assert "Loop" not in result.ops and candidates.extent in rows(result, "bags")


@ALL_STYLES
def test_weights_of_the_ids(style: str) -> None:
    weighted = """bag = Slice (flat, a, b, zero_) e0 = Gather <axis = 0> (table, bag) v = Slice (weights, a, b, zero_)
        v1 = Unsqueeze (v, one_) e = Mul (e0, v1)"""
    ends = f"{ENDS} weights = Cast <to = 1> (flat)"
    assert of_the_user(rewrite_and_check(collected(style, rows=weighted, ends=ends)))


@ALL_STYLES
def test_rows_of_a_sequence_whose_last_mean_is_a_sum_and_a_count(style: str) -> None:
    result = rewrite_and_check(sequenced(style), **CLOSE)
    assert of_the_user(result)
    assert "SequenceInsert" not in result.text


@ALL_STYLES
def test_the_last_bag_ends_where_all_of_them_do(style: str) -> None:
    largest = """before = Sub (n_bags, at1) is_last = Equal (t, before)
        e = If (is_last) <then_branch = h () => (float[4, 6] p) { p = Slice (looked, a, size) },
                          else_branch = k () => (float[4, 6] m) { m = Slice (looked, a, b) }>
        r = ReduceMax (e, zero_)"""
    assert of_the_user(rewrite_and_check(sequenced(style, largest, rows="")))


@ALL_STYLES
def test_a_count_of_the_turns_is_known_after_them(style: str) -> None:
    result = rewrite_and_check(sequenced(style, after="c = Cast <to = 1> (last) items = Add (item, c)"), **CLOSE)
    assert of_the_user(result)


@ALL_STYLES
@pytest.mark.parametrize("reduction", ["ReduceSum", "ReduceMean", "ReduceMax"])
def test_ids_that_are_left_out(style: str, reduction: str) -> None:
    """Id 0 is padding; a bag of nothing else is zeros."""
    assert of_the_user(rewrite_and_check(padded(style, reduction), **CLOSE))


def test_a_bag_of_padding_alone() -> None:
    model = padded("tiled", "ReduceMean", whose="nothing_")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 4), np.int64), "zeros"))
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["user", "zeros"], ["nothing_"]))
    rewrite_and_check(model)


@pytest.mark.parametrize("model", [sequenced, padded])
def test_the_one_bag_of_a_user(model: Callable[[str], onnx.ModelProto]) -> None:
    """The bags are expanded behind the loop, and the exporter knows that there is one."""
    text = onnx.printer.to_text(model("one"))
    before = "ids = Abs (user)"
    assert before in text
    once = onnx.parser.parse_model(text.replace(before, "ids = Abs (user_row)"))
    for node in once.graph.node:
        if node.output[0] == "bags":
            node.output[0] = "bag"
    place = next(i for i, node in enumerate(once.graph.node) if node.output[0] == "x")
    once.graph.node.insert(place, onnx.helper.make_node("Expand", ["bag", "rows6"], ["bags"]))
    rows = onnx.helper.make_node("Concat", ["batch", "six"], ["rows6"], axis=0)
    once.graph.node.insert(place, rows)
    once.graph.initializer.append(onnx.numpy_helper.from_array(np.array([6]), "six"))
    result = rewrite_and_check(once, **CLOSE)
    assert of_the_user(result)


@pytest.mark.parametrize(
    "changes",
    [
        {"turn": TURN.replace("(all, i)", "(all, at0)")},  # from the first id of all
        {"turn": TURN.replace("(ends, i)", "(all, at1)")},  # up to the last of the first bag
        {"rows": LOOKUP.replace("a, b", "b, a")},
        {"rows": LOOKUP.replace("a, b", "zero_, b")},
        {"ends": ENDS.replace("all =", "all = Abs (offsets) a1 =").replace("(all, one_", "(a1, one_")},
        {
            "rows": LOOKUP.replace("(table, bag)", "(table, m)").replace(
                "e =", "k = Add (bag, i) m = Mod (k, cells) e ="
            )
        },
    ],
)
def test_turns_that_are_not_rows(changes: dict[str, Any]) -> None:
    """Each of them computes something else, and the loop stays."""
    result = rewrite_and_check(collected("tiled", **changes))
    assert "Loop" in result.ops
    (remark,) = [r for r in result.remarks if r.op_type == "Loop"]
    assert remark.reason.startswith("a Loop over the candidates is not understood: its body ")
    assert remark.next_step is not None and "an Embedding, and the sum" in remark.next_step


@pytest.mark.parametrize(
    ("reduction", "changes"),
    [
        (LAST.replace("Div (q, f)", "Mul (q, f)"), {}),
        (LAST.replace("Equal (t, before)", "Equal (t, at0)"), {}),
        ("r0 = ReduceSum (e, zero_) tf = Cast <to = 1> (t) r = Add (r0, tf)", {}),
        ("r = ReduceSum (e, zero_)", {"turn": BAG.replace("(all, i0, i1)", "(offsets, zero_, one_)")}),
    ],
)  # fmt: skip
def test_turns_that_differ(reduction: str, changes: dict[str, Any]) -> None:
    result = rewrite_and_check(sequenced("tiled", reduction, **changes), **CLOSE)
    assert "Loop" in result.ops


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Concat <axis = 0> (l0, jj)", "Concat <axis = 0> (jj, l0)"),  # backwards
        ("Equal (id1, at0)", "Equal (j, at0)"),  # the first place of the first bag
        ("(l0, jj)", "(l0, zero_)"),  # the first place of all, so many times
    ],
)
def test_loops_in_the_loop_that_do_something_else(right: str, wrong: str) -> None:
    assert right in PADDED
    result = rewrite_and_check(padded("tiled", loop=PADDED.replace(right, wrong)))
    assert "Loop" in result.ops
