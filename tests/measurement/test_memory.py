"""The memory of a call, as the kernel counts it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mari_onnx.measurement import memory

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux counts it")


@LINUX
def test_what_is_held_for_a_moment_counts() -> None:
    def held() -> None:
        np.ones(8_000_000)

    before = memory.now()
    first = memory.peak(held, before)
    assert first is not None
    assert 60e6 < first < 80e6
    second = memory.peak(lambda: None, memory.now())
    assert second is not None
    assert second < 5e6


@LINUX
def test_what_is_kept_counts_for_later_calls() -> None:
    kept = []
    before = memory.now()
    memory.peak(lambda: kept.append(np.ones(8_000_000)), before)
    again = memory.peak(lambda: None, before)
    assert again is not None
    assert again > 60e6


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called = []
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "nowhere")
    monkeypatch.setattr(memory, "_RESET", tmp_path / "nowhere" / "at all")
    assert memory.now() is None
    assert memory.peak(lambda: called.append(1), 1) is None
    assert called == [1]


def test_words_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\n", encoding="ascii")
    monkeypatch.setattr(memory, "_STATUS", status)
    assert memory.now() is None
