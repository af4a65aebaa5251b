from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hardtemper.bench.performance import memory_child
from hardtemper.bench.performance.memory import Memory, measure_memory
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.errors import ModelError
from hardtemper.runtime.files.onnx_file import read_onnx

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def network(path: Path, *, hidden: int) -> Path:
    """A linear network whose weights take 4 KiB for each of `hidden` units."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w1"], ["h"]),
            helper.make_node("MatMul", ["h", "w2"], ["logits"]),
        ],
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(np.ones((1024, hidden), np.float32), "w1"),
            numpy_helper.from_array(np.ones((hidden, 2), np.float32), "w2"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def digest_of(path: Path) -> str:
    return read_bundle(path).digest if path.is_dir() else read_onnx(path).digest


def measure(path: Path, **settings: Any) -> Memory:
    return measure_memory(path, digest=digest_of(path), **settings)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return network(tmp_path / "small.onnx", hidden=16)


def test_the_child_imports_no_torch() -> None:
    code = (
        "import sys, hardtemper.bench.performance.memory_child; "
        "print(sorted({'torch', 'onnx', 'rich'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_peak_grows_with_50_mb_of_weights(tmp_path: Path, small: Path) -> None:
    light = measure(small, batch=1, threads=1)
    heavy = measure(network(tmp_path / "large.onnx", hidden=12_800), batch=1, threads=1)
    assert light.peak_mib is not None
    assert heavy.peak_mib is not None
    assert light.baseline_mib is not None
    assert heavy.peak_mib - light.peak_mib > 50
    assert heavy.baseline_mib == pytest.approx(light.baseline_mib, abs=10)
    assert light.peak_mib >= (light.loaded_mib or 0) >= light.baseline_mib > 5


def test_peak_grows_with_the_batch(small: Path) -> None:
    one, many = (measure(small, batch=batch, threads=1).peak_mib or 0 for batch in (1, 4096))
    assert many - one > 4  # 4096 images of 1 KiB


def test_a_bundle_is_measured_too(make_bundle: Callable[..., Path]) -> None:
    found = measure(make_bundle(), batch=2)
    assert found.threads is None
    assert (found.peak_mib or 0) > 5


@pytest.mark.parametrize("kind", ["file", "bundle"])
def test_what_was_replaced_is_not_measured(
    tmp_path: Path, small: Path, make_bundle: Callable[..., Path], kind: str
) -> None:
    path = small if kind == "file" else make_bundle()
    before = digest_of(path)
    if kind == "file":
        network(path, hidden=17)
    else:
        manifest = path / "manifest.json"
        manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(ModelError, match=r"(?s)exit status 1: .*another (file|bundle)") as caught:
        measure_memory(path, digest=before, batch=1, threads=1)
    assert before[:16] in caught.value.got


def test_measurement_carries_the_other_figures() -> None:
    found = Memory(batch=4, threads=None, baseline_mib=40.0, loaded_mib=50.0, peak_mib=60.0).measurement()
    assert found is not None
    assert (found.name, found.value, found.unit) == ("peak-memory", 60.0, "MiB")
    assert found.settings == {"batch": 4, "threads": None, "baseline_mib": 40.0, "loaded_mib": 50.0}


def test_no_measurement_where_the_system_does_not_tell() -> None:
    assert Memory(batch=1, threads=1, baseline_mib=None, loaded_mib=None, peak_mib=None).measurement() is None


@pytest.mark.parametrize("content", [None, b"no model"])
def test_what_fails_in_the_child_is_an_error_here(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"(?s)broken\.onnx.*exit status 1"):
        measure_memory(path, digest="", batch=1)


def test_without_proc_the_peak_comes_from_getrusage_in_its_own_unit(
    small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory_child, "_STATUS", tmp_path / "none")
    linux = memory_child.main(str(small), 1, 1, digest_of(small), "onnxruntime")
    monkeypatch.setattr(memory_child.sys, "platform", "darwin")
    macos = memory_child.main(str(small), 1, 1, digest_of(small), "onnxruntime")
    assert linux["baseline"] is linux["loaded"] is None
    assert linux["peak"] is not None
    assert macos["peak"] == pytest.approx(linux["peak"] / 1024, rel=0.05)
