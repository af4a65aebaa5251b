"""Recipe -> bundle: train, compress, fine-tune, lower, fine-tune the twin, prove, ship.

    data -> dense network -> hardened network -> fine-tuned network -> integer graph -> twin -> proofs -> bundle

Every stage is a function from one frozen object to the next. What an interruption leaves is picked up again.
"""

from __future__ import annotations

import io
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from torch import nn

from .. import __version__
from ..bench.attacks.pgd import pgd
from ..bench.attacks.threat import ThreatModel
from ..bench.data.dataset import Dataset
from ..bench.data.load import load_dataset
from ..export.bundle import write_bundle
from ..export.kernels import KernelReport, inspect_kernels
from ..export.lower import lower, pixel_graph
from ..export.parity import ParityReport, check_parity
from ..export.quantize import IntegerGraph, quantize
from ..export.scheme import Scheme
from ..export.twin import Twin
from ..runtime.bundle import Bundle
from ..runtime.cpu import cpu_name, instruction_set
from ..runtime.errors import GateError
from ..runtime.manifest import Input, Output, Provenance
from ..runtime.progress import ProgressCallback, silent
from .compress.prune import prune_filters
from .compress.result import Compressed
from .finetune import Trained, finetune, held_out_accuracy
from .precision import resolve
from .recipe import Recipe
from .sources import Source, load_source
from .workspace import Workspace, fingerprint

__all__ = ["Build", "build"]

_PROOF_IMAGES = 256
_STORED_IMAGES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """What a build made, and what it measured on the way (shares in [0, 1], on held-out training images)."""

    bundle: Bundle
    dense: Trained
    compressed: Compressed
    tuned: Trained
    twin: Trained
    kernels: KernelReport
    parity: ParityReport


def build(
    recipe: Recipe, *, out: Path, overwrite: bool = False, keep_work: bool = False, progress: ProgressCallback = silent
) -> Build:
    """Carry out `recipe` and write the bundle to `out`.

    Args:
        recipe: what to do.
        out: the bundle's folder; `out` + ".work" holds checkpoints meanwhile.
        overwrite: replace an existing bundle.
        keep_work: leave the checkpoints behind, so that a changed recipe can start from them.

    Raises:
        InputError: bad recipe, data or model.
        GateError: too few MACs in integer kernels, or twin and engine differ where the scheme promises that they cannot.
    """
    work = Workspace(out.with_name(out.name + ".work"))
    data = load_dataset(
        recipe.data.name,
        root=recipe.data.root,
        heldout=recipe.data.heldout,
        calibration=recipe.data.calibration,
        seed=recipe.seed,
        image_size=recipe.data.image_size,
        download=recipe.data.download,
    )
    sections = recipe.model_dump(mode="json")
    marks = _fingerprints(sections, data)
    source, dense = _dense(recipe, data, work, marks["dense"], progress)
    dense_onnx = ir.to_proto(pixel_graph(lower(source.module, input_shape=source.input_shape), scale=1 / 255, exact=False))
    compressed = _compress(recipe, source, data)
    adversary = recipe.adversary if recipe.robust else None
    tuned = finetune(
        compressed.module,
        data.train,
        data.heldout,
        recipe.finetune,
        adversary=adversary,
        seed=recipe.seed,
        stage="fine-tune",
        resume=work.load("finetune", marks["finetune"]),
        save=lambda checkpoint: work.save("finetune", marks["finetune"], checkpoint),
        progress=progress,
    )
    integer = _quantize(recipe, tuned.module, source, data, progress)
    model, twin = _tune_twin(recipe, integer, data, work, marks["twin"], progress)
    kernels = inspect_kernels(model)
    images = _proof_images(recipe, twin.module, data)
    parity = check_parity(model, images, twin=_as_twin(twin.module), progress=progress)
    _gates(recipe, kernels, parity)
    bundle = _ship(recipe, out, overwrite, sections, source, dense_onnx, model, images, compressed, twin, kernels, parity, data, (dense, tuned))
    if not keep_work:
        work.remove()
    return Build(
        bundle=bundle, dense=dense, compressed=compressed, tuned=tuned, twin=twin, kernels=kernels, parity=parity
    )


