"""What a measurement depends on: the processor, and how many of its cores this process may use."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_INFO = Path("/proc/cpuinfo")


def cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def described() -> str:
    """The processor and the cores in words: `AMD EPYC 7763, 2 cores`."""
    n = cores()
    return f"{_processor()}, {n} core{'s' * (n != 1)}"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", _INFO.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
