"""Nothing that goes wrong while a failure is explained takes the verdict away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mari_onnx.verification.compare import explain, localize
from tests.notes import said
from tests.verification import models
from tests.verification.compare.test_localize import found
from tests.verification.models import verify


@pytest.mark.parametrize(
    ("broken", "note"),
    [
        ("divergence", "the tensor in which the difference begins could not be found (RuntimeError: boom)"),
        ("smallest", "the smallest inputs that fail could not be found (RuntimeError: boom)"),
    ],
)
def test_what_breaks_while_a_failure_is_explained_is_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str, note: str
) -> None:
    def boom(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(localize, broken, boom)
    verification = verify(models.tower(), models.split_tower(swapped=True), failing=tmp_path / "f.npz")
    assert note in said(verification.notes)
    assert not verification.passed and any(not one.passed for one in verification.differences)
    assert found(verification).output == "score"
    assert (tmp_path / "f.npz").exists()


def test_whatever_breaks_the_verdict_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "_worst", None)
    verification = verify(models.tower(), models.split_tower(swapped=True))
    assert not verification.passed and verification.differences
    assert verification.divergence is None
    assert said(verification.notes)[-1].startswith("where the difference begins could not be found (TypeError")


def test_inputs_that_cannot_be_written_are_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    verification = verify(models.tower(), models.split_tower(swapped=True), failing=tmp_path / "file" / "f.npz")
    assert found(verification).inputs is None
    assert "the smallest inputs could not be written" in said(verification.notes)[-1]


def test_inputs_of_any_name(tmp_path: Path) -> None:
    """numpy.savez takes no array of the name `file`."""
    feeds: dict[str, Any] = {"file": np.arange(3), "a/b": np.ones(2, np.float32), "text": np.array(["a", "bc"], object)}
    explain._write(tmp_path / "f.npz", feeds)
    with np.load(tmp_path / "f.npz") as saved:
        assert {name: saved[name].tolist() for name in saved.files} == {n: a.tolist() for n, a in feeds.items()}
