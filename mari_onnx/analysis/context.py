"""What a rule is given: the node that it interprets (`Op`) and what all rules of a walk share (`Context`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from mari_onnx.analysis.facts import Facts
from mari_onnx.analysis.pricing import spared_by_sum
from mari_onnx.document.provenance import Origin
from mari_onnx.ir.axes import Axis, Dims, Refused, extents, new_dims
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.cost import CostModel
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent, Poly, symbols
from mari_onnx.ir.forms import Array, Factors, Parts, Terms, Value
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

    @property
    def name(self) -> str:
        """The name of the first output, which a user finds in a viewer; nodes need not have names."""
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
        """Extents that older operator versions take as an attribute and newer ones as input i; None where left out."""
        value = self.input(i)
        if value is None:
            given = self.attribute(attribute)
            return None if given is None else [given] if isinstance(given, int) else list(given)
        if value.content is None or any(e is None for e in value.content.flat):
            return Refused(f"{attribute} of {self.op_type} is computed by the model")
        return list(value.content.flat)

    def integers(self, i: int, attribute: str) -> list[int] | Refused | None:
        """`extents`, where all of them have to be numbers."""
        given = self.extents(i, attribute)
        if given is None or isinstance(given, Refused):
            return given
        if not all(isinstance(e, int) for e in given):
            return Refused(f"{attribute} of {self.op_type} is computed by the model")
        return [int(e) for e in given if isinstance(e, int)]


@dataclass
class Context:
    """One walk over a graph: what all its rules share.

    A rule reads from it what is known, asks its builder `b` for nodes that may be written later, and adds to
    `remarks`, `proven_equal`, `row_selectors` and `facts` what it found out.
    """

    b: Builder
    cost: CostModel
    array_of: Callable[[onnx.TensorProto], npt.NDArray[Any]]
    """Reads the elements of a stored tensor."""

    opset: int = 0
    candidates: frozenset[str] = frozenset()
    """The symbols that stand for the number of candidates."""

    remarks: list[Remark] = field(default_factory=list)
    proven_equal: list[tuple[Extent, Extent]] = field(default_factory=list)
    """Pairs of extents that an operator proved equal: on inputs where they differ, the original fails."""

    row_selectors: dict[str, set[str]] = field(default_factory=dict)
    """Symbols of axes whose rows an index selects, with the symbols of the indices that do."""

    providers: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    """For each symbol a tensor, and which dimension of it has that extent."""

    origins: dict[Tensor, Origin] = field(default_factory=dict)
    """Of which value each tensor that has been named is a form, and which rule made it."""

    facts: Facts = field(default_factory=Facts)
    read_counts: Mapping[str, int] = field(default_factory=dict)
    """How often each tensor of the original graph is read, by its name."""

    on_one_row: bool = False
    """Whether the nodes run as they are on one row of the candidates, as those of a body do."""

    output_extents: frozenset[Poly] = frozenset()
    """Extents that all outputs have: where one is 0, as the candidates may be, no answer has an element."""

    def terms_beside(self, terms: Terms, total: Array, name: str) -> Terms | None:
        """The terms of the value `name` whose array is their sum `total`; None where both might be computed.

        Example: y = item @ W_i + user @ W_u, where the first product takes the second in as its C. One reader of y may
        take the sum and another the terms, and then item @ W_i is computed twice: with C and without.
        """
        return terms if self.read_counts.get(name) == 1 or not spared_by_sum([terms], total) else None

    def take_columns(self, t: Tensor, places: Sequence[int], position: int) -> Tensor:
        """The entries at constant places along one dimension.

        A runtime looks up single numbers slowly. Columns [500, 7] at places of the last dimension are looked up as
        rows of the transposed tensor [7, 500] where that is cheaper.
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
        """Note that indices of the model select rows of `data`: such rows differ, so the caller does not tile them."""
        if not data.constant:
            own = {s for extent in extents(indices.known_dims) for s in symbols(extent)}
            for rows in symbols(extents(data.known_dims)[axis]) - own:
                self.row_selectors.setdefault(rows, set()).update(own)

    def is_candidate(self, axis: Axis) -> bool:
        """Whether the extent of the axis depends on the number of candidates."""
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
        """An output of the node with its forms. With a single form there is nothing to choose, so its price is 0."""
        if parts is None and terms is None and factors is None:
            array = replace(array, price=0.0)
        dtype = op.data.dtype if dtype is None else dtype
        return Value(op.proto.output[output], dims, dtype, array, parts, terms, factors)


Derived: TypeAlias = "list[Value] | Refused"
Rule: TypeAlias = Callable[[Op, Context], Derived]


def uniform(ctx: Context, name: str, scalar: npt.NDArray[Any], shape: Sequence[Extent]) -> Value:
    """A value of this shape that is the same number everywhere: stored as that one number, without any axis."""
    tensor = ctx.b.constant(scalar.reshape(()))
    dims = new_dims(shape)
    array = Array(ctx.b.reshape(tensor, (1,) * len(dims)), tuple(() for _ in dims))
    return Value(name, dims, tensor.dtype, array)
