"""Operators that move no data: the stored tensors stay as they are, under other axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import mari_onnx
from mari_onnx.analysis.context import Op
from mari_onnx.analysis.rules.relabel import unsqueeze
from mari_onnx.ir.axes import Refused
from mari_onnx.ir.extents import evaluate, product
from tests.graphs import STYLES, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)
SEQUENCE: dict[str, Any] = {"user": "float[5, 4]", "item": "float[4]"}


@styles
@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("r = Reshape (user, s)", {"s": [-1, 20]}),
        ("r = Reshape (user, s)", {"s": [0, -1]}),
        ("r = Reshape <allowzero = 1> (user, s)", {"s": [-1, 5, 2, 2]}),
        ("r = Reshape (user, s)", {"s": [-1, 4]}),
        ("r = Flatten (user)", {}),
        ("r = Flatten <axis = 2> (user)", {}),
        ("r = Flatten <axis = -1> (user)", {}),
        ("r = Flatten <axis = 0> (user)", {}),
        ("r = Unsqueeze (user, s)", {"s": [1, -1]}),
        ("a = Unsqueeze (user, s) r = Squeeze (a, s)", {"s": [1]}),
        ("r = Transpose <perm = [1, 0, 2]> (user)", {}),
        ("r = Transpose <perm = [1, 2, 0]> (user)", {}),
        ("r = Transpose <perm = [2, 0, 1]> (user)", {}),
        ("r = Transpose (user)", {}),
        ("r = Identity (user)", {}),
        ("r = Dropout (user)", {}),
        ("r = Expand (user, s)", {"s": [1, 1, 1]}),
        ("a = Unsqueeze (user, o) r = Expand (a, s)", {"o": [1], "s": [1, 3, 5, 4]}),
        ("r = Expand (user, s)", {"s": [2, 1, 1, 1]}),
        ("r = Expand (user, s)", {"s": [5, 1]}),
        ("r = Expand (user, s)", {"s": [4]}),
        ("r = Tile (user, s)", {"s": [1, 2, 3]}),
    ],
)
def test_nothing_is_computed(style: str, body: str, constants: dict[str, Any]) -> None:
    """The user's values under new axes: one Neg, on as many elements as the user has."""
    model = ranking(
        style, f"{body} n = Neg (r) m = ReduceMax <keepdims = 0> (n) y = Add (item, m)", **SEQUENCE, **constants
    )
    result = rewrite_and_check(model)
    assert not result.refusals(body.rpartition("= ")[2].split()[0])
    stored = result.program.values["n"].array.tensor.known_shape
    assert evaluate(product(stored), {}, 1) == 20


@pytest.mark.parametrize(
    ("opset", "body"),
    [
        (11, "a = Unsqueeze <axes = [1, 3]> (user) b = Squeeze <axes = [1]> (a) r = Squeeze <axes = [-1]> (b)"),
        (13, "a = Unsqueeze (user, two) b = Squeeze (a, one) r = Squeeze (b, minus)"),
        (18, "a = Unsqueeze (user, two) b = Squeeze (a, one) r = Squeeze (b, minus)"),
    ],
)
def test_axes_as_attributes_and_as_inputs(opset: int, body: str) -> None:
    constants: dict[str, Any] = {} if opset == 11 else {"two": [1, 3], "one": [1], "minus": [-1]}
    model = ranking("one", f"{body} y = Mul (r, item)", item="float[4]", opset=opset, **constants)
    assert rewrite_and_check(model).ops == ["Mul"]


@styles
def test_of_a_product_by_broadcasting_the_operands_are_transposed(style: str) -> None:
    """Attention over the steps of a history, for a recurrent layer that wants the steps first."""
    body = "r = Relu (item) m = Mul (user, r) y = Transpose <perm = [1, 0, 2]> (m)"
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[5, 1]", "output": "float[5, B, 4] y"}
    result = rewrite_and_check(ranking(style, body, **types))
    turned = [line for line in result.graph if "= Transpose" in line]
    if style != "requests":
        assert not any("5 B 4" in line for line in turned)


