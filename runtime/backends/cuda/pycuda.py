"""CUDA through pycuda: the functions of `pycuda.driver` raise where a call fails.

Rule: one context object for all threads. pycuda frees a buffer only where its context object is current, or on the
thread that made that object (`scoped_context_activation` in its cuda.hpp), and loses the memory otherwise; a context
that is pushed around every use is current on every thread.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...shapes import Shaped
from .driver import cuda_failure
from .interface import DeviceMemory, Event, PinnedMemory, Stream

__all__ = ["PyCuda"]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


class PyCuda:
    """An `interface.Cuda`.

    Args:
        api: the module `pycuda.driver`.

    Raises:
        ModelError: CUDA cannot be initialized.
    """

    def __init__(self, api: Any) -> None:
        self._api = api
        with self._named("init"):
            api.init()
            self._context = api.Device(0).retain_primary_context()
        # Its destructor would call cuCtxDetach, which does not take a primary context.
        atexit.register(self._context.detach)

    @property
    def name(self) -> str:
        return "pycuda"

    @contextmanager
    def active(self) -> Iterator[None]:
        with self._named("Context.push"):
            self._context.push()
        try:
            yield
        finally:
            # of the class, not of the object: it pops whatever is current on this thread
            self._api.Context.pop()

    def allocate(self, size: int) -> DeviceMemory:
        with self._named("mem_alloc"):
            memory = self._api.mem_alloc(size)
        return DeviceMemory(address=int(memory), size=size, owner=memory)

    def pin(self, size: int) -> PinnedMemory:
        with self._named("pagelocked_empty"):
            array = self._api.pagelocked_empty(size, np.uint8)
        return PinnedMemory(array=array, owner=array.base)

    def new_stream(self) -> Stream:
        with self._named("Stream"):
            stream = self._api.Stream(_NON_BLOCKING)
        return Stream(handle=int(stream.handle), owner=stream)

    def new_event(self) -> Event:
        with self._named("Event"):
            return Event(owner=self._api.Event())

    def release(self, resource: DeviceMemory | PinnedMemory | Stream | Event) -> None:
        # Streams and events go with their last reference.
        if isinstance(resource, (DeviceMemory, PinnedMemory)):
            with self._named("free"):
                resource.owner.free()

    def upload(self, target: DeviceMemory, source: Shaped[NDArray[Any], " ..."], stream: Stream) -> None:
        with self._named("memcpy_htod_async"):
            self._api.memcpy_htod_async(target.owner, source, stream.owner)

    def download(self, target: Shaped[NDArray[Any], " ..."], source: DeviceMemory, stream: Stream) -> None:
        with self._named("memcpy_dtoh_async"):
            self._api.memcpy_dtoh_async(target, source.owner, stream.owner)

    def synchronize(self, stream: Stream) -> None:
        with self._named("Stream.synchronize"):
            stream.owner.synchronize()

    def record(self, event: Event, stream: Stream) -> None:
        with self._named("Event.record"):
            event.owner.record(stream.owner)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        with self._named("Event.time_till"):
            return float(start.owner.time_till(end.owner))

    def free_bytes(self) -> int:
        with self._named("mem_get_info"):
            free, _ = self._api.mem_get_info()
        return int(free)

    @contextmanager
    def _named(self, call: str) -> Iterator[None]:
        try:
            yield
        except self._api.MemoryError as error:
            raise MemoryError(f"{call}: {error}") from None
        except self._api.Error as error:
            raise cuda_failure(call, str(error)) from None
