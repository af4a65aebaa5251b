"""A device and a TensorRT for a machine that has neither; the fixture `gpu` gives this module.

The device's memory is real memory; the TensorRT reads its input at the address that it was told, runs ONNX Runtime on
it and writes where it was told, so that what comes out is right or wrong for real. It has names of the release's real
bindings only.
"""

from __future__ import annotations

import ctypes
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnxruntime as ort

from hardtemper.runtime.backends.cuda.interface import DeviceMemory, Event, PinnedMemory, Stream
from hardtemper.runtime.backends.onnxruntime import session_options
from hardtemper.runtime.errors import ModelError

SHAPE, CLASSES = (1, 8, 8), 10


class FakeCuda:
    """Memory, streams and events of a device that works as soon as it is told."""

    name = "fake"

    def __init__(self, capacity: int = 1 << 30) -> None:
        self.capacity, self.used, self.live, self.clock = capacity, 0, 0, 0.0
        self.synchronized = 0
        self._current = threading.local()
        self._lock = threading.Lock()
        self._handles = iter(range(1, 1 << 30))

    @contextmanager
    def active(self) -> Iterator[None]:
        self._current.depth = self.depth + 1
        try:
            yield
        finally:
            self._current.depth -= 1

    @property
    def depth(self) -> int:
        return getattr(self._current, "depth", 0)

    def count(self, change: int, size: int = 0) -> None:
        assert self.depth, "no context is current on this thread"
        with self._lock:
            self.live += change
            self.used += size

    def allocate(self, size: int) -> DeviceMemory:
        if self.used + size > self.capacity:
            raise MemoryError("fake")
        self.count(1, size)
        bytes_ = (ctypes.c_uint8 * size)(*([170] * min(size, 16)))
        return DeviceMemory(address=ctypes.addressof(bytes_), size=size, owner=bytes_)

    def pin(self, size: int) -> PinnedMemory:
        self.count(1)
        return PinnedMemory(array=np.full(size, 170, np.uint8), owner=None)

    def new_stream(self) -> Stream:
        self.count(1)
        return Stream(handle=next(self._handles), owner=threading.get_ident())

    def new_event(self) -> Event:
        self.count(1)
        return Event(owner=[0.0])

    def release(self, resource: DeviceMemory | PinnedMemory | Stream | Event) -> None:
        self.count(-1, -resource.size if isinstance(resource, DeviceMemory) else 0)

    def upload(self, target: DeviceMemory, source: Any, stream: Stream) -> None:
        self._copy(target.address, source.ctypes.data, source.nbytes, target.size, stream)

    def download(self, target: Any, source: DeviceMemory, stream: Stream) -> None:
        self._copy(target.ctypes.data, source.address, target.nbytes, source.size, stream)

    def _copy(self, to: int, start: int, size: int, most: int, stream: Stream) -> None:
        self.count(0)
        assert size <= most
        assert stream.owner == threading.get_ident(), "a stream of another thread"
        ctypes.memmove(to, start, size)

    def synchronize(self, stream: Stream) -> None:
        self.count(0)
        self.synchronized += 1

    def record(self, event: Event, stream: Stream) -> None:
        self.clock += 1.0
        event.owner[0] = self.clock

    def elapsed_ms(self, start: Event, end: Event) -> float:
        return float(end.owner[0] - start.owner[0])

    def free_bytes(self) -> int:
        self.count(0)
        return self.capacity - self.used


