"""How far an attack on the simulation is an attack on the engine: free scales against powers of two, one network.

    python -m hardtemper.toolchain.studies.simulation_gap FREE_BUNDLE POWER_OF_TWO_BUNDLE [--images 1000] [--json FILE]

Other toolkits train, attack and judge a float simulation of the quantized network: its Q/DQ graph, computed in floats.
Here APGD-CE searches on exactly that (logits of the unoptimized graph, gradients of the twin, which agree with it up to
rounding), stops at the first point that fools the simulation, as an 8-bit image, and the integer kernels are asked for
the same images. Counted are the images whose verdict changes, and those with a logit that changes. Both bundles come
from the same fine-tuned weights:

    toolchain build --seed 0 --out out/po2 --keep-work
    cp -r out/po2.work out/free.work
    toolchain build --seed 0 --scales free --set quantize.integer_share=0.9 --out out/free
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import onnx
import torch
from torch import Tensor

from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.attacks.white_box.apgd import apgd
from ...bench.attacks.white_box.on_pixels import attack_pixels
from ...bench.data.load import load_dataset
from ...bench.measurement import Environment, wilson
from ...export.twin.twin import Twin
from ...runtime.backends.onnxruntime import OnnxRuntimeBackend
from ...runtime.bundle.reader import read_bundle
from ...runtime.engine import Engine, load

__all__: list[str] = []


def compare(bundle: Path, images: Any, labels: Any, *, threat: ThreatModel, steps: int) -> dict[str, Any]:
    read = read_bundle(bundle)
    engine, manifest, graph = load(read), read.manifest, read.graph()
    simulation = Engine(backend=OnnxRuntimeBackend(graph, optimize=False), labels=engine.labels)
    twin = Twin(onnx.load_model_from_string(graph.whole()))

    def simulated(x: Tensor) -> Tensor:
        logits: Tensor = twin(x)
        said = simulation((x.detach() * 255).round().clamp(0, 255).byte().numpy())
        return logits + (torch.from_numpy(said) - logits.detach())

    clean = (simulation(images).argmax(1) == labels) & (engine(images).argmax(1) == labels)
    found = attack_pixels(
        "apgd-ce", apgd, simulated, images, labels, threat=threat, seed=0, loss="ce", steps=steps
    ).adversarial
    on_simulation, on_engine = simulation(found), engine(found)
    fooled_simulation, fooled_engine = (logits.argmax(1) != labels for logits in (on_simulation, on_engine))
    moved = int((fooled_simulation != fooled_engine)[clean].sum())
    return {
        "scales": manifest.quantization["scales"],
        "n": len(images),
        "clean": int(clean.sum()),
        "robust on the simulation, %": 100 * float((clean & ~fooled_simulation).mean()),
        "robust on the engine, %": 100 * float((clean & ~fooled_engine).mean()),
        "verdicts that move": moved,
        "verdicts that move, %, 95 % interval": [100 * bound for bound in wilson(moved, len(images))],
        "of those, the engine withstands": int((fooled_simulation & ~fooled_engine & clean).sum()),
        "images with a logit that differs": int((on_simulation != on_engine).any(1).sum()),
        "largest difference of a logit": float(np.abs(on_simulation - on_engine).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threat", default="linf:0.1")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--json", type=Path, help="store the figures there")
    arguments = parser.parse_args()
    test = load_dataset(arguments.data, heldout=0, calibration=0).test
    part = test.subset(min(arguments.images, len(test)), seed=0)
    threat = ThreatModel.parse(arguments.threat)
    rows = []
    for bundle in arguments.bundles:
        rows.append(compare(bundle, part.images, part.labels, threat=threat, steps=arguments.steps))
        print(json.dumps(rows[-1], indent=2), flush=True)
    if arguments.json is not None:
        stored = {
            "threat": str(threat),
            "attack": f"apgd-ce, {arguments.steps} steps, on the simulation",
            "environment": Environment.here().to_dict(),
            "rows": rows,
        }
        arguments.json.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
