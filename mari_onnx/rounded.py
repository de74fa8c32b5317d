"""A split whose models send each other half precision: how far that moves the scores.

The models were verified without it. Whether the scores are still those of the original is a matter of degree then, and
no proof: the report says how far they move, and a result whose scores move too far fails.
"""

from __future__ import annotations

from dataclasses import replace

from mari_onnx.analysis.input_roles import InputRoles
from mari_onnx.attempts import Outcome
from mari_onnx.document.check import check
from mari_onnx.partition.half_crossings import in_half
from mari_onnx.serving.recompose import together

HALF = "float16"
"""The type in which numbers may cross that are float32 in the original."""

ALLOWED = 0.01
"""How far scores may move, as a share of their scale. Half precision rounds each number by up to 0.0005 of itself."""


def with_half_crossings(outcome: Outcome, input_roles: InputRoles, *, verified: bool) -> Outcome:
    """The outcome of a split with what crosses in float16; where that is `verified`, with how far scores move.

    Where they move by more than `ALLOWED` the verification fails. Raises UserError where nothing crosses in float32.
    """
    report, document = outcome.report, outcome.document
    assert report.split is not None, "the outcome is one of a split"
    models, crossings = in_half(outcome.models, report.split.crossings)
    for model in models.values():
        check(document.with_proto(model))
    bytes_ = sum(one.bytes for one in crossings if one.role == "user")
    choice = (*report.split.choice, f"in {HALF} what crosses for each request are {bytes_:,} bytes")
    parts = tuple(replace(part, nodes=len(models[part.role].graph.node)) for part in report.split.parts)
    report = replace(
        report, split=replace(report.split, parts=parts, crossings=crossings, choice=choice, crossing=HALF)
    )
    if not verified or report.verification is None or not report.verification.passed:
        return replace(outcome, models=models, report=report)
    from mari_onnx.verification import Known, Options, verify  # slow to import

    whole = together(document, [document.with_proto(model) for model in models.values()], input_roles.mode)
    drawn = input_roles.mode.drawn_rows(input_roles.tiled)
    batch = report.cost_before.batch if report.cost_before else None
    known = Known(drawn.tiled, drawn.keys, batch, remarks=report.remarks, assumed=report.assumed)
    found = verify(document, whole, known, Options(rtol=ALLOWED, effort="quick"))
    split = report.split
    if found.passed and split is not None:
        split = replace(split, moved=max(each.max_rel for each in found.differences))
    elif split is not None:
        said = (
            f"in float32 the models make the same predictions, and in {HALF} scores move too far: leave --crossing out"
        )
        report, split = replace(report, verification=found), replace(split, choice=(*split.choice, said))
    return replace(outcome, models=models, report=replace(report, split=split))
