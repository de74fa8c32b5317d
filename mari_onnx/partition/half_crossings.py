"""What crosses from one model of a split to the ranking model, in half precision: half the bytes of each number.

    user model       k [1, 64, 32] float           k.float16 = Cast (k)
    ranking model    k [1, 64, 32] float           k = Cast (k.float16)

Example: the keys and values of a history in a cache. A number keeps 11 binary digits, about 3 decimal ones, and one
beyond 65,504 becomes infinite. Inputs of the original that are sent unchanged keep their type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from mari_onnx.document.scopes import all_names
from mari_onnx.errors import UserError
from mari_onnx.report.split import Crossing, Role

HALF = ".float16"
"""The end of the name of a value that crosses in half precision."""


def in_half(
    models: Mapping[Role, onnx.ModelProto], crossings: Sequence[Crossing]
) -> tuple[dict[Role, onnx.ModelProto], tuple[Crossing, ...]]:
    """The models of a split with casts around what crosses in float32, and the crossings as they are then.

    Raises UserError where nothing crosses that one of the models computes in float32.
    """
    taken = {name for model in models.values() for name in all_names(model.graph)}
    names: dict[str, str] = {}
    for one in crossings:
        if one.computed and one.dtype == "float":
            name = f"{one.name}{HALF}"
            while name in taken:
                name += "_"
            names[one.name] = name
            taken.add(name)
    if not names:
        raise UserError("nothing crosses in float32 that could cross in float16", "leave --crossing out")
    sent = tuple(
        replace(one, name=names[one.name], dtype="float16", bytes=one.bytes // 2) if one.name in names else one
        for one in crossings
    )
    return {role: _with_casts(role, model, names) for role, model in models.items()}, sent


def _with_casts(role: Role, model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """One of the models, which casts what it sends, or in the ranking model what it is sent."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    ends = out.graph.input if role == "rank" else out.graph.output
    casts = []
    for info in ends:
        if (half := names.get(info.name)) is None:
            continue
        whole, info.name, info.type.tensor_type.elem_type = info.name, half, TensorProto.FLOAT16
        if role == "rank":
            casts.append(helper.make_node("Cast", [half], [whole], to=TensorProto.FLOAT))
        else:
            casts.append(helper.make_node("Cast", [whole], [half], to=TensorProto.FLOAT16))
    nodes = [*casts, *out.graph.node] if role == "rank" else [*out.graph.node, *casts]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return out
