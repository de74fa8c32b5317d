"""The verification in a process of its own: the same verdict, and one of its own where that process ends before."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

import mari_onnx
from mari_onnx import worker
from mari_onnx.cli import main
from mari_onnx.document.read import load
from mari_onnx.errors import UserError
from mari_onnx.verification import Known, Options, procedure, verify
from tests.notes import said
from tests.verification.models import parse, split_tower, tower


def loop(trips: int) -> onnx.ModelProto:
    return parse(
        """f (float[B, 4] user, float[B, 3] item) => (float[B, 7] y) {
            x = Concat <axis = 1> (user, item)
            y = Loop (trips, more, x) <body = b (int64 i, bool c, float[B, 7] s) => (bool d, float[B, 7] t) {
                d = Identity (c) t = Neg (s) }>
        }""",
        trips=trips,
        more=True,
    )


def test_the_verdict_is_that_of_the_procedure(tmp_path: Path) -> None:
    """For models in memory, and for files."""
    for wrong in (False, True):
        models = tower(), split_tower(swapped=wrong)
        found = verify(*models, Known(tiled=["user"]), Options(effort="quick"))
        assert found == procedure.verify(*models, Known(tiled=["user"]), Options(effort="quick"))
        assert found.passed is not wrong
    onnx.save(tower(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert verify(tmp_path / "m.onnx", tmp_path / "m.onnx").passed
    document = load(tmp_path / "m.onnx")
    assert verify(document, document.with_proto(document.proto)).passed


def test_paths_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process was started."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        onnx.save(tower(), f"{name}.onnx")
        assert verify(f"{name}.onnx", tower()).passed


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match="the models cannot be compared: input `user` is only in the reference model"):
        verify(tower(), parse("f (float[B, 5] item) => (float[B, 5] score) { score = Relu (item) }"))


def test_a_loop_that_does_not_end_fails_the_verification(tmp_path: Path) -> None:
    assert mari_onnx.verify(loop(3), loop(3), effort="quick").verification.passed  # type: ignore[union-attr]
    onnx.save(loop(10**15), tmp_path / "m.onnx")
    begun = time.monotonic()
    command = ["verify", "m.onnx", "m.onnx", "--timeout", "2", "-q"]
    result = CliRunner().invoke(main, [str(tmp_path / a) if a.endswith(".onnx") else a for a in command])
    assert time.monotonic() - begun < 60
    assert result.exit_code == 1
    assert result.stdout == (
        "✗ Nothing was shown to be the same: 2 s were over while onnxruntime ran the reference model (tracing inputs); "
        "--timeout SECONDS allows more time\n"
    )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what a process has")
def test_a_tensor_without_measure_fails_it() -> None:
    """A row for each candidate, of 4 MB, a thousand times."""
    huge = parse(
        """f (float[B, 1] item) => (float[B, 1] y) {
            s = Shape (item) r = Slice (s, zero, one) t = Concat <axis = 0> (r, long)
            e = Expand (item, t) y = ReduceMax <axes = [1], keepdims = 1> (e)
        }""",
        zero=[0],
        one=[1],
        long=[10**9],
    )
    report = mari_onnx.verify(huge, huge, max_memory=0.5)
    assert report.verification is not None
    assert not report.verification.passed
    (note,) = said(report.verification.notes)
    assert note.startswith("onnxruntime took more than 0.5 GB of memory (")
    assert note.endswith("while it ran the reference model (tracing inputs); --max-memory GB allows more memory")


def test_a_runtime_that_crashes_fails_it() -> None:
    """As a crash of onnxruntime would, a signal ends the process in which the original runs."""
    child = worker.run(os.getpid)

    def crash(what: str, done: int, total: int) -> None:
        if what == "tracing inputs":
            os.kill(child, signal.SIGSEGV)

    result = mari_onnx.optimize(loop(10**15), user_inputs="user", user_batch="one", progress=crash)
    assert result.changed
    assert result.report.verification is not None
    assert not result.report.verification.passed
    (note,) = said(result.report.verification.notes)
    assert note.startswith("onnxruntime stopped (signal 11) while it ")
    assert note.endswith(
        "(tracing inputs); run the model in onnxruntime by itself, on such a call or in another version"
    )
    assert mari_onnx.verify(tower(), tower(), effort="quick").verification.passed  # type: ignore[union-attr]
