"""Numbers in a bundle's manifest; what they replace is tested with the command that stores them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.report.report import BenchReport
from hardtemper.bench.report.to_manifest import check_stores, store_measurements
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.errors import BundleError, InputError, IntegrityError


def measured(path: Path, data: Dataset, *backends: str) -> BenchReport:
    settings = BenchSettings(
        backends=backends or ("onnxruntime",), batches=(1,), warmup=0, repeats=1, min_seconds=0, robust=False
    )
    return run_bench(path, data, settings)


def test_each_row_says_when_and_where(make_bundle: Callable[..., Path], data: Dataset) -> None:
    path = make_bundle()
    report = measured(path, data)
    stored = read_bundle(path)
    for _ in range(2):
        stored = store_measurements(report, stored)
    assert read_bundle(path) == stored
    rows = stored.manifest.measurements
    assert [row["name"] for row in rows] == [m.name for m in report.subject("shipped").measurements], "once"
    assert {row["bench"]["created"] for row in rows} == {report.created}
    assert {row["bench"]["cpu"] for row in rows} == {report.environment.cpu}


def test_each_row_says_on_which_backend(make_bundle: Callable[..., Path], data: Dataset) -> None:
    path = make_bundle()
    report = measured(path, data, "openvino", "onnxruntime")
    rows = store_measurements(report, read_bundle(path)).manifest.measurements
    expected = [(subject.backend, m.name) for subject in report.subjects for m in subject.measurements]
    assert [(row["bench"]["backend"], row["name"]) for row in rows] == expected


def test_only_the_bundle_that_was_measured_takes_them(
    make_bundle: Callable[..., Path], data: Dataset, three_classes: Any
) -> None:
    path = make_bundle()
    report, read = measured(path, data), read_bundle(path)
    other = make_bundle(graph=three_classes.onnx(shift=0.5))
    with pytest.raises(IntegrityError, match="not the graph that was measured"):
        store_measurements(report, read_bundle(other))
    assert read_bundle(other).manifest.measurements == ()
    manifest = path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"0"', b'"zero"'))
    with pytest.raises(BundleError, match="changed since it was read"):
        store_measurements(report, read)
    assert read_bundle(path).manifest.measurements == ()


def test_an_onnx_file_has_no_manifest() -> None:
    with pytest.raises(InputError, match="--store needs a bundle; this is an ONNX file"):
        check_stores(Path("model.onnx"))
