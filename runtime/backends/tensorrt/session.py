"""One TensorRT execution context with its buffers: what one thread runs an engine with.

Rule: a batch goes through `stage` (host: pixels into page-locked memory), then `upload`, `compute` and `download`,
which only enqueue on the session's own stream, and `result`, which waits. It runs in the profile with the smallest
upper bound that holds it, filled up with black images to the lower bound.

The kernels for a shape are captured as a CUDA graph when it comes the second time in a row: TensorRT wants one plain
run of a new shape before a capture, and a graph holds for one shape and one set of addresses (TensorRT's developer
guide on CUDA graphs). Another shape drops it.
"""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, ModelError
from ...shapes import Float32, UInt8
from ..cuda.interface import Cuda, DeviceMemory, Event, PinnedMemory, Stream
from .package import last_error
from .signature import Profile, Signature

__all__ = ["Capture", "CapturedWork", "GraphWarning", "Session"]


class GraphWarning(UserWarning):
    """The engine's kernels cannot be captured as a CUDA graph; they are launched one by one, which takes longer."""


class CapturedWork(Protocol):
    """A `cuda.driver.CudaGraph`."""

    def launch(self) -> None:
        """Put the captured work on the stream."""

    def free(self) -> None:
        """Give it back."""


Capture = Callable[[int, Callable[[], None]], CapturedWork]
"""Called as (stream's handle, enqueue): captures what `enqueue` puts on the stream."""


