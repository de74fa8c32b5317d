"""Making nodes: the only place that uses onnx-graphsurgeon.

What is written is grafted onto the original document node by node. A whole graph exported by graphsurgeon would
lose metadata, doc strings and functions, so only new and changed nodes ever pass through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter


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


def renamed_node(
    proto: onnx.NodeProto, inputs: Sequence[str], outputs: Sequence[str], name: str | None = None
) -> onnx.NodeProto:
    """The node, on other tensors: attributes, bodies, doc string and metadata stay as they are."""
    if list(proto.input) == list(inputs) and list(proto.output) == list(outputs) and name is None:
        return proto
    copy = onnx.NodeProto()
    copy.CopyFrom(proto)
    copy.ClearField("input")
    copy.ClearField("output")
    copy.input.extend(inputs)
    copy.output.extend(outputs)
    if name is not None:
        copy.name = name
    return copy
