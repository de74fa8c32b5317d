"""Names of the tensors in the written model: a reader finds each of them again in the original model.

    h              a tensor that holds a whole value of the original has the name of the value
    h.user         a form of the value `h`: here the summand that depends on the user alone
    w.part         a constant that was cut out of the constant `w`
    h.user.relu    a new tensor without a name: the nearest named tensor below it, and the operator
    h.user.2       a second tensor of the same name

Three groups of names are fixed and come first: the names of the graph's inputs, those of its outputs, and the names by
which the bodies of Loop, Scan and If read tensors of the graph around them ("captures").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mari_onnx.emission.protos import renamed_node
from mari_onnx.emission.state import Emission
from mari_onnx.ir.axes import extents
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.forms import Value


def name_tensors(emission: Emission, nodes: Sequence[Node], outputs: Sequence[Tensor]) -> None:
    """Give every output of the nodes a name, in `emission.names`; `outputs` are the tensors of the graph's outputs."""
    naming = _Naming(emission)
    naming.name_inputs(tensor for node in nodes if node.op_type == "<input>" for tensor in node.outputs)
    naming.name_outputs(outputs)
    naming.name_captures(nodes)
    naming.name_the_rest(tensor for node in nodes for tensor in node.outputs)


@dataclass
class _Naming:
    """The names given so far are in `emission.names`. `used` are the names that no further tensor may have."""

    emission: Emission
    used: set[str] = field(default_factory=set)

    def name_inputs(self, inputs: Iterable[Tensor]) -> None:
        """Give the graph's inputs their own names, also those that hold no value, because only their row 0 is used."""
        for tensor in inputs:
            assert tensor.name is not None, "an input is made with its name"
            self.emission.names[tensor] = tensor.name
            self.used.add(tensor.name)

    def name_outputs(self, outputs: Sequence[Tensor]) -> None:
        """Give the graph's outputs their own names, and reserve these.

        The name is reserved alone, and an Identity gives it to the output later, where the tensor is an input, a
        constant or an output under another name already, or where it is one of `Lowered.apart`.
        """
        for value, tensor in zip(self.emission.program.outputs, outputs, strict=True):
            fixed = tensor.node.is_source or tensor.stored
            if not fixed and tensor not in self.emission.lowered.apart:
                self.emission.names.setdefault(tensor, value.name)
            if not (fixed and tensor.name == value.name):
                self.used.add(value.name)

    def name_captures(self, nodes: Sequence[Node]) -> None:
        """Give what bodies read its original name, if the tensor is still the whole value."""
        inputs = {info.name for info in self.emission.model.graph.input}
        for name, tensor in (capture for node in nodes for capture in node.captures):
            free = name not in self.used | inputs and tensor.name in (None, name)
            if free and _is_whole(self.emission.program.values.get(name), tensor):
                self.emission.names.setdefault(tensor, name)
                self.used.add(name)

    def name_the_rest(self, tensors: Iterable[Tensor]) -> None:
        """Give a name to every tensor that has none yet."""
        for tensor in tensors:
            if tensor in self.emission.names:
                continue
            if _original_name(tensor) == "":  # an optional output that the original leaves out
                self.emission.names[tensor] = ""
                continue
            wanted = self._name_of_form(tensor) or self._name_of_node(tensor) or _name_from_below(tensor)
            name = self.emission.names[tensor] = unique(self.emission, wanted, self.used, tensor)
            self.used.add(name)

    def _name_of_form(self, tensor: Tensor) -> str | None:
        """The name that the analysis gave the tensor.

        A name of the original is only for the tensor that holds that value: any other tensor is called `h.same`.
        None for a tensor without a name, and for a second tensor that holds the same value.
        """
        name = tensor.name
        if name is None or name not in self.emission.taken:
            return name
        value = self.emission.program.values.get(name)
        if value is None or not _holds(value, tensor):
            return f"{name}.same"
        return None if name in self.used else name

    def _name_of_node(self, tensor: Tensor) -> str | None:
        """The name of the original node's output: `h`, or `h.part` if the node ran on a part of its input."""
        original = _original_name(tensor)
        if original is None:
            return None
        value = self.emission.program.values.get(original)
        return original if value is None or value.array.tensor is tensor else f"{original}.part"


def _original_name(tensor: Tensor) -> str | None:
    """The name of the output that the original node gives in this place; None for a node of our own."""
    proto = tensor.node.proto
    return None if proto is None else proto.output[tensor.index]


def unique(emission: Emission, wanted: str, used: set[str], tensor: Tensor | None = None) -> str:
    """The name `wanted`, with a number behind it if another tensor has the name.

    A name of the original is given only to the `tensor` that holds the value of that name.
    """
    value = emission.program.values.get(wanted)
    may_be_original = value is not None and tensor is not None and _holds(value, tensor)
    name, count = wanted, 1
    while name in used or (name in emission.taken and (name != wanted or not may_be_original)):
        count += 1
        name = f"{wanted}.{count}"
    return name


def _holds(value: Value, tensor: Tensor) -> bool:
    """Whether the tensor is the value's array, or the value as the caller's rows give it (see `Value.written`)."""
    return any(array is not None and array.tensor is tensor for array in (value.array, value.written))


def _is_whole(value: Value | None, tensor: Tensor) -> bool:
    """Whether a computed tensor has the shape of the value: a body reads all rows, also those that repeat."""
    computed = not (tensor.node.is_source or tensor.stored)
    return computed and value is not None and value.dims is not None and tensor.shape == extents(value.dims)


def _name_from_below(tensor: Tensor) -> str:
    """A name from the nearest named tensor along the first inputs: `fc.weight.part`, `scores.expand`."""
    suffix = kind(tensor)
    below: Tensor | None = tensor
    while below is not None and below.name is None:
        below = next((i for i in below.node.inputs if i is not None), None)
    return f"{below.name}.{suffix}" if below is not None and below.name is not None else suffix


def kind(tensor: Tensor) -> str:
    """The last part of the name of a tensor without a name: "part" for a stored tensor, else the operator."""
    return "part" if tensor.stored else tensor.op_type.strip("<>").lower()


def label(emission: Emission) -> None:
    """Give each node a name of its own, as some runtimes require.

    An original node keeps its name. Of several new nodes with the name of one original node, the first keeps the name,
    and the others are called after their first outputs.
    """
    makers, nodes = emission.model.makers, emission.nodes
    is_original = [makers.get(tuple(node.output)) is node for node in nodes]
    used = {node.name for node, original in zip(nodes, is_original, strict=True) if original}
    for i, node in enumerate(nodes):
        if is_original[i] or not node.name:
            continue
        name, count = node.name, 0
        while name in used:
            count += 1
            name = node.output[0] if count == 1 else f"{node.output[0]}.{count}"
        if name != node.name:
            nodes[i] = renamed_node(node, node.input, node.output, name=name)
        used.add(name)
