"""What a report has to say: why each product that depends on the user is computed as it is."""

from __future__ import annotations

import re

import onnx

from mari_onnx.document.scopes import all_names, captures
from mari_onnx.ir.cost import PRODUCTS
from mari_onnx.report.model import Report

ONCE = "computed once for the request already"
"""Why a product stays of which nothing is lost, so that there is no next step."""

NAMED = re.compile(r"`([^`]+)` \((\w+)\)")
"""A node in a reason, by its result and its operator: the one that stopped what a product reads."""


def unexplained(report: Report, model: onnx.ModelProto) -> list[str]:
    """What is missing in the remarks on a model, in words; nothing if all is there.

    Each product that depends on an input of the user has a remark on its output, with a reason. Each refusal, and each
    product that stays whole although something is lost, names its tensor, the reason and the next step. A node that a
    reason names is one of the model's.
    """
    said = {remark.tensor for remark in report.remarks if remark.tensor and remark.reason}
    products = [node for node in _of_the_user(report, model) if node.op_type in PRODUCTS]
    missing = [f"no remark on {n.op_type} `{' '.join(n.output)}`" for n in products if said.isdisjoint(n.output)]
    kept = [remark for remark in report.remarks if remark.status in ("refused", "as is") and remark.reason != ONCE]
    incomplete = [r for r in kept if not (r.tensor and r.reason and r.next_step)]
    missing += [f"{r.op_type} `{r.tensor}`: {r.reason}, and no next step" for r in incomplete]
    own = set(all_names(model.graph)) | {i.name for i in model.graph.input}
    wrong = [name for r in kept for name, _ in NAMED.findall(r.reason) if name not in own and not model.functions]
    return missing + [f"`{name}` is no tensor of the model" for name in wrong]


def _of_the_user(report: Report, model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that depend on elements of the user's inputs; a shape is none."""
    reached = {i.name for i in report.request_inputs}
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Shape", "Size") and not reached.isdisjoint((*node.input, *captures(node))):
            reached.update(name for name in node.output if name)
            found.append(node)
    return found
