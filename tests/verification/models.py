"""Small models for the tests of verification, written by hand."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from mari_onnx.document.document import ModelLike
from mari_onnx.report.model import Verification
from mari_onnx.verification import procedure
from mari_onnx.verification.options import Known, Options
from mari_onnx.verification.procedure import compare

Array = np.ndarray

rng = np.random.default_rng(7)
USER, ITEM, HIDDEN = 6, 5, 8
W = rng.standard_normal((USER + ITEM, HIDDEN)).astype(np.float32)
BIAS = rng.standard_normal(HIDDEN).astype(np.float32)
OUT = rng.standard_normal((HIDDEN, 1)).astype(np.float32)


def parse(text: str, **constants: npt.ArrayLike) -> onnx.ModelProto:
    """A model from ONNX's textual syntax, with the constants as initializers."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    return model


KNOWN = {field.name for field in fields(Known)}


def verify(reference: ModelLike, optimized: ModelLike, *, progress: Any = None, **given: Any) -> Verification:
    """The verification, with what is known of the models and the options as keywords."""
    known = Known(**{name: value for name, value in given.items() if name in KNOWN})
    options = Options(**{name: value for name, value in given.items() if name not in KNOWN})
    return procedure.verify(reference, optimized, known, options, progress)


def judged(reference: ModelLike, optimized: ModelLike, **given: Any) -> Verification:
    """The same without looking for where a failure begins."""
    known = Known(**{name: value for name, value in given.items() if name in KNOWN})
    options = Options(**{name: value for name, value in given.items() if name not in KNOWN})
    return compare(reference, optimized, known, options).verdict(options.seed, options.effort)


def tower(w: Array = W, bias: Array = BIAS, out: Array = OUT) -> onnx.ModelProto:
    """The user's and the items' features, concatenated, through two layers."""
    return parse(
        f"""tower (float[B, {USER}] user, float[B, {ITEM}] item) => (float[B, 1] score) {{
            x = Concat <axis = 1> (user, item)
            h = Gemm (x, w, bias)
            a = Relu (h)
            z = MatMul (a, out)
            score = Sigmoid (z)
        }}""",
        w=w.astype(np.float32),
        bias=bias.astype(np.float32),
        out=out.astype(np.float32),
    )


def split_tower(cut: int = USER, swapped: bool = False, bias: bool = True) -> onnx.ModelProto:
    """The tower with its first product taken apart, the sum in another order; the arguments make it wrong."""
    first, second = (W[cut:], W[:cut]) if swapped else (W[:cut], W[cut:])
    return parse(
        f"""tower (float[B, {USER}] user, float[B, {ITEM}] item) => (float[B, 1] score) {{
            x = Concat <axis = 1> (user, item)
            u = Slice (x, zero, cut, one)
            i = Slice (x, cut, end, one)
            pu = Gemm (u, w_user, bias)
            h = Gemm (i, w_item, pu)
            a = Relu (h)
            z = MatMul (a, out)
            score = Sigmoid (z)
        }}""",
        w_user=first,
        w_item=second,
        bias=BIAS if bias else np.zeros_like(BIAS),
        out=OUT,
        zero=np.array([0]),
        one=np.array([1]),
        cut=np.array([len(first)]),
        end=np.array([USER + ITEM]),
    )


def packed(offsets: list[int], rows: int, name: str = "ids", dtype: int = TensorProto.INT64) -> onnx.ModelProto:
    """Ids of several fields in one matrix, each looked up at its offset in one table."""
    nodes = [
        helper.make_node("Cast", [name], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "offsets"], ["shifted"]),
        helper.make_node("Gather", ["table", "shifted"], ["rows"], axis=0),
        helper.make_node("ReduceSum", ["rows", "axes"], ["score"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "packed",
        [helper.make_tensor_value_info(name, dtype, ["batch", len(offsets)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
        [
            numpy_helper.from_array(np.asarray(offsets), "offsets"),
            numpy_helper.from_array(rng.standard_normal((rows, 3)).astype(np.float32), "table"),
            numpy_helper.from_array(np.array([1, 2]), "axes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
