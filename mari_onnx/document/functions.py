"""Functions that a model defines, and the nodes that stand for a call of one.

    Twice(a) => (r) { r = Add(a, a) }        the function
    y = Twice(x)                             the call
    y = Add(x, x)                            what stands for it

Names that the function makes inside get the name of the call's first output in front, so that two calls of the same
function do not meet. Attributes that the function takes are replaced by those of the call, or by their defaults.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import onnx

from mari_onnx.document.scopes import all_names, bodies

Key: TypeAlias = tuple[str, str, str]
"""The domain, the name and the overload, by which a call finds its function."""


def functions_of(model: onnx.ModelProto) -> dict[Key, onnx.FunctionProto]:
    """The functions that the model defines."""
    return {(f.domain, f.name, f.overload): f for f in model.functions}


def key_of(call: onnx.NodeProto) -> Key:
    """What finds the function of a call."""
    return call.domain, call.op_type, call.overload


def nodes_of_call(call: onnx.NodeProto, function: onnx.FunctionProto, taken: Collection[str]) -> list[onnx.NodeProto]:
    """The nodes that compute the outputs of a call from its inputs. No new name is one of those `taken`.

    An output that the function passes through from an input is given by an Identity.
    """
    given = dict(zip(function.input, [*call.input, *[""] * (len(function.input) - len(call.input))], strict=True))
    results = dict(zip(function.output, call.output, strict=False))
    renames, first = dict(given), next(filter(None, call.output))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in function.node]
    for name in _made(copies):
        renames[name] = results.get(name) or _unused(f"{first}/{name}", taken)
    attributes = {a.name: a for a in function.attribute_proto} | {a.name: a for a in call.attribute}
    for node in copies:
        _fill_in(node, attributes)
        _rename(node, renames)
    passed = [(given[name], out) for name, out in results.items() if name in given and out]
    return [*copies, *(onnx.helper.make_node("Identity", [source], [out]) for source, out in passed)]


def _made(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """The names of all tensors that nodes and their bodies make, each once."""
    names = [name for node in nodes for name in node.output if name]
    inner = [name for node in nodes for body in bodies(node) for name in all_names(body)]
    return list(dict.fromkeys([*names, *inner]))


def _unused(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _fill_in(node: onnx.NodeProto, attributes: Mapping[str, onnx.AttributeProto]) -> None:
    """Replace attributes that refer to those of the call; one that the call leaves out is left out."""
    kept = []
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name in attributes:
                kept.append(onnx.AttributeProto())
                kept[-1].CopyFrom(attributes[attribute.ref_attr_name])
                kept[-1].name = attribute.name
        else:
            kept.append(onnx.AttributeProto())
            kept[-1].CopyFrom(attribute)
    node.ClearField("attribute")
    node.attribute.extend(kept)
    for body in bodies(node):
        for inner in body.node:
            _fill_in(inner, attributes)


def _rename(node: onnx.NodeProto, renames: Mapping[str, str]) -> None:
    """Rename what a node and its bodies read and make."""
    node.input[:] = [renames.get(name, name) for name in node.input]
    node.output[:] = [renames.get(name, name) for name in node.output]
    for body in bodies(node):
        for info in (*body.input, *body.output, *body.value_info):
            info.name = renames.get(info.name, info.name)
        for tensor in (*body.initializer, *(sparse.values for sparse in body.sparse_initializer)):
            tensor.name = renames.get(tensor.name, tensor.name)
        for inner in body.node:
            _rename(inner, renames)
