"""The walk: what every value is known as, on which symbols that rests, and what happens where no rule serves."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import mari_onnx
from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.rules import RULES
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import extents as shape
from mari_onnx.ir.extents import ROW, symbol
from tests.graphs import STYLES, Rewritten, evaluate, feeds, integers, parse, ranking, rewrite, rewrite_and_check

styles = pytest.mark.parametrize("style", STYLES)


def extents(result: Rewritten, name: str) -> tuple[Any, ...]:
    return result.program.values[name].array.tensor.known_shape


# Inputs


@pytest.mark.parametrize(("style", "stored"), [("one", 1), ("tiled", symbol(ROW)), ("requests", symbol("R"))])
def test_the_users_rows(style: str, stored: Any) -> None:
    result = rewrite(ranking(style, "h = Relu (user) y = Mul (h, item)", item="float[4]"))
    assert extents(result, "h") == (stored, 4)
    assert extents(result, "y") == (symbol("B"), 4)


def test_an_input_that_the_caller_tiles_is_there_already() -> None:
    """As an output, or for an operator without a rule, the caller's own rows are used."""
    result = rewrite_and_check(
        ranking("tiled", "h = Det (user) y = Add (h, h)", user="float[2, 2]", output="float[B] y")
    )
    assert result.ops == ["Det", "Add"]
    assert result.nodes("Det")[0].input == ["user"]


def test_inputs_that_are_no_tensors() -> None:
    text = "g (seq(float[B, 4]) history, float[B, 4] item) => (float[B, 4] y)"
    result = rewrite(parse(f"{text} {{ h = SequenceAt (history, z) y = Mul (h, item) }}", z=np.int64(0)))
    assert result.ops == ["SequenceAt", "Mul"]


# Operators without a rule


@styles
def test_an_operator_without_a_rule_gets_what_it_got(style: str) -> None:
    """Its inputs written out, its output as it is, and a remark."""
    body = "r = Relu (user) m = Reshape (r, square) d = Det (m) q = Unsqueeze (d, one) y = Mul (q, item)"
    result = rewrite_and_check(ranking(style, body, square=[-1, 2, 2], one=[1]))
    assert result.refusals("Det") == ["no rule for ai.onnx.Det"]
    assert result.ops.count("Relu") == 1


def test_a_custom_operator() -> None:
    text = "g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y)"
    body = "s = Shape (item) e = Expand (user, s) r = Relu (e) c = acme.Secret <k = 3> (r) y = Mul (c, item)"
    proto = parse(f"{text} {{ {body} }}", domains=', "acme" : 1')
    result = rewrite(proto)
    assert result.refusals("Secret") == ["no rule for acme.Secret"]
    assert result.ops[-3:] == ["Expand", "Secret", "Mul"]
    assert result.nodes("Secret")[0].attribute == proto.graph.node[3].attribute


def test_an_operator_of_another_domain_that_has_the_name_of_a_standard_one() -> None:
    text = "g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y)"
    body = "s = Shape (item) e = Expand (user, s) c = acme.Relu (e) y = Mul (c, item)"
    assert rewrite(parse(f"{text} {{ {body} }}", domains=', "acme" : 1')).refusals("Relu") == ["no rule for acme.Relu"]


def test_functions_of_the_model() -> None:
    text = "g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y)"
    body = "s = Shape (item) e = Expand (user, s) r = Neg (e) c = acme.Twice (r) y = Mul (c, item)"
    proto = parse(f"{text} {{ {body} }}", domains=', "acme" : 1')
    add = helper.make_node("Add", ["a", "a"], ["r"])
    proto.functions.append(helper.make_function("acme", "Twice", ["a"], ["r"], [add], [helper.make_opsetid("", 17)]))
    assert rewrite_and_check(proto).model.functions == proto.functions


@pytest.mark.parametrize("op_type", ["RandomNormalLike", "RandomUniformLike"])
def test_chance_is_never_moved_nor_shared(op_type: str) -> None:
    """Two draws are two, and each candidate has its own."""
    body = f"r = Relu (user) a = {op_type} (r) b = {op_type} (r) s = Sub (a, b) y = Mul (s, item)"
    model = ranking("one", body, item="float[4]")
    result = rewrite(model)
    assert result.ops.count(op_type) == 2
    assert op_type not in RULES
    (drawn,) = evaluate(result.model, feeds(model, 7))
    assert len(np.unique(drawn[:, 0])) > 1 or not drawn.any()


def test_equal_nodes_are_computed_once() -> None:
    result = rewrite_and_check(
        ranking("one", "a = Relu (user) b = Relu (user) c = Add (a, b) y = Mul (c, item)", item="float[4]")
    )
    assert result.ops == ["Relu", "Add", "Mul"]


