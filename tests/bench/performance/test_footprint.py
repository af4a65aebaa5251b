"""What cannot be measured is skipped with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from hardtemper.bench.measurement import Measurement, Skip
from hardtemper.bench.performance.footprint import measure_peak_memory, measure_weights
from hardtemper.bench.performance.memory import Memory
from hardtemper.runtime.errors import ModelError
from hardtemper.runtime.files.onnx_file import OnnxFile


def failing_child(path: Path, **_: Any) -> Memory:
    raise ModelError(f"{path}: killed")


def silent_system(_: Path, *, digest: str, batch: int, threads: int | None, backend: str) -> Memory:
    return Memory(batch=batch, threads=threads, baseline_mib=None, loaded_mib=None, peak_mib=None)


@pytest.mark.parametrize(
    ("measure", "reason"),
    [(failing_child, "model.onnx: killed"), (silent_system, "this system does not report peak memory")],
)
def test_memory_that_cannot_be_measured_is_skipped(measure: Any, reason: str) -> None:
    for batch in (1, 3):
        skip = measure_peak_memory(Path("model.onnx"), digest="", batch=batch, threads=1, measure=measure)
        assert isinstance(skip, Skip)
        assert skip.what == f"peak memory, batch {batch}"
        assert skip.reason == reason


def test_memory_that_can_be_measured_is() -> None:
    def measure(path: Path, *, digest: str, batch: int, threads: int | None, backend: str) -> Memory:
        assert backend == "openvino"
        return Memory(batch=batch, threads=threads, baseline_mib=40.0, loaded_mib=50.0, peak_mib=60.0)

    found = measure_peak_memory(
        Path("model.onnx"), digest="", batch=2, threads=None, backend="openvino", measure=measure
    )
    assert isinstance(found, Measurement)
    assert (found.name, found.value, found.settings["batch"]) == ("peak-memory", 60.0, 2)


def test_weights_are_counted_where_there_is_a_twin() -> None:
    graph = OnnxFile(path=Path("model.onnx"), content=b"some graph")
    assert [m.name for m in measure_weights(graph, None)] == ["size", "size-gzip"]
    *_, parameters = measure_weights(graph, nn.Linear(4, 3))
    assert (parameters.name, parameters.value) == ("parameters", 15)
