"""The origins of new tensors: the original value that each is a form of, the form, and the rule that made it.

h.user            was named by a rule               has the origin that the rule noted (`Context.origins`)
scores.heads      is named after another tensor     has the value and rule of the other tensor, and this form
h                 has a name of the original        is the whole value of this name
h.user.expand     was not named                     has the value and rule of the nearest named tensor below
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mari_onnx.document.provenance import WHOLE, Origin
from mari_onnx.emission.names import kind
from mari_onnx.emission.state import Emission
from mari_onnx.ir.expressions import Tensor


def origins(emission: Emission, outputs: dict[str, Tensor]) -> dict[str, Origin]:
    """The origins, by name, of the tensors that the original does not have; `outputs` are the graph's, by name."""
    tensors = outputs | {name: tensor for tensor, name in emission.names.items() if name}
    found: dict[str, Origin] = {}
    for name in _new_names(emission):
        origin = _origin(emission, tensors[name]) if name in tensors else None
        if name in emission.taken:
            origin = Origin(name, WHOLE, origin.rule if origin else "")
        if origin is not None:
            found[name] = origin
    return found


def _new_names(emission: Emission) -> Iterator[str]:
    """The names of the tensors that new nodes compute, except shape arithmetic, and of the new constants."""
    shapes = set(emission.extents.values())
    for node in emission.nodes:
        if emission.model.makers.get(tuple(node.output)) is not node:
            yield from (name for name in node.output if name and name not in shapes)
    for stored in emission.initializers:
        if isinstance(stored, Tensor):
            yield emission.names[stored]


def _origin(emission: Emission, tensor: Tensor) -> Origin | None:
    """The value, form and rule of a tensor; None for a constant that is made of no tensor of the original."""
    known = _known(emission, tensor)
    if known is not None:
        return known
    below, visited = [tensor], {tensor}
    while below:
        inputs = [i for i in below.pop().node.inputs if i is not None and i not in visited]
        for each in inputs:
            if (known := _known(emission, each)) is not None:
                return replace(known, form=kind(tensor))
        visited.update(inputs)
        below += reversed(inputs)
    return None


def _known(emission: Emission, tensor: Tensor) -> Origin | None:
    """The origin of a tensor that was named; None for any other tensor."""
    noted = emission.program.context.origins.get(tensor)
    if noted is not None:
        return noted
    if tensor.form_of is not None:
        other, form = tensor.form_of
        origin = _known(emission, other)
        return origin and replace(origin, form=form or origin.form)
    if tensor.node.is_source and tensor.name is not None:
        return Origin(tensor.name, WHOLE, "")
    if tensor.node.proto is not None and (original := tensor.node.proto.output[tensor.index]) in emission.taken:
        return Origin(original, WHOLE if emission.names.get(tensor) == original else "part", "")
    return None
