"""Named axes: a logical dimension is an ordered product of them, outermost first (einops notation).

Exporters merge `[B, L, K]` into `[(B L), K]` before a Linear and cut it apart after; names survive that where
positions do not. An axis is itself, not its extent: two axes of equal extent are different until an operator
aligns them, and then one is renamed to the other. A dimension of extent 1 is the empty product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mari_onnx.ir.extents import Extent, Poly, compare, divide, product


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """One named axis. `name` is for people; identity is what the algebra goes by."""

    extent: Extent
    name: str = ""

    def __repr__(self) -> str:
        return self.name or str(self.extent)


Dim: TypeAlias = tuple[Axis, ...]
"""One dimension of a tensor: (B L) is B * L long, index b * L + l; () is 1 long."""

Dims: TypeAlias = tuple[Dim, ...]
"""All dimensions of a tensor: [(B L) 256] has two."""

Renaming: TypeAlias = Mapping[Axis, tuple[Axis, ...]]
"""Axes by what they are written as: {K: (K')} is another axis for K, {320: (20 16)} cuts one in two."""


@dataclass(frozen=True)
class Refused:
    """Why a rule does not hold here, and what would change that. A value, not an exception."""

    reason: str
    next_step: str | None = None


def extent_of(dim: Iterable[Axis]) -> Extent:
    """How long a dimension of these axes is."""
    return product(axis.extent for axis in dim)


def extents(dims: Dims) -> tuple[Extent, ...]:
    """How long each dimension is: the shape."""
    return tuple(extent_of(dim) for dim in dims)


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


def show(dims: Iterable[Dim]) -> str:
    """`[(B L) 256]`, as einops writes it."""
    return "[" + " ".join(f"({' '.join(map(str, d))})" if len(d) > 1 else str(d[0]) if d else "1" for d in dims) + "]"


@dataclass
class _Factors:
    """A product of axes that is cut into factors from the outside; `rest` is what is left of its outermost axis."""

    axes: Sequence[Axis]
    rest: Extent | None = None
    split: dict[Axis, list[Axis]] = field(default_factory=dict)

    @property
    def extent(self) -> Extent:
        """What is to be cut next: the outermost axis, or what is left of it."""
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
        """The axes that are written as others."""
        return {axis: tuple(factors) for axis, factors in self.split.items() if factors != [axis]}


def refine(a: Sequence[Axis], b: Sequence[Axis]) -> tuple[list[Axis], dict[Axis, Dim], dict[Axis, Dim]] | None:
    """The coarsest factorization that both products have, and how each axis of a and b is written in it.

        (320)    and  (20 16)  ->  (20 16),    {320: (20 16)},  {}
        (6 10)   and  (2 30)   ->  (2 3 10),   {6: (2 3)},      {30: (3 10)}
        (B 20)   and  (B' 20') ->  (B 20),     {},              {B': (B), 20': (20)}

    Each step takes the outermost factor of both: the smaller extent, where it divides the larger one, and what is left
    of that goes on against the next axis of the other side. None when it is not proven that there is a common one.
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
            return None
        common.append(factor)
    return None if left.axes or right.axes else (common, left.changes, right.changes)


def compose(first: dict[Axis, Dim], then: Renaming) -> dict[Axis, Dim]:
    """The renaming that does `first` and then `then`.

    {320: (20 16)}  and  {16: (4 4')}  ->  {320: (20 4 4'), 16: (4 4')}
    """
    out = {axis: tuple(new for p in parts for new in then.get(p, (p,))) for axis, parts in first.items()}
    return {**then, **out}


def broadcast(operands: Sequence[Dims]) -> tuple[Dims, list[dict[Axis, Dim]]] | Refused:
    """The dims of an elementwise result, and for each operand the renaming of its axes to the result's.

        [B 1 D]  and  [L' D']  ->  [B L' D],  {}  and  {D': (D)}

    Dimensions align from the right, as ONNX broadcasts. Extents that are not proven equal are refused: a symbol that
    is 1 at run time would broadcast, and the result would have another shape.
    """
    rank = max(map(len, operands))
    names: list[dict[Axis, Dim]] = [{} for _ in operands]
    out: list[Dim] = []
    for position in range(-rank, 0):
        here = {k: dims[position] for k, dims in enumerate(operands) if -position <= len(dims) and dims[position]}
        aligned = _align(here)
        if isinstance(aligned, Refused):
            return aligned
        common, changes = aligned
        # q @ k^T of one sequence has its length twice; an axis may stand in a value only once.
        taken = set(flat(out))
        fresh: dict[Axis, Dim] = {a: (Axis(a.extent, a.name),) for a in common if a in taken}
        out.append(renamed((common,), fresh)[0])
        for k, axes in here.items():
            names[k].update({a: renamed((changes[k].get(a, (a,)),), fresh)[0] for a in axes})
    return tuple(out), [{a: new for a, new in changes.items() if new != (a,)} for changes in names]


def _align(here: Mapping[int, Dim]) -> tuple[Dim, dict[int, dict[Axis, Dim]]] | Refused:
    """One dimension of several operands in the axes that all have in common, and how each is written in them."""
    common: Sequence[Axis] = ()
    changes: dict[int, dict[Axis, Dim]] = {}
    for k, axes in here.items():
        refined = refine(common, axes) if common else (list(axes), {}, {})
        if refined is None:
            return Refused(
                f"extents {extent_of(common)} and {extent_of(axes)} are not known to be equal",
                "give the axes the same name when exporting, if they are the same",
            )
        common, split_common, split_here = refined
        changes = {m: compose(before, split_common) for m, before in changes.items()} | {k: split_here}
    return tuple(common), changes


def reshape(dims: Dims, shape: Sequence[Extent]) -> tuple[Dims, dict[Axis, Dim]] | None:
    """The same axes cut at other places, and how axes had to be split for that; None if not proven possible.

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
    """The axes in order as dimensions of this shape; None where an end of a dimension falls inside an axis."""
    out: list[Dim] = []
    rest = list(axes)
    for wanted in shape:
        taken: list[Axis] = []
        while extent_of(taken) != wanted:
            if not rest:
                return None
            taken.append(rest.pop(0))
        out.append(tuple(taken))
    return tuple(out)


def infer_shape(wanted: Sequence[Extent], have: Sequence[Extent], allow_zero: bool) -> list[Extent] | None:
    """The target of a Reshape with its 0 (copy) and -1 (infer) filled in; None when it cannot be known."""
    shape = [have[i] if e == 0 and not allow_zero and i < len(have) else e for i, e in enumerate(wanted)]
    if -1 in shape:
        known = product(e for e in shape if e != -1)
        missing = divide(product(have), known) if known != 0 else None
        if missing is None:
            return None
        shape = [missing if e == -1 else e for e in shape]
    return shape if all(compare(e, -1) == 1 for e in shape) else None
