"""All commands alike: help, start-up, and one exit code for each way to end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, get_args

import pytest
from click.testing import CliRunner

from mari_onnx.cli import main
from mari_onnx.report import SUFFIXES
from mari_onnx.report.model import Command
from mari_onnx.version import __version__
from tests.cli.conftest import Engine, Run
from tests.report import reports

COMMANDS = ["optimize", "split", "verify", "inspect", "bench", "inputs", "replay", "precompute"]


def process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mari_onnx", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, env={**os.environ, **environment}, timeout=60
    )


def arguments(command: str, path: Path, out: Path) -> list[object]:
    given: dict[str, list[object]] = {
        "optimize": [path, out],
        "split": [path, "--user-model", out, "--rank-model", out.with_name("rank.onnx")],
        "verify": [path, path],
        "inspect": [path],
        "bench": [path, path],
        "inputs": [path],
        "precompute": [path, "--table", "items", "--out", out],
        "replay": [path, path, "--requests", "logs", "--request-id", "id"],
    }
    return given[command]


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def then() -> NoReturn:
        raise error

    return then


def test_version_is_there_at_once() -> None:
    shortest = min(timed() for _ in range(3))
    assert shortest < 1  # 0.1 s on an idle machine: nothing large is imported


def timed() -> float:
    start = time.perf_counter()
    result = process("--version")
    assert (result.returncode, result.stdout) == (0, f"mari-onnx {__version__}\n")
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        *(("mari_onnx.cli", heavy) for heavy in ("onnx", "onnxruntime", "numpy", "rich")),
        *(("mari_onnx.pipeline", heavy) for heavy in ("onnxruntime", "onnx.reference")),
    ],
)
def test_what_takes_long_is_imported_when_it_is_needed(module: str, heavy: str) -> None:
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_every_command_has_a_report() -> None:
    """But the one that compares reports."""
    assert set(main.commands) - {"diff"} == set(COMMANDS) == set(get_args(Command))


def test_help(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.split("Commands:")[1].splitlines()[1:9]] == COMMANDS
    for code in (0, 1, 2, 3, 130, 143, 129):
        assert re.search(rf"\n    {code} |, {code} ", result.stdout)


def test_help_names_the_endings_of_every_form(run: Run) -> None:
    words = " ".join(run("verify", "-h").stdout.split())
    assert "json (.json, or no ending), markdown (.md, .markdown), html (.html), junit (.xml), text (.txt)" in words
    assert all(ending in words for ending in SUFFIXES)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(run: Run, command: str) -> None:
    result = run(command, "-h")
    assert result.exit_code == 0
    assert re.search(f"mari-onnx {command} (model|item)[.]onnx", result.stdout)
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    "wrong",
    [
        ["deploy"],
        ["optimize"],
        ["optimize", "only_one.onnx"],
        ["inspect", "m.onnx", "--batch", "0"],
        ["inspect", "m.onnx", "--batch", "many"],
        ["inspect", "m.onnx", "--format", "xml"],
        ["verify", "a.onnx", "b.onnx", "--rtol", "-1"],
        ["verify", "a.onnx", "b.onnx", "--batch", "-1"],
        ["bench", "a.onnx", "--batch", "0"],
        ["bench", "a.onnx", "--batch", "1,,2"],
        ["bench", "a.onnx", "--threads", "1,0"],
        ["bench", "a.onnx", "--seconds", "0"],
        ["bench", "a.onnx", "--min-speedup", "0"],
        ["bench", "a.onnx", "--extent", "length"],
        ["bench", "a.onnx", "--extent", "=3"],
        ["bench", "a.onnx", "--input-range", "a=1"],
    ],
)
def test_usage(run: Run, wrong: list[str]) -> None:
    result = run(*wrong)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"this is text\n", "is a text file and not an ONNX model"),
        ("truncated", "is cut short, or is not an ONNX model"),
        ("invalid", "is not a valid ONNX model"),
    ],
)
def test_models_that_cannot_be_used(
    engine: Engine, run: Run, model: Path, out: Path, command: str, content: bytes | str | None, message: str
) -> None:
    data = model.read_bytes()
    path = model.with_name("bad.onnx")
    if content is not None:
        made = {"truncated": data[:-20], "invalid": data.replace(b"\x0a\x01z", b"\x0a\x01q")}
        path.write_bytes(made[content] if isinstance(content, str) else content)
    result = run(command, *arguments(command, path, out))
    assert (result.exit_code, result.stdout, engine.calls) == (2, "", [])
    assert result.stderr.startswith(f"Error: {path} {message}")
    assert len(result.stderr.splitlines()) >= 2  # and what to do about it
    assert not out.exists()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("path", "message"),
    [("-", "- is not the name of a file"), ("/dev/zero", "/dev/zero is not a regular file"), ("pipe", "pipe is not a")],
)
def test_models_that_are_no_files(
    engine: Engine, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    result = run(command, *arguments(command, Path(path), Path("out.onnx")))
    assert (result.exit_code, result.stdout, engine.calls) == (2, "", [])
    assert result.stderr.startswith(f"Error: {message}")
    assert "Save the model to a file" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fails", [False, True])
def test_reports(engine: Engine, run: Run, model: Path, out: Path, tmp_path: Path, command: str, fails: bool) -> None:
    """All that are asked for are written; a run that fails before it writes one leaves none of another run."""
    written = [tmp_path / "r.json", tmp_path / "r.md", tmp_path / "r"]
    for path in written:
        path.write_text("stale", encoding="utf-8")
    (tmp_path / "link.xml").symlink_to("r.xml")
    (tmp_path / "r.xml").write_text("stale", encoding="utf-8")
    asked = [part for path in [*written, tmp_path / "link.xml"] for part in ("--report", path)]
    if fails or command == "split":
        given = arguments(command, tmp_path / "nowhere.onnx" if fails else model, out)
        if not fails:
            engine.then = raising(ZeroDivisionError())
        assert run(command, *given, *asked).exit_code == (2 if fails else 3)
        assert [path for path in (*written, tmp_path / "r.xml") if path.exists()] == []
        assert (tmp_path / "link.xml").is_symlink()
        return
    of_others = {"verify": reports.SAME, "bench": reports.TIMED, "inputs": reports.SURVEYED}
    engine.report = of_others.get(command, reports.OPTIMIZED)
    assert run(command, *arguments(command, model, out), *asked).exit_code == 0
    assert [path.read_text(encoding="utf-8")[:2] for path in written] == ["{\n", "##", "{\n"]
    assert (tmp_path / "link.xml").is_symlink()
    assert (tmp_path / "r.xml").read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r.yaml", "the ending of r.yaml is that of no form of report"),
        ("precious.onnx", "the ending of precious.onnx is that of no form of report"),
        ("in.onnx", "in.onnx is both a model and the report"),
        ("-", "- is not the name of a file"),
    ],
)
def test_files_that_are_no_reports(
    engine: Engine,
    run: Run,
    model: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
    message: str,
) -> None:
    monkeypatch.chdir(model.parent)
    before = model.read_bytes()
    Path("r.json").write_text("of an earlier run", encoding="utf-8")
    Path("precious.onnx").write_bytes(b"precious")
    result = run(command, *arguments(command, Path(model.name), Path(out.name)), "--report", "r.json", "--report", name)
    assert (result.exit_code, engine.calls) == (2, [])
    assert result.stderr.startswith(f"Error: {message}")
    assert model.read_bytes() == before
    assert Path("precious.onnx").read_bytes() == b"precious"
    assert Path("r.json").read_text(encoding="utf-8") == "of an earlier run"  # the command is not one that can run


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"user_x", b"user_\xff", "has text that is not UTF-8"),
        (b"y\x12\x0f\n\r\x08\x01", b"y\x12\x0f\n\r\x08\x4d", "element type 77"),
    ],
)
def test_damaged_words_are_no_bug(run: Run, model: Path, old: bytes, new: bytes, message: str) -> None:
    data = model.read_bytes()
    assert old in data
    model.write_bytes(data.replace(old, new))
    result = run("inspect", model)
    assert result.exit_code == 2
    assert message in result.stderr
    assert str(model) in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bug(engine: Engine, run: Run, model: Path, out: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.then = raising(ZeroDivisionError("division by zero"))
    monkeypatch.delenv("MARI_ONNX_DEBUG", raising=False)
    result = run(command, *arguments(command, model, out))
    assert result.exit_code == 3
    assert "This is a bug in mari-onnx: ZeroDivisionError: division by zero" in result.stderr
    assert "MARI_ONNX_DEBUG=1" in result.stderr
    assert __version__ in result.stderr
    assert not out.exists()
    monkeypatch.setenv("MARI_ONNX_DEBUG", "1")
    with_traceback = CliRunner().invoke(main, [command, *map(str, arguments(command, model, out))])
    assert with_traceback.exit_code == 3
    assert "Traceback (most recent call last)" in with_traceback.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_interrupted(engine: Engine, run: Run, model: Path, out: Path, command: str) -> None:
    engine.then = raising(KeyboardInterrupt())
    result = run(command, *arguments(command, model, out))
    assert (result.exit_code, result.stderr) == (130, "Interrupted: nothing was written\n")
    assert not out.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("command", COMMANDS)
def test_ended(engine: Engine, run: Run, model: Path, out: Path, command: str, number: int, code: int) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # nohup, for one, lets it be ignored
    engine.then = lambda: signal.raise_signal(number)
    try:
        result = run(command, *arguments(command, model, out))
    finally:
        found = signal.signal(number, before)
    name = signal.Signals(number).name
    assert (result.exit_code, result.stderr) == (code, f"Ended by {name}: nothing was written\n")
    assert not out.exists()
    assert found == signal.SIG_DFL


def test_what_the_system_refuses(engine: Engine, run: Run, model: Path) -> None:
    engine.then = raising(PermissionError(13, "Permission denied", "/some/file"))
    result = run("inspect", model)
    assert result.exit_code == 2
    assert "Error: /some/file: Permission denied" in result.stderr


def test_memory_that_is_not_there(engine: Engine, run: Run, model: Path) -> None:
    engine.then = raising(MemoryError("Unable to allocate 8.00 TiB"))
    result = run("inspect", model)
    assert result.exit_code == 2
    assert "Error: there is not enough memory: Unable to allocate 8.00 TiB" in result.stderr


def test_a_process_ends_alike(model: Path) -> None:
    result = process("optimize", model, model)
    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: {model} is the model that is read")
    assert "Traceback" not in result.stderr


def test_ctrl_c() -> None:
    code = """
