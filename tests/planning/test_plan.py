"""What a plan takes, what it is compared by, and whether it is worth being written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mari_onnx.analysis.input_roles import roles_of
from mari_onnx.analysis.reading import read
from mari_onnx.document.graph_view import Model
from mari_onnx.document.read import from_proto
from mari_onnx.emission import write
from mari_onnx.ir.cost import Work
from mari_onnx.ir.policy import POLICY
from mari_onnx.planning.plan import Plan, priced
from mari_onnx.planning.search import best_plan
from tests.graphs import integers, ranking

BATCH = 500
BODY = "x = Concat <axis = 1> (user, item) y = Gemm (x, w, b)"
WEIGHTS: dict[str, Any] = {"w": integers(7, 2), "b": integers(2)}


def plan(style: str = "one", body: str = BODY, globs: tuple[str, ...] = ("user*",), **constants: Any) -> Plan:
    model = Model(from_proto(ranking(style, body, **(constants or WEIGHTS))))
    return best_plan(read(model, roles_of(model, globs, BATCH)), BATCH)


def test_what_is_computed_once_does_not_vary_with_the_candidates() -> None:
    """[1 256] @ [256 32] once, and [B 3] @ [3 32] for each candidate; the original does all of it for each."""
    found = plan(user="float[256]", w=integers(259, 32), b=integers(32))
    assert (found.work.macs, found.work.fixed) == (256 * 32 + BATCH * 3 * 32, 256 * 32)
    assert (found.program.work.macs, found.program.work.fixed) == (BATCH * 259 * 32, 0)


def test_shape_arithmetic_counts() -> None:
    """Nodes and time are those of all that is written."""
    found = plan(body="r = Relu (user) s = Identity (r) y = Identity (s)", w=integers(1))
    assert found.lowered.shape_nodes
    assert found.work.nodes == len(write(found.lowered).model.graph.node)
    nodes = sum(map(found.cost.node_time, found.lowered.computing))
    assert found.work.time == nodes + found.cost.shape_arithmetic(found.lowered.shape_nodes) > nodes


def test_emphasis_is_for_the_choice_and_not_for_the_price() -> None:
    """A plan that was made with an eye on a single candidate is priced as every other."""
    found = plan()
    program = found.program
    emphasized = replace(program.context, cost=replace(program.context.cost, emphasis=64.0))
    assert priced(found.reading, replace(program, context=emphasized)).work == found.work


def slower_alone(found: Plan, times: float) -> Plan:
    """The plan, as if the original took a single candidate so many times less."""
    call = POLICY.call(len(found.reading.model.inputs))
    before = replace(found.program.work, alone=(found.work.alone + call) / times - call)
    return priced(found.reading, replace(found.program, work=before))


def test_a_plan_that_is_no_slower_for_a_single_candidate_has_no_handicap() -> None:
    found = plan()
    assert found.handicap == slower_alone(found, POLICY.single).handicap == 1


def test_a_plan_that_is_slower_for_a_single_candidate_has_a_handicap() -> None:
    """What a call takes before any node runs counts, before and after."""
    found = slower_alone(plan(), 2 * POLICY.single)
    assert found.handicap == pytest.approx(2**POLICY.exponent)


def test_plans_are_compared_by_whole_calls() -> None:
    """Two inputs are sent in each of them."""
    found = slower_alone(plan(), 3)
    assert found.handicap > 1
    assert found.weighed == (found.work.time + POLICY.call(2)) * found.handicap


@pytest.mark.parametrize(
    ("after", "handicap", "pays"),
    [
        (Work(macs=500, time=80.0), 1.0, True),
        (Work(macs=500, time=80.0), 1.3, False),  # 104 of 100
        (Work(macs=1001, time=10.0), 1.0, False),
    ],
)
def test_what_pays(after: Work, handicap: float, pays: bool) -> None:
    found = plan()
    before = replace(found.program, work=Work(macs=1000, time=100.0))
    assert replace(found, program=before, work=after, handicap=handicap).pays is pays


def test_nothing_pays_where_no_input_is_the_users() -> None:
    found = plan("tiled", globs=())
    assert not replace(found, work=Work()).pays
