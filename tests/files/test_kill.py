"""A command that is ended while it writes, at each step. `make fuzz-files` ends it at random moments as well."""

from __future__ import annotations

import subprocess
import sys


def test_the_old_model_or_the_new_one_is_there() -> None:
    command = [sys.executable, "-m", "tests.files.kill", "0"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert (result.returncode, result.stdout.splitlines()[-1:]) == (0, ["0 faults"]), result.stdout + result.stderr
