"""Words for a machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from mari_onnx.measurement import machine


def test_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: AMD EPYC 7763\nprocessor\t: 1\n", encoding="utf-8")
    monkeypatch.setattr(machine, "_INFO", info)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    assert machine.described() == "AMD EPYC 7763, 2 cores"
    monkeypatch.setattr(machine, "cores", lambda: 1)
    assert machine.described() == "AMD EPYC 7763, 1 core"


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_INFO", tmp_path / "nowhere")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert machine.described() == "arm64, 8 cores"
