"""Damaged files: some of those of `make fuzz-files`, the same every time."""

from __future__ import annotations

import subprocess
import sys


def test_damaged_files_end_in_words() -> None:
    command = [sys.executable, "-m", "tests.files.fuzz", "150", "--workers", "2"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert (result.returncode, result.stdout.splitlines()[-1:]) == (0, ["no fault"]), result.stdout + result.stderr
