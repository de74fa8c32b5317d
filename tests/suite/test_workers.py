"""Every job ends: with a result, or with the phase in which its process ended."""

from __future__ import annotations

import sys

from tests.suite.workers import EndedError, run

CHILD = """
import os, time
from tests.suite.workers import serve

def do(job, say):
    say("first")
    if job == "dies":
        os._exit(1)
    if job == "hangs":
        say("second")
        time.sleep(60)
    print("no answer")
    return job

serve(do)
"""


def test_jobs_that_end_and_jobs_that_do_not() -> None:
    jobs = ["a", "dies", "b", "hangs", "c"]
    results = list(run([sys.executable, "-c", CHILD], jobs, workers=1, seconds=3))
    assert [r for r in results if isinstance(r, str)] == ["a", "b", "c"]
    died, hung = results[1], results[3]
    assert isinstance(died, EndedError)
    assert (died.phase, died.too_slow) == ("first", False)
    assert isinstance(hung, EndedError)
    assert (hung.phase, hung.too_slow) == ("second", True)
