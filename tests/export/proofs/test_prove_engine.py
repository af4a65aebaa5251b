from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hardtemper.export.proofs.prove_engine import prove_engine
from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.backends.table import PROCESSOR_BACKENDS
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.files.onnx_file import OnnxFile


@pytest.mark.parametrize("backend", PROCESSOR_BACKENDS)
def test_every_engine_is_proved(
    plain_integer: IntegerGraph, pixels: Callable[..., NDArray[np.uint8]], backend: str
) -> None:
    graph = OnnxFile(path=Path("model.onnx"), content=plain_integer.model.SerializeToString())
    images, twin = pixels(8, (3, 12, 12)), Twin(plain_integer.model)
    kernels, parity = prove_engine(backend, open_onnx(graph, backend=backend), plain_integer.model, images, twin=twin)
    assert kernels.backend.startswith(f"{backend} ")
    assert kernels.integer_share == 1.0
    assert parity.exact
    assert bool(parity.activations) == (backend == "onnxruntime")
