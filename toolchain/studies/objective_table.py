"""Objectives of adversarial fine-tuning side by side: what each buys, and what it costs.

    python -m hardtemper.toolchain.studies.objective_table train  --out out/objectives [--only TRADES MART ...]
    python -m hardtemper.toolchain.studies.objective_table attack --out out/objectives [--images 1000]
    python -m hardtemper.toolchain.studies.objective_table cost   --out out/objectives
    python -m hardtemper.toolchain.studies.objective_table table  --out out/objectives [--json FILE]

Every row is the recipe fashion-mnist (80 % of the filters removed, three epochs, INT8) with another objective, its
average of weights left out unless the row says EMA, from the same dense network of each seed, trained on one thread.
What the default is chosen by is the held-out training images' column.
`attack` measures the shipped engines: clean accuracy and PGD-20 on all test images, the preset on `--images` of them.
Both go on where they were interrupted. `cost` measures what the fine-tuning takes, in standard epochs of the pruned and
of the dense network; rows take turns, and processor time counts. `table` also estimates the preset's figure on all test
images, as in `two_phase`.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from safetensors.torch import save_file
from torch import nn

from ...bench.data.dataset import Dataset
from ...bench.measurement import Environment
from ...runtime.bundle.reader import read_bundle
from ..api import bench
from ..compress.chain import compress
from ..compress.context import Context
from ..models.source import Source, load_source
from ..pipeline.pipeline import build
from ..pipeline.recipe_data import recipe_data
from ..pipeline.teacher import load_teacher
from ..recipe.read import load_recipe, with_overrides
from ..recipe.recipe import Recipe
from ..train.finetune import finetune
from ..train.training_context import TrainingContext
from .two_phase import estimate_from_archives

__all__: list[str] = []

RECIPE = "fashion-mnist"

ROWS: Mapping[str, Mapping[str, Any]] = {
    "adversarial": {},
    "adversarial, EMA": {"finetune.average": "ema", "finetune.ema_decay": 0.998},
    "adversarial, EMA and label smoothing": {
        "finetune.average": "ema",
        "finetune.ema_decay": 0.998,
        "finetune.label_smoothing": 0.1,
    },
    "adversarial, AWP": {"adversary.weight_perturbation": 0.003},
    "adversarial, larger ball": {"adversary.training_epsilon": 0.12, "adversary.step_size": 0.054},
    "FGSM-RS": {"adversary.attack": "fgsm", "adversary.step_size": 0.125},
    "N-FGSM": {"adversary.attack": "n-fgsm", "adversary.step_size": 0.1},
    "N-FGSM, 6 epochs": {"adversary.attack": "n-fgsm", "adversary.step_size": 0.1, "finetune.epochs": 6},
    "free": {"adversary.replays": 3},
    "TRADES": {"adversary.objective": "trades"},
    "MART": {"adversary.objective": "mart"},
    "MMR": {
        "adversary.objective": "mmr",
        "adversary.attack": "fgsm",
        "adversary.step_size": 0.1,
        "adversary.random_start": False,
    },
    "ARD": {"adversary.objective": "ard"},
    "RSLAD": {"adversary.objective": "rslad"},
    "AdaAD": {"adversary.objective": "adaad"},
}

_NO_TIMING: Mapping[str, Any] = {"batches": (1,), "warmup": 0, "repeats": 1, "min_seconds": 0.0, "threads": 1}
"""Latency and memory are `engine_latency`'s."""

_SHOWN_ALARMS = ("without gradients", "flat loss")

_COST_IMAGES = 1280
_COST_TURNS = 5


def recipe(name: str, seed: int, out: Path, teacher: Path | None) -> Recipe:
    settings = {"seed": seed, "robust": True, "model.checkpoint": str(out / f"dense-{seed}.safetensors")}
    settings |= {"finetune.average": "none", **ROWS[name]}
    if settings.get("adversary.objective") in ("ard", "rslad", "adaad"):
        if teacher is None:
            raise SystemExit(f"{name} needs --teacher: a bundle or an ONNX file")
        settings["adversary.teacher"] = str(teacher)
    return with_overrides(load_recipe(RECIPE), settings)


