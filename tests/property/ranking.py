"""What ranking models are made of, written into a random graph: packed ids, towers, attention, DIN, FM, experts.

Each function writes one block on whatever the graph has by then, in one of the ways in which exporters write it. So
blocks compose: an attention unit reads a packed embedding, a tower what both gave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mari_onnx.ir.extents import Extent
from tests.property.graphs import BOOL, FLOAT, INT64, B, Made, R, UnfitError, Writer
from tests.property.operators.ranges import broadcast, count, hull, span, times

# What blocks have in common


def for_candidates(w: Writer, x: Made) -> Made:
    """The rows of x as many times as there are candidates."""
    if x.shape[:1] == (B,):
        return x
    if x.shape[:1] == (R,):
        index = w.pick(lambda m: m.is_index)
        return w.write("Gather", [x, index], (B, *x.shape[1:]), span(x), x.dtype)
    if x.shape[:1] != (1,):
        raise UnfitError
    shape = (B, *x.shape[1:])
    if w.chance(30):
        return w.write("Tile", [x, w.shape_chain([B, *(1 for _ in x.shape[1:])])], shape, span(x))
    return w.write(
        "Expand", [x, w.shape_chain(shape if w.chance(50) else [B, *(1 for _ in x.shape[1:])])], shape, span(x)
    )


def of_user(w: Writer, rank: int, dtype: int = FLOAT) -> Made:
    """Something of the request's, for each candidate."""
    tiled = {s.made.name for s in w.sources if s.tiled}
    found = w.pick(lambda m: m.rank == rank and m.dtype == dtype and (m.shape[:1] in ((1,), (R,)) or m.name in tiled))
    return for_candidates(w, found)


def of_items(w: Writer, rank: int, dtype: int = FLOAT) -> Made:
    return w.pick(lambda m: m.rank == rank and m.dtype == dtype and m.shape[:1] == (B,) and not m.is_index)


def joined(w: Writer, tensors: list[Made], axis: int = -1) -> Made:
    """Their Concat, in any order."""
    if w.chance(40):
        tensors.reverse()
    first, at = tensors[0], axis % tensors[0].rank
    if any(m.rank != first.rank or m.shape[:at] != first.shape[:at] for m in tensors):
        raise UnfitError
    if any(m.shape[at + 1 :] != first.shape[at + 1 :] or m.dtype != first.dtype for m in tensors):
        raise UnfitError
    width = sum((m.shape[at] for m in tensors), start=0)
    shape = (*first.shape[:at], width, *first.shape[at + 1 :])
    return w.write("Concat", tensors, shape, hull(*tensors), axis=at if w.chance(50) else at - first.rank)


def either(w: Writer, a: Made, b: Made) -> list[Made]:
    """Two operands in one order or the other."""
    return [a, b] if w.chance(50) else [b, a]


def dense(w: Writer, x: Made, n: int, *, bias: bool = True) -> Made:
    """A Linear: Gemm in two dimensions, MatMul and Add otherwise."""
    width = x.shape[-1]
    if not isinstance(width, int) or x.rank < 2:
        raise UnfitError
    bound = x.size * count([width])
    if x.rank == 2 and w.chance(60):
        trans = int(w.chance(70))
        weight = w.numbers([n, width] if trans else [width, n], -1, 1)
        operands = [x, weight, w.numbers([n], -1, 1)] if bias else [x, weight]
        return w.write("Gemm", operands, (*x.shape[:-1], n), (-bound - 1, bound + 1), transB=trans)
    y = w.write("MatMul", [x, w.numbers([width, n], -1, 1)], (*x.shape[:-1], n), (-bound, bound))
    if not bias:
        return y
    shift = w.numbers([n], -1, 1)
    return w.write("Add", either(w, shift, y), y.shape, (y.low - 1, y.high + 1))


def activated(w: Writer, x: Made) -> Made:
    match w.choice(["Relu", "Relu", "PRelu", "Clip", "Sigmoid", ""]):
        case "Relu":
            return w.write("Relu", [x], x.shape, (0, max(x.high, 0)))
        case "PRelu":
            return w.write("PRelu", [x, w.constant(np.array([-1], np.float32))], x.shape, (-x.size, x.size))
        case "Clip":
            limits = [w.constant(np.array(v, np.float32)) for v in (-2, 2)]
            return w.write("Clip", [x, *limits], x.shape, (-2, 2))
        case "Sigmoid":
            return w.write("Sigmoid", [x], x.shape, (0, 1), exact=False)
        case _:
            return x


