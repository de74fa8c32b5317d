"""`-u auto`: the user's inputs as recorded requests show them.

An input is taken where all rows of each request have the same of it, and requests differ in it. One that never differs
shows nothing: a flag of the items that is 0 in all records may be 1 tomorrow. What is taken is a declaration like any
other: the records are evidence, and no proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.document.document import Document
from mari_onnx.document.facts import facts
from mari_onnx.document.graph_view import Model
from mari_onnx.errors import UserError
from mari_onnx.report.model import Report
from mari_onnx.settings import Settings
from mari_onnx.survey.requests import constancy
from mari_onnx.survey.survey import Requests

AUTO = "auto"
"""What stands for the inputs that recorded requests show."""


@dataclass(frozen=True)
class Shown:
    """The inputs that recorded requests show to be the user's, and the evidence in words."""

    names: tuple[str, ...]
    evidence: str

    def explained(self, report: Report) -> Report:
        """The report with the evidence for each of these inputs as the reason of its role."""
        inputs = (
            replace(each, reason=self.evidence) if each.name in self.names else each for each in report.request_inputs
        )
        return replace(report, request_inputs=tuple(inputs))


def is_auto(document: Document, user_inputs: Sequence[str]) -> bool:
    """Whether the inputs are to be taken from records. An input that is called so itself is only its name."""
    return AUTO in user_inputs and AUTO not in [each.name for each in facts(document).inputs]


def shown(document: Document, settings: Settings, requests: Requests | None) -> Shown | None:
    """The inputs that records show to be the user's; None where nothing is to be taken from records.

    Those of a listwise model are found without a declaration, which would call their rows repeated.

    Raises UserError where records are missing, or not asked for, where they show nothing, and as `constancy` does.
    """
    user_inputs = settings.user_inputs
    auto = is_auto(document, user_inputs)
    if requests is None:
        if auto:
            raise UserError(
                f"-u {AUTO} takes the user's inputs from recorded requests",
                "Give the file and its column of ids: --requests FILE --request-id COLUMN.",
            )
        return None
    if not auto or len(user_inputs) > 1:
        raise UserError(f"recorded requests are for -u {AUTO} alone", f"Give -u {AUTO}, or leave --requests out.")
    recorded, within = constancy(requests.path, requests.column, [each.name for each in facts(document).inputs])
    counted = f"{recorded.requests:,} recorded requests with {recorded.rows:,} rows"
    if recorded.several < 2:
        raise UserError(
            f"{counted} in {requests.path} show nothing: fewer than two of them have several rows",
            "Give a file with more candidates of each request, or name the user's inputs.",
        )
    taken = tuple(name for name, each in within.items() if each.same and each.varies)
    if not taken:
        differing = next((f"`{name}` differs in {each.example}" for name, each in within.items() if each.example), "")
        raise UserError(
            f"no input is the same in all rows of each of {counted}{f': {differing}' if differing else ''}",
            "Check that --request-id is the id of requests, and not of candidates.",
        )
    undeclared = roles_of(Model(document), (), settings.batch)
    if undeclared.listwise:
        taken = tuple(name for name in taken if name not in {each.name for each in undeclared.inputs})
    return Shown(taken, f"the same in all rows of each of {counted} in {requests.path}, and not in all requests")
