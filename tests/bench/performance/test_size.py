"""What a graph weighs."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.performance.size import measure_size
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.export.graph_packing import pack_graph
from hardtemper.runtime.files.onnx_file import read_onnx


def test_sizes_are_those_of_the_file(
    data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings], model_file: Callable[[bytes], Path]
) -> None:
    path = model_file(three_classes.onnx())
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    size, packed = subject.find("size"), subject.find("size-gzip")
    assert size is not None
    assert packed is not None
    assert size.value == path.stat().st_size
    assert packed.value == pytest.approx(len(gzip.compress(path.read_bytes(), 9)), abs=20)
    assert [(skip.what, skip.reason) for skip in subject.skipped] == [("robust accuracy", "--no-robust was given")]
    assert subject.find("robust-accuracy") is None
    assert subject.find("speedup") is None, "there is nothing beside it"


def test_weights_in_another_file_count(
    tmp_path: Path, data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings]
) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.load_from_string(three_classes.onnx())
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    (subject,) = run_bench(path, data, settings(robust=False)).subjects
    size = subject.find("size")
    assert size is not None
    assert (size.value, size.n) == (path.stat().st_size + (tmp_path / "weights.bin").stat().st_size, 2)


def test_a_packed_graph_weighs_what_is_stored(three_classes: Any, model_file: Callable[[bytes], Path]) -> None:
    plain = three_classes.onnx()
    packed = pack_graph(plain)
    read = read_onnx(model_file(packed))
    assert read.content == plain
    size, gzipped = measure_size(read)
    assert size.value == len(packed) < len(plain)
    assert gzipped.value == pytest.approx(len(gzip.compress(packed, 9)), abs=20)