def folder(out: Path, name: str, seed: int) -> Path:
    return out / f"{name.lower().replace(', ', '-').replace(' ', '-')}-{seed}"


def network(chosen: Recipe) -> tuple[Dataset, Source]:
    """The recipe's data and its dense network, with the weights that it names."""
    data = recipe_data(chosen)
    source = load_source(chosen.model, input_shape=data.input_shape, classes=data.classes, seed=chosen.seed)
    return data, source


def dense(seed: int, out: Path) -> None:
    """The standardly trained network that every objective of a seed starts from."""
    path = out / f"dense-{seed}.safetensors"
    if path.exists():
        return
    plain = with_overrides(load_recipe(RECIPE), {"seed": seed})
    data, source = network(plain)
    trained = finetune(
        source.module, data.train, data.heldout, plain.train, stage="train", context=TrainingContext(seed=seed)
    )
    state = {key: value.contiguous() for key, value in trained.module.state_dict().items()}
    save_file(state, path, metadata={"seconds": str(sum(epoch.seconds for epoch in trained.epochs))})


def train(arguments: argparse.Namespace) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        dense(seed, arguments.out)
        for name in arguments.only or ROWS:
            target = folder(arguments.out, name, seed)
            if not target.exists():
                build(recipe(name, seed, arguments.out, arguments.teacher), out=target)
                print(f"{target.name}: built", flush=True)


def attack(arguments: argparse.Namespace) -> None:
    for seed in arguments.seeds:
        for name in arguments.only or ROWS:
            bundle = folder(arguments.out, name, seed)
            for preset, images in (("paper", "all"), (arguments.preset, arguments.images)):
                report = arguments.out / f"{bundle.name}.{preset}.{images}.json"
                if not bundle.exists() or report.exists():
                    continue
                started = time.perf_counter()
                count = None if images == "all" else int(images)
                bench(bundle, attack=preset, images=count, dense=False, json_path=report, **_NO_TIMING)
                print(f"{report.name}: {time.perf_counter() - started:.0f} s", flush=True)


