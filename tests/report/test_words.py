"""Numbers as people read them, and the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from mari_onnx.pipeline import of_fixed_batch
from mari_onnx.report.model import Command, Moved, Report, RequestInput, Verification
from mari_onnx.report.words import judged
from tests.report import reports


def verdict(report: Report, tiled: int, keys: tuple[str, ...] = (), rows: str = "tiled") -> str:
    names = tuple(f"user{i}" for i in range(tiled))
    assert report.verification is not None
    seen: Verification = replace(report.verification, tiled=(*keys, *names), keys=keys)
    assert rows in ("tiled", "one")
    inputs = tuple(RequestInput(name, "tiled" if rows == "tiled" else "one", "declared") for name in (*keys, *names))
    return judged(replace(report, verification=seen, request_inputs=inputs))[2]


@pytest.mark.parametrize("report", [reports.OPTIMIZED, reports.SAME])
@pytest.mark.parametrize(
    ("tiled", "keys", "said"),
    [
        (0, (), "he same predictions: "),
        (1, (), "he same predictions where the rows of `user0` are identical: "),
        (3, (), "he same predictions where the rows of `user0`, `user1` and `user2` are identical: "),
        (30, (), "he same predictions where the rows of these 30 inputs are identical: "),
        (0, ("id",), "he same predictions: "),
        (1, ("id",), "he same predictions where rows with the same `id` are identical in `user0`: "),
        (9, ("a", "b"), "he same predictions where rows with the same `a` and `b` are identical in these 9 inputs: "),
    ],
)
def test_the_condition_of_a_verdict(report: Report, tiled: int, keys: tuple[str, ...], said: str) -> None:
    assert said in verdict(report, tiled, keys)


def test_what_the_caller_vouched_for_is_in_the_verdict() -> None:
    said = verdict(replace(reports.OPTIMIZED, assumed=("p",)), 1)
    assert "where the rows of `user0` are identical and where attention scores are below 4,000" in said


def test_a_row_that_is_sent_once_has_no_condition() -> None:
    assert ", the same predictions: " in verdict(reports.OPTIMIZED, 2, rows="one")


def test_a_model_that_stays_as_it_was_lacks_a_declaration_only_where_no_input_is_the_request_s() -> None:
    declared = replace(reports.UNCHANGED, request_inputs=reports.OPTIMIZED.request_inputs)
    assert judged(declared)[2] == "Nothing can be gained here: written to out.onnx as it was"
    assert "-u 'user_*' names those that look like it" in judged(reports.UNCHANGED)[2]
    unlike = replace(reports.MODEL, inputs=(reports.MODEL.inputs[-1],))
    assert "--user-input 'user_*' names those that do" in judged(replace(reports.UNCHANGED, model=unlike))[2]


def test_a_number_of_candidates_that_is_fixed() -> None:
    fixed = replace(reports.UNCHANGED, remarks=(of_fixed_batch("user", 200),))
    said = (
        "Nothing can be gained here, because the number of candidates is fixed at 200, the leading extent of all "
        "inputs, so that no axis counts them (export with a dynamic batch axis, or let --dynamic-batch make it one)"
    )
    assert judged(fixed)[2] == f"{said}: written to out.onnx as it was"
    assert judged(replace(fixed, command="inspect"))[2] == said


@pytest.mark.parametrize("command", get_args(Command))
def test_every_command_has_a_verdict(command: Command) -> None:
    mark, _, sentence = judged(replace(reports.UNCHANGED, command=command))
    assert mark in "✓✗!·"
    assert sentence


@pytest.mark.parametrize(
    ("runtime", "apart", "said"),
    [
        (492, 0.0, "optimizations move 492 of the original's, by up to 6.0e-03 of the scale; with them off, the two "
         "models are equal)"),
        (0, 1e-4, "optimizations move none of the original's; with them off, the two models are at most 1.0e-04 of the "
         "scale apart)"),
    ],
)  # fmt: skip
def test_values_that_moved_by_a_step(runtime: int, apart: float, said: str) -> None:
    moved = Moved("score", values=1000, moved=3, by_runtime=runtime, furthest_by_runtime=6e-3, apart_without=apart)
    for report in (reports.OPTIMIZED, reports.SAME):
        assert report.verification is not None
        found = judged(replace(report, verification=replace(report.verification, moved=(moved,))))[2]
        assert "but for 3 of 1,000 values, which the model's own rounding moves by a step (onnxruntime's " in found
        assert said in found
