"""The facts about a model that reports show: producer, opsets, inputs, outputs and size."""

from __future__ import annotations

import onnx

from mari_onnx.document.document import Document
from mari_onnx.document.graph_view import shape_of
from mari_onnx.document.scopes import all_nodes
from mari_onnx.report.model import ModelFacts, TensorFacts


def facts(document: Document) -> ModelFacts:
    """The facts about a document, for a report."""
    proto, graph = document.proto, document.proto.graph
    stored = {tensor.name for tensor in graph.initializer}
    return ModelFacts(
        path=str(document.path) if document.path else None,
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        ir_version=proto.ir_version,
        opsets={opset.domain or "ai.onnx": opset.version for opset in proto.opset_import},
        nodes=sum(1 for _ in all_nodes(graph)),
        initializers=len(graph.initializer) + len(graph.sparse_initializer),
        bytes=document.bytes,
        inputs=tuple(_tensor_facts(value) for value in graph.input if value.name not in stored),
        outputs=tuple(_tensor_facts(value) for value in graph.output),
        sha256=document.sha256,
        data_sha256=document.data_sha256,
    )


def _tensor_facts(value: onnx.ValueInfoProto) -> TensorFacts:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorFacts(value.name, (kind or "unknown").removesuffix("_type"), ())
    dtype = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return TensorFacts(value.name, dtype, tuple(shape_of(value) or ()))