def summed(w: Writer, op: str, x: Made, axis: int, *, keep: bool = False) -> Made:
    inputs, attributes = w.axes_form(op, [axis])
    shape = [1 if i == axis else e for i, e in enumerate(x.shape) if keep or i != axis]
    n = count([x.shape[axis]])
    bounds = (n * min(x.low, 0), n * max(x.high, 0)) if op == "ReduceSum" else span(x)
    return w.write(op, [x, *inputs], shape, bounds, exact=op != "ReduceMean", keepdims=int(keep), **attributes)


def unsqueezed(w: Writer, x: Made, axis: int) -> Made:
    inputs, attributes = w.axes_form("Unsqueeze", [axis])
    return w.write("Unsqueeze", [x, *inputs], [*x.shape[:axis], 1, *x.shape[axis:]], span(x), **attributes)


def calculated(w: Writer, op: str, x: Made, y: Made) -> Made:
    shape = broadcast(x.shape, y.shape)
    if shape is None:
        raise UnfitError
    bounds = {
        "Add": (x.low + y.low, x.high + y.high),
        "Sub": (x.low - y.high, x.high - y.low),
        "Mul": times(span(x), span(y)),
    }[op]
    return w.write(op, [x, y], shape, bounds)


# Blocks


def features(w: Writer) -> None:
    """User and item columns, side by side or interleaved."""
    tensors = [of_user(w, 2), of_items(w, 2)]
    tensors += [of_user(w, 2) if w.chance(50) else of_items(w, 2) for _ in range(w.between(0, 2))]
    joined(w, tensors)


def packed_lookup(w: Writer) -> None:
    """One table for ids of user and items, after offsets; the embeddings flat, summed or cut apart again."""
    rank = w.choice([1, 2, 2])
    ids = [of_user(w, rank, INT64), of_items(w, rank, INT64)]
    if rank == 1:
        ids = [unsqueezed(w, m, 1) for m in ids]
    packed = joined(w, ids)
    fields = packed.shape[1]
    if not isinstance(fields, int) or packed.low < 0 or packed.high > 60:
        raise UnfitError
    if w.chance(60):
        offsets = w.constant(np.arange(fields, dtype=np.int64))
        packed = calculated(w, "Add", packed, offsets)
    depth = w.choice([2, 3])
    table = w.numbers([packed.high + 1, depth])
    x = w.write("Gather", [table, packed], (*packed.shape, depth), span(table), FLOAT)
    match w.between(0, 3):
        case 0:
            w.write("Reshape", [x, w.ints([-1, fields * depth])], [B, fields * depth], span(x))
        case 1:
            w.write("Flatten", [x], [B, fields * depth], span(x))
        case 2:
            summed(w, w.choice(["ReduceSum", "ReduceMean", "ReduceMax"]), x, 1)


