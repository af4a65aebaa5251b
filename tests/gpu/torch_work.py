"""PyTorch as a `DeviceWork`: what an engine has to beat. On a CPU it is the same work, timed by the host's clock."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["TorchWork"]


class TorchWork:
    """A network on channels_last images.

    Args:
        module: float [N, C, H, W] in [0, 1] -> logits.
        device: "cuda" or "cpu".
        dtype: of weights and activations.
        how: "eager", "graph" (captured as a CUDA graph) or "compile" (torch.compile).
    """

    def __init__(self, module: nn.Module, *, device: str, dtype: torch.dtype, how: str = "eager") -> None:
        self._device, self._dtype, self._how = torch.device(device), dtype, how
        self._module = module.eval().to(self._device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._run = torch.compile(self._module, mode="max-autotune") if how == "compile" else self._module
        self._stream = torch.cuda.Stream() if self._on_gpu else None
        self._host = self._input = self._logits = self._back = torch.empty(0)
        self._graph: Any = None

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    def active(self) -> AbstractContextManager[None]:
        return torch.cuda.stream(self._stream) if self._stream is not None else nullcontext()  # type: ignore[return-value]

    @torch.inference_mode()
    def stage(self, images: NDArray[np.uint8]) -> None:
        if len(images) != len(self._host):
            self._host = torch.empty(images.shape, dtype=torch.uint8, pin_memory=self._on_gpu)
            self._input = torch.empty_like(self._host, device=self._device)
            self._graph = None
            self._prepare()
        self._host.copy_(torch.from_numpy(images))

    @torch.inference_mode()
    def upload(self) -> None:
        self._input.copy_(self._host, non_blocking=True)

    @torch.inference_mode()
    def compute(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        else:
            self._logits = self._forward()

    @torch.inference_mode()
    def download(self) -> None:
        self._back.copy_(self._logits, non_blocking=True)

    def result(self) -> NDArray[np.float32]:
        if self._stream is not None:
            self._stream.synchronize()
        return self._back.float().numpy().copy()

    def new_mark(self) -> Any:
        return torch.cuda.Event(enable_timing=True) if self._on_gpu else [0.0]

    def record(self, mark: Any) -> None:
        if self._on_gpu:
            mark.record(self._stream)
        else:
            mark[0] = time.perf_counter()

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) if self._on_gpu else 1000 * (end[0] - start[0])

    def drop(self, mark: Any) -> None:
        pass

    def _forward(self) -> torch.Tensor:
        x = self._input.to(self._dtype, memory_format=torch.channels_last).div_(255)
        logits: torch.Tensor = self._run(x)
        return logits

    def _prepare(self) -> None:
        self._input.zero_()
        for _ in range(3):
            self._logits = self._forward()
        if self._how == "graph" and self._on_gpu:
            assert self._stream is not None
            self._stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._logits = self._forward()
        self._back = torch.empty(self._logits.shape, dtype=self._logits.dtype, pin_memory=self._on_gpu)
