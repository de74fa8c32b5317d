"""Reports as JUnit XML, which pipelines show beside their tests: one case for each comparison."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from mari_onnx.report.benchmark_words import asked, where
from mari_onnx.report.model import Difference, Report, Verification
from mari_onnx.report.replay import Replay
from mari_onnx.report.replay_words import failed
from mari_onnx.report.words import effort, left_out, subject, unverified

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot contain, such as control characters."""


def to_junit(report: Report) -> str:
    """A test suite with a case for each output in each case of inputs, each measured call and each policy.

    A report without a verification has one case that is skipped. A verification that compared nothing has one case
    that failed.
    """
    suite = Xml.Element("testsuite", name=f"mari-onnx {report.command}")
    verification = report.verification
    for timing in report.benchmark.timings if report.benchmark is not None else ():
        seconds = f"{timing.after.median_us / 1e6:.9f}"
        Xml.SubElement(suite, "testcase", classname=_class(report), name=where(timing), time=seconds)
    for policy in report.policies:
        case = Xml.SubElement(suite, "testcase", classname=_class(report), name=policy.name)
        if not policy.met:
            Xml.SubElement(case, "failure", message=_legal(asked(policy)), type="policy")
    if report.replay is not None:
        _replayed(suite, report, report.replay)
    elif verification is None:
        case = Xml.SubElement(suite, "testcase", classname=_class(report), name="verification")
        Xml.SubElement(case, "skipped", message="nothing was verified")
        suite.set("skipped", "1")
    if verification is not None and not verification.differences:
        case = Xml.SubElement(suite, "testcase", classname=_class(report), name="verification")
        Xml.SubElement(
            case,
            "failure",
            message=_legal(unverified(verification)),
        )
    for one in verification.differences if verification is not None else ():
        _case(suite, report, one)
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    if verification is not None:
        Xml.SubElement(suite, "system-out").text = _legal(_log(report, verification))
    root = Xml.Element("testsuites")
    root.append(suite)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _replayed(suite: Xml.Element, report: Report, replay: Replay) -> None:
    """A case for all requests of a replay together; the comparisons of the worst of them are cases of their own."""
    case = Xml.SubElement(suite, "testcase", classname=_class(report), name=f"{replay.requests} requests")
    if not replay.passed:
        Xml.SubElement(case, "failure", message=_legal(failed(replay)), type="replay")


def _case(suite: Xml.Element, report: Report, one: Difference) -> None:
    name = f"{one.output}: {one.case} at batch {one.batch}"
    case = Xml.SubElement(suite, "testcase", classname=_class(report), name=_legal(name))
    if not one.passed:
        failure = Xml.SubElement(case, "failure", message=_legal(one.message), type="difference")
        failure.text = _legal(
            f"difference {one.max_abs:.3g}, allowed {one.bound:.3g}"
            + ("" if one.float64 is None else f"; in float64 {one.float64:.3g}, allowed {one.float64_bound:.3g}")
        )


def _log(report: Report, verification: Verification) -> str:
    lines = [effort(verification), *left_out(report), *(f"{note.code}: {note.text}" for note in verification.notes)]
    if verification.divergence is not None:
        lines.append(f"begins at {verification.divergence.tensor}")
        lines += [f"again: {verification.divergence.command}"] if verification.divergence.command else []
    return "\n".join(lines)


def _class(report: Report) -> str:
    """The class name of all cases, under which pipelines group them: the path of the file that the verdict is about."""
    return _legal(subject(report) or "model")


def _legal(text: str) -> str:
    return _ILLEGAL.sub("?", text)
