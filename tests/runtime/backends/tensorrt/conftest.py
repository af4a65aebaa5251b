"""The linear classifier as an engine of each TensorRT release, on the device of `fake_gpu.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hardtemper.runtime.backends.tensorrt.backend import TensorRTBackend

SHAPE = (1, 8, 8)
RELEASES = ("8.5.3.1", "10.16.1.11", "11.4.0.106")
PROFILES = [(16, 32, 64), (1, 1, 4)]


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(classifier: Any, release: str, gpu: Any) -> Callable[..., tuple[TensorRTBackend, Any, Any, Any]]:
    """Opens the linear classifier as an engine; gives the backend, TensorRT, the device and the captured graphs."""

    def open_(
        *,
        cuda: Any = None,
        capture: Any = None,
        profiles: list[tuple[int, int, int]] = PROFILES,
        dtype: str = "uint8",
        scale: float = 1 / 255,
        **faults: Any,
    ) -> tuple[TensorRTBackend, Any, Any, Any]:
        cuda, capture = cuda or gpu.FakeCuda(), capture or gpu.Capture()
        trt = gpu.fake_tensorrt(release, cuda, profiles, **faults)
        backend = TensorRTBackend(
            classifier.onnx(dtype=dtype), tensorrt=trt, cuda=cuda, capture=capture, scale=scale, origin="net.engine"
        )
        return backend, trt, cuda, capture

    return open_


@pytest.fixture(scope="session")
def pixels() -> Callable[..., NDArray[np.uint8]]:
    """As many random images, other ones for another seed."""

    def make(count: int, seed: int = 0) -> NDArray[np.uint8]:
        return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)

    return make
