"""The view for test runners: every comparison is a case of the suite."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from mari_onnx.report.as_junit import to_junit
from mari_onnx.report.model import Difference, Verification
from tests.report import reports


@pytest.mark.parametrize("name", reports.EVERY)
def test_junit_is_xml_that_counts_its_cases(name: str) -> None:
    report = reports.EVERY[name]
    (suite,) = ElementTree.fromstring(to_junit(report))
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases) >= 1
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
    if report.verification is not None and report.verification.differences:
        timings = report.benchmark.timings if report.benchmark else ()
        replays = [report.replay] if report.replay else []
        assert len(cases) == len([*report.verification.differences, *timings, *report.policies, *replays])
        assert (int(suite.attrib["failures"]) == 0) == report.passed


def test_what_xml_cannot_say() -> None:
    report = replace(
        reports.SAME,
        verification=Verification(False, 0, 0, 0, (Difference(1, "a\x00<b>", 1, 1, 0, False, "\x1b & c"),)),
    )
    (suite,) = ElementTree.fromstring(to_junit(report))
    assert suite[0].attrib["name"] == "a?<b>: drawn at batch 1"
    assert suite[0][0].attrib["message"] == "? & c"
