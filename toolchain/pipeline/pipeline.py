"""Recipe -> bundle: train, compress, fine-tune, lower, fine-tune the twin, prove, ship.

    data -> dense network -> hardened network -> fine-tuned network -> integer graph -> twin -> proofs -> bundle

Every stage is a function from one frozen object to the next. What an interruption leaves is picked up again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn

from ...bench.data.dataset import Dataset, Part
from ...bench.data.load import load_dataset
from ...export.bundle_writer import check_target
from ...export.lower import lower, pixel_graph
from ...export.proofs.kernels import inspect_kernels
from ...export.proofs.parity import check_parity
from ...export.quantization.quantize import IntegerGraph, check_operators, quantize
from ...export.twin.twin import Twin
from ...runtime.bundle.reader import Bundle
from ...runtime.errors import DataError, RecipeError
from ...runtime.progress import ProgressCallback, silent
from ..compress.compressed import Compressed
from ..compress.pruning.filters import prune_filters
from ..models.source import Source, check_training, load_source
from ..recipe.recipe import Recipe
from ..recipe.training import Training
from ..train.device import resolve_device
from ..train.finetune import Trained, finetune
from .checkpoints import Workspace, fingerprints
from .gates import check_gates, proof_images
from .teacher import load_teacher, train_teacher
from .write import Made, scheme_of, ship

__all__ = ["Build", "build"]

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
        InputError: bad recipe, data or model, or `out` cannot be written; before anything is trained, as far as it can
            be known then.
        GateError: too few MACs in integer kernels, or twin and engine differ although the scheme is exact.
    """
    device = resolve_device(recipe.device)
    target = check_target(out, overwrite=overwrite)  # the writer asks again, but hours later
    work = Workspace(target.with_name(target.name + ".work"))
    data = load_dataset(
        recipe.data.name,
        root=recipe.data.root,
        heldout=recipe.data.heldout,
        calibration=recipe.data.calibration,
        seed=recipe.seed,
        image_size=recipe.data.image_size,
        download=recipe.data.download,
    )
    _check_stages(recipe, data)
    source = _source(recipe, data)
    _check_training(recipe, source)
    dense_graph = lower(source.module, input_shape=source.input_shape)
    check_operators(dense_graph, scheme_of(recipe))
    marks = fingerprints(recipe, data, source.module, dense_graph.model)
    given = _given_teacher(recipe, data)
    work.make()
    dense = _train(recipe, source, data, work=work, mark=marks["dense"], device=device, progress=progress)
    if dense.epochs:
        dense_graph = lower(source.module, input_shape=source.input_shape)
    dense_onnx = ir.to_proto(pixel_graph(dense_graph, scale=1 / 255, exact=False).model)
    opponent, teacher, taught = recipe.opponent, given, None
    if recipe.trains_teacher:
        taught = train_teacher(
            recipe, source.module, data, work=work, mark=marks["teacher"], device=device, progress=progress
        )
        teacher = taught.module
    if teacher is not None:
        teacher.to(device)
    compressed = _compress(recipe, source, data)
    tuned = finetune(
        compressed.module,
        data.train,
        data.heldout,
        recipe.finetune,
        adversary=opponent,
        seed=recipe.seed,
        stage="fine-tune",
        teacher=teacher,
        device=device,
        progress=progress,
        **work.stage("finetune", marks["finetune"]),
    )
    integer = _quantize(recipe, tuned.module, source, data, progress)
    twin = Twin(integer.model, shadow=integer.shadow)
    tuned_twin = finetune(
        twin,
        _twin_images(recipe, data),
        data.heldout,
        recipe.finetune_twin,
        adversary=opponent,
        seed=recipe.seed,
        stage="fine-tune twin",
        teacher=teacher,
        baseline=True,
        device=device,
        progress=progress,
        **work.stage("twin", marks["twin"]),
    )
    model = twin.to_onnx()
    kernels = inspect_kernels(model)
    images = proof_images(recipe, twin, data)
    parity = check_parity(model, images, twin=twin, progress=progress)
    check_gates(recipe, kernels, parity)
    made = Made(
        source=source,
        dense=dense,
        dense_onnx=dense_onnx,
        compressed=compressed,
        tuned=tuned,
        teacher=taught,
        twin=tuned_twin,
        model=model,
        kernels=kernels,
        parity=parity,
        proof_images=images[: 2 * _STORED_IMAGES],
    )
    bundle = ship(recipe, data, made, out=out, overwrite=overwrite)
    if not keep_work:
        work.remove()
    return Build(bundle=bundle, made=made)


