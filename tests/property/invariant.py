"""The one invariant, and what follows from it for the model that is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

import mari_onnx
from mari_onnx.analysis.input_roles import check_rows, roles_of
from mari_onnx.analysis.interpret import Program
from mari_onnx.analysis.reading import read
from mari_onnx.document import provenance
from mari_onnx.document.check import check
from mari_onnx.document.graph_view import Model, is_named
from mari_onnx.document.metadata import PREFIX
from mari_onnx.document.read import from_proto
from mari_onnx.document.scopes import captures
from mari_onnx.emission import lower, write
from mari_onnx.errors import UserError
from mari_onnx.ir.extents import Poly, evaluate
from mari_onnx.ir.forms import Value
from mari_onnx.planning.search import best_plan
from mari_onnx.serving.two_graphs import can_be_branch, exported_below, join, optimized_alone
from tests.property.evaluate import Forms, LackingError, forms, loads, session, with_outputs
from tests.property.graphs import Case
from tests.property.seen import Seen
from tests.runtime import RUNS_EMPTY

SIZES = (
    {"B": 1, "R": 1, "L": 1},
    {"B": 7, "R": 3, "L": 4},
    {"B": 4, "R": 4, "L": 4},
    {"B": 3, "R": 7, "L": 1},
    *([{"B": 0, "R": 2, "L": 3}] if RUNS_EMPTY else []),
)
"""How many candidates, requests and positions; equal ones too, where axes coincide by accident."""

CRASHES_WHEN_EMPTY = frozenset({
    "Tile", "Conv", "GRU", "LSTM", "RNN", "Einsum", "TopK", "DynamicQuantizeLinear", "Attention", "GroupQueryAttention",
})  # fmt: skip
"""Operators with which onnxruntime itself does not survive an empty tensor."""


class BrokenError(AssertionError):
    """A form is not its value, or an optimized model is not the original."""


def interpreted(case: Case) -> tuple[Program, Model]:
    model = Model(from_proto(case.model))
    program = best_plan(read(model, roles_of(model, case.declared, case.batch)), case.batch).program
    broken = [r.reason for r in program.context.remarks if r.status == "broken"]
    if broken:
        raise BrokenError("; ".join(broken))
    return program, model


def same(found: npt.NDArray[Any], wanted: npt.NDArray[Any], *, exact: bool) -> bool:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if wanted.dtype != object and not np.isfinite(wanted).all():
        return True  # the largest element of nothing
    if exact or found.dtype.kind != "f":
        return np.array_equal(found, wanted)
    scale = float(np.abs(wanted).max(initial=1.0))
    rtol, atol = (2e-2, 5e-3) if found.dtype == np.float16 else (1e-4, 1e-5)
    return np.allclose(found, wanted, rtol=rtol, atol=atol * scale)


def originals(case: Case, values: dict[str, int], seen: Seen | None = None) -> list[tuple[dict[str, int], Any, Any]]:
    """Sizes, feeds and results of the original, for each size at which it runs.

    What is put into rows that no candidate refers to may be seen, by a model that answers for each request. It is no
    number, and an operator may make any integer of it. So those results alone are kept which it does not change.
    """
    try:
        original = session(with_outputs(case.model, values))
    except Exception:  # what onnx infers of the original, onnxruntime may contradict
        if seen is not None:
            seen.runs["original does not load"] += 1
        return []
    found: list[tuple[dict[str, int], Any, Any]] = []
    for sizes, how, feeds in _calls(case):
        try:
            results = original.run(list(values), feeds)
        except Exception:  # it is the original that does not run at this size
            if seen is not None:
                seen.runs[f"original failed at {sizes}{how}"] += 1
            continue
        if not all(case.as_meant(name, found_.shape, sizes) for name, found_ in zip(values, results, strict=True)):
            if seen is not None:
                seen.runs[f"original means something else at {sizes}"] += 1
            continue
        if seen is not None:
            seen.runs[f"{sizes}{how}"] += 1
        kept = dict(zip(values, results, strict=True))
        if how:
            unpadded: Mapping[str, Any] = next((answers for known, _, answers in found if known == sizes), {})
            kept = {name: a for name, a in kept.items() if name in unpadded and _unchanged(a, unpadded[name])}
        if kept:
            found.append((sizes, feeds, kept))
    return found


def _unchanged(padded: npt.NDArray[Any], answer: npt.NDArray[Any]) -> bool:
    return padded.shape == answer.shape and np.array_equal(padded, answer, equal_nan=answer.dtype.kind == "f")


def _calls(case: Case) -> Iterator[tuple[dict[str, int], str, dict[str, npt.NDArray[Any]]]]:
    """Sizes, in words what is special, and feeds, of the calls that a written model takes."""
    for sizes in SIZES:
        if (sizes["B"] or takes_nothing(case)) and case.runs(sizes["B"], CRASHES_WHEN_EMPTY):
            yield sizes, "", case.feeds(sizes)
            padded = case.padded(sizes)
            if padded is not None:
                yield sizes, ", padded", padded


def check_forms(case: Case, seen: Seen | None = None) -> None:
    """Every form of every value evaluates to that value, as onnxruntime computes it from the original."""
    program, _ = interpreted(case)
    if seen is not None:
        seen.add(case, program)
    written = [o for n in case.model.graph.node for o in n.output]
    # Of what follows a fused operator onnx may not know the type, and onnxruntime wants it of an output.
    values = {name: program.values[name] for name in written if program.values[name].dtype}
    runs = originals(case, {name: v.dtype for name, v in values.items()}, seen)
    try:
        _compare(case, program, list(values.values()), runs)
    except BrokenError:
        raise
    except LackingError:  # a plan of these forms is not written, and the others are seen in newer opsets
        return
    except Exception as failed:  # which value is it?
        for value in values.values():
            try:
                _compare(case, program, [value], runs)
            except Exception as here:
                raise BrokenError(f"{value.name}: {type(here).__name__}: {here}") from here
        raise BrokenError(f"{type(failed).__name__}: {failed}") from failed


def _compare(case: Case, program: Program, values: list[Value], runs: list[tuple[dict[str, int], Any, Any]]) -> None:
    evaluated = Forms(program, case.model, values)
    for sizes, feeds, results in runs:
        evaluated.run(feeds, sizes["B"])
        for value in values:
            wanted = results.get(value.name)
            if value.dims is None or wanted is None:
                continue
            exact = value.name not in case.inexact
            if evaluated.shape(value.dims) != wanted.shape:
                raise BrokenError(f"{value.name} is {wanted.shape}, not {evaluated.shape(value.dims)}, at {sizes}")
            for kind, form in forms(value):
                found = evaluated.evaluate(form, value.dims)
                if not same(found, wanted, exact=exact):
                    raise BrokenError(f"{kind} of {value.name} is not its value at {sizes}:\n{found}\n{wanted}")
            if value.content is not None:
                known = [(e, w) for e, w in zip(value.content.flat, wanted.flat, strict=True) if e is not None]
                if any(_number(evaluated, e) != w for e, w in known):
                    raise BrokenError(f"{value.name} is {wanted}, not {value.content}, at {sizes}")


def _number(evaluated: Forms, element: Any) -> Any:
    return evaluate(element, evaluated.symbols, 0) if isinstance(element, Poly) else element


def declarable(case: Case) -> tuple[str, ...]:
    """What a caller may declare: nothing where all scores have a second axis of items, as in a listwise model.

    A graph may have that by chance, and its user's rows cannot be called tiled then.
    """
    try:
        check_rows(roles_of(Model(from_proto(case.model)), case.declared, case.batch))
    except UserError:
        return ()
    return tuple(case.declared)


def takes_nothing(case: Case) -> bool:
    """Whether the written model runs on rows of no request: not if it is listwise, and of an opset before 14.

    A 0 in the target of a Reshape is no extent there. A -1 stands for one that may be 0, and is that of the candidates.
    """
    lists = roles_of(Model(from_proto(case.model)), case.declared, case.batch).lists
    return lists is None or case.model.opset_import[0].version >= 14


def check_optimized(case: Case, seen: Seen | None = None) -> None:
    """The optimized model gives the original's outputs, whether it was thought worth writing or not."""
    declared = declarable(case)
    optimized = mari_onnx.optimize(case.model, user_inputs=declared, batch=case.batch, verify=False)
    report = optimized.report
    before, after = report.cost_before, report.cost_after
    if optimized.changed and before is not None and after is not None and after.macs > before.macs:
        raise BrokenError(f"{after.macs} multiply-adds instead of {before.macs}")
    program, model = interpreted(case)
    lowered = lower(program, model)
    forced = case.model if lowered.lacking else write(lowered).model
    models = {"forced": (case.model, forced)}
    if optimized.changed:
        models["optimized"] = (case.model, optimized.model)
        once_more = declarable(replace(case, model=optimized.model))
        again = mari_onnx.optimize(optimized.model, user_inputs=once_more, batch=case.batch, verify=False)
        models["optimized twice"] = (optimized.model, again.model)
        if seen is not None:
            seen.runs["optimized"] += 1
            seen.runs["optimized again"] += again.changed
    second = replace(case, model=forced)
    lowered = lower(*interpreted(second))
    models["forced twice"] = (forced, forced if lowered.lacking else write(lowered).model)
    if (both := _two_graphs(case.model, forced, model.opset)) is not None:
        models["two graphs"] = (case.model, both)
    runs = originals(case, {o.name: o.type.tensor_type.elem_type for o in case.model.graph.output})
    if not runs:
        return
    for how, (source, result) in models.items():
        if how.endswith("twice") and result.opset_import[0].version < 14:
            runs = [run for run in runs if run[0]["B"]]  # a 0 in the target of a Reshape is not an extent there
        try:
            alone = [optimized_alone(model) for model in (source, result)]
            if exported_below(result) is not None:  # a branch says less of extents
                alone = [_without_names(model) for model in alone]
            _check_document(*alone)
            _check_model(case, result, runs)
        except Exception as failed:
            text = onnx.printer.to_text(result)
            raise BrokenError(f"{how}: {type(failed).__name__}: {failed}\n{text}") from failed


