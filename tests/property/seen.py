"""What random graphs exercised: operators, and in which forms the rules of each family met their inputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import onnx

from mari_onnx.analysis.context import Rule
from mari_onnx.analysis.interpret import Program
from mari_onnx.analysis.rules import CLASSICAL_RULES, DOMAINS, FUSED, RULES
from mari_onnx.ir.forms import Parts, Value
from mari_onnx.ir.operators import CLASSICAL, ONNXRUNTIME
from tests.property.evaluate import arrays, forms
from tests.property.graphs import Case


def named(op_type: str, domain: str = "") -> str:
    """An operator with its domain, where that is not ONNX's own."""
    return op_type if domain in ("", "ai.onnx") else f"{domain}.{op_type}"


OPERATORS: dict[str, Rule] = {
    **RULES,
    **{named(op_type, ONNXRUNTIME): rule for op_type, rule in FUSED.items()},
    **{named(op_type, CLASSICAL): rule for op_type, rule in CLASSICAL_RULES.items()},
}


def family(rule: Rule) -> str:
    """The file that has the rule."""
    return rule.__module__.rpartition(".")[2]


FAMILIES = tuple(sorted({family(rule) for rule in OPERATORS.values()}))

GIVEN = "as given"
"""Rows as the caller repeats them, beside what is cheaper: stored in full, and through no map."""

KINDS = (
    *(
        f"{within}{kind}"
        for within in ("", "parts ", "terms ", "factors ", "apart ", "blocks ")
        for kind in ("missing an axis", "row map", "index map")
    ),
    GIVEN,
)
"""Every form in which a value can be cheaper than it is."""

READ_SHAPES = frozenset({"ConstantOfShape"})
"""Operators whose inputs are shapes, which are the same for every candidate as they are."""


REMEMBERED = ("selections", "moments", "normalized", "pair_products", "picked", "multiplied")
"""What one rule leaves for another that may follow."""


@dataclass
class Seen:
    """Which operators there were, and which families of them met which forms, whether they look at these or not."""

    operators: Counter[str] = field(default_factory=Counter)
    repeating: Counter[str] = field(default_factory=Counter)
    forms: Counter[tuple[str, str]] = field(default_factory=Counter)
    remembered: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case, program: Program) -> None:
        for node in case.model.graph.node:
            self._add(node, {kind for name in node.input if name for kind in _kinds(program.values[name])})
        self.remembered.update(name for name in REMEMBERED if getattr(program.context.facts, name))

    def _add(self, node: onnx.NodeProto, kinds: set[str]) -> None:
        name = named(node.op_type, node.domain)
        self.operators[name] += 1
        self.repeating[name] += bool(kinds)
        rule = DOMAINS.get(node.domain, {}).get(node.op_type)
        if rule is not None:
            self.forms.update((family(rule), kind) for kind in kinds)

    def update(self, other: Seen) -> None:
        for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            mine.update(theirs)

    def never(self) -> list[str]:
        """What a rule may be given and never was: an operator, one on anything that repeats, a form of an input."""
        missing = [name for name in sorted(OPERATORS) if not self.operators[name]]
        data = sorted(set(OPERATORS) - READ_SHAPES)
        missing += [f"{name} of what repeats" for name in data if not self.repeating[name]]
        missing += [f"{name} that a rule remembers" for name in REMEMBERED if not self.remembered[name]]
        missing += [f"{f}: {kind}" for f in FAMILIES for kind in KINDS if not self.forms[f, kind]]
        return missing


def _kinds(value: Value) -> set[str]:
    found: set[str] = set()
    if value.constant or value.dims is None:
        return found
    for kind, form in forms(value):
        if kind == "written":
            found.add(GIVEN)
            continue
        within = "" if kind == "array" else f"{kind} "
        for array in arrays(form):
            own = [a for d in value.dims for a in d if not isinstance(form, Parts) or a is not form.axis]
            if any(array.state(a) == "absent" and a.extent != 1 for a in own):
                found.add(f"{within}missing an axis")
            found.update(f"{within}{'row' if m.index is None else 'index'} map" for _, m in array.via)
    return found
