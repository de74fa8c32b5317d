"""Searches after a failed verification: for the smallest inputs that fail, and for the first tensor that differs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from mari_onnx.document import provenance
from mari_onnx.document.provenance import Origin
from mari_onnx.report.model import Divergence, Remark
from mari_onnx.serving.two_graphs import optimized_alone
from mari_onnx.verification.compare.judge import ACCURACY_FACTOR, distance, misplaced
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.inputs.draw import Input
from mari_onnx.verification.runtimes.onnxruntime import Array, Run, RunError, Source, Values

PATIENCE = 5.0
"""Seconds that the search for smaller inputs may take."""

_ULPS = 64
"""Units in the last place that a tensor within the graph may be off in the model's own precision."""

Fails = Callable[[Mapping[str, Array]], bool]


def smallest(
    feeds: Mapping[str, Array], inputs: Sequence[Input], batches: Collection[str], fails: Fails, first: int = 0
) -> Values:
    """Inputs that still fail, with fewer candidates and as many inputs as possible set to zero.

    Candidate `first` alone is tried before halves, quarters and so on are left out (delta debugging, Zeller 1999).
    Each attempt is a call that both models accept: inputs with an axis in `batches`, the symbols that count candidates,
    are cut along it, and other inputs are kept whole. `fails` says whether a call fails. The search ends after
    `PATIENCE` seconds.
    """
    end = time.monotonic() + PATIENCE

    def cut(kept: Array) -> Values:
        small = dict(feeds)
        for each in inputs:
            for axis, dim in enumerate(each.dims):
                if dim in batches:
                    small[each.name] = small[each.name].take(kept, axis)
        return small

    total = max((feeds[e.name].shape[a] for e in inputs for a, d in enumerate(e.dims) if d in batches), default=0)
    kept = np.arange(total)
    for alone in dict.fromkeys((min(first, max(total - 1, 0)), 0)):
        if total and fails(cut(np.array([alone]))):
            kept = np.array([alone])
            break
    pieces = 2
    while len(kept) > 1 and pieces <= len(kept) and time.monotonic() < end:
        parts = np.array_split(kept, pieces)
        rests = (np.concatenate([*parts[:i], *parts[i + 1 :]]) for i in range(pieces))
        smaller = next((rest for rest in rests if len(rest) and fails(cut(rest))), None)
        kept, pieces = (kept, pieces * 2) if smaller is None else (smaller, max(pieces - 1, 2))
    small = cut(kept)
    for each in inputs:
        array = small[each.name]
        if array.dtype.kind not in "fiu" or not array.any() or time.monotonic() > end:
            continue
        if fails({**small, each.name: np.zeros_like(array)}):
            small[each.name] = np.zeros_like(array)
    return small


@dataclass(frozen=True)
class _Graph:
    """The nodes of the optimized graph, and the names of its stored tensors."""

    nodes: Sequence[onnx.NodeProto]
    stored: Collection[str]

    @property
    def makers(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self.nodes for name in node.output if name}

    def between(self, tensor: str, agreeing: Collection[str]) -> tuple[list[onnx.NodeProto], list[str]]:
        """The nodes that compute `tensor` from tensors in `agreeing`, in graph order, and the latter that they read."""
        makers, wanted = self.makers, [tensor]
        found: dict[int, onnx.NodeProto] = {}
        taken: dict[str, None] = {}
        while wanted:
            name = wanted.pop()
            node = makers.get(name)
            if node is None or id(node) in found:
                continue
            found[id(node)] = node
            for read in node.input:
                if read in agreeing:
                    taken.update({read: None} if read in makers or read not in self.stored else {})
                elif read:
                    wanted.append(read)
        return [node for node in self.nodes if id(node) in found], list(taken)


def divergence(
    models: tuple[Source, Source],
    feeds: Mapping[str, Array],
    same: float,
    *,
    exactly: bool,
    remarks: Sequence[Remark] = (),
) -> Divergence | None:
    """The first tensor, in the order of the optimized graph, in which the two models differ; None if there is none.

    Tensors are compared in pairs. A tensor of the optimized model corresponds to the original tensor of its name, or to
    the one that its provenance names. `g1.user`, a form of `g1`, has another name: it agrees where it broadcasts to the
    values of `g1`. A form that does not, such as a summand, tells nothing and is passed over.

    With `exactly` the tensors are compared in float64, and agree within `same` of their scale. Without, they are
    compared in the model's own precision, and agree where the optimized tensor is about as near to the original's
    float64 value as the original itself. The rule behind the difference comes from the provenance, with the words of
    the remark on it in `remarks`, if there is one. Of a model of two graphs, the optimized one is searched.
    """
    models = models[0], replace(models[1], document=models[1].document.with_proto(optimized_alone(models[1].proto)))
    optimized = models[1].proto
    origins = provenance.read(optimized)
    shared = _shared(models[0].proto.graph, optimized.graph, origins)
    try:
        seen = _Seen.of(models, shared, feeds, same, exactly=exactly)
    except RunError:
        return None
    stored = {t.name for t in optimized.graph.initializer}
    agreeing = set(feeds) | stored
    for name, original in shared.items():
        off = seen.off(name, original)
        if off is None:
            continue
        if off:
            nodes, taken = _Graph(optimized.graph.node, stored).between(name, agreeing)
            rule, reason = _rule([name, *(n for node in reversed(nodes) for n in node.output)], origins, remarks)
            shown = tuple(f"{node.op_type} {node.output[0]}" for node in nodes)
            return Divergence(name, off, exactly, "", "", 0, shown, tuple(taken), rule, reason)
        agreeing.add(name)
    return None


