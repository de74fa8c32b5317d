"""What becomes of each product in a plan, where the rule that looked at the product could not know.

A remark on a product is made where the product is interpreted. What is known of it there may be used only behind it:

    h = MatMul(x, W)          x is known as the user's tokens and the candidate's one; alone, one product is cheaper
    s = MatMul(q(h), k(h))    under a mask the tokens are apart, so that h is never put together

The nodes that are written tell. Each was made for the value whose rule asked for it (`Context.made`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mari_onnx.document.graph_view import Model
from mari_onnx.document.scopes import reads
from mari_onnx.emission import Written
from mari_onnx.ir.expressions import Node
from mari_onnx.planning.plan import Plan
from mari_onnx.planning.rows_alone import ALONE
from mari_onnx.report.model import Remark


def settled(plan: Plan) -> list[Remark]:
    """The remarks on a plan. One on a product that it calls whole, and that is not, says what is left of it."""
    remarks = plan.program.context.remarks
    left = multiply_adds(plan, {remark.tensor for remark in remarks if remark.macs_before})
    return [_settled(remark, left.get(remark.tensor, 0)) for remark in remarks]


def multiply_adds(plan: Plan, products: set[str]) -> Mapping[str, int]:
    """The multiply-adds of a plan by the original's product that they belong to.

    None at all if some node cannot be told: a kernel may have replaced it.
    """
    found = Counter[str]()
    for node in plan.lowered.computing:
        macs = plan.cost.node_macs(node)
        if not macs:
            continue
        product = _made_for(plan, node, products)
        if product is None:
            return {}
        found[product] += macs
    return found


def products_of(plan: Plan, written: Written) -> dict[str, str]:
    """The original's product that each written tensor belongs to whose node multiplies, where that can be told."""
    products = {remark.tensor for remark in plan.program.context.remarks if remark.macs_before}
    nodes = {name: tensor.node for name, tensor in written.tensors.items() if plan.cost.node_macs(tensor.node)}
    found = {name: _made_for(plan, node, products) for name, node in nodes.items()}
    return {name: product for name, product in found.items() if product is not None}


def _made_for(plan: Plan, node: Node, products: set[str]) -> str | None:
    made = plan.program.context.made
    while (form := node.outputs[0].form_of) is not None and form[1] == ALONE:
        node = form[0].node
    at = bisect_left(made, node.serial, key=lambda each: each[0])
    return _product(plan.reading.model, made[at][1], products) if at < len(made) else None


def _product(model: Model, name: str, products: set[str]) -> str | None:
    """The product that a value is, or else the nearest one that it is computed from: of `x @ W + b` the first part."""
    queue, seen = deque([name]), {name}
    while queue:
        current = queue.popleft()
        if current in products:
            return current
        above: Sequence[str] = reads(model.producers[current]) if current in model.producers else ()
        queue.extend(each for each in above if each not in seen)
        seen.update(above)
    return None


def _settled(remark: Remark, left: int) -> Remark:
    if remark.status != "as is" or not 0 < left < remark.macs_before:
        return remark
    reason = f"{remark.macs_before:,} multiply-adds become {left:,}"
    dims = remark.forms.partition(" = ")[0]  # the sum behind it is that of the whole product
    return replace(remark, status="applied", reason=reason, next_step=None, macs_after=left, forms=dims)
