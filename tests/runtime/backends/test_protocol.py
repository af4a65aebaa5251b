"""Each backend of the package offers everything that the protocol names, with the documented types."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.backends.onnxruntime import OnnxRuntimeBackend
from hardtemper.runtime.backends.openvino import OpenVinoBackend
from hardtemper.runtime.backends.protocol import Backend
from hardtemper.runtime.backends.table import BACKENDS
from hardtemper.runtime.backends.tensorrt.backend import TensorRTBackend
from hardtemper.runtime.files.onnx_file import OnnxFile


def onnxruntime(classifier: Any, gpu: Any, folder: Path) -> Backend:
    return OnnxRuntimeBackend(OnnxFile(path=folder / "model.onnx", content=classifier.onnx()), threads=1)


def openvino(classifier: Any, gpu: Any, folder: Path) -> Backend:
    return OpenVinoBackend(OnnxFile(path=folder / "model.onnx", content=classifier.onnx()), threads=1)


def tensorrt(classifier: Any, gpu: Any, folder: Path) -> Backend:
    cuda = gpu.FakeCuda()
    module = gpu.fake_tensorrt("10.16.1.11", cuda, [(1, 4, 16)])
    return TensorRTBackend(classifier.onnx(), tensorrt=module, cuda=cuda, capture=gpu.Capture())


@pytest.fixture(params=[onnxruntime, openvino, tensorrt], ids=lambda make: make.__name__)
def backend(request: pytest.FixtureRequest, classifier: Any, gpu: Any, tmp_path: Path) -> Backend:
    make: Callable[..., Backend] = request.param
    return make(classifier, gpu, tmp_path)


def test_everything_that_is_named_is_there(backend: Backend) -> None:
    named = {name for name in vars(Backend) if not name.startswith("_")}
    assert named == {"name", "input_dtype", "input_shape", "batch", "classes", "run"}
    assert named <= set(dir(backend))


def test_the_types_are_the_documented_ones(backend: Backend) -> None:
    assert backend.name in BACKENDS
    assert backend.input_dtype in ("uint8", "float32")
    assert [type(size) for size in backend.input_shape] == [int, int, int]
    assert type(backend.input_shape) is tuple
    assert backend.batch is None or type(backend.batch) is int
    assert type(backend.classes) is int


def test_it_takes_images_by_the_protocols_name(backend: Backend, classifier: Any) -> None:
    assert list(inspect.signature(backend.run).parameters) == ["images"]
    images = np.random.default_rng(0).integers(0, 256, (3, *backend.input_shape), np.uint8)
    logits = backend.run(images)
    assert logits.dtype == np.float32
    assert logits.shape == (3, backend.classes)
    np.testing.assert_array_equal(logits, classifier.logits(images))
