"""What a rule sees of the node that it interprets, and what it may ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from mari_onnx.analysis.tensor_facts import Moments, Normalized, PairProducts, Picked, Selection
from mari_onnx.ir.axes import Axis, Dims, Refused, extents, new_dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel, reachable
from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.ir.extents import Extent, Poly, symbols
from mari_onnx.ir.forms import Array, Factors, Parts, Terms, Value
from mari_onnx.ir.operators import traits_of
from mari_onnx.report.model import Remark

BOOL, INT64 = onnx.TensorProto.BOOL, onnx.TensorProto.INT64
FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE


@dataclass(frozen=True)
class Op:
    """One original node. `inputs` are the values it reads, None for an optional input that is left out."""

    proto: onnx.NodeProto
    inputs: tuple[Value | None, ...]
    opset: int

    @property
    def name(self) -> str:
        return str(self.proto.output[0])

    @property
    def op_type(self) -> str:
        return str(self.proto.op_type)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        return {a.name: onnx.helper.get_attribute_value(a) for a in self.proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def input(self, i: int) -> Value | None:
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
        first = self.inputs[0]
        assert first is not None, "the first input of every operator with a rule is required"
        return first

    def extents(self, i: int, attribute: str) -> list[Extent] | Refused | None:
        """Extents that older operator versions take as an attribute and newer ones as an input."""
        value = self.input(i)
        if value is None:
            given = self.attribute(attribute)
            return None if given is None else [given] if isinstance(given, int) else list(given)
        if value.content is None or any(e is None for e in value.content.flat):
            return Refused(f"{attribute} of {self.op_type} is computed by the model")
        return list(value.content.flat)

    def integers(self, i: int, attribute: str) -> list[int] | Refused | None:
        """The same, where all of them have to be numbers."""
        given = self.extents(i, attribute)
        if given is None or isinstance(given, Refused):
            return given
        if not all(isinstance(e, int) for e in given):
            return Refused(f"{attribute} of {self.op_type} is computed by the model")
        return [int(e) for e in given if isinstance(e, int)]


@dataclass
class Context:
    """One walk over a graph: the builder that it fills, its cost model and its remarks.

    `equal` are extents that an operator proved equal, `selected` the symbols of axes whose rows an index
    selects, with the symbols of the indices that do.
    `providers` say of which axis of which tensor each symbol is the extent, `selections` which tensors hold the
    places where a mask is true, `moments` which follow from columns and their mean, `normalized` which hold parts that
    were normalized together, `pair_products` which hold the products of all rows with all columns, `picked` rows that
    constants select, and `multiplied` the products of such rows in pairs. `uses` counts how often each tensor of the
    original is read. `of_outputs` are extents that all outputs have: where one is 0, as the candidates may be, there is
    no element of an answer.
    """

    b: Builder
    cost: CostModel
    array_of: Callable[[onnx.TensorProto], npt.NDArray[Any]]
    opset: int = 0
    candidates: frozenset[str] = frozenset()
    remarks: list[Remark] = field(default_factory=list)
    equal: list[tuple[Extent, Extent]] = field(default_factory=list)
    selected: dict[str, set[str]] = field(default_factory=dict)
    providers: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    selections: dict[Tensor, Selection] = field(default_factory=dict)
    normalized: dict[Tensor, Normalized] = field(default_factory=dict)
    moments: dict[Tensor, Moments] = field(default_factory=dict)
    pair_products: dict[Tensor, PairProducts] = field(default_factory=dict)
    picked: dict[Tensor, Picked] = field(default_factory=dict)
    multiplied: dict[Tensor, tuple[Picked, tuple[tuple[int, int], ...]]] = field(default_factory=dict)
    uses: Mapping[str, int] = field(default_factory=dict)
    of_outputs: frozenset[Poly] = frozenset()

    def price(self, tensors: Sequence[Tensor], since: int) -> float:
        return self.cost.price(tensors, since)

    def unneeded(self, sums: Sequence[Terms], total: Array) -> list[Node]:
        """What computes the terms of sums and not their total: a product that took a term in is another product.

        In the order of the terms: what nodes take is added up in floats, and a tie is to end alike in every run.
        """
        nodes = dict.fromkeys(array.tensor.node for terms in sums for _, array in terms.signed)
        since = min((node.serial for node in nodes), default=0) - 1
        needed = set(reachable([total.tensor], since))
        return [node for node in nodes if node not in needed]

    def beside(self, terms: Terms, total: Array, name: str) -> Terms | None:
        """The terms of a value whose array is their total, unless two readers would have it computed both ways."""
        return terms if self.uses.get(name) == 1 or not self.unneeded([terms], total) else None

    def columns(self, t: Tensor, places: Sequence[int], position: int) -> Tensor:
        """Places along one dimension. A runtime looks up single numbers slowly: turned, they are rows."""
        since = self.b.count
        indices = self.b.constant(np.array(places, np.int64))
        taken, last = self.b.take(t, indices, position), len(t.known_shape) - 1
        if position < last or last == 0 or taken.constant:
            return taken
        rows = self.b.take(self.b.transpose(t, (last, *range(last))), indices)
        turned = self.b.transpose(rows, (*range(1, last + 1), 0))
        return min(taken, turned, key=lambda t: self.price([t], since))

    def again(
        self,
        op: Op,
        tensors: Sequence[Tensor | None],
        shapes: Sequence[tuple[Extent, ...] | None],
        dtypes: Sequence[int],
    ) -> list[Tensor]:
        """The original node on other inputs; the shape and element type of each of its outputs."""
        return self.b.again(op.proto, tensors, list(zip(shapes, dtypes, strict=True)))

    def selects_rows(self, data: Value, indices: Value, axis: int) -> None:
        """Rows that are selected by something computed are different rows: their input is not one that is tiled."""
        if not data.constant:
            own = {s for extent in extents(indices.known_dims) for s in symbols(extent)}
            for rows in symbols(extents(data.known_dims)[axis]) - own:
                self.selected.setdefault(rows, set()).update(own)

    def selection(self, places: Value) -> Selection | None:
        """The mask of which these are the places, one a row."""
        found = self.selections.get(places.array.tensor)
        return found if found and places.dims and extents(places.dims) == found.shape else None

    def is_selected(self, axis: Axis) -> bool:
        """Whether the axis holds the rows that a mask selects."""
        return any(axis.extent == selection.rows for selection in self.selections.values())

    def is_candidate(self, axis: Axis) -> bool:
        return not isinstance(axis.extent, int) and any(
            s in self.candidates for monomial, _ in axis.extent.terms for s in monomial
        )

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
        output: int = 0,
    ) -> Value:
        """An output of the node. With one form there is nothing to choose, and nothing has a price."""
        if parts is None and terms is None and factors is None:
            array = replace(array, price=0.0)
        dtype = op.data.dtype if dtype is None else dtype
        return Value(op.proto.output[output], dims, dtype, array, parts, terms, factors)


Derived: TypeAlias = "list[Value] | Refused"
Rule: TypeAlias = Callable[[Op, Context], Derived]


def uniform(ctx: Context, name: str, scalar: npt.NDArray[Any], shape: Sequence[Extent]) -> Value:
    """A value that is the same number everywhere: stored as one."""
    tensor = ctx.b.constant(scalar.reshape(()))
    dims = new_dims(shape)
    array = Array(ctx.b.reshape(tensor, (1,) * len(dims)), tuple(() for _ in dims))
    return Value(name, dims, tensor.dtype, array)
