"""Networks of other families, trained and robustly fine-tuned: what their integers lose against their own floats.

    python -m hardtemper.toolchain.studies.trained_zoo [--only NAME ...] [--images 1000] [--json FILE]

Every row is one build on real Fashion-MNIST, nothing removed: standard training, fine-tuning against the adversary,
INT8, fine-tuning of the twin against the same adversary, the build's gates. Measured on the same test images are

    float     the fine-tuned network before it is quantized, as a float graph on ONNX Runtime
    INT8      the same weights as integers, before the twin is trained
    shipped   the bundle

each by its clean accuracy on all test images, and by what PGD-20 leaves of `--images` of them: searched on the
network's own twin, asked of its engine. A float network is attacked itself; it does not get the images that broke the
integers. `shipped` has seen more training than `float`, by the images of `finetune_twin`; `INT8` has not.

Epochs are few: a row is to take minutes on one core. Products are in float32: in bfloat16, depthwise convolutions and
attention of this size took two to four times as long.

Finished rows are kept in --out, from which the command goes on. A row that failed is tried again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import onnx

from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.data.dataset import Dataset
from ...export.float_pixels import float_pixels
from ...export.lower import lower
from ...export.quantization.quantize import quantize
from ...runtime.errors import HardtemperError
from ..pipeline.pipeline import Build, build
from ..pipeline.recipe_data import recipe_data
from ..recipe.read import load_recipe, with_overrides
from ..recipe.recipe import Recipe
from ..study.finished_rows import finished_row, write_table
from ..study.measure_cell import Measure, measure_file

__all__ = ["NETWORKS", "recipe", "row"]

RECIPE = "demo"

_SHARED: Mapping[str, Any] = {
    "compress": [],
    "data.heldout": 500,
    "train.precision": "float32",
    "finetune.precision": "float32",
    "adversary.attack": "n-fgsm",
    "finetune_twin.images": 4000,
}

_FACTORIES = "hardtemper.toolchain.studies.trained_networks"

NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "resnet18": {"train.epochs": 1, "finetune.epochs": 1},
    "mobilenet_v3_small": {"train.epochs": 2, "finetune.epochs": 4},
    "efficientnet_b0": {"model.name": f"{_FACTORIES}:efficientnet_b0", "train.epochs": 2, "finetune.epochs": 4},
    "convnext": {"model.name": f"{_FACTORIES}:convnext", "train.epochs": 2, "finetune.epochs": 3},
    "vit": {"model.name": f"{_FACTORIES}:vit", "train.epochs": 2, "finetune.epochs": 3},
}
"""What differs from the recipe `RECIPE` and from what all rows share, by the network's name."""

SEEDS: Mapping[str, tuple[int, ...]] = {"resnet18": (0, 1, 2), "mobilenet_v3_small": (0, 1, 2)}
"""Of a network that is built more than once."""


def recipe(network: str, seed: int, more: Mapping[str, Any]) -> Recipe:
    """The build of a row.

    Args:
        network: one of `NETWORKS`.
        seed: of everything random.
        more: keys that are set last.
    """
    settings = {"name": f"{network}-{seed}", "seed": seed, "model.name": network}
    return with_overrides(load_recipe(RECIPE), {**settings, **_SHARED, **NETWORKS[network], **more})


