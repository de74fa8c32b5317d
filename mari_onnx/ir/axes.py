"""Named axes: a logical dimension is an ordered product of them, outermost first (einops notation).

Exporters merge `[B, L, K]` into `[(B L), K]` before a Linear and cut the result apart afterwards. Names survive both
Reshapes, positions do not. An axis is identified by the object, not by its extent: two axes of equal extent are
different until an operator aligns them, and then one is renamed to the other. A dimension of extent 1 is the empty
product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mari_onnx.ir.extents import Extent, Poly, claim, claimed, compare, divide, product, symbol, symbols


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """One named axis. `name` is only shown to people; two axes are the same if they are the same object."""

    extent: Extent
    name: str = ""

    def __repr__(self) -> str:
        return self.name or str(self.extent)


Dim: TypeAlias = tuple[Axis, ...]
"""One dimension of a tensor: (B L) is B * L long, index b * L + l; () is 1 long."""

Dims: TypeAlias = tuple[Dim, ...]
"""All dimensions of a tensor: [(B L) 256] has two."""

Renaming: TypeAlias = Mapping[Axis, tuple[Axis, ...]]
"""The axes that take the place of an axis: {K: (K')} replaces K by K', {320: (20 16)} cuts one axis into two."""


class UnprovenError(Exception):
    """Extents that an operator needs to be equal are equal if axes of one name are, and that is not known yet.

    `pairs` are the extents of those axes.
    """

    def __init__(self, left: Extent, right: Extent, pairs: list[tuple[Extent, Extent]]) -> None:
        super().__init__(f"{left} and {right}")
        self.pairs = pairs


def needed_equal(left: Extent, right: Extent) -> list[tuple[Extent, Extent]]:
    """The extents of axes of one name that are equal if both extents are, or one and a multiple of the other.

    Example: batch@user.0*4 and batch@item.0*4 give the pair of batch@user.0 and batch@item.0. There is none if it may
    be one pair or another: of N@rows.1*N@index.0 and N@item.0, in a Reshape of [index.0, rows.1] to [item.0, -1].
    """
    a, b = claimed(left), claimed(right)
    if (a, b) == (left, right) or not (a == b or divide(a, b) is not None or divide(b, a) is not None):
        return []
    pairs: list[tuple[Extent, Extent]] = []
    own, others = symbols(left) - symbols(right), symbols(right) - symbols(left)
    for name in sorted({claim(s) for s in own} & {claim(s) for s in others}):
        s, *more = [s for s in own if claim(s) == name]
        t, *further = [t for t in others if claim(t) == name]
        if more or further:
            return []
        pairs.append((symbol(s), symbol(t)))
    return pairs


def require_proof(left: Extent, right: Extent) -> None:
    """Raise UnprovenError where the extents, or one and a multiple of the other, are equal if axes of one name are."""
    if pairs := needed_equal(left, right):
        raise UnprovenError(left, right, pairs)


@dataclass(frozen=True)
class Refused:
    """Why a rule does not hold here, and what would change that. A value, not an exception."""

    reason: str
    next_step: str | None = None


def extent_of(dim: Iterable[Axis]) -> Extent:
    """The extent of a dimension: the product of the extents of its axes."""
    return product(axis.extent for axis in dim)


def extents(dims: Dims) -> tuple[Extent, ...]:
    """The extent of each dimension: the shape."""
    return tuple([dim[0].extent if len(dim) == 1 else extent_of(dim) for dim in dims])


def flat(dims: Iterable[Dim]) -> list[Axis]:
    """The axes of all dimensions, outermost first."""
    return [axis for dim in dims for axis in dim]


def dim(extent: Extent, name: str = "") -> Dim:
    """A dimension of one new axis, or of none if the extent is 1."""
    return () if extent == 1 else (Axis(extent, name),)


def new_dims(shape: Iterable[Extent], name: str = "") -> Dims:
    """A new axis for each dimension of a shape; those of symbols are named after them."""
    return tuple(dim(extent, str(extent) if isinstance(extent, Poly) else name) for extent in shape)


def renamed(dims: Dims, names: Renaming) -> Dims:
    """The dims with axes replaced by others, or by the factors that they were cut into."""
    if not names:
        return dims
    return tuple([tuple([new for axis in d for new in names.get(axis, (axis,))]) for d in dims])


def with_dim(dims: Dims, position: int, here: Dim) -> Dims:
    """The dims with the dimension `here` at this position."""
    return (*dims[:position], here, *dims[position + 1 :])


def show(dims: Iterable[Dim]) -> str:
    """`[(B L) 256]`, as einops writes it."""
    return "[" + " ".join(f"({' '.join(map(str, d))})" if len(d) > 1 else str(d[0]) if d else "1" for d in dims) + "]"


@dataclass
class _Factors:
    """A product of axes that is cut into factors, the outermost axis first.

    `axes` are those that are not done yet. `rest` is the extent that is left of the first of them, None if nothing was
    cut off. `split` has the factors so far, by the axis that they were cut off.
    """

    axes: Sequence[Axis]
    rest: Extent | None = None
    split: dict[Axis, list[Axis]] = field(default_factory=dict)

    @property
    def extent(self) -> Extent:
        """The extent that is to be cut next: that of the outermost axis, or what is left of it."""
        return self.axes[0].extent if self.rest is None else self.rest

    @property
    def whole(self) -> Axis | None:
        """The outermost axis, if nothing was cut off it."""
        return self.axes[0] if self.rest is None else None

    def cut(self, factor: Axis, rest: Extent | None = None) -> None:
        """Write the next factor of the outermost axis; without a `rest` that axis is done."""
        self.split.setdefault(self.axes[0], []).append(factor)
        self.rest = rest
        if rest is None:
            self.axes = self.axes[1:]

    @property
    def changes(self) -> dict[Axis, Dim]:
        """The axes that were cut or replaced, each with its factors."""
        return {axis: tuple(factors) for axis, factors in self.split.items() if factors != [axis]}


def refine(a: Sequence[Axis], b: Sequence[Axis]) -> tuple[list[Axis], dict[Axis, Dim], dict[Axis, Dim]] | None:
    """The coarsest factorization that both products have, and how each axis of a and b is written in it.

        (320)    and  (20 16)  ->  (20 16),    {320: (20 16)},  {}
        (6 10)   and  (2 30)   ->  (2 3 10),   {6: (2 3)},      {30: (3 10)}
        (B 20)   and  (B' 20') ->  (B 20),     {},              {B': (B), 20': (20)}

    Each step compares the outermost extents of both products. If the smaller divides the larger, it is the next factor,
    and the quotient is compared with the next axis of the other product. Otherwise no common factorization is proven,
    and the result is None.

    Raises UnprovenError where there is one if axes of one name are equal.
    """
    left, right = _Factors(a), _Factors(b)
    common: list[Axis] = []
    while left.axes and right.axes:
        if left.extent == right.extent:
            factor = left.whole or right.whole or Axis(left.extent)
            left.cut(factor)
            right.cut(factor)
        elif (rest := divide(left.extent, right.extent)) is not None:
            factor = right.whole or Axis(right.extent)
            left.cut(factor, rest)
            right.cut(factor)
        elif (rest := divide(right.extent, left.extent)) is not None:
            factor = left.whole or Axis(left.extent)
            left.cut(factor)
            right.cut(factor, rest)
        else:
            require_proof(left.extent, right.extent)
            return None
        common.append(factor)
    return None if left.axes or right.axes else (common, left.changes, right.changes)


def units_moved(source: Sequence[Extent], target: Sequence[Extent]) -> list[int | None] | None:
    """For each dimension of a Reshape's result that of the source, None for one of extent 1.

    None where other dimensions are merged or cut.
    """
    from_source = [i for i, e in enumerate(source) if e != 1]
    if [source[i] for i in from_source] != [e for e in target if e != 1]:
        return None
    rest = iter(from_source)
    return [None if e == 1 else next(rest) for e in target]


def compose(first: dict[Axis, Dim], then: Renaming) -> dict[Axis, Dim]:
    """The renaming that does `first` and then `then`.

    {320: (20 16)}  and  {16: (4 4')}  ->  {320: (20 4 4'), 16: (4 4')}
    """
    composed = {axis: tuple(new for p in parts for new in then.get(p, (p,))) for axis, parts in first.items()}
    return {**then, **composed}


def broadcast(operands: Sequence[Dims]) -> tuple[Dims, list[dict[Axis, Dim]]] | Refused:
    """The dims of an elementwise result, and for each operand the renaming of its axes to the result's.

        [B 1 D]  and  [L' D']  ->  [B L' D],  {}  and  {D': (D)}

    Dimensions align from the right, as ONNX broadcasts. Extents that are not proven equal are refused: a symbol that
    is 1 at run time would broadcast, and the result would have another shape.
    """
    first, *others = operands
    if all(dims == first for dims in others):
        return first, [{} for _ in operands]
    rank = max(map(len, operands))
    names: list[dict[Axis, Dim]] = [{} for _ in operands]
    result: list[Dim] = []
    for position in range(-rank, 0):
        dims_here = {k: dims[position] for k, dims in enumerate(operands) if -position <= len(dims) and dims[position]}
        aligned = _align(dims_here)
        if isinstance(aligned, Refused):
            return aligned
        common, changes = aligned
        # q @ k^T of one sequence has the sequence's axis twice. An axis may stand in a value only once, so that the
        # second one becomes a new axis.
        taken = set(flat(result))
        fresh: dict[Axis, Dim] = {a: (Axis(a.extent, a.name),) for a in common if a in taken}
        result.append(renamed((common,), fresh)[0])
        for k, axes in dims_here.items():
            names[k].update({a: renamed((changes[k].get(a, (a,)),), fresh)[0] for a in axes})
    return tuple(result), [{a: new for a, new in changes.items() if new != (a,)} for changes in names]


def _align(dims_here: Mapping[int, Dim]) -> tuple[Dim, dict[int, dict[Axis, Dim]]] | Refused:
    """The common factorization of one dimension of several operands, and the renaming of each operand's axes to it.

    `dims_here` has the dimension of each operand, by the operand's number.
    """
    common: Sequence[Axis] = ()
    changes: dict[int, dict[Axis, Dim]] = {}
    for k, axes in dims_here.items():
        refined = refine(common, axes) if common else (list(axes), {}, {})
        if refined is None:
            return Refused(
                f"extents {extent_of(common)} and {extent_of(axes)} are not known to be equal",
                "give the axes the same name when exporting, if they are the same",
            )
        common, split_common, split_own = refined
        changes = {m: compose(before, split_common) for m, before in changes.items()} | {k: split_own}
    return tuple(common), changes


def reshape(dims: Dims, shape: Sequence[Extent]) -> tuple[Dims, dict[Axis, Dim]] | None:
    """The dims of Reshape(x, shape) of an x with `dims`, and the axes that are split. None if none are proven to exist.

    [(B L) 320]  ->  (B, L, 20, 16):   [B L 20 16],  {320: (20 16)}
    """
    source = flat(dims)
    if product(a.extent for a in source) == 0:
        return None
    refined = refine(source, [Axis(e) for e in shape if e != 1])
    if refined is None:
        return None
    common, split, _ = refined
    new = _cut_to(common, shape)
    return None if new is None else (new, split)


def _cut_to(axes: Sequence[Axis], shape: Sequence[Extent]) -> Dims | None:
    """The axes, in order, as dimensions of this shape. None where a dimension would end inside an axis."""
    dims: list[Dim] = []
    rest = list(axes)
    for extent in shape:
        taken: list[Axis] = []
        while extent_of(taken) != extent:
            if not rest:
                return None
            taken.append(rest.pop(0))
        dims.append(tuple(taken))
    return tuple(dims)


def infer_shape(target: Sequence[Extent], source: Sequence[Extent], allow_zero: bool) -> list[Extent] | None:
    """The shape that Reshape gives a tensor of shape `source`: `target` with 0 (copy) and -1 (infer) filled in.

    None where an extent cannot be inferred. Example: target [0, -1] of [B, 20, 16] is [B, 320].

    Raises UnprovenError where it can be inferred if axes of one name are equal.
    """
    shape = [source[i] if e == 0 and not allow_zero and i < len(source) else e for i, e in enumerate(target)]
    if -1 in shape:
        known = product(e for e in shape if e != -1)
        missing = divide(product(source), known) if known != 0 else None
        if missing is None:
            if known != 0:
                require_proof(product(source), known)
            return None
        shape = [missing if e == -1 else e for e in shape]
    return shape if all(compare(e, -1) == 1 for e in shape) else None