@styles
def test_squeeze_of_everything(style: str) -> None:
    """Without axes: only where every extent is a number."""
    text = "g (float[1, 4, 1] user, float[4] item) => (float[4] y) { s = Squeeze (user) y = Mul (s, item) }"
    assert rewrite_and_check(parse(text)).refusals("Squeeze") == []
    body = "r = Relu (user) s = Squeeze (r) y = Add (s, item)"
    result = rewrite(ranking(style, body, user="float[4, 1]", item="float[4]"))
    assert result.refusals("Squeeze") == ["Squeeze of every axis of extent 1, and some extents are not known"]


@styles
def test_merged_and_cut_apart(style: str) -> None:
    body = "a = Reshape (user, merged) b = Relu (a) c = Reshape (b, apart) q = Unsqueeze (item, one) y = Mul (c, q)"
    constants: dict[str, Any] = {"merged": [-1, 4], "apart": [-1, 5, 4], "one": [1]}
    result = rewrite_and_check(ranking(style, body, **SEQUENCE, output="float[B, 5, 4] y", **constants))
    assert "Expand" not in result.ops
    assert result.ops.count("Relu") == 1


@styles
def test_multi_head_reshapes_of_parts(style: str) -> None:
    """Parts along a dimension survive its being cut, where they fall on the cuts."""
    body = """
        x = Concat <axis = 1> (user, item) r = Reshape (x, heads) m = Mul (r, k) f = Reshape (m, flat) y = MatMul (f, w)
    """
    constants: dict[str, Any] = {"heads": [-1, 4, 2], "k": integers(4, 2), "flat": [-1, 8], "w": integers(8, 3)}
    result = rewrite_and_check(ranking(style, body, item="float[4]", **constants))
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2


@styles
def test_parts_that_a_reshape_cuts_through(style: str) -> None:
    """[4 | 3 | 1] as (4 2): the middle falls across a boundary, and nothing goes wrong."""
    body = """
        k = Slice (item, z, o, o) x = Concat <axis = 1> (user, item, k) r = Reshape (x, heads) m = Neg (r)
        f = Reshape (m, flat) y = MatMul (f, w)
    """
    constants: dict[str, Any] = {"heads": [-1, 4, 2], "flat": [-1, 8], "w": integers(8, 3), "z": [0], "o": [1]}
    rewrite_and_check(ranking(style, body, item="float[3]", **constants))


@styles
def test_tile_repeats_outermost(style: str) -> None:
    body = "t = Tile (user, s) y = Mul (t, item)"
    result = rewrite_and_check(ranking(style, body, item="float[12]", s=[1, 3]))
    assert result.ops.count("Tile") == 0


@styles
def test_tile_of_the_candidates(style: str) -> None:
    rewrite_and_check(ranking(style, "t = Tile (user, s) y = Neg (t)", output="float[M, 4] y", s=[2, 1]))


@pytest.mark.parametrize("value", ["<value = float[1] {2}>", ""])
def test_constant_of_shape(value: str) -> None:
    body = f"s = Shape (item) z = ConstantOfShape {value} (s) y = Add (z, item)"
    result = rewrite_and_check(parse(f"g (float[B, 3] item) => (float[B, 3] y) {{ {body} }}"))
    assert result.ops == ["Add"]


def test_expansion_of_a_single_row_as_torchscript_writes_it() -> None:
    """expand(B, -1): Shape, ConstantOfShape, Mul by -1, Equal and Where, all of it evaluated."""
    body = """
        s = Shape (item) n = Gather (s, zero) n1 = Unsqueeze (n, axes) t0 = Concat <axis = 0> (n1, minus)
        t = Reshape (t0, flat) r = Shape (t) ones = ConstantOfShape <value = int64[1] {1}> (r)
        m = Mul (ones, negative) c = Equal (t, m) w = Where (c, ones, t) user = Expand (user_row, w)
        x = Concat <axis = 1> (user, item) y = Gemm (x, weight, bias)
    """
    constants: dict[str, Any] = {"zero": 0, "axes": [0], "minus": [-1], "flat": [-1], "negative": -1}
    model = parse(
        f"g (float[1, 4] user_row, float[B, 3] item) => (float[B, 2] y) {{ {body} }}",
        weight=integers(7, 2), bias=integers(2), **constants,
    )  # fmt: skip
    assert rewrite_and_check(model).ops == ["Gemm", "Gemm"]