def _fingerprints(sections: dict[str, Any], data: Dataset) -> dict[str, str]:
    """What each stage depends on."""
    pixels = [part.indices[:16].tolist() + [int(part.images.sum(dtype=np.int64)), len(part)] for part in (data.train, data.heldout)]
    base = [sections[key] for key in ("seed", "data", "model", "train")] + pixels + [torch.__version__]
    tuned = [*base, *(sections[key] for key in ("robust", "compress", "adversary", "finetune"))]
    return {
        "dense": fingerprint(base),
        "finetune": fingerprint(tuned),
        "twin": fingerprint(tuned, sections["quantize"], sections["finetune_twin"]),
    }


def _dense(
    recipe: Recipe, data: Dataset, work: Workspace, mark: str, progress: ProgressCallback
) -> tuple[Source, Trained]:
    """The dense network: given, or trained without an adversary."""
    torch.manual_seed(recipe.seed)
    source = load_source(
        recipe.model.name,
        input_shape=data.input_shape,
        classes=data.classes,
        width=recipe.model.width,
        hidden=recipe.model.hidden,
        stem=recipe.model.stem,
        pretrained=recipe.model.pretrained,
        checkpoint=recipe.model.checkpoint,
        normalize=recipe.model.normalize,
    )
    if recipe.model.checkpoint is not None or recipe.model.name.endswith(".pt2"):
        return source, Trained(module=source.module, epochs=(), kept=0)
    return source, finetune(
        source.module,
        data.train,
        data.heldout,
        recipe.train,
        adversary=None,
        seed=recipe.seed,
        stage="train",
        resume=work.load("dense", mark),
        save=lambda checkpoint: work.save("dense", mark, checkpoint),
        progress=progress,
    )


def _compress(recipe: Recipe, source: Source, data: Dataset) -> Compressed:
    settings = recipe.compress
    check = torch.from_numpy(data.calibration.images[:16]).float() / 255
    return prune_filters(
        source.module,
        input_shape=source.input_shape,
        sparsity=settings.sparsity,
        per_layer=settings.per_layer or None,
        round_to=settings.round_to,
        scope=settings.scope,
        keep=settings.keep,
        linear=settings.linear,
        check_images=check,
    )


def _quantize(
    recipe: Recipe, module: nn.Module, source: Source, data: Dataset, progress: ProgressCallback
) -> IntegerGraph:
    scheme = Scheme(
        scales=recipe.quantize.scales,
        observer=recipe.quantize.observer,
        percentile=recipe.quantize.percentile,
        weight_bits=recipe.quantize.weight_bits,
    )
    graph = lower(module, input_shape=source.input_shape)
    return quantize(graph, data.calibration.images, scheme=scheme, progress=progress)


def _tune_twin(
    recipe: Recipe, integer: IntegerGraph, data: Dataset, work: Workspace, mark: str, progress: ProgressCallback
) -> tuple[onnx.ModelProto, Trained]:
    """Fine-tune on the integers, and write them back into the graph."""
    twin = Twin(integer.model, shadow=integer.shadow)
    settings = recipe.finetune_twin
    train = data.train
    if settings.images is not None and settings.images < len(train):
        train = train.subset(settings.images, seed=recipe.seed)
    trained = finetune(
        twin,
        train,
        data.heldout,
        settings,
        adversary=recipe.adversary if recipe.robust else None,
        seed=recipe.seed,
        stage="fine-tune twin",
        baseline=True,
        resume=work.load("twin", mark),
        save=lambda checkpoint: work.save("twin", mark, checkpoint),
        progress=progress,
    )
    return twin.to_onnx(), trained


def _as_twin(module: nn.Module) -> Twin:
    assert isinstance(module, Twin)
    return module


