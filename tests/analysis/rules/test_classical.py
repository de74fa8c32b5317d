"""Encoders, scalers, linear models and trees on the user's row, and on rows of candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import mari_onnx
from mari_onnx.ir.extents import symbol
from tests.graphs import Rewritten, evaluate, integers, ranking, rewrite

B = symbol("B")
STYLES = pytest.mark.parametrize("style", ["one", "tiled", "requests"])
DOMAINS = ', "ai.onnx.ml" : 3'

TREE = """nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2], nodes_featureids = [1, 0, 0],
    nodes_values = [0.0, 0.0, 0.0], nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids = [1, 0, 0],
    nodes_falsenodeids = [2, 0, 0]"""
REGRESSOR = f"""ai.onnx.ml.TreeEnsembleRegressor <n_targets = 2, {TREE}, target_treeids = [0, 0, 0],
    target_nodeids = [1, 2, 2], target_ids = [0, 0, 1], target_weights = [1.0, 2.0, 3.0]>"""
CLASSIFIER = f"""ai.onnx.ml.TreeEnsembleClassifier <{TREE}, class_treeids = [0, 0, 0], class_nodeids = [1, 2, 2],
    class_ids = [0, 0, 1], class_weights = [1.0, 2.0, 3.0], classlabels_int64s = [5, 6]>"""
LINEAR = """ai.onnx.ml.LinearClassifier <coefficients = [1.0, 2.0, -1.0, 1.0, 0.0, 1.0, 2.0, 1.0],
    intercepts = [0.0, 1.0], classlabels_ints = [3, 4]>"""
SVM = """ai.onnx.ml.SVMRegressor <kernel_type = "LINEAR", kernel_params = [0.5, 0.0, 3.0],
    coefficients = [1.0, -1.0], n_supports = 2, rho = [1.0],
    support_vectors = [1.0, 2.0, 3.0, 4.0, 0.0, 1.0, 0.0, 1.0]>"""


def check(model: onnx.ModelProto, strings: tuple[str, ...] = ()) -> Rewritten:
    """The rewritten model, compared with the original."""
    result = rewrite(model)
    for batch in (0, 1, 2, 7):
        given: dict[str, Any] = {}
        for info in model.graph.input:
            dims = [d.dim_value or {"B": batch, "R": 3}[d.dim_param] for d in info.type.tensor_type.shape.dim]
            drawn: Any = integers(*dims, seed=batch)
            if info.name == "user":
                drawn = np.repeat(integers(1, *dims[1:], seed=batch), batch, 0)
            if info.name == "index":
                drawn = np.arange(batch) % 3
            if info.name in strings:
                drawn = np.array(["abcdefg"[int(n) + 3] for n in drawn.flat], object).reshape(drawn.shape)
            given[info.name] = drawn
        for want, got in zip(evaluate(model, given), evaluate(result.model, given), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)
    return result


def stored(result: Rewritten, name: str) -> Any:
    return result.program.values[name].array.tensor.known_shape


@STYLES
@pytest.mark.parametrize(
    ("node", "width"),
    [
        (f"h = {REGRESSOR} (user)", 2),
        (f"l, h = {CLASSIFIER} (user)", 2),
        (f"l, h = {LINEAR} (user)", 2),
        ("h = ai.onnx.ml.LinearRegressor <coefficients = [1.0, 2.0, 3.0, 4.0]> (user)", 1),
        (f"h = {SVM} (user)", 1),
        ("h = ai.onnx.ml.Scaler <offset = [1.0, 2.0, 0.0, 1.0], scale = [2.0, 2.0, 1.0, 4.0]> (user)", 4),
        ('h = ai.onnx.ml.Normalizer <norm = "MAX"> (user)', 4),
        ("h = ai.onnx.ml.Imputer <imputed_value_floats = [9.0], replaced_value_float = 1.0> (user)", 4),
        ("h = ai.onnx.ml.Binarizer <threshold = 0.5> (user)", 4),
        ("h = ai.onnx.ml.ArrayFeatureExtractor (user, places)", 3),
    ],
)
def test_one_row_for_the_request(style: str, node: str, width: int) -> None:
    """The user's row is read once; the scores of a classifier are what is used."""
    given: dict[str, Any] = {"places": [2, 0, 3]} if "places" in node else {}
    body = f"{node} x = Concat <axis = 1> (h, item) y = MatMul (x, w)"
    result = check(ranking(style, body, w=integers(width + 3, 2), domains=DOMAINS, **given))
    rows = stored(result, "h")
    assert B not in rows
    assert rows[1] == width
    assert not [r for r in result.remarks if r.status == "refused"]


@STYLES
def test_labels_of_a_classifier(style: str) -> None:
    body = f"l, s = {CLASSIFIER} (user) e = Gather (w, l) y = Add (e, item)"
    result = check(ranking(style, body, w=integers(2, 3), domains=DOMAINS))
    assert B not in stored(result, "e")


ENCODER = """ai.onnx.ml.LabelEncoder <keys_strings = ["a", "b", "c", "d", "e"], values_int64s = [1, 2, 3, 4, 5],
    default_int64 = 0>"""