def tower(w: Writer) -> None:
    """Linear layers one after the other."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank in (2, 3) and isinstance(m.shape[-1], int) and m.size < 50)
    for _ in range(w.between(1, 3)):
        x = activated(w, dense(w, x, w.between(1, 3)))


def cross(w: Writer) -> None:
    """DCN: x0 * (x @ W + b) + x."""
    x0 = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2 and isinstance(m.shape[1], int) and m.size < 10)
    (width,) = (e for e in x0.shape[1:] if isinstance(e, int))
    y = dense(w, x0, w.choice([width, 1]))
    calculated(w, "Add", calculated(w, "Mul", x0, y), x0)


def stacked_fields(w: Writer) -> Made:
    """Fields of equal width, as one dimension: [B, fields, width]."""
    x, y = of_user(w, 2), of_items(w, 2)
    width = x.shape[1]
    if not isinstance(width, int) or y.shape[1] != width:
        x, y = (dense(w, m, 2, bias=False) for m in (x, y))
    rows = [x, y, *([x] if w.chance(20) else [])]
    if w.chance(50):
        return joined(w, [unsqueezed(w, m, 1) for m in rows], 1)
    flat = joined(w, rows)
    shape = (B, len(rows), x.shape[1])
    return w.write("Reshape", [flat, w.ints([-1, len(rows), int(str(x.shape[1]))])], shape, span(flat))


def fields(w: Writer) -> None:
    stacked_fields(w)


def factorization(w: Writer) -> None:
    """FM: the square of the sum less the sum of the squares."""
    x = stacked_fields(w) if w.chance(60) else w.pick(lambda m: m.dtype == FLOAT and m.rank == 3 and m.size < 5)
    total = summed(w, "ReduceSum", x, 1)
    first = calculated(w, "Mul", total, total)
    second = summed(w, "ReduceSum", calculated(w, "Mul", x, x), 1)
    y = calculated(w, "Sub", first, second)
    if w.chance(60):
        summed(w, "ReduceSum", y, 1, keep=True)


def field_rows(w: Writer, side: Callable[..., Made], width: int) -> Made:
    """Fields of one side: one that is there, several, or what is looked up for several ids."""
    match w.between(0, 2):
        case 0:
            x = side(w, 2)
        case 1:
            x = side(w, 3)
        case _:
            ids = side(w, 2, INT64)
            if ids.low < 0 or ids.high > 60:
                raise UnfitError
            x = w.write("Gather", [w.numbers([ids.high + 1, width]), ids], (*ids.shape, width), (-2, 2), FLOAT)
    if x.shape[-1] != width:
        x = dense(w, x, width, bias=False)
    return x if x.rank == 3 else unsqueezed(w, x, 1)


def pairs(w: Writer) -> None:
    """Inner products of rows, some of them the user's: all with all (DLRM), or those that constants pick (PNN, FM)."""
    width = w.choice([2, 3])
    sides = [of_user, of_items, *(w.choice([of_user, of_items]) for _ in range(w.between(0, 1)))]
    x = joined(w, [field_rows(w, side, width) for side in sides], 1)
    n = count(x.shape[1:2])
    if not 2 <= n <= MOST_ROWS:
        raise UnfitError
    entries = [(i, j) for i in range(n) for j in range(i)]
    if w.chance(30):
        entries = [(j, i) for i, j in entries] if w.chance(50) else [(i, i) for i in range(n)] + entries
    if w.chance(25):
        entries = [w.choice(entries) for _ in range(w.between(1, 5))]
    picked = w.choice([_multiplied_first, _multiplied_first, _picked_first])(w, x, n, entries)
    if w.chance(60):
        dense(w, picked, w.between(1, 3))


MOST_ROWS = 9
"""So many rows are multiplied with each other."""


def _multiplied_first(w: Writer, x: Made, n: int, entries: list[tuple[int, int]]) -> Made:
    """Of x @ x', all or some entries: by one index or two, or by a mask that is a constant."""
    turned = w.write("Transpose", [x], (x.shape[0], x.shape[2], n), span(x), perm=[0, 2, 1])
    bound = x.size**2 * count(x.shape[2:])
    z = w.write("MatMul", [x, turned], (x.shape[0], n, n), (-bound, bound))
    way = w.choice(["", "Gather", "GatherND", "GatherND", "Compress"])
    if way == "GatherND":
        last = w.write("Transpose", [z], (n, n, x.shape[0]), span(z), perm=[1, 2, 0])
        places = w.constant(np.array(entries, np.int64))
        rows = w.write("GatherND", [last, places], (len(entries), x.shape[0]), span(z))
        return w.write("Transpose", [rows], (x.shape[0], len(entries)), span(z), perm=[1, 0])
    flat = w.write("Reshape", [z, w.ints([-1, n * n])], (x.shape[0], n * n), span(z))
    numbers = [i * n + j for i, j in entries]
    if way == "Gather":
        return w.write("Gather", [flat, w.ints(numbers)], (x.shape[0], len(numbers)), span(z), axis=1)
    if way == "Compress":
        mask = w.constant(np.isin(np.arange(n * n), numbers))
        return w.write("Compress", [flat, mask], (x.shape[0], len(set(numbers))), span(z), axis=1)
    return flat


def _picked_first(w: Writer, x: Made, n: int, entries: list[tuple[int, int]]) -> Made:
    """The rows of each pair, multiplied and summed; before or behind a Transpose that has the rows first."""
    left, right = (w.ints([pair[k] for pair in entries]) for k in (0, 1))
    first = w.chance(40)
    if first:
        x = w.write("Transpose", [x], (n, x.shape[0], x.shape[2]), span(x), perm=[1, 0, 2])
    axis = int(not first)
    shape = [len(entries) if i == axis else e for i, e in enumerate(x.shape)]
    a, b = (w.write("Gather", [x, index], shape, span(x), axis=axis) for index in (left, right))
    y = calculated(w, "Mul", a, b)
    if first:
        y = w.write("Transpose", [y], [shape[i] for i in (1, 0, 2)], span(y), perm=[1, 0, 2])
    return summed(w, "ReduceSum", y, 2)


