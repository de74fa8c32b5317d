"""Node messages: new ones, and copies of the original's on other tensors. Only this module uses onnx-graphsurgeon.

graphsurgeon exports single nodes here and never a graph: a whole graph would lose metadata, doc strings and functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from mari_onnx.document.scopes import bodies, stored_names


def new_node(op_type: str, name: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """A node of the standard domain with one output."""
    node = gs.Node(
        op_type,
        name,
        attrs={k: list(v) if isinstance(v, tuple) else v for k, v in attributes.items()},
        inputs=[gs.Variable(i) for i in inputs],
        outputs=[gs.Variable(output)],
    )
    proto: onnx.NodeProto = OnnxExporter.export_node(node)
    return proto


SAID = ("name", "doc_string", "metadata_props", "device_configurations")
"""What is said of a node beside what it computes."""


def say_of(node: onnx.NodeProto, original: onnx.NodeProto) -> None:
    """Say of a node, in place, what is said of the one that it stands for; one without a name keeps its own."""
    for field, content in original.ListFields():
        if field.name in SAID and hasattr(content, "extend"):
            getattr(node, field.name).extend(content)
        elif field.name in SAID:
            setattr(node, field.name, content)


def renamed_node(
    proto: onnx.NodeProto,
    inputs: Sequence[str],
    outputs: Sequence[str],
    name: str | None = None,
    captures: Mapping[str, str] = MappingProxyType({}),
) -> onnx.NodeProto:
    """A copy of a node on other tensors: attributes, doc string and metadata stay as they are.

    `captures` has new names for tensors that the node's bodies read of the graphs around them. If nothing changes, the
    node itself is returned.
    """
    if list(proto.input) == list(inputs) and list(proto.output) == list(outputs) and name is None and not captures:
        return proto
    copy = onnx.NodeProto()
    copy.CopyFrom(proto)
    copy.ClearField("input")
    copy.ClearField("output")
    copy.input.extend(inputs)
    copy.output.extend(outputs)
    if name is not None:
        copy.name = name
    for body in bodies(copy) if captures else ():
        _rename_captures(body, captures)
    return copy


def _rename_captures(body: onnx.GraphProto, captures: Mapping[str, str]) -> None:
    """Rename the captures of a body in place; a name that the body defines itself is no capture from there on."""
    defined = {i.name for i in body.input} | stored_names(body)
    for node in body.node:
        renames = {name: new for name, new in captures.items() if name not in defined}
        node.input[:] = [renames.get(name, name) for name in node.input]
        for inner in bodies(node):
            _rename_captures(inner, renames)
        defined.update(node.output)
    for output in body.output:
        if output.name not in defined:
            output.name = captures.get(output.name, output.name)
