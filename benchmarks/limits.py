"""What is left of a call above its products: the share of its time that they would take at the best speed.

The best speed is that of one large product, [512, 512] @ [512, 512], timed in turns with the model. A model of products
alone would have 100 %; the rest is other operators, data that is moved, launches, and products of awkward shapes.
"""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

from benchmarks.calibrate import floats
from benchmarks.calls import call, declared
from benchmarks.models import samples
from benchmarks.timing import session, turns_of
from mari_onnx import optimize

WIDTH = 512


def run(batch: int) -> bool:
    print(f"model                        batch    ours us  products  at {WIDTH} x {WIDTH} x {WIDTH}")
    square = session(product())
    for name, file, meta in samples():
        model = onnx.load(file)
        result = optimize(model, user_inputs=declared(meta, model), batch=batch, verify=False)
        ours, cost = session(result.model), result.report.cost_after
        assert cost is not None, "a model that was read has a cost"
        turns = turns_of([(ours, call(meta, model, batch)), (square, {"x": floats(WIDTH, WIDTH)})])
        took, best = (sorted(turns[:, k])[len(turns) // 2] for k in (0, 1))
        share = cost.macs * best / WIDTH**3 / took
        print(f"{name:<28} {batch:>5} {took / 1e3:>10.0f} {share:>8.0%}  {best / WIDTH**3:.4f} ns", flush=True)
    return True


def product() -> onnx.ModelProto:
    """The product whose speed is the best."""
    weight = numpy_helper.from_array(floats(WIDTH, WIDTH), "w")
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [WIDTH, WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product", infos[:1], infos[1:], [weight]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
