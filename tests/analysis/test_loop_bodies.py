"""Scan and Loop run once for the request where their bodies treat the candidates independently."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest

from mari_onnx.ir.extents import symbol
from tests.graphs import Rewritten, assert_same, integers, ranking, rewrite, rewrite_and_check

B = symbol("B")
CLOSE: dict[str, Any] = {"rtol": 1e-5}
REPEATED = pytest.mark.parametrize("style", ["one", "tiled"])

CELL = "p = MatMul (x, w) q = Add (h, p) h1 = Tanh (q) o = Neg (h1)"


def scan(
    style: str, cell: str = CELL, *, start: str = "h0 = ReduceMax <keepdims = 0> (t, zero_)", **constants: Any
) -> onnx.ModelProto:
    """A cell along the user's history, on the time axis that it is scanned along."""
    body = f"""
        t = Transpose <perm = [1, 0, 2]> (user) {start}
        last, all = Scan <num_scan_inputs = 1, body = b (float[B, 4] h, float[B, 4] x) =>
            (float[B, 4] h1, float[B, 4] o) {{ {cell} }}> (h0, t)
        s = ReduceSum <keepdims = 0> (all, zero_) r = Add (last, s) y = Add (r, item)
    """
    given: dict[str, Any] = {"zero_": [0], "w": integers(4, 4) / 4, **constants}
    return ranking(style, body, user="float[5, 4]", item="float[4]", opset=18, **given)


def rows(result: Rewritten, name: str) -> list[Any]:
    return list(result.program.values[name].array.tensor.known_shape)


@REPEATED
def test_a_cell_along_the_users_history(style: str) -> None:
    result = rewrite_and_check(scan(style), **CLOSE)
    assert "Expand" not in result.ops
    assert B not in rows(result, "last")
    assert len(rows(result, "all")) == 3 and B not in rows(result, "all")


def test_rows_of_requests_are_selected_first() -> None:
    result = rewrite_and_check(scan("requests"), **CLOSE)
    assert result.refusals("Scan") == ["Scan reads `h0`, which differs from candidate to candidate"]


@REPEATED
def test_a_state_of_the_candidate(style: str) -> None:
    result = rewrite_and_check(scan(style, start="h0 = Relu (item)"), **CLOSE)
    assert result.refusals("Scan") == ["Scan reads `h0`, which differs from candidate to candidate"]


MIXED = "the body of Scan is not known to treat candidates independently"
READ = "Scan reads `item`, which differs from candidate to candidate"
COUNTED = "the body of Scan counts the candidates"


@REPEATED
@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("m = ReduceSum (x, zero_) q = Add (h, m) h1 = Tanh (q)", MIXED),
        ("n = Shape (x) f = Cast <to = 1> (n) g = Gather (f, zero_) q = Mul (x, g) h1 = Add (h, q)", MIXED),
        ("q = Add (h, item) h1 = Add (q, x)", READ),
        ("q = Reshape (x, rows) k = Add (q, h) h1 = Tanh (k)", COUNTED),
    ],
)
def test_bodies_that_see_the_candidates(style: str, cell: str, reason: str) -> None:
    start = "h0 = ReduceMax <keepdims = 0> (t, zero_) rows = Shape (h0)"
    result = rewrite_and_check(scan(style, f"{cell} o = Neg (h1)", start=start), **CLOSE)
    assert result.refusals("Scan") == [reason]


@REPEATED
def test_a_loop_that_keeps_a_state(style: str) -> None:
    body = """r = Relu (user)
        acc = Loop <body = b (int64 i, bool c, float[B, 4] a) => (bool d, float[B, 4] o)
            { d = Identity (c) m = MatMul (a, w) o = Add (m, m) }> (three, yes, r)
        y = Add (acc, item)"""
    given: dict[str, Any] = {"three": np.int64(3), "yes": np.bool_(True), "w": integers(4, 4)}
    result = rewrite_and_check(ranking(style, body, item="float[4]", opset=18, **given))
    assert B not in rows(result, "acc")


