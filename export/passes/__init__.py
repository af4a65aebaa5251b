"""Transformations of the float ONNX graph that leave its function as it is, one a file.

Each is an `onnx_ir` pass: the algebra stands in its docstring, and what it cannot transform it leaves alone.
"""

from __future__ import annotations

__all__: list[str] = []
