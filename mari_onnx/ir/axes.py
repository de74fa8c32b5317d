"""Named axes: a logical dimension is an ordered product of them, outermost first (einops notation).

Exporters merge `[B, L, K]` into `[(B L), K]` before a Linear and cut it apart after; names survive that where
positions do not. An axis is itself, not its extent: two axes of equal extent are different until an operator
aligns them, and then one is renamed to the other. A dimension of extent 1 is the empty product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
Dims: TypeAlias = tuple[Dim, ...]
Renaming: TypeAlias = Mapping[Axis, tuple[Axis, ...]]


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
    return tuple(tuple(new for axis in d for new in names.get(axis, (axis,))) for d in dims)


def show(dims: Iterable[Dim]) -> str:
    """`[(B L) 256]`, as einops writes it."""
    return "[" + " ".join(f"({' '.join(map(str, d))})" if len(d) > 1 else str(d[0]) if d else "1" for d in dims) + "]"


def refine(a: Sequence[Axis], b: Sequence[Axis]) -> tuple[list[Axis], dict[Axis, Dim], dict[Axis, Dim]] | None:
    """The coarsest factorization that both products have, and how each axis of a and b is written in it.

        (320)  and  (20 16)   ->  (20 16),  {320: (20 16)},  {}

    None when it is not proven that there is one.
    """
    common: list[Axis] = []
    split_a: dict[Axis, list[Axis]] = {}
    split_b: dict[Axis, list[Axis]] = {}
    i = j = 0
    rest_a: Extent | None = None
    rest_b: Extent | None = None
    while i < len(a) and j < len(b):
        left = a[i].extent if rest_a is None else rest_a
        right = b[j].extent if rest_b is None else rest_b
        if left == right:
            part = a[i] if rest_a is None else b[j] if rest_b is None else Axis(left)
            done_a = done_b = True
        elif (quotient := divide(left, right)) is not None:
            # The outer factor comes first: what is left of a goes on against the next axis of b.
            part, rest_a, done_a, done_b = b[j] if rest_b is None else Axis(right), quotient, False, True
        elif (quotient := divide(right, left)) is not None:
            part, rest_b, done_a, done_b = a[i] if rest_a is None else Axis(left), quotient, True, False
        else:
            return None
        common.append(part)
        split_a.setdefault(a[i], []).append(part)
        split_b.setdefault(b[j], []).append(part)
        if done_a:
            i, rest_a = i + 1, None
        if done_b:
            j, rest_b = j + 1, None
    if i < len(a) or j < len(b):
        return None
    return common, _changes(split_a), _changes(split_b)


def _changes(split: Mapping[Axis, list[Axis]]) -> dict[Axis, Dim]:
    return {axis: tuple(parts) for axis, parts in split.items() if parts != [axis]}


def compose(first: dict[Axis, Dim], then: Renaming) -> dict[Axis, Dim]:
    """The renaming that does `first` and then `then`."""
    out = {axis: tuple(new for p in parts for new in then.get(p, (p,))) for axis, parts in first.items()}
    return {**then, **out}


def broadcast(operands: Sequence[Dims]) -> tuple[Dims, list[dict[Axis, Dim]]] | Refused:
    """The dims of an elementwise result, and for each operand the renaming of its axes to the result's.

    Dimensions align from the right, as ONNX broadcasts. Extents that are not proven equal are refused:
    a symbol that is 1 at run time would broadcast, and the result would have another shape.
    """
    rank = max(map(len, operands))
    names: list[dict[Axis, Dim]] = [{} for _ in operands]
    out: list[Dim] = []
    for position in range(-rank, 0):
        here = {k: dims[position] for k, dims in enumerate(operands) if -position <= len(dims) and dims[position]}
        common: list[Axis] = []
        local: dict[int, dict[Axis, Dim]] = {}
        for k, axes in here.items():
            refined = refine(common, axes) if common else (list(axes), {}, {})
            if refined is None:
                return Refused(
                    f"extents {extent_of(common)} and {extent_of(axes)} are not known to be equal",
                    "give the axes the same name when exporting, if they are the same",
                )
            common, split_common, split_here = refined
            local = {m: compose(changes, split_common) for m, changes in local.items()}
            local[k] = split_here
        # q @ k^T of one sequence has its length twice; an axis may stand in a value only once.
        taken = set(flat(out))
        fresh: dict[Axis, Dim] = {a: (Axis(a.extent, a.name),) for a in common if a in taken}
        for k, changes in local.items():
            names[k].update({a: renamed((changes.get(a, (a,)),), fresh)[0] for a in here[k]})
        out.append(renamed((tuple(common),), fresh)[0])
    return tuple(out), [{a: new for a, new in changes.items() if new != (a,)} for changes in names]


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
    out: list[Dim] = []
    position = 0
    for wanted in shape:
        taken: list[Axis] = []
        while extent_of(taken) != wanted:
            if position == len(common):
                return None
            taken.append(common[position])
            position += 1
        out.append(tuple(taken))
    return tuple(out), split


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
