"""Many damaged files, each in a bounded process of its own: `python -m tests.files.fuzz 20000`.

Every command has to end with exit code 0, 1 or 2. Where it is not 0, the message names what is wrong, and nothing was
written. Where a model was written and onnxruntime loads the damaged one, it loads the written one as well. A process
that ends by a signal died within onnx or onnxruntime, and is counted apart. `--seed` runs one case again, here.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from benchmarks.calls import declared
from benchmarks.models import samples
from mari_onnx import worker
from tests.files.damage import damaged_bytes, damaged_graph
from tests.files.processes import command, forked, import_everything
from tests.property.graphs import write_case

SECONDS = 30
"""What a case may take; the slowest that ends takes a third of that on two busy cores."""

MEMORY = 3 << 30
"""The address space that a case may take beyond that of the process from which it is forked."""

ALLOWED = (0, 1, 2)

WRITTEN_IS_REFUSED, NOT_DRAWN = 90, 91
"""Exit codes of a case beside those of the command."""

TYPES = {
    "float": np.float32, "double": np.float64, "float16": np.float16, "int64": np.int64, "int32": np.int32,
    "int8": np.int8, "uint8": np.uint8, "bool": np.bool_,
}  # fmt: skip
"""The types of inputs that a model is run on to see whether it runs."""

MODEL, DATA = "model.onnx", "model.data"


# One case


@dataclass(frozen=True)
class Base:
    """A model before the damage, and the names of the inputs that are declared the user's."""

    model: onnx.ModelProto
    user_inputs: tuple[str, ...]


SAMPLES = [Base(onnx.load(path), tuple(declared(meta, onnx.load(path)))) for _, path, meta in samples()]


def base(random: Random) -> Base:
    """A sample model or a random graph, which has any operator."""
    if random.random() < 0.15:
        return random.choice(SAMPLES)
    case = write_case(random)
    return Base(case.model, tuple(case.declared) or ("user*",))


def write_files(random: Random, folder: Path) -> Base:
    """A damaged model in a folder, with external data in one of four cases; the model as it was is beside it."""
    drawn, other = base(random), random.choice(SAMPLES)
    model = onnx.ModelProto()
    model.CopyFrom(drawn.model)
    if random.random() < 0.25:
        (folder / DATA).write_bytes(moved_out(model))
    data = model.SerializeToString()
    (folder / "whole.onnx").write_bytes(data)
    if random.random() < 0.3:
        data = damaged_bytes(random, data, other.model.SerializeToString())
    else:
        data = damaged_graph(random, model).SerializeToString()
    (folder / MODEL).write_bytes(data)
    if (folder / DATA).exists() and random.random() < 0.3:
        (folder / DATA).write_bytes(damaged_bytes(random, (folder / DATA).read_bytes(), data))
    return drawn


def moved_out(model: onnx.ModelProto) -> bytes:
    """The bytes of the stored tensors of a model, which refers to them as external data from now on."""
    stored = b""
    for tensor in model.graph.initializer:
        if not tensor.raw_data:
            continue
        entries = {"location": DATA, "offset": len(stored), "length": len(tensor.raw_data)}
        stored += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
    return stored


def arguments(random: Random, user_inputs: tuple[str, ...]) -> list[str]:
    """A command for the files of a case."""
    name = random.choices(("optimize", "inspect", "split", "verify"), (75, 8, 9, 8))[0]
    given = [part for each in user_inputs for part in ("-u", each)] if random.random() < 0.9 else []
    match name:
        case "optimize":
            options = random.choice(([], [], [], ["--guard"], ["--guard=output"], ["--user-batch", "one"],
                                     ["--user-batch", "requests"], ["--allow-no-candidates"]))  # fmt: skip
            if random.random() < 0.1 and user_inputs:
                options = ["--request-key", random.choice(user_inputs)]
            given += [MODEL, "out.onnx", *options]
        case "split":
            given += [MODEL, "--user-model", "user.onnx", "--rank-model", "rank.onnx"]
        case "verify":
            given += [*random.sample([MODEL, "whole.onnx"], 2), "--effort", "quick"]
        case _:
            given += [MODEL]
    if name in ("optimize", "split") and random.random() < 0.75:
        given += ["--no-verify"]
    return [name, "--no-config", "-v", *given]


