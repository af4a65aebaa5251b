"""Drives the CUDA package that is installed through every call of `cuda.Cuda`; a process of its own, on libcuda.c."""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from functools import partial
from typing import Any

import numpy as np

from hardtemper.runtime.backends.cuda.driver import CudaGraph, find_gpu, open_driver
from hardtemper.runtime.backends.cuda.interface import Cuda, DeviceMemory, PinnedMemory, Stream
from hardtemper.runtime.backends.cuda.select import open_cuda
from hardtemper.runtime.errors import ModelError


def there_and_back(cuda: Cuda, memory: DeviceMemory, host: PinnedMemory, back: PinnedMemory, stream: Stream) -> None:
    cuda.upload(memory, host.array, stream)
    cuda.download(back.array, memory, stream)


def main() -> dict[str, Any]:
    driver, fake = open_driver(), ctypes.CDLL("libcuda.so.1")
    gpu, cuda = find_gpu(driver), open_cuda()
    data = np.arange(100, dtype=np.uint8)
    with cuda.active():
        memory, host, back, stream = cuda.allocate(100), cuda.pin(100), cuda.pin(100), cuda.new_stream()
        start, end = cuda.new_event(), cuda.new_event()
        host.array[:], back.array[:] = data, 0
        cuda.record(start, stream)
        cuda.upload(memory, host.array[:50], stream)
        cuda.record(end, stream)
        cuda.download(back.array[:50], memory, stream)
        cuda.synchronize(stream)
        copied = back.array.tolist() == [*range(50), *[0] * 50]
        elapsed = cuda.elapsed_ms(start, end)

        graph = CudaGraph(driver, stream.handle, partial(there_and_back, cuda, memory, host, back, stream))
        untouched = back.array.tolist() == [*range(50), *[0] * 50]
        host.array[:] = data[::-1]
        graph.launch()
        cuda.synchronize(stream)
        launched = back.array.tolist() == data[::-1].tolist()
        graph.free()
        free = cuda.free_bytes()
        try:
            cuda.allocate(1 << 40)
        except MemoryError as error:
            no_room = str(error)
    try:
        cuda.free_bytes()
    except ModelError as error:
        outside = str(error)
    held = [memory, host, back, stream, start, end]
    del memory, host, back, stream, start, end
    depths = []

    def elsewhere() -> None:
        with cuda.active():
            while held:
                cuda.release(held.pop())
        depths.append(fake.fake_depth())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    return {
        "name": cuda.name,
        "gpu": [gpu.name, gpu.compute_capability, gpu.cuda, gpu.pci_bus_id],
        "copied": copied,
        "elapsed_ms": elapsed,
        "captured without running": untouched,
        "launched": launched,
        "free": free,
        "no room": no_room,
        "outside": outside,
        "left": [fake.fake_live(), fake.fake_depth(), *depths],
        "once": open_cuda() is cuda,
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["lazy"]:
        sys.setdlopenflags(1)  # RTLD_LAZY: libcuda.c has only what is called
    print(json.dumps(main()))
