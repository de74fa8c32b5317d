"""Commands that are ended while they write: `python -m tests.files.kill 200` at that many random moments.

A command replaces a model, or the two of a split, by one with other weights, in external data. It is ended at each step
of writing, before and after the step, and at random moments: by SIGKILL, of which it learns nothing, and by SIGTERM and
SIGINT. Whenever that is, the folder holds the complete old model or the complete new one, which run and give the scores
that they should. Where the command learns of the signal, there is no temporary file, and it says what was written.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime as ort

from tests.files.processes import command, forked, import_everything
from tests.graphs import integers, parse

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

STEPS: tuple[tuple[Any, str], ...] = (
    (Path, "open"), (os, "copy_file_range"), (os, "fsync"), (Path, "replace"), (Path, "unlink")
)  # fmt: skip
"""What writing consists of."""

BATCH = 3


@dataclass(frozen=True)
class Task:
    """A command that writes the models `outputs` from `in/model.onnx` into the folder `out`."""

    name: str
    options: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        return [self.options[0], "in/model.onnx", *self.options[1:], "-u", "user", "--no-config", "--overwrite", "-q"]


TASKS = (
    Task("one model", ("optimize", "out/out.onnx", "--no-verify"), ("out.onnx",)),
    Task(
        "two models of a split",
        ("split", "--user-model", "out/user.onnx", "--rank-model", "out/rank.onnx", "--no-verify"),
        ("user.onnx", "rank.onnx"),
    ),
)

OLD, NEW, NEITHER = "old", "new", "neither"


def write_model(folder: Path, seed: int) -> None:
    """A ranking model with a table that no rewrite touches, so that it is external data of the result as well."""
    model = parse(
        """g (float[1, 32] user, float[B, 16] item, int64[B] id) => (float[B, 8] y) {
            items = Shape <start = 0, end = 1> (item)
            target = Concat <axis = 0> (items, width)
            users = Expand (user, target)
            row = Gather (table, id)
            x = Concat <axis = 1> (users, item, row)
            y = MatMul (x, w)
        }""",
        width=[32],
        w=integers(64, 8, seed=seed),
        table=integers(50, 16, seed=seed),
    )
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=64)


def feeds() -> dict[str, np.ndarray[Any, Any]]:
    return {"user": integers(1, 32), "item": integers(BATCH, 16), "id": np.arange(BATCH)}


def scores(folder: Path, outputs: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """The scores of a model, or of one after the other. Raises what onnxruntime raises."""
    values = feeds()
    for name in outputs:
        session = ort.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        given = {each.name: values[each.name] for each in session.get_inputs()}
        made = session.run(None, given)
        values |= dict(zip((each.name for each in session.get_outputs()), made, strict=True))
    found: np.ndarray[Any, Any] = values["y"]
    return found


class Place:
    """A folder in which a command is run again and again, each time with the old model there."""

    def __init__(self, folder: Path, task: Task) -> None:
        self.folder, self.task = folder, task
        self.wanted: dict[str, np.ndarray[Any, Any]] = {}
        (folder / "out").mkdir(parents=True)
        for seed, state in enumerate((OLD, NEW)):
            write_model(folder / "in", seed)
            self.wanted[state] = scores(folder / "in", ("model.onnx",))
            if self.run() != 0:
                raise AssertionError((folder / "stderr").read_text(encoding="utf-8"))
            if state == OLD:
                shutil.copytree(folder / "out", folder / "before")
        self.seconds = self.timed()

    def start(self, prepare: Callable[[], None] = lambda: None) -> int:
        def work() -> int:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.chdir(self.folder)
            prepare()
            return command(self.task.arguments)

        return forked(self.folder, work)

    def run(self, prepare: Callable[[], None] = lambda: None) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.start(prepare), 0)[1])

    def timed(self) -> float:
        begun = time.monotonic()
        self.run()
        return time.monotonic() - begun

    def reset(self) -> None:
        shutil.rmtree(self.folder / "out")
        shutil.copytree(self.folder / "before", self.folder / "out")

    def state(self) -> str:
        """Whether the old model is there or the new one. Raises AssertionError for anything between."""
        out = self.folder / "out"
        if not all((out / name).exists() for name in self.task.outputs):
            return NEITHER
        found = scores(out, self.task.outputs)
        states = [state for state, wanted in self.wanted.items() if np.array_equal(found, wanted)]
        assert states, "the scores are neither those of the old model nor those of the new one"
        return states[0]

    def check(self, number: int, code: int) -> str:
        """Check what a command left that was sent a signal; what it left."""
        state = self.state()
        said = (self.folder / "stderr").read_text(encoding="utf-8")
        names = {path.name for path in (self.folder / "out").iterdir()}
        if number == signal.SIGKILL:
            assert state != NEITHER or len(self.task.outputs) > 1, "the model is gone"
            return state
        told = code == 128 + number
        assert code == 0 or told or not said or "KeyboardInterrupt" in said, f"exit code {code}: {said}"
        left = [name for name in names if name.endswith((".tmp", ".old"))]
        assert not left, f"temporary files: {left}"
        assert state != NEITHER, "the models are gone"
        assert code or state == NEW, "exit code 0, and the old model is there"
        if told:
            assert ("nothing was written" in said) == (state == OLD), f"{state} is there: {said}"
            assert ("written, whole" in said) == (state == NEW), f"{state} is there: {said}"
        data = [name for name in names if ".mari-" in name]
        assert state == OLD or len(data) == 1 or code, f"data of the old model is left: {data}"
        return state


def ended_at(step: int, number: int, *, after: bool) -> Callable[[], None]:
    """What makes a process send itself a signal at a step of writing."""
    done = 0

    def replaced(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def stepping(*given: Any, **named: Any) -> Any:
            nonlocal done
            if name == "open" and "xb" not in given:  # files are read at any time
                return real(*given, **named)
            done += 1
            this = done == step
            if this and not after:
                os.kill(os.getpid(), number)
            try:
                return real(*given, **named)
            finally:
                if this and after:
                    os.kill(os.getpid(), number)

        setattr(owner, name, stepping)

    def prepare() -> None:
        for owner, name in STEPS:
            replaced(owner, name)

    return prepare


def at_each_step(place: Place, seen: Counter[str]) -> Iterator[str]:
    """End the command before and after each step, until it has no more steps; what went wrong."""
    for number in SIGNALS[:2]:  # SIGINT is taken as SIGTERM is
        for after in (False, True):
            step = 0
            while True:
                step += 1
                place.reset()
                code = place.run(ended_at(step, number, after=after))
                when = f"{'after' if after else 'before'} step {step}"
                yield from checked(place, number, code, seen, when)
                if code == 0:
                    break
            if step < 9:
                yield f"{place.task.name}: the command ended well {when}, and has more steps"


def at_random_moments(place: Place, count: int, seen: Counter[str]) -> Iterator[str]:
    """End the command at that many moments, half of them in the last third; what went wrong."""
    random = Random()
    for i in range(count):
        place.reset()
        number = SIGNALS[i % len(SIGNALS)]
        moment = place.seconds * (random.uniform(0, 1.1) if i % 2 else random.uniform(0.67, 1.1))
        process = place.start()
        time.sleep(moment)
        os.kill(process, number)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        yield from checked(place, number, code, seen, f"after {moment:.4f} s")


def checked(place: Place, number: int, code: int, seen: Counter[str], when: str) -> Iterator[str]:
    name = signal.Signals(number).name
    try:
        seen[f"{name}: {place.check(number, code)}"] += 1
    except Exception as error:
        yield f"{place.task.name}, {name} {when}: {type(error).__name__}: {error}"


@click.command()
@click.argument("moments", type=int, default=200)
def main(moments: int) -> None:
    """End commands while they write, at each step and at that many random moments."""
    import_everything()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as where:
        for task in TASKS:
            place, seen = Place(Path(where) / task.outputs[0], task), Counter[str]()
            faults += at_each_step(place, seen)
            faults += at_random_moments(place, moments // len(TASKS), seen)
            click.echo(f"{task.name}: ended {seen.total()} times, and then there was")
            for state, count in sorted(seen.items()):
                click.echo(f"  {count:5}  by {state}")
    for fault in faults:
        click.echo(fault)
    click.echo(f"{len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