def run(seed: int, folder: Path) -> int:
    """Draw a case, run its command in this process, which is bounded from here on, and return the exit code."""
    random = Random(seed)
    try:
        drawn = write_files(random, folder)
        given = arguments(random, drawn.user_inputs)
    except Exception as error:
        click.echo(f"the generator: {type(error).__name__}: {error}", err=True)
        return NOT_DRAWN
    (folder / "command.json").write_text(json.dumps(given), encoding="utf-8")
    os.chdir(folder)
    os.environ["MARI_ONNX_DEBUG"] = "1"  # read here, it adds a traceback and no checks
    bound()
    if random.random() < 0.95:  # to start a child of its own takes longer than the case
        worker.run = in_this_process
    code = command(given)
    if code == 2 and REFUSED in (folder / "stderr").read_text(encoding="utf-8", errors="replace") and runs(MODEL):
        return WRITTEN_IS_REFUSED
    if code == 0 and random.random() < 0.3 and given[0] in ("optimize", "split"):
        written = [path for path in OUTPUTS if (folder / path).exists()]
        if runs(MODEL) and not all(map(loads, written)):
            return WRITTEN_IS_REFUSED
    return code


def in_this_process(function: Callable[..., Any], *arguments: Any, progress: Any = None, alone: bool = False) -> Any:
    """What `worker.run` does in a child: a case is a bounded process already."""
    return function(*arguments)


def bound() -> None:
    """Bound the memory and the time of this process."""
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    faulthandler.enable()
    faulthandler.dump_traceback_later(SECONDS - 5)


