#!/usr/bin/env bash
# OpenVINO 2026.4.1 multiplies no matrix with a dynamic number of rows by a batch of stored weights.
#
#     y = MatMul(x, w)        x [1, N, K] or [N, K] with a dynamic N, w [H, K, M] stored, y [H, N, M]
#
# Multi-head projections are written so where the heads lead. ONNX broadcasts the leading extent of x, and onnxruntime
# multiplies x by each of the H weights. The CPU plugin makes a fully connected layer of the node, which expects x to
# have the batch of w. Of [1, N, K], compile_model succeeds, so that a check at load time sees nothing, and each call
# raises. Of [N, K], compile_model raises. With N stored in the shape of x, or with one more leading extent of 1 on both
# sides, the same product is right.
#
# Seen: [1, N, 5] by [4, 5, 3] raises "Descriptor's shape: {4, 0 - ?, 3} is incompatible with provided dimensions:
# {1, 7, 3}"; [N, 5] by [4, 5, 3] raises "argument shapes ranks are not equal"; [1, 7, 5] by [4, 5, 3] and
# [1, 1, N, 5] by [1, 4, 5, 3] are right.
# Exit status: 0 if the behaviour is as described, 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov


def outcome(rows, weights):
    """What OpenVINO makes of x [rows] by stored weights: "right", "wrong", or the error and the step that raised it."""
    w = np.random.default_rng(0).integers(-3, 4, weights).astype(np.float32)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, rows)],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(w, "w")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    x = np.ones([7 if extent == "N" else extent for extent in rows], np.float32)
    (wanted,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    core, step = ov.Core(), "compile"
    try:
        compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
        step = "call"
        found = compiled({"x": x})[0]
    except RuntimeError as error:
        return f"{step}: {str(error).strip().splitlines()[-1]}"
    return "right" if found.shape == wanted.shape and np.allclose(found, wanted) else "wrong"


seen = {
    "[1, N, 5] by [4, 5, 3]": (outcome([1, "N", 5], [4, 5, 3]), "call: ParameterMismatch"),
    "[N, 5] by [4, 5, 3]": (outcome(["N", 5], [4, 5, 3]), "compile: Can't create dummy inputs"),
    "[1, 7, 5] by [4, 5, 3]": (outcome([1, 7, 5], [4, 5, 3]), "right"),
    "[1, 1, N, 5] by [1, 4, 5, 3]": (outcome([1, 1, "N", 5], [1, 4, 5, 3]), "right"),
}
for what, (found, _) in seen.items():
    print(f"{what}: {found}")
sys.exit(not all(expected in found for found, expected in seen.values()))
PY
