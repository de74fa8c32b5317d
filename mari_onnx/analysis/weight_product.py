"""One product of rows with a weight, written as the fastest operator for its shape.

    x (B k) @ w (k n)      is Gemm(x, w); a bias that is added later becomes its C
    x (B L k) @ w (k n)    is MatMul(x, w)
    w (n k) @ x (B k m)    is MatMul(w, x), for a weight on the left
    x (B t k) @ w (t k n)  is MatMul(x (t B k), w), for tokens t with a weight each

A rule that splits `[user item] @ W` into parts calls `multiply` for `user @ W_user` and for `item @ W_item`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.reasons import side
from mari_onnx.document.provenance import Origin
from mari_onnx.ir.arrays import fill, in_order, lay, natural, stored_shape
from mari_onnx.ir.axes import Dim, Dims, flat
from mari_onnx.ir.broadcasting import Write
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Terms, Value
from mari_onnx.ir.sums import GEMM_DTYPES, add_up

GEMM_WITHOUT_C = 11
"""The opset from which C is optional; before it, a product without one is a MatMul."""


@dataclass(frozen=True)
class GemmAttributes:
    """The attributes of Gemm, and the side on which the weight stands.

    `transposed` (transB) is a weight stored as (n k). The result is alpha * (x @ w) + beta * bias.
    """

    transposed: bool = False
    alpha: float = 1.0
    beta: float = 1.0
    left: bool = False


MATMUL = GemmAttributes()


@dataclass(frozen=True)
class WeightProduct:
    """x (..., k) times a weight (k n), or its transpose; `dims` are the result's, and `bias` has its axes.

    With the weight on the left, w (n k) @ x (..., k m), x and the result are seen transposed: as (..., m, k) and
    (..., m, n). A weight (t k n) has axes t of x's rows, one in each of its first dims: each position along them is a
    token with its own weight. `weight_name` is the weight's own, after which its pieces are named. `write` makes
    another operator than Gemm and MatMul of rows and weight, such as a product of integers. With `bias_last` the bias
    is added to the whole product, as it is large and is taken away again (see `taken_again`).
    """

    x: Value
    weight: Operand
    dims: Dims
    bias: Array | None = None
    attributes: GemmAttributes = MATMUL
    weight_name: str = ""
    write: Write | None = None
    bias_last: bool = False

    @property
    def per_token(self) -> bool:
        """Whether the weight has axes of x's rows."""
        return len(self.weight.dims) > 2

    @property
    def contracted(self) -> Dim:
        """The axes of k, which the product sums over."""
        return self.x.known_dims[-1]

    @property
    def written(self) -> Dims:
        """The result's dims in the order in which the model has them."""
        return swapped(self.dims) if self.attributes.left else self.dims

    @property
    def bias_terms(self) -> tuple[tuple[int, Array], ...]:
        """The bias as a summand, if there is one."""
        return () if self.bias is None else ((1, self.bias),)

    def plus_bias(self, summands: tuple[tuple[int, Array], ...], price: float) -> Terms:
        """The product as a sum of others, and of the bias unless that is added last."""
        bias = () if self.bias_last else self.bias_terms
        return Terms((*summands, *bias), price, of_products=True, unbiased=self.bias is None)

    def add_up(self, b: Builder, terms: Terms, dims: Dims) -> Array:
        """The sum of terms that `plus_bias` made, and of the bias that is added last."""
        total = add_up(b, terms, dims)
        return add_up(b, Terms(((1, total), *self.bias_terms)), dims) if self.bias_last else total

    def takes_gemm(self, ctx: Context) -> bool:
        """Whether a product of two dimensions can be a Gemm without C in this model."""
        return self.x.dtype in GEMM_DTYPES and ctx.opset >= GEMM_WITHOUT_C


def swapped(dims: Dims) -> Dims:
    """The dims of the transposed matrices: (..., m, n) of (..., n, m)."""
    return (*dims[:-2], dims[-1], dims[-2])


def multiply(ctx: Context, product: WeightProduct, x: Operand, w: Operand) -> Array:
    """Multiply x, all columns of `product.x` or a piece of them, by w, the rows of the weight for these columns."""
    rows = Operand(fill(ctx.b, x.array, x.dims, x.dims[-1]), x.dims)
    weight = lay(ctx.b, w.array, w.dims)
    if weight.name is None:
        weight.name = f"{product.weight_name}.{side(ctx, rows.array)}"
        ctx.origins[weight] = Origin(product.weight_name, side(ctx, rows.array), "product")
    if product.per_token:
        return _with_weights_of_tokens(ctx, weight, rows, w.dims)
    if product.attributes.left:
        return _with_weight_on_the_left(ctx, product, weight, rows)
    return _with_weight_on_the_right(ctx, product, rows, weight)


def _with_weights_of_tokens(ctx: Context, weight: Tensor, x: Operand, dims: Dims) -> Array:
    """MatMul(x, w) of one matrix for each token, whose rows are all other rows of x. `dims` are those of the weight."""
    tokens = flat(dims[:-2])
    array = fill(ctx.b, x.array, x.dims, [a for a in tokens if x.array.state(a) != "absent"])
    rows = tuple(a for a in flat(array.layout) if a not in tokens and a not in x.dims[-1])
    tensor = lay(ctx.b, array, (*dims[:-2], rows, x.dims[-1]))
    layout = (*dims[:-2], rows, dims[-1])
    return Array(ctx.b.make("MatMul", [tensor, weight], stored_shape(layout, array.via)), layout, array.via)


def _with_weight_on_the_left(ctx: Context, product: WeightProduct, weight: Tensor, x: Operand) -> Array:
    """MatMul(w, x), where x is seen transposed."""
    columns, layout = natural(ctx.b, x.array, swapped(x.dims))
    result = (*layout[:-2], product.dims[-1], layout[-1])
    via = x.array.via
    return Array(ctx.b.make("MatMul", [weight, columns], stored_shape(result, via)), result, via)


def _with_weight_on_the_right(ctx: Context, product: WeightProduct, x: Operand, weight: Tensor) -> Array:
    """Gemm(x, w) of two dimensions, MatMul(x, w) of more."""
    via, transposed = x.array.via, product.attributes.transposed
    rows, layout = natural(ctx.b, x.array, in_order(x.array, x.dims, [len(x.dims) - 1]))
    result = (*layout[:-1], product.dims[-1])
    if transposed and weight.op_type == "DequantizeLinear":  # runtimes fuse it with a product that is not transposed
        weight, transposed = ctx.b.transpose(weight, (1, 0)), False
    shape = stored_shape(result, via)
    if product.write is not None:
        return Array(product.write([rows, weight], shape), result, via)
    if len(layout) == 2 and product.takes_gemm(ctx):
        return Array(_gemm(ctx, product, [rows, weight], shape, transposed), result, via)
    if transposed:
        weight = ctx.b.transpose(weight, (1, 0))
    return Array(ctx.b.make("MatMul", [rows, weight], shape), result, via)


def _gemm(
    ctx: Context, product: WeightProduct, operands: list[Tensor], shape: tuple[Extent, ...], transposed: bool
) -> Tensor:
    """A Gemm that has only those attributes that differ from the operator's defaults."""
    attributes: dict[str, float | int] = {}
    if transposed:
        attributes["transB"] = 1
    if product.attributes.alpha != 1.0:
        attributes["alpha"] = product.attributes.alpha
    return ctx.b.make("Gemm", operands, shape, **attributes)
