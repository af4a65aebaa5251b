"""From the cache to a running engine: what is asked in which order, and every refusal as one line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper import load
from hardtemper.runtime.backends.cuda.driver import Gpu
from hardtemper.runtime.backends.tensorrt import open as tensorrt_open
from hardtemper.runtime.backends.tensorrt.cache import CachedEngine, Tensor, cache_folder, write_engine
from hardtemper.runtime.backends.tensorrt.open import open_cached, open_engine
from hardtemper.runtime.errors import (
    BundleError,
    BundleFormatError,
    HardtemperError,
    InputError,
    IntegrityError,
    MissingExtraError,
    ModelError,
)
from hardtemper.runtime.files.onnx_file import read_onnx

SHAPE, CLASSES, RELEASE = (1, 8, 8), 10, "11.4.0.106"
HERE = Gpu(name="Fake GPU", compute_capability="8.6", cuda="12.4", pci_bus_id="0000:01:00.0")


class Machine:
    """A machine with a GPU and TensorRT; `asked` is the order in which they are asked for."""

    def __init__(self, gpu: Any, monkeypatch: pytest.MonkeyPatch, *, release: str = RELEASE) -> None:
        self.asked: list[str] = []
        self.cuda, self.capture = gpu.FakeCuda(), gpu.Capture()
        self.trt = gpu.fake_tensorrt(release, self.cuda, [(1, 4, 16)])
        runtime = self.trt.Runtime

        class Runtime(runtime):  # type: ignore[misc, valid-type]
            def __init__(self, logger: Any) -> None:
                asked.append("runtime")
                super().__init__(logger)

            def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
                asked.append("deserialize")
                return super().deserialize_cuda_engine(serialized_engine)

        asked, self.trt.Runtime = self.asked, Runtime
        for name, what in (
            ("open_driver", "driver"),
            ("find_gpu", HERE),
            ("import_tensorrt", self.trt),
            ("open_cuda", self.cuda),
        ):
            monkeypatch.setattr(tensorrt_open, name, self._noted(name, what))
        monkeypatch.setattr(tensorrt_open, "CudaGraph", lambda driver, *work: self.capture(*work))

    def _noted(self, name: str, what: Any) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            self.asked.append(name)
            if isinstance(what, Exception):
                raise what
            return what

        return ask

    def refuse(self, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
        monkeypatch.setattr(tensorrt_open, name, self._noted(name, error))


@pytest.fixture
def machine(gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Machine(gpu, monkeypatch)


@pytest.fixture
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle()


def entry_of(graph: Path, engine: bytes, **changes: Any) -> CachedEngine:
    entry = CachedEngine(
        graph_sha256=hashlib.sha256(graph.read_bytes()).hexdigest(),
        engine_sha256=hashlib.sha256(engine).hexdigest(),
        tensorrt=RELEASE,
        compute_capability="8.6",
        gpu="Fake GPU",
        driver="12.4",
        flags={},
        profiles=((1, 4, 16),),
        input=Tensor(name="image", dtype="uint8", shape=SHAPE),
        output=Tensor(name="logits", dtype="float32", shape=(CLASSES,)),
    )
    return replace(entry, **changes)


def compiled(bundle: Path, engine: bytes | None = None, **changes: Any) -> Path:
    """Put an engine into the cache as the compiler would; the fake's engines are ONNX files."""
    graph = bundle / "graph.onnx"
    engine = graph.read_bytes() if engine is None else engine
    return write_engine(cache_folder(), entry_of(graph, engine, **changes), engine)


def test_a_bundle_runs_on_the_gpu(machine: Machine, bundle: Path, classifier: Any) -> None:
    compiled(bundle)
    engine = load(bundle, backend="tensorrt")
    assert engine.backend.name == "tensorrt"
    assert engine.labels == tuple(f"class {index}" for index in range(CLASSES))
    images = np.random.default_rng(0).integers(0, 256, (50, *SHAPE), np.uint8)
    for _ in range(3):
        np.testing.assert_array_equal(engine(images), classifier.logits(images))
    np.testing.assert_array_equal(engine(images), load(bundle, threads=1)(images))


def test_the_gpu_is_looked_for_before_tensorrt_and_both_before_the_engine(machine: Machine, bundle: Path) -> None:
    compiled(bundle)
    load(bundle, backend="tensorrt")
    assert machine.asked == ["open_driver", "find_gpu", "import_tensorrt", "open_cuda", "runtime", "deserialize"]


