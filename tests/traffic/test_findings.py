"""Findings: what is added up is the same in any order, and comes back from JSON bit for bit."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest

from mari_onnx.traffic.findings import EXAMPLES, WORST, Bad, Example, Findings, Noted, Output, add


def some(seed: int) -> Findings:
    """Findings of a few requests in a task of this number."""
    rng = np.random.default_rng(seed)
    found = Findings(requests=3, rows=30, largest=int(rng.integers(99)), compared=2)
    for name in ("score", "other")[: 1 + seed % 2]:
        output = found.outputs.setdefault(name, Output(10, over=1, nan=seed))
        for number in range(6):
            score = float(rng.choice([0.0, 0.1, rng.random(), np.inf]))
            at = (seed, number)
            output.keep(Bad(score, at, f"r{at}"), Bad(float(rng.random()), at, f"r{at}"))
            output.differences.add(np.array([rng.random()]))
            add(output.moved, {int(rng.integers(3)): 1})
    found.broken.setdefault("user", Noted()).add(Example((seed, 1), "a", "x"), 2)
    found.unrunnable.add(Example((seed, 2), "b"), 1)
    found.times[1].add(np.array([1e6 * seed]))
    found.nanoseconds = (seed, 2 * seed)
    return found


def test_any_order_gives_the_same() -> None:
    totals = []
    for order in permutations(range(4)):
        total = Findings()
        for seed in order:
            total.merge(some(seed))
        totals.append(total.as_json())
    assert all(each == totals[0] for each in totals)
    assert totals[0]["requests"] == 12
    assert totals[0]["broken"]["user"]["requests"] == 4
    assert [e[:2] for e in totals[0]["broken"]["user"]["examples"]] == [[i, 1] for i in range(EXAMPLES)]


def test_the_worst_are_kept_the_first_of_equals_first() -> None:
    output = Output()
    scores = [0.0, 0.5, 0.25, 0.5, np.inf, 0.125]
    for number, score in enumerate(scores):
        output.keep(Bad(score, (0, number), ""), Bad(0, (0, number), ""))
    assert [bad.at[1] for bad in output.worst] == [4, 1, 3, 2][:WORST]
    assert [bad.at[1] for bad in output.largest] == [0]


@pytest.mark.parametrize("seed", range(4))
def test_json_loses_nothing(seed: int) -> None:
    found = some(seed)
    assert Findings.of_json(json.loads(json.dumps(found.as_json()))) == found
