"""The words for the modes: one table, which is there without ONNX."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

from mari_onnx.serving.names import GUARDS, USER_BATCHES, GuardName, UserBatch


def test_the_table_has_the_words_of_the_types() -> None:
    assert get_args(UserBatch) == USER_BATCHES
    assert get_args(GuardName) == GUARDS


def test_onnx_is_not_imported() -> None:
    code = "import sys, mari_onnx.serving.names; sys.exit('onnx' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
