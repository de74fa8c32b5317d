"""python -m benchmarks [NAME ...]: time models before and after, and the optimizer itself."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import calibrate, handmade, limits, models, scale, sequences, serving

BENCHMARKS = ("handmade", "sequences", "scale", "models", "limits", "serving")
"""The benchmarks that run where none is named; `calibrate` runs only where it is named."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} or calibrate; default: all")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="models: a folder of NAME.onnx with NAME.json")
    parser.add_argument("--models", default="*", metavar="GLOB", help="models, handmade: only those of these names")
    parser.add_argument("--batch", type=int, nargs="+", help="models, handmade: numbers of candidates")
    given = parser.parse_args()
    if unknown := set(given.names) - {*BENCHMARKS, "calibrate"}:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    met = True
    for name in given.names or BENCHMARKS:
        print(f"\n{name}", flush=True)
        match name:
            case "handmade":
                met &= handmade.run(given.batch or handmade.BATCHES, given.models)
            case "models":
                met &= models.run(given.batch or models.BATCHES, given.corpus, given.models)
            case "limits":
                met &= limits.run(max(given.batch or [500]))
            case "serving":
                met &= serving.run(given.batch or serving.BATCHES)
            case "sequences":
                met &= sequences.run()
            case "scale":
                met &= scale.run()
            case "calibrate":
                calibrate.run()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
