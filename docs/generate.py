"""python docs/generate.py: write again what is generated in README.md, and the picture beside this file.

Each block of the README stands between `<!-- generated: NAME -->` and `<!-- end -->`. Timings are measured on request
alone. `--check` writes nothing: it prints the blocks that are out of date, and ends with exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from difflib import unified_diff
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
from picture import before_after, described, optimized_ranker

import mari_onnx
from mari_onnx.cli import EPILOG
from mari_onnx.report.words import count, ratio
from mari_onnx.verification.compare import judge as compare
from mari_onnx.verification.inputs import draw as inputs
from mari_onnx.verification.inputs.cases import DEFAULT_EFFORT, EDGE_BATCH, EFFORTS, MANY

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PICTURE = ROOT / "docs/before-after.svg"
PACKAGE = ROOT / "mari_onnx"
SHOWN = "deepfm_expanded"
SPLIT = "mmoe_vanilla"
BENCHMARKS = ("models", "handmade", "--batch", "500")

BLOCK = re.compile(r"(?<=<!-- generated: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
ROUNDING = re.compile(r"^( [ \w]+ \d+  \w+| +\w+ +\d+% of \d+) .*$", re.MULTILINE)
"""A line of the verification's tables: its numbers are rounding, which differs from one processor to another."""


def picture() -> str:
    """The picture, and what it says in words."""
    return f"![{described(optimized_ranker())}](docs/{PICTURE.name})"


def optimize() -> str:
    """The command in a process of its own, as a user runs it."""
    with TemporaryDirectory() as folder:
        given = ["optimize", f"sample_models/{SHOWN}.onnx", "fast.onnx", "-u", "user_*"]
        command = [sys.executable, "-m", "mari_onnx", *given]
        command[command.index("fast.onnx")] = str(Path(folder) / "fast.onnx")
        run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    shown = " ".join("'user_*'" if word == "user_*" else word for word in given)
    return _code(f"$ mari-onnx {shown}\n{run.stdout.replace(str(Path(folder) / 'fast.onnx'), 'fast.onnx')}", "text")


def split() -> str:
    """What becomes of a model in two parts, from where the parts are to where the costs begin."""
    with TemporaryDirectory() as folder:
        given = ["split", f"sample_models/{SPLIT}.onnx", "--user-model", "user.onnx", "--rank-model", "rank.onnx"]
        given += ["-u", "user_*"]
        command = [sys.executable, "-m", "mari_onnx", *given]
        for name in ("user.onnx", "rank.onnx"):
            command[command.index(name)] = str(Path(folder) / name)
        run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    shown = " ".join("'user_*'" if word == "user_*" else word for word in given)
    said = run.stdout.replace(f"{folder}/", "")
    parts = said[said.index("\nParts") : said.index("\nCalls")]
    return _code(f"$ mari-onnx {shown}\n...{parts}...\n{said.splitlines()[-1]}", "text")


