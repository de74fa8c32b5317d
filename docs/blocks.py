"""What is generated in the documents: each block by its name, as the function that writes it."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from textwrap import dedent

import onnx
import onnxruntime

import mari_onnx
from docs.picture import before_after, described, optimized_ranker, ranker
from docs.public import listed
from docs.stages import alternative, forms_of, interpreted, stages
from mari_onnx.cli import EPILOG
from mari_onnx.ir.axes import show
from mari_onnx.report import SUFFIXES, view_of
from mari_onnx.report.note import MEANINGS
from mari_onnx.report.numbers import count, ratio
from mari_onnx.verification.compare import judge as compare
from mari_onnx.verification.inputs import draw as inputs
from mari_onnx.verification.inputs.cases import DEFAULT_EFFORT, EDGE_BATCH, EFFORTS, MANY

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mari_onnx"
MEASUREMENTS = ROOT / "docs/measurements.md"
SHOWN = "deepfm_expanded"
SPLIT = "mmoe_vanilla"
TIMED_SAMPLE = "wide_deep_vanilla"
BENCHMARKS = ("models", "limits", "handmade", "--batch", "500")


# What commands print


@cache
def _printed(command: str) -> str:
    """What a command prints, run in a process of its own beside the sample models, as a user runs it."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "sample_models").symlink_to(ROOT / "sample_models")
        words = [sys.executable, "-m", "mari_onnx", *shlex.split(command)[1:], "--no-config"]
        run = subprocess.run(words, cwd=folder, capture_output=True, encoding="utf-8", check=True)
    return f"$ {command}\n{run.stdout}"


OPTIMIZE = f"mari-onnx optimize sample_models/{SHOWN}.onnx fast.onnx -u 'user_*'"


def optimize() -> str:
    """The whole report of one command."""
    return _code(_printed(OPTIMIZE), "text")


def example() -> str:
    """The same, as short as it can be: what was rewritten, what that costs, and the verdict."""
    said = _printed(OPTIMIZE)
    head, products = said.index("\n"), said[said.index("\nProducts") : said.index("\nVerification")]
    return _code(f"{said[:head]}\n...{products}...\n{said.splitlines()[-1]}", "text")


def split() -> str:
    """What becomes of a model in two parts, from where the parts are to where the costs begin."""
    files = "--user-model user.onnx --rank-model rank.onnx"
    said = _printed(f"mari-onnx split sample_models/{SPLIT}.onnx {files} -u 'user_*'")
    head, parts = said.index("\n"), said[said.index("\nParts") : said.index("\nCalls")]
    return _code(f"{said[:head]}\n...{parts}...\n{said.splitlines()[-1]}", "text")


def report() -> str:
    """The fields of a report that a pipeline wants most."""
    found = asdict(_inspected(SHOWN))
    kept = {key: found[key] for key in ("schema_version", "command", "changed", "cost_before", "cost_after")}
    kept["remarks"] = [next(remark for remark in found["remarks"] if remark["status"] == "applied")]
    return _code(json.dumps(kept, indent=2, ensure_ascii=False), "json")


def endings() -> str:
    """The view for each ending of a report file."""
    rows = ["| ending | form, as `--format` calls it |", "| --- | --- |"]
    rows += [f"| `{ending}` | `{view}` |" for ending, view in SUFFIXES.items()]
    return "\n".join([*rows, f"| none | `{view_of(PurePath('report'))}` |"])


def public() -> str:
    """The names on which somebody may rely."""
    return _code(listed(), "text")


def notes() -> str:
    """What each code of a note says."""
    rows = ["| code | what the note says |", "| --- | --- |"]
    return "\n".join([*rows, *(f"| `{code}` | {meaning} |" for code, meaning in MEANINGS.items())])


def exit_codes() -> str:
    """As `mari-onnx --help` ends."""
    return _code(inspect.cleandoc(EPILOG.replace("\b\n", "")), "text")


