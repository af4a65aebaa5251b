from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hardtemper.export.proofs.logits_parity import compare_logits
from hardtemper.export.quantization.quantize import IntegerGraph
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.engine import open_onnx
from hardtemper.runtime.files.onnx_file import OnnxFile


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_one_function(plain_integer: IntegerGraph, pixels: Callable[..., NDArray[np.uint8]], backend: str) -> None:
    graph = OnnxFile(path=Path("model.onnx"), content=plain_integer.model.SerializeToString())
    engine, images = open_onnx(graph, backend=backend), pixels(140, (3, 12, 12))
    calls: list[tuple[str, int, int, str]] = []
    report = compare_logits(engine, Twin(plain_integer.model), images, progress=lambda *call: calls.append(call))
    assert report.exact
    assert (report.images, report.engine_logits, report.engine_images, report.activations) == (len(images), 0, 0, ())
    assert calls == [("parity", 128, 144, "0 logits differ"), ("parity", 144, 144, "0 logits differ")]


def test_what_differs_is_counted(plain_integer: IntegerGraph, pixels: Callable[..., NDArray[np.uint8]]) -> None:
    graph = OnnxFile(path=Path("model.onnx"), content=plain_integer.model.SerializeToString())
    right, images = open_onnx(graph), pixels(8, (3, 12, 12))

    def engine(given: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = right(given)
        logits[2, :3], logits[5, 1] = np.nan, np.nextafter(logits[5, 1], np.float32(np.inf))
        return logits

    report = compare_logits(engine, Twin(plain_integer.model), images)
    assert (report.exact, report.engine_logits, report.engine_images) == (False, 4, 2)
