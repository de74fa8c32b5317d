"""What callers of the Python package ask of a result: limits, policies, and what becomes of one that fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mari_onnx.budget import Limits
from mari_onnx.errors import UserError
from mari_onnx.measurement.options import OptionFields as MeasurementFields
from mari_onnx.policies import Gain, GainFields, Trust, TrustFields
from mari_onnx.report.benchmark import Policy
from mari_onnx.report.model import Report
from mari_onnx.results import ON_FAILURE, OnFailure
from mari_onnx.serving.names import GuardName, UserBatch
from mari_onnx.survey.survey import Requests
from mari_onnx.verification.options import Place


class SplitDemands(Limits, TrustFields, total=False):
    """The keywords of `split`: limits, what is written, policies, and what a result that did not pass becomes."""

    metadata: bool
    fold_tables: int
    on_failure: OnFailure


class OptimizeDemands(SplitDemands, GainFields, total=False):
    """The keywords of `optimize`: the same, with the policies of gains, and recorded requests."""

    requests: Place | None
    request_id: str | None


class BenchFields(MeasurementFields, Limits, total=False):
    """The options of `bench` as keywords."""

    batch: int | Sequence[int]
    user_batch: UserBatch
    guard: GuardName | None
    allow_no_candidates: bool
    dynamic_batch: bool
    assume_masked: bool
    verify: bool


MAKING = ("batch", "user_batch", "guard", "allow_no_candidates", "dynamic_batch", "assume_masked", "verify")
"""The options of `bench` that say how a model is optimized, where none is given."""


@dataclass(frozen=True)
class Demands:
    """The keywords of `optimize` or `split`, each in its place."""

    limits: Limits
    metadata: bool
    fold_tables: int
    on_failure: OnFailure
    gain: Gain
    trust: Trust
    requests: Requests | None

    def judged(self, report: Report) -> tuple[Policy, ...]:
        """The policies that were asked for."""
        return (*self.gain.judged(report), *self.trust.judged(report))


def parted(given: Mapping[str, Any], *, gains: bool = True) -> Demands:
    """The keywords that were given. Raises UserError for a wrong value, and TypeError for an unknown keyword.

    Without `gains` the policies of gains are unknown.
    """
    left = dict(given)

    def taken(*names: str) -> Any:
        return {name: left.pop(name) for name in names if name in left}

    limits, trust = taken("timeout", "max_memory"), Trust(**taken("require_verified", "allow_notes"))
    on_failure = left.pop("on_failure", "report")
    metadata, fold_tables = left.pop("metadata", True), left.pop("fold_tables", 0)
    if on_failure not in ON_FAILURE:
        raise UserError(f"there is no on_failure {on_failure!r}", f"Choose one of {', '.join(ON_FAILURE)}.")
    if left and not gains:
        raise TypeError(f"split() got an unexpected keyword argument {next(iter(left))!r}")
    requests = recorded(left.pop("requests", None), left.pop("request_id", None)) if gains else None
    return Demands(limits, metadata, fold_tables, on_failure, Gain(**left), trust, requests)


def recorded(requests: Place | None, request_id: str | None) -> Requests | None:
    """Recorded requests; None where there are none. Raises UserError where one of the two is missing."""
    if (requests is None) != (request_id is None):
        raise UserError(
            "recorded requests need a file and the name of its column of ids", "Give both: --requests and --request-id."
        )
    return None if requests is None or request_id is None else Requests(Path(requests), request_id)
