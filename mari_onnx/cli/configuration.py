"""Settings in a file, for pipelines: `mari-onnx.toml`, or `[tool.mari-onnx]` in pyproject.toml.

    user-inputs = ["user_*"]
    batch = 500
    guard = true

The nearest file counts, looked for in the working directory and then in the folders above it. One file serves all
commands: each takes the keys that it has an option for. An option on the command line wins over the file.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mari_onnx.cli.policies import NO_NOTE
from mari_onnx.errors import UserError
from mari_onnx.serving import names

FILE, SECTION = "mari-onnx.toml", "tool.mari-onnx"


@dataclass(frozen=True)
class Key:
    """A key of the file.

    `option` is the parameter of the commands that the key sets, `kinds` are the Python types that its value may have,
    and `holds` describes the value in words for messages. With `choices`, a string has to be one of them.
    """

    option: str
    kinds: tuple[type, ...]
    holds: str
    choices: tuple[str, ...] = ()


def _quoted(word: str) -> str:
    return f'"{word}"'


def _either(*words: str) -> str:
    """The words as an enumeration: `a, b or c`."""
    return f"{', '.join(words[:-1])} or {words[-1]}"


STRINGS, NUMBERS, NUMBER = "a list of strings", "a list of whole numbers", "a number"

KEYS = {
    "user-inputs": Key("user_inputs", (list,), STRINGS),
    "item-inputs": Key("item_inputs", (list,), STRINGS),
    "batch": Key("batch", (int, list), "a whole number, or a list of them"),
    "user-batch": Key("user_batch", (str,), _either(*map(_quoted, names.USER_BATCHES)), names.USER_BATCHES),
    "request-index": Key("request_index", (str,), "a string"),
    "request-key": Key("request_key", (list,), STRINGS),
    "guard": Key("guard", (bool, str), _either("true", "false", *map(_quoted, names.GUARDS)), names.GUARDS),
    "allow-no-candidates": Key("allow_no_candidates", (bool,), "true or false"),
    "dynamic-batch": Key("dynamic_batch", (bool,), "true or false"),
    "assume-masked": Key("assume_masked", (bool,), "true or false"),
    "fold-tables": Key("fold_tables", (int, str), 'a number of bytes, such as "200MB"'),
    "verify-batches": Key("batches", (list,), NUMBERS),
    "bench-batches": Key("bench_batches", (list,), NUMBERS),
    "bench-threads": Key("threads", (list,), NUMBERS),
    "bench-concurrency": Key("concurrency", (list,), NUMBERS),
    "min-gain": Key("min_gain", (float, int), NUMBER),
    "require-gain": Key("require_gain", (bool,), "true or false"),
    "max-size-growth": Key("max_size_growth", (float, int), NUMBER),
    "require-verified": Key("require_verified", (bool,), "true or false"),
    "allow-notes": Key("allow_notes", (list,), STRINGS),
    "min-speedup": Key("min_speedup", (float, int), NUMBER),
    "max-slowdown": Key("max_slowdown", (float, int), NUMBER),
    "seed": Key("seed", (int,), "a whole number"),
    "rtol": Key("rtol", (float, int), NUMBER),
    "atol": Key("atol", (float, int), NUMBER),
    "timeout": Key("timeout", (float, int), NUMBER),
    "max-memory": Key("max_memory", (float, int), NUMBER),
}


def find(folder: Path) -> Path | None:
    """The file whose settings apply in a folder: in it or in the nearest folder above it; None where there is none."""
    for each in (folder, *folder.parents):
        if (each / FILE).is_file():
            return each / FILE
        project = each / "pyproject.toml"
        if project.is_file() and _section(project) is not None:
            return project
    return None


def read(path: Path) -> dict[str, Any]:
    """The settings of a file, by the parameter of the commands that each sets, such as `user_inputs`.

    Raises UserError for a file that does not exist or is not TOML, for an unknown key, and for a value of another type
    than the key's.
    """
    found = _section(path)
    if found is None:
        raise UserError(f"{path} has no section [{SECTION}]", f"Add the section, or give a file such as {FILE}.")
    out = {}
    for name, content in found.items():
        key = KEYS.get(name)
        if key is None:
            near = difflib.get_close_matches(name, KEYS, 1, 0.0)[0]
            raise UserError(
                f"{path}: there is no setting {name!r}", f"Did you mean {near!r}? The settings are {', '.join(KEYS)}."
            )
        if not _is(content, key):
            raise UserError(f"{path}: {name} is {content!r}, but has to be {key.holds}", "Correct the value.")
        out[key.option] = content
    if isinstance(guard := out.get("guard"), bool):
        out["guard"] = names.NAN if guard else names.UNGUARDED
    if out.get("allow_notes") == []:
        out["allow_notes"] = [NO_NOTE]
    return out


def _is(content: object, key: Key) -> bool:
    if isinstance(content, bool) and bool not in key.kinds:
        return False
    if isinstance(content, list):
        inner = str if key.holds == STRINGS else int
        return list in key.kinds and all(type(each) is inner for each in content)
    if isinstance(content, str) and key.choices and content not in key.choices:
        return False
    return isinstance(content, key.kinds)


def _section(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"the configuration {path} does not exist", "Give the path of a .toml file, or leave --config out."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}", "Correct the file at that place.") from error
    if path.name != "pyproject.toml":
        return content
    for name in SECTION.split("."):
        inner = content.get(name)
        if not isinstance(inner, dict):
            return None
        content = inner
    return content
