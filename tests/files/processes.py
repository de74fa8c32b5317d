"""Commands in processes of their own, forked from one that has imported everything.

Imports take longer than a command.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

import mari_onnx
from mari_onnx.cli import main

BROKEN = 99
"""The exit code of a process in which something fails beside the command."""


def import_everything() -> None:
    """Import what commands import when they need it."""
    for found in pkgutil.walk_packages(mari_onnx.__path__, "mari_onnx."):
        if "openvino" not in found.name and "__main__" not in found.name:
            importlib.import_module(found.name)


def forked(folder: Path, work: Callable[[], int]) -> int:
    """Start a process that does the work and ends with the exit code that it returns; its number.

    What it prints goes to the files `stdout` and `stderr` of the folder. It leads a group of processes, so that what it
    starts can be ended with it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    files = [os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in ("stdout", "stderr")]
    process = os.fork()
    if process:
        for file in files:
            os.close(file)
        return process
    code = BROKEN
    try:
        os.setsid()
        for number, file in enumerate(files, 1):
            os.dup2(file, number)
        code = work()
    except BaseException as error:
        with suppress(Exception):
            click.echo(f"{type(error).__name__}: {error}", err=True)
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def command(arguments: list[str]) -> int:
    """Run a command in this process, and return its exit code."""
    try:
        main(arguments, prog_name="mari-onnx")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
