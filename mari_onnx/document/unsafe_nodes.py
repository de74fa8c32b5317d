"""Nodes with something that onnx's own shape inference does not check, and that ends the process.

    GatherND              a negative `batch_dims`, from which memory before the shape is read
    LayerNormalization    an `axis` beyond 32 bits, where the mean is an output
    Einsum                an equation with other characters than letters, dots, commas, spaces and one arrow
    Split                 fewer `num_outputs` than there are outputs
    EyeLike, LabelEncoder, an input whose type it does not know, as behind an operator of com.microsoft
    RegexFullMatch,
    TreeEnsemble

onnx raises no error there: it reads or writes what is not its own, or does not end. So neither its checker nor its
inference is given a model with such a node. onnxruntime, which has the same inference, is asked in a child process
whether it loads the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx

from mari_onnx.document.scopes import all_nodes, stored_names

LARGEST_AXIS = 2**31 - 1
"""The largest axis that onnx takes for what it is."""


EQUATION = re.compile(rb"[A-Za-z., ]*(->[A-Za-z. ]*)?")

READ_TYPES = frozenset({"EyeLike", "LabelEncoder", "RegexFullMatch", "TreeEnsemble"})
"""The operators whose inference reads the type of an input without asking whether it is known."""


def unsafe_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The unsafe nodes of the graph, of the bodies of its nodes, and of the model's functions."""
    graph = model.graph
    stated = (info.name for info in (*graph.input, *graph.value_info) if info.type.WhichOneof("value"))
    typed = {*stated, *stored_names(graph)}
    for each in (graph, *model.functions):
        for node in all_nodes(each):
            if is_unsafe(node) or (node.op_type in READ_TYPES and not typed.issuperset(filter(None, node.input))):
                yield node


def is_unsafe(node: onnx.NodeProto) -> bool:
    """Whether onnx's shape inference may end the process over the node, although it knows the types of its inputs."""
    match node.op_type:
        case "GatherND":
            return any(a.name == "batch_dims" and a.i < 0 for a in node.attribute)
        case "LayerNormalization":
            return any(a.name == "axis" and abs(a.i) > LARGEST_AXIS for a in node.attribute)
        case "Einsum":
            return any(a.name == "equation" and not EQUATION.fullmatch(a.s) for a in node.attribute)
        case "Split":
            return any(a.name == "num_outputs" and a.i < len(node.output) for a in node.attribute)
        case _:
            return False
