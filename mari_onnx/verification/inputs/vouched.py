"""Inputs on which scores of attention are as small as the caller vouched for (`--assume-masked`).

A feature of 1e6 makes scores of 1e12, beside which a mask of -1e9 hides nothing: there the optimized model need not be
the original. So unusual features are drawn as they are and, where scores are too large, again, nearer to usual ones.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import onnx

from mari_onnx.report.model import LARGEST_SCORE
from mari_onnx.report.note import Note
from mari_onnx.verification.compare.judge import distance, misplaced
from mari_onnx.verification.inputs.calls import Drawn, Given
from mari_onnx.verification.inputs.cases import Case
from mari_onnx.verification.runtimes.onnxruntime import Array, Run, RunError, Source, Values

PRODUCTS = frozenset({"MatMul", "Einsum", "Gemm"})

SMALLER = (10.0, 100.0, 1e3, 1e4, 1e5)
"""By how much unusual features are brought nearer to usual ones, until scores are small."""


class Vouched:
    """The scores of attention of a model before the Softmaxes `before`, which are small as far as the caller says.

    They are the products q k', as they are before a scale and a mask. Raises RunError where the model does not show
    them: an Attention operator has no score that is a tensor.
    """

    def __init__(self, source: Source, before: Collection[str]) -> None:
        self._names = sorted(_products(source.proto.graph, before))
        probe = onnx.ModelProto()
        probe.CopyFrom(source.proto)
        probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._names)
        self._run = source.runner(source.variant(probe))

    def largest(self, feeds: Values) -> float:
        """The largest magnitude of a score. Raises RunError where the model does not run."""
        found = self._run(feeds)
        return max(float(np.abs(found[name]).max(initial=0.0)) for name in self._names)

    def inputs(
        self, calls: Drawn | Given, case: Case, found: tuple[Values, Values], runs: tuple[Run, Run], notes: list[Note]
    ) -> tuple[Values, Values] | None:
        """Inputs of a case on which scores are small, and the reference's outputs; None where there are none.

        `found` are the inputs and outputs that the case has otherwise. A note is added where their scores are larger,
        and says how far the outputs of the two models are apart there. Usual and recorded inputs stay as they are: of
        those, what was vouched for is wrong.
        """
        if case.style in ("not finite", "not finite user"):
            return found
        try:
            reached = self.largest(found[0])
            if reached < LARGEST_SCORE:
                return found
            beyond = (
                f"{case.where}: attention scores reach {reached:.2g}, above the {LARGEST_SCORE:,} of --assume-masked"
            )
            if case.usual or case.style == "given":
                notes.append(Note("scores-large", beyond))
                return found
            got = runs[1](found[0])
            pairs = [(a, got[name]) for name, a in found[1].items() if name in got]
            elsewhere = next(filter(None, (misplaced(*pair) for pair in pairs)), None)
            apart = max((_apart(*pair) for pair in pairs), default=0.0)
            what = elsewhere or f"outputs are {apart:.1g} of their scale apart"
            notes.append(Note("scores-large", f"{beyond}; {what} there, and smaller features were compared"))
            nearer = self._within(calls, case, found[0])
            return None if nearer is None else (nearer, runs[0](nearer))
        except RunError as error:
            said = f"{case.where} was skipped: its attention scores could not be had ({error})"
            notes.append(Note("case-skipped", said))
            return None

    def _within(self, calls: Drawn | Given, case: Case, feeds: Values) -> Values | None:
        """Inputs between `feeds` and usual ones on which scores are small; None where there are none."""
        usual = calls.feeds(replace(case, style="drawn"))
        for smaller in SMALLER:
            nearer = {name: _between(usual[name], each, smaller) for name, each in feeds.items()}
            if self.largest(nearer) < LARGEST_SCORE:
                return nearer
        return None


def _products(graph: onnx.GraphProto, softmaxes: Collection[str]) -> set[str]:
    """The products that logits of these Softmaxes are computed from. Raises RunError where one has none."""
    made = {output: node for node in graph.node for output in node.output}
    products: set[str] = set()
    for name in softmaxes:
        behind, stack = set[str](), [name]
        while stack:
            node = made.get(stack.pop())
            if node is not None and node.op_type in PRODUCTS:
                behind.add(node.output[0])
            elif node is not None:
                stack.extend(node.input)
        if not behind:
            raise RunError(f"those before `{name}` are no tensors of the model")
        products |= behind
    return products


def _apart(reference: Array, optimized: Array) -> float:
    """The largest difference of two outputs, as a share of the reference's largest magnitude."""
    return distance(reference, optimized) / (distance(reference, np.zeros_like(reference)) or 1.0)


def _between(usual: Array, unusual: Array, smaller: float) -> Array:
    if usual.dtype.kind != "f":
        return unusual
    return (usual + (unusual - usual) / smaller).astype(usual.dtype)
