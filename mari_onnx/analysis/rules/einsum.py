"""Einsum: every letter of the equation is a named axis.

    Einsum('bd,df->bf', x, w)      lacks b where x lacks b
    Einsum('bld,bd->bl', x, y)     is Einsum('ld,bd->bl', x, y) where x lacks b
    Einsum('bhd,bmd->bhmd', x, y)  sums over no letter: it is a Mul, which is several times faster
    Einsum('bnd,bd->bn', [x y], z) is one Einsum for x and one for y, where the parts are along n
    Einsum('bd,dhe->bhe', x, W)    is x (b d) @ W (d (h e)), with all the forms of a product with a weight
    Einsum('btd,tde->bte', x, W)   likewise: each token t has a weight (d e)
    Einsum('bqd,bkd->bqk', [q..], [k..])   is the MatMul q k', with the blocks of it, where rows are in parts
    Einsum('bfe,fee->bfe', x, W)   is Einsum('bfe,fe->bfe', x, w), a Mul, for the diagonals w of W
    Einsum('bd,de,be->b', x, W, y) is Einsum('be,be->b', Einsum('bd,de->be', x, W), y), or another order of pairs

Example: of 'bld,bd->bl', x is a user's history of l steps and y has one row for each of b candidates. The history is
the same for all candidates, so it is read as 'ld'.

Holds for an explicit equation without ellipsis, and without a diagonal of what is computed. Where W is a weight, each
letter of W is a letter of the result, or a letter of x that is summed over. Operands are written out along the letters
that are summed over. Three operands and more are multiplied pair by pair only where one of them has a cheaper form.
Rounding: that of `linear`, and the order of sums over several letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from onnx import TensorProto, helper

from mari_onnx.analysis.context import DOUBLE, FLOAT, Context, Derived, Op
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.pricing import whole_or_joined
from mari_onnx.analysis.reasons import repeats
from mari_onnx.analysis.remarks import explain_product
from mari_onnx.analysis.rules.blocks import blocks_of
from mari_onnx.analysis.rules.elementwise import Elementwise, with_forms
from mari_onnx.analysis.rules.linear import explained, forms_of, in_blocks
from mari_onnx.analysis.rules.product import matmul
from mari_onnx.analysis.weight_product import WeightProduct
from mari_onnx.ir.arrays import fill, lay, natural, plain, stored_shape
from mari_onnx.ir.axes import (
    Axis,
    Dim,
    Dims,
    Refused,
    Renaming,
    compose,
    extent_of,
    flat,
    new_dims,
    refine,
    renamed,
)
from mari_onnx.ir.broadcasting import agree, pointwise, result_via
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.renaming import fresh, rename_value

MULTIPLIED = (FLOAT, DOUBLE, TensorProto.FLOAT16)
"""Element types of which onnxruntime has a MatMul; it has an Einsum of bfloat16 as well."""


@dataclass(frozen=True)
class Equation:
    """An equation, and its operands with the same axes for the same letter.

    `terms` has the letters of each operand, `result` has the letters of the result, and `dim_of` has the dimension of
    each letter.
    """

    terms: Sequence[str]
    result: str
    operands: Sequence[Value]
    dim_of: dict[str, Dim]

    @property
    def dims(self) -> Dims:
        """The dims of the result."""
        return tuple(self.dim_of[letter] for letter in self.result)

    def of_pair(self, i: int, j: int) -> tuple[Equation, Equation]:
        """The product of two operands, with the letters that are needed later, and the equation without the two."""
        i, j = sorted((i, j), key=lambda k: self.operands[k].constant)  # rows come first, as those of a product do
        others = [k for k in range(len(self.operands)) if k not in (i, j)]
        needed = {*self.result, *(letter for k in others for letter in self.terms[k])}
        letters = dict.fromkeys(self.terms[i] + self.terms[j])
        pair = Equation(
            [self.terms[i], self.terms[j]],
            "".join(letter for letter in letters if letter in needed),
            [self.operands[i], self.operands[j]],
            {letter: self.dim_of[letter] for letter in letters},
        )
        rest = {letter: d for letter, d in self.dim_of.items() if letter in needed}
        return pair, Equation([self.terms[k] for k in others], self.result, [self.operands[k] for k in others], rest)

    def with_first(self, term: str, operand: Value) -> Equation:
        """The equation with one more operand, which comes first."""
        return replace(self, terms=[term, *self.terms], operands=[operand, *self.operands])

    @property
    def summed(self) -> list[Axis]:
        """The axes that are summed over."""
        return [a for letter, d in self.dim_of.items() if letter not in self.result for a in d]

    def of(self, arrays: Sequence[Array], part: Renaming) -> Equation:
        """The same equation, of parts of the operands; `part` renames the axes to those of the parts."""
        operands = [
            v.stored_as(array, renamed(v.known_dims, part)) for v, array in zip(self.operands, arrays, strict=True)
        ]
        dim_of = dict(zip(self.dim_of, renamed(tuple(self.dim_of.values()), part), strict=True))
        return replace(self, operands=operands, dim_of=dim_of)


def einsum(op: Op, ctx: Context) -> Derived:
    """Einsum: as a Mul, as a product with a weight, pair by pair, or as one Einsum of operands that lack letters."""
    since = ctx.b.count
    equation = _equation(op, ctx)
    if isinstance(equation, Refused):
        return equation
    if len(equation.operands) == 2 and not equation.summed:
        return [_product_without_sum(op, ctx, equation, since)]
    if (product := _as_matmul(op, ctx, equation)) is not None:
        return [product]
    value, x = _of_operands(op, ctx, equation)
    if len(equation.operands) > 2 and any(repeats(v) or v.parts or v.terms for v in equation.operands):
        value, x = _pair_by_pair(op, ctx, equation, (value, x), since)
    if value.terms is None and value.parts is None:
        explain_product(op, ctx, value, x, extent_of(tuple(equation.summed)), since)
        return [value]
    return explained(op, ctx, value, x, since)


def _as_matmul(op: Op, ctx: Context, equation: Equation) -> Value | None:
    """A product of rows with rows as the MatMul that it is, if an operand is in parts or blocks; None for all others.

    The operands and the result are the same values with their dims in another order.
    """
    if len(equation.operands) != 2 or any(v.constant or v.dtype not in MULTIPLIED for v in equation.operands):
        return None
    if not any(v.parts or v.blocks for v in equation.operands):
        return None
    (left, right), result, of = equation.terms, equation.result, equation.dim_of
    rows, columns = ([c for c in term if c not in other] for term, other in ((left, right), (right, left)))
    batch, summed = ([c for c in left if c in right and (c in result) == kept] for kept in (True, False))
    if len(rows) != 1 or len(columns) != 1 or len(summed) != 1 or not {*rows, *columns} <= set(result):
        return None
    x, w = (
        value.with_dims(tuple(of[letter] for letter in (*batch, *letters)))
        for value, letters in zip(equation.operands, ((*rows, *summed), (*summed, *columns)), strict=True)
    )
    proto = helper.make_node("MatMul", [x.name, w.name], [op.name], name=op.proto.name)
    said = len(ctx.remarks)
    derived = matmul(Op(proto, (x, w), op.opset), ctx)
    ctx.remarks[said:] = [replace(remark, op_type=op.op_type) for remark in ctx.remarks[said:]]
    if isinstance(derived, Refused):
        return None
    at = dict(zip((*batch, *rows, *columns), derived[0].known_dims, strict=True))
    return derived[0].with_dims(tuple(at[letter] for letter in result))


def _of_operands(op: Op, ctx: Context, equation: Equation) -> tuple[Value, Value]:
    """The product of all operands at once, and the operand by which it is explained."""
    since = ctx.b.count
    if len(equation.operands) == 2 and not equation.summed:
        return _product_without_sum(op, ctx, equation, since), equation.operands[0]
    whole = _whole(op, ctx, equation)
    product = _with_weight(ctx, equation)
    if product is None:

        def of_parts(arrays: list[Array], part: Renaming) -> Array:
            return _whole(op, ctx, equation.of(arrays, part))

        array, parts = whole_or_joined(ctx.b, ctx.cost, equation.operands, equation.dims, whole, of_parts, since)
        return ctx.result(op, equation.dims, array, parts=parts), equation.operands[0]
    best, addends, parts = forms_of(ctx, product, whole, since)
    cut = in_blocks(ctx, product, since)
    return ctx.result(op, equation.dims, best, terms=addends, parts=parts, blocks=cut), product.x


def _pair_by_pair(
    op: Op, ctx: Context, equation: Equation, best: tuple[Value, Value], since: int
) -> tuple[Value, Value]:
    """The cheapest of `best` and of the products that begin with a pair of operands, and go on with their result."""
    for i, j in combinations(range(len(equation.operands)), 2):
        pair, rest = equation.of_pair(i, j)
        product, _ = _of_operands(op, ctx, pair)
        found = _of_operands(op, ctx, (after := rest.with_first(pair.result, product)))
        if len(after.operands) > 2:
            found = _pair_by_pair(op, ctx, after, found, since)
        if _price(ctx, found[0], since) < _price(ctx, best[0], since):
            best = found
    return best


def _price(ctx: Context, value: Value, since: int) -> float:
    return ctx.cost.price([value.array.tensor], since)


def _equation(op: Op, ctx: Context) -> Equation | Refused:
    """The node's equation. Refused for an ellipsis or a diagonal, and if two extents of one letter may differ.

    Of a stored operand, the diagonal is taken: bfe,fee->bfe is bfe,fe->bfe.
    """
    text, terms, result = _written(op)
    values = [v for v in op.inputs if v is not None]
    if any(v.dims is None for v in values):
        return Refused("the rank of an input of Einsum is unknown")
    if len(terms) == len(values):
        diagonals = [_diagonal(ctx, term, v) for term, v in zip(terms, values, strict=True)]
        terms, values = [term for term, _ in diagonals], [v for _, v in diagonals]
    if "->" not in text or any(len(set(term)) < len(term) for term in (*terms, result)):  # as the dots of "..." do
        return Refused(f"Einsum of {text}: an ellipsis, a diagonal or no explicit result")
    if not set(result) <= {*"".join(terms)}:  # runtimes load it, and do not run it
        return Refused(f"Einsum of {text}: the result has an axis that no input has")
    if [len(term) for term in terms] != [len(v.known_dims) for v in values]:  # runtimes load it, and do not run it
        return Refused(f"Einsum of {text}: an input has another number of dimensions")
    # In 'id,jd->ij' of x and x, the first axis of x would have both letters i and j. New axes keep them apart.
    values = [v.changed(blocks=blocks_of(ctx, v)) for v in values]
    values = [values[0], *(fresh(ctx.b, v) for v in values[1:])]
    common = _common_axes(terms, values)
    if isinstance(common, Refused):
        return common
    dim_of, renamings = common
    operands = [rename_value(ctx.b, v, names) for v, names in zip(values, renamings, strict=True)]
    return Equation(terms, result, operands, dim_of)


def _written(op: Op) -> tuple[str, list[str], str]:
    """The equation of the node, the letters of its operands, and those of its result."""
    text = op.attribute("equation").decode().replace(" ", "")
    left, _, result = text.partition("->")
    return text, left.split(","), result


def _diagonal(ctx: Context, term: str, value: Value) -> tuple[str, Value]:
    """The diagonal of a stored operand along the letters that it has twice, which it has once then, at the end."""
    letter = next((letter for letter in term if term.count(letter) == 2), None)
    places = [i for i, other in enumerate(term) if other == letter]
    dims = value.known_dims
    if letter is None or letter == "." or not value.constant or len(dims) != len(term):
        return term, value
    (first, second), others = places, [i for i in range(len(term)) if i not in places]
    n, *shape = (extent_of(dims[i]) for i in (first, *others))
    if n != extent_of(dims[second]) or not isinstance(n, int):
        return term, value
    rows = ctx.b.reshape(ctx.b.transpose(plain(ctx.b, value), (*others, first, second)), (*shape, n * n))
    tensor = ctx.b.take(rows, ctx.b.constant(np.arange(n) * (n + 1)), len(others))
    kept = new_dims((*shape, n))
    found = Value(value.name, kept, value.dtype, Array(tensor, kept))
    return _diagonal(ctx, "".join(term[i] for i in others) + letter, found)


def _common_axes(
    terms: Sequence[str], operands: Sequence[Value]
) -> tuple[dict[str, Dim], list[dict[Axis, Dim]]] | Refused:
    """The dimension of each letter, and for each operand the renaming of its axes to the axes of these dimensions."""
    dim_of: dict[str, Dim] = {}
    renamings: list[dict[Axis, Dim]] = [{} for _ in operands]
    for term, value, names in zip(terms, operands, renamings, strict=True):
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
    return dim_of, renamings


def _product_without_sum(op: Op, ctx: Context, equation: Equation, since: int) -> Value:
    """An equation that sums over no letter, as a Mul."""
    dims = equation.dims

    def run(arrays: list[Array], part: Renaming) -> Array:
        out = renamed(dims, part)
        return pointwise(ctx.b, arrays, [len(dims)] * 2, out, lambda ts, shape: ctx.b.make("Mul", ts, shape))

    return with_forms(op, ctx, Elementwise(equation.operands, dims, op.data.dtype, run), since)


def _whole(op: Op, ctx: Context, equation: Equation) -> Array:
    """The product as one Einsum; each operand lacks the letters along which it repeats."""
    arrays = _arrays(ctx, equation)
    dims, dim_of = equation.dims, equation.dim_of
    via = result_via(arrays, flat(dims))
    present = {a for array in arrays for a in flat(array.layout)}
    # All operands with a letter must have the same extent there. So an operand that repeats along a letter is given
    # without the letter, if another operand has it.
    tensors, terms = [], []
    for array, value, term in zip(arrays, equation.operands, equation.terms, strict=True):
        _, layout = natural(ctx.b, array, value.known_dims)
        stored = [(letter, d) for letter, d in zip(term, layout, strict=True) if d or not present & set(dim_of[letter])]
        tensors.append(lay(ctx.b, array, tuple(d for _, d in stored)))
        terms.append("".join(letter for letter, _ in stored))
    out = tuple(tuple(a for a in d if a in present) for d in dims)
    shape = stored_shape(out, via)
    if terms == equation.terms == _written(op)[1]:
        return Array(ctx.again(op, tensors, [shape], [op.data.dtype])[0], out, via)
    text = f"{','.join(terms)}->{equation.result}".encode()
    return Array(ctx.b.make("Einsum", tensors, shape, equation=text), out, via)


def _arrays(ctx: Context, equation: Equation) -> list[Array]:
    """The operands' arrays, written out along the summed axes, and with equal stored axes for each letter."""
    summed, dims = equation.summed, tuple(equation.dim_of.values())
    arrays = [
        fill(ctx.b, v.array, v.known_dims, [a for a in flat(v.known_dims) if a in summed]) for v in equation.operands
    ]
    arrays = agree(ctx.b, arrays, dims)
    for d in dims:
        if len(d) > 1 and len({tuple(array.state(a) for a in d) for array in arrays} - {("absent",) * len(d)}) > 1:
            arrays = [fill(ctx.b, a, v.known_dims, d) for a, v in zip(arrays, equation.operands, strict=True)]
    return arrays


