"""Traits of operators, in one table that all modules read: counts of inputs, kinds of results, default axes, prices.

    OPERATORS["Softmax"]                    the traits of an operator of ONNX
    traits_of("FusedGemm", ONNXRUNTIME)     the same, or None, for any domain
    named(lambda t: t.view)                 the names of all operators with a trait

A row holds for every opset from 7 on, and names the opset from which a trait changes. Nothing is known about an
operator without a row: its nodes are copied as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

ONNXRUNTIME = "com.microsoft"
"""The domain of the operators that onnxruntime fuses others into."""

CLASSICAL = "ai.onnx.ml"
"""ONNX's domain of classical machine learning: encoders, linear models and trees."""

MANY = 2**31 - 1
"""The most inputs of an operator that takes any number, as ONNX's own schemas have it."""

NEVER = 2**31 - 1
"""The "opset from which" of a change that no opset has made."""

Result: TypeAlias = Literal["first", "second", "boolean", "to", "values"]
"""The element type of a result: that of an input, a boolean, what the attribute `to` says, or that of stored values."""


@dataclass(frozen=True)
class Traits:
    """What is known of one operator.

    `least` and `most` count the inputs over all opsets: Clip has 1 to 3, because its bounds were attributes first.
    `elementwise` operators compute each element of the result from one element of each operand, and `broadcasts` says
    that operands of other shapes are repeated first, which all of them do from opset `broadcasts_from` on. `operands`
    is how many of its first inputs are operands: the others are parameters, such as the bounds of Clip, which hold one
    number, do not broadcast and keep their shape. `scalars` are the positions of inputs that onnx wants of rank 0,
    where runtimes take one element of any rank. `checked` are the positions of inputs of which some element makes the
    operator fail: an index out of its table, an integer 0 as divisor, a string that is cast and is no number, a NaN in
    a Binarizer. A `nonempty` operator fails where its input has rows, and no element in a row. `arithmetic` are the
    four operations, which distribute over a Transpose of both operands. `result` is the element type of an elementwise
    result.

    `axis` is the default of the attribute `axis` from opset `one_axis_from` on, and `axis_before` is the default in
    earlier opsets, in which the operator works along that axis and all later ones (Softmax before opset 13;
    LayerNormalization in every opset). An `along` operator works along its axis and treats each index of all other axes
    independently. `axes_input_from` is the opset from which the attribute `axes` (of Slice: `starts` and `ends` too) is
    an input.

    A `view` has the elements of its input in the same order. A `foldable` operator only moves data: on stored operands
    `fold` evaluates it, and the result is written as one constant. A `product` multiplies and adds up. A `reads_more`
    operator reads more elements than it writes, and a `reduction` does so along `axes`. A `random` operator gives
    another result in each call and for each node. `ns` is the price of an element in nanoseconds, None where it is that
    of a copy (see `cost`).
    """

    least: int = 1
    most: int = 1
    elementwise: bool = False
    broadcasts: bool = False
    broadcasts_from: int = 7
    operands: int = MANY
    checked: tuple[int, ...] = ()
    nonempty: bool = False
    scalars: tuple[int, ...] = ()
    arithmetic: bool = False
    result: Result = "first"
    axis: int | None = None
    axis_before: int | None = None
    one_axis_from: int = 1
    along: bool = False
    axes_input_from: int = NEVER
    view: bool = False
    foldable: bool = False
    product: bool = False
    reads_more: bool = False
    reduction: bool = False
    random: bool = False
    ns: float | None = None

    def default_axis(self, opset: int) -> int | None:
        """The axis of a node that leaves the attribute out. None if the attribute is required, or if there is none."""
        return self.axis_before if self.axis_before is not None and opset < self.one_axis_from else self.axis


def _each(names: str, traits: Traits) -> dict[str, Traits]:
    return dict.fromkeys(names.split(), traits)


_UNARY = Traits(elementwise=True)
_BINARY = Traits(2, 2, elementwise=True, broadcasts=True)
_VARIADIC = Traits(1, MANY, elementwise=True, broadcasts=True)
_ARITHMETIC = replace(_BINARY, arithmetic=True)
_VIEW = Traits(view=True)
_PRODUCT = Traits(2, 3, product=True)
_REDUCTION = Traits(1, 2, axes_input_from=18, reads_more=True, reduction=True)
_SOFTMAX = Traits(axis=-1, axis_before=1, one_axis_from=13, along=True)
_NORMALIZATION = Traits(axis=-1, along=True)
_EXTREME = Traits(axis=0, along=True, reads_more=True)