def experts(w: Writer) -> None:
    """MMoE: experts of one input, and a gate that mixes them."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2 and isinstance(m.shape[1], int) and m.size < 10)
    n = 2
    outs = [unsqueezed(w, activated(w, dense(w, x, 2)), 1) for _ in range(n)]
    mixed = joined(w, outs, 1)
    gate = dense(w, x, n)
    gate = w.write(w.choice(["Softmax", "Hardmax"]), [gate], gate.shape, (0, 1), exact=False, axis=1)
    weights = unsqueezed(w, gate, 2)
    summed(w, "ReduceSum", calculated(w, "Mul", mixed, weights), 1)


def history(w: Writer) -> Made:
    """What a user did: [B, length, width]."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 3 and m.shape[:1] in ((1,), (R,), (B,)) and m.size < 5)
    x = for_candidates(w, x)
    width = x.shape[2]
    if not isinstance(width, int):
        raise UnfitError
    return x


def mask_of(w: Writer, keys: Made) -> Made:
    """Which positions count: [B, length]."""
    first = w.write("Gather", [keys, w.constant(np.array(0, np.int64))], keys.shape[:2], span(keys), axis=2)
    zero = w.constant(np.array(0, np.float32))
    return w.write("Greater", [first, zero], first.shape, (0, 1), BOOL)


def attention(w: Writer) -> None:
    """The candidate asks the history: scores, scale, mask, weights, and what they weigh; in heads now and then."""
    keys = history(w)
    batch, length, width = keys.shape
    query = dense(w, of_items(w, 2), int(str(width)))
    values = keys
    if w.chance(50):
        keys, values = (dense(w, keys, int(str(width)), bias=False) for _ in range(2))
    heads = 2 if width in (2, 4) and w.chance(40) else 0
    q = unsqueezed(w, query, 1)
    if heads:
        each = int(str(width)) // heads
        split: list[Made] = []
        for x, n in ((q, 1), (keys, length), (values, length)):
            target = [w.ints([0, -1, heads, each]), w.ints([-1, 1, heads, each])][n == 1 and w.chance(50)]
            cut = w.write("Reshape", [x, target], (batch, n, heads, each), span(x))
            split.append(w.write("Transpose", [cut], (batch, heads, n, each), span(x), perm=[0, 2, 1, 3]))
        q, keys, values = split
    perm = [*range(keys.rank - 2), keys.rank - 1, keys.rank - 2]
    turned = w.write("Transpose", [keys], [keys.shape[p] for p in perm], span(keys), perm=perm)
    bound = q.size * keys.size * count(keys.shape[-1:])
    scores = w.write("MatMul", [q, turned], (*q.shape[:-1], length), (-bound, bound))
    if w.chance(60):
        mask = mask_of(
            w, values if not heads else w.pick(lambda m: m.dtype == FLOAT and m.shape == (batch, length, width))
        )
        for _ in range(scores.rank - 2):
            mask = unsqueezed(w, mask, 1)
        low = w.constant(np.array(-8, np.float32))
        scores = w.write("Where", [mask, scores, low], scores.shape, (min(scores.low, -8), scores.high), FLOAT)
    kind = w.choice(["Softmax", "Relu", "Hardmax"])
    if kind == "Relu":
        weights = w.write(kind, [scores], scores.shape, (0, max(scores.high, 0)))
    else:
        last = {"axis": -1} if w.opset >= 13 else {"axis": scores.rank - 1}
        weights = w.write(kind, [scores], scores.shape, (0, 1), exact=kind == "Hardmax", **last)
    bound = weights.size * values.size * count([length])
    out = w.write("MatMul", [weights, values], (*weights.shape[:-1], values.shape[-1]), (-bound, bound))
    if not heads:
        w.write("Flatten", [out], (batch, width), span(out))


