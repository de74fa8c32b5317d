"""Operators of the domain com.microsoft, as an offline optimization by onnxruntime leaves them in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from tests.property.graphs import FLOAT, FUSED, INT64, Made, UnfitError, Writer
from tests.property.operators import Maker
from tests.property.operators.quantized import QUANTIZED_UNTIL
from tests.property.operators.ranges import broadcast, count

UINT8, INT32 = TensorProto.UINT8, TensorProto.INT32


def _rows(w: Writer, *, rank: int = 2) -> tuple[Made, int]:
    """Small numbers, and how many there are in a row."""
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= rank and isinstance(m.shape[-1], int) and m.size < 50)
    return x, count(x.shape[-1:])


def gelu(w: Writer) -> None:
    x, width = _rows(w, rank=1)
    op = w.choice(["Gelu", "QuickGelu", "FastGelu", "BiasGelu"])
    bias = [w.numbers([width])] if op == "BiasGelu" or (op == "FastGelu" and w.chance(60)) else []
    attributes: dict[str, Any] = {"alpha": 1.0} if op == "QuickGelu" else {}
    w.write(op, [x, *bias], x.shape, (-99, 99), exact=False, domain=FUSED, **attributes)


def matmul(w: Writer) -> None:
    """With a weight or with what else there is, transposed or not, and a factor."""
    x, width = _rows(w)
    trans = int(w.chance(50))
    if w.chance(60):
        n = w.between(1, 3)
        y = w.numbers([n, width] if trans else [width, n])
    else:
        y = w.pick(lambda m: m.dtype == FLOAT and m.rank == x.rank and m.shape[-1 if trans else -2] == x.shape[-1])
    lead = broadcast(x.shape[:-2], y.shape[:-2]) if x.rank > 2 else ()
    if lead is None:
        raise UnfitError
    bound = 2 * width * x.size * y.size
    shape = (*lead, x.shape[-2], y.shape[-2 if trans else -1])
    w.write("FusedMatMul", [x, y], shape, (-bound, bound), alpha=w.choice([1.0, 2.0]), transB=trans, domain=FUSED)


ACTIVATIONS: dict[str, dict[str, float]] = {"Relu": {}, "LeakyRelu": {"activation_alpha": 2.0}, "Sigmoid": {}}


def gemm(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2 and isinstance(m.shape[1], int) and m.size < 50)
    width, n, trans = count(x.shape[1:]), w.between(1, 3), int(w.chance(50))
    inputs = [x, w.numbers([n, width] if trans else [width, n])] + ([w.numbers([n])] if w.chance(70) else [])
    activation = w.choice(list(ACTIVATIONS))
    bound = 2 * (x.size * 2 * width + 2)
    attributes: dict[str, Any] = {"transB": trans, "activation": activation, **ACTIVATIONS[activation]}
    shape = (x.shape[0], n)
    w.write("FusedGemm", inputs, shape, (-bound, bound), exact=activation != "Sigmoid", domain=FUSED, **attributes)


def conv(w: Writer) -> None:
    x = w.pick(
        lambda m: m.dtype == FLOAT and m.rank == 3 and m.size < 50 and all(isinstance(e, int) for e in m.shape[1:])
    )
    channels, places = count(x.shape[1:2]), count(x.shape[2:])
    kernel = w.between(1, places)
    shape = (x.shape[0], 2, places - kernel + 1)
    bound = x.size * 2 * channels * kernel + 2
    inputs: list[Made | None] = [x, w.numbers([2, channels, kernel]), w.numbers([2])]
    like = [m for m in w.made if m.dtype == FLOAT and m.shape == shape and m.exact and m.size < 50]
    if like and w.chance(70):
        inputs.append(w.choice(like))
        bound += 50
    w.write("FusedConv", inputs, shape, (-bound, bound), activation="Relu", domain=FUSED)


def simplified_layer_normalization(w: Writer) -> None:
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 3 and isinstance(m.shape[2], int) and m.size < 50)
    gates = [m for m in w.made if m.dtype == FLOAT and m.shape == x.shape and m.size < 50]
    scale = w.choice(gates) if gates and w.chance(50) else w.numbers([count(x.shape[2:])])
    w.write("SimplifiedLayerNormalization", [x, scale], x.shape, (-99, 99), exact=False, epsilon=1.0)


def skip_layer_normalization(w: Writer) -> None:
    if w.opset < 17:
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 3 and isinstance(m.shape[2], int) and m.size < 50)
    y = w.pick(lambda m: m.dtype == FLOAT and m.shape == x.shape and m.size < 50)
    width = count(x.shape[2:])
    inputs = [x, y, w.numbers([width]), w.numbers([width]), *([w.numbers([width])] if w.chance(50) else [])]
    if w.chance(50):
        del inputs[3]
        w.write("SkipSimplifiedLayerNormalization", inputs, x.shape, (-99, 99), exact=False, epsilon=1.0, domain=FUSED)
    else:
        w.write("SkipLayerNormalization", inputs, x.shape, (-99, 99), exact=False, epsilon=1.0, domain=FUSED)


def attention(w: Writer) -> None:
    """Of queries that ask keys, or of a sequence with the weights of its projections."""

    def fits(m: Made) -> bool:
        return m.dtype == FLOAT and m.rank == 3 and m.size <= 16 and isinstance(m.shape[2], int)

    q = w.pick(fits)
    width = count(q.shape[2:])
    heads = 2 if width % 2 == 0 and w.chance(50) else 1
    if w.chance(40):
        if w.chance(40):
            grouped_queries(w, q)
            return
        inputs: list[Any] = [q, w.numbers([width, 3 * width], -1, 1), w.numbers([3 * width], -1, 1)]
        if w.chance(40):
            ids = w.pick(lambda m: m.dtype == INT64 and m.shape == q.shape[:2])
            inputs.append(w.write("Cast", [ids], ids.shape, (ids.low, ids.high), INT32, to=INT32))
        bound, causal = q.size * width + 1, w.between(0, 1)
        w.write("Attention", inputs, q.shape, (-bound, bound), exact=False, num_heads=heads, unidirectional=causal,
                domain=FUSED)  # fmt: skip
        return
    k = w.pick(lambda m: fits(m) and (m.shape[0], m.shape[2]) == (q.shape[0], width))
    v = w.pick(lambda m: fits(m) and m.shape == k.shape)
    inputs = [q, k, v, *([w.numbers([3 * width], -1, 1)] if w.chance(40) else [])]
    bounds = (v.low - 1, v.high + 1)
    w.write("MultiHeadAttention", inputs, q.shape, bounds, exact=False, num_heads=heads, domain=FUSED)


def grouped_queries(w: Writer, x: Made) -> None:
    """Of a sequence with itself: two heads of queries, which have keys in common. The last token may be left out."""
    batch = x.shape[0]
    if isinstance(batch, int) or not isinstance(x.shape[1], int):
        raise UnfitError
    tokens, width, size = count(x.shape[1:2]), count(x.shape[2:]), 8
    bound = x.size * width
    weights = [w.numbers([width, heads * size], -1, 1) for heads in (2, 1, 1)]
    q, k, v = (w.write("MatMul", [x, m], (*x.shape[:2], *m.shape[1:]), (-bound, bound)) for m in weights)
    last = w.constant(np.array([tokens - (2 if tokens > 1 and w.chance(20) else 1)], np.int32))
    lengths = w.write("Expand", [last, w.extent(batch)], [batch], (0, tokens), INT32)
    attributes: dict[str, Any] = w.choice([{}, {"local_window_size": 2}, {"softcap": 2.0}, {"scale": 0.5}])
    inputs = [q, k, v, None, None, lengths, w.constant(np.array(tokens, np.int32))]
    heads: dict[str, Any] = {"num_heads": 2, "kv_num_heads": 1, "domain": FUSED}
    w.write("GroupQueryAttention", inputs, q.shape, (-bound, bound), exact=False, **heads, **attributes)


BLOCK = 16
"""How many weights in 4 bits have a scale in common."""


def packed(w: Writer) -> None:
    """A product with a weight in 4 bits, two to a byte."""
    x, width = _rows(w)
    n, blocks = w.between(1, 3), -(-width // BLOCK)
    quads = np.array([w.between(0, 255) for _ in range(n * blocks * BLOCK // 2)], np.uint8)
    weight = w.constant(quads.reshape(n, blocks, BLOCK // 2))
    scales = w.numbers([n * blocks], 1, 2)
    bound = x.size * width * 16 * 2
    attributes: dict[str, Any] = {"K": width, "N": n, "bits": 4, "block_size": BLOCK}
    w.write("MatMulNBits", [x, weight, scales], (*x.shape[:-1], n), (-bound, bound), domain=FUSED, **attributes)


def quantized(w: Writer) -> None:
    """Two numbers of 8 bits side by side, added or multiplied, with a scale and a zero point each."""
    if w.opset > QUANTIZED_UNTIL or any(node.op_type == "QuantizeLinear" for node in w.nodes):
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank >= 2 and m.size < 50)
    join = w.chance(50)
    y = w.pick(
        lambda m: m.dtype == FLOAT and m.size < 50
        and (m.shape[:-1] == x.shape[:-1] if join else broadcast(m.shape, x.shape) is not None)
    )  # fmt: skip
    parameters = [
        [w.constant(np.array(s, np.float32)), w.constant(np.array(w.between(0, 99), np.uint8))] for s in (0.5, 0.25, 1)
    ]
    pairs = []
    for made, own in zip((x, y), parameters, strict=False):
        pairs += [w.write("QuantizeLinear", [made, *own], made.shape, (0, 255), UINT8, exact=False), *own]
    if join and isinstance(x.shape[-1], int) and isinstance(y.shape[-1], int):
        shape = (*x.shape[:-1], x.shape[-1] + y.shape[-1])
        inputs, axis = [*parameters[2], *pairs], {"axis": w.choice([-1, x.rank - 1])}
        q = w.write("QLinearConcat", inputs, shape, (0, 255), UINT8, exact=False, domain=FUSED, **axis)
    elif not join and (both := broadcast(x.shape, y.shape)) is not None:
        op = w.choice(["QLinearAdd", "QLinearMul"])
        q = w.write(op, [*pairs, *parameters[2]], both, (0, 255), UINT8, exact=False, domain=FUSED)
    else:
        raise UnfitError
    if w.chance(40):
        op, attributes = w.choice([("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.5}),
                                   ("QLinearSoftmax", {"axis": -1, "opset": 13})])  # fmt: skip
        q = w.write(op, [q, *parameters[2], *parameters[2]], q.shape, (0, 255), UINT8, exact=False, domain=FUSED,
                    **attributes)  # fmt: skip
    w.write("DequantizeLinear", [q, *parameters[2]], q.shape, (-99, 255), FLOAT, exact=False)


FUSIONS: dict[Maker, int] = {
    gelu: 2,
    matmul: 2,
    gemm: 1,
    conv: 1,
    skip_layer_normalization: 2,
    simplified_layer_normalization: 2,
    attention: 2,
    packed: 1,
    quantized: 1,
}
"""What writes a fused operator, and how often it is chosen."""
