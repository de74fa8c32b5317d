"""The builder: records nodes, and simplifies moves of data as it records them.

    Reshape(Reshape(x))           one Reshape
    Slice(Concat(a, b))           a, if the slice is what a contributes
    Concat(x[0:4], x[4:9])        x[0:9]
    Gather(Gather(x, i), j)       Gather(x, i[j]) for constant indices
    Range(0, n)[2:5]              [2 3 4], which is stored

Rules describe what could be computed, and `Builder` records each expression once. A node is written to the model only
if the plan needs it, so that a form that is not chosen costs nothing at run time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from mari_onnx.ir import stored_weights
from mari_onnx.ir.expressions import Tensor, first_input, is_place, is_reshape, is_selection, is_slice
from mari_onnx.ir.extents import ROW, Extent, at_most, divide, product, symbol, symbols
from mari_onnx.ir.operators import named
from mari_onnx.ir.unique_nodes import UniqueNodes

_Around: TypeAlias = tuple[tuple[Extent, ...], tuple[Extent, ...]]


MANY_SLICES = 4
"""From so many slices of one tensor on, their Concat is written as one Gather."""


FEW_TIMES = 4
"""Up to so many repetitions a Concat of the tensor with itself replaces an Expand, whose shape would be computed."""


MANY_INTEGERS = 2**12
"""Up to so many numbers of a Range are stored: more would make the model larger."""


STRING = TensorProto.STRING

ARITHMETIC = named(lambda t: t.arithmetic)


class Builder(UniqueNodes):
    """Records what could be computed: nodes of any kind (`make`, `again`), and moves of data in few nodes.

    `candidates` are the symbols that count candidates. With `cuts_at_symbols`, axes are also cut at limits that have to
    be computed.
    """

    def __init__(self, candidates: frozenset[str] = frozenset(), *, cuts_at_symbols: bool = True) -> None:
        super().__init__()
        self.candidates, self.cuts_at_symbols = candidates, cuts_at_symbols
        self.progressions: dict[Tensor, tuple[int, int]] = {}
        """Vectors of integers in equal steps, each with the first one and the step: [3 5 7 ...], of any extent."""

    def counts_candidates(self, extent: Extent) -> bool:
        """Whether an extent depends on the number of candidates."""
        return not self.candidates.isdisjoint(symbols(extent))

    def cuts_at(self, *limits: Extent) -> bool:
        """Whether an axis may be cut at these limits."""
        return self.cuts_at_symbols or all(isinstance(e, int) for e in limits)

    def also(self, t: Tensor, other: Tensor) -> None:
        """Record that two tensors have the same elements. The plan chooses the one that is cheaper beside the rest.

        A Reshape of a Reshape reads the inner tensor, so the choice is recorded for the tensor under `t`'s Reshapes.
        """
        while is_reshape(t):
            t, other = first_input(t), self.reshape(other, first_input(t).known_shape)
        self._add_choice(t, other)

    def _add_choice(self, t: Tensor, other: Tensor) -> None:
        if other is not t and other.shape == t.shape and {t: other} not in self.choices:
            self.choices.append({t: other})

    def reshape(self, t: Tensor, shape: Sequence[Extent]) -> Tensor:
        """The tensor in another shape of as many elements."""
        while t.op_type == "Reshape" and t.node.proto is None:
            t = first_input(t)
        if t.known_shape == tuple(shape):
            return t
        if is_slice(t):
            axis, start = t.node.attribute("axis"), t.node.attribute("start")
            without = (*t.known_shape[:axis], *t.known_shape[axis + 1 :])
            if t.known_shape[axis] == 1 and without == tuple(shape) and isinstance(start, int):
                return self.take(
                    first_input(t), self.constant(np.array(start, np.int64)), axis
                )  # one node instead of two
        if (moved := stored_weights.reshaped(self, t, shape)) is not None:
            return moved
        reshaped = self.make("Reshape", [t], tuple(shape), shape=tuple(shape))
        source = t.node.inputs[0] if t.op_type == "Cast" else None
        if source is not None and is_slice(source) and is_place(place := self.reshape(source, shape)):
            cast = self.make("Cast", [place], tuple(shape), t.dtype, **dict(t.node.attributes))
            cast.name_after(t)
            self._add_choice(reshaped, cast)
        return reshaped

    def _before_reshape(self, t: Tensor) -> Tensor:
        """The tensor that `t` is a Reshape of; Gather(x, 3) counts as a Reshape of x[3:4]. Else `t` itself."""
        if is_place(t):
            axis, (_, place) = t.node.attribute("axis"), t.node.inputs
            assert place is not None
            start = int(place.node.payload)
            return self.slice(first_input(t), axis, start, start + 1)
        return first_input(t) if is_reshape(t) else t

    def transpose(self, t: Tensor, perm: Sequence[int]) -> Tensor:
        """The tensor with dimension `perm[i]` as dimension i. A Reshape is enough if only extents of 1 move."""
        if (
            t.op_type == "Transpose" and first_input(t).shape is not None
        ):  # an exporter may tell the shape of the result alone
            inner = t.node.attribute("perm")
            return self.transpose(first_input(t), [inner[p] for p in perm])
        if list(perm) == list(range(len(perm))):
            return t
        if (moved := stored_weights.transposed(self, t, perm)) is not None:
            return moved
        shape = tuple(t.known_shape[p] for p in perm)
        if (order := _order(t.known_shape, perm)) == sorted(order):  # no element changes its place in memory
            return self.reshape(t, shape)
        turned = self.make("Transpose", [t], shape, perm=tuple(perm))
        operands = [i for i in t.node.inputs if i is not None and i.shape is not None]
        if t.op_type in ARITHMETIC and len(operands) == 2 and all(i.shape != t.shape for i in operands):
            self.also(turned, self.make(t.op_type, [self._transposed_operand(i, perm) for i in operands], shape))
        return turned

    def _transposed_operand(self, t: Tensor, perm: Sequence[int]) -> Tensor:
        """An operand of a sum or product, transposed, so that the transposed result can be computed from it.

        The operand is smaller than the result, since it is broadcast. It is transposed without its axes of extent 1,
        between two Reshapes: onnxruntime would turn plain Transposes of both operands into one of the result again.
        """
        shape = (*(1,) * (len(perm) - len(t.known_shape)), *t.known_shape)
        order = _order(shape, perm)
        kept_axes = sorted(order)
        transposed = self.transpose(self.reshape(t, [shape[i] for i in kept_axes]), [kept_axes.index(i) for i in order])
        return self.reshape(transposed, [shape[p] for p in perm])

    def expand(self, t: Tensor, shape: Sequence[Extent]) -> Tensor:
        """The tensor broadcast to exactly `shape`, which has the tensor's rank."""
        if t.op_type == "Expand" and t.node.proto is None:
            t = first_input(t)
        if t.known_shape == tuple(shape):
            return t
        (axis, *more) = [i for i, (have, want) in enumerate(zip(t.known_shape, shape, strict=True)) if have != want]
        times = shape[axis]
        if (
            not more
            and isinstance(times, int)
            and 0 < times <= FEW_TIMES
            and not all(isinstance(e, int) for e in shape)
        ):
            return self.concat([t] * times, axis)
        if t.dtype == TensorProto.BFLOAT16:
            return _expand_in_float32(self, t, shape)
        return self.make("Expand", [t], tuple(shape), shape=tuple(shape))

    def slice(self, t: Tensor, axis: int, start: Extent, stop: Extent) -> Tensor:
        """Indices [start, stop) of one axis; these have to be there whatever the symbols are (see `first_row`)."""
        shape = t.known_shape
        if start == 0 and stop == shape[axis]:
            return t
        if is_slice(t) and t.node.attribute("axis") == axis:
            offset = t.node.attribute("start")
            return self.slice(first_input(t), axis, offset + start, offset + stop)
        new_shape = (*shape[:axis], stop - start, *shape[axis + 1 :])
        if t.op_type == "Concat" and t.node.attribute("axis") == axis:
            for piece, low, high in _spans(t.node.inputs, axis):
                if at_most(low, start) and at_most(stop, high):
                    inner = self.slice(piece, axis, start - low, stop - low)
                    # Concat([2, 3], [B, 4]) only runs where B is 2, but then a slice of it has 2 rows, and not B.
                    if inner.known_shape == new_shape:
                        return inner
        limits = [e for e in (start, stop) if isinstance(e, int)]
        if len(limits) == 2 and t in self.progressions and limits[1] - limits[0] <= MANY_INTEGERS:
            first, step = self.progressions[t]
            return self.constant((first + step * np.arange(*limits)).astype(tensor_dtype_to_np_dtype(t.dtype)))
        if len(limits) == 2 and (moved := stored_weights.sliced(self, t, axis, *limits)) is not None:
            return moved
        return self.make("Slice", [t], new_shape, axis=axis, start=start, stop=stop)

    def multiplied(self, table: Tensor, weight: Tensor) -> Tensor:
        """The product of two stored tensors, [v, k] and [k, n], computed and stored when the model is written."""
        made = self.make("<product>", [table, weight], (table.known_shape[0], weight.known_shape[1]))
        made.stored = True
        made.name_after(table, "multiplied")
        return made

    def first_row(self, t: Tensor, rows: Extent) -> Tensor:
        """Row 0 of an input that the caller tiles: [rows, ...] with 1 row, or with none for an empty batch.

        The attribute `rows` makes this another node than the slice [0, 1) of a fixed number of rows, which has 1 row in
        every call.
        """
        return self.make("Slice", [t], (rows, *t.known_shape[1:]), axis=0, start=0, stop=1, rows=rows)

    def concat(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """The tensors side by side along an axis. Adjoining slices of one tensor become one slice first."""
        merged: list[Tensor] = []
        for t in tensors:
            last = merged[-1] if merged else None
            if last is not None and _adjoining(last, t, axis):
                merged[-1] = self.slice(first_input(t), axis, last.node.attribute("start"), t.node.attribute("stop"))
            else:
                merged.append(t)
        if len(merged) == 1:
            return merged[0]
        if (moved := stored_weights.joined(self, merged, axis)) is not None:
            return moved
        if len(merged) >= MANY_SLICES and (base := _sliced(merged, axis)) is not None:
            spans = [range(t.node.attribute("start"), t.node.attribute("stop")) for t in merged]
            return self.take(base, self.constant(np.array([i for span in spans for i in span], np.int64)), axis)
        shape = _joined(merged, axis)
        if _writable(shape) and (sources := self._sources(merged, product(shape[:axis]))) is not None:
            together = self.reshape(self.concat(*sources), shape)
            if any(is_reshape(source) for source in sources[0]):  # another consumer may need the reshaped tensors
                self.also(together, self.make("Concat", merged, shape, axis=axis))
            return together
        return self.make("Concat", merged, shape, axis=axis)

    def _sources(self, tensors: Sequence[Tensor], rows: Extent) -> tuple[list[Tensor], int] | None:
        """Concat(Reshape(a), Reshape(b)) -> Reshape(Concat(a, b)): the tensors to join, and along which axis.

        Example: embeddings [B, 1, 16] that were reshaped to [B, 16] are joined as [B, 1, 16]. `rows` is the number of
        rows before the axis, here B, and stays. Tensors whose shape before the Reshape is unlike that of most, such as
        plain columns [B, 3] beside the embeddings, are reshaped to be like them, if this saves Reshapes. None where
        nothing is saved.
        """
        sources = [self._before_reshape(t) for t in tensors]
        alike: dict[_Around, list[int]] = {}
        for i, source in enumerate(sources):
            for around in _cuts(source, rows):
                alike.setdefault(around, []).append(i)
        if not alike or sources == list(tensors):
            return None

        def preferred(around: _Around) -> tuple[int, bool, int]:
            before, members = around[0], alike[around]
            adjoin = any(_adjoining(sources[i], sources[k], len(before)) for i, k in pairwise(members) if k == i + 1)
            return len(members), adjoin, len(before)

        before, after = most = max(alike, key=preferred)
        others = [i for i in range(len(sources)) if i not in alike[most]]
        if others and len(others) + 1 >= sum(map(is_reshape, tensors)):
            return None
        for i in others:
            width = divide(product(tensors[i].known_shape), product((*before, *after)))
            if width is None or not _writable(shape := (*before, width, *after)):
                return None
            sources[i] = self.reshape(tensors[i], shape)
        return sources, len(before)

    def take(self, t: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
        """Gather(t, indices). Two selections by constant indices become one, of the inner tensor."""
        while is_selection(t, axis) and indices.op_type == "<constant>":
            inner = t.node.inputs[1]
            assert inner is not None
            indices, t = self.constant(inner.node.payload[indices.node.payload]), first_input(t)
        if (moved := stored_weights.taken(self, t, indices, axis)) is not None:
            return moved
        if t.dtype == STRING and product(t.known_shape[axis + 1 :]) != 1:
            return _strings_taken(self, t, indices, axis)
        shape = (*t.known_shape[:axis], *indices.known_shape, *t.known_shape[axis + 1 :])
        return self.make("Gather", [t, indices], shape, axis=axis)


def _expand_in_float32(b: Builder, t: Tensor, shape: Sequence[Extent]) -> Tensor:
    """A tensor of bfloat16, expanded: onnxruntime expands none on a CPU, and a float32 holds each of its numbers."""
    wide = b.make("Cast", [t], t.known_shape, TensorProto.FLOAT, to=TensorProto.FLOAT)
    return b.make("Cast", [b.expand(wide, shape)], tuple(shape), t.dtype, to=t.dtype)


def _strings_taken(b: Builder, t: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Gather(t, indices) along an inner axis of strings, made the last one.

    onnxruntime 1.32 gathers the first string of each row alone, and leaves the others empty.
    """
    before, after = range(axis), range(axis + 1, len(t.known_shape))
    taken = b.take(b.transpose(t, (*before, *after, axis)), indices, len(t.known_shape) - 1)
    rank = len(taken.known_shape)
    places = range(rank - len(indices.known_shape), rank)
    return b.transpose(taken, (*before, *places, *range(axis, places.start)))


def _order(shape: tuple[Extent, ...], perm: Sequence[int]) -> list[int]:
    """The permutation without the axes of extent 1."""
    return [p for p in perm if shape[p] != 1]


def _sliced(tensors: Sequence[Tensor], axis: int) -> Tensor | None:
    """The tensor that all tensors are slices of along this axis, at known places. None for slices by `first_row`.

    The latter have no row in a call without candidates, where a Gather of row 0 would fail.
    """

    def along(t: Tensor) -> bool:
        if not is_slice(t) or t.node.attribute("axis") != axis:
            return False
        return all(isinstance(e, int) for e in (t.known_shape[axis], t.node.attribute("start")))

    ours = all(map(along, tensors))
    bases = {t.node.inputs[0] for t in tensors} if ours else set()
    return bases.pop() if len(bases) == 1 else None


def _joined(tensors: Sequence[Tensor], axis: int) -> tuple[Extent, ...]:
    """The shape of the tensors' Concat."""
    shape = list(tensors[0].known_shape)
    for t in tensors[1:]:
        shape[axis] = shape[axis] + t.known_shape[axis]
    return tuple(shape)


def _writable(shape: Sequence[Extent]) -> bool:
    """Whether a Reshape to this shape needs no shape arithmetic: at most one extent is a symbol, and written as -1."""
    return sum(not isinstance(e, int) for e in shape) <= 1


def _cuts(t: Tensor, rows: Extent) -> Iterator[_Around]:
    """For each axis along which a tensor can be joined with others as [rows, ...], the extents before and after it.

    `rows` extents have to come before. If there is at most one row, the axis may also come before that row.
    """
    shape = t.known_shape
    alike = {rows, 1} if rows == symbol(ROW) else {rows}
    return ((shape[:axis], shape[axis + 1 :]) for axis in range(len(shape)) if product(shape[:axis]) in alike)


def _spans(inputs: Sequence[Tensor | None], axis: int) -> Iterator[tuple[Tensor, Extent, Extent]]:
    """The inputs of a Concat with their places [start, stop), up to the first whose rank is unknown."""
    position: Extent = 0
    for t in inputs:
        if t is None or t.shape is None:
            return
        yield t, position, position + t.shape[axis]
        position = position + t.shape[axis]


def _adjoining(a: Tensor, b: Tensor, axis: int) -> bool:
    """Whether a and b are slices of the same tensor, and b begins where a ends."""
    return (
        is_slice(a)
        and is_slice(b)
        and a.node.inputs[0] is b.node.inputs[0]
        and a.node.attribute("axis") == b.node.attribute("axis") == axis
        and bool(a.node.attribute("stop") == b.node.attribute("start"))
    )
