"""The same graphs, served in each way: rows sent once, by an index, told apart by a key, guarded, and in two models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

import mari_onnx
from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.check import check
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.emission import write
from mari_onnx.errors import UserError
from mari_onnx.ir.extents import evaluate
from mari_onnx.planning.kernels import with_kernels
from mari_onnx.planning.search import best_plan
from mari_onnx.serving.guard import OutputGuard
from mari_onnx.serving.mode import Mode, SentOnce
from mari_onnx.serving.modes import mode_of_result
from mari_onnx.serving.recompose import together
from mari_onnx.serving.requests import AddedIndex
from mari_onnx.serving.single_row import SingleRow
from mari_onnx.serving.tiled import Tiled, TiledByKey
from tests.property.evaluate import session
from tests.property.graphs import Case
from tests.property.invariant import CRASHES_WHEN_EMPTY, SIZES, BrokenError, same, takes_nothing

Feeds = dict[str, npt.NDArray[Any]]

KEY = "the_key"

MODES: Mapping[str, Mode] = {
    "one": SingleRow(),
    "requests": AddedIndex(),
    "key": TiledByKey((KEY,)),
    "guard": Tiled(guard=OutputGuard()),
    "guard and key": TiledByKey((KEY,), guard=OutputGuard()),
}

CANNOT = (
    "no other input is known", "is an output as well", "cannot be split", "none can be sent otherwise",
    "nothing to guard", "is not known to have the candidates", "needs opset 11",
    "has a row for each request",
)  # fmt: skip
"""What a graph may not allow."""


def keyed(case: Case) -> Case:
    """The case with one more input, which nothing reads: the key of the request."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    model.graph.input.append(helper.make_tensor_value_info(KEY, TensorProto.INT64, ["B"]))
    return replace(case, model=model)


def _sizes(case: Case) -> list[Mapping[str, int]]:
    """The extents of calls that the written model takes."""
    return [sizes for sizes in SIZES if sizes["B"] or takes_nothing(case)]


def call(case: Case, sizes: Mapping[str, int], users: int, seed: int) -> tuple[Feeds, Feeds]:
    """A call that mixes users as chance has it, with the rows of each user, and which of them each candidate has."""
    rng = np.random.default_rng([seed, users])
    which = rng.integers(0, users, sizes["B"])
    feeds, rows = case.feeds(sizes, seed), {}
    for source in case.sources:
        if source.tiled:
            made = source.made
            shape = [users, *(evaluate(e, sizes, 0) for e in made.shape[1:])]
            dtype = helper.tensor_dtype_to_np_dtype(made.dtype)
            rows[made.name] = rng.integers(made.low, made.high + 1, shape).astype(dtype)
            feeds[made.name] = rows[made.name][which]
    feeds.pop("default", None)  # the model has one
    feeds[KEY] = (which * 7919 - 5) % 101
    return feeds, {**rows, "request_index": which}


def check_served(case: Case, seen: Counter[str] | None = None) -> None:
    """Whatever a way of serving makes of the graph gives the original's outputs, for the calls that it is for."""
    if not any(source.tiled for source in case.sources):
        return
    seen, case = Counter() if seen is None else seen, keyed(case)
    original = session(case.model)
    for way, mode in MODES.items():
        graph = Model(from_proto(case.model))
        try:
            given = roles_of(graph, case.declared, case.batch, mode)
            result = write(with_kernels(best_plan(read(graph, given), case.batch)).lowered).model
        except UserError as error:
            if not any(reason in error.message for reason in CANNOT):
                raise
            seen[f"{way}: not allowed"] += 1
            continue
        check(from_proto(result))
        _compare(replace(case, declared=given.tiled), way, mode, original, session(result), seen)
    _check_parts(case, original, seen)


