"""The TensorRT backend on the device and the TensorRT of `fake_gpu.py`."""

from __future__ import annotations

import gc
import inspect
import json
import re
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.backends.tensorrt.backend import TensorRTBackend
from hardtemper.runtime.backends.tensorrt.package import import_tensorrt, last_error, logger, version
from hardtemper.runtime.backends.tensorrt.session import GraphWarning
from hardtemper.runtime.engine import Engine, open_onnx
from hardtemper.runtime.errors import MissingExtraError, ModelError

SHAPE, CLASSES = (1, 8, 8), 10
RELEASES = ("8.5.3.1", "10.16.1.11", "11.4.0.106")
RECORDED = Path(__file__).parents[3] / "data" / "tensorrt"
PROFILES = [(16, 32, 64), (1, 1, 4)]


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(classifier: Any, release: str, gpu: Any) -> Callable[..., tuple[TensorRTBackend, Any, Any, Any]]:
    """Opens the linear classifier as an engine; gives the backend, TensorRT, the device and the captured graphs."""

    def open_(
        *,
        cuda: Any = None,
        capture: Any = None,
        profiles: list[tuple[int, int, int]] = PROFILES,
        dtype: str = "uint8",
        scale: float = 1 / 255,
        **faults: Any,
    ) -> tuple[TensorRTBackend, Any, Any, Any]:
        cuda, capture = cuda or gpu.FakeCuda(), capture or gpu.Capture()
        trt = gpu.fake_tensorrt(release, cuda, profiles, **faults)
        backend = TensorRTBackend(
            classifier.onnx(dtype=dtype), tensorrt=trt, cuda=cuda, capture=capture, scale=scale, origin="net.engine"
        )
        return backend, trt, cuda, capture

    return open_


def pixels(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 16, 40, 64, 65, 150])
def test_any_batch_gives_the_logits(classifier: Any, opened: Any, count: int) -> None:
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
    classifier: Any, opened: Any, count: int, runs: list[tuple[int, int]]
) -> None:
    backend, trt, *_ = opened()
    backend.run(pixels(count))
    assert trt.engines[0].runs == runs


def test_a_fixed_batch_is_filled_up(classifier: Any, opened: Any) -> None:
    backend, trt, *_ = opened(profiles=[(8, 8, 8)], batch=8)
    images = pixels(11)
    np.testing.assert_array_equal(backend.run(images), classifier.logits(images))
    assert trt.engines[0].runs == [(0, 8), (0, 8)]


def test_pixels_are_scaled_for_an_engine_that_takes_floats(classifier: Any, opened: Any) -> None:
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


def test_each_thread_has_a_context_of_its_own(classifier: Any, opened: Any, release: str) -> None:
    backend, trt, cuda, _ = opened(profiles=[(1, 8, 32)])
    barrier = threading.Barrier(4)

    def work(seed: int) -> bool:
        barrier.wait()
        pieces = [pixels(count, seed) for count in (1, 32, 5, 5, 5, 40)]
        return all((backend.run(images) == classifier.logits(images)).all() for images in pieces)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert sum(engine.made for engine in trt.engines) == 5  # four threads and the one that opened it
    # 8.5 refuses a profile that another context of the engine has: there each thread has an engine too
    assert len(trt.engines) == (5 if release.startswith("8.") else 1)
    gc.collect()
    assert cuda.live == 2  # the threads are gone, and with them all but this thread's context and stream


def test_nothing_stays_on_the_device(classifier: Any, opened: Any) -> None:
    backend, _, cuda, capture = opened()
    for _ in range(3):
        backend.run(pixels(3))
    assert cuda.live == 6  # context, stream, two buffers on either side
    del backend
    gc.collect()
    assert (cuda.live, cuda.used) == (0, 0)
    assert capture.log[-1] == "free 1"


def test_graphs_are_captured_at_the_second_run_of_a_shape(classifier: Any, opened: Any) -> None:
    backend, _, _, capture = opened()
    seen = []
    for count in (3, 3, 3, 2, 2, 3, 20, 20, 3):
        images = pixels(count, len(seen))
        np.testing.assert_array_equal(backend.run(images), classifier.logits(images))
        seen.append(list(capture.log))
        capture.log.clear()
    assert seen == [
        [],
        ["capture 1", "launch 1"],
        ["launch 1"],
        ["free 1"],  # another shape: the graph is worth nothing
        ["capture 2", "launch 2"],
        ["free 2"],
        [],
        ["capture 3", "launch 3"],
        ["free 3"],
    ]


def test_work_that_cannot_be_captured_runs_all_the_same(classifier: Any, opened: Any, gpu: Any) -> None:
    backend, _, _, _ = opened(capture=gpu.Capture(refuse=True))
    images = pixels(3)
    backend.run(images)
    with pytest.warns(GraphWarning, match=r"net\.engine: no CUDA graph: .*CAPTURE_INVALIDATED"):
        np.testing.assert_array_equal(backend.run(images), classifier.logits(images))
    np.testing.assert_array_equal(backend.run(images), classifier.logits(images))  # and says so once
    assert not backend.session().captured


def test_no_room_names_the_profile(classifier: Any, opened: Any, gpu: Any) -> None:
    room = 4 * (64 + 4 * CLASSES)
    backend, _, cuda, _ = opened(cuda=gpu.FakeCuda(capacity=room + 100))
    small = pixels(4)
    np.testing.assert_array_equal(backend.run(small), classifier.logits(small))
    with pytest.raises(ModelError) as caught:
        backend.run(pixels(64))
    assert str(caught.value).startswith("net.engine: out of device memory in profile 0 (batches of 16 to 64); ")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(backend.run(small), classifier.logits(small))  # what fits still runs
    assert cuda.used == room


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


def test_what_cannot_run_is_one_line(classifier: Any, opened: Any) -> None:
    backend, *_ = opened(enqueue=False)
    with pytest.raises(ModelError) as caught:
        backend.run(pixels(3))
    assert str(caught.value) == (
        "net.engine: TensorRT cannot run a batch of 3 in profile 1 (batches of 1 to 4); got: out of memory"
    )
    assert last_error() == "nothing said"


def test_events_mark_the_steps(classifier: Any, opened: Any) -> None:
    backend, _, cuda, _ = opened()
    session = backend.session()
    with session.active():
        before = cuda.live
        marks = [session.new_mark() for _ in range(4)]
        session.stage(pixels(2))
        session.record(marks[0])
        for step, mark in zip((session.upload, session.compute, session.download), marks[1:], strict=True):
            step()
            session.record(mark)
        np.testing.assert_array_equal(session.result(), classifier.logits(pixels(2)))
        assert session.elapsed_ms(marks[0], marks[3]) == 3.0
        assert session.buffer_bytes == 4 * (64 + 4 * CLASSES)
        for mark in marks:
            session.drop(mark)
        assert cuda.live == before + 4  # the buffers


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
