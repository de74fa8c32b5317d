"""Progress: on a terminal, after a second, and gone in the end."""

from __future__ import annotations

import io
import sys
import time

import pytest

from mari_onnx.cli import progress as module
from mari_onnx.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Not a fixture: pytest puts its own stderr in place between a fixture and its test."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    return made


def test_nobody_would_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress(quiet=False) as report:
        assert report is None


def test_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    with progress(quiet=True) as report:
        assert report is None


def test_what_is_quick_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)
    with progress(quiet=False) as report:
        assert report is not None
        report("verify", 1, 2)
    assert stderr.getvalue() == ""


def test_what_takes_long_is_shown_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    with pytest.raises(KeyboardInterrupt), progress(quiet=False) as report:  # noqa: PT012
        assert report is not None
        report("batch [64]", 1, 2)
        until = time.monotonic() + 10
        while "1/2" not in stderr.getvalue() and time.monotonic() < until:
            time.sleep(0.02)
        raise KeyboardInterrupt
    assert "batch [64]" in stderr.getvalue()
    assert stderr.getvalue().endswith("\x1b[2K")