import os, signal, mari_onnx
from mari_onnx.cli import main
mari_onnx.inspect = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
main(["inspect", "model.onnx"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (130, b"Interrupted: nothing was written\n")


def test_ctrl_c_before_a_command_runs() -> None:
    code = """
import signal, click, mari_onnx.cli
from mari_onnx.cli import main
main.params[0].callback = lambda *_: signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
main(["inspect", "model.onnx"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (130, b"Interrupted: nothing was written\n")


@pytest.mark.parametrize("after", ["Context.exit", "Group.main"])
def test_a_signal_behind_the_command(model: Path, out: Path, after: str) -> None:
    """The model is there already, and the message says so."""
    code = f"""
import signal, sys, click
from mari_onnx.cli import main
real = click.{after}
def behind(*given, **named):
    try:
        return real(*given, **named)
    finally:
        signal.raise_signal(signal.SIGTERM)
click.{after} = behind
signal.signal(signal.SIGTERM, signal.SIG_DFL)
main(sys.argv[1:])
"""
    given = ["optimize", *arguments("optimize", model, out), "--no-verify", "-q"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, given)], capture_output=True, check=False, timeout=60
    )
    assert result.returncode == 143
    assert result.stderr.decode().splitlines()[-1] == f"Ended by SIGTERM: {out} was written, whole"
    assert result.stderr.count(b"Ended by") == 1


@pytest.mark.parametrize("given", [["--help"], ["--version"], ["verify", "--help"]])
def test_help_that_nobody_can_read(given: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "mari_onnx", *given]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert result.returncode == 2
    assert result.stderr == b"Error: the standard output cannot be written: No space left on device\n"


def test_nobody_can_read_anything() -> None:
    for where in ("2>/dev/full", "2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full"):
        command = f"{sys.executable} -m mari_onnx inspect nowhere.onnx {where}"
        result = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=60)
        assert (where, result.returncode) == (where, 2)


def test_a_closed_pipe_is_no_bug() -> None:
    command = f"{sys.executable} -m mari_onnx --help | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert result.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_without_its_packages(
    engine: Engine, run: Run, model: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It is said before any work is done, and an older page stays."""
    page = tmp_path / "r.html"
    page.write_text("older", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "bokeh", None)
    result = run(command, *arguments(command, model, out), "--report", page)
    assert (result.exit_code, result.stdout, engine.calls) == (2, "", [])
    assert "a report as html needs bokeh, which is not installed" in result.stderr
    assert "pip install 'mari-onnx[html]'" in result.stderr
    assert page.read_text(encoding="utf-8") == "older"
