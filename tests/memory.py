"""What commands take in memory, in units of the model's size: `python -m tests.memory` measures large models.

    table     lookups in a table in external data; with verification
    inline    the same table within the model's file; without verification

Measured are this process's children together, at their peak: the command, and the process in which the models run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from tests.graphs import integers, parse

COLUMNS = 32

IMPORTED = 0.3
"""Gigabytes that a command takes for Python and its modules, and the process in which models run for onnxruntime."""


@dataclass(frozen=True)
class Measured:
    """A command and the most memory that it may take, in units of the model's size: `OUT` stands for a folder."""

    name: str
    most: float
    arguments: Sequence[str]
    inline: bool = False


COMMANDS = (
    Measured("optimize", 1.5, ("optimize", "IN/model.onnx", "IN/fast.onnx", "-u", "user_*")),
    Measured("verify", 1.5, ("verify", "IN/model.onnx", "IN/fast.onnx", "-u", "user_*")),
    Measured(
        "split", 2.0,
        ("split", "IN/model.onnx", "--user-model", "IN/u.onnx", "--rank-model", "IN/r.onnx", "-u", "user_*"),
    ),
    Measured("inline", 3.0, ("optimize", "IN/model.onnx", "IN/fast.onnx", "-u", "user_*", "--no-verify"), inline=True),
)  # fmt: skip


def measure(command: Measured, folder: Path) -> float:
    """The gigabytes that a command takes at its peak; `folder` has the model."""
    arguments = [argument.replace("IN", str(folder)) for argument in command.arguments]
    process = subprocess.Popen([sys.executable, "-m", "mari_onnx", *arguments, "-q"], stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(map(_memory, _family(process.pid))))
        time.sleep(0.02)
    assert process.returncode == 0
    return peak


def _family(process: int) -> Iterator[int]:
    """A process and its children, theirs, and so on."""
    yield process
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from _family(child)


def _memory(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(field.split()[1]) for field in fields if field.startswith("VmRSS:")) / 1e6


def write(folder: Path, gigabytes: float, *, inline: bool) -> None:
    """Write a model with a table of so many gigabytes: a file of zeros without blocks on the disk, or inline."""
    rows = int(gigabytes * 1e9) // (4 * COLUMNS)
    model = parse(
        """g (int64[B, 20] user_ids, int64[B] ids, float[B, 16] item) => (float[B, 1] y) {
            h = Gather (table, user_ids) u = ReduceMean <axes = [1], keepdims = 0> (h) i = Gather (table, ids)
            x = Concat <axis = 1> (u, i, item) p = MatMul (x, w) a = Relu (p) y = MatMul (a, v)
        }""",
        w=integers(2 * COLUMNS + 16, 256),
        v=integers(256, 1),
    )
    table = model.graph.initializer.add(name="table", dims=[rows, COLUMNS], data_type=TensorProto.FLOAT)
    if inline:
        table.raw_data = bytes(rows * COLUMNS * 4)
    else:
        table.data_location = TensorProto.EXTERNAL
        entries: Mapping[str, object] = {"location": "table.bin", "offset": 0, "length": rows * COLUMNS * 4}
        for key, value in entries.items():
            table.external_data.add(key=key, value=str(value))
        with (folder / "table.bin").open("wb+") as file:
            file.truncate(rows * COLUMNS * 4)
            while file.read(1 << 24):  # what is in the cache of the system is mapped with its neighbours
                pass
    onnx.save_model(model, folder / "model.onnx")


def main() -> None:
    """Measure every command, and end with exit code 1 where one takes too much."""
    over = False
    for inline, gigabytes in ((False, 1.1), (True, 1.9)):
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), gigabytes, inline=inline)
            for command in COMMANDS:
                if command.inline == inline:
                    times = measure(command, Path(name)) / gigabytes
                    over |= times > command.most
                    print(f"{command.name:10}{times:6.2f} times {gigabytes} GB, at most {command.most}")  # noqa: T201
    sys.exit(over)


if __name__ == "__main__":
    main()
