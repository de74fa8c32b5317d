"""Execution providers: that of the CPU, which is always there, one that takes no node, and one that is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner

from mari_onnx.cli import main
from mari_onnx.document.read import as_document
from mari_onnx.document.runtime import CPU, Session
from mari_onnx.errors import UserError
from mari_onnx.verification.runtimes.onnxruntime import Source
from mari_onnx.verification.runtimes.providers import partly_elsewhere, provider_of, session_in
from tests.notes import said
from tests.verification import models
from tests.verification.models import judged, verify

CUDA, AZURE = "CUDAExecutionProvider", "AzureExecutionProvider"


@pytest.fixture
def source() -> Source:
    return Source("reference", as_document(models.tower()))


def having(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let onnxruntime say that it has these providers."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*names, CPU])


@pytest.mark.parametrize("name", ["cuda", "CUDA", "CUDAExecutionProvider", "cudaexecutionprovider"])
def test_a_provider_has_two_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    having(monkeypatch, "TensorrtExecutionProvider", CUDA)
    assert provider_of(name) == CUDA


def test_names_of_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    having(monkeypatch, "DmlExecutionProvider", "CoreMLExecutionProvider", "OpenVINOExecutionProvider")
    assert [provider_of(name) for name in ("directml", "dml", "coreml", "cpu", "OpenVINOExecutionProvider")] == [
        "DmlExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider", CPU, "OpenVINOExecutionProvider",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["tensorrt", "CUDAExecutionProvider", "onnxrutime", ""])
@pytest.mark.parametrize("command", ["bench", "verify"])
def test_one_that_is_not_there(name: str, command: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.tower().SerializeToString())
    result = CliRunner().invoke(main, [command, str(path), str(path), "--runtime", name])
    assert result.exit_code == 2
    assert f"there is no runtime {name!r} here" in result.stderr
    assert all(provider in " ".join(result.stderr.split()) for provider in ort.get_available_providers())


def test_the_cpu_is_a_provider(source: Source) -> None:
    session = session_in(source, CPU, threads=2)
    assert session.get_providers() == [CPU]
    assert partly_elsewhere(source, session, CPU) == []
    feeds = {
        name: np.random.default_rng(0).random((3, columns), np.float32)
        for name, columns in (("user", models.USER), ("item", models.ITEM))
    }
    for name, found in source.runner(session)(feeds).items():
        assert (found == source.runner(source.session())(feeds)[name]).all()


def test_both_are_compared_there_too() -> None:
    verification = verify(models.tower(), models.split_tower(), runtime="cpu", batches=(1, 7))
    assert verification.passed, verification
    assert verification.runtime == f"onnxruntime and {CPU}"
    wrong = judged(models.tower(), models.split_tower(swapped=True), runtime=CPU, batches=(7,))
    assert {d.case for d in wrong.differences if not d.passed} >= {"drawn", f"drawn, {CPU}"}


def test_one_that_onnxruntime_cannot_use(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build for CUDA, on a machine without its libraries, runs the model on the CPU and goes on."""
    having(monkeypatch, CUDA)
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(UserError, match=f"could not use {CUDA} for the reference model, and went on with {CPU}"),
    ):
        session_in(source, provider_of("cuda"))


def test_one_that_takes_no_node(source: Source) -> None:
    if AZURE not in ort.get_available_providers():
        pytest.skip("this build has no provider that takes nothing")
    with pytest.raises(
        UserError, match=f"{AZURE} runs no node of the reference model: onnxruntime gave all .* to {CPU}"
    ):
        session_in(source, AZURE)


def test_one_that_takes_some_nodes(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    class Assigned:
        def __init__(self, provider: str, nodes: int) -> None:
            self.ep_name, self.nodes = provider, nodes

        def get_nodes(self) -> list[None]:
            return [None] * self.nodes

    monkeypatch.setattr(Session, "get_providers", lambda _self: [CUDA, CPU])
    assigned = [Assigned(CUDA, 3), Assigned(CPU, 2), Assigned(CUDA, 1)]
    monkeypatch.setattr(Session, "get_provider_graph_assignment_info", lambda _self: assigned)
    session = session_in(source, CPU)
    assert said(partly_elsewhere(source, session, CUDA)) == (
        f"{CUDA} runs 4 nodes of the reference model, and the CPU the other 2",
    )


def test_a_model_without_nodes_is_run_by_any() -> None:
    if AZURE not in ort.get_available_providers():
        pytest.skip("this build has no provider that takes nothing")
    empty = session_in(Source("reference", as_document(models.parse("g (float[B] x) => (float[B] x) { }"))), AZURE)
    assert empty.get_providers() == [AZURE, CPU]