@REPEATED
def test_what_a_loop_collects(style: str) -> None:
    """It is as long as the loop went on."""
    body = """acc, all = Loop <body = b (int64 i, bool c, float[B, 4] a) => (bool d, float[B, 4] o, float[B, 4] p)
            { d = Less (i, two) o = Neg (a) p = Identity (a) }> (nine, yes, user)
        s = ReduceSum <keepdims = 0> (all, zero_) y = Add (s, item)"""
    given: dict[str, Any] = {"nine": np.int64(9), "two": np.int64(2), "yes": np.bool_(True), "zero_": [0]}
    result = rewrite_and_check(ranking(style, body, user="float[4]", item="float[4]", opset=18, **given))
    assert B not in rows(result, "all")
    assert "Expand" not in result.ops


@REPEATED
def test_a_sequence_that_a_loop_reads_by_name(style: str) -> None:
    """A recurrent layer of Keras: the history is read step by step, and the first state is zeros for each candidate."""
    body = """
        t = Transpose <perm = [1, 0, 2]> (user) shape = Shape (item) h0 = ConstantOfShape (shape)
        last, all = Loop <body = b (int64 i, bool c, float[B, 4] h) => (bool d, float[B, 4] h1, float[B, 4] o)
            { d = Identity (c) x = Gather (t, i) p = MatMul (x, w) h1 = Add (h, p) o = Neg (h1) }> (five, yes, h0)
        r = ReduceSum <keepdims = 0> (all, zero_) s = Add (last, r) y = Add (s, item)
    """
    given: dict[str, Any] = {"five": np.int64(5), "yes": np.bool_(True), "w": integers(4, 4), "zero_": [0]}
    result = rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[4]", opset=18, **given))
    assert B not in (*rows(result, "last"), *rows(result, "all"))


@REPEATED
def test_the_last_step_of_what_a_loop_collects(style: str) -> None:
    """A slice of so many, and the one that it is."""
    body = """
        t = Transpose <perm = [1, 0, 2]> (user) h0 = ReduceMax <keepdims = 0> (t, zero_)
        state, all = Loop <body = b (int64 i, bool c, float[B, 4] h) => (bool d, float[B, 4] h1, float[B, 4] o)
            { d = Identity (c) x = Gather (t, i) p = MatMul (x, w) h1 = Add (h, p) o = Neg (h1) }> (five, yes, h0)
        some = Slice (all, last, most, zero_) one_ = Squeeze (some, zero_) r = Relu (one_) y = Add (r, item)
    """
    given: dict[str, Any] = {"five": np.int64(5), "yes": np.bool_(True), "w": integers(4, 4), "zero_": [0]}
    given |= {"last": [-1], "most": [2**31 - 1]}
    result = rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[4]", opset=18, **given))
    assert B not in (*rows(result, "some"), *rows(result, "r"))
    assert "Expand" not in result.ops


READS_T = """{name}, {name}_ = Loop <body = {name}_b (int64 i, bool c, float[B, 4] h) =>
    (bool d, float[B, 4] h1, float[B, 4] o) {{ d = Identity (c) x = Gather (t, i) h1 = {op} (h, x) o = Neg (h1) }}>
    (five, yes, h0)"""


@REPEATED
def test_what_two_bodies_read_by_name(style: str) -> None:
    body = f"""
        t = Transpose <perm = [1, 0, 2]> (user) h0 = ReduceMax <keepdims = 0> (t, zero_)
        {READS_T.format(name="first", op="Add")} {READS_T.format(name="second", op="Sub")}
        s = Add (first, second) y = Add (s, item)
    """
    given: dict[str, Any] = {"five": np.int64(5), "yes": np.bool_(True), "zero_": [0]}
    result = rewrite_and_check(ranking(style, body, user="float[5, 4]", item="float[4]", opset=18, **given))
    assert B not in (*rows(result, "first"), *rows(result, "second"))
    assert "Expand" not in result.ops


