"""One run: a model through `optimize`, and what is written beside the original in onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

import mari_onnx
from mari_onnx import pipeline
from mari_onnx.document.check import check
from mari_onnx.document.read import as_document, from_proto
from mari_onnx.document.scopes import all_nodes
from mari_onnx.emission import write
from mari_onnx.errors import UserError
from mari_onnx.planning.search import best_plan
from mari_onnx.serving.modes import mode_of
from mari_onnx.settings import Settings
from mari_onnx.verification.float64.exact import Exact
from mari_onnx.verification.runtimes.onnxruntime import RunError, Source
from tests.reasons import unexplained
from tests.suite.settings import Wrapped
from tests.suite.workers import Say

BATCH = 500

FINE = ("rewritten", "left alone", "refused as onnxruntime", "not judged", "onnxruntime died")
"""What may become of a run.

"rewritten" and "left alone": as `optimize` decides; what it would have written is compared all the same. "refused as
onnxruntime": the original does not run either. "not judged": the original runs on none of the calls, or answers
otherwise each time. "onnxruntime died": of the original.
"""

FAULTS = (
    "wrong", "alarm", "invalid", "broken rule", "refused", "internal error", "unexplained", "died", "too slow",
)  # fmt: skip
"""What must not become of a run.

"alarm": the verification fails. "invalid": onnx or onnxruntime refuse what was written. "refused": the original runs.
"unexplained": a product that depends on the user has no remark, or a refusal no next step.
"died" and "too slow": mari-onnx, or onnxruntime on what was written.
"""


@dataclass
class Outcome:
    """What became of a run. `macs` are multiply-adds before and after."""

    kind: str
    detail: str = ""
    macs: tuple[int, int] = (0, 0)


def examine(wrapped: Wrapped, say: Say) -> Outcome:
    """Optimize the model without verification, and compare what would be written with the original on the calls.

    The phases are "original", "engine" and "written".
    """
    model, users = wrapped.model, wrapped.users
    say("original")
    wanted = _answers(wrapped)
    say("engine")
    settings = Settings(tuple(users), BATCH, mode_of(), allow_no_candidates=True)
    try:
        document = as_document(model)
        plan = best_plan(pipeline.roles(document, settings), BATCH)
        report = pipeline.described("optimize", plan, settings)
        written = None if plan.lowered.lacking else write(plan.lowered).model
    except UserError as error:
        return Outcome("refused" if wanted else "refused as onnxruntime", str(error))
    except Exception as error:
        return Outcome("internal error", f"{type(error).__name__}: {error}")
    before = plan.program.work.macs
    macs = (before, plan.work.macs if report.changed else before)
    outcome = Outcome("rewritten" if report.changed else "left alone", macs=macs)
    missing = unexplained(report, model)
    broken = [remark.reason for remark in report.remarks if remark.status == "broken"]
    if broken:
        outcome.kind, outcome.detail = "broken rule", "; ".join(broken)
    elif written is not None and written != model:
        say("written")
        compare(outcome, model, written, wanted)
    if not wanted and outcome.kind in FINE:
        outcome.kind = "not judged"
    if missing and outcome.kind in FINE:
        outcome.kind, outcome.detail = "unexplained", "; ".join(missing)
    return outcome


def verify(wrapped: Wrapped, say: Say) -> Outcome:
    """Optimize the model with verification; where nothing is written, the model is verified against itself.

    The phases are "original" and "verification".
    """
    model, users = wrapped.model, wrapped.users
    say("original")
    wanted = _answers(wrapped)
    say("verification")
    try:
        result = mari_onnx.optimize(model, user_inputs=users, allow_no_candidates=True)
        found = result.report.verification
        if found is None:
            found = mari_onnx.verify(model, model, user_inputs=users, effort="quick").verification
    except UserError as error:
        return Outcome("refused" if wanted else "refused as onnxruntime", str(error))
    except Exception as error:
        return Outcome("internal error", f"{type(error).__name__}: {error}")
    assert found is not None
    if not wanted or not found.differences:  # the original ran on no call that was drawn
        return Outcome("not judged")
    if not found.passed:
        return Outcome("alarm", "; ".join(d.message or str(d) for d in found.differences if not d.passed))
    return Outcome("rewritten" if result.changed else "left alone")


DRAWING = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}

Answer = tuple[dict[str, Any], list[Any]]


def _draws(node: onnx.NodeProto) -> bool:
    """Whether a node draws numbers, as a Dropout may that is told whether it is trained."""
    return node.op_type in DRAWING or (node.op_type == "Dropout" and len(node.input) > 2)


def _answers(wrapped: Wrapped) -> list[Answer]:
    """The calls on which the model runs and answers twice the same, with its answers; none where it draws numbers.

    A drawn number may be the same twice by chance, as that of Bernoulli is.

    Only a model that runs at each number of candidates takes calls without any: onnxruntime leaves out checks of what
    is empty, such as those of a Concat, and answers where the model means nothing.
    """
    model = wrapped.model
    if any(_draws(node) for part in (model.graph, *model.functions) for node in all_nodes(part)):
        return []
    try:
        runtime = session(model)
    except Exception:  # onnxruntime's exceptions have no common base
        return []
    found, runs = [], True
    for calls in (wrapped.calls(), wrapped.empty_calls()):
        for feeds in calls if runs else ():
            once, again = _run(runtime, feeds), _run(runtime, feeds)
            if isinstance(once, Exception) or isinstance(again, Exception):
                runs = False
            elif same(once, again):
                found.append((feeds, once))
    return found


def _run(runtime: ort.InferenceSession, feeds: dict[str, Any]) -> list[Any] | Exception:
    try:
        answers: list[Any] = runtime.run(None, feeds)
    except Exception as error:
        return error
    return answers


def compare(outcome: Outcome, model: onnx.ModelProto, written: onnx.ModelProto, wanted: list[Answer]) -> None:
    """Note in the outcome what is wrong with the written model.

    A call that only an optimization of onnxruntime lets pass, such as one that takes a Reshape away, is no legal call;
    where the optimization changes the answers, the two models are compared without it.
    """
    if not wanted:
        return
    try:
        check(from_proto(written))
        runtime = session(written)
    except Exception as error:
        outcome.kind, outcome.detail = "invalid", f"{error}"
        return
    for feeds, answer in wanted:
        found = _run(runtime, feeds)
        if isinstance(found, list) and same(found, answer):
            continue
        plainly = [_run(session(each, optimized=False), feeds) for each in (model, written)]
        if isinstance(plainly[0], Exception):
            continue
        if same(plainly[0], answer) or not same(plainly[1], plainly[0]):
            if not _rounds_alike(model, written, runtime, wanted):
                outcome.kind, outcome.detail = "wrong", f"on {_shapes(feeds)}:\n{found}\nand not\n{answer}"
            return


SAME_FUNCTION, AS_ACCURATE = 1e-9, 3.0
"""How far apart two models may be in float64, as a share of the largest number; how many times the original's own error
the written one may have."""


def _rounds_alike(
    model: onnx.ModelProto, written: onnx.ModelProto, runtime: ort.InferenceSession, wanted: list[Answer]
) -> bool:
    """Whether the two are the same function in float64, and the written one as accurate as the original in float32.

    A variance that is computed as E[x^2] - E[x]^2 keeps few digits of values that are alike: the original itself is a
    thousandth off, and rounds otherwise where a product is had in another order.
    """
    try:
        exact = [Exact(Source("", from_proto(each))) for each in (model, written)]
        own, ours = 0.0, 0.0
        for feeds, answer in wanted:
            truth, again = (each(feeds) for each in exact)
            for output, original, found in zip(runtime.get_outputs(), answer, runtime.run(None, feeds), strict=True):
                value = truth.get(output.name)
                if same(found, original):
                    continue
                if value is None or value.dtype.kind != "f" or not np.isfinite(value).all():
                    return False
                if np.abs(again[output.name] - value).max() > SAME_FUNCTION * np.abs(value).max():
                    return False
                own = max(own, float(np.abs(original - value).max()))
                ours = max(ours, float(np.abs(found - value).max()))
    except RunError:
        return False
    return ours <= AS_ACCURATE * own


def _shapes(feeds: dict[str, Any]) -> str:
    return " ".join(f"{name} {list(np.shape(a))}" for name, a in feeds.items() if isinstance(a, np.ndarray))


TOLERANCE = {np.dtype(np.float16): 2e-3}
"""How far apart numbers may be, as a share of the largest; 1e-5 where nothing is said."""


def same(found: Any, wanted: Any) -> bool:
    """Whether two answers are equal, floating-point numbers within rounding."""
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, dict):
        return list(found) == list(wanted) and all(map(same, found.values(), wanted.values()))
    if not isinstance(wanted, np.ndarray):
        return bool(np.array_equal(found, wanted)) if wanted is not None else found is None
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if wanted.dtype.kind != "f":
        return np.array_equal(found, wanted)
    finite = np.isfinite(wanted)
    if not np.array_equal(found[~finite], wanted[~finite], equal_nan=True):
        return False
    scale = float(np.abs(wanted[finite]).max(initial=0.0))
    tolerance = TOLERANCE.get(wanted.dtype, 1e-5) * max(scale, 1e-30)
    return bool((np.abs(found[finite].astype(float) - wanted[finite]) <= tolerance).all())


def session(model: onnx.ModelProto, *, optimized: bool = True) -> ort.InferenceSession:
    """The model in onnxruntime, as a service runs it, or with every node as it stands."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
