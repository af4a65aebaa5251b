"""Recipe -> bundle: train, compress, fine-tune, lower, fine-tune the twin, prove, ship.

    data -> dense network -> hardened network -> fine-tuned network -> integer graph -> twin -> proofs -> bundle

Every stage is a function from one frozen object to the next. What an interruption leaves is picked up again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from torch import nn

from ..bench.attacks.pgd import pgd
from ..bench.attacks.threat import ThreatModel
from ..bench.data.dataset import Dataset
from ..bench.data.load import load_dataset
from ..export.kernels import KernelReport, inspect_kernels
from ..export.lower import lower, pixel_graph
from ..export.parity import ParityReport, check_parity
from ..export.quantize import IntegerGraph, quantize
from ..export.twin import Twin
from ..runtime.bundle import Bundle
from ..runtime.errors import GateError
from ..runtime.progress import ProgressCallback, silent
from .compress.prune import prune_filters
from .compress.result import Compressed
from .finetune import Trained, finetune
from .recipe import Recipe
from .ship import Made, scheme_of, ship
from .sources import Source, load_source
from .workspace import Workspace, fingerprint

__all__ = ["Build", "build"]

_PROOF_IMAGES = 256
_STORED_IMAGES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """What a build made, and what it measured on the way (shares in [0, 1], on held-out training images)."""

    bundle: Bundle
    made: Made


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
        GateError: too few MACs in integer kernels, or twin and engine differ although the scheme is exact.
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
    dense_graph = lower(source.module, input_shape=source.input_shape)
    dense_onnx = ir.to_proto(pixel_graph(dense_graph, scale=1 / 255, exact=False))
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
    model, twin = _tune_twin(recipe, integer, data, work=work, mark=marks["twin"], progress=progress)
    kernels = inspect_kernels(model)
    images = _proof_images(recipe, twin.module, data)
    parity = check_parity(model, images, twin=_as_twin(twin.module), progress=progress)
    _gates(recipe, kernels, parity)
    made = Made(
        source=source,
        dense=dense,
        dense_onnx=dense_onnx,
        compressed=compressed,
        tuned=tuned,
        twin=twin,
        model=model,
        kernels=kernels,
        parity=parity,
        proof_images=images[: 2 * _STORED_IMAGES],
    )
    bundle = ship(recipe, data, made, out=out, overwrite=overwrite)
    if not keep_work:
        work.remove()
    return Build(bundle=bundle, made=made)


def _fingerprints(sections: dict[str, Any], data: Dataset) -> dict[str, str]:
    """What each stage depends on."""
    pixels = [[len(part), int(part.images.sum(dtype=np.int64))] for part in (data.train, data.heldout)]
    base = [*(sections[key] for key in ("seed", "data", "model", "train")), *pixels, str(torch.__version__)]
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
    graph = lower(module, input_shape=source.input_shape)
    return quantize(graph, data.calibration.images, scheme=scheme_of(recipe), progress=progress)


def _tune_twin(
    recipe: Recipe, integer: IntegerGraph, data: Dataset, *, work: Workspace, mark: str, progress: ProgressCallback
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
    """Held-out images and (with an adversary) their adversarial versions, in pairs; uint8 pixels.

    Calibration images stand in where none are held out.
    """
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