@REPEATED
@pytest.mark.parametrize("other", ["n = NonZero (user)", "n = Identity (user)", "n = Neg (user)"])
def test_what_a_body_and_a_node_read(style: str, other: str) -> None:
    """The body reads the row, and the node all rows."""
    body = f"""
        h0 = ReduceMax <axes = [1], keepdims = 0> (user)
        last = Loop <body = b (int64 i, bool c, float[B, 4] h) => (bool d, float[B, 4] h1)
            {{ d = Identity (c) x = Gather <axis = 1> (user, i) h1 = Add (h, x) }}> (five, yes, h0)
        {other} e = Cast <to = 1> (n) z = ReduceMax <keepdims = 0> (e) s = Add (last, item) y = Add (s, z)
    """
    given: dict[str, Any] = {"five": np.int64(5), "yes": np.bool_(True)}
    model = ranking(style, body, user="float[5, 4]", item="float[4]", opset=17, **given)
    assert B not in rows(rewrite_and_check(model), "last")


@REPEATED
def test_whether_a_loop_goes_on_may_not_depend_on_how_many_there_are(style: str) -> None:
    """The sum of all rows reaches a limit sooner where there are more of them."""
    body = """acc = Loop <body = b (int64 i, bool c, float[B, 4] a) => (bool d, float[B, 4] o)
            { s = ReduceSum <keepdims = 0> (a) d = Less (s, limit) o = Add (a, a) }> (five, yes, user)
        y = Add (acc, item)"""
    given: dict[str, Any] = {"five": np.int64(5), "yes": np.bool_(True), "limit": np.float32(40)}
    result = rewrite_and_check(ranking(style, body, user="float[4]", item="float[4]", opset=18, **given))
    assert result.refusals("Loop") == [MIXED.replace("Scan", "Loop")]


def test_a_state_that_grows() -> None:
    body = """r = Relu (user)
        acc = Loop <body = b (int64 i, bool c, float[B, M] a) => (bool d, float[B, N] o)
            { d = Identity (c) o = Concat <axis = 1> (a, a) }> (two, yes, r)
        y = Add (acc, item)"""
    given: dict[str, Any] = {"two": np.int64(2), "yes": np.bool_(True)}
    result = rewrite_and_check(ranking("one", body, item="float[16]", opset=18, **given))
    assert result.refusals("Loop") == ["a state of Loop changes its shape"]


@REPEATED
@pytest.mark.parametrize("stored", ["5, 4", "5, 1", "1, 4"])
def test_along_a_dimension_that_is_not_the_first(style: str, stored: str) -> None:
    """Steps that repeat are as many."""
    body = """
        e = Expand (user, wide) h0 = ReduceMax <keepdims = 0> (e, one)
        last = Scan <num_scan_inputs = 1, scan_input_axes = [1], body = b (float[B, 4] h, float[B, 4] x) =>
            (float[B, 4] h1) { p = MatMul (x, w) h1 = Sub (p, h) }> (h0, e)
        y = Add (last, item)
    """
    given: dict[str, Any] = {"wide": [1, 5, 4], "one": [1], "w": integers(4, 4)}
    result = rewrite_and_check(ranking(style, body, user=f"float[{stored}]", item="float[4]", opset=18, **given))
    assert B not in rows(result, "last")