def _with_weight(ctx: Context, equation: Equation) -> WeightProduct | None:
    """The equation as a product of rows with a weight, if it is one: x (b d) and W (d h e) are (b d) @ (d (h e)).

    Letters that both have and the result keeps are tokens with a weight each: x (b t d) and W (t d e).
    """
    values, letters, dim_of = equation.operands, equation.terms, equation.dim_of
    if len(values) != 2 or values[0].constant == values[1].constant:
        return None
    (x, of_x), (w, of_w) = sorted(zip(values, letters, strict=True), key=lambda side: side[0].constant)
    summed = [letter for letter in of_x if letter not in equation.result]
    rows = [letter for letter in of_x if letter in equation.result]
    tokens = [letter for letter in rows if letter in of_w]
    columns = [letter for letter in equation.result if letter not in of_x]
    if not rows or sorted(of_w) != sorted((*tokens, *summed, *columns)):
        return None
    lead = tuple(dim_of[letter] for letter in rows)
    k, n = (tuple(a for letter in group for a in dim_of[letter]) for group in (summed, columns))
    rows_of_x = x.with_dims((*lead, k))
    of_tokens = tuple((a,) for letter in tokens for a in dim_of[letter])
    weight = Operand(fill(ctx.b, w.array, w.known_dims), (*of_tokens, k, n))
    return WeightProduct(rows_of_x, weight, (*lead, n), weight_name=w.name)
