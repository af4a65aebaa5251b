"""CUDA through cuda-bindings, NVIDIA's own: the functions of `cuda.bindings.driver` return (status, value)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...shapes import Shaped
from .driver import cuda_failure
from .interface import DeviceMemory, Event, PinnedMemory, Stream

__all__ = ["CudaBindings"]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


class CudaBindings:
    """An `interface.Cuda`.

    Args:
        api: the module `cuda.bindings.driver`.

    Raises:
        ModelError: CUDA cannot be initialized.
    """

    def __init__(self, api: Any) -> None:
        self._api = api
        self._call("cuInit", 0)
        self._context = self._call("cuDevicePrimaryCtxRetain", self._call("cuDeviceGet", 0))

    @property
    def name(self) -> str:
        return "cuda-bindings"

    @contextmanager
    def active(self) -> Iterator[None]:
        self._call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent")

    def allocate(self, size: int) -> DeviceMemory:
        address = self._call("cuMemAlloc", size)
        return DeviceMemory(address=int(address), size=size, owner=address)

    def pin(self, size: int) -> PinnedMemory:
        address = int(self._call("cuMemHostAlloc", size, 0))
        array: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        return PinnedMemory(array=array, owner=address)

    def new_stream(self) -> Stream:
        stream = self._call("cuStreamCreate", _NON_BLOCKING)
        return Stream(handle=int(stream), owner=stream)

    def new_event(self) -> Event:
        return Event(owner=self._call("cuEventCreate", 0))

    def release(self, resource: DeviceMemory | PinnedMemory | Stream | Event) -> None:
        entry = {
            DeviceMemory: "cuMemFree",
            PinnedMemory: "cuMemFreeHost",
            Stream: "cuStreamDestroy",
            Event: "cuEventDestroy",
        }[type(resource)]
        self._call(entry, resource.owner)

    def upload(self, target: DeviceMemory, source: Shaped[NDArray[Any], " ..."], stream: Stream) -> None:
        self._call("cuMemcpyHtoDAsync", target.owner, source.ctypes.data, source.nbytes, stream.owner)

    def download(self, target: Shaped[NDArray[Any], " ..."], source: DeviceMemory, stream: Stream) -> None:
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, source.owner, target.nbytes, stream.owner)

    def synchronize(self, stream: Stream) -> None:
        self._call("cuStreamSynchronize", stream.owner)

    def record(self, event: Event, stream: Stream) -> None:
        self._call("cuEventRecord", event.owner, stream.owner)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        return float(self._call("cuEventElapsedTime", start.owner, end.owner))

    def free_bytes(self) -> int:
        free, _ = self._call("cuMemGetInfo")
        return int(free)

    def _call(self, entry: str, *arguments: Any) -> Any:
        status, *values = getattr(self._api, entry)(*arguments)
        if int(status):
            raise cuda_failure(entry, status.name)
        return values[0] if len(values) == 1 else values
