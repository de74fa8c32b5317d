"""Names that a person finds again: original ones for what is what it was."""

from __future__ import annotations

from collections.abc import Sequence

from mari_onnx.emission.protos import renamed_node
from mari_onnx.emission.state import Emission
from mari_onnx.ir.axes import extents
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.forms import Value


def name_tensors(emission: Emission, nodes: Sequence[Node], outputs: Sequence[Tensor]) -> None:
    """Original names for what is what it was, names of the value that it is a form of for the rest."""
    values, names = emission.program.values, emission.names
    used: set[str] = set()
    called = [(value.name, tensor) for value, tensor in zip(emission.program.outputs, outputs, strict=True)]
    for name, tensor in called:
        named = tensor.node.is_source or tensor.stored
        if not named and tensor not in emission.lowered.apart:
            names.setdefault(tensor, name)
        if not (named and tensor.name == name):
            used.add(name)
    inputs = {info.name for info in emission.model.graph.input}
    for name, tensor in (capture for node in nodes for capture in node.captures):
        if name not in used | inputs and tensor.name in (None, name) and _is_as_before(values.get(name), tensor):
            names.setdefault(tensor, name)
            used.add(name)
    for node in nodes:
        for tensor in node.outputs:
            wanted = tensor.name
            if tensor in names:
                continue
            original = node.proto.output[tensor.index] if node.proto is not None else None
            if original == "":
                names[tensor] = ""  # an optional output that the original leaves out
                continue
            if wanted in emission.taken:
                value = values.get(wanted)
                own = value is not None and _holds(value, tensor)
                if not own or wanted in used:
                    wanted = None if own else f"{wanted}.same"
            if wanted is None and original is not None:
                value = values.get(original)
                wanted = original if value is None or value.array.tensor is tensor else f"{original}.part"
            names[tensor] = unique(emission, wanted or _fallback(tensor), used, tensor)
            used.add(names[tensor])


def unique(emission: Emission, wanted: str, used: set[str], tensor: Tensor | None = None) -> str:
    """A name that nothing has yet; one of the original's only for the tensor that has it there."""
    value = emission.program.values.get(wanted)
    own = value is not None and tensor is not None and _holds(value, tensor)
    name, count = wanted, 1
    while name in used or (name in emission.taken and (name != wanted or not own)):
        count += 1
        name = f"{wanted}.{count}"
    return name


def _holds(value: Value, tensor: Tensor) -> bool:
    return any(array is not None and array.tensor is tensor for array in (value.array, value.written))


def _is_as_before(value: Value | None, tensor: Tensor) -> bool:
    """Whether a tensor that is a value has all its rows, too: a body reads those by the name that it always did."""
    computed = not (tensor.node.is_source or tensor.stored)
    return computed and value is not None and value.dims is not None and tensor.shape == extents(value.dims)


def _fallback(tensor: Tensor) -> str:
    """A name from the first named tensor below: `fc.weight.part`, `scores.expand`."""
    suffix = "part" if tensor.stored else tensor.op_type.strip("<>").lower()
    t: Tensor | None = tensor
    while t is not None and t.name is None:
        t = next((i for i in t.node.inputs if i is not None), None)
    return f"{t.name}.{suffix}" if t is not None and t.name is not None else suffix


def label(emission: Emission) -> None:
    """Runtimes want nodes to have names of their own: originals keep theirs, on other parts only the first of each."""
    makers, nodes = emission.model.makers, emission.nodes
    kept = [makers.get(tuple(node.output)) is node for node in nodes]
    used = {node.name for node, original in zip(nodes, kept, strict=True) if original}
    for i, node in enumerate(nodes):
        if kept[i] or not node.name:
            continue
        name, count = node.name, 0
        while name in used:
            count += 1
            name = node.output[0] if count == 1 else f"{node.output[0]}.{count}"
        nodes[i] = renamed_node(node, node.input, node.output, name=name)
        used.add(name)