def row(chosen: Recipe, out: Path, images: int) -> dict[str, Any]:
    """Build, and measure.

    Args:
        chosen: the build.
        out: where the bundle, its checkpoints and the float network are put.
        images: test images to attack, at most.

    Raises:
        HardtemperError: what the build raises.
    """
    started = time.perf_counter()
    bundle = out / chosen.name
    built = build(chosen, out=bundle, overwrite=True, keep_work=True)
    building = time.perf_counter() - started
    data = recipe_data(chosen)
    threat = ThreatModel.parse(chosen.adversary.threat)
    networks = {**_before_the_twin(chosen, built, data, bundle), "shipped": bundle}
    found = {name: _measure(path, data, threat, images) for name, path in networks.items()}
    stages = built.stages
    return {
        "recipe": chosen.model_dump(mode="json", exclude_defaults=True),
        "parameters": sum(parameter.numel() for parameter in stages.tuned.module.parameters()),
        "MACs": stages.kernels.macs,
        "integer share": stages.kernels.integer_share,
        "in float": dict(Counter(kept.operator for kept in stages.float_operators)),
        "proof": {
            "images": stages.parity.images,
            "logits twin / engine that differ": stages.parity.engine_logits,
            "exact": stages.parity.exact,
        },
        "training": {
            stage: trained.to_json()
            for stage, trained in {"train": stages.dense, "finetune": stages.tuned, "twin": stages.twin}.items()
        },
        "measured": found,
        "shipped - float, points": {
            figure: found["shipped"][figure]["value"] - found["float"][figure]["value"]
            for figure in ("clean", "PGD-20")
        },
        "seconds": {"build": building, "all": time.perf_counter() - started},
    }


def _before_the_twin(chosen: Recipe, built: Build, data: Dataset, bundle: Path) -> dict[str, Path]:
    """The fine-tuned weights as a float graph and as integers, in files beside the bundle."""
    source, module = built.stages.source, built.stages.tuned.module
    graph = lower(module, input_shape=source.input_shape)
    as_float = float_pixels(graph)
    integers = quantize(graph, data.calibration.images, scheme=chosen.quantize.scheme)
    paths = {"float": bundle.with_suffix(".float.onnx"), "INT8": bundle.with_suffix(".int8.onnx")}
    for path, model in zip(paths.values(), (as_float, integers.model), strict=True):
        onnx.save(model, path)
    return paths


def _measure(path: Path, data: Dataset, threat: ThreatModel, images: int) -> dict[str, Any]:
    found = measure_file(path, data, threat, Measure(attack="pgd-20", images=images))
    return {"PGD-20" if name == "robust" else name: value for name, value in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="some networks only")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of each network's own")
    parser.add_argument("--images", type=int, default=1000, help="test images to attack")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=JSON", help="recipe keys, for a trial")
    parser.add_argument("--out", type=Path, default=Path("out/trained-zoo"), help="bundles and finished rows")
    parser.add_argument("--json", type=Path, help="store the table there")
    given = parser.parse_args(arguments)
    more = {key: json.loads(value) for key, _, value in (text.partition("=") for text in given.set)}
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for network in given.only:
        for seed in given.seeds or SEEDS.get(network, (0,)):
            chosen = recipe(network, seed, more)
            made = functools.partial(_row_or_reason, {"network": network, "seed": seed}, chosen, given)
            rows.append(finished_row(given.out / f"{chosen.name}.json", made))
            print(_line(rows[-1]), flush=True)
    if given.json:
        words = sys.argv[1:] if arguments is None else arguments
        write_table(given.json, f"python -m {__spec__.name} {' '.join(words)}", rows)


def _row_or_reason(head: Mapping[str, Any], chosen: Recipe, given: argparse.Namespace) -> dict[str, Any]:
    try:
        return {**head, **row(chosen, given.out, given.images)}
    except HardtemperError as error:
        return {**head, "failed": str(error)}


def _line(found: Mapping[str, Any]) -> str:
    title = f"{found['network']}, seed {found['seed']}"
    if "failed" in found:
        return f"{title}: {found['failed']}"
    shares = [
        f"{name} {figures['clean']['value']:.2f} / {figures['PGD-20']['value']:.1f}"
        for name, figures in found["measured"].items()
    ]
    seconds = found["seconds"]["all"]
    return f"{title}: clean / PGD-20 %: {', '.join(shares)}; exact {found['proof']['exact']}; {seconds:.0f} s"


if __name__ == "__main__":
    main()