OPERATORS: Mapping[str, Traits] = {
    # Element by element, of one operand
    **_each(
        "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Exp Floor HardSigmoid HardSwish", _UNARY
    ),
    **_each("Neg Reciprocal Relu Round Shrink Sign Sin Sinh Softsign Swish Tan ThresholdedRelu", _UNARY),
    **_each("IsInf IsNaN Not", replace(_UNARY, result="boolean")),
    **_each("LeakyRelu Sigmoid Tanh", replace(_UNARY, ns=0.3)),
    "Sqrt": replace(_UNARY, ns=0.4),
    "Erf": replace(_UNARY, ns=0.6),
    "Gelu": replace(_UNARY, ns=0.7),
    **_each("Log Selu", replace(_UNARY, ns=2.0)),
    "Elu": replace(_UNARY, ns=2.5),
    **_each("Mish Softplus", replace(_UNARY, ns=11.0)),
    "Cast": replace(_UNARY, result="to", checked=(0,)),
    "Clip": replace(_UNARY, most=3, operands=1),
    # Element by element, of several operands
    **_each("Add Mul Sub", _ARITHMETIC),
    "Div": replace(_ARITHMETIC, ns=0.3, checked=(1,)),
    **_each("BitShift BitwiseAnd BitwiseOr BitwiseXor", _BINARY),
    "Mod": replace(_BINARY, checked=(1,)),
    **_each("And Equal Greater GreaterOrEqual Less LessOrEqual Or Xor", replace(_BINARY, result="boolean")),
    "Pow": replace(_BINARY, ns=0.4),
    "PRelu": replace(_BINARY, ns=5.0),
    "Where": replace(_BINARY, least=3, most=3, result="second", ns=3.5),
    **_each("Max Mean Min Sum", replace(_VARIADIC, broadcasts_from=8)),
    # Of the second operand only the element type matters.
    "CastLike": Traits(2, 2, checked=(0,)),
    # The same elements in another shape or another place
    "Identity": _VIEW,
    "Dropout": Traits(1, 3, scalars=(1, 2)),
    "Reshape": Traits(2, 2, view=True, foldable=True),
    "Flatten": replace(_VIEW, axis=1),
    **_each("Squeeze Unsqueeze", Traits(1, 2, axes_input_from=13, view=True)),
    "Transpose": Traits(foldable=True),
    "Expand": Traits(2, 2, foldable=True),
    "Tile": Traits(2, 2),
    "Concat": Traits(1, MANY, along=True, foldable=True),  # its axis must be given
    "ConcatFromSequence": Traits(1, 1),
    "Slice": Traits(1, 5, axes_input_from=10, foldable=True),
    "Split": Traits(1, 2, axis=0, along=True),
    "Gather": Traits(2, 2, axis=0, foldable=True, checked=(1,)),
    "GatherElements": Traits(2, 2, axis=0, checked=(1,)),
    "GatherND": Traits(2, 2, checked=(1,)),
    "ScatterElements": Traits(3, 3, axis=0, checked=(1,)),
    "ScatterND": Traits(3, 3),
    "ReverseSequence": Traits(2, 2, checked=(1,)),
    "Compress": Traits(2, 2),  # without an axis of the flattened input
    "Pad": Traits(1, 4),
    "Resize": Traits(1, 4),
    "Trilu": Traits(1, 2),
    **_each("DepthToSpace SpaceToDepth", Traits()),
    # Shapes, positions and what is made of them
    **_each("Shape Size NonZero ConstantOfShape", Traits()),
    **_each("OneHot", Traits(3, 3, axis=-1)),
    "Range": Traits(3, 3, scalars=(0, 1, 2)),
    # Along axes
    "ReduceSum": replace(_REDUCTION, axes_input_from=13),
    **_each("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin", _REDUCTION),
    **_each("ReduceProd ReduceSumSquare", _REDUCTION),
    **_each("LogSoftmax Softmax", replace(_SOFTMAX, ns=0.4)),
    "Hardmax": _SOFTMAX,
    "LayerNormalization": replace(_NORMALIZATION, least=2, most=3, one_axis_from=NEVER, ns=0.6),
    "RMSNormalization": replace(_NORMALIZATION, least=2, most=2, one_axis_from=NEVER, ns=0.6),
    "LpNormalization": _NORMALIZATION,
    **_each("ArgMax ArgMin", replace(_EXTREME, nonempty=True)),
    "TopK": replace(_EXTREME, most=2, axis=-1),
    "CumSum": Traits(2, 2),  # its axis is an input
    # Channels and places
    "BatchNormalization": Traits(5, 5),
    **_each("InstanceNormalization GroupNormalization", Traits(3, 3)),
    **_each("LRN MeanVarianceNormalization", Traits()),
    **_each("AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool", Traits()),
    # Products
    "MatMul": replace(_PRODUCT, most=2),
    **_each("Conv Gemm", _PRODUCT),
    "ConvTranspose": Traits(2, 3),
    "Einsum": replace(_PRODUCT, least=1, most=MANY),
    "Attention": replace(_PRODUCT, least=3, most=7, checked=(6,)),
    **_each("GRU RNN", replace(_PRODUCT, least=3, most=6, checked=(4,))),
    "LSTM": replace(_PRODUCT, least=3, most=8, checked=(4,)),
    # Integers of 8 bits
    **_each("DequantizeLinear QuantizeLinear", Traits(2, 3, axis=1)),
    "DynamicQuantizeLinear": Traits(),
    "MatMulInteger": replace(_PRODUCT, most=4),
    "QLinearMatMul": replace(_PRODUCT, least=8, most=8),
    # Something else in each call
    **_each("RandomNormal RandomUniform", Traits(0, 0, random=True)),
    **_each("Bernoulli Multinomial RandomNormalLike RandomUniformLike", Traits(random=True)),
}
"""The operators of ONNX."""