@dataclass(frozen=True)
class _Seen:
    """The values of the tensors to compare, by name: in the reference, in the optimized model, and as the truth.

    The truth is the reference in float64. `first`, `second` and `exact` are these three.
    """

    first: Mapping[str, Array]
    second: Mapping[str, Array]
    exact: Mapping[str, Array]
    same: float
    exactly: bool

    @classmethod
    def of(
        cls,
        models: tuple[Source, Source],
        shared: Mapping[str, str],
        feeds: Mapping[str, Array],
        same: float,
        *,
        exactly: bool,
    ) -> _Seen:
        """Run both models. `shared` has, by tensor of the optimized model, the original tensor that it corresponds to.

        Raises RunError where one of them does not run with these tensors as outputs.
        """
        originals, names = list(dict.fromkeys(shared.values())), list(shared)
        exact = Exact(models[0], originals)(feeds)
        if exactly:
            return cls(exact, Exact(models[1], names)(feeds), exact, same, exactly)
        first, second = _expose(models[0], originals)(feeds), _expose(models[1], names)(feeds)
        return cls(first, second, exact, same, exactly)

    def off(self, name: str, original: str) -> float | None:
        """How far a tensor of the optimized model is off; 0 where it agrees, None where that cannot be told."""
        if original not in self.first or name not in self.second:
            return None
        a, b, truth = self.first[original], self.second[name], self.exact.get(original)
        if name != original:
            agrees = _is_form(a, b) and not _off(np.broadcast_to(b, a.shape), a, truth, self.same, self.exactly)
            return 0.0 if agrees else None
        if a.shape != b.shape or truth is None or truth.shape != a.shape:
            return None
        return _off(b, a, truth, self.same, self.exactly)


def _rule(names: Iterable[str], origins: Mapping[str, Origin], remarks: Sequence[Remark]) -> tuple[str, str]:
    """The rule behind the first of these tensors that has one, and what it did; two empty strings where none has."""
    applied = {remark.tensor: remark for remark in reversed(remarks) if remark.status == "applied"}
    for origin in (origins[name] for name in names if name in origins):
        if remark := applied.get(origin.value):
            return remark.rule, f"{remark.forms}: {remark.reason}" if remark.forms else remark.reason
        if origin.rule:
            return origin.rule, f"form of value `{origin.value}`: {origin.form}"
    return "", ""


def _off(b: Array, a: Array, truth: Array | None, same: float, exactly: bool) -> float:
    """The distance of tensor `b` to tensor `a`, or 0 where that is within the bound; `truth` is `a` in float64."""
    if a.dtype.kind != "f":
        return float(np.count_nonzero(a != b))
    if misplaced(a, b):
        return math.inf
    scale = float(np.abs(np.where(np.isfinite(a), a, 0)).max(initial=0.0))
    if exactly:
        off, allowed = distance(a, b), same * scale
    else:
        assert truth is not None
        off = distance(b, truth)
        allowed = ACCURACY_FACTOR * distance(a, truth) + _ULPS * float(np.spacing(np.asarray(scale, a.dtype)))
    return off if off > allowed else 0.0


def _is_form(a: Array, b: Array) -> bool:
    try:
        return bool(np.broadcast_shapes(a.shape, b.shape) == a.shape)
    except ValueError:
        return False


def _shared(first: onnx.GraphProto, second: onnx.GraphProto, origins: Mapping[str, Origin]) -> dict[str, str]:
    """By tensor of the second graph, in its order: the tensor of the first that it is, or is a form of."""
    ours = {name for node in first.node for name in node.output if name}
    names = (name for node in second.node for name in node.output if name)
    values = ((name, origins[name].value if name in origins else name) for name in names)
    return {name: value for name, value in values if value in ours}


def _expose(source: Source, names: Sequence[str]) -> Run:
    """The model in its own precision, not optimized, with these tensors as further outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(source.proto)
    present = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    return source.runner(source.variant(copy))
