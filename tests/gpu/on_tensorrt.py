"""What needs TensorRT: a process of its own, so that it may be another Python than the one that holds torch.

    python on_tensorrt.py TASK REQUEST.json ANSWER.json

Needs numpy, TensorRT and cuda-bindings or pycuda; `compile` also what `toolchain compile` needs.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import importable  # noqa: F401 - before anything of the package
import numpy as np

from hardtemper.runtime.backends.cuda.driver import CudaGraph, find_gpu, open_driver
from hardtemper.runtime.backends.cuda.select import open_cuda
from hardtemper.runtime.backends.tensorrt.cache import read_engine
from hardtemper.runtime.backends.tensorrt.open import open_engine
from hardtemper.runtime.backends.tensorrt.package import import_tensorrt
from hardtemper.runtime.errors import InputError, MissingExtraError

_ROUNDS = 8


def environment(request: dict[str, Any]) -> dict[str, Any]:
    """Who is here: the GPU, the driver, the packages."""
    found: dict[str, Any] = {"python": sys.version.split()[0], "numpy": np.__version__}
    found["gpu"] = asdict(find_gpu(open_driver()))
    found["cuda"] = open_cuda().name
    tensorrt = import_tensorrt()
    found[tensorrt.__name__] = str(tensorrt.__version__)
    return found


def cuda(request: dict[str, Any]) -> dict[str, Any]:
    """Memory, copies, events and graphs, on the device itself."""
    driver = open_driver()
    gpu, cuda = find_gpu(driver), open_cuda()
    size = int(request["bytes"])
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    with cuda.active():
        before = cuda.free_bytes()
        memory, host, back, stream = cuda.allocate(size), cuda.pin(size), cuda.pin(size), cuda.new_stream()
        marks = [cuda.new_event() for _ in range(3)]
        host.array[:], back.array[:] = data, 0

        def there_and_back() -> None:
            cuda.upload(memory, host.array, stream)
            cuda.download(back.array, memory, stream)

        cuda.record(marks[0], stream)
        cuda.upload(memory, host.array, stream)
        cuda.record(marks[1], stream)
        cuda.download(back.array, memory, stream)
        cuda.record(marks[2], stream)
        cuda.synchronize(stream)
        copied = bool((back.array == data).all())
        spans = [cuda.elapsed_ms(marks[0], marks[1]), cuda.elapsed_ms(marks[1], marks[2])]
        graph = CudaGraph(driver, stream.handle, there_and_back)
        host.array[:] = data[::-1]
        graph.launch()
        cuda.synchronize(stream)
        launched = bool((back.array == data[::-1]).all())
        graph.free()
        try:
            cuda.release(cuda.allocate(1 << 50))
            refused = "no"
        except MemoryError as error:
            refused = str(error)
        for resource in (memory, host, back, stream, *marks):
            cuda.release(resource)
        return {
            "gpu": asdict(gpu),
            "package": cuda.name,
            "copied": copied,
            "graph": launched,
            "upload_gb_per_s": size / spans[0] / 1e6,
            "download_gb_per_s": size / spans[1] / 1e6,
            "out_of_memory": refused,
            "bytes_not_given_back": before - cuda.free_bytes(),
        }


def compile_engine(request: dict[str, Any]) -> dict[str, Any]:
    """One engine of one bundle, with the inspector's account of it."""
    find_gpu(open_driver())  # before anything large is imported
    from hardtemper.export.tensorrt.engine_builder import Options
    from hardtemper.export.tensorrt.profiles import BatchRange
    from hardtemper.toolchain.bundles.compile_engine import compile_bundle

    started = time.perf_counter()
    done = compile_bundle(
        Path(request["bundle"]),
        options=Options(batches=tuple(BatchRange.parse(text) for text in request["batches"]), fp16=request["fp16"]),
        folder=Path(request["cache"]),
        dense=request["dense"],
        tune=request["tune"],
        rebuild=True,
    )
    found: dict[str, Any] = {
        "engine": str(done.path),
        "bytes": done.path.stat().st_size,
        "seconds": time.perf_counter() - started,
        "entry": json.loads(done.entry.to_json()),
        "placements_ms": dict(done.timings),
        "layers": [asdict(layer) for layer in done.layers],
    }
    if done.kernels is not None:
        found |= {
            "integer_share": done.kernels.integer_share,
            "float": [{"name": k.name, "macs": k.macs, "why": k.reason} for k in done.kernels.float_kernels if k.macs],
        }
    return found


