#!/usr/bin/env bash
# onnxruntime 1.32.0: ReduceMax of a row with a NaN is NaN if the NaN is the first element, and a number otherwise.
#
#     ReduceMax([nan, 1, 2]) = nan        ReduceMax([1, nan, 2]) = 2        ReduceMax([1, 2, nan]) = 2
#
# ReduceMin does the same. Max and Min of the same three elements as operands are NaN wherever the NaN stands, and
# so is numpy.max of the row. So the order of the features that are concatenated decides whether a
# broken one reaches the score, and a pooling written as Max is no replacement for one written as ReduceMax.
#
# Seen: the rows above give [nan, 2, 2] by ReduceMax and [nan, nan, nan] by Max, at every level of optimizations.
# Exit status: 0 if the behaviour is as described, 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime as ort

model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3] x) => (float[N, 1] reduced, float[N, 1] elementwise) {
    reduced = ReduceMax <axes = [1]> (x)
    first, second, third = Split <axis = 1> (x)
    elementwise = Max (first, second, third)
}""")
onnx.checker.check_model(model, full_check=True)
x = np.float32([[np.nan, 1, 2], [1, np.nan, 2], [1, 2, np.nan]])
print(f"onnxruntime {ort.__version__}")
seen = []
for level in (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    reduced, elementwise = (y.ravel() for y in session.run(None, {"x": x}))
    print(f"ReduceMax {reduced.tolist()}  Max {elementwise.tolist()}  numpy.max {x.max(axis=1).tolist()}")
    seen.append(np.array_equal(reduced, [np.nan, 2, 2], equal_nan=True) and np.isnan(elementwise).all())
sys.exit(not all(seen))
PY
