"""What is written: the original document with what changed grafted onto it, and names that a person finds again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, StringStringEntryProto, TensorProto, helper, numpy_helper

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import load
from mari_onnx.emission import lower, write
from mari_onnx.planning.search import best_plan
from tests.graphs import MANY, assert_same, evaluate, feeds, integers, parse, ranking, rewrite, rewrite_and_check

BODY = "x = Concat <axis = 1> (user, item) h = Gemm (x, w, b) y = Relu (h)"
WEIGHTS: dict[str, Any] = {"w": integers(7, 2), "b": integers(2)}


def model(**changes: Any) -> onnx.ModelProto:
    return ranking("one", BODY, **{**WEIGHTS, **changes})


def entry(key: str) -> StringStringEntryProto:
    return StringStringEntryProto(key=key, value=f"{key} value")


# The document


def test_the_document_is_kept() -> None:
    """Everything beside the nodes and weights of the graph, field for field."""
    proto = parse(
        "g (float[1, 4] user_row, float[B, 3] item) => (float[B, N] y) { y = Relu (item) }", domains=', "acme" : 3'
    )
    proto.graph.CopyFrom(model().graph)
    proto.doc_string, proto.domain, proto.model_version = "words", "org.acme", 42
    proto.producer_name, proto.producer_version = "pytorch", "2.9"
    proto.metadata_props.append(entry("features"))
    proto.functions.append(
        helper.make_function(
            "acme", "Twice", ["a"], ["r"], [helper.make_node("Add", ["a", "a"], ["r"])], [helper.make_opsetid("", 17)]
        )
    )
    graph = proto.graph
    graph.doc_string, graph.name = "the graph", "ranker"
    graph.metadata_props.append(entry("graph"))
    graph.input[0].doc_string = "the user"
    graph.output[0].type.denotation = "score"
    graph.quantization_annotation.append(
        onnx.TensorAnnotation(tensor_name="item", quant_parameter_tensor_names=[entry("SCALE_TENSOR")])
    )
    before = proto.SerializeToString()
    result = rewrite_and_check(proto).model
    assert proto.SerializeToString() == before
    for kept, changed in ((proto, result), (graph, result.graph)):
        for descriptor, content in kept.ListFields():
            if descriptor.name not in ("graph", "node", "initializer", "value_info"):
                assert getattr(changed, descriptor.name) == content, descriptor.name
    assert {o.domain: o.version for o in result.opset_import} == {"": 17, "acme": 3}


def test_nodes_that_did_not_change_are_the_originals() -> None:
    """On the same inputs: name, doc string, metadata, overload and attributes byte for byte."""
    proto = model()
    relu = proto.graph.node[-1]
    relu.name, relu.doc_string = "tower/act", "the activation"
    relu.metadata_props.append(entry("pkg.torch.onnx.name_scopes"))
    before = relu.SerializeToString(deterministic=True)
    result = rewrite_and_check(proto).model
    assert result.graph.node[-1].SerializeToString(deterministic=True) == before


def test_a_node_on_other_inputs_keeps_the_rest() -> None:
    proto = ranking("one", "r = LeakyRelu <alpha = 0.5> (user) y = Mul (r, item)", item="float[4]")
    node = next(n for n in proto.graph.node if n.op_type == "LeakyRelu")
    node.name, node.doc_string = "act", "a comment"
    node.metadata_props.append(entry("scope"))
    (found,) = rewrite_and_check(proto).nodes("LeakyRelu")
    assert list(found.input) == ["user_row"]
    assert (found.name, found.doc_string) == ("act", "a comment")
    assert (found.attribute, found.metadata_props) == (node.attribute, node.metadata_props)


def test_a_node_that_runs_on_several_parts_has_a_name_for_each() -> None:
    proto = ranking("one", "x = Concat <axis = 1> (user, item) r = Relu (x) y = Gemm (r, w, b)", **WEIGHTS)
    next(n for n in proto.graph.node if n.op_type == "Relu").name = "act"
    names = [n.name for n in rewrite_and_check(proto).model.graph.node if n.name]
    assert "act" in names
    assert len(set(names)) == len(names)


def test_unusual_attributes_survive() -> None:
    """Empty lists and bytes that are no text, on a node of a domain that nobody knows."""
    proto = parse(
        "g (float[1, 4] user_row, float[B, 3] item) => (float[B, N] y) { y = Relu (item) }", domains=', "acme" : 1'
    )
    secret = helper.make_node("Secret", ["user_row"], ["s"], domain="acme")
    secret.attribute.extend([
        AttributeProto(name="none", type=AttributeProto.INTS),
        AttributeProto(name="blob", type=AttributeProto.STRING, s=b"\xff\x00"),
        helper.make_attribute("many", [numpy_helper.from_array(integers(2), "t")]),
    ])  # fmt: skip
    proto.graph.node.insert(0, secret)
    proto.graph.node[1].CopyFrom(helper.make_node("Add", ["s", "item"], ["y"]))
    result = rewrite(proto)
    assert result.model.graph.node[0] == secret


# value_info


def test_shapes_are_written_of_matrices_alone() -> None:
    """Those of more dimensions would have onnxruntime fuse Add and LayerNormalization, which makes them slower."""
    body = """
        x = Concat <axis = 1> (user, item) h = MatMul (x, w) f = Reshape (h, halves)
        g = Transpose <perm = [0, 2, 1]> (f) s = Add (f, g) n = LayerNormalization (s, scale) y = Flatten (n)
    """
    constants = {"halves": [0, 2, 2], "w": integers(7, 4), "scale": np.ones(2, np.float32)}
    result = rewrite_and_check(ranking("one", body, **constants), rtol=1e-5).model
    ranks = {len(v.type.tensor_type.shape.dim) for v in result.graph.value_info}
    assert ranks == {2}
    assert "LayerNormalization" in [n.op_type for n in result.graph.node]


def test_value_info_of_what_is_left_is_kept_and_of_what_is_gone_is_dropped() -> None:
    proto = onnx.shape_inference.infer_shapes(model())
    next(v for v in proto.graph.value_info if v.name == "h").doc_string = "hidden"
    result = rewrite_and_check(proto).model
    infos = {v.name: v for v in result.graph.value_info}
    assert infos["h"].doc_string == "hidden"
    assert not {"x", "user", "target", "batch"} & set(infos)
    produced = {o for n in result.graph.node for o in n.output} | {t.name for t in result.graph.initializer}
    assert set(infos) <= produced


@pytest.mark.parametrize("op_type", ["Relu", "Neg"])
def test_a_part_does_not_take_the_name_of_the_whole(op_type: str) -> None:
    """With value_info, as dynamo writes it: the declared shape is the whole's."""
    proto = ranking("one", f"x = Concat <axis = 1> (user, item) r = {op_type} (x) y = Gemm (r, w, b)", **WEIGHTS)
    result = rewrite_and_check(onnx.shape_inference.infer_shapes(proto))
    assert all(o != "r" for n in result.model.graph.node for o in n.output)


