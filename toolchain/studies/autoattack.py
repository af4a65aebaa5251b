"""Our attacks beside AutoAttack's published code and ART's: verdicts and times on small float networks.

    python -m hardtemper.toolchain.studies.autoattack --autoattack CHECKOUT [--images 1000] [--json FILE]

Two networks, trained here on real Fashion-MNIST (part of an epoch, FGSM with random start): an 8-layer CNN of width 16
and torchvision's ResNet-18 with a 3 x 3 stem and base width 8. linf, 25 of 255 levels. Each attack runs alone against
the images of the test set that the network gets right, with equal settings: AutoAttack's, but for the numbers of target
classes and queries that the command line gives. AutoAttack runs as published, in batches of 250; ours as the toolchain
runs it, on the twin of the lowered network with half-precision gradients, and Square on ONNX Runtime. FAB-T runs once
more, as "ours-float", on the network itself and in floating point, as AutoAttack's does, and Square once more, as
"ours-half", with half of the queries.

Every tool gets one thread, and they take turns, 250 images each. Times are processor seconds of this process, which
other work on the machine disturbs least; wall-clock seconds stand beside them. An image counts as robust for ours if no
8-bit candidate in the ball fools the network, for the others if no candidate at all does; `robust_8bit` is what is left
when theirs are rounded to pixels inside the ball too. What is finished is kept in
the cache folder, so that the command goes on where it was stopped, or adds images to what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...bench.attacks.black_box.square import square
from ...bench.attacks.threat.geometry import ball_of
from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.attacks.white_box.apgd import apgd
from ...bench.attacks.white_box.fab import fab
from ...bench.attacks.white_box.half_precision import HalfPrecisionGradients
from ...bench.attacks.white_box.on_pixels import attack_pixels
from ...bench.attacks.white_box.pgd import pgd
from ...bench.data.dataset import Dataset
from ...bench.data.load import load_dataset
from ...bench.data.vision import torchvision
from ...bench.measurement import Environment
from ...export.lower import lower
from ...export.twin.twin import Twin
from ...runtime.engine import open_onnx
from ..models.source import load_source
from ..recipe.inputs import Model

__all__: list[str] = []

WIDTH = 8  # of the ResNet's first stage
THREAT = ThreatModel("linf", 25 / 255)
CHUNK = 250
Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Attack = Callable[[Pixels, Labels], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--autoattack", type=Path, required=True, help="checkout of fra31/auto-attack")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100, help="of APGD and FAB, each search")
    parser.add_argument("--targets", type=int, default=9, help="of APGD-T and FAB-T")
    parser.add_argument("--queries", type=int, default=5000, help="of Square")
    parser.add_argument("--art-images", type=int, default=50, help="ART's attacks get the first so many")
    parser.add_argument("--cache", type=Path, default=Path("out/attacks"), help="trained networks, finished parts")
    parser.add_argument("--json", type=Path, help="store the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # the others' deprecations
    sys.path.insert(0, str(arguments.autoattack))
    arguments.cache.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(arguments, name) for name in ("steps", "targets", "queries")}
    suffix = "-".join(f"{name}{value}" for name, value in settings.items())
    dataset = load_dataset("fashion-mnist")
    networks = {name: trained(arguments.cache / f"{name}.pt", make(), dataset) for name, make in NETWORKS.items()}
    parts: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for start in range(0, arguments.images, CHUNK):
        for name, network in networks.items():
            for attack, tool, run in attacks(network, **settings):
                end = min(start + CHUNK, arguments.art_images if tool == "art" else arguments.images)
                if end <= start:
                    continue
                file = arguments.cache / f"{name}-{attack}-{tool}-{start}-{end}-{suffix}.json"
                if not file.is_file():
                    images, labels = dataset.test.images[start:end], dataset.test.labels[start:end].astype(np.int64)
                    file.write_text(json.dumps(measured(network, run, images, labels)))
                part = json.loads(file.read_text())
                parts.setdefault((name, attack, tool), []).append(part)
                print(f"{end:5d}  {name:9s} {attack:8s} {tool:11s} {part}", flush=True)
    figures = [{"network": n, "attack": a, "tool": t, **total(found)} for (n, a, t), found in parts.items()]
    for figure in compared(figures):
        print("{network:9s} {attack:8s} {tool:11s} n {n:5.0f}  robust {robust_percent:6.2f} %".format(**figure), end="")
        print("  8-bit {robust_8bit_percent:6.2f} %".format(**figure), end="")
        print("  {cpu_seconds:8.1f} s  x {times_faster:.2f}".format(**figure))
    if arguments.json:
        code = (arguments.autoattack / "autoattack" / "autopgd_base.py").read_bytes()
        result = {"threat": str(THREAT), "settings": settings, "environment": Environment.here().to_dict(),
                  "autopgd_base.py": hashlib.sha256(code).hexdigest(), "figures": compared(figures)}  # fmt: skip
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def small_cnn() -> nn.Module:
    return load_source(Model(width=16), input_shape=(1, 28, 28), classes=tuple("0123456789"), seed=0).module


def small_resnet() -> nn.Module:
    models = torchvision().models.resnet

    class Narrow(models.ResNet):  # type: ignore[misc, name-defined]
        def _make_layer(self, block: Any, planes: int, *rest: Any, **named: Any) -> Any:
            if planes == 64:
                self.inplanes = WIDTH
            return super()._make_layer(block, planes * WIDTH // 64, *rest, **named)

    network = Narrow(models.BasicBlock, [2, 2, 2, 2], num_classes=10)
    network.conv1, network.bn1 = nn.Conv2d(1, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH)
    network.maxpool, network.fc = nn.Identity(), nn.Linear(8 * WIDTH, 10)
    return network


NETWORKS = {"cnn8": small_cnn, "resnet18": small_resnet}


def trained(file: Path, network: nn.Module, dataset: Dataset) -> nn.Module:
    """Against FGSM with random start (1.25 epsilon), on 20,000 images once; kept in `file`."""
    if file.is_file():
        network.load_state_dict(torch.load(file, weights_only=True))
        return network.eval()
    torch.manual_seed(0)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    order = torch.randperm(len(dataset.train.images))[:20_000].split(128)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=len(order))
    for rows in order:
        x = torch.from_numpy(dataset.train.images[rows.numpy()]).float() / 255
        y = torch.from_numpy(dataset.train.labels[rows.numpy()].astype(np.int64))
        search = {"steps": 1, "step_size": 1.25 * THREAT.epsilon, "random_start": True, "early_stop": False}
        x = pgd(network.eval(), x, y, threat=THREAT, **search)  # type: ignore[arg-type]
        loss = nn.functional.cross_entropy(network.train()(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    torch.save(network.state_dict(), file)
    return network.eval()


def attacks(network: nn.Module, *, steps: int, targets: int, queries: int) -> Iterator[tuple[str, str, Attack]]:
    """(attack, tool, function): ours and the others' in turns; functions give 8-bit images, or float ones."""
    graph = lower(network, input_shape=(1, 28, 28)).model
    model = HalfPrecisionGradients(Twin(graph))

    def white_box(attack: Any, **settings: Any) -> Attack:
        return lambda x, y: attack_pixels("", attack, model, x, y, threat=THREAT, seed=0, **settings).adversarial

    def on_engine(x: Pixels, y: Labels, most: int = queries) -> Pixels:
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(graph, Path(folder) / "model.onnx")
            engine = open_onnx(Path(folder) / "model.onnx", threads=1)
            return square(engine, x, y, threat=THREAT, queries=most, seed=0).adversarial

    ours: dict[str, Attack] = {
        "apgd-ce": white_box(apgd, loss="ce", steps=steps),
        "apgd-t": white_box(apgd, loss="dlr-targeted", steps=steps, targets=targets),
        "fab-t": white_box(fab, targeted=True, steps=steps, targets=targets),
        "square": on_engine,
    }
    for name, attack in ours.items():
        yield name, "ours", attack
        if name == "fab-t":
            yield name, "ours-float", shortest(network, steps, targets)
        if name == "square":
            yield name, "ours-half", partial(on_engine, most=queries // 2)
        yield name, "autoattack", published(network, name, steps, targets, queries)
        if name in ("apgd-ce", "square"):
            yield name, "art", robustness_toolbox(network, name, steps, queries)


def shortest(network: nn.Module, steps: int, targets: int) -> Attack:
    """FAB-T as AutoAttack runs it: for the shortest perturbation in floating point, which no pixel need hold."""

    def run(x: Pixels, y: Labels) -> Tensor:
        settings = {"targeted": True, "targets": targets, "steps": steps, "minimize": True, "batch_size": CHUNK}
        return fab(network, floats(x), torch.from_numpy(y), threat=THREAT, **settings)  # type: ignore[arg-type]

    return run


def published(network: nn.Module, name: str, steps: int, targets: int, queries: int) -> Attack:
    def run(x: Pixels, y: Labels) -> Tensor:
        from autoattack import AutoAttack

        adversary = AutoAttack(network, norm="Linf", eps=THREAT.epsilon, seed=0, device="cpu", verbose=False)
        adversary.attacks_to_run = [name]
        adversary.apgd.n_iter = adversary.apgd_targeted.n_iter = adversary.fab.n_iter = steps
        adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = targets
        adversary.square.n_queries = queries
        found: Tensor = adversary.run_standard_evaluation(floats(x), torch.from_numpy(y), bs=CHUNK)
        return found

    return run


def robustness_toolbox(network: nn.Module, name: str, steps: int, queries: int) -> Attack:
    def run(x: Pixels, y: Labels) -> Tensor:
        from art.attacks.evasion import AutoProjectedGradientDescent, SquareAttack
        from art.estimators.classification import PyTorchClassifier

        classifier = PyTorchClassifier(
            network, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0, 1), device_type="cpu"
        )
        ball = {"norm": np.inf, "eps": THREAT.epsilon, "batch_size": CHUNK, "verbose": False}
        attack = (
            SquareAttack(classifier, max_iter=queries, p_init=0.8, **ball)
            if name == "square"
            else AutoProjectedGradientDescent(
                classifier,
                eps_step=2 * THREAT.epsilon,
                max_iter=steps,
                nb_random_init=1,
                loss_type="cross_entropy",
                **ball,
            )
        )
        return torch.from_numpy(attack.generate(floats(x).numpy(), np.eye(10, dtype=np.float32)[y]))

    return run