def cost(arguments: argparse.Namespace) -> None:
    """Processor time of each row's whole fine-tuning in standard epochs, of the pruned and of the dense network."""
    plain = recipe("adversarial", 0, arguments.out, None)
    data, source = network(plain)
    check = torch.from_numpy(data.calibration.images[:16]).float() / 255
    context = Context(input_shape=source.input_shape, check_images=check)
    pruned = compress(source.module, plain.compress, context).module
    teacher = None if arguments.teacher is None else load_teacher(arguments.teacher, data).twin
    recipes = {name: recipe(name, 0, arguments.out, arguments.teacher) for name in arguments.only or ROWS}
    part = data.train.subset(_COST_IMAGES, seed=0)

    def seconds(module: nn.Module, name: str | None) -> float:
        """Of all epochs, as a teacher's answers are kept from one to the next."""
        chosen = plain if name is None else recipes[name]
        opponent, taught = (None, None) if name is None else (chosen.opponent, teacher)
        start = copy.deepcopy(module)
        started = time.process_time()
        finetune(
            start,
            part,
            None,
            chosen.finetune,
            stage="cost",
            context=TrainingContext(seed=0),
            adversary=opponent,
            teacher=taught,
        )
        return time.process_time() - started

    runs: list[dict[str, float]] = []
    for turn in range(_COST_TURNS):
        runs.append({"standard": seconds(pruned, None), "standard, dense": seconds(source.module, None)})
        runs[-1] |= {name: seconds(pruned, name) for name in recipes}
        print(f"turn {turn + 1} of {_COST_TURNS}", flush=True)
    standard = plain.finetune.epochs
    found = {
        name: {
            f"epochs of {of}": statistics.median(standard * run[name] / run[key] for run in runs)
            for of, key in (("the pruned network", "standard"), ("the dense network", "standard, dense"))
        }
        for name in recipes
    }
    (arguments.out / "cost.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for name, ratios in found.items():
        print(name, {of: round(ratio, 2) for of, ratio in ratios.items()})


def figures(out: Path, name: str, seed: int) -> dict[str, float]:
    """What was measured of one engine, in per cent; seconds of fine-tuning."""
    bundle = folder(out, name, seed)
    if not bundle.exists():
        return {}
    trained = read_bundle(bundle, check=False).manifest.proofs["training"]["hardened"]
    found = {"seconds": sum(epoch["seconds"] for epoch in trained["epochs"])}
    found["held-out, PGD-10"] = 100 * trained["epochs"][trained["kept"] - 1]["robust"]
    for report in sorted(out.glob(f"{bundle.name}.*.json")):
        _, preset, _images, _ = report.name.rsplit(".", 3)
        (subject,) = json.loads(report.read_text())["subjects"]
        for row in subject["measurements"]:
            attack = row["settings"].get("attack")
            if row["name"] == "clean-accuracy":
                found["clean"] = row["value"]
            elif row["name"] == "robust-accuracy" and (preset, attack) == ("paper", "pgd-20"):
                found["PGD-20"] = row["value"]
            elif row["name"] == "robust-accuracy" and preset != "paper" and attack == "union":
                found[f"{preset}, n {row['n']}"] = row["value"]
            elif row["name"] == "alarm" and preset != "paper" and row["settings"]["alarm"] in _SHOWN_ALARMS:
                found[f"alarm {row['settings']['alarm']}"] = row["value"]
    return found


def estimated(out: Path, name: str, seeds: Sequence[int], preset: str) -> dict[str, float]:
    """The preset's robust accuracy on all test images, from a part and PGD-20 on all; empty where none was measured."""
    folders = [folder(out, name, seed).with_suffix(".bench") for seed in seeds]
    pairs = [
        (cheap, part)
        for path in folders
        for cheap in path.glob("shipped-paper-*-n10000-*.npz")
        for part in path.glob(f"shipped-{preset}-*.npz")
        if "-n10000-" not in part.name
    ]
    if len(pairs) != len(folders):
        return {}
    found = estimate_from_archives(pairs)
    return {"value": found.value, "half_width": found.half_width}


def table(arguments: argparse.Namespace) -> None:
    rows: dict[str, dict[str, Any]] = {}
    costs = arguments.out / "cost.json"
    cost_of = json.loads(costs.read_text(encoding="utf-8")) if costs.exists() else {}
    for name in arguments.only or ROWS:
        seeds = {seed: found for seed in arguments.seeds if (found := figures(arguments.out, name, seed))}
        if not seeds:
            continue
        keys = list(dict.fromkeys(key for found in seeds.values() for key in found))
        values = {key: [found[key] for found in seeds.values() if key in found] for key in keys}
        estimate = estimated(arguments.out, name, list(seeds), arguments.preset)
        rows[name] = {
            "settings": dict(ROWS[name]),
            "seeds": {str(seed): found for seed, found in seeds.items()},
            "mean": {key: statistics.mean(column) for key, column in values.items()},
            "deviation": {key: statistics.stdev(column) if len(column) > 1 else None for key, column in values.items()},
            f"{arguments.preset}, all images, estimated": estimate,
            "cost": cost_of.get(name, {}),
        }
        print(name, {key: f"{statistics.mean(column):.2f} ({len(column)})" for key, column in values.items()}, estimate)
    if arguments.json is not None:
        stored = {"recipe": RECIPE, "environment": Environment.here().to_dict(), "rows": rows}
        arguments.json.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "attack", "cost", "table"])
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundles and reports")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(ROWS), help="some objectives only")
    parser.add_argument("--teacher", type=Path, help="robust bundle or ONNX file that ard, rslad and adaad learn from")
    parser.add_argument("--preset", default="standard", help="attacks of `attack` beside PGD-20")
    parser.add_argument("--images", default="1000", help="test images for the preset, or all")
    parser.add_argument("--json", type=Path, help="store the table there")
    arguments = parser.parse_args()
    {"train": train, "attack": attack, "cost": cost, "table": table}[arguments.command](arguments)


if __name__ == "__main__":
    main()