def _check_stages(recipe: Recipe, data: Dataset) -> None:
    """What does not fit the images would otherwise show only when its stage is reached."""
    count, side = len(data.train), min(data.input_shape[1:])
    stages: list[tuple[str, Training, int]] = [
        ("train", recipe.train, count),
        ("finetune", recipe.finetune, count),
        ("finetune_twin", recipe.finetune_twin, min(recipe.finetune_twin.images or count, count)),
    ]
    if recipe.trains_teacher:
        stages.append(("teacher", recipe.teacher, count))
    for key, settings, images in stages[1 if recipe.has_weights else 0 :]:
        if settings.epochs and images < settings.batch_size:
            raise DataError(
                f"{key}.batch_size: too few training images for one batch",
                expected=f"at least {settings.batch_size}",
                got=str(images),
                fix=f"a smaller {key}.batch_size, or fewer held-out and calibration images",
            )
        for name, pixels in (("shift", settings.shift), ("cutout", settings.cutout)):
            if settings.epochs and pixels >= side:
                raise RecipeError(
                    f"{key}.{name} leaves nothing of some images", expected=f"less than {side} pixels", got=str(pixels)
                )


def _check_training(recipe: Recipe, source: Source) -> None:
    """One step of the stages that train the module itself, on a copy: code that training alone runs may fail too."""
    if recipe.model.name.endswith(".pt2") and (
        recipe.finetune.epochs or recipe.compress.sparsity or recipe.compress.per_layer
    ):
        raise RecipeError(
            f"{recipe.model.name}: an exported program is only lowered, quantized and attacked",
            expected="compress.sparsity 0 and finetune.epochs 0",
            got=f"sparsity {recipe.compress.sparsity:g}, {recipe.finetune.epochs} epochs",
            fix="--sparsity 0 --epochs 0 --standard, or give package.module:factory and a checkpoint",
        )
    stages = [recipe.finetune] if recipe.has_weights else [recipe.train, recipe.finetune]
    batches = [stage.batch_size for stage in stages if stage.epochs]
    if batches:
        check_training(source.module, source.name, source.input_shape, images=min(2, *batches))


def _source(recipe: Recipe, data: Dataset) -> Source:
    torch.manual_seed(recipe.seed)
    return load_source(
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


def _train(
    recipe: Recipe,
    source: Source,
    data: Dataset,
    *,
    work: Workspace,
    mark: str,
    device: str,
    progress: ProgressCallback,
) -> Trained:
    """The dense network, trained without an adversary; as it comes where its weights were given."""
    if recipe.has_weights or not recipe.train.epochs:
        return Trained(module=source.module, epochs=(), kept=0)
    _compress(recipe, source, data)  # a layer that would be emptied shows now instead of behind the training
    return finetune(
        source.module,
        data.train,
        data.heldout,
        recipe.train,
        adversary=None,
        seed=recipe.seed,
        stage="train",
        device=device,
        progress=progress,
        **work.stage("dense", mark),
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


def _given_teacher(recipe: Recipe, data: Dataset) -> nn.Module | None:
    """The teacher that the recipe names, opened before any work."""
    opponent = recipe.opponent
    if opponent is None or not opponent.distils or opponent.teacher is None:
        return None
    return load_teacher(opponent.teacher, data)


def _twin_images(recipe: Recipe, data: Dataset) -> Part:
    count = recipe.finetune_twin.images
    return data.train if count is None or count >= len(data.train) else data.train.subset(count, seed=recipe.seed)
