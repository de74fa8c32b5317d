"""An expression graph in which equal expressions are one object.

Two rules that describe the same node on the same inputs get the same tensor. The node is computed once, and two forms
can be compared by `is`. Nodes that may give something else each time (RandomNormal), nodes of other domains and nodes
whose bodies read outer tensors are not shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import onnx

from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import Extent, Poly
from mari_onnx.ir.operators import NONDETERMINISTIC, named
from mari_onnx.ir.policy import POLICY
from mari_onnx.ir.validate import check_again, check_original_again

FOLDABLE = named(lambda t: t.foldable)
BODIES = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


class UniqueNodes:
    """Makes nodes and numbers them: `count` is the serial of the last one, and inputs have smaller serials than users.

    `choices` are pairs of tensors with the same elements, {one: another}, from which the plan may choose. `chosen` has
    those choices that the plan made.
    """

    def __init__(self) -> None:
        self._nodes: dict[Any, Node] = {}
        self.count = 0
        self.choices: list[dict[Tensor, Tensor]] = []
        self.chosen: dict[Tensor, Tensor] = {}

    def resolve(self, t: Tensor) -> Tensor:
        """The tensor that was chosen to stand for this one (see `planning.alternatives`)."""
        return self.chosen.get(t, t)

    # Sources

    def input(self, name: str, shape: tuple[Extent, ...] | None, dtype: int) -> Tensor:
        return self._source("<input>", name, shape, dtype, name=name)

    def initializer(self, proto: onnx.TensorProto) -> Tensor:
        """A stored tensor. It is always a new one: two bodies may each have an initializer of the same name."""
        return self._source(
            "<initializer>",
            self.count,
            tuple(proto.dims),
            proto.data_type,
            payload=proto,
            constant=True,
            name=proto.name,
        )

    def constant(self, array: npt.NDArray[Any]) -> Tensor:
        dtype = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        key = (dtype, array.shape, array.tobytes())
        return self._source("<constant>", key, tuple(array.shape), dtype, payload=array, constant=True)

    def extents(self, content: npt.NDArray[Any], dtype: int) -> Tensor:
        """An integer tensor of extents: a constant, or written from the shapes of graph inputs where it is needed."""
        if all(isinstance(e, int) for e in content.flat):
            return self.constant(content.astype(onnx.helper.tensor_dtype_to_np_dtype(dtype)))
        key = (dtype, content.shape, tuple(content.flat))
        return self._source("<extents>", key, tuple(content.shape), dtype, payload=content)

    def _source(
        self,
        op_type: str,
        key: Any,
        shape: tuple[Extent, ...] | None,
        dtype: int,
        *,
        payload: Any = None,
        constant: bool = False,
        name: str | None = None,
    ) -> Tensor:
        node = self._nodes.get((op_type, key))
        if node is None:
            node = self._nodes[op_type, key] = self._node(op_type, (), (), payload=payload)
            node.outputs.append(Tensor(node, 0, shape, dtype, constant, name, stored=constant))
        check_again(node.outputs[0], shape, dtype)
        return node.outputs[0]

    def _node(self, op_type: str, attributes: Any, inputs: Any, **fields: Any) -> Node:
        self.count += 1
        return Node(op_type, attributes, inputs, self.count, **fields)

    # Nodes

    def make(
        self,
        op_type: str,
        inputs: Sequence[Tensor],
        shape: tuple[Extent, ...],
        dtype: int | None = None,
        /,
        **attributes: Any,
    ) -> Tensor:
        """A new node with one output. `dtype` is that of its first input unless it is given."""
        items = tuple(sorted(attributes.items()))
        key = (op_type, items, tuple(map(id, inputs)))
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = self._node(op_type, items, tuple(inputs))
            constant = _constant(inputs, shape) and not any(isinstance(v, Poly) for v in attributes.values())
            made = Tensor(node, 0, shape, dtype or inputs[0].dtype, constant)
            made.stored = constant and op_type in FOLDABLE and _is_stored(made, inputs)
            node.outputs.append(made)
        check_again(node.outputs[0], shape, dtype or inputs[0].dtype)
        return node.outputs[0]

    def again(
        self,
        proto: onnx.NodeProto,
        inputs: Sequence[Tensor | None],
        results: Sequence[tuple[tuple[Extent, ...] | None, int]],
        captures: Sequence[tuple[str, Tensor]] = (),
    ) -> list[Tensor]:
        """The original node on these inputs; `results` are the shape and dtype of each of its outputs."""
        attributes = tuple(sorted((a.name, _hashable(a)) for a in proto.attribute))
        unique = proto.op_type in NONDETERMINISTIC or proto.domain not in ("", "ai.onnx") or bool(captures)
        key: tuple[Any, ...] = (proto.op_type, attributes, tuple(map(id, inputs)))  # the same as in `make`
        if unique or len(results) > 1:
            key = (*key, tuple(map(bool, proto.output)), id(proto) if unique else 0)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = self._node(
                proto.op_type, attributes, tuple(inputs), proto=proto, captures=tuple(captures)
            )
            foldable = not unique and not any(a.type in BODIES for a in proto.attribute)
            node.outputs.extend(
                Tensor(node, i, s, d, foldable and _constant(inputs, s)) for i, (s, d) in enumerate(results)
            )
        for t, (shape, dtype) in zip(node.outputs, results, strict=True):
            t.shape = (
                shape if t.shape is None else t.shape
            )  # onnx may have inferred less for the first of two equal nodes
            check_original_again(t, shape, dtype)
        return node.outputs


def _constant(inputs: Sequence[Tensor | None], shape: tuple[Extent, ...] | None) -> bool:
    """Whether the result of a node is the same in every call: all of its inputs are, and its shape is known."""
    present = [t for t in inputs if t is not None]
    if not present or not all(t.constant for t in present):
        return False
    return shape is not None and all(isinstance(e, int) for e in shape)


def _is_stored(made: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Whether a constant that moves others is computed here and written as an initializer, and not as its node."""
    return all(t.stored for t in inputs) and POLICY.stores(_bytes(made), max(map(_bytes, inputs)))


def _bytes(t: Tensor) -> int:
    """The bytes of a constant. A number of less than a byte, such as an int4, counts as one byte."""
    return (
        math.prod(e for e in t.known_shape if isinstance(e, int))
        * onnx.helper.tensor_dtype_to_np_dtype(t.dtype).itemsize
    )


def _hashable(attribute: onnx.AttributeProto) -> Any:
    """The attribute as a hashable value. Tensors, graphs and types are represented by their bytes."""
    kind = onnx.AttributeProto
    if attribute.type in (kind.INT, kind.FLOAT, kind.STRING):
        return onnx.helper.get_attribute_value(attribute)
    if attribute.type in (kind.INTS, kind.FLOATS, kind.STRINGS):
        return tuple(onnx.helper.get_attribute_value(attribute)) if attribute.ByteSize() else ()
    return attribute.SerializeToString()