FUSED_OPERATORS: Mapping[str, Traits] = {
    "Gelu": OPERATORS["Gelu"],
    "QuickGelu": _UNARY,
    "FastGelu": Traits(1, 2),
    "BiasGelu": Traits(2, 2),
    "SkipLayerNormalization": Traits(3, 5),
    "SimplifiedLayerNormalization": OPERATORS["RMSNormalization"],
    "SkipSimplifiedLayerNormalization": Traits(3, 4),
    "FusedMatMul": replace(_PRODUCT, most=2),
    "FusedGemm": _PRODUCT,
    "FusedConv": replace(_PRODUCT, most=4),
    "MatMulNBits": replace(_PRODUCT, least=3, most=6),
    "DynamicQuantizeMatMul": replace(_PRODUCT, least=3, most=5),
    "MatMulIntegerToFloat": replace(_PRODUCT, least=4, most=7),
    "QGemm": replace(_PRODUCT, least=6, most=9),
    "QLinearConcat": Traits(3, MANY),  # its axis must be given
    **_each("QLinearAdd QLinearMul", Traits(7, 8)),
    **_each("QLinearSigmoid QLinearLeakyRelu", Traits(4, 5)),
    "QLinearSoftmax": Traits(5, 5, along=True),  # its axis must be given
    "MultiHeadAttention": replace(_PRODUCT, least=1, most=10),
    "GroupQueryAttention": replace(_PRODUCT, least=7, most=17),
    "Attention": replace(_PRODUCT, least=2, most=7),
}
"""The operators that onnxruntime fuses others into."""

_BY_ROW = Traits(axis=1, along=True)

CLASSICAL_OPERATORS: Mapping[str, Traits] = {
    "Binarizer": replace(_UNARY, checked=(0,)),
    **_each("CategoryMapper LabelEncoder", replace(_UNARY, result="values")),
    **_each("Imputer LinearClassifier LinearRegressor Normalizer Scaler SVMRegressor", _BY_ROW),
    **_each("TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor", _BY_ROW),
    "ArrayFeatureExtractor": replace(_BY_ROW, least=2, most=2, axis=-1),
    "OneHotEncoder": Traits(),
}
"""The operators of classical machine learning. Most read a row of features, and give a row for it."""

_DOMAINS = {"": OPERATORS, "ai.onnx": OPERATORS, ONNXRUNTIME: FUSED_OPERATORS, CLASSICAL: CLASSICAL_OPERATORS}


WITHOUT_DOMAIN = frozenset({"SimplifiedLayerNormalization"})
"""Operators of onnxruntime's own that it writes as if they were ONNX's, in every opset."""


def domain_of(op_type: str, domain: str) -> str:
    """The domain that an operator belongs to, for the domain that its node has."""
    return ONNXRUNTIME if op_type in WITHOUT_DOMAIN else domain


def traits_of(op_type: str, domain: str = "") -> Traits | None:
    """What is known of an operator, or None."""
    domain = domain_of(op_type, domain)
    return _DOMAINS.get(domain, {}).get(op_type)


def named(having: Callable[[Traits], bool], table: Mapping[str, Traits] = OPERATORS) -> frozenset[str]:
    """The names of the operators that have a trait: `named(lambda t: t.view)`."""
    return frozenset(name for name, traits in table.items() if having(traits))


NONDETERMINISTIC = named(lambda t: t.random)
"""Operators of which two equal nodes stay two, and which run in the same call as the nodes that read them."""
