"""Nodes with an attribute that onnx's own shape inference does not check, and that ends the process.

    GatherND              a negative `batch_dims`, from which memory before the shape is read
    LayerNormalization    an `axis` beyond 32 bits, where the mean is an output
    Split                 fewer `num_outputs` than there are outputs

onnx raises no error there: it reads or writes what is not its own. So neither its checker nor its inference is given a
model with such a node. onnxruntime, which has the same inference, is asked in a child process whether it loads the
model.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from mari_onnx.document.scopes import all_nodes

LARGEST_AXIS = 2**31 - 1
"""The largest axis that onnx takes for what it is."""


def unsafe_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The unsafe nodes of the graph, of the bodies of its nodes, and of the model's functions."""
    for graph in (model.graph, *model.functions):
        yield from filter(is_unsafe, all_nodes(graph))


def is_unsafe(node: onnx.NodeProto) -> bool:
    """Whether onnx's shape inference may end the process over the node."""
    match node.op_type:
        case "GatherND":
            return any(a.name == "batch_dims" and a.i < 0 for a in node.attribute)
        case "LayerNormalization":
            return any(a.name == "axis" and abs(a.i) > LARGEST_AXIS for a in node.attribute)
        case "Split":
            return any(a.name == "num_outputs" and a.i < len(node.output) for a in node.attribute)
        case _:
            return False
