"""What models are run in: onnxruntime always, and a second runtime where that is asked for.

The table is read without importing any of them.
"""

DEFAULT_RUNTIME = "onnxruntime"

BESIDES = {"openvino": "run_in_openvino"}
"""The runtimes in which models can be compared besides, and the function of the module of that name that runs them.

A function takes a `Source` and returns a `Run`; it raises UserError where the runtime is not installed, and RunError
where it cannot load the model.
"""

RUNTIMES = (DEFAULT_RUNTIME, *BESIDES)
"""The choices by name."""
