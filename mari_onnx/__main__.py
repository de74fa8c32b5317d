"""`python -m mari_onnx` is `mari-onnx`."""

from mari_onnx.cli import main

main()
