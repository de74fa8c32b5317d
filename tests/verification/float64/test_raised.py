from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mari_onnx.document.read import as_document
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.float64.raised import raise_feeds, raised
from mari_onnx.verification.runtimes.onnxruntime import Source
from tests.verification import models
from tests.verification.models import parse, verify


def test_everything_is_raised() -> None:
    model = parse(
        """f (float[B, 2] x) => (float[B, 2] y) {
            h = Cast <to = 10> (x)
            s = Add (h, half)
            c = Constant <value_float = 0.1> ()
            f = Cast <to = 1> (s)
            n = Shape (x)
            zeros = ConstantOfShape (n)
            z = Add (f, zeros)
            y = Mul (z, c)
        }""",
        half=np.array([0.5], np.float16),
    )
    source = Source("reference", as_document(raised(model)))
    run = source.runner(source.session())
    x = np.array([[1 / 3, 2 / 3]], np.float32)
    y = run(raise_feeds({"x": x}))["y"]
    assert y.dtype == np.float64
    assert np.abs(y - (x.astype(np.float64) + 0.5) * np.float64(np.float32(0.1))).max() < 1e-15
    assert model.graph.input[0].type.tensor_type.elem_type == 1


def test_the_precision_of_a_softmax_is_raised() -> None:
    text = """f (float[B, 2, 4] x) => (float[B, 2, 4] y) {
        y = Attention <q_num_heads = 2, kv_num_heads = 2, softmax_precision = 1> (x, x, x) }"""
    (node,) = raised(parse(text, opset=23)).graph.node
    assert {a.name: a.i for a in node.attribute}["softmax_precision"] == TensorProto.DOUBLE


@pytest.mark.parametrize("empty", ["SequenceEmpty ()", "SequenceEmpty <dtype = 1> ()"])
def test_a_sequence_has_the_type_of_what_is_added(empty: str) -> None:
    """As the bags of an EmbeddingBag are collected. A SequenceEmpty that names no type is one of float32."""
    model = parse(
        f"""f (float[B, 2] x) => (float[N, 2] y) {{
            v = {empty}
            n, rows = Loop <body = b (int64 i, bool c, int64 t, seq(float[1, 2]) v0)
                => (bool d, int64 t1, seq(float[1, 2]) v1) {{
                    t1 = Add (t, one) to = Unsqueeze (t1, first) k = Unsqueeze (t, first)
                    row = Slice (x, k, to, first) v1 = SequenceInsert (v0, row) d = Less (t1, two)
                }}> (, yes, zero, v)
            y = ConcatFromSequence <axis = 0> (rows)
        }}""",
        zero=np.int64(0),
        one=np.int64(1),
        two=np.int64(2),
        first=np.array([0]),
        yes=np.bool_(True),
    )
    source = Source("reference", as_document(raised(model)))
    x = np.array([[1 / 3, 2 / 3], [3, 4]], np.float32)
    assert np.array_equal(source.runner(source.session())(raise_feeds({"x": x}))["y"], x.astype(np.float64))


def test_large_constants_are_cast_in_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mari_onnx.verification.float64.raised._LARGE", 16)
    model = raised(models.tower())
    stored = {t.name: numpy_helper.to_array(t).dtype for t in model.graph.initializer}
    assert stored["w.stored"] == np.float32
    assert verify(models.tower(), models.split_tower()).passed


