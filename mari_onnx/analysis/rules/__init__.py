"""The rules: one file for each operator family, and in `DOMAINS` the rule of each operator.

A rule takes a node and the forms of the node's inputs. It returns the forms of the outputs, or a `Refused` with the
reason. It writes nothing into the model. An operator without a rule keeps its plain form.

Example: the rule of MatMul takes x = [user item], which is known as parts, and the weight W. It returns the product as
an array, and as the terms `user @ W_user` and `item @ W_item`.
"""

from __future__ import annotations

import onnx

from mari_onnx.analysis.context import Rule
from mari_onnx.analysis.rules import (
    along,
    attention,
    classical,
    columns,
    concat,
    convolution,
    einsum,
    elements,
    elementwise,
    fused,
    linear,
    lookup,
    mask,
    product,
    quantized,
    quantized_operators,
    ranges,
    recurrent,
    relabel,
    running_sums,
    sequence,
    spatial,
)
from mari_onnx.ir.operators import CLASSICAL, FUSED_OPERATORS, ONNXRUNTIME, domain_of, named

RULES: dict[str, Rule] = {
    **dict.fromkeys(named(lambda t: t.elementwise), elementwise.elementwise),
    **dict.fromkeys(named(lambda t: t.reduction), along.reduce),
    "Cast": elementwise.cast,
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
    "Range": ranges.range_,
    "ConcatFromSequence": sequence.concat_from_sequence,
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
    "CumSum": running_sums.cumsum,
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
    "Conv": convolution.conv,
    "ConvTranspose": spatial.after,
    "InstanceNormalization": spatial.after,
    "GroupNormalization": spatial.after,
    "DepthToSpace": spatial.after,
    "SpaceToDepth": spatial.after,
    "AveragePool": spatial.pool,
    "GlobalAveragePool": spatial.pool,
    "GlobalLpPool": spatial.pool,
    "GlobalMaxPool": spatial.pool,
    "LpPool": spatial.pool,
    "MaxPool": spatial.pool,
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
    "QLinearMatMul": quantized_operators.matmul,
}

FUSED: dict[str, Rule] = {
    **dict.fromkeys(named(lambda t: t.elementwise, FUSED_OPERATORS), elementwise.elementwise),
    "FastGelu": fused.gelu,
    "BiasGelu": fused.gelu,
    "FusedMatMul": fused.matmul,
    "FusedGemm": fused.gemm,
    "FusedConv": fused.conv,
    "SkipLayerNormalization": fused.skip_layer_normalization,
    "SimplifiedLayerNormalization": fused.simplified_layer_normalization,
    "SkipSimplifiedLayerNormalization": fused.skip_layer_normalization,
    "MultiHeadAttention": attention.attention,
    "GroupQueryAttention": attention.grouped_queries,
    "Attention": attention.self_attention,
    "MatMulNBits": quantized.packed,
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), fused.integer_product),
    "QGemm": quantized.product,
    "QLinearConcat": quantized_operators.joined,
    "QLinearSoftmax": quantized_operators.softmax,
    **dict.fromkeys(
        ("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"), quantized_operators.elementwise
    ),
}
"""The rules of the operators in onnxruntime's own domain: most of them are several operators of ONNX in one."""

CLASSICAL_RULES: dict[str, Rule] = {
    "ArrayFeatureExtractor": classical.array_feature_extractor,
    "Binarizer": elementwise.elementwise,
    "CategoryMapper": classical.encode,
    "Imputer": classical.by_row,
    "LabelEncoder": classical.encode,
    "LinearClassifier": classical.by_row,
    "LinearRegressor": classical.by_row,
    "Normalizer": classical.by_row,
    "OneHotEncoder": classical.one_hot_encoder,
    "SVMRegressor": classical.by_row,
    "Scaler": classical.by_row,
    "TreeEnsemble": classical.by_row,
    "TreeEnsembleClassifier": classical.by_row,
    "TreeEnsembleRegressor": classical.by_row,
}
"""The rules of the operators of classical machine learning."""

DOMAINS = {"": RULES, "ai.onnx": RULES, ONNXRUNTIME: FUSED, CLASSICAL: CLASSICAL_RULES}


def rule_for(proto: onnx.NodeProto) -> Rule | None:
    """The rule of a node's operator, None for an operator without a rule."""
    return DOMAINS.get(domain_of(proto.op_type, proto.domain), {}).get(proto.op_type)