@STYLES
@pytest.mark.parametrize(
    "encoder",
    [
        ENCODER,
        ENCODER.replace("LabelEncoder", "CategoryMapper")
        .replace("keys_strings", "cats_strings")
        .replace("values_int64s", "cats_int64s"),
    ],
)
def test_strings_become_ids(style: str, encoder: str) -> None:
    body = f"i = {encoder} (user) e = Gather (t, i) f = Flatten (e) x = Concat <axis = 1> (f, item) y = MatMul (x, w)"
    model = ranking(style, body, user="string[1]", t=integers(6, 4), w=integers(7, 2), domains=DOMAINS)
    result = check(model, ("user", "user_row", "rows"))
    assert B not in stored(result, "f")


@STYLES
def test_a_one_for_each_category(style: str) -> None:
    body = """e = ai.onnx.ml.OneHotEncoder <cats_strings = ["a", "b", "c"]> (user) f = Flatten (e)
        x = Concat <axis = 1> (f, item) y = MatMul (x, w)"""
    result = check(
        ranking(style, body, user="string[1]", w=integers(6, 2), domains=DOMAINS), ("user", "user_row", "rows")
    )
    assert B not in stored(result, "f")


@STYLES
def test_parts_are_encoded_apart(style: str) -> None:
    """[LabelEncoder(a) LabelEncoder(b)] of strings of both sides."""
    body = f"""s = Concat <axis = 1> (user, item) i = {ENCODER} (s) e = Gather (t, i) f = Flatten (e)
        y = MatMul (f, w)"""
    constants = {"t": integers(6, 16), "w": integers(32, 8)}
    model = ranking(style, body, user="string[1]", item="string[1]", domains=DOMAINS, **constants)  # type: ignore[arg-type]
    result = check(model, ("user", "user_row", "rows", "item"))
    assert result.ops.count("LabelEncoder") == 2


def test_trees_of_both_sides_stay_whole_and_are_named() -> None:
    body = f"x = Concat <axis = 1> (user, item) h = {REGRESSOR} (x) y = MatMul (h, w)"
    result = check(ranking("one", body, w=integers(2, 2), domains=DOMAINS))
    (remark,) = [r for r in result.remarks if r.tensor == "y"]
    assert "`h` (TreeEnsembleRegressor) needs the user's values and the candidates' together" in remark.reason


def test_the_graph() -> None:
    body = f"h = {REGRESSOR} (user) x = Concat <axis = 1> (h, item) y = MatMul (x, w)"
    assert check(ranking("tiled", body, w=integers(5, 2), domains=DOMAINS)).graph == [
        "user.user [row:0 4] = Slice (user)",
        "h.user [row:0 2] = TreeEnsembleRegressor (user.user)",
        "y.user [row:0 2] = Gemm (h.user, w.user)",
        "y [B 2] = Gemm (item, w.item, y.user)",
    ]


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (f"h = {REGRESSOR} (user)", None),
        ("h = ai.onnx.ml.Scaler <offset = [1.0], scale = [2.0]> (wide)",
         "Scaler of an input that is not known to be rows of features"),
        ("l, h = ai.onnx.ml.LinearClassifier <coefficients = [1.0, 2.0, 3.0, 4.0], intercepts = [0.0]> (user)",
         "LinearClassifier of 0 classes"),
        ("n = Cast <to = 7> (user) h = ai.onnx.ml.OneHotEncoder <cats_int64s = [0, 1], zeros = 0> (n)",
         "OneHotEncoder that fails on what is no category"),
        ("h = ai.onnx.ml.ArrayFeatureExtractor (user, computed)",
         "an input of ArrayFeatureExtractor beside the first is computed by the model"),
        ("v = Reshape (user, minus) h = ai.onnx.ml.ArrayFeatureExtractor (v, places)",
         "ArrayFeatureExtractor of an input that is not known to be rows of features"),
    ],
)  # fmt: skip
def test_refusals(node: str, reason: str | None) -> None:
    stored = {"places": [0], "minus": [-1]}
    given: dict[str, Any] = {name: v for name, v in stored.items() if name in node}
    wide = "wide = Unsqueeze (user, one)" if "wide" in node else ""
    computed = "c = ArgMax <axis = 0> (item) computed = Flatten <axis = 0> (c)" if "computed" in node else ""
    body = f"{wide} {computed} {node} f = Flatten (h) y = Concat <axis = 1> (user, item)"
    if wide:
        given["one"] = [1]
    result = rewrite(
        ranking("one", body + " z = Neg (f)", output="float[B, 7] y, float[M, N] z", domains=DOMAINS, **given)
    )
    assert [r.reason for r in result.remarks if r.status == "refused"] == ([reason] if reason else [])


def test_a_whole_model_is_verified() -> None:
    """Also in float64, in which trees give float32."""
    body = f"h = {REGRESSOR} (user) x = Concat <axis = 1> (h, item) y = MatMul (x, w)"
    model = ranking("tiled", body, user="float[4]", w=integers(5, 64), output="float[B, 64] y", domains=DOMAINS)
    result = mari_onnx.optimize(model, user_inputs=["user"])
    assert result.report.verification is not None
    assert result.report.verification.passed