def test_what_is_new_is_described() -> None:
    result = rewrite_and_check(model())
    infos = {
        v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim]
        for v in result.model.graph.value_info
    }
    user = result.nodes("Gemm")[0].output[0]
    assert infos[user] == [1, 2]


# Initializers


def test_weights_that_nobody_needs_go() -> None:
    proto = model(unused=integers(3))
    stored = {t.name for t in rewrite_and_check(proto).model.graph.initializer}
    assert stored == {"w.user", "w.item", "b.part"}


def test_a_weight_that_is_used_whole_stays_as_it_is() -> None:
    proto = ranking(
        "one", f"{BODY.replace('y = Relu (h)', 'r = Relu (h)')} y = MatMul (r, v)", v=integers(2, 3), **WEIGHTS
    )
    next(t for t in proto.graph.initializer if t.name == "v").doc_string = "the last layer"
    result = rewrite_and_check(proto)
    (kept,) = [t for t in result.model.graph.initializer if t.name == "v"]
    assert kept == next(t for t in proto.graph.initializer if t.name == "v")


def as_inputs(proto: onnx.ModelProto) -> onnx.ModelProto:
    for t in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    return proto


def test_initializers_of_ir_version_3_are_inputs() -> None:
    """There they have to be: new weights are Constant nodes, and the signature stays."""
    wide: dict[str, Any] = {"user": "float[40]", "w": integers(43, 16), "b": integers(16)}
    proto = as_inputs(model(opset=9, zero=[0], **wide))
    proto.ir_version = 3
    result = rewrite_and_check(proto)
    assert result.model.graph.input == proto.graph.input
    names = {i.name for i in result.model.graph.input}
    assert {t.name for t in result.model.graph.initializer} <= names
    assert sum(op in ("Gemm", "MatMul") for op in result.ops) == 2
    assert {t.name for t in proto.graph.initializer} == {t.name for t in result.model.graph.initializer}


