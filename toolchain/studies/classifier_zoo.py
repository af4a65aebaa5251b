"""Every classifier of torchvision and twenty families of timm, lowered to integers: which, and whether to one function.

    python -m hardtemper.toolchain.studies.classifier_zoo [--only NAME ...] [--images 64] [--arm64 PYTHON] [--json FILE]

PYTHON is one of 64-bit Arm with onnxruntime. timm's rows need `pip install timm`.

Weights are random. Batch norms get the mean and deviation of real images (Fashion-MNIST as 3 x 64 x 64), layer scales
that start near zero are set to one: the logits are alive. Nothing is said about accuracy. Of every network:

    prunes      half of the filters of each layer; or why not
    lowers      one integer graph; or why not
    integers    share of the multiply-accumulates in integer kernels of ONNX Runtime, and the operators left in float
    differ      images of which a logit differs: twin and engine, and engine and OpenVINO, 64-bit Arm

Each network has a process of its own. Finished rows are kept in --out, from which the command goes on.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...bench.data.load import load_dataset
from ...bench.data.vision import torchvision
from ...export.lower import lower
from ...export.proofs.executed_kernels import inspect_kernels
from ...export.proofs.parity import check_parity
from ...export.quantization.quantize import quantize
from ...runtime.engine import open_onnx
from ...runtime.errors import HardtemperError
from ..compress.context import Context
from ..compress.pruning.filters import prune_filters
from ..models.torchvision import build_torchvision, names
from ..recipe.filter_pruning import FilterPruning
from ..study.finished_rows import finished_row, write_table

__all__ = ["FAMILIES", "alive", "bench_network", "build"]

SIZES = {"inception_v3": 80, "maxvit_t": 224, "vit_h_14": 70}
"""Sides of the images where 64 pixels are not enough, or no multiple of the patches."""

FAMILIES = (
    "convnextv2_atto", "cspresnet50", "darknet53", "deit_tiny_patch16_224", "dla34", "edgenext_xx_small",
    "ese_vovnet19b_dw", "fastvit_t8", "ghostnet_100", "hrnet_w18_small", "levit_128s", "mixer_s16_224", "mixnet_s",
    "mobilenetv4_conv_small", "mobilevit_xs", "poolformer_s12", "repvgg_a0", "res2net50_26w_4s", "resnetv2_50",
    "skresnet18",
)  # fmt: skip
"""Of timm."""

_CLASSES = 10
_TIMEOUT = 1800
_CHILD = """
import sys, numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
np.save(sys.argv[3], session.run(None, {session.get_inputs()[0].name: np.load(sys.argv[2])})[0])
"""

Pixels = NDArray[np.uint8]
Logits = NDArray[np.float32]


def build(name: str) -> tuple[nn.Module, int]:
    """A network of random weights, seed 0, and the side of its images.

    Raises:
        ModelError: timm is asked for and not installed, or the network takes no image of that size.
    """
    torch.manual_seed(0)
    side = SIZES.get(name, 64)
    if name in FAMILIES:
        return _of_timm(name, side), side
    if name.startswith(("vit_", "swin_")):
        options = {"image_size": side} if name.startswith("vit_") else {}
        return torchvision().models.get_model(name, weights=None, num_classes=_CLASSES, **options), side
    return build_torchvision(name, channels=3, classes=_CLASSES)[0], side


def _of_timm(name: str, side: int) -> nn.Module:
    torchvision()  # which timm imports, with its operators declared
    import timm

    options: dict[str, Any] = {"img_size": side} if name.startswith(("deit", "mixer", "levit")) else {}
    made: nn.Module = timm.create_model(name, pretrained=False, num_classes=_CLASSES, **options)
    return made


def alive(module: nn.Module, images: Tensor) -> nn.Module:
    """The module in evaluation mode, with the images' statistics in its batch norms and no layer scale near zero."""
    module.eval()
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for parameter in module.parameters():
            first = parameter.flatten()[0]
            if 0 < first.abs() < 1e-3 and (parameter == first).all():
                parameter.fill_(1)
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
            norm.train()
        for batch in images.split(64):  # type: ignore[no-untyped-call]
            module(batch)
    return module.eval()


