"""The arguments of a rule: the node that it interprets (`Op`), and the state that all rules share (`Context`).

A rule is a function `rule(op, ctx)`. It returns the values of the node's outputs, or `Refused` with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from mari_onnx.analysis.facts import Facts
from mari_onnx.analysis.intervals import Intervals
from mari_onnx.analysis.pricing import spared_by_sum
from mari_onnx.document.provenance import Origin
from mari_onnx.ir.axes import Axis, Dims, Refused, extents, new_dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, Poly, is_length, symbols
from mari_onnx.ir.forms import Array, Blocks, Factors, Parts, Terms, Value
from mari_onnx.ir.operators import traits_of
from mari_onnx.report.model import Remark

BOOL, INT64 = onnx.TensorProto.BOOL, onnx.TensorProto.INT64
FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE


@dataclass(frozen=True)
class Op:
    """One node of the original graph and what it reads.

    `inputs` are the values by position, None for an optional input that is left out; `opset` is the version of the
    node's operator set, which says what its attributes and inputs mean.
    """

    proto: onnx.NodeProto
    inputs: tuple[Value | None, ...]
    opset: int

    @cached_property
    def name(self) -> str:
        """The name of the first output that is there, by which a user finds the node in a viewer.

        Nodes may have no names, and an LSTM of which the last state alone is wanted has no first output.
        """
        return str(next(filter(None, self.proto.output), ""))

    @cached_property
    def op_type(self) -> str:
        return str(self.proto.op_type)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        return {a.name: onnx.helper.get_attribute_value(a) for a in self.proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def input(self, i: int) -> Value | None:
        """Input i, or None where the node leaves it out."""
        return self.inputs[i] if i < len(self.inputs) else None

    @property
    def axis(self) -> int:
        """The axis that the attribute names, or the operator's default."""
        traits = traits_of(self.op_type, self.proto.domain)
        axis = self.attribute("axis", traits and traits.default_axis(self.opset))
        assert axis is not None, "an axis that has no default is required"
        return int(axis)

    @property
    def data(self) -> Value:
        """The first input."""
        first = self.inputs[0]
        assert first is not None, "the first input of every operator with a rule is required"
        return first

    def extents(self, i: int, attribute: str) -> list[Extent] | Refused | None:
        """Extents that are an attribute in older operator versions and input i in newer ones; None where left out.

        Example: the axes of Squeeze. Refused where the input's elements are not known.
        """
        value = self.input(i)
        if value is None:
            given = self.attribute(attribute)
            return None if given is None else [given] if isinstance(given, int) else list(given)
        if value.content is None or any(e is None for e in value.content.flat):
            return Refused(f"{attribute} of {self.op_type} is computed by the model")
        return list(value.content.flat)

    def integers(self, i: int, attribute: str) -> list[int] | Refused | None:
        """The same as `extents`, but refused where one of them is a symbol."""
        found = self.extents(i, attribute)
        if found is None or isinstance(found, Refused):
            return found
        if not all(isinstance(e, int) for e in found):
            return Refused(f"{attribute} of {self.op_type} is computed by the model")
        return [int(e) for e in found if isinstance(e, int)]


