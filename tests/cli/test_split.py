"""`mari-onnx split`: what is written, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import Run
from tests.graphs import integers, parse

MODEL = """g (float[B, 64] user, float[B, 128] item, float[B, 2] cross) => (float[B, 16] y) {
    x = Concat <axis = 1> (user, item, cross)
    y = Gemm (x, w)
}"""


@pytest.fixture
def ranker(tmp_path: Path) -> Path:
    path = tmp_path / "ranker.onnx"
    onnx.save(parse(MODEL, w=integers(194, 16)), path)
    return path


def paths(folder: Path) -> list[str]:
    return ["--user-model", str(folder / "user.onnx"), "--rank-model", str(folder / "rank.onnx")]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_models(run: Run, ranker: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = run("split", ranker, *paths(tmp_path), "-u", "user", "--report", report)
    assert result.exit_code == 0
    assert "y.user  float [1 16]     64  for each request" in result.stdout
    assert "✓ Split, 1 value, 64 B for each request: the same predictions, written to" in result.stdout
    assert files(tmp_path) == ["rank.onnx", "ranker.onnx", "report.json", "user.onnx"]
    assert [i.name for i in onnx.load(tmp_path / "rank.onnx").graph.input] == ["item", "cross", "y.user"]
    written = json.loads(report.read_text(encoding="utf-8"))
    assert [part["role"] for part in written["split"]["parts"]] == ["user", "rank"]
    assert written["split"]["parts"][0]["written"] == str(tmp_path / "user.onnx")
    assert (
        run("verify", ranker, tmp_path / "rank.onnx", "--user-model", tmp_path / "user.onnx", "-u", "user").exit_code
        == 0
    )


def test_what_crosses_in_half_precision(
    run: Run, ranker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`verify` asks for the scores of the original, unless it is given a tolerance."""
    result = run("split", ranker, *paths(tmp_path), "-u", "user", "--crossing", "float16")
    assert result.exit_code == 0
    assert "y.user.float16  float16 [1 16]     32  for each request" in result.stdout
    assert "the same predictions but for float16, which moves scores by up to" in result.stdout
    both = ("verify", ranker, tmp_path / "rank.onnx", "--user-model", tmp_path / "user.onnx", "-u", "user")
    monkeypatch.chdir(tmp_path)  # what fails is written there
    assert run(*both).exit_code == 1
    assert run(*both, "--rtol", "0.01").exit_code == 0


def test_more_bytes_than_may_cross(run: Run, ranker: Path, tmp_path: Path) -> None:
    result = run("split", ranker, *paths(tmp_path), "-u", "user", "--max-user-bytes", "7")
    assert (result.exit_code, files(tmp_path)) == (2, ["ranker.onnx"])
    assert "at most 7 may" in result.stderr and "--max-user-bytes" in result.stderr
    assert run("split", ranker, *paths(tmp_path), "-u", "user", "--max-user-bytes", "1kB").exit_code == 0
    assert "--item-model" in run("split", ranker, *paths(tmp_path), "-u", "user", "--max-item-bytes", "9").stderr


def test_three_models(run: Run, ranker: Path, tmp_path: Path) -> None:
    given = [*paths(tmp_path), "--item-model", tmp_path / "item.onnx", "-u", "user"]
    result = run("split", ranker, *given)
    assert (result.exit_code, files(tmp_path)) == (2, ["ranker.onnx"])
    assert "--item-input" in result.stderr
    result = run("split", ranker, *given, "--item-input", "item")
    assert result.exit_code == 0
    assert "64 B for each request; 1 value, 64 B for each item" in result.stdout


def test_requests(run: Run, ranker: Path, tmp_path: Path) -> None:
    result = run("split", ranker, *paths(tmp_path), "-u", "user", "--user-batch", "requests")
    assert result.exit_code == 0
    assert "Send in `request_index`, a new input" in result.stdout


def test_an_index_that_is_there(run: Run, tmp_path: Path) -> None:
    """It asks for the rows of several requests, without a word for that."""
    model = tmp_path / "ranker.onnx"
    onnx.save(parse(MODEL.replace("g (", "g (int64[B] i, "), w=integers(194, 16)), model)
    result = run("split", model, *paths(tmp_path), "-u", "user", "--request-index", "i")
    assert result.exit_code == 0
    assert "Send in `i`: the number of the row" in result.stdout
    assert onnx.load(tmp_path / "user.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param == "requests"


def test_all_are_written_or_none(run: Run, ranker: Path, tmp_path: Path) -> None:
    (tmp_path / "rank.onnx").write_bytes(b"precious")
    result = run("split", ranker, *paths(tmp_path), "-u", "user")
    assert (result.exit_code, files(tmp_path)) == (2, ["rank.onnx", "ranker.onnx"])
    assert run("split", ranker, *paths(tmp_path), "-u", "user", "--overwrite", "--dry-run").exit_code == 0
    assert (tmp_path / "rank.onnx").read_bytes() == b"precious"
    assert run("split", ranker, *paths(tmp_path), "-u", "user", "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--user-model", "a.onnx", "--rank-model", "a.onnx", "-u", "user"],
            "two of the models would be written to the same file",
        ),
        (["--user-model", "a.onnx", "--rank-model", "b.onnx"], "whose rows the caller repeats"),
        (["--user-model", "a.onnx", "--rank-model", "b.onnx", "-u", "nobody"], "matches the user input 'nobody'"),
        (["--user-model", "a.onnx", "-u", "user"], "Missing option '--rank-model'"),
    ],
)
def test_what_cannot_be(
    run: Run, ranker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("split", ranker, *given)
    assert (result.exit_code, files(tmp_path)) == (2, ["ranker.onnx"])
    assert message in result.stderr
