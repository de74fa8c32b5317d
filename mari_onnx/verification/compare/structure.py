"""The structural difference of two graphs: nodes and initializers that were added, removed or changed."""

from __future__ import annotations

import math
from collections import Counter

import onnx

from mari_onnx.document.arrays import tensor_array
from mari_onnx.document.document import Document
from mari_onnx.report.model import Change, Structure
from mari_onnx.serving.two_graphs import optimized_alone


def structural_difference(first: Document, second: Document) -> Structure:
    """The structural difference of two models, as `report.model.Structure` defines it.

    Of a model of two graphs, the optimized one is compared.
    """
    before, after = first.proto.graph, optimized_alone(second.proto).graph
    by_output = {name: node for node in before.node for name in node.output if name}
    by_name = {node.name: node for node in before.node if node.name}
    found: set[int] = set()
    kept = 0
    counts: dict[str, Counter[tuple[str, str]]] = {kind: Counter() for kind in ("added", "removed", "changed")}
    for node in after.node:
        match = next((by_output[name] for name in node.output if name in by_output), None) or by_name.get(node.name)
        if match is None or id(match) in found:
            counts["added"][_kind(node)] += 1
            continue
        found.add(id(match))
        if _same(match, node):
            kept += 1
        else:
            counts["changed"][_kind(node)] += 1
    for node in before.node:
        if id(node) not in found:
            counts["removed"][_kind(node)] += 1
    kinds = sorted({kind for count in counts.values() for kind in count}, key=lambda kind: (kind[1], kind[0]))
    changes = tuple(Change(*kind, *(counts[c][kind] for c in ("added", "removed", "changed"))) for kind in kinds)
    ours, theirs = ({t.name: t for t in graph.initializer} for graph in (before, after))
    shared = ours.keys() & theirs.keys()
    return Structure(
        kept,
        changes,
        initializers_added=len(theirs.keys() - ours.keys()),
        initializers_removed=len(ours.keys() - theirs.keys()),
        initializers_changed=sum(not _same_tensor(first, ours[name], second, theirs[name]) for name in shared),
        initializer_bytes=(_bytes(before), _bytes(after)),
    )


def _kind(node: onnx.NodeProto) -> tuple[str, str]:
    """The operator and the scope of a node: `/tower/fc1/MatMul` has the scope `/tower/fc1`.

    The scope is taken from the node's name, else from its first output's.
    """
    name = node.name or next(iter(node.output), "")
    operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    return operator, name.rpartition("/")[0]


def _same(a: onnx.NodeProto, b: onnx.NodeProto) -> bool:
    """Whether two nodes have the same operator, attributes, inputs and outputs."""
    attributes = [sorted(each.SerializeToString(deterministic=True) for each in node.attribute) for node in (a, b)]
    return (
        (a.op_type, a.domain, list(a.input), list(a.output)) == (b.op_type, b.domain, list(b.input), list(b.output))
        and attributes[0] == attributes[1]
    )  # fmt: skip


def _same_tensor(first: Document, a: onnx.TensorProto, second: Document, b: onnx.TensorProto) -> bool:
    if (a.data_type, list(a.dims)) != (b.data_type, list(b.dims)):
        return False
    return a == b or tensor_array(first, a).tobytes() == tensor_array(second, b).tobytes()


def _bytes(graph: onnx.GraphProto) -> int:
    return sum(math.prod(tensor.dims) * _width(tensor.data_type) for tensor in graph.initializer)


def _width(data_type: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) if data_type != onnx.TensorProto.STRING else 0
