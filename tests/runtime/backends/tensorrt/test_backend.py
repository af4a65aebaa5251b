"""The TensorRT backend on the device and the TensorRT of `fake_gpu.py`."""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.backends.tensorrt.package import import_tensorrt, last_error, logger, version
from hardtemper.runtime.engine import Engine, open_onnx
from hardtemper.runtime.errors import MissingExtraError, ModelError

SHAPE, CLASSES = (1, 8, 8), 10
RECORDED = Path(__file__).parents[3] / "data" / "tensorrt"
PROFILES = [(16, 32, 64), (1, 1, 4)]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 16, 40, 64, 65, 150])
def test_any_batch_gives_the_logits(classifier: Any, opened: Any, count: int, pixels: Any) -> None:
    backend, *_ = opened()
    images = pixels(count)
    engine = Engine(backend=backend, labels=tuple("abcdefghij"), max_batch=1000)
    for _ in range(3):  # plain, captured, launched
        np.testing.assert_array_equal(engine(images), classifier.logits(images))


def test_what_it_says_of_itself(classifier: Any, opened: Any) -> None:
    backend, *_ = opened()
    assert (backend.name, backend.input_dtype, backend.input_shape) == ("tensorrt", "uint8", SHAPE)
    assert (backend.batch, backend.classes, backend.context_bytes) == (None, CLASSES, 4096)
    assert [str(profile) for profile in backend.signature.profiles] == [
        "profile 1 (batches of 1 to 4)",
        "profile 0 (batches of 16 to 64)",
    ]


@pytest.mark.parametrize(
    ("count", "runs"),
    [
        (1, [(1, 1)]),
        (4, [(1, 4)]),
        (5, [(0, 16)]),
        (20, [(0, 20)]),
        (64, [(0, 64)]),
        (70, [(0, 64), (0, 16)]),
        (67, [(0, 64), (1, 3)]),
    ],
)
def test_the_profile_is_chosen_by_the_batch(
    classifier: Any, opened: Any, count: int, runs: list[tuple[int, int]], pixels: Any
) -> None:
    backend, trt, *_ = opened()
    backend.run(pixels(count))
    assert trt.engines[0].runs == runs


def test_a_fixed_batch_is_filled_up(classifier: Any, opened: Any, pixels: Any) -> None:
    backend, trt, *_ = opened(profiles=[(8, 8, 8)], batch=8)
    images = pixels(11)
    np.testing.assert_array_equal(backend.run(images), classifier.logits(images))
    assert trt.engines[0].runs == [(0, 8), (0, 8)]


def test_pixels_are_scaled_for_an_engine_that_takes_floats(classifier: Any, opened: Any, pixels: Any) -> None:
    backend, *_ = opened(dtype="float32", scale=2**-8)
    assert backend.input_dtype == "uint8"
    images = pixels(7)
    # the float graph takes x = scale * q as it comes: the logits that the integer graph gives
    np.testing.assert_array_equal(backend.run(images), classifier.logits(images))


def test_a_step_of_one_in_255_is_a_division(classifier: Any, opened: Any, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(classifier.onnx(dtype="float32"))
    images = np.arange(256, dtype=np.uint8).reshape(4, *SHAPE)
    expected = open_onnx(tmp_path / "net.onnx", threads=1)(images)
    for scale in (1 / 255, float(np.float32(1 / 255))):
        backend, *_ = opened(dtype="float32", scale=scale)
        np.testing.assert_array_equal(backend.run(images), expected)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"load": False}, "TensorRT cannot load the engine; got: Version tag differs; fix: compile the bundle again"),
        (
            {"context": False},
            "no execution context for profile 0 (batches of 16 to 64), 1024 MiB are free; got: out of memory",
        ),
        ({"kind": "INT8"}, "types; expected: uint8 or float -> float; got: INT8 -> FLOAT"),
    ],
)
def test_what_cannot_be_opened_is_one_line(classifier: Any, opened: Any, faults: Any, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        opened(**faults)
    assert str(caught.value) == f"net.engine: {message}"


def test_the_fake_has_names_and_arguments_of_the_recorded_bindings_only(
    classifier: Any, gpu: Any, release: str
) -> None:
    """What runs on the fake finds every name it touches in the real bindings, with the arguments it gives."""
    recorded = json.loads((RECORDED / f"api-{release}.json").read_text(encoding="utf-8"))
    cuda = gpu.FakeCuda()
    trt = gpu.fake_tensorrt(release, cuda, PROFILES)
    runtime = trt.Runtime(logger(trt))
    engine = runtime.deserialize_cuda_engine(classifier.onnx())
    ours = {"runs", "made", "contexts", "session", "kind", "logger"}  # the fake's own notes
    for kind, target in (("Runtime", runtime), ("ICudaEngine", engine), ("IExecutionContext", trt.IExecutionContext)):
        for name in (name for name in dir(target) if not name.startswith("_") and name not in ours):
            assert name in recorded[kind], f"{kind}.{name}"
            if callable(getattr(target, name)) and "*args" not in recorded[kind][name]:
                arguments = re.findall(r"(\w+): ", recorded[kind][name])[1:]
                given = [name for name in inspect.signature(getattr(target, name)).parameters if name != "self"]
                assert given == arguments[: len(given)], f"{kind}.{name}"
    assert trt.TensorIOMode.INPUT in recorded["TensorIOMode"]
    assert {"FLOAT", "HALF", "UINT8"} <= set(recorded["DataType"])
    assert "Dims" in recorded
    assert {"Severity", "ERROR", "INTERNAL_ERROR", "log"} <= set(recorded["ILogger"])


def test_the_first_tensorrt_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def only(*names: str, broken: str = "") -> Callable[[str], Any]:
        def find(name: str) -> Any:
            if name == broken:
                raise ImportError("libnvinfer.so.10: cannot open shared object file\nmore")
            if name in names:
                return types.ModuleType(name)
            raise ModuleNotFoundError(name)

        return find

    for names, found in ((("tensorrt", "tensorrt_lean"), "tensorrt"), (("tensorrt_dispatch",), "tensorrt_dispatch")):
        monkeypatch.setattr(importlib, "import_module", only(*names))
        assert import_tensorrt().__name__ == found
    monkeypatch.setattr(importlib, "import_module", only())
    with pytest.raises(MissingExtraError, match=r"fix: pip install 'hardtemper\[tensorrt\]'"):
        import_tensorrt()
    monkeypatch.setattr(importlib, "import_module", only("tensorrt_lean", broken="tensorrt"))
    with pytest.raises(ModelError, match=r"tensorrt is installed and does not load; got: libnvinfer"):
        import_tensorrt()


def test_versions_are_numbers() -> None:
    assert version(types.SimpleNamespace(__version__="10.16.1.11")) == (10, 16, 1, 11)
    assert version(types.SimpleNamespace(__version__="10.0.0b6")) == (10, 0)


def test_only_errors_are_kept(gpu: Any, release: str) -> None:
    log = logger(gpu.fake_tensorrt(release, gpu.FakeCuda(), PROFILES))
    log.log(2, "a warning")
    assert last_error() == "nothing said"
    log.log(1, "an error\nwith details")
    assert last_error() == "an error"
