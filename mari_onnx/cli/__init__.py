"""The command line: one file for each command, without any logic of its own.

Every run ends with one of the exit codes in `EPILOG`, on which scripts may rely. Modules that take long to import, such
as onnx and onnxruntime, are imported inside the command that needs them, so that `--help` and `--version` answer at
once.
"""

from __future__ import annotations

import os
import platform
import sys
import traceback

import click

from mari_onnx.cli.inspect import inspect
from mari_onnx.cli.optimize import optimize
from mari_onnx.cli.split import split
from mari_onnx.cli.verify import verify
from mari_onnx.errors import UserError
from mari_onnx.version import __version__

EPILOG = """\b
Exit codes:
  0    done; also when nothing can be gained, and the model is written as it was
  1    the predictions differ, or were not shown to be the same; no model is written
  2    the command or a model cannot be used as given; the message says what to do
  3    a bug in mari-onnx; MARI_ONNX_DEBUG=1 shows where, and checks each step
  130  interrupted; nothing is written
"""

CANNOT_BE_USED, BUG, INTERRUPTED, NOBODY_READS = 2, 3, 130, 141
"""The exit codes that are set here; 141 is the usual one where the reader of a pipe, such as `head`, has gone."""


class Commands(click.Group):
    """The group of all commands: lists them in the order in which they were added, and sets the exit codes."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except UserError as error:
            _say("Error", error.message, error.next_step)
            ctx.exit(CANNOT_BE_USED)
        except KeyboardInterrupt:
            _say("Interrupted", "nothing was written", None)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Python flushes stdout once more when it ends, which would fail again on the closed pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(NOBODY_READS)
        except Exception as error:
            if isinstance(error, OSError) and error.filename is not None:
                _say("Error", f"{error.filename}: {error.strerror}", "Check that the path is right and readable.")
                ctx.exit(CANNOT_BE_USED)
            if os.environ.get("MARI_ONNX_DEBUG"):
                click.echo("".join(traceback.format_exception(error)), err=True)
            versions = f"mari-onnx {__version__}, Python {platform.python_version()}, {platform.system()}"
            _say(
                "This is a bug in mari-onnx",
                f"{type(error).__name__}: {error}",
                f"Please report it, with the command, the model if you can share it, the versions ({versions})\n"
                "and what the same command prints with MARI_ONNX_DEBUG=1. No file was changed.",
            )
            ctx.exit(BUG)


def _say(kind: str, message: str, next_step: str | None) -> None:
    click.echo(f"{kind}: {message}", err=True)
    for line in (next_step or "").splitlines():
        click.echo(f"  {line}", err=True)


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
      mari-onnx inspect  model.onnx -u 'user_*'
      mari-onnx optimize model.onnx fast.onnx -u 'user_*'
      mari-onnx verify   model.onnx fast.onnx -u 'user_*'
      mari-onnx split    model.onnx --user-model user.onnx --rank-model rank.onnx -u 'user_*'
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not stop the command


for command in (optimize, split, verify, inspect):
    main.add_command(command)