def test_nodes_that_differ_in_an_attribute_are_two() -> None:
    body = "a = Elu <alpha = 1.0> (user) b = Elu <alpha = 2.0> (user) c = Sub (a, b) y = Mul (c, item)"
    assert rewrite_and_check(ranking("one", body, item="float[4]"), rtol=1e-6).ops.count("Elu") == 2


def test_what_nobody_needs_is_not_written() -> None:
    result = rewrite_and_check(ranking("one", "dead = Exp (user) y = Relu (item)"))
    assert result.ops == ["Relu"]


@pytest.mark.parametrize("left_out", [[], [""], ["", ""]])
@pytest.mark.parametrize(("op_type", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_node_without_outputs(op_type: str, gates: int, left_out: list[str]) -> None:
    """Every output of a recurrent operator may be left out, and onnxruntime runs it all the same."""
    w, r = np.ones((1, gates * 2, 4), np.float32), np.ones((1, gates * 2, 2), np.float32)
    proto = ranking("one", "x = Concat <axis = 1> (user, item) y = MatMul (x, v)", v=integers(7, 16), w=w, r=r)
    for place in (0, len(proto.graph.node)):
        node = helper.make_node(op_type, ["steps", "w", "r"], left_out, hidden_size=2)
        proto.graph.node.insert(place, node)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((3, 1, 4), np.float32), "steps"))
    result = rewrite_and_check(proto)
    assert op_type not in result.ops
    assert result.ops.count("Gemm") == 2


# Shapes that nobody derives


def test_who_is_not_needed_reads_nothing() -> None:
    """A bias goes into the product before it, though something that nobody wants reads the product as well."""
    body = "m = MatMul (item, w) a = Add (m, b) y = Relu (a) lost = Sigmoid (m)"
    w, b = integers(3, 64), integers(64, seed=1)
    result = rewrite_and_check(ranking("one", body, item="float[5, 3]", output="float[B, N, M] y", w=w, b=b))
    assert {"Gemm", "Relu", "Reshape"} == set(result.ops)


def test_symbols_of_results_are_read_off_them() -> None:
    """NonZero's length is nobody's input: an Expand to it takes it from the result."""
    text = "g (float[B, 4] item, float[1, 1] user) => (float[M, N] y)"
    body = "n = NonZero (item) s = Shape (n) e = Expand (user, s) c = Cast <to = 1> (n) a = Add (e, c) y = Relu (a)"
    rewrite_and_check(parse(f"{text} {{ {body} }}"))


def test_the_exporters_word_counts() -> None:
    text = "g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y)"
    body = "s = Shape (item) e = Expand (user, s) c = acme.Secret (item) r = Relu (e) y = Mul (c, r)"
    proto = parse(f"{text} {{ {body} }}", domains=', "acme" : 1')
    proto.graph.value_info.append(helper.make_tensor_value_info("c", 1, ["B", 4]))
    result = rewrite(proto)
    assert result.ops == ["Secret", "Relu", "Mul"]


def test_element_types_behind_an_operator_that_onnx_does_not_know() -> None:
    """Of a node alone they follow from what its rule said; what is unknown is not that of a condition."""
    text = "g (float[1, 4] user, float[B, 4] item) => (float[4, 4] y, float[4, 4] z)"
    body = """f = com.microsoft.FusedMatMul (user, w) e = Expand (f, shape) g = Gemm <transA = 1> (e, item)
        c = Greater (g, none) y = Where (c, g, none) s = acme.Secret (item) k = Where (c, s, s) z = Neg (k)"""
    constants: dict[str, Any] = {"w": integers(4, 4), "shape": np.array([3, 1]), "none": np.float32(0)}
    result = rewrite(parse(f"{text} {{ {body} }}", domains=', "acme" : 1, "com.microsoft" : 1', **constants))
    assert [result.program.values[name].dtype for name in "gcyk"] == [1, 9, 1, 0]


def test_a_piece_of_what_is_put_side_by_side_has_the_extent_of_the_whole() -> None:
    """Concat proves that B and N are equal: the walk in which it does calls the Slice's rows by two names."""
    body = "x = Concat <axis = 1> (user, item) y = Slice (x, four, six, one)"
    text = f"g (float[N, 4] user, float[B, 3] item) => (float[B, 2] y) {{ {body} }}"
    result = rewrite_and_check(parse(text, four=[4], one=[1], six=[6]))
    assert result.program.same == {"N": "B"}


