"""ReduceSum and ReduceMean in fewer steps: as sums of the places of an axis, and without a number in each summand.

    sum over k of x (b k n)             = x[:, 0] + x[:, 1] + ... + x[:, k - 1]
    sum over k of f(x) (b k n)          = f(x[:, 0]) + ... + f(x[:, k - 1])     f works element by element
    sum over k of [a; b; c]             = a + b + c            the places of a Concat are there already
    mean over k of x                    = (x[:, 0] + ... + x[:, k - 1]) / k
    sum over k of x (b k 1)             = sum over the last axis of x (b k)
    sum over k of (x + e)               = (sum over k of x) + k e
    mean over k of (x + e)              = (mean over k of x) + e

Holds for float32 and float64, for an axis of known extent, and where e is a stored number. k e is written as a node, so
that it has the precision in which a model is run. Whether it pays is a matter of prices: a place of a computed tensor
has to be copied out of it.
Rounding: the order in which numbers are added, which is another one for each shape in a runtime too. A NaN and
infinities give what they give in any order. A sum of zeros may be a zero of the other sign.

Measured with onnxruntime 1.32.0: both reductions take 65 ns for each index of the axes before the reduced one, whatever
there is to add; 500 x 3 x 48 numbers in 33 us, and as places in 11. Dice, which divides a row without its mean by
sqrt(sum(x^2 + e)), takes 519 us for 10,000 rows of 64 columns, and 417 with e added once and a product for each square.
One LayerNormalization in its place takes 323, and is not written: until 1.29 it takes 2,500, with three times the
original's error where the mean is large.
"""

from __future__ import annotations

from collections.abc import Iterator

from mari_onnx.ir.expressions import Node, first_input
from mari_onnx.ir.extents import product
from mari_onnx.planning.kernels.places import MOST, place
from mari_onnx.planning.kernels.site import DOUBLE, FLOAT, Offer, Site, is_ours


def of_places(site: Site, node: Node) -> Iterator[Offer]:
    """ReduceSum and ReduceMean along one axis: of its places where there are few, or along the last axis."""
    x, y, axis = first_input(node.outputs[0]), node.outputs[0], site.reduced(node)
    if x.dtype not in (FLOAT, DOUBLE) or y.shape is None or axis is None:
        return
    shape = x.known_shape
    extent, behind = shape[axis], product(shape[axis + 1 :])
    if behind == 1 and axis < len(shape) - 1:
        flat = site.b.reshape(x, shape[: axis + 1])
        last = site.b.make(node.op_type, [flat], shape[:axis], axes=(axis,), keepdims=0)
        yield Offer(site.b.reshape(last, y.shape), [node])
    elif behind != 1 and isinstance(extent, int) and 1 < extent <= MOST:
        for through in (False, True):
            places = [place(site, x, axis, i, through=through) for i in range(extent)]
            total = site.b.make("Sum", places, places[0].known_shape)
            if node.op_type == "ReduceMean":
                total = site.b.make("Div", [total, site.like(x, extent)], total.known_shape)
            yield Offer(site.b.reshape(total, y.shape), [node])


def without_addend(site: Site, node: Node) -> Iterator[Offer]:
    """ReduceSum and ReduceMean along one axis of a sum with a stored number."""
    x, y, axis = first_input(node.outputs[0]), node.outputs[0], site.reduced(node)
    if x.dtype not in (FLOAT, DOUBLE) or y.shape is None or axis is None or not is_ours(x.node, "Add"):
        return
    extent = x.known_shape[axis]
    for rest, number in (x.node.inputs, x.node.inputs[::-1]):
        if rest is None or number is None or rest.shape != x.shape or site.number(number) is None:
            continue
        addend = site.b.reshape(number, ())
        if node.op_type == "ReduceSum":
            if not isinstance(extent, int):
                return
            addend = site.b.make("Mul", [addend, site.like(x, extent)], ())
        keepdims = dict(node.attributes).get("keepdims", 1)
        total = site.b.make(node.op_type, [rest], y.shape, axes=(axis,), keepdims=keepdims)
        yield Offer(site.b.make("Add", [total, addend], y.shape), [node, x.node])
        return
