"""Adversarial images, found on twins on torch's device, and the engines' answers to them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import importable  # noqa: F401 - before anything of the package
import onnx
from context import Context, NotRunError
from networks import KINDS, data_of, engine_of, graph_of
from torch import nn

from hardtemper.bench.attacks.presets import choose_attacks
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.resume import ResumeStore
from hardtemper.bench.robustness.agreement import twin_logits
from hardtemper.bench.robustness.archive import write_archive
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.evaluate import evaluate_robustness
from hardtemper.bench.robustness.verdict import RobustnessResult
from hardtemper.bench.settings import default_threat
from hardtemper.export.twin.twin import Twin

__all__ = ["replay", "robust", "verdict_of"]

_CHUNK = 500


def robust(ctx: Context) -> dict[str, Any]:
    """Adversarial images, found on the twin on torch's device and stored; scores are asked of the twin as well."""

    def attack(name: str) -> dict[str, Any]:
        data = data_of(ctx, name.rpartition("/")[0])
        started = time.perf_counter()
        graph = graph_of(ctx, name)
        digest = graph.digest
        store = ResumeStore(ctx.out / "unfinished" / name.replace("/", "-"), {"twin": digest, "engine": digest})
        store.make()
        verdict = verdict_of(
            ctx, Twin(onnx.load_model_from_string(graph.whole())), data, ctx.sizes["preset"], store=store
        )
        path = _stored(ctx, name)
        part = data.test.head(verdict.n)
        write_archive(verdict.archive(part, classes=len(data.classes), subject=name, dataset=data.name), path)
        return {
            "archive": str(path),
            "n": verdict.n,
            "clean": verdict.clean,
            "robust": int(verdict.robust.sum()),
            "attacks": [m.to_dict() for m in verdict.measurements()],
            "seconds": time.perf_counter() - started,
        }

    return ctx.each(attack, [f"{model}/{kind}" for model in ctx.sizes["attacked"] for kind in KINDS])


def replay(ctx: Context) -> dict[str, Any]:
    """The stored verdicts, asked of TensorRT's engines in the Python that has TensorRT."""

    def ask(name: str) -> Any:
        if not _stored(ctx, name).is_file():
            raise NotRunError("needs the step 'robust'")
        return ctx.on_tensorrt("replay", engine=engine_of(ctx, name), archive=_stored(ctx, name))

    return ctx.each(ask, [f"{model}/{kind}" for model in ctx.sizes["attacked"] for kind in KINDS])


def verdict_of(
    ctx: Context, module: nn.Module, data: Dataset, preset: str, store: ResumeStore | None = None
) -> RobustnessResult:
    """What is left of a network on torch's device under a preset, asked of the network itself."""
    module = module.to(ctx.device).eval()
    part = data.test.head(min(ctx.sizes["images"], len(data.test)))
    threat = default_threat(data.input_shape)

    def scores(images: Any) -> Any:
        return twin_logits(module, images)

    case = Case(
        engine=scores,
        twin=module,
        images=part.images,
        labels=part.labels,
        threat=threat,
        batch_size=_CHUNK,
        store=store,
    )
    plans = choose_attacks(preset, threat, classes=len(data.classes)).plans
    return evaluate_robustness(case, plans, sequential=preset != "paper")


def _stored(ctx: Context, name: str) -> Path:
    return ctx.out / "verdicts" / f"{name.replace('/', '-')}.npz"