def din(w: Writer) -> None:
    """DIN's unit: [q, k, q - k, q * k] for each position, through a Linear, and the history weighted by it."""
    keys = history(w)
    batch, length, width = keys.shape
    assert isinstance(width, int)
    q = of_items(w, 2)
    if q.shape[1] != width:
        q = dense(w, q, width, bias=False)
    q = unsqueezed(w, q, 1)
    if w.chance(50):
        target = w.shape_chain([batch if w.chance(50) else 1, length, 1])
        q = w.write("Expand", [q, target], keys.shape, span(q))
    else:
        zeros = calculated(w, "Sub", keys, keys)
        q = calculated(w, "Add", q, zeros)
    x = joined(w, [q, keys, calculated(w, "Sub", q, keys), calculated(w, "Mul", q, keys)])
    merged = w.chance(50)
    if merged:
        x = w.write("Reshape", [x, w.ints([-1, 4 * width])], (batch * length, 4 * width), span(x))
    scores = dense(w, activated(w, dense(w, x, 2)), 1) if w.chance(60) else dense(w, x, 1)
    if merged:
        scores = w.write(
            "Reshape", [scores, w.shape_chain([batch, length, 1], may_infer=True)], (batch, length, 1), span(scores)
        )
    if w.chance(40):
        mask = unsqueezed(w, mask_of(w, keys), 2)
        number = w.write("Cast", [mask], mask.shape, (0, 1), FLOAT, to=FLOAT)
        scores = calculated(w, "Mul", scores, number)
    summed(w, "ReduceSum", calculated(w, "Mul", scores, keys), 1)


def scaled(w: Writer) -> None:
    """Something times one number of the other side, beside it: a price, a popularity, an age of what was clicked."""
    long = w.chance(50)
    x, side = (history(w), of_items) if long else w.choice([(of_user(w, 2), of_items), (of_items(w, 2), of_user)])
    number = summed(w, w.choice(["ReduceSum", "ReduceMax"]), side(w, 2), 1, keep=True)
    if long:
        number = unsqueezed(w, number, 1)
    parts = [calculated(w, "Mul", x, number), x, *([number] if not long and w.chance(50) else [])]
    y = joined(w, parts)
    if w.chance(70):
        dense(w, y, w.between(1, 4))