def commands() -> str:
    """Each command of the Makefile, as `make` lists them."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([\w-]+):.*## (.*)$", makefile, re.MULTILINE)
    width = max(len(name) for name, _ in targets)
    lines = [f"make {name:<{width}} {about}" for name, about in targets]
    return _code("\n".join(lines), "text")


# What is gained


def samples() -> str:
    """What becomes of each sample model."""
    rows = [
        "| sample | user inputs | multiply-adds | | nodes that compute | estimated time | |",
        "| --- | --- | ---: | --- | ---: | ---: | --- |",
    ]
    for name in json.loads((ROOT / "sample_models/samples.json").read_text(encoding="utf-8")):
        report = _inspected(name)
        before, after = report.cost_before, report.cost_after
        assert before is not None and after is not None
        kinds = {"one": "one row", "tiled": "tiled", "requests": "by index", "shared": "shared"}
        kind = ", ".join(sorted({kinds[given.rows] for given in report.request_inputs}))
        rows.append(
            f"| `{name}` | {kind} | {count(before.macs)} → {count(after.macs)} | {ratio(before.macs, after.macs)} "
            f"| {before.nodes} → {after.nodes} | {before.time_us:,.0f} → {after.time_us:,.0f} µs "
            f"| {ratio(before.time_us, after.time_us)} |"
        )
    return "\n".join(rows)


@cache
def _inspected(name: str) -> mari_onnx.Report:
    return mari_onnx.inspect(ROOT / f"sample_models/{name}.onnx", user_inputs=["user_*"])


def timings() -> str:
    """What the benchmarks print."""
    return _benchmark(*BENCHMARKS)


def bench() -> str:
    """What `mari-onnx bench` prints."""
    return _code(_printed(f"mari-onnx bench sample_models/{TIMED_SAMPLE}.onnx -u 'user_*'"), "text")


def sequences() -> str:
    """What the benchmark of sequences prints."""
    return _benchmark("sequences")


def serving_times() -> str:
    """What each way of serving costs."""
    return _benchmark("serving")


def _benchmark(*given: str) -> str:
    command = [sys.executable, "-m", "benchmarks", *given]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    shown = f"$ python -m benchmarks {' '.join(given)}      # onnxruntime {onnxruntime.__version__}, one thread"
    return _code(f"{shown}\n{run.stdout}", "text")


def gains() -> str:
    """The times of the sample models, as they stand in the measurements."""
    measured = MEASUREMENTS.read_text(encoding="utf-8")
    times = re.findall(r"^(\w+) +500 +(\d+) +(\d+)  ([\d.]+)  [\d.]+-[\d.]+  \d+ -> \d+$", measured, re.MULTILINE)
    shares = dict(re.findall(r"^(\w+) +500 +\d+ +(\d+%)  [\d.]+ ns$", measured, re.MULTILINE))
    mean = re.search(r"geometric mean at 500 candidates: ([\d.]+)", measured)
    assert times and mean
    rows = [
        "| sample model | multiply-adds | time before | after | | products, at the best speed |",
        "| --- | --- | ---: | ---: | --- | ---: |",
    ]
    for name, before, after, _ in times:
        costs = _inspected(name)
        assert costs.cost_before is not None and costs.cost_after is not None
        arithmetic = ratio(costs.cost_before.macs, costs.cost_after.macs)
        rows.append(
            f"| `{name}` | {arithmetic} | {int(before):,} µs | {int(after):,} µs | {ratio(int(before), int(after))} "
            f"| {shares.get(name, '')} |"
        )
    rows += [
        "",
        f"The geometric mean of the times is {float(mean[1]):.0%} of what it was. The last column is the share of the "
        "time after that the products would take at the speed of one large product.",
    ]
    return "\n".join(rows)


# What holds


def verification() -> str:
    """What is compared, and how closely."""
    usual = EFFORTS[DEFAULT_EFFORT]
    batches = ", ".join(map(str, usual.batches))
    further = ", ".join(map(str, usual.further))
    return "\n".join(
        [
            f"- **Inputs.** The numbers of candidates are {batches}, that of `--batch` where a model is made, and then "
            f"{further}, around which kernels change. All candidates differ. There are "
            f"{inputs.REQUESTS} requests where an index tells them apart. Ids are drawn from the whole of the tables "
            f"that they index, "
            f"the largest always among them. Histories are padded with 0. Other dynamic axes have extent "
            f"{inputs.LENGTH}.",
            f"- **Edge cases.** {EDGE_BATCH} candidates have the largest ids alone, empty histories, and zeros "
            f"everywhere. {MANY} candidates have, each in another feature, {inputs.LARGE:,.0f}, NaN or an infinity. "
            f"Where a stored table is not the original's, the rows that changed are looked up.",
            f"- **Sums that cancel.** {MANY} candidates have all features near {inputs.FAR:,.0f}, which differ little "
            f"beside that. {MANY} more have each feature near the number that the model takes from it, such as the "
            f"mean of a standardization, where there is one. Here only the accuracy is asked for: digits that the "
            f"original keeps may not be lost.",
            f"- **Is it the same function?** Both models run in float64. The outputs may be {compare.SAME_FUNCTION:g} "
            f"of the output's scale apart. Constants that are not the original's, such as a stored `W1 + W3`, may be "
            f"{compare.COMBINED_CONSTANTS:g} roundings of their type off ({compare.COMBINED_CONSTANTS * 2**-24:.1g} in "
            f"float32), and what that does to the output is measured. Where an operator exists nowhere in float64 "
            f"{compare.WITHIN_FLOAT32:g} is allowed, and the report names the operator.",
            f"- **Is it as accurate?** Both models run in their own precision. The optimized one may be "
            f"{compare.ACCURACY_FACTOR:g} times as far from the float64 result as the original is "
            f"({compare.UNUSUAL_FACTOR:g} times with features that are large or far from 0), and "
            f"{compare.ACCURACY_FLOOR} units in the last place more. Where float64 cannot be had, "
            f"{compare.FLOOR_WITHOUT_FLOAT64} units from the original are allowed.",
            "- **Integers and booleans** are equal. NaN and infinities are at the same places.",
        ]
    )


def promise() -> str:
    """What is guaranteed, and how it is shown, in five sentences."""
    return "\n".join(
        [
            f"1. **The same function.** Before a file is written both models run in float64, where they may be "
            f"{compare.SAME_FUNCTION:g} of the output's scale apart.",
            f"2. **As accurate.** In the model's own precision the result may be {compare.ACCURACY_FACTOR:g} times as "
            f"far from the float64 result as the original is, and {compare.ACCURACY_FLOOR} units in the last place "
            "more.",
            "3. **Written whole or not at all.** A model that fails the verification is not written, and the exit code "
            "is 1.",
            "4. **Nothing assumed but the declaration.** Rows that `-u` declares to be repeated are taken to be equal; "
            "`--guard` checks that in the model. So it does with `--assume-masked`, which the verdict names where it "
            "is given.",
            "5. **The verification is tested, too.** `make mutate` damages models and `make alarms` verifies right "
            "ones: damage has to be seen, and there must be no false alarm.",
        ]
    )


def efforts() -> str:
    """How much each effort runs."""
    rows = [
        "| `--effort` | numbers of candidates | draws of each | edge cases | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, effort in EFFORTS.items():
        batches = ", ".join(map(str, effort.batches))
        batches += f", then {', '.join(map(str, effort.further))}" if effort.further else ""
        edges = "yes" if effort.edges else "no"
        rows.append(f"| `{name}` | {batches} | {effort.draws} | {edges} | {effort.seconds:g} |")
    return "\n".join(rows)


def identities() -> str:
    """What each file of rules opens with."""
    return _openings("analysis/rules")


def kernels() -> str:
    """What each file of kernels opens with."""
    return _openings("planning/kernels")


def _openings(folder: str) -> str:
    """Of each file in a folder of the package that has identities: the first sentences of it, and its identities."""
    lines = []
    for path in sorted((PACKAGE / folder).glob("[!_]*.py")):
        indented = "\n".join(line for line in _docstring(path).splitlines() if line.startswith("    "))
        first = " ".join(_docstring(path).split("\n\n")[0].split())
        if indented:
            lines += [f"### {path.stem}", "", first, "", _code(dedent(indented), "text"), ""]
    return "\n".join(lines).rstrip()


# What is said


def refusals() -> str:
    """The reasons for which rules leave a node as it is, by the file that they stand in."""
    lines = []
    for path, found in _said({"Refused"}):
        reasons = sorted({_shown(reason) for reason, _ in found})
        lines += [f"{path.relative_to(PACKAGE)}", *(f"    {reason}" for reason in reasons), ""]
    return _code("\n".join(lines), "text")


def next_steps() -> str:
    """The reasons with which a rule says what would change it."""
    rows = ["| reason | next step |", "| --- | --- |"]
    found = {(_shown(reason), _shown(step)) for _, said in _said({"Refused"}) for reason, step in said if step}
    rows += [f"| {reason} | {step} |" for reason, step in sorted(found)]
    return "\n".join(rows)


def messages() -> str:
    """The errors that end a command with exit code 2, each with its next step."""
    lines = []
    for path, found in _said({"UserError", "ModelError"}):
        lines.append(f"{path.relative_to(PACKAGE)}")
        for message, step in dict.fromkeys(found):
            lines += [f"    {_shown(message)}", *([f"      -> {_shown(step)}"] if step else [])]
        lines.append("")
    return _code("\n".join(lines), "text")


def _said(names: set[str]) -> Iterator[tuple[Path, list[tuple[str, str]]]]:
    """What calls of these names say, as the source has it: the first two arguments, where they are text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            name.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for name in node.targets
            if isinstance(name, ast.Name)
        }
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in names]
        texts = [tuple(_text(arg, constants) for arg in (*call.args, None, None)[:2]) for call in calls]
        if found := [(first, second) for first, second in texts if first.strip("…")]:
            yield path, found


