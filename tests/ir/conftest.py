"""A builder for each test."""

from __future__ import annotations

import pytest

from mari_onnx.ir.builder import Builder


@pytest.fixture
def b() -> Builder:
    return Builder()