class Session:
    """An execution context, its stream and its buffers; for one thread.

    Args:
        tensorrt: the module.
        engine: an `ICudaEngine`.
        signature: what `read_signature` said of it.
        cuda: the device.
        capture: how work on a stream is captured.
        scale: what one step of a pixel is to an engine that takes floats.
        origin: what to call the engine in an error.

    Raises:
        ModelError: the device has no room.
    """

    def __init__(
        self,
        tensorrt: Any,
        engine: Any,
        signature: Signature,
        *,
        cuda: Cuda,
        capture: Capture,
        scale: float,
        origin: str,
    ) -> None:
        self._dims = tensorrt.Dims
        self._signature = signature
        self._cuda = cuda
        self._capture = capture
        self._scale = np.float32(scale)
        # x / 255 is not x * (1 / 255) in the last bit, and the network was trained on the first.
        self._divide = math.isclose(scale, 1 / 255, rel_tol=1e-6)
        self._origin = origin
        self._resources = _Resources()
        with cuda.active():
            context = engine.create_execution_context()
            if context is None:
                most = signature.profiles[-1]
                raise self._failed(f"no execution context for {most}, {cuda.free_bytes() >> 20} MiB are free")
            self._resources.engine, self._resources.context = engine, context
            self._resources.stream = cuda.new_stream()
        # At exit the driver takes everything back by itself, and order is no longer ours.
        weakref.finalize(self, _release, cuda, self._resources).atexit = False
        self._profile: Profile | None = None
        self._batch = 0
        self._images = 0
        self._ran = False
        self._capturable = True

    def active(self) -> AbstractContextManager[None]:
        """Make the device current on this thread; every step stands inside it."""
        return self._cuda.active()

    @property
    def captured(self) -> bool:
        """Whether the kernels of the current shape are launched as a graph."""
        return self._resources.graph is not None

    @property
    def buffer_bytes(self) -> int:
        """Device memory of the session's own input and output buffers."""
        return sum(memory.size for memory in self._resources.device)

    def stage(self, images: UInt8[NDArray[np.uint8], "n c h w"]) -> None:
        """Take a batch: set the shape and put the images into page-locked memory as the engine takes them.

        Args:
            images: uint8 [n, C, H, W], 1 <= n <= the largest profile's upper bound.

        Raises:
            ModelError: the device has no room (which profile), or TensorRT refuses the shape.
        """
        profile = self._signature.profile(len(images))
        if not 1 <= len(images) <= profile.most:
            raise InputError(f"{self._origin}: batch", expected=f"1 to {profile.most}", got=str(len(images)))
        self._shape(profile, max(len(images), profile.least))
        self._images = len(images)
        staged = self._host_input()
        staged[len(images) :] = 0
        if staged.dtype == np.uint8:
            staged[: len(images)] = images
        elif self._divide:
            np.divide(images, np.float32(255), out=staged[: len(images)], casting="same_kind")
        else:
            np.multiply(images, self._scale, out=staged[: len(images)], casting="same_kind")

    def upload(self) -> None:
        """Enqueue the copy of the staged batch to the device."""
        self._cuda.upload(self._resources.device[0], self._host_input(), self._resources.stream)

    def compute(self) -> None:
        """Enqueue the kernels.

        Raises:
            ModelError: TensorRT or the device failed.
        """
        if self._resources.graph is None and self._ran and self._capturable:
            try:
                self._resources.graph = self._capture(self._resources.stream.handle, self._enqueue)
            except ModelError as error:
                self._capturable = False
                message = f"{self._origin}: no CUDA graph: {error}"
                warnings.warn(message, GraphWarning, stacklevel=3)
        if self._resources.graph is not None:
            self._resources.graph.launch()
        else:
            self._enqueue()
        self._ran = True

    def download(self) -> None:
        """Enqueue the copy of the logits to the host."""
        self._cuda.download(self._host_output(), self._resources.device[1], self._resources.stream)

    def result(self) -> Float32[NDArray[np.float32], "n k"]:
        """Wait for the stream; logits [n, K] of the staged images.

        Raises:
            ModelError: the device failed.
        """
        self._cuda.synchronize(self._resources.stream)
        return np.array(self._host_output()[: self._images], np.float32)

    def new_mark(self) -> Event:
        """An event, for `record`; `drop` gives it back."""
        return self._cuda.new_event()

    def record(self, mark: Event) -> None:
        """Enqueue the mark."""
        self._cuda.record(mark, self._resources.stream)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds on the device between two marks, behind `result`."""
        return self._cuda.elapsed_ms(start, end)

    def drop(self, mark: Event) -> None:
        """Give a mark back."""
        self._cuda.release(mark)

    def _shape(self, profile: Profile, batch: int) -> None:
        if profile == self._profile and batch == self._batch:
            return
        changed, self._batch, self._ran = profile != self._profile, 0, False
        self._drop_graph()
        held = self._resources  # no local for the context: the traceback of an error would keep it
        if changed:
            self._profile = None
            if not held.context.set_optimization_profile_async(profile.index, held.stream.handle):
                raise self._failed(f"{profile} cannot be set")
            self._cuda.synchronize(held.stream)
            self._reserve(profile)
        if not held.context.set_input_shape(self._signature.input, self._dims((batch, *self._signature.input_shape))):
            raise self._failed(f"a batch of {batch} cannot be set in {profile}")
        for name, memory in zip((self._signature.input, self._signature.output), held.device, strict=True):
            if not held.context.set_tensor_address(name, memory.address):
                raise self._failed(f"the buffer of {name!r} cannot be set")
        self._profile, self._batch = profile, batch

    def _reserve(self, profile: Profile) -> None:
        """Buffers for the profile's largest batch; larger ones stay."""
        signature = self._signature
        sizes = (
            profile.most * int(np.prod(signature.input_shape)) * np.dtype(signature.input_dtype).itemsize,
            profile.most * signature.classes * np.dtype(signature.output_dtype).itemsize,
        )
        if self._resources.device and all(
            m.size >= size for m, size in zip(self._resources.device, sizes, strict=True)
        ):
            return
        self._resources.release_buffers(self._cuda)
        try:
            for size in sizes:
                self._resources.device.append(self._cuda.allocate(size))
                self._resources.host.append(self._cuda.pin(size))
        except MemoryError:
            self._resources.release_buffers(self._cuda)
            raise ModelError(
                f"{self._origin}: out of device memory in {profile}",
                expected=f"{sum(sizes) >> 20} MiB for images and logits",
                got=f"{self._cuda.free_bytes() >> 20} MiB free",
                fix="a smaller max_batch, or compile with a smaller largest batch",
            ) from None

    def _enqueue(self) -> None:
        if not self._resources.context.execute_async_v3(self._resources.stream.handle):
            raise self._failed(f"TensorRT cannot run a batch of {self._batch} in {self._profile}")

    def _host_input(self) -> NDArray[Any]:
        return _shaped(
            self._resources.host[0], self._signature.input_dtype, (self._batch, *self._signature.input_shape)
        )

    def _host_output(self) -> NDArray[Any]:
        return _shaped(self._resources.host[1], self._signature.output_dtype, (self._batch, self._signature.classes))

    def _drop_graph(self) -> None:
        if self._resources.graph is not None:
            self._cuda.synchronize(self._resources.stream)
            self._resources.graph.free()
            self._resources.graph = None

    def _failed(self, what: str) -> ModelError:
        return ModelError(f"{self._origin}: {what}", got=last_error())


class _Resources:
    """What has to be given back; apart from the session, so that its finalizer does not keep it."""

    def __init__(self) -> None:
        self.engine: Any = None
        self.context: Any = None
        self.stream: Stream = Stream(handle=0, owner=None)
        self.graph: CapturedWork | None = None
        self.device: list[DeviceMemory] = []
        self.host: list[PinnedMemory] = []

    def release_buffers(self, cuda: Cuda) -> None:
        while self.device:
            cuda.release(self.device.pop())
        while self.host:
            cuda.release(self.host.pop())


def _release(cuda: Cuda, resources: _Resources) -> None:
    with cuda.active():
        if resources.stream.handle:
            cuda.synchronize(resources.stream)
        if resources.graph is not None:
            resources.graph.free()
        resources.context = None  # TensorRT frees its memory here
        resources.engine = None
        resources.release_buffers(cuda)
        if resources.stream.handle:
            cuda.release(resources.stream)
            resources.stream = Stream(handle=0, owner=None)


def _shaped(memory: PinnedMemory, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    return memory.array[: int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
