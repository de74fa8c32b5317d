"""Lowering: the needed expressions as operators of the model's own opset, with the arithmetic for their shapes.

    Expand(x, [B, 4])           becomes Expand(x, Concat(Shape(user)[0:1], [4]))
    Expand before opset 8       becomes Tile(x, Concat(Shape(user)[0:1], [1]))
    Slice(x, axis 1, 2 to 5)    has its limits as attributes before opset 10, and as inputs from opset 10 on

A lowered program has no names and no protobuf messages yet. Every plan is lowered, because its price counts the shape
arithmetic. Only the lowered program of the best plan is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onnx import TensorProto, helper

from mari_onnx.analysis.interpret import Program
from mari_onnx.document.graph_view import Model
from mari_onnx.emission.opset import EXPAND, lacking
from mari_onnx.emission.order import needed
from mari_onnx.emission.quantization import keep_apart
from mari_onnx.emission.runtime_quirks import adds_units, needs_unsqueeze, overlooked
from mari_onnx.emission.shape_arithmetic import Instruction, Integers, Operand, ShapeArithmetic
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import ROW, Extent, Poly, divide, positive, symbols
from mari_onnx.ir.operators import OPERATORS
from mari_onnx.ir.validate import check_expressions

SCATTER_ELEMENTS = 11
"""The opset from which Scatter is called ScatterElements."""

ALLOWZERO = 14
"""The opset from which a Reshape can be told that 0 is an extent, and not that of its input."""


@dataclass
class Lowered:
    """A program as it would be written: its outputs, the nodes behind them, and the code that computes these.

    A tensor in `apart` is an output that does not get the output's name. An Identity behind it does, because a runtime
    would otherwise lose the output (see `runtime_quirks.overlooked`). `stands` maps a tensor of extents to the operand
    of shape arithmetic that computes it. `lacking` says what the program needs and the model's opset does
    not have, "" where all of it can be written. Where not `reshapes_nothing`, a Reshape would fail for extents of 0.
    """

    program: Program
    model: Model
    outputs: list[Tensor]
    nodes: list[Node]
    apart: set[Tensor]
    arithmetic: ShapeArithmetic
    stands: dict[Tensor, Operand] = field(default_factory=dict)
    lacking: str = ""
    reshapes_nothing: bool = True

    @property
    def code(self) -> Sequence[Node | Integers | Instruction]:
        """Everything that is written, each after its operands."""
        return self.arithmetic.code

    @property
    def computing(self) -> list[Node]:
        """The nodes that run in every call: neither inputs nor constants."""
        return [node for node in self.nodes if not (node.is_source or node.outputs[0].constant)]

    @property
    def combines_constants(self) -> bool:
        """Whether a stored tensor is computed of others, and not only moved."""
        return any(node.op_type == "<product>" for node in self.nodes)

    @property
    def shape_nodes(self) -> list[tuple[str, int]]:
        """Operator and number of operands of each node of shape arithmetic, and of each Identity of an output."""
        made = [(i.op_type, len(i.operands)) for i in self.code if isinstance(i, Instruction) and i.arithmetic]
        return [*made, *[("Identity", 1)] * len(self._renamed())]

    def _renamed(self) -> list[Tensor]:
        """The outputs that need an Identity, because their tensor cannot have the output's name.

        The tensor is an input or a constant under another name, another output already, or one of `apart`.
        """
        seen: set[Tensor] = set()
        found = []
        for value, tensor in zip(self.program.outputs, self.outputs, strict=True):
            fixed = tensor.node.is_source or tensor.stored
            has_name = tensor.name == value.name if fixed else tensor not in self.apart and tensor not in seen
            seen.add(tensor)
            if not has_name:
                found.append(tensor)
        return found


def lower(program: Program, model: Model) -> Lowered:
    """Lower the nodes behind the program's outputs, whose choices are settled.

    Raises InvalidError, if checks are enabled, where an expression breaks an invariant of `ir.validate`.
    """
    b = program.context.b
    outputs = [b.resolve(plain(b, value)) for value in program.outputs]
    nodes = needed(program, outputs)
    if keep_apart(program, model, nodes, outputs):
        nodes = needed(program, outputs)
    check_expressions("planning, before emission", outputs)
    arithmetic = ShapeArithmetic(program.providers, model.opset)
    lowered = Lowered(program, model, outputs, nodes, overlooked(nodes, outputs, model.opset), arithmetic)
    for node in nodes:
        _lower(lowered, node)
    lowered.lacking = lacking(arithmetic.code, model.opset)
    if b.cuts_at_symbols and not lowered.reshapes_nothing:
        lowered.lacking = f"the model's opset {model.opset} has no Reshape to an extent of 0"
    return lowered


def _lower(lowered: Lowered, node: Node) -> None:
    tensor = node.outputs[0]
    if node.op_type == "<input>":
        return
    if node.op_type == "<extents>" and not tensor.stored:
        _extents(lowered, tensor)
    elif tensor.stored or node.proto is not None:
        lowered.arithmetic.code.append(node)
    else:
        op_type, operands, attributes = _operator(lowered, node)
        lowered.arithmetic.code.append(Instruction(op_type, tuple(operands), attributes, node))


def _extents(lowered: Lowered, tensor: Tensor) -> None:
    """Lower a tensor of extents: its elements as a vector, and a Reshape if it is no vector."""
    content, arithmetic = tensor.node.payload, lowered.arithmetic
    flat = arithmetic.shape(list(content.flat), tensor.dtype, None)
    if content.ndim == 1:
        lowered.stands[tensor] = flat
    else:
        shape = arithmetic.integers(content.shape)
        arithmetic.code.append(Instruction("Reshape", (flat, shape), of=tensor.node, arithmetic=True))


_Operator = tuple[str, list[Operand], dict[str, Any]]


def _operator(lowered: Lowered, node: Node) -> _Operator:
    """The operator, operands and attributes of a node that the original does not have."""
    attributes, arithmetic = dict(node.attributes), lowered.arithmetic
    source = node.inputs[0]
    operands: list[Operand] = [t for t in node.inputs if t is not None]
    match node.op_type:
        case "Reshape" | "Expand" if 0 in attributes["shape"]:
            return _nothing(lowered, node)
        case "Reshape":
            return _reshape(lowered, node)
        case "Expand" if arithmetic.opset < EXPAND:
            assert source is not None
            pairs = zip(source.known_shape, attributes["shape"], strict=True)
            repeats = arithmetic.shape([1 if have == want else want for have, want in pairs], TensorProto.INT64, None)
            return "Tile", [*operands, repeats], {}
        case "Expand":
            shape = arithmetic.shape(list(attributes["shape"]), TensorProto.INT64, source)
            return "Expand", [*operands, shape], {}
        case "Slice":
            axis, start, stop = attributes["axis"], attributes["start"], attributes["stop"]
            numbers = isinstance(start, int) and isinstance(stop, int)
            if numbers and arithmetic.opset < OPERATORS["Slice"].axes_input_from:
                return "Slice", operands, {"axes": [axis], "starts": [start], "ends": [stop]}
            limits = [arithmetic.shape([v], TensorProto.INT64, None) for v in (start, stop, axis)]
            return "Slice", [*operands, *limits], {}
        case "ConstantOfShape":
            return "ConstantOfShape", operands, _filled_with(node.outputs[0].dtype, attributes["number"])
        case "ScatterElements" if arithmetic.opset < SCATTER_ELEMENTS:
            return "Scatter", operands, attributes
        case op_type if "axes" in attributes and arithmetic.opset >= OPERATORS[op_type].axes_input_from:
            axes = arithmetic.integers(list(attributes.pop("axes")))
            return op_type, [*operands, axes], attributes
        case op_type:
            return op_type, operands, attributes


def _reshape(lowered: Lowered, node: Node) -> _Operator:
    source, shape, arithmetic = node.inputs[0], list(node.attribute("shape")), lowered.arithmetic
    assert source is not None
    if needs_unsqueeze(source, shape):
        return _unsqueeze(lowered, source, shape)
    if sum(not isinstance(e, int) for e in shape) <= 1:
        return "Reshape", [source, arithmetic.integers([e if isinstance(e, int) else -1 for e in shape])], {}
    if all(isinstance(e, int) or source.known_shape[i : i + 1] == (e,) for i, e in enumerate(shape)):
        # [R, N, 1] to [R, N]: a 0 is the source's extent at that place, so that no extent has to be computed.
        return "Reshape", [source, arithmetic.integers([e if isinstance(e, int) else 0 for e in shape])], {}
    if arithmetic.opset >= ALLOWZERO:
        return "Reshape", [source, arithmetic.shape(shape, TensorProto.INT64, source)], {"allowzero": 1}
    return _reshape_without_zeros(lowered, source, shape)


def _nothing(lowered: Lowered, node: Node) -> _Operator:
    """A result without elements, in as many zeros as there are.

    A Reshape to an extent of 0 is one to the input's own before opset 14, and onnxruntime takes the 0 of an Expand for
    a 1 where it removes an Expand that it has no use for.
    """
    shape = lowered.arithmetic.shape(list(node.attribute("shape")), TensorProto.INT64, node.inputs[0])
    return "ConstantOfShape", [shape], _filled_with(node.outputs[0].dtype, 0)


def _filled_with(dtype: int, number: int) -> dict[str, Any]:
    """The attributes of a ConstantOfShape."""
    return {"value": helper.make_tensor("", dtype, [1], [number])}


def _unsqueeze(lowered: Lowered, source: Tensor, shape: Sequence[Extent]) -> _Operator:
    """An Unsqueeze to a shape that has the source's extents, in order, and further extents of 1."""
    return _units(lowered, "Unsqueeze", source, shape)