def test_an_initializer_that_is_an_input_is_a_default_from_ir_version_4() -> None:
    """The caller may replace it, so that it is no constant: it is not cut, nor dropped."""
    proto = as_inputs(model())
    result = rewrite(proto)
    inputs = feeds(proto, 7)
    for replaced in ({}, {"b": integers(2, seed=9)}, {"w": integers(7, 2, seed=9)}):
        given = {**inputs, **replaced}
        np.testing.assert_array_equal(evaluate(result.model, given)[0], evaluate(proto, given)[0])
    assert {t.name for t in result.model.graph.initializer} >= {"w", "b"}


def test_constants_of_nodes() -> None:
    weight = ", ".join(str(int(e)) for e in integers(7, 2).ravel())
    body = f"w = Constant <value = float[7, 2] {{{weight}}}> () k = Constant <value_float = 2.0> () v = Mul (item, k)"
    proto = ranking("one", f"{body} x = Concat <axis = 1> (user, v) y = MatMul (x, w)")
    assert rewrite_and_check(proto).ops.count("Gemm") == 2


# Outputs


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
    constants = {"k": integers(4), "flat": [-1]}
    used = {name: value for name, value in constants.items() if f"{name})" in body}
    proto = ranking(style, body, item="float[4]", output=outputs, **used)
    result = rewrite_and_check(proto)
    assert result.model.graph.output == proto.graph.output


def test_outputs_that_are_inputs_and_weights_themselves() -> None:
    text = "g (float[B, 4] user, float[B, 4] item) => (float[B, 4] y, float[B, 4] user, float[4] k)"
    rewrite_and_check(parse(f"{text} {{ r = Mul (user, k) y = Mul (r, item) }}", k=integers(4)))


# Names


def test_names_that_are_taken() -> None:
    """The original has tensors called as ours would be."""
    text = "g (float[B, 4] user, float[B, 3] item) => (float[B, 2] y, float[B, 2] z)"
    proto = parse(
        f"{text} {{ x = Concat <axis = 1> (user, item) y = Gemm (x, w) z = Mul (y, a) }}",
        w=integers(7, 2),
        a=integers(2),
    )
    renames = {"a": "user.user", "x": "w.user"}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [renames.get(n, n) for n in names]
    for tensor in proto.graph.initializer:
        tensor.name = renames.get(tensor.name, tensor.name)
    result = rewrite_and_check(proto)
    outputs = [o for n in result.model.graph.node for o in n.output] + [t.name for t in result.model.graph.initializer]
    assert len(set(outputs)) == len(outputs)
    assert result.ops.count("Gemm") == 2


def test_names_of_our_own_shapes_that_are_taken() -> None:
    proto = ranking("tiled", BODY, **WEIGHTS)
    renames = {"b": "mari.shape_0", "h": "mari.shape_1"}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [renames.get(n, n) for n in names]
    for tensor in proto.graph.initializer:
        tensor.name = renames.get(tensor.name, tensor.name)
    rewrite_and_check(proto)


def test_names_say_what_a_tensor_is_a_form_of() -> None:
    body = "h = MatMul (user, w) r = Relu (h) y = Add (r, item)"
    result = rewrite_and_check(ranking("one", body, w=integers(4, 3)))
    assert [n.output[0] for n in result.model.graph.node] == ["h.user", "r.user", "y"]


def test_what_is_written_is_independent_of_what_was_written_before() -> None:
    assert rewrite(model()).model == rewrite(model()).model


# Old and new opsets


@pytest.mark.parametrize("opset", [9, 11, 13, 15, 17, 21])
@pytest.mark.parametrize("style", ["one", "tiled", "requests"])
def test_only_operators_of_the_models_own_opset(opset: int, style: str) -> None:
    """Slice has attributes before 10, Shape a range from 15, Reshape allowzero from 14."""
    body = (
        "x = Concat <axis = 1> (user, item) r = Relu (x) h = MatMul (r, w) z = Concat <axis = 1> (h, user) y = Relu (z)"
    )
    result = rewrite_and_check(ranking(style, body, opset=opset, w=integers(7, 2)))
    assert {o.version for o in result.model.opset_import} == {opset}
    assert result.model.ir_version == 8


@pytest.mark.parametrize("opset", [11, 17])
def test_reshapes_to_several_symbols(opset: int) -> None:
    """[(B L) 4] back to [B L 4] of an input whose length is not known."""
    text = "g (float[1, L, 4] user, float[B, 4] item) => (float[B, L, 4] y)"
    shapes = (
        "s = Shape (user) l = Gather (s, one) i = Shape (item) b = Gather (i, zero) t = Concat <axis = 0> (b, l, four)"
    )
    expanded = "e = Expand (user, t) r = Reshape (e, flat) n = Relu (r) m = Reshape (n, t)"
    body = f"{shapes} {expanded} q = Reshape (item, middle) y = Mul (m, q)"
    constants = {"zero": [0], "one": [1], "four": [4], "flat": [-1, 4], "middle": [-1, 1, 4]}
    rewrite_and_check(parse(f"{text} {{ {body} }}", opset=opset, **constants))