def test_unknown_symbols_of_results_are_their_own() -> None:
    """`unk__0` twice in what was inferred does not make two extents equal."""
    text = "g (float[1, 4] user, float[B, 4] item) => (float[M, 4] y)"
    body = "c = acme.Secret (item) d = acme.Secret (user) y = Add (c, d)"
    proto = parse(f"{text} {{ {body} }}", domains=', "acme" : 1')
    for name in ("c", "d"):
        proto.graph.value_info.append(helper.make_tensor_value_info(name, 1, ["u", 4]))
    result = rewrite(proto)
    assert extents(result, "c") != extents(result, "d")
    assert result.ops == ["Secret", "Secret", "Add"]


# The invariant


@styles
def test_every_value_evaluates_to_itself(style: str) -> None:
    """Each value's plain form, written out, is what the original computes there."""
    body = """
        x = Concat <axis = 1> (user, item) r = Relu (x) h = Gemm (r, w, b) d = Sub (h, item) s = Neg (d)
        g = Gather <axis = 1> (x, columns) m = Mul (s, g) c = Concat <axis = 1> (m, h, user) y = MatMul (c, v)
    """
    constants: dict[str, Any] = {"w": integers(7, 3), "b": integers(3), "v": integers(10, 2), "columns": [6, 0, 1]}
    model = ranking(style, body, **constants)
    names = [o for n in model.graph.node for o in n.output if o not in ("y", "item_shape", "batch", "target")]
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {v.name: v for v in inferred.graph.output}
    del model.graph.output[1:]
    model.graph.output.extend(shapes[name] for name in names)
    result = rewrite_and_check(model)
    b = result.program.context.b
    for value in result.program.values.values():
        assert plain(b, value).dtype == value.dtype


@pytest.mark.parametrize("op_type", ["Unsqueeze", "Squeeze"])
def test_shapes_below_opset_11_follow_negative_axes(op_type: str) -> None:
    """onnx infers the shape of x for v; the shape of d, which no rule derives, must not follow from that."""
    x, wanted = ("[B, 4, 1]", (symbol("B"), 4)) if op_type == "Squeeze" else ("[B, 4]", (symbol("B"), 4, 1))
    text = f"""g (float{x} x, int64{x} i) => (int64[N] y) {{
        v = {op_type} <axes = [-1]> (x) j = {op_type} <axes = [-1]> (i) d = Scatter (v, j, v) y = Shape (d)
    }}"""
    values = rewrite(parse(text, opset=10)).program.values
    assert [shape(values[name].dims or ()) for name in ("v", "d")] == [wanted, wanted]


def test_a_shape_that_stands_behind_an_identity() -> None:
    """Of an operator of which neither onnx nor a rule knows the shape."""
    text = """g (float[1, 4] user, float[B, 4] item) => (float[B, 2] y) <float[1, 3] f> {
        e = acme.Trees (user) f = Identity (e) x = Concat <axis = 1> (e, f, user) s = Shape (item)
        n = Gather <axis = 0> (s, zero) t = Concat <axis = 0> (n, one) u = Expand (x, t)
        z = Concat <axis = 1> (u, item) y = MatMul (z, w) }"""
    model = parse(text, domains=', "acme" : 1', zero=[0], one=[1], w=integers(14, 2))
    result = rewrite(model)
    assert shape(result.program.values["e"].dims or ()) == (1, 3)
    (remark,) = [r for r in result.remarks if r.tensor == "y"]
    assert remark.forms == "[B 2] = user () + item (B)"


@pytest.mark.parametrize(
    "behind",
    [
        "m = Softmax (t)",
        "p = ArgMax <axis = 1> (t) m = Cast <to = 1> (p)",
        "m = ReduceSum (t, one)",
        "m = Transpose <perm = [0, 1]> (t)",
    ],
)
def test_a_shape_without_extents_may_be_none(behind: str) -> None:
    """An empty shape is also written where none is known, and onnxruntime overlooks it: this Det has a rank of 2."""
    body = f"s = Reshape (item, square) t = Det (s) {behind} y = Mul (m, user)"
    proto = ranking("one", body, user="float[2]", item="float[8]", square=[-1, 2, 2, 2], one=[1])
    proto.graph.value_info.append(helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, []))
    result = rewrite_and_check(proto, rtol=1e-6)
    assert "Expand" not in result.ops


def test_a_rule_that_breaks_leaves_its_node_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(op: Op, ctx: Context) -> Derived:
        raise IndexError("list index out of range")

    monkeypatch.setitem(RULES, "Relu", broken)
    text = """g (float[1, 4] user, float[B, 4] item) => (float[B, 4] y) {
        u = Relu (user)
        y = Add (u, item)
    }"""
    result = mari_onnx.optimize(parse(text))
    (remark,) = [r for r in result.report.remarks if r.op_type == "Relu"]
    assert remark.status == "broken"
    assert remark.reason == "a bug in mari-onnx: IndexError: list index out of range"


