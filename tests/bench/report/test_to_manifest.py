"""Numbers in a bundle's manifest; what they replace is tested with the command that stores them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.report.report import BenchReport
from hardtemper.bench.report.to_manifest import store_measurements
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.errors import InputError, IntegrityError


def measured(path: Path, data: Dataset) -> BenchReport:
    settings = BenchSettings(batches=(1,), warmup=0, repeats=1, min_seconds=0, robust=False)
    return run_bench(path, data, settings)


def test_each_row_says_when_and_where(make_bundle: Callable[..., Path], data: Dataset) -> None:
    path = make_bundle()
    report = measured(path, data)
    for _ in range(2):
        stored = store_measurements(report, path)
    rows = read_bundle(path).manifest.measurements
    assert rows == stored.manifest.measurements
    assert [row["name"] for row in rows] == [m.name for m in report.subject("shipped").measurements], "once"
    assert {row["bench"]["created"] for row in rows} == {report.created}
    assert {row["bench"]["cpu"] for row in rows} == {report.environment.cpu}


def test_only_the_bundle_that_was_measured_takes_them(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any, tmp_path: Path
) -> None:
    report = measured(make_bundle(), data)
    other = make_bundle(graph=three_classes.onnx(shift=0.5))
    with pytest.raises(IntegrityError, match="not the graph that was measured"):
        store_measurements(report, other)
    (tmp_path / "model.onnx").write_bytes(three_classes.onnx())
    with pytest.raises(InputError, match="--store needs a bundle; this is an ONNX file"):
        store_measurements(replace(report), tmp_path / "model.onnx")
    assert read_bundle(other).manifest.measurements == ()
