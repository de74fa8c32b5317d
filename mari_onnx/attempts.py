"""What is tried where a result fails its verification, or does not load: plans without the rewrite that it fails by.

The rewrite is looked for by halves: with those of the first k nodes the result passes, and with those of the first
k + 1 it does not. It is looked for among the nodes in which the difference begins, if that is known and if the result
passes without their rewrites; else among all of them.

A node whose rewrite is left out stays as it is in the original (`Premises.whole`). Each try is a plan of its own, which
is verified as any other, so that a mistake is never written. What was left out is said in the report: a result that
fails in float64 is a bug in mari-onnx, and one that is less accurate shows what a runtime does with the nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

import onnx

from mari_onnx.document import provenance
from mari_onnx.document.document import Document
from mari_onnx.errors import UnloadableError, UserError
from mari_onnx.report.model import LeftOut, Report
from mari_onnx.report.split import Role
from mari_onnx.report.words import worst

TRIES = 8
"""The most plans that are tried after the first: enough to find one rewrite among a hundred."""


@dataclass(frozen=True)
class Outcome:
    """A result: new models by role, none if the original is as good, the report, and the document that was read.

    `unloadable` says why onnxruntime does not load a new model.
    """

    models: Mapping[Role, onnx.ModelProto]
    report: Report
    document: Document
    unloadable: UnloadableError | None = None

    @property
    def failed(self) -> bool:
        """Whether a model does not load, or a comparison failed by what the nodes of the result compute."""
        verification = self.report.verification
        located = verification is not None and any(each.is_located for each in verification.differences)
        return located or self.unloadable is not None

    @property
    def passed(self) -> bool:
        """Whether there is a new model that loads, and that passed its verification if there was one."""
        verification = self.report.verification
        return bool(self.models) and not self.failed and (verification is None or verification.passed)

    @property
    def as_exported(self) -> Outcome:
        """The model as it was given."""
        report = replace(self.report, verification=None, changed=False, cost_after=None)
        return replace(self, models=MappingProxyType({}), report=report, unloadable=None)

    @property
    def rewritten(self) -> list[str]:
        """The results of the original's nodes that the new models compute in another way, in the original's order."""
        origins = [origin for model in self.models.values() for origin in provenance.read(model).values()]
        values = {origin.value for origin in origins}
        names = (name for node in self.document.repaired.graph.node for name in node.output)
        return [name for name in names if name in values]


Attempt: TypeAlias = Callable[[frozenset[str]], Outcome]
"""Makes and verifies a result in which the nodes that compute these tensors stay as they are in the original."""

_Found: TypeAlias = tuple[Outcome, Sequence[str]]
"""A result that passes, and the tensors whose rewrites it is without."""


def first_that_passes(attempt: Attempt, *, may_stay: bool) -> Outcome:
    """The first result that passes its verification; the very first, where none does that would still gain anything.

    Where none loads, it is the model as it was exported, if it `may_stay` so.

    Raises UnloadableError if it may not.
    """
    first = attempt(frozenset())
    found = _Search(attempt, first).passing() if first.failed else first
    if found.unloadable is None:
        return found
    if not may_stay:
        raise found.unloadable
    return replace(found.as_exported, report=replace(found.as_exported.report, left_out=(_left_out(first, ()),)))


@dataclass
class _Search:
    """The search after a first result that failed. `left` is how many more may be tried."""

    attempt: Attempt
    first: Outcome
    left: int = 0

    def passing(self) -> Outcome:
        """A result that passes, with what was left out for it in its report; the first one where none is found."""
        self.left = TRIES
        found = self._without_one_of(_place(self.first)) or self._without_one_of(self.first.rewritten)
        if found is None:
            return self.first
        outcome, names = found
        return replace(outcome, report=replace(outcome.report, left_out=(_left_out(self.first, names),)))

    def _try(self, names: Sequence[str]) -> Outcome | None:
        """The result without the rewrites of these tensors; None where no try is left.

        A model of which nothing is left to be split off is one without a result.
        """
        if not self.left:
            return None
        self.left -= 1
        try:
            return self.attempt(frozenset(names))
        except UserError:
            return self.first.as_exported

    def _without_one_of(self, order: Sequence[str]) -> _Found | None:
        """A result without the one rewrite that fails, or without that and some after it; `order` has all of them."""
        outcome = self._try(order) if order else None
        if outcome is None or outcome.failed:
            return None
        best = (outcome, order) if outcome.passed else None
        passes, fails = 0, len(order)
        while fails - passes > 1:
            middle = (passes + fails) // 2
            outcome = self._try(order[middle:])
            if outcome is None:
                return best
            if outcome.failed:
                fails = middle
                continue
            passes, best = middle, (outcome, order[middle:]) if outcome.passed else best
        alone = order[passes:fails]
        outcome = self._try(alone) if len(order) > 1 else None
        return (outcome, alone) if outcome is not None and outcome.passed else best


def _place(outcome: Outcome) -> list[str]:
    """The results of the original's nodes in whose rewrites the difference begins; none where that is not known."""
    found = outcome.report.verification and outcome.report.verification.divergence
    if not found or not found.nodes:
        return []
    origins: dict[str, provenance.Origin] = {}
    for model in outcome.models.values():
        origins |= provenance.read(model)
    made = [found.tensor, *(node.split(" ", 1)[1] for node in found.nodes)]
    values = {origins[name].value if name in origins else name for name in made}
    return [name for name in outcome.rewritten if name in values]


def _left_out(first: Outcome, names: Sequence[str]) -> LeftOut:
    if first.unloadable is not None:
        return LeftOut(tuple(names), "", "does not run", first.unloadable.message)
    assert first.report.verification is not None
    failure, divergence = worst(first.report.verification), first.report.verification.divergence
    return LeftOut(tuple(names), divergence.rule if divergence else "", failure.failure, failure.message)
