"""What onnxruntime fills in when it reads a model, for the check and the analysis alone.

Exporters and converters write graphs that break a rule of ONNX and that onnxruntime runs all the same: nodes out of
order, the domain `ai.onnx` spelled out, an extent of -1. The analysis reads a repaired copy of such a model. The model
that is written is made from the user's own, and keeps all that was not asked to change.

The bodies of nodes and the model's functions are left alone: onnxruntime holds them to the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx

from mari_onnx.document.external import all_tensors
from mari_onnx.document.scopes import all_nodes, captures, reads

SPELLED_OUT = "ai.onnx"
"""The other name of the default domain."""

OLD_IR = 3
"""The last IR version in which every initializer is a graph input as well."""

VERSIONS = {
    "": onnx.defs.onnx_opset_version(),
    "ai.onnx.ml": onnx.defs.onnx_ml_opset_version(),
    "ai.onnx.training": 1,
    "ai.onnx.preview.training": 1,
    "com.microsoft": 1,
    "com.microsoft.nchwc": 1,
    "com.microsoft.experimental": 1,
    "com.ms.internal.nhwc": onnx.defs.onnx_opset_version(),
    "org.pytorch.aten": 1,
}
"""The version of each domain that onnxruntime knows, where a model does not import the domain: the latest one."""


def repaired(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model as onnxruntime reads it: a copy, or the same object where nothing has to be filled in."""
    model = proto
    for is_needed, repair in REPAIRS:
        if is_needed(model):
            if model is proto:
                model = onnx.ModelProto()
                model.CopyFrom(proto)
            repair(model)
    return model


def _spells_the_domain_out(model: onnx.ModelProto) -> bool:
    imported = [opset.domain for opset in model.opset_import]
    spelled = SPELLED_OUT in imported or any(node.domain == SPELLED_OUT for node in model.graph.node)
    return spelled or len(set(imported)) < len(imported)


def _use_the_default_domain(model: onnx.ModelProto) -> None:
    """Every domain is imported once; of several versions the last one counts."""
    versions = {"" if o.domain == SPELLED_OUT else o.domain: o.version for o in model.opset_import}
    del model.opset_import[:]
    for domain, version in versions.items():
        model.opset_import.add(domain=domain, version=version)
    for node in model.graph.node:
        if node.domain == SPELLED_OUT:
            node.domain = ""


def _domains_without_import(model: onnx.ModelProto) -> list[str]:
    if not model.opset_import:
        return []  # onnxruntime refuses a model without any
    imported = {opset.domain for opset in model.opset_import}
    used = dict.fromkeys(node.domain for node in all_nodes(model.graph))
    return [domain for domain in used if domain in VERSIONS and domain not in imported]


def _uses_a_domain_without_import(model: onnx.ModelProto) -> bool:
    return bool(_domains_without_import(model))


def _import_used_domains(model: onnx.ModelProto) -> None:
    for domain in _domains_without_import(model):
        model.opset_import.add(domain=domain, version=VERSIONS[domain])


def _has_no_graph_name(model: onnx.ModelProto) -> bool:
    return not model.graph.name


def _name_the_graph(model: onnx.ModelProto) -> None:
    model.graph.name = "graph"


def _is_out_of_order(model: onnx.ModelProto) -> bool:
    later = {name for node in model.graph.node for name in node.output if name}
    for node in model.graph.node:
        if not (later.isdisjoint(node.input) and later.isdisjoint(captures(node))):
            return True
        later.difference_update(node.output)
    return False


def _sort_nodes(model: onnx.ModelProto) -> None:
    """Put each node right behind the first point at which all it reads is there; a cycle stays as it is."""
    nodes = list(model.graph.node)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    order: dict[int, None] = {}
    open_: set[int] = set()
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            i = stack[-1]
            missing = [makers[name] for name in reads(nodes[i]) if name in makers and makers[name] not in order]
            if i in order or not missing:
                order[stack.pop()] = None
                open_.discard(i)
            elif i in open_:
                return
            else:
                open_.add(i)
                stack.extend(reversed(missing))
    copies = [onnx.NodeProto.FromString(nodes[i].SerializeToString()) for i in order]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _negative_extents(model: onnx.ModelProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    graph = model.graph
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield from (dim for dim in info.type.tensor_type.shape.dim if dim.dim_value < 0)


def _has_negative_extents(model: onnx.ModelProto) -> bool:
    return any(True for _ in _negative_extents(model))


def _forget_negative_extents(model: onnx.ModelProto) -> None:
    for dim in _negative_extents(model):
        dim.ClearField("dim_value")


def _segments(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in all_tensors(model) if tensor.HasField("segment")]


def _has_segments(model: onnx.ModelProto) -> bool:
    return bool(_segments(model))


def _forget_segments(model: onnx.ModelProto) -> None:
    """Onnxruntime reads all elements of each; onnx itself reads none."""
    for tensor in _segments(model):
        tensor.ClearField("segment")


def _references(model: onnx.ModelProto) -> list[onnx.AttributeProto]:
    return [a for node in all_nodes(model.graph) for a in node.attribute if a.ref_attr_name]


def _has_references(model: onnx.ModelProto) -> bool:
    return bool(_references(model))


def _forget_references(model: onnx.ModelProto) -> None:
    """An attribute that refers to one of a function, outside any function: onnxruntime takes its value."""
    for attribute in _references(model):
        attribute.ClearField("ref_attr_name")


def _initializers_without_input(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    if model.ir_version > OLD_IR:
        return []
    inputs = {info.name for info in model.graph.input}
    return [tensor for tensor in model.graph.initializer if tensor.name not in inputs]


def _has_initializers_without_input(model: onnx.ModelProto) -> bool:
    return bool(_initializers_without_input(model))


def _declare_initializers(model: onnx.ModelProto) -> None:
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in _initializers_without_input(model)
    )


REPAIRS: tuple[tuple[Callable[[onnx.ModelProto], bool], Callable[[onnx.ModelProto], None]], ...] = (
    (_spells_the_domain_out, _use_the_default_domain),
    (_uses_a_domain_without_import, _import_used_domains),
    (_has_no_graph_name, _name_the_graph),
    (_is_out_of_order, _sort_nodes),
    (_has_negative_extents, _forget_negative_extents),
    (_has_segments, _forget_segments),
    (_has_references, _forget_references),
    (_has_initializers_without_input, _declare_initializers),
)
"""What is amiss, and what onnxruntime makes of it; in this order, for a repair may need one before it."""
