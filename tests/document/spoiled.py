"""Models that break a rule of ONNX and that onnxruntime loads and runs, each as an edit of one that keeps them all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

Edit = Callable[[onnx.ModelProto], None]

USER, ITEM, HIDDEN = 64, 16, 32


def ranker(tail: str = "y = Relu (n)", opset: int = 17) -> onnx.ModelProto:
    """A product of the user's and the item's columns, and what follows."""
    rng = np.random.default_rng(0)
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[B, {USER}] user, float[B, {ITEM}] item) => '
        f"(float[B, {HIDDEN}] y) {{ x = Concat <axis = 1> (user, item) z = MatMul (x, w) n = Add (z, b) {tail} }}"
    )
    shapes = {"w": (USER + ITEM, HIDDEN), "b": (HIDDEN,), "s": (HIDDEN,)}
    arrays = {name: rng.integers(-3, 4, shape).astype(np.float32) for name, shape in shapes.items()}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in arrays.items() if name in used)
    return model


def output_without_shape(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.ClearField("shape")


def output_without_type(model: onnx.ModelProto) -> None:
    model.graph.output[0].ClearField("type")


def output_of_a_wrong_width(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = HIDDEN + 1


def graph_without_name(model: onnx.ModelProto) -> None:
    model.graph.name = ""


def domain_spelled_out(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "ai.onnx"


def domain_spelled_out_in_the_import(model: onnx.ModelProto) -> None:
    model.opset_import[0].domain = "ai.onnx"


def domain_spelled_out_everywhere(model: onnx.ModelProto) -> None:
    model.opset_import[0].domain = "ai.onnx"
    for node in model.graph.node:
        node.domain = "ai.onnx"


def both_spellings_imported(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 11
    model.opset_import.add(domain="ai.onnx", version=17)
    model.graph.node[0].domain = "ai.onnx"


def runtime_domain_without_import(model: onnx.ModelProto) -> None:
    model.graph.node[1].CopyFrom(helper.make_node("FusedMatMul", ["x", "w"], ["z"], domain="com.microsoft"))


def default_domain_without_import(model: onnx.ModelProto) -> None:
    runtime_domain_without_import(model)
    model.opset_import[0].CopyFrom(helper.make_opsetid("com.microsoft", 1))


def nodes_out_of_order(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(nodes)]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def extents_of_minus_one(model: onnx.ModelProto) -> None:
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.shape.dim[0].dim_value = -1


def extents_of_minus_one_within(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = -1
    model.graph.value_info.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [-1, -1]))


def normalization_of_a_later_opset(model: onnx.ModelProto) -> None:
    model.CopyFrom(ranker("y = LayerNormalization (n, s, b)", opset=13))


def old_initializers_that_are_no_inputs(model: onnx.ModelProto) -> None:
    model.ir_version = 3


def tensors_in_segments(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        tensor.segment.begin, tensor.segment.end = 0, 7


def attribute_of_a_function_outside_of_one(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute[0].ref_attr_name = "axis"


SPOILED: tuple[Edit, ...] = (
    output_without_shape,
    output_without_type,
    output_of_a_wrong_width,
    graph_without_name,
    domain_spelled_out,
    domain_spelled_out_in_the_import,
    domain_spelled_out_everywhere,
    both_spellings_imported,
    runtime_domain_without_import,
    default_domain_without_import,
    nodes_out_of_order,
    extents_of_minus_one,
    extents_of_minus_one_within,
    normalization_of_a_later_opset,
    old_initializers_that_are_no_inputs,
    tensors_in_segments,
    attribute_of_a_function_outside_of_one,
)
