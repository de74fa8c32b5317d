"""Einsum: every letter is a named axis already.

    Einsum('bd,df->bf', x, w)      lacks b where x lacks it
    Einsum('bld,bd->bl', x, y)     is Einsum('ld,bd->bl', x, y) where x lacks b
    Einsum('bhd,bmd->bhmd', x, y)  sums nothing: it is Mul, part by part, and several times faster as that
    Einsum('bd,dhe->bhe', x, W)    is x (b d) @ W (d (h e)), with all the forms of a product with a weight

Holds for an explicit equation without ellipsis; the last one where each letter of W is summed with x or its own.
Letters that are summed are written out. Rounding: none, but that of `linear`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mari_onnx.analysis.context import Context, Derived, Op
from mari_onnx.analysis.remarks import explain_product
from mari_onnx.analysis.rules.elementwise import with_forms
from mari_onnx.analysis.rules.linear import Product, explained, forms_of
from mari_onnx.ir.arrays import fill, lay, natural, stored_shape
from mari_onnx.ir.axes import Axis, Dim, Dims, Refused, Renaming, compose, extent_of, flat, refine, renamed
from mari_onnx.ir.broadcasting import agree, pointwise, result_via
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.renaming import fresh, rename_value


def einsum(op: Op, ctx: Context) -> Derived:
    """Each operand on the letters that it really has."""
    equation = op.attribute("equation").decode().replace(" ", "")
    left, arrow, right = equation.partition("->")
    letters = left.split(",")
    if not arrow or any(len(set(term)) < len(term) for term in (*letters, right)):  # three dots are a diagonal too
        return Refused(f"Einsum of {equation}: an ellipsis, a diagonal or no explicit result")
    since = ctx.b.count
    values = [v for v in op.inputs if v is not None]
    if any(v.dims is None for v in values):
        return Refused("the rank of an input of Einsum is unknown")
    # x that meets itself, as i and as j, has its axis under both letters.
    values = [values[0], *(fresh(ctx.b, v) for v in values[1:])]
    dim_of: dict[str, Dim] = {}
    renamings: list[dict[Axis, Dim]] = [{} for _ in values]
    for term, value, names in zip(letters, values, renamings, strict=True):
        for letter, here in zip(term, value.known_dims, strict=True):
            if letter not in dim_of:
                dim_of[letter] = here
                continue
            refined = refine(dim_of[letter], here)
            if refined is None:
                return Refused(f"extents {extent_of(dim_of[letter])} and {extent_of(here)} of {letter} differ")
            common, first, second = refined
            dim_of[letter] = tuple(common)
            for other in renamings:
                other.update(compose(other, first))
            names.update(second)
    values = [rename_value(ctx.b, v, n) for v, n in zip(values, renamings, strict=True)]
    dims = tuple(dim_of[letter] for letter in right)
    summed = [a for letter, d in dim_of.items() if letter not in right for a in d]
    if len(values) == 2 and not summed:

        def run(arrays: list[Array], part: Renaming) -> Array:
            return _times(ctx, arrays, renamed(dims, part))

        return [with_forms(op, ctx, values, dims, op.data.dtype, since, run)]
    arrays = [fill(ctx.b, v.array, v.known_dims, [a for a in flat(v.known_dims) if a in summed]) for v in values]
    arrays = agree(ctx.b, arrays, tuple(dim_of.values()))
    for d in dim_of.values():
        if len(d) > 1 and len({tuple(array.state(a) for a in d) for array in arrays} - {("absent",) * len(d)}) > 1:
            arrays = [fill(ctx.b, a, v.known_dims, d) for a, v in zip(arrays, values, strict=True)]
    via = result_via(arrays, flat(dims))
    present = {a for array in arrays for a in flat(array.layout)}
    # A letter means one extent: an operand that repeats along it does without the letter where another has it.
    tensors, terms = [], []
    for array, value, term in zip(arrays, values, letters, strict=True):
        _, layout = natural(ctx.b, array, value.known_dims)
        own = [(letter, d) for letter, d in zip(term, layout, strict=True) if d or not present & set(dim_of[letter])]
        tensors.append(lay(ctx.b, array, tuple(d for _, d in own)))
        terms.append("".join(letter for letter, _ in own))
    out = tuple(tuple(a for a in d if a in present) for d in dims)
    shape = stored_shape(out, via)
    if terms == letters:
        result = ctx.again(op, tensors, [shape], [op.data.dtype])[0]
    else:
        result = ctx.b.make("Einsum", tensors, shape, equation=f"{','.join(terms)}->{right}".encode())
    whole = Array(result, out, via)
    product = _with_weight(ctx, values, letters, right, dim_of)
    if product is None:
        value = ctx.result(op, dims, whole)
        explain_product(op, ctx, value, values[0], extent_of(tuple(summed)), since)
        return [value]
    best, addends, parts = forms_of(ctx, product, whole, since)
    value = ctx.result(op, dims, best, terms=addends, parts=parts)
    return explained(op, ctx, value, product.x, since)


def _with_weight(
    ctx: Context, values: Sequence[Value], letters: Sequence[str], right: str, dim_of: Mapping[str, Dim]
) -> Product | None:
    """The product of rows and a matrix that it is, if it is one: x (b d) and W (d h e) are (b d) @ (d (h e))."""
    if len(values) != 2 or values[0].constant == values[1].constant:
        return None
    (x, ours), (w, theirs) = sorted(zip(values, letters, strict=True), key=lambda side: side[0].constant)
    summed = [letter for letter in ours if letter not in right]
    rows = [letter for letter in ours if letter in right]
    columns = [letter for letter in right if letter not in ours]
    if not rows or sorted(theirs) != sorted((*summed, *columns)):
        return None
    lead = tuple(dim_of[letter] for letter in rows)
    k, n = (tuple(a for letter in group for a in dim_of[letter]) for group in (summed, columns))
    rows_of_x = x.with_dims((*lead, k))
    weight = fill(ctx.b, w.array, w.known_dims)
    return Product(rows_of_x, weight, (k, n), (*lead, n), None, 1.0, 1.0, False, w.name, False)


def _times(ctx: Context, arrays: list[Array], dims: Dims) -> Array:
    """Without a letter that is summed it is a Mul, which is several times faster."""
    return pointwise(ctx.b, arrays, [len(dims)] * 2, dims, lambda ts, shape: ctx.b.make("Mul", ts, shape))
