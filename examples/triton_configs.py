"""Triton configurations for the sample model: `python -m examples.triton_configs` writes them to `examples/triton`.

ranker_tiled     every feature has a row for each candidate, and Triton may join several requests to one batch:
                 mari-onnx optimize din_vanilla.onnx model.onnx -u 'user_*' --request-key user_id --guard
ranker_one_row   the user's features have one row, so that Triton cannot join requests:
                 mari-onnx optimize din_vanilla.onnx model.onnx -u 'user_*' --user-batch one
ranker           an ensemble of `ranker_user` and `ranker_rank`:
                 mari-onnx split din_vanilla.onnx --user-model .../model.onnx --rank-model .../model.onnx -u 'user_*'
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from onnx import TensorProto

import mari_onnx
from examples.serving import MODEL

FOLDER = Path(__file__).parent / "triton"
LARGEST = 4096
"""The most candidates of one batch."""

TYPES: dict[int, str] = {
    TensorProto.INT64: "TYPE_INT64", TensorProto.FLOAT: "TYPE_FP32", TensorProto.BOOL: "TYPE_BOOL"
}  # fmt: skip

WHY_BATCHED = """# Rows of one user_id are one request's, so Triton may put several requests into one batch.
# Without a request key it must not: the first row of the batch would stand for all users in it.
"""


def config(name: str, model: onnx.ModelProto, *, batched: bool) -> str:
    """The configuration of one model. With `batched` Triton joins requests, and shapes leave out the leading extent."""
    lines = [f'name: "{name}"', 'platform: "onnxruntime_onnx"', f"max_batch_size: {LARGEST if batched else 0}"]
    lines += _tensors("input", model.graph.input, batched) + _tensors("output", model.graph.output, batched)
    if batched:
        lines += [*WHY_BATCHED.splitlines(), "dynamic_batching { max_queue_delay_microseconds: 500 }"]
    return "\n".join(lines) + "\n"


def ensemble(name: str, steps: dict[str, onnx.ModelProto], whole: onnx.ModelProto) -> str:
    """The configuration of an ensemble: models in order, each on inputs of the request and outputs of earlier models.

    `steps` are the models by name, and `whole` is a model with the inputs and outputs of the ensemble.
    """
    lines = [f'name: "{name}"', 'platform: "ensemble"', "max_batch_size: 0"]
    lines += _tensors("input", whole.graph.input, batched=False) + _tensors("output", whole.graph.output, batched=False)
    lines.append("ensemble_scheduling {")
    for step, model in steps.items():
        lines += ["  step {", f'    model_name: "{step}"', "    model_version: -1"]
        for kind, infos in (("input_map", model.graph.input), ("output_map", model.graph.output)):
            lines += [f'    {kind} {{ key: "{each.name}" value: "{each.name}" }}' for each in infos]
        lines.append("  }")
    return "\n".join([*lines, "}"]) + "\n"


def _tensors(kind: str, infos: Iterable[onnx.ValueInfoProto], batched: bool) -> list[str]:
    lines = []
    for info in infos:
        dims = [dim.dim_value or -1 for dim in info.type.tensor_type.shape.dim][batched:]
        # Triton wants at least one extent beside the batch; the model has none.
        shape = ", ".join(map(str, dims)) if dims else "1"
        reshape = "" if dims else ", reshape: { shape: [] }"
        type_ = TYPES[info.type.tensor_type.elem_type]
        lines.append(f'{kind} {{ name: "{info.name}", data_type: {type_}, dims: [ {shape} ]{reshape} }}')
    return lines


def configs() -> dict[str, str]:
    """The configurations by name of the model."""
    declared = ["user_*"]
    tiled = mari_onnx.optimize(MODEL, user_inputs=declared, request_key=["user_id"], guard="nan", verify=False).model
    one = mari_onnx.optimize(MODEL, user_inputs=declared, user_batch="one", verify=False).model
    parts = mari_onnx.split(MODEL, user_inputs=declared, verify=False).models
    return {
        "ranker_tiled": config("ranker_tiled", tiled, batched=True),
        "ranker_one_row": config("ranker_one_row", one, batched=False),
        "ranker_user": config("ranker_user", parts["user"], batched=False),
        "ranker_rank": config("ranker_rank", parts["rank"], batched=False),
        "ranker": ensemble("ranker", {"ranker_user": parts["user"], "ranker_rank": parts["rank"]}, one),
    }


def main() -> None:
    """Write all configurations."""
    for name, text in configs().items():
        path = FOLDER / name / "config.pbtxt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
