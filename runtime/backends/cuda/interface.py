"""What an engine needs of CUDA: memory on the device, page-locked memory on the host, streams, events.

Rule: one small protocol, two implementations, and the one that is installed is used: cuda-bindings, or pycuda. Both
work in the device's primary context, the one that PyTorch uses too, so that all of them live in one process. The
context is current only inside `active`, and every other call stands inside it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...shapes import Shaped

__all__ = ["Cuda", "DeviceMemory", "Event", "PinnedMemory", "Stream"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeviceMemory:
    """`size` bytes on the device at `address`; `owner` is the implementation's own."""

    address: int
    size: int
    owner: Any


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PinnedMemory:
    """Page-locked bytes on the host, uint8 [size]: copies to and from them run beside other work."""

    array: NDArray[np.uint8]
    owner: Any


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stream:
    """A queue of work on the device that does not wait for the default stream; `handle` is CUDA's CUstream."""

    handle: int
    owner: Any


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Event:
    """A mark on a stream; the device notes the time when it gets there."""

    owner: Any


class Cuda(Protocol):
    """CUDA on the first GPU.

    Everything but `name` and `active` is called inside `active`. A failed call raises MemoryError where the device is
    out of memory, ModelError otherwise.
    """

    @property
    def name(self) -> str:
        """Who it is: "cuda-bindings" or "pycuda"."""

    def active(self) -> AbstractContextManager[None]:
        """Make the device's primary context current on this thread; what was current before is so again behind it."""

    def allocate(self, size: int) -> DeviceMemory:
        """`size` bytes on the device, 1 or more, uninitialized."""

    def pin(self, size: int) -> PinnedMemory:
        """`size` page-locked bytes on the host, 1 or more, uninitialized."""

    def new_stream(self) -> Stream:
        """A new stream."""

    def new_event(self) -> Event:
        """A new event that can be timed."""

    def release(self, resource: DeviceMemory | PinnedMemory | Stream | Event) -> None:
        """Give back what one of these made, from whatever thread."""

    def upload(self, target: DeviceMemory, source: Shaped[NDArray[Any], " ..."], stream: Stream) -> None:
        """Enqueue a copy of a contiguous array to the device, at most `target.size` bytes."""

    def download(self, target: Shaped[NDArray[Any], " ..."], source: DeviceMemory, stream: Stream) -> None:
        """Enqueue a copy from the device that fills a contiguous array, at most `source.size` bytes."""

    def synchronize(self, stream: Stream) -> None:
        """Wait until the device has done everything on the stream."""

    def record(self, event: Event, stream: Stream) -> None:
        """Enqueue the mark."""

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds between two marks that the device has passed."""

    def free_bytes(self) -> int:
        """Device memory that nobody uses."""