def _two_graphs(original: onnx.ModelProto, result: onnx.ModelProto, opset: int) -> onnx.ModelProto | None:
    """Both as the branches of an If, on either side of which there are `SIZES`; None where that does not load."""
    counted = next((i.name for i in original.graph.input if i.type.tensor_type.shape.dim), None)
    if result == original or counted is None or not all(can_be_branch(m.graph, opset) for m in (original, result)):
        return None
    both = onnx.ModelProto()
    both.CopyFrom(result)
    join(both, original, (counted, 0), 4)
    return both if loads(both, optimized=True) else None


def _check_document(original: onnx.ModelProto, result: onnx.ModelProto) -> None:
    """All that was not rewritten is there, byte for byte: what reads and makes the same tensors is the same node.

    Axes of inputs that may differ from others of their name may have names of their own. No shape has the common one.
    """
    original = _told_apart(original, result)
    for message, other, rewritten in (
        (original, result, ("graph", "metadata_props")),
        (original.graph, result.graph, ("node", "initializer", "value_info")),
    ):
        for field_ in message.DESCRIPTOR.fields:
            if field_.name not in rewritten and getattr(message, field_.name) != getattr(other, field_.name):
                raise BrokenError(f"another {field_.name}")
    _check_origins(original, result)
    nodes = {_signature(n): n for n in original.graph.node}
    for node in result.graph.node:
        if (there := nodes.get(_signature(node), node)) != node:
            raise BrokenError(f"{node.output[0]} is not the node that it was:\n{there}\n{node}")
    stored = {t.name: t for t in original.graph.initializer}
    said = {v.name: v for v in original.graph.value_info}
    for kind, before, after in (
        ("initializer", stored, result.graph.initializer),
        ("description", said, result.graph.value_info),
    ):
        for proto in after:
            if before.get(proto.name, proto) != proto:
                raise BrokenError(f"another {kind} of {proto.name}")


