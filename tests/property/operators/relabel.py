"""The same elements in another shape, repeated, or in other places."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from mari_onnx.ir.extents import Extent, Poly, divide, product
from tests.property.graphs import FLOAT, INT64, B, L, R, UnfitError, Writer
from tests.property.operators.ranges import broadcast, count, span, times


def expand(w: Writer) -> None:
    x = w.pick(lambda m: m.rank <= 3, rough=True)
    if w.chance(40):
        y = w.pick(lambda m: broadcast(m.shape, x.shape) is not None, rough=True)
        shape = broadcast(x.shape, y.shape)
        assert shape is not None
        target = w.write("Shape", [y], [y.rank], (0, 10**6), INT64)
        w.write("Expand", [x, target], shape, span(x))
        return
    shape = tuple(e if e != 1 or w.chance(30) else w.choice([B, L, 3, R]) for e in x.shape)
    if w.chance(40) or shape == x.shape:
        shape = (w.choice([B, B, L, 2]), *shape)
    new = len(shape) - x.rank
    kept = [1 if e == own and e != 1 and w.chance(40) else e for e, own in zip(shape[new:], x.shape, strict=True)]
    asked = [*shape[:new], *kept]
    w.write("Expand", [x, w.shape_chain(asked)], shape, span(x))


def tile(w: Writer) -> None:
    x = w.pick(lambda m: 0 < m.rank <= 4, rough=True)
    repeats: list[Extent] = [w.choice([1, B, L, 2] if e == 1 else [1, 1, 1, 2]) for e in x.shape]
    w.write("Tile", [x, w.shape_chain(repeats)], [e * r for e, r in zip(x.shape, repeats, strict=True)], span(x))


def reshape(w: Writer) -> None:
    x = w.pick(lambda m: m.rank > 0 and 0 not in m.shape, rough=True)
    shape: list[Extent] = list(x.shape)
    for _ in range(w.between(1, 3)):
        i = w.between(0, len(shape) - 1) if shape else 0
        kind = w.between(0, 4)
        if kind <= 1 and len(shape) >= 2:  # merge
            i = min(i, len(shape) - 2)
            shape[i : i + 2] = [shape[i] * shape[i + 1]]
        elif kind <= 3 and shape:  # cut
            inner = w.choice([L, B, 2, 3, 4, 1])
            outer = divide(shape[i], inner)
            if outer is not None and outer != 0:
                shape[i : i + 1] = [outer, inner]
        else:
            shape.insert(i, 1)
    if len(shape) > 5:
        raise UnfitError
    target: list[Extent] = list(shape)
    if w.chance(60) and target:
        free = [i for i, e in enumerate(target) if isinstance(e, Poly)] or list(range(len(target)))
        target[w.choice(free)] = -1
    target = [0 if i < x.rank and e == x.shape[i] and w.chance(25) else e for i, e in enumerate(target)]
    if not target:
        w.write("Reshape", [x, w.ints([])], shape, span(x))
        return
    w.write("Reshape", [x, w.shape_chain(target, may_infer=True)], shape, span(x))


def flatten(w: Writer) -> None:
    x = w.floats(1)
    axis = w.between(-x.rank, x.rank) if w.chance(50) else 1
    cut = axis + x.rank if axis < 0 else axis
    w.write("Flatten", [x], [product(x.shape[:cut]), product(x.shape[cut:])], span(x), axis=axis)


def squeeze(w: Writer) -> None:
    x = w.pick(lambda m: 1 in m.shape, rough=True)
    units = [i for i, e in enumerate(x.shape) if e == 1]
    if w.chance(20) and not any(isinstance(e, Poly) for e in x.shape):
        w.write("Squeeze", [x], [e for e in x.shape if e != 1], span(x))
        return
    axis = w.choice(units)
    inputs, attributes = w.axes_form("Squeeze", [axis - x.rank if w.chance(50) else axis])
    w.write("Squeeze", [x, *inputs], [e for i, e in enumerate(x.shape) if i != axis], span(x), **attributes)


def unsqueeze(w: Writer) -> None:
    x = w.pick(lambda m: m.rank <= 3, rough=True)
    axis = w.between(0, x.rank)
    inputs, attributes = w.axes_form("Unsqueeze", [axis - x.rank - 1 if w.chance(50) else axis])
    w.write("Unsqueeze", [x, *inputs], [*x.shape[:axis], 1, *x.shape[axis:]], span(x), **attributes)


def transpose(w: Writer) -> None:
    x = w.pick(lambda m: m.rank >= 2, rough=True)
    perm = list(range(x.rank))
    for i in range(x.rank - 1):
        j = w.between(i, x.rank - 1)
        perm[i], perm[j] = perm[j], perm[i]
    if w.chance(15):
        w.write("Transpose", [x], x.shape[::-1], span(x))
    else:
        w.write("Transpose", [x], [x.shape[p] for p in perm], span(x), perm=perm)


def constant_of_shape(w: Writer) -> None:
    x = w.pick(lambda m: 0 < m.rank <= 3)
    value = numpy_helper.from_array(np.array([w.between(-2, 2)], np.float32))
    shape = w.write("Shape", [x], [x.rank], (0, 10**6), INT64)
    w.write("ConstantOfShape", [shape], x.shape, (-2, 2), FLOAT, value=value)


def shape_as_data(w: Writer) -> None:
    x = w.floats(1)
    axis = w.between(0, x.rank - 1)
    if isinstance(x.shape[axis], int):
        raise UnfitError
    shape = w.write("Shape", [x], [x.rank], (0, 7**5), INT64)
    scalar = w.write("Gather", [shape, w.constant(np.array(axis, np.int64))], [], (0, 7**5), INT64)
    number = w.write("Cast", [scalar], [], (0, count(x.shape[axis : axis + 1])), FLOAT, to=FLOAT)
    w.write("Mul", [x, number], x.shape, times(span(x), (0, count(x.shape[axis : axis + 1]))))
