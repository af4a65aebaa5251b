"""The zoo of broken defenses, benched like any ONNX file: what the union leaves of each, and which alarms are raised.

    python -m hardtemper.toolchain.studies.hidden_gradients [--images 200] [--only NAME ...] [--json FILE]

Two small CNNs are trained here on real Fashion-MNIST with fixed seeds: "plain" (3 epochs, no adversary), of which
attacks leave nothing, and "hardened" (6 epochs against two-step PGD with random start). Each of `defenses.py` is put
around both, and the INT8 form of each, by ONNX Runtime's quantizer, gets huge logits. `toolchain bench` attacks every
file with the preset `default`, sequentially, in linf, epsilon 0.1, on the same test images. A defense that is worth
nothing leaves what the network without it has ("none"). "four levels" is worth something, since most pixels cannot be
moved from one level to another: `left_by_levels` says how much, by a search on the bare network between the levels that
the ball reaches.

Networks and finished rows are kept in the folder --out, from which the command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from ...bench.attacks.losses import margin, rivals
from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.data.dataset import Dataset, Part
from ...bench.data.load import load_dataset
from ...bench.measurement import Environment, wilson
from ...bench.run import run_bench
from ...bench.settings import BenchSettings
from .defenses import DEFENSES, defended

__all__ = ["bench_defense", "left_by_levels", "train"]

THREAT = ThreatModel("linf", 0.1)
INT8 = "INT8, huge logits"
_BATCH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="test images to attack")
    parser.add_argument("--only", nargs="+", help="defenses, by name; else all of them")
    parser.add_argument("--network", choices=("plain", "hardened"), help="else both")
    parser.add_argument("--out", type=Path, default=Path("out/broken-defenses"), help="networks, graphs, finished rows")
    parser.add_argument("--json", type=Path, help="store the table there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset("fashion-mnist")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for kind in [arguments.network] if arguments.network else ["plain", "hardened"]:
        network = _trained(kind, dataset, arguments.out)
        for name in arguments.only or [*DEFENSES, INT8]:
            stored = arguments.out / f"{kind}-{name}-{arguments.images}.json".replace(" ", "_")
            if not stored.exists():
                path = arguments.out / f"{kind}.onnx"
                _write(network, name, dataset, path)
                found = {"network": kind, "defense": name, **bench_defense(path, dataset, arguments.images)}
                if name == "floor, four levels":
                    part = dataset.test.at_most(arguments.images, seed=0)
                    found["left_by_levels"] = left_by_levels(network, part, levels=4)
                stored.write_text(json.dumps(found), encoding="utf-8")
            rows.append(json.loads(stored.read_text(encoding="utf-8")))
            print({k: v for k, v in rows[-1].items() if k != "attacks"}, flush=True)
    if arguments.json:
        about = {"images": arguments.images, "threat": str(THREAT), "preset": "default", "sequential": True, "seed": 0}
        table = {**about, "environment": Environment.here().to_dict(), "rows": rows}
        arguments.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def train(x: Tensor, y: Tensor, *, epochs: int, adversarial: bool) -> nn.Sequential:
    """A CNN of two convolutions and two linear layers, with Adam and a one-cycle schedule.

    Args:
        x: images in [0, 1], [N, 1, 28, 28].
        y: classes.
        epochs: passes over the images.
        adversarial: train against PGD with two steps of 0.07 from random points in the ball.
    """
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()]
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10))
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters())
    steps = epochs * (-(-len(x) // _BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(_BATCH):  # type: ignore[no-untyped-call]
            images, labels = x[batch], y[batch]
            if adversarial:
                images = _moved(model, images, labels, generator)
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return model.eval().requires_grad_(False)


def _moved(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    delta = (torch.rand(x.shape, generator=generator) * 2 - 1) * THREAT.epsilon
    for _ in range(2):
        at = (x + delta).clamp(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(at), y), at)
        delta = (delta + 0.07 * gradient.sign()).clamp(-THREAT.epsilon, THREAT.epsilon)
    return (x + delta).clamp(0, 1)


def bench_defense(path: Path, dataset: Dataset, images: int) -> dict[str, Any]:
    """What `toolchain bench` says of an ONNX file, as a row of the table."""
    settings = BenchSettings(
        images=images,
        clean_images=images,
        sequential=True,
        threat=THREAT,
        batches=(1,),
        warmup=0,
        repeats=1,
        min_seconds=0,
        threads=1,
    )
    report = run_bench(path, dataset, settings)
    (subject,) = report.subjects
    result = subject.robustness
    assert result is not None
    robust = int(result.robust.sum())
    low, high = wilson(robust, result.n)
    alarms = [m for m in subject.measurements if m.name == "alarm" and m.settings["raised"]]
    return {
        "n": result.n,
        "clean": result.clean,
        "union": robust,
        "interval": [100 * low, 100 * high],
        "withheld": any(m.name == "robust-accuracy-withheld" for m in subject.measurements),
        "alarms": [str(alarm.settings["alarm"]) for alarm in alarms],
        "attacks": [[outcome.plan.name, outcome.attacked, outcome.broken] for outcome in result.attacks],
        "draws": result.draws,
        "seconds": report.seconds,
    }


def left_by_levels(network: nn.Module, part: Part, *, levels: int, restarts: int = 9, steps: int = 40) -> int:
    """How many images a search that knows the quantizer leaves: on the bare network, between the levels that
    floor(levels x) / levels reaches in the ball, towards each class in turn."""

    def level(pixels: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.floor(levels * (pixels.clip(0, 255) / 255).astype(np.float32)) / levels).float()

    middle, y = part.images.astype(np.int64), torch.from_numpy(part.labels)
    radius = THREAT.pixel_radius
    low, high = level(middle - radius), level(middle + radius)
    robust = network(level(middle)).argmax(1) == y
    generator = torch.Generator().manual_seed(0)
    for restart in range(restarts):
        share = torch.rand(low.shape, generator=generator)
        for step in range(steps):
            at = (low + (high - low) * share).requires_grad_()
            logits = network(at)
            target = rivals(logits.detach(), y).topk(9, dim=1).indices[:, restart % 9]
            towards = logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])
            raised = margin(logits, y) if restart % 9 == 0 else towards
            (gradient,) = torch.autograd.grad(raised.sum(), at)
            share = (share + (0.5 * (1 - step / steps) + 0.02) * gradient.sign()).clamp(0, 1)
            robust &= network(torch.where(share > 0.5, high, low)).argmax(1) == y
    return int(robust.sum())


def _trained(kind: str, dataset: Dataset, folder: Path) -> nn.Sequential:
    path = folder / f"{kind}.pt"
    x, y = torch.from_numpy(dataset.train.images).float() / 255, torch.from_numpy(dataset.train.labels)
    if not path.exists():
        hardened = kind == "hardened"
        torch.save(train(x, y, epochs=6 if hardened else 3, adversarial=hardened).state_dict(), path)
    model = train(x[:_BATCH], y[:_BATCH], epochs=1, adversarial=False)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def _write(network: nn.Sequential, name: str, dataset: Dataset, path: Path) -> None:
    shape = dataset.input_shape
    if name != INT8:
        onnx.save(defended(network, shape, DEFENSES[name]), path)
        return
    onnx.save(defended(network, shape, DEFENSES["none"]), path)
    images = dataset.train.images[:500].astype(np.float32) / 255
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnxruntime import quantization

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self._batches = iter([{"image": images}])

            def get_next(self) -> Mapping[str, Any] | None:
                return next(self._batches, None)

        quantization.quantize_static(path, path, Reader(), quant_format=quantization.QuantFormat.QDQ)
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = ["small" if made == "logits" else made for made in node.output]
    model.graph.node.append(helper.make_node("Mul", ["small", "huge"], ["logits"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1e5, np.float32), "huge"))
    onnx.save(model, path)


if __name__ == "__main__":
    main()