@pytest.mark.parametrize("scale", [2**-8, 1.0, 1 / 255, float(np.float32(1 / 255))])
def test_what_a_float_engine_is_given(machine: Machine, bundle: Path, classifier: Any, scale: float) -> None:
    image = Tensor(name="image", dtype="float32", shape=SHAPE, scale=scale)
    compiled(bundle, classifier.onnx(dtype="float32"), input=image)
    engine = load(bundle, backend="tensorrt")
    images = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), np.uint8)
    # x = scale * pixel instead of pixel / 256
    expected = classifier.logits(images).astype(np.float64) * (scale * 256)
    np.testing.assert_allclose(engine(images), expected, rtol=1e-5, atol=1e-4)


def test_an_engine_that_carries_code_may_run_it(machine: Machine, bundle: Path) -> None:
    allowed = []
    runtime = machine.trt.Runtime

    class Watched(runtime):  # type: ignore[misc, valid-type]
        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            allowed.append(self.engine_host_code_allowed)
            return super().deserialize_cuda_engine(serialized_engine)

    machine.trt.Runtime = Watched
    path = compiled(bundle)
    open_engine(path)
    path.unlink()
    open_engine(compiled(bundle, flags={"version_compatible": True}))
    assert allowed == [False, True]


NO_DRIVER = InputError("no NVIDIA driver on this machine", expected="libcuda.so.1", got="nothing", fix="install it")


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (NO_DRIVER, ["open_driver"]),
        (
            MissingExtraError("tensorrt", extra="tensorrt", feature="an engine on the GPU"),
            ["open_driver", "find_gpu", "import_tensorrt"],
        ),
        (
            MissingExtraError("cuda-bindings", extra="tensorrt", feature="an engine on the GPU"),
            ["open_driver", "find_gpu", "import_tensorrt", "open_cuda"],
        ),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_run(
    machine: Machine, bundle: Path, monkeypatch: pytest.MonkeyPatch, error: HardtemperError, asked: list[str]
) -> None:
    compiled(bundle)
    machine.refuse(monkeypatch, asked[-1], error)
    with pytest.raises(type(error)) as caught:
        load(bundle, backend="tensorrt")
    assert caught.value is error
    assert error.exit_code == 2
    assert machine.asked == asked


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"compute_capability": "9.0"}, "built for compute capability 9.0, found 8.6"),
        ({"tensorrt": "10.16.1.11"}, f"built with TensorRT 10.16.1.11, found {RELEASE}"),
    ],
)
def test_an_engine_of_another_machine_is_refused(
    machine: Machine, bundle: Path, changes: dict[str, str], said: str
) -> None:
    path = compiled(bundle, **changes)
    with pytest.raises(BundleError) as caught:
        load(bundle, backend="tensorrt")
    assert str(caught.value) == (
        f"{bundle}: no TensorRT engine for this GPU; expected: compute capability 8.6, TensorRT {RELEASE}; "
        f"got: {said}; fix: toolchain compile {bundle} --target tensorrt"
    )
    with pytest.raises(ModelError, match=said):
        open_engine(path)
    assert "deserialize" not in machine.asked


def test_no_engine_was_built(machine: Machine, bundle: Path) -> None:
    with pytest.raises(BundleError, match="got: none in the cache; fix: toolchain compile "):
        open_cached(read_onnx(bundle / "graph.onnx"))


def test_an_engine_that_changed_is_refused(machine: Machine, bundle: Path) -> None:
    path = compiled(bundle)
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(IntegrityError, match="changed"):
        open_engine(path)
    assert "deserialize" not in machine.asked


def test_a_foreign_engine_runs_only_if_it_is_trusted(
    machine: Machine, bundle: Path, classifier: Any, tmp_path: Path
) -> None:
    engine = (bundle / "graph.onnx").read_bytes()
    folder = tmp_path / "downloads"
    path = write_engine(folder, entry_of(bundle / "graph.onnx", engine), engine)
    folder.chmod(0o777)
    with pytest.raises(IntegrityError, match="engines in it are not trusted"):
        open_engine(path)
    assert "deserialize" not in machine.asked
    images = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)
    np.testing.assert_array_equal(open_engine(path, trust=True).run(images), classifier.logits(images))


def test_an_engine_of_another_network_is_refused(
    machine: Machine, make_bundle: Callable[..., Path], manifest_value: dict[str, Any]
) -> None:
    bundle = make_bundle(output={"classes": ["a", "b"], "name": "logits"})
    compiled(bundle)
    with pytest.raises(BundleFormatError, match=r"output\.classes; expected: 10 labels, as in graph\.onnx; got: 2"):
        load(bundle, backend="tensorrt")


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        ({"backend": "tensorrt", "threads": 2}, "'tensorrt' with threads 2"),
        ({"backend": "tensorflow"}, "'tensorflow'"),
    ],
)
def test_backends_that_do_not_exist(bundle: Path, settings: dict[str, Any], got: str) -> None:
    with pytest.raises(InputError) as caught:
        load(bundle, **settings)
    assert str(caught.value) == f"backend; expected: onnxruntime or openvino or tensorrt without threads; got: {got}"