def _without_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the names of extents in what it says of tensors."""
    silent = onnx.ModelProto()
    silent.CopyFrom(model)
    for info in silent.graph.value_info:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.Clear()
    return silent


def _told_apart(original: onnx.ModelProto, result: onnx.ModelProto) -> onnx.ModelProto:
    """The original with the names that axes of inputs have in the result, where these are made up."""
    told, common = onnx.ModelProto(), set[str]()
    told.CopyFrom(original)
    for before, after in zip(told.graph.input, result.graph.input, strict=True):
        dims = (info.type.tensor_type.shape.dim for info in (before, after))
        for there, here in zip(*dims, strict=True):
            if here.dim_param != there.dim_param and there.dim_param and not is_named(here.dim_param):
                common.add(there.dim_param)
                there.dim_param = here.dim_param
    for info in told.graph.value_info:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in common:
                dim.Clear()
    return told


def _check_origins(original: onnx.ModelProto, result: onnx.ModelProto) -> None:
    """What is new in the metadata is ours, and the provenance is of tensors that are there and not the original's."""
    said = [[e for e in model.metadata_props if not e.key.startswith(PREFIX)] for model in (original, result)]
    if said[0] != said[1]:
        raise BrokenError("another metadata_props")
    made = {name for node in result.graph.node for name in node.output} | {t.name for t in result.graph.initializer}
    untouched = {name for node in result.graph.node if node in original.graph.node for name in node.output}
    values = Model(from_proto(original)).names
    origins = {} if original == result else provenance.read(result)
    for name, origin in origins.items():
        if name not in made or name in untouched or origin.value not in values:
            raise BrokenError(f"{name} is no {origin.form} of {origin.value}")
    known = {t.name for t in result.graph.initializer}  # and what is computed of constants and shapes alone
    for node in result.graph.node:
        if node.op_type in ("Shape", "Size", "Constant") or known.issuperset(node.input):
            known.update(node.output)
        elif origins and (unlisted := {n for n in node.output if n} - untouched - origins.keys()):
            raise BrokenError(f"nothing says where {unlisted.pop()} comes from")


def _signature(node: onnx.NodeProto) -> tuple[str, ...]:
    return (node.domain, node.op_type, *node.input, "reads", *captures(node), "->", *node.output)


def _check_model(case: Case, result: onnx.ModelProto, runs: list[tuple[dict[str, int], Any, Any]]) -> None:
    check(from_proto(result))
    if [i.name for i in result.graph.input] != [i.name for i in case.model.graph.input]:
        raise BrokenError("other inputs")
    if list(result.graph.output) != list(case.model.graph.output):
        raise BrokenError("other outputs")
    runtimes = [session(result)]
    if loads(case.model, optimized=True):  # a Range in a branch, whose scalar it takes for a [1] where it folds an If
        runtimes.append(session(result, optimized=True))
    for sizes, feeds, results in runs:
        # onnxruntime's own fusion of Reshape does not survive an empty batch.
        for runtime in runtimes if sizes["B"] else runtimes[:1]:
            found = dict(zip(results, runtime.run(list(results), feeds), strict=True))
            for name, wanted in results.items():
                if not same(found[name], wanted, exact=name not in case.inexact):
                    raise BrokenError(f"{name} differs at {sizes}:\n{found[name]}\n{wanted}")