@dataclass
class Context:
    """The state that all rules of one walk over a graph share.

    A rule asks the builder `b` for nodes that may be written later, and adds its findings to `remarks`, `proven_equal`,
    `row_selectors` and `facts`.
    """

    b: Builder
    cost: CostModel
    array_of: Callable[[onnx.TensorProto], npt.NDArray[Any]]
    """Reads the elements of a stored tensor."""

    opset: int = 0
    remarks: list[Remark] = field(default_factory=list)
    proven_equal: list[tuple[Extent, Extent]] = field(default_factory=list)
    """Pairs of extents that an operator proves equal, because the original fails on inputs where they differ."""

    needed_equal: list[tuple[Extent, Extent]] = field(default_factory=list)
    """Pairs of extents of axes of one name that an operator, here or in a body, needs to be equal."""

    long_enough: frozenset[str] = frozenset()
    """Symbols of Slices that are known to be as long as they are asked for, from an earlier walk."""

    cut_short: dict[str, Extent] = field(default_factory=dict)
    """Symbols of Slices that may be cut short, each with the extent that is asked for: T, of table[:T]."""

    found_long_enough: set[str] = field(default_factory=set)
    """Those of them that are not, because the original fails on inputs where they are."""

    row_selectors: dict[str, set[str]] = field(default_factory=dict)
    """Symbols of axes whose rows an index selects, each with those of the index: {R: {B}} of `user[req_index]`."""

    indexed: dict[Tensor, Extent] = field(default_factory=dict)
    """For each index of requests, how many rows the first tensor has of which it selects."""

    providers: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    """For each symbol a tensor and the position of a dimension that has this extent, from which it can be read."""

    origins: dict[Tensor, Origin] = field(default_factory=dict)
    """The origin of each named tensor: the value that it is a form of, the form, and the rule that made it."""

    made: list[tuple[int, str]] = field(default_factory=list)
    """Each value in its order, with the serial of the last node that was made for it or for one before."""

    facts: Facts = field(default_factory=Facts)
    read_counts: Mapping[str, int] = field(default_factory=dict)
    """How often each tensor of the original graph is read, by its name."""

    repeated: frozenset[str] = frozenset()
    """The symbols that count the rows which the caller of the original repeats."""

    sent_once: bool = False
    """Whether the caller of the written model sends one such row, whether or not there are candidates."""

    computes_all_rows: bool = False
    """Whether an operator may fail on a row that is stored and that no candidate has (see `surplus_rows`)."""

    taken_again: Collection[str] = ()
    """Tensors from which the original takes a constant again, so that the bias before has to be added last."""

    assume_masked: bool = False
    """Whether the caller vouches for the size of attention scores (see `rules.blocks`)."""

    on_one_row: bool = False
    """Whether the nodes run as they are on one row of the candidates, as those of a body do."""

    output_extents: frozenset[Poly] = frozenset()
    """Symbols that are extents of every output. If one of them is 0 in a call, all outputs are empty."""

    @cached_property
    def intervals(self) -> Intervals:
        """Between which numbers the elements of tensors lie."""
        return Intervals(self.array_of, self.opset)

    @cached_property
    def assumed_intervals(self) -> Intervals:
        """The same, where scores of attention are as small as the caller vouches for."""
        return Intervals(self.array_of, self.opset)

    @property
    def candidates(self) -> frozenset[str]:
        """The symbols that stand for the number of candidates."""
        return self.b.candidates

    @property
    def found_equal(self) -> list[tuple[Extent, Extent]]:
        """Pairs of extents that are equal: proven, or needed and of one name."""
        return [*self.proven_equal, *self.needed_equal]

    def in_a_body(self) -> Context:
        """The state of a walk over a body. What it finds is not told of the graph around it."""
        findings = ("remarks", "proven_equal", "found_long_enough", "row_selectors")
        apart = {name: deepcopy(getattr(self, name)) for name in findings}
        return replace(self, providers=dict(self.providers), on_one_row=True, made=[], **apart)

    def terms_beside(self, terms: Terms, total: Array, name: str) -> Terms | None:
        """The terms of the value `name`, whose array is their sum `total`. None where both might be computed.

        Example: y = item @ W_i + user @ W_u is written as Gemm(item, W_i, C = user @ W_u). If one reader of y takes the
        sum and another the terms, item @ W_i is computed twice: with C and without. With one reader that cannot happen.
        """
        return terms if self.read_counts.get(name) == 1 or not spared_by_sum([terms], total) else None

    def take_columns(self, t: Tensor, places: Sequence[int], position: int) -> Tensor:
        """The entries at constant `places` (indices) along the dimension at `position`.

        A runtime gathers single numbers slowly. Columns of a tensor [500, 7] are gathered as rows of its transpose
        [7, 500] where that is cheaper.
        """
        since = self.b.count
        indices = self.b.constant(np.array(places, np.int64))
        taken, last = self.b.take(t, indices, position), len(t.known_shape) - 1
        if position < last or last == 0 or taken.constant:
            return taken
        rows = self.b.take(self.b.transpose(t, (last, *range(last))), indices)
        turned = self.b.transpose(rows, (*range(1, last + 1), 0))
        return min(taken, turned, key=lambda t: self.cost.price([t], since))

    def again(
        self,
        op: Op,
        tensors: Sequence[Tensor | None],
        shapes: Sequence[tuple[Extent, ...] | None],
        dtypes: Sequence[int],
    ) -> list[Tensor]:
        """The outputs of the original node on other inputs; `shapes` and `dtypes` are those of each output."""
        return self.b.again(op.proto, tensors, list(zip(shapes, dtypes, strict=True)))

    def note_selected_rows(self, data: Value, indices: Value, axis: int) -> None:
        """Note in `row_selectors` that `indices`, computed by the model, select along an axis of `data`.

        Rows that are selected differ from each other: the caller does not repeat them for each candidate.
        """
        if not data.constant:
            of_indices = {s for extent in extents(indices.known_dims) for s in symbols(extent)}
            for rows in symbols(extents(data.known_dims)[axis]) - of_indices:
                self.row_selectors.setdefault(rows, set()).update(of_indices)

    def is_candidate(self, axis: Axis) -> bool:
        """Whether the extent of the axis depends on the number of candidates."""
        return self.b.counts_candidates(axis.extent)

    def result(
        self,
        op: Op,
        dims: Dims,
        array: Array,
        *,
        dtype: int | None = None,
        parts: Parts | None = None,
        terms: Terms | None = None,
        factors: Factors | None = None,
        blocks: Blocks | None = None,
        output: int = 0,
    ) -> Value:
        """An output of the node with its forms. An array that is the only form has the price 0: there is no choice."""
        if array.price and parts is None and terms is None and factors is None and blocks is None:
            array = replace(array, price=0.0)
        dtype = op.data.dtype if dtype is None else dtype
        return Value(op.proto.output[output], dims, dtype, array, parts, terms, factors, blocks=blocks)


NO_LENGTH = "correct the numbers from which its shape is computed: no runtime makes such a tensor"

Derived: TypeAlias = "list[Value] | Refused"
Rule: TypeAlias = Callable[[Op, Context], Derived]


def uniform(ctx: Context, name: str, scalar: npt.NDArray[Any], shape: Sequence[Extent]) -> Value:
    """A value of this shape whose elements are all the same number: an array of that one number, without axes."""
    tensor = ctx.b.constant(scalar.reshape(()))
    dims = new_dims(shape)
    array = Array(ctx.b.reshape(tensor, (1,) * len(dims)), tuple(() for _ in dims))
    return Value(name, dims, tensor.dtype, array)


def bounded(derived: Derived) -> Derived:
    """What a rule derived, or Refused where an axis would be longer than a runtime can count, or less than nothing.

    A Tile by -2 or by 2**62 has such an axis. It fails in every call, and the model may have outputs without it.
    """
    if not isinstance(derived, Refused):
        for value in derived:
            wrong = next((e for e in extents(value.dims or ()) if not is_length(e)), None)
            if wrong is not None:
                return Refused(f"an axis of `{value.name}` would be {wrong} long", NO_LENGTH)
    return derived
