"""What the elements of each node's results follow from: inputs of the request, of the candidates, of both, of neither.

e = Gather(table, user_id)     request, also where the caller repeats `user_id` for each candidate
s = Shape(item)                neither: no element of `item` is read
u = Expand(e, s)               request
x = Concat(u, item)            both
y = MatMul(item, weight)       candidates
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx

from mari_onnx.document.scopes import reads_of_elements, stored_names
from mari_onnx.report.graph import Dependence


def dependences(graph: onnx.GraphProto, request: Collection[str]) -> Iterator[tuple[onnx.NodeProto, Dependence]]:
    """Each node with whose inputs its elements follow from. `request` are the inputs of the request.

    An input that a stored tensor is the default of counts as stored.
    """
    inputs = {i.name for i in graph.input} - stored_names(graph)
    of_request, of_candidates = inputs & set(request), inputs - set(request)
    for node in graph.node:
        read = reads_of_elements(node)
        ours, theirs = not of_request.isdisjoint(read), not of_candidates.isdisjoint(read)
        yield node, "both" if ours and theirs else "request" if ours else "candidates" if theirs else "neither"
        made = [name for name in node.output if name]
        of_request.update(made if ours else ())
        of_candidates.update(made if theirs else ())
