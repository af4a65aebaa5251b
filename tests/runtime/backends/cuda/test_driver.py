"""CUDA's driver without a GPU: it is `libcuda.c`, built here."""

from __future__ import annotations

import ctypes
import sys
import types
from pathlib import Path

import pytest

from hardtemper.runtime.backends.cuda import driver as cuda_driver
from hardtemper.runtime.backends.cuda.driver import CudaGraph, Driver, cuda_failure, find_gpu, open_driver
from hardtemper.runtime.errors import InputError, ModelError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="libcuda.c is built for Linux")


def test_the_gpu_is_described(driver: Driver) -> None:
    gpu = find_gpu(driver)
    assert (gpu.name, gpu.compute_capability, gpu.cuda, gpu.pci_bus_id) == ("Fake GPU", "8.6", "12.4", "0000:01:00.0")


def test_no_driver_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_LIBRARY", "libcuda-that-is-not-there.so.1")
    with pytest.raises(InputError) as caught:
        open_driver()
    assert str(caught.value) == (
        "no NVIDIA driver on this machine; expected: libcuda-that-is-not-there.so.1; got: nothing; "
        "fix: install NVIDIA's driver, or open the bundle on ONNX Runtime"
    )
    assert caught.value.exit_code == 2


def test_a_driver_without_a_gpu_is_one_line(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CUDA", "no-device")
    with pytest.raises(InputError, match="cannot be initialized; expected: a GPU; got: CUDA_ERROR_NO_DEVICE; fix"):
        Driver(ctypes.CDLL(str(library)))


def test_no_gpu_that_cuda_may_use_is_one_line() -> None:
    nothing = types.SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGetCount=lambda count: 0)
    with pytest.raises(InputError, match="no GPU that CUDA can use; expected: one or more; got: none"):
        find_gpu(Driver(nothing))


def test_failed_calls_are_named(driver: Driver) -> None:
    with pytest.raises(
        ModelError, match="the GPU failed: cuMemFree_v2; expected: CUDA_SUCCESS; got: CUDA_ERROR_INVALI"
    ):
        driver("cuMemFree_v2", ctypes.c_void_p(1))
    with pytest.raises(MemoryError, match="cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY"):
        driver("cuMemAlloc_v2", ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(1 << 40))
    with pytest.raises(ModelError, match="got: error 101"):
        driver("cuDeviceGet", ctypes.byref(ctypes.c_int()), 1)
    assert isinstance(cuda_failure("x", "CUDA_ERROR_OUT_OF_MEMORY"), MemoryError)


def test_a_graph_runs_what_was_captured_as_often_as_it_is_launched(driver: Driver) -> None:
    stream = ctypes.c_void_p()
    driver("cuStreamCreate", ctypes.byref(stream), 1)
    source, target = ctypes.create_string_buffer(b"one"), ctypes.create_string_buffer(4)

    def enqueue() -> None:
        driver("cuMemcpyHtoDAsync_v2", target, source, ctypes.c_size_t(4), stream)

    graph = CudaGraph(driver, stream.value or 0, enqueue)
    assert target.value == b""
    for word in (b"two", b"six"):
        source.value = word
        graph.launch()
        assert target.value == word
    graph.free()
    driver("cuStreamDestroy_v2", stream)


def test_a_capture_ends_where_its_work_fails(driver: Driver) -> None:
    stream = ctypes.c_void_p()
    driver("cuStreamCreate", ctypes.byref(stream), 1)

    def fail() -> None:
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        CudaGraph(driver, stream.value or 0, fail)
    driver("cuStreamSynchronize", stream)  # refused while a stream captures
    driver("cuStreamDestroy_v2", stream)