def bench_network(name: str, data: Pixels, images: Pixels, others: dict[str, Callable[[Path, Pixels], Logits]]) -> Any:
    """One row.

    Args:
        name: one of torchvision's or of `FAMILIES`.
        data: uint8 [N, 3, H, W] for the statistics and the calibration.
        images: to compare logits on.
        others: engines beside ONNX Runtime, each from (file, images) to the logits of all images or the first ones.
    """
    module, side = build(name)
    row: dict[str, Any] = {"network": name, "side": side, "parameters": sum(p.numel() for p in module.parameters())}
    alive(module, torch.from_numpy(data).float() / 255)
    shape = (3, side, side)
    try:
        pruned = prune_filters(module, FilterPruning(sparsity=0.5), Context(input_shape=shape))
        row["prunes"] = sum(p.numel() for p in pruned.module.parameters()) / row["parameters"]
    except HardtemperError as error:
        row["prunes"] = str(error)
    started = time.perf_counter()
    try:
        graph = quantize(lower(module, input_shape=shape), data[:128])
    except HardtemperError as error:
        return row | {"lowers": str(error)}
    row |= {"lowers": True, "seconds to lower": time.perf_counter() - started}
    kernels = inspect_kernels(graph.model)
    left = Counter(kernel.operator for kernel in kernels.float_kernels)
    row |= {"integer share": kernels.integer_share, "in float": dict(left)}
    parity = check_parity(graph.model, images, activations=False)
    row |= {"images": len(images), "differ": {"twin": parity.engine_images}}
    path = Path(f"{name}.onnx")
    onnx.save(graph.model, path)
    expected = open_onnx(path, threads=1)(images)
    row["classes said"] = len(np.unique(expected.argmax(1)))
    for engine, ask in others.items():
        logits = ask(path, images)
        row["differ"][engine] = int((logits != expected[: len(logits)]).any(1).sum())
        if len(logits) < len(images):
            row[f"images on {engine}"] = len(logits)
    path.unlink()
    return row


def _openvino(path: Path, images: Pixels) -> Logits:
    return open_onnx(path, backend="openvino", threads=1)(images)


def _arm64(python: str, most: int) -> Callable[[Path, Pixels], Logits]:
    def ask(path: Path, images: Pixels) -> Logits:
        given, found = path.with_suffix(".images.npy"), path.with_suffix(".logits.npy")
        np.save(given, images[:most])
        try:
            command = [python, "-c", _CHILD, str(path), str(given), str(found)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"64-bit Arm: {(done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}")
            logits: Logits = np.load(found)
        finally:
            given.unlink()
            found.unlink(missing_ok=True)
        return logits

    return ask


def _one(name: str, given: argparse.Namespace) -> Any:
    torch.set_num_threads(1)
    dataset = load_dataset("fashion-mnist", image_size=SIZES.get(name, 64), heldout=0, calibration=256)
    data, images = (
        part.images.repeat(3, 1) for part in (dataset.calibration, dataset.test.at_most(given.images, seed=0))
    )
    others = {"openvino": _openvino} | ({"arm64": _arm64(given.arm64, given.arm64_images)} if given.arm64 else {})
    return bench_network(name, data, images, others)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="networks, by name; else all of them")
    parser.add_argument("--images", type=int, default=64, help="test images to compare logits on")
    parser.add_argument("--arm64", metavar="PYTHON", help="compare with ONNX Runtime in this Python")
    parser.add_argument("--arm64-images", type=int, default=64, help="of them, those that Arm is asked for")
    parser.add_argument("--out", type=Path, default=Path("out/classifier-zoo"), help="finished rows")
    parser.add_argument("--json", type=Path, help="store the table there")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(_one(given.one, given)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in given.only or [*names(), *FAMILIES]:
        rows.append(finished_row(given.out / f"{name}.json", functools.partial(_in_a_child, name, given)))
        print(rows[-1], flush=True)
    if given.json:
        write_table(given.json, f"python -m {__spec__.name}", rows)


def _in_a_child(name: str, given: argparse.Namespace) -> Any:
    more = ["--arm64-images", str(given.arm64_images)]
    if given.arm64:
        more += ["--arm64", os.path.abspath(given.arm64)]  # noqa: PTH100 - a link stays a link
    command = [sys.executable, "-m", __spec__.name, "--one", name, "--images", str(given.images), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=given.out, capture_output=True, text=True, timeout=_TIMEOUT, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {"network": name, "failed": f"not done within {_TIMEOUT} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return {"network": name, "failed": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}


if __name__ == "__main__":
    main()
