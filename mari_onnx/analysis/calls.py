"""Calls of the model's own functions: a call whose result can be had cheaper is read as the nodes of its function.

    y = Ranker(user, item)     a function that multiplies [user item] by a weight
    y                          is known as the terms user @ W_user and item @ W_item, as if the nodes stood in the graph

A call that reads the user's values alone, or the candidates' alone, stays a call: nothing of it would be written
otherwise. Its result is known by what the function does, with its dims and its content.

Holds when the function's nodes mean the same in the graph: for each domain that they are of, the function and the model
import the same version. Rounding: none.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from mari_onnx.analysis.context import Context, Op
from mari_onnx.analysis.one_row import counts
from mari_onnx.document.functions import functions_of, key_of, nodes_of_call
from mari_onnx.document.graph_view import Model
from mari_onnx.ir.axes import Refused, flat
from mari_onnx.ir.forms import Value


class Functions:
    """The functions of a model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.by_key = functions_of(model.proto)

    def body(self, op: Op, taken: Mapping[str, Value]) -> onnx.GraphProto | Refused:
        """What stands for a call: a graph of the function's nodes, whose outputs are those of the call.

        Refused for a node that calls none of the model's functions, and where a node of the function would have another
        version in the model than it has there. No name of the graph is one of those `taken`.
        """
        function = self.by_key.get(key_of(op.proto))
        if function is None:
            return Refused(f"no rule for {op.proto.domain or 'ai.onnx'}.{op.op_type}")
        nodes, opsets = nodes_of_call(op.proto, function, taken), self.model.opsets
        versions = {o.domain: o.version for o in function.opset_import}
        for domain in sorted({node.domain for node in nodes}):
            if versions.get(domain) != opsets.get(domain):
                return Refused(
                    f"the function {op.op_type} has opset {versions.get(domain)} of {domain or 'ai.onnx'}, and the "
                    f"model {opsets.get(domain)}",
                    "export the model without functions, or in one opset",
                )
        return onnx.GraphProto(node=nodes, output=[onnx.ValueInfoProto(name=name) for name in op.proto.output if name])


def meets(ctx: Context, op: Op) -> bool:
    """Whether a call reads something of the user's, and something that has or counts the candidates."""
    read = [v for v in op.inputs if v is not None]
    return any(v.because for v in read) and any(_of_candidates(ctx, v) for v in read)


def _of_candidates(ctx: Context, value: Value) -> bool:
    if value.dims is None or any(ctx.is_candidate(a) for a in flat(value.dims)):
        return True
    return value.content is not None and any(counts(ctx, e) for e in value.content.flat)


def is_shape(value: Value) -> bool:
    """Whether all elements of the value are known, as those of a computed shape are."""
    return value.content is not None and all(e is not None for e in value.content.flat)
