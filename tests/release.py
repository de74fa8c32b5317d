"""python -m tests.release: build the wheel and the sdist, install each in an environment of its own, and try it.

    pip install WHEEL        mari-onnx --version, and a sample model that is optimized, verified and saved
    pip install SDIST        the same

Exit code 1 where one does not do what the source tree does. The registry of packages has to be reachable.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from mari_onnx.version import __version__

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build/release"
MODEL = ROOT / "sample_models/mmoe_requests.onnx"

TRIED = f"""
import mari_onnx
assert mari_onnx.__version__ == {__version__!r}
result = mari_onnx.optimize({str(MODEL)!r})
assert result.changed and result.report.passed
result.save("fast.onnx")
assert mari_onnx.render(result.report, "json")
"""


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command; its failure ends everything."""
    sys.stdout.write(f"$ {' '.join(map(str, command))}\n")
    sys.stdout.flush()
    subprocess.run([str(each) for each in command], cwd=cwd, check=True)


def environment(name: str) -> Path:
    """The folder of the programs of a new virtual environment."""
    folder = BUILD / name
    run(sys.executable, "-m", "venv", folder)
    return folder / ("Scripts" if sys.platform == "win32" else "bin")


def built() -> list[Path]:
    """The wheel and the sdist."""
    programs = environment("build-venv")
    run(programs / "python", "-m", "pip", "install", "--quiet", "build")
    run(programs / "python", "-m", "build", "--outdir", BUILD / "dist", ROOT)
    return sorted((BUILD / "dist").iterdir())


def tried(package: Path) -> None:
    """Install a package in a new environment, away from the source tree, and use it."""
    kind = "wheel" if package.suffix == ".whl" else "sdist"
    programs, folder = environment(f"{kind}-venv"), BUILD / kind
    folder.mkdir()
    run(programs / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", package)
    run(programs / "mari-onnx", "--version", cwd=folder)
    run(programs / "mari-onnx", "optimize", MODEL, "by_command.onnx", "-q", "--require-verified", cwd=folder)
    run(programs / "python", "-I", "-c", TRIED, cwd=folder)
    if (folder / "by_command.onnx").read_bytes() != (folder / "fast.onnx").read_bytes():
        sys.exit(f"{kind}: the command and the package write different models")


def main() -> None:
    """Build both, and try both."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    packages = built()
    for package in packages:
        tried(package)
    names = ", ".join(package.name for package in packages)
    sys.stdout.write(f"{names}: built, installed and tried\n")


if __name__ == "__main__":
    main()