def test_a_rule_that_breaks_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the input repeats, which a refusal would be remarked on for: there is one remark, and it is a bug."""

    def broken(op: Op, ctx: Context) -> Derived:
        raise IndexError("list index out of range")

    monkeypatch.setitem(RULES, "Relu", broken)
    model = parse("g (float[B, 4] user, float[B, 4] item) => (float[B, 4] y) { u = Relu (user) y = Add (u, item) }")
    remarks = mari_onnx.inspect(model, user_inputs=["user"]).remarks
    assert [r.status for r in remarks if r.op_type == "Relu"] == ["broken"]


def test_an_index_that_is_stored_in_no_type_is_no_bug() -> None:
    """onnxruntime loads a Constant whose value is another attribute than a tensor."""
    text = "g (float[B, 4] user, float[B, 4] item) => (float[B, N] y) { c = Constant <value = int64 {0}> ()"
    model = parse(f"{text} u = Gather <axis = 1> (user, c) y = Mul (u, item) }}")
    model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("value", -1))
    (remark,) = [r for r in mari_onnx.inspect(model, user_inputs=["user"]).remarks if r.op_type == "Gather"]
    assert remark.status == "refused"
    assert "tensor 'c' cannot be read: its type is 0" in remark.reason


def test_a_width_that_onnx_gets_wrong_goes_no_further() -> None:
    """Of Attention in three dimensions, of which it knows none, onnx says that the last is 0: padded, it would be 2."""
    body = """q = Reshape (item, given) a = Attention <q_num_heads = 2, kv_num_heads = 2> (q, q, q)
              p = Pad (a, pads) y = Neg (p)"""
    text = f"g (float[B, 3, 4] item, int64[3] given) => (float[N, M, K] y) {{ {body} }}"
    values = rewrite(parse(text, opset=23, pads=[0, 0, 1, 0, 0, 1])).program.values
    for name in ("a", "p"):
        assert len(values[name].known_dims) == 3
        assert not any(isinstance(extent, int) for extent in shape(values[name].known_dims))


def test_a_node_without_a_rule_has_the_shape_that_follows_from_what_the_walk_knows() -> None:
    """The target of the Expand, as TorchScript writes it, onnx does not follow."""
    body = """s = Shape (item) k = ConstantOfShape <value = int64[1] {1}> (two) m = Mul (k, minus) e = Equal (s, m)
              t = Where (e, k, s) u = Expand (user, t) r = Reshape (u, square) d = Det (r) q = Unsqueeze (d, one)
              y = Mul (q, item)"""
    model = ranking("one", body, item="float[4]", two=[2], minus=np.int64(-1), square=[-1, 2, 2], one=[1])
    result = rewrite_and_check(model, rtol=1e-5)
    assert shape(result.program.values["d"].known_dims) == (symbol("B"),)
    assert result.refusals("Det") == ["no rule for ai.onnx.Det"]


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_a_branch_that_is_not_the_scalar_that_is_wanted(dtype: type) -> None:
    """Which branch it takes follows from shapes; onnx wants the numbers of Range without a dimension."""
    name = "int64" if dtype is np.int64 else "float"
    body = f"""
        s = Shape (item) r = Gather (s, place) c = Equal (r, three)
        n = If (c) <then_branch = t () => ({name}[1] a) {{ a = Identity (limit) }},
                    else_branch = e () => ({name} b) {{ b = Squeeze (limit) }}>
        k = Range (start, n, step) f = Cast <to = 1> (k) m = Mul (user, f) y = Concat <axis = 1> (m, item)"""
    numbers: dict[str, Any] = {"start": np.array(0, dtype), "step": np.array(1, dtype), "limit": np.array([4], dtype)}
    result = rewrite_and_check(ranking("tiled", body, place=np.array(1), three=np.array(3), **numbers))
    onnx.checker.check_model(result.model, full_check=True)


def test_a_long_vector_is_not_followed_element_by_element() -> None:
    """An object of onnx for each element of the Concat would take 4 GB, and 4 seconds."""
    body = """r = Range (start, n, step) both = Concat <axis = 0> (r, r)
              m = ReduceMax <keepdims = 0> (both) f = Cast <to = 1> (m) y = Mul (item, f)"""
    model = ranking("one", body, start=np.int64(0), n=np.int64(2 * 10**7), step=np.int64(1))
    begun = time.process_time()
    result = rewrite(model)
    assert time.process_time() - begun < 1
    assert shape(result.program.values["both"].known_dims) == (4 * 10**7,)