def test_repeat_interleave() -> None:
    """[R, 4] -> [R 5, 4] by Unsqueeze, OneHot, Tile and Flatten: what is repeated is not stored."""
    body = """
        u = Unsqueeze (user, axes) o = OneHot (axis, depth, values) o1 = Reshape (o, three) t = Tile (u, o1)
        f = Reshape (t, flat) n = Neg (f) y = Mul (n, item)
    """
    constants: dict[str, Any] = {"axes": [1], "axis": [1], "depth": 3, "values": [1, 5], "three": [3], "flat": [-1, 4]}
    model = parse(f"g (float[1, 4] user, float[5, 4] item) => (float[5, 4] y) {{ {body} }}", **constants)
    result = rewrite_and_check(model)
    assert result.ops == ["Neg", "Mul"]


def branches(condition: str) -> onnx.ModelProto:
    """TorchScript's `tile`: an If that asks whether the rank fits."""
    body = f"""
        s = Shape (item) n = Slice (s, zero, one) r = Shape (s) two = Add (one, one)
        repeats = Concat <axis = 0> (n, one) {condition}
        fixed = If (c) <then_branch = t () => (int64[2] a) {{ a = Identity (repeats) }},
                        else_branch = e () => (int64[3] a2) {{ a2 = Concat <axis = 0> (one, repeats) }}>
        user = Tile (user_row, fixed) x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)
    """
    return parse(
        f"g (float[1, 4] user_row, float[B, 3] item, bool flag) => (float[B, 2] y) {{ {body} }}",
        zero=[0], one=[1], w=integers(7, 2), b=integers(2),
    )  # fmt: skip


def test_an_if_whose_condition_is_known_is_the_branch_it_takes() -> None:
    result = rewrite_and_check(branches("e = Equal (r, two) c = Squeeze (e)"))
    assert result.ops == ["Gemm", "Gemm"]


def test_an_if_whose_condition_is_not_known_stays() -> None:
    result = rewrite(branches("c = Identity (flag)"))
    assert "If" in result.ops
    assert result.refusals("Tile") in ([], ["the repeats are computed from data"])


def test_tables_of_reasons() -> None:
    """Each clause of what has to hold, broken."""
    head = "g (float[1, 4] user, float[B, 4] item, int64[2] given) => (float[M, K] y)"
    expand = "s = Shape (item) u = Expand (user, s)"
    cases = {
        "r = Reshape (u, given)": ("Reshape", "the target shape is computed from data"),
        "r = Expand (u, given)": ("Expand", "the target shape is computed from data"),
        "r = Tile (u, given)": ("Tile", "the repeats are computed from data"),
        "r = Reshape (u, odd)": ("Reshape", "its axes cannot be cut to the target shape"),
        "r, m = Dropout (u)": ("Dropout", "the mask of Dropout is used"),
        "r = Dropout (u, half, yes)": ("Dropout", "Dropout in training mode"),
    }
    for body, (op_type, reason) in cases.items():
        constants: dict[str, Any] = {}
        if "odd" in body:
            constants = {"odd": [3, -1]}
        if "yes" in body:
            constants = {"half": np.float32(0), "yes": np.array(True)}
        tail = "mi = Cast <to = 1> (m) q = Add (r, mi) y = Neg (q)" if " m " in body else "y = Neg (r)"
        result = rewrite(parse(f"{head} {{ {expand} {body} {tail} }}", **constants))
        (found,) = result.refusals(op_type)
        assert found.startswith(reason)
        assert op_type in result.ops
        assert all(r.next_step for r in result.remarks if r.op_type == op_type)