def test_rows_are_cast_and_not_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups in the table `t`, one of them in a branch, read it as it is stored; what else reads `u` reads a Cast."""
    model = parse(
        """f (int64[B] i, float[B, 2] x, bool c) => (float[B, 2] y) {
            e = Gather (t, i)
            g = Gather (u, i)
            b = If (c) <then_branch = p () => (float[B, 2] d) { d = Gather (t, i) },
                        else_branch = n () => (float[B, 2] d) { d = MatMul (x, u) }>
            y = Sum (e, g, b)
        }""",
        t=np.arange(8, dtype=np.float32).reshape(4, 2) / 3,
        u=np.arange(4, dtype=np.float32).reshape(2, 2) / 7,
    )
    feeds = {"i": np.array([1, 0]), "x": np.array([[1, 2], [3, 4]], np.float32)}
    runs = {}
    for large in (16, 1 << 26):
        monkeypatch.setattr("mari_onnx.verification.float64.raised._LARGE", large)
        source = Source("reference", as_document(found := raised(model)))
        runs[large] = source.runner(source.session())
        casts = [node.input[0] for node in found.graph.node if node.op_type == "Cast"]
        assert ("t.stored" in casts, "u.stored" in casts) == (False, large == 16)
    for c in (True, False):
        few, all_of_it = (run(raise_feeds({**feeds, "c": np.array(c)}))["y"] for run in runs.values())
        assert few.dtype == np.float64
        np.testing.assert_array_equal(few, all_of_it)


TREE = """nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2], nodes_featureids = [0, 0, 0],
    nodes_values = [0.1, 0.0, 0.0], nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"],
    nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0],"""
REGRESSOR = f"""ai.onnx.ml.TreeEnsembleRegressor <{TREE} target_treeids = [0, 0], target_nodeids = [1, 2],
    target_ids = [0, 0], target_weights = [0.3, 0.7], n_targets = 1>"""
CLASSIFIER = f"""ai.onnx.ml.TreeEnsembleClassifier <{TREE} class_treeids = [0, 0], class_nodeids = [1, 2],
    class_ids = [0, 1], class_weights = [0.3, 0.7], classlabels_int64s = [0, 1]>"""
ENCODER = "ai.onnx.ml.LabelEncoder <keys_int64s = [0, 1], values_floats = [0.5, 0.25]>"


@pytest.mark.parametrize(
    "body",
    [
        f"t = {REGRESSOR} (x) j = Concat <axis = 1> (t, x)",
        f"l, t = {CLASSIFIER} (x) j = Concat <axis = 1> (t, x)",
        f"i = Greater (x, half) n = Cast <to = 7> (i) e = {ENCODER} (n) j = Mul (e, x)",
        f"""c = ReduceSum <keepdims = 0> (x) b = Greater (c, half) j = If (b) <
            then_branch = g1 () => (p) {{ p = {REGRESSOR} (x) }}, else_branch = g2 () => (q) {{ q = Neg (x) }} >""",
        f"""l, t = {CLASSIFIER} (x) m = ai.onnx.ml.ZipMap <classlabels_int64s = [0, 1]> (t)
            j = Concat <axis = 1> (t, x)""",
    ],
)
def test_what_is_float32_by_definition_is_cast(body: str) -> None:
    """Trees give float32 whatever they are given: beside a network, one Concat had both types."""
    model = parse(f"f (float[B, 2] x) => (float[B, M] y) {{ {body} y = Sigmoid (j) }}", half=np.float32(0.5))
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    source = Source("reference", as_document(model))
    x = np.array([[1 / 3, 2 / 3], [-1, 3]], np.float32)
    run = Exact(source)
    found, served = run({"x": x})["y"], source.runner(source.session())({"x": x})["y"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, served, rtol=1e-6)
    assert run.limits == {}


def test_a_network_beside_trees_is_compared_in_float64() -> None:
    text = (
        f"f (float[B, 2] x) => (float[B, 3] y) {{ t = {REGRESSOR} (x) m = MatMul (x, w) y = Concat <axis = 1> (t, m) }}"
    )
    weight = np.array([[1, 2], [3, 4]], np.float32)
    right, wrong = parse(text, w=weight), parse(text, w=weight * np.float32(1 + 3e-7))
    for model in (right, wrong):
        model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    assert verify(right, right).passed
    assert {d.failure for d in verify(right, wrong, moved=True).differences} >= {"another function"}
