"""The NVIDIA driver itself, through ctypes: which GPU there is, and CUDA graphs.

Rule: nothing here needs a package. `find_gpu` runs before any engine is deserialized, because TensorRT's lean runtime
crashes where there is no driver. Graphs are here because pycuda does not wrap them; a stream's handle is one integer,
whoever made it. Entry points and numbers are those of cuda.h, CUDA 11.4 and later.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import InputError, ModelError

__all__ = ["CudaGraph", "Driver", "Gpu", "cuda_failure", "find_gpu", "open_driver"]

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_FIX = "install NVIDIA's driver, or open the bundle on ONNX Runtime"

# CUdevice_attribute, CUstreamCaptureMode
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_CAPTURE_THREAD_LOCAL = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """The first GPU that this process may use.

    Attributes:
        name: the product's.
        compute_capability: "8.6".
        cuda: the newest CUDA that the driver runs, "12.4".
        pci_bus_id: "0000:01:00.0"; NVML knows the GPU by it.
    """

    name: str
    compute_capability: str
    cuda: str
    pci_bus_id: str


def cuda_failure(call: str, status: str) -> Exception:
    """What to raise where a CUDA call failed.

    Args:
        call: the entry point.
        status: CUDA's name of the error.

    Returns:
        MemoryError where the device is out of memory, ModelError otherwise.
    """
    if status == "CUDA_ERROR_OUT_OF_MEMORY":
        return MemoryError(f"{call}: {status}")
    return ModelError(f"the GPU failed: {call}", expected="CUDA_SUCCESS", got=status)


class Driver:
    """The driver's library, initialized. `driver("cuGraphLaunch", graph, stream)` calls one entry point.

    Raises:
        InputError: it cannot be initialized, for want of a GPU say.
        ModelError, MemoryError: from a call that failed (see `cuda_failure`).
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        if status := library.cuInit(0):
            raise InputError(
                "the NVIDIA driver cannot be initialized", expected="a GPU", got=self._name(status), fix=_FIX
            )

    def __call__(self, entry: str, *arguments: Any) -> None:
        if status := getattr(self._library, entry)(*arguments):
            raise cuda_failure(entry, self._name(status))

    def _name(self, status: int) -> str:
        text = ctypes.c_char_p()
        if self._library.cuGetErrorName(status, ctypes.byref(text)) or text.value is None:
            return f"error {status}"
        return text.value.decode()


class CudaGraph:
    """Work on a stream, captured once and launched as one piece.

    Args:
        driver: an initialized driver; the GPU's context is current on this thread.
        stream: the stream's handle, not that of the default stream.
        enqueue: puts the work on the stream. It must have run on it before with the same shapes and addresses.

    Raises:
        ModelError, MemoryError: the work cannot be captured, or from `enqueue`.
    """

    def __init__(self, driver: Driver, stream: int, enqueue: Callable[[], None]) -> None:
        self._driver, self._stream = driver, ctypes.c_void_p(stream)
        self._executable = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        # Other threads' calls go on meanwhile: only this thread's must be capturable.
        driver("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_CAPTURE_THREAD_LOCAL))
        try:
            enqueue()
        finally:
            driver("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        try:
            driver("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0))
        finally:
            driver("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Put the captured work on the stream."""
        self._driver("cuGraphLaunch", self._executable, self._stream)

    def free(self) -> None:
        """Give it back; it is not launched again."""
        self._driver("cuGraphExecDestroy", self._executable)


def open_driver() -> Driver:
    """The driver of this machine.

    Raises:
        InputError: there is none, or it cannot be initialized.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise InputError("no NVIDIA driver on this machine", expected=_LIBRARY, got="nothing", fix=_FIX) from None
    return Driver(library)


def find_gpu(driver: Driver) -> Gpu:
    """The first GPU that this process may use (CUDA_VISIBLE_DEVICES).

    Raises:
        InputError: there is none.
    """
    count, device = ctypes.c_int(), ctypes.c_int()
    driver("cuDeviceGetCount", ctypes.byref(count))
    if not count.value:
        raise InputError("no GPU that CUDA can use", expected="one or more", got="none", fix=_FIX)
    driver("cuDeviceGet", ctypes.byref(device), 0)
    name, bus = ctypes.create_string_buffer(256), ctypes.create_string_buffer(64)
    driver("cuDeviceGetName", name, len(name), device)
    driver("cuDeviceGetPCIBusId", bus, len(bus), device)
    numbers = [ctypes.c_int(), ctypes.c_int(), ctypes.c_int()]
    for number, attribute in zip(numbers, (_CAPABILITY_MAJOR, _CAPABILITY_MINOR), strict=False):
        driver("cuDeviceGetAttribute", ctypes.byref(number), attribute, device)
    major, minor, cuda = numbers
    driver("cuDriverGetVersion", ctypes.byref(cuda))
    return Gpu(
        name=name.value.decode(),
        compute_capability=f"{major.value}.{minor.value}",
        cuda=f"{cuda.value // 1000}.{cuda.value % 1000 // 10}",
        pci_bus_id=bus.value.decode(),
    )