def opened(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def loads(path: str) -> bool:
    try:
        opened(path)
    except Exception as error:
        click.echo(f"onnxruntime does not load {path}: {error}", err=True)
        return False
    return True


def runs(path: str) -> bool:
    """Whether onnxruntime runs the model on zeros. Some damage shows in a run alone, and in a written model earlier."""
    try:
        session = opened(path)
        feeds: dict[str, Any] = {}
        for each in session.get_inputs():
            dtype = TYPES[each.type.removeprefix("tensor(").removesuffix(")")]
            feeds[each.name] = np.zeros([extent if isinstance(extent, int) else 2 for extent in each.shape], dtype)
        return bool(session.run(None, feeds))
    except Exception:
        return False


# What is wrong with a case

REFUSED = "cannot load the optimized model:"
"""What is said of a model that was not written, because onnxruntime does not load it."""

OUTPUTS = ("out.onnx", "user.onnx", "rank.onnx")
"""What a command of a case writes, beside the data of these."""


def fault(code: int, folder: Path) -> str | None:
    """What is wrong with a case that has ended, if anything. A negative code is that of a signal."""
    said = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
    shown = (folder / "stdout").read_text(encoding="utf-8", errors="replace")
    if code == -signal.SIGKILL or code == -signal.SIGXCPU:
        return f"does not end: {_place(said)}"
    if code < 0:
        return None
    if code not in ALLOWED:
        return f"exit {code}: {_last(said)}"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - OURS
    if left := [name for name in there if name.endswith(".tmp")]:
        return f"exit {code} and a temporary file: {left[0]}"
    if code and there - {"model.failing.npz", "whole.failing.npz"}:
        return f"exit {code} and files: {sorted(there)}"
    if code == 2 and not _names_something(said):
        return f"a message that names nothing: {said.strip()[:150]}"
    bug = re.search(r"a bug in mari-onnx: .*", shown)
    return f"exit {code}: {bug[0][:150]}" if bug else None


OURS = {MODEL, DATA, "whole.onnx", "command.json", "stdout", "stderr"}
"""The files in the folder of a case that the case puts there."""


def _names_something(said: str) -> bool:
    """Whether the message of exit code 2 names a file, or the tensor, node or option that it is about.

    Where a case has taken long, a traceback stands before the message.
    """
    message = re.search(r"^Error: .*", said, re.MULTILINE | re.DOTALL)
    named = rf"\.onnx|\.data|'|`| -|the model has|there is not enough memory|{REFUSED}"
    return message is not None and re.search(named, message[0]) is not None


def _last(said: str) -> str:
    """The last error and the innermost line of mari-onnx in a traceback, or the last line."""
    places = re.findall(r'File ".*?(mari_onnx/[^"]*)", line (\d+), in (\S+)', said)
    bug = re.search(r"This is a bug in mari-onnx: (.*)", said)
    lines = said.strip().splitlines() or [""]
    return f"{bug[1] if bug else lines[-1]} at {':'.join(places[-1]) if places else '?'}"[:250]


def _place(said: str) -> str:
    """Where a process stood that took too long, by the traceback that it wrote last."""
    places = re.findall(r'File "(.*?)", line (\d+) in (\S+)', said.rpartition("Timeout (")[2])
    ours = next((p for p in places if "mari_onnx" in p[0]), None)
    return f"{' '.join(places[0][1:]) if places else '?'} of {ours[0].rpartition('mari_onnx/')[2] if ours else '?'}"


def kind(fault: str) -> str:
    """A fault without names and numbers, so that one of each kind can be looked at."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|-?\d+", "…", fault)[:160]


# Many cases


@dataclass
class Seen:
    """What came of the cases: exit codes, signals, and faults by kind, each with its seeds."""

    ends: Counter[str] = field(default_factory=Counter)
    deaths: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, seed: int, code: int, folder: Path) -> None:
        self.ends[signal.Signals(-code).name if code < 0 else str(code)] += 1
        found = fault(code, folder)
        if found is not None:
            self.faults[kind(found)].append(seed)
            self.examples.setdefault(kind(found), found)
        elif code < 0:
            said = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
            self.deaths[f"{signal.Signals(-code).name} {_died(said)}"].append(seed)


def _died(said: str) -> str:
    """Where a process died, by the traceback of the signal."""
    places = re.findall(r'File "(.*?)", line \d+ in (\S+)', said)
    ours = next((p for p in places if "mari_onnx" in p[0]), None)
    inner = places[0][0].rpartition("site-packages/")[2] + " " + places[0][1] if places else "?"
    return f"in {inner}" + (f", called by {ours[0].rpartition('mari_onnx/')[2]} {ours[1]}" if ours else "")


def all_cases(seeds: Iterator[int], workers: int, where: Path) -> Iterator[tuple[int, int, Path]]:
    """Seed, exit code and folder of each case; a folder is removed after it was looked at."""
    running: dict[int, tuple[int, float, Path]] = {}
    while True:
        while len(running) < workers and (seed := next(seeds, None)) is not None:
            folder = where / str(seed)
            folder.mkdir()
            running[forked(folder, partial(run, seed, folder))] = (seed, time.monotonic() + SECONDS + 10, folder)
        if not running:
            return
        ended, status = os.waitpid(-1, os.WNOHANG)
        if not ended:
            late = [process for process, (_, deadline, _) in running.items() if time.monotonic() > deadline]
            for process in late:
                with suppress(ProcessLookupError):
                    os.killpg(process, signal.SIGKILL)
            time.sleep(0.002)
            continue
        seed, _, folder = running.pop(ended)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(ended, signal.SIGKILL)
        yield seed, os.waitstatus_to_exitcode(status), folder
        shutil.rmtree(folder, ignore_errors=True)


def report(seen: Seen, count: int, seconds: float) -> str:
    def listed(found: Mapping[str, list[int]], words: Mapping[str, str]) -> Iterator[str]:
        for name, seeds in sorted(found.items(), key=lambda item: -len(item[1])):
            yield f"  {len(seeds):5}  {words.get(name, name)}  (seeds {', '.join(map(str, seeds[:5]))})"

    ends = ", ".join(f"{name}: {count}" for name, count in sorted(seen.ends.items()))
    lines = [f"{count} cases in {seconds:.0f} s, by how they ended: {ends}"]
    if seen.deaths:
        lines += ["died within outside software:", *listed(seen.deaths, {})]
    lines += ["faults:", *listed(seen.faults, seen.examples)] if seen.faults else ["no fault"]
    return "\n".join(lines)


@click.command()
@click.argument("cases", type=int, default=2000)
@click.option("--first", type=int, default=0, help="The first seed.")
@click.option("--workers", type=int, default=os.cpu_count() or 1)
@click.option("--seed", type=int, default=None, help="Run this one alone, and keep its files in the working directory.")
def main(cases: int, first: int, workers: int, seed: int | None) -> None:
    """Run commands on that many damaged files."""
    import_everything()
    if seed is not None:
        folder = Path(f"case-{seed}").resolve()
        folder.mkdir()
        code = os.waitstatus_to_exitcode(os.waitpid(forked(folder, partial(run, seed, folder)), 0)[1])
        for name in ("stdout", "stderr"):
            click.echo((folder / name).read_text(encoding="utf-8", errors="replace"), err=name == "stderr")
        click.echo(fault(code, folder) or "no fault", err=True)
        sys.exit(code % 256)
    seen, started, every = Seen(), time.monotonic(), max(100, cases // 20)
    with tempfile.TemporaryDirectory() as where:
        for done, case in enumerate(all_cases(iter(range(first, first + cases)), workers, Path(where)), 1):
            seen.add(*case)
            if done % every == 0 and done < cases:
                click.echo(report(seen, done, time.monotonic() - started), err=True)
    click.echo(report(seen, cases, time.monotonic() - started))
    sys.exit(bool(seen.faults))


if __name__ == "__main__":
    main()
