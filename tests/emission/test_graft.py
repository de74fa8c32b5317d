"""The original document is kept, and what changed is grafted onto it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document import provenance
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import load
from mari_onnx.emission import write
from mari_onnx.planning.search import best_plan
from tests.emission.models import BODY, WEIGHTS, as_inputs, entry, model
from tests.graphs import MANY, assert_same, evaluate, feeds, integers, parse, ranking, rewrite, rewrite_and_check


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
    *own, (key, entries) = [(e.key, e.value) for e in result.metadata_props]
    assert own == [("features", "features value")]
    assert key == provenance.KEY and json.loads(entries)
    del result.metadata_props[-1]
    for kept, changed in ((proto, result), (graph, result.graph)):
        for descriptor, content in kept.ListFields():
            if descriptor.name not in ("graph", "node", "initializer", "value_info"):
                assert getattr(changed, descriptor.name) == content, descriptor.name
    assert {o.domain: o.version for o in result.opset_import} == {"": 17, "acme": 3}


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


def test_an_initializer_that_is_an_input_is_a_default_from_ir_version_4() -> None:
    """The caller may replace it, so that it is no constant: it is not cut, nor dropped."""
    proto = as_inputs(model())
    result = rewrite(proto)
    inputs = feeds(proto, 7)
    for replaced in ({}, {"b": integers(2, seed=9)}, {"w": integers(7, 2, seed=9)}):
        given = {**inputs, **replaced}
        np.testing.assert_array_equal(evaluate(result.model, given)[0], evaluate(proto, given)[0])
    assert {t.name for t in result.model.graph.initializer} >= {"w", "b"}


def test_a_stored_input_without_a_type_that_no_node_reads_any_more() -> None:
    """onnxruntime finds the type of a stored input by a node that reads it, and a constant is written in its place."""
    proto = as_inputs(model())
    proto.ir_version = 3
    proto.graph.input.add(name="unsure")
    proto.graph.initializer.append(numpy_helper.from_array(integers(2, 7), "unsure"))
    product = next(node for node in proto.graph.node if "w" in node.input)
    proto.graph.node.insert(0, helper.make_node("Transpose", ["unsure"], ["turned"]))
    product.input[1] = "turned"
    rewrite_and_check(proto)


def external(tmp_path: Path) -> onnx.ModelProto:
    body = "e = Gather (table, user) x = Concat <axis = 1> (e, item) y = Gemm (x, w, b)"
    proto = ranking("one", body, user="int64[]", table=integers(4, 4), **WEIGHTS)
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    return onnx.load(tmp_path / "m.onnx")


def test_external_data_of_what_is_not_split_is_not_touched(tmp_path: Path) -> None:
    original = external(tmp_path)
    document = load(tmp_path / "m.onnx")
    graph = Model(document)
    result = write(best_plan(read(graph, roles_of(graph, [], MANY)), MANY).lowered).model
    stored = {t.name: t for t in result.graph.initializer}
    assert stored["table"] == next(t for t in document.proto.graph.initializer if t.name == "table")
    assert stored["table"].data_location == TensorProto.EXTERNAL
    assert stored["w.user"].data_location == TensorProto.DEFAULT
    np.testing.assert_array_equal(numpy_helper.to_array(stored["w.user"]), WEIGHTS["w"][:4])
    onnx.external_data_helper.load_external_data_for_model(result, str(tmp_path))
    assert_same(original, result)


def test_sparse_weights_stay() -> None:
    values = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    indices = helper.make_tensor("w_indices", TensorProto.INT64, [3], [0, 3, 12])
    proto = ranking("one", BODY, b=integers(2))
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [7, 2]))
    result = rewrite_and_check(proto).model
    assert result.graph.sparse_initializer == proto.graph.sparse_initializer


def test_an_initializer_that_an_annotation_names_stays() -> None:
    proto = model()
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "scale"))
    annotation = proto.graph.quantization_annotation.add(tensor_name="h")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scale")
    result = rewrite_and_check(proto).model
    assert "scale" in {t.name for t in result.graph.initializer}
    assert result.graph.quantization_annotation == proto.graph.quantization_annotation


def test_axes_that_may_differ_have_names_of_their_own() -> None:
    """onnxruntime puts one tensor [B, 1] into the memory of another, so that no two of other sizes are called so."""
    text = "g (float[B, 4] rows, int64[B] index, float[B, 3] item, float[B, 2] other) => (float[M, 2] y)"
    body = """
        g = Gather (rows, index) h = MatMul (g, v) x = Concat <axis = 1> (h, item, other) y = MatMul (x, w)
    """
    proto = parse(f"{text} {{ {body} }}", v=integers(4, 2), w=integers(7, 2))
    for name in ("g", "h"):
        proto.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", None]))
    result = rewrite(proto, ()).model
    names = {info.name: info.type.tensor_type.shape.dim[0].dim_param for info in result.graph.input}
    assert names == {"rows": "rows.0", "index": "B", "item": "B", "other": "B"}
    assert not any(dim.dim_param == "B" for info in result.graph.value_info for dim in info.type.tensor_type.shape.dim)
    index = np.array([0, 2, 1, 1, 0, 2, 2])
    given = {"rows": integers(3, 4), "index": index, "item": integers(7, 3), "other": integers(7, 2)}
    np.testing.assert_array_equal(evaluate(result, given)[0], evaluate(proto, given)[0])
