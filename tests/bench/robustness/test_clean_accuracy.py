"""Clean accuracy, and twin and engine on clean images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.report.text import row_of
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


@pytest.mark.parametrize(("value_of", "counts"), [(float("nan"), True), (float("inf"), True), (float("-inf"), False)])
def test_logits_that_are_no_answer_are_counted_and_never_robust(
    *,
    value_of: float,
    counts: bool,
    data: Dataset,
    three_classes: Any,
    settings: Callable[..., BenchSettings],
    model_file: Callable[[bytes], Path],
    value: Callable[..., float],
) -> None:
    """Logit 2 is replaced where the first pixel is bright: Where keeps the other images as they are."""
    model = onnx.load_from_string(three_classes.onnx(dtype="float32"))
    model.graph.node[-1].output[0] = "scores"
    constants = {"start": [0], "end": [1], "axis": [1], "half": np.float32(0.5)}
    constants |= {"odd": np.array([[0.0, 0.0, value_of]], np.float32), "none": np.zeros((1, 3), np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v), name) for name, v in constants.items())
    model.graph.node.extend(
        [
            helper.make_node("Slice", ["flat", "start", "end", "axis"], ["pixel"]),
            helper.make_node("Greater", ["pixel", "bound"], ["bright"]),
            helper.make_node("Where", ["bright", "odd", "none"], ["added"]),
            helper.make_node("Add", ["scores", "added"], ["logits"]),
        ]
    )
    bound = numpy_helper.from_array(np.float32(128 * 255 * 2**-12 / 255), "bound")
    model.graph.initializer.append(bound)
    path = model_file(model.SerializeToString())
    logits = open_onnx(path)(data.test.images)
    odd = ~np.isfinite(logits).all(1)
    assert 5 < odd.sum() < 35
    (subject,) = run_bench(path, data, settings(preset="square", batches=(1,))).subjects
    right = (logits.argmax(1) == data.test.labels) & ~(odd & counts)
    assert value(subject, "clean-accuracy") == 100 * right.mean()
    assert value(subject, "alarm", alarm="no answer") == (100 * odd.mean() if counts else 0)
    assert ("no answer" in subject.alarms) is counts
    found = subject.find("clean-accuracy")
    assert found is not None
    assert found.settings["without_answer"] == (odd.sum() if counts else 0)
    assert ("no answer for" in row_of(found)[1]) is counts
    assert subject.robustness is not None
    assert not (subject.robustness.robust & odd & counts).any()
