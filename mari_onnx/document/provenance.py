"""Where the tensors of an optimized model come from: the entry `mari_onnx.provenance` of the model's metadata.

    {"h.user": ["h", "user", "product"],           the form of `h` that lacks the candidates, made by rule `product`
     "h": ["h", "whole", "product"],               `h` itself, computed in another way than in the original
     "fc.weight.item": ["fc.weight", "item", "product"]}

A tensor that the same node makes from the same inputs as in the original is not listed. Shape arithmetic and constants
that the optimizer adds are not listed either, because they are no form of an original tensor.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import onnx

from mari_onnx.report.model import LARGEST_SCORE

KEY = "mari_onnx.provenance"
"""The key of the entry in `metadata_props`."""

ASSUMED = "mari_onnx.assumed"
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
    kept = [entry for entry in proto.metadata_props if entry.key != KEY]
    if len(kept) < len(proto.metadata_props):
        copies = [onnx.StringStringEntryProto(key=entry.key, value=entry.value) for entry in kept]
        del proto.metadata_props[:]
        proto.metadata_props.extend(copies)
    if origins:
        entries = {name: astuple(origins[name]) for name in sorted(origins)}
        proto.metadata_props.add(key=KEY, value=json.dumps(entries, ensure_ascii=False, separators=(",", ":")))


def stamp_assumed(proto: onnx.ModelProto, nodes: Collection[str]) -> None:
    """Write into a model's metadata that it relies on small scores of attention, before the Softmaxes `nodes`.

    A model that is optimized again still relies on what it did before, so that an earlier entry is added to.
    """
    if not nodes:
        return
    said = json.dumps(
        {BELOW: LARGEST_SCORE, BEFORE: list(dict.fromkeys([*assumed(proto), *nodes]))}, ensure_ascii=False
    )
    entry = next((entry for entry in proto.metadata_props if entry.key == ASSUMED), None)
    if entry is None:
        entry = proto.metadata_props.add(key=ASSUMED)
    entry.value = said


def assumed(proto: onnx.ModelProto) -> tuple[str, ...]:
    """The Softmaxes before which the model relies on small scores; none without the entry, or with a broken one."""
    nodes = _entry(proto, ASSUMED).get(BEFORE, [])
    return tuple(nodes) if isinstance(nodes, list) and all(isinstance(name, str) for name in nodes) else ()


def read(proto: onnx.ModelProto) -> dict[str, Origin]:
    """The origins of a model's tensors by their names; none for a model without the entry or with a broken one."""
    return {name: Origin(*entry) for name, entry in _entry(proto, KEY).items() if _is_origin(entry)}


def _entry(proto: onnx.ModelProto, key: str) -> dict[str, Any]:
    """An entry of the metadata, which is an object of JSON; an empty one where there is none, or a broken one."""
    text = next((entry.value for entry in proto.metadata_props if entry.key == key), "{}")
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_origin(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 3 and all(isinstance(word, str) for word in entry)
