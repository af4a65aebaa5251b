"""The backend on an NVIDIA GPU: TensorRT, without torch.

Rule: an engine runs only on the kind of GPU and under the TensorRT that built it, and deserializing one is running code
of whoever built it. So the GPU is looked for first, then engine and GPU are compared, and only then TensorRT sees the
bytes. Each thread has an execution context, a stream and buffers of its own. From TensorRT 10 on they share one engine;
before, a profile belongs to one context at a time (8.6 lifts that behind a preview flag, PROFILE_SHARING_0806), so each
thread deserializes the engine for itself.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ...shapes import Float32, Shaped
from ..cuda.interface import Cuda
from .package import last_error, logger, version
from .session import Capture, Session
from .signature import Signature, read_signature

__all__ = ["TensorRTBackend"]

_SHARED_PROFILES = (10,)


class TensorRTBackend:
    """A serialized engine, as a `protocol.Backend`.

    Args:
        serialized: the engine; trusted, for deserializing it can run code.
        tensorrt: the module; the device was found before (`cuda.driver.find_gpu`).
        cuda: the device.
        capture: how work on a stream is captured; a `CudaGraph` on the machine's driver, say.
        scale: what one step of a pixel is to an engine that takes floats.
        host_code: let TensorRT run code that the engine carries, as one that several versions can run does.
        origin: what to call the engine in an error.

    Raises:
        ModelError: TensorRT refuses the engine, it is no image classifier, or the device has no room.
    """

    def __init__(
        self,
        serialized: bytes,
        *,
        tensorrt: Any,
        cuda: Cuda,
        capture: Capture,
        scale: float = 1 / 255,
        host_code: bool = False,
        origin: str = "engine",
    ) -> None:
        self._serialized = serialized
        self._tensorrt = tensorrt
        self._cuda = cuda
        self._capture = capture
        self._scale = scale
        self._origin = origin
        self._lock = threading.Lock()
        self._sessions = threading.local()
        self._runtime = tensorrt.Runtime(logger(tensorrt))
        if host_code:
            self._runtime.engine_host_code_allowed = True
        self._shared, self._taken = version(tensorrt) >= _SHARED_PROFILES, False
        with cuda.active():
            self._engine = self._deserialize()
        self._signature = read_signature(tensorrt, self._engine, origin=origin)
        self.session()  # an engine that has no room is refused here, not at its first image

    @property
    def name(self) -> str:
        return "tensorrt"

    @property
    def input_dtype(self) -> str:
        return "uint8"  # an engine that takes floats is given them by its session

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self._signature.input_shape

    @property
    def batch(self) -> int | None:
        return None

    @property
    def classes(self) -> int:
        return self._signature.classes

    @property
    def signature(self) -> Signature:
        """Tensors and optimization profiles."""
        return self._signature

    @property
    def context_bytes(self) -> int:
        """Device memory of one execution context, as TensorRT counts it; each thread that runs the engine has one."""
        # 10 renamed it, 11 dropped the old name
        name = "device_memory_size_v2" if hasattr(self._engine, "device_memory_size_v2") else "device_memory_size"
        return int(getattr(self._engine, name))

    def session(self) -> Session:
        """This thread's session, made at its first use.

        Raises:
            ModelError: the device has no room for one more.
        """
        found: Session | None = getattr(self._sessions, "mine", None)
        if found is None:
            with self._lock, self._cuda.active():
                found = Session(
                    self._tensorrt,
                    self._take_engine(),
                    self._signature,
                    cuda=self._cuda,
                    capture=self._capture,
                    scale=self._scale,
                    origin=self._origin,
                )
            self._sessions.mine = found
        return found

    def run(self, images: Shaped[NDArray[Any], "n c h w"]) -> Float32[NDArray[np.float32], "n k"]:
        """Logits [N, K] of pixels [N, C, H, W], any N; more than the largest profile holds runs in pieces.

        Raises:
            ModelError: TensorRT or the device failed, or the device has no room (which profile).
        """
        session, step = self.session(), self._signature.profiles[-1].most
        logits = np.empty((len(images), self.classes), np.float32)
        with session.active():
            for start in range(0, len(images), step):
                session.stage(images[start : start + step])
                session.upload()
                session.compute()
                session.download()
                logits[start : start + step] = session.result()
        return logits

    def _take_engine(self) -> Any:
        if self._shared or not self._taken:
            self._taken = True
            return self._engine
        return self._deserialize()

    def _deserialize(self) -> Any:
        engine = self._runtime.deserialize_cuda_engine(self._serialized)
        if engine is None:
            raise ModelError(
                f"{self._origin}: TensorRT cannot load the engine", got=last_error(), fix="compile the bundle again"
            )
        return engine
