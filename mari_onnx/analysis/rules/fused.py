"""Fused operators of onnxruntime (domain com.microsoft), which are in a model that onnxruntime has optimized offline.

    FusedMatMul(x, w)             = MatMul(x^T, w^T) * alpha
    FusedGemm(x, w, c)            = activation(Gemm(x, w, c))
    FusedConv(x, w, b, z)         = activation(Conv(x, w, b) + z)
    MatMulIntegerToFloat(x, w, s) = Cast(MatMulInteger(x, w)) * s + bias, and DynamicQuantizeMatMul likewise
    BiasGelu(x, b)                = Gelu(x + b), and FastGelu with a bias likewise
    SimplifiedLayerNormalization  = RMSNormalization(x) * scale
    SkipLayerNormalization(x, y)  = LayerNormalization(x + y + bias), and SkipSimplifiedLayerNormalization likewise

Example: FusedGemm of [user item] is interpreted as a Gemm, which is split by the parts, and a Relu of its result.

Holds where the rule of each operator on the right holds. The result is written with these operators, and a runtime
fuses them again where it can. A fused node stays as it is if none of its inputs has a cheaper form. Rounding: a fused
node may keep more digits between its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from mari_onnx.analysis.context import Context, Derived, Op, Rule
from mari_onnx.analysis.rules import convolution, elementwise, linear, product, quantized, relabel
from mari_onnx.analysis.rules.along import is_stored, layer_normalization
from mari_onnx.ir.arrays import plain
from mari_onnx.ir.axes import Refused, extent_of, extents, flat, new_dims
from mari_onnx.ir.forms import Array, Value
from mari_onnx.ir.operators import ONNXRUNTIME


@dataclass
class Unfolded:
    """The nodes that a fused node stands for, interpreted one after the other.

    `refused` is the first refusal. After it no further node is interpreted.
    """

    op: Op
    ctx: Context
    refused: Refused | None = None

    def then(self, rule: Rule, op_type: str, *inputs: Value | None, domain: str = "", **attributes: Any) -> Value:
        """The output of one more node; after a refusal, the node's first input."""
        return self.outputs([self.op.name], rule, op_type, *inputs, domain=domain, **attributes)[0]

    def outputs(
        self, names: list[str], rule: Rule, op_type: str, *inputs: Value | None, domain: str = "", **attributes: Any
    ) -> list[Value]:
        """The outputs of one more node, which has these names; after a refusal, the node's first input for each."""
        first = inputs[0]
        assert first is not None
        if self.refused is not None:
            return [first] * len(names)
        given = ["" if v is None else v.name for v in inputs]
        proto = onnx.helper.make_node(op_type, given, names, self.op.proto.name, domain=domain, **attributes)
        derived = rule(Op(proto, inputs, self.op.opset if domain else self.ctx.opset), self.ctx)
        if isinstance(derived, Refused):
            self.refused = derived
            return [first] * len(names)
        return derived

    def scaled(self, value: Value, factor: float) -> Value:
        """The value times a number."""
        if factor == 1.0:
            return value
        return self.then(elementwise.elementwise, "Mul", value, self.constant(np.asarray(factor), value.dtype))

    def constant(self, elements: npt.NDArray[Any], dtype: int) -> Value:
        """A constant of the written model."""
        tensor = self.ctx.b.constant(elements.astype(onnx.helper.tensor_dtype_to_np_dtype(dtype)))
        dims = new_dims(elements.shape)
        return Value(f"{self.op.name}.constant", dims, dtype, Array(tensor, dims))

    def sum(self, *values: Value | None) -> Value:
        """The sum of all values that are not None."""
        first, *rest = (v for v in values if v is not None)
        for value in rest:
            first = self.then(elementwise.elementwise, "Add", first, value)
        return first

    def activated(self, value: Value, name: str, parameters: Mapping[str, float]) -> Value:
        """The value after the activation of this name; the value itself for an empty name.

        An attribute that is not in `parameters` has its default. An unknown activation is a refusal.
        """
        if not name:
            return value
        if name not in ACTIVATIONS:
            self.refused = self.refused or Refused(f"{self.op.op_type} with the activation {name}")
            return value
        attributes: dict[str, Any] = {k: v for k, v in parameters.items() if k in ACTIVATIONS[name]}
        return self.then(elementwise.elementwise, name, value, **attributes)


ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Relu": (), "Sigmoid": (), "Tanh": (), "Softplus": (), "Softsign": (),
    "LeakyRelu": ("alpha",), "Elu": ("alpha",), "ThresholdedRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"),
}  # fmt: skip
"""The activations that a fused product may end with, and the attributes of each."""