@pytest.mark.parametrize("dead", [True, False])
@pytest.mark.parametrize(("times", "long"), [(-2, "-8"), (2**62, str(2**64)), ("B", f"{2**64}*B")])
def test_a_length_that_no_axis_can_have(times: int | str, long: str, dead: bool, tmp_path: Path) -> None:
    """Such a Tile fails in every call. Nothing is concluded from it, and nothing else fails for it.

    The check does not see it: it reads no external data, and knows of no extent.
    """
    repeats = "m = Mul (s, many) r = Concat <axis = 0> (one, m) t = Tile (rows, r)"
    tail = "y = Neg (item)" if dead else "n = Shape (t) y = ConstantOfShape (n)"
    proto = parse(
        f"""g (float[1, 4] user, float[B, 3] item) => (float[?, ?] y) {{
            s = Shape <end = 1> (item) e = Concat <axis = 0> (s, one) rows = Expand (user, e)
            {repeats if times == "B" else "t = Tile (rows, times)"} {tail}
        }}""",
        one=[1],
        **({"many": [2**62]} if times == "B" else {"times": [1, times]}),
    )
    onnx.save(proto, tmp_path / "model.onnx", save_as_external_data=True, size_threshold=0)
    result = mari_onnx.optimize(tmp_path / "model.onnx", verify=False)
    (said,) = (r for r in result.report.remarks if r.op_type == "Tile")
    assert said.reason == f"an axis of `t` would be {long} long"
    assert said.next_step
    assert any(n.op_type == "Tile" for n in result.model.graph.node) != dead


def test_tile_of_another_rank() -> None:
    """onnx does not see it, and onnxruntime does not run it."""
    text = """g (float[B, 4] user, float[B, 2] item) => (float[M, K] y) {
        s = Shape (item) short = Slice (s, zero, three) repeats = Concat <axis = 0> (short, one)
        r = Tile (user, repeats) y = Neg (r)
    }"""
    result = rewrite(parse(text, zero=[0], one=[1], three=[3]))
    assert result.refusals("Tile") == ["the repeats are not one for each dimension"]
    assert "Tile" in result.ops


def test_transpose_of_another_rank() -> None:
    """onnx does not see it, behind an operator that it does not know."""
    text = """g (float[B, 4] user) => (float[M, K] y) {
        x = com.microsoft.QuickGelu (user) r = Transpose <perm = [1, 0, 2]> (x) y = Neg (r)
    }"""
    result = rewrite(parse(text, domains=', "com.microsoft" : 1'))
    assert result.program.values["r"].dims is None


def test_expand_to_an_extent_that_is_not_proven_equal() -> None:
    text = "g (float[1, K] user, float[B, M] item) => (float[B, M] y)"
    body = "k = Shape (user) n = Shape (item) s = Relu (user) e = Expand (s, n) t = Tile (user, k) y = Add (e, item)"
    result = rewrite(parse(f"{text} {{ {body} }}"))
    assert "Expand" in result.ops


# Bodies


def test_an_if_that_stays_reads_what_it_read() -> None:
    """Both of two bodies capture one value of the user's, which is written out for them once."""
    body = """
        h = Gemm (user, w) r = Relu (h)
        a = If (c) <then_branch = t () => (float[B, 3] p) { p = Mul (r, item) },
                    else_branch = e () => (float[B, 3] q) { q = Sub (r, item) }>
        b = If (c) <then_branch = t () => (float[B, 3] p) { p = Add (r, item) },
                    else_branch = e () => (float[B, 3] q) { q = Identity (r) }>
        y = Add (a, b)
    """
    for style in STYLES:
        model = ranking(style, body, w=integers(4, 3))
        model.graph.input.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
        before = [n for n in model.graph.node if n.op_type == "If"]
        result = rewrite_and_check(model)
        assert [n.attribute for n in result.nodes("If")] == [n.attribute for n in before]


@styles
def test_a_loop_that_captures_the_user(style: str) -> None:
    body = """
        h = Gemm (user, w)
        y = Loop (n, yes, item) <body = l (int64 i, bool go, float[B, 3] acc) => (bool on, float[B, 3] sum)
            { on = Identity (go) sum = Add (acc, h) }>
    """
    model = ranking(style, body, output="float[B, 3] y", w=integers(4, 3), n=np.int64(3), yes=np.array(True))
    result = rewrite_and_check(model)
    assert result.ops.count("Loop") == 1


@styles
def test_a_scan_that_captures_the_user(style: str) -> None:
    body = """
        h = Relu (user) first = ReduceMax <keepdims = 0> (item, zero_axis)
        last, y = Scan <num_scan_inputs = 1, body = l (float[3] acc, float[3] row) => (float[3] next, float[3] out)
            { next = Add (acc, row) m = ReduceMax <keepdims = 0> (h) out = Mul (next, m) }> (first, item)
    """
    model = ranking(style, body, output="float[B, 3] y", opset=18, zero_axis=[0])
    result = rewrite_and_check(model)
    assert result.ops.count("Scan") == 1


