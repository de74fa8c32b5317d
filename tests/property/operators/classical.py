"""Operators of classical machine learning: rows of small whole numbers, and tables of ids."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper

from mari_onnx.ir.operators import CLASSICAL
from tests.property.graphs import FLOAT, INT64, Made, UnfitError, Writer
from tests.property.operators.ranges import span


def features(w: Writer) -> tuple[Made, int]:
    """Rows of features, and how many there are in a row."""
    if w.half:
        raise UnfitError
    x = w.pick(lambda m: m.dtype == FLOAT and m.rank == 2 and isinstance(m.shape[1], int) and m.shape[1] != 0)
    return x, int(str(x.shape[1]))


def _leaves(w: Writer, kind: str, trees: int, width: int, outputs: int) -> dict[str, Any]:
    """Stumps: each asks for one feature, and its leaves add a number to one output."""
    split = [w.between(0, width - 1) for _ in range(trees)]
    at = [float(w.between(-1, 1)) for _ in range(trees)]
    return {
        "nodes_treeids": [t for t in range(trees) for _ in range(3)],
        "nodes_nodeids": [0, 1, 2] * trees,
        "nodes_featureids": [f for feature in split for f in (feature, 0, 0)],
        "nodes_values": [v for value in at for v in (value, 0.0, 0.0)],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * trees,
        "nodes_truenodeids": [1, 0, 0] * trees,
        "nodes_falsenodeids": [2, 0, 0] * trees,
        f"{kind}_treeids": [t for t in range(trees) for _ in range(2)],
        f"{kind}_nodeids": [1, 2] * trees,
        f"{kind}_ids": [w.between(0, outputs - 1) for _ in range(2 * trees)],
        f"{kind}_weights": [float(w.between(-2, 2)) for _ in range(2 * trees)],
    }


def _has_later(w: Writer) -> bool:
    """Whether the graph has the trees of version 5 of the domain, in which those of version 3 are no more."""
    return any(node.op_type == "TreeEnsemble" for node in w.nodes)


def _later_trees(w: Writer) -> None:
    """A few stumps, as version 5 of the domain has them."""
    x, width = features(w)
    if {node.op_type for node in w.nodes if node.domain == CLASSICAL} - {"TreeEnsemble"} and not _has_later(w):
        raise UnfitError
    count, outputs = w.between(1, 3), w.between(1, 3)
    leaves = range(2 * count)
    nodes: dict[str, Any] = {
        "nodes_featureids": [w.between(0, width - 1) for _ in range(count)],
        "nodes_splits": helper.make_tensor("", FLOAT, [count], [float(w.between(-1, 1)) for _ in range(count)]),
        "nodes_modes": helper.make_tensor("", TensorProto.UINT8, [count], [0] * count),
        "nodes_truenodeids": [leaf for leaf in leaves if leaf % 2 == 0],
        "nodes_falsenodeids": [leaf for leaf in leaves if leaf % 2],
        "leaf_weights": helper.make_tensor("", FLOAT, [len(leaves)], [float(w.between(-2, 2)) for _ in leaves]),
    }
    nodes |= {"nodes_trueleafs": [1] * count, "nodes_falseleafs": [1] * count, "tree_roots": list(range(count))}
    nodes |= {"leaf_targetids": [w.between(0, outputs - 1) for _ in leaves], "n_targets": outputs}
    shape, bounds = (x.shape[0], outputs), (-2 * count, 2 * count)
    w.write("TreeEnsemble", [x], shape, bounds, domain=CLASSICAL, **nodes)


def trees(w: Writer) -> None:
    """A few stumps: numbers, or a class and its scores."""
    if w.chance(20) or _has_later(w):
        _later_trees(w)
        return
    x, width = features(w)
    count, outputs = w.between(1, 3), w.between(1, 3)
    bounds = (-2 * count, 2 * count)
    if w.chance(60):
        attributes = _leaves(w, "target", count, width, outputs)
        shape = (x.shape[0], outputs)
        w.write("TreeEnsembleRegressor", [x], shape, bounds, domain=CLASSICAL, n_targets=outputs, **attributes)
        return
    attributes = _leaves(w, "class", count, width, 3)
    results = [((x.shape[0],), (0, 2), INT64), ((x.shape[0], 3), bounds, FLOAT)]
    labels = [0, 1, 2]
    w.write_all("TreeEnsembleClassifier", [x], results, domain=CLASSICAL, classlabels_int64s=labels, **attributes)


def linear_model(w: Writer) -> None:
    """Numbers, or a class and its scores, as products of each row with a few others."""
    x, width = features(w)
    outputs = w.between(2, 3)
    bound = 2 * width * x.size + 2
    weights = [float(w.between(-2, 2)) for _ in range(width * outputs)]
    shared: dict[str, Any] = {"coefficients": weights, "intercepts": [1.0] * outputs, "domain": CLASSICAL}
    shape = (x.shape[0], outputs)
    kind = w.between(0, 2)
    if kind == 0:
        w.write("LinearRegressor", [x], shape, (-bound, bound), targets=outputs, **shared)
    elif kind == 1:
        results = [((x.shape[0],), (0, outputs - 1), INT64), (shape, (-bound, bound), FLOAT)]
        w.write_all("LinearClassifier", [x], results, classlabels_ints=list(range(outputs)), **shared)
    else:
        machine: dict[str, Any] = {
            "kernel_type": "LINEAR",
            "kernel_params": [0.0, 0.0, 0.0],
            "n_supports": 1,
            "coefficients": [1.0],
        }
        machine |= {"coefficients": [1.0], "support_vectors": weights[:width], "rho": [1.0]}
        w.write("SVMRegressor", [x], (x.shape[0], 1), (-bound, bound), domain=CLASSICAL, **machine)


def scaled(w: Writer) -> None:
    """Each feature as it is, scaled, filled in or made 0 and 1; or some of the features."""
    x, width = features(w)
    kind = w.choice(["Scaler", "Imputer", "Binarizer", "Normalizer", "ArrayFeatureExtractor"])
    bound = 2 * x.size + 4
    match kind:
        case "Scaler":
            offset = [float(w.between(-2, 2)) for _ in range(width)]
            attributes: dict[str, Any] = {"offset": offset, "scale": [2.0] * width}
            w.write("Scaler", [x], x.shape, (-bound, bound), domain=CLASSICAL, **attributes)
        case "Imputer":
            filled = [float(w.between(-2, 2)) for _ in range(width)]
            attributes = {"imputed_value_floats": filled, "replaced_value_float": 1.0}
            w.write("Imputer", [x], x.shape, (min(x.low, -2), max(x.high, 2)), domain=CLASSICAL, **attributes)
        case "Binarizer":
            w.write("Binarizer", [x], x.shape, (0, 1), domain=CLASSICAL, threshold=0.5)
        case "Normalizer":
            w.write("Normalizer", [x], x.shape, (-1, 1), domain=CLASSICAL, exact=False, norm="L1")
        case _:
            places = w.ints([w.between(0, width - 1) for _ in range(w.between(1, 3))])
            shape = (x.shape[0], places.shape[0])
            w.write("ArrayFeatureExtractor", [x, places], shape, span(x), domain=CLASSICAL)


def encoded(w: Writer) -> None:
    """Ids of ids, by way of strings; or a row of zeros with a one."""
    ids = w.pick(lambda m: m.dtype == INT64 and not m.constant and not m.is_index)
    keys = list(range(6))
    kind = w.between(0, 2)
    if kind == 0:
        w.write("LabelEncoder", [ids], ids.shape, (0, 5), INT64, domain=CLASSICAL, keys_int64s=keys,
                values_int64s=[w.between(0, 5) for _ in keys], default_int64=0)  # fmt: skip
    elif kind == 1 and ids.rank < 5:
        shape = (*ids.shape, 3)
        w.write("OneHotEncoder", [ids], shape, (0, 1), FLOAT, domain=CLASSICAL, cats_int64s=[0, 1, 3], zeros=1)
    else:
        names = [f"id{key}" for key in keys]
        name = w.hidden("LabelEncoder", [ids.name], domain=CLASSICAL, keys_int64s=keys, values_strings=names)
        strings = Made(name, ids.shape)
        w.write("CategoryMapper", [strings], ids.shape, (-1, 5), INT64, domain=CLASSICAL, cats_int64s=keys,
                cats_strings=names)  # fmt: skip