Unfolding: TypeAlias = Callable[[Unfolded], "list[Value]"]


def unfolding(unfold: Unfolding) -> Rule:
    """The rule of a fused operator that stands for the nodes of `unfold`.

    If no input has a cheaper form, the rule gives the fused node as it is, unless the nodes are cheaper: that an input
    has all pairs of columns is no form (see `outer_products`).
    """

    def rule(op: Op, ctx: Context) -> Derived:
        present = [v for v in op.inputs if v is not None]
        if any(v.dims is None for v in present):
            return Refused(f"the rank of an input of {op.op_type} is unknown")
        nodes, since = Unfolded(op, ctx), ctx.b.count
        values = unfold(nodes)
        if nodes.refused is not None:
            return nodes.refused
        if not any(map(_has_forms, present)):
            inputs = [None if v is None else plain(ctx.b, v) for v in op.inputs]
            results = ctx.again(op, inputs, [extents(v.known_dims) for v in values], [v.dtype for v in values])
            if ctx.cost.price(results, since) <= ctx.cost.price([v.array.tensor for v in values], since):
                values = [v.stored_as(Array(t, v.known_dims)) for v, t in zip(values, results, strict=True)]
        return [v.named(name) for v, name in zip(values, op.proto.output, strict=True)]

    return rule


def _has_forms(value: Value) -> bool:
    """Whether a computed value is known as parts, terms or blocks, or its array lacks some axes of the value."""
    is_cut = any(form is not None for form in (value.parts, value.terms, value.blocks))
    has_all_axes = all(value.array.state(a) == "stored" for a in flat(value.known_dims) if a.extent != 1)
    return not value.constant and (is_cut or not has_all_axes)


@unfolding
def matmul(nodes: Unfolded) -> list[Value]:
    """FusedMatMul: a MatMul of sides that may be transposed, times the factor alpha."""
    op, sides = nodes.op, []
    for value, side in zip(op.inputs, "AB", strict=True):
        assert value is not None
        if len(value.known_dims) < 2:
            nodes.refused = Refused("FusedMatMul of a vector")
            return [value]
        if op.attribute(f"transBatch{side}", 0):
            nodes.refused = Refused("FusedMatMul of a batch that is not in front")
        if op.attribute(f"trans{side}", 0):
            rank = len(value.known_dims)
            perm = [*range(rank - 2), rank - 1, rank - 2]
            value = nodes.then(relabel.transpose, "Transpose", value, perm=perm)
        sides.append(value)
    return [nodes.scaled(nodes.then(product.matmul, "MatMul", *sides), op.attribute("alpha", 1.0))]


@unfolding
def gemm(nodes: Unfolded) -> list[Value]:
    """FusedGemm: a Gemm and an activation."""
    op = nodes.op
    of_gemm = {k: v for k, v in op.attributes.items() if k in ("alpha", "beta", "transA", "transB")}
    whole = nodes.then(linear.gemm, "Gemm", *op.inputs, **of_gemm)
    names = {"activation_alpha": "alpha", "activation_beta": "beta"}
    parameters = {names[k]: v for k, v in op.attributes.items() if k in names}
    return [nodes.activated(whole, op.attribute("activation", b"").decode(), parameters)]