# External data


def external(tmp_path: Path) -> onnx.ModelProto:
    body = "e = Gather (table, user) x = Concat <axis = 1> (e, item) y = Gemm (x, w, b)"
    proto = ranking("one", body, user="int64[]", table=integers(4, 4), **WEIGHTS)
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    return onnx.load(tmp_path / "m.onnx")


def test_a_row_whose_number_is_not_written_is_not_read_for_it() -> None:
    """In a Reshape it is -1: no other input of the request's has to say whether there is a row."""
    text = "g (float[B, 2] item, float[B] other, float[B, 4] user) => (float[B, 2] y)"
    body = """
        unused = Neg (other) largest = ReduceMax <axes = [1], keepdims = 0> (user)
        column = Unsqueeze (largest, one) y = Add (item, column)
    """
    result = rewrite_and_check(parse(f"{text} {{ {body} }}", one=[1]), ["other", "user"])
    assert [node.input[0] for node in result.nodes("Slice")] == ["user"]


def test_external_data_of_what_is_not_split_is_not_touched(tmp_path: Path) -> None:
    original = external(tmp_path)
    document = load(tmp_path / "m.onnx")
    graph = Model(document)
    result = write(lower(best_plan(read(graph, roles_of(graph, [], MANY)), MANY).program, graph)).model
    stored = {t.name: t for t in result.graph.initializer}
    assert stored["table"] == next(t for t in document.proto.graph.initializer if t.name == "table")
    assert stored["table"].data_location == TensorProto.EXTERNAL
    assert stored["w.user"].data_location == TensorProto.DEFAULT
    np.testing.assert_array_equal(numpy_helper.to_array(stored["w.user"]), WEIGHTS["w"][:4])
    onnx.external_data_helper.load_external_data_for_model(result, str(tmp_path))
    assert_same(original, result)


# Sparse weights


def test_sparse_weights_stay() -> None:
    values = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    indices = helper.make_tensor("w_indices", TensorProto.INT64, [3], [0, 3, 12])
    proto = ranking("one", BODY, b=integers(2))
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [7, 2]))
    result = rewrite_and_check(proto).model
    assert result.graph.sparse_initializer == proto.graph.sparse_initializer


@pytest.mark.parametrize(
    ("style", "opset", "item", "body", "output"),
    [
        ("one", 17, "float[3]", "a = Concat <axis = -1> (item, item) x = Concat <axis = 1> (user, item) y = Add (x, w)",
         "float[B, 7] y, float[B, 6] a"),
        ("requests", 17, "float[3]", "x = Concat <axis = 1> (user, item) a = Identity (item) y = Add (x, w)",
         "float[B, 7] y, float[B, 4] user, float[B, 3] a"),
        ("one", 17, "float[4]", "r = Relu (item) a = Relu (item) n = Neg (r) y = Mul (n, user)",
         "float[B, 4] y, float[B, 4] a"),
        ("one", 17, "float[4]", "y = Mul (user, item) a = Transpose (item)", "float[B, 4] y, float[4, B] a"),
        ("one", 12, "float[L]", "y = Identity (user) a = Unsqueeze <axes = [-2]> (item)",
         "float[B, 4] y, float[B, 1, L] a"),
        ("tiled", 17, "float[4]", "a = Relu (user) h = MatMul (a, w4) y = Mul (h, item)",
         "float[B, 4] y, float[B, 4] a"),
    ],
)  # fmt: skip
def test_what_was_not_rewritten_keeps_its_name_and_documentation(
    style: str, opset: int, item: str, body: str, output: str
) -> None:
    """What we would have written just so, however it leaves out defaults, and one of two that compute the same."""
    constants = {"w": integers(7), "w4": integers(4, 4)}
    used = {name: value for name, value in constants.items() if f"{name})" in body}
    model = ranking(style, body, item=item, output=output, opset=opset, **used)
    for node in model.graph.node:
        node.name, node.doc_string = f"layer/{node.output[0]}", "as exported"
    result = rewrite_and_check(model).model
    before = {(n.op_type, *n.input, *n.output): n for n in model.graph.node}
    kept = {n.output[0] for n in result.graph.node if before.get((n.op_type, *n.input, *n.output)) == n}
    assert "a" in kept
    assert kept >= {n.output[0] for n in result.graph.node if (n.op_type, *n.input, *n.output) in before}