@pytest.mark.parametrize("where", ["initializer", "constant"])
def test_two_branches_with_constants_of_one_name(where: str) -> None:
    def branch(number: int) -> str:
        if where == "initializer":
            return f"<float[1] k = {{{number}}}> {{ p = Mul (item, k) }}"
        return f"{{ k = Constant <value = float[1] {{{number}}}> () p = Mul (item, k) }}"

    ifs = " ".join(
        f"{name} = If (c) <then_branch = t () => (float[B, 3] p) {branch(k)}, "
        f"else_branch = e () => (float[B, 3] q) {{ q = Identity (item) }}>"
        for name, k in (("a", 2), ("b", 3))
    )
    text = f"g (float[B, 3] item) => (float[B, 3] y) {{ c = Constant <value = bool {{1}}> () {ifs} y = Add (a, b) }}"
    assert rewrite_and_check(parse(text)).ops == ["Mul", "Mul", "Add"]


@pytest.mark.parametrize("k", ["Constant <value = float[1] {{{}}}> ()", "Gather <axis = 1> (item, number{})"])
def test_two_branches_with_bodies_that_read_names_of_theirs(k: str) -> None:
    """One name stands for two values, which have names of their own outside of the branches."""

    def branch(number: int) -> str:
        return f"""{{
            k = {k.format(number)}
            p = If (flag) <then_branch = t2 () => (float[B, 3] p2) {{ p2 = Mul (item, k) }},
                           else_branch = e2 () => (float[B, 3] q2) {{ q2 = Add (item, k) }}> }}"""

    ifs = " ".join(
        f"{name} = If (c) <then_branch = t () => (float[B, 3] p) {branch(number)}, "
        f"else_branch = e () => (float[B, 3] q) {{ q = Identity (item) }}>"
        for name, number in (("a", 1), ("b", 2))
    )
    known = "c = Constant <value = bool {1}> ()"
    text = f"g (float[B, 3] item, bool flag) => (float[B, 3] y) {{ {known} {ifs} y = Add (a, b) }}"
    result = rewrite_and_check(parse(text, number1=[1], number2=[2]))
    assert [op for op in result.ops if op not in ("Gather", "Slice")] == ["If", "If", "Add"]
    read = [{n.input[1] for a in node.attribute for n in a.g.node} for node in result.nodes("If")]
    assert len(set.union(*read)) == 2


def test_the_graph() -> None:
    """What is between the operators is where the last of them needs it, and not repeated."""
    body = """r = Reshape (user, heads) t = Transpose <perm = [0, 2, 1, 3]> (r) e = Tile (t, twice) n = Neg (e)
              f = Flatten (n) y = Mul (f, item)"""
    types: dict[str, Any] = {"user": "float[5, 4]", "item": "float[40]", "output": "float[B, 40] y"}
    result = rewrite_and_check(ranking("one", body, **types, heads=[-1, 5, 2, 2], twice=[1, 1, 2, 1]))
    assert result.graph == [
        "n.user [1 5 4] = Neg (user_row)",
        "n.user.reshape [5 2 2] = Reshape (n.user)",
        "n.user.transpose [2 5 2] = Transpose (n.user.reshape)",
        "n.user.reshape.2 [1 2 1 5 2] = Reshape (n.user.transpose)",
        "item.reshape [B 2 2 5 2] = Reshape (item)",
        "y.item [B 2 2 5 2] = Mul (n.user.reshape.2, item.reshape)",
        "y [B 40] = Reshape (y.item)",
    ]


def test_one_axis_twice() -> None:
    """onnx refuses such a node where it knows the rank of its input, and onnxruntime loads it elsewhere."""
    program = rewrite(ranking("one", "a = Relu (user) m = ReduceMax (a) y = Add (m, item)")).program
    node = helper.make_node("Unsqueeze", ["a"], ["b"], axes=[1, -3])
    refused = unsqueeze(Op(node, (program.values["a"],), 11), program.context)
    assert isinstance(refused, Refused)
    assert refused.reason == "Unsqueeze of one axis twice"
