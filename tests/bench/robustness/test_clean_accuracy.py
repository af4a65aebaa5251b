"""Clean accuracy, and twin and engine on clean images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.engine import open_onnx


@pytest.mark.parametrize("quantized", [False, True])
def test_mismatches_are_counted_against_the_file_itself(
    *,
    tmp_path: Path,
    data: Dataset,
    quantized: bool,
    settings: Callable[..., BenchSettings],
    value: Callable[..., float],
    cnn: Callable[[Path, Any], None],
    quantize_static: Callable[..., None],
) -> None:
    path = tmp_path / "float.onnx"
    cnn(path, data.test.images)
    if quantized:
        path = tmp_path / "int8.onnx"
        quantize_static(tmp_path / "float.onnx", path, data.test.images)
    with torch.no_grad():
        twin = Twin(onnx.load(path))(torch.from_numpy(data.test.images).float() / 255).numpy()
    engine = open_onnx(path)(data.test.images)
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    assert value(subject, "twin-mismatch", on="clean") == (twin != engine).any(1).sum()


def test_a_twin_that_is_not_the_engine_is_reported(
    *,
    data: Dataset,
    three_classes: Any,
    monkeypatch: pytest.MonkeyPatch,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
    value: Callable[..., float],
) -> None:
    from hardtemper.bench import twin_trial

    other = onnx.load_from_string(three_classes.onnx(shift=0.125))
    monkeypatch.setattr(twin_trial, "Twin", lambda _, made=twin_trial.Twin: made(other))
    path = model_file(three_classes.onnx())
    (subject,) = run_bench(path, data, settings()).subjects
    assert value(subject, "twin-mismatch", on="clean") == 40
    found = subject.find("twin-mismatch", on="candidates")
    assert found is not None
    assert found.value == found.n > 0
    assert found.settings["largest_difference"] == pytest.approx(0.125)
