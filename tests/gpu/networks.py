"""The data, networks, bundles and engines that the steps of the GPU checks share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import importable  # noqa: F401 - before anything of the package
import numpy as np
import onnx
import torch
from context import Context, NotRunError
from torch import nn
from torch_work import TorchWork

from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.data.load import load_dataset
from hardtemper.bench.performance.gpu_latency import DeviceWork
from hardtemper.bench.robustness.agreement import twin_logits
from hardtemper.bench.settings import default_threat
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.bundle.reader import read_bundle
from hardtemper.runtime.files.onnx_file import OnnxFile
from hardtemper.toolchain.models.source import load_source
from hardtemper.toolchain.recipe.recipe import Recipe

__all__ = [
    "KINDS",
    "built_of",
    "bundle_of",
    "data_of",
    "engine_of",
    "engines_of",
    "graph_of",
    "images_of",
    "network_of",
    "recipe_of",
    "torch_works_of",
]

KINDS = ("hardened", "dense-int8")
"""The bundles of every network."""

_CHUNK = 500


@cache
def _load(name: str, root: Path | None, heldout: int, calibration: int, image_size: int | None) -> Dataset:
    return load_dataset(name, root=root, heldout=heldout, calibration=calibration, image_size=image_size)


def data_of(ctx: Context, model: str) -> Dataset:
    sizes = ctx.sizes
    return _load(ctx.data, ctx.root, sizes["heldout"], sizes["calibration"], sizes["image_size"].get(model))


def network_of(ctx: Context, model: str, data: Dataset) -> nn.Module:
    settings = recipe_of(ctx, model, hardened=False).model
    return load_source(settings, input_shape=data.input_shape, classes=data.classes, seed=0).module


def recipe_of(ctx: Context, model: str, *, hardened: bool) -> Recipe:
    sizes, own = ctx.sizes, model == "cnn8"
    # without batch norm a network does not survive a large learning rate
    threat, steps = str(default_threat(data_of(ctx, model).input_shape)), sizes["adversary_steps"]["bundles"]
    schedule: dict[str, Any] = {"schedule": "one-cycle", "momentum": 0.9, "gradient_clip": 1.0}
    schedule |= {"learning_rate": 0.1 if own else 0.02, "batch_size": sizes["batch_size"]}
    return Recipe.model_validate(
        {
            "name": f"{model}-{'hardened' if hardened else 'dense-int8'}",
            "robust": hardened,
            "device": ctx.device,
            "data": {
                "name": ctx.data,
                "root": ctx.root,
                "heldout": sizes["heldout"],
                "calibration": sizes["calibration"],
                "image_size": sizes["image_size"].get(model),
            },
            "model": {
                "name": model,
                "width": sizes["width"] if own else None,
                "stem": "cifar" if model.startswith("resnet") else None,
            },
            "train": {"epochs": sizes["train_epochs"], "weight_decay": 5e-4, **schedule},
            "compress": [{"method": "filters", "sparsity": 0.5}] if hardened else [],
            "adversary": {"threat": threat, "attack": "pgd", "steps": steps},
            "finetune": {"epochs": sizes["finetune_epochs"] if hardened else 0, **schedule},
            "finetune_twin": {
                "epochs": 1 if hardened else 0,
                "learning_rate": 0.005,
                "batch_size": sizes["batch_size"],
            },
            # the share is a result here, not a gate
            "quantize": {"target": "tensorrt", "integer_share": 0.0},
        }
    )


def bundle_of(ctx: Context, name: str) -> Path:
    return ctx.out / "bundles" / name.replace("/", "-")


def built_of(ctx: Context, name: str) -> Path:
    """A bundle's folder, where it was built."""
    path = bundle_of(ctx, name)
    if not path.is_dir():
        raise NotRunError("needs the step 'bundles'")
    return path


def graph_of(ctx: Context, name: str) -> OnnxFile:
    return read_bundle(built_of(ctx, name)).graph()


def engine_of(ctx: Context, name: str) -> str:
    found = ctx.result("engines").get(name, {})
    if "engine" not in found:
        raise NotRunError(f"no engine of {name}")
    return str(found["engine"])


def engines_of(ctx: Context, model: str) -> dict[str, str]:
    found = ctx.done.get("engines", {}).get("result") or {}
    of = {name.partition("/")[2]: row for name, row in found.items() if name.startswith(f"{model}/")}
    return {kind: row["engine"] for kind, row in of.items() if "engine" in row}


def images_of(ctx: Context, name: str) -> Path:
    """Test images with the twin's logits on torch's device, in a file."""
    graph = graph_of(ctx, name)
    path = ctx.out / "images" / f"{name.replace('/', '-')}-{graph.digest[:16]}.npz"
    if not path.is_file():
        images = data_of(ctx, name.rpartition("/")[0]).test.images[: ctx.sizes["parity_images"]]
        twin = Twin(onnx.load_model_from_string(graph.whole())).to(ctx.device)
        logits = np.concatenate([twin_logits(twin, images[i : i + _CHUNK]) for i in range(0, len(images), _CHUNK)])
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, images=images, logits=logits)
    return path


def torch_works_of(ctx: Context, model: str, data: Dataset) -> dict[str, DeviceWork]:
    half = torch.float16 if ctx.device == "cuda" else torch.float32  # no CPU is fast at it
    kinds: list[tuple[str, torch.dtype, str]] = [
        ("torch fp32", torch.float32, "eager"),
        ("torch half", half, "eager"),
        ("torch half graph", half, "graph"),
    ]
    if ctx.sizes["compile_torch"]:
        kinds.append(("torch half compile", half, "compile"))
    return {
        name: TorchWork(network_of(ctx, model, data), device=ctx.device, dtype=dtype, how=how)
        for name, dtype, how in kinds
    }
