"""The memory of commands, on a table that is small enough for every run; `make memory` has larger ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.memory import COMMANDS, IMPORTED, measure, write

GIGABYTES = 0.3


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what a process has")
def test_a_table_is_not_copied(tmp_path: Path) -> None:
    write(tmp_path, GIGABYTES, inline=False)
    for command in COMMANDS:
        if not command.inline:
            assert measure(command, tmp_path) < command.most * GIGABYTES + IMPORTED
