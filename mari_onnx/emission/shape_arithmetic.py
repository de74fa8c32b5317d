"""Shape arithmetic: nodes that compute one-dimensional tensors of extents, such as the target shape of an Expand.

    [B, 3, 2*B]    is Concat(Shape(x)[0:1], [3], Mul(Shape(x)[0:1], [2])), where B is the first extent of x

Equal arithmetic is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from onnx import TensorProto

from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import Extent, Poly, symbols

ONE_EXTENT = ("Mul", "Add", "Gather")
"""Operators that give a single extent here; from opset 15 on, Shape with `start` and `end` does so too."""


@dataclass(frozen=True)
class Integers:
    """A stored vector of integers; `dtype` is its element type in ONNX."""

    values: tuple[int, ...]
    dtype: int


@dataclass(eq=False)
class Instruction:
    """An operator of the model's opset on its operands, which has no name yet.

    It computes the first output of the node `of`, or for a shape a tensor that no expression stands for. It is
    `arithmetic` if it is a part of shape arithmetic.
    """

    op_type: str
    operands: tuple[Operand, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    of: Node | None = None
    arithmetic: bool = False


Operand: TypeAlias = "Tensor | Integers | Instruction"


@dataclass
class ShapeArithmetic:
    """The lowered code so far, in order: nodes of the original and constants, instructions, and stored integers.

    `providers` has a tensor and an axis for each symbol: the symbol is the extent of this axis.
    """

    providers: Mapping[str, tuple[Tensor, int]]
    opset: int
    code: list[Node | Integers | Instruction] = field(default_factory=list)
    _made: dict[object, Instruction] = field(default_factory=dict)
    _stored: set[Integers] = field(default_factory=set)

    def integers(self, values: Sequence[int], dtype: int = TensorProto.INT64) -> Integers:
        """A stored vector of these values."""
        stored = Integers(tuple(values), dtype)
        if stored not in self._stored:
            self._stored.add(stored)
            self.code.append(stored)
        return stored

    def shape(self, extents: Sequence[Extent], dtype: int, near: Tensor | None) -> Operand:
        """A vector with these extents as elements.

        An extent of the tensor `near` is read off `near` if that is a graph input, or if a symbol of the extent has no
        provider. Every other extent is computed from the providers of its symbols.
        """
        if all(isinstance(e, int) for e in extents):
            return self.integers([int(e) for e in extents if isinstance(e, int)], dtype)
        pieces: list[Operand] = []
        run: list[int] = []
        for extent in [*extents, None]:
            if isinstance(extent, int):
                run.append(extent)
                continue
            if run:
                pieces.append(self.integers(run))
                run = []
            if extent is not None:
                pieces.append(self._extent(extent, near))
        joined = pieces[0] if len(pieces) == 1 else self.made("Concat", pieces, axis=0)
        return joined if dtype == TensorProto.INT64 else self.made("Cast", [joined], to=dtype)

    def made(self, op_type: str, operands: Sequence[Operand], **attributes: int) -> Instruction:
        """A node of shape arithmetic; an equal one that exists already is used again."""
        key = (op_type, tuple(operands), tuple(sorted(attributes.items())))
        if key not in self._made:
            self._made[key] = Instruction(op_type, tuple(operands), attributes, arithmetic=True)
            self.code.append(self._made[key])
        return self._made[key]

    def _extent(self, extent: Poly, near: Tensor | None) -> Operand:
        if near is not None and near.shape is not None and extent in near.shape:
            axis = near.shape.index(extent)
            if near.node.op_type != "<input>" and all(s in self.providers for s in symbols(extent)):
                return self._polynomial(extent)
            return self._dimension(near, axis)
        return self._polynomial(extent)

    def _polynomial(self, extent: Poly) -> Operand:
        total: Operand | None = None
        for monomial, coefficient in extent.terms:
            factors: list[Operand] = [self._dimension(*self.providers[s]) for s in monomial]
            if coefficient != 1 or not factors:
                factors.append(self.integers([coefficient]))
            term = factors[0]
            for factor in factors[1:]:
                term = self.made("Mul", [term, factor])
            total = term if total is None else self.made("Add", [total, term])
        assert total is not None
        return total

    def _dimension(self, tensor: Tensor, axis: int) -> Operand:
        if self.opset >= 15:
            return self.made("Shape", [tensor], start=axis, end=axis + 1)
        return self.made("Gather", [self.made("Shape", [tensor]), self.integers([axis])], axis=0)

    def is_one_extent(self, instruction: Instruction) -> bool:
        """Whether an instruction of shape arithmetic gives a single extent, as a tensor of shape [1]."""
        return instruction.op_type in ONE_EXTENT or (instruction.op_type == "Shape" and self.opset >= 15)
