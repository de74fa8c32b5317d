"""The graph of a model as reports show it: nodes in their modules, and what they follow from."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from types import MappingProxyType

import onnx

from mari_onnx.document import provenance
from mari_onnx.document.dependence import dependences
from mari_onnx.document.scopes import reads, stored_names
from mari_onnx.report.graph import Graph, GraphNode

NAME_SCOPES = "pkg.torch.onnx.name_scopes"
"""The metadata of a node in which PyTorch's exporter says which modules it belongs to: `['', 'tower', 'tower.fc1',
'linear']`, the node itself last."""


def graph_facts(
    title: str,
    model: onnx.ModelProto,
    request: Collection[str],
    macs: Mapping[str, int],
    original: Graph | None = None,
    products: Mapping[str, str] = MappingProxyType({}),
) -> Graph:
    """The graph of a model for a report, without weights and what is computed of weights alone.

    `request` are the inputs of the request, and `macs` has the multiply-adds of nodes by their first output. A node of
    a written model that says of no module belongs to that of the tensor of the `original` that it makes a form of.
    `products` has that tensor for nodes of which more is known than the metadata of the model says.
    """
    stored = stored_names(model.graph)
    given = [i.name for i in model.graph.input if i.name not in stored]
    nodes = [
        GraphNode("", "", (), (name,), "request" if name in request else "candidates", original=name) for name in given
    ]
    origins = provenance.read(model)
    shown, scopes = set(given), {name: n.scope for n in (original.nodes if original else ()) for name in n.outputs}
    for node, follows in dependences(model.graph, request):
        read = reads(node)
        inputs = tuple(dict.fromkeys(name for name in read if name in shown))
        if node.op_type == "Constant" or (read and not inputs):
            continue
        outputs = tuple(name for name in node.output if name)
        first = next(iter(outputs), "")
        value = products.get(first) or (origins[first].value if first in origins else first)
        scope = scope_of(node) or scopes.get(value, ())
        nodes.append(GraphNode(node.name, node.op_type, inputs, outputs, follows, scope, macs.get(first), value))
        shown.update(outputs)
    return Graph(title, tuple(nodes), tuple(o.name for o in model.graph.output))


def scope_of(node: onnx.NodeProto) -> tuple[str, ...]:
    """The path of the module that a node belongs to, by the exporter's metadata, else by the node's name.

    `['', 'tower', 'tower.layers.0', 'linear']` is `tower`, `layers`, `0`; `/tower/fc1/MatMul` is `tower`, `fc1`.
    """
    written = next((entry.value for entry in node.metadata_props if entry.key == NAME_SCOPES), "")
    if written:
        try:
            modules = ast.literal_eval(written)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            modules = None
        if isinstance(modules, list) and len(modules) > 1 and all(isinstance(each, str) for each in modules):
            return tuple(filter(None, modules[-2].split(".")))
    return tuple(filter(None, node.name.split("/")[:-1]))