def _proof_images(recipe: Recipe, twin: nn.Module, data: Dataset) -> npt.NDArray[np.uint8]:
    """Held-out images and (with an adversary) their adversarial versions, as pixels; calibration images if none are held out."""
    part = data.heldout if len(data.heldout) else data.calibration
    part = part.head(min(_PROOF_IMAGES, len(part)))
    if not recipe.robust:
        return part.images
    threat = ThreatModel.parse(recipe.adversary.threat)
    pixels = torch.from_numpy(part.images)
    adversarial = pgd(
        twin,
        pixels.float() / 255,
        torch.from_numpy(part.labels),
        threat=threat,
        steps=10,
        step_size=threat.epsilon / 4,
        random_start=False,
    )
    both = np.stack([part.images, threat.to_pixels(adversarial, pixels).numpy()], axis=1)
    return both.reshape(-1, *both.shape[2:])


def _gates(recipe: Recipe, kernels: KernelReport, parity: ParityReport) -> None:
    if kernels.integer_share < recipe.quantize.integer_share:
        named = ", ".join(f"{kernel.operator} {kernel.name}" for kernel in kernels.float_kernels[:5])
        raise GateError(
            "MACs in integer kernels",
            expected=f"at least {recipe.quantize.integer_share:.1%}",
            got=f"{kernels.integer_share:.1%}; in float: {named}",
            fix="set quantize.integer_share lower, or replace these layers",
        )
    if recipe.quantize.scales == "power-of-two" and not parity.exact:
        raise GateError(
            "twin and engine on this machine",
            expected="no differing integer and no differing logit",
            got=f"{parity.engine_logits} logits and {sum(a.mismatches for a in parity.activations)} activations differ",
            fix="set quantize.weight_bits = 7 where the processor has no VNNI",
        )


def _ship(
    recipe: Recipe,
    out: Path,
    overwrite: bool,
    sections: dict[str, Any],
    source: Source,
    dense: onnx.ModelProto,
    model: onnx.ModelProto,
    images: npt.NDArray[np.uint8],
    compressed: Compressed,
    twin: Trained,
    kernels: KernelReport,
    parity: ParityReport,
    data: Dataset,
    earlier: tuple[Trained, Trained],
) -> Bundle:
    adversary = recipe.adversary if recipe.robust else None
    measurements: list[dict[str, Any]] = []
    if len(data.heldout):
        clean, robust = held_out_accuracy(twin.module, data.heldout, adversary, seed=recipe.seed)
        rows = [("held-out accuracy", clean)] + ([] if robust is None else [("held-out accuracy under PGD-10", robust)])
        measurements = [{"name": name, "value": value, "unit": "share", "n": len(data.heldout)} for name, value in rows]
    stored = images[: 2 * _STORED_IMAGES]
    with torch.no_grad():
        logits = twin.module(torch.from_numpy(stored).float() / 255).numpy()
    proof = io.BytesIO()
    np.savez_compressed(proof, images=stored, logits=logits)
    return write_bundle(
        out,
        name=recipe.name,
        input=Input(shape=source.input_shape, name=model.graph.input[0].name),
        output=Output(classes=source.classes, name=model.graph.output[0].name),
        graph="model.onnx",
        dense="dense.onnx",
        provenance=Provenance(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
            recipe=sections,
            seed=recipe.seed,
            versions=_versions(),
            instruction_set=instruction_set(),
            cpu=cpu_name(),
        ),
        quantization=Scheme(
            scales=recipe.quantize.scales,
            observer=recipe.quantize.observer,
            percentile=recipe.quantize.percentile,
            weight_bits=recipe.quantize.weight_bits,
        ).to_json(),
        layers=tuple(compressed.layers_json()),
        measurements=tuple(measurements),
        proofs={
            "kernels": kernels.to_json(),
            "parity": parity.to_json(),
            "training": {
                "precision": resolve(recipe.finetune.precision),
                "data": data.source,
                "dense": earlier[0].to_json(),
                "fine-tuned": earlier[1].to_json(),
                "twin": twin.to_json(),
            },
        },
        files={
            "model.onnx": model.SerializeToString(deterministic=True),
            "dense.onnx": dense.SerializeToString(deterministic=True),
            "proof.npz": proof.getvalue(),
        },
        overwrite=overwrite,
    )


def _versions() -> dict[str, str]:
    return {
        "hardtemper": __version__,
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
