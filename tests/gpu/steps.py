"""The steps of the GPU checks, in their order; each takes a `Context` and gives plain values for JSON.

The bundles are built by the toolchain itself on the device that torch has: per network a `hardened` one (pruned,
trained against the adversary) and a `dense-int8` one (only quantized), both in TensorRT's scheme; the dense float
network lies in either. What needs TensorRT runs in `on_tensorrt.py`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import importable  # noqa: F401 - before anything of the package
import numpy as np
import onnx
import torch
from context import Context, NotRunError
from networks import (
    KINDS,
    built_of,
    bundle_of,
    data_of,
    engine_of,
    engines_of,
    graph_of,
    images_of,
    recipe_of,
    torch_works_of,
)
from robustness import replay, robust
from table3 import table3

from hardtemper.bench.measurement import Environment
from hardtemper.bench.performance.gpu_latency import DeviceWork, measure_device_latency
from hardtemper.bench.robustness.agreement import twin_logits
from hardtemper.export.twin.twin import Twin
from hardtemper.toolchain.pipeline.pipeline import build

__all__ = ["STEPS", "default_device"]

_CHUNK = 500


def default_device() -> str:
    """Where torch works best here."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def environment(ctx: Context) -> dict[str, Any]:
    """Hardware and versions, of this Python and of the one that has TensorRT."""
    found: dict[str, Any] = {"here": Environment.here().to_dict(), "torch_cuda": torch.version.cuda}
    if ctx.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = {"name": properties.name, "memory_mib": properties.total_memory >> 20}
    try:
        found["tensorrt"] = ctx.on_tensorrt("environment")
    except NotRunError as error:
        found["tensorrt"] = {"not_run": str(error)}
    return found


def cuda(ctx: Context) -> Any:
    """The package that reaches CUDA, on the device itself."""
    found = ctx.on_tensorrt("cuda", bytes=1 << 28)
    if not (found["copied"] and found["graph"] and found["out_of_memory"] != "no"):
        raise RuntimeError(f"CUDA does not do what it should: {found}")
    return found


def bundles(ctx: Context) -> dict[str, Any]:
    """Two bundles of every network."""

    def make(name: str) -> dict[str, Any]:
        started = time.perf_counter()
        path = bundle_of(ctx, name)
        model, hardened = name.rpartition("/")[0], name.endswith("hardened")
        made = build(recipe_of(ctx, model, hardened=hardened), out=path, overwrite=True).stages
        return {
            "bundle": str(path),
            "seconds": time.perf_counter() - started,
            "epochs": [epoch for stage in (made.dense, made.tuned, made.twin) for epoch in stage.to_json()["epochs"]],
            "macs": [made.compressed.macs_before, made.compressed.macs_after],
            "integer_share": made.kernels.integer_share,
            "parity": {"exact": made.parity.exact, "images": made.parity.images},
        }

    return ctx.each(make, [f"{model}/{kind}" for model in ctx.sizes["models"] for kind in KINDS])


def engines(ctx: Context) -> dict[str, Any]:
    """TensorRT's engines: INT8 of both bundles, FP32 and FP16 of the dense network; the inspector's account of each."""
    wanted = {
        f"{model}/{kind}": (model, source, dense, fp16)
        for model in ctx.sizes["models"]
        for kind, source, dense, fp16 in (
            ("hardened", "hardened", False, False),
            ("dense-int8", "dense-int8", False, False),
            ("dense-fp16", "hardened", True, True),
            ("dense-fp32", "hardened", True, False),
        )
    }

    def make(name: str) -> Any:
        model, source, dense, fp16 = wanted[name]
        return ctx.on_tensorrt(
            "compile",
            bundle=built_of(ctx, f"{model}/{source}"),
            cache=ctx.out / "engines",
            batches=[f"1:{batch}:{batch}" for batch in sorted(ctx.sizes["batches"])],
            dense=dense,
            fp16=fp16,
            tune=name == "cnn8/hardened",
        )

    return ctx.each(make, list(wanted))


def parity(ctx: Context) -> dict[str, Any]:
    """Twins on torch's device against TensorRT, image by image, in batches of two sizes and from several threads."""

    def compare(name: str) -> dict[str, Any]:
        images = images_of(ctx, name)
        engine = engine_of(ctx, name)
        return dict(ctx.on_tensorrt("answers", engine=engine, images=images, batches=sorted(ctx.sizes["batches"])[-2:]))

    return ctx.each(compare, [f"{model}/{kind}" for model in ctx.sizes["models"] for kind in KINDS])


def torch_parity(ctx: Context) -> dict[str, Any]:
    """Twins on torch's device against themselves on the CPU: attacks on the one are attacks on the other."""

    def compare(name: str) -> dict[str, Any]:
        with np.load(images_of(ctx, name)) as stored:
            images, logits = stored["images"][:_CHUNK], stored["logits"][:_CHUNK]
        other = twin_logits(Twin(onnx.load_model_from_string(graph_of(ctx, name).whole())), images)
        return {"images": len(images), "images_differ": int((other != logits).any(1).sum())}

    return ctx.each(compare, [f"{model}/{kind}" for model in ctx.sizes["models"] for kind in KINDS])


def speed(ctx: Context) -> dict[str, Any]:
    """The dense network under PyTorch and every engine, side by side where one Python holds both."""

    def measure(model: str) -> dict[str, Any]:
        data = data_of(ctx, model)
        works: dict[str, DeviceWork] = torch_works_of(ctx, model, data)
        paths = engines_of(ctx, model)
        alone = ctx.python == [sys.executable]
        if alone and paths:
            from hardtemper.runtime.backends.tensorrt.open import open_engine

            opened = {kind: open_engine(Path(path)) for kind, path in paths.items()}
            works |= {f"tensorrt {kind}": backend.session() for kind, backend in opened.items()}
        sizes, rows = ctx.sizes, []
        for batch in sizes["batches"]:
            found = measure_device_latency(
                works,
                data.test.images[:2048],
                batch=batch,
                repeats=sizes["repeats"],
                min_seconds=sizes["min_seconds"],
            )
            rows += [m.to_dict() | {"engine": latency.name} for latency in found for m in latency.measurements()]
        result: dict[str, Any] = {"measurements": rows, "side_by_side": list(works)}
        if paths and not alone:
            request = {key: sizes[key] for key in ("batches", "repeats", "min_seconds")}
            images = images_of(ctx, f"{model}/hardened")
            result["another_python"] = ctx.on_tensorrt("speed", engines=paths, images=images, **request)
        elif not paths:
            result["tensorrt"] = {"not_run": "no engine"}
        return result

    return ctx.each(measure, ctx.sizes["models"])


def memory(ctx: Context) -> dict[str, Any]:
    """Device memory of every engine, in a process of its own."""

    def measure(model: str) -> dict[str, Any]:
        images = images_of(ctx, f"{model}/hardened")
        paths = engines_of(ctx, model)
        if not paths:
            raise NotRunError("needs the step 'engines'")
        return {
            f"{kind}, batch {batch}": ctx.on_tensorrt("memory", engine=path, images=images, batch=batch)
            for kind, path in paths.items()
            for batch in ctx.sizes["batches"]
        }

    return ctx.each(measure, ctx.sizes["models"])


STEPS: dict[str, Callable[[Context], Any]] = {
    "environment": environment,
    "cuda": cuda,
    "bundles": bundles,
    "engines": engines,
    "parity": parity,
    "torch-parity": torch_parity,
    "speed": speed,
    "memory": memory,
    "robust": robust,
    "replay": replay,
    "table3": table3,
}
