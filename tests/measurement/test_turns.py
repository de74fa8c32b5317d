"""Turns, with a clock that the test moves: each call takes as long as it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from mari_onnx.measurement.turns import CALLS, LEAST, MOST, SLOW, Turns, in_turns

ROUNDS = 20


@dataclass
class Machine:
    """Notes which model is called, and for how long."""

    now: int = 0
    called: list[str] = field(default_factory=list)

    def model(self, name: str, *nanoseconds: int) -> Callable[[], None]:
        """A model whose calls take these times, in turn."""
        times = iter(nanoseconds * 10_000)

        def call() -> None:
            self.called.append(name)
            self.now += next(times)

        return call

    def clock(self) -> int:
        return self.now


def test_each_model_has_a_turn_in_each_round() -> None:
    machine = Machine()
    turns = in_turns([[machine.model("a", 1), machine.model("b", 1)]], 0, clock=machine.clock, least=ROUNDS)
    assert turns.nanoseconds.shape == (ROUNDS, 2, CALLS)
    assert machine.called[:2] == ["a", "b"]  # once before
    rounds = np.array(machine.called[2:]).reshape(ROUNDS, 2, CALLS)
    assert all(len(set(turn)) == 1 for each in rounds for turn in each)
    first = [each[0][0] for each in rounds]
    assert set(first) == {"a", "b"}  # the order is drawn anew
    assert all({each[0][0], each[1][0]} == {"a", "b"} for each in rounds)


def test_the_order_follows_from_the_seed() -> None:
    def order(seed: int) -> list[str]:
        machine = Machine()
        calls = [machine.model("a", 1), machine.model("b", 1)]
        in_turns([calls], 0, np.random.default_rng(seed), machine.clock, ROUNDS)
        return machine.called

    assert order(3) == order(3)
    assert order(3) != order(4)


def test_times_are_those_of_the_model_whatever_the_order() -> None:
    machine = Machine()
    turns = in_turns([[machine.model("a", 30), machine.model("b", 10)]], 0, clock=machine.clock)
    assert (turns.nanoseconds[:, 0] == 30).all()
    assert (turns.nanoseconds[:, 1] == 10).all()
    assert (turns.ratios(0, base=1) == 3).all()
    assert (turns.ratios(1) == 1 / 3).all()


@pytest.mark.parametrize(
    ("call", "seconds", "rounds"),
    [
        (10**9, 1.0, LEAST),  # slow models take longer than was asked for
        (10**8, 1.0, 5),  # 200 ms a round: a turn is one call
        (10**6, 0.3, 50),  # 6 ms a round
        (1, 1.0, MOST),
    ],
)
def test_rounds(call: int, seconds: float, rounds: int) -> None:
    machine = Machine()
    turns = in_turns([[machine.model("a", call), machine.model("b", call)]], seconds, clock=machine.clock)
    assert turns.nanoseconds.shape == (rounds, 2, 1 if call > SLOW else CALLS)


def test_a_turn_of_a_slow_model_is_one_call() -> None:
    turns = Turns(np.array([[[30.0], [10]], [[60], [10]]]))
    assert turns.of(0).tolist() == [30, 60]
    assert turns.ratios(0, base=1).tolist() == [3, 6]
    assert turns.per_second(1) == pytest.approx(1e8)


def test_recorded_calls_take_turns() -> None:
    machine = Machine()
    calls = [[machine.model(f"{name}{v}", 1) for name in "ab"] for v in range(4)]
    in_turns(calls, 0, clock=machine.clock, least=ROUNDS)
    rounds = machine.called[8:]
    assert [one[1] for one in rounds[:: 2 * CALLS]] == [str(i % 4) for i in range(ROUNDS)]
    assert all(one[1] == str(i // (2 * CALLS) % 4) for i, one in enumerate(rounds))


def test_the_first_call_of_a_turn_is_no_latency() -> None:
    turns = Turns(np.array([[[9.0, 2, 3], [90, 20, 30]], [[9, 4, 5], [90, 40, 50]]]))
    assert sorted(turns.of(0)) == [2, 3, 4, 5]
    assert turns.fastest.tolist() == [[2, 20], [4, 40]]
    assert turns.ratios(1).tolist() == [10, 10]
