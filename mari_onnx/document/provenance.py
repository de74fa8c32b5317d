"""Where the tensors and nodes of an optimized model come from, in metadata.

The entry `mari_onnx.provenance` of the model says it of tensors:

    {"h.user": ["h", "user", "product"],           the form of `h` that lacks the candidates, made by rule `product`
     "h": ["h", "whole", "product"],               `h` itself, computed in another way than in the original
     "fc.weight.item": ["fc.weight", "item", "product"]}

A tensor that the same node makes from the same inputs as in the original is not listed. Shape arithmetic and constants
that the optimizer adds are not listed either, because they are no form of an original tensor.

A node that makes a listed tensor by a rule has two entries of its own, which a viewer such as Netron shows beside its
attributes: `mari_onnx.rule` and `mari_onnx.source`, what computed the original tensor, such as `Gemm fc1` or `input
user`. A tensor inside of a function or of a body is named itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from mari_onnx.document.metadata import PREFIX, put, value
from mari_onnx.report.model import LARGEST_SCORE

KEY = f"{PREFIX}provenance"
"""The key of the entry on tensors."""

RULE, SOURCE = f"{PREFIX}rule", f"{PREFIX}source"
"""The keys of the entries of a node."""

ASSUMED = f"{PREFIX}assumed"
"""The key of the entry that says what the caller vouched for, where the model relies on that."""

BELOW, BEFORE = "attention_scores_below", "before"
"""The keys of that entry: `{"attention_scores_below": 4000, "before": ["softmax_1"]}`."""

WHOLE = "whole"
"""The name of the form that has every element of the original tensor."""


@dataclass(frozen=True)
class Origin:
    """What a tensor is: a form of the original tensor `value`, made by `rule`.

    `form` is "whole" for all of the value, "user" or "item" for what lacks or has the candidates, "sum" for summands
    that are added up on the way, "part" for a piece of something stored, else an operator or the name of a form.
    `rule` is the family of the rule, the module of `analysis.rules` that it stands in, or the pass that made the form;
    it is "" for a node of the original that was left alone on inputs that changed.
    """

    value: str
    form: str
    rule: str


def stamp(proto: onnx.ModelProto, origins: Mapping[str, Origin]) -> None:
    """Write the origins of a model's tensors into its metadata, in place of those of an earlier run.

    Without origins there is no entry. All other metadata stays as it is.
    """
    entries = {name: (origin.value, origin.form, origin.rule) for name, origin in sorted(origins.items())}
    said = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
    put(proto, {KEY: said} if origins else {}, instead=[KEY])


def stamp_nodes(graph: onnx.GraphProto, origins: Mapping[str, Origin], original: onnx.GraphProto) -> None:
    """Write into the metadata of nodes by which rule they were made, and from what in the original.

    A node that a rule left alone has none, and one that an earlier run made names what that run was given.
    """
    sources = {info.name: f"input {info.name}" for info in original.input}
    sources |= {tensor.name: f"initializer {tensor.name}" for tensor in original.initializer}
    of_rules = {origin.value for origin in origins.values() if origin.rule}
    for node in original.node:
        for name in of_rules.intersection(node.output):
            sources[name] = value(node, SOURCE) or f"{node.op_type} {node.name or name}"
    for node in graph.node:
        origin = next((origins[name] for name in node.output if name in origins), None)
        if origin is not None and origin.rule:
            put(node, {RULE: origin.rule, SOURCE: sources.get(origin.value, origin.value)})


def stamp_assumed(proto: onnx.ModelProto, nodes: Collection[str]) -> None:
    """Write into a model's metadata that it relies on small scores of attention, before the Softmaxes `nodes`.

    A model that is optimized again still relies on what it did before, so that an earlier entry is added to.
    """
    if not nodes:
        return
    said = {BELOW: LARGEST_SCORE, BEFORE: list(dict.fromkeys([*assumed(proto), *nodes]))}
    put(proto, {ASSUMED: json.dumps(said, ensure_ascii=False)})


def assumed(proto: onnx.ModelProto) -> tuple[str, ...]:
    """The Softmaxes before which the model relies on small scores; none without the entry, or with a broken one."""
    nodes = _entry(proto, ASSUMED).get(BEFORE, [])
    return tuple(nodes) if isinstance(nodes, list) and all(isinstance(name, str) for name in nodes) else ()


def read(proto: onnx.ModelProto) -> dict[str, Origin]:
    """The origins of a model's tensors by their names; none for a model without the entry or with a broken one."""
    return {name: Origin(*entry) for name, entry in _entry(proto, KEY).items() if _is_origin(entry)}


def _entry(proto: onnx.ModelProto, key: str) -> dict[str, Any]:
    """An entry of the metadata, which is an object of JSON; an empty one where there is none, or a broken one."""
    try:
        found = json.loads(value(proto, key) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_origin(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 3 and all(isinstance(word, str) for word in entry)