SUMS = "o = Add (a, x) p = Identity (o)"
OVER = {
    "all": f"last, c = Scan <num_scan_inputs = 1, body = b (float[4] a, float[4] x) => (float[4] o, float[4] p) "
    f"{{ {SUMS} }}> (start, user)",
    "the last": "c = Scan <num_scan_inputs = 1, body = b (float[4] a, float[4] x) => (float[4] o) { o = Add (a, x) }> "
    "(start, user)",
    "backwards": f"last, c = Scan <num_scan_inputs = 1, scan_input_directions = [1], scan_output_directions = [1], "
    f"body = b (float[4] a, float[4] x) => (float[4] o, float[4] p) {{ {SUMS} }}> (start, user)",
    "another axis": f"t = Transpose (user) last, c = Scan <num_scan_inputs = 1, scan_input_axes = [1], "
    f"body = b (float[4] a, float[4] x) => (float[4] o, float[4] p) {{ {SUMS} }}> (start, t)",
    "the axis from behind": f"t = Transpose (user) last, c = Scan <num_scan_inputs = 1, scan_input_axes = [-1], "
    f"body = b (float[4] a, float[4] x) => (float[4] o, float[4] p) {{ {SUMS} }}> (start, t)",
    "merged": f"t = Reshape (user, flat) last, s = Scan <num_scan_inputs = 1, "
    f"body = b (float a, float x) => (float o, float p) {{ {SUMS} }}> (zero_number, t) c = Reshape (s, rows)",
    "two at once": "t = Transpose (user) last, c = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1], "
    "body = b (float[4] a, float[4] x, float[4] z) => (float[4] o, float[4] p) "
    "{ s = Add (a, x) o = Add (s, z) p = Identity (o) }> (start, user, t)",
    "each alone": "c = Scan <num_scan_inputs = 1, body = b (float[4] x) => (float[4] o) { o = Neg (x) }> (user)",
}


@REPEATED
@pytest.mark.parametrize("name", OVER)
def test_a_scan_over_the_candidates(name: str, style: str) -> None:
    """The sum of those so far is another number for each candidate, although their rows are equal."""
    constants = {"start": np.zeros(4, np.float32), "flat": [-1], "rows": [-1, 4], "zero_number": np.float32(0)}
    given: dict[str, Any] = {n: a for n, a in constants.items() if re.search(rf"\b{n}\b", OVER[name])}
    model = ranking(style, f"{OVER[name]} y = Add (c, item)", user="float[4]", item="float[4]", opset=18, **given)
    result = rewrite(model)
    assert_same(model, result.model, batches=(1, 2, 7))
    (remark,) = [r for r in result.remarks if r.op_type == "Scan"]
    scanned = "t" if re.search(r"\bt\)", OVER[name]) and name != "two at once" else "user"
    assert remark.reason == f"Scan goes over the candidates: they are the steps of its input `{scanned}`"
    assert remark.next_step is not None


def test_along_the_last_dimension_from_behind() -> None:
    """Which is not that of the candidates."""
    body = """
        s = Slice (user, zero_, one_, one_) h0 = Squeeze (s, one_)
        last = Scan <num_scan_inputs = 1, scan_input_axes = [-1], body = b (float[B] h, float[B] x) => (float[B] h1)
            { d = Mul (h, two) h1 = Sub (d, x) }> (h0, user)
        r = Unsqueeze (last, one_) y = Add (r, item)
    """
    given: dict[str, Any] = {"zero_": [0], "one_": [1], "two": np.float32(2)}
    result = rewrite_and_check(ranking("one", body, item="float[4]", opset=18, **given))
    assert B not in rows(result, "last")


@REPEATED
@pytest.mark.parametrize(
    "reads",
    [
        "j = Add (i, pair) x = Gather (user, j)",
        "j = Add (i, pair) k = Unsqueeze (j, one_) x = GatherND (user, k)",
        "t = Transpose (a) j = Add (i, pair) g = Gather <axis = 1> (t, j) x = Transpose (g)",
        "x = Gather (user, pair)",
        "f = Gather (user, i) x = Unsqueeze (f, zero_)",
        "r = Reshape (user, flat) j = Add (i, pair) g = Gather (r, j) x = Unsqueeze (g, one_)",
    ],
)
def test_rows_of_candidates_that_a_body_selects(style: str, reads: str) -> None:
    """They are equal, but of one row there is no second."""
    body = f"""acc = Loop <body = b (int64 i, bool c, float[B, 4] a) => (bool d, float[B, 4] o)
            {{ d = Identity (c) {reads} s = ReduceSum (x, zero_) o = Add (a, s) }}> (three, yes, user)
        y = Add (acc, item)"""
    constants = {"three": np.int64(3), "yes": np.bool_(True), "zero_": [0], "one_": [1], "pair": [2, 3], "flat": [-1]}
    given: dict[str, Any] = {n: a for n, a in constants.items() if re.search(rf"\b{n}\b", body)}
    model = ranking(style, body, user="float[4]", item="float[4]", opset=18, **given)
    result = rewrite(model)
    assert_same(model, result.model, batches=(6, 7))
    assert result.refusals("Loop") == [MIXED.replace("Scan", "Loop")]