@unfolding
def integer_product(nodes: Unfolded) -> list[Value]:
    """MatMulIntegerToFloat, and DynamicQuantizeMatMul, which quantizes its input first."""
    op = nodes.op
    given: list[Value | None] = [op.input(i) for i in range(7)]
    if op.op_type == "DynamicQuantizeMatMul":
        names = [op.name, f"{op.name}.scale", f"{op.name}.zero_point"]
        q, s, z = nodes.outputs(names, quantized.dynamic_quantize, "DynamicQuantizeLinear", given[0])
        given = [q, given[1], s, given[2], z, *given[3:5]]
    x, w, x_scale, w_scale, x_zero, w_zero, bias = given
    zeros = [x_zero] if w_zero is None else [x_zero, w_zero]
    total = nodes.then(quantized.product, "MatMulInteger", x, w, *zeros)
    number = nodes.then(elementwise.cast, "Cast", total, to=onnx.TensorProto.FLOAT)
    scale = nodes.then(elementwise.elementwise, "Mul", x_scale, w_scale)
    return [nodes.sum(nodes.then(elementwise.elementwise, "Mul", number, scale), bias)]


@unfolding
def conv(nodes: Unfolded) -> list[Value]:
    """FusedConv: a Conv, an Add of input 3, and an activation."""
    op = nodes.op
    of_conv = {k: v for k, v in op.attributes.items() if not k.startswith("activation")}
    whole = nodes.sum(nodes.then(convolution.conv, "Conv", *op.inputs[:3], **of_conv), op.input(3))
    parameters = dict(zip(("alpha", "beta"), op.attribute("activation_params", []), strict=False))
    return [nodes.activated(whole, op.attribute("activation", b"").decode(), parameters)]


@unfolding
def gelu(nodes: Unfolded) -> list[Value]:
    """BiasGelu, and FastGelu with a bias."""
    op_type = "Gelu" if nodes.op.op_type == "BiasGelu" else "FastGelu"
    return [nodes.then(elementwise.elementwise, op_type, nodes.sum(*nodes.op.inputs), domain=ONNXRUNTIME)]


@unfolding
def simplified_layer_normalization(nodes: Unfolded) -> list[Value]:
    """SimplifiedLayerNormalization: RMSNormalization under a name of onnxruntime's, in all opsets.

    onnxruntime takes any factor behind a normalization for its scale. One that is computed is a factor again.
    """
    op, x, scale = nodes.op, nodes.op.input(0), nodes.op.input(1)
    assert x is not None
    assert scale is not None
    if any(op.proto.output[1:]):
        nodes.refused = Refused("the mean is used, a further output")
    if is_stored(scale) or not x.dims:
        return [nodes.then(layer_normalization, op.op_type, x, scale, **op.attributes)]
    sizes = [extent_of(d) for d in x.dims[op.axis % len(x.dims) :]]
    numbers = [size for size in sizes if isinstance(size, int)]
    if len(numbers) < len(sizes):
        nodes.refused = Refused(f"{op.op_type} along an axis whose extent is not a number")
    ones = nodes.constant(np.ones(numbers), x.dtype)
    y = nodes.then(layer_normalization, op.op_type, x, ones, **op.attributes)
    return [nodes.then(elementwise.elementwise, "Mul", y, scale)]


@unfolding
def skip_layer_normalization(nodes: Unfolded) -> list[Value]:
    """SkipLayerNormalization: LayerNormalization of the sum of two values and a bias; the sum may be an output too.

    SkipSimplifiedLayerNormalization likewise, of SimplifiedLayerNormalization, which has no shift.
    """
    op = nodes.op
    simplified = op.op_type == "SkipSimplifiedLayerNormalization"
    x, skip, scale, *rest = (op.input(i) for i in range(4 if simplified else 5))
    total = nodes.sum(x, skip, rest[-1])
    if any(op.proto.output[1:3]):
        nodes.refused = nodes.refused or Refused(f"the mean of {op.op_type} is used")
    if nodes.ctx.opset < LAYER_NORMALIZATION and not simplified:
        nodes.refused = nodes.refused or Refused(f"SkipLayerNormalization before opset {LAYER_NORMALIZATION}")
    epsilon = op.attribute("epsilon", 1e-12)
    normalized = op.op_type.removeprefix("Skip")
    y = nodes.then(layer_normalization, normalized, total, scale, *rest[:-1], axis=-1, epsilon=epsilon)
    return [y, total, total, total][: len(op.proto.output)]


LAYER_NORMALIZATION = 17
"""The opset from which ONNX has LayerNormalization."""
