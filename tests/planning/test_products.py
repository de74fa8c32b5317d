"""What is said of products is what is written of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import mari_onnx
from mari_onnx.report.model import Report
from tests.graphs import integers, ranking

SAMPLES = Path(__file__).parents[2] / "sample_models"


def written(report: Report) -> Counter[str]:
    """The multiply-adds of the written graph by operator."""
    found = Counter[str]()
    for node in report.graphs[-1].nodes:
        found[node.op_type] += node.macs or 0
    return found


@pytest.mark.parametrize("sample", ["decoder_expanded", "hstu_vanilla"])
def test_products_over_tokens_that_stay_apart(sample: str) -> None:
    """Of each layer of a sequence ranker the candidate's tokens are left; all that is left is some product's."""
    report = mari_onnx.optimize(SAMPLES / f"{sample}.onnx", user_inputs="user_*", verify=False).report
    assert report.cost_before and report.cost_after
    products = [remark for remark in report.remarks if remark.macs_before]
    assert sum(remark.macs_after for remark in products) == report.cost_after.macs == written(report).total()
    large = [remark for remark in products if remark.macs_before > 0.01 * report.cost_before.macs]
    assert {remark.status for remark in large} == {"applied"}
    left = Counter[str]()
    for node in report.graphs[-1].nodes:
        left[node.original] += node.macs or 0
    assert {remark.tensor: left[remark.tensor] for remark in large} == {r.tensor: r.macs_after for r in large}
    assert all(" = " not in remark.forms or remark.macs_after < remark.macs_before for remark in large)


def test_products_that_the_rules_know_stay_as_they_are_told() -> None:
    body = "x = Concat <axis = 1> (user, item) h = MatMul (x, w) r = Relu (h) y = MatMul (r, v)"
    report = mari_onnx.inspect(ranking("one", body, user="float[64]", w=integers(67, 32), v=integers(32, 8)))
    told = [(remark.tensor, remark.status, remark.macs_after) for remark in report.remarks if remark.macs_before]
    assert told == [("h", "applied", 64 * 32 + 500 * 3 * 32), ("y", "as is", 500 * 32 * 8)]


def test_kernels_that_stand_for_products_tell_nothing() -> None:
    """A BatchNormalization that goes into a product's weight leaves a node that was made for no value."""
    report = mari_onnx.inspect(SAMPLES / "din_vanilla.onnx", user_inputs="user_*")
    whole = [remark for remark in report.remarks if remark.macs_before and remark.status == "as is"]
    assert whole and all(remark.macs_after == remark.macs_before for remark in whole)
