"""The public surface: every name on which somebody may rely, one a line, as `option optimize --batch`."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import click

import mari_onnx
from mari_onnx.cli import EPILOG, main
from mari_onnx.document import passport, provenance
from mari_onnx.document.metadata import PREFIX
from mari_onnx.report import VIEWS
from mari_onnx.report.note import CODES


def surface() -> list[str]:
    """All public names, sorted: kind, then what it belongs to, then the name."""
    return sorted({*_python(), *_commands(), *_reports(), *_metadata()})


def _python() -> Iterator[str]:
    for name in mari_onnx.__all__:
        found = getattr(mari_onnx, name)
        yield f"python {name}"
        if inspect.isfunction(found):
            yield from (f"argument {name} {each}" for each in _arguments(found))


def _arguments(function: Any) -> Iterator[str]:
    """The parameters of a function, and the keywords that its last one stands for."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            yield parameter.name
            continue
        unpacked = eval(parameter.annotation, function.__globals__)  # Unpack[SomeTypedDict]
        yield from unpacked.__args__[0].__annotations__


def _commands() -> Iterator[str]:
    for name, command in main.commands.items():
        yield f"command {name}"
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield from (f"option {name} {each}" for each in parameter.opts)
    yield from (f"exit-code {number}" for number in re.findall(r"(?:^  |, )(\d+) ", EPILOG, re.MULTILINE))


def _reports() -> Iterator[str]:
    schema = json.loads(files("mari_onnx.report").joinpath("schema.json").read_text(encoding="utf-8"))
    for kind, described in {"Report": schema, **schema["$defs"]}.items():
        yield from (f"field {kind} {name}" for name in described.get("properties", ()))
    yield from (f"format {view}" for view in VIEWS)
    yield from (f"note {code}" for code in CODES)


def _metadata() -> Iterator[str]:
    for module in (passport, provenance):
        named = (each for name, each in vars(module).items() if name.isupper() and isinstance(each, str))
        yield from (f"metadata {each}" for each in named if each.startswith(PREFIX) and each != PREFIX)


def listed() -> str:
    """The names by kind, as the document has them; the fields of reports are those of the schema."""
    found: dict[str, list[str]] = {}
    for line in surface():
        kind, *names = line.split(" ")
        if kind != "field":
            found.setdefault(" ".join([kind, *names[:-1]]), []).append(names[-1])
    wrapped = (
        textwrap.fill(f"{about:<22} {', '.join(names)}", 120, subsequent_indent=" " * 23, break_on_hyphens=False)
        for about, names in found.items()
    )
    return "\n".join(wrapped)


if __name__ == "__main__":
    print("\n".join(surface()))