def normalized(w: Writer) -> None:
    """LayerNormalization as exporters write it out, of one value or of columns of two; and a layer after it."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and isinstance(m.shape[-1], int), rough=True)
    if w.chance(60):
        x = joined(w, [x, w.pick(lambda m: m.dtype == FLOAT and m.shape[:-1] == x.shape[:-1], rough=True)])
    if not isinstance(x.shape[-1], int):
        raise UnfitError
    mean = summed(w, "ReduceMean", x, x.rank - 1, keep=True)
    centred = w.write("Sub", [x, mean], x.shape, (-2 * x.size, 2 * x.size))
    two = w.constant(np.array(2, np.float32))
    op, times = ("Pow", two) if w.chance(50) else ("Mul", centred)
    squares = w.write(op, [centred, times], x.shape, (0, 4 * x.size**2))
    variance = summed(w, "ReduceMean", squares, x.rank - 1, keep=True)
    one = w.constant(np.array(1, np.float32))
    if w.chance(30):  # unbiased
        variance = w.write("Mul", [variance, two], variance.shape, (0, 9999), exact=False)
    moved = w.write(w.choice(["Add", "Add", "Max"]), either(w, variance, one), variance.shape, (1, 9999), exact=False)
    deviation = w.write("Sqrt", [moved], variance.shape, (1, 99), exact=False)
    if w.chance(30):
        deviation = w.write("Add", either(w, deviation, one), variance.shape, (1, 99), exact=False)

    def scaled(made: Made, by: Made) -> Made:
        shape = broadcast(made.shape, by.shape)
        assert shape is not None
        return w.write("Mul", either(w, made, by), shape, (-999, 999), exact=False)

    scale, shift = (w.numbers([x.shape[-1]], -2, 2) for _ in range(2))
    match w.choice(["PyTorch", "PyTorch", "scaled first", "TensorFlow"]):
        case "PyTorch":
            y = w.write("Div", [centred, deviation], x.shape, (-99, 99), exact=False)
            y = scaled(y, scale) if w.chance(80) else y
        case "scaled first":
            y = w.write("Div", [scaled(centred, scale), deviation], x.shape, (-99, 99), exact=False)
        case _:
            if w.chance(50):
                reciprocal = w.write("Reciprocal", [deviation], deviation.shape, (0, 1), exact=False)
            else:
                reciprocal = w.write("Div", [one, deviation], deviation.shape, (0, 1), exact=False)
            inverse = scaled(reciprocal, scale)
            if w.chance(50):
                shift = w.write("Sub", [shift, scaled(mean, inverse)], inverse.shape, (-999, 999), exact=False)
            else:
                negative = w.write("Neg", [mean], mean.shape, span(x))
                shift = w.write("Add", [scaled(negative, inverse), shift], inverse.shape, (-999, 999), exact=False)
            y = scaled(x, inverse)
    if shift.rank > 1 or w.chance(70):
        y = w.write("Add", either(w, y, shift), x.shape, (-999, 999), exact=False)
    if w.chance(70):
        dense(w, y, w.choice([2, 32]))


def sequence(w: Writer) -> None:
    """The history and the candidate as one sequence, as BST has it."""
    keys = history(w)
    q = of_items(w, 2)
    if q.shape[1] != keys.shape[2]:
        q = dense(w, q, int(str(keys.shape[2])), bias=False)
    x = joined(w, [keys, unsqueezed(w, q, 1)], 1)
    if w.chance(50):
        dense(w, x, 2)


def tokens(w: Writer) -> None:
    """Attention over the history and the candidate as one sequence, under a mask that hides the candidate, or not."""
    keys = history(w)
    length, width = keys.shape[1:]
    if not isinstance(width, int) or (isinstance(length, int) and length > 8):
        raise UnfitError
    count = length + 1
    item = of_items(w, 2)
    if item.shape[1] != width:
        item = dense(w, item, width, bias=False)
    x = w.write("Concat", [keys, unsqueezed(w, item, 1)], (B, count, width), hull(keys, item), axis=1)
    q, k, v = (dense(w, x, width, bias=w.chance(30)) if w.chance(70) else x for _ in range(3))
    turned = w.write("Transpose", [k], (B, width, count), span(k), perm=[0, 2, 1])
    bound = q.size * k.size * width
    scores = w.write("MatMul", [q, turned], (B, count, count), (-bound, bound))
    seen = _seen(w, count) if isinstance(count, int) else _seen_of_any(w, count)
    if w.chance(60):
        weights = _weights(w, scores, seen)
    else:
        scores = w.write("Relu", [scores], scores.shape, (0, bound))
        if w.chance(50):
            operands = [_truth(w, seen), scores, w.constant(np.array(0, np.float32))]
            weights = w.write("Where", operands, scores.shape, (0, bound), FLOAT)
        else:
            weights = w.write("Mul", either(w, scores, _numbers(w, seen, 1, 0)), scores.shape, (0, bound))
    bound = weights.size * v.size * (count if isinstance(count, int) else MOST_TOKENS)
    y = w.write("MatMul", [weights, v], x.shape, (-bound, bound))
    y = calculated(w, "Add", x, y)
    place = w.constant(np.array(w.choice([-1, length, 0] if isinstance(length, int) else [-1, 0]), np.int64))
    w.write("Gather", [y, place], (B, width), span(y), axis=1)


HIDING = ["causal", "causal", "causal", "leak", "turned", "none"]
"""Which tokens each token sees: those before it, in most graphs."""

MOST_TOKENS, STORED_TOKENS = 8, 16
"""The most tokens that a graph is called with, and those for which a stored mask has been made."""


Mask: TypeAlias = "Made | npt.NDArray[np.bool_]"
"""What each token sees [n n]: stored, or a tensor of the graph."""


def _seen(w: Writer, n: int) -> Mask:
    """A stored mask of n tokens: those before each, now and then with a leak, or the other way round."""
    mask = np.tri(n, dtype=np.bool_)
    match w.choice(HIDING):
        case "leak":
            mask[0, -1] = True
        case "turned":
            mask = mask.T
        case "none":
            mask[:] = True
    return mask


def _seen_of_any(w: Writer, n: Extent) -> Made:
    """The same for as many tokens as there are, computed as exporters write it."""
    if w.opset < 11:
        raise UnfitError
    kind, shape = w.choice(HIDING), (n, n)
    ahead = {"causal": 0, "turned": 0, "leak": 1, "none": STORED_TOKENS}[kind]
    match w.choice(["places", "places", "places", "triangle", "stored"]):
        case "triangle" if w.opset < 14:
            raise UnfitError
        case "triangle":
            full = w.write("Expand", [w.constant(np.ones((1, 1), np.float32)), w.shape_chain(shape)], shape, (1, 1))
            more = [w.constant(np.array(ahead, np.int64))] if ahead or w.chance(50) else []
            kept = w.write("Trilu", [full, *more], shape, (0, 1), upper=int(kind == "turned"))
            return w.write("Cast", [kept], shape, (0, 1), BOOL, to=BOOL)
        case "stored":
            mask = np.tri(STORED_TOKENS, k=ahead, dtype=np.bool_)
            stored = w.constant(mask.T if kind == "turned" else mask)
            return w.write("Slice", [stored, w.ints([0, 0]), w.shape_chain(shape), w.ints([0, 1])], shape, (0, 1))
    places = _places(w, n)
    row, column = unsqueezed(w, places, 1), unsqueezed(w, places, 0)
    if kind == "turned":
        row, column = column, row
    if ahead or w.chance(20):
        row = w.write("Add", [row, w.constant(np.array(ahead, np.int64))], row.shape, (0, 2 * STORED_TOKENS))
    if w.chance(30):
        far = w.write("Sub", [row, column], shape, (-STORED_TOKENS, 2 * STORED_TOKENS))
        ahead_of = w.write("Less", [far, w.constant(np.array(0, np.int64))], shape, (0, 1), BOOL)
        return w.write("Not", [ahead_of], shape, (0, 1))
    if w.opset >= 12 and w.chance(50):
        return w.write("LessOrEqual", [column, row], shape, (0, 1), BOOL)
    return w.write("Not", [w.write("Greater", [column, row], shape, (0, 1), BOOL)], shape, (0, 1))


def _places(w: Writer, n: Extent) -> Made:
    """The number of each token: 0, 1, ..., or from 1 on."""
    many = w.shape_chain([n])
    match w.choice(["range", "counted", "stored"]):
        case "range":
            axes, attributes = w.axes_form("Squeeze", [0])
            last = w.write("Squeeze", [many, *axes], (), (0, STORED_TOKENS), INT64, **attributes)
            first, step = (w.constant(np.array(i, np.int64)) for i in (0, 1))
            return w.write("Range", [first, last, step], (n,), (0, STORED_TOKENS), INT64)
        case "counted":
            ones = w.write("Expand", [w.ints([1]), many], (n,), (1, 1), INT64)
            return w.write("CumSum", [ones, w.constant(np.array(0, np.int64))], (n,), (1, STORED_TOKENS), INT64)
    stored = w.ints(list(range(STORED_TOKENS)))
    return w.write("Slice", [stored, w.ints([0]), many, w.ints([0])], (n,), (0, STORED_TOKENS), INT64)


def _truth(w: Writer, mask: Mask) -> Made:
    return mask if isinstance(mask, Made) else w.constant(mask)


def _numbers(w: Writer, truth: Mask, yes: float, no: float) -> Made:
    """A number where something is true, and another where it is not."""
    if not isinstance(truth, Made):
        return w.constant(np.where(truth, yes, no).astype(np.float32))
    numbers = [w.constant(np.array(number, np.float32)) for number in (yes, no)]
    exact = bool(np.isfinite([yes, no]).all()) and max(abs(yes), abs(no)) < w.exact
    bounds = (int(min(yes, no)), int(max(yes, no))) if exact else (0, 0)
    return w.write("Where", [truth, *numbers], truth.shape, bounds, FLOAT, exact=exact)


def _weights(w: Writer, scores: Made, seen: Mask) -> Made:
    """The Softmax of masked scores. Under a finite mask nothing is hidden from scores that may be large."""
    filler = w.choice([-np.inf, -np.inf, -1e9, -8.0])
    bounded = w.write("Tanh", [scores], scores.shape, (-1, 1), exact=False) if w.chance(40) else scores
    if w.chance(50):
        operands = either(w, bounded, _numbers(w, seen, 0, filler))
        masked = w.write("Add", operands, scores.shape, span(bounded), exact=False)
    else:
        operands = [_truth(w, seen), bounded, w.constant(np.array(filler, np.float32))]
        masked = w.write("Where", operands, scores.shape, span(bounded), FLOAT, exact=False)
    return w.write("Softmax", [masked], scores.shape, (0, 1), exact=False, axis=2)


BLOCKS = {
    features: 8,
    packed_lookup: 6,
    tower: 4,
    cross: 2,
    fields: 3,
    factorization: 3,
    pairs: 8,
    experts: 2,
    attention: 5,
    din: 4,
    normalized: 2,
    sequence: 2,
    tokens: 3,
    scaled: 4,
}
"""What writes a block, and how often it is chosen."""
