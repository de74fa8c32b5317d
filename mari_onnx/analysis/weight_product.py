"""One product of rows with a weight, written as the operator that runtimes do fastest.

    x (B k) @ w (k n)      is Gemm(x, w): a bias that is added later becomes its C
    x (B L k) @ w (k n)    is MatMul(x, w)
    w (n k) @ x (B k m)    is MatMul(w, x), for a weight on the left

The rules that split a product by the parts of its rows write each of the smaller products with `multiply`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mari_onnx.analysis.context import Context
from mari_onnx.analysis.operand import Operand
from mari_onnx.analysis.remarks import side
from mari_onnx.ir.axes import Dim, Dims
from mari_onnx.ir.expressions import Tensor
from mari_onnx.ir.extents import Extent
from mari_onnx.ir.forms import Array, Terms, Value
from mari_onnx.ir.layout import fill, lay
from mari_onnx.ir.unbatch import GEMM_DTYPES, in_order, natural, stored_shape

GEMM_WITHOUT_C = 11
"""The opset from which C is optional; before it, a product without one is a MatMul."""


@dataclass(frozen=True)
class GemmAttributes:
    """How a product has its weight: the attributes of Gemm, and on which side the weight is.

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
    (..., m, n). `weight_name` is the weight's own, after which its pieces are named.
    """

    x: Value
    weight: Operand
    dims: Dims
    bias: Array | None = None
    attributes: GemmAttributes = MATMUL
    weight_name: str = ""

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
        """The product as a sum of others, and of the bias."""
        return Terms((*summands, *self.bias_terms), price)

    def takes_gemm(self, ctx: Context) -> bool:
        """Whether a product of two dimensions can be a Gemm without C in this model."""
        return self.x.dtype in GEMM_DTYPES and ctx.opset >= GEMM_WITHOUT_C


def swapped(dims: Dims) -> Dims:
    """The dims of the transposed matrices: (..., m, n) of (..., n, m)."""
    return (*dims[:-2], dims[-1], dims[-2])


def multiply(ctx: Context, product: WeightProduct, x: Operand, w: Operand) -> Array:
    """Rows of the product, or one piece of their columns, times the rows of the weight that belong to these columns."""
    rows = Operand(fill(ctx.b, x.array, x.dims, x.dims[-1]), x.dims)
    weight = lay(ctx.b, w.array, w.dims)
    if weight.name is None:
        weight.name = f"{product.weight_name}.{side(ctx, rows.array)}"
    if product.attributes.left:
        return _with_weight_on_the_left(ctx, product, weight, rows)
    return _with_weight_on_the_right(ctx, product, rows, weight)


def _with_weight_on_the_left(ctx: Context, product: WeightProduct, weight: Tensor, x: Operand) -> Array:
    """MatMul(w, x), where x is seen transposed."""
    columns, layout = natural(ctx.b, x.array, swapped(x.dims))
    out = (*layout[:-2], product.dims[-1], layout[-1])
    via = x.array.via
    return Array(ctx.b.make("MatMul", [weight, columns], stored_shape(out, via)), out, via)


def _with_weight_on_the_right(ctx: Context, product: WeightProduct, x: Operand, weight: Tensor) -> Array:
    """Gemm(x, w) of two dimensions, MatMul(x, w) of more."""
    via, transposed = x.array.via, product.attributes.transposed
    rows, layout = natural(ctx.b, x.array, in_order(x.array, x.dims, [len(x.dims) - 1]))
    out = (*layout[:-1], product.dims[-1])
    if transposed and weight.op_type == "DequantizeLinear":  # runtimes fuse it with a product as it stands
        weight, transposed = ctx.b.transpose(weight, (1, 0)), False
    shape = stored_shape(out, via)
    if len(layout) == 2 and product.takes_gemm(ctx):
        return Array(_gemm(ctx, product, [rows, weight], shape, transposed), out, via)
    if transposed:
        weight = ctx.b.transpose(weight, (1, 0))
    return Array(ctx.b.make("MatMul", [rows, weight], shape), out, via)


def _gemm(
    ctx: Context, product: WeightProduct, operands: list[Tensor], shape: tuple[Extent, ...], transposed: bool
) -> Tensor:
    """A Gemm with those attributes alone that differ from the operator's defaults."""
    attributes: dict[str, float | int] = {}
    if transposed:
        attributes["transB"] = 1
    if product.attributes.alpha != 1.0:
        attributes["alpha"] = product.attributes.alpha
    return ctx.b.make("Gemm", operands, shape, **attributes)
