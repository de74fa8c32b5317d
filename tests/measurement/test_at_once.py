"""Calls at once, with a clock of the test where it counts, and with threads that really wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import sleep

import numpy as np
import pytest

from mari_onnx.measurement import at_once as module
from mari_onnx.measurement.at_once import AtOnce, at_once
from mari_onnx.measurement.turns import LEAST, MOST, Call

CALLERS = 3


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 0.01)


def each(calls: Call, callers: int = CALLERS) -> list[Call]:
    """The same call for every caller."""
    return [calls] * callers


def test_so_many_calls_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()
    all_there = threading.Barrier(CALLERS)

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        all_there.wait(5)  # ends only where all callers are in a call
        with lock:
            running -= 1

    monkeypatch.setattr(module, "TURN", 0.0)
    at_once([[each(call)]], 0, least=1)
    assert most == CALLERS


def test_throughput_is_that_of_all_callers() -> None:
    found = at_once([[each(lambda: sleep(0.002)), each(lambda: sleep(0.001))]], 0, least=4)
    # A machine that is busy sleeps longer, but never shorter.
    assert 0 < found.per_second(0) <= CALLERS / 0.002
    assert found.per_second(0) < found.per_second(1) <= CALLERS / 0.001
    assert found.rates.shape == (4, 2)
    assert all((found.of(k) >= least).all() for k, least in ((0, 2e6), (1, 1e6)))


def test_the_ratio_is_that_of_the_time_for_as_many_calls() -> None:
    found = AtOnce([np.array([1.0])] * 2, np.array([[100.0, 300.0], [50, 200]]))
    assert found.ratios(0, base=1).tolist() == [3, 4]
    assert found.ratios(1).tolist() == [1 / 3, 1 / 4]
    assert (found.per_second(0), found.per_second(1)) == (75, 250)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, LEAST), (1e9, MOST)])
def test_rounds(seconds: float, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 0.0)
    assert at_once([[each(lambda: None), each(lambda: None)]], seconds).rates.shape == (rounds, 2)


def test_recorded_calls_take_turns_and_both_models_begin_with_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN", 0.0)  # each caller makes one call in a turn
    called: list[tuple[str, int, int]] = []

    def call(model: str, v: int, caller: int) -> Callable[[], None]:
        return lambda: called.append((model, v, caller))

    calls = [[[call(model, v, caller) for caller in range(2)] for model in "ab"] for v in range(4)]
    at_once(calls, 0, np.random.default_rng(1), least=6)
    turns = [sorted(called[i : i + 2], key=lambda one: one[2]) for i in range(4, len(called), 2)]  # once before
    begun = [{turn[0][1] for turn in turns[i : i + 2]} for i in range(0, len(turns), 2)]
    assert all(len(first) == 1 for first in begun)
    assert len(set().union(*begun)) > 1
    assert all(turn[1][1] == (turn[0][1] + 2) % 4 for turn in turns)  # callers begin apart


def test_the_first_call_of_a_turn_is_no_latency() -> None:
    now = 0

    def clock() -> int:
        return now

    def call() -> None:
        nonlocal now
        now += 4_000_000

    found = at_once([[[call]]], 0, clock=clock, least=1)
    assert found.of(0).tolist() == [4e6, 4e6]  # of three
    assert found.per_second(0) == 250


def test_a_call_that_fails_ends_it() -> None:
    def fails() -> None:
        raise RuntimeError("no such row")

    with pytest.raises(RuntimeError, match="no such row"):
        at_once([[each(fails)]], 0)