class Capture:
    """Graphs: what was captured, launched and given back."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse, self.graphs = refuse, 0
        self.log: list[str] = []

    def __call__(self, stream: int, enqueue: Callable[[], None]) -> Any:
        if self.refuse:
            raise ModelError("the GPU failed: cuStreamEndCapture", got="CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
        self.graphs += 1
        number = self.graphs
        self.log.append(f"capture {number}")
        work = weakref.WeakMethod(enqueue)  # a graph knows its kernels, not who enqueued them

        def launch() -> None:
            self.log.append(f"launch {number}")
            found = work()
            assert found is not None
            found()

        return types.SimpleNamespace(launch=launch, free=lambda: self.log.append(f"free {number}"))


def fake_tensorrt(release: str, cuda: FakeCuda, profiles: list[tuple[int, int, int]], **faults: Any) -> Any:
    """A module with the part of TensorRT that the backend touches, of one release.

    Args:
        release: "8.5.3.1", "10.16.1.11" or "11.4.0.106".
        cuda: whose memory it reads and writes.
        profiles: (min, opt, max) batches.
        faults: load=False, context=False, enqueue=False; batch=N for an engine of a fixed batch.
    """
    trt = types.ModuleType("tensorrt")
    old = release.startswith("8.")
    engines: list[Any] = []

    class ILogger:
        Severity = types.SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

        def log(self, severity: int, message: str) -> None:
            raise NotImplementedError

    class IExecutionContext:
        def __init__(self, engine: ICudaEngine) -> None:
            self.engine, self.profile, self.shape = engine, -1, None
            self.addresses: dict[str, int] = {}
            cuda.count(1)

        def __del__(self) -> None:
            cuda.count(-1)

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            taken = {context.profile for context in self.engine.contexts if context is not self}
            if old and profile_index in taken:
                self.engine.logger.log(1, f"Profile {profile_index} has been chosen by another context.\nmore")
                return False
            self.profile, self.shape = profile_index, None
            return True

        def set_input_shape(self, name: str, shape: Any) -> bool:
            least, _, most = profiles[self.profile]
            self.shape = tuple(shape)
            return name == "image" and least <= shape[0] <= most and self.shape[1:] == SHAPE

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self.addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert cuda.depth
            if not faults.get("enqueue", True):
                self.engine.logger.log(1, "out of memory")
                return False
            assert self.shape is not None
            self.engine.runs.append((self.profile, self.shape[0]))
            size = int(np.prod(self.shape)) * self.engine.kind.itemsize
            images = np.frombuffer(ctypes.string_at(self.addresses["image"], size), self.engine.kind)
            (logits,) = self.engine.session.run(None, {"image": images.reshape(self.shape)})
            ctypes.memmove(self.addresses["logits"], logits.astype(np.float32).tobytes(), logits.nbytes)
            return True

    class ICudaEngine:
        num_io_tensors = 2
        num_optimization_profiles = len(profiles)
        name = "fake"

        def __init__(self, serialized: bytes, log: Any) -> None:
            self.logger, self.runs, self.made = log, [], 0
            self.contexts: weakref.WeakSet[IExecutionContext] = weakref.WeakSet()
            self.session = ort.InferenceSession(
                serialized, session_options(threads=1), providers=["CPUExecutionProvider"]
            )
            self.kind = np.dtype("uint8" if self.session.get_inputs()[0].type == "tensor(uint8)" else "float32")
            setattr(self, "device_memory_size" if old else "device_memory_size_v2", 4096)
            engines.append(self)

        def get_tensor_name(self, index: int) -> str:
            return ("image", "logits")[index]

        def get_tensor_mode(self, name: str) -> str:
            return {"image": "INPUT", "logits": "OUTPUT"}[name]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            batch = faults.get("batch", -1)
            return {"image": (batch, *SHAPE), "logits": (batch, CLASSES)}[name]

        def get_tensor_dtype(self, name: str) -> Any:
            kind = {"uint8": "UINT8", "float32": "FLOAT"}[self.kind.name]
            return types.SimpleNamespace(name=faults.get("kind", kind) if name == "image" else "FLOAT")

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            return [(size, *SHAPE) for size in profiles[profile_index]]

        def create_execution_context(self) -> IExecutionContext | None:
            if not faults.get("context", True):
                self.logger.log(0, "out of memory")
                return None
            context = IExecutionContext(self)
            self.made += 1
            self.contexts.add(context)
            return context

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            if not old:
                self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            if not faults.get("load", True):
                self.logger.log(1, "Version tag differs\nand more")
                return None
            return ICudaEngine(serialized_engine, self.logger)

    trt.__version__ = release
    for kind in (ILogger, IExecutionContext, ICudaEngine, Runtime):
        setattr(trt, kind.__name__, kind)
    trt.TensorIOMode = types.SimpleNamespace(INPUT="INPUT")
    trt.Dims = tuple
    trt.engines = engines
    return trt
