"""What each TensorRT version needs.

| | 8.5 | 8.6 | 10 | 11 |
| --- | --- | --- | --- | --- |
| network flag | EXPLICIT_BATCH | EXPLICIT_BATCH | STRONGLY_TYPED | none |
| precision flags INT8, FP16 | yes | yes | never on a strongly typed network | removed |
| weights of Q/DQ layers | float behind a QuantizeLinear | the same | int8 | int8 |
| version- and hardware-compatible engines | no | yes | yes | yes |
| cuDNN and cuBLAS tactics | to be switched off | to be switched off | off | removed |

Sources: the parser's `docs/operators.md` and `builtin_op_importers.cpp` (onnx/onnx-tensorrt, branches 8.5-GA, 8.6-GA
and 10.1-GA), "Migrating from TensorRT 10.x to 11.x" (docs.nvidia.com), and the bindings of 8.5.3.1, 10.16.1.11 and
11.4.0.106, whose names `tests/data/tensorrt` holds. All of them parse opset 17.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...runtime.errors import ModelError

__all__ = ["OPSET", "Capabilities"]

OPSET = 17
"""The newest opset that TensorRT 8.5 and 8.6 parse; later versions parse it too."""

_OLDEST = (8, 5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """How to speak to one version.

    Attributes:
        version: (major, minor).
        network_flag: the NetworkDefinitionCreationFlag to create a network with, by name; "" for none.
        precision_flags: whether INT8 and FP16 are flags of the builder; otherwise the graph's own types decide.
        float_weights: whether quantized weights must be floats behind a QuantizeLinear.
        compatible_engines: whether engines for other versions and other GPUs can be asked for.
        external_tactics: whether cuDNN and cuBLAS have to be switched off, so that an engine needs TensorRT alone.
    """

    version: tuple[int, int]
    network_flag: str
    precision_flags: bool
    float_weights: bool
    compatible_engines: bool
    external_tactics: bool

    @staticmethod
    def of(version: str) -> Capabilities:
        """Those of a version, "8.5.3.1" or "11.4.0.106".

        Raises:
            ModelError: no version, or one before 8.5.
        """
        match = re.match(r"(\d+)\.(\d+)", version)
        number = (int(match[1]), int(match[2])) if match else (0, 0)
        if number < _OLDEST:
            raise ModelError(
                "TensorRT", expected="version 8.5 or later", got=version, fix="pip install 'hardtemper[tensorrt]'"
            )
        weak = number[0] < 10
        return Capabilities(
            version=number,
            network_flag="EXPLICIT_BATCH" if weak else "STRONGLY_TYPED" if number[0] == 10 else "",
            precision_flags=weak,
            float_weights=weak,
            compatible_engines=number >= (8, 6),
            external_tactics=weak,
        )
