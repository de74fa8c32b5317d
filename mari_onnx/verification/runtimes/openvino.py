"""OpenVINO as a second runtime, in the precision in which a model is stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mari_onnx.document.runtime import brief
from mari_onnx.errors import UserError
from mari_onnx.verification.runtimes.onnxruntime import Feeds, Run, RunError, Source, Values


def run_in_openvino(source: Source) -> Run:
    """The model in OpenVINO on the CPU, on one thread, as a function from feeds to outputs by name.

    Raises UserError when OpenVINO is not installed, and RunError when it cannot read or compile the model.
    """
    compiled = _compiled(source, threads=1)
    names = [output.name for output in source.proto.graph.output]

    def run(feeds: Feeds) -> Values:
        try:
            found = compiled(_taken(compiled, feeds))
            return {name: found[compiled.output(name)].copy() for name in names}
        except Exception as error:
            raise RunError(brief(error)) from error

    return run


def calls_in_openvino(source: Source, threads: int, callers: int = 1) -> list[Callable[[Feeds], Callable[[], object]]]:
    """The model in OpenVINO, for each of several callers at once: a function from feeds to a call of it with these.

    What is timed is the call alone. Raises UserError and RunError as `run_in_openvino` does.
    """
    compiled = _compiled(source, threads, callers)

    def caller(request: Any) -> Callable[[Feeds], Callable[[], object]]:
        return lambda feeds: partial(request.infer, _taken(compiled, feeds), share_inputs=True, share_outputs=True)

    return [caller(compiled.create_infer_request()) for _ in range(callers)]


def _compiled(source: Source, threads: int, callers: int = 1) -> Any:
    try:
        import openvino
    except ImportError as error:
        raise UserError("openvino is not installed", "Install it: pip install 'mari-onnx[openvino]'") from error
    core = openvino.Core()
    # Without the hint OpenVINO may run a float32 model in bfloat16, and one in half precision in float32.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads * callers, "NUM_STREAMS": callers}
    try:
        if source.document.path is not None:
            model = core.read_model(str(source.document.path))
        else:
            model = core.read_model(source.whole().SerializeToString(), b"")
        return core.compile_model(model, "CPU", settings)
    except Exception as error:  # OpenVINO's errors have no common base
        raise RunError(brief(error)) from error


def _taken(compiled: Any, feeds: Feeds) -> dict[str, Any]:
    """The feeds of the inputs that are left in the compiled model."""
    inputs = {name for port in compiled.inputs for name in port.names}
    return {name: array for name, array in feeds.items() if name in inputs}