def floats(x: Pixels) -> Tensor:
    return torch.from_numpy(x).float() / 255


def measured(network: nn.Module, run: Attack, x: Pixels, y: Labels) -> dict[str, float]:
    """One tool's attack on images [N, C, H, W]: what the network itself says to what came back, and the time."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = run(x, y)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    x_adv = floats(found) if isinstance(found, np.ndarray) else found
    assert float((x_adv - floats(x)).abs().max()) <= THREAT.epsilon + 1e-6
    pixels = floats(ball_of(THREAT).to_pixels(x_adv, torch.from_numpy(x)).numpy())
    with torch.no_grad():
        right, *stands = (network(images).argmax(1).numpy() == y for images in (floats(x), x_adv, pixels))
    robust, robust_8bit = (right & stood for stood in stands)
    return {
        "n": len(x),
        "right": int(right.sum()),
        "robust": int(robust.sum()),
        "robust_8bit": int(robust_8bit.sum()),
        "cpu_seconds": cpu_seconds,
        "seconds": seconds,
    }


def total(parts: list[dict[str, float]]) -> dict[str, float]:
    sums = {name: sum(part[name] for part in parts) for name in parts[0]}
    share = {name: 100 * sums[name] / sums["n"] for name in ("right", "robust", "robust_8bit")}
    return {**sums, **{f"{name}_percent": value for name, value in share.items()}}


def compared(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With how much faster than the published code, an image, each is."""
    published = {(f["network"], f["attack"]): f["cpu_seconds"] / f["n"] for f in figures if f["tool"] == "autoattack"}
    return [{**f, "times_faster": published[f["network"], f["attack"]] / (f["cpu_seconds"] / f["n"])} for f in figures]


if __name__ == "__main__":
    main()
