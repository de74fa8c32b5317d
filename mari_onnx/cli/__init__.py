"""The command line: one file for each command, without any logic of its own.

Every run ends with one of the exit codes in `EPILOG`, on which scripts may rely. Modules that take long to import, such
as onnx and onnxruntime, are imported inside the command that needs them, so that `--help` and `--version` answer at
once.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import platform
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from mari_onnx.cli import output
from mari_onnx.cli.bench import bench
from mari_onnx.cli.diff import diff
from mari_onnx.cli.inputs import inputs
from mari_onnx.cli.inspect import inspect
from mari_onnx.cli.optimize import optimize
from mari_onnx.cli.precompute import precompute
from mari_onnx.cli.replay import replay
from mari_onnx.cli.split import split
from mari_onnx.cli.verify import verify
from mari_onnx.errors import UserError
from mari_onnx.version import __version__

atexit.register(gc.freeze)  # Python looks through all objects for garbage as it ends: 4 % of the time of a large model

EPILOG = """\b
Exit codes:
  0    done; also when nothing can be gained, and the model is written as it was
  1    the predictions differ, or were not shown to be the same, or what was asked for is not met,
       such as --min-speedup; no model is written
  2    the command or a model cannot be used as given; the message says what to do
  3    a bug in mari-onnx; MARI_ONNX_DEBUG=1 shows where, and checks each step
  130  interrupted (Ctrl-C), 143 terminated, 129 hung up; the message says what was written
"""

CANNOT_BE_USED, BUG, NOBODY_READS = 2, 3, 141
"""The exit codes that are set here; 141 is the usual one where the reader of a pipe, such as `head`, has gone."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of a standard output that goes to a file, where click itself prints, as for --help."""

BY_SIGNAL = 128
"""What is added to the number of a signal that ended the process, as shells do."""


class EndedError(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Commands(click.Group):
    """The group of all commands: lists them in the order in which they were added, and sets the exit codes."""

    _context: click.Context | None = None
    """That of the run, which knows what was written."""

    _said = False
    """Whether it was said what ended the run."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command, as click does. What is left for here happens before or after the command itself."""
        self._context, self._said = None, False
        try:
            return self._ended_by_signals(*args, **extra)
        except EndedError as ended:  # while the signals are set, or set back
            sys.exit(self._stopped(ended))

    def _ended_by_signals(self, *args: Any, **extra: Any) -> Any:
        with _signals_raise() as came:
            try:
                return super().main(*args, **extra)
            except SystemExit:
                if came:  # perhaps just before or after the command: click's own exit code is 1 then
                    sys.exit(self._stopped(EndedError(came[0])))
                raise
            except OSError as error:
                if error.errno not in FULL:
                    raise
                output.silence(sys.stdout)
                _say("Error", f"the standard output cannot be written: {error.strerror}", None)
                sys.exit(CANNOT_BE_USED)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            self._context = super().make_context(*args, **extra)
            return self._context
        except KeyboardInterrupt as stopped:
            sys.exit(self._stopped(stopped))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except UserError as error:
            _say("Error", error.message, error.next_step)
            _say_written(ctx)
            ctx.exit(CANNOT_BE_USED)
        except KeyboardInterrupt as stopped:
            ctx.exit(self._stopped(stopped))
        except BrokenPipeError:
            output.silence(sys.stdout)
            ctx.exit(NOBODY_READS)
        except Exception as error:
            if isinstance(error, OSError) and error.filename is None and error.errno in FULL:
                raise
            _fail(ctx, error)

    def _stopped(self, stopped: KeyboardInterrupt) -> int:
        """Say, once in a run, what was written before a signal ended the command; the exit code."""
        number = stopped.number if isinstance(stopped, EndedError) else signal.SIGINT
        if not self._said:
            self._said = True
            written = [] if self._context is None else output.written_files(self._context)
            kind = "Interrupted" if number == signal.SIGINT else f"Ended by {signal.Signals(number).name}"
            _say(kind, f"{_listed(written)} written, whole" if written else "nothing was written", None)
        return BY_SIGNAL + number


def _fail(ctx: click.Context, error: Exception) -> NoReturn:
    """End with what the system refuses, such as a file that cannot be read, or with a bug."""
    if isinstance(error, OSError) and error.filename is not None:
        _say("Error", f"{error.filename}: {error.strerror}", "Check that the path is right and readable.")
        _say_written(ctx)
        ctx.exit(CANNOT_BE_USED)
    if isinstance(error, MemoryError):
        _say(
            "Error",
            f"there is not enough memory: {str(error) or 'an array does not fit'}",
            "Run it where there is more.",
        )
        _say_written(ctx)
        ctx.exit(CANNOT_BE_USED)
    if os.environ.get("MARI_ONNX_DEBUG"):
        click.echo("".join(traceback.format_exception(error)), err=True)
    versions = f"mari-onnx {__version__}, Python {platform.python_version()}, {platform.system()}"
    _say(
        "This is a bug in mari-onnx",
        f"{type(error).__name__}: {error}",
        f"Please report it, with the command, the model if you can share it, the versions ({versions})\n"
        "and what the same command prints with MARI_ONNX_DEBUG=1.",
    )
    _say_written(ctx)
    ctx.exit(BUG)


def _say_written(ctx: click.Context) -> None:
    if files := output.written_files(ctx):
        with contextlib.suppress(OSError):
            click.echo(f"  {_listed(files)} written before that.", err=True)


def _listed(files: Sequence[Path]) -> str:
    return f"{', '.join(map(str, files))} {'was' if len(files) == 1 else 'were'}"


def _say(kind: str, message: str, next_step: str | None) -> None:
    """Print a message; where it cannot be printed, the exit code is all that is left."""
    with contextlib.suppress(OSError):
        click.echo(f"{kind}: {message}", err=True)
        for line in (next_step or "").splitlines():
            click.echo(f"  {line}", err=True)


@contextlib.contextmanager
def _signals_raise() -> Iterator[list[int]]:
    """Let the signals that ask a process to end raise an error, so that files are cleaned up; the signals that came."""
    came: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()
    found = {number: signal.getsignal(number) for number in numbers} if main else {}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number, handler in found.items() if handler in usual}

    def end(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise EndedError(number)

    try:
        for number in before:
            signal.signal(number, end)
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="mari-onnx", message="%(prog)s %(version)s")
def main() -> None:
    """Make exported ranking models cheaper to serve without changing one prediction.

    A ranking model scores many candidates for one user, and an exported model computes the user's part
    again for each candidate. mari-onnx finds what depends on the user alone, and rewrites the model so
    that it is computed once for the request.

    \b
    Examples:
      mari-onnx inputs   model.onnx
      mari-onnx inspect  model.onnx -u 'user_*'
      mari-onnx optimize model.onnx fast.onnx -u 'user_*'
      mari-onnx verify   model.onnx fast.onnx -u 'user_*'
      mari-onnx bench    model.onnx fast.onnx -u 'user_*'
      mari-onnx replay   model.onnx fast.onnx -u 'user_*' --requests 'logs/*.parquet' --request-id id
      mari-onnx precompute item.onnx --table 'items/*.parquet' --out store --key item_id
      mari-onnx diff     yesterday.json today.json
      mari-onnx split    model.onnx --user-model user.onnx --rank-model rank.onnx -u 'user_*'
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not stop the command


for command in (optimize, split, verify, inspect, bench, inputs, replay, precompute, diff):
    main.add_command(command)
