"""Grafting: the original document with the written nodes and initializers instead of its own.

Everything else is copied field by field: inputs, outputs, metadata, doc strings, functions, opset imports. Axes of
inputs that have one name, and are not known to be equal, get names of their own.
"""

from __future__ import annotations

import onnx

from mari_onnx.emission.constants import folded
from mari_onnx.emission.state import Emission
from mari_onnx.ir.axes import extents
from mari_onnx.ir.expressions import Tensor


def graft(emission: Emission) -> onnx.ModelProto:
    """The original document with the nodes and initializers of the emission instead of its own."""
    source = emission.model.document.proto
    out = onnx.ModelProto()
    for descriptor, content in source.ListFields():
        if descriptor.name != "graph":
            _set(out, descriptor.name, content)
    for descriptor, content in source.graph.ListFields():
        if descriptor.name not in ("node", "initializer", "value_info"):
            _set(out.graph, descriptor.name, content)
    out.graph.node.extend(emission.nodes)
    # An initializer that is the default of an input, or that an annotation names, stays even if no node reads it.
    named = {i.name for i in source.graph.input} | _annotated(source.graph)
    initializers = [folded(emission, t) if isinstance(t, Tensor) else t for t in emission.initializers]
    written = {t.name for t in initializers}
    kept = [t for t in source.graph.initializer if t.name in named and t.name not in written]
    out.graph.initializer.extend([*initializers, *kept])
    produced = {o for n in emission.nodes for o in n.output} | {t.name for t in out.graph.initializer}
    original_infos = [v for v in source.graph.value_info if v.name in produced and _still_holds(emission, v.name)]
    new = emission.infos.keys() - {v.name for v in (*original_infos, *source.graph.output)}
    out.graph.value_info.extend([*original_infos, *(info for name, info in emission.infos.items() if name in new)])
    _tell_apart(emission, out.graph)
    _declare_stored(out.graph)
    emission.program.signature.apply(out.graph)
    return out


def _declare_stored(graph: onnx.GraphProto) -> None:
    """Give inputs without a type that of the initializer of their name, in place.

    onnxruntime finds it by the node that reads the input, and does not load a model in which no node is left that does.
    """
    stored = {t.name: t for t in graph.initializer}
    for info in graph.input:
        if info.type.WhichOneof("value") is None and (t := stored.get(info.name)) is not None:
            info.type.CopyFrom(onnx.helper.make_tensor_type_proto(t.data_type, t.dims))


def _tell_apart(emission: Emission, graph: onnx.GraphProto) -> None:
    """Give axes of inputs that may differ from others of their name their own, in place. No shape says the common one.

    onnxruntime puts a tensor [N, 4] into the memory of another [N, 4], and fails where they are of different sizes.
    """
    apart, same = emission.model.symbols, emission.program.same
    names = set[str]()
    for info in graph.input if apart else ():
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            own, common = apart.get((info.name, axis)), dim.dim_param
            if own is not None and same.get(own, own) != same.get(common, common):
                names.add(common)
                dim.dim_param = own
    for info in graph.value_info if names else ():
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.Clear()


def _annotated(graph: onnx.GraphProto) -> set[str]:
    """The tensors that annotations name: what is quantized, and by which scale and zero point."""
    annotations = graph.quantization_annotation
    return {a.tensor_name for a in annotations} | {e.value for a in annotations for e in a.quant_parameter_tensor_names}


def _still_holds(emission: Emission, name: str) -> bool:
    """Whether the shape that the exporter wrote down for a name is the shape of the tensor that has the name now.

    The tensor may be a form of the value with another shape: `h` of shape [B, 8] may be written as [1, 8].
    """
    value = emission.program.values.get(name)
    if value is None or value.dims is None:
        return True
    forms = [tensor for tensor in (value.array.tensor, value.written and value.written.tensor) if tensor]
    return all(t.shape == extents(value.dims) for t in forms if emission.names.get(t) == name)


def _set(message: onnx.ModelProto | onnx.GraphProto, name: str, content: object) -> None:
    field_ = getattr(message, name)
    if hasattr(field_, "extend"):
        field_.extend(content)
    elif hasattr(field_, "CopyFrom"):
        field_.CopyFrom(content)
    else:
        setattr(message, name, content)