def _compare(case: Case, way: str, mode: Mode, original: Any, served: Any, seen: Counter[str]) -> None:
    mixed = isinstance(mode, TiledByKey | AddedIndex)
    for seed, sizes in enumerate(_sizes(case)):
        for users in (1, 3, 8) if mixed else (1,):
            feeds, rows = call(case, sizes, users, seed)
            wanted = _run(case, original, feeds, sizes)
            if wanted is None:
                continue
            rows = {name: a for name, a in rows.items() if name in (*case.declared, "request_index")}
            sent = {**feeds, **rows} if isinstance(mode, SentOnce) else feeds
            names = {i.name for i in served.get_inputs()}
            found = dict(
                zip([o.name for o in served.get_outputs()], served.run(None, {n: sent[n] for n in names}), strict=True)
            )
            guard = found.pop("mari_guard", None)
            if guard is not None and not guard.all():
                raise BrokenError(f"{way}: the guard speaks up at {sizes} although rows are identical")
            _assert_same(case, f"{way} at {sizes}, {users} users", wanted, found)
            seen[way] += 1
            if guard is not None:
                _assert_speaks(case, way, served, feeds, sizes, seen)


def _assert_speaks(
    case: Case, way: str, served: Any, feeds: Feeds, sizes: Mapping[str, int], seen: Counter[str]
) -> None:
    """A guard is false when one element of one row is another."""
    if sizes["B"] < 2:
        return
    for source in case.sources:
        if source.made.name not in case.declared or not feeds[source.made.name].size:
            continue
        wrong = {**feeds, source.made.name: feeds[source.made.name].copy(), KEY: np.full_like(feeds[KEY], 3)}
        for name in (s.made.name for s in case.sources if s.tiled and s is not source):
            wrong[name] = np.repeat(feeds[name][:1], sizes["B"], 0)
        array = wrong[source.made.name]
        array[:] = array[:1]
        array.reshape(len(array), -1)[-1, -1] += 1
        names = {i.name for i in served.get_inputs()}
        try:
            (guard,) = served.run(["mari_guard"], {n: wrong[n] for n in names})
        except Exception:  # an id that is out of range now
            continue
        if guard.any():
            raise BrokenError(f"{way}: the guard is silent about {source.made.name} at {sizes}")
        seen[f"{way} speaks up"] += 1


def _check_parts(case: Case, original: Any, seen: Counter[str]) -> None:
    try:
        parts = mari_onnx.split(case.model, user_inputs=case.declared, batch=case.batch, verify=False)
    except UserError as error:
        if not any(reason in error.message for reason in CANNOT):
            raise
        seen["parts: not allowed"] += 1
        return
    documents = [from_proto(part) for part in parts.models.values()]
    reference = from_proto(case.model)
    whole = session(together(reference, documents, mode_of_result(reference, documents)).proto)
    for seed, sizes in enumerate(_sizes(case)):
        feeds, _ = call(case, sizes, 1, seed)
        wanted = _run(case, original, feeds, sizes)
        if wanted is not None:
            names = [o.name for o in whole.get_outputs()]
            _assert_same(case, f"parts at {sizes}", wanted, dict(zip(names, whole.run(None, feeds), strict=True)))
            seen["parts"] += 1


def _run(case: Case, original: Any, feeds: Feeds, sizes: Mapping[str, int]) -> Feeds | None:
    """The outputs of the original; None where it does not run, or means something else than it was written for."""
    if not case.runs(sizes["B"], CRASHES_WHEN_EMPTY):
        return None
    names = [o.name for o in original.get_outputs()]
    try:
        results = original.run(None, feeds)
    except Exception:
        return None
    if not all(case.as_meant(n, r.shape, sizes) for n, r in zip(names, results, strict=True)):
        return None
    return dict(zip(names, results, strict=True))


def _assert_same(case: Case, where: str, wanted: Feeds, found: Feeds) -> None:
    for name, value in wanted.items():
        if not same(found[name], value, exact=name not in case.inexact):
            raise BrokenError(f"{where}: {name} is\n{found[name]}\nand not\n{value}")
