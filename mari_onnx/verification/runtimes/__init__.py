"""The runtimes: onnxruntime, in which models are always run, and those in which they can be compared in addition.

This module imports none of them, so that the command line can read the tables at once.
"""

DEFAULT_RUNTIME = "onnxruntime"

SECOND_RUNTIMES = {"openvino": "run_in_openvino"}
"""The second runtimes: the name of a module in this folder, and the function in it that loads a model.

The function takes a `Source` and returns a `Run`. It raises UserError where the runtime is not installed, and RunError
where the runtime cannot load the model.
"""

RUNTIMES = (DEFAULT_RUNTIME, *SECOND_RUNTIMES)
"""The choices of `--runtime`."""
