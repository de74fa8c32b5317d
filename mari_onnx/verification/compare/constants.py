"""Whether the constants of one model are those of another, only moved; this decides the bound in float64.

A constant that is cut, joined, reordered or repeated keeps its values. A combination of two constants, such as a stored
W1 + W3, has values that neither of them has, and which are rounded once more to the precision in which they are stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import uses_external_data

from mari_onnx.document.scopes import bodies
from mari_onnx.verification.runtimes.onnxruntime import Array, Source

_HALF = 2
_FEW = 8
"""Arrays in half precision with fewer values are judged value by value; neighbours would tell nothing of them."""

_PIECE = 1 << 22
"""Elements that are compared at a time."""

_WHOLE = 2.0**24
"""Whole numbers below this are exact in float32, so that none of them is a rounded result."""


def combined(reference: Source, optimized: Source) -> dict[str, float]:
    """The constants of the optimized model with values that no constant of the reference has, by name.

    The value of an entry is the unit roundoff of the type in which the constant is stored: 2^-24 for float32.
    """
    ours = dict(_floats(optimized.proto.graph))
    theirs = dict(_floats(reference.proto.graph))
    changed = {n for n in ours.keys() & theirs.keys() if not _alike(reference, theirs[n], optimized, ours[n])}
    new = {name: optimized.array_of(t) for name, t in ours.items() if name not in theirs or name in changed}
    gone = [reference.array_of(t) for name, t in theirs.items() if name not in ours or name in changed]
    unmoved = _unmoved(new, gone)
    if unmoved:  # a constant that is in both models may in addition have been cut or repeated elsewhere
        unmoved = _unmoved({name: new[name] for name in unmoved}, [reference.array_of(t) for t in theirs.values()])
    return {name: _roundoff(new[name].dtype) for name in unmoved}


def _alike(a: Source, of_a: onnx.TensorProto, b: Source, of_b: onnx.TensorProto) -> bool:
    """Whether two models store the same values, be it in different files."""
    if of_a == of_b:
        return True
    if (of_a.data_type, of_a.dims) != (of_b.data_type, of_b.dims):
        return False
    rows = (_pieces(a.array_of(of_a)), _pieces(b.array_of(of_b)))
    return all(np.array_equal(one, other) for one, other in zip(*rows, strict=True))


def _pieces(array: Array) -> Iterator[Array]:
    """The elements of an array in pieces: a comparison of whole tables would take as much memory as they."""
    flat = array.reshape(-1)
    return (flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE))


def changed_rows(reference: Source, optimized: Source, table: str) -> Array:
    """The numbers of the rows that differ, in a stored table with the same name and shape in both models.

    No rows for a table that only one of them has, or in another shape.
    """
    theirs, ours = ({t.name: t for t in m.proto.graph.initializer}.get(table) for m in (reference, optimized))
    if ours is None or theirs is None or ours == theirs or not ours.dims:
        return np.zeros(0, np.int64)
    a, b = reference.array_of(theirs), optimized.array_of(ours)
    if a.shape != b.shape:
        return np.zeros(0, np.int64)
    return np.flatnonzero((a != b).reshape(len(a), -1).any(axis=1))


def jittered(model: onnx.ModelProto, roundings: Mapping[str, float], rng: np.random.Generator) -> onnx.ModelProto:
    """A copy of a float64 model in which constants are perturbed.

    `roundings` are relative errors by name of the constant. Each element is changed by that share of itself, up or down
    at random.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name, tensor in _floats(copy.graph):
        if name in roundings and not uses_external_data(tensor):
            array = numpy_helper.to_array(tensor)
            signs = rng.choice([-1.0, 1.0], array.shape)
            tensor.CopyFrom(numpy_helper.from_array(array * (1 + roundings[name] * signs), tensor.name))
    return copy


def _unmoved(new: dict[str, Array], known: list[Array]) -> list[str]:
    """The names of the arrays in `new` with values that are in no array of `known`."""
    types = {a.dtype for a in new.values()}
    values = {d: _common([a for a in new.values() if a.dtype == d], [a for a in known if a.dtype == d]) for d in types}
    half = any(d.itemsize == _HALF for d in types)
    pairs = _pairs([a for a in known if half and a.dtype.itemsize == _HALF])
    return [name for name, array in new.items() if not _moved(array, values[array.dtype], pairs)]


def _common(new: list[Array], known: list[Array]) -> Array:
    """The values that are in an array of both, sorted. Those that are known may take gigabytes, and are not copied."""
    wanted = np.unique(np.concatenate([a.reshape(-1) for a in new]))
    seen = np.zeros(wanted.shape, np.bool_)
    for array in known if wanted.size else ():
        for piece in _pieces(array):
            at = np.minimum(np.searchsorted(wanted, piece), max(wanted.size - 1, 0))
            seen[at[wanted[at] == piece]] = True
    found: Array = wanted[seen]
    return found


def _moved(array: Array, values: Array, pairs: Array) -> bool:
    plain = array.ravel()
    new = plain[~_among(plain, values)].astype(np.float64)
    if not (np.abs(new) < _WHOLE).all() or (new != np.rint(new)).any():
        return False
    if array.dtype.itemsize > _HALF or array.size < _FEW:
        return True
    # A large table has nearly every value of half precision, so a value proves nothing. Pairs of neighbours do: where
    # half of them, along some axis, are pairs of a known array too, the values were moved together.
    return any(_among(beside, pairs).mean() >= 0.5 for beside in _neighbours(array) if beside.size)


def _among(array: Array, ordered: Array) -> Array:
    """Which values are in the sorted array `ordered`; np.isin hashes the values first, which takes seconds."""
    if not ordered.size:
        return np.zeros(array.shape, np.bool_)
    found: Array = ordered[np.minimum(np.searchsorted(ordered, array), ordered.size - 1)] == array
    return found


def _pairs(arrays: list[Array]) -> Array:
    beside = [each for array in arrays for each in _neighbours(array)]
    return np.sort(np.concatenate(beside)) if beside else np.zeros(0, np.uint32)


def _neighbours(array: Array) -> Iterator[Array]:
    """For each axis: every value of half precision and its neighbour along the axis, packed into one 32-bit number."""
    bits = array.view(np.uint16).astype(np.uint32)
    for axis in range(array.ndim):
        first, second = np.split(bits, [-1], axis)[0], np.split(bits, [1], axis)[1]
        yield ((first << 16) | second).ravel()


def _roundoff(dtype: np.dtype[np.generic]) -> float:
    """The unit roundoff of a type: half the distance from 1 to the next larger number."""
    return math.ldexp(1, -8) if dtype.name == "bfloat16" else float(np.finfo(str(dtype)).eps) / 2


def _floats(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """The stored float tensors of a graph and of the bodies in it, by name: initializers and tensor attributes."""
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
    yield from ((tensor.name, tensor) for tensor in graph.initializer if tensor.data_type in kinds)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type in kinds:
                yield node.output[0], attribute.t
        for body in bodies(node):
            yield from _floats(body)
