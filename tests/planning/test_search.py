"""One plan of several: what is weighed against what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx
import pytest

from mari_onnx import optimize
from mari_onnx.analysis.context import FLOAT
from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.ir.builder import Builder
from mari_onnx.ir.extents import symbol
from mari_onnx.ir.policy import POLICY
from mari_onnx.planning import plan, search
from mari_onnx.planning.search import best_plan
from tests.graphs import integers, parse, ranking


def test_the_reference_of_the_cost_model() -> None:
    text = "g (float[R, 4] rows, int64[B] index, float[B, 3] item) => (float[B, 2] y)"
    body = "user = Gather (rows, index) x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
    graph = Model(from_proto(parse(f"{text} {{ {body} }}", w=integers(7, 2), b=integers(2))))
    reference = best_plan(read(graph, roles_of(graph, [], 300)), 300).program.context.cost.reference
    assert (reference["B"], reference["R"]) == (300, 4)


def din(width: int, hidden: int) -> onnx.ModelProto:
    """What a candidate asks of each step of a history: [q k q*k] @ W, which is k @ (W2 + q*W3) with a bias."""
    body = """i = Unsqueeze (item, one) q = Expand (i, steps) m = Mul (q, user)
        x = Concat <axis = 2> (q, user, m) h = MatMul (x, w) y = Relu (h)"""
    types: dict[str, Any] = {"user": f"float[40, {width}]", "item": f"float[{width}]", "output": "float[B, S, N] y"}
    return ranking("tiled", body, **types, one=[1], steps=[1, 40, 1], w=integers(3 * width, hidden))


def test_a_single_candidate_is_spared_where_many_lose_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight for each candidate is more to compute for one than the whole product, and a little less for many."""

    def estimates() -> tuple[float, float]:
        work = best_plan(given, 500).work
        return work.time, work.alone

    model = din(width=64, hidden=256)
    graph = Model(from_proto(model))
    given = read(graph, roles_of(graph, ["user"], 500), cut=True)  # the graph as it was exported cannot be cut
    many, one = estimates()
    monkeypatch.setattr(search, "POLICY", replace(POLICY, emphases=(0.0,)))
    fastest, for_one = estimates()
    assert fastest < many < 1.5 * fastest
    assert one < for_one / 3


def test_a_model_is_left_alone_where_a_single_candidate_loses_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ranking("tiled", "x = Concat <axis = 1> (user, item) h = MatMul (x, w) y = Relu (h)", w=integers(7, 32))
    assert optimize(model, user_inputs=["user"], verify=False).changed
    monkeypatch.setattr(plan, "POLICY", replace(POLICY, exponent=20.0))
    assert not optimize(model, user_inputs=["user"], verify=False).changed


def test_no_extent_is_read_off_what_needs_it() -> None:
    """Rows that were expanded to the number of candidates do not tell it; rows that the caller sends do."""
    b, many = Builder(), symbol("B")
    row, item = b.input("row", (1, 4), FLOAT), b.input("item", (many, 4), FLOAT)
    expanded = b.make("Relu", [b.expand(row, (many, 4))], (many, 4))
    graph = Model(from_proto(parse("g (float[B, 4] item) => (float[B, 4] y) { y = Relu (item) }")))
    program = best_plan(read(graph, roles_of(graph, [], 500)), 500).program
    assert search.is_told(replace(program, providers={"B": (item, 0)}), "B")
    assert not search.is_told(replace(program, providers={"B": (expanded, 0)}), "B")
    assert not search.is_told(replace(program, providers={}), "B")