def _units(lowered: Lowered, op_type: str, source: Tensor, shape: Sequence[Extent]) -> _Operator:
    """Squeeze or Unsqueeze of all dimensions of extent 1 of a shape."""
    units = [i for i, e in enumerate(shape) if e == 1]
    if lowered.arithmetic.opset >= OPERATORS[op_type].axes_input_from:
        return op_type, [source, lowered.arithmetic.integers(units)], {}
    return op_type, [source], {"axes": units}


def _reshape_without_zeros(lowered: Lowered, source: Tensor, shape: list[Extent]) -> _Operator:
    """A Reshape to a shape with several symbols before opset 14, which has no `allowzero`.

    There, a 0 in the target shape stands for the source's extent at the same position. In a call without candidates, B
    is 0, and this 0 would be read as the source's extent, say 8. It is harmless if the source's extent is a multiple of
    B, and so is 0 too. Otherwise the extent is written as -1. Of several extents, the likeliest to be 0 is taken.
    """
    source_shape = source.known_shape
    if adds_units(source, shape):
        return _unsqueeze(lowered, source, shape)
    if shape == [e for e in source_shape if e != 1]:
        return _units(lowered, "Squeeze", source, source_shape)
    program = lowered.program
    selected = {s for s, (t, _) in program.providers.items() if t.op_type == "NonZero"}  # by a mask, perhaps no row
    candidates, leading = {*program.context.candidates, ROW}, set(lowered.model.leading_symbols.values())
    unknown = [i for i, e in enumerate(shape) if isinstance(e, Poly)]
    by_likelihood = ([i for i in unknown if symbols(shape[i]) & names] for names in (selected, candidates, leading))
    may_be_zero = next((positions for positions in by_likelihood if positions), unknown)
    wrong_if_zero = [i for i in may_be_zero if i >= len(source_shape) or divide(source_shape[i], shape[i]) is None]
    if wrong_if_zero == may_be_zero:
        shape[wrong_if_zero[0]] = -1
    left = [i for i in unknown if shape[i] != -1 and not positive(shape[i])]
    wrong = [i for i in left if i >= len(source_shape) or divide(source_shape[i], shape[i]) is None]
    if wrong or (left and -1 in shape):
        lowered.reshapes_nothing = False
    return "Reshape", [source, lowered.arithmetic.shape(shape, TensorProto.INT64, source)], {}
