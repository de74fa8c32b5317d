"""The gate of Dice: a value that passes whole where p is 1, and times a constant where p is 0.

    p x + (1 - p) a x         = x (a + (1 - a) p)                     a constant, p a Sigmoid
    (x (a + (1 - a) p)) @ W   = (x (p + a / (1 - a))) @ ((1 - a) W)   for one number a that is not close to 1

Holds for float32 and float64 where p, x and the sum have one shape. What is computed of a and W is written as nodes, so
that it has the precision in which a model is run.
Rounding: two or three operations instead of five, and one more of the weight. A NaN in x or p gives NaN in both. Where
x is infinite and p is exactly 0 or 1, 0 times infinity makes the original NaN, and x (a + (1 - a) p) is infinite; in
Dice p is NaN there. A zero may have the other sign.

Measured with onnxruntime 1.32.0: each of the five operations takes 100 us for 10,000 x 64 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from mari_onnx.ir.expressions import Node, Tensor
from mari_onnx.planning.kernels.site import DOUBLE, FLOAT, Offer, Site, is_ours

FACTORS = (1 / 16, 16)
"""Between these is the size of a factor 1 - a that a weight is scaled by: what it is divided by stays small then."""


def gate(site: Site, node: Node) -> Iterator[Offer]:
    """Add of what passes and of what is scaled, in any order."""
    b, y = site.b, node.outputs[0]
    if y.shape is None or y.dtype not in (FLOAT, DOUBLE):
        return
    for passed, scaled in permutations(t for t in node.inputs if t is not None):
        if not is_ours(passed.node, "Mul"):
            continue
        factors, products = _factors(scaled)
        for p, x in permutations(t for t in passed.node.inputs if t is not None):
            slope = _slope(site, factors, p, x)
            if p.shape != y.shape or x.shape != y.shape or slope is None or not is_ours(p.node, "Sigmoid"):
                continue
            a, complement = slope
            rest = b.make("Sub", [site.like(a, 1), a], a.known_shape)
            share = b.make("Add", [b.make("Mul", [p, rest], y.shape), a], y.shape)
            gated = b.make("Mul", [x, share], y.shape)
            yield Offer(gated, [node, *products, complement, passed.node])
            return


def into_weight(site: Site, node: Node) -> Iterator[Offer]:
    """Gemm and MatMul of what `gate` writes for one number a, with a constant weight."""
    b, (gated, weight, *added), y = site.b, node.inputs, node.outputs[0]
    if gated is None or weight is None or weight.shape is None or y.shape is None or not _may_be_scaled(weight):
        return
    shared = _share(gated)
    rest = None if shared is None else shared[2]
    a = None if shared is None else site.number(shared[3])
    if shared is None or rest is None or a is None or not FACTORS[0] <= abs(1 - a) <= FACTORS[1]:
        return
    x, p, rest, slope = shared
    share = b.make("Add", [p, b.make("Div", [slope, rest], slope.known_shape)], p.known_shape)
    inputs = [b.make("Mul", [x, share], x.known_shape), b.make("Mul", [weight, b.reshape(rest, ())], weight.shape)]
    inputs += [t for t in added if t is not None]
    yield Offer(b.make(node.op_type, inputs, y.shape, y.dtype, **dict(node.attributes)), [node, gated.node])


def _may_be_scaled(weight: Tensor) -> bool:
    """Whether a weight is stored, or scaled by another kernel: runtimes fuse a dequantized one with its product."""
    return weight.stored or (weight.constant and weight.op_type == "Mul" and weight.node.proto is None)


def _share(gated: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """x, p, 1 - a and a of x (p (1 - a) + a), as `gate` writes it; None for any other tensor."""
    if gated.op_type != "Mul" or gated.node.proto is not None:
        return None
    x, share = gated.node.inputs
    if x is None or share is None or share.op_type != "Add" or share.node.proto is not None:
        return None
    scaled, a = share.node.inputs
    if scaled is None or a is None or scaled.op_type != "Mul" or scaled.node.proto is not None:
        return None
    p, rest = scaled.node.inputs
    is_rest = rest is not None and rest.op_type == "Sub" and rest.node.proto is None and rest.node.inputs[1] is a
    return (x, p, rest, a) if p is not None and rest is not None and is_rest else None


def _factors(t: Tensor) -> tuple[list[Tensor], list[Node]]:
    """The factors of a product of products, and its nodes, the last first; a tensor that is no product has none."""
    factors, nodes, rest = [], [], [t]
    while rest:
        each = rest.pop()
        if is_ours(each.node, "Mul") and not each.constant:
            nodes.append(each.node)
            rest += [i for i in each.node.inputs if i is not None]
        else:
            factors.append(each)
    return factors, nodes


def _slope(site: Site, factors: list[Tensor], p: Tensor, x: Tensor) -> tuple[Tensor, Node] | None:
    """The constant a of the factors x, 1 - p and a, and the node of 1 - p; None for other factors."""
    complement = next((t for t in factors if _is_complement(site, t, p)), None)
    rest = [t for t in factors if t is not complement and t is not x]
    if len(factors) != 3 or complement is None or x not in factors or len(rest) != 1:
        return None
    (a,) = rest
    if not a.constant or a.shape is None or a.dtype != x.dtype:
        return None
    pairs = zip(a.shape[::-1], x.known_shape[::-1], strict=False)
    fits = len(a.shape) <= len(x.known_shape) and all(of_a in (1, of_x) for of_a, of_x in pairs)
    return (a, complement.node) if fits else None


def _is_complement(site: Site, t: Tensor, p: Tensor) -> bool:
    """Whether t is 1 - p."""
    if not is_ours(t.node, "Sub"):
        return False
    one, other = t.node.inputs
    return other is p and t.shape == p.shape and site.number(one) == 1