def answers(request: dict[str, Any]) -> dict[str, Any]:
    """The engine's logits of stored images against stored logits, image by image."""
    with np.load(request["images"]) as stored:
        images, expected = stored["images"], stored["logits"]
    backend = open_engine(Path(request["engine"]))
    found = {}
    for batch in request["batches"]:
        logits = np.concatenate([backend.run(images[i : i + batch]) for i in range(0, len(images), batch)])
        gap = np.abs(logits - expected)
        found[str(batch)] = {
            "images": len(images),
            "logits_differ": int((gap > 0).sum()),
            "images_differ": int((gap > 0).any(1).sum()),
            "classes_differ": int((logits.argmax(1) != expected.argmax(1)).sum()),
            "largest": float(gap.max()),
        }
    found["threads"] = _in_threads(backend, images)
    return found


def _in_threads(backend: Any, images: Any) -> dict[str, Any]:
    """Whether threads that run at once get what one gets alone."""
    from concurrent.futures import ThreadPoolExecutor

    pieces = [images[i::_ROUNDS] for i in range(_ROUNDS)]
    alone = [backend.run(piece) for piece in pieces]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backend.run, pieces))
    same = [bool((a == b).all()) for a, b in zip(alone, together, strict=True)]
    return {"threads": 4, "pieces": _ROUNDS, "same": sum(same)}


def speed(request: dict[str, Any]) -> dict[str, Any]:
    """Engines side by side, in turns; with the device's state before and after."""
    from hardtemper.bench.performance.gpu_latency import measure_device_latency
    from hardtemper.bench.performance.gpu_state import read_device

    address = find_gpu(open_driver()).pci_bus_id
    with np.load(request["images"]) as stored:
        images = stored["images"]
    backends = {name: open_engine(Path(path)) for name, path in request["engines"].items()}
    rows, states = [], [read_device(address).to_dict()]
    for batch in request["batches"]:
        works = {name: backend.session() for name, backend in backends.items()}
        found = measure_device_latency(
            works, images, batch=batch, repeats=request["repeats"], min_seconds=request["min_seconds"]
        )
        for latency in found:
            graph = works[latency.name].captured
            rows += [m.to_dict() | {"engine": latency.name} for m in latency.measurements(cuda_graph=graph)]
        states.append(read_device(address).to_dict())
    return {"measurements": rows, "device": states}


def memory(request: dict[str, Any]) -> dict[str, Any]:
    """What one engine takes on the device, with nothing else of ours there but the CUDA context."""
    from hardtemper.bench.performance.gpu_state import measure_device_memory, read_device

    address = find_gpu(open_driver()).pci_bus_id
    cuda = open_cuda()
    with cuda.active():
        cuda.release(cuda.allocate(1))  # the context itself is not the engine's
    with np.load(request["images"]) as stored:
        images = np.resize(stored["images"], (request["batch"], *stored["images"].shape[1:]))

    def opened() -> Any:
        backend = open_engine(Path(request["engine"]))
        session = backend.session()
        return session, lambda: backend.context_bytes + session.buffer_bytes

    found = measure_device_memory(opened, images, read=partial(read_device, address)).measurement()
    return found.to_dict() | {"engine_bytes": Path(request["engine"]).stat().st_size}


def replay(request: dict[str, Any]) -> dict[str, Any]:
    """A stored verdict asked of the engine."""
    from hardtemper.bench.robustness.archive import read_archive
    from hardtemper.bench.robustness.replay_verdict import replay as replayed

    entry, _ = read_engine(Path(request["engine"]))
    backend = open_engine(Path(request["engine"]))
    found = replayed(read_archive(Path(request["archive"])), backend.run, name=f"TensorRT {entry.tensorrt}")
    return found.to_dict() | {"python": sys.version.split()[0]}


TASKS = {
    "environment": environment,
    "cuda": cuda,
    "compile": compile_engine,
    "answers": answers,
    "speed": speed,
    "memory": memory,
    "replay": replay,
}


def main() -> None:
    task, request, answer = sys.argv[1:]
    try:
        found = {"result": TASKS[task](json.loads(Path(request).read_text(encoding="utf-8")))}
    except (MissingExtraError, ModuleNotFoundError) as error:
        found = {"not_run": str(error)}
    except InputError as error:
        # no driver and no GPU are InputErrors and nothing else; a model that fails is a failure
        found = {"not_run" if type(error) is InputError else "error": str(error)}
    except Exception as error:  # told in the answer, with where it was
        found = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