def test_a_loop_that_runs_once_for_each_candidate() -> None:
    body = """s = Shape (item) n = Gather (s, first)
        last, c = Loop <body = b (int64 i, bool c, float[4] a) => (bool d, float[4] o, float[4] p)
            { d = Identity (c) x = Gather (user, i) o = Add (a, x) p = Identity (o) }> (n, yes, start)
        y = Add (c, item)"""
    given: dict[str, Any] = {"yes": np.bool_(True), "start": np.zeros(4, np.float32), "first": np.int64(0)}
    model = ranking("one", body, user="float[4]", item="float[4]", opset=18, **given)
    assert_same(model, rewrite(model).model, batches=(1, 2, 7))


def test_a_scan_with_a_batch_is_refused() -> None:
    """As it was before opset 9: its first dimension is no time."""
    body = """r = Unsqueeze <axes = [0]> (user) z = ReduceSum <axes = [1], keepdims = 0> (r)
        last, c = Scan <num_scan_inputs = 1, body = b (float[4] a, float[4] x) => (float[4] o, float[4] p)
            { o = Add (a, x) p = Identity (o) }> (lengths, z, r)
        s = Squeeze <axes = [0]> (c) y = Add (s, item)"""
    model = ranking("tiled", body, user="float[4]", item="float[4]", opset=8, lengths=np.ones(1, np.int64))
    result = rewrite(model)
    assert result.refusals("Scan") == ["Scan with a batch, as before opset 9"]


def test_outputs_along_another_dimension_are_refused() -> None:
    model = scan("one")
    node = next(n for n in model.graph.node if n.op_type == "Scan")
    node.attribute.append(onnx.helper.make_attribute("scan_output_axes", [1]))
    model.graph.node[[n.op_type for n in model.graph.node].index("ReduceSum")].input[1] = "one_"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one_"))
    result = rewrite(model)  # it is not run: onnxruntime ends the process where there are no candidates
    assert result.refusals("Scan") == ["Scan with outputs along other axes than the first"]


def test_a_loop_until_something_is_so() -> None:
    """Without a number of times."""
    body = """acc = Loop <body = b (int64 i, bool c, float[B, 4] a) => (bool d, float[B, 4] o)
            { d = Less (i, three) o = Neg (a) }> (, yes, user)
        y = Add (acc, item)"""
    model = ranking("one", body, item="float[4]", opset=18, three=np.int64(3), yes=np.bool_(True))
    result = rewrite_and_check(model)
    assert result.refusals("Loop") == ["Loop with inputs that are left out, or of unknown rank"]


def test_the_graph() -> None:
    """The cell along the history of one row, and one sum for each candidate."""
    result = rewrite_and_check(scan("one"), **CLOSE)
    assert result.graph == [
        "user_row.reshape [5 1 4] = Reshape (user_row)",
        "h0.user [1 4] = ReduceMax (user_row.reshape, zero_)",
        "last.user [1 4], all.user [5 1 4] = Scan (h0.user, user_row.reshape)",
        "s.user [1 4] = ReduceSum (all.user, zero_)",
        "r.user [1 4] = Add (last.user, s.user)",
        "y [B 4] = Add (r.user, item)",
    ]