def _text(node: ast.expr | None, constants: dict[str, ast.expr]) -> str:
    """A text of the source, with … for what is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, constants) or "…" for part in parts)
        case ast.BinOp(left=left, right=right):
            return f"{_text(left, constants) or '…'}{_text(right, constants) or '…'}"
        case ast.Name(id=name) if name in constants:
            return _text(constants[name], {})
    return ""


def _shown(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


# The code


def forms() -> str:
    """The forms of each value of the small model, as its interpretation finds them."""
    stored = {tensor.name for tensor in ranker().graph.initializer}
    lines = [
        f"{name:<6} {show(value.known_dims):<12} {forms_of(value)}"
        for name, value in interpreted().program.values.items()
        if name not in stored
    ]
    return _code("\n".join(lines), "text")


def emitted() -> str:
    """The nodes of the small model, before and after."""
    before, after = ranker(), optimized_ranker().model
    lines = ["as exported", *map(_node, before.graph.node), "", "written", *map(_node, after.graph.node)]
    return _code("\n".join(lines), "text")


def _node(node: onnx.NodeProto) -> str:
    constants = {"Constant"}
    inputs = ", ".join(node.input)
    return f"  {', '.join(node.output)} = {node.op_type}{'' if node.op_type in constants else f' ({inputs})'}"


def folders() -> str:
    """Each folder, and each module beside them: what it is, and from which it imports; low ones first."""
    places = {path.parent.name: path for path in PACKAGE.glob("*/__init__.py")}
    places |= {path.stem: path for path in PACKAGE.glob("[!_]*.py") if path.stem != "version"}
    imports = {name: _imports(path, set(places)) - {name} for name, path in sorted(places.items())}
    order: list[str] = []
    while rest := [name for name in imports if name not in order]:
        order += [name for name in rest if imports[name] <= set(order)] or rest
    rows = ["| part | what it is | imports from |", "| --- | --- | --- |"]
    for name in order:
        below = ", ".join(f"`{other}`" for other in order if other in imports[name])
        shown = f"{name}/" if places[name].name == "__init__.py" else places[name].name
        rows.append(f"| `{shown}` | {_first_sentence(places[name])} | {below} |")
    return "\n".join(rows)


def _imports(place: Path, names: set[str]) -> set[str]:
    """The parts that one imports from at run time; imports for types alone do not count."""
    found = set()
    for path in place.parent.rglob("*.py") if place.name == "__init__.py" else [place]:
        for node in _run_time(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mari_onnx."):
                found.add((node.module or "").split(".")[1])
            elif isinstance(node, ast.Import) and any(name.name == "mari_onnx" for name in node.names):
                found.add("api")
    return found & names


def _run_time(tree: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _run_time(child)


def modules() -> str:
    """Each module, with the first sentence about it."""
    lines = []
    for path in _modules(PACKAGE):
        relative = path.relative_to(PACKAGE)
        inside = len(relative.parts) - 1
        if path.name == "__init__.py":
            name = f"{'  ' * (inside - 1)}{relative.parent.name}/" if inside else "__init__.py"
        else:
            name = f"{'  ' * inside}{path.name}"
        lines.append(f"{name:<25} {_first_sentence(path)}")
    return _code("\n".join(lines), "text")


def _modules(folder: Path) -> Iterator[Path]:
    yield folder / "__init__.py"
    yield from sorted(p for p in folder.glob("*.py") if p.name not in ("__init__.py", "__main__.py", "version.py"))
    for package in sorted(p.parent for p in folder.glob("*/__init__.py")):
        yield from _modules(package)


def _first_sentence(path: Path) -> str:
    about = " ".join(_docstring(path).split("\n\n")[0].split())
    return re.split(r"(?<=[.?])(?: |$)", about)[0]


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


# Pictures


def picture() -> str:
    """A model before and after, and what the picture says in words."""
    return f"![{described(optimized_ranker())}](docs/before-after.svg)"


def stages_picture() -> str:
    """The stages that a model goes through."""
    return f"![{alternative()}](stages.svg)"


def _code(text: str, language: str) -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"


BLOCKS: dict[str, Callable[[], str]] = {
    "picture": picture,
    "stages": stages_picture,
    "example": example,
    "optimize": optimize,
    "split": split,
    "report": report,
    "endings": endings,
    "notes": notes,
    "public": public,
    "exit-codes": exit_codes,
    "commands": commands,
    "samples": samples,
    "gains": gains,
    "promise": promise,
    "verification": verification,
    "efforts": efforts,
    "identities": identities,
    "kernels": kernels,
    "refusals": refusals,
    "next-steps": next_steps,
    "messages": messages,
    "forms": forms,
    "emitted": emitted,
    "folders": folders,
    "modules": modules,
}

TIMED: dict[str, Callable[[], str]] = {
    "timings": timings,
    "sequences": sequences,
    "serving": serving_times,
    "bench": bench,
}
"""Blocks that take minutes, and differ from one machine to another: they are written on request alone."""

PICTURES: dict[str, Callable[[], str]] = {"before-after.svg": before_after, "stages.svg": stages}
"""Pictures by their file in docs."""
