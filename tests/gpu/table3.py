"""Table 3 of the adversarial fine-tuning paper (arXiv:2403.09441): what tuning after compression buys."""

from __future__ import annotations

import copy
import time
from typing import Any

import importable  # noqa: F401 - before anything of the package
from context import Context
from networks import data_of, network_of
from robustness import verdict_of
from torch import nn

from hardtemper.bench.settings import default_threat
from hardtemper.export.lower import lower
from hardtemper.export.quantization.quantize import quantize
from hardtemper.export.twin.twin import Twin
from hardtemper.toolchain.compress import context as compression
from hardtemper.toolchain.compress.pruning.filters import prune_filters
from hardtemper.toolchain.recipe.adversary import Adversary
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.recipe.training import FineTuning, Training, TwinTraining
from hardtemper.toolchain.train.finetune import finetune
from hardtemper.toolchain.train.training_context import TrainingContext

__all__ = ["table3"]


def table3(ctx: Context) -> dict[str, Any]:
    """Table 3 of the adversarial fine-tuning paper: the 8-layer CNN, 80 % pruned or INT8, tuned in three ways."""
    data, sizes = data_of(ctx, "cnn8"), ctx.sizes
    threat = str(default_threat(data.input_shape))
    adversary = Adversary(threat=threat, attack="pgd", steps=sizes["adversary_steps"]["table3"])
    rows: dict[str, Any] = {}

    def trained(module: nn.Module, settings: Training, against: Adversary | None, stage: str) -> nn.Module:
        context = TrainingContext(seed=0, device=ctx.device)
        tuned = finetune(module, data.train, data.heldout, settings, stage=stage, context=context, adversary=against)
        return tuned.module

    def note(name: str, module: nn.Module, started: float) -> None:
        verdict = verdict_of(ctx, module, data, "paper")
        seconds = time.perf_counter() - started
        rows[name] = {"n": verdict.n, "clean": verdict.clean, "pgd-20": int(verdict.robust.sum()), "seconds": seconds}
        print(f"  {name}: {rows[name]}", flush=True)

    for which, against in (("standard", None), ("robust", adversary)):
        started = time.perf_counter()
        dense = network_of(ctx, "cnn8", data)
        dense = trained(dense, Training(epochs=sizes["table3_epochs"], batch_size=sizes["batch_size"]), against, which)
        note(f"{which} dense", dense, started)
        pruned = prune_filters(
            dense, FilterPruning(sparsity=0.8), compression.Context(input_shape=data.input_shape)
        ).module
        graph = quantize(lower(dense, input_shape=data.input_shape), data.calibration.images)
        epochs, batch = sizes["finetune_epochs"], sizes["batch_size"]
        for tuning, opponent in (("none", None), ("standard", None), ("adversarial", adversary)):
            for name, module, settings in (
                ("pruned", copy.deepcopy(pruned), FineTuning(epochs=epochs, batch_size=batch)),
                (
                    "int8",
                    Twin(graph.model, shadow=graph.shadow),
                    TwinTraining(epochs=epochs, batch_size=sizes["batch_size"]),
                ),
            ):
                started = time.perf_counter()
                tuned = module
                if tuning != "none":
                    tuned = trained(module, settings, opponent, f"{which} {name} {tuning}")
                note(f"{which} {name}, fine-tuning {tuning}", tuned, started)
    return {"threat": threat, "seeds": 1, "rows": rows}
