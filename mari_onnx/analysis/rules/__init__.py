"""The rules: one file for each operator family, and `DOMAINS`, the tables that say which serves what.

A rule is given the node and the forms of its inputs and returns the forms of its outputs, or why it does not
hold; it writes nothing. An operator without a rule keeps its plain form.
"""

from __future__ import annotations

import onnx

from mari_onnx.analysis.context import Rule
from mari_onnx.analysis.rules import (
    along,
    attention,
    columns,
    concat,
    einsum,
    elements,
    elementwise,
    fused,
    linear,
    lookup,
    mask,
    product,
    quantized,
    recurrent,
    relabel,
    spatial,
)

_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    Cast Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual
    HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not
    Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum
    Swish Tan Tanh ThresholdedRelu Where Xor
"""
_REDUCTIONS = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
"""

_POOLS = "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool"

RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), elementwise.elementwise),
    **dict.fromkeys(_REDUCTIONS.split(), along.reduce),
    "CastLike": elementwise.cast_like,
    "BatchNormalization": elementwise.batch_normalization,
    "Identity": relabel.identity,
    "Dropout": relabel.dropout,
    "Reshape": relabel.reshape,
    "Flatten": relabel.flatten,
    "Squeeze": relabel.squeeze,
    "Unsqueeze": relabel.unsqueeze,
    "Transpose": relabel.transpose,
    "Expand": relabel.expand,
    "Tile": relabel.tile,
    "ConstantOfShape": relabel.constant_of_shape,
    "Concat": concat.concat,
    "Slice": columns.slice_,
    "Split": columns.split,
    "Gather": lookup.gather,
    "GatherND": lookup.gather_nd,
    "OneHot": lookup.one_hot,
    "NonZero": mask.nonzero,
    "ScatterND": mask.scatter_nd,
    "MatMul": product.matmul,
    "Gemm": linear.gemm,
    "Einsum": einsum.einsum,
    "Softmax": along.softmax,
    "LogSoftmax": along.softmax,
    "Hardmax": along.softmax,
    "LayerNormalization": along.layer_normalization,
    "RMSNormalization": along.layer_normalization,
    "LpNormalization": along.lp_normalization,
    "CumSum": along.cumsum,
    "ArgMax": along.arg_extreme,
    "ArgMin": along.arg_extreme,
    "TopK": along.top_k,
    "GatherElements": elements.gather_elements,
    "ScatterElements": elements.scatter_elements,
    "ReverseSequence": elements.reverse_sequence,
    "Attention": attention.attention,
    "GRU": recurrent.recurrent,
    "LSTM": recurrent.recurrent,
    "RNN": recurrent.recurrent,
    "Conv": recurrent.conv,
    "ConvTranspose": spatial.after,
    "InstanceNormalization": spatial.after,
    "GroupNormalization": spatial.after,
    "DepthToSpace": spatial.after,
    "SpaceToDepth": spatial.after,
    **dict.fromkeys(_POOLS.split(), spatial.pool),
    "Trilu": spatial.triangle,
    "LRN": spatial.channels,
    "MeanVarianceNormalization": spatial.mean_variance,
    "Pad": spatial.pad,
    "Resize": spatial.resize,
    "Compress": spatial.compress,
    "QuantizeLinear": quantized.quantize,
    "DequantizeLinear": quantized.quantize,
    "DynamicQuantizeLinear": quantized.dynamic_quantize,
    "MatMulInteger": quantized.product,
    "QLinearMatMul": quantized.product,
}

FUSED: dict[str, Rule] = {
    "Gelu": elementwise.elementwise,
    "QuickGelu": elementwise.elementwise,
    "FastGelu": fused.gelu,
    "BiasGelu": fused.gelu,
    "FusedMatMul": fused.matmul,
    "FusedGemm": fused.gemm,
    "FusedConv": fused.conv,
    "SkipLayerNormalization": fused.skip_layer_normalization,
    "MultiHeadAttention": attention.attention,
    "Attention": attention.self_attention,
    "MatMulNBits": quantized.packed,
}
"""The rules of what onnxruntime fuses."""

DOMAINS = {"": RULES, "ai.onnx": RULES, fused.DOMAIN: FUSED}


def rule_for(proto: onnx.NodeProto) -> Rule | None:
    """The rule that serves a node, if there is one."""
    return DOMAINS.get(proto.domain, {}).get(proto.op_type)
