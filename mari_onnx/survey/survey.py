"""The survey: the inputs of a model, and the multiply-adds if each group of them were declared the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mari_onnx import pipeline
from mari_onnx.document.document import Document
from mari_onnx.document.facts import facts
from mari_onnx.errors import UserError
from mari_onnx.input_names import globs_of, groups, likely
from mari_onnx.pipeline import Progress
from mari_onnx.planning.plan import Plan
from mari_onnx.planning.search import best_plan
from mari_onnx.report.model import Configuration, Report
from mari_onnx.report.survey import Declaration, Recorded, Survey, SurveyedInput, Within
from mari_onnx.settings import Settings
from mari_onnx.survey.feeds import Feeds
from mari_onnx.survey.requests import constancy

MOST = 24
"""So many groups are tried, those with the most inputs; each takes a plan."""


@dataclass(frozen=True)
class Requests:
    """Recorded requests: a file, and the name of its column of ids."""

    path: Path
    column: str


def survey(document: Document, settings: Settings, requests: Requests | None, progress: Progress | None) -> Report:
    """The report of `mari_onnx.inputs`. Inputs that are declared already count as declared in all that is tried."""
    say = progress or pipeline.silent
    say("reading", 0, 1)
    recorded, within = (None, {}) if requests is None else _recorded(document, requests)
    plan = _planned(document, settings)
    roles = {given.name: given.rows for given in plan.reading.roles.inputs}
    own, feeds = facts(document), Feeds(plan.reading.model)
    inputs = tuple(
        SurveyedInput(i.name, i.dtype, i.shape, roles.get(i.name, "candidates"), feeds.of(i.name), within.get(i.name))
        for i in own.inputs
    )
    free = [] if plan.reading.roles.listwise else [i.name for i in own.inputs if i.name not in roles]
    chosen = _chosen(free, within)
    left = max(len(chosen) - MOST, 0)
    declarations = []
    for n, each in enumerate(chosen[:MOST]):
        say(f"trying {' '.join(each.globs)}", n, len(chosen) - left)
        declarations.append(_tried(document, settings, each))
    report = replace(pipeline.described("inputs", plan, settings), remarks=(), calls=(), changed=plan.pays)
    options = settings.asked
    if requests is not None:
        options |= {"requests": str(requests.path), "request_id": requests.column}
    return replace(
        report, survey=Survey(inputs, tuple(declarations), recorded, left), configuration=Configuration(options)
    )


def _recorded(document: Document, requests: Requests) -> tuple[Recorded, Mapping[str, Within]]:
    return constancy(requests.path, requests.column, [i.name for i in facts(document).inputs])


def _planned(document: Document, settings: Settings) -> Plan:
    return best_plan(pipeline.roles(document, settings), settings.batch)


def _chosen(free: Sequence[str], within: Mapping[str, Within]) -> list[Declaration]:
    """What is tried: what speaks for itself first, then groups of names, the largest first."""
    found = []
    if same := [name for name in free if name in within and within[name].same]:
        found.append(Declaration(globs_of(same, free), tuple(same), "recorded", None))
    by_glob = groups(free)
    differs = {name for name, each in within.items() if not each.same}
    if named := [name for glob in likely(free) for name in by_glob[glob] if name not in differs]:
        found.append(Declaration(globs_of(named, free), tuple(named), "likely", None))
    ordered = sorted(by_glob.items(), key=lambda item: -len(item[1]))
    found += [Declaration((glob,), some, "prefix", None) for glob, some in ordered]
    once = {frozenset(each.inputs): each for each in reversed(found)}  # the first of those with the same inputs
    return [each for each in found if once[frozenset(each.inputs)] is each]


def _tried(document: Document, settings: Settings, each: Declaration) -> Declaration:
    """The declaration with what it gains, or with why it is refused."""
    declared = replace(settings, user_inputs=(*settings.user_inputs, *each.inputs))
    try:
        plan = _planned(document, declared)
        return replace(each, macs=(plan.work if plan.pays else plan.program.work).macs)
    except UserError as error:
        return replace(each, refused=error.message)
