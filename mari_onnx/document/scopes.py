"""The names that nodes read and make, with those of the graphs inside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

_GRAPH, _GRAPHS = onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node has as attributes: the branches of If, the bodies of Loop and Scan."""
    found: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        kind = attribute.type
        if kind == _GRAPH:
            found.append(attribute.g)
        elif kind == _GRAPHS:
            found.extend(attribute.graphs)
    return found


def stored_names(graph: onnx.GraphProto) -> set[str]:
    """The names of a graph's initializers, dense and sparse."""
    return {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}


def captures(node: onnx.NodeProto) -> list[str]:
    """The tensors of the graphs around it that a node's bodies read by name, each once, in order."""
    found = bodies(node)
    return list(dict.fromkeys(name for body in found for name in _free_names(body))) if found else []


def reads(node: onnx.NodeProto) -> list[str]:
    """The tensors that the node reads: its inputs, and those that its bodies read by name."""
    return [*filter(None, node.input), *captures(node)]


def reads_of_elements(node: onnx.NodeProto) -> list[str]:
    """The tensors whose elements the node reads: none for Shape and Size."""
    return [] if node.op_type in ("Shape", "Size") else reads(node)


def _free_names(body: onnx.GraphProto) -> Iterator[str]:
    known = {i.name for i in body.input} | stored_names(body)
    for node in body.node:
        for inner in bodies(node):
            yield from (name for name in _free_names(inner) if name not in known)
        yield from (name for name in node.input if name and name not in known)
        known.update(node.output)
    yield from (o.name for o in body.output if o.name not in known)


def all_names(graph: onnx.GraphProto) -> Iterator[str]:
    """The names of all tensors in a graph and in the bodies of its nodes; a name may occur several times."""
    yield from stored_names(graph)
    yield from (i.name for i in graph.input)
    for node in graph.node:
        yield from filter(None, node.output)
        for inner in bodies(node):
            yield from all_names(inner)


def all_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Every node of a graph, or of a function, and of the bodies of its nodes."""
    for node in graph.node:
        yield node
        for inner in bodies(node):
            yield from all_nodes(inner)


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors of a graph in place, also where bodies of nodes read them."""
    sparse = [t.values for t in graph.sparse_initializer]
    for named in (*graph.input, *graph.output, *graph.initializer, *sparse, *graph.value_info):
        named.name = names.get(named.name, named.name)
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
        for body in bodies(node):
            rename(body, names)
