"""The memory that a call takes: by how much the most that this process ever held grows in it.

The kernel of Linux keeps that number, and sets it back when asked to. Elsewhere nothing is known.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Callable
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def now() -> int | None:
    """The bytes that this process holds, after what is free is given back to the system; None where nothing tells."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # only the C library of GNU has this function
        ctypes.CDLL(None).malloc_trim(0)
    return _read("VmRSS")


def peak(call: Callable[[], object], before: int | None) -> int | None:
    """By how many bytes this process grew beyond those of `before`, at most, while it was in the call.

    None where nothing tells. Memory that an earlier call has left to the runtime is used again, and counts as well if
    that call came after `before`.
    """
    try:
        _RESET.write_text("5", encoding="ascii")  # sets the peak back to what is held now
    except OSError:
        before = None
    call()
    highest = _read("VmHWM")
    return None if before is None or highest is None else max(highest - before, 0)


def _read(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
