"""Settings in a file: where it is found, what it may say, and what wins."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from mari_onnx import UserError
from mari_onnx.cli import main
from mari_onnx.cli.configuration import KEYS, find, read
from tests.graphs import integers, parse

ALL = """
user-inputs = ["user*", "ctx"]
item-inputs = ["item*"]
batch = 200
user-batch = "one"
request-index = "i"
request-key = ["user_id"]
guard = "output"
allow-no-candidates = true
dynamic-batch = true
assume-masked = true
fold-tables = "200MB"
verify-batches = [1, 5]
bench-batches = [1, 500]
bench-threads = [1, 2]
bench-concurrency = [1, 8]
min-gain = 1.5
require-gain = true
max-size-growth = 1.1
require-verified = true
allow-notes = []
min-speedup = 1.2
max-slowdown = 1
seed = 3
rtol = 1e-5
atol = 0
timeout = 60
max-memory = 2.5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a model, and a folder in it to work in."""
    work = tmp_path / "project/serving"
    work.mkdir(parents=True)
    model = parse(
        """g (int64[B] user_id, float[B, 256] user, float[B, 3] item) => (float[B, 32] y) {
            x = Concat <axis = 1> (user, item)
            y = Gemm (x, w)
        }""",
        w=integers(259, 32),
    )
    (work / "in.onnx").write_bytes(model.SerializeToString())
    monkeypatch.chdir(work)
    return work


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


# Finding


def test_the_nearest_is_found(folder: Path) -> None:
    around = find(folder)
    assert around is None or not around.is_relative_to(folder.parents[1])
    outer = written(folder.parent / "pyproject.toml", "[tool.mari-onnx]\nbatch = 7\n")
    assert find(folder) == outer
    written(folder / "pyproject.toml", "[tool.ruff]\n")
    assert find(folder) == outer
    inner = written(folder / "mari-onnx.toml", "batch = 8\n")
    assert find(folder) == inner


# Reading


def test_every_key(folder: Path) -> None:
    settings = read(written(folder / "mari-onnx.toml", ALL))
    assert set(settings) == {key.option for key in KEYS.values()}
    assert settings["user_inputs"] == ["user*", "ctx"]
    assert settings["guard"] == "output"
    assert settings["allow_notes"] == ["none"]


def test_in_pyproject(folder: Path) -> None:
    assert read(written(folder / "pyproject.toml", f"[tool.mari-onnx]\n{ALL}"))["batch"] == 200


@pytest.mark.parametrize(("said", "meant"), [("true", "nan"), ("false", "off"), ('"nan"', "nan")])
def test_guard(folder: Path, said: str, meant: str) -> None:
    assert read(written(folder / "mari-onnx.toml", f"guard = {said}\n")) == {"guard": meant}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user-input = []\n", "there is no setting 'user-input'"),
        ("batch = true\n", "batch is True, but has to be a whole number"),
        ('batch = "500"\n', "batch is '500', but has to be a whole number"),
        ('user-inputs = "user_*"\n', "but has to be a list of strings"),
        ("user-inputs = [1]\n", r"user-inputs is \[1\], but has to be a list of strings"),
        ('user-batch = "two"\n', 'user-batch is \'two\', but has to be "tiled", "one" or "requests"'),
        ('guard = "loud"\n', "guard is 'loud', but has to be true, false"),
        ("verify-batches = [1.5]\n", "but has to be a list of whole numbers"),
        ("batch = \n", "is not TOML"),
    ],
)
def test_what_means_nothing(folder: Path, text: str, message: str) -> None:
    path = written(folder / "mari-onnx.toml", text)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(path) in caught.value.message


def test_the_nearest_key_is_named(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(written(folder / "mari-onnx.toml", "user_input = []\n"))
    assert str(caught.value.next_step).startswith("Did you mean 'user-inputs'?")


# On the command line


def report(folder: Path, *arguments: str) -> dict[str, object]:
    result = run("optimize", "in.onnx", "out.onnx", "--overwrite", "--report", "report.json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads((folder / "report.json").read_text(encoding="utf-8"))["configuration"]
    return found


def test_the_command_line_wins(folder: Path) -> None:
    path = written(folder / "mari-onnx.toml", 'user-inputs = ["user*"]\nbatch = 200\nguard = true\nseed = 1\n')
    found = report(folder)
    assert found["file"] == str(path)
    expected = {
        "user_inputs": ["user*"], "batch": 200, "user_batch": "tiled", "request_index": None, "request_key": [],
        "guard": "nan", "allow_no_candidates": False, "dynamic_batch": False, "assume_masked": False,
        "metadata": True, "fold_tables": 0,
    }  # fmt: skip
    assert found["options"] == expected
    found = report(folder, "--batch", "300", "--guard=off", "-u", "user")
    assert found["options"] == {**expected, "batch": 300, "guard": None, "user_inputs": ["user"]}


def test_another_file_or_none(folder: Path) -> None:
    written(folder / "mari-onnx.toml", "batch = 200\n")
    other = written(folder / "other.toml", "batch = 300\n")
    found = report(folder, "--config", "other.toml", "-u", "user")
    assert (found["file"], found["options"]["batch"]) == (other.name, 300)  # type: ignore[index]
    found = report(folder, "--no-config", "-u", "user")
    assert (found["file"], found["options"]["batch"]) == (None, 500)  # type: ignore[index]


def test_a_setting_that_is_wrong(folder: Path) -> None:
    written(folder / "mari-onnx.toml", "batches = [1]\n")
    for command in (["optimize", "in.onnx", "out.onnx"], ["inspect", "in.onnx"], ["verify", "in.onnx", "in.onnx"]):
        result = run(*command)
        assert result.exit_code == 2
        assert "mari-onnx.toml: there is no setting 'batches'" in result.output
    written(folder / "mari-onnx.toml", "batch = 0\n")
    assert run("inspect", "in.onnx").exit_code == 2
    assert run("inspect", "in.onnx", "--config", "missing.toml").exit_code == 2


def test_split_takes_what_it_can_do(folder: Path) -> None:
    parts = ["--user-model", "user.onnx", "--rank-model", "rank.onnx", "--overwrite"]
    for batch, rows in (("tiled", 1), ("requests", 0)):
        written(folder / "mari-onnx.toml", f'user-inputs = ["user"]\nuser-batch = "{batch}"\nguard = true\n')
        assert run("split", "in.onnx", *parts).exit_code == 0
        shape = onnx.load(folder / "user.onnx").graph.input[0].type.tensor_type.shape
        assert shape.dim[0].dim_value == rows


def test_verify_takes_what_it_has_an_option_for(folder: Path) -> None:
    written(folder / "mari-onnx.toml", 'user-inputs = ["user*"]\nguard = true\nverify-batches = [3]\nseed = 9\n')
    result = run("verify", "in.onnx", "in.onnx", "--report", "report.json")
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))["configuration"]["options"]
    assert (found["user_inputs"], found["batches"], found["seed"]) == (["user*"], [3], 9)