def samples() -> str:
    """What becomes of each sample model."""
    rows = [
        "| sample | user inputs | multiply-adds | after | | nodes that compute | after | estimated time | after | |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name in json.loads((ROOT / "sample_models/samples.json").read_text(encoding="utf-8")):
        report = _inspected(name)
        before, after = report.cost_before, report.cost_after
        assert before is not None and after is not None
        kinds = {"one": "one row", "tiled": "tiled", "requests": "by index", "shared": "shared"}
        kind = ", ".join(sorted({kinds[given.rows] for given in report.request_inputs}))
        rows.append(
            f"| `{name}` | {kind} | {count(before.macs)} | {count(after.macs)} | {ratio(before.macs, after.macs)} "
            f"| {before.nodes} | {after.nodes} | {before.time_us:,.0f} µs | {after.time_us:,.0f} µs "
            f"| {ratio(before.time_us, after.time_us)} |"
        )
    return "\n".join(rows)


@cache
def _inspected(name: str) -> mari_onnx.Report:
    return mari_onnx.inspect(ROOT / f"sample_models/{name}.onnx", user_inputs=["user_*"])


def report() -> str:
    """The fields of a report that a pipeline wants most."""
    found = asdict(_inspected(SHOWN))
    kept = {key: found[key] for key in ("schema_version", "command", "changed", "cost_before", "cost_after")}
    kept["remarks"] = [next(remark for remark in found["remarks"] if remark["status"] == "applied")]
    return _code(json.dumps(kept, indent=2, ensure_ascii=False), "json")


def verification() -> str:
    """What is compared, and how closely."""
    usual = EFFORTS[DEFAULT_EFFORT]
    batches = ", ".join(map(str, usual.batches))
    return "\n".join(
        [
            f"- **Inputs**: {batches} candidates; all different; {inputs.REQUESTS} requests where an index tells them "
            f"apart; ids drawn from the whole of the tables that they index, the largest always among them; histories "
            f"padded with 0; other dynamic axes of extent {inputs.LENGTH}. Then {EDGE_BATCH} candidates with the "
            f"largest ids alone, with empty histories, and with zeros everywhere; and {MANY} of which each has another "
            f"feature that is {inputs.LARGE:,.0f}, NaN or infinite. Where a stored table is not the original's, the "
            f"rows that changed are looked up.",
            f"- **Is it the same function?** Both models in float64: at most {compare.SAME_FUNCTION:g} of the output's "
            f"scale apart. Constants that are not the original's, such as a stored `W1 + W3`, may be "
            f"{compare.COMBINED_CONSTANTS:g} roundings of their type off ({compare.COMBINED_CONSTANTS * 2**-24:.1g} in "
            f"float32), and what that does to the output is measured; where an operator exists nowhere in float64, "
            f"{compare.WITHIN_FLOAT32:g}, and the report names it.",
            f"- **Is it as accurate?** In the model's own precision: at most {compare.ACCURACY_FACTOR:g} times as far "
            f"from the float64 result as the original is ({compare.UNUSUAL_FACTOR:g} times with large features), and "
            f"{compare.ACCURACY_FLOOR} units in the last place more. "
            f"Where float64 cannot be had: {compare.UNGUARDED_FLOOR} units from the original.",
            "- **Integers and booleans** must be equal; NaN and infinities must be at the same places.",
        ]
    )


def exit_codes() -> str:
    """As `mari-onnx --help` ends."""
    return _code(inspect.cleandoc(EPILOG.replace("\b\n", "")), "text")


def identities() -> str:
    """What each file of rules opens with."""
    lines = []
    for path in sorted((PACKAGE / "analysis/rules").glob("[!_]*.py")):
        doc = _docstring(path)
        first = " ".join(doc.split("\n\n")[0].split())
        lines += ["", f"{path.name}: {first}", *(line for line in doc.splitlines() if line.startswith("    "))]
    return _code("\n".join(lines[1:]), "text")


def modules() -> str:
    """Each module, with the first sentence about it."""
    lines = []
    for path in _modules(PACKAGE):
        relative = path.relative_to(PACKAGE)
        inside = len(relative.parts) - 1
        if path.name == "__init__.py":
            name = f"{'  ' * (inside - 1)}{relative.parent}/" if inside else "__init__.py"
        else:
            name = f"{'  ' * inside}{path.name}"
        about = " ".join(_docstring(path).split("\n\n")[0].split())
        lines.append(f"{name:<20}{re.split(r'(?<=[.?])(?: |$)', about)[0]}")
    return _code("\n".join(lines), "text")


def _modules(folder: Path) -> Iterator[Path]:
    yield folder / "__init__.py"
    yield from sorted(p for p in folder.glob("*.py") if p.name not in ("__init__.py", "__main__.py", "version.py"))
    for package in sorted(p.parent for p in folder.glob("*/__init__.py")):
        yield from _modules(package)


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def timings() -> str:
    """What the benchmarks print."""
    command = [sys.executable, "-m", "benchmarks", *BENCHMARKS]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    shown = f"$ python -m benchmarks {' '.join(BENCHMARKS)}      # onnxruntime {onnxruntime.__version__}, one thread"
    return _code(f"{shown}\n{run.stdout}", "text")


def serving() -> str:
    """What each way of serving costs."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "serving"], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=False
    )
    shown = f"$ python -m benchmarks serving      # onnxruntime {onnxruntime.__version__}, one thread"
    return _code(f"{shown}\n{run.stdout}", "text")


def _code(text: str, language: str) -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"


BLOCKS: dict[str, Callable[[], str]] = {
    "picture": picture,
    "optimize": optimize,
    "split": split,
    "samples": samples,
    "report": report,
    "verification": verification,
    "exit-codes": exit_codes,
    "identities": identities,
    "modules": modules,
}


TIMED: dict[str, Callable[[], str]] = {"timings": timings, "serving": serving}


def main() -> int:
    """Write, or check, every block and the picture."""
    parser = argparse.ArgumentParser(prog="python docs/generate.py", description=(__doc__ or "").partition(":")[2])
    parser.add_argument("--check", action="store_true", help="write nothing, and tell what is out of date")
    parser.add_argument("--timings", action="store_true", help="run the benchmarks too, which takes minutes")
    given = parser.parse_args()
    made = {**BLOCKS, **(TIMED if given.timings else {})}
    text = README.read_text(encoding="utf-8")
    found = [name for name, _ in BLOCK.findall(text)]
    if sorted(found) != sorted({*BLOCKS, *TIMED}):
        sys.exit(f"README.md has the blocks {', '.join(found)}")

    def written(block: re.Match[str]) -> str:
        name, marker = block.groups()
        return f"{name}{marker}{made[name]()}\n" if name in made else block[0]

    new = {README: BLOCK.sub(written, text), PICTURE: before_after()}
    if not given.check:
        for path, content in new.items():
            path.write_text(content, encoding="utf-8")
        return 0
    stale = False
    for path, content in new.items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        a, b = (ROUNDING.sub(r"\1", each).splitlines(keepends=True) for each in (old, content))
        difference = "".join(unified_diff(a, b, f"{path.name} as it is", f"{path.name} as it should be"))
        sys.stdout.write(difference)
        stale |= bool(difference)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
